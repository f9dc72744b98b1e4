//! The cell: three vectors that span a crystal, or the box that a simulation fills.

use crate::error::Error;
use crate::units::{Angle, Length};

/// A vector, `[z, y, x]` in Å: the beam runs along +z, images have rows along y and columns along x.
pub type Vector = [f64; 3];

/// a · b.
pub fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// a × b, right-handed in (x, y, z).
pub fn cross(a: Vector, b: Vector) -> Vector {
    [a[2] * b[1] - a[1] * b[2], a[0] * b[2] - a[2] * b[0], a[1] * b[0] - a[0] * b[1]]
}

/// |a|.
pub fn norm(a: Vector) -> f64 {
    dot(a, a).sqrt()
}

pub(crate) fn combine(m: &[Vector; 3], c: [f64; 3]) -> Vector {
    std::array::from_fn(|i| m[0][i] * c[0] + m[1][i] * c[1] + m[2][i] * c[2])
}

/// Three vectors a, b, c. A position is `f_a a + f_b b + f_c c` with the fractional coordinates f.
///
/// # Units
/// Å, each vector `[z, y, x]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// a, b, c.
    pub vectors: [Vector; 3],
}

impl Cell {
    /// A box with edges along x (a), y (b) and z (c), given as `[lz, ly, lx]`.
    pub fn orthorhombic([lz, ly, lx]: [Length; 3]) -> Self {
        let (lz, ly, lx) = (lz.to_angstrom(), ly.to_angstrom(), lx.to_angstrom());
        Cell { vectors: [[0.0, 0.0, lx], [0.0, ly, 0.0], [lz, 0.0, 0.0]] }
    }

    /// A cube of edge a.
    pub fn cubic(a: Length) -> Self {
        Cell::orthorhombic([a; 3])
    }

    /// From the six lattice parameters: a along x, b in the plane of x and y, c towards +z.
    ///
    /// # Errors
    /// [`Error::Param`] for lengths that are not positive, or angles that no cell has.
    pub fn from_parameters(lengths: [Length; 3], angles: [Angle; 3]) -> Result<Self, Error> {
        let [a, b, c] = lengths.map(|l| l.to_angstrom());
        let [ca, cb, cg] = angles.map(|a| {
            // Right angles are exact.
            let cos = a.to_rad().cos();
            if cos.abs() < 1e-15 { 0.0 } else { cos }
        });
        let sg = angles[2].to_rad().sin();
        let cy = (ca - cb * cg) / sg;
        let cz2 = 1.0 - cb * cb - cy * cy;
        if !(cz2 > 1e-12 && sg > 1e-6) {
            return Err(Error::param("angles", format!("{angles:?}"), "angles α, β, γ that a cell can have"));
        }
        let vectors = [[0.0, 0.0, a], [0.0, b * sg, b * cg], [c * cz2.sqrt(), c * cy, c * cb]];
        let cell = Cell { vectors };
        cell.check()?;
        Ok(cell)
    }

    /// Whether the vectors are finite, between 1e-3 Å and 1 mm long, and span a volume.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        let lengths = self.vectors.map(norm);
        let sensible = lengths.iter().all(|&l| (1e-3..=1e7).contains(&l));
        if !(sensible && self.volume_a3().abs() > 1e-6 * lengths.iter().product::<f64>()) {
            return Err(Error::param(
                "cell",
                format!("{:?}", self.vectors),
                "three independent vectors of 1e-3 Å to 1 mm",
            ));
        }
        Ok(())
    }

    /// The volume a · (b × c), Å³; negative for a left-handed cell.
    pub fn volume_a3(&self) -> f64 {
        let [a, b, c] = self.vectors;
        dot(a, cross(b, c))
    }

    /// The position of fractional coordinates.
    pub fn cartesian(&self, fractional: [f64; 3]) -> Vector {
        combine(&self.vectors, fractional)
    }

    /// The reciprocal vectors a*, b*, c* with aᵢ · aⱼ* = δᵢⱼ, 1/Å.
    pub fn reciprocal(&self) -> [Vector; 3] {
        let [a, b, c] = self.vectors;
        let v = self.volume_a3();
        [cross(b, c), cross(c, a), cross(a, b)].map(|r| r.map(|x| x / v))
    }

    /// The fractional coordinates of a position.
    pub fn fractional(&self, r: Vector) -> [f64; 3] {
        self.reciprocal().map(|g| dot(g, r))
    }

    /// The edges `[lz, ly, lx]` if this is a box along the axes: a along x, b along y, c along z.
    pub fn edges(&self) -> Option<[Length; 3]> {
        let [a, b, c] = self.vectors;
        let off = [a[0], a[1], b[0], b[2], c[1], c[2]];
        let size = norm(a).max(norm(b)).max(norm(c));
        let along = off.iter().all(|x| x.abs() < 1e-9 * size) && a[2] > 0.0 && b[1] > 0.0 && c[0] > 0.0;
        along.then(|| [c[0], b[1], a[2]].map(Length::angstrom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractional_and_cartesian_are_inverse_in_a_triclinic_cell() {
        let lengths = [5.0, 6.0, 7.0].map(Length::angstrom);
        let cell = Cell::from_parameters(lengths, [80.0, 95.0, 110.0].map(Angle::deg)).unwrap();
        let [a, b, c] = cell.vectors;
        assert!((norm(c) - 7.0).abs() < 1e-12 && (dot(b, c) / 42.0 - 80f64.to_radians().cos()).abs() < 1e-12);
        assert!((dot(a, c) / 35.0 - 95f64.to_radians().cos()).abs() < 1e-12);
        assert!(cell.volume_a3() > 0.0);
        let f = cell.fractional(cell.cartesian([0.2, -1.3, 0.7]));
        assert!((0..3).all(|i| (f[i] - [0.2, -1.3, 0.7][i]).abs() < 1e-13));
        assert!(cell.edges().is_none());
        assert_eq!(Cell::orthorhombic(lengths).edges(), Some(lengths));
    }

    #[test]
    fn impossible_cells_are_errors() {
        let a = [Length::angstrom(3.0); 3];
        assert!(Cell::from_parameters(a, [30.0, 30.0, 90.0].map(Angle::deg)).is_err());
        assert!(Cell::from_parameters([Length::ZERO; 3], [Angle::deg(90.0); 3]).is_err());
        assert!(Cell::cubic(Length::angstrom(f64::NAN)).check().is_err());
    }
}
