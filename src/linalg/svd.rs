//! Singular value decomposition by one-sided Jacobi rotations.

use num_complex::Complex;

use crate::error::Error;
use crate::linalg::dense::{self, Element};
use crate::real::Real;

/// A thin singular value decomposition, `A = Σₖ sₖ uₖ vₖᴴ`, k = 0 … r − 1 with r = min(m, n); `E` is `T` or
/// `Complex<T>`.
///
/// The singular values descend and are not negative. The uₖ are orthonormal, and so are the vₖ, also those of singular
/// values that are zero. Their common phase (sign) is fixed: the leading element of vₖ (the first whose modulus is the
/// largest, to 1e-6) is real and positive; where sₖ = 0, that of uₖ is, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Svd<T, E = T> {
    /// (r, m): row k is the left singular vector uₖ.
    pub u: Vec<E>,
    /// The r singular values, descending.
    pub s: Vec<T>,
    /// (r, n): row k is the right singular vector vₖ (not conjugated).
    pub v: Vec<E>,
}

impl<T: Real, E> Svd<T, E> {
    /// Number of singular values above `tolerance` times the largest; `max(m, n) ε` is the usual tolerance.
    pub fn rank(&self, tolerance: T) -> usize {
        let largest = self.s.first().copied().unwrap_or(T::ZERO);
        self.s.iter().filter(|&&s| s > tolerance * largest).count()
    }
}

/// Singular value decomposition of a real matrix, `a[i, j] = Σₖ s[k] u[k, i] v[k, j]`.
///
/// Pairs of columns are rotated until all are orthogonal (Hestenes' method), in `f64`; the norms of the columns are
/// then the singular values. Nothing is squared or shifted, so matrices of deficient rank are no special case, and
/// small singular values of matrices with badly scaled columns keep their relative accuracy. Costs about 30 m n²
/// multiplications for m ≥ n.
///
/// # Shapes
/// `a` is (m, n), any m and n above 0; see [`Svd`] for the result.
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when `a` is not (m, n), or m or n is 0,
/// - [`Error::Data`] when an element is not finite, or the sweeps do not converge.
///
/// # References
/// - M. R. Hestenes, J. SIAM 6, 51 (1958).
/// - J. Demmel, K. Veselić, SIAM J. Matrix Anal. Appl. 13, 1204 (1992), section 4: accuracy and the criterion to stop.
/// - G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), section 8.6.3.
///
/// # Examples
/// ```
/// use exitwave::linalg::svd::jacobi_svd;
/// // All ones: of rank one, with the singular value √(m n).
/// let svd = jacobi_svd(3, 5, &[1.0f64; 15])?;
/// assert!((svd.s[0] - 15f64.sqrt()).abs() < 1e-14 && svd.s[1] < 1e-15);
/// assert_eq!(svd.rank(5.0 * f64::EPSILON), 1);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn jacobi_svd<T: Real>(m: usize, n: usize, a: &[T]) -> Result<Svd<T>, Error> {
    let Factors { u, s, v } = factor(m, n, dense::real("jacobi_svd", [m, n], a)?)?;
    Ok(Svd { u: dense::narrow(&u), s: dense::narrow(&s), v: dense::narrow(&v) })
}

/// Singular value decomposition of a complex matrix, `a[i, j] = Σₖ s[k] u[k, i] v̄[k, j]`; see [`jacobi_svd`].
///
/// # Errors
/// As [`jacobi_svd`].
pub fn jacobi_svd_complex<T: Real>(m: usize, n: usize, a: &[Complex<T>]) -> Result<Svd<T, Complex<T>>, Error> {
    let Factors { u, s, v } = factor(m, n, dense::complex("jacobi_svd_complex", [m, n], a)?)?;
    Ok(Svd { u: dense::narrow_complex(&u), s: dense::narrow(&s), v: dense::narrow_complex(&v) })
}

/// The decomposition before rounding, in the layout of [`Svd`].
pub(super) struct Factors<E> {
    pub u: Vec<E>,
    pub s: Vec<f64>,
    pub v: Vec<E>,
}

/// Columns shorter than this (the largest element being of order one) count as zero: their squares would underflow.
const NOTHING: f64 = 1e-140;

pub(super) fn factor<E: Element>(m: usize, n: usize, mut a: Vec<E>) -> Result<Factors<E>, Error> {
    let scale = dense::normalize(&mut a);
    // Columns must not be longer in number than in length. Aᴴ = Σ sₖ vₖ uₖᴴ has the conjugate rows of A as its columns.
    let mut f = if m >= n {
        tall(m, n, dense::transpose(m, n, &a))?
    } else {
        a.iter_mut().for_each(|a| *a = a.conjugate());
        let Factors { u, s, v } = tall(n, m, a)?;
        Factors { u: v, s, v: u }
    };
    for (k, s) in f.s.iter_mut().enumerate() {
        let (u, v) = (&mut f.u[k * m..(k + 1) * m], &mut f.v[k * n..(k + 1) * n]);
        let phase = dense::leading_phase(v);
        v.iter_mut().for_each(|v| *v *= phase);
        let phase = if *s > 0.0 { phase } else { dense::leading_phase(u) };
        u.iter_mut().for_each(|u| *u *= phase);
        *s *= scale;
    }
    Ok(f)
}

/// The decomposition of a matrix with m ≥ n, given by its columns: `a` is (n, m).
fn tall<E: Element>(m: usize, n: usize, mut a: Vec<E>) -> Result<Factors<E>, Error> {
    let mut v = vec![E::zero(); n * n];
    (0..n).for_each(|i| v[i * n + i] = E::one());
    orthogonalize(m, n, &mut a, &mut v)?;

    // The columns are now sₖ uₖ, to be sorted and divided.
    let norms: Vec<f64> = a.chunks_exact(m).map(|a| dense::norm_squared(a).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let s: Vec<f64> = order.iter().map(|&k| if norms[k] < NOTHING { 0.0 } else { norms[k] }).collect();
    let mut u: Vec<E> = Vec::with_capacity(n * m);
    for (&k, &s) in order.iter().zip(&s) {
        let column = &a[k * m..(k + 1) * m];
        if s > 0.0 {
            u.extend(column.iter().map(|a| a.unscale(s)));
        } else {
            let next = complement(m, &u);
            u.extend(next);
        }
    }
    let v = order.iter().flat_map(|&k| v[k * n..(k + 1) * n].iter().copied()).collect();
    Ok(Factors { u, s, v })
}

/// Rotates the rows of `a`, (n, m), and with them those of `v`, (n, n), in pairs until those of `a` are orthogonal.
fn orthogonalize<E: Element>(m: usize, n: usize, a: &mut [E], v: &mut [E]) -> Result<(), Error> {
    // Two computed inner products of orthogonal vectors of length m are this far from zero, relative to their norms.
    let tolerance = f64::EPSILON * (m as f64).sqrt().max(4.0);
    // Ten are usual: convergence is quadratic at the end.
    const SWEEPS: usize = 60;
    for _ in 0..SWEEPS {
        let mut rotations = 0usize;
        for p in 0..n {
            for q in p + 1..n {
                let (ap, aq) = pair(a, m, p, q);
                let (alpha, beta, gamma) = (dense::norm_squared(ap), dense::norm_squared(aq), dense::dot(ap, aq));
                let g = gamma.modulus();
                if alpha.sqrt() < NOTHING || beta.sqrt() < NOTHING || g <= tolerance * alpha.sqrt() * beta.sqrt() {
                    continue;
                }
                rotations += 1;
                // The smaller root of t² + 2 ζ t = 1 turns by the smaller angle.
                let zeta = (beta - alpha) / (2.0 * g);
                let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let phase = gamma.conjugate().unscale(g);
                rotate(ap, aq, c, c * t, phase);
                let (vp, vq) = pair(v, n, p, q);
                rotate(vp, vq, c, c * t, phase);
            }
        }
        if rotations == 0 {
            return Ok(());
        }
    }
    Err(Error::Data { what: "jacobi_svd: not converged after this many sweeps".into(), index: SWEEPS })
}

/// Rows p < q of length `len`.
fn pair<E>(a: &mut [E], len: usize, p: usize, q: usize) -> (&mut [E], &mut [E]) {
    let (low, high) = a.split_at_mut(q * len);
    (&mut low[p * len..(p + 1) * len], &mut high[..len])
}

/// (p, q) ← (c p − s e q, s p + c e q) with |e| = 1, which makes p̄·(e q) real.
fn rotate<E: Element>(p: &mut [E], q: &mut [E], c: f64, s: f64, e: E) {
    for (p, q) in p.iter_mut().zip(q) {
        let eq = e * *q;
        (*p, *q) = (p.scale(c) - eq.scale(s), p.scale(s) + eq.scale(c));
    }
}

/// A unit vector of length m that is orthogonal to the rows of `u`, of which there are fewer than m.
fn complement<E: Element>(m: usize, u: &[E]) -> Vec<E> {
    // Some unit vector eᵢ keeps a squared norm of at least 1/m off the rows: that is the mean over all i of what they
    // keep.
    for i in 0..m {
        let kept = 1.0 - u.chunks_exact(m).map(|u| u[i].modulus_squared()).sum::<f64>();
        if kept < 0.5 / m as f64 {
            continue;
        }
        let mut e = vec![E::zero(); m];
        e[i] = E::one();
        // Gram–Schmidt, twice: the second pass removes what the rounding of the first left.
        for _ in 0..2 {
            for u in u.chunks_exact(m) {
                let projection = dense::dot(u, &e);
                e.iter_mut().zip(u).for_each(|(e, &u)| *e -= projection * u);
            }
            let norm = dense::norm_squared(&e).sqrt();
            e.iter_mut().for_each(|e| *e = e.unscale(norm));
        }
        return e;
    }
    unreachable!("fewer than m orthonormal vectors cannot span every unit vector")
}
