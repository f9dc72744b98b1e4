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
    /// The larger of `|⟨A x, y⟩ − ⟨x, Aᴴ y⟩| / (‖A x‖ ‖y‖)` and the errors of `Write::Add` relative to ‖A x‖ and ‖Aᴴ y‖.
    /// NaN, which fails every `<`, when an output element was not written.
    pub error: f64,
}

/// Tests `⟨A x, y⟩ = ⟨x, Aᴴ y⟩` on normal random vectors drawn from `seed`, in both directions, with `Write::Set` onto
/// NaN-poisoned output and NaN-poisoned scratch, and `Write::Add` onto the result of `Set` (which must then have doubled).
///
/// Compare [`DotTest::error`] with 1e-12 for `f64`, or 1e-5 for `f32`.
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
    let (mut ax2, mut ahy2) = (ax.clone(), ahy.clone());
    op.apply(&x, &mut ax2, Write::Add, &mut poison(op.scratch_len()));
    op.apply_adjoint(&y, &mut ahy2, Write::Add, &mut poison(op.scratch_len()));

    let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
    let norm = |a: &[T]| dot(a, a).sqrt();
    // ‖twice − 2 once‖ / ‖once‖: what `Add` did differently from `Set`. Sums keep a NaN; `max` would lose it.
    let added = |once: &[T], twice: &[T]| {
        let d = once.iter().zip(twice).map(|(o, t)| (t.f64() - 2.0 * o.f64()).powi(2)).sum::<f64>().sqrt();
        d / norm(once).max(f64::MIN_POSITIVE)
    };
    let (forward, adjoint) = (dot(&ax, &y), dot(&x, &ahy));
    let scale = (norm(&ax) * norm(&y)).max(norm(&x) * norm(&ahy)).max(f64::MIN_POSITIVE);
    let errors = [(forward - adjoint).abs() / scale, added(&ax, &ax2), added(&ahy, &ahy2)];
    let error = if errors.iter().any(|e| e.is_nan()) { f64::NAN } else { errors.into_iter().fold(0.0, f64::max) };
    DotTest { forward, adjoint, error }
}
