//! One head of scaled-dot-product attention, forward and backward, in memory that is linear in the tokens.

use crate::nn::special::exp_slice;
use crate::op::{Write, write};
use crate::real::Real;
use crate::simd::conv::{OUT, ROWS, TAPS, TILE, gradient_tile, output_tiles};
use crate::simd::vectorized;

/// Queries that are treated at a time.
const BLOCK: usize = 32;

/// Rows of numbers within a larger array: row i is `data[base + i · stride..][..d]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T> {
    pub data: &'a [T],
    pub base: usize,
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    fn row(&self, i: usize, d: usize) -> &'a [T] {
        &self.data[self.base + i * self.stride..][..d]
    }
}

/// Gradients of queries, keys and values, each if it is wanted.
pub(crate) type Gradients<'a, T> = [Option<(&'a mut [T], Write)>; 3];

/// Sizes of a head: n queries, m keys of d elements, values of e elements.
///
/// ```text
/// S = α Q Kᵀ,   P_ij = exp(S_ij − L_i),   L_i = ln Σ_j exp S_ij,   O = P V,   α = 1/√d
/// dV = Pᵀ dO,   dP = dO Vᵀ,   dS_ij = P_ij (dP_ij − Σ_k dO_ik O_ik),   dQ = α dS K,   dK = α dSᵀ Q
/// ```
///
/// S and P are computed for 32 queries at a time and never stored; backward computes them once more from L.
/// Keys and values are transposed first, so that all five products run over long rows.
///
/// # References
/// A. Vaswani et al., arXiv 1706.03762, eq. (1); T. Dao et al., arXiv 2205.14135, section 3 and appendix B.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub e: usize,
}

impl Head {
    /// Length of a row of scores, whole tiles.
    fn width(&self) -> usize {
        self.m.next_multiple_of(TILE)
    }

    /// Words of scratch of either direction.
    pub fn scratch_len(&self) -> usize {
        let (d, e) = (self.d.next_multiple_of(ROWS), self.e.next_multiple_of(ROWS));
        self.width() * (2 * d + 2 * e + 2 * BLOCK) + ROWS * d.max(e).max(BLOCK)
    }

    fn alpha<T: Real>(&self) -> T {
        T::of(1.0 / (self.d as f64).sqrt())
    }

    /// x (m, d) as (d, width), zeros beyond m.
    fn transpose<T: Real>(&self, x: Rows<'_, T>, d: usize, out: &mut [T]) {
        let width = self.width();
        out.fill(T::ZERO);
        for i in 0..self.m {
            for (c, &v) in x.row(i, d).iter().enumerate() {
                out[c * width + i] = v;
            }
        }
    }

    /// `y[i] = scale Σ_c x[i0 + i, c] t[c]` for 8 rows i, with t (d, width).
    fn product<T: Real>(&self, x: Rows<'_, T>, i0: usize, scale: T, d: usize, t: &[T], packed: &mut [T], y: &mut [T]) {
        let width = self.width();
        for (c, eight) in packed[..d * ROWS].chunks_exact_mut(ROWS).enumerate() {
            for (i, v) in eight.iter_mut().enumerate() {
                *v = if i0 + i < self.n { scale * x.row(i0 + i, d)[c] } else { T::ZERO };
            }
        }
        Offsets::new(width).run(d, t, &packed[..d * ROWS], y, width, Write::Set);
    }

    /// `f(i, c, Σ_j a[i, j] t[c, j])` for the rows i of a (rows, width) and t (d, width).
    fn inner<T: Real>(&self, a: &[T], rows: usize, t: &[T], d: usize, mut f: impl FnMut(usize, usize, T)) {
        let width = self.width();
        for i0 in (0..rows).step_by(OUT) {
            let rows4 = std::array::from_fn(|i| (i0 + i).min(rows - 1) * width);
            for c0 in (0..d).step_by(TAPS) {
                let columns = std::array::from_fn(|c| (c0 + c).min(d - 1) * width);
                let mut out = [[T::ZERO; TAPS]; OUT];
                gradient_tile((a, rows4, 0), (t, columns, 0), 1, width, &mut out);
                for i in i0..(i0 + OUT).min(rows) {
                    (c0..(c0 + TAPS).min(d)).for_each(|c| f(i, c, out[i - i0][c - c0]));
                }
            }
        }
    }

    /// `y[c] += scale Σ_i x[i0 + i, c] a[i]` for c < d, with y (d, width) and the rows of a block a (32, width).
    fn accumulate<T: Real>(
        &self,
        x: Rows<'_, T>,
        i0: usize,
        scale: T,
        d: usize,
        a: &[T],
        packed: &mut [T],
        y: &mut [T],
    ) {
        let width = self.width();
        let rows = BLOCK.min(self.n - i0);
        for c0 in (0..d).step_by(ROWS) {
            for (i, eight) in packed[..rows * ROWS].chunks_exact_mut(ROWS).enumerate() {
                let x = x.row(i0 + i, d);
                for (c, v) in eight.iter_mut().enumerate() {
                    *v = if c0 + c < d { scale * x[c0 + c] } else { T::ZERO };
                }
            }
            Offsets::new(width).run(rows, a, &packed[..rows * ROWS], &mut y[c0 * width..], width, Write::Add);
        }
    }

    /// O (n, e) and L (n).
    pub fn forward<T: Real>(
        &self,
        q: Rows<'_, T>,
        k: Rows<'_, T>,
        v: Rows<'_, T>,
        o: &mut [T],
        l: &mut [T],
        scratch: &mut [T],
    ) {
        let (width, m) = (self.width(), self.m);
        let (kt, rest) = scratch.split_at_mut(self.d * width);
        let (vt, rest) = rest.split_at_mut(self.e * width);
        let (s, packed) = rest.split_at_mut(BLOCK * width);
        self.transpose(k, self.d, kt);
        self.transpose(v, self.e, vt);
        for i0 in (0..self.n).step_by(ROWS) {
            let rows = ROWS.min(self.n - i0);
            self.product(q, i0, self.alpha(), self.d, kt, packed, s);
            let mut inverse = [T::ZERO; ROWS];
            for i in 0..rows {
                let row = &mut s[i * width..][..width];
                let (row, beyond) = row.split_at_mut(m);
                let largest = maximum(row);
                vectorized!({ row.iter_mut().for_each(|s| *s -= largest) });
                exp_slice(row);
                beyond.fill(T::ZERO);
                let sum = T::of(crate::nn::norm::sum(row, |p| p));
                inverse[i] = T::ONE / sum;
                l[i0 + i] = largest + sum.ln();
            }
            self.inner(s, rows, vt, self.e, |i, c, v| o[(i0 + i) * self.e + c] = v * inverse[i]);
        }
    }

    /// dQ (n, d), dK (m, d), dV (m, e), each if it is wanted.
    pub fn backward<T: Real>(
        &self,
        q: Rows<'_, T>,
        k: Rows<'_, T>,
        v: Rows<'_, T>,
        o: Rows<'_, T>,
        l: &[T],
        d_o: Rows<'_, T>,
        dx: &mut Gradients<'_, T>,
        scratch: &mut [T],
    ) {
        let (width, m, d, e) = (self.width(), self.m, self.d, self.e);
        let (d8, e8) = (d.next_multiple_of(ROWS), e.next_multiple_of(ROWS));
        let (kt, rest) = scratch.split_at_mut(d * width);
        let (vt, rest) = rest.split_at_mut(e * width);
        let (dkt, rest) = rest.split_at_mut(d8 * width);
        let (dvt, rest) = rest.split_at_mut(e8 * width);
        let (p, rest) = rest.split_at_mut(BLOCK * width);
        let (ds, packed) = rest.split_at_mut(BLOCK * width);
        self.transpose(k, d, kt);
        self.transpose(v, e, vt);
        dkt.fill(T::ZERO);
        dvt.fill(T::ZERO);
        for i0 in (0..self.n).step_by(BLOCK) {
            let rows = BLOCK.min(self.n - i0);
            for r in (0..rows).step_by(ROWS) {
                self.product(q, i0 + r, self.alpha(), d, kt, packed, &mut p[r * width..]);
                self.product(d_o, i0 + r, T::ONE, e, vt, packed, &mut ds[r * width..]);
            }
            for i in 0..rows {
                let (row, beyond) = p[i * width..][..width].split_at_mut(m);
                let largest = l[i0 + i];
                vectorized!({ row.iter_mut().for_each(|s| *s -= largest) });
                exp_slice(row);
                beyond.fill(T::ZERO);
                let mean: T = o.row(i0 + i, e).iter().zip(d_o.row(i0 + i, e)).map(|(o, g)| *o * *g).sum();
                let (row, p) = (&mut ds[i * width..][..width], &p[i * width..][..width]);
                vectorized!({ row.iter_mut().zip(p).for_each(|(s, &p)| *s = p * (*s - mean)) });
            }
            self.accumulate(d_o, i0, T::ONE, e, p, packed, dvt);
            self.accumulate(q, i0, self.alpha(), d, ds, packed, dkt);
            if let Some((dq, onto)) = &mut dx[0] {
                self.inner(ds, rows, kt, d, |i, c, v| write(&mut dq[(i0 + i) * d + c], self.alpha::<T>() * v, *onto));
            }
        }
        for (out, t, d) in [(1, &*dkt, d), (2, &*dvt, e)] {
            if let Some((out, onto)) = &mut dx[out] {
                for (j, row) in out.chunks_exact_mut(d).enumerate() {
                    row.iter_mut().enumerate().for_each(|(c, v)| write(v, t[c * width + j], *onto));
                }
            }
        }
    }
}

/// The multiples of a row's length, as the inner kernel wants its offsets, a few at a time.
struct Offsets([usize; BLOCK], usize);

impl Offsets {
    fn new(width: usize) -> Self {
        Offsets(std::array::from_fn(|i| i * width), width)
    }

    /// `y[m, p] ← Σ_{j<count} w[j, m] x[j, p]` over rows of `width`.
    fn run<T: Real>(&self, count: usize, x: &[T], w: &[T], y: &mut [T], width: usize, onto: Write) {
        for j0 in (0..count).step_by(BLOCK) {
            let part = BLOCK.min(count - j0);
            let w = &w[j0 * ROWS..][..part * ROWS];
            let onto = if j0 == 0 { onto } else { Write::Add };
            output_tiles(&x[j0 * self.1..], &self.0[..part], w, y, width, width / TILE, onto);
        }
    }
}

/// The largest element, in sixteen lanes.
fn maximum<T: Real>(x: &[T]) -> T {
    let mut lanes = [-T::INFINITY; 16];
    vectorized!({
        let whole = x.chunks_exact(16);
        let rest = whole.remainder();
        for x in whole {
            for l in 0..16 {
                lanes[l] = if x[l] > lanes[l] { x[l] } else { lanes[l] };
            }
        }
        for (l, &x) in lanes.iter_mut().zip(rest) {
            *l = if x > *l { x } else { *l };
        }
    });
    lanes.iter().fold(-T::INFINITY, |m, &v| m.max(v))
}
