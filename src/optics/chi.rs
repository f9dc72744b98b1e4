//! The aberration phase χ(k) and its gradients.
//!
//! With the angle written as a complex number, `ω = λ(kx + i ky) = |ω|e^{iφ}`, every term of χ is a polynomial,
//! `|ω|^{n+1} cos mφ = |ω|^{2j} Re ω^m` and `|ω|^{n+1} sin mφ = |ω|^{2j} Im ω^m` with `2j = n + 1 − m` even. Nothing
//! needs an angle, and nothing is singular at k = 0.

use std::f64::consts::PI;

use crate::error::Error;
use crate::optics::{Aberration, Aberrations};
use crate::units::Length;

/// One pair of numbers an aberration, in the order of [`Aberration::ALL`]: `[a, b]` Cartesian, or `[C, φ]` polar.
pub type Coefficients = [[f64; 2]; Aberration::COUNT];

/// The powers of ω that the terms are made of.
struct Powers {
    /// |ω|^{2j}, j = 0..=3.
    rho: [f64; 4],
    /// Re ω^m, m = 0..=6.
    re: [f64; 7],
    /// Im ω^m.
    im: [f64; 7],
}

impl Powers {
    #[inline]
    fn new(lambda: f64, k: [f64; 2]) -> Self {
        let (y, x) = (lambda * k[0], lambda * k[1]);
        let (mut rho, mut re, mut im) = ([1.0; 4], [1.0; 7], [0.0; 7]);
        for j in 1..4 {
            rho[j] = rho[j - 1] * (x * x + y * y);
        }
        for m in 1..7 {
            re[m] = re[m - 1] * x - im[m - 1] * y;
            im[m] = re[m - 1] * y + im[m - 1] * x;
        }
        Powers { rho, re, im }
    }
}

/// The basis functions of χ, which are its derivatives with respect to the Cartesian coefficients:
///
/// `[∂χ/∂C_nma, ∂χ/∂C_nmb] = (2π/λ) (λk)^{n+1}/(n+1) · [cos mφ, sin mφ]`; b of round aberrations is 0.
///
/// # Units
/// λ in Å, `k = [ky, kx]` in 1/Å; the result in rad/Å.
#[inline]
pub fn chi_basis(lambda: f64, k: [f64; 2]) -> Coefficients {
    let p = Powers::new(lambda, k);
    let mut basis = [[0.0; 2]; Aberration::COUNT];
    for (i, which) in Aberration::ALL.into_iter().enumerate() {
        let (n, m) = (which.n(), which.m());
        let f = 2.0 * PI / lambda / (n + 1) as f64 * p.rho[(n + 1 - m) / 2];
        basis[i] = [f * p.re[m], f * p.im[m]];
    }
    basis
}

/// The gradient in k of the basis functions: `[[∂/∂ky, ∂/∂kx] of ∂χ/∂C_nma, [∂/∂ky, ∂/∂kx] of ∂χ/∂C_nmb]`.
///
/// From `∂/∂x |ω|^{2j} ω^m = 2j x |ω|^{2j−2} ω^m + m |ω|^{2j} ω^{m−1}`, and for y with i m in the second term.
///
/// # Units
/// λ in Å, `k = [ky, kx]` in 1/Å; the result in rad.
#[inline]
pub fn chi_basis_gradient(lambda: f64, k: [f64; 2]) -> [[[f64; 2]; 2]; Aberration::COUNT] {
    let p = Powers::new(lambda, k);
    let (y, x) = (lambda * k[0], lambda * k[1]);
    let mut out = [[[0.0; 2]; 2]; Aberration::COUNT];
    for (i, which) in Aberration::ALL.into_iter().enumerate() {
        let (n, m) = (which.n(), which.m());
        let j = (n + 1 - m) / 2;
        // dχ/dk = λ dχ/dω cancels the wavelength of the prefactor.
        let f = 2.0 * PI / (n + 1) as f64;
        let radial = if j > 0 { 2.0 * j as f64 * p.rho[j - 1] } else { 0.0 };
        let (angular, re, im) = if m > 0 { (m as f64 * p.rho[j], p.re[m - 1], p.im[m - 1]) } else { (0.0, 0.0, 0.0) };
        out[i] = [
            [f * (radial * y * p.re[m] - angular * im), f * (radial * x * p.re[m] + angular * re)],
            [f * (radial * y * p.im[m] + angular * re), f * (radial * x * p.im[m] + angular * im)],
        ];
    }
    out
}

/// The aberration phase of a lens at one wavelength.
///
/// `χ(k) = (2π/λ) Σ_nm (λk)^{n+1}/(n+1) · C_nm cos m(φ − φ_nm)`; the wave is multiplied by `exp(−iχ)`.
///
/// # Units
/// `k = [ky, kx]` in 1/Å; χ in rad; gradients in rad Å (k), rad/Å (C) and rad/rad (φ).
///
/// # References
/// O. L. Krivanek, N. Dellby, A. R. Lupini, *Ultramicroscopy* 78, 1 (1999), equation 1.
///
/// # Examples
/// An underfocus of 500 Å moves what a beam tilted by α sees by C10 α = −500 Å · α:
/// ```
/// use exitwave::optics::{Aberrations, Chi, wavelength};
/// use exitwave::units::{Energy, Length};
/// let lambda = wavelength(Energy::kev(200.0));
/// let chi = Chi::new(lambda, &Aberrations::from_defocus(Length::angstrom(500.0)))?;
/// let alpha = 0.010;
/// let shift = chi.gradient([0.0, alpha / lambda.to_angstrom()])[1] / (2.0 * std::f64::consts::PI);
/// assert!((shift + 500.0 * alpha).abs() < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chi {
    lambda: f64,
    polar: Aberrations,
    cartesian: Coefficients,
}

impl Chi {
    /// χ of these aberrations.
    ///
    /// # Errors
    /// [`Error::Param`] for a wavelength that is not positive, or a coefficient that is not finite.
    pub fn new(wavelength: Length, aberrations: &Aberrations) -> Result<Self, Error> {
        if !(wavelength.is_finite() && wavelength > Length::ZERO) {
            return Err(Error::param("wavelength", wavelength, "a positive length"));
        }
        aberrations.check()?;
        let cartesian = aberrations.to_cartesian().to_angstrom();
        Ok(Chi { lambda: wavelength.to_angstrom(), polar: *aberrations, cartesian })
    }

    /// The wavelength, Å.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// χ(k).
    #[inline]
    pub fn value(&self, k: [f64; 2]) -> f64 {
        let basis = chi_basis(self.lambda, k);
        let mut chi = 0.0;
        for (b, c) in basis.iter().zip(&self.cartesian) {
            chi += b[0] * c[0] + b[1] * c[1];
        }
        chi
    }

    /// `[∂χ/∂ky, ∂χ/∂kx]`. Divided by 2π, the displacement (Å) of the image that a beam along k forms; divided by λ,
    /// the slope of χ per radian of beam angle that the spatial coherence envelope needs.
    #[inline]
    pub fn gradient(&self, k: [f64; 2]) -> [f64; 2] {
        let basis = chi_basis_gradient(self.lambda, k);
        let mut g = [0.0; 2];
        for (b, c) in basis.iter().zip(&self.cartesian) {
            g[0] += b[0][0] * c[0] + b[1][0] * c[1];
            g[1] += b[0][1] * c[0] + b[1][1] * c[1];
        }
        g
    }

    /// `[∂χ/∂C_nma, ∂χ/∂C_nmb]` for every aberration: the basis functions, whatever the coefficients are.
    pub fn cartesian_gradient(&self, k: [f64; 2]) -> Coefficients {
        chi_basis(self.lambda, k)
    }

    /// `[∂χ/∂C_nm, ∂χ/∂φ_nm]` for every aberration.
    pub fn polar_gradient(&self, k: [f64; 2]) -> Coefficients {
        self.polar.polar_gradient(&chi_basis(self.lambda, k))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Angle;

    /// χ as the formula is printed, with an azimuth and a cosine.
    fn naive(lambda: f64, lens: &Aberrations, k: [f64; 2]) -> f64 {
        let (alpha, phi) = (lambda * k[0].hypot(k[1]), k[0].atan2(k[1]));
        let mut sum = 0.0;
        for which in Aberration::ALL {
            let (n, m) = (which.n() as i32, which.m() as f64);
            let c = lens[which];
            sum += alpha.powi(n + 1) / f64::from(n + 1) * c.c.to_angstrom() * (m * (phi - c.phi.to_rad())).cos();
        }
        2.0 * PI / lambda * sum
    }

    #[test]
    fn polynomial_chi_equals_the_printed_formula() {
        let lambda = 0.0197;
        let mut lens = Aberrations::default();
        for which in Aberration::ALL {
            // Every term contributes about 10 rad at 30 mrad.
            let c = 10.0 * lambda / (2.0 * PI) * (which.n() + 1) as f64 / 0.03f64.powi(which.n() as i32 + 1);
            lens[which].c = Length::angstrom(c);
            lens[which].phi = Angle::rad(0.37 * which.index() as f64 - 2.0);
        }
        let chi = Chi::new(Length::angstrom(lambda), &lens).unwrap();
        for i in 0..200 {
            let k = [1.5 * (0.7 * f64::from(i)).sin(), 1.5 * (1.1 * f64::from(i)).cos()];
            let (a, b) = (chi.value(k), naive(lambda, &lens, k));
            // 14 terms of about 10 rad, each rounded a few times.
            assert!((a - b).abs() < 1e-12 * 140.0, "{a} {b} at {k:?}");
        }
        assert_eq!(chi.value([0.0, 0.0]), 0.0);
        assert_eq!(chi.gradient([0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn a_wavelength_that_is_not_positive_is_an_error() {
        for l in [0.0, -1.0, f64::NAN] {
            assert!(Chi::new(Length::angstrom(l), &Aberrations::default()).is_err());
        }
    }
}
