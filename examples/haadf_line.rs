//! A line scan over SrTiO₃ \[001\]: annular dark field and bright field, with frozen phonons, by PRISM or by multislice.

mod support;

use exitwave::detect::{Edge, collect, count, ring};
use exitwave::io::npy;
use exitwave::multislice::{Multislice, MultisliceParams, Prism, diffraction};
use exitwave::optics::{Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::render::{Cell, Line, Panel, Plot, Series};
use exitwave::specimen::{PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length};
use support::{Failure, Options};

const HELP: &str = "\
haadf_line: line profiles over SrTiO3 [001], from Sr to Sr along [110], through Ti/O

  --points N     scan positions (default 33)
  --cells N      thickness in cells (default 20)
  --phonons N    configurations of frozen phonons (default 6)
  --prism F      PRISM with this interpolation factor; 0: multislice (default 0)
  --dose D       electrons per square Angstrom, for the counted profile (default 10000)
  --seed S       seed of phonons and counts (default 1)
  --threads N    threads (default: all cores)
  --out DIR      where the PNG and the arrays (.npy) go (default out/haadf_line)

The last line printed is one JSON object.";

const A: f64 = 3.905;
const PIXELS: usize = 256;
/// Inner and outer angle in mrad.
const DETECTORS: [(&str, [f64; 2]); 4] =
    [("BF", [0.0, 10.0]), ("ABF", [12.5, 25.0]), ("MAADF", [40.0, 80.0]), ("HAADF", [80.0, 160.0])];

fn main() -> Result<(), Failure> {
    let names = ["points", "cells", "phonons", "prism", "dose", "seed", "threads", "out"];
    let options = Options::read(HELP, &names, &[])?;
    let out = options.out("out/haadf_line")?;
    let (points, cells, phonons): (usize, usize, u64) =
        (options.get("points", 33)?, options.get("cells", 20)?, options.get("phonons", 6)?);
    let (prism, seed, threads): (usize, u64, usize) =
        (options.get("prism", 0)?, options.get("seed", 1)?, options.get("threads", 0)?);
    let dose = Dose::per_angstrom2(options.get("dose", 10_000.0)?);
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    if points < 2 || phonons == 0 {
        return Err("at least two points and one configuration of phonons".into());
    }

    let mut crystal = crystals::strontium_titanate().repeated([4, 4, cells])?;
    for (symbol, sigma) in [("Sr", 0.0887), ("Ti", 0.0746), ("O", 0.0947)] {
        crystal = crystal.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    let energy = Energy::kev(200.0);
    let grid = Grid { dims: [PIXELS; 2], sampling: [Length::angstrom(4.0 * A / PIXELS as f64); 2] };
    let slicing = Slicing::Thickness(Length::angstrom(A / 2.0));
    let potential = PotentialParams { grid, slicing, par: par.clone(), ..Default::default() };
    let aperture = Aperture::Soft { semi_angle: Angle::mrad(21.4) };
    let probe = ProbeParams { energy, aperture, grid, ..Default::default() };
    let lens = Probe::<f32>::new(&probe)?;
    let along = |i: usize| A * (1.0 + i as f64 / (points - 1) as f64);
    let positions: Vec<[Length; 2]> = (0..points).map(|i| [Length::angstrom(along(i)); 2]).collect();
    let mut waves = Vec::new();
    for &r in &positions {
        waves.extend(lens.real(r)?.into_vec());
    }
    let waves = Tensor::from_vec(&[points, PIXELS, PIXELS], waves)?;

    // Detectors on the pixels of the pattern, which PRISM has fewer of.
    let side = PIXELS.checked_div(prism).unwrap_or(PIXELS);
    let pixel = lens.wavelength().to_angstrom() / (4.0 * A) * (PIXELS / side) as f64;
    let mut weights = Vec::new();
    for (_, mrad) in DETECTORS {
        let centre = [(side / 2) as f64; 2];
        let mask = ring([side; 2], centre, [pixel; 2], mrad.map(Angle::mrad), 1, Angle::ZERO, Edge::Hard)?;
        weights.extend(mask.into_vec());
    }
    let weights = Tensor::from_vec(&[DETECTORS.len(), side, side], weights)?;

    let mut profile = Tensor::<f64>::zeros(&[points, DETECTORS.len()]);
    let bar = indicatif::ProgressBar::new(phonons);
    for i in 0..phonons {
        let v = PotentialPlan::<f32>::new(&crystal.displaced(seed, i), &potential)?.build()?;
        let params =
            MultisliceParams { energy, grid, thickness: v.thickness.clone(), par: par.clone(), ..Default::default() };
        let multislice = Multislice::new(&params)?;
        let t = multislice.transmission(&v)?;
        let patterns = match prism {
            0 => diffraction(&multislice.exit_waves(&t, &waves)?, &par)?,
            f => Prism::new(&multislice, &t, &probe, [f; 2])?.patterns(&positions)?,
        };
        let received = collect(&patterns, &weights, &par)?;
        profile.as_mut_slice().iter_mut().zip(received.as_slice()).for_each(|(p, r)| *p += r / phonons as f64);
        bar.inc(1);
    }
    bar.finish();

    // Counted, for square scan steps.
    let step = Length::angstrom(A * 2f64.sqrt() / (points - 1) as f64);
    let mut counted = profile.clone();
    count(&mut counted, dose * (step * step), seed, &par)?;

    let x: Vec<f64> = (0..points).map(|i| (along(i) - A) * 2f64.sqrt()).collect();
    let mut panel = Panel::new(2);
    let mut json = serde_json::Map::new();
    for (d, (name, [inner, outer])) in DETECTORS.iter().enumerate() {
        let column = |t: &Tensor<f64>| (0..points).map(|p| t[[p, d]]).collect::<Vec<_>>();
        let (expected, counts) = (column(&profile), column(&counted));
        let electrons = dose * (step * step);
        panel.add(Cell::Plot(Plot {
            title: format!("{name}, {inner} to {outer} mrad"),
            x_label: "position, Å (Sr, Ti/O, Sr)".into(),
            y_label: "fraction of the beam".into(),
            series: vec![
                Series { label: "expected".into(), x: x.clone(), y: expected.clone(), ..Default::default() },
                Series {
                    label: "counted".into(),
                    x: x.clone(),
                    y: counts.iter().map(|c| c / electrons).collect(),
                    line: Line::Points,
                    ..Default::default()
                },
            ],
            ..Default::default()
        }));
        json.insert(name.to_lowercase(), expected.into());
    }
    npy::write(out.join("profile.npy"), &profile)?;
    npy::write(out.join("counts.npy"), &counted)?;
    let png = out.join("haadf_line.png");
    panel.render()?.write_png(&png)?;
    json.insert("position_A".into(), x.into());
    json.insert("electrons_per_position".into(), (dose * (step * step)).into());
    json.insert("png".into(), png.display().to_string().into());
    println!("{}", serde_json::Value::from(json));
    Ok(())
}
