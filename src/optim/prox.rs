//! Proximal maps.

use crate::error::Error;
use crate::real::Real;

/// A convex function g whose proximal map is known:
///
/// ```text
/// prox_τg(v) = argmin_x  g(x) + ‖x − v‖²/(2τ)
/// ```
///
/// That of the conjugate follows from it: `prox_σg*(v) = v − σ prox_{g/σ}(v/σ)` (Moreau).
///
/// # References
/// N. Parikh, S. Boyd, Foundations and Trends in Optimization 1, 127 (2014): section 6.2 (box), 6.5.2 (ℓ₁), 6.5.1 (ℓ₂);
/// (2.5), Moreau's decomposition. P. L. Combettes, J.-C. Pesquet, Inverse Problems 23, 1495 (2007), table 1: Poisson.
#[derive(Clone, Debug, PartialEq)]
pub enum Prox<T: Real> {
    /// g = 0.
    Zero,
    /// g = 0 where all words are ≥ 0, else ∞: negative words become 0.
    NonNegative,
    /// g = 0 where all words are in `[low, high]`, else ∞.
    Bounds {
        /// The smallest word.
        low: f64,
        /// The largest word.
        high: f64,
    },
    /// g = w Σ |xᵢ|, real: words are shrunk by τw towards 0.
    L1 {
        /// w.
        weight: f64,
    },
    /// g = w Σᵢ √(Σ_c x[c, i]²): vectors of `parts` words are shrunk by τw. Isotropic total variation, with
    /// [`crate::optim::Difference`]; with 2 parts interleaved it is not: c is the slow axis.
    Group {
        /// w.
        weight: f64,
        /// Words c of a vector.
        parts: usize,
    },
    /// g = w/2 ‖x − b‖².
    Squares {
        /// w.
        weight: f64,
        /// b.
        target: Vec<T>,
    },
    /// g = Σ xᵢ − bᵢ ln xᵢ on x ≥ 0: counts b with expectation x, up to a constant.
    Poisson {
        /// b.
        counts: Vec<T>,
    },
}

impl<T: Real> Prox<T> {
    /// Whether the numbers make sense for vectors of `n` words.
    ///
    /// # Errors
    /// [`Error::Param`], [`Error::Shape`], [`Error::Data`].
    pub fn check(&self, n: usize) -> Result<(), Error> {
        let weight = |w: f64| match w >= 0.0 && w.is_finite() {
            true => Ok(()),
            false => Err(Error::param("weight", w, "a number that is not negative")),
        };
        let vector = |v: &[T], least: f64| {
            if v.len() != n {
                return Err(Error::shape("Prox", &[n], &[v.len()]));
            }
            match v.iter().position(|v| !(v.f64() >= least && v.is_finite())) {
                Some(index) => Err(Error::Data { what: "Prox: not a number of its range".into(), index }),
                None => Ok(()),
            }
        };
        match self {
            Prox::Zero | Prox::NonNegative => Ok(()),
            Prox::Bounds { low, high } if low <= high => Ok(()),
            Prox::Bounds { low, high } => Err(Error::param("bounds", format!("{low}..{high}"), "low ≤ high")),
            Prox::L1 { weight: w } => weight(*w),
            Prox::Group { weight: w, parts } => {
                if *parts == 0 || !n.is_multiple_of(*parts) {
                    return Err(Error::param("parts", *parts, "a divisor of the number of words"));
                }
                weight(*w)
            }
            Prox::Squares { weight: w, target } => vector(target, f64::NEG_INFINITY).and(weight(*w)),
            Prox::Poisson { counts } => vector(counts, 0.0),
        }
    }

    /// `v ← prox_τg(v)`.
    ///
    /// # Panics
    /// If the length is not that of [`Prox::check`].
    pub fn apply(&self, v: &mut [T], tau: f64) {
        let each = |v: &mut [T], f: &dyn Fn(T) -> T| v.iter_mut().for_each(|v| *v = f(*v));
        match self {
            Prox::Zero => {}
            Prox::NonNegative => each(v, &|v| if v < T::ZERO { T::ZERO } else { v }),
            Prox::Bounds { low, high } => {
                let (low, high) = (T::of(*low), T::of(*high));
                each(v, &|v| {
                    if v < low {
                        low
                    } else if v > high {
                        high
                    } else {
                        v
                    }
                });
            }
            Prox::L1 { weight } => {
                let t = T::of(tau * weight);
                // 0 · v keeps a NaN.
                each(v, &|v| {
                    if v > t {
                        v - t
                    } else if v < -t {
                        v + t
                    } else {
                        T::ZERO * v
                    }
                });
            }
            Prox::Group { weight, parts } => {
                let (t, n) = (T::of(tau * weight), v.len() / parts);
                for i in 0..n {
                    let norm = (0..*parts).map(|c| v[c * n + i] * v[c * n + i]).sum::<T>().sqrt();
                    // A NaN is kept.
                    let s = if norm <= t { T::ZERO } else { T::ONE - t / norm };
                    (0..*parts).for_each(|c| v[c * n + i] *= s);
                }
            }
            Prox::Squares { weight, target } => {
                let (a, b) = (T::of(tau * weight), T::of(1.0 / (1.0 + tau * weight)));
                v.iter_mut().zip(target).for_each(|(v, &t)| *v = (*v + a * t) * b);
            }
            Prox::Poisson { counts } => {
                let tau = T::of(tau);
                for (v, &b) in v.iter_mut().zip(counts) {
                    // The positive root of x² − (v − τ)x − τb = 0.
                    let u = *v - tau;
                    let root = (u * u + T::of(4.0) * tau * b).sqrt();
                    *v = if u >= T::ZERO { T::HALF * (u + root) } else { T::of(2.0) * tau * b / (root - u) };
                }
            }
        }
    }

    /// `v ← prox_σg*(v)`, of the conjugate.
    pub(crate) fn apply_conjugate(&self, v: &mut [T], sigma: f64, scratch: &mut [T]) {
        let (s, r) = (T::of(sigma), T::of(1.0 / sigma));
        scratch.iter_mut().zip(&*v).for_each(|(u, &v)| *u = r * v);
        self.apply(scratch, 1.0 / sigma);
        v.iter_mut().zip(&*scratch).for_each(|(v, &u)| *v -= s * u);
    }

    /// g(x); the indicator functions count as 0 everywhere, so that a loss stays finite up to rounding of the bounds.
    pub fn value(&self, x: &[T]) -> f64 {
        match self {
            Prox::Zero | Prox::NonNegative | Prox::Bounds { .. } => 0.0,
            Prox::L1 { weight } => weight * x.iter().map(|x| x.f64().abs()).sum::<f64>(),
            Prox::Group { weight, parts } => {
                let n = x.len() / parts;
                let norm = |i: usize| (0..*parts).map(|c| x[c * n + i].f64().powi(2)).sum::<f64>().sqrt();
                weight * (0..n).map(norm).sum::<f64>()
            }
            Prox::Squares { weight, target } => {
                0.5 * weight * x.iter().zip(target).map(|(x, t)| (x.f64() - t.f64()).powi(2)).sum::<f64>()
            }
            Prox::Poisson { counts } => {
                let term = |(x, b): (&T, &T)| {
                    let (x, b) = (x.f64(), b.f64());
                    x - if b > 0.0 { b * x.max(f64::MIN_POSITIVE).ln() } else { 0.0 }
                };
                x.iter().zip(counts).map(term).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn every_map_is_the_minimum_of_its_definition() {
        let mut r = rng::stream(4, 0);
        let mut normals = |n: usize| -> Vec<f64> { (0..n).map(|_| rng::normal(&mut r)).collect() };
        let b = normals(6);
        let counts: Vec<f64> = b.iter().map(|b| (5.0 * b).abs().floor()).collect();
        let maps = [
            Prox::Zero,
            Prox::NonNegative,
            Prox::Bounds { low: -0.3, high: 0.4 },
            Prox::L1 { weight: 0.7 },
            Prox::Group { weight: 0.7, parts: 3 },
            Prox::Squares { weight: 1.3, target: b },
            Prox::Poisson { counts },
        ];
        for g in &maps {
            g.check(6).unwrap();
            for tau in [0.1, 1.0, 3.0] {
                let v = normals(6);
                let mut x = v.clone();
                g.apply(&mut x, tau);
                let inside = |x: &[f64]| match g {
                    Prox::NonNegative | Prox::Poisson { .. } => x.iter().all(|&x| x >= 0.0),
                    Prox::Bounds { low, high } => x.iter().all(|x| (low..=high).contains(&x)),
                    _ => true,
                };
                let f =
                    |x: &[f64]| g.value(x) + x.iter().zip(&v).map(|(x, v)| (x - v).powi(2)).sum::<f64>() / (2.0 * tau);
                assert!(inside(&x));
                for step in [1e-6, 1e-3, 0.3] {
                    let y: Vec<f64> = x.iter().zip(normals(6)).map(|(x, n)| x + step * n).collect();
                    // The minimum is flat: only rounding can be lower.
                    assert!(!inside(&y) || f(&y) >= f(&x) - 1e-14 * f(&x).abs(), "{g:?} {tau}");
                }
                // Moreau: prox of the conjugate, of it again, is the map.
                let (mut c, mut s) = (v.clone(), vec![0.0; 6]);
                g.apply_conjugate(&mut c, tau, &mut s);
                let mut p: Vec<f64> = v.iter().map(|v| v / tau).collect();
                g.apply(&mut p, 1.0 / tau);
                assert!((0..6).all(|i| (c[i] + tau * p[i] - v[i]).abs() < 1e-14 * (1.0 + v[i].abs())));
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_nan_is_kept() {
        assert!(Prox::<f64>::Bounds { low: 1.0, high: 0.0 }.check(2).is_err());
        assert!(Prox::<f64>::L1 { weight: -1.0 }.check(2).is_err());
        assert!(Prox::<f64>::Group { weight: 1.0, parts: 3 }.check(4).is_err());
        assert!(Prox::Squares { weight: 1.0, target: vec![0.0f64; 3] }.check(4).is_err());
        assert!(Prox::Poisson { counts: vec![-1.0f64] }.check(1).is_err());
        for g in [Prox::NonNegative, Prox::L1 { weight: 1.0 }, Prox::Group { weight: 1.0, parts: 1 }] {
            let mut v = [f64::NAN];
            g.apply(&mut v, 1.0);
            assert!(v[0].is_nan(), "{g:?}");
        }
    }
}
