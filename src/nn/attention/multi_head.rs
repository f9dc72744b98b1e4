//! Multi-head self-attention with its projections.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::attention::head::{Head, Heads, Rows};
use crate::nn::check;
use crate::nn::dense::{Linear, LinearParams};
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Parameters of [`MultiHeadAttention`].
#[derive(Clone, Debug)]
pub struct MultiHeadParams {
    /// Sequences of a batch, b.
    pub batch: usize,
    /// Tokens of a sequence, t.
    pub tokens: usize,
    /// Elements of a token, E.
    pub dim: usize,
    /// Heads, a divisor of `dim`.
    pub heads: usize,
    /// On how many threads: a task is a head, or a part of its queries where there are few heads.
    pub par: Par,
}

/// One token of one number.
impl Default for MultiHeadParams {
    fn default() -> Self {
        MultiHeadParams { batch: 1, tokens: 1, dim: 1, heads: 1, par: Par::default() }
    }
}

/// Multi-head self-attention:
///
/// ```text
/// [Q K V] = x W_inᵀ + b_in,   O_h = softmax(Q_h K_hᵀ / √(E/heads)) V_h,   y = [O_1 … O_heads] W_outᵀ + b_out
/// ```
///
/// The tape keeps Q, K, V, the O_h, and one number a query and head: memory is linear in the tokens.
///
/// # Shapes
/// Inputs: x (b, t, E), W_in (3E, E), b_in (3E), W_out (E, E), b_out (E). Output: (b, t, E).
///
/// # References
/// A. Vaswani et al., arXiv 1706.03762, section 3.2.2.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    all: Heads,
    b: usize,
    t: usize,
    e: usize,
    heads: usize,
    input: Linear,
    output: Linear,
}

impl MultiHeadAttention {
    /// An attention for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0, or heads that do not divide the elements; [`Error::OutOfMemory`] on overflow.
    pub fn new(params: &MultiHeadParams) -> Result<Self, Error> {
        let (b, t, e, heads) = (params.batch, params.tokens, params.dim, params.heads);
        for (name, v) in [("batch", b), ("tokens", t), ("dim", e), ("heads", heads)] {
            check::not_zero(name, v)?;
        }
        if !e.is_multiple_of(heads) {
            return Err(Error::param("heads", heads, "a divisor of the elements of a token"));
        }
        checked_len(&[b, t, e, 16])?;
        let linear = |outputs| Linear::new(&LinearParams { dims: vec![b, t, e], outputs, par: params.par.clone() });
        let d = e / heads;
        Ok(MultiHeadAttention {
            all: Heads { head: Head { n: t, m: t, d, e: d }, count: b * heads, par: params.par.clone() },
            b,
            t,
            e,
            heads,
            input: linear(3 * e)?,
            output: linear(e)?,
        })
    }

    /// Lengths of the parts of the tape: Q K V, the concatenated heads, L.
    fn tape_parts(&self) -> [usize; 3] {
        [self.b * self.t * 3 * self.e, self.b * self.t * self.e, self.b * self.heads * self.t]
    }

    /// The rows of one head in an array (b, t, parts · E).
    fn rows<'a, T>(&self, data: &'a [T], task: usize, parts: usize, part: usize) -> Rows<'a, T> {
        let (image, head) = (task / self.heads, task % self.heads);
        let stride = parts * self.e;
        Rows { data, base: image * self.t * stride + part * self.e + head * self.all.head.d, stride }
    }

    /// Copies between arrays (b, heads, t, d) and (b, t, parts · E).
    fn interleave<T: Real>(&self, by_head: &[T], parts: usize, part: usize, out: &mut [T]) {
        let d = self.all.head.d;
        for (i, row) in by_head.chunks_exact(d).enumerate() {
            let (image, head, token) = (i / (self.heads * self.t), i / self.t % self.heads, i % self.t);
            let at = (image * self.t + token) * parts * self.e + part * self.e + head * d;
            out[at..at + d].copy_from_slice(row);
        }
    }
}

impl<T: Real> Function<T> for MultiHeadAttention {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let e = self.e;
        let x: &[usize] = &[self.b, self.t, e];
        check::spaces("multi-head attention", inputs, &[x, &[3 * e, e], &[3 * e], &[e, e], &[e]], 0)?;
        Ok(Space::real(x))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1, 3], output: false, tape_len: self.tape_parts().iter().sum() }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        // The gradients of Q, K, V by head; those of the concatenated heads and of Q, K, V as they lie; the projection's.
        let words = self.b * self.t * self.e;
        7 * words + self.all.scratch_len() + 3 * self.e * self.e
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], mode: Mode) {
        check_len("multi-head attention", "x", self.b * self.t * self.e, x[0].len());
        let [qkv, heads, _] = self.tape_parts();
        let (qkv, rest) = tape.split_at_mut(qkv);
        let (joined, l) = rest.split_at_mut(heads);
        self.input.forward(&[x[0], x[1], x[2]], qkv, &mut [], scratch, mode);
        let qkv = &*qkv;
        let (by_head, scratch) = scratch.split_at_mut(self.b * self.t * self.e);
        self.all.forward(|which, task| self.rows(qkv, task, 3, which), by_head, l, scratch);
        self.interleave(by_head, 1, 0, joined);
        self.output.forward(&[joined, x[3], x[4]], y, &mut [], scratch, mode);
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let words = self.b * self.t * self.e;
        check_len("multi-head attention", "dy", words, dy.len());
        let [qkv, heads, _] = self.tape_parts();
        let (qkv, rest) = tape.split_at(qkv);
        let (joined, l) = rest.split_at(heads);
        let (d_joined, rest) = scratch.split_at_mut(words);
        let (d_qkv, rest) = rest.split_at_mut(3 * words);
        let (by_head, scratch) = rest.split_at_mut(3 * words);

        // Through the output's projection, the heads, and the input's projection.
        let (first, last) = dx.split_at_mut(3);
        let mut out = [Some((&mut *d_joined, Write::Set)), None, None];
        for (to, from) in out[1..].iter_mut().zip(last) {
            *to = from.as_mut().map(|(d, w)| (&mut **d, *w));
        }
        self.output.backward(&[joined, x[3]], &[], &[], dy, &mut out, &mut []);
        let d_joined = &*d_joined;

        let (dq, rest) = by_head.split_at_mut(words);
        let (dk, dv) = rest.split_at_mut(words);
        let out = [&mut *dq, &mut *dk, &mut *dv].map(|d| Some((d, Write::Set)));
        let rows = |which: usize, task: usize| match which {
            3 => self.rows(joined, task, 1, 0),
            4 => self.rows(d_joined, task, 1, 0),
            part => self.rows(qkv, task, 3, part),
        };
        self.all.backward(rows, l, out, scratch);
        for (part, by_head) in [&*dq, &*dk, &*dv].into_iter().enumerate() {
            self.interleave(by_head, 3, part, d_qkv);
        }
        self.input.backward(&[x[0], x[1]], &[], &[], d_qkv, first, &mut []);
    }
}
