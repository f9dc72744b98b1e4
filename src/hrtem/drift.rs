//! Drift of a series of frames.

use crate::error::Error;
use crate::hrtem::amplitude_filter::{AmplitudeFilter, AmplitudeFilterParams};
use crate::hrtem::cell_maps::CellBox;
use crate::hrtem::components::{Components, Fit, SearchGrid};
use crate::hrtem::drift_lattice;
use crate::hrtem::frame_spectra::{FrameSpectra, map_frames};
use crate::hrtem::lattice_fold::{CellWeights, LatticeFold};
use crate::hrtem::lattice_pieces::{Assembly, DriftPiece};
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::smooth_track::SmoothTrack;
use crate::hrtem::{correlation_track, likelihood};
use crate::metrics::Window;
use crate::observe::{Observer, Stop};
use crate::par::Par;
use crate::real::{arg, cis};
use crate::shape::{Limits, try_zeroed};
use crate::source::FrameSource;
use num_complex::Complex;

/// How drift is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriftMethod {
    /// The amplitude filter, then the track on which all frames agree: for crystals at doses where a frame shows nothing.
    #[default]
    AmplitudeFilter,
    /// The amplitude filter as published: the filtered frames (amplitudes of the sum, phases of the frame) cross-correlated with the middle one, each for itself.
    FilteredPairs,
    /// Every frame, or sum of [`DriftParams::merge`] frames, cross-correlated with the first (or as [`DriftParams::reference`] says).
    CrossCorrelation,
    /// The same with every coefficient divided by its modulus.
    PhaseCorrelation,
    /// Every frame against the mean of all others, all coefficients weighted by their signal-to-noise ratio in rings, repeated; begins with the cross-correlation. For
    /// objects that are not periodic.
    MaximumLikelihood,
}

/// With what a frame, or sum of frames, is correlated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CorrelationReference {
    /// The first, searched as far as [`DriftParams::max_shift`].
    #[default]
    First,
    /// The first, searched as far as [`DriftParams::max_shift`] about where the one before was found: with less than half a lattice vector, a slow drift does not change to a
    /// neighbouring translation of a crystal.
    FirstNearby,
    /// The one before, searched as far as [`DriftParams::max_shift`]. The steps add up, and so do their errors.
    Previous,
}

/// What decides between tracks that differ by lattice vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatticeAmbiguity {
    /// The smooth track, and everything in the frames that is not periodic: edges, defects, the shape of the crystal, low frequencies.
    #[default]
    Envelope,
    /// The same without the lowest frequencies: for uneven illumination, which does not move.
    EnvelopeOfReflections,
    /// The smooth track alone.
    Smooth,
}

/// Parameters of [`align_frames`].
#[derive(Clone, Debug)]
pub struct DriftParams {
    /// How.
    pub method: DriftMethod,
    /// Largest drift from the middle frame along an axis (for cross- and phase correlation: from what [`DriftParams::reference`] says) that is searched, pixels.
    pub max_shift: f64,
    /// What is known of drift beforehand; of the amplitude filter.
    pub smooth: SmoothTrack,
    /// What resolves the ambiguity of a lattice; of the amplitude filter.
    pub ambiguity: LatticeAmbiguity,
    /// How many coefficients of pure noise may pass the amplitude filter, on average.
    pub false_alarms: f64,
    /// Lowest and highest frequency used, cycles a pixel.
    pub band: [f64; 2],
    /// Frames summed before they are correlated; of cross- and phase correlation and of the start of maximum likelihood. The track between is linear.
    pub merge: usize,
    /// What these sums are correlated with. The track is linear between them: over a crystal, their places have to be within half a lattice vector of each other.
    pub reference: CorrelationReference,
    /// Taper towards the border; of cross- and phase correlation and maximum likelihood.
    pub window: Window,
    /// Most iterations.
    pub iterations: usize,
    /// Threads.
    pub par: Par,
    /// Memory that may be used.
    pub limits: Limits,
}

/// The amplitude filter; up to 40 pixels; periods from 2 to 100 pixels; 10 iterations.
impl Default for DriftParams {
    fn default() -> Self {
        DriftParams {
            method: DriftMethod::default(),
            max_shift: 40.0,
            smooth: SmoothTrack::default(),
            ambiguity: LatticeAmbiguity::default(),
            false_alarms: 0.1,
            band: [0.01, 0.5],
            merge: 1,
            reference: CorrelationReference::default(),
            window: Window::CosineEdge(0.1),
            iterations: 10,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// The drift of a series.
#[derive(Clone, Debug)]
pub struct Drift {
    /// Drift `[y, x]` of every frame in pixels: the shift that its content has, relative to the first frame. Shifting frame f by −`track[f]` aligns it.
    pub track: Vec<[f64; 2]>,
    /// Of each frame, the probability that it is aligned rather than put where its noise fits best (modulo the lattice, where there is one).
    pub confidence: Vec<f64>,
    /// Standard deviation of the drift of each frame along an axis that its information allows, pixels.
    pub uncertainty: Vec<f64>,
    /// Fourier coefficients that were used.
    pub selected: usize,
    /// Iterations done, those of all starting frames.
    pub iterations: usize,
    /// Why the last of them ended.
    pub stop: Stop,
    /// The pieces between jumps and how sure the lattice vector of each is; empty where no lattice was found.
    pub pieces: Vec<DriftPiece>,
    /// The amplitude filter, of the methods that use it.
    pub filter: Option<AmplitudeFilter>,
}

/// Finds the drift of a series of frames.
///
/// ```text
/// I_f(r) = I(r − d_f) + noise   ⇔   F_f(k) = F(k) e^{−2πi k·d_f} + noise
/// ```
///
/// With the amplitude filter, the frames are read three times for the coefficients that stand out, of which a few hundred are
/// kept. The likelihood of a frame's drift against the mean of all others is mapped on a grid; the track is the best over
/// all maps under a smooth prior with jumps ([`SmoothTrack`]); it is repeated from three starting frames, of which the track
/// of the greatest evidence is kept. Where the reflections of the aligned sum have one lattice, the frames are folded into one
/// cell, the track follows from the reflections modulo the lattice, and [`LatticeAmbiguity`] says what decides between
/// tracks that differ by lattice vectors; [`Drift::pieces`] says how sure that is.
///
/// Where no coefficient stands out, the track is zero and the confidence too.
///
/// # Shapes
/// Frames `[sy, sx, ny, nx]`, taken in order, at least 8 × 8.
///
/// # Errors
/// [`Error::Param`] for a series without frames, frames that are too small, or parameters out of range; [`Error::Data`] for values that are not finite;
/// [`Error::OverBudget`], [`Error::OutOfMemory`] and what reading gives.
///
/// # References
/// D. Zhang and others, Science 359, 675 (2018): the amplitude filter. X. Li and others, Nature Methods 10, 584 (2013): motion of frames. Derivations: docs/drift.md.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{DriftParams, align_frames};
/// use exitwave::observe::silent;
/// use exitwave::rng;
/// use exitwave::tensor::Tensor;
/// // Half an electron a pixel: the wave in it moves by a third of a pixel a frame.
/// let mut noise = rng::stream(1, 0);
/// let frames = Tensor::from_fn(&[12, 64, 64], |i| {
///     let (y, x) = (i[1] as f64 - i[0] as f64 / 3.0, i[2] as f64);
///     rng::poisson(&mut noise, 0.5 * (1.0 + 0.3 * (0.9 * y).cos() + 0.3 * (0.7 * x).cos())) as f32
/// });
/// let drift = align_frames(&frames, &DriftParams::default(), &mut silent)?;
/// assert!((drift.track[11][0] - 11.0 / 3.0).abs() < 0.5);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn align_frames(source: &dyn FrameSource, params: &DriftParams, observe: Observer<'_>) -> Result<Drift, Error> {
    params.check()?;
    let mut drift = match params.method {
        DriftMethod::AmplitudeFilter | DriftMethod::FilteredPairs => by_components(source, params, observe)?,
        DriftMethod::CrossCorrelation | DriftMethod::PhaseCorrelation => correlation_track::run(source, params)?,
        DriftMethod::MaximumLikelihood => likelihood::run(source, params, observe)?,
    };
    let first = drift.track.first().copied().unwrap_or_default();
    drift.track.iter_mut().for_each(|d| *d = [d[0] - first[0], d[1] - first[1]]);
    Ok(drift)
}

impl DriftParams {
    fn check(&self) -> Result<(), Error> {
        self.smooth.check()?;
        if !(self.max_shift >= 1.0 && self.max_shift <= 1e4) {
            return Err(Error::param("max_shift", self.max_shift, "1 to 10000 pixels"));
        }
        if !(self.band[0] >= 0.0 && self.band[1] > self.band[0] && self.band[1].is_finite()) {
            return Err(Error::param(
                "band",
                format!("{:?}", self.band),
                "0 <= lowest < highest frequency, cycles a pixel",
            ));
        }
        if self.merge == 0 {
            return Err(Error::param("merge", 0, "at least one frame"));
        }
        self.window.weights(2)?;
        Ok(())
    }

    /// Not more than half a frame.
    pub(super) fn reach(&self, dims: [usize; 2]) -> f64 {
        self.max_shift.min(dims[0].min(dims[1]) as f64 / 2.0 - 1.0)
    }
}

/// The reflections among the selected coefficients: local maxima of significance, the strongest first, as signed indices with their noise and significance.
fn reflections(filter: &AmplitudeFilter) -> Vec<([isize; 2], f64, f64)> {
    let [ny, nx] = filter.dims;
    let mut order: Vec<usize> = (0..filter.index.len()).collect();
    order.sort_by(|&a, &b| filter.significance[b].total_cmp(&filter.significance[a]).then(a.cmp(&b)));
    // Neighbours of a reflection are its shape: a new one is at least a 64th of the spectrum's half away.
    let apart = (ny.min(nx) / 128).max(4) as isize;
    let mut peaks: Vec<([isize; 2], f64, f64)> = Vec::new();
    for j in order {
        let k = [0, 1].map(|a| (filter.frequency[j][a] * filter.dims[a] as f64).round() as isize);
        let near = |c: [isize; 2]| (k[0] - c[0]).abs().max((k[1] - c[1]).abs()) < apart;
        if !near([0, 0]) && !peaks.iter().any(|p| near(p.0) || near(p.0.map(|v| -v))) {
            peaks.push((k, filter.noise[j], filter.significance[j]));
        }
    }
    peaks
}

fn by_components(source: &dyn FrameSource, params: &DriftParams, observe: Observer<'_>) -> Result<Drift, Error> {
    let amplitudes = (source.frame_len() as u64).saturating_mul(6);
    let mut spectra = FrameSpectra::new(source, Window::None, &params.par, params.limits, amplitudes)?;
    let filter_params = AmplitudeFilterParams {
        false_alarms: params.false_alarms,
        band: params.band,
        par: params.par.clone(),
        limits: params.limits,
        ..AmplitudeFilterParams::default()
    };
    let filter = AmplitudeFilter::of(&mut spectra, &filter_params)?;
    let n = filter.frames;
    if n < 2 || filter.index.len() < 2 {
        return Ok(Drift {
            track: vec![[0.0; 2]; n],
            confidence: vec![0.0; n],
            uncertainty: vec![f64::INFINITY; n],
            selected: filter.index.len(),
            iterations: 0,
            stop: Stop::Stalled,
            pieces: Vec::new(),
            filter: Some(filter),
        });
    }

    // The second reading keeps the selected coefficients.
    let pairs = params.method == DriftMethod::FilteredPairs;
    let components = keep(&mut spectra, &filter)?;
    let grid_of = |f: &AmplitudeFilter| {
        let highest = f.frequency.iter().map(|k| k[0].hypot(k[1])).fold(0.0, f64::max);
        SearchGrid::new(params.reach(f.dims), highest)
    };
    let grid = grid_of(&filter);
    if pairs {
        let track = filtered_pairs(&components, &filter, grid, &params.par);
        let fit = Fit { track, evidence: 0.0, iterations: 1, stop: Stop::Converged };
        return Ok(result(&components, fit, grid, filter));
    }
    let mut starts = vec![n / 2, n / 4, 3 * n / 4];
    starts.dedup();
    let (mut best, mut iterations): (Option<Fit>, usize) = (None, 0);
    let mut cancelled = false;
    for start in starts {
        let fit = components.align(start, grid, &params.smooth, params.iterations, &params.par, observe);
        iterations += fit.iterations;
        cancelled = fit.stop == Stop::Cancelled;
        if best.as_ref().is_none_or(|b| fit.evidence > b.evidence) {
            best = Some(fit);
        }
        if cancelled {
            break;
        }
    }
    let mut fit = best.expect("there is at least one starting frame");
    if cancelled {
        let fit = Fit { iterations, stop: Stop::Cancelled, ..fit };
        return Ok(result(&components, fit, grid, filter));
    }

    // In the aligned sum, signal adds up faster than noise: it shows coefficients that the sum of moduli did not.
    let mut total: Vec<Complex<f32>> = try_zeroed(filter.dims[0] * spectra.half)?;
    let half = spectra.half;
    spectra.for_each(|first, slots, par| {
        let turn: Vec<_> = (0..slots.len()).map(|i| likelihood::ramps(filter.dims, fit.track[first + i])).collect();
        par.chunks(&mut total, 16 * half, |c, rows| {
            for (slot, [ry, rx]) in slots.iter().zip(&turn) {
                for (r, row) in rows.chunks_mut(half).enumerate() {
                    let y = c * 16 + r;
                    let from = &slot.spectrum[y * half..][..half];
                    row.iter_mut().zip(from).zip(rx).for_each(|((t, z), x)| *t += z * (ry[y] * x));
                }
            }
        });
        Ok(())
    })?;
    let more = filter.coherent(&total, &filter_params);
    let lattice = drift_lattice::find(filter.dims, &total, &reflections(&more));
    drop(total);
    fit.iterations = iterations;
    if let Some(lattice) = lattice {
        drop(spectra);
        let evidence = components.evidence(&fit.track);
        if let Some(found) = on_lattice(source, params, &lattice, &fit, evidence, &filter, observe)? {
            return Ok(found);
        }
        spectra = FrameSpectra::new(source, Window::None, &params.par, params.limits, amplitudes)?;
    }
    let chosen = if more.index.len() < filter.index.len() / 2 { &filter } else { &more };
    let components = keep(&mut spectra, chosen)?;
    drop(spectra);
    let grid = grid_of(chosen);
    fit = components.improve(fit.track, grid, &params.smooth, params.iterations, &params.par, observe);
    fit.iterations += iterations;
    Ok(result(&components, fit, grid, filter))
}

/// A lattice has to explain this part of the evidence that single coefficients give.
const SHARE: f64 = 0.1;

/// ⟨w⟩²/⟨w²⟩ of a crystal that fills its field.
const FULL: f64 = 0.95;

/// The track of frames that share a lattice: modulo its translations from the coefficients at the reflections, then the lattice vector of each piece, then once more from where
/// the crystal is. `None` where the lattice explains too little: a bent crystal, or several.
fn on_lattice(
    source: &dyn FrameSource,
    params: &DriftParams,
    lattice: &PlaneLattice,
    start: &Fit,
    evidence: f64,
    filter: &AmplitudeFilter,
    observe: Observer<'_>,
) -> Result<Option<Drift>, Error> {
    let (par, dims) = (&params.par, filter.dims);
    let fold = LatticeFold::new(lattice, params.band);
    let noise: Vec<f64> = fold.k.iter().map(|&k| filter.noise_at(k)).collect();
    let mut components = Components::new(fold.k.clone(), fold.frames(source, &noise, None, par)?);
    let highest = fold.k.iter().map(|k| k[0].hypot(k[1])).fold(0.0, f64::max);
    let grid = SearchGrid::new(params.reach(dims), highest);
    let mut follow = |components: &mut Components, track| {
        let (smooth, iterations) = (&params.smooth, params.iterations);
        drift_lattice::follow(components, &fold.index, lattice, track, grid, smooth, iterations, par, observe)
    };
    let mut fit = follow(&mut components, start.track.clone())?;
    fit.iterations += start.iterations;
    if fit.evidence < SHARE * evidence {
        return Ok(None);
    }
    if params.ambiguity == LatticeAmbiguity::Smooth || fit.stop == Stop::Cancelled {
        return Ok(Some(result(&components, fit, grid, filter.clone())));
    }

    let mut pieces = Vec::new();
    for round in 0..2 {
        let placed = place_pieces(source, params, &fold, lattice, &components, &noise, &fit.track)?;
        (fit.track, pieces) = (placed.track, placed.pieces);
        let Some((weights, rms)) = placed.weights.filter(|_| round == 0) else { break };
        // A crystal that does not fill the field: noise from where it is not is left out.
        let noise: Vec<f64> = noise.iter().map(|s| s * rms).collect();
        components = Components::new(fold.k.clone(), fold.frames(source, &noise, Some((&weights, &fit.track)), par)?);
        let iterations = fit.iterations;
        fit = follow(&mut components, fit.track)?;
        fit.iterations += iterations;
    }
    for _ in 0..2 {
        drift_lattice::coherent_power(&mut components, &fit.track);
        fit.track = components.refine(&fit.track, grid.spacing, par);
    }
    let mut drift = result(&components, fit, grid, filter.clone());
    drift.pieces = pieces;
    Ok(Some(drift))
}

/// A track of which each piece has its lattice vector, and where the crystal is: weights, and the RMS of these.
struct PlacedPieces {
    track: Vec<[f64; 2]>,
    pieces: Vec<DriftPiece>,
    weights: Option<(CellWeights, f64)>,
}

fn place_pieces(
    source: &dyn FrameSource,
    params: &DriftParams,
    fold: &LatticeFold,
    lattice: &PlaneLattice,
    components: &Components,
    noise: &[f64],
    track: &[[f64; 2]],
) -> Result<PlacedPieces, Error> {
    let (par, n) = (&params.par, track.len());
    let [_, _, ny, nx] = source.shape();
    let dims = [ny, nx];
    // What the mean of all frames holds in a cell, of unit variance.
    let total = components.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
    let shrunk = |j: usize| total[j] * (noise[j] * components.x[j] / (1.0 + n as f64 * components.x[j]));
    let mut pattern = fold.pattern(&(0..noise.len()).map(shrunk).collect::<Vec<_>>());
    let rms = (pattern.iter().map(|c| c * c).sum::<f32>() / pattern.len() as f32).sqrt().max(f32::MIN_POSITIVE);
    pattern.iter_mut().for_each(|c| *c /= rms);
    let margin = (1.25 * params.reach(dims)).min(ny.min(nx) as f64 / 6.0);
    let cells = CellBox::new(dims, lattice, track, margin)?;
    params.limits.check((cells.len() as u64).saturating_mul(8 * n as u64))?;
    let maps = map_frames(source, par, |f, image, mean| cells.take(image, mean, track[f], &pattern, fold.bits))?;
    let brightness = params.ambiguity == LatticeAmbiguity::Envelope;
    let (reach, smooth) = (params.reach(dims), &params.smooth);
    let placed = Assembly::new(&cells, lattice, track, &maps, reach, margin, smooth, brightness, par)?.run();

    let t = &placed.template;
    let known: Vec<usize> = (0..cells.len()).filter(|&i| t.known[i]).collect();
    let of = |i: usize| (f64::from(t.value[i][1]) + t.mean[1]).max(0.0);
    let moment = |p: i32| known.iter().map(|&i| of(i).powi(p)).sum::<f64>() / known.len().max(1) as f64;
    let (mean, square) = (moment(1), moment(2));
    let mut weights = None;
    if mean > 0.0 && mean * mean < FULL * square {
        // One where the crystal is.
        let top = square / mean;
        let mut weight = vec![0.0f32; cells.len()];
        known.iter().for_each(|&i| weight[i] = (of(i) / top) as f32);
        weights = Some((CellWeights { first: cells.first, size: cells.size, weight }, square.sqrt() / top));
    }
    Ok(PlacedPieces { track: placed.track, pieces: placed.pieces, weights })
}

/// The frequency at which the phase of each coefficient turns with drift, and the order of coefficients by it: rows together.
///
/// In a fixed field an infinite crystal's phases turn by its reflection g, not by the frequency k of the coefficient beside it; those of a small crystal turn by k, which scatter about g. The
/// centroid of a reflection serves both, and keeps the likelihood periodic: what is not is left to [`Patches`].
fn shared_frequencies(filter: &AmplitudeFilter) -> (Vec<usize>, Vec<[f64; 2]>) {
    let peaks = reflections(filter);
    let reach = 6.0;
    let owner = |k: [f64; 2]| {
        peaks.iter().position(|p| {
            let d = [0, 1].map(|a| (k[a] * filter.dims[a] as f64 - p.0[a] as f64).abs());
            d[0].max(d[1]) <= reach
        })
    };
    let owners: Vec<Option<usize>> = filter.frequency.iter().map(|&k| owner(k)).collect();
    let mut sums = vec![[0.0; 3]; peaks.len()];
    for (j, o) in owners.iter().enumerate() {
        if let Some(o) = *o {
            let (w, k) = (filter.significance[j], filter.frequency[j]);
            sums[o] = [sums[o][0] + w, sums[o][1] + w * k[0], sums[o][2] + w * k[1]];
        }
    }
    let shared =
        |j: usize| owners[j].map_or(filter.frequency[j], |o| [sums[o][1] / sums[o][0], sums[o][2] / sums[o][0]]);
    let mut order: Vec<usize> = (0..owners.len()).collect();
    order.sort_by(|&a, &b| shared(a)[0].total_cmp(&shared(b)[0]).then(a.cmp(&b)));
    let k = order.iter().map(|&j| shared(j)).collect();
    (order, k)
}

/// The chosen coefficients of all frames in units of the noise.
fn keep(spectra: &mut FrameSpectra<'_>, filter: &AmplitudeFilter) -> Result<Components, Error> {
    let mut y: Vec<Vec<Complex<f32>>> = Vec::with_capacity(spectra.frames);
    spectra.for_each(|_, slots, par| {
        y.extend(par.map(slots.len(), |i| {
            let spectrum = &slots[i].spectrum;
            filter.index.iter().zip(&filter.noise).map(|(&i, &s)| spectrum[i] / s as f32).collect::<Vec<_>>()
        }));
        Ok(())
    })?;
    let (order, k) = shared_frequencies(filter);
    let y = y.iter().map(|y| order.iter().map(|&j| y[j]).collect()).collect();
    Ok(Components::new(k, y))
}

fn result(components: &Components, fit: Fit, grid: SearchGrid, filter: AmplitudeFilter) -> Drift {
    let quality = components.quality(&fit.track, grid);
    Drift {
        confidence: quality.iter().map(|q| q.0).collect(),
        uncertainty: quality.iter().map(|q| q.1).collect(),
        selected: components.k.len(),
        iterations: fit.iterations,
        stop: fit.stop,
        track: fit.track,
        pieces: Vec::new(),
        filter: Some(filter),
    }
}

/// Figure 5 of the method's paper: c(d) = Σ A² e^{i(φ_f − φ_0)} e^{+2πi k·d}, its maximum for each frame.
fn filtered_pairs(components: &Components, filter: &AmplitudeFilter, grid: SearchGrid, par: &Par) -> Vec<[f64; 2]> {
    let middle = components.y.len() / 2;
    let (order, _) = shared_frequencies(filter);
    par.map(components.y.len(), |f| {
        let one = |i: usize| {
            let j = order[i];
            let turn = arg(components.y[f][i]) - arg(components.y[middle][i]);
            cis(turn) * (filter.amplitude[j] / filter.frames as f64 / filter.noise[j]).powi(2) as f32
        };
        let c: Vec<Complex<f32>> = (0..components.k.len()).map(one).collect();
        let map = components.map_of(&c, grid);
        let best = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b]).then(b.cmp(&a))).unwrap_or(0);
        components.climb(&c, grid.at(best), grid.spacing)
    })
}
