//! What the numbers of a 4D-STEM data set mean.

use crate::error::Error;
use crate::optics::wavelength;
use crate::stem::Orientation;
use crate::units::{Angle, Energy, Length, SpatialFrequency};

/// The size of a detector pixel `[y, x]`: as a scattering angle α or as a spatial frequency k = α/λ (small angles).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixel {
    /// Scattering angle a pixel.
    Angle([Angle; 2]),
    /// Spatial frequency a pixel.
    Frequency([SpatialFrequency; 2]),
}

impl Pixel {
    fn scaled(self, by: [f64; 2]) -> Self {
        match self {
            Pixel::Angle([y, x]) => Pixel::Angle([y * by[0], x * by[1]]),
            Pixel::Frequency([y, x]) => Pixel::Frequency([y * by[0], x * by[1]]),
        }
    }
}

/// The calibration of a 4D-STEM data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Scan step `[y, x]`.
    pub step: [Length; 2],
    /// Detector pixel `[y, x]`.
    pub pixel: Pixel,
    /// Energy of the electrons: the accelerating voltage.
    pub energy: Energy,
    /// Where the undeflected beam meets the detector, in pixels `[y, x]` (pixel centres are whole numbers); `None` for
    /// the middle, index n/2 rounded down, where a shifted spectrum has its zero frequency.
    pub centre: Option<[f64; 2]>,
    /// How the detector's axes lie relative to those of the scan.
    pub orientation: Orientation,
}

impl Calibration {
    /// A calibration with the beam in the middle of the detector, and detector axes along the scan's.
    pub fn new(step: [Length; 2], pixel: Pixel, energy: Energy) -> Self {
        Calibration { step, pixel, energy, centre: None, orientation: Orientation::default() }
    }

    /// The detector pixel `[y, x]` as a spatial frequency, k = α/λ.
    pub fn pixel_frequency(&self) -> [SpatialFrequency; 2] {
        match self.pixel {
            Pixel::Frequency(k) => k,
            Pixel::Angle(a) => a.map(|a| frequency(a, self.energy)),
        }
    }

    /// The detector pixel `[y, x]` as a scattering angle, α = λk.
    pub fn pixel_angle(&self) -> [Angle; 2] {
        match self.pixel {
            Pixel::Angle(a) => a,
            Pixel::Frequency(k) => k.map(|k| angle(k, self.energy)),
        }
    }

    /// The same with everything in `[0, ∞)` that must be.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let positive = |name, v: [f64; 2]| match v.into_iter().find(|v| !(v.is_finite() && *v > 0.0)) {
            Some(v) => Err(Error::param(name, v, "a positive, finite number")),
            None => Ok(()),
        };
        positive("step", self.step.map(|s| s.to_angstrom()))?;
        positive("energy", [self.energy.to_ev(); 2])?;
        positive("pixel", self.pixel_frequency().map(|k| k.to_per_angstrom()))?;
        if let Some(c) = self.centre.and_then(|c| c.into_iter().find(|c| !c.is_finite())) {
            return Err(Error::param("centre", c, "a finite position"));
        }
        self.orientation.validate()
    }

    /// After binning the detector by `by`: pixel i of the new detector covers by·i … by·i + by − 1 of the old one.
    pub(crate) fn detector_binned(&self, by: [usize; 2], old_centre: [f64; 2]) -> Self {
        let b = by.map(|b| b as f64);
        let centre = std::array::from_fn(|a| (old_centre[a] - 0.5 * (b[a] - 1.0)) / b[a]);
        Calibration { pixel: self.pixel.scaled(b), centre: Some(centre), ..*self }
    }
}

/// α ↦ k = α/λ. The one place of `stem` where angles become spatial frequencies; [`angle`] is its inverse.
fn frequency(a: Angle, energy: Energy) -> SpatialFrequency {
    a.to_rad() / wavelength(energy)
}

fn angle(k: SpatialFrequency, energy: Energy) -> Angle {
    Angle::rad(k * wavelength(energy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_and_frequencies_are_the_same_pixel() {
        let k = SpatialFrequency::per_angstrom(0.045);
        let c = |pixel| Calibration::new([Length::angstrom(0.4); 2], pixel, Energy::kev(80.0));
        let by_angle = c(Pixel::Angle(c(Pixel::Frequency([k; 2])).pixel_angle()));
        assert!((by_angle.pixel_frequency()[0] / k - 1.0).abs() < 1e-15);
        // λ(80 keV) = 0.041757 Å.
        assert!((by_angle.pixel_angle()[1].to_mrad() - 0.045 * 41.757).abs() < 1e-4);
    }

    #[test]
    fn senseless_calibrations_are_errors() {
        let good = Calibration::new([Length::angstrom(0.4); 2], Pixel::Angle([Angle::mrad(1.0); 2]), Energy::kev(80.0));
        assert!(good.validate().is_ok());
        let bad = [
            Calibration { step: [Length::ZERO, Length::angstrom(1.0)], ..good },
            Calibration { pixel: Pixel::Angle([Angle::mrad(f64::NAN), Angle::mrad(1.0)]), ..good },
            Calibration { energy: Energy::kev(-1.0), ..good },
            Calibration { centre: Some([f64::INFINITY, 0.0]), ..good },
        ];
        assert!(bad.iter().all(|c| matches!(c.validate(), Err(Error::Param { .. }))));
    }
}
