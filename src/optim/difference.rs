//! Forward differences: the gradient of the total variation.

use std::marker::PhantomData;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words};
use crate::op::{LinearOp, Write, write};
use crate::real::Real;
use crate::shape::Space;

/// The discrete gradient of a real array, `y[c, i] = x[i + e_c] − x[i]`, and 0 at the far edge of axis c.
///
/// Its adjoint is minus the divergence, `x[i] = Σ_c y[c, i − e_c] − y[c, i]`, without the terms outside. ‖D‖² < 4 times
/// the number of axes.
///
/// # Shapes
/// Domain: real, 1 to 3 axes. Range: real, `[axes, …]`.
///
/// # References
/// A. Chambolle, J. Math. Imaging Vis. 20, 89 (2004), section 2.
///
/// ```
/// use exitwave::op::dot_test;
/// use exitwave::optim::Difference;
/// assert!(dot_test(&Difference::<f64>::new(&[5, 4, 3])?, 1).error < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Difference<T: Real> {
    domain: Space,
    range: Space,
    scalar: PhantomData<T>,
}

impl<T: Real> Difference<T> {
    /// The gradient of arrays with these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] for more than three axes, none, or one without elements; [`Error::OutOfMemory`].
    pub fn new(dims: &[usize]) -> Result<Self, Error> {
        if !(1..=3).contains(&dims.len()) {
            return Err(Error::param("dims", format!("{dims:?}"), "1 to 3 axes"));
        }
        let (domain, range) = (Space::real(dims), Space::real(&[&[dims.len()], dims].concat()));
        checked_words("dims", &domain)?;
        checked_words("dims", &range)?;
        Ok(Difference { domain, range, scalar: PhantomData })
    }

    /// An upper bound of ‖D‖², `4 Σ sin²(π(n − 1)/2n)` over the axes.
    pub fn norm_squared(&self) -> f64 {
        let axis = |&n: &usize| 4.0 * (std::f64::consts::FRAC_PI_2 * (n as f64 - 1.0) / n as f64).sin().powi(2);
        self.domain.dims().iter().map(axis).sum()
    }

    /// Length of axis c, and the distance of neighbours along it.
    fn axis(&self, c: usize) -> (usize, usize) {
        let dims = self.domain.dims();
        (dims[c], dims[c + 1..].iter().product())
    }
}

impl<T: Real> LinearOp<T> for Difference<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        // x is (…, n, inner), y is (axes, …, n, inner)
        check_apply(self, x.len(), y.len(), scratch.len());
        for (c, y) in y.chunks_mut(x.len()).enumerate() {
            let (n, inner) = self.axis(c);
            for (x, y) in x.chunks(n * inner).zip(y.chunks_mut(n * inner)) {
                let inside = (n - 1) * inner;
                for i in 0..inside {
                    write(&mut y[i], x[i + inner] - x[i], w);
                }
                y[inside..].iter_mut().for_each(|y| write(y, T::ZERO, w));
            }
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        if w == Write::Set {
            x.fill(T::ZERO);
        }
        let len = x.len();
        for (c, y) in y.chunks(len).enumerate() {
            let (n, inner) = self.axis(c);
            for (x, y) in x.chunks_mut(n * inner).zip(y.chunks(n * inner)) {
                let inside = (n - 1) * inner;
                x[..inside].iter_mut().zip(y).for_each(|(x, &y)| *x -= y);
                x[inner..].iter_mut().zip(&y[..inside]).for_each(|(x, &y)| *x += y);
            }
        }
    }
}
