//! LSQR.

use crate::error::Error;
use crate::linalg::krylov::{KrylovResult, vector};
use crate::observe::{Observer, Step, Stop};
use crate::op::{LinearOp, Write};
use crate::real::Real;

/// Parameters of [`lsqr`].
#[derive(Clone, Debug, PartialEq)]
pub struct LsqrParams {
    /// Largest number of iterations. Default 100.
    pub iterations: usize,
    /// λ of the damping term λ² ‖x − x₀‖². Default 0.
    pub damping: f64,
    /// Relative error of A that the solution may answer for. Default 1e-6.
    pub tolerance_a: f64,
    /// Relative error of b that the solution may answer for. Default 1e-6.
    pub tolerance_b: f64,
    /// Ends as [`Stop::Stalled`] when the condition number of A (with its damping), as it shows so far, exceeds this.
    /// Default 1e12.
    pub condition_limit: f64,
}

impl Default for LsqrParams {
    fn default() -> Self {
        LsqrParams { iterations: 100, damping: 0.0, tolerance_a: 1e-6, tolerance_b: 1e-6, condition_limit: 1e12 }
    }
}

/// Solves min ‖A x − b‖² + λ² ‖x − x₀‖² by LSQR, for an A of any shape.
///
/// In exact arithmetic the iterates are those of conjugate gradients on the normal equations; in floating point they
/// are more accurate. Each iteration applies A and Aᴴ once. Started from zero without damping, it converges to the
/// shortest of the solutions.
///
/// [`KrylovResult::residual`], and the loss that `observe` sees, is √(‖A x − b‖² + λ² ‖x − x₀‖²), which falls in every
/// iteration; without damping it is ‖b − A x‖. It is found by recurrence, without applying A again.
///
/// With r̃ the residual of the damped system and ‖A‖ its Frobenius norm as far as it shows, it has converged when
/// - ‖r̃‖ ≤ `tolerance_b` ‖b‖ + `tolerance_a` ‖A‖ ‖x‖ (the system is solved), or
/// - ‖Aᴴ r̃‖ ≤ `tolerance_a` ‖A‖ ‖r̃‖ (the least-squares problem is solved).
///
/// Tolerances below the ε of `T` count as that ε.
///
/// Deviations from the paper: the system is shifted by x₀, `A (x − x₀) = b − A x₀`; and ‖x‖ is computed, not estimated.
///
/// # Shapes
/// `b` has the words of the range; `x0`, when given, those of the domain.
///
/// # Errors
/// - [`Error::Shape`] when a length does not fit,
/// - [`Error::Param`] when a tolerance or the damping is negative or NaN, the damping infinite, or the condition limit
///   not above 1,
/// - [`Error::Data`] when `b` or `x0` is not finite,
/// - [`Error::NotFinite`] when the operator produces NaN or an infinity.
///
/// # References
/// C. C. Paige, M. A. Saunders, ACM Trans. Math. Softw. 8, 43 (1982): bidiagonalisation section 3, iteration section
/// 4.1, norms section 5, stopping rules section 6; the rotations of the damping as in their Algorithm 583, same
/// journal, p. 195.
///
/// # Examples
/// ```
/// use exitwave::linalg::krylov::{LsqrParams, lsqr};
/// use exitwave::observe::silent;
/// use exitwave::op::Crop;
/// use exitwave::shape::Space;
/// // Of four numbers only two are seen; the shortest solution leaves the others at zero.
/// let a = Crop::<f64>::new(&Space::real(&[4]), &[1], &[2])?;
/// let found = lsqr(&a, &[5.0, 6.0], None, &LsqrParams::default(), &mut silent)?;
/// assert!(found.x.iter().zip([0.0, 5.0, 6.0, 0.0]).all(|(x, y)| (x - y).abs() < 1e-14));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn lsqr<T: Real>(
    op: &dyn LinearOp<T>,
    b: &[T],
    x0: Option<&[T]>,
    params: &LsqrParams,
    observe: Observer<'_>,
) -> Result<KrylovResult<T>, Error> {
    check(params)?;
    let mut x = vector::start(op, b, x0)?;
    let mut scratch = vec![T::ZERO; op.scratch_len()];
    let tolerance_a = params.tolerance_a.max(T::EPSILON.f64());
    let tolerance_b = params.tolerance_b.max(T::EPSILON.f64());
    let lambda = params.damping;
    let norm_b = vector::norm(b);

    // β u = b − A x₀, α v = Aᴴ u
    let mut u = b.to_vec();
    if x0.is_some() {
        vector::scale(&mut u, -1.0);
        op.apply(&x, &mut u, Write::Add, &mut scratch);
        vector::scale(&mut u, -1.0);
    }
    let beta = normalize(&mut u, 0)?;
    let mut v = vec![T::ZERO; x.len()];
    op.apply_adjoint(&u, &mut v, Write::Set, &mut scratch);
    let mut alpha = normalize(&mut v, 0)?;
    let mut w = v.clone();

    let (mut phi_bar, mut rho_bar) = (beta, alpha);
    // Squares of ‖A‖, of ‖w/ρ‖ summed (which estimates the inverse of A), and of what the damping adds to the residual.
    let (mut a_squared, mut d_squared, mut psi_squared) = (0.0, 0.0, 0.0);
    let mut residual = vec![beta];
    let mut iterations = 0;

    // The start may be the solution.
    let solved = beta <= tolerance_b * norm_b || alpha == 0.0;
    let mut stop = if solved { Stop::Converged } else { Stop::Iterations };
    while stop == Stop::Iterations && iterations < params.iterations {
        a_squared += alpha * alpha + lambda * lambda;
        // β u ← A v − α u
        vector::scale(&mut u, -alpha);
        op.apply(&v, &mut u, Write::Add, &mut scratch);
        let beta = normalize(&mut u, iterations + 1)?;
        a_squared += beta * beta;
        // α v ← Aᴴ u − β v
        vector::scale(&mut v, -beta);
        op.apply_adjoint(&u, &mut v, Write::Add, &mut scratch);
        alpha = normalize(&mut v, iterations + 1)?;

        // A rotation takes λ into ρ̄, a second one takes β into it.
        let rho_bar_1 = rho_bar.hypot(lambda);
        let psi = lambda / rho_bar_1 * phi_bar;
        phi_bar *= rho_bar / rho_bar_1;
        psi_squared += psi * psi;
        let rho = rho_bar_1.hypot(beta);
        let (c, s) = (rho_bar_1 / rho, beta / rho);
        let theta = s * alpha;
        rho_bar = -c * alpha;
        let phi = c * phi_bar;
        phi_bar *= s;

        d_squared += vector::dot(&w, &w) / (rho * rho);
        vector::add(&mut x, phi / rho, &w);
        let f = T::of(-theta / rho);
        w.iter_mut().zip(&v).for_each(|(w, &v)| *w = v + f * *w);

        iterations += 1;
        let norm_r = phi_bar.hypot(psi_squared.sqrt());
        let norm_x = vector::norm(&x);
        if !(norm_r.is_finite() && norm_x.is_finite()) {
            return Err(Error::NotFinite { node: "lsqr".into(), step: iterations });
        }
        residual.push(norm_r);
        let norm_a = a_squared.sqrt();
        let gradient = phi_bar.abs() * alpha * c.abs();
        let system = norm_r <= tolerance_b * norm_b + tolerance_a * norm_a * norm_x;
        let least_squares = gradient <= tolerance_a * norm_a * norm_r;
        if system || least_squares {
            stop = Stop::Converged;
        } else if norm_a * d_squared.sqrt() >= params.condition_limit {
            stop = Stop::Stalled;
        }
        let step = Step::new(iterations, params.iterations, norm_r);
        if observe(&step).is_break() && stop == Stop::Iterations {
            stop = Stop::Cancelled;
        }
    }
    Ok(KrylovResult { x, iterations, residual, stop })
}

fn check(params: &LsqrParams) -> Result<(), Error> {
    for (name, value) in [("tolerance_a", params.tolerance_a), ("tolerance_b", params.tolerance_b)] {
        if value.is_nan() || value < 0.0 {
            return Err(Error::param(name, value, "a number of at least 0"));
        }
    }
    if !(params.damping >= 0.0 && params.damping.is_finite()) {
        return Err(Error::param("damping", params.damping, "a finite number of at least 0"));
    }
    if params.condition_limit.is_nan() || params.condition_limit <= 1.0 {
        return Err(Error::param("condition_limit", params.condition_limit, "a number above 1"));
    }
    Ok(())
}

/// Divides a vector by its norm, unless that is 0, and returns the norm.
fn normalize<T: Real>(v: &mut [T], step: usize) -> Result<f64, Error> {
    let norm = vector::norm(v);
    if !norm.is_finite() {
        return Err(Error::NotFinite { node: "lsqr".into(), step });
    }
    if norm > 0.0 {
        v.iter_mut().for_each(|v| *v = T::of(v.f64() / norm));
    }
    Ok(norm)
}
