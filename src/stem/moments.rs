//! The inner loop of the pass: sums, first and second moments of a frame, while it is added to the mean pattern.

use crate::simd::vectorized;

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

/// Moments of a frame (rows of x.len() pixels) about row `origin_y` and the column where x = 0; the frame is added to
/// `pattern`.
///
/// Within a row, partial sums in `f32` in a fixed order; from row to row in `f64`. One read of the frame, one addition
/// to the pattern, no branch.
pub(crate) fn moments(frame: &[f32], x: &[f32], origin_y: usize, pattern: &mut [f32]) -> Moments {
    vectorized!({ rows(frame, x, origin_y, pattern) })
}

#[inline(always)]
fn rows(frame: &[f32], x: &[f32], origin_y: usize, pattern: &mut [f32]) -> Moments {
    let nx = x.len();
    let mut m = Moments::default();
    let (mut signs, mut sign) = ([0u32; LANES], 0);
    let (xs, x_rest) = x.as_chunks::<LANES>();
    for (row_index, (row, pattern)) in frame.chunks_exact(nx).zip(pattern.chunks_exact_mut(nx)).enumerate() {
        let (rows, row_rest) = row.as_chunks::<LANES>();
        let (patterns, pattern_rest) = pattern.as_chunks_mut::<LANES>();
        // Arrays that nothing borrows, so that the compiler keeps them in registers.
        let [mut s0, mut s1, mut s2] = [[0.0f32; LANES]; 3];
        for ((i, x), p) in rows.iter().zip(xs).zip(patterns) {
            for l in 0..LANES {
                let t = i[l] * x[l];
                s0[l] += i[l];
                s1[l] += t;
                s2[l] += t * x[l];
                signs[l] |= i[l].to_bits();
                p[l] += i[l];
            }
        }
        let [mut e0, mut e1, mut e2] = [0.0f32; 3];
        for ((&i, p), &x) in row_rest.iter().zip(pattern_rest).zip(x_rest) {
            let t = i * x;
            e0 += i;
            e1 += t;
            e2 += t * x;
            sign |= i.to_bits();
            *p += i;
        }
        let [r0, r1, r2] = [(s0, e0), (s1, e1), (s2, e2)].map(|(s, e)| f64::from(e + sum_lanes(s)));
        let y = row_index as f64 - origin_y as f64;
        m.s += r0;
        m.x += r1;
        m.xx += r2;
        m.y += y * r0;
        m.yy += y * y * r0;
        m.xy += y * r1;
    }
    m.signed = signs.into_iter().fold(sign, |a, b| a | b) >> 31 == 1;
    m
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
            let m = moments(&frame, &coordinates(nx, origin[1]), origin[0], &mut pattern);
            assert_eq!(m, naive(&frame, nx, origin));
            assert!(pattern.iter().zip(&frame).all(|(p, f)| *p == f + 1.0));
        }
    }

    #[test]
    fn nan_and_negative_pixels_show_in_sum_and_sign() {
        let x = coordinates(9, 4);
        let run = |at: usize, v: f32| {
            let mut frame = [1.0; 18];
            frame[at] = v;
            moments(&frame, &x, 1, &mut [0.0; 18])
        };
        for at in [0, 8, 13] {
            assert!(run(at, f32::NAN).s.is_nan());
            assert!(run(at, -2.0).signed && !run(at, 2.0).signed);
            assert_eq!(run(at, f32::INFINITY).s, f64::INFINITY);
        }
    }
}
