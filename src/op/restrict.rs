//! Elements picked by index, and a window of an array.

use std::marker::PhantomData;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words, write};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Field, Space};

/// Elements picked by index, `yⱼ = x[indexⱼ]`; the adjoint puts them back, adding where an index occurs more than once,
/// `xᵢ = Σ { yⱼ : indexⱼ = i }`.
///
/// # Shapes
/// The domain is any space; the range is one axis with an element for each index, of the same field.
#[derive(Clone, Debug)]
pub struct Restrict<T: Real> {
    domain: Space,
    range: Space,
    index: Vec<usize>,
    scalar: PhantomData<T>,
}

impl<T: Real> Restrict<T> {
    /// Picks the elements with these flat (row-major) indices, in this order. An index may occur more than once.
    ///
    /// # Errors
    /// - [`Error::Data`] when an index is outside the domain,
    /// - [`Error::Param`] when there is no index, or the domain has no elements.
    pub fn new(domain: &Space, index: Vec<usize>) -> Result<Self, Error> {
        checked_words("domain", domain)?;
        if index.is_empty() {
            return Err(Error::param("index", "empty", "at least one index"));
        }
        let len = domain.len();
        if let Some(at) = index.iter().position(|&i| i >= len) {
            let what = format!("Restrict: {} is outside a space of {len} elements", index[at]);
            return Err(Error::Data { what, index: at });
        }
        let range = with_dims(domain, &[index.len()]);
        checked_words("index", &range)?;
        Ok(Restrict { domain: domain.clone(), range, index, scalar: PhantomData })
    }
}

impl<T: Real> LinearOp<T> for Restrict<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let c = words_per_element(&self.domain);
        for (y, &i) in y.chunks_exact_mut(c).zip(&self.index) {
            for (y, &x) in y.iter_mut().zip(&x[c * i..]) {
                write(y, x, w);
            }
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        let c = words_per_element(&self.domain);
        if w == Write::Set {
            x.fill(T::ZERO);
        }
        for (y, &i) in y.chunks_exact(c).zip(&self.index) {
            for (x, &y) in x[c * i..].iter_mut().zip(y) {
                *x += y;
            }
        }
    }
}

/// A window of an array, `y[j] = x[start + j]`; its adjoint pads with zeros.
///
/// # Shapes
/// Any number of axes, at least one; the range has the window's dimensions and the domain's field.
#[derive(Clone, Debug)]
pub struct Crop<T: Real> {
    domain: Space,
    range: Space,
    start: Vec<usize>,
    scalar: PhantomData<T>,
}

impl<T: Real> Crop<T> {
    /// The window of size `dims` whose first element is `start`.
    ///
    /// # Errors
    /// - [`Error::Shape`] when the window does not lie inside the domain, or the numbers of axes differ,
    /// - [`Error::Param`] for a domain or a window without elements or without axes.
    pub fn new(domain: &Space, start: &[usize], dims: &[usize]) -> Result<Self, Error> {
        checked_words("domain", domain)?;
        let range = with_dims(domain, dims);
        checked_words("dims", &range)?;
        if dims.is_empty() {
            return Err(Error::param("dims", "[]", "at least one axis"));
        }
        let end: Option<Vec<usize>> = start.iter().zip(dims).map(|(&s, &d)| s.checked_add(d)).collect();
        let end = end.ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
        let inside = start.len() == dims.len() && end.len() == domain.dims().len();
        if !inside || end.iter().zip(domain.dims()).any(|(e, d)| e > d) {
            return Err(Error::shape("Crop: end of the window", domain.dims(), &end));
        }
        Ok(Crop { domain: domain.clone(), range, start: start.to_vec(), scalar: PhantomData })
    }

    /// Calls `f` with the word offsets in the domain and in the range, and the length, of every contiguous run.
    fn for_each_run(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (outer, window) = (self.domain.dims(), self.range.dims());
        let c = words_per_element(&self.domain);
        let last = window.len() - 1;
        let run = window[last];
        for row in 0..self.range.len() / run {
            // The row number, taken apart from the last axis but one upwards, gives the row's place in the domain.
            let (mut rest, mut at, mut stride) = (row, self.start[last], outer[last]);
            for axis in (0..last).rev() {
                at += (self.start[axis] + rest % window[axis]) * stride;
                rest /= window[axis];
                stride *= outer[axis];
            }
            f(c * at, c * row * run, c * run);
        }
    }
}

impl<T: Real> LinearOp<T> for Crop<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        self.for_each_run(|i, j, n| {
            for (y, &x) in y[j..j + n].iter_mut().zip(&x[i..i + n]) {
                write(y, x, w);
            }
        });
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        if w == Write::Set {
            x.fill(T::ZERO);
        }
        self.for_each_run(|i, j, n| {
            for (x, &y) in x[i..i + n].iter_mut().zip(&y[j..j + n]) {
                write(x, y, w);
            }
        });
    }
}

fn with_dims(like: &Space, dims: &[usize]) -> Space {
    match like.field() {
        Field::Real => Space::real(dims),
        Field::Complex => Space::complex(dims),
    }
}

fn words_per_element(space: &Space) -> usize {
    match space.field() {
        Field::Real => 1,
        Field::Complex => 2,
    }
}
