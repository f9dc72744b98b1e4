//! Lorentz microscopy: the phase that magnetic and electric fields give to an electron, its images out of focus, and the
//! way back from images to phase and induction.
mod function;
mod kernels;
mod model;
mod objective;
mod precondition;
mod problem;
mod regularizer;
mod retrieve;
mod series;
mod setting;
mod uncertainty;
mod variables;
mod warp;

pub use function::LorentzImages;
pub use model::{LorentzModel, LorentzParams};
pub use objective::{Gradients, LorentzObjective, Loss};
pub use precondition::Precondition;
pub use regularizer::Regularizer;
pub use retrieve::{Amplitude, Descent, Retrieval, RetrievalParams, RetrievalResult, Stage};
pub use series::{Noise, add_noise};
pub use setting::{ImageSetting, SETTING_WORDS, Word};
pub use variables::{Freedom, FreeSettings};
