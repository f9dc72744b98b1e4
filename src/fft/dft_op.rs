//! The unitary discrete Fourier transform as a linear operator.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft1, Fft2, Fft3};
use crate::op::linear_op::{check_apply, checked_words};
use crate::op::{LinearOp, Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;

/// The unitary transform over the last axes: y = F x with `y(k) = N^{−1/2} Σ x(r) e^{−2πi k·r}`, so that Fᴴ = F⁻¹.
///
/// # Shapes
/// Domain and range: complex, the given dimensions. Leading axes are a batch.
///
/// ```
/// use exitwave::fft::Dft;
/// use exitwave::op::dot_test;
/// assert!(dot_test(&Dft::<f64>::new(&[3, 12, 7], 2)?, 1).error < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Dft<T: Real> {
    space: Space,
    plan: Plan<T>,
    frame: usize,
    scale: T,
}

#[derive(Debug)]
enum Plan<T: Real> {
    One(Fft1<T>),
    Two(Fft2<T>),
    Three(Fft3<T>),
}

impl<T: Real> Dft<T> {
    /// Plans the transform over the last `axes` (1, 2 or 3) of `dims`. Runs on the calling thread.
    ///
    /// # Errors
    /// [`Error::Param`] for another number of axes, or more than `dims` has, or an empty one; [`Error::OutOfMemory`]
    /// for a number of words that overflows `usize`.
    pub fn new(dims: &[usize], axes: usize) -> Result<Self, Error> {
        checked_words("dims", &Space::complex(dims))?;
        let plan = match (axes, dims) {
            (1, [.., n]) => Plan::One(Fft1::new(*n)?),
            (2, [.., ny, nx]) => Plan::Two(Fft2::new([*ny, *nx])?),
            (3, [.., nz, ny, nx]) => Plan::Three(Fft3::new([*nz, *ny, *nx], Par::seq())?),
            _ => return Err(Error::param("axes", axes, "1, 2 or 3, and no more than there are dimensions")),
        };
        let frame = dims[dims.len() - axes..].iter().product::<usize>();
        Ok(Dft { space: Space::complex(dims), plan, frame, scale: T::of(1.0 / (frame as f64).sqrt()) })
    }

    fn run(&self, x: &[T], y: &mut [T], direction: Direction, w: Write, scratch: &mut [T]) {
        let (x, y): (&[Complex<T>], &mut [Complex<T>]) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
        let (buffer, scratch) = bytemuck::cast_slice_mut::<T, Complex<T>>(scratch).split_at_mut(self.frame);
        for (x, y) in x.chunks(self.frame).zip(y.chunks_mut(self.frame)) {
            buffer.copy_from_slice(x);
            match &self.plan {
                Plan::One(p) => p.rows(buffer, direction, scratch),
                Plan::Two(p) => p.transform(buffer, direction, T::ONE, scratch),
                Plan::Three(p) => p.transform(buffer, direction, T::ONE, scratch),
            }
            y.iter_mut().zip(&*buffer).for_each(|(y, b)| write(y, b.scale(self.scale), w));
        }
    }
}

impl<T: Real> LinearOp<T> for Dft<T> {
    fn domain(&self) -> &Space {
        &self.space
    }
    fn range(&self) -> &Space {
        &self.space
    }
    fn scratch_len(&self) -> usize {
        let plan = match &self.plan {
            Plan::One(p) => p.scratch_len(),
            Plan::Two(p) => p.scratch_len(),
            Plan::Three(p) => p.scratch_len(),
        };
        2 * (self.frame + plan)
    }
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.run(x, y, Direction::Forward, w, &mut scratch[..self.scratch_len()]);
    }
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.run(y, x, Direction::Inverse, w, &mut scratch[..self.scratch_len()]);
    }
}
