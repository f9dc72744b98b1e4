//! The contract of a linear operator.

use std::fmt::Debug;

use crate::error::Error;
use crate::real::Real;
use crate::shape::{Field, Space, checked_len};

/// What a kernel does with its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Overwrites it; what stood there (even NaN) has no influence.
    Set,
    /// Adds to it.
    Add,
}

/// Puts `value` where `w` says: `*y = value` or `*y += value`.
#[inline(always)]
pub fn write<E: Copy + std::ops::Add<Output = E>>(y: &mut E, value: E, w: Write) {
    *y = match w {
        Write::Set => value,
        Write::Add => *y + value,
    };
}

/// A linear operator A with its adjoint Aᴴ, in the erased form on words of `T` (a complex number is two words).
///
/// The inner product is the dot product of words, `⟨u, v⟩ = Re Σ ū v`; with it an operator that is only real-linear has
/// an adjoint too. Every operator of the crate passes [`crate::op::dot_test`] to 1e-12 in `f64`.
///
/// An operator allocates when it is made, never when it is applied. Results are the same bits for any number of
/// threads.
///
/// ```
/// use exitwave::op::{dot_test, LinearOp, Write, write};
/// use exitwave::shape::Space;
///
/// /// Multiplication by one number.
/// #[derive(Debug)]
/// struct Gain(f64, Space);
///
/// impl LinearOp<f64> for Gain {
///     fn domain(&self) -> &Space { &self.1 }
///     fn range(&self) -> &Space { &self.1 }
///     fn scratch_len(&self) -> usize { 0 }
///     fn apply(&self, x: &[f64], y: &mut [f64], w: Write, _: &mut [f64]) {
///         for (y, &x) in y.iter_mut().zip(x) { write(y, self.0 * x, w) }
///     }
///     fn apply_adjoint(&self, y: &[f64], x: &mut [f64], w: Write, s: &mut [f64]) {
///         self.apply(y, x, w, s)
///     }
/// }
/// let gain = Gain(2.5, Space::real(&[7, 4]));
/// assert!(dot_test(&gain, 1).error < 1e-12);
/// ```
pub trait LinearOp<T: Real>: Debug + Send + Sync {
    /// Where x lives.
    fn domain(&self) -> &Space;

    /// Where y = A x lives.
    fn range(&self) -> &Space;

    /// Words of scratch that both directions need.
    fn scratch_len(&self) -> usize;

    /// `y = A x`, or `y += A x`.
    ///
    /// # Panics
    /// - if `x.len() != self.domain().words()`,
    /// - if `y.len() != self.range().words()`,
    /// - if `scratch.len() < self.scratch_len()`.
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]);

    /// `x = Aᴴ y`, or `x += Aᴴ y`.
    ///
    /// # Panics
    /// As [`LinearOp::apply`], with x and y exchanged.
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]);
}

/// Checks the three lengths of an application; the operators of the crate call it first.
#[track_caller]
pub(crate) fn check_apply<T: Real>(op: &dyn LinearOp<T>, x: usize, y: usize, scratch: usize) {
    crate::error::check_len("LinearOp", "x", op.domain().words(), x);
    crate::error::check_len("LinearOp", "y", op.range().words(), y);
    if scratch < op.scratch_len() {
        crate::error::length_mismatch("LinearOp", "scratch", op.scratch_len(), scratch)
    }
}

/// The words of a space, checked when an operator is made: at least one element, and a length that fits into `usize`.
pub(crate) fn checked_words(name: &'static str, space: &Space) -> Result<usize, Error> {
    let len = checked_len(space.dims())?;
    if len == 0 {
        return Err(Error::param(name, format!("{:?}", space.dims()), "a space with at least one element"));
    }
    let words = match space.field() {
        Field::Real => Some(len),
        Field::Complex => len.checked_mul(2),
    };
    words.ok_or(Error::OutOfMemory { bytes: u64::MAX })
}

/// Demands that two operators meet in the same space: the same dimensions, and the same field.
pub(crate) fn same_space(op: &'static str, expected: &Space, got: &Space) -> Result<(), Error> {
    if expected.dims() != got.dims() {
        return Err(Error::shape(op, expected.dims(), got.dims()));
    }
    if expected.field() != got.field() {
        return Err(Error::Unsupported {
            what: format!("{op}: one space is {:?}, the other {:?} (see op::Reshape)", expected.field(), got.field()),
        });
    }
    Ok(())
}
