//! From the files of crystallography to the atoms of `specimen`.

use crate::error::Error;
use crate::io::cif::CifStructure;
use crate::io::xyz::XyzStructure;
use crate::specimen::{Atom, Atoms, Cell, Species};

impl CifStructure {
    /// The atoms in their cell: a along x, b in the plane of x and y.
    ///
    /// σ = √U along each axis, 0 where the file has no U; atoms are neutral.
    ///
    /// # Errors
    /// [`Error::Param`] for an impossible cell, [`Error::Data`] for an occupancy outside 0 to 1 or a U that is none.
    ///
    /// # Examples
    /// ```no_run
    /// let film = exitwave::io::cif::read("gold.cif")?.atoms()?.repeated([4, 4, 10])?;
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn atoms(&self) -> Result<Atoms, Error> {
        let cell = Cell::from_parameters(self.lengths, self.angles)?;
        let atoms = self.atoms.iter().map(|a| {
            let sigma = a.u_iso.map_or(0.0, |u| u.to_angstrom2().sqrt());
            let atom = Atom::new(Species::from_symbol(&a.symbol)?, cell.cartesian(a.position));
            Ok(Atom { sigma: [sigma; 3], occupancy: a.occupancy, ..atom })
        });
        let atoms = Atoms { atoms: atoms.collect::<Result<_, Error>>()?, cell };
        atoms.check()?;
        Ok(atoms)
    }
}

impl XyzStructure {
    /// The atoms in their cell. The displacement of the file is σ along each axis, as Prismatic takes it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the file has no cell, and as [`CifStructure::atoms`].
    pub fn atoms(&self) -> Result<Atoms, Error> {
        let Some(vectors) = self.cell else {
            return Err(Error::Unsupported { what: "a list of atoms without a cell".into() });
        };
        let cell = Cell { vectors: vectors.map(|[x, y, z]| [z, y, x].map(|l| l.to_angstrom())) };
        let atoms = self.atoms.iter().map(|a| {
            let [x, y, z] = a.position;
            let atom = Atom::new(Species::from_symbol(a.symbol)?, [z, y, x].map(|l| l.to_angstrom()));
            let sigma = a.displacement.map_or(0.0, |d| d.to_angstrom());
            Ok(Atom { sigma: [sigma; 3], occupancy: a.occupancy, ..atom })
        });
        let atoms = Atoms { atoms: atoms.collect::<Result<_, Error>>()?, cell };
        atoms.check()?;
        Ok(atoms)
    }
}
