//! The Laue circle: the reflections that the Ewald sphere cuts lie on a circle through the direct beam.

use crate::error::Error;
use crate::hrtem::rocking::Misorientation;
use crate::optics::wavelength;
use crate::units::{Angle, Energy, SpatialFrequency};

/// Centres of the grid from the middle to the largest tilt.
const GRID: i32 = 32;

/// How the circle is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaueParams {
    /// Beam energy.
    pub energy: Energy,
    /// Largest misorientation.
    pub tilt: Angle,
    /// Largest number of steps.
    pub iterations: usize,
}

/// 300 keV, to 6°, 50 steps.
impl Default for LaueParams {
    fn default() -> Self {
        LaueParams { energy: Energy::kev(300.0), tilt: Angle::deg(6.0), iterations: 50 }
    }
}

/// A Laue circle. It passes through the direct beam: its radius is the length of `centre`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaueCircle {
    /// Its centre from the direct beam, `[y, x]`.
    pub centre: [SpatialFrequency; 2],
    /// `r = sin φ/λ`.
    pub radius: SpatialFrequency,
    /// The misorientation that it means.
    pub tilt: Misorientation,
    /// Standard deviation of φ, from the scatter of the reflections about the circle.
    pub sigma_phi: Angle,
    /// Root of the weighted mean square distance of the reflections from the circle; of those far from it
    /// little counts.
    pub rms: SpatialFrequency,
}

/// Fits the circle through the direct beam to reflections.
///
/// Minimised is `Σ Iⱼ ρ(|qⱼ − c| − |c|)` over the centre c, with Cauchy's ρ(d) = ln(1 + d²/δ²) and δ from the
/// median distance: reflections of
/// other circles (higher layers) and single strong ones count little. The start is the best of a grid of centres.
/// φ follows from
/// `r = sin φ/λ`.
///
/// What this fit does not know is that a reflection may be strong because of its structure factor, far from the
/// circle: its answer has a bias
/// of about the rocking curve's width (see docs/zone_axis.md); [`fit_excitation`](crate::hrtem::fit_excitation)
/// has not.
///
/// # Units
/// `q` from the direct beam, `[y, x]` in 1/Å; `intensities` in any unit.
///
/// # Errors
/// [`Error::Shape`] where lengths differ; [`Error::Param`] for parameters out of range; [`Error::Data`] for
/// numbers that are not finite or
/// negative intensities, for fewer than 3 reflections, or when all lie on one line through the direct beam.
///
/// # References
/// D. Zhang et al., *Science* 359, 675 (2018), figure 1 (r = sin φ/λ). Weights: P. J. Huber, *Robust Statistics*
/// (1981), section 7.8.
pub fn fit_laue_circle(q: &[[f64; 2]], intensities: &[f64], params: &LaueParams) -> Result<LaueCircle, Error> {
    if q.len() != intensities.len() {
        return Err(Error::shape("fit_laue_circle", &[q.len()], &[intensities.len()]));
    }
    let good = params.energy >= Energy::ev(1e3) && params.energy <= Energy::ev(1e8);
    let good = good && params.tilt > Angle::ZERO && params.tilt <= Angle::deg(30.0) && params.iterations > 0;
    if !good {
        return Err(Error::param("params", format!("{params:?}"), "1 keV to 100 MeV, a tilt to 30°, at least a step"));
    }
    let bad = |i: &usize| !(q[*i].iter().all(|x| x.abs() < 100.0) && intensities[*i] >= 0.0 && intensities[*i] < 1e30);
    if let Some(index) = (0..q.len()).find(bad) {
        return Err(Error::Data { what: format!("reflection {:?} of {}", q[index], intensities[index]), index });
    }
    let lambda = wavelength(params.energy).to_angstrom();
    let most = params.tilt.to_rad().sin() / lambda;
    // The direct beam itself says nothing.
    let used: Vec<usize> = (0..q.len()).filter(|&i| intensities[i] > 0.0 && norm(q[i]) > 1e-6).collect();
    if used.len() < 3 {
        return Err(Error::Data {
            what: format!("{} reflections for a Laue circle, at least 3", used.len()),
            index: 0,
        });
    }

    // Normal equations of a weighted fit of b = J c, 2 × 2.
    let solve = |terms: &mut dyn Iterator<Item = (f64, [f64; 2], f64)>| {
        let (mut m, mut r) = ([0.0; 3], [0.0; 2]);
        for (w, j, b) in terms {
            m = [m[0] + w * j[0] * j[0], m[1] + w * j[0] * j[1], m[2] + w * j[1] * j[1]];
            r = [r[0] + w * j[0] * b, r[1] + w * j[1] * b];
        }
        let det = m[0] * m[2] - m[1] * m[1];
        let fine = det > 1e-9 * (m[0] + m[2]).powi(2);
        fine.then(|| ([(m[2] * r[0] - m[1] * r[1]) / det, (m[0] * r[1] - m[1] * r[0]) / det], m, det))
    };
    let line = |i: &usize| (1.0, q[*i], 0.0);
    if solve(&mut used.iter().map(line)).is_none() {
        return Err(Error::Data { what: "reflections on one line through the direct beam".into(), index: 0 });
    }
    let cap = |c: [f64; 2]| {
        let r = norm(c);
        if r > most { c.map(|x| x * most / r) } else { c }
    };

    let distance = |c: [f64; 2], q: [f64; 2]| norm([q[0] - c[0], q[1] - c[1]]) - norm(c);
    let scale = |c: [f64; 2]| {
        // Median of the distances by intensity, as a standard deviation.
        let mut d: Vec<(f64, f64)> = used.iter().map(|&i| (distance(c, q[i]).abs(), intensities[i])).collect();
        d.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = 0.5 * d.iter().map(|d| d.1).sum::<f64>();
        let mut sum = 0.0;
        let median = d.iter().find(|d| {
            sum += d.1;
            sum >= half
        });
        (1.4826 * median.map_or(0.0, |d| d.0)).max(1e-5)
    };
    let jacobian = |c: [f64; 2], q: [f64; 2]| {
        let (u, v) = ([c[0] - q[0], c[1] - q[1]], norm(c).max(1e-12));
        let n = norm(u).max(1e-12);
        [u[0] / n - c[0] / v, u[1] / n - c[1] / v]
    };
    // Start: the best of a grid of centres, distances of a hundredth of the largest radius counting half.
    let delta = 0.01 * most;
    let cost =
        |c: [f64; 2]| used.iter().map(|&i| intensities[i] * (distance(c, q[i]) / delta).powi(2).ln_1p()).sum::<f64>();
    let mut best = (f64::INFINITY, [0.0, most]);
    for i in -GRID..=GRID {
        for j in -GRID..=GRID {
            let at = [i, j].map(|i| f64::from(i) * most / f64::from(GRID));
            // A circle without radius says nothing.
            if (i, j) != (0, 0) && norm(at) <= most {
                let value = cost(at);
                if value < best.0 {
                    best = (value, at);
                }
            }
        }
    }
    let mut c = best.1;
    for _ in 0..params.iterations {
        let delta = scale(c);
        let term = |&i: &usize| {
            let d = distance(c, q[i]);
            (intensities[i] / (1.0 + (d / delta).powi(2)), jacobian(c, q[i]), -d)
        };
        // Half a step where the circle grows without end: arcs that are nearly straight.
        let Some((step, ..)) = solve(&mut used.iter().map(term)) else { break };
        let next = cap([c[0] + step[0], c[1] + step[1]]);
        let moved = norm([next[0] - c[0], next[1] - c[1]]);
        c = next;
        if moved < 1e-9 {
            break;
        }
    }

    // Covariance of c: between the inverses of the normal matrix, the scatter that was found.
    let delta = scale(c);
    let weight = |i: usize| intensities[i] / (1.0 + (distance(c, q[i]) / delta).powi(2));
    let total: f64 = used.iter().map(|&i| weight(i)).sum();
    let square: f64 = used.iter().map(|&i| weight(i) * distance(c, q[i]).powi(2)).sum();
    let radius = norm(c);
    let u = if radius > 0.0 { c.map(|x| x / radius) } else { [0.0, 1.0] };
    let terms = |&i: &usize| (weight(i), jacobian(c, q[i]), 0.0);
    let sigma = solve(&mut used.iter().map(terms)).map_or(f64::INFINITY, |(_, m, det)| {
        let row = [(m[2] * u[0] - m[1] * u[1]) / det, (m[0] * u[1] - m[1] * u[0]) / det];
        let term = |&i: &usize| {
            let j = jacobian(c, q[i]);
            (weight(i) * distance(c, q[i]) * (row[0] * j[0] + row[1] * j[1])).powi(2)
        };
        used.iter().map(term).sum::<f64>().sqrt()
    });
    let sine = (lambda * radius).min(1.0);
    let phi = sine.asin();
    let tilt = Misorientation { tilt: u.map(|u| Angle::rad(u * phi)) };
    Ok(LaueCircle {
        centre: c.map(SpatialFrequency::per_angstrom),
        radius: SpatialFrequency::per_angstrom(radius),
        tilt,
        sigma_phi: Angle::rad(lambda * sigma / (1.0 - sine * sine).sqrt().max(1e-6)),
        rms: SpatialFrequency::per_angstrom((square / total.max(1e-300)).sqrt()),
    })
}

fn norm(v: [f64; 2]) -> f64 {
    v[0].hypot(v[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(phi: f64, azimuth: f64, arc: f64) -> Vec<[f64; 2]> {
        let lambda = wavelength(Energy::kev(300.0)).to_angstrom();
        let r = phi.to_radians().sin() / lambda;
        let c = [r * azimuth.to_radians().sin(), r * azimuth.to_radians().cos()];
        // Points of the circle, the direct beam in the middle of the arc.
        let at = |i: i32| {
            let a = azimuth.to_radians() + std::f64::consts::PI + arc * (f64::from(i) - 10.25) / 10.0;
            [c[0] + r * a.sin(), c[1] + r * a.cos()]
        };
        (0..=20).map(at).collect()
    }

    #[test]
    fn exact_circles_come_back_and_a_fifth_of_outliers_does_no_harm() {
        for (phi, azimuth, arc) in [(0.5, 40.0, 2.0), (2.0, -130.0, 1.0), (5.0, 90.0, 0.3)] {
            let mut q = circle(phi, azimuth, arc);
            let mut intensities = vec![1.0; q.len()];
            let p = LaueParams::default();
            let truth = Misorientation::new(Angle::deg(phi), Angle::deg(azimuth));
            let c = fit_laue_circle(&q, &intensities, &p).unwrap();
            assert!(c.tilt.angle_to(&truth).to_deg() < 1e-6, "{c:?}");
            let r = c.radius.to_per_angstrom();
            q.extend((0..4).map(|i| [0.3 * r * f64::from(i), -0.4 * r]));
            intensities.extend([1.0; 4]);
            let c = fit_laue_circle(&q, &intensities, &p).unwrap();
            assert!(c.tilt.angle_to(&truth).to_deg() < 1e-3 * phi, "{c:?}");
        }
    }

    #[test]
    fn what_has_no_circle_is_an_error() {
        let p = LaueParams::default();
        let line: Vec<[f64; 2]> = (1..9).map(|i| [0.1 * f64::from(i), 0.2 * f64::from(i)]).collect();
        assert!(fit_laue_circle(&line, &[1.0; 8], &p).is_err());
        assert!(fit_laue_circle(&line[..2], &[1.0; 2], &p).is_err());
        assert!(fit_laue_circle(&line, &[1.0; 7], &p).is_err());
        assert!(fit_laue_circle(&line, &[f64::NAN; 8], &p).is_err());
        let energy = Energy::ev(f64::NAN);
        assert!(fit_laue_circle(&line, &[1.0; 8], &LaueParams { energy, ..p }).is_err());
    }
}
