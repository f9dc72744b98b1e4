//! Losses of counted patterns: their value, and their derivative with respect to the intensity.

use crate::real::Real;
use crate::simd::vectorized;

/// How model intensities I are compared with measured ones, D.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `L = Σ (√I − √D)²`: the amplitude loss. √D has variance ¼ for all counts but the smallest, so that it weighs
    /// counts rightly.
    Amplitude,
    /// `L = Σ (I + b) − D − D ln((I + b)/D)`: half the deviance of Poisson counts over a uniform background of `b`
    /// electrons a pixel (which also keeps the derivative finite where the model is dark). For very low counts.
    Poisson {
        /// b, in electrons a pixel; positive.
        background: f64,
    },
}

/// `i ← h = ∂L/∂I` for the amplitudes a = √D; pixels with a < 0 have no measurement, and h = 0. Returns L.
///
/// ```text
/// amplitude   h = 1 − √D/√I
/// Poisson     h = 1 − D/(I + b)
/// ```
pub(crate) fn derivative<T: Real>(loss: Loss, i: &mut [T], a: &[T]) -> f64 {
    // Parts of a fixed length, so that an f32 sum stays accurate and its bits do not depend on anything else.
    const PART: usize = 64;
    let mut sum = 0.0;
    match loss {
        Loss::Amplitude => {
            // The factor of the projection, a/√I − 1, is −h; see `kernels`.
            sum = super::kernels::modulus_factors(i, a);
            vectorized!({ i.iter_mut().for_each(|f| *f = -*f) });
        }
        Loss::Poisson { background } => {
            let b = T::of(background);
            for (i, a) in i.chunks_mut(PART).zip(a.chunks(PART)) {
                let mut part = T::ZERO;
                for (i, &a) in i.iter_mut().zip(a) {
                    let (model, d) = (*i + b, a * a);
                    *i = if a >= T::ZERO {
                        part += model - d;
                        if d > T::ZERO {
                            part -= d * (model / d).ln();
                        }
                        T::ONE - d / model
                    } else {
                        T::ZERO
                    };
                }
                sum += part.f64();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_that_of_the_loss_and_zero_where_nothing_was_measured() {
        let d = [0.0, 0.3, 1.0, 7.0, 50.0];
        for loss in [Loss::Amplitude, Loss::Poisson { background: 0.1 }] {
            for (k, d) in d.into_iter().enumerate() {
                let i = 0.7 + 2.0 * k as f64;
                let value = |i: f64| derivative(loss, &mut [i], &[d.sqrt()]);
                let mut h = [i];
                derivative(loss, &mut h, &[f64::sqrt(d)]);
                let step = 1e-5 * i;
                let numeric = (value(i + step) - value(i - step)) / (2.0 * step);
                assert!((numeric - h[0]).abs() < 1e-8, "{loss:?} {d}: {numeric} {}", h[0]);
            }
            let mut h = [2.0];
            assert_eq!(derivative(loss, &mut h, &[-1.0]), 0.0);
            assert_eq!(h[0], 0.0);
        }
    }

    #[test]
    fn a_perfect_model_has_no_loss() {
        assert_eq!(derivative(Loss::Amplitude, &mut [4.0], &[2.0]), 0.0);
        assert!(derivative(Loss::Poisson { background: 0.5 }, &mut [3.5], &[2.0]).abs() < 1e-14);
    }
}
