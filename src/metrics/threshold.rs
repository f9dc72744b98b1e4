//! The curves that a Fourier ring or shell correlation is compared with.

/// What the two compared data sets are, for the bit-based curves, whose signal-to-noise ratio is that of *all* the
/// data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// Each of the two holds half of the data: each has half of the signal-to-noise ratio.
    #[default]
    Halves,
    /// Each of the two is a complete data set of its own.
    Full,
}

/// A threshold curve, a function of the number n of samples in the ring.
///
/// | variant | T(n) | meaning |
/// |---|---|---|
/// | `OneSeventh` | 1/7 | two halves, each with SNR 1/6; all data against a perfect truth then correlate by ½ |
/// | `Half` | 1/2 | the convention for a comparison with a known truth |
/// | `HalfBit(split)` | T(n; SNR) with log₂(1 + SNR) = ½ for all data: SNR = √2 − 1, in each half (√2 − 1)/2 | enough information to interpret |
/// | `OneBit(split)` | the same with one bit: SNR = 1, in each half ½ | |
/// | `ThreeSigma` | 3/√n | above the noise |
/// | `Fixed(t)` | t | |
///
/// ```text
/// T(n; SNR) = (SNR + (2√SNR + 1)/√n) / (SNR + 1 + 2√SNR/√n)
/// ```
///
/// In numbers, for half data: half-bit (0.2071 + 1.9102/√n)/(1.2071 + 0.9102/√n), 1-bit (0.5 + 2.4142/√n)/(1.5 +
/// 1.4142/√n).
///
/// n counts the points of the discrete transform in the ring, Friedel mates included: two real images of noise, whose
/// ring holds n points, correlate by 0 ± 1/√n, two complex ones by a modulus of root mean square 1/√n.
///
/// # References
/// - M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005): the bit-based curves.
/// - P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003), appendix: 1/7 for half data is ½ against the truth.
///
/// ```
/// use exitwave::metrics::{Split, Threshold};
/// let t = Threshold::HalfBit(Split::Halves).value(1e12);
/// assert!((t - 0.2071 / 1.2071).abs() < 1e-4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// 1/7 ≈ 0.143.
    OneSeventh,
    /// 1/2.
    Half,
    /// Half a bit of information a sample.
    HalfBit(Split),
    /// One bit a sample.
    OneBit(Split),
    /// Three standard deviations of the correlation of noise.
    ThreeSigma,
    /// The same number at every frequency.
    Fixed(f64),
}

impl Threshold {
    /// T(n). A ring with at most one sample has the threshold 1 of every curve that depends on n.
    pub fn value(self, n: f64) -> f64 {
        let bits = |bits: f64, split: Split| {
            let all = bits.exp2() - 1.0;
            information(if split == Split::Halves { all / 2.0 } else { all }, n.max(1.0))
        };
        match self {
            Threshold::OneSeventh => 1.0 / 7.0,
            Threshold::Half => 0.5,
            Threshold::HalfBit(split) => bits(0.5, split),
            Threshold::OneBit(split) => bits(1.0, split),
            Threshold::ThreeSigma => (3.0 / n.max(1.0).sqrt()).min(1.0),
            Threshold::Fixed(t) => t,
        }
    }
}

/// T(n; SNR).
fn information(snr: f64, n: f64) -> f64 {
    let (s, root_n) = (snr.sqrt(), n.sqrt());
    (snr + (2.0 * s + 1.0) / root_n) / (snr + 1.0 + 2.0 * s / root_n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_fall_from_one_to_their_limit() {
        let limit = [
            (Threshold::HalfBit(Split::Halves), 0.207107 / 1.207107),
            (Threshold::HalfBit(Split::Full), 1.0 - std::f64::consts::FRAC_1_SQRT_2),
            (Threshold::OneBit(Split::Halves), 0.5 / 1.5),
            (Threshold::OneBit(Split::Full), 0.5),
            (Threshold::ThreeSigma, 0.0),
        ];
        for (t, end) in limit {
            assert!((t.value(1.0) - 1.0).abs() < 1e-15 && t.value(0.0) == t.value(1.0));
            assert!((t.value(1e18) - end).abs() < 1e-6, "{t:?}");
            let curve: Vec<f64> = (0..40).map(|i| t.value(10.0 * 1.3f64.powi(i))).collect();
            assert!(curve.windows(2).all(|w| w[1] < w[0]), "{t:?}");
        }
    }
}
