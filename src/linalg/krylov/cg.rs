//! Conjugate gradients.

use crate::error::Error;
use crate::linalg::krylov::{KrylovResult, vector};
use crate::observe::{Observer, Step, Stop};
use crate::op::{LinearOp, Write};
use crate::real::Real;

/// Parameters of [`cg`].
#[derive(Clone, Debug, PartialEq)]
pub struct CgParams {
    /// Largest number of iterations. Default 100.
    pub iterations: usize,
    /// Ends when ‖r‖ ≤ `tolerance` ‖b‖. Default 1e-6.
    pub tolerance: f64,
}

impl Default for CgParams {
    fn default() -> Self {
        CgParams { iterations: 100, tolerance: 1e-6 }
    }
}

/// Solves A x = b for a symmetric (Hermitian) positive A by conjugate gradients.
///
/// Each iteration applies A once; the error in the norm √(eᵀ A e) falls in every iteration. [`KrylovResult::residual`],
/// and the loss that `observe` sees, is ‖r‖ with the recurrence r ← r − α A p, which starts from b − A x₀. That norm
/// need not fall in every iteration.
///
/// The symmetry of A is the caller's promise (an operator such as AᴴA + λ² has it by construction). A direction p along
/// which pᵀ A p ≤ 0 ends the iteration with [`Stop::Stalled`]: A is not positive, or the accuracy of `T` is exhausted.
///
/// # Shapes
/// `b` has the words of the range, which is the domain too; `x0`, when given, is where to start.
///
/// # Errors
/// - [`Error::Shape`] when the operator is not square, or a length does not fit,
/// - [`Error::Param`] when the tolerance is negative or NaN,
/// - [`Error::Data`] when `b` or `x0` is not finite,
/// - [`Error::NotFinite`] when the operator produces NaN or an infinity.
///
/// # References
/// M. R. Hestenes, E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952), eqs. (3:1a)–(3:1f).
///
/// # Examples
/// ```
/// use exitwave::linalg::krylov::{CgParams, cg};
/// use exitwave::observe::{Stop, silent};
/// use exitwave::op::Diagonal;
/// use exitwave::shape::Space;
/// let a = Diagonal::real(&Space::real(&[3]), vec![1.0f64, 2.0, 4.0])?;
/// let found = cg(&a, &[1.0, 1.0, 1.0], None, &CgParams { tolerance: 1e-14, ..CgParams::default() }, &mut silent)?;
/// assert_eq!((found.stop, found.iterations), (Stop::Converged, 3));
/// assert!((found.x[2] - 0.25).abs() < 1e-14);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn cg<T: Real>(
    op: &dyn LinearOp<T>,
    b: &[T],
    x0: Option<&[T]>,
    params: &CgParams,
    observe: Observer<'_>,
) -> Result<KrylovResult<T>, Error> {
    if op.domain().words() != op.range().words() {
        return Err(Error::shape("cg: a square operator", op.domain().dims(), op.range().dims()));
    }
    if params.tolerance.is_nan() || params.tolerance < 0.0 {
        return Err(Error::param("tolerance", params.tolerance, "a number of at least 0"));
    }
    let mut x = vector::start(op, b, x0)?;
    let n = x.len();
    let mut scratch = vec![T::ZERO; op.scratch_len()];
    let mut ap = vec![T::ZERO; n];

    // r = b − A x
    let mut r = b.to_vec();
    if x0.is_some() {
        op.apply(&x, &mut ap, Write::Set, &mut scratch);
        vector::add(&mut r, -1.0, &ap);
    }
    let mut p = r.clone();
    let mut rr = finite(vector::dot(&r, &r), 0)?;
    let limit = params.tolerance * vector::norm(b);
    let mut residual = vec![rr.sqrt()];

    // The start may be the solution.
    let mut stop = if rr.sqrt() <= limit { Stop::Converged } else { Stop::Iterations };
    let mut iterations = 0;
    while stop == Stop::Iterations && iterations < params.iterations {
        op.apply(&p, &mut ap, Write::Set, &mut scratch);
        let pap = finite(vector::dot(&p, &ap), iterations + 1)?;
        if pap <= 0.0 {
            stop = Stop::Stalled;
            break;
        }
        let alpha = rr / pap;
        vector::add(&mut x, alpha, &p);
        vector::add(&mut r, -alpha, &ap);

        // p ← r + β p
        let before = rr;
        rr = finite(vector::dot(&r, &r), iterations + 1)?;
        let beta = T::of(rr / before);
        p.iter_mut().zip(&r).for_each(|(p, &r)| *p = r + beta * *p);

        iterations += 1;
        residual.push(rr.sqrt());
        if rr.sqrt() <= limit {
            stop = Stop::Converged;
        }
        let step = Step::new(iterations, params.iterations, rr.sqrt());
        if observe(&step).is_break() && stop == Stop::Iterations {
            stop = Stop::Cancelled;
        }
    }
    Ok(KrylovResult { x, iterations, residual, stop })
}

fn finite(value: f64, step: usize) -> Result<f64, Error> {
    if value.is_finite() { Ok(value) } else { Err(Error::NotFinite { node: "cg".into(), step }) }
}
