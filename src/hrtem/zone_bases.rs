//! Which reflections of the crystal those of a zone's picture are.

use crate::error::Error;
use crate::hrtem::{PlaneLattice, SpaceGroup};
use crate::specimen::{Cell, Vector, cross, dot, norm};
use crate::units::Length;

/// What a zone's picture is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneBasesParams {
    /// The zone axis [u, v, w] along the beam, from the gun to the screen.
    pub zone: [i32; 3],
    /// Size of a pixel.
    pub pixel: Length,
    /// Largest difference of the two lattices, as a share of the axes.
    pub tolerance: f64,
    /// The direction [u, v, w] of the crystal along the picture's x, where it is known to some degrees, as from a
    /// diffraction pattern and the microscope's rotation: turns that contradict it are left out.
    pub x_axis: Option<[i32; 3]>,
}

/// \[001\], 1 Å, 3 %, turned by any angle.
impl Default for ZoneBasesParams {
    fn default() -> Self {
        ZoneBasesParams { zone: [0, 0, 1], pixel: Length::angstrom(1.0), tolerance: 0.03, x_axis: None }
    }
}

/// The indices hkl of the reciprocal axes a*, b* of a zone's picture: all pairs that its lattice allows.
///
/// The picture's reflection (h, k) is h·(first) + k·(second) of the crystal. Pairs have the lengths and the angle of
/// a* and
/// b*, and the hand: pictures are seen along the beam, x to the right and y downwards, which with the beam's z are
/// right-handed. A turn of
/// the picture by which its lattice is the same gives another pair, always one by 180°; they differ for a crystal that
/// lacks the symmetry, and pictures of other zones tell which is right, or the microscope's rotation.
///
/// # Units
/// The lattice in pixels.
///
/// # Errors
/// [`Error::Param`] for a zone axis of zeros or with indices above 20, a pixel or tolerance that is not positive, a
/// group that the cell
/// has not, [`Error::Data`] when the lattice is none of this zone.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{PlaneLattice, SpaceGroup, ZoneBasesParams, zone_bases};
/// use exitwave::specimen::Cell;
/// use exitwave::units::Length;
/// let cell = Cell::cubic(Length::angstrom(20.0));
/// let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 40.0], b: [40.0, 0.0] };
/// let params = ZoneBasesParams { pixel: Length::angstrom(0.5), ..Default::default() };
/// let bases = zone_bases(&cell, &SpaceGroup::p1(), &lattice, &params)?;
/// // Four turns of the square.
/// assert_eq!(bases.len(), 4);
/// assert!(bases.contains(&[[1, 0, 0], [0, 1, 0]]));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn zone_bases(
    cell: &Cell,
    group: &SpaceGroup,
    lattice: &PlaneLattice,
    params: &ZoneBasesParams,
) -> Result<Vec<[[i32; 3]; 2]>, Error> {
    cell.check()?;
    let zone = params.zone;
    if zone == [0; 3] || zone.iter().any(|i| i.abs() > 20) {
        return Err(Error::param("zone", format!("{zone:?}"), "indices that are not all 0, up to 20"));
    }
    let pixel = params.pixel.to_angstrom();
    if !(pixel > 0.0 && pixel.is_finite() && params.tolerance > 0.0 && params.tolerance < 0.3) {
        return Err(Error::param("pixel", format!("{params:?}"), "a positive pixel, a tolerance below 0.3"));
    }
    if !group.keeps(cell, 1e-3) {
        return Err(Error::param("group", format!("{} operations", group.order()), "a group of this cell"));
    }
    let [p, q] = plane(cell, group, zone);
    let reciprocal = cell.reciprocal();
    let vector =
        |h: [i32; 3]| -> Vector { std::array::from_fn(|i| (0..3).map(|n| f64::from(h[n]) * reciprocal[n][i]).sum()) };
    let along: Vector = std::array::from_fn(|i| (0..3).map(|n| f64::from(zone[n]) * cell.vectors[n][i]).sum());

    // The picture's reciprocal axes in 1/Å.
    let dual = lattice.reciprocal();
    let (a, b) = (dual.a.map(|k| k / pixel), dual.b.map(|k| k / pixel));
    let (la, lb) = (a[0].hypot(a[1]), b[0].hypot(b[1]));
    let between = a[0] * b[0] + a[1] * b[1];
    // The crystal's directions along the picture's x and y.
    let frame = params.x_axis.map(|u| {
        let unit = |v: Vector| v.map(|c| c / norm(v));
        let v: Vector = std::array::from_fn(|i| (0..3).map(|n| f64::from(u[n]) * cell.vectors[n][i]).sum());
        let part = dot(v, along) / dot(along, along);
        let x = unit(std::array::from_fn(|i| v[i] - part * along[i]));
        [unit(cross(along, x)), x]
    });
    if frame.is_some_and(|f| f.iter().flatten().any(|c| !c.is_finite())) {
        return Err(Error::param("x_axis", format!("{:?}", params.x_axis), "a direction across the zone axis"));
    }
    let turned = |g: Vector, k: [f64; 2]| {
        frame.is_some_and(|[y, x]| {
            let d: Vector = std::array::from_fn(|i| g[i] - k[0] * y[i] - k[1] * x[i]);
            norm(d) > 0.25 * norm(g)
        })
    };
    let hand = a[1] * b[0] - a[0] * b[1];
    let near = |x: f64, y: f64, scale: f64| (x - y).abs() <= params.tolerance * scale;
    let combine = |m: i32, n: i32| -> [i32; 3] { std::array::from_fn(|i| m * p[i] + n * q[i]) };
    let few: Vec<[i32; 2]> = (-4..=4).flat_map(|m| (-4..=4).map(move |n| [m, n])).collect();
    let like = |length: f64| {
        let all = few.iter().filter(move |&&[m, n]| near(norm(vector(combine(m, n))), length, length));
        all.copied().collect::<Vec<[i32; 2]>>()
    };
    let mut out = Vec::new();
    for &[m, n] in &like(la) {
        for &[s, t] in &like(lb) {
            let (g, h) = (vector(combine(m, n)), vector(combine(s, t)));
            let same_hand = dot(cross(g, h), along) * hand > 0.0;
            let agrees = !turned(g, a) && !turned(h, b);
            if agrees && (m * t - n * s).abs() == 1 && same_hand && near(dot(g, h), between, la * lb) {
                out.push([combine(m, n), combine(s, t)]);
            }
        }
    }
    if out.is_empty() {
        let lengths = [p, q].map(|h| norm(vector(h)));
        return Err(Error::Data {
            what: format!(
                "reciprocal axes of {la:.4} and {lb:.4} 1/Å are none of the zone {zone:?}: {p:?} and {q:?} have {:.4} and {:.4}",
                lengths[0], lengths[1]
            ),
            index: 0,
        });
    }
    Ok(out)
}

/// The shortest basis of the lattice of reflections of a zone that the group allows.
fn plane(cell: &Cell, group: &SpaceGroup, zone: [i32; 3]) -> [[i32; 3]; 2] {
    let reciprocal = cell.reciprocal();
    let length = |h: &[i32; 3]| {
        let g: Vector = std::array::from_fn(|i| (0..3).map(|n| f64::from(h[n]) * reciprocal[n][i]).sum());
        norm(g)
    };
    // All reflections of the plane, shortest first: the first two that are independent span it.
    let reach = 2 * zone.iter().map(|i| i.abs()).max().unwrap_or(1).max(3);
    let mut all = Vec::new();
    for h in -reach..=reach {
        for k in -reach..=reach {
            for l in -reach..=reach {
                if h * zone[0] + k * zone[1] + l * zone[2] == 0 && [h, k, l] > [0; 3] {
                    all.push([h, k, l]);
                }
            }
        }
    }
    all.sort_by(|g, h| length(g).total_cmp(&length(h)).then(h.cmp(g)));
    let product =
        |g: [i32; 3], h: [i32; 3]| [g[1] * h[2] - g[2] * h[1], g[2] * h[0] - g[0] * h[2], g[0] * h[1] - g[1] * h[0]];
    let first = all[0];
    let second = all.iter().copied().find(|&h| product(first, h) != [0; 3]).unwrap_or(first);
    // Coordinates of the allowed ones, and the lattice that these generate.
    let area = product(first, second);
    let axis = (0..3).max_by_key(|&i| area[i].abs()).unwrap_or(0);
    let coordinates = |h: [i32; 3]| [product(h, second)[axis] / area[axis], product(first, h)[axis] / area[axis]];
    let mut basis: [[i32; 2]; 2] = [[0; 2]; 2];
    for &h in all.iter().filter(|&&h| group.allows(h)) {
        let mut v = coordinates(h);
        // Row by row, as Euclid does: the basis stays upper triangular.
        while v[0] != 0 {
            let times = basis[0][0] / v[0];
            basis[0] = [basis[0][0] - times * v[0], basis[0][1] - times * v[1]];
            (basis[0], v) = (v, basis[0]);
        }
        let (mut x, mut y) = (basis[1][1].abs(), v[1].abs());
        while y != 0 {
            (x, y) = (y, x % y);
        }
        basis[1] = [0, x];
    }
    if basis[0][0] == 0 || basis[1][1] == 0 {
        return [first, second];
    }
    let mut axes = basis.map(|m| -> [i32; 3] { std::array::from_fn(|i| m[0] * first[i] + m[1] * second[i]) });
    // Lagrange's reduction.
    let inner = |g: [i32; 3], h: [i32; 3]| {
        let v = |h: [i32; 3]| -> Vector {
            std::array::from_fn(|i| (0..3).map(|n| f64::from(h[n]) * reciprocal[n][i]).sum())
        };
        dot(v(g), v(h))
    };
    for _ in 0..100 {
        if inner(axes[0], axes[0]) > inner(axes[1], axes[1]) {
            axes.swap(0, 1);
        }
        let m = (inner(axes[0], axes[1]) / inner(axes[0], axes[0])).round() as i32;
        if m == 0 {
            break;
        }
        axes[1] = std::array::from_fn(|i| axes[1][i] - m * axes[0][i]);
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_centred_crystal_shows_its_even_reflections() {
        let group = SpaceGroup::from_generators(&["x,y+1/2,z+1/2", "x+1/2,y,z+1/2"]).unwrap();
        let cell = Cell::cubic(Length::angstrom(10.0));
        let sorted = |zone| {
            let mut found = plane(&cell, &group, zone).map(|h| h.map(i32::abs));
            found.sort_unstable();
            found
        };
        assert_eq!(sorted([0, 0, 1]), [[0, 2, 0], [2, 0, 0]]);
        assert_eq!(sorted([1, 1, 0]), [[1, 1, 1], [1, 1, 1]]);
        // A picture along [110]: (002) along x at 5 Å, (1−11) obliquely.
        let dual = PlaneLattice { origin: [0.0; 2], a: [0.0, 0.2], b: [2f64.sqrt() / 10.0, 0.1] };
        let params = ZoneBasesParams { zone: [1, 1, 0], ..Default::default() };
        let bases = zone_bases(&cell, &group, &dual.reciprocal(), &params).unwrap();
        assert_eq!(bases.len(), 2);
        for [a, b] in bases {
            assert!(a == [0, 0, 2] || a == [0, 0, -2]);
            // x along c and beam along [110]: y = z × x is [110] × [001] = [1, −1, 0].
            let s = a[2] / 2;
            assert_eq!(b, [s, -s, s]);
        }
        let wrong = PlaneLattice { a: [0.0, 0.23], ..dual };
        assert!(zone_bases(&cell, &group, &wrong.reciprocal(), &params).is_err());
    }
}
