//! A low-dose 4D-STEM scan of a thin phase object, reconstructed by iCOM and by ptychography, in focus and 50 nm out of
//! focus.
//!
//! Everything is computed here: the object, the probe, the expected patterns (by the model that the reconstruction
//! differentiates), Poisson counts at a stated dose, both reconstructions, and how far each agrees with the truth.

mod support;

use std::sync::Arc;
use std::time::Instant;

use exitwave::fft::fft_shift;
use exitwave::io::npy;
use exitwave::metrics::{FrcParams, GaugeParams, Resolution, RingCorrelation, Threshold, Window, compare_phases};
use exitwave::num_complex::Complex;
use exitwave::observe::silent;
use exitwave::optics::{Aberrations, Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::ptycho::{
    Algorithm, Loss, ObjectKind, Patterns, Placement, Positions, PtychoParams, Ptychography, ZeroFrequency,
    count_electrons, grid, simulate,
};
use exitwave::render::{Axis, Cell, ColorMap, Guide, Image, Line, Panel, Pixel as PixelSize, Plot, Range, Series};
use exitwave::shape::Limits;
use exitwave::stem::{Boundary, Calibration, DataSet, Icom, IcomParams, LowFrequency, Pass, PassParams, Pixel};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length, SpatialFrequency};
use support::{Failure, Options, progress};

const HELP: &str = "\
quickstart: low-dose 4D-STEM from a phase object to iCOM and ptychography, focused and defocused

  --dose D         electrons per Å² (default 1000)
  --defocused-A C  C10 of the second scan in Å, positive = overfocus (default 500)
  --iterations N   iterations of the ptychography (default 8)
  --seed S         seed of the counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where the PNG and the arrays (.npy) go (default out/quickstart)

FRC resolutions are those at 1/2 of the ring correlation with the truth; the size of the field where no ring reaches it.
The last line printed is one JSON object.";

/// 300 kV, 20 mrad.
const ENERGY: Energy = Energy::kev(300.0);
const SEMI_ANGLE: Angle = Angle::mrad(20.0);
/// Pixels of a pattern, and of the probe's window.
const N: usize = 96;
/// Object pixel; the detector's is 1/(N · 0.25 Å).
const PIXEL: Length = Length::angstrom(0.25);
/// Scan positions along an axis, and object pixels a step.
const SCAN: usize = 60;
const STEP: usize = 2;

/// Projected phase in radians: a square net of metal clusters and ring-shaped linkers, as a metal–organic framework
/// shows, with a cluster missing and guests in the pores. Sums of Gaussians.
fn phase(dims: [usize; 2]) -> Tensor<f64> {
    // (y, x, height in rad, width in Å)
    let mut atoms: Vec<[f64; 4]> = Vec::new();
    let a = 10.4;
    for i in -1..7 {
        for j in -1..7 {
            let (y, x) = (1.7 + a * f64::from(i), 2.9 + a * f64::from(j));
            if (i, j) != (2, 3) {
                atoms.push([y, x, 1.0, 0.42]);
                for (dy, dx) in [(2.5, 0.0), (-2.5, 0.0), (0.0, 2.5), (0.0, -2.5)] {
                    atoms.push([y + dy, x + dx, 0.6, 0.40]);
                }
            }
            // Benzene rings half-way to the neighbours, one seen flat, one on edge.
            for k in 0..6 {
                let (s, c) = (f64::from(k) * std::f64::consts::FRAC_PI_3).sin_cos();
                atoms.push([y + 1.39 * s, x + a / 2.0 + 1.39 * c, 0.2, 0.36]);
                atoms.push([y + a / 2.0 + 1.39 * c, x + 0.5 * s, 0.2, 0.36]);
            }
        }
    }
    let mut r = exitwave::rng::stream(20, 0);
    let extent = dims.map(|n| n as f64 * PIXEL.to_angstrom());
    for _ in 0..120 {
        let at = [extent[0] * exitwave::rng::uniform(&mut r), extent[1] * exitwave::rng::uniform(&mut r)];
        atoms.push([at[0], at[1], 0.15, 0.38]);
    }
    let d = PIXEL.to_angstrom();
    let mut phi = Tensor::zeros(&dims);
    for [y, x, height, width] in atoms {
        let reach = |c: f64, n: usize| {
            let at = |r: f64| (r / d).clamp(0.0, n as f64) as usize;
            at(c - 5.0 * width)..at(c + 5.0 * width)
        };
        for i in reach(y, dims[0]) {
            for j in reach(x, dims[1]) {
                let r2 = (i as f64 * d - y).powi(2) + (j as f64 * d - x).powi(2);
                phi[[i, j]] += height * (-r2 / (2.0 * width * width)).exp();
            }
        }
    }
    phi
}

/// What one focus gives.
struct Found {
    pattern: Tensor<f32>,
    icom: Vec<f64>,
    ptycho: Vec<f64>,
}

struct Setting {
    dose: Dose,
    iterations: usize,
    seed: u64,
    par: Par,
}

fn reconstruct(
    name: &'static str,
    object: &Tensor<Complex<f32>>,
    positions: &Positions,
    c10: Length,
    set: &Setting,
) -> Result<Found, Failure> {
    // The probe, with as many electrons as the dose puts on one scan position.
    let step = PIXEL * STEP as f64;
    let electrons = set.dose * (step * step);
    let probe = Probe::<f32>::new(&ProbeParams {
        energy: ENERGY,
        aperture: Aperture::Soft { semi_angle: SEMI_ANGLE },
        aberrations: Aberrations::from_defocus(-c10),
        grid: Grid { dims: [N, N], sampling: [PIXEL; 2] },
        ..ProbeParams::default()
    })?;
    let corner = probe.real([Length::ZERO; 2])?;
    let mut wave = Tensor::zeros(&[N, N]);
    fft_shift(&[N, N], corner.as_slice(), wave.as_mut_slice());
    let wave = wave.map(|z| z * (electrons as f32).sqrt()).reshape(&[1, N, N])?;

    // Expected patterns, then counts.
    let mut data = simulate(object, &wave, positions, ZeroFrequency::Center, &set.par)?;
    count_electrons(&mut data, set.seed, &set.par);
    let pattern = Tensor::from_vec(&[N, N], data.row(SCAN * SCAN / 2 + SCAN / 2).to_vec())?;
    let data = Arc::new(data.reshape(&[SCAN, SCAN, N, N])?);

    // iCOM: one pass over the data, then the integral.
    let dk = 1.0 / (PIXEL * N as f64);
    let calibration = Calibration::new([step; 2], Pixel::Frequency([dk; 2]), ENERGY);
    let set4d = DataSet::new(data.clone(), calibration)?;
    let analysis = Pass::new(&set4d, PassParams { par: set.par.clone(), ..PassParams::default() })?.run(&mut silent)?;
    let icom = Icom::new(
        [SCAN; 2],
        IcomParams {
            step: [step; 2],
            boundary: Boundary::Mirror,
            low: LowFrequency::HighPass(SpatialFrequency::per_angstrom(0.05)),
            ..IcomParams::default()
        },
    )?
    .run(&analysis.com)?;

    // Ptychography, with the probe known and the object a phase.
    let patterns = Patterns::<f32>::from_source(&*data, ZeroFrequency::Center, None, Limits::default())?;
    drop((data, set4d));
    let plan = Ptychography::new(
        patterns,
        positions.clone(),
        PtychoParams {
            algorithm: Algorithm::Lbfgs { pairs: 5, regularization: 0.1, loss: Loss::Poisson { background: 0.02 } },
            object: ObjectKind::Phase,
            placement: Placement::Whole,
            probe_from: usize::MAX,
            par: set.par.clone(),
            ..PtychoParams::default()
        },
    )?;
    let outcome = plan.run(plan.start(wave)?, set.iterations, &mut progress(name))?;
    let ptycho = outcome.state.object.as_slice().iter().map(|z| f64::from(z.arg())).collect();
    Ok(Found { pattern, icom: icom.phase.into_vec(), ptycho })
}

/// FRC resolution in Å (the whole field, where not even the coarsest ring reaches ½), correlation, the FRC curve, and
/// the phase in the truth's gauge.
struct Score {
    frc: f64,
    correlation: f64,
    curve: (Vec<f64>, Vec<f64>),
    aligned: Vec<f64>,
}

impl Score {
    fn text(&self) -> String {
        // No ring of a tenth of the field or finer.
        if self.frc > 3.0 { "not resolved".into() } else { format!("{:.2} Å", self.frc) }
    }
}

fn score(truth: &[f64], phase: &[f64], n: usize, pixel: Length) -> Result<Score, Failure> {
    let c = compare_phases(truth, phase, [n, n], None, &GaugeParams::default())?;
    let params = FrcParams { pixel: [pixel; 2], window: Window::Hann, ..FrcParams::default() };
    let curve = RingCorrelation::new([n, n], params)?.real(truth, &c.aligned)?;
    let frc = match curve.resolution(Threshold::Half) {
        Resolution::At(d) | Resolution::BetterThan(d) => d.to_angstrom(),
        Resolution::NotReached => (pixel * n as f64).to_angstrom(),
    };
    let k = curve.frequency.iter().map(|k| k.to_per_angstrom()).collect();
    Ok(Score { frc, correlation: c.correlation, curve: (k, curve.correlation), aligned: c.aligned })
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let options = Options::read(HELP, &["dose", "defocused-A", "iterations", "seed", "threads", "out"], &[])?;
    let threads: usize = options.get("threads", 0)?;
    let set = Setting {
        dose: Dose::per_angstrom2(options.get("dose", 1000.0)?),
        iterations: options.get("iterations", 8)?,
        seed: options.get("seed", 1)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
    };
    let defocused = Length::angstrom(options.get("defocused-A", 500.0)?);
    let out = options.out("out/quickstart")?;

    let step = PIXEL * STEP as f64;
    let positions = Positions::new(&grid([SCAN, SCAN], [step, step], Angle::ZERO), [PIXEL; 2], [N, N], 0)?;
    let phi = phase(positions.object);
    let object = phi.map(|&p| Complex::from_polar(1.0f32, p as f32));

    // The scanned square, on the object's pixels and on the scan's.
    let (side, width) = (STEP * (SCAN - 1) + 1, positions.object[1]);
    let crop = |image: &[f64]| -> Vec<f64> {
        (0..side * side).map(|i| image[(N / 2 + i / side) * width + N / 2 + i % side]).collect()
    };
    let truth = crop(phi.as_slice());
    let on_scan: Vec<f64> = (0..SCAN * SCAN).map(|i| truth[(i / SCAN * STEP) * side + i % SCAN * STEP]).collect();

    let mut rows = Vec::new();
    for (focus, title, c10) in
        [("focused", "ptychography, focused", Length::ZERO), ("defocused", "ptychography, defocused", defocused)]
    {
        let found = reconstruct(title, &object, &positions, c10, &set)?;
        let icom = score(&on_scan, &found.icom, SCAN, step)?;
        let ptycho = score(&truth, &crop(&found.ptycho), side, PIXEL)?;
        println!(
            "{focus:10} iCOM          FRC {:12}  correlation {:.3}\n{focus:10} ptychography  FRC {:12}  correlation {:.3}",
            icom.text(),
            icom.correlation,
            ptycho.text(),
            ptycho.correlation
        );
        npy::write(out.join(format!("icom_{focus}.npy")), &Tensor::from_vec(&[SCAN, SCAN], icom.aligned.clone())?)?;
        npy::write(out.join(format!("ptycho_{focus}.npy")), &Tensor::from_vec(&[side, side], ptycho.aligned.clone())?)?;
        rows.push((focus, found.pattern, icom, ptycho));
    }
    npy::write(out.join("truth.npy"), &Tensor::from_vec(&[side, side], truth.clone())?)?;

    // The panel: truth or pattern, iCOM, ptychography, FRC; a row a focus.
    let mut panel = Panel::new(4);
    let range = Range::Percentile { low: 0.5, high: 99.5 };
    let image = |data: &[f64], n: usize, pixel: Length, title: String| -> Result<Cell, Failure> {
        let mut image = Image::real(&[n, n], data)?;
        (image.title, image.map, image.range, image.pixel) = (title, ColorMap::Grey, range, PixelSize::Length(pixel));
        Ok(Cell::Image(image))
    };
    for (row, (focus, pattern, icom, ptycho)) in rows.iter().enumerate() {
        if row == 0 {
            panel.add(image(&truth, side, PIXEL, "true phase".into())?);
        } else {
            let mut cell = Image::real(pattern.dims(), pattern.as_slice())?;
            cell.title = format!("one pattern, {:.0} electrons", pattern.as_slice().iter().sum::<f32>());
            (cell.map, cell.range) = (ColorMap::Viridis, Range::MinMax);
            cell.pixel = PixelSize::Frequency(1.0 / (PIXEL * N as f64));
            panel.add(Cell::Image(cell));
        }
        panel.add(image(&icom.aligned, SCAN, step, format!("iCOM, {focus}: {}", icom.text()))?);
        panel.add(image(&ptycho.aligned, side, PIXEL, format!("ptychography, {focus}: {}", ptycho.text()))?);
        let series = |label: &str, s: &Score, line| Series {
            label: label.into(),
            x: s.curve.0.clone(),
            y: s.curve.1.clone(),
            line,
            ..Series::default()
        };
        panel.add(Cell::Plot(Plot {
            title: format!("FRC with the truth, {focus}"),
            x_label: "k (1/Å)".into(),
            y_label: "FRC".into(),
            y_range: Some([-0.2, 1.05]),
            series: vec![series("iCOM", icom, Line::Dashed), series("ptychography", ptycho, Line::Solid)],
            guides: vec![Guide { value: 0.5, axis: Axis::Y, label: "1/2".into() }],
            ..Plot::default()
        }));
    }
    let png = out.join("quickstart.png");
    panel.render()?.write_png(&png)?;

    let values = |f: fn(&Score) -> f64| {
        let [a, b] = [&rows[0], &rows[1]];
        serde_json::json!({
            "icom_focused": f(&a.2), "icom_defocused": f(&b.2), "ptycho_focused": f(&a.3), "ptycho_defocused": f(&b.3),
        })
    };
    let line = serde_json::json!({
        "dose_e_per_A2": set.dose.to_per_angstrom2(),
        "frc_A": values(|s| s.frc),
        "correlation": values(|s| s.correlation),
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
