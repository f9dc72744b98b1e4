//! Kinematic diffraction patterns of tilted crystals: the test bed of the zone-axis search.

use std::f64::consts::PI;

use crate::error::Error;
use crate::hrtem::net_fit::turned;
use crate::hrtem::rocking::{Misorientation, excitation_error, rocking};
use crate::hrtem::zone::ZoneNet;
use crate::num_complex::Complex;
use crate::optics::constants::{CODATA_2018, checked_wavelength, interaction_parameter};
use crate::rng;
use crate::specimen::special::erf;
use crate::specimen::{Atoms, Parametrization, ScatteringFactor, Vector, cross, dot, norm};
use crate::tensor::Tensor;
use crate::units::{Angle, Energy, Length, SpatialFrequency};

/// Reflections further than this from the sphere are left out, 1/Å.
const FAR: f64 = 0.06;

/// A crystal as a parallel beam sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrystalParams {
    /// Beam energy.
    pub energy: Energy,
    /// How the zone axis stands.
    pub tilt: Misorientation,
    /// Direction of the net's first basis vector in the pattern, from +x to +y.
    pub rotation: Angle,
    /// Mean thickness T.
    pub thickness: Length,
    /// Standard deviation of the thickness under the beam, as a fraction of T.
    pub spread: f64,
}

/// 300 keV, on the axis, 30 nm with a spread of 5 %.
impl Default for CrystalParams {
    fn default() -> Self {
        let (energy, thickness) = (Energy::kev(300.0), Length::nm(30.0));
        CrystalParams { energy, tilt: Misorientation::default(), rotation: Angle::ZERO, thickness, spread: 0.05 }
    }
}

/// One reflection of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reflection {
    /// Its indices.
    pub hkl: [i32; 3],
    /// Its layer along the zone axis.
    pub layer: i32,
    /// Where it is seen from the direct beam, `[y, x]` in 1/Å.
    pub q: [f64; 2],
    /// Its excitation error, 1/Å, positive inside the Ewald sphere.
    pub excitation: SpatialFrequency,
    /// Its intensity as a share of the incident electrons.
    pub share: f64,
}

/// Structure factors of a crystal around a zone axis.
#[derive(Clone, Debug)]
pub struct ZonePattern {
    net: ZoneNet,
    /// hkl, layer, coordinates along a and perpendicular to it in the layer, height above layer 0, |V_g|² in V².
    list: Vec<([i32; 3], i32, [f64; 3], f64)>,
}

impl ZonePattern {
    /// The structure factors `V_g = Ω⁻¹ Σ_j (f_j(g)/κ) e^{−2π²σ_j²g²} e^{−2πi g·r_j}` of the reflections up
    /// to `limit` and near
    /// enough to the plane to be excited at tilts up to 6°.
    ///
    /// The thermal motion is the mean of the three axes.
    ///
    /// # Errors
    /// As [`ZoneNet::new`]; [`Error::Param`] for a limit that is not between 0.01 and 5 1/Å;
    /// [`Error::Unsupported`] for species without a
    /// scattering factor.
    pub fn new(crystal: &Atoms, zone: [i32; 3], limit: SpatialFrequency) -> Result<Self, Error> {
        let net = ZoneNet::new(crystal, zone)?;
        let q_max = limit.to_per_angstrom();
        if !(0.01..=5.0).contains(&q_max) {
            return Err(Error::param("limit", limit, "0.01 to 5 1/Å"));
        }
        let species = crystal.species();
        let factors: Vec<ScatteringFactor> =
            species.iter().map(|&s| ScatteringFactor::new(s, Parametrization::Kirkland)).collect::<Result<_, _>>()?;
        let places: Vec<[f64; 3]> = crystal.atoms.iter().map(|a| crystal.cell.fractional(a.position)).collect();
        let kinds: Vec<(usize, f64, f64)> = crystal
            .atoms
            .iter()
            .map(|a| {
                let k = species.binary_search(&a.species).unwrap_or(0);
                (k, a.sigma.iter().map(|s| s * s).sum::<f64>() / 3.0, a.occupancy)
            })
            .collect();

        // The frame: z along the zone axis, x along a, y to make it right-handed.
        let reciprocal = crystal.cell.reciprocal();
        let g_of = |h: [i32; 3]| -> Vector {
            std::array::from_fn(|i| (0..3).map(|k| f64::from(h[k]) * reciprocal[k][i]).sum())
        };
        let unit = |v: Vector| v.map(|x| x / norm(v));
        let ez = unit(crystal.cell.cartesian(net.zone.map(f64::from)));
        let ex = unit(g_of(net.basis[0]));
        let ey = cross(ez, ex);
        let layer = net.layer.to_per_angstrom();
        let most = (0.11 * q_max + 0.02 * q_max * q_max + FAR) / layer;
        let volume = crystal.cell.volume_a3().abs();
        let reach = (q_max * q_max + (most * layer).powi(2)).sqrt();
        let bounds = crystal.cell.vectors.map(|v| (reach * norm(v)).ceil() as i32);
        // Reflections that centring forbids have g · r fractional, or vanish exactly.
        let r = norm(crystal.cell.cartesian(net.zone.map(f64::from)));
        let steps = (r / net.repeat.to_angstrom()).round();
        let mut list = Vec::new();
        for h in -bounds[0]..=bounds[0] {
            for k in -bounds[1]..=bounds[1] {
                for l in -bounds[2]..=bounds[2] {
                    let g = g_of([h, k, l]);
                    let z = dot(g, ez);
                    let n = z / layer;
                    let p = [dot(g, ex), dot(g, ey), z];
                    let inside = p[0].hypot(p[1]) <= q_max && n.abs() <= most && [h, k, l] != [0; 3];
                    if !inside || (steps > 1.5 && (n - n.round()).abs() > 0.1) {
                        continue;
                    }
                    let g2 = dot(g, g);
                    let f: Vec<f64> = factors.iter().map(|f| f.projected_fourier(g2, 0.0)).collect();
                    let mut v = Complex::new(0.0, 0.0);
                    for (x, &(kind, u, occupancy)) in places.iter().zip(&kinds) {
                        let phase = -2.0 * PI * (f64::from(h) * x[0] + f64::from(k) * x[1] + f64::from(l) * x[2]);
                        let size = f[kind] * occupancy * (-2.0 * PI * PI * u * g2).exp();
                        v += Complex::from_polar(size, phase);
                    }
                    let v2 = (v / volume).norm_sqr();
                    if v2 > 1e-10 {
                        list.push(([h, k, l], n.round() as i32, p, v2));
                    }
                }
            }
        }
        Ok(ZonePattern { net, list })
    }

    /// The net of the zone axis.
    pub fn net(&self) -> &ZoneNet {
        &self.net
    }

    /// The reflections of the tilted crystal, within 0.06 1/Å of the sphere.
    ///
    /// `I_g = σ² |V_g|² P(s)/(1 + Σ σ² |V|² P)` with the rocking curve `P = [1 − e^{−2(πsρT)²} cos
    /// 2πsT]/(2π²s²)`: kinematic
    /// intensities, all divided so that no electron is counted twice. s is exact, for the sphere and for the turned
    /// crystal.
    ///
    /// # Errors
    /// [`Error::Param`] for an energy, thickness or spread out of range, or a tilt above 6°.
    pub fn reflections(&self, params: &CrystalParams) -> Result<Vec<Reflection>, Error> {
        let lambda = checked_wavelength(params.energy, &CODATA_2018)?;
        let t = params.thickness.to_angstrom();
        if !(t > 0.0 && t <= 1e5) {
            return Err(Error::param("thickness", params.thickness, "above 0 and at most 10 µm"));
        }
        if !(0.0..=1.0).contains(&params.spread) {
            return Err(Error::param("spread", params.spread, "0 to 1"));
        }
        if !(params.tilt.phi().to_deg() <= 6.0 && params.rotation.is_finite()) {
            return Err(Error::param("tilt", params.tilt.phi(), "at most 6°, at a finite rotation"));
        }
        let sigma = interaction_parameter(params.energy);
        let (s, c) = params.rotation.to_rad().sin_cos();
        let mut all = Vec::with_capacity(self.list.len() / 2);
        for &(hkl, layer, [x, y, z], v2) in &self.list {
            let g = turned(params.tilt.axis(), [z, s * x + c * y, c * x - s * y]);
            let q = [g[1], g[2]];
            // The sphere over q stands at −κ, the reflection at g_z.
            let e = excitation_error([0.0; 2], q, lambda, g[0]);
            if e.abs() <= FAR {
                let share = sigma * sigma * v2 * rocking(e, t, params.spread)[0];
                all.push(Reflection { hkl, layer, q, excitation: SpatialFrequency::per_angstrom(e), share });
            }
        }
        let total = 1.0 + all.iter().map(|r| r.share).sum::<f64>();
        all.iter_mut().for_each(|r| r.share /= total);
        Ok(all)
    }
}

/// How reflections are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordParams {
    /// Rows and columns of the pattern.
    pub dims: [usize; 2],
    /// Size of a pixel.
    pub pixel: SpatialFrequency,
    /// Where the direct beam falls, `[y, x]` in pixels.
    pub centre: [f64; 2],
    /// Standard deviation of a spot, in pixels.
    pub spot: f64,
    /// Electrons that reach the specimen.
    pub electrons: f64,
    /// Share of the electrons that is scattered between the reflections: `e^{−q/q_d}` around the direct beam.
    pub diffuse: f64,
    /// q_d of the diffuse background.
    pub diffuse_width: SpatialFrequency,
    /// Share of the electrons in a ring of amorphous material.
    pub ring: f64,
    /// Radius of the ring; its width (one standard deviation) is a tenth of it.
    pub ring_radius: SpatialFrequency,
    /// Radius of the beam stop, in pixels: nothing is recorded inside, nor behind its arm, which comes from
    /// the upper edge and is
    /// half as wide; 0 for none.
    pub stop: f64,
}

/// 512², 0.006 1/Å, the beam in the middle, spots of 1.3 pixels, 5·10⁵ electrons, 8 % of them diffuse within 0.25
/// 1/Å and 2 % in a
/// ring at 0.45 1/Å (amorphous carbon), a stop of 6 pixels.
impl Default for RecordParams {
    fn default() -> Self {
        RecordParams {
            dims: [512, 512],
            pixel: SpatialFrequency::per_angstrom(0.006),
            centre: [256.0, 256.0],
            spot: 1.3,
            electrons: 5e5,
            diffuse: 0.08,
            diffuse_width: SpatialFrequency::per_angstrom(0.25),
            ring: 0.02,
            ring_radius: SpatialFrequency::per_angstrom(0.45),
            stop: 6.0,
        }
    }
}

impl RecordParams {
    fn check(&self) -> Result<(), Error> {
        let [ny, nx] = self.dims;
        if !(ny >= 8 && nx >= 8 && ny <= 16384 && nx <= 16384) {
            return Err(Error::param("dims", format!("{:?}", self.dims), "8 to 16384 each way"));
        }
        if !(self.pixel > SpatialFrequency::ZERO && self.pixel.is_finite()) {
            return Err(Error::param("pixel", self.pixel, "a positive size"));
        }
        if !(0.3..=100.0).contains(&self.spot) {
            return Err(Error::param("spot", self.spot, "0.3 to 100 pixels"));
        }
        if !(self.electrons >= 0.0 && self.electrons <= 1e15) {
            return Err(Error::param("electrons", self.electrons, "0 to 10¹⁵"));
        }
        if !(self.diffuse >= 0.0 && self.ring >= 0.0 && self.diffuse + self.ring <= 1.0) {
            return Err(Error::param(
                "diffuse",
                format!("{}, ring {}", self.diffuse, self.ring),
                "shares of the electrons",
            ));
        }
        let sizes = [self.diffuse_width, self.ring_radius];
        if !sizes.iter().all(|s| *s > SpatialFrequency::ZERO && s.is_finite()) {
            return Err(Error::param("diffuse_width", format!("{sizes:?}"), "positive widths"));
        }
        if !(self.stop >= 0.0 && self.stop.is_finite() && self.centre.iter().all(|c| c.abs() < 1e6)) {
            return Err(Error::param("stop", format!("{} at {:?}", self.stop, self.centre), "a radius and a place"));
        }
        Ok(())
    }

    /// Which pixels the beam stop leaves.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn open(&self) -> Result<Tensor<bool>, Error> {
        self.check()?;
        let [cy, cx] = self.centre;
        Ok(Tensor::from_fn(&self.dims, |i| {
            let (y, x) = (i[0] as f64 - cy, i[1] as f64 - cx);
            let arm = y < 0.0 && x.abs() <= 0.5 * self.stop;
            self.stop == 0.0 || !(y.hypot(x) <= self.stop || arm)
        }))
    }

    /// The diffuse background, in electrons a pixel, at a distance from the direct beam.
    pub fn background(&self, q: SpatialFrequency) -> f64 {
        let pixel = self.pixel.to_per_angstrom();
        let q = q.to_per_angstrom();
        let d = self.diffuse_width.to_per_angstrom();
        let (r, width) = (self.ring_radius.to_per_angstrom(), 0.1 * self.ring_radius.to_per_angstrom());
        // Both are normalised over the plane: ∫ e^{−q/d} = 2πd², ring: 2πr · √(2π) width.
        let diffuse = self.diffuse * (-q / d).exp() / (2.0 * PI * d * d);
        let ring = self.ring * (-0.5 * ((q - r) / width).powi(2)).exp() / ((2.0 * PI).powf(1.5) * r * width);
        self.electrons * pixel * pixel * (diffuse + ring)
    }
}

/// Expected electrons a pixel: Gaussian spots integrated over pixels, the direct beam with what the reflections
/// leave, background,
/// beam stop.
///
/// # Errors
/// [`Error::Param`] for parameters out of range.
pub fn expected_pattern(reflections: &[Reflection], params: &RecordParams) -> Result<Tensor<f64>, Error> {
    params.check()?;
    let [ny, nx] = params.dims;
    let pixel = params.pixel.to_per_angstrom();
    let mut out = Tensor::from_fn(&params.dims, |i| {
        let (y, x) = (i[0] as f64 - params.centre[0], i[1] as f64 - params.centre[1]);
        params.background(SpatialFrequency::per_angstrom(y.hypot(x) * pixel))
    });
    let elastic = 1.0 - params.diffuse - params.ring;
    let scattered: f64 = reflections.iter().map(|r| r.share).sum();
    let direct = Reflection {
        hkl: [0; 3],
        layer: 0,
        q: [0.0; 2],
        excitation: SpatialFrequency::ZERO,
        share: (1.0 - scattered).max(0.0),
    };
    let reach = (6.0 * params.spot).ceil();
    for r in reflections.iter().chain([&direct]) {
        let at = [0, 1].map(|i| params.centre[i] + r.q[i] / pixel);
        let n = params.electrons * elastic * r.share;
        if n < 1e-9 || !at.iter().all(|a| a.is_finite()) {
            continue;
        }
        let range = |c: f64, n: usize| {
            let low = (c - reach).max(0.0) as usize;
            (low, ((c + reach + 1.0).max(0.0) as usize).min(n))
        };
        let ((y0, y1), (x0, x1)) = (range(at[0], ny), range(at[1], nx));
        let share = |i: usize, c: f64| gaussian_share(i as f64 - c, params.spot);
        for y in y0..y1 {
            let sy = n * share(y, at[0]);
            for x in x0..x1 {
                out[[y, x]] += sy * share(x, at[1]);
            }
        }
    }
    let open = params.open()?;
    out.as_mut_slice().iter_mut().zip(open.as_slice()).filter(|(_, open)| !**open).for_each(|(v, _)| *v = 0.0);
    Ok(out)
}

/// The part of a normal distribution that falls on the pixel whose centre is at x.
fn gaussian_share(x: f64, sigma: f64) -> f64 {
    let f = |x: f64| 0.5 * (1.0 + erf(x / (sigma * 2f64.sqrt())));
    f(x + 0.5) - f(x - 0.5)
}

/// Poisson counts of an expected pattern.
///
/// # Errors
/// [`Error::Data`] for an expectation that is negative or not finite.
pub fn count_pattern(expected: &Tensor<f64>, seed: u64) -> Result<Tensor<f64>, Error> {
    if let Some(index) = expected.as_slice().iter().position(|v| !(*v >= 0.0 && v.is_finite())) {
        return Err(Error::Data { what: format!("expected {} electrons", expected.as_slice()[index]), index });
    }
    let mut rng = rng::stream(seed, 0);
    Ok(expected.map(|&v| rng::poisson(&mut rng, v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::crystals;

    #[test]
    fn the_error_function_has_its_tabulated_values() {
        for (x, want) in [(0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650), (3.0, 0.9999779095)] {
            assert!((erf(x) - want).abs() < 1e-10 && (erf(-x) + want).abs() < 1e-10, "{x}: {}", erf(x));
        }
    }

    #[test]
    fn structure_factors_of_gold_are_four_atoms_or_nothing() {
        let gold = crystals::gold();
        let z = ZonePattern::new(&gold, [0, 0, 1], SpatialFrequency::per_angstrom(1.2)).unwrap();
        let au = ScatteringFactor::new(gold.atoms[0].species, Parametrization::Kirkland).unwrap();
        for (hkl, _, p, v2) in &z.list {
            assert!(hkl.iter().all(|h| (h - hkl[0]) % 2 == 0), "{hkl:?}");
            let g2 = p.iter().map(|x| x * x).sum();
            let want = (4.0 * au.projected_fourier(g2, 0.0) / gold.cell.volume_a3()).powi(2);
            assert!((v2 / want - 1.0).abs() < 1e-9, "{hkl:?}");
        }
        // 200, 220, 400, 420 and what is equal to them.
        assert_eq!(z.list.iter().filter(|r| r.1 == 0).count(), 20);
    }

    #[test]
    fn every_electron_falls_somewhere() {
        let z = ZonePattern::new(&crystals::uio_66(), [0, 0, 1], SpatialFrequency::per_angstrom(0.6)).unwrap();
        let r = z.reflections(&CrystalParams::default()).unwrap();
        // A field wide enough for all of it; the exponential's part outside is e^{−x}(1 + x) with x = 1.5/0.05.
        let params = RecordParams {
            stop: 0.0,
            electrons: 1e4,
            diffuse_width: SpatialFrequency::per_angstrom(0.05),
            ..RecordParams::default()
        };
        let sum: f64 = expected_pattern(&r, &params).unwrap().as_slice().iter().sum();
        // The cusp of the background is sampled at pixel centres: 1/12 of a squared pixel over the width squared.
        assert!((sum / 1e4 - 1.0).abs() < 2e-3, "{sum}");
    }

    #[test]
    fn parameters_out_of_range_are_errors() {
        let z = ZonePattern::new(&crystals::gold(), [0, 0, 1], SpatialFrequency::per_angstrom(0.6)).unwrap();
        let p = CrystalParams::default();
        assert!(z.reflections(&CrystalParams { thickness: Length::ZERO, ..p }).is_err());
        assert!(z.reflections(&CrystalParams { spread: f64::NAN, ..p }).is_err());
        let far = Misorientation::new(Angle::deg(30.0), Angle::ZERO);
        assert!(z.reflections(&CrystalParams { tilt: far, ..p }).is_err());
        let r = RecordParams::default();
        for bad in [
            RecordParams { spot: 0.0, ..r },
            RecordParams { dims: [0, 4], ..r },
            RecordParams { electrons: -1.0, ..r },
            RecordParams { centre: [f64::NAN, 0.0], ..r },
        ] {
            assert!(expected_pattern(&[], &bad).is_err());
        }
        assert!(count_pattern(&Tensor::from_vec(&[1], vec![-1.0]).unwrap(), 1).is_err());
    }
}
