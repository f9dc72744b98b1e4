//! The transfer function of a lens of few terms, fast, with its derivatives: what a fit of a microscope runs on.

use std::f64::consts::PI;

use num_complex::Complex;

use crate::optics::{Aberration, Aberrations, Coherence, FocalSpread, SourceAngle};
use crate::real::cis;
use crate::units::{Angle, Length};

/// The numbers a [`LensTransfer`] depends on: C10, C12a, C12b, C30 in Å, the source's 1/e half-width θ in rad, the focal
/// spread's 1/e half-width Δ in Å.
pub type LensNumbers = [f64; 6];

/// `T(k) = E(k) exp(−iχ(k))` of a lens that has defocus, twofold astigmatism and spherical aberration only, at one
/// wavelength: what [`Ctf`](crate::optics::Ctf) gives for the same lens (but for its aperture), several times faster,
/// and with `∂ ln T` with respect to every number.
///
/// ```text
/// χ = (π/λ) [ C10 ρ + C12a (x² − y²) + C12b 2xy + ½ C30 ρ² ],   x = λkx, y = λky, ρ = x² + y²
/// g = ∂χ/∂α,   c = πλk²,   b = 2πk,   a = θ²/4,   D = Δ²/2
/// separable    ln E = −½ D c² − a|g|²
/// coupled      ln E = D z²/(2u) − a|g|² − ½ ln u,   u = 1 + 2aD|b|²,   z = 2a b·g + ic
/// ```
///
/// # Units
/// `k = [ky, kx]` in 1/Å.
///
/// # References
/// As [`temporal_envelope`](crate::optics::temporal_envelope), [`spatial_envelope`](crate::optics::spatial_envelope) and
/// [`coupled_envelope`](crate::optics::coupled_envelope), whose exponents these are.
#[derive(Clone, Copy, Debug)]
pub struct LensTransfer {
    /// Wavelength, Å.
    pub lambda: f64,
    /// How the two spreads are combined.
    pub coherence: Coherence,
}

/// Each pair is d(ln T) by one of [`LensNumbers`].
pub type LogGradient = [Complex<f64>; 6];

impl LensTransfer {
    /// The numbers of a lens.
    pub fn numbers(aberrations: &Aberrations, source: SourceAngle, spread: FocalSpread) -> LensNumbers {
        let c = aberrations.to_cartesian();
        [
            c[Aberration::C10].a.to_angstrom(),
            c[Aberration::C12].a.to_angstrom(),
            c[Aberration::C12].b.to_angstrom(),
            c[Aberration::C30].a.to_angstrom(),
            source.to_one_over_e().to_rad(),
            spread.to_one_over_e().to_angstrom(),
        ]
    }

    /// The lens of these numbers.
    pub fn lens(p: &LensNumbers) -> (Aberrations, SourceAngle, FocalSpread) {
        let mut out = Aberrations::default();
        out[Aberration::C10].c = Length::angstrom(p[0]);
        out.set_astigmatism(Length::angstrom(p[1].hypot(p[2])), Angle::rad(0.5 * p[2].atan2(p[1])));
        out.set_cs(Length::angstrom(p[3]));
        (out, SourceAngle::one_over_e(Angle::rad(p[4])), FocalSpread::one_over_e(Length::angstrom(p[5])))
    }

    /// χ and ∂χ/∂α.
    #[inline(always)]
    fn chi(&self, p: &LensNumbers, [y, x]: [f64; 2]) -> (f64, [f64; 2]) {
        let rho = x * x + y * y;
        let f = PI / self.lambda;
        let chi = f * ((p[0] + 0.5 * p[3] * rho) * rho + p[1] * (x * x - y * y) + 2.0 * p[2] * x * y);
        let round = p[0] + p[3] * rho;
        let g = [2.0 * f * (round * y - p[1] * y + p[2] * x), 2.0 * f * (round * x + p[1] * x + p[2] * y)];
        (chi, g)
    }

    /// ln E.
    #[inline(always)]
    fn ln_envelope(&self, p: &LensNumbers, [y, x]: [f64; 2], g: [f64; 2]) -> Complex<f64> {
        let (a, d) = (0.25 * p[4] * p[4], 0.5 * p[5] * p[5]);
        let c = PI / self.lambda * (x * x + y * y);
        let g2 = g[0] * g[0] + g[1] * g[1];
        match self.coherence {
            Coherence::Separable => Complex::new(-0.5 * d * c * c - a * g2, 0.0),
            Coherence::Coupled => {
                let f = 2.0 * PI / self.lambda;
                let (bg, b2) = (f * (y * g[0] + x * g[1]), f * f * (x * x + y * y));
                let u = 1.0 + 2.0 * a * d * b2;
                let z = Complex::new(2.0 * a * bg, c);
                z * z * (0.5 * d / u) - a * g2 - 0.5 * u.ln()
            }
        }
    }

    /// T(k).
    #[inline]
    pub fn at(&self, p: &LensNumbers, k: [f64; 2]) -> Complex<f64> {
        let w = k.map(|k| self.lambda * k);
        let (chi, g) = self.chi(p, w);
        let e = self.ln_envelope(p, w, g);
        cis(e.im - chi) * e.re.exp()
    }

    /// `∂ ln T/∂p` for every number p: multiply by T for the derivative of T.
    #[inline]
    pub fn log_gradient(&self, p: &LensNumbers, k: [f64; 2]) -> LogGradient {
        let [y, x] = k.map(|k| self.lambda * k);
        let (_, g) = self.chi(p, [y, x]);
        let rho = x * x + y * y;
        let f = PI / self.lambda;
        let chi_by = [f * rho, f * (x * x - y * y), 2.0 * f * x * y, 0.5 * f * rho * rho];
        let g_by = [
            [2.0 * f * y, 2.0 * f * x],
            [-2.0 * f * y, 2.0 * f * x],
            [2.0 * f * x, 2.0 * f * y],
            [2.0 * f * rho * y, 2.0 * f * rho * x],
        ];
        let (a, d) = (0.25 * p[4] * p[4], 0.5 * p[5] * p[5]);
        let c = f * rho;
        let g2 = g[0] * g[0] + g[1] * g[1];
        let zero = Complex::new(0.0, 0.0);

        // The derivatives of ln E with respect to g (both components), to a and to D.
        let (by_g, by_a, by_d) = match self.coherence {
            Coherence::Separable => {
                let by_g = g.map(|g| Complex::new(-2.0 * a * g, 0.0));
                (by_g, Complex::new(-g2, 0.0), Complex::new(-0.5 * c * c, 0.0))
            }
            Coherence::Coupled => {
                let b = [2.0 * f * y, 2.0 * f * x];
                let (bg, b2) = (b[0] * g[0] + b[1] * g[1], b[0] * b[0] + b[1] * b[1]);
                let u = 1.0 + 2.0 * a * d * b2;
                let z = Complex::new(2.0 * a * bg, c);
                let by_g = [0, 1].map(|i| z * (2.0 * a * b[i] * d / u) - 2.0 * a * g[i]);
                let by_a = z * (2.0 * bg * d / u) - z * z * (d * d * b2 / (u * u)) - g2 - d * b2 / u;
                let by_d = z * z * (0.5 / u - a * d * b2 / (u * u)) - a * b2 / u;
                (by_g, by_a, by_d)
            }
        };
        let mut out = [zero; 6];
        for i in 0..4 {
            out[i] = by_g[0] * g_by[i][0] + by_g[1] * g_by[i][1] - Complex::new(0.0, chi_by[i]);
        }
        out[4] = by_a * (0.5 * p[4]);
        out[5] = by_d * p[5];
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optics::{Ctf, CtfParams};
    use crate::units::Energy;

    fn lens() -> (Aberrations, SourceAngle, FocalSpread) {
        let mut a = Aberrations::from_defocus(Length::um(40.0));
        a.set_astigmatism(Length::um(3.0), Angle::deg(25.0));
        a.set_cs(Length::mm(900.0));
        (a, SourceAngle::one_over_e(Angle::mrad(0.2)), FocalSpread::rms(Length::um(2.0)))
    }

    #[test]
    fn equals_the_transfer_function_of_the_same_lens() {
        let (aberrations, source_angle, focal_spread) = lens();
        for coherence in [Coherence::Separable, Coherence::Coupled] {
            let energy = Energy::kev(200.0);
            let ctf = Ctf::new(&CtfParams {
                energy,
                aberrations,
                source_angle,
                focal_spread,
                coherence,
                ..CtfParams::default()
            })
            .unwrap();
            let fast = LensTransfer { lambda: ctf.chi().lambda(), coherence };
            let p = LensTransfer::numbers(&aberrations, source_angle, focal_spread);
            let (a, s, f) = LensTransfer::lens(&p);
            let again = LensTransfer::numbers(&a, s, f);
            assert!(p.iter().zip(&again).all(|(a, b)| (a - b).abs() <= 1e-12 * a.abs()), "{p:?} {again:?}");
            for i in 0..100 {
                let k = [0.012 * f64::from(i * 7 % 31 - 15) / 15.0, 0.012 * f64::from(i * 11 % 29 - 14) / 14.0];
                let (t, u) = (ctf.at(k, [1e-4; 2]), fast.at(&p, k));
                // χ reaches some 10³ rad; its rounding is that of the result.
                assert!((t - u).norm() < 1e-11, "{t} {u} at {k:?}");
            }
        }
    }

    #[test]
    fn log_gradient_is_the_derivative_of_the_logarithm() {
        let (a, s, f) = lens();
        let p = LensTransfer::numbers(&a, s, f);
        for coherence in [Coherence::Separable, Coherence::Coupled] {
            let t = LensTransfer { lambda: 0.0250793, coherence };
            for i in 0..20 {
                let k = [0.004 * (1.3 * f64::from(i)).sin(), 0.004 * (0.7 * f64::from(i)).cos()];
                let g = t.log_gradient(&p, k);
                for j in 0..6 {
                    let h = 1e-5 * p[j].abs();
                    let at = |s: f64| {
                        let mut q = p;
                        q[j] += s * h;
                        t.at(&q, k)
                    };
                    let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h);
                    let expected = t.at(&p, k) * g[j];
                    assert!((slope - expected).norm() * p[j].abs() < 1e-6, "{j}: {slope} {expected}");
                }
            }
        }
    }
}
