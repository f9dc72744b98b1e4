//! The array of the crate: owned, contiguous, row-major, with run-time dimensions.
//!
//! A tensor carries data between a user and a plan; it does no arithmetic. Kernels are free functions on slices.

use crate::error::Error;
use crate::shape::checked_len;

/// An owned array, contiguous and row-major (the last axis is the fastest).
///
/// ```
/// use exitwave::tensor::Tensor;
/// let t = Tensor::from_fn(&[2, 3], |i| (10 * i[0] + i[1]) as f32);
/// assert_eq!(t.row(1), &[10.0, 11.0, 12.0]);
/// assert_eq!(t[[1, 2]], 12.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<E> {
    dims: Vec<usize>,
    data: Vec<E>,
}

/// A borrowed array: dimensions and a slice.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a, E> {
    dims: &'a [usize],
    data: &'a [E],
}

/// A mutably borrowed array.
#[derive(Debug)]
pub struct TensorViewMut<'a, E> {
    dims: &'a [usize],
    data: &'a mut [E],
}

/// An array of one axis without elements.
impl<E> Default for Tensor<E> {
    fn default() -> Self {
        Tensor { dims: vec![0], data: Vec::new() }
    }
}

impl<E> Tensor<E> {
    /// Puts dimensions on a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `dims` is not the vector's length.
    pub fn from_vec(dims: &[usize], data: Vec<E>) -> Result<Self, Error> {
        if checked_len(dims)? != data.len() {
            return Err(Error::shape("Tensor::from_vec", dims, &[data.len()]));
        }
        Ok(Tensor { dims: dims.to_vec(), data })
    }

    /// Computes every element from its index.
    ///
    /// # Panics
    /// When the number of elements overflows `usize`.
    pub fn from_fn(dims: &[usize], mut f: impl FnMut(&[usize]) -> E) -> Self {
        let len = checked_len(dims).expect("Tensor::from_fn: number of elements overflows");
        let mut index = vec![0; dims.len()];
        let mut data = Vec::with_capacity(len);
        for _ in 0..len {
            data.push(f(&index));
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Tensor { dims: dims.to_vec(), data }
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// All elements in order.
    pub fn as_slice(&self) -> &[E] {
        &self.data
    }

    /// All elements in order, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [E] {
        &mut self.data
    }

    /// Gives the vector back.
    pub fn into_vec(self) -> Vec<E> {
        self.data
    }

    /// Borrows the whole array.
    pub fn view(&self) -> TensorView<'_, E> {
        TensorView { dims: &self.dims, data: &self.data }
    }

    /// Borrows the whole array mutably.
    pub fn view_mut(&mut self) -> TensorViewMut<'_, E> {
        TensorViewMut { dims: &self.dims, data: &mut self.data }
    }

    /// The same elements under other dimensions.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(self, dims: &[usize]) -> Result<Self, Error> {
        if checked_len(dims)? != self.data.len() {
            return Err(Error::shape("Tensor::reshape", dims, &self.dims));
        }
        Ok(Tensor { dims: dims.to_vec(), data: self.data })
    }

    /// The `i`-th sub-array along the first axis, as a slice.
    ///
    /// # Panics
    /// - if the tensor has no axes,
    /// - if `i` is out of range.
    pub fn row(&self, i: usize) -> &[E] {
        let n = self.row_len();
        assert!(i < self.dims[0], "Tensor::row: index {i} of {}", self.dims[0]);
        &self.data[i * n..(i + 1) * n]
    }

    /// The `i`-th sub-array along the first axis, mutably.
    ///
    /// # Panics
    /// As [`Tensor::row`].
    pub fn row_mut(&mut self, i: usize) -> &mut [E] {
        let n = self.row_len();
        assert!(i < self.dims[0], "Tensor::row_mut: index {i} of {}", self.dims[0]);
        &mut self.data[i * n..(i + 1) * n]
    }

    /// Applies `f` to every element.
    pub fn map<F>(&self, f: impl FnMut(&E) -> F) -> Tensor<F> {
        Tensor { dims: self.dims.clone(), data: self.data.iter().map(f).collect() }
    }

    fn row_len(&self) -> usize {
        self.dims[1..].iter().product()
    }
}

impl<E: Clone + Default> Tensor<E> {
    /// An array of default values (zeros).
    ///
    /// # Panics
    /// When the number of elements overflows `usize`.
    pub fn zeros(dims: &[usize]) -> Self {
        let len = checked_len(dims).expect("Tensor::zeros: number of elements overflows");
        Tensor { dims: dims.to_vec(), data: vec![E::default(); len] }
    }

    /// An array of one value.
    ///
    /// # Panics
    /// When the number of elements overflows `usize`.
    pub fn full(dims: &[usize], value: E) -> Self {
        let len = checked_len(dims).expect("Tensor::full: number of elements overflows");
        Tensor { dims: dims.to_vec(), data: vec![value; len] }
    }
}

/// Flat position of an index.
#[track_caller]
fn flat<const N: usize>(dims: &[usize], index: [usize; N]) -> usize {
    assert_eq!(dims.len(), N, "Tensor: {N} indices for {} axes", dims.len());
    let mut at = 0;
    for (axis, (&i, &d)) in index.iter().zip(dims).enumerate() {
        assert!(i < d, "Tensor: index {i} of axis {axis} with {d} elements");
        at = at * d + i;
    }
    at
}

/// Element access, `t[[y, x]]`.
impl<E, const N: usize> std::ops::Index<[usize; N]> for Tensor<E> {
    type Output = E;
    fn index(&self, index: [usize; N]) -> &E {
        &self.data[flat(&self.dims, index)]
    }
}
impl<E, const N: usize> std::ops::IndexMut<[usize; N]> for Tensor<E> {
    fn index_mut(&mut self, index: [usize; N]) -> &mut E {
        let at = flat(&self.dims, index);
        &mut self.data[at]
    }
}

impl<'a, E> TensorView<'a, E> {
    /// Puts dimensions on a slice.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `dims` is not the slice's length.
    pub fn new(dims: &'a [usize], data: &'a [E]) -> Result<Self, Error> {
        if checked_len(dims)? != data.len() {
            return Err(Error::shape("TensorView::new", dims, &[data.len()]));
        }
        Ok(TensorView { dims, data })
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// All elements in order.
    pub fn as_slice(&self) -> &'a [E] {
        self.data
    }
}

impl<'a, E> TensorViewMut<'a, E> {
    /// Puts dimensions on a slice.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `dims` is not the slice's length.
    pub fn new(dims: &'a [usize], data: &'a mut [E]) -> Result<Self, Error> {
        if checked_len(dims)? != data.len() {
            return Err(Error::shape("TensorViewMut::new", dims, &[data.len()]));
        }
        Ok(TensorViewMut { dims, data })
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &'a [usize] {
        self.dims
    }

    /// All elements in order.
    pub fn as_slice(&self) -> &[E] {
        self.data
    }

    /// All elements in order, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [E] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_axis_is_the_fastest() {
        let t = Tensor::from_fn(&[2, 3, 4], |i| 100 * i[0] + 10 * i[1] + i[2]);
        assert_eq!(t.as_slice()[..5], [0, 1, 2, 3, 10]);
        assert_eq!(t[[1, 2, 3]], 123);
        assert_eq!(t.row(1)[0], 100);
    }

    #[test]
    fn wrong_lengths_are_errors() {
        assert!(matches!(Tensor::from_vec(&[2, 2], vec![1, 2, 3]), Err(Error::Shape { .. })));
        assert!(matches!(TensorView::new(&[usize::MAX, 3], &[1u8]), Err(Error::OutOfMemory { .. })));
        assert!(Tensor::<f32>::zeros(&[0, 5]).is_empty());
        let none = Tensor::<f32>::default();
        assert_eq!(none.dims().iter().product::<usize>(), none.len());
    }
}
