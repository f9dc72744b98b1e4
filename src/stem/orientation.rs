//! How the detector's axes lie relative to the scan's: applied, and found from the data.

use crate::error::Error;
use crate::stem::{Boundary, Com, Icom, IcomParams, LowFrequency};
use crate::units::{Angle, Length};

/// Whether the detector's axes are exchanged (the pattern is mirrored) relative to those of the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transposition {
    /// (y, x) stays (y, x).
    #[default]
    Kept,
    /// (y, x) becomes (x, y).
    Swapped,
}

/// From detector axes to scan axes: c_scan = R(θ) T c_detector. T exchanges the components or not, then R rotates from
/// +x (columns) towards +y (rows):
///
/// ```text
/// c'_x = cos θ c_x − sin θ c_y
/// c'_y = sin θ c_x + cos θ c_y
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orientation {
    /// θ.
    pub rotation: Angle,
    /// T, which acts first.
    pub transposition: Transposition,
}

impl Orientation {
    /// A vector `[y, x]` on the detector, along the axes of the scan.
    pub fn to_scan(&self, c: [f64; 2]) -> [f64; 2] {
        let [y, x] = self.transposed(c);
        let (sin, cos) = self.rotation.to_rad().sin_cos();
        [sin * x + cos * y, cos * x - sin * y]
    }

    /// The inverse (and transpose) of [`Orientation::to_scan`].
    pub fn to_detector(&self, [y, x]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = self.rotation.to_rad().sin_cos();
        self.transposed([cos * y - sin * x, sin * y + cos * x])
    }

    /// A covariance [yy, xx, xy] on the detector, along the axes of the scan.
    pub fn covariance_to_scan(&self, [yy, xx, xy]: [f64; 3]) -> [f64; 3] {
        // V' = M V Mᵀ, with the columns of M the images of the unit vectors.
        let ([a, c], [b, d]) = (self.to_scan([1.0, 0.0]), self.to_scan([0.0, 1.0]));
        [
            a * a * yy + b * b * xx + 2.0 * a * b * xy,
            c * c * yy + d * d * xx + 2.0 * c * d * xy,
            a * c * yy + b * d * xx + (a * d + b * c) * xy,
        ]
    }

    /// First this orientation, then `next`, as one.
    pub fn then(&self, next: &Orientation) -> Orientation {
        // T R(θ) = R(−θ) T.
        let rotation = match next.transposition {
            Transposition::Kept => next.rotation + self.rotation,
            Transposition::Swapped => next.rotation - self.rotation,
        };
        let transposition = match (self.transposition, next.transposition) {
            (a, b) if a == b => Transposition::Kept,
            _ => Transposition::Swapped,
        };
        Orientation { rotation, transposition }
    }

    fn transposed(&self, [y, x]: [f64; 2]) -> [f64; 2] {
        match self.transposition {
            Transposition::Kept => [y, x],
            Transposition::Swapped => [x, y],
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        match self.rotation.is_finite() {
            true => Ok(()),
            false => Err(Error::param("rotation", self.rotation, "a finite angle")),
        }
    }

    /// Finds rotation, transposition and sign from the centre of mass alone.
    ///
    /// A phase φ gives c = ∇φ/2π, a field without curl. For each transposition the energy of the part of R(θ) T c that
    /// is no gradient, with P the projector onto gradients (∇ iCOM / 2π), u = T c and v = R(90°) u,
    ///
    /// ```text
    /// Q(θ) = ‖(1 − P)(cos θ u + sin θ v)‖² = Q_uu cos² θ + Q_vv sin² θ + 2 Q_uv sin θ cos θ
    /// ```
    ///
    /// is smallest at θ = ½ atan2(−2 Q_uv, Q_vv − Q_uu), and the transposition with the smaller Q is taken. Because
    /// every gradient part is weighted alike, this is the maximum-likelihood estimate for white noise, where the curl
    /// itself would favour high frequencies.
    ///
    /// θ and θ + 180° have the same Q; they differ in the sign of φ. Atoms attract electrons: with the crate's
    /// conventions (transmission exp(+iσV), wave e^{+2πi k·r}) φ = σV consists of narrow positive peaks on a flat
    /// ground, and its third central moment is positive. So that sign is taken for which the integrated phase, without
    /// its lowest frequencies, has positive skewness. A sample of holes in a film, or a probe so far out of focus that
    /// contrast reverses, breaks this assumption: look at [`OrientationFit::skewness`], and add 180° where you know
    /// better.
    ///
    /// # Units
    /// `step` is the scan step `[y, x]`. The result leads from the axes that `com` is in to those of the scan; put it
    /// into [`crate::stem::Calibration::orientation`] if `com` was made with the default there.
    ///
    /// # Errors
    /// [`Error::Param`] for steps or a scan that [`Icom`] does not take, [`Error::Data`] when the centre of mass is the
    /// same everywhere.
    ///
    /// # References
    /// The curl criterion: B. H. Savitzky et al., Microsc. Microanal. 27, 712 (2021), section on DPC; the projector
    /// form and the sign are derived in `docs/icom.md`.
    pub fn find(com: &Com, step: [Length; 2], boundary: Boundary) -> Result<OrientationFit, Error> {
        let scan = com.scan();
        let gradients = Icom::new(scan, IcomParams { step, boundary, ..IcomParams::default() })?;
        let centred = com.without_mean();
        let (y, x) = (centred.y.as_slice(), centred.x.as_slice());
        let energy: f64 = y.iter().chain(x).map(|c| c * c).sum();
        if !(energy > 0.0 && energy.is_finite()) {
            return Err(Error::Data { what: format!("centre of mass without variation (energy {energy})"), index: 0 });
        }
        let fits = [Transposition::Kept, Transposition::Swapped].map(|transposition| {
            let (u_y, u_x) = if transposition == Transposition::Kept { (y, x) } else { (x, y) };
            // v = R(90°) u: v_x = −u_y, v_y = u_x.
            let v_x: Vec<f64> = u_y.iter().map(|c| -c).collect();
            let (u, v) = (gradients.curl_part(u_y, u_x), gradients.curl_part(u_x, &v_x));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (q_uu, q_vv, q_uv) = (dot(&u, &u), dot(&v, &v), dot(&u, &v));
            let theta = 0.5 * (-2.0 * q_uv).atan2(q_vv - q_uu);
            let q = 0.5 * (q_uu + q_vv) - (0.25 * (q_uu - q_vv).powi(2) + q_uv * q_uv).sqrt();
            (q.max(0.0) / energy, Orientation { rotation: Angle::rad(theta), transposition })
        });
        let [(kept, a), (swapped, b)] = fits;
        let (residual, other_residual, mut orientation) =
            if kept <= swapped { (kept, swapped, a) } else { (swapped, kept, b) };

        // The sign, from a phase without the frequencies that boundary and noise dominate: below one period in the
        // shorter side.
        let side = (step[0] * scan[0] as f64).min(step[1] * scan[1] as f64);
        let low = LowFrequency::HighPass(1.0 / side);
        let icom = Icom::new(scan, IcomParams { step, boundary, low, ..IcomParams::default() })?;
        let mut skewness = skewness(icom.run(&centred.turned(&orientation))?.phase.as_slice());
        if skewness < 0.0 {
            skewness = -skewness;
            orientation.rotation += Angle::deg(180.0);
        }
        if orientation.rotation > Angle::deg(180.0) {
            orientation.rotation -= Angle::deg(360.0);
        }
        Ok(OrientationFit { orientation, residual, other_residual, skewness })
    }
}

/// What [`Orientation::find`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrientationFit {
    /// From the axes of the centre of mass to those of the scan; the rotation in (−180°, 180°].
    pub orientation: Orientation,
    /// The fraction of the energy Σ |c|² that is no gradient, 0 … 1: near 0 for a good fit, ½ for white noise.
    pub residual: f64,
    /// The same with the other transposition at its best angle. Little difference means that the data do not tell: a
    /// structure whose only strong spatial frequencies lie along two perpendicular directions is its own mirror image.
    pub other_residual: f64,
    /// Third standardised moment of the phase: positive by choice; below about √(6/number of positions) it decides
    /// nothing.
    pub skewness: f64,
}

/// ⟨(φ − ⟨φ⟩)³⟩ / ⟨(φ − ⟨φ⟩)²⟩^{3/2}; 0 for a constant.
fn skewness(phi: &[f64]) -> f64 {
    let n = phi.len() as f64;
    let mean = phi.iter().sum::<f64>() / n;
    let moment = |p: i32| phi.iter().map(|v| (v - mean).powi(p)).sum::<f64>() / n;
    let variance = moment(2);
    if variance > 0.0 { moment(3) / variance.powf(1.5) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANGLES: [f64; 5] = [0.0, 17.0, 90.0, -135.0, 180.0];
    const FLIPS: [Transposition; 2] = [Transposition::Kept, Transposition::Swapped];

    fn all() -> impl Iterator<Item = Orientation> {
        ANGLES.into_iter().flat_map(|a| {
            FLIPS.into_iter().map(move |transposition| Orientation { rotation: Angle::deg(a), transposition })
        })
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-14)
    }

    #[test]
    fn to_detector_is_the_inverse_and_then_is_the_product() {
        let c = [0.3, -1.2];
        for a in all() {
            assert!(close(&a.to_detector(a.to_scan(c)), &c));
            for b in all() {
                assert!(close(&a.then(&b).to_scan(c), &b.to_scan(a.to_scan(c))), "{a:?} then {b:?}");
            }
        }
    }

    #[test]
    fn covariances_turn_as_outer_products_do() {
        let [y, x] = [0.7, -0.4];
        for o in all() {
            let [ty, tx] = o.to_scan([y, x]);
            assert!(close(&o.covariance_to_scan([y * y, x * x, x * y]), &[ty * ty, tx * tx, tx * ty]));
        }
    }
}
