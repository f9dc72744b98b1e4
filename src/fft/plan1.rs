//! The one-dimensional transform.

use std::fmt;
use std::sync::Arc;

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Direction;
use crate::real::Real;
use crate::shape::try_reserved;

/// A plan for transforms of `n` points: X(k) = Σ x(r) e^{−2πi k r/n}, and back with 1/n.
///
/// # References
/// J. W. Cooley, J. W. Tukey, Math. Comp. 19, 297 (1965); the algorithms are those of the crate `rustfft`.
///
/// ```
/// use exitwave::fft::Fft1;
/// use num_complex::Complex;
/// let plan = Fft1::<f64>::new(4)?;
/// let mut scratch = vec![Complex::default(); plan.scratch_len()];
/// let mut x = [1.0, 0.0, 0.0, 0.0].map(|re| Complex::new(re, 0.0));
/// plan.forward(&mut x, &mut scratch);
/// assert_eq!(x, [Complex::new(1.0, 0.0); 4]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone)]
pub struct Fft1<T: Real> {
    forward: Arc<dyn rustfft::Fft<T>>,
    inverse: Arc<dyn rustfft::Fft<T>>,
}

impl<T: Real> Fft1<T> {
    /// Plans both directions.
    ///
    /// # Errors
    /// [`Error::Param`] for no points, [`Error::OutOfMemory`] for more than the memory holds.
    pub fn new(n: usize) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::param("n", n, "at least one point"));
        }
        // The planner cannot fail: what it needs at least, the factors of both directions, is asked for here.
        try_reserved::<Complex<T>>(n.saturating_mul(2))?;
        let mut planner = rustfft::FftPlanner::new();
        Ok(Fft1 { forward: planner.plan_fft_forward(n), inverse: planner.plan_fft_inverse(n) })
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.forward.len()
    }

    /// A plan has at least one point.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Elements of scratch that any method needs.
    pub fn scratch_len(&self) -> usize {
        self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len())
    }

    /// Transforms every row of `x` in place, unnormalised. `x` holds any number of rows of n points.
    ///
    /// # Panics
    /// - if `x.len()` is not a multiple of n,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn forward(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.rows(x, Direction::Forward, scratch);
    }

    /// Transforms every row of `x` back, with 1/n.
    ///
    /// # Panics
    /// As [`Fft1::forward`].
    pub fn inverse(&self, x: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.rows(x, Direction::Inverse, scratch);
        let scale = T::of(1.0 / self.len() as f64);
        x.iter_mut().for_each(|z| *z = z.scale(scale));
    }

    /// Transforms every row of `x` in place, unnormalised in both directions.
    pub(crate) fn rows(&self, x: &mut [Complex<T>], direction: Direction, scratch: &mut [Complex<T>]) {
        let plan = match direction {
            Direction::Forward => &self.forward,
            Direction::Inverse => &self.inverse,
        };
        debug_assert_eq!(plan.fft_direction(), direction.rustfft());
        plan.process_with_scratch(x, scratch);
    }
}

impl<T: Real> fmt::Debug for Fft1<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fft1").field("n", &self.len()).field("scalar", &T::NAME).finish()
    }
}
