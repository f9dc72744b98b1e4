//! Dose accounting: electrons per probe, per scan and per area.

use crate::error::Error;
use crate::units::{Area, Dose, Length};

/// Electrons that one probe position receives: N = D · Δy · Δx.
///
/// # Units
/// `step` = `[Δy, Δx]`, the distances between scan positions. The result is an expectation, not a whole number.
///
/// # Errors
/// [`Error::Param`] for a dose that is negative or not finite, or steps that are not positive and finite.
///
/// ```
/// use exitwave::metrics::electrons_per_probe;
/// use exitwave::units::{Dose, Length};
/// let n = electrons_per_probe(Dose::per_angstrom2(1000.0), [Length::angstrom(0.4); 2])?;
/// assert!((n - 160.0).abs() < 1e-9);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn electrons_per_probe(dose: Dose, step: [Length; 2]) -> Result<f64, Error> {
    if !(dose >= Dose::ZERO && dose.is_finite()) {
        return Err(Error::param("dose", dose, "a finite dose >= 0"));
    }
    Ok(dose * cell(step)?)
}

/// Electrons of a whole scan: N = D · Δy · Δx · `positions`.
///
/// # Errors
/// As [`electrons_per_probe`].
pub fn total_electrons(dose: Dose, step: [Length; 2], positions: usize) -> Result<f64, Error> {
    Ok(electrons_per_probe(dose, step)? * positions as f64)
}

/// The dose when every probe position receives `electrons`: D = N / (Δy · Δx).
///
/// # Errors
/// [`Error::Param`] for a number of electrons that is negative or not finite, or steps that are not positive and
/// finite.
pub fn dose_of_probe(electrons: f64, step: [Length; 2]) -> Result<Dose, Error> {
    dose_of_total(electrons, cell(step)?)
}

/// The dose of `electrons` spread over an area, such as the field of one image: D = N / A.
///
/// # Errors
/// [`Error::Param`] for a number of electrons that is negative or not finite, or an area that is not positive and
/// finite.
pub fn dose_of_total(electrons: f64, area: Area) -> Result<Dose, Error> {
    if !(electrons >= 0.0 && electrons.is_finite()) {
        return Err(Error::param("electrons", electrons, "a finite number >= 0"));
    }
    if !(area > Area::ZERO && area.is_finite()) {
        return Err(Error::param("area", area, "a positive finite area"));
    }
    Ok(electrons / area)
}

/// The area that belongs to one scan position.
fn cell(step: [Length; 2]) -> Result<Area, Error> {
    match step.iter().find(|s| !(**s > Length::ZERO && s.is_finite())) {
        Some(s) => Err(Error::param("step", s, "a positive finite length")),
        None => Ok(step[0] * step[1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dose_and_electrons_are_inverse() {
        let step = [Length::angstrom(0.5), Length::angstrom(0.2)];
        let n = electrons_per_probe(Dose::per_angstrom2(330.0), step).unwrap();
        assert!((n - 33.0).abs() < 1e-12);
        assert!((total_electrons(Dose::per_angstrom2(330.0), step, 100).unwrap() - 3300.0).abs() < 1e-10);
        assert!((dose_of_probe(n, step).unwrap().to_per_angstrom2() - 330.0).abs() < 1e-12);
        let d = dose_of_total(1e4, Area::nm2(1.0)).unwrap();
        assert!((d.to_per_angstrom2() - 100.0).abs() < 1e-12);
    }

    #[test]
    fn impossible_doses_are_errors() {
        let step = [Length::angstrom(1.0); 2];
        assert!(electrons_per_probe(Dose::per_angstrom2(-1.0), step).is_err());
        assert!(electrons_per_probe(Dose::per_angstrom2(f64::NAN), step).is_err());
        assert!(electrons_per_probe(Dose::per_angstrom2(1.0), [Length::ZERO; 2]).is_err());
        assert!(dose_of_total(1.0, Area::ZERO).is_err());
        assert!(dose_of_probe(f64::INFINITY, step).is_err());
    }
}
