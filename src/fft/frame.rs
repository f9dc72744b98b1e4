//! Two-dimensional transforms by [`LaneFft`]: sixteen rows at a time, then sixteen columns at a time.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Direction;
use crate::fft::lanes::{GAP, LANES, LaneBuffers, LaneFft, aligned_words};
use crate::real::Real;
use crate::simd::lines;

/// The plan for frames of (ny, nx) whose sides have no prime factor above 13.
#[derive(Clone, Debug)]
pub(crate) struct FrameFft<T: Real> {
    dims: [usize; 2],
    along_y: LaneFft<T>,
    along_x: LaneFft<T>,
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

    /// Complex numbers of scratch: the points of sixteen lines, and what aligning them may cost.
    pub fn scratch_len(&self) -> usize {
        (self.dims[0].max(self.dims[1]) + GAP + 1) * LANES
    }

    /// The transform in place, times `scale`.
    pub fn transform(&self, x: &mut [Complex<T>], direction: Direction, scale: T, scratch: &mut [Complex<T>]) {
        let ([ny, nx], mut b) = (self.dims, self.buffers(scratch));
        for at in (0..ny).step_by(LANES) {
            let (x, rows) = (&mut x[at * nx..], LANES.min(ny - at));
            lines::read_rows(x, nx, rows, &mut b.re[..nx], &mut b.im[..nx]);
            self.along_x.to_order(&mut b, direction);
            lines::write_rows((b.re, b.im), self.along_x.order(), T::ONE, x, nx, rows);
        }
        columns(&self.along_y, x, nx, direction, scale, &mut b);
    }

    /// The transform of `from` (ny, nx) into `to` (nx, ny), times `scale`: columns out as rows, then the columns of those.
    pub fn to_transposed(
        &self,
        from: &[Complex<T>],
        to: &mut [Complex<T>],
        direction: Direction,
        scale: T,
        scratch: &mut [Complex<T>],
    ) {
        transposing([&self.along_y, &self.along_x], self.dims, from, to, direction, scale, &mut self.buffers(scratch));
    }

    /// The transform of `from` (nx, ny) into `to` (ny, nx), times `scale`.
    pub fn transposed_back(
        &self,
        from: &[Complex<T>],
        to: &mut [Complex<T>],
        direction: Direction,
        scale: T,
        scratch: &mut [Complex<T>],
    ) {
        let [ny, nx] = self.dims;
        transposing([&self.along_x, &self.along_y], [nx, ny], from, to, direction, scale, &mut self.buffers(scratch));
    }

    fn buffers<'s>(&self, scratch: &'s mut [Complex<T>]) -> LaneBuffers<'s, T> {
        LaneBuffers::new(aligned_words(bytemuck::cast_slice_mut(scratch)), self.dims[0].max(self.dims[1]) + GAP)
    }
}

/// Columns of `from` (n0, n1) transformed into rows of `to` (n1, n0), and the columns of that in place.
fn transposing<T: Real>(
    [along0, along1]: [&LaneFft<T>; 2],
    [n0, n1]: [usize; 2],
    from: &[Complex<T>],
    to: &mut [Complex<T>],
    direction: Direction,
    scale: T,
    b: &mut LaneBuffers<'_, T>,
) {
    for at in (0..n1).step_by(LANES) {
        let lines = LANES.min(n1 - at);
        lines::read_columns(&from[at..], n1, lines, &mut b.re[..n0], &mut b.im[..n0]);
        along0.to_order(b, direction);
        lines::write_rows((b.re, b.im), along0.order(), T::ONE, &mut to[at * n0..], n0, lines);
    }
    columns(along1, to, n0, direction, scale, b);
}

/// Transforms the columns of a picture in place, times `scale`.
fn columns<T: Real>(
    plan: &LaneFft<T>,
    x: &mut [Complex<T>],
    width: usize,
    direction: Direction,
    scale: T,
    b: &mut LaneBuffers<'_, T>,
) {
    let height = x.len() / width;
    for at in (0..width).step_by(LANES) {
        let (x, columns) = (&mut x[at..], LANES.min(width - at));
        lines::read_columns(x, width, columns, &mut b.re[..height], &mut b.im[..height]);
        plan.to_order(b, direction);
        lines::write_columns((b.re, b.im), plan.order(), scale, x, width, columns);
    }
}
