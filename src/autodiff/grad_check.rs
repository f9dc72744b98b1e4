//! Finite differences against the gradient of a whole plan.

use crate::autodiff::{Mode, Session};
use crate::error::Error;
use crate::rng;

/// How [`grad_check`] looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradCheckParams {
    /// Half-width of the stencil, in units of each parameter's root mean square (1 where that is 0).
    pub h: f64,
    /// How many components of each parameter are compared.
    pub components: usize,
    /// Seed of the choice of components, and of the direction.
    pub seed: u64,
    /// The mode of the runs. In training, dropout draws the same mask each time, since the step is the same.
    pub mode: Mode,
}

impl Default for GradCheckParams {
    fn default() -> Self {
        GradCheckParams { h: 1e-3, components: 32, seed: 0, mode: Mode::Train { step: 0 } }
    }
}

/// What [`grad_check`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCheck {
    /// The largest error, relative to the largest component of that parameter's gradient (for the direction: to the sum
    /// of |gᵢ dᵢ|). NaN where a gradient is NaN.
    pub error: f64,
    /// The parameter in which it was found.
    pub param: String,
    /// The word of that parameter; `None` for the random direction.
    pub index: Option<usize>,
    /// The derivative by finite differences.
    pub expected: f64,
    /// The derivative by the backward pass.
    pub got: f64,
}

/// Compares the gradient of every parameter, at the values that the session holds, with the central difference of
/// fourth order, `L′ ≈ (8 (L(h) − L(−h)) − (L(2h) − L(−2h))) / 12h`: chosen words one by one, then all words of the
/// parameter along a random direction, which sees those that were not chosen.
///
/// Compare [`GradCheck::error`] with 1e-6. The session's parameters are left as they were.
///
/// # Errors
/// Those of [`Session::forward`].
///
/// # References
/// B. Fornberg, Math. Comp. 51, 699 (1988), table 1: the stencil.
pub fn grad_check(session: &mut Session<f64>, params: &GradCheckParams) -> Result<GradCheck, Error> {
    let mode = params.mode;
    let loss = session.forward(mode)?.abs();
    session.backward();
    let start = session.params().to_vec();
    let gradient = session.grads().to_vec();
    let plan = session.plan().clone();
    let mut worst = GradCheck { error: 0.0, param: String::new(), index: None, expected: 0.0, got: 0.0 };
    let mut at = 0;
    for (p, id) in plan.params().enumerate() {
        let range = at..at + plan.space(id).words();
        at = range.end;
        let (x, g) = (&start[range.clone()], &gradient[range.clone()]);
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
        let h = params.h * if rms > 0.0 { rms } else { 1.0 };

        // Differences of the loss below 1e-9 of it, a derivative of this size, are rounding.
        let floor = 1e-9 * loss / h;

        // The slope of the loss along a direction of this parameter.
        let mut slope = |direction: &dyn Fn(usize) -> f64| -> Result<f64, Error> {
            let mut loss = |h: f64| -> Result<f64, Error> {
                let words = &mut session.params_and_grads().0[range.clone()];
                words.iter_mut().enumerate().for_each(|(j, w)| *w = x[j] + h * direction(j));
                let loss = session.forward(mode);
                session.params_and_grads().0[range.clone()].copy_from_slice(x);
                loss
            };
            Ok((8.0 * (loss(h)? - loss(-h)?) - (loss(2.0 * h)? - loss(-2.0 * h)?)) / (12.0 * h))
        };
        let mut judge = |index: Option<usize>, expected: f64, got: f64, scale: f64| {
            let error = (expected - got).abs() / scale.max(1e-300);
            // A NaN is the worst there is.
            if !worst.error.is_nan() && (error.is_nan() || error >= worst.error) {
                worst = GradCheck { error, param: plan.name(id).to_string(), index, expected, got };
            }
        };
        let mut r = rng::stream(params.seed, p as u64);
        let chosen: Vec<usize> = rng::permutation(&mut r, x.len()).into_iter().take(params.components).collect();
        let largest = g.iter().fold(0.0f64, |m, g| if g.is_nan() { f64::NAN } else { m.max(g.abs()) });
        for &j in &chosen {
            judge(Some(j), slope(&|k| if k == j { 1.0 } else { 0.0 })?, g[j], largest.max(floor));
        }
        let d: Vec<f64> = (0..x.len()).map(|_| rng::normal(&mut r) / (x.len() as f64).sqrt()).collect();
        let product: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
        let scale: f64 = g.iter().zip(&d).map(|(g, d)| (g * d).abs()).sum();
        judge(None, slope(&|j| d[j])?, product, scale.max(floor));
    }
    Ok(worst)
}
