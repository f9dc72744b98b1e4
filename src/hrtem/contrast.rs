//! From the transfer function of a lens to the contrast of a weak object.

use num_complex::Complex;

use crate::error::Error;

/// The contrast of a weak object per unit of half its phase: with T = A E exp(−iχ) at one spatial frequency
///
/// `c = −√(1 − w²) Im T − w Re T = A E sin(χ − asin w)`,   `I(k) = 2 c(k) φ(k)` for k ≠ 0,
///
/// φ being the phase of the object √(1 − w²) φ + i w φ of modulus φ: a share w, the amplitude contrast, of it absorbs.
/// Underfocus makes c negative at low k, and a potential dark.
///
/// # References
/// A. Rohou, N. Grigorieff, *J. Struct. Biol.* 192, 216 (2015), equations 2 and 3, with the opposite sign of χ.
///
/// # Examples
/// ```
/// use exitwave::hrtem::contrast_transfer;
/// use exitwave::real::cis;
/// let (chi, w): (f64, f64) = (-0.6, 0.07);
/// assert!((contrast_transfer(cis(-chi), w) - (chi - w.asin()).sin()).abs() < 1e-15);
/// ```
#[inline]
pub fn contrast_transfer(t: Complex<f64>, w: f64) -> f64 {
    -(1.0 - w * w).sqrt() * t.im - w * t.re
}

/// Whether an amplitude contrast makes sense.
pub(super) fn check_amplitude_contrast(w: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&w) { Ok(()) } else { Err(Error::param("amplitude_contrast", w, "between 0 and 1")) }
}
