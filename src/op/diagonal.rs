//! Multiplication of each element by its own number.

use num_complex::Complex;

use crate::error::Error;
use crate::op::linear_op::{check_apply, checked_words, write};
use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::shape::{Field, Space};

/// Multiplication of each element by its own number, `yᵢ = dᵢ xᵢ`; its adjoint is `xᵢ = d̄ᵢ yᵢ`.
///
/// A real diagonal acts on real and on complex elements, a complex one on complex elements.
///
/// # Shapes
/// Domain and range are the space it is made with; `d` has one number for each of its elements.
#[derive(Clone, Debug)]
pub struct Diagonal<T: Real> {
    space: Space,
    d: Entries<T>,
}

#[derive(Clone, Debug)]
enum Entries<T: Real> {
    /// Real numbers on a real space.
    Real(Vec<T>),
    /// Real numbers on a complex space.
    RealOnComplex(Vec<T>),
    Complex(Vec<Complex<T>>),
}

impl<T: Real> Diagonal<T> {
    /// A diagonal of real numbers, on a real or a complex space.
    ///
    /// # Errors
    /// - [`Error::Shape`] when `d` has another length than the space,
    /// - [`Error::Data`] when an entry is not finite,
    /// - [`Error::Param`] for a space without elements.
    pub fn real(space: &Space, d: Vec<T>) -> Result<Self, Error> {
        Self::check(space, d.len(), d.iter().position(|d| !d.is_finite()))?;
        let d = match space.field() {
            Field::Real => Entries::Real(d),
            Field::Complex => Entries::RealOnComplex(d),
        };
        Ok(Diagonal { space: space.clone(), d })
    }

    /// A diagonal of complex numbers, on a complex space.
    ///
    /// # Errors
    /// As [`Diagonal::real`], and [`Error::Unsupported`] for a real space.
    pub fn complex(space: &Space, d: Vec<Complex<T>>) -> Result<Self, Error> {
        if space.field() == Field::Real {
            return Err(Error::Unsupported { what: "Diagonal: complex entries on a real space".into() });
        }
        Self::check(space, d.len(), d.iter().position(|d| !(d.re.is_finite() && d.im.is_finite())))?;
        Ok(Diagonal { space: space.clone(), d: Entries::Complex(d) })
    }

    fn check(space: &Space, len: usize, not_finite: Option<usize>) -> Result<(), Error> {
        checked_words("space", space)?;
        if space.len() != len {
            return Err(Error::shape("Diagonal", space.dims(), &[len]));
        }
        match not_finite {
            Some(index) => Err(Error::Data { what: "Diagonal: an entry is not finite".into(), index }),
            None => Ok(()),
        }
    }
}

impl<T: Real> LinearOp<T> for Diagonal<T> {
    fn domain(&self) -> &Space {
        &self.space
    }

    fn range(&self) -> &Space {
        &self.space
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        match &self.d {
            Entries::Real(d) => (0..y.len()).for_each(|i| write(&mut y[i], d[i] * x[i], w)),
            Entries::RealOnComplex(d) => multiply(d, x, y, w, |d, x| x.scale(d)),
            Entries::Complex(d) => multiply(d, x, y, w, |d, x| d * x),
        }
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply(self, x.len(), y.len(), scratch.len());
        match &self.d {
            Entries::Real(d) => (0..x.len()).for_each(|i| write(&mut x[i], d[i] * y[i], w)),
            Entries::RealOnComplex(d) => multiply(d, y, x, w, |d, y| y.scale(d)),
            Entries::Complex(d) => multiply(d, y, x, w, |d, y| d.conj() * y),
        }
    }
}

/// `outᵢ = f(dᵢ, vᵢ)` over complex elements given as words.
fn multiply<T: Real, D: Copy>(d: &[D], v: &[T], out: &mut [T], w: Write, f: impl Fn(D, Complex<T>) -> Complex<T>) {
    let v: &[Complex<T>] = bytemuck::cast_slice(v);
    let out: &mut [Complex<T>] = bytemuck::cast_slice_mut(out);
    for ((out, &v), &d) in out.iter_mut().zip(v).zip(d) {
        write(out, f(d, v), w);
    }
}
