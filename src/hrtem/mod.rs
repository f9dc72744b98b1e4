//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.
//!
//! **Exit waves** (`docs/exit_wave.md`):
//!
//! - [`FocalSeries`], [`FocalSeriesParams`], [`FocalImage`]: the images of one wave at several foci; [`FocalSeriesFunction`]: with gradients.
//! - [`restore_linear`]: the linear Wiener restoration.

mod exit_wave_linear;
mod focal_series;
mod focal_series_function;
mod plane_lattice;

pub use exit_wave_linear::restore_linear;
pub use focal_series::{FOCAL_WORDS, FocalImage, FocalSeries, FocalSeriesParams};
pub use focal_series_function::FocalSeriesFunction;
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
