//! A product of small matrices as they lie: nothing is packed, any strides of the left factor, any width.
//!
//! For what the layers multiply (rows of tokens, tiles of scores) packing costs as much as it saves, because each number
//! is used a few dozen times.

use crate::op::Write;
use crate::real::Real;

/// `y[r, p] ← Σ_{k<depth} a[r, k] b[k, p]` for r < `rows` and p < `width`; the sum is added to y when `onto` is
/// [`Write::Add`].
///
/// Element (r, k) of a is `a[r · row + k · column]`. Rows of b and of y are `b_row` and `y_row` apart. The sum over k is
/// taken in order, so that the bits do not depend on how rows are shared out.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn product<T: Real>(
    [rows, depth, width]: [usize; 3],
    (a, [row, column]): (&[T], [usize; 2]),
    (b, b_row): (&[T], usize),
    (y, y_row): (&mut [T], usize),
    onto: Write,
) {
    let add = onto == Write::Add;
    if rows == 0 || width == 0 {
        return;
    }
    assert!((rows - 1) * y_row + width <= y.len(), "product: y has {} words", y.len());
    if depth > 0 {
        assert!((rows - 1) * row + (depth - 1) * column < a.len(), "product: a has {} words", a.len());
        assert!((depth - 1) * b_row + width <= b.len(), "product: b has {} words", b.len());
    }
    #[cfg(target_arch = "x86_64")]
    if T::NAME == "f32" && super::avx512() {
        let (a, b, y) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b), bytemuck::cast_slice_mut(y));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            super::x86_product::product([rows, depth, width], (a, [row, column]), (b, b_row), (y, y_row), add)
        };
        return;
    }
    super::fused!(|FMA| portable::<T, FMA>([rows, depth, width], (a, [row, column]), (b, b_row), (y, y_row), add));
}

/// The portable twin, four rows and sixteen columns at a time.
#[inline(always)]
fn portable<T: Real, const FMA: bool>(
    [rows, depth, width]: [usize; 3],
    (a, [row, column]): (&[T], [usize; 2]),
    (b, b_row): (&[T], usize),
    (y, y_row): (&mut [T], usize),
    add: bool,
) {
    const M: usize = 4;
    const LANES: usize = 16;
    for r in (0..rows).step_by(M) {
        let count = M.min(rows - r);
        // Beyond the last row the last one is computed again.
        let at: [usize; M] = std::array::from_fn(|m| (r + m.min(count - 1)) * row);
        for p in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - p);
            let mut sum = [[T::ZERO; LANES]; M];
            for k in 0..depth {
                let w: [T; M] = std::array::from_fn(|m| a[at[m] + k * column]);
                let b = &b[k * b_row + p..][..lanes];
                match b.first_chunk::<LANES>() {
                    Some(b) => {
                        for m in 0..M {
                            for l in 0..LANES {
                                sum[m][l] = if FMA { w[m].mul_add(b[l], sum[m][l]) } else { w[m] * b[l] + sum[m][l] };
                            }
                        }
                    }
                    None => {
                        for m in 0..M {
                            for (s, &b) in sum[m].iter_mut().zip(b) {
                                *s = if FMA { w[m].mul_add(b, *s) } else { w[m] * b + *s };
                            }
                        }
                    }
                }
            }
            for (m, sum) in sum.iter().enumerate().take(count) {
                let y = &mut y[(r + m) * y_row + p..][..lanes];
                y.iter_mut().zip(sum).for_each(|(y, &s)| *y = if add { *y + s } else { s });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| rng::normal(&mut r) as f32).collect()
    }

    #[test]
    fn products_equal_the_three_loops() {
        // Rows and widths around the sizes of the tiles; a as it lies and transposed.
        for rows in [1, 3, 4, 5, 8, 9, 16, 17, 29] {
            for width in [1, 15, 16, 17, 33, 48, 49, 64, 100] {
                for depth in [0, 1, 7, 48] {
                    for transposed in [false, true] {
                        let strides = if transposed { [1, rows + 2] } else { [depth + 1, 1] };
                        let a = random((rows + 2) * (depth + 2), 1);
                        let b = random((depth + 1) * (width + 3), 2);
                        for onto in [Write::Set, Write::Add] {
                            let y_row = width + 1;
                            let start = if onto == Write::Add { 0.5 } else { f32::NAN };
                            let mut y = vec![start; rows * y_row];
                            let mut twin = y.clone();
                            let sizes = [rows, depth, width];
                            product(sizes, (&a, strides), (&b, width + 3), (&mut y, y_row), onto);
                            let add = onto == Write::Add;
                            portable::<f32, false>(sizes, (&a, strides), (&b, width + 3), (&mut twin, y_row), add);
                            for i in 0..rows * width {
                                let (r, p) = (i / width, i % width);
                                let term = |k: usize| {
                                    f64::from(a[r * strides[0] + k * strides[1]]) * f64::from(b[k * (width + 3) + p])
                                };
                                let want = (0..depth).map(term).sum::<f64>() + if add { 0.5 } else { 0.0 };
                                // Sums of up to 49 terms of order one, each rounded once.
                                let bar = 49.0 * 4.0 * f64::from(f32::EPSILON);
                                for y in [&y, &twin] {
                                    assert!((f64::from(y[r * y_row + p]) - want).abs() < bar, "{sizes:?} {onto:?}");
                                }
                            }
                            // Between the rows nothing is written.
                            let gap = |r: usize| y[r * y_row + width];
                            assert!((0..rows).all(|r| if add { gap(r) == 0.5 } else { gap(r).is_nan() }));
                        }
                    }
                }
            }
        }
    }
}
