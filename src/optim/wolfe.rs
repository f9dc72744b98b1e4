//! Line search to the strong Wolfe conditions.

use crate::error::Error;

/// A step length t along a direction d for which the loss has fallen enough and is flat enough:
///
/// ```text
/// φ(t) ≤ φ(0) + c₁ t φ′(0),   |φ′(t)| ≤ c₂ |φ′(0)|,   φ(t) = L(x + t d)
/// ```
///
/// A bracket is looked for by cubic extrapolation, then narrowed by cubic interpolation.
///
/// # References
/// J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd ed. (2006), algorithms 3.5 and 3.6, eq. (3.59). Notes:
/// 1. A trial that lies within a tenth of the bracket of one of its ends is moved away from it, the second time in a row
///    that this happens, or when it lies outside. Otherwise the bracket may shrink arbitrarily slowly.
/// 2. The extrapolated trial is kept between `t + (t − t′)/100` and `10 t`.
/// 3. A loss that is not finite counts as infinite, and the bracket is halved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wolfe {
    /// Sufficient decrease, c₁.
    pub c1: f64,
    /// Curvature, c₂: 0.9 for quasi-Newton directions, 0.1 for conjugate gradients.
    pub c2: f64,
    /// The most evaluations of the loss.
    pub evaluations: usize,
    /// The bracket is not narrowed below this length times the largest component of the direction.
    pub tolerance: f64,
}

impl Default for Wolfe {
    fn default() -> Self {
        Wolfe { c1: 1e-4, c2: 0.9, evaluations: 25, tolerance: 1e-9 }
    }
}

/// What [`Wolfe::search`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineStep {
    /// The step length; 0 where no trial had a lower loss.
    pub t: f64,
    /// The loss there.
    pub loss: f64,
    /// Evaluations of the loss.
    pub evaluations: usize,
    /// Whether the conditions hold.
    pub satisfied: bool,
    /// The step length of the last evaluation: the caller's gradient is that of this one.
    pub last: f64,
}

/// A trial: step length, loss, slope.
#[derive(Clone, Copy, Debug)]
struct Trial {
    t: f64,
    f: f64,
    g: f64,
}

impl Wolfe {
    /// Searches from the trial length `t`, for a loss `f0` with slope `g0` < 0 at 0. `size` is the largest component of
    /// the direction. `phi(t)` returns the loss and its slope along the direction.
    ///
    /// # Errors
    /// Those of `phi`; [`Error::NotFinite`] counts as an infinite loss.
    pub fn search(
        &self,
        t: f64,
        f0: f64,
        g0: f64,
        size: f64,
        phi: &mut dyn FnMut(f64) -> Result<(f64, f64), Error>,
    ) -> Result<LineStep, Error> {
        let mut evaluations = 0;
        let mut last = 0.0;
        let mut eval = |t: f64| -> Result<Trial, Error> {
            evaluations += 1;
            last = t;
            match phi(t) {
                Ok((f, g)) if f.is_finite() && g.is_finite() => Ok(Trial { t, f, g }),
                Ok(_) | Err(Error::NotFinite { .. }) => Ok(Trial { t, f: f64::INFINITY, g: f64::NAN }),
                Err(e) => Err(e),
            }
        };
        let enough = |a: &Trial| a.f <= f0 + self.c1 * a.t * g0;
        let flat = |a: &Trial| a.g.abs() <= -self.c2 * g0;

        // Algorithm 3.5: step out until a bracket is found.
        let start = Trial { t: 0.0, f: f0, g: g0 };
        let mut before = start;
        let mut now = eval(t)?;
        let mut trials = 0;
        let mut found = None;
        let mut bracket = None;
        while trials < self.evaluations {
            if !enough(&now) || (trials > 1 && now.f >= before.f) {
                bracket = Some([before, now]);
            } else if flat(&now) {
                found = Some(now);
            } else if now.g >= 0.0 {
                bracket = Some([now, before]);
            }
            if bracket.is_some() || found.is_some() {
                break;
            }
            let bounds = [now.t + 0.01 * (now.t - before.t), 10.0 * now.t];
            let t = minimum_of_cubic(&before, &now, bounds);
            before = now;
            now = eval(t)?;
            trials += 1;
        }

        // Algorithm 3.6: a has the lowest loss of the trials that fell enough, and the slope there points towards b.
        let [mut a, mut b] = bracket.unwrap_or([start, now]);
        let mut little_progress = false;
        while found.is_none() && trials < self.evaluations {
            let (left, right) = (a.t.min(b.t), a.t.max(b.t));
            if (right - left) * size < self.tolerance {
                break;
            }
            let mut t = minimum_of_cubic(&a, &b, [left, right]);
            let margin = 0.1 * (right - left);
            if (right - t).min(t - left) < margin {
                let outside = t >= right || t <= left;
                if little_progress || outside {
                    t = if (t - right).abs() < (t - left).abs() { right - margin } else { left + margin };
                }
                little_progress = !(little_progress || outside);
            } else {
                little_progress = false;
            }
            let trial = eval(t)?;
            trials += 1;
            if !enough(&trial) || trial.f >= a.f {
                b = trial;
            } else {
                if flat(&trial) {
                    found = Some(trial);
                } else if trial.g * (b.t - a.t) >= 0.0 {
                    b = a;
                }
                a = trial;
            }
        }
        let best = found.unwrap_or(if b.f < a.f { b } else { a });
        Ok(LineStep { t: best.t, loss: best.f, evaluations, satisfied: found.is_some(), last })
    }
}

/// The minimum of the cubic through two points with their slopes, kept within bounds; the middle of the bounds where
/// there is none.
fn minimum_of_cubic(a: &Trial, b: &Trial, [left, right]: [f64; 2]) -> f64 {
    // Nocedal & Wright, eq. (3.59), from the left point to the right.
    let (a, b) = if a.t <= b.t { (a, b) } else { (b, a) };
    let d1 = a.g + b.g - 3.0 * (a.f - b.f) / (a.t - b.t);
    let square = d1 * d1 - a.g * b.g;
    let t = b.t - (b.t - a.t) * ((b.g + square.sqrt() - d1) / (b.g - a.g + 2.0 * square.sqrt()));
    if square >= 0.0 && t.is_finite() { t.max(left).min(right) } else { 0.5 * (left + right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_hold_for_any_first_trial() {
        // A parabola; a flat tail; steep walls about a flat bottom; a pole, beyond which there is no loss.
        let functions: [fn(f64) -> (f64, f64); 4] = [
            |t| ((t - 3.0).powi(2), 2.0 * (t - 3.0)),
            |t| (-t / (t * t + 2.0), (t * t - 2.0) / (t * t + 2.0).powi(2)),
            |t| {
                ((t + 0.004).powi(5) - 2.0 * (t + 0.004).powi(4), 5.0 * (t + 0.004).powi(4) - 8.0 * (t + 0.004).powi(3))
            },
            |t| (if t < 2.0 { -t + t * t / (2.0 - t) } else { f64::NAN }, -1.0 + (4.0 * t - t * t) / (2.0 - t).powi(2)),
        ];
        for (i, f) in functions.iter().enumerate() {
            for first in [1e-3, 0.1, 1.0, 10.0, 1e3] {
                let (f0, g0) = f(0.0);
                let w = Wolfe { evaluations: 60, c2: 0.1, ..Wolfe::default() };
                let step = w.search(first, f0, g0, 1.0, &mut |t| Ok(f(t))).unwrap();
                let (ft, gt) = f(step.t);
                assert!(step.satisfied, "{i} from {first}: {step:?}");
                assert!(ft <= f0 + w.c1 * step.t * g0 && gt.abs() <= -w.c2 * g0, "{i} from {first}: {step:?}");
            }
        }
    }

    #[test]
    fn errors_pass_and_what_is_not_finite_is_avoided() {
        let fails = Wolfe::default().search(1.0, 0.0, -1.0, 1.0, &mut |_| Err(Error::param("x", 1, "2")));
        assert!(fails.is_err());
        let nan = |_| Err(Error::NotFinite { node: "loss".into(), step: 0 });
        let step = Wolfe::default().search(1.0, 0.0, -1.0, 1.0, &mut { nan }).unwrap();
        assert_eq!((step.t, step.satisfied), (0.0, false));
    }
}
