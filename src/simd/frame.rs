//! Two-dimensional transforms of `f32` by [`Lanes`]: sixteen rows at a time, then sixteen columns at a time, in place.

use num_complex::Complex;

use super::lanes::{Lanes, Lines, Place};
use crate::real::Real;

/// The plan for frames of (ny, nx).
#[derive(Clone, Debug)]
pub(crate) struct FrameLanes {
    dims: [usize; 2],
    along_y: Lanes,
    along_x: Lanes,
}

impl FrameLanes {
    /// The plan, for `f32` where the processor has AVX-512 and both sides are powers of two from 16 to 4096.
    pub(crate) fn new<T: Real>(dims: [usize; 2]) -> Option<Self> {
        let [ny, nx] = dims;
        if T::NAME != "f32" {
            return None;
        }
        Some(FrameLanes { dims, along_y: Lanes::new(ny)?, along_x: Lanes::new(nx)? })
    }

    /// Complex numbers of scratch.
    pub(crate) fn scratch_len(&self) -> usize {
        self.along_y.scratch_len().max(self.along_x.scratch_len()).div_ceil(2)
    }

    /// The transform in place, times `scale`.
    pub(crate) fn transform<T: Real>(&self, x: &mut [Complex<T>], inverse: bool, scale: T, scratch: &mut [Complex<T>]) {
        let ([ny, nx], x, scratch) = (self.dims, words(x), words(scratch));
        for at in (0..ny).step_by(super::lanes::LANES) {
            let rows = Place { lines: Lines::Rows, width: nx, at };
            self.along_x.run(None, rows, x, rows, inverse, 1.0, scratch);
        }
        for at in (0..nx).step_by(super::lanes::LANES) {
            let columns = Place { lines: Lines::Columns, width: nx, at };
            self.along_y.run(None, columns, x, columns, inverse, scale.f64() as f32, scratch);
        }
    }

    /// The forward transform of `from` (ny, nx) into `to` (nx, ny): columns out as rows, then the columns of those.
    pub(crate) fn forward_transposed<T: Real>(
        &self,
        from: &mut [Complex<T>],
        to: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        let ([ny, nx], from, to, scratch) = (self.dims, words(from), words(to), words(scratch));
        for at in (0..nx).step_by(super::lanes::LANES) {
            let columns = Place { lines: Lines::Columns, width: nx, at };
            let rows = Place { lines: Lines::Rows, width: ny, at };
            self.along_y.run(Some(from), columns, to, rows, false, 1.0, scratch);
        }
        for at in (0..ny).step_by(super::lanes::LANES) {
            let columns = Place { lines: Lines::Columns, width: ny, at };
            self.along_x.run(None, columns, to, columns, false, 1.0, scratch);
        }
    }

    /// The inverse transform of `from` (nx, ny) into `to` (ny, nx), times `scale`.
    pub(crate) fn inverse_transposed<T: Real>(
        &self,
        from: &mut [Complex<T>],
        to: &mut [Complex<T>],
        scale: T,
        scratch: &mut [Complex<T>],
    ) {
        let ([ny, nx], from, to, scratch) = (self.dims, words(from), words(to), words(scratch));
        for at in (0..ny).step_by(super::lanes::LANES) {
            let columns = Place { lines: Lines::Columns, width: ny, at };
            let rows = Place { lines: Lines::Rows, width: nx, at };
            self.along_x.run(Some(from), columns, to, rows, true, 1.0, scratch);
        }
        for at in (0..nx).step_by(super::lanes::LANES) {
            let columns = Place { lines: Lines::Columns, width: nx, at };
            self.along_y.run(None, columns, to, columns, true, scale.f64() as f32, scratch);
        }
    }
}

/// Complex `f32`, which T is, as words.
fn words<T: Real>(x: &mut [Complex<T>]) -> &mut [f32] {
    bytemuck::cast_slice_mut(x)
}
