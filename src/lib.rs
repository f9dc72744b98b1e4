//! Low-dose electron microscopy in pure Rust.
#![warn(rust_2018_idioms)]

pub mod error;
pub mod fft;
#[cfg(feature = "io")]
pub mod io;
pub mod linalg;
pub mod metrics;
pub mod observe;
pub mod op;
pub mod optics;
pub mod optim;
pub mod par;
pub mod ptycho;
pub mod real;
#[cfg(feature = "io")]
pub mod render;
pub mod rng;
pub mod shape;
pub mod simd;
pub mod source;
pub mod stem;
pub mod tensor;
pub mod units;

pub use error::Error;
pub use num_complex;
