//! The loss of a series and its gradient, in one pass over the images: what a retrieval calls hundreds of times.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::lorentz::kernels;
use crate::lorentz::lane_loss::LaneLoss;
use crate::lorentz::model::{Bench, Warped};
use crate::lorentz::{LorentzModel, SETTING_WORDS};
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// What is minimised over images and pixels, y being the model and I the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// `(√y − √I)²`: counting noise has the same variance, ¼, in every √I.
    #[default]
    Amplitude,
    /// `y − I − I ln(y/I)`, the logarithm of the Poisson likelihood: for few counts.
    Poisson,
}

/// One image's part.
#[derive(Debug)]
struct Part<T: Real> {
    frame: Vec<Complex<T>>,
    loss: f64,
    by: [f64; SETTING_WORDS],
}

/// The mean loss of the model over all pixels of a series, with its gradients by phase, amplitude and settings.
///
/// ```text
/// L = 1/(nN) Σ_k Σ_r w ℓ(y_k(r), I_k(r))
/// g_y = ∂L/∂y,   g_I = Wᵀ g_y,   g_ψ = 2 g_I ψ,   g_O = Σ_k Fᴴ{ T̄_k F^{−H} g_ψ },   ∂L/∂φ = Im(g_O Ō)
/// ```
///
/// All buffers are made once; an evaluation allocates nothing that grows with the image.
#[derive(Debug)]
pub struct LorentzObjective<T: Real> {
    model: LorentzModel<T>,
    loss: Loss,
    /// √I or I, (n, ny, nx).
    measured: Vec<T>,
    weights: Option<Vec<T>>,
    /// For settings that are known and images that are not turned, where the sides allow it.
    lanes: Option<LaneLoss<T>>,
    // For all others, empty before the first of them.
    wave: Vec<Complex<T>>,
    spectrum: Vec<Complex<T>>,
    parts: Vec<Part<T>>,
    benches: Vec<Bench<T>>,
    /// Those of the settings of the last evaluation, where they change.
    transfers: Vec<Complex<T>>,
}

/// Which gradients are wanted; buffers are overwritten.
#[derive(Debug)]
pub struct Gradients<'a, T: Real> {
    /// By the phase, (ny, nx).
    pub phase: &'a mut [T],
    /// By the amplitude, (ny, nx).
    pub amplitude: Option<&'a mut [T]>,
    /// By the settings, one array an image.
    pub settings: Option<&'a mut [[f64; SETTING_WORDS]]>,
}

impl<T: Real> LorentzObjective<T> {
    /// The loss of `model` for the measured intensities (n, ny, nx); `weights`, if any, have the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Data`] for intensities that are negative or not finite where the weight is not 0, or
    /// weights that are negative; [`Error::OutOfMemory`].
    pub fn new(
        model: LorentzModel<T>,
        images: &Tensor<T>,
        weights: Option<&Tensor<T>>,
        loss: Loss,
    ) -> Result<Self, Error> {
        let [ny, nx] = model.grid().dims;
        let dims = [model.count(), ny, nx];
        if images.dims() != dims {
            return Err(Error::shape("LorentzObjective images", &dims, images.dims()));
        }
        if let Some(w) = weights {
            if w.dims() != dims {
                return Err(Error::shape("LorentzObjective weights", &dims, w.dims()));
            }
            if let Some(index) = w.as_slice().iter().position(|w| !(*w >= T::ZERO && w.is_finite())) {
                return Err(Error::Data { what: "a weight that is negative or not finite".into(), index });
            }
        }
        let counts = |i: usize| weights.is_none_or(|w| w.as_slice()[i] > T::ZERO);
        let wrong = |(i, v): (usize, &T)| counts(i) && !(*v >= T::ZERO && v.is_finite());
        if let Some((index, _)) = images.as_slice().iter().enumerate().find(|&v| wrong(v)) {
            return Err(Error::Data { what: "an intensity that is negative or not finite".into(), index });
        }
        let value = |i: usize| match (counts(i), loss) {
            (false, _) => T::ZERO,
            (true, Loss::Amplitude) => images.as_slice()[i].sqrt(),
            (true, Loss::Poisson) => images.as_slice()[i],
        };
        let mut measured = try_zeroed(images.len())?;
        model.par.chunks(&mut measured, kernels::CHUNK, |c, out| {
            out.iter_mut().enumerate().for_each(|(i, m)| *m = value(c * kernels::CHUNK + i));
        });
        Ok(LorentzObjective {
            loss,
            measured,
            weights: weights.map(|w| w.as_slice().to_vec()),
            lanes: None,
            wave: Vec::new(),
            spectrum: Vec::new(),
            parts: Vec::new(),
            benches: Vec::new(),
            transfers: Vec::new(),
            model,
        })
    }

    /// The model.
    pub fn model(&self) -> &LorentzModel<T> {
        &self.model
    }

    /// The model, for another loss.
    pub fn into_model(self) -> LorentzModel<T> {
        self.model
    }

    /// The measured √I ([`Loss::Amplitude`]) or I ([`Loss::Poisson`]), (n, ny, nx).
    pub fn measured(&self) -> &[T] {
        &self.measured
    }

    /// The buffers of images one by one.
    fn prepare(&mut self) -> Result<(), Error> {
        let len = self.model.fft.len();
        if self.wave.is_empty() {
            (self.wave, self.spectrum) = (try_zeroed(len)?, try_zeroed(len)?);
            self.benches = self.model.benches(Warped::No)?;
            let part = |_| Ok(Part { frame: try_zeroed(len)?, loss: 0.0, by: [0.0; SETTING_WORDS] });
            self.parts = (0..self.model.count()).map(part).collect::<Result<_, Error>>()?;
        }
        Ok(())
    }

    /// The loss of phase and amplitude (ny, nx), with its gradients. `settings` replace those of the model.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong number of settings, [`Error::OutOfMemory`] the first time, and the first time that
    /// settings are given.
    ///
    /// # Panics
    /// If a slice has another length than the image.
    pub fn evaluate(
        &mut self,
        phase: &[T],
        amplitude: &[T],
        settings: Option<&[[f64; SETTING_WORDS]]>,
        gradients: Gradients<'_, T>,
    ) -> Result<f64, Error> {
        let (n, len) = (self.model.count(), self.model.fft.len());
        check_len("LorentzObjective", "phase", len, phase.len());
        check_len("LorentzObjective", "amplitude", len, amplitude.len());
        check_len("LorentzObjective", "gradient by the phase", len, gradients.phase.len());
        let turned = |words: &[[f64; SETTING_WORDS]]| words.iter().any(LorentzModel::<T>::is_warped);
        if settings.is_none()
            && gradients.settings.is_none()
            && self.weights.is_none()
            && !turned(self.model.settings())
            && LaneLoss::<T>::fits(self.model.grid().dims)
        {
            if self.lanes.is_none() {
                self.lanes = Some(LaneLoss::new(&self.model, &self.measured, self.loss)?);
            }
            let lanes = self.lanes.as_mut().expect("made above");
            return Ok(lanes.evaluate(phase, amplitude, gradients.phase, gradients.amplitude));
        }
        self.prepare()?;
        if let Some(s) = settings {
            if s.len() != n {
                return Err(Error::shape("LorentzObjective settings", &[n], &[s.len()]));
            }
            if self.transfers.is_empty() {
                self.transfers = try_zeroed(n * len)?;
            }
        }
        let words = settings.unwrap_or(self.model.settings());
        if turned(words) || gradients.settings.is_some() || self.loss != Loss::Amplitude || self.weights.is_some() {
            for b in self.benches.iter_mut().filter(|b| b.plain.is_empty()) {
                (b.plain, b.warped, b.back) = (try_zeroed(len)?, try_zeroed(len)?, try_zeroed(len)?);
            }
        }
        let by_settings = gradients.settings.is_some();
        let (model, loss, measured, weights) = (&self.model, self.loss, &self.measured, &self.weights);
        model.object(phase, amplitude, &mut self.wave, &mut self.spectrum, &mut self.benches[0]);
        let spectrum = &self.spectrum;

        // New transfer functions, where the settings are not those of the model.
        if settings.is_some() {
            model.fill_transfers(words, &mut self.transfers);
        }
        let transfers = if settings.is_some() { &self.transfers[..] } else { model.transfers() };

        // Each image on its own.
        let scale = T::of(1.0 / (n * len) as f64);
        let tiny = T::MIN_POSITIVE.sqrt();
        model.par.chunks_with(&mut self.parts, 1, &mut self.benches, |k, part, bench| {
            let part = &mut part[0];
            let t = &transfers[k * len..][..len];
            let m = &measured[k * len..][..len];
            let w = weights.as_ref().map(|w| &w[k * len..][..len]);
            model.wave(t, spectrum, &mut part.frame, bench);
            let turned = LorentzModel::<T>::is_warped(&words[k]) || by_settings;
            part.by = [0.0; SETTING_WORDS];
            if turned {
                let warp = model.warp(&words[k]);
                kernels::intensity(&bench.psi, &mut bench.plain);
                warp.forward(&bench.plain, &mut bench.warped);
                part.loss = Self::pixels(loss, &mut bench.warped, m, w, scale, tiny);
                let [angle, ln_m] = warp.adjoint(&bench.plain, &bench.warped, &mut bench.back);
                (part.by[8], part.by[9]) = (angle, ln_m);
                kernels::scale_wave(&mut bench.psi, &bench.back);
            } else if loss == Loss::Amplitude && w.is_none() {
                part.loss = kernels::amplitude_loss_wave(&mut bench.psi, m, scale, tiny);
            } else {
                kernels::intensity(&bench.psi, &mut bench.plain);
                part.loss = Self::pixels(loss, &mut bench.plain, m, w, scale, tiny);
                kernels::scale_wave(&mut bench.psi, &bench.plain);
            }
            model.wave_adjoint(&mut part.frame, bench);
            let by_n = 1.0 / len as f64;
            if by_settings {
                let by = model.setting_gradient(&words[k], t, spectrum, &part.frame);
                for (p, b) in part.by.iter_mut().zip(by) {
                    *p = b * by_n;
                }
            }
            kernels::scaled_conj_product(&mut part.frame, t, T::of(by_n));
        });

        // The sum over the images, in their order, and back to the object.
        let (first, rest) = self.parts.split_at_mut(1);
        model.par.chunks(&mut first[0].frame, kernels::CHUNK, |i, sum| {
            for part in rest.iter() {
                kernels::add(sum, &part.frame[i * kernels::CHUNK..][..sum.len()]);
            }
        });
        let bench = &mut self.benches[0];
        model.fft.inverse_from_transposed(&mut first[0].frame, &mut bench.psi, T::ONE, &mut bench.scratch);
        let (g, o) = (&bench.psi, &self.wave);
        model.par.chunks(gradients.phase, kernels::CHUNK, |i, out| {
            let at = i * kernels::CHUNK;
            kernels::phase_gradient(&g[at..][..out.len()], &o[at..][..out.len()], out);
        });
        if let Some(by_amplitude) = gradients.amplitude {
            model.par.chunks(by_amplitude, kernels::CHUNK, |i, out| {
                let at = i * kernels::CHUNK;
                kernels::amplitude_gradient(&g[at..][..out.len()], &phase[at..][..out.len()], out);
            });
        }
        if let Some(out) = gradients.settings {
            out.iter_mut().zip(&self.parts).for_each(|(o, p)| *o = p.by);
        }
        Ok(self.parts.iter().map(|p| p.loss).sum::<f64>() / (n * len) as f64)
    }

    fn pixels(loss: Loss, y: &mut [T], m: &[T], w: Option<&[T]>, scale: T, tiny: T) -> f64 {
        match loss {
            Loss::Amplitude => kernels::amplitude_loss(y, m, w, scale, tiny),
            Loss::Poisson => kernels::poisson_loss(y, m, w, scale, tiny),
        }
    }

    /// `Σ w (∂√y/∂v)²/(nN)·2`, the Gauss–Newton curvature of the amplitude loss by a change v of the numbers of image k.
    pub(crate) fn setting_curvature(
        &mut self,
        phase: &[T],
        amplitude: &[T],
        words: &[f64; SETTING_WORDS],
        k: usize,
        change: &[f64; SETTING_WORDS],
    ) -> Result<f64, Error> {
        self.prepare()?;
        let (n, len) = (self.model.count(), self.wave.len());
        let (bench, part) = (&mut self.benches[0], &mut self.parts[k]);
        self.model.object(phase, amplitude, &mut self.wave, &mut self.spectrum, bench);
        let mut t = try_zeroed(len)?;
        self.model.fill_transfers(std::slice::from_ref(words), &mut t);
        self.model.wave(&t, &self.spectrum, &mut part.frame, bench);
        let psi = bench.psi.clone();
        self.model.wave_tangent(words, change, &self.spectrum, &mut part.frame, bench);
        let tiny = T::MIN_POSITIVE.sqrt();
        let mut sum = 0.0;
        for (p, d) in psi.iter().zip(&bench.psi) {
            let slope = (p.conj() * d).re / crate::real::norm(*p).max(tiny);
            sum += slope.f64() * slope.f64();
        }
        // Rotation and magnification by differences of the warped image.
        if change[8] != 0.0 || change[9] != 0.0 {
            let mut plain: Vec<T> = try_zeroed(len)?;
            kernels::intensity(&psi, &mut plain);
            let (mut a, mut b) = (plain.clone(), plain.clone());
            let h = 1e-4;
            for (out, s) in [(&mut a, h), (&mut b, -h)] {
                let mut w = *words;
                w[8] += s * change[8];
                w[9] += s * change[9];
                self.model.warp(&w).forward(&plain, out);
            }
            for (a, b) in a.iter().zip(&b) {
                let slope = (a.max(T::ZERO).sqrt().f64() - b.max(T::ZERO).sqrt().f64()) / (2.0 * h);
                sum += slope * slope;
            }
        }
        Ok(2.0 * sum / (n * len) as f64)
    }
}
