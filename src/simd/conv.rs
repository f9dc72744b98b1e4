//! The two inner products of convolution, on a channel's flat array: one output tile, and one tile of the weights'
//! gradient.
//!
//! Both see a convolution as sums over a list of offsets (one an input channel and tap) into a padded copy of the input
//! that lies in the cache. `nn::conv` makes the copy and the list.

use crate::real::Real;

/// Output channels of a tile.
pub(crate) const ROWS: usize = 8;
/// Pixels of a tile: three vectors of sixteen `f32`.
pub(crate) const TILE: usize = 48;
/// Lanes of the portable loops, and the unit of lengths in [`gradient_tile`].
pub(crate) const LANES: usize = 16;
/// Output channels of a tile of the weights' gradient.
pub(crate) const OUT: usize = 4;
/// Offsets of a tile of the weights' gradient.
pub(crate) const TAPS: usize = 6;

/// `y[m, p] ← Σ_j w[j, m] x[offset_j + p]` for m < 8 and p < 48 · `tiles`; the sum starts from y itself when `onto` is
/// [`crate::op::Write::Add`].
///
/// `w` is (j, 8); row m of y starts at m · `stride`.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn output_tiles<T: Real>(
    x: &[T],
    offsets: &[usize],
    w: &[T],
    y: &mut [T],
    stride: usize,
    tiles: usize,
    onto: crate::op::Write,
) {
    crate::error::check_len("convolution", "w", offsets.len() * ROWS, w.len());
    let add = onto == crate::op::Write::Add;
    #[cfg(target_arch = "x86_64")]
    if T::NAME == "f32" && super::avx512() {
        let (x, w, y) = (bytemuck::cast_slice(x), bytemuck::cast_slice(w), bytemuck::cast_slice_mut(y));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            super::x86_conv::output_tiles(x, offsets, w, y, stride, tiles, add)
        };
        return;
    }
    super::fused!(|FMA| output_tiles_portable::<T, FMA>(x, offsets, w, y, stride, tiles, add));
}

/// `out[m][j] += Σ_s Σ_p dy[rows_m + s · dy_step + p] x[columns_j + s · x_step + p]` for p < `len` and s < `segments`.
///
/// `len` is a multiple of 16.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn gradient_tile<T: Real>(
    (dy, rows, dy_step): (&[T], [usize; OUT], usize),
    (x, columns, x_step): (&[T], [usize; TAPS], usize),
    segments: usize,
    len: usize,
    out: &mut [[T; TAPS]; OUT],
) {
    assert!(len.is_multiple_of(LANES), "gradient_tile: a length of {len}");
    #[cfg(target_arch = "x86_64")]
    if T::NAME == "f32" && super::avx512() {
        let (dy, x) = (bytemuck::cast_slice(dy), bytemuck::cast_slice(x));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        let sums = unsafe { super::x86_conv::gradient_tile((dy, rows, dy_step), (x, columns, x_step), segments, len) };
        for (out, sums) in out.iter_mut().zip(&sums) {
            out.iter_mut().zip(sums).for_each(|(o, &s)| *o += T::of(f64::from(s)));
        }
        return;
    }
    super::fused!(|FMA| gradient_tile_portable::<T, FMA>(
        (dy, rows, dy_step),
        (x, columns, x_step),
        segments,
        len,
        out
    ));
}

/// `a b + c`, fused or not.
#[inline(always)]
fn fma<T: Real, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The portable twin, four channels and sixteen pixels at a time.
#[inline(always)]
fn output_tiles_portable<T: Real, const FMA: bool>(
    x: &[T],
    offsets: &[usize],
    w: &[T],
    y: &mut [T],
    stride: usize,
    tiles: usize,
    add: bool,
) {
    for half in [0, ROWS / 2] {
        for p in (0..tiles * TILE).step_by(LANES) {
            let mut sum = [[T::ZERO; LANES]; ROWS / 2];
            for (&offset, w) in offsets.iter().zip(w.chunks_exact(ROWS)) {
                let (w, _) = w[half..].split_first_chunk::<{ ROWS / 2 }>().expect("half a row of weights");
                let (x, _) = x[offset + p..].split_first_chunk::<LANES>().expect("sixteen pixels");
                for m in 0..ROWS / 2 {
                    for l in 0..LANES {
                        sum[m][l] = fma::<T, FMA>(w[m], x[l], sum[m][l]);
                    }
                }
            }
            for (m, sum) in sum.iter().enumerate() {
                let y = &mut y[(half + m) * stride + p..][..LANES];
                y.iter_mut().zip(sum).for_each(|(y, &s)| *y = if add { *y + s } else { s });
            }
        }
    }
}

/// The portable twin, two channels at a time.
#[inline(always)]
fn gradient_tile_portable<T: Real, const FMA: bool>(
    (dy, rows, dy_step): (&[T], [usize; OUT], usize),
    (x, columns, x_step): (&[T], [usize; TAPS], usize),
    segments: usize,
    len: usize,
    out: &mut [[T; TAPS]; OUT],
) {
    for m in 0..OUT {
        for half in [0, TAPS / 2] {
            let mut sum = [[T::ZERO; LANES]; TAPS / 2];
            for s in 0..segments {
                let dy = &dy[rows[m] + s * dy_step..][..len];
                let x: [&[T]; TAPS / 2] = std::array::from_fn(|j| &x[columns[half + j] + s * x_step..][..len]);
                for p in (0..len).step_by(LANES) {
                    let (dy, _) = dy[p..].split_first_chunk::<LANES>().expect("sixteen pixels");
                    for j in 0..TAPS / 2 {
                        let (x, _) = x[j][p..].split_first_chunk::<LANES>().expect("sixteen pixels");
                        for l in 0..LANES {
                            sum[j][l] = fma::<T, FMA>(dy[l], x[l], sum[j][l]);
                        }
                    }
                }
            }
            for j in 0..TAPS / 2 {
                out[m][half + j] += sum[j].iter().copied().sum::<T>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Write;
    use crate::rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| rng::normal(&mut r) as f32).collect()
    }

    /// A sum of n products of normal numbers has rounding errors of order √n ε; ten times that is far from a wrong one.
    fn close(a: f32, b: f32, n: usize) -> bool {
        (a - b).abs() <= 10.0 * (n as f32) * f32::EPSILON
    }

    #[test]
    fn output_tiles_equal_their_portable_twin() {
        let (x, offsets) = (random(900, 1), vec![0, 5, 17, 200, 1, 333, 700]);
        let w = random(ROWS * offsets.len(), 2);
        for tiles in [1, 2, 4] {
            for onto in [Write::Set, Write::Add] {
                let stride = tiles * TILE + 3;
                let start = if onto == Write::Add { random(ROWS * stride, 3) } else { vec![f32::NAN; ROWS * stride] };
                let (mut got, mut want) = (start.clone(), start);
                output_tiles(&x, &offsets, &w, &mut got, stride, tiles, onto);
                output_tiles_portable::<f32, false>(&x, &offsets, &w, &mut want, stride, tiles, onto == Write::Add);
                for m in 0..ROWS {
                    for p in 0..tiles * TILE {
                        let at = m * stride + p;
                        assert!(close(got[at], want[at], 7), "{tiles} {onto:?} {m} {p}: {} {}", got[at], want[at]);
                    }
                }
            }
        }
    }

    #[test]
    fn gradient_tiles_equal_their_portable_twin() {
        let (x, dy) = (random(900, 1), random(900, 2));
        let (rows, columns) = ([0, 100, 7, 300], [0, 1, 2, 258, 259, 400]);
        for (segments, len) in [(1, 16), (3, 64), (2, 160)] {
            let mut got = [[0.5f32; TAPS]; OUT];
            let mut want = got;
            gradient_tile((&dy, rows, 200), (&x, columns, 150), segments, len, &mut got);
            gradient_tile_portable::<f32, false>((&dy, rows, 200), (&x, columns, 150), segments, len, &mut want);
            for m in 0..OUT {
                for j in 0..TAPS {
                    assert!(close(got[m][j], want[m][j], segments * len), "{} {}", got[m][j], want[m][j]);
                }
            }
        }
    }
}
