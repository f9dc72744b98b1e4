//! `optim`: closed-form minima, agreement of the solvers, and what happens when a run is cut, stopped or fails.

use std::sync::Arc;

use exitwave::Error;
use exitwave::autodiff::{Graph, Mode, PlanOptions, Session};
use exitwave::observe::{ControlFlow, Step, Stop, silent};
use exitwave::op::{Diagonal, Identity, LinearOp};
use exitwave::optim::{
    AdamStep, Clip, Difference, Method, Minimize, MinimizeParams, Momentum, Prox, ProximalParams, Schedule,
    SecondMoment, Sgd, Shape, Term, Wolfe, admm, condat_vu, fista, pdhg,
};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::{Limits, Space};

/// Rosenbrock's valley in n dimensions; the minimum is 0 at (1, 1, …).
fn valley(x: &[f64], g: &mut [f64]) -> f64 {
    g.fill(0.0);
    let mut f = 0.0;
    for i in 0..x.len() - 1 {
        let (a, r) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
        f += a * a + 100.0 * r * r;
        g[i] += -2.0 * a - 400.0 * x[i] * r;
        g[i + 1] += 200.0 * r;
    }
    f
}

fn methods() -> [Method; 5] {
    [
        Method::Sgd(Sgd { kind: Momentum::Nesterov, ..Sgd::default() }),
        Method::Adam(AdamStep::default()),
        Method::Adam(AdamStep { second: SecondMoment::Largest, ..AdamStep::default() }),
        Method::Lbfgs { pairs: 5, wolfe: Wolfe::default() },
        Method::ConjugateGradient { wolfe: Wolfe { c2: 0.1, ..Wolfe::default() } },
    ]
}

#[test]
fn line_searching_methods_reach_the_end_of_rosenbrocks_valley() {
    for method in &methods()[3..] {
        let params = MinimizeParams { method: *method, gradient_tolerance: 1e-9, ..MinimizeParams::default() };
        let plan = Minimize::new(8, params).unwrap();
        let found = plan
            .run(
                plan.start(&[-1.2, 1.0, -0.5, 0.8, 1.3, -1.0, 0.0, 2.0]).unwrap(),
                500,
                &mut |x, _, g| Ok(valley(x, g)),
                &mut silent,
            )
            .unwrap();
        assert_eq!(found.stop, Stop::Converged, "{method:?}: {} {:?}", found.iterations, found.state.best_loss);
        assert!(found.state.best.iter().all(|x| (x - 1.0).abs() < 1e-8), "{method:?}: {:?}", found.state.best);
        assert!(found.state.loss.windows(2).all(|l| l[1] <= l[0]), "the loss never rises");
    }
}

#[test]
fn an_interrupted_run_gives_the_same_bits() {
    for method in methods() {
        let shape = Shape::Plateau { factor: 0.5, patience: 3, threshold: 0.05, floor: 1e-6 };
        let schedule = Schedule { rate: 1e-3, warm_up: 4, shape };
        let params =
            MinimizeParams { method, schedule, clip: Clip::Norm(50.0), average: 0.9, ..MinimizeParams::default() };
        let plan = Minimize::new(4, params).unwrap();
        let start = || plan.start(&[-1.2f64, 1.0, 0.3, 2.0]).unwrap();
        let go = |state, n| plan.run(state, n, &mut |x, _, g| Ok(valley(x, g)), &mut silent).unwrap().state;
        let whole = go(start(), 33);
        let mut parts = start();
        for n in [1, 10, 0, 22] {
            parts = go(parts, n);
        }
        assert_eq!(whole, parts, "{method:?}");
        assert_eq!(whole.iteration, 33);
    }
}

#[test]
fn adam_gives_the_same_bits_for_any_number_of_threads() {
    // More words than one task works on.
    let start: Vec<f32> = (0..40_001).map(|i| (i as f32 * 0.37).sin()).collect();
    for method in &methods()[1..3] {
        let go = |par: Par| {
            let params = MinimizeParams { method: *method, par, ..MinimizeParams::default() };
            let plan = Minimize::new(start.len(), params).unwrap();
            let mut bowl = |x: &[f32], _: usize, g: &mut [f32]| {
                g.iter_mut().zip(x).for_each(|(g, x)| *g = 2.0 * x);
                Ok(x.iter().map(|x| f64::from(x * x)).sum())
            };
            plan.run(plan.start(&start).unwrap(), 7, &mut bowl, &mut silent).unwrap().state
        };
        assert_eq!(go(Par::seq()), go(Par::threads(3).unwrap()), "{method:?}");
    }
}

#[test]
fn nan_ends_the_run_and_the_best_state_is_kept() {
    for method in methods() {
        let schedule = Schedule { rate: 1e-3, ..Schedule::default() };
        let plan = Minimize::new(2, MinimizeParams { method, schedule, ..MinimizeParams::default() }).unwrap();
        // From iteration 5 on, everything is NaN: as a loss, or as the named node of a graph.
        for named in [false, true] {
            let mut objective = |x: &[f64], i: usize, g: &mut [f64]| match (i >= 5, named) {
                (true, true) => Err(Error::NotFinite { node: "potential".into(), step: i }),
                (true, false) => {
                    g.fill(f64::NAN);
                    Ok(f64::NAN)
                }
                _ => Ok(valley(x, g)),
            };
            let found = plan.run(plan.start(&[-1.2, 1.0]).unwrap(), 20, &mut objective, &mut silent).unwrap();
            let best = found.state.loss.iter().fold(f64::INFINITY, |m, l| m.min(*l));
            assert_eq!(found.iterations, 5, "{method:?}");
            assert_eq!(found.state.best_loss, best);
            assert_eq!(valley(&found.state.best, &mut [0.0; 2]), best);
            match method {
                // A line search takes NaN for a wall, and stops before it.
                Method::Lbfgs { .. } | Method::ConjugateGradient { .. } => assert_eq!(found.stop, Stop::Stalled),
                _ => {
                    assert_eq!(found.stop, Stop::NotFinite);
                    let node = if named { "potential" } else { "loss" };
                    assert!(matches!(found.failure, Some(Error::NotFinite { node: n, step: 5 }) if n == node));
                }
            }
        }
    }
    // Other errors are errors.
    let plan = Minimize::new(1, MinimizeParams::default()).unwrap();
    let start = plan.start(&[0.0]).unwrap();
    assert!(plan.run(start, 3, &mut |_, _, _| Err(Error::param("x", 1, "2")), &mut silent).is_err());
}

#[test]
fn observers_and_stop_rules_end_a_run() {
    let run = |params: MinimizeParams, observe: &mut dyn FnMut(&Step) -> ControlFlow<()>| {
        let plan = Minimize::new(2, params).unwrap();
        plan.run(plan.start(&[-1.2, 1.0]).unwrap(), 100, &mut |x, _, g| Ok(valley(x, g)), observe).unwrap()
    };
    let base = MinimizeParams::default();
    let cut =
        run(base.clone(), &mut |s| if s.iteration == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    assert_eq!((cut.stop, cut.iterations), (Stop::Cancelled, 7));
    assert_eq!(run(base.clone(), &mut silent).stop, Stop::Iterations);
    let flat = run(MinimizeParams { change_tolerance: 0.1, ..base.clone() }, &mut silent);
    assert_eq!((flat.stop, flat.iterations), (Stop::Converged, 2));
    // A rate at which it jumps about.
    let schedule = Schedule { rate: 1.0, ..Schedule::default() };
    let stalled = run(MinimizeParams { schedule, patience: 10, ..base }, &mut silent);
    assert_eq!(stalled.stop, Stop::Stalled);
    assert!(stalled.state.iteration - stalled.state.best_iteration == 11);
}

#[test]
fn parameters_that_make_no_sense_and_foreign_states_are_errors() {
    let base = MinimizeParams::default();
    assert!(Minimize::new(0, base.clone()).is_err());
    assert!(Minimize::new(1, MinimizeParams { average: 1.0, ..base.clone() }).is_err());
    assert!(Minimize::new(1, MinimizeParams { clip: Clip::Norm(f64::NAN), ..base.clone() }).is_err());
    assert!(Minimize::new(1, MinimizeParams { gradient_tolerance: f64::NAN, ..base.clone() }).is_err());
    let wolfe = Wolfe { c1: 0.5, c2: 0.1, ..Wolfe::default() };
    assert!(Minimize::new(1, MinimizeParams { method: Method::ConjugateGradient { wolfe }, ..base.clone() }).is_err());
    let small = Minimize::new(1000, MinimizeParams { limits: Limits { bytes: 1000 }, ..base.clone() });
    assert!(matches!(small, Err(Error::OverBudget { needed: 40000, budget: 1000 })));
    let (two, three) = (Minimize::new(2, base.clone()).unwrap(), Minimize::new(3, base).unwrap());
    assert!(two.start(&[1.0; 3]).is_err() && two.start(&[f64::NAN; 2]).is_err());
    let state = two.start(&[1.0; 2]).unwrap();
    let foreign = three.run(state, 1, &mut |_, _, _| Ok(0.0), &mut silent);
    assert!(matches!(foreign, Err(Error::Checkpoint { .. })));
}

#[test]
fn a_session_is_trained_and_the_node_that_became_nan_is_named() {
    // L = ‖z² − 1‖² in the complex plane: minima at ±1.
    let mut g = Graph::<f64>::new();
    let z = g.param("z", Space::complex(&[5]));
    let scale = g.data("scale", Space::real(&[]));
    let z2 = g.mul(z, z).unwrap();
    let r = g.add_complex_constant(z2, exitwave::num_complex::Complex::new(-1.0, 0.0)).unwrap();
    let r = g.mul(r, scale).unwrap();
    let a = g.abs2(r).unwrap();
    let loss = g.sum(a).unwrap();
    g.set_name(r, "residual");
    let plan = g.plan(&[loss], PlanOptions::default()).unwrap();
    let mut s = Session::new(&plan).unwrap();
    let start = [0.5, 0.4, -2.0, 0.1, 0.3, -0.9, 1.5, 1.0, -0.1, 0.2];
    for method in &methods()[1..] {
        s.set(scale, &[1.0]);
        let schedule = Schedule { rate: 0.02, ..Schedule::default() };
        let opt = Minimize::new(10, MinimizeParams { method: *method, schedule, ..MinimizeParams::default() }).unwrap();
        let mut objective = |x: &[f64], i: usize, g: &mut [f64]| s.evaluate(x, Mode::Train { step: i as u64 }, g);
        let found = opt.run(opt.start(&start).unwrap(), 600, &mut objective, &mut silent).unwrap();
        for z in found.state.best.chunks(2) {
            assert!((z[0].abs() - 1.0).abs() < 1e-3 && z[1].abs() < 1e-3, "{method:?}: {z:?}");
        }
    }
    s.set(scale, &[f64::MAX]);
    let opt = Minimize::new(10, MinimizeParams::default()).unwrap();
    let mut objective = |x: &[f64], i: usize, g: &mut [f64]| s.evaluate(x, Mode::Train { step: i as u64 }, g);
    let found = opt.run(opt.start(&start).unwrap(), 5, &mut objective, &mut silent).unwrap();
    assert_eq!(found.stop, Stop::NotFinite);
    assert!(found.failure.unwrap().to_string().contains("residual"));
}

/// A step of two levels, each of `n` samples.
fn step(n: usize) -> Vec<f64> {
    (0..2 * n).map(|i| if i < n { 0.0 } else { 1.0 }).collect()
}

#[test]
fn denoising_a_step_moves_its_levels_by_weight_over_length() {
    // min ½‖x − b‖² + w TV(x): the levels are w/n and 1 − w/n (Strong & Chan, Inverse Problems 19, S165 (2003), section 2).
    let (n, w) = (10, 0.8);
    let b = step(n);
    let tv = || {
        vec![Term { op: Arc::new(Difference::new(&[2 * n]).unwrap()) as _, prox: Prox::Group { weight: w, parts: 1 } }]
    };
    let identity = Identity::<f64>::new(&Space::real(&[2 * n])).unwrap();
    let params = ProximalParams { iterations: 3000, tolerance: 1e-12 };
    let data = Prox::Squares { weight: 1.0, target: b.clone() };
    let answers = [
        pdhg(&data, &tv(), None, 0.0, &params, &mut silent).unwrap(),
        pdhg(&data, &tv(), None, 1.0, &params, &mut silent).unwrap(),
        condat_vu(&identity, &b, &Prox::Zero, &tv(), None, &params, &mut silent).unwrap(),
        admm(&identity, &b, &tv(), None, 1.0, 50, &params, &mut silent).unwrap(),
    ];
    for (k, a) in answers.iter().enumerate() {
        for (i, x) in a.x.iter().enumerate() {
            let want = if i < n { w / n as f64 } else { 1.0 - w / n as f64 };
            // Accelerated, ‖x − x*‖ ≤ ‖K‖ ‖x⁰ − x*‖/(γ k) (Chambolle & Pock, theorem 2): 2 · 3/3000. The others converge linearly.
            let bound = if k == 1 { 2e-3 } else { 1e-5 };
            assert!((x - want).abs() < bound, "{k}, {i}: {x} {want} {:?} {}", a.stop, a.iterations);
        }
        let least = 0.5 * 2.0 * n as f64 * (w / n as f64).powi(2) + w * (1.0 - 2.0 * w / n as f64);
        assert!((a.loss.last().unwrap() - least).abs() < 1e-5);
    }
}

#[test]
fn the_lasso_of_a_diagonal_is_shrinkage() {
    // min ½(dᵢxᵢ − bᵢ)² + λ|xᵢ|: xᵢ = shrink(dᵢbᵢ, λ)/dᵢ².
    let d = [1.0, -2.0, 0.5, 3.0, 0.1];
    let b = [1.0, 1.0, 1.0, -0.1, 2.0];
    let op = Diagonal::real(&Space::real(&[5]), d.to_vec()).unwrap();
    let g = Prox::L1 { weight: 0.4 };
    let params = ProximalParams { iterations: 20_000, tolerance: 1e-13 };
    let found = fista(&op, &b, &g, None, &params, &mut silent).unwrap();
    for i in 0..5 {
        let v: f64 = d[i] * b[i];
        let want = (v.abs() - 0.4).max(0.0) * v.signum() / (d[i] * d[i]);
        assert!((found.x[i] - want).abs() < 1e-9, "{i}: {} {want}", found.x[i]);
    }
    assert_eq!(found.stop, Stop::Converged);
}

/// A blurred image of blocks: A, b.
fn blurred(dims: [usize; 2]) -> (impl LinearOp<f64>, Vec<f64>, Vec<f64>) {
    use exitwave::op::Write;
    let n = dims[0] * dims[1];
    let truth: Vec<f64> =
        (0..n).map(|i| if (i / dims[1]) / 6 % 2 == 1 && (i % dims[1]) / 5 % 2 == 1 { 1.0 } else { 0.0 }).collect();
    let mut r = rng::stream(8, 0);
    let a: Vec<f64> = (0..n).map(|_| 0.6 + 0.5 * rng::uniform(&mut r)).collect();
    let op = Diagonal::real(&Space::real(&dims), a).unwrap();
    let mut b = vec![0.0; n];
    op.apply(&truth, &mut b, Write::Set, &mut []);
    b.iter_mut().for_each(|b| *b += 0.1 * rng::normal(&mut r));
    (op, b, truth)
}

#[test]
fn the_solvers_agree_on_a_problem_with_data_bounds_and_total_variation() {
    let dims = [18, 20];
    let (op, b, truth) = blurred(dims);
    let tv = Term {
        op: Arc::new(Difference::new(&dims).unwrap()) as Arc<dyn LinearOp<f64>>,
        prox: Prox::Group { weight: 0.1, parts: 2 },
    };
    let op: Arc<dyn LinearOp<f64>> = Arc::new(op);
    let data = Term { op: op.clone(), prox: Prox::Squares { weight: 1.0, target: b.clone() } };
    let bounds = || Prox::Bounds { low: 0.0, high: 1.0 };
    let inside =
        Term { op: Arc::new(Identity::new(&Space::real(&dims)).unwrap()) as Arc<dyn LinearOp<f64>>, prox: bounds() };
    let params = ProximalParams { iterations: 4000, tolerance: 1e-10 };
    let answers = [
        condat_vu(&*op, &b, &bounds(), std::slice::from_ref(&tv), None, &params, &mut silent).unwrap(),
        pdhg(&bounds(), &[tv.clone(), data], None, 0.0, &params, &mut silent).unwrap(),
        admm(&*op, &b, &[tv, inside], None, 1.0, 30, &params, &mut silent).unwrap(),
    ];
    let rms =
        |a: &[f64], b: &[f64]| (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt();
    for a in &answers {
        // Their losses fall as 1/k at worst; strong convexity (0.36) turns 1e-7 of loss into 1e-3 of x at worst.
        assert!(rms(&a.x, &answers[0].x) < 1e-4, "{} {:?}", rms(&a.x, &answers[0].x), a.stop);
        assert!(a.x.iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x)));
    }
    // And it denoises.
    assert!(rms(&answers[0].x, &truth) < 0.5 * rms(&b, &truth));
}

#[test]
fn proximal_solvers_refuse_what_does_not_fit_and_name_what_is_not_finite() {
    let space = Space::real(&[4]);
    let op = Identity::<f64>::new(&space).unwrap();
    let (b, params) = ([1.0; 4], ProximalParams::default());
    let none: &[Term<f64>] = &[];
    assert!(fista(&op, &b[..3], &Prox::Zero, None, &params, &mut silent).is_err());
    assert!(fista(&op, &[f64::NAN; 4], &Prox::Zero, None, &params, &mut silent).is_err());
    assert!(fista(&op, &b, &Prox::L1 { weight: f64::NAN }, None, &params, &mut silent).is_err());
    assert!(fista(&op, &b, &Prox::Zero, Some(&b[..2]), &params, &mut silent).is_err());
    assert!(fista(&op, &b, &Prox::Zero, None, &ProximalParams { iterations: 0, ..params }, &mut silent).is_err());
    assert!(pdhg(&Prox::Zero, none, None, 0.0, &params, &mut silent).is_err());
    assert!(admm(&op, &b, none, None, 0.0, 10, &params, &mut silent).is_err());
    assert!(
        condat_vu(&op, &b, &Prox::Squares { weight: 1.0, target: vec![0.0; 3] }, none, None, &params, &mut silent)
            .is_err()
    );
    let wrong = Term { op: Arc::new(Difference::new(&[5]).unwrap()) as Arc<dyn LinearOp<f64>>, prox: Prox::Zero };
    assert!(condat_vu(&op, &b, &Prox::Zero, &[wrong], None, &params, &mut silent).is_err());
    // Without terms it is least squares.
    let found = condat_vu(&op, &b, &Prox::NonNegative, none, None, &params, &mut silent).unwrap();
    assert!(found.x.iter().all(|x| (x - 1.0).abs() < 1e-4));
    let cut = fista(&op, &b, &Prox::Zero, None, &params, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((cut.stop, cut.iterations), (Stop::Cancelled, 1));
}
