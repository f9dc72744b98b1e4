//! The passes over a tile of scores: keys are its rows, queries its columns, so that sums over the keys run down the
//! lanes.

use crate::real::Real;
use crate::simd::fused;

/// Queries of a tile: three vectors of sixteen `f32`.
pub(crate) const QUERIES: usize = 48;

/// One number for each query of a tile.
pub(crate) type Lanes<T> = [T; QUERIES];

/// The largest of each column.
pub(crate) fn maxima<T: Real>(s: &[T], largest: &mut Lanes<T>) {
    crate::simd::vectorized!({
        for row in s.chunks_exact(QUERIES) {
            for l in 0..QUERIES {
                largest[l] = if row[l] > largest[l] { row[l] } else { largest[l] };
            }
        }
    });
}

/// `s ← 2^{s − shift}`, added to `sum`, column by column.
pub(crate) fn exponentials<T: Real>(s: &mut [T], shift: &Lanes<T>, sum: &mut Lanes<T>) {
    #[inline(always)]
    fn run<T: Real>(s: &mut [T], shift: &Lanes<T>, sum: &mut Lanes<T>, exp2: impl Fn(T) -> T) {
        let mut total = *sum;
        for row in s.chunks_exact_mut(QUERIES) {
            for l in 0..QUERIES {
                row[l] = exp2(row[l] - shift[l]);
                total[l] += row[l];
            }
        }
        *sum = total;
    }
    if T::NAME == "f32" {
        let s: &mut [f32] = bytemuck::cast_slice_mut(s);
        let (shift, sum) = (bytemuck::cast_ref(shift), bytemuck::cast_mut(sum));
        fused!(|FMA| run::<f32>(s, shift, sum, exp2::<FMA>));
    } else {
        run(s, shift, sum, |t| (t * T::of(std::f64::consts::LN_2)).exp());
    }
}

/// `s ← 2^{s − shift}` and `ds ← s (ds − mean)`, column by column: the backward pass of a softmax whose sums are known.
pub(crate) fn weights<T: Real>(s: &mut [T], ds: &mut [T], shift: &Lanes<T>, mean: &Lanes<T>) {
    #[inline(always)]
    fn run<T: Real>(s: &mut [T], ds: &mut [T], shift: &Lanes<T>, mean: &Lanes<T>, exp2: impl Fn(T) -> T) {
        for (s, ds) in s.chunks_exact_mut(QUERIES).zip(ds.chunks_exact_mut(QUERIES)) {
            for l in 0..QUERIES {
                s[l] = exp2(s[l] - shift[l]);
                ds[l] = s[l] * (ds[l] - mean[l]);
            }
        }
    }
    if T::NAME == "f32" {
        let (s, ds): (&mut [f32], &mut [f32]) = (bytemuck::cast_slice_mut(s), bytemuck::cast_slice_mut(ds));
        let (shift, mean) = (bytemuck::cast_ref(shift), bytemuck::cast_ref(mean));
        fused!(|FMA| run::<f32>(s, ds, shift, mean, exp2::<FMA>));
    } else {
        run(s, ds, shift, mean, |t| (t * T::of(std::f64::consts::LN_2)).exp());
    }
}

/// 2ᵗ for t ≤ 0, with a relative error below 2·10⁻⁷; 0 for t < −80, since the largest weight is 1 and products with
/// smaller ones would be denormal numbers, which take the processor a hundred cycles. NaN stays NaN.
///
/// t = n + r with |r| ≤ ½; 2ʳ by the polynomial of degree 6 of least relative error (2·10⁻⁹, its coefficients rounded). n is rounded by adding
/// 1.5·2²³, whose last bits are then those of n, ready to become an exponent.
#[inline(always)]
fn exp2<const FMA: bool>(t: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const SERIES: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993_1, 0.000_153_458_11];
    // The bits of 2⁻¹²⁷ would be those of 0.
    let t = if t < -80.0 { -127.0 } else { t };
    let shifted = t + ROUND;
    let r = t - (shifted - ROUND);
    let mut power = SERIES[6];
    for c in SERIES[..6].iter().rev() {
        power = if FMA { power.mul_add(r, *c) } else { power * r + *c };
    }
    power * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_those_of_the_standard_library() {
        for i in 0..80_000 {
            let t = -0.001 * i as f32;
            let want = f64::from(t).exp2();
            for got in [exp2::<true>(t), exp2::<false>(t)] {
                assert!((f64::from(got) / want - 1.0).abs() < 2e-7, "{t} {got} {want}");
            }
        }
        assert_eq!(exp2::<false>(0.0), 1.0);
        assert!([-81.0, -1e30, f32::NEG_INFINITY].iter().all(|&t| exp2::<false>(t) == 0.0 && exp2::<true>(t) == 0.0));
        assert!(exp2::<false>(f32::NAN).is_nan());
    }
}
