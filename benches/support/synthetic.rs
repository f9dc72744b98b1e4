//! The data set that ptychography is timed on: a 4D-STEM scan of a random phase object.
//!
//! 80 kV, 21.4 mrad, C10 = +80 Å; windows of 25.6 Å; scan step 0.5 Å. With 128 pixels a side that is what the peers'
//! scripts make.

use exitwave::Error;
use exitwave::fft::{Direction, Fft2, frequencies};
use exitwave::num_complex::Complex;
use exitwave::optics::{Aberrations, Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::ptycho::{Positions, ZeroFrequency, grid, simulate};
use exitwave::rng;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};

/// Distance of neighbouring scan positions, Å.
const STEP: f64 = 0.5;
/// Side of a window, Å.
const WINDOW: f64 = 25.6;
/// Standard deviation of the object's phase, rad, and of its spectrum, cycles a pixel.
const PHASE: f64 = 0.3;
const BANDWIDTH: f64 = 0.08;

/// Object, probe and positions of a scan.
pub struct Scan {
    /// The true transmission (height, width), |O| = 1.
    pub object: Tensor<Complex<f32>>,
    /// The true probe (1, n, n), in the middle of the window, Σ|F P|² = 1.
    pub probe: Tensor<Complex<f32>>,
    /// Where the windows lie, in object pixels; the fractions are ½ at every other position.
    pub positions: Positions,
}

impl Scan {
    /// A scan of `scan` × `scan` positions with a detector of `detector` × `detector` pixels.
    pub fn new(scan: usize, detector: usize) -> Result<Scan, Error> {
        let pixel = Length::angstrom(WINDOW / detector as f64);
        let raster = grid([scan, scan], [Length::angstrom(STEP); 2], Angle::ZERO);
        let positions = Positions::new(&raster, [pixel; 2], [detector; 2], 2)?;
        let probe = Probe::<f32>::new(&ProbeParams {
            energy: Energy::kev(80.0),
            aperture: Aperture::Hard { semi_angle: Angle::mrad(21.4) },
            aberrations: Aberrations::from_defocus(Length::angstrom(-80.0)),
            grid: Grid { dims: [detector; 2], sampling: [pixel; 2] },
            ..ProbeParams::default()
        })?;
        let probe = probe.real([Length::angstrom(WINDOW / 2.0); 2])?.reshape(&[1, detector, detector])?;
        Ok(Scan { object: phase_object(positions.object)?, probe, positions })
    }

    /// The patterns (positions, n, n), zero frequency in the middle, written frame by frame into one tensor.
    pub fn patterns(&self, par: &Par) -> Result<Tensor<f32>, Error> {
        simulate(&self.object, &self.probe, &self.positions, ZeroFrequency::Center, par)
    }
}

/// `e^{iφ}` with φ = white noise under a Gaussian band limit.
fn phase_object([height, width]: [usize; 2]) -> Result<Tensor<Complex<f32>>, Error> {
    let mut r = rng::stream(1, 0);
    let mut phase: Vec<_> = (0..height * width).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
    let fft = Fft2::<f64>::new([height, width])?;
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.transform(&mut phase, Direction::Forward, 1.0, &mut scratch);
    let (f_y, f_x) = (frequencies(height, 1.0), frequencies(width, 1.0));
    for (row, f_y) in phase.chunks_mut(width).zip(&f_y) {
        for (z, f_x) in row.iter_mut().zip(&f_x) {
            *z *= (-(f_y * f_y + f_x * f_x) / (2.0 * BANDWIDTH * BANDWIDTH)).exp();
        }
    }
    fft.inverse(&mut phase, &mut scratch);
    let mean_square = phase.iter().map(|z| z.re * z.re).sum::<f64>() / phase.len() as f64;
    let scale = PHASE / mean_square.sqrt();
    let object = phase.iter().map(|z| Complex::from_polar(1.0, (scale * z.re) as f32)).collect();
    Tensor::from_vec(&[height, width], object)
}
