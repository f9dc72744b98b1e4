//! Optimizers. They act on slices of words; complex parameters are twice as many words and need no special care.
//!
//! - [`Adam`]: first and second moments of the gradient.
//! - [`Lbfgs`]: limited-memory BFGS pairs and their two-loop product.

mod adam;
mod lbfgs;

pub use adam::Adam;
pub use lbfgs::Lbfgs;
pub(crate) use lbfgs::dot;
