//! What the proximal solvers share: terms, parameters, results, the norm of an operator.

use std::sync::Arc;

use crate::error::Error;
use crate::observe::{Observer, Step, Stop};
use crate::op::{LinearOp, Write};
use crate::optim::{Prox, dot};
use crate::real::Real;
use crate::rng;
use crate::shape::try_zeroed;

/// A term `g(K x)` of a sum.
#[derive(Clone, Debug)]
pub struct Term<T: Real> {
    /// K.
    pub op: Arc<dyn LinearOp<T>>,
    /// g.
    pub prox: Prox<T>,
}

/// How a proximal solver works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProximalParams {
    /// The most iterations.
    pub iterations: usize,
    /// Converged when x changes by less than this times its norm in one iteration; 0: never.
    pub tolerance: f64,
}

impl Default for ProximalParams {
    fn default() -> Self {
        ProximalParams { iterations: 200, tolerance: 1e-5 }
    }
}

/// What a proximal solver returns.
#[derive(Clone, Debug)]
pub struct ProximalResult<T: Real> {
    /// The answer.
    pub x: Vec<T>,
    /// Iterations done.
    pub iterations: usize,
    /// The sum that is minimised, after each iteration; constraints count as 0.
    pub loss: Vec<f64>,
    /// Why it ended.
    pub stop: Stop,
}

/// ‖A‖, the largest singular value, by the power method on AᴴA from a random start. It approaches from below; after 50
/// iterations solvers add a few per cent.
///
/// # Errors
/// [`Error::OutOfMemory`]; [`Error::NotFinite`] when the operator returns NaN.
///
/// # References
/// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), section 8.2.1.
pub fn operator_norm<T: Real>(op: &dyn LinearOp<T>, iterations: usize) -> Result<f64, Error> {
    let (n, m) = (op.domain().words(), op.range().words());
    let (mut x, mut y, mut scratch): (Vec<T>, Vec<T>, Vec<T>) =
        (try_zeroed(n)?, try_zeroed(m)?, try_zeroed(op.scratch_len())?);
    let mut r = rng::stream(0, 0);
    x.iter_mut().for_each(|x| *x = T::of(rng::normal(&mut r)));
    let mut square = 0.0;
    for step in 0..iterations.max(1) {
        let norm = dot(&x, &x).sqrt();
        if norm == 0.0 {
            return Ok(0.0);
        }
        x.iter_mut().for_each(|x| *x = T::of(x.f64() / norm));
        op.apply(&x, &mut y, Write::Set, &mut scratch);
        square = dot(&y, &y);
        if !square.is_finite() {
            return Err(Error::NotFinite { node: "operator_norm".into(), step });
        }
        op.apply_adjoint(&y, &mut x, Write::Set, &mut scratch);
    }
    Ok(square.sqrt())
}

/// The bookkeeping of one run.
pub(crate) struct Progress {
    params: ProximalParams,
    loss: Vec<f64>,
}

impl Progress {
    pub fn new(params: ProximalParams) -> Result<Self, Error> {
        if params.iterations == 0 {
            return Err(Error::param("iterations", 0, "at least 1"));
        }
        if params.tolerance < 0.0 || params.tolerance.is_nan() {
            return Err(Error::param("tolerance", params.tolerance, "a number that is not negative"));
        }
        Ok(Progress { params, loss: Vec::new() })
    }

    /// Books an iteration that went from `before` to `x`; says whether it was the last.
    pub fn step<T: Real>(
        &mut self,
        loss: f64,
        before: &[T],
        x: &[T],
        observe: &mut Observer<'_>,
    ) -> Result<Option<Stop>, Error> {
        let iteration = self.loss.len() + 1;
        let change: f64 = x.iter().zip(before).map(|(a, b)| (a.f64() - b.f64()).powi(2)).sum::<f64>().sqrt();
        if !(loss.is_finite() && change.is_finite()) {
            return Err(Error::NotFinite { node: "loss".into(), step: iteration });
        }
        self.loss.push(loss);
        let ProximalParams { iterations, tolerance } = self.params;
        Ok(if observe(&Step::new(iteration, iterations, loss)).is_break() {
            Some(Stop::Cancelled)
        } else if change <= tolerance * dot(x, x).sqrt() && tolerance > 0.0 {
            Some(Stop::Converged)
        } else if iteration >= iterations {
            Some(Stop::Iterations)
        } else {
            None
        })
    }

    pub fn result<T: Real>(self, x: Vec<T>, stop: Stop) -> ProximalResult<T> {
        ProximalResult { x, iterations: self.loss.len(), loss: self.loss, stop }
    }
}

/// Checks that the terms act on vectors of `n` words and returns the norm squared of their stack, a few per cent too
/// large.
pub(crate) fn check_terms<T: Real>(terms: &[Term<T>], n: usize) -> Result<f64, Error> {
    let mut square = 0.0;
    for term in terms {
        if term.op.domain().words() != n {
            return Err(Error::shape("Term: domain", &[n], term.op.domain().dims()));
        }
        term.prox.check(term.op.range().words())?;
        square += (1.02 * operator_norm(&*term.op, 50)?).powi(2);
    }
    Ok(square)
}

/// Words of scratch of an operator or of any term.
pub(crate) fn scratch_of<T: Real>(op: Option<&dyn LinearOp<T>>, terms: &[Term<T>]) -> usize {
    terms.iter().map(|t| t.op.scratch_len()).chain(op.map(|a| a.scratch_len())).max().unwrap_or(0)
}

/// `½‖A x − b‖²`, checked: the residual's buffer, and ‖A‖² a few per cent too large.
pub(crate) fn check_data<T: Real>(op: &dyn LinearOp<T>, b: &[T]) -> Result<f64, Error> {
    if b.len() != op.range().words() {
        return Err(Error::shape("b", op.range().dims(), &[b.len()]));
    }
    if let Some(index) = b.iter().position(|b| !b.is_finite()) {
        return Err(Error::Data { what: "b is not finite".into(), index });
    }
    Ok((1.02 * operator_norm(op, 50)?).powi(2))
}

/// The start: `x0`, or zeros.
pub(crate) fn start<T: Real>(x0: Option<&[T]>, n: usize) -> Result<Vec<T>, Error> {
    match x0 {
        Some(x0) if x0.len() != n => Err(Error::shape("x0", &[n], &[x0.len()])),
        Some(x0) => Ok(x0.to_vec()),
        None => try_zeroed(n),
    }
}

/// `x += a y`.
pub(crate) fn add<T: Real>(x: &mut [T], a: f64, y: &[T]) {
    let a = T::of(a);
    x.iter_mut().zip(y).for_each(|(x, &y)| *x += a * y);
}
