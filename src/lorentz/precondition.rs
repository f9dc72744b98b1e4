//! Coordinates in which a phase retrieval is well conditioned.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{RealFft2, frequencies};
use crate::lorentz::{LorentzModel, Regularizer};
use crate::real::Real;
use crate::shape::try_zeroed;

/// The phase is written as `φ = φ₀ + F⁻¹{ f F{x} }`, and x is sought: a change of variables with a real, symmetric
/// filter f(q), which is what preconditioning a quasi-Newton method or Adam means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precondition {
    /// f = 1.
    None,
    /// `f = q₁/max(q, q₁)`, q₁ the lowest frequency of the grid: defocused images see a phase as q².
    InverseFrequency,
    /// `f = (H + h)^{−1/2}`: H(q) is the curvature of the amplitude loss at a weak phase,
    /// `H = (2/nN) Σ_k (Im T_k)² Ā²`, and that of the penalty where the phase is flat; h = `floor` times the largest
    /// possible value of the first.
    Curvature {
        /// The floor.
        floor: f64,
    },
}

/// By the curvature, with a floor of 10⁻⁵.
impl Default for Precondition {
    fn default() -> Self {
        Precondition::Curvature { floor: 1e-5 }
    }
}

/// How much of the penalty's curvature on a flat phase counts: most of a phase is not flat. Found by trial; the answer does
/// not depend on it, only the number of iterations.
const STIFFNESS: f64 = 0.2;

/// The filter, planned.
#[derive(Debug)]
pub(crate) struct Filter<T: Real> {
    fft: RealFft2<T>,
    /// (ny, nx/2 + 1).
    filter: Vec<T>,
    spectrum: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Filter<T> {
    /// The filter of a model whose object has the mean square amplitude `a2`; none where it is 1.
    pub fn new(
        kind: Precondition,
        model: &LorentzModel<T>,
        a2: f64,
        regularizer: &Regularizer,
    ) -> Result<Option<Self>, Error> {
        let [ny, nx] = model.grid().dims;
        let len = ny * nx;
        let half = nx / 2 + 1;
        let mut filter = try_zeroed(ny * half)?;
        match kind {
            Precondition::None => return Ok(None),
            Precondition::InverseFrequency => {
                let d = model.grid().sampling.map(|d| d.to_angstrom());
                let (ky, kx) = (frequencies(ny, d[0]), frequencies(nx, d[1]));
                let lowest = (1.0 / (ny as f64 * d[0])).min(1.0 / (nx as f64 * d[1]));
                for (i, f) in filter.iter_mut().enumerate() {
                    *f = T::of(lowest / ky[i / half].hypot(kx[i % half]).max(lowest));
                }
            }
            Precondition::Curvature { floor } => {
                if !(floor > 0.0 && floor.is_finite()) {
                    return Err(Error::param("floor", floor, "a positive number"));
                }
                let unit = 2.0 * a2 / len as f64;
                let n = model.count();
                let (wy, wx) = (frequencies(ny, 1.0), frequencies(nx, 1.0));
                for (i, f) in filter.iter_mut().enumerate() {
                    // The transfer functions are (nx, ny); shifts do not count.
                    let at = (i % half) * ny + i / half;
                    let h: f64 = (0..n)
                        .map(|k| {
                            let w = &model.settings()[k];
                            let t = model.transfers()[k * len + at];
                            let ramp = model.ramp(w, i / half, i % half);
                            (Complex::new(t.re.f64(), t.im.f64()) * ramp.conj()).im.powi(2)
                        })
                        .sum::<f64>()
                        / n as f64;
                    let w2 = [wy[i / half], wx[i % half]].map(|w| 2.0 - 2.0 * (std::f64::consts::TAU * w).cos());
                    let penalty = STIFFNESS * regularizer.curvature(w2[0] + w2[1]) / len as f64;
                    *f = T::of((unit * (h + floor) + penalty).powf(-0.5));
                }
            }
        }
        let fft = RealFft2::new([ny, nx])?;
        let scratch = try_zeroed(fft.scratch_len())?;
        Ok(Some(Filter { fft, filter, spectrum: try_zeroed(ny * half)?, scratch }))
    }

    /// x ← F⁻¹{ f F{x} }; its own adjoint.
    pub fn apply(&mut self, x: &mut [T]) {
        self.fft.forward(x, &mut self.spectrum, &mut self.scratch);
        self.spectrum.iter_mut().zip(&self.filter).for_each(|(z, f)| *z = z.scale(*f));
        self.fft.inverse(&mut self.spectrum, x, &mut self.scratch);
    }
}
