//! Low-dose 4D-STEM of UiO-66 along [110] with the probe focused on the surface, and 50 and 100 nm above it: iCOM, ePIE and Wigner
//! deconvolution, at infinite dose and at three finite ones, against the true projected phase.
//!
//! The study of a review's figure (300 kV, 20 mrad, 3 nm, Kirkland's potentials, frozen phonons), with numbers: at infinite dose iterative
//! ptychography finds nearly the same phase at every focus, and the centre of mass of a defocused probe finds none.

mod support;
#[path = "support/uio66.rs"]
mod uio66;

use std::sync::Arc;
use std::time::Instant;

use exitwave::io::npy;
use exitwave::multislice::MultisliceParams;
use exitwave::par::Par;
use exitwave::ptycho::{
    Algorithm, Patterns, Placement, PtychoParams, Ptychography, SlicedParams, SlicedPtychography, ZeroFrequency,
    count_electrons, grid,
};
use exitwave::render::{Axis, Cell, Guide, Line, Panel, Plot, Series};
use exitwave::shape::Limits;
use exitwave::stem::LowFrequency;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Length, SpatialFrequency};
use support::{Failure, Options, progress};
use uio66::{Scan, Score, cell};

const HELP: &str = "\
defocus_study: UiO-66 [110], focused and 50 and 100 nm out of focus: iCOM, ePIE and Wigner deconvolution

  --iterations N   sweeps of ePIE at infinite dose (default 30; a third of them at finite dose)
  --foci-nm LIST   heights of the focus above the surface (default 0,50,100)
  --doses LIST     finite doses in e/Å² (default 1000,100,40)
  --phonons N      configurations of the thermal motion (default 3)
  --object-step B  ePIE's step (default 0.5)
  --probe-step B   ePIE's step for the probe, which starts as the true one (default 0: known)
  --noise N        at a finite dose of n electrons a pattern ePIE's steps are n/(n + N) of these (default 40000)
  --slices S       slices of the reconstruction in depth, at infinite dose (default 2; 0: none)
  --slice-iterations N  its iterations (default 12)
  --full           15 × 15 nm, 15 configurations, 300 sweeps, steps 1 and 1 (hours): the defocused scans with
                   steps of 2.9 × 2.6 Å; in focus, where the steps are small, 2 × 2 cells
  --seed S         seed of phonons and counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where the PNG and the arrays (.npy) go (default out/defocus_study)

Truth: σ∫V dz of the thermal average. Correlations are those of phases without what is beyond α/λ = 1.016 1/Å (or 2α/λ), a plane
removed. FRC resolutions are those at 1/2 of the ring correlation with the truth; null where no ring reaches it.
The last line printed is one JSON object.";

const METHODS: [&str; 3] = ["icom", "ptycho", "wdd"];

/// Numbers between commas.
fn list<V: std::str::FromStr>(text: &str) -> Result<Vec<V>, Failure> {
    text.split(',').map(|s| s.trim().parse().map_err(|_| format!("{s}: not a number").into())).collect()
}

struct Setting {
    iterations: usize,
    phonons: u64,
    steps: [f64; 2],
    noise: f64,
    slices: usize,
    slice_iterations: usize,
    full: bool,
    seed: u64,
    par: Par,
}

/// The scan at a focus. A probe 100 nm out of focus is 40 Å wide and needs a window of twice that; in focus a smaller window and finer
/// steps do.
fn scan(nm: u32, full: bool) -> Result<Scan, Failure> {
    let [_, y, x] = cell()?.edges()?;
    let c10 = Length::nm(f64::from(nm));
    let base = Scan { edges: [y, x], pixels: [80, 108], window: [2, 2], scanned: [1, 1], step: [2, 2], c10 };
    Ok(match (nm, full) {
        (0, false) => base,
        (0, true) => Scan { scanned: [2, 2], ..base },
        (_, false) => Scan { pixels: [60, 96], window: [6, 4], step: [4, 4], ..base },
        (_, true) => Scan { pixels: [60, 96], window: [6, 4], scanned: [10, 7], step: [12, 12], ..base },
    })
}

/// Phases of the field by the three methods.
fn phases(scan: &Scan, expected: &Tensor<f32>, dose: f64, set: &Setting) -> Result<[Vec<f64>; 3], Failure> {
    let [step_y, step_x] = scan.step_length();
    let electrons = if dose.is_finite() { Dose::per_angstrom2(dose) * (step_y * step_x) } else { 1e6 };
    let mut data = expected.map(|v| v * electrons as f32);
    if dose.is_finite() {
        count_electrons(&mut data, set.seed, &set.par);
    }
    let data = Arc::new(data);
    let stem = scan.data_set(data.clone())?;
    let low = match dose.is_finite() {
        true => LowFrequency::HighPass(SpatialFrequency::per_angstrom(0.05)),
        false => LowFrequency::Keep,
    };
    let icom = scan.icom(&stem, low, &set.par)?;
    let wdd = scan.wdd(&stem, &set.par)?;
    drop(stem);

    // ePIE. With few electrons a pattern's word counts little: its step is that of an average over its neighbours.
    let (weight, sweeps) = match dose.is_finite() {
        true => (electrons / (electrons + set.noise), set.iterations.div_ceil(3)),
        false => (1.0, set.iterations),
    };
    let patterns = Patterns::<f32>::from_source(&*data, ZeroFrequency::Center, None, Limits::default())?;
    drop(data);
    let [object_step, probe_step] = set.steps.map(|b| b * weight);
    let plan = Ptychography::new(
        patterns,
        scan.positions()?,
        PtychoParams {
            algorithm: Algorithm::Epie { object_step, probe_step },
            placement: Placement::Whole,
            probe_from: if probe_step > 0.0 { 0 } else { usize::MAX },
            seed: set.seed,
            par: Par::seq(),
            ..PtychoParams::default()
        },
    )?;
    let outcome = plan.run(plan.start(scan.wave()?)?, sweeps, &mut progress("ePIE"))?;
    Ok([icom, scan.phase(&outcome.state.object), wdd])
}

/// The sum of a few slices' phases, found with the model of thick specimens: each slice in the middle of its part of the crystal, and at the start
/// an equal part of the `thin` phase.
fn sliced(scan: &Scan, expected: &Tensor<f32>, thin: &[f64], set: &Setting) -> Result<Vec<f64>, Failure> {
    let depth = cell()?.edges()?[0] * uio66::DEEP as f64;
    let thickness = vec![depth / set.slices as f64; set.slices];
    let middle = Scan { c10: scan.c10 + thickness[0] * 0.5, ..*scan };
    let multislice = MultisliceParams {
        energy: uio66::ENERGY,
        grid: scan.grid(),
        thickness,
        par: set.par.clone(),
        ..MultisliceParams::default()
    };
    let patterns = Patterns::<f32>::from_source(expected, ZeroFrequency::Center, None, Limits::default())?;
    let positions = grid(scan.points(), scan.step_length(), Angle::ZERO);
    let params = SlicedParams { multislice, probe: middle.probe(), ..SlicedParams::default() };
    let plan = SlicedPtychography::new(patterns, &positions, params)?;
    let ([ny, nx], [fy, fx]) = (scan.dims(), scan.field());
    let mut state = plan.start()?;
    for (i, x) in state.x.iter_mut().enumerate() {
        // Cells of the window are all alike.
        *x = (thin[(i / nx % ny % fy) * fx + i % nx % fx] / set.slices as f64) as f32;
    }
    state.best.copy_from_slice(&state.x);
    let found = plan.run(state, set.slice_iterations, &mut progress("slices"))?.state.best;
    let at = |i: usize| (i / fx) * nx + i % fx;
    Ok((0..fy * fx).map(|i| (0..set.slices).map(|s| f64::from(found[s * ny * nx + at(i)])).sum()).collect())
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let names = [
        "iterations",
        "foci-nm",
        "doses",
        "noise",
        "slices",
        "slice-iterations",
        "phonons",
        "object-step",
        "probe-step",
        "seed",
        "threads",
        "out",
    ];
    let options = Options::read(HELP, &names, &["full"])?;
    let full = options.flag("full");
    let step = |name, small| options.get(name, if full { 1.0 } else { small });
    let threads: usize = options.get("threads", 0)?;
    let set = Setting {
        iterations: options.get("iterations", if full { 300 } else { 30 })?,
        phonons: options.get("phonons", if full { 15 } else { 3 })?,
        steps: [step("object-step", 0.5)?, step("probe-step", 0.0)?],
        slices: options.get("slices", 2)?,
        slice_iterations: options.get("slice-iterations", 12)?,
        noise: options.get("noise", 40_000.0)?,
        full,
        seed: options.get("seed", 1)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
    };
    if set.phonons == 0 || set.iterations == 0 {
        return Err("at least one configuration of phonons and one sweep".into());
    }
    let foci: Vec<u32> = list(&options.get("foci-nm", String::from("0,50,100"))?)?;
    let mut doses = vec![f64::INFINITY];
    doses.extend(list::<f64>(&options.get("doses", String::from("1000,100,40"))?)?);
    if let Some(d) = doses[1..].iter().find(|d| !(d.is_finite() && **d > 0.0)) {
        return Err(format!("a dose of {d} e/Å²").into());
    }
    if let Some(f) = foci.iter().find(|f| **f > 100) {
        return Err(format!("{f} nm: the window holds a probe up to 100 nm out of focus").into());
    }
    let out = options.out("out/defocus_study")?;

    // One focus after the other; of each dose the three methods.
    let mut scores: Vec<Vec<[Score; 3]>> = Vec::new();
    let mut truths = Vec::new();
    let mut deep: Vec<Score> = Vec::new();
    for &nm in &foci {
        let scan = scan(nm, set.full)?;
        let truth = scan.truth()?;
        let expected = scan.simulate(set.phonons, set.seed, &set.par, &mut progress("multislice"))?;
        let field = scan.field();
        let save = |name: String, image: &[f64]| npy::write(out.join(name), &Tensor::from_vec(&field, image.to_vec())?);
        save(format!("truth_{nm}nm.npy"), &truth)?;
        let (mut rows, mut thin) = (Vec::new(), Vec::new());
        for &dose in &doses {
            let found = phases(&scan, &expected, dose, &set)?;
            if !dose.is_finite() {
                thin.clone_from(&found[1]);
            }
            let mut row = Vec::new();
            for (method, phase) in METHODS.iter().zip(&found) {
                let score = scan.score(&truth, phase)?;
                println!(
                    "{nm:3} nm  {dose:5} e/Å²  {method:6}  correlation {:.3}, {:.3} to 2α/λ   FRC {}",
                    score.correlation,
                    score.wide,
                    score.text()
                );
                save(format!("{method}_{nm}nm_{}.npy", label(dose)), &score.image)?;
                row.push(score);
            }
            rows.push(row.try_into().map_err(|_| "three methods")?);
        }
        if set.slices > 0 {
            let score = scan.score(&truth, &sliced(&scan, &expected, &thin, &set)?)?;
            println!(
                "{nm:3} nm    inf e/Å²  {} slices  correlation {:.3}, {:.3} to 2α/λ   FRC {}",
                set.slices,
                score.correlation,
                score.wide,
                score.text()
            );
            save(format!("slices_{nm}nm_infinite.npy"), &score.image)?;
            deep.push(score);
        }
        scores.push(rows);
        truths.push((scan, truth));
    }

    // The panel: a row a method and focus, a column a dose; the truth and the ring correlations above.
    let mut panel = Panel::new((foci.len() + 1).max(doses.len()));
    panel.cell = [180, 250];
    let pad = |panel: &mut Panel, filled: usize| (filled..panel.columns).for_each(|_| panel.add(Cell::Empty));
    let (scan, truth) = &truths[0];
    panel.add(Cell::Image(scan.picture(&scan.low_pass(truth, uio66::cutoff())?, "true phase, to α/λ".into())?));
    for (f, nm) in foci.iter().enumerate() {
        let series = METHODS.iter().enumerate().map(|(m, method)| Series {
            label: (*method).into(),
            x: scores[f][0][m].curve.0.clone(),
            y: scores[f][0][m].curve.1.clone(),
            line: if m == 1 { Line::Solid } else { Line::Dashed },
            ..Series::default()
        });
        panel.add(Cell::Plot(Plot {
            title: format!("FRC, {nm} nm, infinite dose"),
            x_label: "k (1/Å)".into(),
            y_range: Some([-0.5, 1.05]),
            series: series.collect(),
            guides: vec![Guide { value: 0.5, axis: Axis::Y, label: "1/2".into() }],
            ..Plot::default()
        }));
    }
    pad(&mut panel, foci.len() + 1);
    for (m, method) in METHODS.iter().enumerate() {
        for (f, nm) in foci.iter().enumerate() {
            for (d, dose) in doses.iter().enumerate() {
                let score = &scores[f][d][m];
                let amount = if dose.is_finite() { format!("{dose} e/Å²") } else { "infinite dose".into() };
                let title = format!("{method}, {nm} nm, {amount}: {:.2}", score.correlation);
                panel.add(Cell::Image(truths[f].0.picture(&score.image, title)?));
            }
            pad(&mut panel, doses.len());
        }
    }
    for ((score, nm), (scan, _)) in deep.iter().zip(&foci).zip(&truths) {
        let title = format!("{} slices, {nm} nm, infinite dose: {:.2}", set.slices, score.correlation);
        panel.add(Cell::Image(scan.picture(&score.image, title)?));
    }
    let png = out.join("defocus_study.png");
    panel.render()?.write_png(&png)?;

    // By method, by focus, and by dose.
    let by_focus = |f: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Value {
        foci.iter().enumerate().map(|(i, nm)| (nm.to_string(), f(i))).collect::<serde_json::Map<_, _>>().into()
    };
    let by_method = |f: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Value {
        METHODS
            .iter()
            .enumerate()
            .map(|(m, method)| (method.to_string(), f(m)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let by_dose = |f: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Value {
        doses.iter().enumerate().map(|(d, dose)| (label(*dose), f(d))).collect::<serde_json::Map<_, _>>().into()
    };
    let everything = |value: &dyn Fn(&Score) -> serde_json::Value| {
        by_method(&|m| by_focus(&|f| by_dose(&|d| value(&scores[f][d][m]))))
    };
    let mut json = serde_json::Map::new();
    for (m, method) in METHODS.iter().enumerate() {
        json.insert(format!("correlation_{method}"), by_focus(&|f| scores[f][0][m].correlation.into()));
    }
    json.insert("correlation_to_2alpha".into(), by_method(&|m| by_focus(&|f| scores[f][0][m].wide.into())));
    json.insert("frc_A".into(), everything(&|s| s.frc.into()));
    json.insert("correlation_by_dose".into(), everything(&|s| s.correlation.into()));
    if !deep.is_empty() {
        let both = |f: usize| serde_json::json!({ "to_alpha": deep[f].correlation, "to_2alpha": deep[f].wide });
        json.insert("correlation_slices".into(), by_focus(&|f| both(f)));
    }
    json.insert("iterations".into(), set.iterations.into());
    json.insert("phonons".into(), set.phonons.into());
    json.insert("seconds".into(), start.elapsed().as_secs_f64().into());
    json.insert("png".into(), png.display().to_string().into());
    println!("{}", serde_json::Value::from(json));
    Ok(())
}

/// A dose as a key and in file names.
fn label(dose: f64) -> String {
    if dose.is_finite() { format!("{dose}") } else { "infinite".into() }
}
