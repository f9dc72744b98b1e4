//! Space groups, given by operations as a crystallographic file writes them.

use crate::error::Error;
use crate::specimen::symmetry::{self, IDENTITY, Op, generated};
use crate::specimen::{Cell, dot};

/// Translations are multiples of 1/24: halves, thirds, quarters, sixths, eighths.
const PARTS: i32 = 24;

/// x ↦ R x + t in fractions of the axes a, b, c.
///
/// As for [`crate::hrtem::PlaneOperation`]: f(R x + t) = f(x) makes F(h) = e^{2πi h·t} F(hR).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpaceOperation {
    /// R, rows first.
    pub rotation: [[i32; 3]; 3],
    /// t.
    pub translation: [f64; 3],
}

impl SpaceOperation {
    /// From its text, such as `-x+1/2, y, z-0.25`.
    ///
    /// # Errors
    /// [`Error::Param`] for text that is no operation.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::param("operation", text, "three expressions such as -x+1/2, y, z");
        let (rotation, translation) = symmetry::parse(text).ok_or_else(wrong)?;
        if rotation.iter().flatten().any(|r| r.fract() != 0.0 || r.abs() > 1e6) {
            return Err(wrong());
        }
        Ok(SpaceOperation { rotation: rotation.map(|r| r.map(|r| r as i32)), translation })
    }

    /// R x + t.
    pub fn apply(&self, x: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| (0..3).map(|j| f64::from(self.rotation[i][j]) * x[j]).sum::<f64>() + self.translation[i])
    }

    /// hR.
    pub fn reflection(&self, h: [i32; 3]) -> [i32; 3] {
        [0, 1, 2].map(|j| (0..3).map(|i| h[i] * self.rotation[i][j]).sum())
    }

    /// h·t, in turns.
    pub fn turns(&self, h: [i32; 3]) -> f64 {
        (0..3).map(|i| f64::from(h[i]) * self.translation[i]).sum()
    }
}

/// All operations of a space group in its cell, centrings included.
///
/// # Examples
/// ```
/// use exitwave::hrtem::SpaceGroup;
/// // F-43m from its face centring, two twofold axes, the threefold along the diagonal and a mirror.
/// let group = SpaceGroup::from_generators(&[
///     "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "-x,-y,z", "-x,y,-z", "z,x,y", "y,x,z",
/// ])?;
/// assert_eq!(group.order(), 96);
/// assert!(group.allows([1, 1, 1]) && !group.allows([1, 0, 0]));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceGroup {
    operations: Vec<SpaceOperation>,
}

impl SpaceGroup {
    /// The identity alone.
    pub fn p1() -> Self {
        SpaceGroup { operations: vec![whole(IDENTITY)] }
    }

    /// The group that some operations generate: all of them, or a few from which the others follow.
    ///
    /// # Errors
    /// [`Error::Param`] for text that is no operation, a rotation that is none of a lattice, translations that are no
    /// multiples of
    /// 1/24, or more than 192 operations.
    pub fn from_generators(texts: &[&str]) -> Result<Self, Error> {
        let mut generators = Vec::new();
        for text in texts {
            let o = SpaceOperation::parse(text)?;
            let t = o.translation.map(|t| t * f64::from(PARTS));
            let r = o.rotation;
            let det = (0..3).map(|i| {
                let (j, k) = ((i + 1) % 3, (i + 2) % 3);
                r[0][i] * (r[1][j] * r[2][k] - r[1][k] * r[2][j])
            });
            if t.iter().any(|t| (t - t.round()).abs() > 0.01 || t.abs() > 1e6) || det.sum::<i32>().abs() != 1 {
                return Err(Error::param("operation", text, "a rotation of a lattice, translations in 24ths"));
            }
            generators.push((r, t.map(|t| (t.round() as i32).rem_euclid(PARTS))));
        }
        let group = generated(&generators, PARTS)
            .ok_or_else(|| Error::param("generators", format!("{texts:?}"), "a group of at most 192 operations"))?;
        Ok(SpaceGroup { operations: group.into_iter().map(whole).collect() })
    }

    /// The operations, the identity first.
    pub fn operations(&self) -> &[SpaceOperation] {
        &self.operations
    }

    /// Their number.
    pub fn order(&self) -> usize {
        self.operations.len()
    }

    /// Whether the reflection may be there: no operation takes it to itself with another phase.
    pub fn allows(&self, h: [i32; 3]) -> bool {
        let whole = |t: f64| (t - t.round()).abs() < 1e-6;
        self.operations.iter().all(|o| o.reflection(h) != h || whole(o.turns(h)))
    }

    /// Whether every rotation leaves lengths and angles of a cell as they are, within a share of its squared lengths.
    pub fn keeps(&self, cell: &Cell, tolerance: f64) -> bool {
        let metric = |i: usize, j: usize| dot(cell.vectors[i], cell.vectors[j]);
        let largest = (0..3).map(|i| metric(i, i)).fold(0.0, f64::max);
        self.operations.iter().all(|o| {
            let r = o.rotation.map(|r| r.map(f64::from));
            (0..9).all(|n| {
                let (i, j) = (n / 3, n % 3);
                let turned: f64 = (0..9).map(|m| r[m / 3][i] * metric(m / 3, m % 3) * r[m % 3][j]).sum();
                (turned - metric(i, j)).abs() <= tolerance * largest
            })
        })
    }

    /// One operation of each rotation: reflections that the centring allows have one phase with all of its
    /// translations.
    pub(super) fn rotations(&self) -> Vec<SpaceOperation> {
        let mut out: Vec<SpaceOperation> = Vec::new();
        for o in &self.operations {
            if !out.iter().any(|p| p.rotation == o.rotation) {
                out.push(*o);
            }
        }
        out
    }
}

fn whole((rotation, t): Op) -> SpaceOperation {
    SpaceOperation { rotation, translation: t.map(|t| f64::from(t) / f64::from(PARTS)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Angle, Length};

    #[test]
    fn groups_have_their_orders_and_absences() {
        let face = ["x,y+1/2,z+1/2", "x+1/2,y,z+1/2"];
        let all = [&face[..], &["-x,-y,z", "-x,y,-z", "z,x,y", "y,x,-z", "-x,-y,-z"]].concat();
        let group = SpaceGroup::from_generators(&all).unwrap();
        assert_eq!((group.order(), group.rotations().len()), (192, 48));
        assert!(group.keeps(&Cell::cubic(Length::angstrom(4.0)), 1e-9));
        assert!(!group.keeps(&Cell::orthorhombic([4.0, 4.0, 4.3].map(Length::angstrom)), 1e-3));
        // P3₁21, a trigonal cell: 00l for l = 3n.
        let quartz = SpaceGroup::from_generators(&["-y,x-y,z+1/3", "y,x,-z"]).unwrap();
        assert_eq!(quartz.order(), 6);
        assert!(quartz.allows([0, 0, 3]) && !quartz.allows([0, 0, 1]) && quartz.allows([1, 0, 1]));
        let [a, c] = [4.9, 5.4].map(Length::angstrom);
        let cell = Cell::from_parameters([a, a, c], [90.0, 90.0, 120.0].map(Angle::deg)).unwrap();
        assert!(quartz.keeps(&cell, 1e-9));
        assert_eq!(SpaceGroup::p1().order(), 1);
    }

    #[test]
    fn text_that_is_no_operation_is_an_error() {
        for wrong in ["", "x,y", "x,y,z,w", "x,y,q", "x,,z", "x/0,y,z", "x,y,z+", "x,y,1/0", "x+0.2,y,z", "x,x,z"] {
            assert!(SpaceGroup::from_generators(&[wrong]).is_err(), "{wrong}");
        }
        // An endless group.
        assert!(SpaceGroup::from_generators(&["x+y,y,z"]).is_err());
        let o = SpaceOperation::parse("1/2-X, y+z - .25, 2/3+z").unwrap();
        assert_eq!((o.rotation, o.translation[0]), ([[-1, 0, 0], [0, 1, 1], [0, 0, 1]], 0.5));
        assert!((o.apply([0.1, 0.2, 0.3])[1] - 0.25).abs() < 1e-12);
    }
}
