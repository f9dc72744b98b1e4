//! The scalar: `f32` or `f64`, and the few complex functions that need more than arithmetic.

use num_complex::Complex;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`: the only scalar abstraction of the crate. Sealed.
///
/// Arithmetic, `abs`, `zero()` and `one()` come from `num_traits` through [`rustfft::FftNum`]; the functions below are
/// those of the standard library under the same names.
pub trait Real:
    sealed::Sealed
    + rustfft::FftNum
    + bytemuck::Pod
    + Default
    + PartialOrd
    + std::fmt::Display
    + std::fmt::LowerExp
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + std::ops::DivAssign
    + std::ops::RemAssign
    + std::iter::Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Half.
    const HALF: Self;
    /// π.
    const PI: Self;
    /// Twice π.
    const TAU: Self;
    /// Distance from 1 to the next larger number.
    const EPSILON: Self;
    /// Smallest positive normal number.
    const MIN_POSITIVE: Self;
    /// Positive infinity.
    const INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// Rounds an `f64` to this type.
    fn of(x: f64) -> Self;
    /// Widens to `f64`, exactly.
    fn f64(self) -> f64;
    /// √x.
    fn sqrt(self) -> Self;
    /// sin x.
    fn sin(self) -> Self;
    /// cos x.
    fn cos(self) -> Self;
    /// (sin x, cos x).
    fn sin_cos(self) -> (Self, Self);
    /// tan x.
    fn tan(self) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// x to an integer power.
    fn powi(self, n: i32) -> Self;
    /// x to a real power.
    fn powf(self, p: Self) -> Self;
    /// The angle of the point (x = `other`, y = `self`).
    fn atan2(self, other: Self) -> Self;
    /// √(x² + y²), without overflow.
    fn hypot(self, other: Self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Rounds down.
    fn floor(self) -> Self;
    /// Rounds to the nearest integer, halves away from zero.
    fn round(self) -> Self;
    /// `self · a + b`, fused where the processor can.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger of two numbers; a NaN loses.
    fn max(self, other: Self) -> Self;
    /// The smaller of two numbers; a NaN loses.
    fn min(self, other: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// General matrix product, `c ← α a b + β c`, on row-major slices; see [`crate::linalg::gemm`].
    #[doc(hidden)]
    fn gemm(_: crate::linalg::gemm::GemmCall<'_, Self>);
    /// The same for complex matrices.
    #[doc(hidden)]
    fn gemm_complex(_: crate::linalg::gemm::GemmCall<'_, Complex<Self>>);
}

macro_rules! impl_real {
    ($t:ident) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const HALF: Self = 0.5;
            const PI: Self = std::$t::consts::PI;
            const TAU: Self = std::$t::consts::TAU;
            const EPSILON: Self = $t::EPSILON;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;
            const NAME: &'static str = stringify!($t);

            #[inline]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline]
            fn f64(self) -> f64 {
                self as f64
            }
            #[inline]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline]
            fn cos(self) -> Self {
                $t::cos(self)
            }
            #[inline]
            fn sin_cos(self) -> (Self, Self) {
                $t::sin_cos(self)
            }
            #[inline]
            fn tan(self) -> Self {
                $t::tan(self)
            }
            #[inline]
            fn exp(self) -> Self {
                $t::exp(self)
            }
            #[inline]
            fn ln(self) -> Self {
                $t::ln(self)
            }
            #[inline]
            fn powi(self, n: i32) -> Self {
                $t::powi(self, n)
            }
            #[inline]
            fn powf(self, p: Self) -> Self {
                $t::powf(self, p)
            }
            #[inline]
            fn atan2(self, other: Self) -> Self {
                $t::atan2(self, other)
            }
            #[inline]
            fn hypot(self, other: Self) -> Self {
                $t::hypot(self, other)
            }
            #[inline]
            fn tanh(self) -> Self {
                $t::tanh(self)
            }
            #[inline]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline]
            fn round(self) -> Self {
                $t::round(self)
            }
            #[inline]
            fn mul_add(self, a: Self, b: Self) -> Self {
                $t::mul_add(self, a, b)
            }
            #[inline]
            fn max(self, other: Self) -> Self {
                $t::max(self, other)
            }
            #[inline]
            fn min(self, other: Self) -> Self {
                $t::min(self, other)
            }
            #[inline]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            fn gemm(call: crate::linalg::gemm::GemmCall<'_, Self>) {
                call.$t()
            }
            fn gemm_complex(call: crate::linalg::gemm::GemmCall<'_, Complex<Self>>) {
                call.$t()
            }
        }
    };
}
impl_real!(f32);
impl_real!(f64);

/// |z|, without overflow.
#[inline]
pub fn norm<T: Real>(z: Complex<T>) -> T {
    z.re.hypot(z.im)
}

/// The phase of z in (−π, π]; 0 for z = 0.
#[inline]
pub fn arg<T: Real>(z: Complex<T>) -> T {
    z.im.atan2(z.re)
}

/// e^{iφ} = cos φ + i sin φ.
#[inline]
pub fn cis<T: Real>(phi: T) -> Complex<T> {
    let (s, c) = phi.sin_cos();
    Complex::new(c, s)
}

/// z/|z|, and 1 for z = 0.
#[inline]
pub fn unit<T: Real>(z: Complex<T>) -> Complex<T> {
    let a = norm(z);
    if a > T::ZERO { z.unscale(a) } else { Complex::new(T::ONE, T::ZERO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cis_and_arg_are_inverse() {
        for i in -31..=31 {
            let phi = f64::from(i) * 0.1;
            assert!((arg(cis(phi)) - phi).abs() < 1e-15);
            assert!((norm(cis(phi)) - 1.0).abs() < 1e-15);
        }
        assert_eq!(unit(Complex::new(0.0f32, 0.0)), Complex::new(1.0, 0.0));
    }
}
