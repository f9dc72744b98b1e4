//! Image and volume metrics: Fourier ring and shell correlation, similarity, registration, phase comparison, dose
//! accounting.
//!
//! Every function takes its arrays as row-major slices of `f32` or `f64` with their dimensions, computes in `f64` on
//! the calling thread (the 3-D transform alone may use more), and gives the same bits for any number of threads. Bad
//! input (lengths that differ, NaN, an image without contrast) is an [`Error`](crate::Error) with the numbers, never a
//! NaN in the answer.
//!
//! - [`RingCorrelation`], [`ShellCorrelation`]: FRC and FSC of real and complex images; [`CorrelationCurve`] with
//!   [`Threshold`] curves, signal-to-noise ratio and the [`Resolution`] read-out.
//! - [`mse`], [`psnr`], [`nrmse`], [`normalised_correlation`], [`pearson`], [`complex_correlation`]: pixel by pixel.
//! - [`ssim`], [`ms_ssim`]: structural similarity.
//! - [`register`], [`Register`]: sub-pixel shift between two images by cross-correlation.
//! - [`compare_phases`], [`compare_objects`]: phases and complex objects up to their gauge (offset, ramp, shift).
//! - Planes fitted by least squares: [`Plane`].
//! - Tapers: [`Window`].
//! - [`electrons_per_probe`], [`total_electrons`], [`dose_of_probe`], [`dose_of_total`]: dose accounting.

mod align;
mod check;
mod curve;
mod dose;
mod frc;
mod gauge;
mod ms_ssim;
mod phase;
mod pixelwise;
mod plane;
mod register;
mod rings;
mod ssim;
mod threshold;
mod window;

pub use curve::{Compared, CorrelationCurve, LASTING_RINGS, Resolution};
pub use dose::{dose_of_probe, dose_of_total, electrons_per_probe, total_electrons};
pub use frc::{FrcParams, FscParams, RingCorrelation, ShellCorrelation};
pub use gauge::{Gauge, GaugeParams, ObjectComparison, compare_objects};
pub use ms_ssim::{MS_SSIM_WEIGHTS, ms_ssim};
pub use phase::{PhaseComparison, compare_phases};
pub use pixelwise::{NrmseBy, complex_correlation, mse, normalised_correlation, nrmse, pearson, psnr};
pub use plane::Plane;
pub use register::{CrossSpectrum, Register, RegisterParams, Registration, register};
pub use ssim::{Covariance, Ssim, SsimParams, SsimWindow, ssim};
pub use threshold::{Split, Threshold};
pub use window::Window;
