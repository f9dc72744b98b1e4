//! The lattice of a drifting crystal, and the track modulo its translations.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::components::{Components, Fit, SearchGrid};
use crate::hrtem::origin_map::OriginMap;
use crate::hrtem::plane_lattice::{PlaneLattice, PlaneLatticeParams};
use crate::hrtem::smooth_track::{SmoothTrack, best_candidates};
use crate::observe::{Observer, Step, Stop};
use crate::par::Par;
use crate::real::cis;

type C = Complex<f32>;

/// Neighbours on either side from which a spectrum is interpolated.
const NEIGHBOURS: isize = 6;
/// Share of the reflections' power that one lattice has to explain.
const EXPLAINED: f64 = 0.7;
/// Maxima that are this many nats below the highest are no candidates.
const DEPTH: f64 = 20.0;
/// Most candidates of a frame: the nearest to where it was.
const CANDIDATES: usize = 96;

/// The translations of the crystal in pixels, from the reflections of the aligned sum's half spectrum `total`:
/// `peaks` are signed indices, noise and |T|²/n s².
///
/// A reflection lies where |T(k)| is largest between the coefficients too,
///
/// ```text
/// T(k + q) = Σ_j T(k + j) e^{iπ(j − q)(N − 1)/N} sin π(j − q)/(N sin(π(j − q)/N))      along each axis
/// ```
///
/// and the axes follow from all of them by least squares: to some thousandths of a step, a small part of a cell over the whole field. `None` where no
/// single lattice explains the most of it.
pub(super) fn find(dims: [usize; 2], total: &[C], peaks: &[([isize; 2], f64, f64)]) -> Option<PlaneLattice> {
    let longest = dims[0].max(dims[1]) as f64;
    let (mut points, mut weights) = (Vec::new(), Vec::new());
    for (k, _, z) in peaks {
        let q = summit(dims, total, *k);
        let at = [0, 1].map(|a| (k[a] as f64 + q[a]) / dims[a] as f64 * longest);
        points.extend([at, at.map(|v| -v)]);
        weights.extend([*z; 2]);
    }
    let params = PlaneLatticeParams { origin: Some([0.0; 2]), ..PlaneLatticeParams::default() };
    let mut fit = PlaneLattice::find(&points, &weights, &params).ok()?;
    let indexed: f64 = fit.indices.iter().zip(&weights).filter(|(i, _)| i.is_some()).map(|(_, w)| w).sum();
    if indexed < EXPLAINED * weights.iter().sum::<f64>() {
        return None;
    }
    // Side lobes and noise lie a few steps beside a reflection, near enough to be indexed, and bend the axes.
    for steps in [3.0, 1.0] {
        let near: Vec<usize> = (0..points.len()).filter(|&i| fit.lattice.nearest(points[i]).1 <= steps).collect();
        let pick = near.iter().map(|&i| points[i]).collect::<Vec<_>>();
        let weight = near.iter().map(|&i| weights[i]).collect::<Vec<_>>();
        let Ok(finer) = PlaneLattice::find(&pick, &weight, &params) else { break };
        // Fewer points may have a coarser lattice.
        if (finer.lattice.area() / fit.lattice.area() - 1.0).abs() < 0.05 {
            fit = finer;
        }
    }
    let real = PlaneLattice { origin: [0.0; 2], ..fit.lattice }.reciprocal();
    let real = PlaneLattice { a: real.a.map(|v| v * longest), b: real.b.map(|v| v * longest), ..real }.reduced();
    // Cells of a few pixels, or a few cells in the field, are no lattice to count with.
    let shortest = dims[0].min(dims[1]) as f64;
    let [a, b] = real.lengths();
    (a >= 3.0 && b <= shortest / 4.0).then_some(real)
}

/// Where |T| is largest near the coefficient `k`, as an offset of at most one step.
fn summit(dims: [usize; 2], total: &[C], k: [isize; 2]) -> [f64; 2] {
    let half = dims[1] / 2 + 1;
    let at = |y: isize, x: isize| -> Complex<f64> {
        let row = |y: isize| y.rem_euclid(dims[0] as isize) as usize;
        let x = if x.unsigned_abs() >= half { x - x.signum() * dims[1] as isize } else { x };
        let z =
            if x >= 0 { total[row(y) * half + x as usize] } else { total[row(-y) * half + x.unsigned_abs()].conj() };
        Complex::new(f64::from(z.re), f64::from(z.im))
    };
    let side = (2 * NEIGHBOURS + 1) as usize;
    let patch: Vec<Complex<f64>> = (0..(side * side) as isize)
        .map(|i| at(k[0] + i / side as isize - NEIGHBOURS, k[1] + i % side as isize - NEIGHBOURS))
        .collect();
    let kernel = |q: f64, n: usize| -> Vec<Complex<f64>> {
        let (n, pi) = (n as f64, std::f64::consts::PI);
        let one = |j: isize| {
            let t = j as f64 - q;
            let s = if t.abs() < 1e-9 { 1.0 } else { (pi * t).sin() / (n * (pi * t / n).sin()) };
            cis(pi * t * (n - 1.0) / n) * s
        };
        (-NEIGHBOURS..=NEIGHBOURS).map(one).collect()
    };
    let power = |q: [f64; 2]| -> f64 {
        let (y, x) = (kernel(q[0], dims[0]), kernel(q[1], dims[1]));
        let row = |r: &[Complex<f64>]| r.iter().zip(&x).map(|(z, x)| z * x).sum::<Complex<f64>>();
        patch.chunks(side).zip(&y).map(|(r, y)| row(r) * y).sum::<Complex<f64>>().norm_sqr()
    };
    // A search on ever finer steps, from the neighbourhood of the coefficient.
    let (mut q, mut best) = ([0.0; 2], power([0.0; 2]));
    for step in [0.5, 0.25, 0.12, 0.06, 0.03, 0.015] {
        for _ in 0..3 {
            let from = q;
            for (dy, dx) in (-1..=1).flat_map(|y| (-1..=1).map(move |x| (f64::from(y), f64::from(x)))) {
                let to = [from[0] + step * dy, from[1] + step * dx].map(|v| v.clamp(-1.0, 1.0));
                let p = power(to);
                if p > best {
                    (best, q) = (p, to);
                }
            }
            if q == from {
                break;
            }
        }
    }
    q
}

/// The track of coefficients that all repeat with the lattice: each frame against the mean of all others, the best path over all, until nothing changes. Which of
/// the translations a frame takes is left to the prior.
///
/// x of each reflection is that of the aligned sum, (|T|²/n − 1)/n: n times less uncertain than that of the frames' moduli.
pub(super) fn follow(
    c: &mut Components,
    index: &[[i32; 2]],
    lattice: &PlaneLattice,
    mut track: Vec<[f64; 2]>,
    grid: SearchGrid,
    prior: &SmoothTrack,
    iterations: usize,
    par: &Par,
    observe: Observer<'_>,
) -> Result<Fit, Error> {
    let n = track.len();
    let reach = (grid.side / 2) as f64 * grid.spacing;
    let order = index.iter().flatten().map(|v| v.unsigned_abs() as usize).max().unwrap_or(1);
    // Fails here or never.
    OriginMap::new(2 * order)?;
    let (mut done, mut stop) = (0, Stop::Iterations);
    for i in 0..iterations {
        coherent_power(c, &track);
        let total = c.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
        let candidates = par.map(n, |f| {
            let others: Vec<_> = total.iter().enumerate().map(|(j, t)| t - c.still(f, track[f], j)).collect();
            let w = c.weights(f, &others, (n - 1) as f64);
            let Ok(mut map) = OriginMap::new(2 * order) else { return Vec::new() };
            for (h, w) in index.iter().zip(&w) {
                map.add(*h, Complex::new(f64::from(w.re), f64::from(w.im)));
            }
            let maxima = map.maxima(6);
            let highest = maxima.first().map_or(0.0, |m| m.1);
            let mut all = Vec::new();
            for (x, height) in maxima.into_iter().filter(|m| m.1 > highest - DEPTH) {
                images(lattice, x, track[f], reach, |d| all.push((d, height)));
            }
            let far = |d: &[f64; 2]| (d[0] - track[f][0]).hypot(d[1] - track[f][1]);
            all.sort_by(|a, b| far(&a.0).total_cmp(&far(&b.0)));
            all.truncate(CANDIDATES);
            if all.is_empty() {
                all.push((track[f], 0.0));
            }
            all
        });
        let path = best_candidates(&candidates, prior);
        let next: Vec<[f64; 2]> = path.iter().zip(&candidates).map(|(&i, c)| c[i].0).collect();
        let change = next.iter().zip(&track).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).fold(0.0, f64::max);
        track = next;
        done = i + 1;
        if change < 2e-3 {
            stop = Stop::Converged;
            break;
        }
        if observe(&Step::new(done, iterations, change)).is_break() {
            stop = Stop::Cancelled;
            break;
        }
    }
    coherent_power(c, &track);
    let evidence = c.evidence(&track);
    Ok(Fit { track, evidence, iterations: done, stop })
}

/// x from the aligned sum.
pub(super) fn coherent_power(c: &mut Components, track: &[[f64; 2]]) {
    let n = track.len() as f64;
    let total = c.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
    c.x = total.iter().map(|t| ((t.norm_sqr() / n - 1.0) / n).max(1e-6)).collect();
}

/// All points that are equal to `x` (fractions of the axes) within ± `reach` along both axes, and the one nearest to `near`.
fn images(lattice: &PlaneLattice, x: [f64; 2], near: [f64; 2], reach: f64, mut put: impl FnMut([f64; 2])) {
    let at = |i: f64, j: f64| lattice.at([x[0] + i, x[1] + j]);
    let middle = lattice.fraction(near);
    let nearest = at((middle[0] - x[0]).round(), (middle[1] - x[1]).round());
    let dual = lattice.reciprocal();
    let most = [dual.a, dual.b].map(|d| ((d[0].abs() + d[1].abs()) * reach).ceil().min(200.0) as i32 + 1);
    let mut found = false;
    for i in -most[0]..=most[0] {
        for j in -most[1]..=most[1] {
            let d = at(f64::from(i), f64::from(j));
            if d[0].abs().max(d[1].abs()) <= reach {
                found |= d == nearest;
                put(d);
            }
        }
    }
    if !found {
        put(nearest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::RealFft2;
    use crate::observe::silent;
    use crate::rng;

    fn lattice() -> PlaneLattice {
        PlaneLattice { origin: [0.0; 2], a: [-1.6, 15.2], b: [20.3, 2.1] }
    }

    #[test]
    fn a_lattice_between_the_coefficients_is_found_to_a_hundredth_of_a_pixel_over_the_field() {
        let dims = [120, 160];
        let dual = lattice().reciprocal();
        let waves = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0], [1.0, 3.0], [0.0, 4.0]];
        let mut image: Vec<f32> = (0..dims[0] * dims[1])
            .map(|i| {
                let r = [(i / dims[1]) as f64, (i % dims[1]) as f64];
                let one = |(n, h): (usize, &[f64; 2])| {
                    let g = dual.at(*h);
                    (std::f64::consts::TAU * (g[0] * r[0] + g[1] * r[1]) + n as f64).cos()
                };
                waves.iter().enumerate().map(one).sum::<f64>() as f32
            })
            .collect();
        let fft = RealFft2::<f32>::new(dims).unwrap();
        let mut spectrum = vec![C::default(); dims[0] * (dims[1] / 2 + 1)];
        fft.forward(&mut image, &mut spectrum, &mut vec![C::default(); fft.scratch_len()]);
        let peaks: Vec<([isize; 2], f64, f64)> = waves
            .iter()
            .map(|h| {
                let g = dual.at(*h);
                let g = if g[1] < 0.0 { g.map(|v| -v) } else { g };
                ([0, 1].map(|a| (g[a] * dims[a] as f64).round() as isize), 1.0, 100.0)
            })
            .collect();
        let found = find(dims, &spectrum, &peaks).unwrap();
        // Eight cells from one end to the other; side lobes of the other waves move a peak by about a hundredth of a step.
        for (x, y) in [(found.a, lattice().a), (found.b, lattice().b)] {
            let error = (x[0] - y[0]).hypot(x[1] - y[1]).min((x[0] + y[0]).hypot(x[1] + y[1]));
            assert!(error < 0.02, "{found:?}");
        }
        // Two peaks that no lattice of this size explains are none.
        assert!(find(dims, &spectrum, &peaks[..1]).is_none());
    }

    /// Twenty frames to either side of the middle: nothing but the prior tells lattice vectors apart, and a smooth track stays smooth.
    #[test]
    fn a_smooth_track_takes_no_lattice_vector() {
        let (dual, n) = (lattice().reciprocal(), 40);
        let index: Vec<[i32; 2]> = (0..4).flat_map(|h| (-3..4).map(move |k| [h, k])).filter(|i| *i > [0, 0]).collect();
        let k: Vec<[f64; 2]> = index.iter().map(|h| dual.at(h.map(f64::from))).collect();
        let mut r = rng::stream(4, 0);
        let mut z = || {
            let (a, b) = rng::normal_pair(&mut r);
            Complex::new(a, b) * std::f64::consts::FRAC_1_SQRT_2
        };
        let pattern: Vec<Complex<f64>> = k.iter().map(|_| z() * 2.0).collect();
        let truth: Vec<[f64; 2]> = (0..n).map(|f| [0.8 * f64::from(f), 0.5 * f64::from(f)]).collect();
        let frame = |d: &[f64; 2]| {
            let one = |(k, p): (&[f64; 2], &Complex<f64>)| {
                let y = p * cis(-std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1])) + z();
                C::new(y.re as f32, y.im as f32)
            };
            k.iter().zip(&pattern).map(one).collect()
        };
        let y: Vec<Vec<C>> = truth.iter().map(frame).collect();
        let mut c = Components::new(k, y);
        let grid = SearchGrid::new(40.0, 0.2);
        // Begins with every other run of frames a lattice vector off.
        let start: Vec<[f64; 2]> = truth
            .iter()
            .enumerate()
            .map(|(f, d)| if f / 10 % 2 == 0 { *d } else { [d[0] + 20.3, d[1] + 2.1] })
            .collect();
        let prior = SmoothTrack::default();
        let fit = follow(&mut c, &index, &lattice(), start, grid, &prior, 10, &Par::seq(), &mut silent).unwrap();
        let first = [fit.track[0][0] - truth[0][0], fit.track[0][1] - truth[0][1]];
        for (d, t) in fit.track.iter().zip(&truth) {
            let e = (d[0] - t[0] - first[0]).hypot(d[1] - t[1] - first[1]);
            assert!(e < 2.0, "{e}");
        }
    }
}
