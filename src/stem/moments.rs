//! The inner loop of the pass: sums, first and second moments of a frame, while it is added to the mean pattern.

use crate::simd::vectorized;
use crate::source::{DType, Element};

/// Moments of one frame about a fixed pixel: S = Σ I, S_y = Σ I y, …, S_yy = Σ I y², ….
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub s: f64,
    pub y: f64,
    pub x: f64,
    pub yy: f64,
    pub xx: f64,
    pub xy: f64,
    /// Whether a pixel has its sign bit set: a negative one, −0, or a NaN.
    pub signed: bool,
}

/// Independent partial sums: one register of sixteen, two of eight or four of four, enough for the additions to overlap.
pub(crate) const LANES: usize = 16;

/// Coordinates of the detector's columns about `origin`, whole numbers.
pub(crate) fn coordinates(n: usize, origin: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32 - origin as f32).collect()
}

/// Moments of `F` consecutive frames (rows of x.len() pixels) about row `origin_y` and the column where x = 0; the
/// frames are added to `pattern`, in order.
///
/// Within a row, partial sums in `f32` in a fixed order; from row to row in `f64`: the same bits for any `F`, and for
/// counts in `f32` and as they are stored. One read of the frames, one addition to the pattern, no branch.
pub(crate) fn moments<E: Element, const F: usize>(
    frames: &[E],
    x: &[f32],
    origin_y: usize,
    pattern: &mut [f32],
) -> [Moments; F] {
    assert_eq!(frames.len(), F * pattern.len());
    vectorized!({ rows::<E, F>(frames, x, origin_y, pattern) })
}

#[inline(always)]
fn rows<E: Element, const F: usize>(frames: &[E], x: &[f32], origin_y: usize, pattern: &mut [f32]) -> [Moments; F] {
    let (nx, frame_len) = (x.len(), pattern.len());
    let mut found = [Moments::default(); F];
    let (mut signs, mut sign) = ([[0u32; LANES]; F], [0u32; F]);
    let (xs, x_rest) = x.as_chunks::<LANES>();
    for (row, pattern) in pattern.chunks_exact_mut(nx).enumerate() {
        let (patterns, pattern_rest) = pattern.as_chunks_mut::<LANES>();
        let whole = patterns.len();
        let lines: [&[E]; F] = std::array::from_fn(|f| &frames[f * frame_len + row * nx..][..nx]);
        let blocks: [&[[E; LANES]]; F] = std::array::from_fn(|f| &lines[f].as_chunks().0[..whole]);
        // Arrays that nothing borrows, so that the compiler keeps them in registers.
        let [mut s0, mut s1, mut s2] = [[[0.0f32; LANES]; F]; 3];
        for ((i, p), x) in patterns.iter_mut().enumerate().zip(xs) {
            let mut sum = *p;
            for f in 0..F {
                for l in 0..LANES {
                    let v = blocks[f][i][l].to_f32();
                    let t = v * x[l];
                    s0[f][l] += v;
                    s1[f][l] += t;
                    s2[f][l] += t * x[l];
                    sum[l] += v;
                    if const { signed(E::DTYPE) } {
                        signs[f][l] |= v.to_bits();
                    }
                }
            }
            *p = sum;
        }
        let y = row as f64 - origin_y as f64;
        for f in 0..F {
            let [mut e0, mut e1, mut e2] = [0.0f32; 3];
            for ((&i, p), &x) in lines[f][whole * LANES..].iter().zip(&mut *pattern_rest).zip(x_rest) {
                let v = i.to_f32();
                let t = v * x;
                e0 += v;
                e1 += t;
                e2 += t * x;
                *p += v;
                sign[f] |= v.to_bits();
            }
            let [r0, r1, r2] = [(s0[f], e0), (s1[f], e1), (s2[f], e2)].map(|(s, e)| f64::from(e + sum_lanes(s)));
            let m = &mut found[f];
            m.s += r0;
            m.x += r1;
            m.xx += r2;
            m.y += y * r0;
            m.yy += y * y * r0;
            m.xy += y * r1;
        }
    }
    for f in 0..F {
        found[f].signed = signs[f].iter().fold(sign[f], |a, b| a | b) >> 31 == 1;
    }
    found
}

/// Whether elements of a type can be negative.
const fn signed(dtype: DType) -> bool {
    !matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64)
}

/// Σ of the lanes, by halves.
#[inline(always)]
pub(crate) fn sum_lanes(mut l: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            l[i] += l[i + half];
        }
        half /= 2;
    }
    l[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments by their definition, in `f64`.
    fn naive(frame: &[f32], nx: usize, origin: [usize; 2]) -> Moments {
        let mut m = Moments::default();
        for (i, &v) in frame.iter().enumerate() {
            let (y, x, v) = ((i / nx) as f64 - origin[0] as f64, (i % nx) as f64 - origin[1] as f64, f64::from(v));
            m.s += v;
            m.y += v * y;
            m.x += v * x;
            m.yy += v * y * y;
            m.xx += v * x * x;
            m.xy += v * x * y;
            m.signed |= v.is_sign_negative();
        }
        m
    }

    #[test]
    fn moments_of_counts_are_those_of_the_definition() {
        // Small whole numbers: all sums are exact, in any order.
        for seed in 0..30 {
            let mut r = crate::rng::stream(seed, 0);
            let (ny, nx) = (1 + crate::rng::below(&mut r, 20), 1 + crate::rng::below(&mut r, 40));
            let origin = [ny / 2, nx / 2];
            let frame: Vec<f32> = (0..ny * nx).map(|_| crate::rng::below(&mut r, 9) as f32).collect();
            let mut pattern = vec![1.0; ny * nx];
            let [m] = moments(&frame, &coordinates(nx, origin[1]), origin[0], &mut pattern);
            assert_eq!(m, naive(&frame, nx, origin));
            assert!(pattern.iter().zip(&frame).all(|(p, f)| *p == f + 1.0));
        }
    }

    #[test]
    fn frames_together_and_as_stored_give_the_bits_of_one_frame_in_f32() {
        let (ny, nx) = (7, 37);
        let mut r = crate::rng::stream(5, 0);
        let stored: Vec<u16> = (0..4 * ny * nx).map(|_| crate::rng::below(&mut r, 60_000) as u16).collect();
        let frames: Vec<f32> = stored.iter().map(|&v| f32::from(v)).collect();
        let x = coordinates(nx, 17);
        let [mut one, mut four, mut raw] = [(); 3].map(|()| vec![0.0f32; ny * nx]);
        let single: Vec<Moments> = frames.chunks(ny * nx).flat_map(|f| moments::<_, 1>(f, &x, 3, &mut one)).collect();
        assert_eq!(moments::<_, 4>(&frames, &x, 3, &mut four).as_slice(), single);
        assert_eq!(moments::<_, 4>(&stored, &x, 3, &mut raw).as_slice(), single);
        assert_eq!((&four, &raw), (&one, &one));
    }

    #[test]
    fn nan_and_negative_pixels_show_in_sum_and_sign() {
        let x = coordinates(9, 4);
        let run = |at: usize, v: f32| {
            let mut frame = [1.0; 18];
            frame[at] = v;
            let [m] = moments(&frame, &x, 1, &mut [0.0; 18]);
            m
        };
        for at in [0, 8, 13] {
            assert!(run(at, f32::NAN).s.is_nan());
            assert!(run(at, -2.0).signed && !run(at, 2.0).signed);
            assert_eq!(run(at, f32::INFINITY).s, f64::INFINITY);
        }
    }
}
