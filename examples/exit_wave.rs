//! The exit wave of SrTiO₃ \[001\] from a focal series whose foci and shifts are not known.

#[path = "support/focal.rs"]
mod focal;
mod support;

use std::time::Instant;

use exitwave::hrtem::{
    ExitWave, ExitWaveParams, ExitWaveResult, FocalErrors, FocalSeriesParams, compare_exit_waves, focal_errors,
    restore_linear,
};
use exitwave::io::npy;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Line, Panel, Pixel, Plot, Range, Series};
use exitwave::tensor::Tensor;
use exitwave::units::Length;
use focal::{ENERGY, Scene};
use support::{Failure, Options, progress};

const HELP: &str = "\
exit_wave: the exit wave of SrTiO3 [001] from a simulated focal series at unknown foci and shifts, by maximum likelihood

  --images N         images (default 12)
  --step-A F         nominal change of focus from image to image (default 50)
  --focus-error-A F  standard deviation of each focus (default 25)
  --shift-px S       standard deviation of each shift along each axis, beside a drift (default 3)
  --dose D           electrons per square Angstrom in each image (default 200)
  --cells N          cells along the beam (default 8)
  --defect           with a half empty column of each metal: the field is no perfect crystal
  --seed S           seed of foci, shifts and counts (default 1)
  --study            a table over doses and seeds instead
  --threads N        threads (default: all cores)
  --out DIR          where PNG and arrays (.npy) go (default out/exit_wave)

Correlations are with the true exit wave up to 22 mrad, a common focus and shift removed; shifts count modulo the lattice.
The last line printed is one JSON object.";

/// What one series gives.
struct Found {
    case: focal::Series,
    result: ExitWaveResult<f64>,
    errors: FocalErrors,
    seconds: f64,
}

fn solve(scene: &Scene, par: &Par) -> Result<Found, Failure> {
    let case = scene.series(par)?;
    let start = Instant::now();
    let plan = ExitWave::new(ExitWaveParams { series: case.nominal.clone(), ..ExitWaveParams::default() })?;
    let state = plan.start(&case.counts, None, &mut silent)?;
    let result = plan.run(&case.counts, None, state, usize::MAX, &mut progress("exit wave"))?;
    let seconds = start.elapsed().as_secs_f64();
    let lattice = if scene.defect { None } else { Some(focal::lattice()) };
    let errors = focal_errors(&result.images, &case.truth, lattice)?;
    Ok(Found { case, result, errors, seconds })
}

fn study(scene: &Scene, par: &Par) -> Result<serde_json::Value, Failure> {
    let mut rows = Vec::new();
    println!("dose (e/Å²)  seed  phase   modulus  foci rms, max (Å)  shifts rms, max (px)");
    for dose in [25.0, 50.0, 100.0, 200.0, 400.0] {
        for seed in 1..=4 {
            let f = solve(&Scene { dose, seed, ..*scene }, par)?;
            let grid = &f.case.nominal.grid;
            let wave = f.result.wave.as_slice();
            let c = compare_exit_waves(wave, &f.case.wave, grid, ENERGY, Length::nm(20.0), focal::cutoff())?;
            let px = |s: Length| s / grid.sampling[0];
            println!(
                "{dose:11}  {seed:4}  {:.4}  {:.4}   {:7.2} {:7.2}    {:8.4} {:8.4}",
                c.phase,
                c.modulus,
                f.errors.focus_rms().to_angstrom(),
                f.errors.focus_max().to_angstrom(),
                px(f.errors.shift_rms()),
                px(f.errors.shift_max()),
            );
            rows.push(serde_json::json!({
                "dose_e_per_A2": dose, "seed": seed, "phase_correlation": c.phase,
                "focus_max_A": f.errors.focus_max().to_angstrom(), "shift_max_px": px(f.errors.shift_max()),
            }));
        }
    }
    Ok(serde_json::Value::from(rows))
}

fn main() -> Result<(), Failure> {
    let names = ["images", "step-A", "focus-error-A", "shift-px", "dose", "cells", "seed", "threads", "out"];
    let options = Options::read(HELP, &names, &["defect", "study"])?;
    let out = options.out("out/exit_wave")?;
    let default = Scene::default();
    let scene = Scene {
        images: options.get("images", default.images)?,
        step: options.get("step-A", default.step)?,
        focus_error: options.get("focus-error-A", default.focus_error)?,
        shift: options.get("shift-px", default.shift)?,
        dose: options.get("dose", default.dose)?,
        deep: options.get("cells", default.deep)?,
        defect: options.flag("defect"),
        seed: options.get("seed", default.seed)?,
        ..default
    };
    let threads: usize = options.get("threads", 0)?;
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    if options.flag("study") {
        println!("{}", serde_json::json!({ "study": study(&scene, &par)? }));
        return Ok(());
    }

    let Found { case, result, errors, seconds } = solve(&scene, &par)?;
    let grid = case.nominal.grid;
    let (dims, pixel) = (grid.dims, grid.sampling[0]);
    let compare = |wave: &[_]| compare_exit_waves(wave, &case.wave, &grid, ENERGY, Length::nm(20.0), focal::cutoff());
    let best = compare(result.wave.as_slice())?;
    // Beside it: linear theory, at the foci and shifts that were found.
    let series = FocalSeriesParams { images: result.images.clone(), ..case.nominal.clone() };
    let linear = compare(restore_linear(&series, &case.counts, 0.3)?.as_slice())?;
    let before = focal_errors(&case.nominal.images, &case.truth, None)?;

    let mut panel = Panel::new(4);
    panel.title = format!("SrTiO₃ [001], {} cells thick: {} images of {} e/Å²", scene.deep, scene.images, scene.dose);
    panel.cell = [216, 216];
    let mut add = |title: String, values: Vec<f64>, range: Range| -> Result<(), Failure> {
        let mut image = Image::real(&dims, &values)?;
        (image.title, image.map, image.range, image.pixel) = (title, ColorMap::Grey, range, Pixel::Length(pixel));
        panel.add(Cell::Image(image));
        Ok(())
    };
    for k in [0, scene.images / 2, scene.images - 1] {
        let (image, f) = (case.counts.row(k).to_vec(), case.truth[k].defocus());
        add(format!("counts, underfocus {:.1} nm", f.to_nm()), image, Range::Percentile { low: 0.5, high: 99.5 })?;
    }
    let phase = |w: &[exitwave::num_complex::Complex<f64>]| w.iter().map(|z| z.arg()).collect::<Vec<f64>>();
    let modulus = |w: &[exitwave::num_complex::Complex<f64>]| w.iter().map(|z| z.norm()).collect::<Vec<f64>>();
    let limits = |v: &[f64]| Range::Percentile { low: 0.2, high: 99.8 }.limits(v);
    let fixed = |[min, max]: [f64; 2]| Range::Fixed { min, max };
    let (p, m) = (fixed(limits(&phase(&best.truth))?), fixed(limits(&modulus(&best.truth))?));
    add(format!("phase, linear: {:.3}", linear.phase), phase(&linear.wave), p)?;
    add("true phase".into(), phase(&best.truth), p)?;
    add(format!("phase found: {:.3}", best.phase), phase(&best.wave), p)?;
    add("true modulus".into(), modulus(&best.truth), m)?;
    add(format!("modulus found: {:.3}", best.modulus), modulus(&best.wave), m)?;
    let x: Vec<f64> = (1..=scene.images).map(|k| k as f64).collect();
    let plot = |title: &str, y_label: &str, pairs: [(&str, Vec<f64>); 2]| Plot {
        title: title.into(),
        x_label: "image".into(),
        y_label: y_label.into(),
        series: pairs
            .map(|(label, y)| Series { label: label.into(), x: x.clone(), y, line: Line::Points, ..Series::default() })
            .into(),
        span: 2,
        ..Plot::default()
    };
    let nm = |e: &FocalErrors| e.focus.iter().map(|f| f.to_nm()).collect::<Vec<_>>();
    let px = |e: &FocalErrors| e.shift.iter().map(|s| s[0] / pixel).collect::<Vec<_>>();
    panel.add(Cell::Plot(plot("errors of foci", "nm", [("nominal", nm(&before)), ("found", nm(&errors))])));
    panel.add(Cell::Plot(plot("errors of shifts along y", "px", [("nominal", px(&before)), ("found", px(&errors))])));
    let png = out.join("exit_wave.png");
    panel.render()?.write_png(&png)?;
    npy::write(out.join("counts.npy"), &case.counts)?;
    npy::write(out.join("wave_found.npy"), &Tensor::from_vec(&dims, best.wave.clone())?)?;
    npy::write(out.join("wave_true.npy"), &Tensor::from_vec(&dims, best.truth.clone())?)?;

    let line = serde_json::json!({
        "phase_correlation": best.phase,
        "modulus_correlation": best.modulus,
        "phase_correlation_linear": linear.phase,
        "focus_rms_A": errors.focus_rms().to_angstrom(),
        "focus_max_A": errors.focus_max().to_angstrom(),
        "shift_rms_px": errors.shift_rms() / pixel,
        "shift_max_px": errors.shift_max() / pixel,
        "nominal_focus_max_A": before.focus_max().to_angstrom(),
        "common_focus_A": best.focus.to_angstrom(),
        "iterations": result.iterations,
        "seconds": seconds,
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
