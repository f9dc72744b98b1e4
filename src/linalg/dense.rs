//! What the dense factorisations share: checked input, scaling, and the convention that makes vectors unique.

use nalgebra::ComplexField;
use num_complex::Complex;

use crate::error::Error;
use crate::real::Real;
use crate::shape::checked_len;

/// The element a factorisation computes with: `f64` or `Complex<f64>`.
pub(super) trait Element: ComplexField<RealField = f64> + Copy {}
impl Element for f64 {}
impl Element for Complex<f64> {}

/// Checks dimensions and values of a matrix (or of vectors side by side), and widens it.
pub(super) fn real<T: Real>(op: &'static str, dims: [usize; 2], a: &[T]) -> Result<Vec<f64>, Error> {
    check_dims(op, dims, a.len())?;
    check_finite(op, a.iter().position(|a| !a.is_finite()))?;
    Ok(a.iter().map(|a| a.f64()).collect())
}

/// As [`real`], for complex numbers.
pub(super) fn complex<T: Real>(
    op: &'static str,
    dims: [usize; 2],
    a: &[Complex<T>],
) -> Result<Vec<Complex<f64>>, Error> {
    check_dims(op, dims, a.len())?;
    check_finite(op, a.iter().position(|a| !(a.re.is_finite() && a.im.is_finite())))?;
    Ok(a.iter().map(|a| Complex::new(a.re.f64(), a.im.f64())).collect())
}

fn check_dims(op: &'static str, dims: [usize; 2], len: usize) -> Result<(), Error> {
    let expected = checked_len(&dims)?;
    if expected == 0 {
        return Err(Error::param(op, format!("{dims:?}"), "a matrix with at least one row and one column"));
    }
    if expected != len {
        return Err(Error::shape(op, &dims, &[len]));
    }
    Ok(())
}

fn check_finite(op: &'static str, at: Option<usize>) -> Result<(), Error> {
    match at {
        Some(index) => Err(Error::Data { what: format!("{op}: a value is not finite"), index }),
        None => Ok(()),
    }
}

/// Number of right-hand sides in `b`, which holds rows of them.
pub(super) fn columns(op: &'static str, m: usize, len: usize) -> Result<usize, Error> {
    if m == 0 || len == 0 || !len.is_multiple_of(m) {
        return Err(Error::shape(op, &[m, 1], &[len]));
    }
    Ok(len / m)
}

/// Rounds to the caller's type.
pub(super) fn narrow<T: Real>(a: &[f64]) -> Vec<T> {
    a.iter().map(|&a| T::of(a)).collect()
}

/// As [`narrow`], for complex numbers.
pub(super) fn narrow_complex<T: Real>(a: &[Complex<f64>]) -> Vec<Complex<T>> {
    a.iter().map(|a| Complex::new(T::of(a.re), T::of(a.im))).collect()
}

/// (rows, columns) turned into (columns, rows).
pub(super) fn transpose<E: Copy>(rows: usize, columns: usize, a: &[E]) -> Vec<E> {
    (0..rows * columns).map(|i| a[(i % rows) * columns + i / rows]).collect()
}

/// Divides by a power of two, so that the largest part of an element is in [1, 2) and squares neither overflow nor
/// vanish; returns the power, 1 for a matrix of zeros. The division is exact but for numbers 2¹⁰²² times smaller than
/// the largest.
pub(super) fn normalize<E: Element>(a: &mut [E]) -> f64 {
    let largest = a.iter().fold(0.0f64, |m, a| m.max(a.real().abs()).max(a.imaginary().abs()));
    if largest == 0.0 {
        return 1.0;
    }
    let power = 2.0f64.powi((largest.log2().floor() as i32).clamp(-1000, 1000));
    a.iter_mut().for_each(|a| *a = a.unscale(power));
    power
}

/// ū · v.
pub(super) fn dot<E: Element>(u: &[E], v: &[E]) -> E {
    u.iter().zip(v).fold(E::zero(), |sum, (&u, &v)| sum + u.conjugate() * v)
}

/// Σ |vᵢ|².
pub(super) fn norm_squared<E: Element>(v: &[E]) -> f64 {
    v.iter().fold(0.0, |sum, v| sum + v.modulus_squared())
}

/// The phase factor that makes the leading element of a vector real and positive. The leading element is the first
/// whose modulus reaches the largest one but for 1e-6 of it: elements equal in exact arithmetic must not be told apart
/// by their rounding.
pub(super) fn leading_phase<E: Element>(v: &[E]) -> E {
    let largest = v.iter().fold(0.0f64, |m, v| m.max(v.modulus()));
    match v.iter().find(|v| v.modulus() >= largest * (1.0 - 1e-6)) {
        Some(&lead) if largest > 0.0 => lead.conjugate().unscale(lead.modulus()),
        _ => E::one(),
    }
}
