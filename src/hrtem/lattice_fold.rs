//! Frames of a crystal folded into one cell: their coefficients at the reflections themselves, wherever these lie between the points of a spectrum.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::frame_spectra::map_frames;
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::par::Par;
use crate::real::cis;
use crate::source::FrameSource;

/// 2³², a cell in fixed point.
const CELL: f64 = 4_294_967_296.0;

/// Where the pixels of a frame lie in the lattice: u = A⁻¹(r − d), in 2⁻³² of a cell, exact along a row but for rounding of the step.
#[derive(Clone, Debug)]
pub(super) struct LatticePhase {
    dual: [[f64; 2]; 2],
}

impl LatticePhase {
    pub fn new(lattice: &PlaneLattice) -> Self {
        let r = lattice.reciprocal();
        LatticePhase { dual: [r.a, r.b] }
    }

    /// Of the first pixel of row y, in a frame of drift d.
    pub fn row(&self, y: usize, d: [f64; 2]) -> [i64; 2] {
        self.dual.map(|a| ((a[0] * (y as f64 - d[0]) - a[1] * d[1]) * CELL).round() as i64)
    }

    /// From a pixel to the next in its row.
    pub fn step(&self) -> [i64; 2] {
        self.dual.map(|a| (a[1] * CELL).round() as i64)
    }
}

/// A weight for every cell of the crystal, and 0 beyond.
#[derive(Clone, Debug)]
pub(super) struct CellWeights {
    pub first: [i64; 2],
    pub size: [usize; 2],
    pub weight: Vec<f32>,
}

impl CellWeights {
    fn at(&self, p: [i64; 2]) -> f32 {
        let [i, j] = [0, 1].map(|a| (p[a] >> 32) - self.first[a]);
        let inside = i >= 0 && j >= 0 && (i as usize) < self.size[0] && (j as usize) < self.size[1];
        if inside { self.weight[i as usize * self.size[1] + j as usize] } else { 0.0 }
    }
}

/// The reflections g of a lattice within a band, and the table of a cell from which a frame's coefficients come:
///
/// ```text
/// y(u) = Σ_r (I(r) − ⟨I⟩) w(r − d)    over pixels of which A⁻¹(r − d) falls into u, modulo 1
/// Y(g) = e^{−2πi g·d} Σ_u y(u) e^{−2πi (h u₁ + k u₂)} = Σ_r (I − ⟨I⟩) w e^{−2πi g·r}
/// ```
///
/// A coefficient of the spectrum itself would hold 60 % of a reflection's power on average, its neighbours the rest.
#[derive(Clone, Debug)]
pub(super) struct LatticeFold {
    phase: LatticePhase,
    /// Table of 2^bits along each axis.
    pub bits: u32,
    /// `[h, k]` of half the plane.
    pub index: Vec<[i32; 2]>,
    /// g in cycles a pixel.
    pub k: Vec<[f64; 2]>,
}

impl LatticeFold {
    /// All reflections with frequencies in `band`, without their mates, at most 4000.
    pub fn new(lattice: &PlaneLattice, band: [f64; 2]) -> Self {
        let dual = lattice.reciprocal();
        let highest = band[1].min(0.5);
        // |h| = |a·g| ≤ |a| |g|.
        let most = lattice.lengths().map(|l| (l * highest).floor() as i32);
        let mut all: Vec<([i32; 2], [f64; 2])> = Vec::new();
        for h in 0..=most[0] {
            for k in -most[1]..=most[1] {
                let g = dual.at([f64::from(h), f64::from(k)]);
                let length = g[0].hypot(g[1]);
                if (h > 0 || k > 0) && (band[0]..=highest).contains(&length) {
                    all.push(([h, k], g));
                }
            }
        }
        all.sort_by(|a, b| a.1[0].hypot(a.1[1]).total_cmp(&b.1[0].hypot(b.1[1])).then(a.0.cmp(&b.0)));
        all.truncate(4000);
        // Eight points a period of the finest: 2 % of its modulus are lost.
        let finest = all.iter().flat_map(|r| r.0).map(i32::unsigned_abs).max().unwrap_or(1);
        let bits = (8 * finest).next_power_of_two().clamp(16, 256).trailing_zeros();
        let (index, k) = all.into_iter().unzip();
        LatticeFold { phase: LatticePhase::new(lattice), bits, index, k }
    }

    /// y(u).
    fn table(&self, image: &[f32], nx: usize, mean: f32, d: [f64; 2], weights: Option<&CellWeights>) -> Vec<f32> {
        let side = 1usize << self.bits;
        let mut table = vec![0.0f32; side * side];
        let (down, step) = (32 - self.bits, self.phase.step());
        for (y, row) in image.chunks(nx).enumerate() {
            let mut p = self.phase.row(y, d);
            for v in row {
                let at = ((p[0] as u32 >> down) << self.bits | (p[1] as u32 >> down)) as usize;
                let w = weights.map_or(1.0, |w| w.at(p));
                table[at] += (v - mean) * w;
                p = [p[0].wrapping_add(step[0]), p[1].wrapping_add(step[1])];
            }
        }
        table
    }

    /// Y(g).
    fn coefficients(&self, table: &[f32], d: [f64; 2]) -> Vec<Complex<f64>> {
        let side = 1usize << self.bits;
        let turn = |h: i32, i: usize| {
            cis(-std::f64::consts::TAU * (f64::from(h) * (i as f64 + 0.5) / side as f64).rem_euclid(1.0))
        };
        let most = self.index.iter().map(|i| i[1].abs()).max().unwrap_or(0);
        // Along the second axis first, for all k, then along the first.
        let width = (2 * most + 1) as usize;
        let turns: Vec<Vec<Complex<f64>>> = (-most..=most).map(|k| (0..side).map(|i| turn(k, i)).collect()).collect();
        let mut rows = vec![Complex::default(); side * width];
        for (out, row) in rows.chunks_mut(width).zip(table.chunks(side)) {
            for (o, t) in out.iter_mut().zip(&turns) {
                *o = row.iter().zip(t).map(|(v, t)| t * f64::from(*v)).sum();
            }
        }
        let one = |(i, g): (&[i32; 2], &[f64; 2])| {
            let column = (i[1] + most) as usize;
            let sum: Complex<f64> = (0..side).map(|u| rows[u * width + column] * turn(i[0], u)).sum();
            sum * cis(-std::f64::consts::TAU * (g[0] * d[0] + g[1] * d[1]))
        };
        self.index.iter().zip(&self.k).map(one).collect()
    }

    /// The coefficients of all frames in units of the noise; `weights` move with the track.
    pub fn frames(
        &self,
        source: &dyn FrameSource,
        noise: &[f64],
        moving: Option<(&CellWeights, &[[f64; 2]])>,
        par: &Par,
    ) -> Result<Vec<Vec<Complex<f32>>>, Error> {
        let nx = source.shape()[3];
        map_frames(source, par, |f, image, mean| {
            let d = moving.map_or([0.0; 2], |m| m.1[f]);
            let table = self.table(image, nx, mean, d, moving.map(|m| m.0));
            let y = self.coefficients(&table, d);
            y.iter().zip(noise).map(|(y, s)| Complex::new((y.re / s) as f32, (y.im / s) as f32)).collect()
        })
    }

    /// Re Σ c_g e^{2πi (h u₁ + k u₂)} on the points of the table, without its mean.
    pub fn pattern(&self, c: &[Complex<f64>]) -> Vec<f32> {
        let side = 1usize << self.bits;
        let mut out = vec![0.0f64; side * side];
        let turn = |h: i32, i: usize| {
            cis(std::f64::consts::TAU * (f64::from(h) * (i as f64 + 0.5) / side as f64).rem_euclid(1.0))
        };
        for (i, c) in self.index.iter().zip(c) {
            let x: Vec<Complex<f64>> = (0..side).map(|v| turn(i[1], v)).collect();
            for (u, row) in out.chunks_mut(side).enumerate() {
                let z = c * turn(i[0], u);
                row.iter_mut().zip(&x).for_each(|(o, x)| *o += z.re * x.re - z.im * x.im);
            }
        }
        let mean = out.iter().sum::<f64>() / out.len() as f64;
        out.iter().map(|v| (v - mean) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use crate::tensor::Tensor;

    #[test]
    fn coefficients_are_those_of_the_direct_sum() {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [-1.6, 15.2], b: [20.3, 2.1] };
        let fold = LatticeFold::new(&lattice, [0.01, 0.2]);
        let (ny, nx) = (90, 70);
        // Something that repeats, so that the sums are large, and noise.
        let mut r = rng::stream(1, 0);
        let wave = |y: f64, x: f64| -> f64 {
            fold.k.iter().take(8).map(|g| (std::f64::consts::TAU * (g[0] * y + g[1] * x)).cos()).sum()
        };
        let frames = Tensor::from_fn(&[2, ny, nx], |i| {
            (wave(i[1] as f64, i[2] as f64) + 0.1 * rng::normal(&mut r) + 3.0) as f32
        });
        let ones = vec![1.0; fold.k.len()];
        let track = [[0.0, 0.0], [3.3, -5.1]];
        let weights = CellWeights { first: [-20; 2], size: [40; 2], weight: vec![1.0; 1600] };
        let plain = fold.frames(&frames, &ones, None, &Par::seq()).unwrap();
        let moving = fold.frames(&frames, &ones, Some((&weights, &track)), &Par::seq()).unwrap();
        for f in 0..2 {
            let image = frames.row(f);
            let mean = image.iter().map(|&v| f64::from(v)).sum::<f64>() / image.len() as f64;
            let scale = image.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
            for (j, g) in fold.k.iter().enumerate() {
                let direct: Complex<f64> = (0..ny * nx)
                    .map(|i| {
                        let turn = g[0] * (i / nx) as f64 + g[1] * (i % nx) as f64;
                        cis(-std::f64::consts::TAU * turn) * (f64::from(image[i]) - mean)
                    })
                    .sum();
                // A point of the table is at most a sixteenth of the finest period wide: phases within ± π/16.
                for y in [plain[f][j], moving[f][j]] {
                    let error = (Complex::new(f64::from(y.re), f64::from(y.im)) - direct).norm();
                    assert!(error < 0.03 * (scale * (ny * nx) as f64).sqrt() / 2.0, "{j} {y} {direct}");
                }
            }
        }
    }

    #[test]
    fn the_pattern_is_the_sum_it_stands_for() {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 9.0], b: [8.0, 1.0] };
        let fold = LatticeFold::new(&lattice, [0.01, 0.3]);
        let c: Vec<Complex<f64>> = (0..fold.index.len()).map(|i| cis(i as f64) / (1.0 + i as f64)).collect();
        let side = 1usize << fold.bits;
        let pattern = fold.pattern(&c);
        for (u, v) in [(0, 0), (3, 5), (side - 1, 7)] {
            let at = [u, v].map(|i| (i as f64 + 0.5) / side as f64);
            let term = |(i, c): (&[i32; 2], &Complex<f64>)| {
                (c * cis(std::f64::consts::TAU * (f64::from(i[0]) * at[0] + f64::from(i[1]) * at[1]))).re
            };
            let sum: f64 = fold.index.iter().zip(&c).map(term).sum();
            assert!((sum - f64::from(pattern[u * side + v])).abs() < 1e-5);
        }
    }
}
