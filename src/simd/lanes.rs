//! Sixteen Fourier transforms of `f32` side by side, one in each lane of an AVX-512 vector.
//!
//! X_k = Σ_j x_j ω_n^{jk} with ω_n = e^{−2πi/n}, n a power of two from 16, by decimation in frequency. A stage of radix
//! r turns blocks of L points, with M = L/r, into r blocks of M points each:
//!
//! ```text
//! y[p M + j] = ω_L^{jp} Σ_q ω_r^{pq} x[q M + j],      0 ≤ j < M,  0 ≤ p < r
//! ```
//!
//! in place. After the stages r₁, r₂, … the number X_k, k = p₁ + r₁ p₂ + r₁ r₂ p₃ + …, stands at p₁ M₁ + p₂ M₂ + …; as
//! a point is a whole pair of vectors, that order costs nothing where it is read out. No lane ever meets another, so
//! there are no shuffles but those that bring the numbers into the lanes: a deinterleaving for sixteen columns of a
//! picture, a transposition for sixteen rows. The inverse exchanges real and imaginary parts before and after.
//!
//! # References
//! W. M. Gentleman, G. Sande, AFIPS Conf. Proc. 29, 563 (1966): decimation in frequency.

use std::arch::x86_64::*;
use std::f64::consts::TAU;

/// Transforms that run side by side.
pub(crate) const LANES: usize = 16;
/// Floats of a point: the real parts of all lanes, then the imaginary parts.
const POINT: usize = 2 * LANES;
/// Floats of a cache line, to which the points are aligned.
const LINE: usize = 16;

/// The way between a picture and the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Sixteen rows: point j is column j.
    Rows,
    /// Sixteen columns: point j is row j.
    Columns,
}

/// One stage.
#[derive(Clone, Debug)]
struct Stage {
    radix: usize,
    /// M.
    len: usize,
    /// ω_L^{jp} for j = 0 … M − 1 and, within, p = 1 … r − 1.
    twiddles: Vec<[f32; 2]>,
}

/// The plan for sixteen transforms of `n` points.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    n: usize,
    stages: Vec<Stage>,
    /// Where X_k stands after the last stage.
    order: Vec<u32>,
}

/// Where sixteen transforms come from, or go to: sixteen rows or columns of a picture of (complex) `width`, from row or
/// column `at`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub lines: Lines,
    pub width: usize,
    pub at: usize,
}

impl Lanes {
    /// The plan, where the processor has AVX-512 and n is a power of two from 16 to 4096; beyond, the points of
    /// sixteen transforms fill the second-level cache.
    pub(crate) fn new(n: usize) -> Option<Self> {
        if !super::avx512() || !n.is_power_of_two() || !(16..=4096).contains(&n) {
            return None;
        }
        // As many stages of radix 8 as leave fours: 16 = 4·4, 32 = 4·8, 64 = 8·8, 128 = 4·4·8 …
        let bits = n.trailing_zeros() as usize;
        let fours = [0, 2, 1][bits % 3];
        let mut radices = vec![4; fours];
        radices.resize(fours + (bits - 2 * fours) / 3, 8);
        let (mut stages, mut block) = (Vec::new(), n);
        // k = Σ p_s Π_{t<s} r_t against position = Σ p_s M_s, both built stage by stage.
        let mut order = vec![0u32];
        for radix in radices {
            let len = block / radix;
            let twiddle = |i: usize| {
                let (s, c) = (TAU * (i % block) as f64 / block as f64).sin_cos();
                [c as f32, -s as f32]
            };
            let twiddles = (0..len).flat_map(|j| (1..radix).map(move |p| j * p)).map(twiddle).collect();
            order = (0..radix as u32).flat_map(|p| order.iter().map(move |o| o + p * len as u32)).collect();
            stages.push(Stage { radix, len, twiddles });
            block = len;
        }
        Some(Lanes { n, stages, order })
    }

    /// Floats of scratch: the points, and what aligning them may cost.
    pub(crate) fn scratch_len(&self) -> usize {
        self.n * POINT + LINE
    }

    /// Transforms sixteen lines of `x` into sixteen lines of `y`, times `scale`. With no `x` the lines are those of
    /// `y`, which are then overwritten.
    ///
    /// # Panics
    /// If the lines are not inside their pictures, or the scratch is shorter than [`Lanes::scratch_len`].
    pub(crate) fn run(
        &self,
        x: Option<&[f32]>,
        from: Place,
        y: &mut [f32],
        to: Place,
        inverse: bool,
        scale: f32,
        scratch: &mut [f32],
    ) {
        assert!(super::avx512(), "Lanes on a processor without AVX-512");
        let points = aligned(scratch, self.n);
        // SAFETY: AVX-512 was detected, which is all the kernels need; they check their slices themselves.
        #[allow(unsafe_code)]
        unsafe {
            self.read(x.unwrap_or(&*y), from, inverse, points);
            self.middle(points);
            self.end(points);
            self.write(points, y, to, inverse, scale);
        }
    }

    /// The first stage, from the picture. Columns go into the butterflies at once, rows by way of the points.
    #[target_feature(enable = "avx512f")]
    fn read(&self, x: &[f32], from: Place, inverse: bool, points: &mut [[f32; POINT]]) {
        let stage = &self.stages[0];
        match (from.lines, stage.radix) {
            (Lines::Columns, 4) => read_columns::<4>(stage, x, from, inverse, points),
            (Lines::Columns, _) => read_columns::<8>(stage, x, from, inverse, points),
            (Lines::Rows, radix) => {
                read_rows(x, from, inverse, points);
                if radix == 4 { pass::<4>(stage, points) } else { pass::<8>(stage, points) }
            }
        }
    }

    /// All stages but the first and the last.
    #[target_feature(enable = "avx512f")]
    fn middle(&self, points: &mut [[f32; POINT]]) {
        for stage in &self.stages[1..self.stages.len() - 1] {
            if stage.radix == 4 { pass::<4>(stage, points) } else { pass::<8>(stage, points) }
        }
    }

    /// The last stage.
    #[target_feature(enable = "avx512f")]
    fn end(&self, points: &mut [[f32; POINT]]) {
        let stage = &self.stages[self.stages.len() - 1];
        if stage.radix == 4 { pass::<4>(stage, points) } else { pass::<8>(stage, points) }
    }

    /// The way out.
    #[target_feature(enable = "avx512f")]
    fn write(&self, points: &[[f32; POINT]], y: &mut [f32], to: Place, inverse: bool, scale: f32) {
        match to.lines {
            Lines::Columns => write_columns(&self.order, points, y, to, inverse, scale),
            Lines::Rows => write_rows(&self.order, points, y, to, inverse, scale),
        }
    }
}

/// Points in a scratch of floats, aligned to cache lines.
fn aligned(scratch: &mut [f32], n: usize) -> &mut [[f32; POINT]] {
    let start = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
    scratch[start..][..n * POINT].as_chunks_mut().0
}

/// A complex number in every lane.
#[derive(Clone, Copy)]
struct C(__m512, __m512);

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: C, b: C) -> C {
    C(_mm512_add_ps(a.0, b.0), _mm512_add_ps(a.1, b.1))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sub(a: C, b: C) -> C {
    C(_mm512_sub_ps(a.0, b.0), _mm512_sub_ps(a.1, b.1))
}

/// `a w`, with one w for all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn mul(a: C, w: [f32; 2]) -> C {
    let (c, s) = (_mm512_set1_ps(w[0]), _mm512_set1_ps(w[1]));
    C(_mm512_fmsub_ps(a.0, c, _mm512_mul_ps(a.1, s)), _mm512_fmadd_ps(a.0, s, _mm512_mul_ps(a.1, c)))
}

/// y_p = Σ_q (−i)^{pq} x_q.
#[inline]
#[target_feature(enable = "avx512f")]
fn butterfly4(x: [C; 4]) -> [C; 4] {
    let (a, b, c, d) = (add(x[0], x[2]), sub(x[0], x[2]), add(x[1], x[3]), sub(x[1], x[3]));
    // −i d = (im d, −re d).
    let y1 = C(_mm512_add_ps(b.0, d.1), _mm512_sub_ps(b.1, d.0));
    let y3 = C(_mm512_sub_ps(b.0, d.1), _mm512_add_ps(b.1, d.0));
    [add(a, c), y1, sub(a, c), y3]
}

/// y_p = Σ_q ω₈^{pq} x_q, from the transforms of the even and of the odd q.
#[inline]
#[target_feature(enable = "avx512f")]
fn butterfly8(x: [C; 8]) -> [C; 8] {
    let e = butterfly4([x[0], x[2], x[4], x[6]]);
    let o = butterfly4([x[1], x[3], x[5], x[7]]);
    let r = _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2);
    // √2 ω₈ o₁ = (re + im, im − re), √2 ω₈³ o₃ = (im − re, −(re + im)); ω₈² o₂ = −i o₂.
    let (u, v) = (_mm512_add_ps(o[1].0, o[1].1), _mm512_sub_ps(o[1].1, o[1].0));
    let (s, t) = (_mm512_sub_ps(o[3].1, o[3].0), _mm512_add_ps(o[3].0, o[3].1));
    [
        add(e[0], o[0]),
        C(_mm512_fmadd_ps(u, r, e[1].0), _mm512_fmadd_ps(v, r, e[1].1)),
        C(_mm512_add_ps(e[2].0, o[2].1), _mm512_sub_ps(e[2].1, o[2].0)),
        C(_mm512_fmadd_ps(s, r, e[3].0), _mm512_fnmadd_ps(t, r, e[3].1)),
        sub(e[0], o[0]),
        C(_mm512_fnmadd_ps(u, r, e[1].0), _mm512_fnmadd_ps(v, r, e[1].1)),
        C(_mm512_sub_ps(e[2].0, o[2].1), _mm512_add_ps(e[2].1, o[2].0)),
        C(_mm512_fnmadd_ps(s, r, e[3].0), _mm512_fmadd_ps(t, r, e[3].1)),
    ]
}

/// Butterfly and twiddles of index j, then `store(p, y_p)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn<const R: usize>(x: [C; R], w: &[[f32; 2]], mut store: impl FnMut(usize, C)) {
    let w = &w[..R - 1];
    // The radix is a constant, and so the conversions between array lengths vanish.
    if R == 4 {
        let y = butterfly4(std::array::from_fn(|q| x[q]));
        store(0, y[0]);
        for p in 1..4 {
            store(p, mul(y[p], w[p - 1]));
        }
    } else {
        let y = butterfly8(std::array::from_fn(|q| x[q]));
        store(0, y[0]);
        for p in 1..8 {
            store(p, mul(y[p], w[p - 1]));
        }
    }
}

/// The butterfly of the last stage, whose twiddles are all 1.
#[inline]
#[target_feature(enable = "avx512f")]
fn last<const R: usize>(x: [C; R]) -> [C; R] {
    if R == 4 {
        let y = butterfly4(std::array::from_fn(|q| x[q]));
        std::array::from_fn(|p| y[p])
    } else {
        let y = butterfly8(std::array::from_fn(|q| x[q]));
        std::array::from_fn(|p| y[p])
    }
}

/// A stage in place, over all its blocks.
#[target_feature(enable = "avx512f")]
fn pass<const R: usize>(stage: &Stage, points: &mut [[f32; POINT]]) {
    let len = stage.len;
    for block in points.chunks_exact_mut(R * len) {
        for j in 0..len {
            let x: [C; R] = std::array::from_fn(|q| load_point(&block[q * len + j]));
            if len == 1 {
                let y = last(x);
                for p in 0..R {
                    store_point(&mut block[p], y[p]);
                }
            } else {
                turn::<R>(x, &stage.twiddles[j * (R - 1)..], |p, y| store_point(&mut block[p * len + j], y));
            }
        }
    }
}

/// The first stage, with its points read from columns.
#[target_feature(enable = "avx512f")]
fn read_columns<const R: usize>(stage: &Stage, x: &[f32], from: Place, inverse: bool, points: &mut [[f32; POINT]]) {
    let len = stage.len;
    for j in 0..len {
        let row: [C; R] = std::array::from_fn(|q| {
            let at = 2 * ((q * len + j) * from.width + from.at);
            deinterleave(load(&x[at..at + 16]), load(&x[at + 16..at + 32]), inverse)
        });
        turn::<R>(row, &stage.twiddles[j * (R - 1)..], |p, y| store_point(&mut points[p * len + j], y));
    }
}

/// Point j ← column j of sixteen rows, in blocks of sixteen columns.
#[target_feature(enable = "avx512f")]
fn read_rows(x: &[f32], from: Place, inverse: bool, points: &mut [[f32; POINT]]) {
    for (b, block) in points.chunks_exact_mut(LANES).enumerate() {
        let row: [C; LANES] = std::array::from_fn(|i| {
            let at = 2 * ((from.at + i) * from.width + b * LANES);
            // The sixteen rows after these will be next; there are too many streams for the processor to foresee them.
            let next = at + 2 * LANES * from.width;
            prefetch(x, next);
            prefetch(x, next + LINE);
            deinterleave(load(&x[at..at + 16]), load(&x[at + 16..at + 32]), inverse)
        });
        let (re, im) = (transpose16(row.map(|c| c.0)), transpose16(row.map(|c| c.1)));
        for j in 0..LANES {
            store_point(&mut block[j], C(re[j], im[j]));
        }
    }
}

/// Row k of sixteen columns ← X_k, in the order of the rows, that is of the pages. The last stage could write its
/// numbers here itself, but it would jump: the whole transform of 256² points then takes 1.4 times as long.
#[target_feature(enable = "avx512f")]
fn write_columns(order: &[u32], points: &[[f32; POINT]], y: &mut [f32], to: Place, inverse: bool, scale: f32) {
    let scale = _mm512_set1_ps(scale);
    for (k, &position) in order.iter().enumerate() {
        let at = 2 * (k * to.width + to.at);
        let c = load_point(&points[position as usize]);
        let (a, b) = interleave(C(_mm512_mul_ps(c.0, scale), _mm512_mul_ps(c.1, scale)), inverse);
        store(&mut y[at..at + 16], a);
        store(&mut y[at + 16..at + 32], b);
    }
}

/// Column k of sixteen rows ← X_k, in blocks of sixteen columns.
#[target_feature(enable = "avx512f")]
fn write_rows(order: &[u32], points: &[[f32; POINT]], y: &mut [f32], to: Place, inverse: bool, scale: f32) {
    let scale = _mm512_set1_ps(scale);
    for (b, block) in order.chunks_exact(LANES).enumerate() {
        let column: [C; LANES] = std::array::from_fn(|k| load_point(&points[block[k] as usize]));
        let re = transpose16(column.map(|c| _mm512_mul_ps(c.0, scale)));
        let im = transpose16(column.map(|c| _mm512_mul_ps(c.1, scale)));
        for i in 0..LANES {
            let (first, second) = interleave(C(re[i], im[i]), inverse);
            let at = 2 * ((to.at + i) * to.width + b * LANES);
            store(&mut y[at..at + 16], first);
            store(&mut y[at + 16..at + 32], second);
        }
    }
}

/// The transpose of a matrix of 16 × 16 floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose16(r: [__m512; 16]) -> [__m512; 16] {
    // In groups q of four rows: lane L (128 bits) of g[q][c] holds column 4 L + c of the rows 4 q … 4 q + 3.
    let g: [[__m512; 4]; 4] = std::array::from_fn(|q| {
        let (a, b, c, d) = (r[4 * q], r[4 * q + 1], r[4 * q + 2], r[4 * q + 3]);
        let low = [_mm512_castps_pd(_mm512_unpacklo_ps(a, b)), _mm512_castps_pd(_mm512_unpacklo_ps(c, d))];
        let high = [_mm512_castps_pd(_mm512_unpackhi_ps(a, b)), _mm512_castps_pd(_mm512_unpackhi_ps(c, d))];
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1])),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1])),
            _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1])),
            _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1])),
        ]
    });
    // Then, for every c, the 4 × 4 matrix of lanes (q, L).
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

/// Sixteen complex numbers, apart; exchanged for the inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn deinterleave(a: __m512, b: __m512, inverse: bool) -> C {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    let (re, im) = (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b));
    if inverse { C(im, re) } else { C(re, im) }
}

/// Sixteen complex numbers, together; exchanged for the inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn interleave(c: C, inverse: bool) -> (__m512, __m512) {
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let (re, im) = if inverse { (c.1, c.0) } else { (c.0, c.1) };
    (_mm512_permutex2var_ps(re, first, im), _mm512_permutex2var_ps(re, second, im))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[f32]) -> __m512 {
    assert!(x.len() == 16);
    // SAFETY: sixteen readable floats; the load needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_ps(x.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(y: &mut [f32], v: __m512) {
    assert!(y.len() == 16);
    // SAFETY: sixteen writable floats; the store needs no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_storeu_ps(y.as_mut_ptr(), v)
    }
}

/// Asks for a cache line that will be read soon, if it is part of the slice.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(x: &[f32], at: usize) {
    if let Some(x) = x.get(at) {
        // SAFETY: nothing is read. (The call is unsafe in older compilers only.)
        #[allow(unsafe_code, unused_unsafe)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(x).cast())
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_point(x: &[f32; POINT]) -> C {
    C(load(&x[..16]), load(&x[16..]))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_point(y: &mut [f32; POINT], c: C) {
    store(&mut y[..16], c.0);
    store(&mut y[16..], c.1);
}
