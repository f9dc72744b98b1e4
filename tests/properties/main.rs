//! The physics and the algebra as properties, over random shapes and values.

mod fft;
mod linalg;
mod metrics;
mod op;
mod optics;
mod ptycho;
mod stem;
