//! From any supported format to another: `.npy`, `.npz`, `.tif`, `.mrc`, `.h5` (EMD with calibrations), `.zarr`,
//! `.png`.
//!
//! `cargo run --release --example convert -- IN OUT [--set N] [--scan Y,X]`
//!
//! `.npz` and `.h5` take all sets of the file, the others set N (0). What a format cannot hold is an error: MRC has 8-
//! and 16-bit integers and 32-bit floats, TIFF 16-bit integers and 32-bit floats; other real types become 32-bit
//! floats.

use std::path::PathBuf;

use exitwave::io::hdf5_write::{self, Hdf5Array};
use exitwave::io::{self, Array, ArrayRef, OpenParams};
use exitwave::render::Range;
use exitwave::units::Length;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let (mut paths, mut set, mut scan) = (Vec::<PathBuf>::new(), 0, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("set") => set = parser.value()?.parse()?,
            Long("scan") => {
                let text = parser.value()?.string()?;
                let sides: Vec<usize> = text.split(',').filter_map(|n| n.trim().parse().ok()).collect();
                scan = Some(<[usize; 2]>::try_from(sides).map_err(|_| "--scan takes two numbers, Y,X")?);
            }
            Value(path) => paths.push(path.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let [input, output] = paths.as_slice() else { return Err("usage: convert IN OUT [--set N] [--scan Y,X]".into()) };
    let file = io::open_with(input, OpenParams { scan, ..OpenParams::default() })?;
    let ending = output.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();

    match ending.as_str() {
        "h5" | "hdf5" | "emd" | "npz" => {
            let mut arrays = Vec::new();
            for k in 0..file.sets().len() {
                arrays.push((format!("{k} {}", file.info(k)?.name.replace('/', " ")), file.read(k)?));
            }
            if ending == "npz" {
                let named: Vec<_> = arrays.iter().map(|(n, a)| (n.as_str(), ArrayRef::from(a))).collect();
                io::npz::write(output, &named)?;
            } else {
                let sets: Vec<_> = (arrays.iter().zip(file.sets()))
                    .map(|((name, a), info)| Hdf5Array { name, array: a.into(), axes: &info.axes })
                    .collect();
                hdf5_write::write(output, &sets)?;
            }
        }
        "npy" => io::npy::write(output, &file.read(set)?)?,
        "zarr" => io::zarr::write(output, &file.read(set)?, &file.info(set)?.axes)?,
        "mrc" | "mrcs" | "map" => {
            let axes = &file.info(set)?.axes;
            let length = |back: usize| axes.iter().rev().nth(back).and_then(|a| a.length()).unwrap_or(Length::ZERO);
            let voxel = [length(2), length(1), length(0)];
            match stack(file.read(set)?)? {
                a @ (Array::I8(_) | Array::I16(_) | Array::U16(_)) => io::mrc::write(output, &a, voxel)?,
                a => io::mrc::write(output, &a.into_real::<f32>()?, voxel)?,
            }
        }
        "tif" | "tiff" => match stack(file.read(set)?)? {
            Array::U16(t) => io::tiff::write_u16(output, &t)?,
            a => io::tiff::write(output, &a.into_real()?)?,
        },
        "png" => {
            let image = file.image::<f32>(set)?.data;
            let [low, high] = Range::Percentile { low: 0.5, high: 99.5 }.limits(image.as_slice())?;
            let shade = |v: &f32| ((f64::from(*v) - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
            let pixels: Vec<u8> = image.as_slice().iter().map(|v| (255.0 * shade(v)).round() as u8).collect();
            io::png::write_gray(output, image.dims()[1], image.dims()[0], &pixels)?;
        }
        other => return Err(format!("{other:?} is no format to write").into()),
    }
    println!("{} ({}) → {}", input.display(), file.format(), output.display());
    Ok(())
}

/// Axes before the last two joined into one.
fn stack(array: Array) -> Result<Array, exitwave::Error> {
    match *array.dims() {
        [ref outer @ .., h, w] if outer.len() > 1 => {
            let n = outer.iter().product();
            array.reshape(&[n, h, w])
        }
        [n] => array.reshape(&[1, n]),
        _ => Ok(array),
    }
}
