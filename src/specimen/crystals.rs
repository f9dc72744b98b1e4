//! Unit cells that the field uses. Lattice parameters and coordinates are facts from the literature; see each.

use crate::specimen::cell::Cell;
use crate::specimen::{Atoms, Species};
use crate::units::{Angle, Length};

/// Sites given by symbol and fractional coordinates: constants of this file, which the test below builds.
fn crystal(cell: Cell, sites: &[(&str, [f64; 3])]) -> Atoms {
    let mut atoms = Atoms { atoms: Vec::with_capacity(sites.len()), cell };
    for &(symbol, f) in sites {
        if let Ok(s) = Species::from_symbol(symbol) {
            atoms.atoms.push(super::Atom::new(s, cell.cartesian(f)));
        }
    }
    atoms.wrapped()
}

fn cubic(a: f64) -> Cell {
    Cell::cubic(Length::angstrom(a))
}

/// A site and its three copies by the centred faces.
fn face_centred(sites: &[(&'static str, [f64; 3])]) -> Vec<(&'static str, [f64; 3])> {
    let centres = [[0.0; 3], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
    let copy = |f: [f64; 3], c: [f64; 3]| [f[0] + c[0], f[1] + c[1], f[2] + c[2]];
    sites.iter().flat_map(|&(s, f)| centres.iter().map(move |&c| (s, copy(f, c)))).collect()
}

/// Silicon: Fd-3m, a = 5.431 Å; 8 atoms.
pub fn silicon() -> Atoms {
    crystal(cubic(5.431), &face_centred(&[("Si", [0.0; 3]), ("Si", [0.25; 3])]))
}

/// Gold: Fm-3m, a = 4.078 Å; 4 atoms.
pub fn gold() -> Atoms {
    crystal(cubic(4.078), &face_centred(&[("Au", [0.0; 3])]))
}

/// Strontium titanate: Pm-3m, a = 3.905 Å; Sr at the corner, Ti in the middle; 5 atoms.
pub fn strontium_titanate() -> Atoms {
    let o = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]];
    crystal(cubic(3.905), &[("Sr", [0.0; 3]), ("Ti", [0.5; 3]), ("O", o[0]), ("O", o[1]), ("O", o[2])])
}

/// Wüstite, FeO: Fm-3m, a = 4.33 Å; 8 atoms.
pub fn wustite() -> Atoms {
    crystal(cubic(4.33), &face_centred(&[("Fe", [0.0; 3]), ("O", [0.5, 0.0, 0.0])]))
}

/// Magnetite, Fe₃O₄: Fd-3m (origin at −3m), a = 8.396 Å, u = 0.2549; Fe on 8a and 16d, O on 32e; 56 atoms.
pub fn magnetite() -> Atoms {
    let u = 0.2549;
    let mut sites = vec![("Fe", [0.125; 3]), ("Fe", [0.875, 0.375, 0.375])];
    sites.extend([[0.5; 3], [0.25, 0.75, 0.0], [0.75, 0.0, 0.25], [0.0, 0.25, 0.75]].map(|f| ("Fe", f)));
    sites.extend(
        [
            [u, u, u],
            [0.75 - u, 0.25 - u, u + 0.5],
            [0.25 - u, u + 0.5, 0.75 - u],
            [u + 0.5, 0.75 - u, 0.25 - u],
            [u + 0.75, u + 0.25, 0.5 - u],
            [-u, -u, -u],
            [u + 0.25, 0.5 - u, u + 0.75],
            [0.5 - u, u + 0.75, u + 0.25],
        ]
        .map(|f| ("O", f)),
    );
    crystal(cubic(8.396), &face_centred(&sites))
}

/// The 2H polytype P6₃/mmc of a layered MX₂: M on 2c, X on 4f.
fn layered(metal: &'static str, other: &'static str, a: f64, c: f64, z: f64) -> Atoms {
    let lengths = [a, a, c].map(Length::angstrom);
    let hexagonal = Cell::from_parameters(lengths, [90.0, 90.0, 120.0].map(Angle::deg));
    let (p, q) = (1.0 / 3.0, 2.0 / 3.0);
    let sites = [
        (metal, [p, q, 0.25]),
        (metal, [q, p, 0.75]),
        (other, [p, q, z]),
        (other, [q, p, z - 0.5]),
        (other, [q, p, 1.0 - z]),
        (other, [p, q, 1.5 - z]),
    ];
    crystal(hexagonal.unwrap_or(cubic(a)), &sites)
}

/// Molybdenum disulphide, 2H: a = 3.160 Å, c = 12.294 Å, z = 0.621 (B. Schönfeld, J. J. Huang, S. C. Moss, *Acta Cryst.* B39,
/// 404 (1983)); 6 atoms, two layers.
pub fn molybdenum_disulphide() -> Atoms {
    layered("Mo", "S", 3.160, 12.294, 0.621)
}

/// Tungsten disulphide, 2H: a = 3.153 Å, c = 12.32 Å (W. J. Schutte, J. L. de Boer, F. Jellinek, *J. Solid State Chem.* 70, 207
/// (1987)); 6 atoms, two layers.
pub fn tungsten_disulphide() -> Atoms {
    layered("W", "S", 3.153, 12.32, 0.6225)
}

/// One layer of graphene, a = 2.46 Å, in the plane z = 0 of a cell 6.7 Å high; 2 atoms.
pub fn graphene() -> Atoms {
    let lengths = [2.46, 2.46, 6.7].map(Length::angstrom);
    let hexagonal = Cell::from_parameters(lengths, [90.0, 90.0, 120.0].map(Angle::deg));
    crystal(hexagonal.unwrap_or(cubic(2.46)), &[("C", [1.0 / 3.0, 2.0 / 3.0, 0.0]), ("C", [2.0 / 3.0, 1.0 / 3.0, 0.0])])
}

/// Methylammonium lead iodide in its cubic phase: Pm-3m, a = 6.31 Å; 12 atoms. The molecule, which turns in the real crystal,
/// lies along a with C–N 1.47 Å, C–H 1.09 Å, N–H 1.03 Å and tetrahedral angles.
pub fn methylammonium_lead_iodide() -> Atoms {
    const A: f64 = 6.31;
    let mut sites = vec![("Pb", [0.0; 3])];
    sites.extend([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]].map(|f| ("I", f)));
    let (half, cosine) = (0.735 / A, 1.0 / 3.0);
    let sine = 8f64.sqrt() / 3.0;
    for (symbol, bond, sign, phase) in [("C", 1.09 / A, -1.0, 0.0), ("N", 1.03 / A, 1.0, std::f64::consts::PI)] {
        let x = 0.5 + sign * half;
        sites.push((symbol, [x, 0.5, 0.5]));
        for i in 0..3 {
            let (s, c) = (phase + f64::from(i) * std::f64::consts::TAU / 3.0).sin_cos();
            sites.push(("H", [x + sign * bond * cosine, 0.5 + bond * sine * c, 0.5 + bond * sine * s]));
        }
    }
    crystal(cubic(A), &sites)
}

/// UiO-66, Zr₆O₄(OH)₄(C₈H₄O₄)₆: Fm-3m, a = 20.7004 Å; 440 atoms. The hydrogen of the hydroxyl groups, one on every second
/// of the oxygens inside the clusters at random, was not found.
///
/// # References
/// J. H. Cavka, S. Jakobsen, U. Olsbye, N. Guillou, C. Lamberti, S. Bordiga, K. P. Lillerud, *J. Am. Chem. Soc.* 130, 13850 (2008).
pub fn uio_66() -> Atoms {
    // Zr on 24e; O of the carboxylates on 96j, O inside the clusters on 32f; C of the carboxylates and their neighbours on 48h,
    // the other C of the rings and their H on 96j.
    let sites = [
        ("Zr", [0.11989, 0.0, 0.0]),
        ("O", [0.17047, 0.0, 0.0953]),
        ("O", [0.0561, 0.0561, 0.0561]),
        ("C", [0.1536, 0.0, 0.1536]),
        ("C", [0.205, 0.0, 0.205]),
        ("C", [0.2675, 0.0, 0.1844]),
        ("H", [0.27872, 0.0, 0.13048]),
    ];
    crystal(cubic(20.7004), &face_centred(&full_cubic(&sites)))
}

/// The sites that the 48 operations of m-3m make of some: the axes exchanged and reversed.
fn full_cubic(sites: &[(&'static str, [f64; 3])]) -> Vec<(&'static str, [f64; 3])> {
    let mut all: Vec<(&'static str, [f64; 3])> = Vec::new();
    for &(symbol, f) in sites {
        let first = all.len();
        for [i, j, k] in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]] {
            for signs in 0..8 {
                let sign = |bit: usize| if signs >> bit & 1 == 1 { -1.0 } else { 1.0 };
                let g = [sign(0) * f[i], sign(1) * f[j], sign(2) * f[k]];
                let same = |h: &[f64; 3]| (0..3).all(|n| (h[n] - g[n]).abs() < 1e-9);
                if !all[first..].iter().any(|(_, h)| same(h)) {
                    all.push((symbol, g));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::cell::norm;

    /// Distances from atom i to its nearest neighbours, sorted.
    fn distances(crystal: &Atoms, i: usize) -> Vec<(f64, &'static str)> {
        let big = crystal.repeated([3, 3, 3]).unwrap();
        let at = crystal.cell.cartesian([1.0; 3]);
        let r: [f64; 3] = std::array::from_fn(|k| crystal.atoms[i].position[k] + at[k]);
        let mut d: Vec<_> = big
            .atoms
            .iter()
            .map(|a| (norm(std::array::from_fn(|k| a.position[k] - r[k])), a.species.symbol()))
            .filter(|d| d.0 > 1e-6)
            .collect();
        d.sort_by(|a, b| a.0.total_cmp(&b.0));
        d
    }

    #[test]
    fn bonds_are_those_of_the_literature() {
        // Crystal, number of atoms, atom, coordination, neighbour, bond in Å.
        let cases: [(Atoms, usize, usize, usize, &str, f64); 9] = [
            (silicon(), 8, 0, 4, "Si", 2.3517),
            (gold(), 4, 0, 12, "Au", 2.8836),
            (strontium_titanate(), 5, 1, 6, "O", 1.9525),
            (wustite(), 8, 0, 6, "O", 2.165),
            (magnetite(), 56, 0, 4, "O", 1.889),
            (magnetite(), 56, 8, 6, "O", 2.058),
            (molybdenum_disulphide(), 6, 0, 6, "S", 2.417),
            (tungsten_disulphide(), 6, 0, 6, "S", 2.399),
            (graphene(), 2, 0, 3, "C", 1.4203),
        ];
        for (crystal, count, i, coordination, neighbour, bond) in cases {
            assert_eq!(crystal.atoms.len(), count);
            let d = distances(&crystal, i);
            for (distance, symbol) in &d[..coordination] {
                assert!(
                    *symbol == neighbour && (distance - bond).abs() < 0.01,
                    "{neighbour}: {:?}",
                    &d[..coordination]
                );
            }
            assert!(d[coordination].0 > 1.1 * bond, "{:?}", &d[..=coordination]);
        }
        // UiO-66: no atom twice; eight oxygens about a zirconium, at the distances that the diffractogram gave.
        let framework = uio_66();
        assert_eq!(framework.atoms.len(), 440);
        let zirconium = distances(&framework, 0);
        assert!(zirconium[..8].iter().all(|(d, s)| *s == "O" && (2.0..2.3).contains(d)), "{:?}", &zirconium[..9]);
        assert!(zirconium[8].0 > 3.0, "{:?}", &zirconium[..9]);
        let perovskite = methylammonium_lead_iodide();
        assert_eq!(perovskite.atoms.len(), 12);
        assert!((distances(&perovskite, 0)[5].0 - 3.155).abs() < 1e-9);
        let carbon = distances(&perovskite, 4);
        assert!((carbon[2].0 - 1.09).abs() < 1e-9 && (carbon[3].0 - 1.47).abs() < 1e-9 && carbon[3].1 == "N");
    }
}
