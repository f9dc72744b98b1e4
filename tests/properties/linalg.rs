//! `linalg`: the algebra that defines each factorisation and each solution, over random matrices of any shape and rank.

use std::ops::ControlFlow;
use std::sync::Arc;

use exitwave::Error;
use exitwave::linalg::eigen::{hermitian_eigen, symmetric_eigen};
use exitwave::linalg::gemm::{Trans, gemm, gemm_complex};
use exitwave::linalg::krylov::{CgParams, LsqrParams, cg, lsqr};
use exitwave::linalg::lstsq::{
    LeastSquaresParams, cholesky_solve, cholesky_solve_complex, least_squares, least_squares_complex, qr_solve,
    qr_solve_complex,
};
use exitwave::linalg::nnls::{NnlsParams, nnls};
use exitwave::linalg::svd::{jacobi_svd, jacobi_svd_complex};
use exitwave::observe::{Stop, silent};
use exitwave::op::{Adjoint, Compose, Identity, LinearOp, Scaled, Sum};
use exitwave::shape::Space;
use num_complex::Complex64 as C;
use proptest::prelude::*;

use crate::dense::{Dense, normals};

/// Largest size of the matrices here, and a bound on the growth of rounding errors in their factorisations: a modest
/// multiple of n ε relative to the norm, with n ≤ 12 rows of at most ten sweeps or steps.
const SIZE: usize = 12;
const ROUNDING: f64 = 100.0 * SIZE as f64 * f64::EPSILON;

fn complex_normals(n: usize, seed: u64) -> Vec<C> {
    normals(2 * n, seed).chunks(2).map(|z| C::new(z[0], z[1])).collect()
}

fn complexified(a: &[f64]) -> Vec<C> {
    a.iter().map(|&a| C::new(a, 0.0)).collect()
}

fn conj(a: &[C]) -> Vec<C> {
    a.iter().map(|a| a.conj()).collect()
}

/// a b, complex.
fn product([m, k, n]: [usize; 3], a: &[C], ta: Trans, b: &[C], tb: Trans) -> Vec<C> {
    let mut c = vec![C::new(f64::NAN, f64::NAN); m * n];
    gemm_complex([m, k, n], C::new(1.0, 0.0), a, ta, b, tb, C::new(0.0, 0.0), &mut c);
    c
}

fn norm(a: &[C]) -> f64 {
    a.iter().map(|a| a.norm_sqr()).sum::<f64>().sqrt()
}

fn difference(a: &[C], b: &[C]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>().sqrt()
}

/// The r rows of length n are orthonormal.
fn orthonormal(r: usize, n: usize, rows: &[C]) {
    let gram = product([r, n, r], &conj(rows), Trans::No, rows, Trans::Transpose);
    let identity: Vec<C> = (0..r * r).map(|i| C::new(f64::from(u8::from(i % r == i / r)), 0.0)).collect();
    assert!(difference(&gram, &identity) <= ROUNDING, "{}", difference(&gram, &identity));
}

/// The first of the largest elements is real and positive.
fn leads_with_a_positive_element(v: &[C]) {
    let largest = v.iter().fold(0.0f64, |m, v| m.max(v.norm()));
    let lead = v.iter().find(|v| v.norm() >= largest * (1.0 - 1e-6)).unwrap();
    assert!(lead.re > 0.0 && lead.im.abs() <= 4.0 * f64::EPSILON, "{v:?}");
}

/// A matrix of rank `rank`: a product of random factors.
fn of_rank([m, n]: [usize; 2], rank: usize, seed: u64) -> Vec<C> {
    product([m, rank, n], &complex_normals(m * rank, seed), Trans::No, &complex_normals(rank * n, seed + 1), Trans::No)
}

fn real_part(a: &[C]) -> Vec<f64> {
    a.iter().map(|a| a.re).collect()
}

/// Checks all that defines a decomposition A = Σ s u vᴴ.
fn check_svd([m, n]: [usize; 2], a: &[C], u: &[C], s: &[f64], v: &[C]) {
    let r = m.min(n);
    assert_eq!((u.len(), s.len(), v.len()), (r * m, r, r * n));
    assert!(s.windows(2).all(|s| s[0] >= s[1]) && s.iter().all(|&s| s >= 0.0), "{s:?}");
    orthonormal(r, m, u);
    orthonormal(r, n, v);
    let su: Vec<C> = u.iter().enumerate().map(|(i, u)| u * s[i / m]).collect();
    let again = product([m, r, n], &su, Trans::Transpose, &conj(v), Trans::No);
    assert!(difference(&again, a) <= ROUNDING * norm(a), "{} of {}", difference(&again, a), norm(a));
    v.chunks(n).for_each(leads_with_a_positive_element);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hermitian_eigenvectors_are_orthonormal_and_rebuild_the_matrix(n in 1..=SIZE, rank in 1..=SIZE, power in -150i32..150, seed in 0..u64::MAX - 9) {
        // B Bᴴ − B' B'ᴴ has eigenvalues of both signs, and zeros when the ranks are small.
        let (b, d) = (complex_normals(n * rank, seed), complex_normals(n * (rank / 2), seed + 1));
        let plus = product([n, rank, n], &b, Trans::No, &conj(&b), Trans::Transpose);
        let minus = product([n, rank / 2, n], &d, Trans::No, &conj(&d), Trans::Transpose);
        let unit = 10f64.powi(power);
        let a: Vec<C> = plus.iter().zip(&minus).map(|(p, m)| (p - m) * unit).collect();
        let e = hermitian_eigen(n, &a).unwrap();
        prop_assert!(e.values.windows(2).all(|l| l[0] >= l[1]));
        orthonormal(n, n, &e.vectors);
        (0..n).for_each(|k| leads_with_a_positive_element(e.vector(k)));
        let lv: Vec<C> = e.vectors.iter().enumerate().map(|(i, v)| v * e.values[i / n]).collect();
        let again = product([n, n, n], &lv, Trans::Transpose, &conj(&e.vectors), Trans::No);
        let (a1, again1): (Vec<C>, Vec<C>) = a.iter().zip(&again).map(|(a, b)| (a / unit, b / unit)).unzip();
        prop_assert!(difference(&again1, &a1) <= ROUNDING * (norm(&plus) + norm(&minus)));
    }

    #[test]
    fn symmetric_and_hermitian_eigen_agree_on_real_matrices(n in 1..=SIZE, seed in 0..u64::MAX - 9) {
        let g = normals(n * n, seed);
        let a: Vec<f64> = (0..n * n).map(|i| g[i] + g[i % n * n + i / n]).collect();
        let (s, h) = (symmetric_eigen(n, &a).unwrap(), hermitian_eigen(n, &complexified(&a)).unwrap());
        let scale = norm(&complexified(&a));
        for k in 0..n {
            prop_assert!((s.values[k] - h.values[k]).abs() <= ROUNDING * scale);
            // Vectors are as well determined as their eigenvalue is separate.
            let gap = (0..n).filter(|&j| j != k).fold(f64::INFINITY, |g, j| g.min((s.values[j] - s.values[k]).abs()));
            if gap > 0.05 * scale {
                let d = difference(&complexified(s.vector(k)), h.vector(k));
                // The convention of the sign allows a jump between two elements of equal size: 2 ‖v‖, never half-way.
                prop_assert!(d <= 40.0 * ROUNDING || (d - 2.0).abs() <= 40.0 * ROUNDING, "{}", d);
            }
        }
        // f32 computes in f64 and rounds once.
        let a32: Vec<f32> = a.iter().map(|&a| a as f32).collect();
        let e32 = symmetric_eigen(n, &a32).unwrap();
        (0..n).for_each(|k| assert!((f64::from(e32.values[k]) - s.values[k]).abs() <= 2.0 * f64::from(f32::EPSILON) * scale));
    }

    #[test]
    fn singular_vectors_are_orthonormal_and_rebuild_the_matrix_at_any_rank(m in 1..=SIZE, n in 1..=SIZE, rank in 0..=SIZE, power in -150i32..150, seed in 0..u64::MAX - 9) {
        let rank = rank.min(m).min(n);
        let unit = 10f64.powi(power);
        let a: Vec<C> = of_rank([m, n], rank, seed).iter().map(|a| a * unit).collect();
        let svd = jacobi_svd_complex(m, n, &a).unwrap();
        check_svd([m, n], &a.iter().map(|a| a / unit).collect::<Vec<_>>(), &svd.u, &svd.s.iter().map(|s| s / unit).collect::<Vec<_>>(), &svd.v);
        prop_assert!(svd.rank(1e-13) <= rank);

        let a = real_part(&a);
        let svd = jacobi_svd(m, n, &a).unwrap();
        let scaled: Vec<C> = a.iter().map(|a| C::new(a / unit, 0.0)).collect();
        check_svd([m, n], &scaled, &complexified(&svd.u), &svd.s.iter().map(|s| s / unit).collect::<Vec<_>>(), &complexified(&svd.v));
    }

    #[test]
    fn squared_singular_values_are_the_eigenvalues_of_the_gram_matrix(m in 1..=SIZE, n in 1..=SIZE, seed in 0..u64::MAX - 9) {
        let a = normals(m * n, seed);
        let mut gram = vec![0.0; n * n];
        gemm([n, m, n], 1.0, &a, Trans::Transpose, &a, Trans::No, 0.0, &mut gram);
        let (svd, e) = (jacobi_svd(m, n, &a).unwrap(), symmetric_eigen(n, &gram).unwrap());
        for (s, l) in svd.s.iter().zip(&e.values) {
            prop_assert!((s * s - l).abs() <= ROUNDING * e.values[0]);
        }
    }

    #[test]
    fn singular_values_belong_to_the_matrix_not_to_its_orientation(m in 1..=SIZE, n in 1..=SIZE, seed in 0..u64::MAX - 9) {
        let a = complex_normals(m * n, seed);
        let adjoint: Vec<C> = (0..m * n).map(|i| a[i % m * n + i / m].conj()).collect();
        let (s, t) = (jacobi_svd_complex(m, n, &a).unwrap().s, jacobi_svd_complex(n, m, &adjoint).unwrap().s);
        s.iter().zip(&t).for_each(|(s, t)| assert!((s - t).abs() <= ROUNDING * norm(&a)));
    }

    #[test]
    fn cholesky_and_qr_solve_positive_systems(n in 1..=SIZE, k in 1usize..4, seed in 0..u64::MAX - 9) {
        // G Gᴴ + 1 has a condition number of at most some hundreds.
        let (g, x) = (complex_normals(n * n, seed), complex_normals(n * k, seed + 1));
        let mut a = product([n, n, n], &g, Trans::No, &conj(&g), Trans::Transpose);
        (0..n).for_each(|i| a[i * n + i] += 1.0);
        let b = product([n, n, k], &a, Trans::No, &x, Trans::No);
        for found in [cholesky_solve_complex(n, &a, &b).unwrap(), qr_solve_complex(n, n, &a, &b).unwrap()] {
            prop_assert!(difference(&found, &x) <= ROUNDING * norm(&a) * norm(&x));
        }
        let a: Vec<f64> = a.iter().enumerate().map(|(i, a)| a.re + f64::from(u8::from(i / n == i % n))).collect();
        let x = real_part(&x);
        let mut b = vec![0.0; n * k];
        gemm([n, n, k], 1.0, &a, Trans::No, &x, Trans::No, 0.0, &mut b);
        for found in [cholesky_solve(n, &a, &b).unwrap(), qr_solve(n, n, &a, &b).unwrap()] {
            let scale = norm(&complexified(&a)) * norm(&complexified(&x));
            prop_assert!(difference(&complexified(&found), &complexified(&x)) <= ROUNDING * scale);
        }
    }

    #[test]
    fn the_least_squares_residual_is_orthogonal_to_the_columns(m in 1..=SIZE, n in 1..=SIZE, rank in 1..=SIZE, k in 1usize..4, seed in 0..u64::MAX - 9) {
        let rank = rank.min(m).min(n);
        let (a, b) = (of_rank([m, n], rank, seed), complex_normals(m * k, seed + 5));
        let found = least_squares_complex(m, n, &a, &b, &LeastSquaresParams { rank_tolerance: Some(1e-10) }).unwrap();
        let smallest = found.singular_values[..found.rank].last().unwrap() / found.singular_values[0];
        prop_assert!(found.rank <= rank);
        let ax = product([m, n, k], &a, Trans::No, &found.x, Trans::No);
        let r: Vec<C> = b.iter().zip(&ax).map(|(b, ax)| b - ax).collect();
        let gradient = product([n, m, k], &conj(&a), Trans::Transpose, &r, Trans::No);
        prop_assert!(norm(&gradient) <= ROUNDING * norm(&a) * norm(&b) / smallest);
        for j in 0..k {
            let column: Vec<C> = r.iter().skip(j).step_by(k).copied().collect();
            prop_assert!((found.residual[j] - norm(&column)).abs() <= ROUNDING * norm(&b) / smallest);
        }

        // The shortest solution has no part in the null space of A, which the remaining right singular vectors span.
        let svd = jacobi_svd_complex(m, n, &a).unwrap();
        for v in svd.v.chunks(n).skip(found.rank) {
            for j in 0..k {
                let along: C = v.iter().zip(found.x.iter().skip(j).step_by(k)).map(|(v, x)| v.conj() * x).sum();
                prop_assert!(along.norm() <= ROUNDING * norm(&found.x) / smallest);
            }
        }
        // At full rank QR gives the same.
        if found.rank == n && smallest > 1e-3 {
            let qr = qr_solve_complex(m, n, &a, &b).unwrap();
            prop_assert!(difference(&qr, &found.x) <= ROUNDING * (norm(&found.x) + norm(&b)) / (smallest * smallest));
        }
        // And the real ones are the real ones.
        let (a, b) = (real_part(&a), real_part(&b));
        let real = least_squares(m, n, &a, &b, &LeastSquaresParams { rank_tolerance: Some(1e-10) }).unwrap();
        let complex = least_squares_complex(m, n, &complexified(&a), &complexified(&b), &LeastSquaresParams { rank_tolerance: Some(1e-10) }).unwrap();
        let smallest = real.singular_values[..real.rank].last().unwrap() / real.singular_values[0];
        prop_assert!(difference(&complexified(&real.x), &complex.x) <= ROUNDING * (norm(&complex.x) + norm(&complexified(&b))) / (smallest * smallest));
    }

    #[test]
    fn dependent_columns_are_reported_with_the_rank(m in 2..=SIZE, n in 2..=SIZE, rank in 1..=SIZE, seed in 0..u64::MAX - 9) {
        let m = m.max(n);
        let rank = rank.min(n - 1);
        let a = of_rank([m, n], rank, seed);
        let error = qr_solve_complex(m, n, &a, &complex_normals(m, seed + 2)).unwrap_err();
        // The random factors may by chance have a smaller numerical rank, never a larger one.
        let Error::Data { what, index } = error else { panic!("{error}") };
        let found: usize = what.split_whitespace().nth(4).unwrap().parse().unwrap();
        prop_assert!(found <= rank && index < n, "{}", what);
    }

    #[test]
    fn nnls_satisfies_the_conditions_of_kuhn_and_tucker(m in 1..=SIZE, n in 1..=SIZE, rank in 1..=SIZE, seed in 0..u64::MAX - 9) {
        let rank = rank.min(m).min(n);
        let (a, b) = (real_part(&of_rank([m, n], rank, seed)), normals(m, seed + 3));
        let found = nnls(m, n, &a, &b, &NnlsParams::default(), &mut silent).unwrap();
        prop_assert_eq!(found.stop, Stop::Converged);
        let mut r = b.clone();
        gemm([m, n, 1], -1.0, &a, Trans::No, &found.x, Trans::No, 1.0, &mut r);
        let mut w = vec![0.0; n];
        gemm([n, m, 1], 1.0, &a, Trans::Transpose, &r, Trans::No, 0.0, &mut w);
        let scale = norm(&complexified(&a)) * (norm(&complexified(&b)) + norm(&complexified(&a)) * norm(&complexified(&found.x)));
        for j in 0..n {
            prop_assert!(found.x[j] >= 0.0);
            // The tolerance of the default parameters is 1e-12.
            prop_assert!(w[j] <= 2e-12 * scale, "dual {} of {}", w[j], scale);
            prop_assert!(found.x[j] == 0.0 || w[j].abs() <= 2e-12 * scale);
            prop_assert!((w[j] - found.dual[j]).abs() <= ROUNDING * scale);
        }
        prop_assert!((found.residual - norm(&complexified(&r))).abs() <= ROUNDING * scale);
    }

    #[test]
    fn conjugate_gradients_solve_a_positive_system(n in 1..=SIZE, seed in 0..u64::MAX - 9) {
        // AᴴA + 4 by composition of operators; its condition number is at most some tens.
        let space = Space::real(&[n]);
        let a: Arc<dyn LinearOp<f64>> = Arc::new(Dense::random(&space, &space, seed));
        let normal = Arc::new(Compose::new(Arc::new(Adjoint::new(a.clone())), a).unwrap());
        let damped = Arc::new(Scaled::new(Arc::new(Identity::new(&space).unwrap()), 4.0).unwrap());
        let op = Sum::new(vec![normal, damped]).unwrap();
        let x = normals(n, seed + 1);
        let mut b = vec![0.0; n];
        op.apply(&x, &mut b, exitwave::op::Write::Set, &mut vec![0.0; op.scratch_len()]);
        let params = CgParams { iterations: 10 * n, tolerance: 1e-13 };
        let found = cg(&op, &b, None, &params, &mut silent).unwrap();
        prop_assert_eq!(found.stop, Stop::Converged);
        prop_assert_eq!(found.residual.len(), found.iterations + 1);
        // ‖x − x*‖ ≤ ‖A⁻¹‖ ‖r‖ with ‖A⁻¹‖ ≤ 1/4, and rounding.
        let nb = norm(&complexified(&b));
        prop_assert!(difference(&complexified(&found.x), &complexified(&x)) <= (0.25e-13 + ROUNDING) * nb);
        // Started at the solution, there is nothing to do.
        let params = CgParams { tolerance: 1e-11, ..params };
        prop_assert_eq!(cg(&op, &b, Some(&found.x), &params, &mut silent).unwrap().iterations, 0);
    }

    #[test]
    fn lsqr_finds_the_shortest_least_squares_solution(m in 1..=SIZE, n in 1..=SIZE, damping in 0.0..2.0f64, seed in 0..u64::MAX - 9) {
        let (a, b, x0) = (normals(m * n, seed), normals(m, seed + 1), normals(n, seed + 2));
        let op = Dense::matrix(m, n, a.clone());
        let svd = jacobi_svd(m, n, &a).unwrap();
        prop_assume!(svd.s.last().unwrap() / svd.s[0] > 0.02);
        let params = LsqrParams { iterations: 40 * SIZE, tolerance_a: 1e-15, tolerance_b: 1e-15, ..LsqrParams::default() };
        let close = |x: &[f64], y: &[f64]| difference(&complexified(x), &complexified(y)) <= 1e-9 * (1.0 + norm(&complexified(y)));

        // Undamped, from zero.
        let found = lsqr(&op, &b, None, &params, &mut silent).unwrap();
        prop_assert_eq!(found.stop, Stop::Converged);
        let want = least_squares(m, n, &a, &b, &LeastSquaresParams::default()).unwrap();
        // A condition number of 50, squared, times ε times the iterations, leaves nine digits.
        prop_assert!(close(&found.x, &want.x));
        prop_assert!((found.residual.last().unwrap() - want.residual[0]).abs() <= 1e-9 * (1.0 + want.residual[0]));
        prop_assert!(found.residual.windows(2).all(|r| r[1] <= r[0] * (1.0 + 4.0 * f64::EPSILON)));

        // Damped, from x₀: the least-squares problem [A; λ] (x − x₀) = [b − A x₀; 0].
        let mut stacked = a.clone();
        (0..n * n).for_each(|i| stacked.push(if i % n == i / n { damping } else { 0.0 }));
        let mut rhs = b.clone();
        gemm([m, n, 1], -1.0, &a, Trans::No, &x0, Trans::No, 1.0, &mut rhs);
        rhs.extend(std::iter::repeat_n(0.0, n));
        let want = least_squares(m + n, n, &stacked, &rhs, &LeastSquaresParams { rank_tolerance: Some(1e-10) }).unwrap();
        let found = lsqr(&op, &b, Some(&x0), &LsqrParams { damping, ..params }, &mut silent).unwrap();
        let step: Vec<f64> = found.x.iter().zip(&x0).map(|(x, x0)| x - x0).collect();
        if damping == 0.0 || damping > 0.02 {
            prop_assert!(close(&step, &want.x), "{:?} and {:?}", step, want.x);
            prop_assert!((found.residual.last().unwrap() - want.residual[0]).abs() <= 1e-9 * (1.0 + want.residual[0]));
        }
    }
}

#[test]
fn cancelled_solvers_return_the_best_so_far() {
    let n = 30;
    let space = Space::real(&[n]);
    let a = Dense::random(&space, &space, 4);
    let b = normals(n, 5);
    let stop_at = |k: usize| {
        move |s: &exitwave::observe::Step| {
            if s.iteration >= k { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    };
    let params = LsqrParams { tolerance_a: 1e-14, tolerance_b: 1e-14, ..LsqrParams::default() };
    let found = lsqr(&a, &b, None, &params, &mut stop_at(3)).unwrap();
    assert_eq!((found.stop, found.iterations, found.residual.len()), (Stop::Cancelled, 3, 4));
    // It is the third iterate, bit by bit.
    let three = lsqr(&a, &b, None, &LsqrParams { iterations: 3, ..params }, &mut silent).unwrap();
    assert_eq!((three.stop, &three.x), (Stop::Iterations, &found.x));
    // Its residual is that of the recurrence.
    let mut r = b.clone();
    gemm([n, n, 1], -1.0, &a.a, Trans::No, &found.x, Trans::No, 1.0, &mut r);
    assert!((norm(&complexified(&r)) - found.residual[3]).abs() < ROUNDING * norm(&complexified(&b)));

    let d = exitwave::op::Diagonal::real(&space, (1..=n).map(|i| i as f64).collect()).unwrap();
    let found = cg(&d, &b, None, &CgParams::default(), &mut stop_at(2)).unwrap();
    assert_eq!((found.stop, found.iterations), (Stop::Cancelled, 2));
    assert!(found.residual[2] < found.residual[0]);

    let found = nnls(n, n, &a.a, &b, &NnlsParams::default(), &mut stop_at(1)).unwrap();
    assert_eq!(found.stop, Stop::Cancelled);
    assert!(found.x.iter().all(|&x| x >= 0.0) && found.residual < norm(&complexified(&b)));
    let found = nnls(n, n, &a.a, &b, &NnlsParams { iterations: 2, ..NnlsParams::default() }, &mut silent).unwrap();
    assert_eq!((found.stop, found.iterations), (Stop::Iterations, 2));
}

#[test]
fn complex_operators_are_solved_as_complex_systems() {
    // LSQR on words, for a complex-linear operator, against the complex least-squares solution.
    let (m, n) = (7, 4);
    let a = complex_normals(m * n, 8);
    let mut matrix = vec![0.0; 4 * m * n];
    for i in 0..m {
        for j in 0..n {
            let z = a[i * n + j];
            for (di, dj, value) in [(0, 0, z.re), (0, 1, -z.im), (1, 0, z.im), (1, 1, z.re)] {
                matrix[(2 * i + di) * 2 * n + 2 * j + dj] = value;
            }
        }
    }
    let op = Dense::new(&Space::complex(&[n]), &Space::complex(&[m]), matrix);
    let b = complex_normals(m, 9);
    let params = LsqrParams { tolerance_a: 1e-15, tolerance_b: 1e-15, ..LsqrParams::default() };
    let found = lsqr(&op, &words(&b), None, &params, &mut silent).unwrap();
    let want = qr_solve_complex(m, n, &a, &b).unwrap();
    let x: Vec<C> = found.x.chunks(2).map(|z| C::new(z[0], z[1])).collect();
    // A random 7 × 4 matrix is well conditioned.
    assert!(difference(&x, &want) < 1e-12, "{}", difference(&x, &want));
}

fn words(z: &[C]) -> Vec<f64> {
    z.iter().flat_map(|z| [z.re, z.im]).collect()
}

#[test]
fn solvers_reach_single_precision_in_single_precision() {
    let n = 40;
    let space = Space::real(&[n]);
    let d: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / 10.0).collect();
    let b: Vec<f32> = normals(n, 6).iter().map(|&v| v as f32).collect();
    let op = exitwave::op::Diagonal::real(&space, d.clone()).unwrap();
    let by_cg = cg(&op, &b, None, &CgParams { iterations: 200, tolerance: 1e-6 }, &mut silent).unwrap();
    // Tolerances of zero mean the ε of f32.
    let params = LsqrParams { iterations: 200, tolerance_a: 0.0, tolerance_b: 0.0, ..LsqrParams::default() };
    let by_lsqr = lsqr(&op, &b, None, &params, &mut silent).unwrap();
    let a: Vec<f32> = (0..n * n).map(|i| if i % n == i / n { d[i % n] } else { 0.0 }).collect();
    let by_svd = least_squares(n, n, &a, &b, &LeastSquaresParams::default()).unwrap();
    assert_eq!((by_cg.stop, by_lsqr.stop, by_svd.rank), (Stop::Converged, Stop::Converged, n));
    for x in [by_cg.x, by_lsqr.x, by_svd.x, cholesky_solve(n, &a, &b).unwrap(), qr_solve(n, n, &a, &b).unwrap()] {
        // A condition number of 5, a tolerance of 1e-6, and vectors of norm 6: 3e-5.
        (0..n).for_each(|i| assert!((x[i] - b[i] / d[i]).abs() < 3e-5, "{} and {}", x[i], b[i] / d[i]));
    }
}

#[test]
fn unusable_input_is_an_error() {
    let nan = f64::NAN;
    let inf = f64::INFINITY;
    let cnan = C::new(0.0, nan);
    let params = LeastSquaresParams::default();
    // Every function refuses NaN and infinities, at the right place.
    assert!(matches!(symmetric_eigen(2, &[1.0, 0.0, 0.0, nan]), Err(Error::Data { index: 3, .. })));
    assert!(matches!(hermitian_eigen(1, &[cnan]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(jacobi_svd(1, 2, &[1.0, inf]), Err(Error::Data { index: 1, .. })));
    assert!(matches!(jacobi_svd_complex(1, 1, &[cnan]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(cholesky_solve(1, &[nan], &[1.0]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(cholesky_solve(1, &[1.0], &[nan]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(cholesky_solve_complex(1, &[cnan], &[cnan]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(qr_solve(1, 1, &[1.0], &[inf]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(qr_solve_complex(1, 1, &[cnan], &[cnan]), Err(Error::Data { index: 0, .. })));
    assert!(matches!(least_squares(1, 1, &[inf], &[1.0], &params), Err(Error::Data { index: 0, .. })));
    assert!(matches!(least_squares_complex(1, 1, &[cnan], &[cnan], &params), Err(Error::Data { index: 0, .. })));
    let nn = |m, n, a: &[f64], b: &[f64], p: &NnlsParams| nnls(m, n, a, b, p, &mut silent);
    assert!(matches!(nn(1, 1, &[nan], &[1.0], &NnlsParams::default()), Err(Error::Data { .. })));
    assert!(matches!(nn(1, 1, &[1.0], &[inf], &NnlsParams::default()), Err(Error::Data { .. })));
    // Sizes.
    assert!(matches!(symmetric_eigen::<f64>(0, &[]), Err(Error::Param { .. })));
    assert!(matches!(symmetric_eigen(2, &[1.0, 2.0, 3.0]), Err(Error::Shape { .. })));
    assert!(matches!(jacobi_svd::<f64>(usize::MAX, 2, &[]), Err(Error::OutOfMemory { .. })));
    assert!(matches!(jacobi_svd(2, 2, &[1.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(qr_solve(1, 2, &[1.0; 2], &[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(qr_solve(2, 1, &[1.0; 2], &[1.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(qr_solve::<f64>(0, 0, &[], &[]), Err(Error::Shape { .. })));
    assert!(matches!(cholesky_solve(2, &[1.0; 4], &[]), Err(Error::Shape { .. })));
    assert!(matches!(nn(2, 2, &[1.0; 4], &[1.0], &NnlsParams::default()), Err(Error::Shape { .. })));
    // Matrices that are not what they must be.
    assert!(matches!(symmetric_eigen(2, &[1.0, 2.0, 3.0, 4.0]), Err(Error::Data { index: 2, .. })));
    assert!(matches!(hermitian_eigen(1, &[C::new(1.0, 1.0)]), Err(Error::Data { .. })));
    assert!(matches!(cholesky_solve(2, &[1.0, 2.0, 2.0, 1.0], &[1.0, 1.0]), Err(Error::Data { index: 1, .. })));
    assert!(matches!(cholesky_solve(2, &[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0]), Err(Error::Data { index: 1, .. })));
    assert!(matches!(cholesky_solve(2, &[1.0, 2.0, 3.0, 9.0], &[1.0, 1.0]), Err(Error::Data { .. })));
    assert!(matches!(cholesky_solve(1, &[0.0], &[1.0]), Err(Error::Data { .. })));
    assert!(matches!(qr_solve(2, 1, &[0.0, 0.0], &[1.0, 1.0]), Err(Error::Data { index: 0, .. })));
    // Parameters.
    let bad = LeastSquaresParams { rank_tolerance: Some(nan) };
    assert!(matches!(least_squares(1, 1, &[1.0], &[1.0], &bad), Err(Error::Param { .. })));
    let bad = NnlsParams { tolerance: -1.0, ..NnlsParams::default() };
    assert!(matches!(nn(1, 1, &[1.0], &[1.0], &bad), Err(Error::Param { .. })));
    let bad = NnlsParams { iterations: 0, ..NnlsParams::default() };
    assert!(matches!(nn(1, 1, &[1.0], &[1.0], &bad), Err(Error::Param { .. })));
}

#[test]
fn unusable_input_to_the_krylov_solvers_is_an_error() {
    let nan = f64::NAN;
    let op = Dense::matrix(2, 3, vec![1.0; 6]);
    let square = Dense::matrix(2, 2, vec![2.0, 1.0, 1.0, 2.0]);
    let (l, c) = (LsqrParams::default(), CgParams::default());
    let run = |b: &[f64], x0: Option<&[f64]>, p: &LsqrParams| lsqr(&op, b, x0, p, &mut silent).unwrap_err();
    assert!(matches!(run(&[1.0; 3], None, &l), Error::Shape { .. }));
    assert!(matches!(run(&[1.0; 2], Some(&[0.0; 2]), &l), Error::Shape { .. }));
    assert!(matches!(run(&[1.0, nan], None, &l), Error::Data { index: 1, .. }));
    assert!(matches!(run(&[1.0; 2], Some(&[0.0, nan, 0.0]), &l), Error::Data { index: 1, .. }));
    for bad in [
        LsqrParams { damping: nan, ..l.clone() },
        LsqrParams { damping: -1.0, ..l.clone() },
        LsqrParams { tolerance_a: nan, ..l.clone() },
        LsqrParams { tolerance_b: -1.0, ..l.clone() },
        LsqrParams { condition_limit: 0.5, ..l.clone() },
    ] {
        assert!(matches!(run(&[1.0; 2], None, &bad), Error::Param { .. }), "{bad:?}");
    }
    assert!(matches!(cg(&op, &[1.0; 2], None, &c, &mut silent), Err(Error::Shape { .. })));
    assert!(matches!(cg(&square, &[1.0, nan], None, &c, &mut silent), Err(Error::Data { index: 1, .. })));
    let bad = CgParams { tolerance: nan, ..c.clone() };
    assert!(matches!(cg(&square, &[1.0; 2], None, &bad, &mut silent), Err(Error::Param { .. })));
    // An operator that produces NaN, and one that is not positive.
    let poisoned = Dense::matrix(2, 2, vec![nan; 4]);
    assert!(matches!(cg(&poisoned, &[1.0; 2], None, &c, &mut silent), Err(Error::NotFinite { .. })));
    assert!(matches!(lsqr(&poisoned, &[1.0; 2], None, &l, &mut silent), Err(Error::NotFinite { .. })));
    let negative = Dense::matrix(2, 2, vec![-1.0, 0.0, 0.0, -1.0]);
    let found = cg(&negative, &[1.0; 2], None, &c, &mut silent).unwrap();
    assert_eq!((found.stop, found.iterations, found.x), (Stop::Stalled, 0, vec![0.0; 2]));
    // Nothing to do.
    let found = lsqr(&op, &[0.0; 2], None, &l, &mut silent).unwrap();
    assert_eq!((found.stop, found.iterations, found.x), (Stop::Converged, 0, vec![0.0; 3]));
    let found = cg(&square, &[0.0; 2], None, &c, &mut silent).unwrap();
    assert_eq!((found.stop, found.iterations), (Stop::Converged, 0));
}
