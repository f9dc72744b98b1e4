//! Losses: functions to one number.
//!
//! - [`PointLoss`]: sums over elements: squared, absolute, Huber, Poisson.
//! - [`SsimLoss`]: structural similarity, of one or several scales.
//! - [`TvLoss`]: smoothed total variation of images and volumes.
//! - [`FourierRingLoss`]: correlation over the rings of the spectra.

mod fourier_ring;
mod point;
mod ssim;
mod tv;

pub use fourier_ring::FourierRingLoss;
pub use point::{Distance, PointLoss, PointLossParams, Reduction};
pub use ssim::{LossWindow, SsimLoss, SsimLossParams};
pub use tv::{TvLoss, TvLossParams};
