//! Linear systems and least squares by Cholesky, QR and singular value decomposition.

use num_complex::Complex;

use crate::error::Error;
use crate::linalg::dense::{self, Element};
use crate::linalg::eigen::check_hermitian;
use crate::linalg::householder::{Order, Qr};
use crate::linalg::svd;
use crate::real::Real;

/// Solves A x = b for a symmetric positive definite A, by `A = L Lᵀ`.
///
/// # Shapes
/// `a` is (n, n), symmetric up to √ε; `b` is (n, k), any number k of right-hand sides in its columns; so is the result.
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when the sizes do not fit or are 0,
/// - [`Error::Data`] when a value is not finite, when A is not symmetric, or when it is not positive definite: a pivot
///   is not above n ε (of `f64`) times its diagonal element.
///
/// # References
/// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), algorithm 4.2.1; N. J. Higham, *Accuracy and
/// Stability of Numerical Algorithms*, 2nd ed. (2002), theorem 10.7: when the factorisation succeeds.
///
/// # Examples
/// ```
/// use exitwave::linalg::lstsq::cholesky_solve;
/// let x = cholesky_solve(2, &[4.0f64, 2.0, 2.0, 3.0], &[8.0, 8.0])?;
/// assert!((x[0] - 1.0).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn cholesky_solve<T: Real>(n: usize, a: &[T], b: &[T]) -> Result<Vec<T>, Error> {
    let op = "cholesky_solve";
    let k = dense::columns(op, n, b.len())?;
    let (a, b) = (dense::real(op, [n, n], a)?, dense::real(op, [n, k], b)?);
    Ok(dense::narrow(&cholesky(n, a, k, b, T::EPSILON.f64())?))
}

/// Solves A x = b for a Hermitian positive definite A, by `A = L Lᴴ`; see [`cholesky_solve`].
///
/// # Errors
/// As [`cholesky_solve`].
pub fn cholesky_solve_complex<T: Real>(n: usize, a: &[Complex<T>], b: &[Complex<T>]) -> Result<Vec<Complex<T>>, Error> {
    let op = "cholesky_solve_complex";
    let k = dense::columns(op, n, b.len())?;
    let (a, b) = (dense::complex(op, [n, n], a)?, dense::complex(op, [n, k], b)?);
    Ok(dense::narrow_complex(&cholesky(n, a, k, b, T::EPSILON.f64())?))
}

fn cholesky<E: Element>(n: usize, mut l: Vec<E>, k: usize, mut x: Vec<E>, epsilon: f64) -> Result<Vec<E>, Error> {
    let scale = dense::normalize(&mut l);
    check_hermitian(n, &l, epsilon.sqrt())?;

    // L replaces the lower triangle, row by row: l[i, j] = (a[i, j] − Σ_{p<j} l[i, p] l̄[j, p]) / l[j, j].
    for i in 0..n {
        let (above, row) = l.split_at_mut(i * n);
        for j in 0..i {
            let lj = &above[j * n..j * n + j];
            let sum = dense::dot(lj, &row[..j]);
            row[j] = (row[j] - sum).unscale(above[j * n + j].real());
        }
        let pivot = row[i].real() - dense::norm_squared(&row[..i]);
        // Not above, so that a NaN fails too.
        let above_rounding = pivot > n as f64 * f64::EPSILON * row[i].real() && pivot > 0.0;
        if !above_rounding {
            let what = format!("the matrix is not positive definite: pivot {:e}, row", pivot * scale);
            return Err(Error::Data { what, index: i });
        }
        row[i] = E::from_real(pivot.sqrt());
    }

    // L y = b, then Lᴴ x = y, on rows of k right-hand sides.
    for i in 0..n {
        let (solved, row) = x.split_at_mut(i * k);
        for j in 0..i {
            subtract(&mut row[..k], l[i * n + j], &solved[j * k..(j + 1) * k]);
        }
        row[..k].iter_mut().for_each(|x| *x = x.unscale(l[i * n + i].real()));
    }
    for i in (0..n).rev() {
        let (row, solved) = x[i * k..].split_at_mut(k);
        for j in i + 1..n {
            subtract(row, l[j * n + i].conjugate(), &solved[(j - i - 1) * k..(j - i) * k]);
        }
        row.iter_mut().for_each(|x| *x = x.unscale(l[i * n + i].real()));
    }
    x.iter_mut().for_each(|x| *x = x.unscale(scale));
    Ok(x)
}

/// x ← x − f y.
fn subtract<E: Element>(x: &mut [E], f: E, y: &[E]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x -= f * y);
}

/// Solves min ‖A x − b‖ for an A with independent columns, by Householder reflections with column pivoting. A square
/// system is solved exactly.
///
/// # Shapes
/// `a` is (m, n) with m ≥ n; `b` is (m, k), any number k of right-hand sides in its columns; the result is (n, k).
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when the sizes do not fit or are 0, or m < n,
/// - [`Error::Data`] when a value is not finite, or when the columns are dependent: after scaling them to a common
///   size, the longest remainder falls below 4 √max(m, n) ε of the longest column. The message gives the rank, `index`
///   a dependent column. [`least_squares`] solves such systems too.
///
/// # References
/// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), sections 5.3.2 and 5.4.2.
///
/// # Examples
/// ```
/// use exitwave::linalg::lstsq::qr_solve;
/// // The straight line through (0, 1), (1, 3), (2, 5): 1 + 2 t.
/// let x = qr_solve(3, 2, &[1.0f64, 0.0, 1.0, 1.0, 1.0, 2.0], &[1.0, 3.0, 5.0])?;
/// assert!((x[0] - 1.0).abs() < 1e-14 && (x[1] - 2.0).abs() < 1e-14);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn qr_solve<T: Real>(m: usize, n: usize, a: &[T], b: &[T]) -> Result<Vec<T>, Error> {
    let op = "qr_solve";
    let k = dense::columns(op, m, b.len())?;
    let (a, b) = (dense::real(op, [m, n], a)?, dense::real(op, [m, k], b)?);
    Ok(dense::narrow(&qr(m, n, &a, k, &b, T::EPSILON.f64())?))
}

/// Solves min ‖A x − b‖ for a complex A with independent columns; see [`qr_solve`].
///
/// # Errors
/// As [`qr_solve`].
pub fn qr_solve_complex<T: Real>(
    m: usize,
    n: usize,
    a: &[Complex<T>],
    b: &[Complex<T>],
) -> Result<Vec<Complex<T>>, Error> {
    let op = "qr_solve_complex";
    let k = dense::columns(op, m, b.len())?;
    let (a, b) = (dense::complex(op, [m, n], a)?, dense::complex(op, [m, k], b)?);
    Ok(dense::narrow_complex(&qr(m, n, &a, k, &b, T::EPSILON.f64())?))
}

fn qr<E: Element>(m: usize, n: usize, a: &[E], k: usize, b: &[E], epsilon: f64) -> Result<Vec<E>, Error> {
    if m < n {
        return Err(Error::shape("qr_solve: at least as many rows as columns", &[n, n], &[m, n]));
    }
    // Scaling the columns changes neither the least-squares problem nor, by powers of two, a digit of it.
    let mut columns = dense::transpose(m, n, a);
    let scales: Vec<f64> = columns.chunks_exact_mut(m).map(dense::normalize).collect();
    let tolerance = 4.0 * (m as f64).sqrt() * epsilon;
    let qr = Qr::new(m, n, columns, Order::Pivoted { tolerance });
    if qr.rank() < n {
        let what = format!("the matrix has rank {} with {n} columns; dependent column", qr.rank());
        return Err(Error::Data { what, index: qr.original(qr.rank()) });
    }
    let mut x = vec![E::zero(); n * k];
    for (j, b) in dense::transpose(m, k, b).chunks_exact_mut(m).enumerate() {
        for (i, xi) in qr.solve(b).into_iter().enumerate() {
            x[i * k + j] = xi.unscale(scales[i]);
        }
    }
    Ok(x)
}

/// Parameters of [`least_squares`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeastSquaresParams {
    /// Singular values up to this fraction of the largest count as zero; `None` (the default) means max(m, n) ε of the
    /// scalar.
    pub rank_tolerance: Option<f64>,
}

/// A least-squares solution and what is known about it; `E` is `T` or `Complex<T>`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeastSquares<T, E = T> {
    /// (n, k): the solution of least norm, a column for each right-hand side.
    pub x: Vec<E>,
    /// ‖b − A x‖ for each of the k right-hand sides.
    pub residual: Vec<T>,
    /// Number of singular values that counted.
    pub rank: usize,
    /// All min(m, n) singular values of A, descending.
    pub singular_values: Vec<T>,
}

/// The shortest of the solutions of min ‖A x − b‖, for any A, by singular value decomposition,
/// `x = Σ vᵢ (uᵢᵀ b) / sᵢ` over the sᵢ that count.
///
/// # Shapes
/// `a` is (m, n), any m and n above 0; `b` is (m, k), any number k of right-hand sides in its columns.
///
/// # Errors
/// - [`Error::Shape`] or [`Error::Param`] when the sizes do not fit or are 0, or the tolerance is not in [0, 1),
/// - [`Error::Data`] when a value is not finite.
///
/// # References
/// G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed. (2013), theorem 5.5.1.
///
/// # Examples
/// ```
/// use exitwave::linalg::lstsq::{LeastSquaresParams, least_squares};
/// // x₀ + x₁ = 2 has many solutions; (1, 1) is the shortest.
/// let found = least_squares(1, 2, &[1.0f64, 1.0], &[2.0], &LeastSquaresParams::default())?;
/// assert_eq!(found.rank, 1);
/// assert!((found.x[0] - 1.0).abs() < 1e-15 && (found.x[1] - 1.0).abs() < 1e-15);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn least_squares<T: Real>(
    m: usize,
    n: usize,
    a: &[T],
    b: &[T],
    params: &LeastSquaresParams,
) -> Result<LeastSquares<T>, Error> {
    let op = "least_squares";
    let k = dense::columns(op, m, b.len())?;
    let (a, b) = (dense::real(op, [m, n], a)?, dense::real(op, [m, k], b)?);
    let found = minimum_norm(m, n, &a, k, &b, tolerance::<T>(m, n, params)?)?;
    Ok(LeastSquares {
        x: dense::narrow(&found.x),
        residual: dense::narrow(&found.residual),
        rank: found.rank,
        singular_values: dense::narrow(&found.singular_values),
    })
}

/// The shortest of the solutions of min ‖A x − b‖ for a complex A, `x = Σ vᵢ (uᵢᴴ b) / sᵢ`; see [`least_squares`].
///
/// # Errors
/// As [`least_squares`].
pub fn least_squares_complex<T: Real>(
    m: usize,
    n: usize,
    a: &[Complex<T>],
    b: &[Complex<T>],
    params: &LeastSquaresParams,
) -> Result<LeastSquares<T, Complex<T>>, Error> {
    let op = "least_squares_complex";
    let k = dense::columns(op, m, b.len())?;
    let (a, b) = (dense::complex(op, [m, n], a)?, dense::complex(op, [m, k], b)?);
    let found = minimum_norm(m, n, &a, k, &b, tolerance::<T>(m, n, params)?)?;
    Ok(LeastSquares {
        x: dense::narrow_complex(&found.x),
        residual: dense::narrow(&found.residual),
        rank: found.rank,
        singular_values: dense::narrow(&found.singular_values),
    })
}

fn tolerance<T: Real>(m: usize, n: usize, params: &LeastSquaresParams) -> Result<f64, Error> {
    let tolerance = params.rank_tolerance.unwrap_or(m.max(n) as f64 * T::EPSILON.f64());
    if !(0.0..1.0).contains(&tolerance) {
        return Err(Error::param("rank_tolerance", tolerance, "a number in [0, 1)"));
    }
    Ok(tolerance)
}

fn minimum_norm<E: Element>(
    m: usize,
    n: usize,
    a: &[E],
    k: usize,
    b: &[E],
    tolerance: f64,
) -> Result<LeastSquares<f64, E>, Error> {
    let svd::Factors { u, s, v } = svd::factor(m, n, a.to_vec())?;
    let rank = s.iter().filter(|&&si| si > tolerance * s[0]).count();
    let (mut x, mut residual) = (vec![E::zero(); n * k], Vec::with_capacity(k));
    for (column, b) in dense::transpose(m, k, b).chunks_exact_mut(m).enumerate() {
        let mut xj = vec![E::zero(); n];
        for (i, (u, v)) in u.chunks_exact(m).zip(v.chunks_exact(n)).enumerate().take(rank) {
            let f = dense::dot(u, b).unscale(s[i]);
            xj.iter_mut().zip(v).for_each(|(x, &v)| *x += f * v);
        }
        for (b, row) in b.iter_mut().zip(a.chunks_exact(n)) {
            *b -= row.iter().zip(&xj).fold(E::zero(), |sum, (&a, &x)| sum + a * x);
        }
        residual.push(dense::norm_squared(b).sqrt());
        xj.into_iter().enumerate().for_each(|(i, xi)| x[i * k + column] = xi);
    }
    Ok(LeastSquares { x, residual, rank, singular_values: s })
}
