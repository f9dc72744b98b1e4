//! The gradient rules: the backward pass of every elementary operation, one commented arm each.
//!
//! For a real loss L and z = a + ib, the gradient is `g_z = ∂L/∂a + i ∂L/∂b`, so that `dL = Re(ḡ_z dz)`. Each rule
//! follows from `dL = Re(ḡ_y dy)` by writing dy in dx and collecting what multiplies dx. docs/autodiff.md derives them.

use num_complex::Complex;

use crate::autodiff::kernels::{broadcast, complex, complex_mut, map, reduce, zip};
use crate::autodiff::op::Op;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Field;

impl<T: Real> Op<T> {
    /// `dx = g_x` of input `i`, or `dx += g_x`, from `dy = g_y`. Slices that [`Op::needs`] does not name may be empty;
    /// [`Op::Linear`] and [`Op::Call`] are run by the session. `at` is the place of input i in a concatenation.
    pub fn backward(
        &self,
        i: usize,
        at: usize,
        x: &[&[T]],
        index: &[u32],
        y: &[T],
        dy: &[T],
        dx: &mut [T],
        w: Write,
        par: &Par,
    ) {
        match *self {
            // Nothing stands before an input; operators and functions bring their own rule.
            Op::Param | Op::Data | Op::Indices | Op::Linear(_) | Op::Call(_) => {}

            // y = a + b: dy = da + db ⇒ g_a = g_b = g_y, summed over the axes along which the operand was repeated.
            Op::Add => collect(par, dy, dx, w, T::ONE),

            // y = a − b: dy = da − db ⇒ g_a = g_y, g_b = −g_y.
            Op::Sub => collect(par, dy, dx, w, if i == 0 { T::ONE } else { -T::ONE }),

            // y = a b, real: g_a = b g_y.
            Op::Mul([Field::Real, Field::Real]) => {
                let other = x[1 - i];
                let n = dx.len();
                if n == dy.len() {
                    return broadcast(par, dy, other, dx, w, |g, b| g * b);
                }
                let f = |j: usize| Complex::new(dy[j].f64() * other[j].f64(), 0.0);
                reduce(par, [dy.len() / n, n], dx, w, f, |t| T::of(t.re));
            }

            // y = a b, complex: dL = Re(ḡ_y b da) ⇒ g_a = b̄ g_y.
            Op::Mul([Field::Complex, Field::Complex]) => {
                let (dy, other, dx) = (complex(dy), complex(x[1 - i]), complex_mut(dx));
                let n = dx.len();
                if n == dy.len() {
                    return broadcast(par, dy, other, dx, w, |g, b| g * b.conj());
                }
                let f = |j: usize| wide(dy[j]) * wide(other[j]).conj();
                reduce(par, [dy.len() / n, n], dx, w, f, narrow);
            }

            // y = a b, the operand complex, the other one, b, real: g_a = b g_y.
            Op::Mul(fields) if fields[i] == Field::Complex => {
                let (dy, other, dx) = (complex(dy), x[1 - i], complex_mut(dx));
                let n = dx.len();
                if n == dy.len() {
                    return broadcast(par, dy, other, dx, w, |g, b| g.scale(b));
                }
                let f = |j: usize| wide(dy[j]).scale(other[j].f64());
                reduce(par, [dy.len() / n, n], dx, w, f, narrow);
            }

            // y = a b, the operand real, the other one, b, complex: da is real ⇒ g_a = Re(b̄ g_y).
            Op::Mul(_) => {
                let (dy, other) = (complex(dy), complex(x[1 - i]));
                let n = dx.len();
                if n == dy.len() {
                    return broadcast(par, dy, other, dx, w, |g, b| g.re * b.re + g.im * b.im);
                }
                let f = |j: usize| wide(dy[j]) * wide(other[j]).conj();
                reduce(par, [dy.len() / n, n], dx, w, f, |t| T::of(t.re));
            }

            // y = x̄: Re(ḡ_y dx̄) = Re(g_y dx) ⇒ g_x = ḡ_y.
            Op::Conj => map(par, complex(dy), complex_mut(dx), w, |g| g.conj()),

            // y = c x: g_x = c̄ g_y.
            Op::Scale(c) => map(par, dy, dx, w, |g| c * g),
            Op::ScaleComplex(c) => map(par, complex(dy), complex_mut(dx), w, |g| c.conj() * g),

            // y = x + c: g_x = g_y.
            Op::AddConstant(_) | Op::AddComplexConstant(_) => map(par, dy, dx, w, |g| g),

            // y = |x|²: dy = 2 Re(x̄ dx) ⇒ g_x = 2 x g_y.
            Op::Abs2(Field::Real) => zip(par, dy, x[0], dx, w, |g, x| (g + g) * x),
            Op::Abs2(Field::Complex) => zip(par, dy, complex(x[0]), complex_mut(dx), w, |g, x| x.scale(g + g)),

            // y = √(|x|² + s²): dy = Re(x̄ dx)/y ⇒ g_x = g_y x/y, and 0 where y = 0.
            Op::Abs(Field::Real, _) => {
                let (x, f) = (x[0], |g: T, y: T| if y > T::ZERO { g / y } else { T::ZERO });
                scaled(dx, w, |j| x[j] * f(dy[j], y[j]));
            }
            Op::Abs(Field::Complex, _) => {
                let (x, f) = (complex(x[0]), |g: T, y: T| if y > T::ZERO { g / y } else { T::ZERO });
                scaled(complex_mut(dx), w, |j| x[j].scale(f(dy[j], y[j])));
            }

            // y = arg x: dy = Im(dx/x) = Re(−i x̄ dx)/|x|² ⇒ g_x = g_y i x/|x|², and 0 where x = 0.
            Op::Arg => zip(par, dy, complex(x[0]), complex_mut(dx), w, |g, x| {
                let n = x.norm_sqr();
                let s = if n > T::ZERO { g / n } else { T::ZERO };
                Complex::new(-x.im * s, x.re * s)
            }),

            // y = eˣ: dy = y dx ⇒ g_x = ȳ g_y.
            Op::Exp(Field::Real) => zip(par, dy, y, dx, w, |g, y| g * y),
            Op::Exp(Field::Complex) => {
                zip(par, complex(dy), complex(y), complex_mut(dx), w, |g, y| g * y.conj());
            }

            // y = e^{ix}, x real: dy = i y dx ⇒ g_x = Re(conj(i y) g_y) = Im(ȳ g_y).
            Op::Cis => zip(par, complex(dy), complex(y), dx, w, |g, y| y.re * g.im - y.im * g.re),

            // y = ln x: g_x = g_y/x.
            Op::Log => zip(par, dy, x[0], dx, w, |g, x| g / x),

            // y = √x: g_x = g_y/(2y), and 0 where y = 0.
            Op::Sqrt => zip(par, dy, y, dx, w, |g, y| if y > T::ZERO { T::HALF * g / y } else { T::ZERO }),

            // y = xᵖ: g_x = p xᵖ⁻¹ g_y.
            Op::Pow(p) if p == T::ZERO => map(par, dy, dx, w, |_| T::ZERO),
            Op::Pow(p) => zip(par, dy, x[0], dx, w, |g, x| g * p * x.powf(p - T::ONE)),

            // y = sin x: g_x = g_y cos x.
            Op::Sin => zip(par, dy, x[0], dx, w, |g, x| g * x.cos()),

            // y = cos x: g_x = −g_y sin x.
            Op::Cos => zip(par, dy, x[0], dx, w, |g, x| -(g * x.sin())),

            // y = c Σ x: g_x = c g_y for every element.
            Op::Sum(Field::Real, c) => {
                let g = c * dy[0];
                dx.iter_mut().for_each(|dx| write(dx, g, w));
            }
            Op::Sum(Field::Complex, c) => {
                let g = complex(dy)[0].scale(c);
                complex_mut(dx).iter_mut().for_each(|dx| write(dx, g, w));
            }

            // y = Re Σ ā b: dy = Re Σ (b̄ da + ā db) ⇒ g_a = b g_y, g_b = a g_y.
            Op::Dot => {
                let g = dy[0];
                map(par, x[1 - i], dx, w, |b| g * b);
            }

            // y[o, j] = Σ_k x[o, k, j]: g_x[o, k, j] = g_y[o, j].
            Op::SumAxis([n, inner]) => {
                for (dx, dy) in dx.chunks_mut(n * inner).zip(dy.chunks(inner)) {
                    for dx in dx.chunks_mut(inner) {
                        dx.iter_mut().zip(dy).for_each(|(dx, &g)| write(dx, g, w));
                    }
                }
            }

            // y = part of x: g_x = g_y there, and 0 elsewhere.
            Op::Slice { of, start, len } => {
                if w == Write::Set {
                    dx.fill(T::ZERO);
                }
                for (dx, dy) in dx.chunks_mut(of).zip(dy.chunks(len)) {
                    dx[start..start + len].iter_mut().zip(dy).for_each(|(dx, &g)| *dx += g);
                }
            }

            // y = (a, b, …): g_a = a's part of g_y.
            Op::Concat(outer) => {
                let (row, n) = (dy.len() / outer, dx.len() / outer);
                for (dx, dy) in dx.chunks_mut(n).zip(dy.chunks(row)) {
                    dx.iter_mut().zip(&dy[at..]).for_each(|(dx, &g)| write(dx, g, w));
                }
            }

            // y = windows of x: g_x = Σ of the windows' gradients where they lie. And the other way round.
            Op::Gather(windows) => windows.scatter(par, index, dy, dx, w),
            Op::Scatter(windows) => windows.gather(par, index, dy, dx, w),

            // y = Re x: g_x = g_y.
            Op::Re => map(par, dy, complex_mut(dx), w, |g| Complex::new(g, T::ZERO)),

            // y = Im x = Re(−i x): g_x = i g_y.
            Op::Im => map(par, dy, complex_mut(dx), w, |g| Complex::new(T::ZERO, g)),

            // y = a + ib: g_a = Re g_y, g_b = Im g_y.
            Op::Complex => map(par, complex(dy), dx, w, |g| if i == 0 { g.re } else { g.im }),

            // y = x + 0i: g_x = Re g_y.
            Op::ToComplex => map(par, complex(dy), dx, w, |g| g.re),

            // y = x: g_x = g_y.
            Op::Reshape => map(par, dy, dx, w, |g| g),
        }
    }
}

/// `dx = c dy`, summed over the leading axes along which x was repeated.
fn collect<T: Real>(par: &Par, dy: &[T], dx: &mut [T], w: Write, c: T) {
    let n = dx.len();
    if n == dy.len() {
        map(par, dy, dx, w, |g| c * g);
    } else {
        reduce(par, [dy.len() / n, n], dx, w, |j| Complex::new(dy[j].f64(), 0.0), |t| c * T::of(t.re));
    }
}

/// `dx[j] = f(j)`.
fn scaled<E: Copy + std::ops::Add<Output = E>>(dx: &mut [E], w: Write, f: impl Fn(usize) -> E) {
    dx.iter_mut().enumerate().for_each(|(j, dx)| write(dx, f(j), w));
}

fn wide<T: Real>(z: Complex<T>) -> Complex<f64> {
    Complex::new(z.re.f64(), z.im.f64())
}

fn narrow<T: Real>(z: Complex<f64>) -> Complex<T> {
    Complex::new(T::of(z.re), T::of(z.im))
}
