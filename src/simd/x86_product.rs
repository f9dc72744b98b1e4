//! AVX-512 kernel of a product of small matrices; see `product` for what it computes.

use std::arch::x86_64::*;

const LANES: usize = 16;

/// A stride that is known when the kernel is compiled lets the rows of a tile be constant distances from one pointer;
/// 0 stands for any stride.
const ANY: usize = 0;

/// Cuts the product into tiles of up to 24 accumulators.
#[target_feature(enable = "avx512f")]
pub(super) fn product(
    sizes: [usize; 3],
    a: (&[f32], [usize; 2]),
    b: (&[f32], usize),
    y: (&mut [f32], usize),
    add: bool,
) {
    match a.1[0] {
        1 => columns::<1>(sizes, a, b, y, add),
        48 => columns::<48>(sizes, a, b, y, add),
        _ => columns::<ANY>(sizes, a, b, y, add),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn columns<const ROW: usize>(
    [rows, depth, width]: [usize; 3],
    (a, [row, column]): (&[f32], [usize; 2]),
    (b, b_row): (&[f32], usize),
    (y, y_row): (&mut [f32], usize),
    add: bool,
) {
    assert!(rows > 0 && width > 0 && (rows - 1) * y_row + width <= y.len(), "product: y is too short");
    assert!(ROW == ANY || ROW == row, "product: a stride of {row}");
    if depth > 0 {
        assert!((rows - 1) * row + (depth - 1) * column < a.len(), "product: a is too short");
        assert!((depth - 1) * b_row + width <= b.len(), "product: b is too short");
    }
    let mut p = 0;
    while p < width {
        // Three vectors of columns, but two and two in the place of three and one.
        let vectors = match (width - p).div_ceil(LANES) {
            4 => 2,
            n => n.min(3),
        };
        let last = (width - p - (vectors - 1) * LANES).min(LANES);
        let mask = (u32::MAX >> (32 - last)) as __mmask16;
        let mut r = 0;
        while r < rows {
            let left = rows - r;
            let tile = Tile { depth, row, column, b_row, y_row, mask, add };
            // SAFETY: rows r.. of a and y and columns p.. of b and y exist by the assertions above, as far as the mask
            // lets the last vector reach; each arm takes no more rows than are left.
            #[allow(unsafe_code)]
            unsafe {
                let (a, b, y) = (a.as_ptr().add(r * row), b.as_ptr().add(p), y.as_mut_ptr().add(r * y_row + p));
                r += match vectors {
                    1 if left >= 16 => tile.run::<16, 1, ROW>(a, b, y),
                    1 if left >= 4 => tile.run::<4, 1, ROW>(a, b, y),
                    1 => tile.run::<1, 1, ROW>(a, b, y),
                    2 if left >= 8 => tile.run::<8, 2, ROW>(a, b, y),
                    2 if left >= 4 => tile.run::<4, 2, ROW>(a, b, y),
                    2 => tile.run::<1, 2, ROW>(a, b, y),
                    _ if left >= 8 => tile.run::<8, 3, ROW>(a, b, y),
                    _ if left >= 4 => tile.run::<4, 3, ROW>(a, b, y),
                    _ => tile.run::<1, 3, ROW>(a, b, y),
                };
            }
        }
        p += vectors * LANES;
    }
}

/// What all tiles of a product share.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    row: usize,
    column: usize,
    b_row: usize,
    y_row: usize,
    /// Lanes of the last vector.
    mask: __mmask16,
    add: bool,
}

impl Tile {
    /// M rows and V vectors of columns; returns M.
    ///
    /// # Safety
    /// a must hold elements (m, k) for m < M, k < depth; b and y rows of V vectors, the last as far as the mask says.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    unsafe fn run<const M: usize, const V: usize, const ROW: usize>(
        self,
        a: *const f32,
        b: *const f32,
        y: *mut f32,
    ) -> usize {
        let row = if ROW == ANY { self.row } else { ROW };
        let mut sum = [[_mm512_setzero_ps(); V]; M];
        for k in 0..self.depth {
            // SAFETY: k < depth; the caller's promise.
            unsafe {
                let (a, b) = (a.add(k * self.column), b.add(k * self.b_row));
                let mut v = [_mm512_setzero_ps(); V];
                for (j, v) in v.iter_mut().enumerate() {
                    let at = b.add(j * LANES);
                    *v = if j + 1 < V { _mm512_loadu_ps(at) } else { _mm512_maskz_loadu_ps(self.mask, at) };
                }
                for m in 0..M {
                    let w = _mm512_set1_ps(*a.add(m * row));
                    for j in 0..V {
                        sum[m][j] = _mm512_fmadd_ps(w, v[j], sum[m][j]);
                    }
                }
            }
        }
        for (m, sum) in sum.iter().enumerate() {
            for (j, &s) in sum.iter().enumerate() {
                let mask = if j + 1 < V { __mmask16::MAX } else { self.mask };
                // SAFETY: m < M and j < V; the caller's promise.
                unsafe {
                    let at = y.add(m * self.y_row + j * LANES);
                    let s = if self.add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), s) } else { s };
                    _mm512_mask_storeu_ps(at, mask, s);
                }
            }
        }
        M
    }
}
