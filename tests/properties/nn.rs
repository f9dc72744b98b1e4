//! `nn`: every layer's gradient against finite differences, over random shapes.

use exitwave::Error;
use exitwave::autodiff::{Function, Mode, check_function, check_function_at};
use exitwave::nn::*;
use exitwave::op::Write;
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Space;
use proptest::prelude::*;

/// The bar of every gradient.
const BAR: f64 = 1e-6;

fn real(dims: &[&[usize]]) -> Vec<Space> {
    dims.iter().map(|d| Space::real(d)).collect()
}

fn gradient(f: &dyn Function<f64>, dims: &[&[usize]]) -> f64 {
    check_function(f, &real(dims), 7).unwrap()
}

/// A point whose elements differ by at least 0.02, so that no maximum or kink lies within the stencil.
fn apart(dims: &[usize], seed: u64) -> Vec<f64> {
    let n: usize = dims.iter().product();
    rng::permutation(&mut rng::stream(seed, 0), n).iter().map(|&i| (i as f64 - 0.5 * n as f64 + 0.25) * 0.02).collect()
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![Just(Padding::Zero), Just(Padding::Reflect), Just(Padding::Periodic)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn conv2d_has_its_gradients(
        (n, ci, co, groups) in (1usize..3, 1usize..4, 1usize..4, 1usize..3),
        size in [1usize..9, 1usize..9],
        (kernel, stride, dilation) in ([1usize..4, 1usize..4], [1usize..4, 1usize..4], [1usize..3, 1usize..3]),
        pad in [0usize..3, 0usize..3],
        mode in padding(),
    ) {
        let params = ConvParams {
            batch: n, channels: ci * groups, out_channels: co * groups, groups, size, kernel, stride, dilation,
            padding: pad, mode, par: Par::threads(2).unwrap(),
        };
        // Shapes that have no output are refused; the rest must be right.
        let Ok(conv) = Conv2d::new(&params) else { return Ok(()) };
        let w = conv.weight_dims().to_vec();
        prop_assert!(gradient(&conv, &[conv.in_dims(), &w, &[co * groups]]) < BAR);
    }

    #[test]
    fn conv3d_has_its_gradients(
        (ci, co) in (1usize..3, 1usize..3),
        size in [1usize..5, 1usize..5, 1usize..6],
        kernel in [1usize..4, 1usize..4, 1usize..4],
        stride in [1usize..3, 1usize..3, 1usize..4],
        pad in [0usize..2, 0usize..2, 0usize..2],
        mode in padding(),
    ) {
        let params = ConvParams {
            channels: ci, out_channels: co, size, kernel, stride, padding: pad, mode, ..ConvParams::default()
        };
        let Ok(conv) = Conv3d::new(&params) else { return Ok(()) };
        let w = conv.weight_dims().to_vec();
        prop_assert!(gradient(&conv, &[conv.in_dims(), &w, &[co]]) < BAR);
        prop_assert!(gradient(&conv, &[conv.in_dims(), &w]) < BAR);
    }

    #[test]
    fn transposed_convolution_has_its_gradients(
        (n, ci, co, groups) in (1usize..3, 1usize..3, 1usize..3, 1usize..3),
        size in [1usize..6, 1usize..6],
        (kernel, stride, dilation) in ([1usize..4, 1usize..4], [1usize..4, 1usize..4], [1usize..3, 1usize..3]),
        (pad, extra) in ([0usize..2, 0usize..2], [0usize..2, 0usize..2]),
    ) {
        let params = ConvTransposeParams {
            batch: n, channels: ci * groups, out_channels: co * groups, groups, size, kernel, stride, dilation,
            padding: pad, output_padding: extra, par: Par::seq(),
        };
        let Ok(conv) = ConvTranspose2d::new(&params) else { return Ok(()) };
        let w = conv.weight_dims().to_vec();
        let x = [n, ci * groups, size[0], size[1]];
        prop_assert!(gradient(&conv, &[&x, &w, &[co * groups]]) < BAR);
        let volume = ConvTranspose3d::new(&ConvTransposeParams {
            channels: ci, out_channels: co, size: [size[0], 1, size[1]], ..ConvTransposeParams::default()
        }).unwrap();
        prop_assert!(gradient(&volume, &[&[1, ci, size[0], 1, size[1]], &[ci, co, 2, 2, 2], &[co]]) < BAR);
    }

    #[test]
    fn pooling_has_its_gradient(
        planes in [1usize..3, 1usize..3],
        size in [1usize..8, 1usize..8],
        kernel in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4],
        pad in [0usize..2, 0usize..2],
    ) {
        for pooling in [Pooling::Average, Pooling::Max] {
            let params = PoolParams { pooling, planes, size, kernel, stride, padding: pad, par: Par::seq() };
            let Ok(pool) = Pool2d::new(&params) else { return Ok(()) };
            let dims = [planes[0], planes[1], size[0], size[1]];
            let error = check_function_at(&pool, &[Space::real(&dims)], &[apart(&dims, 3)], 5).unwrap();
            prop_assert!(error < BAR, "{pooling:?} {error}");
            let volume = [planes[0], planes[1], 2, size[0], size[1]];
            let params = PoolParams {
                pooling, planes, size: [2, size[0], size[1]], kernel: [2, kernel[0], kernel[1]],
                stride: [1, stride[0], stride[1]], padding: [1, pad[0], pad[1]], par: Par::seq(),
            };
            let pool = Pool3d::new(&params).unwrap();
            prop_assert!(check_function_at(&pool, &[Space::real(&volume)], &[apart(&volume, 3)], 5).unwrap() < BAR);
        }
    }

    #[test]
    fn resampling_has_its_gradient(
        size in [1usize..6, 1usize..6, 1usize..6],
        out_size in [1usize..9, 1usize..9, 1usize..9],
    ) {
        for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::LinearCorners] {
            let params = ResampleParams { planes: [2, 1], size, out_size, interpolation, par: Par::seq() };
            let f = Resample3d::new(&params).unwrap();
            prop_assert!(gradient(&f, &[&[2, 1, size[0], size[1], size[2]]]) < BAR);
            let params = ResampleParams {
                planes: [1, 2], size: [size[0], size[1]], out_size: [out_size[0], out_size[1]], interpolation, par: Par::seq(),
            };
            prop_assert!(gradient(&Resample2d::new(&params).unwrap(), &[&[1, 2, size[0], size[1]]]) < BAR);
        }
    }

    #[test]
    fn linear_resampling_keeps_constants_and_doubling_keeps_means(ny in 1usize..7, nx in 1usize..7, v in -2.0f64..2.0) {
        let params = ResampleParams { size: [ny, nx], out_size: [2 * ny, 2 * nx], par: Par::seq(), ..ResampleParams::default() };
        let f = Resample2d::new(&params).unwrap();
        let mut y = vec![f64::NAN; 4 * ny * nx];
        let run = |x: &[f64], y: &mut [f64]| f.forward(&[x], y, &mut [], &mut vec![f64::NAN; nx], Mode::Eval);
        run(&vec![v; ny * nx], &mut y);
        prop_assert!(y.iter().all(|y| (y - v).abs() < 1e-14));
    }

    #[test]
    fn normalisations_have_their_gradients(n in 1usize..3, groups in 1usize..3, c in 1usize..3, ny in 1usize..5, nx in 2usize..20) {
        let dims = vec![n, groups * c, ny, nx];
        let channels = [groups * c];
        for over in [NormOver::Batch, NormOver::Instance, NormOver::Group(groups)] {
            let f = Norm::new(&NormParams { dims: dims.clone(), over, epsilon: 0.1, par: Par::threads(2).unwrap() }).unwrap();
            prop_assert!(gradient(&f, &[&dims, &channels, &channels]) < BAR, "{over:?}");
        }
        let f = LayerNorm::new(&LayerNormParams { dims: dims.clone(), epsilon: 0.1, par: Par::seq() }).unwrap();
        prop_assert!(gradient(&f, &[&dims, &[nx], &[nx]]) < BAR);
        let f = BatchStatistics::new(&dims, &Par::seq()).unwrap();
        prop_assert!(gradient(&f, &[&dims]) < BAR);
    }

    #[test]
    fn matrices_rows_and_gates_have_their_gradients(n in 1usize..4, c in 1usize..5, k in 1usize..5, m in 1usize..6) {
        let linear = Linear::new(&LinearParams { dims: vec![n, m, c], outputs: k, par: Par::seq() }).unwrap();
        prop_assert!(gradient(&linear, &[&[n, m, c], &[k, c], &[k]]) < BAR);
        prop_assert!(gradient(&linear, &[&[n, m, c], &[k, c]]) < BAR);
        prop_assert!(gradient(&Softmax::new(c, &Par::seq()).unwrap(), &[&[n, m, c]]) < BAR);
        prop_assert!(gradient(&Dropout::new(0.4, 3, &Par::seq()).unwrap(), &[&[n, m, c]]) < BAR);
        let shuffle = PixelShuffle::new([n, 4 * c, m, k], 2, &Par::seq()).unwrap();
        prop_assert!(gradient(&shuffle, &[&[n, 4 * c, m, k]]) < BAR);
        let gate = Gate::new(&[n, c, m], GateOver::Channels, &Par::seq()).unwrap();
        prop_assert!(gradient(&gate, &[&[n, c, m], &[n, c]]) < BAR);
        let gate = Gate::new(&[n, c, m, k], GateOver::Pixels, &Par::seq()).unwrap();
        prop_assert!(gradient(&gate, &[&[n, c, m, k], &[n, 1, m, k]]) < BAR);
        let dims = [n, c, m, k];
        let statistics = SpatialStatistics::new(&dims, &Par::seq()).unwrap();
        prop_assert!(check_function_at(&statistics, &[Space::real(&dims)], &[apart(&dims, 1)], 2).unwrap() < BAR);
        for slopes in [1, c] {
            let f = PRelu::new(&dims, slopes, &Par::seq()).unwrap();
            let point = [apart(&dims, 1), apart(&[slopes], 2)];
            prop_assert!(check_function_at(&f, &[Space::real(&dims), Space::real(&[slopes])], &point, 2).unwrap() < BAR);
        }
    }

    #[test]
    fn attention_has_its_gradients(b in 1usize..3, h in 1usize..3, n in 1usize..45, m in 2usize..60, d in 1usize..10, e in 1usize..10) {
        let params = AttentionParams { heads: [b, h], queries: n, keys: m, dim: d, value_dim: e, par: Par::threads(2).unwrap() };
        let f = Attention::new(&params).unwrap();
        prop_assert!(gradient(&f, &[&[b, h, n, d], &[b, h, m, d], &[b, h, m, e]]) < BAR);
    }

    #[test]
    fn multi_head_attention_has_its_gradients(b in 1usize..3, t in 1usize..12, heads in 1usize..4, d in 1usize..4) {
        let e = heads * d;
        let f = MultiHeadAttention::new(&MultiHeadParams { batch: b, tokens: t, dim: e, heads, par: Par::seq() }).unwrap();
        prop_assert!(gradient(&f, &[&[b, t, e], &[3 * e, e], &[3 * e], &[e, e], &[e]]) < BAR);
    }

    #[test]
    fn attention_of_equal_keys_is_the_mean_of_the_values(n in 1usize..20, m in 1usize..100, e in 1usize..8) {
        let f = Attention::new(&AttentionParams { queries: n, keys: m, dim: 3, value_dim: e, par: Par::seq(), ..AttentionParams::default() }).unwrap();
        let mut r = rng::stream(1, 0);
        let mut random = |n: usize| -> Vec<f64> { (0..n).map(|_| rng::normal(&mut r)).collect() };
        let (q, v, key) = (random(3 * n), random(m * e), random(3));
        let k: Vec<f64> = key.iter().copied().cycle().take(3 * m).collect();
        let spaces = real(&[&[1, 1, n, 3], &[1, 1, m, 3], &[1, 1, m, e]]);
        let spaces: Vec<&Space> = spaces.iter().collect();
        let mut y = vec![f64::NAN; n * e];
        let scratch = Function::<f64>::scratch_len(&f, &spaces);
        f.forward(&[&q, &k, &v], &mut y, &mut vec![f64::NAN; n], &mut vec![f64::NAN; scratch], Mode::Eval);
        for c in 0..e {
            let mean = (0..m).map(|j| v[j * e + c]).sum::<f64>() / m as f64;
            prop_assert!((0..n).all(|i| (y[i * e + c] - mean).abs() < 1e-12));
        }
    }
}

#[test]
fn channel_attention_has_its_gradients_away_from_the_kink() {
    let (par, r) = (Par::seq(), 3);
    for (n, c, len) in [(1, 1, 1), (2, 4, 5), (3, 2, 7)] {
        let f = ChannelAttention::new(&[n, c, len], r, &par).unwrap();
        // The seed is one at which no hidden number lies within the stencil of 0.
        let error = check_function(&f, &real(&[&[n, c, len], &[r, c], &[r], &[c, r], &[c]]), 4).unwrap();
        assert!(error < BAR, "{error}");
    }
}

/// Forward in a mode, then the gradients of all inputs for dy = 1, 2, ….
fn run(f: &dyn Function<f64>, x: &[&[f64]], dims: &[&[usize]], mode: Mode) -> (Vec<f64>, Vec<Vec<f64>>) {
    let spaces = real(dims);
    let spaces: Vec<&Space> = spaces.iter().collect();
    let mut y = vec![f64::NAN; f.infer(&spaces).unwrap().words()];
    let mut tape = vec![f64::NAN; f.needs(&spaces).tape_len];
    let mut scratch = vec![f64::NAN; f.scratch_len(&spaces)];
    f.forward(x, &mut y, &mut tape, &mut scratch, mode);
    let mut dx: Vec<Vec<f64>> = x.iter().map(|x| vec![f64::NAN; x.len()]).collect();
    let dy: Vec<f64> = (0..y.len()).map(|i| i as f64 + 1.0).collect();
    let mut out: Vec<_> = dx.iter_mut().map(|d| Some((d.as_mut_slice(), Write::Set))).collect();
    f.backward(x, &y, &tape, &dy, &mut out, &mut scratch);
    (y, dx)
}

#[test]
fn batch_norm_uses_the_given_statistics_in_evaluation_only() {
    let params = NormParams { dims: vec![1, 1, 2], epsilon: 1e-12, ..NormParams::default() };
    let f = Norm::new(&params).unwrap();
    let (x, gamma, beta, mean, variance) = ([1.0, 5.0], [2.0], [0.5], [3.0], [16.0]);
    let dims: [&[usize]; 5] = [&[1, 1, 2], &[1], &[1], &[1], &[1]];
    let inputs: [&[f64]; 5] = [&x, &gamma, &beta, &mean, &variance];
    let (y, dx) = run(&f, &inputs, &dims, Mode::Eval);
    // y = 2 (x − 3)/4 + ½, whose slope is ½; dµ = −½ Σ dy; dv = −½/16 Σ dy · 2 (x − 3)/4.
    assert!((y[0] + 0.5).abs() < 1e-9 && (y[1] - 1.5).abs() < 1e-9);
    assert!((dx[0][0] - 0.5).abs() < 1e-9 && (dx[0][1] - 1.0).abs() < 1e-9);
    assert!((dx[3][0] + 1.5).abs() < 1e-9 && (dx[4][0] + 1.0 / 32.0).abs() < 1e-9, "{dx:?}");
    let (y, dx) = run(&f, &inputs, &dims, Mode::Train { step: 0 });
    assert!((y[0] + 1.5).abs() < 1e-9 && (y[1] - 2.5).abs() < 1e-9);
    assert_eq!((dx[3][0], dx[4][0]), (0.0, 0.0));

    // The running statistics take a part of the batch's own.
    let statistics = run(&BatchStatistics::new(&[1, 1, 2], &Par::seq()).unwrap(), &[&x], &[&[1, 1, 2]], Mode::Eval).0;
    assert_eq!(statistics, [3.0, 8.0]);
    let mut running = [0.0, 1.0];
    BatchStatistics::update(&mut running, &statistics, 0.1);
    assert!((running[0] - 0.3).abs() < 1e-15 && (running[1] - 1.7).abs() < 1e-15);
}

#[test]
fn dropout_repeats_its_mask_and_keeps_the_mean() {
    let f = Dropout::new(0.25, 11, &Par::threads(2).unwrap()).unwrap();
    let x = vec![1.0; 40_000];
    let at = |mode| run(&f, &[&x], &[&[40_000]], mode).0;
    let (a, b, c) = (at(Mode::Train { step: 5 }), at(Mode::Train { step: 5 }), at(Mode::Train { step: 6 }));
    assert_eq!(a, b);
    assert_ne!(a, c);
    // The mean of 40 000 numbers of variance p/(1 − p) = 1/3 has a standard deviation of 0.0029: five of them.
    assert!((a.iter().sum::<f64>() / 4e4 - 1.0).abs() < 0.0145);
    assert!(a.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-15));
    assert_eq!(at(Mode::Eval), x);
}

#[test]
fn shapes_that_do_not_fit_are_errors_with_both_shapes() {
    let conv = Conv2d::new(&ConvParams { channels: 2, size: [4, 4], ..ConvParams::default() }).unwrap();
    let wrong = [Space::real(&[1, 3, 4, 4]), Space::real(&[1, 2, 3, 3])];
    let got = Function::<f64>::infer(&conv, &[&wrong[0], &wrong[1]]);
    assert!(matches!(got, Err(Error::Shape { expected, got, .. }) if expected == [1, 2, 4, 4] && got == [1, 3, 4, 4]));
    let complex = Space::complex(&[1, 2, 4, 4]);
    assert!(matches!(Function::<f64>::infer(&conv, &[&complex, &wrong[1]]), Err(Error::Unsupported { .. })));
    assert!(Conv2d::new(&ConvParams { kernel: [0, 3], ..ConvParams::default() }).is_err());
    assert!(Conv2d::new(&ConvParams { kernel: [9, 3], ..ConvParams::default() }).is_err());
    assert!(Conv2d::new(&ConvParams { mode: Padding::Reflect, ..ConvParams::default() }).is_err());
    assert!(Conv2d::new(&ConvParams { groups: 2, ..ConvParams::default() }).is_err());
    let huge = ConvParams { size: [usize::MAX / 4; 2], padding: [usize::MAX / 2; 2], ..ConvParams::default() };
    assert!(matches!(Conv2d::new(&huge), Err(Error::OutOfMemory { .. })));
    assert!(Pool2d::new(&PoolParams { kernel: [3, 3], ..PoolParams::default() }).is_err());
    assert!(Dropout::new(f64::NAN, 0, &Par::seq()).is_err());
    assert!(Norm::new(&NormParams { epsilon: f64::NAN, ..NormParams::default() }).is_err());
}
