//! What stands for the kernels of `frame` on processors that have none.

use num_complex::Complex;

use crate::real::Real;

/// No plan: it cannot be made.
#[derive(Clone, Debug)]
pub(crate) enum FrameLanes {}

impl FrameLanes {
    pub(crate) fn new<T: Real>(_: [usize; 2]) -> Option<Self> {
        None
    }

    pub(crate) fn scratch_len(&self) -> usize {
        match *self {}
    }

    pub(crate) fn transform<T: Real>(&self, _: &mut [Complex<T>], _: bool, _: T, _: &mut [Complex<T>]) {
        match *self {}
    }

    pub(crate) fn forward_transposed<T: Real>(&self, _: &mut [Complex<T>], _: &mut [Complex<T>], _: &mut [Complex<T>]) {
        match *self {}
    }

    pub(crate) fn inverse_transposed<T: Real>(
        &self,
        _: &mut [Complex<T>],
        _: &mut [Complex<T>],
        _: T,
        _: &mut [Complex<T>],
    ) {
        match *self {}
    }
}
