//! Learning rates that change from step to step.

use std::f64::consts::PI;

use crate::error::Error;

/// How the rate changes after the warm-up; i counts steps from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// It does not.
    Constant,
    /// `floor + (rate − floor) (1 + cos(π i/period))/2`: down in one period, up in the next.
    Cosine {
        /// Steps from the top to the bottom.
        period: usize,
        /// The rate at the bottom.
        floor: f64,
    },
    /// `rate · factor^⌊i/every⌋`.
    Step {
        /// Steps between changes.
        every: usize,
        /// What each change multiplies with.
        factor: f64,
    },
    /// `rate · factorⁱ`.
    Exponential {
        /// What each step multiplies with.
        factor: f64,
    },
    /// Up from rate/25 to the rate in the first 30 % of the steps, then down to rate/250 000; half a cosine each.
    OneCycle {
        /// Steps of the cycle; the rate stays at its last value after that.
        total: usize,
    },
    /// Multiplied by a factor whenever the loss has not fallen for a while.
    Plateau {
        /// What each change multiplies with.
        factor: f64,
        /// Steps without improvement before a change.
        patience: usize,
        /// The relative fall that counts as an improvement.
        threshold: f64,
        /// The rate is not lowered further than this.
        floor: f64,
    },
}

/// The learning rate of each step.
///
/// # References
/// I. Loshchilov, F. Hutter, ICLR 2017 (arXiv:1608.03983), eq. (5): cosine. L. N. Smith, N. Topin, arXiv:1708.07120:
/// one cycle. P. Goyal et al., arXiv:1706.02677, section 2.2: warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The rate that the shape refers to.
    pub rate: f64,
    /// Steps in which the rate rises linearly, `(i + 1)/(warm_up + 1)` of it, before the shape begins.
    pub warm_up: usize,
    /// The shape after that.
    pub shape: Shape,
}

/// A constant rate of 10⁻³.
impl Default for Schedule {
    fn default() -> Self {
        Schedule { rate: 1e-3, warm_up: 0, shape: Shape::Constant }
    }
}

/// What [`Shape::Plateau`] remembers: best loss, steps since, factor reached.
pub type PlateauMemory = [f64; 3];

/// The memory before the first step.
pub const NO_PLATEAU: PlateauMemory = [f64::INFINITY, 0.0, 1.0];

impl Schedule {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        let positive = |name, v: f64| match v > 0.0 && v.is_finite() {
            true => Ok(()),
            false => Err(Error::param(name, v, "a positive number")),
        };
        let floor = |v: f64| match v >= 0.0 && v.is_finite() {
            true => Ok(()),
            false => Err(Error::param("schedule.floor", v, "a number that is not negative")),
        };
        let steps = |name, n: usize| if n == 0 { Err(Error::param(name, n, "at least 1")) } else { Ok(()) };
        positive("schedule.rate", self.rate)?;
        match self.shape {
            Shape::Constant => Ok(()),
            Shape::Cosine { period, floor: f } => steps("schedule.period", period).and(floor(f)),
            Shape::Step { every, factor } => steps("schedule.every", every).and(positive("schedule.factor", factor)),
            Shape::Exponential { factor } => positive("schedule.factor", factor),
            Shape::OneCycle { total } if total < 4 => Err(Error::param("schedule.total", total, "at least 4")),
            Shape::OneCycle { .. } => Ok(()),
            Shape::Plateau { factor, threshold, floor: f, .. } => {
                if !(factor > 0.0 && factor < 1.0) {
                    return Err(Error::param("schedule.factor", factor, "a number between 0 and 1"));
                }
                floor(f).and(floor(threshold))
            }
        }
    }

    /// The rate of step `i`, counted from 0.
    pub fn at(&self, i: usize, plateau: &PlateauMemory) -> f64 {
        if i < self.warm_up {
            return self.rate * (i + 1) as f64 / (self.warm_up + 1) as f64;
        }
        let i = i - self.warm_up;
        let rate = self.rate;
        let half_cosine = |from: f64, to: f64, x: f64| to + (from - to) * 0.5 * (1.0 + (PI * x).cos());
        match self.shape {
            Shape::Constant => rate,
            Shape::Cosine { period, floor } => half_cosine(rate, floor, i as f64 / period as f64),
            Shape::Step { every, factor } => rate * factor.powf((i / every) as f64),
            Shape::Exponential { factor } => rate * factor.powf(i as f64),
            Shape::OneCycle { total } => {
                let (top, end) = (0.3 * total as f64 - 1.0, total as f64 - 1.0);
                let i = (i as f64).min(end);
                if i <= top {
                    half_cosine(rate / 25.0, rate, i / top)
                } else {
                    half_cosine(rate, rate / 25.0 / 1e4, (i - top) / (end - top))
                }
            }
            Shape::Plateau { floor, .. } => (rate * plateau[2]).max(floor.min(rate)),
        }
    }

    /// Tells [`Shape::Plateau`] the loss of a step.
    pub fn observe(&self, loss: f64, plateau: &mut PlateauMemory) {
        let Shape::Plateau { factor, patience, threshold, .. } = self.shape else { return };
        let [best, since, reached] = plateau;
        if loss < *best - threshold * best.abs() || (best.is_infinite() && loss.is_finite()) {
            (*best, *since) = (loss, 0.0);
        } else {
            *since += 1.0;
        }
        if *since > patience as f64 {
            (*since, *reached) = (0.0, *reached * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plateau_lowers_the_rate_and_an_improvement_does_not() {
        let shape = Shape::Plateau { factor: 0.5, patience: 2, threshold: 0.01, floor: 0.2 };
        let s = Schedule { rate: 1.0, warm_up: 0, shape };
        let mut memory = NO_PLATEAU;
        let mut rates = Vec::new();
        for loss in [10.0, 9.0, 9.0, 9.0, 8.95, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0] {
            s.observe(loss, &mut memory);
            rates.push(s.at(0, &memory));
        }
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn the_warm_up_rises_to_the_rate_and_what_makes_no_sense_is_refused() {
        let s = Schedule { rate: 1.0, warm_up: 3, shape: Shape::Step { every: 2, factor: 0.1 } };
        let rates: Vec<f64> = (0..6).map(|i| s.at(i, &NO_PLATEAU)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 0.1]);
        assert!(s.check().is_ok());
        for shape in [
            Shape::Cosine { period: 0, floor: 0.0 },
            Shape::Step { every: 0, factor: 0.5 },
            Shape::Exponential { factor: f64::NAN },
            Shape::OneCycle { total: 3 },
            Shape::Plateau { factor: 1.5, patience: 1, threshold: 0.0, floor: 0.0 },
        ] {
            assert!(Schedule { shape, ..s }.check().is_err(), "{shape:?}");
        }
        assert!(Schedule { rate: -1.0, ..s }.check().is_err());
    }
}
