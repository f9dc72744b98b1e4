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
        let dy: [&[f32]; OUT] = std::array::from_fn(|m| &dy[rows[m] + s * dy_step..][..len]);
        let x: [&[f32]; TAPS] = std::array::from_fn(|j| &x[columns[j] + s * x_step..][..len]);
        for p in (0..len / LANES).map(|p| p * LANES) {
            let dy: [__m512; OUT] = [load512(dy[0], p), load512(dy[1], p), load512(dy[2], p), load512(dy[3], p)];
            for j in 0..TAPS {
                let x = load512(x[j], p);
                for m in 0..OUT {
                    sum[m][j] = _mm512_fmadd_ps(dy[m], x, sum[m][j]);
                }
            }
        }
    }
    let mut out = [[0.0; TAPS]; OUT];
    for m in 0..OUT {
        for j in 0..TAPS {
            out[m][j] = _mm512_reduce_add_ps(sum[m][j]);
        }
    }
    out
}
