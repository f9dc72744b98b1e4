//! Limited-memory BFGS: an approximate inverse Hessian from the last few steps.

use crate::real::Real;
use crate::simd::vectorized;

/// The last pairs s = x' − x, y = g' − g, oldest first, and their product with a gradient.
///
/// ```text
/// H_{k+1} = (1 − ρ s yᵀ) H_k (1 − ρ y sᵀ) + ρ s sᵀ,   ρ = 1/(yᵀs),   H₀ = γ diag(scale),   d = −H g
/// ```
///
/// # Shapes
/// All vectors have n words. The history is (pairs, 2, n).
///
/// # References
/// J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd ed. (2006), eq. (7.16) and algorithm 7.4 (two-loop
/// recursion).
#[derive(Clone, Debug, PartialEq)]
pub struct Lbfgs<T: Real> {
    pairs: usize,
    n: usize,
    // s and y of each pair, one after the other: [s₀ y₀ s₁ y₁ …].
    history: Vec<T>,
}

impl<T: Real> Lbfgs<T> {
    /// Room for `pairs` pairs of vectors of `n` words. Takes up `history` where an earlier [`Lbfgs::into_history`] left
    /// off: the newest pairs that there is room for. A history that is not a whole number of pairs is not one of this
    /// problem, and is dropped.
    pub fn new(pairs: usize, n: usize, mut history: Vec<T>) -> Self {
        let pair = 2 * n;
        if pair == 0 || !history.len().is_multiple_of(pair) {
            history.clear();
        } else if history.len() / pair > pairs {
            history.drain(..history.len() - pairs * pair);
        }
        Lbfgs { pairs, n, history }
    }

    /// All pairs, oldest first: what a checkpoint keeps.
    pub fn history(&self) -> &[T] {
        &self.history
    }

    /// Gives all pairs up, oldest first.
    pub fn into_history(self) -> Vec<T> {
        self.history
    }

    /// Forgets all pairs.
    pub fn clear(&mut self) {
        self.history.clear();
    }

    /// Stores a pair, dropping the oldest when there is no room. A pair without positive curvature, sᵀy ≤ 1e-10 |s||y|
    /// (or NaN), is not stored, and drops none.
    ///
    /// # Panics
    /// If `s` or `y` do not have n words.
    pub fn push(&mut self, s: impl Iterator<Item = T> + Clone, y: impl Iterator<Item = T> + Clone) {
        let (mut ss, mut sy, mut yy) = (0.0, 0.0, 0.0);
        for (s, y) in s.clone().zip(y.clone()) {
            let (s, y) = (s.f64(), y.f64());
            (ss, sy, yy) = (ss + s * s, sy + s * y, yy + y * y);
        }
        let curved = sy > 1e-10 * (ss * yy).sqrt();
        if !curved || self.pairs == 0 {
            return;
        }
        let pair = 2 * self.n;
        if self.history.len() / pair >= self.pairs {
            self.history.drain(..pair);
        }
        let start = self.history.len();
        self.history.reserve_exact(pair);
        self.history.extend(s);
        crate::error::check_len("Lbfgs", "s", self.n, self.history.len() - start);
        self.history.extend(y);
        crate::error::check_len("Lbfgs", "s and y", pair, self.history.len() - start);
    }

    /// Turns a gradient into the descent direction `d ← −H d`, with the initial inverse Hessian `H₀ = γ · diag(scale)`;
    /// γ = sᵀy / yᵀ diag(scale) y of the newest pair, 1 without one.
    ///
    /// # Panics
    /// If `d` or `scale` do not have n words.
    pub fn direction(&self, d: &mut [T], scale: &[T]) {
        crate::error::check_len("Lbfgs", "d", self.n, d.len());
        crate::error::check_len("Lbfgs", "scale", self.n, scale.len());
        let pairs: Vec<(&[T], &[T])> = self.history.chunks(2 * self.n.max(1)).map(|p| p.split_at(self.n)).collect();
        let mut a = vec![0.0; pairs.len()];
        for (i, (s, y)) in pairs.iter().enumerate().rev() {
            a[i] = dot(s, d) / dot(s, y);
            add(d, -a[i], y);
        }
        let gamma = pairs.last().map_or(1.0, |(s, y)| {
            let yhy: f64 = y.iter().zip(scale).map(|(y, h)| y.f64() * y.f64() * h.f64()).sum();
            if yhy > 0.0 { dot(s, y) / yhy } else { 1.0 }
        });
        d.iter_mut().zip(scale).for_each(|(d, &h)| *d *= T::of(gamma) * h);
        for ((s, y), a) in pairs.iter().zip(a) {
            let b = dot(y, d) / dot(s, y);
            add(d, a - b, s);
        }
        d.iter_mut().for_each(|d| *d = -*d);
    }
}

/// Σ a b, in `f64`.
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    const LANES: usize = 16;
    vectorized!({
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut lanes = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for l in 0..LANES {
                lanes[l] += a[l].f64() * b[l].f64();
            }
        }
        lanes.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>()
    })
}

fn add<T: Real>(x: &mut [T], a: f64, y: &[T]) {
    let a = T::of(a);
    x.iter_mut().zip(y).for_each(|(x, &y)| *x += a * y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_steps_in_a_quadratic_bowl_end_in_its_minimum() {
        // f = ½ xᵀ diag(a) x with exact line search: n pairs make the direction exact.
        let a = [1.0, 10.0, 100.0, 3.0];
        let mut x = [1.0f64, 2.0, -1.0, 0.5];
        let mut memory = Lbfgs::new(4, 4, Vec::new());
        for _ in 0..6 {
            let g: Vec<f64> = x.iter().zip(&a).map(|(x, a)| a * x).collect();
            let mut d = g.clone();
            memory.direction(&mut d, &[1.0; 4]);
            let curvature: f64 = d.iter().zip(&a).map(|(d, a)| a * d * d).sum();
            if curvature == 0.0 {
                break;
            }
            let t = -dot(&g, &d) / curvature;
            assert!(t > 0.0, "a descent direction");
            memory.push(d.iter().map(|d| t * d), d.iter().zip(&a).map(|(d, a)| t * a * d));
            x.iter_mut().zip(&d).for_each(|(x, d)| *x += t * d);
        }
        assert!(x.iter().all(|x| x.abs() < 1e-10), "{x:?}");
    }

    #[test]
    fn pairs_without_curvature_are_not_kept() {
        let mut memory = Lbfgs::<f64>::new(3, 2, Vec::new());
        memory.push([1.0, 0.0].into_iter(), [-1.0, 0.0].into_iter());
        assert!(memory.history().is_empty());
        for i in 1..=5 {
            memory.push([f64::from(i), 0.0].into_iter(), [1.0, 0.0].into_iter());
        }
        assert_eq!(memory.history().len(), 3 * 4);
        assert_eq!(memory.history()[0], 3.0);
        // Nor are those that are not numbers; and what is refused displaces nothing.
        let before = memory.history().to_vec();
        memory.push([f64::NAN, 0.0].into_iter(), [1.0, 0.0].into_iter());
        memory.push([0.0, 0.0].into_iter(), [1.0, 0.0].into_iter());
        assert_eq!(memory.history(), before);
    }

    #[test]
    fn a_history_is_taken_up_from_its_newest_pair() {
        let history: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(Lbfgs::new(2, 2, history.clone()).into_history(), history[4..]);
        assert_eq!(Lbfgs::new(usize::MAX, 2, history.clone()).into_history(), history);
        // Not of this problem.
        assert!(Lbfgs::new(2, 5, history.clone()).history().is_empty());
        assert!(Lbfgs::new(2, 0, history).history().is_empty());
    }
}
