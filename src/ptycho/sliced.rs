//! Ptychography of a specimen that is not thin: the phases of a few slices, one behind the other.
//!
//! The forward model is [`crate::multislice`]'s, the probe [`crate::optics`]', the minimisation [`crate::optim`]'s. With a = √D the measured amplitudes of
//! a probe of unit intensity, and ψ_j the exit wave of the probe at r_j through the potentials V_n = φ_n/σ:
//!
//! ```text
//! L = Σ_j Σ_k (|F ψ_j| − a_j)²,   g_{Fψ} = 2 (1 − a/|Fψ|) Fψ,   g_ψ = Fᴴ g_{Fψ} = N F⁻¹ g_{Fψ},   ∂L/∂φ_n = (1/σ) ∂L/∂V_n
//! ```
//!
//! References: A. M. Maiden, M. J. Humphry, J. M. Rodenburg, J. Opt. Soc. Am. A 29, 1606 (2012), for slices in ptychography; W. Van den Broek, C. T. Koch,
//! Phys. Rev. Lett. 109, 245502 (2012), for the gradient.

use num_complex::Complex;

use crate::autodiff::{Function, Mode};
use crate::error::Error;
use crate::fft::Fft2;
use crate::multislice::{MultisliceFunction, MultisliceParams};
use crate::observe::Observer;
use crate::op::Write;
use crate::optics::{Probe, ProbeParams};
use crate::optim::{Method, Minimize, MinimizeParams, MinimizeState, Minimum, Wolfe};
use crate::ptycho::Patterns;
use crate::real::Real;
use crate::shape::{Limits, Space, checked_len, try_zeroed};
use crate::units::Length;

/// Parameters of [`SlicedPtychography`].
#[derive(Clone, Debug)]
pub struct SlicedParams {
    /// Energy, grid, the thickness of each slice, threads. The grid is periodic, and as large as a pattern.
    pub multislice: MultisliceParams,
    /// The known probe, on the same grid.
    pub probe: ProbeParams,
    /// Sum of a pattern that nothing is missing from, in the patterns' units; `None`: the mean of their sums, although a band limit, or the detector's
    /// rim, may have taken a little.
    pub intensity: Option<f64>,
    /// Patterns that are computed together.
    pub batch: usize,
    /// Pairs of vectors that L-BFGS keeps.
    pub pairs: usize,
    /// Largest number of bytes of a run, patterns included.
    pub limits: Limits,
}

impl Default for SlicedParams {
    fn default() -> Self {
        SlicedParams {
            multislice: MultisliceParams::default(),
            probe: ProbeParams::default(),
            intensity: None,
            batch: 32,
            pairs: 6,
            limits: Limits::default(),
        }
    }
}

/// Phases of the slices of a specimen, from patterns of a known probe at known positions on one periodic field.
///
/// The slices stand on the pixels of the probe's window; a position moves the probe, not the window, and what leaves the field on one side comes back
/// on the other: right for a crystal whose cells fill the window, and for a scan that keeps a probe's width from the border. For large fields of thin objects see
/// [`crate::ptycho::Ptychography`].
///
/// # Shapes
/// Phases `[slices, y, x]`, radians.
#[derive(Debug)]
pub struct SlicedPtychography<T: Real> {
    params: SlicedParams,
    function: MultisliceFunction<T>,
    probe: Probe<T>,
    fft: Fft2<T>,
    patterns: Patterns<T>,
    positions: Vec<[Length; 2]>,
    minimize: Minimize,
}

/// Buffers of a batch.
struct Work<T: Real> {
    v: Vec<T>,
    psi: Vec<T>,
    exit: Vec<T>,
    tape: Vec<T>,
    scratch: Vec<T>,
    loss: Vec<f64>,
    threads: Vec<Vec<Complex<T>>>,
}

impl<T: Real> SlicedPtychography<T> {
    /// Plans a reconstruction.
    ///
    /// # Errors
    /// [`Error::Shape`] for patterns or a probe that are not of the grid, or not as many positions as patterns; [`Error::Param`] for an empty batch, an intensity that is not positive, or a position that
    /// is not finite; [`Error::OverBudget`]; those of [`MultisliceFunction::new`] and [`Probe::new`].
    pub fn new(patterns: Patterns<T>, positions: &[[Length; 2]], params: SlicedParams) -> Result<Self, Error> {
        let grid = params.multislice.grid;
        if patterns.dims() != grid.dims || params.probe.grid != grid {
            return Err(Error::shape("SlicedPtychography: patterns", &grid.dims, &patterns.dims()));
        }
        if patterns.len() != positions.len() {
            return Err(Error::shape("SlicedPtychography: positions", &[patterns.len()], &[positions.len()]));
        }
        if let Some(r) = positions.iter().flatten().find(|r| !r.is_finite()) {
            return Err(Error::param("position", r, "a finite position"));
        }
        if let Some(i) = params.intensity.filter(|i| !(*i > 0.0 && i.is_finite())) {
            return Err(Error::param("intensity", i, "a positive sum"));
        }
        if params.batch == 0 || params.batch > 1 << 20 {
            return Err(Error::param("batch", params.batch, "1 to 2²⁰ patterns"));
        }
        let function = MultisliceFunction::new(&params.multislice)?;
        let n = checked_len(&[params.multislice.thickness.len(), grid.len()])?;
        let method = Method::Lbfgs { pairs: params.pairs, wolfe: Wolfe::default() };
        let limits = params.limits;
        let minimize = Minimize::new(n, MinimizeParams { method, limits, ..MinimizeParams::default() })?;
        let probe = Probe::new(&params.probe)?;
        let fft = Fft2::new(grid.dims)?;
        let positions = positions.to_vec();
        let plan = SlicedPtychography { params, function, probe, fft, patterns, positions, minimize };
        plan.params.limits.check(plan.workspace_bytes())?;
        Ok(plan)
    }

    /// Bytes of a run, the patterns included.
    pub fn workspace_bytes(&self) -> u64 {
        let spaces = self.spaces(self.batch());
        let inputs = [&spaces[0], &spaces[1]];
        let words = self.function.needs(&inputs).tape_len + self.function.scratch_len(&inputs);
        let batch = words + spaces[0].words() + 2 * spaces[1].words();
        let threads = self.params.multislice.par.count() * 2 * self.thread_len();
        self.patterns.bytes() + ((batch + threads) * size_of::<T>()) as u64 + self.minimize.workspace_bytes::<T>()
    }

    fn batch(&self) -> usize {
        self.params.batch.min(self.positions.len())
    }

    fn thread_len(&self) -> usize {
        self.probe.scratch_len().max(self.fft.scratch_len())
    }

    fn spaces(&self, waves: usize) -> [Space; 2] {
        let [ny, nx] = self.params.multislice.grid.dims;
        [Space::real(&[self.function.plan().slices(), ny, nx]), Space::complex(&[waves, ny, nx])]
    }

    fn work(&self) -> Result<Work<T>, Error> {
        let spaces = self.spaces(self.batch());
        let inputs = [&spaces[0], &spaces[1]];
        let mut threads = Vec::new();
        for _ in 0..self.params.multislice.par.count() {
            threads.push(try_zeroed(self.thread_len())?);
        }
        Ok(Work {
            v: try_zeroed(spaces[0].words())?,
            psi: try_zeroed(spaces[1].words())?,
            exit: try_zeroed(spaces[1].words())?,
            tape: try_zeroed(self.function.needs(&inputs).tape_len)?,
            scratch: try_zeroed(self.function.scratch_len(&inputs))?,
            loss: try_zeroed(self.batch())?,
            threads,
        })
    }

    /// The start: slices without any phase.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn start(&self) -> Result<MinimizeState<T>, Error> {
        self.minimize.start(&try_zeroed::<T>(self.spaces(1)[0].words())?)
    }

    /// Goes on for at most `iterations` of L-BFGS; the answer, `state.best`, is φ `[slices, y, x]`. The loss is L for a probe of unit intensity, per
    /// pattern.
    ///
    /// # Errors
    /// Those of [`Minimize::run`], [`Error::OutOfMemory`].
    pub fn run(&self, state: MinimizeState<T>, iterations: usize, observe: Observer<'_>) -> Result<Minimum<T>, Error> {
        let mut work = self.work()?;
        let mut objective = |x: &[T], _: usize, g: &mut [T]| Ok(self.evaluate(x, g, &mut work));
        self.minimize.run(state, iterations, &mut objective, observe)
    }

    /// The loss at phases φ and its gradient: for checks, and for optimizers of one's own.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of words, [`Error::OutOfMemory`].
    pub fn loss_gradient(&self, phases: &[T]) -> Result<(f64, Vec<T>), Error> {
        let words = self.spaces(1)[0].words();
        if phases.len() != words {
            return Err(Error::shape("SlicedPtychography::loss_gradient", &[words], &[phases.len()]));
        }
        let mut g = try_zeroed(words)?;
        let loss = self.evaluate(phases, &mut g, &mut self.work()?);
        Ok((loss, g))
    }

    fn evaluate(&self, phases: &[T], g: &mut [T], w: &mut Work<T>) -> f64 {
        let par = &self.params.multislice.par;
        let ([ny, nx], n) = (self.fft.dims(), self.fft.len());
        let inverse_sigma = T::of(1.0 / self.function.plan().interaction_parameter());
        w.v.iter_mut().zip(phases).for_each(|(v, &p)| *v = p * inverse_sigma);
        // Amplitudes of patterns of a probe of unit intensity.
        let mean = self.patterns.total() / self.patterns.len() as f64;
        let unit = T::of(self.params.intensity.unwrap_or(mean).recip().sqrt());
        let share = 1.0 / self.patterns.len() as f64;
        let mut loss = 0.0;
        for (b, some) in self.positions.chunks(self.batch()).enumerate() {
            let spaces = self.spaces(some.len());
            let inputs = [&spaces[0], &spaces[1]];
            let words = 2 * n * some.len();
            let tape = &mut w.tape[..self.function.needs(&inputs).tape_len];
            let scratch = &mut w.scratch[..self.function.scratch_len(&inputs)];
            let psi: &mut [Complex<T>] = bytemuck::cast_slice_mut(&mut w.psi[..words]);
            par.chunks_with(psi, n, &mut w.threads, |i, psi, t| self.probe.fill_real(some[i], psi, t));
            let (x, exit) = ([&w.v[..], &w.psi[..words]], &mut w.exit[..words]);
            self.function.forward(&x, exit, tape, scratch, Mode::Train { step: 0 });

            // Each exit wave becomes its own gradient.
            let waves: &mut [Complex<T>] = bytemuck::cast_slice_mut(exit);
            let mut pairs: Vec<_> = waves.chunks_mut(n).zip(&mut w.loss).collect();
            par.chunks_with(&mut pairs, 1, &mut w.threads, |i, pair, t| {
                let (wave, loss) = &mut pair[0];
                self.fft.forward(wave, t);
                let amplitudes = self.patterns.amplitudes(b * self.batch() + i);
                **loss = 0.0;
                for (i, z) in wave.iter_mut().enumerate() {
                    // Patterns are (nx, ny); what was not measured is negative.
                    let a = amplitudes[i % nx * ny + i / nx];
                    let modulus = z.norm_sqr().sqrt();
                    if a < T::ZERO || modulus == T::ZERO {
                        *z = Complex::default();
                        continue;
                    }
                    let d = modulus - a * unit;
                    **loss += d.f64() * d.f64();
                    // The inverse transform divides by N.
                    *z = z.scale(T::of(2.0 * share * n as f64) * d / modulus);
                }
                self.fft.inverse(wave, t);
            });
            loss += w.loss[..some.len()].iter().sum::<f64>() * share;
            let how = if b == 0 { Write::Set } else { Write::Add };
            self.function.backward(&x, &[], tape, exit, &mut [Some((&mut *g, how)), None], scratch);
        }
        g.iter_mut().for_each(|g| *g *= inverse_sigma);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multislice::Multislice;
    use crate::observe::silent;
    use crate::optics::{Aberrations, Aperture, Grid};
    use crate::par::Par;
    use crate::ptycho::ZeroFrequency;
    use crate::rng;
    use crate::specimen::Potential;
    use crate::tensor::Tensor;
    use crate::units::{Angle, Energy};

    /// Two different slices, 40 Å apart, and their patterns.
    fn case(slices: usize) -> (SlicedPtychography<f64>, Vec<f64>) {
        let grid = Grid { dims: [24, 20], sampling: [Length::angstrom(0.5); 2] };
        let params = MultisliceParams {
            energy: Energy::kev(80.0),
            grid,
            thickness: vec![Length::angstrom(40.0); 2],
            par: Par::seq(),
            ..Default::default()
        };
        let probe = ProbeParams {
            energy: params.energy,
            aperture: Aperture::Soft { semi_angle: Angle::mrad(25.0) },
            aberrations: Aberrations::from_defocus(Length::angstrom(60.0)),
            grid,
            ..Default::default()
        };
        let mut r = rng::stream(5, 0);
        let mut bumps = |seed: f64| -> Vec<f64> {
            let at: Vec<[f64; 2]> =
                (0..5).map(|_| [24.0 * rng::uniform(&mut r), 20.0 * rng::uniform(&mut r)]).collect();
            let near = |i: usize, c: f64, n: f64| {
                let d = (i as f64 - c).abs();
                d.min(n - d)
            };
            (0..480)
                .map(|i| {
                    let r2 = at.iter().map(|c| near(i / 20, c[0], 24.0).powi(2) + near(i % 20, c[1], 20.0).powi(2));
                    r2.map(|r2| seed * (-r2 / 5.0).exp()).sum()
                })
                .collect()
        };
        let mut phases = bumps(0.5);
        phases.extend(bumps(0.3));
        let multislice = Multislice::<f64>::new(&params).unwrap();
        let sigma = multislice.interaction_parameter();
        let values = Tensor::from_vec(&[2, 24, 20], phases.iter().map(|p| p / sigma).collect()).unwrap();
        let potential = Potential { grid, thickness: params.thickness.clone(), values };
        let t = multislice.transmission(&potential).unwrap();
        let positions = crate::multislice::raster([Length::ZERO; 2], [Length::angstrom(1.0); 2], [12, 10]);
        let patterns = multislice.patterns(&t, &Probe::new(&probe).unwrap(), &positions).unwrap();
        // Intensities are rounded to single precision on the way.
        let patterns = Patterns::from_source(&patterns, ZeroFrequency::Corner, None, Limits::default()).unwrap();
        let thickness = vec![Length::angstrom(80.0 / slices as f64); slices];
        let params = SlicedParams {
            multislice: MultisliceParams { thickness, ..params },
            probe,
            intensity: Some(1.0),
            batch: 7,
            ..Default::default()
        };
        (SlicedPtychography::new(patterns, &positions, params).unwrap(), phases)
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (plan, truth) = case(2);
        let mut r = rng::stream(1, 0);
        let at: Vec<f64> = truth.iter().map(|t| 0.7 * t + 0.02 * rng::normal(&mut r)).collect();
        let (_, g) = plan.loss_gradient(&at).unwrap();
        let d: Vec<f64> = (0..at.len()).map(|_| rng::normal(&mut r)).collect();
        let loss = |h: f64| {
            let x: Vec<f64> = at.iter().zip(&d).map(|(a, d)| a + h * d).collect();
            plan.loss_gradient(&x).unwrap().0
        };
        let h = 1e-4;
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        let product: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
        let scale = g.iter().map(|g| g * g).sum::<f64>().sqrt() * d.iter().map(|d| d * d).sum::<f64>().sqrt();
        assert!((slope - product).abs() < 1e-6 * scale, "{slope} {product}");
        // At the truth nothing is left but the rounding of the data, (2⁻²⁵)² of the whole.
        assert!(plan.loss_gradient(&truth).unwrap().0 < 1e-14);
    }

    #[test]
    fn two_slices_explain_what_one_cannot() {
        let [one, two] = [1, 2].map(|slices| {
            let (plan, truth) = case(slices);
            let found = plan.run(plan.start().unwrap(), 60, &mut silent).unwrap();
            (found.state.best_loss, found.state.best, truth)
        });
        assert!(two.0 < 0.02 * one.0, "{} {}", two.0, one.0);
        // Each slice by itself, but for constants that may move from one to the other.
        for s in 0..2 {
            let part = |x: &[f64]| x[s * 480..(s + 1) * 480].to_vec();
            let c = crate::metrics::pearson(&part(&two.2), &part(&two.1), None).unwrap();
            assert!(c > 0.95, "slice {s}: {c}");
        }
    }
}
