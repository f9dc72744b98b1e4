//! `metrics`: what correlations, similarities and comparisons must not depend on, and what they must find.

use exitwave::fft::FourierShift;
use exitwave::metrics::{
    Covariance, CrossSpectrum, FrcParams, FscParams, Gauge, GaugeParams, NrmseBy, Plane, Register, RegisterParams,
    RingCorrelation, ShellCorrelation, Split, SsimParams, SsimWindow, Threshold, Window, compare_objects,
    compare_phases, complex_correlation, ms_ssim, mse, normalised_correlation, nrmse, pearson, psnr, ssim,
};
use exitwave::op::{LinearOp, Write};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Field;
use exitwave::units::Length;
use num_complex::Complex;
use proptest::prelude::*;

type C = Complex<f64>;

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

fn complex_normals(n: usize, seed: u64) -> Vec<C> {
    normals(2 * n, seed).chunks(2).map(|v| C::new(v[0], v[1])).collect()
}

fn frc(dims: [usize; 2], pixel: [f64; 2], window: Window) -> RingCorrelation {
    let params = FrcParams { pixel: pixel.map(Length::angstrom), window, ..FrcParams::default() };
    RingCorrelation::new(dims, params).unwrap()
}

fn fsc(dims: [usize; 3], window: Window) -> ShellCorrelation {
    let voxel = [Length::angstrom(2.0), Length::angstrom(1.0), Length::angstrom(1.3)];
    ShellCorrelation::new(dims, FscParams { voxel, window, par: Par::seq(), ..FscParams::default() }).unwrap()
}

fn moved(x: &[f64], dims: [usize; 2], s: [f64; 2]) -> Vec<f64> {
    let op = FourierShift::<f64>::new(dims, s, Field::Real).unwrap();
    let mut y = vec![0.0; x.len()];
    op.apply(x, &mut y, Write::Set, &mut vec![0.0; op.scratch_len()]);
    y
}

fn moved_complex(x: &[C], dims: [usize; 2], s: [f64; 2]) -> Vec<C> {
    let op = FourierShift::<f64>::new(dims, s, Field::Complex).unwrap();
    let mut y = x.to_vec();
    op.apply(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(&mut y), Write::Set, &mut vec![0.0; op.scratch_len()]);
    y
}

/// A periodic image of waves up to the seventh harmonic, of random phases and amplitudes 1/(2 + k²): band-limited, so
/// that sub-pixel shifts are exact, and without a direction in which its correlation would be flat.
fn smooth(dims: [usize; 2], seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 1);
    let mut x = vec![0.0; dims[0] * dims[1]];
    let turn = std::f64::consts::TAU;
    for ky in 0..8i32 {
        for kx in -7..8i32 {
            let phase = turn * rng::uniform(&mut r);
            // Each pair ±k once, and not the constant.
            if ky == 0 && kx <= 0 {
                continue;
            }
            let amplitude = 1.0 / f64::from(2 + ky * ky + kx * kx);
            for (i, v) in x.iter_mut().enumerate() {
                let (y, x) = ((i / dims[1]) as f64 / dims[0] as f64, (i % dims[1]) as f64 / dims[1] as f64);
                *v += amplitude * (turn * (f64::from(ky) * y + f64::from(kx) * x) + phase).cos();
            }
        }
    }
    x
}

fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn identical_images_correlate_by_one_in_every_ring(ny in 4usize..30, nx in 4usize..30, dy in 0.2..3.0f64, tapered: bool, seed: u64) {
        let window = if tapered { Window::CosineEdge(0.3) } else { Window::None };
        let plan = frc([ny, nx], [dy, 1.0], window);
        let (x, z) = (normals(ny * nx, seed), complex_normals(ny * nx, seed));
        for curve in [plan.real(&x, &x).unwrap(), plan.complex(&z, &z).unwrap()] {
            // The ring of the zero frequency may be one point of any size; all others hold noise.
            prop_assert!(curve.correlation.iter().all(|f| (f - 1.0).abs() < 1e-12), "{:?}", curve.correlation);
            prop_assert!(curve.samples.iter().all(|&n| n > 0));
            prop_assert!(curve.frequency.iter().all(|&k| k <= curve.nyquist * (1.0 + 1e-9)));
        }
    }

    #[test]
    fn ring_correlation_sees_neither_scale_nor_phase(ny in 4usize..24, nx in 4usize..24, scale in 1e-6..1e6f64, phase in -4.0..4.0f64, tapered: bool, seed: u64) {
        let window = if tapered { Window::Hann } else { Window::None };
        let plan = frc([ny, nx], [1.0, 0.7], window);
        let (a, b) = (complex_normals(ny * nx, seed), complex_normals(ny * nx, seed ^ 1));
        let factor = C::from_polar(scale, phase);
        let want = plan.complex(&a, &b).unwrap().correlation;
        let got = plan.complex(&a, &b.iter().map(|z| z * factor).collect::<Vec<_>>()).unwrap().correlation;
        prop_assert!(want.iter().zip(&got).all(|(w, g)| (w - g).abs() < 1e-11));
        let swapped = plan.complex(&b, &a).unwrap().correlation;
        prop_assert!(want.iter().zip(&swapped).all(|(w, g)| (w - g).abs() < 1e-12));
        // Real images keep the sign of the contrast.
        let (a, b) = (normals(ny * nx, seed), normals(ny * nx, seed ^ 1));
        let want = plan.real(&a, &b).unwrap().correlation;
        let got = plan.real(&a, &b.iter().map(|v| -scale * v).collect::<Vec<_>>()).unwrap().correlation;
        prop_assert!(want.iter().zip(&got).all(|(w, g)| (w + g).abs() < 1e-11));
    }

    #[test]
    fn real_and_complex_plans_agree_on_real_images(ny in 4usize..24, nx in 4usize..24, seed: u64) {
        let plan = frc([ny, nx], [1.0, 1.0], Window::None);
        let (a, b) = (normals(ny * nx, seed), normals(ny * nx, seed ^ 1));
        let widen = |x: &[f64]| x.iter().map(|&x| C::new(x, 0.0)).collect::<Vec<_>>();
        let real = plan.real(&a, &b).unwrap().correlation;
        let complex = plan.complex(&widen(&a), &widen(&b)).unwrap().correlation;
        // Friedel: the imaginary part of every ring's sum vanishes.
        prop_assert!(real.iter().zip(&complex).all(|(r, c)| (r.abs() - c).abs() < 1e-12));
    }

    #[test]
    fn independent_noise_correlates_by_one_over_root_n(ny in 24usize..48, nx in 24usize..48, tapered: bool, seed: u64) {
        // In a ring of n samples n F² has mean 1 and a variance of at most 2 (the squared cosine between random vectors
        // of n dimensions), so the sum over R rings is R ± √(2R). Ten standard deviations are allowed; the χ² tail
        // beyond holds less than 1e-6. Under a window neighbours correlate within a ring and between rings: the
        // variance grows by at most the factor that the independent samples lose, 3.8.
        let window = if tapered { Window::Hann } else { Window::None };
        let plan = frc([ny, nx], [1.0, 1.0], window);
        let n = ny * nx;
        let real = plan.real(&normals(n, seed), &normals(n, seed ^ 1)).unwrap();
        let complex = plan.complex(&complex_normals(n, seed), &complex_normals(n, seed ^ 1)).unwrap();
        for curve in [real, complex] {
            let rings = curve.samples.len() - 1;
            let sum: f64 = (1..=rings).map(|i| curve.independent[i] * curve.correlation[i].powi(2)).sum();
            let bound = 10.0 * (2.0 * rings as f64 * if tapered { 3.8 } else { 1.0 }).sqrt();
            prop_assert!((sum - rings as f64).abs() < bound, "{sum} for {rings} rings");
        }
    }

    #[test]
    fn nothing_is_claimed_beyond_two_thirds_of_nyquist(ny in 12usize..40, nx in 12usize..40, dy in 0.3..2.0f64, noise in 0.0..3.0f64, seed: u64) {
        let plan = frc([ny, nx], [dy, 1.0], Window::None);
        let x = normals(ny * nx, seed);
        let add = |s: u64| x.iter().zip(normals(ny * nx, s)).map(|(x, n)| x + noise * n).collect::<Vec<f64>>();
        let curve = plan.real(&add(seed ^ 1), &add(seed ^ 2)).unwrap();
        let finest = 1.5 * 2.0 * dy.max(1.0);
        for t in [Threshold::OneSeventh, Threshold::HalfBit(Split::Halves), Threshold::OneBit(Split::Full), Threshold::ThreeSigma, Threshold::Half] {
            if let Some(d) = curve.resolution(t).length() {
                prop_assert!(d.to_angstrom() >= finest * (1.0 - 1e-12), "{d} for pixels of {dy}");
            }
        }
    }

    #[test]
    fn shell_correlation_is_one_for_identical_volumes_and_sees_no_scale(nz in 2usize..9, ny in 2usize..12, nx in 2usize..12, tapered: bool, seed: u64) {
        let window = if tapered { Window::CosineEdge(0.2) } else { Window::None };
        let plan = fsc([nz, ny, nx], window);
        let n = nz * ny * nx;
        let x = complex_normals(n, seed);
        let y: Vec<C> = x.iter().map(|z| z * C::new(-3.0, 40.0)).collect();
        let curve = plan.complex(&x, &y).unwrap();
        prop_assert!(curve.correlation.iter().all(|f| (f - 1.0).abs() < 1e-12));
        let (a, b) = (normals(n, seed), normals(n, seed ^ 1));
        let negative: Vec<f64> = b.iter().map(|v| -0.5 * v).collect();
        let (plus, minus) = (plan.real(&a, &b).unwrap(), plan.real(&a, &negative).unwrap());
        prop_assert!(plus.correlation.iter().zip(&minus.correlation).all(|(p, m)| (p + m).abs() < 1e-12));
    }

    #[test]
    fn similarity_is_bounded_and_symmetric(ny in 11usize..24, nx in 11usize..24, uniform: bool, seed: u64) {
        let params = SsimParams {
            window: if uniform { SsimWindow::Uniform(7) } else { SsimWindow::Gaussian(1.5) },
            covariance: if uniform { Covariance::Sample } else { Covariance::Population },
            data_range: 2.0,
            ..SsimParams::default()
        };
        let (a, b) = (normals(ny * nx, seed), normals(ny * nx, seed ^ 1));
        let got = ssim(&a, &b, [ny, nx], &params).unwrap();
        prop_assert!(got.map.as_slice().iter().all(|v| v.abs() <= 1.0 + 1e-12));
        prop_assert_eq!(got.mean, ssim(&b, &a, [ny, nx], &params).unwrap().mean);
        prop_assert!((ssim(&a, &a, [ny, nx], &params).unwrap().mean - 1.0).abs() < 1e-13);
        // Structure does not depend on a common scale of data and range.
        let scale = |x: &[f64]| x.iter().map(|v| 1e4 * v).collect::<Vec<_>>();
        let scaled = ssim(&scale(&a), &scale(&b), [ny, nx], &SsimParams { data_range: 2e4, ..params }).unwrap();
        prop_assert!((scaled.mean - got.mean).abs() < 1e-12);
    }

    #[test]
    fn errors_are_symmetric_and_agree_with_each_other(n in 2usize..200, range in 0.1..100.0f64, seed: u64) {
        let (a, b) = (normals(n, seed), normals(n, seed ^ 1));
        let e = mse(&a, &b).unwrap();
        prop_assert_eq!(e, mse(&b, &a).unwrap());
        let p = psnr(&a, &b, range).unwrap();
        prop_assert!((p - (20.0 * range.log10() - 10.0 * e.log10())).abs() < 1e-10);
        prop_assert_eq!(p, psnr(&b, &a, range).unwrap());
        prop_assert!((nrmse(&a, &b, NrmseBy::Euclidean).unwrap() * rms(&a) - e.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn correlation_sees_neither_scale_nor_offset(n in 3usize..200, scale in 0.01..100.0f64, offset in -50.0..50.0f64, seed: u64) {
        let (a, b) = (normals(n, seed), normals(n, seed ^ 1));
        let r = normalised_correlation(&a, &b).unwrap();
        prop_assert!(r.abs() <= 1.0);
        let c: Vec<f64> = b.iter().map(|v| offset - scale * v).collect();
        prop_assert!((normalised_correlation(&c, &a).unwrap() + r).abs() < 1e-9);
        // Weights count like repeated pixels.
        let twice: Vec<f64> = (0..n).map(|i| if i == 0 { 2.0 } else { 1.0 }).collect();
        let (mut a2, mut b2) = (a.clone(), b.clone());
        a2.push(a[0]);
        b2.push(b[0]);
        prop_assert!((pearson(&a, &b, Some(&twice)).unwrap() - normalised_correlation(&a2, &b2).unwrap()).abs() < 1e-12);
        let z = complex_normals(n, seed);
        let y: Vec<C> = z.iter().map(|z| z * C::new(0.3, -scale) + C::new(offset, 1.0)).collect();
        prop_assert!((complex_correlation(&z, &y, None).unwrap() - 1.0).abs() < 1e-9);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn registration_recovers_a_planted_shift(ny in 20usize..40, nx in 20usize..40, sy in -600i32..600, sx in -600i32..600, phase_only: bool, seed: u64) {
        // Shifts on the grid of 0.01 pixels are found exactly.
        let (dims, s) = ([ny, nx], [f64::from(sy) * 0.01, f64::from(sx) * 0.01]);
        let spectrum = if phase_only { CrossSpectrum::Phase } else { CrossSpectrum::Plain };
        let plan = Register::new(dims, RegisterParams { upsample: 100, spectrum, max_shift: None }).unwrap();
        // White images for phase correlation, which needs every frequency; complex ones, because a real shift does not
        // keep the Nyquist frequency.
        let found = if phase_only {
            let x = complex_normals(ny * nx, seed);
            plan.complex(&x, &moved_complex(&x, dims, s)).unwrap()
        } else {
            let x = smooth(dims, seed);
            plan.real(&x, &moved(&x, dims, s)).unwrap()
        };
        prop_assert!((found.shift[0] + s[0]).abs() < 1e-9 && (found.shift[1] + s[1]).abs() < 1e-9, "{:?} for {s:?}", found.shift);
        prop_assert!(found.error < 1e-6);
    }

    #[test]
    fn complex_registration_sees_the_phase_between_the_images(ny in 16usize..32, nx in 16usize..32, sy in -20i32..20, sx in -20i32..20, phase in -3.0..3.0f64, seed: u64) {
        let (dims, s) = ([ny, nx], [f64::from(sy) * 0.1, f64::from(sx) * 0.1]);
        let x = complex_normals(ny * nx, seed);
        let y: Vec<C> = moved_complex(&x, dims, s).iter().map(|z| z * C::from_polar(2.0, -phase)).collect();
        let found = Register::new(dims, RegisterParams { upsample: 10, ..RegisterParams::default() }).unwrap().complex(&x, &y).unwrap();
        prop_assert!((found.shift[0] + s[0]).abs() < 1e-9 && (found.shift[1] + s[1]).abs() < 1e-9);
        // The error is a square root of rounding, √(1 − ρ²) with ρ off by some ε.
        prop_assert!((found.phase - phase).abs() < 1e-9 && found.error < 1e-6);
    }

    #[test]
    fn a_planted_plane_and_shift_are_removed_from_a_phase(ny in 24usize..40, nx in 24usize..40, sy in -3.0..3.0f64, sx in -3.0..3.0f64, offset in -9.0..9.0f64, gy in -0.2..0.2f64, gx in -0.2..0.2f64, seed: u64) {
        let dims = [ny, nx];
        let truth = smooth(dims, seed);
        // phase(r) = p(r) + truth(r + s).
        let plane = Plane { offset, slope: [gy, gx] };
        let mut phase = moved(&truth, dims, [-sy, -sx]);
        phase.iter_mut().enumerate().for_each(|(i, v)| *v += plane.at(i / nx, i % nx, dims));
        let params = GaugeParams { gauge: Gauge::RampAndShift, ..GaugeParams::default() };
        let c = compare_phases(&truth, &phase, dims, None, &params).unwrap();
        prop_assert!((c.shift[0] - sy).abs() < 1e-6 && (c.shift[1] - sx).abs() < 1e-6, "{:?} for {sy}, {sx}", c.shift);
        prop_assert!((c.plane.slope[0] - gy).abs() < 1e-6 && (c.plane.slope[1] - gx).abs() < 1e-6 && (c.plane.offset - offset).abs() < 1e-6);
        prop_assert!(c.correlation > 1.0 - 1e-9 && c.rms.to_rad() < 1e-6, "{} {}", c.correlation, c.rms);
        prop_assert!(c.aligned.iter().zip(&truth).all(|(a, t)| (a - t).abs() < 1e-5));
        let ramp = compare_phases(&truth, &phase, dims, None, &GaugeParams::default()).unwrap();
        prop_assert!(ramp.correlation <= c.correlation && ramp.shift == [0.0; 2]);
    }

    #[test]
    fn a_planted_phase_ramp_and_shift_are_removed_from_an_object(ny in 24usize..40, nx in 24usize..40, sy in -3.0..3.0f64, sx in -3.0..3.0f64, alpha in -3.0..3.0f64, ty in -2.5..2.5f64, tx in -2.5..2.5f64, scale in 0.1..10.0f64, strong: bool, seed: u64) {
        let dims = [ny, nx];
        // A weak object allows ramps of some turns together with a shift, a strong one those of a fraction.
        let phase = smooth(dims, seed);
        let amplitude = if strong { 1.0 } else { 0.2 } / rms(&phase);
        let turns = if strong { [0.1 * ty, 0.1 * tx] } else { [ty, tx] };
        let truth: Vec<C> = phase.iter().map(|p| C::from_polar(1.0, amplitude * p)).collect();
        let g = [std::f64::consts::TAU * turns[0] / ny as f64, std::f64::consts::TAU * turns[1] / nx as f64];
        let plane = Plane { offset: alpha, slope: g };
        // o(r) = γ e^{i(α + g·(r − c))} t(r + s).
        let object: Vec<C> = moved_complex(&truth, dims, [-sy, -sx])
            .iter()
            .enumerate()
            .map(|(i, z)| z * C::from_polar(scale, plane.at(i / nx, i % nx, dims)))
            .collect();
        let params = GaugeParams { gauge: Gauge::RampAndShift, ..GaugeParams::default() };
        let c = compare_objects(&truth, &object, dims, None, &params).unwrap();
        prop_assert!((c.shift[0] - sy).abs() < 1e-6 && (c.shift[1] - sx).abs() < 1e-6, "{:?} for {sy}, {sx}", c.shift);
        prop_assert!((c.ramp[0].to_rad() - g[0]).abs() < 1e-6 && (c.ramp[1].to_rad() - g[1]).abs() < 1e-6, "{:?} for {g:?}", c.ramp);
        let wrapped = C::from_polar(1.0, c.phase.to_rad() - alpha);
        prop_assert!(wrapped.arg().abs() < 1e-6 && (c.scale / scale - 1.0).abs() < 1e-6);
        prop_assert!(c.correlation > 1.0 - 1e-9 && c.nrmse < 1e-5 && c.phase_rms.to_rad() < 1e-5, "{} {} {}", c.correlation, c.nrmse, c.phase_rms);
    }

    #[test]
    fn a_phase_and_a_ramp_without_shift_are_removed_exactly(ny in 3usize..30, nx in 3usize..30, alpha in -3.0..3.0f64, ty in -9.0..9.0f64, tx in -9.0..9.0f64, seed: u64) {
        let dims = [ny, nx];
        // Ramps below half a turn a pixel, the most that pixels can show.
        let turns = [ty * ny as f64 / 20.0, tx * nx as f64 / 20.0];
        let truth: Vec<C> = normals(ny * nx, seed).iter().map(|p| C::from_polar(1.0 + 0.1 * p, *p)).collect();
        let g = [std::f64::consts::TAU * turns[0] / ny as f64, std::f64::consts::TAU * turns[1] / nx as f64];
        let plane = Plane { offset: alpha, slope: g };
        let object: Vec<C> =
            truth.iter().enumerate().map(|(i, z)| z * C::from_polar(1.0, plane.at(i / nx, i % nx, dims))).collect();
        let c = compare_objects(&truth, &object, dims, None, &GaugeParams::default()).unwrap();
        prop_assert!(c.nrmse < 1e-10 && c.phase_rms.to_rad() < 1e-10, "{c:?}");
        prop_assert!((c.ramp[0].to_rad() - g[0]).abs() < 1e-10 && (c.ramp[1].to_rad() - g[1]).abs() < 1e-10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn multi_scale_similarity_is_bounded_and_symmetric_and_falls_with_noise(ny in 176usize..200, nx in 176usize..200, seed: u64) {
        let truth = smooth([ny, nx], seed);
        let noisy = |s: f64| truth.iter().zip(normals(ny * nx, seed ^ 1)).map(|(t, n)| t + s * n).collect::<Vec<f64>>();
        let (a, b) = (noisy(0.05), noisy(0.5));
        let params = SsimParams { data_range: 4.0 * rms(&truth), ..SsimParams::default() };
        let same = ms_ssim(&truth, &truth, [ny, nx], &params).unwrap();
        let (little, much) = (ms_ssim(&truth, &a, [ny, nx], &params).unwrap(), ms_ssim(&truth, &b, [ny, nx], &params).unwrap());
        prop_assert!((same - 1.0).abs() < 1e-13 && same > little && little > much && much >= 0.0);
        prop_assert_eq!(little, ms_ssim(&a, &truth, [ny, nx], &params).unwrap());
    }
}

#[test]
fn shell_correlation_has_the_same_bits_for_any_number_of_threads() {
    let (a, b) = (normals(12 * 10 * 9, 1), normals(12 * 10 * 9, 2));
    let run = |par: Par| {
        let plan = ShellCorrelation::new([12, 10, 9], FscParams { par, ..FscParams::default() }).unwrap();
        plan.real(&a, &b).unwrap().correlation
    };
    assert_eq!(run(Par::seq()), run(Par::threads(2).unwrap()));
    assert_eq!(run(Par::seq()), run(Par::threads(5).unwrap()));
}
