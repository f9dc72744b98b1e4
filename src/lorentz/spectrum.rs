//! How much power a phase is expected to have at each frequency: what the lowest frequencies are held by where the
//! images hardly show them.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::lorentz::precondition::sensitivity;
use crate::lorentz::{Gradients, LorentzModel, LorentzObjective, LorentzParams, Loss, noise_level};
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;
use crate::units::SpatialFrequency;

/// A penalty by frequency, the logarithm of a Gaussian probability with the spectrum `S ∝ q^−p`:
///
/// ```text
/// R = w/(2N²) Σ_q (min(q, q_c)/q_c)^p |Φ(q)|²,   Φ = F{φ},   w = 2σ²/(n S(q_c))
/// ```
///
/// Defocused images see a phase as q², so their noise, in the phase, grows as q⁻⁴ towards low frequencies, faster than
/// the spectrum of any object. Below q_c the penalty weighs one against the other. Above it is constant, and weak beside
/// what the images say: edges are left to a [`Regularizer`](crate::lorentz::Regularizer).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseSpectrum {
    /// w.
    pub weight: f64,
    /// p.
    pub exponent: f64,
    /// q_c.
    pub corner: SpatialFrequency,
}

/// Signal over noise above which a frequency is taken as seen.
const SEEN: f64 = 4.0;

/// One ring of frequencies: its radius, how many there are, the mean sensitivity h and the mean power of the statistic.
struct Ring {
    q: f64,
    count: f64,
    h: f64,
    power: f64,
}

impl PhaseSpectrum {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return Err(Error::param("spectrum.weight", self.weight, "a finite number >= 0"));
        }
        if !(0.0..=10.0).contains(&self.exponent) {
            return Err(Error::param("spectrum.exponent", self.exponent, "0 to 10"));
        }
        if !(self.corner > SpatialFrequency::ZERO && self.corner.is_finite()) {
            return Err(Error::param("spectrum.corner", self.corner, "a positive frequency"));
        }
        Ok(())
    }

    /// The factor of |Φ|² at a frequency in 1/Å.
    pub(crate) fn at(&self, q: f64) -> f64 {
        if q == 0.0 {
            return 0.0;
        }
        let c = self.corner.to_per_angstrom();
        self.weight * (q.min(c) / c).powf(self.exponent)
    }

    /// The spectrum that explains best how strongly a series deviates, at each frequency, from one without phase; `None`
    /// where nothing rises above the noise.
    ///
    /// With g = ∂L/∂φ at φ = 0, `−N F{g}/2 = hΦ + ξ` for a weak phase, ξ being noise of the power hσ²/n and
    /// h = (Ā²/n) Σ_k (Im T_k)². Level and exponent of S are those of the greatest likelihood of
    /// `|N F{g}/2|²/N`, exponentially distributed about `h² S + hσ²/n`, over the frequencies below the first maximum
    /// of Im T at the largest defocus. σ is the noise of √I ([`noise_level`]).
    ///
    /// # Errors
    /// Those of [`LorentzModel::new`] and [`LorentzObjective::new`]; [`Error::Shape`] for another amplitude.
    ///
    /// # References
    /// The likelihood is P. Whittle's, *Ark. Mat.* 2, 423 (1953).
    pub fn estimate<T: Real>(
        series: &LorentzParams,
        images: &Tensor<T>,
        amplitude: &[T],
    ) -> Result<Option<Self>, Error> {
        let [ny, nx] = series.grid.dims;
        let len = ny * nx;
        if amplitude.len() != len {
            return Err(Error::shape("PhaseSpectrum amplitude", &[ny, nx], &[amplitude.len()]));
        }
        let model = LorentzModel::<T>::new(series)?;
        let n = model.count();
        let mut objective = LorentzObjective::new(model, images, None, Loss::Amplitude)?;
        let mut variance = 0.0;
        for a in objective.measured().chunks(len) {
            variance += noise_level(a, [ny, nx])?.powi(2) / (n * n) as f64;
        }
        let mut g = try_zeroed(len)?;
        objective.evaluate(
            &vec![T::ZERO; len],
            amplitude,
            None,
            Gradients { phase: &mut g, amplitude: None, settings: None },
        )?;
        let rings = rings(objective.model(), &g, amplitude)?;
        Ok(fit(&rings, variance))
    }
}

/// The statistic by rings, one step of the grid wide.
fn rings<T: Real>(model: &LorentzModel<T>, g: &[T], amplitude: &[T]) -> Result<Vec<Ring>, Error> {
    let [ny, nx] = model.grid().dims;
    let len = ny * nx;
    let mut f: Vec<Complex<T>> = g.iter().map(|g| Complex::new(*g, T::ZERO)).collect();
    let fft = Fft2::<T>::new([ny, nx])?;
    fft.forward(&mut f, &mut try_zeroed(fft.scratch_len())?);
    let a2 = amplitude.iter().map(|a| a.f64().powi(2)).sum::<f64>() / len as f64;
    let step = model.grid().frequency_step().map(|d| d.to_per_angstrom());
    let step = step[0].max(step[1]);
    let [ky, kx] = model.grid().frequencies();
    // Where πλDq² = π/2.
    let defocus = model.settings().iter().fold(0.0f64, |m, w| m.max(w[0].abs()));
    let nyquist = ky.iter().chain(&kx).fold(0.0f64, |m, k| m.max(k.abs()));
    let last = (0.5 / (model.lambda() * defocus.max(1e-9))).sqrt().clamp(8.0 * step, nyquist.max(8.0 * step));
    let mut rings: Vec<Ring> =
        (0..(last / step) as usize + 1).map(|i| Ring { q: i as f64 * step, count: 0.0, h: 0.0, power: 0.0 }).collect();
    for (i, z) in f.iter().enumerate() {
        let (iy, ix) = (i / nx, i % nx);
        let ring = (ky[iy].hypot(kx[ix]) / step).round() as usize;
        if ring == 0 || ring >= rings.len() {
            continue;
        }
        let r = &mut rings[ring];
        r.count += 1.0;
        r.h += a2 * sensitivity(model, iy, ix);
        r.power += (z.re.f64().powi(2) + z.im.f64().powi(2)) * 0.25 * len as f64;
    }
    rings.retain(|r| r.count > 0.0 && r.h > 0.0);
    for r in &mut rings {
        (r.h, r.power) = (r.h / r.count, r.power / r.count);
    }
    Ok(rings)
}

/// Level and exponent by the greatest likelihood, and the corner.
fn fit(rings: &[Ring], variance: f64) -> Option<PhaseSpectrum> {
    let first = rings.first()?;
    // The power of each ring above the noise says between which levels, at the first ring, to look.
    let mut best: Option<(f64, f64, f64)> = None;
    for p in (4..=24).map(|p| 0.25 * f64::from(p)) {
        let shape: Vec<f64> = rings.iter().map(|r| (r.q / first.q).powf(-p)).collect();
        let score = |log: f64| -> f64 {
            let level = log.exp();
            let one = |(r, s): (&Ring, &f64)| {
                let v = r.h * r.h * level * s + r.h * variance + f64::MIN_POSITIVE;
                r.count * (v.ln() + r.power / v)
            };
            rings.iter().zip(&shape).map(one).sum()
        };
        let raw = rings.iter().zip(&shape).map(|(r, s)| r.power / (r.h * r.h * s));
        let (low, high) = raw.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        if !(low > 0.0 && high.is_finite()) {
            return None;
        }
        // A grid, then its best cell halved.
        let (low, high) = (low.ln() - 3.0, high.ln() + 1.0);
        let mut step = (high - low) / 64.0;
        let mut at = (0..=64).map(|i| low + f64::from(i) * step).min_by(|a, b| score(*a).total_cmp(&score(*b)))?;
        while step > 1e-3 {
            step *= 0.5;
            at = [at - step, at, at + step].into_iter().min_by(|a, b| score(*a).total_cmp(&score(*b)))?;
        }
        let value = score(at);
        if best.is_none_or(|(b, _, _)| value < b) {
            best = Some((value, at.exp(), p));
        }
    }
    let (_, level, p) = best?;
    let power = |q: f64| level * (q / first.q).powf(-p);
    let ratio = |r: &Ring| power(r.q) * r.h / variance.max(f64::MIN_POSITIVE);
    let seen = rings.iter().find(|r| ratio(r) >= SEEN);
    let corner = seen.or_else(|| rings.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))))?;
    let found = PhaseSpectrum {
        weight: 2.0 * variance / power(corner.q),
        exponent: p,
        corner: SpatialFrequency::per_angstrom(corner.q),
    };
    found.check().is_ok().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::frequencies;
    use crate::lorentz::{ImageSetting, Noise, add_noise};
    use crate::optics::Grid;
    use crate::par::Par;
    use crate::rng;
    use crate::units::Length;

    #[test]
    fn level_and_exponent_of_a_random_phase_are_found_in_noisy_images() {
        let (side, p) = (128, 3.0);
        let len = side * side;
        // S = A (q/q₁)^−p per pixel, q₁ one step of the grid.
        let (level, k) = (40.0, frequencies(side, 1.0));
        let fft = Fft2::<f64>::new([side; 2]).unwrap();
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        let mut r = rng::stream(3, 0);
        let mut f: Vec<_> = (0..len).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
        fft.forward(&mut f, &mut scratch);
        for (i, z) in f.iter_mut().enumerate() {
            let q = k[i / side].hypot(k[i % side]) * side as f64;
            *z *= if q == 0.0 { 0.0 } else { (level * q.powf(-p)).sqrt() };
        }
        fft.inverse(&mut f, &mut scratch);
        let phase: Vec<f64> = f.iter().map(|z| z.re).collect();
        let image = |um| ImageSetting { defocus: Length::um(um), ..ImageSetting::default() };
        let series = LorentzParams {
            grid: Grid { dims: [side; 2], sampling: [Length::nm(5.0); 2] },
            images: vec![image(-200.0), image(200.0)],
            par: Par::seq(),
            ..LorentzParams::default()
        };
        let ones = vec![1.0; len];
        let clean = LorentzModel::new(&series).unwrap().images(&phase, &ones).unwrap();
        let mut found = Vec::new();
        for percent in [2.0, 10.0] {
            let mut images = clean.clone();
            add_noise(&mut images, Noise::AmplitudePercent(percent), 1, &Par::seq()).unwrap();
            let s = PhaseSpectrum::estimate(&series, &images, &ones).unwrap().unwrap();
            // Some hundred frequencies stand above the noise: the level of the power is known to a tenth, the exponent
            // to a few tenths.
            assert!((s.exponent - p).abs() <= 0.5, "{percent} %: {s:?}");
            let q = s.corner.to_per_angstrom() * 50.0 * side as f64;
            let expected = (percent / 200.0f64).powi(2) / (level * q.powf(-p));
            assert!((s.weight / expected).ln().abs() < 0.5, "{percent} %: {s:?}, weight {expected}");
            found.push(s);
        }
        // More noise hides more.
        assert!(found[1].corner > found[0].corner);
        assert!(PhaseSpectrum { weight: -1.0, ..found[0] }.check().is_err());
        assert!(PhaseSpectrum { corner: SpatialFrequency::ZERO, ..found[0] }.check().is_err());
    }
}
