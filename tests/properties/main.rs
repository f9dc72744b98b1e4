//! The physics and the algebra as properties, over random shapes and values.

#[path = "../support/dense.rs"]
mod dense;
mod fft;
#[cfg(feature = "io")]
mod io;
mod linalg;
mod metrics;
mod op;
mod optics;
mod ptycho;
mod stem;
