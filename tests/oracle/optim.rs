//! `optim`: trajectories of torch 2.15 (f64), and TV denoising of scikit-image 0.26.

use std::sync::Arc;

use exitwave::Error;
use exitwave::io::npy;
use exitwave::observe::silent;
use exitwave::op::{LinearOp, Write};
use exitwave::optim::{
    Adam, AdamStep, Difference, Lbfgs, Method, Minimize, MinimizeParams, Momentum, NO_PLATEAU, Prox, ProximalParams,
    Schedule, SecondMoment, Sgd, Shape, Term, WeightDecay, Wolfe, pdhg,
};
use exitwave::tensor::Tensor;
use serde_json::Value;

use crate::support::data;

fn sidecar(name: &str) -> Option<Value> {
    let text = std::fs::read(data(&format!("oracle/{name}.json"))?).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn array(name: &str) -> Tensor<f64> {
    npy::read(data(&format!("oracle/{name}.npy")).unwrap()).unwrap().into_real::<f64>().unwrap()
}

fn rows(v: &Value) -> Vec<[f64; 3]> {
    let row = |r: &Value| [0, 1, 2].map(|i| r[i].as_f64().unwrap());
    v.as_array().unwrap().iter().map(row).collect()
}

/// Rosenbrock's valley, (1 − x)² + 100 (y − x²)².
fn valley(x: &[f64], g: &mut [f64]) -> f64 {
    let (a, r) = (1.0 - x[0], x[1] - x[0] * x[0]);
    g.copy_from_slice(&[-2.0 * a - 400.0 * x[0] * r, 200.0 * r]);
    a * a + 100.0 * r * r
}

/// The largest relative distance of a trajectory from the oracle's.
fn distance(got: &[[f64; 3]], want: &[[f64; 3]]) -> f64 {
    assert_eq!(got.len(), want.len());
    let relative = |(g, w): (&f64, &f64)| (g - w).abs() / w.abs().max(1e-3);
    got.iter().flatten().zip(want.iter().flatten()).map(relative).fold(0.0, f64::max)
}

#[test]
fn trajectories_in_rosenbrocks_valley_are_those_of_the_oracle() {
    let Some(oracle) = sidecar("torch/optimisers_rosenbrock") else { return };
    let adam = AdamStep::default();
    let sgd = Sgd::default();
    let methods: [(&str, Method, f64); 6] = [
        ("sgd_momentum", Method::Sgd(sgd), 0.001),
        ("sgd_nesterov", Method::Sgd(Sgd { kind: Momentum::Nesterov, ..sgd }), 0.001),
        ("adam", Method::Adam(adam), 0.02),
        ("adam_wd", Method::Adam(AdamStep { weight_decay: WeightDecay::Gradient(0.01), ..adam }), 0.02),
        ("amsgrad", Method::Adam(AdamStep { second: SecondMoment::Largest, ..adam }), 0.02),
        ("adamw", Method::Adam(AdamStep { weight_decay: WeightDecay::Decoupled(0.05), ..adam }), 0.02),
    ];
    for (name, method, rate) in methods {
        let want = rows(&oracle["results"][name]["trajectory"]);
        let schedule = Schedule { rate, ..Schedule::default() };
        let plan = Minimize::new(2, MinimizeParams { method, schedule, ..MinimizeParams::default() }).unwrap();
        let mut state = plan.start(&[-1.2, 1.0]).unwrap();
        let mut got = Vec::new();
        for _ in 0..want.len() {
            state = plan.run(state, 1, &mut |x, _, g| Ok(valley(x, g)), &mut silent).unwrap().state;
            let x = &state.x;
            got.push([x[0], x[1], valley(x, &mut [0.0; 2])]);
        }
        let d = distance(&got, &want);
        assert!(d <= 1e-6, "{name}: {d:e}");
    }
    assert_eq!(adam.adam, Adam { epsilon: 1e-8, ..Adam::default() });
}

#[test]
fn lbfgs_with_a_fixed_step_follows_the_oracle() {
    let Some(oracle) = sidecar("torch/optimisers_rosenbrock") else { return };
    let want = rows(&oracle["results"]["lbfgs_fixed"]["trajectory"]);
    let (mut x, mut g, mut memory) = ([-1.2, 1.0], [0.0; 2], Lbfgs::new(10, 2, Vec::new()));
    let mut got = Vec::new();
    valley(&x, &mut g);
    for i in 0..want.len() {
        let mut d = g;
        memory.direction(&mut d, &[1.0; 2]);
        let t = if i == 0 { 0.1 * (1.0 / (g[0].abs() + g[1].abs())).min(1.0) } else { 0.1 };
        let old = g;
        x.iter_mut().zip(&d).for_each(|(x, d)| *x += t * d);
        let f = valley(&x, &mut g);
        memory.push(d.iter().map(|d| t * d), g.iter().zip(&old).map(|(g, o)| g - o));
        got.push([x[0], x[1], f]);
    }
    let d = distance(&got, &want);
    assert!(d <= 1e-6, "{d:e}");
}

#[test]
fn lbfgs_with_strong_wolfe_evaluates_where_the_oracle_does() {
    let Some(oracle) = sidecar("torch/optimisers_rosenbrock") else { return };
    let want = rows(&oracle["results"]["lbfgs_strong_wolfe"]["trajectory"]);
    let mut got = Vec::new();
    let mut objective = |x: &[f64], _: usize, g: &mut [f64]| -> Result<f64, Error> {
        let f = valley(x, g);
        got.push([x[0], x[1], f]);
        Ok(f)
    };
    let method = Method::Lbfgs { pairs: 10, wolfe: Wolfe { evaluations: 1000, ..Wolfe::default() } };
    let params = MinimizeParams { method, gradient_tolerance: 1e-7, ..MinimizeParams::default() };
    let plan = Minimize::new(2, params).unwrap();
    let found = plan.run(plan.start(&[-1.2, 1.0]).unwrap(), 40, &mut objective, &mut silent).unwrap();
    // The oracle ends where the loss changes by less than 1e-9; its last row repeats the final point.
    let n = want.len() - 1;
    assert!(got.len() >= n, "{} evaluations, {n} of the oracle", got.len());
    let near = |v: &[[f64; 3]]| v.iter().map(|r| [r[0], r[1], r[2].max(1e-6)]).collect::<Vec<_>>();
    let d = distance(&near(&got[..n]), &near(&want[..n]));
    assert!(d <= 1e-6, "{d:e}");
    assert!(found.state.best_loss <= want[n][2]);
}

#[test]
fn learning_rates_are_those_of_the_oracle() {
    let Some(oracle) = sidecar("torch/lr_schedules") else { return };
    let shapes = [
        ("cosine", 0.01, Shape::Cosine { period: 20, floor: 1e-5 }),
        ("step", 0.01, Shape::Step { every: 7, factor: 0.5 }),
        ("exp", 0.01, Shape::Exponential { factor: 0.9 }),
        ("onecycle", 0.1, Shape::OneCycle { total: 30 }),
    ];
    for (name, rate, shape) in shapes {
        let s = Schedule { rate, warm_up: 0, shape };
        for (i, want) in oracle["results"][name].as_array().unwrap().iter().enumerate() {
            let (got, want) = (s.at(i, &NO_PLATEAU), want.as_f64().unwrap());
            // The oracle multiplies up step by step.
            assert!((got - want).abs() <= 1e-12 * rate, "{name} {i}: {got} {want}");
        }
    }
}

#[test]
fn tv_denoising_is_no_worse_than_the_oracle_and_close_to_it() {
    if sidecar("skimage/tv_chambolle").is_none() {
        return;
    }
    // ½‖x − b‖² + w TV(x), which the oracle's 30 to 200 dual steps approach, and ours solve.
    for (input, output, weight) in [
        ("noisy2d", "w0p1_n200", 0.1),
        ("noisy2d", "w0p1_n50", 0.1),
        ("noisy2d", "w0p3_n50", 0.3),
        ("noisy3d", "vol_w0p2_n30", 0.2),
    ] {
        let noisy = array(&format!("skimage/tv_chambolle__{input}"));
        let theirs = array(&format!("skimage/tv_chambolle__{output}"));
        let d = Arc::new(Difference::new(noisy.dims()).unwrap());
        let tv = Prox::Group { weight, parts: noisy.dims().len() };
        let g = Prox::Squares { weight: 1.0, target: noisy.as_slice().to_vec() };
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; d.range().words()];
            d.apply(x, &mut y, Write::Set, &mut []);
            g.value(x) + tv.value(&y)
        };
        let terms = [Term { op: d.clone(), prox: tv.clone() }];
        let params = ProximalParams { iterations: 500, tolerance: 1e-7 };
        let found = pdhg(&g, &terms, Some(noisy.as_slice()), 1.0, &params, &mut silent).unwrap();
        let (ours, reference) = (loss(&found.x), loss(theirs.as_slice()));
        assert!((ours - found.loss.last().unwrap()).abs() < 1e-12 * ours);
        assert!(ours <= reference, "{output}: {ours} {reference}");
        // By strong convexity ‖x − x*‖² ≤ 2 (E(x) − E(x*)): the oracle is as close to our minimum as its excess says. Ours has an
        // excess too, of at most a thousandth of the oracle's shortest run.
        let square: f64 = found.x.iter().zip(theirs.as_slice()).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(square <= 2.0 * (reference - ours) + 1e-4 * reference, "{output}: {square} {}", reference - ours);
        // After 200 steps the oracle is nearly there.
        assert!(output != "w0p1_n200" || reference - ours < 0.02 * reference, "{output}: {ours} {reference}");
    }
}
