//! Which values the two ends of a colour map stand for.

use crate::error::Error;
use crate::real::Real;

/// How the limits of the colours are found. Values that are not finite are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Range {
    /// The smallest and the largest value.
    #[default]
    MinMax,
    /// Two percentiles: `Percentile { low: 1.0, high: 99.0 }` clips one per cent at each end.
    Percentile {
        /// Percentile at the lower end, 0 to 100.
        low: f64,
        /// Percentile at the upper end, above `low`.
        high: f64,
    },
    /// From −a to a, with a the given percentile of |x|: zero is the middle of the map. 100 clips nothing.
    Symmetric {
        /// Percentile of |x|, above 0, up to 100.
        percentile: f64,
    },
    /// These two values.
    Fixed {
        /// Value at the lower end.
        min: f64,
        /// Value at the upper end, above `min`.
        max: f64,
    },
}

impl Range {
    /// From −π to π: for phases, with [`ColorMap::Phase`](super::ColorMap::Phase).
    pub const PHASE: Range = Range::Fixed { min: -std::f64::consts::PI, max: std::f64::consts::PI };

    /// The limits [min, max] for `data`, always finite and with min < max.
    ///
    /// A percentile p of n sorted values is linear between the values at ⌊p (n − 1)/100⌋ and the next. Where all values
    /// are alike, the limits lie evenly around them; where none is finite, they are [0, 1].
    ///
    /// # Shapes
    /// Any number of values, in any order.
    ///
    /// # Errors
    /// [`Error::Param`] for percentiles outside 0 to 100 or in the wrong order, and for fixed limits that are not
    /// finite or not in order.
    ///
    /// # Examples
    /// ```
    /// use exitwave::render::Range;
    /// assert_eq!(Range::MinMax.limits(&[3.0, f64::NAN, -1.0])?, [-1.0, 3.0]);
    /// assert_eq!(Range::Symmetric { percentile: 100.0 }.limits(&[3.0f32, -1.0])?, [-3.0, 3.0]);
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn limits<T: Real>(self, data: &[T]) -> Result<[f64; 2], Error> {
        self.check()?;
        let finite = || data.iter().map(|x| x.f64()).filter(|x| x.is_finite());
        let [min, max] = match self {
            Range::Fixed { min, max } => return Ok([min, max]),
            Range::MinMax => {
                finite().fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], x| [f64::min(lo, x), f64::max(hi, x)])
            }
            Range::Percentile { low, high } => {
                let sorted = sort(finite().collect());
                [percentile(&sorted, low), percentile(&sorted, high)]
            }
            Range::Symmetric { percentile: p } => {
                let a = percentile(&sort(finite().map(f64::abs).collect()), p);
                [-a, a]
            }
        };
        Ok(widen(min, max))
    }

    /// Checks the numbers in the range itself.
    fn check(self) -> Result<(), Error> {
        let expected = "0 ≤ low < high ≤ 100";
        match self {
            Range::Percentile { low, high } if !(0.0 <= low && low < high && high <= 100.0) => {
                Err(Error::param("range.percentile", format_args!("{low} to {high}"), expected))
            }
            Range::Symmetric { percentile } if !(percentile > 0.0 && percentile <= 100.0) => {
                Err(Error::param("range.percentile", percentile, "above 0, at most 100"))
            }
            Range::Fixed { min, max } if !(min < max && (max - min).is_finite()) => {
                Err(Error::param("range.fixed", format_args!("{min} to {max}"), "finite numbers, min < max"))
            }
            _ => Ok(()),
        }
    }
}

/// Sorted by value.
fn sort(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Percentile of sorted values, linear between neighbours; NaN when there are none.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let x = p / 100.0 * (sorted.len() - 1) as f64;
    let i = (x as usize).min(sorted.len() - 1);
    let j = (i + 1).min(sorted.len() - 1);
    let f = x - i as f64;
    // Written as a mean of two ends, so that huge values of opposite sign do not overflow.
    (1.0 - f) * sorted[i] + f * sorted[j]
}

/// Makes limits that can be divided by: ordered, finite, with a finite difference well above rounding.
fn widen(min: f64, max: f64) -> [f64; 2] {
    if !min.is_finite() || !max.is_finite() || min > max {
        return [0.0, 1.0];
    }
    // Beyond half the largest number the difference would overflow.
    let (min, max) = (min.max(-f64::MAX / 4.0), max.min(f64::MAX / 4.0));
    let smallest = (1e-12 * min.abs().max(max.abs())).max(f64::MIN_POSITIVE);
    if max - min > smallest {
        return [min, max];
    }
    let half = if min == 0.0 { 0.5 } else { 0.5 * min.abs() };
    [min - half, max + half]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_linear_between_sorted_values() {
        let data: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(Range::Percentile { low: 1.0, high: 99.0 }.limits(&data).unwrap(), [1.0, 99.0]);
        assert_eq!(Range::Percentile { low: 0.0, high: 100.0 }.limits(&[1.0, 2.0]).unwrap(), [1.0, 2.0]);
        assert_eq!(Range::Percentile { low: 25.0, high: 75.0 }.limits(&[0.0f32, 4.0]).unwrap(), [1.0, 3.0]);
        assert_eq!(Range::Symmetric { percentile: 50.0 }.limits(&[-1.0, 2.0, -30.0]).unwrap(), [-2.0, 2.0]);
    }

    #[test]
    fn limits_are_always_finite_and_ordered() {
        let ranges = [
            Range::MinMax,
            Range::Percentile { low: 2.0, high: 98.0 },
            Range::Symmetric { percentile: 99.0 },
            Range::Fixed { min: -1.0, max: 1.0 },
        ];
        let samples: [&[f64]; 7] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[0.0],
            &[-7.5, -7.5],
            &[f64::MAX, -f64::MAX],
            &[f64::MIN_POSITIVE, 0.0],
            &[1.0, f64::NEG_INFINITY, 3.0],
        ];
        for range in ranges {
            for data in samples {
                let [min, max] = range.limits(data).unwrap();
                assert!(min < max && (max - min).is_finite(), "{range:?} of {data:?}: {min} {max}");
            }
        }
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for range in [
            Range::Percentile { low: 50.0, high: 50.0 },
            Range::Percentile { low: -1.0, high: 50.0 },
            Range::Percentile { low: f64::NAN, high: 50.0 },
            Range::Symmetric { percentile: 0.0 },
            Range::Symmetric { percentile: 101.0 },
            Range::Fixed { min: 1.0, max: 1.0 },
            Range::Fixed { min: f64::NEG_INFINITY, max: 1.0 },
        ] {
            assert!(matches!(range.limits(&[1.0]), Err(Error::Param { .. })), "{range:?}");
        }
    }
}
