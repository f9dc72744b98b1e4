//! From spots to an indexed pattern: the lattice, the direct beam among its points, the electrons of each reflection.

use crate::error::Error;
use crate::hrtem::plane_lattice::{PlaneLattice, PlaneLatticeParams};
use crate::hrtem::reflections::{SpotParams, Spots, find_spots};
use crate::tensor::Tensor;

/// How a pattern is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IndexParams {
    /// How spots are found.
    pub spots: SpotParams,
    /// How the lattice is found; its origin is not used.
    pub lattice: PlaneLatticeParams,
    /// About where the direct beam is, `[y, x]` in pixels, to the nearest lattice point. Without it the beam
    /// is the spot that
    /// outshines all others, or the lattice point about which the background is round.
    pub centre: Option<[f64; 2]>,
}

/// An indexed pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedPattern {
    /// The spots and what they stand on.
    pub spots: Spots,
    /// The lattice, its origin the direct beam; in pixels.
    pub lattice: PlaneLattice,
    /// Root mean square distance between the spots with indices and their lattice points, in pixels.
    pub rms: f64,
    /// The indices of every spot from the direct beam, none for those beside the lattice.
    pub indices: Vec<Option<[i32; 2]>>,
}

impl IndexedPattern {
    /// The share of the spots that have indices.
    pub fn indexed(&self) -> f64 {
        self.indices.iter().flatten().count() as f64 / self.indices.len().max(1) as f64
    }

    /// Where the direct beam is, `[y, x]` in pixels.
    pub fn centre(&self) -> [f64; 2] {
        self.lattice.origin
    }
}

/// Finds spots, their lattice and the direct beam.
///
/// The direct beam is a lattice point. Where it is not recorded, it is the point c, one that cannot be used if
/// there is any (beam stop, saturation), that
/// makes the background rounder than any other:
/// with n_j the electrons of blocks of quiet pixels and m(|r_j − c|) their mean by distance, the one of the
/// largest Poisson likelihood
/// `Σ n_j ln m(|r_j − c|)`.
///
/// # Shapes
/// `pattern` and `mask` (true where usable) are `[y, x]`.
///
/// # Errors
/// As [`find_spots`] and [`PlaneLattice::find`].
pub fn index_pattern(
    pattern: &Tensor<f64>,
    mask: Option<&Tensor<bool>>,
    params: &IndexParams,
) -> Result<IndexedPattern, Error> {
    if params.centre.is_some_and(|c| !c.iter().all(|c| c.abs() < 1e6)) {
        return Err(Error::param("centre", format!("{:?}", params.centre), "a place in pixels"));
    }
    let spots = find_spots(pattern, mask, &params.spots)?;
    let points: Vec<[f64; 2]> = spots.spots.iter().map(|s| s.position).collect();
    // A spot's place is no better than a twentieth of its width: shapes differ.
    let floor = 0.05 * spots.spot;
    let weights: Vec<f64> = spots.spots.iter().map(|s| 1.0 / (s.sigma * s.sigma + floor * floor)).collect();
    let fit = PlaneLattice::find(&points, &weights, &PlaneLatticeParams { origin: None, ..params.lattice })?;
    let centre = direct_beam(&spots, &fit.lattice, params);
    let (zero, _) = fit.lattice.nearest(centre);
    let origin = fit.lattice.at(zero.map(f64::from));
    let indices = fit.indices.iter().map(|i| i.map(|[h, k]| [h - zero[0], k - zero[1]])).collect();
    Ok(IndexedPattern { lattice: PlaneLattice { origin, ..fit.lattice }, spots, rms: fit.rms, indices })
}

/// About where the direct beam is: where it is said to be, or a covered place or a spot that outshines all others, or any,
/// about which the background is round.
pub(crate) fn direct_beam(spots: &Spots, lattice: &PlaneLattice, params: &IndexParams) -> [f64; 2] {
    let beams = beam_candidates(spots, lattice, params);
    beams.first().map_or(lattice.origin, |b| b.position)
}

/// Where the direct beam may be, best first: where it is said to be, else points of the lattice by the roundness of the
/// background. Points that are covered, and the spot that outshines all others, come before all others: a single bright
/// reflection is no direct beam if the background is round about another point.
pub(crate) fn beam_candidates(spots: &Spots, lattice: &PlaneLattice, params: &IndexParams) -> Vec<BeamCandidate> {
    match params.centre {
        Some(position) => vec![BeamCandidate { position, log_likelihood: 0.0 }],
        None => round_background(spots, lattice, spots.spot),
    }
}

/// A point of the lattice that may be the direct beam.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BeamCandidate {
    /// `[y, x]` in pixels.
    pub position: [f64; 2],
    /// Of the background about it, by its likeliest profile; against the best.
    pub log_likelihood: f64,
}

/// A spot five times as bright as the next and with a fifth of all that the spots hold.
fn outstanding(spots: &Spots) -> Option<[f64; 2]> {
    let mut bright: Vec<&_> = spots.spots.iter().collect();
    bright.sort_by(|a, b| b.electrons.total_cmp(&a.electrons));
    let total: f64 = bright.iter().map(|s| s.electrons).sum();
    let first = bright.first()?;
    let next = bright.get(1).map_or(0.0, |s| s.electrons);
    (first.electrons > 5.0 * next && first.electrons > 0.2 * total).then_some(first.position)
}

/// The lattice points about which the background depends on the distance alone, as far as counting allows.
fn round_background(spots: &Spots, lattice: &PlaneLattice, width: f64) -> Vec<BeamCandidate> {
    const BLOCK: usize = 4;
    const RING: f64 = 3.0;
    let &[ny, nx] = spots.electrons.dims() else { return Vec::new() };
    // Quiet pixels: away from the spots.
    let mut quiet = spots.usable.as_slice().to_vec();
    let reach = 0.4 * lattice.lengths()[0];
    clear_lattice(&mut quiet, [ny, nx], lattice, reach);
    // The brighter a spot, the wider its skirt: to where 0.03 electrons a pixel are left.
    for s in &spots.spots {
        let skirt = width * (2.0 * (s.electrons / (0.2 * width * width)).max(1.0).ln()).sqrt();
        clear(&mut quiet, [ny, nx], s.position, reach.max(skirt));
    }
    let mut blocks: Vec<([f64; 2], f64, f64)> = Vec::new();
    for y in (0..ny).step_by(BLOCK) {
        for x in (0..nx).step_by(BLOCK) {
            let (mut n, mut area) = (0.0, 0.0);
            for v in y..(y + BLOCK).min(ny) {
                for u in x..(x + BLOCK).min(nx) {
                    if quiet[v * nx + u] {
                        n += spots.electrons.as_slice()[v * nx + u];
                        area += 1.0;
                    }
                }
            }
            if area > 0.0 {
                let half = 0.5 * (BLOCK as f64 - 1.0);
                blocks.push(([y as f64 + half, x as f64 + half], n, area));
            }
        }
    }

    // The brightest of the smooth background, beam stops included: candidates are the points around.
    let b = spots.background.as_slice();
    let top = (0..ny * nx).max_by(|&i, &j| b[i].total_cmp(&b[j])).unwrap_or(0);
    let top = [(top / nx) as f64, (top % nx) as f64];
    let bins = ((ny.max(nx) as f64 * 1.5) / RING) as usize + 2;
    let limit = 0.25 * ny.min(nx) as f64;
    let likelihood = |c: [f64; 2], blocks: &[([f64; 2], f64, f64)]| {
        let mut sums = vec![[0.0; 2]; bins];
        for (p, n, area) in blocks {
            let bin = ((p[0] - c[0]).hypot(p[1] - c[1]) / RING) as usize;
            if bin < bins {
                sums[bin] = [sums[bin][0] + n, sums[bin][1] + area];
            }
        }
        sums.iter().filter(|s| s[0] > 0.0).map(|s| s[0] * (s[0] / s[1]).ln()).sum::<f64>()
    };
    // All centres see the same blocks: those around the brightest place.
    let near = |p: &[f64; 2]| (p[0] - top[0]).hypot(p[1] - top[1]) < 2.0 * limit;
    blocks.retain(|b| near(&b.0));
    let (middle, _) = lattice.nearest(top);
    let steps = (limit / lattice.lengths()[0].max(1.0)).ceil().min(40.0) as i32;
    // A direct beam that nobody sees is covered or saturated: such points first, any point where there are none.
    let bright = outstanding(spots).map(|b| lattice.nearest(b).0);
    let covered = |c: [f64; 2]| !spots.usable.as_slice()[c[0] as usize * nx + c[1] as usize];
    let mut found: Vec<(bool, BeamCandidate)> = Vec::new();
    for i in -steps..=steps {
        for j in -steps..=steps {
            let index = [middle[0] + i, middle[1] + j];
            let position = lattice.at(index.map(f64::from));
            let c = position.map(f64::round);
            let inside = c[0] >= 0.0 && c[1] >= 0.0 && c[0] < ny as f64 && c[1] < nx as f64;
            let hidden = inside && (bright == Some(index) || covered(c));
            let wanted = hidden || !found.iter().any(|f| f.0);
            if inside && (c[0] - top[0]).hypot(c[1] - top[1]) <= limit && wanted {
                found.push((hidden, BeamCandidate { position, log_likelihood: likelihood(c, &blocks) }));
            }
        }
    }
    let any = found.iter().any(|f| f.0);
    let mut best: Vec<BeamCandidate> = found.into_iter().filter(|f| f.0 == any).map(|f| f.1).collect();
    best.sort_by(|a, b| b.log_likelihood.total_cmp(&a.log_likelihood));
    let highest = best.first().map_or(0.0, |b| b.log_likelihood);
    best.iter_mut().for_each(|b| b.log_likelihood -= highest);
    if best.is_empty() {
        best.push(BeamCandidate { position: top, log_likelihood: 0.0 });
    }
    best
}

/// Takes a disc of pixels out.
fn clear(quiet: &mut [bool], [ny, nx]: [usize; 2], at: [f64; 2], reach: f64) {
    let low = |c: f64| (c - reach).ceil().max(0.0) as usize;
    let high = |c: f64, n: usize| ((c + reach).floor() + 1.0).clamp(0.0, n as f64) as usize;
    for y in low(at[0])..high(at[0], ny) {
        for x in low(at[1])..high(at[1], nx) {
            if (y as f64 - at[0]).hypot(x as f64 - at[1]) <= reach {
                quiet[y * nx + x] = false;
            }
        }
    }
}

/// Takes a disc about every lattice point out.
fn clear_lattice(quiet: &mut [bool], [ny, nx]: [usize; 2], lattice: &PlaneLattice, reach: f64) {
    let r = lattice.reciprocal();
    // Every lattice point that can be inside, seen from the middle of the picture.
    let middle = lattice.nearest([0.5 * ny as f64, 0.5 * nx as f64]).0;
    let half = 0.5 * (ny as f64).hypot(nx as f64) + lattice.lengths()[1];
    let most = [r.a, r.b].map(|v| (v[0].hypot(v[1]) * half).ceil().min(2000.0) as i32 + 1);
    for h in -most[0]..=most[0] {
        for k in -most[1]..=most[1] {
            let p = lattice.at([f64::from(middle[0] + h), f64::from(middle[1] + k)]);
            let inside = p[0] > -reach && p[1] > -reach && p[0] < ny as f64 + reach && p[1] < nx as f64 + reach;
            if inside {
                clear(quiet, [ny, nx], p, reach);
            }
        }
    }
}

/// Counts electrons in discs, and what the background gives to them.
///
/// The background is the mean by distance from the direct beam of all pixels away from lattice points, times the
/// local departure from it:
/// (n + 50)/(m + 50) with n electrons around the disc where the mean predicts m.
#[derive(Clone, Debug)]
pub(crate) struct DiscCounter<'a> {
    spots: &'a Spots,
    centre: [f64; 2],
    quiet: Vec<bool>,
    profile: Vec<f64>,
    radius: f64,
    around: f64,
}

/// Electrons around a disc that weigh as much as the mean by distance.
const SHRINK: f64 = 50.0;

impl<'a> DiscCounter<'a> {
    /// A counter of discs of `radius` pixels about points of a lattice whose origin is the direct beam.
    pub fn new(spots: &'a Spots, lattice: &PlaneLattice, spot: f64, radius: f64) -> Self {
        let &[ny, nx] = spots.electrons.dims() else { unreachable!("a pattern has two axes") };
        let centre = lattice.origin;
        let mut quiet = spots.usable.as_slice().to_vec();
        let clearing = (3.0 * spot).min(0.45 * lattice.lengths()[0]);
        let diagonal = (ny as f64).hypot(nx as f64);
        clear_lattice(&mut quiet, [ny, nx], lattice, clearing);
        for s in &spots.spots {
            clear(&mut quiet, [ny, nx], s.position, clearing);
        }

        // Mean by distance in bins of a pixel, smoothed over three, gaps closed by their neighbours.
        let bins = diagonal.ceil() as usize + 2;
        let mut sums = vec![[0.0; 2]; bins];
        for y in 0..ny {
            for x in 0..nx {
                if quiet[y * nx + x] {
                    let bin = ((y as f64 - centre[0]).hypot(x as f64 - centre[1]) + 0.5) as usize;
                    if bin < bins {
                        sums[bin][0] += spots.electrons.as_slice()[y * nx + x];
                        sums[bin][1] += 1.0;
                    }
                }
            }
        }
        let smooth = |i: usize| {
            for reach in [2usize, 4, 8, 16, 32, 64, 4096] {
                let (mut n, mut a) = (0.0, 0.0);
                for j in i.saturating_sub(reach)..(i + reach + 1).min(bins) {
                    let w = 1.0 - (i.abs_diff(j) as f64) / (reach as f64 + 1.0);
                    (n, a) = (n + w * sums[j][0], a + w * sums[j][1]);
                }
                // Enough pixels, and enough electrons for a mean to a few per cent.
                if a >= 12.0 && (n >= 100.0 || reach >= 16) {
                    return n / a;
                }
            }
            0.0
        };
        let profile = (0..bins).map(smooth).collect();
        let around = (0.8 * lattice.lengths()[0]).clamp(2.0 * radius, 20.0f64.max(3.0 * radius));
        DiscCounter { spots, centre, quiet, profile, radius, around }
    }

    fn mean(&self, y: f64, x: f64) -> f64 {
        let r = (y - self.centre[0]).hypot(x - self.centre[1]);
        let i = (r as usize).min(self.profile.len() - 2);
        let t = (r - i as f64).min(1.0);
        self.profile[i] * (1.0 - t) + self.profile[i + 1] * t
    }

    /// Electrons and background in the disc about a place; none where a pixel of it cannot be used.
    pub fn count(&self, at: [f64; 2]) -> Option<[f64; 2]> {
        let &[ny, nx] = self.spots.electrons.dims() else { return None };
        let r = self.radius + 0.5;
        let fits = at[0] >= r && at[1] >= r && at[0] <= (ny - 1) as f64 - r && at[1] <= (nx - 1) as f64 - r;
        if !fits {
            return None;
        }
        let (mut n, mut b) = (0.0, 0.0);
        for y in (at[0] - r).ceil() as usize..=(at[0] + r) as usize {
            for x in (at[1] - r).ceil() as usize..=(at[1] + r) as usize {
                let d = (y as f64 - at[0]).hypot(x as f64 - at[1]);
                // Pixels on the rim count in part.
                let share = (self.radius + 0.5 - d).clamp(0.0, 1.0);
                if share > 0.0 {
                    let i = y * nx + x;
                    if !self.spots.usable.as_slice()[i] {
                        return None;
                    }
                    n += share * self.spots.electrons.as_slice()[i];
                    b += share * self.mean(y as f64, x as f64);
                }
            }
        }
        let (mut seen, mut predicted) = (0.0, 0.0);
        let low = |c: f64| (c - self.around).ceil().max(0.0) as usize;
        let high = |c: f64, n: usize| ((c + self.around) as usize + 1).min(n);
        for y in low(at[0])..high(at[0], ny) {
            for x in low(at[1])..high(at[1], nx) {
                let inside = (y as f64 - at[0]).hypot(x as f64 - at[1]) <= self.around;
                if inside && self.quiet[y * nx + x] {
                    seen += self.spots.electrons.as_slice()[y * nx + x];
                    predicted += self.mean(y as f64, x as f64);
                }
            }
        }
        Some([n, b * (seen + SHRINK) / (predicted + SHRINK)])
    }
}
