//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.

mod plane_lattice;

pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
