//! One head of scaled-dot-product attention, forward and backward, in memory that is linear in the tokens.

use std::ops::Range;

use crate::nn::attention::scores::{Lanes, QUERIES, exponentials, maxima, weights};
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::simd::product::product;

/// Keys of a tile of scores: one tile fits into the first-level cache forward, two of half the size backward.
const KEYS: usize = 128;

/// Rows of numbers within a larger array: row i is `data[base + i · stride..][..d]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T> {
    pub data: &'a [T],
    pub base: usize,
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// All from row i on.
    fn from(&self, i: usize) -> &'a [T] {
        &self.data[self.base + i * self.stride..]
    }

    /// `count` rows of d from row i on.
    fn rows(self, i: usize, count: usize, d: usize) -> impl Iterator<Item = &'a [T]> {
        (i..i + count).map(move |i| &self.from(i)[..d])
    }
}

/// Sizes of a head: n queries, m keys of d elements, values of e elements.
///
/// ```text
/// S = α Q Kᵀ,   P_ij = exp(S_ij − L_i),   L_i = ln Σ_j exp S_ij,   O = P V,   α = 1/√d
/// dV = Pᵀ dO,   dP = dO Vᵀ,   dS_ij = P_ij (dP_ij − Σ_k dO_ik O_ik),   dQ = α dS K,   dK = α dSᵀ Q
/// ```
///
/// S and P are computed for a tile of 48 queries and up to 128 keys at a time and never stored; backward computes them
/// once more from L. A tile is held transposed: queries are the lanes of vectors, so that maxima and sums over keys need
/// no sum across a vector, and all products are [`product`]s of K, V, Q, dO as they lie. Exponents are to the base 2: α
/// log₂e is multiplied into Q, and `l` holds L log₂e.
///
/// # References
/// A. Vaswani et al., arXiv 1706.03762, eq. (1); M. Milakov, N. Gimelshein, arXiv 1805.02867, algorithm 3 (the running
/// maximum); T. Dao et al., arXiv 2205.14135, section 3 and appendix B.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub e: usize,
}

impl Head {
    /// Words of scratch of either direction.
    pub fn scratch_len(&self) -> usize {
        QUERIES * (KEYS + 2 * self.d + 2 * self.e)
    }

    fn alpha(&self) -> f64 {
        1.0 / (self.d as f64).sqrt()
    }

    /// Rows i0.. of x, times a scale, as columns: (d, 48), zeros beyond the last.
    fn columns<T: Real>(x: Rows<'_, T>, i0: usize, rows: usize, d: usize, scale: f64, out: &mut [T]) {
        let (x, scale) = (x.rows(i0, rows, d), T::of(scale));
        if rows < QUERIES {
            out[..d * QUERIES].fill(T::ZERO);
        }
        for (i, row) in x.enumerate() {
            row.iter().enumerate().for_each(|(c, &v)| out[c * QUERIES + i] = scale * v);
        }
    }

    /// `y ← X t` over the keys j0..: the scores of a tile from t (d, 48), transposed.
    fn scores<T: Real>(x: Rows<'_, T>, j0: usize, [keys, d]: [usize; 2], t: &[T], y: &mut [T]) {
        product([keys, d, QUERIES], (x.from(j0), [x.stride, 1]), (t, QUERIES), (y, QUERIES), Write::Set);
    }

    /// `y ← Xᵀ p`, or added, over the keys j0..: what a tile of weights p (keys, 48) takes from the keys, (d, 48).
    fn mixed<T: Real>(x: Rows<'_, T>, j0: usize, [keys, d]: [usize; 2], p: &[T], y: &mut [T]) {
        let onto = if j0 == 0 { Write::Set } else { Write::Add };
        product([d, keys, QUERIES], (x.from(j0), [1, x.stride]), (p, QUERIES), (y, QUERIES), onto);
    }

    /// The queries of a range, in tiles: first query and number.
    fn tiles(queries: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let end = queries.end;
        queries.step_by(QUERIES).map(move |i0| (i0, QUERIES.min(end - i0)))
    }

    /// O and L log₂e of a range of queries.
    pub fn forward<T: Real>(
        &self,
        [q, k, v]: [Rows<'_, T>; 3],
        queries: Range<usize>,
        o: &mut [T],
        l: &mut [T],
        scratch: &mut [T],
    ) {
        // o is (queries, e), l is (queries)
        let (m, d, e) = (self.m, self.d, self.e);
        let (qt, rest) = scratch.split_at_mut(d * QUERIES);
        let (ot, s) = rest.split_at_mut(e * QUERIES);
        let first = queries.start;
        for (i0, rows) in Self::tiles(queries) {
            Self::columns(q, i0, rows, d, self.alpha() * std::f64::consts::LOG2_E, qt);
            let (mut largest, mut sum): (Lanes<T>, Lanes<T>) = ([-T::INFINITY; QUERIES], [T::ZERO; QUERIES]);
            for j0 in (0..m).step_by(KEYS) {
                let keys = KEYS.min(m - j0);
                let s = &mut s[..keys * QUERIES];
                Self::scores(k, j0, [keys, d], qt, s);
                // What was summed with a smaller maximum is scaled down to the new one.
                let before = largest;
                maxima(s, &mut largest);
                if j0 > 0 {
                    let mut factor = before;
                    exponentials(&mut factor, &largest, &mut [T::ZERO; QUERIES]);
                    sum.iter_mut().zip(&factor).for_each(|(s, &f)| *s *= f);
                    for row in ot.chunks_exact_mut(QUERIES) {
                        row.iter_mut().zip(&factor).for_each(|(o, &f)| *o *= f);
                    }
                }
                exponentials(s, &largest, &mut sum);
                Self::mixed(v, j0, [keys, e], s, ot);
            }
            for i in 0..rows {
                let (inverse, row) = (T::ONE / sum[i], &mut o[(i0 - first + i) * e..][..e]);
                row.iter_mut().enumerate().for_each(|(c, o)| *o = ot[c * QUERIES + i] * inverse);
                l[i0 - first + i] = largest[i] + sum[i].ln() * T::of(std::f64::consts::LOG2_E);
            }
        }
    }

    /// dQ of a range of queries, and their part of dK/α (m, d) and dV (m, e).
    pub fn backward<T: Real>(
        &self,
        [q, k, v, o, d_o]: [Rows<'_, T>; 5],
        l: &[T],
        queries: Range<usize>,
        mut dq: Option<(&mut [T], Write)>,
        (dk, dv): (&mut [T], &mut [T]),
        scratch: &mut [T],
    ) {
        // dq is (queries, d), l is (n)
        let (m, d, e) = (self.m, self.d, self.e);
        let (qt, rest) = scratch.split_at_mut(d * QUERIES);
        let (dqt, rest) = rest.split_at_mut(d * QUERIES);
        let (dot, rest) = rest.split_at_mut(e * QUERIES);
        let (s, rest) = rest.split_at_mut(KEYS / 2 * QUERIES);
        let ds = &mut rest[..KEYS / 2 * QUERIES];
        let first = queries.start;
        for (i0, rows) in Self::tiles(queries) {
            Self::columns(q, i0, rows, d, self.alpha() * std::f64::consts::LOG2_E, qt);
            Self::columns(d_o, i0, rows, e, 1.0, dot);
            let (mut shift, mut mean): (Lanes<T>, Lanes<T>) = ([T::ZERO; QUERIES], [T::ZERO; QUERIES]);
            shift[..rows].copy_from_slice(&l[i0..i0 + rows]);
            for (mean, (o, g)) in mean.iter_mut().zip(o.rows(i0, rows, e).zip(d_o.rows(i0, rows, e))) {
                *mean = o.iter().zip(g).map(|(o, g)| *o * *g).sum();
            }
            for j0 in (0..m).step_by(KEYS / 2) {
                let keys = (KEYS / 2).min(m - j0);
                let (s, ds) = (&mut s[..keys * QUERIES], &mut ds[..keys * QUERIES]);
                Self::scores(k, j0, [keys, d], qt, s);
                Self::scores(v, j0, [keys, e], dot, ds);
                weights(s, ds, &shift, &mean);
                let onto = if i0 == first { Write::Set } else { Write::Add };
                let sums = |p: &[T], x: Rows<'_, T>, d: usize, y: &mut [T]| {
                    product([keys, rows, d], (p, [QUERIES, 1]), (x.from(i0), x.stride), (&mut y[j0 * d..], d), onto);
                };
                sums(s, d_o, e, dv);
                sums(ds, q, d, dk);
                if dq.is_some() {
                    Self::mixed(k, j0, [keys, d], ds, dqt);
                }
            }
            if let Some((dq, onto)) = &mut dq {
                let alpha = T::of(self.alpha());
                for (i, row) in dq[(i0 - first) * d..][..rows * d].chunks_exact_mut(d).enumerate() {
                    row.iter_mut().enumerate().for_each(|(c, v)| write(v, alpha * dqt[c * QUERIES + i], *onto));
                }
            }
        }
    }
}

/// All heads of a batch, shared out: a task is a head, or a part of its queries where there are few heads.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    pub head: Head,
    pub count: usize,
    pub par: Par,
}

impl Heads {
    /// Into how many parts the queries of a head are cut: depends on the sizes alone.
    fn parts(&self) -> usize {
        8usize.div_ceil(self.count).min(self.head.n.div_ceil(QUERIES))
    }

    /// Queries of a part, the last excepted.
    fn step(&self) -> usize {
        self.head.n.div_ceil(QUERIES).div_ceil(self.parts()) * QUERIES
    }

    /// The queries of each part of a head.
    fn ranges(&self) -> Vec<Range<usize>> {
        let (n, step) = (self.head.n, self.step());
        (0..n).step_by(step).map(|i| i..(i + step).min(n)).collect()
    }

    /// Words of a part's dK and dV.
    fn partial_len(&self) -> usize {
        self.head.m * (self.head.d + self.head.e)
    }

    /// Words of scratch of either direction.
    pub fn scratch_len(&self) -> usize {
        self.count * self.parts() * self.partial_len() + self.par.count() * self.head.scratch_len()
    }

    /// `o` (heads, n, e) and `l` (heads, n); `rows(which, head)` are Q, K, V of a head.
    pub fn forward<'a, T: Real>(
        &self,
        rows: impl Fn(usize, usize) -> Rows<'a, T> + Sync,
        o: &mut [T],
        l: &mut [T],
        scratch: &mut [T],
    ) {
        let Head { n, e, .. } = self.head;
        let (step, ranges) = (self.step(), self.ranges());
        let heads = o.chunks_exact_mut(n * e).zip(l.chunks_exact_mut(n));
        let mut out: Vec<_> = heads.flat_map(|(o, l)| o.chunks_mut(step * e).zip(l.chunks_mut(step))).collect();
        let mut states = self.states(scratch);
        self.par.chunks_with(&mut out, 1, &mut states, |task, out, scratch| {
            let (head, part) = (task / ranges.len(), task % ranges.len());
            let (o, l) = &mut out[0];
            self.head.forward([0, 1, 2].map(|which| rows(which, head)), ranges[part].clone(), o, l, scratch);
        });
    }

    /// dQ, dK, dV (heads, …), each if it is wanted; `rows(which, head)` are Q, K, V, O, dO of a head.
    pub fn backward<'a, T: Real>(
        &self,
        rows: impl Fn(usize, usize) -> Rows<'a, T> + Sync,
        l: &[T],
        [dq, dk, dv]: [Option<(&mut [T], Write)>; 3],
        scratch: &mut [T],
    ) {
        let Head { n, m, d, e } = self.head;
        let (step, ranges) = (self.step(), self.ranges());
        let parts = ranges.len();
        let (partial, scratch) = scratch.split_at_mut(self.count * self.parts() * self.partial_len());
        let partial = &mut partial[..self.count * parts * self.partial_len()];
        let mut states = self.states(scratch);
        let mut of_queries: Vec<Option<(&mut [T], Write)>> = match dq {
            Some((dq, onto)) => {
                let heads = dq.chunks_exact_mut(n * d);
                heads.flat_map(|dq| dq.chunks_mut(step * d)).map(|dq| Some((dq, onto))).collect()
            }
            None => (0..self.count * parts).map(|_| None).collect(),
        };
        let mut out: Vec<_> = partial.chunks_exact_mut(self.partial_len()).zip(&mut of_queries).collect();
        self.par.chunks_with(&mut out, 1, &mut states, |task, out, scratch| {
            let (head, part) = (task / parts, task % parts);
            let (sums, dq) = &mut out[0];
            let sums = sums.split_at_mut(m * d);
            let l = &l[head * n..][..n];
            let x = [0, 1, 2, 3, 4].map(|which| rows(which, head));
            self.head.backward(x, l, ranges[part].clone(), dq.take(), sums, scratch);
        });

        // The parts of a head are added in their order.
        let partial = &*partial;
        for (out, at, len, scale) in [(dk, 0, m * d, self.head.alpha()), (dv, m * d, m * e, 1.0)] {
            let Some((out, onto)) = out else { continue };
            self.par.chunks(out, len, |head, out| {
                for part in 0..parts {
                    let sums = &partial[(head * parts + part) * self.partial_len() + at..][..len];
                    let onto = if part == 0 { onto } else { Write::Add };
                    out.iter_mut().zip(sums).for_each(|(o, &s)| write(o, T::of(scale) * s, onto));
                }
            });
        }
    }

    fn states<'s, T: Real>(&self, scratch: &'s mut [T]) -> Vec<&'s mut [T]> {
        scratch.chunks_exact_mut(self.head.scratch_len()).take(self.par.count()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| rng::normal(&mut r)).collect()
    }

    /// The naive twin: all scores at once. Returns O, dQ, dK, dV.
    fn naive(h: &Head, [q, k, v, d_o]: [&[f64]; 4]) -> [Vec<f64>; 4] {
        let Head { n, m, d, e } = *h;
        let mut out = [vec![0.0; n * e], vec![0.0; n * d], vec![0.0; m * d], vec![0.0; m * e]];
        for i in 0..n {
            let score = |j: usize| (0..d).map(|c| q[i * d + c] * k[j * d + c]).sum::<f64>() * h.alpha();
            let p: Vec<f64> = (0..m).map(|j| score(j).exp()).collect();
            let sum: f64 = p.iter().sum();
            let p: Vec<f64> = p.iter().map(|p| p / sum).collect();
            let dp: Vec<f64> = (0..m).map(|j| (0..e).map(|c| d_o[i * e + c] * v[j * e + c]).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, g)| p * g).sum();
            for j in 0..m {
                let ds = h.alpha() * p[j] * (dp[j] - mean);
                for c in 0..e {
                    out[0][i * e + c] += p[j] * v[j * e + c];
                    out[3][j * e + c] += p[j] * d_o[i * e + c];
                }
                for c in 0..d {
                    out[1][i * d + c] += ds * k[j * d + c];
                    out[2][j * d + c] += ds * q[i * d + c];
                }
            }
        }
        out
    }

    fn fast<T: Real>(h: &Heads, x: [&[f64]; 4], onto: Write) -> [Vec<f64>; 4] {
        let Head { n, m, d, e } = h.head;
        let x = x.map(|x| x.iter().map(|&x| T::of(x)).collect::<Vec<T>>());
        let nan = |len: usize| vec![T::of(f64::NAN); len];
        let (mut o, mut l, mut scratch) = (nan(n * e), nan(n), nan(h.scratch_len()));
        let rows = |data, stride| Rows { data, base: 0, stride };
        let (q, k, v) = (rows(&x[0][..], d), rows(&x[1][..], d), rows(&x[2][..], e));
        h.forward(|which, _| [q, k, v][which], &mut o, &mut l, &mut scratch);
        let start = if onto == Write::Add { 0.25 } else { f64::NAN };
        let mut dx = [n * d, m * d, m * e].map(|len| vec![T::of(start); len]);
        scratch.fill(T::of(f64::NAN));
        let all = [q, k, v, rows(&o[..], e), rows(&x[3][..], e)];
        h.backward(|which, _| all[which], &l, dx.each_mut().map(|d| Some((&mut d[..], onto))), &mut scratch);
        let [dq, dk, dv] = dx;
        [o, dq, dk, dv].map(|v| v.iter().map(|v| v.f64()).collect())
    }

    #[test]
    fn many_keys_and_few_heads_equal_the_formula() {
        // Several tiles of queries and of keys, whole and not; one head in parts; large scores.
        for (n, m, d, e, size) in
            [(101, 300, 5, 19, 1.0), (48, 128, 16, 16, 1.0), (1, 1, 1, 1, 1.0), (60, 200, 7, 3, 12.0)]
        {
            let head = Head { n, m, d, e };
            let mut x = [random(n * d, 1), random(m * d, 2), random(m * e, 3), random(n * e, 4)];
            x[0].iter_mut().for_each(|q| *q *= size);
            let x = x.each_ref().map(|x| &x[..]);
            let want = naive(&head, x);
            let heads = Heads { head: head.clone(), count: 1, par: Par::threads(3).unwrap() };
            for onto in [Write::Set, Write::Add] {
                let (single, double) = (fast::<f32>(&heads, x, onto), fast::<f64>(&heads, x, onto));
                for which in 0..4 {
                    let largest = want[which].iter().fold(0.0f64, |m, v| m.max(v.abs())).max(1e-3);
                    let start = if which > 0 && onto == Write::Add { 0.25 } else { 0.0 };
                    // Errors of a score of size s are s ε, and as large, relatively, in its weight.
                    let bar = |epsilon: f64| largest * epsilon * 40.0 * (1.0 + size);
                    for i in 0..want[which].len() {
                        let w = want[which][i] + start;
                        assert!((single[which][i] - w).abs() < bar(f64::from(f32::EPSILON)), "{which} {i} {head:?}");
                        assert!((double[which][i] - w).abs() < bar(f64::EPSILON), "{which} {i} {head:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn parts_of_a_head_give_the_same_bits_for_any_threads() {
        let head = Head { n: 150, m: 70, d: 4, e: 4 };
        let x = [random(600, 1), random(280, 2), random(280, 3), random(600, 4)];
        let run = |par: Par| {
            fast::<f32>(&Heads { head: head.clone(), count: 1, par }, x.each_ref().map(|x| &x[..]), Write::Set)
        };
        assert_eq!(run(Par::seq()), run(Par::threads(3).unwrap()));
    }
}
