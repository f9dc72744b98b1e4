//! What a reconstruction knows at a moment: its result, its checkpoint, its way to go on.

use num_complex::Complex;

use crate::observe::Stop;
use crate::real::Real;
use crate::tensor::Tensor;

/// Everything that an iteration reads and writes. A clone of it is a checkpoint: continued from there, a reconstruction
/// gives the same bits as without the interruption.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T: Real> {
    /// The transmission function (height, width).
    pub object: Tensor<Complex<T>>,
    /// The probe modes (modes, ny, nx), centred in the middle of the window. `Σ |F P|²` (unnormalised transform) is the
    /// expected number of electrons a pattern in vacuum.
    pub probe: Tensor<Complex<T>>,
    /// First pixel of each window, `[y, x]`, in object pixels.
    pub positions: Vec<[f64; 2]>,
    /// Iterations done so far.
    pub iteration: usize,
    /// The loss of each iteration done so far.
    pub loss: Vec<f64>,
    /// What the optimizer remembers between iterations (moments of Adam, pairs of L-BFGS): its own layout.
    pub memory: Vec<T>,
}

/// What a reconstruction ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<T: Real> {
    /// Object, probe, positions: the answer, and the point from which to go on.
    pub state: State<T>,
    /// Iterations done in this run.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// A loss, and its gradient with respect to everything that can vary; `g = ∂L/∂Re + i ∂L/∂Im` for complex values.
#[derive(Clone, Debug, PartialEq)]
pub struct LossGradient<T: Real> {
    /// The loss, summed over all patterns and pixels.
    pub loss: f64,
    /// g of the object (height, width).
    pub object: Tensor<Complex<T>>,
    /// g of the probe (modes, ny, nx).
    pub probe: Tensor<Complex<T>>,
    /// `[∂L/∂y, ∂L/∂x]` of each position, per object pixel.
    pub positions: Vec<[f64; 2]>,
}
