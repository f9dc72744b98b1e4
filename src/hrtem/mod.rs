//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **Drift** of series of frames that each hold next to nothing: [`align_frames`] with the [`AmplitudeFilter`], correlation or maximum likelihood under a
//! [`SmoothTrack`] prior; [`SubframeMotion`]; [`aligned_sum`] with [`FrameWeights`] by a curve or by the fading of each reflection
//! ([`reflection_fading`], [`critical_dose`]); [`sum_quality`] says what was won. Derivation: `docs/drift.md`.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.
//!
//! **Zone axis**: [`find_zone_axis`] goes from a diffraction pattern to the misorientation of the nearest zone axis, with its uncertainty, and [`Holder`] from there to the
//! tilts that remove it. Its parts: [`find_spots`], [`index_pattern`], [`find_zones`], [`fit_laue_circle`], [`fit_excitation`]; [`ZonePattern`] and
//! [`expected_pattern`] simulate such patterns.

mod aligned_sum;
mod amplitude_filter;
mod components;
mod correlation_track;
mod critical_dose;
mod dose_weight;
mod drift;
mod excitation;
mod frame_spectra;
mod gain;
mod holder;
mod indexing;
mod lattice_ambiguity;
mod laue;
mod likelihood;
mod net_fit;
mod pattern;
mod plane_lattice;
mod reflections;
mod rocking;
mod smooth_track;
mod subframe;
mod zone;
mod zone_axis;

pub use aligned_sum::{AlignedSum, AlignedSumParams, aligned_sum};
pub use amplitude_filter::{AmplitudeFilter, AmplitudeFilterParams};
pub use critical_dose::{Fading, critical_dose};
pub use dose_weight::{FrameWeights, ReflectionFading, critical_exposure, reflection_fading};
pub use drift::{Drift, DriftMethod, DriftParams, LatticeAmbiguity, align_frames};
pub use excitation::{ExcitationFit, ExcitationParams, FriedelPair, Strengths, cramer_rao, fit_excitation};
pub use gain::{SumQuality, sum_quality};
pub use holder::{Calibration, Holder, TiltMeasurement, Tilts, calibrate_holder};
pub use indexing::{IndexParams, IndexedPattern, index_pattern};
pub use laue::{LaueCircle, LaueParams, fit_laue_circle};
pub use pattern::{CrystalParams, RecordParams, Reflection, ZonePattern, count_pattern, expected_pattern};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use reflections::{Spot, SpotParams, Spots, find_spots};
pub use rocking::Misorientation;
pub use smooth_track::SmoothTrack;
pub use subframe::SubframeMotion;
pub use zone::{ZoneCandidate, ZoneNet, ZoneParams, find_zones};
pub use zone_axis::{ZoneAxisFit, ZoneAxisParams, find_zone_axis};
