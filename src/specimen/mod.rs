//! The specimen: atoms and cells, scattering factors, potentials, thermal motion.
//!
//! Positions are `[z, y, x]` in Å, as volumes are; the beam runs along +z and meets the plane z = 0 first. A periodic simulation needs a
//! cell that is a box along the axes, which [`Atoms::oriented`] makes of a crystal.
//!
//! - [`Species`], [`Atom`], [`Atoms`], [`Cell`], [`Vector`]: who is where.
//! - [`crystals`]: unit cells of the field; [`amorphous`], [`nanoparticle`], [`polymer`]: specimens without a lattice.
//! - [`ScatteringFactor`], [`Parametrization`]: Kirkland, Lobato and Van Dyck, Peng; in q, in r, projected, in slabs.
//! - [`PotentialPlan`], [`Potential`]: projected potentials of slices, exact at any sub-pixel position; [`PotentialFunction`]: with gradients with
//!   respect to positions and thermal motion.
//!
//! Derivations are in `docs/specimen.md`.

pub(crate) mod atoms;
mod cell;
pub mod crystals;
mod factor;
mod lattice;
mod phantoms;
mod potential;
mod potential_function;
mod potential_kernels;
mod slicing;
pub(crate) mod special;
mod species;
pub(crate) mod symmetry;
mod tables;

pub use atoms::{Atom, Atoms, tilt_matrix};
pub use cell::{Cell, Vector, cross, dot, norm};
pub use factor::{Parametrization, ScatteringFactor, scattering_to_potential};
pub use phantoms::{AmorphousParams, amorphous, nanoparticle, polymer};
pub use potential::{Potential, PotentialParams, PotentialPlan, Projection};
pub use potential_function::PotentialFunction;
pub use slicing::Slicing;
pub use species::Species;
