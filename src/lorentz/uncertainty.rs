//! How well the retrieved settings are known: the curvature of the loss, with the object free to follow.

use crate::error::Error;
use crate::linalg::lstsq::cholesky_solve;
use crate::lorentz::problem::Problem;
use crate::lorentz::{Loss, SETTING_WORDS};
use crate::real::Real;

/// Standard deviations of the numbers of every image.
///
/// With z the object and v the settings, both in the coordinates of the retrieval, and H the Hessian of the mean loss,
/// the object's part is eliminated by conjugate gradients:
///
/// ```text
/// S = H_vv − H_vz H_zz⁻¹ H_zv,   cov v = S⁻¹ · 2σ²/(nN)  (amplitude loss, σ² = nN L/(nN − N)),   S⁻¹/(nN)  (Poisson)
/// ```
///
/// Products with H are central differences of the gradient. The Poisson form supposes that intensities are counts.
pub(crate) fn uncertainty<T: Real>(
    problem: &mut Problem<T>,
    x: &[T],
    loss: Loss,
    iterations: usize,
) -> Result<Vec<[f64; SETTING_WORDS]>, Error> {
    let (m, words) = (problem.variables().len(), x.len());
    let mut out = vec![[0.0; SETTING_WORDS]; problem.images()];
    if m == 0 {
        return Ok(out);
    }
    let z = words - m;
    let mut g = vec![T::ZERO; words];
    let value = problem.evaluate(x, &mut g)?;

    // H d, for a step that moves x by about √(2 · 10⁻³ · loss): large beside rounding, small beside the curvature.
    let reach = 0.03 * value.max(1e-12).sqrt();
    let mut product = |d: &[f64]| -> Result<Vec<f64>, Error> {
        let norm = d.iter().map(|d| d * d).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        let h = reach / norm;
        let mut at = |s: f64| -> Result<Vec<T>, Error> {
            let y: Vec<T> = x.iter().zip(d).map(|(x, d)| T::of(x.f64() + s * h * d)).collect();
            let mut g = vec![T::ZERO; words];
            problem.evaluate(&y, &mut g)?;
            Ok(g)
        };
        let (a, b) = (at(1.0)?, at(-1.0)?);
        Ok(a.iter().zip(&b).map(|(a, b)| (a.f64() - b.f64()) / (2.0 * h)).collect())
    };

    let mut columns = Vec::new();
    for j in 0..m {
        let mut d = vec![0.0; words];
        d[z + j] = 1.0;
        columns.push(product(&d)?);
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut s = vec![0.0; m * m];
    for j in 0..m {
        // H_zz y = b.
        let b = &columns[j][..z];
        let mut y = vec![0.0; z];
        let (mut r, mut p) = (b.to_vec(), b.to_vec());
        let mut rr = dot(&r, &r);
        let small = 1e-8 * rr;
        for _ in 0..iterations {
            if rr <= small {
                break;
            }
            let mut d = p.clone();
            d.resize(words, 0.0);
            let hp = product(&d)?;
            let curvature = dot(&p, &hp[..z]);
            // Along a direction without curvature the object does not follow.
            if curvature <= 0.0 {
                break;
            }
            let a = rr / curvature;
            for i in 0..z {
                y[i] += a * p[i];
                r[i] -= a * hp[i];
            }
            let next = dot(&r, &r);
            let beta = next / rr;
            p.iter_mut().zip(&r).for_each(|(p, r)| *p = r + beta * *p);
            rr = next;
        }
        for k in 0..m {
            s[k * m + j] = columns[j][z + k] - dot(&columns[k][..z], &y);
        }
    }
    for j in 0..m {
        for k in 0..j {
            let mean = 0.5 * (s[j * m + k] + s[k * m + j]);
            (s[j * m + k], s[k * m + j]) = (mean, mean);
        }
    }
    let mut unit = vec![0.0; m * m];
    (0..m).for_each(|j| unit[j * m + j] = 1.0);
    let Ok(inverse) = cholesky_solve(m, &s, &unit) else {
        // Not a minimum: nothing is known.
        for var in problem.variables() {
            var.images.clone().for_each(|k| out[k][var.word.index()] = f64::INFINITY);
        }
        return Ok(out);
    };
    let n = problem.images();
    let pixels = (n * problem.start_phase().len()) as f64;
    let factor = match loss {
        Loss::Amplitude => {
            let freedom = if n > 1 { (n - 1) as f64 / n as f64 } else { 1.0 };
            2.0 * value / freedom / pixels
        }
        Loss::Poisson => 1.0 / pixels,
    };
    let settings = problem.state(x).settings;
    for (j, var) in problem.variables().iter().enumerate() {
        let sigma = (inverse[j * m + j].max(0.0) * factor).sqrt();
        for k in var.images.clone() {
            out[k][var.word.index()] = sigma * var.slope(settings[k][var.word.index()]);
        }
    }
    Ok(out)
}
