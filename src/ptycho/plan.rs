//! The plan of a reconstruction: its parameters, its memory, its iterations.

use num_complex::Complex;

use crate::error::Error;
use crate::observe::{Observer, Step, Stop};
use crate::par::Par;
use crate::ptycho::evaluate::{Evaluation, Problem};
use crate::ptycho::gradient::Gradient;
use crate::ptycho::kernels;
use crate::ptycho::loss::Loss;
use crate::ptycho::model::{Model, Scratch};
use crate::ptycho::modes::orthogonalise;
use crate::ptycho::patterns::Patterns;
use crate::ptycho::pie::{Normalisation, Weights, step_general, step_single};
use crate::ptycho::refine::{Refinement, gauss_newton, limited};
use crate::ptycho::scan::{Positions, clamp, place};
use crate::ptycho::state::{LossGradient, Outcome, State};
use crate::real::{Real, cis};
use crate::rng;
use crate::shape::{Limits, checked_len, try_reserved};
use crate::tensor::Tensor;

/// Which iteration is run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// ePIE: one pattern after the other, in a random order. Its loss is the running residual Σ(√I − √D)²/ΣD,
    /// accumulated before each update.
    Epie {
        /// β_O, the part of the object's update that is made; up to 1.
        object_step: f64,
        /// β_P, of the probe's.
        probe_step: f64,
    },
    /// rPIE: ePIE with updates divided by (1 − α)|·|² + α max|·|² instead of the maximum alone: faster at the probe's
    /// rim. α = 1 is ePIE.
    Rpie {
        /// α of the object's update, in (0, 1].
        object_alpha: f64,
        /// α of the probe's update, in (0, 1].
        probe_alpha: f64,
    },
    /// Gradient descent, preconditioned: each pixel's step is divided by the intensity that lit it (object) or that it
    /// lit (probe).
    Descent {
        /// Part of the preconditioned step that is taken; up to 1 for the amplitude loss.
        step: f64,
        /// Part of the largest divisor that is added to all of them.
        regularization: f64,
        /// Patterns a step; 0: all of them.
        batch: usize,
        /// What is minimised.
        loss: Loss,
    },
    /// Adam.
    Adam {
        /// Learning rate of the object, whose modulus is about 1 (phase objects: in radians).
        object_rate: f64,
        /// Learning rate of the probe, relative to its root-mean-square.
        probe_rate: f64,
        /// Patterns a step; 0: all of them.
        batch: usize,
        /// What is minimised.
        loss: Loss,
    },
    /// L-BFGS over all patterns, with the preconditioner of `Descent` and a backtracking line search. The fastest for
    /// phase objects, and the one that converges furthest.
    Lbfgs {
        /// Pairs that are remembered; each costs twice the object and the probe in memory.
        pairs: usize,
        /// Regularization of the preconditioner, as in `Descent`.
        regularization: f64,
        /// What is minimised.
        loss: Loss,
    },
}

/// What the object may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Any complex transmission.
    Complex,
    /// `O = e^{iφ}`, φ real: a thin, not absorbing specimen. Gradient algorithms vary φ and leave |O| as the
    /// start has it; ePIE and rPIE set |O| = 1 after each sweep.
    Phase,
}

/// Whether positions are taken as they are, or rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The probe is moved by the fraction of a pixel: two more transforms a pattern and mode in the model, two more in
    /// its adjoint.
    Subpixel,
    /// Positions are rounded to whole pixels: the fastest.
    Whole,
}

/// Parameters of a reconstruction.
#[derive(Clone, Debug)]
pub struct PtychoParams {
    /// The iteration.
    pub algorithm: Algorithm,
    /// What the object may be.
    pub object: ObjectKind,
    /// Whether fractions of pixels count.
    pub placement: Placement,
    /// Iterations without an update of the probe at the start; `usize::MAX` for a known probe.
    pub probe_from: usize,
    /// Refinement of the positions; `None`: they are known. Needs [`Placement::Subpixel`].
    pub refine: Option<Refinement>,
    /// Order of the patterns.
    pub seed: u64,
    /// Threads. ePIE and rPIE are sequential; everything else uses all of them.
    pub par: Par,
    /// Memory.
    pub limits: Limits,
}

impl Default for PtychoParams {
    fn default() -> Self {
        PtychoParams {
            algorithm: Algorithm::Epie { object_step: 0.5, probe_step: 0.5 },
            object: ObjectKind::Complex,
            placement: Placement::Subpixel,
            probe_from: 0,
            refine: None,
            seed: 0,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// A reconstruction of object and probe from diffraction patterns: iterative ptychography of a thin object.
///
/// # Examples
/// ```
/// use exitwave::num_complex::Complex;
/// use exitwave::observe::silent;
/// use exitwave::ptycho::*;
/// use exitwave::par::Par;
/// use exitwave::tensor::Tensor;
/// use exitwave::units::{Angle, Length};
///
/// // A 6 × 6 scan of a small phase object by a round probe of 400 electrons.
/// let a = Length::angstrom(1.0);
/// let positions = Positions::new(&grid([6, 6], [a * 2.0, a * 2.0], Angle::ZERO), [a, a], [16, 16], 0)?;
/// let object = Tensor::from_fn(&positions.object, |i| Complex::from_polar(1.0f32, 0.3 * (i[0] as f32 * 0.9).sin()));
/// let probe = Tensor::from_fn(&[1, 16, 16], |i| {
///     let r2 = (i[1] as f32 - 8.0).powi(2) + (i[2] as f32 - 8.0).powi(2);
///     Complex::from_polar((-r2 / 18.0).exp() * 0.3, 0.05 * r2)
/// });
/// let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::default())?;
///
/// let patterns = Patterns::from_tensor(data, ZeroFrequency::Center, None)?;
/// let params = PtychoParams { probe_from: usize::MAX, ..PtychoParams::default() };
/// let plan = Ptychography::new(patterns, positions, params)?;
/// let outcome = plan.run(plan.start(probe)?, 20, &mut silent)?;
/// assert!(outcome.state.loss[19] < 0.05 * outcome.state.loss[0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Ptychography<T: Real> {
    params: PtychoParams,
    patterns: Patterns<T>,
    positions: Positions,
}

impl<T: Real> Ptychography<T> {
    /// Checks everything that can be checked before a probe is known.
    ///
    /// # Errors
    /// - [`Error::Shape`] when there are not as many positions as patterns,
    /// - [`Error::Data`] for a position whose window is not on the object,
    /// - [`Error::Param`] for a step, rate, α or damping outside of its range, or a refinement of rounded positions.
    pub fn new(patterns: Patterns<T>, positions: Positions, params: PtychoParams) -> Result<Self, Error> {
        if patterns.len() != positions.len() {
            return Err(Error::shape("Ptychography: positions", &[patterns.len()], &[positions.len()]));
        }
        positions.check(patterns.dims())?;
        check(&params)?;
        Ok(Ptychography { params, patterns, positions })
    }

    /// The parameters.
    pub fn params(&self) -> &PtychoParams {
        &self.params
    }

    /// The measured patterns.
    pub fn patterns(&self) -> &Patterns<T> {
        &self.patterns
    }

    /// Where the windows were given to lie, the object's size, its pixel.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Bytes that a run holds at its peak, patterns and state included, for a probe of so many modes. Not counted are
    /// lists of a few numbers a pattern or a row, the transform's factors, and what the allocator keeps for itself.
    pub fn workspace_bytes(&self, modes: usize) -> u64 {
        // In `f64`, which no parameter overflows.
        let (m, o) = (modes as f64, self.positions.object.iter().map(|&n| n as f64).product::<f64>());
        let n = self.patterns.dims().iter().map(|&n| n as f64).product::<f64>();
        let vector = 2.0 * m * n + if self.params.object == ObjectKind::Phase { o } else { 2.0 * o };
        // The change of the probes, their spectra, two weights; or all evaluations' buffers, with gradient, scale and
        // change.
        let evaluation = Evaluation::<T>::words(n, m, o) + 3.0 * vector;
        let work = match self.params.algorithm {
            Algorithm::Epie { .. } | Algorithm::Rpie { .. } => 4.0 * m * n + 2.0 * n,
            // The preconditioner's sums.
            Algorithm::Descent { .. } => evaluation + 2.0 * (o + n),
            Algorithm::Adam { .. } => evaluation + 2.0 * vector,
            // The old gradient, the base point, the history.
            Algorithm::Lbfgs { pairs, .. } => evaluation + (1.0 + 2.0 * pairs as f64) * vector + 2.0 * (o + m * n),
        };
        self.bytes(modes, work)
    }

    /// Bytes of patterns, state and every thread's scratch, and of `work` words.
    fn bytes(&self, modes: usize, work: f64) -> u64 {
        let (m, o) = (modes as f64, self.positions.object.iter().map(|&n| n as f64).product::<f64>());
        let n = self.patterns.dims().iter().map(|&n| n as f64).product::<f64>();
        let threads = self.params.par.count() as f64;
        // A scratch holds 2 modes + 2 waves, and an intensity; a refinement adds two derivatives. Row transforms need
        // little.
        let scratch = (4.0 * m + 5.0 + if self.params.refine.is_some() { 2.0 } else { 0.0 }) * n;
        let words = 2.0 * (o + m * n) + threads * scratch + work;
        self.patterns.bytes().saturating_add((words * size_of::<T>() as f64) as u64)
    }

    /// The start: an object that is 1 everywhere, and this probe, scaled so that it has as many electrons as the mean
    /// pattern.
    ///
    /// # Shapes
    /// `probe` is (modes, ny, nx), or (ny, nx) for one mode, with its centre in the middle of the window.
    ///
    /// # Errors
    /// - [`Error::Shape`] for a probe that does not fit the patterns,
    /// - [`Error::Data`] for one that is not finite or has no intensity,
    /// - [`Error::OverBudget`] when a run would need more memory than the limits allow, [`Error::OutOfMemory`] when the
    ///   object needs more than there is.
    pub fn start(&self, probe: Tensor<Complex<T>>) -> Result<State<T>, Error> {
        let [ny, nx] = self.patterns.dims();
        let modes = match *probe.dims() {
            [y, x] if [y, x] == [ny, nx] => 1,
            [m, y, x] if m > 0 && [y, x] == [ny, nx] => m,
            _ => return Err(Error::shape("Ptychography: probe [modes, ny, nx]", &[1, ny, nx], probe.dims())),
        };
        self.params.limits.check(self.workspace_bytes(modes))?;
        let mut probe = probe.reshape(&[modes, ny, nx])?;
        let power = finite_power(probe.as_slice(), "probe")?;
        // Σ|F P|² = N Σ|P|².
        let wanted = self.patterns.total() / self.patterns.len() as f64 / (ny * nx) as f64;
        let scale = (wanted / power).sqrt();
        probe
            .as_mut_slice()
            .iter_mut()
            .for_each(|z| *z = Complex::new(T::of(z.re.f64() * scale), T::of(z.im.f64() * scale)));
        let pixels = checked_len(&self.positions.object)?;
        let mut object = try_reserved(pixels)?;
        object.resize(pixels, Complex::new(T::ONE, T::ZERO));
        Ok(State {
            object: Tensor::from_vec(&self.positions.object, object)?,
            probe,
            positions: self.positions.pixels.clone(),
            iteration: 0,
            loss: Vec::new(),
            memory: Vec::new(),
        })
    }

    /// Runs `iterations` more iterations from a state: [`Ptychography::start`]'s, one with another object or probe in
    /// it, or where an earlier run ended. 10 and then 10 give the same bits as 20.
    ///
    /// `observe` is called after each iteration with its loss; when it breaks, what was found so far is returned.
    ///
    /// # Errors
    /// - [`Error::Checkpoint`] for a state whose sizes are not this plan's,
    /// - [`Error::Data`] for one that is not finite, or positions outside of the object,
    /// - [`Error::OverBudget`], as in [`Ptychography::start`],
    /// - [`Error::NotFinite`] when an iteration diverges; keep a clone of the state to go back to.
    pub fn run(&self, mut state: State<T>, iterations: usize, observe: Observer<'_>) -> Result<Outcome<T>, Error> {
        self.check_state(&state)?;
        let modes = state.probe.dims()[0];
        self.params.limits.check(self.workspace_bytes(modes))?;
        let model = Model::new(self.patterns.dims(), modes)?;
        let mut scratch: Vec<Scratch<T>> = (0..self.params.par.count()).map(|_| model.scratch()).collect();
        // What a gradient algorithm remembers is of no use after sweeps that it has not seen.
        if matches!(self.params.algorithm, Algorithm::Epie { .. } | Algorithm::Rpie { .. }) {
            state.memory = Vec::new();
        }
        let mut engine = match self.params.algorithm {
            Algorithm::Epie { object_step, probe_step } => {
                Engine::Pie(PieWork::new(&model, Normalisation::Maximum { object_step, probe_step }))
            }
            Algorithm::Rpie { object_alpha, probe_alpha } => {
                Engine::Pie(PieWork::new(&model, Normalisation::Regularised { object_alpha, probe_alpha }))
            }
            algorithm => Engine::Gradient(Gradient::new(&model, algorithm, &self.params, self.positions.object)),
        };
        let planned = state.iteration.saturating_add(iterations);
        let (first, mut stop) = (state.iteration, Stop::Iterations);
        while state.iteration < planned {
            let update_probe = state.iteration >= self.params.probe_from;
            let (loss, stalled) = match &mut engine {
                Engine::Pie(work) => (self.sweep(&model, &mut state, update_probe, work, &mut scratch[0]), false),
                Engine::Gradient(g) => {
                    g.iterate(&model, &self.patterns, &self.params, &mut state, update_probe, &mut scratch)
                }
            };
            // A loss is that of the state before the step: the last step of a run shows in the state alone.
            let finite = |z: &Tensor<Complex<T>>| z.as_slice().iter().all(|z| z.re.is_finite() && z.im.is_finite());
            for (node, good) in
                [("loss", loss.is_finite()), ("object", finite(&state.object)), ("probe", finite(&state.probe))]
            {
                if !good {
                    return Err(Error::NotFinite { node: node.into(), step: state.iteration });
                }
            }
            if update_probe && modes > 1 && matches!(engine, Engine::Pie(_)) {
                orthogonalise(state.probe.as_mut_slice(), modes)?;
            }
            state.iteration += 1;
            state.loss.push(loss);
            if let Some(how) = &self.params.refine
                && state.iteration > how.from
            {
                self.refine(&model, &mut state, how, &mut scratch);
                // Curvature that was measured with other positions is worth nothing.
                if matches!(self.params.algorithm, Algorithm::Lbfgs { .. }) {
                    state.memory.clear();
                }
            }
            if observe(&Step::new(state.iteration, planned, loss)).is_break() {
                stop = Stop::Cancelled;
                break;
            }
            if stalled {
                stop = Stop::Stalled;
                break;
            }
        }
        Ok(Outcome { iterations: state.iteration - first, state, stop })
    }

    /// A loss at a state and its full gradient, positions included: for checks, and for optimizers of one's own.
    /// Fractions of pixels count, whatever the placement.
    ///
    /// # Errors
    /// As [`Ptychography::run`] for the state and the limits; [`Error::Param`] for a background that is not positive.
    pub fn loss_gradient(&self, state: &State<T>, loss: Loss) -> Result<LossGradient<T>, Error> {
        self.check_state(state)?;
        check_loss(loss)?;
        let (modes, frame) = (state.probe.dims()[0] as f64, self.patterns.dims().iter().product::<usize>() as f64);
        let work = Evaluation::<T>::words(frame, modes, state.object.len() as f64);
        self.params.limits.check(self.bytes(state.probe.dims()[0], work))?;
        let model = Model::new(self.patterns.dims(), state.probe.dims()[0])?;
        let mut scratch: Vec<Scratch<T>> = (0..self.params.par.count()).map(|_| model.scratch()).collect();
        let mut evaluation = Evaluation::new(&model, self.positions.object);
        let problem = Problem {
            model: &model,
            patterns: &self.patterns,
            positions: &state.positions,
            subpixel: true,
            loss,
            width: self.positions.object[1],
            position_gradient: true,
        };
        let all: Vec<usize> = (0..self.patterns.len()).collect();
        let (o, p) = (state.object.as_slice(), state.probe.as_slice());
        let loss = evaluation.run(problem, o, p, &all, &self.params.par, &mut scratch);
        Ok(LossGradient {
            loss,
            object: Tensor::from_vec(state.object.dims(), evaluation.object)?,
            probe: Tensor::from_vec(state.probe.dims(), evaluation.probe)?,
            positions: evaluation.positions,
        })
    }

    /// One sweep of ePIE or rPIE. Returns Σ(√I − √D)²/ΣD.
    fn sweep(
        &self,
        model: &Model<T>,
        state: &mut State<T>,
        update_probe: bool,
        work: &mut PieWork<T>,
        s: &mut Scratch<T>,
    ) -> f64 {
        let (n, dims, width) = (model.frame(), self.patterns.dims(), state.object.dims()[1]);
        let order = rng::permutation(&mut rng::stream(self.params.seed, state.iteration as u64), self.patterns.len());
        let subpixel = self.params.placement == Placement::Subpixel;
        let (object, probe) = (state.object.as_mut_slice(), state.probe.as_mut_slice());
        let mut residual = 0.0;
        let mut probe_hat = vec![Complex::default(); if subpixel { probe.len() } else { 0 }];
        if subpixel {
            model.probe_spectra(probe, &mut probe_hat, s);
        }
        let mut probe_max = kernels::max_norm_sqr(probe);
        for j in order {
            let (at, fraction) = place(state.positions[j], dims, width);
            let amplitudes = self.patterns.amplitudes(j);
            if let Normalisation::Maximum { object_step, probe_step } = work.normalisation
                && !subpixel
                && model.modes == 1
            {
                let steps = (object_step, if update_probe { probe_step } else { 0.0 });
                residual += step_single(model, object, at, probe, &mut probe_max, amplitudes, steps, s);
                continue;
            }
            if subpixel {
                model.set_ramp(fraction, s);
                model.move_probe(&probe_hat, s);
            }
            let moved = std::mem::take(&mut s.probe);
            let p = if subpixel { &moved[..] } else { &*probe };
            model.waves(object, at, p, s);
            residual += step_general(
                model,
                object,
                at,
                p,
                &mut work.change,
                amplitudes,
                work.normalisation,
                update_probe,
                &mut work.weights,
                s,
            );
            s.probe = moved;
            if !update_probe {
                continue;
            }
            if subpixel {
                for (change, hat) in work.change.chunks_mut(n).zip(probe_hat.chunks_mut(n)) {
                    model.move_probe_adjoint(change, hat, T::ONE, s);
                }
            } else {
                probe.iter_mut().zip(&work.change).for_each(|(p, c)| *p += c);
            }
        }
        if subpixel && update_probe {
            model.probe_from_spectra(&probe_hat, probe, s);
        }
        if self.params.object == ObjectKind::Phase {
            object.iter_mut().for_each(|z| *z = cis(crate::real::arg(*z)));
        }
        residual / self.patterns.total()
    }

    /// One Gauss–Newton step of every position, all from the same object and probe.
    fn refine(&self, model: &Model<T>, state: &mut State<T>, how: &Refinement, scratch: &mut [Scratch<T>]) {
        let (dims, object) = (self.patterns.dims(), [state.object.dims()[0], state.object.dims()[1]]);
        let mut probe_hat = vec![Complex::default(); state.probe.len()];
        model.probe_spectra(state.probe.as_slice(), &mut probe_hat, &mut scratch[0]);
        let mut with_derivatives: Vec<_> = scratch.iter_mut().map(|s| (s, vec![T::ZERO; 2 * model.frame()])).collect();
        let o = state.object.as_slice();
        self.params.par.chunks_with(&mut state.positions, 1, &mut with_derivatives, |j, p, (s, derivatives)| {
            let (at, fraction) = place(p[0], dims, object[1]);
            model.set_ramp(fraction, s);
            model.move_probe(&probe_hat, s);
            let step = gauss_newton(model, o, at, &probe_hat, self.patterns.amplitudes(j), how.damping, derivatives, s);
            let step = limited(step, how);
            p[0] = clamp([p[0][0] + step[0], p[0][1] + step[1]], dims, object);
        });
    }

    fn check_state(&self, state: &State<T>) -> Result<(), Error> {
        let [ny, nx] = self.patterns.dims();
        let fits = state.object.dims() == self.positions.object
            && matches!(*state.probe.dims(), [m, y, x] if m > 0 && [y, x] == [ny, nx])
            && state.positions.len() == self.patterns.len();
        if !fits {
            let (object, count) = (self.positions.object, self.patterns.len());
            return Err(Error::Checkpoint {
                expected: format!("object {object:?}, probe [modes, {ny}, {nx}], {count} positions"),
                got: format!(
                    "object {:?}, probe {:?}, {} positions",
                    state.object.dims(),
                    state.probe.dims(),
                    state.positions.len()
                ),
            });
        }
        finite_power(state.probe.as_slice(), "probe")?;
        finite_power(state.object.as_slice(), "object")?;
        let positions =
            Positions { pixels: state.positions.clone(), object: self.positions.object, pixel: self.positions.pixel };
        positions.check([ny, nx])
    }
}

/// What an algorithm needs between patterns.
enum Engine<T: Real> {
    Pie(PieWork<T>),
    Gradient(Gradient<T>),
}

struct PieWork<T: Real> {
    normalisation: Normalisation,
    change: Vec<Complex<T>>,
    weights: Weights<T>,
}

impl<T: Real> PieWork<T> {
    fn new(model: &Model<T>, normalisation: Normalisation) -> Self {
        let n = model.frame();
        let weights = Weights { probe: vec![T::ZERO; n], object: vec![T::ZERO; n] };
        PieWork { normalisation, change: vec![Complex::default(); model.modes * n], weights }
    }
}

/// Σ|z|², if it is finite and positive.
fn finite_power<T: Real>(z: &[Complex<T>], what: &str) -> Result<f64, Error> {
    if let Some(index) = z.iter().position(|z| !(z.re.is_finite() && z.im.is_finite())) {
        return Err(Error::Data { what: format!("{what} is {}", z[index]), index });
    }
    let power: f64 = z.iter().map(|z| z.re.f64() * z.re.f64() + z.im.f64() * z.im.f64()).sum();
    if power > 0.0 { Ok(power) } else { Err(Error::Data { what: format!("{what} is zero everywhere"), index: 0 }) }
}

/// Range of a loss' parameter.
fn check_loss(loss: Loss) -> Result<(), Error> {
    match loss {
        Loss::Poisson { background } if !(background > 0.0 && background.is_finite()) => {
            Err(Error::param("background", background, "a positive number of electrons a pixel"))
        }
        _ => Ok(()),
    }
}

/// Ranges of the parameters.
fn check(p: &PtychoParams) -> Result<(), Error> {
    let positive = |name, v: f64| match v > 0.0 && v.is_finite() {
        true => Ok(()),
        false => Err(Error::param(name, v, "a positive number")),
    };
    let unit = |name, v: f64| match v > 0.0 && v <= 1.0 {
        true => Ok(()),
        false => Err(Error::param(name, v, "a number in (0, 1]")),
    };
    let step = |name, v: f64| match (0.0..2.0).contains(&v) {
        true => Ok(()),
        false => Err(Error::param(name, v, "a number in [0, 2)")),
    };
    match p.algorithm {
        Algorithm::Epie { object_step, probe_step } => {
            step("object_step", object_step)?;
            step("probe_step", probe_step)?;
        }
        Algorithm::Rpie { object_alpha, probe_alpha } => {
            unit("object_alpha", object_alpha)?;
            unit("probe_alpha", probe_alpha)?;
        }
        Algorithm::Descent { step: s, regularization, loss: l, .. } => {
            step("step", s)?;
            unit("regularization", regularization)?;
            check_loss(l)?;
        }
        Algorithm::Adam { object_rate, probe_rate, loss: l, .. } => {
            positive("object_rate", object_rate)?;
            positive("probe_rate", probe_rate)?;
            check_loss(l)?;
        }
        Algorithm::Lbfgs { regularization, loss: l, .. } => {
            unit("regularization", regularization)?;
            check_loss(l)?;
        }
    }
    if let Some(r) = &p.refine {
        positive("max_step", r.max_step)?;
        positive("relaxation", r.relaxation)?;
        if !(r.damping >= 0.0 && r.damping.is_finite()) {
            return Err(Error::param("damping", r.damping, "a number >= 0"));
        }
        if p.placement == Placement::Whole {
            return Err(Error::param("refine", "given with Placement::Whole", "Placement::Subpixel"));
        }
    }
    Ok(())
}
