//! Sine and cosine for loops that run in vectors.

use crate::real::Real;

/// Below this |x| the reduction of [`sin_cos`] is exact enough.
pub(crate) const LIMIT: f64 = 1e5;

/// sin x and cos x for |x| below [`LIMIT`], to 2 ε absolute: reduced to ±π/4 by two parts of π/2, then Taylor's series as far as T needs it.
/// Without branches, so that it runs in vectors.
#[inline(always)]
pub(crate) fn sin_cos<T: Real>(x: f64) -> (T, T) {
    // Adding and subtracting 1.5·2⁵² rounds to an integer.
    const ROUND: f64 = 6755399441055744.0;
    // The first 33 bits of π/2, whose product with a small integer is exact, and the rest.
    const HIGH: f64 = 1.5707963267341256;
    const LOW: f64 = 6.077100506506192e-11;
    // 1/3!, 1/5!, … and 1/2!, 1/4!, …, with their signs: the last terms that count are r¹⁷/17! and r¹⁸/18! in f64, r⁹/9! and r¹⁰/10! in f32.
    const SIN: [f64; 8] = [
        -1.0 / 6.0,
        1.0 / 120.0,
        -1.0 / 5040.0,
        1.0 / 362880.0,
        -1.0 / 39916800.0,
        1.0 / 6227020800.0,
        -1.0 / 1307674368000.0,
        1.0 / 355687428096000.0,
    ];
    const COS: [f64; 9] = [
        -0.5,
        1.0 / 24.0,
        -1.0 / 720.0,
        1.0 / 40320.0,
        -1.0 / 3628800.0,
        1.0 / 479001600.0,
        -1.0 / 87178291200.0,
        1.0 / 20922789888000.0,
        -1.0 / 6402373705728000.0,
    ];
    let terms = if size_of::<T>() == 4 { [4, 5] } else { [SIN.len(), COS.len()] };
    let k = (x * std::f64::consts::FRAC_2_PI + ROUND) - ROUND;
    let r = T::of((x - k * HIGH) - k * LOW);
    let r2 = r * r;
    let (mut s, mut c) = (T::ZERO, T::ZERO);
    for i in (0..terms[0]).rev() {
        s = r2 * (T::of(SIN[i]) + s);
    }
    for i in (0..terms[1]).rev() {
        c = r2 * (T::of(COS[i]) + c);
    }
    let (s, c) = (r + r * s, T::ONE + c);
    // The quadrant, k modulo 4, in numbers.
    let q = T::of(k - 4.0 * ((k * 0.25 - 0.375 + ROUND) - ROUND));
    let odd = q == T::ONE || q == T::of(3.0);
    let (a, b) = if odd { (c, s) } else { (s, c) };
    (if q >= T::of(2.0) { -a } else { a }, if q == T::ONE || q == T::of(2.0) { -b } else { b })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_are_those_of_the_standard_library() {
        for i in -20_000..20_000 {
            let x = f64::from(i) * 0.00317 + f64::from(i % 7) * 100.0;
            let (s, c) = sin_cos::<f64>(x);
            assert!((s - x.sin()).abs() < 4e-16 && (c - x.cos()).abs() < 4e-16, "{x}: {s} {} {c} {}", x.sin(), x.cos());
            let (s, c) = sin_cos::<f32>(x);
            let (ds, dc) = ((f64::from(s) - x.sin()).abs(), (f64::from(c) - x.cos()).abs());
            assert!(ds < 2.4e-7 && dc < 2.4e-7, "{x}: {s} {} {c} {}", x.sin(), x.cos());
        }
    }

    #[test]
    fn they_keep_their_accuracy_close_to_zero_and_far_from_it() {
        for i in -200_000..200_000 {
            let x = i as f32 * 1.37e-3;
            let ((s, c), (rs, rc)) = (sin_cos::<f32>(f64::from(x)), f64::from(x).sin_cos());
            // Three units in the last place of 1.
            assert!((f64::from(s) - rs).abs() < 3.6e-7 && (f64::from(c) - rc).abs() < 3.6e-7, "{x}");
        }
    }
}
