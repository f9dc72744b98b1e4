//! General matrix product, over the crate `matrixmultiply`.

use num_complex::Complex;

use crate::error::check_len;
use crate::real::Real;

/// Whether a matrix enters a product as it is, transposed, or as its adjoint (conjugate transpose).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trans {
    /// As stored.
    No,
    /// Rows and columns exchanged.
    Transpose,
}

/// One product `c ← α a b + β c` with strides in elements: what [`Real`] dispatches on. Its lengths have been checked.
#[doc(hidden)]
#[derive(Debug)]
pub struct GemmCall<'a, E> {
    // (rows of c, inner dimension, columns of c)
    mkn: [usize; 3],
    alpha: E,
    a: &'a [E],
    a_strides: [isize; 2],
    b: &'a [E],
    b_strides: [isize; 2],
    beta: E,
    c: &'a mut [E],
}

/// `c ← α op(a) op(b) + β c`, row-major.
///
/// # Shapes
/// `op(a)` is (m, k), `op(b)` is (k, n), `c` is (m, n); a transposed matrix is stored as (k, m), (n, k).
///
/// # Panics
/// - if `a.len() != m·k`,
/// - if `b.len() != k·n`,
/// - if `c.len() != m·n`.
///
/// ```
/// use exitwave::linalg::gemm::{Trans, gemm};
/// let mut c = [0.0f64; 4];
/// gemm([2, 3, 2], 1.0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Trans::No, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], Trans::No, 0.0, &mut c);
/// assert_eq!(c, [4.0, 5.0, 10.0, 11.0]);
/// ```
pub fn gemm<T: Real>(mkn: [usize; 3], alpha: T, a: &[T], ta: Trans, b: &[T], tb: Trans, beta: T, c: &mut [T]) {
    T::gemm(GemmCall::new(mkn, alpha, a, ta, b, tb, beta, c));
}

/// The complex product `c ← α op(a) op(b) + β c`; see [`gemm`]. Nothing is conjugated.
///
/// # Panics
/// As [`gemm`].
pub fn gemm_complex<T: Real>(
    mkn: [usize; 3],
    alpha: Complex<T>,
    a: &[Complex<T>],
    ta: Trans,
    b: &[Complex<T>],
    tb: Trans,
    beta: Complex<T>,
    c: &mut [Complex<T>],
) {
    T::gemm_complex(GemmCall::new(mkn, alpha, a, ta, b, tb, beta, c));
}

impl<'a, E: Copy> GemmCall<'a, E> {
    fn new(
        mkn: [usize; 3],
        alpha: E,
        a: &'a [E],
        ta: Trans,
        b: &'a [E],
        tb: Trans,
        beta: E,
        c: &'a mut [E],
    ) -> GemmCall<'a, E> {
        let [m, k, n] = mkn;
        check_len("gemm", "a", m * k, a.len());
        check_len("gemm", "b", k * n, b.len());
        check_len("gemm", "c", m * n, c.len());
        let strides = |t, rows: usize, columns: usize| match t {
            Trans::No => [columns as isize, 1],
            Trans::Transpose => [1, rows as isize],
        };
        GemmCall { mkn, alpha, a, a_strides: strides(ta, m, k), b, b_strides: strides(tb, k, n), beta, c }
    }
}

/// One call of `matrixmultiply`, which takes pointers and strides.
macro_rules! call {
    ($call:ident, $path:path, $scalar:expr, $ptr:ty $(, $flags:expr)?) => {{
        let [m, k, n] = $call.mkn;
        let [[rsa, csa], [rsb, csb]] = [$call.a_strides, $call.b_strides];
        // SAFETY: `GemmCall::new` has checked that a, b and c hold m·k, k·n and m·n elements, and has set strides that
        // address just those; c is borrowed mutably, so it overlaps neither a nor b.
        #[allow(unsafe_code)]
        unsafe {
            $path(
                $($flags, $flags,)?
                m, k, n,
                $scalar($call.alpha),
                $call.a.as_ptr() as *const $ptr, rsa, csa,
                $call.b.as_ptr() as *const $ptr, rsb, csb,
                $scalar($call.beta),
                $call.c.as_mut_ptr() as *mut $ptr, n as isize, 1,
            )
        }
    }};
}

const PLAIN: matrixmultiply::CGemmOption = matrixmultiply::CGemmOption::Standard;

impl GemmCall<'_, f32> {
    pub(crate) fn f32(self) {
        call!(self, matrixmultiply::sgemm, |x: f32| x, f32)
    }
}
impl GemmCall<'_, f64> {
    pub(crate) fn f64(self) {
        call!(self, matrixmultiply::dgemm, |x: f64| x, f64)
    }
}
impl GemmCall<'_, Complex<f32>> {
    pub(crate) fn f32(self) {
        call!(self, matrixmultiply::cgemm, |z: Complex<f32>| [z.re, z.im], [f32; 2], PLAIN)
    }
}
impl GemmCall<'_, Complex<f64>> {
    pub(crate) fn f64(self) {
        call!(self, matrixmultiply::zgemm, |z: Complex<f64>| [z.re, z.im], [f64; 2], PLAIN)
    }
}
