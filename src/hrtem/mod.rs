//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **Zone axis** (`docs/zone_axis.md`): [`find_zone_axis`] goes from a diffraction pattern to the misorientation of the
//! nearest zone axis, with its uncertainty, and [`Holder`] from there to the tilts that remove it. Its parts:
//! [`find_spots`], [`index_pattern`], [`find_zones`], [`fit_laue_circle`], [`fit_excitation`]; [`ZonePattern`] and
//! [`expected_pattern`] simulate such patterns.
//!
//! **Drift** (`docs/drift.md`) of series of frames that each hold next to nothing: [`align_frames`] with the
//! [`AmplitudeFilter`], correlation or maximum likelihood under a [`SmoothTrack`] prior, each [`DriftPiece`] with its
//! probability; [`SubframeMotion`];
//! [`aligned_sum`] with [`FrameWeights`] by a curve or by the fading of each reflection ([`reflection_fading`],
//! [`critical_dose`]); [`sum_quality`] says what was won.
//!
//! **Defocus and CTF** (`docs/ctf_fit.md`, `docs/ctf_correction.md`): [`PowerSpectrum`] and [`Thon`] for amorphous content, [`CrystalFocus`] and [`StrongFocus`] from a
//! crystal's reflections alone, both with their alternatives; [`CtfCorrection`] and [`CtfGradient`]; [`CrystalPhase`], the projected potential of a strong crystal; [`weak_phase`].
//!
//! **Exit waves** (`docs/exit_wave.md`): [`FocalSeries`], the images of one wave at several foci, and its gradient
//! [`FocalSeriesFunction`]; [`restore_linear`], the linear restoration; [`ExitWave`], maximum likelihood with registration and
//! refinement of the lens, from a [`FocalSearch`] on; [`refocus`], [`compare_exit_waves`], [`focal_errors`]: what a series cannot
//! tell, removed.
//!
//! **Crystallographic processing** (`docs/crystallography.md`) of a picture: [`PlaneLattice`], found in the peaks of a spectrum
//! or a diffraction pattern, [`find_image_lattice`], [`measure_reflections`], [`rank_plane_groups`] over [`PlaneGroup`]s and their
//! [`PlaneSetting`]s, [`impose_plane_group`]; [`average_unit_cell`] with [`unbend`].
//!
//! **The potential in three dimensions** (`docs/potential_3d.md`) from pictures along two zone axes or more: [`zone_bases`],
//! [`combine_zones`] under a [`SpaceGroup`], [`CrystalReflections::volume`]; what it should be, [`crystal_reflections`].

mod aligned_sum;
mod amplitude_filter;
mod cell_edges;
mod cell_maps;
mod combine_zones;
mod components;
mod contrast;
mod correlation_track;
mod critical_dose;
mod crystal_factors;
mod crystal_focus;
mod crystal_phase;
mod ctf_correct;
mod ctf_gradient;
mod dose_weight;
mod drift;
mod drift_lattice;
mod excitation;
mod exit_wave;
mod exit_wave_gauge;
mod exit_wave_linear;
mod exit_wave_objective;
mod exit_wave_rescan;
mod exit_wave_search;
mod focal_series;
mod focal_series_function;
mod frame_spectra;
mod gain;
mod holder;
mod image_lattice;
mod image_reflections;
mod indexing;
mod lattice_fold;
mod lattice_joint;
mod lattice_pieces;
mod lattice_transform;
mod laue;
mod likelihood;
mod net_fit;
mod origin_map;
mod pattern;
mod phase_series;
mod plane_group_search;
mod plane_groups;
mod plane_lattice;
mod potential_3d;
mod power_spectrum;
mod quadratic;
mod reflections;
mod ring_fit;
mod rocking;
mod smooth_track;
mod space_group;
mod spot_size;
mod strong_focus;
mod subframe;
mod thon;
mod unit_cell;
mod weak_phase;
mod zone;
mod zone_axis;
mod zone_bases;

pub use aligned_sum::{AlignedSum, AlignedSumParams, aligned_sum};
pub use amplitude_filter::{AmplitudeFilter, AmplitudeFilterParams};
pub use combine_zones::{CombineZonesParams, CombinedZones, PlacedZone, Zone, combine_zones};
pub use contrast::contrast_transfer;
pub use critical_dose::{Fading, critical_dose};
pub use crystal_factors::{crystal_factors, crystal_reflections};
pub use crystal_focus::{CrystalFocus, CrystalFocusFit, CrystalFocusParams, FocusReflection, Registration};
pub use crystal_phase::{CrystalPhase, CrystalPhaseFit, CrystalPhaseParams, focus_reflections};
pub use ctf_correct::{Correction, CtfCorrection, CtfCorrectionParams};
pub use ctf_gradient::{CtfGradient, CtfGradientParams, CtfGradientResult};
pub use dose_weight::{FrameWeights, ReflectionFading, critical_exposure, reflection_fading};
pub use drift::{CorrelationReference, Drift, DriftMethod, DriftParams, LatticeAmbiguity, align_frames};
pub use excitation::{ExcitationFit, ExcitationParams, FriedelPair, Strengths, cramer_rao, fit_excitation};
pub use exit_wave::{
    ExitWave, ExitWaveParams, ExitWaveResult, ExitWaveStage, ExitWaveState, FocalFreedom, FocalRegistration,
    FocalVariables, Rescan,
};
pub use exit_wave_gauge::{ExitWaveComparison, FocalErrors, compare_exit_waves, focal_errors, refocus};
pub use exit_wave_linear::restore_linear;
pub use exit_wave_rescan::FocalScan;
pub use exit_wave_search::FocalSearch;
pub use focal_series::{FOCAL_WORDS, FocalImage, FocalSeries, FocalSeriesParams};
pub use focal_series_function::FocalSeriesFunction;
pub use gain::{SumQuality, sum_quality};
pub use holder::{Calibration, Holder, TiltMeasurement, Tilts, calibrate_holder};
pub use image_lattice::{ImageLattice, ImageLatticeParams, find_image_lattice};
pub use image_reflections::{PlaneReflection, PlaneReflections, ReflectionsParams, measure_reflections};
pub use indexing::{IndexParams, IndexedPattern, index_pattern};
pub use lattice_pieces::DriftPiece;
pub use laue::{LaueCircle, LaueParams, fit_laue_circle};
pub use pattern::{CrystalParams, RecordParams, Reflection, ZonePattern, count_pattern, expected_pattern};
pub use plane_group_search::{
    PlaneGroupFit, PlaneGroupParams, PlaneGroupRanking, impose_plane_group, rank_plane_groups,
};
pub use plane_groups::{PlaneGroup, PlaneMetric, PlaneOperation, PlaneSetting, PlaneSystem, plane_settings};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use potential_3d::{CrystalReflection, CrystalReflections, PotentialPeak};
pub use power_spectrum::{PolarSpectrum, PowerSpectrum, PowerSpectrumParams, RadialSpectrum, Tiles};
pub use reflections::{Spot, SpotParams, Spots, find_spots};
pub use rocking::Misorientation;
pub use smooth_track::SmoothTrack;
pub use space_group::{SpaceGroup, SpaceOperation};
pub use strong_focus::{StrongFocus, StrongFocusFit, StrongFocusParams};
pub use subframe::SubframeMotion;
pub use thon::{Alternative, Thon, ThonCurve, ThonFit, ThonParams};
pub use unit_cell::{Bend, UnitCell, UnitCellParams, average_unit_cell, unbend};
pub use weak_phase::{WeakPhase, weak_phase, weak_wave};
pub use zone::{ZoneCandidate, ZoneNet, ZoneParams, find_zones};
pub use zone_axis::{ZoneAxisFit, ZoneAxisParams, find_zone_axis};
pub use zone_bases::{ZoneBasesParams, zone_bases};
