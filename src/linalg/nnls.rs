//! Non-negative least squares by the active-set method of Lawson and Hanson.

use crate::error::Error;
use crate::linalg::dense;
use crate::linalg::householder::{Order, Qr};
use crate::observe::{Observer, Step, Stop};
use crate::real::Real;

/// Parameters of [`nnls`].
#[derive(Clone, Debug, PartialEq)]
pub struct NnlsParams {
    /// Largest number of unconstrained problems to solve. Each costs a QR factorisation of the free columns; somewhat more than
    /// one a free column is usual. Default 10 000.
    pub iterations: usize,
    /// A column may still enter when its gradient component exceeds this fraction of ‖aⱼ‖ ‖b‖. Default 1e-12.
    pub tolerance: f64,
}

impl Default for NnlsParams {
    fn default() -> Self {
        NnlsParams { iterations: 10_000, tolerance: 1e-12 }
    }
}

/// What [`nnls`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct NnlsResult<T> {
    /// The n coefficients, none negative.
    pub x: Vec<T>,
    /// ‖b − A x‖.
    pub residual: T,
    /// The n components of w = Aᵀ (b − A x): zero where x > 0, at most zero elsewhere, but for rounding, when converged.
    pub dual: Vec<T>,
    /// Number of unconstrained problems that were solved.
    pub iterations: usize,
    /// [`Stop::Converged`] at the solution, else why not.
    pub stop: Stop,
}

/// Solves min ‖A x − b‖ subject to x ≥ 0.
///
/// The conditions of Kuhn and Tucker are reached in a finite number of steps: `x ≥ 0`, `w = Aᵀ (b − A x) ≤ 0`, `xⱼ wⱼ = 0`.
/// When columns are dependent, the solution is one of several. Computes in `f64`.
///
/// Deviations from the cited algorithm:
/// 1. A with more rows than columns is first replaced by its triangular factor, `‖A x − b‖² = ‖R x − (Qᵀ b)₁‖² + ‖(Qᵀ b)₂‖²`, so
///    that the steps do not depend on the number of rows.
/// 2. The columns are scaled to a common size, which leaves the problem as it is and makes the choice of the entering column
///    independent of the units of its coefficient.
/// 3. A column whose entry does not lower the residual is turned away until another has entered; with rounding, the method would
///    otherwise repeat itself.
///
/// `observe` is called after each entry of a column, with the residual as the loss; every such point is feasible.
///
/// # Shapes
/// `a` is (m, n), any m and n above 0; `b` has m elements, the solution n.
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when the sizes do not fit or are 0, or a parameter is out of range,
/// - [`Error::Data`] when a value is not finite.
///
/// # References
/// C. L. Lawson, R. J. Hanson, *Solving Least Squares Problems* (1974; SIAM 1995), algorithm 23.10.
///
/// # Examples
/// ```
/// use exitwave::linalg::nnls::{NnlsParams, nnls};
/// use exitwave::observe::silent;
/// // Without the constraint x = (2, −1); with it the second coefficient is 0.
/// let found = nnls(2, 2, &[1.0f64, 0.0, 0.0, 1.0], &[2.0, -1.0], &NnlsParams::default(), &mut silent)?;
/// assert!((found.x[0] - 2.0).abs() < 1e-15 && found.x[1] == 0.0);
/// assert!((found.residual - 1.0).abs() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn nnls<T: Real>(
    m: usize,
    n: usize,
    a: &[T],
    b: &[T],
    params: &NnlsParams,
    observe: Observer<'_>,
) -> Result<NnlsResult<T>, Error> {
    if params.iterations == 0 {
        return Err(Error::param("iterations", 0, "at least 1"));
    }
    if !(params.tolerance >= 0.0 && params.tolerance < 1.0) {
        return Err(Error::param("tolerance", params.tolerance, "a number in [0, 1)"));
    }
    let (a, mut b) = (dense::real("nnls", [m, n], a)?, dense::real("nnls", [m, 1], b)?);
    let mut columns = dense::transpose(m, n, &a);
    let scales: Vec<f64> = columns.chunks_exact_mut(m).map(dense::normalize).collect();
    let scale_b = dense::normalize(&mut b);

    let mut problem = Problem::new(m, n, columns, b);
    let (iterations, stop) = problem.solve(params, scale_b, observe);

    let x: Vec<f64> = problem.x.iter().zip(&scales).map(|(x, s)| x / s * scale_b).collect();
    let dual: Vec<f64> = problem.dual().iter().zip(&scales).map(|(w, s)| w * s * scale_b).collect();
    Ok(NnlsResult {
        x: dense::narrow(&x),
        residual: T::of(problem.residual(&problem.x) * scale_b),
        dual: dense::narrow(&dual),
        iterations,
        stop,
    })
}

/// A problem reduced to at most n rows, and where its solution stands.
struct Problem {
    m: usize,
    n: usize,
    /// (n, m): the columns.
    a: Vec<f64>,
    norms: Vec<f64>,
    b: Vec<f64>,
    /// ‖b‖ of the problem before it was reduced, and the square of what the reduction split off.
    norm_b: f64,
    rest: f64,
    x: Vec<f64>,
    /// The columns that are free (Lawson and Hanson's set P), in the order in which they entered.
    free: Vec<usize>,
}

impl Problem {
    fn new(m: usize, n: usize, a: Vec<f64>, mut b: Vec<f64>) -> Self {
        let norm_b = dense::norm_squared(&b).sqrt();
        let (mut rows, mut columns, mut rest) = (m, a, 0.0);
        if m > n {
            let qr = Qr::new(m, n, columns, Order::Given);
            qr.apply_adjoint(&mut b);
            rest = dense::norm_squared(&b[n..]);
            b.truncate(n);
            columns = (0..n).flat_map(|j| qr.r_column(j)).collect();
            rows = n;
        }
        let norms = columns.chunks_exact(rows).map(|a| dense::norm_squared(a).sqrt()).collect();
        Problem { m: rows, n, a: columns, norms, b, norm_b, rest, x: vec![0.0; n], free: Vec::new() }
    }

    fn column(&self, j: usize) -> &[f64] {
        &self.a[j * self.m..(j + 1) * self.m]
    }

    /// b − A x, in the reduced rows.
    fn remainder(&self, x: &[f64]) -> Vec<f64> {
        let mut r = self.b.clone();
        for j in (0..self.n).filter(|&j| x[j] != 0.0) {
            r.iter_mut().zip(self.column(j)).for_each(|(r, a)| *r -= a * x[j]);
        }
        r
    }

    /// ‖b − A x‖ of the whole problem.
    fn residual(&self, x: &[f64]) -> f64 {
        (dense::norm_squared(&self.remainder(x)) + self.rest).sqrt()
    }

    /// w = Aᵀ (b − A x).
    fn dual(&self) -> Vec<f64> {
        let r = self.remainder(&self.x);
        (0..self.n).map(|j| dense::dot(self.column(j), &r)).collect()
    }

    /// The unconstrained solution in the free columns, or `None` when the last of them depends on the others.
    fn unconstrained(&self, free: &[usize]) -> Option<Vec<f64>> {
        let p = free.len();
        if p > self.m {
            return None;
        }
        let qr = Qr::new(self.m, p, free.iter().flat_map(|&j| self.column(j).to_vec()).collect(), Order::Given);
        // What is left of the last column beside the others must stand out from rounding.
        let rounding = 10.0 * f64::EPSILON * (p as f64).sqrt() * self.norms[free[p - 1]];
        if qr.diagonal()[p - 1].abs() <= rounding {
            return None;
        }
        let z = qr.solve(&mut self.b.clone());
        z.iter().all(|z| z.is_finite()).then_some(z)
    }

    /// Number of unconstrained problems solved, and the reason to stop. Losses are reported times `unit`.
    fn solve(&mut self, params: &NnlsParams, unit: f64, observe: Observer<'_>) -> (usize, Stop) {
        let mut iterations = 0;
        let mut turned_away = vec![false; self.n];
        let mut residual = self.residual(&self.x);
        loop {
            // The column along which the residual falls fastest enters.
            let w = self.dual();
            let entering = (0..self.n)
                .filter(|j| !self.free.contains(j) && !turned_away[*j])
                .filter(|&j| w[j] > params.tolerance * self.norms[j] * self.norm_b)
                .fold(None, |best, j| if best.is_none_or(|b: usize| w[j] > w[b]) { Some(j) } else { best });
            let Some(entering) = entering else { return (iterations, Stop::Converged) };
            if iterations >= params.iterations {
                return (iterations, Stop::Iterations);
            }

            let mut free = self.free.clone();
            free.push(entering);
            iterations += 1;
            let accepted = match self.unconstrained(&free) {
                Some(z) if z[free.len() - 1] > 0.0 => self.feasible(free, z, &mut iterations, params.iterations),
                _ => None,
            };
            match accepted {
                Some((x, free)) if self.residual(&x) < residual => {
                    residual = self.residual(&x);
                    (self.x, self.free) = (x, free);
                    turned_away.fill(false);
                }
                _ => turned_away[entering] = true,
            }
            if observe(&Step::new(iterations, params.iterations, residual * unit)).is_break() {
                return (iterations, Stop::Cancelled);
            }
        }
    }

    /// From x towards the unconstrained solution z of the free columns: as far as x stays feasible, then without the columns that
    /// stopped it, until the unconstrained solution is feasible itself. `None` when the iterations are used up.
    fn feasible(
        &self,
        mut free: Vec<usize>,
        mut z: Vec<f64>,
        iterations: &mut usize,
        limit: usize,
    ) -> Option<(Vec<f64>, Vec<usize>)> {
        let mut x = self.x.clone();
        while z.iter().any(|&z| z <= 0.0) {
            // x + α (z − x) with the largest α at which no coefficient is negative.
            let blocked = |&(j, z): &(usize, f64)| z <= 0.0 && x[j] - z > 0.0;
            let steps = free.iter().copied().zip(z.iter().copied()).filter(blocked).map(|(j, z)| x[j] / (x[j] - z));
            let alpha = steps.fold(1.0, f64::min);
            for (&j, &z) in free.iter().zip(&z) {
                let moved = x[j] + alpha * (z - x[j]);
                // The coefficients that block are put to zero exactly: rounding must not leave them free.
                let stops = z <= 0.0 && x[j] <= alpha * (x[j] - z) * (1.0 + 4.0 * f64::EPSILON);
                x[j] = if stops { 0.0 } else { moved.max(0.0) };
            }
            free.retain(|&j| x[j] > 0.0);
            if free.is_empty() {
                return Some((x, free));
            }
            if *iterations >= limit {
                return None;
            }
            *iterations += 1;
            z = self.unconstrained(&free)?;
        }
        free.iter().zip(&z).for_each(|(&j, &z)| x[j] = z);
        Some((x, free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::lstsq::{LeastSquaresParams, least_squares};
    use crate::observe::silent;
    use crate::rng;

    /// The best of the unconstrained solutions of all subsets of columns that are feasible.
    fn naive(m: usize, n: usize, a: &[f64], b: &[f64]) -> f64 {
        let mut best = dense::norm_squared(b).sqrt();
        for subset in 1..1usize << n {
            let columns: Vec<usize> = (0..n).filter(|j| subset >> j & 1 == 1).collect();
            let part: Vec<f64> = (0..m).flat_map(|i| columns.iter().map(move |&j| a[i * n + j])).collect();
            let found = least_squares(m, columns.len(), &part, b, &LeastSquaresParams::default()).unwrap();
            if found.x.iter().all(|&x| x >= 0.0) {
                best = best.min(found.residual[0]);
            }
        }
        best
    }

    #[test]
    fn the_residual_is_that_of_the_best_feasible_subset() {
        for (case, (m, n)) in [(1, 1), (3, 2), (2, 4), (6, 5), (5, 5), (9, 6), (4, 6)].into_iter().enumerate() {
            for seed in 0..20 {
                let mut r = rng::stream(seed, case as u64);
                let mut a: Vec<f64> = (0..m * n).map(|_| rng::normal(&mut r)).collect();
                if seed % 4 == 0 && n > 1 {
                    // A column that is twice another.
                    (0..m).for_each(|i| a[i * n + n - 1] = 2.0 * a[i * n]);
                }
                let b: Vec<f64> = (0..m).map(|_| rng::normal(&mut r)).collect();
                let found = nnls(m, n, &a, &b, &NnlsParams::default(), &mut silent).unwrap();
                assert_eq!(found.stop, Stop::Converged);
                // Both residuals are computed to a few ε ‖b‖.
                assert!((found.residual - naive(m, n, &a, &b)).abs() < 1e-13 * (m * n) as f64, "{m} {n} {seed}");
            }
        }
    }
}
