//! The critical dose: how fast reflections fade.

use crate::error::Error;
use crate::units::Dose;

/// An exponential decay, fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fading {
    /// Value at dose 0.
    pub initial: f64,
    /// Dose after which 1/e is left; infinite where nothing fades.
    pub critical: Dose,
    /// Its standard deviation.
    pub uncertainty: Dose,
    /// Σ(residual/σ)².
    pub chi2: f64,
}

/// The critical dose of a reflection from its intensity through a diffraction series.
///
/// ```text
/// I(N) = I_0 e^{−N/N_c},   χ²(N_c) = min over I_0 of Σ_f (I_f − I(N_f))²/σ_f²
/// ```
///
/// χ² is minimised over the rate 1/N_c, from 0 (no fading) to the inverse of a quarter of the smallest step of dose; I_0 is linear. The
/// uncertainty is where χ² has risen by 1, from its curvature.
///
/// # Errors
/// [`Error::Shape`] for arrays of different lengths, [`Error::Param`] for fewer than 3 values, doses that do not rise, or a σ that is not positive;
/// [`Error::Data`] for intensities that are not finite.
///
/// # References
/// Intensities in diffraction as a measure of damage: R. F. Egerton, P. Li, M. Malac, Micron 35, 399 (2004), section 2.
///
/// ```
/// use exitwave::hrtem::critical_dose;
/// use exitwave::units::Dose;
/// let dose: Vec<Dose> = (0..20).map(|i| Dose::per_angstrom2(f64::from(i))).collect();
/// let intensity: Vec<f64> = dose.iter().map(|d| 500.0 * (-d.to_per_angstrom2() / 7.0).exp()).collect();
/// let f = critical_dose(&dose, &intensity, &[5.0; 20])?;
/// assert!((f.critical.to_per_angstrom2() - 7.0).abs() < 1e-3);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn critical_dose(dose: &[Dose], intensity: &[f64], sigma: &[f64]) -> Result<Fading, Error> {
    let dose: Vec<f64> = dose.iter().map(|d| d.to_per_angstrom2()).collect();
    fading(&dose, intensity, sigma)
}

/// The same on numbers, e/Å².
pub(super) fn fading(dose: &[f64], value: &[f64], sigma: &[f64]) -> Result<Fading, Error> {
    let n = dose.len();
    if value.len() != n || sigma.len() != n {
        return Err(Error::shape("critical_dose", &[n, n], &[value.len(), sigma.len()]));
    }
    let step = dose.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    if n < 3 || !(step > 0.0 && dose.iter().all(|d| d.is_finite())) {
        return Err(Error::param("dose", format!("{n} values, smallest step {step}"), "3 values or more that rise"));
    }
    if let Some(s) = sigma.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        return Err(Error::param("sigma", s, "positive standard deviations"));
    }
    if let Some(index) = value.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: format!("an intensity of {}", value[index]), index });
    }
    let fit = |rate: f64| {
        let (mut ee, mut ev) = (0.0, 0.0);
        for i in 0..n {
            let e = (-rate * (dose[i] - dose[0])).exp();
            let w = sigma[i].powi(-2);
            ee += w * e * e;
            ev += w * e * value[i];
        }
        // A decaying amplitude is not negative.
        let a = (ev / ee).max(0.0);
        let residual = |i: usize| (value[i] - a * (-rate * (dose[i] - dose[0])).exp()) / sigma[i];
        (a, (0..n).map(|i| residual(i).powi(2)).sum::<f64>())
    };
    // Golden section in brackets of a logarithmic scan, so that a second minimum is no trap.
    let span = dose[n - 1] - dose[0];
    let (low, high) = (1e-3 / span, 4.0 / step);
    let rate = |t: f64| low * (high / low).powf(t);
    let points = 64;
    let best = (0..=points)
        .min_by(|&a, &b| {
            let at = |i: i32| fit(rate(f64::from(i) / f64::from(points))).1;
            at(a).total_cmp(&at(b))
        })
        .unwrap_or(0);
    let (mut a, mut b) = (f64::from(best - 1) / f64::from(points), f64::from(best + 1) / f64::from(points));
    let golden = 0.618_033_988_749_895;
    for _ in 0..80 {
        let (p, q) = (b - golden * (b - a), a + golden * (b - a));
        if fit(rate(p)).1 < fit(rate(q)).1 {
            b = q;
        } else {
            a = p;
        }
    }
    let r = rate(0.5 * (a + b));
    let (amplitude, chi2) = fit(r);
    if fit(0.0).1 <= chi2 + 1e-9 {
        let (amplitude, chi2) = fit(0.0);
        let infinite = Dose::per_angstrom2(f64::INFINITY);
        return Ok(Fading { initial: amplitude, critical: infinite, uncertainty: infinite, chi2 });
    }
    // χ² ≈ χ²_min + (r − r_min)²/σ_r²;  σ(N_c) = σ_r N_c².
    let h = 0.02 * r;
    let curvature = (fit(r + h).1 - 2.0 * chi2 + fit(r - h).1) / (h * h);
    let sigma_rate = (2.0 / curvature.max(f64::MIN_POSITIVE)).sqrt();
    Ok(Fading {
        initial: amplitude * (r * dose[0]).exp(),
        critical: Dose::per_angstrom2(1.0 / r),
        uncertainty: Dose::per_angstrom2(sigma_rate / (r * r)),
        chi2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_uncertainty_is_the_scatter_of_many_fits() {
        let dose: Vec<f64> = (0..30).map(f64::from).collect();
        let (mut errors, mut stated) = (Vec::new(), 0.0);
        for seed in 0..200 {
            let mut r = rng::stream(1, seed);
            let v: Vec<f64> = dose.iter().map(|d| 100.0 * (-d / 9.0).exp() + 5.0 * rng::normal(&mut r)).collect();
            let f = fading(&dose, &v, &[5.0; 30]).unwrap();
            errors.push(f.critical.to_per_angstrom2() - 9.0);
            stated += f.uncertainty.to_per_angstrom2() / 200.0;
        }
        let scatter = (errors.iter().map(|e| e * e).sum::<f64>() / 200.0).sqrt();
        // The scatter of 200 numbers is known to 5 %: four times that.
        assert!((scatter / stated - 1.0).abs() < 0.2, "{scatter} {stated}");
    }

    #[test]
    fn what_does_not_fade_has_no_critical_dose_and_bad_series_are_errors() {
        let f = fading(&[0.0, 1.0, 2.0, 3.0], &[5.0, 5.5, 6.0, 7.0], &[1.0; 4]).unwrap();
        assert!(f.critical.to_per_angstrom2().is_infinite());
        assert!(fading(&[0.0, 1.0], &[1.0; 2], &[1.0; 2]).is_err());
        assert!(fading(&[0.0, 1.0, 1.0], &[1.0; 3], &[1.0; 3]).is_err());
        assert!(fading(&[0.0, 1.0, 2.0], &[1.0; 3], &[0.0; 3]).is_err());
        assert!(fading(&[0.0, 1.0, 2.0], &[f64::NAN; 3], &[1.0; 3]).is_err());
        assert!(fading(&[0.0, 1.0, 2.0], &[1.0; 2], &[1.0; 3]).is_err());
    }
}
