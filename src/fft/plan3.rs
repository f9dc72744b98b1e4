//! The three-dimensional transform.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{Direction, Fft1, Fft2};
use crate::par::Par;
use crate::real::Real;
use crate::shape::checked_len;

/// Columns along z that are gathered, transformed and put back together.
const COLUMNS: usize = 64;

/// A plan for volumes, threaded: X(k) = Σ x(r) e^{−2πi (kz z/nz + ky y/ny + kx x/nx)}, and back with 1/(nz ny nx).
///
/// Planes are transformed first, then columns along z, gathered a few at a time. The same bits for any number of
/// threads.
///
/// # Shapes
/// A volume is (nz, ny, nx), and so is its spectrum, with the zero frequency at index 0.
#[derive(Clone, Debug)]
pub struct Fft3<T: Real> {
    along_z: Fft1<T>,
    plane: Fft2<T>,
    par: Par,
}

impl<T: Real> Fft3<T> {
    /// Plans both directions for volumes of `[nz, ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty volume, [`Error::OutOfMemory`] for one too large to be planned.
    pub fn new([nz, ny, nx]: [usize; 3], par: Par) -> Result<Self, Error> {
        checked_len(&[nz, ny, nx])?;
        Ok(Fft3 { along_z: Fft1::new(nz)?, plane: Fft2::new([ny, nx])?, par })
    }

    /// `[nz, ny, nx]`.
    pub fn dims(&self) -> [usize; 3] {
        let [ny, nx] = self.plane.dims();
        [self.along_z.len(), ny, nx]
    }

    /// Elements in a volume.
    pub fn len(&self) -> usize {
        self.along_z.len() * self.plane.len()
    }

    /// A volume has at least one point.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Elements of scratch that any method needs: a volume, and what each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.len() + self.par.count() * self.thread_scratch_len()
    }

    /// Transforms a volume in place, unnormalised.
    ///
    /// # Panics
    /// - if `x.len() != self.len()`,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn forward(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.transform(x, Direction::Forward, T::ONE, scratch);
    }

    /// Transforms a volume back, with 1/(nz ny nx).
    ///
    /// # Panics
    /// As [`Fft3::forward`].
    pub fn inverse(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.transform(x, Direction::Inverse, T::of(1.0 / self.len() as f64), scratch);
    }

    /// Transforms a volume in place, times `scale`.
    ///
    /// # Panics
    /// As [`Fft3::forward`].
    pub fn transform(&self, x: &mut [Complex<T>], direction: Direction, scale: T, scratch: &mut [Complex<T>]) {
        // x is (nz, ny·nx); `columns` is (ny·nx, nz), the volume with z as the fastest axis.
        let (nz, plane) = (self.along_z.len(), self.plane.len());
        check_len("Fft3", "x", self.len(), x.len());
        if scratch.len() < self.scratch_len() {
            crate::error::length_mismatch("Fft3", "scratch", self.scratch_len(), scratch.len());
        }
        let (columns, rest) = scratch.split_at_mut(self.len());
        // What is beyond the states of all threads is not used.
        let mut states: Vec<&mut [Complex<T>]> =
            rest.chunks_exact_mut(self.thread_scratch_len()).take(self.par.count()).collect();

        self.par.chunks_with(x, plane, &mut states, |_, frame, s| self.plane.transform(frame, direction, T::ONE, s));

        // Each task gathers a few columns from all planes and transforms them.
        let x_read: &[Complex<T>] = x;
        self.par.chunks_with(columns, COLUMNS * nz, &mut states, |c, part, s| {
            for (j, column) in part.chunks_mut(nz).enumerate() {
                for (z, value) in column.iter_mut().enumerate() {
                    *value = x_read[z * plane + c * COLUMNS + j];
                }
            }
            self.along_z.rows(part, direction, s);
        });

        // Back to planes: row z of x is column z of `columns`.
        let columns_read: &[Complex<T>] = columns;
        self.par.chunks_with(x, plane, &mut states, |z, frame, _| {
            for (p, value) in frame.iter_mut().enumerate() {
                *value = columns_read[p * nz + z].scale(scale);
            }
        });
    }

    fn thread_scratch_len(&self) -> usize {
        self.plane.scratch_len().max(self.along_z.scratch_len()).max(1)
    }
}
