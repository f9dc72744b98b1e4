//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a
//! frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined,
//! indexed.
//!
//! **Zone axis**: [`find_zone_axis`] goes from a diffraction pattern to the misorientation of the nearest zone
//! axis, with its uncertainty, and [`Holder`] from there to the
//! tilts that remove it. Its parts: [`find_spots`], [`index_pattern`], [`find_zones`], [`fit_laue_circle`],
//! [`fit_excitation`]; [`ZonePattern`] and
//! [`expected_pattern`] simulate such patterns.

mod excitation;
mod holder;
mod indexing;
mod laue;
mod net_fit;
mod pattern;
mod plane_lattice;
mod reflections;
mod rocking;
mod zone;
mod zone_axis;

pub use excitation::{ExcitationFit, ExcitationParams, FriedelPair, Strengths, cramer_rao, fit_excitation};
pub use holder::{Calibration, Holder, TiltMeasurement, Tilts, calibrate_holder};
pub use indexing::{IndexParams, IndexedPattern, index_pattern};
pub use laue::{LaueCircle, LaueParams, fit_laue_circle};
pub use pattern::{CrystalParams, RecordParams, Reflection, ZonePattern, count_pattern, expected_pattern};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use reflections::{Spot, SpotParams, Spots, find_spots};
pub use rocking::Misorientation;
pub use zone::{ZoneCandidate, ZoneNet, ZoneParams, find_zones};
pub use zone_axis::{ZoneAxisFit, ZoneAxisParams, find_zone_axis};
