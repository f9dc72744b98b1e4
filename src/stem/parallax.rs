//! Parallax, or tilt-corrected bright field: the images of all bright-field pixels, shifted onto each other.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::error::Error;
use crate::fft::frequency_index;
use crate::observe::{Observer, Step, Stop};
use crate::optics::{Aberration, Aberrations, CartesianAberrations, Chi};
use crate::real::cis;
use crate::shape::{checked_len, try_zeroed};
use crate::stem::ScanSpectrum;
use crate::stem::side_band::synthesis;
use crate::tensor::Tensor;
use crate::units::{Angle, Length};

/// Parameters of [`parallax`].
#[derive(Clone, Debug)]
pub struct ParallaxParams {
    /// The probe's semi-angle; pixels within it are used.
    pub semi_angle: Angle,
    /// Where the fit of the aberrations begins, or, without a fit, what they are.
    pub aberrations: Aberrations,
    /// What is fitted.
    pub fit: ParallaxFit,
    /// Pixels of the result a scan step, a whole number from 1: the images lie between each other's positions, so that
    /// together they hold more than the scan's Nyquist frequency.
    pub upsampling: usize,
    /// Rounds of the fit, at most.
    pub iterations: usize,
    /// The fit ends when a round moves no image by more than this at the disk's edge.
    pub tolerance: Length,
}

impl Default for ParallaxParams {
    fn default() -> Self {
        ParallaxParams {
            semi_angle: Angle::mrad(20.0),
            aberrations: Aberrations::default(),
            fit: ParallaxFit::Astigmatism { defocus_range: Length::nm(500.0) },
            upsampling: 1,
            iterations: 30,
            tolerance: Length::angstrom(0.01),
        }
    }
}

/// What [`parallax`] fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParallaxFit {
    /// Nothing.
    Fixed,
    /// C10, searched for within ± this much of its start, then refined.
    Defocus {
        /// Half the range of C10.
        defocus_range: Length,
    },
    /// C10 so, and then C10, C12 and the rotation between detector and scan together.
    Astigmatism {
        /// Half the range of C10.
        defocus_range: Length,
    },
}

/// What [`parallax`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct ParallaxResult {
    /// The aligned image, `[scan_y · upsampling, scan_x · upsampling]`, of mean 1.
    pub image: Tensor<f64>,
    /// The phase in radians, of mean 0, as far as the transfer allows: the image divided by it, damped where it is weak.
    pub phase: Tensor<f64>,
    /// T(Q) of a weak phase object, real, shape as `image`, zero frequency at index 0: image − 1 = F⁻¹[T φ̃].
    pub transfer: Tensor<f64>,
    /// Standard deviation of the image's Fourier coefficients from counting (per coefficient of the normalised
    /// transform), if counts are electrons: the same at every frequency.
    pub noise: f64,
    /// The aberrations that align the images.
    pub aberrations: Aberrations,
    /// The rotation of the detector that was found on top of the calibration's orientation.
    pub rotation: Angle,
    /// The shift of each pixel's image, `[y, x]` in Å, in the order of the pixels that were used.
    pub shifts: Vec<[f64; 2]>,
    /// The pixels that were used, as indices into [`ScanSpectrum::pixels`].
    pub used: Vec<usize>,
    /// Rounds of the fit.
    pub iterations: usize,
    /// E after each round, which the fit maximises.
    pub explained: Vec<f64>,
    /// Why the fit ended.
    pub stop: Stop,
}

/// Aligns the bright-field images.
///
/// By reciprocity each detector pixel K in the direct disk records a bright-field image with a tilted beam. The
/// aberrations displace it by −s(K), and put together
///
/// ```text
/// s(K) = ∇χ(K)/2π,      image(R) = 1/M Σ_K I_K(R − s(K))/⟨I_K⟩,      M pixels
/// ```
///
/// is as sharp as one image, with the electrons of all. For a weak phase object its transfer is
///
/// ```text
/// T(Q) = 1/M Σ_K i Γ(K, Q)/|A(K)|² e^{−2πi Q·s(K)}  ≈  2 sin χ(Q)
/// ```
///
/// inside the overlap of the disks. The fit needs no image that is seen by itself. C10 is first the one, on a grid whose
/// steps move no image by more than half a scan step, for which the aligned image has the largest power,
/// P = Σ_{Q≠0} |Σ_K G e^{−2πi Q·s}|². Its maximum is biased, since the two side bands align best a little off focus; so
/// all coordinates are then moved along parabolas to the maximum of what a weak phase object explains of the spectra,
///
/// ```text
/// E = Σ_{Q≠0} |Σ_K (iΓ)* G|² / Σ_K |Γ|²
/// ```
///
/// which is maximum likelihood for flat noise. Above the scan's Nyquist frequency the spectra are their own
/// aliases, G(K, Q + 1/step) = G(K, Q), which the phases e^{−2πi Q·s} average out, and leave what belongs there.
///
/// # Errors
/// - [`Error::Param`] for parameters out of range, or no pixel inside the disk,
/// - [`Error::OutOfMemory`].
///
/// # References
/// Y. Yu, K. A. Spoth et al., Nat. Methods 22, 2138 (2025): tilt-corrected bright field, upsampling. G. Varnavides et
/// al., arXiv:2309.05250 (2023), section 5: parallax.
pub fn parallax(g: &ScanSpectrum, params: &ParallaxParams, observe: Observer<'_>) -> Result<ParallaxResult, Error> {
    let u = params.upsampling;
    if u == 0 || u > 64 {
        return Err(Error::param("upsampling", u, "a whole number from 1 to 64"));
    }
    if !(params.tolerance.to_angstrom() > 0.0 && params.tolerance.is_finite()) {
        return Err(Error::param("tolerance", params.tolerance, "a positive length"));
    }
    let wave = g.wave(params.semi_angle, &params.aberrations)?;
    let edge = params.semi_angle.to_rad() / g.lambda();
    // Pixels on the edge are partly dark: their images count less, and are left out.
    let used: Vec<usize> = (0..g.k().len())
        .filter(|&p| g.k()[p][0].hypot(g.k()[p][1]) <= edge && g.mean(p) > 0.0 && wave.at(g.k()[p]).norm_sqr() > 0.0)
        .collect();
    if used.is_empty() {
        return Err(Error::param("semi_angle", params.semi_angle, "a disk with at least one pixel"));
    }
    let problem = Alignment { g, used: &used, edge };
    let mut state = State { c: params.aberrations.to_cartesian(), rotation: 0.0 };
    let (mut iterations, mut explained, mut stop) = (0, Vec::new(), Stop::Iterations);
    let (range, coordinates) = match params.fit {
        ParallaxFit::Fixed => (None, 0),
        ParallaxFit::Defocus { defocus_range } => (Some(defocus_range), 1),
        ParallaxFit::Astigmatism { defocus_range } => (Some(defocus_range), 4),
    };
    if let Some(range) = range {
        if !(range.to_angstrom() >= 0.0 && range.is_finite()) {
            return Err(Error::param("defocus_range", range, "a length, zero or positive"));
        }
        // 1 Å of C10 moves the image at the disk's edge by λ k = α.
        let alpha = params.semi_angle.to_rad();
        let stride = 0.5 * g.step()[0].min(g.step()[1]) / alpha;
        let half = (range.to_angstrom() / stride).ceil().min(2000.0) as i64;
        let start = state.clone();
        let mut best = f64::NEG_INFINITY;
        for i in -half..=half {
            let mut tried = start.clone();
            tried.step(0, i as f64 * stride);
            let p = problem.power(&tried)?;
            if p > best {
                (best, state) = (p, tried);
            }
            if observe(&Step::new((i + half + 1) as usize, (2 * half + 1) as usize + params.iterations, -p)).is_break()
            {
                stop = Stop::Cancelled;
                break;
            }
        }

        let scanned = (2 * half + 1) as usize;
        // Each coordinate's step moves the outermost image by the same length.
        let mut reach = 0.5 * stride * alpha;
        while iterations < params.iterations && stop != Stop::Cancelled {
            let mut moved = 0.0f64;
            for coordinate in 0..coordinates {
                let h = state.unit(coordinate, alpha) * reach;
                let at = |x: f64| {
                    let mut s = state.clone();
                    s.step(coordinate, x);
                    problem.explained(&s, params.semi_angle)
                };
                let (minus, here, plus) = (at(-h)?, at(0.0)?, at(h)?);
                let curvature = plus - 2.0 * here + minus;
                let x =
                    if curvature < 0.0 { 0.5 * h * (minus - plus) / curvature } else { h * (plus - minus).signum() };
                let x = x.clamp(-2.0 * h, 2.0 * h);
                if at(x)? >= here {
                    state.step(coordinate, x);
                    moved = moved.max((x / h).abs() * reach);
                }
            }
            iterations += 1;
            let p = problem.explained(&state, params.semi_angle)?;
            explained.push(p);
            if observe(&Step::new(scanned + iterations, scanned + params.iterations, -p)).is_break() {
                stop = Stop::Cancelled;
                break;
            }
            // A parabola through far points may be no parabola: the steps shrink before the fit counts as converged.
            if moved < params.tolerance.to_angstrom() && reach < 10.0 * params.tolerance.to_angstrom() {
                stop = Stop::Converged;
                break;
            }
            reach = (0.25 * reach).max(moved.min(reach)).max(params.tolerance.to_angstrom());
        }
    }
    finish(&problem, params, state, iterations, explained, stop)
}

/// What the fit moves.
#[derive(Clone, Debug)]
struct State {
    c: CartesianAberrations,
    /// Rotation of K, rad.
    rotation: f64,
}

impl State {
    /// Coordinates: C10, C12a, C12b (Å), rotation (rad).
    fn step(&mut self, coordinate: usize, x: f64) {
        match coordinate {
            0 => self.c[Aberration::C10].a += Length::angstrom(x),
            1 => self.c[Aberration::C12].a += Length::angstrom(x),
            2 => self.c[Aberration::C12].b += Length::angstrom(x),
            _ => self.rotation += x,
        }
    }

    /// How much of a coordinate moves the outermost image by 1 Å.
    fn unit(&self, coordinate: usize, alpha: f64) -> f64 {
        match coordinate {
            3 => 1.0 / (alpha * self.c[Aberration::C10].a.to_angstrom().abs().max(1.0)),
            _ => 1.0 / alpha,
        }
    }
}

struct Alignment<'a> {
    g: &'a ScanSpectrum,
    used: &'a [usize],
    edge: f64,
}

impl Alignment<'_> {
    /// K of every pixel, turned by the rotation that was found.
    fn k(&self, state: &State) -> Vec<[f64; 2]> {
        let (sin, cos) = state.rotation.sin_cos();
        let turned = |[y, x]: [f64; 2]| [sin * x + cos * y, cos * x - sin * y];
        self.used.iter().map(|&p| turned(self.g.k()[p])).collect()
    }

    /// s(K) of every pixel, Å.
    fn shifts(&self, state: &State) -> Result<Vec<[f64; 2]>, Error> {
        let chi = Chi::new(Length::angstrom(self.g.lambda()), &state.c.to_polar())?;
        Ok(self.k(state).into_iter().map(|k| chi.gradient(k).map(|d| d / TAU)).collect())
    }

    /// Σ_K G/⟨G⟩ e^{−2πi Q·s(K)}/M on a grid upsampled by u.
    fn aligned(&self, shifts: &[[f64; 2]], u: usize) -> Result<Vec<Complex<f64>>, Error> {
        let [ny, nx] = self.g.scan();
        let [my, mx] = [ny * u, nx * u];
        let [ly, lx] = [ny as f64 * self.g.step()[0], nx as f64 * self.g.step()[1]];
        let mut out: Vec<Complex<f64>> = try_zeroed(checked_len(&[my, mx])?)?;
        let scale = 1.0 / self.used.len() as f64;
        self.g.par().chunks(&mut out, mx, |y, row| {
            let ky = frequency_index(y, my);
            let mut phases = vec![Complex::default(); mx];
            for (&p, s) in self.used.iter().zip(shifts) {
                let along_y = cis(-TAU * ky as f64 * s[0] / ly) * (scale / self.g.mean(p));
                // e^{−2πi kx s/L}, by powers in both directions from kx = 0.
                let (turn, mut z) = (cis(-TAU * s[1] / lx), along_y);
                for x in 0..mx.div_ceil(2) {
                    phases[x] = z;
                    z *= turn;
                }
                z = along_y;
                for x in (mx.div_ceil(2)..mx).rev() {
                    z *= turn.conj();
                    phases[x] = z;
                }
                let spectrum = &self.g.spectrum(p)[(y % ny) * nx..][..nx];
                for (x, (o, phase)) in row.iter_mut().zip(&phases).enumerate() {
                    let v = spectrum[x % nx];
                    *o += Complex::new(f64::from(v.re), f64::from(v.im)) * phase;
                }
            }
        });
        Ok(out)
    }

    /// E. As φ is real, half the frequencies hold all of it.
    fn explained(&self, state: &State, semi_angle: Angle) -> Result<f64, Error> {
        let wave = self.g.wave(semi_angle, &state.c.to_polar())?;
        let [ny, nx] = self.g.scan();
        let k = self.k(state);
        let a = wave.at_all(&k);
        let rows = self.g.par().map(ny / 2 + 1, |y| {
            let mut sum = 0.0f64;
            for x in 0..nx {
                let (index, mut fit, mut square) = (y * nx + x, Complex::<f64>::default(), 0.0);
                let q = self.g.q(index);
                if index == 0 || q[0].hypot(q[1]) > 2.0 * self.edge {
                    continue;
                }
                for (i, &p) in self.used.iter().enumerate() {
                    let [minus, plus] = wave.bands(a[i], k[i], q);
                    let (gamma, value) = (minus + plus, self.g.spectrum(p)[index]);
                    fit += gamma.conj() * Complex::new(f64::from(value.re), f64::from(value.im));
                    square += gamma.norm_sqr();
                }
                if square > 0.0 {
                    sum += fit.norm_sqr() / square;
                }
            }
            sum
        });
        Ok(rows.iter().sum())
    }

    /// P.
    fn power(&self, state: &State) -> Result<f64, Error> {
        let image = self.aligned(&self.shifts(state)?, 1)?;
        Ok(image.iter().skip(1).map(|z| z.norm_sqr()).sum())
    }
}

fn finish(
    problem: &Alignment<'_>,
    params: &ParallaxParams,
    state: State,
    iterations: usize,
    explained: Vec<f64>,
    stop: Stop,
) -> Result<ParallaxResult, Error> {
    let (g, u) = (problem.g, params.upsampling);
    let shifts = problem.shifts(&state)?;
    let mut image = problem.aligned(&shifts, u)?;
    let dims = g.scan().map(|n| n * u);
    let [ly, lx] = [g.scan()[0] as f64 * g.step()[0], g.scan()[1] as f64 * g.step()[1]];
    let aberrations = state.c.to_polar();
    let wave = g.wave(params.semi_angle, &aberrations)?;
    let k = problem.k(&state);
    let a = wave.at_all(&k);
    let q_of = |i: usize| {
        [frequency_index(i / dims[1], dims[0]) as f64 / ly, frequency_index(i % dims[1], dims[1]) as f64 / lx]
    };
    // i Γ e^{−2πi Q·s}/|A|² is real once summed over a disk that is symmetric; what is left of an imaginary part is
    // the disk's pixels.
    let transfer = g.par().map(image.len(), |i| {
        let q = q_of(i);
        if i == 0 || q[0].hypot(q[1]) > 2.0 * problem.edge {
            return 0.0;
        }
        let sum: Complex<f64> = (0..k.len())
            .map(|j| {
                let ([minus, plus], s) = (wave.bands(a[j], k[j], q), shifts[j]);
                (minus + plus) * cis(-TAU * (q[0] * s[0] + q[1] * s[1])) / a[j].norm_sqr()
            })
            .sum();
        -sum.im / problem.used.len() as f64
    });

    // Damped where the transfer is below a tenth of its largest, 2.
    let mut phase: Vec<Complex<f64>> = image.iter().zip(&transfer).map(|(z, t)| z * (t / (t * t + 0.04))).collect();
    phase[0] = Complex::default();
    let counts = g.counts();
    let noise =
        problem.used.iter().map(|&p| 1.0 / (g.mean(p) * counts)).sum::<f64>().sqrt() / problem.used.len() as f64;
    Ok(ParallaxResult {
        image: synthesis(dims, &mut image)?,
        phase: synthesis(dims, &mut phase)?,
        transfer: Tensor::from_vec(&dims, transfer)?,
        noise,
        aberrations,
        rotation: Angle::rad((state.rotation + PI).rem_euclid(TAU) - PI),
        shifts,
        used: problem.used.to_vec(),
        iterations,
        explained,
        stop,
    })
}
