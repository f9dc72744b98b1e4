//! AVX-512 kernels of `lines`: sixteen whole lines of complex `f32`. Loads and stores take checked slices; everything else is safe
//! code.

use std::arch::x86_64::*;

use super::x86::{load512, store512};

/// As [`super::lines::turn`], for a multiple of sixteen points.
#[target_feature(enable = "avx512f")]
pub(super) fn turn(x: &[[f32; 16]], order: &[u32], y: &mut [[f32; 16]], chunk: usize) {
    for (c, order) in order.as_chunks::<16>().0.iter().enumerate() {
        // (`map` would not be inlined.)
        let rows = transpose(std::array::from_fn(|j| load512(&x[order[j] as usize], 0)));
        for (y, row) in y[c * chunk..][..16].iter_mut().zip(rows) {
            store512(y, 0, row);
        }
    }
}

/// As [`super::lines::read_columns`].
#[target_feature(enable = "avx512f")]
pub(super) fn read_columns(x: &[f32], width: usize, re: &mut [[f32; 16]], im: &mut [[f32; 16]]) {
    for (j, (re, im)) in re.iter_mut().zip(im).enumerate() {
        let (r, i) = apart(load512(x, 2 * j * width), load512(x, 2 * j * width + 16));
        store512(re, 0, r);
        store512(im, 0, i);
    }
}

/// As [`super::lines::write_columns`].
#[target_feature(enable = "avx512f")]
pub(super) fn write_columns(
    (re, im): (&[[f32; 16]], &[[f32; 16]]),
    order: &[u32],
    scale: f32,
    y: &mut [f32],
    width: usize,
) {
    let scale = _mm512_set1_ps(scale);
    for (k, &at) in order.iter().enumerate() {
        let r = _mm512_mul_ps(load512(&re[at as usize], 0), scale);
        let i = _mm512_mul_ps(load512(&im[at as usize], 0), scale);
        let (first, second) = together(r, i);
        store512(y, 2 * k * width, first);
        store512(y, 2 * k * width + 16, second);
    }
}

/// As [`super::lines::write_rows`], for a multiple of eight points.
#[target_feature(enable = "avx512f")]
pub(super) fn write_rows(
    (re, im): (&[[f32; 16]], &[[f32; 16]]),
    order: &[u32],
    scale: f32,
    y: &mut [f32],
    width: usize,
) {
    let scale = _mm512_set1_ps(scale);
    for (c, order) in order.as_chunks::<8>().0.iter().enumerate() {
        // 128-bit lane L of low[j] holds the complex numbers of rows 4 L and 4 L + 1 at point j, high[j] those of 4 L + 2 and 4 L + 3.
        let (mut low, mut high) = ([scale; 8], [scale; 8]);
        for j in 0..8 {
            let r = _mm512_mul_ps(load512(&re[order[j] as usize], 0), scale);
            let i = _mm512_mul_ps(load512(&im[order[j] as usize], 0), scale);
            (low[j], high[j]) = (_mm512_unpacklo_ps(r, i), _mm512_unpackhi_ps(r, i));
        }
        for s in 0..4 {
            // Lane L of a[m]: row 4 L + s at the points 2 m and 2 m + 1.
            let mut a = [scale; 4];
            for m in 0..4 {
                let z = if s < 2 { &low } else { &high };
                let (u, v) = (_mm512_castps_pd(z[2 * m]), _mm512_castps_pd(z[2 * m + 1]));
                let w = if s % 2 == 0 { _mm512_unpacklo_pd(u, v) } else { _mm512_unpackhi_pd(u, v) };
                a[m] = _mm512_castpd_ps(w);
            }
            let even01 = _mm512_shuffle_f32x4::<0x88>(a[0], a[1]);
            let odd01 = _mm512_shuffle_f32x4::<0xdd>(a[0], a[1]);
            let even23 = _mm512_shuffle_f32x4::<0x88>(a[2], a[3]);
            let odd23 = _mm512_shuffle_f32x4::<0xdd>(a[2], a[3]);
            let rows = [
                _mm512_shuffle_f32x4::<0x88>(even01, even23),
                _mm512_shuffle_f32x4::<0x88>(odd01, odd23),
                _mm512_shuffle_f32x4::<0xdd>(even01, even23),
                _mm512_shuffle_f32x4::<0xdd>(odd01, odd23),
            ];
            for (l, row) in rows.into_iter().enumerate() {
                let at = 2 * (4 * l + s) * width + 16 * c;
                store512(y, at, row);
            }
        }
    }
}

/// As [`super::lines::times`], for arrays of one length.
#[target_feature(enable = "avx512f")]
pub(super) fn times(
    (xr, xi): (&[[f32; 16]], &[[f32; 16]]),
    z: &[[f32; 2]],
    sign: f32,
    (yr, yi): (&mut [[f32; 16]], &mut [[f32; 16]]),
) {
    let points = xr.iter().zip(xi).zip(yr.iter_mut().zip(yi)).zip(z);
    for (((xr, xi), (yr, yi)), z) in points {
        let (a, b) = (load512(xr, 0), load512(xi, 0));
        let (c, s) = (_mm512_set1_ps(z[0]), _mm512_set1_ps(sign * z[1]));
        store512(yr, 0, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        store512(yi, 0, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

/// The transpose of a matrix of 16 × 16 floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(r: [__m512; 16]) -> [__m512; 16] {
    // In groups q of four rows: 128-bit lane L of g[q][c] holds column 4 L + c of the rows 4 q … 4 q + 3.
    let g: [[__m512; 4]; 4] = std::array::from_fn(|q| {
        let (a, b, c, d) = (r[4 * q], r[4 * q + 1], r[4 * q + 2], r[4 * q + 3]);
        let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab0, cd0),
            _mm512_shuffle_ps::<0xee>(ab0, cd0),
            _mm512_shuffle_ps::<0x44>(ab1, cd1),
            _mm512_shuffle_ps::<0xee>(ab1, cd1),
        ]
    });
    // Then, for every c, the 4 × 4 matrix of 128-bit lanes (q, L).
    let mut y = r;
    for c in 0..4 {
        let even01 = _mm512_shuffle_f32x4::<0x88>(g[0][c], g[1][c]);
        let odd01 = _mm512_shuffle_f32x4::<0xdd>(g[0][c], g[1][c]);
        let even23 = _mm512_shuffle_f32x4::<0x88>(g[2][c], g[3][c]);
        let odd23 = _mm512_shuffle_f32x4::<0xdd>(g[2][c], g[3][c]);
        y[c] = _mm512_shuffle_f32x4::<0x88>(even01, even23);
        y[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd01, odd23);
        y[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even01, even23);
        y[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd01, odd23);
    }
    y
}

/// Sixteen complex numbers as real and imaginary parts.
#[inline]
#[target_feature(enable = "avx512f")]
fn apart(a: __m512, b: __m512) -> (__m512, __m512) {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
}

/// Real and imaginary parts as sixteen complex numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn together(re: __m512, im: __m512) -> (__m512, __m512) {
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    (_mm512_permutex2var_ps(re, first, im), _mm512_permutex2var_ps(re, second, im))
}
