//! The aberration coefficients, to fifth order, in polar and in Cartesian form.

use std::fmt;
use std::ops::{Index, IndexMut};

use crate::error::Error;
use crate::units::{Angle, Length};

const LARGEST: Length = Length::m(1e3);

/// Names the aberration C_nm of order n (of the ray deviation) and azimuthal symmetry m.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Aberration {
    /// Overfocus: −defocus.
    C10,
    /// Twofold astigmatism.
    C12,
    /// Axial coma.
    C21,
    /// Threefold astigmatism.
    C23,
    /// Spherical aberration of third order, Cs.
    C30,
    /// Star aberration.
    C32,
    /// Fourfold astigmatism.
    C34,
    /// Axial coma of fourth order.
    C41,
    /// Three-lobe aberration.
    C43,
    /// Fivefold astigmatism.
    C45,
    /// Spherical aberration of fifth order.
    C50,
    /// Star aberration of fifth order.
    C52,
    /// Rosette aberration.
    C54,
    /// Sixfold astigmatism.
    C56,
}

impl Aberration {
    /// How many there are to fifth order.
    pub const COUNT: usize = 14;

    /// All of them, in the order of their index.
    pub const ALL: [Aberration; Aberration::COUNT] = [
        Aberration::C10,
        Aberration::C12,
        Aberration::C21,
        Aberration::C23,
        Aberration::C30,
        Aberration::C32,
        Aberration::C34,
        Aberration::C41,
        Aberration::C43,
        Aberration::C45,
        Aberration::C50,
        Aberration::C52,
        Aberration::C54,
        Aberration::C56,
    ];

    const ORDERS: [(usize, usize); Aberration::COUNT] = [
        (1, 0),
        (1, 2),
        (2, 1),
        (2, 3),
        (3, 0),
        (3, 2),
        (3, 4),
        (4, 1),
        (4, 3),
        (4, 5),
        (5, 0),
        (5, 2),
        (5, 4),
        (5, 6),
    ];

    const NAMES: [&'static str; Aberration::COUNT] =
        ["C10", "C12", "C21", "C23", "C30", "C32", "C34", "C41", "C43", "C45", "C50", "C52", "C54", "C56"];

    /// Position in [`Aberration::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Order n of the ray deviation; the phase goes as `k^{n+1}`.
    pub const fn n(self) -> usize {
        Self::ORDERS[self as usize].0
    }

    /// Azimuthal symmetry m: n+1, n−1, … ≥ 0.
    pub const fn m(self) -> usize {
        Self::ORDERS[self as usize].1
    }

    /// `"C10"`, `"C12"`, …
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The aberration of order n and symmetry m.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is none to fifth order.
    pub fn from_orders(n: usize, m: usize) -> Result<Self, Error> {
        let at = Self::ORDERS.iter().position(|&o| o == (n, m));
        at.map(|i| Self::ALL[i])
            .ok_or_else(|| Error::Unsupported { what: format!("aberration of order {n}, symmetry {m}") })
    }

    /// The aberration called `"C10"`, `"C12"`, …
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the name is another.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let at = Self::NAMES.iter().position(|&n| n == name);
        at.map(|i| Self::ALL[i]).ok_or_else(|| Error::Unsupported { what: format!("aberration `{name}`") })
    }
}

impl fmt::Display for Aberration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A coefficient in polar form: `C cos m(φ − φ_nm)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Polar {
    /// C_nm.
    pub c: Length,
    /// φ_nm; without meaning for round aberrations (m = 0).
    pub phi: Angle,
}

/// A coefficient in Cartesian form: `C_nma cos mφ + C_nmb sin mφ`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cartesian {
    /// C_nma.
    pub a: Length,
    /// C_nmb; without meaning for round aberrations (m = 0).
    pub b: Length,
}

/// All aberrations to fifth order in polar form (Krivanek's notation), all zero by default.
///
/// `χ(k) = (2π/λ) Σ_nm (λk)^{n+1}/(n+1) · C_nm cos m(φ − φ_nm)`
///
/// # References
/// O. L. Krivanek, N. Dellby, A. R. Lupini, *Ultramicroscopy* 78, 1 (1999), equation 1.
///
/// # Examples
/// ```
/// use exitwave::optics::{Aberration, Aberrations};
/// use exitwave::units::{Angle, Length};
/// let mut lens = Aberrations::from_defocus(Length::nm(50.0));
/// lens.set_cs(Length::mm(1.2));
/// lens[Aberration::C12].c = Length::nm(3.0);
/// lens[Aberration::C12].phi = Angle::deg(30.0);
/// assert_eq!(lens[Aberration::C10].c, Length::angstrom(-500.0));
/// assert_eq!(lens.astigmatism().c, Length::angstrom(30.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aberrations {
    /// The coefficients, in the order of [`Aberration::ALL`].
    pub coefficients: [Polar; Aberration::COUNT],
}

/// All aberrations to fifth order in Cartesian form, all zero by default.
///
/// `χ(k) = (2π/λ) Σ_nm (λk)^{n+1}/(n+1) · (C_nma cos mφ + C_nmb sin mφ)`, with `C_nma = C_nm cos mφ_nm` and
/// `C_nmb = C_nm sin mφ_nm`. χ is linear in these coefficients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CartesianAberrations {
    /// The coefficients, in the order of [`Aberration::ALL`].
    pub coefficients: [Cartesian; Aberration::COUNT],
}

impl Index<Aberration> for Aberrations {
    type Output = Polar;
    fn index(&self, which: Aberration) -> &Polar {
        &self.coefficients[which.index()]
    }
}
impl IndexMut<Aberration> for Aberrations {
    fn index_mut(&mut self, which: Aberration) -> &mut Polar {
        &mut self.coefficients[which.index()]
    }
}
impl Index<Aberration> for CartesianAberrations {
    type Output = Cartesian;
    fn index(&self, which: Aberration) -> &Cartesian {
        &self.coefficients[which.index()]
    }
}
impl IndexMut<Aberration> for CartesianAberrations {
    fn index_mut(&mut self, which: Aberration) -> &mut Cartesian {
        &mut self.coefficients[which.index()]
    }
}

impl Aberrations {
    /// Nothing but a defocus (positive = underfocus, C10 = −defocus).
    pub fn from_defocus(defocus: Length) -> Self {
        let mut aberrations = Aberrations::default();
        aberrations.set_defocus(defocus);
        aberrations
    }

    /// Defocus: −C10, positive = underfocus.
    pub fn defocus(&self) -> Length {
        -self[Aberration::C10].c
    }

    /// Sets the defocus: C10 = −`defocus`.
    pub fn set_defocus(&mut self, defocus: Length) {
        // Zero minus, so that no defocus is +0.
        self[Aberration::C10].c = Length::ZERO - defocus;
    }

    /// Spherical aberration of third order, C30.
    pub fn cs(&self) -> Length {
        self[Aberration::C30].c
    }

    /// Sets the spherical aberration of third order.
    pub fn set_cs(&mut self, cs: Length) {
        self[Aberration::C30].c = cs;
    }

    /// Twofold astigmatism, C12.
    pub fn astigmatism(&self) -> Polar {
        self[Aberration::C12]
    }

    /// Sets the twofold astigmatism.
    pub fn set_astigmatism(&mut self, c: Length, phi: Angle) {
        self[Aberration::C12] = Polar { c, phi };
    }

    /// Axial coma, C21.
    pub fn coma(&self) -> Polar {
        self[Aberration::C21]
    }

    /// Sets the axial coma.
    pub fn set_coma(&mut self, c: Length, phi: Angle) {
        self[Aberration::C21] = Polar { c, phi };
    }

    /// `C_nma = C_nm cos mφ_nm`, `C_nmb = C_nm sin mφ_nm`.
    pub fn to_cartesian(&self) -> CartesianAberrations {
        let mut out = CartesianAberrations::default();
        for which in Aberration::ALL {
            let Polar { c, phi } = self[which];
            out[which] = match which.m() {
                0 => Cartesian { a: c, b: Length::ZERO },
                m => {
                    let (sin, cos) = (m as f64 * phi.to_rad()).sin_cos();
                    Cartesian { a: c * cos, b: c * sin }
                }
            };
        }
        out
    }

    /// The same χ, written with C_nm ≥ 0 and φ_nm in (−π/m, π/m]; round coefficients keep their sign and have φ = 0.
    pub fn canonical(&self) -> Self {
        self.to_cartesian().to_polar()
    }

    /// The aberrations of the lens turned by `angle`, from x towards y: `χ'(φ) = χ(φ − angle)`, so
    /// `φ'_nm = φ_nm + angle`.
    pub fn rotated(&self, angle: Angle) -> Self {
        let mut out = *self;
        for which in Aberration::ALL.into_iter().filter(|a| a.m() > 0) {
            out[which].phi = self[which].phi + angle;
        }
        out
    }

    /// The aberrations with the two axes exchanged: `χ'(ky, kx) = χ(kx, ky)`, so `φ'_nm = π/2 − φ_nm`.
    ///
    /// What is needed to read coefficients of a program whose first axis is x.
    pub fn transposed(&self) -> Self {
        let mut out = *self;
        for which in Aberration::ALL.into_iter().filter(|a| a.m() > 0) {
            out[which].phi = Angle::deg(90.0) - self[which].phi;
        }
        out
    }

    /// Turns the gradient of a loss with respect to the Cartesian coefficients, `[∂L/∂C_nma, ∂L/∂C_nmb]`, into that
    /// with respect to the polar ones, `[∂L/∂C_nm, ∂L/∂φ_nm]`, at these aberrations:
    ///
    /// `∂L/∂C = cos mφ ∂L/∂a + sin mφ ∂L/∂b`, `∂L/∂φ = m C (cos mφ ∂L/∂b − sin mφ ∂L/∂a)`.
    ///
    /// # Units
    /// Per Å, and per radian.
    pub fn polar_gradient(&self, cartesian: &[[f64; 2]; Aberration::COUNT]) -> [[f64; 2]; Aberration::COUNT] {
        let mut out = [[0.0; 2]; Aberration::COUNT];
        for (i, which) in Aberration::ALL.into_iter().enumerate() {
            let m = which.m() as f64;
            let Polar { c, phi } = self[which];
            let (sin, cos) = if which.m() == 0 { (0.0, 1.0) } else { (m * phi.to_rad()).sin_cos() };
            let [a, b] = cartesian[i];
            out[i] = [cos * a + sin * b, m * c.to_angstrom() * (cos * b - sin * a)];
        }
        out
    }

    /// Whether every coefficient is below 1 km (no lens is that bad; the phase cannot overflow) and every angle finite.
    ///
    /// # Errors
    /// [`Error::Param`], naming the coefficient.
    pub fn check(&self) -> Result<(), Error> {
        for which in Aberration::ALL {
            let Polar { c, phi } = self[which];
            if !(c.abs() <= LARGEST && (which.m() == 0 || phi.is_finite())) {
                return Err(Error::param(
                    "aberrations",
                    format!("{which} = {c}, {phi}"),
                    "coefficients below 1 km, finite angles",
                ));
            }
        }
        Ok(())
    }
}

impl CartesianAberrations {
    /// `C_nm = √(C_nma² + C_nmb²)`, `φ_nm = atan2(C_nmb, C_nma)/m`; round coefficients keep their sign.
    pub fn to_polar(&self) -> Aberrations {
        let mut out = Aberrations::default();
        for which in Aberration::ALL {
            let Cartesian { a, b } = self[which];
            out[which] = match which.m() {
                0 => Polar { c: a, phi: Angle::ZERO },
                m => {
                    let (a, b) = (a.to_angstrom(), b.to_angstrom());
                    Polar { c: Length::angstrom(a.hypot(b)), phi: Angle::rad(b.atan2(a) / m as f64) }
                }
            };
        }
        out
    }

    /// The coefficients `[C_nma, C_nmb]` in Å, as the kernels use them; b of round aberrations is 0.
    pub fn to_angstrom(&self) -> [[f64; 2]; Aberration::COUNT] {
        Aberration::ALL.map(|which| {
            let Cartesian { a, b } = self[which];
            [a.to_angstrom(), if which.m() == 0 { 0.0 } else { b.to_angstrom() }]
        })
    }

    /// The inverse of [`CartesianAberrations::to_angstrom`].
    pub fn from_angstrom(c: &[[f64; 2]; Aberration::COUNT]) -> Self {
        CartesianAberrations {
            coefficients: c.map(|[a, b]| Cartesian { a: Length::angstrom(a), b: Length::angstrom(b) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_orders_and_indices_agree() {
        for (i, which) in Aberration::ALL.into_iter().enumerate() {
            assert_eq!(which.index(), i);
            assert_eq!(which.name(), format!("C{}{}", which.n(), which.m()));
            assert_eq!(format!("{which:?}"), which.name());
            assert_eq!(Aberration::from_name(which.name()).unwrap(), which);
            assert_eq!(Aberration::from_orders(which.n(), which.m()).unwrap(), which);
            assert!(which.m() <= which.n() + 1 && (which.n() + 1 - which.m()) % 2 == 0);
        }
        assert!(matches!(Aberration::from_name("C70"), Err(Error::Unsupported { .. })));
        assert!(matches!(Aberration::from_orders(3, 1), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn nan_coefficients_are_errors() {
        let mut lens = Aberrations::default();
        lens[Aberration::C30].phi = Angle::rad(f64::NAN);
        assert!(lens.check().is_ok(), "a round aberration has no angle");
        lens[Aberration::C34].phi = Angle::rad(f64::NAN);
        let message = lens.check().unwrap_err().to_string();
        assert!(message.contains("C34"), "{message}");
    }
}
