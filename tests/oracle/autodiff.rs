//! `autodiff`: outputs and gradients of torch 2.15 (f64), for functions made of elementary operations.

use std::sync::Arc;

use exitwave::Error;
use exitwave::autodiff::{Graph, Mode, NodeId, PlanOptions, Session};
use exitwave::fft::Dft;
use exitwave::io::npy;
use exitwave::shape::Space;
use exitwave::tensor::Tensor;
use serde_json::Value;

use crate::support::data;

fn array(name: &str) -> Tensor<f64> {
    npy::read(data(&format!("oracle/torch/{name}.npy")).unwrap()).unwrap().into_real::<f64>().unwrap()
}

/// ‖got − want‖/‖want‖.
fn error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>();
    (square(&mut got.iter().zip(want).map(|(a, b)| a - b)) / square(&mut want.iter().copied())).sqrt()
}

type Build = fn(&mut Graph<f64>, NodeId, &[usize]) -> Result<NodeId, Error>;

#[test]
fn functions_of_one_array_and_their_gradients_equal_the_oracle() {
    let functions: [(&str, Build); 4] = [
        ("fft2_abs2", |g, x, dims| {
            let z = g.to_complex(x)?;
            let z = g.linear(Arc::new(Dft::new(dims, 2)?), z)?;
            // The oracle's transform is not normalised.
            let y = g.abs2(z)?;
            g.scale(y, (dims[1] * dims[2]) as f64)
        }),
        ("sigmoid", |g, x, _| {
            let e = g.scale(x, -1.0)?;
            let e = g.exp(e)?;
            let e = g.add_constant(e, 1.0)?;
            g.pow(e, -1.0)
        }),
        ("silu", |g, x, _| {
            let e = g.scale(x, -1.0)?;
            let e = g.exp(e)?;
            let e = g.add_constant(e, 1.0)?;
            let s = g.pow(e, -1.0)?;
            g.mul(x, s)
        }),
        ("softplus", |g, x, _| {
            let e = g.exp(x)?;
            let e = g.add_constant(e, 1.0)?;
            g.log(e)
        }),
    ];
    for (name, build) in functions {
        if data(&format!("oracle/torch/{name}.json")).is_none() {
            return;
        }
        let (input, seed) = (array(&format!("{name}__in_x")), array(&format!("{name}__grad_out")));
        let mut g = Graph::new();
        let x = g.param("x", Space::real(input.dims()));
        let w = g.data("grad_out", Space::real(seed.dims()));
        let y = build(&mut g, x, input.dims()).unwrap();
        g.output(y);
        let loss = g.dot(w, y).unwrap();
        let plan = g.plan(&[loss], PlanOptions::default()).unwrap();
        let mut s = Session::new(&plan).unwrap();
        s.set(x, input.as_slice());
        s.set(w, seed.as_slice());
        s.forward(Mode::Eval).unwrap();
        s.backward();
        let out = error(s.value(y), array(&format!("{name}__out")).as_slice());
        let grad = error(s.grad(x), array(&format!("{name}__grad_x")).as_slice());
        assert!(out <= 1e-9 && grad <= 1e-9, "{name}: {out:e}, {grad:e}");
    }
}

#[test]
fn losses_and_their_gradients_equal_the_oracle() {
    let Some(path) = data("oracle/torch/losses.json") else { return };
    let oracle: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let numbers = |v: &Value| -> Vec<f64> {
        let row = |r: &Value| r.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
        v.as_array().unwrap().iter().flat_map(row).collect()
    };
    let (a, b) = (numbers(&oracle["a"]), numbers(&oracle["b"]));
    type Loss = fn(&mut Graph<f64>, NodeId, NodeId) -> Result<NodeId, Error>;
    let losses: [(&str, Loss); 3] = [
        ("mse", |g, a, b| {
            let d = g.sub(a, b)?;
            let d = g.abs2(d)?;
            g.mean(d)
        }),
        ("l1", |g, a, b| {
            let d = g.sub(a, b)?;
            let d = g.abs(d, 0.0)?;
            g.mean(d)
        }),
        ("poisson_nll_log", |g, a, b| {
            // exp(a) − b a: a is the logarithm of the rate.
            let rate = g.exp(a)?;
            let m = g.mul(a, b)?;
            let d = g.sub(rate, m)?;
            g.mean(d)
        }),
    ];
    for (name, build) in losses {
        let mut g = Graph::new();
        let (x, t) = (g.param("a", Space::real(&[6, 7])), g.data("b", Space::real(&[6, 7])));
        let loss = build(&mut g, x, t).unwrap();
        let plan = g.plan(&[loss], PlanOptions::default()).unwrap();
        let mut s = Session::new(&plan).unwrap();
        s.set(x, &a);
        s.set(t, &b);
        let value = s.forward(Mode::Eval).unwrap();
        s.backward();
        let want = &oracle["results"][name];
        let off = (value / want["value"].as_f64().unwrap() - 1.0).abs();
        let grad = error(s.grad(x), &numbers(&want["grad"]));
        assert!(off <= 1e-9 && grad <= 1e-9, "{name}: {off:e}, {grad:e}");
    }
}
