//! Linear operators: the trait, how operators are composed, and the test that an adjoint is one.
//!
//! - [`LinearOp`]: the contract of every linear physics operator of the crate.
//! - [`dot_test`]: ⟨A x, y⟩ = ⟨x, Aᴴ y⟩ on random vectors, for the crate's operators and for users' own.
//!
//! Operators on operators, over `Arc<dyn LinearOp<T>>`:
//!
//! - [`Compose`]: A B.
//! - [`Sum`]: A₁ + A₂ + …
//! - [`Scaled`]: α A, with real or complex α.
//! - [`Adjoint`]: Aᴴ as an operator.
//! - [`Stack`]: A₁ over A₂ over …, one domain, ranges one after the other.
//! - [`BlockDiagonal`]: A₁, A₂, … each on its own part.
//!
//! Elementary operators:
//!
//! - [`Identity`], and [`Reshape`] (the same words under other dimensions).
//! - [`Diagonal`]: multiplication of each element by its own number.
//! - [`Mask`]: elements kept or set to zero.
//! - [`Restrict`]: elements picked by index; [`Crop`]: a window of an array.
//!
//! ```
//! use std::sync::Arc;
//! use exitwave::op::{Compose, Crop, Diagonal, LinearOp, Write, dot_test};
//! use exitwave::shape::Space;
//!
//! // A detector of 2 × 3 pixels that sees the middle of a 4 × 5 field through a filter.
//! let field = Space::real(&[4, 5]);
//! let filter = Arc::new(Diagonal::<f64>::real(&field, vec![0.5; 20])?);
//! let window = Arc::new(Crop::<f64>::new(&field, &[1, 1], &[2, 3])?);
//! let camera = Compose::new(window, filter)?;
//! let mut image = [0.0; 6];
//! camera.apply(&[2.0; 20], &mut image, Write::Set, &mut vec![0.0; camera.scratch_len()]);
//! assert_eq!(image, [1.0; 6]);
//! assert!(dot_test(&camera, 7).error < 1e-12);
//! # Ok::<(), exitwave::Error>(())
//! ```

mod adjoint;
mod compose;
pub(crate) mod cubic;
mod diagonal;
mod dot_test;
mod identity;
pub(crate) mod linear_op;
mod mask;
mod restrict;
mod scaled;
mod stack;
mod sum;

pub use adjoint::Adjoint;
pub use compose::Compose;
pub use diagonal::Diagonal;
pub use dot_test::{DotTest, dot_test};
pub use identity::{Identity, Reshape};
pub use linear_op::{LinearOp, Write, write};
pub use mask::Mask;
pub use restrict::{Crop, Restrict};
pub use scaled::Scaled;
pub use stack::{BlockDiagonal, Stack};
pub use sum::Sum;
