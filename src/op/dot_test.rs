//! The dot test: is the adjoint an adjoint?

use crate::op::{LinearOp, Write};
use crate::real::Real;
use crate::rng;

/// What [`dot_test`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DotTest {
    /// ⟨A x, y⟩.
    pub forward: f64,
    /// ⟨x, Aᴴ y⟩.
    pub adjoint: f64,
    /// The largest of `|⟨A x, y⟩ − ⟨x, Aᴴ y⟩| / max(‖A x‖ ‖y‖, ‖x‖ ‖Aᴴ y‖)` and the errors of `Write::Add` in both
    /// directions, `‖(z + A x) − got‖ / (‖z‖ + ‖A x‖)` for a random z as large as A x. NaN, which fails every `<`, when
    /// an output element was not written, or scratch was read before it was written.
    pub error: f64,
}

/// Tests `⟨A x, y⟩ = ⟨x, Aᴴ y⟩` on normal random vectors drawn from `seed`, in both directions, with `Write::Set` onto
/// NaN-poisoned output, and `Write::Add` onto random output. The scratch is poisoned with NaN; it has the length that
/// the operator asked for in the first pair of calls, and is longer, as the contract allows, in the second.
///
/// Compare [`DotTest::error`] with 1e-12 for `f64`, or 1e-5 for `f32`. The test cannot tell a complex-linear operator
/// from one that is only real-linear: the inner product is that of words.
///
/// # References
/// J. Claerbout, *Earth Soundings Analysis*, Blackwell (1992), chapter 5: the dot-product test.
pub fn dot_test<T: Real>(op: &dyn LinearOp<T>, seed: u64) -> DotTest {
    let (nx, ny) = (op.domain().words(), op.range().words());
    let random = |n: usize, index: u64| -> Vec<T> {
        let mut r = rng::stream(seed, index);
        (0..n).map(|_| T::of(rng::normal(&mut r))).collect()
    };
    let (x, y) = (random(nx, 0), random(ny, 1));
    let poison = |n: usize| vec![T::NAN; n];

    let (mut ax, mut ahy) = (poison(ny), poison(nx));
    op.apply(&x, &mut ax, Write::Set, &mut poison(op.scratch_len()));
    op.apply_adjoint(&y, &mut ahy, Write::Set, &mut poison(op.scratch_len()));

    // z stands where `Add` must add. It is unrelated to A x, so that an `Add` which rescales or overwrites it is found,
    // and of the same size, so that one which adds nothing is found too.
    let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
    let norm = |a: &[T]| dot(a, a).sqrt();
    let like = |v: &[T], index: u64| -> Vec<T> {
        let rms = norm(v) / (v.len() as f64).sqrt();
        random(v.len(), index).into_iter().map(|z| T::of(z.f64() * if rms > 0.0 { rms } else { 1.0 })).collect()
    };
    let (zy, zx) = (like(&ax, 2), like(&ahy, 3));
    let (mut ax_added, mut ahy_added) = (zy.clone(), zx.clone());
    op.apply(&x, &mut ax_added, Write::Add, &mut poison(op.scratch_len() + 3));
    op.apply_adjoint(&y, &mut ahy_added, Write::Add, &mut poison(op.scratch_len() + 3));

    // Sums keep a NaN; `max` would lose it.
    let added = |z: &[T], once: &[T], got: &[T]| {
        let d: f64 = (0..z.len()).map(|i| (z[i].f64() + once[i].f64() - got[i].f64()).powi(2)).sum();
        d.sqrt() / (norm(z) + norm(once)).max(f64::MIN_POSITIVE)
    };
    let (forward, adjoint) = (dot(&ax, &y), dot(&x, &ahy));
    let scale = (norm(&ax) * norm(&y)).max(norm(&x) * norm(&ahy)).max(f64::MIN_POSITIVE);
    let errors = [(forward - adjoint).abs() / scale, added(&zy, &ax, &ax_added), added(&zx, &ahy, &ahy_added)];
    let error = if errors.iter().any(|e| e.is_nan()) { f64::NAN } else { errors.into_iter().fold(0.0, f64::max) };
    DotTest { forward, adjoint, error }
}
