//! Defocus and astigmatism of a micrograph from its Thon rings; without a file, of a simulated low-dose image.

#[path = "../support/mod.rs"]
mod support;

mod simulate;
mod study;

use std::path::Path;
use std::time::Instant;

use exitwave::hrtem::{PowerSpectrum, PowerSpectrumParams, Thon, ThonFit, ThonParams, Tiles, contrast_transfer};
use exitwave::multislice::Averaging;
use exitwave::optics::{Ctf, CtfParams};
use exitwave::par::Par;
use exitwave::render::{Axis, Cell, ColorMap, Guide, Image, Panel, Pixel, Plot, Range, Series};
use exitwave::tensor::Tensor;
use exitwave::units::{Energy, Length};
use serde_json::json;
use support::{Failure, Options};

const HELP: &str = "\
thon FILE: defocus and astigmatism of a micrograph from its Thon rings

  --pixel-A P             pixel (default: the file's)
  --energy-kev E          (default 300)
  --cs-mm C               (default 2.7)
  --amplitude-contrast W  (default 0.07)
  --resolution-A L        coarsest and finest spacing fitted (default 30,5)
  --defocus-um L          where defocus is sought, underfocus positive (default 0.1,5)
  --astigmatism-um A      largest difference of the two principal defoci (default 0.2)
  --frame N               of a stack (default 0)
  --threads N             threads (default: all cores)
  --out DIR               where the picture goes (default out/thon)

Without FILE: a film of amorphous carbon and UiO-66 [001] are simulated at --dose (default 10 electrons per square Angstrom) and
--true-defocus-nm (default 45); the focus comes from the film, the crystal's image is averaged over its cells and corrected.

  --seed S                of the counts (default 1)
  --study T               amorphous, crystal, correction or all: the Monte-Carlo tables, with --trials N (default 20) from --seed on
  --mil-101 FILE          a CIF of MIL-101 for the table of crystals

The last line printed is one JSON object.";

fn pair(text: &str) -> Result<[f64; 2], Failure> {
    let v = text.split(',').map(|s| s.trim().parse::<f64>()).collect::<Result<Vec<_>, _>>()?;
    <[f64; 2]>::try_from(v).map_err(|v| format!("{text}: {} numbers, not two", v.len()).into())
}

fn main() -> Result<(), Failure> {
    let names = [
        "pixel-A",
        "energy-kev",
        "cs-mm",
        "amplitude-contrast",
        "resolution-A",
        "defocus-um",
        "astigmatism-um",
        "frame",
        "threads",
        "out",
        "dose",
        "true-defocus-nm",
        "seed",
        "study",
        "trials",
        "mil-101",
    ];
    let o = Options::read(HELP, &names, &[])?;
    let threads: usize = o.get("threads", 0)?;
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    let dose: f64 = o.get("dose", 10.0)?;
    let table: String = o.get("study", String::new())?;
    if !table.is_empty() {
        let mil: String = o.get("mil-101", String::new())?;
        let mil = (!mil.is_empty()).then(|| Path::new(&mil));
        println!("{}", study::run(o.get("trials", 20)?, o.get("seed", 1)?, dose, &table, mil, &par)?);
        return Ok(());
    }
    let out = o.out("out/thon")?;
    match o.free(0) {
        Some(path) => measured(path, &o, &out, &par),
        None => simulated(&o, dose, &out, &par),
    }
}

/// A micrograph from a file.
fn measured(path: &str, o: &Options, out: &Path, par: &Par) -> Result<(), Failure> {
    let file = exitwave::io::open(path)?;
    let info = file.info(0)?;
    let (dims, calibrated) = (info.dims.clone(), info.axes.last().and_then(|a| a.length()));
    let given: f64 = o.get("pixel-A", 0.0)?;
    let pixel = match (given > 0.0, calibrated) {
        (true, _) => Length::angstrom(given),
        (false, Some(p)) => p,
        _ => return Err("the file does not say how large a pixel is: give --pixel-A".into()),
    };
    let [.., ny, nx] = dims[..] else { return Err(format!("{path}: {dims:?} is no image").into()) };
    let frame: usize = o.get("frame", 0)?;
    let leading = dims.len() - 2;
    let mut part: Vec<_> = dims.iter().map(|&n| 0..n).collect();
    part[..leading].iter_mut().enumerate().for_each(|(i, r)| {
        let n = if i + 1 == leading { frame } else { 0 };
        *r = n..n + 1;
    });
    let image = file.read_part(0, &part)?.into_real::<f32>()?.reshape(&[ny, nx])?;
    let resolution = pair(&o.get("resolution-A", String::from("30,5"))?)?;
    let params = ThonParams {
        energy: Energy::kev(o.get("energy-kev", 300.0)?),
        pixel,
        cs: Length::mm(o.get("cs-mm", 2.7)?),
        amplitude_contrast: o.get("amplitude-contrast", 0.07)?,
        defocus: pair(&o.get("defocus-um", String::from("0.1,5"))?)?.map(Length::um),
        astigmatism: Length::um(o.get("astigmatism-um", 0.2)?),
        resolution: resolution.map(Length::angstrom),
        par: par.clone(),
        ..ThonParams::default()
    };
    let begun = Instant::now();
    let fit = Thon::new(params.clone())?.fit(&image)?;
    let seconds = begun.elapsed().as_secs_f64();

    let mut panel = Panel::new(2);
    panel.cell = [420, 420];
    panel.title = format!(
        "{:.4} µm underfocus, astigmatism {:.4} µm, largest at {:.0}°",
        fit.defocus.to_um(),
        fit.astigmatism.to_um(),
        fit.angle.to_deg()
    );
    panel.add(Cell::Image(overlay(&image, &fit, &params)?));
    panel.add(Cell::Plot(curve(&fit, resolution)));
    let png = out.join("thon.png");
    panel.render()?.write_png(&png)?;
    println!(
        "{}",
        json!({
            "defocus_A": fit.defocus.to_angstrom(), "defocus_sigma_A": fit.defocus_sigma.to_angstrom(),
            "astigmatism_A": fit.astigmatism.to_angstrom(), "angle_deg": fit.angle.to_deg(), "quality": fit.quality,
            "confidence": fit.confidence, "resolution_A": fit.resolution.map(|r| r.to_angstrom()),
            "alternatives_A": fit.alternatives.iter().skip(1).take(3)
                .map(|a| json!([a.defocus.to_angstrom(), a.probability])).collect::<Vec<_>>(),
            "seconds": seconds, "png": png.display().to_string(),
        })
    );
    Ok(())
}

/// Left half: the spectrum over the fitted background; right half: the fit. A little beyond the fitted range.
fn overlay(image: &Tensor<f32>, fit: &ThonFit, p: &ThonParams) -> Result<Image, Failure> {
    // Small tiles: a picture of few pixels with little noise in each.
    let side = (420.0 * p.resolution[1].to_angstrom() / (2.0 * p.pixel.to_angstrom())).max(256.0) as usize;
    let tiles = Tiles::Side(side.next_power_of_two().min(2048));
    let spectrum = PowerSpectrum::new(
        image,
        &PowerSpectrumParams { pixel: p.pixel, tiles, par: p.par.clone(), ..Default::default() },
    )?;
    let whole = spectrum.centred()?;
    let step = spectrum.step().to_per_angstrom();
    let [ny, nx] = spectrum.grid.dims;
    let radius = ((1.1 / (p.resolution[1].to_angstrom() * step)) as usize).min(ny.min(nx) / 2 - 2);
    let ctf = Ctf::new(&CtfParams { energy: p.energy, aberrations: fit.aberrations, ..Default::default() })?;
    let fitted: Vec<usize> = (0..fit.curve.k.len()).filter(|&i| fit.curve.fit[i].is_finite()).collect();
    let (Some(first), Some(last)) = (fitted.first(), fitted.last()) else { return Err("nothing was fitted".into()) };
    let at = |values: &[f64], k: f64| {
        let i = fit.curve.k.partition_point(|&x| x < k).clamp(first + 1, *last);
        let t = ((k - fit.curve.k[i - 1]) / (fit.curve.k[i] - fit.curve.k[i - 1])).clamp(0.0, 1.0);
        values[i - 1] * (1.0 - t) + values[i] * t
    };
    let n = 2 * radius + 1;
    let mut shown = vec![f64::NAN; n * n];
    for y in 0..n {
        for x in 0..n {
            let (qy, qx) = (y as f64 - radius as f64, x as f64 - radius as f64);
            let (ky, kx) = (qy * step, qx * step);
            let k = ky.hypot(kx);
            if k < fit.curve.k[*first] || k > 1.1 / p.resolution[1].to_angstrom() {
                continue;
            }
            let (b, a) = (at(&fit.curve.background, k), at(&fit.curve.strength, k));
            shown[y * n + x] = if qx < 0.0 {
                // The mean over an arc of 16°: rings stay sharp, and what astigmatism there is stays in sight.
                let arc = (-16..=16).map(|i| {
                    let (sin, cos) = (f64::from(i) * 0.5f64.to_radians()).sin_cos();
                    let (y, x) = (qy * cos + qx * sin, qx * cos - qy * sin);
                    let at = |c: usize, q: f64| (c as f64 + q).round() as usize;
                    f64::from(whole.as_slice()[at(ny / 2, y) * nx + at(nx / 2, x)])
                });
                arc.sum::<f64>() / 33.0 / b
            } else {
                let c = contrast_transfer(ctf.at([ky, kx], [step; 2]), p.amplitude_contrast);
                1.0 + a * c * c / b
            };
        }
    }
    let mut picture = Image::real(&[n, n], &shown)?;
    picture.title = "power over background: data, left; fit, right".into();
    picture.map = ColorMap::Grey;
    picture.range = Range::Percentile { low: 2.0, high: 97.0 };
    picture.pixel = Pixel::Frequency(spectrum.step());
    Ok(picture)
}

/// The rings along the radius.
fn curve(fit: &ThonFit, resolution: [f64; 2]) -> Plot {
    let c = &fit.curve;
    let inside: Vec<usize> = (0..c.k.len()).filter(|&i| c.fit[i].is_finite()).collect();
    let x: Vec<f64> = inside.iter().map(|&i| c.k[i]).collect();
    let over = |v: &[f64]| inside.iter().map(|&i| v[i] / c.background[i]).collect::<Vec<_>>();
    let mut guides = Vec::new();
    if let Some(r) = fit.resolution.map(|r| r.to_angstrom()).filter(|r| *r > resolution[1]) {
        guides.push(Guide { value: 1.0 / r, axis: Axis::X, label: format!("{r:.1} Å") });
    }
    Plot {
        title: format!("rings along the radius, correlation {:.3}", fit.quality),
        x_label: "k / Å⁻¹".into(),
        y_label: "power / background".into(),
        series: vec![
            Series { label: "data".into(), x: x.clone(), y: over(&c.power), ..Series::default() },
            Series { label: "fit".into(), x, y: over(&c.fit), ..Series::default() },
        ],
        guides,
        ..Plot::default()
    }
}

/// A film and a crystal at the same focus.
fn simulated(o: &Options, dose: f64, out: &Path, par: &Par) -> Result<(), Failure> {
    let seed: u64 = o.get("seed", 1)?;
    let truth = Length::nm(o.get("true-defocus-nm", 45.0)?);
    let cs = Length::mm(o.get("cs-mm", 1.2)?);
    let films = study::films(par, 4)?;
    let lens = simulate::lens(truth, cs, Length::angstrom(simulate::THICKNESS));
    let images =
        films.iter().map(|w| simulate::image(w, &lens, Averaging::Envelope, par)).collect::<Result<Vec<_>, _>>()?;
    let film = simulate::counts(&simulate::mosaic(&images, 4, seed), &films[0].grid, 1, dose, seed, par)?;
    let fit = study::thon(cs, Length::ZERO, par)?.fit(&film)?;

    let cases = study::cases(None, par)?;
    let (case, exit) = (&cases[0], &cases[0].exit);
    let lens = simulate::lens(truth, cs, exit.thickness);
    let image = simulate::image(exit, &lens, simulate::ALL_ORDERS, par)?;
    let tiles = (500.0 / exit.grid.extent()[0].to_angstrom()).round() as usize;
    let counts = simulate::counts(&image, &exit.grid, tiles, dose, seed + 1, par)?;
    let cell = simulate::averaged(&counts, exit.grid.dims)?;
    let noise = 1.0 / counts.as_slice().iter().map(|v| f64::from(*v)).sum::<f64>().sqrt();
    let c = study::correct(case, &cell, fit.defocus, cs, noise, par)?;

    let pixel = exit.grid.sampling[0];
    let [_, width] = [counts.dims()[0], counts.dims()[1]];
    let part = 3 * exit.grid.dims[0];
    let low_dose = Tensor::from_fn(&[part, part], |i| counts.as_slice()[i[0] * width + i[1]]);
    let mut panel = Panel::new(3);
    panel.cell = [260, 260];
    panel.title = format!(
        "UiO-66 [001], 10 nm, {dose} e/Å², focus from an amorphous film: {:.2} nm (true {:.2})",
        fit.defocus.to_nm(),
        truth.to_nm()
    );
    let mut show = |title: String, dims: &[usize], values: &[f64]| -> Result<(), Failure> {
        let mut image = Image::real(dims, values)?;
        (image.title, image.map, image.pixel) = (title, ColorMap::Grey, Pixel::Length(pixel));
        panel.add(Cell::Image(image));
        Ok(())
    };
    let counts_shown: Vec<f64> = low_dose.as_slice().iter().map(|v| f64::from(*v)).collect();
    show("counts of nine cells".into(), low_dose.dims(), &counts_shown)?;
    let tiled = |t: &Tensor<f64>| {
        let [ny, nx] = exit.grid.dims;
        Tensor::from_fn(&[2 * ny, 2 * nx], |i| t.as_slice()[i[0] % ny * nx + i[1] % nx])
    };
    let r = c.numbers;
    let raw = tiled(&c.raw);
    show(format!("cells averaged, to 2 Å: r = {:.2}", r[0]), raw.dims(), raw.as_slice())?;
    panel.add(Cell::Plot(curve(&fit, [10.0, 1.7])));
    for (title, values) in [
        (format!("Wiener: r = {:.3}", r[2]), &c.wiener),
        (format!("positive density: r = {:.3}", r[4]), &c.density),
        ("projected potential, to 2 Å".into(), &c.truth),
    ] {
        let t = tiled(values);
        let mut image = Image::real(t.dims(), t.as_slice())?;
        (image.title, image.map, image.pixel) = (title, ColorMap::Grey, Pixel::Length(pixel));
        panel.add(Cell::Image(image));
    }
    let png = out.join("thon_simulated.png");
    panel.render()?.write_png(&png)?;
    println!(
        "{}",
        json!({
            "defocus_A": fit.defocus.to_angstrom(), "defocus_sigma_A": fit.defocus_sigma.to_angstrom(),
            "astigmatism_A": fit.astigmatism.to_angstrom(), "angle_deg": fit.angle.to_deg(), "quality": fit.quality,
            "confidence": fit.confidence, "error_A": (fit.defocus - truth).to_angstrom(),
            "correlation": { "raw": r[0], "flipped": r[1], "wiener": r[2], "gradient": r[3], "density": r[4] },
            "density_chi2": c.chi2,
            "nonlinear": c.nonlinear, "png": png.display().to_string(),
        })
    );
    Ok(())
}
