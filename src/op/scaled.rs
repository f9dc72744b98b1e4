//! An operator times a number.

use std::sync::Arc;

use num_complex::Complex;

use crate::error::Error;
use crate::op::linear_op::{check_apply, write};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Field, Space};

/// An operator times a number, `y = α A x`; its adjoint is `x = Aᴴ (ᾱ y)`.
///
/// # Shapes
/// Domain and range are those of A.
#[derive(Clone, Debug)]
pub struct Scaled<T: Real> {
    op: Arc<dyn LinearOp<T>>,
    alpha: Complex<T>,
    field: Field,
    // Words of A's range: the scratch vector α̅ y, or A x.
    words: usize,
}

impl<T: Real> Scaled<T> {
    /// α A with real α.
    ///
    /// # Errors
    /// [`Error::Param`] when `alpha` is not finite.
    pub fn new(op: Arc<dyn LinearOp<T>>, alpha: T) -> Result<Self, Error> {
        Self::with(op, Complex::new(alpha, T::ZERO), Field::Real)
    }

    /// α A with complex α.
    ///
    /// # Errors
    /// - [`Error::Param`] when `alpha` is not finite,
    /// - [`Error::Unsupported`] when the range of A is real.
    pub fn complex(op: Arc<dyn LinearOp<T>>, alpha: Complex<T>) -> Result<Self, Error> {
        if op.range().field() == Field::Real {
            return Err(Error::Unsupported { what: "Scaled: a complex factor on a real range".into() });
        }
        Self::with(op, alpha, Field::Complex)
    }

    fn with(op: Arc<dyn LinearOp<T>>, alpha: Complex<T>, field: Field) -> Result<Self, Error> {
        if !(alpha.re.is_finite() && alpha.im.is_finite()) {
            return Err(Error::param("alpha", alpha, "a finite number"));
        }
        let words = op.range().words();
        Ok(Scaled { op, alpha, field, words })
    }

    /// `out = α v` or `out += α v`, on words.
    fn scale(&self, alpha: Complex<T>, v: &[T], out: &mut [T], w: Write) {
        match self.field {
            Field::Real => v.iter().zip(out).for_each(|(&v, out)| write(out, alpha.re * v, w)),
            Field::Complex => {
                let v: &[Complex<T>] = bytemuck::cast_slice(v);
                let out: &mut [Complex<T>] = bytemuck::cast_slice_mut(out);
                v.iter().zip(out).for_each(|(&v, out)| write(out, alpha * v, w));
            }
        }
    }
}

impl<T: Real> LinearOp<T> for Scaled<T> {
    fn domain(&self) -> &Space {
        self.op.domain()
    }

    fn range(&self) -> &Space {
        self.op.range()
    }

    fn scratch_len(&self) -> usize {
        self.words + self.op.scratch_len()
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (ax, scratch) = scratch.split_at_mut(self.words);
        self.op.apply(x, ax, Write::Set, scratch);
        self.scale(self.alpha, ax, y, w);
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (ay, scratch) = scratch.split_at_mut(self.words);
        self.scale(self.alpha.conj(), y, ay, Write::Set);
        self.op.apply_adjoint(ay, x, w, scratch);
    }
}
