//! What a multislice calculation depends on.

use crate::error::Error;
use crate::optics::{Constants, Grid};
use crate::par::Par;
use crate::shape::Limits;
use crate::units::{Angle, Energy, Length};

/// Which spatial frequencies waves and transmissions may have. The product of two functions limited to 2/3 of the Nyquist frequency
/// is aliased only beyond 2/3, where it is cut off again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BandLimit {
    /// A sharp circle of this fraction of the Nyquist frequency of the coarser axis, in (0, 1].
    Hard {
        /// Fraction of the Nyquist frequency.
        fraction: f64,
    },
    /// The same circle with an inner cosine edge: `½ (1 + cos(π (k − c + w)/w))` for c − w < k ≤ c, where c is the radius and
    /// w = `width`/max(dy, dx).
    Cosine {
        /// Fraction of the Nyquist frequency.
        fraction: f64,
        /// Width of the edge in units of 1/max(dy, dx); Nyquist is ½.
        width: f64,
    },
    /// None: every frequency passes; without absorption the intensity is conserved, and high frequencies are aliased.
    Open,
}

/// 2/3 of the Nyquist frequency, sharp.
impl Default for BandLimit {
    fn default() -> Self {
        BandLimit::Hard { fraction: 2.0 / 3.0 }
    }
}

impl BandLimit {
    /// The radius beyond which nothing passes, 1/Å.
    pub(crate) fn radius(&self, grid: &Grid) -> f64 {
        let d = grid.sampling[0].max(grid.sampling[1]).to_angstrom();
        match self {
            BandLimit::Hard { fraction } | BandLimit::Cosine { fraction, .. } => 0.5 * fraction / d,
            BandLimit::Open => f64::INFINITY,
        }
    }

    /// What passes at k, 1/Å.
    pub(crate) fn pass(&self, grid: &Grid, k: f64) -> f64 {
        let d = grid.sampling[0].max(grid.sampling[1]).to_angstrom();
        let c = self.radius(grid);
        match self {
            BandLimit::Cosine { width, .. } if k > c - width / d => {
                0.5 * (1.0 + (std::f64::consts::PI * (k - c + width / d) / (width / d)).cos())
            }
            _ => 1.0,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let good = match self {
            BandLimit::Hard { fraction } => *fraction > 0.0 && *fraction <= 1.0,
            BandLimit::Cosine { fraction, width } => {
                *fraction > 0.0 && *fraction <= 1.0 && *width > 0.0 && *width <= 0.5 * fraction
            }
            BandLimit::Open => true,
        };
        if good {
            Ok(())
        } else {
            Err(Error::param("band_limit", format!("{self:?}"), "a fraction in (0, 1], a width inside it"))
        }
    }
}

/// What a multislice calculation depends on, but for the specimen's potential.
#[derive(Clone, Debug)]
pub struct MultisliceParams {
    /// Beam energy.
    pub energy: Energy,
    /// The pixels of waves and slices.
    pub grid: Grid,
    /// Thickness of each slice: of [`crate::specimen::Potential::thickness`].
    pub thickness: Vec<Length>,
    /// Frequencies that waves and transmissions may have.
    pub band_limit: BandLimit,
    /// Direction of the beam, `[y, x]`, or, with the opposite sign, a mistilt of the crystal; small angles.
    pub tilt: [Angle; 2],
    /// Absorptive part of the potential as a fraction of the real one: `t = exp((i − absorption) σV)`. Energy filtering removes a part of
    /// the electrons; about 0.05 to 0.1 at 100 to 300 keV.
    pub absorption: f64,
    /// What the backward pass of [`crate::multislice::MultisliceFunction`] may remember, bytes: waves after every slice if they fit, else after every
    /// second, third …, never fewer than every √S slices. What is missing is computed again.
    pub tape_bytes: u64,
    /// Constants behind wavelength and interaction parameter; an older adjustment only for comparisons.
    pub constants: Constants,
    /// Threads.
    pub par: Par,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

/// 300 keV, no slices, no tilt, no absorption, 256 MiB of tape.
impl Default for MultisliceParams {
    fn default() -> Self {
        MultisliceParams {
            energy: Energy::kev(300.0),
            grid: Grid::default(),
            thickness: Vec::new(),
            band_limit: BandLimit::default(),
            tilt: [Angle::ZERO; 2],
            absorption: 0.0,
            tape_bytes: 256 << 20,
            constants: Constants::default(),
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

impl MultisliceParams {
    /// Whether everything is in its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.grid.check()?;
        self.band_limit.check()?;
        if self.thickness.is_empty() || self.thickness.len() > 1_000_000 {
            return Err(Error::param("thickness", format!("{} slices", self.thickness.len()), "1 to 10⁶ slices"));
        }
        if let Some(t) = self.thickness.iter().find(|t| !t.is_finite() || t.abs() > Length::mm(1.0)) {
            return Err(Error::param("thickness", t, "slices of finite thickness, at most 1 mm"));
        }
        if let Some(t) = self.tilt.iter().find(|t| !t.is_finite() || t.abs() > Angle::rad(0.5)) {
            return Err(Error::param("tilt", t, "an angle of at most 0.5 rad"));
        }
        if !(self.absorption >= 0.0 && self.absorption <= 10.0) {
            return Err(Error::param("absorption", self.absorption, "0 to 10"));
        }
        Ok(())
    }
}
