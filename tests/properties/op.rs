//! `op`: every operator on operators is an operator with its adjoint, and does what its formula says.

use std::sync::Arc;

use exitwave::Error;
use exitwave::op::{
    Adjoint, BlockDiagonal, Compose, Crop, Diagonal, Identity, LinearOp, Mask, Reshape, Restrict, Scaled, Stack, Sum,
    Write, dot_test,
};
use exitwave::shape::Space;
use num_complex::Complex;
use proptest::prelude::*;

use crate::dense::{Dense, normals};

type Op = Arc<dyn LinearOp<f64>>;

/// Spaces of one to three axes, odd and even, real and complex.
fn spaces() -> impl Strategy<Value = Space> {
    (prop::collection::vec(1usize..6, 1..4), any::<bool>())
        .prop_map(|(dims, complex)| if complex { Space::complex(&dims) } else { Space::real(&dims) })
}

fn same_field(like: &Space, dims: &[usize]) -> Space {
    if like.words() == like.len() { Space::real(dims) } else { Space::complex(dims) }
}

fn apply(op: &dyn LinearOp<f64>, x: &[f64]) -> Vec<f64> {
    let mut y = vec![f64::NAN; op.range().words()];
    op.apply(x, &mut y, Write::Set, &mut vec![f64::NAN; op.scratch_len()]);
    y
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    // Sums of at most 250 products of numbers of order one, in another order: 250 ε.
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 250.0 * f64::EPSILON * scale, "{a} and {b}"));
}

fn passes(op: &dyn LinearOp<f64>, seed: u64) {
    let t = dot_test(op, seed);
    assert!(t.error <= 1e-12, "{op:?}: {t:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn elementary_operators_pass_the_dot_test(space in spaces(), seed in any::<u64>()) {
        let n = space.len();
        let d = normals(2 * n, seed);
        passes(&Identity::<f64>::new(&space).unwrap(), seed);
        passes(&Reshape::<f64>::new(&space, &Space::real(&[space.words()])).unwrap(), seed);
        passes(&Diagonal::real(&space, d[..n].to_vec()).unwrap(), seed);
        passes(&Mask::<f64>::new(&space, d[..n].iter().map(|&v| v > 0.0).collect()).unwrap(), seed);
        if space.words() > n {
            let d = d.chunks(2).map(|d| Complex::new(d[0], d[1])).collect();
            passes(&Diagonal::complex(&space, d).unwrap(), seed);
        }
    }

    #[test]
    fn restriction_passes_the_dot_test_and_picks(space in spaces(), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20), seed in any::<u64>()) {
        // Indices repeat: the adjoint must add.
        let index: Vec<usize> = picks.iter().map(|p| p.index(space.len())).collect();
        let op = Restrict::<f64>::new(&space, index.clone()).unwrap();
        passes(&op, seed);
        let (x, c) = (normals(space.words(), seed), space.words() / space.len());
        let want: Vec<f64> = index.iter().flat_map(|&i| x[c * i..c * (i + 1)].to_vec()).collect();
        prop_assert_eq!(apply(&op, &x), want);
    }

    #[test]
    fn a_window_passes_the_dot_test_and_is_a_restriction(space in spaces(), cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 3), seed in any::<u64>()) {
        let dims = space.dims();
        let start: Vec<usize> = dims.iter().zip(&cuts).map(|(&d, c)| c.0.index(d)).collect();
        let size: Vec<usize> = dims.iter().zip(&start).zip(&cuts).map(|((&d, &s), c)| 1 + c.1.index(d - s)).collect();
        let op = Crop::<f64>::new(&space, &start, &size).unwrap();
        passes(&op, seed);
        // The flat index of every element of the window, written out.
        let index = exitwave::tensor::Tensor::from_fn(&size, |j| {
            j.iter().zip(&start).zip(dims).fold(0, |at, ((&j, &s), &d)| at * d + s + j)
        });
        let restrict = Restrict::<f64>::new(&space, index.into_vec()).unwrap();
        let x = normals(space.words(), seed);
        prop_assert_eq!(apply(&op, &x), apply(&restrict, &x));
        // A window of its padding is the identity.
        let y = normals(op.range().words(), seed + 1);
        let crop: Op = Arc::new(op);
        prop_assert_eq!(apply(&Compose::new(crop.clone(), Arc::new(Adjoint::new(crop))).unwrap(), &y), y);
    }

    #[test]
    fn a_product_passes_the_dot_test_and_is_one_after_the_other(x in spaces(), y in spaces(), z in spaces(), seed in 0..u64::MAX - 9) {
        let (a, b): (Op, Op) = (Arc::new(Dense::random(&y, &z, seed)), Arc::new(Dense::random(&x, &y, seed + 1)));
        let ab = Compose::new(a.clone(), b.clone()).unwrap();
        passes(&ab, seed);
        let v = normals(x.words(), seed + 2);
        prop_assert_eq!(apply(&ab, &v), apply(&*a, &apply(&*b, &v)));
    }

    #[test]
    fn a_sum_passes_the_dot_test_and_adds(x in spaces(), y in spaces(), terms in 1usize..4, seed in 0..u64::MAX - 9) {
        let ops: Vec<Op> = (0..terms as u64).map(|i| Arc::new(Dense::random(&x, &y, seed + i)) as Op).collect();
        let sum = Sum::new(ops.clone()).unwrap();
        passes(&sum, seed);
        let v = normals(x.words(), seed + 5);
        let mut want = vec![0.0; y.words()];
        for op in &ops {
            want.iter_mut().zip(apply(&**op, &v)).for_each(|(w, t)| *w += t);
        }
        close(&apply(&sum, &v), &want);
    }

    #[test]
    fn scaling_passes_the_dot_test_and_multiplies(x in spaces(), y in spaces(), re in -3.0..3.0f64, im in -3.0..3.0f64, seed in 0..u64::MAX - 9) {
        let a: Op = Arc::new(Dense::random(&x, &y, seed));
        let v = normals(x.words(), seed + 1);
        let av = apply(&*a, &v);
        let real = Scaled::new(a.clone(), re).unwrap();
        passes(&real, seed);
        prop_assert_eq!(apply(&real, &v), av.iter().map(|v| re * v).collect::<Vec<_>>());
        let complex = Scaled::complex(a, Complex::new(re, im));
        if y.words() > y.len() {
            let complex = complex.unwrap();
            passes(&complex, seed);
            close(&apply(&complex, &v), &av.chunks(2).flat_map(|z| [re * z[0] - im * z[1], re * z[1] + im * z[0]]).collect::<Vec<_>>());
        } else {
            let unsupported = matches!(complex, Err(Error::Unsupported { .. }));
            prop_assert!(unsupported);
        }
    }

    #[test]
    fn stacks_pass_the_dot_test_and_concatenate(x in spaces(), y in spaces(), dims in prop::collection::vec(1usize..6, 1..4), seed in 0..u64::MAX - 9) {
        let z = same_field(&y, &dims);
        let (a, b): (Op, Op) = (Arc::new(Dense::random(&x, &y, seed)), Arc::new(Dense::random(&x, &z, seed + 1)));
        let stack = Stack::new(vec![a.clone(), b.clone()]).unwrap();
        passes(&stack, seed);
        prop_assert_eq!(stack.range(), &same_field(&y, &[y.len() + z.len()]));
        let v = normals(x.words(), seed + 2);
        prop_assert_eq!(apply(&stack, &v), [apply(&*a, &v), apply(&*b, &v)].concat());

        let blocks = BlockDiagonal::new(vec![a.clone(), b.clone()]).unwrap();
        passes(&blocks, seed);
        let u = normals(x.words(), seed + 3);
        prop_assert_eq!(apply(&blocks, &[u.clone(), v.clone()].concat()), [apply(&*a, &u), apply(&*b, &v)].concat());

        // Side by side, (p q): the adjoint of a stack of adjoints.
        let (p, q): (Op, Op) = (Arc::new(Dense::random(&y, &x, seed)), Arc::new(Dense::random(&z, &x, seed + 1)));
        let adjoints: Vec<Op> = vec![Arc::new(Adjoint::new(p.clone())), Arc::new(Adjoint::new(q.clone()))];
        let beside = Adjoint::new(Arc::new(Stack::new(adjoints).unwrap()));
        passes(&beside, seed);
        let (u, v) = (normals(y.words(), seed + 4), normals(z.words(), seed + 5));
        let want: Vec<f64> = apply(&*p, &u).iter().zip(apply(&*q, &v)).map(|(p, q)| p + q).collect();
        close(&apply(&beside, &[u, v].concat()), &want);
    }

    #[test]
    fn the_adjoint_of_a_product_is_the_product_of_adjoints_in_reverse(x in spaces(), y in spaces(), z in spaces(), seed in 0..u64::MAX - 9) {
        let (a, b): (Op, Op) = (Arc::new(Dense::random(&y, &z, seed)), Arc::new(Dense::random(&x, &y, seed + 1)));
        let left = Adjoint::new(Arc::new(Compose::new(a.clone(), b.clone()).unwrap()));
        let right = Compose::new(Arc::new(Adjoint::new(b)), Arc::new(Adjoint::new(a))).unwrap();
        passes(&left, seed);
        let v = normals(z.words(), seed + 2);
        prop_assert_eq!(apply(&left, &v), apply(&right, &v));
    }
}

#[test]
fn a_mask_stops_nan_where_a_diagonal_cannot() {
    let space = Space::real(&[3]);
    let x = [1.0, f64::NAN, 3.0];
    assert_eq!(apply(&Mask::<f64>::new(&space, vec![true, false, true]).unwrap(), &x), [1.0, 0.0, 3.0]);
    assert!(apply(&Diagonal::real(&space, vec![1.0, 0.0, 1.0]).unwrap(), &x)[1].is_nan());
}

#[test]
fn operators_that_do_not_fit_are_errors() {
    let (three, four) = (Space::real(&[3]), Space::real(&[4]));
    let id = |s: &Space| Arc::new(Identity::<f64>::new(s).unwrap()) as Op;
    let complex = Space::complex(&[3]);
    assert!(matches!(Compose::new(id(&three), id(&four)), Err(Error::Shape { .. })));
    assert!(matches!(Compose::new(id(&three), id(&complex)), Err(Error::Unsupported { .. })));
    assert!(matches!(Sum::new(vec![id(&three), id(&four)]), Err(Error::Shape { .. })));
    assert!(matches!(Sum::<f64>::new(vec![]), Err(Error::Param { .. })));
    assert!(matches!(Stack::<f64>::new(vec![]), Err(Error::Param { .. })));
    assert!(matches!(BlockDiagonal::<f64>::new(vec![]), Err(Error::Param { .. })));
    assert!(matches!(BlockDiagonal::new(vec![id(&three), id(&complex)]), Err(Error::Unsupported { .. })));
    assert!(matches!(Scaled::new(id(&three), f64::NAN), Err(Error::Param { .. })));
    assert!(matches!(Scaled::complex(id(&complex), Complex::new(0.0, f64::INFINITY)), Err(Error::Param { .. })));
    assert!(matches!(Identity::<f64>::new(&Space::real(&[3, 0])), Err(Error::Param { .. })));
    assert!(matches!(Identity::<f64>::new(&Space::real(&[usize::MAX, 2])), Err(Error::OutOfMemory { .. })));
    assert!(matches!(Identity::<f64>::new(&Space::complex(&[usize::MAX])), Err(Error::OutOfMemory { .. })));
    assert!(matches!(Reshape::<f64>::new(&three, &four), Err(Error::Shape { .. })));
    assert!(matches!(Diagonal::real(&three, vec![1.0, 2.0]), Err(Error::Shape { .. })));
    assert!(matches!(Diagonal::real(&three, vec![1.0, 2.0, f64::NAN]), Err(Error::Data { index: 2, .. })));
    assert!(matches!(Diagonal::complex(&three, vec![Complex::new(1.0, 0.0); 3]), Err(Error::Unsupported { .. })));
    assert!(matches!(Mask::<f64>::new(&three, vec![true; 4]), Err(Error::Shape { .. })));
    assert!(matches!(Restrict::<f64>::new(&three, vec![0, 3]), Err(Error::Data { index: 1, .. })));
    assert!(matches!(Restrict::<f64>::new(&three, vec![]), Err(Error::Param { .. })));
    let image = Space::real(&[4, 5]);
    assert!(matches!(Crop::<f64>::new(&image, &[1, 1], &[4, 2]), Err(Error::Shape { .. })));
    assert!(matches!(Crop::<f64>::new(&image, &[usize::MAX, 1], &[4, 2]), Err(Error::OutOfMemory { .. })));
    assert!(matches!(Crop::<f64>::new(&image, &[1], &[2]), Err(Error::Shape { .. })));
    assert!(matches!(Crop::<f64>::new(&image, &[1, 1, 0], &[2, 2]), Err(Error::Shape { .. })));
    assert!(matches!(Crop::<f64>::new(&image, &[1, 1], &[0, 2]), Err(Error::Param { .. })));
    assert!(matches!(Crop::<f64>::new(&Space::real(&[]), &[], &[]), Err(Error::Param { .. })));
}

/// What can be wrong with an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    AdjointScaled,
    AdjointNotConjugated,
    SetAdds,
    AddOverwrites,
    AddDoubles,
    AddDoesNothing,
    AdjointAddOverwrites,
    LeavesHoles,
    ReadsScratch,
    NotLinear,
}

/// Multiplication of a complex number by 1e-9 (2 + i), with a fault.
#[derive(Debug)]
struct Faulty(Fault, Space);

impl Faulty {
    fn multiply(&self, sign: f64, x: &[f64], y: &mut [f64], w: Write) {
        for (y, x) in y.chunks_mut(2).zip(x.chunks(2)) {
            let z = Complex::new(x[0], x[1]) * Complex::new(2.0, sign) * 1e-9;
            exitwave::op::write(&mut y[0], z.re, w);
            exitwave::op::write(&mut y[1], z.im, w);
        }
    }
}

impl LinearOp<f64> for Faulty {
    fn domain(&self) -> &Space {
        &self.1
    }

    fn range(&self) -> &Space {
        &self.1
    }

    fn scratch_len(&self) -> usize {
        1
    }

    fn apply(&self, x: &[f64], y: &mut [f64], w: Write, scratch: &mut [f64]) {
        match (self.0, w) {
            (Fault::SetAdds, _) => self.multiply(1.0, x, y, Write::Add),
            (Fault::AddOverwrites, _) => self.multiply(1.0, x, y, Write::Set),
            (Fault::AddDoubles, Write::Add) => y.iter_mut().for_each(|y| *y *= 2.0),
            (Fault::AddDoesNothing, Write::Add) => {}
            (Fault::LeavesHoles, Write::Set) => self.multiply(1.0, &x[2..], &mut y[2..], w),
            _ => self.multiply(1.0, x, y, w),
        }
        if self.0 == Fault::ReadsScratch {
            y[0] += scratch[0];
        }
        if self.0 == Fault::NotLinear {
            y[0] += 1e-9;
        }
    }

    fn apply_adjoint(&self, y: &[f64], x: &mut [f64], w: Write, _: &mut [f64]) {
        match self.0 {
            Fault::AdjointNotConjugated => self.multiply(1.0, y, x, w),
            Fault::AdjointAddOverwrites => self.multiply(-1.0, y, x, Write::Set),
            Fault::AdjointScaled => {
                let y: Vec<f64> = y.iter().map(|y| y * (1.0 + 1e-9)).collect();
                self.multiply(-1.0, &y, x, w);
            }
            _ => self.multiply(-1.0, y, x, w),
        }
    }
}

#[test]
fn the_dot_test_finds_every_fault_and_passes_the_faultless() {
    let space = Space::complex(&[5, 3]);
    for fault in [
        Fault::AdjointScaled,
        Fault::AdjointNotConjugated,
        Fault::SetAdds,
        Fault::AddOverwrites,
        Fault::AddDoubles,
        Fault::AddDoesNothing,
        Fault::AdjointAddOverwrites,
        Fault::LeavesHoles,
        Fault::ReadsScratch,
        Fault::NotLinear,
    ] {
        let passed = dot_test(&Faulty(fault, space.clone()), 3).error <= 1e-12;
        assert!(!passed, "{fault:?}");
    }
    passes(&Faulty(Fault::None, space), 3);
}

#[test]
#[should_panic(expected = "`scratch` must have length")]
fn too_little_scratch_panics_with_the_numbers() {
    let space = Space::real(&[3]);
    let op = Scaled::new(Arc::new(Identity::<f64>::new(&space).unwrap()), 2.0).unwrap();
    op.apply(&[1.0; 3], &mut [0.0; 3], Write::Set, &mut [0.0; 2]);
}
