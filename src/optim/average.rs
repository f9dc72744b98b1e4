//! The running mean of the weights.

use crate::error::check_len;
use crate::real::Real;

/// Updates the exponential moving average of the parameters, `a ← β a + (1 − β) x`, after step number `t`, counted from
/// 1. The first step sets `a = x`, so that nothing of the zeros before it is left.
///
/// The averaged weights evaluate better than the last ones, whose noise is that of the last batches.
///
/// # Panics
/// If the slices differ in length.
///
/// # References
/// B. T. Polyak, A. B. Juditsky, SIAM J. Control Optim. 30, 838 (1992): averages of iterates.
pub fn moving_average<T: Real>(t: usize, beta: f64, x: &[T], a: &mut [T]) {
    check_len("moving_average", "a", x.len(), a.len());
    if t <= 1 {
        return a.copy_from_slice(x);
    }
    let (beta, rest) = (T::of(beta), T::of(1.0 - beta));
    a.iter_mut().zip(x).for_each(|(a, &x)| *a = beta * *a + rest * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_its_own_average_and_a_step_decays() {
        let mut a = [9.0f64];
        moving_average(1, 0.9, &[1.0], &mut a);
        moving_average(2, 0.9, &[1.0], &mut a);
        assert!((a[0] - 1.0).abs() < 1e-15);
        (3..13).for_each(|t| moving_average(t, 0.9, &[0.0], &mut a));
        assert!((a[0] - 0.9f64.powi(10)).abs() < 1e-15);
    }
}
