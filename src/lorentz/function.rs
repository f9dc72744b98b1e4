//! The forward model as a differentiable function of a graph.

use bytemuck::{cast_slice, cast_slice_mut};
use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::Error;
use crate::lorentz::kernels;
use crate::lorentz::{LorentzModel, SETTING_WORDS};
use crate::op::{Write, write};
use crate::real::Real;
use crate::shape::Space;

/// Phase (ny, nx), amplitude (ny, nx) [, settings (n, 10)] → intensities (n, ny, nx), for a graph: deep image priors, own
/// losses. The settings are the numbers of [`Word`](crate::lorentz::Word), in internal units; without them, those of
/// the model.
///
/// With `g_y` the gradient by the images, the vector–Jacobian product is that of
/// [`LorentzObjective`](crate::lorentz::LorentzObjective): `g_ψ = 2 (Wᵀ g_y) ψ`, `g_T = F{g_ψ}/N · conj(O)`,
/// `∂L/∂p = Re Σ conj(g_T) T ∂ln T/∂p`, `g_O = Σ_k Fᴴ{ T̄_k F{g_ψ}/N }`.
///
/// # Shapes
/// As said. The tape keeps the spectrum, the waves and the transfer functions.
#[derive(Debug)]
pub struct LorentzImages<T: Real> {
    model: LorentzModel<T>,
}

/// Two real images, and complex: frame, wave, wave, rows.
type Parts<'s, T> = (&'s mut [T], &'s mut [T], [&'s mut [Complex<T>]; 4]);

impl<T: Real> LorentzImages<T> {
    /// The function of a model. Its images run one after the other; the model's threads are not used inside a graph.
    pub fn new(model: LorentzModel<T>) -> Self {
        LorentzImages { model }
    }

    /// The model.
    pub fn model(&self) -> &LorentzModel<T> {
        &self.model
    }

    fn words(&self, x: &[&[T]], k: usize) -> [f64; SETTING_WORDS] {
        match x.get(2) {
            Some(p) => std::array::from_fn(|j| p[k * SETTING_WORDS + j].f64()),
            None => self.model.settings()[k],
        }
    }

    /// The parts of the scratch: two images, then complex: frame, wave, rows.
    fn bench<'s>(&self, scratch: &'s mut [T]) -> Parts<'s, T> {
        let len = self.model.fft.len();
        let (complex, real) = scratch.split_at_mut(2 * (3 * len + self.model.fft.row_scratch_len()));
        let (plain, real) = real.split_at_mut(len);
        let complex: &mut [Complex<T>] = cast_slice_mut(complex);
        let (frame, complex) = complex.split_at_mut(len);
        let (psi, complex) = complex.split_at_mut(len);
        let (wave, rows) = complex.split_at_mut(len);
        (plain, &mut real[..len], [frame, psi, wave, rows])
    }
}

impl<T: Real> Function<T> for LorentzImages<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let dims = self.model.grid().dims;
        let n = self.model.count();
        let frame = Space::real(&dims);
        if !(2..=3).contains(&inputs.len()) {
            return Err(Error::shape("LorentzImages inputs", &[3], &[inputs.len()]));
        }
        for x in &inputs[..2] {
            if **x != frame {
                return Err(Error::shape("LorentzImages object", &dims, x.dims()));
            }
        }
        if let Some(x) = inputs.get(2).filter(|x| ***x != Space::real(&[n, SETTING_WORDS])) {
            return Err(Error::shape("LorentzImages settings", &[n, SETTING_WORDS], x.dims()));
        }
        Ok(Space::real(&[n, dims[0], dims[1]]))
    }

    fn needs(&self, inputs: &[&Space]) -> Needs {
        let tape = 2 * self.model.fft.len() * (1 + self.model.count() * (inputs.len() - 1));
        Needs { inputs: (0..inputs.len()).collect(), output: false, tape_len: tape }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        let len = self.model.fft.len();
        2 * (3 * len + self.model.fft.row_scratch_len()) + 2 * len
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        // x is phase (ny, nx), amplitude (ny, nx), settings (n, 10); y is (n, ny, nx)
        let (m, len, n) = (&self.model, self.model.fft.len(), self.model.count());
        let (plain, _, [frame, psi, wave, rows]) = self.bench(scratch);
        let tape: &mut [Complex<T>] = cast_slice_mut(tape);
        let (spectrum, tape) = tape.split_at_mut(len);
        let (waves, own) = tape.split_at_mut(n * len);
        kernels::object_wave(x[0], x[1], wave);
        m.fft.forward_into_transposed(wave, spectrum, rows);
        let scale = T::of(1.0 / len as f64);
        for k in 0..n {
            let words = self.words(x, k);
            let t = match x.len() {
                3 => {
                    let t = &mut own[k * len..][..len];
                    m.fill_transfers(std::slice::from_ref(&words), t);
                    &*t
                }
                _ => &m.transfers()[k * len..][..len],
            };
            kernels::product(spectrum, t, frame);
            m.fft.inverse_from_transposed(frame, psi, scale, rows);
            waves[k * len..][..len].copy_from_slice(psi);
            let image = &mut y[k * len..][..len];
            if LorentzModel::<T>::is_warped(&words) {
                kernels::intensity(psi, plain);
                m.warp(&words).forward(plain, image);
            } else {
                kernels::intensity(psi, image);
            }
        }
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let (m, len, n) = (&self.model, self.model.fft.len(), self.model.count());
        let (plain, back, [frame, psi, sum, rows]) = self.bench(scratch);
        let tape: &[Complex<T>] = cast_slice(tape);
        let (spectrum, tape) = tape.split_at(len);
        let (waves, own) = tape.split_at(n * len);
        let scale = 1.0 / len as f64;
        sum.fill(Complex::default());
        for k in 0..n {
            let words = self.words(x, k);
            psi.copy_from_slice(&waves[k * len..][..len]);
            let g = &dy[k * len..][..len];
            let mut turned = [0.0; 2];
            let wanted = matches!(dx.get(2), Some(Some(_)));
            if LorentzModel::<T>::is_warped(&words) || wanted {
                kernels::intensity(psi, plain);
                turned = m.warp(&words).adjoint(plain, g, back);
                kernels::scale_wave(psi, back);
            } else {
                kernels::scale_wave(psi, g);
            }
            m.fft.forward_into_transposed(psi, frame, rows);
            let t = if x.len() == 3 { &own[k * len..][..len] } else { &m.transfers()[k * len..][..len] };
            if let Some(Some((out, w))) = dx.get_mut(2) {
                let by = m.setting_gradient(&words, t, spectrum, frame);
                let out = &mut out[k * SETTING_WORDS..][..SETTING_WORDS];
                for j in 0..8 {
                    write(&mut out[j], T::of(by[j] * scale), *w);
                }
                write(&mut out[8], T::of(turned[0]), *w);
                write(&mut out[9], T::of(turned[1]), *w);
            }
            kernels::scaled_conj_product(frame, t, T::of(scale));
            kernels::add(sum, frame);
        }
        m.fft.inverse_from_transposed(sum, psi, T::ONE, rows);
        if let Some((out, w)) = &mut dx[0] {
            kernels::object_wave(x[0], x[1], frame);
            for ((out, g), o) in out.iter_mut().zip(&*psi).zip(&*frame) {
                write(out, g.im * o.re - g.re * o.im, *w);
            }
        }
        if let Some((out, w)) = &mut dx[1] {
            kernels::amplitude_gradient(psi, x[0], plain);
            out.iter_mut().zip(&*plain).for_each(|(out, d)| write(out, *d, *w));
        }
    }
}
