//! When to stop a fit that goes on to fit the noise: by the running variance of what it shows.

use crate::error::{Error, check_len};
use crate::observe::ControlFlow;
use crate::real::Real;
use crate::shape::try_zeroed;

/// Parameters of [`VarianceStop`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VarianceStopParams {
    /// α, the weight of the newest image in the running mean and the running variance: about 1/α images are compared.
    pub alpha: f64,
    /// In so many images the variance must have fallen below its smallest value so far.
    pub patience: usize,
    /// Images at the beginning of which the variance is not judged.
    pub warm_up: usize,
}

/// α = 0.1 as in the paper; patience 1000; 100 images of warm-up.
impl Default for VarianceStopParams {
    fn default() -> Self {
        VarianceStopParams { alpha: 0.1, patience: 1000, warm_up: 100 }
    }
}

/// Early stopping by the running variance of the images x₁, x₂, … that a fit shows after its iterations:
///
/// ```text
/// d = x_t − m,   m ← m + α d,   v ← (1 − α) (v + α ‖d‖²)
/// ```
///
/// A network whose structure is the prior (a deep image prior) learns the image first and the noise afterwards. While it
/// learns the image, consecutive outputs come closer and v falls; when it begins to follow the noise, v rises again. The
/// answer is the running mean m at the smallest v; the fit ends when v has not fallen for `patience` images.
///
/// It needs no truth and no noise level, and memory for two images.
///
/// # Notes
/// 1. The paper's main rule takes the variance within a window of the last 100 images (ES-WMV), which keeps them all;
///    this is its variant with exponential weights (ES-EMV).
/// 2. The paper returns x_t; m is less noisy, above all where the input of the network is perturbed at every iteration.
/// 3. The paper judges from the first image on; here the first `warm_up` are passed over, since m starts from 0.
///
/// # References
/// H. Wang, T. Li, Z. Zhuang, T. Chen, H. Liang, J. Sun, "Early Stopping for Deep Image Prior", arXiv 2112.06074 (2021),
/// sections 2.2 and 2.3.
///
/// # Examples
/// ```
/// use exitwave::optim::{VarianceStop, VarianceStopParams};
///
/// // It comes to rest at 1 until image 300, and then begins to shake.
/// let mut rule = VarianceStop::<f64>::new(1, VarianceStopParams { patience: 200, ..VarianceStopParams::default() })?;
/// let image = |t: f64| 1.0 - (-t / 40.0).exp() + if t > 300.0 { 1e-3 * (t - 300.0) * t.sin() } else { 0.0 };
/// let end = (0..2000).find(|&t| rule.observe(&[image(t as f64)]).is_break());
/// assert!(end.is_some_and(|t| t < 600) && (250..350).contains(&rule.best_iteration()));
/// assert!((rule.best()[0] - 1.0).abs() < 1e-2);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct VarianceStop<T> {
    params: VarianceStopParams,
    seen: usize,
    mean: Vec<T>,
    variance: f64,
    best: Vec<T>,
    least: f64,
    best_iteration: usize,
}

impl<T: Real> VarianceStop<T> {
    /// For images of n words.
    ///
    /// # Errors
    /// [`Error::Param`] unless 0 < α < 1 and n and the patience are at least 1; [`Error::OutOfMemory`].
    pub fn new(n: usize, params: VarianceStopParams) -> Result<Self, Error> {
        if !(params.alpha > 0.0 && params.alpha < 1.0) {
            return Err(Error::param("alpha", params.alpha, "a number in (0, 1)"));
        }
        for (name, v) in [("n", n), ("patience", params.patience)] {
            if v == 0 {
                return Err(Error::param(name, v, "at least 1"));
            }
        }
        let (mean, best) = (try_zeroed(n)?, try_zeroed(n)?);
        Ok(VarianceStop { params, seen: 0, mean, variance: 0.0, best, least: f64::INFINITY, best_iteration: 0 })
    }

    /// Takes the image after an iteration; says whether to go on. A variance that is not finite counts as one that has
    /// not fallen.
    ///
    /// # Panics
    /// If the image has another length.
    pub fn observe(&mut self, x: &[T]) -> ControlFlow<()> {
        check_len("VarianceStop::observe", "x", self.mean.len(), x.len());
        let alpha = self.params.alpha;
        let a = T::of(alpha);
        let mut squares = 0.0;
        for (m, x) in self.mean.chunks_mut(4096).zip(x.chunks(4096)) {
            let mut part = T::ZERO;
            for (m, &x) in m.iter_mut().zip(x) {
                let d = x - *m;
                *m += a * d;
                part += d * d;
            }
            squares += part.f64();
        }
        self.variance = (1.0 - alpha) * (self.variance + alpha * squares);
        self.seen += 1;
        if self.seen <= self.params.warm_up {
            return ControlFlow::Continue(());
        }
        if self.variance < self.least {
            (self.least, self.best_iteration) = (self.variance, self.seen);
            self.best.copy_from_slice(&self.mean);
        }
        let since = self.seen - self.best_iteration.max(self.params.warm_up);
        if since >= self.params.patience { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The running mean where the variance was smallest; zeros before the end of the warm-up.
    pub fn best(&self) -> &[T] {
        &self.best
    }

    /// The number of the image at which that was, counted from 1; 0 before the end of the warm-up.
    pub fn best_iteration(&self) -> usize {
        self.best_iteration
    }

    /// The running variance v, per word.
    pub fn variance(&self) -> f64 {
        self.variance / self.mean.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_variance_of_white_noise_is_found() {
        // For independent images of variance s², E ‖d‖² → s² (1 + α/(2 − α)) n, and v → (1 − α) E ‖d‖².
        let (n, s, alpha) = (4000, 0.3, 0.1);
        let params = VarianceStopParams { alpha, ..VarianceStopParams::default() };
        let mut rule = VarianceStop::<f64>::new(n, params).unwrap();
        let mut r = rng::stream(1, 0);
        for _ in 0..200 {
            let x: Vec<f64> = (0..n).map(|_| 5.0 + s * rng::normal(&mut r)).collect();
            assert!(rule.observe(&x).is_continue());
        }
        let want = (1.0 - alpha) * s * s * (1.0 + alpha / (2.0 - alpha));
        // About 20 images of 4000 words: a relative standard deviation of √(2/80000) = 0.5 %.
        assert!((rule.variance() / want - 1.0).abs() < 0.025, "{} {want}", rule.variance());
    }

    #[test]
    fn it_stops_after_the_patience_and_nan_does_not_hide_that() {
        let params = VarianceStopParams { patience: 7, warm_up: 3, ..VarianceStopParams::default() };
        let mut rule = VarianceStop::<f32>::new(2, params).unwrap();
        let mut ends = (0..100).map(|t| rule.observe(&[if t < 20 { 1.0 } else { f32::NAN }; 2]).is_break());
        assert_eq!(ends.position(|b| b), Some(26));
        assert_eq!(rule.best_iteration(), 20);
        assert!(rule.best().iter().all(|b| (b - 1.0).abs() < 0.2));
        let mut never = VarianceStop::<f32>::new(1, params).unwrap();
        let end = (0..100).position(|_| never.observe(&[f32::NAN]).is_break());
        assert_eq!((end, never.best_iteration()), (Some(9), 0));
    }

    #[test]
    fn parameters_are_checked() {
        for alpha in [0.0, 1.0, f64::NAN, -0.5] {
            let params = VarianceStopParams { alpha, ..VarianceStopParams::default() };
            assert!(VarianceStop::<f32>::new(1, params).is_err());
        }
        assert!(VarianceStop::<f32>::new(0, VarianceStopParams::default()).is_err());
        let params = VarianceStopParams { patience: 0, ..VarianceStopParams::default() };
        assert!(VarianceStop::<f32>::new(1, params).is_err());
    }
}
