//! The phase of an off-axis electron hologram.

mod support;

use exitwave::io::npy;
use exitwave::lorentz::{Hologram, HologramParams, contours};
use exitwave::render::{Cell, ColorMap, Image, Panel, Pixel, Range};
use exitwave::tensor::Tensor;
use exitwave::units::Length;
use serde_json::json;
use support::{Failure, Options};

const HELP: &str = "\
hologram FILE [REFERENCE]: the phase of an off-axis electron hologram

  --pixel-nm P     pixel, where the file does not say (default 1)
  --aperture A     radius of the side band over the carrier (default 0.333)
  --amplification N  of the contour map cos(N phase) (default 2)
  --out DIR        where PNG and arrays (.npy) go (default out/hologram)

The last line printed is one JSON object.";

fn read(path: &str) -> Result<(Tensor<f32>, Option<Length>), Failure> {
    let file = exitwave::io::open(path)?;
    let t = file.read(0)?.into_real::<f32>()?;
    let pixel = file.info(0)?.axes.last().and_then(|a| a.length());
    match *t.dims() {
        [_, _] => Ok((t, pixel)),
        [1, y, x] => Ok((t.reshape(&[y, x])?, pixel)),
        _ => Err(format!("{path}: {:?} is no image", t.dims()).into()),
    }
}

fn main() -> Result<(), Failure> {
    let o = Options::read(HELP, &["pixel-nm", "aperture", "amplification", "out"], &[])?;
    let out = o.out("out/hologram")?;
    let (hologram, pixel) = read(o.free(0).ok_or("no hologram (see --help)")?)?;
    let reference = o.free(1).map(read).transpose()?.map(|(t, _)| t);
    let pixel = pixel.unwrap_or(Length::nm(o.get("pixel-nm", 1.0)?));
    let dims = [hologram.dims()[0], hologram.dims()[1]];
    let params = HologramParams { aperture: o.get("aperture", 1.0 / 3.0)?, ..HologramParams::default() };
    let found = Hologram::<f32>::new(dims, params)?.reconstruct(&hologram, reference.as_ref())?;
    let (period, azimuth) = found.fringes();

    let amplification: f64 = o.get("amplification", 2.0)?;
    let mut panel = Panel::new(3);
    panel.cell = [340, 340];
    let pixel_size = Pixel::Length(pixel);
    let cells: [(&str, Vec<f64>, ColorMap, Option<&str>); 5] = [
        ("hologram", hologram.as_slice().iter().map(|v| f64::from(*v)).collect(), ColorMap::Grey, None),
        (
            "amplitude over the reference",
            found.amplitude.as_slice().iter().map(|v| f64::from(*v)).collect(),
            ColorMap::Grey,
            Some("|ψ|"),
        ),
        (
            "phase, wrapped",
            found.wrapped.as_slice().iter().map(|v| f64::from(*v)).collect(),
            ColorMap::Phase,
            Some("rad"),
        ),
        ("phase", found.phase.as_slice().iter().map(|v| f64::from(*v)).collect(), ColorMap::Viridis, Some("rad")),
        ("contours of the phase", contours(&found.phase, amplification).into_vec(), ColorMap::Grey, None),
    ];
    for (title, values, map, bar) in cells {
        let mut i = Image::real(&dims, &values)?;
        (i.title, i.map, i.pixel, i.color_bar) = (title.into(), map, pixel_size, bar.map(String::from));
        i.range = Range::Percentile { low: 0.5, high: 99.5 };
        panel.add(Cell::Image(i));
    }
    let png = out.join("hologram.png");
    panel.render()?.write_png(&png)?;
    npy::write(out.join("phase.npy"), &found.phase)?;
    npy::write(out.join("amplitude.npy"), &found.amplitude)?;
    println!(
        "{}",
        json!({
            "fringe_period_px": period,
            "carrier_azimuth_deg": azimuth,
            "carrier_cycles_per_px": found.carrier,
            "pixel_nm": pixel.to_nm(),
            "png": png.display().to_string(),
        })
    );
    Ok(())
}
