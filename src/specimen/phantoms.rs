//! Specimens without a lattice: amorphous films, nanoparticles, chains.

use crate::error::Error;
use crate::rng;
use crate::specimen::cell::{Cell, Vector, cross, dot, norm};
use crate::specimen::{Atom, Atoms, Species};
use crate::units::Length;

/// An amorphous film.
#[derive(Clone, Debug)]
pub struct AmorphousParams {
    /// The species and their shares, which need not add up to 1.
    pub composition: Vec<(Species, f64)>,
    /// Atoms per Å³: 0.1 for amorphous carbon of 2 g/cm³.
    pub number_density: f64,
    /// No two atoms are nearer than this.
    pub minimum_distance: Length,
    /// The box `[lz, ly, lx]`, periodic along y and x (and z).
    pub edges: [Length; 3],
    /// Seed of the random numbers.
    pub seed: u64,
}

/// 20 Å of amorphous carbon, 2 g/cm³, 50 Å wide.
impl Default for AmorphousParams {
    fn default() -> Self {
        AmorphousParams {
            composition: Species::neutral(6).map(|s| vec![(s, 1.0)]).unwrap_or_default(),
            number_density: 0.1,
            minimum_distance: Length::angstrom(1.3),
            edges: [20.0, 50.0, 50.0].map(Length::angstrom),
            seed: 0,
        }
    }
}

/// Random close packing with a minimum distance, by random sequential addition: a position that is too near to another is drawn
/// again.
///
/// # Errors
/// [`Error::Param`] for an empty composition, a density or distance that is not positive, or a packing above 35 % (the spheres'
/// volume π/6 d³ times the density), where the addition jams; more than 10⁷ atoms.
///
/// # References
/// J. Feder, *J. Theor. Biol.* 87, 237 (1980): jamming at 38 %.
pub fn amorphous(params: &AmorphousParams) -> Result<Atoms, Error> {
    let AmorphousParams { composition, number_density, minimum_distance, edges, seed } = params;
    let cell = Cell::orthorhombic(*edges);
    cell.check()?;
    let (l, d) = (edges.map(|l| l.to_angstrom()), minimum_distance.to_angstrom());
    let total: f64 = composition.iter().map(|c| c.1).sum();
    if !(total > 0.0 && total.is_finite() && composition.iter().all(|c| c.1 >= 0.0)) {
        return Err(Error::param("composition", format!("{composition:?}"), "shares that are not negative, not all 0"));
    }
    let packing = std::f64::consts::PI / 6.0 * d.powi(3) * number_density;
    let n = number_density * l.iter().product::<f64>();
    if !(d > 0.0 && *number_density > 0.0 && packing < 0.35 && n < 1e7 && l.iter().all(|l| *l > 2.0 * d)) {
        return Err(Error::param(
            "number_density",
            format!("{number_density} at a distance of {d} Å: packing {packing:.3}, {n:.0} atoms"),
            "a packing below 0.35, less than 10⁷ atoms, a box wider than two distances",
        ));
    }

    // Cells at least d wide: only neighbouring cells can hold an atom that is too near.
    let n = n.round() as usize;
    let count = l.map(|l| ((l / d).floor() as usize).clamp(1, 256));
    let mut grid: Vec<Vec<usize>> = vec![Vec::new(); count.iter().product()];
    let mut atoms: Vec<Atom> = Vec::with_capacity(n);
    let mut stream = rng::stream(*seed, 0);
    let mut tries = 0usize;
    while atoms.len() < n {
        tries += 1;
        if tries > 2000 * n + 10_000 {
            return Err(Error::param(
                "number_density",
                format!("{} of {n} atoms placed", atoms.len()),
                "a lower density",
            ));
        }
        let r: Vector = std::array::from_fn(|i| l[i] * rng::uniform(&mut stream));
        let home: [usize; 3] = std::array::from_fn(|i| ((r[i] / l[i] * count[i] as f64) as usize).min(count[i] - 1));
        let near = |index: &usize| {
            let delta: Vector = std::array::from_fn(|i| {
                let x = atoms[*index].position[i] - r[i];
                x - l[i] * (x / l[i]).round()
            });
            dot(delta, delta) < d * d
        };
        let mut free = true;
        for o in 0..27 {
            let step = [o / 9, o / 3 % 3, o % 3];
            let c: [usize; 3] = std::array::from_fn(|i| (home[i] + step[i] + count[i] - 1) % count[i]);
            free = free && !grid[(c[0] * count[1] + c[1]) * count[2] + c[2]].iter().any(near);
        }
        if free {
            let mut share = rng::uniform(&mut stream) * total;
            let species = composition.iter().find(|c| {
                share -= c.1;
                share < 0.0
            });
            let species = species.unwrap_or(&composition[0]).0;
            grid[(home[0] * count[1] + home[1]) * count[2] + home[2]].push(atoms.len());
            atoms.push(Atom::new(species, r));
        }
    }
    Ok(Atoms { atoms, cell })
}

/// A particle cut from a crystal: the atoms within `radius` of a point, and on the inner side of every facet
/// (`[direction in z, y, x], distance from the centre`), in a box with `margin` of vacuum around the sphere.
///
/// Without facets the particle is a sphere; with the eight {111} and six {100} planes of a cubic metal, a truncated octahedron.
///
/// # Errors
/// [`Error::Param`] for lengths that are not positive.
pub fn nanoparticle(
    crystal: &Atoms,
    radius: Length,
    facets: &[(Vector, Length)],
    margin: Length,
) -> Result<Atoms, Error> {
    let edge = (radius + margin) * 2.0;
    if !(radius > Length::ZERO && margin >= Length::ZERO && edge < Length::um(1.0)) {
        return Err(Error::param(
            "radius",
            format!("{radius}, margin {margin}"),
            "a positive radius, a margin, below 1 µm",
        ));
    }
    let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let (r, half) = (radius.to_angstrom(), 0.5 * edge.to_angstrom());
    let facets: Vec<_> = facets.iter().map(|(n, d)| (n.map(|x| x / norm(*n).max(1e-300)), d.to_angstrom())).collect();
    Ok(crystal.cut(identity, [edge; 3])?.filtered(|a| {
        let v = a.position.map(|x| x - half);
        norm(v) <= r && facets.iter().all(|(n, d)| dot(*n, v) <= *d)
    }))
}

/// A polymer: a chain of carbon with bonds of 1.53 Å and angles of 112° at random dihedral angles, which avoids itself and keeps
/// inside a box with `[lz, ly, lx]`. A protein-like coil, for low-dose studies.
///
/// # Errors
/// [`Error::Param`] for a box below 10 Å, or a chain that does not fit into it.
pub fn polymer(monomers: usize, edges: [Length; 3], seed: u64) -> Result<Atoms, Error> {
    const BOND: f64 = 1.53;
    const NEAREST: f64 = 2.2;
    let l = edges.map(|l| l.to_angstrom());
    let cell = Cell::orthorhombic(edges);
    cell.check()?;
    if l.iter().any(|&l| l < 10.0) || monomers == 0 || monomers as f64 > 0.02 * l.iter().product::<f64>() {
        return Err(Error::param(
            "monomers",
            format!("{monomers} in {l:?} Å"),
            "at least one, below 0.02 an Å³, box ≥ 10 Å",
        ));
    }
    let carbon = Species::neutral(6)?;
    let mut stream = rng::stream(seed, 0);
    let angle = 112f64.to_radians();
    let mut chain: Vec<Vector> = vec![l.map(|l| 0.5 * l)];
    let mut failures = 0usize;
    while chain.len() < monomers {
        // The last bond and a direction perpendicular to it span the cone of the next one.
        let last = chain[chain.len() - 1];
        let bond: Vector = match chain.len() {
            1 => [0.0, 0.0, 1.0],
            n => std::array::from_fn(|i| (last[i] - chain[n - 2][i]) / BOND),
        };
        let mut placed = false;
        for _ in 0..64 {
            let any: Vector = std::array::from_fn(|_| rng::normal(&mut stream));
            let side = cross(bond, any);
            let s = norm(side);
            if s < 1e-6 {
                continue;
            }
            let r: Vector =
                std::array::from_fn(|i| last[i] + BOND * (-angle.cos() * bond[i] + angle.sin() * side[i] / s));
            let inside = (0..3).all(|i| r[i] >= 0.0 && r[i] < l[i]);
            let far = |p: &Vector| norm(std::array::from_fn(|i| p[i] - r[i])) >= NEAREST;
            if inside && chain[..chain.len() - 1].iter().all(far) {
                chain.push(r);
                placed = true;
                break;
            }
        }
        // A dead end: some of the chain is taken back.
        if !placed {
            failures += 1;
            if failures > 1000 + 10 * monomers {
                return Err(Error::param("monomers", format!("{} of {monomers} placed", chain.len()), "a larger box"));
            }
            let keep = chain.len().saturating_sub(1 + failures % 40).max(1);
            chain.truncate(keep);
        }
    }
    Ok(Atoms { atoms: chain.into_iter().map(|r| Atom::new(carbon, r)).collect(), cell })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::crystals;

    #[test]
    fn amorphous_films_keep_their_distance_and_their_density() {
        let edges = [8.0, 15.0, 12.0].map(Length::angstrom);
        let film = amorphous(&AmorphousParams { edges, ..Default::default() }).unwrap();
        assert_eq!(film.atoms.len(), 144);
        let l = [8.0, 15.0, 12.0];
        for (i, a) in film.atoms.iter().enumerate() {
            for b in &film.atoms[..i] {
                let d: Vector = std::array::from_fn(|k| {
                    let x = a.position[k] - b.position[k];
                    x - l[k] * (x / l[k]).round()
                });
                assert!(norm(d) >= 1.3);
            }
        }
        assert!(amorphous(&AmorphousParams { number_density: 1.0, ..Default::default() }).is_err());
        assert!(amorphous(&AmorphousParams { composition: vec![], ..Default::default() }).is_err());
    }

    #[test]
    fn particles_are_spheres_and_chains_have_their_bonds() {
        let (r, margin) = (Length::angstrom(12.0), Length::angstrom(3.0));
        let ball = nanoparticle(&crystals::gold(), r, &[], margin).unwrap();
        // 4/3 π r³ at 4 atoms a cell; the surface holds a few per cent more or less.
        let expected = 4.0 / 3.0 * std::f64::consts::PI * 12f64.powi(3) * 4.0 / 4.078f64.powi(3);
        assert!((ball.atoms.len() as f64 / expected - 1.0).abs() < 0.05, "{}", ball.atoms.len());
        let cut = nanoparticle(&crystals::gold(), r, &[([0.0, 0.0, 1.0], Length::ZERO)], margin).unwrap();
        assert!(cut.atoms.len() < ball.atoms.len() * 6 / 10);
        let chain = polymer(300, [Length::angstrom(40.0); 3], 5).unwrap();
        for pair in chain.atoms.windows(2) {
            let d: Vector = std::array::from_fn(|i| pair[1].position[i] - pair[0].position[i]);
            assert!((norm(d) - 1.53).abs() < 1e-12);
        }
    }
}
