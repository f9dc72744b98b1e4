//! Complex objects compared up to their gauge: phase, ramp, shift and scale.

use num_complex::Complex;

use crate::error::Error;
use crate::metrics::align::{Aligned, Aligner, Kind};
use crate::metrics::register::PeakFinder;
use crate::metrics::{check, complex_correlation};
use crate::real::{Real, arg, cis};
use crate::units::Angle;

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
    /// Shifts are first sought on a grid of 1/`upsample` pixels, 1 to 1000, then refined together with the plane.
    pub upsample: usize,
    /// Largest shift in pixels; keeps a crystal from being moved by a lattice vector.
    pub max_shift: Option<f64>,
}

/// A plane is free; shifts, where free, are sought on a grid of 1/20 pixel.
impl Default for GaugeParams {
    fn default() -> Self {
        GaugeParams { gauge: Gauge::Ramp, upsample: 20, max_shift: None }
    }
}

impl GaugeParams {
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.max_shift {
            Some(s) if !(s >= 0.0 && s.is_finite()) => {
                Err(Error::param("max_shift", s, "a finite number of pixels >= 0"))
            }
            _ => Ok(()),
        }
    }
}

/// The result of [`compare_objects`].
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectComparison {
    /// Correlation of the aligned object with the truth, means removed: 0 to 1. (With the means, any weak object
    /// correlates by almost 1.)
    pub correlation: f64,
    /// Root mean square difference from the truth after the best complex factor, relative to the truth: √(1 − ρ²), ρ =
    /// |Σ w o t̄|/√(Σ w|o|² Σ w|t|²).
    pub nrmse: f64,
    /// Root mean square of the phase difference arg(o t̄), each pixel weighted by w |o| |t|, so that holes do not
    /// count.
    pub phase_rms: Angle,
    /// Phase of the object over the truth at the centre pixel, before the shift.
    pub phase: Angle,
    /// `[y, x]`: phase ramp of the object over the truth, per pixel; at most half a turn.
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
/// 1. **Ramp.** The transform of w o t̄ peaks at g; its maximum, on a fine grid, starts an ascent of Σ w Re(o t̄
///    e^{−i(α + g·(r − c))}), whose steps solve Σ w|o t̄| J Jᵀ δ = Σ w Im(o t̄ e^{−iθ}) J with J = (1, y, x); each
///    raises the sum, because cos has no larger curvature than 1.
/// 2. **Shift.** Plain cross-correlation of the weighted objects without their means, on a grid of 1/`upsample` pixels.
/// 3. **Both**, in turn a few times, then refined together with the amplitude by Gauss–Newton on Σ w |β·aligned − t|².
///
/// With a free shift this is done twice, starting with either, and the better result is kept: a weak object allows the
/// ramp to be found before the shift, a strong one the shift before a small ramp. The object is moved as a periodic
/// one; pixels within the shift of an edge are not to be trusted, and weights should leave them out.
///
/// # Errors
/// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, weights that are
/// negative, all 0 or on a line, and objects that are constant where the weights are, [`Error::Param`] as for
/// [`Register`](crate::metrics::Register).
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
    params.check()?;
    let finder = PeakFinder::new(dims, params.upsample)?;
    let aligner = Aligner { kind: Kind::Object, truth: &t, object: &o, weights: &w, dims, params, finder };
    let Aligned { plane, shift, image: aligned } = aligner.run()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Plane;

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
