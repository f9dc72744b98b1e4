//! The images that a strong phase object, periodic and the same all along the beam, gives at several foci, and their gradient.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::optics::{LensNumbers, LensTransfer};
use crate::real::cis;

type C = Complex<f64>;

/// The beam and the specimen of a [`PhaseSeries`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseObject {
    /// Å.
    pub lambda: f64,
    /// Å.
    pub thickness: f64,
    pub slices: usize,
    /// Amplitude contrast w.
    pub amplitude: f64,
}

/// Misfit of the reflections of J images to those of a phase φ, in the lattice's own coordinates.
///
/// ```text
/// ψ ← P (e^{κφ/n} ψ), n times, κ = i√(1 − w²) − w;   I_j = |F⁻¹ T_j F ψ|²;   M_j(h) = Î_j(h)/Î_j(0) e^{−2πi h·u_j}
/// L = Σ_j Σ_h |M_j(h) − F_j(h)|²/v(h) + Σ_h |a_h|²/p(h),   φ(r) = Σ_h (a_h e^{2πi h·r} + c.c.)
/// ```
///
/// Variables are `a_h/√p(h)`, real and imaginary parts, then (u_j − their start)/[`SHIFT`] of all images but the first.
#[derive(Debug)]
pub(crate) struct PhaseSeries {
    object: PhaseObject,
    fft: Fft2<f64>,
    /// Place of h and of −h on the grid, of every reflection.
    at: Vec<[usize; 2]>,
    hk: Vec<[f64; 2]>,
    /// One an image and reflection, images slowest.
    data: Vec<C>,
    weight: Vec<f64>,
    prior: Vec<f64>,
    images: usize,
    /// Propagator of a slice, 0 beyond two thirds of the grid.
    propagator: Vec<C>,
    /// k of every point of the grid.
    k: Vec<[f64; 2]>,
}

/// A unit of a shift's variable, in cells.
const SHIFT: f64 = 0.02;

/// The lens of every image on the grid.
pub(crate) struct SeriesLens {
    transfer: Vec<C>,
    start: Vec<[f64; 2]>,
}

/// What an evaluation needs, made once.
pub(crate) struct SeriesWork {
    /// The wave in front of every slice.
    before: Vec<Vec<C>>,
    wave: Vec<C>,
    grating: Vec<C>,
    phase: Vec<C>,
    image: Vec<C>,
    intensity: Vec<C>,
    back: Vec<C>,
    scratch: Vec<C>,
}

impl PhaseSeries {
    /// `basis` are the reciprocal vectors; `data[j][i]` the coefficient of reflection i in image j.
    pub fn new(
        object: PhaseObject,
        basis: [[f64; 2]; 2],
        hk: &[[i32; 2]],
        data: &[Vec<C>],
        weight: Vec<f64>,
        prior: Vec<f64>,
    ) -> Result<Self, Error> {
        // e^{iφ} reaches twice as far as φ, its intensity as far again: three bands to each side, two of them passed.
        let side = |a: usize| {
            let most = hk.iter().map(|h| h[a].unsigned_abs() as usize).max().unwrap_or(1);
            let least = (5 * most + 2).max(12);
            (least..).find(|n| smooth(*n)).unwrap_or(least)
        };
        let dims = [side(0), side(1)];
        let fft = Fft2::new(dims)?;
        let [ny, nx] = dims;
        let place = |h: [i32; 2]| h[0].rem_euclid(ny as i32) as usize * nx + h[1].rem_euclid(nx as i32) as usize;
        let at = hk.iter().map(|&h| [place(h), place(h.map(|x| -x))]).collect();
        let index = |i: usize| [frequency_index(i / nx, ny) as f64, frequency_index(i % nx, nx) as f64];
        let k: Vec<[f64; 2]> =
            (0..ny * nx).map(|i| [0, 1].map(|a| index(i)[0] * basis[0][a] + index(i)[1] * basis[1][a])).collect();
        let dz = object.thickness / object.slices as f64;
        let pass = |i: usize| (0..2).all(|a| index(i)[a].abs() <= dims[a] as f64 / 3.0);
        let propagator = (0..ny * nx)
            .map(|i| {
                let k2 = k[i][0] * k[i][0] + k[i][1] * k[i][1];
                if pass(i) { cis(-PI * object.lambda * dz * k2) } else { C::default() }
            })
            .collect();
        Ok(PhaseSeries {
            object,
            fft,
            at,
            hk: hk.iter().map(|h| h.map(f64::from)).collect(),
            data: data.iter().flatten().copied().collect(),
            weight,
            prior: prior.iter().map(|p| p.sqrt()).collect(),
            images: data.len(),
            propagator,
            k,
        })
    }

    /// Variables.
    pub fn len(&self) -> usize {
        2 * self.hk.len() + 2 * (self.images - 1)
    }

    pub fn work(&self) -> SeriesWork {
        let zero = || vec![C::default(); self.fft.len()];
        SeriesWork {
            before: (0..self.object.slices).map(|_| zero()).collect(),
            wave: zero(),
            grating: zero(),
            phase: zero(),
            image: zero(),
            intensity: zero(),
            back: zero(),
            scratch: vec![C::default(); self.fft.scratch_len()],
        }
    }

    /// The lenses for the last slice: `numbers` are of the specimen's middle, their first is C10.
    pub fn lens(&self, lens: &LensTransfer, numbers: &[LensNumbers], start: &[[f64; 2]]) -> SeriesLens {
        let n = self.object.slices as f64;
        let lower = 0.5 * self.object.thickness * (1.0 - 1.0 / n);
        let mut transfer = Vec::with_capacity(numbers.len() * self.k.len());
        for p in numbers {
            let mut p = *p;
            p[0] -= lower;
            transfer.extend(
                self.k
                    .iter()
                    .zip(&self.propagator)
                    .map(|(k, pass)| if pass.norm_sqr() > 0.0 { lens.at(&p, *k) } else { C::default() }),
            );
        }
        SeriesLens { transfer, start: start.to_vec() }
    }

    /// Variables of a phase with coefficients `a`, shifts at their start.
    pub fn start(&self, a: &[C]) -> Vec<f64> {
        let mut x: Vec<f64> = a.iter().zip(&self.prior).flat_map(|(a, p)| [a.re / p, a.im / p]).collect();
        x.resize(self.len(), 0.0);
        x
    }

    /// Shifts of the images, in cells.
    pub fn shifts(&self, lens: &SeriesLens, x: &[f64]) -> Vec<[f64; 2]> {
        let own = &x[2 * self.hk.len()..];
        let shift = |j: usize, a: usize| if j == 0 { 0.0 } else { SHIFT * own[2 * (j - 1) + a] };
        (0..self.images).map(|j| [0, 1].map(|a| lens.start[j][a] + shift(j, a))).collect()
    }

    /// L, its gradient, and Σ |M − F|².
    pub fn evaluate(&self, lens: &SeriesLens, x: &[f64], g: &mut [f64], w: &mut SeriesWork) -> (f64, f64) {
        let (count, n) = (self.hk.len(), self.fft.len());
        let kappa = C::new(-self.object.amplitude, (1.0 - self.object.amplitude.powi(2)).sqrt());
        let step = kappa / self.object.slices as f64;
        // The phase, times n because the inverse transform divides by it.
        w.phase.fill(C::default());
        let mut prior = 0.0;
        for i in 0..count {
            let (re, im) = (x[2 * i], x[2 * i + 1]);
            prior += re * re + im * im;
            let a = C::new(re, im) * (self.prior[i] * n as f64);
            w.phase[self.at[i][0]] += a;
            w.phase[self.at[i][1]] += a.conj();
        }
        self.fft.inverse(&mut w.phase, &mut w.scratch);
        w.grating.iter_mut().zip(&w.phase).for_each(|(t, p)| *t = (step * p.re).exp());

        w.wave.fill(C::new(1.0, 0.0));
        for s in 0..self.object.slices {
            w.before[s].copy_from_slice(&w.wave);
            w.wave.iter_mut().zip(&w.grating).for_each(|(z, t)| *z *= t);
            self.fft.forward(&mut w.wave, &mut w.scratch);
            if s + 1 < self.object.slices {
                w.wave.iter_mut().zip(&self.propagator).for_each(|(z, p)| *z *= p);
                self.fft.inverse(&mut w.wave, &mut w.scratch);
            }
        }

        // The images; `wave` is the spectrum behind the last slice, `back` the gradient by it.
        let shifts = self.shifts(lens, x);
        w.back.fill(C::default());
        g.fill(0.0);
        let (mut misfit, mut left) = (0.0, 0.0);
        for j in 0..self.images {
            let transfer = &lens.transfer[j * n..(j + 1) * n];
            w.image.iter_mut().zip(&w.wave).zip(transfer).for_each(|((i, z), t)| *i = z * t);
            self.fft.inverse(&mut w.image, &mut w.scratch);
            w.intensity.iter_mut().zip(&w.image).for_each(|(i, z)| *i = C::new(z.norm_sqr(), 0.0));
            self.fft.forward(&mut w.intensity, &mut w.scratch);
            let mean = w.intensity[0].re / n as f64;
            // c_h = ∂L/∂M: where the intensity's spectrum is read it is replaced by what goes back.
            let mut along = 0.0;
            let mut own = [0.0; 2];
            let mut c = vec![C::default(); count];
            for i in 0..count {
                let h = self.hk[i];
                let turn = cis(-TAU * (h[0] * shifts[j][0] + h[1] * shifts[j][1]));
                let m = w.intensity[self.at[i][0]] / (n as f64 * mean);
                let r = m * turn - self.data[j * count + i];
                left += r.norm_sqr();
                misfit += self.weight[i] * r.norm_sqr();
                c[i] = r.conj() * turn * self.weight[i];
                let cm = c[i] * m;
                along += cm.re;
                // ∂(M turn)/∂u = −2πi h M turn; 2 Re of c M times that.
                own = [0, 1].map(|a| own[a] + 2.0 * TAU * h[a] * cm.im);
            }
            if j > 0 {
                (0..2).for_each(|a| g[2 * count + 2 * (j - 1) + a] = SHIFT * own[a]);
            }
            w.intensity.fill(C::default());
            c.iter().zip(&self.at).for_each(|(c, at)| w.intensity[at[0]] += c);
            w.intensity[0] -= along;
            self.fft.forward(&mut w.intensity, &mut w.scratch);
            // ∂L/∂I = 2 Re(…)/(n Î(0)), and z̄ receives that times z.
            let scale = 2.0 / (n as f64 * mean);
            w.image.iter_mut().zip(&w.intensity).for_each(|(z, d)| *z *= scale * d.re);
            self.fft.forward(&mut w.image, &mut w.scratch);
            w.back.iter_mut().zip(&w.image).zip(transfer).for_each(|((b, z), t)| *b += t.conj() * z);
        }

        // Back through the slices; `phase` collects ∂L/∂φ. The adjoint of F⁻¹ P F is F⁻¹ P̄ F.
        w.phase.fill(C::default());
        for s in (0..self.object.slices).rev() {
            if s + 1 < self.object.slices {
                self.fft.forward(&mut w.back, &mut w.scratch);
                w.back.iter_mut().zip(&self.propagator).for_each(|(b, p)| *b *= p.conj());
            }
            self.fft.inverse(&mut w.back, &mut w.scratch);
            for (((b, z), t), d) in w.back.iter_mut().zip(&w.before[s]).zip(&w.grating).zip(&mut w.phase) {
                d.re += 2.0 * (b.conj() * step * z * t).re;
                *b *= t.conj();
            }
        }
        self.fft.forward(&mut w.phase, &mut w.scratch);
        for i in 0..count {
            let d = w.phase[self.at[i][0]];
            g[2 * i] = 2.0 * self.prior[i] * d.re + 2.0 * x[2 * i];
            g[2 * i + 1] = 2.0 * self.prior[i] * d.im + 2.0 * x[2 * i + 1];
        }
        (misfit + prior, left)
    }
}

/// A number without factors above 5.
fn smooth(mut n: usize) -> bool {
    for p in [2, 3, 5] {
        while n.is_multiple_of(p) {
            n /= p;
        }
    }
    n == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optics::{Aberrations, Coherence, FocalSpread, SourceAngle};
    use crate::rng;
    use crate::units::Length;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let mut r = rng::stream(3, 0);
        let object = PhaseObject { lambda: 0.0197, thickness: 90.0, slices: 3, amplitude: 0.1 };
        let basis = [[0.11, 0.02], [0.0, 0.13]];
        let hk: Vec<[i32; 2]> = (0..3).flat_map(|h| (-2..3).map(move |k| [h, k])).filter(|h| *h > [0, 0]).collect();
        let mut random = |scale: f64| -> Vec<C> {
            hk.iter().map(|_| C::new(rng::normal(&mut r), rng::normal(&mut r)) * scale).collect()
        };
        let data = [random(0.1), random(0.1)];
        let a = random(0.2);
        let weight = (0..hk.len()).map(|i| 1.0 + i as f64).collect();
        let series = PhaseSeries::new(object, basis, &hk, &data, weight, vec![0.3; hk.len()]).unwrap();
        let lens = LensTransfer { lambda: 0.0197, coherence: Coherence::Separable };
        let numbers = [300.0, 500.0].map(|f| {
            let mut a = Aberrations::from_defocus(Length::angstrom(f));
            a.set_cs(Length::mm(1.2));
            LensTransfer::numbers(&a, SourceAngle::ZERO, FocalSpread::rms(Length::nm(3.0)))
        });
        let lenses = series.lens(&lens, &numbers, &[[0.0; 2], [0.31, -0.12]]);
        let mut x = series.start(&a);
        let last = x.len();
        x[last - 2..].copy_from_slice(&[0.7, -1.1]);
        let mut w = series.work();
        let mut g = vec![0.0; x.len()];
        series.evaluate(&lenses, &x, &mut g, &mut w);
        let mut spare = g.clone();
        for i in 0..x.len() {
            let mut at = |d: f64| {
                let mut y = x.clone();
                y[i] += d;
                series.evaluate(&lenses, &y, &mut spare, &mut w).0
            };
            // Fourth order: the error is h⁴ of the fifth derivative, and 10⁻¹⁶ of L over h.
            let h = 1e-3;
            let difference = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            assert!((difference - g[i]).abs() < 1e-7 * g[i].abs().max(1.0), "{i}: {difference} {}", g[i]);
        }
    }
}
