//! Scaled-dot-product attention.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::attention::head::{Head, Heads, Rows};
use crate::nn::check;
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Parameters of [`Attention`].
#[derive(Clone, Debug)]
pub struct AttentionParams {
    /// Images of a batch and heads.
    pub heads: [usize; 2],
    /// Number of queries, n.
    pub queries: usize,
    /// Number of keys and values, m.
    pub keys: usize,
    /// Elements of a query and of a key, d.
    pub dim: usize,
    /// Elements of a value, e.
    pub value_dim: usize,
    /// On how many threads: a task is a head, or a part of its queries where there are few heads.
    pub par: Par,
}

/// One token of one number.
impl Default for AttentionParams {
    fn default() -> Self {
        AttentionParams { heads: [1, 1], queries: 1, keys: 1, dim: 1, value_dim: 1, par: Par::default() }
    }
}

/// Scaled-dot-product attention: each query takes the mean of the values, weighted by how well their keys fit.
///
/// ```text
/// O = softmax(Q Kᵀ / √d) V
/// ```
///
/// Memory is linear in the tokens: scores are computed for some queries at a time, and once more in the backward pass,
/// for which the tape keeps one number a query (`L_i = ln Σ_j exp S_ij`).
///
/// # Shapes
/// Inputs: Q (b, h, n, d), K (b, h, m, d), V (b, h, m, e). Output: (b, h, n, e).
///
/// # References
/// A. Vaswani et al., arXiv 1706.03762, eq. (1); the tiling: T. Dao et al., arXiv 2205.14135, section 3.
#[derive(Clone, Debug)]
pub struct Attention {
    heads: Heads,
    dims: [[usize; 4]; 4],
}

impl Attention {
    /// An attention for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0, [`Error::OutOfMemory`] on overflow.
    pub fn new(params: &AttentionParams) -> Result<Self, Error> {
        let p = params;
        for (name, v) in [
            ("heads", p.heads[0]),
            ("heads", p.heads[1]),
            ("queries", p.queries),
            ("keys", p.keys),
            ("dim", p.dim),
            ("value_dim", p.value_dim),
        ] {
            check::not_zero(name, v)?;
        }
        let dims = |n: usize, d: usize| [p.heads[0], p.heads[1], n, d];
        let dims =
            [dims(p.queries, p.dim), dims(p.keys, p.dim), dims(p.keys, p.value_dim), dims(p.queries, p.value_dim)];
        dims.iter().try_for_each(|d| checked_len(d).map(|_| ()))?;
        let head = Head { n: p.queries, m: p.keys, d: p.dim, e: p.value_dim };
        let count = checked_len(&p.heads)?;
        checked_len(&[count, p.keys + p.queries, p.dim + p.value_dim, 8])?;
        Ok(Attention { heads: Heads { head, count, par: p.par.clone() }, dims })
    }
}

impl Attention {
    /// The rows of one head: of Q, K, V, O, dO.
    fn rows<'a, T>(&self, data: &'a [T], which: usize, head: usize) -> Rows<'a, T> {
        let [_, _, len, stride] = self.dims[which.min(3)];
        Rows { data, base: head * len * stride, stride }
    }
}

impl<T: Real> Function<T> for Attention {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let [q, k, v, o] = &self.dims;
        check::spaces("attention", inputs, &[q, k, v], 0)?;
        Ok(Space::real(o))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1, 2], output: true, tape_len: self.heads.count * self.heads.head.n }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.heads.scratch_len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        let Head { n, m, d, e } = self.heads.head;
        for (name, got, len) in [("q", x[0], n * d), ("k", x[1], m * d), ("v", x[2], m * e)] {
            check_len("attention", name, self.heads.count * len, got.len());
        }
        check_len("attention", "y", self.heads.count * n * e, y.len());
        self.heads.forward(|which, head| self.rows(x[which], which, head), y, tape, scratch);
    }

    fn backward(
        &self,
        x: &[&[T]],
        y: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let Head { n, e, .. } = self.heads.head;
        check_len("attention", "dy", self.heads.count * n * e, dy.len());
        let all = [x[0], x[1], x[2], y, dy];
        let [dq, dk, dv] = dx else { panic!("attention has three inputs") };
        let out = [dq, dk, dv].map(|d| d.as_mut().map(|(d, onto)| (&mut **d, *onto)));
        self.heads.backward(|which, head| self.rows(all[which], which, head), tape, out, scratch);
    }
}
