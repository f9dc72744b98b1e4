//! The seventeen plane groups: their operations, their settings on a lattice, their absent reflections.
//!
//! An operation takes the point x = (u, v), in fractions of the axes, to R x + t. A picture has the group's symmetry
//! when
//! f(R x + t) = f(x) for all of them. With the crystallographers' coefficients F(h) = ∫ f(x) e^{+2πi h·x} dx this is
//!
//! `F(h) = e^{2πi h·t} F(hR)`,  `(hR)_j = Σ_i h_i R_ij`:
//!
//! reflections in a relation have one amplitude and phases that differ by 2π h·t, and F(h) = 0 when hR = h while h·t is
//! not whole.

use crate::error::Error;
use crate::hrtem::PlaneLattice;
use crate::specimen::atoms::gcd;
use crate::units::Angle;

/// x ↦ R x + t in fractions of two axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneOperation {
    /// R, rows first.
    pub rotation: [[i32; 2]; 2],
    /// t.
    pub translation: [f64; 2],
}

impl PlaneOperation {
    /// R x + t.
    pub fn apply(&self, x: [f64; 2]) -> [f64; 2] {
        let [r, t] = [self.rotation.map(|r| r.map(f64::from)), [self.translation; 2]];
        [0, 1].map(|i| r[i][0] * x[0] + r[i][1] * x[1] + t[0][i])
    }

    /// hR, the reflection whose coefficient this operation ties to that of h.
    pub fn reflection(&self, h: [i32; 2]) -> [i32; 2] {
        let r = self.rotation;
        [0, 1].map(|j| h[0] * r[0][j] + h[1] * r[1][j])
    }

    /// h·t, in turns: F(h) = e^{2πi h·t} F(hR).
    pub fn turns(&self, h: [i32; 2]) -> f64 {
        f64::from(h[0]) * self.translation[0] + f64::from(h[1]) * self.translation[1]
    }
}

/// The shape that a group's lattice must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneSystem {
    /// Any lattice.
    Oblique,
    /// Perpendicular axes; a centred cell of a group "c" has them too.
    Rectangular,
    /// Perpendicular axes of one length.
    Square,
    /// Axes of one length at 120°.
    Hexagonal,
}

/// One of the seventeen types of plane group.
///
/// # References
/// *International Tables for Crystallography*, vol. A, 6th ed. (2016), chapter 2.2: operations of the first setting.
///
/// # Examples
/// ```
/// use exitwave::hrtem::PlaneGroup;
/// let group = PlaneGroup::P2gg;
/// assert_eq!((group.number(), group.symbol(), group.order()), (8, "p2gg", 4));
/// // h0 and 0k are there for even indices only.
/// assert!(!group.allows([1, 0]) && !group.allows([0, 3]) && group.allows([2, 0]) && group.allows([1, 1]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaneGroup {
    /// No symmetry but the lattice's.
    P1,
    /// Twofold points.
    P2,
    /// Mirror lines across the first axis.
    Pm,
    /// Glide lines across the first axis.
    Pg,
    /// Mirror and glide lines in turn, centred.
    Cm,
    /// Mirror lines both ways.
    P2mm,
    /// Mirror lines across the first axis, glide lines across the second.
    P2mg,
    /// Glide lines both ways.
    P2gg,
    /// Mirror and glide lines in turn both ways, centred.
    C2mm,
    /// Fourfold points.
    P4,
    /// Fourfold points on mirror lines.
    P4mm,
    /// Fourfold points between glide lines.
    P4gm,
    /// Threefold points.
    P3,
    /// Threefold points, all on mirror lines, which lie across the axes.
    P3m1,
    /// Threefold points, one of three on mirror lines, which lie along the axes.
    P31m,
    /// Sixfold points.
    P6,
    /// Sixfold points on mirror lines.
    P6mm,
}

type Row = ([[i32; 2]; 2], [u8; 2]);

const ONE: [[i32; 2]; 2] = [[1, 0], [0, 1]];
const TWO: [[i32; 2]; 2] = [[-1, 0], [0, -1]];
/// (−u, v) and (u, −v).
const MU: [[i32; 2]; 2] = [[-1, 0], [0, 1]];
const MV: [[i32; 2]; 2] = [[1, 0], [0, -1]];
/// (v, u) and (−v, −u).
const SWAP: [[i32; 2]; 2] = [[0, 1], [1, 0]];
const ANTI: [[i32; 2]; 2] = [[0, -1], [-1, 0]];
/// (−v, u) and (v, −u).
const FOUR: [[i32; 2]; 2] = [[0, -1], [1, 0]];
const FOUR3: [[i32; 2]; 2] = [[0, 1], [-1, 0]];
/// (−v, u − v), (v − u, −u), and their negatives.
const THREE: [[i32; 2]; 2] = [[0, -1], [1, -1]];
const THREE2: [[i32; 2]; 2] = [[-1, 1], [-1, 0]];
const SIX: [[i32; 2]; 2] = [[1, -1], [1, 0]];
const SIX5: [[i32; 2]; 2] = [[0, 1], [-1, 1]];
/// (v − u, v), (u, u − v): mirrors with ANTI; (u − v, −v), (−u, v − u): mirrors with SWAP.
const M1: [[i32; 2]; 2] = [[-1, 1], [0, 1]];
const M2: [[i32; 2]; 2] = [[1, 0], [1, -1]];
const M3: [[i32; 2]; 2] = [[1, -1], [0, -1]];
const M4: [[i32; 2]; 2] = [[-1, 0], [-1, 1]];

impl PlaneGroup {
    /// All of them, in the order of the Tables.
    pub const ALL: [PlaneGroup; 17] = {
        use PlaneGroup::*;
        [P1, P2, Pm, Pg, Cm, P2mm, P2mg, P2gg, C2mm, P4, P4mm, P4gm, P3, P3m1, P31m, P6, P6mm]
    };

    /// Number in the Tables, 1 to 17.
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// The short Hermann–Mauguin symbol.
    pub fn symbol(self) -> &'static str {
        [
            "p1", "p2", "pm", "pg", "cm", "p2mm", "p2mg", "p2gg", "c2mm", "p4", "p4mm", "p4gm", "p3", "p3m1", "p31m",
            "p6", "p6mm",
        ][self as usize]
    }

    /// The shape of its lattice.
    pub fn system(self) -> PlaneSystem {
        use PlaneGroup::*;
        match self {
            P1 | P2 => PlaneSystem::Oblique,
            Pm | Pg | Cm | P2mm | P2mg | P2gg | C2mm => PlaneSystem::Rectangular,
            P4 | P4mm | P4gm => PlaneSystem::Square,
            P3 | P3m1 | P31m | P6 | P6mm => PlaneSystem::Hexagonal,
        }
    }

    /// Whether the conventional cell is centred.
    pub fn centred(self) -> bool {
        matches!(self, PlaneGroup::Cm | PlaneGroup::C2mm)
    }

    /// Operations modulo the lattice: the number of points into which a general point is repeated in a primitive cell.
    pub fn order(self) -> usize {
        self.rows().len()
    }

    /// Directions along which the origin is free, 0 to 2: with no operation that fixes it there.
    pub fn polar_directions(self) -> usize {
        match self {
            PlaneGroup::P1 => 2,
            PlaneGroup::Pm | PlaneGroup::Pg | PlaneGroup::Cm => 1,
            _ => 0,
        }
    }

    /// Rotations, with translations in halves of the axes; the centring is left to the lattice.
    fn rows(self) -> &'static [Row] {
        use PlaneGroup::*;
        const E: Row = (ONE, [0, 0]);
        const C2: Row = (TWO, [0, 0]);
        match self {
            P1 => &[E],
            P2 => &[E, C2],
            Pm | Cm => &[E, (MU, [0, 0])],
            Pg => &[E, (MU, [0, 1])],
            P2mm | C2mm => &[E, C2, (MU, [0, 0]), (MV, [0, 0])],
            P2mg => &[E, C2, (MU, [1, 0]), (MV, [1, 0])],
            P2gg => &[E, C2, (MU, [1, 1]), (MV, [1, 1])],
            P4 => &[E, C2, (FOUR, [0, 0]), (FOUR3, [0, 0])],
            P4mm => {
                &[E, C2, (FOUR, [0, 0]), (FOUR3, [0, 0]), (MU, [0, 0]), (MV, [0, 0]), (SWAP, [0, 0]), (ANTI, [0, 0])]
            }
            P4gm => {
                &[E, C2, (FOUR, [0, 0]), (FOUR3, [0, 0]), (MU, [1, 1]), (MV, [1, 1]), (SWAP, [1, 1]), (ANTI, [1, 1])]
            }
            P3 => &[E, (THREE, [0, 0]), (THREE2, [0, 0])],
            P3m1 => &[E, (THREE, [0, 0]), (THREE2, [0, 0]), (ANTI, [0, 0]), (M1, [0, 0]), (M2, [0, 0])],
            P31m => &[E, (THREE, [0, 0]), (THREE2, [0, 0]), (SWAP, [0, 0]), (M3, [0, 0]), (M4, [0, 0])],
            P6 => &[E, (THREE, [0, 0]), (THREE2, [0, 0]), C2, (SIX5, [0, 0]), (SIX, [0, 0])],
            P6mm => &[
                E,
                (THREE, [0, 0]),
                (THREE2, [0, 0]),
                C2,
                (SIX5, [0, 0]),
                (SIX, [0, 0]),
                (ANTI, [0, 0]),
                (M1, [0, 0]),
                (M2, [0, 0]),
                (SWAP, [0, 0]),
                (M3, [0, 0]),
                (M4, [0, 0]),
            ],
        }
    }

    /// The operations in the conventional cell, the identity first; for a centred cell once without and once with the
    /// centring (½, ½).
    pub fn operations(self) -> Vec<PlaneOperation> {
        let half = |t: u8| f64::from(t) / 2.0;
        let plain = |&(rotation, t): &Row| PlaneOperation { rotation, translation: t.map(half) };
        let mut all: Vec<PlaneOperation> = self.rows().iter().map(plain).collect();
        if self.centred() {
            let moved = |o: &PlaneOperation| PlaneOperation { translation: o.translation.map(|t| t + 0.5), ..*o };
            all.extend(self.rows().iter().map(plain).map(|o| moved(&o)));
        }
        all
    }

    /// Whether the reflection of these conventional indices may be there.
    ///
    /// # References
    /// *International Tables*, vol. A: reflection conditions of the general position.
    pub fn allows(self, h: [i32; 2]) -> bool {
        let whole = |t: f64| (t - t.round()).abs() < 1e-9;
        self.operations().iter().all(|o| o.reflection(h) != h || whole(o.turns(h)))
    }
}

/// A plane group on a lattice: which rows of the lattice are its conventional axes.
///
/// A group whose axes are not alike has several settings: pm, pg, cm and p2mg with the first axis along either of two
/// rows, the centred ones on each of the rectangular cells that a square or a hexagonal lattice has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneSetting {
    /// Which group.
    pub group: PlaneGroup,
    /// The conventional axes A and B in those of the lattice: A = m₀₀ a + m₀₁ b, B = m₁₀ a + m₁₁ b.
    pub basis: [[i32; 2]; 2],
}

impl PlaneSetting {
    /// The indices in the conventional cell of a reflection of the lattice.
    pub fn conventional(&self, h: [i32; 2]) -> [i32; 2] {
        self.basis.map(|m| m[0] * h[0] + m[1] * h[1])
    }

    /// The operations in fractions of the lattice's axes, one for each of the group modulo the lattice.
    ///
    /// With x = Mᵀ X for M the basis, R becomes Mᵀ R M⁻ᵀ and t becomes Mᵀ t.
    pub fn operations(&self) -> Vec<PlaneOperation> {
        let m = self.basis;
        let det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
        let rows = self.group.rows().iter();
        rows.map(|(r, t)| {
            // Mᵀ R, then its product with M⁻ᵀ.
            let mr: [[i32; 2]; 2] = [0, 1].map(|i| [0, 1].map(|j| m[0][i] * r[0][j] + m[1][i] * r[1][j]));
            let inverse = [[m[1][1], -m[1][0]], [-m[0][1], m[0][0]]];
            let rotation = [0, 1].map(|i| [0, 1].map(|j| (mr[i][0] * inverse[0][j] + mr[i][1] * inverse[1][j]) / det));
            let t = t.map(|t| f64::from(t) / 2.0);
            let translation = [0, 1].map(|i| {
                let t = f64::from(m[0][i]) * t[0] + f64::from(m[1][i]) * t[1];
                t - t.floor()
            });
            PlaneOperation { rotation, translation }
        })
        .collect()
    }

    /// Whether a reflection of the lattice may be there. The centring is one of the lattice already.
    pub fn allows(&self, h: [i32; 2]) -> bool {
        self.group.allows(self.conventional(h))
    }
}

/// How far a lattice may be from the shape that a group asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneMetric {
    /// Largest relative difference of two axes that should be of one length.
    pub length: f64,
    /// Largest error of an angle that should be 90° or 120°.
    pub angle: Angle,
}

/// 2 % and 1.5°: what an uncorrected two-fold distortion of a microscope does.
impl Default for PlaneMetric {
    fn default() -> Self {
        PlaneMetric { length: 0.02, angle: Angle::deg(1.5) }
    }
}

/// Every setting of every plane group that the shape of a lattice admits, p1 first.
///
/// # Errors
/// [`Error::Param`] for a lattice without area or a tolerance that is not between 0 and ½ (length) or 0 and 30°
/// (angle).
///
/// # Examples
/// ```
/// use exitwave::hrtem::{PlaneLattice, PlaneMetric, plane_settings};
/// let oblique = PlaneLattice { origin: [0.0; 2], a: [0.0, 31.0], b: [40.0, 9.0] };
/// let square = PlaneLattice { origin: [0.0; 2], a: [0.0, 31.0], b: [31.0, 0.0] };
/// assert_eq!(plane_settings(&oblique, &PlaneMetric::default())?.len(), 2);
/// assert!(plane_settings(&square, &PlaneMetric::default())?.len() > 14);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn plane_settings(lattice: &PlaneLattice, tolerance: &PlaneMetric) -> Result<Vec<PlaneSetting>, Error> {
    let [a, b] = [lattice.a, lattice.b];
    let area = a[0] * b[1] - a[1] * b[0];
    if !(area.abs() > 1e-9 * (a[0].hypot(a[1]) * b[0].hypot(b[1])) && area.is_finite()) {
        return Err(Error::param("lattice", format!("{a:?}, {b:?}"), "two vectors that span an area"));
    }
    let radians = tolerance.angle.to_rad();
    if !((0.0..0.5).contains(&tolerance.length) && (0.0..0.53).contains(&radians)) {
        return Err(Error::param("tolerance", format!("{tolerance:?}"), "below ½ of a length and 30°"));
    }
    let vector = |m: [i32; 2]| [0, 1].map(|i| f64::from(m[0]) * a[i] + f64::from(m[1]) * b[i]);
    let length = |m: [i32; 2]| vector(m)[0].hypot(vector(m)[1]);
    let angle = |m: [i32; 2], n: [i32; 2]| {
        let (v, w) = (vector(m), vector(n));
        ((v[0] * w[0] + v[1] * w[1]) / (length(m) * length(n))).clamp(-1.0, 1.0).acos()
    };
    let right = |m, n| (angle(m, n) - 90f64.to_radians()).abs() <= radians;
    let equal = |m, n| (length(m) - length(n)).abs() <= tolerance.length * 0.5 * (length(m) + length(n));

    // Rows of the lattice, one of each ± pair, shortest first; every pair of them with one or two points in its cell.
    let mut rows: Vec<[i32; 2]> = (-3..=3).flat_map(|i| (0..=3).map(move |j| [i, j])).collect();
    rows.retain(|&[i, j]| (j > 0 || i > 0) && gcd(i.abs(), j.abs()) == 1);
    rows.sort_by(|&m, &n| length(m).total_cmp(&length(n)));
    let mut out: Vec<PlaneSetting> =
        [PlaneGroup::P1, PlaneGroup::P2].map(|group| PlaneSetting { group, basis: ONE }).to_vec();
    let (mut square, mut hexagonal) = (None, None);
    for (i, &m) in rows.iter().enumerate() {
        for &n in &rows[i + 1..] {
            let det = m[0] * n[1] - m[1] * n[0];
            let turned = if det < 0 { n.map(|i| -i) } else { n };
            let hexagon = if angle(m, turned) < 1.8 { [turned[0] - m[0], turned[1] - m[1]] } else { turned };
            use PlaneGroup::*;
            if right(m, n) {
                // Both orders of the axes, right-handed in the lattice's own hand.
                let other = [turned, m.map(|i| -i)];
                let groups: &[PlaneGroup] = if det.abs() == 1 { &[Pm, Pg, P2mg] } else { &[Cm] };
                let both: &[PlaneGroup] = if det.abs() == 1 { &[P2mm, P2gg] } else { &[C2mm] };
                if det.abs() == 1 || (det.abs() == 2 && (m[0] + n[0]) % 2 == 0 && (m[1] + n[1]) % 2 == 0) {
                    out.extend(
                        groups
                            .iter()
                            .flat_map(|&group| [[m, turned], other].map(|basis| PlaneSetting { group, basis })),
                    );
                    out.extend(both.iter().map(|&group| PlaneSetting { group, basis: [m, turned] }));
                }
                if det.abs() == 1 && equal(m, n) && square.is_none() {
                    square = Some([m, turned]);
                }
            }
            let obtuse = (angle(m, hexagon) - 120f64.to_radians()).abs() <= radians;
            if det.abs() == 1 && obtuse && equal(m, hexagon) && equal(m, n) && hexagonal.is_none() {
                hexagonal = Some([m, hexagon]);
            }
        }
    }
    for (basis, system) in [(square, PlaneSystem::Square), (hexagonal, PlaneSystem::Hexagonal)] {
        let Some(basis) = basis else { continue };
        let groups = PlaneGroup::ALL.into_iter().filter(|g| g.system() == system);
        out.extend(groups.map(|group| PlaneSetting { group, basis }));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(p: &PlaneOperation, q: &PlaneOperation) -> PlaneOperation {
        let r = |i: usize, j: usize| (0..2).map(|k| p.rotation[i][k] * q.rotation[k][j]).sum();
        PlaneOperation {
            rotation: [[r(0, 0), r(0, 1)], [r(1, 0), r(1, 1)]],
            translation: p.apply(q.translation).map(|t| t.rem_euclid(1.0)),
        }
    }

    fn same(p: &PlaneOperation, q: &PlaneOperation) -> bool {
        let near = |a: f64, b: f64| (a - b - (a - b).round()).abs() < 1e-9;
        p.rotation == q.rotation && (0..2).all(|i| near(p.translation[i], q.translation[i]))
    }

    #[test]
    fn every_setting_is_closed_under_products_and_keeps_the_metric() {
        for lattice in [
            PlaneLattice { origin: [0.0; 2], a: [0.0, 1.0], b: [1.0, 0.0] },
            PlaneLattice { origin: [0.0; 2], a: [0.0, 1.0], b: [0.75f64.sqrt(), 0.5] },
            PlaneLattice { origin: [0.0; 2], a: [0.6, 0.8], b: [-1.6, 1.2] },
            PlaneLattice { origin: [0.0; 2], a: [1.0, 0.7], b: [1.0, -0.7] },
        ] {
            for setting in plane_settings(&lattice, &PlaneMetric::default()).unwrap() {
                let all = setting.operations();
                for p in &all {
                    for q in &all {
                        assert!(all.iter().any(|o| same(o, &product(p, q))), "{setting:?}");
                    }
                    // R is an isometry of the lattice.
                    let v = |x: [f64; 2]| [0, 1].map(|i| x[0] * lattice.a[i] + x[1] * lattice.b[i]);
                    for x in [[1.0, 0.0], [0.3, -0.7]] {
                        let o = PlaneOperation { translation: [0.0; 2], ..*p };
                        let (before, after) = (v(x), v(o.apply(x)));
                        assert!((before[0].hypot(before[1]) - after[0].hypot(after[1])).abs() < 1e-9, "{setting:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn lattices_have_the_settings_of_their_shape() {
        let count = |a, b| {
            let lattice = PlaneLattice { origin: [0.0; 2], a, b };
            plane_settings(&lattice, &PlaneMetric::default()).unwrap().len()
        };
        assert_eq!(count([0.0, 1.0], [1.3, 0.2]), 2);
        // p1, p2; pm, pg, p2mg twice; p2mm, p2gg.
        assert_eq!(count([0.0, 1.0], [1.7, 0.0]), 10);
        // p1, p2; cm twice; c2mm.
        assert_eq!(count([1.0, 0.7], [1.0, -0.7]), 5);
        // A square has one rectangular and one centred cell, and three groups of its own.
        assert_eq!(count([0.0, 1.0], [1.0, 0.0]), 10 + 3 + 3);
        // A hexagonal lattice has three centred cells, and five groups of its own.
        assert_eq!(count([0.0, 1.0], [0.75f64.sqrt(), -0.5]), 2 + 9 + 5);
        assert_eq!(count([0.0, 1.0], [0.75f64.sqrt(), 0.5]), 2 + 9 + 5);
    }

    #[test]
    fn lattices_without_area_are_errors() {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [1.0, 1.0], b: [2.0, 2.0] };
        assert!(plane_settings(&lattice, &PlaneMetric::default()).is_err());
        let lattice = PlaneLattice { b: [f64::NAN, 0.0], ..lattice };
        assert!(plane_settings(&lattice, &PlaneMetric::default()).is_err());
    }
}
