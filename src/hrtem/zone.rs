//! Zone axes: the net of reflections that each shows, and which one a measured net belongs to.

use crate::error::Error;
use crate::hrtem::crystal_factors::crystal_reflections;
use crate::specimen::atoms::gcd;
use crate::specimen::{Atoms, Cell, Parametrization, Vector, cross, dot, norm};
use crate::units::{Angle, Length, SpatialFrequency};

/// Indices up to this are tried for the vectors of a net.
const REACH: i32 = 14;

/// Share of all intensity that reflections may have which count as absent.
const UNSEEN: f64 = 0.01;

/// The reflections that a zone axis shows: plane nets in layers along the axis.
///
/// For the shortest lattice vector r along \[uvw\] the reciprocal lattice lies in the planes `g · r = n`. The
/// zeroth holds the
/// Friedel pairs around the direct beam; layer n stands `n H` above it, H = 1/|r|, and is moved sideways by n
/// times `offset`.
///
/// # Units
/// 1/Å; indices are those of the cell that was given, not of its primitive cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneNet {
    /// The zone axis, in whole numbers of the cell's edges without common divisor.
    pub zone: [i32; 3],
    /// Repeat along the axis, |r|.
    pub repeat: Length,
    /// Distance between layers, H = 1/|r|.
    pub layer: SpatialFrequency,
    /// Indices hkl of the two shortest reflections a, b of the zeroth layer, a no longer than b, their angle
    /// 60° to 90°.
    pub basis: [[i32; 3]; 2],
    /// Lengths of a and b.
    pub lengths: [SpatialFrequency; 2],
    /// The angle from a to b.
    pub angle: Angle,
    /// Indices of the reflection of layer 1 that is nearest to the axis.
    pub above: [i32; 3],
    /// Where layer 1 stands on the zeroth, in fractions of a and b, in (−½, ½].
    pub offset: [f64; 2],
}

impl ZoneNet {
    /// The net along a zone axis of a crystal; its centring is found from its atoms.
    ///
    /// # Errors
    /// [`Error::Param`] for a zone axis of zeros or with indices above 20, or a cell that cannot be used.
    ///
    /// # Examples
    /// ```
    /// use exitwave::hrtem::ZoneNet;
    /// use exitwave::specimen::crystals;
    /// // Face-centred: along [001] the shortest reflections are 200 and 020, and layer 1 stands half way between.
    /// let net = ZoneNet::new(&crystals::uio_66(), [0, 0, 1])?;
    /// assert!((net.lengths[0].to_per_angstrom() - 2.0 / 20.7004).abs() < 1e-9);
    /// assert!(net.offset.iter().all(|f| (f.abs() - 0.5).abs() < 1e-9));
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn new(crystal: &Atoms, zone: [i32; 3]) -> Result<Self, Error> {
        crystal.check()?;
        ZoneNet::of_lattice(&crystal.cell, &crystal.lattice(), zone)
    }

    /// As [`ZoneNet::new`] of the reflections that can be seen: those that a centring forbids but for a hundredth of the intensity
    /// are left out. An atom that is misplaced or missing in a list takes the centring from it, and from no pattern.
    ///
    /// # Errors
    /// As [`ZoneNet::new`]; [`Error::Unsupported`] for species without a scattering factor.
    pub fn visible(crystal: &Atoms, zone: [i32; 3]) -> Result<Self, Error> {
        crystal.check()?;
        ZoneNet::of_lattice(&crystal.cell, &visible_lattice(crystal)?, zone)
    }

    /// As [`ZoneNet::new`] with a primitive cell of the lattice that is known already.
    pub(crate) fn of_lattice(cell: &Cell, lattice: &Cell, zone: [i32; 3]) -> Result<Self, Error> {
        if zone == [0; 3] || zone.iter().any(|u| u.abs() > 20) {
            return Err(Error::param("zone", format!("{zone:?}"), "indices that are not all 0, up to 20"));
        }
        // r in the primitive lattice, and from there back to the cell.
        let n = lattice.fractional(cell.cartesian(zone.map(f64::from))).map(|x| x.round() as i32);
        let common = n.iter().fold(0, |g, &n| gcd(g, n.abs())).max(1);
        let n = n.map(|x| x / common);
        let r = lattice.cartesian(n.map(f64::from));
        let p = lattice.reciprocal();
        let g = |m: [i32; 3]| -> Vector { std::array::from_fn(|i| (0..3).map(|k| f64::from(m[k]) * p[k][i]).sum()) };
        let hkl = |m: [i32; 3]| cell.vectors.map(|v| dot(g(m), v).round() as i32);

        // Reflections of the layers 0 and 1, short ones.
        let (mut flat, mut above) = (Vec::new(), Vec::new());
        for i in -REACH..=REACH {
            for j in -REACH..=REACH {
                for k in -REACH..=REACH {
                    match i * n[0] + j * n[1] + k * n[2] {
                        0 if [i, j, k] != [0; 3] => flat.push([i, j, k]),
                        1 => above.push([i, j, k]),
                        _ => {}
                    }
                }
            }
        }
        flat.sort_by(|a, b| norm(g(*a)).total_cmp(&norm(g(*b))).then(hkl(*b).cmp(&hkl(*a))));
        let what = "a zone axis whose reflections have small indices";
        let &a = flat.first().ok_or_else(|| Error::param("zone", format!("{zone:?}"), what))?;
        let free = |b: &&[i32; 3]| norm(cross(g(a), g(**b))) > 1e-6 * norm(g(a)) * norm(g(**b));
        let &b = flat.iter().find(free).ok_or_else(|| Error::param("zone", format!("{zone:?}"), what))?;
        let obtuse = dot(g(a), g(b)) < -1e-9 * norm(g(a)) * norm(g(b));
        let b = if obtuse { b.map(|x| -x) } else { b };
        let (ga, gb) = (g(a), g(b));
        let beside = |m: &[i32; 3]| norm(cross(g(*m), r));
        let &c = above
            .iter()
            .min_by(|x, y| beside(x).total_cmp(&beside(y)))
            .ok_or_else(|| Error::param("zone", format!("{zone:?}"), what))?;

        // Fractions of a and b: the layer's vector without its part along the axis.
        let (aa, ab, bb) = (dot(ga, ga), dot(ga, gb), dot(gb, gb));
        let (ca, cb) = (dot(g(c), ga), dot(g(c), gb));
        let det = aa * bb - ab * ab;
        let offset = [(ca * bb - cb * ab) / det, (cb * aa - ca * ab) / det].map(centred);
        let back = cell.fractional(r);
        let size = back.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        // The zone axis in whole numbers: r may be half a diagonal of a centred cell.
        let whole = (1..=24).map(|k| back.map(|x| x * f64::from(k)));
        let exact = |v: &[f64; 3]| v.iter().all(|x| (x - x.round()).abs() < 1e-6 * size.max(1.0));
        let zone = whole.into_iter().find(exact).map_or(zone, |v| v.map(|x| x.round() as i32));
        Ok(ZoneNet {
            zone,
            repeat: Length::angstrom(norm(r)),
            layer: SpatialFrequency::per_angstrom(1.0 / norm(r)),
            basis: [hkl(a), hkl(b)],
            lengths: [ga, gb].map(|g| SpatialFrequency::per_angstrom(norm(g))),
            angle: Angle::rad((ab / (aa * bb).sqrt()).clamp(-1.0, 1.0).acos()),
            above: hkl(c),
            offset,
        })
    }
}

/// Into (−½, ½]; what is within 10⁻⁹ of −½ goes to ½.
fn centred(f: f64) -> f64 {
    let f = f - f.round();
    if f < -0.5 + 1e-9 { 0.5 } else { f }
}

/// How zone axes are compared with a measured net.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneParams {
    /// Largest repeat along an axis that is tried: the axes with few reflections are those of long repeats.
    pub repeat: Length,
    /// Relative standard deviation of measured lengths, camera length and foreshortening (1 − cos φ) included.
    pub lengths: f64,
    /// Standard deviation of the measured angle.
    pub angle: Angle,
    /// Relative standard deviation of the camera length, common to both lengths; infinite when it is not known.
    pub scale: f64,
    /// Misfit, in standard deviations, up to which an axis is listed.
    pub misfit: f64,
}

/// Repeats to 40 Å, lengths to 0.5 %, angles to 0.5°, the camera length to 1 %, axes within 4 standard deviations.
impl Default for ZoneParams {
    fn default() -> Self {
        let (repeat, angle) = (Length::angstrom(40.0), Angle::deg(0.5));
        ZoneParams { repeat, lengths: 0.005, angle, scale: 0.01, misfit: 4.0 }
    }
}

/// A zone axis that a measured net may belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneCandidate {
    /// The net that the crystal shows along it.
    pub net: ZoneNet,
    /// Distance between the measured net and this one, in standard deviations of three numbers: √χ².
    pub misfit: f64,
    /// Measured lengths over those of the cell: the correction that the camera length needs.
    pub scale: f64,
    /// The measured a and b in those of `net`, row by row. Its determinant is above 1 in magnitude where
    /// extinctions hide reflections.
    pub matrix: [[i32; 2]; 2],
}

/// The zone axes of a crystal whose nets have the two lengths and the angle that were measured, best first; of
/// axes that
/// the crystal's symmetry makes equal one is listed.
///
/// χ² = Σ (ln(m lᵢ/Lᵢ)/σ_l)² + ((γ − Γ)/σ_γ)² + (ln m/σ_m)², least over the scale m. Nets of which extinctions
/// hide all but every second to fourth
/// reflection are tried too, at a price of 1 or 2 in χ².
///
/// # Units
/// `a` and `b` in 1/Å, `[y, x]`.
///
/// # Errors
/// [`Error::Param`] for vectors that span no net, or parameters out of range.
pub fn find_zones(crystal: &Atoms, a: [f64; 2], b: [f64; 2], params: &ZoneParams) -> Result<Vec<ZoneCandidate>, Error> {
    crystal.check()?;
    let (la, lb) = (a[0].hypot(a[1]), b[0].hypot(b[1]));
    let area = (a[1] * b[0] - a[0] * b[1]).abs();
    if !(la > 0.0 && lb > 0.0 && area > 1e-6 * la * lb && area.is_finite()) {
        return Err(Error::param("a, b", format!("{a:?}, {b:?}"), "two vectors of a net"));
    }
    let good = params.lengths > 0.0 && params.angle > Angle::ZERO && params.scale > 0.0 && params.misfit > 0.0;
    if !(good && params.repeat > Length::ZERO && params.repeat <= Length::angstrom(1e3)) {
        return Err(Error::param("params", format!("{params:?}"), "positive deviations, repeats up to 1000 Å"));
    }
    let lattice = crystal.lattice();
    let mut found: Vec<ZoneCandidate> = Vec::new();
    for zone in axes(&crystal.cell, &lattice, params.repeat.to_angstrom()) {
        let Ok(net) = ZoneNet::of_lattice(&crystal.cell, &lattice, zone) else { continue };
        let Some(candidate) = compare(net, [a, b], params) else { continue };
        let l = |c: &ZoneCandidate| [c.net.lengths[0], c.net.lengths[1], c.net.layer].map(|l| l.to_per_angstrom());
        let same = |c: &ZoneCandidate| {
            (0..3).all(|i| (l(c)[i] / l(&candidate)[i] - 1.0).abs() < 1e-6)
                && (c.net.angle - candidate.net.angle).abs() < Angle::rad(1e-6)
        };
        if candidate.misfit <= params.misfit && !found.iter().any(same) {
            found.push(candidate);
        }
    }
    found.sort_by(|x, y| {
        x.misfit.total_cmp(&y.misfit).then(x.net.repeat.to_angstrom().total_cmp(&y.net.repeat.to_angstrom()))
    });
    Ok(found)
}

/// The lattice of the atoms, or where that is the cell itself, of the centring that next to all intensity obeys.
fn visible_lattice(crystal: &Atoms) -> Result<Cell, Error> {
    let (cell, lattice) = (crystal.cell, crystal.lattice());
    if lattice.volume_a3().abs() < 0.99 * cell.volume_a3().abs() {
        return Ok(lattice);
    }
    // Reflections to 0.6 1/Å, or to what thousands of them reach.
    let finest = Length::angstrom((1.0 / 0.6f64).max((4.2 * cell.volume_a3().abs() / 8000.0).cbrt()));
    let list = crystal_reflections(crystal, Parametrization::Kirkland, finest)?.list;
    let total: f64 = list.iter().map(|r| r.f.norm_sqr()).sum();
    let [a, b, c] = cell.vectors;
    let half = |u: Vector, v: Vector| -> Vector { std::array::from_fn(|i| 0.5 * (u[i] + v[i])) };
    let body: Vector = std::array::from_fn(|i| 0.5 * (a[i] + b[i] + c[i]));
    // F first: it contains A, B and C.
    let centrings: [(&[[i32; 3]], [Vector; 3]); 5] = [
        (&[[0, 1, 1], [1, 0, 1]], [half(b, c), half(a, c), half(a, b)]),
        (&[[1, 1, 1]], [a, b, body]),
        (&[[0, 1, 1]], [a, b, half(b, c)]),
        (&[[1, 0, 1]], [a, b, half(a, c)]),
        (&[[1, 1, 0]], [a, half(a, b), c]),
    ];
    for (sums, vectors) in centrings {
        let allowed = |h: [i32; 3]| sums.iter().all(|s| (0..3).map(|i| s[i] * h[i]).sum::<i32>().rem_euclid(2) == 0);
        let forbidden: f64 = list.iter().filter(|r| !allowed(r.index)).map(|r| r.f.norm_sqr()).sum();
        if forbidden < UNSEEN * total {
            return Ok(Cell { vectors });
        }
    }
    Ok(lattice)
}

/// Lattice directions with a repeat up to `repeat`, one of each opposite pair, positive indices first.
fn axes(cell: &Cell, lattice: &Cell, repeat: f64) -> Vec<[i32; 3]> {
    const MOST: i32 = 6;
    let mut all = Vec::new();
    for u in -MOST..=MOST {
        for v in -MOST..=MOST {
            for w in -MOST..=MOST {
                let zone = [u, v, w];
                let common = zone.iter().fold(0, |g, &n| gcd(g, n.abs()));
                let first = zone.iter().find(|&&x| x != 0);
                if common != 1 || first.is_none_or(|&x| x < 0) {
                    continue;
                }
                let n = lattice.fractional(cell.cartesian(zone.map(f64::from))).map(|x| x.round() as i32);
                let k = n.iter().fold(0, |g, &n| gcd(g, n.abs())).max(1);
                if norm(lattice.cartesian(n.map(|x| f64::from(x / k)))) <= repeat {
                    all.push(zone);
                }
            }
        }
    }
    let order = |z: &[i32; 3]| (z.iter().map(|x| x.abs()).sum::<i32>(), z.map(|x| -x));
    all.sort_by_key(order);
    all
}

/// The best agreement of a net with two measured vectors.
fn compare(net: ZoneNet, measured: [[f64; 2]; 2], params: &ZoneParams) -> Option<ZoneCandidate> {
    let [la, lb] = measured.map(|v| v[0].hypot(v[1]));
    let cosine = (measured[0][0] * measured[1][0] + measured[0][1] * measured[1][1]) / (la * lb);
    let gamma = cosine.clamp(-1.0, 1.0).acos();
    let [na, nb] = net.lengths.map(|l| l.to_per_angstrom());
    // The net in its own frame, a along x.
    let b = [nb * net.angle.to_rad().sin(), nb * net.angle.to_rad().cos()];
    let at = |m: [i32; 2]| [f64::from(m[1]) * b[0], f64::from(m[0]) * na + f64::from(m[1]) * b[1]];
    let mut best: Option<(f64, f64, [[i32; 2]; 2])> = None;
    let small = (-2..=2).flat_map(|i| (-2..=2).map(move |j| [i, j])).filter(|m| *m != [0, 0]);
    let vectors: Vec<[i32; 2]> = small.collect();
    for &i in &vectors {
        for &j in &vectors {
            let det = i[0] * j[1] - i[1] * j[0];
            if det == 0 || det.abs() > 4 {
                continue;
            }
            let (u, v) = (at(i), at(j));
            let (lu, lv) = (u[0].hypot(u[1]), v[0].hypot(v[1]));
            let angle = ((u[0] * v[0] + u[1] * v[1]) / (lu * lv)).clamp(-1.0, 1.0).acos();
            // Least over the scale: two lengths of variance σ_l² against a prior of variance σ_m².
            let (x, y) = ((la / lu).ln(), (lb / lv).ln());
            let weight = 1.0 / (params.lengths * params.lengths);
            let prior = 1.0 / (params.scale * params.scale);
            let m = weight * (x + y) / (2.0 * weight + prior);
            let chi2 = weight * ((x - m).powi(2) + (y - m).powi(2))
                + prior * m * m
                + ((angle - gamma) / params.angle.to_rad()).powi(2)
                + f64::from(det.abs() - 1).min(2.0);
            if best.is_none_or(|(c, ..)| chi2 < c - 1e-9) {
                best = Some((chi2, m.exp(), [i, j]));
            }
        }
    }
    best.map(|(chi2, scale, matrix)| ZoneCandidate { net, misfit: chi2.sqrt(), scale, matrix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::crystals;

    #[test]
    fn a_misplaced_atom_takes_the_centring_from_the_list_but_not_from_the_pattern() {
        let whole = crystals::uio_66();
        let mut broken = whole.clone();
        let oxygen = broken.atoms.iter().position(|a| a.species.symbol() == "O").unwrap();
        broken.atoms[oxygen].position[0] += 0.7;
        for zone in [[0, 0, 1], [1, 1, 0]] {
            let right = ZoneNet::new(&whole, zone).unwrap();
            assert!(ZoneNet::new(&broken, zone).unwrap().repeat > right.repeat * 0.99);
            let seen = ZoneNet::visible(&broken, zone).unwrap();
            assert!(
                (seen.layer / right.layer - 1.0).abs() < 1e-9
                    && (seen.lengths[0] / right.lengths[0] - 1.0).abs() < 1e-9
            );
        }
        assert!(
            ZoneNet::new(&broken, [1, 1, 0]).unwrap().repeat > ZoneNet::new(&whole, [1, 1, 0]).unwrap().repeat * 1.9
        );
        // Strontium titanate is primitive, and its odd reflections are strong.
        let cubic = crystals::strontium_titanate();
        assert_eq!(ZoneNet::visible(&cubic, [0, 0, 1]).unwrap(), ZoneNet::new(&cubic, [0, 0, 1]).unwrap());
    }

    #[test]
    fn nets_of_gold_are_those_of_the_textbook() {
        let gold = crystals::gold();
        let a = gold.cell.vectors[0][2];
        let net = |zone| ZoneNet::new(&gold, zone).unwrap();
        // [110]: 111 and 1-11 at 70.53°, layers at √2/a; [111]: 220 at 60°, layers at 1/(a√3).
        let n = net([1, 1, 0]);
        assert!((n.lengths[0].to_per_angstrom() * a - 3f64.sqrt()).abs() < 1e-9);
        assert!((n.angle.to_deg() - 70.528779).abs() < 1e-5);
        assert!((n.layer.to_per_angstrom() * a - 2f64.sqrt()).abs() < 1e-9);
        let n = net([1, 1, 1]);
        assert!((n.lengths[1].to_per_angstrom() * a - 8f64.sqrt()).abs() < 1e-9);
        assert!((n.angle.to_deg() - 60.0).abs() < 1e-6);
        assert!((n.layer.to_per_angstrom() * a - 1.0 / 3f64.sqrt()).abs() < 1e-9);
        assert!(n.basis.iter().all(|h| h[0] + h[1] + h[2] == 0));
        assert_eq!(n.above.iter().sum::<i32>(), 1);
    }

    #[test]
    fn every_axis_is_recognised_by_its_own_net() {
        let crystal = crystals::uio_66();
        let params = ZoneParams { repeat: Length::angstrom(60.0), ..ZoneParams::default() };
        for zone in [[0, 0, 1], [1, 1, 0], [1, 1, 1], [2, 1, 0], [2, 1, 1]] {
            let net = ZoneNet::new(&crystal, zone).unwrap();
            let [la, lb] = net.lengths.map(|l| l.to_per_angstrom() * 1.003);
            let (s, c) = net.angle.to_rad().sin_cos();
            // Turned by a right angle, b on the other side.
            let zones = find_zones(&crystal, [la, 0.0], [lb * c, lb * s], &params).unwrap();
            let mut found = zones[0].net.zone.map(i32::abs);
            found.sort_unstable();
            let mut wanted = zone;
            wanted.sort_unstable();
            assert_eq!(found, wanted);
            assert!((zones[0].scale - 1.003).abs() < 1e-3 && zones[0].misfit < 0.5, "{:?}", zones[0]);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let crystal = crystals::gold();
        assert!(ZoneNet::new(&crystal, [0, 0, 0]).is_err());
        assert!(ZoneNet::new(&crystal, [30, 0, 0]).is_err());
        let p = ZoneParams::default();
        assert!(find_zones(&crystal, [1.0, 0.0], [2.0, 0.0], &p).is_err());
        assert!(find_zones(&crystal, [f64::NAN, 0.0], [0.0, 1.0], &p).is_err());
        assert!(find_zones(&crystal, [1.0, 0.0], [0.0, 1.0], &ZoneParams { lengths: -1.0, ..p }).is_err());
    }
}
