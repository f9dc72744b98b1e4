//! The ptychographical iterative engine: one pattern after the other.
//!
//! ```text
//! Δψ_m = F⁻¹[ (a/√I − 1) Ψ_m ]                                   the modulus constraint's correction
//! O += β_O Σ_m P̄_m Δψ_m / D_P,    D_P = max Σ|P_m|²               ePIE
//! P_m += β_P Ō Δψ_m / D_O,        D_O = max |O|²
//! D = (1 − α)|·|² + α max |·|²                                   rPIE, pixel by pixel
//! ```
//!
//! The object of the probe's update is the one before its own. Patterns are visited in a random order, another one each
//! sweep, drawn from the seed. The order is sequential, as the method is; one thread does it. Deviation 1: with
//! sub-pixel positions the moved probe is updated, and its change is moved back.
//!
//! References: A. M. Maiden, J. M. Rodenburg, Ultramicroscopy 109, 1256 (2009), eqs. (6), (7); A. Maiden, D. Johnson,
//! P. Li, Optica 4, 736 (2017), eq. (19); P. Thibault, A. Menzel, Nature 494, 68 (2013) for the modes.

use num_complex::Complex;

use crate::fft::{BAND, Direction, transpose_band};
use crate::op::Write;
use crate::ptycho::kernels::{self, Window};
use crate::ptycho::model::{Model, Scratch};
use crate::real::Real;

/// How an update is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Normalisation {
    /// By the maximum, times a step.
    Maximum { object_step: f64, probe_step: f64 },
    /// By (1 − α)|·|² + α max|·|².
    Regularised { object_alpha: f64, probe_alpha: f64 },
}

impl Normalisation {
    /// (step, α) for the object and for the probe: the update is step / ((1 − α)|·|² + α max).
    fn steps(self) -> [(f64, f64); 2] {
        match self {
            Normalisation::Maximum { object_step, probe_step } => [(object_step, 1.0), (probe_step, 1.0)],
            Normalisation::Regularised { object_alpha, probe_alpha } => [(1.0, object_alpha), (1.0, probe_alpha)],
        }
    }
}

/// One pattern of an ePIE sweep with a single mode at whole pixels: the fast path. `probe_max` is max|P|², kept between
/// calls. Returns Σ(√I − a)².
///
/// The same transforms as [`Model::waves`] and [`Model::back`], band by band, so that everything between two
/// transpositions happens in the first-level cache: three passes over the frame instead of nine.
pub(crate) fn step_single<T: Real>(
    model: &Model<T>,
    object: &mut [Complex<T>],
    at: Window,
    probe: &mut [Complex<T>],
    probe_max: &mut T,
    amplitudes: &[T],
    (object_step, probe_step): (f64, f64),
    s: &mut Scratch<T>,
) -> f64 {
    // probe, wave, other are (ny, nx); spectra, amplitudes are (nx, ny).
    let [along_y, along_x] = model.fft.axes();
    let ([ny, nx], inverse) = (model.fft.dims(), T::of(1.0 / model.frame() as f64));
    let bands = |n: usize| (0..n).step_by(BAND).map(move |first| first..(first + BAND).min(n));

    // ψ = P O, and its transform along x.
    let mut object_max = T::ZERO;
    for rows in bands(ny) {
        let (band, first) = (&mut s.other[..rows.len() * nx], rows.start);
        let window = at.band(rows.clone());
        kernels::exit_wave(&probe[rows.start * nx..rows.end * nx], object, window, band);
        object_max = object_max.max(kernels::max_norm_sqr_window(object, window));
        along_x.rows(band, Direction::Forward, &mut s.rows);
        transpose_band(band, &mut s.spectra, nx, first, T::ONE);
    }

    // Along y: Ψ, its correction, and back.
    let mut residual = 0.0;
    for columns in bands(nx) {
        let part = columns.start * ny..columns.end * ny;
        let band = &mut s.spectra[part.clone()];
        along_y.rows(band, Direction::Forward, &mut s.rows);
        residual += kernels::modulus_correction(band, &amplitudes[part]);
        along_y.rows(band, Direction::Inverse, &mut s.rows);
        transpose_band(band, &mut s.wave, ny, columns.start, inverse);
    }

    // Along x: Δψ, and both updates.
    let divide = |step: f64, max: T| if max > T::ZERO { T::of(step) / max } else { T::ZERO };
    let (s_o, s_p) = (divide(object_step, *probe_max), divide(probe_step, object_max));
    *probe_max = T::ZERO;
    for rows in bands(ny) {
        let part = rows.start * nx..rows.end * nx;
        let band = &mut s.wave[part.clone()];
        along_x.rows(band, Direction::Inverse, &mut s.rows);
        let max = kernels::update_both(object, at.band(rows), &mut probe[part], band, s_o, s_p);
        *probe_max = probe_max.max(max);
    }
    residual
}

/// One pattern, any number of modes and either normalisation; the waves of the current estimate are already in
/// `s.spectra`, and the moved probes in `moved` (modes, ny, nx). The changes of the probes are left in `change` (modes,
/// ny, nx). Returns Σ(√I − a)².
pub(crate) fn step_general<T: Real>(
    model: &Model<T>,
    object: &mut [Complex<T>],
    at: Window,
    moved: &[Complex<T>],
    change: &mut [Complex<T>],
    amplitudes: &[T],
    normalisation: Normalisation,
    update_probe: bool,
    weights: &mut Weights<T>,
    s: &mut Scratch<T>,
) -> f64 {
    let n = model.frame();
    let [(object_step, object_alpha), (probe_step, probe_alpha)] = normalisation.steps();
    model.intensity(s);
    let residual = kernels::modulus_factors(&mut s.intensity, amplitudes);

    // The illumination Σ|P_m|² and the object's |O|², as divisors.
    for (m, p) in moved.chunks(n).enumerate() {
        kernels::intensity(p, &mut weights.probe, if m == 0 { Write::Set } else { Write::Add });
    }
    kernels::intensity_window(object, at, &mut weights.object);
    kernels::to_divisors(&mut weights.probe, T::of(object_step), T::of(object_alpha));
    kernels::to_divisors(&mut weights.object, T::of(probe_step), T::of(probe_alpha));

    // All changes are computed from the old object before any is applied.
    for m in 0..model.modes {
        let (psi, p) = (m * n..(m + 1) * n, &moved[m * n..(m + 1) * n]);
        kernels::scale_by(&mut s.spectra[psi.clone()], &s.intensity);
        model.back(m, T::of(1.0 / n as f64), s);
        kernels::conj_product(&mut s.other, p, &s.wave, T::ONE, if m == 0 { Write::Set } else { Write::Add });
        if update_probe {
            kernels::conj_window_product(&mut change[psi.clone()], object, at, &s.wave);
            kernels::scale_by(&mut change[psi], &weights.object);
        }
    }
    kernels::add_scaled_window(object, at, &s.other, &weights.probe);
    residual
}

/// Divisors of [`step_general`], one value a pixel.
#[derive(Debug)]
pub(crate) struct Weights<T: Real> {
    pub probe: Vec<T>,
    pub object: Vec<T>,
}
