//! The primal–dual hybrid gradient method of Chambolle and Pock.

use crate::error::Error;
use crate::observe::Observer;
use crate::op::Write;
use crate::optim::Prox;
use crate::optim::proximal::{Progress, ProximalParams, ProximalResult, Term, add, check_terms, scratch_of, start};
use crate::real::Real;
use crate::shape::try_zeroed;

/// Minimises `g(x) + Σ_i h_i(K_i x)`:
///
/// ```text
/// y_i ← prox_σhᵢ*( y_i + σ K_i x̄ )
/// x′  = prox_τg( x − τ Σ K_iᴴ y_i )
/// θ   = 1/√(1 + 2γτ),   τ ← θτ,   σ ← σ/θ,   x̄ = x′ + θ(x′ − x)
/// ```
///
/// with τσ‖K‖² < 1. γ > 0 accelerates where g is strongly convex with that constant (w of [`Prox::Squares`]), and must be
/// 0 otherwise.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] or [`Error::Data`] for what does not fit; [`Error::NotFinite`].
///
/// # References
/// A. Chambolle, T. Pock, J. Math. Imaging Vis. 40, 120 (2011), algorithms 1 and 2.
///
/// # Examples
/// Total-variation denoising (Rudin, Osher, Fatemi), `½‖x − b‖² + w TV(x)`:
/// ```
/// use std::sync::Arc;
/// use exitwave::observe::silent;
/// use exitwave::optim::{Difference, Prox, ProximalParams, Term, pdhg};
/// let noisy: Vec<f64> = (0..64).map(|i| f64::from(i / 32) + 0.1 * f64::from(i % 3 - 1)).collect();
/// let tv = Term { op: Arc::new(Difference::new(&[64])?), prox: Prox::Group { weight: 0.3, parts: 1 } };
/// let data = Prox::Squares { weight: 1.0, target: noisy.clone() };
/// let found = pdhg(&data, &[tv], Some(&noisy), 1.0, &ProximalParams::default(), &mut silent)?;
/// assert!((found.x[10] - found.x[20]).abs() < 1e-3 && found.x[40] - found.x[20] > 0.9);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn pdhg<T: Real>(
    g: &Prox<T>,
    terms: &[Term<T>],
    x0: Option<&[T]>,
    gamma: f64,
    params: &ProximalParams,
    mut observe: Observer<'_>,
) -> Result<ProximalResult<T>, Error> {
    let Some(first) = terms.first() else {
        return Err(Error::param("terms", 0, "at least one term"));
    };
    if !(gamma >= 0.0 && gamma.is_finite()) {
        return Err(Error::param("gamma", gamma, "a number that is not negative"));
    }
    let n = first.op.domain().words();
    let square = check_terms(terms, n)?.max(f64::MIN_POSITIVE);
    g.check(n)?;
    let mut progress = Progress::new(*params)?;
    let mut x = start(x0, n)?;
    let (mut before, mut divergence): (Vec<T>, Vec<T>) = (x.clone(), try_zeroed(n)?);
    let mut scratch: Vec<T> = try_zeroed(scratch_of(None, terms))?;
    let mut duals = Vec::new();
    for term in terms {
        duals.push(Dual::new(term, &x, &mut scratch)?);
    }
    let (mut tau, mut sigma) = (square.sqrt().recip(), square.sqrt().recip());
    let mut theta = 1.0;
    loop {
        // K x̄ is a combination of K x and the K x before it.
        divergence.fill(T::ZERO);
        for (dual, term) in duals.iter_mut().zip(terms) {
            dual.ascend(term, theta, sigma);
            term.op.apply_adjoint(&dual.y, &mut divergence, Write::Add, &mut scratch);
        }
        before.copy_from_slice(&x);
        add(&mut x, -tau, &divergence);
        g.apply(&mut x, tau);
        if gamma > 0.0 {
            theta = (1.0 + 2.0 * gamma * tau).sqrt().recip();
            (tau, sigma) = (tau * theta, sigma / theta);
        }
        let mut loss = g.value(&x);
        for (dual, term) in duals.iter_mut().zip(terms) {
            loss += dual.advance(term, &x, &mut scratch);
        }
        if let Some(stop) = progress.step(loss, &before, &x, &mut observe)? {
            return Ok(progress.result(x, stop));
        }
    }
}

/// The dual variable of a term, K x, and K x before the last step.
pub(crate) struct Dual<T: Real> {
    pub y: Vec<T>,
    kx: Vec<T>,
    before: Vec<T>,
    work: Vec<T>,
}

impl<T: Real> Dual<T> {
    pub fn new(term: &Term<T>, x: &[T], scratch: &mut [T]) -> Result<Self, Error> {
        let m = term.op.range().words();
        let mut kx: Vec<T> = try_zeroed(m)?;
        term.op.apply(x, &mut kx, Write::Set, scratch);
        Ok(Dual { y: try_zeroed(m)?, before: kx.clone(), kx, work: try_zeroed(m)? })
    }

    /// `y ← prox_σh*( y + σ K(x + θ(x − x_before)) )`.
    pub fn ascend(&mut self, term: &Term<T>, theta: f64, sigma: f64) {
        let (s, t) = (T::of(sigma), T::of(theta));
        for ((y, &k), &b) in self.y.iter_mut().zip(&self.kx).zip(&self.before) {
            *y += s * (k + t * (k - b));
        }
        term.prox.apply_conjugate(&mut self.y, sigma, &mut self.work);
    }

    /// K x of the new x; returns h(K x).
    pub fn advance(&mut self, term: &Term<T>, x: &[T], scratch: &mut [T]) -> f64 {
        std::mem::swap(&mut self.kx, &mut self.before);
        term.op.apply(x, &mut self.kx, Write::Set, scratch);
        term.prox.value(&self.kx)
    }
}
