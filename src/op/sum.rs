//! The sum of operators.

use std::sync::Arc;

use crate::error::Error;
use crate::op::linear_op::{check_apply, same_space};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::Space;

/// The sum of operators between the same two spaces, `y = Σᵢ Aᵢ x`; its adjoint is `x = Σᵢ Aᵢᴴ y`.
///
/// The terms are added in their order.
///
/// # Shapes
/// Domain and range are those of every term.
#[derive(Clone, Debug)]
pub struct Sum<T: Real> {
    terms: Vec<Arc<dyn LinearOp<T>>>,
}

impl<T: Real> Sum<T> {
    /// A₁ + A₂ + …
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no term,
    /// - [`Error::Shape`] or [`Error::Unsupported`] when domains or ranges differ.
    pub fn new(terms: Vec<Arc<dyn LinearOp<T>>>) -> Result<Self, Error> {
        let Some(first) = terms.first() else {
            return Err(Error::param("terms", 0, "at least one operator"));
        };
        for term in &terms {
            same_space("Sum: domain", first.domain(), term.domain())?;
            same_space("Sum: range", first.range(), term.range())?;
        }
        Ok(Sum { terms })
    }
}

impl<T: Real> LinearOp<T> for Sum<T> {
    fn domain(&self) -> &Space {
        self.terms[0].domain()
    }

    fn range(&self) -> &Space {
        self.terms[0].range()
    }

    fn scratch_len(&self) -> usize {
        self.terms.iter().map(|a| a.scratch_len()).max().unwrap_or(0)
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        self.terms[0].apply(x, y, w, scratch);
        for a in &self.terms[1..] {
            a.apply(x, y, Write::Add, scratch);
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        self.terms[0].apply_adjoint(y, x, w, scratch);
        for a in &self.terms[1..] {
            a.apply_adjoint(y, x, Write::Add, scratch);
        }
    }
}
