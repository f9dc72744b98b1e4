//! Checks that all layers share.

use crate::error::Error;
use crate::op::Write;
use crate::shape::{Field, Space};

/// That the inputs are real and have the expected dimensions; the last `optional` ones may be absent.
pub(crate) fn spaces(op: &'static str, inputs: &[&Space], expected: &[&[usize]], optional: usize) -> Result<(), Error> {
    if inputs.len() > expected.len() || inputs.len() + optional < expected.len() {
        return Err(Error::param("inputs", format!("{op}: {}", inputs.len()), "as many inputs as the layer has"));
    }
    for (space, dims) in inputs.iter().zip(expected) {
        if space.field() == Field::Complex {
            return Err(Error::Unsupported { what: format!("{op} of a complex input {:?}", space.dims()) });
        }
        if space.dims() != *dims {
            return Err(Error::shape(op, dims, space.dims()));
        }
    }
    Ok(())
}

/// That there is one real input, of any dimensions.
pub(crate) fn one<'a>(op: &'static str, inputs: &[&'a Space]) -> Result<&'a Space, Error> {
    match inputs {
        [x] => {
            spaces(op, inputs, &[x.dims()], 0)?;
            Ok(x)
        }
        _ => Err(Error::param("inputs", format!("{op}: {}", inputs.len()), "one input")),
    }
}

/// A gradient that is wanted, borrowed.
pub(crate) fn want<'a, T>(dx: &'a mut [Option<(&mut [T], Write)>], i: usize) -> Option<(&'a mut [T], Write)> {
    dx.get_mut(i)?.as_mut().map(|(d, w)| (&mut **d, *w))
}

/// That a number is positive and finite.
pub(crate) fn positive(name: &'static str, v: f64) -> Result<(), Error> {
    if v > 0.0 && v.is_finite() { Ok(()) } else { Err(Error::param(name, v, "a positive finite number")) }
}

/// That a size is not zero.
pub(crate) fn not_zero(name: &'static str, v: usize) -> Result<(), Error> {
    if v > 0 { Ok(()) } else { Err(Error::param(name, v, "at least 1")) }
}
