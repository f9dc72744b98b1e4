//! AVX-512 kernels of convolution; see `conv` for what they compute.

use std::arch::x86_64::*;

use super::conv::{LANES, OUT, ROWS, TAPS, TILE};
use super::x86::{load512, store512};

/// Vectors of a tile.
const VECTORS: usize = TILE / LANES;

/// 24 accumulators: each vector of x is used eight times, each weight three times.
#[target_feature(enable = "avx512f")]
pub(super) fn output_tiles(
    x: &[f32],
    offsets: &[usize],
    w: &[f32],
    y: &mut [f32],
    stride: usize,
    tiles: usize,
    add: bool,
) {
    for at in (0..tiles * TILE).step_by(TILE) {
        let mut sum = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for (&offset, w) in offsets.iter().zip(w.chunks_exact(ROWS)) {
            let x = &x[offset + at..][..TILE];
            let x: [__m512; VECTORS] = [load512(x, 0), load512(x, LANES), load512(x, 2 * LANES)];
            for m in 0..ROWS {
                let w = _mm512_set1_ps(w[m]);
                for v in 0..VECTORS {
                    sum[m][v] = _mm512_fmadd_ps(w, x[v], sum[m][v]);
                }
            }
        }
        for m in 0..ROWS {
            let y = &mut y[m * stride + at..][..TILE];
            for v in 0..VECTORS {
                let old = if add { load512(y, v * LANES) } else { _mm512_setzero_ps() };
                store512(y, v * LANES, _mm512_add_ps(old, sum[m][v]));
            }
        }
    }
}

/// 24 accumulators: each vector of x is used four times, each of dy six times. Lanes are added at the end.
#[target_feature(enable = "avx512f")]
pub(super) fn gradient_tile(
    (dy, rows, dy_step): (&[f32], [usize; OUT], usize),
    (x, columns, x_step): (&[f32], [usize; TAPS], usize),
    segments: usize,
    len: usize,
) -> [[f32; TAPS]; OUT] {
    let mut sum = [[_mm512_setzero_ps(); TAPS]; OUT];
    for s in 0..segments {
        let dy = rows.map(|row| &dy[row + s * dy_step..][..len]);
        let x = columns.map(|column| &x[column + s * x_step..][..len]);
        gradient_rows(&dy, &x, len, &mut sum);
    }
    let mut out = [[0.0; TAPS]; OUT];
    for m in 0..OUT {
        for j in 0..TAPS {
            out[m][j] = _mm512_reduce_add_ps(sum[m][j]);
        }
    }
    out
}

/// The inner loop of [`gradient_tile`]; a function of its own, so that all sums stay in registers.
#[inline(never)]
#[target_feature(enable = "avx512f")]
fn gradient_rows(dy: &[&[f32]; OUT], x: &[&[f32]; TAPS], len: usize, sum: &mut [[__m512; TAPS]; OUT]) {
    assert!(dy.iter().all(|v| v.len() >= len) && x.iter().all(|v| v.len() >= len), "gradient_rows: short slices");
    let (dy, x) = (dy.map(<[f32]>::as_ptr), x.map(<[f32]>::as_ptr));
    let mut s = *sum;
    let mut p = 0;
    while p + LANES <= len {
        // SAFETY: each slice has at least `len` floats and p + 16 ≤ len; the loads need no alignment.
        #[allow(unsafe_code)]
        let (d, v) = unsafe {
            (
                [
                    _mm512_loadu_ps(dy[0].add(p)),
                    _mm512_loadu_ps(dy[1].add(p)),
                    _mm512_loadu_ps(dy[2].add(p)),
                    _mm512_loadu_ps(dy[3].add(p)),
                ],
                [
                    _mm512_loadu_ps(x[0].add(p)),
                    _mm512_loadu_ps(x[1].add(p)),
                    _mm512_loadu_ps(x[2].add(p)),
                    _mm512_loadu_ps(x[3].add(p)),
                    _mm512_loadu_ps(x[4].add(p)),
                    _mm512_loadu_ps(x[5].add(p)),
                ],
            )
        };
        for j in 0..TAPS {
            for m in 0..OUT {
                s[m][j] = _mm512_fmadd_ps(d[m], v[j], s[m][j]);
            }
        }
        p += LANES;
    }
    *sum = s;
}
