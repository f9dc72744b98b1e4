//! `nn`: outputs and gradients of torch 2.15 in `f64`.

use std::sync::Arc;

use exitwave::autodiff::{Function, Mode, NodeId, PlanOptions, Session};
use exitwave::io::npy;
use exitwave::nn::*;
use exitwave::op::Write;
use exitwave::par::Par;
use exitwave::shape::Space;
use exitwave::tensor::Tensor;

use crate::support::data;

/// Both in f64: sums of at most a few hundred terms in another order.
const BAR: f64 = 1e-9;

fn array(name: &str) -> Option<Tensor<f64>> {
    Some(npy::read(data(&format!("oracle/torch/{name}.npy"))?).unwrap().into_real::<f64>().unwrap())
}

fn assert_equal(name: &str, got: &[f64], want: &Tensor<f64>) {
    assert_eq!(got.len(), want.as_slice().len(), "{name}");
    let scale = want.as_slice().iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want.as_slice()).enumerate() {
        assert!((g - w).abs() <= BAR * scale, "{name}[{i}]: {g}, {w}");
    }
}

/// Output and gradients of all inputs against the files.
fn check(f: &dyn Function<f64>, inputs: &[&str], out: &str, grad_out: &str, grads: &[&str]) {
    let Some(x) = inputs.iter().map(|n| array(n)).collect::<Option<Vec<_>>>() else { return };
    let spaces: Vec<Space> = x.iter().map(|x| Space::real(x.dims())).collect();
    let spaces: Vec<&Space> = spaces.iter().collect();
    let want = array(out).unwrap();
    let range = f.infer(&spaces).unwrap();
    assert_eq!(range.dims(), want.dims(), "{out}");
    let mut y = vec![f64::NAN; range.words()];
    let mut tape = vec![f64::NAN; f.needs(&spaces).tape_len];
    let mut scratch = vec![f64::NAN; f.scratch_len(&spaces)];
    let x: Vec<&[f64]> = x.iter().map(Tensor::as_slice).collect();
    f.forward(&x, &mut y, &mut tape, &mut scratch, Mode::Train { step: 0 });
    assert_equal(out, &y, &want);
    let dy = array(grad_out).unwrap();
    let mut dx: Vec<Vec<f64>> = x.iter().map(|x| vec![f64::NAN; x.len()]).collect();
    let mut wanted: Vec<_> = dx.iter_mut().map(|d| Some((d.as_mut_slice(), Write::Set))).collect();
    f.backward(&x, &y, &tape, dy.as_slice(), &mut wanted, &mut scratch);
    for (got, name) in dx.iter().zip(grads) {
        assert_equal(name, got, &array(name).unwrap());
    }
}

/// The usual names: `op__in_x`, `op__out`, `op__grad_out`, `op__grad_x`.
fn layer(op: &str, f: &dyn Function<f64>, inputs: &[&str]) {
    let name = |kind: &str| format!("{op}__{kind}");
    let ins: Vec<String> = inputs.iter().map(|i| name(&format!("in_{i}"))).collect();
    let grads: Vec<String> = inputs.iter().map(|i| name(&format!("grad_{i}"))).collect();
    check(
        f,
        &ins.iter().map(String::as_str).collect::<Vec<_>>(),
        &name("out"),
        &name("grad_out"),
        &grads.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn convolutions_equal_torch() {
    let base = ConvParams::<2>::default();
    let conv = |p: &ConvParams<2>| Conv2d::new(p).unwrap();
    layer(
        "conv2d",
        &conv(&ConvParams { batch: 2, channels: 3, out_channels: 4, size: [9, 11], ..base.clone() }),
        &["x", "w", "b"],
    );
    let reflect = ConvParams { channels: 2, out_channels: 3, size: [6, 7], mode: Padding::Reflect, ..base.clone() };
    layer("conv2d_reflect", &conv(&reflect), &["x", "w", "b"]);
    let strided = ConvParams {
        batch: 2,
        channels: 4,
        out_channels: 6,
        size: [10, 9],
        kernel: [5; 2],
        stride: [2; 2],
        padding: [2; 2],
        ..base
    };
    layer("conv2d_s2", &conv(&strided), &["x", "w", "b"]);
    let volume = Conv3d::new(&ConvParams { channels: 2, out_channels: 3, size: [5, 6, 7], ..ConvParams::default() });
    layer("conv3d", &volume.unwrap(), &["x", "w", "b"]);
    let up = ConvTranspose2d::new(&ConvTransposeParams {
        batch: 2,
        channels: 4,
        out_channels: 3,
        size: [5, 6],
        kernel: [3; 2],
        padding: [1; 2],
        output_padding: [1; 2],
        ..ConvTransposeParams::default()
    });
    layer("conv_transpose2d", &up.unwrap(), &["x", "w", "b"]);
}

#[test]
fn pooling_and_resampling_equal_torch() {
    for (op, pooling) in [("avg_pool", Pooling::Average), ("max_pool", Pooling::Max)] {
        let params = PoolParams { pooling, planes: [1, 2], size: [6, 8], ..PoolParams::default() };
        layer(op, &Pool2d::new(&params).unwrap(), &["x"]);
    }
    for (op, interpolation, planes, size) in [
        ("upsample_nearest", Interpolation::Nearest, [1, 2], [4, 5]),
        ("upsample_bilinear_noac", Interpolation::Linear, [2, 3], [5, 6]),
        ("upsample_bilinear_ac", Interpolation::LinearCorners, [2, 3], [5, 6]),
    ] {
        let params =
            ResampleParams { planes, size, out_size: size.map(|n| 2 * n), interpolation, ..ResampleParams::default() };
        layer(op, &Resample2d::new(&params).unwrap(), &["x"]);
    }
    layer("pixel_shuffle", &PixelShuffle::new([2, 8, 3, 4], 2, &Par::seq()).unwrap(), &["x"]);
}

#[test]
fn normalisations_equal_torch() {
    for (op, dims, over) in [
        ("batch_norm_train", vec![3, 4, 5, 4], NormOver::Batch),
        ("instance_norm", vec![2, 3, 6, 5], NormOver::Instance),
        ("group_norm", vec![2, 6, 5, 4], NormOver::Group(2)),
    ] {
        layer(op, &Norm::new(&NormParams { dims, over, ..NormParams::default() }).unwrap(), &["x", "w", "b"]);
    }
}

#[test]
fn activations_and_matrices_equal_torch() {
    for (op, activation) in [
        ("gelu", Activation::Gelu),
        ("silu", Activation::Silu),
        ("sigmoid", Activation::Sigmoid),
        ("softplus", Activation::Softplus),
        ("leaky_relu", Activation::LeakyRelu { slope: 0.2 }),
    ] {
        layer(op, &Pointwise::new(&PointwiseParams { activation, ..PointwiseParams::default() }).unwrap(), &["x"]);
    }
    layer("softmax", &Softmax::new(9, &Par::seq()).unwrap(), &["x"]);
    let linear = Linear::new(&LinearParams { dims: vec![5, 7], outputs: 6, ..LinearParams::default() });
    layer("linear", &linear.unwrap(), &["x", "w", "b"]);
}

#[test]
fn attention_equals_torch() {
    let params =
        AttentionParams { heads: [2, 4], queries: 10, keys: 12, dim: 8, value_dim: 8, ..AttentionParams::default() };
    layer("sdpa", &Attention::new(&params).unwrap(), &["q", "k", "v"]);
    let params = MultiHeadParams { batch: 2, tokens: 9, dim: 16, heads: 4, ..MultiHeadParams::default() };
    let parts = ["x", "in_proj_weight", "in_proj_bias", "out_proj_weight", "out_proj_bias"];
    let inputs = parts.map(|p| format!("multihead_attention__{p}"));
    let grads = parts.map(|p| format!("multihead_attention__grad_{p}"));
    check(
        &MultiHeadAttention::new(&params).unwrap(),
        &inputs.each_ref().map(String::as_str),
        "multihead_attention__out",
        "multihead_attention__grad_out",
        &grads.each_ref().map(String::as_str),
    );
}

#[test]
fn losses_equal_torch() {
    let Some(path) = data("oracle/torch/losses.json") else { return };
    let oracle: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let flat = |v: &serde_json::Value| -> Vec<f64> {
        let rows = v.as_array().unwrap();
        rows.iter().flat_map(|r| r.as_array().unwrap().iter().map(|x| x.as_f64().unwrap())).collect()
    };
    let (a, b) = (flat(&oracle["a"]), flat(&oracle["b"]));
    for (name, distance) in [
        ("mse", Distance::L2),
        ("l1", Distance::L1),
        ("smooth_l1", Distance::Huber { delta: 1.0 }),
        ("huber_0p5", Distance::Huber { delta: 0.5 }),
        ("poisson_nll_log", Distance::PoissonLog),
    ] {
        let f =
            PointLoss::new(&PointLossParams { dims: vec![a.len()], distance, ..PointLossParams::default() }).unwrap();
        let (mut y, mut da) = ([f64::NAN], vec![f64::NAN; a.len()]);
        f.forward(&[&a, &b], &mut y, &mut [], &mut [], Mode::Eval);
        f.backward(&[&a, &b], &y, &[], &[1.0], &mut [Some((&mut da, Write::Set)), None], &mut []);
        let result = &oracle["results"][name];
        let want = result["value"].as_f64().unwrap();
        assert!((y[0] / want - 1.0).abs() < BAR, "{name}: {}, {want}", y[0]);
        assert_equal(name, &da, &Tensor::from_vec(&[a.len()], flat(&result["grad"])).unwrap());
    }
}

/// The network of the oracle, layer by layer as its sidecar says.
fn tiny_unet(net: &mut Net<f64>, x: NodeId) -> Result<NodeId, exitwave::Error> {
    let lrelu = Activation::LeakyRelu { slope: 0.1 };
    let conv = |net: &mut Net<f64>, name: &str, x, c| net.conv(name, x, c, 3, 1, Padding::Zero);
    let a = conv(net, "e1", x, 4)?;
    let a = net.activation(a, lrelu)?;
    let b = net.pool(a, Pooling::Max)?;
    let b = conv(net, "e2", b, 8)?;
    let b = net.norm("g", b, NormOver::Group(2))?;
    let b = net.activation(b, lrelu)?;
    let m = net.pool(b, Pooling::Max)?;
    let m = conv(net, "b", m, 16)?;
    let m = net.activation(m, lrelu)?;
    let up = net.conv_up("u2", m, 8, 2)?;
    let y = net.graph.concat(&[up, b], 1)?;
    let y = conv(net, "d2", y, 8)?;
    let y = net.activation(y, lrelu)?;
    let up = net.resample(y, a, Interpolation::Linear)?;
    let y = net.graph.concat(&[up, a], 1)?;
    let y = conv(net, "d1", y, 4)?;
    let y = net.activation(y, lrelu)?;
    net.conv("o", y, 1, 1, 1, Padding::Zero)
}

#[test]
fn the_loss_of_a_u_net_falls_as_in_torch() {
    let (Some(input), Some(target)) = (array("tiny_unet__x"), array("tiny_unet__target")) else { return };
    let mut net = Net::<f64>::new(&Par::default());
    let x = net.input("x", input.dims());
    let t = net.input("target", target.dims());
    let y = tiny_unet(&mut net, x).unwrap();
    net.graph.output(y);
    let mse = PointLoss::new(&PointLossParams { dims: target.dims().to_vec(), ..PointLossParams::default() }).unwrap();
    let loss = net.graph.call(Arc::new(mse), &[y, t]).unwrap();
    // Their names: w0_e1_weight, w0_g_bias for the shift of the normalisation.
    let theirs = |name: &str| name.replace("gamma", "weight").replace("beta", "bias").replace('.', "_");
    let names: Vec<String> = net.weights().iter().map(|w| w.0.clone()).collect();
    let entries = names.iter().map(|n| (n.clone(), array(&format!("tiny_unet__w0_{}", theirs(n))).unwrap())).collect();
    let mut s = Session::new(&net.graph.plan(&[loss], PlanOptions::default()).unwrap()).unwrap();
    Weights { entries }.store(&mut s).unwrap();
    s.set(x, input.as_slice());
    s.set(t, target.as_slice());

    let want = array("tiny_unet__loss").unwrap();
    let (beta1, beta2, epsilon, rate) = (0.9, 0.999, 1e-8, 5e-3);
    let words = s.plan().param_words();
    let (mut first, mut second) = (vec![0.0f64; words], vec![0.0f64; words]);
    for step in 0..want.len() {
        let got = s.forward(Mode::Train { step: step as u64 }).unwrap();
        let expected = want.as_slice()[step];
        assert!((got / expected - 1.0).abs() < 1e-6, "step {step}: {got}, {expected}");
        if step == 0 {
            assert_equal("out0", s.value(y), &array("tiny_unet__out0").unwrap());
        }
        s.backward();
        if step == 0 {
            for name in &names {
                let id = s.plan().find(name).unwrap();
                let got = s.grad(id).to_vec();
                assert_equal(name, &got, &array(&format!("tiny_unet__g0_{}", theirs(name))).unwrap());
            }
        }
        // Adam, as published (Kingma and Ba, algorithm 1).
        let n = step as i32 + 1;
        let (params, gradient) = s.params_and_grads();
        for i in 0..words {
            first[i] = beta1 * first[i] + (1.0 - beta1) * gradient[i];
            second[i] = beta2 * second[i] + (1.0 - beta2) * gradient[i] * gradient[i];
            let (m, v) = (first[i] / (1.0 - beta1.powi(n)), second[i] / (1.0 - beta2.powi(n)));
            params[i] -= rate * m / (v.sqrt() + epsilon);
        }
    }
    s.forward(Mode::Eval).unwrap();
    let (got, want) = (s.value(y), array("tiny_unet__out_final").unwrap());
    assert!(got.iter().zip(want.as_slice()).all(|(g, w)| (g - w).abs() < 1e-6), "the last output");
}
