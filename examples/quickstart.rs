//! From atoms to counts to phase: a low-dose 4D-STEM scan of a metal–organic framework, simulated and reconstructed by iCOM and by
//! ptychography, in focus and 50 nm out of focus.
//!
//! Everything is computed here, from the coordinates of UiO-66 that the crate holds: scattering factors, potentials of the thermally moving
//! atoms, multislice, Poisson counts at a stated dose, both reconstructions, and how far each agrees with the truth.

mod support;
#[path = "support/uio66.rs"]
mod uio66;

use std::sync::Arc;
use std::time::Instant;

use exitwave::io::npy;
use exitwave::par::Par;
use exitwave::ptycho::{
    Algorithm, Loss, ObjectKind, Patterns, Placement, PtychoParams, Ptychography, ZeroFrequency, count_electrons,
};
use exitwave::render::{Axis, Cell, ColorMap, Guide, Image, Line, Panel, Pixel, Plot, Range, Series};
use exitwave::shape::Limits;
use exitwave::stem::LowFrequency;
use exitwave::tensor::Tensor;
use exitwave::units::{Dose, Length, SpatialFrequency};
use support::{Failure, Options, progress};
use uio66::{Scan, Score, cell, cutoff};

const HELP: &str = "\
quickstart: low-dose 4D-STEM of UiO-66 [110], from atoms to counts to iCOM and ptychography, focused and defocused

  --dose D         electrons per Å² (default 1000)
  --defocused-A C  C10 of the second scan in Å, positive = focused above the surface (default 500)
  --iterations N   iterations of the ptychography (default 8)
  --phonons N      configurations of the thermal motion (default 1)
  --seed S         seed of phonons and counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where the PNG and the arrays (.npy) go (default out/quickstart)

FRC resolutions are those at 1/2 of the ring correlation with the true projected phase; the size of the field where no ring reaches it.
The last line printed is one JSON object.";

/// What one focus gives.
struct Found {
    pattern: Tensor<f32>,
    icom: Vec<f64>,
    ptycho: Vec<f64>,
}

struct Setting {
    dose: Dose,
    iterations: usize,
    phonons: u64,
    seed: u64,
    par: Par,
}

fn reconstruct(name: &'static str, scan: &Scan, set: &Setting) -> Result<Found, Failure> {
    // Atoms to expected patterns, then counts: as many electrons as the dose puts on one scan position.
    let [ny, nx] = scan.dims();
    let mut data = scan.simulate(set.phonons, set.seed, &set.par, &mut progress("multislice"))?;
    let [step_y, step_x] = scan.step_length();
    let electrons = (set.dose * (step_y * step_x)) as f32;
    data.as_mut_slice().iter_mut().for_each(|v| *v *= electrons);
    count_electrons(&mut data, set.seed, &set.par);
    let [sy, sx] = scan.points();
    let pattern = Tensor::from_vec(&[ny, nx], data.as_slice()[(sy / 2 * sx + sx / 2) * ny * nx..][..ny * nx].to_vec())?;
    let data = Arc::new(data);

    // iCOM: one pass over the data, then the integral.
    let low = LowFrequency::HighPass(SpatialFrequency::per_angstrom(0.05));
    let icom = scan.icom(&scan.data_set(data.clone())?, low, &set.par)?;

    // Ptychography, with the probe known and the object a phase.
    let patterns = Patterns::<f32>::from_source(&*data, ZeroFrequency::Center, None, Limits::default())?;
    drop(data);
    let plan = Ptychography::new(
        patterns,
        scan.positions()?,
        PtychoParams {
            algorithm: Algorithm::Lbfgs { pairs: 5, regularization: 0.1, loss: Loss::Poisson { background: 0.02 } },
            object: ObjectKind::Phase,
            placement: Placement::Whole,
            probe_from: usize::MAX,
            par: set.par.clone(),
            ..PtychoParams::default()
        },
    )?;
    let outcome = plan.run(plan.start(scan.wave()?)?, set.iterations, &mut progress(name))?;
    Ok(Found { pattern, icom, ptycho: scan.phase(&outcome.state.object) })
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let options =
        Options::read(HELP, &["dose", "defocused-A", "iterations", "phonons", "seed", "threads", "out"], &[])?;
    let threads: usize = options.get("threads", 0)?;
    let set = Setting {
        dose: Dose::per_angstrom2(options.get("dose", 1000.0)?),
        iterations: options.get("iterations", 8)?,
        phonons: options.get("phonons", 1)?,
        seed: options.get("seed", 1)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
    };
    if set.phonons == 0 {
        return Err("at least one configuration of phonons".into());
    }
    let defocused = Length::angstrom(options.get("defocused-A", 500.0)?);
    let out = options.out("out/quickstart")?;

    // A window of 44 × 41 Å, twice as wide as a probe 50 nm out of focus; steps of half an Å.
    let [_, y, x] = cell()?.edges()?;
    let scan =
        Scan { edges: [y, x], pixels: [60, 90], window: [3, 2], scanned: [1, 1], step: [2, 2], c10: Length::ZERO };
    let (field, truth) = (scan.field(), scan.truth()?);
    let save = |name: String, image: &[f64]| npy::write(out.join(name), &Tensor::from_vec(&field, image.to_vec())?);
    save("truth.npy".into(), &truth)?;

    let mut rows = Vec::new();
    for (focus, title, c10) in
        [("focused", "ptychography, focused", Length::ZERO), ("defocused", "ptychography, defocused", defocused)]
    {
        let scan = Scan { c10, ..scan };
        let found = reconstruct(title, &scan, &set)?;
        let (icom, ptycho) = (scan.score(&truth, &found.icom)?, scan.score(&truth, &found.ptycho)?);
        for (method, score) in [("icom", &icom), ("ptycho", &ptycho)] {
            println!("{focus:10} {method:7} FRC {:12}  correlation {:.3}", score.text(), score.correlation);
            save(format!("{method}_{focus}.npy"), &score.image)?;
        }
        rows.push((focus, found.pattern, icom, ptycho));
    }

    // The panel: truth or pattern, iCOM, ptychography, FRC; a row a focus.
    let mut panel = Panel::new(4);
    panel.cell = [180, 250];
    for (row, (focus, pattern, icom, ptycho)) in rows.iter().enumerate() {
        if row == 0 {
            panel.add(Cell::Image(scan.picture(&scan.low_pass(&truth, cutoff())?, "true phase".into())?));
        } else {
            // The middle half, in which the bright field lies.
            let [ny, nx] = scan.dims();
            let middle: Vec<f32> = (0..ny / 2 * (nx / 2))
                .map(|i| pattern.as_slice()[(ny / 4 + i / (nx / 2)) * nx + nx / 4 + i % (nx / 2)])
                .collect();
            let mut cell = Image::real(&[ny / 2, nx / 2], &middle)?;
            cell.title = format!("one pattern, {:.0} electrons", pattern.as_slice().iter().sum::<f32>());
            (cell.map, cell.range) = (ColorMap::Viridis, Range::MinMax);
            cell.pixel = Pixel::Frequency(1.0 / (scan.pixel()[1] * scan.dims()[1] as f64));
            panel.add(Cell::Image(cell));
        }
        panel.add(Cell::Image(scan.picture(&icom.image, format!("iCOM, {focus}: {}", icom.text()))?));
        panel.add(Cell::Image(scan.picture(&ptycho.image, format!("ptychography, {focus}: {}", ptycho.text()))?));
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

    let size = (scan.edges[1] * scan.scanned[1] as f64).to_angstrom();
    let values = |f: &dyn Fn(&Score) -> f64| {
        let [a, b] = [&rows[0], &rows[1]];
        serde_json::json!({
            "icom_focused": f(&a.2), "icom_defocused": f(&b.2), "ptycho_focused": f(&a.3), "ptycho_defocused": f(&b.3),
        })
    };
    let line = serde_json::json!({
        "dose_e_per_A2": set.dose.to_per_angstrom2(),
        "frc_A": values(&|s| s.frc.unwrap_or(size)),
        "correlation": values(&|s| s.correlation),
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
