//! Lists of atoms in a cell, and how specimens are made of them.

use crate::error::Error;
use crate::rng;
use crate::shape::checked_len;
use crate::specimen::cell::{Cell, Vector, combine, cross, dot, norm};
use crate::specimen::{Parametrization, ScatteringFactor, Species};
use crate::units::{Angle, Length};

/// More atoms than this are a mistake, found before they are allocated.
const MAX_ATOMS: usize = 100_000_000;

/// One atom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Atom {
    /// Which element or ion.
    pub species: Species,
    /// Where, `[z, y, x]` in Å.
    pub position: Vector,
    /// Standard deviation of the thermal motion along `[z, y, x]`, Å.
    pub sigma: [f64; 3],
    /// Probability that the site is occupied: scales its potential.
    pub occupancy: f64,
}

impl Atom {
    /// An atom at rest, on an occupied site; `[z, y, x]` in Å.
    pub fn new(species: Species, position: Vector) -> Self {
        Atom { species, position, sigma: [0.0; 3], occupancy: 1.0 }
    }
}

/// Atoms in a cell.
///
/// What the building methods return has as many atoms as the geometry says; the order is that of the cells, and the same on
/// every machine.
///
/// # Units
/// Positions `[z, y, x]` in Å; the beam runs along +z, from z = 0 into the specimen.
///
/// # Examples
/// ```
/// use exitwave::specimen::crystals;
/// use exitwave::units::Length;
/// let film = crystals::silicon().oriented([1, 1, 0], [0, 0, 1])?.repeated([4, 3, 10])?;
/// let film = film.with_vacuum([Length::angstrom(5.0), Length::ZERO, Length::ZERO])?;
/// // The smallest orthogonal cell along [110] holds half of the cubic cell's 8 atoms.
/// assert_eq!(film.atoms.len(), 4 * 4 * 3 * 10);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Atoms {
    /// The atoms.
    pub atoms: Vec<Atom>,
    /// The cell that they lie in and that is repeated.
    pub cell: Cell,
}

impl Atoms {
    /// Atoms at fractional coordinates.
    ///
    /// # Errors
    /// [`Error::Param`] for an impossible cell.
    pub fn from_fractional(cell: Cell, sites: &[(Species, [f64; 3])]) -> Result<Self, Error> {
        cell.check()?;
        let atoms = sites.iter().map(|&(s, f)| Atom::new(s, cell.cartesian(f))).collect();
        let atoms = Atoms { atoms, cell };
        atoms.check()?;
        Ok(atoms)
    }

    /// Whether positions, thermal widths and occupancies can be used, and the cell too.
    ///
    /// # Errors
    /// [`Error::Param`] for the cell, [`Error::Data`] with the index of the first atom that is not finite, whose σ is not in 0 to
    /// 10 Å, or whose occupancy is not in 0 to 1.
    pub fn check(&self) -> Result<(), Error> {
        self.cell.check()?;
        for (index, a) in self.atoms.iter().enumerate() {
            let bad = |what: String| Err(Error::Data { what, index });
            if !a.position.iter().all(|x| x.abs() <= 1e7) {
                return bad(format!("position {:?} of {}", a.position, a.species));
            }
            if !a.sigma.iter().all(|s| (0.0..=10.0).contains(s)) {
                return bad(format!("thermal σ {:?} Å of {}", a.sigma, a.species));
            }
            if !(0.0..=1.0).contains(&a.occupancy) {
                return bad(format!("occupancy {} of {}", a.occupancy, a.species));
            }
        }
        Ok(())
    }

    /// The species that occur, sorted.
    pub fn species(&self) -> Vec<Species> {
        let mut all: Vec<Species> = self.atoms.iter().map(|a| a.species).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The mean inner potential of the cell: `Σ f(0)/κ` over its volume.
    ///
    /// # Units
    /// V.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the table lacks a species.
    pub fn mean_inner_potential(&self, parametrization: Parametrization) -> Result<f64, Error> {
        let mut sum = 0.0;
        for a in &self.atoms {
            sum += a.occupancy * ScatteringFactor::new(a.species, parametrization)?.projected_fourier(0.0, 0.0);
        }
        Ok(sum / self.cell.volume_a3().abs())
    }

    /// Sets the thermal motion of every atom of one species, the same along each axis.
    pub fn with_sigma(mut self, species: Species, sigma: Length) -> Self {
        for a in self.atoms.iter_mut().filter(|a| a.species == species) {
            a.sigma = [sigma.to_angstrom(); 3];
        }
        self
    }

    /// The cell repeated along a, b and c.
    ///
    /// # Errors
    /// [`Error::Param`] for a number of cells that is 0, or more than 10⁸ atoms.
    pub fn repeated(&self, n: [usize; 3]) -> Result<Self, Error> {
        let count = checked_len(&[n[0], n[1], n[2], self.atoms.len()]).unwrap_or(usize::MAX);
        if n.contains(&0) || count > MAX_ATOMS {
            return Err(Error::param("n", format!("{n:?}"), "at least one cell each way, at most 10⁸ atoms"));
        }
        let mut atoms = Vec::with_capacity(count);
        for i in 0..n[0] {
            for j in 0..n[1] {
                for k in 0..n[2] {
                    let shift = self.cell.cartesian([i, j, k].map(|i| i as f64));
                    atoms.extend(self.atoms.iter().map(|a| Atom { position: add(a.position, shift), ..*a }));
                }
            }
        }
        let v = self.cell.vectors;
        let cell = Cell { vectors: [0, 1, 2].map(|i| v[i].map(|x| x * n[i] as f64)) };
        Ok(Atoms { atoms, cell })
    }

    /// Moves every atom.
    pub fn translated(mut self, by: [Length; 3]) -> Self {
        let by = by.map(|l| l.to_angstrom());
        self.atoms.iter_mut().for_each(|a| a.position = add(a.position, by));
        self
    }

    /// Brings every atom into the cell: fractional coordinates in [0, 1). What lies within 1e-9 of the upper face goes to 0.
    pub fn wrapped(mut self) -> Self {
        for a in &mut self.atoms {
            let f = self.cell.fractional(a.position).map(wrap);
            a.position = self.cell.cartesian(f);
        }
        self
    }

    /// An orthogonal cell of the same crystal with the zone axis `[u, v, w]` along the beam and the lattice row that is nearest
    /// to `up` along x: the smallest one.
    ///
    /// c is the shortest lattice vector along the zone axis, a the shortest one perpendicular to it in the direction closest to
    /// `up`, b the shortest perpendicular to both. Indices are those of the cell's edges; the lattice is that of the crystal, its
    /// centring found from the atoms (see [`Atoms::lattice`]). The result is periodic and without strain.
    ///
    /// # Errors
    /// [`Error::Param`] for a zone axis of zeros, [`Error::Unsupported`] when no orthogonal cell exists with lattice indices up
    /// to 12: tilt and [`Atoms::cut`] a slab instead.
    pub fn oriented(&self, zone: [i32; 3], up: [i32; 3]) -> Result<Self, Error> {
        const MOST: i32 = 12;
        self.check()?;
        let edge = |n: [i32; 3]| combine(&self.cell.vectors, n.map(f64::from));
        if zone == [0; 3] || zone.iter().chain(&up).any(|n| n.abs() > 100) {
            return Err(Error::param("zone", format!("{zone:?}, up {up:?}"), "indices that are not all 0, up to 100"));
        }
        let lattice = self.lattice();
        let row = |n: [i32; 3]| combine(&lattice.vectors, n.map(f64::from));
        let common = |n: [i32; 3]| n.iter().fold(0, |g, &n| gcd(g, n.abs()));
        let n = lattice.fractional(edge(zone)).map(|n| n.round() as i32);
        let c = row(n.map(|i| i / common(n)));

        // Every primitive lattice row perpendicular to the zone axis, shortest first.
        let mut rows = Vec::new();
        for i in -MOST..=MOST {
            for j in -MOST..=MOST {
                for k in -MOST..=MOST {
                    let n = [i, j, k];
                    let v = row(n);
                    if common(n) == 1 && dot(v, c).abs() < 1e-9 * norm(v) * norm(c) {
                        rows.push(v);
                    }
                }
            }
        }
        rows.sort_by(|a, b| norm(*a).total_cmp(&norm(*b)));
        let up = {
            let v = edge(up);
            let along = dot(v, c) / dot(c, c);
            let v: Vector = std::array::from_fn(|i| v[i] - along * c[i]);
            if norm(v) > 1e-9 { v } else { *rows.first().unwrap_or(&c) }
        };

        // The row whose direction is nearest to `up` among those that have a perpendicular partner.
        let mut best: Option<(f64, f64, Vector, Vector)> = None;
        for &a in &rows {
            let partner =
                rows.iter().find(|b| dot(**b, a).abs() < 1e-9 * norm(**b) * norm(a) && dot(cross(a, **b), c) > 0.0);
            if let Some(&b) = partner {
                let cosine = dot(a, up) / (norm(a) * norm(up));
                let area = norm(a) * norm(b);
                let better =
                    best.is_none_or(|(c0, a0, ..)| cosine > c0 + 1e-9 || (cosine > c0 - 1e-9 && area < a0 - 1e-9));
                if better {
                    best = Some((cosine, area, a, b));
                }
            }
        }
        let Some((_, _, a, b)) = best else {
            return Err(Error::Unsupported {
                what: format!("an orthogonal cell along {zone:?}: no perpendicular lattice rows"),
            });
        };

        // One atom of each kind in the primitive cell, then a copy at each lattice point of the new cell, turned into the axes.
        let new = Cell { vectors: [a, b, c] };
        let copies = (new.volume_a3() / lattice.volume_a3()).abs().round() as usize;
        let basis = self.basis(&lattice);
        let range = [0, 1, 2].map(|i| {
            let c = [a, b, c].map(|v| lattice.fractional(v)[i]);
            let low: f64 = c.iter().map(|x| x.min(0.0)).sum();
            let high: f64 = c.iter().map(|x| x.max(0.0)).sum();
            (low.floor() as i32 - 1, high.ceil() as i32 + 1)
        });
        let edges = [norm(c), norm(b), norm(a)];
        let mut atoms = Vec::with_capacity(copies * basis.len());
        for i in range[0].0..=range[0].1 {
            for j in range[1].0..=range[1].1 {
                for k in range[2].0..=range[2].1 {
                    let f = new.fractional(row([i, j, k]));
                    if f.iter().all(|&x| (-1e-6..1.0 - 1e-6).contains(&x)) {
                        for site in &basis {
                            let f = new.fractional(add(site.position, row([i, j, k]))).map(wrap);
                            let position = [f[2] * edges[0], f[1] * edges[1], f[0] * edges[2]];
                            atoms.push(Atom { position, ..*site });
                        }
                    }
                }
            }
        }
        if atoms.len() != copies * basis.len() {
            return Err(Error::Unsupported {
                what: format!("this cell along {zone:?}: {} atoms of {}", atoms.len(), copies * basis.len()),
            });
        }
        let cell = Cell::orthorhombic(edges.map(Length::angstrom));
        Ok(Atoms { atoms, cell })
    }

    /// Cuts a box out of the endless crystal, turned by `rotation` (rows are the new z, y and x axes in the old ones): what a
    /// tilted specimen, or a zone axis without an orthogonal cell, is made of. The box is `[lz, ly, lx]` with its centre at
    /// the crystal's origin; it is not periodic.
    ///
    /// # Errors
    /// [`Error::Param`] for a box that is not positive, a matrix that is not a rotation, or more than 10⁸ atoms.
    pub fn cut(&self, rotation: [Vector; 3], edges: [Length; 3]) -> Result<Self, Error> {
        self.check()?;
        for i in 0..3 {
            for j in 0..3 {
                let want = if i == j { 1.0 } else { 0.0 };
                if (dot(rotation[i], rotation[j]) - want).abs() > 1e-9 || !rotation[i][j].is_finite() {
                    return Err(Error::param("rotation", format!("{rotation:?}"), "three orthonormal rows"));
                }
            }
        }
        let cell = Cell::orthorhombic(edges);
        cell.check()?;
        let l = edges.map(|l| l.to_angstrom());
        let expected = l.iter().product::<f64>() / self.cell.volume_a3().abs() * self.atoms.len() as f64;
        if expected > MAX_ATOMS as f64 {
            return Err(Error::param("edges", format!("{l:?}"), "a box of at most 10⁸ atoms"));
        }

        // The sphere around the box bounds the cells to visit.
        let radius = 0.5 * norm(l) + self.cell.vectors.map(norm).iter().sum::<f64>();
        let n = self.cell.reciprocal().map(|g| (radius * norm(g)).ceil() as i32);
        let mut atoms = Vec::new();
        for i in -n[0]..=n[0] {
            for j in -n[1]..=n[1] {
                for k in -n[2]..=n[2] {
                    let shift = self.cell.cartesian([i, j, k].map(f64::from));
                    for a in &self.atoms {
                        let r = add(a.position, shift);
                        let position: Vector = std::array::from_fn(|i| dot(rotation[i], r) + 0.5 * l[i]);
                        if (0..3).all(|i| position[i] >= 0.0 && position[i] < l[i]) {
                            atoms.push(Atom { position, ..*a });
                        }
                    }
                }
            }
        }
        Ok(Atoms { atoms, cell })
    }

    /// Tilts by α about x and then by β about y, about the centre of the cell; the cell stays. For small mistilts of a crystal,
    /// prefer the beam's tilt in [`crate::multislice`], which keeps the specimen periodic.
    pub fn tilted(mut self, alpha: Angle, beta: Angle) -> Self {
        let centre = self.cell.cartesian([0.5; 3]);
        let m = tilt_matrix(alpha, beta);
        for a in &mut self.atoms {
            let r: Vector = std::array::from_fn(|i| a.position[i] - centre[i]);
            a.position = std::array::from_fn(|i| dot(m[i], r) + centre[i]);
        }
        self
    }

    /// Adds vacuum on both sides of a box, `[z, y, x]` on each side.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a cell that is not a box along the axes, [`Error::Param`] for negative margins.
    pub fn with_vacuum(self, margins: [Length; 3]) -> Result<Self, Error> {
        let edges = self.edges()?;
        if !margins.iter().all(|m| *m >= Length::ZERO && m.is_finite()) {
            return Err(Error::param("margins", format!("{margins:?}"), "lengths that are not negative"));
        }
        let cell = Cell::orthorhombic([0, 1, 2].map(|i| edges[i] + margins[i] * 2.0));
        cell.check()?;
        Ok(Atoms { cell, ..self.translated(margins) })
    }

    /// Keeps the atoms of which `keep` is true, such as those of a particle.
    pub fn filtered(mut self, keep: impl Fn(&Atom) -> bool) -> Self {
        self.atoms.retain(|a| keep(a));
        self
    }

    /// Removes a fraction of the atoms of a species, drawn at random: as many as the rounded fraction says.
    ///
    /// # Errors
    /// [`Error::Param`] for a fraction outside 0 to 1.
    pub fn with_vacancies(mut self, species: Species, fraction: f64, seed: u64) -> Result<Self, Error> {
        let chosen = self.draw(species, fraction, seed)?;
        let mut index = 0;
        self.atoms.retain(|_| {
            index += 1;
            !chosen[index - 1]
        });
        Ok(self)
    }

    /// Replaces a fraction of the atoms of a species by another, drawn at random.
    ///
    /// # Errors
    /// [`Error::Param`] for a fraction outside 0 to 1.
    pub fn with_dopant(mut self, species: Species, by: Species, fraction: f64, seed: u64) -> Result<Self, Error> {
        let chosen = self.draw(species, fraction, seed)?;
        for (a, chosen) in self.atoms.iter_mut().zip(chosen) {
            if chosen {
                a.species = by;
            }
        }
        Ok(self)
    }

    /// One configuration of frozen phonons: every atom displaced along each axis by a normal number of its σ (Einstein's
    /// model), at rest afterwards. Configuration `index` of a seed draws from its own stream.
    ///
    /// # References
    /// R. F. Loane, P. Xu, J. Silcox, *Acta Cryst.* A47, 267 (1991), section 2.
    pub fn displaced(&self, seed: u64, index: u64) -> Self {
        let mut stream = rng::stream(seed, index);
        let mut out = self.clone();
        for a in &mut out.atoms {
            // Three numbers an atom, moving or not: an atom's displacement does not depend on the others' σ.
            let (n0, n1) = rng::normal_pair(&mut stream);
            let (n2, _) = rng::normal_pair(&mut stream);
            for (i, n) in [n0, n1, n2].into_iter().enumerate() {
                a.position[i] += a.sigma[i] * n;
            }
            a.sigma = [0.0; 3];
        }
        out
    }

    /// The edges `[lz, ly, lx]` of the box.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the cell is not a box along the axes.
    pub fn edges(&self) -> Result<[Length; 3], Error> {
        let what = || format!("a cell that is no box along the axes, {:?}: see Atoms::oriented", self.cell.vectors);
        self.cell.edges().ok_or_else(|| Error::Unsupported { what: what() })
    }

    fn draw(&self, species: Species, fraction: f64, seed: u64) -> Result<Vec<bool>, Error> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(Error::param("fraction", fraction, "0 to 1"));
        }
        let sites: Vec<usize> = (0..self.atoms.len()).filter(|&i| self.atoms[i].species == species).collect();
        let n = (fraction * sites.len() as f64).round() as usize;
        let mut chosen = vec![false; self.atoms.len()];
        for i in rng::permutation(&mut rng::stream(seed, 0), sites.len()).into_iter().take(n) {
            chosen[sites[i]] = true;
        }
        Ok(chosen)
    }
}

/// The rotation by α about x and then by β about y, rows and columns `[z, y, x]`.
pub fn tilt_matrix(alpha: Angle, beta: Angle) -> [Vector; 3] {
    let ((sa, ca), (sb, cb)) = (alpha.to_rad().sin_cos(), beta.to_rad().sin_cos());
    // About x: y' = c y − s z, z' = s y + c z. About y: z'' = c z' − s x', x'' = s z' + c x'.
    [[cb * ca, cb * sa, -sb], [-sa, ca, 0.0], [sb * ca, sb * sa, cb]]
}

pub(crate) fn add(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|i| a[i] + b[i])
}

/// Into [0, 1), the last 1e-9 to 0.
pub(crate) fn wrap(f: f64) -> f64 {
    let f = f - f.floor();
    if f > 1.0 - 1e-9 { 0.0 } else { f }
}

pub(crate) fn gcd(a: i32, b: i32) -> i32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
