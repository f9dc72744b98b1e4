//! Recording the closed set: each operation checks the dimensions and the field of its operands.

use num_complex::Complex;

use crate::autodiff::kernels::Windows;
use crate::autodiff::op::Op;
use crate::autodiff::{Graph, MAX_INPUTS, NodeId};
use crate::error::Error;
use crate::op::linear_op::{checked_words, same_space};
use crate::real::Real;
use crate::shape::{Field, Space};

/// Elementary operations. Their gradients are in `rules.rs`, one commented line each.
///
/// **Repeated operands.** In [`Graph::add`], [`Graph::sub`] and [`Graph::mul`] the dimensions of one operand may be the
/// last dimensions of the other, along whose leading axes it is then repeated: a probe (y, x) times patches (n, y, x), a
/// scalar `[]` times anything. Nothing else is broadcast.
///
/// # Errors
/// [`Error::Node`], with the operation, the operands' names and their spaces, when dimensions or fields do not fit; for
/// constants that are not finite.
impl<T: Real> Graph<T> {
    /// `y = a + b`; both real or both complex.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, Error> {
        let space = self.named(&Op::Add, &[a, b], self.repeated("add", a, b))?;
        self.push(Op::Add, &[a, b], None, space)
    }

    /// `y = a − b`; both real or both complex.
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, Error> {
        let space = self.named(&Op::Sub, &[a, b], self.repeated("sub", a, b))?;
        self.push(Op::Sub, &[a, b], None, space)
    }

    /// `y = a b`, element by element; real · real is real, everything else complex.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, Error> {
        let fields = || -> Result<_, Error> { Ok([self.value(a)?.field(), self.value(b)?.field()]) };
        let fields = self.named(&Op::Mul([Field::Real; 2]), &[a, b], fields())?;
        let op = Op::Mul(fields);
        let dims = self.named(&op, &[a, b], self.repeated_dims("mul", a, b))?;
        let field = if fields.contains(&Field::Complex) { Field::Complex } else { Field::Real };
        self.push(op, &[a, b], None, space(field, &dims))
    }

    /// `y = x̄`; a real node is its own conjugate.
    pub fn conj(&mut self, x: NodeId) -> Result<NodeId, Error> {
        match self.named(&Op::Conj, &[x], self.value(x))?.field() {
            Field::Real => Ok(x),
            Field::Complex => self.elementwise(Op::Conj, x, None, Field::Complex),
        }
    }

    /// `y = c x`, with a real constant.
    pub fn scale(&mut self, x: NodeId, c: T) -> Result<NodeId, Error> {
        let op = Op::Scale(c);
        let field = self.constant(&op, x, &[c])?;
        self.elementwise(op, x, None, field)
    }

    /// `y = c x`, with a complex constant; x is complex.
    pub fn scale_complex(&mut self, x: NodeId, c: Complex<T>) -> Result<NodeId, Error> {
        let op = Op::ScaleComplex(c);
        self.constant(&op, x, &[c.re, c.im])?;
        self.elementwise(op, x, Some(Field::Complex), Field::Complex)
    }

    /// `y = x + c`, with a real constant; x is real.
    pub fn add_constant(&mut self, x: NodeId, c: T) -> Result<NodeId, Error> {
        let op = Op::AddConstant(c);
        self.constant(&op, x, &[c])?;
        self.elementwise(op, x, Some(Field::Real), Field::Real)
    }

    /// `y = x + c`, with a complex constant; x is complex.
    pub fn add_complex_constant(&mut self, x: NodeId, c: Complex<T>) -> Result<NodeId, Error> {
        let op = Op::AddComplexConstant(c);
        self.constant(&op, x, &[c.re, c.im])?;
        self.elementwise(op, x, Some(Field::Complex), Field::Complex)
    }

    /// `y = |x|²`, real.
    pub fn abs2(&mut self, x: NodeId) -> Result<NodeId, Error> {
        let field = self.named(&Op::Abs2(Field::Real), &[x], self.value(x))?.field();
        self.elementwise(Op::Abs2(field), x, None, Field::Real)
    }

    /// `y = √(|x|² + s²)`, real: the modulus, smoothed by s. For s = 0 the gradient at x = 0 is taken as 0.
    pub fn abs(&mut self, x: NodeId, s: T) -> Result<NodeId, Error> {
        let field = self.constant(&Op::Abs(Field::Real, s), x, &[s])?;
        let op = Op::Abs(field, s);
        if s < T::ZERO {
            return self.named(&op, &[x], Err(Error::param("s", s, "a number that is not negative")));
        }
        self.elementwise(op, x, None, Field::Real)
    }

    /// `y = arg x` in (−π, π], real; x is complex. 0 at x = 0, and so is the gradient there.
    pub fn arg(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Arg, x, Some(Field::Complex), Field::Real)
    }

    /// `y = eˣ`, real or complex.
    pub fn exp(&mut self, x: NodeId) -> Result<NodeId, Error> {
        let field = self.named(&Op::Exp(Field::Real), &[x], self.value(x))?.field();
        self.elementwise(Op::Exp(field), x, None, field)
    }

    /// `y = e^{ix} = cos x + i sin x`, complex; x is real.
    pub fn cis(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Cis, x, Some(Field::Real), Field::Complex)
    }

    /// `y = ln x`; x is real, and positive where the result is to be finite.
    pub fn log(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Log, x, Some(Field::Real), Field::Real)
    }

    /// `y = √x`; x is real. The gradient at x = 0 is taken as 0.
    pub fn sqrt(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Sqrt, x, Some(Field::Real), Field::Real)
    }

    /// `y = xᵖ`; x is real, and positive unless p is whole. p = −1 is the quotient.
    pub fn pow(&mut self, x: NodeId, p: T) -> Result<NodeId, Error> {
        let op = Op::Pow(p);
        self.constant(&op, x, &[p])?;
        self.elementwise(op, x, Some(Field::Real), Field::Real)
    }

    /// `y = sin x`; x is real.
    pub fn sin(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Sin, x, Some(Field::Real), Field::Real)
    }

    /// `y = cos x`; x is real.
    pub fn cos(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Cos, x, Some(Field::Real), Field::Real)
    }

    /// `y = Σ x` over all elements, a scalar of x's field.
    pub fn sum(&mut self, x: NodeId) -> Result<NodeId, Error> {
        let field = self.named(&Op::Sum(Field::Real, T::ONE), &[x], self.value(x))?.field();
        self.push(Op::Sum(field, T::ONE), &[x], None, space(field, &[]))
    }

    /// `y = Σ x / N` over all N elements, a scalar of x's field.
    pub fn mean(&mut self, x: NodeId) -> Result<NodeId, Error> {
        let x_space = self.named(&Op::Sum(Field::Real, T::ONE), &[x], self.value(x))?;
        let (field, n) = (x_space.field(), x_space.len());
        self.push(Op::Sum(field, T::of(1.0 / n as f64)), &[x], None, space(field, &[]))
    }

    /// `y = ⟨a, b⟩ = Re Σ ā b`, a real scalar; a and b live in one space. With a data input it is a weighted sum.
    pub fn dot(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, Error> {
        let check = || same_space("dot", self.value(a)?, self.value(b)?);
        self.named(&Op::Dot, &[a, b], check())?;
        self.push(Op::Dot, &[a, b], None, Space::real(&[]))
    }

    /// `y[…, …] = Σ_k x[…, k, …]`: the sum over one axis, which is removed.
    pub fn sum_axis(&mut self, x: NodeId, axis: usize) -> Result<NodeId, Error> {
        let (outer, n, inner, mut dims) = self.along("sum_axis", x, axis)?;
        let field = self.space(x).field();
        dims.remove(axis);
        debug_assert_eq!(outer * inner / words(field), dims.iter().product::<usize>());
        self.push(Op::SumAxis([n, inner]), &[x], None, space(field, &dims))
    }

    /// The elements `start..start + len` along one axis.
    pub fn slice(&mut self, x: NodeId, axis: usize, start: usize, len: usize) -> Result<NodeId, Error> {
        let (_, n, inner, mut dims) = self.along("slice", x, axis)?;
        let op = Op::Slice { of: n * inner, start: start.saturating_mul(inner), len: len.saturating_mul(inner) };
        if len == 0 || start.checked_add(len).is_none_or(|end| end > n) {
            let e = Error::shape("slice: start, length of the axis' elements", &[n], &[start, len]);
            return self.named(&op, &[x], Err(e));
        }
        dims[axis] = len;
        let field = self.space(x).field();
        self.push(op, &[x], None, space(field, &dims))
    }

    /// The operands one after the other along an axis; their other dimensions and their field are the same.
    pub fn concat(&mut self, x: &[NodeId], axis: usize) -> Result<NodeId, Error> {
        let label = Op::Concat(1);
        let check = || {
            let first = *x.first().ok_or_else(|| Error::param("x", "no operand", "at least one"))?;
            let (outer, _, _, mut dims) = self.along("concat", first, axis)?;
            let field = self.value(first)?.field();
            let mut n = 0usize;
            for &x in x {
                let s = self.value(x)?;
                let fits = s.dims().len() == dims.len()
                    && s.field() == field
                    && (0..dims.len()).all(|i| i == axis || s.dims()[i] == dims[i]);
                if !fits {
                    let expected = self.value(first)?;
                    same_space("concat", expected, s)?;
                    return Err(Error::shape("concat", expected.dims(), s.dims()));
                }
                n = n.saturating_add(s.dims()[axis]);
            }
            dims[axis] = n;
            Ok((outer, space(field, &dims)))
        };
        let (outer, space) = self.named(&label, x, check())?;
        if x.len() > MAX_INPUTS {
            // A concatenation of concatenations.
            let groups = x.chunks(MAX_INPUTS).map(|x| self.concat(x, axis)).collect::<Result<Vec<_>, _>>()?;
            return self.concat(&groups, axis);
        }
        self.push(Op::Concat(outer), x, None, space)
    }

    /// The operands along a new first axis; they live in one space.
    pub fn stack(&mut self, x: &[NodeId]) -> Result<NodeId, Error> {
        let label = Op::Concat(1);
        let check = || {
            let first = self.value(*x.first().ok_or_else(|| Error::param("x", "no operand", "at least one"))?)?;
            for &x in x {
                same_space("stack", first, self.value(x)?)?;
            }
            Ok((first.field(), [&[1], first.dims()].concat()))
        };
        let (field, mut dims) = self.named(&label, x, check())?;
        if x.len() > MAX_INPUTS {
            let groups = x.chunks(MAX_INPUTS).map(|x| self.stack(x)).collect::<Result<Vec<_>, _>>()?;
            return self.concat(&groups, 0);
        }
        dims[0] = x.len();
        self.push(Op::Concat(1), x, None, space(field, &dims))
    }

    /// `y[i] = x[yᵢ.., xᵢ..]`: windows (n, h, w) of an image (ny, nx), with the first pixel of each from an index input of
    /// 2n integers, `[y₀, x₀, y₁, x₁, …]`. A window that does not lie inside the image is an error of the run.
    pub fn gather_patches(&mut self, x: NodeId, positions: NodeId, window: [usize; 2]) -> Result<NodeId, Error> {
        let (windows, n, field) = self.windows(x, positions, window)?;
        self.push(Op::Gather(windows), &[x], Some(positions), space(field, &[n, window[0], window[1]]))
    }

    /// `y = Σᵢ x[i]` where window i lies: windows (n, h, w) added into an image `[ny, nx]`; the adjoint of
    /// [`Graph::gather_patches`].
    pub fn scatter_patches(&mut self, x: NodeId, positions: NodeId, image: [usize; 2]) -> Result<NodeId, Error> {
        let check = || match *self.value(x)?.dims() {
            [n, h, w] => Ok((n, [h, w], self.value(x)?.field())),
            ref other => Err(Error::shape("scatter: windows (n, h, w)", &[0, 0, 0], other)),
        };
        let label = Op::Scatter(Windows { image, window: [0; 2], element: 1, indices: 2 });
        let (n, window, field) = self.named(&label, &[x, positions], check())?;
        let windows = self.check_windows(&label, &[x, positions], image, window, field)?;
        self.named(&label, &[x, positions], self.check_indices(positions, 2 * n))?;
        self.push(Op::Scatter(windows), &[x], Some(positions), space(field, &image))
    }

    /// `y[i] = x[rowᵢ]`: rows (along the first axis) of x picked by an index input: the members of a batch.
    pub fn gather_rows(&mut self, x: NodeId, rows: NodeId) -> Result<NodeId, Error> {
        let (_, n, inner, mut dims) = self.along("gather", x, 0)?;
        let field = self.space(x).field();
        let windows = Windows { image: [n, inner], window: [1, inner], element: words(field), indices: 1 };
        let op = Op::Gather(windows);
        dims[0] = self.named(&op, &[x, rows], self.index_len(rows))?;
        self.push(op, &[x], Some(rows), space(field, &dims))
    }

    /// `y[rowᵢ] = Σ x[i]`: rows added into an array of `n` rows; the adjoint of [`Graph::gather_rows`].
    pub fn scatter_rows(&mut self, x: NodeId, rows: NodeId, n: usize) -> Result<NodeId, Error> {
        let (_, count, inner, mut dims) = self.along("scatter", x, 0)?;
        let field = self.space(x).field();
        let windows = Windows { image: [n, inner], window: [1, inner], element: words(field), indices: 1 };
        let op = Op::Scatter(windows);
        self.named(&op, &[x, rows], self.check_indices(rows, count))?;
        dims[0] = n;
        self.push(op, &[x], Some(rows), space(field, &dims))
    }

    /// `y = Re x`; x is complex.
    pub fn re(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Re, x, Some(Field::Complex), Field::Real)
    }

    /// `y = Im x`; x is complex.
    pub fn im(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::Im, x, Some(Field::Complex), Field::Real)
    }

    /// `y = a + ib`, of two real nodes.
    pub fn complex(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, Error> {
        let check = || {
            let dims = self.value(a)?.dims();
            same_space("complex", &Space::real(dims), self.value(a)?)?;
            same_space("complex", &Space::real(dims), self.value(b)?)?;
            Ok(Space::complex(dims))
        };
        let space = self.named(&Op::Complex, &[a, b], check())?;
        self.push(Op::Complex, &[a, b], None, space)
    }

    /// `y = x + 0i`; x is real.
    pub fn to_complex(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.elementwise(Op::ToComplex, x, Some(Field::Real), Field::Complex)
    }

    /// The same elements under other dimensions.
    pub fn reshape(&mut self, x: NodeId, dims: &[usize]) -> Result<NodeId, Error> {
        let check = || {
            let s = self.value(x)?;
            let len = crate::shape::checked_len(dims)?;
            if len != s.len() { Err(Error::shape("reshape", s.dims(), dims)) } else { Ok(space(s.field(), dims)) }
        };
        let space = self.named(&Op::Reshape, &[x], check())?;
        self.push(Op::Reshape, &[x], None, space)
    }

    /// An operation on each element, for operands of one field.
    fn elementwise(&mut self, op: Op<T>, x: NodeId, needs: Option<Field>, field: Field) -> Result<NodeId, Error> {
        let check = || {
            let s = self.value(x)?;
            match needs {
                Some(needs) if needs != s.field() => {
                    Err(Error::Unsupported { what: format!("an operand that is {:?} (expected {needs:?})", s.field()) })
                }
                _ => Ok(space(field, s.dims())),
            }
        };
        let space = self.named(&op, &[x], check())?;
        self.push(op, &[x], None, space)
    }

    /// The field of x, for an operation with finite constants.
    fn constant(&self, op: &Op<T>, x: NodeId, constants: &[T]) -> Result<Field, Error> {
        let check = || match constants.iter().find(|c| !c.is_finite()) {
            Some(c) => Err(Error::param("constant", c, "a finite number")),
            None => Ok(self.value(x)?.field()),
        };
        self.named(op, &[x], check())
    }

    /// The longer of two dimensions, of which the shorter is the end.
    fn repeated_dims(&self, op: &'static str, a: NodeId, b: NodeId) -> Result<Vec<usize>, Error> {
        let (a, b) = (self.value(a)?.dims(), self.value(b)?.dims());
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        if long.ends_with(short) { Ok(long.to_vec()) } else { Err(Error::shape(op, a, b)) }
    }

    fn repeated(&self, op: &'static str, a: NodeId, b: NodeId) -> Result<Space, Error> {
        let dims = self.repeated_dims(op, a, b)?;
        let (a, b) = (self.value(a)?.field(), self.value(b)?.field());
        same_space(op, &space(a, &dims), &space(b, &dims))?;
        Ok(space(a, &dims))
    }

    /// An array as (outer, n, inner words) about an axis, and its dimensions.
    fn along(&self, op: &'static str, x: NodeId, axis: usize) -> Result<(usize, usize, usize, Vec<usize>), Error> {
        let space = self.value(x)?;
        let dims = space.dims();
        if axis >= dims.len() {
            let e = Error::param("axis", axis, "less than the number of axes");
            return Err(Error::node(format!("{op}({})", self.name(x)), e));
        }
        let inner = dims[axis + 1..].iter().product::<usize>() * words(space.field());
        Ok((dims[..axis].iter().product(), dims[axis], inner, dims.to_vec()))
    }

    fn windows(&self, x: NodeId, positions: NodeId, window: [usize; 2]) -> Result<(Windows, usize, Field), Error> {
        let label = Op::Gather(Windows { image: [0; 2], window, element: 1, indices: 2 });
        let check = || match *self.value(x)?.dims() {
            [ny, nx] => Ok(([ny, nx], self.value(x)?.field())),
            ref other => Err(Error::shape("gather: an image (ny, nx)", &[0, 0], other)),
        };
        let (image, field) = self.named(&label, &[x, positions], check())?;
        let windows = self.check_windows(&label, &[x, positions], image, window, field)?;
        let len = self.named(&label, &[x, positions], self.index_len(positions))?;
        self.named(&label, &[x, positions], self.check_indices(positions, len.div_ceil(2) * 2))?;
        Ok((windows, len / 2, field))
    }

    fn check_windows(
        &self,
        op: &Op<T>,
        x: &[NodeId],
        image: [usize; 2],
        window: [usize; 2],
        field: Field,
    ) -> Result<Windows, Error> {
        let element = words(field);
        let fits = (0..2).all(|i| (1..=image[i]).contains(&window[i])) && image[1].checked_mul(element).is_some();
        let check = if fits { Ok(()) } else { Err(Error::shape("window inside an image", &image, &window)) };
        self.named(op, x, check)?;
        let wide = |[y, x]: [usize; 2]| [y, x * element];
        Ok(Windows { image: wide(image), window: wide(window), element, indices: 2 })
    }

    fn index_len(&self, index: NodeId) -> Result<usize, Error> {
        match self.nodes.get(index.0) {
            Some(node) if matches!(node.op, Op::Indices) => Ok(checked_words("indices", &node.space)?),
            _ => Err(Error::param("indices", index.0, "a node made by `Graph::indices`")),
        }
    }

    fn check_indices(&self, index: NodeId, expected: usize) -> Result<(), Error> {
        let len = self.index_len(index)?;
        if len == expected { Ok(()) } else { Err(Error::shape("indices", &[expected], &[len])) }
    }
}

pub(crate) fn space(field: Field, dims: &[usize]) -> Space {
    match field {
        Field::Real => Space::real(dims),
        Field::Complex => Space::complex(dims),
    }
}

fn words(field: Field) -> usize {
    match field {
        Field::Real => 1,
        Field::Complex => 2,
    }
}
