//! High-resolution images of SrTiO₃ \[001\]: defocus × thickness × mistilt.

mod support;

use exitwave::detect::count;
use exitwave::io::npy;
use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::optics::{Aberrations, Aperture, CtfParams, FocalSpread, Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Panel, Pixel, Range};
use exitwave::specimen::{PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length};
use support::{Failure, Options};

const HELP: &str = "\
hrtem_series: high-resolution images of SrTiO3 [001], defocus x thickness x mistilt

  --kev E           beam energy (default 300)
  --cs-mm C         spherical aberration (default 1.2)
  --defocus-nm L    underfocus values, separated by commas (default 0,20,40,60)
  --thickness-nm L  thicknesses (default 2,6,12,20)
  --tilt-mrad L     mistilts about [100] (default 0,4)
  --dose D          electrons per square Angstrom; 0: expected intensity (default 0)
  --seed S          seed of the counts (default 1)
  --threads N       threads (default: all cores)
  --out DIR         where PNG and arrays (.npy) go (default out/hrtem_series)

The last line printed is one JSON object.";

const A: f64 = 3.905;
const PIXELS: usize = 256;

fn list(text: &str) -> Result<Vec<f64>, Failure> {
    text.split(',').map(|s| s.trim().parse::<f64>().map_err(|e| format!("{s}: {e}").into())).collect()
}

fn main() -> Result<(), Failure> {
    let names = ["kev", "cs-mm", "defocus-nm", "thickness-nm", "tilt-mrad", "dose", "seed", "threads", "out"];
    let options = Options::read(HELP, &names, &[])?;
    let out = options.out("out/hrtem_series")?;
    let energy = Energy::kev(options.get("kev", 300.0)?);
    let cs = Length::mm(options.get("cs-mm", 1.2)?);
    let defocus = list(&options.get("defocus-nm", String::from("0,20,40,60"))?)?;
    let thickness = list(&options.get("thickness-nm", String::from("2,6,12,20"))?)?;
    let tilts = list(&options.get("tilt-mrad", String::from("0,4"))?)?;
    let (dose, seed, threads): (f64, u64, usize) =
        (options.get("dose", 0.0)?, options.get("seed", 1)?, options.get("threads", 0)?);
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };

    // Half a cell a slice; the thermal motion as Debye–Waller factors.
    let mut after: Vec<usize> = thickness.iter().map(|t| (t * 10.0 / (0.5 * A)).round().max(1.0) as usize).collect();
    after.sort_unstable();
    after.dedup();
    let cells = after.last().ok_or("no thickness")?.div_ceil(2);
    let mut crystal = crystals::strontium_titanate().repeated([4, 4, cells])?;
    for (symbol, sigma) in [("Sr", 0.0887), ("Ti", 0.0746), ("O", 0.0947)] {
        crystal = crystal.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    let pixel = Length::angstrom(4.0 * A / PIXELS as f64);
    let grid = Grid { dims: [PIXELS; 2], sampling: [pixel; 2] };
    let slicing = Slicing::Thickness(Length::angstrom(A / 2.0));
    let v = PotentialPlan::<f32>::new(
        &crystal,
        &PotentialParams { grid, slicing, par: par.clone(), ..Default::default() },
    )?
    .build()?;

    let mut files = Vec::new();
    let mut contrast = serde_json::Map::new();
    for mrad in &tilts {
        let tilt = [Angle::mrad(*mrad), Angle::ZERO];
        let params = MultisliceParams {
            energy,
            grid,
            thickness: v.thickness.clone(),
            tilt,
            par: par.clone(),
            ..Default::default()
        };
        let multislice = Multislice::new(&params)?;
        let t = multislice.transmission(&v)?;
        let series = multislice.thickness_series(&t, &multislice.plane_waves(1)?, &after)?;

        let mut panel = Panel::new(defocus.len());
        (panel.title, panel.cell) = (format!("SrTiO₃ [001], {} kV, mistilt {mrad} mrad", energy.to_kev()), [180, 180]);
        let mut stack = Vec::new();
        for (n, wave) in after.iter().zip(&series) {
            for df in &defocus {
                let mut aberrations = Aberrations::from_defocus(Length::nm(*df));
                aberrations.set_cs(cs);
                let ctf = CtfParams {
                    energy,
                    aberrations,
                    aperture: Aperture::Soft { semi_angle: Angle::mrad(20.0) },
                    focal_spread: FocalSpread::rms(Length::nm(3.0)),
                    source_angle: SourceAngle::rms(Angle::mrad(0.2)),
                    ..Default::default()
                };
                let lens = HrtemImage::<f32>::new(&ctf, grid, Averaging::Envelope, par.clone())?;
                let mut image = lens.images(wave)?;
                if dose > 0.0 {
                    count(&mut image, Dose::per_angstrom2(dose) * (pixel * pixel), seed, &par)?;
                }
                let mean = image.as_slice().iter().sum::<f32>() / image.len() as f32;
                let variance = image.as_slice().iter().map(|v| (v - mean).powi(2)).sum::<f32>() / image.len() as f32;
                let nm = *n as f64 * 0.05 * A;
                contrast.insert(format!("{mrad} mrad, {nm:.1} nm, {df} nm"), f64::from(variance.sqrt() / mean).into());
                let mut shown = Image::real(&[PIXELS; 2], image.as_slice())?;
                (shown.title, shown.map) = (format!("{nm:.1} nm thick, {df} nm under"), ColorMap::Grey);
                (shown.range, shown.pixel) = (Range::Percentile { low: 0.5, high: 99.5 }, Pixel::Length(pixel));
                panel.add(Cell::Image(shown));
                stack.extend(image.into_vec());
            }
        }
        let dims = [after.len(), defocus.len(), PIXELS, PIXELS];
        npy::write(out.join(format!("images_{mrad}_mrad.npy")), &Tensor::from_vec(&dims, stack)?)?;
        let png = out.join(format!("hrtem_series_{mrad}_mrad.png"));
        panel.render()?.write_png(&png)?;
        files.push(png.display().to_string());
    }
    println!("{}", serde_json::json!({ "rms_contrast": contrast, "defocus_nm": defocus, "png": files }));
    Ok(())
}
