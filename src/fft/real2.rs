//! The two-dimensional transform of real images.

use std::fmt;
use std::sync::Arc;

use num_complex::Complex;
use realfft::{ComplexToReal, RealToComplex};

use crate::error::{Error, check_len};
use crate::fft::transpose::transpose;
use crate::fft::{Direction, Fft1};
use crate::real::Real;
use crate::shape::{checked_len, try_reserved};

/// A plan for real images and their half spectra, X(ky, kx) = Σ x(y, x) e^{−2πi (ky y/ny + kx x/nx)} for kx ≥ 0, and
/// back with 1/(ny nx). The coefficients with kx < 0 are X(−ky, −kx) = X̄(ky, kx), and are not stored.
///
/// # Shapes
/// An image is (ny, nx), its spectrum (ny, nx/2 + 1), rounded down, with the zero frequency at index 0.
///
/// ```
/// use exitwave::fft::RealFft2;
/// use num_complex::Complex;
/// let plan = RealFft2::<f64>::new([3, 4])?;
/// let mut scratch = vec![Complex::default(); plan.scratch_len()];
/// let mut spectrum = vec![Complex::default(); 3 * 3];
/// plan.forward(&mut [1.0; 12], &mut spectrum, &mut scratch);
/// assert_eq!((spectrum[0].re, spectrum[1].re), (12.0, 0.0));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone)]
pub struct RealFft2<T: Real> {
    rows_forward: Arc<dyn RealToComplex<T>>,
    rows_inverse: Arc<dyn ComplexToReal<T>>,
    along_y: Fft1<T>,
}

impl<T: Real> RealFft2<T> {
    /// Plans both directions for images of `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty image, [`Error::OutOfMemory`] for one too large to be planned.
    pub fn new([ny, nx]: [usize; 2]) -> Result<Self, Error> {
        checked_len(&[ny, nx])?;
        if nx == 0 {
            return Err(Error::param("nx", nx, "at least one point"));
        }
        try_reserved::<Complex<T>>(nx)?;
        let mut planner = realfft::RealFftPlanner::new();
        Ok(RealFft2 {
            rows_forward: planner.plan_fft_forward(nx),
            rows_inverse: planner.plan_fft_inverse(nx),
            along_y: Fft1::new(ny)?,
        })
    }

    /// `[ny, nx]` of the image.
    pub fn dims(&self) -> [usize; 2] {
        [self.along_y.len(), self.rows_forward.len()]
    }

    /// `[ny, nx/2 + 1]` of the spectrum.
    pub fn spectrum_dims(&self) -> [usize; 2] {
        [self.along_y.len(), self.rows_forward.len() / 2 + 1]
    }

    /// Complex elements of scratch that both directions need.
    pub fn scratch_len(&self) -> usize {
        let [ny, half] = self.spectrum_dims();
        let rows = self.rows_forward.get_scratch_len().max(self.rows_inverse.get_scratch_len());
        ny * half + rows.max(self.along_y.scratch_len())
    }

    /// The half spectrum of an image, unnormalised. The image is used as scratch.
    ///
    /// # Panics
    /// - if `image` or `spectrum` do not have the plan's size,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn forward(&self, image: &mut [T], spectrum: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        let ([ny, nx], [_, half]) = (self.dims(), self.spectrum_dims());
        let (columns, scratch) = self.split(image.len(), spectrum.len(), scratch);
        for (row, out) in image.chunks_mut(nx).zip(spectrum.chunks_mut(half)) {
            self.rows_forward.process_with_scratch(row, out, scratch).expect("the lengths were checked");
        }
        transpose([ny, half], spectrum, columns);
        self.along_y.rows(columns, Direction::Forward, scratch);
        transpose([half, ny], columns, spectrum);
    }

    /// The image of a half spectrum, with 1/(ny nx). The spectrum is used as scratch. Imaginary parts that no real
    /// image has (at kx = 0 and kx = nx/2, after the transform along y) are ignored.
    ///
    /// # Panics
    /// As [`RealFft2::forward`].
    pub fn inverse(&self, spectrum: &mut [Complex<T>], image: &mut [T], scratch: &mut [Complex<T>]) {
        let ([ny, nx], [_, half]) = (self.dims(), self.spectrum_dims());
        let (columns, scratch) = self.split(image.len(), spectrum.len(), scratch);
        transpose([ny, half], spectrum, columns);
        self.along_y.rows(columns, Direction::Inverse, scratch);
        transpose([half, ny], columns, spectrum);
        let scale = T::of(1.0 / (ny * nx) as f64);
        for (row, out) in spectrum.chunks_mut(half).zip(image.chunks_mut(nx)) {
            row[0].im = T::ZERO;
            if nx.is_multiple_of(2) {
                row[half - 1].im = T::ZERO;
            }
            self.rows_inverse.process_with_scratch(row, out, scratch).expect("the lengths were checked");
            out.iter_mut().for_each(|v| *v *= scale);
        }
    }

    fn split<'s>(
        &self,
        image: usize,
        spectrum: usize,
        scratch: &'s mut [Complex<T>],
    ) -> (&'s mut [Complex<T>], &'s mut [Complex<T>]) {
        let ([ny, nx], [_, half]) = (self.dims(), self.spectrum_dims());
        check_len("RealFft2", "image", ny * nx, image);
        check_len("RealFft2", "spectrum", ny * half, spectrum);
        if scratch.len() < self.scratch_len() {
            crate::error::length_mismatch("RealFft2", "scratch", self.scratch_len(), scratch.len());
        }
        scratch.split_at_mut(ny * half)
    }
}

impl<T: Real> fmt::Debug for RealFft2<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealFft2").field("dims", &self.dims()).field("scalar", &T::NAME).finish()
    }
}
