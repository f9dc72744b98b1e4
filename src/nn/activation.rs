//! Functions of one element: ReLU, leaky ReLU, SiLU, GELU, sigmoid, softplus, tanh.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::special::{erf, exp};
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;
use crate::simd::vectorized;

/// Elements that a task takes at a time.
const CHUNK: usize = 1 << 14;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x` for x > 0, `slope · x` otherwise.
    LeakyRelu {
        /// Slope of the negative side, positive.
        slope: f64,
    },
    /// `x σ(x)`, with the sigmoid σ.
    Silu,
    /// `x Φ(x)`, with the cumulative normal distribution `Φ(x) = ½ (1 + erf(x/√2))`.
    Gelu,
    /// `σ(x) = 1/(1 + e^{−x})`.
    Sigmoid,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `tanh x`.
    Tanh,
    /// `x²`: keeps what follows from being negative.
    Square,
}

/// Parameters of [`Pointwise`].
#[derive(Clone, Debug)]
pub struct PointwiseParams {
    /// Which function.
    pub activation: Activation,
    /// On how many threads.
    pub par: Par,
}

/// Leaky ReLU of slope 0.01.
impl Default for PointwiseParams {
    fn default() -> Self {
        PointwiseParams { activation: Activation::LeakyRelu { slope: 0.01 }, par: Par::default() }
    }
}

/// `y = f(x)`, element by element; `dx = f′(x) dy`.
///
/// The derivatives are, in the order of [`Activation`]: 1 for x > 0 and 0 otherwise; 1 and the slope; `σ + x σ (1 −
/// σ)`; `Φ + x e^{−x²/2}/√(2π)`; `σ (1 − σ)`; `σ`; `1 − tanh²`; `2x`. At x = 0 the derivative of the first two is that
/// of the negative side.
///
/// ReLU, leaky ReLU, sigmoid and tanh keep their output for the backward pass, so that their input need not be kept.
///
/// # Shapes
/// One input of any shape; the output has the same.
///
/// # References
/// GELU: D. Hendrycks, K. Gimpel, arXiv 1606.08415; SiLU: S. Elfwing, E. Uchibe, K. Doya, Neural Networks 107, 3
/// (2018); leaky ReLU: A. L. Maas, A. Y. Hannun, A. Y. Ng, Proc. ICML 30 (2013).
#[derive(Clone, Debug)]
pub struct Pointwise(PointwiseParams);

impl Pointwise {
    /// An activation.
    ///
    /// # Errors
    /// [`Error::Param`] for a slope that is not positive and finite.
    pub fn new(params: &PointwiseParams) -> Result<Self, Error> {
        if let Activation::LeakyRelu { slope } = params.activation {
            check::positive("slope", slope)?;
        }
        Ok(Pointwise(params.clone()))
    }

    /// Whether the derivative follows from the output.
    fn by_output(&self) -> bool {
        matches!(
            self.0.activation,
            Activation::Relu | Activation::LeakyRelu { .. } | Activation::Sigmoid | Activation::Tanh
        )
    }
}

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + exp(-x))
}

/// `y = f(x)` over a chunk; a loop for each function, so that each vectorises.
fn apply<T: Real>(activation: Activation, x: &[T], y: &mut [T]) {
    #[inline(always)]
    fn each<T: Real>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
        vectorized!({ y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x)) });
    }
    match activation {
        Activation::Relu => each(x, y, |x| if x > T::ZERO { x } else { T::ZERO }),
        Activation::LeakyRelu { slope } => {
            let slope = T::of(slope);
            each(x, y, |x| if x > T::ZERO { x } else { slope * x })
        }
        Activation::Silu => each(x, y, |x| x * sigmoid(x)),
        Activation::Gelu => each(x, y, |x| T::HALF * x * (T::ONE + erf(x * T::of(std::f64::consts::FRAC_1_SQRT_2)))),
        Activation::Sigmoid => each(x, y, sigmoid),
        // For large x the 1 is lost, and eˣ would overflow.
        Activation::Softplus => each(x, y, |x| if x > T::of(30.0) { x } else { (T::ONE + x.exp()).ln() }),
        Activation::Tanh => each(x, y, |x| x.tanh()),
        Activation::Square => each(x, y, |x| x * x),
    }
}

/// `dx = f′(v) dy` over a chunk, v the input or the output.
fn apply_backward<T: Real>(activation: Activation, v: &[T], dy: &[T], dx: &mut [T], onto: Write) {
    #[inline(always)]
    fn each<T: Real>(v: &[T], dy: &[T], dx: &mut [T], onto: Write, f: impl Fn(T) -> T) {
        let all = dx.iter_mut().zip(v).zip(dy);
        match onto {
            Write::Set => vectorized!({ all.for_each(|((dx, &v), &dy)| *dx = f(v) * dy) }),
            Write::Add => vectorized!({ all.for_each(|((dx, &v), &dy)| write(dx, f(v) * dy, Write::Add)) }),
        }
    }
    match activation {
        Activation::Relu => each(v, dy, dx, onto, |y| if y > T::ZERO { T::ONE } else { T::ZERO }),
        Activation::LeakyRelu { slope } => {
            let slope = T::of(slope);
            each(v, dy, dx, onto, |y| if y > T::ZERO { T::ONE } else { slope })
        }
        Activation::Silu => each(v, dy, dx, onto, |x| {
            let s = sigmoid(x);
            s + x * s * (T::ONE - s)
        }),
        Activation::Gelu => each(v, dy, dx, onto, |x| {
            let phi = T::HALF * (T::ONE + erf(x * T::of(std::f64::consts::FRAC_1_SQRT_2)));
            phi + x * exp(-T::HALF * x * x) / T::TAU.sqrt()
        }),
        Activation::Sigmoid => each(v, dy, dx, onto, |y| y * (T::ONE - y)),
        Activation::Softplus => each(v, dy, dx, onto, sigmoid),
        Activation::Tanh => each(v, dy, dx, onto, |y| T::ONE - y * y),
        Activation::Square => each(v, dy, dx, onto, |x| x + x),
    }
}

impl<T: Real> Function<T> for Pointwise {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::one("activation", inputs).cloned()
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        let output = self.by_output();
        Needs { inputs: if output { vec![] } else { vec![0] }, output, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        check_len("activation", "y", x[0].len(), y.len());
        self.0.par.chunks(y, CHUNK, |i, y| apply(self.0.activation, &x[0][i * CHUNK..][..y.len()], y));
    }

    fn backward(&self, x: &[&[T]], y: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        check_len("activation", "dy", dx.len(), dy.len());
        let v = if self.by_output() { y } else { x[0] };
        check_len("activation", "x", dx.len(), v.len());
        self.0.par.chunks(dx, CHUNK, |i, dx| {
            let part = i * CHUNK..i * CHUNK + dx.len();
            apply_backward(self.0.activation, &v[part.clone()], &dy[part], dx, onto);
        });
    }
}

/// Leaky ReLU whose slopes are learned, one a channel: `y = x` for x > 0, `a_c x` otherwise.
///
/// `dx = dy` or `a_c dy`; `da_c = Σ x dy` over the channel's x ≤ 0.
///
/// # Shapes
/// Inputs: x (n, c, …) and a (c) or (1), one slope for all. Output: as x.
///
/// # References
/// K. He, X. Zhang, S. Ren, J. Sun, Proc. ICCV (2015), eq. (1); arXiv 1502.01852.
#[derive(Clone, Debug, Default)]
pub struct PRelu {
    /// On how many threads.
    pub par: Par,
    dims: Vec<usize>,
    slopes: usize,
}

impl PRelu {
    /// For inputs of these dimensions and so many slopes.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0, and one slope or one a channel.
    pub fn new(dims: &[usize], slopes: usize, par: &Par) -> Result<Self, Error> {
        if dims.len() < 2 || dims.contains(&0) {
            return Err(Error::param("dims", format!("{dims:?}"), "at least batch and channels, none of them 0"));
        }
        if slopes != 1 && slopes != dims[1] {
            return Err(Error::param("slopes", slopes, "1, or one a channel"));
        }
        crate::shape::checked_len(dims)?;
        Ok(PRelu { par: par.clone(), dims: dims.to_vec(), slopes })
    }

    /// Pixels of a channel.
    fn len(&self) -> usize {
        self.dims[2..].iter().product()
    }

    fn slope<T: Real>(&self, a: &[T], plane: usize) -> T {
        a[plane % self.dims[1] % self.slopes]
    }
}

impl<T: Real> Function<T> for PRelu {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("PReLU", inputs, &[&self.dims, &[self.slopes]], 0)?;
        Ok(inputs[0].clone())
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let len = self.len();
        check_len("PReLU", "y", x[0].len(), y.len());
        self.par.chunks(y, len, |plane, y| {
            let a = self.slope(x[1], plane);
            let x = &x[0][plane * len..][..len];
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > T::ZERO { x } else { a * x });
        });
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let (len, channels) = (self.len(), self.dims[1]);
        if let Some((dx, onto)) = check::want(dx, 0) {
            self.par.chunks(dx, len, |plane, dx| {
                let a = self.slope(x[1], plane);
                let (x, dy) = (&x[0][plane * len..][..len], &dy[plane * len..][..len]);
                for i in 0..len {
                    write(&mut dx[i], if x[i] > T::ZERO { dy[i] } else { a * dy[i] }, onto);
                }
            });
        }
        if let Some((da, onto)) = check::want(dx, 1) {
            self.par.chunks(da, 1, |slope, da| {
                let mut sum = 0.0;
                for plane in (0..dy.len() / len).filter(|p| p % channels % self.slopes == slope) {
                    let (x, dy) = (&x[0][plane * len..][..len], &dy[plane * len..][..len]);
                    sum +=
                        x.iter().zip(dy).filter(|(x, _)| **x <= T::ZERO).map(|(x, dy)| (*x * *dy).f64()).sum::<f64>();
                }
                write(&mut da[0], T::of(sum), onto);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::check_function_at;

    #[test]
    fn every_activation_has_its_gradient() {
        for activation in [
            Activation::Relu,
            Activation::LeakyRelu { slope: 0.2 },
            Activation::Silu,
            Activation::Gelu,
            Activation::Sigmoid,
            Activation::Softplus,
            Activation::Tanh,
            Activation::Square,
        ] {
            let f = Pointwise::new(&PointwiseParams { activation, par: Par::seq() }).unwrap();
            // Points at least 0.05 from the kink at 0.
            let x: Vec<f64> = (0..21).map(|i| 0.1 * f64::from(i) - 1.05).collect();
            let error = check_function_at(&f, &[Space::real(&[3, 7])], &[x], 2).unwrap();
            assert!(error < 1e-6, "{activation:?}: {error}");
        }
    }

    #[test]
    fn single_precision_follows_double_precision() {
        let x: Vec<f64> = (-400..400).map(|i| f64::from(i) * 0.025).collect();
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        for activation in [Activation::Silu, Activation::Gelu, Activation::Sigmoid, Activation::Softplus] {
            let (mut y, mut y32) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            apply(activation, &x, &mut y);
            apply(activation, &x32, &mut y32);
            for (a, b) in y.iter().zip(&y32) {
                assert!((a - f64::from(*b)).abs() < 1e-6 * (1.0 + a.abs()), "{activation:?} {a} {b}");
            }
        }
    }
}
