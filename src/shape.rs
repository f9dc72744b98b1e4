//! Dimensions of arrays, and the spaces that operators map between.

use crate::error::Error;

/// Number of elements of an array with these dimensions; an error when it does not fit into `usize`.
///
/// # Errors
/// [`Error::OutOfMemory`] on overflow.
pub fn checked_len(dims: &[usize]) -> Result<usize, Error> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or(Error::OutOfMemory { bytes: u64::MAX })
}

/// A vector of `len` zeros, or an error when the memory is not there. For sizes that come from a file's
/// header. The zeros are the system's, not written: memory that is never touched is, on most systems, not used.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn try_zeroed<E: bytemuck::Zeroable>(len: usize) -> Result<Vec<E>, Error> {
    let bytes = (len as u64).saturating_mul(size_of::<E>() as u64);
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| Error::OutOfMemory { bytes })
}

/// An empty vector with room for `len` elements, or an error. Memory that is not written to is, on most systems, not
/// used.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn try_reserved<E>(len: usize) -> Result<Vec<E>, Error> {
    let mut v = Vec::new();
    let bytes = (len as u64).saturating_mul(size_of::<E>() as u64);
    v.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    Ok(v)
}

/// Largest number of bytes a plan may allocate. The default is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: u64::MAX }
    }
}

impl Limits {
    /// Checks a need before anything is allocated.
    ///
    /// # Errors
    /// [`Error::OverBudget`] when `needed` exceeds the limit.
    pub fn check(&self, needed: u64) -> Result<(), Error> {
        if needed > self.bytes { Err(Error::OverBudget { needed, budget: self.bytes }) } else { Ok(()) }
    }
}

/// Whether the elements of a [`Space`] are real or complex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// One word an element.
    Real,
    /// Two words an element: real part, imaginary part.
    Complex,
}

/// The vector space that an operator or a graph node lives in: dimensions, and real or complex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Space {
    dims: Vec<usize>,
    field: Field,
}

impl Space {
    /// A space of real arrays. No dimensions: a scalar.
    pub fn real(dims: &[usize]) -> Self {
        Space { dims: dims.to_vec(), field: Field::Real }
    }

    /// A space of complex arrays.
    pub fn complex(dims: &[usize]) -> Self {
        Space { dims: dims.to_vec(), field: Field::Complex }
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Real or complex.
    pub fn field(&self) -> Field {
        self.field
    }

    /// Number of elements.
    ///
    /// ```
    /// # use exitwave::shape::Space;
    /// assert_eq!(Space::complex(&[4, 3]).len(), 12);
    /// assert_eq!(Space::complex(&[4, 3]).words(), 24);
    /// ```
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether an array of this space has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of words: the elements, twice if they are complex.
    pub fn words(&self) -> usize {
        match self.field {
            Field::Real => self.len(),
            Field::Complex => 2 * self.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflowing_shapes_are_errors() {
        assert!(matches!(checked_len(&[usize::MAX, 2]), Err(Error::OutOfMemory { .. })));
        assert!(matches!(try_zeroed::<f64>(usize::MAX / 16), Err(Error::OutOfMemory { .. })));
        assert_eq!(checked_len(&[]).unwrap(), 1);
    }

    #[test]
    fn limits_name_both_numbers() {
        let e = Limits { bytes: 10 }.check(11).unwrap_err();
        assert!(matches!(e, Error::OverBudget { needed: 11, budget: 10 }));
    }
}
