//! What the metrics ask of their input.

use num_complex::Complex;

use crate::error::Error;
use crate::real::Real;
use crate::shape::checked_len;

/// Two arrays of one length, not empty.
pub(super) fn pair(op: &'static str, a: usize, b: usize) -> Result<(), Error> {
    if a != b || a == 0 {
        return Err(Error::shape(op, &[a.max(1)], &[b]));
    }
    Ok(())
}

/// An array of these dimensions, none of them 0.
pub(super) fn dims(op: &'static str, dims: &[usize], got: usize) -> Result<(), Error> {
    if checked_len(dims)? != got || got == 0 {
        return Err(Error::shape(op, dims, &[got]));
    }
    Ok(())
}

/// The values as `f64`, or the first that is not finite.
pub(super) fn finite<T: Real>(name: &str, x: &[T]) -> Result<Vec<f64>, Error> {
    match x.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(Error::Data { what: format!("`{name}` is {}", x[index]), index }),
        None => Ok(x.iter().map(|v| v.f64()).collect()),
    }
}

/// The same for complex values.
pub(super) fn finite_complex<T: Real>(name: &str, x: &[Complex<T>]) -> Result<Vec<Complex<f64>>, Error> {
    match x.iter().position(|z| !(z.re.is_finite() && z.im.is_finite())) {
        Some(index) => Err(Error::Data { what: format!("`{name}` is {} + {} i", x[index].re, x[index].im), index }),
        None => Ok(x.iter().map(|z| Complex::new(z.re.f64(), z.im.f64())).collect()),
    }
}

/// Weights: as many as there are pixels, finite, not negative, not all zero. None stands for 1 everywhere.
pub(super) fn weights(op: &'static str, w: Option<&[f64]>, len: usize) -> Result<Vec<f64>, Error> {
    let Some(w) = w else { return Ok(vec![1.0; len]) };
    if w.len() != len {
        return Err(Error::shape(op, &[len], &[w.len()]));
    }
    if let Some(index) = w.iter().position(|&v| !(v >= 0.0 && v.is_finite())) {
        return Err(Error::Data { what: format!("a weight is {}", w[index]), index });
    }
    if w.iter().all(|&v| v == 0.0) {
        return Err(Error::Data { what: "every weight is 0".into(), index: 0 });
    }
    Ok(w.to_vec())
}
