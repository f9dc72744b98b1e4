//! Gradient descent with momentum.

use crate::error::check_len;
use crate::real::Real;

/// Which momentum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentum {
    /// The step is the momentum: Polyak's heavy ball.
    HeavyBall,
    /// The step is the gradient after the momentum's next step: Nesterov's acceleration.
    Nesterov,
}

/// Gradient descent with momentum.
///
/// ```text
/// m ← μ m + g,   x ← x − rate · m             heavy ball
///                x ← x − rate · (g + μ m)     Nesterov
/// ```
///
/// # Shapes
/// All vectors are equally long; m is zero before the first step. With μ = 0 it is plain gradient descent.
///
/// # References
/// B. T. Polyak, USSR Comput. Math. Math. Phys. 4 (5), 1 (1964), eq. (9); I. Sutskever, J. Martens, G. Dahl, G. Hinton,
/// ICML 2013, eq. (1)–(4). Note: the rate multiplies the momentum here, not the gradient that enters it; the two differ
/// where the rate changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Decay of the momentum, μ, in [0, 1).
    pub momentum: f64,
    /// Which momentum.
    pub kind: Momentum,
    /// Added to the gradient: `g + decay · x`.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { momentum: 0.9, kind: Momentum::HeavyBall, weight_decay: 0.0 }
    }
}

impl Sgd {
    /// One step of x along the gradient.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn step<T: Real>(&self, x: &mut [T], gradient: &[T], m: &mut [T], rate: f64) {
        check_len("Sgd", "gradient", x.len(), gradient.len());
        check_len("Sgd", "m", x.len(), m.len());
        let (mu, rate, decay) = (T::of(self.momentum), T::of(rate), T::of(self.weight_decay));
        for ((x, &g), m) in x.iter_mut().zip(gradient).zip(m) {
            let g = g + decay * *x;
            *m = mu * *m + g;
            *x -= rate * if self.kind == Momentum::Nesterov { g + mu * *m } else { *m };
        }
    }
}
