//! A framework crystal in the microscope: a turned, drifting lattice with an edge, in frames that hold a few hundredths of an electron a pixel.

use exitwave::detect::{Camera, CameraParams, Fractionation, Transfer, fractionate};
use exitwave::fft::fourier_resample;
use exitwave::hrtem::{FocalImage, FocalSeries, FocalSeriesParams};
use exitwave::multislice::{Multislice, MultisliceParams};
use exitwave::optics::{Aberrations, Aperture, CtfParams, FocalSpread, Grid, SourceAngle, interaction_parameter};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::specimen::{Atoms, PotentialParams, PotentialPlan, Slicing};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};

use super::support::Failure;

pub const ENERGY: Energy = Energy::kev(300.0);
/// Å a pixel.
pub const PIXEL: f64 = 0.5;
/// Pixels around the frame that drift may bring in.
const MARGIN: usize = 44;

/// What is simulated.
pub struct Scene {
    /// An orthogonal cell with the beam along z.
    pub cell: Atoms,
    /// Cells along the beam.
    pub deep: usize,
    /// Sides of a frame.
    pub pixels: usize,
    pub frames: usize,
    /// Electrons per Å² in all frames together.
    pub dose: f64,
    pub defocus: Length,
    /// Direction of the lattice.
    pub angle: Angle,
    pub seed: u64,
}

/// What the camera saw, and what is true.
pub struct Exposure {
    /// Electrons (frames, ny, nx).
    pub frames: Tensor<f32>,
    /// Displacement of the content of each frame, pixels.
    pub drift: Vec<[f64; 2]>,
    /// The projected potential's phase, rad, where it lies in frame 0 (ny, nx).
    pub truth: Tensor<f64>,
    /// The image without noise in frame 0, mean 1.
    pub image: Tensor<f64>,
}

/// The lens, but for its defocus.
pub fn lens(defocus: Length) -> CtfParams {
    let mut aberrations = Aberrations::from_defocus(defocus);
    aberrations.set_cs(Length::mm(1.2));
    CtfParams {
        energy: ENERGY,
        aberrations,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(14.0) },
        focal_spread: FocalSpread::rms(Length::nm(3.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.1)),
        ..CtfParams::default()
    }
}

/// A counting camera at 300 kV.
pub fn camera(par: &Par) -> CameraParams {
    CameraParams {
        mtf: Transfer::Measured(vec![(0.0, 1.0), (0.25, 0.96), (0.5, 0.87), (0.75, 0.74), (1.0, 0.58)]),
        dqe0: 0.85,
        par: par.clone(),
        ..CameraParams::default()
    }
}

/// A picture of one cell that is repeated without end: [`Tile::at`] for points in Å.
struct Tile {
    edges: [f64; 2],
    dims: [usize; 2],
    values: Vec<f64>,
}

impl Tile {
    /// Fourier interpolation to 0.1 Å; between these points linearly.
    fn new(edges: [f64; 2], dims: [usize; 2], values: &[f64]) -> Result<Self, Failure> {
        let fine = edges.map(|e| (e / 0.1).ceil() as usize);
        let fine = [0, 1].map(|a| fine[a].max(dims[a]));
        Ok(Tile { edges, dims: fine, values: fourier_resample(values, dims, fine)? })
    }

    fn at(&self, r: [f64; 2]) -> f64 {
        let [(y, fy), (x, fx)] = [0, 1].map(|a| {
            let u = (r[a] / self.edges[a]).rem_euclid(1.0) * self.dims[a] as f64;
            (u as usize % self.dims[a], u.fract())
        });
        let (y1, x1) = ((y + 1) % self.dims[0], (x + 1) % self.dims[1]);
        let v = |y: usize, x: usize| self.values[y * self.dims[1] + x];
        (v(y, x) * (1.0 - fx) + v(y, x1) * fx) * (1.0 - fy) + (v(y1, x) * (1.0 - fx) + v(y1, x1) * fx) * fy
    }
}

impl Scene {
    /// The image of one cell, mean 1, and its projected potential as a phase, both on pixels of about a quarter of an Å.
    fn tiles(&self, par: &Par) -> Result<[Tile; 2], Failure> {
        let [_, y, x] = self.cell.edges()?.map(|e| e.to_angstrom());
        let dims = [y, x].map(|e| 4 * (e / 1.0).ceil() as usize);
        let grid = Grid { dims, sampling: [0, 1].map(|a| Length::angstrom([y, x][a] / dims[a] as f64)) };
        let crystal = self.cell.repeated([1, 1, self.deep])?;
        let potential = |slicing| PotentialParams { grid, slicing, par: par.clone(), ..PotentialParams::default() };
        let v = PotentialPlan::<f32>::new(&crystal, &potential(Slicing::Thickness(Length::angstrom(3.0))))?.build()?;
        let multislice = Multislice::new(&MultisliceParams {
            energy: ENERGY,
            grid,
            thickness: v.thickness.clone(),
            par: par.clone(),
            ..MultisliceParams::default()
        })?;
        let wave = multislice.exit_waves(&multislice.transmission(&v)?, &multislice.plane_waves(1)?)?;
        let ctf = lens(self.defocus);
        let series = FocalSeries::<f32>::new(&FocalSeriesParams {
            energy: ENERGY,
            grid,
            images: vec![FocalImage { lens: ctf.aberrations, ..FocalImage::default() }],
            aperture: ctf.aperture,
            focal_spread: ctf.focal_spread,
            source_angle: ctf.source_angle,
            par: par.clone(),
            ..FocalSeriesParams::default()
        })?;
        let image: Vec<f64> = series.images(wave.as_slice())?.as_slice().iter().map(|&v| f64::from(v)).collect();
        let mean = image.iter().sum::<f64>() / image.len() as f64;
        let image: Vec<f64> = image.iter().map(|v| v / mean).collect();
        let sigma = interaction_parameter(ENERGY);
        let mut phase = vec![0.0; grid.len()];
        for slice in v.values.as_slice().chunks(grid.len()) {
            phase.iter_mut().zip(slice).for_each(|(p, &v)| *p += sigma * f64::from(v));
        }
        Ok([Tile::new([y, x], dims, &image)?, Tile::new([y, x], dims, &phase)?])
    }

    /// Drift: a curve to some 25 pixels, jitter, and two jumps.
    fn drift(&self) -> Vec<[f64; 2]> {
        let mut r = rng::stream(self.seed, 11);
        let n = self.frames as f64;
        let path = |f: usize| {
            let t = f as f64 / n;
            let jump = if t > 0.72 {
                [2.0, 6.5]
            } else if t > 0.35 {
                [-5.0, 3.0]
            } else {
                [0.0, 0.0]
            };
            [22.0 * t * t + jump[0], 14.0 * t - 9.0 * t * t + jump[1]]
        };
        (0..self.frames).map(|f| path(f).map(|d| d + 0.3 * rng::normal(&mut r))).collect()
    }

    /// The exposure.
    pub fn expose(&self, par: &Par) -> Result<Exposure, Failure> {
        let [image, phase] = self.tiles(par)?;
        let (sin, cos) = self.angle.to_rad().sin_cos();
        let side = self.pixels + 2 * MARGIN;
        // The crystal ends along a line near the left side; beyond is vacuum.
        let edge = |y: f64, x: f64| 0.5 + 0.5 * ((x - 0.15 * (y - 0.5 * side as f64) - 0.2 * side as f64) / 3.0).tanh();
        let canvas = |tile: &Tile, outside: f64| {
            let mut out = Tensor::<f64>::zeros(&[side, side]);
            par.chunks(out.as_mut_slice(), side, |y, row| {
                for (x, v) in row.iter_mut().enumerate() {
                    let (u, w) = (PIXEL * y as f64, PIXEL * x as f64);
                    let inside = edge(y as f64, x as f64);
                    *v = outside + inside * (tile.at([cos * u - sin * w, sin * u + cos * w]) - outside);
                }
            });
            out
        };
        let (image, phase) = (canvas(&image, 1.0), canvas(&phase, 0.0));
        let drift = self.drift();
        let n = self.pixels;
        let shown = |whole: &Tensor<f64>, d: [f64; 2], share: f64| -> Result<Vec<f64>, Failure> {
            let moved = fractionate(whole, &Fractionation { drift: vec![d], dose: vec![share] })?;
            let row = |y: usize| moved.as_slice()[(y + MARGIN) * side + MARGIN..][..n].to_vec();
            Ok((0..n).flat_map(row).collect())
        };
        let camera = Camera::<f32>::new([n, n], &camera(par))?;
        let electrons = self.dose * PIXEL * PIXEL / self.frames as f64;
        let mut frames = Vec::with_capacity(self.frames * n * n);
        for (f, d) in drift.iter().enumerate() {
            let expected = shown(&image, *d, electrons)?.iter().map(|&v| v as f32).collect();
            let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(f as u64);
            frames.extend(camera.record(&Tensor::from_vec(&[1, n, n], expected)?, seed)?.into_vec());
        }
        Ok(Exposure {
            frames: Tensor::from_vec(&[self.frames, n, n], frames)?,
            truth: Tensor::from_vec(&[n, n], shown(&phase, drift[0], 1.0)?)?,
            image: Tensor::from_vec(&[n, n], shown(&image, drift[0], 1.0)?)?,
            drift,
        })
    }
}
