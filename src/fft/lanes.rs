//! Sixteen transforms at a time, one a vector lane.
//!
//! The numbers are split: real parts and imaginary parts in arrays of their own, each element of which holds the same point of sixteen
//! sequences. Every operation of a transform is then the same for all lanes, and no number ever changes its lane: the loops are plain
//! safe code that the compiler turns into the widest vectors there are.
//!
//! X_k = Σ_j x_j ω_n^{jk} with ω_n = e^{−2πi/n} is computed in place. A stage of radix r turns blocks of L points, with M = L/r, into r
//! blocks of M points each:
//!
//! ```text
//! y[p M + j] = ω_L^{jp} Σ_q ω_r^{pq} x[q M + j],      0 ≤ j < M,  0 ≤ p < r
//! ```
//!
//! After the stages r₁, r₂, … the number X_k, k = p₁ + r₁ p₂ + r₁ r₂ p₃ + …, stands at p₁ M₁ + p₂ M₂ + …, its place in the [order]; as a
//! point is a whole vector, that order costs nothing where the points are read or multiplied by something. The matrix of the transform
//! is symmetric. So the transposed stages, in reverse, are the transform again, now from points in that order to points in their natural
//! one: a transform there and back needs no sorting at all.
//!
//! An inverse transform is a forward one with real and imaginary parts exchanged, which costs nothing here.
//!
//! [order]: LaneFft::order

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft1};
use crate::real::Real;
use crate::shape::try_reserved;
pub(crate) use crate::simd::lines::LANES;
use crate::simd::{Kernel, dispatch};

/// The same point of sixteen sequences.
pub(crate) type Lane<T> = [T; LANES];

/// Lanes between the real and the imaginary parts, so that the two do not share the sets of a cache.
pub(crate) const GAP: usize = 3;

/// The part of a buffer that begins at a cache line: a vector that crosses one takes twice as long. Costs at most one lane.
pub(crate) fn aligned<T: Real>(x: &mut [Lane<T>]) -> &mut [Lane<T>] {
    aligned_words(x.as_flattened_mut())
}

/// As [`aligned`], of words.
pub(crate) fn aligned_words<T: Real>(words: &mut [T]) -> &mut [Lane<T>] {
    let start = words.as_ptr().align_offset(64).min(LANES).min(words.len());
    words[start..].as_chunks_mut::<LANES>().0
}

/// The points of sixteen sequences, and what a [`LaneFft`] needs beside them.
#[derive(Debug)]
pub(crate) struct LaneBuffers<'a, T> {
    pub re: &'a mut [Lane<T>],
    pub im: &'a mut [Lane<T>],
    spare: &'a mut [Lane<T>],
}

impl<'a, T: Real> LaneBuffers<'a, T> {
    /// Cuts real and imaginary parts, `n` lanes each, out of at least 2n; the rest is for the transform.
    pub fn new(words: &'a mut [Lane<T>], n: usize) -> Self {
        let (re, rest) = words.split_at_mut(n);
        let (im, spare) = rest.split_at_mut(n);
        LaneBuffers { re, im, spare }
    }

    /// Other points, and the rest of these buffers.
    pub fn with<'s>(&'s mut self, re: &'s mut [Lane<T>], im: &'s mut [Lane<T>]) -> LaneBuffers<'s, T> {
        LaneBuffers { re, im, spare: self.spare }
    }
}

/// What the points between two transforms are multiplied by, in the order that they stand in; times −1 in the imaginary part for the
/// conjugate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Factor<'a, T> {
    /// A complex number for each point of each sequence: real and imaginary parts.
    Field(&'a [Lane<T>], &'a [Lane<T>]),
    /// A real number for each point of each sequence, times a complex one for each point.
    Product(&'a [Lane<T>], &'a [[T; 2]]),
}

/// One step: radix, M, and its factors.
#[derive(Clone, Debug)]
struct Stage<T> {
    radix: usize,
    len: usize,
    /// ω_L^{jp} for j = 0 … M − 1 and, within, p = 1 … r − 1.
    twiddles: Vec<[T; 2]>,
    /// ω_r^j.
    roots: Vec<[T; 2]>,
}

/// A plan for sixteen transforms of n points each, unnormalised in both directions. Any n; quick where [`LaneFft::is_quick`].
///
/// # References
/// W. M. Gentleman, G. Sande, AFIPS Conf. Proc. 29, 563 (1966): decimation in frequency; C. Van Loan, *Computational Frameworks for the Fast
/// Fourier Transform*, SIAM (1992), sections 1.6 and 2.1: transposed factorisations and mixed radices.
#[derive(Clone, Debug)]
pub(crate) struct LaneFft<T: Real> {
    n: usize,
    stages: Vec<Stage<T>>,
    order: Vec<u32>,
    /// For large prime factors: one lane after the other.
    rows: Option<Fft1<T>>,
}

/// The order that points come in or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToOrder,
    ToNatural,
}

impl<T: Real> LaneFft<T> {
    /// Plans n points.
    ///
    /// # Errors
    /// [`Error::Param`] for no points, [`Error::OutOfMemory`].
    pub fn new(n: usize) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::param("n", n, "at least one point"));
        }
        let Some(radices) = radices(n) else {
            let mut order = try_reserved(n)?;
            order.extend(0..n as u32);
            return Ok(LaneFft { n, stages: Vec::new(), order, rows: Some(Fft1::new(n)?) });
        };
        let (mut stages, mut block) = (Vec::new(), n);
        // k = Σ p_s Π_{t<s} r_t against position = Σ p_s M_s, both built stage by stage.
        let mut order = vec![0u32];
        for radix in radices {
            let len = block / radix;
            let unit = |i: usize, n: usize| {
                let (sin, cos) = (std::f64::consts::TAU * (i % n) as f64 / n as f64).sin_cos();
                [T::of(cos), T::of(-sin)]
            };
            let mut twiddles = try_reserved(block - len)?;
            twiddles.extend((0..len).flat_map(|j| (1..radix).map(move |p| j * p)).map(|i| unit(i, block)));
            let roots = (0..radix).map(|j| unit(j, radix)).collect();
            let mut longer = try_reserved(order.len() * radix)?;
            longer.extend((0..radix as u32).flat_map(|p| order.iter().map(move |o| o + p * len as u32)));
            order = longer;
            stages.push(Stage { radix, len, twiddles, roots });
            block = len;
        }
        Ok(LaneFft { n, stages, order, rows: None })
    }

    /// Whether n points are transformed lane beside lane: no prime factor above 13.
    pub fn is_quick(n: usize) -> bool {
        n > 0 && radices(n).is_some()
    }

    /// Where X_k stands: `order()[k]`.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Lanes of a buffer beyond real and imaginary parts.
    pub fn spare_len(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| (2 * (self.n + rows.scratch_len())).div_ceil(LANES))
    }

    /// Transforms points that stand in their natural order; X_k is left at `order()[k]`.
    ///
    /// # Panics
    /// If the arrays are shorter than n, or the buffers' rest than [`LaneFft::spare_len`].
    pub fn to_order(&self, b: &mut LaneBuffers<'_, T>, direction: Direction) {
        if let Some(rows) = &self.rows {
            return self.one_by_one(rows, b, direction);
        }
        let (re, im) = self.parts(b, direction);
        for stage in &self.stages {
            stage.run(re, im, Way::ToOrder);
        }
    }

    /// Transforms points x_j that stand at `order()[j]`; X is left in its natural order.
    ///
    /// # Panics
    /// As [`LaneFft::to_order`].
    pub fn to_natural(&self, b: &mut LaneBuffers<'_, T>, direction: Direction) {
        if let Some(rows) = &self.rows {
            return self.one_by_one(rows, b, direction);
        }
        let (re, im) = self.parts(b, direction);
        for stage in self.stages.iter().rev() {
            stage.run(re, im, Way::ToNatural);
        }
    }

    /// Transforms, multiplies by `factor` (its imaginary part times `sign`), and transforms back, unnormalised: natural order in and
    /// out, and the points between never leave the registers where the last radix is 4 or 8.
    ///
    /// # Panics
    /// As [`LaneFft::to_order`]; if the factor has fewer than n points.
    pub fn through(&self, b: &mut LaneBuffers<'_, T>, direction: Direction, factor: Factor<'_, T>, sign: T) {
        let n = self.n;
        let factor = match factor {
            Factor::Field(re, im) => Factor::Field(&re[..n], &im[..n]),
            Factor::Product(a, z) => Factor::Product(&a[..n], &z[..n]),
        };
        let back = direction.reverse();
        match self.stages.split_last() {
            Some((last, before)) if last.radix == 4 || last.radix == 8 => {
                let (re, im) = self.parts(b, direction);
                before.iter().for_each(|stage| stage.run(re, im, Way::ToOrder));
                let (re, im) = (&mut b.re[..n], &mut b.im[..n]);
                match (last.radix, direction) {
                    (4, Direction::Forward) => dispatch(Through::<T, 4, false> { re, im, factor, sign }),
                    (4, Direction::Inverse) => dispatch(Through::<T, 4, true> { re, im, factor, sign }),
                    (_, Direction::Forward) => dispatch(Through::<T, 8, false> { re, im, factor, sign }),
                    (_, Direction::Inverse) => dispatch(Through::<T, 8, true> { re, im, factor, sign }),
                }
                let (re, im) = self.parts(b, back);
                before.iter().rev().for_each(|stage| stage.run(re, im, Way::ToNatural));
            }
            _ => {
                self.to_order(b, direction);
                let (re, im) = (&mut b.re[..n], &mut b.im[..n]);
                dispatch(Through::<T, 1, false> { re, im, factor, sign });
                self.to_natural(b, back);
            }
        }
    }

    fn parts<'s>(&self, b: &'s mut LaneBuffers<'_, T>, direction: Direction) -> (&'s mut [Lane<T>], &'s mut [Lane<T>]) {
        let (re, im) = (&mut b.re[..self.n], &mut b.im[..self.n]);
        match direction {
            Direction::Forward => (re, im),
            Direction::Inverse => (im, re),
        }
    }

    fn one_by_one(&self, rows: &Fft1<T>, b: &mut LaneBuffers<'_, T>, direction: Direction) {
        let spare: &mut [Complex<T>] = bytemuck::cast_slice_mut(b.spare);
        let (x, scratch) = spare.split_at_mut(self.n);
        for l in 0..LANES {
            for (x, (re, im)) in x.iter_mut().zip(b.re.iter().zip(b.im.iter())) {
                *x = Complex::new(re[l], im[l]);
            }
            rows.rows(x, direction, scratch);
            for (x, (re, im)) in x.iter().zip(b.re.iter_mut().zip(b.im.iter_mut())) {
                (re[l], im[l]) = (x.re, x.im);
            }
        }
    }
}

/// The radices of n: odd ones, then as many eights as leave fours, 16 = 4·4, 32 = 4·8, 64 = 8·8, 128 = 4·4·8. None if there are others.
fn radices(n: usize) -> Option<Vec<usize>> {
    let (mut radices, mut rest) = (Vec::new(), n);
    for prime in [13, 11, 7, 5, 3] {
        while rest.is_multiple_of(prime) {
            radices.push(prime);
            rest /= prime;
        }
    }
    let bits = rest.trailing_zeros() as usize;
    if bits == 1 {
        radices.push(2);
    } else {
        let fours = [0, 2, 1][bits % 3];
        radices.resize(radices.len() + fours, 4);
        radices.resize(radices.len() + (bits - 2 * fours) / 3, 8);
    }
    (rest == 1 << bits && n <= u32::MAX as usize).then_some(radices)
}

/// A stage of a radix that the compiler knows.
struct Pass<'a, T, const R: usize> {
    stage: &'a Stage<T>,
    re: &'a mut [Lane<T>],
    im: &'a mut [Lane<T>],
    way: Way,
}

impl<T: Real> Stage<T> {
    fn run(&self, re: &mut [Lane<T>], im: &mut [Lane<T>], way: Way) {
        match self.radix {
            2 => dispatch(Pass::<T, 2> { stage: self, re, im, way }),
            3 => dispatch(Pass::<T, 3> { stage: self, re, im, way }),
            4 => dispatch(Pass::<T, 4> { stage: self, re, im, way }),
            5 => dispatch(Pass::<T, 5> { stage: self, re, im, way }),
            7 => dispatch(Pass::<T, 7> { stage: self, re, im, way }),
            8 => dispatch(Pass::<T, 8> { stage: self, re, im, way }),
            11 => dispatch(Pass::<T, 11> { stage: self, re, im, way }),
            13 => dispatch(Pass::<T, 13> { stage: self, re, im, way }),
            _ => unreachable!("radices() knows no other"),
        }
    }
}

impl<T: Real, const R: usize> Kernel for Pass<'_, T, R> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = self.stage.len;
        for (re, im) in self.re.chunks_exact_mut(R * len).zip(self.im.chunks_exact_mut(R * len)) {
            for j in 0..len {
                // Copies, of which the compiler knows that nothing else points to them.
                let x: [Lane<T>; R] = std::array::from_fn(|q| re[q * len + j]);
                let y: [Lane<T>; R] = std::array::from_fn(|q| im[q * len + j]);
                let (mut u, mut v) = (x, y);
                let w = &self.stage.twiddles[j * (R - 1)..][..R - 1];
                if !HAS_BUTTERFLY[R] {
                    lanewise::<T, R, FMA>(&mut u, &mut v, w, &self.stage.roots, self.way);
                } else if len == 1 {
                    for l in 0..LANES {
                        let (a, b) = butterfly::<T, R, FMA>(lane(&x, l), lane(&y, l));
                        put(&mut u, &mut v, l, a, b);
                    }
                } else if self.way == Way::ToOrder {
                    for l in 0..LANES {
                        let (mut a, mut b) = butterfly::<T, R, FMA>(lane(&x, l), lane(&y, l));
                        for p in 1..R {
                            (a[p], b[p]) = times::<T, FMA>(a[p], b[p], &w[p - 1]);
                        }
                        put(&mut u, &mut v, l, a, b);
                    }
                } else {
                    for l in 0..LANES {
                        let (mut a, mut b) = (lane(&x, l), lane(&y, l));
                        for p in 1..R {
                            (a[p], b[p]) = times::<T, FMA>(a[p], b[p], &w[p - 1]);
                        }
                        let (a, b) = butterfly::<T, R, FMA>(a, b);
                        put(&mut u, &mut v, l, a, b);
                    }
                }
                for q in 0..R {
                    (re[q * len + j], im[q * len + j]) = (u[q], v[q]);
                }
            }
        }
    }
}

/// The last stage of one transform, a multiplication, and the first stage of the transform back; `INVERSE` says which way the first
/// of them goes. With radix 1 nothing but the multiplication.
struct Through<'a, T, const R: usize, const INVERSE: bool> {
    re: &'a mut [Lane<T>],
    im: &'a mut [Lane<T>],
    factor: Factor<'a, T>,
    sign: T,
}

impl<T: Real, const R: usize, const INVERSE: bool> Kernel for Through<'_, T, R, INVERSE> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let sign = self.sign;
        let blocks = self.re.as_chunks_mut::<R>().0.iter_mut().zip(self.im.as_chunks_mut::<R>().0);
        match self.factor {
            Factor::Field(fr, fi) => {
                let factors = fr.as_chunks::<R>().0.iter().zip(fi.as_chunks::<R>().0);
                for ((re, im), (fr, fi)) in blocks.zip(factors) {
                    // Copies, of which the compiler knows that nothing else points to them.
                    let (fr, fi) = (*fr, *fi);
                    around::<T, R, FMA, INVERSE>(re, im, |p, l, a, b| {
                        times::<T, FMA>(a, b, &[fr[p][l], sign * fi[p][l]])
                    });
                }
            }
            Factor::Product(m, z) => {
                let factors = m.as_chunks::<R>().0.iter().zip(z.as_chunks::<R>().0);
                for ((re, im), (m, z)) in blocks.zip(factors) {
                    let m = *m;
                    around::<T, R, FMA, INVERSE>(re, im, |p, l, a, b| {
                        times::<T, FMA>(a * m[p][l], b * m[p][l], &[z[p][0], sign * z[p][1]])
                    });
                }
            }
        }
    }
}

/// One block: butterfly, product of point p in lane l, and the butterfly of the way back.
#[inline(always)]
fn around<T: Real, const R: usize, const FMA: bool, const INVERSE: bool>(
    re: &mut [Lane<T>; R],
    im: &mut [Lane<T>; R],
    product: impl Fn(usize, usize, T, T) -> (T, T),
) {
    let (x, y) = (*re, *im);
    let (mut u, mut v) = (x, y);
    for l in 0..LANES {
        let (mut a, mut b) = turned::<T, R, FMA>(INVERSE, lane(&x, l), lane(&y, l));
        for p in 0..R {
            (a[p], b[p]) = product(p, l, a[p], b[p]);
        }
        let (a, b) = turned::<T, R, FMA>(!INVERSE, a, b);
        put(&mut u, &mut v, l, a, b);
    }
    (*re, *im) = (u, v);
}

/// The butterfly, or with real and imaginary parts exchanged that of the inverse.
#[inline(always)]
fn turned<T: Real, const R: usize, const FMA: bool>(inverse: bool, a: [T; R], b: [T; R]) -> ([T; R], [T; R]) {
    if inverse {
        let (b, a) = butterfly::<T, R, FMA>(b, a);
        (a, b)
    } else {
        butterfly::<T, R, FMA>(a, b)
    }
}

/// The radices that [`butterfly`] knows.
const HAS_BUTTERFLY: [bool; 14] = {
    let mut has = [false; 14];
    (has[2], has[3], has[4], has[5], has[8]) = (true, true, true, true, true);
    has
};

/// One lane of all points.
#[inline(always)]
fn lane<T: Real, const R: usize>(x: &[Lane<T>; R], l: usize) -> [T; R] {
    std::array::from_fn(|q| x[q][l])
}

#[inline(always)]
fn put<T: Real, const R: usize>(u: &mut [Lane<T>; R], v: &mut [Lane<T>; R], l: usize, a: [T; R], b: [T; R]) {
    for p in 0..R {
        (u[p][l], v[p][l]) = (a[p], b[p]);
    }
}

#[inline(always)]
fn fma<T: Real, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// (a + ib) w.
#[inline(always)]
fn times<T: Real, const FMA: bool>(a: T, b: T, w: &[T; 2]) -> (T, T) {
    (fma::<T, FMA>(a, w[0], -(b * w[1])), fma::<T, FMA>(a, w[1], b * w[0]))
}

/// x, whose length the compiler cannot see to be B.
#[inline(always)]
fn same<T: Real, const A: usize, const B: usize>(x: [T; A]) -> [T; B] {
    std::array::from_fn(|i| x[i])
}

/// y_p = Σ_q ω_R^{pq} x_q, real and imaginary parts.
#[inline(always)]
fn butterfly<T: Real, const R: usize, const FMA: bool>(r: [T; R], i: [T; R]) -> ([T; R], [T; R]) {
    match R {
        1 => (r, i),
        2 => (same([r[0] + r[1], r[0] - r[1]]), same([i[0] + i[1], i[0] - i[1]])),
        3 => {
            let (r, i) = butterfly3::<T, FMA>(same(r), same(i));
            (same(r), same(i))
        }
        4 => {
            let (r, i) = butterfly4::<T>(same(r), same(i));
            (same(r), same(i))
        }
        5 => {
            let (r, i) = butterfly5::<T, FMA>(same(r), same(i));
            (same(r), same(i))
        }
        _ => {
            let (r, i) = butterfly8::<T, FMA>(same(r), same(i));
            (same(r), same(i))
        }
    }
}

#[inline(always)]
fn butterfly3<T: Real, const FMA: bool>(r: [T; 3], i: [T; 3]) -> ([T; 3], [T; 3]) {
    // x₀ − (x₁ + x₂)/2 ∓ i √¾ (x₁ − x₂)
    let (half, s) = (T::of(-0.5), T::of(0.75f64.sqrt()));
    let (ar, ai) = (r[1] + r[2], i[1] + i[2]);
    let (dr, di) = (s * (r[1] - r[2]), s * (i[1] - i[2]));
    let (cr, ci) = (fma::<T, FMA>(ar, half, r[0]), fma::<T, FMA>(ai, half, i[0]));
    ([r[0] + ar, cr + di, cr - di], [i[0] + ai, ci - dr, ci + dr])
}

#[inline(always)]
fn butterfly4<T: Real>(r: [T; 4], i: [T; 4]) -> ([T; 4], [T; 4]) {
    let (ar, ai, br, bi) = (r[0] + r[2], i[0] + i[2], r[0] - r[2], i[0] - i[2]);
    let (cr, ci, dr, di) = (r[1] + r[3], i[1] + i[3], r[1] - r[3], i[1] - i[3]);
    // −i d = (im d, −re d).
    ([ar + cr, br + di, ar - cr, br - di], [ai + ci, bi - dr, ai - ci, bi + dr])
}

#[inline(always)]
fn butterfly5<T: Real, const FMA: bool>(r: [T; 5], i: [T; 5]) -> ([T; 5], [T; 5]) {
    // cos and sin of 2π/5 and 4π/5; y₁ and y₄ are m ∓ i n of the first pair, y₂ and y₃ of the second.
    let [c1, c2] = [0.309_016_994_374_947_45, -0.809_016_994_374_947_5].map(T::of);
    let [s1, s2] = [0.951_056_516_295_153_5, 0.587_785_252_292_473_1].map(T::of);
    let (ar, ai, br, bi) = (r[1] + r[4], i[1] + i[4], r[2] + r[3], i[2] + i[3]);
    let (cr, ci, dr, di) = (r[1] - r[4], i[1] - i[4], r[2] - r[3], i[2] - i[3]);
    let even = |x: T, a: T, b: T, u: T, v: T| fma::<T, FMA>(a, u, fma::<T, FMA>(b, v, x));
    let (m1r, m1i) = (even(r[0], ar, br, c1, c2), even(i[0], ai, bi, c1, c2));
    let (m2r, m2i) = (even(r[0], ar, br, c2, c1), even(i[0], ai, bi, c2, c1));
    let (n1r, n1i) = (fma::<T, FMA>(cr, s1, dr * s2), fma::<T, FMA>(ci, s1, di * s2));
    let (n2r, n2i) = (fma::<T, FMA>(cr, s2, -(dr * s1)), fma::<T, FMA>(ci, s2, -(di * s1)));
    (
        [r[0] + ar + br, m1r + n1i, m2r + n2i, m2r - n2i, m1r - n1i],
        [i[0] + ai + bi, m1i - n1r, m2i - n2r, m2i + n2r, m1i + n1r],
    )
}

/// From the transforms e of the even and o of the odd points.
#[inline(always)]
fn butterfly8<T: Real, const FMA: bool>(r: [T; 8], i: [T; 8]) -> ([T; 8], [T; 8]) {
    let (er, ei) = butterfly4([r[0], r[2], r[4], r[6]], [i[0], i[2], i[4], i[6]]);
    let (or, oi) = butterfly4([r[1], r[3], r[5], r[7]], [i[1], i[3], i[5], i[7]]);
    // √2 ω₈ o₁ = (re + im, im − re), √2 ω₈³ o₃ = (im − re, −(re + im)); ω₈² o₂ = −i o₂.
    let h = T::of(std::f64::consts::FRAC_1_SQRT_2);
    let (u, v) = (or[1] + oi[1], oi[1] - or[1]);
    let (s, t) = (oi[3] - or[3], or[3] + oi[3]);
    let plus = |a: T, e: T| fma::<T, FMA>(a, h, e);
    let minus = |a: T, e: T| fma::<T, FMA>(-a, h, e);
    (
        [
            er[0] + or[0],
            plus(u, er[1]),
            er[2] + oi[2],
            plus(s, er[3]),
            er[0] - or[0],
            minus(u, er[1]),
            er[2] - oi[2],
            minus(s, er[3]),
        ],
        [
            ei[0] + oi[0],
            plus(v, ei[1]),
            ei[2] - or[2],
            minus(t, ei[3]),
            ei[0] - oi[0],
            minus(v, ei[1]),
            ei[2] + or[2],
            plus(t, ei[3]),
        ],
    )
}

/// Butterfly and factors of an odd radix, from the sums and differences of x_q and x_{R−q}:
/// y_p = x₀ + Σ_q (cos (x_q + x_{R−q}) − i sin (x_q − x_{R−q})), and y_{R−p} with the other sign.
#[inline(always)]
fn lanewise<T: Real, const R: usize, const FMA: bool>(
    r: &mut [Lane<T>; R],
    i: &mut [Lane<T>; R],
    w: &[[T; 2]],
    roots: &[[T; 2]],
    way: Way,
) {
    if way == Way::ToNatural {
        turn::<T, R, FMA>(r, i, w);
    }
    let (xr, xi, half) = (*r, *i, R / 2);
    let (mut ar, mut ai, mut dr, mut di) = (xr, xi, xr, xi);
    for q in 1..=half {
        for l in 0..LANES {
            ar[q][l] = xr[q][l] + xr[R - q][l];
            ai[q][l] = xi[q][l] + xi[R - q][l];
            dr[q][l] = xr[q][l] - xr[R - q][l];
            di[q][l] = xi[q][l] - xi[R - q][l];
            r[0][l] += ar[q][l];
            i[0][l] += ai[q][l];
        }
    }
    for p in 1..=half {
        let (mut cr, mut ci) = (xr[0], xi[0]);
        let (mut sr, mut si) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for q in 1..=half {
            let [c, s] = roots[p * q % R];
            let (ar, ai, dr, di) = (ar[q], ai[q], dr[q], di[q]);
            for l in 0..LANES {
                cr[l] = fma::<T, FMA>(ar[l], c, cr[l]);
                ci[l] = fma::<T, FMA>(ai[l], c, ci[l]);
                sr[l] = fma::<T, FMA>(dr[l], s, sr[l]);
                si[l] = fma::<T, FMA>(di[l], s, si[l]);
            }
        }
        for l in 0..LANES {
            r[p][l] = cr[l] - si[l];
            i[p][l] = ci[l] + sr[l];
            r[R - p][l] = cr[l] + si[l];
            i[R - p][l] = ci[l] - sr[l];
        }
    }
    if way == Way::ToOrder {
        turn::<T, R, FMA>(r, i, w);
    }
}

#[inline(always)]
fn turn<T: Real, const R: usize, const FMA: bool>(r: &mut [Lane<T>; R], i: &mut [Lane<T>; R], w: &[[T; 2]]) {
    for p in 1..R {
        for l in 0..LANES {
            (r[p][l], i[p][l]) = times::<T, FMA>(r[p][l], i[p][l], &w[p - 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::naive_dft;
    use crate::fft::tests::random;

    fn check<T: Real>(tolerance: f64) {
        // All radices, all orders of twos, and a prime that has none.
        for n in [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 20, 22, 26, 32, 34, 49, 64, 75, 128, 143, 256] {
            let plan = LaneFft::new(n).unwrap();
            assert_eq!(LaneFft::<T>::is_quick(n), ![17, 34].contains(&n));
            let x: Vec<Complex<T>> = random(n * LANES, n as u64);
            let mut words = vec![[T::NAN; LANES]; 2 * (n + GAP) + plan.spare_len()];
            let mut b = LaneBuffers::new(&mut words, n + GAP);
            let at = |k: usize, sorted: bool| if sorted { k } else { plan.order()[k] as usize };
            for direction in [Direction::Forward, Direction::Inverse] {
                let want = naive_dft(&x, [1, n, LANES], direction, 1.0);
                for natural in [true, false] {
                    for i in 0..n * LANES {
                        let j = at(i / LANES, natural);
                        (b.re[j][i % LANES], b.im[j][i % LANES]) = (x[i].re, x[i].im);
                    }
                    if natural {
                        plan.to_order(&mut b, direction)
                    } else {
                        plan.to_natural(&mut b, direction)
                    }
                    for i in 0..n * LANES {
                        let j = at(i / LANES, !natural);
                        let got = Complex::new(b.re[j][i % LANES].f64(), b.im[j][i % LANES].f64());
                        let want = Complex::new(want[i].re.f64(), want[i].im.f64());
                        assert!((got - want).norm() < tolerance * (n as f64).sqrt(), "{n} {direction:?}: {got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn sixteen_transforms_are_the_naive_ones_in_either_order() {
        check::<f64>(2e-14);
        check::<f32>(4e-6);
    }

    #[test]
    fn through_is_there_and_back_with_a_product_between() {
        for n in [1, 4, 6, 16, 17, 24, 32, 40, 64] {
            let plan = LaneFft::<f64>::new(n).unwrap();
            let lanes = |seed: u64| -> Vec<Lane<f64>> {
                random::<f64>(n * LANES, seed).chunks(LANES).map(|z| std::array::from_fn(|l| z[l].re)).collect()
            };
            let (x, fr, fi) = ([lanes(1), lanes(2)], lanes(3), lanes(4));
            let z: Vec<[f64; 2]> = random::<f64>(n, 5).iter().map(|z| [z.re, z.im]).collect();
            for (direction, field, sign) in
                [Direction::Forward, Direction::Inverse].into_iter().flat_map(|d| [(d, true, 1.0), (d, false, -1.0)])
            {
                let mut words = vec![[f64::NAN; LANES]; 2 * (n + GAP) + plan.spare_len()];
                let mut b = LaneBuffers::new(&mut words, n + GAP);
                let load = |b: &mut LaneBuffers<'_, f64>| {
                    b.re[..n].copy_from_slice(&x[0]);
                    b.im[..n].copy_from_slice(&x[1]);
                };
                load(&mut b);
                let factor = if field { Factor::Field(&fr, &fi) } else { Factor::Product(&fr, &z) };
                plan.through(&mut b, direction, factor, sign);
                let got = [b.re[..n].to_vec(), b.im[..n].to_vec()];
                load(&mut b);
                plan.to_order(&mut b, direction);
                for i in 0..n {
                    for l in 0..LANES {
                        let w = if field {
                            Complex::new(fr[i][l], sign * fi[i][l])
                        } else {
                            Complex::new(z[i][0], sign * z[i][1]) * fr[i][l]
                        };
                        let p = Complex::new(b.re[i][l], b.im[i][l]) * w;
                        (b.re[i][l], b.im[i][l]) = (p.re, p.im);
                    }
                }
                plan.to_natural(&mut b, direction.reverse());
                for i in 0..n {
                    for l in 0..LANES {
                        let d = (got[0][i][l] - b.re[i][l]).hypot(got[1][i][l] - b.im[i][l]);
                        assert!(d < 1e-13 * (n as f64).powi(2).max(8.0), "{n} {direction:?} {field}: {d}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_points_are_an_error() {
        assert!(LaneFft::<f32>::new(0).is_err());
    }
}
