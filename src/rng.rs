//! Random numbers: ChaCha8 streams, uniform, normal and Poisson samplers.
//!
//! Every frame of a simulation draws from its own stream, [`stream`]`(seed, frame)`, so counts do not depend on the
//! number of threads or on the order of the frames. The samplers are written out here, because their exact sequence is
//! part of the promise "same seed, same bits", which a dependency's next version need not keep.

use rand::{Rng, SeedableRng};

pub use rand::rngs::ChaCha8Rng;

/// The random stream number `index` of a seed. Streams of one seed are independent.
///
/// ```
/// use exitwave::rng::{stream, uniform};
/// assert_eq!(uniform(&mut stream(7, 3)), uniform(&mut stream(7, 3)));
/// assert_ne!(uniform(&mut stream(7, 3)), uniform(&mut stream(7, 4)));
/// ```
pub fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}

/// Uniform in [0, 1), with 53 random bits.
#[inline]
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A uniform integer in `0..n`, without bias.
///
/// # Panics
/// If `n` is 0.
pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    assert!(n > 0, "rng::below: empty range");
    // Rejects the incomplete last interval of the 64-bit range.
    let n = n as u64;
    let limit = u64::MAX - (u64::MAX % n + 1) % n;
    loop {
        let x = rng.next_u64();
        if x <= limit {
            return (x % n) as usize;
        }
    }
}

/// A random order of `0..n` (Fisher–Yates).
pub fn permutation(rng: &mut ChaCha8Rng, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, below(rng, i + 1));
    }
    order
}

/// Two independent standard normal numbers (mean 0, variance 1).
///
/// # References
/// G. E. P. Box, M. E. Muller, Ann. Math. Stat. 29, 610 (1958), eq. (1).
#[inline]
pub fn normal_pair(rng: &mut ChaCha8Rng) -> (f64, f64) {
    // 1 − u is in (0, 1], so that the logarithm is finite.
    let r = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    let (s, c) = (std::f64::consts::TAU * uniform(rng)).sin_cos();
    (r * c, r * s)
}

/// A standard normal number.
#[inline]
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    normal_pair(rng).0
}

/// Means from which the normal approximation replaces the exact sampler: there the skewness, 1/√mean, is below 1e-6,
/// while the exact sampler compares numbers as large as mean · ln mean, known to 4e-3, whose difference is of order
/// one.
const POISSON_NORMAL: f64 = 1e12;

/// A Poisson count with the given mean. The count for a mean of 0 is 0.
///
/// Means below 10 are sampled by inversion (sequential search), larger ones by transformed rejection, both exact but
/// for the rounding of probabilities; above 1e12 the count is a rounded normal number of the same mean and variance.
///
/// # Panics
/// If `mean` is negative or not finite.
///
/// # References
/// W. Hörmann, Insurance: Mathematics and Economics 12, 39 (1993), algorithm PTRS.
///
/// ```
/// use exitwave::rng::{poisson, stream};
/// assert_eq!(poisson(&mut stream(1, 0), 0.0), 0.0);
/// ```
pub fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    assert!(mean >= 0.0 && mean.is_finite(), "rng::poisson: the mean is {mean}, expected a finite number >= 0");
    if mean == 0.0 {
        0.0
    } else if mean < 10.0 {
        poisson_inversion(rng, mean)
    } else if mean < POISSON_NORMAL {
        poisson_ptrs(rng, mean)
    } else {
        (mean + mean.sqrt() * normal(rng)).round().max(0.0)
    }
}

/// Smallest k whose cumulative probability exceeds a uniform number.
fn poisson_inversion(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    let u = uniform(rng);
    let mut k = 0.0;
    let mut p = (-mean).exp();
    let mut cumulative = p;
    // Beyond k = 200 the probability (mean < 10) is below the resolution of u.
    while u >= cumulative && k < 200.0 {
        k += 1.0;
        p *= mean / k;
        cumulative += p;
    }
    k
}

/// Transformed rejection with squeeze, for means of at least 10. The constants are those of the paper.
fn poisson_ptrs(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    let log_mean = mean.ln();
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inv_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let v_r = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = uniform(rng) - 0.5;
        let v = 1.0 - uniform(rng);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        // Inside the hat's centre no test is needed.
        if us >= 0.07 && v <= v_r {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        if (v * inv_alpha / (a / (us * us) + b)).ln() <= k * log_mean - mean - ln_factorial(k) {
            return k;
        }
    }
}

/// ln k!, by a table below 10 and Stirling's series above (relative error below 1e-13).
fn ln_factorial(k: f64) -> f64 {
    const SMALL: [f64; 10] = [
        0.0,
        0.0,
        std::f64::consts::LN_2,
        1.791759469228055,
        3.1780538303479458,
        4.787491742782046,
        6.579251212010101,
        8.525161361065415,
        10.60460290274525,
        12.801827480081469,
    ];
    if k < 10.0 {
        return SMALL[k as usize];
    }
    let r = 1.0 / k;
    let r2 = r * r;
    let series = r * (1.0 / 12.0 - r2 * (1.0 / 360.0 - r2 * (1.0 / 1260.0 - r2 / 1680.0)));
    (k + 0.5) * k.ln() - k + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_factorial_is_the_sum_of_logarithms() {
        let mut sum = 0.0;
        for k in 1..200 {
            sum += f64::from(k).ln();
            assert!((ln_factorial(f64::from(k)) - sum).abs() < 1e-12 * sum.max(1.0), "k = {k}");
        }
    }

    #[test]
    fn poisson_mean_variance_and_skewness_are_the_means() {
        // Standard errors with n samples: mean √(μ/n), variance ≈ μ√((2 + 1/μ)/n); five of them are allowed.
        let n = 200_000;
        for (s, mu) in [0.01, 0.5, 3.0, 9.99, 10.0, 40.0, 1e3, 1e7, 1e13].into_iter().enumerate() {
            let mut rng = stream(11, s as u64);
            let x: Vec<f64> = (0..n).map(|_| poisson(&mut rng, mu) - mu).collect();
            let mean = x.iter().sum::<f64>() / n as f64;
            let var = x.iter().map(|v| v * v).sum::<f64>() / n as f64;
            assert!(mean.abs() < 5.0 * (mu / n as f64).sqrt(), "mean {mu}: off by {mean}");
            assert!((var - mu).abs() < 5.0 * mu * ((2.0 + 1.0 / mu) / n as f64).sqrt(), "variance {var} for {mu}");
        }
    }

    #[test]
    fn poisson_probabilities_agree_with_the_formula() {
        // χ² over the counts around the mean, on both sides of the change of algorithm.
        for (s, mu) in [4.0f64, 9.5, 10.5, 30.0].into_iter().enumerate() {
            let n = 400_000;
            let mut histogram = [0.0f64; 100];
            let mut rng = stream(5, s as u64);
            for _ in 0..n {
                histogram[poisson(&mut rng, mu) as usize] += 1.0;
            }
            let (mut chi2, mut bins) = (0.0, 0.0);
            for (k, &h) in histogram.iter().enumerate() {
                let expected = f64::from(n) * (k as f64 * mu.ln() - mu - ln_factorial(k as f64)).exp();
                if expected > 20.0 {
                    chi2 += (h - expected).powi(2) / expected;
                    bins += 1.0;
                }
            }
            assert!((chi2 - bins).abs() < 5.0 * (2.0f64 * bins).sqrt(), "mean {mu}: chi2 {chi2} for {bins} bins");
        }
    }

    #[test]
    fn normal_moments_are_zero_one_zero_three() {
        let n = 400_000;
        let mut rng = stream(3, 0);
        let mut m = [0.0; 4];
        for _ in 0..n {
            let x = normal(&mut rng);
            for (p, m) in m.iter_mut().enumerate() {
                *m += x.powi(p as i32 + 1) / f64::from(n);
            }
        }
        // Standard errors √(1, 2, 15, 96)/√n; five of them are allowed.
        for ((got, want), se) in m.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0f64, 2.0, 15.0, 96.0]) {
            assert!((got - want).abs() < 5.0 * (se / f64::from(n)).sqrt(), "{m:?}");
        }
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut p = permutation(&mut stream(1, 2), 1000);
        assert_ne!(p[..5], [0, 1, 2, 3, 4]);
        p.sort_unstable();
        assert!(p.iter().enumerate().all(|(i, &x)| i == x));
    }
}
