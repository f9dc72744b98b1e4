//! AVX2 and AVX-512 kernels. Loads and stores take checked slices; everything else is safe code.

use std::arch::x86_64::*;

/// Calls the kernel, which is inlined here and thereby compiled with AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn with_avx2<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

/// Calls the kernel, which is inlined here and thereby compiled with AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn with_avx2_fma<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

/// Calls the kernel, which is inlined here and thereby compiled with AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn with_avx512<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

/// Runs a kernel, which is inlined here and thereby compiled with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) fn kernel_avx2_fma(kernel: impl super::Kernel) {
    kernel.run::<true>();
}

/// Runs a kernel, which is inlined here and thereby compiled with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn kernel_avx512(kernel: impl super::Kernel) {
    kernel.run::<true>();
}

/// Four complex numbers (eight `f32`) of a slice.
#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[f32], at: usize) -> __m256 {
    let part: &[f32] = &x[at..at + 8];
    // SAFETY: `part` is eight readable floats; the load needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_ps(part.as_ptr())
    }
}

/// Stores eight `f32` into a slice.
#[inline]
#[target_feature(enable = "avx2")]
fn store(y: &mut [f32], at: usize, v: __m256) {
    let part: &mut [f32] = &mut y[at..at + 8];
    // SAFETY: `part` is eight writable floats; the store needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_storeu_ps(part.as_mut_ptr(), v)
    }
}

/// `y[j, at + i] = scale · x[i, j]` for complex x (8, columns), y (columns, rows), in 4 × 4 blocks of 64-bit words.
///
/// The caller has checked that `columns` is a multiple of 4 and at + 8 ≤ rows.
#[target_feature(enable = "avx2")]
pub(super) fn transpose_band8(x: &[f32], y: &mut [f32], columns: usize, rows: usize, at: usize, scale: f32) {
    let scale = _mm256_set1_ps(scale);
    for j in (0..columns).step_by(4) {
        for half in [0, 4] {
            // Four rows of four complex numbers.
            let row = |i: usize| _mm256_castps_pd(_mm256_mul_ps(load(x, 2 * ((half + i) * columns + j)), scale));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            // Pairs of rows interleaved, then their 128-bit halves exchanged.
            let (ab_even, ab_odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (cd_even, cd_odd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            let mut put =
                |column: usize, v: __m256d| store(y, 2 * ((j + column) * rows + at + half), _mm256_castpd_ps(v));
            put(0, _mm256_permute2f128_pd::<0x20>(ab_even, cd_even));
            put(1, _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd));
            put(2, _mm256_permute2f128_pd::<0x31>(ab_even, cd_even));
            put(3, _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd));
        }
    }
}

/// Eight complex numbers (sixteen `f32`) of a slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load512(x: &[f32], at: usize) -> __m512 {
    let part: &[f32] = &x[at..at + 16];
    // SAFETY: `part` is sixteen readable floats; the load needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_ps(part.as_ptr())
    }
}

/// Stores sixteen `f32` into a slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store512(y: &mut [f32], at: usize, v: __m512) {
    let part: &mut [f32] = &mut y[at..at + 16];
    // SAFETY: `part` is sixteen writable floats; the store needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_storeu_ps(part.as_mut_ptr(), v)
    }
}

/// As [`transpose_band8`], in 8 × 8 blocks of 64-bit words: every store is a whole cache line.
///
/// The caller has checked that `columns` is a multiple of 8 and at + 8 ≤ rows.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose_band8_avx512(x: &[f32], y: &mut [f32], columns: usize, rows: usize, at: usize, scale: f32) {
    let scale = _mm512_set1_ps(scale);
    for j in (0..columns).step_by(8) {
        // Eight rows of eight complex numbers, pairs of rows interleaved: even columns, odd columns.
        let row = |i: usize| _mm512_castps_pd(_mm512_mul_ps(load512(x, 2 * (i * columns + j)), scale));
        let rows8 = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
        let pair = |i: usize| [_mm512_unpacklo_pd(rows8[i], rows8[i + 1]), _mm512_unpackhi_pd(rows8[i], rows8[i + 1])];
        let (ab, cd, ef, gh) = (pair(0), pair(2), pair(4), pair(6));
        let mut put = |column: usize, v: __m512d| store512(y, 2 * ((j + column) * rows + at), _mm512_castpd_ps(v));
        for odd in [0, 1] {
            // Each vector holds a pair of rows in its four 128-bit lanes, one a column: lanes are transposed, 4 × 4.
            let low02 = _mm512_shuffle_f64x2::<0x88>(ab[odd], cd[odd]);
            let low13 = _mm512_shuffle_f64x2::<0xdd>(ab[odd], cd[odd]);
            let high02 = _mm512_shuffle_f64x2::<0x88>(ef[odd], gh[odd]);
            let high13 = _mm512_shuffle_f64x2::<0xdd>(ef[odd], gh[odd]);
            put(odd, _mm512_shuffle_f64x2::<0x88>(low02, high02));
            put(2 + odd, _mm512_shuffle_f64x2::<0x88>(low13, high13));
            put(4 + odd, _mm512_shuffle_f64x2::<0xdd>(low02, high02));
            put(6 + odd, _mm512_shuffle_f64x2::<0xdd>(low13, high13));
        }
    }
}

/// `y[j][i] = x[i][j]` for 16 × 16 `f32`.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose16_avx512(x: &[f32], y: &mut [f32]) {
    let rows = super::x86_lines::transpose(std::array::from_fn(|i| load512(x, 16 * i)));
    for j in 0..16 {
        store512(y, 16 * j, rows[j]);
    }
}
