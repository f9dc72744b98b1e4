//! Two-dimensional transforms by [`LaneFft`]: sixteen lines at a time.
//!
//! Sixteen rows (or columns) are read into lanes and transformed, then turned, in blocks of 16 × 16, into lanes that hold sixteen
//! columns of what the first pass leaves; these are transformed where they lie and written to the picture. Between the passes the
//! numbers stay in lanes: each is turned once, and every pass but the last writes whole cache lines.

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

/// What the first pass reads.
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
        let between = first(&self.along_x, Lines::Rows, x, [ny, nx], direction, scratch);
        last(&self.along_y, between, x, [ny, nx], direction, scale);
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
        let between = first(a, Lines::Columns, from.unwrap_or(to), [height, width], direction, scratch);
        last(b, between, to, [width, height], direction, scale);
    }
}

/// Lanes of the real parts of `n` points, in whole blocks, and of real and imaginary parts.
fn half(n: usize) -> usize {
    n.next_multiple_of(LANES) + GAP
}

fn chunk(n: usize) -> usize {
    2 * half(n)
}

/// Transforms the rows or columns of a picture (height, width). Chunk c of the result holds sixteen of the transforms' points, from
/// 16 c on, in its lanes; its own points are the lines.
fn first<'s, T: Real>(
    plan: &LaneFft<T>,
    what: Lines,
    x: &[Complex<T>],
    [height, width]: [usize; 2],
    direction: Direction,
    scratch: &'s mut [Complex<T>],
) -> &'s mut [Lane<T>] {
    let (n, lines) = match what {
        Lines::Rows => (width, height),
        Lines::Columns => (height, width),
    };
    let (work, between) = aligned_words(bytemuck::cast_slice_mut(scratch)).split_at_mut(chunk(n));
    let between = &mut between[..n.div_ceil(LANES) * chunk(lines)];
    let mut b = LaneBuffers::new(work, half(n));
    for at in (0..lines).step_by(LANES) {
        let count = LANES.min(lines - at);
        match what {
            Lines::Rows => lines::read_rows(&x[at * width..], width, count, &mut b.re[..n], &mut b.im[..n]),
            Lines::Columns => lines::read_columns(&x[at..], width, count, &mut b.re[..n], &mut b.im[..n]),
        }
        plan.to_order(&mut b, direction);
        lines::turn(b.re, plan.order(), &mut between[at..], chunk(lines));
        lines::turn(b.im, plan.order(), &mut between[half(lines) + at..], chunk(lines));
    }
    between
}

/// Transforms the chunks where they lie, and writes them as columns of a picture (height, width).
fn last<T: Real>(
    plan: &LaneFft<T>,
    between: &mut [Lane<T>],
    y: &mut [Complex<T>],
    [height, width]: [usize; 2],
    direction: Direction,
    scale: T,
) {
    for (points, at) in between.chunks_exact_mut(chunk(height)).zip((0..width).step_by(LANES)) {
        let mut b = LaneBuffers::new(points, half(height));
        plan.to_order(&mut b, direction);
        lines::write_columns((b.re, b.im), plan.order(), scale, &mut y[at..], width, LANES.min(width - at));
    }
}
