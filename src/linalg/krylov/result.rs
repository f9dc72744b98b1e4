//! What a Krylov solver returns.

use crate::observe::Stop;

/// What a Krylov solver found.
#[derive(Clone, Debug, PartialEq)]
pub struct KrylovResult<T> {
    /// The solution, or the best approximation so far; words of the operator's domain.
    pub x: Vec<T>,
    /// Iterations done.
    pub iterations: usize,
    /// The norm of the residual before the first iteration and after each, `iterations + 1` numbers, as the solver
    /// defines it.
    pub residual: Vec<f64>,
    /// Why it ended.
    pub stop: Stop,
}
