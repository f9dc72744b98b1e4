//! Closed forms and published values, each with its source.

#[path = "../support/dense.rs"]
mod dense;
mod fft;
mod hrtem_crystal;
mod hrtem_exit_wave;
mod linalg;
mod lorentz;
mod metrics;
mod multislice;
mod optics;
mod optim;
mod stem;
