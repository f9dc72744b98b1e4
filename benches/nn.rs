//! Layers in `f32`, forward and backward, at the sizes of the peers' scripts.

#[path = "support/timing.rs"]
mod timing;

use criterion::Criterion;
use std::sync::Arc;

use exitwave::autodiff::{Function, Mode, PlanOptions, Session};
use exitwave::nn::{
    Conv2d, Conv3d, ConvParams, FourierConv2d, MultiHeadAttention, MultiHeadParams, Net, PointLoss, PointLossParams,
    UnetParams, unet,
};
use exitwave::op::Write;
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Space;

/// The same number of threads as the peers' scripts.
const THREADS: usize = 2;

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r) as f32).collect()
}

/// Medians of forward, and of forward and backward with all gradients.
fn time(c: &mut Criterion, name: &str, f: &dyn Function<f32>, dims: &[&[usize]]) -> [Option<f64>; 2] {
    let spaces: Vec<Space> = dims.iter().map(|d| Space::real(d)).collect();
    let spaces: Vec<&Space> = spaces.iter().collect();
    let range = f.infer(&spaces).expect("dimensions that fit");
    let x: Vec<Vec<f32>> = spaces.iter().enumerate().map(|(i, s)| random(s.words(), i as u64)).collect();
    let x: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let dy = random(range.words(), 99);
    let (mut y, mut tape) = (vec![0.0; range.words()], vec![0.0; f.needs(&spaces).tape_len]);
    let mut scratch = vec![0.0; f.scratch_len(&spaces)];
    let mut dx: Vec<Vec<f32>> = x.iter().map(|x| vec![0.0; x.len()]).collect();
    let mode = Mode::Train { step: 0 };
    let forward = timing::measure(
        c,
        &format!("{name} forward"),
        &mut (),
        |_| {},
        |_| f.forward(&x, &mut y, &mut tape, &mut scratch, mode),
    );
    // The gradients one by one, to see where the time goes.
    for i in 0..x.len().min(2) {
        let mut only: Vec<Option<(&mut [f32], Write)>> = x.iter().map(|_| None).collect();
        only[i] = Some((&mut dx[i], Write::Set));
        timing::measure(
            c,
            &format!("{name} gradient {i}"),
            &mut only,
            |_| {},
            |only| f.backward(&x, &y, &tape, &dy, only, &mut scratch),
        );
    }
    let both = timing::measure(
        c,
        name,
        &mut (),
        |_| {},
        |_| {
            f.forward(&x, &mut y, &mut tape, &mut scratch, mode);
            let mut dx: Vec<_> = dx.iter_mut().map(|d| Some((d.as_mut_slice(), Write::Set))).collect();
            f.backward(&x, &y, &tape, &dy, &mut dx, &mut scratch);
        },
    );
    [forward, both]
}

fn main() -> Result<(), exitwave::Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;

    let conv = Conv2d::new(&ConvParams {
        channels: 64,
        out_channels: 64,
        size: [256; 2],
        par: par.clone(),
        ..ConvParams::default()
    })?;
    let conv2d = time(&mut c, "conv2d 64-64 3x3 256x256", &conv, &[&[1, 64, 256, 256], &[64, 64, 3, 3], &[64]]);

    // Large kernels, directly and by transforms.
    let mut large = Vec::new();
    for (k, channels) in [(7, 1), (11, 1), (15, 1), (31, 1), (7, 8), (11, 8), (15, 8), (31, 8)] {
        let params = ConvParams {
            channels,
            out_channels: channels,
            size: [256; 2],
            kernel: [k; 2],
            padding: [k / 2; 2],
            par: par.clone(),
            ..ConvParams::default()
        };
        let direct: Box<dyn Function<f32>> = Box::new(Conv2d::new(&params)?);
        let fourier: Box<dyn Function<f32>> = Box::new(FourierConv2d::new(&params)?);
        let dims: [&[usize]; 3] = [&[1, channels, 256, 256], &[channels, channels, k, k], &[channels]];
        for (name, f) in [("direct", &*direct), ("fourier", &*fourier)] {
            large
                .push(time(&mut c, &format!("large kernel {k}x{k} {channels}-{channels} 256x256 {name}"), f, &dims)[1]);
        }
    }

    let conv = Conv3d::new(&ConvParams {
        channels: 16,
        out_channels: 16,
        size: [64; 3],
        par: par.clone(),
        ..ConvParams::default()
    })?;
    let conv3d = time(&mut c, "conv3d 16-16 3x3x3 64x64x64", &conv, &[&[1, 16, 64, 64, 64], &[16, 16, 3, 3, 3], &[16]]);

    let mha =
        MultiHeadAttention::new(&MultiHeadParams { batch: 1, tokens: 1024, dim: 128, heads: 8, par: par.clone() })?;
    let dims: [&[usize]; 5] = [&[1, 1024, 128], &[384, 128], &[384], &[128, 128], &[128]];
    let attention = time(&mut c, "attention 1024x128 8 heads", &mha, &dims);

    // One step of the peer's U-Net: 32 channels in, five levels, mean squared error.
    let mut net = Net::<f32>::new(&par);
    let (x, t) = (net.input("x", &[1, 32, 256, 256]), net.input("target", &[1, 1, 256, 256]));
    let y = unet(&mut net, x, &UnetParams::default())?;
    let mse = PointLoss::new(&PointLossParams {
        dims: vec![1, 1, 256, 256],
        par: par.clone(),
        ..PointLossParams::default()
    })?;
    let loss = net.graph.call(Arc::new(mse), &[y, t])?;
    let weights = net.initial(0)?;
    let mut session =
        Session::new(&net.graph.plan(&[loss], PlanOptions { par: par.clone(), ..PlanOptions::default() })?)?;
    weights.store(&mut session)?;
    session.set(x, &random(32 * 65536, 1));
    session.set(t, &random(65536, 2));
    let step = timing::measure(
        &mut c,
        "unet 256x256 step",
        &mut session,
        |_| {},
        |s| {
            s.forward(Mode::Train { step: 0 }).expect("a finite loss");
            s.backward();
        },
    );

    c.final_summary();
    timing::print_figures(&[
        ("conv2d_forward_s", conv2d[0]),
        ("conv2d_s", conv2d[1]),
        ("conv3d_forward_s", conv3d[0]),
        ("conv3d_s", conv3d[1]),
        ("attention_forward_s", attention[0]),
        ("attention_s", attention[1]),
        ("unet_step_s", step),
        ("kernel_11_direct_s", large[2]),
        ("kernel_11_fourier_s", large[3]),
    ]);
    Ok(())
}
