//! The lattice of a crystal, its centring found from the atoms.

use std::collections::{BTreeMap, HashMap};

use crate::specimen::atoms::{add, wrap};
use crate::specimen::cell::{Cell, Vector, combine, cross, dot, norm};
use crate::specimen::{Atom, Atoms, Species};

/// Atoms nearer than this are in the same place, Å.
const NEAR: f64 = 1e-4;
/// With more atoms of the rarest kind than this no smaller cell is looked for.
const MOST: usize = 1024;

impl Atoms {
    /// The primitive cell: the smallest that repeats the same atoms, of short vectors.
    ///
    /// A translation is one of the lattice when it takes every atom to one of the same species, thermal motion and occupancy,
    /// within 10⁻⁴ Å. The cell itself, where there is no smaller one or where it holds more than 1024 atoms of its rarest kind.
    ///
    /// # References
    /// H. Cohen, *A Course in Computational Algebraic Number Theory* (1993), algorithm 2.4.4 for the basis of the translations.
    ///
    /// # Examples
    /// ```
    /// use exitwave::specimen::crystals;
    /// let gold = crystals::gold();
    /// assert!((gold.lattice().volume_a3() / gold.cell.volume_a3() - 0.25).abs() < 1e-12);
    /// ```
    pub fn lattice(&self) -> Cell {
        let shifts = self.centrings();
        let n = shifts.len() as f64 + 1.0;
        // In units of 1/N of the cell's vectors, N the number of translations, every translation has whole coordinates.
        let mut rows: Vec<[i64; 3]> =
            (0..3).map(|i| std::array::from_fn(|j| if i == j { n as i64 } else { 0 })).collect();
        for f in &shifts {
            let whole = f.map(|f| (f * n).round());
            if (0..3).any(|i| (f[i] * n - whole[i]).abs() > 0.2) {
                return self.cell;
            }
            rows.push(whole.map(|w| w as i64));
        }
        let basis = triangular(rows).map(|r| combine(&self.cell.vectors, r.map(|i| i as f64 / n)));
        let cell = Cell { vectors: reduced(basis) };
        let right = (cell.volume_a3().abs() * n / self.cell.volume_a3().abs() - 1.0).abs() < 1e-6;
        if right { cell } else { self.cell }
    }

    /// Fractions of the cell, but for none of it, that take every atom to another of its kind.
    fn centrings(&self) -> Vec<[f64; 3]> {
        let same = |a: &Atom, b: &Atom| a.species == b.species && a.sigma == b.sigma && a.occupancy == b.occupancy;
        let places: Vec<[f64; 3]> = self.atoms.iter().map(|a| self.cell.fractional(a.position).map(wrap)).collect();

        // Boxes of about one atom, to find who is where without looking at everyone.
        let side = ((self.atoms.len() as f64).cbrt() as i64).clamp(1, 400);
        let boxed = |f: [f64; 3]| f.map(|f| (f * side as f64).floor() as i64);
        let mut boxes: HashMap<[i64; 3], Vec<usize>> = HashMap::new();
        places.iter().enumerate().for_each(|(i, &f)| boxes.entry(boxed(f)).or_default().push(i));
        let there = |f: [f64; 3], like: &Atom| {
            let middle = boxed(f);
            (0..27).any(|n| {
                let at = std::array::from_fn(|i| (middle[i] + [n / 9, n / 3 % 3, n % 3][i] - 1).rem_euclid(side));
                boxes.get(&at).is_some_and(|inside| {
                    inside.iter().any(|&i| {
                        let d: [f64; 3] = std::array::from_fn(|k| places[i][k] - f[k] - (places[i][k] - f[k]).round());
                        same(&self.atoms[i], like) && norm(self.cell.cartesian(d)) < NEAR
                    })
                })
            })
        };

        // Candidates: from the first atom of the rarest kind to the others of that kind.
        let mut counts: BTreeMap<Species, (usize, usize)> = BTreeMap::new();
        for (i, a) in self.atoms.iter().enumerate() {
            counts.entry(a.species).or_insert((0, i)).0 += 1;
        }
        let Some(&(_, rare)) = counts.values().min() else { return Vec::new() };
        let kind: Vec<usize> = (0..self.atoms.len()).filter(|&i| same(&self.atoms[i], &self.atoms[rare])).collect();
        if kind.len() > MOST {
            return Vec::new();
        }
        let mut found = Vec::new();
        for &i in &kind {
            let f: [f64; 3] = std::array::from_fn(|k| wrap(places[i][k] - places[rare][k]));
            let moved = |a: usize| std::array::from_fn(|k| wrap(places[a][k] + f[k]));
            if i != rare && (0..self.atoms.len()).all(|a| there(moved(a), &self.atoms[a])) {
                found.push(f);
            }
        }
        found
    }

    /// One atom of each orbit of a lattice, in the order of the list.
    pub(crate) fn basis(&self, lattice: &Cell) -> Vec<Atom> {
        let copies = (self.cell.volume_a3() / lattice.volume_a3()).abs().round() as usize;
        if copies == 1 {
            return self.atoms.clone();
        }
        let mut basis: Vec<(Atom, [f64; 3])> = Vec::new();
        for a in &self.atoms {
            let f = lattice.fractional(a.position);
            let known = basis.iter().any(|(b, g)| {
                let d: [f64; 3] = std::array::from_fn(|k| f[k] - g[k] - (f[k] - g[k]).round());
                b.species == a.species && norm(lattice.cartesian(d)) < NEAR
            });
            if !known {
                basis.push((*a, f));
            }
        }
        basis.into_iter().map(|(a, _)| a).collect()
    }
}

/// A basis of the lattice that whole rows span, in triangular form, by Euclid's algorithm column by column.
fn triangular(mut rows: Vec<[i64; 3]>) -> [[i64; 3]; 3] {
    let mut basis = [[0; 3]; 3];
    for column in 0..3 {
        // Subtract the smallest from the others until one is left.
        while let Some(least) = (0..rows.len()).filter(|&r| rows[r][column] != 0).min_by_key(|&r| rows[r][column].abs())
        {
            let pivot = rows[least];
            let mut left = false;
            for (r, row) in rows.iter_mut().enumerate() {
                if r != least && row[column] != 0 {
                    let times = row[column].div_euclid(pivot[column]);
                    *row = std::array::from_fn(|i| row[i] - times * pivot[i]);
                    left |= row[column] != 0;
                }
            }
            if !left {
                basis[column] = rows.swap_remove(least);
                break;
            }
        }
        rows.retain(|r| *r != [0; 3]);
    }
    basis
}

/// Short vectors of the same lattice: each is made shorter by whole multiples of the others, as long as that is possible; right-handed.
fn reduced(mut v: [Vector; 3]) -> [Vector; 3] {
    for _ in 0..1000 {
        let mut shorter = false;
        for i in 0..3 {
            for j in (0..3).filter(|&j| j != i) {
                let times = (dot(v[i], v[j]) / dot(v[j], v[j])).round();
                if times != 0.0 {
                    let w = add(v[i], v[j].map(|x| -times * x));
                    if norm(w) < norm(v[i]) * (1.0 - 1e-9) {
                        v[i] = w;
                        shorter = true;
                    }
                }
            }
        }
        if !shorter {
            break;
        }
    }
    if dot(v[0], cross(v[1], v[2])) < 0.0 {
        v[2] = v[2].map(|x| -x);
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::crystals;
    use crate::units::Length;

    #[test]
    fn centrings_are_found_and_broken_by_a_single_atom() {
        // How many primitive cells a crystal's own, or repeated, cell holds.
        let four = crystals::silicon().repeated([2, 1, 2]).unwrap();
        for (crystal, copies) in [
            (crystals::gold(), 4.0),
            (crystals::silicon(), 4.0),
            (four.clone(), 16.0),
            (crystals::strontium_titanate(), 1.0),
            (crystals::magnetite(), 4.0),
            (crystals::molybdenum_disulphide(), 1.0),
            (crystals::uio_66(), 4.0),
        ] {
            let cell = crystal.lattice();
            assert!((crystal.cell.volume_a3() / cell.volume_a3() - copies).abs() < 1e-6, "{copies}: {cell:?}");
            assert_eq!(crystal.basis(&cell).len() * copies as usize, crystal.atoms.len());
        }
        let mut doped = four.clone();
        doped.atoms[5].species = Species::from_symbol("Ge").unwrap();
        assert!((doped.lattice().volume_a3() / doped.cell.volume_a3() - 1.0).abs() < 1e-9);
        let mut moved = four;
        moved.atoms[5].position[0] += 0.01;
        assert!((moved.lattice().volume_a3() / moved.cell.volume_a3() - 1.0).abs() < 1e-9);
        let empty = Atoms { atoms: Vec::new(), cell: Cell::cubic(Length::angstrom(3.0)) };
        assert_eq!(empty.lattice(), empty.cell);
    }
}
