//! How much power a phase is expected to have at each frequency: what the lowest frequencies are held by where the
//! images hardly show them.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::lorentz::{Gradients, LorentzModel, LorentzObjective, LorentzParams, Loss, noise_level};
use crate::real::Real;
use crate::rng;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;
use crate::units::SpatialFrequency;

/// A penalty by frequency, the logarithm of a Gaussian probability with the spectrum `S ∝ (q² + q_k²)^(−p/2)`:
///
/// ```text
/// R = w/(2N²) Σ_q ((min(q, q_c)² + q_k²)/(q_c² + q_k²))^(p/2) |Φ(q)|²,   Φ = F{φ},   w = 2σ²/(n S(q_c))
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
    /// q_k, below which S is constant: the inverse size of what there is to see.
    pub knee: SpatialFrequency,
    /// q_c.
    pub corner: SpatialFrequency,
}

/// Signal over noise above which a frequency is taken as seen.
const SEEN: f64 = 4.0;

/// Structures larger than the frame over this are not expected to be stronger than those of that size: the lowest
/// frequencies, which noise hides, cannot say so themselves.
const LARGEST: f64 = 4.0;

/// One ring of frequencies: its radius, how many there are, the sensitivity h and the mean power of the statistic.
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
        if !(self.knee >= SpatialFrequency::ZERO && self.knee.is_finite()) {
            return Err(Error::param("spectrum.knee", self.knee, "a finite frequency >= 0"));
        }
        Ok(())
    }

    /// The factor of |Φ|² at a frequency in 1/Å.
    pub(crate) fn at(&self, q: f64) -> f64 {
        if q == 0.0 {
            return 0.0;
        }
        let (c, k) = (self.corner.to_per_angstrom(), self.knee.to_per_angstrom());
        self.weight * ((q.min(c).powi(2) + k * k) / (c * c + k * k)).powf(0.5 * self.exponent)
    }

    /// The spectrum that explains best what a series says about the phase at each frequency, from `phase` on: that of a
    /// first retrieval, or 0 where the phase is weak. `None` where nothing rises above the noise.
    ///
    /// With g = ∂L/∂φ at a phase φ₁ close to the true one, `hΦ₁ − N F{g}/2 = hΦ + ξ`, a step of Gauss and
    /// Newton; ξ is noise of the power hσ²/n. For a weak phase h = (Ā²/n) Σ_k (Im T_k)²; a strong one is seen better at low
    /// frequencies, by the displacement of its image. So h is measured: the images of φ₁ with noise of a known variance
    /// have a gradient of that power. Level, exponent and knee of S are those of the greatest likelihood of
    /// `|hΦ₁ − N F{g}/2|²/N`, exponentially distributed about `h² S + hσ²/n`, over the frequencies below the first maximum
    /// of Im T at the largest defocus. σ is the noise of √I ([`noise_level`]).
    ///
    /// # Errors
    /// Those of [`LorentzModel::new`] and [`LorentzObjective::new`]; [`Error::Shape`] for another amplitude or
    /// phase.
    ///
    /// # References
    /// The likelihood is P. Whittle's, *Ark. Mat.* 2, 423 (1953).
    pub fn estimate<T: Real>(
        series: &LorentzParams,
        images: &Tensor<T>,
        amplitude: &[T],
        phase: &[T],
    ) -> Result<Option<Self>, Error> {
        let [ny, nx] = series.grid.dims;
        let len = ny * nx;
        for (op, x) in [("PhaseSpectrum amplitude", amplitude), ("PhaseSpectrum phase", phase)] {
            if x.len() != len {
                return Err(Error::shape(op, &[ny, nx], &[x.len()]));
            }
        }
        let slope = |objective: &mut LorentzObjective<T>| -> Result<Vec<T>, Error> {
            let mut g = try_zeroed(len)?;
            let wanted = Gradients { phase: &mut g[..], amplitude: None, settings: None };
            objective.evaluate(phase, amplitude, None, wanted)?;
            Ok(g)
        };
        let mut objective = LorentzObjective::new(LorentzModel::new(series)?, images, None, Loss::Amplitude)?;
        let n = objective.model().count();
        let mut variance = 0.0;
        for a in objective.measured().chunks(len) {
            variance += noise_level(a, [ny, nx])?.powi(2) / (n * n) as f64;
        }
        let g = slope(&mut objective)?;
        let model = objective.into_model();

        // What noise alone would give at this phase says how sensitive the images are.
        let sigma = (variance * n as f64).sqrt().max(1e-3);
        let mut noisy = model.images(phase, amplitude)?;
        for (k, image) in noisy.as_mut_slice().chunks_mut(len).enumerate() {
            let mut stream = rng::stream(0, k as u64);
            image.iter_mut().for_each(|i| *i = (i.sqrt() + T::of(sigma * rng::normal(&mut stream))).powi(2));
        }
        let mut objective = LorentzObjective::new(model, &noisy, None, Loss::Amplitude)?;
        let noise = slope(&mut objective)?;
        let rings = rings(objective.model(), &g, phase, &noise, sigma * sigma / n as f64)?;
        Ok(fit(&rings, variance))
    }
}

/// The statistic by rings, one step of the grid wide; `noise` is the gradient by noise of the variance `unit`.
fn rings<T: Real>(model: &LorentzModel<T>, g: &[T], phase: &[T], noise: &[T], unit: f64) -> Result<Vec<Ring>, Error> {
    let [ny, nx] = model.grid().dims;
    let len = ny * nx;
    let fft = Fft2::<T>::new([ny, nx])?;
    let mut scratch = try_zeroed(fft.scratch_len())?;
    let mut spectrum = |x: &[T], scale: f64| {
        let mut f: Vec<Complex<T>> = x.iter().map(|x| Complex::new(*x * T::of(scale), T::ZERO)).collect();
        fft.forward(&mut f, &mut scratch);
        f
    };
    let half = -0.5 * len as f64;
    let (g, phase, noise) = (spectrum(g, half), spectrum(phase, 1.0), spectrum(noise, half));
    let step = model.grid().frequency_step().map(|d| d.to_per_angstrom());
    let step = step[0].max(step[1]);
    let [ky, kx] = model.grid().frequencies();
    // Where πλDq² = π/2.
    let defocus = model.settings().iter().fold(0.0f64, |m, w| m.max(w[0].abs()));
    let nyquist = ky.iter().chain(&kx).fold(0.0f64, |m, k| m.max(k.abs()));
    let last = (0.5 / (model.lambda() * defocus.max(1e-9))).sqrt().clamp(8.0 * step, nyquist.max(8.0 * step));
    let mut rings: Vec<Ring> =
        (0..(last / step) as usize + 1).map(|i| Ring { q: i as f64 * step, count: 0.0, h: 0.0, power: 0.0 }).collect();
    let ring = |i: usize| (ky[i / nx].hypot(kx[i % nx]) / step).round() as usize;
    for (i, z) in noise.iter().enumerate() {
        if let Some(r) = rings.get_mut(ring(i)) {
            r.count += 1.0;
            r.h += z.norm_sqr().f64() / (len as f64 * unit);
        }
    }
    rings.iter_mut().for_each(|r| r.h /= r.count.max(1.0));
    for (i, (g, p)) in g.iter().zip(&phase).enumerate() {
        if let Some(r) = rings.get_mut(ring(i)) {
            r.power += (g + p.scale(T::of(r.h))).norm_sqr().f64() / (len as f64 * r.count);
        }
    }
    rings.retain(|r| r.q > 0.0 && r.count > 0.0 && r.h > 0.0);
    Ok(rings)
}

/// Level, exponent and knee by the greatest likelihood, and the corner.
fn fit(rings: &[Ring], variance: f64) -> Option<PhaseSpectrum> {
    let (first, last) = (rings.first()?, rings.last()?);
    let mut best: Option<(f64, f64, f64, f64)> = None;
    // Knees from the largest structure that is expected to the last ring, √2 apart.
    let knees = std::iter::successors(Some(LARGEST * first.q), |k| {
        let next = k * std::f64::consts::SQRT_2;
        (next < last.q).then_some(next)
    });
    for knee in knees {
        for p in (4..=24).map(|p| 0.25 * f64::from(p)) {
            let shape: Vec<f64> = rings.iter().map(|r| shape(r.q, knee, p) / shape(first.q, knee, p)).collect();
            let (value, level) = level(rings, &shape, variance)?;
            if best.is_none_or(|b| value < b.0) {
                best = Some((value, level / self::shape(first.q, knee, p), knee, p));
            }
        }
    }
    let (_, level, knee, p) = best?;
    let power = |q: f64| level * shape(q, knee, p);
    let ratio = |r: &Ring| power(r.q) * r.h / variance.max(f64::MIN_POSITIVE);
    let seen = rings.iter().find(|r| ratio(r) >= SEEN);
    let corner = seen.or_else(|| rings.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))))?;
    let found = PhaseSpectrum {
        weight: 2.0 * variance / power(corner.q),
        exponent: p,
        knee: SpatialFrequency::per_angstrom(knee),
        corner: SpatialFrequency::per_angstrom(corner.q),
    };
    found.check().is_ok().then_some(found)
}

fn shape(q: f64, knee: f64, p: f64) -> f64 {
    (q * q + knee * knee).powf(-0.5 * p)
}

/// Minus the logarithm of the likelihood at the best level of a spectrum of this shape, and the level.
fn level(rings: &[Ring], shape: &[f64], variance: f64) -> Option<(f64, f64)> {
    let score = |log: f64| -> f64 {
        let level = log.exp();
        let one = |(r, s): (&Ring, &f64)| {
            let v = r.h * r.h * level * s + r.h * variance + f64::MIN_POSITIVE;
            r.count * (v.ln() + r.power / v)
        };
        rings.iter().zip(shape).map(one).sum()
    };
    // Between the levels at which single rings would be all signal; a grid, then its best cell halved.
    let raw = rings.iter().zip(shape).map(|(r, s)| r.power / (r.h * r.h * s));
    let (low, high) = raw.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    if !(low > 0.0 && high.is_finite()) {
        return None;
    }
    let (low, high) = (low.ln() - 3.0, high.ln() + 1.0);
    let mut step = (high - low) / 32.0;
    let mut at = (0..=32).map(|i| low + f64::from(i) * step).min_by(|a, b| score(*a).total_cmp(&score(*b)))?;
    while step > 1e-2 {
        step *= 0.5;
        at = [at - step, at, at + step].into_iter().min_by(|a, b| score(*a).total_cmp(&score(*b)))?;
    }
    Some((score(at), at.exp()))
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
    fn level_exponent_and_knee_of_a_random_phase_are_found_in_noisy_images() {
        let (side, p) = (128, 4.0);
        let len = side * side;
        // S = A (q² + 16)^(−p/2) per pixel, q in steps of the grid.
        let (level, k) = (2000.0, frequencies(side, 1.0));
        let power = |q: f64| level * (q * q + 16.0).powf(-0.5 * p);
        let fft = Fft2::<f64>::new([side; 2]).unwrap();
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        let mut r = rng::stream(3, 0);
        let mut f: Vec<_> = (0..len).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
        fft.forward(&mut f, &mut scratch);
        for (i, z) in f.iter_mut().enumerate() {
            let q = k[i / side].hypot(k[i % side]) * side as f64;
            *z *= if q == 0.0 { 0.0 } else { power(q).sqrt() };
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
        for percent in [4.0, 15.0] {
            let mut images = clean.clone();
            add_noise(&mut images, Noise::AmplitudePercent(percent), 1, &Par::seq()).unwrap();
            let s = PhaseSpectrum::estimate(&series, &images, &ones, &vec![0.0; len]).unwrap().unwrap();
            // Some hundred frequencies stand above the noise: the level of the power is known to a tenth, the exponent,
            // which trades with the knee, to about one.
            assert!((s.exponent - p).abs() <= 1.5, "{percent} %: {s:?}");
            let q = s.corner.to_per_angstrom() * 50.0 * side as f64;
            let expected = (percent / 200.0f64).powi(2) / power(q);
            assert!((s.weight / expected).ln().abs() < 0.5, "{percent} %: {s:?}, weight {expected}");
            found.push(s);
        }
        // More noise hides more.
        assert!(found[1].corner > found[0].corner);
        assert!(PhaseSpectrum { weight: -1.0, ..found[0] }.check().is_err());
        assert!(PhaseSpectrum { corner: SpatialFrequency::ZERO, ..found[0] }.check().is_err());
    }
}
