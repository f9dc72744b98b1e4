//! The two-dimensional transform: sixteen lines at a time, or rows · transpose · rows (· transpose).

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::frame::FrameFft;
use crate::fft::transpose::{BAND, transpose_band};
use crate::fft::{Direction, Fft1};
use crate::par::Par;
use crate::real::Real;
use crate::shape::checked_len;

/// A plan for frames of (ny, nx) points: X(ky, kx) = Σ x(y, x) e^{−2πi (ky y/ny + kx x/nx)}, and back with 1/(ny nx).
///
/// Sides without a prime factor above 13 are transformed sixteen rows and then sixteen columns at a time, a line in each
/// lane of a vector. For others a band of rows is transformed and written, transposed, into another buffer, while it is still
/// in the first-level cache. The `_transposed` methods leave out one transposition: their spectrum is (nx, ny), which is as
/// good wherever it is multiplied by something that can be stored transposed as well.
///
/// # Shapes
/// A frame is (ny, nx), and so is its spectrum, but (nx, ny) where a method says so; the zero frequency is at index 0.
///
/// ```
/// use exitwave::fft::Fft2;
/// use num_complex::Complex;
/// let plan = Fft2::<f32>::new([64, 48])?;
/// let mut scratch = vec![Complex::default(); plan.scratch_len()];
/// let mut x = vec![Complex::new(1.0, 0.0); plan.len()];
/// plan.forward(&mut x, &mut scratch);
/// assert_eq!(x[0].re, 64.0 * 48.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fft2<T: Real> {
    along_x: Fft1<T>,
    along_y: Fft1<T>,
    /// Sixteen lines at a time, where the sides allow it.
    lanes: Option<FrameFft<T>>,
}

impl<T: Real> Fft2<T> {
    /// Plans both directions for frames of `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty frame, [`Error::OutOfMemory`] for one too large to be planned.
    pub fn new([ny, nx]: [usize; 2]) -> Result<Self, Error> {
        checked_len(&[ny, nx])?;
        Ok(Fft2 { along_x: Fft1::new(nx)?, along_y: Fft1::new(ny)?, lanes: FrameFft::new([ny, nx])? })
    }

    /// `[ny, nx]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.along_y.len(), self.along_x.len()]
    }

    /// Elements in a frame.
    pub fn len(&self) -> usize {
        self.along_y.len() * self.along_x.len()
    }

    /// A frame has at least one point.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Elements of scratch that any method needs: about a frame.
    pub fn scratch_len(&self) -> usize {
        if self.lanes.is_some() { self.row_scratch_len() } else { self.len() + self.row_scratch_len() }
    }

    /// Transforms one frame in place, unnormalised.
    ///
    /// # Panics
    /// - if `x.len() != self.len()`,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn forward(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.transform(x, Direction::Forward, T::ONE, scratch);
    }

    /// Transforms one frame back, with 1/(ny nx).
    ///
    /// # Panics
    /// As [`Fft2::forward`].
    pub fn inverse(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.transform(x, Direction::Inverse, self.inverse_scale(), scratch);
    }

    /// Transforms one frame in place, times `scale`, which costs nothing extra.
    ///
    /// # Panics
    /// As [`Fft2::forward`].
    pub fn transform(&self, x: &mut [Complex<T>], direction: Direction, scale: T, scratch: &mut [Complex<T>]) {
        self.check(x, scratch);
        if let Some(lanes) = &self.lanes {
            return lanes.transform(x, direction, scale, scratch);
        }
        let (other, scratch) = scratch.split_at_mut(self.len());
        pass(&self.along_x, x, other, direction, T::ONE, scratch);
        pass(&self.along_y, other, x, direction, scale, scratch);
    }

    /// Transforms one frame in place, unnormalised; the spectrum is left as (nx, ny).
    ///
    /// # Panics
    /// As [`Fft2::forward`].
    pub fn forward_transposed(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.check(x, scratch);
        if let Some(lanes) = &self.lanes {
            return lanes.transposed(None, x, Direction::Forward, T::ONE, scratch);
        }
        // The last rows must end up in `x`: the first pass runs on a copy, and its transposition writes back.
        let (other, scratch) = scratch.split_at_mut(self.len());
        other.copy_from_slice(x);
        self.forward_into_transposed(other, x, scratch);
    }

    /// Transforms a transposed spectrum (nx, ny) back to a frame (ny, nx), with 1/(ny nx).
    ///
    /// # Panics
    /// As [`Fft2::forward`].
    pub fn inverse_transposed(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.check(x, scratch);
        if let Some(lanes) = &self.lanes {
            return lanes.transposed(None, x, Direction::Inverse, self.inverse_scale(), scratch);
        }
        let (other, scratch) = scratch.split_at_mut(self.len());
        other.copy_from_slice(x);
        self.inverse_from_transposed(other, x, self.inverse_scale(), scratch);
    }

    /// Transforms `from` (overwritten with rubbish) into the transposed spectrum `to`, (nx, ny), unnormalised. The
    /// cheapest form: two passes of rows and one transposition.
    ///
    /// # Panics
    /// - if `from.len() != self.len()` or `to.len() != self.len()`,
    /// - if `scratch.len() < self.row_scratch_len()`.
    pub fn forward_into_transposed(&self, from: &mut [Complex<T>], to: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        check_len("Fft2", "from", self.len(), from.len());
        check_len("Fft2", "to", self.len(), to.len());
        if let Some(lanes) = &self.lanes {
            return lanes.transposed(Some(from), to, Direction::Forward, T::ONE, scratch);
        }
        pass(&self.along_x, from, to, Direction::Forward, T::ONE, scratch);
        self.along_y.rows(to, Direction::Forward, scratch);
    }

    /// Transforms the transposed spectrum `from` (overwritten with rubbish) back into the frame `to`, times `scale`:
    /// the adjoint of [`Fft2::forward_into_transposed`] for scale 1, its inverse for 1/(ny nx).
    ///
    /// # Panics
    /// As [`Fft2::forward_into_transposed`].
    pub fn inverse_from_transposed(
        &self,
        from: &mut [Complex<T>],
        to: &mut [Complex<T>],
        scale: T,
        scratch: &mut [Complex<T>],
    ) {
        check_len("Fft2", "from", self.len(), from.len());
        check_len("Fft2", "to", self.len(), to.len());
        if let Some(lanes) = &self.lanes {
            return lanes.transposed(Some(from), to, Direction::Inverse, scale, scratch);
        }
        pass(&self.along_y, from, to, Direction::Inverse, scale, scratch);
        self.along_x.rows(to, Direction::Inverse, scratch);
    }

    /// Elements of scratch that the `_into_transposed` and `_from_transposed` methods need: a frame at most.
    pub fn row_scratch_len(&self) -> usize {
        let rows = self.along_x.scratch_len().max(self.along_y.scratch_len());
        self.lanes.as_ref().map_or(rows, FrameFft::scratch_len)
    }

    /// Elements of scratch with which [`Fft2::batch`] uses every thread.
    pub fn batch_scratch_len(&self, par: &Par) -> usize {
        par.count() * self.scratch_len()
    }

    /// Transforms any number of consecutive frames, threaded over the frames; the inverse with 1/(ny nx). As many threads
    /// work as have [`Fft2::scratch_len`] elements of `scratch`.
    ///
    /// # Panics
    /// - if `frames.len()` is not a multiple of `self.len()`,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn batch(&self, frames: &mut [Complex<T>], direction: Direction, par: &Par, scratch: &mut [Complex<T>]) {
        if scratch.len() < self.scratch_len() {
            crate::error::length_mismatch("Fft2::batch", "scratch", self.scratch_len(), scratch.len());
        }
        if !frames.len().is_multiple_of(self.len()) {
            crate::error::length_mismatch(
                "Fft2::batch",
                "frames",
                frames.len().next_multiple_of(self.len()),
                frames.len(),
            );
        }
        let scale = match direction {
            Direction::Forward => T::ONE,
            Direction::Inverse => self.inverse_scale(),
        };
        let mut scratch: Vec<_> = scratch.chunks_exact_mut(self.scratch_len()).collect();
        par.chunks_with(frames, self.len(), &mut scratch, |_, frame, s| self.transform(frame, direction, scale, s));
    }

    /// The plans of the rows, `[along y, along x]`: for callers that do their own work between the passes, while a band
    /// of rows is in the cache.
    pub(crate) fn axes(&self) -> [&Fft1<T>; 2] {
        [&self.along_y, &self.along_x]
    }

    fn inverse_scale(&self) -> T {
        T::of(1.0 / self.len() as f64)
    }

    fn check(&self, x: &[Complex<T>], scratch: &[Complex<T>]) {
        check_len("Fft2", "x", self.len(), x.len());
        if scratch.len() < self.scratch_len() {
            crate::error::length_mismatch("Fft2", "scratch", self.scratch_len(), scratch.len());
        }
    }
}

/// Transforms the rows of `x` (overwritten) and writes them, times `scale`, as the columns of `y`.
fn pass<T: Real>(
    plan: &Fft1<T>,
    x: &mut [Complex<T>],
    y: &mut [Complex<T>],
    direction: Direction,
    scale: T,
    scratch: &mut [Complex<T>],
) {
    let n = plan.len();
    for (b, band) in x.chunks_mut(BAND * n).enumerate() {
        plan.rows(band, direction, scratch);
        transpose_band(band, y, n, b * BAND, scale);
    }
}
