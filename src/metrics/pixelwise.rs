//! Errors and correlations taken pixel by pixel.

use num_complex::Complex;

use crate::error::Error;
use crate::metrics::check;
use crate::real::Real;

/// Mean squared error: 1/N Σ (a − b)².
///
/// # Shapes
/// Any, the same for both.
///
/// # Errors
/// [`Error::Shape`] for lengths that differ or are 0, [`Error::Data`] for a value that is not finite.
///
/// ```
/// assert_eq!(exitwave::metrics::mse(&[1.0, 2.0], &[1.0, 4.0])?, 2.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn mse<T: Real>(a: &[T], b: &[T]) -> Result<f64, Error> {
    check::pair("mse", a.len(), b.len())?;
    let (a, b) = (check::finite("a", a)?, check::finite("b", b)?);
    Ok(a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64)
}

/// Peak signal-to-noise ratio in decibels: 10 log₁₀(R² / MSE), R being the range that the data can have. Infinite for
/// identical images.
///
/// # Errors
/// As [`mse`]; [`Error::Param`] for a range that is not positive and finite.
pub fn psnr<T: Real>(truth: &[T], image: &[T], data_range: f64) -> Result<f64, Error> {
    if !(data_range > 0.0 && data_range.is_finite()) {
        return Err(Error::param("data_range", data_range, "a positive finite number"));
    }
    Ok(10.0 * (data_range * data_range / mse(truth, image)?).log10())
}

/// What the root mean squared error is divided by in [`nrmse`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NrmseBy {
    /// The root mean square of the truth.
    #[default]
    Euclidean,
    /// The range of the truth, max − min.
    MinMax,
    /// The mean of the truth.
    Mean,
}

/// Normalised root mean squared error, √MSE / s, with s as `by` says.
///
/// # Errors
/// As [`mse`]; [`Error::Data`] when s is 0.
pub fn nrmse<T: Real>(truth: &[T], image: &[T], by: NrmseBy) -> Result<f64, Error> {
    let rmse = mse(truth, image)?.sqrt();
    let x = truth.iter().map(|v| v.f64());
    let n = truth.len() as f64;
    let s = match by {
        NrmseBy::Euclidean => (x.map(|v| v * v).sum::<f64>() / n).sqrt(),
        NrmseBy::MinMax => x.clone().fold(f64::NEG_INFINITY, f64::max) - x.fold(f64::INFINITY, f64::min),
        NrmseBy::Mean => x.sum::<f64>() / n,
    };
    if s == 0.0 {
        return Err(Error::Data {
            what: format!("the truth cannot normalise an error: its {by:?} scale is 0"),
            index: 0,
        });
    }
    Ok(rmse / s)
}

/// Normalised correlation, means removed: Σ (a − ā)(b − b̄) / √(Σ (a − ā)² Σ (b − b̄)²), from −1 to 1.
///
/// Pearson's coefficient over all pixels; the phase retrieval literature calls it accuracy. It does not see scale and
/// offset.
///
/// # Errors
/// [`Error::Shape`] for lengths that differ or are 0, [`Error::Data`] for a value that is not finite or a constant
/// image.
///
/// ```
/// let r = exitwave::metrics::normalised_correlation(&[1.0, 2.0, 3.0], &[5.0, 3.0, 1.0])?;
/// assert!((r + 1.0).abs() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn normalised_correlation<T: Real>(a: &[T], b: &[T]) -> Result<f64, Error> {
    pearson(a, b, None)
}

/// Pearson's correlation coefficient with weights, which may be a mask of 0 and 1:
///
/// ```text
/// r = Σ w (a − ā)(b − b̄) / √(Σ w (a − ā)² Σ w (b − b̄)²),   ā = Σ w a / Σ w
/// ```
///
/// # Errors
/// As [`normalised_correlation`]; [`Error::Shape`] and [`Error::Data`] for weights of the wrong length, negative or all
/// 0.
pub fn pearson<T: Real>(a: &[T], b: &[T], weights: Option<&[f64]>) -> Result<f64, Error> {
    check::pair("pearson", a.len(), b.len())?;
    let w = check::weights("pearson", weights, a.len())?;
    let (mut a, mut b) = (check::finite("a", a)?, check::finite("b", b)?);
    let scales = [square(&a, &w), square(&b, &w)];
    remove_mean(&mut a, &w);
    remove_mean(&mut b, &w);
    weighted_correlation(&a, &b, &w, scales)
}

/// Correlation of complex arrays without their means: |Σ w (a − ā)(b − b̄)*| / √(Σ w |a − ā|² Σ w |b − b̄|²), from 0 to
/// 1. It does not see a complex factor.
///
/// # Errors
/// As [`pearson`].
pub fn complex_correlation<T: Real>(a: &[Complex<T>], b: &[Complex<T>], weights: Option<&[f64]>) -> Result<f64, Error> {
    check::pair("complex_correlation", a.len(), b.len())?;
    let w = check::weights("complex_correlation", weights, a.len())?;
    let (mut a, mut b) = (check::finite_complex("a", a)?, check::finite_complex("b", b)?);
    let power = |x: &[Complex<f64>]| x.iter().zip(&w).map(|(x, w)| w * x.norm_sqr()).sum::<f64>();
    let scales = [power(&a), power(&b)];
    remove_complex_mean(&mut a, &w);
    remove_complex_mean(&mut b, &w);
    let (aa, bb) = (power(&a), power(&b));
    varies("a", aa, scales[0])?;
    varies("b", bb, scales[1])?;
    let ab: Complex<f64> = a.iter().zip(&b).zip(&w).map(|((a, b), w)| a * b.conj() * w).sum();
    Ok((ab.norm() / (aa.sqrt() * bb.sqrt())).min(1.0))
}

/// Σ w x².
pub(super) fn square(x: &[f64], w: &[f64]) -> f64 {
    x.iter().zip(w).map(|(x, w)| w * x * x).sum()
}

/// x − Σ w x / Σ w, and the mean. A second pass takes away what rounding left in the first.
pub(super) fn remove_mean(x: &mut [f64], w: &[f64]) -> f64 {
    let total: f64 = w.iter().sum();
    let mut removed = 0.0;
    for _ in 0..2 {
        let mean = x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() / total;
        x.iter_mut().for_each(|x| *x -= mean);
        removed += mean;
    }
    removed
}

/// The same for complex values.
pub(super) fn remove_complex_mean(x: &mut [Complex<f64>], w: &[f64]) {
    let total: f64 = w.iter().sum();
    for _ in 0..2 {
        let mean = x.iter().zip(w).map(|(x, w)| x * w).sum::<Complex<f64>>() / total;
        x.iter_mut().for_each(|x| *x -= mean);
    }
}

/// Σ w a b / √(Σ w a² Σ w b²) of arrays whose means have been removed; `scales` are Σ w a² and Σ w b² of before.
pub(super) fn weighted_correlation(a: &[f64], b: &[f64], w: &[f64], scales: [f64; 2]) -> Result<f64, Error> {
    let (aa, bb) = (square(a, w), square(b, w));
    varies("a", aa, scales[0])?;
    varies("b", bb, scales[1])?;
    let ab: f64 = a.iter().zip(b).zip(w).map(|((a, b), w)| w * a * b).sum();
    Ok((ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0))
}

/// A sum of squares about the mean (or a plane) that is more than rounding leaves: some ε relative, squared, with a
/// margin up to 64 ε.
pub(super) fn varies(name: &str, variance: f64, scale: f64) -> Result<(), Error> {
    if !scale.is_finite() {
        return Err(Error::Data { what: format!("`{name}` overflows when squared"), index: 0 });
    }
    if variance > (64.0 * f64::EPSILON).powi(2) * scale {
        return Ok(());
    }
    Err(Error::Data { what: format!("`{name}` is constant, it has no correlation"), index: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_images_have_no_error_and_full_correlation() {
        let x = [1.0f32, -2.0, 0.5, 7.0];
        assert_eq!(mse(&x, &x).unwrap(), 0.0);
        assert_eq!(psnr(&x, &x, 1.0).unwrap(), f64::INFINITY);
        assert_eq!(nrmse(&x, &x, NrmseBy::MinMax).unwrap(), 0.0);
        assert!((normalised_correlation(&x, &x).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_mask_hides_pixels() {
        let (a, b) = ([1.0, 2.0, 3.0, 99.0], [2.0, 4.0, 6.0, -50.0]);
        assert!((pearson(&a, &b, Some(&[1.0, 1.0, 1.0, 0.0])).unwrap() - 1.0).abs() < 1e-15);
        assert!(pearson(&a, &b, None).unwrap() < 0.0);
    }

    #[test]
    fn a_complex_factor_is_not_seen() {
        let a: Vec<Complex<f64>> = (0..9).map(|i| Complex::new(f64::from(i % 4), f64::from(i * i))).collect();
        let b: Vec<_> = a.iter().map(|z| z * Complex::new(-0.3, 2.0) + Complex::new(5.0, -1.0)).collect();
        assert!((complex_correlation(&a, &b, None).unwrap() - 1.0).abs() < 1e-14);
    }

    #[test]
    fn useless_input_is_an_error() {
        assert!(matches!(mse(&[1.0], &[1.0, 2.0]), Err(Error::Shape { .. })));
        assert!(matches!(mse::<f64>(&[], &[]), Err(Error::Shape { .. })));
        assert!(matches!(mse(&[1.0, f64::NAN], &[1.0, 2.0]), Err(Error::Data { index: 1, .. })));
        assert!(matches!(psnr(&[1.0], &[2.0], 0.0), Err(Error::Param { .. })));
        assert!(matches!(nrmse(&[3.0, 3.0], &[1.0, 2.0], NrmseBy::MinMax), Err(Error::Data { .. })));
        for c in [0.0, 0.1, 1e30] {
            assert!(matches!(
                normalised_correlation(&[c; 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
                Err(Error::Data { .. })
            ));
            let z = vec![Complex::new(c, -c); 3];
            assert!(matches!(complex_correlation(&z, &z, None), Err(Error::Data { .. })));
        }
        assert!(matches!(pearson(&[1.0, 2.0], &[1.0, 2.0], Some(&[0.0, 0.0])), Err(Error::Data { .. })));
        assert!(matches!(pearson(&[1.0, 2.0], &[1.0, 2.0], Some(&[1.0, -1.0])), Err(Error::Data { index: 1, .. })));
    }
}
