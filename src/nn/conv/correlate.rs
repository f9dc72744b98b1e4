//! The forward pass of a convolution.

use std::ops::Range;

use crate::nn::conv::geometry::{Geometry, block, gather_row, pieces};
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::simd::conv::{ROWS, TILE, output_tiles};

/// Words of a block's padded input: 720 kB of `f32`, which leaves room in a cache of 2 MB.
const BUDGET: usize = 180_000;

/// `y[o] = b + Σ_κ w[κ] x[s o + d κ − p]`, over channels and taps.
///
/// 1. The output is cut into blocks of slices and rows. A block copies the padded input it reads, phase by phase, into
///    a buffer that stays in the cache.
/// 2. There, rows lie one after the other, so that an output pixel is one index p = row · width + column, and each tap
///    of each channel is an offset. The columns beyond the output's width are computed and dropped.
/// 3. The inner kernel ([`output_tiles`]) sums over (channel, tap) with eight output channels and 48 pixels in
///    registers.
#[derive(Clone, Debug)]
pub(crate) struct Correlate {
    g: Geometry,
    phases: [Vec<usize>; 3],
    /// Slices and rows of a block.
    rz: usize,
    ry: usize,
    /// Extents of a phase of a block: (rz, ry, width) and what the taps reach beyond.
    e: [usize; 3],
    /// Input channels that are copied at a time.
    chunk: usize,
    /// Offset of (channel within a chunk, tap).
    offsets: Vec<usize>,
}

impl Correlate {
    pub fn new(g: &Geometry) -> Self {
        let phases = g.phases();
        let count: usize = phases.iter().map(Vec::len).product();
        let q = g.axes.map(|a| a.q_max());
        let [oz, oy, ox] = g.axes.map(|a| a.output);
        let words = |chunk: usize, rz: usize, ry: usize| chunk * count * (rz + q[0]) * (ry + q[1]) * (ox + q[2]);
        let mut chunk = g.ci;
        // Bands of fewer rows than the kernel has would copy most rows several times: rather fewer channels at a time.
        while chunk > 8 && words(chunk, 1, oy.min(4 + 2 * q[1])) > BUDGET {
            chunk = chunk.div_ceil(2);
        }
        let [rz, ry] = block(oz, oy, g.n, BUDGET, |rz, ry| words(chunk, rz, ry));
        let e = [rz + q[0], ry + q[1], ox + q[2]];
        let volume = e[0] * e[1] * e[2];
        let taps = g.tap_list();
        let offsets = (0..chunk)
            .flat_map(|c| taps.iter().map(move |t| (c, t)))
            .map(|(c, t)| {
                let mut phase = 0;
                let mut shift = 0;
                for i in 0..3 {
                    let (a, q) = g.axes[i].phase(t[i]);
                    let index = phases[i].iter().position(|&p| p == a).expect("a phase of a tap");
                    phase = phase * phases[i].len() + index;
                    shift = shift * e[i] + q;
                }
                (c * count + phase) * volume + shift
            })
            .collect();
        Correlate { g: g.clone(), phases, rz, ry, e, chunk, offsets }
    }

    /// Pixels of a slice of a block, padded columns included, in whole tiles.
    fn slice_len(&self) -> usize {
        (self.ry * self.e[2]).next_multiple_of(TILE)
    }

    fn input_words(&self) -> usize {
        let count: usize = self.phases.iter().map(Vec::len).product();
        self.chunk * count * self.e.iter().product::<usize>() + self.e[2] + TILE
    }

    /// Output channels that are held at a time: all of a group if their sums are taken in several chunks.
    fn held(&self) -> usize {
        if self.chunk < self.g.ci { self.g.co.next_multiple_of(ROWS) } else { ROWS }
    }

    fn task_words(&self) -> usize {
        self.input_words() + self.held() * self.rz * self.slice_len()
    }

    fn weight_words(&self) -> usize {
        self.g.groups * self.g.co.next_multiple_of(ROWS) * self.g.ci * self.g.taps()
    }

    /// Words of scratch on so many threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.weight_words() + threads * self.task_words()
    }

    /// `y ← conv(x) + b`, or added onto y.
    pub fn run<T: Real>(
        &self,
        x: &[T],
        w: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
        onto: Write,
        scratch: &mut [T],
        par: &Par,
    ) {
        // x is (n, groups ci, z, y, x), w is (groups co, ci, taps), y is (n, groups co, oz, oy, ox)
        let g = &self.g;
        let (wp, tasks) = scratch.split_at_mut(self.weight_words());
        self.pack_weights(w, wp);
        let wp = &*wp;
        let [oz, oy, ox] = g.axes.map(|a| a.output);
        let ranges = |len: usize, step: usize| -> Vec<Range<usize>> {
            (0..len).step_by(step).map(|a| a..(a + step).min(len)).collect()
        };
        let (slices, bands) = (ranges(oz, self.rz), ranges(oy, self.ry));
        let (mut out, deepest) = pieces(y, g.n, g.groups * g.co, &slices, &bands, ox);
        let per_block = g.groups * g.co * deepest;
        let mut states: Vec<&mut [T]> = tasks.chunks_exact_mut(self.task_words()).take(par.count()).collect();
        par.chunks_with(&mut out, per_block, &mut states, |task, out, state| {
            let (image, rest) = (task / (slices.len() * bands.len()), task % (slices.len() * bands.len()));
            let (z0, y0) = (slices[rest / bands.len()].start, bands[rest % bands.len()].start);
            let (buffer, sums) = state.split_at_mut(self.input_words());
            for group in 0..g.groups {
                let out = &mut out[group * g.co * deepest..][..g.co * deepest];
                let x = &x[(image * g.groups + group) * g.ci * g.input_len()..][..g.ci * g.input_len()];
                self.group(x, wp, group, [z0, y0], bias, out, deepest, onto, buffer, sums);
            }
        });
    }

    /// One group of one block.
    fn group<T: Real>(
        &self,
        x: &[T],
        wp: &[T],
        group: usize,
        at: [usize; 2],
        bias: Option<&[T]>,
        out: &mut [Option<&mut [T]>],
        deepest: usize,
        onto: Write,
        buffer: &mut [T],
        sums: &mut [T],
    ) {
        let g = &self.g;
        let (taps, slice) = (g.taps(), self.slice_len());
        let (ey, ex) = (self.e[1], self.e[2]);
        let blocks = g.co.div_ceil(ROWS);
        let several = self.chunk < g.ci;
        for c0 in (0..g.ci).step_by(self.chunk) {
            let channels = self.chunk.min(g.ci - c0);
            self.gather(&x[c0 * g.input_len()..][..channels * g.input_len()], at, buffer);
            let last = c0 + channels == g.ci;
            for cb in 0..blocks {
                let w = &wp[((group * blocks + cb) * g.ci + c0) * taps * ROWS..][..channels * taps * ROWS];
                let held = if several { cb * ROWS } else { 0 };
                let sums = &mut sums[held * self.rz * slice..][..ROWS * self.rz * slice];
                for z in 0..deepest {
                    output_tiles(
                        &buffer[z * ey * ex..],
                        &self.offsets[..channels * taps],
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
                // The columns of the output, with the bias, to where they belong.
                for m in 0..ROWS.min(g.co - cb * ROWS) {
                    let c = cb * ROWS + m;
                    let b = bias.map_or(T::ZERO, |b| b[group * g.co + c]);
                    let ox = g.axes[2].output;
                    for z in 0..deepest {
                        let Some(out) = &mut out[c * deepest + z] else { continue };
                        let sums = &sums[(m * self.rz + z) * slice..];
                        for (out, sums) in out.chunks_exact_mut(ox).zip(sums.chunks(ex)) {
                            match onto {
                                Write::Set => out.iter_mut().zip(sums).for_each(|(y, &s)| *y = s + b),
                                Write::Add => out.iter_mut().zip(sums).for_each(|(y, &s)| *y += s + b),
                            }
                        }
                    }
                }
            }
        }
    }

    /// The padded input of a block: (channel, phase, slice, row, column).
    fn gather<T: Real>(&self, x: &[T], [z0, y0]: [usize; 2], buffer: &mut [T]) {
        gather_block(&self.g, &self.phases, self.e, x, [z0, y0], buffer);
    }

    /// Weights as (group, block of 8 output channels, input channel, tap, 8), zeros beyond the last channel.
    fn pack_weights<T: Real>(&self, w: &[T], wp: &mut [T]) {
        let (g, taps) = (&self.g, self.g.taps());
        let blocks = g.co.div_ceil(ROWS);
        for (i, eight) in wp.chunks_exact_mut(ROWS).enumerate() {
            let (tap, c, cb, group) =
                (i % taps, i / taps % g.ci, i / (taps * g.ci) % blocks, i / (taps * g.ci * blocks));
            for (m, v) in eight.iter_mut().enumerate() {
                let o = cb * ROWS + m;
                *v = if o < g.co { w[((group * g.co + o) * g.ci + c) * taps + tap] } else { T::ZERO };
            }
        }
    }
}

/// Copies the padded input that the outputs from slice z₀ and row y₀ on read: (channel, phase, slice, row, column), for
/// as many channels as x has. Beyond the last, words that tiles may read but whose results are dropped are set to zero.
pub(crate) fn gather_block<T: Real>(
    g: &Geometry,
    phases: &[Vec<usize>; 3],
    e: [usize; 3],
    x: &[T],
    [z0, y0]: [usize; 2],
    buffer: &mut [T],
) {
    let [z, y, w] = g.axes;
    let mut rows = buffer.chunks_mut(e[2]);
    for channel in x.chunks_exact(g.input_len()) {
        for &az in &phases[0] {
            for &ay in &phases[1] {
                for &ax in &phases[2] {
                    for ez in 0..e[0] {
                        let tz = z.source(z.stride * (z0 + ez) + az, g.mode);
                        for ey in 0..e[1] {
                            let out = rows.next().expect("a row of the block");
                            match (tz, y.source(y.stride * (y0 + ey) + ay, g.mode)) {
                                (Some(tz), Some(ty)) => {
                                    let row = &channel[(tz * y.input + ty) * w.input..][..w.input];
                                    gather_row(&w, g.mode, ax, 0, row, out);
                                }
                                _ => out.fill(T::ZERO),
                            }
                        }
                    }
                }
            }
        }
    }
    rows.for_each(|r| r.fill(T::ZERO));
}
