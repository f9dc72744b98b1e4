//! Electron scattering factors and the potentials that belong to them, in closed form.
//!
//! With `1/κ = h²/(2π m₀ e) = 47.878 V Å²`, the three-dimensional Fourier transform of the potential of one atom is
//! `V(q) = f(q)/κ`, its projection along the beam has the two-dimensional transform `V(k) = f(|k|)/κ`, and the three terms that the
//! parametrisations are made of have the pairs
//!
//! | f(q), Å | V(r), V | ∫V dz at R, V Å |
//! |---|---|---|
//! | a/(q² + b) | (πa/κ) e^{−Br}/r, B = 2π√b | (2πa/κ) K₀(BR) |
//! | c e^{−dq²} | (c/κ)(π/d)^{3/2} e^{−π²r²/d} | (c/κ)(π/d) e^{−π²R²/d} |
//! | a(2 + bq²)/(1 + bq²)² | A (2/(Br) + 1) e^{−Br}, A = π²a b^{−3/2}/κ, B = 2π/√b | 2A (2K₀(BR)/B + R K₁(BR)) |

use std::f64::consts::PI;

use crate::error::Error;
use crate::optics::constants::{BOHR_RADIUS, CODATA_2018, Constants};
use crate::specimen::Species;
use crate::specimen::special::{bessel_k01, erf};
use crate::specimen::tables::{kirkland::KIRKLAND, lobato::LOBATO, peng::PENG, peng_ions::PENG_IONS};
use crate::units::{Length, SpatialFrequency};

/// Whose fit of the electron scattering factors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Parametrization {
    /// Kirkland: three Lorentzians and three Gaussians; neutral atoms, Z = 1 to 103.
    Kirkland,
    /// Lobato and Van Dyck: five terms with the right decay at high angles and the right cusp at the nucleus; neutral
    /// atoms, Z = 1 to 103.
    #[default]
    Lobato,
    /// Peng: five Gaussians, fitted below q = 12 1/Å; neutral atoms, Z = 1 to 98, and the tabulated ions.
    Peng,
}

/// 1/κ = h²/(2π m₀ e), which turns a scattering factor in Å into a potential: 47.878 V Å² (by CODATA 2018).
pub fn scattering_to_potential(constants: &Constants) -> f64 {
    constants.h * constants.h / (2.0 * PI * constants.m0 * constants.e) * 1e20
}

/// The terms of one atom.
#[derive(Clone, Debug)]
enum Terms {
    Kirkland(&'static [f64; 12]),
    Lobato(&'static [f64; 10]),
    /// Σ a exp(−d q²), and the Coulomb field of the charge.
    Gaussians {
        a: [f64; 5],
        d: [f64; 5],
        charge: f64,
    },
}

/// The electron scattering factor of one species, and its potential, in closed forms.
///
/// The factor is that of the rest mass, for the first Born approximation; the beam's energy enters by the interaction parameter
/// σ alone.
///
/// # Units
/// Methods that take plain numbers take 1/Å and Å, and give Å, V, V Å and V Å²; see each.
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 2nd ed., Springer (2010), equations C.15, C.19, C.20; I. Lobato,
/// D. Van Dyck, *Acta Cryst.* A70, 636 (2014), equations 16 to 19; L.-M. Peng, G. Ren, S. L. Dudarev, M. J. Whelan,
/// *Acta Cryst.* A52, 257 (1996), equation 2; L.-M. Peng, *Acta Cryst.* A54, 481 (1998), equation 3.
///
/// # Examples
/// ```
/// use exitwave::specimen::{Parametrization, ScatteringFactor, Species};
/// use exitwave::units::SpatialFrequency;
/// let silicon = ScatteringFactor::new(Species::from_symbol("Si")?, Parametrization::Kirkland)?;
/// let f = silicon.fe(SpatialFrequency::per_angstrom(0.5));
/// assert!((f.to_angstrom() - 2.16).abs() < 0.2);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ScatteringFactor {
    species: Species,
    terms: Terms,
    /// 1/κ, V Å².
    kappa_inv: f64,
}

impl ScatteringFactor {
    /// Looks the species up.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the table has no such element or ion.
    pub fn new(species: Species, parametrization: Parametrization) -> Result<Self, Error> {
        ScatteringFactor::with_constants(species, parametrization, &CODATA_2018)
    }

    /// The same with other constants behind κ, for comparisons.
    ///
    /// # Errors
    /// As [`ScatteringFactor::new`].
    pub fn with_constants(
        species: Species,
        parametrization: Parametrization,
        constants: &Constants,
    ) -> Result<Self, Error> {
        let unsupported = || Error::Unsupported { what: format!("{species} in the table of {parametrization:?}") };
        let (index, charge) = (usize::from(species.atomic_number()) - 1, species.charge());
        let gaussians = |p: &[f64; 10]| {
            // s = q/2: exp(−b s²) = exp(−(b/4) q²).
            Terms::Gaussians {
                a: std::array::from_fn(|i| p[i]),
                d: std::array::from_fn(|i| 0.25 * p[5 + i]),
                charge: f64::from(charge),
            }
        };
        let terms = match (parametrization, charge) {
            (Parametrization::Kirkland, 0) => Terms::Kirkland(KIRKLAND.get(index).ok_or_else(unsupported)?),
            (Parametrization::Lobato, 0) => Terms::Lobato(LOBATO.get(index).ok_or_else(unsupported)?),
            (Parametrization::Peng, 0) => gaussians(PENG.get(index).ok_or_else(unsupported)?),
            (Parametrization::Peng, _) => {
                let ion = PENG_IONS.iter().find(|p| p.0 == species.atomic_number() && p.1 == charge);
                gaussians(&ion.ok_or_else(unsupported)?.2)
            }
            _ => return Err(unsupported()),
        };
        Ok(ScatteringFactor { species, terms, kappa_inv: scattering_to_potential(constants) })
    }

    /// Which atom.
    pub fn species(&self) -> Species {
        self.species
    }

    /// f(q), without thermal motion. That of an ion is infinite at q = 0.
    pub fn fe(&self, q: SpatialFrequency) -> Length {
        Length::angstrom(self.fe_q2(q.to_per_angstrom().powi(2)))
    }

    /// f as a function of q².
    ///
    /// # Units
    /// 1/Å², Å.
    #[inline]
    pub fn fe_q2(&self, q2: f64) -> f64 {
        match &self.terms {
            Terms::Kirkland(p) => {
                let lorentzians = (0..3).map(|i| p[i] / (q2 + p[3 + i])).sum::<f64>();
                lorentzians + (0..3).map(|i| p[6 + i] * (-p[9 + i] * q2).exp()).sum::<f64>()
            }
            Terms::Lobato(p) => (0..5).map(|i| p[i] * (2.0 + p[5 + i] * q2) / (1.0 + p[5 + i] * q2).powi(2)).sum(),
            Terms::Gaussians { a, d, charge } => {
                let coulomb = if *charge == 0.0 { 0.0 } else { charge * coulomb() / q2 };
                coulomb + (0..5).map(|i| a[i] * (-d[i] * q2).exp()).sum::<f64>()
            }
        }
    }

    /// The two-dimensional Fourier transform of the projected potential, f(k)/κ, times the Debye–Waller factor
    /// `exp(−2π²u²k²)` of the standard deviation u along each axis. At k = 0 the Coulomb field of an ion, which a neutral
    /// crystal's other ions cancel, is left out.
    ///
    /// # Units
    /// 1/Å², Å, V Å³.
    #[inline]
    pub fn projected_fourier(&self, k2: f64, u: f64) -> f64 {
        let f = match &self.terms {
            Terms::Gaussians { a, .. } if k2 == 0.0 => a.iter().sum(),
            _ => self.fe_q2(k2),
        };
        f * self.kappa_inv * (-2.0 * PI * PI * u * u * k2).exp()
    }

    /// V(r) at the distance r from the nucleus.
    ///
    /// # Units
    /// V.
    pub fn potential(&self, r: Length) -> f64 {
        let r = r.to_angstrom().abs();
        let v = match &self.terms {
            Terms::Kirkland(p) => {
                let yukawa = (0..3).map(|i| PI * p[i] * (-2.0 * PI * p[3 + i].sqrt() * r).exp() / r).sum::<f64>();
                yukawa + (0..3).map(|i| gaussian_3d(p[6 + i], p[9 + i], r)).sum::<f64>()
            }
            Terms::Lobato(p) => (0..5)
                .map(|i| {
                    let (a, b) = (PI * PI * p[i] * p[5 + i].powf(-1.5), 2.0 * PI / p[5 + i].sqrt());
                    a * (2.0 / (b * r) + 1.0) * (-b * r).exp()
                })
                .sum(),
            Terms::Gaussians { a, d, charge } => {
                let coulomb = if *charge == 0.0 { 0.0 } else { charge * coulomb() * PI / r };
                coulomb + (0..5).map(|i| gaussian_3d(a[i], d[i], r)).sum::<f64>()
            }
        };
        v * self.kappa_inv
    }

    /// ∫V dz along the whole beam at the distance R from the nucleus. Infinite for ions, whose Coulomb field has no projection.
    ///
    /// # Units
    /// V Å.
    pub fn projected(&self, r: Length) -> f64 {
        let r = r.to_angstrom().abs();
        let gaussian = |c: f64, d: f64| c * PI / d * (-PI * PI * r * r / d).exp();
        let v = match &self.terms {
            Terms::Kirkland(p) => {
                let k0 = (0..3).map(|i| 2.0 * PI * p[i] * bessel_k01(2.0 * PI * p[3 + i].sqrt() * r)[0]).sum::<f64>();
                k0 + (0..3).map(|i| gaussian(p[6 + i], p[9 + i])).sum::<f64>()
            }
            Terms::Lobato(p) => (0..5)
                .map(|i| {
                    let (a, b) = (PI * PI * p[i] * p[5 + i].powf(-1.5), 2.0 * PI / p[5 + i].sqrt());
                    let [k0, k1] = bessel_k01(b * r);
                    2.0 * a * (2.0 * k0 / b + r * k1)
                })
                .sum(),
            Terms::Gaussians { charge, .. } if *charge != 0.0 => f64::INFINITY,
            Terms::Gaussians { a, d, .. } => (0..5).map(|i| gaussian(a[i], d[i])).sum(),
        };
        v * self.kappa_inv
    }

    /// The two-dimensional Fourier transform, at k, of the potential between the planes z₀ and z₁ (from the nucleus):
    /// `∫_{z₀}^{z₁} dz ∫ dk_z V(k, k_z) e^{2πi k_z z}`, from antiderivatives in z.
    ///
    /// With `s = √(b + k²)` the Lorentzian gives `(π/s) e^{−2πs|z|}` before the integration over z; the squared one of Lobato and
    /// Van Dyck `(π/2s³)(1 + 2πs|z|) e^{−2πs|z|}`; the Gaussian `√(π/d) e^{−π²z²/d}`.
    ///
    /// # Units
    /// 1/Å², Å, V Å³.
    pub fn slab_fourier(&self, k2: f64, z0: f64, z1: f64) -> f64 {
        // ∫₀^z of the two exponentials, odd in z: with t = e^{−2πs|z|}.
        let lorentz = |s: f64, z: f64| ((1.0 - (-2.0 * PI * s * z.abs()).exp()) / (2.0 * s * s)).copysign(z);
        let squared = |s: f64, z: f64| {
            let x = 2.0 * PI * s * z.abs();
            // (π/2s³) ∫₀^z (1 + 2πs z) e^{−2πsz} dz = (2 − (2 + x) e^{−x}) / (4 s⁴)
            ((2.0 - (2.0 + x) * (-x).exp()) / (4.0 * s.powi(4))).copysign(z)
        };
        let both = |f: &dyn Fn(f64) -> f64| f(z1) - f(z0);
        let gaussian = |c: f64, d: f64| {
            let w = PI / d.sqrt();
            c * (-d * k2).exp() * 0.5 * (erf(w * z1) - erf(w * z0))
        };
        let v = match &self.terms {
            Terms::Kirkland(p) => {
                let sum = (0..3).map(|i| p[i] * both(&|z| lorentz((p[3 + i] + k2).sqrt(), z))).sum::<f64>();
                sum + (0..3).map(|i| gaussian(p[6 + i], p[9 + i])).sum::<f64>()
            }
            Terms::Lobato(p) => (0..5)
                .map(|i| {
                    // a (2 + bq²)/(1 + bq²)² = (a/b)/(q² + 1/b) + (a/b²)/(q² + 1/b)².
                    let (a, b) = (p[i], p[5 + i]);
                    let s = (1.0 / b + k2).sqrt();
                    both(&|z| a / b * lorentz(s, z) + a / (b * b) * squared(s, z))
                })
                .sum(),
            Terms::Gaussians { a, d, charge } => {
                let field = if *charge == 0.0 || k2 == 0.0 {
                    0.0
                } else {
                    charge * coulomb() * both(&|z| lorentz(k2.sqrt(), z))
                };
                field + (0..5).map(|i| gaussian(a[i], d[i])).sum::<f64>()
            }
        };
        v * self.kappa_inv
    }

    /// The two-dimensional Fourier transform, at k, of the potential in the plane at the height z from the nucleus: the derivative of
    /// [`ScatteringFactor::slab_fourier`] with respect to its upper plane.
    ///
    /// # Units
    /// 1/Å², Å, V Å².
    pub fn plane_fourier(&self, k2: f64, z: f64) -> f64 {
        let lorentz = |s: f64| PI / s * (-2.0 * PI * s * z.abs()).exp();
        let squared = |s: f64| {
            let x = 2.0 * PI * s * z.abs();
            PI / (2.0 * s.powi(3)) * (1.0 + x) * (-x).exp()
        };
        let gaussian = |c: f64, d: f64| c * (PI / d).sqrt() * (-d * k2 - PI * PI * z * z / d).exp();
        let v = match &self.terms {
            Terms::Kirkland(p) => {
                let sum = (0..3).map(|i| p[i] * lorentz((p[3 + i] + k2).sqrt())).sum::<f64>();
                sum + (0..3).map(|i| gaussian(p[6 + i], p[9 + i])).sum::<f64>()
            }
            Terms::Lobato(p) => (0..5)
                .map(|i| {
                    let (a, b) = (p[i], p[5 + i]);
                    let s = (1.0 / b + k2).sqrt();
                    a / b * lorentz(s) + a / (b * b) * squared(s)
                })
                .sum(),
            Terms::Gaussians { a, d, charge } => {
                let field = if *charge == 0.0 || k2 == 0.0 { 0.0 } else { charge * coulomb() * lorentz(k2.sqrt()) };
                field + (0..5).map(|i| gaussian(a[i], d[i])).sum::<f64>()
            }
        };
        v * self.kappa_inv
    }

    /// How far from the nucleus, along the beam, the projected potential of a slice can be left out: where its decay has reached
    /// 1e-9 of the whole.
    pub(crate) fn reach(&self) -> f64 {
        let slowest = |decay: f64| 20.7 / decay;
        match &self.terms {
            Terms::Kirkland(p) => {
                let lorentz = (3..6).map(|i| slowest(2.0 * PI * p[i].sqrt())).fold(0.0, f64::max);
                (9..12).filter(|&i| p[i - 3].abs() > 1e-5).map(|i| 4.6 * p[i].sqrt() / PI).fold(lorentz, f64::max)
            }
            Terms::Lobato(p) => (5..10).map(|i| slowest(2.0 * PI / p[i].sqrt()) * 1.2).fold(0.0, f64::max),
            Terms::Gaussians { charge, .. } if *charge != 0.0 => f64::INFINITY,
            Terms::Gaussians { d, .. } => d.iter().map(|d| 4.6 * d.sqrt() / PI).fold(0.0, f64::max),
        }
    }
}

/// f(q) q² of a point charge e: 1/(2π²a₀), 1/Å.
fn coulomb() -> f64 {
    1.0 / (2.0 * PI * PI * BOHR_RADIUS.to_angstrom())
}

/// κ V(r) of c exp(−d q²).
fn gaussian_3d(c: f64, d: f64, r: f64) -> f64 {
    c * (PI / d).powf(1.5) * (-PI * PI * r * r / d).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(symbol: &str) -> Vec<ScatteringFactor> {
        let s = Species::from_symbol(symbol).unwrap();
        [Parametrization::Kirkland, Parametrization::Lobato, Parametrization::Peng]
            .iter()
            .filter_map(|&p| ScatteringFactor::new(s, p).ok())
            .collect()
    }

    /// Simpson's rule with n (even) intervals.
    fn integral(a: f64, b: f64, n: usize, f: impl Fn(f64) -> f64) -> f64 {
        let h = (b - a) / n as f64;
        let weight = |i: usize| {
            if i == 0 || i == n {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        (0..=n).map(|i| weight(i) * f(a + i as f64 * h)).sum::<f64>() * h / 3.0
    }

    #[test]
    fn the_projection_is_the_integral_of_the_potential() {
        for f in ["C", "Zr", "Au"].iter().flat_map(|s| all(s)) {
            for r in [0.2f64, 0.7, 1.5] {
                // z = sinh t resolves the cusp; beyond 30 Å nothing is left.
                let at = |t: f64| f.potential(Length::angstrom(r.hypot(t.sinh()))) * t.cosh();
                let sum = 2.0 * integral(0.0, 4.1, 4000, at);
                let closed = f.projected(Length::angstrom(r));
                assert!((sum / closed - 1.0).abs() < 1e-8, "{:?} at {r}: {sum} {closed}", f.species());
            }
        }
    }

    #[test]
    fn slabs_add_up_to_the_whole_and_are_the_integral_of_their_profile() {
        for f in ["O", "Mo", "Fe3+"].iter().flat_map(|s| all(s)) {
            for k2 in [0.01, 0.3, 4.0, 30.0] {
                let whole = f.projected_fourier(k2, 0.0);
                let far = if f.species().charge() == 0 { 60.0 } else { 1e3 };
                let parts = [-far, -0.7, 0.1, 0.4, 2.0, far];
                let sum: f64 = parts.windows(2).map(|w| f.slab_fourier(k2, w[0], w[1])).sum();
                assert!((sum / whole - 1.0).abs() < 1e-9, "{} at {k2}: {sum} {whole}", f.species());
                // The transform along z of V(k, kz), by quadrature over kz = sinh t.
                let profile = |t: f64| {
                    let kz = t.sinh();
                    let window = |z: f64| (2.0 * PI * kz * z).sin() / (2.0 * PI * kz).max(1e-300);
                    let w = if kz == 0.0 { 0.5 } else { window(0.4) - window(-0.1) };
                    2.0 * f.fe_q2(k2 + kz * kz) * f.kappa_inv * w * t.cosh()
                };
                let sum = integral(0.0, 5.5, 60_000, profile);
                let slab = f.slab_fourier(k2, -0.1, 0.4);
                // The tail beyond kz = 122 1/Å oscillates; it is below 1/kz³ of the whole.
                assert!((sum - slab).abs() < 1e-4 * whole, "{} at {k2}: {sum} {slab}", f.species());
            }
        }
    }

    #[test]
    fn a_plane_is_the_derivative_of_a_slab() {
        for f in ["O", "Mo", "Fe3+"].iter().flat_map(|s| all(s)) {
            for (k2, z) in [(0.01, 0.3), (0.3, -0.8), (4.0, 0.05), (30.0, 0.2)] {
                let (h, at) = (1e-3, |h: f64| f.slab_fourier(k2, -2.0, z + h));
                let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
                let plane = f.plane_fourier(k2, z);
                // The stencil's error is h⁴ f⁽⁵⁾/30, with derivatives of up to (2π · 12)⁵ of the narrowest terms.
                assert!((slope - plane).abs() < 1e-4 * plane.abs(), "{} at {k2}: {slope} {plane}", f.species());
            }
        }
    }

    #[test]
    fn what_the_tables_do_not_hold_is_an_error() {
        let ion = Species::from_symbol("Fe3+").unwrap();
        assert!(matches!(ScatteringFactor::new(ion, Parametrization::Kirkland), Err(Error::Unsupported { .. })));
        let fermium = Species::from_symbol("Fm").unwrap();
        assert!(matches!(ScatteringFactor::new(fermium, Parametrization::Peng), Err(Error::Unsupported { .. })));
        let rare = Species::from_symbol("Fe6+").unwrap();
        assert!(ScatteringFactor::new(rare, Parametrization::Peng).is_err());
    }
}
