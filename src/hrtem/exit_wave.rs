//! The exit wave of a focal series by maximum likelihood, with the registration of its images and the refinement of each focus and aberration.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::exit_wave_linear::{Linear, contrast_spectra};
use crate::hrtem::exit_wave_objective::Objective;
use crate::hrtem::exit_wave_rescan::rescan;
use crate::hrtem::exit_wave_search::search;
use crate::hrtem::focal_series::{SHIFT, Words};
use crate::hrtem::{FOCAL_WORDS, FocalImage, FocalScan, FocalSearch, FocalSeries, FocalSeriesParams};
use crate::observe::{Observer, Step, Stop, silent};
use crate::optics::Aberration;
use crate::optim::{Method, Minimize, MinimizeParams, MinimizeState, Wolfe};
use crate::ptycho::Loss;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// Whether a number of the lens is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FocalFreedom {
    /// Known.
    #[default]
    Fixed,
    /// Wrong by the same amount in all images.
    Common,
    /// Wrong in each image by itself.
    Each,
}

/// Which numbers of the images are sought with the wave.
///
/// A common shift, a common focus and any other aberration common to all images are (but for the spread of beam directions, and for the last also
/// the explicit averages) a gauge: they can be had by another wave. What is free is then determined up to that; see [`refocus`](crate::hrtem::refocus).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FocalVariables {
    /// Defocus.
    pub focus: FocalFreedom,
    /// Both components of the shift.
    pub shift: FocalFreedom,
    /// Others, both components.
    pub aberrations: Vec<(Aberration, FocalFreedom)>,
}

/// One part of the descent.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitWaveStage {
    /// What happens first.
    pub scan: Rescan,
    /// Iterations at most.
    pub iterations: usize,
    /// What is free besides the wave.
    pub free: FocalVariables,
}

/// What is known of shifts and foci before the descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FocalRegistration {
    /// The images' shifts and foci are right to a fraction of a pixel and some ten Å.
    Known,
    /// They are searched.
    Search(FocalSearch),
}

/// Whether foci and shifts are scanned again, by the likelihood, before a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rescan {
    /// They stay.
    #[default]
    None,
    /// They are.
    Scan(FocalScan),
}

/// How an exit wave is retrieved.
#[derive(Clone, Debug)]
pub struct ExitWaveParams {
    /// The series: nominal images, lens, threads, limits.
    pub series: FocalSeriesParams,
    /// What is minimised, of counts.
    pub loss: Loss,
    /// Whether shifts and foci are searched first.
    pub registration: FocalRegistration,
    /// ε of the linear restoration that the descent starts from.
    pub epsilon: f64,
    /// The parts of the descent.
    pub stages: Vec<ExitWaveStage>,
    /// Pairs of vectors that L-BFGS keeps.
    pub pairs: usize,
    /// A stage is over when the loss changes by less than this part of itself in an iteration; 0: never.
    pub tolerance: f64,
}

/// A search, then 15 iterations for the wave alone; three times a scan and 15 iterations for wave, foci and shifts; 60 more; Poisson counts.
impl Default for ExitWaveParams {
    fn default() -> Self {
        let joint =
            FocalVariables { focus: FocalFreedom::Each, shift: FocalFreedom::Each, ..FocalVariables::default() };
        let scan = Rescan::Scan(FocalScan::default());
        let again = ExitWaveStage { scan, iterations: 15, free: joint.clone() };
        ExitWaveParams {
            series: FocalSeriesParams::default(),
            loss: Loss::Poisson { background: 0.02 },
            registration: FocalRegistration::Search(FocalSearch::default()),
            epsilon: 0.3,
            stages: vec![
                ExitWaveStage { scan: Rescan::None, iterations: 15, free: FocalVariables::default() },
                again.clone(),
                again.clone(),
                again,
                ExitWaveStage { scan: Rescan::None, iterations: 60, free: joint },
            ],
            pairs: 10,
            tolerance: 1e-6,
        }
    }
}

/// One number that is sought: v changes `word` of the images in `images` by `unit · v`.
#[derive(Clone, Debug)]
struct Variable {
    word: usize,
    images: std::ops::Range<usize>,
}

fn variables(free: &FocalVariables, n: usize) -> Vec<Variable> {
    let mut out = Vec::new();
    let mut add = |word: usize, freedom: FocalFreedom| match freedom {
        FocalFreedom::Fixed => {}
        FocalFreedom::Common => out.push(Variable { word, images: 0..n }),
        FocalFreedom::Each => out.extend((0..n).map(|k| Variable { word, images: k..k + 1 })),
    };
    add(2 * Aberration::C10.index(), free.focus);
    for &(which, freedom) in &free.aberrations {
        add(2 * which.index(), freedom);
        if which.m() > 0 {
            add(2 * which.index() + 1, freedom);
        }
    }
    add(SHIFT, free.shift);
    add(SHIFT + 1, free.shift);
    out
}

/// Everything that the next iteration needs: a checkpoint. A run that goes on from it gives the same bits as one that was never interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitWaveState<T: Real> {
    /// The stage under way, from 0; the number of stages when all are done.
    pub stage: usize,
    /// The wave's spectrum inside the aperture at the beginning of the stage.
    pub spectrum: Vec<Complex<T>>,
    /// The images' numbers then.
    pub words: Vec<[f64; FOCAL_WORDS]>,
    /// Scale of each coefficient of the spectrum, and of each variable.
    pub units: Vec<f64>,
    /// The descent, in these units about that beginning.
    pub descent: MinimizeState<T>,
    /// Losses of the stages that are over.
    pub loss: Vec<f64>,
}

/// What a retrieval found.
#[derive(Clone, Debug)]
pub struct ExitWaveResult<T: Real> {
    /// The wave (ny, nx), mean intensity about 1, nothing beyond the aperture.
    pub wave: Tensor<Complex<T>>,
    /// The images, what was free changed.
    pub images: Vec<FocalImage>,
    /// Iterations in all.
    pub iterations: usize,
    /// The loss after each: ½ an electron-containing pixel where the model is right and counts are many (Poisson), ¼ for the amplitude loss.
    pub loss: Vec<f64>,
    /// Why this run ended.
    pub stop: Stop,
    /// From which a run goes on.
    pub state: ExitWaveState<T>,
}

/// The retrieval of an exit wave:
///
/// ```text
/// minimise  1/M Σ_k Σ_r w ℓ(e_k I_k(r; ψ, C_k, s_k), D_k(r))   over ψ [, foci, shifts, aberrations]
/// ```
///
/// over the coefficients of ψ inside the aperture, I being [`FocalSeries`] and ℓ the Poisson likelihood or the difference of square roots. L-BFGS in
/// coordinates in which each coefficient and each number has about the same curvature.
///
/// # References
/// W. Coene and others, *Ultramicroscopy* 64, 109 (1996), for the maximum likelihood; A. Thust and others, *Ultramicroscopy* 64, 211 (1996), and
/// R. R. Meyer, A. I. Kirkland, W. O. Saxton, *Ultramicroscopy* 92, 89 (2002), for registration. Deviations: shifts and lens are variables of the same
/// descent as the wave; the likelihood is that of counts.
///
/// # Examples
/// ```
/// use exitwave::hrtem::*;
/// use exitwave::observe::silent;
/// use exitwave::optics::{Aberrations, Aperture, Grid};
/// use exitwave::units::{Angle, Length};
/// use num_complex::Complex;
/// let foci: Vec<Length> = (0..6).map(|i| Length::nm(8.0 * f64::from(i) - 20.0)).collect();
/// let series = FocalSeriesParams {
///     grid: Grid { dims: [32, 32], sampling: [Length::angstrom(0.4); 2] },
///     images: FocalImage::series(&foci, &Aberrations::default()),
///     aperture: Aperture::Soft { semi_angle: Angle::mrad(10.0) },
///     ..FocalSeriesParams::default()
/// };
/// let wave: Vec<_> = (0..1024).map(|i| Complex::cis(0.3 * (f64::from(i % 32) * 0.589).cos())).collect();
/// let mut counts = FocalSeries::new(&series)?.images(&wave)?;
/// counts.as_mut_slice().iter_mut().for_each(|c| *c *= 50.0);
/// let plan = ExitWave::new(ExitWaveParams { series, registration: FocalRegistration::Known, ..ExitWaveParams::default() })?;
/// let state = plan.start(&counts, None, &mut silent)?;
/// let found = plan.run(&counts, None, state, usize::MAX, &mut silent)?;
/// assert!((found.wave[[0, 0]].arg() - found.wave[[0, 8]].arg()).abs() > 0.2);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExitWave {
    params: ExitWaveParams,
}

impl ExitWave {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`], [`Error::OverBudget`].
    pub fn new(params: ExitWaveParams) -> Result<Self, Error> {
        if params.stages.is_empty() || params.stages.iter().any(|s| s.iterations == 0) {
            return Err(Error::param("stages", format!("{:?}", params.stages), "at least one, with iterations"));
        }
        let named = |s: &ExitWaveStage| s.free.aberrations.iter().any(|a| a.0 == Aberration::C10);
        if params.stages.iter().any(named) {
            return Err(Error::param("aberrations", "C10", "others than the focus, which has its own freedom"));
        }
        for stage in &params.stages {
            if let Rescan::Scan(scan) = &stage.scan {
                scan.check()?;
            }
        }
        if params.pairs == 0 {
            return Err(Error::param("pairs", 0, "at least 1"));
        }
        for (name, v) in [("epsilon", params.epsilon), ("tolerance", params.tolerance)] {
            if !(v >= 0.0 && v.is_finite()) || (name == "epsilon" && v == 0.0) {
                return Err(Error::param(name, v, "a positive number (a tolerance may be 0)"));
            }
        }
        if let Loss::Poisson { background } = params.loss
            && !(background > 0.0 && background.is_finite())
        {
            return Err(Error::param("background", background, "a positive number"));
        }
        if let FocalRegistration::Search(s) = &params.registration {
            s.check()?;
        }
        // The largest things: tables and gradients of every image, the pairs, and the waves of every thread.
        let series = FocalSeries::<f64>::new(&params.series)?;
        let (a, n, len) = (series.frequencies() as u64, series.count() as u64, series.grid().len() as u64);
        let threads = params.series.par.count() as u64;
        let complex = n * (series.table_len() as u64 + a)
            + a * (2 * params.pairs as u64 + 12)
            + threads * len * (series.points.len() as u64 + 2)
            + n * len;
        params.series.limits.check(complex.saturating_mul(16))?;
        Ok(ExitWave { params })
    }

    /// Iterations of all stages.
    fn total(&self) -> usize {
        self.params.stages.iter().map(|s| s.iterations).sum()
    }

    /// The state before the first iteration: shifts and foci searched if they are to be, the wave by [`restore_linear`](crate::hrtem::restore_linear).
    ///
    /// # Shapes
    /// Counts and weights (n, ny, nx); weights are 0 where a pixel says nothing.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Data`] for counts that are negative or not finite and images without electrons, [`Error::OutOfMemory`].
    pub fn start<T: Real>(
        &self,
        images: &Tensor<T>,
        weights: Option<&Tensor<T>>,
        observe: Observer<'_>,
    ) -> Result<ExitWaveState<T>, Error> {
        let mut objective = self.objective(images, weights)?;
        let series = &objective.series;
        let spectra = match weights {
            None => contrast_spectra(series, images)?,
            Some(w) => contrast_spectra(series, &filled(images, w, &objective.electrons))?,
        };
        let candidates = match &self.params.registration {
            FocalRegistration::Known => vec![series.words().to_vec()],
            FocalRegistration::Search(s) => search(s, series, &spectra, observe)?,
        };
        let mut best: Option<(f64, ExitWaveState<T>)> = None;
        let trial = self.params.stages.iter().take(2).map(|s| s.iterations).sum();
        let alone = candidates.len() == 1;
        for words in candidates {
            let series = &objective.series;
            let mut linear = Linear::new(series)?;
            for (k, w) in words.iter().enumerate() {
                linear.set(series, k, w)?;
            }
            let all: Vec<usize> = (0..series.count()).collect();
            let mut spectrum = linear.restore(series, &spectra, &all, self.params.epsilon);
            // ψ = 1 + φ; index 0 is the zero frequency.
            spectrum[0] += Complex::new(T::of(series.grid().len() as f64), T::ZERO);
            let state = self.begin(&mut objective, 0, spectrum, words, Vec::new())?;
            if alone {
                return Ok(state);
            }
            let tried = self.run(images, weights, state.clone(), trial, &mut silent)?;
            let loss = tried.loss.iter().copied().fold(f64::INFINITY, f64::min);
            if best.as_ref().is_none_or(|b| loss < b.0) {
                best = Some((loss, state));
            }
        }
        // There is one candidate at least.
        best.map(|b| b.1).ok_or_else(|| Error::param("starts", 0, "at least one"))
    }

    fn objective<T: Real>(&self, images: &Tensor<T>, weights: Option<&Tensor<T>>) -> Result<Objective<T>, Error> {
        Objective::new(FocalSeries::new(&self.params.series)?, images, weights, self.params.loss)
    }

    fn minimize(&self, words: usize) -> Result<Minimize, Error> {
        Minimize::new(
            words,
            MinimizeParams {
                method: Method::Lbfgs { pairs: self.params.pairs, wolfe: Wolfe::default() },
                change_tolerance: self.params.tolerance,
                ..MinimizeParams::default()
            },
        )
    }

    /// The beginning of a stage: units in which the loss has curvature 1.
    fn begin<T: Real>(
        &self,
        objective: &mut Objective<T>,
        stage: usize,
        spectrum: Vec<Complex<T>>,
        mut words: Vec<Words>,
        loss: Vec<f64>,
    ) -> Result<ExitWaveState<T>, Error> {
        if let Some(ExitWaveStage { scan: Rescan::Scan(scan), .. }) = self.params.stages.get(stage) {
            words = rescan(scan, objective, &spectrum, &words)?;
        }
        let free = match self.params.stages.get(stage) {
            Some(s) => variables(&s.free, words.len()),
            None => Vec::new(),
        };
        let wave = objective.wave_curvature();
        // A coefficient that hardly passes is not worth a large step: the floor.
        let mut units: Vec<f64> =
            objective.transmission(&words)?.iter().map(|t| 1.0 / (wave * (t + 0.05)).sqrt()).collect();
        for variable in &free {
            let mut change = [0.0; FOCAL_WORDS];
            change[variable.word] = 1.0;
            let mut curvature = 0.0;
            for k in variable.images.clone() {
                curvature += objective.curvature(k, &words[k], &change, &spectrum)?;
            }
            units.push(1.0 / curvature.max(1e-30).sqrt());
        }
        let x: Vec<T> = try_zeroed(2 * spectrum.len() + free.len())?;
        let descent = self.minimize(x.len())?.start(&x)?;
        Ok(ExitWaveState { stage, spectrum, words, units, descent, loss })
    }

    /// Goes on for at most `iterations`, through the stages.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a state of another problem; as [`ExitWave::start`].
    pub fn run<T: Real>(
        &self,
        images: &Tensor<T>,
        weights: Option<&Tensor<T>>,
        mut state: ExitWaveState<T>,
        iterations: usize,
        observe: Observer<'_>,
    ) -> Result<ExitWaveResult<T>, Error> {
        let mut objective = self.objective(images, weights)?;
        let (mut left, mut stop) = (iterations, Stop::Iterations);
        let total = self.total();
        while let Some(stage) = self.params.stages.get(state.stage) {
            let free = variables(&stage.free, objective.series.count());
            self.check(&objective, &state, &free)?;
            let rest = stage.iterations.saturating_sub(state.descent.iteration).min(left);
            let before = state.loss.len();
            let (a, n) = (state.spectrum.len(), state.words.len());
            let mut spectrum: Vec<Complex<T>> = try_zeroed(a)?;
            let mut by: Vec<Complex<T>> = try_zeroed(a)?;
            let mut by_words = vec![[0.0; FOCAL_WORDS]; n];
            let descent = std::mem::replace(&mut state.descent, self.minimize(1)?.start(&[T::ZERO])?);
            let mut evaluate = |x: &[T], _: usize, g: &mut [T]| -> Result<f64, Error> {
                let words = unpack(&state, &free, x, &mut spectrum);
                let wanted = if free.is_empty() { None } else { Some(&mut by_words[..]) };
                let loss = objective.evaluate(&spectrum, &words, &mut by, wanted)?;
                for (i, b) in by.iter().enumerate() {
                    let unit = T::of(state.units[i]);
                    (g[2 * i], g[2 * i + 1]) = (b.re * unit, b.im * unit);
                }
                for (i, v) in free.iter().enumerate() {
                    let slope: f64 = v.images.clone().map(|k| by_words[k][v.word]).sum();
                    g[2 * a + i] = T::of(slope * state.units[a + i]);
                }
                Ok(loss)
            };
            let found = self.minimize(2 * a + free.len())?.run(descent, rest, &mut evaluate, &mut |s: &Step| {
                observe(&Step::new(before + s.iteration, total, s.loss))
            })?;
            left -= found.iterations;
            stop = found.stop;
            state.descent = found.state;
            let cancelled = matches!(stop, Stop::Cancelled | Stop::NotFinite);
            let over = state.descent.iteration >= stage.iterations || (stop != Stop::Iterations && !cancelled);
            if over && !cancelled {
                let words = unpack(&state, &free, &state.descent.best, &mut spectrum);
                let mut loss = std::mem::take(&mut state.loss);
                loss.extend_from_slice(&state.descent.loss);
                state = self.begin(&mut objective, state.stage + 1, spectrum, words, loss)?;
            }
            if cancelled || left == 0 {
                break;
            }
        }

        // The best wave so far.
        let series = &objective.series;
        let free = self.params.stages.get(state.stage).map(|s| variables(&s.free, series.count())).unwrap_or_default();
        self.check(&objective, &state, &free)?;
        let mut spectrum = try_zeroed(state.spectrum.len())?;
        let words = unpack(&state, &free, &state.descent.best, &mut spectrum);
        let [ny, nx] = series.grid().dims;
        let mut wave = try_zeroed(ny * nx)?;
        let mut scratch = try_zeroed(series.fft.scratch_len())?;
        series.wave_of(&spectrum, T::of(1.0 / (ny * nx) as f64), &mut wave, &mut scratch);
        let loss: Vec<f64> = state.loss.iter().chain(&state.descent.loss).copied().collect();
        Ok(ExitWaveResult {
            wave: Tensor::from_vec(&[ny, nx], wave)?,
            images: words.iter().map(FocalImage::from_words).collect(),
            iterations: loss.len(),
            loss,
            stop,
            state,
        })
    }

    fn check<T: Real>(&self, o: &Objective<T>, state: &ExitWaveState<T>, free: &[Variable]) -> Result<(), Error> {
        let (a, n) = (o.series.frequencies(), o.series.count());
        let good = state.spectrum.len() == a
            && state.words.len() == n
            && state.units.len() == a + free.len()
            && state.descent.best.len() == 2 * a + free.len();
        if good {
            return Ok(());
        }
        let got =
            format!("{} frequencies, {} images, {} units", state.spectrum.len(), state.words.len(), state.units.len());
        Err(Error::Checkpoint { expected: format!("{a} frequencies, {n} images, {} variables", free.len()), got })
    }
}

/// Spectrum and words at x.
fn unpack<T: Real>(state: &ExitWaveState<T>, free: &[Variable], x: &[T], spectrum: &mut [Complex<T>]) -> Vec<Words> {
    let a = state.spectrum.len();
    for (i, (s, s0)) in spectrum.iter_mut().zip(&state.spectrum).enumerate() {
        let unit = T::of(state.units[i]);
        *s = *s0 + Complex::new(x[2 * i] * unit, x[2 * i + 1] * unit);
    }
    let mut words = state.words.clone();
    for (i, v) in free.iter().enumerate() {
        for k in v.images.clone() {
            words[k][v.word] += state.units[a + i] * x[2 * a + i].f64();
        }
    }
    words
}

/// Images with their mean where a pixel has no weight.
fn filled<T: Real>(images: &Tensor<T>, weights: &Tensor<T>, mean: &[f64]) -> Tensor<T> {
    let len = images.len() / mean.len();
    let mut out = images.clone();
    for (i, (v, w)) in out.as_mut_slice().iter_mut().zip(weights.as_slice()).enumerate() {
        if *w == T::ZERO {
            *v = T::of(mean[i / len]);
        }
    }
    out
}
