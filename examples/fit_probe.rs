//! The aberrations of a probe from one defocused diffraction pattern of a known thin object, by gradient.
//!
//! One graph is the microscope: coefficients → χ → probe → object → detector. It simulates the counts, and the Poisson loss of the same
//! graph is minimised: over C10 by a scan, then, from each of its valleys, over all coefficients by L-BFGS, order by order.

mod support;

use std::sync::Arc;
use std::time::Instant;

use exitwave::autodiff::{GradCheckParams, Graph, Mode, NodeId, Plan, PlanOptions, Session, grad_check};
use exitwave::fft::{Dft, fft_shift};
use exitwave::io::npy;
use exitwave::num_complex::Complex;
use exitwave::observe::{Step, silent};
use exitwave::op::{Adjoint, Compose, Diagonal, LinearOp, Reshape, Restrict};
use exitwave::optics::{
    Aberration, Aberrations, Aperture, CartesianAberrations, ChiOp, Grid, Probe, ProbeParams, chi_basis,
};
use exitwave::optim::{Method, Minimize, MinimizeParams, Wolfe};
use exitwave::par::Par;
use exitwave::render::{Axis, Cell, ColorMap, Guide, Image, Line, Panel, Pixel, Plot, Range, Scale, Series};
use exitwave::rng;
use exitwave::shape::{Limits, Space};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};
use support::{Failure, Options, progress};

const HELP: &str = "\
fit_probe: recover C10, C12, C21 and C30 of a probe from one defocused diffraction pattern

  --defocused-A C  C10 of the probe in Å, positive = overfocus (default 300)
  --electrons E    electrons in the pattern (default 1e6)
  --starts K       how many valleys of C10 are followed (default 12)
  --seed S         seed of object and counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where the PNG and the arrays (.npy) go (default out/fit_probe)

The last line printed is one JSON object.";

const N: usize = 128;
const PIXEL: Length = Length::angstrom(0.2);
const ENERGY: Energy = Energy::kev(300.0);
const SEMI_ANGLE: Angle = Angle::mrad(25.0);
/// Added to the expected counts, so that the logarithm is finite outside the aperture.
const BACKGROUND: f64 = 1e-2;

/// The coefficients that are fitted: (aberration, component a or b).
const FITTED: [(Aberration, usize); 6] = [
    (Aberration::C10, 0),
    (Aberration::C12, 0),
    (Aberration::C12, 1),
    (Aberration::C21, 0),
    (Aberration::C21, 1),
    (Aberration::C30, 0),
];

/// The microscope, planned.
struct Microscope {
    plan: Arc<Plan<f64>>,
    coefficients: NodeId,
    free: NodeId,
    aperture: NodeId,
    object: NodeId,
    counts: NodeId,
    intensity: NodeId,
}

impl Microscope {
    /// `units[j]`: coefficient j in Å for which χ is 1 rad at the edge of the aperture. The parameters are in these units, so that all are of
    /// order one.
    fn new(grid: &Grid, wavelength: Length, units: &[f64], par: &Par) -> Result<Self, Failure> {
        let frame = [N, N];
        let flat = Space::real(&[2 * Aberration::COUNT]);
        let places = FITTED.iter().map(|(a, component)| 2 * a.index() + component).collect();
        let mut g = Graph::new();
        let coefficients = g.param("coefficients", Space::real(&[FITTED.len()]));
        let free = g.data("free", Space::real(&[FITTED.len()]));
        let aperture = g.data("aperture", Space::real(&frame));
        let object = g.data("object", Space::complex(&frame));
        let counts = g.data("counts", Space::real(&frame));

        // χ = B · scatter · units · c: four linear operators in a row.
        let scatter = Adjoint::new(Arc::new(Restrict::<f64>::new(&flat, places)?));
        let units = Diagonal::real(&Space::real(&[FITTED.len()]), units.to_vec())?;
        let basis = Compose::<f64>::new(
            Arc::new(ChiOp::new(grid, wavelength, par.clone())?),
            Arc::new(Reshape::new(&flat, &Space::real(&[Aberration::COUNT, 2]))?),
        )?;
        let chi_of: Arc<dyn LinearOp<f64>> =
            Arc::new(Compose::new(Arc::new(basis), Arc::new(Compose::new(Arc::new(scatter), Arc::new(units))?))?);

        // ψ = F⁻¹ A exp(−iχ), I = |F (O ψ)|². Coefficients that are not free yet are 0.
        let c = g.mul(coefficients, free)?;
        let chi = g.linear(chi_of, c)?;
        let minus = g.scale(chi, -1.0)?;
        let phase = g.cis(minus)?;
        let spectrum = g.mul(phase, aperture)?;
        let dft: Arc<dyn LinearOp<f64>> = Arc::new(Dft::new(&frame, 2)?);
        let probe = g.linear(Arc::new(Adjoint::new(dft.clone())), spectrum)?;
        let exit = g.mul(probe, object)?;
        let wave = g.linear(dft, exit)?;
        let intensity = g.abs2(wave)?;
        g.output(intensity);

        // L = Σ I − n ln(I + b), divided by the number of pixels.
        let bright = g.add_constant(intensity, BACKGROUND)?;
        let log = g.log(bright)?;
        let matched = g.dot(counts, log)?;
        let total = g.sum(intensity)?;
        let loss = g.sub(total, matched)?;
        let loss = g.scale(loss, 1.0 / (N * N) as f64)?;
        g.set_name(loss, "loss");
        let plan = g.plan(&[loss], PlanOptions { par: par.clone(), limits: Limits::default() })?;
        Ok(Microscope { plan, coefficients, free, aperture, object, counts, intensity })
    }

    /// The expected pattern at the given coefficients.
    fn pattern(&self, s: &mut Session<f64>, c: &[f64]) -> Result<Vec<f64>, Failure> {
        s.set(self.coefficients, c);
        s.forward(Mode::Eval)?;
        Ok(s.value(self.intensity).to_vec())
    }
}

/// A known thin object: atoms as Gaussians of phase, periodic over the field.
fn object(seed: u64) -> Vec<Complex<f64>> {
    let mut r = rng::stream(seed, 1);
    let atoms: Vec<[f64; 2]> = (0..260).map(|_| [(); 2].map(|()| N as f64 * rng::uniform(&mut r))).collect();
    let width = 0.45 / PIXEL.to_angstrom();
    let near = |a: f64, b: f64| {
        let d = (a - b).abs();
        d.min(N as f64 - d)
    };
    let phase = |y: usize, x: usize| -> f64 {
        let r2 = |a: &[f64; 2]| near(a[0], y as f64).powi(2) + near(a[1], x as f64).powi(2);
        atoms.iter().map(|a| 0.5 * (-r2(a) / (2.0 * width * width)).exp()).sum()
    };
    (0..N * N).map(|i| Complex::from_polar(1.0, phase(i / N, i % N))).collect()
}

/// One fit: where it began, what it found, its losses, and where its stages ended.
#[derive(Default)]
struct Fit {
    start: f64,
    c: Vec<f64>,
    loss: f64,
    history: Vec<f64>,
    ends: Vec<f64>,
}

/// A pattern with its zero frequency in the middle.
fn centred(pattern: &[f64]) -> Vec<f64> {
    let mut shifted = vec![0.0; N * N];
    fft_shift(&[N, N], pattern, &mut shifted);
    shifted
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let options = Options::read(HELP, &["defocused-A", "electrons", "starts", "seed", "threads", "out"], &[])?;
    let threads: usize = options.get("threads", 0)?;
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    let (seed, electrons): (u64, f64) = (options.get("seed", 1)?, options.get("electrons", 1e6)?);
    let starts: usize = options.get("starts", 12)?;
    if starts == 0 {
        return Err("--starts: expected at least 1".into());
    }
    if !(electrons > 0.0 && electrons <= 1e12) {
        return Err("--electrons: expected a number between 0 and 1e12".into());
    }
    let out = options.out("out/fit_probe")?;

    // The truth.
    let mut lens = Aberrations::default();
    lens[Aberration::C10].c = Length::angstrom(options.get("defocused-A", 300.0)?);
    lens.set_astigmatism(Length::angstrom(42.0), Angle::deg(25.0));
    lens.set_coma(Length::angstrom(900.0), Angle::deg(-70.0));
    lens.set_cs(Length::um(12.0));
    let truth = lens.to_cartesian().to_angstrom();

    // The aperture, with all electrons in it, and the unit of each coefficient.
    let grid = Grid { dims: [N, N], sampling: [PIXEL; 2] };
    let probe = Probe::<f64>::new(&ProbeParams {
        energy: ENERGY,
        aperture: Aperture::Soft { semi_angle: SEMI_ANGLE },
        grid,
        ..ProbeParams::default()
    })?;
    let amplitude = probe.reciprocal([Length::ZERO; 2])?.map(|z| z.norm() * electrons.sqrt());
    let lambda = probe.wavelength().to_angstrom();
    let edge = chi_basis(lambda, [0.0, SEMI_ANGLE.to_rad() / lambda]);
    let units: Vec<f64> = FITTED.iter().map(|(a, _)| 1.0 / edge[a.index()][0]).collect();
    let target: Vec<f64> = FITTED.iter().zip(&units).map(|((a, i), u)| truth[a.index()][*i] / u).collect();

    // The counts, by the graph that is fitted to them.
    let m = Microscope::new(&grid, probe.wavelength(), &units, &par)?;
    let mut s = Session::new(&m.plan)?;
    s.set(m.aperture, amplitude.as_slice());
    s.set_complex(m.object, &object(seed));
    s.set(m.counts, &[0.0; N * N]);
    s.set(m.free, &[1.0; FITTED.len()]);
    let expected = m.pattern(&mut s, &target)?;
    let mut r = rng::stream(seed, 2);
    let counts: Vec<f64> = expected.iter().map(|&mean| rng::poisson(&mut r, mean)).collect();
    s.set(m.counts, &counts);
    println!("{:.0} electrons, plan of {} bytes", counts.iter().sum::<f64>(), m.plan.bytes());

    // An audit of the gradient, at a point where nothing is symmetric.
    s.set(m.coefficients, &[3.0, 0.4, -0.3, 0.2, 0.5, -0.7]);
    let check = grad_check(&mut s, &GradCheckParams::default())?;
    println!("gradient against finite differences: {:.1e}", check.error);

    // C10 alone, by a scan of ± 800 Å, 1 rad a step: the loss has many valleys, and with the other coefficients at 0 the deepest need not be
    // the right one. The best are all followed.
    let range = (800.0 / units[0]).ceil() as i32;
    let mut scan = Vec::new();
    for step in -range..=range {
        s.set(m.coefficients, &[f64::from(step), 0.0, 0.0, 0.0, 0.0, 0.0]);
        scan.push((s.forward(Mode::Eval)?, f64::from(step)));
    }
    let mut valleys: Vec<(f64, f64)> =
        scan.windows(3).filter(|w| w[1].0 <= w[0].0 && w[1].0 <= w[2].0).map(|w| w[1]).collect();
    valleys.sort_by(|a, b| a.0.total_cmp(&b.0));
    valleys.truncate(starts);

    // From each, all coefficients, the higher orders after the lower ones.
    let stages: [([f64; 6], usize); 3] =
        [([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 15), ([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], 15), ([1.0; 6], 60)];
    let params = MinimizeParams {
        method: Method::Lbfgs { pairs: 6, wolfe: Wolfe::default() },
        change_tolerance: 1e-12,
        ..MinimizeParams::default()
    };
    let fit = Minimize::new(FITTED.len(), params)?;
    let mut bar = progress("fits from the valleys of C10");
    let mut best = Fit { loss: f64::INFINITY, ..Fit::default() };
    for (i, (_, c10)) in valleys.iter().enumerate() {
        let mut trial = Fit { start: *c10, c: vec![0.0; FITTED.len()], ..Fit::default() };
        trial.c[0] = *c10;
        for (free, iterations) in stages {
            s.set(m.free, &free);
            let mut objective = |x: &[f64], i: usize, g: &mut [f64]| s.evaluate(x, Mode::Train { step: i as u64 }, g);
            let found = fit.run(fit.start(&trial.c)?, iterations, &mut objective, &mut silent)?;
            trial.history.extend(&found.state.loss);
            trial.ends.push(trial.history.len() as f64);
            (trial.c, trial.loss) = (found.state.best, found.state.best_loss);
        }
        if trial.loss < best.loss {
            best = trial;
        }
        if bar(&Step::new(i + 1, valleys.len(), best.loss)).is_break() {
            break;
        }
    }
    let Fit { start: c10, c, history, ends, .. } = best;
    println!("\n{} valleys; the best fit began at C10 = {:.0} Å", valleys.len(), c10 * units[0]);

    // True and found.
    let mut found = [[0.0; 2]; Aberration::COUNT];
    for (((a, i), u), c) in FITTED.iter().zip(&units).zip(&c) {
        found[a.index()][*i] = c * u;
    }
    let polar = CartesianAberrations::from_angstrom(&found).to_polar();
    let mut errors = serde_json::Map::new();
    println!("      {:>10} {:>10} {:>10}   {:>8} {:>8}", "true Å", "found Å", "error rad", "true °", "found °");
    for a in [Aberration::C10, Aberration::C12, Aberration::C21, Aberration::C30] {
        let (t, f) = (lens.canonical()[a], polar.canonical()[a]);
        let [d0, d1] = [0, 1].map(|i| (truth[a.index()][i] - found[a.index()][i]) * edge[a.index()][0]);
        let error = d0.hypot(d1);
        println!(
            "{a:5} {:10.2} {:10.2} {error:10.5}   {:8.2} {:8.2}",
            t.c.to_angstrom(),
            f.c.to_angstrom(),
            t.phi.to_deg(),
            f.phi.to_deg()
        );
        let value = serde_json::json!({
            "true_A": t.c.to_angstrom(), "found_A": f.c.to_angstrom(),
            "true_deg": t.phi.to_deg(), "found_deg": f.phi.to_deg(), "error_rad_at_edge": error,
        });
        errors.insert(a.name().to_string(), value);
    }

    // The panel.
    let scanned = m.pattern(&mut s, &[c10, 0.0, 0.0, 0.0, 0.0, 0.0])?;
    let fitted = m.pattern(&mut s, &c)?;
    let mut panel = Panel::new(4);
    let top = expected.iter().fold(0.0f64, |m, v| m.max(*v));
    for (title, data) in [("one pattern, counted", &counts), ("after the scan of C10", &scanned), ("fitted", &fitted)] {
        let shifted = centred(data);
        // The aperture, and a little around it.
        let (from, side) = (N / 2 - 40, 80);
        let cut: Vec<f64> = (0..side * side).map(|i| shifted[(from + i / side) * N + from + i % side]).collect();
        let mut image = Image::real(&[side, side], &cut)?;
        (image.title, image.map, image.range) = (title.into(), ColorMap::Viridis, Range::Fixed { min: 0.0, max: top });
        image.pixel = Pixel::Frequency(grid.frequency_step()[1]);
        panel.add(Cell::Image(image));
    }
    let least = history.iter().fold(f64::INFINITY, |m, l| m.min(*l));
    panel.add(Cell::Plot(Plot {
        title: "L-BFGS".into(),
        x_label: "iteration".into(),
        y_label: "loss above its end".into(),
        y_scale: Scale::Log,
        series: vec![Series {
            label: "Poisson".into(),
            x: (0..history.len()).map(|i| i as f64 + 1.0).collect(),
            y: history.iter().map(|l| (l - least).max(1e-9)).collect(),
            line: Line::Solid,
            ..Series::default()
        }],
        guides: ends[..2].iter().map(|&value| Guide { value, axis: Axis::X, label: String::new() }).collect(),
        ..Plot::default()
    }));
    let png = out.join("fit_probe.png");
    panel.render()?.write_png(&png)?;
    // Patterns with the zero frequency in the middle, and the course of the best fit.
    for (name, data) in [("counts", &counts), ("expected", &expected), ("fitted", &fitted)] {
        npy::write(out.join(format!("{name}.npy")), &Tensor::from_vec(&[N, N], centred(data))?)?;
    }
    npy::write(out.join("loss.npy"), &Tensor::from_vec(&[history.len()], history.clone())?)?;

    let line = serde_json::json!({
        "aberrations": errors,
        "electrons": counts.iter().sum::<f64>(),
        "gradient_error": check.error,
        "iterations": history.len(),
        "starts": valleys.len(),
        "plan_bytes": m.plan.bytes(),
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
