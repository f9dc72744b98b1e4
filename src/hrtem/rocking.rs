//! Where the Ewald sphere cuts the reflections, and how strongly: excitation errors and rocking curves.

use std::f64::consts::PI;

use crate::units::Angle;

/// How far, and in which direction, a zone axis stands from the beam.
///
/// `tilt` has the length φ and points to where the zone axis, followed downstream, meets the pattern: from the
/// direct beam to
/// the centre of the Laue circle.
///
/// # Units
/// `[y, x]` of the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Misorientation {
    /// φ times its direction.
    pub tilt: [Angle; 2],
}

impl Misorientation {
    /// From φ and its direction, counted from +x to +y.
    pub fn new(phi: Angle, azimuth: Angle) -> Self {
        let (s, c) = azimuth.to_rad().sin_cos();
        Misorientation { tilt: [phi * s, phi * c] }
    }

    /// The angle φ between the zone axis and the beam.
    pub fn phi(&self) -> Angle {
        Angle::rad(self.tilt[0].to_rad().hypot(self.tilt[1].to_rad()))
    }

    /// The direction of the tilt, counted from +x to +y.
    pub fn azimuth(&self) -> Angle {
        Angle::rad(self.tilt[0].to_rad().atan2(self.tilt[1].to_rad()))
    }

    /// w = tan φ times the direction: the slope of the reflections' plane against the plane of the pattern.
    pub fn slope(&self) -> [f64; 2] {
        let phi = self.phi().to_rad();
        let factor = if phi < 1e-12 { 1.0 } else { phi.tan() / phi };
        self.tilt.map(|t| t.to_rad() * factor)
    }

    /// From w = tan φ times the direction.
    pub fn from_slope(w: [f64; 2]) -> Self {
        let t = w[0].hypot(w[1]);
        let factor = if t < 1e-12 { 1.0 } else { t.atan() / t };
        Misorientation { tilt: w.map(|w| Angle::rad(w * factor)) }
    }

    /// The zone axis, a unit vector `[z, y, x]`.
    pub fn axis(&self) -> [f64; 3] {
        let w = self.slope();
        let c = 1.0 / (1.0 + w[0] * w[0] + w[1] * w[1]).sqrt();
        [c, c * w[0], c * w[1]]
    }

    /// The misorientation of a zone axis `[z, y, x]`, z positive.
    pub fn of_axis(n: [f64; 3]) -> Self {
        Misorientation::from_slope([n[1] / n[0], n[2] / n[0]])
    }

    /// The angle between two zone axes.
    pub fn angle_to(&self, other: &Misorientation) -> Angle {
        let (a, b) = (self.axis(), other.axis());
        let d: f64 = (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt();
        Angle::rad(2.0 * (0.5 * d).min(1.0).asin())
    }
}

/// Depth of the Ewald sphere below the plane of the pattern at q: `κ = (1 − √(1 − λ²q²))/λ ≈ λq²/2`, 1/Å.
pub(crate) fn sphere(q2: f64, lambda: f64) -> f64 {
    let x = lambda * lambda * q2;
    // q² λ/(1 + √…) keeps its digits for small q.
    lambda * q2 / (1.0 + (1.0 - x).max(0.0).sqrt())
}

/// Excitation error of layer n at q: `s = w·q − κ(q) − nH √(1 + w²)`, 1/Å, positive inside the sphere.
///
/// The plane g·n̂ = nH of a zone axis n̂ stands at z = nH/cos φ − w·q over q, the sphere at −κ; the beam travels
/// along +z.
pub(crate) fn excitation_error(w: [f64; 2], q: [f64; 2], lambda: f64, height: f64) -> f64 {
    let slant = if height == 0.0 { 0.0 } else { height * (1.0 + w[0] * w[0] + w[1] * w[1]).sqrt() };
    w[0] * q[0] + w[1] * q[1] - sphere(q[0] * q[0] + q[1] * q[1], lambda) - slant
}

/// Rocking curve of a slab whose thickness T varies with a normal distribution of standard deviation ρT, and its
/// derivatives
/// by s, T and ρ: `P = [1 − e^{−2π²s²ρ²T²} cos 2πsT]/(2π²s²)`, for ρ = 0 `sin²(πsT)/(πs)²`.
///
/// # Units
/// Å².
pub(crate) fn rocking(s: f64, t: f64, rho: f64) -> [f64; 4] {
    let x = 2.0 * PI * s * t;
    if x.abs() < 1e-3 {
        // Series to x²: P = T² [(1 + ρ²) − x² (1 + 6ρ² + 3ρ⁴)/12].
        let (r2, t2) = (rho * rho, t * t);
        let c = (1.0 + 6.0 * r2 + 3.0 * r2 * r2) / 12.0;
        let p = t2 * (1.0 + r2 - x * x * c);
        let by_s = -t2 * 2.0 * x * c * 2.0 * PI * t;
        let by_t = 2.0 * t * (1.0 + r2) - 4.0 * t * x * x * c;
        let by_rho = t2 * (2.0 * rho - x * x * (12.0 * rho + 12.0 * rho * r2) / 12.0);
        return [p, by_s, by_t, by_rho];
    }
    let e = (-0.5 * x * x * rho * rho).exp();
    let (sin, cos) = x.sin_cos();
    let f = 1.0 - e * cos;
    let a = 2.0 * t * t / (x * x);
    // f by x and by ρ.
    let fx = e * (sin + x * rho * rho * cos);
    let fr = e * x * x * rho * cos;
    let p = a * f;
    // P = f/(2π²s²): by s at constant T, by T at constant s.
    let by_s = a * fx * 2.0 * PI * t - 2.0 * p / s;
    let by_t = a * fx * 2.0 * PI * s;
    [p, by_s, by_t, a * fr]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rocking_curve_is_the_mean_over_thicknesses() {
        let (t, rho) = (300.0, 0.1);
        for s in [0.0, 1e-7, 0.0005, 0.0017, 1.0 / 300.0, 0.01] {
            // Trapezoidal rule over ±8 standard deviations: exact to rounding for a normal distribution.
            let n = 400;
            let mean = (0..=n)
                .map(|i| {
                    let u = -8.0 + 16.0 * f64::from(i) / f64::from(n);
                    let x = PI * s * t * (1.0 + rho * u);
                    let p = if s == 0.0 { (t * (1.0 + rho * u)).powi(2) } else { (x.sin() / (PI * s)).powi(2) };
                    p * (-0.5 * u * u).exp() / (2.0 * PI).sqrt() * 16.0 / f64::from(n)
                })
                .sum::<f64>();
            let p = rocking(s, t, rho)[0];
            assert!((p / mean - 1.0).abs() < 1e-8, "{s}: {p} {mean}");
        }
    }

    #[test]
    fn its_derivatives_are_those_of_finite_differences() {
        for (s, t, rho) in [(0.0021, 310.0, 0.07), (-0.004, 200.0, 0.02), (1e-7, 300.0, 0.3), (3e-7, 500.0, 0.1)] {
            let d = rocking(s, t, rho);
            let by = |k: usize| {
                let mut v = [s, t, rho];
                let h = if k == 0 { 1e-8 } else { 1e-5 * v[k] };
                v[k] += h;
                let up = rocking(v[0], v[1], v[2])[0];
                v[k] -= 2.0 * h;
                (up - rocking(v[0], v[1], v[2])[0]) / (2.0 * h)
            };
            for k in 0..3 {
                // Rounding of P (2e-16 of it) over the step bounds the differences.
                let floor = 1e-15 * d[0] / if k == 0 { 1e-8 } else { 1e-5 * [s, t, rho][k] };
                assert!((d[k + 1] - by(k)).abs() < 1e-4 * d[k + 1].abs() + 10.0 * floor, "{k} at {s}: {d:?} {}", by(k));
            }
        }
    }

    #[test]
    fn slopes_and_axes_give_the_tilt_back() {
        let m = Misorientation::new(Angle::deg(4.0), Angle::deg(130.0));
        assert!((m.phi().to_deg() - 4.0).abs() < 1e-12 && (m.azimuth().to_deg() - 130.0).abs() < 1e-12);
        for other in [Misorientation::from_slope(m.slope()), Misorientation::of_axis(m.axis())] {
            assert!(m.angle_to(&other).to_rad() < 1e-15);
        }
        let n = Misorientation::new(Angle::deg(3.0), Angle::deg(-50.0));
        assert!((m.angle_to(&n).to_deg() - 7.0).abs() < 1e-12);
        assert_eq!(Misorientation::from_slope([0.0; 2]).phi(), Angle::ZERO);
    }
}
