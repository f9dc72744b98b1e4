//! Frames as a few hundred Fourier coefficients: their likelihood as a function of drift, and the track that all of them agree on.

use num_complex::Complex;

use crate::hrtem::smooth_track::{SmoothTrack, best_candidates};
use crate::observe::{Observer, Step, Stop};
use crate::par::Par;

type C = Complex<f32>;

/// The kept coefficients of every frame, in units of the noise: y = F/s, E|noise|² = 1.
///
/// The model of a frame is a complex normal pattern S of variance x_k, drifted, with noise:
///
/// ```text
/// y_f(k) = S(k) e^{−2πi k·d_f} + ε
/// S | m aligned frames ~ normal(r̂, v),   r̂ = x T/(1 + m x),  v = x/(1 + m x),   T = Σ_f y_f e^{+2πi k·d_f}
/// ln p(y_f | d) = Σ_k 2 Re( r̂̄ y_f e^{+2πi k·d} )/(1 + v) + const
/// ```
///
/// which holds from the first reference (a single frame) to the last, without a parameter to be tuned.
pub(super) struct Components {
    /// Cycles a pixel.
    pub k: Vec<[f64; 2]>,
    /// `[frame][k]`.
    pub y: Vec<Vec<C>>,
    /// x: power over noise in one frame.
    pub x: Vec<f64>,
    /// The k of each row of equal ky: start in `k`, ky.
    rows: Vec<(usize, f64)>,
}

/// Square grid of drifts about 0 on which the likelihood is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchGrid {
    pub side: usize,
    pub spacing: f64,
}

impl SearchGrid {
    /// Up to `largest` pixels either way; spacing a quarter of the shortest period.
    pub fn new(largest: f64, highest: f64) -> Self {
        let spacing = (0.25 / highest.max(1e-6)).clamp(0.5, 2.0).min(largest).max(largest / 100.0);
        SearchGrid { side: 2 * (largest / spacing).ceil() as usize + 1, spacing }
    }

    pub fn at(&self, i: usize) -> [f64; 2] {
        let h = (self.side / 2) as f64;
        [((i / self.side) as f64 - h) * self.spacing, ((i % self.side) as f64 - h) * self.spacing]
    }
}

/// e^{+2πi k·x} on the grid, for columns and for rows, real and imaginary parts apart.
struct Tables {
    /// `[k][side]`.
    x: [Vec<f32>; 2],
    /// `[row][side]`.
    y: [Vec<f32>; 2],
}

/// What a track is worth.
pub(super) struct Fit {
    pub track: Vec<[f64; 2]>,
    /// Log-evidence that the frames share a pattern, in nats.
    pub evidence: f64,
    pub iterations: usize,
    pub stop: Stop,
}

impl Components {
    /// From coefficients sorted by row (equal ky together).
    pub fn new(k: Vec<[f64; 2]>, y: Vec<Vec<C>>) -> Self {
        let n = y.len() as f64;
        let x = (0..k.len())
            .map(|j| (y.iter().map(|y| f64::from(y[j].norm_sqr())).sum::<f64>() / n - 1.0).max(0.02))
            .collect();
        let mut rows: Vec<(usize, f64)> = Vec::new();
        for (j, k) in k.iter().enumerate() {
            if rows.last().is_none_or(|r| r.1 != k[0]) {
                rows.push((j, k[0]));
            }
        }
        Components { k, y, x, rows }
    }

    fn tables(&self, grid: SearchGrid) -> Tables {
        let table = |k: &mut dyn Iterator<Item = f64>| {
            let mut t = [Vec::new(), Vec::new()];
            for k in k {
                for i in 0..grid.side {
                    let (s, c) = (std::f64::consts::TAU * k * grid.at(i)[1]).sin_cos();
                    t[0].push(c as f32);
                    t[1].push(s as f32);
                }
            }
            t
        };
        Tables { x: table(&mut self.k.iter().map(|k| k[1])), y: table(&mut self.rows.iter().map(|r| r.1)) }
    }

    /// Σ_k Re c_k e^{+2πi k·d} on the grid.
    fn map(&self, c: &[C], grid: SearchGrid, t: &Tables) -> Vec<f32> {
        let g = grid.side;
        let mut map = vec![0.0f32; g * g];
        let (mut re, mut im) = (vec![0.0f32; g], vec![0.0f32; g]);
        for (r, row) in self.rows.iter().enumerate() {
            let end = self.rows.get(r + 1).map_or(self.k.len(), |r| r.0);
            re.fill(0.0);
            im.fill(0.0);
            for j in row.0..end {
                let (tc, ts) = (&t.x[0][j * g..][..g], &t.x[1][j * g..][..g]);
                for i in 0..g {
                    re[i] += c[j].re * tc[i] - c[j].im * ts[i];
                    im[i] += c[j].re * ts[i] + c[j].im * tc[i];
                }
            }
            for (i, out) in map.chunks_mut(g).enumerate() {
                let (yc, ys) = (t.y[0][r * g + i], t.y[1][r * g + i]);
                for x in 0..g {
                    out[x] += re[x] * yc - im[x] * ys;
                }
            }
        }
        map
    }

    /// The same from coefficients alone.
    pub fn map_of(&self, c: &[C], grid: SearchGrid) -> Vec<f32> {
        self.map(c, grid, &self.tables(grid))
    }

    /// Every frame once more to the nearest maximum against all others, at most `reach` pixels away.
    pub fn refine(&self, track: &[[f64; 2]], reach: f64, par: &Par) -> Vec<[f64; 2]> {
        let total = self.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
        par.map(track.len(), |f| {
            let others: Vec<_> = total.iter().enumerate().map(|(j, t)| t - self.still(f, track[f], j)).collect();
            self.climb(&self.weights(f, &others, track.len() as f64 - 1.0), track[f], reach)
        })
    }

    /// y_f e^{+2πi k·d}: a frame with its drift removed.
    pub fn still(&self, f: usize, d: [f64; 2], j: usize) -> Complex<f64> {
        let y = Complex::new(f64::from(self.y[f][j].re), f64::from(self.y[f][j].im));
        y * crate::real::cis(std::f64::consts::TAU * (self.k[j][0] * d[0] + self.k[j][1] * d[1]))
    }

    /// T = Σ_f of the frames that have a place.
    pub fn total(&self, track: &[Option<[f64; 2]>]) -> Vec<Complex<f64>> {
        let mut t = vec![Complex::default(); self.k.len()];
        for (f, d) in track.iter().enumerate() {
            if let Some(d) = d {
                t.iter_mut().enumerate().for_each(|(j, t)| *t += self.still(f, *d, j));
            }
        }
        t
    }

    /// 2 r̂̄ y_f/(1 + v), with `total` over m frames of which f is none.
    pub fn weights(&self, f: usize, total: &[Complex<f64>], m: f64) -> Vec<C> {
        let w = |j: usize| {
            let x = self.x[j];
            let v = x / (1.0 + m * x);
            let c = total[j].conj()
                * (2.0 * v / (1.0 + v))
                * Complex::new(f64::from(self.y[f][j].re), f64::from(self.y[f][j].im));
            Complex::new(c.re as f32, c.im as f32)
        };
        (0..self.k.len()).map(w).collect()
    }

    /// [`climb`] over these coefficients.
    pub fn climb(&self, c: &[C], d: [f64; 2], reach: f64) -> [f64; 2] {
        climb(&self.k, c, d, reach)
    }

    /// The maxima of the likelihood with their heights, from the highest points of its map; at least one.
    ///
    /// On the grid itself a lattice vector that falls between its points would be at a disadvantage of many nats.
    fn candidates(&self, c: &[C], grid: SearchGrid, t: &Tables) -> Vec<([f64; 2], f64)> {
        let map = self.map(c, grid, t);
        let g = grid.side;
        let mut tops: Vec<(f32, usize)> = Vec::new();
        for y in 0..g {
            for x in 0..g {
                let v = map[y * g + x];
                let rows = y.saturating_sub(1)..(y + 2).min(g);
                if rows
                    .into_iter()
                    .all(|r| map[r * g + x.saturating_sub(1)..r * g + (x + 2).min(g)].iter().all(|&o| o <= v))
                {
                    tops.push((v, y * g + x));
                }
            }
        }
        tops.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        tops.truncate(64);
        let mut found: Vec<([f64; 2], f64)> = Vec::with_capacity(tops.len());
        for (_, i) in tops {
            let d = self.climb(c, grid.at(i), 1.5 * grid.spacing);
            let new = found.iter().all(|q| (q.0[0] - d[0]).abs().max((q.0[1] - d[1]).abs()) > 0.3 * grid.spacing);
            if new {
                found.push((d, self.height(c, d)));
            }
        }
        if found.is_empty() {
            found.push(([0.0; 2], 0.0));
        }
        found
    }

    /// Σ_k Re c_k e^{+2πi k·d} at a point.
    fn height(&self, c: &[C], d: [f64; 2]) -> f64 {
        let one = |(k, c): (&[f64; 2], &C)| {
            let (s, o) = (std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1])).sin_cos();
            f64::from(c.re) * o - f64::from(c.im) * s
        };
        self.k.iter().zip(c).map(one).sum()
    }

    /// Aligns all frames to the frame `start`, outwards, each to the mean of those before it, then each to the mean of all others until nothing changes.
    pub fn align(
        &self,
        start: usize,
        grid: SearchGrid,
        prior: &SmoothTrack,
        iterations: usize,
        par: &Par,
        observe: Observer<'_>,
    ) -> Fit {
        let n = self.y.len();
        let t = self.tables(grid);
        let mut track: Vec<Option<[f64; 2]>> = vec![None; n];
        track[start] = Some([0.0; 2]);
        let mut total = self.total(&track);
        let mut order: Vec<usize> = (0..n).filter(|&f| f != start).collect();
        order.sort_by_key(|&f| (f.abs_diff(start), f));
        for (m, &f) in order.iter().enumerate() {
            let neighbour = if f > start { f - 1 } else { f + 1 };
            let before = track[neighbour].unwrap_or([0.0; 2]);
            let c = self.weights(f, &total, (m + 1) as f64);
            let value = |c: &([f64; 2], f64)| c.1 - prior.cost(before, c.0);
            let d = self
                .candidates(&c, grid, &t)
                .into_iter()
                .reduce(|a, b| if value(&b) > value(&a) { b } else { a })
                .map_or(before, |c| c.0);
            track[f] = Some(d);
            total.iter_mut().enumerate().for_each(|(j, t)| *t += self.still(f, d, j));
        }
        let track = track.into_iter().map(Option::unwrap_or_default).collect();
        self.improve(track, grid, prior, iterations, par, observe)
    }

    /// Each frame to the mean of all others, the best path over all frames, until nothing changes.
    pub fn improve(
        &self,
        mut track: Vec<[f64; 2]>,
        grid: SearchGrid,
        prior: &SmoothTrack,
        iterations: usize,
        par: &Par,
        observe: Observer<'_>,
    ) -> Fit {
        let n = self.y.len();
        let t = self.tables(grid);
        let (mut done, mut stop) = (0, Stop::Iterations);
        for i in 0..iterations {
            let total = self.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
            let weights = |f: usize| -> Vec<C> {
                let others: Vec<_> = total.iter().enumerate().map(|(j, t)| t - self.still(f, track[f], j)).collect();
                self.weights(f, &others, (n - 1) as f64)
            };
            let candidates = par.map(n, |f| self.candidates(&weights(f), grid, &t));
            let path = best_candidates(&candidates, prior);
            let next: Vec<[f64; 2]> = path.iter().zip(&candidates).map(|(&i, c)| c[i].0).collect();
            let change = next.iter().zip(&track).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).fold(0.0, f64::max);
            track = next;
            done = i + 1;
            if change < 0.01 {
                stop = Stop::Converged;
                break;
            }
            if observe(&Step::new(done, iterations, change)).is_break() {
                stop = Stop::Cancelled;
                break;
            }
        }
        let evidence = self.evidence(&track);
        Fit { track, evidence, iterations: done, stop }
    }

    /// ln p(all frames | track) − ln p(all frames unrelated), up to a constant:
    /// Σ_k |T|² x/(1 + n x) − ln(1 + n x).
    pub fn evidence(&self, track: &[[f64; 2]]) -> f64 {
        let n = track.len() as f64;
        let total = self.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
        let term = |(t, x): (&Complex<f64>, &f64)| t.norm_sqr() * x / (1.0 + n * x) - (1.0 + n * x).ln();
        total.iter().zip(&self.x).map(term).sum()
    }

    /// Of each frame: the probability that it is aligned (against a frame that holds the same power but no common pattern, which finds its best of all places in
    /// the grid by chance), and the standard deviation of the drift, √(tr J⁻¹/2), J = Σ_k 2 (2π)² k kᵀ |r̂|²/(1 + v).
    pub fn quality(&self, track: &[[f64; 2]], grid: SearchGrid) -> Vec<(f64, f64)> {
        let n = track.len();
        let m = (n - 1) as f64;
        let total = self.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
        let highest = self.k.iter().map(|k| k[0].hypot(k[1])).fold(0.0, f64::max);
        // Places that differ by half the shortest period are independent.
        let places = (grid.side as f64 * grid.spacing * 2.0 * highest).powi(2).max(2.0);
        let one = |f: usize| {
            let (mut ratio, mut h) = (0.0, [0.0; 3]);
            for j in 0..self.k.len() {
                let own = self.still(f, track[f], j);
                let x = self.x[j];
                let v = x / (1.0 + m * x);
                let r = (total[j] - own) * v;
                ratio += own.norm_sqr() / (1.0 + x) - (own - r).norm_sqr() / (1.0 + v) + ((1.0 + x) / (1.0 + v)).ln();
                let w = 2.0 * r.norm_sqr() / (1.0 + v) * std::f64::consts::TAU.powi(2);
                let k = self.k[j];
                h = [h[0] + w * k[0] * k[0], h[1] + w * k[0] * k[1], h[2] + w * k[1] * k[1]];
            }
            let det = h[0] * h[2] - h[1] * h[1];
            let deviation = if det > 0.0 { (0.5 * (h[0] + h[2]) / det).sqrt() } else { f64::INFINITY };
            (1.0 / (1.0 + places * (-ratio).exp()), deviation)
        };
        if n < 2 { vec![(0.0, f64::INFINITY); n] } else { (0..n).map(one).collect() }
    }
}

/// The nearest maximum of Σ Re c e^{+2πi k·d} from `d`, by Newton's method, at most `reach` away.
pub(super) fn climb(k: &[[f64; 2]], c: &[C], d: [f64; 2], reach: f64) -> [f64; 2] {
    let start = d;
    let mut d = d;
    for _ in 0..8 {
        let (mut g, mut h) = ([0.0; 2], [0.0; 3]);
        for (k, c) in k.iter().zip(c).filter(|(_, c)| c.norm_sqr() > 0.0) {
            let z = Complex::new(f64::from(c.re), f64::from(c.im))
                * crate::real::cis(std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1]));
            g = [g[0] - k[0] * z.im, g[1] - k[1] * z.im];
            h = [h[0] - k[0] * k[0] * z.re, h[1] - k[0] * k[1] * z.re, h[2] - k[1] * k[1] * z.re];
        }
        let Some(step) = newton(g, h) else { break };
        // h lacks a factor (2π)², g one 2π.
        let step = step.map(|s| (s / std::f64::consts::TAU).clamp(-0.5 * reach, 0.5 * reach));
        d = [d[0] + step[0], d[1] + step[1]];
        if step[0].hypot(step[1]) < 1e-5 {
            break;
        }
    }
    if (d[0] - start[0]).hypot(d[1] - start[1]) <= reach { d } else { start }
}

/// −H⁻¹ g for a negative definite H = [h0, h1; h1, h2].
pub(super) fn newton(g: [f64; 2], h: [f64; 3]) -> Option<[f64; 2]> {
    let det = h[0] * h[2] - h[1] * h[1];
    let scale = h[0].abs().max(h[2].abs());
    if h[0] < 0.0 && det > 1e-9 * scale * scale {
        return Some([-(h[2] * g[0] - h[1] * g[1]) / det, -(h[0] * g[1] - h[1] * g[0]) / det]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::silent;
    use crate::rng;

    /// Coefficients of a pattern that moves, with unit noise.
    fn moving(k: &[[f64; 2]], power: f64, track: &[[f64; 2]], seed: u64) -> Components {
        let mut r = rng::stream(seed, 0);
        let mut z = |s: f64| {
            let (a, b) = rng::normal_pair(&mut r);
            Complex::new(a, b) * (s * std::f64::consts::FRAC_1_SQRT_2)
        };
        let pattern: Vec<Complex<f64>> = k.iter().map(|_| z(power.sqrt())).collect();
        let frame = |d: &[f64; 2]| {
            let one = |(k, p): (&[f64; 2], &Complex<f64>)| {
                let y = p * crate::real::cis(-std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1])) + z(1.0);
                Complex::new(y.re as f32, y.im as f32)
            };
            k.iter().zip(&pattern).map(one).collect()
        };
        Components::new(k.to_vec(), track.iter().map(frame).collect())
    }

    #[test]
    fn the_map_is_the_sum_it_stands_for() {
        let k: Vec<[f64; 2]> = vec![[-0.1, 0.05], [-0.1, 0.2], [0.0, 0.11], [0.17, 0.0]];
        let c = moving(&k, 1.0, &[[0.0; 2]; 2], 1);
        let grid = SearchGrid::new(5.0, 0.2);
        let w = &c.y[0];
        let map = c.map(w, grid, &c.tables(grid));
        for i in 0..map.len() {
            let d = grid.at(i);
            let sum: f64 = k
                .iter()
                .zip(w)
                .map(|(k, w)| {
                    let p = std::f64::consts::TAU * (k[0] * d[0] + k[1] * d[1]);
                    f64::from(w.re) * p.cos() - f64::from(w.im) * p.sin()
                })
                .sum();
            assert!((sum - f64::from(map[i])).abs() < 1e-5);
        }
    }

    #[test]
    fn a_track_is_found_to_the_bound_of_its_information() {
        // Sixty coefficients at random k, so that no lattice translation competes.
        let mut r = rng::stream(9, 0);
        let mut k: Vec<[f64; 2]> =
            (0..60).map(|_| [0.3 * rng::uniform(&mut r) - 0.15, 0.15 * rng::uniform(&mut r)]).collect();
        k.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let track: Vec<[f64; 2]> = (0..40)
            .map(|f| {
                let t = f as f64;
                let jump = if f >= 25 { 9.0 } else { 0.0 };
                [0.3 * t + jump, 3.0 * (0.1 * t).sin() - jump]
            })
            .collect();
        let c = moving(&k, 1.5, &track, 2);
        let grid = SearchGrid::new(30.0, 0.2);
        let fit = c.align(20, grid, &SmoothTrack::default(), 5, &Par::seq(), &mut silent);
        let quality = c.quality(&fit.track, grid);
        let mean = |a: usize| fit.track.iter().zip(&track).map(|(x, y)| x[a] - y[a]).sum::<f64>() / 40.0;
        let (my, mx) = (mean(0), mean(1));
        let rms = (fit.track.iter().zip(&track).map(|(x, y)| (x[0] - y[0] - my).powi(2) + (x[1] - y[1] - mx).powi(2)))
            .sum::<f64>();
        let rms = (rms / 80.0).sqrt();
        let bound = quality.iter().map(|q| q.1).sum::<f64>() / 40.0;
        // An RMS of 80 numbers scatters by 8 %: three times that.
        assert!(rms < 1.3 * bound && rms > 0.6 * bound, "{rms} against {bound}");
        assert!(quality.iter().all(|q| q.0 > 0.99));
    }

    #[test]
    fn noise_alone_is_not_trusted() {
        let k: Vec<[f64; 2]> = (0..40).map(|i| [-0.2 + 0.01 * f64::from(i), 0.1]).collect();
        let c = moving(&k, 0.0, &[[0.0; 2]; 12], 3);
        let grid = SearchGrid::new(20.0, 0.25);
        let fit = c.align(6, grid, &SmoothTrack::default(), 3, &Par::seq(), &mut silent);
        assert!(c.quality(&fit.track, grid).iter().all(|q| q.0 < 0.5));
    }
}
