//! `linalg`: matrices whose factors, and problems whose solutions, are known in closed form.

use std::f64::consts::PI;

use exitwave::linalg::eigen::{Eigen, hermitian_eigen, symmetric_eigen};
use exitwave::linalg::krylov::{CgParams, LsqrParams, cg, lsqr};
use exitwave::linalg::lstsq::{LeastSquaresParams, cholesky_solve, least_squares, qr_solve};
use exitwave::linalg::nnls::{NnlsParams, nnls};
use exitwave::linalg::svd::{jacobi_svd, jacobi_svd_complex};
use exitwave::observe::{Stop, silent};
use exitwave::op::{Diagonal, LinearOp, Write};
use exitwave::shape::Space;
use num_complex::Complex64 as C;

use crate::dense::{Dense, normals};

const EPS: f64 = f64::EPSILON;

fn matrix(m: usize, n: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..m * n).map(|i| f(i / n, i % n)).collect()
}

fn hilbert(n: usize) -> Vec<f64> {
    matrix(n, n, |i, j| 1.0 / (i + j + 1) as f64)
}

fn near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got:e}, expected {want:e}");
}

fn norm(a: &[f64]) -> f64 {
    a.iter().map(|a| a * a).sum::<f64>().sqrt()
}

/// ‖A v − λ v‖ over all pairs.
fn worst_residual(n: usize, a: &[f64], e: &Eigen<f64>) -> f64 {
    let residual = |k: usize| {
        let v = e.vector(k);
        let r: Vec<f64> =
            (0..n).map(|i| (0..n).map(|j| a[i * n + j] * v[j]).sum::<f64>() - e.values[k] * v[i]).collect();
        norm(&r)
    };
    (0..n).map(residual).fold(0.0, f64::max)
}

/// det Hₙ = cₙ⁴ / c₂ₙ with cₙ = Π i! (D. Hilbert, Acta Math. 18, 155 (1894)); κ₂(H₅) = 4.766e5 (N. J. Higham, *Accuracy
/// and Stability of Numerical Algorithms*, 2nd ed. (2002), section 28.1).
#[test]
fn the_spectrum_of_hilbert_matrices_has_the_known_trace_determinant_and_condition() {
    for n in 2..=8 {
        let factorials = |n: usize| -> f64 { (1..n).map(|i| (1..=i).map(|j| (j as f64).ln()).sum::<f64>()).sum() };
        let ln_det = 4.0 * factorials(n) - factorials(2 * n);
        let trace: f64 = (0..n).map(|i| 1.0 / (2 * i + 1) as f64).sum();
        let e = symmetric_eigen(n, &hilbert(n)).unwrap();
        let s = jacobi_svd(n, n, &hilbert(n)).unwrap().s;
        near(e.values.iter().sum(), trace, 10.0 * EPS * trace);
        // An absolute error of 10 ε in each value is 10 ε / value in the logarithm of their product.
        let tolerance: f64 = e.values.iter().map(|l| 10.0 * EPS / l).sum();
        near(e.values.iter().map(|l| l.ln()).sum(), ln_det, tolerance);
        near(s.iter().map(|s| s.ln()).sum(), ln_det, tolerance);
    }
    let s = jacobi_svd(5, 5, &hilbert(5)).unwrap().s;
    near(s[0] / s[4], 4.766e5, 0.0005e5);
}

/// The inverse of the Hilbert matrix is made of integers: (−1)^(i+j) (i+j−1) C(n+i−1, n−j) C(n+j−1, n−i) C(i+j−2,
/// i−1)².
#[test]
fn hilbert_systems_are_solved_to_their_condition() {
    let n = 6;
    let binomial = |n: usize, k: usize| (1..=k).fold(1.0, |b, i| b * (n + 1 - i) as f64 / i as f64);
    let inverse = matrix(n, n, |i, j| {
        let (i, j) = (i + 1, j + 1);
        let sign = if (i + j) % 2 == 0 { 1.0 } else { -1.0 };
        sign * (i + j - 1) as f64
            * binomial(n + i - 1, n - j)
            * binomial(n + j - 1, n - i)
            * binomial(i + j - 2, i - 1).powi(2)
    });
    let identity = matrix(n, n, |i, j| if i == j { 1.0 } else { 0.0 });
    let h = hilbert(n);
    let by_svd = least_squares(n, n, &h, &identity, &LeastSquaresParams::default()).unwrap();
    assert_eq!(by_svd.rank, n);
    let by = [cholesky_solve(n, &h, &identity).unwrap(), qr_solve(n, n, &h, &identity).unwrap(), by_svd.x];
    for x in by {
        let error: Vec<f64> = x.iter().zip(&inverse).map(|(x, y)| x - y).collect();
        // κ₂(H₆) = 1.5e7, and a factor of n for the accumulation.
        assert!(norm(&error) <= 1.5e7 * n as f64 * EPS * norm(&inverse), "{:e}", norm(&error) / norm(&inverse));
    }
}

/// The second difference (2 on the diagonal, −1 beside it) has the eigenvalues 4 sin²(kπ/2(n+1)) and the eigenvectors
/// sin(jkπ/(n+1)); the first difference, (n, n+1), has their square roots as singular values.
#[test]
fn difference_matrices_have_their_sines() {
    for n in [1, 2, 7, 40] {
        let half = |k: usize| PI * k as f64 / (2 * (n + 1)) as f64;
        let second = matrix(n, n, |i, j| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let e = symmetric_eigen(n, &second).unwrap();
        for (k, &value) in e.values.iter().enumerate() {
            let k = n - k;
            near(value, 4.0 * half(k).sin().powi(2), 4.0 * n as f64 * EPS);
            let v = e.vector(n - k);
            let sine: Vec<f64> = (1..=n).map(|j| (2.0 * half(k) * j as f64).sin()).collect();
            let cosine = v.iter().zip(&sine).map(|(v, s)| v * s).sum::<f64>().abs() / norm(&sine);
            near(cosine, 1.0, 10.0 * n as f64 * EPS);
        }
        let first = matrix(n, n + 1, |i, j| if j == i { -1.0 } else { f64::from(u8::from(j == i + 1)) });
        let svd = jacobi_svd(n, n + 1, &first).unwrap();
        svd.s.iter().enumerate().for_each(|(k, &s)| near(s, 2.0 * half(n - k).sin(), 4.0 * n as f64 * EPS));
    }
}

/// min(i, j) is the inverse of the second difference with one end free; its eigenvalues are 1/(4 sin²((2k−1)π/(4n+2))).
#[test]
fn the_covariance_of_a_random_walk_has_its_known_spectrum() {
    for n in [1, 5, 60] {
        let a = matrix(n, n, |i, j| (1 + i.min(j)) as f64);
        let e = symmetric_eigen(n, &a).unwrap();
        let value = |k: usize| 0.25 / (PI * (2 * k + 1) as f64 / (4 * n + 2) as f64).sin().powi(2);
        (0..n).for_each(|k| near(e.values[k], value(k), 10.0 * EPS * value(0)));
        assert!(worst_residual(n, &a, &e) <= 10.0 * EPS * (n as f64) * value(0));
    }
}

/// A Hermitian circulant matrix has the transform of its first row as spectrum.
#[test]
fn circulant_hermitian_matrices_have_their_transform_as_spectrum() {
    let n = 9;
    let g = normals(2 * n, 1);
    let mut c: Vec<C> = vec![C::new(g[0], 0.0); n];
    (1..=n / 2).for_each(|i| {
        c[i] = C::new(g[i], g[n + i]);
        c[n - i] = c[i].conj();
    });
    let a: Vec<C> = (0..n * n).map(|i| c[(i % n + n - i / n) % n]).collect();
    let mut transform: Vec<f64> = (0..n)
        .map(|k| (0..n).map(|j| (c[j] * C::from_polar(1.0, -2.0 * PI * (k * j) as f64 / n as f64)).re).sum())
        .collect();
    transform.sort_by(|a, b| b.total_cmp(a));
    let e = hermitian_eigen(n, &a).unwrap();
    e.values.iter().zip(&transform).for_each(|(got, want)| near(*got, *want, 100.0 * EPS));
}

/// All ones is √m·√n times a pair of unit vectors. nalgebra's singular values of such matrices are wrong for 231 of the
/// 841 shapes from 2 to 30 (its issue 1172).
#[test]
fn matrices_of_ones_have_one_singular_value() {
    for m in 1..=30 {
        for n in 1..=30 {
            let svd = jacobi_svd(m, n, &vec![1.0f64; m * n]).unwrap();
            let want = ((m * n) as f64).sqrt();
            near(svd.s[0], want, 4.0 * EPS * want);
            assert!(svd.s[1..].iter().all(|&s| s <= 4.0 * EPS * want), "{m} {n}: {:?}", svd.s);
            svd.u[..m].iter().for_each(|&u| near(u, 1.0 / (m as f64).sqrt(), 8.0 * EPS));
            svd.v[..n].iter().for_each(|&v| near(v, 1.0 / (n as f64).sqrt(), 8.0 * EPS));
            // The null vectors are orthonormal too.
            for (rows, len) in [(&svd.u, m), (&svd.v, n)] {
                for (i, a) in rows.chunks(len).enumerate() {
                    for (j, b) in rows.chunks(len).enumerate() {
                        let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                        near(dot, f64::from(u8::from(i == j)), 100.0 * EPS);
                    }
                }
            }
            // And so for symmetric ones the eigenvalues.
            if m == n {
                let e = symmetric_eigen(n, &vec![1.0f64; n * n]).unwrap();
                near(e.values[0], n as f64, 10.0 * EPS * n as f64);
                assert!(e.values[1..].iter().all(|l| l.abs() <= 10.0 * EPS * n as f64));
            }
        }
    }
}

/// The other matrices on which that decomposition fails: full rank with small integers (Σ s² = 21, Π s = |det| = 10),
/// and the identity but for 1e-21.
#[test]
fn matrices_that_defeat_implicit_qr_are_no_special_case() {
    let s = jacobi_svd(3, 3, &[1.0f64, 2.0, 2.0, 2.0, -1.0, -1.0, 2.0, 1.0, -1.0]).unwrap().s;
    near(s.iter().map(|s| s * s).sum(), 21.0, 21.0 * 8.0 * EPS);
    near(s.iter().product(), 10.0, 10.0 * 8.0 * EPS);
    let tiny = [1.0, 6.23101e-24, 2.2194742e-23, 7.9115625e-24, 1.0, 6.47089e-22, 1.922059e-23, 9.848782e-22, 1.0];
    jacobi_svd(3, 3, &tiny).unwrap().s.iter().for_each(|&s| near(s, 1.0, 2.0 * EPS));
    // Scaled to the ends of the range of f64, too.
    for unit in [1e-300, 1e300] {
        let s = jacobi_svd(2, 2, &[3.0 * unit, 0.0, 4.0 * unit, 0.0]).unwrap().s;
        near(s[0] / unit, 5.0, 8.0 * EPS);
        assert_eq!(s[1], 0.0);
    }
    // Nothing at all.
    let svd = jacobi_svd(3, 2, &[0.0f64; 6]).unwrap();
    assert_eq!((svd.s, svd.u, svd.v), (vec![0.0; 2], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![1.0, 0.0, 0.0, 1.0]));
}

/// Läuchli's matrix (Numer. Math. 3, 226 (1961)): a row of ones over δ times the identity has the singular values √(n +
/// δ²) and, n − 1 times, δ. Its Gram matrix loses δ² to rounding.
#[test]
fn laeuchlis_matrix_keeps_its_small_singular_values() {
    let (n, delta) = (5, 1e-9);
    let a = matrix(n + 1, n, |i, j| if i == 0 { 1.0 } else { delta * f64::from(u8::from(i == j + 1)) });
    let s = jacobi_svd(n + 1, n, &a).unwrap().s;
    near(s[0], (n as f64).sqrt(), 8.0 * EPS);
    // Absolute accuracy ε ‖A‖.
    s[1..].iter().for_each(|&s| near(s, delta, 8.0 * EPS));
    // b = A (1, …, 1) is solved to ε times the condition number √n/δ.
    let b: Vec<f64> = a.chunks(n).map(|row| row.iter().sum()).collect();
    qr_solve(n + 1, n, &a, &b).unwrap().iter().for_each(|&x| near(x, 1.0, 10.0 * EPS * (n as f64).sqrt() / delta));
}

/// Orthogonal columns of very different lengths: the lengths are the singular values, each to its own relative accuracy
/// (J. Demmel, K. Veselić, SIAM J. Matrix Anal. Appl. 13, 1204 (1992)).
#[test]
fn badly_scaled_columns_keep_their_relative_accuracy() {
    let hadamard = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0];
    let d = [1.0, 1e-30, 1e-60, 1e-90];
    let a = matrix(4, 4, |i, j| 0.5 * hadamard[4 * i + j] * d[j]);
    let s = jacobi_svd(4, 4, &a).unwrap().s;
    s.iter().zip(&d).for_each(|(&s, &d)| near(s, d, 8.0 * EPS * d));
}

/// The discrete Fourier matrix is √n times a unitary one: all singular values are √n, the most degenerate case.
#[test]
fn the_fourier_matrix_has_equal_singular_values() {
    let n = 12;
    let f: Vec<C> = (0..n * n).map(|i| C::from_polar(1.0, -2.0 * PI * (i / n * (i % n)) as f64 / n as f64)).collect();
    let svd = jacobi_svd_complex(n, n, &f).unwrap();
    svd.s.iter().for_each(|&s| near(s, (n as f64).sqrt(), 20.0 * EPS * (n as f64).sqrt()));
}

/// Wampler1 of the NIST Statistical Reference Datasets: y = 1 + x + … + x⁵ at x = 0 … 20 is fitted by six ones (R. H.
/// Wampler, J. Am. Stat. Assoc. 65, 549 (1970)).
#[test]
fn wamplers_polynomial_is_fitted_exactly() {
    let (m, n) = (21, 6);
    let a = matrix(m, n, |i, j| (i as f64).powi(j as i32));
    let y: Vec<f64> = a.chunks(n).map(|row| row.iter().sum()).collect();
    // Scaled to a common length the columns have a condition number of 1e4, and the coefficients are 20ʲ.
    for (x, j) in qr_solve(m, n, &a, &y).unwrap().iter().zip(0..) {
        near(*x, 1.0, 1e4 * EPS * 20f64.powi(5 - j));
    }
}

/// Fits whose constrained solutions are known: clipping, means, and isotonic regression, whose solution by pooling
/// adjacent violators (R. E. Barlow et al., *Statistical Inference under Order Restrictions* (1972)) is the mean of
/// each pool.
#[test]
fn known_non_negative_problems_are_solved() {
    let solve = |m: usize, n: usize, a: &[f64], b: &[f64]| {
        let found = nnls(m, n, a, b, &NnlsParams::default(), &mut silent).unwrap();
        assert_eq!(found.stop, Stop::Converged);
        (found.x, found.residual)
    };
    let (x, residual) = solve(3, 2, &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[2.0, 1.0, 1.0]);
    near(x[0], 1.5, 4.0 * EPS);
    near(x[1], 1.0, 4.0 * EPS);
    near(residual, 0.5f64.sqrt(), 4.0 * EPS);
    let (x, residual) = solve(3, 2, &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[-1.0, -1.0, -1.0]);
    assert_eq!(x, [0.0, 0.0]);
    near(residual, 3f64.sqrt(), 4.0 * EPS);

    let b = normals(20, 3);
    let identity = matrix(20, 20, |i, j| f64::from(u8::from(i == j)));
    let (x, _) = solve(20, 20, &identity, &b);
    x.iter().zip(&b).for_each(|(&x, &b)| near(x, b.max(0.0), 4.0 * EPS));

    let y = [1.0, 3.0, 2.0, 6.0, 5.0, 4.0, 7.0, 7.0, 1.0, 9.0];
    let pooled = [1.0, 2.5, 2.5, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 9.0];
    let steps = matrix(10, 10, |i, j| f64::from(u8::from(j <= i)));
    let (x, _) = solve(10, 10, &steps, &y);
    let mut sum = 0.0;
    for (x, want) in x.iter().zip(pooled) {
        sum += x;
        near(sum, want, 100.0 * EPS * 9.0);
    }

    // Equal columns: the weight may lie on either, the fit is the same.
    let (x, residual) = solve(2, 3, &[1.0, 1.0, 2.0, 1.0, 1.0, 2.0], &[4.0, 4.0]);
    near(x[0] + x[1] + 2.0 * x[2], 4.0, 10.0 * EPS);
    near(residual, 0.0, 10.0 * EPS);
    // A column of zeros never enters.
    assert_eq!(solve(1, 2, &[0.0, 1.0], &[3.0]).0, [0.0, 3.0]);
}

/// As many iterations as there are distinct eigenvalues; and the error in the energy norm falls at least as
/// 2 ((√κ − 1)/(√κ + 1))ᵏ (Y. Saad, *Iterative Methods for Sparse Linear Systems*, 2nd ed. (2003), section 6.11.3).
#[test]
fn conjugate_gradients_need_as_many_iterations_as_distinct_eigenvalues() {
    let n = 60;
    let space = Space::real(&[n]);
    let three = Diagonal::real(&space, (0..n).map(|i| [1.0, 3.0, 10.0][i % 3]).collect()).unwrap();
    let found = cg(&three, &normals(n, 2), None, &CgParams { iterations: 50, tolerance: 1e-12 }, &mut silent).unwrap();
    assert_eq!((found.stop, found.iterations), (Stop::Converged, 3));

    let d: Vec<f64> = (0..n).map(|i| 1.0 + 99.0 * i as f64 / (n - 1) as f64).collect();
    let op = Diagonal::real(&space, d.clone()).unwrap();
    let b = normals(n, 3);
    let energy = |x: &[f64]| (0..n).map(|i| d[i] * (x[i] - b[i] / d[i]).powi(2)).sum::<f64>().sqrt();
    let rate = (10.0 - 1.0) / (10.0 + 1.0f64);
    for k in 1..30 {
        let found = cg(&op, &b, None, &CgParams { iterations: k, tolerance: 0.0 }, &mut silent).unwrap();
        assert_eq!((found.iterations, found.stop), (k, Stop::Iterations));
        assert!(energy(&found.x) <= 2.0 * rate.powi(k as i32) * energy(&vec![0.0; n]));
    }
}

/// The test problem P(m, n, d, p) of Paige and Saunders (1982), section 8: A = Y D Z with reflections Y and Z, singular
/// values (⌈i/d⌉ d/n)^p, and a residual orthogonal to the range.
#[test]
fn lsqr_solves_the_problem_of_its_authors() {
    let (m, n, d) = (30, 15, 3);
    for p in [1, 2] {
        let unit = |v: Vec<f64>| {
            let norm = norm(&v);
            v.into_iter().map(|v| v / norm).collect::<Vec<f64>>()
        };
        let y = unit((1..=m).map(|i| (4.0 * PI * i as f64 / m as f64).sin()).collect());
        let z = unit((1..=n).map(|i| (4.0 * PI * i as f64 / n as f64).cos()).collect());
        let reflect = |u: &[f64], i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j];
        let sigma: Vec<f64> = (1..=n).map(|i: usize| (i.div_ceil(d) as f64 * d as f64 / n as f64).powi(p)).collect();
        let a = matrix(m, n, |i, j| (0..n).map(|k| reflect(&y, i, k) * sigma[k] * reflect(&z, k, j)).sum());
        let x: Vec<f64> = (0..n).map(|i| (n - 1 - i) as f64).collect();
        let r: Vec<f64> = (0..m)
            .map(|i| {
                let c = |j: usize| (if j.is_multiple_of(2) { 1.0 } else { -1.0 }) * (j + 1) as f64 / m as f64;
                (n..m).map(|k| reflect(&y, i, k) * c(k - n)).sum()
            })
            .collect();
        let op = Dense::matrix(m, n, a);
        let mut b = r.clone();
        op.apply(&x, &mut b, Write::Add, &mut vec![0.0; op.scratch_len()]);
        let params = LsqrParams { tolerance_a: 1e-14, tolerance_b: 1e-14, ..LsqrParams::default() };
        let found = lsqr(&op, &b, None, &params, &mut silent).unwrap();
        assert_eq!(found.stop, Stop::Converged);
        // n/d = 5 distinct singular values: five iterations in exact arithmetic, a few more for the last digits.
        assert!(found.iterations <= 2 * n / d, "{}", found.iterations);
        // κ² = 25ᵖ, times the tolerance and the norms.
        x.iter().zip(&found.x).for_each(|(&x, &got)| near(got, x, 25f64.powi(p) * 1e-14 * norm(&b)));
        near(*found.residual.last().unwrap(), norm(&r), 1e-12 * norm(&b));
    }
}

/// Of the solutions of a deficient system LSQR, like the singular value decomposition, finds the shortest.
#[test]
fn deficient_systems_have_their_shortest_solution() {
    let (m, n) = (7, 11);
    let ones = vec![1.0; m * n];
    let b: Vec<f64> = (0..m).map(|i| i as f64).collect();
    let by_svd = least_squares(m, n, &ones, &b, &LeastSquaresParams::default()).unwrap();
    assert_eq!(by_svd.rank, 1);
    let by_lsqr = lsqr(&Dense::matrix(m, n, ones), &b, None, &LsqrParams::default(), &mut silent).unwrap();
    assert_eq!((by_lsqr.stop, by_lsqr.iterations), (Stop::Converged, 1));
    // The mean of b is 3, spread over n equal parts; what remains is ‖b − 3‖ = √28.
    by_svd.x.iter().chain(&by_lsqr.x).for_each(|&x| near(x, 3.0 / n as f64, 20.0 * EPS));
    near(by_svd.residual[0], 28f64.sqrt(), 100.0 * EPS);
    near(by_lsqr.residual[1], 28f64.sqrt(), 100.0 * EPS);

    // An ill-posed system stops by its condition number, when asked.
    let h = Dense::matrix(10, 10, hilbert(10));
    let params = LsqrParams { condition_limit: 1e4, tolerance_a: 0.0, tolerance_b: 0.0, ..LsqrParams::default() };
    assert_eq!(lsqr(&h, &normals(10, 1), None, &params, &mut silent).unwrap().stop, Stop::Stalled);
}

/// Eigenvalues that differ by many orders, and large deficient matrices.
#[test]
fn graded_and_deficient_symmetric_matrices_have_small_residuals() {
    for n in [20, 120] {
        let g = normals(n * 4, n as u64);
        let low = matrix(n, n, |i, j| (0..4).map(|k| g[4 * i + k] * g[4 * j + k]).sum());
        let graded = matrix(n, n, |i, j| 10f64.powf(-0.5 * (i + j) as f64) / (1 + i + j) as f64);
        let almost_diagonal = matrix(n, n, |i, j| if i == j { (i % 3) as f64 } else { 1e-17 });
        for a in [low, graded, almost_diagonal, vec![0.0; n * n]] {
            let e = symmetric_eigen(n, &a).unwrap();
            let scale = norm(&a);
            assert!(worst_residual(n, &a, &e) <= 4.0 * n as f64 * EPS * scale);
            assert!(e.values[4 + n / 3 * 2..].iter().all(|l| l.abs() <= 4.0 * n as f64 * EPS * scale));
        }
    }
}
