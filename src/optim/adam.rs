//! Adam: steps in units of the gradient's own recent size.

use crate::error::check_len;
use crate::real::Real;

/// Adam's constants.
///
/// ```text
/// m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
/// x ← x − rate · m/(1 − β₁ᵗ) / ( √(v/(1 − β₂ᵗ)) + ε )
/// ```
///
/// # Shapes
/// All vectors are equally long; m and v are zero before the first step.
///
/// # References
/// D. P. Kingma, J. Ba, ICLR 2015 (arXiv:1412.6980), algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the first moment, β₁.
    pub beta1: f64,
    /// Decay of the second moment, β₂.
    pub beta2: f64,
    /// Added to the root of the second moment, ε, in units of the gradient.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-12 }
    }
}

impl Adam {
    /// Updates the moments with `gradient` and writes the change of the parameters for a learning rate of 1,
    /// `−m̂/(√v̂ + ε)`. `t` counts steps from 1.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn step<T: Real>(&self, t: usize, gradient: &[T], m: &mut [T], v: &mut [T], change: &mut [T]) {
        check_len("Adam", "m", gradient.len(), m.len());
        check_len("Adam", "v", gradient.len(), v.len());
        check_len("Adam", "change", gradient.len(), change.len());
        let t = t.min(i32::MAX as usize) as i32;
        let (b1, b2, eps) = (T::of(self.beta1), T::of(self.beta2), T::of(self.epsilon));
        let c1 = T::of(1.0 / (1.0 - self.beta1.powi(t)));
        let c2 = T::of(1.0 / (1.0 - self.beta2.powi(t)));
        for (((&g, m), v), d) in gradient.iter().zip(m).zip(v).zip(change) {
            *m = b1 * *m + (T::ONE - b1) * g;
            *v = b2 * *v + (T::ONE - b2) * g * g;
            *d = -(c1 * *m) / ((c2 * *v).sqrt() + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_sign_of_the_gradient() {
        let (mut m, mut v, mut d) = ([0.0f64; 3], [0.0; 3], [0.0f64; 3]);
        Adam::default().step(1, &[3.0, -0.01, 0.0], &mut m, &mut v, &mut d);
        assert!((d[0] + 1.0).abs() < 1e-9 && (d[1] - 1.0).abs() < 1e-9 && d[2] == 0.0);
    }

    #[test]
    fn adam_descends_into_a_bowl() {
        let mut x = [2.0f64, -1.5];
        let (mut m, mut v, mut d) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        for t in 1..=2000 {
            let g = [x[0] - 1.0, 100.0 * x[1]];
            Adam::default().step(t, &g, &mut m, &mut v, &mut d);
            x.iter_mut().zip(&d).for_each(|(x, d)| *x += 0.01 * d);
        }
        assert!((x[0] - 1.0).abs() < 1e-3 && x[1].abs() < 1e-3, "{x:?}");
    }
}
