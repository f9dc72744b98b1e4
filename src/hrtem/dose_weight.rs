//! Dose weighting: frames count at each frequency by what radiation has left there.

use crate::error::Error;
use crate::hrtem::amplitude_filter::AmplitudeFilter;
use crate::hrtem::critical_dose::{Fading, fading};
use crate::hrtem::frame_spectra::FrameSpectra;
use crate::metrics::Window;
use crate::par::Par;
use crate::real::cis;
use crate::shape::Limits;
use crate::source::FrameSource;
use crate::units::{Dose, Energy, Length, SpatialFrequency};
use num_complex::Complex;

/// The dose after which a frequency of a biological specimen at liquid-nitrogen temperature has lost 1 − 1/e of its power:
///
/// ```text
/// N_e(k) = 0.245 k^{−1.665} + 2.81   e/Å², k in 1/Å, at 300 kV;  × 0.8 at 200 kV, linear between and beyond
/// ```
///
/// # References
/// T. Grant, N. Grigorieff, eLife 4, e06980 (2015), equation 3.
///
/// ```
/// use exitwave::hrtem::critical_exposure;
/// use exitwave::units::{Energy, SpatialFrequency};
/// let n = critical_exposure(SpatialFrequency::per_angstrom(1.0), Energy::kev(300.0));
/// assert!((n.to_per_angstrom2() - 3.055).abs() < 1e-12);
/// ```
pub fn critical_exposure(k: SpatialFrequency, energy: Energy) -> Dose {
    let voltage = 1.0 + 0.2 * (energy.to_kev() - 300.0) / 100.0;
    Dose::per_angstrom2((0.245 * k.to_per_angstrom().powf(-1.665) + 2.81) * voltage.max(0.1))
}

/// Weights of frames at frequencies: `w_f(k) = exp(−N_f / 2 N_c(k))`, N_f being the dose until the middle of frame f.
#[derive(Clone, Debug)]
pub struct FrameWeights {
    /// Dose until the middle of each frame, e/Å².
    dose: Vec<f64>,
    /// Critical doses at increasing frequencies in cycles a pixel; linear in 1/N_c between, constant beyond.
    critical: Vec<(f64, f64)>,
}

impl FrameWeights {
    /// By the curve for cryo-microscopy, [`critical_exposure`].
    ///
    /// # Errors
    /// [`Error::Param`] for no frames, doses that are negative or not finite, a pixel or an energy that is not positive.
    pub fn cryo(
        frames: usize,
        dose_per_frame: Dose,
        before: Dose,
        pixel: Length,
        energy: Energy,
    ) -> Result<Self, Error> {
        let d = pixel.to_angstrom();
        if !(d > 0.0 && d.is_finite()) {
            return Err(Error::param("pixel", d, "a positive length"));
        }
        if !(energy.to_kev() > 0.0 && energy.is_finite()) {
            return Err(Error::param("energy", energy, "a positive energy"));
        }
        let at = |i: i32| {
            let k = 0.005 * f64::from(i);
            (k, critical_exposure(SpatialFrequency::per_angstrom(k / d), energy).to_per_angstrom2())
        };
        Ok(FrameWeights { dose: doses(frames, dose_per_frame, before)?, critical: (1..=142).map(at).collect() })
    }

    /// By the fading of the reflections of this very series: 1/N_c averaged over the reflections in eight bands of frequency, weighted by their certainty.
    ///
    /// # Errors
    /// [`Error::Param`] as for [`FrameWeights::cryo`], or when no reflection is known well enough.
    pub fn measured(frames: usize, dose_per_frame: Dose, reflections: &[ReflectionFading]) -> Result<Self, Error> {
        let dose = doses(frames, dose_per_frame, Dose::ZERO)?;
        let mut bands = [[0.0; 3]; 8];
        for r in reflections {
            let (n, s) = (r.fading.critical.to_per_angstrom2(), r.fading.uncertainty.to_per_angstrom2());
            if n > 0.0 && n.is_finite() && s > 0.0 && s.is_finite() {
                let k = r.frequency[0].hypot(r.frequency[1]);
                // var(1/N) = s²/N⁴.
                let w = (n * n / s).powi(2);
                let b = &mut bands[((k * 16.0) as usize).min(7)];
                *b = [b[0] + w, b[1] + w * k, b[2] + w / n];
            }
        }
        let known = bands.iter().filter(|b| b[0] > 0.0);
        let critical: Vec<(f64, f64)> = known.map(|b| (b[1] / b[0], b[0] / b[2])).collect();
        if critical.is_empty() {
            return Err(Error::param("reflections", reflections.len(), "reflections whose fading is known"));
        }
        Ok(FrameWeights { dose, critical })
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.dose.len()
    }

    /// w_f at a frequency, cycles a pixel.
    ///
    /// # Panics
    /// If there is no frame `f`.
    pub fn at(&self, f: usize, k: f64) -> f64 {
        let i = self.critical.partition_point(|c| c.0 < k);
        let rate = match (i.checked_sub(1).map(|j| self.critical[j]), self.critical.get(i)) {
            (Some(a), Some(b)) => 1.0 / a.1 + (1.0 / b.1 - 1.0 / a.1) * (k - a.0) / (b.0 - a.0),
            (Some(a), None) => 1.0 / a.1,
            (None, Some(b)) => 1.0 / b.1,
            (None, None) => 0.0,
        };
        (-0.5 * self.dose[f] * rate).exp()
    }
}

fn doses(frames: usize, each: Dose, before: Dose) -> Result<Vec<f64>, Error> {
    let (e, b) = (each.to_per_angstrom2(), before.to_per_angstrom2());
    if frames == 0 || !(e >= 0.0 && e.is_finite() && b >= 0.0 && b.is_finite()) {
        return Err(Error::param("dose", format!("{frames} frames of {e} after {b}"), "frames, and doses >= 0"));
    }
    Ok((0..frames).map(|f| b + e * (f as f64 + 0.5)).collect())
}

/// How one Fourier coefficient of a series fades.
#[derive(Clone, Copy, Debug)]
pub struct ReflectionFading {
    /// `[y, x]`, cycles a pixel.
    pub frequency: [f64; 2],
    /// Of its intensity.
    pub fading: Fading,
}

/// The fading of each selected coefficient, from an aligned series, in one reading: the part of its amplitude in each frame that is in phase with the mean of the others,
///
/// ```text
/// a_f = Re( T̄_{−f} F_f e^{+2πi k·d_f} )/|T_{−f}|,   a_f = a_0 e^{−N_f/2N_c}
/// ```
///
/// which noise does not raise, as it would a modulus.
///
/// # Errors
/// As [`aligned_sum`](crate::hrtem::aligned_sum), and [`Error::Param`] for a dose that is not positive.
pub fn reflection_fading(
    source: &dyn FrameSource,
    track: &[[f64; 2]],
    filter: &AmplitudeFilter,
    dose_per_frame: Dose,
    par: &Par,
    limits: Limits,
) -> Result<Vec<ReflectionFading>, Error> {
    let mut spectra = FrameSpectra::new(source, Window::None, par, limits, 0)?;
    let n = spectra.frames;
    if track.len() != n || filter.dims != spectra.dims {
        return Err(Error::shape(
            "reflection_fading [frames, ny, nx]",
            &[n, spectra.dims[0], spectra.dims[1]],
            &[track.len(), filter.dims[0], filter.dims[1]],
        ));
    }
    if !(dose_per_frame > Dose::ZERO && dose_per_frame.is_finite()) || n < 3 {
        return Err(Error::param(
            "dose_per_frame",
            format!("{dose_per_frame}, {n} frames"),
            "a positive dose, 3 frames",
        ));
    }
    let mut still: Vec<Vec<Complex<f64>>> = Vec::with_capacity(n);
    spectra.for_each(|first, slots, _| {
        for (i, slot) in slots.iter().enumerate() {
            let d = track[first + i];
            let one = |(&j, k): (&usize, &[f64; 2])| {
                let z = slot.spectrum[j];
                Complex::new(f64::from(z.re), f64::from(z.im))
                    * cis(std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1]))
            };
            still.push(filter.index.iter().zip(&filter.frequency).map(one).collect());
        }
        Ok(())
    })?;
    let dose = doses(n, dose_per_frame, Dose::ZERO)?;
    let mut out = Vec::with_capacity(filter.index.len());
    for (j, &frequency) in filter.frequency.iter().enumerate() {
        let total: Complex<f64> = still.iter().map(|z| z[j]).sum();
        let amplitude: Vec<f64> = still
            .iter()
            .map(|z| {
                let others = (total - z[j]).conj();
                (others * z[j]).re / others.norm().max(f64::MIN_POSITIVE)
            })
            .collect();
        let sigma = vec![filter.noise[j] * std::f64::consts::FRAC_1_SQRT_2; n];
        // The amplitude fades with 2 N_c.
        let f = fading(&dose, &amplitude, &sigma)?;
        let fading = Fading {
            initial: f.initial * f.initial,
            critical: f.critical * 0.5,
            uncertainty: f.uncertainty * 0.5,
            ..f
        };
        out.push(ReflectionFading { frequency, fading });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_published_curve() {
        let d = Dose::per_angstrom2(1.0);
        let w = FrameWeights::cryo(40, d, Dose::ZERO, Length::angstrom(1.0), Energy::kev(300.0)).unwrap();
        // At 0.25/Å: N_e = 0.245 · 0.25^{−1.665} + 2.81 = 5.27.
        let ne = 0.245 * 0.25f64.powf(-1.665) + 2.81;
        assert!((w.at(20, 0.25) - (-20.5 / (2.0 * ne)).exp()).abs() < 1e-6);
        assert!(w.at(3, 0.1) > w.at(3, 0.3) && w.at(3, 0.3) > w.at(30, 0.3));
        let at_200 = critical_exposure(SpatialFrequency::per_angstrom(0.25), Energy::kev(200.0));
        assert!((at_200.to_per_angstrom2() / ne - 0.8).abs() < 1e-12);
        assert!(FrameWeights::cryo(0, d, Dose::ZERO, Length::angstrom(1.0), Energy::kev(300.0)).is_err());
        assert!(FrameWeights::cryo(3, d, Dose::ZERO, Length::ZERO, Energy::kev(300.0)).is_err());
        assert!(FrameWeights::measured(3, d, &[]).is_err());
    }
}
