//! iCOM: the phase whose gradient is the centre of mass.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::op::Write;
use crate::shape::{Limits, try_zeroed};
use crate::stem::noise::variance;
use crate::stem::{Boundary, Com, Gradient};
use crate::tensor::Tensor;
use crate::units::{Length, SpatialFrequency};

/// What is done about low frequencies, where noise in the centre of mass is amplified by 1/k.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LowFrequency {
    /// Nothing: w = 1. The least-squares inverse of the gradient.
    #[default]
    Keep,
    /// Left out smoothly: w = 1 − exp(−k²/2k₀²).
    HighPass(SpatialFrequency),
    /// Damped: w = k²/(k² + k₀²), which minimises ‖∇φ/2π − c‖² + k₀² ‖φ‖².
    Tikhonov(SpatialFrequency),
}

/// Parameters of [`Icom`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IcomParams {
    /// Scan step `[y, x]`.
    pub step: [Length; 2],
    /// How the scanned field goes on beyond its border.
    pub boundary: Boundary,
    /// What is done about low frequencies.
    pub low: LowFrequency,
    /// Frequencies above this are set to zero. Beyond twice the semi-angle over λ the probe transfers nothing but
    /// noise.
    pub band_limit: Option<SpatialFrequency>,
    /// Memory.
    pub limits: Limits,
}

impl Default for IcomParams {
    fn default() -> Self {
        IcomParams {
            step: [Length::angstrom(1.0); 2],
            boundary: Boundary::default(),
            low: LowFrequency::default(),
            band_limit: None,
            limits: Limits::default(),
        }
    }
}

/// A phase image and how far it can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseImage {
    /// φ in radians, `[scan_y, scan_x]`, of mean 0: positive where electrons are attracted.
    pub phase: Tensor<f64>,
    /// Standard deviation of φ in radians from the counting statistics of the centre of mass, `[scan_y, scan_x]`.
    pub std: Tensor<f64>,
    /// ‖c − ∇φ/2π‖² / ‖c‖²: what of the centre of mass φ does not explain. Noise, descan, a wrong orientation or
    /// centre.
    pub residual: f64,
}

/// Integrates a centre of mass to a phase.
///
/// On a thin object exp(iφ) the centre of mass is the gradient of the phase averaged over the probe's intensity, c(R) =
/// (1/2π) Σ_r |P(r − R)|² ∇φ(r), whatever its aberrations (these blur |P|²). Its least-squares integral, with weights w
/// for low frequencies,
///
/// ```text
/// φ = F⁻¹[ w(k) · (−i) (k·F c) / |k|² ],   φ(k = 0) = 0
/// ```
///
/// is |P|² ⋆ φ: the phase blurred by the probe (up to a constant), in radians, positive for a positive potential
/// (transmission exp(+iσV), wave e^{+2πi k·r}). With the mirror boundary F is the cosine transform for φ and the sine
/// transform for the component across.
///
/// # Shapes
/// Maps are `[scan_y, scan_x]`.
///
/// # Units
/// c in 1/Å along the axes of the scan; φ in radians.
///
/// # References
/// I. Lazić, E. G. T. Bosch, S. Lazar, Ultramicroscopy 160, 265 (2016), eqs. (18)–(21): iCOM and iDPC. The derivation
/// in the crate's conventions, and the error map, are in `docs/icom.md`.
///
/// ```
/// use exitwave::stem::{Boundary, Icom, IcomParams};
/// use exitwave::units::Length;
/// # use std::f64::consts::TAU;
/// // φ = cos(2π x/8), a step of 0.5 Å: c_x = −sin(2π x/8)/(8 · 0.5 Å).
/// let icom = Icom::new([4, 8], IcomParams { step: [Length::angstrom(0.5); 2], boundary: Boundary::Periodic, ..Default::default() })?;
/// let angle = |i: usize| TAU * (i % 8) as f64 / 8.0;
/// let c_x: Vec<f64> = (0..32).map(|i| -angle(i).sin() / 4.0).collect();
/// let (mut phi, mut scratch) = (vec![0.0; 32], vec![Default::default(); icom.scratch_len()]);
/// icom.integrate(&[0.0; 32], &c_x, &mut phi, &mut scratch);
/// assert!(phi.iter().enumerate().all(|(i, p)| (p - angle(i).cos()).abs() < 1e-12));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Icom {
    gradient: Gradient<f64>,
    /// 2π w/|m|² on the extended spectrum: what stands beside m̄ (see [`Gradient`]).
    filter: Vec<f64>,
}

impl Icom {
    /// Plans the integration of scans of `[ny, nx]` positions.
    ///
    /// # Errors
    /// - [`Error::Param`] for an empty scan, steps or frequencies that are not positive and finite,
    /// - [`Error::OverBudget`] when [`Icom::workspace_bytes`] exceeds the limits.
    pub fn new(scan: [usize; 2], params: IcomParams) -> Result<Self, Error> {
        let p = params;
        let positive = |name, k: SpatialFrequency| match k.is_finite() && k > SpatialFrequency::ZERO {
            true => Ok(k.to_per_angstrom()),
            false => Err(Error::param(name, k, "a positive, finite frequency")),
        };
        let weight: Box<dyn Fn(f64) -> f64> = match p.low {
            LowFrequency::Keep => Box::new(|_| 1.0),
            LowFrequency::HighPass(k0) => {
                let k0 = positive("low (HighPass)", k0)?;
                Box::new(move |k2| -(-0.5 * k2 / (k0 * k0)).exp_m1())
            }
            LowFrequency::Tikhonov(k0) => {
                let k0 = positive("low (Tikhonov)", k0)?;
                Box::new(move |k2| k2 / (k2 + k0 * k0))
            }
        };
        let k_max = p.band_limit.map(|k| positive("band_limit", k)).transpose()?.unwrap_or(f64::INFINITY);
        let images = if p.boundary == Boundary::Mirror { 4 } else { 1 };
        let points = (scan[0] as u64).saturating_mul(scan[1] as u64).saturating_mul(images);
        p.limits.check(points.saturating_mul(BYTES_PER_POINT))?;
        let gradient = Gradient::new(scan, p.step, p.boundary)?;
        let [ey, ex] = gradient.extended();
        let mut filter: Vec<f64> = try_zeroed(ey * ex)?;
        for (i, f) in filter.iter_mut().enumerate() {
            let m2 = gradient.symbol(i / ex, i % ex).norm_sqr();
            let k2 = m2 / (TAU * TAU);
            if m2 > 0.0 && k2 <= k_max * k_max {
                *f = TAU * weight(k2) / m2;
            }
        }
        Ok(Icom { gradient, filter })
    }

    /// `[ny, nx]`.
    pub fn scan(&self) -> [usize; 2] {
        self.gradient.dims()
    }

    /// Complex elements of scratch that [`Icom::integrate`] needs.
    pub fn scratch_len(&self) -> usize {
        self.gradient.complex_scratch_len()
    }

    /// Bytes that the plan and [`Icom::run`] hold together at most, without the maps that go in and out.
    pub fn workspace_bytes(&self) -> u64 {
        self.filter.len() as u64 * BYTES_PER_POINT
    }

    /// c ↦ φ, without allocation.
    ///
    /// # Panics
    /// - if a map does not have ny·nx elements,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn integrate(&self, c_y: &[f64], c_x: &[f64], phase: &mut [f64], scratch: &mut [Complex<f64>]) {
        let n = self.scan()[0] * self.scan()[1];
        check_len("Icom", "c_y", n, c_y.len());
        check_len("Icom", "c_x", n, c_x.len());
        check_len("Icom", "phase", n, phase.len());
        if scratch.len() < self.scratch_len() {
            crate::error::length_mismatch("Icom", "scratch", self.scratch_len(), scratch.len())
        }
        self.gradient.filtered_adjoint(c_y, c_x, &self.filter, phase, Write::Set, scratch);
    }

    /// Phase, error map and residual of a centre of mass along the axes of the scan.
    ///
    /// A constant c is the slope of a ramp. Periodic boundaries have no ramp and ignore it; mirrored ones integrate it
    /// like the rest, so where the centre of the detector is not known well, take off what does not belong to the
    /// specimen first: [`Com::without_mean`], or [`crate::stem::Descan`].
    ///
    /// The error map is exact for periodic boundaries. With mirrored ones it is exact where the variance of the centre
    /// of mass is the same everywhere, and interpolates between those cases where it is not.
    ///
    /// # Errors
    /// [`Error::Shape`] for maps of another size, [`Error::Data`] for a value that is not finite or a negative
    /// variance.
    pub fn run(&self, com: &Com) -> Result<PhaseImage, Error> {
        let scan = self.scan();
        for map in [&com.y, &com.x, &com.electrons, &com.var_yy, &com.var_xx, &com.var_xy] {
            if *map.dims() != scan {
                return Err(Error::shape("Icom", &scan, map.dims()));
            }
            if let Some(index) = map.as_slice().iter().position(|v| !v.is_finite()) {
                return Err(Error::Data { what: "centre of mass, or its variance, that is not finite".into(), index });
            }
        }
        for map in [&com.electrons, &com.var_yy, &com.var_xx] {
            if let Some(index) = map.as_slice().iter().position(|v| *v < 0.0) {
                return Err(Error::Data { what: "negative variance or number of electrons".into(), index });
            }
        }
        let mut phase = Tensor::zeros(&scan);
        let mut scratch: Vec<Complex<f64>> = try_zeroed(self.scratch_len())?;
        let (c_y, c_x) = (com.y.as_slice(), com.x.as_slice());
        self.integrate(c_y, c_x, phase.as_mut_slice(), &mut scratch);
        let rest = self.misfit(c_y, c_x, phase.as_slice(), &mut scratch);
        let energy = |c: &[f64]| c.iter().map(|v| v * v).sum::<f64>();
        let total = energy(c_y) + energy(c_x);
        let residual = if total > 0.0 { energy(&rest) / total } else { 0.0 };
        drop(scratch);
        let std = variance(&self.gradient, &self.filter, com)?.map(|v| v.sqrt());
        Ok(PhaseImage { phase, std, residual })
    }

    /// c − ∇φ/2π, (2, ny, nx).
    fn misfit(&self, c_y: &[f64], c_x: &[f64], phase: &[f64], scratch: &mut [Complex<f64>]) -> Vec<f64> {
        use crate::op::LinearOp;
        let n = c_y.len();
        let mut g = vec![0.0; 2 * n];
        self.gradient.apply(phase, &mut g, Write::Set, bytemuck::cast_slice_mut(scratch));
        for i in 0..n {
            g[i] = c_y[i] - g[i] / TAU;
            g[n + i] = c_x[i] - g[n + i] / TAU;
        }
        g
    }

    /// (1 − P) c: the part of a field that is no gradient, (2, ny, nx).
    pub(crate) fn curl_part(&self, c_y: &[f64], c_x: &[f64]) -> Vec<f64> {
        let mut phase = vec![0.0; c_y.len()];
        let mut scratch = vec![Complex::default(); self.scratch_len()];
        self.integrate(c_y, c_x, &mut phase, &mut scratch);
        self.misfit(c_y, c_x, &phase, &mut scratch)
    }
}

/// Bytes for each point of the extended field: the filter, and three complex fields with the scratch of the transform
/// beside them while the error map is made.
const BYTES_PER_POINT: u64 = 8 + 16 * 5;
