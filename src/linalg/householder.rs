//! QR factorisation by Householder reflections, the tool of the least-squares solvers.

use crate::linalg::dense::{self, Element};

/// In which order the columns are taken.
pub(super) enum Order {
    /// As given; a column that depends on those before it gets a zero on the diagonal of R.
    Given,
    /// The longest remainder first, until it is not above `tolerance` times the longest column.
    Pivoted { tolerance: f64 },
}

/// `A P = Q R`, with Q = H₀ H₁ … and Hₖ = 1 − τₖ vₖ vₖᴴ.
pub(super) struct Qr<E> {
    m: usize,
    /// (n, m), a row a column of A P: above the diagonal R, from the diagonal on vₖ.
    a: Vec<E>,
    /// The diagonal of R; its length is the number of reflections, `min(m, n)` or the rank that was found.
    diagonal: Vec<E>,
    tau: Vec<f64>,
    /// Column k of A P is column `order[k]` of A.
    order: Vec<usize>,
}

impl<E: Element> Qr<E> {
    /// Factors the matrix whose n columns of length m are the rows of `a`.
    ///
    /// # References
    /// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), algorithms 5.2.1 and 5.4.1. The norms of the
    /// remainders are computed anew in every step, which costs as much as the reflections and does not lose digits.
    pub fn new(m: usize, n: usize, mut a: Vec<E>, order_by: Order) -> Self {
        let (mut diagonal, mut tau) = (Vec::new(), Vec::new());
        let mut order: Vec<usize> = (0..n).collect();
        let mut first = 0.0;
        for k in 0..m.min(n) {
            if let Order::Pivoted { tolerance } = order_by {
                let norms: Vec<f64> = (k..n).map(|j| dense::norm_squared(&a[j * m + k..(j + 1) * m])).collect();
                // The first of the longest.
                let best = (0..norms.len()).fold(0, |best, j| if norms[j] > norms[best] { j } else { best });
                let norm = norms[best].sqrt();
                if k == 0 {
                    first = norm;
                }
                if norm <= tolerance * first {
                    break;
                }
                if best > 0 {
                    order.swap(k, k + best);
                    let (left, right) = a.split_at_mut((k + best) * m);
                    left[k * m..(k + 1) * m].swap_with_slice(&mut right[..m]);
                }
            }

            // H x = −e ‖x‖ e₀ with e the phase of x₀; the sign avoids a cancellation in v = x + e ‖x‖ e₀.
            let (head, rest) = a.split_at_mut((k + 1) * m);
            let v = &mut head[k * m + k..];
            let norm = dense::norm_squared(v).sqrt();
            if norm == 0.0 {
                diagonal.push(E::zero());
                tau.push(0.0);
                continue;
            }
            let x0 = v[0].modulus();
            let e = if x0 > 0.0 { v[0].unscale(x0) } else { E::one() };
            v[0] += e.scale(norm);
            let t = 1.0 / (norm * (norm + x0));
            rest.chunks_exact_mut(m).for_each(|column| reflect(v, t, &mut column[k..]));
            diagonal.push(e.scale(-norm));
            tau.push(t);
        }
        Qr { m, a, diagonal, tau, order }
    }

    /// Number of columns of R that have a diagonal: the rank, if pivoted.
    pub fn rank(&self) -> usize {
        self.diagonal.len()
    }

    /// The diagonal of R.
    pub fn diagonal(&self) -> &[E] {
        &self.diagonal
    }

    /// The column of A that is column k of A P.
    pub fn original(&self, k: usize) -> usize {
        self.order[k]
    }

    /// The first `min(m, n)` elements of column j of R.
    pub fn r_column(&self, j: usize) -> Vec<E> {
        (0..self.rank())
            .map(|i| match i.cmp(&j) {
                std::cmp::Ordering::Less => self.a[j * self.m + i],
                std::cmp::Ordering::Equal => self.diagonal[i],
                std::cmp::Ordering::Greater => E::zero(),
            })
            .collect()
    }

    /// b ← Qᴴ b.
    pub fn apply_adjoint(&self, b: &mut [E]) {
        for k in 0..self.rank() {
            reflect(&self.a[k * self.m + k..(k + 1) * self.m], self.tau[k], &mut b[k..]);
        }
    }

    /// Solves A x = b in the sense of least squares, for full column rank; `b` becomes Qᴴ b.
    pub fn solve(&self, b: &mut [E]) -> Vec<E> {
        self.apply_adjoint(b);
        let n = self.order.len();
        let mut y = b[..n].to_vec();
        for k in (0..n).rev() {
            let yk = y[k] / self.diagonal[k];
            y[k] = yk;
            let column = &self.a[k * self.m..k * self.m + k];
            y[..k].iter_mut().zip(column).for_each(|(y, &r)| *y -= r * yk);
        }
        let mut x = vec![E::zero(); n];
        (0..n).for_each(|k| x[self.order[k]] = y[k]);
        x
    }
}

/// b ← (1 − τ v vᴴ) b.
fn reflect<E: Element>(v: &[E], tau: f64, b: &mut [E]) {
    let projection = dense::dot(v, b).scale(tau);
    b.iter_mut().zip(v).for_each(|(b, &v)| *b -= v * projection);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn reflections_turn_the_columns_into_those_of_r() {
        for (m, n) in [(1, 1), (5, 3), (4, 4), (3, 6), (9, 8)] {
            let mut r = rng::stream(5, (10 * m + n) as u64);
            let a: Vec<f64> = (0..m * n).map(|_| rng::normal(&mut r)).collect();
            for order in [Order::Given, Order::Pivoted { tolerance: 0.0 }] {
                let qr = Qr::new(m, n, a.clone(), order);
                for j in 0..n {
                    let mut column = a[qr.original(j) * m..(qr.original(j) + 1) * m].to_vec();
                    qr.apply_adjoint(&mut column);
                    // A few reflections of numbers of order one.
                    let want = qr.r_column(j);
                    (0..m).for_each(|i| assert!((column[i] - want.get(i).unwrap_or(&0.0)).abs() < 1e-14));
                }
            }
        }
    }

    #[test]
    fn pivoting_finds_the_rank() {
        // Columns a, 2 a, b, 0.
        let a = vec![1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0];
        assert_eq!(Qr::new(3, 4, a, Order::Pivoted { tolerance: 1e-15 }).rank(), 2);
        assert_eq!(Qr::new(3, 2, vec![0.0; 6], Order::Pivoted { tolerance: 1e-15 }).rank(), 0);
    }
}
