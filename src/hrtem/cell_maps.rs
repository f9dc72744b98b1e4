//! Brightness and crystal of every cell: maps on the crystal's own lattice, on which a lattice vector is a whole step.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::hrtem::cell_edges::two_levels;
use crate::hrtem::lattice_fold::LatticePhase;
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::shape::checked_len;

type C = Complex<f32>;

/// Half the length of a ray of neighbours, in coefficients.
const RAY: isize = 12;

/// The cells `first + [i, j]` that a drifting field may see.
#[derive(Clone, Debug)]
pub(super) struct CellBox {
    lattice: PlaneLattice,
    phase: LatticePhase,
    pub first: [i64; 2],
    pub size: [usize; 2],
    dims: [usize; 2],
}

/// What frames hold: of each cell, numbers `[Σ (I − ⟨I⟩), Σ (I − ⟨I⟩) c]`, c the pattern of the cell, and how many frames saw the whole cell.
#[derive(Clone, Debug)]
pub(super) struct CellMaps {
    pub sum: Vec<[f32; 2]>,
    pub count: Vec<f32>,
}

/// What a frame is expected to hold in each cell beyond the mean of all, and whether that is known.
#[derive(Clone, Debug)]
pub(super) struct CellTemplate {
    pub value: Vec<[f32; 2]>,
    pub known: Vec<bool>,
    /// Means that were taken off.
    pub mean: [f64; 2],
}

impl CellBox {
    /// Room for the field of every frame along a track, and `margin` pixels more.
    pub fn new(dims: [usize; 2], lattice: &PlaneLattice, track: &[[f64; 2]], margin: f64) -> Result<Self, Error> {
        let range = |a: usize| {
            let (low, high) = track.iter().fold((0.0f64, 0.0f64), |(l, h), d| (l.min(d[a]), h.max(d[a])));
            [-high - margin, dims[a] as f64 - low + margin]
        };
        let (y, x) = (range(0), range(1));
        let (mut low, mut high) = ([f64::MAX; 2], [f64::MIN; 2]);
        for (y, x) in y.iter().flat_map(|&y| x.iter().map(move |&x| (y, x))) {
            let u = lattice.fraction([y, x]);
            (0..2).for_each(|a| (low[a], high[a]) = (low[a].min(u[a]), high[a].max(u[a])));
        }
        let first = low.map(|v| v.floor() as i64 - 1);
        let last = high.map(|v| v.floor() as i64 + 1);
        // Lengths of which transforms are quick.
        let size = [0, 1].map(|a| ((last[a] - first[a] + 1) as usize).next_multiple_of(8).max(32));
        checked_len(&size)?;
        Ok(CellBox { lattice: *lattice, phase: LatticePhase::new(lattice), first, size, dims })
    }

    pub fn len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The maps of a frame of drift `d`; `pattern` is a table of 2^bits points along each axis.
    pub fn take(&self, image: &[f32], mean: f32, d: [f64; 2], pattern: &[f32], bits: u32) -> Vec<[f32; 2]> {
        let mut sum = vec![[0.0f32; 2]; self.len()];
        let (down, step, width) = (32 - bits, self.phase.step(), self.size[1] as i64);
        let origin = self.first[0] * width + self.first[1];
        for (y, row) in image.chunks(self.dims[1]).enumerate() {
            let mut p = self.phase.row(y, d);
            for v in row {
                let c = pattern[((p[0] as u32 >> down) << bits | (p[1] as u32 >> down)) as usize];
                let cell = &mut sum[((p[0] >> 32) * width + (p[1] >> 32) - origin) as usize];
                let v = v - mean;
                *cell = [cell[0] + v, cell[1] + v * c];
                p = [p[0].wrapping_add(step[0]), p[1].wrapping_add(step[1])];
            }
        }
        sum
    }

    /// The cells that a frame of drift `d` sees whole.
    pub fn whole(&self, d: [f64; 2]) -> Vec<u32> {
        let PlaneLattice { a, b, .. } = self.lattice;
        let half = [0, 1].map(|i| 0.5 * (a[i].abs() + b[i].abs()));
        let mut out = Vec::new();
        for i in 0..self.size[0] {
            for j in 0..self.size[1] {
                let at = [(i as i64 + self.first[0]) as f64 + 0.5, (j as i64 + self.first[1]) as f64 + 0.5];
                let r = self.lattice.at(at);
                let inside = |x: usize| r[x] - half[x] >= -d[x] && r[x] + half[x] <= self.dims[x] as f64 - 1.0 - d[x];
                if inside(0) && inside(1) {
                    out.push((i * self.size[1] + j) as u32);
                }
            }
        }
        out
    }

    /// The step in a map that a lattice vector is.
    pub fn offset(&self, r: [i32; 2]) -> isize {
        r[0] as isize * self.size[1] as isize + r[1] as isize
    }

    pub fn empty(&self) -> CellMaps {
        CellMaps { sum: vec![[0.0; 2]; self.len()], count: vec![0.0; self.len()] }
    }

    /// What is expected, from the sum of m frames in which each cell was seen `count` times: Wiener's filter on both maps,
    ///
    /// ```text
    /// t(κ) = T(κ) mx/(1 + mx),   1 + mx = ⟨|T|²⟩/noise      mean over neighbours: 5 × 5, or 25 along the ray from 0
    /// ```
    ///
    /// the edge of a crystal being a ray in its spectrum. Cells that few frames saw are left out.
    pub fn template(&self, maps: &CellMaps, weight: [f64; 2], fft: &Fft2<f32>) -> CellTemplate {
        // A border that few frames saw would be noise.
        let enough = maps.count.iter().fold(0.0f32, |m, c| m.max(*c)) * 0.6;
        let known: Vec<bool> = maps.count.iter().map(|&c| c > 0.0 && c >= enough).collect();
        let seen = known.iter().filter(|k| **k).count().max(1) as f64;
        let noise: f64 = (0..self.len()).filter(|&i| known[i]).map(|i| 1.0 / f64::from(maps.count[i])).sum();
        let levels = two_levels(self.size, maps, &known, weight);
        let mut value = vec![[0.0f32; 2]; self.len()];
        let mut mean = [0.0; 2];
        let (mut z, mut scratch) = (vec![C::default(); self.len()], vec![C::default(); fft.scratch_len()]);
        for channel in (0..2).filter(|&c| weight[c] > 0.0) {
            let each = |i: usize| maps.sum[i][channel] / maps.count[i];
            mean[channel] = (0..self.len()).filter(|&i| known[i]).map(|i| f64::from(each(i))).sum::<f64>() / seen;
            let level = |i: usize| levels[i][channel] as f32;
            let rest = |i: usize| if known[i] { each(i) - level(i) } else { 0.0 };
            z.iter_mut().enumerate().for_each(|(i, z)| *z = C::new(rest(i), 0.0));
            fft.forward(&mut z, &mut scratch);
            let floor = (noise / weight[channel]).max(f64::MIN_POSITIVE) as f32;
            let power: Vec<f32> = z.iter().map(|z| z.norm_sqr() / floor).collect();
            for (z, g) in z.iter_mut().zip(gains(self.size, &power)) {
                *z *= g;
            }
            fft.inverse(&mut z, &mut scratch);
            let m = mean[channel] as f32;
            for (i, v) in value.iter_mut().enumerate().filter(|(i, _)| known[*i]) {
                v[channel] = level(i) - m + z[i].re;
            }
        }
        CellTemplate { value, known, mean }
    }

    /// Σ over cells of [t h − ½ t² n]/σ² of both maps, h less the mean of all, for the template moved by each of the lattice vectors; `cells` are those for which every vector
    /// leads to a cell of known template.
    pub fn scores(
        &self,
        t: &CellTemplate,
        maps: &CellMaps,
        cells: &[u32],
        vectors: &[[i32; 2]],
        weight: [f64; 2],
    ) -> Vec<f64> {
        let (w, mean) = (weight.map(|w| w as f32), t.mean.map(|m| m as f32));
        let one = |r: &[i32; 2]| {
            let back = self.offset(*r);
            let mut sum = 0.0f64;
            for part in cells.chunks(256) {
                let mut s = 0.0f32;
                for &i in part {
                    let (i, n) = (i as usize, maps.count[i as usize]);
                    let (t, h) = (t.value[(i as isize - back) as usize], maps.sum[i]);
                    let gain = |c: usize| w[c] * t[c] * (h[c] - n * (mean[c] + 0.5 * t[c]));
                    s += gain(0) + gain(1);
                }
                sum += f64::from(s);
            }
            sum
        };
        vectors.iter().map(one).collect()
    }

    /// Σ (t_R − t_0)² n/σ² for every vector R, against the first.
    pub fn distances(
        &self,
        t: &CellTemplate,
        maps: &CellMaps,
        cells: &[u32],
        vectors: &[[i32; 2]],
        weight: [f64; 2],
    ) -> Vec<f64> {
        let w = weight.map(|w| w as f32);
        let at = |i: u32, r: [i32; 2]| t.value[(i as isize - self.offset(r)) as usize];
        let one = |r: &[i32; 2]| {
            let term = |&i: &u32| {
                let (p, q) = (at(i, *r), at(i, vectors[0]));
                f64::from(maps.count[i as usize] * (w[0] * (p[0] - q[0]).powi(2) + w[1] * (p[1] - q[1]).powi(2)))
            };
            cells.iter().map(term).sum()
        };
        vectors.iter().map(one).collect()
    }

    /// Of the cells that were seen, those from which every vector leads to a cell of known template.
    pub fn common(&self, t: &CellTemplate, maps: &CellMaps, vectors: &[[i32; 2]]) -> Vec<u32> {
        let known = |i: isize| i >= 0 && t.known.get(i as usize).is_some_and(|k| *k);
        let all = (0..self.len()).filter(|&i| maps.count[i] > 0.0);
        all.filter(|&i| vectors.iter().all(|r| known(i as isize - self.offset(*r)))).map(|i| i as u32).collect()
    }
}

impl CellMaps {
    /// Adds other maps, moved by −r.
    pub fn add(&mut self, grid: &CellBox, other: &CellMaps, r: [i32; 2]) {
        let back = grid.offset(r);
        for (i, (s, &n)) in other.sum.iter().zip(&other.count).enumerate() {
            let to = i as isize - back;
            if n > 0.0 && to >= 0 && (to as usize) < self.sum.len() {
                let to = to as usize;
                self.sum[to] = [self.sum[to][0] + s[0], self.sum[to][1] + s[1]];
                self.count[to] += n;
            }
        }
    }

    /// Adds a frame, moved by −r: its maps, and the cells that it saw whole.
    pub fn add_frame(&mut self, grid: &CellBox, sum: &[[f32; 2]], cells: &[u32], r: [i32; 2]) {
        let back = grid.offset(r);
        for &i in cells {
            let to = i as isize - back;
            if to >= 0 && (to as usize) < self.sum.len() {
                let (to, s) = (to as usize, sum[i as usize]);
                self.sum[to] = [self.sum[to][0] + s[0], self.sum[to][1] + s[1]];
                self.count[to] += 1.0;
            }
        }
    }
}

/// mx/(1 + mx) of every coefficient, from |T|² in units of the noise.
///
/// 0 where the mean over neighbours is less than six (square) or five (ray) standard deviations above noise, a little more
/// than four for a field that fills half of the box, whose neighbours are alike: a few of ten thousand coefficients of noise
/// pass. More of them would bury the little that tells lattice vectors apart. Where a mean stands out, that of the lowest 20 of the 25 decides, over 0.598, what it is
/// for an exponential distribution of unit mean: a strong ray passes through the squares of its neighbours, and noise beside it would be taken for signal.
fn gains(size: [usize; 2], power: &[f32]) -> Vec<f32> {
    let [ny, nx] = size;
    // Indices of a torus: at most one turn away.
    let wrap = |k: isize, n: usize| {
        let n = n as isize;
        (if k < 0 {
            k + n
        } else if k >= n {
            k - n
        } else {
            k
        }) as usize
    };
    let mut rows = vec![0.0f32; power.len()];
    for (out, row) in rows.chunks_mut(nx).zip(power.chunks(nx)) {
        for (x, o) in out.iter_mut().enumerate() {
            *o = (-2..=2).map(|d| row[wrap(x as isize + d, nx)]).sum();
        }
    }
    let mut out = vec![0.0f32; power.len()];
    for y in 0..ny {
        let ky = frequency_index(y, ny);
        let five = [-2, -1, 0, 1, 2].map(|d| wrap(y as isize + d, ny) * nx);
        for x in 0..nx {
            let kx = frequency_index(x, nx);
            let square = five.iter().map(|r| rows[r + x]).sum::<f32>() / 25.0 - 1.0;
            let mut mx = 0.0f32;
            if square > STANDS_OUT[0] {
                let around = five.iter().flat_map(|&r| (-2..=2).map(move |d| r + wrap(x as isize + d, nx)));
                let square = lowest(around.map(|i| power[i])) - 1.0;
                mx = if square > STANDS_OUT[0] { square } else { 0.0 };
            }
            let length = (ky as f32).hypot(kx as f32);
            if length > 6.0 {
                let (u, v) = (ky as f32 / length, kx as f32 / length);
                let along = (-RAY..=RAY).map(|t| {
                    let p =
                        [y as isize + (t as f32 * u).round() as isize, x as isize + (t as f32 * v).round() as isize];
                    power[wrap(p[0], ny) * nx + wrap(p[1], nx)]
                });
                if along.clone().sum::<f32>() / (2 * RAY + 1) as f32 - 1.0 > STANDS_OUT[1] {
                    let ray = lowest(along) - 1.0;
                    mx = mx.max(if ray > STANDS_OUT[1] { ray } else { 0.0 });
                }
            }
            // One alone may stand out of all.
            if power[y * nx + x] > 15.0 {
                mx = mx.max(power[y * nx + x] - 1.0);
            }
            out[y * nx + x] = mx / (1.0 + mx);
        }
    }
    out
}

/// How far a mean over neighbours, square or ray, must be above noise.
const STANDS_OUT: [f32; 2] = [1.2, 1.0];

/// The mean of the lowest 20 of 25 powers over what it is for noise of unit mean: (1 − e^{−q}(1 + q))/0.8, e^{−q} = 0.2.
fn lowest(powers: impl Iterator<Item = f32>) -> f32 {
    let mut all = [0.0f32; 25];
    all.iter_mut().zip(powers).for_each(|(a, p)| *a = p);
    all.select_nth_unstable_by(19, f32::total_cmp);
    all[..20].iter().sum::<f32>() / (20.0 * 0.597_64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn grid(dims: [usize; 2], track: &[[f64; 2]]) -> (PlaneLattice, CellBox) {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [-0.6, 6.2], b: [7.3, 1.1] };
        (lattice, CellBox::new(dims, &lattice, track, 20.0).unwrap())
    }

    #[test]
    fn every_pixel_is_counted_in_its_cell() {
        let (dims, d) = ([40, 50], [3.4, -2.2]);
        let (lattice, grid) = grid(dims, &[d]);
        let image: Vec<f32> = (0..2000).map(|i| (i * 37 % 11) as f32).collect();
        let pattern: Vec<f32> = (0..256).map(|i| (i % 5) as f32 - 2.0).collect();
        let got = grid.take(&image, 2.0, d, &pattern, 4);
        let mut want = vec![[0.0f64; 2]; grid.len()];
        for (i, v) in image.iter().enumerate() {
            let u = lattice.fraction([(i / 50) as f64 - d[0], (i % 50) as f64 - d[1]]);
            let [p, q] = u.map(|u| ((u - u.floor()) * 16.0) as usize % 16);
            let [a, b] = [0, 1].map(|a| (u[a].floor() as i64 - grid.first[a]) as usize);
            let cell = &mut want[a * grid.size[1] + b];
            let v = f64::from(*v) - 2.0;
            *cell = [cell[0] + v, cell[1] + v * f64::from(pattern[p * 16 + q])];
        }
        for (g, w) in got.iter().zip(&want) {
            assert!((0..2).all(|c| (f64::from(g[c]) - w[c]).abs() < 1e-3), "{g:?} {w:?}");
        }
    }

    /// Cells of noise and a step of brightness: the score is highest where the step is, and what noise alone is expected to hold is nothing.
    #[test]
    fn a_step_is_found_where_it_is_and_noise_holds_nothing() {
        let dims = [300, 300];
        let (lattice, grid) = grid(dims, &[[0.0; 2]]);
        let cells = grid.whole([0.0; 2]);
        let mut r = rng::stream(2, 0);
        let mut frames = |height: f64, moved: f64, n: usize| {
            let mut maps = grid.empty();
            for _ in 0..n {
                let sum: Vec<[f32; 2]> = (0..grid.len())
                    .map(|i| {
                        let at = [i / grid.size[1], i % grid.size[1]];
                        let u = [0, 1].map(|a| (at[a] as i64 + grid.first[a]) as f64);
                        let x = lattice.at(u)[1];
                        let step = if x > 140.0 + moved { height } else { 0.0 };
                        [(step + rng::normal(&mut r)) as f32, rng::normal(&mut r) as f32]
                    })
                    .collect();
                maps.add_frame(&grid, &sum, &cells, [0; 2]);
            }
            maps
        };
        let fft = Fft2::<f32>::new(grid.size).unwrap();
        let vectors = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]];
        let (all, piece) = (frames(0.3, 0.0, 40), frames(0.3, 0.0, 10));
        let t = grid.template(&all, [1.0; 2], &fft);
        let at = grid.common(&t, &piece, &vectors);
        let scores = grid.scores(&t, &piece, &at, &vectors, [1.0; 2]);
        let distances = grid.distances(&t, &piece, &at, &vectors, [1.0; 2]);
        // Moved by a, 6.2 pixels along x: a column of cells for each; half the distance's square is what is lost on average, ± its root.
        for i in 1..3 {
            let lost = scores[0] - scores[i];
            assert!(
                lost > 0.0 && (lost - 0.5 * distances[i]).abs() < 4.0 * distances[i].sqrt(),
                "{lost} {distances:?}"
            );
        }
        assert!(distances[1] > 10.0, "{distances:?}");
        let t = grid.template(&frames(0.0, 0.0, 40), [1.0; 2], &fft);
        let at = grid.common(&t, &piece, &vectors);
        let nothing = grid.distances(&t, &piece, &at, &vectors, [1.0; 2]);
        assert!(nothing.iter().all(|d| *d < 1.0), "{nothing:?}");
    }
}
