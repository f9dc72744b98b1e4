//! Elements kept or set to zero.

use std::marker::PhantomData;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words, write};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Field, Space};

/// Elements kept or set to zero, `yᵢ = xᵢ` where `keepᵢ`, else 0: an orthogonal projection, its own adjoint.
///
/// Unlike a [`crate::op::Diagonal`] of zeros and ones it turns a masked NaN or infinity into 0, so that dead pixels
/// cannot leak.
///
/// # Shapes
/// Domain and range are the space it is made with; `keep` has one entry for each of its elements.
#[derive(Clone, Debug)]
pub struct Mask<T: Real> {
    space: Space,
    keep: Vec<bool>,
    scalar: PhantomData<T>,
}

impl<T: Real> Mask<T> {
    /// Keeps the elements whose entry is `true`.
    ///
    /// # Errors
    /// - [`Error::Shape`] when `keep` has another length than the space,
    /// - [`Error::Param`] for a space without elements.
    pub fn new(space: &Space, keep: Vec<bool>) -> Result<Self, Error> {
        checked_words("space", space)?;
        if keep.len() != space.len() {
            return Err(Error::shape("Mask", space.dims(), &[keep.len()]));
        }
        Ok(Mask { space: space.clone(), keep, scalar: PhantomData })
    }
}

impl<T: Real> LinearOp<T> for Mask<T> {
    fn domain(&self) -> &Space {
        &self.space
    }

    fn range(&self) -> &Space {
        &self.space
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        // Words of one element.
        let c = match self.space.field() {
            Field::Real => 1,
            Field::Complex => 2,
        };
        for ((y, x), &keep) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(&self.keep) {
            for (y, &x) in y.iter_mut().zip(x) {
                write(y, if keep { x } else { T::ZERO }, w);
            }
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        self.apply(y, x, w, scratch);
    }
}
