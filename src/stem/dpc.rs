//! DPC: the centre of mass from a few segments.

use crate::error::Error;
use crate::stem::centre::check_pattern;
use crate::stem::{Com, DataSet, Detector, Edge};
use crate::tensor::Tensor;

/// Parameters of [`Dpc`].
#[derive(Clone, Debug, PartialEq)]
pub struct DpcParams {
    /// The segments: [`Detector::Segments`], or several detectors that see the edge of the bright-field disk from
    /// different sides.
    pub detectors: Vec<Detector>,
    /// How their edges cut pixels.
    pub edge: Edge,
    /// Electrons that one count stands for.
    pub electrons_per_count: f64,
}

impl Default for DpcParams {
    fn default() -> Self {
        DpcParams { detectors: Vec::new(), edge: Edge::default(), electrons_per_count: 1.0 }
    }
}

/// Estimates the beam's deflection δ from the counts in segments, calibrated by the mean pattern M.
///
/// A phase that varies slowly over the probe shifts the pattern rigidly. Segment s, with weights w_s, then sees the
/// fraction
///
/// ```text
/// f_s(δ) = Σ_k w_s(k) M(k − δ) / ΣM ≈ p_s + J_s·δ,     J_s = −Σ_k w_s ∇M / ΣM      (central differences)
/// C_st = Σ_k w_s w_t M / ΣM − p_s p_t                     (covariance of one electron)
/// ```
///
/// of the electrons, and the best linear unbiased estimate is δ = B (f − p) with B = (JᵀWJ)⁻¹ JᵀW, W = 1/p_s, of
/// covariance B C Bᵀ/N. For four quadrants on a uniform disk of radius α/λ this is the textbook δ_x = (π α/2√2
/// λ)(f_{+x} − f_{−x}). No radius has to be known. The result is a [`Com`], and [`crate::stem::Icom`] integrates it:
/// that is iDPC.
///
/// Note 1: for features as small as the probe the pattern is not shifted rigidly; DPC then transfers contrast less
/// evenly than the centre of mass does.
///
/// # References
/// N. H. Dekkers, H. de Lang, Optik 41, 452 (1974): split detectors. I. Lazić, E. G. T. Bosch, S. Lazar,
/// Ultramicroscopy 160, 265 (2016), section 3: iDPC.
#[derive(Debug)]
pub struct Dpc {
    data: DataSet,
    electrons_per_count: f64,
    /// p_s.
    p: Vec<f64>,
    /// Rows of B in 1/Å, y then x.
    b: [Vec<f64>; 2],
    /// B C Bᵀ in 1/Å²: [yy, xx, xy].
    covariance: [f64; 3],
}

impl Dpc {
    /// Calibrates the segments on a mean pattern `[det_y, det_x]`, such as [`crate::stem::Analysis::mean`], or a
    /// pattern without specimen.
    ///
    /// # Errors
    /// - those of [`Detector::weights`], and [`Error::Param`] for `electrons_per_count` not positive and finite,
    /// - [`Error::Shape`] for a pattern of another size, [`Error::Data`] for one with values that are negative or not
    ///   finite,
    /// - [`Error::Param`] when the segments do not see the disk's edge from all sides: the deflection cannot be told.
    pub fn new(data: &DataSet, pattern: &Tensor<f64>, params: &DpcParams) -> Result<Self, Error> {
        let dims = check_pattern(pattern)?;
        if dims != data.detector() {
            return Err(Error::shape("Dpc: pattern", &data.detector(), &dims));
        }
        if !(params.electrons_per_count > 0.0 && params.electrons_per_count.is_finite()) {
            return Err(Error::param("electrons_per_count", params.electrons_per_count, "a positive, finite number"));
        }
        let m = pattern.as_slice();
        let total: f64 = m.iter().sum();
        if total <= 0.0 {
            return Err(Error::Data { what: "pattern without counts".into(), index: 0 });
        }
        let mut weights: Vec<Vec<f32>> = Vec::new();
        for d in &params.detectors {
            let w = d.weights(data, params.edge)?;
            weights.extend((0..d.channels()).map(|c| w.row(c).to_vec()));
        }
        let n = weights.len();
        let mean = |f: &dyn Fn(usize) -> f64| (0..m.len()).map(f).sum::<f64>() / total;
        let p: Vec<f64> = weights.iter().map(|w| mean(&|k| f64::from(w[k]) * m[k])).collect();
        let dk = data.calibration().pixel_frequency().map(|k| k.to_per_angstrom());
        let j: [Vec<f64>; 2] = std::array::from_fn(|axis| {
            weights.iter().map(|w| -mean(&|k| f64::from(w[k]) * slope(m, dims, k, axis)) / dk[axis]).collect()
        });

        // JᵀWJ, 2 × 2. Segments that see nothing carry no weight.
        let w = |s: usize| if p[s] > 1e-12 { 1.0 / p[s] } else { 0.0 };
        let dot = |a: &[f64], b: &[f64]| (0..n).map(|s| w(s) * a[s] * b[s]).sum::<f64>();
        let (yy, xx, xy) = (dot(&j[0], &j[0]), dot(&j[1], &j[1]), dot(&j[0], &j[1]));
        let det = yy * xx - xy * xy;
        if det.is_nan() || det <= 1e-9 * yy * xx {
            return Err(Error::param("detectors", n, "segments on several sides of the bright-field disk's edge"));
        }
        let b = [
            (0..n).map(|s| w(s) * (xx * j[0][s] - xy * j[1][s]) / det).collect::<Vec<f64>>(),
            (0..n).map(|s| w(s) * (yy * j[1][s] - xy * j[0][s]) / det).collect::<Vec<f64>>(),
        ];
        let mut covariance = [0.0; 3];
        for s in 0..n {
            for t in 0..n {
                let c_st = mean(&|k| f64::from(weights[s][k]) * f64::from(weights[t][k]) * m[k]) - p[s] * p[t];
                covariance[0] += b[0][s] * c_st * b[0][t];
                covariance[1] += b[1][s] * c_st * b[1][t];
                covariance[2] += b[0][s] * c_st * b[1][t];
            }
        }
        Ok(Dpc { data: data.clone(), electrons_per_count: params.electrons_per_count, p, b, covariance })
    }

    /// Number of segments.
    pub fn channels(&self) -> usize {
        self.p.len()
    }

    /// The deflection, along the axes of the scan, from the images of the segments in their order and the counts of the
    /// whole frames.
    ///
    /// # Shapes
    /// `images` is `[segments, scan_y, scan_x]`, `sums` is `[scan_y, scan_x]`: [`crate::stem::Analysis::images`] of a
    /// pass with the same detectors, and [`crate::stem::Analysis::sums`]. A frame without counts has δ = 0 and weight
    /// 0.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes; [`Error::Data`] for a sum that is negative or not finite, or when all are 0.
    pub fn run(&self, images: &Tensor<f64>, sums: &Tensor<f64>) -> Result<Com, Error> {
        let [sy, sx] = self.data.scan();
        if *images.dims() != [self.channels(), sy, sx] {
            return Err(Error::shape("Dpc: images", &[self.channels(), sy, sx], images.dims()));
        }
        if *sums.dims() != [sy, sx] {
            return Err(Error::shape("Dpc: sums", &[sy, sx], sums.dims()));
        }
        if let Some(index) = sums.as_slice().iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(Error::Data { what: format!("counts of {}", sums.as_slice()[index]), index });
        }
        if sums.as_slice().iter().all(|&v| v == 0.0) {
            return Err(Error::Data { what: "no counts in any frame".into(), index: 0 });
        }
        let map = || Tensor::<f64>::zeros(&[sy, sx]);
        let mut com = Com { y: map(), x: map(), electrons: map(), var_yy: map(), var_xx: map(), var_xy: map() };
        let orientation = &self.data.calibration().orientation;
        let covariance = orientation.covariance_to_scan(self.covariance);
        for (i, &sum) in sums.as_slice().iter().enumerate() {
            let mut delta = [0.0; 2];
            if sum > 0.0 {
                for s in 0..self.channels() {
                    let f = images.row(s)[i] / sum - self.p[s];
                    delta[0] += self.b[0][s] * f;
                    delta[1] += self.b[1][s] * f;
                }
            }
            let [y, x] = orientation.to_scan(delta);
            let electrons = sum * self.electrons_per_count;
            com.y.as_mut_slice()[i] = y;
            com.x.as_mut_slice()[i] = x;
            com.electrons.as_mut_slice()[i] = electrons;
            com.var_yy.as_mut_slice()[i] = covariance[0].max(0.0) / electrons.max(1.0);
            com.var_xx.as_mut_slice()[i] = covariance[1].max(0.0) / electrons.max(1.0);
            com.var_xy.as_mut_slice()[i] = covariance[2] / electrons.max(1.0);
        }
        Ok(com)
    }
}

/// ∂M at pixel k, per pixel: central difference, with 0 outside.
fn slope(m: &[f64], [ny, nx]: [usize; 2], k: usize, axis: usize) -> f64 {
    let (at, n, stride) = if axis == 0 { (k / nx, ny, nx) } else { (k % nx, nx, 1) };
    let after = if at + 1 < n { m[k + stride] } else { 0.0 };
    let before = if at > 0 { m[k - stride] } else { 0.0 };
    0.5 * (after - before)
}
