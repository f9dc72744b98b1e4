//! The setting of the microscope for one image of a series.

use crate::error::Error;
use crate::optics::{FocalSpread, LensTransfer, Polar, SourceAngle};
use crate::units::{Angle, Length};

/// Numbers that describe one image, in the order of [`Word`].
pub const SETTING_WORDS: usize = 10;

/// Names the numbers of an [`ImageSetting`] as the kernels see them, in internal units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Word {
    /// Minus the defocus, Å.
    C10,
    /// Twofold astigmatism along x, Å.
    C12a,
    /// Twofold astigmatism along the diagonal, Å.
    C12b,
    /// Spherical aberration, Å.
    C30,
    /// 1/e half-width of the beam directions, rad.
    SourceAngle,
    /// 1/e half-width of the focal spread, Å.
    FocalSpread,
    /// Shift of the image along y, Å.
    ShiftY,
    /// Shift of the image along x, Å.
    ShiftX,
    /// Rotation of the image from x towards y, rad.
    Rotation,
    /// Logarithm of the magnification.
    LnMagnification,
}

impl Word {
    /// All of them, in their order.
    pub const ALL: [Word; SETTING_WORDS] = [
        Word::C10,
        Word::C12a,
        Word::C12b,
        Word::C30,
        Word::SourceAngle,
        Word::FocalSpread,
        Word::ShiftY,
        Word::ShiftX,
        Word::Rotation,
        Word::LnMagnification,
    ];

    /// Position in [`Word::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A name for tables and JSON keys, with its unit.
    pub const fn name(self) -> &'static str {
        match self {
            Word::C10 => "c10_angstrom",
            Word::C12a => "c12a_angstrom",
            Word::C12b => "c12b_angstrom",
            Word::C30 => "c30_angstrom",
            Word::SourceAngle => "theta_c_rad",
            Word::FocalSpread => "focal_spread_angstrom",
            Word::ShiftY => "shift_y_angstrom",
            Word::ShiftX => "shift_x_angstrom",
            Word::Rotation => "rotation_rad",
            Word::LnMagnification => "ln_magnification",
        }
    }
}

/// The lens, and where the image lies, for one image of a Lorentz series.
///
/// The image is first shifted, then turned and magnified about the pixel (⌊ny/2⌋, ⌊nx/2⌋):
/// `y(r) = I(c + R(−ϑ)(r − c)/m)`, I being the image of the lens shifted by s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageSetting {
    /// Defocus, positive = underfocus.
    pub defocus: Length,
    /// Twofold astigmatism C12.
    pub astigmatism: Polar,
    /// Spherical aberration.
    pub cs: Length,
    /// Spread of beam directions, θ_c.
    pub source_angle: SourceAngle,
    /// Spread of focus.
    pub focal_spread: FocalSpread,
    /// `[y, x]`: where the image lies relative to the object.
    pub shift: [Length; 2],
    /// Rotation, from x towards y.
    pub rotation: Angle,
    /// Magnification relative to the object's grid. Intensities are per incident electron and area of the object.
    pub magnification: f64,
}

/// An ideal lens in focus.
impl Default for ImageSetting {
    fn default() -> Self {
        ImageSetting {
            defocus: Length::ZERO,
            astigmatism: Polar::default(),
            cs: Length::ZERO,
            source_angle: SourceAngle::ZERO,
            focal_spread: FocalSpread::ZERO,
            shift: [Length::ZERO; 2],
            rotation: Angle::ZERO,
            magnification: 1.0,
        }
    }
}

impl ImageSetting {
    /// The numbers, in the order of [`Word`].
    pub fn to_words(&self) -> [f64; SETTING_WORDS] {
        let mut lens = crate::optics::Aberrations::from_defocus(self.defocus);
        lens.set_astigmatism(self.astigmatism.c, self.astigmatism.phi);
        lens.set_cs(self.cs);
        let [c10, a, b, c30, theta, delta] = LensTransfer::numbers(&lens, self.source_angle, self.focal_spread);
        let [sy, sx] = self.shift.map(|s| s.to_angstrom());
        [c10, a, b, c30, theta, delta, sy, sx, self.rotation.to_rad(), self.magnification.ln()]
    }

    /// The setting with these numbers.
    pub fn from_words(w: &[f64; SETTING_WORDS]) -> Self {
        let (lens, source_angle, focal_spread) = LensTransfer::lens(&[w[0], w[1], w[2], w[3], w[4], w[5]]);
        ImageSetting {
            defocus: lens.defocus(),
            astigmatism: lens.astigmatism(),
            cs: lens.cs(),
            source_angle,
            focal_spread,
            shift: [Length::angstrom(w[6]), Length::angstrom(w[7])],
            rotation: Angle::rad(w[8]),
            magnification: w[9].exp(),
        }
    }

    /// Whether the setting makes sense.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        let mut lens = crate::optics::Aberrations::from_defocus(self.defocus);
        lens.set_astigmatism(self.astigmatism.c, self.astigmatism.phi);
        lens.set_cs(self.cs);
        lens.check()?;
        self.source_angle.check()?;
        self.focal_spread.check()?;
        if !self.shift.iter().all(|s| s.abs() <= Length::m(1.0)) {
            return Err(Error::param("shift", format!("{} {}", self.shift[0], self.shift[1]), "less than 1 m"));
        }
        if !self.rotation.is_finite() {
            return Err(Error::param("rotation", self.rotation, "a finite angle"));
        }
        if !(1e-3..=1e3).contains(&self.magnification) {
            return Err(Error::param("magnification", self.magnification, "0.001 to 1000"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_setting_are_inverse() {
        let setting = ImageSetting {
            defocus: Length::mm(-1.2),
            astigmatism: Polar { c: Length::um(3.0), phi: Angle::deg(20.0) },
            cs: Length::mm(1.0),
            source_angle: SourceAngle::one_over_e(Angle::mrad(0.01)),
            focal_spread: FocalSpread::rms(Length::nm(500.0)),
            shift: [Length::nm(3.0), Length::nm(-7.0)],
            rotation: Angle::deg(1.5),
            magnification: 1.02,
        };
        let (w, v) = (setting.to_words(), ImageSetting::from_words(&setting.to_words()).to_words());
        assert!(w.iter().zip(&v).all(|(a, b)| (a - b).abs() <= 1e-14 * a.abs()), "{w:?} {v:?}");
        assert!(setting.check().is_ok());
        assert!(ImageSetting { magnification: f64::NAN, ..setting }.check().is_err());
        assert!(ImageSetting { shift: [Length::nm(f64::NAN); 2], ..setting }.check().is_err());
    }
}
