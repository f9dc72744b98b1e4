//! Partial coherence: how the spread of focus and of beam directions damps the transfer function.
//!
//! Images (or probes) that belong to different focus and different beam directions add up as intensities. To first
//! order in the deviations that multiplies the linear part of the transfer function by an envelope E in (0, 1] (the
//! quasi-coherent approximation).

use std::f64::consts::{LN_2, PI, SQRT_2};

use num_complex::Complex;

use crate::error::Error;
use crate::units::{Angle, Length};

macro_rules! gaussian_width {
    ($(#[$doc:meta])* $name:ident, $quantity:ident, $parameter:literal, $range:literal, $largest:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
        pub struct $name($quantity);

        impl $name {
            /// None: full coherence.
            pub const ZERO: $name = $name($quantity::ZERO);

            /// From the half-width at 1/e of the maximum, of `exp(−x²/w²)`.
            pub fn one_over_e(w: $quantity) -> Self {
                $name(w)
            }

            /// From the standard deviation s, of `exp(−x²/2s²)`: w = √2 s.
            pub fn rms(s: $quantity) -> Self {
                $name(s * SQRT_2)
            }

            /// From the full width at half maximum: w = FWHM / (2 √ln 2).
            pub fn fwhm(full: $quantity) -> Self {
                $name(full / (2.0 * LN_2.sqrt()))
            }

            /// The half-width at 1/e.
            pub fn to_one_over_e(self) -> $quantity {
                self.0
            }

            /// The standard deviation.
            pub fn to_rms(self) -> $quantity {
                self.0 / SQRT_2
            }

            /// The full width at half maximum.
            pub fn to_fwhm(self) -> $quantity {
                self.0 * (2.0 * LN_2.sqrt())
            }

            /// Whether the width makes sense.
            ///
            /// # Errors
            #[doc = concat!("[`Error::Param`] unless the half-width is ", $range, ".")]
            pub fn check(&self) -> Result<(), Error> {
                if self.0 >= $quantity::ZERO && self.0 <= $largest {
                    Ok(())
                } else {
                    Err(Error::param($parameter, self.0, concat!("a half-width ", $range)))
                }
            }
        }
    };
}

gaussian_width! {
    /// Gaussian spread of focus, from chromatic aberration, energy spread and instabilities.
    ///
    /// ```
    /// use exitwave::optics::FocalSpread;
    /// use exitwave::units::Length;
    /// let spread = FocalSpread::rms(Length::angstrom(30.0));
    /// assert!((spread.to_one_over_e().to_angstrom() - 42.426).abs() < 1e-3);
    /// assert!((spread.to_fwhm().to_angstrom() - 70.645).abs() < 1e-3);
    /// ```
    FocalSpread, Length, "focal_spread", "between 0 and 1 m", Length::m(1.0)
}
gaussian_width! {
    /// Gaussian spread of beam directions: the semi-angle of the effective source in an image, of one beam in a tilt
    /// series.
    SourceAngle, Angle, "source_angle", "between 0 and 1 rad", Angle::rad(1.0)
}

/// How the two envelopes are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coherence {
    /// The product of both: [`temporal_envelope`] × [`spatial_envelope`]. What most programs use.
    #[default]
    Separable,
    /// With the coupling of focus and direction: [`coupled_envelope`]. Matters for a large source at large focal
    /// spread, as in Lorentz microscopy.
    Coupled,
}

/// Temporal coherence: `E_t = exp(−(πΔλk²/2)²)`, Δ being the 1/e half-width of the focal spread.
///
/// With the standard deviation δ = Δ/√2 that is `exp(−½ (πλδk²)²)`.
///
/// # Units
/// λ and Δ in Å, k² in 1/Å².
///
/// # References
/// J. Frank, *Optik* 38, 519 (1973); E. J. Kirkland, *Advanced Computing in Electron Microscopy* (2020), section 3.2.
#[inline]
pub fn temporal_envelope(lambda: f64, delta: f64, k2: f64) -> f64 {
    (-(0.5 * PI * delta * lambda * k2).powi(2)).exp()
}

/// Spatial coherence: `E_s = exp(−(θ/2)² |∂χ/∂α|²)`, θ being the 1/e half-width of the source and `α = λk` the vector
/// of angles: `∂χ/∂α = (∂χ/∂k)/λ`.
///
/// # Units
/// λ in Å, θ in rad, `gradient = [∂χ/∂ky, ∂χ/∂kx]` in rad Å.
///
/// # References
/// J. Frank, *Optik* 38, 519 (1973).
#[inline]
pub fn spatial_envelope(lambda: f64, theta: f64, gradient: [f64; 2]) -> f64 {
    let g2 = (gradient[0] * gradient[0] + gradient[1] * gradient[1]) / (lambda * lambda);
    (-0.25 * theta * theta * g2).exp()
}

/// Both kinds with their coupling: the average of `exp(−i(s·g + f c + f s·b))` over directions s and focus f, where
/// `g = ∂χ/∂α`, `c = πλk²` and `b = 2πk` are the derivatives of χ with respect to direction, to focus, and to both.
///
/// With `a = θ²/4`, δ the standard deviation of focus and `u = 1 + 2aδ²|b|² = 1 + 2(πθδ)²k²`:
///
/// `E = u^{−1/2} exp(−a|g|² + δ²(2a b·g + ic)²/(2u))`, `|E| ≤ 1`.
///
/// For round aberrations g ∥ k, and `|E| = u^{−1/2} exp(−(a|g|² + ½δ²c²)/u)`.
///
/// Deviation from programs for Lorentz microscopy: they leave out `u^{−1/2}` and the phase `2aδ²c b·g/u`.
///
/// # Units
/// λ in Å, `theta` (1/e half-width) in rad, `delta` (1/e half-width, √2 times the δ of the formula) in Å,
/// `k = [ky, kx]` in 1/Å, `gradient = [∂χ/∂ky, ∂χ/∂kx]` in rad Å.
///
/// # References
/// R. H. Wade, J. Frank, *Optik* 49, 81 (1977); M. De Graef, *Introduction to Conventional Transmission Electron
/// Microscopy*, Cambridge (2003), section 10.2.
pub fn coupled_envelope(lambda: f64, theta: f64, delta: f64, k: [f64; 2], gradient: [f64; 2]) -> Complex<f64> {
    let g = gradient.map(|x| x / lambda);
    let b = k.map(|k| 2.0 * PI * k);
    let (a, delta2) = (0.25 * theta * theta, 0.5 * delta * delta);
    let c = PI * lambda * (k[0] * k[0] + k[1] * k[1]);
    let u = 1.0 + 2.0 * a * delta2 * (b[0] * b[0] + b[1] * b[1]);
    let bg = b[0] * g[0] + b[1] * g[1];
    let z = Complex::new(2.0 * a * bg, c);
    let exponent = z * z * (0.5 * delta2 / u) - a * (g[0] * g[0] + g[1] * g[1]);
    exponent.exp() / u.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_convert_both_ways() {
        let d = Length::angstrom(10.0);
        for (made, back) in [
            (FocalSpread::one_over_e(d), FocalSpread::to_one_over_e as fn(FocalSpread) -> Length),
            (FocalSpread::rms(d), FocalSpread::to_rms),
            (FocalSpread::fwhm(d), FocalSpread::to_fwhm),
        ] {
            assert!((back(made) - d).abs() < Length::angstrom(1e-14));
        }
        assert!(SourceAngle::rms(Angle::rad(-1.0)).check().is_err());
        assert!(SourceAngle::rms(Angle::rad(f64::NAN)).check().is_err());
    }

    #[test]
    fn the_coupled_envelope_is_the_average_over_source_and_focus() {
        // Strong coupling: u = 1.8. The trapezoidal rule on a Gaussian converges beyond every power of the step.
        let (lambda, theta, delta) = (0.025, 1.2e-3, 2000.0);
        let (k, gradient) = ([0.05, 0.11], [18.0, 25.0]);
        let g = gradient.map(|x| x / lambda);
        let b = k.map(|k| 2.0 * PI * k);
        let c = PI * lambda * (k[0] * k[0] + k[1] * k[1]);
        let (mut sum, mut weight) = (Complex::new(0.0, 0.0), 0.0);
        let steps = (-24..=24).map(|i| f64::from(i) * 0.25);
        for sy in steps.clone() {
            for sx in steps.clone() {
                for f in steps.clone() {
                    let w = (-sy * sy - sx * sx - f * f).exp();
                    let (s, f) = ([theta * sy, theta * sx], delta * f);
                    let phase = s[0] * g[0] + s[1] * g[1] + f * c + f * (s[0] * b[0] + s[1] * b[1]);
                    sum += Complex::new(0.0, -phase).exp() * w;
                    weight += w;
                }
            }
        }
        let (e, average) = (coupled_envelope(lambda, theta, delta, k, gradient), sum / weight);
        assert!((e - average).norm() < 1e-12, "{e} {average}");
        assert!(average.norm() > 0.01 && average.norm() < 0.9, "a case that means something: {average}");
    }

    #[test]
    fn without_coupling_both_forms_agree() {
        let (lambda, k, gradient) = (0.02, [0.3, 0.4], [40.0, -9.0]);
        let k2 = 0.25;
        let t = coupled_envelope(lambda, 0.0, 50.0, k, gradient);
        assert!((t.re - temporal_envelope(lambda, 50.0, k2)).abs() < 1e-15 && t.im == 0.0);
        let s = coupled_envelope(lambda, 1e-4, 0.0, k, gradient);
        assert!((s.re - spatial_envelope(lambda, 1e-4, gradient)).abs() < 1e-15 && s.im == 0.0);
    }
}
