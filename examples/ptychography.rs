//! Ptychography of measured patterns: object and probe of a data set in a file, with a picture.

mod support;

use std::path::Path;
use std::time::Instant;

use exitwave::io::npz::Npz;
use exitwave::io::{load_state, npy, save_state};
use exitwave::num_complex::Complex;
use exitwave::par::Par;
use exitwave::ptycho::{
    Algorithm, Loss, Patterns, Placement, Positions, PtychoParams, Ptychography, Refinement, State, ZeroFrequency,
    extend_modes,
};
use exitwave::render::{Cell, ColorMap, Image, Line, Panel, Pixel, Plot, Range, Scale, Series};
use exitwave::tensor::Tensor;
use exitwave::units::Length;
use support::{Failure, Options, progress};

const HELP: &str = "\
ptychography FILE: object and probe from measured diffraction patterns

FILE is an npz archive with
  data or data_u16   patterns (n, ny, nx)
  scan_px            positions (n, 2) in object pixels: row, column
  probe              starting probe (ny, nx), or probe_modes (modes, ny, nx)

  --engine E         epie, rpie or gradient (L-BFGS) (default epie)
  --sweeps N         iterations (default 20)
  --step B           epie: step of object and probe (default 0.2); rpie: alpha
  --modes M          probe modes (default: as many as FILE has)
  --refine-positions refine the positions, from sweep 5
  --whole            positions rounded to whole pixels (faster)
  --zero Z           zero frequency of the detector: corner or center (default corner)
  --fixed-power      take the probe's intensity from FILE instead of from the patterns
  --pixel-A D        object pixel in Å, for the scale bar
  --resume CKPT      go on from a checkpoint that an earlier run wrote
  --threads N        threads (default: all cores)
  --seed S           order of the patterns (default 0)
  --out DIR          where PNG, arrays (.npy) and checkpoint.npz go (default out/ptychography)

The last line printed is one JSON object.";

fn main() -> Result<(), Failure> {
    let names = ["engine", "sweeps", "step", "modes", "zero", "pixel-A", "resume", "threads", "seed", "out"];
    let options = Options::read(HELP, &names, &["refine-positions", "whole", "fixed-power"])?;
    let file = options.free(0).ok_or("which file? (see --help)")?;
    let out = options.out("out/ptychography")?;
    let refine = options.flag("refine-positions");
    let threads: usize = options.get("threads", 0)?;
    let zero = match options.get("zero", String::from("corner"))?.as_str() {
        "corner" => ZeroFrequency::Corner,
        "center" | "centre" => ZeroFrequency::Center,
        other => return Err(format!("--zero {other}: expected corner or center").into()),
    };

    // Patterns, positions and probe of the file.
    let archive = Npz::open(file)?;
    let name = if archive.contains("data") { "data" } else { "data_u16" };
    let data = archive.get(name)?.into_real::<f32>()?;
    let &[_, ny, nx] = data.dims() else { return Err(format!("`{name}` has axes {:?}", data.dims()).into()) };
    let scan = archive.get("scan_px")?.into_real::<f64>()?;
    if !matches!(*scan.dims(), [_, 2]) {
        return Err(format!("`scan_px` has axes {:?}, expected (n, 2)", scan.dims()).into());
    }
    let probe = archive.get(if archive.contains("probe_modes") { "probe_modes" } else { "probe" })?;
    let probe = probe.into_complex::<f32>()?;
    let given = if probe.dims().len() == 3 { probe.dims()[0] } else { 1 };
    let modes: usize = options.get("modes", given)?;
    let probe = if modes == given { probe } else { extend_modes(&first_mode(&probe)?, modes, 0.02)? };

    // Positions are in pixels; with a pixel of 1 Å they are numbers of Å.
    let a = Length::angstrom(1.0);
    let scan: Vec<[Length; 2]> = scan.as_slice().chunks(2).map(|p| [a * p[0], a * p[1]]).collect();
    let positions = Positions::new(&scan, [a, a], [ny, nx], if refine { 8 } else { 0 })?;
    let patterns = Patterns::from_tensor(data, zero, None)?;

    let engine: String = options.get("engine", "epie".into())?;
    let step = options.get("step", 0.2)?;
    let algorithm = match engine.as_str() {
        "epie" => Algorithm::Epie { object_step: step, probe_step: step },
        "rpie" => Algorithm::Rpie { object_alpha: step, probe_alpha: step },
        "gradient" => Algorithm::Lbfgs { pairs: 5, regularization: 0.1, loss: Loss::Amplitude },
        other => return Err(format!("--engine {other}: expected epie, rpie or gradient").into()),
    };
    let params = PtychoParams {
        algorithm,
        placement: if options.flag("whole") { Placement::Whole } else { Placement::Subpixel },
        refine: refine.then(Refinement::default),
        seed: options.get("seed", 0)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
        ..PtychoParams::default()
    };
    let plan = Ptychography::new(patterns, positions, params)?;
    println!("{} patterns of {ny} x {nx}, object {:?}", plan.patterns().len(), plan.positions().object);
    println!("{:.0} MB in all", plan.workspace_bytes(modes) as f64 / 1e6);
    let mut state = plan.start(probe.clone())?;
    if options.flag("fixed-power") {
        state.probe = probe.reshape(&[modes, ny, nx])?;
    }
    let resume: String = options.get("resume", String::new())?;
    if !resume.is_empty() {
        state = load_state(Path::new(&resume))?;
    }

    let (sweeps, before) = (options.get("sweeps", 20)?, state.iteration);
    let start = Instant::now();
    let outcome = plan.run(state, sweeps, &mut progress("ptychography"))?;
    let seconds = start.elapsed().as_secs_f64() / outcome.iterations.max(1) as f64;
    save_state(out.join("checkpoint.npz"), &outcome.state)?;

    // Pictures in a fixed gauge.
    let mut state = outcome.state;
    state.fix_gauge()?;
    npy::write(out.join("object.npy"), &state.object)?;
    npy::write(out.join("probe.npy"), &state.probe)?;
    let refined = Tensor::from_vec(&[state.positions.len(), 2], state.positions.as_flattened().to_vec())?;
    npy::write(out.join("positions_px.npy"), &refined)?;
    let png = out.join("ptychography.png");
    let pixel: f64 = options.get("pixel-A", 0.0)?;
    picture(&state, pixel, modes)?.render()?.write_png(&png)?;

    let line = serde_json::json!({
        "residual": state.loss[before..],
        "seconds_per_sweep": seconds,
        "engine": engine,
        "modes": modes,
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}

/// The strongest mode of a probe of any number.
fn first_mode(probe: &Tensor<Complex<f32>>) -> Result<Tensor<Complex<f32>>, Failure> {
    match *probe.dims() {
        [_, ny, nx] => Ok(Tensor::from_vec(&[ny, nx], probe.row(0).to_vec())?),
        _ => Ok(probe.clone()),
    }
}

/// Phase, modulus, probe modes, residual.
fn picture(state: &State<f32>, pixel: f64, modes: usize) -> Result<Panel, Failure> {
    let scale = if pixel > 0.0 { Pixel::Length(Length::angstrom(pixel)) } else { Pixel::Unknown };
    // The contrast is that of what was lit; beyond it the object is whatever it was.
    let weight = state.illumination();
    let cut = 0.05 * weight.iter().fold(0.0f64, |m, &w| m.max(w));
    let lit = |f: fn(Complex<f32>) -> f32| -> Vec<f32> {
        let of = |(z, w): (&Complex<f32>, &f64)| if *w > cut { f(*z) } else { f32::NAN };
        state.object.as_slice().iter().zip(&weight).map(of).collect()
    };
    let range = Range::Percentile { low: 0.5, high: 99.5 };
    let mut panel = Panel::new(2);
    for (title, bar, values) in [("phase", "rad", lit(|z| z.arg())), ("modulus", "", lit(|z| z.norm()))] {
        let mut image = Image::real(state.object.dims(), &values)?;
        (image.title, image.map, image.range, image.pixel) = (title.into(), ColorMap::Grey, range, scale);
        image.color_bar = Some(bar.into());
        panel.add(Cell::Image(image));
    }
    let mut probe = Image::complex(&state.probe.dims()[1..], state.probe.row(0))?;
    probe.title = if modes == 1 { "probe".into() } else { format!("probe, strongest of {modes} modes") };
    probe.pixel = scale;
    panel.add(Cell::Image(probe));
    panel.add(Cell::Plot(Plot {
        title: "residual".into(),
        x_label: "sweep".into(),
        y_label: "Σ(√I − √D)² / ΣD".into(),
        y_scale: Scale::Log,
        series: vec![Series {
            x: (1..=state.loss.len()).map(|i| i as f64).collect(),
            y: state.loss.clone(),
            line: Line::Solid,
            ..Series::default()
        }],
        ..Plot::default()
    }));
    Ok(panel)
}
