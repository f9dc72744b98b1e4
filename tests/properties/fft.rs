//! `fft`: unitarity, shift theorem, round trips, dot tests.

use exitwave::fft::{Dft, Fft2, FourierCrop, FourierShift, UpsampledDft, fourier_resample};
use exitwave::op::{LinearOp, Write, dot_test};
use exitwave::rng;
use exitwave::shape::Field;
use num_complex::Complex;
use proptest::prelude::*;

/// Dot tests and identities of `f64`: 1e-12, as the design asks.
const TIGHT: f64 = 1e-12;

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

fn apply(op: &dyn LinearOp<f64>, x: &[f64]) -> Vec<f64> {
    let mut y = vec![f64::NAN; op.range().words()];
    op.apply(x, &mut y, Write::Set, &mut vec![f64::NAN; op.scratch_len()]);
    y
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt() / norm(b).max(f64::MIN_POSITIVE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dft_passes_the_dot_test_and_keeps_the_norm(b in 1usize..3, z in 1usize..6, y in 1usize..14, x in 1usize..14, axes in 1usize..4, seed: u64) {
        let op = Dft::<f64>::new(&[b, z, y, x], axes).unwrap();
        prop_assert!(dot_test(&op, seed).error < TIGHT);
        let v = normals(op.domain().words(), seed);
        prop_assert!((norm(&apply(&op, &v)) / norm(&v) - 1.0).abs() < TIGHT);
    }

    #[test]
    fn crop_passes_the_dot_test(ny in 1usize..12, nx in 1usize..12, my in 1usize..12, mx in 1usize..12, seed: u64) {
        prop_assert!(dot_test::<f64>(&FourierCrop::new([ny, nx], [my, mx]).unwrap(), seed).error < TIGHT);
    }

    #[test]
    fn resampling_up_and_down_again_is_the_identity(ny in 1usize..12, nx in 1usize..12, ay in 0usize..9, ax in 0usize..9, seed: u64) {
        let x = normals(ny * nx, seed);
        let up = fourier_resample(&x, [ny, nx], [ny + ay, nx + ax]).unwrap();
        let down = fourier_resample(&up, [ny + ay, nx + ax], [ny, nx]).unwrap();
        prop_assert!(distance(&down, &x) < TIGHT);
    }

    #[test]
    fn interpolation_passes_through_the_samples(n in 1usize..12, m in 1usize..12, factor in 1usize..5, seed: u64) {
        let x = normals(n * m, seed);
        let up = fourier_resample(&x, [n, m], [n * factor, m * factor]).unwrap();
        let back: Vec<f64> = (0..n * m).map(|i| up[(i / m * factor) * m * factor + i % m * factor]).collect();
        prop_assert!(distance(&back, &x) < TIGHT);
    }

    #[test]
    fn shift_passes_the_dot_test(ny in 1usize..14, nx in 1usize..14, sy in -9.0..9.0f64, sx in -9.0..9.0f64, complex: bool, seed: u64) {
        let field = if complex { Field::Complex } else { Field::Real };
        prop_assert!(dot_test(&FourierShift::<f64>::new([ny, nx], [sy, sx], field).unwrap(), seed).error < TIGHT);
    }

    #[test]
    fn a_whole_pixel_shift_moves_the_pixels(ny in 1usize..14, nx in 1usize..14, sy in -20isize..20, sx in -20isize..20, seed: u64) {
        let op = FourierShift::<f64>::new([ny, nx], [sy as f64, sx as f64], Field::Real).unwrap();
        let x = normals(ny * nx, seed);
        let rolled: Vec<f64> = (0..ny * nx)
            .map(|i| {
                let y0 = (i as isize / nx as isize - sy).rem_euclid(ny as isize) as usize;
                x[y0 * nx + (i as isize % nx as isize - sx).rem_euclid(nx as isize) as usize]
            })
            .collect();
        prop_assert!(distance(&apply(&op, &x), &rolled) < TIGHT);
    }

    #[test]
    fn two_complex_shifts_are_their_sum(ny in 1usize..14, nx in 1usize..14, a in -3.0..3.0f64, b in -3.0..3.0f64, seed: u64) {
        let op = |s| FourierShift::<f64>::new([ny, nx], [s, -0.5 * s], Field::Complex).unwrap();
        let x = normals(2 * ny * nx, seed);
        prop_assert!(distance(&apply(&op(b), &apply(&op(a), &x)), &apply(&op(a + b), &x)) < TIGHT);
    }

    #[test]
    fn upsampled_patch_passes_the_dot_test(ny in 1usize..12, nx in 1usize..12, my in 1usize..6, mx in 1usize..6, step in 0.01..2.0f64, seed: u64) {
        let op = UpsampledDft::<f64>::new([ny, nx], [my, mx], [-1.3, 0.7], step).unwrap();
        prop_assert!(dot_test(&op, seed).error < TIGHT);
    }

    #[test]
    fn a_patch_of_step_one_is_the_inverse_transform(ny in 1usize..12, nx in 1usize..12, seed: u64) {
        let x = normals(2 * ny * nx, seed);
        let patch = apply(&UpsampledDft::<f64>::new([ny, nx], [ny, nx], [0.0, 0.0], 1.0).unwrap(), &x);
        let plan = Fft2::<f64>::new([ny, nx]).unwrap();
        let mut image: Vec<Complex<f64>> = bytemuck::cast_slice(&x).to_vec();
        plan.inverse(&mut image, &mut vec![Complex::default(); plan.scratch_len()]);
        prop_assert!(distance(&patch, bytemuck::cast_slice(&image)) < TIGHT);
    }

    #[test]
    fn parseval_holds_in_f32_too(ny in 1usize..70, nx in 1usize..70, seed: u64) {
        let plan = Fft2::<f32>::new([ny, nx]).unwrap();
        let mut x: Vec<Complex<f32>> = normals(2 * ny * nx, seed).chunks(2).map(|v| Complex::new(v[0] as f32, v[1] as f32)).collect();
        let energy = |x: &[Complex<f32>]| x.iter().map(|z| f64::from(z.norm_sqr())).sum::<f64>();
        let before = energy(&x);
        plan.forward(&mut x, &mut vec![Complex::default(); plan.scratch_len()]);
        // Relative error of a transform: a few ε √log N; ε = 6e-8.
        prop_assert!((energy(&x) / (ny * nx) as f64 / before - 1.0).abs() < 2e-6);
    }
}
