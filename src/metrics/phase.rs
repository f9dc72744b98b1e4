//! Phase images compared up to their gauge: offset, plane and shift.

use num_complex::Complex;

use crate::error::Error;
use crate::metrics::align::{Aligned, Aligner, Kind};
use crate::metrics::pixelwise::{remove_mean, square, varies, weighted_correlation};
use crate::metrics::register::PeakFinder;
use crate::metrics::{Gauge, GaugeParams, Plane, check, plane};
use crate::real::Real;
use crate::units::Angle;

/// The result of [`compare_phases`].
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseComparison {
    /// Pearson's correlation of phase and truth, the gauge removed from both: −1 to 1. It does not see a scale.
    pub correlation: f64,
    /// Root mean square difference of phase and truth, the gauge removed.
    pub rms: Angle,
    /// The plane of the phase over the truth, taken away before the shift; its slope is 0 when only an offset is free.
    pub plane: Plane,
    /// `[y, x]` in pixels: the shift that was applied to the phase.
    pub shift: [f64; 2],
    /// The phase in the gauge of the truth, (ny, nx), in radians: without the plane, then shifted.
    pub aligned: Vec<f64>,
}

/// Compares a phase image (ny, nx) in radians with the truth, up to what the experiment does not fix.
///
/// ```text
/// phase(r) ≈ p(r) + truth(r + s)      aligned(r) = (phase − p)(r − s)
/// t' = (1 − P) truth,   f' = (1 − P) aligned,   P the weighted projection onto what is free of constants and planes
/// correlation = Σ w t' f' / √(Σ w t'² Σ w f'²),   rms = √(Σ w (f' − t')² / Σ w)
/// ```
///
/// `rms` is the least that any plane can give; the correlation is the same for any scale of the phase, such as an
/// unknown thickness or interaction parameter. The weights may be a mask or a window. The phases must be unwrapped.
///
/// A shift, where free, is found as in [`compare_objects`](crate::metrics::compare_objects), the phase being moved as a
/// periodic image: pixels within the shift of an edge are not to be trusted, and weights should leave them out.
///
/// # Errors
/// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, weights that are
/// negative, all 0 or on a line, and images that are constant (or planar) where the weights are, [`Error::Param`] as
/// for [`Register`](crate::metrics::Register).
///
/// ```
/// use exitwave::metrics::{GaugeParams, compare_phases};
/// let truth: Vec<f64> = (0..24 * 20).map(|i| ((i * i) % 17) as f64 * 0.01).collect();
/// let phase: Vec<f64> = truth.iter().enumerate().map(|(i, t)| t + 0.7 - 0.02 * (i % 20) as f64).collect();
/// let c = compare_phases(&truth, &phase, [24, 20], None, &GaugeParams::default())?;
/// assert!(c.correlation > 0.999999 && c.rms.to_rad() < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn compare_phases<T: Real>(
    truth: &[T],
    phase: &[T],
    dims: [usize; 2],
    weights: Option<&[f64]>,
    params: &GaugeParams,
) -> Result<PhaseComparison, Error> {
    check::dims("compare_phases", &dims, truth.len())?;
    check::dims("compare_phases", &dims, phase.len())?;
    let (truth, phase) = (check::finite("truth", truth)?, check::finite("phase", phase)?);
    let w = check::weights("compare_phases", weights, truth.len())?;
    params.check()?;
    let fixed = |x: &[f64]| -> Result<Vec<f64>, Error> {
        let mut x = x.to_vec();
        if params.gauge == Gauge::Phase {
            remove_mean(&mut x, &w);
        } else {
            plane::fit(&x, &w, dims)?.subtract(&mut x, dims)?;
        }
        Ok(x)
    };
    // What is a plane before it is moved says nothing, though a moved plane is none, for its wrap-around.
    let t = fixed(&truth)?;
    let scales = [square(&truth, &w), square(&phase, &w)];
    varies("truth", square(&t, &w), scales[0])?;
    varies("phase", square(&fixed(&phase)?, &w), scales[1])?;

    let widen = |x: &[f64]| x.iter().map(|&x| Complex::new(x, 0.0)).collect::<Vec<_>>();
    let finder = PeakFinder::new(dims, params.upsample)?;
    let (ct, co) = (widen(&truth), widen(&phase));
    let aligner = Aligner { kind: Kind::Phase, truth: &ct, object: &co, weights: &w, dims, params, finder };
    let Aligned { plane, shift, image } = aligner.run()?;
    let aligned: Vec<f64> = image.iter().map(|z| z.re).collect();

    let f = fixed(&aligned)?;
    let correlation = weighted_correlation(&t, &f, &w, scales)?;
    let difference: Vec<f64> = t.iter().zip(&f).map(|(t, f)| f - t).collect();
    let rms = Angle::rad((square(&difference, &w) / w.iter().sum::<f64>()).sqrt());
    Ok(PhaseComparison { correlation, rms, plane, shift, aligned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offset_is_removed_when_only_an_offset_is_free() {
        let truth: Vec<f64> = (0..30).map(|i| f64::from((i * 7) % 11)).collect();
        let phase: Vec<f64> = truth.iter().enumerate().map(|(i, t)| t + 4.0 + 0.1 * (i % 6) as f64).collect();
        let params = GaugeParams { gauge: Gauge::Phase, ..GaugeParams::default() };
        let c = compare_phases(&truth, &phase, [5, 6], None, &params).unwrap();
        // The slope stays: Σ over x of (0.1 (x − 2.5))², x = 0..6, is 0.1² · 35/12 on average.
        assert!((c.rms.to_rad() - 0.1 * (35.0f64 / 12.0).sqrt()).abs() < 1e-14);
        assert!((c.plane.offset - 4.25).abs() < 1e-14 && c.plane.slope == [0.0, 0.0]);
    }

    #[test]
    fn a_planar_phase_has_no_correlation() {
        let truth: Vec<f64> = (0..30).map(|i| f64::from((i * 7) % 11)).collect();
        let ramp: Vec<f64> = (0..30).map(|i| 0.3 + 0.1 * f64::from(i % 6)).collect();
        for gauge in [Gauge::Ramp, Gauge::RampAndShift] {
            let params = GaugeParams { gauge, ..GaugeParams::default() };
            assert!(matches!(compare_phases(&truth, &ramp, [5, 6], None, &params), Err(Error::Data { .. })));
            assert!(matches!(compare_phases(&truth, &truth[..29], [5, 6], None, &params), Err(Error::Shape { .. })));
        }
    }
}
