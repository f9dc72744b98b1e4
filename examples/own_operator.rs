//! A linear operator and a function of one's own: written, tested, and trained through.
//!
//! The instrument: every line of a scan is displaced by a known drift (linear: `RowShift`), and the detector saturates (nonlinear: `Saturation`).
//! Two scans with different drift and exposure are simulated, with noise; the image behind them, and the level at which the detector saturates, are
//! found by gradient, with a smoothed total variation. (Of one exposure alone the level could not be told from the image.)

mod support;

use std::sync::Arc;
use std::time::Instant;

use exitwave::Error;
use exitwave::autodiff::{
    Function, GradCheckParams, Graph, Mode, Needs, NodeId, PlanOptions, Session, check_function, grad_check,
};
use exitwave::io::npy;
use exitwave::op::{LinearOp, Write, dot_test, write};
use exitwave::optim::{Difference, Method, Minimize, MinimizeParams, Wolfe};
use exitwave::render::{Cell, ColorMap, Image, Line, Panel, Plot, Range, Scale, Series};
use exitwave::rng;
use exitwave::shape::Space;
use exitwave::tensor::Tensor;
use support::{Failure, Options, progress};

const HELP: &str = "\
own_operator: a LinearOp and a Function of one's own, tested and trained through

  --noise S        standard deviation of the noise, of a detector that saturates at 1 (default 0.02)
  --tv W           weight of the total variation (default 0.002)
  --iterations N   iterations of L-BFGS (default 200)
  --seed S         seed of drift and noise (default 1)
  --out DIR        where the PNG and the arrays (.npy) go (default out/own_operator)

The last line printed is one JSON object.";

const N: usize = 96;
/// Exposures of the two scans.
const EXPOSURE: [f64; 2] = [1.0, 0.3];

/// Every row of an image shifted along x by its own number of pixels, with linear interpolation and zeros outside:
///
/// `y[i, j] = (1 − f) x[i, j + s] + f x[i, j + s + 1]`, where s + f is the shift of row i, 0 ≤ f < 1.
#[derive(Debug)]
struct RowShift {
    shifts: Vec<f64>,
    space: Space,
}

impl RowShift {
    fn new(columns: usize, shifts: Vec<f64>) -> Result<Self, Error> {
        if let Some(index) = shifts.iter().position(|s| !s.is_finite()) {
            return Err(Error::Data { what: "RowShift: a shift that is not finite".into(), index });
        }
        Ok(RowShift { space: Space::real(&[shifts.len(), columns]), shifts })
    }

    /// Calls `f(y index, x index, weight)` for every pair that the operator connects. Forward and adjoint share it, so that they cannot
    /// disagree.
    fn each(&self, mut f: impl FnMut(usize, usize, f64)) {
        let n = self.space.dims()[1];
        for (i, shift) in self.shifts.iter().enumerate() {
            let (whole, rest) = (shift.floor(), shift - shift.floor());
            for j in 0..n {
                for (step, weight) in [(0.0, 1.0 - rest), (1.0, rest)] {
                    let from = j as f64 + whole + step;
                    if from >= 0.0 && from < n as f64 {
                        f(i * n + j, i * n + from as usize, weight);
                    }
                }
            }
        }
    }
}

impl LinearOp<f64> for RowShift {
    fn domain(&self) -> &Space {
        &self.space
    }

    fn range(&self) -> &Space {
        &self.space
    }

    fn scratch_len(&self) -> usize {
        0
    }

    fn apply(&self, x: &[f64], y: &mut [f64], w: Write, _: &mut [f64]) {
        if w == Write::Set {
            y.fill(0.0);
        }
        self.each(|to, from, weight| y[to] += weight * x[from]);
    }

    fn apply_adjoint(&self, y: &[f64], x: &mut [f64], w: Write, _: &mut [f64]) {
        if w == Write::Set {
            x.fill(0.0);
        }
        self.each(|to, from, weight| x[from] += weight * y[to]);
    }
}

/// A detector that saturates, `y = a (1 − e^{−x/a})`, with a trainable level a: `∂y/∂x = e^{−x/a}`, `∂y/∂a = y/a − (x/a) e^{−x/a}`.
#[derive(Debug)]
struct Saturation;

impl Function<f64> for Saturation {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        match inputs {
            [x, a] if **a == Space::real(&[]) && **x == Space::real(x.dims()) => Ok((*x).clone()),
            _ => Err(Error::Unsupported { what: "Saturation: expected (a real array, a real scalar)".into() }),
        }
    }

    // Backward reads both inputs and the output: the planner keeps them, and nothing else.
    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: true, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[f64]], y: &mut [f64], _: &mut [f64], _: &mut [f64], _: Mode) {
        let a = x[1][0];
        y.iter_mut().zip(x[0]).for_each(|(y, x)| *y = a * (1.0 - (-x / a).exp()));
    }

    fn backward(
        &self,
        x: &[&[f64]],
        y: &[f64],
        _: &[f64],
        dy: &[f64],
        dx: &mut [Option<(&mut [f64], Write)>],
        _: &mut [f64],
    ) {
        let a = x[1][0];
        let [first, second] = dx else { panic!("Saturation has two inputs") };
        if let Some((dx, w)) = first {
            for i in 0..dy.len() {
                write(&mut dx[i], (-x[0][i] / a).exp() * dy[i], *w);
            }
        }
        if let Some((da, w)) = second {
            let slope = |i: usize| (y[i] - x[0][i] * (-x[0][i] / a).exp()) / a;
            write(&mut da[0], (0..dy.len()).map(|i| slope(i) * dy[i]).sum(), *w);
        }
    }
}

/// Blocks, a disk and a fine grating.
fn truth() -> Vec<f64> {
    let value = |y: f64, x: f64| {
        let disk = if (y - 60.0).hypot(x - 34.0) < 19.0 { 1.2 } else { 0.0 };
        let block = if (12.0..30.0).contains(&y) && (14.0..52.0).contains(&x) { 0.7 } else { 0.0 };
        let grating = if x > 60.0 && x < 86.0 && (x as usize / 3).is_multiple_of(2) { 0.2 + y / N as f64 } else { 0.0 };
        disk + block + grating + 0.1
    };
    (0..N * N).map(|i| value((i / N) as f64, (i % N) as f64)).collect()
}

fn psnr(a: &[f64], b: &[f64]) -> f64 {
    let mse = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64;
    let peak = b.iter().fold(0.0f64, |m, v| m.max(*v));
    10.0 * (peak * peak / mse).log10()
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let options = Options::read(HELP, &["noise", "tv", "iterations", "seed", "out"], &[])?;
    let (noise, tv): (f64, f64) = (options.get("noise", 0.02)?, options.get("tv", 0.002)?);
    let (iterations, seed): (usize, u64) = (options.get("iterations", 200)?, options.get("seed", 1)?);
    let out = options.out("out/own_operator")?;

    // The two tests that every operator and every function must pass.
    let drift = |k: u64| -> Vec<f64> {
        let mut r = rng::stream(seed, k);
        let mut at = 0.0;
        (0..N)
            .map(|_| {
                at = 0.97 * at + 0.7 * rng::normal(&mut r);
                at
            })
            .collect()
    };
    let ops = [drift(1), drift(2)].map(|d| RowShift::new(N, d).map(Arc::new));
    let [first, second] = ops;
    let ops = [first?, second?];
    let dot = dot_test(&*ops[0], 1).error;
    let function = check_function(&Saturation, &[Space::real(&[7, 5]), Space::real(&[])], 3)?;
    println!("dot test of RowShift               {dot:.1e}");
    println!("finite differences of Saturation   {function:.1e}");
    if dot.is_nan() || dot > 1e-12 || function.is_nan() || function > 1e-6 {
        return Err("an adjoint or a gradient is wrong".into());
    }

    // L = Σ_k ½‖saturation(t_k shift_k x) − b_k‖² + w Σ √(|D x|² + s²).
    let frame = Space::real(&[N, N]);
    let mut g = Graph::<f64>::new();
    let x = g.param("image", frame.clone());
    let level = g.param("level", Space::real(&[]));
    let weight = g.data("weight", Space::real(&[]));
    let mut losses: Vec<NodeId> = Vec::new();
    let mut scans = Vec::new();
    for (k, op) in ops.iter().enumerate() {
        let measured = g.data(&format!("scan {k}"), frame.clone());
        let moved = g.linear(op.clone(), x)?;
        let moved = g.scale(moved, EXPOSURE[k])?;
        let seen = g.call(Arc::new(Saturation), &[moved, level])?;
        g.output(seen);
        let r = g.sub(seen, measured)?;
        let r = g.abs2(r)?;
        let r = g.sum(r)?;
        losses.push(g.scale(r, 0.5)?);
        scans.push((measured, seen));
    }
    let d = g.linear(Arc::new(Difference::new(&[N, N])?), x)?;
    let d = g.abs2(d)?;
    let d = g.sum_axis(d, 0)?;
    let d = g.add_constant(d, 1e-4)?;
    let d = g.sqrt(d)?;
    let d = g.sum(d)?;
    let rough = g.mul(d, weight)?;
    losses.push(rough);
    let plan = g.plan(&losses, PlanOptions::default())?;
    println!("\n{plan}");

    // The measurement, by the same graph.
    let truth = truth();
    let mut s = Session::new(&plan)?;
    s.set(x, &truth);
    s.set(level, &[1.0]);
    s.set(weight, &[tv]);
    scans.iter().for_each(|(measured, _)| s.set(*measured, &vec![0.0; N * N]));
    s.forward(Mode::Eval)?;
    let mut r = rng::stream(seed, 9);
    let noisy: Vec<Vec<f64>> = scans
        .iter()
        .map(|(_, seen)| s.value(*seen).iter().map(|v| v + noise * rng::normal(&mut r)).collect())
        .collect();
    scans.iter().zip(&noisy).for_each(|((measured, _), b)| s.set(*measured, b));

    // The gradient of the whole, then the training: the image, and the level at which the detector saturates.
    let begin: Vec<f64> = noisy[0].iter().copied().chain([1.5]).collect();
    s.set(x, &begin[..N * N]);
    s.set(level, &begin[N * N..]);
    let whole = grad_check(&mut s, &GradCheckParams::default())?;
    println!("finite differences of the graph    {:.1e}", whole.error);
    let method = Method::Lbfgs { pairs: 8, wolfe: Wolfe::default() };
    let fit = Minimize::new(plan.param_words(), MinimizeParams { method, ..MinimizeParams::default() })?;
    let mut objective = |x: &[f64], i: usize, g: &mut [f64]| s.evaluate(x, Mode::Train { step: i as u64 }, g);
    let found = fit.run(fit.start(&begin)?, iterations, &mut objective, &mut progress("L-BFGS"))?;
    let (image, level) = found.state.best.split_at(N * N);
    let (before, after) = (psnr(&noisy[0], &truth), psnr(image, &truth));
    println!("\nPSNR {before:.2} dB → {after:.2} dB; the detector saturates at {:.4} (true: 1)", level[0]);

    let mut panel = Panel::new(4);
    for (title, data) in [("truth", &truth[..]), ("one scan", &noisy[0]), ("found", image)] {
        let mut cell = Image::real(&[N, N], data)?;
        (cell.title, cell.map) = (title.into(), ColorMap::Grey);
        cell.range = Range::Fixed { min: 0.0, max: 1.4 };
        panel.add(Cell::Image(cell));
    }
    let loss = &found.state.loss;
    panel.add(Cell::Plot(Plot {
        title: "L-BFGS".into(),
        x_label: "iteration".into(),
        y_label: "loss".into(),
        y_scale: Scale::Log,
        series: vec![Series {
            x: (1..=loss.len()).map(|i| i as f64).collect(),
            y: loss.clone(),
            line: Line::Solid,
            ..Series::default()
        }],
        ..Plot::default()
    }));
    let png = out.join("own_operator.png");
    panel.render()?.write_png(&png)?;
    for (name, data) in [("truth", &truth[..]), ("scan_0", &noisy[0]), ("scan_1", &noisy[1]), ("found", image)] {
        npy::write(out.join(format!("{name}.npy")), &Tensor::from_vec(&[N, N], data.to_vec())?)?;
    }

    let line = serde_json::json!({
        "dot_test": dot,
        "function_gradient_error": function,
        "graph_gradient_error": whole.error,
        "psnr_before_dB": before,
        "psnr_after_dB": after,
        "level": level[0],
        "iterations": found.iterations,
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
