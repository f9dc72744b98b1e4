//! The amplitude filter: which Fourier coefficients of a noisy series hold a crystal.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::hrtem::frame_spectra::{Annuli, FrameSpectra};
use crate::metrics::Window;
use crate::par::Par;
use crate::real::unit;
use crate::shape::{Limits, try_zeroed};
use crate::source::FrameSource;

/// Mean, standard deviation, skewness and excess kurtosis of |ε| for complex normal ε of variance 1 (Rayleigh): √π/2,
/// √(1 − π/4), 2√π(π − 3)/(4 − π)^{3/2}, −(6π² − 24π + 16)/(4 − π)².
const RAYLEIGH: [f64; 4] = [0.886_226_925_452_758, 0.463_251_375_179_427, 0.631_110_657_818_937, 0.245_089_300_687_638];
/// Width of the rings in which the background is measured, in frequency steps.
const RING: f64 = 8.0;

/// Parameters of an [`AmplitudeFilter`].
#[derive(Clone, Debug)]
pub struct AmplitudeFilterParams {
    /// How many coefficients of pure noise may pass, on average over series.
    pub false_alarms: f64,
    /// Lowest and highest frequency that may be selected, cycles a pixel.
    pub band: [f64; 2],
    /// The largest number of coefficients that are kept: the most significant ones.
    pub largest: usize,
    /// Threads.
    pub par: Par,
    /// Memory that may be used.
    pub limits: Limits,
}

/// One coefficient of noise in ten series, periods from 2 to 100 pixels, at most 2000 coefficients.
impl Default for AmplitudeFilterParams {
    fn default() -> Self {
        AmplitudeFilterParams {
            false_alarms: 0.1,
            band: [0.01, 0.5],
            largest: 2000,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// The coefficients of a series of n frames whose summed amplitudes stand out of the background:
///
/// ```text
/// A(k) = Σ_f |F_f(k)|                                          summed over the frames: drift changes phases only
/// background   A ~ n s √π/2 + s √(n (1 − π/4)) z,              s²(|k|) = E|noise|², from the median of A in rings
/// selected     z > z_p,   M Q(z_p) = false alarms,             M coefficients in the band, Q the tail of z
/// filtered     F'_f(k) = A(k) F_f(k)/|F_f(k)|  if selected, else 0
/// ```
///
/// A coefficient of counting noise is complex normal, its modulus Rayleigh-distributed, and the sum of n of them has the mean and the standard deviation above.
/// The sum is not yet normal at the far end of the tail: z_p is the normal quantile corrected for skewness and kurtosis, γ = 0.631/√n, κ = 0.245/n (Cornish and Fisher):
/// z + (z² − 1)γ/6 + (z³ − 3z)κ/24 − (2z³ − 5z)γ²/36.
///
/// A reflection whose power in one frame is x times that of the noise (x ≪ 1) raises A by n s √π x/4, which is z ≈ 0.96 x √n: with 120 frames, half of those
/// with x = 0.5 pass.
///
/// # References
/// The amplitude filter: D. Zhang and others, Science 359, 675 (2018). E. A. Cornish, R. A. Fisher, Rev. Inst. Int. Stat. 5, 307 (1938).
#[derive(Clone, Debug)]
pub struct AmplitudeFilter {
    /// `[ny, nx]` of the frames.
    pub dims: [usize; 2],
    /// Number of frames.
    pub frames: usize,
    /// Flat indices in the half spectrum (ny, nx/2 + 1) of the selected coefficients, increasing.
    pub index: Vec<usize>,
    /// Their frequencies `[y, x]`, cycles a pixel.
    pub frequency: Vec<[f64; 2]>,
    /// Their summed amplitudes A.
    pub amplitude: Vec<f64>,
    /// s of the noise at each.
    pub noise: Vec<f64>,
    /// z of each.
    pub significance: Vec<f64>,
    /// z_p.
    pub threshold: f64,
    /// s in rings of 8 frequency steps of the shorter side, from 0.
    pub background: Vec<f64>,
}

impl AmplitudeFilter {
    /// Reads a series once and selects.
    ///
    /// # Errors
    /// [`Error::Param`] for a series without frames, frames smaller than 8 × 8, an empty band or a number of false alarms that is not positive;
    /// [`Error::Data`] for frames that are not finite; [`Error::OverBudget`], [`Error::OutOfMemory`] and what reading gives.
    pub fn new(source: &dyn FrameSource, params: &AmplitudeFilterParams) -> Result<Self, Error> {
        let amplitudes = (source.frame_len() as u64).saturating_mul(2 + 4);
        let mut spectra = FrameSpectra::new(source, Window::None, &params.par, params.limits, amplitudes)?;
        Self::of(&mut spectra, params)
    }

    pub(super) fn of(spectra: &mut FrameSpectra<'_>, params: &AmplitudeFilterParams) -> Result<Self, Error> {
        params.check()?;
        let mut sum: Vec<f32> = try_zeroed(spectra.dims[0] * spectra.half)?;
        spectra.for_each(|_, slots, par| {
            par.chunks(&mut sum, 1 << 16, |c, sum| {
                for slot in slots.iter() {
                    let part = &slot.spectrum[c << 16..][..sum.len()];
                    sum.iter_mut().zip(part).for_each(|(a, z)| *a += (z.re * z.re + z.im * z.im).sqrt());
                }
            });
            Ok(())
        })?;
        Self::select(spectra.dims, spectra.frames, &sum, params)
    }

    /// Selects from amplitudes that were summed elsewhere, `amplitude` being (ny, nx/2 + 1), over `frames` frames.
    ///
    /// # Errors
    /// [`Error::Param`] as for [`AmplitudeFilter::new`], [`Error::Shape`] for a wrong length.
    pub fn select(
        dims: [usize; 2],
        frames: usize,
        amplitude: &[f32],
        params: &AmplitudeFilterParams,
    ) -> Result<Self, Error> {
        params.check()?;
        let annuli = Annuli::new(dims, RING);
        if frames == 0 || amplitude.len() != dims[0] * (dims[1] / 2 + 1) {
            return Err(Error::shape(
                "AmplitudeFilter::select",
                &[1, dims[0] * (dims[1] / 2 + 1)],
                &[frames, amplitude.len()],
            ));
        }
        let n = frames as f64;
        let [mean, deviation, skewness, kurtosis] = RAYLEIGH;
        let (skewness, kurtosis) = (skewness / n.sqrt(), kurtosis / n);

        // The background: of each ring the median, of which the expected value is −γ/6 deviations from the mean.
        let mut rings = vec![Vec::new(); annuli.count];
        for (i, &a) in amplitude.iter().enumerate().filter(|(i, _)| annuli.independent(*i)) {
            rings[annuli.bin(annuli.k(i))].push(a);
        }
        let unit_median = n * mean - n.sqrt() * deviation * skewness / 6.0;
        let mut background: Vec<f64> = rings
            .iter_mut()
            .map(|r| {
                if r.len() < 32 {
                    return f64::NAN;
                }
                let middle = r.len() / 2;
                f64::from(*r.select_nth_unstable_by(middle, f32::total_cmp).1) / unit_median
            })
            .collect();
        // The innermost ring is full of the object, and rings in the corners may be empty: their neighbours stand for them.
        background[0] = f64::NAN;
        for i in 1..background.len() {
            if background[i].is_nan() {
                background[i] = background[i - 1];
            }
        }
        for i in (0..background.len() - 1).rev() {
            if background[i].is_nan() {
                background[i] = background[i + 1];
            }
        }
        if background[0].is_nan() {
            // Frames of a few pixels: one background for all.
            let mut all: Vec<f32> = rings.concat();
            let middle = all.len() / 2;
            let s = f64::from(*all.select_nth_unstable_by(middle, f32::total_cmp).1) / unit_median;
            background.fill(s);
        }
        if !background.iter().all(|s| s.is_finite()) {
            return Err(Error::Data {
                what: "frames too small, or not finite: no background can be measured".into(),
                index: 0,
            });
        }

        let within = |k: [f64; 2]| (params.band[0]..=params.band[1]).contains(&k[0].hypot(k[1]));
        let tested = (0..amplitude.len()).filter(|&i| annuli.independent(i) && within(annuli.k(i))).count().max(1);
        let z = normal_quantile((params.false_alarms / tested as f64).min(0.3));
        let threshold = z + (z * z - 1.0) * skewness / 6.0 + (z.powi(3) - 3.0 * z) * kurtosis / 24.0
            - (2.0 * z.powi(3) - 5.0 * z) * skewness.powi(2) / 36.0;
        let mut found: Vec<(usize, f64)> = Vec::new();
        for (i, &a) in amplitude.iter().enumerate() {
            let k = annuli.k(i);
            let s = background[annuli.bin(k)];
            let z = (f64::from(a) / s - n * mean) / (n.sqrt() * deviation);
            if z > threshold && annuli.independent(i) && within(k) {
                found.push((i, z));
            }
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(params.largest);
        found.sort_by_key(|f| f.0);
        let index: Vec<usize> = found.iter().map(|f| f.0).collect();
        let frequency: Vec<[f64; 2]> = index.iter().map(|&i| annuli.k(i)).collect();
        Ok(AmplitudeFilter {
            dims,
            frames,
            amplitude: index.iter().map(|&i| f64::from(amplitude[i])).collect(),
            noise: frequency.iter().map(|&k| background[annuli.bin(k)]).collect(),
            significance: found.iter().map(|f| f.1).collect(),
            index,
            frequency,
            threshold,
            background,
        })
    }

    /// The coefficients of an aligned sum T over these frames that stand out of the noise: |T|²/(n s²) is exponentially distributed there, and
    /// passes ln(M/false alarms) with the probability false alarms/M. With phases known, n x counts instead of x √n.
    pub(super) fn coherent(&self, total: &[Complex<f32>], params: &AmplitudeFilterParams) -> AmplitudeFilter {
        let annuli = Annuli::new(self.dims, RING);
        let within = |i: usize| {
            let k = annuli.k(i);
            annuli.independent(i) && (params.band[0]..=params.band[1]).contains(&k[0].hypot(k[1]))
        };
        let tested = (0..total.len()).filter(|&i| within(i)).count().max(1);
        let threshold = (tested as f64 / params.false_alarms).ln().max(1.0);
        let excess = |i: usize| {
            let s = self.background[annuli.bin(annuli.k(i))];
            f64::from(total[i].norm_sqr()) / (self.frames as f64 * s * s)
        };
        let mut found: Vec<(usize, f64)> =
            (0..total.len()).map(|i| (i, excess(i))).filter(|&(i, e)| e > threshold && within(i)).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(params.largest);
        found.sort_by_key(|f| f.0);
        let index: Vec<usize> = found.iter().map(|f| f.0).collect();
        let frequency: Vec<[f64; 2]> = index.iter().map(|&i| annuli.k(i)).collect();
        AmplitudeFilter {
            amplitude: index.iter().map(|&i| f64::from(total[i].norm())).collect(),
            noise: frequency.iter().map(|&k| self.background[annuli.bin(k)]).collect(),
            significance: found.iter().map(|f| f.1).collect(),
            index,
            frequency,
            threshold,
            ..self.clone()
        }
    }

    /// s of the noise at a frequency, cycles a pixel.
    pub fn noise_at(&self, k: [f64; 2]) -> f64 {
        self.background[Annuli::new(self.dims, RING).bin(k)]
    }

    /// The filtered frame's half spectrum: the selected amplitudes of the sum, divided by the number of frames, with the phases of `spectrum`; all else is 0.
    ///
    /// # Panics
    /// If `spectrum` is not (ny, nx/2 + 1).
    pub fn apply(&self, spectrum: &mut [Complex<f32>]) {
        check_len("AmplitudeFilter", "spectrum", self.dims[0] * (self.dims[1] / 2 + 1), spectrum.len());
        let (half, ny) = (self.dims[1] / 2 + 1, self.dims[0]);
        let kept: Vec<Complex<f32>> = self
            .index
            .iter()
            .zip(&self.amplitude)
            .map(|(&i, &a)| unit(spectrum[i]) * (a / self.frames as f64) as f32)
            .collect();
        spectrum.fill(Complex::default());
        for (&i, &z) in self.index.iter().zip(&kept) {
            spectrum[i] = z;
            // Column 0 holds both mates.
            if i % half == 0 {
                spectrum[(ny - i / half) % ny * half] = z.conj();
            }
        }
    }
}

impl AmplitudeFilterParams {
    fn check(&self) -> Result<(), Error> {
        if !(self.false_alarms > 0.0 && self.false_alarms.is_finite()) {
            return Err(Error::param("false_alarms", self.false_alarms, "a positive number of coefficients"));
        }
        if !(self.band[0] >= 0.0 && self.band[1] > self.band[0] && self.band[1].is_finite()) {
            return Err(Error::param(
                "band",
                format!("{:?}", self.band),
                "0 <= lowest < highest frequency, cycles a pixel",
            ));
        }
        if self.largest == 0 {
            return Err(Error::param("largest", 0, "at least one coefficient"));
        }
        Ok(())
    }
}

/// z with Q(z) = p for the standard normal tail, p ≤ 0.3: bisection on Laplace's continued fraction for Mills' ratio.
fn normal_quantile(p: f64) -> f64 {
    let ln_tail = |z: f64| {
        let mills = (1..200).rev().fold(z, |t, i| z + f64::from(i) / t);
        -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln() - mills.ln()
    };
    let (mut low, mut high) = (0.4, 40.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ln_tail(middle) > p.ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [(0.158_655_253_931_457, 1.0), (0.022_750_131_948_179, 2.0), (2.866_515_718_791_94e-7, 5.0)] {
            assert!((normal_quantile(p) - z).abs() < 1e-9, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn the_false_alarm_rate_is_the_one_asked_for() {
        // Sums of moduli of complex normal numbers in the place of spectra; many alarms are asked for, to count them well.
        let dims = [256, 256];
        for (frames, asked) in [(2usize, 100.0), (10, 30.0), (120, 20.0)] {
            let mut r = rng::stream(5, frames as u64);
            let a: Vec<f32> = (0..256 * 129)
                .map(|_| {
                    let modulus = |_| {
                        let (x, y) = rng::normal_pair(&mut r);
                        x.hypot(y)
                    };
                    (0..frames).map(modulus).sum::<f64>() as f32
                })
                .collect();
            let params = AmplitudeFilterParams { false_alarms: asked, ..Default::default() };
            let f = AmplitudeFilter::select(dims, frames, &a, &params).unwrap();
            // s² = E|ε|² = 2. Poisson: five standard errors, and 20 % for what the expansion leaves out at two frames.
            let got = f.index.len() as f64;
            assert!((got - asked).abs() < 5.0 * asked.sqrt() + 0.2 * asked, "{frames}: {got} of {asked}");
            assert!(f.background.iter().all(|s| (s / 2f64.sqrt() - 1.0).abs() < 0.15), "{:?}", f.background);
        }
    }

    #[test]
    fn impossible_parameters_are_errors() {
        let a = vec![1.0f32; 16 * 9];
        let bad = |p: AmplitudeFilterParams| AmplitudeFilter::select([16, 16], 3, &a, &p).is_err();
        assert!(bad(AmplitudeFilterParams { false_alarms: 0.0, ..Default::default() }));
        assert!(bad(AmplitudeFilterParams { band: [0.3, 0.1], ..Default::default() }));
        assert!(bad(AmplitudeFilterParams { band: [f64::NAN, 0.1], ..Default::default() }));
        assert!(bad(AmplitudeFilterParams { largest: 0, ..Default::default() }));
        assert!(AmplitudeFilter::select([16, 16], 0, &a, &AmplitudeFilterParams::default()).is_err());
        assert!(AmplitudeFilter::select([16, 18], 3, &a, &AmplitudeFilterParams::default()).is_err());
    }
}
