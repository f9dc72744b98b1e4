//! From a diffraction pattern to the misorientation of the nearest zone axis.

use crate::error::Error;
use crate::hrtem::excitation::{ExcitationFit, ExcitationParams, FriedelPair, fit_excitation};
use crate::hrtem::indexing::{DiscCounter, IndexParams, IndexedPattern, index_pattern};
use crate::hrtem::laue::{LaueCircle, LaueParams, fit_laue_circle};
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::rocking::{Misorientation, excitation_error};
use crate::hrtem::zone::{ZoneCandidate, ZoneNet, ZoneParams, find_zones};
use crate::optics::wavelength;
use crate::specimen::Atoms;
use crate::tensor::Tensor;
use crate::units::SpatialFrequency;

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

/// 0.006 1/Å a pixel, reflections to 1.5 1/Å and within 0.0125 1/Å of the sphere, four rounds.
impl Default for ZoneAxisParams {
    fn default() -> Self {
        ZoneAxisParams {
            pixel: SpatialFrequency::per_angstrom(0.006),
            index: IndexParams::default(),
            excitation: ExcitationParams::default(),
            limit: SpatialFrequency::per_angstrom(1.5),
            reach: SpatialFrequency::per_angstrom(0.0125),
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
    /// The zone axis, where a crystal was given and its nets fit.
    pub zone: Option<ZoneCandidate>,
    /// The pairs that were fitted.
    pub pairs: Vec<FriedelPair>,
    /// All electrons that were recorded.
    pub electrons: f64,
}

/// Finds the misorientation of the nearest zone axis from one diffraction pattern.
///
/// Spots, lattice and direct beam are found; the electrons of all lattice points are counted; the tilt is sought in the Friedel pairs of the zeroth layer
/// ([`fit_excitation`]). With a crystal the zone axis is recognised by its net, and with it the layers above and below are known: their
/// reflections are taken into the fit where they are near the sphere, and those of the zeroth layer that stand in their place are left out.
/// Reflections are chosen and the tilt is fitted in turns.
///
/// # Shapes
/// `pattern` and `mask` (true where usable) are `[y, x]`.
///
/// # Errors
/// As [`index_pattern`], [`fit_excitation`] and [`ZoneNet::new`]; [`Error::Param`] for parameters out of range.
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
        return Err(Error::param("params", format!("pixel, limit, reach {sizes:?}"), "positive sizes, at least a round"));
    }
    let pixel = params.pixel.to_per_angstrom();
    let indexed = index_pattern(pattern, mask, &params.index)?;
    let lattice = indexed.lattice;

    // The circle through the spots of the lattice, without the direct beam.
    let spots: Vec<([f64; 2], f64)> = indexed
        .spots
        .spots
        .iter()
        .zip(&indexed.indices)
        .filter(|(_, i)| i.is_some_and(|i| i != [0, 0]))
        .map(|(s, _)| ([0, 1].map(|k| (s.position[k] - lattice.origin[k]) * pixel), s.electrons))
        .collect();
    let (q, electrons): (Vec<_>, Vec<_>) = spots.into_iter().unzip();
    let laue = LaueParams { energy: params.excitation.energy, ..LaueParams::default() };
    let circle = fit_laue_circle(&q, &electrons, &laue).ok();

    let zone = match crystal {
        Some(crystal) => recognise(crystal, &lattice, pixel, params)?,
        None => None,
    };
    let layers = Layers::new(&lattice, zone.as_ref(), pixel);
    let spot = params.index.spots.spot;
    let radius = (2.5 * spot).min(0.45 * layers.net.lengths()[0]);
    let counter = DiscCounter::new(&indexed.spots, &layers.net, spot, radius);

    // First the zeroth layer, wherever it may be excited; then what the tilt says is near the sphere.
    let first = layers.pairs(&counter, None, 0, params);
    let mut fit = fit_excitation(&first, None, &params.excitation)?;
    let mut pairs = first;
    for _ in 0..params.rounds {
        let chosen = layers.pairs(&counter, Some(fit.tilt), 4, params);
        let Ok(next) = fit_excitation(&chosen, Some(fit.tilt), &params.excitation) else { break };
        let moved = next.tilt.angle_to(&fit.tilt);
        (fit, pairs) = (next, chosen);
        if moved < 0.1 * fit.sigma_phi {
            break;
        }
    }
    let electrons = indexed.spots.electrons.as_slice().iter().sum();
    Ok(ZoneAxisFit { indexed, circle, fit, zone, pairs, electrons })
}

/// The zone axis that was named, or the best of the crystal's.
fn recognise(
    crystal: &Atoms,
    lattice: &PlaneLattice,
    pixel: f64,
    params: &ZoneAxisParams,
) -> Result<Option<ZoneCandidate>, Error> {
    let [a, b] = [lattice.a, lattice.b].map(|v| v.map(|x| x * pixel));
    // A named axis may fit badly: it is taken all the same.
    let wide = ZoneParams { misfit: if params.zone.is_some() { 1e6 } else { params.zones.misfit }, ..params.zones };
    let zones = find_zones(crystal, a, b, &wide)?;
    let Some(named) = params.zone else { return Ok(zones.into_iter().next()) };
    let net = ZoneNet::new(crystal, named)?;
    let same = |c: &ZoneCandidate| {
        (0..2).all(|i| (c.net.lengths[i] / net.lengths[i] - 1.0).abs() < 1e-6)
            && (c.net.angle - net.angle).to_rad().abs() < 1e-6
            && (c.net.layer / net.layer - 1.0).abs() < 1e-6
    };
    Ok(zones.into_iter().find(same).map(|c| ZoneCandidate { net, ..c }))
}

/// The reflections of a zone axis as the pattern shows them.
struct Layers {
    /// The net of the zeroth layer in pixels, extinct reflections included.
    net: PlaneLattice,
    /// Distance between layers and the place of the first on the net; none when the crystal is not known.
    above: Option<(f64, [f64; 2])>,
    pixel: f64,
}

impl Layers {
    fn new(lattice: &PlaneLattice, zone: Option<&ZoneCandidate>, pixel: f64) -> Self {
        let Some(zone) = zone else { return Layers { net: *lattice, above: None, pixel } };
        // measured = M · net, so the net's own vectors are M⁻¹ · measured.
        let [[p, q], [r, s]] = zone.matrix.map(|m| m.map(f64::from));
        let det = p * s - q * r;
        let a = [0, 1].map(|i| (s * lattice.a[i] - q * lattice.b[i]) / det);
        let b = [0, 1].map(|i| (p * lattice.b[i] - r * lattice.a[i]) / det);
        let net = PlaneLattice { origin: lattice.origin, a, b };
        Layers { net, above: Some((zone.net.layer.to_per_angstrom(), zone.net.offset)), pixel }
    }

    /// The Friedel pairs of the layers −most … most; near the sphere, where a tilt is known.
    fn pairs(
        &self,
        counter: &DiscCounter<'_>,
        tilt: Option<Misorientation>,
        most: i32,
        params: &ZoneAxisParams,
    ) -> Vec<FriedelPair> {
        let lambda = wavelength(params.excitation.energy).to_angstrom();
        let (limit, reach) = (params.limit.to_per_angstrom(), params.reach.to_per_angstrom());
        let w = tilt.map_or([0.0; 2], |t| t.slope());
        let (height, offset) = self.above.unwrap_or((0.0, [0.0; 2]));
        let most = if self.above.is_some() { most } else { 0 };
        let lengths = [self.net.reciprocal().a, self.net.reciprocal().b].map(|v| v[0].hypot(v[1]));
        let bounds = lengths.map(|l| (l * limit / self.pixel).ceil().min(1000.0) as i32 + 1);
        // The nearest layer whose reflections stand over the same points of the net.
        let whole = |k: i32| offset.iter().all(|f| (f64::from(k) * f - (f64::from(k) * f).round()).abs() < 0.1);
        let rival = (1..=8).find(|&k| whole(k)).map_or(f64::INFINITY, |k| f64::from(k) * height);
        let rival = if height > 0.0 { rival } else { f64::INFINITY };
        let mut pairs = Vec::new();
        for n in 0..=most {
            let nh = f64::from(n) * height;
            // A tilted layer's points are moved along the tilt.
            let slant = (1.0 + w[0] * w[0] + w[1] * w[1]).sqrt();
            let shift = w.map(|w| nh * w / slant);
            for h in -bounds[0]..=bounds[0] {
                for k in -bounds[1]..=bounds[1] {
                    if n == 0 && [h, k] <= [0, 0] {
                        continue;
                    }
                    let f = [f64::from(h) + f64::from(n) * offset[0], f64::from(k) + f64::from(n) * offset[1]];
                    let q: [f64; 2] =
                        [0, 1].map(|i| (f[0] * self.net.a[i] + f[1] * self.net.b[i]) * self.pixel + shift[i]);
                    let q2 = q[0] * q[0] + q[1] * q[1];
                    if q2 > limit * limit || q2 < 1e-12 {
                        continue;
                    }
                    if tilt.is_some() {
                        let s = [1.0, -1.0].map(|x| excitation_error(w, q.map(|q| x * q), lambda, x * nh));
                        let near = s[0].abs().min(s[1].abs()) <= reach;
                        let own = |s: f64| 3.0 * s.abs() < (s - rival).abs().min((s + rival).abs());
                        if !(near && own(s[0]) && own(s[1])) {
                            continue;
                        }
                    }
                    let at = |x: f64| [0, 1].map(|i| self.net.origin[i] + x * q[i] / self.pixel);
                    if let (Some(plus), Some(minus)) = (counter.count(at(1.0)), counter.count(at(-1.0))) {
                        let (counts, background) = ([plus[0], minus[0]], [plus[1], minus[1]]);
                        pairs.push(FriedelPair { q, height: nh, counts, background });
                    }
                }
            }
        }
        pairs
    }
}
