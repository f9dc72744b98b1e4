//! Low-dose imaging of a metal–organic framework, from atoms to frames of a few hundredths of an electron a pixel to a map of its potential.

mod scene;
#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use exitwave::fft::{Fft2, frequency_index};
use exitwave::hrtem::{
    AlignedSumParams, Correction, CrystalFocus, CrystalFocusParams, CtfCorrection, CtfCorrectionParams, DriftParams,
    FocusReflection, ImageLatticeParams, PlaneGroupParams, PlaneLattice, PlaneReflections, ReflectionsParams,
    Registration, align_frames, aligned_sum, find_image_lattice, impose_plane_group, measure_reflections,
    rank_plane_groups,
};
use exitwave::io::{cif, npy};
use exitwave::num_complex::Complex;
use exitwave::optics::Grid;
use exitwave::par::Par;
use exitwave::real::cis;
use exitwave::render::{Cell as PanelCell, ColorMap, Image, Panel, Pixel, Plot, Range, Series};
use exitwave::specimen::{Atoms, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Length, SpatialFrequency};
use scene::{ENERGY, Exposure, PIXEL, Scene};
use support::{Failure, Options, progress};

const HELP: &str = "\
low_dose_hrtem: a framework crystal in 120 drifting frames, from atoms to a map of its potential

  --crystal NAME   uio-66, or mil-101 (default uio-66)
  --cif FILE       the crystal's cell from a file (needed for mil-101)
  --zone U,V,W     zone axis (default 1,1,0); --up U,V,W  what lies along x (default 0,0,1)
  --cells N        cells along the beam (default 3 for uio-66, 1 otherwise)
  --dose D         electrons per square Angstrom in all frames (default 20)
  --frames N       frames (default 120)
  --pixels N       sides of a frame, 0.5 Angstrom each (default 512 for uio-66, 768 otherwise)
  --defocus-nm F   underfocus (default 40 for uio-66, 80 otherwise)
  --resolution-A R finest spacing that is measured (default 2 for uio-66, 4 otherwise)
  --seed S         seed of drift and counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where PNG and arrays (.npy) go (default out/low_dose_hrtem)

Everything after the frames is found from them: drift by the amplitude filter, lattice, defocus from the reflections, plane group. Correlations are with
the projected potential of the same reflections.
The last line printed is one JSON object.";

fn triple(text: &str) -> Result<[i32; 3], Failure> {
    let v: Vec<i32> = text.split(',').map(|s| s.trim().parse()).collect::<Result<_, _>>()?;
    v.try_into().map_err(|_| format!("{text}: three whole numbers").into())
}

/// The crystal with the beam along z, its atoms moving thermally.
fn crystal(options: &Options, name: &str) -> Result<Atoms, Failure> {
    let file: String = options.get("cif", String::new())?;
    let atoms = match (name, file.is_empty()) {
        ("uio-66", true) => crystals::uio_66(),
        (_, true) => return Err(format!("{name}: give its cell by --cif").into()),
        (_, false) => cif::read(&file)?.atoms()?,
    };
    let zone = triple(&options.get("zone", String::from("1,1,0"))?)?;
    let up = triple(&options.get("up", String::from("0,0,1"))?)?;
    let mut cell = atoms.oriented(zone, up)?;
    for symbol in ["C", "H", "O", "F"] {
        cell = cell.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(0.1));
    }
    for symbol in ["Zr", "Cr"] {
        cell = cell.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(0.05));
    }
    Ok(cell)
}

/// The sum of the frames, each shifted by minus its drift.
fn summed(frames: &Tensor<f32>, track: &[[f64; 2]], par: &Par) -> Result<Tensor<f64>, Failure> {
    let &[n, ny, nx] = frames.dims() else { return Err("frames".into()) };
    let source = frames.clone().reshape(&[1, n, ny, nx])?;
    let sum = aligned_sum(&source, track, &AlignedSumParams { par: par.clone(), ..AlignedSumParams::default() })?;
    Ok(sum.sum.map(|v| f64::from(*v)))
}

/// `d` less the lattice vector that is nearest to it.
fn modulo(lattice: &PlaneLattice, d: [f64; 2]) -> [f64; 2] {
    let o = lattice.origin;
    let f = lattice.fraction([o[0] + d[0], o[1] + d[1]]).map(f64::round);
    [0, 1].map(|i| d[i] - f[0] * lattice.a[i] - f[1] * lattice.b[i])
}

/// Root mean square of what is not common to all, along an axis.
fn spread(d: &[[f64; 2]]) -> f64 {
    let n = d.len() as f64;
    let mean = [0, 1].map(|a| d.iter().map(|d| d[a]).sum::<f64>() / n);
    (d.iter().map(|d| 0.5 * ((d[0] - mean[0]).powi(2) + (d[1] - mean[1]).powi(2))).sum::<f64>() / n).sqrt()
}

/// A window of a picture.
fn cut(image: &Tensor<f64>, [y0, x0]: [usize; 2], side: usize) -> Tensor<f64> {
    Tensor::from_fn(&[side, side], |i| image[[y0 + i[0], x0 + i[1]]])
}

/// |F| of a picture without its mean, Hann's window, zero frequency in the middle, and only the middle half.
fn amplitude(image: &Tensor<f64>) -> Result<Tensor<f64>, Failure> {
    let n = image.dims()[0];
    let fft = Fft2::<f64>::new([n, n])?;
    let mean = image.as_slice().iter().sum::<f64>() / (n * n) as f64;
    let hann = |i: usize| (std::f64::consts::PI * (i as f64 + 0.5) / n as f64).sin().powi(2);
    let at = |i: usize| Complex::new((image.as_slice()[i] - mean) * hann(i / n) * hann(i % n), 0.0);
    let mut z: Vec<Complex<f64>> = (0..n * n).map(at).collect();
    fft.forward(&mut z, &mut vec![Complex::default(); fft.scratch_len()]);
    let m = n / 2;
    Ok(Tensor::from_fn(&[m, m], |i| {
        let [y, x] = [i[0], i[1]].map(|i| (i + n - m / 2) % n);
        z[y * n + x].norm()
    }))
}

/// Correlation of two sets of reflections of one lattice, `found` shifted by `s` (fractions of its axes).
fn correlation(found: &PlaneReflections, truth: &PlaneReflections, s: [f64; 2]) -> f64 {
    let (mut cross, mut a, mut b) = (0.0, 0.0, 0.0);
    for r in &found.list {
        let Some(t) = truth.get(r.index) else { continue };
        let turn = f64::from(r.index[0]) * s[0] + f64::from(r.index[1]) * s[1];
        cross += (r.f * cis(std::f64::consts::TAU * turn) * t.conj()).re;
        a += r.f.norm_sqr();
        b += t.norm_sqr();
    }
    cross / (a * b).sqrt().max(f64::MIN_POSITIVE)
}

/// The shift within ± `reach` pixels at which they correlate best: a drift is known against the first frame only as well as that frame is.
fn best_correlation(found: &PlaneReflections, truth: &PlaneReflections, reach: f64) -> (f64, [f64; 2]) {
    let mut best = (f64::NEG_INFINITY, [0.0; 2]);
    let n = 24;
    for y in -n..=n {
        for x in -n..=n {
            let d = [y, x].map(|i| reach * f64::from(i) / f64::from(n));
            let origin = found.lattice.origin;
            let s = found.lattice.fraction([origin[0] + d[0], origin[1] + d[1]]);
            let c = correlation(found, truth, s);
            if c > best.0 {
                best = (c, s);
            }
        }
    }
    best
}

/// The reflections of the phase, by Wiener's filter and the camera's transfer.
fn corrected(raw: &PlaneReflections, lens: &CtfCorrection<f64>, mtf: &dyn Fn([f64; 2]) -> f64) -> PlaneReflections {
    let dual = raw.lattice.reciprocal();
    let mut out = PlaneReflections { mean: 0.0, ..raw.clone() };
    for r in &mut out.list {
        let q = dual.at(r.index.map(f64::from));
        let gain = lens.factor(q.map(|q| q / PIXEL)) / (mtf(q) * raw.mean);
        (r.f, r.sigma) = (r.f * gain, r.sigma * gain.abs());
    }
    out
}

/// Reflections counted from a group's origin `s` (fractions of the axes), counted again from the lattice's own.
fn shifted(r: &PlaneReflections, s: [f64; 2], origin: [f64; 2]) -> PlaneReflections {
    let mut out = r.clone();
    for r in &mut out.list {
        let turn = f64::from(r.index[0]) * s[0] + f64::from(r.index[1]) * s[1];
        r.f *= cis(std::f64::consts::TAU * turn);
    }
    out.lattice.origin = origin;
    out
}

/// A picture of the reflections, the shorter axis along x.
fn map(r: &PlaneReflections, title: String, side: f64) -> Result<Image, Failure> {
    let n = 256;
    let (a, b) = (r.lattice.a, r.lattice.b);
    let (ex, other) = if a[0].hypot(a[1]) <= b[0].hypot(b[1]) { (a, b) } else { (b, a) };
    let unit = ex.map(|v| v / ex[0].hypot(ex[1]));
    let normal = [unit[1], -unit[0]];
    let sign = if normal[0] * other[0] + normal[1] * other[1] >= 0.0 { 1.0 } else { -1.0 };
    let step = side / PIXEL / f64::from(n);
    let cell = r.cell([192, 192])?;
    let values: Vec<f64> = (0..n * n)
        .map(|i| {
            let (v, u) = (step * f64::from(i / n) * sign, step * f64::from(i % n));
            let o = r.lattice.origin;
            let p = [0, 1].map(|c| o[c] + u * unit[c] + v * normal[c]);
            let f = r.lattice.fraction(p).map(|f| (f.rem_euclid(1.0) * 192.0) as usize % 192);
            cell[f]
        })
        .collect();
    let mut image = Image::real(&[n as usize, n as usize], &values)?;
    (image.title, image.map) = (title, ColorMap::Grey);
    (image.range, image.pixel) =
        (Range::Percentile { low: 0.5, high: 99.8 }, Pixel::Length(Length::angstrom(side / f64::from(n))));
    Ok(image)
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let names = [
        "crystal",
        "cif",
        "zone",
        "up",
        "cells",
        "dose",
        "frames",
        "pixels",
        "defocus-nm",
        "resolution-A",
        "seed",
        "threads",
        "out",
    ];
    let options = Options::read(HELP, &names, &[])?;
    let out = options.out("out/low_dose_hrtem")?;
    let name: String = options.get("crystal", String::from("uio-66"))?;
    let threads: usize = options.get("threads", 0)?;
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    let uio = name == "uio-66";
    let scene = Scene {
        cell: crystal(&options, &name)?,
        deep: options.get("cells", if uio { 3 } else { 1 })?,
        pixels: options.get("pixels", if uio { 512 } else { 768 })?,
        frames: options.get("frames", 120)?,
        dose: options.get("dose", 20.0)?,
        defocus: Length::nm(options.get("defocus-nm", if uio { 40.0 } else { 80.0 })?),
        angle: Angle::deg(17.0),
        seed: options.get("seed", 1)?,
    };
    let n = scene.pixels;
    if n < 256 {
        return Err("frames of at least 256 pixels a side".into());
    }
    let Exposure { frames, drift, truth, image } = scene.expose(&par)?;
    let simulated = start.elapsed().as_secs_f64();

    // Drift, by the amplitude filter.
    let params = DriftParams { par: par.clone(), ..DriftParams::default() };
    let begun = Instant::now();
    let found = align_frames(&frames, &params, &mut progress("drift"))?;
    let aligning = begun.elapsed().as_secs_f64();
    let off: Vec<[f64; 2]> =
        (0..scene.frames).map(|f| [0, 1].map(|a| found.track[f][a] - (drift[f][a] - drift[0][a]))).collect();
    let still = summed(&frames, &vec![[0.0; 2]; scene.frames], &par)?;
    let sum = summed(&frames, &found.track, &par)?;

    // A square of crystal that all frames show.
    let side = n * 5 / 8 / 16 * 16;
    let corner = [(n - side) / 2, n * 5 / 16];
    let (square, square_still) = (cut(&sum, corner, side), cut(&still, corner, side));
    let (true_square, ideal) = (cut(&truth, corner, side), cut(&image, corner, side));

    // Lattice, reflections, defocus.
    let dims = [side; 2];
    let lattice = find_image_lattice(dims, square.as_slice(), &ImageLatticeParams::default())?;
    let folded: Vec<[f64; 2]> = off.iter().map(|d| modulo(&lattice.lattice, *d)).collect();
    let (track_rms, folded_rms) = (spread(&off), spread(&folded));
    let resolution: f64 = options.get("resolution-A", if uio { 2.0 } else { 4.0 })?;
    let params = ReflectionsParams { highest: (PIXEL / resolution).min(0.5), par: par.clone(), ..Default::default() };
    let measure = |image: &Tensor<f64>| measure_reflections(dims, image.as_slice(), &lattice.lattice, &params);
    let (raw, expected) = (measure(&square)?, measure(&true_square)?);
    let dual = raw.lattice.reciprocal();
    let k = |h: [i32; 2]| dual.at(h.map(f64::from)).map(|k| k / PIXEL);
    let camera = scene::camera(&par);
    let mtf = |q: [f64; 2]| camera.mtf.at(q.map(|q| 2.0 * q));
    let reflections: Vec<FocusReflection> = raw
        .list
        .iter()
        .map(|r| {
            let gain = 1.0 / (raw.mean * mtf(dual.at(r.index.map(f64::from))));
            FocusReflection {
                hk: r.index,
                k: k(r.index),
                f: vec![r.f.conj() * gain],
                sigma: std::f64::consts::SQRT_2 * r.sigma * gain,
            }
        })
        .collect();
    let lens = scene::lens(Length::ZERO);
    let focus = CrystalFocus::new(CrystalFocusParams {
        energy: ENERGY,
        cs: lens.aberrations.cs(),
        focal_spread: lens.focal_spread,
        source_angle: lens.source_angle,
        registration: Registration::Aligned,
        defocus: [Length::nm(20.0), Length::nm(110.0)],
        par: par.clone(),
        ..CrystalFocusParams::default()
    })?
    .fit(&reflections)?;

    // The transfer undone, the group found and imposed.
    let grid = Grid { dims, sampling: [Length::angstrom(PIXEL); 2] };
    let correction = |signal_to_noise| {
        CtfCorrection::<f64>::new(CtfCorrectionParams {
            lens: scene::lens(focus.defocus),
            correction: Correction::Wiener { signal_to_noise },
            grid,
            ..CtfCorrectionParams::default()
        })
    };
    let whole = correction(3.0)?.apply(&square)?;
    let wiener = correction(100.0)?;
    let phase = corrected(&raw, &wiener, &mtf);
    let ranking = rank_plane_groups(&phase, &PlaneGroupParams::default())?;
    let group = *ranking.best();
    let mut symmetric = impose_plane_group(&phase, &group)?;
    // Back to the origin of the others.
    symmetric = shifted(&symmetric, group.origin, raw.lattice.origin);
    let reach = 2.0;
    let (c_phase, s) = best_correlation(&phase, &expected, reach);
    let (c_symmetric, _) = best_correlation(&symmetric, &expected, reach);
    let c_raw = correlation(&raw, &expected, s);
    let ideal = measure(&ideal)?;
    let (c_ceiling, _) = best_correlation(&corrected(&ideal, &wiener, &|_| 1.0), &expected, reach);

    // The panel.
    let mut panel = Panel::new(4);
    panel.title =
        format!("{name}: {} frames, {} e/Å², {:.0} nm underfocus", scene.frames, scene.dose, scene.defocus.to_nm());
    panel.cell = [256, 256];
    let grey = |title: String, t: &Tensor<f64>, high: f64| -> Result<Image, Failure> {
        let mut i = Image::real(t.dims(), t.as_slice())?;
        (i.title, i.map, i.range) = (title, ColorMap::Grey, Range::Percentile { low: 0.5, high });
        i.pixel = Pixel::Length(Length::angstrom(PIXEL));
        Ok(i)
    };
    let one = Tensor::from_vec(&[n, n], frames.row(0).iter().map(|&v| f64::from(v)).collect())?;
    let per_pixel = one.as_slice().iter().sum::<f64>() / one.len() as f64;
    panel.add(PanelCell::Image(grey(format!("one frame, {per_pixel:.3} e a pixel"), &cut(&one, corner, side), 99.9)?));
    panel.add(PanelCell::Image(grey("sum, not aligned".into(), &square_still, 99.5)?));
    let spectrum = |title: &str, t: &Tensor<f64>| -> Result<Image, Failure> {
        let a = amplitude(t)?;
        let mut i = grey(title.into(), &a, 99.8)?;
        i.pixel = Pixel::Frequency(SpatialFrequency::per_angstrom(1.0 / (PIXEL * n as f64)));
        Ok(i)
    };
    panel.add(PanelCell::Image(spectrum("FT of the sum", &still)?));
    if let Some(filter) = &found.filter {
        // What the filter kept of the frames' summed amplitudes, each as a dot.
        let m = n / 2;
        let mut dots = Tensor::<f64>::zeros(&[m, m]);
        for (i, a) in filter.index.iter().zip(&filter.significance) {
            let (ky, kx) = (frequency_index(i / (n / 2 + 1), n), (i % (n / 2 + 1)) as isize);
            for (y, x) in [(ky, kx), (-ky, -kx)] {
                for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx))) {
                    let at = [y + dy + m as isize / 2, x + dx + m as isize / 2];
                    if at.iter().all(|v| (0..m as isize).contains(v)) {
                        dots[[at[0] as usize, at[1] as usize]] = a.sqrt();
                    }
                }
            }
        }
        let mut i = grey(format!("amplitude filter: {} coefficients", filter.index.len()), &dots, 100.0)?;
        (i.pixel, i.range) =
            (Pixel::Frequency(SpatialFrequency::per_angstrom(1.0 / (PIXEL * n as f64))), Range::MinMax);
        panel.add(PanelCell::Image(i));
    }
    panel.add(PanelCell::Image(grey("sum, aligned".into(), &square, 99.5)?));
    panel.add(PanelCell::Image(spectrum("FT of the aligned sum", &sum)?));
    panel.add(PanelCell::Image(grey("transfer undone".into(), &whole, 99.5)?));
    panel.add(PanelCell::Image(grey("projected potential".into(), &true_square, 99.8)?));
    let cell_side = if uio { 45.0 } else { 140.0 };
    panel.add(PanelCell::Image(map(&raw, format!("average cell: {c_raw:.2}"), cell_side)?));
    panel.add(PanelCell::Image(map(&phase, format!("its transfer undone: {c_phase:.2}"), cell_side)?));
    let title = format!("{} imposed: {c_symmetric:.2}", group.setting.group.symbol());
    panel.add(PanelCell::Image(map(&symmetric, title, cell_side)?));
    panel.add(PanelCell::Image(map(&expected, format!("potential to {resolution} Å"), cell_side)?));
    let x: Vec<f64> = (0..scene.frames).map(|f| f as f64).collect();
    let line = |label: &str, y: Vec<f64>| Series { label: label.into(), x: x.clone(), y, ..Series::default() };
    let part = |t: &[[f64; 2]], a: usize| t.iter().map(|d| d[a] - t[0][a]).collect::<Vec<f64>>();
    panel.add(PanelCell::Plot(Plot {
        title: format!("drift: {track_rms:.2} px RMS off, {folded_rms:.2} modulo the lattice"),
        span: 2,
        x_label: "frame".into(),
        y_label: "px".into(),
        series: vec![
            line("true y", part(&drift, 0)),
            line("found y", part(&found.track, 0)),
            line("true x", part(&drift, 1)),
            line("found x", part(&found.track, 1)),
        ],
        ..Plot::default()
    }));
    let likelihood = &focus.search;
    let top = likelihood.iter().map(|l| l.1).fold(f64::NEG_INFINITY, f64::max);
    panel.add(PanelCell::Plot(Plot {
        title: format!("focus: {:.1} nm, sure to {:.0} %", focus.defocus.to_nm(), 100.0 * focus.confidence),
        span: 2,
        x_label: "underfocus (nm)".into(),
        y_label: "log likelihood".into(),
        series: vec![Series {
            x: likelihood.iter().map(|l| l.0.to_nm()).collect(),
            y: likelihood.iter().map(|l| (l.1 - top).max(-60.0)).collect(),
            ..Series::default()
        }],
        ..Plot::default()
    }));
    let png = out.join("low_dose_hrtem.png");
    panel.render()?.write_png(&png)?;
    npy::write(out.join("sum.npy"), &sum)?;
    npy::write(out.join("sum_not_aligned.npy"), &still)?;
    npy::write(out.join("potential.npy"), &truth)?;
    let track: Vec<f64> = found.track.iter().chain(&drift).flatten().copied().collect();
    npy::write(out.join("drift_found_and_true_px.npy"), &Tensor::from_vec(&[2, scene.frames, 2], track)?)?;
    npy::write(out.join("cell.npy"), &symmetric.cell([128, 128])?)?;

    let line = serde_json::json!({
        "crystal": name,
        "dose_e_per_A2": scene.dose,
        "electrons_per_pixel_and_frame": per_pixel,
        "track_rms_px": track_rms,
        "track_rms_modulo_lattice_px": folded_rms,
        "pieces": found.pieces.iter().map(|p| serde_json::json!({
            "frames": [p.frames.start, p.frames.end], "confidence": p.confidence, "doubt_px": p.doubt,
        })).collect::<Vec<_>>(),
        "defocus_nm": focus.defocus.to_nm(),
        "true_defocus_nm": scene.defocus.to_nm(),
        "defocus_confidence": focus.confidence,
        "lattice_A": lattice.lattice.lengths().map(|l| l * PIXEL),
        "lattice_angle_deg": lattice.lattice.angle().to_degrees(),
        "plane_group": group.setting.group.symbol(),
        "phase_residual_deg": group.phase_residual.to_deg(),
        "correlation_raw": c_raw,
        "correlation_corrected": c_phase,
        "correlation_symmetric": c_symmetric,
        "correlation_without_noise": c_ceiling,
        "seconds_simulation": simulated,
        "seconds_alignment": aligning,
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
