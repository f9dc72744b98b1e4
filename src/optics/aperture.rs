//! Apertures: what part of the back focal plane is let through.

use std::f64::consts::PI;

use crate::error::Error;
use crate::units::Angle;

/// A round aperture, centred on the axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Aperture {
    /// None: everything passes.
    #[default]
    Open,
    /// 1 inside and on the semi-angle α₀, 0 outside.
    Hard {
        /// α₀.
        semi_angle: Angle,
    },
    /// A linear edge, one pixel of the grid wide: `clip((α₀ − α)/δ + ½, 0, 1)`, where
    /// `δ = √((cos φ · λ dkx)² + (sin φ · λ dky)²)` is the size of the pixel along the azimuth φ; 1 at α = 0. The
    /// intensity of the sampled disk then changes smoothly with α₀.
    Soft {
        /// α₀, where half passes.
        semi_angle: Angle,
    },
    /// A cosine edge of width w: 1 below α₀ − w/2, `½ (1 + cos(π (α − α₀ + w/2)/w))` across it, 0 above α₀ + w/2.
    Cosine {
        /// α₀, where half passes.
        semi_angle: Angle,
        /// w, at most 2α₀.
        width: Angle,
    },
}

impl Aperture {
    /// The semi-angle α₀, if there is an aperture.
    pub fn semi_angle(&self) -> Option<Angle> {
        match *self {
            Aperture::Open => None,
            Aperture::Hard { semi_angle } | Aperture::Soft { semi_angle } | Aperture::Cosine { semi_angle, .. } => {
                Some(semi_angle)
            }
        }
    }

    /// Whether the angles make sense.
    ///
    /// # Errors
    /// [`Error::Param`] for a semi-angle that is not in (0, π/2), or a width that is not in (0, 2α₀].
    pub fn check(&self) -> Result<(), Error> {
        if let Some(a) = self.semi_angle()
            && !(a > Angle::ZERO && a.to_rad() < 0.5 * PI)
        {
            return Err(Error::param("semi_angle", a, "an angle between 0 and 90°"));
        }
        if let Aperture::Cosine { semi_angle, width } = *self
            && !(width > Angle::ZERO && width <= semi_angle * 2.0)
        {
            return Err(Error::param("width", width, "a positive angle, at most twice the semi-angle"));
        }
        Ok(())
    }

    /// The amplitude that passes at the angle `alpha = [αy, αx]`, on a grid whose pixels measure
    /// `pixel = [λ dky, λ dkx]` (which only the soft edge looks at). In [0, 1].
    ///
    /// # Units
    /// rad.
    #[inline]
    pub fn transmission(&self, alpha: [f64; 2], pixel: [f64; 2]) -> f64 {
        let [ay, ax] = alpha;
        let a = (ax * ax + ay * ay).sqrt();
        match *self {
            Aperture::Open => 1.0,
            Aperture::Hard { semi_angle } => {
                if a <= semi_angle.to_rad() {
                    1.0
                } else {
                    0.0
                }
            }
            Aperture::Soft { .. } if a == 0.0 => 1.0,
            Aperture::Soft { semi_angle } => {
                let (sin, cos) = (ay / a, ax / a);
                let delta = ((cos * pixel[1]).powi(2) + (sin * pixel[0]).powi(2)).sqrt();
                ((semi_angle.to_rad() - a) / delta + 0.5).clamp(0.0, 1.0)
            }
            Aperture::Cosine { semi_angle, width } => {
                let t = (a - semi_angle.to_rad()) / width.to_rad() + 0.5;
                0.5 * (1.0 + (PI * t.clamp(0.0, 1.0)).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_amplitude_passes_at_the_edge() {
        let (semi_angle, width) = (Angle::mrad(20.0), Angle::mrad(3.0));
        let pixel = [0.5e-3, 0.4e-3];
        for aperture in [Aperture::Soft { semi_angle }, Aperture::Cosine { semi_angle, width }] {
            for phi in [0.0f64, 0.3, 1.2, 2.9] {
                let at = |a: f64| aperture.transmission([a * phi.sin(), a * phi.cos()], pixel);
                assert!((at(0.020) - 0.5).abs() < 1e-12);
                assert_eq!(at(0.0), 1.0);
                assert_eq!(at(0.0184), 1.0);
                assert_eq!(at(0.0216), 0.0);
                // Both edges are antisymmetric about their middle.
                assert!((at(0.0199) + at(0.0201) - 1.0).abs() < 1e-12);
            }
        }
        let hard = Aperture::Hard { semi_angle };
        assert_eq!(hard.transmission([0.0, 0.02], pixel), 1.0);
        assert_eq!(hard.transmission([0.0, 0.0200001], pixel), 0.0);
    }

    #[test]
    fn impossible_angles_are_errors() {
        for a in [0.0, -1e-3, 2.0, f64::NAN] {
            assert!(Aperture::Hard { semi_angle: Angle::rad(a) }.check().is_err());
        }
        for w in [0.0, 0.05, f64::NAN] {
            let aperture = Aperture::Cosine { semi_angle: Angle::mrad(20.0), width: Angle::rad(w) };
            assert!(matches!(aperture.check(), Err(Error::Param { name: "width", .. })));
        }
    }
}
