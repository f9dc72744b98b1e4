//! From an image back to the phase of the object, the lens known: phase flipping and Wiener's filter.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::RealFft2;
use crate::hrtem::contrast::{check_amplitude_contrast, contrast_transfer};
use crate::optics::{Ctf, CtfParams, Grid};
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// What is done to the coefficients of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Correction {
    /// `sign c`: the sign of every coefficient is right, its size is left as the lens made it.
    PhaseFlip,
    /// `c/(2(c² + 1/ρ))`, c with its envelope: the least mean square error for white noise when the object's spectrum 4|φ|² is ρ times the
    /// noise's. Gives φ in rad.
    Wiener {
        /// ρ, the ratio of the object's to the noise's power before the lens.
        signal_to_noise: f64,
    },
}

/// What a correction depends on.
#[derive(Clone, Debug)]
pub struct CtfCorrectionParams {
    /// The lens; its defocus is that of the specimen's middle.
    pub lens: CtfParams,
    /// Amplitude contrast w.
    pub amplitude_contrast: f64,
    /// What is done.
    pub correction: Correction,
    /// The pixels of the image.
    pub grid: Grid,
}

/// Phase flipping of 256 × 256 pixels of 0.1 Å by an ideal lens at 300 keV.
impl Default for CtfCorrectionParams {
    fn default() -> Self {
        CtfCorrectionParams {
            lens: CtfParams::default(),
            amplitude_contrast: 0.0,
            correction: Correction::PhaseFlip,
            grid: Grid::default(),
        }
    }
}

/// Corrects images of weak phase objects for the lens: `φ̂ = F⁻¹{h F(I/Ī − 1)}`, h from [`Correction`]. A potential comes out bright.
///
/// # Shapes
/// Images `[y, x]` of the grid.
///
/// # References
/// H. P. Erickson, A. Klug, *Phil. Trans. R. Soc. B* 261, 105 (1971), for the flipping of phases; T. A. Welton, *Adv. Electron. Electron Phys.* 48, 37
/// (1979), for Wiener's filter.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{Correction, CtfCorrection, CtfCorrectionParams};
/// use exitwave::optics::{Aberrations, CtfParams};
/// use exitwave::units::Length;
/// let lens = CtfParams { aberrations: Aberrations::from_defocus(Length::nm(60.0)), ..Default::default() };
/// let plan = CtfCorrection::<f32>::new(CtfCorrectionParams { lens, ..Default::default() })?;
/// assert_eq!(plan.factor([0.0, 0.3]), plan.transfer([0.0, 0.3]).signum());
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct CtfCorrection<T: Real> {
    params: CtfCorrectionParams,
    ctf: Ctf,
    fft: RealFft2<T>,
    /// h of the half spectrum; zero at k = 0.
    factors: Vec<T>,
}

impl<T: Real> CtfCorrection<T> {
    /// Tabulates the factors.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range, [`Error::OutOfMemory`].
    pub fn new(params: CtfCorrectionParams) -> Result<Self, Error> {
        params.grid.check()?;
        check_amplitude_contrast(params.amplitude_contrast)?;
        if let Correction::Wiener { signal_to_noise: r } = params.correction
            && !(r > 0.0 && r.is_finite())
        {
            return Err(Error::param("signal_to_noise", r, "a positive number"));
        }
        let ctf = Ctf::new(&params.lens)?;
        let fft = RealFft2::new(params.grid.dims)?;
        let [ny, half] = fft.spectrum_dims();
        let mut plan = CtfCorrection { params, ctf, fft, factors: try_zeroed(ny * half)? };
        let [ky, kx] = plan.params.grid.frequencies();
        let mut factors = std::mem::take(&mut plan.factors);
        for (row, &y) in factors.chunks_mut(half).zip(&ky) {
            // The columns' Nyquist frequency is negative in the list; h is the same.
            row.iter_mut().zip(&kx).for_each(|(h, &x)| *h = T::of(plan.factor([y, x.abs()])));
        }
        factors[0] = T::ZERO;
        plan.factors = factors;
        Ok(plan)
    }

    /// c at one spatial frequency `[ky, kx]` in 1/Å, envelope included.
    pub fn transfer(&self, k: [f64; 2]) -> f64 {
        let step = self.params.grid.frequency_step().map(|d| d.to_per_angstrom());
        contrast_transfer(self.ctf.at(k, step), self.params.amplitude_contrast)
    }

    /// h at one spatial frequency `[ky, kx]` in 1/Å: what the coefficient of a reflection is multiplied by.
    pub fn factor(&self, k: [f64; 2]) -> f64 {
        let c = self.transfer(k);
        match self.params.correction {
            Correction::PhaseFlip if c == 0.0 => 0.0,
            Correction::PhaseFlip => c.signum(),
            Correction::Wiener { signal_to_noise } => 0.5 * c / (c * c + 1.0 / signal_to_noise),
        }
    }

    /// Corrects an image; its mean becomes zero.
    ///
    /// # Errors
    /// [`Error::Shape`] for an image of another grid, [`Error::Data`] where its mean is not positive, [`Error::OutOfMemory`].
    pub fn apply(&self, image: &Tensor<T>) -> Result<Tensor<T>, Error> {
        let dims = self.params.grid.dims;
        if *image.dims() != dims {
            return Err(Error::shape("CtfCorrection::apply", &dims, image.dims()));
        }
        let mean = image.as_slice().iter().map(|v| v.f64()).sum::<f64>() / image.len() as f64;
        if !(mean > 0.0 && mean.is_finite()) {
            return Err(Error::Data { what: format!("the mean of the image is {mean}"), index: 0 });
        }
        let mut out: Vec<T> = image.as_slice().iter().map(|v| T::of(v.f64() / mean - 1.0)).collect();
        let mut spectrum = try_zeroed(self.factors.len())?;
        let mut scratch = try_zeroed(self.fft.scratch_len())?;
        self.apply_into(&mut out, &mut spectrum, &mut scratch);
        Tensor::from_vec(&dims, out)
    }

    /// The length of the scratch that [`CtfCorrection::apply_into`] needs, beside a half spectrum.
    pub fn scratch_len(&self) -> usize {
        self.fft.scratch_len()
    }

    /// Corrects a contrast `I/Ī − 1` in place, without allocation.
    ///
    /// # Panics
    /// - if a slice has another length than the grid, its half spectrum ny (nx/2 + 1), or [`CtfCorrection::scratch_len`].
    pub fn apply_into(&self, contrast: &mut [T], spectrum: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        // contrast is (ny, nx), spectrum (ny, nx/2 + 1)
        check_len("CtfCorrection::apply_into", "spectrum", self.factors.len(), spectrum.len());
        self.fft.forward(contrast, spectrum, scratch);
        spectrum.iter_mut().zip(&self.factors).for_each(|(z, h)| *z *= *h);
        self.fft.inverse(spectrum, contrast, scratch);
    }
}
