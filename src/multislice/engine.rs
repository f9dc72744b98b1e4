//! The passes of multislice, on sixteen rows or columns at a time.
//!
//! A wave is never stored as a plain spectrum. Between two passes it is half transformed, and only the columns kx inside the band limit
//! exist, `kept` of them (a multiple of 16):
//!
//! ```text
//! u1   after the row pass      [row band][wave][re, im][kept kx][16 y]
//! u2   after the column pass   [column band][wave][re, im][y, and a gap][16 kx]
//! ```
//!
//! A row pass reads u2, transforms 16 rows back along x, multiplies by the transmission, transforms along x, multiplies by the part of the
//! propagator that depends on kx, and writes u1; a column pass reads u1, transforms 16 columns along y, multiplies by the rest of the
//! propagator and the band limit, transforms back and writes u2. Each writes one contiguous chunk a band, so that bands are
//! shared out to threads, and what lies between the transforms of a band stays in the first-level cache. Reading transposes
//! blocks of 16 × 16.
//!
//! A thread that has a wave to itself needs u1 only ([`Engine::put_columns`]): its column pass writes each block of
//! 16 × 16 back to the place it was read from, and the wave, half as large, stays in the thread's second-level cache.
//!
//! Real space along x and the spectrum along y are in the order that [`LaneFft`] leaves: transmissions, waves in lanes, the band limit
//! and the propagator's part of ky are stored in it. kx and y are in their natural order.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Factor, GAP, LANES, Lane, LaneBuffers, LaneFft, frequency_index};
use crate::op::Write;
use crate::optics::Grid;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::simd::{lines, transpose16, vectorized};

/// Whether a factor is taken as it is or conjugated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conjugate {
    No,
    Yes,
}

/// Sizes, transforms and the band limit of a grid.
#[derive(Clone, Debug)]
pub(crate) struct Engine<T: Real> {
    pub ny: usize,
    pub nx: usize,
    /// Bands of 16 rows, and the rows they have room for.
    pub bands: usize,
    pub padded: usize,
    /// Columns that are kept, a multiple of 16; the bands of 16 that they make.
    pub kept: usize,
    pub columns: usize,
    /// Of the kept columns, so many from index 0 and so many up to the last; the others are padding.
    low: usize,
    high: usize,
    fx: LaneFft<T>,
    fy: LaneFft<T>,
    /// Band limit × 1/(nx ny), (columns, ny).
    mask: Vec<Lane<T>>,
    /// Frequencies of the kept columns and, in their order, of the rows, 1/Å.
    pub kx: Vec<f64>,
    pub ky: Vec<f64>,
}

impl<T: Real> Engine<T> {
    /// `pass(|k|)` is the band limit, 0 above `limit`; 1/Å.
    pub fn new(grid: &Grid, limit: f64, pass: impl Fn(f64) -> f64) -> Result<Self, Error> {
        let [ny, nx] = grid.dims;
        let [ly, lx] = grid.extent().map(|l| l.to_angstrom());
        let reach = (limit * lx).floor();
        let (mut low, mut high) = (nx, 0);
        if 2.0 * reach + 1.0 < nx as f64 {
            (low, high) = (reach as usize + 1, reach as usize);
        }
        if (low + high).next_multiple_of(LANES) >= nx {
            (low, high) = (nx, 0);
        }
        let kept = (low + high).next_multiple_of(LANES);
        let (bands, columns) = (ny.div_ceil(LANES), kept / LANES);
        let mut engine = Engine {
            ny,
            nx,
            bands,
            padded: bands * LANES,
            kept,
            columns,
            low,
            high,
            fx: LaneFft::new(nx)?,
            fy: LaneFft::new(ny)?,
            mask: try_zeroed(columns * ny)?,
            kx: vec![0.0; kept],
            ky: vec![0.0; ny],
        };
        for (i, &at) in engine.fy.order().iter().enumerate() {
            engine.ky[at as usize] = frequency_index(i, ny) as f64 / ly;
        }
        for i in 0..kept {
            let Some(column) = engine.column(i) else { continue };
            engine.kx[i] = frequency_index(column, nx) as f64 / lx;
            for iy in 0..ny {
                let k = engine.ky[iy].hypot(engine.kx[i]);
                let a = if k <= limit { pass(k) } else { 0.0 };
                engine.mask[i / LANES * ny + iy][i % LANES] = T::of(a / (nx * ny) as f64);
            }
        }
        Ok(engine)
    }

    /// The column of the spectrum that the kept one with index i is.
    pub fn column(&self, i: usize) -> Option<usize> {
        match i {
            i if i < self.low => Some(i),
            i if i < self.low + self.high => Some(self.nx - self.high + i - self.low),
            _ => None,
        }
    }

    /// Lanes of u1, of u2, of one set of transform buffers, and of a wave in real space, a band's chunk of which is 2 nx.
    pub fn u1_len(&self, waves: usize) -> usize {
        self.bands * self.u1_chunk(waves)
    }
    pub fn u1_chunk(&self, waves: usize) -> usize {
        waves * 2 * self.kept
    }
    pub fn u2_len(&self, waves: usize) -> usize {
        self.columns * self.u2_chunk(waves)
    }
    pub fn u2_chunk(&self, waves: usize) -> usize {
        waves * 2 * self.pitch()
    }
    /// From the real to the imaginary parts of a wave in u2.
    pub fn pitch(&self) -> usize {
        self.padded + GAP
    }
    pub fn work_len(&self) -> usize {
        2 * self.side() + self.fx.spare_len().max(self.fy.spare_len())
    }
    fn side(&self) -> usize {
        self.padded.max(self.kept).max(self.nx.next_multiple_of(LANES)) + GAP
    }
    pub fn work<'s>(&self, words: &'s mut [Lane<T>]) -> LaneBuffers<'s, T> {
        LaneBuffers::new(words, self.side())
    }
    pub fn real_len(&self) -> usize {
        self.bands * 2 * self.nx
    }

    /// Sixteen rows of a wave (ny, nx); zeros below its last row.
    pub fn load_rows(&self, psi: &[Complex<T>], band: usize, b: &mut LaneBuffers<'_, T>) {
        for i in 0..LANES {
            let y = band * LANES + i;
            if y < self.ny {
                for (z, &x) in psi[y * self.nx..(y + 1) * self.nx].iter().zip(self.fx.order()) {
                    (b.re[x as usize][i], b.im[x as usize][i]) = (z.re, z.im);
                }
            } else {
                for x in 0..self.nx {
                    (b.re[x][i], b.im[x][i]) = (T::ZERO, T::ZERO);
                }
            }
        }
    }

    /// The inverse of [`Engine::load_rows`], into the rows of this band.
    pub fn store_rows(&self, b: &LaneBuffers<'_, T>, rows: &mut [Complex<T>]) {
        for (i, row) in rows.chunks_mut(self.nx).enumerate() {
            for (z, &x) in row.iter_mut().zip(self.fx.order()) {
                *z = Complex::new(b.re[x as usize][i], b.im[x as usize][i]);
            }
        }
    }

    /// Sixteen rows of a field in lanes, (2, nx).
    pub fn load_lanes(&self, t: &[Lane<T>], b: &mut LaneBuffers<'_, T>) {
        b.re[..self.nx].copy_from_slice(&t[..self.nx]);
        b.im[..self.nx].copy_from_slice(&t[self.nx..]);
    }

    /// The inverse of [`Engine::load_lanes`].
    pub fn store_lanes(&self, b: &LaneBuffers<'_, T>, t: &mut [Lane<T>]) {
        t[..self.nx].copy_from_slice(&b.re[..self.nx]);
        t[self.nx..].copy_from_slice(&b.im[..self.nx]);
    }

    /// Where each point x of real space stands.
    pub fn x_order(&self) -> &[u32] {
        self.fx.order()
    }

    /// b ← t b, or t̄ b, for sixteen rows of a transmission, (2, nx).
    pub fn multiply(&self, t: &[Lane<T>], conjugate: Conjugate, b: &mut LaneBuffers<'_, T>) {
        let (t, n) = (t.as_flattened().split_at(self.nx * LANES), self.nx);
        let (re, im) = (b.re[..n].as_flattened_mut(), b.im[..n].as_flattened_mut());
        let sign = sign::<T>(conjugate);
        vectorized!({
            for ((re, im), (&tr, &ti)) in re.iter_mut().zip(im).zip(t.0.iter().zip(t.1)) {
                let (zr, zi, ti) = (*re, *im, sign * ti);
                *re = zr * tr - zi * ti;
                *im = zr * ti + zi * tr;
            }
        })
    }

    /// g ← ā b, or g += ā b, for sixteen rows of two fields; g is in lanes, (2, nx).
    pub fn accumulate(&self, a: &LaneBuffers<'_, T>, b: &LaneBuffers<'_, T>, g: &mut [Lane<T>], how: Write) {
        let (n, (re, im)) = (self.nx, g.split_at_mut(self.nx));
        lines::times_conjugate([&b.re[..n], &b.im[..n]], [&a.re[..n], &a.im[..n]], re, im, how);
    }

    /// Transforms sixteen rows along x: to the spectrum, or back from it.
    pub fn along_x(&self, b: &mut LaneBuffers<'_, T>, direction: Direction) {
        match direction {
            Direction::Forward => self.fx.to_natural(b, direction),
            Direction::Inverse => self.fx.to_order(b, direction),
        }
    }

    /// Writes the kept columns, times `px`, into a chunk (2, kept) of u1.
    pub fn keep(&self, b: &LaneBuffers<'_, T>, px: &[[T; 2]], conjugate: Conjugate, chunk: &mut [Lane<T>]) {
        let (re, im) = chunk.split_at_mut(self.kept);
        let mut part = |from: usize, to: usize, n: usize| {
            let (x, y) = ((&b.re[from..], &b.im[from..]), (&mut re[to..], &mut im[to..]));
            lines::times(x, &px[to..to + n], sign(conjugate), y);
        };
        part(0, 0, self.low);
        part(self.nx - self.high, self.low, self.high);
        for x in self.low + self.high..self.kept {
            (re[x], im[x]) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        }
    }

    /// Reads sixteen columns of one wave out of u1.
    pub fn gather_columns(&self, u1: &[Lane<T>], waves: usize, w: usize, c: usize, b: &mut LaneBuffers<'_, T>) {
        for band in 0..self.bands {
            let at = (band * waves + w) * 2 * self.kept + c * LANES;
            let y = band * LANES;
            block(&u1[at..], &mut b.re[y..]);
            block(&u1[at + self.kept..], &mut b.im[y..]);
        }
    }

    /// Transforms sixteen columns along y to the spectrum.
    pub fn along_y(&self, b: &mut LaneBuffers<'_, T>) {
        self.fy.to_order(b, Direction::Forward);
    }

    /// b ← F_x t F_x⁻¹ b, or t̄, for sixteen rows: unnormalised.
    pub fn transmit(&self, t: &[Lane<T>], conjugate: Conjugate, b: &mut LaneBuffers<'_, T>) {
        let (re, im) = t.split_at(self.nx);
        self.fx.through(b, Direction::Inverse, Factor::Field(re, im), sign(conjugate));
    }

    /// b ← F_y⁻¹ py · band limit/N · F_y b for column band c.
    pub fn propagate(&self, c: usize, py: &[[T; 2]], conjugate: Conjugate, b: &mut LaneBuffers<'_, T>) {
        let mask = &self.mask[c * self.ny..(c + 1) * self.ny];
        self.fy.through(b, Direction::Forward, Factor::Product(mask, py), sign(conjugate));
    }

    /// Buffers that work where a wave's chunk of u2 lies.
    pub fn in_chunk<'s>(&self, chunk: &'s mut [Lane<T>], work: &'s mut LaneBuffers<'_, T>) -> LaneBuffers<'s, T> {
        let (re, im) = chunk.split_at_mut(self.pitch());
        work.with(re, im)
    }

    /// Writes sixteen columns as they stand into the places of u1 that they came from, where [`Engine::gather_own_rows`]
    /// finds them.
    pub fn put_columns(&self, b: &LaneBuffers<'_, T>, waves: usize, w: usize, c: usize, u1: &mut [Lane<T>]) {
        for band in 0..self.bands {
            let at = (band * waves + w) * 2 * self.kept + c * LANES;
            let y = band * LANES;
            u1[at..at + LANES].copy_from_slice(&b.re[y..y + LANES]);
            u1[at + self.kept..][..LANES].copy_from_slice(&b.im[y..y + LANES]);
        }
    }

    /// Reads sixteen rows of one wave out of u2: kept columns to their places, zeros between.
    pub fn gather_rows(&self, u2: &[Lane<T>], waves: usize, w: usize, band: usize, b: &mut LaneBuffers<'_, T>) {
        self.turn_rows(b, |c| {
            let at = (c * waves + w) * 2 * self.pitch() + band * LANES;
            (&u2[at..], &u2[at + self.pitch()..])
        });
    }

    /// The same out of a band's chunk (2, kept) of u1, after [`Engine::put_columns`].
    pub fn gather_own_rows(&self, chunk: &[Lane<T>], b: &mut LaneBuffers<'_, T>) {
        self.turn_rows(b, |c| (&chunk[c * LANES..], &chunk[self.kept + c * LANES..]));
    }

    /// Turns the blocks, real and imaginary parts, that `blocks(column band)` gives.
    fn turn_rows<'s>(&self, b: &mut LaneBuffers<'_, T>, blocks: impl Fn(usize) -> (&'s [Lane<T>], &'s [Lane<T>])) {
        let gap = self.low..self.nx - self.high;
        b.re[gap.clone()].fill([T::ZERO; LANES]);
        b.im[gap].fill([T::ZERO; LANES]);
        for c in 0..self.columns {
            let (x, y) = blocks(c);
            if let Some(at) = self.straight(c) {
                block(x, &mut b.re[at..]);
                block(y, &mut b.im[at..]);
            } else {
                let (mut re, mut im) = ([[T::ZERO; LANES]; LANES], [[T::ZERO; LANES]; LANES]);
                block(x, &mut re);
                block(y, &mut im);
                for j in 0..LANES {
                    if let Some(at) = self.column(c * LANES + j) {
                        (b.re[at], b.im[at]) = (re[j], im[j]);
                    }
                }
            }
        }
    }

    /// The first column of a band whose columns are neighbours in the spectrum.
    fn straight(&self, c: usize) -> Option<usize> {
        let i = c * LANES;
        let neighbours = i + LANES <= self.low || (i >= self.low && i + LANES <= self.low + self.high);
        if neighbours { self.column(i) } else { None }
    }

    /// |A F ψ|² of one wave in u1, the band limit's A included: `pattern` is (ny, nx).
    pub fn intensities(&self, u1: &[Lane<T>], waves: usize, w: usize, pattern: &mut [T], b: &mut LaneBuffers<'_, T>) {
        pattern.fill(T::ZERO);
        let (ny, scale) = (self.ny, T::of((self.ny * self.nx) as f64));
        for c in 0..self.columns {
            self.gather_columns(u1, waves, w, c, b);
            self.along_y(b);
            let mask = self.mask[c * ny..(c + 1) * ny].as_flattened();
            let (re, im) = (b.re[..ny].as_flattened_mut(), b.im[..ny].as_flattened());
            vectorized!({
                for ((re, &im), &mask) in re.iter_mut().zip(im).zip(mask) {
                    let a = scale * mask;
                    *re = (*re * *re + im * im) * (a * a);
                }
            });
            for (row, &at) in pattern.chunks_mut(self.nx).zip(self.fy.order()) {
                let lanes = &b.re[at as usize];
                if let Some(x) = self.straight(c) {
                    row[x..x + LANES].copy_from_slice(lanes);
                } else {
                    for (l, &v) in lanes.iter().enumerate() {
                        if let Some(x) = self.column(c * LANES + l) {
                            row[x] = v;
                        }
                    }
                }
            }
        }
    }
}

fn sign<T: Real>(conjugate: Conjugate) -> T {
    match conjugate {
        Conjugate::No => T::ONE,
        Conjugate::Yes => -T::ONE,
    }
}

/// Transposes the first 16 × 16 numbers.
#[inline]
fn block<T: Real>(x: &[Lane<T>], y: &mut [Lane<T>]) {
    let (Some(x), Some(y)) = (x.first_chunk::<LANES>(), y.first_chunk_mut::<LANES>()) else {
        unreachable!("bands are whole")
    };
    transpose16(x, y);
}
