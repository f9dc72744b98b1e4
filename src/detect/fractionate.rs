//! Dose fractionation: one exposure as a series of drifting frames.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, shift_factors};
use crate::real::Real;
use crate::shape::{Field, checked_len, try_zeroed};
use crate::tensor::Tensor;

/// How an exposure is fractionated.
#[derive(Clone, Debug, Default)]
pub struct Fractionation {
    /// Displacement `[y, x]` of the image in each frame, pixels: one pair a frame.
    pub drift: Vec<[f64; 2]>,
    /// Share of the dose in each frame; empty: equal shares.
    pub dose: Vec<f64>,
}

/// The expected frames of an image: `share_f · I(r − drift_f)`, moved by Fourier interpolation on a periodic image. What interpolation makes negative is 0.
///
/// Count each frame by [`crate::detect::count`] or a [`crate::detect::Camera`], which draw from a stream a frame.
///
/// # Shapes
/// Image `[y, x]`, frames `[frames, y, x]`.
///
/// # Errors
/// [`Error::Shape`] for an image that is not two-dimensional or shares that do not fit the frames, [`Error::Param`] for no frames, a drift that is not
/// finite or a share that is negative, [`Error::OutOfMemory`].
///
/// # Examples
/// ```
/// use exitwave::detect::{Fractionation, fractionate};
/// use exitwave::tensor::Tensor;
/// let mut image = Tensor::<f64>::zeros(&[8, 8]);
/// image[[2, 3]] = 10.0;
/// let frames = fractionate(&image, &Fractionation { drift: vec![[0.0, 0.0], [1.0, 2.0]], dose: vec![] })?;
/// assert!((frames[[1, 3, 5]] - 5.0).abs() < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn fractionate<T: Real>(image: &Tensor<T>, params: &Fractionation) -> Result<Tensor<T>, Error> {
    let &[ny, nx] = image.dims() else {
        return Err(Error::shape("fractionate", &[1, 1], image.dims()));
    };
    let n = params.drift.len();
    if n == 0 || !params.drift.iter().flatten().all(|d| d.is_finite()) {
        return Err(Error::param("drift", format!("{n} frames"), "at least one frame, finite displacements"));
    }
    if !params.dose.is_empty() && params.dose.len() != n {
        return Err(Error::shape("Fractionation::dose", &[n], &[params.dose.len()]));
    }
    if !params.dose.iter().all(|d| *d >= 0.0 && d.is_finite()) {
        return Err(Error::param("dose", format!("{:?}", params.dose), "shares that are not negative"));
    }
    let fft = Fft2::<f64>::new([ny, nx])?;
    let mut scratch = try_zeroed(fft.scratch_len())?;
    let mut spectrum: Vec<Complex<f64>> = image.as_slice().iter().map(|v| Complex::new(v.f64(), 0.0)).collect();
    fft.forward(&mut spectrum, &mut scratch);
    let mut frames = try_zeroed(checked_len(&[n, ny, nx])?)?;
    let mut frame = spectrum.clone();
    for (f, out) in frames.chunks_mut(ny * nx).enumerate() {
        let share = params.dose.get(f).copied().unwrap_or(1.0 / n as f64);
        let (y, x) =
            (shift_factors(ny, params.drift[f][0], Field::Real), shift_factors(nx, params.drift[f][1], Field::Real));
        for (i, (z, s)) in frame.iter_mut().zip(&spectrum).enumerate() {
            *z = s * y[i / nx] * x[i % nx] * share;
        }
        fft.inverse(&mut frame, &mut scratch);
        out.iter_mut().zip(&frame).for_each(|(o, z)| *o = T::of(z.re.max(0.0)));
    }
    Tensor::from_vec(&[n, ny, nx], frames)
}
