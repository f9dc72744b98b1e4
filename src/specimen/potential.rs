//! The potentials of slices, projected along the beam.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{RealFft2, frequency_index};
use crate::optics::{Constants, Grid};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::specimen::potential_kernels::{BLOCK, Buffers, NODES, Nodes, add_products, phases};
use crate::specimen::slicing::slice_of;
use crate::specimen::{Atom, Atoms, Parametrization, ScatteringFactor, Slicing, Species};
use crate::tensor::Tensor;
use crate::units::Length;

/// What of an atom's potential a slice gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Projection {
    /// The slice that holds the nucleus gets the whole atom: the projection along an infinite beam. Fast, and right for slices thicker than an atom is deep.
    #[default]
    Infinite,
    /// Every slice gets the part between its planes, from the closed forms of [`ScatteringFactor::slab_fourier`]; what reaches beyond the
    /// cell enters it on the other side. Thermal motion along the beam is left out: use frozen phonons for it.
    Finite,
}

/// What potentials depend on.
#[derive(Clone, Debug)]
pub struct PotentialParams {
    /// The pixels of a slice. Without a margin the grid is periodic, and must be as large as the cell of the atoms.
    pub grid: Grid,
    /// Where the specimen is cut.
    pub slicing: Slicing,
    /// Whose scattering factors.
    pub parametrization: Parametrization,
    /// Whole atoms, or the parts of them between the planes.
    pub projection: Projection,
    /// Zero: periodic. Else the specimen stands alone: the potential is computed on a grid that is larger by this on every side, so that
    /// no atom's tail comes back on the other side, and the grid may have any size.
    pub margin: Length,
    /// Constants behind 1/κ; an older adjustment only for comparisons.
    pub constants: Constants,
    /// Threads.
    pub par: Par,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

impl Default for PotentialParams {
    fn default() -> Self {
        PotentialParams {
            grid: Grid::default(),
            slicing: Slicing::default(),
            parametrization: Parametrization::default(),
            projection: Projection::default(),
            margin: Length::ZERO,
            constants: Constants::default(),
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// Projected potentials, one image a slice.
#[derive(Clone, Debug)]
pub struct Potential<T: Real> {
    /// The pixels of a slice.
    pub grid: Grid,
    /// Thickness of each slice.
    pub thickness: Vec<Length>,
    /// ∫V dz over each slice, `[slice, y, x]`, V Å.
    pub values: Tensor<T>,
}

impl<T: Real> Potential<T> {
    /// The sum over all slices, `[y, x]`, V Å.
    pub fn projected(&self) -> Tensor<T> {
        let mut sum = Tensor::zeros(&self.grid.dims);
        for slice in self.values.as_slice().chunks(self.grid.len().max(1)) {
            sum.as_mut_slice().iter_mut().zip(slice).for_each(|(s, &v)| *s += v);
        }
        sum
    }
}

/// One atom as a slice sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contribution {
    /// Index in the list of atoms.
    pub atom: usize,
    /// Position and σ in the plane, `[y, x]`, Å.
    pub r: [f64; 2],
    pub sigma: [f64; 2],
    pub occupancy: f64,
    /// Height of the nucleus, of this image of it, Å.
    pub z: f64,
    /// The slice's planes, Å; infinite for the whole atom.
    pub planes: [f64; 2],
}

/// Computes the potential of any slice: with structure-factor phases, exact at any sub-pixel position.
///
/// ```text
/// V(r) = Σ_k e^{2πi k·r} (1/A) Σ_species f(|k|)/κ · Σ_a o_a e^{−2πi k·r_a} e^{−2π²(σ_y²k_y² + σ_x²k_x²)}
/// ```
///
/// A is the area of the grid, o the occupancy. The sum over atoms is a product of a factor in ky and one in kx, hence a product of two
/// matrices a species. Atoms with a σ give their thermal average (Debye–Waller); those of [`Atoms::displaced`] are at rest. At the Nyquist
/// frequency of an even axis the phase is the mean of both signs, cos, so that V is real.
///
/// # Shapes
/// A slice is (ny, nx).
///
/// # Units
/// V Å.
///
/// # References
/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), equations 5.21 and 6.6.
///
/// # Examples
/// ```
/// use exitwave::optics::Grid;
/// use exitwave::specimen::{PotentialParams, PotentialPlan, crystals};
/// use exitwave::units::Length;
/// let sto = crystals::strontium_titanate().repeated([2, 2, 4])?;
/// let grid = Grid { dims: [64, 64], sampling: [Length::angstrom(2.0 * 3.905 / 64.0); 2] };
/// let plan = PotentialPlan::<f32>::new(&sto, &PotentialParams { grid, ..Default::default() })?;
/// assert_eq!(plan.build()?.values.dims(), [8, 64, 64]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct PotentialPlan<T: Real> {
    grid: Grid,
    /// Pixels that are computed, and how many of them are cut off on the lower sides.
    pub(crate) work: [usize; 2],
    offset: [usize; 2],
    /// Extent of the computed grid, Å.
    pub(crate) extent: [f64; 2],
    pub(crate) boundaries: Vec<f64>,
    pub(crate) atoms: usize,
    projection: Projection,
    /// Per species: f/κ · N/A on the half spectrum, (ny, nx/2 + 1).
    pub(crate) factors: Vec<(ScatteringFactor, Vec<T>)>,
    /// Per slice, per species.
    pub(crate) slices: Vec<Vec<Vec<Contribution>>>,
    pub(crate) fft: RealFft2<T>,
    par: Par,
}

/// Buffers of one thread, made by [`PotentialPlan::scratch`].
#[derive(Debug)]
pub struct PotentialScratch<T: Real> {
    words: Vec<Complex<T>>,
}

impl<T: Real> PotentialPlan<T> {
    /// Sorts the atoms into slices and tabulates their scattering factors.
    ///
    /// # Errors
    /// [`Error::Param`] for a grid that does not fit the cell, an impossible slicing or margin; [`Error::Unsupported`] for a cell that is no
    /// box along the axes or a species that the table lacks; [`Error::Data`] for an atom that is not finite; [`Error::OverBudget`],
    /// [`Error::OutOfMemory`].
    pub fn new(atoms: &Atoms, params: &PotentialParams) -> Result<Self, Error> {
        let PotentialParams { grid, slicing, parametrization, projection, margin, constants, par, limits } = params;
        grid.check()?;
        atoms.check()?;
        let edges = atoms.edges()?.map(|l| l.to_angstrom());
        let d = grid.sampling.map(|d| d.to_angstrom());
        if !(*margin >= Length::ZERO && *margin <= Length::um(1.0)) {
            return Err(Error::param("margin", margin, "0 to 1 µm"));
        }
        let pad = [0, 1].map(|i| (margin.to_angstrom() / d[i]).ceil() as usize);
        let work = [0, 1].map(|i| grid.dims[i] + 2 * pad[i]);
        let extent = [0, 1].map(|i| work[i] as f64 * d[i]);
        if *margin == Length::ZERO && (0..2).any(|i| (extent[i] / edges[i + 1] - 1.0).abs() > 1e-6) {
            return Err(Error::Param {
                name: "grid",
                got: format!("{extent:?} Å for a cell of {:?} Å", &edges[1..]),
                expected: "a grid as large as the cell, or a margin",
            });
        }
        let boundaries = slicing.boundaries(atoms, edges[0])?;
        let count = boundaries.len() - 1;
        let species = atoms.species();

        // What the plan holds; what it works with is counted by `workspace_bytes`.
        let fft = RealFft2::new(work)?;
        let half = work[1] / 2 + 1;
        let spectrum = checked_len(&[work[0], half])?;
        let bytes = (spectrum * species.len() * size_of::<T>() + atoms.atoms.len() * size_of::<Contribution>()) as u64;
        limits.check(bytes)?;

        let mut slices = vec![vec![Vec::new(); species.len()]; count];
        let mut factors = Vec::with_capacity(species.len());
        for &s in &species {
            factors.push(ScatteringFactor::with_constants(s, *parametrization, constants)?);
        }
        for (index, atom) in atoms.atoms.iter().enumerate() {
            let which = species.binary_search(&atom.species).unwrap_or(0);
            let shift = [0, 1].map(|i| pad[i] as f64 * d[i]);
            place(atom, index, shift, &boundaries, edges[0], *projection, &factors[which], |slice, c| {
                slices[slice][which].push(c);
            });
        }

        // f/κ · N/A: the inverse transform has 1/N.
        let scale = (work[0] * work[1]) as f64 / (extent[0] * extent[1]);
        let tabulate = |f: ScatteringFactor| {
            let mut table = try_zeroed(spectrum)?;
            for (iy, row) in table.chunks_mut(half).enumerate() {
                let ky = frequency_index(iy, work[0]) as f64 / extent[0];
                for (ix, t) in row.iter_mut().enumerate() {
                    let kx = ix as f64 / extent[1];
                    *t = T::of(scale * f.projected_fourier(ky * ky + kx * kx, 0.0));
                }
            }
            Ok((f, table))
        };
        let factors = factors.into_iter().map(tabulate).collect::<Result<Vec<_>, Error>>()?;
        Ok(PotentialPlan {
            grid: *grid,
            work,
            offset: pad,
            extent,
            boundaries,
            atoms: atoms.atoms.len(),
            projection: *projection,
            factors,
            slices,
            fft,
            par: par.clone(),
        })
    }

    /// Number of slices.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// A plan has at least one slice.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The pixels of a slice.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The species, in the order of the tables.
    pub fn species(&self) -> Vec<Species> {
        self.factors.iter().map(|f| f.0.species()).collect()
    }

    /// Thickness of each slice.
    pub fn thickness(&self) -> Vec<Length> {
        self.boundaries.windows(2).map(|w| Length::angstrom(w[1] - w[0])).collect()
    }

    /// Bytes that [`PotentialPlan::build`] allocates.
    pub fn workspace_bytes(&self) -> u64 {
        let scratch = self.scratch_len() * size_of::<Complex<T>>();
        (self.len() * self.grid.len() * size_of::<T>() + scratch * self.par.count()) as u64
    }

    /// Complex elements of [`PotentialScratch`].
    pub(crate) fn scratch_len(&self) -> usize {
        Buffers::<T>::len(self.work, self.offset != [0, 0], self.fft.scratch_len())
    }

    pub(crate) fn buffers<'a>(&self, words: &'a mut [Complex<T>]) -> Buffers<'a, T> {
        Buffers::new(words, self.work, self.offset != [0, 0], self.fft.scratch_len())
    }

    /// Buffers for one thread.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn scratch(&self) -> Result<PotentialScratch<T>, Error> {
        Ok(PotentialScratch { words: try_zeroed(self.scratch_len())? })
    }

    /// Writes the potential of slice `s` into `v`, V Å.
    ///
    /// # Panics
    /// - if `s` is not below [`PotentialPlan::len`],
    /// - if `v.len()` is not the number of pixels of the grid.
    pub fn fill_slice(&self, s: usize, v: &mut [T], scratch: &mut PotentialScratch<T>) {
        // v is (ny, nx)
        check_len("PotentialPlan::fill_slice", "v", self.grid.len(), v.len());
        let mut buffers = self.buffers(&mut scratch.words);
        self.fill(s, v, &mut buffers, |c| *c);
    }

    /// The potential of slice `s` with every atom where `moved` says it is.
    pub(crate) fn fill(
        &self,
        s: usize,
        v: &mut [T],
        buffers: &mut Buffers<'_, T>,
        moved: impl Fn(&Contribution) -> Contribution,
    ) {
        buffers.spectrum.fill(Complex::default());
        for (group, (factor, table)) in self.slices[s].iter().zip(&self.factors) {
            match self.projection {
                Projection::Infinite => self.add_species(group, table, buffers, &moved),
                Projection::Finite => self.add_slabs(group, factor, buffers, &moved),
            }
        }
        self.synthesize(v, buffers);
    }

    /// Whole atoms, or parts.
    pub(crate) fn projection(&self) -> Projection {
        self.projection
    }

    /// All slices.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn build(&self) -> Result<Potential<T>, Error> {
        let len = checked_len(&[self.len(), self.grid.len()])?;
        let mut values = try_zeroed(len)?;
        let mut scratch = (0..self.par.count()).map(|_| self.scratch()).collect::<Result<Vec<_>, _>>()?;
        self.par
            .chunks_with(&mut values, self.grid.len(), &mut scratch, |s, v, scratch| self.fill_slice(s, v, scratch));
        let [ny, nx] = self.grid.dims;
        let values = Tensor::from_vec(&[self.len(), ny, nx], values)?;
        Ok(Potential { grid: self.grid, thickness: self.thickness(), values })
    }

    /// spectrum += f · Σ_a e_y e_x, the sum as a product of matrices, (ny, atoms)·(atoms, nx/2 + 1).
    fn add_species(
        &self,
        group: &[Contribution],
        table: &[T],
        b: &mut Buffers<'_, T>,
        moved: impl Fn(&Contribution) -> Contribution,
    ) {
        let half = self.work[1] / 2 + 1;
        if group.is_empty() {
            return;
        }
        b.sum.fill(T::ZERO);
        for atoms in group.chunks(BLOCK) {
            for (a, c) in atoms.iter().enumerate() {
                let c = moved(c);
                phases([self.work[0]; 2], self.extent[0], c.r[0], c.sigma[0], c.occupancy, |i, z| {
                    b.y[i * BLOCK + a] = z
                });
                let (re, im) = b.x[2 * a * half..2 * (a + 1) * half].split_at_mut(half);
                phases([self.work[1], half], self.extent[1], c.r[1], c.sigma[1], 1.0, |i, z| {
                    (re[i], im[i]) = (z.re, z.im);
                });
            }
            add_products(atoms.len(), half, b.y, b.x, b.sum);
        }
        for ((v, s), f) in b.spectrum.chunks_mut(half).zip(b.sum.chunks(2 * half)).zip(table.chunks(half)) {
            let (re, im) = s.split_at(half);
            for i in 0..half {
                v[i] += Complex::new(re[i] * f[i], im[i] * f[i]);
            }
        }
    }

    /// The same for parts of atoms, whose factor depends on the height: tabulated in |k| for each atom, and interpolated by a cubic.
    fn add_slabs(
        &self,
        group: &[Contribution],
        factor: &ScatteringFactor,
        b: &mut Buffers<'_, T>,
        moved: impl Fn(&Contribution) -> Contribution,
    ) {
        let [ny, nx] = self.work;
        let half = nx / 2 + 1;
        let nodes = self.nodes();
        for c in group {
            let c = moved(c);
            nodes.tabulate(b.table, |k2| factor.slab_fourier(k2, c.planes[0] - c.z, c.planes[1] - c.z));
            let (ey, ex) = (&mut b.y[..ny], &mut b.ex[..half]);
            phases([ny; 2], self.extent[0], c.r[0], c.sigma[0], c.occupancy, |i, z| ey[i] = z);
            phases([nx, half], self.extent[1], c.r[1], c.sigma[1], 1.0, |i, z| ex[i] = z);
            for (iy, row) in b.spectrum.chunks_mut(half).enumerate() {
                let ky = frequency_index(iy, ny) as f64 / self.extent[0];
                for (ix, v) in row.iter_mut().enumerate() {
                    let f = nodes.at(ky * ky + (ix as f64 / self.extent[1]).powi(2), b.table);
                    *v += (ey[iy] * ex[ix]).scale(f);
                }
            }
        }
    }

    /// Nodes in |k| up to the corner of the spectrum, times N/A.
    pub(crate) fn nodes(&self) -> Nodes {
        let ([ny, nx], [ly, lx]) = (self.work, self.extent);
        let largest = (0.5 * ny as f64 / ly).hypot(0.5 * nx as f64 / lx);
        Nodes { step: largest / (NODES - 4) as f64, scale: (ny * nx) as f64 / (ly * lx) }
    }

    /// v = F⁻¹ spectrum, cropped to the grid.
    fn synthesize(&self, v: &mut [T], b: &mut Buffers<'_, T>) {
        if self.offset == [0, 0] {
            self.fft.inverse(b.spectrum, v, b.fft);
        } else {
            self.fft.inverse(b.spectrum, b.real, b.fft);
            let ([oy, ox], nx) = (self.offset, self.grid.dims[1]);
            for (iy, row) in v.chunks_mut(nx).enumerate() {
                let start = (iy + oy) * self.work[1] + ox;
                row.copy_from_slice(&b.real[start..start + nx]);
            }
        }
    }

    /// spectrum = F g, of an image on the grid, with zeros around it: the adjoint of [`PotentialPlan::synthesize`] but for N and the weights
    /// of the half spectrum.
    pub(crate) fn analyse(&self, g: &[T], b: &mut Buffers<'_, T>) {
        // The sums are not in use; they hold more words than there are pixels.
        let real = &mut b.sum[..self.work[0] * self.work[1]];
        real.fill(T::ZERO);
        let ([oy, ox], nx) = (self.offset, self.grid.dims[1]);
        for (iy, row) in g.chunks(nx).enumerate() {
            let start = (iy + oy) * self.work[1] + ox;
            real[start..start + nx].copy_from_slice(row);
        }
        self.fft.forward(real, b.spectrum, b.fft);
    }
}

/// The slices that an atom contributes to.
fn place(
    atom: &Atom,
    index: usize,
    shift: [f64; 2],
    boundaries: &[f64],
    lz: f64,
    projection: Projection,
    factor: &ScatteringFactor,
    mut put: impl FnMut(usize, Contribution),
) {
    let [z, y, x] = atom.position;
    let whole = Contribution {
        atom: index,
        r: [y + shift[0], x + shift[1]],
        sigma: [atom.sigma[1], atom.sigma[2]],
        occupancy: atom.occupancy,
        z,
        planes: [f64::NEG_INFINITY, f64::INFINITY],
    };
    match projection {
        Projection::Infinite => put(slice_of(boundaries, z), whole),
        Projection::Finite => {
            // The cell repeats along the beam as often as the atom reaches; a bare charge is cut after one period.
            let reach = if factor.reach().is_finite() { factor.reach() } else { lz };
            let images = (reach / lz).ceil() as i32;
            for image in -images..=images {
                let nucleus = z + f64::from(image) * lz;
                for s in 0..boundaries.len() - 1 {
                    let slab = [boundaries[s] - nucleus, boundaries[s + 1] - nucleus];
                    if slab[0] < reach && slab[1] > -reach {
                        put(s, Contribution { z: nucleus, planes: [boundaries[s], boundaries[s + 1]], ..whole });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::real::cis;
    use crate::specimen::potential_kernels::phase;
    use crate::specimen::{Cell, crystals};

    fn grid(dims: [usize; 2], extent: [f64; 2]) -> Grid {
        Grid { dims, sampling: [0, 1].map(|i| Length::angstrom(extent[i] / dims[i] as f64)) }
    }

    /// The formula as it is printed, over every frequency.
    fn naive(atoms: &Atoms, grid: &Grid, parametrization: Parametrization) -> Vec<f64> {
        let [ny, nx] = grid.dims;
        let [ly, lx] = grid.extent().map(|l| l.to_angstrom());
        let mut v = vec![0.0; ny * nx];
        for a in &atoms.atoms {
            let f = ScatteringFactor::new(a.species, parametrization).unwrap();
            for (iy, ix) in (0..ny).flat_map(|iy| (0..nx).map(move |ix| (iy, ix))) {
                let (ky, kx) = (frequency_index(iy, ny) as f64 / ly, frequency_index(ix, nx) as f64 / lx);
                let s = phase(iy, ny, ly, a.position[1], a.sigma[1]) * phase(ix, nx, lx, a.position[2], a.sigma[2]);
                let s = s * a.occupancy * f.projected_fourier(ky * ky + kx * kx, 0.0) / (ly * lx);
                for (jy, jx) in (0..ny).flat_map(|jy| (0..nx).map(move |jx| (jy, jx))) {
                    let turns = (iy * jy) as f64 / ny as f64 + (ix * jx) as f64 / nx as f64;
                    v[jy * nx + jx] += (s * cis(TAU * turns)).re;
                }
            }
        }
        v
    }

    #[test]
    fn a_slice_is_the_sum_over_frequencies_for_odd_and_even_grids() {
        let mut atoms = crystals::strontium_titanate();
        atoms.atoms[1].sigma = [0.1, 0.07, 0.2];
        atoms.atoms[2].occupancy = 0.4;
        atoms.atoms[3].position = [0.3, 9.1, -2.2];
        for dims in [[8, 10], [9, 7], [10, 9], [1, 6]] {
            let grid = grid(dims, [3.905; 2]);
            let params = PotentialParams { grid, slicing: Slicing::Count(1), ..Default::default() };
            let plan = PotentialPlan::<f64>::new(&atoms, &params).unwrap();
            let (got, want) = (plan.build().unwrap(), naive(&atoms, &grid, params.parametrization));
            let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (a, b) in got.values.as_slice().iter().zip(&want) {
                assert!((a - b).abs() < 1e-12 * largest, "{dims:?}: {a} {b}");
            }
            let single = PotentialPlan::<f32>::new(&atoms, &params).unwrap().build().unwrap();
            for (a, b) in single.values.as_slice().iter().zip(&want) {
                assert!((f64::from(*a) - b).abs() < 3e-6 * largest);
            }
        }
    }

    #[test]
    fn parts_of_atoms_add_up_to_the_whole() {
        let atoms = crystals::strontium_titanate().repeated([1, 1, 2]).unwrap();
        let grid = grid([24, 24], [3.905; 2]);
        for parametrization in [Parametrization::Kirkland, Parametrization::Lobato, Parametrization::Peng] {
            let build = |projection, slicing| {
                let params = PotentialParams { grid, slicing, projection, parametrization, ..Default::default() };
                PotentialPlan::<f64>::new(&atoms, &params).unwrap().build().unwrap().projected()
            };
            let whole = build(Projection::Infinite, Slicing::Count(1));
            let parts = build(Projection::Finite, Slicing::Count(7));
            let largest = whole.as_slice().iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (a, b) in whole.as_slice().iter().zip(parts.as_slice()) {
                // The cubic through 1024 nodes.
                assert!((a - b).abs() < 1e-6 * largest, "{parametrization:?}: {a} {b}");
            }
        }
    }

    #[test]
    fn an_atom_alone_has_its_own_projected_potential() {
        // Away from the nucleus, where the band limit does not matter, with thermal motion that makes the limit invisible.
        let cell = Cell::orthorhombic([4.0, 6.0, 6.0].map(Length::angstrom));
        let mut atoms =
            Atoms::from_fractional(cell, &[(Species::from_symbol("Zr").unwrap(), [0.31, 0.44, 0.5])]).unwrap();
        atoms.atoms[0].sigma = [0.06; 3];
        let grid = grid([96, 96], [6.0; 2]);
        let margin = Length::angstrom(6.0);
        let params = PotentialParams { grid, margin, slicing: Slicing::Count(1), ..Default::default() };
        let v = PotentialPlan::<f64>::new(&atoms, &params).unwrap().build().unwrap();
        let f = ScatteringFactor::new(atoms.atoms[0].species, params.parametrization).unwrap();
        let [_, y, x] = atoms.atoms[0].position;
        for (iy, ix) in [(20, 40), (42, 60), (80, 30), (60, 60)] {
            let r = (iy as f64 * 0.0625 - y).hypot(ix as f64 * 0.0625 - x);
            let (got, want) = (v.values[[0, iy, ix]], f.projected(Length::angstrom(r)));
            // Thermal motion changes V by about (σ²/2)∇²V: 2 % at these distances.
            assert!((got / want - 1.0).abs() < 0.03, "{r}: {got} {want}");
        }
    }

    #[test]
    fn grids_that_do_not_fit_are_errors() {
        let atoms = crystals::gold();
        let bad = |p: PotentialParams| PotentialPlan::<f32>::new(&atoms, &p).unwrap_err();
        let good = grid([32, 32], [4.078; 2]);
        assert!(matches!(
            bad(PotentialParams { grid: grid([32, 32], [4.1; 2]), ..Default::default() }),
            Error::Param { .. }
        ));
        assert!(matches!(
            bad(PotentialParams { grid: good, limits: Limits { bytes: 10 }, ..Default::default() }),
            Error::OverBudget { .. }
        ));
        assert!(matches!(
            bad(PotentialParams { grid: good, margin: Length::angstrom(-1.0), ..Default::default() }),
            Error::Param { name: "margin", .. }
        ));
    }
}
