//! Reflections of several zone axes put together: a common origin and scale, equivalents by the space group.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::image_reflections::PlaneReflections;
use crate::hrtem::origin_map::OriginMap;
use crate::hrtem::potential_3d::{CrystalReflection, CrystalReflections};
use crate::hrtem::space_group::{SpaceGroup, SpaceOperation};
use crate::real::{cis, unit};
use crate::specimen::Cell;
use crate::units::Angle;

const TAU: f64 = std::f64::consts::TAU;
/// hkl of a picture's two reciprocal axes.
type Basis = [[i32; 3]; 2];
/// Rounds of refinement of origins and scales.
const ROUNDS: usize = 4;

/// A zone's reflections, with what their axes can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Reflections of the picture, already corrected for the transfer function.
    pub reflections: PlaneReflections,
    /// hkl of the picture's reciprocal axes: one pair if known, else all of [`crate::hrtem::zone_bases`], to be tried.
    pub bases: Vec<[[i32; 3]; 2]>,
}

/// How zones are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CombineZonesParams {
    /// Error of an amplitude that is no noise, as a share of it; added to σ in squares. It keeps a few strong
    /// reflections from
    /// deciding alone.
    pub systematic: f64,
    /// Origins of the first zone that are tried: its best maxima.
    pub origins: usize,
    /// Reflections whose |F| is below this many σ are left out, unless their equivalents bring the mean over it.
    pub least_signal: f64,
}

/// Systematic errors of 10 %, 12 origins, 2 σ.
impl Default for CombineZonesParams {
    fn default() -> Self {
        CombineZonesParams { systematic: 0.1, origins: 12, least_signal: 2.0 }
    }
}

/// Where a zone was put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedZone {
    /// hkl of its reciprocal axes, of those that were given.
    pub basis: [[i32; 3]; 2],
    /// The crystal's origin, in fractions of the picture's axes from the lattice's origin.
    pub origin: [f64; 2],
    /// Factor on its amplitudes: 1 for the first zone.
    pub scale: f64,
    /// Reflections that another zone has too, by symmetry.
    pub shared: usize,
}

/// A crystal's reflections from its zones.
#[derive(Clone, Debug, PartialEq)]
pub struct CombinedZones {
    /// All of them, equivalents included, on the first zone's scale.
    pub reflections: CrystalReflections,
    /// Where each zone was put.
    pub zones: Vec<PlacedZone>,
    /// Amplitude-weighted mean phase difference of measured reflections from the combined ones.
    pub phase_residual: Angle,
    /// Σ ||F_measured| − |F_combined|| / Σ |F_measured|.
    pub amplitude_residual: f64,
    /// Share of the weighted power that symmetry and the other zones agree with, 0 to 1.
    pub agreement: f64,
    /// `agreement` minus the best with other bases: near 0 where pictures do not tell which turn of them is right.
    pub ambiguity: f64,
}

/// Finds the common origin and scale of several zones, and extends their reflections by the space group.
///
/// A picture gives F₂(h, k) from an unknown origin x₀ and on its own scale s, so that
/// `F(hkl) = s F₂(h, k) e^{−2πi (h, k)·x₀}`. Operations tie reflections within a zone and between zones,
/// `F(h) = e^{2πi h·t} F(hR)`, and a real potential ties F(−h) = F̄(h). All members of an orbit are brought to one
/// representative;
/// the origins are those for which the members agree, i.e. the weighted power of their mean,
///
/// `Q = Σ_orbits |Σ w c|² / Σ w`,
///
/// is largest. In the origin of one zone Q is a trigonometric polynomial, whose maximum one Fourier transform finds.
/// The best origins of the first zone by itself are tried in turn, the other zones follow one by one, and all are
/// refined in
/// rounds, with the scales, by least squares on shared reflections. The zone with the most symmetry should be the
/// first.
///
/// A crystal without a centre of symmetry is told from its inverse only by the bases: which way its pictures are
/// turned. Where
/// several bases are given the one with the largest Q is taken, and `ambiguity` says by how much.
///
/// # Errors
/// [`Error::Param`] for no zones or more than eight, a group that the cell has not, parameters out of range;
/// [`Error::Data`] for
/// reflections that are not finite or zones without bases, or that share no reflection with those before them.
///
/// # References
/// D. L. Dorset, *Structural Electron Crystallography* (1995), chapter 4; S. Hovmöller, X. Zou and T. E. Weirich,
/// *Adv. Imaging
/// Electron Phys.* 123, 257 (2002): merging of projections into three dimensions.
pub fn combine_zones(
    cell: &Cell,
    group: &SpaceGroup,
    zones: &[Zone],
    params: &CombineZonesParams,
) -> Result<CombinedZones, Error> {
    check(cell, group, zones, params)?;
    let operations = group.rotations();
    // Every choice of bases, counted through.
    let choices: usize = zones.iter().map(|z| z.bases.len()).product();
    if choices > 1000 {
        return Err(Error::param("bases", choices, "at most 1000 combinations"));
    }
    let mut best: Option<(f64, Vec<Basis>, Solution)> = None;
    let mut second = 0.0;
    for choice in 0..choices {
        let mut rest = choice;
        let bases: Vec<Basis> = zones
            .iter()
            .map(|z| {
                let b = z.bases[rest % z.bases.len()];
                rest /= z.bases.len();
                b
            })
            .collect();
        let mut solver = Solver::new(zones, &bases, group, &operations, params)?;
        let solution = solver.solve(params)?;
        match &best {
            Some((q, ..)) if *q >= solution.agreement => second = f64::max(second, solution.agreement),
            _ => {
                second = best.as_ref().map_or(0.0, |b| f64::max(second, b.0));
                best = Some((solution.agreement, bases, solution));
            }
        }
    }
    let Some((agreement, bases, solution)) = best else {
        return Err(Error::Data { what: "zones that agree nowhere".into(), index: 0 });
    };
    let ambiguity = if choices > 1 { agreement - second } else { agreement };
    let solver = Solver::new(zones, &bases, group, &operations, params)?;
    let mut out = solver.finish(cell, &operations, &solution, params);
    (out.agreement, out.ambiguity) = (agreement, ambiguity);
    for (z, basis) in out.zones.iter_mut().zip(bases) {
        z.basis = basis;
    }
    Ok(out)
}

fn check(cell: &Cell, group: &SpaceGroup, zones: &[Zone], params: &CombineZonesParams) -> Result<(), Error> {
    cell.check()?;
    if zones.is_empty() || zones.len() > 8 {
        return Err(Error::param("zones", zones.len(), "1 to 8"));
    }
    if !group.keeps(cell, 1e-3) {
        return Err(Error::param("group", format!("{} operations", group.order()), "a group of this cell"));
    }
    let share = (0.0..=1.0).contains(&params.systematic);
    if !share || !(1..=100).contains(&params.origins) || params.least_signal.is_nan() || params.least_signal < 0.0 {
        return Err(Error::param("params", format!("{params:?}"), "systematic 0 to 1, origins 1 to 100, signal ≥ 0"));
    }
    for (index, z) in zones.iter().enumerate() {
        let bad = |what: String| Err(Error::Data { what, index });
        if z.bases.is_empty() || z.bases.iter().flatten().flatten().any(|i| i.abs() > 50) {
            return bad(format!("zone with bases {:?}", z.bases));
        }
        if z.reflections.list.len() > 5000 {
            return bad(format!("{} reflections: at most 5000", z.reflections.list.len()));
        }
        for r in &z.reflections.list {
            let finite = r.f.re.is_finite() && r.f.im.is_finite() && r.sigma.is_finite() && r.sigma >= 0.0;
            let sized = r.index.iter().all(|i| i.abs() <= 500);
            if !finite || !sized || (r.sigma == 0.0 && params.systematic == 0.0) {
                return bad(format!("reflection {:?}: F = {}, σ = {}", r.index, r.f, r.sigma));
            }
        }
    }
    Ok(())
}

/// A measured reflection, brought to the representative of its orbit: c = s (a F e + b F̄ ē), e = e^{−2πi h·x₀}.
struct Member {
    zone: usize,
    h: [i32; 2],
    f: Complex<f64>,
    variance: f64,
    /// Means of the phase factors of the operations that lead to the representative directly, and by Friedel's law.
    direct: Complex<f64>,
    mate: Complex<f64>,
}

impl Member {
    /// Its terms: coefficient, and frequency in the origin.
    fn terms(&self) -> [(Complex<f64>, [i32; 2]); 2] {
        [(self.direct * self.f, self.h.map(|h| -h)), (self.mate * self.f.conj(), self.h)]
    }

    /// At an origin, without the scale.
    fn value(&self, x: [f64; 2]) -> Complex<f64> {
        let turn = |h: [i32; 2]| cis(TAU * (f64::from(h[0]) * x[0] + f64::from(h[1]) * x[1]));
        self.terms().iter().map(|(c, h)| c * turn(*h)).sum()
    }
}

struct Orbit {
    representative: [i32; 3],
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Solution {
    origins: Vec<[f64; 2]>,
    scales: Vec<f64>,
    agreement: f64,
}

struct Solver {
    zones: usize,
    orbits: Vec<Orbit>,
    map: OriginMap,
}

/// The representative of an orbit, with the mean phase factors that lead to it from h.
fn represent(h: [i32; 3], operations: &[SpaceOperation]) -> ([i32; 3], Complex<f64>, Complex<f64>) {
    let images = operations.iter().flat_map(|o| {
        let g = o.reflection(h);
        [g, g.map(|i| -i)]
    });
    let representative = images.max().unwrap_or(h);
    let (mut direct, mut mate, mut count) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0), 0.0);
    for o in operations {
        let g = o.reflection(h);
        // F(hR) = e^{−2πi h·t} F(h); F(−hR) is its conjugate.
        let phase = cis(-TAU * o.turns(h));
        if g == representative {
            (direct, count) = (direct + phase, count + 1.0);
        }
        if g.map(|i| -i) == representative {
            (mate, count) = (mate + phase.conj(), count + 1.0);
        }
    }
    (representative, direct / count, mate / count)
}

impl Solver {
    fn new(
        zones: &[Zone],
        bases: &[[[i32; 3]; 2]],
        group: &SpaceGroup,
        operations: &[SpaceOperation],
        params: &CombineZonesParams,
    ) -> Result<Self, Error> {
        let mut all: Vec<([i32; 3], Member)> = Vec::new();
        let mut reach = 0;
        for (zone, (z, basis)) in zones.iter().zip(bases).enumerate() {
            for r in &z.reflections.list {
                let hkl = [0, 1, 2].map(|i| r.index[0] * basis[0][i] + r.index[1] * basis[1][i]);
                if !group.allows(hkl) {
                    continue;
                }
                reach = reach.max(r.index[0].abs()).max(r.index[1].abs());
                let (representative, direct, mate) = represent(hkl, operations);
                let variance = r.sigma * r.sigma + params.systematic.powi(2) * r.f.norm_sqr();
                let variance = variance.max(f64::MIN_POSITIVE);
                all.push((representative, Member { zone, h: r.index, f: r.f, variance, direct, mate }));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.zone.cmp(&b.1.zone)).then(a.1.h.cmp(&b.1.h)));
        let mut orbits: Vec<Orbit> = Vec::new();
        for (representative, member) in all {
            match orbits.last_mut() {
                Some(o) if o.representative == representative => o.members.push(member),
                _ => orbits.push(Orbit { representative, members: vec![member] }),
            }
        }
        if orbits.is_empty() {
            return Err(Error::Data { what: "no reflection that the space group allows".into(), index: 0 });
        }
        Ok(Solver { zones: zones.len(), orbits, map: OriginMap::new(2 * reach as usize)? })
    }

    fn solve(&mut self, params: &CombineZonesParams) -> Result<Solution, Error> {
        let start = Solution { origins: vec![[0.0; 2]; self.zones], scales: vec![1.0; self.zones], agreement: 0.0 };
        let mut placed = vec![false; self.zones];
        let firsts = self.places(0, &start, &placed, params.origins);
        let mut best: Option<Solution> = None;
        for (origin, _) in firsts {
            let mut s = start.clone();
            s.origins[0] = origin;
            placed.fill(false);
            placed[0] = true;
            for zone in 1..self.zones {
                s.scales[zone] = self.amplitude_scale(zone, &s, &placed)?;
                s.origins[zone] = self.places(zone, &s, &placed, 1).first().map_or([0.0; 2], |p| p.0);
                placed[zone] = true;
            }
            for _ in 0..if self.zones > 1 { ROUNDS } else { 0 } {
                for zone in 0..self.zones {
                    if zone > 0 {
                        s.scales[zone] = self.scale(zone, &s);
                    }
                    placed.fill(true);
                    placed[zone] = false;
                    s.origins[zone] = self.places(zone, &s, &placed, 1).first().map_or(s.origins[zone], |p| p.0);
                }
            }
            s.agreement = self.agreement(&s);
            // A clear gain only: of equal origins the first is kept.
            if best.as_ref().is_none_or(|b| s.agreement > b.agreement + 1e-9) {
                best = Some(s);
            }
        }
        best.ok_or_else(|| Error::Data { what: "no origin".into(), index: 0 })
    }

    /// The best origins of a zone, the placed ones kept.
    fn places(&mut self, zone: usize, s: &Solution, placed: &[bool], most: usize) -> Vec<([f64; 2], f64)> {
        self.map.clear();
        let scale = s.scales[zone];
        for orbit in &self.orbits {
            let used = orbit.members.iter().filter(|m| m.zone == zone || placed[m.zone]);
            let weights: f64 = used.map(|m| weight(m, s)).sum();
            let others: Complex<f64> = orbit
                .members
                .iter()
                .filter(|m| m.zone != zone && placed[m.zone])
                .map(|m| m.value(s.origins[m.zone]) * (s.scales[m.zone] * weight(m, s)))
                .sum();
            let own: Vec<(Complex<f64>, [i32; 2])> = orbit
                .members
                .iter()
                .filter(|m| m.zone == zone)
                .flat_map(|m| m.terms().map(|(c, h)| (c * (scale * weight(m, s)), h)))
                .filter(|(c, _)| c.norm_sqr() > 0.0)
                .collect();
            for (c, h) in &own {
                self.map.add(*h, others.conj() * c * (2.0 / weights));
                for (d, g) in &own {
                    self.map.add([h[0] - g[0], h[1] - g[1]], d.conj() * c / weights);
                }
            }
        }
        self.map.maxima(most)
    }

    /// Scale of a zone by its amplitudes against those of the placed ones.
    fn amplitude_scale(&self, zone: usize, s: &Solution, placed: &[bool]) -> Result<f64, Error> {
        let (mut up, mut down) = (0.0, 0.0);
        for orbit in &self.orbits {
            let mean = |ours: &dyn Fn(&Member) -> bool| {
                let (mut sum, mut n) = (0.0, 0.0);
                for m in orbit.members.iter().filter(|m| ours(m)) {
                    (sum, n) = (sum + s.scales[m.zone] * m.f.norm(), n + 1.0);
                }
                (n > 0.0).then(|| sum / n)
            };
            let own = mean(&|m: &Member| m.zone == zone);
            if let (Some(a), Some(b)) = (own, mean(&|m: &Member| placed[m.zone] && m.zone != zone)) {
                (up, down) = (up + a / s.scales[zone] * b, down + (a / s.scales[zone]).powi(2));
            }
        }
        if down > 0.0 && up > 0.0 {
            return Ok(up / down);
        }
        Err(Error::Data { what: format!("zone {zone} shares no reflection with those before it"), index: zone })
    }

    /// The same with phases, against all others.
    fn scale(&self, zone: usize, s: &Solution) -> f64 {
        let (mut up, mut down) = (0.0, 0.0);
        for orbit in &self.orbits {
            let mean = |ours: bool| {
                let (mut sum, mut weights) = (Complex::new(0.0, 0.0), 0.0);
                for m in orbit.members.iter().filter(|m| (m.zone == zone) == ours) {
                    let w = weight(m, s);
                    let scale = if ours { 1.0 } else { s.scales[m.zone] };
                    (sum, weights) = (sum + m.value(s.origins[m.zone]) * (w * scale), weights + w);
                }
                (weights > 0.0).then(|| (sum / weights, weights))
            };
            if let (Some((a, wa)), Some((b, wb))) = (mean(true), mean(false)) {
                let w = wa * wb / (wa + wb);
                (up, down) = (up + w * (a.conj() * b).re, down + w * a.norm_sqr());
            }
        }
        if down > 0.0 && up > 0.0 { up / down } else { s.scales[zone] }
    }

    /// Q over the power of all members.
    fn agreement(&self, s: &Solution) -> f64 {
        let (mut q, mut total) = (0.0, 0.0);
        for orbit in &self.orbits {
            let (mut sum, mut weights) = (Complex::new(0.0, 0.0), 0.0);
            for m in &orbit.members {
                let w = weight(m, s);
                sum += m.value(s.origins[m.zone]) * (w * s.scales[m.zone]);
                weights += w;
                total += w * (s.scales[m.zone] * m.f.norm()).powi(2);
            }
            q += sum.norm_sqr() / weights;
        }
        q / total
    }

    fn finish(
        &self,
        cell: &Cell,
        operations: &[SpaceOperation],
        s: &Solution,
        params: &CombineZonesParams,
    ) -> CombinedZones {
        let mut list: Vec<CrystalReflection> = Vec::new();
        let (mut phases, mut amplitudes, mut sum) = (0.0, 0.0, 0.0);
        let mut shared = vec![0; self.zones];
        for orbit in &self.orbits {
            let (mut mean, mut weights) = (Complex::new(0.0, 0.0), 0.0);
            for m in &orbit.members {
                let w = weight(m, s);
                mean += m.value(s.origins[m.zone]) * (w * s.scales[m.zone]);
                weights += w;
            }
            mean /= weights;
            for m in &orbit.members {
                // The measurement at its origin, before the symmetry of its own was imposed.
                let turn = f64::from(m.h[0]) * s.origins[m.zone][0] + f64::from(m.h[1]) * s.origins[m.zone][1];
                let moved = m.f * cis(-TAU * turn) * s.scales[m.zone];
                let seen =
                    if m.direct.norm() >= m.mate.norm() { moved * unit(m.direct) } else { moved.conj() * unit(m.mate) };
                phases += seen.norm() * (seen * mean.conj()).arg().abs();
                amplitudes += (seen.norm() - mean.norm()).abs();
                sum += seen.norm();
                shared[m.zone] += usize::from(orbit.members.iter().any(|n| n.zone != m.zone));
            }
            // σ of the mean, without the systematic part, which equivalents share.
            let noise: f64 = orbit
                .members
                .iter()
                .map(|m| {
                    let own = m.variance - params.systematic.powi(2) * m.f.norm_sqr();
                    (weight(m, s) * s.scales[m.zone]).powi(2) * own.max(0.0)
                })
                .sum();
            let sigma = noise.sqrt() / weights;
            if mean.norm() < params.least_signal * sigma {
                continue;
            }
            for o in operations {
                let g = o.reflection(orbit.representative);
                let f = mean * cis(-TAU * o.turns(orbit.representative));
                let (index, f) = if g > [0; 3] { (g, f) } else { (g.map(|i| -i), f.conj()) };
                list.push(CrystalReflection { index, f, sigma, measured: orbit.members.len() });
            }
        }
        list.sort_by_key(|r| r.index);
        list.dedup_by_key(|r| r.index);
        let zones = (0..self.zones).map(|z| PlacedZone {
            basis: [[0; 3]; 2],
            origin: s.origins[z],
            scale: s.scales[z],
            shared: shared[z],
        });
        let sum = f64::max(sum, f64::MIN_POSITIVE);
        CombinedZones {
            reflections: CrystalReflections { cell: *cell, list },
            zones: zones.collect(),
            phase_residual: Angle::rad(phases / sum),
            amplitude_residual: amplitudes / sum,
            agreement: 0.0,
            ambiguity: 0.0,
        }
    }
}

/// 1/variance on the common scale.
fn weight(m: &Member, s: &Solution) -> f64 {
    1.0 / (m.variance * s.scales[m.zone] * s.scales[m.zone])
}
