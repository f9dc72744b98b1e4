//! The primal–dual method of Condat and Vũ: a smooth term, a simple one, and any number behind operators.

use crate::error::Error;
use crate::observe::Observer;
use crate::op::{LinearOp, Write};
use crate::optim::pdhg::Dual;
use crate::optim::proximal::{
    Progress, ProximalParams, ProximalResult, Term, add, check_data, check_terms, scratch_of, start,
};
use crate::optim::{Prox, dot};
use crate::real::Real;
use crate::shape::try_zeroed;

/// Minimises `½‖A x − b‖² + g(x) + Σ_i h_i(K_i x)`, such as tomography with total variation and non-negativity:
///
/// ```text
/// x′  = prox_τg( x − τ (Aᴴ(A x − b) + Σ K_iᴴ y_i) )
/// y_i ← prox_σhᵢ*( y_i + σ K_i (2x′ − x) )
/// ```
///
/// with `1/τ − σ‖K‖² ≥ ‖A‖²/2`: σ = ‖A‖²/(2‖K‖²) and τ = 1/‖A‖² share that out evenly.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] or [`Error::Data`] for what does not fit; [`Error::NotFinite`].
///
/// # References
/// L. Condat, J. Optim. Theory Appl. 158, 460 (2013), algorithm 3.1 with ρ = 1, theorem 3.1; B. C. Vũ, Adv. Comput.
/// Math. 38, 667 (2013).
pub fn condat_vu<T: Real>(
    op: &dyn LinearOp<T>,
    b: &[T],
    g: &Prox<T>,
    terms: &[Term<T>],
    x0: Option<&[T]>,
    params: &ProximalParams,
    mut observe: Observer<'_>,
) -> Result<ProximalResult<T>, Error> {
    let (n, m) = (op.domain().words(), op.range().words());
    let lipschitz = check_data(op, b)?.max(f64::MIN_POSITIVE);
    let square = check_terms(terms, n)?.max(f64::MIN_POSITIVE);
    g.check(n)?;
    let mut progress = Progress::new(*params)?;
    let mut x = start(x0, n)?;
    let mut scratch: Vec<T> = try_zeroed(scratch_of(Some(op), terms))?;
    let (mut before, mut gradient, mut residual): (Vec<T>, Vec<T>, Vec<T>) =
        (x.clone(), try_zeroed(n)?, try_zeroed(m)?);
    let mut duals = Vec::new();
    for term in terms {
        duals.push(Dual::new(term, &x, &mut scratch)?);
    }
    let (tau, sigma) = (1.0 / lipschitz, 0.5 * lipschitz / square);
    let residue = |x: &[T], r: &mut [T], scratch: &mut [T]| {
        op.apply(x, r, Write::Set, scratch);
        r.iter_mut().zip(b).for_each(|(r, &b)| *r -= b);
    };
    residue(&x, &mut residual, &mut scratch);
    loop {
        op.apply_adjoint(&residual, &mut gradient, Write::Set, &mut scratch);
        for (dual, term) in duals.iter().zip(terms) {
            term.op.apply_adjoint(&dual.y, &mut gradient, Write::Add, &mut scratch);
        }
        before.copy_from_slice(&x);
        add(&mut x, -tau, &gradient);
        g.apply(&mut x, tau);
        residue(&x, &mut residual, &mut scratch);
        let mut loss = 0.5 * dot(&residual, &residual) + g.value(&x);
        for (dual, term) in duals.iter_mut().zip(terms) {
            loss += dual.advance(term, &x, &mut scratch);
            dual.ascend(term, 1.0, sigma);
        }
        if let Some(stop) = progress.step(loss, &before, &x, &mut observe)? {
            return Ok(progress.result(x, stop));
        }
    }
}
