//! Coordinates in which a phase retrieval is well conditioned.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{RealFft2, frequencies};
use crate::lorentz::{LorentzModel, PhaseSpectrum, Regularizer};
use crate::real::Real;
use crate::shape::try_zeroed;

/// The phase is written as `φ = φ₀ + F⁻¹{ f F{x} }`, and x is sought: a change of variables with a real, symmetric
/// filter f(q), which is what preconditioning a quasi-Newton method or Adam means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precondition {
    /// f = 1.
    None,
    /// `f = q₁/max(q, q₁)`, q₁ the lowest frequency of the grid: defocused images see a phase as q².
    InverseFrequency,
    /// `f = (H + h)^{−1/2}`: H(q) is the curvature of the amplitude loss at a weak phase,
    /// `H = (2/nN) Σ_k (Im T_k)² Ā²`, and that of the penalty where the phase is flat; h = `floor` times the largest
    /// possible value of the first.
    Curvature {
        /// The floor.
        floor: f64,
    },
}

/// By the curvature, with a floor of 10⁻⁵.
impl Default for Precondition {
    fn default() -> Self {
        Precondition::Curvature { floor: 1e-5 }
    }
}

/// How much of the penalty's curvature on a flat phase counts: most of a phase is not flat. Found by trial; the answer does
/// not depend on it, only the number of iterations.
const STIFFNESS: f64 = 0.2;

/// `(1/n) Σ_k (Im T_k)²` at a frequency, shifts left out: how a weak phase is seen.
pub(crate) fn sensitivity<T: Real>(model: &LorentzModel<T>, iy: usize, ix: usize) -> f64 {
    let [ny, nx] = model.grid().dims;
    // The transfer functions are (nx, ny).
    let at = ix * ny + iy;
    let n = model.count();
    let one = |k: usize| {
        let t = model.transfers()[k * ny * nx + at];
        let ramp = model.ramp(&model.settings()[k], iy, ix);
        (Complex::new(t.re.f64(), t.im.f64()) * ramp.conj()).im.powi(2)
    };
    (0..n).map(one).sum::<f64>() / n as f64
}

/// The filter, planned, and the penalty by frequency.
#[derive(Debug)]
pub(crate) struct Filter<T: Real> {
    fft: RealFft2<T>,
    /// f, (ny, nx/2 + 1).
    filter: Vec<T>,
    /// c/N, the penalty's factors; empty where there is none.
    penalty: Vec<T>,
    /// F{φ₀}, and F{φ} c/N of the last phase; empty without penalty.
    start: Vec<Complex<T>>,
    pull: Vec<Complex<T>>,
    spectrum: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Filter<T> {
    /// The filter of a model whose object starts from the phase `start` and has the mean square amplitude `a2`; none
    /// where it is 1 and there is no penalty by frequency.
    pub fn new(
        kind: Precondition,
        model: &LorentzModel<T>,
        a2: f64,
        regularizer: &Regularizer,
        prior: Option<&PhaseSpectrum>,
        start: &[T],
    ) -> Result<Option<Self>, Error> {
        let [ny, nx] = model.grid().dims;
        let len = ny * nx;
        let half = nx / 2 + 1;
        let mut filter = try_zeroed(ny * half)?;
        let d = model.grid().sampling.map(|d| d.to_angstrom());
        let (ky, kx) = (frequencies(ny, d[0]), frequencies(nx, d[1]));
        let q = |i: usize| ky[i / half].hypot(kx[i % half]);
        let held = |i: usize| prior.map_or(0.0, |p| p.at(q(i))) / len as f64;
        match kind {
            Precondition::None if prior.is_none() => return Ok(None),
            Precondition::None => filter.fill(T::ONE),
            Precondition::InverseFrequency => {
                let lowest = (1.0 / (ny as f64 * d[0])).min(1.0 / (nx as f64 * d[1]));
                for (i, f) in filter.iter_mut().enumerate() {
                    *f = T::of(lowest / q(i).max(lowest));
                }
            }
            Precondition::Curvature { floor } => {
                if !(floor > 0.0 && floor.is_finite()) {
                    return Err(Error::param("floor", floor, "a positive number"));
                }
                let unit = 2.0 * a2 / len as f64;
                let (wy, wx) = (frequencies(ny, 1.0), frequencies(nx, 1.0));
                for (i, f) in filter.iter_mut().enumerate() {
                    let h = sensitivity(model, i / half, i % half);
                    let w2 = [wy[i / half], wx[i % half]].map(|w| 2.0 - 2.0 * (std::f64::consts::TAU * w).cos());
                    let penalty = STIFFNESS * regularizer.curvature(w2[0] + w2[1]) / len as f64;
                    *f = T::of((unit * (h + floor) + penalty + held(i)).powf(-0.5));
                }
            }
        }
        let fft = RealFft2::new([ny, nx])?;
        let mut scratch = try_zeroed(fft.scratch_len())?;
        let kept = if prior.is_some() { ny * half } else { 0 };
        let mut first = try_zeroed(kept)?;
        if prior.is_some() {
            fft.forward(&mut start.to_vec(), &mut first, &mut scratch);
        }
        Ok(Some(Filter {
            penalty: (0..kept).map(|i| T::of(held(i))).collect(),
            start: first,
            pull: try_zeroed(kept)?,
            spectrum: try_zeroed(ny * half)?,
            scratch,
            filter,
            fft,
        }))
    }

    /// x ← F⁻¹{ f F{x} }; returns the penalty by frequency of the start and this.
    pub fn forward(&mut self, x: &mut [T]) -> f64 {
        self.fft.forward(x, &mut self.spectrum, &mut self.scratch);
        self.spectrum.iter_mut().zip(&self.filter).for_each(|(z, f)| *z = z.scale(*f));
        let mut penalty = 0.0;
        if !self.penalty.is_empty() {
            // Frequencies of the half spectrum stand for two, but those of its edges.
            let nx = self.fft.dims()[1];
            let half = nx / 2 + 1;
            let rows = self.pull.chunks_mut(half).zip(self.start.chunks(half));
            let rows = rows.zip(self.penalty.chunks(half).zip(self.spectrum.chunks(half)));
            for ((pull, start), (c, z)) in rows {
                let mut row = 0.0;
                for (i, pull) in pull.iter_mut().enumerate() {
                    let phi = start[i] + z[i];
                    *pull = phi.scale(c[i]);
                    let weight = if i == 0 || 2 * i == nx { 0.5 } else { 1.0 };
                    row += weight * (phi.re * pull.re + phi.im * pull.im).f64();
                }
                penalty += row;
            }
            penalty /= x.len() as f64;
        }
        self.fft.inverse(&mut self.spectrum, x, &mut self.scratch);
        penalty
    }

    /// The adjoint of [`Filter::forward`] without its start: g ← F⁻¹{ f (F{g} + F{φ} c/N) }, the gradient of the
    /// penalty of the last phase included.
    pub fn adjoint(&mut self, g: &mut [T]) {
        self.fft.forward(g, &mut self.spectrum, &mut self.scratch);
        self.spectrum.iter_mut().zip(&self.pull).for_each(|(z, p)| *z += *p);
        self.spectrum.iter_mut().zip(&self.filter).for_each(|(z, f)| *z = z.scale(*f));
        self.fft.inverse(&mut self.spectrum, g, &mut self.scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lorentz::{ImageSetting, LorentzParams};
    use crate::optics::Grid;
    use crate::rng;
    use crate::units::{Length, SpatialFrequency};

    #[test]
    fn the_penalty_by_frequency_is_its_definition_and_has_the_gradient_that_is_added() {
        for dims in [[6, 7], [5, 8], [1, 6]] {
            let n = dims[0] * dims[1];
            let mut r = rng::stream(5, 0);
            let mut random = || -> Vec<f64> { (0..n).map(|_| rng::normal(&mut r)).collect() };
            let (start, x) = (random(), random());
            let sampling = [Length::nm(5.0), Length::nm(4.0)];
            let image = ImageSetting { defocus: Length::um(100.0), ..ImageSetting::default() };
            let params =
                LorentzParams { grid: Grid { dims, sampling }, images: vec![image], ..LorentzParams::default() };
            let model = LorentzModel::new(&params).unwrap();
            let [knee, corner] = [500.0, 150.0].map(|l| SpatialFrequency::per_angstrom(1.0 / l));
            let prior = PhaseSpectrum { weight: 0.7, exponent: 2.5, knee, corner };
            let mut filter =
                Filter::new(Precondition::default(), &model, 1.0, &Regularizer::None, Some(&prior), &start)
                    .unwrap()
                    .unwrap();
            let mut change = x.clone();
            let penalty = filter.forward(&mut change);
            let mut g = vec![0.0; n];
            filter.adjoint(&mut g);

            // By the complex transform of the phase.
            let mut phase: Vec<_> = start.iter().zip(&change).map(|(a, b)| Complex::new(a + b, 0.0)).collect();
            let fft = crate::fft::Fft2::<f64>::new(dims).unwrap();
            fft.forward(&mut phase, &mut vec![Complex::default(); fft.scratch_len()]);
            let [ky, kx] = model.grid().frequencies();
            let each = |(i, z): (usize, &Complex<f64>)| z.norm_sqr() * prior.at(ky[i / dims[1]].hypot(kx[i % dims[1]]));
            let want = phase.iter().enumerate().map(each).sum::<f64>() / (2 * n * n) as f64;
            assert!((penalty - want).abs() < 1e-12 * want, "{dims:?}: {penalty} {want}");

            for i in 0..n {
                let mut at = |h: f64| {
                    let mut x = x.clone();
                    x[i] += h;
                    filter.forward(&mut x)
                };
                // A quadratic form: central differences are exact but for rounding.
                let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!((slope - g[i]).abs() < 1e-9 * penalty.max(1.0), "{dims:?} {i}: {slope} {}", g[i]);
            }
        }
    }
}
