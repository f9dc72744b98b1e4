//! Losses that are sums over elements.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Elements of a partial sum.
const CHUNK: usize = 1 << 14;

/// What is summed, for the prediction a and the target b, d = a − b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    /// `d²`.
    L2,
    /// `|d|`; its derivative at 0 is 0.
    L1,
    /// `d²/2` for |d| ≤ δ, `δ (|d| − δ/2)` beyond.
    Huber {
        /// δ, where the parabola ends.
        delta: f64,
    },
    /// `a − b ln(a + ε)`: the negative logarithm of the Poisson probability of b counts where a are expected, without
    /// what does not depend on a. For a ≥ 0.
    Poisson {
        /// ε, which keeps the logarithm finite.
        epsilon: f64,
    },
    /// `eᵃ − b a`: the same for a prediction that is the logarithm of the expected counts.
    PoissonLog,
}

/// How the elements are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// Parameters of [`PointLoss`].
#[derive(Clone, Debug)]
pub struct PointLossParams {
    /// Dimensions of prediction and target.
    pub dims: Vec<usize>,
    /// What is summed.
    pub distance: Distance,
    /// Mean or sum.
    pub reduction: Reduction,
    /// On how many threads.
    pub par: Par,
}

/// Mean squared difference of one number.
impl Default for PointLossParams {
    fn default() -> Self {
        PointLossParams { dims: vec![1], distance: Distance::L2, reduction: Reduction::Mean, par: Par::default() }
    }
}

/// `L = s Σ_i m_i f(a_i, b_i)` with s = 1 or 1/N, f the [`Distance`] and, if a third input is given, weights m.
///
/// Derivatives of f by a: `2d`; `sign d`; `d` within ±δ and `±δ` beyond; `1 − b/(a + ε)`; `eᵃ − b`. By b: minus the
/// same for the first three; `−ln(a + ε)`; `−a`. By m: f. The mean is over all N elements, weighted or not.
///
/// # Shapes
/// Inputs: a, b and optionally m, of one shape. Output: a scalar.
///
/// # References
/// P. J. Huber, Ann. Math. Stat. 35, 73 (1964).
#[derive(Clone, Debug)]
pub struct PointLoss {
    p: PointLossParams,
    len: usize,
}

impl PointLoss {
    /// A loss for inputs of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] for a dimension of 0, or a δ or ε that is not positive and finite.
    pub fn new(params: &PointLossParams) -> Result<Self, Error> {
        match params.distance {
            Distance::Huber { delta } => check::positive("delta", delta)?,
            Distance::Poisson { epsilon } => check::positive("epsilon", epsilon)?,
            _ => {}
        }
        if params.dims.contains(&0) {
            return Err(Error::param("dims", format!("{:?}", params.dims), "none of them 0"));
        }
        Ok(PointLoss { len: checked_len(&params.dims)?, p: params.clone() })
    }

    fn scale(&self) -> f64 {
        if self.p.reduction == Reduction::Mean { 1.0 / self.len as f64 } else { 1.0 }
    }

    fn value<T: Real>(&self, a: T, b: T) -> T {
        let d = a - b;
        match self.p.distance {
            Distance::L2 => d * d,
            Distance::L1 => d.abs(),
            Distance::Huber { delta } => {
                let delta = T::of(delta);
                if d.abs() <= delta { T::HALF * d * d } else { delta * (d.abs() - T::HALF * delta) }
            }
            Distance::Poisson { epsilon } => a - b * (a + T::of(epsilon)).ln(),
            Distance::PoissonLog => a.exp() - b * a,
        }
    }

    /// Derivatives by a and by b.
    fn slopes<T: Real>(&self, a: T, b: T) -> (T, T) {
        let d = a - b;
        let difference = match self.p.distance {
            Distance::L2 => d + d,
            Distance::L1 if d > T::ZERO => T::ONE,
            Distance::L1 if d < T::ZERO => -T::ONE,
            Distance::L1 => T::ZERO,
            Distance::Huber { delta } => d.max(-T::of(delta)).min(T::of(delta)),
            Distance::Poisson { epsilon } => {
                let shifted = a + T::of(epsilon);
                return (T::ONE - b / shifted, -shifted.ln());
            }
            Distance::PoissonLog => return (a.exp() - b, -a),
        };
        (difference, -difference)
    }
}

impl<T: Real> Function<T> for PointLoss {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let d: &[usize] = &self.p.dims;
        check::spaces("loss", inputs, &[d, d, d], 1)?;
        Ok(Space::real(&[]))
    }

    fn needs(&self, inputs: &[&Space]) -> Needs {
        Needs { inputs: (0..inputs.len()).collect(), output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        check_len("loss", "a", self.len, x[0].len());
        check_len("loss", "b", self.len, x[1].len());
        let sum = self.p.par.sum(self.len, CHUNK, |range| {
            let term = |i: usize| {
                let f = self.value(x[0][i], x[1][i]);
                x.get(2).map_or(f, |m| m[i] * f).f64()
            };
            range.map(term).sum()
        });
        y[0] = T::of(sum * self.scale());
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let g = T::of(dy[0].f64() * self.scale());
        for which in 0..x.len() {
            let Some((dx, onto)) = check::want(dx, which) else { continue };
            self.p.par.chunks(dx, CHUNK, |chunk, dx| {
                for (i, d) in (chunk * CHUNK..).zip(dx) {
                    let m = x.get(2).map_or(T::ONE, |m| m[i]);
                    let (da, db) = self.slopes(x[0][i], x[1][i]);
                    let v = match which {
                        0 => m * da,
                        1 => m * db,
                        _ => self.value(x[0][i], x[1][i]),
                    };
                    write(d, g * v, onto);
                }
            });
        }
    }
}
