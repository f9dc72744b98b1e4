//! The double-tilt holder: from a misorientation to its two angles, and its axes from known tilts.

use crate::error::Error;
use crate::hrtem::rocking::Misorientation;
use crate::linalg::lstsq::cholesky_solve;
use crate::specimen::{Vector, cross, dot};
use crate::units::Angle;

/// The two angles of the holder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tilts {
    /// About the axis of the rod, which stands still.
    pub alpha: Angle,
    /// About the axis in the cradle, which α carries along.
    pub beta: Angle,
}

/// A double-tilt holder as the diffraction pattern shows it: a crystal direction m of the untilted specimen
/// points to `n = R(e_α, α) R(e_β, β) m`.
///
/// Rotations are right-handed about their axes in (x, y, z), z the direction of the beam. A camera that shows a
/// mirror image only changes the
/// directions of the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holder {
    /// Direction of the α axis in the pattern, from +x to +y.
    pub alpha_axis: Angle,
    /// Direction of the β axis in the pattern at α = 0.
    pub beta_axis: Angle,
    /// Largest angles either way.
    pub range: Tilts,
}

/// α along x, β along y, ±30°.
impl Default for Holder {
    fn default() -> Self {
        let range = Tilts { alpha: Angle::deg(30.0), beta: Angle::deg(30.0) };
        Holder { alpha_axis: Angle::ZERO, beta_axis: Angle::deg(90.0), range }
    }
}

impl Holder {
    /// The tilts that bring a zone axis, seen at `now` with the given misorientation, parallel to the beam.
    ///
    /// m = R(e_β, −β) R(e_α, −α) n. For n′ = z it must hold that R(e_β, β′) m ⊥ e_α, one equation `A cos β′ +
    /// B sin β′ + C = 0`, of which the
    /// solution nearer to the present β is taken; α′ then turns what is left about e_α to z.
    ///
    /// # Errors
    /// [`Error::Param`] for axes less than 10° apart, angles that are not finite or misorientations above
    /// 80°, and where the zone axis cannot be
    /// reached within the range.
    pub fn target(&self, now: Tilts, misorientation: Misorientation) -> Result<Tilts, Error> {
        self.check()?;
        if !(now.alpha.is_finite() && now.beta.is_finite() && misorientation.phi() < Angle::deg(80.0)) {
            return Err(Error::param("now", format!("{now:?}, {misorientation:?}"), "finite angles, below 80° off"));
        }
        let (ea, eb) = (axis(self.alpha_axis), axis(self.beta_axis));
        let n = misorientation.axis();
        let m = rotate(eb, -now.beta.to_rad(), rotate(ea, -now.alpha.to_rad(), n));
        // e_α · R(e_β, β) m with Rodrigues' formula.
        let along = dot(eb, m);
        let flat: Vector = std::array::from_fn(|i| m[i] - along * eb[i]);
        let (a, b, c) = (dot(ea, flat), dot(ea, cross(eb, m)), along * dot(ea, eb));
        let r = a.hypot(b);
        if r < c.abs() || r < 1e-12 {
            return Err(Error::param(
                "misorientation",
                misorientation.phi(),
                "a zone axis that the two axes can reach",
            ));
        }
        let (middle, half) = (b.atan2(a), (-c / r).clamp(-1.0, 1.0).acos());
        let wrap = |x: f64| x - (x / std::f64::consts::TAU).round() * std::f64::consts::TAU;
        let mut best: Option<Tilts> = None;
        for beta in [wrap(middle + half), wrap(middle - half)] {
            let v = rotate(eb, beta, m);
            // The rotation about e_α from v to z: both are perpendicular to it.
            let alpha = dot(ea, cross(v, Z)).atan2(dot(v, Z));
            let tilts = Tilts { alpha: Angle::rad(alpha), beta: Angle::rad(beta) };
            let far = |t: &Tilts| (t.beta - now.beta).abs().to_rad() + (t.alpha - now.alpha).abs().to_rad();
            if best.is_none_or(|b| far(&tilts) < far(&b)) {
                best = Some(tilts);
            }
        }
        let best = best.unwrap_or(now);
        if best.alpha.abs() > self.range.alpha || best.beta.abs() > self.range.beta {
            let got = format!("α {:.3}°, β {:.3}°", best.alpha.to_deg(), best.beta.to_deg());
            return Err(Error::param("misorientation", got, "tilts within the range of the holder"));
        }
        Ok(best)
    }

    /// The misorientation that a zone axis will have at other tilts.
    pub fn misorientation(&self, now: Tilts, seen: Misorientation, then: Tilts) -> Misorientation {
        let (ea, eb) = (axis(self.alpha_axis), axis(self.beta_axis));
        let m = rotate(eb, -now.beta.to_rad(), rotate(ea, -now.alpha.to_rad(), seen.axis()));
        Misorientation::of_axis(rotate(ea, then.alpha.to_rad(), rotate(eb, then.beta.to_rad(), m)))
    }

    /// Standard deviations of the tilts of [`Holder::target`] from those of the misorientation along φ and across it.
    ///
    /// # Errors
    /// As [`Holder::target`].
    pub fn target_sigma(
        &self,
        now: Tilts,
        misorientation: Misorientation,
        along: Angle,
        across: Angle,
    ) -> Result<Tilts, Error> {
        let (s, c) = misorientation.azimuth().to_rad().sin_cos();
        let step = 1e-5;
        let at = |u: [f64; 2], h: f64| {
            let t = misorientation.tilt;
            self.target(now, Misorientation { tilt: [0, 1].map(|i| t[i] + Angle::rad(u[i] * h)) })
        };
        let (mut alpha, mut beta) = (0.0, 0.0);
        for (u, sigma) in [([s, c], along), ([c, -s], across)] {
            let (up, down) = (at(u, step)?, at(u, -step)?);
            alpha += ((up.alpha - down.alpha).to_rad() / (2.0 * step) * sigma.to_rad()).powi(2);
            beta += ((up.beta - down.beta).to_rad() / (2.0 * step) * sigma.to_rad()).powi(2);
        }
        Ok(Tilts { alpha: Angle::rad(alpha.sqrt()), beta: Angle::rad(beta.sqrt()) })
    }

    fn check(&self) -> Result<(), Error> {
        let between = (self.alpha_axis - self.beta_axis).to_rad().sin().abs();
        if between.is_nan() || between <= 10f64.to_radians().sin() {
            let got = format!("{} and {}", self.alpha_axis, self.beta_axis);
            return Err(Error::param("alpha_axis, beta_axis", got, "directions at least 10° apart"));
        }
        if !(self.range.alpha > Angle::ZERO && self.range.beta > Angle::ZERO) {
            return Err(Error::param("range", format!("{:?}", self.range), "positive angles"));
        }
        Ok(())
    }
}

const Z: Vector = [1.0, 0.0, 0.0];

/// A direction in the pattern as a vector `[z, y, x]`.
fn axis(direction: Angle) -> Vector {
    let (s, c) = direction.to_rad().sin_cos();
    [0.0, s, c]
}

/// v turned about the unit vector k: `v cos a + k × v sin a + k (k·v)(1 − cos a)`.
fn rotate(k: Vector, a: f64, v: Vector) -> Vector {
    let (s, c) = a.sin_cos();
    let (kv, along) = (cross(k, v), dot(k, v) * (1.0 - c));
    std::array::from_fn(|i| v[i] * c + kv[i] * s + k[i] * along)
}

/// A misorientation of one zone axis at known tilts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TiltMeasurement {
    /// The holder's angles.
    pub tilts: Tilts,
    /// Where the zone axis was seen.
    pub seen: Misorientation,
    /// Standard deviation of each component of it.
    pub sigma: Angle,
}

/// A holder's axes from measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The holder.
    pub holder: Holder,
    /// Standard deviations of the directions of the α and the β axis.
    pub sigma: [Angle; 2],
    /// Root mean square of what is left, in standard deviations of the measurements; about 1, or 0 for as
    /// many unknowns as numbers.
    pub residual: f64,
}

/// The directions of the two tilt axes from misorientations of one zone axis at three or more known tilts: a
/// first pattern, one after a tilt in α, one
/// after a tilt in β.
///
/// Least squares for the two directions and the zone axis of the untilted specimen: four numbers from two for
/// each pattern. Starts are 24 directions
/// of α with β a right angle to either side.
///
/// # Errors
/// [`Error::Data`] for fewer than three measurements, or tilts that do not change in two directions;
/// [`Error::Param`] for numbers that are not finite or
/// standard deviations that are not positive.
pub fn calibrate_holder(measurements: &[TiltMeasurement], range: Tilts) -> Result<Calibration, Error> {
    if measurements.len() < 3 {
        return Err(Error::Data { what: format!("{} measurements, at least 3", measurements.len()), index: 0 });
    }
    let finite = |m: &TiltMeasurement| {
        let angles = [m.tilts.alpha, m.tilts.beta, m.seen.tilt[0], m.seen.tilt[1]];
        angles.iter().all(|a| a.abs() < Angle::deg(80.0)) && m.sigma > Angle::ZERO && m.sigma.is_finite()
    };
    if let Some(bad) = measurements.iter().find(|m| !finite(m)) {
        return Err(Error::param("measurements", format!("{bad:?}"), "angles below 80°, positive deviations"));
    }
    // The tilts must span the plane (α, β).
    let first = measurements[0].tilts;
    let d: Vec<[f64; 2]> = measurements
        .iter()
        .map(|m| [(m.tilts.alpha - first.alpha).to_rad(), (m.tilts.beta - first.beta).to_rad()])
        .collect();
    let widest = d.iter().flat_map(|u| d.iter().map(move |v| (u[0] * v[1] - u[1] * v[0]).abs())).fold(0.0, f64::max);
    if widest < 1e-7 {
        return Err(Error::Data { what: "tilts in α and in β are both needed".into(), index: 0 });
    }

    // Unknowns: directions of α and β, and the slope of the zone axis at no tilt.
    let residuals = |x: &[f64; 4]| -> Vec<f64> {
        let (ea, eb) = (axis(Angle::rad(x[0])), axis(Angle::rad(x[1])));
        let m = Misorientation::from_slope([x[2], x[3]]).axis();
        let mut out = Vec::with_capacity(2 * measurements.len());
        for k in measurements {
            let n = rotate(ea, k.tilts.alpha.to_rad(), rotate(eb, k.tilts.beta.to_rad(), m));
            let t = if n[0] > 0.1 { Misorientation::of_axis(n).tilt } else { [Angle::rad(9.0); 2] };
            out.extend((0..2).map(|i| (t[i] - k.seen.tilt[i]) / k.sigma));
        }
        out
    };
    let square = |r: &[f64]| r.iter().map(|r| r * r).sum::<f64>();
    let mut best: Option<([f64; 4], f64, [f64; 16])> = None;
    for start in 0..48 {
        let alpha = f64::from(start / 2) * std::f64::consts::TAU / 24.0;
        let beta = alpha + if start % 2 == 0 { 1.0 } else { -1.0 } * std::f64::consts::FRAC_PI_2;
        // The zone axis that the first measurement then means.
        let t = measurements[0];
        let (ea, eb) = (axis(Angle::rad(alpha)), axis(Angle::rad(beta)));
        let m = rotate(eb, -t.tilts.beta.to_rad(), rotate(ea, -t.tilts.alpha.to_rad(), t.seen.axis()));
        let w = Misorientation::of_axis(m).slope();
        let mut x = [alpha, beta, w[0], w[1]];
        let mut value = square(&residuals(&x));
        let mut normal = [0.0; 16];
        let mut mu = 1e-3;
        for _ in 0..60 {
            let r = residuals(&x);
            let columns: Vec<Vec<f64>> = (0..4)
                .map(|k| {
                    let mut y = x;
                    y[k] += 1e-6;
                    residuals(&y).iter().zip(&r).map(|(a, b)| (a - b) / 1e-6).collect()
                })
                .collect();
            let product = |u: &[f64], v: &[f64]| u.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
            normal = std::array::from_fn(|i| product(&columns[i / 4], &columns[i % 4]));
            let mut damped = normal;
            (0..4).for_each(|k| damped[5 * k] *= 1.0 + mu);
            let right: Vec<f64> = columns.iter().map(|c| -product(c, &r)).collect();
            let Ok(step) = cholesky_solve(4, &damped, &right) else { break };
            let y: [f64; 4] = std::array::from_fn(|k| x[k] + step[k]);
            let next = square(&residuals(&y));
            if next < value {
                let small = value - next < 1e-12 * value;
                (x, value, mu) = (y, next, mu * 0.2);
                if small {
                    break;
                }
            } else {
                mu = (mu * 10.0).max(1e-6);
                if mu > 1e12 {
                    break;
                }
            }
        }
        if best.as_ref().is_none_or(|b| value < b.1) {
            best = Some((x, value, normal));
        }
    }
    let Some((x, value, normal)) = best else {
        return Err(Error::Data { what: "no start for the axes".into(), index: 0 });
    };
    let wrap = |x: f64| Angle::rad(x - (x / std::f64::consts::TAU).round() * std::f64::consts::TAU);
    let holder = Holder { alpha_axis: wrap(x[0]), beta_axis: wrap(x[1]), range };
    holder.check()?;
    let sigma = [0, 1].map(|k| {
        let mut unit = [0.0; 4];
        unit[k] = 1.0;
        cholesky_solve(4, &normal, &unit).map_or(Angle::rad(f64::INFINITY), |v| Angle::rad(v[k].max(0.0).sqrt()))
    });
    let freedom = (2 * measurements.len() - 4).max(1) as f64;
    Ok(Calibration { holder, sigma, residual: (value / freedom).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder { alpha_axis: Angle::deg(-37.0), beta_axis: Angle::deg(51.5), ..Holder::default() }
    }

    #[test]
    fn the_target_brings_the_zone_axis_onto_the_beam() {
        for (alpha, beta, phi, azimuth) in
            [(0.0, 0.0, 3.0, 20.0), (12.0, -8.0, 5.0, -160.0), (-20.0, 15.0, 0.3, 80.0), (5.0, 5.0, 0.0, 0.0)]
        {
            let now = Tilts { alpha: Angle::deg(alpha), beta: Angle::deg(beta) };
            let seen = Misorientation::new(Angle::deg(phi), Angle::deg(azimuth));
            let then = holder().target(now, seen).unwrap();
            assert!(holder().misorientation(now, seen, then).phi().to_rad() < 1e-14);
            // The way is not longer than needed: the axes are nearly perpendicular.
            let way = (then.alpha - now.alpha).to_deg().hypot((then.beta - now.beta).to_deg());
            assert!(way < 1.3 * phi + 1e-9, "{way} for {phi}");
        }
    }

    #[test]
    fn small_tilts_are_components_on_the_axes() {
        // About x by α the axis z moves towards −y; about y by β towards +x: n = z needs the opposite.
        let h = Holder::default();
        let seen = Misorientation { tilt: [Angle::mrad(1.0), Angle::mrad(-2.0)] };
        let t = h.target(Tilts::default(), seen).unwrap();
        assert!((t.alpha.to_rad().abs() - 1e-3).abs() < 1e-8 && (t.beta.to_rad().abs() - 2e-3).abs() < 1e-8, "{t:?}");
        let s = h.target_sigma(Tilts::default(), seen, Angle::mrad(0.1), Angle::mrad(0.1)).unwrap();
        assert!((s.alpha.to_rad() - 1e-4).abs() < 1e-8 && (s.beta.to_rad() - 1e-4).abs() < 1e-8);
    }

    #[test]
    fn three_patterns_calibrate_the_axes() {
        let truth = holder();
        let m = Misorientation::new(Angle::deg(3.0), Angle::deg(100.0));
        let first = Tilts { alpha: Angle::deg(4.0), beta: Angle::deg(-3.0) };
        let at = |alpha: f64, beta: f64| {
            let tilts = Tilts { alpha: Angle::deg(alpha), beta: Angle::deg(beta) };
            let seen = truth.misorientation(first, m, tilts);
            TiltMeasurement { tilts, seen, sigma: Angle::deg(0.02) }
        };
        let c = calibrate_holder(&[at(4.0, -3.0), at(6.0, -3.0), at(4.0, -1.0)], truth.range).unwrap();
        assert!((c.holder.alpha_axis - truth.alpha_axis).abs().to_deg() < 1e-4, "{c:?}");
        assert!((c.holder.beta_axis - truth.beta_axis).abs().to_deg() < 1e-4, "{c:?}");
        // The move of 2° is a difference of 0.02° √(1 + ½): of its start the other move knows the same
        // component once more.
        assert!(c.sigma.iter().all(|s| (s.to_rad() / (0.01 * 1.5f64.sqrt()) - 1.0).abs() < 0.01), "{c:?}");
    }

    #[test]
    fn impossible_holders_and_tilts_are_errors() {
        let seen = Misorientation::new(Angle::deg(3.0), Angle::ZERO);
        let parallel = Holder { beta_axis: Angle::deg(-36.0), ..holder() };
        assert!(parallel.target(Tilts::default(), seen).is_err());
        let far = Tilts { alpha: Angle::deg(29.0), beta: Angle::deg(29.0) };
        let off = Misorientation::new(Angle::deg(20.0), Angle::deg(30.0));
        let all = [0.0, 90.0, 180.0, 270.0].map(|a| Misorientation::new(off.phi(), Angle::deg(a)));
        assert!(all.iter().any(|m| holder().target(far, *m).is_err()));
        let same = TiltMeasurement { tilts: Tilts::default(), seen, sigma: Angle::deg(0.1) };
        assert!(calibrate_holder(&[same; 3], Tilts { alpha: Angle::deg(30.0), beta: Angle::deg(30.0) }).is_err());
        assert!(calibrate_holder(&[same; 2], Tilts::default()).is_err());
    }
}
