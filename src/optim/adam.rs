//! Adam: steps in units of the gradient's own recent size.

use crate::error::check_len;
use crate::par::Par;
use crate::real::Real;
use crate::simd::vectorized;

/// Words that one task works on at a time.
pub(crate) const CHUNK: usize = 16384;

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

/// How the parameters themselves enter a step of [`AdamStep`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightDecay {
    /// Not at all.
    None,
    /// `g + decay · x` in the place of g.
    Gradient(f64),
    /// `x ← (1 − rate · decay) x` before the step: AdamW.
    Decoupled(f64),
}

/// Which second moment divides the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondMoment {
    /// The running mean, v.
    Mean,
    /// The largest v so far: AMSGrad. The steps of an element never grow.
    Largest,
}

/// Adam and its relatives, as a step of the parameters: Adam, AdamW, AMSGrad.
///
/// ```text
/// m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   v̂ = v, or the largest v so far
/// x ← (1 − rate · decay) x − rate · m/(1 − β₁ᵗ) / ( √(v̂/(1 − β₂ᵗ)) + ε )
/// ```
///
/// # References
/// [`Adam`]'s; I. Loshchilov, F. Hutter, ICLR 2019 (arXiv:1711.05101), algorithm 2, for the decoupled decay;
/// S. J. Reddi, S. Kale, S. Kumar, ICLR 2018 (arXiv:1904.09237), algorithm 2, for the largest second moment. Note: the
/// correction of the bias divides the largest v, as widely used programs do; the paper has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The constants.
    pub adam: Adam,
    /// Decay of the parameters.
    pub weight_decay: WeightDecay,
    /// Which second moment divides.
    pub second: SecondMoment,
}

/// Adam with ε = 10⁻⁸, no decay.
impl Default for AdamStep {
    fn default() -> Self {
        let adam = Adam { epsilon: 1e-8, ..Adam::default() };
        AdamStep { adam, weight_decay: WeightDecay::None, second: SecondMoment::Mean }
    }
}

impl AdamStep {
    /// Vectors as long as x that a step needs: m, v, and for AMSGrad the largest v; one after the other, zero before the
    /// first step.
    pub fn vectors(&self) -> usize {
        if self.second == SecondMoment::Largest { 3 } else { 2 }
    }

    /// Step number `t`, counted from 1.
    ///
    /// # Panics
    /// If the slices do not have the length of x, or [`AdamStep::vectors`] times it.
    pub fn step<T: Real>(&self, t: usize, x: &mut [T], gradient: &[T], memory: &mut [T], rate: f64, par: &Par) {
        let n = x.len();
        check_len("AdamStep", "gradient", n, gradient.len());
        check_len("AdamStep", "memory", self.vectors() * n, memory.len());
        let t = t.min(i32::MAX as usize) as i32;
        let Adam { beta1, beta2, epsilon } = self.adam;
        let (b1, b2, eps, rate_t) = (T::of(beta1), T::of(beta2), T::of(epsilon), T::of(rate));
        let c1 = T::of(1.0 / (1.0 - beta1.powi(t)));
        let c2 = T::of(1.0 / (1.0 - beta2.powi(t)));
        let (coupled, shrink) = match self.weight_decay {
            WeightDecay::None => (T::ZERO, T::ONE),
            WeightDecay::Gradient(d) => (T::of(d), T::ONE),
            WeightDecay::Decoupled(d) => (T::ZERO, T::of(1.0 - rate * d)),
        };
        let (m, rest) = memory.split_at_mut(n);
        let (v, largest) = rest.split_at_mut(n);
        // Moments of one word, and its step from there.
        let moments = |x: T, g: T, m: &mut T, v: &mut T| {
            let g = g + coupled * x;
            *m = b1 * *m + (T::ONE - b1) * g;
            *v = b2 * *v + (T::ONE - b2) * g * g;
        };
        let moved = |x: T, m: T, second: T| shrink * x - rate_t * (c1 * m) / ((c2 * second).sqrt() + eps);
        let words = x.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)).zip(m.chunks_mut(CHUNK)).zip(v.chunks_mut(CHUNK));
        match self.second {
            SecondMoment::Mean => par.chunks(&mut words.collect::<Vec<_>>(), 1, |_, part| {
                let (((x, gradient), m), v) = &mut part[0];
                vectorized!({
                    for (((x, &g), m), v) in x.iter_mut().zip(*gradient).zip(m.iter_mut()).zip(v.iter_mut()) {
                        moments(*x, g, m, v);
                        *x = moved(*x, *m, *v);
                    }
                })
            }),
            SecondMoment::Largest => {
                par.chunks(&mut words.zip(largest.chunks_mut(CHUNK)).collect::<Vec<_>>(), 1, |_, part| {
                    let ((((x, gradient), m), v), largest) = &mut part[0];
                    vectorized!({
                        let moments_of = x.iter_mut().zip(*gradient).zip(m.iter_mut()).zip(v.iter_mut());
                        for ((((x, &g), m), v), l) in moments_of.zip(largest.iter_mut()) {
                            moments(*x, g, m, v);
                            *l = l.max(*v);
                            *x = moved(*x, *m, *l);
                        }
                    })
                });
            }
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
