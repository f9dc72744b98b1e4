//! Tables: methods over dose and drift; an exposure in few or many frames; speed.

use std::path::Path;
use std::time::Instant;

use exitwave::detect::{EventCameraParams, count_events};
use exitwave::hrtem::{
    AlignedSumParams, CorrelationReference, DriftMethod, DriftParams, SubframeMotion, align_frames, aligned_sum,
    sum_quality,
};
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::render::{Axis, Cell, Guide, Panel, Plot, Scale, Series};
use exitwave::tensor::Tensor;

use super::simulate::drifting_crystal::{Crystal, Scene, drift};
use super::simulate::{PIXEL, uio66};
use super::support::{Failure, Options, peak_bytes};

pub fn run(name: &str, options: &Options, out: &Path, par: &Par) -> Result<(), Failure> {
    match name {
        "dose" => dose(options, out, par),
        "merged" => merged(options, par),
        "absolute" => absolute(options, par),
        "fractionation" => fractionation(options, out, par),
        "speed" => speed(options, par),
        other => Err(format!("--study {other} (see --help)").into()),
    }
}

/// RMS of the track, modulo the lattice, of every method over dose and drift.
fn dose(options: &Options, out: &Path, par: &Par) -> Result<(), Failure> {
    let (side, n): (usize, usize) = (options.get("side", 1024)?, options.get("frames", 60)?);
    let (contrast, seed): (f64, u64) = (options.get("contrast", 0.05)?, options.get("seed", 1)?);
    let crystal = uio66([side; 2], contrast, Scene::Infinite, par)?;
    let methods = [
        ("amplitude filter", DriftMethod::AmplitudeFilter, 1),
        ("filtered pairs", DriftMethod::FilteredPairs, 1),
        ("cross-correlation", DriftMethod::CrossCorrelation, 1),
        ("cross-correlation, 10 merged", DriftMethod::CrossCorrelation, 10),
        ("phase correlation, 10 merged", DriftMethod::PhaseCorrelation, 10),
        ("maximum likelihood", DriftMethod::MaximumLikelihood, 1),
        ("maximum likelihood, 10 merged", DriftMethod::MaximumLikelihood, 10),
    ];
    let doses = [0.01, 0.033, 0.1, 0.33, 1.0];
    let mut rows = Vec::new();
    let mut panel = Panel::new(2);
    panel.title =
        format!("{n} frames of {side}², UiO-66, contrast {contrast}: RMS of the track modulo the lattice, pixels");
    for (length, jumps) in [(5.0, 0), (30.0, 3)] {
        let track = drift(n, length, jumps, seed);
        // Where nothing jumps, correlation is followed from sum to sum, by less than half a lattice vector.
        let slow =
            |method| jumps == 0 && method != DriftMethod::AmplitudeFilter && method != DriftMethod::FilteredPairs;
        let mut curves: Vec<Vec<f64>> = vec![Vec::new(); methods.len() + 1];
        for electrons in doses {
            let frames = crystal.frames(&track, electrons, seed, par)?;
            for (i, (name, method, merge)) in methods.into_iter().enumerate() {
                let mut params =
                    DriftParams { method, merge, iterations: 6, par: par.clone(), ..DriftParams::default() };
                if slow(method) {
                    (params.reference, params.max_shift) = (CorrelationReference::FirstNearby, length + 1.0);
                }
                let found = align_frames(&frames, &params, &mut silent)?;
                let rms = crystal.error(&found.track, &track, true);
                let bound = crystal.bound(electrons);
                eprintln!(
                    "{electrons} e/px, drift {length} px, {jumps} jumps, {name}: {rms:.3} px, {:.2} of the bound",
                    rms / bound
                );
                curves[i].push(rms);
                rows.push(serde_json::json!({
                    "electrons_per_px": electrons, "drift_px": length, "jumps": jumps, "method": name, "rms_px": rms,
                    "cramer_rao_px": bound,
                }));
            }
            curves[methods.len()].push(crystal.bound(electrons));
        }
        let names = methods.iter().map(|m| m.0).chain(["Cramér–Rao"]);
        let series = names
            .zip(curves)
            .map(|(label, y)| Series { label: label.into(), x: doses.to_vec(), y, ..Series::default() })
            .collect();
        panel.cell = [320, 420];
        panel.add(Cell::Plot(Plot {
            title: format!("drift {length} px, {jumps} jumps"),
            x_label: "electrons a pixel and frame".into(),
            y_label: "RMS / px".into(),
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series,
            guides: vec![Guide { value: 0.2, axis: Axis::Y, label: "0.2 px".into() }],
            ..Plot::default()
        }));
    }
    let png = out.join("align_dose.png");
    panel.render()?.write_png(&png)?;
    let bounds: Vec<f64> = doses.iter().map(|&e| crystal.bound(e)).collect();
    println!(
        "{}",
        serde_json::json!({ "rows": rows, "cramer_rao_px": bounds, "side": side, "frames": n, "contrast": contrast, "png": png.display().to_string() })
    );
    Ok(())
}

/// Slow drift without jumps and a weak defect: frames that have to be merged by tens before they can be correlated, and what each track leaves of the defect.
fn merged(options: &Options, par: &Par) -> Result<(), Failure> {
    let (side, n): (usize, usize) = (options.get("side", 2048)?, options.get("frames", 120)?);
    let (electrons, contrast): (f64, f64) = (options.get("electrons", 0.033)?, options.get("contrast", 0.07)?);
    let (seed, length): (u64, f64) = (options.get("seed", 1)?, options.get("drift", 5.0)?);
    let crystal = uio66([side; 2], contrast, Scene::Spot, par)?;
    let track = drift(n, length, 0, seed);
    let frames = crystal.frames(&track, electrons, seed, par)?;
    // Correlation as it is practised: the search is limited to what drift is expected, or from sum to sum to less than half a lattice vector (12.7 pixels).
    let (whole, near) = (length + 2.0, 5.0);
    let references = [
        ("with the first", CorrelationReference::First, whole),
        ("with the first, near the last place", CorrelationReference::FirstNearby, near),
        ("with the one before", CorrelationReference::Previous, near),
    ];
    let mut methods =
        vec![("amplitude filter".to_string(), DriftMethod::AmplitudeFilter, 1, CorrelationReference::First, 40.0)];
    for (name, method) in
        [("cross-correlation", DriftMethod::CrossCorrelation), ("phase correlation", DriftMethod::PhaseCorrelation)]
    {
        for merge in [1, 5, 10, 20] {
            for (how, reference, reach) in references {
                methods.push((format!("{name}, {merge} merged, {how}"), method, merge, reference, reach));
            }
        }
    }
    let sums = AlignedSumParams { par: par.clone(), ..AlignedSumParams::default() };
    // The contrast of the spot: the pattern of the crystal about it is left out by comparing with sums of the same crystal without counting noise.
    let depth = |t: &[[f64; 2]]| -> Result<f64, Failure> {
        let sum = aligned_sum(&frames, t, &sums)?.sum;
        let middle = [0, 1].map(|a| t.iter().zip(&track).map(|(f, t)| t[a] - f[a]).sum::<f64>() / n as f64);
        Ok(crystal.depth(&sum, middle, electrons * n as f64))
    };
    let ideal = depth(&track)?;
    let mut rows = Vec::new();
    for (name, method, merge, reference, max_shift) in methods {
        let params = DriftParams { method, merge, reference, max_shift, par: par.clone(), ..DriftParams::default() };
        let found = align_frames(&frames, &params, &mut silent)?;
        let (modulo, rms) = (crystal.error(&found.track, &track, true), crystal.error(&found.track, &track, false));
        let left = depth(&found.track)? / ideal;
        eprintln!("{name}: {modulo:.3} px modulo the lattice, {rms:.3} px; {left:.2} of the spot");
        // Height of the correlation's peak over its noise: n σ² √N.
        let peak = electrons * merge as f64 * contrast * contrast * side as f64;
        rows.push(serde_json::json!({
            "method": name, "rms_modulo_px": modulo, "rms_px": rms, "spot_left": left, "max_shift_px": max_shift, "peak_deviations": peak,
        }));
    }
    println!(
        "{}",
        serde_json::json!({ "rows": rows, "cramer_rao_px": crystal.bound(electrons), "spot_depth_true_track": ideal, "side": side, "frames": n,
            "electrons_per_px": electrons, "contrast": contrast, "drift_px": length })
    );
    Ok(())
}

/// The track itself, not modulo the lattice, where something is in view: error, bound, and how sure each piece is.
fn absolute(options: &Options, par: &Par) -> Result<(), Failure> {
    let (side, n): (usize, usize) = (options.get("side", 2048)?, options.get("frames", 120)?);
    let (electrons, contrast): (f64, f64) = (options.get("electrons", 0.033)?, options.get("contrast", 0.05)?);
    let (jumps, seeds): (usize, u64) = (options.get("jumps", 3)?, options.get("seeds", 3)?);
    let first: u64 = options.get("seed", 1)?;
    let mut rows = Vec::new();
    let only: String = options.get("scene", String::new())?;
    let scenes = [("corner", Scene::Corner), ("faint-corner", Scene::FaintCorner), ("defect", Scene::Defect)];
    for (name, scene) in scenes.into_iter().filter(|s| only.is_empty() || only == s.0) {
        let crystal = uio66([side; 2], contrast, scene, par)?;
        let bound = crystal.bound(electrons);
        // A piece of a series cut by its jumps, against all others.
        let each = n / (jumps + 1);
        let separation = crystal.separation(electrons, each, n - each);
        for seed in first..first + seeds {
            let track = drift(n, 30.0, jumps, seed);
            let frames = crystal.frames(&track, electrons, seed, par)?;
            let start = Instant::now();
            let params = DriftParams { par: par.clone(), ..DriftParams::default() };
            let found = align_frames(&frames, &params, &mut silent)?;
            let seconds = start.elapsed().as_secs_f64();
            let (modulo, rms) = (crystal.error(&found.track, &track, true), crystal.error(&found.track, &track, false));
            let sure = found.pieces.iter().map(|p| p.confidence).fold(1.0, f64::min);
            let apart = found.pieces.iter().map(|p| p.separation).fold(f64::INFINITY, f64::min);
            eprintln!(
                "{name}, seed {seed}: {rms:.3} px ({modulo:.3} modulo the lattice), bound {bound:.3}; {} pieces, least sure {sure:.3}, separation {apart:.1} (known pattern: {separation:.1})",
                found.pieces.len()
            );
            let least = found.pieces.iter().min_by(|a, b| a.confidence.total_cmp(&b.confidence));
            let wrong = misplaced(&crystal, &frames, &found.track, &track, jumps, electrons);
            for (piece, e, nats) in &wrong {
                eprintln!(
                    "  piece {piece} is ({:.1}, {:.1}) px off; who knew the picture would prefer its true place by {nats:.1} nats",
                    e[0], e[1]
                );
            }
            let wrong: Vec<_> = wrong.iter().map(|(p, e, nats)| serde_json::json!([p, e[0], e[1], nats])).collect();
            rows.push(serde_json::json!({
                "misplaced": wrong, "doubt_px": least.map(|p| p.doubt),
                "scene": name, "seed": seed, "rms_px": rms, "rms_modulo_px": modulo, "cramer_rao_px": bound, "pieces": found.pieces.len(),
                "confidence_lowest": sure, "separation_lowest": apart, "separation_known": separation, "seconds": seconds,
            }));
        }
    }
    println!(
        "{}",
        serde_json::json!({ "rows": rows, "side": side, "frames": n, "electrons_per_px": electrons, "contrast": contrast, "jumps": jumps })
    );
    Ok(())
}

/// The pieces between true jumps that are more than 3 pixels off the others, by how much, and what a likelihood that knows the picture says against it, nats:
/// Σ n ln(I(r − d)/I(r − d − e)) − ē (I(r − d) − I(r − d − e)). Where that is negative the counts themselves mislead; no method could be right.
fn misplaced(
    crystal: &Crystal,
    frames: &Tensor<u8>,
    found: &[[f64; 2]],
    truth: &[[f64; 2]],
    jumps: usize,
    electrons: f64,
) -> Vec<(usize, [f64; 2], f64)> {
    let n = truth.len();
    let median = |range: std::ops::Range<usize>, a: usize| {
        let mut e: Vec<f64> = range.map(|f| found[f][a] - truth[f][a]).collect();
        e.sort_by(f64::total_cmp);
        e[e.len() / 2]
    };
    let each = n / (jumps + 1);
    let [ny, nx] = crystal.dims;
    let range = |piece: usize| piece * each..if piece == jumps { n } else { (piece + 1) * each };
    let errors: Vec<[f64; 2]> = (0..=jumps).map(|p| [0, 1].map(|a| median(range(p), a))).collect();
    // Where most pieces are is where they should be.
    let beside = |e: &[f64; 2]| errors.iter().filter(|o| (o[0] - e[0]).hypot(o[1] - e[1]) < 3.0).count();
    let common = errors.iter().copied().max_by_key(beside).unwrap_or_default();
    let mut out = Vec::new();
    for (piece, error) in errors.iter().enumerate() {
        let off = [error[0] - common[0], error[1] - common[1]];
        if off[0].hypot(off[1]) < 3.0 {
            continue;
        }
        // The lattice vector that it is.
        let [a, b] = crystal.primitive;
        let vectors = (-9..=9).flat_map(|i| (-9..=9).map(move |j| [f64::from(i), f64::from(j)]));
        let vectors = vectors.map(|[i, j]| [i * a[0] + j * b[0], i * a[1] + j * b[1]]);
        let distance = |v: &[f64; 2]| (v[0] - off[0]).hypot(v[1] - off[1]);
        let e = vectors.min_by(|p, q| distance(p).total_cmp(&distance(q))).unwrap_or(off);
        let mut nats = 0.0;
        for f in range(piece) {
            let d = truth[f];
            let counts = &frames.as_slice()[f * ny * nx..(f + 1) * ny * nx];
            for (i, c) in counts.iter().enumerate() {
                let r = [(i / nx) as f64 - d[0], (i % nx) as f64 - d[1]];
                let (p, q) = (crystal.intensity(r), crystal.intensity([r[0] - e[0], r[1] - e[1]]));
                nats -= electrons * (p - q);
                if *c > 0 {
                    nats += f64::from(*c) * (p / q).ln();
                }
            }
        }
        out.push((piece, e, nats));
    }
    out
}

/// Five seconds as 1 × 5, 5 × 1, 10 × 0.5 and 100 × 0.05 s: blur within frames against noise of the alignment.
fn fractionation(options: &Options, out: &Path, par: &Par) -> Result<(), Failure> {
    let side: usize = options.get("side", 1024)?;
    let (contrast, seed): (f64, u64) = (options.get("contrast", 0.05)?, options.get("seed", 1)?);
    // Electrons a pixel in the whole exposure.
    let total: f64 = options.get("electrons", 4.0)?;
    let crystal = uio66([side; 2], contrast, Scene::Infinite, par)?;
    // Drift through the exposure, s from 0 to 1: it settles, trembles, and jumps once.
    let path = |s: f64| {
        let jump = if s > 0.62 { [-6.0, 5.0] } else { [0.0; 2] };
        [9.0 * (1.0 - (-3.0 * s).exp()) + 0.4 * (31.0 * s).sin() + jump[0], 7.0 * s + 0.4 * (23.0 * s).cos() + jump[1]]
    };
    let mut rows = Vec::new();
    let mut curves = Vec::new();
    let still = {
        let frames = crystal.frames(&[[0.0; 2]; 10], total / 10.0, seed + 1, par)?;
        let sum = aligned_sum(&frames, &[[0.0; 2]; 10], &AlignedSumParams { par: par.clone(), ..Default::default() })?;
        sum_quality(&sum, [PIXEL; 2])?
    };
    for n in [1usize, 5, 10, 100] {
        let camera = EventCameraParams {
            dims: [side; 2],
            spread: 0.3,
            readouts: 400 / n,
            coincidence: 1.0,
            par: par.clone(),
            ..Default::default()
        };
        let each = total / n as f64;
        let density = |t: f64, r: [f64; 2]| {
            let d = path(t / n as f64);
            each * crystal.intensity([r[0] - d[0], r[1] - d[1]])
        };
        let frames: Tensor<u8> = count_events(&camera, &density, each * crystal.highest() * (1.0 + 1e-12), n, seed)?;
        let params = DriftParams { par: par.clone(), ..DriftParams::default() };
        let drift = align_frames(&frames, &params, &mut silent)?;
        let sums = AlignedSumParams { par: par.clone(), ..Default::default() };
        let sum = aligned_sum(&frames, &drift.track, &sums)?;
        let quality = sum_quality(&sum, [PIXEL; 2])?;
        // What is lost: within the true frames, and by the error of the track.
        let truth: Vec<[f64; 2]> = (0..n).map(|f| path((f as f64 + 0.5) / n as f64)).collect();
        let error = crystal.error(&drift.track, &truth, true);
        let fine = 1000 / n;
        let blur = |k: f64| {
            let within = |f: usize| -> f64 {
                let mut z = exitwave::num_complex::Complex::new(0.0, 0.0);
                for i in 0..fine {
                    let d = path((f as f64 + (i as f64 + 0.5) / fine as f64) / n as f64);
                    z += exitwave::num_complex::Complex::cis(-std::f64::consts::TAU * k * d[0]) / fine as f64;
                }
                z.norm()
            };
            (0..n).map(within).sum::<f64>() / n as f64
        };
        let noise = |k: f64| (-2.0 * (std::f64::consts::PI * k * error).powi(2)).exp();
        let motion = SubframeMotion::new(&drift.track, 4.0)?;
        let estimated = |k: f64| (0..n).map(|f| motion.transfer(f, [k, 0.0]).norm()).sum::<f64>() / n as f64;
        let k = 0.15;
        eprintln!(
            "{n} frames: track {error:.3} px, transfer at {k} c/px: blur {:.3} (estimated {:.3}), alignment {:.3}; {} reflections (still: {})",
            blur(k),
            estimated(k),
            noise(k),
            quality.reflections,
            still.reflections
        );
        let x: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.005).collect();
        let y = x.iter().map(|&k| blur(k) * noise(k)).collect();
        curves.push(Series { label: format!("{n} × {} s", 5.0 / n as f64), x, y, ..Series::default() });
        rows.push(serde_json::json!({
            "frames": n, "seconds_each": 5.0 / n as f64, "rms_px": error, "transfer_blur": blur(k),
            "transfer_blur_estimated": estimated(k), "transfer_alignment": noise(k),
            "reflections": quality.reflections, "finest_A": quality.finest.map(|d| d.to_angstrom()),
        }));
    }
    let mut panel = Panel::new(1);
    panel.cell = [320, 480];
    panel.add(Cell::Plot(Plot {
        title: "contrast that is left: blur within frames × alignment".into(),
        x_label: "cycles a pixel".into(),
        y_range: Some([0.0, 1.05]),
        series: curves,
        ..Plot::default()
    }));
    let png = out.join("align_fractionation.png");
    panel.render()?.write_png(&png)?;
    println!(
        "{}",
        serde_json::json!({ "rows": rows, "reflections_still": still.reflections, "electrons_per_px": total, "png": png.display().to_string() })
    );
    Ok(())
}

/// Seconds of 120 frames of 2048².
fn speed(options: &Options, par: &Par) -> Result<(), Failure> {
    let (side, n): (usize, usize) = (options.get("side", 2048)?, options.get("frames", 120)?);
    let crystal = uio66([side; 2], options.get("contrast", 0.05)?, Scene::Infinite, par)?;
    let track = drift(n, 30.0, 3, 1);
    let frames = crystal.frames(&track, options.get("electrons", 0.033)?, 1, par)?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let drift = align_frames(&frames, &DriftParams { par: par.clone(), ..DriftParams::default() }, &mut silent)?;
        let tracked = start.elapsed().as_secs_f64();
        aligned_sum(&frames, &drift.track, &AlignedSumParams { par: par.clone(), ..Default::default() })?;
        seconds.push([tracked, start.elapsed().as_secs_f64()]);
    }
    println!(
        "{}",
        serde_json::json!({ "frames": n, "side": side, "seconds_track_and_with_sum": seconds, "threads": par.count(), "peak_bytes": peak_bytes() })
    );
    Ok(())
}
