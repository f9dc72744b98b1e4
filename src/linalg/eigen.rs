//! Eigenvalues and eigenvectors of symmetric and Hermitian matrices.

use nalgebra::{DMatrix, SymmetricEigen};
use num_complex::Complex;

use crate::error::Error;
use crate::linalg::dense::{self, Element};
use crate::real::Real;

/// The eigenvalues and eigenvectors of a symmetric (`E = T`) or Hermitian (`E = Complex<T>`) matrix,
/// `A = Σₖ λₖ vₖ vₖᴴ`.
///
/// The eigenvalues descend. The eigenvectors are orthonormal. Each is unique up to a phase (a sign), which is fixed:
/// its leading element (the first whose modulus is the largest, to 1e-6) is real and positive. The vectors of a
/// multiple eigenvalue are some orthonormal basis of its space.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigen<T, E = T> {
    /// The n eigenvalues, descending.
    pub values: Vec<T>,
    /// (n, n): row k is the eigenvector of `values[k]`.
    pub vectors: Vec<E>,
}

impl<T, E> Eigen<T, E> {
    /// The eigenvector of `values[k]`.
    ///
    /// # Panics
    /// If there is no such eigenvalue.
    pub fn vector(&self, k: usize) -> &[E] {
        let n = self.values.len();
        &self.vectors[k * n..(k + 1) * n]
    }
}

/// Eigenvalues and eigenvectors of a real symmetric matrix, `A vₖ = λₖ vₖ`.
///
/// Tridiagonal reduction by Householder reflections and implicit QR steps with Wilkinson's shift, from the crate
/// `nalgebra`, in `f64`. The error of an eigenvalue is a few ε ‖A‖, whatever its size.
///
/// # Shapes
/// `a` is (n, n). Both triangles are read and averaged; they may differ by rounding, up to √ε of the largest element.
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when `a` is not (n, n), or n is 0,
/// - [`Error::Data`] when an element is not finite, when the matrix is not symmetric, or when the iteration fails.
///
/// # References
/// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), algorithms 8.3.1 to 8.3.3.
///
/// # Examples
/// ```
/// use exitwave::linalg::eigen::symmetric_eigen;
/// let e = symmetric_eigen(2, &[2.0f64, 1.0, 1.0, 2.0])?;
/// assert!((e.values[0] - 3.0).abs() < 1e-15 && (e.values[1] - 1.0).abs() < 1e-15);
/// assert!((e.vector(1)[0] - 0.5f64.sqrt()).abs() < 1e-15 && (e.vector(1)[1] + 0.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn symmetric_eigen<T: Real>(n: usize, a: &[T]) -> Result<Eigen<T>, Error> {
    let (values, vectors) = decompose(n, dense::real("symmetric_eigen", [n, n], a)?, T::EPSILON.f64())?;
    Ok(Eigen { values: dense::narrow(&values), vectors: dense::narrow(&vectors) })
}

/// Eigenvalues and eigenvectors of a complex Hermitian matrix, `A vₖ = λₖ vₖ`; see [`symmetric_eigen`].
///
/// # Shapes
/// `a` is (n, n), `a[i, j]` the conjugate of `a[j, i]`, up to √ε of the largest element.
///
/// # Errors
/// As [`symmetric_eigen`].
///
/// # Examples
/// ```
/// use exitwave::linalg::eigen::hermitian_eigen;
/// use num_complex::Complex64 as C;
/// // Pauli's σ_y.
/// let e = hermitian_eigen(2, &[C::new(0.0, 0.0), C::new(0.0, -1.0), C::new(0.0, 1.0), C::new(0.0, 0.0)])?;
/// assert!((e.values[0] - 1.0).abs() < 1e-15 && (e.values[1] + 1.0).abs() < 1e-15);
/// assert!((e.vector(0)[1] - C::new(0.0, 0.5f64.sqrt())).norm() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn hermitian_eigen<T: Real>(n: usize, a: &[Complex<T>]) -> Result<Eigen<T, Complex<T>>, Error> {
    let (values, vectors) = decompose(n, dense::complex("hermitian_eigen", [n, n], a)?, T::EPSILON.f64())?;
    Ok(Eigen { values: dense::narrow(&values), vectors: dense::narrow_complex(&vectors) })
}

/// Values and vectors (as rows), sorted, with their phases fixed. `epsilon` is that of the caller's scalar.
fn decompose<E: Element>(n: usize, mut a: Vec<E>, epsilon: f64) -> Result<(Vec<f64>, Vec<E>), Error> {
    let scale = dense::normalize(&mut a);
    check_hermitian(n, &a, epsilon.sqrt())?;
    let a = DMatrix::from_fn(n, n, |i, j| (a[i * n + j] + a[j * n + i].conjugate()).scale(0.5));

    // Two or three steps an eigenvalue are usual.
    let steps = n.saturating_mul(100).saturating_add(100);
    let found = SymmetricEigen::try_new(a, f64::EPSILON, steps)
        .ok_or(Error::Data { what: "eigen: the QR iteration did not converge, steps".into(), index: steps })?;

    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| found.eigenvalues[j].total_cmp(&found.eigenvalues[i]));
    let values = order.iter().map(|&k| found.eigenvalues[k] * scale).collect();
    let mut vectors: Vec<E> = Vec::with_capacity(n * n);
    for &k in &order {
        let v = found.eigenvectors.column(k);
        let phase = dense::leading_phase(v.as_slice());
        vectors.extend(v.iter().map(|&v| v * phase));
    }
    Ok((values, vectors))
}

/// Demands A = Aᴴ up to `tolerance`; the largest element is of order one.
pub(super) fn check_hermitian<E: Element>(n: usize, a: &[E], tolerance: f64) -> Result<(), Error> {
    for i in 0..n {
        for j in 0..=i {
            if (a[i * n + j] - a[j * n + i].conjugate()).modulus() > tolerance {
                let what =
                    format!("the matrix is not symmetric (Hermitian): elements ({i}, {j}) and ({j}, {i}) differ");
                return Err(Error::Data { what, index: i * n + j });
            }
        }
    }
    Ok(())
}
