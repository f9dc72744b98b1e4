//! What is in a file: the tree of any supported format, and a line of JSON.
//!
//! `cargo run --release --example info -- FILE [--stats] [--png] [--scan Y,X] [--out DIR]`
//!
//! `--stats` reads every set and adds its sum, minimum and maximum (complex sets: the sum, as two numbers); `--png`
//! draws the first picture of each set with two axes or more; `--scan` says the scan positions of detectors that do
//! not. The last line of the output is JSON: `sets`, each with `name`, `shape`, `dtype`, `axes` (`name`, `size`,
//! `scale`, `offset`, `unit`).

use std::path::PathBuf;

use exitwave::Error;
use exitwave::io::{self, Array, DataFile, Meta, OpenParams};
use exitwave::render::Range;
use serde_json::{Value, json};

/// Elements that are read at once for the statistics.
const BLOCK: usize = 1 << 22;

struct Arguments {
    file: PathBuf,
    stats: bool,
    png: bool,
    out: PathBuf,
    scan: Option<[usize; 2]>,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let mut a = Arguments { file: PathBuf::new(), stats: false, png: false, out: "out/info".into(), scan: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("stats") => a.stats = true,
            Long("png") => a.png = true,
            Long("out") => a.out = parser.value()?.into(),
            Long("scan") => {
                let text = parser.value()?.string()?;
                let sides: Vec<usize> = text.split(',').filter_map(|n| n.trim().parse().ok()).collect();
                a.scan = Some(sides.try_into().map_err(|_| "--scan takes two numbers, Y,X")?);
            }
            Value(file) if a.file.as_os_str().is_empty() => a.file = file.into(),
            other => return Err(other.unexpected()),
        }
    }
    if a.file.as_os_str().is_empty() {
        return Err("usage: info FILE [--stats] [--png] [--scan Y,X] [--out DIR]".into());
    }
    Ok(a)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = arguments()?;
    let file = io::open_with(&a.file, OpenParams { scan: a.scan, ..OpenParams::default() })?;
    println!("{} ({})", a.file.display(), file.format());
    print_tree(file.metadata(), 1);

    let mut sets = Vec::new();
    for (k, set) in file.sets().enumerate() {
        println!("{k}: {:?} {:?} {}", set.name, set.dims, set.dtype);
        for axis in &set.axes {
            println!("     {:12} {:>8}  {} from {}", axis.name, axis.size, axis.step(), axis.start());
        }
        if let Some(energy) = set.energy {
            println!("     {} keV", energy.to_kev());
        }
        let axes: Vec<Value> = (set.axes.iter())
            .map(|x| json!({"name": x.name, "size": x.size, "scale": x.scale, "offset": x.offset, "unit": x.unit}))
            .collect();
        let mut entry = json!({"name": set.name, "shape": set.dims, "dtype": numpy_name(set.dtype), "axes": axes});
        if a.stats {
            let [sum, min, max] = stats(&file, k)?;
            entry["sum"] = sum;
            entry["min"] = min;
            entry["max"] = max;
        }
        if a.png && draw(&file, k, &a.out)? {
            entry["png"] = json!(a.out.join(format!("{k}.png")));
        }
        sets.push(entry);
    }
    println!("{}", json!({"file": a.file, "format": file.format(), "sets": sets}));
    Ok(())
}

/// The first lines of a tree; long lists and texts are cut.
fn print_tree(node: &Meta, depth: usize) {
    let Meta::Map(entries) = node else { return };
    for (name, value) in entries.iter().take(40) {
        match value {
            Meta::Map(inner) if !inner.is_empty() => {
                println!("{:1$}{name}", "", 2 * depth);
                print_tree(value, depth + 1);
            }
            other => {
                let text: String = other.to_json().chars().take(100).collect();
                println!("{:1$}{name}: {text}", "", 2 * depth);
            }
        }
    }
    if entries.len() > 40 {
        println!("{:1$}… {2} in all", "", 2 * depth, entries.len());
    }
}

/// The name that NumPy has for an element type.
fn numpy_name(dtype: &str) -> &str {
    match dtype {
        "u8" => "uint8",
        "i8" => "int8",
        "u16" => "uint16",
        "i16" => "int16",
        "u32" => "uint32",
        "i32" => "int32",
        "u64" => "uint64",
        "i64" => "int64",
        "f32" => "float32",
        "f64" => "float64",
        "complex<f32>" => "complex64",
        "complex<f64>" => "complex128",
        other => other,
    }
}

/// Sum, minimum and maximum, read in blocks along the first axis.
fn stats(file: &DataFile, set: usize) -> Result<[Value; 3], Error> {
    let dims = &file.info(set)?.dims;
    let (mut sum, mut min, mut max) = ([0.0, 0.0], f64::INFINITY, f64::NEG_INFINITY);
    let mut complex = false;
    let mut add = |array: Array| -> Result<(), Error> {
        complex |= array.is_complex();
        if array.is_complex() {
            for z in array.into_complex::<f64>()?.as_slice() {
                sum = [sum[0] + z.re, sum[1] + z.im];
            }
        } else {
            for &v in array.into_real::<f64>()?.as_slice() {
                (sum[0], min, max) = (sum[0] + v, min.min(v), max.max(v));
            }
        }
        Ok(())
    };
    let Some((&first, rest)) = dims.split_first() else {
        add(file.read(set)?)?;
        return Ok([json!(sum[0]), json!(min), json!(max)]);
    };
    let inside = rest.iter().product::<usize>().max(1);
    let step = (BLOCK / inside).max(1);
    for start in (0..first).step_by(step) {
        let mut ranges: Vec<_> = dims.iter().map(|&n| 0..n).collect();
        ranges[0] = start..(start + step).min(first);
        add(file.read_part(set, &ranges)?)?;
    }
    Ok(if complex { [json!(sum), Value::Null, Value::Null] } else { [json!(sum[0]), json!(min), json!(max)] })
}

/// The first picture of a set: whether it has one.
fn draw(file: &DataFile, set: usize, out: &std::path::Path) -> Result<bool, Box<dyn std::error::Error>> {
    let dims = file.info(set)?.dims.clone();
    let &[.., h, w] = dims.as_slice() else { return Ok(false) };
    if dims.contains(&0) {
        return Ok(false);
    }
    let ranges: Vec<_> = dims.iter().enumerate().map(|(k, &n)| if k + 2 < dims.len() { 0..1 } else { 0..n }).collect();
    let values = file
        .read_part(set, &ranges)?
        .into_complex::<f32>()?
        .reshape(&[h, w])?
        .map(|z| if z.im == 0.0 { z.re } else { z.norm() });
    std::fs::create_dir_all(out)?;
    exitwave::io::npy::write(out.join(format!("{set}.npy")), &values)?;
    let [low, high] = Range::Percentile { low: 0.5, high: 99.5 }.limits(values.as_slice())?;
    let shade = |v: f32| ((f64::from(v) - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    let pixels: Vec<u8> = values.as_slice().iter().map(|&v| (255.0 * shade(v)).round() as u8).collect();
    io::png::write_gray(out.join(format!("{set}.png")), w, h, &pixels)?;
    Ok(true)
}
