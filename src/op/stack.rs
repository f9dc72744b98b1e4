//! Operators one over the other, and side by side.

use std::sync::Arc;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words, same_space};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Field, Space};

/// Operators of one domain, one over the other: `y = (A₁ x, A₂ x, …)`; its adjoint is `x = Σᵢ Aᵢᴴ yᵢ`.
///
/// Operators side by side, `y = Σᵢ Aᵢ xᵢ`, are the [`crate::op::Adjoint`] of a stack of adjoints.
///
/// # Shapes
/// The domain is that of every part. The range is one axis: the elements of the parts' ranges, one range after the
/// other; all are real, or all complex.
#[derive(Clone, Debug)]
pub struct Stack<T: Real> {
    parts: Vec<Arc<dyn LinearOp<T>>>,
    range: Space,
}

impl<T: Real> Stack<T> {
    /// A₁ over A₂ over …
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no part,
    /// - [`Error::Shape`] or [`Error::Unsupported`] when the domains differ,
    /// - [`Error::Unsupported`] when some ranges are real and some complex ([`crate::op::Reshape`] helps).
    pub fn new(parts: Vec<Arc<dyn LinearOp<T>>>) -> Result<Self, Error> {
        let range = concatenated("Stack", parts.iter().map(|a| a.range()))?;
        for part in &parts {
            same_space("Stack: domain", parts[0].domain(), part.domain())?;
        }
        Ok(Stack { parts, range })
    }
}

impl<T: Real> LinearOp<T> for Stack<T> {
    fn domain(&self) -> &Space {
        self.parts[0].domain()
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        largest_scratch(&self.parts)
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let mut rest = y;
        for a in &self.parts {
            let (part, after) = rest.split_at_mut(a.range().words());
            a.apply(x, part, w, scratch);
            rest = after;
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (mut rest, mut w) = (y, w);
        for a in &self.parts {
            let (part, after) = rest.split_at(a.range().words());
            a.apply_adjoint(part, x, w, scratch);
            (rest, w) = (after, Write::Add);
        }
    }
}

/// Operators each on its own part: `y = (A₁ x₁, A₂ x₂, …)`; its adjoint is `x = (A₁ᴴ y₁, A₂ᴴ y₂, …)`.
///
/// # Shapes
/// Domain and range are one axis each: the elements of the blocks' domains (ranges), one after the other; all domains
/// are real, or all complex, and so are all ranges.
#[derive(Clone, Debug)]
pub struct BlockDiagonal<T: Real> {
    blocks: Vec<Arc<dyn LinearOp<T>>>,
    domain: Space,
    range: Space,
}

impl<T: Real> BlockDiagonal<T> {
    /// diag(A₁, A₂, …).
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no block,
    /// - [`Error::Unsupported`] when some domains, or some ranges, are real and some complex.
    pub fn new(blocks: Vec<Arc<dyn LinearOp<T>>>) -> Result<Self, Error> {
        let domain = concatenated("BlockDiagonal", blocks.iter().map(|a| a.domain()))?;
        let range = concatenated("BlockDiagonal", blocks.iter().map(|a| a.range()))?;
        Ok(BlockDiagonal { blocks, domain, range })
    }
}

impl<T: Real> LinearOp<T> for BlockDiagonal<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        largest_scratch(&self.blocks)
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (mut i, mut j) = (0, 0);
        for a in &self.blocks {
            let (n, m) = (a.domain().words(), a.range().words());
            a.apply(&x[i..i + n], &mut y[j..j + m], w, scratch);
            (i, j) = (i + n, j + m);
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let (mut i, mut j) = (0, 0);
        for a in &self.blocks {
            let (n, m) = (a.domain().words(), a.range().words());
            a.apply_adjoint(&y[j..j + m], &mut x[i..i + n], w, scratch);
            (i, j) = (i + n, j + m);
        }
    }
}

/// One axis with the elements of all spaces, which must be of one field.
fn concatenated<'a>(op: &'static str, spaces: impl Iterator<Item = &'a Space>) -> Result<Space, Error> {
    let (mut len, mut field) = (0usize, None);
    for space in spaces {
        len = len.checked_add(space.len()).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
        if *field.get_or_insert(space.field()) != space.field() {
            return Err(Error::Unsupported {
                what: format!("{op}: real and complex parts together (see op::Reshape)"),
            });
        }
    }
    let space = match field {
        None => return Err(Error::param("parts", 0, "at least one operator")),
        Some(Field::Real) => Space::real(&[len]),
        Some(Field::Complex) => Space::complex(&[len]),
    };
    checked_words("parts", &space)?;
    Ok(space)
}

fn largest_scratch<T: Real>(ops: &[Arc<dyn LinearOp<T>>]) -> usize {
    ops.iter().map(|a| a.scratch_len()).max().unwrap_or(0)
}
