//! Gradients that are too large.

use crate::optim::dot;
use crate::real::Real;

/// What happens to a gradient before a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Nothing.
    None,
    /// `g ← g · min(1, c/‖g‖)`: its Euclidean norm is at most c; its direction stays.
    Norm(f64),
    /// `gᵢ ← min(max(gᵢ, −c), c)`: no word exceeds c. Of a complex number both words are clipped.
    Value(f64),
}

impl Clip {
    /// Clips a gradient.
    ///
    /// # References
    /// R. Pascanu, T. Mikolov, Y. Bengio, ICML 2013 (arXiv:1211.5063), algorithm 1: the norm.
    pub fn apply<T: Real>(self, gradient: &mut [T]) {
        match self {
            Clip::None => {}
            Clip::Norm(c) => {
                let norm = dot(gradient, gradient).sqrt();
                if norm > c {
                    let s = T::of(c / norm);
                    gradient.iter_mut().for_each(|g| *g *= s);
                }
            }
            Clip::Value(c) => {
                let c = T::of(c);
                // Unlike `min`, comparisons keep a NaN.
                gradient.iter_mut().for_each(|g| {
                    *g = if *g > c {
                        c
                    } else if *g < -c {
                        -c
                    } else {
                        *g
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_values_are_bounded_and_small_gradients_stay() {
        let mut g = [3.0f64, -4.0];
        Clip::Norm(1.0).apply(&mut g);
        assert!((g[0] - 0.6).abs() < 1e-15 && (g[1] + 0.8).abs() < 1e-15);
        Clip::Norm(2.0).apply(&mut g);
        Clip::Value(0.7).apply(&mut g);
        assert!((g[0] - 0.6).abs() < 1e-15 && g[1] == -0.7);
        let mut g = [f64::NAN, 1.0];
        Clip::Value(0.5).apply(&mut g);
        assert!(g[0].is_nan() && g[1] == 0.5);
    }
}
