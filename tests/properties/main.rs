//! The physics and the algebra as properties, over random shapes and values.

mod autodiff;
#[path = "../support/dense.rs"]
mod dense;
mod detect;
mod direct_phase;
mod fft;
mod hrtem_lattice;
mod hrtem_zone;
#[cfg(feature = "io")]
mod io;
mod linalg;
mod lorentz;
mod metrics;
mod multislice;
mod nn;
mod nn_losses;
mod nn_net;
mod op;
mod optics;
mod optim;
mod ptycho;
mod specimen;
mod stem;
