//! Structural similarity over several scales.

use crate::error::Error;
use crate::metrics::ssim::components;
use crate::metrics::{SsimParams, check};
use crate::real::Real;

/// Exponents of the five scales, finest first, as found by experiment with observers; they sum to 1.
pub const MS_SSIM_WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// Multi-scale structural similarity of two images (ny, nx):
///
/// ```text
/// MS-SSIM = l₅^0.1333 · Π_{j=1..5} cs_j^{w_j},   w = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
/// ```
///
/// with the mean contrast–structure factor cs_j of scale j and the mean luminance–contrast–structure product at the
/// coarsest scale. Between the scales the images are averaged over 2 × 2 pixels and every second pixel is kept.
///
/// # Notes
/// 1. At the coarsest scale the mean of the product l·cs is taken, as the authors' own program does, not the product of
///    the means.
/// 2. An odd last row or column is dropped when the scale is halved.
/// 3. A negative mean cs (anti-correlated images) has no real power: it counts as 0.
///
/// # Errors
/// As [`ssim`](crate::metrics::ssim()); [`Error::Param`] for an image whose shorter side, halved four times, is smaller
/// than the window: 176 pixels are enough for the default of 11.
///
/// # References
/// Z. Wang, E. P. Simoncelli, A. C. Bovik, Proc. 37th Asilomar Conf. Signals, Systems and Computers 2, 1398 (2003), eq.
/// (7).
pub fn ms_ssim<T: Real>(a: &[T], b: &[T], dims: [usize; 2], params: &SsimParams) -> Result<f64, Error> {
    check::dims("ms_ssim", &dims, a.len())?;
    check::dims("ms_ssim", &dims, b.len())?;
    let (mut a, mut b) = (check::finite("a", a)?, check::finite("b", b)?);
    let coarsest = dims.map(|n| n >> (MS_SSIM_WEIGHTS.len() - 1));
    let kernel = params.kernel(dims)?;
    if coarsest[0].min(coarsest[1]) < kernel.len() {
        return Err(Error::param(
            "dims",
            format!("{} x {} pixels for a window of {}", dims[0], dims[1], kernel.len()),
            "a shorter side of at least 16 windows (176 pixels for the default window)",
        ));
    }
    let mut dims = dims;
    let mut product = 1.0;
    for (j, &w) in MS_SSIM_WEIGHTS.iter().enumerate() {
        let (luminance, structure, _) = components(&a, &b, dims, &kernel, params);
        let n = structure.len() as f64;
        let last = j + 1 == MS_SSIM_WEIGHTS.len();
        let mean = if last {
            luminance.iter().zip(&structure).map(|(l, cs)| l * cs).sum::<f64>() / n
        } else {
            structure.iter().sum::<f64>() / n
        };
        if !mean.is_finite() {
            return Err(Error::NotFinite { node: "ms_ssim: squares of the values".into(), step: j });
        }
        product *= mean.max(0.0).powf(w);
        if !last {
            (a, _) = halve(&a, dims);
            (b, dims) = halve(&b, dims);
        }
    }
    Ok(product)
}

/// Means over 2 × 2 pixels, (ny/2, nx/2).
fn halve(x: &[f64], [ny, nx]: [usize; 2]) -> (Vec<f64>, [usize; 2]) {
    let (my, mx) = (ny / 2, nx / 2);
    let mut y = Vec::with_capacity(my * mx);
    for i in 0..my {
        let (upper, lower) = (&x[2 * i * nx..], &x[(2 * i + 1) * nx..]);
        for j in 0..mx {
            y.push(0.25 * (upper[2 * j] + upper[2 * j + 1] + lower[2 * j] + lower[2 * j + 1]));
        }
    }
    (y, [my, mx])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SsimWindow;

    #[test]
    fn halving_averages_two_by_two_and_drops_odd_edges() {
        let x: Vec<f64> = (0..15).map(f64::from).collect();
        assert_eq!(halve(&x, [3, 5]), (vec![3.0, 5.0], [1, 2]));
    }

    #[test]
    fn small_images_are_errors() {
        let x = vec![0.5; 176 * 175];
        assert!(matches!(ms_ssim(&x, &x, [176, 175], &SsimParams::default()), Err(Error::Param { .. })));
        assert!((ms_ssim(&x, &x, [1, 30800], &SsimParams::default())).is_err());
        let small = SsimParams { window: SsimWindow::Uniform(3), ..SsimParams::default() };
        assert_eq!(ms_ssim(&x[..48 * 48], &x[..48 * 48], [48, 48], &small).unwrap(), 1.0);
    }

    #[test]
    fn anti_correlated_images_have_no_similarity() {
        let a: Vec<f64> = (0..176 * 176).map(|i| f64::from((i * 7919) % 256) / 255.0).collect();
        let b: Vec<f64> = a.iter().map(|v| 1.0 - v).collect();
        assert_eq!(ms_ssim(&a, &b, [176, 176], &SsimParams::default()).unwrap(), 0.0);
    }
}
