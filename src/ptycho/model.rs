//! The forward model of thin-object ptychography, and its adjoint: the one that simulates, and the one that
//! reconstructs.
//!
//! For the pattern at window w with sub-pixel fraction s, and incoherent probe modes m (Thibault & Menzel, Nature 494,
//! 68 (2013)):
//!
//! ```text
//! P_m,s = F⁻¹[ e^{−2πi (k_y s_y/ny + k_x s_x/nx)} F P_m ]        the probe, moved by s
//! ψ_m   = P_m,s · O_w                                            exit wave
//! Ψ_m   = F ψ_m                                                  unnormalised transform
//! I     = Σ_m |Ψ_m|²
//! ```
//!
//! With the gradient convention g_z = ∂L/∂Re z + i ∂L/∂Im z of a real loss L, and h = ∂L/∂I per detector pixel:
//!
//! ```text
//! g_Ψm = 2 h Ψ_m,   g_ψm = Fᴴ g_Ψm = N F⁻¹ g_Ψm
//! g_O += Σ_m P̄_m,s g_ψm                                          (in the window)
//! ĝ_m  = F( Ō_w g_ψm ),   g_Pm = F⁻¹[ e^{+2πi k·s} ĝ_m ]          (the shift is unitary up to the factors of F)
//! ∂L/∂s_y = 1/N Re Σ_k conj(ĝ_m) (−2πi k_y/ny) e^{−2πi k·s} F P_m    (Parseval)
//! ```
//!
//! Spectra are transposed, (det_x, det_y), as [`Fft2::forward_into_transposed`] leaves them.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index, shift_factor};
use crate::op::Write;
use crate::ptycho::kernels::{self, Window};
use crate::real::Real;
use crate::shape::Field;

/// Sizes and the transform: what every pattern has in common.
#[derive(Debug)]
pub(crate) struct Model<T: Real> {
    pub fft: Fft2<T>,
    pub modes: usize,
}

/// Buffers of one thread.
#[derive(Debug)]
pub(crate) struct Scratch<T: Real> {
    /// The moved probes (modes, ny, nx).
    pub probe: Vec<Complex<T>>,
    /// The spectra Ψ (modes, nx, ny), later g_Ψ or the corrections.
    pub spectra: Vec<Complex<T>>,
    /// Waves in real space.
    pub wave: Vec<Complex<T>>,
    /// A second wave, for what must not overwrite the first.
    pub other: Vec<Complex<T>>,
    /// Intensities, later factors (nx, ny).
    pub intensity: Vec<T>,
    /// Scratch of the row transforms.
    pub rows: Vec<Complex<T>>,
    /// Shift factors along y and x.
    pub ramp_y: Vec<Complex<T>>,
    pub ramp_x: Vec<Complex<T>>,
}

impl<T: Real> Model<T> {
    pub fn new(dims: [usize; 2], modes: usize) -> Result<Self, Error> {
        Ok(Model { fft: Fft2::new(dims)?, modes })
    }

    /// Pixels of a pattern.
    pub fn frame(&self) -> usize {
        self.fft.len()
    }

    pub fn scratch(&self) -> Scratch<T> {
        let zeros = |n| vec![Complex::default(); n];
        let ([ny, nx], n) = (self.fft.dims(), self.frame());
        Scratch {
            probe: zeros(self.modes * n),
            spectra: zeros(self.modes * n),
            wave: zeros(n),
            other: zeros(n),
            intensity: vec![T::ZERO; n],
            rows: zeros(self.fft.row_scratch_len()),
            ramp_y: zeros(ny),
            ramp_x: zeros(nx),
        }
    }

    /// P̂_m = F P_m of all modes; (modes, ny, nx) to (modes, nx, ny). `wave` and `rows` of the scratch are used.
    pub fn probe_spectra(&self, probe: &[Complex<T>], spectra: &mut [Complex<T>], s: &mut Scratch<T>) {
        for (p, hat) in probe.chunks(self.frame()).zip(spectra.chunks_mut(self.frame())) {
            s.wave.copy_from_slice(p);
            self.fft.forward_into_transposed(&mut s.wave, hat, &mut s.rows);
        }
    }

    /// P_m = F⁻¹ P̂_m: the inverse of [`Model::probe_spectra`].
    pub fn probe_from_spectra(&self, spectra: &[Complex<T>], probe: &mut [Complex<T>], s: &mut Scratch<T>) {
        let inverse = T::of(1.0 / self.frame() as f64);
        for (hat, p) in spectra.chunks(self.frame()).zip(probe.chunks_mut(self.frame())) {
            s.wave.copy_from_slice(hat);
            self.fft.inverse_from_transposed(&mut s.wave, p, inverse, &mut s.rows);
        }
    }

    /// Puts the factors e^{−2πi k·s} of a fraction into the scratch.
    pub fn set_ramp(&self, fraction: [f64; 2], s: &mut Scratch<T>) {
        let [ny, nx] = self.fft.dims();
        for (n, f, out) in [(ny, fraction[0], &mut s.ramp_y), (nx, fraction[1], &mut s.ramp_x)] {
            for (i, o) in out.iter_mut().enumerate() {
                let z = shift_factor(i, n, f, Field::Complex);
                *o = Complex::new(T::of(z.re), T::of(z.im));
            }
        }
    }

    /// The moved probes P_m,s, from their spectra and the ramp of the scratch, into `s.probe`.
    pub fn move_probe(&self, probe_hat: &[Complex<T>], s: &mut Scratch<T>) {
        let inverse = T::of(1.0 / self.frame() as f64);
        for (hat, p) in probe_hat.chunks(self.frame()).zip(s.probe.chunks_mut(self.frame())) {
            kernels::ramp(&mut s.wave, hat, &s.ramp_x, &s.ramp_y, Write::Set);
            self.fft.inverse_from_transposed(&mut s.wave, p, inverse, &mut s.rows);
        }
    }

    /// The adjoint of [`Model::move_probe`] in spectra, for mode m: `hat += scale · e^{+2πi k·s} F g`. `g` is
    /// overwritten.
    pub fn move_probe_adjoint(&self, g: &mut [Complex<T>], hat: &mut [Complex<T>], scale: T, s: &mut Scratch<T>) {
        self.fft.forward_into_transposed(g, &mut s.wave, &mut s.rows);
        kernels::ramp_adjoint(hat, &s.wave, &s.ramp_x, &s.ramp_y, scale, Write::Add);
    }

    /// Ψ_m = F(P_m · O_w) for all modes, into `s.spectra`. `probe` is (modes, ny, nx), already moved.
    pub fn waves(&self, object: &[Complex<T>], at: Window, probe: &[Complex<T>], s: &mut Scratch<T>) {
        for (p, psi) in probe.chunks(self.frame()).zip(s.spectra.chunks_mut(self.frame())) {
            kernels::exit_wave(p, object, at, &mut s.wave);
            self.fft.forward_into_transposed(&mut s.wave, psi, &mut s.rows);
        }
    }

    /// I = Σ_m |Ψ_m|² of `s.spectra`, into `s.intensity`.
    pub fn intensity(&self, s: &mut Scratch<T>) {
        for (m, psi) in s.spectra.chunks(self.frame()).enumerate() {
            kernels::intensity(psi, &mut s.intensity, if m == 0 { Write::Set } else { Write::Add });
        }
    }

    /// `s.wave` = scale · F⁻¹ without its 1/N, of mode m's spectrum, which is overwritten. With scale = 1 it is Fᴴ, the
    /// adjoint of [`Model::waves`]' transform; with 1/N its inverse.
    pub fn back(&self, m: usize, scale: T, s: &mut Scratch<T>) {
        let n = self.frame();
        self.fft.inverse_from_transposed(&mut s.spectra[m * n..(m + 1) * n], &mut s.wave, scale, &mut s.rows);
    }

    /// ∂L/∂s = `[∂/∂s_y, ∂/∂s_x]` of one mode, from ĝ (nx, ny), P̂ and the ramp of the scratch.
    pub fn position_gradient(&self, g_hat: &[Complex<T>], probe_hat: &[Complex<T>], s: &Scratch<T>) -> [f64; 2] {
        let [ny, nx] = self.fft.dims();
        let mut gradient = [0.0; 2];
        for ix in 0..nx {
            let kx = frequency_index(ix, nx) as f64 / nx as f64;
            for iy in 0..ny {
                let ky = frequency_index(iy, ny) as f64 / ny as f64;
                let i = ix * ny + iy;
                // Re( conj(ĝ) · (−2πi k) z ) = 2π k Im( conj(ĝ) z )
                let z = probe_hat[i] * (s.ramp_x[ix] * s.ramp_y[iy]);
                let im = std::f64::consts::TAU * (g_hat[i].conj() * z).im.f64() / self.frame() as f64;
                gradient[0] += ky * im;
                gradient[1] += kx * im;
            }
        }
        gradient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::tests::random;
    use crate::real::cis;

    type C = Complex<f64>;

    /// The model by its formulas, as sums: the probe moved by `s`, times the object, transformed. Spectra are (ny, nx).
    fn naive_waves(o: &[C], at: Window, p: &[C], s: [f64; 2]) -> Vec<C> {
        let (ny, nx) = (at.ny, at.nx);
        let dft = |x: &[C], sign: f64| -> Vec<C> {
            let mut y = vec![C::default(); ny * nx];
            for (k, y) in y.iter_mut().enumerate() {
                for (r, x) in x.iter().enumerate() {
                    let turns = (k / nx * (r / nx)) as f64 / ny as f64 + (k % nx * (r % nx)) as f64 / nx as f64;
                    *y += x * cis(sign * std::f64::consts::TAU * turns);
                }
            }
            y
        };
        let mut hat = dft(p, -1.0);
        for (k, z) in hat.iter_mut().enumerate() {
            let (ky, kx) = (frequency_index(k / nx, ny) as f64, frequency_index(k % nx, nx) as f64);
            *z *= cis(-std::f64::consts::TAU * (ky * s[0] / ny as f64 + kx * s[1] / nx as f64));
        }
        let moved = dft(&hat, 1.0);
        let exit: Vec<C> = (0..ny * nx)
            .map(|r| moved[r] / (ny * nx) as f64 * o[(at.y0 + r / nx) * at.width + at.x0 + r % nx])
            .collect();
        dft(&exit, -1.0)
    }

    #[test]
    fn waves_and_intensities_are_the_formulas_as_sums() {
        for [ny, nx] in [[5, 7], [7, 4], [1, 3], [6, 6], [9, 1]] {
            let (modes, n) = (3, ny * nx);
            let at = Window { y0: 2, x0: 1, ny, nx, width: nx + 4 };
            let (o, p) = (random::<f64>((ny + 3) * (nx + 4), 1), random::<f64>(modes * n, 2));
            let model = Model::<f64>::new([ny, nx], modes).unwrap();
            for fraction in [[0.0, 0.0], [0.3, -0.45], [-0.5, 0.5]] {
                // Dirty scratch, and no trace of it in the result.
                let mut s = model.scratch();
                let nan = C::new(f64::NAN, f64::NAN);
                for buffer in [&mut s.probe, &mut s.spectra, &mut s.wave, &mut s.other, &mut s.rows] {
                    buffer.fill(nan);
                }
                s.intensity.fill(f64::NAN);
                let mut hat = vec![nan; modes * n];
                model.probe_spectra(&p, &mut hat, &mut s);
                model.set_ramp(fraction, &mut s);
                model.move_probe(&hat, &mut s);
                let moved = s.probe.clone();
                model.waves(&o, at, &moved, &mut s);
                model.intensity(&mut s);

                let mut intensity = vec![0.0; n];
                for m in 0..modes {
                    let want = naive_waves(&o, at, &p[m * n..(m + 1) * n], fraction);
                    for (k, want) in want.iter().enumerate() {
                        // Spectra are transposed. Numbers of order N; sums of N terms.
                        let got = s.spectra[m * n + k % nx * ny + k / nx];
                        assert!((got - want).norm() < 1e-13 * n as f64, "{ny} x {nx}, mode {m}, {k}: {got} {want}");
                        intensity[k] += want.norm_sqr();
                    }
                }
                for (k, want) in intensity.iter().enumerate() {
                    assert!((s.intensity[k % nx * ny + k / nx] - want).abs() < 1e-12 * (n * n) as f64);
                }
            }
        }
    }

    #[test]
    fn moving_a_probe_and_its_adjoint_pass_the_dot_test() {
        for [ny, nx] in [[5, 7], [8, 6], [1, 4]] {
            let n = ny * nx;
            let model = Model::<f64>::new([ny, nx], 1).unwrap();
            let (p, g) = (random::<f64>(n, 3), random::<f64>(n, 4));
            let mut s = model.scratch();
            model.set_ramp([0.37, -0.21], &mut s);
            let (mut hat, mut adjoint_hat) = (vec![C::default(); n], vec![C::default(); n]);
            model.probe_spectra(&p, &mut hat, &mut s);
            model.move_probe(&hat, &mut s);
            let moved = s.probe.clone();
            model.move_probe_adjoint(&mut g.clone(), &mut adjoint_hat, 1.0, &mut s);
            let mut adjoint = vec![C::default(); n];
            model.probe_from_spectra(&adjoint_hat, &mut adjoint, &mut s);
            let dot = |a: &[C], b: &[C]| a.iter().zip(b).map(|(a, b)| a.re * b.re + a.im * b.im).sum::<f64>();
            assert!((dot(&moved, &g) - dot(&p, &adjoint)).abs() < 1e-12 * dot(&p, &p).max(dot(&g, &g)));
        }
    }
}
