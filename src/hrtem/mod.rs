//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.

mod amplitude_filter;
mod components;
mod correlation_track;
mod drift;
mod frame_spectra;
mod lattice_ambiguity;
mod likelihood;
mod plane_lattice;
mod smooth_track;

pub use amplitude_filter::{AmplitudeFilter, AmplitudeFilterParams};
pub use drift::{Drift, DriftMethod, DriftParams, LatticeAmbiguity, align_frames};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use smooth_track::SmoothTrack;
