//! Nonlinear conjugate gradients.

use crate::optim::dot;
use crate::real::Real;

/// The direction of the Polak–Ribière⁺ method from the new gradient g′, the old one g and the old direction d:
///
/// ```text
/// β = max(0, g′ᵀ(g′ − g)/gᵀg),   d ← −g′ + β d,   and −g′ where that does not descend
/// ```
///
/// `direction` and `old` are overwritten by the new direction and by g′. Returns the slope `g′ᵀd`.
///
/// # Panics
/// If the slices differ in length.
///
/// # References
/// J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd ed. (2006), eq. (5.44), (5.45), algorithm 5.4.
pub fn polak_ribiere<T: Real>(gradient: &[T], old: &mut [T], direction: &mut [T]) -> f64 {
    crate::error::check_len("polak_ribiere", "old", gradient.len(), old.len());
    crate::error::check_len("polak_ribiere", "direction", gradient.len(), direction.len());
    let gg = dot(old, old);
    let beta = if gg > 0.0 { ((dot(gradient, gradient) - dot(gradient, old)) / gg).max(0.0) } else { 0.0 };
    let b = T::of(beta);
    for ((d, &g), old) in direction.iter_mut().zip(gradient).zip(old) {
        *d = b * *d - g;
        *old = g;
    }
    let slope = dot(gradient, direction);
    if slope < 0.0 {
        return slope;
    }
    direction.iter_mut().zip(gradient).for_each(|(d, &g)| *d = -g);
    -dot(gradient, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_steps_in_a_quadratic_bowl_end_after_as_many_as_there_are_dimensions() {
        let a = [1.0, 10.0, 100.0, 3.0];
        let mut x = [1.0f64, 2.0, -1.0, 0.5];
        let (mut old, mut d) = ([0.0; 4], [0.0; 4]);
        for _ in 0..4 {
            let g: Vec<f64> = x.iter().zip(&a).map(|(x, a)| a * x).collect();
            let slope = polak_ribiere(&g, &mut old, &mut d);
            let curvature: f64 = d.iter().zip(&a).map(|(d, a)| a * d * d).sum();
            x.iter_mut().zip(&d).for_each(|(x, d)| *x -= slope / curvature * d);
        }
        // Four steps of a condition number of 100: rounding grows to at most that.
        assert!(x.iter().all(|x| x.abs() < 1e-12), "{x:?}");
    }

    #[test]
    fn directions_that_do_not_descend_are_replaced() {
        let (mut old, mut d) = ([0.1f64], [5.0]);
        assert_eq!(polak_ribiere(&[1.0], &mut old, &mut d), -1.0);
        assert_eq!((d, old), ([-1.0], [1.0]));
    }
}
