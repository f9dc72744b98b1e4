//! The adjoint as an operator.

use std::sync::Arc;

use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::Space;

/// The adjoint of an operator, `y = Aᴴ x`, as an operator of its own; its adjoint is A.
///
/// # Shapes
/// The domain is A's range, the range is A's domain.
///
/// ```
/// use std::sync::Arc;
/// use exitwave::op::{Adjoint, Crop, LinearOp, Write};
/// use exitwave::shape::Space;
/// // The adjoint of a window is padding with zeros.
/// let pad = Adjoint::new(Arc::new(Crop::<f32>::new(&Space::real(&[4]), &[1], &[2])?));
/// let mut y = [f32::NAN; 4];
/// pad.apply(&[5.0, 6.0], &mut y, Write::Set, &mut []);
/// assert_eq!(y, [0.0, 5.0, 6.0, 0.0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adjoint<T: Real> {
    op: Arc<dyn LinearOp<T>>,
}

impl<T: Real> Adjoint<T> {
    /// Aᴴ. Every operator has one, so this cannot fail.
    pub fn new(op: Arc<dyn LinearOp<T>>) -> Self {
        Adjoint { op }
    }
}

impl<T: Real> LinearOp<T> for Adjoint<T> {
    fn domain(&self) -> &Space {
        self.op.range()
    }

    fn range(&self) -> &Space {
        self.op.domain()
    }

    fn scratch_len(&self) -> usize {
        self.op.scratch_len()
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        self.op.apply_adjoint(x, y, w, scratch);
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        self.op.apply(y, x, w, scratch);
    }
}
