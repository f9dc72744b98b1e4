//! The data gradient of a convolution, which is also the transposed convolution.

use std::ops::Range;

use crate::nn::conv::geometry::{Geometry, block, pieces};
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::simd::conv::{ROWS, TILE, output_tiles};

/// Words of a block's padded dy; see [`crate::nn::conv::correlate`].
const BUDGET: usize = 180_000;

/// The taps that reach padded coordinates of one phase.
#[derive(Clone, Debug)]
struct Phase {
    a: [usize; 3],
    taps: Vec<usize>,
    /// Offset of (channel within a chunk, tap).
    offsets: Vec<usize>,
    /// Taps of the phases before.
    before: usize,
}

/// The adjoint of [`crate::nn::conv::correlate::Correlate`] in x: `dx[t] = Σ_κ w[κ] dy[o]` over all o with
/// `s o + d κ − p = t`, and over output channels.
///
/// With the padded coordinate `u = t + p = s i + a`, tap κ of phase a and shift q contributes `w[κ] dy[i − q]`: for
/// each of the phases a convolution of stride 1 over dy, which the same inner kernel computes; pixels of phases without
/// taps get 0. With a padding that repeats pixels, the gradient of the padded image is computed first, and then folded:
/// each padded pixel is added to the one it repeats.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    g: Geometry,
    phases: Vec<Phase>,
    rz: usize,
    ry: usize,
    e: [usize; 3],
    q: [usize; 3],
    /// First index i = u div s of each axis, and their number.
    first: [usize; 3],
    count: [usize; 3],
    /// First padded coordinate that is wanted, and their number.
    low: [usize; 3],
    len: [usize; 3],
    chunk: usize,
    /// Whether every phase has taps: else some pixels get none.
    covered: bool,
}

impl Spread {
    pub fn new(g: &Geometry) -> Self {
        let q = g.axes.map(|a| a.q_max());
        let target = g.axes.map(|a| a.target(g.mode));
        let (low, len) = (target.map(|t| t.0), target.map(|t| t.1));
        let first: [usize; 3] = std::array::from_fn(|i| low[i] / g.axes[i].stride);
        let count = std::array::from_fn(|i| (low[i] + len[i] - 1) / g.axes[i].stride + 1 - first[i]);
        let words = |chunk: usize, rz: usize, ry: usize| chunk * (rz + q[0]) * (ry + q[1]) * (count[2] + q[2]);
        let mut chunk = g.co;
        while chunk > 8 && words(chunk, 1, count[1].min(4 + 2 * q[1])) > BUDGET {
            chunk = chunk.div_ceil(2);
        }
        let [rz, ry] = block(count[0], count[1], g.n, BUDGET, |rz, ry| words(chunk, rz, ry));
        let e = [rz + q[0], ry + q[1], count[2] + q[2]];
        let all = &g.tap_list();
        let shift = &|t: &[usize; 3]| (0..3).fold(0, |o, i| o * e[i] + q[i] - g.axes[i].phase(t[i]).1);
        let mut before = 0;
        let used = g.phases();
        let covered = (0..3).all(|i| used[i].len() == g.axes[i].stride);
        let s = used.each_ref().map(Vec::len);
        let phases = (0..s[0] * s[1] * s[2])
            .map(|p| {
                let a = [used[0][p / (s[1] * s[2])], used[1][p / s[2] % s[1]], used[2][p % s[2]]];
                let within = |t: &[usize; 3]| (0..3).all(|i| g.axes[i].phase(t[i]).0 == a[i]);
                let taps: Vec<usize> = (0..all.len()).filter(|&k| within(&all[k])).collect();
                let offsets =
                    (0..chunk).flat_map(|c| taps.iter().map(move |&k| c * e[0] * e[1] * e[2] + shift(&all[k])));
                let phase = Phase { a, offsets: offsets.collect(), before, taps: taps.clone() };
                before += taps.len();
                phase
            })
            .collect();
        Spread { g: g.clone(), phases, rz, ry, e, q, first, count, low, len, chunk, covered }
    }

    fn slice_len(&self) -> usize {
        (self.ry * self.e[2]).next_multiple_of(TILE)
    }

    fn input_words(&self) -> usize {
        self.chunk * self.e.iter().product::<usize>() + self.e[2] + TILE
    }

    fn held(&self) -> usize {
        if self.chunk < self.g.co { self.phases.len() * self.g.ci.next_multiple_of(ROWS) } else { ROWS }
    }

    fn task_words(&self) -> usize {
        self.input_words() + self.held() * self.rz * self.slice_len()
    }

    fn weight_words(&self) -> usize {
        self.g.groups * self.g.ci.next_multiple_of(ROWS) * self.g.co * self.g.taps()
    }

    /// Words of the padded image, where it has to be folded.
    fn folded_words(&self) -> usize {
        if self.folds() { self.g.n * self.g.groups * self.g.ci * self.len.iter().product::<usize>() } else { 0 }
    }

    fn folds(&self) -> bool {
        (0..3).any(|i| self.len[i] != self.g.axes[i].input)
    }

    /// Words of scratch on so many threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.folded_words() + self.weight_words() + threads * self.task_words()
    }

    /// `dx ← Aᵀ dy + b`, or added onto dx; b is a number a channel of dx.
    pub fn run<T: Real>(
        &self,
        dy: &[T],
        w: &[T],
        bias: Option<&[T]>,
        dx: &mut [T],
        onto: Write,
        scratch: &mut [T],
        par: &Par,
    ) {
        let (folded, scratch) = scratch.split_at_mut(self.folded_words());
        if self.folds() {
            self.spread(dy, w, bias, folded, Write::Set, scratch, par);
            self.fold(folded, dx, onto, par);
        } else {
            self.spread(dy, w, bias, dx, onto, scratch, par);
        }
    }

    fn spread<T: Real>(
        &self,
        dy: &[T],
        w: &[T],
        bias: Option<&[T]>,
        dx: &mut [T],
        onto: Write,
        scratch: &mut [T],
        par: &Par,
    ) {
        // dy is (n, groups co, oz, oy, ox), w is (groups co, ci, taps), dx is (n, groups ci, z, y, x)
        let g = &self.g;
        let (bias, onto) = if self.covered {
            (bias, onto)
        } else {
            par.chunks(dx, self.len.iter().product(), |c, dx| {
                let b = bias.map_or(T::ZERO, |b| b[c % (g.groups * g.ci)]);
                dx.iter_mut().for_each(|x| write(x, b, onto));
            });
            (None, Write::Add)
        };
        let (wp, tasks) = scratch.split_at_mut(self.weight_words());
        self.pack_weights(w, wp);
        let wp = &*wp;
        // The coordinates that a block of indices covers, cut to the wanted ones.
        let cover = |axis: usize, step: usize| -> Vec<Range<usize>> {
            let s = g.axes[axis].stride;
            (0..self.count[axis])
                .step_by(step)
                .map(|i| {
                    let end = self.first[axis] + (i + step).min(self.count[axis]);
                    let clip = |u: usize| u.clamp(self.low[axis], self.low[axis] + self.len[axis]) - self.low[axis];
                    clip((self.first[axis] + i) * s)..clip(end * s)
                })
                .collect()
        };
        let (slices, bands) = (cover(0, self.rz), cover(1, self.ry));
        let (mut out, deepest) = pieces(dx, g.n, g.groups * g.ci, &slices, &bands, self.len[2]);
        let per_block = g.groups * g.ci * deepest;
        let mut states: Vec<&mut [T]> = tasks.chunks_exact_mut(self.task_words()).take(par.count()).collect();
        par.chunks_with(&mut out, per_block, &mut states, |task, out, state| {
            let (image, rest) = (task / (slices.len() * bands.len()), task % (slices.len() * bands.len()));
            let (bz, by) = (rest / bands.len(), rest % bands.len());
            let start = [slices[bz].start, bands[by].start];
            let (buffer, sums) = state.split_at_mut(self.input_words());
            for group in 0..g.groups {
                let out = &mut out[group * g.ci * deepest..][..g.ci * deepest];
                let dy = &dy[(image * g.groups + group) * g.co * g.output_len()..][..g.co * g.output_len()];
                self.group(dy, wp, group, [bz * self.rz, by * self.ry], start, bias, out, deepest, onto, buffer, sums);
            }
        });
    }

    /// One group of one block, whose first indices are `at` and whose first target slice and row are `start`.
    fn group<T: Real>(
        &self,
        dy: &[T],
        wp: &[T],
        group: usize,
        at: [usize; 2],
        start: [usize; 2],
        bias: Option<&[T]>,
        out: &mut [Option<&mut [T]>],
        deepest: usize,
        onto: Write,
        buffer: &mut [T],
        sums: &mut [T],
    ) {
        let g = &self.g;
        let (slice, blocks) = (self.slice_len(), g.ci.div_ceil(ROWS));
        let (ey, ex) = (self.e[1], self.e[2]);
        let several = self.chunk < g.co;
        for c0 in (0..g.co).step_by(self.chunk) {
            let channels = self.chunk.min(g.co - c0);
            self.gather(&dy[c0 * g.output_len()..][..channels * g.output_len()], at, buffer);
            let last = c0 + channels == g.co;
            for (number, phase) in self.phases.iter().enumerate() {
                let taps = phase.taps.len();
                let base = (group * g.taps() + phase.before) * blocks * g.co * ROWS;
                for cb in 0..blocks {
                    let w = &wp[base + (cb * g.co + c0) * taps * ROWS..][..channels * taps * ROWS];
                    let held = if several { (number * blocks + cb) * ROWS } else { 0 };
                    let sums = &mut sums[held * self.rz * slice..][..ROWS * self.rz * slice];
                    for z in 0..self.rz {
                        output_tiles(
                            &buffer[z * ey * ex..],
                            &phase.offsets[..channels * taps],
                            w,
                            &mut sums[z * slice..],
                            self.rz * slice,
                            slice / TILE,
                            if c0 == 0 { Write::Set } else { Write::Add },
                        );
                    }
                    if !last {
                        continue;
                    }
                    for m in 0..ROWS.min(g.ci - cb * ROWS) {
                        let c = cb * ROWS + m;
                        let b = bias.map_or(T::ZERO, |b| b[group * g.ci + c]);
                        let out = &mut out[c * deepest..][..deepest];
                        self.scatter(&sums[m * self.rz * slice..], phase, at, start, b, out, onto);
                    }
                }
            }
        }
    }

    /// One channel and phase of a block to its pixels.
    fn scatter<T: Real>(
        &self,
        sums: &[T],
        phase: &Phase,
        at: [usize; 2],
        start: [usize; 2],
        b: T,
        out: &mut [Option<&mut [T]>],
        onto: Write,
    ) {
        let s = self.g.axes.map(|a| a.stride);
        // The target of index r of a block, within its piece.
        let target = |axis: usize, r: usize| -> Option<usize> {
            let u = s[axis] * (self.first[axis] + at[axis] + r) + phase.a[axis];
            u.checked_sub(self.low[axis])?.checked_sub(start[axis])
        };
        let width = self.len[2];
        for z in 0..self.rz {
            let Some(tz) = target(0, z) else { continue };
            let Some(Some(piece)) = out.get_mut(tz) else { continue };
            for y in 0..self.ry {
                let Some(ty) = target(1, y) else { continue };
                if (ty + 1) * width > piece.len() {
                    continue;
                }
                let row = &mut piece[ty * width..][..width];
                let sums = &sums[z * self.slice_len() + y * self.e[2]..][..self.count[2]];
                // The first index whose column is not left of the image.
                let base = s[2] * self.first[2] + phase.a[2];
                let skip = self.low[2].saturating_sub(base).div_ceil(s[2]);
                let from = base + s[2] * skip - self.low[2];
                if from >= width {
                    continue;
                }
                let sums = &sums[skip..];
                if s[2] == 1 {
                    row[from..].iter_mut().zip(sums).for_each(|(x, &v)| write(x, v + b, onto));
                } else {
                    row[from..].iter_mut().step_by(s[2]).zip(sums).for_each(|(x, &v)| write(x, v + b, onto));
                }
            }
        }
    }

    /// dy of a block, from index i − q on, zero beyond its ends.
    fn gather<T: Real>(&self, dy: &[T], at: [usize; 2], buffer: &mut [T]) {
        let [oz, oy, ox] = self.g.axes.map(|a| a.output);
        let source = |axis: usize, i: usize| (self.first[axis] + i).checked_sub(self.q[axis]);
        // The columns that exist: out[left..left + width] = row[from..].
        let left = self.q[2].saturating_sub(self.first[2]).min(self.e[2]);
        let from = self.first[2].saturating_sub(self.q[2]).min(ox);
        let width = (ox - from).min(self.e[2] - left);
        let mut rows = buffer.chunks_mut(self.e[2]);
        for channel in dy.chunks_exact(oz * oy * ox) {
            for ez in 0..self.e[0] {
                let z = source(0, at[0] + ez).filter(|&z| z < oz);
                for ey in 0..self.e[1] {
                    let y = source(1, at[1] + ey).filter(|&y| y < oy);
                    let out = rows.next().expect("a row of the block");
                    match (z, y) {
                        (Some(z), Some(y)) => {
                            let row = &channel[(z * oy + y) * ox..][..ox];
                            out[..left].fill(T::ZERO);
                            out[left..left + width].copy_from_slice(&row[from..from + width]);
                            out[left + width..].fill(T::ZERO);
                        }
                        _ => out.fill(T::ZERO),
                    }
                }
            }
        }
    }

    /// Weights as (group, phase, block of 8 input channels, output channel, tap of the phase, 8).
    fn pack_weights<T: Real>(&self, w: &[T], wp: &mut [T]) {
        let (g, all) = (&self.g, self.g.taps());
        let blocks = g.ci.div_ceil(ROWS);
        let mut eights = wp.chunks_exact_mut(ROWS);
        for group in 0..g.groups {
            for phase in &self.phases {
                for cb in 0..blocks {
                    for o in 0..g.co {
                        for &tap in &phase.taps {
                            for (m, v) in eights.next().expect("eight weights").iter_mut().enumerate() {
                                let c = cb * ROWS + m;
                                let at = ((group * g.co + o) * g.ci + c) * all + tap;
                                *v = if c < g.ci { w[at] } else { T::ZERO };
                            }
                        }
                    }
                }
            }
        }
    }

    /// Adds each pixel of the padded image to the one it repeats.
    fn fold<T: Real>(&self, folded: &[T], dx: &mut [T], onto: Write, par: &Par) {
        let g = &self.g;
        let [az, ay, ax] = g.axes;
        let [lz, ly, lx] = self.len;
        par.chunks(dx, g.input_len(), |c, dx| {
            if onto == Write::Set {
                dx.fill(T::ZERO);
            }
            let folded = &folded[c * lz * ly * lx..][..lz * ly * lx];
            for (r, row) in folded.chunks_exact(lx).enumerate() {
                let (Some(z), Some(y)) = (az.source(r / ly, g.mode), ay.source(r % ly, g.mode)) else { continue };
                let out = &mut dx[(z * ay.input + y) * ax.input..][..ax.input];
                let (p, n) = (ax.padding, ax.input);
                out.iter_mut().zip(&row[p..p + n]).for_each(|(x, &v)| *x += v);
                for u in (0..p).chain(p + n..lx) {
                    if let Some(t) = ax.source(u, g.mode) {
                        out[t] += row[u];
                    }
                }
            }
        });
    }
}
