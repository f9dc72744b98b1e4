//! Krylov solvers on any [`crate::op::LinearOp`].
//!
//! - [`cg`]: conjugate gradients, for A x = b with a symmetric positive A.
//! - [`lsqr`]: LSQR, for min ‖A x − b‖² + λ² ‖x − x₀‖² with any A.
//! - [`KrylovResult`]: what they return.
//!
//! Vectors are words of `T`, as everywhere in `op`; inner products are summed in `f64`, in order, on the calling
//! thread.

mod cg;
mod lsqr;
mod result;
mod vector;

pub use cg::{CgParams, cg};
pub use lsqr::{LsqrParams, lsqr};
pub use result::KrylovResult;
