//! The linear layer, softmax, dropout.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::special::exp_slice;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::rng;
use crate::shape::{Space, checked_len};
use crate::simd::product::product;

/// Rows that a task takes at a time.
const ROWS: usize = 64;
/// Inputs or outputs that a task takes at a time, and rows that it sums over before the next.
const PANEL: usize = 32;
const DEPTH: usize = 256;

/// Parameters of [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearParams {
    /// Dimensions of the input, the last being that which is mapped.
    pub dims: Vec<usize>,
    /// Elements of an output row.
    pub outputs: usize,
    /// On how many threads.
    pub par: Par,
}

/// One number to one.
impl Default for LinearParams {
    fn default() -> Self {
        LinearParams { dims: vec![1], outputs: 1, par: Par::default() }
    }
}

/// A matrix on every row: `y = x Wᵀ + b`; `dx = dy W`, `dW = dyᵀ x`, `db = Σ_rows dy`.
///
/// # Shapes
/// Inputs: x (…, i), W (o, i) and, if there is a bias, b (o). Output: (…, o).
#[derive(Clone, Debug)]
pub struct Linear {
    dims: Vec<usize>,
    rows: usize,
    i: usize,
    o: usize,
    par: Par,
}

impl Linear {
    /// A linear layer for inputs of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] for a dimension of 0, or none; [`Error::OutOfMemory`] on overflow.
    pub fn new(params: &LinearParams) -> Result<Self, Error> {
        let i = params.dims.last().copied().unwrap_or(0);
        if i == 0 || params.dims.contains(&0) {
            return Err(Error::param("dims", format!("{:?}", params.dims), "at least one dimension, none of them 0"));
        }
        check::not_zero("outputs", params.outputs)?;
        let rows = checked_len(&params.dims)? / i;
        checked_len(&[rows, params.outputs])?;
        checked_len(&[i, params.outputs])?;
        Ok(Linear { dims: params.dims.clone(), rows, i, o: params.outputs, par: params.par.clone() })
    }
}

impl<T: Real> Function<T> for Linear {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("linear layer", inputs, &[&self.dims, &[self.o, self.i], &[self.o]], 1)?;
        let mut dims = self.dims.clone();
        dims[self.dims.len() - 1] = self.o;
        Ok(Space::real(&dims))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    /// Wᵀ.
    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.i * self.o
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        let (i, o) = (self.i, self.o);
        check_len("linear layer", "x", self.rows * i, x[0].len());
        check_len("linear layer", "y", self.rows * o, y.len());
        let wt = &mut scratch[..i * o];
        self.par.chunks(wt, PANEL * o, |panel, wt| {
            let inputs = wt.len() / o;
            for (j, w) in x[1].chunks_exact(i).enumerate() {
                let w = &w[panel * PANEL..][..inputs];
                w.iter().enumerate().for_each(|(k, &w)| wt[k * o + j] = w);
            }
        });
        let wt = &*wt;
        self.par.chunks(y, ROWS * o, |block, y| {
            let rows = y.len() / o;
            let onto = match x.get(2) {
                Some(b) => {
                    y.chunks_exact_mut(o).for_each(|y| y.copy_from_slice(b));
                    Write::Add
                }
                None => Write::Set,
            };
            product([rows, i, o], (&x[0][block * ROWS * i..], [i, 1]), (wt, o), (y, o), onto);
        });
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let (i, o) = (self.i, self.o);
        check_len("linear layer", "dy", self.rows * o, dy.len());
        if let Some((dx, onto)) = check::want(dx, 0) {
            self.par.chunks(dx, ROWS * i, |block, dx| {
                let rows = dx.len() / i;
                product([rows, o, i], (&dy[block * ROWS * o..], [o, 1]), (x[1], i), (dx, i), onto);
            });
        }
        if let Some((dw, onto)) = check::want(dx, 1) {
            // Rows of x that stay in the cache while all of a block's weights take their part.
            self.par.chunks(dw, PANEL * i, |block, dw| {
                let outputs = dw.len() / i;
                for r in (0..self.rows).step_by(DEPTH) {
                    let depth = DEPTH.min(self.rows - r);
                    let onto = if r == 0 { onto } else { Write::Add };
                    let dy = &dy[r * o + block * PANEL..];
                    product([outputs, depth, i], (dy, [1, o]), (&x[0][r * i..], i), (dw, i), onto);
                }
            });
        }
        if let Some((db, onto)) = check::want(dx, 2) {
            self.par.chunks(db, PANEL, |block, db| {
                let mut sums = [0.0f64; PANEL];
                let sums = &mut sums[..db.len()];
                for dy in dy.chunks_exact(o) {
                    let dy = &dy[block * PANEL..][..sums.len()];
                    sums.iter_mut().zip(dy).for_each(|(s, dy)| *s += dy.f64());
                }
                db.iter_mut().zip(sums).for_each(|(b, s)| write(b, T::of(*s), onto));
            });
        }
    }
}

/// Softmax over the last axis: `y_i = e^{x_i} / Σ_j e^{x_j}`; `dx_i = y_i (dy_i − Σ_j dy_j y_j)`.
///
/// # Shapes
/// One input (…, d); the output has the same shape.
#[derive(Clone, Debug, Default)]
pub struct Softmax {
    /// Elements of a row, d.
    d: usize,
    par: Par,
}

impl Softmax {
    /// For rows of d elements.
    ///
    /// # Errors
    /// [`Error::Param`] for d = 0.
    pub fn new(d: usize, par: &Par) -> Result<Self, Error> {
        check::not_zero("d", d)?;
        Ok(Softmax { d, par: par.clone() })
    }
}

impl<T: Real> Function<T> for Softmax {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let x = check::one("softmax", inputs)?;
        match x.dims().last() {
            Some(&d) if d == self.d => Ok(x.clone()),
            _ => Err(Error::shape("softmax", &[self.d], x.dims())),
        }
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![], output: true, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        check_len("softmax", "y", x[0].len(), y.len());
        self.par.chunks(y, self.d, |row, y| {
            let x = &x[0][row * self.d..][..self.d];
            // The largest is taken away first: no power overflows.
            let largest = x.iter().fold(-T::INFINITY, |m, &v| m.max(v));
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - largest);
            exp_slice(y);
            let scale = T::ONE / y.iter().copied().sum::<T>();
            y.iter_mut().for_each(|y| *y *= scale);
        });
    }

    fn backward(&self, _: &[&[T]], y: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        check_len("softmax", "dy", dx.len(), dy.len());
        self.par.chunks(dx, self.d, |row, dx| {
            let (y, dy) = (&y[row * self.d..][..self.d], &dy[row * self.d..][..self.d]);
            let mean: T = y.iter().zip(dy).map(|(y, dy)| *y * *dy).sum();
            for i in 0..self.d {
                write(&mut dx[i], y[i] * (dy[i] - mean), onto);
            }
        });
    }
}

/// Dropout: in training each element is 0 with probability p and divided by 1 − p otherwise; in evaluation it is kept.
///
/// `y = m x`, `dx = m dy` with the mask m on the tape. The mask is drawn from (seed, step), a stream for every 4096
/// elements, so that it does not depend on the threads and recomputation repeats it. Two layers of a network need two
/// seeds.
///
/// # Shapes
/// One input of any shape; the output has the same.
///
/// # References
/// N. Srivastava et al., J. Mach. Learn. Res. 15, 1929 (2014).
#[derive(Clone, Debug)]
pub struct Dropout {
    p: f64,
    seed: u64,
    par: Par,
}

impl Dropout {
    /// With the probability p of being dropped, and the seed of the masks.
    ///
    /// # Errors
    /// [`Error::Param`] unless 0 ≤ p < 1.
    pub fn new(p: f64, seed: u64, par: &Par) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::param("p", p, "a probability, at least 0 and less than 1"));
        }
        Ok(Dropout { p, seed, par: par.clone() })
    }
}

impl<T: Real> Function<T> for Dropout {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::one("dropout", inputs).cloned()
    }

    fn needs(&self, inputs: &[&Space]) -> Needs {
        Needs { inputs: vec![], output: false, tape_len: inputs[0].words() }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], _: &mut [T], mode: Mode) {
        check_len("dropout", "y", x[0].len(), y.len());
        let mask = &mut tape[..y.len()];
        match mode {
            Mode::Eval => mask.fill(T::ONE),
            Mode::Train { step } => {
                let kept = T::of(1.0 / (1.0 - self.p));
                // The golden ratio spreads consecutive steps over the seeds.
                let seed = self.seed ^ step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.par.chunks(mask, 4096, |i, mask| {
                    let mut r = rng::stream(seed, i as u64);
                    mask.iter_mut().for_each(|m| *m = if rng::uniform(&mut r) < self.p { T::ZERO } else { kept });
                });
            }
        }
        y.iter_mut().zip(x[0]).zip(&*mask).for_each(|((y, &x), &m)| *y = m * x);
    }

    fn backward(&self, _: &[&[T]], _: &[T], tape: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        check_len("dropout", "dy", dx.len(), dy.len());
        (0..dx.len()).for_each(|i| write(&mut dx[i], tape[i] * dy[i], onto));
    }
}
