//! The incident wave of a scanning microscope.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{Fft2, frequency_index};
use crate::optics::constants::checked_wavelength;
use crate::optics::{Aberrations, Aperture, Constants, Ctf, CtfParams, Grid};
use crate::real::{Real, cis};
use crate::shape::{Limits, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Angle, Energy, Length};

/// In which space the intensity of a probe sums to 1. N is the number of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnitIntensity {
    /// `Σ_k |ψ(k)|² = 1` for the unnormalised forward transform, hence `Σ_r |ψ(r)|² = 1/N`: a diffraction pattern |Fψ|²
    /// sums to the fraction of electrons that it caught.
    #[default]
    Reciprocal,
    /// `Σ_r |ψ(r)|² = 1`, hence `Σ_k |ψ(k)|² = N`.
    Real,
}

/// What a probe depends on. The default is an ideal lens at 300 keV with a soft aperture of 20 mrad, on the default
/// [`Grid`].
#[derive(Clone, Debug)]
pub struct ProbeParams {
    /// Beam energy.
    pub energy: Energy,
    /// Probe-forming aperture; its semi-angle must fit into the grid's spatial frequencies.
    pub aperture: Aperture,
    /// Aberrations of the probe-forming lens.
    pub aberrations: Aberrations,
    /// Pixels of the real space that the probe lives in.
    pub grid: Grid,
    /// Normalisation.
    pub unit_intensity: UnitIntensity,
    /// Constants behind the wavelength; an older adjustment only for comparisons.
    pub constants: Constants,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

impl Default for ProbeParams {
    fn default() -> Self {
        ProbeParams {
            energy: Energy::kev(300.0),
            aperture: Aperture::Soft { semi_angle: Angle::mrad(20.0) },
            aberrations: Aberrations::default(),
            grid: Grid::default(),
            unit_intensity: UnitIntensity::Reciprocal,
            constants: Constants::default(),
            limits: Limits::default(),
        }
    }
}

/// A probe at any position.
///
/// `ψ(k) = s A(k) exp(−iχ(k)) exp(−2πi k·r₀)`, `ψ(r) = F⁻¹ ψ(k)`, with s such that the intensity is 1 in the space that
/// [`UnitIntensity`] names. The position r₀ is that of the optical axis; pixel `[i, j]` lies at `[i dy, j dx]`, and the
/// grid is periodic. C10 > 0 (overfocus) puts the crossover above the plane of the grid: it is propagation by +C10.
///
/// The derivative with respect to a coefficient is `∂ψ/∂C = −i (∂χ/∂C) ψ`, with the gradients of
/// [`crate::optics::Chi`].
///
/// # Shapes
/// `[ny, nx]`; spectra have the zero frequency at index 0.
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), section 5.4.
///
/// # Examples
/// ```
/// use exitwave::optics::{Aberrations, Probe, ProbeParams};
/// use exitwave::units::Length;
/// let aberrations = Aberrations::from_defocus(Length::nm(-50.0));
/// let probe = Probe::<f32>::new(&ProbeParams { aberrations, ..Default::default() })?;
/// let psi = probe.real([Length::angstrom(12.8); 2])?;
/// let intensity: f32 = psi.as_slice().iter().map(|z| z.norm_sqr()).sum();
/// assert!((intensity * psi.len() as f32 - 1.0).abs() < 1e-5);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Probe<T: Real> {
    grid: Grid,
    lambda: f64,
    /// ψ(k) at the origin, (ny, nx).
    spectrum: Vec<Complex<f64>>,
    fft: Fft2<T>,
}

impl<T: Real> Probe<T> {
    /// Plans the probe: its spectrum at the origin.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range, or an aperture that the grid cannot hold;
    /// [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn new(params: &ProbeParams) -> Result<Self, Error> {
        let ProbeParams { energy, aperture, aberrations, grid, unit_intensity, constants, limits } = params.clone();
        grid.check()?;
        let ctf = Ctf::new(&CtfParams { energy, aberrations, aperture, constants, ..Default::default() })?;
        let lambda = checked_wavelength(energy, &constants)?;
        for d in grid.sampling {
            let nyquist = Angle::rad(0.5 * lambda / d.to_angstrom());
            if let Some(semi_angle) = aperture.semi_angle().filter(|&a| a > nyquist) {
                return Err(Error::Param {
                    name: "semi_angle",
                    got: format!("{} mrad", semi_angle.to_mrad()),
                    expected: "at most λ/2 over the pixel size (a finer grid, or a smaller aperture)",
                });
            }
        }
        limits.check((grid.len() as u64).saturating_mul(size_of::<Complex<f64>>() as u64))?;

        let mut spectrum = try_zeroed(grid.len())?;
        ctf.fill(&grid, &mut spectrum);
        let intensity: f64 = spectrum.iter().map(|z: &Complex<f64>| z.norm_sqr()).sum();
        let unit = match unit_intensity {
            UnitIntensity::Reciprocal => 1.0,
            UnitIntensity::Real => grid.len() as f64,
        };
        let s = (unit / intensity).sqrt();
        spectrum.iter_mut().for_each(|z| *z *= s);
        Ok(Probe { grid, lambda, spectrum, fft: Fft2::new(grid.dims)? })
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The wavelength.
    pub fn wavelength(&self) -> Length {
        Length::angstrom(self.lambda)
    }

    /// Bytes that the plan holds.
    pub fn workspace_bytes(&self) -> u64 {
        (self.spectrum.len() * size_of::<Complex<f64>>()) as u64
    }

    /// Elements of scratch that [`Probe::fill_reciprocal`] and [`Probe::fill_real`] need.
    pub fn scratch_len(&self) -> usize {
        self.fft.scratch_len()
    }

    /// Writes ψ(k), centred at `position = [y, x]`, into `psi`.
    ///
    /// A position that is not finite gives NaN.
    ///
    /// # Panics
    /// - if `psi.len()` is not the number of pixels,
    /// - if `scratch.len() < self.scratch_len()`.
    pub fn fill_reciprocal(&self, position: [Length; 2], psi: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        // psi is (ny, nx)
        check_len("Probe::fill_reciprocal", "psi", self.spectrum.len(), psi.len());
        let [ny, nx] = self.grid.dims;
        let factor = |axis: usize, i: usize| {
            let (n, r0) = (self.grid.dims[axis], position[axis] / self.grid.sampling[axis]);
            cis(-TAU * frequency_index(i, n) as f64 * r0 / n as f64)
        };

        // exp(−2πi k·r₀) is a product of a factor for the row and one for the column.
        let columns = &mut scratch[..nx];
        for (ix, fx) in columns.iter_mut().enumerate() {
            *fx = round(factor(1, ix));
        }
        for iy in 0..ny {
            let fy = factor(0, iy);
            let row = iy * nx..(iy + 1) * nx;
            for ((out, z), fx) in psi[row.clone()].iter_mut().zip(&self.spectrum[row]).zip(&*columns) {
                *out = round(z * fy * Complex::new(fx.re.f64(), fx.im.f64()));
            }
        }
    }

    /// Writes ψ(r), centred at `position = [y, x]`, into `psi`.
    ///
    /// # Panics
    /// As [`Probe::fill_reciprocal`].
    pub fn fill_real(&self, position: [Length; 2], psi: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.fill_reciprocal(position, psi, scratch);
        self.fft.inverse(psi, scratch);
    }

    /// ψ(k), centred at `position = [y, x]`.
    ///
    /// # Errors
    /// [`Error::Param`] for a position that is not finite, [`Error::OutOfMemory`].
    pub fn reciprocal(&self, position: [Length; 2]) -> Result<Tensor<Complex<T>>, Error> {
        let mut psi = self.frame(position)?;
        self.fill_reciprocal(position, psi.as_mut_slice(), &mut try_zeroed(self.scratch_len())?);
        Ok(psi)
    }

    /// ψ(r), centred at `position = [y, x]`.
    ///
    /// # Errors
    /// [`Error::Param`] for a position that is not finite, [`Error::OutOfMemory`].
    pub fn real(&self, position: [Length; 2]) -> Result<Tensor<Complex<T>>, Error> {
        let mut psi = self.frame(position)?;
        self.fill_real(position, psi.as_mut_slice(), &mut try_zeroed(self.scratch_len())?);
        Ok(psi)
    }

    /// An empty frame, for a position that makes sense.
    fn frame(&self, position: [Length; 2]) -> Result<Tensor<Complex<T>>, Error> {
        if let Some(r) = position.into_iter().find(|r| !r.is_finite()) {
            return Err(Error::param("position", r, "a finite position"));
        }
        Tensor::from_vec(&self.grid.dims, try_zeroed(self.grid.len())?)
    }
}

fn round<T: Real>(z: Complex<f64>) -> Complex<T> {
    Complex::new(T::of(z.re), T::of(z.im))
}
