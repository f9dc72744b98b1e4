//! A focal series of SrTiO₃ [001] with shifts and foci that are not the nominal ones.

#![allow(dead_code, reason = "not every user needs all of it")]

use exitwave::detect::count;
use exitwave::error::Error;
use exitwave::fft::{Fft2, FourierCrop};
use exitwave::hrtem::{FocalImage, FocalSeries, FocalSeriesParams};
use exitwave::multislice::{Multislice, MultisliceParams};
use exitwave::num_complex::Complex;
use exitwave::op::Write;
use exitwave::optics::{Aberrations, Aperture, FocalSpread, Grid, SourceAngle, wavelength};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::specimen::{Atoms, PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length, SpatialFrequency};

/// Edge of the cubic cell, Å.
pub const A: f64 = 3.905;
pub const ENERGY: Energy = Energy::kev(300.0);

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Cells along each axis of the field.
    pub cells: usize,
    /// Pixels of the field.
    pub pixels: usize,
    /// Cells along the beam.
    pub deep: usize,
    /// Images.
    pub images: usize,
    /// Nominal change of focus from image to image, Å.
    pub step: f64,
    /// Standard deviation of each focus, Å.
    pub focus_error: f64,
    /// Standard deviation of each shift along each axis, pixels, and a drift from image to image.
    pub shift: f64,
    pub drift: [f64; 2],
    /// Electrons per Å² in each image; 0: expected intensities.
    pub dose: f64,
    /// Whether columns are missing, so that the field is no perfect crystal.
    pub defect: bool,
    pub seed: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Scene {
            cells: 8,
            pixels: 144,
            deep: 8,
            images: 12,
            step: 50.0,
            focus_error: 25.0,
            shift: 3.0,
            drift: [0.7, -0.4],
            dose: 200.0,
            defect: false,
            seed: 1,
        }
    }
}

/// The nominal series, what is true, and what was counted.
pub struct Series {
    pub nominal: FocalSeriesParams,
    pub truth: Vec<FocalImage>,
    pub wave: Vec<Complex<f64>>,
    pub counts: Tensor<f64>,
}

/// α/λ.
pub fn cutoff() -> SpatialFrequency {
    SpatialFrequency::per_angstrom(0.022 / wavelength(ENERGY).to_angstrom())
}

impl Scene {
    fn crystal(&self) -> Result<Atoms, Error> {
        let mut crystal = crystals::strontium_titanate().repeated([self.cells, self.cells, self.deep])?;
        for (symbol, sigma) in [("Sr", 0.0887), ("Ti", 0.0746), ("O", 0.0947)] {
            crystal = crystal.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
        }
        if self.defect {
            // A strontium column and a titanium column are half empty.
            let middle = (self.cells / 2) as f64 * A;
            let depth = 0.5 * self.deep as f64 * A;
            crystal = crystal.filtered(|a| {
                let [z, y, x] = a.position;
                let at = |u: f64, v: f64| (y - u).hypot(x - v) < 0.5 && a.species.symbol() != "O";
                !(z < depth && (at(middle, middle) || at(middle - 1.5 * A, middle + 1.5 * A)))
            });
        }
        Ok(crystal)
    }

    /// The exit wave on the field's pixels, by multislice on twice as many.
    pub fn wave(&self, par: &Par) -> Result<Vec<Complex<f64>>, Error> {
        let n = 2 * self.pixels;
        let grid = Grid { dims: [n; 2], sampling: [Length::angstrom(self.cells as f64 * A / n as f64); 2] };
        let slicing = Slicing::Thickness(Length::angstrom(A / 2.0));
        let params = PotentialParams { grid, slicing, par: par.clone(), ..PotentialParams::default() };
        let v = PotentialPlan::<f64>::new(&self.crystal()?, &params)?.build()?;
        let multislice = Multislice::new(&MultisliceParams {
            energy: ENERGY,
            grid,
            thickness: v.thickness.clone(),
            par: par.clone(),
            ..MultisliceParams::default()
        })?;
        let fine = multislice.exit_waves(&multislice.transmission(&v)?, &multislice.plane_waves(1)?)?;
        let (small, big) = (Fft2::<f64>::new([self.pixels; 2])?, Fft2::<f64>::new([n; 2])?);
        let mut spectrum = fine.into_vec();
        big.forward(&mut spectrum, &mut vec![Complex::default(); big.scratch_len()]);
        let mut wave = vec![Complex::default(); small.len()];
        FourierCrop::new([n; 2], [self.pixels; 2])?.forward(&spectrum, &mut wave, Write::Set);
        small.inverse(&mut wave, &mut vec![Complex::default(); small.scratch_len()]);
        wave.iter_mut().for_each(|z| *z *= 0.25);
        Ok(wave)
    }

    /// The series.
    pub fn series(&self, par: &Par) -> Result<Series, Error> {
        let wave = self.wave(par)?;
        let pixel = Length::angstrom(self.cells as f64 * A / self.pixels as f64);
        let mut lens = Aberrations::default();
        lens.set_cs(Length::um(10.0));
        let focus = |k: usize| Length::angstrom(self.step * (k as f64 - 0.5 * (self.images - 1) as f64));
        let foci: Vec<_> = (0..self.images).map(focus).collect();
        let nominal = FocalSeriesParams {
            energy: ENERGY,
            grid: Grid { dims: [self.pixels; 2], sampling: [pixel; 2] },
            images: FocalImage::series(&foci, &lens),
            aperture: Aperture::Soft { semi_angle: Angle::mrad(22.0) },
            focal_spread: FocalSpread::rms(Length::angstrom(20.0)),
            source_angle: SourceAngle::rms(Angle::mrad(0.1)),
            par: par.clone(),
            ..FocalSeriesParams::default()
        };
        let mut r = rng::stream(self.seed, 1);
        let mut truth = nominal.images.clone();
        for (k, image) in truth.iter_mut().enumerate() {
            let [f, y, x] = std::array::from_fn(|_| rng::normal(&mut r));
            image.lens.set_defocus(image.defocus() + Length::angstrom(self.focus_error * f));
            image.shift = [0, 1].map(|a| pixel * (self.drift[a] * k as f64 + self.shift * [y, x][a]));
        }
        let mut counts =
            FocalSeries::new(&FocalSeriesParams { images: truth.clone(), ..nominal.clone() })?.images(&wave)?;
        if self.dose > 0.0 {
            count(&mut counts, Dose::per_angstrom2(self.dose) * (pixel * pixel), self.seed, par)?;
        }
        Ok(Series { nominal, truth, wave, counts })
    }
}

/// The lattice of the projection, for shifts.
pub fn lattice() -> [[Length; 2]; 2] {
    let (a, o) = (Length::angstrom(A), Length::ZERO);
    [[a, o], [o, a]]
}
