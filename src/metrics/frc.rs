//! Fourier ring correlation of images and Fourier shell correlation of volumes.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, Fft3};
use crate::metrics::rings::Rings;
use crate::metrics::{CorrelationCurve, Window, check};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::units::{Length, SpatialFrequency};

/// Rings are never trusted beyond this fraction of Nyquist.
const TRUSTED: f64 = 2.0 / 3.0;

/// Parameters of a [`RingCorrelation`].
#[derive(Clone, Debug)]
pub struct FrcParams {
    /// Distances `[y, x]` between pixels; they may differ.
    pub pixel: [Length; 2],
    /// Taper towards the edges, for images that are not periodic.
    pub window: Window,
    /// Highest frequency of the data, if lower than that of the image (an up-sampled image). The resolution is not
    /// quoted beyond ⅔ of it.
    pub data_nyquist: Option<SpatialFrequency>,
    /// Memory that one evaluation may use.
    pub limits: Limits,
}

/// Pixels of 1 Å, no window.
impl Default for FrcParams {
    fn default() -> Self {
        FrcParams {
            pixel: [Length::angstrom(1.0); 2],
            window: Window::None,
            data_nyquist: None,
            limits: Limits::default(),
        }
    }
}

/// Parameters of a [`ShellCorrelation`].
#[derive(Clone, Debug)]
pub struct FscParams {
    /// Distances `[z, y, x]` between voxels; they may differ.
    pub voxel: [Length; 3],
    /// Taper towards the faces.
    pub window: Window,
    /// Highest frequency of the data, if lower than that of the volume.
    pub data_nyquist: Option<SpatialFrequency>,
    /// Memory that one evaluation may use.
    pub limits: Limits,
    /// Threads of the transforms.
    pub par: Par,
}

/// Voxels of 1 Å, no window, all cores.
impl Default for FscParams {
    fn default() -> Self {
        FscParams {
            voxel: [Length::angstrom(1.0); 3],
            window: Window::None,
            data_nyquist: None,
            limits: Limits::default(),
            par: Par::default(),
        }
    }
}

/// Fourier ring correlation of two images, real or complex:
///
/// ```text
/// FRC(i) = Σ A B̄ / √(Σ|A|² Σ|B|²),   sums over the points k of the spectra with round(|k|/Δk) = i
/// ```
///
/// Ring i stands at the frequency iΔk; Δk is the frequency step 1/(n d) of the axis where it is coarser, and the last
/// ring is the last within the smaller Nyquist frequency.
///
/// # What is compared
/// - **Two reconstructions of half of the data each**: the curve says what is reproducible. Thresholds for this are ½
///   bit, 1 bit and 1/7 ([`Threshold`](crate::metrics::Threshold), `Split::Halves`); the halves must share nothing (no
///   common starting guess that survives, no common mask edge).
/// - **A reconstruction and the truth** of a simulation: the curve says what is right. The threshold is ½ by
///   convention, which all data reach where their halves reach 1/7.
///
/// # Notes
/// 1. For real images the sum Σ A B̄ is real (Friedel), and keeps its sign: images of inverted contrast correlate by
///    −1. For complex images, whose common phase is arbitrary, the modulus is taken.
/// 2. A window fades the images to their (weighted) means, not to zero, so that the mean does not appear in other
///    rings. It also lowers the number of independent samples, by (Σw²)²/(N Σw⁴), which the thresholds use.
/// 3. A ring that holds no more power than the rounding of the transform in either image correlates by 0.
///
/// # References
/// - W. O. Saxton, W. Baumeister, J. Microsc. 127, 127 (1982).
/// - M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. (1).
///
/// ```
/// use exitwave::metrics::{FrcParams, Resolution, RingCorrelation, Split, Threshold};
/// use exitwave::units::Length;
/// let image: Vec<f32> = (0..64 * 48).map(|i| ((i * i) % 101) as f32).collect();
/// let frc = RingCorrelation::new([64, 48], FrcParams { pixel: [Length::angstrom(0.5); 2], ..FrcParams::default() })?;
/// let curve = frc.real(&image, &image)?;
/// assert!(curve.correlation.iter().all(|f| (f - 1.0).abs() < 1e-12));
/// // Nyquist is 1/Å; ⅔ of it is all that may be claimed.
/// let r = curve.resolution(Threshold::HalfBit(Split::Halves));
/// assert!(matches!(r, Resolution::BetterThan(d) if (d.to_angstrom() - 1.5).abs() < 1e-12));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RingCorrelation {
    fft: Fft2<f64>,
    rings: Rings,
    window: Window,
    limit: f64,
    limits: Limits,
}

impl RingCorrelation {
    /// A plan for images of `dims` = `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for fewer than 2 points on an axis, pixels or a data Nyquist frequency that are not positive
    /// and finite, or an impossible window; [`Error::OverBudget`].
    pub fn new(dims: [usize; 2], params: FrcParams) -> Result<Self, Error> {
        let rings = Rings::new(&dims, &params.pixel.map(|d| d.to_angstrom()))?;
        params.window.weights(2)?;
        let limit = trusted(&rings, params.data_nyquist)?;
        params.limits.check(bytes(&dims, params.window)?)?;
        Ok(RingCorrelation { fft: Fft2::new(dims)?, rings, window: params.window, limit, limits: params.limits })
    }

    /// Bytes that one evaluation allocates.
    pub fn workspace_bytes(&self) -> u64 {
        bytes(&self.fft.dims(), self.window).unwrap_or(u64::MAX)
    }

    /// The correlation of two real images.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Data`] for a value that is not finite, [`Error::OutOfMemory`].
    pub fn real<T: Real>(&self, a: &[T], b: &[T]) -> Result<CorrelationCurve, Error> {
        self.run(Kind::Real, &check::finite("a", a)?, &check::finite("b", b)?, |&x| Complex::new(x, 0.0))
    }

    /// The correlation of two complex images; it does not depend on the phase of either.
    ///
    /// # Errors
    /// As [`RingCorrelation::real`].
    pub fn complex<T: Real>(&self, a: &[Complex<T>], b: &[Complex<T>]) -> Result<CorrelationCurve, Error> {
        self.run(Kind::Complex, &check::finite_complex("a", a)?, &check::finite_complex("b", b)?, |&x| x)
    }

    fn run<E>(&self, kind: Kind, a: &[E], b: &[E], widen: fn(&E) -> Complex<f64>) -> Result<CorrelationCurve, Error> {
        self.limits.check(self.workspace_bytes())?;
        let mut scratch = try_zeroed(self.fft.scratch_len())?;
        let dims = self.fft.dims();
        let job =
            Job { op: "RingCorrelation", dims: &dims, rings: &self.rings, window: self.window, limit: self.limit };
        job.run(kind, a, b, widen, &mut |x| self.fft.forward(x, &mut scratch))
    }
}

/// Fourier shell correlation of two volumes, real or complex: as [`RingCorrelation`], over shells in three dimensions.
///
/// # References
/// - G. Harauz, M. van Heel, Optik 73, 146 (1986).
/// - M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. (1).
#[derive(Clone, Debug)]
pub struct ShellCorrelation {
    fft: Fft3<f64>,
    rings: Rings,
    window: Window,
    limit: f64,
    limits: Limits,
}

impl ShellCorrelation {
    /// A plan for volumes of `dims` = `[nz, ny, nx]`.
    ///
    /// # Errors
    /// As [`RingCorrelation::new`].
    pub fn new(dims: [usize; 3], params: FscParams) -> Result<Self, Error> {
        let rings = Rings::new(&dims, &params.voxel.map(|d| d.to_angstrom()))?;
        params.window.weights(2)?;
        let limit = trusted(&rings, params.data_nyquist)?;
        params.limits.check(bytes(&dims, params.window)?)?;
        let fft = Fft3::new(dims, params.par)?;
        Ok(ShellCorrelation { fft, rings, window: params.window, limit, limits: params.limits })
    }

    /// Bytes that one evaluation allocates, without the few planes of scratch that each thread adds.
    pub fn workspace_bytes(&self) -> u64 {
        bytes(&self.fft.dims(), self.window).unwrap_or(u64::MAX)
    }

    /// The correlation of two real volumes.
    ///
    /// # Errors
    /// As [`RingCorrelation::real`].
    pub fn real<T: Real>(&self, a: &[T], b: &[T]) -> Result<CorrelationCurve, Error> {
        self.run(Kind::Real, &check::finite("a", a)?, &check::finite("b", b)?, |&x| Complex::new(x, 0.0))
    }

    /// The correlation of two complex volumes; it does not depend on the phase of either.
    ///
    /// # Errors
    /// As [`RingCorrelation::real`].
    pub fn complex<T: Real>(&self, a: &[Complex<T>], b: &[Complex<T>]) -> Result<CorrelationCurve, Error> {
        self.run(Kind::Complex, &check::finite_complex("a", a)?, &check::finite_complex("b", b)?, |&x| x)
    }

    fn run<E>(&self, kind: Kind, a: &[E], b: &[E], widen: fn(&E) -> Complex<f64>) -> Result<CorrelationCurve, Error> {
        self.limits.check(self.workspace_bytes())?;
        let mut scratch = try_zeroed(self.fft.scratch_len())?;
        let dims = self.fft.dims();
        let job =
            Job { op: "ShellCorrelation", dims: &dims, rings: &self.rings, window: self.window, limit: self.limit };
        job.run(kind, a, b, widen, &mut |x| self.fft.forward(x, &mut scratch))
    }
}

/// Whether Σ A B̄ keeps its sign.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Real,
    Complex,
}

/// What rings and shells have in common.
struct Job<'a> {
    op: &'static str,
    dims: &'a [usize],
    rings: &'a Rings,
    window: Window,
    limit: f64,
}

impl Job<'_> {
    fn run<E>(
        &self,
        kind: Kind,
        a: &[E],
        b: &[E],
        widen: fn(&E) -> Complex<f64>,
        forward: &mut dyn FnMut(&mut [Complex<f64>]),
    ) -> Result<CorrelationCurve, Error> {
        check::dims(self.op, self.dims, a.len())?;
        check::dims(self.op, self.dims, b.len())?;
        let w = match self.window {
            Window::None => None,
            window => Some(window.array(self.dims)?),
        };
        let mut spectrum = |x: &[E]| -> Result<Vec<Complex<f64>>, Error> {
            let mut y: Vec<Complex<f64>> = try_zeroed(x.len())?;
            y.iter_mut().zip(x).for_each(|(y, x)| *y = widen(x));
            if let Some(w) = &w {
                taper(&mut y, w);
            }
            forward(&mut y);
            Ok(y)
        };
        let (a, b) = (spectrum(a)?, spectrum(b)?);
        let (sums, total) = self.rings.sums(&a, &b);
        if !(total[0].is_finite() && total[1].is_finite()) {
            return Err(Error::Data { what: "the power of the spectrum overflows".into(), index: 0 });
        }

        // (Σw²)²/(N Σw⁴): the part of the samples that stay independent under the window.
        let independent = w.as_ref().map_or(1.0, |w| {
            let moment = |p: i32| w.iter().map(|w| w.powi(p)).sum::<f64>();
            moment(2).powi(2) / (w.len() as f64 * moment(4))
        });
        // A transform is off by a few ε times its norm; spread evenly, this is the power of a ring that holds nothing.
        let rounding = (16.0 * f64::EPSILON).powi(2) / a.len() as f64;
        let correlation = sums.iter().map(|s| {
            let floor = rounding * s.n as f64;
            if s.a <= floor * total[0] || s.b <= floor * total[1] {
                return 0.0;
            }
            let cross = if kind == Kind::Real { s.cross.re } else { s.cross.norm() };
            (cross / (s.a.sqrt() * s.b.sqrt())).clamp(-1.0, 1.0)
        });
        let frequency = |i: usize| SpatialFrequency::per_angstrom(i as f64 * self.rings.width);
        Ok(CorrelationCurve {
            frequency: (0..self.rings.count).map(frequency).collect(),
            correlation: correlation.collect(),
            samples: sums.iter().map(|s| s.n).collect(),
            independent: sums.iter().map(|s| independent * s.n as f64).collect(),
            nyquist: SpatialFrequency::per_angstrom(self.rings.nyquist),
            limit: SpatialFrequency::per_angstrom(self.limit),
        })
    }
}

/// w (x − m) + m with the weighted mean m: the edges fade to the mean, and the zero frequency stays N m.
fn taper(x: &mut [Complex<f64>], w: &[f64]) {
    let m = x.iter().zip(w).map(|(x, w)| x * w).sum::<Complex<f64>>() / w.iter().sum::<f64>();
    x.iter_mut().zip(w).for_each(|(x, w)| *x = (*x - m) * w + m);
}

/// The highest frequency that may be quoted, in 1/Å.
fn trusted(rings: &Rings, data_nyquist: Option<SpatialFrequency>) -> Result<f64, Error> {
    match data_nyquist {
        Some(k) if !(k > SpatialFrequency::ZERO && k.is_finite()) => {
            Err(Error::param("data_nyquist", k, "a positive finite frequency"))
        }
        Some(k) => Ok(TRUSTED * rings.nyquist.min(k.to_per_angstrom())),
        None => Ok(TRUSTED * rings.nyquist),
    }
}

/// The two arrays as `f64` or complex, their spectra, the scratch of the transform (an array and some rows), and the
/// window.
fn bytes(dims: &[usize], window: Window) -> Result<u64, Error> {
    let words: u64 = if window == Window::None { 12 } else { 13 };
    Ok((checked_len(dims)? as u64).saturating_mul(8 * words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_ring_correlates_by_zero() {
        // One frequency, ring 3: all others hold rounding only.
        let x: Vec<f64> = (0..256).map(|i| (std::f64::consts::TAU * 3.0 * f64::from(i % 16) / 16.0).cos()).collect();
        let curve = RingCorrelation::new([16, 16], FrcParams::default()).unwrap().real(&x, &x).unwrap();
        for (i, f) in curve.correlation.iter().enumerate() {
            assert_eq!(f.round(), if i == 3 { 1.0 } else { 0.0 }, "ring {i}");
        }
    }

    #[test]
    fn a_taper_keeps_the_mean_and_flattens_the_edge() {
        let w = Window::Hann.array(&[9, 8]).unwrap();
        let mut x: Vec<Complex<f64>> = (0..72).map(|i| Complex::new(100.0 + f64::from(i % 5), f64::from(i))).collect();
        taper(&mut x, &w);
        let m = x.iter().sum::<Complex<f64>>() / 72.0;
        assert!((x[0] - m).norm() < 1.0, "{} {m}", x[0]);
        let constant = vec![Complex::new(7.0, 0.0); 72];
        let mut y = constant.clone();
        taper(&mut y, &w);
        assert!(y.iter().zip(&constant).all(|(a, b)| (a - b).norm() < 1e-14));
    }

    #[test]
    fn bad_input_is_an_error() {
        let plan = RingCorrelation::new([4, 5], FrcParams::default()).unwrap();
        assert!(matches!(plan.real(&[0.0; 19], &[0.0; 20]), Err(Error::Shape { .. })));
        assert!(matches!(plan.real(&[f32::NAN; 20], &[0.0; 20]), Err(Error::Data { index: 0, .. })));
        let tight = FrcParams { limits: Limits { bytes: 100 }, ..FrcParams::default() };
        assert!(matches!(RingCorrelation::new([64, 64], tight), Err(Error::OverBudget { .. })));
        let window = FrcParams { window: Window::CosineEdge(2.0), ..FrcParams::default() };
        assert!(matches!(RingCorrelation::new([64, 64], window), Err(Error::Param { .. })));
        let k = FrcParams { data_nyquist: Some(SpatialFrequency::ZERO), ..FrcParams::default() };
        assert!(matches!(RingCorrelation::new([64, 64], k), Err(Error::Param { .. })));
        assert!(ShellCorrelation::new([1, 8, 8], FscParams::default()).is_err());
        // A huge volume is refused by its limit, before anything is allocated.
        let limits = Limits { bytes: 1 << 30 };
        let huge = FscParams { limits, par: Par::seq(), ..FscParams::default() };
        assert!(matches!(ShellCorrelation::new([1 << 20, 1 << 20, 1 << 20], huge), Err(Error::OverBudget { .. })));
    }
}
