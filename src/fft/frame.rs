//! Two-dimensional transforms by [`LaneFft`]: sixteen lines at a time.
//!
//! Sixteen columns are read into lanes and transformed, then turned, in blocks of 16 × 16, into lanes that hold sixteen rows of what the
//! first pass leaves; these are transformed where they lie and written to the picture, as rows, or as columns for a spectrum that is
//! left transposed. The picture's columns are read and not written wherever there is a choice: lines of a cache that lie a power of two
//! apart share its sets, which costs a pass that writes them twice what it costs one that reads.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Direction;
use crate::fft::lanes::{GAP, LANES, Lane, LaneBuffers, LaneFft, aligned_words};
use crate::real::Real;
use crate::simd::lines;

/// The plan for frames of (ny, nx) whose sides have no prime factor above 13.
#[derive(Clone, Debug)]
pub(crate) struct FrameFft<T: Real> {
    dims: [usize; 2],
    along_y: LaneFft<T>,
    along_x: LaneFft<T>,
}

/// What the last pass writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Rows,
    Columns,
}

impl<T: Real> FrameFft<T> {
    /// The plan, where the lanes are quick.
    ///
    /// # Errors
    /// As [`LaneFft::new`].
    pub fn new(dims: [usize; 2]) -> Result<Option<Self>, Error> {
        if !dims.into_iter().all(LaneFft::<T>::is_quick) {
            return Ok(None);
        }
        Ok(Some(FrameFft { dims, along_y: LaneFft::new(dims[0])?, along_x: LaneFft::new(dims[1])? }))
    }

    /// Complex numbers of scratch: the points of sixteen lines, the frame between the passes, and what aligning them may cost.
    pub fn scratch_len(&self) -> usize {
        let pairs = |n: usize, lines: usize| half(n) + n.div_ceil(LANES) * half(lines);
        let [ny, nx] = self.dims;
        (pairs(ny, nx).max(pairs(nx, ny)) + 1) * LANES
    }

    /// The transform in place, times `scale`.
    pub fn transform(&self, x: &mut [Complex<T>], direction: Direction, scale: T, scratch: &mut [Complex<T>]) {
        let [ny, nx] = self.dims;
        let between = first(&self.along_y, x, [ny, nx], direction, scratch);
        last(&self.along_x, between, Lines::Rows, x, [ny, nx], direction, scale);
    }

    /// Forward: the transform of `from` (ny, nx), or of what is in `to`, into `to` (nx, ny), times `scale`. Inverse: the same of a
    /// spectrum (nx, ny) into a frame (ny, nx).
    pub fn transposed(
        &self,
        from: Option<&[Complex<T>]>,
        to: &mut [Complex<T>],
        direction: Direction,
        scale: T,
        scratch: &mut [Complex<T>],
    ) {
        let [ny, nx] = self.dims;
        let ([a, b], [height, width]) = match direction {
            Direction::Forward => ([&self.along_y, &self.along_x], [ny, nx]),
            Direction::Inverse => ([&self.along_x, &self.along_y], [nx, ny]),
        };
        let between = first(a, from.unwrap_or(to), [height, width], direction, scratch);
        last(b, between, Lines::Columns, to, [width, height], direction, scale);
    }
}

/// Lanes of the real parts of `n` points, in whole blocks, and of real and imaginary parts.
fn half(n: usize) -> usize {
    n.next_multiple_of(LANES) + GAP
}

fn chunk(n: usize) -> usize {
    2 * half(n)
}

/// Transforms the columns of a picture (height, width). Chunk c of the result holds sixteen of the transforms' points, from 16 c on, in
/// its lanes; its own points are the columns.
fn first<'s, T: Real>(
    plan: &LaneFft<T>,
    x: &[Complex<T>],
    [height, width]: [usize; 2],
    direction: Direction,
    scratch: &'s mut [Complex<T>],
) -> &'s mut [Lane<T>] {
    let (work, between) = aligned_words(bytemuck::cast_slice_mut(scratch)).split_at_mut(chunk(height));
    let between = &mut between[..height.div_ceil(LANES) * chunk(width)];
    let mut b = LaneBuffers::new(work, half(height));
    for at in (0..width).step_by(LANES) {
        let columns = LANES.min(width - at);
        lines::read_columns(&x[at..], width, columns, &mut b.re[..height], &mut b.im[..height]);
        plan.to_order(&mut b, direction);
        lines::turn(b.re, plan.order(), &mut between[at..], chunk(width));
        lines::turn(b.im, plan.order(), &mut between[half(width) + at..], chunk(width));
    }
    between
}

/// Transforms the chunks where they lie, and writes them as rows or columns of a picture (height, width).
fn last<T: Real>(
    plan: &LaneFft<T>,
    between: &mut [Lane<T>],
    what: Lines,
    y: &mut [Complex<T>],
    [height, width]: [usize; 2],
    direction: Direction,
    scale: T,
) {
    let (n, lines) = match what {
        Lines::Rows => (width, height),
        Lines::Columns => (height, width),
    };
    for (points, at) in between.chunks_exact_mut(chunk(n)).zip((0..lines).step_by(LANES)) {
        let mut b = LaneBuffers::new(points, half(n));
        plan.to_order(&mut b, direction);
        let (points, count) = ((&*b.re, &*b.im), LANES.min(lines - at));
        match what {
            Lines::Rows => lines::write_rows(points, plan.order(), scale, &mut y[at * width..], width, count),
            Lines::Columns => lines::write_columns(points, plan.order(), scale, &mut y[at..], width, count),
        }
    }
}
