//! `detect`: linearity in dose, Poisson statistics, transfer of signal and noise.

use exitwave::detect::{Camera, CameraParams, Edge, Fractionation, Transfer, collect, count, fractionate, ring};
use exitwave::fft::Fft2;
use exitwave::par::Par;
use exitwave::tensor::Tensor;
use exitwave::units::Angle;
use num_complex::Complex;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn counts_are_linear_in_the_dose_and_have_poisson_statistics(electrons in 0.5..40.0f64, seed in 0u64..1000) {
        // χ² of counts around their means: variance over mean is 1.
        let n = 20_000;
        let mut image = Tensor::from_fn(&[4, n / 4], |i| 0.5 + (i[1] % 5) as f64 * 0.25);
        let expected = image.clone();
        count(&mut image, electrons, seed, &Par::seq()).unwrap();
        let pairs = image.as_slice().iter().zip(expected.as_slice());
        let chi2: f64 = pairs.clone().map(|(c, e)| (c - electrons * e).powi(2) / (electrons * e)).sum();
        // Its variance is 2 + 1/mean a count; five standard errors.
        let width = ((2.0 + 1.0 / (0.5 * electrons)) * n as f64).sqrt();
        prop_assert!((chi2 - n as f64).abs() < 5.0 * width, "{} of {}", chi2, n);
        let (sum, mean) = (image.as_slice().iter().sum::<f64>(), electrons * expected.as_slice().iter().sum::<f64>());
        prop_assert!((sum - mean).abs() < 5.0 * mean.sqrt());
        // The same counts for any number of threads.
        let mut again = expected.clone();
        count(&mut again, electrons, seed, &Par::threads(3).unwrap()).unwrap();
        prop_assert_eq!(again, image);
    }

    #[test]
    fn segments_add_up_to_their_ring_and_rings_to_their_disk(
        dims in [16usize..40, 16usize..40], inner in 5.0..20.0f64, width in 5.0..40.0f64, n in 1usize..9, turn in -3.0..3.0f64,
    ) {
        let centre = [dims[0] as f64 / 2.0, dims[1] as f64 / 2.0];
        for edge in [Edge::Hard, Edge::Soft] {
            let of = |r: [f64; 2], n: usize| ring(dims, centre, [3e-3, 2e-3], r.map(Angle::mrad), n, Angle::rad(turn), edge).unwrap();
            let pixels = dims[0] * dims[1];
            let (whole, parts) = (of([inner, inner + width], 1), of([inner, inner + width], n));
            for i in 0..pixels {
                let sum: f32 = (0..n).map(|s| parts.as_slice()[s * pixels + i]).sum();
                prop_assert!((sum - whole.as_slice()[i]).abs() < 1e-5);
            }
            if edge == Edge::Soft {
                let (disk, hole) = (of([0.0, inner + width], 1), of([0.0, inner], 1));
                for i in 0..pixels {
                    prop_assert!((whole.as_slice()[i] + hole.as_slice()[i] - disk.as_slice()[i]).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn frames_add_up_to_the_exposure(y in -3.0..3.0f64, x in -3.0..3.0f64, first in 0.1..0.9f64) {
        let image = Tensor::from_fn(&[12, 16], |i| 5.0 + (i[0] as f64 * 0.5).sin() + (i[1] as f64 * 0.4).cos());
        let still = Fractionation { drift: vec![[0.0; 2]; 5], dose: vec![] };
        let frames = fractionate(&image, &still).unwrap();
        for i in 0..192 {
            let sum: f64 = (0..5).map(|f| frames.as_slice()[f * 192 + i]).sum();
            prop_assert!((sum - image.as_slice()[i]).abs() < 1e-12);
        }
        let moving = Fractionation { drift: vec![[0.0; 2], [y, x]], dose: vec![first, 1.0 - first] };
        let frames = fractionate(&image, &moving).unwrap();
        let sum = |f: usize| frames.as_slice()[f * 192..(f + 1) * 192].iter().sum::<f64>();
        let total: f64 = image.as_slice().iter().sum();
        prop_assert!((sum(0) - first * total).abs() < 1e-9 && (sum(1) - (1.0 - first) * total).abs() < 1e-9);
    }
}

/// Mean of |F|² of flat images over frequencies, by ring of ν.
#[test]
fn noise_power_and_contrast_are_those_of_the_model() {
    let dims = [64, 64];
    let mtf = Transfer::Lorentzian { c0: 1.0, c1: 0.1, c2: 0.12, c3: 2.4 };
    let nps = Transfer::Measured(vec![(0.0, 1.0), (0.5, 0.7), (1.0, 0.4), (1.5, 0.3)]);
    let params = CameraParams {
        mtf: mtf.clone(),
        nps: nps.clone(),
        dqe0: 0.7,
        gain: 3.0,
        par: Par::seq(),
        ..Default::default()
    };
    let camera = Camera::<f64>::new(dims, &params).unwrap();
    let (n, mean) = (60, 50.0);
    let flat = camera.record(&Tensor::full(&[n, 64, 64], mean), 5).unwrap();
    let fft = Fft2::<f64>::new(dims).unwrap();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    let at = [[0usize, 6], [10, 10], [20, 3], [0, 32], [25, 25]];
    let mut power = [0.0; 5];
    for i in 0..n {
        let mut f: Vec<Complex<f64>> = flat.row(i).iter().map(|&v| Complex::new(v, 0.0)).collect();
        fft.forward(&mut f, &mut scratch);
        // A few frequencies around each lower the scatter.
        for (p, at) in power.iter_mut().zip(at) {
            for (dy, dx) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                *p += f[(at[0] + dy) * 64 + (at[1] + dx) % 64].norm_sqr() / (4 * n) as f64;
            }
        }
    }
    for (p, at) in power.iter().zip(at) {
        let nu = [(at[0] as f64 + 0.5) / 32.0, (at[1] as f64 + 0.5) / 32.0];
        let want = 0.7 * 9.0 * mean * 4096.0 * nps.at(nu);
        // 240 exponential numbers: 1/√240 = 6.5 % each; four standard errors, and the mean of four frequencies.
        assert!((p / want - 1.0).abs() < 0.3, "{nu:?}: {p} {want}");
        let dqe = camera.dqe(nu);
        assert!((dqe - 0.7 * mtf.at(nu).powi(2) / nps.at(nu)).abs() < 1e-12);
    }

    // The contrast of a wave: many electrons.
    let k = 9.0;
    let wave =
        Tensor::from_fn(&[1, 64, 64], |i| 1e6 * (1.0 + 0.5 * (std::f64::consts::TAU * k * i[2] as f64 / 64.0).cos()));
    let seen = camera.record(&wave, 2).unwrap();
    let mut f: Vec<Complex<f64>> = seen.as_slice().iter().map(|&v| Complex::new(v, 0.0)).collect();
    fft.forward(&mut f, &mut scratch);
    let contrast = 2.0 * f[9].norm() / f[0].re;
    let want = 0.5 * mtf.at([0.0, k / 32.0]) / mtf.at([0.0; 2]);
    assert!((contrast / want - 1.0).abs() < 0.01, "{contrast} {want}");
}

#[test]
fn readout_noise_adds_its_variance_and_bad_input_is_an_error() {
    let params = CameraParams { readout_noise: 4.0, par: Par::seq(), ..Default::default() };
    let camera = Camera::<f64>::new([50, 50], &params).unwrap();
    let seen = camera.record(&Tensor::full(&[4, 50, 50], 9.0), 1).unwrap();
    let mean = seen.as_slice().iter().sum::<f64>() / 1e4;
    let variance = seen.as_slice().iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e4;
    // 9 of the counts and 16 of the noise; five standard errors of a variance.
    assert!((variance / 25.0 - 1.0).abs() < 5.0 * (2.0f64 / 1e4).sqrt(), "{variance}");
    assert!(camera.record(&Tensor::full(&[1, 50, 50], -1.0), 1).is_err());
    assert!(camera.record(&Tensor::full(&[1, 40, 50], 1.0), 1).is_err());
    let bad = |p: CameraParams| Camera::<f32>::new([8, 8], &p).is_err();
    assert!(bad(CameraParams { dqe0: 1.5, ..Default::default() }));
    assert!(bad(CameraParams { gain: 0.0, ..Default::default() }));
    assert!(bad(CameraParams { nps: Transfer::Measured(vec![(0.0, 1.0), (0.5, 0.0)]), ..Default::default() }));
    assert!(bad(CameraParams { mtf: Transfer::Measured(vec![(0.5, 1.0), (0.2, 0.0)]), ..Default::default() }));
    assert!(bad(CameraParams {
        mtf: Transfer::Lorentzian { c0: 1.0, c1: f64::NAN, c2: 0.1, c3: 1.0 },
        ..Default::default()
    }));
    let mut image = Tensor::full(&[2, 2], f64::NAN);
    assert!(count(&mut image, 1.0, 0, &Par::seq()).is_err());
    assert!(count(&mut Tensor::full(&[2, 2], 1.0f64), -1.0, 0, &Par::seq()).is_err());
    assert!(fractionate(&image, &Fractionation::default()).is_err());
    assert!(
        ring([8, 8], [4.0; 2], [1e-3; 2], [Angle::mrad(5.0), Angle::mrad(2.0)], 1, Angle::ZERO, Edge::Hard).is_err()
    );
    let weights =
        ring([8, 8], [4.0; 2], [1e-3; 2], [Angle::ZERO, Angle::mrad(2.0)], 1, Angle::ZERO, Edge::Hard).unwrap();
    assert!(collect(&Tensor::full(&[1, 8, 9], 1.0f64), &weights, &Par::seq()).is_err());
    // The whole disk catches the direct beam.
    let mut beam = Tensor::<f64>::zeros(&[1, 8, 8]);
    beam[[0, 0, 0]] = 1.0;
    assert_eq!(collect(&beam, &weights, &Par::seq()).unwrap()[[0, 0]], 1.0);
}
