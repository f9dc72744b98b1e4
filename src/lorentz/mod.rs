//! Lorentz microscopy: the phase that magnetic and electric fields give to an electron, its images out of focus, and the
//! way back from images to phase and induction.
//!
//! One forward model, [`LorentzModel`], simulates series and is what retrievals differentiate. Defocus is positive for
//! underfocus, z is the direction of the beam unless a parameter says otherwise.
//!
//! **Forward**
//! - [`Magnetization`], [`phantom`]: walls, vortices, skyrmions, islands; [`electrostatic_phase`].
//! - [`mansuripur`]: the magnetic phase in Fourier space, for a beam in any direction; [`linear_superposition`] and
//!   [`sphere_phase`]: the same by dipoles, and in closed form.
//! - [`ImageSetting`], [`LorentzParams`], [`LorentzModel`]: the images of an object; [`add_noise`], [`noise_level`].
//!
//! **Back**
//! - [`Tie`]: the transport-of-intensity equation, for series, flipped series and single images.
//! - [`GerchbergSaxton`]: alternating projections.
//! - [`Retrieval`]: by automatic differentiation, with the microscope's own numbers; [`LorentzObjective`]: its loss and
//!   gradient; [`LorentzImages`]: the model as a function of a graph.
//! - [`Siprad`]: a single image with a deep image prior.
//! - [`Regularizer`], [`PhaseSpectrum`], [`Precondition`]: what is known of a phase, and coordinates in which it is found
//!   fast.
//! - [`align_series`]: shift, rotation and magnification of images before anything else.
//! - [`Hologram`]: off-axis holography; [`unwrap`].
//!
//! **Read-out**
//! - [`induction`], [`contours`], [`profile`]; colours are `render::VectorMap`.
//!
//! The derivations are in `docs/lorentz.md`.

mod align;
mod function;
mod gerchberg_saxton;
mod holography;
mod induction;
mod kernels;
mod lane_loss;
mod magnetization;
mod mansuripur;
mod model;
mod objective;
mod phantom;
mod pixel_moves;
mod precondition;
mod problem;
mod regularizer;
mod retrieve;
mod series;
mod setting;
mod siprad;
mod spectrum;
mod superposition;
mod tie;
mod uncertainty;
mod unwrap;
mod variables;
mod warp;

pub use align::{AlignParams, Alignment, align_pair, align_series};
pub use function::LorentzImages;
pub use gerchberg_saxton::{GerchbergSaxton, GerchbergSaxtonParams, GerchbergSaxtonResult};
pub use holography::{Hologram, HologramParams, HologramResult};
pub use induction::{BeamDirection, InductionMap, Profile, contours, induction, phase_gradient, profile};
pub use magnetization::{E_OVER_HBAR, Magnetization, electrostatic_phase};
pub use mansuripur::{MansuripurParams, Surroundings, mansuripur};
pub use model::{LorentzModel, LorentzParams};
pub use objective::{Gradients, LorentzObjective, Loss};
pub use phantom::{PhantomParams, Texture, WallKind, phantom};
pub use precondition::Precondition;
pub use regularizer::Regularizer;
pub use retrieve::{Amplitude, Descent, Retrieval, RetrievalParams, RetrievalResult, Stage};
pub use series::{Noise, add_noise, noise_level};
pub use setting::{ImageSetting, SETTING_WORDS, Word};
pub use siprad::{Siprad, SipradParams, SipradResult};
pub use spectrum::PhaseSpectrum;
pub use superposition::{linear_superposition, sphere_phase};
pub use tie::{Edges, SeparatedPhase, Tie, TieParams};
pub use unwrap::unwrap;
pub use variables::{FreeSettings, Freedom};
