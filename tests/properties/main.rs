//! The physics and the algebra as properties, over random shapes and values.

mod autodiff;
#[path = "../support/dense.rs"]
mod dense;
mod fft;
mod linalg;
mod metrics;
mod nn;
mod op;
mod optics;
mod ptycho;
mod stem;
