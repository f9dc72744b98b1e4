//! The curve of a Fourier ring or shell correlation, and what is read from it.

use crate::metrics::Threshold;
use crate::units::{Length, SpatialFrequency};

/// So many consecutive rings must lie at or above a threshold before a crossing counts, and below it after the
/// crossing.
pub const LASTING_RINGS: usize = 3;

/// Fourier ring or shell correlation as a function of frequency; one entry a ring, the first being the zero frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelationCurve {
    /// Centre of each ring.
    pub frequency: Vec<SpatialFrequency>,
    /// The correlation: −1 to 1 for real images, 0 to 1 for complex ones.
    pub correlation: Vec<f64>,
    /// Points of the discrete spectrum in each ring, Friedel mates included.
    pub samples: Vec<usize>,
    /// The same, times the part that is independent under the window: the n of the thresholds.
    pub independent: Vec<f64>,
    /// Nyquist frequency of the image, the smaller one where the pixels are not square.
    pub nyquist: SpatialFrequency,
    /// ⅔ of the Nyquist frequency of the data: the highest frequency that is ever quoted.
    pub limit: SpatialFrequency,
}

/// What the two compared arrays are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Independent reconstructions of half of the data each.
    Halves,
    /// A reconstruction of all data, and the noise-free truth.
    Truth,
}

/// A resolution, as the period 1/k at which a correlation curve crosses a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution {
    /// The curve crosses here.
    At(Length),
    /// The curve is still above its threshold at ⅔ Nyquist, of which this is the period: nothing beyond is claimed.
    BetterThan(Length),
    /// The curve is never above its threshold for long enough.
    NotReached,
}

impl Resolution {
    /// The length to print: of the crossing, or of ⅔ Nyquist.
    pub fn length(self) -> Option<Length> {
        match self {
            Resolution::At(d) | Resolution::BetterThan(d) => Some(d),
            Resolution::NotReached => None,
        }
    }
}

/// `1.25 Å`, `< 0.75 Å` or `not reached`.
impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Resolution::At(d) => d.fmt(f),
            Resolution::BetterThan(d) => {
                f.write_str("< ")?;
                d.fmt(f)
            }
            Resolution::NotReached => f.write_str("not reached"),
        }
    }
}

impl CorrelationCurve {
    /// The threshold at every ring.
    pub fn threshold(&self, threshold: Threshold) -> Vec<f64> {
        self.independent.iter().map(|&n| threshold.value(n)).collect()
    }

    /// The correlation that reconstructions of *all* data would reach with each other: 2F/(1 + F) where F is that of
    /// two halves (0 where F is negative).
    ///
    /// # References
    /// P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003), appendix.
    pub fn full_data(&self) -> Vec<f64> {
        self.correlation.iter().map(|f| f.max(0.0)).map(|f| 2.0 * f / (1.0 + f)).collect()
    }

    /// The correlation with the unknown truth that a reconstruction of all data has: √(2F/(1 + F)), F being that of two
    /// halves. F = 1/7 gives ½.
    ///
    /// # References
    /// P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003), appendix: C_ref.
    pub fn expected_with_truth(&self) -> Vec<f64> {
        self.full_data().iter().map(|f| f.sqrt()).collect()
    }

    /// Signal-to-noise ratio of the reconstruction of all data, at every ring: 2F/(1 − F) from two halves, F²/(1 − F²)
    /// from the comparison with the truth. 0 where F is negative, infinite where F = 1.
    ///
    /// # References
    /// M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005).
    pub fn snr(&self, compared: Compared) -> Vec<f64> {
        let snr = |f: f64| match compared {
            Compared::Halves => 2.0 * f / (1.0 - f),
            Compared::Truth => f * f / (1.0 - f * f),
        };
        self.correlation.iter().map(|&f| snr(f.max(0.0))).collect()
    }

    /// The resolution: the period at the first lasting crossing of the threshold, from above to below.
    ///
    /// 1. The zero frequency is left out.
    /// 2. The curve must have been at or above the threshold for [`LASTING_RINGS`] consecutive rings, all within
    ///    [`limit`](Self::limit); where it never is, the resolution is [`Resolution::NotReached`]. (It may start below:
    ///    many phase images lack their lowest frequencies.)
    /// 3. The crossing lies before the first ring from which, after this, as many consecutive rings are below; near the
    ///    last ring, all that are left. Shorter dips (a zero of the transfer function, a fluctuation) do not count.
    /// 4. Its frequency comes from linear interpolation of the difference between curve and threshold: k = k₀ +
    ///    Δk·d₀/(d₀ − d₁).
    /// 5. A crossing beyond [`limit`](Self::limit), or none, gives [`Resolution::BetterThan`] the period of the limit.
    pub fn resolution(&self, threshold: Threshold) -> Resolution {
        let d: Vec<f64> = self.correlation.iter().zip(self.threshold(threshold)).map(|(f, t)| f - t).collect();
        let mut above = 0;
        let mut reached = false;
        for i in 1..d.len() {
            if self.frequency[i - 1] > self.limit {
                break;
            }
            if d[i] >= 0.0 {
                above += 1;
                reached |= above >= LASTING_RINGS && self.frequency[i] <= self.limit;
                continue;
            }
            above = 0;
            let lasts = d[i..d.len().min(i + LASTING_RINGS)].iter().all(|&d| d < 0.0);
            if reached && lasts {
                let (k0, k1) = (self.frequency[i - 1], self.frequency[i]);
                let k = k0 + (k1 - k0) * (d[i - 1] / (d[i - 1] - d[i]));
                if k < self.limit {
                    return Resolution::At(1.0 / k);
                }
                break;
            }
        }
        if reached { Resolution::BetterThan(1.0 / self.limit) } else { Resolution::NotReached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings 0.1/Å apart; Nyquist at the last.
    fn curve(correlation: &[f64]) -> CorrelationCurve {
        let n = correlation.len();
        let at = |i: usize| SpatialFrequency::per_angstrom(0.1 * i as f64);
        CorrelationCurve {
            frequency: (0..n).map(at).collect(),
            correlation: correlation.to_vec(),
            samples: vec![100; n],
            independent: vec![100.0; n],
            nyquist: at(n - 1),
            limit: at(n - 1) * (2.0 / 3.0),
        }
    }

    fn per_angstrom(c: &[f64]) -> Option<f64> {
        match curve(c).resolution(Threshold::Half) {
            Resolution::At(d) => Some((1.0 / d).to_per_angstrom()),
            _ => None,
        }
    }

    #[test]
    fn the_crossing_is_interpolated() {
        let k = per_angstrom(&[1.0, 1.0, 0.9, 0.8, 0.3, 0.1, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert!((k - (0.3 + 0.1 * 0.3 / 0.5)).abs() < 1e-15);
    }

    #[test]
    fn a_short_dip_is_not_a_crossing() {
        let k = per_angstrom(&[1.0, 1.0, 0.9, 0.8, 0.3, 0.2, 0.9, 0.3, 0.0, 0.0, 0.1, 0.1, 0.0, 0.0]).unwrap();
        assert!((k - (0.6 + 0.1 * 0.4 / 0.6)).abs() < 1e-15);
    }

    #[test]
    fn a_short_peak_of_noise_is_not_a_resolution() {
        let c = curve(&[1.0, 0.1, 0.6, 0.7, 0.1, 0.0, 0.1, 0.9, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(c.resolution(Threshold::Half), Resolution::NotReached);
    }

    #[test]
    fn missing_low_frequencies_do_not_hide_the_crossing() {
        let k = per_angstrom(&[1.0, 0.1, 0.2, 0.9, 0.9, 0.9, 0.4, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert!((k - 0.58).abs() < 1e-15);
    }

    #[test]
    fn nothing_is_quoted_beyond_two_thirds_of_nyquist() {
        // Nyquist 0.9, limit 0.6; crossings at 0.75 and none at all.
        let limit = Resolution::BetterThan(1.0 / SpatialFrequency::per_angstrom(0.6));
        for c in [
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
            [1.0; 10],
        ] {
            let Resolution::BetterThan(d) = curve(&c).resolution(Threshold::Half) else { panic!("{c:?}") };
            assert!((d / limit.length().unwrap() - 1.0).abs() < 1e-14);
        }
        // Above the threshold beyond the limit only.
        let c = curve(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(c.resolution(Threshold::Half), Resolution::NotReached);
    }

    #[test]
    fn a_seventh_for_half_data_is_a_half_against_the_truth() {
        let c = curve(&[1.0, 1.0 / 7.0, -0.2, 0.0]);
        let truth = c.expected_with_truth();
        assert!((truth[1] - 0.5).abs() < 1e-15 && truth[0] == 1.0 && truth[2] == 0.0);
        let snr = c.snr(Compared::Halves);
        assert!(snr[0].is_infinite() && (snr[1] - 1.0 / 3.0).abs() < 1e-15 && snr[2] == 0.0);
        let against_truth = CorrelationCurve { correlation: truth, ..c };
        assert!((against_truth.snr(Compared::Truth)[1] - snr[1]).abs() < 1e-15);
    }

    #[test]
    fn resolutions_print_what_they_claim() {
        assert_eq!(Resolution::At(Length::angstrom(1.25)).to_string(), "1.25 Å");
        assert_eq!(format!("{:.2}", Resolution::BetterThan(Length::angstrom(0.75))), "< 0.75 Å");
        assert_eq!(Resolution::NotReached.to_string(), "not reached");
        assert_eq!(Resolution::NotReached.length(), None);
    }
}
