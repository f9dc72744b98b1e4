//! Differentiable phase retrieval: the phase, or phase and amplitude, and the microscope's own numbers, that explain a
//! series.

use crate::error::Error;
use crate::fft::fourier_resample;
use crate::lorentz::lane_loss::TOGETHER;
use crate::lorentz::pixel_moves::State;
use crate::lorentz::precondition::Filter;
use crate::lorentz::problem::Problem;
use crate::lorentz::uncertainty::uncertainty;
use crate::lorentz::variables::variables;
use crate::lorentz::{
    FreeSettings, Freedom, ImageSetting, LorentzModel, LorentzObjective, LorentzParams, Loss, PhaseSpectrum,
    Precondition, Regularizer, SETTING_WORDS,
};
use crate::observe::{Observer, Step, Stop};
use crate::optics::Grid;
use crate::optim::{AdamStep, Method, Minimize, MinimizeParams, Schedule, Wolfe};
use crate::real::Real;
use crate::tensor::Tensor;

/// Whether the amplitude of the object is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amplitude {
    /// It is that of the start.
    #[default]
    Known,
    /// It is sought, from that of the start.
    Free,
}

/// How the loss descends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Descent {
    /// L-BFGS with so many pairs.
    Lbfgs {
        /// Pairs of vectors that are kept.
        pairs: usize,
    },
    /// Adam at a rate, in units of the coordinates: radians without a preconditioner.
    Adam {
        /// The rate.
        rate: f64,
    },
}

/// One part of a retrieval: images binned in Fourier space, then so many iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The sides of the images are divided by this, 1 for all pixels.
    pub binning: usize,
    /// Iterations at most.
    pub iterations: usize,
    /// What is free besides the object.
    pub free: FreeSettings,
}

/// How a series is retrieved.
#[derive(Clone, Debug)]
pub struct RetrievalParams {
    /// The series: grid, settings as far as known, threads, limits.
    pub series: LorentzParams,
    /// What is minimised.
    pub loss: Loss,
    /// What is known of the phase.
    pub regularizer: Regularizer,
    /// What power the phase has at low frequencies; [`PhaseSpectrum::estimate`] finds it from the images.
    pub spectrum: Option<PhaseSpectrum>,
    /// What is known of the amplitude.
    pub amplitude: Amplitude,
    /// How the loss descends.
    pub descent: Descent,
    /// Coordinates of the phase.
    pub precondition: Precondition,
    /// From coarse to fine.
    pub stages: Vec<Stage>,
    /// How often, at most, the object is tried a pixel further on where the last stage seeks shifts. Sharp edges give the
    /// loss a minimum at every whole pixel of common displacement against image 0 and a known amplitude. Each takes another
    /// descent, the last of them in vain.
    pub pixel_moves: usize,
    /// A stage is over when the loss changes by less than this part of itself in an iteration.
    pub tolerance: f64,
    /// Iterations of the conjugate gradients behind the uncertainties of settings; 0: none are computed.
    pub uncertainty_iterations: usize,
}

/// L-BFGS, the amplitude known, 100 iterations on images binned by 4, 100 by 2, and 200 on all pixels.
impl Default for RetrievalParams {
    fn default() -> Self {
        let stage = |binning, iterations| Stage { binning, iterations, free: FreeSettings::NONE };
        RetrievalParams {
            series: LorentzParams::default(),
            loss: Loss::Amplitude,
            regularizer: Regularizer::None,
            spectrum: None,
            amplitude: Amplitude::Known,
            descent: Descent::Lbfgs { pairs: 10 },
            precondition: Precondition::default(),
            stages: vec![stage(4, 100), stage(2, 100), stage(1, 200)],
            pixel_moves: 4,
            tolerance: 1e-6,
            uncertainty_iterations: 0,
        }
    }
}

/// What a retrieval found.
#[derive(Clone, Debug)]
pub struct RetrievalResult<T: Real> {
    /// The phase (ny, nx), rad; its constant is that of the start.
    pub phase: Tensor<T>,
    /// The amplitude (ny, nx).
    pub amplitude: Tensor<T>,
    /// The settings, those that were free changed.
    pub settings: Vec<ImageSetting>,
    /// Standard deviations of the numbers of the settings, in the order of [`Word`](crate::lorentz::Word); 0 where fixed. Empty unless
    /// asked for.
    pub uncertainty: Vec<[f64; SETTING_WORDS]>,
    /// Iterations of all stages; those of a move that was not taken are left out.
    pub iterations: usize,
    /// The loss after each.
    pub loss: Vec<f64>,
    /// Why the last stage ended.
    pub stop: Stop,
}

/// The retrieval of one series, or of many taken with the same settings.
///
/// ```text
/// minimise  1/(nN) Σ_k Σ_r ℓ(y_k, I_k) + R(φ)   over φ [, A] [, settings]
/// ```
///
/// with the gradient of [`LorentzObjective`], coarse images first.
///
/// # References
/// T. Zhou, M. Cherukara, C. Phatak, *npj Comput. Mater.* 7, 141 (2021); A. R. C. McCray et al., *npj Comput. Mater.*
/// 10, 111 (2024). Deviations: L-BFGS in preconditioned coordinates instead of Adam; all settings may be free.
///
/// # Examples
/// ```
/// use exitwave::lorentz::{ImageSetting, LorentzModel, LorentzParams, Retrieval, RetrievalParams};
/// use exitwave::observe::silent;
/// use exitwave::optics::Grid;
/// use exitwave::units::Length;
/// let image = |um| ImageSetting { defocus: Length::um(um), ..ImageSetting::default() };
/// let grid = Grid { dims: [32, 32], sampling: [Length::nm(5.0); 2] };
/// let series = LorentzParams { grid, images: vec![image(-300.0), image(300.0)], ..LorentzParams::default() };
/// let truth: Vec<f64> = (0..1024).map(|i| (0.4 * f64::from(i % 32 - 16).abs()).sin()).collect();
/// let images = LorentzModel::new(&series)?.images(&truth, &vec![1.0; 1024])?;
/// let plan = Retrieval::new(RetrievalParams { series, ..RetrievalParams::default() })?;
/// let found = plan.run(&images, &vec![0.0; 1024], &vec![1.0; 1024], None, &mut silent)?;
/// assert!(exitwave::metrics::normalised_correlation(&truth, found.phase.as_slice())? > 0.99);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Retrieval {
    params: RetrievalParams,
}

impl Retrieval {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a series without images, a binning that does not divide the sides, no stage; those of the
    /// settings and the regularizer.
    pub fn new(params: RetrievalParams) -> Result<Self, Error> {
        let series = &params.series;
        series.check()?;
        params.regularizer.check()?;
        params.spectrum.as_ref().map_or(Ok(()), PhaseSpectrum::check)?;
        if params.stages.is_empty() {
            return Err(Error::param("stages", 0, "at least one"));
        }
        let [ny, nx] = series.grid.dims;
        for s in &params.stages {
            if s.binning == 0 || !ny.is_multiple_of(s.binning) || !nx.is_multiple_of(s.binning) || s.iterations == 0 {
                let got = format!("binning {} of {ny} × {nx}, {} iterations", s.binning, s.iterations);
                return Err(Error::param("stages", got, "a divisor of the sides, and iterations"));
            }
        }
        if !(params.tolerance >= 0.0 && params.tolerance < 1.0) {
            return Err(Error::param("tolerance", params.tolerance, "a number in [0, 1)"));
        }
        match params.descent {
            Descent::Lbfgs { pairs: 0 } => return Err(Error::param("pairs", 0, "at least 1")),
            Descent::Adam { rate } if !(rate > 0.0 && rate.is_finite()) => {
                return Err(Error::param("rate", rate, "a positive number"));
            }
            _ => {}
        }
        let plan = Retrieval { params };
        plan.params.series.limits.check(plan.workspace_bytes::<f64>())?;
        Ok(plan)
    }

    /// Bytes that a run needs at most, for scalars `T`, the images not counted.
    pub fn workspace_bytes<T: Real>(&self) -> u64 {
        let p = &self.params;
        let n = p.series.images.len() as u64;
        let joint = p.stages.iter().any(|s| s.free.any());
        // Words an object pixel: the transfer functions twice and √I twice of every image, the waves of some, and where
        // images are taken one by one their own; object, spectrum, threads; x, g and what the descent keeps.
        let images = if joint { 9 * n } else { 6 * n + 2 * TOGETHER as u64 };
        let threads = p.series.par.count() as u64 * if joint { 7 } else { 4 };
        let vectors = match p.descent {
            Descent::Lbfgs { pairs } => 2 * pairs as u64 + 8,
            Descent::Adam { .. } => 7,
        } * if p.amplitude == Amplitude::Free { 2 } else { 1 };
        // The filter, its penalty and what it changes.
        let plain = p.precondition == Precondition::None && p.spectrum.is_none();
        let filter = if plain { 0 } else { 8 };
        let words = images + threads + vectors + filter + 12 + p.regularizer.scratch_len(1) as u64;
        // A move by a pixel is tried beside what was found.
        let words = if self.moves() > 0 { 2 * words } else { words };
        words.saturating_mul(p.series.grid.len() as u64).saturating_mul(size_of::<T>() as u64)
    }

    /// Retrieves from `images` (n, ny, nx), starting at `phase` and `amplitude` (ny, nx); `weights` (n, ny, nx) are 0
    /// where a pixel says nothing.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Data`] for values that are not finite or negative intensities,
    /// [`Error::OutOfMemory`].
    pub fn run<T: Real>(
        &self,
        images: &Tensor<T>,
        phase: &[T],
        amplitude: &[T],
        weights: Option<&Tensor<T>>,
        observe: Observer<'_>,
    ) -> Result<RetrievalResult<T>, Error> {
        let p = &self.params;
        let [ny, nx] = p.series.grid.dims;
        for (op, x) in [("Retrieval phase", phase), ("Retrieval amplitude", amplitude)] {
            if x.len() != ny * nx {
                return Err(Error::shape(op, &[ny, nx], &[x.len()]));
            }
            if let Some(index) = x.iter().position(|v| !v.is_finite()) {
                return Err(Error::Data { what: format!("{op}: a value that is not finite"), index });
            }
        }
        let dims = [p.series.images.len(), ny, nx];
        for t in std::iter::once(images).chain(weights) {
            if t.dims() != dims {
                return Err(Error::shape("Retrieval images", &dims, t.dims()));
            }
        }
        let mut state = State {
            phase: phase.to_vec(),
            amplitude: amplitude.to_vec(),
            settings: p.series.images.iter().map(ImageSetting::to_words).collect(),
        };
        let broken = |stop: Stop| matches!(stop, Stop::Cancelled | Stop::NotFinite);
        let mut loss: Vec<f64> = Vec::new();
        let mut found: Option<Descended<T>> = None;
        for stage in &p.stages {
            // The memory of the last one first.
            drop(found.take());
            let one = self.descend(stage, images, weights, &mut state, loss.len(), observe)?;
            loss.extend_from_slice(&one.loss);
            let stop = one.stop;
            found = Some(one);
            if broken(stop) {
                break;
            }
        }
        let mut found = found.expect("new checks that there are stages");

        // A pixel further, as long as that is better.
        let stage = p.stages.last().expect("new checks that there are stages");
        for _ in 0..self.moves() {
            if broken(found.stop) {
                break;
            }
            let mut to = state.best_neighbour(&mut found.problem, &found.x, &p.series.grid, stage.binning)?;
            let one = self.descend(stage, images, weights, &mut to, loss.len(), observe)?;
            if one.lowest() >= found.lowest() {
                // A move that fails says nothing against what was found; a cancel is one of the whole.
                if one.stop == Stop::Cancelled {
                    found.stop = one.stop;
                }
                break;
            }
            loss.extend_from_slice(&one.loss);
            (state, found) = (to, one);
        }

        let uncertainty = if p.uncertainty_iterations > 0 && !broken(found.stop) {
            uncertainty(&mut found.problem, &found.x, p.loss, p.uncertainty_iterations)?
        } else {
            Vec::new()
        };
        Ok(RetrievalResult {
            phase: Tensor::from_vec(&[ny, nx], state.phase)?,
            amplitude: Tensor::from_vec(&[ny, nx], state.amplitude)?,
            settings: state.settings.iter().map(ImageSetting::from_words).collect(),
            uncertainty,
            iterations: loss.len(),
            loss,
            stop: found.stop,
        })
    }

    /// Moves by a pixel that are tried.
    fn moves(&self) -> usize {
        let sought = self.params.stages.last().is_some_and(|s| s.free.shift == Freedom::Each);
        if sought { self.params.pixel_moves } else { 0 }
    }

    /// One stage, from `state`, which it changes, after `done` iterations.
    fn descend<T: Real>(
        &self,
        stage: &Stage,
        images: &Tensor<T>,
        weights: Option<&Tensor<T>>,
        state: &mut State<T>,
        done: usize,
        observe: Observer<'_>,
    ) -> Result<Descended<T>, Error> {
        let p = &self.params;
        let [ny, nx] = p.series.grid.dims;
        let b = stage.binning;
        let dims = [ny / b, nx / b];
        let binned = if b == 1 { None } else { Some(bin(images, dims)?) };
        let data = binned.as_ref().unwrap_or(images);
        let binned_weights = weights.map(|w| bin_mean(w, dims)).transpose()?;
        let start = resample(&state.phase, [ny, nx], dims)?;
        let a = resample(&state.amplitude, [ny, nx], dims)?;
        let grid = Grid { dims, sampling: p.series.grid.sampling.map(|s| s * b as f64) };
        let words = state.settings.iter().map(ImageSetting::from_words).collect();
        let model = LorentzModel::new(&LorentzParams { grid, images: words, ..p.series.clone() })?;
        let a2 = a.iter().map(|a| a.f64().powi(2)).sum::<f64>() / a.len() as f64;
        let filter = Filter::new(p.precondition, &model, a2, &p.regularizer, p.spectrum.as_ref(), &start)?;
        let objective = LorentzObjective::new(model, data, binned_weights.as_ref(), p.loss)?;
        let free = variables(&stage.free, &state.settings);
        let mut problem = Problem::new(objective, filter, p.regularizer, p.amplitude, free, start, a)?;
        let total = p.stages.iter().map(|s| s.iterations).sum();
        let mut told = |s: &Step| observe(&Step::new(done + s.iteration, total, s.loss));
        let (x, loss, stop) = minimise(p, stage, &mut problem, &mut told)?;
        let found = problem.state(&x);
        // The difference is interpolated, so that the start's fine details stay.
        let change = |new: &[T], old: &[T], fine: &mut Vec<T>| -> Result<(), Error> {
            let d: Vec<T> = new.iter().zip(old).map(|(n, o)| *n - *o).collect();
            let d = resample(&d, dims, [ny, nx])?;
            fine.iter_mut().zip(d).for_each(|(f, d)| *f += d);
            Ok(())
        };
        change(&found.phase, problem.start_phase(), &mut state.phase)?;
        if p.amplitude == Amplitude::Free {
            change(&found.amplitude, problem.start_amplitude(), &mut state.amplitude)?;
        }
        state.settings = found.settings;
        Ok(Descended { problem, x, loss, stop })
    }
}

/// Where a stage ended.
#[derive(Debug)]
struct Descended<T: Real> {
    problem: Problem<T>,
    x: Vec<T>,
    loss: Vec<f64>,
    stop: Stop,
}

impl<T: Real> Descended<T> {
    fn lowest(&self) -> f64 {
        self.loss.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// One stage: the best coordinates, the losses, why it ended.
fn minimise<T: Real>(
    p: &RetrievalParams,
    stage: &Stage,
    problem: &mut Problem<T>,
    observe: Observer<'_>,
) -> Result<(Vec<T>, Vec<f64>, Stop), Error> {
    let (method, rate) = match p.descent {
        Descent::Lbfgs { pairs } => (Method::Lbfgs { pairs, wolfe: Wolfe::default() }, 1.0),
        Descent::Adam { rate } => (Method::Adam(AdamStep::default()), rate),
    };
    let params = MinimizeParams {
        method,
        schedule: Schedule { rate, ..Schedule::default() },
        change_tolerance: p.tolerance,
        par: p.series.par.clone(),
        ..MinimizeParams::default()
    };
    problem.set_units()?;
    let x = vec![T::ZERO; problem.words()];
    let plan = Minimize::new(x.len(), params)?;
    let found = plan.run(plan.start(&x)?, stage.iterations, &mut |x, _, g| problem.evaluate(x, g), observe)?;
    Ok((found.state.best, found.state.loss, found.stop))
}

/// Images in a smaller frame: cut in Fourier space, negative values (ringing) set to 0.
fn bin<T: Real>(images: &Tensor<T>, dims: [usize; 2]) -> Result<Tensor<T>, Error> {
    let &[n, ny, nx] = images.dims() else {
        return Err(Error::shape("Retrieval images", &[0, 0, 0], images.dims()));
    };
    let mut out = Vec::new();
    for k in 0..n {
        let frame = fourier_resample(&images.as_slice()[k * ny * nx..][..ny * nx], [ny, nx], dims)?;
        out.extend(frame.into_iter().map(|v| v.max(T::ZERO)));
    }
    Tensor::from_vec(&[n, dims[0], dims[1]], out)
}

/// Means over blocks of pixels.
fn bin_mean<T: Real>(images: &Tensor<T>, [my, mx]: [usize; 2]) -> Result<Tensor<T>, Error> {
    let &[n, ny, nx] = images.dims() else {
        return Err(Error::shape("Retrieval weights", &[0, 0, 0], images.dims()));
    };
    let b = [ny / my, nx / mx];
    let x = images.as_slice();
    let scale = T::of(1.0 / (b[0] * b[1]) as f64);
    Ok(Tensor::from_fn(&[n, my, mx], |i| {
        let mut sum = T::ZERO;
        for y in 0..b[0] {
            let row = &x[(i[0] * ny + i[1] * b[0] + y) * nx + i[2] * b[1]..][..b[1]];
            sum += row.iter().copied().sum::<T>();
        }
        sum * scale
    }))
}

fn resample<T: Real>(x: &[T], from: [usize; 2], to: [usize; 2]) -> Result<Vec<T>, Error> {
    if from == to { Ok(x.to_vec()) } else { fourier_resample(x, from, to) }
}
