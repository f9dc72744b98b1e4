//! The contract of a nonlinear kernel with a hand-written vector–Jacobian product.

use std::fmt::Debug;

use crate::error::Error;
use crate::op::Write;
use crate::real::Real;
use crate::shape::Space;

/// Whether a run trains or evaluates: dropout and the statistics of a normalisation differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Training, at this step; dropout draws its mask from (seed, node, step), so that recomputation repeats it.
    Train {
        /// Number of the step.
        step: u64,
    },
    /// Evaluation.
    Eval,
}

/// What the backward pass of a [`Function`] reads. What is not asked for, the planner may overwrite after the forward
/// pass, and `backward` then gets an empty slice in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Indices of the inputs whose values `backward` reads.
    pub inputs: Vec<usize>,
    /// Whether `backward` reads the output.
    pub output: bool,
    /// Words that `forward` writes for `backward`: masks, statistics.
    pub tape_len: usize,
}

/// A nonlinear function `y = f(x₀, x₁, …)` with its vector–Jacobian product, in the erased form on words of `T` (a
/// complex number is two words).
///
/// For a real loss L, `dy` is `∂L/∂y` and `backward` gives `∂L/∂xᵢ = Jᵢᵀ dy`, word by word; for complex numbers
/// z = a + ib the two words of a gradient are `∂L/∂a` and `∂L/∂b`.
///
/// A function allocates when it is made, never when it runs. Results are the same bits for any number of threads. Every
/// function of the crate passes [`crate::autodiff::check_function`] to 1e-6 in `f64`.
///
/// ```
/// use exitwave::autodiff::{check_function, Function, Mode, Needs};
/// use exitwave::op::{Write, write};
/// use exitwave::shape::Space;
/// use exitwave::Error;
///
/// /// y = x³.
/// #[derive(Debug)]
/// struct Cube;
///
/// impl Function<f64> for Cube {
///     fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> { Ok(inputs[0].clone()) }
///     fn needs(&self, _: &[&Space]) -> Needs { Needs { inputs: vec![0], output: false, tape_len: 0 } }
///     fn scratch_len(&self, _: &[&Space]) -> usize { 0 }
///     fn forward(&self, x: &[&[f64]], y: &mut [f64], _: &mut [f64], _: &mut [f64], _: Mode) {
///         for (y, &x) in y.iter_mut().zip(x[0]) { *y = x * x * x }
///     }
///     fn backward(&self, x: &[&[f64]], _: &[f64], _: &[f64], dy: &[f64], dx: &mut [Option<(&mut [f64], Write)>], _: &mut [f64]) {
///         if let Some((dx, w)) = &mut dx[0] {
///             for i in 0..dy.len() { write(&mut dx[i], 3.0 * x[0][i] * x[0][i] * dy[i], *w) }
///         }
///     }
/// }
/// assert!(check_function(&Cube, &[Space::real(&[5, 3])], 1)? < 1e-6);
/// # Ok::<(), Error>(())
/// ```
pub trait Function<T: Real>: Debug + Send + Sync {
    /// The space of y.
    ///
    /// # Errors
    /// If the number of inputs, their dimensions or fields do not fit; with the shape that would.
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error>;

    /// What backward keeps, for inputs that [`Function::infer`] accepted.
    fn needs(&self, inputs: &[&Space]) -> Needs;

    /// Words of scratch that both directions need.
    fn scratch_len(&self, inputs: &[&Space]) -> usize;

    /// `y = f(x)`, over whatever stood in y; fills the tape.
    ///
    /// # Panics
    /// If a length is not that of its space, or the tape's or scratch's is too small.
    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], mode: Mode);

    /// `dxᵢ = Jᵢᵀ dy`, or `dxᵢ += Jᵢᵀ dy`, for every i whose gradient is wanted.
    ///
    /// # Panics
    /// As [`Function::forward`].
    fn backward(
        &self,
        x: &[&[T]],
        y: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    );
}
