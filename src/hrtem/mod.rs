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
//! - [`ExitWave`], [`ExitWaveParams`], [`ExitWaveStage`], [`FocalVariables`], [`FocalFreedom`]: maximum likelihood, with registration and refinement of the
//!   lens; [`FocalRegistration`], [`FocalSearch`], [`Rescan`], [`FocalScan`]: where it begins, and where it begins again; [`ExitWaveState`], [`ExitWaveResult`].
//! - [`refocus`], [`compare_exit_waves`], [`focal_errors`]: what a series cannot tell, removed.

mod exit_wave;
mod exit_wave_gauge;
mod exit_wave_linear;
mod exit_wave_objective;
mod exit_wave_rescan;
mod exit_wave_search;
mod focal_series;
mod focal_series_function;
mod plane_lattice;

pub use exit_wave::{
    ExitWave, ExitWaveParams, ExitWaveResult, ExitWaveStage, ExitWaveState, FocalFreedom, FocalVariables, FocalRegistration,
    Rescan,
};
pub use exit_wave_gauge::{ExitWaveComparison, FocalErrors, compare_exit_waves, focal_errors, refocus};
pub use exit_wave_linear::restore_linear;
pub use exit_wave_rescan::FocalScan;
pub use exit_wave_search::FocalSearch;
pub use focal_series::{FOCAL_WORDS, FocalImage, FocalSeries, FocalSeriesParams};
pub use focal_series_function::FocalSeriesFunction;
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
