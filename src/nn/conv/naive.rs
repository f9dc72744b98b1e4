//! The convolution as its definition says, loop by loop, and the comparison with it.

use crate::autodiff::{Function, Mode};
use crate::nn::conv::geometry::Geometry;
use crate::nn::{Conv3d, ConvParams, ConvTranspose3d, ConvTransposeParams, Padding};
use crate::op::Write;
use crate::par::Par;
use crate::rng;
use crate::shape::Space;

/// Calls `f(x index, w index, y index)` for every product of the convolution.
fn each(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let [z, y, x] = g.axes;
    for n in 0..g.n {
        for group in 0..g.groups {
            for o in 0..g.co {
                for c in 0..g.ci {
                    for t in 0..g.output_len() {
                        for k in 0..g.taps() {
                            let t3 = [t / (y.output * x.output), t / x.output % y.output, t % x.output];
                            let k3 = [k / (y.kernel * x.kernel), k / x.kernel % y.kernel, k % x.kernel];
                            let at = |i: usize| {
                                let a = &g.axes[i];
                                a.source(a.stride * t3[i] + a.dilation * k3[i], g.mode)
                            };
                            let (Some(iz), Some(iy), Some(ix)) = (at(0), at(1), at(2)) else { continue };
                            let xi = ((n * g.groups + group) * g.ci + c) * g.input_len()
                                + (iz * y.input + iy) * x.input
                                + ix;
                            let wi = ((group * g.co + o) * g.ci + c) * g.taps() + k;
                            let yi = ((n * g.groups + group) * g.co + o) * g.output_len() + t;
                            debug_assert!(iz < z.input);
                            f(xi, wi, yi);
                        }
                    }
                }
            }
        }
    }
}

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r) as f32).collect()
}

fn assert_close(name: &str, got: &[f32], want: &[f64]) {
    // Sums of products of normal numbers: errors are of the order ε times the square root of the terms, times √terms at
    // worst.
    let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= 2e-5 * scale, "{name}[{i}]: {g}, {w}");
    }
}

/// Forward and backward of the layer against the definition, with poisoned outputs and scratch, on one and two threads.
fn check(params: &ConvParams<3>) {
    let mut bits: Option<Vec<u32>> = None;
    for par in [Par::seq(), Par::threads(2).unwrap()] {
        let conv = Conv3d::new(&ConvParams { par, ..params.clone() }).unwrap();
        let g = conv.geometry().clone();
        let (x, w, b) = (random(g.x_len(), 1), random(g.w_len(), 2), random(params.out_channels, 3));
        let spaces = [Space::real(conv.in_dims()), Space::real(conv.weight_dims()), Space::real(&[b.len()])];
        let spaces: Vec<&Space> = spaces.iter().collect();
        let scratch_len = Function::<f32>::scratch_len(&conv, &spaces);
        let mut y = vec![f32::NAN; g.y_len()];
        conv.forward(&[&x, &w, &b], &mut y, &mut [], &mut vec![f32::NAN; scratch_len], Mode::Eval);
        let mut want: Vec<f64> = (0..y.len()).map(|i| f64::from(b[i / g.output_len() % params.out_channels])).collect();
        each(&g, |xi, wi, yi| want[yi] += f64::from(x[xi]) * f64::from(w[wi]));
        assert_close("y", &y, &want);

        let dy = random(y.len(), 4);
        let (mut dx, mut dw, mut db) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()], vec![f32::NAN; b.len()]);
        conv.backward(
            &[&x, &w, &[]],
            &[],
            &[],
            &dy,
            &mut [Some((&mut dx, Write::Set)), Some((&mut dw, Write::Set)), Some((&mut db, Write::Set))],
            &mut vec![f32::NAN; scratch_len],
        );
        let (mut want_x, mut want_w) = (vec![0.0f64; x.len()], vec![0.0f64; w.len()]);
        each(&g, |xi, wi, yi| {
            want_x[xi] += f64::from(dy[yi]) * f64::from(w[wi]);
            want_w[wi] += f64::from(dy[yi]) * f64::from(x[xi]);
        });
        assert_close("dx", &dx, &want_x);
        assert_close("dw", &dw, &want_w);
        let mut want_b = vec![0.0f64; b.len()];
        dy.iter().enumerate().for_each(|(i, &v)| want_b[i / g.output_len() % b.len()] += f64::from(v));
        assert_close("db", &db, &want_b);

        let all: Vec<u32> = [y, dx, dw, db].concat().iter().map(|v| v.to_bits()).collect();
        assert!(bits.get_or_insert_with(|| all.clone()) == &all, "one thread and two differ");
    }
}

#[test]
fn convolution_and_its_gradients_equal_the_seven_loops() {
    let base = ConvParams::<3> { channels: 2, out_channels: 3, size: [3, 5, 7], ..ConvParams::default() };
    check(&base);
    check(&ConvParams { size: [1, 40, 61], kernel: [1, 3, 3], padding: [0, 1, 1], batch: 2, ..base.clone() });
    check(&ConvParams { channels: 17, out_channels: 9, size: [2, 9, 20], ..base.clone() });
    check(&ConvParams { stride: [2, 3, 2], padding: [1, 2, 0], size: [6, 11, 9], ..base.clone() });
    check(&ConvParams { stride: [1, 4, 5], kernel: [1, 2, 3], padding: [0, 0, 1], size: [2, 13, 17], ..base.clone() });
    check(&ConvParams { dilation: [1, 2, 3], padding: [1, 2, 3], stride: [1, 1, 2], ..base.clone() });
    check(&ConvParams { dilation: [2, 3, 2], padding: [2, 4, 0], stride: [2, 2, 3], size: [7, 9, 8], ..base.clone() });
    for mode in [Padding::Reflect, Padding::Periodic] {
        check(&ConvParams { mode, padding: [2, 1, 3], ..base.clone() });
        check(&ConvParams { mode, stride: [2, 2, 3], size: [4, 9, 11], padding: [1, 2, 2], ..base.clone() });
    }
    check(&ConvParams { groups: 3, channels: 6, out_channels: 9, ..base.clone() });
    check(&ConvParams { kernel: [1; 3], padding: [0; 3], size: [1; 3], ..base.clone() });
    check(&ConvParams { kernel: [5, 5, 5], padding: [2; 3], size: [2, 4, 3], ..base.clone() });
    check(&ConvParams { kernel: [1, 3, 3], padding: [0, 3, 4], size: [1, 5, 5], ..base });
}

#[test]
fn channels_in_several_chunks_give_the_same_sums() {
    // Wide enough that the channels of a block do not fit at once, in both directions.
    let wide = ConvParams::<3> {
        channels: 24,
        out_channels: 20,
        size: [1, 3, 1600],
        kernel: [1, 3, 3],
        padding: [0, 1, 1],
        ..ConvParams::default()
    };
    check(&wide);
    check(&ConvParams { stride: [1, 2, 2], ..wide });
}

#[test]
fn transposed_convolution_is_the_adjoint_of_convolution() {
    let params = ConvTransposeParams::<3> {
        channels: 3,
        out_channels: 2,
        size: [2, 4, 3],
        kernel: [2, 3, 3],
        stride: [2, 2, 3],
        padding: [0, 1, 1],
        output_padding: [1, 1, 0],
        ..ConvTransposeParams::default()
    };
    let up = ConvTranspose3d::new(&params).unwrap();
    let down = Conv3d::new(&ConvParams {
        channels: 2,
        out_channels: 3,
        size: [up.out_dims()[2], up.out_dims()[3], up.out_dims()[4]],
        kernel: params.kernel,
        stride: params.stride,
        padding: params.padding,
        ..ConvParams::default()
    })
    .unwrap();
    assert_eq!(down.out_dims()[2..], params.size);
    let g = down.geometry();
    let (a, b, w) = (random(g.x_len(), 1), random(g.y_len(), 2), random(g.w_len(), 3));
    let scratch = &mut vec![f32::NAN; 1_000_000];
    let (mut da, mut ub) = (vec![f32::NAN; g.y_len()], vec![f32::NAN; g.x_len()]);
    down.forward(&[&a, &w], &mut da, &mut [], scratch, Mode::Eval);
    up.forward(&[&b, &w], &mut ub, &mut [], scratch, Mode::Eval);
    let dot = |u: &[f32], v: &[f32]| u.iter().zip(v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (left, right) = (dot(&da, &b), dot(&a, &ub));
    assert!((left - right).abs() < 1e-5 * dot(&da, &da).sqrt() * dot(&b, &b).sqrt(), "{left} {right}");
}
