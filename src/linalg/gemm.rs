//! General matrix product, over the crate `matrixmultiply`.

use num_complex::Complex;

use crate::error::check_len;
use crate::real::Real;

/// Whether a matrix enters a product as it is or transposed. A conjugate is taken by the caller.
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
/// `op(a)` is (m, k), `op(b)` is (k, n), `c` is (m, n), with `mkn = [m, k, n]`; a transposed matrix is stored as (k,
/// m), (n, k). Any of the three may be 0. With β = 0 what stood in `c`, even NaN, has no influence.
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
        // A product that wrapped round would let a short slice pass, so it saturates: no slice is that long.
        check_len("gemm", "a", m.saturating_mul(k), a.len());
        check_len("gemm", "b", k.saturating_mul(n), b.len());
        check_len("gemm", "c", m.saturating_mul(n), c.len());
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
        // address just those; c is borrowed mutably, so it overlaps neither a nor b. `Complex<T>` is `repr(C)`, two
        // `T`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// The product as its definition says, term by term.
    mod naive {
        use super::*;

        pub fn gemm<E: rustfft::num_traits::Num + Copy>(
            [m, k, n]: [usize; 3],
            alpha: E,
            a: &[E],
            ta: Trans,
            b: &[E],
            tb: Trans,
            beta: E,
            c: &mut [E],
        ) {
            for i in 0..m {
                for j in 0..n {
                    let mut sum = E::zero();
                    for l in 0..k {
                        let a = if ta == Trans::No { a[i * k + l] } else { a[l * m + i] };
                        let b = if tb == Trans::No { b[l * n + j] } else { b[j * k + l] };
                        sum = sum + a * b;
                    }
                    let old = if beta.is_zero() { E::zero() } else { beta * c[i * n + j] };
                    c[i * n + j] = alpha * sum + old;
                }
            }
        }
    }

    /// Under miri, which is slow, the empty size and one beyond the kernels' width.
    const SIZES: &[usize] = if cfg!(miri) { &[0, 9] } else { &[0, 1, 2, 3, 8, 17, 33] };
    const TRANS: [Trans; 2] = [Trans::No, Trans::Transpose];

    /// Calls `check` with every shape from [`SIZES`] and every pair of transpositions.
    fn for_each_case(check: impl Fn([usize; 3], Trans, Trans)) {
        for &m in SIZES {
            for &k in SIZES {
                for &n in SIZES {
                    for ta in TRANS {
                        TRANS.iter().for_each(|&tb| check([m, k, n], ta, tb));
                    }
                }
            }
        }
    }

    fn random<T: Real>(n: usize, seed: u64) -> Vec<T> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| T::of(2.0 * rng::uniform(&mut r) - 1.0)).collect()
    }

    fn check_real<T: Real>() {
        for_each_case(|[m, k, n], ta, tb| {
            let (a, b, c) = (random::<T>(m * k, 1), random::<T>(k * n, 2), random::<T>(m * n, 3));
            // Sums of k products of numbers below 1 differ by at most 2 k ε in another order, and by a few ε for α and
            // β.
            let tolerance = (2.0 * k as f64 + 8.0) * T::EPSILON.f64();
            for (alpha, beta) in [(1.0, 0.0), (-0.5, 1.0), (0.0, 0.25)] {
                let (alpha, beta) = (T::of(alpha), T::of(beta));
                // β = 0 must overwrite even NaN.
                let start = if beta == T::ZERO { vec![T::NAN; m * n] } else { c.clone() };
                let (mut got, mut want) = (start.clone(), start);
                gemm([m, k, n], alpha, &a, ta, &b, tb, beta, &mut got);
                naive::gemm([m, k, n], alpha, &a, ta, &b, tb, beta, &mut want);
                for (g, w) in got.iter().zip(&want) {
                    assert!((*g - *w).abs().f64() <= tolerance, "{m} {k} {n} {ta:?} {tb:?}: {g} and {w}");
                }
            }
        });
    }

    fn check_complex<T: Real>() {
        for_each_case(|[m, k, n], ta, tb| {
            let z = |n, seed| -> Vec<Complex<T>> {
                random::<T>(n, seed).into_iter().zip(random(n, seed + 10)).map(|(a, b)| Complex::new(a, b)).collect()
            };
            let (a, b, c) = (z(m * k, 1), z(k * n, 2), z(m * n, 3));
            // As for real numbers, with four products a term.
            let tolerance = (8.0 * k as f64 + 16.0) * T::EPSILON.f64();
            for (alpha, beta) in [((1.0, 0.0), (0.0, 0.0)), ((-0.5, 0.25), (0.5, -1.0)), ((0.0, 0.0), (0.0, 1.0))] {
                let (alpha, beta) =
                    (Complex::new(T::of(alpha.0), T::of(alpha.1)), Complex::new(T::of(beta.0), T::of(beta.1)));
                let zero = beta == Complex::new(T::ZERO, T::ZERO);
                let start = if zero { vec![Complex::new(T::NAN, T::NAN); m * n] } else { c.clone() };
                let (mut got, mut want) = (start.clone(), start);
                gemm_complex([m, k, n], alpha, &a, ta, &b, tb, beta, &mut got);
                naive::gemm([m, k, n], alpha, &a, ta, &b, tb, beta, &mut want);
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).norm_sqr().f64().sqrt() <= tolerance, "{m} {k} {n} {ta:?} {tb:?}: {g} and {w}");
                }
            }
        });
    }

    #[test]
    fn gemm_is_the_definition_for_every_shape_and_transposition() {
        check_real::<f32>();
        check_real::<f64>();
    }

    #[test]
    fn complex_gemm_is_the_definition_for_every_shape_and_transposition() {
        check_complex::<f32>();
        check_complex::<f64>();
    }

    #[test]
    #[should_panic(expected = "gemm: `a`")]
    fn sizes_that_overflow_cannot_pass_for_empty() {
        gemm([1 << 32, 1 << 32, 0], 1.0f64, &[], Trans::No, &[], Trans::No, 0.0, &mut []);
    }
}
