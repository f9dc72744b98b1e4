//! The loop around the optimizers: stop rules, the best state kept, checkpoints.

use crate::error::{Error, check_len};
use crate::observe::{Observer, Step, Stop};
use crate::optim::adam::CHUNK;
use crate::optim::schedule::NO_PLATEAU;
use crate::optim::{AdamStep, Clip, Lbfgs, LineStep, Schedule, Sgd, Wolfe, dot, moving_average, polak_ribiere};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Limits, try_zeroed};

/// What is minimised: called with the parameters and the number of the iteration (from 0), writes the gradient and
/// returns the loss. A line search calls it several times in one iteration: with its methods the loss must depend on the
/// parameters alone.
///
/// [`Error::NotFinite`] is not passed on: it ends the run, as a loss of NaN does.
pub type Objective<'a, T> = &'a mut dyn FnMut(&[T], usize, &mut [T]) -> Result<f64, Error>;

/// How a step is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Gradient descent with momentum, at the scheduled rate.
    Sgd(Sgd),
    /// Adam, AdamW, AMSGrad, at the scheduled rate.
    Adam(AdamStep),
    /// Limited-memory BFGS with a line search.
    Lbfgs {
        /// Pairs of vectors that are kept.
        pairs: usize,
        /// The line search.
        wolfe: Wolfe,
    },
    /// Nonlinear conjugate gradients (Polak–Ribière⁺) with a line search.
    ConjugateGradient {
        /// The line search; its c₂ is below ½.
        wolfe: Wolfe,
    },
}

/// How [`Minimize`] works.
#[derive(Clone, Debug)]
pub struct MinimizeParams {
    /// How a step is found.
    pub method: Method,
    /// The learning rate; methods with a line search have none.
    pub schedule: Schedule,
    /// What is done to gradients before a step; methods with a line search leave them as they are.
    pub clip: Clip,
    /// β of the running mean of the parameters; 0: none is kept.
    pub average: f64,
    /// Converged when no word of the gradient is larger.
    pub gradient_tolerance: f64,
    /// Converged when the loss changes by less than this times itself in one iteration. For losses that depend on the
    /// parameters alone; 0: never.
    pub change_tolerance: f64,
    /// Stalled when the best loss has not improved in so many iterations; 0: never.
    pub patience: usize,
    /// Threads of Adam's step and of what is done after every evaluation. The default is the calling thread: most
    /// problems are small beside what their objective costs.
    pub par: Par,
    /// The most memory of state and workspace.
    pub limits: Limits,
}

/// Adam at 10⁻³ on the calling thread.
impl Default for MinimizeParams {
    fn default() -> Self {
        MinimizeParams {
            method: Method::Adam(AdamStep::default()),
            schedule: Schedule::default(),
            clip: Clip::None,
            average: 0.0,
            gradient_tolerance: 0.0,
            change_tolerance: 0.0,
            patience: 0,
            par: Par::seq(),
            limits: Limits::default(),
        }
    }
}

/// Everything that an iteration needs: a checkpoint. A run that goes on from it gives the same bits as one that was never
/// interrupted, provided that the objective depends on the parameters and the iteration alone.
#[derive(Clone, Debug, PartialEq)]
pub struct MinimizeState<T: Real> {
    /// The parameters.
    pub x: Vec<T>,
    /// The parameters with the lowest loss that was evaluated, and what it was, and at which iteration.
    pub best: Vec<T>,
    /// See `best`; infinite before the first.
    pub best_loss: f64,
    /// See `best`.
    pub best_iteration: usize,
    /// The running mean of the parameters; empty where none is kept.
    pub average: Vec<T>,
    /// Iterations done.
    pub iteration: usize,
    /// The loss of each: before the step for [`Method::Sgd`] and [`Method::Adam`], after it for the others.
    pub loss: Vec<f64>,
    /// The method's vectors, one after the other.
    pub memory: Vec<T>,
    /// The method's numbers.
    pub numbers: Vec<f64>,
}

/// What [`Minimize::run`] returns.
#[derive(Debug)]
pub struct Minimum<T: Real> {
    /// The state; the answer is its `best`.
    pub state: MinimizeState<T>,
    /// Iterations of this run.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
    /// What was not finite, for [`Stop::NotFinite`].
    pub failure: Option<Error>,
}

/// The minimisation of a loss of n words.
///
/// # Examples
/// ```
/// use exitwave::observe::silent;
/// use exitwave::optim::{Method, Minimize, MinimizeParams, Wolfe};
///
/// // Rosenbrock's valley.
/// let mut valley = |x: &[f64], _: usize, g: &mut [f64]| {
///     let r = x[1] - x[0] * x[0];
///     g.copy_from_slice(&[-2.0 * (1.0 - x[0]) - 400.0 * x[0] * r, 200.0 * r]);
///     Ok((1.0 - x[0]).powi(2) + 100.0 * r * r)
/// };
/// let method = Method::Lbfgs { pairs: 10, wolfe: Wolfe::default() };
/// let plan = Minimize::new(2, MinimizeParams { method, gradient_tolerance: 1e-8, ..MinimizeParams::default() })?;
/// let found = plan.run(plan.start(&[-1.2, 1.0])?, 100, &mut valley, &mut silent)?;
/// assert!((found.state.best[0] - 1.0).abs() < 1e-6 && found.iterations < 50);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Minimize {
    n: usize,
    params: MinimizeParams,
}

impl Minimize {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`], [`Error::OverBudget`].
    pub fn new(n: usize, params: MinimizeParams) -> Result<Self, Error> {
        let fraction = |name, v: f64| match (0.0..1.0).contains(&v) {
            true => Ok(()),
            false => Err(Error::param(name, v, "a number in [0, 1)")),
        };
        let tolerance = |name, v: f64| match v >= 0.0 {
            true => Ok(()),
            false => Err(Error::param(name, v, "a number that is not negative")),
        };
        if n == 0 {
            return Err(Error::param("n", n, "at least 1"));
        }
        params.schedule.check()?;
        fraction("average", params.average)?;
        tolerance("gradient_tolerance", params.gradient_tolerance)?;
        tolerance("change_tolerance", params.change_tolerance)?;
        match params.clip {
            Clip::Norm(c) | Clip::Value(c) if c <= 0.0 || c.is_nan() => {
                return Err(Error::param("clip", c, "a positive number"));
            }
            _ => {}
        }
        match params.method {
            Method::Sgd(s) => {
                fraction("momentum", s.momentum)?;
                tolerance("weight_decay", s.weight_decay)?;
            }
            Method::Adam(a) => {
                fraction("beta1", a.adam.beta1)?;
                fraction("beta2", a.adam.beta2)?;
                tolerance("epsilon", a.adam.epsilon)?;
            }
            Method::Lbfgs { wolfe, .. } | Method::ConjugateGradient { wolfe } => {
                let ordered = 0.0 < wolfe.c1 && wolfe.c1 < wolfe.c2 && wolfe.c2 < 1.0;
                if !ordered || wolfe.evaluations == 0 {
                    return Err(Error::param("wolfe", format!("{wolfe:?}"), "0 < c1 < c2 < 1, and evaluations"));
                }
            }
        }
        let plan = Minimize { n, params };
        plan.params.limits.check(plan.workspace_bytes::<f64>())?;
        Ok(plan)
    }

    /// Bytes of a state and of a run's workspace, for scalars `T`.
    pub fn workspace_bytes<T: Real>(&self) -> u64 {
        // x, best and gradient, and what the method keeps.
        let vectors =
            3 + match self.params.method {
                Method::Sgd(_) => 1,
                Method::Adam(a) => a.vectors(),
                Method::Lbfgs { pairs, .. } => pairs.saturating_mul(2).saturating_add(4),
                Method::ConjugateGradient { .. } => 4,
            } + usize::from(self.params.average > 0.0);
        (vectors as u64).saturating_mul(self.n as u64).saturating_mul(size_of::<T>() as u64)
    }

    /// The state before the first iteration.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of words, [`Error::Data`] for one that is not finite,
    /// [`Error::OutOfMemory`].
    pub fn start<T: Real>(&self, x: &[T]) -> Result<MinimizeState<T>, Error> {
        if x.len() != self.n {
            return Err(Error::shape("Minimize::start", &[self.n], &[x.len()]));
        }
        if let Some(index) = x.iter().position(|x| !x.is_finite()) {
            return Err(Error::Data { what: "a parameter that is not finite".into(), index });
        }
        let vectors = match self.params.method {
            Method::Sgd(_) => 1,
            Method::Adam(a) => a.vectors(),
            Method::Lbfgs { .. } => 0,
            Method::ConjugateGradient { .. } => 2,
        };
        Ok(MinimizeState {
            x: x.to_vec(),
            best: x.to_vec(),
            best_loss: f64::INFINITY,
            best_iteration: 0,
            average: try_zeroed(if self.params.average > 0.0 { self.n } else { 0 })?,
            iteration: 0,
            loss: Vec::new(),
            memory: try_zeroed(vectors * self.n)?,
            numbers: match self.params.method {
                Method::ConjugateGradient { .. } => vec![0.0],
                Method::Lbfgs { .. } => Vec::new(),
                _ => NO_PLATEAU.to_vec(),
            },
        })
    }

    /// Goes on for at most `iterations`.
    ///
    /// A loss or a gradient that is not finite ends the run with [`Stop::NotFinite`]; the best state stays what it was.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a state of another problem; those of the objective, but for [`Error::NotFinite`].
    pub fn run<T: Real>(
        &self,
        state: MinimizeState<T>,
        iterations: usize,
        objective: Objective<'_, T>,
        observe: Observer<'_>,
    ) -> Result<Minimum<T>, Error> {
        self.check_state(&state)?;
        let first = state.iteration;
        let mut run = Run {
            total: first.saturating_add(iterations),
            gradient: try_zeroed(self.n)?,
            state,
            params: &self.params,
            failure: None,
        };
        let stop = match self.params.method {
            Method::Sgd(_) | Method::Adam(_) => run.first_order(objective, observe)?,
            Method::Lbfgs { .. } | Method::ConjugateGradient { .. } => run.searching(objective, observe)?,
        };
        let iterations = run.state.iteration - first;
        Ok(Minimum { state: run.state, iterations, stop, failure: run.failure })
    }

    fn check_state<T: Real>(&self, s: &MinimizeState<T>) -> Result<(), Error> {
        let n = self.n;
        let (vectors, numbers) = match self.params.method {
            Method::Sgd(_) => (s.memory.len() == n, 3),
            Method::Adam(a) => (s.memory.len() == a.vectors() * n, 3),
            Method::Lbfgs { .. } => (s.memory.len().is_multiple_of(2 * n), 0),
            Method::ConjugateGradient { .. } => (s.memory.len() == 2 * n, 1),
        };
        let average = s.average.len() == if self.params.average > 0.0 { n } else { 0 };
        if s.x.len() == n && s.best.len() == n && vectors && average && s.numbers.len() == numbers {
            return Ok(());
        }
        let got = format!("{} words, {} of memory, {} of mean", s.x.len(), s.memory.len(), s.average.len());
        Err(Error::Checkpoint { expected: format!("a state of {n} words and of this method"), got })
    }
}

/// One call of [`Minimize::run`].
struct Run<'a, T: Real> {
    state: MinimizeState<T>,
    params: &'a MinimizeParams,
    gradient: Vec<T>,
    total: usize,
    failure: Option<Error>,
}

impl<T: Real> Run<'_, T> {
    /// Evaluates at x; `None` where loss or gradient is not finite.
    fn evaluate(&mut self, objective: Objective<'_, T>) -> Result<Option<f64>, Error> {
        let (s, step) = (&self.state, self.state.iteration);
        let failure = match objective(&s.x, step, &mut self.gradient) {
            Ok(loss) if !loss.is_finite() => Error::NotFinite { node: "loss".into(), step },
            Ok(_) if !self.square().is_finite() => Error::NotFinite { node: "gradient".into(), step },
            Ok(loss) => return Ok(Some(loss)),
            Err(e @ Error::NotFinite { .. }) => e,
            Err(e) => return Err(e),
        };
        self.failure = Some(failure);
        Ok(None)
    }

    /// Σ g².
    fn square(&self) -> f64 {
        let g = &self.gradient;
        self.params.par.sum(g.len(), CHUNK, |part| dot(&g[part.clone()], &g[part]))
    }

    fn keep_best(&mut self, loss: f64) {
        let s = &mut self.state;
        if loss < s.best_loss {
            (s.best_loss, s.best_iteration) = (loss, s.iteration);
            let x = &s.x;
            self.params.par.chunks(&mut s.best, CHUNK, |i, best| best.copy_from_slice(&x[i * CHUNK..][..best.len()]));
        }
    }

    fn flat(&self) -> bool {
        self.gradient.iter().all(|g| g.f64().abs() <= self.params.gradient_tolerance)
    }

    /// Books a finished iteration; says whether it was the last.
    fn finish(&mut self, loss: f64, observe: Observer<'_>) -> Option<Stop> {
        let s = &mut self.state;
        let before = s.loss.last().copied();
        s.loss.push(loss);
        s.iteration += 1;
        if self.params.average > 0.0 {
            moving_average(s.iteration, self.params.average, &s.x, &mut s.average);
        }
        let (tolerance, patience) = (self.params.change_tolerance, self.params.patience);
        if observe(&Step::new(s.iteration, self.total, loss)).is_break() {
            Some(Stop::Cancelled)
        } else if tolerance > 0.0 && before.is_some_and(|b| (b - loss).abs() <= tolerance * loss.abs()) {
            Some(Stop::Converged)
        } else if patience > 0 && s.iteration - s.best_iteration > patience {
            Some(Stop::Stalled)
        } else {
            None
        }
    }

    /// Steps at a scheduled rate.
    fn first_order(&mut self, objective: Objective<'_, T>, observe: Observer<'_>) -> Result<Stop, Error> {
        while self.state.iteration < self.total {
            let Some(loss) = self.evaluate(&mut *objective)? else { return Ok(Stop::NotFinite) };
            self.keep_best(loss);
            if self.flat() {
                return Ok(Stop::Converged);
            }
            let (s, g) = (&mut self.state, &mut self.gradient);
            self.params.clip.apply(g);
            let mut plateau = [s.numbers[0], s.numbers[1], s.numbers[2]];
            self.params.schedule.observe(loss, &mut plateau);
            s.numbers.copy_from_slice(&plateau);
            let rate = self.params.schedule.at(s.iteration, &plateau);
            match self.params.method {
                Method::Sgd(sgd) => sgd.step(&mut s.x, g, &mut s.memory, rate),
                Method::Adam(adam) => {
                    adam.step(s.iteration + 1, &mut s.x, g, &mut s.memory, rate, &self.params.par);
                }
                Method::Lbfgs { .. } | Method::ConjugateGradient { .. } => unreachable!("they have a line search"),
            }
            if let Some(stop) = self.finish(loss, &mut *observe) {
                return Ok(stop);
            }
        }
        Ok(Stop::Iterations)
    }

    /// Steps along a direction, to the strong Wolfe conditions.
    fn searching(&mut self, objective: Objective<'_, T>, observe: Observer<'_>) -> Result<Stop, Error> {
        let n = self.state.x.len();
        let (mut d, mut old, mut base): (Vec<T>, Vec<T>, Vec<T>) = (try_zeroed(n)?, try_zeroed(n)?, try_zeroed(n)?);
        let (wolfe, pairs) = match self.params.method {
            Method::Lbfgs { pairs, wolfe } => (wolfe, Some(pairs)),
            Method::ConjugateGradient { wolfe } => (wolfe, None),
            Method::Sgd(_) | Method::Adam(_) => unreachable!("they have a rate"),
        };
        let ones = if pairs.is_some() { vec![T::ONE; n] } else { Vec::new() };
        let Some(mut loss) = self.evaluate(&mut *objective)? else { return Ok(Stop::NotFinite) };
        self.keep_best(loss);
        while self.state.iteration < self.total {
            if self.flat() {
                return Ok(Stop::Converged);
            }
            // The direction, and the first trial: a step of length 1 at most where nothing is known.
            let norm1: f64 = self.gradient.iter().map(|g| g.f64().abs()).sum();
            let careful = (1.0 / norm1).min(1.0);
            let (slope, trial, fresh);
            if let Some(pairs) = pairs {
                let memory = Lbfgs::new(pairs, n, std::mem::take(&mut self.state.memory));
                d.copy_from_slice(&self.gradient);
                memory.direction(&mut d, &ones);
                fresh = memory.history().is_empty();
                self.state.memory = memory.into_history();
                slope = dot(&self.gradient, &d);
                trial = if fresh { careful } else { 1.0 };
            } else {
                let (g0, d0) = self.state.memory.split_at_mut(n);
                fresh = self.state.numbers[0] == 0.0;
                slope = polak_ribiere(&self.gradient, g0, d0);
                d.copy_from_slice(d0);
                // Nocedal & Wright, section 3.5: the last step's first-order change is expected again.
                trial = if fresh { careful } else { self.state.numbers[0] / slope };
            }

            // The search moves x; the gradient of the last trial is in `gradient`.
            base.copy_from_slice(&self.state.x);
            old.copy_from_slice(&self.gradient);
            let size = d.iter().fold(0.0f64, |m, d| m.max(d.f64().abs()));
            let mut step = LineStep { t: 0.0, loss, evaluations: 0, satisfied: false, last: 0.0 };
            if slope < 0.0 {
                let mut phi = |t: f64| -> Result<(f64, f64), Error> {
                    move_to(&mut self.state.x, &base, t, &d);
                    let loss = objective(&self.state.x, self.state.iteration, &mut self.gradient)?;
                    Ok((loss, dot(&self.gradient, &d)))
                };
                step = wolfe.search(trial, loss, slope, size, &mut phi)?;
            }
            let t = step.t;
            move_to(&mut self.state.x, &base, t, &d);
            if t == 0.0 {
                self.gradient.copy_from_slice(&old);
                if fresh {
                    return Ok(Stop::Stalled);
                }
                // Old information may mislead: once more, along the gradient.
                match pairs {
                    Some(_) => self.state.memory.clear(),
                    None => {
                        self.state.memory.fill(T::ZERO);
                        self.state.numbers[0] = 0.0;
                    }
                }
                continue;
            }
            loss = step.loss;
            if step.last != t {
                let Some(again) = self.evaluate(&mut *objective)? else { return Ok(Stop::NotFinite) };
                loss = again;
            }
            match pairs {
                Some(pairs) => {
                    let t = T::of(t);
                    let mut memory = Lbfgs::new(pairs, n, std::mem::take(&mut self.state.memory));
                    let y = self.gradient.iter().zip(&old).map(|(g, o)| *g - *o);
                    memory.push(d.iter().map(|d| t * *d), y);
                    self.state.memory = memory.into_history();
                }
                None => self.state.numbers[0] = t * slope,
            }
            self.keep_best(loss);
            if let Some(stop) = self.finish(loss, &mut *observe) {
                return Ok(stop);
            }
        }
        Ok(Stop::Iterations)
    }
}

/// `x = base + t d`.
fn move_to<T: Real>(x: &mut [T], base: &[T], t: f64, d: &[T]) {
    check_len("minimize", "d", x.len(), d.len());
    let t = T::of(t);
    for ((x, &b), &d) in x.iter_mut().zip(base).zip(d) {
        *x = b + t * d;
    }
}
