//! Optimizers. They act on slices of words; complex parameters are twice as many words and need no special care.
//!
//! Smooth losses, given by their gradient:
//!
//! - [`Minimize`], [`MinimizeParams`], [`MinimizeState`], [`Minimum`]: the loop, with its stop rules, the best state
//!   kept, and checkpoints; [`Method`]: which of
//! - [`Sgd`], [`Momentum`]: gradient descent with momentum.
//! - [`AdamStep`], [`WeightDecay`], [`SecondMoment`]: Adam, AdamW, AMSGrad; [`Adam`]: its constants and bare step.
//! - [`Lbfgs`]: limited-memory BFGS pairs and their two-loop product.
//! - [`polak_ribiere`]: directions of nonlinear conjugate gradients.
//! - [`Wolfe`], [`LineStep`]: the line search of the last two.
//! - [`VarianceStop`]: when a deep image prior begins to fit the noise.
//! - [`Schedule`], [`Shape`]: learning rates; [`Clip`]: gradients that are too large; [`moving_average`]: of weights.
//!
//! Sums of convex terms, some of which have a proximal map in the place of a gradient:
//!
//! - [`Prox`]: bounds, ℓ₁, total variation, squares, Poisson; [`Difference`]: the gradient operator of total variation.
//! - [`fista`]: one smooth and one simple term.
//! - [`pdhg`]: a simple term and others behind linear operators, after Chambolle and Pock.
//! - [`condat_vu`]: all of these.
//! - [`admm`]: a quadratic and others behind linear operators.
//! - [`Term`], [`ProximalParams`], [`ProximalResult`], [`operator_norm`]: what they share.

mod adam;
mod admm;
mod average;
mod clip;
mod condat_vu;
mod conjugate_gradient;
mod difference;
mod early_stop;
mod fista;
mod lbfgs;
mod minimize;
mod pdhg;
mod prox;
mod proximal;
mod schedule;
mod sgd;
mod wolfe;

pub use adam::{Adam, AdamStep, SecondMoment, WeightDecay};
pub use admm::admm;
pub use average::moving_average;
pub use clip::Clip;
pub use condat_vu::condat_vu;
pub use conjugate_gradient::polak_ribiere;
pub use difference::Difference;
pub use early_stop::{VarianceStop, VarianceStopParams};
pub use fista::fista;
pub use lbfgs::Lbfgs;
pub(crate) use lbfgs::dot;
pub use minimize::{Method, Minimize, MinimizeParams, MinimizeState, Minimum, Objective};
pub use pdhg::pdhg;
pub use prox::Prox;
pub use proximal::{ProximalParams, ProximalResult, Term, operator_norm};
pub use schedule::{NO_PLATEAU, PlateauMemory, Schedule, Shape};
pub use sgd::{Momentum, Sgd};
pub use wolfe::{LineStep, Wolfe};
