//! What `quickstart` and `defocus_study` share: a 4D-STEM scan of a thin UiO-66 crystal along [110], and its true phase.

#![allow(dead_code, reason = "not every example uses all of it")]

use std::sync::Arc;

use exitwave::fft::{Fft2, fft_shift, frequency_index};
use exitwave::metrics::{FrcParams, GaugeParams, Resolution, RingCorrelation, Threshold, compare_phases};
use exitwave::multislice::{Multislice, MultisliceParams};
use exitwave::num_complex::Complex;
use exitwave::observe::{Observer, Step, silent};
use exitwave::optics::{Aberrations, Aperture, Grid, Probe, ProbeParams, interaction_parameter, wavelength};
use exitwave::par::Par;
use exitwave::ptycho::{Positions, grid};
use exitwave::render::{ColorMap, Image, Pixel as PixelSize, Range};
use exitwave::specimen::{Atoms, Parametrization, PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::stem::{
    Boundary, Calibration, DataSet, Icom, IcomParams, LowFrequency, Pass, PassParams, Pixel, ScanSpectrum,
    ScanSpectrumParams, WddParams, wdd,
};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};

use super::Failure;

/// 300 kV, 20 mrad.
pub const ENERGY: Energy = Energy::kev(300.0);
pub const SEMI_ANGLE: Angle = Angle::mrad(20.0);
/// Cells along the beam: 29.3 Å.
pub const DEEP: usize = 2;

/// α/λ: what the aperture lets through, 1.016 1/Å.
pub fn cutoff() -> SpatialFrequency {
    SpatialFrequency::per_angstrom(SEMI_ANGLE.to_rad() / wavelength(ENERGY).to_angstrom())
}

/// The orthogonal cell along [110], 14.6 × 14.6 × 20.7 Å with [001] along x, and the thermal motion of C, O and Zr.
pub fn cell() -> Result<Atoms, Failure> {
    let mut cell = crystals::uio_66().oriented([1, 1, 0], [0, 0, 1])?;
    // Hydrogen moves with its carbon.
    for (symbol, sigma) in [("C", 0.1007), ("H", 0.1007), ("O", 0.0872), ("Zr", 0.0390)] {
        cell = cell.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    Ok(cell)
}

/// How the crystal is sampled and scanned: whole pixels and whole cells, so that everything repeats.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// Edges of a cell, `[y, x]`.
    pub edges: [Length; 2],
    /// Pixels of a cell.
    pub pixels: [usize; 2],
    /// Cells of the probe's window.
    pub window: [usize; 2],
    /// Cells that are scanned.
    pub scanned: [usize; 2],
    /// Pixels from one position to the next.
    pub step: [usize; 2],
    /// The probe's C10; positive where it is focused above the surface.
    pub c10: Length,
}

impl Scan {
    pub fn pixel(&self) -> [Length; 2] {
        [0, 1].map(|i| self.edges[i] / self.pixels[i] as f64)
    }

    /// Pixels of the window.
    pub fn dims(&self) -> [usize; 2] {
        [0, 1].map(|i| self.window[i] * self.pixels[i])
    }

    /// Pixels of the scanned field.
    pub fn field(&self) -> [usize; 2] {
        [0, 1].map(|i| self.scanned[i] * self.pixels[i])
    }

    /// Positions `[y, x]` of the scan.
    pub fn points(&self) -> [usize; 2] {
        [0, 1].map(|i| self.field()[i] / self.step[i])
    }

    pub fn step_length(&self) -> [Length; 2] {
        [0, 1].map(|i| self.pixel()[i] * self.step[i] as f64)
    }

    pub fn grid(&self) -> Grid {
        Grid { dims: self.dims(), sampling: self.pixel() }
    }

    pub fn probe(&self) -> ProbeParams {
        ProbeParams {
            energy: ENERGY,
            aperture: Aperture::Soft { semi_angle: SEMI_ANGLE },
            aberrations: Aberrations::from_defocus(-self.c10),
            grid: self.grid(),
            ..ProbeParams::default()
        }
    }

    /// The probe in the middle of its window, (1, ny, nx).
    pub fn wave(&self) -> Result<Tensor<Complex<f32>>, Failure> {
        let [ny, nx] = self.dims();
        let corner = Probe::<f32>::new(&self.probe())?.real([Length::ZERO; 2])?;
        let mut wave = Tensor::zeros(&[1, ny, nx]);
        fft_shift(&[ny, nx], corner.as_slice(), wave.as_mut_slice());
        Ok(wave)
    }

    /// Where the windows lie on the object that a reconstruction finds. Its pixel at half a window is the scan's first position.
    pub fn positions(&self) -> Result<Positions, Failure> {
        Ok(Positions::new(&grid(self.points(), self.step_length(), Angle::ZERO), self.pixel(), self.dims(), 0)?)
    }

    /// Expected patterns `[scan_y, scan_x, det_y, det_x]`, the direct beam in the middle, each of sum 1 but for what the band limit took:
    /// multislice, averaged over configurations of the thermal motion.
    pub fn simulate(&self, phonons: u64, seed: u64, par: &Par, observe: Observer<'_>) -> Result<Tensor<f32>, Failure> {
        let crystal = cell()?.repeated([self.window[1], self.window[0], DEEP])?;
        let ([ny, nx], [sy, sx]) = (self.dims(), self.points());
        let probe = Probe::<f32>::new(&self.probe())?;
        let at = grid([sy, sx], self.step_length(), Angle::ZERO);
        let n = ny * nx;
        let mut data = Tensor::<f32>::zeros(&[sy, sx, ny, nx]);
        let mut shifted = vec![0.0; n];
        let total = at.len() * phonons as usize;
        for configuration in 0..phonons {
            let potential = PotentialPlan::<f32>::new(
                &crystal.displaced(seed, configuration),
                &PotentialParams {
                    grid: self.grid(),
                    slicing: Slicing::Thickness(Length::angstrom(2.0)),
                    parametrization: Parametrization::Kirkland,
                    par: par.clone(),
                    ..PotentialParams::default()
                },
            )?
            .build()?;
            let params = MultisliceParams {
                energy: ENERGY,
                grid: self.grid(),
                thickness: potential.thickness.clone(),
                par: par.clone(),
                ..MultisliceParams::default()
            };
            let multislice = Multislice::new(&params)?;
            let transmission = multislice.transmission(&potential)?;
            let mut sink = |first: usize, patterns: &[f32]| {
                for (i, pattern) in patterns.chunks(n).enumerate() {
                    fft_shift(&[ny, nx], pattern, &mut shifted);
                    let out = &mut data.as_mut_slice()[(first + i) * n..][..n];
                    out.iter_mut().zip(&shifted).for_each(|(o, &v)| *o += v / phonons as f32);
                }
                Ok(())
            };
            let mut step = |s: &Step| {
                let done = configuration as usize * at.len() + at.len() * s.iteration / s.total;
                observe(&Step::new(done, total, f64::NAN))
            };
            multislice.scan(&transmission, &probe, &at, &mut sink, &mut step)?;
        }
        Ok(data)
    }

    /// The true phase of the scanned field, σ ∫V dz of the thermal average, in radians.
    pub fn truth(&self) -> Result<Vec<f64>, Failure> {
        let crystal = cell()?.repeated([self.scanned[1], self.scanned[0], DEEP])?;
        let grid = Grid { dims: self.field(), sampling: self.pixel() };
        let params = PotentialParams {
            grid,
            slicing: Slicing::Count(1),
            parametrization: Parametrization::Kirkland,
            ..PotentialParams::default()
        };
        let v = PotentialPlan::<f64>::new(&crystal, &params)?.build()?;
        let sigma = interaction_parameter(ENERGY);
        Ok(v.values.as_slice().iter().map(|v| sigma * v).collect())
    }

    /// The data set as `stem` sees it.
    pub fn data_set(&self, data: Arc<Tensor<f32>>) -> Result<DataSet, Failure> {
        let dk = [0, 1].map(|i| 1.0 / (self.pixel()[i] * self.dims()[i] as f64));
        Ok(DataSet::new(data, Calibration::new(self.step_length(), Pixel::Frequency(dk), ENERGY))?)
    }

    /// iCOM, brought to the object's pixels.
    pub fn icom(&self, data: &DataSet, low: LowFrequency, par: &Par) -> Result<Vec<f64>, Failure> {
        let analysis = Pass::new(data, PassParams { par: par.clone(), ..PassParams::default() })?.run(&mut silent)?;
        let params =
            IcomParams { step: self.step_length(), boundary: Boundary::Periodic, low, ..IcomParams::default() };
        let phase = Icom::new(self.points(), params)?.run(&analysis.com)?.phase;
        self.resampled(phase.as_slice())
    }

    /// An image of the scan's points on the object's pixels.
    pub fn resampled(&self, image: &[f64]) -> Result<Vec<f64>, Failure> {
        Ok(exitwave::fft::fourier_resample(image, self.points(), self.field())?)
    }

    /// The phase of an object that ptychography found, in the scanned field; its branch begins a quarter turn below the mean of the
    /// field.
    pub fn phase(&self, object: &Tensor<Complex<f32>>) -> Vec<f64> {
        let ([ny, nx], [fy, fx], width) = (self.dims(), self.field(), object.dims()[1]);
        let field = |i: usize| object.as_slice()[(ny / 2 + i / fx) * width + nx / 2 + i % fx];
        let mean: Complex<f64> =
            (0..fy * fx).map(field).map(|z| Complex::new(f64::from(z.re), f64::from(z.im))).sum::<Complex<f64>>();
        let turn = (mean.conj() / mean.norm()) * Complex::from_polar(1.0, -std::f64::consts::FRAC_PI_2);
        (0..fy * fx)
            .map(field)
            .map(|z| (Complex::new(f64::from(z.re), f64::from(z.im)) * turn).arg() + std::f64::consts::FRAC_PI_2)
            .collect()
    }

    /// A periodic image of the field without what is beyond `limit`.
    pub fn low_pass(&self, image: &[f64], limit: SpatialFrequency) -> Result<Vec<f64>, Failure> {
        let [ny, nx] = self.field();
        let extent = [0, 1].map(|i| (self.edges[i] * self.scanned[i] as f64).to_angstrom());
        let fft = Fft2::<f64>::new([ny, nx])?;
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        let mut z: Vec<Complex<f64>> = image.iter().map(|&v| Complex::new(v, 0.0)).collect();
        fft.forward(&mut z, &mut scratch);
        for (i, z) in z.iter_mut().enumerate() {
            let ky = frequency_index(i / nx, ny) as f64 / extent[0];
            let kx = frequency_index(i % nx, nx) as f64 / extent[1];
            if ky.hypot(kx) > limit.to_per_angstrom() {
                *z = Complex::default();
            }
        }
        fft.inverse(&mut z, &mut scratch);
        Ok(z.iter().map(|z| z.re).collect())
    }

    /// Wigner deconvolution, brought to the object's pixels: from the detector up to 1.3 α.
    pub fn wdd(&self, data: &DataSet, par: &Par) -> Result<Vec<f64>, Failure> {
        let (shape, [sy, sx]) = (data.detector(), self.points());
        let range = [0, 1].map(|i| {
            let extent = (self.pixel()[i] * shape[i] as f64).to_angstrom();
            let half = ((1.3 * cutoff().to_per_angstrom() * extent).ceil() as usize).min(shape[i] / 2);
            shape[i] / 2 - half..shape[i] / 2 + half
        });
        let [y, x] = range;
        let data = data.cropped([0..sy, 0..sx, y, x])?;
        let spectrum =
            ScanSpectrum::new(&data, &ScanSpectrumParams { par: par.clone(), ..Default::default() }, &mut silent)?;
        let aberrations = Aberrations::from_defocus(-self.c10);
        let found = wdd(&spectrum, &WddParams { semi_angle: SEMI_ANGLE, aberrations, ..Default::default() })?;
        self.resampled(found.phase.as_slice())
    }

    /// A picture of the field with square pixels.
    pub fn picture(&self, phase: &[f64], title: String) -> Result<Image, Failure> {
        let wide = [0, 1].map(|i| (self.edges[i].to_angstrom() * self.scanned[i] as f64 / 0.085).round() as usize);
        let fine = exitwave::fft::fourier_resample(phase, self.field(), wide)?;
        let mut image = Image::real(&wide, &fine)?;
        (image.title, image.map, image.range) = (title, ColorMap::Grey, Range::Percentile { low: 0.5, high: 99.8 });
        image.pixel = PixelSize::Length(Length::angstrom(0.085));
        Ok(image)
    }

    /// How a phase of the field agrees with the truth.
    pub fn score(&self, truth: &[f64], phase: &[f64]) -> Result<Score, Failure> {
        let dims = self.field();
        let compare = |limit| -> Result<(f64, Vec<f64>), Failure> {
            let (t, p) = (self.low_pass(truth, limit)?, self.low_pass(phase, limit)?);
            let c = compare_phases(&t, &p, dims, None, &GaugeParams::default())?;
            Ok((c.correlation, c.aligned))
        };
        let ((correlation, image), (wide, _)) = (compare(cutoff())?, compare(cutoff() * 2.0)?);
        let params = FrcParams { pixel: self.pixel(), ..FrcParams::default() };
        let curve = RingCorrelation::new(dims, params)?.real(truth, phase)?;
        let frc = match curve.resolution(Threshold::Half) {
            Resolution::At(d) | Resolution::BetterThan(d) => Some(d.to_angstrom()),
            Resolution::NotReached => None,
        };
        let k = curve.frequency.iter().map(|k| k.to_per_angstrom()).collect();
        Ok(Score { frc, correlation, wide, curve: (k, curve.correlation), image })
    }
}

/// What a phase image is worth.
#[derive(Clone, Debug)]
pub struct Score {
    /// FRC resolution at ½ in Å, where any ring reaches it.
    pub frc: Option<f64>,
    /// Correlation with the truth, both band-limited to α/λ, a plane removed.
    pub correlation: f64,
    /// The same, band-limited to 2α/λ.
    pub wide: f64,
    /// Frequencies and the FRC.
    pub curve: (Vec<f64>, Vec<f64>),
    /// The band-limited phase without its plane.
    pub image: Vec<f64>,
}

impl Score {
    pub fn text(&self) -> String {
        self.frc.map_or("not resolved".into(), |d| format!("{d:.2} Å"))
    }
}
