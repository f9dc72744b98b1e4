//! The images that a strong phase object, periodic and the same all along the beam, gives at several foci, and their gradient.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::hrtem::plane_groups::PlaneOperation;
use crate::optics::{Aberration, Ctf, CtfParams, FocalSpread, LensNumbers, LensTransfer};
use crate::real::cis;
use crate::units::Length;

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
    dims: [usize; 2],
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
    /// Images slowest, then the lenses whose intensities make one up.
    transfer: Vec<C>,
    /// Weights of these.
    weights: Vec<f64>,
    start: Vec<[f64; 2]>,
}

/// What an evaluation needs, made once.
pub(crate) struct SeriesWork {
    /// The wave in front of every slice.
    before: Vec<Vec<C>>,
    wave: Vec<C>,
    grating: Vec<C>,
    /// The phase, its imaginary part 0; after a misfit its gradient.
    pub phase: Vec<C>,
    image: Vec<C>,
    intensity: Vec<C>,
    back: Vec<C>,
    /// One a reflection: the gradient by M.
    back_of: Vec<C>,
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
            dims,
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
            back_of: vec![C::default(); self.hk.len()],
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
        SeriesLens { transfer, weights: vec![1.0], start: start.to_vec() }
    }

    /// The lenses for the last slice, from lenses whose focus is that of the specimen's middle: one each, its spread of focus an
    /// envelope, or as many foci as there are `nodes` (in standard deviations of the spread, weight).
    pub fn lens_of(&self, lenses: &[CtfParams], nodes: &[(f64, f64)]) -> Result<SeriesLens, Error> {
        let n = self.object.slices as f64;
        let lower = 0.5 * self.object.thickness * (1.0 - 1.0 / n);
        let mut transfer = Vec::with_capacity(lenses.len() * nodes.len() * self.k.len());
        for lens in lenses {
            let spread = lens.focal_spread.to_rms().to_angstrom();
            for (x, _) in nodes {
                let mut lens = lens.clone();
                lens.aberrations[Aberration::C10].c += Length::angstrom(spread * x - lower);
                if nodes.len() > 1 {
                    lens.focal_spread = FocalSpread::rms(Length::ZERO);
                }
                let ctf = Ctf::new(&lens)?;
                let at = |(k, pass): (&[f64; 2], &C)| match pass.norm_sqr() > 0.0 {
                    true => ctf.at(*k, [1e-3; 2]),
                    false => C::default(),
                };
                transfer.extend(self.k.iter().zip(&self.propagator).map(at));
            }
        }
        let weights = nodes.iter().map(|n| n.1).collect();
        Ok(SeriesLens { transfer, weights, start: vec![[0.0; 2]; lenses.len()] })
    }

    /// Fourier coefficients of a Gaussian of unit weight.
    pub fn blob(&self, width: f64) -> Vec<f64> {
        let at = |(k, pass): (&[f64; 2], &C)| {
            let k2 = k[0] * k[0] + k[1] * k[1];
            if pass.norm_sqr() > 0.0 { (-2.0 * PI * PI * width * width * k2).exp() } else { 0.0 }
        };
        self.k.iter().zip(&self.propagator).map(at).collect()
    }

    /// `w.phase` times a filter in Fourier space.
    pub fn filter(&self, filter: &[f64], w: &mut SeriesWork) {
        self.fft.forward(&mut w.phase, &mut w.scratch);
        w.phase.iter_mut().zip(filter).for_each(|(p, f)| *p *= f);
        self.fft.inverse(&mut w.phase, &mut w.scratch);
    }

    /// `w.phase` from coefficients.
    pub fn set_phase(&self, a: &[C], w: &mut SeriesWork) {
        w.phase.fill(C::default());
        let n = self.fft.len() as f64;
        for (a, at) in a.iter().zip(&self.at) {
            w.phase[at[0]] += a * n;
            w.phase[at[1]] += a.conj() * n;
        }
        self.fft.inverse(&mut w.phase, &mut w.scratch);
    }

    /// The coefficients of `w.phase`.
    pub fn take_phase(&self, w: &mut SeriesWork) -> Vec<C> {
        self.fft.forward(&mut w.phase, &mut w.scratch);
        let n = self.fft.len() as f64;
        self.at.iter().map(|at| w.phase[at[0]] / n).collect()
    }

    /// `w.phase` with the symmetry of a plane group: Z(h) ← mean of e^{−2πi h·t} Z(hR), the conjugate of the crystallographers' F.
    pub fn symmetrise(&self, operations: &[PlaneOperation], w: &mut SeriesWork) {
        if operations.is_empty() {
            return;
        }
        let [ny, nx] = self.dims;
        self.fft.forward(&mut w.phase, &mut w.scratch);
        for (i, out) in w.back.iter_mut().enumerate() {
            let h = [frequency_index(i / nx, ny) as i32, frequency_index(i % nx, nx) as i32];
            *out = C::default();
            for o in operations {
                let g = o.reflection(h);
                // What has no place on the grid is beyond what is passed.
                if 2 * g[0].unsigned_abs() as usize >= ny || 2 * g[1].unsigned_abs() as usize >= nx {
                    continue;
                }
                let at = g[0].rem_euclid(ny as i32) as usize * nx + g[1].rem_euclid(nx as i32) as usize;
                *out += w.phase[at] * cis(-TAU * o.turns(h)) / operations.len() as f64;
            }
        }
        w.phase.copy_from_slice(&w.back);
        self.fft.inverse(&mut w.phase, &mut w.scratch);
        w.phase.iter_mut().for_each(|p| p.im = 0.0);
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

        let shifts = self.shifts(lens, x);
        let mut own = vec![[0.0; 2]; self.images];
        let (misfit, left) = self.misfit(lens, &shifts, &mut own, w);
        for (j, d) in own.iter().enumerate().skip(1) {
            (0..2).for_each(|a| g[2 * count + 2 * (j - 1) + a] = SHIFT * d[a]);
        }

        self.fft.forward(&mut w.phase, &mut w.scratch);
        for i in 0..count {
            let d = w.phase[self.at[i][0]];
            g[2 * i] = 2.0 * self.prior[i] * d.re + 2.0 * x[2 * i];
            g[2 * i + 1] = 2.0 * self.prior[i] * d.im + 2.0 * x[2 * i + 1];
        }
        (misfit + prior, left)
    }

    /// Σ |M − F|²/v and Σ |M − F|² of the phase in `w.phase`, which receives the gradient of the first; `own` that by
    /// the shifts.
    pub fn misfit(
        &self,
        lens: &SeriesLens,
        shifts: &[[f64; 2]],
        own: &mut [[f64; 2]],
        w: &mut SeriesWork,
    ) -> (f64, f64) {
        let (count, n) = (self.hk.len(), self.fft.len());
        let kappa = C::new(-self.object.amplitude, (1.0 - self.object.amplitude.powi(2)).sqrt());
        let step = kappa / self.object.slices as f64;
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
        w.back.fill(C::default());
        let foci = lens.weights.len();
        let (mut misfit, mut left) = (0.0, 0.0);
        for j in 0..self.images {
            let transfer = &lens.transfer[j * n * foci..(j + 1) * n * foci];
            w.intensity.fill(C::default());
            w.image.resize(n * foci, C::default());
            for ((t, z), weight) in transfer.chunks(n).zip(w.image.chunks_mut(n)).zip(&lens.weights) {
                z.iter_mut().zip(&w.wave).zip(t).for_each(|((i, z), t)| *i = z * t);
                self.fft.inverse(z, &mut w.scratch);
                w.intensity.iter_mut().zip(&*z).for_each(|(i, z)| i.re += weight * z.norm_sqr());
            }
            self.fft.forward(&mut w.intensity, &mut w.scratch);
            let mean = w.intensity[0].re / n as f64;
            // c_h = ∂L/∂M: where the intensity's spectrum is read it is replaced by what goes back.
            let mut along = 0.0;
            own[j] = [0.0; 2];
            for i in 0..count {
                let h = self.hk[i];
                let turn = cis(-TAU * (h[0] * shifts[j][0] + h[1] * shifts[j][1]));
                let m = w.intensity[self.at[i][0]] / (n as f64 * mean);
                let r = m * turn - self.data[j * count + i];
                left += r.norm_sqr();
                misfit += self.weight[i] * r.norm_sqr();
                let c = r.conj() * turn * self.weight[i];
                let cm = c * m;
                along += cm.re;
                // ∂(M turn)/∂u = −2πi h M turn; 2 Re of c M times that.
                own[j] = [0, 1].map(|a| own[j][a] + 2.0 * TAU * h[a] * cm.im);
                w.back_of[i] = c;
            }
            w.intensity.fill(C::default());
            w.back_of.iter().zip(&self.at).for_each(|(c, at)| w.intensity[at[0]] += c);
            w.intensity[0] -= along;
            self.fft.forward(&mut w.intensity, &mut w.scratch);
            // ∂L/∂I = 2 Re(…)/(n Î(0)), and z̄ receives that times z.
            let scale = 2.0 / (n as f64 * mean);
            for ((t, z), weight) in transfer.chunks(n).zip(w.image.chunks_mut(n)).zip(&lens.weights) {
                z.iter_mut().zip(&w.intensity).for_each(|(z, d)| *z *= scale * weight * d.re);
                self.fft.forward(z, &mut w.scratch);
                w.back.iter_mut().zip(&*z).zip(t).for_each(|((b, z), t)| *b += t.conj() * z);
            }
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
        (misfit, left)
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
    use crate::optics::{Aberrations, Coherence, SourceAngle};
    use crate::rng;

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

    #[test]
    fn what_is_symmetrised_has_the_symmetry() {
        let mut r = rng::stream(5, 0);
        let object = PhaseObject { lambda: 0.0197, thickness: 9.0, slices: 1, amplitude: 0.0 };
        let hk = [[1, 0], [0, 1], [2, 1], [1, 2], [2, -1], [1, -2]];
        let basis = [[0.1, 0.0], [0.0, 0.1]];
        let series =
            PhaseSeries::new(object, basis, &hk, &[vec![C::default(); 6]], vec![1.0; 6], vec![1.0; 6]).unwrap();
        // p4 about (¼, 0): x ↦ R(x − x₀) + x₀.
        let mut rotation = [[1, 0], [0, 1]];
        let operations: Vec<PlaneOperation> = (0..4)
            .map(|_| {
                rotation = [[-rotation[1][0], -rotation[1][1]], rotation[0]];
                let o = PlaneOperation { rotation, translation: [0.0; 2] };
                let moved = o.apply([0.25, 0.0]);
                PlaneOperation { translation: [0.25 - moved[0], -moved[1]], ..o }
            })
            .collect();
        let mut w = series.work();
        w.phase.iter_mut().for_each(|p| *p = C::new(rng::normal(&mut r), 0.0));
        series.filter(&series.blob(2.0), &mut w);
        series.symmetrise(&operations, &mut w);
        let a = series.take_phase(&mut w);
        let at = |h: [i32; 2]| match hk.iter().position(|g| *g == h) {
            Some(i) => a[i],
            None => a[hk.iter().position(|g| g.map(|i| -i) == h).unwrap()].conj(),
        };
        assert!(a.iter().all(|a| a.norm() > 1e-6));
        for (h, a) in hk.iter().zip(&a) {
            for o in &operations {
                // F = ā: F(h) = e^{2πi h·t} F(hR).
                let other = cis(TAU * o.turns(*h)) * at(o.reflection(*h)).conj();
                assert!((a.conj() - other).norm() < 1e-12, "{h:?} {a} {other}");
            }
        }
    }
}
