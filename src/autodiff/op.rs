//! The closed set of operations: what each needs to be differentiated, and its forward pass.

use std::fmt::Write as _;
use std::sync::Arc;

use num_complex::Complex;

use crate::autodiff::kernels::{Windows, broadcast, complex, complex_mut, map, reduce, sum, zip};
use crate::autodiff::{Function, Needs};
use crate::op::{LinearOp, Write};
use crate::par::Par;
use crate::real::{Real, arg, cis, norm};
use crate::shape::{Field, Space};

/// What a node does. Inputs of the operation are called a, b or x, its output y.
#[derive(Clone, Debug)]
pub(crate) enum Op<T: Real> {
    /// Set from outside, differentiated.
    Param,
    /// Set from outside.
    Data,
    /// Integers, set from outside.
    Indices,
    /// y = a + b.
    Add,
    /// y = a − b.
    Sub,
    /// y = a b, with the fields of a and b.
    Mul([Field; 2]),
    /// y = x̄.
    Conj,
    /// y = c x.
    Scale(T),
    /// y = c x, complex.
    ScaleComplex(Complex<T>),
    /// y = x + c.
    AddConstant(T),
    /// y = x + c, complex.
    AddComplexConstant(Complex<T>),
    /// y = |x|².
    Abs2(Field),
    /// y = √(|x|² + s²).
    Abs(Field, T),
    /// y = arg x.
    Arg,
    /// y = eˣ.
    Exp(Field),
    /// y = e^{ix}.
    Cis,
    /// y = ln x.
    Log,
    /// y = √x.
    Sqrt,
    /// y = xᵖ.
    Pow(T),
    /// y = sin x.
    Sin,
    /// y = cos x.
    Cos,
    /// y = c Σ x over all elements; c = 1 or 1/N.
    Sum(Field, T),
    /// y = Re Σ ā b.
    Dot,
    /// y[o, j] = Σ_k x[o, k, j], with n and the words of j.
    SumAxis([usize; 2]),
    /// y[o, :] = x[o, start..start + len], in words; x has `of` words a row.
    Slice { of: usize, start: usize, len: usize },
    /// y[o, :] = (a[o, :], b[o, :], …), with the number of rows o.
    Concat(usize),
    /// y[i] = window i of x.
    Gather(Windows),
    /// y = Σᵢ x[i] at window i.
    Scatter(Windows),
    /// y = Re x.
    Re,
    /// y = Im x.
    Im,
    /// y = a + ib.
    Complex,
    /// y = x + 0i.
    ToComplex,
    /// y = x, other dimensions.
    Reshape,
    /// y = A x.
    Linear(Arc<dyn LinearOp<T>>),
    /// y = f(x₀, x₁, …).
    Call(Arc<dyn Function<T>>),
}

impl<T: Real> Op<T> {
    /// The name in errors and tables: of an operator or function that of its type.
    pub fn label(&self) -> String {
        let label = match self {
            Op::Param => "param",
            Op::Data => "data",
            Op::Indices => "indices",
            Op::Add => "add",
            Op::Sub => "sub",
            Op::Mul(_) => "mul",
            Op::Conj => "conj",
            Op::Scale(_) | Op::ScaleComplex(_) => "scale",
            Op::AddConstant(_) | Op::AddComplexConstant(_) => "add_constant",
            Op::Abs2(_) => "abs2",
            Op::Abs(..) => "abs",
            Op::Arg => "arg",
            Op::Exp(_) => "exp",
            Op::Cis => "cis",
            Op::Log => "log",
            Op::Sqrt => "sqrt",
            Op::Pow(_) => "pow",
            Op::Sin => "sin",
            Op::Cos => "cos",
            Op::Sum(..) => "sum",
            Op::Dot => "dot",
            Op::SumAxis(_) => "sum_axis",
            Op::Slice { .. } => "slice",
            Op::Concat(_) => "concat",
            Op::Gather(_) => "gather",
            Op::Scatter(_) => "scatter",
            Op::Re => "re",
            Op::Im => "im",
            Op::Complex => "complex",
            Op::ToComplex => "to_complex",
            Op::Reshape => "reshape",
            Op::Linear(a) => return type_name(a),
            Op::Call(f) => return type_name(f),
        };
        label.to_string()
    }

    /// Whether the node is set from outside.
    pub fn is_leaf(&self) -> bool {
        matches!(self, Op::Param | Op::Data | Op::Indices)
    }

    /// Words of scratch.
    pub fn scratch_len(&self, inputs: &[&Space]) -> usize {
        match self {
            Op::Linear(a) => a.scratch_len(),
            Op::Call(f) => f.scratch_len(inputs),
            _ => 0,
        }
    }

    /// What the backward pass reads, when the gradients of the inputs in `wanted` are computed.
    pub fn needs(&self, inputs: &[&Space], wanted: &[bool]) -> Needs {
        let none = Needs { inputs: Vec::new(), output: false, tape_len: 0 };
        match self {
            // Each factor's gradient reads the other.
            Op::Mul(_) | Op::Dot => Needs { inputs: (0..2).filter(|&i| wanted[1 - i]).collect(), ..none },
            Op::Abs2(_) | Op::Arg | Op::Log | Op::Pow(_) | Op::Sin | Op::Cos => Needs { inputs: vec![0], ..none },
            Op::Abs(..) => Needs { inputs: vec![0], output: true, ..none },
            Op::Exp(_) | Op::Cis | Op::Sqrt => Needs { output: true, ..none },
            Op::Call(f) => f.needs(inputs),
            _ => none,
        }
    }

    /// y, from the inputs. [`Op::Linear`] and [`Op::Call`] are run by the session.
    pub fn forward(&self, x: &[&[T]], index: &[u32], y: &mut [T], par: &Par) {
        let set = Write::Set;
        match *self {
            Op::Param | Op::Data | Op::Indices | Op::Linear(_) | Op::Call(_) => {}
            Op::Add => broadcast(par, x[0], x[1], y, set, |a, b| a + b),
            Op::Sub => broadcast(par, x[0], x[1], y, set, |a, b| a - b),
            Op::Mul([Field::Real, Field::Real]) => broadcast(par, x[0], x[1], y, set, |a, b| a * b),
            Op::Mul([Field::Complex, Field::Complex]) => {
                broadcast(par, complex(x[0]), complex(x[1]), complex_mut(y), set, |a, b| a * b);
            }
            Op::Mul([Field::Complex, Field::Real]) => {
                broadcast(par, complex(x[0]), x[1], complex_mut(y), set, |a, b| a.scale(b));
            }
            Op::Mul([Field::Real, Field::Complex]) => {
                broadcast(par, x[0], complex(x[1]), complex_mut(y), set, |a, b| b.scale(a));
            }
            Op::Conj => map(par, complex(x[0]), complex_mut(y), set, |x| x.conj()),
            Op::Scale(c) => map(par, x[0], y, set, |x| c * x),
            Op::ScaleComplex(c) => map(par, complex(x[0]), complex_mut(y), set, |x| c * x),
            Op::AddConstant(c) => map(par, x[0], y, set, |x| x + c),
            Op::AddComplexConstant(c) => map(par, complex(x[0]), complex_mut(y), set, |x| x + c),
            Op::Abs2(Field::Real) => map(par, x[0], y, set, |x| x * x),
            Op::Abs2(Field::Complex) => map(par, complex(x[0]), y, set, |x| x.norm_sqr()),
            Op::Abs(Field::Real, s) => map(par, x[0], y, set, |x| x.hypot(s)),
            Op::Abs(Field::Complex, s) => map(par, complex(x[0]), y, set, |x| norm(x).hypot(s)),
            Op::Arg => map(par, complex(x[0]), y, set, arg),
            Op::Exp(Field::Real) => map(par, x[0], y, set, |x| x.exp()),
            Op::Exp(Field::Complex) => map(par, complex(x[0]), complex_mut(y), set, |x| cis(x.im).scale(x.re.exp())),
            Op::Cis => map(par, x[0], complex_mut(y), set, cis),
            Op::Log => map(par, x[0], y, set, |x| x.ln()),
            Op::Sqrt => map(par, x[0], y, set, |x| x.sqrt()),
            Op::Pow(p) => map(par, x[0], y, set, |x| x.powf(p)),
            Op::Sin => map(par, x[0], y, set, |x| x.sin()),
            Op::Cos => map(par, x[0], y, set, |x| x.cos()),
            Op::Sum(field, c) => {
                let x = x[0];
                let words = if field == Field::Complex { 2 } else { 1 };
                for (part, y) in y.iter_mut().enumerate() {
                    *y = T::of(c.f64() * sum(x.len() / words, |i| x[words * i + part].f64()));
                }
            }
            Op::Dot => y[0] = T::of(sum(x[0].len(), |i| x[0][i].f64() * x[1][i].f64())),
            Op::SumAxis(shape) => {
                let x = x[0];
                reduce(par, shape, y, set, |i| Complex::new(x[i].f64(), 0.0), |t| T::of(t.re));
            }
            Op::Slice { of, start, len } => {
                for (y, x) in y.chunks_mut(len).zip(x[0].chunks(of)) {
                    y.copy_from_slice(&x[start..start + len]);
                }
            }
            Op::Concat(outer) => {
                let row = y.len() / outer;
                for (o, y) in y.chunks_mut(row).enumerate() {
                    let mut at = 0;
                    for x in x {
                        let n = x.len() / outer;
                        y[at..at + n].copy_from_slice(&x[o * n..(o + 1) * n]);
                        at += n;
                    }
                }
            }
            Op::Gather(windows) => windows.gather(par, index, x[0], y, set),
            Op::Scatter(windows) => windows.scatter(par, index, x[0], y, set),
            Op::Re => map(par, complex(x[0]), y, set, |x| x.re),
            Op::Im => map(par, complex(x[0]), y, set, |x| x.im),
            Op::Complex => zip(par, x[0], x[1], complex_mut(y), set, Complex::new),
            Op::ToComplex => map(par, x[0], complex_mut(y), set, |x| Complex::new(x, T::ZERO)),
            Op::Reshape => y.copy_from_slice(x[0]),
        }
    }
}

/// The first word of what `Debug` prints: the name of a type.
fn type_name(value: &dyn std::fmt::Debug) -> String {
    /// Takes letters, and refuses what follows them, so that the rest of the value is never printed.
    struct Word(String);
    impl std::fmt::Write for Word {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            let word = s.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
            self.0.push_str(word);
            if word.len() < s.len() || self.0.len() > 64 { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut word = Word(String::new());
    // The error is the end of the word.
    let _ = write!(word, "{value:?}");
    if word.0.is_empty() { "function".into() } else { word.0 }
}
