//! Closed forms and published values, each with its source.

mod fft;
mod linalg;
mod metrics;
mod optics;
mod stem;
