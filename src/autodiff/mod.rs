//! Reverse-mode differentiation on real and complex arrays.
//!
//! A computation is recorded once as a [`Graph`], planned once (shapes, lifetimes, memory) as a [`Plan`], and run many
//! times by a [`Session`], without allocation. The gradient of a real loss L with respect to z = a + ib is
//! `g = ∂L/∂a + i ∂L/∂b`; docs/autodiff.md derives every rule from it once.
//!
//! - [`Graph`], [`NodeId`]: recording. The closed set of elementary operations are its methods; linear operators and
//!   functions enter through [`Graph::linear`] and [`Graph::call`].
//! - [`Plan`], [`PlanOptions`]: memory known before the run, a table when printed.
//! - [`Session`]: the numbers, forward and backward.
//! - [`Function`]: a nonlinear kernel with its hand-written vector–Jacobian product; [`Needs`], [`Mode`].
//! - [`check_function`], [`check_function_at`]: a function's test against finite differences; [`grad_check`]: that of a
//!   whole plan.
//!
//! Inside: `op.rs` is the closed set with its forward pass, `rules.rs` the gradient rules, `record.rs` the checks,
//! `schedule.rs` and `arena.rs` the planner, `kernels.rs` the loops.

mod arena;
mod check_function;
mod function;
mod grad_check;
mod graph;
mod kernels;
mod op;
mod plan;
mod record;
mod rules;
mod schedule;
mod session;

pub use check_function::{check_function, check_function_at};
pub use function::{Function, Mode, Needs};
pub use grad_check::{GradCheck, GradCheckParams, grad_check};
pub use graph::{Graph, NodeId};
pub use plan::{Plan, PlanOptions};
pub use session::Session;

/// The most operands of one operation.
pub(crate) const MAX_INPUTS: usize = 16;
