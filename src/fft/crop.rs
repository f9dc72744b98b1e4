//! Fourier crop and pad: changing the sampling of a band-limited image.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::op::linear_op::{check_apply, checked_words};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Space, try_zeroed};

/// Takes a spectrum (ny, nx) to a spectrum (my, mx) of the same frequencies: cut off, or padded with zeros, each axis
/// on its own.
///
/// On an even axis the index n/2 stands for the frequencies ±n/2 alike. Padding such an axis gives half of the
/// coefficient to each; cutting to an even length adds the two. So real images stay real, padding is trigonometric
/// interpolation, and cutting after padding is the identity.
///
/// # Shapes
/// Domain: complex (ny, nx); range: complex (my, mx); zero frequency at index 0. No factor for the different
/// normalisation of the two grids: see [`fourier_resample`].
#[derive(Debug)]
pub struct FourierCrop {
    from: Space,
    to: Space,
    // One (index in `from`, index in `to`, weight) for each coefficient that is kept, a list an axis.
    y: Vec<(usize, usize, f64)>,
    x: Vec<(usize, usize, f64)>,
}

/// Which coefficients of an axis of n points go where in m points.
fn axis(n: usize, m: usize) -> Vec<(usize, usize, f64)> {
    let small = n.min(m);
    let at = |k: isize, n: usize| k.rem_euclid(n as isize) as usize;
    let mut list = Vec::new();
    for i in 0..small {
        let k = frequency_index(i, small);
        let shared = n != m && small.is_multiple_of(2) && i == small / 2;
        if shared {
            let weight = if m > n { 0.5 } else { 1.0 };
            list.push((at(k, n), at(k, m), weight));
            list.push((at(-k, n), at(-k, m), weight));
        } else {
            list.push((at(k, n), at(k, m), 1.0));
        }
    }
    list
}

impl FourierCrop {
    /// From (ny, nx) = `from` to (my, mx) = `to`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty axis, [`Error::OutOfMemory`] for spectra whose number of words overflows `usize`.
    pub fn new(from: [usize; 2], to: [usize; 2]) -> Result<Self, Error> {
        if from.contains(&0) || to.contains(&0) {
            return Err(Error::param("dims", format!("{from:?} to {to:?}"), "at least one point on every axis"));
        }
        checked_words("from", &Space::complex(&from))?;
        checked_words("to", &Space::complex(&to))?;
        Ok(FourierCrop {
            from: Space::complex(&from),
            to: Space::complex(&to),
            y: axis(from[0], to[0]),
            x: axis(from[1], to[1]),
        })
    }

    /// `to = C from`.
    ///
    /// # Panics
    /// If a slice does not have its space's length.
    pub fn forward<T: Real>(&self, from: &[Complex<T>], to: &mut [Complex<T>], w: Write) {
        crate::error::check_len("FourierCrop", "from", self.from.len(), from.len());
        crate::error::check_len("FourierCrop", "to", self.to.len(), to.len());
        let (nx, mx) = (self.from.dims()[1], self.to.dims()[1]);
        clear(to, w);
        for &(iy, jy, wy) in &self.y {
            for &(ix, jx, wx) in &self.x {
                to[jy * mx + jx] += from[iy * nx + ix].scale(T::of(wy * wx));
            }
        }
    }

    /// `from = Cᴴ to`: the same weights, backwards.
    ///
    /// # Panics
    /// As [`FourierCrop::forward`].
    pub fn adjoint<T: Real>(&self, to: &[Complex<T>], from: &mut [Complex<T>], w: Write) {
        crate::error::check_len("FourierCrop", "from", self.from.len(), from.len());
        crate::error::check_len("FourierCrop", "to", self.to.len(), to.len());
        let (nx, mx) = (self.from.dims()[1], self.to.dims()[1]);
        clear(from, w);
        for &(iy, jy, wy) in &self.y {
            for &(ix, jx, wx) in &self.x {
                from[iy * nx + ix] += to[jy * mx + jx].scale(T::of(wy * wx));
            }
        }
    }
}

fn clear<T: Real>(y: &mut [Complex<T>], w: Write) {
    if w == Write::Set {
        y.fill(Complex::new(T::ZERO, T::ZERO));
    }
}

impl<T: Real> LinearOp<T> for FourierCrop {
    fn domain(&self) -> &Space {
        &self.from
    }
    fn range(&self) -> &Space {
        &self.to
    }
    fn scratch_len(&self) -> usize {
        0
    }
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.forward::<T>(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), w);
    }
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.adjoint::<T>(bytemuck::cast_slice(y), bytemuck::cast_slice_mut(x), w);
    }
}

/// Samples a periodic image on another grid over the same area, by trigonometric interpolation: values are kept, not
/// sums.
///
/// # Shapes
/// `image` is (ny, nx) = `from`; the result is (my, mx) = `to`.
///
/// # Errors
/// - [`Error::Param`] for an empty axis,
/// - [`Error::Shape`] when the image does not have the dimensions `from`,
/// - [`Error::OutOfMemory`] for a grid that the memory does not hold.
///
/// ```
/// use exitwave::fft::fourier_resample;
/// let wave: Vec<f64> = (0..8).map(|x| (std::f64::consts::TAU * x as f64 / 8.0).cos()).collect();
/// let fine = fourier_resample(&wave, [1, 8], [1, 32])?;
/// assert!((fine[4] - wave[1]).abs() < 1e-12 && (fine[8] - wave[2]).abs() < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn fourier_resample<T: Real>(image: &[T], from: [usize; 2], to: [usize; 2]) -> Result<Vec<T>, Error> {
    let crop = FourierCrop::new(from, to)?;
    if image.len() != from[0] * from[1] {
        return Err(Error::shape("fourier_resample", &from, &[image.len()]));
    }
    let (coarse, fine) = (Fft2::<T>::new(from)?, Fft2::<T>::new(to)?);
    let mut scratch = vec![Complex::default(); coarse.scratch_len().max(fine.scratch_len())];
    let mut x: Vec<Complex<T>> = image.iter().map(|&v| Complex::new(v, T::ZERO)).collect();
    coarse.forward(&mut x, &mut scratch);
    let mut y = try_zeroed(fine.len())?;
    crop.forward(&x, &mut y, Write::Set);
    fine.inverse(&mut y, &mut scratch);
    let scale = T::of(fine.len() as f64 / coarse.len() as f64);
    Ok(y.iter().map(|z: &Complex<T>| z.re * scale).collect())
}
