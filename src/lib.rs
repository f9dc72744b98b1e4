//! Low-dose electron microscopy in pure Rust.
#![warn(rust_2018_idioms)]

pub mod error;
pub mod fft;
pub mod linalg;
pub mod observe;
pub mod op;
pub mod par;
pub mod real;
pub mod rng;
pub mod shape;
pub mod source;
pub mod tensor;
pub mod units;

pub use error::Error;
