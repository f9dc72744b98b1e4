//! An array whose element type is known only when the file has been opened.

use std::any::Any;

use bytemuck::Pod;
use num_complex::Complex;

use crate::error::Error;
use crate::real::Real;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::{Tensor, TensorView};

/// An array read from a file, of whatever element type the file holds.
///
/// Booleans are read as `u8` (0 or 1), half-precision numbers as `f32`. Match on it to keep the stored type, or convert
/// with [`Array::into_real`] and [`Array::into_complex`].
///
/// ```
/// use exitwave::io::Array;
/// use exitwave::tensor::Tensor;
/// let counts = Array::U16(Tensor::from_vec(&[2, 2], vec![0, 1, 2, 3])?);
/// assert_eq!(counts.dims(), &[2, 2]);
/// assert_eq!(counts.dtype(), "u16");
/// assert_eq!(counts.into_real::<f32>()?.as_slice(), &[0.0, 1.0, 2.0, 3.0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// 8-bit unsigned, and booleans.
    U8(Tensor<u8>),
    /// 8-bit signed.
    I8(Tensor<i8>),
    /// 16-bit unsigned.
    U16(Tensor<u16>),
    /// 16-bit signed.
    I16(Tensor<i16>),
    /// 32-bit unsigned.
    U32(Tensor<u32>),
    /// 32-bit signed.
    I32(Tensor<i32>),
    /// 64-bit unsigned.
    U64(Tensor<u64>),
    /// 64-bit signed.
    I64(Tensor<i64>),
    /// 32-bit floating point, and 16-bit floating point.
    F32(Tensor<f32>),
    /// 64-bit floating point.
    F64(Tensor<f64>),
    /// Complex of two 32-bit numbers (`complex64` of other programs).
    C32(Tensor<Complex<f32>>),
    /// Complex of two 64-bit numbers (`complex128` of other programs).
    C64(Tensor<Complex<f64>>),
}

/// A borrowed array of any of the element types of [`Array`], as the writers take it.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a> {
    /// Dimensions, slowest first.
    pub(crate) dims: &'a [usize],
    /// The elements in native byte order.
    pub(crate) bytes: &'a [u8],
    /// Kind and size of the elements in the npy notation, without byte order: `"f4"`.
    pub(crate) descr: &'static str,
}

mod sealed {
    pub trait Sealed {}
}

/// Element types that the array formats store: the integers of 8 to 64 bits, `f32`, `f64` and their complex pairs.
/// Sealed.
pub trait NpyElement: sealed::Sealed + Pod + Default + Send + Sync + std::fmt::Debug {
    /// Kind and size in the npy notation, without the byte order: `"f4"`.
    #[doc(hidden)]
    const DESCR: &'static str;
    /// Bytes of the unit that has a byte order: a complex number has two of them.
    #[doc(hidden)]
    const WORD: usize;
    /// Wraps a tensor of this type.
    #[doc(hidden)]
    fn array(tensor: Tensor<Self>) -> Array;
    /// The tensor of this type in an array.
    #[doc(hidden)]
    fn of_mut(array: &mut Array) -> Option<&mut Tensor<Self>>;
}

macro_rules! element {
    ($($t:ty, $variant:ident, $descr:literal, $word:literal;)+) => {
        $(
            impl sealed::Sealed for $t {}
            impl NpyElement for $t {
                const DESCR: &'static str = $descr;
                const WORD: usize = $word;
                fn array(tensor: Tensor<Self>) -> Array {
                    Array::$variant(tensor)
                }
                fn of_mut(array: &mut Array) -> Option<&mut Tensor<Self>> {
                    match array {
                        Array::$variant(tensor) => Some(tensor),
                        _ => None,
                    }
                }
            }
            impl From<Tensor<$t>> for Array {
                fn from(tensor: Tensor<$t>) -> Array {
                    Array::$variant(tensor)
                }
            }
        )+

        /// Evaluates one expression for the tensor inside, whatever its type.
        macro_rules! each {
            ($array:expr, $tensor:ident => $body:expr) => {
                match $array { $(Array::$variant($tensor) => $body,)+ }
            };
        }
    };
}
element! {
    u8, U8, "u1", 1;
    i8, I8, "i1", 1;
    u16, U16, "u2", 2;
    i16, I16, "i2", 2;
    u32, U32, "u4", 4;
    i32, I32, "i4", 4;
    u64, U64, "u8", 8;
    i64, I64, "i8", 8;
    f32, F32, "f4", 4;
    f64, F64, "f8", 8;
    Complex<f32>, C32, "c8", 4;
    Complex<f64>, C64, "c16", 8;
}

impl<'a, E: NpyElement> From<&'a Tensor<E>> for ArrayRef<'a> {
    fn from(tensor: &'a Tensor<E>) -> Self {
        ArrayRef { dims: tensor.dims(), bytes: bytemuck::cast_slice(tensor.as_slice()), descr: E::DESCR }
    }
}

impl<'a, E: NpyElement> From<TensorView<'a, E>> for ArrayRef<'a> {
    fn from(view: TensorView<'a, E>) -> Self {
        ArrayRef { dims: view.dims(), bytes: bytemuck::cast_slice(view.as_slice()), descr: E::DESCR }
    }
}

impl<'a> From<&'a Array> for ArrayRef<'a> {
    fn from(array: &'a Array) -> Self {
        each!(array, t => t.into())
    }
}

impl Array {
    /// The dimensions, slowest first.
    pub fn dims(&self) -> &[usize] {
        each!(self, t => t.dims())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, t => t.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the element type: `"u16"`, `"f32"`, `"complex<f32>"`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F32(_) => "f32",
            Array::F64(_) => "f64",
            Array::C32(_) => "complex<f32>",
            Array::C64(_) => "complex<f64>",
        }
    }

    /// Whether the elements are complex.
    pub fn is_complex(&self) -> bool {
        matches!(self, Array::C32(_) | Array::C64(_))
    }

    /// The same elements under other dimensions.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(self, dims: &[usize]) -> Result<Array, Error> {
        each!(self, t => Ok(NpyElement::array(t.reshape(dims)?)))
    }

    /// Zeros of the same element type.
    pub(crate) fn zeros_like(&self, dims: &[usize]) -> Result<Array, Error> {
        fn of<E: NpyElement>(_: &Tensor<E>, dims: &[usize]) -> Result<Array, Error> {
            Ok(E::array(Tensor::from_vec(dims, try_zeroed::<E>(checked_len(dims)?)?)?))
        }
        each!(self, t => of(t, dims))
    }

    /// Writes `part` into this array, its first element at `at`; it must lie within.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the element types differ.
    pub(crate) fn paste(&mut self, part: &Array, at: &[usize]) -> Result<(), Error> {
        each!(part, p => paste_into(self, p, at))
    }

    /// The axes in another order: new axis k is old axis `order[k]`.
    pub(crate) fn permuted(&self, order: &[usize]) -> Array {
        each!(self, t => NpyElement::array(permute(t, order)))
    }

    /// The elements as real numbers of type `T`, rounded where they must be. A tensor that has the type already is
    /// handed over without a copy.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the elements are complex: taking a part silently would lose the other.
    pub fn into_real<T: Real>(self) -> Result<Tensor<T>, Error> {
        match self {
            Array::U8(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::I8(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::U16(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::I16(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::U32(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::I32(t) => Ok(t.map(|&v| T::of(f64::from(v)))),
            Array::U64(t) => Ok(t.map(|&v| T::of(v as f64))),
            Array::I64(t) => Ok(t.map(|&v| T::of(v as f64))),
            Array::F32(t) => Ok(same(t).unwrap_or_else(|t| t.map(|&v| T::of(f64::from(v))))),
            Array::F64(t) => Ok(same(t).unwrap_or_else(|t| t.map(|&v| T::of(v)))),
            Array::C32(_) | Array::C64(_) => {
                Err(Error::Unsupported { what: format!("real numbers from an array of {}", self.dtype()) })
            }
        }
    }

    /// The elements as complex numbers; real ones get the imaginary part 0. A tensor that has the type already is
    /// handed over without a copy.
    ///
    /// # Errors
    /// None today; conversions of later element types may fail.
    pub fn into_complex<T: Real>(self) -> Result<Tensor<Complex<T>>, Error> {
        match self {
            Array::C32(t) => {
                Ok(same(t).unwrap_or_else(|t| t.map(|v| Complex::new(T::of(v.re.into()), T::of(v.im.into())))))
            }
            Array::C64(t) => Ok(same(t).unwrap_or_else(|t| t.map(|v| Complex::new(T::of(v.re), T::of(v.im))))),
            real => Ok(real.into_real::<T>()?.map(|&v| Complex::new(v, T::ZERO))),
        }
    }
}

fn paste_into<E: NpyElement>(whole: &mut Array, part: &Tensor<E>, at: &[usize]) -> Result<(), Error> {
    let what = "parts of another element type";
    let whole = E::of_mut(whole).ok_or_else(|| Error::Unsupported { what: what.into() })?;
    let (dims, sizes) = (whole.dims().to_vec(), part.dims());
    let row = sizes.last().copied().unwrap_or(1);
    if part.is_empty() {
        return Ok(());
    }
    for (k, piece) in part.as_slice().chunks_exact(row).enumerate() {
        // The index of the row's first element, from the last axis but one.
        let (mut rest, mut to, mut step) = (k, at.last().copied().unwrap_or(0), dims.last().copied().unwrap_or(1));
        for axis in (0..sizes.len().saturating_sub(1)).rev() {
            to += (at[axis] + rest % sizes[axis]) * step;
            rest /= sizes[axis];
            step *= dims[axis];
        }
        whole.as_mut_slice()[to..to + row].copy_from_slice(piece);
    }
    Ok(())
}

fn permute<E: NpyElement>(tensor: &Tensor<E>, order: &[usize]) -> Tensor<E> {
    let old = tensor.dims();
    let mut steps = vec![1; old.len()];
    for axis in (1..old.len()).rev() {
        steps[axis - 1] = steps[axis] * old[axis];
    }
    let dims: Vec<usize> = order.iter().map(|&a| old[a]).collect();
    let steps: Vec<usize> = order.iter().map(|&a| steps[a]).collect();
    let data = tensor.as_slice();
    Tensor::from_fn(&dims, |i| data[i.iter().zip(&steps).map(|(i, s)| i * s).sum::<usize>()])
}

/// The tensor itself when `F` is `E`, else the tensor back.
fn same<E: 'static, F: 'static>(tensor: Tensor<E>) -> Result<Tensor<F>, Tensor<E>> {
    let mut slot = Some(tensor);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Tensor<F>>>() {
        Some(same) => Ok(same.take().expect("filled above")),
        None => Err(slot.expect("filled above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_the_wanted_type_is_not_copied() {
        let t = Tensor::from_vec(&[3], vec![1.0f32, 2.0, 3.0]).unwrap();
        let address = t.as_slice().as_ptr();
        let out = Array::F32(t).into_real::<f32>().unwrap();
        assert_eq!(out.as_slice().as_ptr(), address);
        assert_eq!(Array::F32(out).into_real::<f64>().unwrap().as_slice(), &[1.0, 2.0, 3.0]);
    }

    #[test]
    fn every_real_type_converts_and_complex_does_not() {
        let arrays: Vec<Array> = vec![
            Tensor::from_vec(&[1], vec![7u8]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7i8]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7u16]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7i16]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7u32]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7i32]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7u64]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7i64]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7f32]).unwrap().into(),
            Tensor::from_vec(&[1], vec![7f64]).unwrap().into(),
        ];
        for a in arrays {
            assert_eq!(a.clone().into_real::<f32>().unwrap().as_slice(), &[7.0]);
            assert_eq!(a.clone().into_real::<f64>().unwrap().as_slice(), &[7.0]);
            assert_eq!(a.into_complex::<f64>().unwrap().as_slice(), &[Complex::new(7.0, 0.0)]);
        }
        let c: Array = Tensor::from_vec(&[1], vec![Complex::new(1.0f32, 2.0)]).unwrap().into();
        assert_eq!(c.dtype(), "complex<f32>");
        assert!(matches!(c.clone().into_real::<f32>(), Err(Error::Unsupported { .. })));
        assert_eq!(c.into_complex::<f64>().unwrap().as_slice(), &[Complex::new(1.0, 2.0)]);
    }

    #[test]
    fn reshape_keeps_the_elements() {
        let a = Array::I32(Tensor::from_vec(&[4], vec![1, 2, 3, 4]).unwrap());
        assert_eq!(a.clone().reshape(&[2, 2]).unwrap().dims(), &[2, 2]);
        assert!(matches!(a.reshape(&[3]), Err(Error::Shape { .. })));
    }
}
