//! Layer normalisation, over the last axis.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::norm::{sum, sum2};
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Columns whose sums over the rows a task takes.
const COLUMNS: usize = 64;

/// Parameters of [`LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNormParams {
    /// Dimensions of the input.
    pub dims: Vec<usize>,
    /// ε, which is added to the variance.
    pub epsilon: f64,
    /// On how many threads.
    pub par: Par,
}

/// One element, ε = 10⁻⁵.
impl Default for LayerNormParams {
    fn default() -> Self {
        LayerNormParams { dims: vec![1], epsilon: 1e-5, par: Par::default() }
    }
}

/// Normalisation of each row over the last axis (d elements), with a weight and a bias for each of its elements:
///
/// ```text
/// x̂ = (x − µ) r,   r = (Σ (x − µ)² / d + ε)^{−1/2},   y_i = γ_i x̂_i + β_i
/// dx = r (h − Σ h / d − x̂ Σ h x̂ / d),  h = γ dy,   dγ_i = Σ_rows dy_i x̂_i,   dβ_i = Σ_rows dy_i
/// ```
///
/// # Shapes
/// Inputs: x (…, d), γ (d), β (d). Output: as x.
///
/// # References
/// J. L. Ba, J. R. Kiros, G. E. Hinton, arXiv 1607.06450, eqs. (3), (4).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    p: LayerNormParams,
    rows: usize,
    d: usize,
}

impl LayerNorm {
    /// A normalisation for inputs of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] for a dimension of 0, none at all, or an ε that is not positive.
    pub fn new(params: &LayerNormParams) -> Result<Self, Error> {
        let d = params.dims.last().copied().unwrap_or(0);
        if params.dims.contains(&0) || d == 0 {
            return Err(Error::param("dims", format!("{:?}", params.dims), "at least one dimension, none of them 0"));
        }
        check::positive("epsilon", params.epsilon)?;
        Ok(LayerNorm { rows: checked_len(&params.dims)? / d, d, p: params.clone() })
    }
}

impl<T: Real> Function<T> for LayerNorm {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("layer normalisation", inputs, &[&self.p.dims, &[self.d], &[self.d]], 0)?;
        Ok(inputs[0].clone())
    }

    /// The tape holds (µ, r) of every row.
    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 2 * self.rows }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], _: &mut [T], _: Mode) {
        let d = self.d;
        check_len("layer normalisation", "x", self.rows * d, x[0].len());
        check_len("layer normalisation", "y", self.rows * d, y.len());
        self.p.par.chunks(&mut tape[..2 * self.rows], 64, |i, part| {
            for (row, s) in (32 * i..).zip(part.chunks_exact_mut(2)) {
                let x = &x[0][row * d..][..d];
                s[0] = T::of(sum(x, |x| x) / d as f64);
                let mu = s[0];
                s[1] = T::of(1.0 / (sum(x, |x| (x - mu) * (x - mu)) / d as f64 + self.p.epsilon).sqrt());
            }
        });
        let tape = &*tape;
        self.p.par.chunks(y, 32 * d, |i, part| {
            for (row, y) in (32 * i..).zip(part.chunks_exact_mut(d)) {
                let (mu, r, v) = (tape[2 * row], tape[2 * row + 1], &x[0][row * d..][..d]);
                for j in 0..d {
                    y[j] = (v[j] - mu) * r * x[1][j] + x[2][j];
                }
            }
        });
    }

    fn backward(&self, x: &[&[T]], _: &[T], tape: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let d = self.d;
        check_len("layer normalisation", "dy", self.rows * d, dy.len());
        let gamma = x[1];
        if let Some((dx, onto)) = check::want(dx, 0) {
            self.p.par.chunks(dx, 32 * d, |i, part| {
                for (row, dx) in (32 * i..).zip(part.chunks_exact_mut(d)) {
                    let (mu, r) = (tape[2 * row], tape[2 * row + 1]);
                    let (x, dy) = (&x[0][row * d..][..d], &dy[row * d..][..d]);
                    let h = T::of(sum2(gamma, dy, |g, v| g * v) / d as f64);
                    let hx: f64 = (0..d).map(|j| (gamma[j] * dy[j] * (x[j] - mu)).f64()).sum();
                    let hx = T::of(hx / d as f64) * r;
                    for j in 0..d {
                        write(&mut dx[j], r * (gamma[j] * dy[j] - h - (x[j] - mu) * r * hx), onto);
                    }
                }
            });
        }
        // A task owns some columns and visits the rows in their order.
        if let Some((dgamma, onto)) = check::want(dx, 1) {
            self.p.par.chunks(dgamma, COLUMNS, |i, part| {
                for (j, g) in (i * COLUMNS..).zip(part) {
                    let term = |row: usize| dy[row * d + j] * (x[0][row * d + j] - tape[2 * row]) * tape[2 * row + 1];
                    write(g, T::of((0..self.rows).map(|row| term(row).f64()).sum()), onto);
                }
            });
        }
        if let Some((dbeta, onto)) = check::want(dx, 2) {
            self.p.par.chunks(dbeta, COLUMNS, |i, part| {
                for (j, b) in (i * COLUMNS..).zip(part) {
                    write(b, T::of((0..self.rows).map(|row| dy[row * d + j].f64()).sum()), onto);
                }
            });
        }
    }
}
