//! The identity, and the same words under other dimensions.

use std::marker::PhantomData;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words, write};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::Space;

/// The identity, `y = x`.
///
/// # Shapes
/// Domain and range are the space it is made with.
#[derive(Clone, Debug)]
pub struct Identity<T: Real> {
    space: Space,
    scalar: PhantomData<T>,
}

impl<T: Real> Identity<T> {
    /// The identity of a space.
    ///
    /// # Errors
    /// [`Error::Param`] for a space without elements, [`Error::OutOfMemory`] for one that overflows `usize`.
    pub fn new(space: &Space) -> Result<Self, Error> {
        checked_words("space", space)?;
        Ok(Identity { space: space.clone(), scalar: PhantomData })
    }
}

impl<T: Real> LinearOp<T> for Identity<T> {
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
        copy(x, y, w);
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        copy(y, x, w);
    }
}

/// The same words in the same order under other dimensions, `y = x`; a complex space may be read as a real one with
/// twice the elements. It preserves the inner product of words, so its adjoint is its inverse.
///
/// # Shapes
/// Any two spaces with the same number of words.
#[derive(Clone, Debug)]
pub struct Reshape<T: Real> {
    domain: Space,
    range: Space,
    scalar: PhantomData<T>,
}

impl<T: Real> Reshape<T> {
    /// From one space to another of as many words.
    ///
    /// # Errors
    /// - [`Error::Shape`] when the numbers of words differ,
    /// - [`Error::Param`] for a space without elements, [`Error::OutOfMemory`] for one that overflows `usize`.
    pub fn new(domain: &Space, range: &Space) -> Result<Self, Error> {
        if checked_words("domain", domain)? != checked_words("range", range)? {
            return Err(Error::shape("Reshape", domain.dims(), range.dims()));
        }
        Ok(Reshape { domain: domain.clone(), range: range.clone(), scalar: PhantomData })
    }
}

impl<T: Real> LinearOp<T> for Reshape<T> {
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
        check_apply(self, x.len(), y.len(), scratch.len());
        copy(x, y, w);
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        copy(y, x, w);
    }
}

fn copy<T: Real>(from: &[T], to: &mut [T], w: Write) {
    match w {
        Write::Set => to.copy_from_slice(from),
        Write::Add => from.iter().zip(to).for_each(|(&v, out)| write(out, v, w)),
    }
}
