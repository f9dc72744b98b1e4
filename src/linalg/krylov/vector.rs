//! Vectors of words.

use crate::error::Error;
use crate::op::LinearOp;
use crate::real::Real;

/// u · v, summed in `f64`.
pub fn dot<T: Real>(u: &[T], v: &[T]) -> f64 {
    u.iter().zip(v).map(|(u, v)| u.f64() * v.f64()).sum()
}

/// ‖v‖.
pub fn norm<T: Real>(v: &[T]) -> f64 {
    dot(v, v).sqrt()
}

/// y ← y + f x.
pub fn add<T: Real>(y: &mut [T], f: f64, x: &[T]) {
    let f = T::of(f);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += f * x);
}

/// v ← f v.
pub fn scale<T: Real>(v: &mut [T], f: f64) {
    let f = T::of(f);
    v.iter_mut().for_each(|v| *v *= f);
}

/// Checks the right-hand side and the start, and returns a copy of the start (zeros, when there is none).
pub fn start<T: Real>(op: &dyn LinearOp<T>, b: &[T], x0: Option<&[T]>) -> Result<Vec<T>, Error> {
    if b.len() != op.range().words() {
        return Err(Error::shape("krylov: words of b", &[op.range().words()], &[b.len()]));
    }
    let words = op.domain().words();
    if let Some(x0) = x0
        && x0.len() != words
    {
        return Err(Error::shape("krylov: words of the start", &[words], &[x0.len()]));
    }
    for (what, v) in [("right-hand side", b), ("start", x0.unwrap_or(&[]))] {
        if let Some(index) = v.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data { what: format!("krylov: the {what} is not finite"), index });
        }
    }
    match x0 {
        Some(x0) => Ok(x0.to_vec()),
        None => crate::shape::try_zeroed(words),
    }
}
