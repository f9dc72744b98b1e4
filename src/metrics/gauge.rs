//! Complex objects compared up to their gauge: phase, ramp, shift and scale.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{FourierShift, ifft_shift};
use crate::metrics::plane::NormalEquations;
use crate::metrics::register::PeakFinder;
use crate::metrics::{Plane, check, complex_correlation, pixelwise};
use crate::op::{LinearOp, Write};
use crate::real::{Real, arg, cis};
use crate::shape::Field;
use crate::units::Angle;

/// Times that ramp and shift are found in turn.
const ROUNDS: usize = 4;

/// What a measurement leaves free, and a comparison must not count as an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gauge {
    /// A constant phase.
    Phase,
    /// A constant phase and a phase ramp: a plane.
    #[default]
    Ramp,
    /// A plane, and a shift.
    RampAndShift,
}

/// Parameters of [`compare_phases`](crate::metrics::compare_phases) and [`compare_objects`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeParams {
    /// What is free.
    pub gauge: Gauge,
    /// Shifts are found on a grid of 1/`upsample` pixels, 1 to 1000.
    pub upsample: usize,
    /// Largest shift in pixels; keeps a crystal from being moved by a lattice vector.
    pub max_shift: Option<f64>,
}

/// A plane is free; shifts, where free, are found to 1/100 pixel.
impl Default for GaugeParams {
    fn default() -> Self {
        GaugeParams { gauge: Gauge::Ramp, upsample: 100, max_shift: None }
    }
}

impl GaugeParams {
    /// What is left of the largest shift after this one.
    pub(super) fn left(&self, shift: [f64; 2]) -> Option<f64> {
        self.max_shift.map(|m| (m - shift[0].hypot(shift[1])).max(0.0))
    }
}

/// The result of [`compare_objects`].
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectComparison {
    /// Correlation of the aligned object with the truth, means removed: 0 to 1. (With the means, any weak object correlates by almost 1.)
    pub correlation: f64,
    /// Root mean square difference from the truth after the best complex factor, relative to the truth: √(1 − ρ²), ρ = |Σ w o t̄|/√(Σ w|o|² Σ w|t|²).
    pub nrmse: f64,
    /// Root mean square of the phase difference arg(o t̄), each pixel weighted by w |o| |t|, so that holes do not count.
    pub phase_rms: Angle,
    /// Phase of the object over the truth at the centre pixel, before the shift.
    pub phase: Angle,
    /// `[y, x]`: phase ramp of the object over the truth, per pixel.
    pub ramp: [Angle; 2],
    /// `[y, x]` in pixels: the shift that was applied to the object.
    pub shift: [f64; 2],
    /// Amplitude of the object over the truth, Σ w |o t̄| cos(phase difference) / Σ w |t|²; `aligned` still has it.
    pub scale: f64,
    /// The object in the gauge of the truth, (ny, nx).
    pub aligned: Vec<Complex<f64>>,
}

/// Compares a complex object (ny, nx), as ptychography gives it, with the truth, up to its gauge:
///
/// ```text
/// o(r) ≈ γ e^{i(α + g·(r − c))} t(r + s)      aligned(r) = o(r − s) e^{−i(α + g·(r − s − c))},   c = (⌊ny/2⌋, ⌊nx/2⌋)
/// ```
///
/// 1. **Ramp.** The transform of w o t̄ peaks at g; its maximum, on a fine grid, starts a Gauss–Newton ascent of Σ w Re(o t̄ e^{−i(α + g·(r − c))}), whose
///    steps solve Σ w|o t̄| J Jᵀ δ = Σ w Im(o t̄ e^{−iθ}) J with J = (1, y, x); each raises the sum, because cos has no larger curvature.
/// 2. **Shift.** Plain cross-correlation of the weighted objects without their means, on a grid of 1/`upsample` pixels.
///
/// The two are found in turn, starting once with either, and the better result is kept: a weak object allows the ramp to be found before the
/// shift, a strong one the shift before a small ramp. The object is moved as a periodic one; pixels within the shift of an edge are not to be
/// trusted, and weights should leave them out.
///
/// # Errors
/// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, weights that are negative, all 0 or on a line,
/// and objects that are constant where the weights are, [`Error::Param`] as for [`Register`](crate::metrics::Register).
///
/// # References
/// - M. Guizar-Sicairos, J. R. Fienup, Opt. Express 16, 7264 (2008): the ambiguities of phase and position.
/// - M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, Opt. Lett. 33, 156 (2008), eq. (1): the error invariant to them.
pub fn compare_objects<T: Real>(
    truth: &[Complex<T>],
    object: &[Complex<T>],
    dims: [usize; 2],
    weights: Option<&[f64]>,
    params: &GaugeParams,
) -> Result<ObjectComparison, Error> {
    check::dims("compare_objects", &dims, truth.len())?;
    check::dims("compare_objects", &dims, object.len())?;
    let t = check::finite_complex("truth", truth)?;
    let o = check::finite_complex("object", object)?;
    let w = check::weights("compare_objects", weights, t.len())?;
    let finder = PeakFinder::new(dims, params.upsample)?;
    let fit = Fit { t: &t, o: &o, w: &w, finder, params, dims };

    let mut best = fit.align(First::Ramp)?;
    if params.gauge == Gauge::RampAndShift {
        let other = fit.align(First::Shift)?;
        if overlap(&t, &other.1, &w) > overlap(&t, &best.1, &w) {
            best = other;
        }
    }
    let (plane, aligned, shift) = best;

    let correlation = complex_correlation(&aligned, &t, Some(&w))?;
    let (mut square, mut weight) = (0.0, 0.0);
    let mut cross = Complex::new(0.0, 0.0);
    let (mut tt, mut oo) = (0.0, 0.0);
    for ((t, o), w) in t.iter().zip(&aligned).zip(&w) {
        let c = o * t.conj() * w;
        square += c.norm() * arg(c).powi(2);
        weight += c.norm();
        cross += c;
        tt += w * t.norm_sqr();
        oo += w * o.norm_sqr();
    }
    // The difference itself, not √(1 − ρ²), which would lose half of the digits of a small error.
    let beta = cross.conj() / oo;
    let rest: f64 = t.iter().zip(&aligned).zip(&w).map(|((t, o), w)| w * (beta * o - t).norm_sqr()).sum();
    Ok(ObjectComparison {
        correlation,
        nrmse: (rest / tt).sqrt(),
        phase_rms: Angle::rad((square / weight).sqrt()),
        phase: Angle::rad(arg(cis(plane.offset))),
        ramp: plane.slope.map(Angle::rad),
        shift,
        scale: cross.re / tt,
        aligned,
    })
}

/// ρ = |Σ w o t̄| / √(Σ w|o|² Σ w|t|²).
fn overlap(t: &[Complex<f64>], o: &[Complex<f64>], w: &[f64]) -> f64 {
    let power = |x: &[Complex<f64>]| x.iter().zip(w).map(|(x, w)| w * x.norm_sqr()).sum::<f64>();
    let cross: Complex<f64> = t.iter().zip(o).zip(w).map(|((t, o), w)| o * t.conj() * w).sum();
    (cross.norm() / (power(t).sqrt() * power(o).sqrt())).min(1.0)
}

/// What is found first.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Ramp,
    Shift,
}

/// Truth, object, weights, and how to align them.
struct Fit<'a> {
    t: &'a [Complex<f64>],
    o: &'a [Complex<f64>],
    w: &'a [f64],
    finder: PeakFinder,
    params: &'a GaugeParams,
    dims: [usize; 2],
}

type Aligned = (Plane, Vec<Complex<f64>>, [f64; 2]);

impl Fit<'_> {
    /// The plane of o over t, o in t's gauge, and the shift that was applied.
    fn align(&self, first: First) -> Result<Aligned, Error> {
        let mut plane = Plane::default();
        let mut shift = [0.0; 2];
        let mut moved = self.o.to_vec();
        let shifts = self.params.gauge == Gauge::RampAndShift;
        let rounds = if shifts { ROUNDS } else { 1 };
        for round in 0..rounds {
            if shifts && (round > 0 || first == First::Shift) {
                let step = self.shift_of(&moved, self.params.left(shift))?;
                if round > 0 && step == [0.0; 2] {
                    break;
                }
                shift = [shift[0] + step[0], shift[1] + step[1]];
                moved = self.apply(plane, shift)?;
            }
            // A ramp of the moved object, about the centre, has its constant elsewhere in the unmoved one.
            let rest = self.plane_of(&moved)?;
            plane.offset += rest.offset + rest.slope[0] * shift[0] + rest.slope[1] * shift[1];
            plane.slope = [plane.slope[0] + rest.slope[0], plane.slope[1] + rest.slope[1]];
            moved = self.apply(plane, shift)?;
        }
        Ok((plane, moved, shift))
    }

    /// o(r − s) e^{−i(α + g·(r − s − c))}, from the object as given, so that errors of moving do not add up.
    fn apply(&self, plane: Plane, shift: [f64; 2]) -> Result<Vec<Complex<f64>>, Error> {
        let nx = self.dims[1];
        let flat: Vec<Complex<f64>> =
            self.o.iter().enumerate().map(|(i, o)| o * cis(-plane.at(i / nx, i % nx, self.dims))).collect();
        if shift == [0.0; 2] {
            return Ok(flat);
        }
        let op = FourierShift::<f64>::new(self.dims, shift, Field::Complex)?;
        let mut y = flat.clone();
        let mut scratch = vec![0.0; op.scratch_len()];
        op.apply(bytemuck::cast_slice(&flat), bytemuck::cast_slice_mut(&mut y), Write::Set, &mut scratch);
        Ok(y)
    }

    /// The shift that brings x onto the truth, both weighted, without their means.
    fn shift_of(&self, x: &[Complex<f64>], left: Option<f64>) -> Result<[f64; 2], Error> {
        let fft = &self.finder.fft;
        let spectrum = |x: &[Complex<f64>]| {
            let mut y = x.to_vec();
            pixelwise::remove_complex_mean(&mut y, self.w);
            y.iter_mut().zip(self.w).for_each(|(y, w)| *y *= w);
            fft.forward(&mut y, &mut vec![Complex::default(); fft.scratch_len()]);
            y
        };
        let (mut a, b) = (spectrum(self.t), spectrum(x));
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b.conj());
        self.finder.find(&a, left)
    }

    /// The phase (and ramp) of x over the truth.
    fn plane_of(&self, x: &[Complex<f64>]) -> Result<Plane, Error> {
        let c: Vec<Complex<f64>> = x.iter().zip(self.t).zip(self.w).map(|((x, t), w)| x * t.conj() * w).collect();
        let sum: Complex<f64> = c.iter().sum();
        if self.params.gauge == Gauge::Phase {
            return Ok(Plane { offset: arg(sum), slope: [0.0; 2] });
        }
        let modulus: Vec<f64> = c.iter().map(|c| c.norm()).collect();
        let normal = NormalEquations::new(&modulus, self.dims)?;

        // Σ c̄(r) e^{+2πi q·(r − c)/n} as a function of q, with the centre pixel at index 0: the peak, on the fine grid.
        let mut conjugate = vec![Complex::default(); c.len()];
        ifft_shift(&self.dims, &c, &mut conjugate);
        conjugate.iter_mut().for_each(|z| *z = z.conj());
        let q = self.finder.find(&conjugate, None)?;
        let [ny, nx] = self.dims;
        let mut plane = Plane {
            offset: 0.0,
            slope: [std::f64::consts::TAU * q[0] / ny as f64, std::f64::consts::TAU * q[1] / nx as f64],
        };
        let flat = |p: &Plane| -> Vec<Complex<f64>> {
            c.iter().enumerate().map(|(i, c)| c * cis(-p.at(i / nx, i % nx, self.dims))).collect()
        };
        plane.offset = arg(flat(&plane).iter().sum::<Complex<f64>>());

        // The ascent, until a step moves no pixel's phase by more than rounding.
        for _ in 0..50 {
            let z = flat(&plane);
            let d = normal.solve(|i| z[i].im);
            plane.offset += d.offset;
            plane.slope = [plane.slope[0] + d.slope[0], plane.slope[1] + d.slope[1]];
            if d.offset.abs() + d.slope[0].abs() * ny as f64 + d.slope[1].abs() * nx as f64 <= 1e-13 {
                break;
            }
        }
        Ok(plane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(n: usize) -> Vec<Complex<f64>> {
        (0..n).map(|i| cis(0.05 * ((i * i) % 13) as f64) * (1.0 - 0.01 * ((i * 5) % 7) as f64)).collect()
    }

    #[test]
    fn an_object_of_zeros_is_an_error() {
        let t = object(30);
        let zero = vec![Complex::new(0.0, 0.0); 30];
        for gauge in [Gauge::Phase, Gauge::Ramp, Gauge::RampAndShift] {
            let params = GaugeParams { gauge, ..GaugeParams::default() };
            assert!(matches!(compare_objects(&t, &zero, [5, 6], None, &params), Err(Error::Data { .. })));
            assert!(matches!(compare_objects(&zero, &t, [5, 6], None, &params), Err(Error::Data { .. })));
        }
        assert!(compare_objects(&t, &t, [6, 6], None, &GaugeParams::default()).is_err());
        let fine = GaugeParams { upsample: 0, ..GaugeParams::default() };
        assert!(compare_objects(&t, &t, [5, 6], None, &fine).is_err());
    }

    #[test]
    fn a_ramp_of_many_turns_is_found() {
        // 3.3 and −4.7 turns over the image, far beyond what an unwrapped fit could start from.
        let (t, dims) = (object(24 * 31), [24, 31]);
        let g = [std::f64::consts::TAU * 3.3 / 24.0, -std::f64::consts::TAU * 4.7 / 31.0];
        let ramp = Plane { offset: 2.0, slope: g };
        let o: Vec<_> = t.iter().enumerate().map(|(i, t)| t * cis(ramp.at(i / 31, i % 31, dims)) * 1.5).collect();
        let c = compare_objects(&t, &o, dims, None, &GaugeParams::default()).unwrap();
        assert!((c.phase.to_rad() - 2.0).abs() < 1e-11 && (c.ramp[1].to_rad() - g[1]).abs() < 1e-12, "{c:?}");
        assert!(c.nrmse < 1e-11 && c.phase_rms.to_rad() < 1e-11 && (c.scale - 1.5).abs() < 1e-12);
        assert!(c.correlation > 1.0 - 1e-12);
    }
}
