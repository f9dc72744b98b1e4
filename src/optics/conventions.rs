//! The conventions of other programs and notations, and the way from each to ours and back.
//!
//! | program or notation | its words | ours |
//! |---|---|---|
//! | abTEM, py4DSTEM | `defocus`; `C12`, `phi12`, …, first axis x | C10 = −defocus; [`Aberrations::transposed`] for the axes |
//! | fold_slice / PtychoShelves | `probe_df` | C10 = −df |
//! | PtyRAD | `probe_defocus` (its C1 is our C10) | C10 = −defocus |
//! | phaser | `defocus`, positive = overfocus | C10 = +defocus |
//! | Kirkland's programs | Δf, positive = underfocus | C10 = −Δf |
//! | PyLorentz | `defocus`, `Ca`, `phi_a`, `theta_c`, `def_spr` | [`PyLorentz`] |
//! | CEOS, Haider | C1, A1, B2, A2, C3, S3, … | [`Haider`] |
//!
//! All of them multiply the wave by `exp(−iχ)`, as we do.

use crate::error::Error;
use crate::optics::{Aberration, Aberrations, FocalSpread, Polar, SourceAngle};
use crate::units::{Angle, Length};

/// A program with its own sign of defocus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Program {
    /// abTEM: `defocus`, positive = underfocus.
    AbTem,
    /// py4DSTEM: `defocus`, positive = underfocus.
    Py4dStem,
    /// fold_slice and PtychoShelves: `probe_df`, positive = underfocus.
    FoldSlice,
    /// PtyRAD: `probe_defocus`, positive = underfocus.
    PtyRad,
    /// phaser: `defocus`, positive = overfocus.
    Phaser,
    /// Kirkland's programs and book: Δf, positive = underfocus.
    Kirkland,
    /// PyLorentz: `defocus`, positive = underfocus.
    PyLorentz,
}

impl Program {
    /// C10 from the program's focus.
    ///
    /// ```
    /// use exitwave::optics::conventions::Program;
    /// use exitwave::units::Length;
    /// // One data set of PrScO3, as two programs describe it.
    /// assert_eq!(Program::FoldSlice.c10(Length::angstrom(-200.0)), Length::angstrom(200.0));
    /// assert_eq!(Program::Phaser.c10(Length::angstrom(200.0)), Length::angstrom(200.0));
    /// ```
    pub fn c10(self, focus: Length) -> Length {
        match self {
            Program::Phaser => focus,
            Program::AbTem
            | Program::Py4dStem
            | Program::FoldSlice
            | Program::PtyRad
            | Program::Kirkland
            | Program::PyLorentz => Length::ZERO - focus,
        }
    }

    /// The program's focus from C10.
    pub fn focus(self, c10: Length) -> Length {
        // A sign is its own inverse.
        self.c10(c10)
    }
}

/// The microscope as PyLorentz describes it.
///
/// `χ = −πλ (df + Ca cos 2(φ − φ_a)) k² + (π/2) Cs λ³k⁴`, so `C10 = −df`, and an astigmatism `Ca` at `φ_a` is
/// `C12 = Ca` at `φ_a + π/2`. Its `theta_c` is a 1/e half-width, its `def_spr` a standard deviation.
///
/// # References
/// A. R. C. McCray, T. Cote, Y. Li, A. K. Petford-Long, C. Phatak, *Phys. Rev. Applied* 15, 044025 (2021).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PyLorentz {
    /// Defocus, positive = underfocus.
    pub defocus: Length,
    /// Magnitude of the twofold astigmatism, in the sign of `defocus`.
    pub ca: Length,
    /// Azimuth of the twofold astigmatism.
    pub phi_a: Angle,
    /// Spherical aberration.
    pub cs: Length,
    /// Source semi-angle, 1/e half-width.
    pub theta_c: Angle,
    /// Spread of defocus, standard deviation.
    pub def_spr: Length,
}

impl PyLorentz {
    /// Our aberrations.
    pub fn aberrations(&self) -> Aberrations {
        let mut out = Aberrations::from_defocus(self.defocus);
        out.set_cs(self.cs);
        out.set_astigmatism(self.ca, self.phi_a + Angle::deg(90.0));
        out
    }

    /// Our source angle.
    pub fn source_angle(&self) -> SourceAngle {
        SourceAngle::one_over_e(self.theta_c)
    }

    /// Our focal spread.
    pub fn focal_spread(&self) -> FocalSpread {
        FocalSpread::rms(self.def_spr)
    }

    /// The description of a lens in PyLorentz' words.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an aberration that PyLorentz does not know.
    pub fn new(aberrations: &Aberrations, source: SourceAngle, spread: FocalSpread) -> Result<Self, Error> {
        let known = [Aberration::C10, Aberration::C12, Aberration::C30];
        for which in Aberration::ALL.into_iter().filter(|a| !known.contains(a)) {
            if aberrations[which].c != Length::ZERO {
                return Err(Error::Unsupported { what: format!("{which} in PyLorentz") });
            }
        }
        let Polar { c, phi } = aberrations.astigmatism();
        Ok(PyLorentz {
            defocus: aberrations.defocus(),
            ca: c,
            phi_a: phi - Angle::deg(90.0),
            cs: aberrations.cs(),
            theta_c: source.to_one_over_e(),
            def_spr: spread.to_rms(),
        })
    }
}

/// Aberrations in the notation of Uhlemann and Haider, which the correctors of CEOS show.
///
/// With `ω = λ(kx + i ky) = α e^{iφ}`:
///
/// `χ = (2π/λ) Re{ ½ C1 ωω̄ + ½ A1 ω̄² + B2 ω²ω̄ + ⅓ A2 ω̄³ + ¼ C3 (ωω̄)² + S3 ω³ω̄ + ¼ A3 ω̄⁴ + B4 ω³ω̄² + D4 ω⁴ω̄ + ⅕ A4 ω̄⁵ + ⅙ C5 (ωω̄)³ + S5 ω⁴ω̄² + R5 ω⁵ω̄ + ⅙ A5 ω̄⁶ }`
///
/// Hence `C21 = 3|B2|`, `C32 = 4|S3|`, `C41 = 5|B4|`, `C43 = 5|D4|`, `C52 = 6|S5|`, `C54 = 6|R5|`; the others are
/// equal. The angle of an A is its argument over its symmetry, `φ_nm = arg/m`; in B, D, R and S ω prevails over ω̄, and
/// `φ_nm = −arg/m`.
///
/// Each complex coefficient is given by its modulus `c` and its argument `phi`.
///
/// # References
/// S. Uhlemann, M. Haider, *Ultramicroscopy* 72, 109 (1998), equation 2; O. L. Krivanek et al., *Ultramicroscopy* 108,
/// 179 (2008).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Haider {
    /// Defocus, positive = overfocus (C10).
    pub c1: Length,
    /// Twofold astigmatism (C12).
    pub a1: Polar,
    /// Axial coma (C21/3).
    pub b2: Polar,
    /// Threefold astigmatism (C23).
    pub a2: Polar,
    /// Spherical aberration (C30).
    pub c3: Length,
    /// Star aberration (C32/4).
    pub s3: Polar,
    /// Fourfold astigmatism (C34).
    pub a3: Polar,
    /// Axial coma of fourth order (C41/5).
    pub b4: Polar,
    /// Three-lobe aberration (C43/5).
    pub d4: Polar,
    /// Fivefold astigmatism (C45).
    pub a4: Polar,
    /// Spherical aberration of fifth order (C50).
    pub c5: Length,
    /// Star aberration of fifth order (C52/6).
    pub s5: Polar,
    /// Rosette aberration (C54/6), which some call D5.
    pub r5: Polar,
    /// Sixfold astigmatism (C56).
    pub a5: Polar,
}

/// The factor from Haider's modulus to C_nm, and the sign of the argument.
fn haider_rule(which: Aberration) -> (f64, f64) {
    let (n, m) = (which.n(), which.m());
    if m == n + 1 || m == 0 { (1.0, 1.0) } else { ((n + 1) as f64, -1.0) }
}

impl Haider {
    /// Our aberrations.
    pub fn aberrations(&self) -> Aberrations {
        let round = |c| Polar { c, phi: Angle::ZERO };
        let all = [
            round(self.c1),
            self.a1,
            self.b2,
            self.a2,
            round(self.c3),
            self.s3,
            self.a3,
            self.b4,
            self.d4,
            self.a4,
            round(self.c5),
            self.s5,
            self.r5,
            self.a5,
        ];
        let mut out = Aberrations::default();
        for (which, Polar { c, phi }) in Aberration::ALL.into_iter().zip(all) {
            let (factor, sign) = haider_rule(which);
            out[which] = Polar { c: c * factor, phi: phi * sign / which.m().max(1) as f64 };
        }
        out
    }
}

/// The same lens in the notation of Uhlemann and Haider.
impl From<&Aberrations> for Haider {
    fn from(aberrations: &Aberrations) -> Self {
        let of = |which: Aberration| {
            let Polar { c, phi } = aberrations[which];
            let (factor, sign) = haider_rule(which);
            Polar { c: c / factor, phi: phi * (sign * which.m() as f64) }
        };
        Haider {
            c1: of(Aberration::C10).c,
            a1: of(Aberration::C12),
            b2: of(Aberration::C21),
            a2: of(Aberration::C23),
            c3: of(Aberration::C30).c,
            s3: of(Aberration::C32),
            a3: of(Aberration::C34),
            b4: of(Aberration::C41),
            d4: of(Aberration::C43),
            a4: of(Aberration::C45),
            c5: of(Aberration::C50).c,
            s5: of(Aberration::C52),
            r5: of(Aberration::C54),
            a5: of(Aberration::C56),
        }
    }
}
