//! Iterative ptychography of a thin object: object, probe modes and positions from many diffraction patterns.
//!
//! - [`grid`], [`spiral`], [`Positions`]: where the probe was; [`Patterns`]: what the detector saw.
//! - [`Ptychography`]: the plan, with its [`PtychoParams`]; [`Algorithm`]: ePIE, rPIE, preconditioned descent, Adam,
//!   L-BFGS; [`Loss`]; [`Refinement`] of positions.
//! - [`State`]: object, probe and positions at a moment, which is also the checkpoint; [`Outcome`]; [`LossGradient`].
//! - [`extend_modes`], [`orthogonalise`]: mixed states; [`State::fix_gauge`]: what patterns leave open.
//! - [`SlicedPtychography`]: specimens that are not thin, as a few slices.
//! - [`simulate`], [`count_electrons`]: patterns of a known object, by the same model.

mod evaluate;
mod gauge;
mod gradient;
mod kernels;
mod loss;
mod model;
mod modes;
mod patterns;
mod pie;
mod plan;
mod refine;
mod scan;
mod simulate;
mod sliced;
mod state;

pub use loss::Loss;
pub use modes::{extend_modes, orthogonalise};
pub use patterns::{Patterns, ZeroFrequency};
pub use plan::{Algorithm, ObjectKind, Placement, PtychoParams, Ptychography};
pub use refine::Refinement;
pub use scan::{Positions, grid, spiral};
pub use simulate::{count_electrons, simulate};
pub use sliced::{SlicedParams, SlicedPtychography};
pub use state::{LossGradient, Outcome, State};
