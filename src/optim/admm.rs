//! The alternating direction method of multipliers.

use crate::error::Error;
use crate::observe::Observer;
use crate::op::{LinearOp, Write};
use crate::optim::dot;
use crate::optim::proximal::{
    Progress, ProximalParams, ProximalResult, Term, add, check_data, check_terms, scratch_of, start,
};
use crate::real::Real;
use crate::shape::try_zeroed;

/// Minimises `½‖A x − b‖² + Σ_i h_i(K_i x)`, scaled form:
///
/// ```text
/// (AᴴA + ρ Σ K_iᴴK_i) x = Aᴴb + ρ Σ K_iᴴ(z_i − u_i)      by conjugate gradients from the last x
/// z_i ← prox_{hᵢ/ρ}( K_i x + u_i )
/// u_i ← u_i + K_i x − z_i
/// ```
///
/// `rho` > 0 weighs the constraints z = K x; it changes the speed, not the answer. `inner` conjugate-gradient iterations
/// are done at most, down to a thousandth of the first residual. A constraint on x itself is a term with
/// [`crate::op::Identity`].
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] or [`Error::Data`] for what does not fit; [`Error::NotFinite`].
///
/// # References
/// S. Boyd, N. Parikh, E. Chu, B. Peleato, J. Eckstein, Foundations and Trends in Machine Learning 3, 1 (2011),
/// section 3.1.1 and 4.3.3 (inexact, warm-started minimisation).
pub fn admm<T: Real>(
    op: &dyn LinearOp<T>,
    b: &[T],
    terms: &[Term<T>],
    x0: Option<&[T]>,
    rho: f64,
    inner: usize,
    params: &ProximalParams,
    mut observe: Observer<'_>,
) -> Result<ProximalResult<T>, Error> {
    if !(rho > 0.0 && rho.is_finite()) {
        return Err(Error::param("rho", rho, "a positive number"));
    }
    if inner == 0 {
        return Err(Error::param("inner", inner, "at least 1"));
    }
    let (n, m) = (op.domain().words(), op.range().words());
    check_data(op, b)?;
    check_terms(terms, n)?;
    let mut progress = Progress::new(*params)?;
    let mut x = start(x0, n)?;
    let mut normal = Normal { op, terms, rho, range: try_zeroed(m)?, parts: Vec::new(), scratch: Vec::new() };
    normal.scratch = try_zeroed(scratch_of(Some(op), terms))?;
    let (mut z, mut u) = (Vec::new(), Vec::new());
    for term in terms {
        let mut kx: Vec<T> = try_zeroed(term.op.range().words())?;
        term.op.apply(&x, &mut kx, Write::Set, &mut normal.scratch);
        u.push(try_zeroed::<T>(kx.len())?);
        normal.parts.push(kx.clone());
        z.push(kx);
    }
    let mut ahb: Vec<T> = try_zeroed(n)?;
    op.apply_adjoint(b, &mut ahb, Write::Set, &mut normal.scratch);
    let (mut right, mut before, mut q): (Vec<T>, Vec<T>, Vec<T>) = (try_zeroed(n)?, x.clone(), try_zeroed(n)?);
    let (mut r, mut p): (Vec<T>, Vec<T>) = (try_zeroed(n)?, try_zeroed(n)?);
    loop {
        // The right-hand side.
        right.copy_from_slice(&ahb);
        for (i, term) in terms.iter().enumerate() {
            let part = &mut normal.parts[i];
            part.iter_mut().zip(&z[i]).zip(&u[i]).for_each(|((p, &z), &u)| *p = T::of(rho) * (z - u));
            term.op.apply_adjoint(part, &mut right, Write::Add, &mut normal.scratch);
        }

        // Conjugate gradients.
        before.copy_from_slice(&x);
        normal.apply(&x, &mut q);
        r.iter_mut().zip(&right).zip(&q).for_each(|((r, &b), &q)| *r = b - q);
        p.copy_from_slice(&r);
        let mut rr = dot(&r, &r);
        let goal = 1e-6 * rr;
        for _ in 0..inner {
            normal.apply(&p, &mut q);
            let pq = dot(&p, &q);
            // A direction that no operator sees, the solution; or a NaN.
            if pq <= 0.0 || pq.is_nan() {
                break;
            }
            add(&mut x, rr / pq, &p);
            add(&mut r, -rr / pq, &q);
            let next = dot(&r, &r);
            if next <= goal {
                break;
            }
            let beta = T::of(next / rr);
            p.iter_mut().zip(&r).for_each(|(p, &r)| *p = r + beta * *p);
            rr = next;
        }

        // z and u, and the loss with K x.
        op.apply(&x, &mut normal.range, Write::Set, &mut normal.scratch);
        let mut loss = 0.5 * normal.range.iter().zip(b).map(|(a, b)| (a.f64() - b.f64()).powi(2)).sum::<f64>();
        for (i, term) in terms.iter().enumerate() {
            let kx = &mut normal.parts[i];
            term.op.apply(&x, kx, Write::Set, &mut normal.scratch);
            loss += term.prox.value(kx);
            add(&mut u[i], 1.0, kx);
            z[i].copy_from_slice(&u[i]);
            term.prox.apply(&mut z[i], 1.0 / rho);
            add(&mut u[i], -1.0, &z[i]);
        }
        if let Some(stop) = progress.step(loss, &before, &x, &mut observe)? {
            return Ok(progress.result(x, stop));
        }
    }
}

/// The operator `AᴴA + ρ Σ KᴴK` with its buffers.
struct Normal<'a, T: Real> {
    op: &'a dyn LinearOp<T>,
    terms: &'a [Term<T>],
    rho: f64,
    range: Vec<T>,
    parts: Vec<Vec<T>>,
    scratch: Vec<T>,
}

impl<T: Real> Normal<'_, T> {
    fn apply(&mut self, x: &[T], y: &mut [T]) {
        self.op.apply(x, &mut self.range, Write::Set, &mut self.scratch);
        self.op.apply_adjoint(&self.range, y, Write::Set, &mut self.scratch);
        for (term, part) in self.terms.iter().zip(&mut self.parts) {
            term.op.apply(x, part, Write::Set, &mut self.scratch);
            part.iter_mut().for_each(|p| *p *= T::of(self.rho));
            term.op.apply_adjoint(part, y, Write::Add, &mut self.scratch);
        }
    }
}
