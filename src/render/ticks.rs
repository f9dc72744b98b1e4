//! Round numbers for axes and colour bars, and their labels.

/// Positions and labels of the marks on an axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ticks {
    /// Values that carry a label, ascending.
    pub major: Vec<f64>,
    /// One label for each major value.
    pub labels: Vec<String>,
    /// Values with a short mark and no label.
    pub minor: Vec<f64>,
    /// The power of ten taken out of all labels (they are to be multiplied by 10ⁿ); 0 when there is none.
    pub exponent: i32,
}

/// The largest of 1, 2, 5 × 10ⁿ that is not above `x`.
///
/// # Panics
/// When `x` is not a positive finite number.
///
/// # Examples
/// ```
/// use exitwave::render::ticks::round_down;
/// assert_eq!(round_down(37.0), 20.0);
/// assert_eq!(round_down(0.5), 0.5);
/// ```
pub fn round_down(x: f64) -> f64 {
    assert!(x > 0.0 && x.is_finite(), "round_down of {x}");
    let n = x.log10().floor() as i32;
    // Rounding may leave log10 of a power of ten on either side; the tolerance keeps such an x itself.
    let fits = |v: f64| v <= x * (1.0 + 1e-9);
    [decimal(1.0, n + 1), decimal(5.0, n), decimal(2.0, n), decimal(1.0, n)]
        .into_iter()
        .find(|&v| fits(v))
        .unwrap_or(decimal(5.0, n - 1))
}

/// m × 10ⁿ, exact to the last bit where a decimal number can be: 0.3 and not 0.30000000000000004.
fn decimal(m: f64, n: i32) -> f64 {
    if n < 0 && n > -300 { m / 10f64.powi(-n) } else { m * 10f64.powi(n) }
}

/// Evenly spaced round values from `min` to `max`: steps of 1, 2 or 5 × 10ⁿ, about `target` of them and never more than
/// twice as many.
///
/// Labels share one number of decimals, and one power of ten where they would be longer than about five figures.
///
/// # Panics
/// When the limits are not finite with `min < max`, or `target` is 0.
///
/// # Examples
/// ```
/// use exitwave::render::ticks::linear;
/// let t = linear(0.0, 1.0, 5);
/// assert_eq!(t.labels, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
/// ```
pub fn linear(min: f64, max: f64, target: usize) -> Ticks {
    assert!(min < max && (max - min).is_finite() && target > 0, "ticks from {min} to {max}");
    let ideal = (max - min) / target as f64;
    let single = || Ticks { major: vec![min], labels: vec![format!("{min:.3e}")], ..Ticks::default() };
    if ideal < f64::MIN_POSITIVE {
        return single();
    }
    // The step is the round number that comes closest to the target.
    let below = round_down(ideal);
    let above = round_down(2.5 * below);
    let step = if ideal / below < above / ideal { below } else { above };
    let (first, last) = ((min / step - 1e-9).ceil(), (max / step + 1e-9).floor());
    // Limits that differ by less than rounding cannot be divided further.
    if !(first.abs() < 1e15 && last.abs() < 1e15) || step < f64::MIN_POSITIVE {
        return single();
    }
    let n = step.log10().round() as i32 - i32::from(step.log10().round() > step.log10() + 1e-9);
    let mantissa = (step / decimal(1.0, n)).round();
    let major: Vec<f64> = (0..=(last - first) as usize).map(|i| decimal((first + i as f64) * mantissa, n)).collect();
    let largest = major.iter().fold(0f64, |a, x| a.max(x.abs()));
    let exponent = if largest > 0.0 { largest.log10().floor() as i32 } else { n };
    let exponent = if (-3..=4).contains(&exponent) { 0 } else { exponent };
    let decimals = (exponent - n).max(0) as usize;
    let labels = major.iter().map(|x| number(x / 10f64.powi(exponent), decimals)).collect();
    let parts = if mantissa == 2.0 { 4 } else { 5 };
    let minor = minors(min, max, step / f64::from(parts), parts);
    Ticks { major, labels, minor, exponent }
}

/// Multiples of `step` between the limits, without every `parts`-th.
fn minors(min: f64, max: f64, step: f64, parts: i32) -> Vec<f64> {
    let (first, last) = ((min / step - 1e-9).ceil(), (max / step + 1e-9).floor());
    if !(last - first < 1000.0 && first.abs() < 1e15 && last.abs() < 1e15) {
        return Vec::new();
    }
    (first as i64..=last as i64).filter(|i| i % i64::from(parts) != 0).map(|i| i as f64 * step).collect()
}

/// Powers of ten from `min` to `max`, at most `target` of them; with fewer than two decades also 2 and 5 times a power.
///
/// # Panics
/// When the limits are not finite with `1e-300 ≤ min < max`, or `target` is 0.
///
/// # Examples
/// ```
/// use exitwave::render::ticks::logarithmic;
/// let t = logarithmic(0.5, 2000.0, 6);
/// assert_eq!(t.labels, ["1", "10", "100", "1000"]);
/// assert_eq!(logarithmic(1e-6, 1e-4, 6).labels, ["10⁻⁶", "10⁻⁵", "10⁻⁴"]);
/// ```
pub fn logarithmic(min: f64, max: f64, target: usize) -> Ticks {
    assert!(min >= 1e-300 && min < max && max.is_finite() && target > 0, "logarithmic ticks from {min} to {max}");
    let (low, high) = (min.log10(), max.log10());
    let (first, last) = ((low - 1e-9).ceil() as i32, (high + 1e-9).floor() as i32);
    let inside = |v: &f64| *v >= min * (1.0 - 1e-9) && *v <= max * (1.0 + 1e-9);
    let mut minor: Vec<f64> = Vec::new();
    if last - first < 1 {
        // Within two decades powers of ten alone say too little.
        if high - low < 0.5 {
            return linear(min, max, target);
        }
        let decades = low.floor() as i32..=high.floor() as i32;
        let major: Vec<f64> = decades.flat_map(|n| [1.0, 2.0, 5.0].map(|m| decimal(m, n))).filter(inside).collect();
        let labels = major.iter().map(|&v| plain(v)).collect();
        return Ticks { major, labels, ..Ticks::default() };
    }
    let every = ((last - first) as usize / target + 1) as i32;
    let powers: Vec<i32> = (first..=last).filter(|n| n.rem_euclid(every) == 0 || every == 1).collect();
    let short = first >= -3 && last <= 4;
    let labels =
        powers.iter().map(|&n| if short { plain(decimal(1.0, n)) } else { format!("10{}", superscript(n)) }).collect();
    if every == 1 {
        minor =
            (first - 1..=last).flat_map(|n| (2..10).map(move |m| decimal(f64::from(m), n))).filter(inside).collect();
    } else if last - first < 40 {
        minor = (first..=last).filter(|n| !powers.contains(n)).map(|n| decimal(1.0, n)).collect();
    }
    Ticks { major: powers.iter().map(|&n| decimal(1.0, n)).collect(), labels, minor, exponent: 0 }
}

/// A number with a fixed count of decimals, a true minus sign, and no negative zero.
fn number(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// A number in its shortest form, for values that are round.
pub(crate) fn plain(x: f64) -> String {
    if x != 0.0 && !(1e-4..1e6).contains(&x.abs()) {
        let n = x.abs().log10().floor() as i32;
        let m = x / 10f64.powi(n);
        return format!("{}×10{}", plain((m * 1e6).round() / 1e6), superscript(n));
    }
    format!("{x}").replace('-', "−")
}

/// An integer in superscript digits.
pub(crate) fn superscript(n: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    n.to_string().chars().map(|c| c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounding_keeps_round_numbers_and_goes_down() {
        for n in -12..=12 {
            for m in [1.0, 2.0, 5.0] {
                let x = decimal(m, n);
                assert_eq!(round_down(x), x);
                assert!(round_down(x * 0.99) < x && round_down(x * 1.01) == x);
            }
        }
    }

    #[test]
    fn limits_at_the_end_of_the_numbers_have_ticks_too() {
        let tiny = f64::from_bits(1);
        for (min, max) in
            [(0.0, tiny), (-f64::MAX / 4.0, f64::MAX / 4.0), (1.0, 1.0 + f64::EPSILON), (0.0, f64::MIN_POSITIVE)]
        {
            let t = linear(min, max, 6);
            assert!(!t.major.is_empty() && t.major.len() == t.labels.len(), "{min} to {max}: {t:?}");
        }
        assert!(!logarithmic(1e-300, 1e300, 6).major.is_empty());
    }

    #[test]
    fn labels_are_what_a_person_would_write() {
        assert_eq!(linear(-1.0, 1.0, 4).labels, ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(linear(0.0, 100.0, 5).labels, ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(linear(0.0, 3.2e-7, 3).labels, ["0", "1", "2", "3"]);
        assert_eq!(linear(0.0, 3.2e-7, 3).exponent, -7);
        assert_eq!(linear(0.0, 0.3, 3).major, [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(logarithmic(1.0, 30.0, 5).labels, ["1", "10"]);
        assert_eq!(logarithmic(2.0, 9.0, 5).labels, ["2", "5"]);
        assert_eq!(plain(-0.25), "−0.25");
        assert_eq!(plain(2e-7), "2×10⁻⁷");
        assert_eq!(superscript(-12), "⁻¹²");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ticks_lie_within_the_limits_and_are_not_too_many(
            center in -1e3..1e3f64, scale in -9..9i32, width in 0.01..10f64, target in 2..8usize
        ) {
            let (min, max) = (center * 10f64.powi(scale), (center + width) * 10f64.powi(scale));
            let t = linear(min, max, target);
            prop_assert!(!t.major.is_empty() && t.major.len() <= 2 * target + 1 && t.major.len() == t.labels.len());
            let slack = 1e-6 * (max - min);
            prop_assert!(t.major.iter().chain(&t.minor).all(|x| (min - slack..=max + slack).contains(x)));
            prop_assert!(t.major.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(t.labels.windows(2).all(|w| w[0] != w[1]));
        }

        #[test]
        fn logarithmic_ticks_lie_within_the_limits(low in -12.0..12f64, decades in 0.01..30f64, target in 2..8usize) {
            let (min, max) = (10f64.powf(low), 10f64.powf(low + decades));
            let t = logarithmic(min, max, target);
            prop_assert!(!t.major.is_empty() && t.major.len() == t.labels.len() && t.major.len() <= 2 * target + 1);
            prop_assert!(t.major.iter().chain(&t.minor).all(|x| *x >= min * 0.999 && *x <= max * 1.001));
        }
    }
}
