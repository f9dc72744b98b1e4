//! Progress, cancelling, and why an iteration stopped.
//!
//! Every loop that can take over a second takes an observer, `&mut dyn FnMut(&Step) -> ControlFlow<()>`, and calls it
//! on the caller's thread after each iteration. Returning [`ControlFlow::Break`] ends the loop, which returns its best
//! answer so far.
//!
//! ```
//! use exitwave::observe::{Step, silent};
//! use std::ops::ControlFlow;
//! let mut print = |s: &Step| {
//!     println!("{} of {}: loss {:.3e}", s.iteration, s.total, s.loss);
//!     if s.iteration >= 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
//! };
//! # let step = Step::new(10, 20, 0.1);
//! # assert!(print(&step).is_break());
//! # assert!(silent(&step).is_continue());
//! ```

pub use std::ops::ControlFlow;

/// One finished iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Iterations done so far, counting from 1.
    pub iteration: usize,
    /// Iterations planned; 0 when unknown.
    pub total: usize,
    /// The loss of this iteration, as the algorithm defines it; NaN where it has none.
    pub loss: f64,
}

impl Step {
    /// A finished iteration.
    pub fn new(iteration: usize, total: usize, loss: f64) -> Self {
        Step { iteration, total, loss }
    }
}

/// What long loops accept: called after each iteration, may end the loop.
pub type Observer<'a> = &'a mut dyn FnMut(&Step) -> ControlFlow<()>;

/// The observer that does nothing.
pub fn silent(_: &Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Why an iteration ended. Not converging is a result, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// All planned iterations were done.
    Iterations,
    /// The tolerance was reached.
    Converged,
    /// The observer asked to stop.
    Cancelled,
    /// The loss no longer falls, in spite of smaller steps.
    Stalled,
    /// The loss or its gradient is NaN or infinite; the best answer before that is kept.
    NotFinite,
}
