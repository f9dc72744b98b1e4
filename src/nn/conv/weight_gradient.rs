//! The gradient of a convolution in its weights and bias.

use crate::nn::conv::correlate::gather_block;
use crate::nn::conv::geometry::{Geometry, block};
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::simd::conv::{LANES, OUT, TAPS, gradient_tile};

/// Words of a block: the padded input and dy, 1.3 MB of `f32`.
const BUDGET: usize = 320_000;
/// Into how many partial sums the blocks are divided at the most.
const PARTS: usize = 16;
/// Words of all partial sums, beyond which there are fewer.
const PART_BUDGET: usize = 4_000_000;

/// `dw[o, c, κ] = Σ_p dy[o, p] x[c, s p + d κ − p₀]`, over pixels and images.
///
/// The pixels are cut into blocks like those of [`crate::nn::conv::correlate::Correlate`]; a block holds its padded
/// input and its dy, with zeros in the columns beyond the output's width, in rows of the same length. A tile of the
/// result, four output channels and six (channel, tap), is a product of long flat rows ([`gradient_tile`]). Blocks
/// belong to a fixed number of partial sums, which are added in their order.
#[derive(Clone, Debug)]
pub(crate) struct WeightGradient {
    g: Geometry,
    phases: [Vec<usize>; 3],
    rz: usize,
    ry: usize,
    e: [usize; 3],
    offsets: Vec<usize>,
    parts: usize,
}

impl WeightGradient {
    pub fn new(g: &Geometry) -> Self {
        let phases = g.phases();
        let count: usize = phases.iter().map(Vec::len).product();
        let q = g.axes.map(|a| a.q_max());
        let [oz, oy, ox] = g.axes.map(|a| a.output);
        let words = |rz: usize, ry: usize| (g.ci * count * (rz + q[0]) * (ry + q[1]) + g.co * rz * ry) * (ox + q[2]);
        let [rz, ry] = block(oz, oy, g.n, BUDGET, words);
        let e = [rz + q[0], ry + q[1], ox + q[2]];
        let taps = g.tap_list();
        let offsets = (0..g.ci)
            .flat_map(|c| taps.iter().map(move |t| (c, t)))
            .map(|(c, t)| {
                let (mut phase, mut shift) = (0, 0);
                for i in 0..3 {
                    let (a, q) = g.axes[i].phase(t[i]);
                    let index = phases[i].iter().position(|&p| p == a).expect("a phase of a tap");
                    phase = phase * phases[i].len() + index;
                    shift = shift * e[i] + q;
                }
                (c * count + phase) * e[0] * e[1] * e[2] + shift
            })
            .collect();
        let blocks = g.n * oz.div_ceil(rz) * oy.div_ceil(ry);
        let parts = PARTS.min(blocks).min((PART_BUDGET / (g.w_len() + g.groups * g.co)).max(2));
        WeightGradient { g: g.clone(), phases, rz, ry, e, offsets, parts }
    }

    fn slice_len(&self) -> usize {
        (self.ry * self.e[2]).next_multiple_of(LANES)
    }

    fn input_words(&self) -> usize {
        let count: usize = self.phases.iter().map(Vec::len).product();
        self.g.ci * count * self.e.iter().product::<usize>() + self.e[2] + LANES
    }

    fn task_words(&self) -> usize {
        self.input_words() + self.g.co * self.rz * self.slice_len()
    }

    fn part_words(&self) -> usize {
        self.g.w_len() + self.g.groups * self.g.co
    }

    /// Words of scratch on so many threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.parts * self.part_words() + threads * self.task_words()
    }

    /// `dw ← …` and `db[o] ← Σ_p dy[o, p]`, or added onto them.
    pub fn run<T: Real>(
        &self,
        x: &[T],
        dy: &[T],
        dw: Option<(&mut [T], Write)>,
        db: Option<(&mut [T], Write)>,
        scratch: &mut [T],
        par: &Par,
    ) {
        // x is (n, groups ci, z, y, x), dy is (n, groups co, oz, oy, ox), dw is (groups co, ci, taps)
        let g = &self.g;
        let [oz, oy, _] = g.axes.map(|a| a.output);
        let (nz, ny) = (oz.div_ceil(self.rz), oy.div_ceil(self.ry));
        let blocks = g.n * nz * ny;
        let (parts, tasks) = scratch.split_at_mut(self.parts * self.part_words());
        let mut states: Vec<&mut [T]> = tasks.chunks_exact_mut(self.task_words()).take(par.count()).collect();
        par.chunks_with(parts, self.part_words(), &mut states, |i, part, state| {
            part.fill(T::ZERO);
            let (pw, pb) = part.split_at_mut(g.w_len());
            for b in i * blocks / self.parts..(i + 1) * blocks / self.parts {
                let (image, z0, y0) = (b / (nz * ny), b / ny % nz * self.rz, b % ny * self.ry);
                for group in 0..g.groups {
                    let first = image * g.groups + group;
                    let x = &x[first * g.ci * g.input_len()..][..g.ci * g.input_len()];
                    let dy = &dy[first * g.co * g.output_len()..][..g.co * g.output_len()];
                    let pw = &mut pw[group * g.co * g.ci * g.taps()..][..g.co * g.ci * g.taps()];
                    let pb = &mut pb[group * g.co..][..g.co];
                    self.block(x, dy, [z0, y0], pw, pb, state);
                }
            }
        });
        // Partial sums in their order.
        let parts = &*parts;
        let total = |at: usize| parts[at..].iter().step_by(self.part_words()).copied().sum::<T>();
        if let Some((dw, onto)) = dw {
            par.chunks(dw, 4096, |c, dw| {
                dw.iter_mut().enumerate().for_each(|(i, v)| write(v, total(c * 4096 + i), onto));
            });
        }
        if let Some((db, onto)) = db {
            db.iter_mut().enumerate().for_each(|(i, v)| write(v, total(g.w_len() + i), onto));
        }
    }

    /// Adds one group of one block.
    fn block<T: Real>(&self, x: &[T], dy: &[T], at: [usize; 2], pw: &mut [T], pb: &mut [T], state: &mut [T]) {
        let g = &self.g;
        let (xs, dys) = state.split_at_mut(self.input_words());
        gather_block(g, &self.phases, self.e, x, at, xs);
        self.gather_dy(dy, at, dys, pb);
        let (slice, columns) = (self.slice_len(), self.offsets.len());
        for o0 in (0..g.co).step_by(OUT) {
            // Beyond the last, the last once more; the sums are dropped. The rows of dy stay in the first-level cache.
            let rows = std::array::from_fn(|m| (o0 + m).min(g.co - 1) * self.rz * slice);
            for j0 in (0..columns).step_by(TAPS) {
                let offsets = std::array::from_fn(|j| self.offsets[(j0 + j).min(columns - 1)]);
                let mut out = [[T::ZERO; TAPS]; OUT];
                gradient_tile((dys, rows, slice), (xs, offsets, self.e[1] * self.e[2]), self.rz, slice, &mut out);
                for (o, out) in (o0..g.co).zip(&out) {
                    let pw = &mut pw[o * columns..][..columns];
                    pw[j0..].iter_mut().zip(out).for_each(|(w, &v)| *w += v);
                }
            }
        }
    }

    /// dy of a block: (channel, slice, row, column), zero beyond; adds its sums to the gradient of the bias.
    fn gather_dy<T: Real>(&self, dy: &[T], [z0, y0]: [usize; 2], dys: &mut [T], pb: &mut [T]) {
        let [oz, oy, ox] = self.g.axes.map(|a| a.output);
        let slice = self.slice_len();
        for (c, (channel, dys)) in dy.chunks_exact(oz * oy * ox).zip(dys.chunks_exact_mut(self.rz * slice)).enumerate()
        {
            let mut sum = T::ZERO;
            for (z, out) in (z0..).zip(dys.chunks_exact_mut(slice)) {
                for (y, out) in (y0..).zip(out.chunks_mut(self.e[2])) {
                    if z < oz && y < oy.min(y0 + self.ry) {
                        let row = &channel[(z * oy + y) * ox..][..ox];
                        out[..ox].copy_from_slice(row);
                        out[ox..].fill(T::ZERO);
                        sum += row_sum(row);
                    } else {
                        out.fill(T::ZERO);
                    }
                }
            }
            pb[c] += sum;
        }
    }
}

/// The sum of a row, in sixteen partial sums.
pub(crate) fn row_sum<T: Real>(row: &[T]) -> T {
    let mut sums = [T::ZERO; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: T = chunks.remainder().iter().copied().sum();
    for c in chunks {
        sums.iter_mut().zip(c).for_each(|(s, &v)| *s += v);
    }
    sums.iter().copied().sum::<T>() + rest
}
