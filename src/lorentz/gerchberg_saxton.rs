//! Gerchberg–Saxton retrieval over a focal series.

use num_complex::Complex;

use crate::error::Error;
use crate::lorentz::kernels;
use crate::lorentz::model::Warped;
use crate::lorentz::{LorentzModel, LorentzParams, unwrap};
use crate::observe::{Observer, Step, Stop};
use crate::real::{Real, arg, unit};
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// Parameters of [`GerchbergSaxton`].
#[derive(Clone, Debug)]
pub struct GerchbergSaxtonParams {
    /// The series; settings without rotation and magnification.
    pub series: LorentzParams,
    /// Iterations.
    pub iterations: usize,
}

/// 100 iterations.
impl Default for GerchbergSaxtonParams {
    fn default() -> Self {
        GerchbergSaxtonParams { series: LorentzParams::default(), iterations: 100 }
    }
}

/// What [`GerchbergSaxton::run`] found.
#[derive(Clone, Debug)]
pub struct GerchbergSaxtonResult<T: Real> {
    /// The phase, unwrapped.
    pub phase: Tensor<T>,
    /// The amplitude.
    pub amplitude: Tensor<T>,
    /// Mean (|ψ_k| − √I_k)² before each iteration.
    pub loss: Vec<f64>,
    /// Why it ended.
    pub stop: Stop,
}

/// The object wave whose images have the measured amplitudes, by alternating between object and images:
///
/// ```text
/// ψ_k = F⁻¹{ F{O} T_k },   ψ'_k = √I_k ψ_k/|ψ_k|,   F{O} ← Σ_k T̄_k F{ψ'_k} / Σ_k |T_k|²
/// ```
///
/// Converges where the images differ little in defocus, and not where they differ much.
///
/// # References
/// R. W. Gerchberg, W. O. Saxton, *Optik* 35, 237 (1972); for series with envelopes T. Zhou et al., *npj Comput. Mater.*
/// 7, 141 (2021). Note: frequencies that no image transfers (Σ|T_k|² below 10⁻⁶ of its maximum) keep their value.
#[derive(Debug)]
pub struct GerchbergSaxton<T: Real> {
    model: LorentzModel<T>,
    iterations: usize,
    /// 1/Σ|T|², (nx, ny); 0 where nothing is transferred.
    inverse: Vec<T>,
}

impl<T: Real> GerchbergSaxton<T> {
    /// Plans the model.
    ///
    /// # Errors
    /// Those of [`LorentzModel::new`]; [`Error::Unsupported`] for turned or magnified images.
    pub fn new(params: &GerchbergSaxtonParams) -> Result<Self, Error> {
        let model = LorentzModel::<T>::new(&params.series)?;
        if model.settings().iter().any(LorentzModel::<T>::is_warped) {
            return Err(Error::Unsupported { what: "Gerchberg–Saxton on turned images: align them first".into() });
        }
        let len = model.fft.len();
        let mut inverse = try_zeroed(len)?;
        for t in model.transfers().chunks(len) {
            inverse.iter_mut().zip(t).for_each(|(s, t)| *s += t.norm_sqr());
        }
        let largest = inverse.iter().fold(T::ZERO, |m, s| m.max(*s));
        let least = largest * T::of(1e-6);
        inverse.iter_mut().for_each(|s| *s = if *s > least { T::ONE / *s } else { T::ZERO });
        Ok(GerchbergSaxton { model, iterations: params.iterations, inverse })
    }

    /// Runs from a phase and an amplitude (ny, nx) on `images` (n, ny, nx).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Data`] for intensities that are negative or not finite, [`Error::OutOfMemory`].
    pub fn run(
        &self,
        images: &Tensor<T>,
        phase: &[T],
        amplitude: &[T],
        observe: Observer<'_>,
    ) -> Result<GerchbergSaxtonResult<T>, Error> {
        let m = &self.model;
        let ([ny, nx], n) = (m.grid().dims, m.count());
        let len = ny * nx;
        if images.dims() != [n, ny, nx] {
            return Err(Error::shape("GerchbergSaxton images", &[n, ny, nx], images.dims()));
        }
        if phase.len() != len || amplitude.len() != len {
            return Err(Error::shape("GerchbergSaxton start", &[len, len], &[phase.len(), amplitude.len()]));
        }
        if let Some(index) = images.as_slice().iter().position(|i| !(*i >= T::ZERO && i.is_finite())) {
            return Err(Error::Data { what: "an intensity that is negative or not finite".into(), index });
        }
        let mut benches = m.benches(Warped::No)?;
        let (mut wave, mut spectrum): (Vec<Complex<T>>, Vec<Complex<T>>) = (try_zeroed(len)?, try_zeroed(len)?);
        m.object(phase, amplitude, &mut wave, &mut spectrum, &mut benches[0]);
        let mut parts: Vec<(Vec<Complex<T>>, f64)> =
            (0..n).map(|_| Ok((try_zeroed(len)?, 0.0))).collect::<Result<_, Error>>()?;
        let (mut loss, mut stop) = (Vec::new(), Stop::Iterations);
        for iteration in 0..self.iterations {
            m.par.chunks_with(&mut parts, 1, &mut benches, |k, part, bench| {
                let (frame, error) = &mut part[0];
                let t = &m.transfers()[k * len..][..len];
                m.wave(t, &spectrum, frame, bench);
                *error = 0.0;
                for (z, i) in bench.psi.iter_mut().zip(&images.as_slice()[k * len..][..len]) {
                    let a = i.sqrt();
                    *error += (crate::real::norm(*z) - a).f64().powi(2);
                    *z = unit(*z).scale(a);
                }
                m.wave_adjoint(frame, bench);
                kernels::scaled_conj_product(frame, t, T::ONE);
            });
            let (first, rest) = parts.split_at_mut(1);
            m.par.chunks(&mut first[0].0, kernels::CHUNK, |i, sum| {
                for (frame, _) in rest.iter() {
                    kernels::add(sum, &frame[i * kernels::CHUNK..][..sum.len()]);
                }
            });
            for ((s, z), w) in spectrum.iter_mut().zip(&first[0].0).zip(&self.inverse) {
                if *w > T::ZERO {
                    *s = z.scale(*w);
                }
            }
            let value = parts.iter().map(|p| p.1).sum::<f64>() / (n * len) as f64;
            loss.push(value);
            if !value.is_finite() {
                stop = Stop::NotFinite;
                break;
            }
            if observe(&Step::new(iteration + 1, self.iterations, value)).is_break() {
                stop = Stop::Cancelled;
                break;
            }
        }
        let bench = &mut benches[0];
        m.fft.inverse_from_transposed(&mut spectrum, &mut bench.psi, T::of(1.0 / len as f64), &mut bench.scratch);
        let phase = Tensor::from_vec(&[ny, nx], bench.psi.iter().map(|z| arg(*z)).collect())?;
        let amplitude = Tensor::from_vec(&[ny, nx], bench.psi.iter().map(|z| crate::real::norm(*z)).collect())?;
        Ok(GerchbergSaxtonResult { phase: unwrap(&phase)?, amplitude, loss, stop })
    }
}
