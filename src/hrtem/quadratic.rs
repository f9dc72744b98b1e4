//! Climbing a smooth hill of few dimensions by quadratic models.

use crate::linalg::eigen::symmetric_eigen;

/// The maximum of `f` near `x`: a quadratic model from values `h` around the best point so far, a step to its top of at most 3 h a
/// dimension, until the steps are below h/100. Returns the place and the variance of the first coordinate of `exp(f)` there (the first
/// element of the inverse of minus the Hessian; infinite where the hill is flat).
pub fn climb(x: &[f64], h: f64, steps: usize, f: impl Fn(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let n = x.len();
    let mut x = x.to_vec();
    let mut top = f(&x);
    let mut variance = f64::INFINITY;
    let at = |x: &[f64], moves: &[(usize, f64)]| {
        let mut y = x.to_vec();
        moves.iter().for_each(|&(i, d)| y[i] += d);
        f(&y)
    };
    for _ in 0..steps {
        // Central differences.
        let mut g = vec![0.0; n];
        let mut hessian = vec![0.0; n * n];
        for i in 0..n {
            let (plus, minus) = (at(&x, &[(i, h)]), at(&x, &[(i, -h)]));
            g[i] = (plus - minus) / (2.0 * h);
            hessian[i * n + i] = (plus + minus - 2.0 * top) / (h * h);
            for j in 0..i {
                let cross = at(&x, &[(i, h), (j, h)]) + at(&x, &[(i, -h), (j, -h)])
                    - at(&x, &[(i, h), (j, -h)])
                    - at(&x, &[(i, -h), (j, h)]);
                hessian[i * n + j] = cross / (4.0 * h * h);
                hessian[j * n + i] = hessian[i * n + j];
            }
        }
        // Along each axis of the model: to the top where it is a hill, uphill where it is not.
        let Ok(eigen) = symmetric_eigen(n, &hessian) else { break };
        let mut step = vec![0.0; n];
        variance = 0.0;
        for e in 0..n {
            let (value, v) = (eigen.values[e], eigen.vector(e));
            let slope: f64 = v.iter().zip(&g).map(|(v, g)| v * g).sum();
            let length = if value < 0.0 { (-slope / value).clamp(-3.0 * h, 3.0 * h) } else { 2.0 * h * slope.signum() };
            variance += if value < 0.0 {
                -v[0] * v[0] / value
            } else if v[0].abs() > 1e-6 {
                f64::INFINITY
            } else {
                0.0
            };
            step.iter_mut().zip(v).for_each(|(s, v)| *s += length * v);
        }
        // Half of it where the whole does not lead up.
        let mut moved = false;
        for _ in 0..6 {
            let trial: Vec<f64> = x.iter().zip(&step).map(|(x, s)| x + s).collect();
            let value = f(&trial);
            if value > top {
                (x, top, moved) = (trial, value, true);
                break;
            }
            step.iter_mut().for_each(|s| *s *= 0.5);
        }
        if !moved || step.iter().all(|s| s.abs() < 0.01 * h) {
            break;
        }
    }
    (x, variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_tilted_hill_is_found_with_its_variance() {
        // f = −½ (x − c)ᵀ M (x − c), M = [[2, 1], [1, 3]]: (M⁻¹)₀₀ = 3/5.
        let f = |x: &[f64]| {
            let (a, b) = (x[0] - 1.5, x[1] + 2.0);
            -0.5 * (2.0 * a * a + 2.0 * a * b + 3.0 * b * b)
        };
        let (x, variance) = climb(&[0.0, 0.0], 0.5, 50, f);
        assert!((x[0] - 1.5).abs() < 1e-6 && (x[1] + 2.0).abs() < 1e-6, "{x:?}");
        assert!((variance - 0.6).abs() < 1e-6, "{variance}");
    }
}
