//! Phase images compared up to their gauge: offset, plane and shift.

use crate::error::Error;
use crate::fft::FourierShift;
use crate::metrics::pixelwise::{remove_mean, square, weighted_correlation};
use crate::metrics::register::PeakFinder;
use crate::metrics::{Gauge, GaugeParams, Plane, check, plane};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::Field;
use crate::units::Angle;
use num_complex::Complex;

/// Times that shift and plane are found in turn.
const ROUNDS: usize = 4;

/// The result of [`compare_phases`].
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseComparison {
    /// Pearson's correlation of phase and truth, the gauge removed from both: −1 to 1. It does not see a scale.
    pub correlation: f64,
    /// Root mean square difference of phase and truth, the gauge removed.
    pub rms: Angle,
    /// The plane by which the (shifted) phase exceeds the truth; its slope is 0 when only an offset is free.
    pub plane: Plane,
    /// `[y, x]` in pixels: the shift that was applied to the phase.
    pub shift: [f64; 2],
    /// The phase in the gauge of the truth, (ny, nx), in radians: shifted, without the plane.
    pub aligned: Vec<f64>,
}

/// Compares a phase image (ny, nx) in radians with the truth, up to what the experiment does not fix.
///
/// With P the weighted projection onto what the gauge leaves free (constants; or planes) and S the shift:
///
/// ```text
/// t' = (1 − P) truth,   f' = (1 − P) S phase
/// correlation = Σ w t' f' / √(Σ w t'² Σ w f'²),   rms = √(Σ w (f' − t')² / Σ w)
/// ```
///
/// f' − t' is the difference of the two without its own best plane, so `rms` is the least that any plane can give; and the correlation is the
/// same for any scale of the phase. The weights may be a mask or a window. The phases must be unwrapped.
///
/// The shift is found on the weighted images, again after each shift, so that the edge of the weights, which does not move, stops
/// mattering; the image is moved as a periodic one, so pixels within the shift of an edge are not to be trusted.
///
/// # Errors
/// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, weights that are negative, all 0 or on a line,
/// and images that are constant (or planar) where the weights are, [`Error::Param`] as for [`Register`](crate::metrics::Register).
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
    let scales = [square(&truth, &w), square(&phase, &w)];
    let free = |x: &mut [f64]| -> Result<Plane, Error> {
        if params.gauge == Gauge::Phase {
            return Ok(Plane { offset: remove_mean(x, &w), slope: [0.0; 2] });
        }
        let p = plane::fit(x, &w, dims)?;
        p.subtract(x, dims)?;
        Ok(p)
    };
    let mut t = truth;
    let truth_plane = free(&mut t)?;

    // The plane goes before the shift, whose wrap-around would cut it into steps.
    let mut f0 = phase;
    let mut phase_plane = free(&mut f0)?;
    let mut f = f0.clone();
    let mut shift = [0.0; 2];
    if params.gauge == Gauge::RampAndShift {
        let finder = PeakFinder::new(dims, params.upsample)?;
        for _ in 0..ROUNDS {
            let step = finder.step(&t, &f, &w, params.left(shift))?;
            if step == [0.0; 2] {
                break;
            }
            shift = [shift[0] + step[0], shift[1] + step[1]];
            f = moved(&f0, dims, shift)?;
            free(&mut f)?;
        }
        // The whole plane: that of before moves with the image, and what the moved image still had.
        f = moved(&f0, dims, shift)?;
        let rest = free(&mut f)?;
        phase_plane.offset += rest.offset - phase_plane.slope[0] * shift[0] - phase_plane.slope[1] * shift[1];
        phase_plane.slope = [phase_plane.slope[0] + rest.slope[0], phase_plane.slope[1] + rest.slope[1]];
    }

    let correlation = weighted_correlation(&t, &f, &w, scales)?;
    let difference: Vec<f64> = t.iter().zip(&f).map(|(t, f)| f - t).collect();
    let rms = (square(&difference, &w) / w.iter().sum::<f64>()).sqrt();
    let aligned = f.iter().enumerate().map(|(i, f)| f + truth_plane.at(i / dims[1], i % dims[1], dims)).collect();
    let plane = Plane {
        offset: phase_plane.offset - truth_plane.offset,
        slope: [phase_plane.slope[0] - truth_plane.slope[0], phase_plane.slope[1] - truth_plane.slope[1]],
    };
    Ok(PhaseComparison { correlation, rms: Angle::rad(rms), plane, shift, aligned })
}

/// x(r − s) of a periodic real image.
fn moved(x: &[f64], dims: [usize; 2], shift: [f64; 2]) -> Result<Vec<f64>, Error> {
    let op = FourierShift::<f64>::new(dims, shift, Field::Real)?;
    let mut y = vec![0.0; x.len()];
    op.apply(x, &mut y, Write::Set, &mut vec![0.0; op.scratch_len()]);
    Ok(y)
}

impl PeakFinder {
    /// The shift that brings the weighted f onto the weighted t.
    fn step(&self, t: &[f64], f: &[f64], w: &[f64], left: Option<f64>) -> Result<[f64; 2], Error> {
        let spectrum = |x: &[f64]| {
            let mut y: Vec<_> = x.iter().zip(w).map(|(x, w)| Complex::new(x * w, 0.0)).collect();
            self.fft.forward(&mut y, &mut vec![Complex::default(); self.fft.scratch_len()]);
            y
        };
        let (mut a, b) = (spectrum(t), spectrum(f));
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b.conj());
        self.find(&a, left)
    }
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
