//! Physical constants, and the relativistic kinematics of the beam electron.
//!
//! An electron accelerated through U volts has the kinetic energy E = eU; with E₀ = m₀c² all quantities below follow
//! from E and E₀. The free functions use [`CODATA_2018`]; the same formulas are methods of [`Constants`], for
//! comparisons with programs that were built on an older adjustment.

use std::f64::consts::PI;

use crate::error::Error;
use crate::units::{Energy, Length};

/// Reduced Planck constant ħ = h/2π, J s.
pub const REDUCED_PLANCK: f64 = CODATA_2018.h / (2.0 * PI);
/// Boltzmann constant, J/K (exact).
pub const BOLTZMANN: f64 = 1.380649e-23;
/// Vacuum permittivity ε₀, F/m.
pub const VACUUM_PERMITTIVITY: f64 = 8.8541878128e-12;
/// Bohr radius a₀.
pub const BOHR_RADIUS: Length = Length::angstrom(0.529177210903);
/// Hartree energy.
pub const HARTREE: Energy = Energy::ev(27.211386245988);
/// Magnetic flux quantum h/2e, Wb = T m².
pub const FLUX_QUANTUM: f64 = CODATA_2018.h / (2.0 * CODATA_2018.e);

/// The constants that the kinematics of an electron need, in SI units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Planck constant h, J s.
    pub h: f64,
    /// Speed of light c, m/s.
    pub c: f64,
    /// Elementary charge e, C.
    pub e: f64,
    /// Electron rest mass m₀, kg.
    pub m0: f64,
}

/// The 2018 adjustment: h, c and e are exact since the redefinition of the SI.
///
/// # References
/// E. Tiesinga, P. J. Mohr, D. B. Newell, B. N. Taylor, *Rev. Mod. Phys.* 93, 025010 (2021), table XXXI.
pub const CODATA_2018: Constants =
    Constants { h: 6.62607015e-34, c: 299792458.0, e: 1.602176634e-19, m0: 9.1093837015e-31 };

/// The 2014 adjustment, which several programs of the field still use. At 30 to 300 keV its wavelengths are 5e-9
/// shorter, relatively, than those of [`CODATA_2018`].
///
/// # References
/// P. J. Mohr, D. B. Newell, B. N. Taylor, *Rev. Mod. Phys.* 88, 035009 (2016), table XXXII.
pub const CODATA_2014: Constants =
    Constants { h: 6.62607004e-34, c: 299792458.0, e: 1.6021766208e-19, m0: 9.10938356e-31 };

/// The default is [`CODATA_2018`].
impl Default for Constants {
    fn default() -> Self {
        CODATA_2018
    }
}

impl Constants {
    /// Rest energy of the electron, E₀ = m₀c².
    pub fn rest_energy(&self) -> Energy {
        Energy::ev(self.m0 * self.c * self.c / self.e)
    }

    /// de Broglie wavelength, `λ = hc / √(E (E + 2E₀))`. NaN or infinite for an energy that is not positive.
    pub fn wavelength(&self, energy: Energy) -> Length {
        let (e, e0) = (energy.to_ev(), self.rest_energy().to_ev());
        Length::m(self.h * self.c / self.e / (e * (e + 2.0 * e0)).sqrt())
    }

    /// Relativistic mass factor, `γ = m/m₀ = 1 + E/E₀`.
    pub fn gamma(&self, energy: Energy) -> f64 {
        1.0 + energy / self.rest_energy()
    }

    /// Velocity over the speed of light, `β = √(E (E + 2E₀)) / (E + E₀)`.
    pub fn beta(&self, energy: Energy) -> f64 {
        let (e, e0) = (energy.to_ev(), self.rest_energy().to_ev());
        (e * (e + 2.0 * e0)).sqrt() / (e + e0)
    }

    /// Velocity, m/s.
    pub fn velocity_m_per_s(&self, energy: Energy) -> f64 {
        self.c * self.beta(energy)
    }

    /// Interaction parameter, `σ = 2π m e λ/h²` with the relativistic mass `m = γ m₀`: phase = σ × projected potential.
    ///
    /// # Units
    /// rad/(V Å).
    pub fn interaction_parameter(&self, energy: Energy) -> f64 {
        let lambda = self.wavelength(energy).to_m();
        let m = self.gamma(energy) * self.m0;
        2.0 * PI * m * self.e * lambda / (self.h * self.h) * 1e-10
    }
}

/// de Broglie wavelength of the beam electron, `λ = hc / √(E (E + 2E₀))`, by CODATA 2018.
///
/// NaN or infinite for an energy that is not positive; plans reject such an energy.
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), equation 2.5.
///
/// # Examples
/// ```
/// use exitwave::optics::{interaction_parameter, wavelength};
/// use exitwave::units::Energy;
/// assert!((wavelength(Energy::kev(300.0)).to_pm() - 1.9687).abs() < 1e-4);
/// assert!((interaction_parameter(Energy::kev(300.0)) - 6.5262e-4).abs() < 1e-8);
/// ```
pub fn wavelength(energy: Energy) -> Length {
    CODATA_2018.wavelength(energy)
}

/// Relativistic mass factor of the beam electron, `γ = 1 + E/m₀c²`, by CODATA 2018.
pub fn gamma(energy: Energy) -> f64 {
    CODATA_2018.gamma(energy)
}

/// Velocity of the beam electron over the speed of light, by CODATA 2018.
pub fn beta(energy: Energy) -> f64 {
    CODATA_2018.beta(energy)
}

/// Velocity of the beam electron, m/s, by CODATA 2018.
pub fn velocity_m_per_s(energy: Energy) -> f64 {
    CODATA_2018.velocity_m_per_s(energy)
}

/// Interaction parameter of the beam electron, `σ = 2π m e λ/h²` with the relativistic mass, by CODATA 2018.
///
/// # Units
/// rad/(V Å).
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), equation 5.6.
pub fn interaction_parameter(energy: Energy) -> f64 {
    CODATA_2018.interaction_parameter(energy)
}

/// The wavelength in Å of a beam energy and constants that a plan was given.
pub(crate) fn checked_wavelength(energy: Energy, constants: &Constants) -> Result<f64, Error> {
    if !(energy >= Energy::ev(1.0) && energy <= Energy::ev(1e9)) {
        return Err(Error::param("energy", energy, "a beam energy between 1 eV and 1 GeV"));
    }
    let lambda = constants.wavelength(energy).to_angstrom();
    if !(lambda.is_finite() && lambda > 0.0) {
        return Err(Error::param("constants", format!("{constants:?}"), "positive constants in SI units"));
    }
    Ok(lambda)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_energies_are_errors() {
        for e in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                checked_wavelength(Energy::ev(e), &CODATA_2018),
                Err(Error::Param { name: "energy", .. })
            ));
        }
        let broken = Constants { h: f64::NAN, ..CODATA_2018 };
        assert!(matches!(checked_wavelength(Energy::kev(80.0), &broken), Err(Error::Param { name: "constants", .. })));
    }
}
