//! Linear operators: the trait, how operators are composed, and the test that an adjoint is one.
//!
//! - [`LinearOp`]: the contract of every linear physics operator of the crate.
//! - [`dot_test`]: ⟨A x, y⟩ = ⟨x, Aᴴ y⟩ on random vectors, for the crate's operators and for users' own.

mod dot_test;
pub(crate) mod linear_op;

pub use dot_test::{DotTest, dot_test};
pub use linear_op::{LinearOp, Write, write};
