//! Reverse-mode differentiation on real and complex arrays.
//!
//! - [`Function`]: a nonlinear kernel with its hand-written vector–Jacobian product; [`Needs`], [`Mode`].
//! - [`check_function`], [`check_function_at`]: its test against finite differences.

mod check_function;
mod function;

pub use check_function::{check_function, check_function_at};
pub use function::{Function, Mode, Needs};
