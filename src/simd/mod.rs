//! Vector kernels for the processor at hand: one dispatch by run-time detection, beside portable twins that do the
//! same.
//!
//! Each function returns `false` when it has no kernel for the processor or the type, and the caller runs its portable
//! loop.

pub(crate) mod conv;
pub(crate) mod lines;
pub(crate) mod product;
pub(crate) mod sin_cos;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_conv;
#[cfg(target_arch = "x86_64")]
mod x86_lines;
#[cfg(target_arch = "x86_64")]
mod x86_product;

use num_complex::Complex;

use crate::real::Real;

/// The best instruction set of this processor that the crate has kernels for: `"avx512"`, `"avx2"` or `"portable"`.
pub fn level() -> &'static str {
    if avx512() {
        "avx512"
    } else if avx2() {
        "avx2"
    } else {
        "portable"
    }
}

/// Runs a portable loop, compiled for the processor's vector instructions: `vectorized!({ … })`.
///
/// The body is ordinary safe code. It is compiled three times: as it stands, and inlined into functions that may use
/// AVX2 and AVX-512, so that the compiler vectorises it eight or sixteen `f32` wide instead of four. No operation is
/// fused or reordered: the result has the same bits at every level.
///
/// A macro, because a closure that two branches call is not inlined into either, and would be compiled without AVX2.
macro_rules! vectorized {
    ($body:block) => {
        if $crate::simd::avx512() {
            $crate::simd::with_avx512(|| $body)
        } else if $crate::simd::avx2() {
            $crate::simd::with_avx2(|| $body)
        } else {
            $body
        }
    };
}
pub(crate) use vectorized;

/// As [`vectorized`], for loops of multiplications and additions that are fused where the processor can:
/// `fused!(|FMA| kernel::<FMA>(…))`, in which the constant `FMA` says whether `mul_add` is one instruction. Last bits
/// differ between processors with and without it.
macro_rules! fused {
    (|$fma:ident| $body:expr) => {
        if $crate::simd::avx512() {
            const $fma: bool = true;
            $crate::simd::with_avx512(|| $body)
        } else if $crate::simd::avx2_fma() {
            const $fma: bool = true;
            $crate::simd::with_avx2_fma(|| $body)
        } else {
            const $fma: bool = false;
            $body
        }
    };
}
pub(crate) use fused;

/// A portable loop with its arguments, to be compiled for the processor's vector instructions by [`dispatch`]: what [`fused`] does
/// for a loop that is too large for the compiler to inline of its own accord. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// The loop. Where `FMA`, `mul_add` is one instruction.
    fn run<const FMA: bool>(self);
}

/// Runs a kernel as the processor can.
#[inline]
pub(crate) fn dispatch(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    if avx512() {
        // SAFETY: AVX-512 was detected, which is all `kernel_avx512` needs.
        #[allow(unsafe_code)]
        return unsafe { x86::kernel_avx512(kernel) };
    } else if avx2_fma() {
        // SAFETY: AVX2 and FMA were detected, which is all `kernel_avx2_fma` needs.
        #[allow(unsafe_code)]
        return unsafe { x86::kernel_avx2_fma(kernel) };
    }
    kernel.run::<false>();
}

/// Whether the processor has AVX2 and FMA.
#[inline(always)]
pub(crate) fn avx2_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx2() && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Calls a kernel inside a function that is compiled with AVX2 and FMA.
///
/// # Panics
/// If the processor lacks one of them.
#[inline(always)]
pub(crate) fn with_avx2_fma<R>(kernel: impl FnOnce() -> R) -> R {
    assert!(avx2_fma(), "with_avx2_fma on a processor without it");
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: AVX2 and FMA were detected, which is all `with_avx2_fma` needs.
        #[allow(unsafe_code)]
        return unsafe { x86::with_avx2_fma(kernel) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    kernel()
}

/// Whether the processor has AVX2.
#[inline(always)]
pub(crate) fn avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Calls a kernel inside a function that is compiled with AVX2.
///
/// # Panics
/// If the processor has no AVX2.
#[inline(always)]
pub(crate) fn with_avx2<R>(kernel: impl FnOnce() -> R) -> R {
    assert!(avx2(), "with_avx2 on a processor without it");
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: AVX2 was detected, which is all `with_avx2` needs.
        #[allow(unsafe_code)]
        return unsafe { x86::with_avx2(kernel) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    kernel()
}

/// Whether the processor has AVX-512 (F, BW, DQ, VL).
#[inline(always)]
pub(crate) fn avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Calls a kernel inside a function that is compiled with AVX-512.
///
/// # Panics
/// If the processor has no AVX-512.
#[inline(always)]
pub(crate) fn with_avx512<R>(kernel: impl FnOnce() -> R) -> R {
    assert!(avx512(), "with_avx512 on a processor without it");
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: AVX-512 was detected, which is all `with_avx512` needs.
        #[allow(unsafe_code)]
        return unsafe { x86::with_avx512(kernel) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    kernel()
}

/// `y[j, at + i] = scale · x[i, j]` for x (8, columns) and y (columns, rows): `f32`, 8 rows, a multiple of 4 columns.
pub(crate) fn transpose_band<T: Real>(
    x: &[Complex<T>],
    y: &mut [Complex<T>],
    columns: usize,
    at: usize,
    scale: T,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if T::NAME == "f32" && x.len() == 8 * columns && columns.is_multiple_of(4) && avx2() {
        let rows = y.len() / columns;
        assert!(at + 8 <= rows, "transpose_band: rows {at}..{} of {rows}", at + 8);
        // A complex f32 is moved as one 64-bit word.
        let (x, y): (&[f32], &mut [f32]) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
        let scale = scale.f64() as f32;
        if columns.is_multiple_of(8) && avx512() {
            // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
            #[allow(unsafe_code)]
            unsafe {
                x86::transpose_band8_avx512(x, y, columns, rows, at, scale)
            };
        } else {
            // SAFETY: AVX2 was detected, which is all the kernel needs; it checks its slices itself.
            #[allow(unsafe_code)]
            unsafe {
                x86::transpose_band8(x, y, columns, rows, at, scale)
            };
        }
        return true;
    }
    let _ = (x, y, columns, at, scale);
    false
}

/// `y[j][i] = x[i][j]` for a block of 16 × 16 numbers.
#[inline]
pub(crate) fn transpose16<T: Real>(x: &[[T; 16]; 16], y: &mut [[T; 16]; 16]) {
    #[cfg(target_arch = "x86_64")]
    if T::NAME == "f32" && avx512() {
        let (x, y): (&[f32], &mut [f32]) =
            (bytemuck::cast_slice(x.as_flattened()), bytemuck::cast_slice_mut(y.as_flattened_mut()));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            x86::transpose16_avx512(x, y)
        };
        return;
    }
    for i in 0..16 {
        for j in 0..16 {
            y[j][i] = x[i][j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_transposed_in_both_precisions() {
        fn check<T: Real>() {
            let x: [[T; 16]; 16] = std::array::from_fn(|i| std::array::from_fn(|j| T::of((16 * i + j) as f64)));
            let mut y = [[T::NAN; 16]; 16];
            transpose16(&x, &mut y);
            assert!((0..256).all(|i| y[i % 16][i / 16] == x[i / 16][i % 16]));
        }
        check::<f32>();
        check::<f64>();
    }
}
