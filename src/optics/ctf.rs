//! The contrast transfer function of the lens.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::optics::constants::checked_wavelength;
use crate::optics::{
    Aberrations, Aperture, Chi, Coherence, Constants, FocalSpread, Grid, SourceAngle, coupled_envelope,
    spatial_envelope, temporal_envelope,
};
use crate::real::{Real, cis};
use crate::shape::try_zeroed;
use crate::tensor::Tensor;
use crate::units::{Angle, Energy, SpatialFrequency};

/// What a transfer function depends on. The default is an ideal lens at 300 keV.
#[derive(Clone, Debug)]
pub struct CtfParams {
    /// Beam energy.
    pub energy: Energy,
    /// Aberrations of the lens.
    pub aberrations: Aberrations,
    /// Aperture in the back focal plane.
    pub aperture: Aperture,
    /// Spread of focus.
    pub focal_spread: FocalSpread,
    /// Spread of beam directions.
    pub source_angle: SourceAngle,
    /// How the two spreads are combined.
    pub coherence: Coherence,
    /// Constants behind the wavelength; an older adjustment only for comparisons.
    pub constants: Constants,
}

impl Default for CtfParams {
    fn default() -> Self {
        CtfParams {
            energy: Energy::kev(300.0),
            aberrations: Aberrations::default(),
            aperture: Aperture::Open,
            focal_spread: FocalSpread::ZERO,
            source_angle: SourceAngle::ZERO,
            coherence: Coherence::Separable,
            constants: Constants::default(),
        }
    }
}

/// The transfer function of a lens: what a plane wave component of the exit wave is multiplied by on its way to the
/// image.
///
/// `T(k) = A(k) E(k) exp(−iχ(k))`
///
/// A weak phase object φ then has the image contrast `2 φ(k) Im T̄(k) = 2 φ(k) A E sin χ`, a weak amplitude object −μ
/// the contrast `−2 μ(k) Re T(k) = −2 μ(k) A E cos χ`.
///
/// # Shapes
/// Spectra `[ny, nx]`, zero frequency at index 0.
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), chapter 3.
///
/// # Examples
/// ```
/// use exitwave::optics::{Aberrations, Ctf, CtfParams, Grid};
/// use exitwave::units::{Energy, Length};
/// let mut aberrations = Aberrations::from_defocus(Length::nm(58.0));
/// aberrations.set_cs(Length::mm(1.2));
/// let ctf = Ctf::new(&CtfParams { energy: Energy::kev(200.0), aberrations, ..Default::default() })?;
/// let t = ctf.spectrum::<f32>(&Grid { dims: [64, 64], sampling: [Length::angstrom(0.8); 2] })?;
/// assert_eq!(t[[0, 0]].re, 1.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ctf {
    chi: Chi,
    aperture: Aperture,
    delta: f64,
    theta: f64,
    coherence: Coherence,
}

impl Ctf {
    /// The transfer function of these parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range.
    pub fn new(params: &CtfParams) -> Result<Self, Error> {
        let lambda = checked_wavelength(params.energy, &params.constants)?;
        params.aperture.check()?;
        params.focal_spread.check()?;
        params.source_angle.check()?;
        Ok(Ctf {
            chi: Chi::new(crate::units::Length::angstrom(lambda), &params.aberrations)?,
            aperture: params.aperture,
            delta: params.focal_spread.to_one_over_e().to_angstrom(),
            theta: params.source_angle.to_one_over_e().to_rad(),
            coherence: params.coherence,
        })
    }

    /// The aberration phase, with its gradients.
    pub fn chi(&self) -> &Chi {
        &self.chi
    }

    /// The envelope E(k), in modulus at most 1; real unless [`Coherence::Coupled`].
    ///
    /// # Units
    /// `k = [ky, kx]` in 1/Å.
    pub fn envelope(&self, k: [f64; 2]) -> Complex<f64> {
        if self.delta == 0.0 && self.theta == 0.0 {
            return Complex::new(1.0, 0.0);
        }
        let lambda = self.chi.lambda();
        let gradient = self.chi.gradient(k);
        match self.coherence {
            Coherence::Separable => {
                let k2 = k[0] * k[0] + k[1] * k[1];
                let e = temporal_envelope(lambda, self.delta, k2) * spatial_envelope(lambda, self.theta, gradient);
                Complex::new(e, 0.0)
            }
            Coherence::Coupled => coupled_envelope(lambda, self.theta, self.delta, k, gradient),
        }
    }

    /// T(k) at one spatial frequency, on a grid of frequencies `step = [dky, dkx]` apart (which a soft aperture looks
    /// at).
    ///
    /// # Units
    /// 1/Å.
    pub fn at(&self, k: [f64; 2], step: [f64; 2]) -> Complex<f64> {
        let lambda = self.chi.lambda();
        let a = self.aperture.transmission(k.map(|k| lambda * k), step.map(|d| lambda * d));
        if a == 0.0 {
            return Complex::new(0.0, 0.0);
        }
        self.envelope(k) * cis(-self.chi.value(k)) * a
    }

    /// T on a grid, `[ny, nx]`. Computed in `f64` and rounded to `T`.
    ///
    /// # Errors
    /// [`Error::Param`] for an impossible grid, [`Error::OutOfMemory`].
    pub fn spectrum<T: Real>(&self, grid: &Grid) -> Result<Tensor<Complex<T>>, Error> {
        grid.check()?;
        let mut t = try_zeroed(grid.len())?;
        self.fill(grid, &mut t);
        Tensor::from_vec(&grid.dims, t)
    }

    /// Writes T on a grid into `t`.
    ///
    /// # Panics
    /// - if `t.len() != grid.len()`.
    pub fn fill<T: Real>(&self, grid: &Grid, t: &mut [Complex<T>]) {
        // t is (ny, nx)
        check_len("Ctf::fill", "t", grid.len(), t.len());
        let [ky, kx] = grid.frequencies();
        let step = grid.frequency_step().map(|d| d.to_per_angstrom());
        for (row, &ky) in t.chunks_mut(grid.dims[1]).zip(&ky) {
            for (t, &kx) in row.iter_mut().zip(&kx) {
                let z = self.at([ky, kx], step);
                *t = Complex::new(T::of(z.re), T::of(z.im));
            }
        }
    }

    /// T along a radius: at `k = 0, step, 2 step, …`, `n` values, in the direction `azimuth` (from x towards y).
    ///
    /// A soft aperture's edge is one `step` wide.
    ///
    /// # Errors
    /// [`Error::Param`] for a step that is not positive or an azimuth that is not finite, [`Error::OutOfMemory`].
    pub fn radial<T: Real>(&self, n: usize, step: SpatialFrequency, azimuth: Angle) -> Result<Vec<Complex<T>>, Error> {
        if !(step.is_finite() && step > SpatialFrequency::ZERO) {
            return Err(Error::param("step", step, "a positive spatial frequency"));
        }
        if !azimuth.is_finite() {
            return Err(Error::param("azimuth", azimuth, "a finite angle"));
        }
        let mut out = try_zeroed::<Complex<T>>(n)?;
        let (sin, cos) = azimuth.to_rad().sin_cos();
        let dk = step.to_per_angstrom();
        for (i, t) in out.iter_mut().enumerate() {
            let k = i as f64 * dk;
            let z = self.at([k * sin, k * cos], [dk, dk]);
            *t = Complex::new(T::of(z.re), T::of(z.im));
        }
        Ok(out)
    }
}
