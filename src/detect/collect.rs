//! What detectors receive of patterns.

use crate::error::Error;
use crate::fft::ifft_shift;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// Σ w I of every pattern with every detector.
///
/// The weights are those of a detector as it is looked at, the direct beam at pixel `[ny/2, nx/2]`; the patterns are spectra with the zero frequency
/// at index 0, as simulations make them. A pattern that sums to 1 gives the fraction of the electrons.
///
/// # Shapes
/// Patterns `[n, ny, nx]`, weights `[detectors, ny, nx]`, result `[n, detectors]`.
///
/// # Errors
/// [`Error::Shape`] for patterns or weights that do not fit, [`Error::OutOfMemory`].
///
/// # Examples
/// ```
/// use exitwave::detect::{Edge, collect, ring};
/// use exitwave::par::Par;
/// use exitwave::tensor::Tensor;
/// use exitwave::units::Angle;
/// let mut pattern = Tensor::<f64>::zeros(&[1, 16, 16]);
/// pattern[[0, 0, 5]] = 0.25;
/// let dark = ring([16, 16], [8.0; 2], [0.01; 2], [Angle::mrad(40.0), Angle::mrad(60.0)], 1, Angle::ZERO, Edge::Hard)?;
/// assert_eq!(collect(&pattern, &dark, &Par::seq())?[[0, 0]], 0.25);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn collect<T: Real>(patterns: &Tensor<T>, weights: &Tensor<f32>, par: &Par) -> Result<Tensor<f64>, Error> {
    let &[n, ny, nx] = patterns.dims() else {
        return Err(Error::shape("collect", &[1, 1, 1], patterns.dims()));
    };
    let detectors = weights.dims().first().copied().unwrap_or(0);
    if *weights.dims() != [detectors, ny, nx] {
        return Err(Error::shape("collect", &[detectors, ny, nx], weights.dims()));
    }
    let mut shifted = try_zeroed(weights.len())?;
    for (w, s) in weights.as_slice().chunks((ny * nx).max(1)).zip(shifted.chunks_mut((ny * nx).max(1))) {
        ifft_shift(&[ny, nx], w, s);
    }
    let mut out = try_zeroed(checked_len(&[n, detectors])?)?;
    if detectors > 0 {
        par.chunks(&mut out, detectors, |p, out| {
            let pattern = &patterns.as_slice()[p * ny * nx..][..ny * nx];
            for (d, sum) in out.iter_mut().enumerate() {
                let w = &shifted[d * ny * nx..][..ny * nx];
                *sum = pattern.iter().zip(w).filter(|(_, w)| **w != 0.0).map(|(i, &w)| i.f64() * f64::from(w)).sum();
            }
        });
    }
    Tensor::from_vec(&[n, detectors], out)
}
