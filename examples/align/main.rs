//! Drift of a series of frames that each hold next to nothing: track, aligned sum, and what alignment wins.

mod simulate;
mod study;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use exitwave::fft::{RealFft2, fft_shift};
use exitwave::hrtem::{
    AlignedSum, AlignedSumParams, Drift, DriftMethod, DriftParams, SmoothTrack, align_frames, aligned_sum, sum_quality,
};
use exitwave::io::npy;
use exitwave::num_complex::Complex;
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Line, Panel, Pixel, Plot, Range, Series};
use exitwave::source::FrameSource;
use exitwave::tensor::Tensor;
use exitwave::units::{Length, SpatialFrequency};
use simulate::Simulation;
use support::{Failure, Options};

const HELP: &str = "\
align [STACK]: the drift of a series of frames, and their aligned sum

Without STACK, a series of UiO-66 [110] is simulated: --frames frames that drift by up to 30 pixels, with jumps.

  --method M        amplitude-filter, pairs, cross, phase or likelihood (default amplitude-filter)
  --max-shift P     largest drift in pixels (default 40)
  --step P          drift from frame to frame that is expected, pixels (default 1)
  --merge N         frames merged before correlation, cross, phase and likelihood only (default 1)
  --pixel-A D       pixel in Angstrom, where the file has none

  --frames N        simulation: frames (default 120)
  --side N          pixels of a side (default 2048)
  --electrons E     electrons a pixel and frame (default 0.033)
  --contrast S      standard deviation of the relative intensity of the crystal (default 0.05)
  --scene S         infinite, corner, faint-corner, defect or spot (default corner)
  --jumps N         jumps of 8 to 20 pixels (default 3)
  --seed S          seed (default 1)

  --study S         dose: methods over dose and drift; merged: slow drift, frames merged before correlation;
                    absolute: tracks not modulo the lattice; fractionation: 5 s in 1, 5, 10 and 100 frames; speed
  --drift P         drift of the study merged in pixels (default 5)
  --seeds N         series of each scene (or of --scene alone) of the study absolute, from --seed on (default 3)
  --threads N       threads (default: all cores)
  --out DIR         where the PNG and the arrays (.npy) go (default out/align)

The last line printed is one JSON object.";

fn main() -> Result<(), Failure> {
    let names = [
        "method",
        "max-shift",
        "step",
        "merge",
        "pixel-A",
        "frames",
        "side",
        "electrons",
        "contrast",
        "scene",
        "jumps",
        "seed",
        "study",
        "drift",
        "seeds",
        "threads",
        "out",
    ];
    let options = Options::read(HELP, &names, &[])?;
    let threads: usize = options.get("threads", 0)?;
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    let out = options.out("out/align")?;
    let study: String = options.get("study", String::new())?;
    if !study.is_empty() {
        return study::run(&study, &options, &out, &par);
    }
    let params = DriftParams {
        method: method(&options.get("method", "amplitude-filter".to_string())?)?,
        max_shift: options.get("max-shift", 40.0)?,
        smooth: SmoothTrack { step: options.get("step", 1.0)?, ..SmoothTrack::default() },
        merge: options.get("merge", 1)?,
        par: par.clone(),
        ..DriftParams::default()
    };
    let pixel = Length::angstrom(options.get("pixel-A", 1.0)?);
    match options.free(0) {
        Some(path) => {
            let file = exitwave::io::open(path)?;
            let known = file.info(0)?.axes.last().and_then(|a| a.length());
            let pixel = if options.get("pixel-A", 0.0)? > 0.0 { pixel } else { known.unwrap_or(pixel) };
            let title = Path::new(path).file_name().map_or(path.into(), |n| n.to_string_lossy());
            work(&file.frames(0)?, &params, pixel, &title, None, &out)
        }
        None => {
            let simulation = Simulation::from_options(&options, &par)?;
            let track = simulation.track();
            let frames = simulation.crystal.frames(&track, simulation.electrons, simulation.seed, &par)?;
            let title = format!(
                "UiO-66 [110], {} frames, {} e/pixel each, contrast {}",
                track.len(),
                simulation.electrons,
                simulation.crystal.contrast
            );
            work(&frames, &params, simulate::PIXEL, &title, Some((&simulation, &track)), &out)
        }
    }
}

/// A method by its name.
pub fn method(name: &str) -> Result<DriftMethod, Failure> {
    Ok(match name {
        "amplitude-filter" => DriftMethod::AmplitudeFilter,
        "pairs" => DriftMethod::FilteredPairs,
        "cross" => DriftMethod::CrossCorrelation,
        "phase" => DriftMethod::PhaseCorrelation,
        "likelihood" => DriftMethod::MaximumLikelihood,
        _ => return Err(format!("--method {name} (see --help)").into()),
    })
}

fn work(
    source: &dyn FrameSource,
    params: &DriftParams,
    pixel: Length,
    title: &str,
    truth: Option<(&Simulation, &[[f64; 2]])>,
    out: &Path,
) -> Result<(), Failure> {
    let start = Instant::now();
    let drift = align_frames(source, params, &mut support::progress("drift"))?;
    let seconds_track = start.elapsed().as_secs_f64();
    let sums = AlignedSumParams { par: params.par.clone(), ..AlignedSumParams::default() };
    let still = vec![[0.0; 2]; drift.track.len()];
    let raw = aligned_sum(source, &still, &sums)?;
    let aligned = aligned_sum(source, &drift.track, &sums)?;
    let seconds = start.elapsed().as_secs_f64();
    let (before, after) = (sum_quality(&raw, [pixel; 2])?, sum_quality(&aligned, [pixel; 2])?);

    let dims = [source.shape()[2], source.shape()[3]];
    let mut first = vec![0.0f32; dims[0] * dims[1]];
    source.read_frames(0, &mut first)?;
    picture(&first, &raw, &aligned, &drift, dims, pixel, title, truth.map(|t| t.1), out)?;
    let flat = |d: &[[f64; 2]]| Tensor::from_vec(&[d.len(), 2], d.iter().flatten().copied().collect::<Vec<f64>>());
    npy::write(out.join("track.npy"), &flat(&drift.track)?)?;
    npy::write(out.join("aligned_sum.npy"), &aligned.sum)?;
    npy::write(out.join("raw_sum.npy"), &raw.sum)?;

    let finest = [before.finest, after.finest].map(|d| d.map(|d| d.to_angstrom()));
    let mut line = serde_json::json!({
        "frames": drift.track.len(),
        "pixel_A": pixel.to_angstrom(),
        "coefficients": drift.selected,
        "threshold_z": drift.filter.as_ref().map(|f| f.threshold),
        "track_px": drift.track,
        "confidence_lowest": drift.confidence.iter().copied().fold(1.0, f64::min),
        "pieces": drift.pieces.iter().map(|p| serde_json::json!({
            "frames": [p.frames.start, p.frames.end], "confidence": p.confidence, "separation": p.separation, "doubt_px": p.doubt,
        })).collect::<Vec<_>>(),
        "uncertainty_px": drift.uncertainty.iter().sum::<f64>() / drift.uncertainty.len() as f64,
        "reflections": [before.reflections, after.reflections],
        "finest_reflection_A": finest,
        "frc_1_7": [before.resolution.to_string(), after.resolution.to_string()],
        "seconds_track": seconds_track,
        "seconds": seconds,
        "peak_bytes": support::peak_bytes(),
        "png": out.join("align.png").display().to_string(),
    });
    if let Some((simulation, track)) = truth {
        let c = &simulation.crystal;
        line["rms_modulo_lattice_px"] = c.error(&drift.track, track, true).into();
        line["rms_px"] = c.error(&drift.track, track, false).into();
        line["cramer_rao_px"] = c.bound(simulation.electrons).into();
    }
    println!("{line}");
    Ok(())
}

/// First frame, raw sum and aligned sum above their spectra; the track.
fn picture(
    first: &[f32],
    raw: &AlignedSum,
    aligned: &AlignedSum,
    drift: &Drift,
    dims: [usize; 2],
    pixel: Length,
    title: &str,
    truth: Option<&[[f64; 2]]>,
    out: &Path,
) -> Result<(), Failure> {
    let mut panel = Panel::new(3);
    (panel.title, panel.cell) = (title.into(), [300, 300]);
    let images =
        [("one frame", first), ("sum as recorded", raw.sum.as_slice()), ("aligned sum", aligned.sum.as_slice())];
    // The middle of the field, at most 300 pixels of it.
    let side = dims[0].min(dims[1]).min(300);
    let corner = [0, 1].map(|a| (dims[a] - side) / 2);
    for (name, data) in images {
        let crop: Vec<f32> =
            (0..side * side).map(|i| data[(corner[0] + i / side) * dims[1] + corner[1] + i % side]).collect();
        let mut image = Image::real(&[side; 2], &crop)?;
        (image.title, image.map, image.pixel) = (name.into(), ColorMap::Grey, Pixel::Length(pixel));
        image.range = Range::Percentile { low: 0.2, high: 99.8 };
        panel.add(Cell::Image(image));
    }
    for (_, data) in images {
        panel.add(Cell::Image(spectrum(data, dims, pixel)?));
    }
    let frame: Vec<f64> = (0..drift.track.len()).map(|f| f as f64).collect();
    let mut series = Vec::new();
    for (a, name) in ["y", "x"].into_iter().enumerate() {
        let label = format!("drift along {name}");
        series.push(Series {
            label,
            x: frame.clone(),
            y: drift.track.iter().map(|d| d[a]).collect(),
            ..Series::default()
        });
    }
    if let Some(truth) = truth {
        for a in 0..2 {
            // Tracks have no common origin: the median difference is removed.
            let mut gap: Vec<f64> = truth.iter().zip(&drift.track).map(|(t, d)| t[a] - d[a]).collect();
            gap.sort_by(f64::total_cmp);
            let middle = gap[gap.len() / 2];
            let label = if a == 0 { "true".into() } else { String::new() };
            let y = truth.iter().map(|t| t[a] - middle).collect();
            let color = Some([40, 40, 40]);
            series.push(Series { label, x: frame.clone(), y, line: Line::Dashed, color });
        }
    }
    panel.add(Cell::Plot(Plot {
        title: "track".into(),
        x_label: "frame".into(),
        y_label: "pixels".into(),
        series,
        span: 2,
        ..Plot::default()
    }));
    panel.add(Cell::Plot(Plot {
        title: "confidence".into(),
        x_label: "frame".into(),
        y_range: Some([-0.05, 1.05]),
        series: vec![Series { x: frame, y: drift.confidence.clone(), ..Series::default() }],
        ..Plot::default()
    }));
    panel.render()?.write_png(out.join("align.png"))?;
    Ok(())
}

/// Amplitudes of the middle of the spectrum, to a fifth of a cycle a pixel; of every few coefficients the largest, so that spots stay visible.
fn spectrum(data: &[f32], dims: [usize; 2], pixel: Length) -> Result<Image, Failure> {
    let [ny, nx] = dims;
    let half = nx / 2 + 1;
    let fft = RealFft2::<f32>::new(dims)?;
    let mean = data.iter().map(|&v| f64::from(v)).sum::<f64>() / data.len() as f64;
    let mut image: Vec<f32> = data.iter().map(|v| v - mean as f32).collect();
    let mut z = vec![Complex::default(); ny * half];
    fft.forward(&mut image, &mut z, &mut vec![Complex::default(); fft.scratch_len()]);
    let whole: Vec<f32> = (0..ny * nx)
        .map(|i| {
            let (y, x) = (i / nx, i % nx);
            if x < half { z[y * half + x].norm() } else { z[((ny - y) % ny) * half + nx - x].norm() }
        })
        .collect();
    let mut centred = vec![0.0; ny * nx];
    fft_shift(&dims, &whole, &mut centred);
    let reach = [ny / 5, nx / 5];
    let pool = (2 * reach[0].min(reach[1])).div_ceil(300).max(1);
    let size = reach.map(|r| 2 * r / pool);
    let pooled: Vec<f32> = (0..size[0] * size[1])
        .map(|i| {
            let (y, x) = (ny / 2 - reach[0] + i / size[1] * pool, nx / 2 - reach[1] + i % size[1] * pool);
            let block = (0..pool * pool).map(|j| centred[(y + j / pool) * nx + x + j % pool]);
            block.fold(0.0, f32::max)
        })
        .collect();
    let mut image = Image::real(&size, &pooled)?;
    image.range = Range::Percentile { low: 5.0, high: 99.7 };
    image.map = ColorMap::Grey;
    image.title = "amplitude of its spectrum".into();
    let step: SpatialFrequency = 1.0 / (pixel * ny as f64) * pool as f64;
    image.pixel = Pixel::Frequency(step);
    Ok(image)
}
