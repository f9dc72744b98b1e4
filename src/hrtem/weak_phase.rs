//! Whether an object is a weak phase object.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::optics::{Ctf, CtfParams, Grid};
use crate::real::{Real, cis};
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// The verdict holds below this share of the image that is not linear in the object.
const LIMIT: f64 = 0.3;

/// How weak a phase object is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeakPhase {
    /// Root mean square of the phase about its mean, rad.
    pub rms: f64,
    /// Largest deviation from the mean, rad.
    pub peak: f64,
    /// `‖I − I_lin‖ / ‖I_lin − 1‖`: what the linear image leaves out, as a share of its contrast.
    pub nonlinear: f64,
    /// Whether that share is below 0.3: flipping the phases then gives the potential of simulated frameworks to 0.9 (docs/ctf_correction.md).
    pub holds: bool,
}

impl WeakPhase {
    fn of(phase: &[f64], nonlinear: f64) -> Self {
        let mean = phase.iter().sum::<f64>() / phase.len().max(1) as f64;
        let rms = (phase.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / phase.len().max(1) as f64).sqrt();
        let peak = phase.iter().map(|p| (p - mean).abs()).fold(0.0, f64::max);
        WeakPhase { rms, peak, nonlinear, holds: nonlinear <= LIMIT }
    }
}

/// Whether the image of a phase φ is the linear one: `I = |F⁻¹{T F e^{iφ}}|²` against `I_lin = 1 + F⁻¹{2 c φ}`, `c = −Im T` (the mean of φ has
/// no effect).
///
/// φ is whatever the image's resolution shows: a measured phase, or σ ∫V dz of a model, band-limited by the lens.
///
/// # Shapes
/// `[y, x]` of the grid.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] for an impossible lens, [`Error::OutOfMemory`].
///
/// # Examples
/// ```
/// use exitwave::hrtem::weak_phase;
/// use exitwave::optics::{Aberrations, CtfParams, Grid};
/// use exitwave::tensor::Tensor;
/// use exitwave::units::Length;
/// let grid = Grid { dims: [32, 32], sampling: [Length::angstrom(0.5); 2] };
/// let lens = CtfParams { aberrations: Aberrations::from_defocus(Length::nm(20.0)), ..Default::default() };
/// let phase = |strength: f64| Tensor::from_fn(&[32, 32], |i| strength * (i[1] as f64 * 0.785).cos() * (i[0] as f64 * 0.785).cos());
/// assert!(weak_phase(&phase(0.05), &lens, &grid)?.holds);
/// assert!(!weak_phase(&phase(2.0), &lens, &grid)?.holds);
/// # Ok::<(), exitwave::Error>(())
/// ```
///
/// # References
/// J. M. Cowley, *Diffraction Physics*, 3rd ed. (1995), section 13.3.
pub fn weak_phase<T: Real>(phase: &Tensor<T>, lens: &CtfParams, grid: &Grid) -> Result<WeakPhase, Error> {
    if *phase.dims() != grid.dims {
        return Err(Error::shape("weak_phase", &grid.dims, phase.dims()));
    }
    let phi: Vec<f64> = phase.as_slice().iter().map(|p| p.f64()).collect();
    let wave: Vec<Complex<f64>> = phi.iter().map(|&p| cis(p)).collect();
    // i(φ − φ̄) on a wave of 1.
    let mean = phi.iter().sum::<f64>() / phi.len() as f64;
    let linear: Vec<Complex<f64>> = phi.iter().map(|&p| Complex::new(0.0, p - mean)).collect();
    Ok(WeakPhase::of(&phi, nonlinear(wave, linear, lens, grid)?))
}

/// The same for a computed exit wave, whose own linear image is `I_lin = 1 + 2 Re F⁻¹{T F(ψ/ψ̄ − 1)}`, ψ̄ its mean: the part of its image that is
/// left out by a linear theory, whatever the wave's amplitude and phase have to do with the potential.
///
/// # Errors
/// As [`weak_phase`]; [`Error::Data`] for a wave without a mean.
pub fn weak_wave<T: Real>(wave: &Tensor<Complex<T>>, lens: &CtfParams, grid: &Grid) -> Result<WeakPhase, Error> {
    if wave.len() != grid.len() || wave.dims().len() < 2 {
        return Err(Error::shape("weak_wave", &grid.dims, wave.dims()));
    }
    let psi: Vec<Complex<f64>> = wave.as_slice().iter().map(|z| Complex::new(z.re.f64(), z.im.f64())).collect();
    let mean = psi.iter().sum::<Complex<f64>>() / psi.len() as f64;
    if !(mean.norm() > 0.0 && mean.is_finite()) {
        return Err(Error::Data { what: format!("the mean of the wave is {mean}"), index: 0 });
    }
    let scaled: Vec<Complex<f64>> = psi.iter().map(|z| z / mean).collect();
    let phase: Vec<f64> = scaled.iter().map(|z| z.arg()).collect();
    let linear: Vec<Complex<f64>> = scaled.iter().map(|z| z - 1.0).collect();
    Ok(WeakPhase::of(&phase, nonlinear(scaled, linear, lens, grid)?))
}

/// `‖I − I_lin‖ / ‖I_lin − 1‖` of a wave and its part beside 1, both about their means.
fn nonlinear(
    mut wave: Vec<Complex<f64>>,
    mut part: Vec<Complex<f64>>,
    lens: &CtfParams,
    grid: &Grid,
) -> Result<f64, Error> {
    let t = Ctf::new(lens)?.spectrum::<f64>(grid)?;
    let fft = Fft2::<f64>::new(grid.dims)?;
    let mut scratch = try_zeroed(fft.scratch_len())?;
    for z in [&mut wave, &mut part] {
        fft.forward(z, &mut scratch);
        z.iter_mut().zip(t.as_slice()).for_each(|(z, t)| *z *= t);
        fft.inverse(z, &mut scratch);
    }
    let n = grid.len() as f64;
    let mean = wave.iter().map(|z| z.norm_sqr()).sum::<f64>() / n;
    let middle = part.iter().map(|z| 2.0 * z.re).sum::<f64>() / n;
    let (mut rest, mut all) = (0.0, 0.0);
    for (z, p) in wave.iter().zip(&part) {
        let (i, l) = (z.norm_sqr() / mean - 1.0, 2.0 * p.re - middle);
        rest += (i - l) * (i - l);
        all += l * l;
    }
    Ok(if all > 0.0 { (rest / all).sqrt() } else { 0.0 })
}
