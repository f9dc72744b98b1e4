//! Misorientation from the intensities of Friedel pairs: no structure is needed.
//!
//! g and −g have the same structure factor, but lie at different distances from the Ewald sphere. With the
//! excitation errors
//! `s± = ±(w·q − nH) − κ(q)` their expected counts are `λ± = A P(s±) + B±`, where P is the rocking curve of the
//! slab, A the pair's
//! own unknown strength and B± the background. What is fitted is w, the thickness and its spread; each A is
//! eliminated by its
//! own maximum, which is exact: for B = 0 the likelihood is then that of the pair's ratio given its sum.

use crate::error::Error;
use crate::hrtem::rocking::{Misorientation, excitation_error, rocking};
use crate::linalg::lstsq::cholesky_solve;
use crate::observe::Stop;
use crate::optics::wavelength;
use crate::units::{Angle, Energy, Length};

/// Number of parameters: w_y, w_x, ln T, ln ρ.
const N: usize = 4;
/// What a rocking curve never falls below, in T²: no crystal is perfect.
const FLOOR: f64 = 1e-5;
/// Pairs that take part in the search; all take part in the last fit.
const SEARCHED: usize = 160;
/// Minima of the search that are fitted with all pairs.
const FINISHED: usize = 12;
/// Minima nearer than this many standard deviations, or this slope (0.01°), are one.
const SAME: (f64, f64) = (5.0, 1.7e-4);
/// The largest share of the information that one pair is taken to hold.
const LEVERAGE: f64 = 0.8;
/// Mean deviance of a pair below which a fit leaves nothing but counting statistics.
pub(crate) const COUNTING: f64 = 1.3;

/// The counts of two opposite reflections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FriedelPair {
    /// Where the first stands from the direct beam, `[y, x]` in 1/Å; the second stands at −q.
    pub q: [f64; 2],
    /// Height of the first above the zeroth layer along the axis, nH in 1/Å; the second is that much below.
    pub height: f64,
    /// Electrons counted at q and at −q.
    pub counts: [f64; 2],
    /// Of these, expected from the background.
    pub background: [f64; 2],
}

/// How the misorientation is sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExcitationParams {
    /// Beam energy.
    pub energy: Energy,
    /// Largest misorientation.
    pub tilt: Angle,
    /// Thinnest and thickest specimen.
    pub thickness: [Length; 2],
    /// Smallest and largest spread of the thickness, as a fraction of it.
    pub spread: [f64; 2],
    /// Deviance of a pair from which on it counts less: `ν ln(1 + D/ν)` is minimised. Counting statistics
    /// alone rarely give 16; pairs
    /// disturbed by dynamical diffraction, by other layers or by a second crystal do.
    pub robustness: f64,
    /// How many standard deviations of the background the sum of a pair must stand above it to take part.
    pub significance: f64,
    /// Largest number of steps of the fit.
    pub iterations: usize,
}

/// 300 keV, to 6°, 8 to 120 nm, spreads of 0.5 to 60 %, ν = 16, pairs of 3 standard deviations, 60 steps.
impl Default for ExcitationParams {
    fn default() -> Self {
        ExcitationParams {
            energy: Energy::kev(300.0),
            tilt: Angle::deg(6.0),
            thickness: [Length::nm(8.0), Length::nm(120.0)],
            spread: [0.005, 0.6],
            robustness: 16.0,
            significance: 2.0,
            iterations: 60,
        }
    }
}

impl ExcitationParams {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(self.energy >= Energy::ev(1e3) && self.energy <= Energy::ev(1e8)) {
            return Err(Error::param("energy", self.energy, "1 keV to 100 MeV"));
        }
        if !(self.tilt > Angle::ZERO && self.tilt <= Angle::deg(20.0)) {
            return Err(Error::param("tilt", self.tilt, "above 0, at most 20°"));
        }
        let [t0, t1] = self.thickness.map(|t| t.to_angstrom());
        if !(t0 >= 1.0 && t0 < t1 && t1 <= 1e5) {
            return Err(Error::param("thickness", format!("{t0} to {t1} Å"), "a range in 1 Å to 10 µm"));
        }
        let [r0, r1] = self.spread;
        if !(r0 > 0.0 && r0 < r1 && r1 <= 1.0) {
            return Err(Error::param("spread", format!("{r0} to {r1}"), "a range in 0 to 1, 0 excluded"));
        }
        if !(self.robustness > 0.0 && self.significance >= 0.0 && self.iterations > 0) {
            return Err(Error::param("robustness", self.robustness, "above 0, with at least one step"));
        }
        Ok(())
    }
}

/// A misorientation with its uncertainty.
#[derive(Clone, Debug, PartialEq)]
pub struct ExcitationFit {
    /// Where the zone axis stands.
    pub tilt: Misorientation,
    /// Standard deviation of φ, along the tilt.
    pub sigma_phi: Angle,
    /// Standard deviation across the tilt.
    pub sigma_across: Angle,
    /// Mean thickness.
    pub thickness: Length,
    /// Standard deviation of the thickness as a fraction of it.
    pub spread: f64,
    /// Covariance of (w_y, w_x, ln T, ln ρ): H⁻¹ J H⁻¹ with the curvature H of the loss and the sum J of the pairs' squared
    /// scores, each without its own pull; inverse Fisher information, times `deviance` where that is above 1, where it says more; and the
    /// scatter of other minima within five standard deviations.
    pub covariance: [[f64; N]; N],
    /// Probability that this is the right one of the minima that were found, times (1.3/`deviance`)⁴ where more than
    /// counting statistics is left. Below 0.9 the answer is doubtful.
    pub confidence: f64,
    /// The minima that were found with their probabilities, this one first.
    pub alternatives: Vec<(Misorientation, f64)>,
    /// Deviance of the pairs, cut off by the robustness: `Σ ν ln(1 + D/ν)`.
    pub loss: f64,
    /// Mean deviance of a pair that carries information; 1 for counting statistics.
    pub deviance: f64,
    /// Pairs that carry information.
    pub pairs: usize,
    /// Steps of the last fit.
    pub iterations: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// Whether the strengths of the pairs are known to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strengths {
    /// Each pair has its own unknown strength, as in the fit.
    Free,
    /// All are known, from the structure and the dose.
    Known,
}

type Theta = [f64; N];

/// A pair's part of the likelihood.
struct Part {
    deviance: f64,
    strength: f64,
    gradient: Theta,
    information: [[f64; N]; N],
}

/// The strength A ≥ 0 that maximises `Σ N ln(A P + B) − A P`.
fn strength(p: [f64; 2], n: [f64; 2], b: [f64; 2]) -> f64 {
    let sum = p[0] + p[1];
    // The derivative at A = 0 is not positive: background alone.
    if (0..2).map(|i| if n[i] > 0.0 { n[i] * p[i] / b[i].max(1e-12) } else { 0.0 }).sum::<f64>() <= sum {
        return 0.0;
    }
    let a2 = sum * p[0] * p[1];
    let a1 = sum * (p[0] * b[1] + p[1] * b[0]) - p[0] * p[1] * (n[0] + n[1]);
    let a0 = sum * b[0] * b[1] - n[0] * p[0] * b[1] - n[1] * p[1] * b[0];
    let root = (a1 * a1 - 4.0 * a2 * a0).max(0.0).sqrt();
    let a = if a1 <= 0.0 { (root - a1) / (2.0 * a2) } else { -2.0 * a0 / (a1 + root) };
    if a.is_finite() { a.max(0.0) } else { 0.0 }
}

fn deviance(n: f64, mean: f64) -> f64 {
    let log = if n > 0.0 { n * (n / mean).ln() } else { 0.0 };
    2.0 * (mean - n + log).max(0.0)
}

/// P(s±) and their derivatives by θ.
fn curves(pair: &FriedelPair, theta: &Theta, lambda: f64) -> [(f64, Theta); 2] {
    let [wy, wx, lt, lr] = *theta;
    let (t, rho) = (lt.exp(), lr.exp());
    [1.0, -1.0].map(|sign| {
        let q = pair.q.map(|q| sign * q);
        let s = excitation_error([wy, wx], q, lambda, sign * pair.height);
        let [p, by_s, by_t, by_rho] = rocking(s, t, rho);
        // A layer's height counts along the beam: its slope by w is nH w/√(1 + w²).
        let slant = sign * pair.height / (1.0 + wy * wy + wx * wx).sqrt();
        let by_w = [by_s * (q[0] - slant * wy), by_s * (q[1] - slant * wx)];
        (p + FLOOR * t * t, [by_w[0], by_w[1], (by_t + 2.0 * FLOOR * t) * t, by_rho * rho])
    })
}

fn part(pair: &FriedelPair, theta: &Theta, lambda: f64) -> Part {
    let c = curves(pair, theta, lambda);
    let p = [c[0].0, c[1].0];
    let a = strength(p, pair.counts, pair.background);
    let mean = [0, 1].map(|i| (a * p[i] + pair.background[i]).max(1e-12));
    let deviance = deviance(pair.counts[0], mean[0]) + deviance(pair.counts[1], mean[1]);
    let mut gradient = [0.0; N];
    for k in 0..N {
        gradient[k] = (0..2).map(|i| 2.0 * (1.0 - pair.counts[i] / mean[i]) * a * c[i].1[k]).sum();
    }
    let information = information(&c, a, mean, Strengths::Free);
    Part { deviance, strength: a, gradient, information }
}

/// Fisher information of a pair: `Σ A² ∇P ∇Pᵀ/λ`, without what its strength takes.
fn information(c: &[(f64, Theta); 2], a: f64, mean: [f64; 2], strengths: Strengths) -> [[f64; N]; N] {
    let own: f64 = (0..2).map(|i| c[i].0 * c[i].0 / mean[i]).sum();
    let cross: Theta = std::array::from_fn(|k| (0..2).map(|i| a * c[i].0 * c[i].1[k] / mean[i]).sum());
    let free = strengths == Strengths::Free;
    std::array::from_fn(|k| {
        std::array::from_fn(|l| {
            let both: f64 = (0..2).map(|i| a * a * c[i].1[k] * c[i].1[l] / mean[i]).sum();
            both - if free && own > 0.0 { cross[k] * cross[l] / own } else { 0.0 }
        })
    })
}

/// Sum of the pairs' parts, each counted by its robustness.
fn total(pairs: &[FriedelPair], theta: &Theta, lambda: f64, nu: f64) -> (f64, Theta, [[f64; N]; N]) {
    let (mut loss, mut gradient, mut info) = (0.0, [0.0; N], [[0.0; N]; N]);
    for pair in pairs {
        let p = part(pair, theta, lambda);
        loss += nu * (p.deviance / nu).ln_1p();
        let weight = 1.0 / (1.0 + p.deviance / nu);
        for k in 0..N {
            gradient[k] += weight * p.gradient[k];
            for l in 0..N {
                info[k][l] += weight * p.information[k][l];
            }
        }
    }
    (loss, gradient, info)
}

fn loss(pairs: &[FriedelPair], theta: &Theta, lambda: f64, nu: f64) -> f64 {
    let one = |pair: &FriedelPair| {
        let [wy, wx, lt, lr] = *theta;
        let (t, rho) = (lt.exp(), lr.exp());
        let s = |sign: f64| excitation_error([wy, wx], pair.q.map(|q| sign * q), lambda, sign * pair.height);
        let p = [s(1.0), s(-1.0)].map(|s| rocking(s, t, rho)[0] + FLOOR * t * t);
        let a = strength(p, pair.counts, pair.background);
        let d: f64 = (0..2).map(|i| deviance(pair.counts[i], (a * p[i] + pair.background[i]).max(1e-12))).sum();
        nu * (d / nu).ln_1p()
    };
    pairs.iter().map(one).sum()
}

/// Levenberg–Marquardt with Fisher's information over the first `free` … parameters, within bounds.
fn descend(
    pairs: &[FriedelPair],
    start: Theta,
    free: [bool; N],
    bounds: &[[f64; 2]; N],
    lambda: f64,
    params: &ExcitationParams,
) -> Result<(Theta, f64, usize, Stop), Error> {
    let nu = params.robustness;
    let mut theta = start;
    let (mut value, mut gradient, mut info) = total(pairs, &theta, lambda, nu);
    let mut mu = 1e-3;
    for iteration in 1..=params.iterations {
        let mut moved = false;
        for _ in 0..12 {
            // Fixed parameters get a row of the unit matrix.
            let mut m = [0.0; N * N];
            let mut r = [0.0; N];
            for k in 0..N {
                r[k] = if free[k] { -0.5 * gradient[k] } else { 0.0 };
                for l in 0..N {
                    m[k * N + l] = if free[k] && free[l] { info[k][l] } else { 0.0 };
                }
                m[k * N + k] = if free[k] { info[k][k] * (1.0 + mu) + 1e-12 } else { 1.0 };
            }
            let Ok(step) = cholesky_solve(N, &m, &r) else {
                mu = (mu * 10.0).max(1e-6);
                continue;
            };
            let trial: Theta = std::array::from_fn(|k| (theta[k] + step[k]).clamp(bounds[k][0], bounds[k][1]));
            let new = loss(pairs, &trial, lambda, nu);
            if new < value {
                let small = value - new < 1e-7 * value.abs() + 1e-9;
                theta = trial;
                (value, gradient, info) = total(pairs, &theta, lambda, nu);
                mu = (mu * 0.2).max(1e-9);
                if small {
                    return Ok((theta, value, iteration, Stop::Converged));
                }
                moved = true;
                break;
            }
            mu = (mu * 5.0).max(1e-6);
        }
        if !moved {
            return Ok((theta, value, iteration, Stop::Stalled));
        }
    }
    Ok((theta, value, params.iterations, Stop::Iterations))
}

/// Fits the misorientation, the thickness and its spread to Friedel pairs.
///
/// The search has three stages: a map of the loss over all tilts with a thin, uneven slab, whose rocking curve is
/// wide and without zeros;
/// fits from the lowest points of the map with thicker slabs; fits of everything from several thicknesses, of
/// which the lowest loss is
/// the answer. With `start` the first is left out.
///
/// # Units
/// Counts are electrons: counts of a camera with gain are divided by it first.
///
/// # Errors
/// [`Error::Param`] for parameters out of range; [`Error::Data`] with the index of the first pair with counts or
/// background that are negative or
/// not finite, or when fewer than 3 pairs have counts.
///
/// # References
/// Friedel pairs and their profile likelihood: derived in docs/zone_axis.md. Rocking curve: P. B. Hirsch et al.,
/// *Electron Microscopy of
/// Thin Crystals* (1977), equation 4.11.
pub fn fit_excitation(
    pairs: &[FriedelPair],
    start: Option<Misorientation>,
    params: &ExcitationParams,
) -> Result<ExcitationFit, Error> {
    params.check()?;
    check_pairs(pairs)?;
    match start {
        Some(m) => fit_from(pairs, &[m.slope()], Start::Fine, params),
        None => {
            let lambda = wavelength(params.energy).to_angstrom();
            let starts = map_of_tilts(pairs, lambda, params.tilt.to_rad().tan(), params);
            fit_from(pairs, &starts, Start::Coarse, params)
        }
    }
}

/// How good the starts of a fit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// To a step of a map: thin slabs come first.
    Coarse,
    /// Within a fringe.
    Fine,
}

/// The fit from one or several starts w.
pub(crate) fn fit_from(
    pairs: &[FriedelPair],
    starts: &[[f64; 2]],
    quality: Start,
    params: &ExcitationParams,
) -> Result<ExcitationFit, Error> {
    params.check()?;
    check_pairs(pairs)?;
    // A pair's own strength costs one of its two numbers: from many faint pairs, of which that is all there
    // is, the fit would learn their noise.
    // The choice is by the sum, which says nothing about the ratio.
    let clear = |p: &&FriedelPair| {
        let under = p.background[0] + p.background[1];
        p.counts[0] + p.counts[1] - under >= params.significance * (under + 1.0).sqrt()
    };
    let kept: Vec<FriedelPair> = pairs.iter().filter(clear).copied().collect();
    let pairs = if kept.len() >= 3 { kept.as_slice() } else { pairs };
    let lambda = wavelength(params.energy).to_angstrom();
    let w_max = params.tilt.to_rad().tan();
    let [t0, t1] = params.thickness.map(|t| t.to_angstrom());
    let bounds = [[-w_max, w_max], [-w_max, w_max], [t0.ln(), t1.ln()], [params.spread[0].ln(), params.spread[1].ln()]];

    let quick = ExcitationParams { iterations: params.iterations.min(15), ..*params };
    let strong = telling(pairs, SEARCHED);
    let rho = 0.25f64.clamp(params.spread[0], params.spread[1]).ln();
    let slope_only = [true, true, false, false];
    let mut tried: Vec<(f64, Theta)> = Vec::new();
    // Far from the answer the pairs of many counts all look disturbed: from coarse starts the way is gone with
    // little robustness, too.
    let softness: &[f64] = if quality == Start::Coarse { &[1.0, 100.0] } else { &[1.0] };
    for (w, soft) in starts.iter().flat_map(|w| softness.iter().map(move |s| (w, s))) {
        let gentle = ExcitationParams { robustness: params.robustness * soft, ..quick };
        let mut theta = [w[0], w[1], 0.0, 0.5f64.clamp(params.spread[0], params.spread[1]).ln()];
        if quality == Start::Coarse {
            for t in [80.0f64, 160.0] {
                theta[2] = t.clamp(t0, t1).ln();
                theta = descend(&strong, theta, slope_only, &bounds, lambda, &gentle)?.0;
            }
        }
        // A ladder of thicknesses, each within the fringe of the next.
        let mut t = t0.max(100.0).min(t1);
        while t <= t1 {
            let first = [theta[0], theta[1], t.ln(), rho];
            let first = descend(&strong, first, slope_only, &bounds, lambda, &gentle)?.0;
            let first =
                if *soft > 1.0 { descend(&strong, first, [true; N], &bounds, lambda, &gentle)?.0 } else { first };
            let (theta, value, ..) = descend(&strong, first, [true; N], &bounds, lambda, &quick)?;
            tried.push((value, theta));
            t *= if quality == Start::Coarse { 1.2 } else { 1.35 };
        }
    }
    // Different minima only: those of the same slopes and thickness are one.
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut done: Vec<Theta> = Vec::new();
    let mut minima: Vec<(Theta, f64, usize, Stop)> = Vec::new();
    for (_, theta) in tried {
        let known = |d: &Theta| (0..3).all(|k| (d[k] - theta[k]).abs() < [2e-4, 2e-4, 0.02][k]);
        if done.len() == FINISHED || done.iter().any(known) {
            continue;
        }
        done.push(theta);
        minima.push(descend(pairs, theta, [true; N], &bounds, lambda, params)?);
    }
    minima.sort_by(|a, b| a.1.total_cmp(&b.1));
    if minima.is_empty() {
        return Err(Error::param("thickness", format!("{t0} to {t1} Å"), "a range that reaches 10 nm"));
    }
    finish(pairs, &minima, lambda, params)
}

/// The pairs of the largest difference, in its standard deviations: those that say something.
fn telling(pairs: &[FriedelPair], most: usize) -> Vec<FriedelPair> {
    let mut strong: Vec<FriedelPair> = pairs.to_vec();
    let says = |p: &FriedelPair| {
        let d = (p.counts[0] - p.background[0]) - (p.counts[1] - p.background[1]);
        d * d / (p.counts[0] + p.counts[1] + 1.0)
    };
    strong.sort_by(|a, b| says(b).total_cmp(&says(a)));
    strong.truncate(most);
    strong
}

fn check_pairs(pairs: &[FriedelPair]) -> Result<(), Error> {
    let good = |v: f64| v >= 0.0 && v.is_finite();
    for (index, p) in pairs.iter().enumerate() {
        let numbers = p.counts.iter().chain(&p.background).all(|&v| good(v));
        if !(numbers && p.q.iter().all(|q| q.abs() < 100.0) && p.height.abs() < 100.0) {
            return Err(Error::Data { what: format!("Friedel pair {p:?}"), index });
        }
    }
    let counted = pairs.iter().filter(|p| p.counts[0] + p.counts[1] > 0.0).count();
    if counted < 3 {
        return Err(Error::Data { what: format!("{counted} Friedel pairs with counts, at least 3"), index: 0 });
    }
    Ok(())
}

/// The lowest local minima of the loss over w, for a slab of 60 Å.
fn map_of_tilts(pairs: &[FriedelPair], lambda: f64, w_max: f64, params: &ExcitationParams) -> Vec<[f64; 2]> {
    const T: f64 = 60.0;
    const STARTS: usize = 6;
    let strong = telling(pairs, SEARCHED);
    let q = strong.iter().map(|p| p.q[0].hypot(p.q[1])).fold(0.0, f64::max).max(1e-3);
    let half = ((w_max * q * T / 0.12).ceil() as i32).clamp(6, 40);
    let step = w_max / f64::from(half);
    let side = 2 * half + 1;
    let at = |i: i32, j: i32| [f64::from(i) * step, f64::from(j) * step];
    let value = |w: [f64; 2]| {
        let inside = w[0].hypot(w[1]) <= w_max * 1.01;
        let theta = [w[0], w[1], T.ln(), 0.5f64.ln()];
        if inside { loss(&strong, &theta, lambda, params.robustness) } else { f64::INFINITY }
    };
    let mut map = vec![f64::INFINITY; (side * side) as usize];
    for i in -half..=half {
        for j in -half..=half {
            map[((i + half) * side + j + half) as usize] = value(at(i, j));
        }
    }
    let get = |i: i32, j: i32| {
        let inside = i.abs() <= half && j.abs() <= half;
        if inside { map[((i + half) * side + j + half) as usize] } else { f64::INFINITY }
    };
    let mut minima = Vec::new();
    for i in -half..=half {
        for j in -half..=half {
            let v = get(i, j);
            let around = (-1..=1).flat_map(|y| (-1..=1).map(move |x| (y, x))).filter(|&d| d != (0, 0));
            if v.is_finite() && around.clone().all(|(y, x)| v <= get(i + y, j + x)) {
                minima.push((v, at(i, j)));
            }
        }
    }
    minima.sort_by(|a, b| a.0.total_cmp(&b.0));
    minima.truncate(STARTS);
    minima.into_iter().map(|(_, w)| w).collect()
}

/// The lowest of the minima, with what the others leave of its probability.
fn finish(
    pairs: &[FriedelPair],
    minima: &[(Theta, f64, usize, Stop)],
    lambda: f64,
    params: &ExcitationParams,
) -> Result<ExcitationFit, Error> {
    let (theta, value, iterations, stop) = minima[0];
    let nu = params.robustness;
    let (mut chi2, mut weight_sum, mut used) = (0.0, 0.0, 0);
    let mut info = [[0.0; N]; N];
    let parts: Vec<(Part, f64)> = pairs
        .iter()
        .map(|pair| {
            let p = part(pair, &theta, lambda);
            let weight = 1.0 / (1.0 + p.deviance / nu);
            (p, weight)
        })
        .collect();
    for (p, weight) in &parts {
        if p.strength > 0.0 {
            used += 1;
            chi2 += weight * p.deviance;
            weight_sum += weight;
        }
        (0..N).for_each(|k| (0..N).for_each(|l| info[k][l] += weight * p.information[k][l]));
    }
    let own = inverse(&info)?;
    let mut scores = [[0.0; N]; N];
    for (p, weight) in &parts {
        // The fit bends towards a pair that says much: its score is what it would be without it, h the pair's share of the information.
        let h: f64 = (0..N).map(|k| (0..N).map(|l| weight * p.information[k][l] * own[l][k]).sum::<f64>()).sum();
        let grown = weight / (1.0 - h.clamp(0.0, LEVERAGE));
        for k in 0..N {
            for l in 0..N {
                // The score is minus half of the deviance's gradient.
                scores[k][l] += 0.25 * grown * grown * p.gradient[k] * p.gradient[l];
            }
        }
    }
    // Strengths eliminate one of each pair's two numbers: a deviance of 1 a pair is expected.
    let deviance = if weight_sum > 0.0 { chi2 / weight_sum } else { 0.0 };
    let mut covariance = own.map(|row| row.map(|v| v * deviance.max(1.0)));
    if let Some(measured) = sandwich(pairs, &theta, &covariance, &scores, lambda, nu)
        && measured[0][0] + measured[1][1] > covariance[0][0] + covariance[1][1]
    {
        covariance = measured;
    }
    let tilt = Misorientation::from_slope([theta[0], theta[1]]);
    let [sigma_phi, sigma_across] = along_and_across(&tilt, &covariance);

    // The minima by their likelihood; those of one tilt are one.
    let reach = (SAME.0 * sigma_phi.max(sigma_across).to_rad()).max(SAME.1);
    // Other thicknesses that fit nearly as well, at nearly this tilt, are part of its uncertainty: the variance of a mixture.
    let mass = |loss: f64| (-0.5 * (loss - value) / deviance.max(1.0)).exp();
    let near = |t: &Theta| (t[0] - theta[0]).hypot(t[1] - theta[1]) <= reach;
    let all: f64 = minima.iter().filter(|m| near(&m.0)).map(|m| mass(m.1)).sum();
    for (t, loss, ..) in minima.iter().filter(|m| near(&m.0)) {
        let d: Theta = std::array::from_fn(|k| t[k] - theta[k]);
        (0..N).for_each(|k| (0..N).for_each(|l| covariance[k][l] += mass(*loss) / all * d[k] * d[l]));
    }
    let [sigma_phi, sigma_across] = along_and_across(&tilt, &covariance);
    let mut groups: Vec<([f64; 2], f64)> = Vec::new();
    for (t, loss, ..) in minima {
        let (mass, w) = (mass(*loss), [t[0], t[1]]);
        match groups.iter_mut().find(|g| (g.0[0] - w[0]).hypot(g.0[1] - w[1]) <= reach) {
            Some(group) => group.1 = group.1.max(mass),
            None => groups.push((w, mass)),
        }
    }
    let total: f64 = groups.iter().map(|g| g.1).sum();
    let alternatives = groups.iter().map(|(w, m)| (Misorientation::from_slope(*w), m / total)).collect();
    Ok(ExcitationFit {
        tilt,
        sigma_phi,
        sigma_across,
        thickness: Length::angstrom(theta[2].exp()),
        spread: theta[3].exp(),
        covariance,
        confidence: groups[0].1 / total * (COUNTING / deviance.max(COUNTING)).powi(4),
        alternatives,
        loss: value,
        deviance,
        pairs: used,
        iterations,
        stop,
    })
}

/// H⁻¹ J H⁻¹: what the scores' scatter J makes of the answer where the loss has the curvature 2H. Fisher's information takes
/// the fitted strengths for true, which many faint pairs make too large; this one does not. None where H is no curvature of a minimum.
fn sandwich(
    pairs: &[FriedelPair],
    theta: &Theta,
    covariance: &[[f64; N]; N],
    scores: &[[f64; N]; N],
    lambda: f64,
    nu: f64,
) -> Option<[[f64; N]; N]> {
    let mut h = [[0.0; N]; N];
    for k in 0..N {
        let step = 0.05 * covariance[k][k].sqrt().clamp(1e-7, 1.0);
        let at = |d: f64| {
            let mut t = *theta;
            t[k] += d;
            total(pairs, &t, lambda, nu).1
        };
        let (up, down) = (at(step), at(-step));
        for l in 0..N {
            let half = 0.5 * (up[l] - down[l]) / (4.0 * step);
            h[k][l] += half;
            h[l][k] += half;
        }
    }
    let inverse = inverse(&h).ok()?;
    let product = |a: &[[f64; N]; N], b: &[[f64; N]; N]| -> [[f64; N]; N] {
        std::array::from_fn(|i| std::array::from_fn(|j| (0..N).map(|k| a[i][k] * b[k][j]).sum()))
    };
    let out = product(&product(&inverse, scores), &inverse);
    out.iter().flatten().all(|v| v.is_finite()).then_some(out)
}

/// Standard deviations along and across the tilt from the covariance of w; dφ = dw cos²φ.
fn along_and_across(tilt: &Misorientation, covariance: &[[f64; N]; N]) -> [Angle; 2] {
    let (s, c) = tilt.azimuth().to_rad().sin_cos();
    let cos2 = tilt.phi().to_rad().cos().powi(2);
    let by = |u: [f64; 2]| {
        let v: f64 = (0..2).map(|i| (0..2).map(|j| u[i] * covariance[i][j] * u[j]).sum::<f64>()).sum();
        v.max(0.0).sqrt()
    };
    [Angle::rad(by([s, c]) * cos2), Angle::rad(by([c, -s]) * cos2.sqrt())]
}

/// Inverse of the information. Directions that carry none get a large variance, by a faint prior.
fn inverse(info: &[[f64; N]; N]) -> Result<[[f64; N]; N], Error> {
    // Priors: a radian for w, a factor of e² for T and ρ.
    let prior = [1.0, 1.0, 0.25, 0.25];
    let mut m = [0.0; N * N];
    for k in 0..N {
        for l in 0..N {
            m[k * N + l] = info[k][l] + if k == l { prior[k] } else { 0.0 };
        }
    }
    let mut unit = [0.0; N * N];
    (0..N).for_each(|k| unit[k * N + k] = 1.0);
    let x = cholesky_solve(N, &m, &unit)?;
    Ok(std::array::from_fn(|k| std::array::from_fn(|l| x[k * N + l])))
}

/// The Cramér–Rao bound on the standard deviations of φ and across it: what no unbiased estimate from these pairs
/// can beat, with thickness and
/// spread unknown.
///
/// # Units
/// `pairs` hold expected counts, background included.
///
/// # Errors
/// As [`fit_excitation`].
pub fn cramer_rao(
    pairs: &[FriedelPair],
    tilt: Misorientation,
    thickness: Length,
    spread: f64,
    strengths: Strengths,
    params: &ExcitationParams,
) -> Result<[Angle; 2], Error> {
    params.check()?;
    check_pairs(pairs)?;
    let lambda = wavelength(params.energy).to_angstrom();
    let w = tilt.slope();
    let theta = [w[0], w[1], thickness.to_angstrom().max(1.0).ln(), spread.max(1e-4).ln()];
    let mut info = [[0.0; N]; N];
    for pair in pairs {
        let c = curves(pair, &theta, lambda);
        let p = [c[0].0, c[1].0];
        let a = strength(p, pair.counts, pair.background);
        let mean = [0, 1].map(|i| (a * p[i] + pair.background[i]).max(1e-12));
        let own = information(&c, a, mean, strengths);
        for k in 0..N {
            for l in 0..N {
                info[k][l] += own[k][l];
            }
        }
    }
    Ok(along_and_across(&tilt, &inverse(&info)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> FriedelPair {
        FriedelPair { q: [0.31, -0.22], height: 0.0, counts: [130.0, 12.0], background: [3.0, 2.5] }
    }

    #[test]
    fn a_pairs_strength_is_the_maximum_of_its_likelihood() {
        for (p, n, b) in [
            ([4.0, 1.0], [130.0, 12.0], [3.0, 2.5]),
            ([4.0, 1e-9], [130.0, 12.0], [3.0, 2.5]),
            ([0.3, 0.4], [0.0, 5.0], [0.01, 0.02]),
            ([1.0, 1.0], [1.0, 2.0], [5.0, 5.0]),
        ] {
            let a = strength(p, n, b);
            let l = |a: f64| (0..2).map(|i| n[i] * (a * p[i] + b[i]).ln() - a * p[i]).sum::<f64>();
            assert!(l(a) >= l(a * 1.001) && l(a) >= l(a * 0.999 - 1e-9 * f64::from(a > 0.0)), "{p:?}: {a}");
            assert!(a == 0.0 || a > 0.0 && l(a) > l(0.0));
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let lambda = 0.0197;
        let theta = [0.011, -0.004, 310.0f64.ln(), 0.1f64.ln()];
        let (_, g, _) = total(&[pair()], &theta, lambda, 16.0);
        for k in 0..N {
            let h = 1e-6;
            let moved = |d: f64| {
                let mut t = theta;
                t[k] += d;
                loss(&[pair()], &t, lambda, 16.0)
            };
            let difference = (moved(h) - moved(-h)) / (2.0 * h);
            // Central differences: h² of the third derivative, which grows by 2πqT ≈ 700 an order.
            assert!((difference - g[k]).abs() < 1e-5 * g[k].abs() + 1e-6, "{k}: {difference} {}", g[k]);
        }
    }

    #[test]
    fn pairs_that_are_no_counts_are_refused() {
        let p = ExcitationParams::default();
        assert!(fit_excitation(&[pair(); 2], None, &p).is_err());
        let bad = FriedelPair { counts: [f64::NAN, 1.0], ..pair() };
        assert!(fit_excitation(&[pair(), pair(), bad], None, &p).is_err());
        assert!(fit_excitation(&[pair(); 5], None, &ExcitationParams { spread: [0.0, 1.0], ..p }).is_err());
        assert!(fit_excitation(&[pair(); 5], None, &ExcitationParams { tilt: Angle::deg(90.0), ..p }).is_err());
    }
}
