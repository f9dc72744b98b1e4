//! Transposition, blocked for the cache.

use num_complex::Complex;

use crate::error::check_len;
use crate::real::Real;

/// Rows and columns of the blocks: 8 complex `f32` are one cache line.
const BLOCK: usize = 8;

/// `y[j, i] = x[i, j]`.
///
/// # Shapes
/// `x` is (rows, columns), `y` is (columns, rows).
///
/// # Panics
/// - if `x.len()` is not rows × columns,
/// - if `y.len() != x.len()`.
pub fn transpose<E: Copy>([rows, columns]: [usize; 2], x: &[E], y: &mut [E]) {
    check_len("transpose", "x", rows * columns, x.len());
    check_len("transpose", "y", rows * columns, y.len());
    for i0 in (0..rows).step_by(BLOCK) {
        for j0 in (0..columns).step_by(BLOCK) {
            for j in j0..(j0 + BLOCK).min(columns) {
                for i in i0..(i0 + BLOCK).min(rows) {
                    y[j * rows + i] = x[i * columns + j];
                }
            }
        }
    }
}

/// Writes a band of rows, times `scale`, into the columns of a transposed picture: `y[j, at + i] = scale · x[i, j]`.
///
/// `x` is (band, columns), `y` is (columns, rows), and at + band ≤ rows.
pub(crate) fn transpose_band<T: Real>(x: &[Complex<T>], y: &mut [Complex<T>], columns: usize, at: usize, scale: T) {
    let (band, rows) = (x.len() / columns, y.len() / columns);
    debug_assert!(at + band <= rows);
    if crate::simd::transpose_band(x, y, columns, at, scale) {
        return;
    }
    for j0 in (0..columns).step_by(BLOCK) {
        for i0 in (0..band).step_by(BLOCK) {
            for j in j0..(j0 + BLOCK).min(columns) {
                for i in i0..(i0 + BLOCK).min(band) {
                    y[j * rows + at + i] = x[i * columns + j].scale(scale);
                }
            }
        }
    }
}

/// Rows that are transformed, and then transposed while they are in the first-level cache.
pub(crate) const BAND: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_transposed_and_scaled_whatever_its_shape() {
        for (band, columns, rows, at) in
            [(8, 16, 32, 8), (8, 12, 20, 12), (4, 8, 8, 4), (8, 7, 9, 1), (3, 8, 3, 0), (1, 1, 1, 0)]
        {
            let x: Vec<Complex<f32>> = (0..band * columns).map(|i| Complex::new(i as f32, -0.5 * i as f32)).collect();
            let mut y = vec![Complex::new(-1.0f32, -1.0); rows * columns];
            transpose_band(&x, &mut y, columns, at, 2.0);
            for j in 0..columns {
                for i in 0..rows {
                    let inside = i >= at && i < at + band;
                    let want = if inside { x[(i - at) * columns + j] * 2.0 } else { Complex::new(-1.0, -1.0) };
                    assert_eq!(y[j * rows + i], want, "{band} {columns} {rows} {at}: {j} {i}");
                }
            }
        }
    }
}
