//! `nn`: losses, their gradients and what they measure.

use exitwave::Error;
use exitwave::autodiff::{Function, Mode, check_function, check_function_at};
use exitwave::metrics::{SsimParams, ms_ssim, ssim};
use exitwave::nn::*;
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Space;
use proptest::prelude::*;

/// The bar of every gradient.
const BAR: f64 = 1e-6;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

/// Numbers between 0 and 1.
fn image(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::uniform(&mut r)).collect()
}

fn value(f: &dyn Function<f64>, x: &[&[f64]], dims: &[usize]) -> f64 {
    let space = Space::real(dims);
    let spaces: Vec<&Space> = x.iter().map(|_| &space).collect();
    let mut y = [f64::NAN];
    let mut tape = vec![f64::NAN; f.needs(&spaces).tape_len];
    let mut scratch = vec![f64::NAN; f.scratch_len(&spaces)];
    assert!(f.infer(&spaces).unwrap().dims().is_empty());
    f.forward(x, &mut y, &mut tape, &mut scratch, Mode::Eval);
    y[0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn point_losses_have_their_gradients(n in 1usize..4, m in 1usize..9, seed in 0u64..1000) {
        // Differences of at least 0.05 from the kinks at 0 and ±δ: a is b plus one of these.
        let b: Vec<f64> = image(n * m, seed).iter().map(|v| v + 0.5).collect();
        let steps = [-1.7, -0.8, -0.2, 0.3, 0.9, 1.6];
        let mut r = rng::stream(seed, 9);
        let signed: Vec<f64> = b.iter().map(|b| b + steps[rng::below(&mut r, 6)]).collect();
        let positive: Vec<f64> = b.iter().map(|b| b + steps[3 + rng::below(&mut r, 3)]).collect();
        for (distance, a) in [
            (Distance::L2, &signed),
            (Distance::L1, &signed),
            (Distance::Huber { delta: 0.5 }, &signed),
            (Distance::Poisson { epsilon: 1e-3 }, &positive),
            (Distance::PoissonLog, &signed),
        ] {
            for reduction in [Reduction::Mean, Reduction::Sum] {
                let f = PointLoss::new(&PointLossParams { dims: vec![n, m], distance, reduction, par: Par::seq() }).unwrap();
                let space = Space::real(&[n, m]);
                let two = [a.clone(), b.clone()];
                prop_assert!(check_function_at(&f, &[space.clone(), space.clone()], &two, seed).unwrap() < BAR, "{distance:?}");
                let three = [a.clone(), b.clone(), random(n * m, seed)];
                let spaces = [space.clone(), space.clone(), space];
                prop_assert!(check_function_at(&f, &spaces, &three, seed).unwrap() < BAR, "{distance:?}, weighted");
            }
        }
    }

    #[test]
    fn total_variation_has_its_gradient(c in 1usize..3, nz in 1usize..4, ny in 1usize..5, nx in 1usize..6) {
        // ε of the order of the squared steps, so that the stencil does not see a kink.
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let params = TvLossParams { planes: [1, c], size: [nz, ny, nx], epsilon: 0.1, reduction, par: Par::seq() };
            let x = [Space::real(&[1, c, nz, ny, nx])];
            let constant = nz * ny * nx == 1;
            if !constant {
                prop_assert!(check_function(&TvLoss::new(&params).unwrap(), &x, 3).unwrap() < BAR);
            }
            if ny * nx > 1 {
                let params = TvLossParams { planes: [c, nz], size: [ny, nx], epsilon: 0.1, reduction, par: Par::seq() };
                prop_assert!(check_function(&TvLoss::new(&params).unwrap(), &[Space::real(&[c, nz, ny, nx])], 3).unwrap() < BAR);
            }
        }
    }

    #[test]
    fn total_variation_of_a_step_is_its_height_times_its_length(ny in 1usize..9, nx in 2usize..9, height in 0.5f64..3.0) {
        let f = TvLoss::new(&TvLossParams { size: [ny, nx], epsilon: 1e-20, ..TvLossParams::default() }).unwrap();
        let x: Vec<f64> = (0..ny * nx).map(|i| if i % nx < nx / 2 { 0.0 } else { height }).collect();
        // √ε of every pixel is 10⁻¹⁰.
        prop_assert!((value(&f, &[&x], &[1, 1, ny, nx]) - height * ny as f64).abs() < 1e-8);
    }

    #[test]
    fn fourier_ring_loss_has_its_gradients(n in 1usize..3, ny in 2usize..9, nx in 2usize..9) {
        let f = FourierRingLoss::<f64>::new(n, [ny, nx], &Par::seq()).unwrap();
        let x = [Space::real(&[n, ny, nx]), Space::real(&[n, ny, nx])];
        // On the smallest grids each ring has one or two points, its correlation is ±1, and the gradient 0.
        prop_assume!(ny.min(nx) > 3);
        prop_assert!(check_function(&f, &x, 4).unwrap() < BAR);
    }

    #[test]
    fn similarity_has_its_gradients(images in 1usize..3, ny in 5usize..12, nx in 5usize..12) {
        for window in [LossWindow::Uniform(5), LossWindow::Gaussian(0.5)] {
            let params = SsimLossParams { images, size: [ny, nx], window, par: Par::seq(), ..SsimLossParams::default() };
            let x = [Space::real(&[images, ny, nx]), Space::real(&[images, ny, nx])];
            // Images between 0 and 1, and K large enough for the stencil.
            let params = SsimLossParams { k1: 0.3, k2: 0.3, ..params };
            let point = [image(images * ny * nx, 1), image(images * ny * nx, 2)];
            let error = check_function_at(&SsimLoss::new(&params).unwrap(), &x, &point, 5).unwrap();
            prop_assert!(error < BAR, "{window:?} {error}");
        }
    }

    #[test]
    fn similarity_of_several_scales_has_its_gradients(ny in 12usize..22, nx in 12usize..22, seed in 0u64..100) {
        let params = SsimLossParams {
            size: [ny, nx], window: LossWindow::Uniform(3), k1: 0.3, k2: 0.3, weights: vec![0.2, 0.3, 0.5], par: Par::seq(),
            ..SsimLossParams::default()
        };
        let x = [Space::real(&[1, ny, nx]), Space::real(&[1, ny, nx])];
        // Correlated, so that no scale's mean is negative.
        let a = image(ny * nx, seed);
        let b: Vec<f64> = a.iter().zip(image(ny * nx, seed + 1)).map(|(a, n)| 0.7 * a + 0.3 * n).collect();
        prop_assert!(check_function_at(&SsimLoss::new(&params).unwrap(), &x, &[a, b], 5).unwrap() < BAR);
    }
}

#[test]
fn similarity_losses_are_one_minus_the_metrics() {
    let (ny, nx) = (180, 190);
    let a = image(ny * nx, 3);
    let b: Vec<f64> = a.iter().zip(image(ny * nx, 4)).map(|(a, n)| 0.8 * a + 0.2 * n).collect();
    let params = SsimLossParams { size: [ny, nx], ..SsimLossParams::default() };
    let one = value(&SsimLoss::new(&params).unwrap(), &[&a, &b], &[1, ny, nx]);
    let want = 1.0 - ssim(&a, &b, [ny, nx], &SsimParams::default()).unwrap().mean;
    // The same sums in another order, around another constant.
    assert!((one - want).abs() < 1e-12, "{one} {want}");
    let params = SsimLossParams { weights: SsimLossParams::five_scales(), ..params };
    let five = value(&SsimLoss::new(&params).unwrap(), &[&a, &b], &[1, ny, nx]);
    let want = 1.0 - ms_ssim(&a, &b, [ny, nx], &SsimParams::default()).unwrap();
    assert!((five - want).abs() < 1e-12, "{five} {want}");
}

#[test]
fn losses_of_equal_images_are_zero() {
    let a = image(24 * 24, 1);
    let ssim = SsimLoss::new(&SsimLossParams { size: [24, 24], ..SsimLossParams::default() }).unwrap();
    let ring = FourierRingLoss::<f64>::new(1, [24, 24], &Par::seq()).unwrap();
    let point = PointLoss::new(&PointLossParams { dims: vec![1, 24, 24], ..PointLossParams::default() }).unwrap();
    for f in [&ssim as &dyn Function<f64>, &ring, &point] {
        assert!(value(f, &[&a, &a], &[1, 24, 24]).abs() < 1e-14, "{f:?}");
    }
}

#[test]
fn parameters_out_of_range_are_errors() {
    let huber = PointLossParams { distance: Distance::Huber { delta: f64::NAN }, ..PointLossParams::default() };
    assert!(matches!(PointLoss::new(&huber), Err(Error::Param { name: "delta", .. })));
    assert!(SsimLoss::new(&SsimLossParams { size: [10, 10], ..SsimLossParams::default() }).is_err());
    assert!(SsimLoss::new(&SsimLossParams { weights: vec![], ..SsimLossParams::default() }).is_err());
    assert!(TvLoss::new(&TvLossParams::<2> { epsilon: 0.0, ..TvLossParams::default() }).is_err());
    assert!(FourierRingLoss::<f64>::new(0, [4, 4], &Par::seq()).is_err());
}
