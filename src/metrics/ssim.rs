//! Structural similarity.

use crate::error::Error;
use crate::metrics::check;
use crate::real::Real;
use crate::tensor::Tensor;

/// The neighbourhood over which [`ssim`] takes its local means and variances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SsimWindow {
    /// A square of this odd number of pixels, all of equal weight.
    Uniform(usize),
    /// A Gaussian of this standard deviation in pixels, cut off at 3.5 σ (11 × 11 pixels for σ = 1.5).
    Gaussian(f64),
}

/// How local variances are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    /// Σ w (x − µ)² / Σ w: the paper's.
    Population,
    /// The same times N/(N − 1), with N the number of pixels in the window.
    Sample,
}

/// Parameters of [`ssim`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SsimParams {
    /// The neighbourhood.
    pub window: SsimWindow,
    /// Normalisation of the variances.
    pub covariance: Covariance,
    /// The range R that the data can have, such as 1 or 255.
    pub data_range: f64,
    /// K₁, of the luminance.
    pub k1: f64,
    /// K₂, of the contrast.
    pub k2: f64,
}

/// Those of the paper: Gaussian window of σ = 1.5 pixels, population covariance, K₁ = 0.01, K₂ = 0.03; data in 0 to 1.
impl Default for SsimParams {
    fn default() -> Self {
        SsimParams {
            window: SsimWindow::Gaussian(1.5),
            covariance: Covariance::Population,
            data_range: 1.0,
            k1: 0.01,
            k2: 0.03,
        }
    }
}

/// The result of [`ssim`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ssim {
    /// Mean over the map: at most 1, which identical images reach.
    pub mean: f64,
    /// The index at every pixel whose window lies within the image, (ny − s + 1, nx − s + 1) for windows of s × s.
    pub map: Tensor<f64>,
}

/// Structural similarity of two images (ny, nx):
///
/// ```text
/// SSIM = (2 µa µb + C₁)(2 σab + C₂) / ((µa² + µb² + C₁)(σa² + σb² + C₂)),   C₁ = (K₁R)²,  C₂ = (K₂R)²
/// ```
///
/// with local means µ, variances σ² and covariance σab, averaged over the pixels whose window lies within the image.
///
/// # Errors
/// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, [`Error::Param`] for a
/// window that is even, empty or larger than the image, or for `data_range`, `k1`, `k2` that are not positive and
/// finite.
///
/// # References
/// Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, IEEE Trans. Image Process. 13, 600 (2004), eqs. (13)–(17).
///
/// ```
/// use exitwave::metrics::{SsimParams, ssim};
/// let a: Vec<f32> = (0..400).map(|i| (i % 7) as f32 / 6.0).collect();
/// assert!((ssim(&a, &a, [20, 20], &SsimParams::default())?.mean - 1.0).abs() < 1e-14);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn ssim<T: Real>(a: &[T], b: &[T], dims: [usize; 2], params: &SsimParams) -> Result<Ssim, Error> {
    check::dims("ssim", &dims, a.len())?;
    check::dims("ssim", &dims, b.len())?;
    let (a, b) = (check::finite("a", a)?, check::finite("b", b)?);
    let kernel = params.kernel(dims)?;
    let (luminance, structure, size) = components(&a, &b, dims, &kernel, params);
    let map: Vec<f64> = luminance.iter().zip(&structure).map(|(l, cs)| l * cs).collect();
    let mean = map.iter().sum::<f64>() / map.len() as f64;
    if !mean.is_finite() {
        return Err(Error::NotFinite { node: "ssim: squares of the values".into(), step: 0 });
    }
    Ok(Ssim { mean, map: Tensor::from_vec(&size, map)? })
}

impl SsimParams {
    /// The weights along one axis, which sum to 1.
    pub(super) fn kernel(&self, dims: [usize; 2]) -> Result<Vec<f64>, Error> {
        for (name, v) in [("data_range", self.data_range), ("k1", self.k1), ("k2", self.k2)] {
            if !(v > 0.0 && v.is_finite()) {
                return Err(Error::param(name, v, "a positive finite number"));
            }
        }
        let largest = dims[0].min(dims[1]);
        let size = match self.window {
            SsimWindow::Uniform(n) if n % 2 == 1 => n,
            SsimWindow::Uniform(n) => return Err(Error::param("window", n, "an odd number of pixels")),
            // The cut-off keeps the cast small; a window of that size is refused below.
            SsimWindow::Gaussian(s) if s > 0.0 && s.is_finite() => 2 * (3.5 * s.min(1e9) + 0.5) as usize + 1,
            SsimWindow::Gaussian(s) => return Err(Error::param("window", s, "a positive standard deviation")),
        };
        if size > largest || size < 3 {
            return Err(Error::param("window", format!("{size} pixels"), "at least 3 pixels, at most the image"));
        }
        let weight = |i: usize| match self.window {
            SsimWindow::Uniform(_) => 1.0,
            SsimWindow::Gaussian(s) => (-0.5 * ((i as f64 - (size / 2) as f64) / s).powi(2)).exp(),
        };
        let sum: f64 = (0..size).map(weight).sum();
        Ok((0..size).map(|i| weight(i) / sum).collect())
    }
}

/// The luminance factor (2 µa µb + C₁)/(µa² + µb² + C₁) and the contrast–structure factor (2 σab + C₂)/(σa² + σb² +
/// C₂), over the pixels whose window lies within the image, and the dimensions of that region.
pub(super) fn components(
    a: &[f64],
    b: &[f64],
    dims: [usize; 2],
    kernel: &[f64],
    params: &SsimParams,
) -> (Vec<f64>, Vec<f64>, [usize; 2]) {
    // Variances do not depend on a constant, but lose digits with it: it is taken away first.
    let centre = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ca, cb) = (centre(a), centre(b));
    let filter = |f: &dyn Fn(f64, f64) -> f64| {
        let x: Vec<f64> = a.iter().zip(b).map(|(a, b)| f(a - ca, b - cb)).collect();
        filter_valid(&x, dims, kernel)
    };
    let (mean_a, mean_b) = (filter(&|a, _| a), filter(&|_, b| b));
    let (aa, bb, ab) = (filter(&|a, _| a * a), filter(&|_, b| b * b), filter(&|a, b| a * b));

    let n = (kernel.len() * kernel.len()) as f64;
    let scale = if params.covariance == Covariance::Sample { n / (n - 1.0) } else { 1.0 };
    let (c1, c2) = ((params.k1 * params.data_range).powi(2), (params.k2 * params.data_range).powi(2));
    let mut luminance = Vec::with_capacity(aa.len());
    let mut structure = Vec::with_capacity(aa.len());
    for i in 0..aa.len() {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (var_a, var_b, cov) =
            (scale * (aa[i] - ma * ma).max(0.0), scale * (bb[i] - mb * mb).max(0.0), scale * (ab[i] - ma * mb));
        let (mu_a, mu_b) = (ma + ca, mb + cb);
        luminance.push((2.0 * mu_a * mu_b + c1) / (mu_a * mu_a + mu_b * mu_b + c1));
        structure.push((2.0 * cov + c2) / (var_a + var_b + c2));
    }
    (luminance, structure, [dims[0] + 1 - kernel.len(), dims[1] + 1 - kernel.len()])
}

/// x (ny, nx) convolved with the symmetric kernel along both axes, where it lies within: (ny − s + 1, nx − s + 1).
fn filter_valid(x: &[f64], [ny, nx]: [usize; 2], kernel: &[f64]) -> Vec<f64> {
    let s = kernel.len();
    let (my, mx) = (ny + 1 - s, nx + 1 - s);
    let mut rows = vec![0.0; ny * mx];
    for (row, out) in x.chunks(nx).zip(rows.chunks_mut(mx)) {
        for (j, k) in kernel.iter().enumerate() {
            out.iter_mut().zip(&row[j..]).for_each(|(o, x)| *o += k * x);
        }
    }
    let mut y = vec![0.0; my * mx];
    for (i, out) in y.chunks_mut(mx).enumerate() {
        for (j, k) in kernel.iter().enumerate() {
            out.iter_mut().zip(&rows[(i + j) * mx..]).for_each(|(o, x)| *o += k * x);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| rng::uniform(&mut r)).collect()
    }

    /// The definition, window by window.
    fn naive(a: &[f64], b: &[f64], [ny, nx]: [usize; 2], p: &SsimParams) -> f64 {
        let k = p.kernel([ny, nx]).unwrap();
        let s = k.len();
        let (c1, c2) = ((p.k1 * p.data_range).powi(2), (p.k2 * p.data_range).powi(2));
        let (mut sum, mut count) = (0.0, 0.0);
        for y0 in 0..=ny - s {
            for x0 in 0..=nx - s {
                let at: Vec<(f64, usize)> =
                    (0..s * s).map(|i| (k[i / s] * k[i % s], (y0 + i / s) * nx + x0 + i % s)).collect();
                let mean = |x: &[f64]| at.iter().map(|&(w, i)| w * x[i]).sum::<f64>();
                let (ma, mb) = (mean(a), mean(b));
                let n = (s * s) as f64;
                let f = if p.covariance == Covariance::Sample { n / (n - 1.0) } else { 1.0 };
                let cov = |x: &[f64], mx: f64, y: &[f64], my: f64| {
                    f * at.iter().map(|&(w, i)| w * (x[i] - mx) * (y[i] - my)).sum::<f64>()
                };
                sum += (2.0 * ma * mb + c1) * (2.0 * cov(a, ma, b, mb) + c2)
                    / ((ma * ma + mb * mb + c1) * (cov(a, ma, a, ma) + cov(b, mb, b, mb) + c2));
                count += 1.0;
            }
        }
        sum / count
    }

    #[test]
    fn the_separable_filter_agrees_with_the_definition() {
        for (window, covariance, dims) in [
            (SsimWindow::Uniform(7), Covariance::Sample, [12, 9]),
            (SsimWindow::Uniform(3), Covariance::Population, [3, 5]),
            (SsimWindow::Gaussian(1.5), Covariance::Population, [11, 17]),
            (SsimWindow::Gaussian(0.8), Covariance::Sample, [10, 8]),
        ] {
            let p = SsimParams { window, covariance, ..SsimParams::default() };
            let n = dims[0] * dims[1];
            let (a, b) = (noise(n, 1), noise(n, 2));
            let got = ssim(&a, &b, dims, &p).unwrap();
            assert!((got.mean - naive(&a, &b, dims, &p)).abs() < 1e-13, "{window:?}");
            let s = p.kernel(dims).unwrap().len();
            assert_eq!(got.map.dims(), [dims[0] + 1 - s, dims[1] + 1 - s]);
        }
    }

    #[test]
    fn a_large_constant_does_not_cost_digits_of_the_variance() {
        let p = SsimParams { k1: 1e-9, ..SsimParams::default() };
        let (a, b) = (noise(400, 1), noise(400, 2));
        let lift = |x: &[f64]| x.iter().map(|v| v + 1e6).collect::<Vec<_>>();
        let (la, lb) = (lift(&a), lift(&b));
        let kernel = p.kernel([20, 20]).unwrap();
        let (_, low, _) = components(&a, &b, [20, 20], &kernel, &p);
        let (_, high, _) = components(&la, &lb, [20, 20], &kernel, &p);
        // The numbers 1e6 + x themselves are rounded to 1e-10.
        assert!(low.iter().zip(&high).all(|(l, h)| (l - h).abs() < 1e-7));
    }

    #[test]
    fn impossible_windows_are_errors() {
        let a = noise(100, 1);
        for window in [
            SsimWindow::Uniform(4),
            SsimWindow::Uniform(11),
            SsimWindow::Uniform(1),
            SsimWindow::Gaussian(2.0),
            SsimWindow::Gaussian(-1.0),
            SsimWindow::Gaussian(f64::NAN),
            SsimWindow::Gaussian(1e300),
        ] {
            let p = SsimParams { window, ..SsimParams::default() };
            assert!(matches!(ssim(&a, &a, [10, 10], &p), Err(Error::Param { .. })), "{window:?}");
        }
        let p = SsimParams { data_range: 0.0, ..SsimParams::default() };
        assert!(ssim(&a, &a, [10, 10], &p).is_err());
        assert!(matches!(ssim(&a, &a, [10, 11], &SsimParams::default()), Err(Error::Shape { .. })));
    }
}
