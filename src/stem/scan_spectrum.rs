//! Diffraction patterns, transformed along the scan: what all direct phase retrieval starts from.

use std::f64::consts::PI;

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft2, frequencies};
use crate::observe::{Observer, Step};
use crate::optics::{Aberrations, Aperture, Chi, wavelength};
use crate::par::Par;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::stem::{DataSet, Orientation};
use crate::units::Angle;

/// Values of a frame that are read at once, at most.
const READ: usize = 1 << 20;

/// How the scan goes on beyond its border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// It repeats: right for a periodic specimen, and where the probe is narrow.
    #[default]
    Periodic,
    /// Every pixel's image is surrounded by its mean, to which the outermost positions go over by sin². Results are
    /// larger by the padding on each side.
    Blended {
        /// Positions that are added on each side.
        padding: usize,
        /// Positions inside each side over which the image goes over.
        blend: usize,
    },
}

/// Parameters of [`ScanSpectrum`].
#[derive(Clone, Debug, Default)]
pub struct ScanSpectrumParams {
    /// How the scan goes on beyond its border.
    pub border: Border,
    /// Detector pixels whose centre is within this angle; `None` for the whole detector.
    pub reach: Option<Angle>,
    /// Threads.
    pub par: Par,
    /// Memory.
    pub limits: Limits,
}

/// G(K, Q), the Fourier transform of every detector pixel's image along the scan:
///
/// ```text
/// G(K, Q) = 1/(N I₀) Σ_R I(K, R) e^{−2πi Q·R},      I₀ = (1/N) Σ_R Σ_K I(K, R)
/// ```
///
/// over N positions R; I₀ is the mean sum of a pattern, so that G belongs to a probe of unit intensity.
///
/// For a probe P(r − R) with transform A(k) = a(k) e^{−iχ(k)}, Σ |A|² = 1, and an object with the transform Õ(Q) per
/// position,
///
/// ```text
/// G(K, Q) = Σ_L Õ(L + Q) Õ*(L) · A(K − L − Q) A*(K − L)
/// ```
///
/// and for a weak phase object, Õ(Q) = δ(Q) + i φ̃(Q),
///
/// ```text
/// G(K, Q) = |A(K)|² δ(Q) + i φ̃(Q) Γ(K, Q),      Γ(K, Q) = A*(K) A(K − Q) − A(K) A*(K + Q)
/// ```
///
/// # Shapes
/// One spectrum `[scan_y, scan_x]` a detector pixel, zero frequency at index 0.
///
/// # Units
/// K, Q in 1/Å along the axes of the scan.
///
/// # References
/// J. M. Rodenburg, B. C. McCallum, P. D. Nellist, Ultramicroscopy 48, 304 (1993), eqs. (5)–(9).
#[derive(Clone, Debug)]
pub struct ScanSpectrum {
    scan: [usize; 2],
    detector: [usize; 2],
    lambda: f64,
    step: [f64; 2],
    pixel: [f64; 2],
    q: [Vec<f64>; 2],
    pixels: Vec<usize>,
    k: Vec<[f64; 2]>,
    values: Vec<Complex<f32>>,
    electrons: f64,
    positions: usize,
    orientation: Orientation,
    par: Par,
}

impl ScanSpectrum {
    /// Reads the data once and transforms it. The observer sees positions that were read; a break is an error here,
    /// because half a spectrum is none.
    ///
    /// # Errors
    /// - [`Error::OverBudget`] when the spectra, 8 bytes a position and pixel, and one block of frames exceed the limits,
    /// - [`Error::Param`] when no pixel is within reach,
    /// - [`Error::Data`] for a count that is negative or not finite, for data that are all zero, and when cancelled,
    /// - whatever reading gives.
    pub fn new(data: &DataSet, params: &ScanSpectrumParams, observe: Observer<'_>) -> Result<Self, Error> {
        let (calibration, detector, centre) = (data.calibration(), data.detector(), data.centre());
        let pixel = calibration.pixel_frequency().map(|k| k.to_per_angstrom());
        let lambda = wavelength(calibration.energy).to_angstrom();
        let reach = params.reach.map_or(f64::INFINITY, |a| a.to_rad() / lambda);
        let at = |i: usize| {
            let [y, x] = [i / detector[1], i % detector[1]];
            [(y as f64 - centre[0]) * pixel[0], (x as f64 - centre[1]) * pixel[1]]
        };
        let pixels: Vec<usize> = (0..data.frame_len()).filter(|&i| at(i)[0].hypot(at(i)[1]) <= reach).collect();
        if pixels.is_empty() {
            return Err(Error::param("reach", format!("{:?}", params.reach), "an angle that reaches a detector pixel"));
        }
        let (inside, frames_in, frame) = (data.scan(), data.frames(), data.frame_len());
        let (padding, blend) = match params.border {
            Border::Periodic => (0, 0),
            Border::Blended { padding, blend } => (padding, blend),
        };
        if 2 * blend > inside[0].min(inside[1]) || padding > 1 << 16 {
            let got = format!("{:?}", params.border);
            return Err(Error::param("border", got, "a blend of at most half the scan, a padding of at most 65536"));
        }
        let scan = inside.map(|n| n + 2 * padding);
        let n = checked_len(&scan)?;
        let block = (READ / frame).clamp(1, frames_in);
        let needed =
            (n as u64).saturating_mul(pixels.len() as u64).saturating_mul(8).saturating_add(4 * (block * frame) as u64);
        params.limits.check(needed.saturating_add(data.view_bytes()))?;

        // Images of the pixels, as real parts.
        let mut values: Vec<Complex<f32>> = try_zeroed(n * pixels.len())?;
        let mut frames: Vec<f32> = try_zeroed(block * frame)?;
        let mut total = 0.0;
        for first in (0..frames_in).step_by(block) {
            let m = block.min(frames_in - first);
            let part = &mut frames[..m * frame];
            data.source().read_frames(first, part)?;
            if let Some(i) = part.iter().position(|v| !(*v >= 0.0 && v.is_finite())) {
                return Err(Error::Data { what: format!("count of {}", part[i]), index: first * frame + i });
            }
            total += part.chunks(frame).map(|f| f.iter().map(|&v| f64::from(v)).sum::<f64>()).sum::<f64>();
            params.par.chunks(&mut values, n, |p, image| {
                for (i, pattern) in part.chunks(frame).enumerate() {
                    let [y, x] = [(first + i) / inside[1], (first + i) % inside[1]];
                    image[(y + padding) * scan[1] + x + padding].re = pattern[pixels[p]];
                }
            });
            if observe(&Step::new(first + m, frames_in, f64::NAN)).is_break() {
                return Err(Error::Data { what: "cancelled while the data were read".into(), index: first * frame });
            }
        }
        if total <= 0.0 {
            return Err(Error::Data { what: "no counts at all".into(), index: 0 });
        }

        if params.border != Border::Periodic {
            let edge = |i: usize, n: usize| {
                let from_edge = i.min(n - 1 - i);
                if from_edge < blend { (PI / 2.0 * (from_edge as f64 + 0.5) / blend as f64).sin().powi(2) } else { 1.0 }
            };
            params.par.chunks(&mut values, n, |_, image| {
                let mean = image.iter().map(|z| f64::from(z.re)).sum::<f64>() / frames_in as f64;
                for (i, z) in image.iter_mut().enumerate() {
                    let [y, x] = [i / scan[1], i % scan[1]].map(|i| i.wrapping_sub(padding));
                    let w = if y < inside[0] && x < inside[1] { edge(y, inside[0]) * edge(x, inside[1]) } else { 0.0 };
                    z.re = (mean + w * (f64::from(z.re) - mean)) as f32;
                }
            });
        }

        let fft = Fft2::<f32>::new(scan)?;
        let scale = (frames_in as f64 / (total * n as f64)) as f32;
        let mut scratch = vec![vec![Complex::default(); fft.scratch_len()]; params.par.count()];
        params.par.chunks_with(&mut values, n, &mut scratch, |_, image, s| {
            fft.transform(image, Direction::Forward, scale, s);
        });
        let step = calibration.step.map(|s| s.to_angstrom());
        Ok(ScanSpectrum {
            q: std::array::from_fn(|a| frequencies(scan[a], step[a])),
            k: pixels.iter().map(|&i| calibration.orientation.to_scan(at(i))).collect(),
            electrons: total / frames_in as f64,
            positions: frames_in,
            orientation: calibration.orientation,
            par: params.par.clone(),
            scan,
            detector,
            lambda,
            step,
            pixel,
            pixels,
            values,
        })
    }

    /// `[scan_y, scan_x]`, with the padding.
    pub fn scan(&self) -> [usize; 2] {
        self.scan
    }

    /// `[det_y, det_x]`.
    pub fn detector(&self) -> [usize; 2] {
        self.detector
    }

    /// The detector pixels, as flat indices.
    pub fn pixels(&self) -> &[usize] {
        &self.pixels
    }

    /// K of every pixel, `[y, x]`, 1/Å.
    pub fn k(&self) -> &[[f64; 2]] {
        &self.k
    }

    /// Q of a spectrum's flat index, `[y, x]`, 1/Å.
    pub fn q(&self, index: usize) -> [f64; 2] {
        [self.q[0][index / self.scan[1]], self.q[1][index % self.scan[1]]]
    }

    /// The spectrum of one pixel, `[scan_y, scan_x]`.
    pub fn spectrum(&self, pixel: usize) -> &[Complex<f32>] {
        let n = self.scan[0] * self.scan[1];
        &self.values[pixel * n..(pixel + 1) * n]
    }

    /// The mean sum of a pattern, I₀, over the whole detector: electrons a position, if the data are electrons.
    pub fn electrons(&self) -> f64 {
        self.electrons
    }

    /// The mean of a pixel's image as a part of I₀: the pattern of a probe of unit intensity.
    pub fn mean(&self, pixel: usize) -> f64 {
        f64::from(self.spectrum(pixel)[0].re)
    }

    /// Electrons by which a variance |A|² must be divided to be that of G: N n without padding.
    pub(crate) fn counts(&self) -> f64 {
        let n = (self.scan[0] * self.scan[1]) as f64;
        self.electrons * n * n / self.positions as f64
    }

    /// The scan step `[y, x]`, Å.
    pub(crate) fn step(&self) -> [f64; 2] {
        self.step
    }

    /// The wavelength, Å.
    pub(crate) fn lambda(&self) -> f64 {
        self.lambda
    }

    /// A frequency along the scan's axes, in pixels of the detector.
    pub(crate) fn to_detector(&self, q: [f64; 2]) -> [f64; 2] {
        let d = self.orientation.to_detector(q);
        [d[0] / self.pixel[0], d[1] / self.pixel[1]]
    }

    pub(crate) fn par(&self) -> &Par {
        &self.par
    }

    /// A(K) of these aberrations behind a round aperture, of unit intensity on this detector.
    pub(crate) fn wave(&self, semi_angle: Angle, aberrations: &Aberrations) -> Result<Wave, Error> {
        let aperture = Aperture::Soft { semi_angle };
        aperture.check()?;
        let chi = Chi::new(crate::units::Length::angstrom(self.lambda), aberrations)?;
        let mut wave = Wave { aperture, chi, pixel: self.pixel.map(|p| p * self.lambda), scale: 1.0 };
        let sum: f64 = self.k.iter().map(|&k| wave.at(k).norm_sqr()).sum();
        if sum <= 0.0 {
            return Err(Error::param("semi_angle", semi_angle, "an aperture that reaches a detector pixel"));
        }
        wave.scale = 1.0 / sum.sqrt();
        Ok(wave)
    }
}

/// A(k) = a(k) e^{−iχ(k)}.
#[derive(Clone, Debug)]
pub(crate) struct Wave {
    aperture: Aperture,
    pub chi: Chi,
    pixel: [f64; 2],
    scale: f64,
}

impl Wave {
    /// A at k, 1/Å.
    pub fn at(&self, k: [f64; 2]) -> Complex<f64> {
        let a = self.aperture.transmission(k.map(|k| k * self.chi.lambda()), self.pixel);
        if a == 0.0 { Complex::default() } else { Complex::from_polar(a * self.scale, -self.chi.value(k)) }
    }

    /// A at every pixel of the detector: `a` of the methods below is one of them.
    pub fn at_all(&self, k: &[[f64; 2]]) -> Vec<Complex<f64>> {
        k.iter().map(|&k| self.at(k)).collect()
    }

    /// A*(K) A(K − Q), with a = A(K).
    pub fn overlap(&self, a: Complex<f64>, k: [f64; 2], q: [f64; 2]) -> Complex<f64> {
        a.conj() * self.at([k[0] - q[0], k[1] - q[1]])
    }

    /// `[A*(K) A(K − Q), −A(K) A*(K + Q)]`, the two parts of Γ(K, Q), with a = A(K).
    pub fn bands(&self, a: Complex<f64>, k: [f64; 2], q: [f64; 2]) -> [Complex<f64>; 2] {
        let plus = self.at([k[0] + q[0], k[1] + q[1]]);
        [self.overlap(a, k, q), -(a * plus.conj())]
    }
}
