//! From a diffraction pattern to the misorientation of the nearest zone axis.

use crate::error::Error;
use crate::hrtem::excitation::{COUNTING, ExcitationFit, ExcitationParams, FriedelPair, Start, fit_from};
use crate::hrtem::indexing::{BeamCandidate, DiscCounter, IndexParams, IndexedPattern, beam_candidates, index_pattern};
use crate::hrtem::laue::{LaueCircle, LaueParams, fit_laue_circle};
use crate::hrtem::net_fit::{LAYERS, NetFit};
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::reflections::{Spot, Spots, find_spots};
use crate::hrtem::rocking::{Misorientation, excitation_error};
use crate::hrtem::zone::{ZoneCandidate, ZoneNet, ZoneParams, find_zones};
use crate::optics::wavelength;
use crate::specimen::Atoms;
use crate::tensor::Tensor;
use crate::units::SpatialFrequency;

/// Slope of the starts around the axis: 0.3°.
const NEAR: f64 = 0.005;

/// Points of the net that may be the direct beam: as many are tried, to so many nats below the roundest background. It is
/// round but for the skirts of reflections, which are worth tens of nats.
const BEAMS: usize = 4;
const BACKGROUND: f64 = 200.0;

/// Minima that are compared in the end.
const COMPARED: usize = 8;

/// How a pattern is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneAxisParams {
    /// Size of a pixel: the camera length.
    pub pixel: SpatialFrequency,
    /// How the pattern is indexed.
    pub index: IndexParams,
    /// How the excitation errors are fitted; the beam energy is here.
    pub excitation: ExcitationParams,
    /// Reflections further out are not used.
    pub limit: SpatialFrequency,
    /// Reflections further from the Ewald sphere than this, on both sides of the beam, are not used.
    pub reach: SpatialFrequency,
    /// The zone axis, where it is known; with a crystal and none here, the one whose net fits best.
    pub zone: Option<[i32; 3]>,
    /// How zone axes are compared with the measured net.
    pub zones: ZoneParams,
    /// Rounds of choosing reflections by the tilt and fitting the tilt to them.
    pub rounds: usize,
}

/// 0.006 1/Å a pixel, reflections to 1.5 1/Å and within 0.018 1/Å of the sphere, four rounds.
impl Default for ZoneAxisParams {
    fn default() -> Self {
        ZoneAxisParams {
            pixel: SpatialFrequency::per_angstrom(0.006),
            index: IndexParams::default(),
            excitation: ExcitationParams::default(),
            limit: SpatialFrequency::per_angstrom(1.5),
            reach: SpatialFrequency::per_angstrom(0.018),
            zone: None,
            zones: ZoneParams::default(),
            rounds: 4,
        }
    }
}

/// What a pattern says about the zone axis.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneAxisFit {
    /// Spots, lattice, direct beam.
    pub indexed: IndexedPattern,
    /// The plain circle through the direct beam, weighted by intensity; none where the spots allow none.
    pub circle: Option<LaueCircle>,
    /// The fit of the excitation errors: the answer.
    pub fit: ExcitationFit,
    /// The zone axis, where a crystal was given and one of its nets fits.
    pub zone: Option<ZoneNet>,
    /// Measured lengths over those of the crystal, where it is known; the fit has taken it into account.
    pub scale: Option<f64>,
    /// The pairs that were fitted.
    pub pairs: Vec<FriedelPair>,
    /// All electrons that were recorded.
    pub electrons: f64,
}

/// Finds the misorientation of the nearest zone axis from one diffraction pattern.
///
/// Spots, lattice and direct beam are found; the electrons of all lattice points are counted; the tilt is sought
/// in the Friedel pairs of the zeroth layer
/// ([`fit_excitation`](crate::hrtem::fit_excitation)). With a crystal the zone axis is recognised by its net, and with it the layers above and
/// below are known: their
/// reflections are taken into the fit where they are near the sphere, and those of the zeroth layer that stand in
/// their place are left out.
/// Reflections are chosen and the tilt is fitted in turns.
///
/// # Shapes
/// `pattern` and `mask` (true where usable) are `[y, x]`.
///
/// # Errors
/// As [`index_pattern`], [`fit_excitation`](crate::hrtem::fit_excitation) and [`ZoneNet::new`]; [`Error::Param`] for parameters out of range.
///
/// # References
/// D. Zhang et al., *Science* 359, 675 (2018), for the procedure with a circle. The rest: derived in docs/zone_axis.md.
pub fn find_zone_axis(
    pattern: &Tensor<f64>,
    mask: Option<&Tensor<bool>>,
    crystal: Option<&Atoms>,
    params: &ZoneAxisParams,
) -> Result<ZoneAxisFit, Error> {
    params.excitation.check()?;
    let sizes = [params.pixel, params.limit, params.reach];
    if !sizes.iter().all(|s| *s > SpatialFrequency::ZERO && s.is_finite()) || params.rounds == 0 {
        return Err(Error::param(
            "params",
            format!("pixel, limit, reach {sizes:?}"),
            "positive sizes, at least a round",
        ));
    }
    let pixel = params.pixel.to_per_angstrom();
    let lambda = wavelength(params.excitation.energy).to_angstrom();

    // With a zone axis that is named the net is known; else the lattice of the spots says which it is.
    let named = match (crystal, params.zone) {
        (Some(crystal), Some(zone)) => Some(ZoneNet::visible(crystal, zone)?),
        _ => None,
    };
    let mut candidate: Option<ZoneCandidate> = None;
    let mut indexed = match &named {
        Some(_) => None,
        None => Some(index_pattern(pattern, mask, &params.index)?),
    };
    if let (Some(crystal), Some(indexed), None) = (crystal, &indexed, &named) {
        let [a, b] = [indexed.lattice.a, indexed.lattice.b].map(|v| v.map(|x| x * pixel));
        candidate = find_zones(crystal, a, b, &params.zones)?.into_iter().next();
    }
    let net = match (named, &candidate, crystal) {
        (Some(net), ..) => Some(net),
        (None, Some(c), Some(crystal)) => Some(ZoneNet::visible(crystal, c.net.zone)?),
        _ => None,
    };
    let spots = match &indexed {
        Some(indexed) => indexed.spots.clone(),
        None => find_spots(pattern, mask, &params.index.spots)?,
    };
    let spot = spots.spot;
    let flat = match (&net, &indexed) {
        (Some(net), _) => Layers::Known(NetFit::new(net, &spots, spot, pixel, params.zones.scale, lambda)?),
        (None, Some(indexed)) => Layers::Flat(indexed.lattice),
        (None, None) => return Err(Error::param("zone", format!("{:?}", params.zone), "an axis of a crystal")),
    };
    // Where more than one point of the net may be the direct beam, their Friedel pairs decide with the background.
    let beams = match &flat {
        Layers::Flat(lattice) => vec![BeamCandidate { position: lattice.origin, log_likelihood: 0.0 }],
        Layers::Known(_) => beam_candidates(&spots, &flat.lattice(), &params.index),
    };
    let near = beams.iter().take_while(|b| b.log_likelihood > -BACKGROUND).take(BEAMS);
    let answers: Vec<(f64, Answer)> =
        near.filter_map(|b| Some((b.log_likelihood, flat.with_beam(b.position).solve(&spots, params)?))).collect();
    let (best, sure) = likeliest(answers);
    let none = || Error::Data { what: "no tilt at which three Friedel pairs are near the sphere".into(), index: 0 };
    let Answer { mut fit, pairs, layers } = best.ok_or_else(none)?;
    fit.confidence *= sure;

    let lattice = layers.lattice();
    if let Layers::Known(net) = &layers {
        let tolerance = params.index.lattice.tolerance * lattice.lengths()[0];
        let index = |s: &Spot| {
            let (i, d) = lattice.nearest(s.position);
            (d <= tolerance).then_some(i)
        };
        let indices = spots.spots.iter().map(index).collect();
        indexed = Some(IndexedPattern { spots: spots.clone(), lattice, rms: net.rms, indices });
    }
    let Some(indexed) = indexed else { return Err(Error::param("zone", "none", "an axis of a crystal")) };

    // The plain circle through the spots, without the direct beam.
    let beside = indexed.spots.spots.iter().zip(&indexed.indices).filter(|(_, i)| i.is_some_and(|i| i != [0, 0]));
    let (q, electrons): (Vec<_>, Vec<_>) =
        beside.map(|(s, _)| ([0, 1].map(|k| (s.position[k] - lattice.origin[k]) * pixel), s.electrons)).unzip();
    let laue = LaueParams { energy: params.excitation.energy, ..LaueParams::default() };
    let circle = fit_laue_circle(&q, &electrons, &laue).ok();
    let scale = match &layers {
        Layers::Known(net) => Some(net.scale()),
        Layers::Flat(_) => None,
    };
    let electrons = indexed.spots.electrons.as_slice().iter().sum();
    Ok(ZoneAxisFit { indexed, circle, fit, zone: net, scale, pairs, electrons })
}

/// The reflections of a zone axis as the pattern shows them.
enum Layers {
    /// One layer, as it was measured: the crystal is not known.
    Flat(PlaneLattice),
    /// All layers of a known net.
    Known(NetFit),
}

/// What the pairs about a direct beam say.
struct Answer {
    fit: ExcitationFit,
    pairs: Vec<FriedelPair>,
    layers: Layers,
}

/// The likeliest of several answers, with its probability: to the log-likelihood of the background about the direct beam comes
/// −½ n ln D, the likelihood of n pairs whose deviance has an unknown scale, D its mean (at least 1). n is the least of all, so that
/// no point gains by having fewer pairs.
fn likeliest(answers: Vec<(f64, Answer)>) -> (Option<Answer>, f64) {
    let n = answers.iter().map(|a| a.1.fit.pairs).min().unwrap_or(0) as f64;
    let score = |a: &(f64, Answer)| a.0 - 0.5 * n * a.1.fit.deviance.max(1.0).ln();
    let scores: Vec<f64> = answers.iter().map(score).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
    let best = answers.into_iter().zip(&scores).find(|a| *a.1 == top).map(|a| a.0.1);
    (best, 1.0 / total.max(1.0))
}

impl Layers {
    /// The same with the direct beam at the point nearest to a place of the pattern.
    fn with_beam(&self, place: [f64; 2]) -> Self {
        match self {
            Layers::Known(net) => Layers::Known(net.with_beam(place)),
            Layers::Flat(lattice) => {
                let (zero, _) = lattice.nearest(place);
                Layers::Flat(PlaneLattice { origin: lattice.at(zero.map(f64::from)), ..*lattice })
            }
        }
    }

    /// The tilt from the Friedel pairs; none where fewer than three are near the sphere.
    fn solve(mut self, spots: &Spots, params: &ZoneAxisParams) -> Option<Answer> {
        let spot = spots.spot;
        let clear = self.lattice();
        let radius = (2.2 * spot).min(0.45 * clear.lengths()[0]);
        let counter = DiscCounter::new(spots, &clear, spot, radius);

        // Starts: tilts at which the spots are where the sphere is, likeliest first. A later one is taken where it
        // leaves less, down to what counting leaves.
        let mut best: Option<(ExcitationFit, Vec<FriedelPair>)> = None;
        let mut others: Vec<[f64; 2]> = Vec::new();
        // On the axis and around it, should none of them do.
        let around = [[0.0, 0.0], [NEAR, 0.0], [0.0, NEAR], [-NEAR, 0.0], [0.0, -NEAR]];
        for w in self.starts(spots, params).into_iter().chain(around) {
            if best.as_ref().is_some_and(|(b, _)| b.deviance <= COUNTING) {
                break;
            }
            let tilt = Misorientation::from_slope(w);
            let chosen = self.pairs(&counter, tilt, params);
            let Ok(fit) = fit_from(&chosen, &[w], Start::Coarse, &params.excitation) else { continue };
            others.extend(fit.alternatives.iter().take(3).map(|a| a.0.slope()));
            if best.as_ref().is_none_or(|(b, _)| fit.deviance.max(COUNTING) < b.deviance) {
                best = Some((fit, chosen));
            }
        }
        let (mut fit, mut pairs) = best?;
        for _ in 0..params.rounds {
            if let Layers::Known(net) = &mut self {
                net.refine(spots, spot, Some(fit.tilt));
            }
            let chosen = self.pairs(&counter, fit.tilt, params);
            // More than counting statistics are left: perhaps another thickness fits better.
            let quality = if fit.deviance > COUNTING { Start::Coarse } else { Start::Fine };
            let Ok(next) = fit_from(&chosen, &[fit.tilt.slope()], quality, &params.excitation) else { break };
            let moved = next.tilt.angle_to(&fit.tilt);
            (fit, pairs) = (next, chosen);
            if moved < 0.1 * fit.sigma_phi {
                break;
            }
        }
        // All minima that any start led to, with the same pairs: which is lowest, and by how much?
        let mut starts = vec![fit.tilt.slope()];
        for w in others {
            if starts.len() < COMPARED && starts.iter().all(|s| (s[0] - w[0]).hypot(s[1] - w[1]) > NEAR * 0.05) {
                starts.push(w);
            }
        }
        if let Ok(last) = fit_from(&pairs, &starts, Start::Fine, &params.excitation) {
            fit = last;
        }
        Some(Answer { fit, pairs, layers: self })
    }

    /// All points where reflections may be, in pixels.
    fn lattice(&self) -> PlaneLattice {
        match self {
            Layers::Flat(lattice) => *lattice,
            Layers::Known(net) => net.union(),
        }
    }

    /// Slopes w at which the spots are where the sphere is: the largest of
    /// `L(w) = Σ_spots ln(P(s) + ε) − n ln Σ_points (P(s) + ε)`, with s that of the layer nearest to the
    /// sphere, P = 1/(1 + 2(πsT)²) for
    /// T = 150 Å, and ε = 0.02 for spots that are no reflections of this crystal.
    fn starts(&self, spots: &Spots, params: &ZoneAxisParams) -> Vec<[f64; 2]> {
        const T: f64 = 150.0;
        const EPSILON: f64 = 0.02;
        let lambda = wavelength(params.excitation.energy).to_angstrom();
        let pixel = params.pixel.to_per_angstrom();
        let net = self.lattice();
        let &[ny, nx] = spots.electrons.dims() else { return Vec::new() };
        // Every point of the net with its lowest layer, and how far the next of the same place is.
        let (dual, limit) = (net.reciprocal(), params.limit.to_per_angstrom());
        let bounds = [dual.a, dual.b].map(|v| (v[0].hypot(v[1]) * limit / pixel).ceil().min(1000.0) as i32 + 1);
        let layer = |h: i32, k: i32| match self {
            Layers::Flat(_) => Some((0.0, f64::INFINITY)),
            Layers::Known(net) => net.layer_of([h, k]),
        };
        // q, height of the layer, distance to the next, whether there is a spot.
        let mut sites: Vec<([f64; 2], f64, f64)> = Vec::new();
        for h in -bounds[0]..=bounds[0] {
            for k in -bounds[1]..=bounds[1] {
                let p = net.at([f64::from(h), f64::from(k)]);
                let q = [0, 1].map(|i| (p[i] - net.origin[i]) * pixel);
                let seen = p[0] >= 0.0 && p[1] >= 0.0 && p[0] < ny as f64 && p[1] < nx as f64;
                let seen = seen && spots.usable.as_slice()[p[0] as usize * nx + p[1] as usize];
                if let (true, true, Some((height, next))) =
                    (seen, q[0].hypot(q[1]) <= limit && [h, k] != [0, 0], layer(h, k))
                {
                    sites.push((q, height, next));
                }
            }
        }
        let tolerance = params.index.lattice.tolerance * net.lengths()[0];
        let mut found: Vec<([f64; 2], f64, f64)> = Vec::new();
        for s in &spots.spots {
            let (i, d) = net.nearest(s.position);
            let q = [0, 1].map(|k| (s.position[k] - net.origin[k]) * pixel);
            if let (true, Some((height, next))) =
                (d <= tolerance && i != [0, 0] && q[0].hypot(q[1]) <= limit, layer(i[0], i[1]))
            {
                found.push((q, height, next));
            }
        }
        let curve = |w: [f64; 2], &(q, height, next): &([f64; 2], f64, f64)| {
            let s = excitation_error(w, q, lambda, height);
            let s = if next.is_finite() { s - next * (s / next).round() } else { s };
            1.0 / (1.0 + 2.0 * (std::f64::consts::PI * s * T).powi(2)) + EPSILON
        };
        let value = |w: [f64; 2]| {
            let all: f64 = sites.iter().map(|s| curve(w, s)).sum();
            found.iter().map(|s| curve(w, s).ln()).sum::<f64>() - found.len() as f64 * all.max(1e-9).ln()
        };
        let w_max = params.excitation.tilt.to_rad().tan();
        let half = (w_max / 0.003).ceil().clamp(4.0, 60.0) as i32;
        let mut all = Vec::new();
        for i in -half..=half {
            for j in -half..=half {
                let w = [i, j].map(|i| f64::from(i) * w_max / f64::from(half));
                if w[0].hypot(w[1]) <= w_max * 1.01 {
                    all.push((value(w), w));
                }
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut starts: Vec<[f64; 2]> = Vec::new();
        for (_, w) in all {
            let far = |v: &[f64; 2]| (w[0] - v[0]).hypot(w[1] - v[1]) > 0.012;
            if starts.iter().all(far) {
                starts.push(w);
            }
            if starts.len() == 3 {
                break;
            }
        }
        starts
    }

    /// The Friedel pairs of all layers that a tilt brings near the sphere.
    fn pairs(&self, counter: &DiscCounter<'_>, tilt: Misorientation, params: &ZoneAxisParams) -> Vec<FriedelPair> {
        let lambda = wavelength(params.excitation.energy).to_angstrom();
        let pixel = params.pixel.to_per_angstrom();
        let (limit, reach) = (params.limit.to_per_angstrom(), params.reach.to_per_angstrom());
        let w = tilt.slope();
        // The net in 1/Å, in the frame of the fit or of the pattern.
        let (net, height) = match self {
            Layers::Flat(l) => ([l.a, l.b].map(|v| v.map(|x| x * pixel)), 0.0),
            Layers::Known(n) => ([n.a, n.b], n.height),
        };
        let [a, b] = net;
        let flat = PlaneLattice { origin: [0.0; 2], a, b };
        let (most, offset) = match self {
            Layers::Known(n) => (LAYERS, flat.fraction(n.offset)),
            Layers::Flat(_) => (0, [0.0; 2]),
        };
        let dual = flat.reciprocal();
        let bounds = [dual.a, dual.b].map(|v| (v[0].hypot(v[1]) * limit * 1.05).ceil().min(1000.0) as i32 + 1);
        // The nearest layer whose reflections stand over the same points of the net.
        let whole = |k: i32| offset.iter().all(|f| (f64::from(k) * f - (f64::from(k) * f).round()).abs() < 0.1);
        let rival = (1..=8).find(|&k| height > 0.0 && whole(k)).map_or(f64::INFINITY, |k| f64::from(k) * height);
        let place = |f: [f64; 2], n: i32| {
            let g = flat.at(f);
            match self {
                Layers::Flat(_) => g,
                Layers::Known(net) => net.place(g, f64::from(n), tilt),
            }
        };
        let on_pattern = |q: [f64; 2]| match self {
            Layers::Flat(l) => [0, 1].map(|i| l.origin[i] + q[i] / pixel),
            Layers::Known(net) => net.pixel_of(q),
        };
        let mut pairs = Vec::new();
        for n in 0..=most {
            let nh = f64::from(n) * height;
            for h in -bounds[0]..=bounds[0] {
                for k in -bounds[1]..=bounds[1] {
                    if n == 0 && [h, k] <= [0, 0] {
                        continue;
                    }
                    let q = place([0, 1].map(|i| f64::from([h, k][i]) + f64::from(n) * offset[i]), n);
                    let q2 = q[0] * q[0] + q[1] * q[1];
                    if q2 > limit * limit || q2 < 1e-12 {
                        continue;
                    }
                    let s = [1.0, -1.0].map(|x| excitation_error(w, q.map(|q| x * q), lambda, x * nh));
                    let near = s[0].abs().min(s[1].abs()) <= reach;
                    let own = |s: f64| 3.0 * s.abs() < (s - rival).abs().min((s + rival).abs());
                    if !(near && own(s[0]) && own(s[1])) {
                        continue;
                    }
                    let minus = q.map(|q| -q);
                    if let (Some(p), Some(m)) = (counter.count(on_pattern(q)), counter.count(on_pattern(minus))) {
                        pairs.push(FriedelPair { q, height: nh, counts: [p[0], m[0]], background: [p[1], m[1]] });
                    }
                }
            }
        }
        pairs
    }
}
