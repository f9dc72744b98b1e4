//! The product of two operators.

use std::sync::Arc;

use crate::error::Error;
use crate::op::linear_op::{check_apply, same_space};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::Space;

/// The product of two operators, `y = A (B x)`; `Compose::new(A, B)` reads as the formula.
///
/// `x = Bᴴ (Aᴴ y)` is its adjoint. The intermediate vector lives in the scratch.
///
/// # Shapes
/// The domain is B's, the range is A's.
#[derive(Clone, Debug)]
pub struct Compose<T: Real> {
    a: Arc<dyn LinearOp<T>>,
    b: Arc<dyn LinearOp<T>>,
    // Words between B and A.
    middle: usize,
}

impl<T: Real> Compose<T> {
    /// A B: B acts first.
    ///
    /// # Errors
    /// [`Error::Shape`], or [`Error::Unsupported`] for a real space against a complex one, when the range of `b` is not
    /// the domain of `a`.
    pub fn new(a: Arc<dyn LinearOp<T>>, b: Arc<dyn LinearOp<T>>) -> Result<Self, Error> {
        same_space("Compose", a.domain(), b.range())?;
        let middle = a.domain().words();
        Ok(Compose { a, b, middle })
    }
}

impl<T: Real> LinearOp<T> for Compose<T> {
    fn domain(&self) -> &Space {
        self.b.domain()
    }

    fn range(&self) -> &Space {
        self.a.range()
    }

    fn scratch_len(&self) -> usize {
        self.middle + self.a.scratch_len().max(self.b.scratch_len())
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (middle, scratch) = scratch.split_at_mut(self.middle);
        self.b.apply(x, middle, Write::Set, scratch);
        self.a.apply(middle, y, w, scratch);
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (middle, scratch) = scratch.split_at_mut(self.middle);
        self.a.apply_adjoint(y, middle, Write::Set, scratch);
        self.b.apply_adjoint(middle, x, w, scratch);
    }
}
