//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.

mod contrast;
mod crystal_focus;
mod ctf_correct;
mod ctf_gradient;
mod plane_lattice;
mod power_spectrum;
mod quadratic;
mod ring_fit;
mod thon;
mod weak_phase;

pub use contrast::contrast_transfer;
pub use crystal_focus::{CrystalFocus, CrystalFocusFit, CrystalFocusParams, FocusReflection, Registration};
pub use ctf_correct::{Correction, CtfCorrection, CtfCorrectionParams};
pub use ctf_gradient::{CtfGradient, CtfGradientParams, CtfGradientResult};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use power_spectrum::{PolarSpectrum, PowerSpectrum, PowerSpectrumParams, RadialSpectrum, Tiles};
pub use thon::{Alternative, Thon, ThonCurve, ThonFit, ThonParams};
pub use weak_phase::{WeakPhase, weak_phase, weak_wave};
