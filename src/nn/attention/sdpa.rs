//! Scaled-dot-product attention.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::attention::head::{Gradients, Head, Rows};
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
    /// On how many threads: a task is a head.
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
    head: Head,
    count: usize,
    dims: [[usize; 4]; 4],
    par: Par,
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
        Ok(Attention { head, count: p.heads[0] * p.heads[1], dims, par: p.par.clone() })
    }
}

impl<T: Real> Function<T> for Attention {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let [q, k, v, o] = &self.dims;
        check::spaces("attention", inputs, &[q, k, v], 0)?;
        Ok(Space::real(o))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1, 2], output: true, tape_len: self.count * self.head.n }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.par.count() * self.head.scratch_len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        let Head { n, m, d, e } = self.head;
        check_len("attention", "q", self.count * n * d, x[0].len());
        check_len("attention", "k", self.count * m * d, x[1].len());
        check_len("attention", "v", self.count * m * e, x[2].len());
        check_len("attention", "y", self.count * n * e, y.len());
        let mut states: Vec<&mut [T]> =
            scratch.chunks_exact_mut(self.head.scratch_len()).take(self.par.count()).collect();
        let mut out: Vec<_> = y.chunks_exact_mut(n * e).zip(tape.chunks_exact_mut(n)).collect();
        self.par.chunks_with(&mut out, 1, &mut states, |i, out, scratch| {
            let (o, l) = &mut out[0];
            let rows = |which: usize, len: usize, d: usize| Rows { data: x[which], base: i * len * d, stride: d };
            self.head.forward(rows(0, n, d), rows(1, m, d), rows(2, m, e), o, l, scratch);
        });
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
        let Head { n, m, d, e } = self.head;
        check_len("attention", "dy", self.count * n * e, dy.len());
        let mut states: Vec<&mut [T]> =
            scratch.chunks_exact_mut(self.head.scratch_len()).take(self.par.count()).collect();
        // The part of each gradient that belongs to a head.
        let mut out: Vec<Gradients<'_, T>> = (0..self.count).map(|_| [None, None, None]).collect();
        for (which, (dx, len)) in dx.iter_mut().zip([n * d, m * d, m * e]).enumerate() {
            if let Some((dx, onto)) = dx {
                dx.chunks_exact_mut(len).zip(&mut out).for_each(|(part, out)| out[which] = Some((part, *onto)));
            }
        }
        self.par.chunks_with(&mut out, 1, &mut states, |i, out, scratch| {
            let rows = |data, len: usize, d: usize| Rows { data, base: i * len * d, stride: d };
            let (q, k, v) = (rows(x[0], n, d), rows(x[1], m, d), rows(x[2], m, e));
            let (o, d_o) = (rows(y, n, e), rows(dy, n, e));
            self.head.backward(q, k, v, o, &tape[i * n..][..n], d_o, &mut out[0], scratch);
        });
    }
}
