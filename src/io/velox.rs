//! Velox EMD: images, stacks, several detectors, transforms, spectra.
//!
//! `/Data/Image/ID/Data` is (y, x, frame), `/Data/Spectrum/ID/Data` (channel, spectrum); `Metadata` beside it holds one
//! JSON text a frame, padded with zeros.
//!
//! # References
//! The structure as Velox writes it; published notes on the format by its users.

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes;
use crate::io::data_file::{Contents, OpenParams, Set};
use crate::io::hdf5_family::Tree;
use crate::io::hdf5_set::View;
use crate::io::meta::Meta;
use crate::units::Energy;

pub(crate) fn read(tree: &Tree<'_>, _params: &OpenParams) -> Result<Contents, Error> {
    let mut sets = Vec::new();
    for object in tree.objects {
        let parts: Vec<&str> = object.path.split('/').collect();
        let ["", "Data", kind, id, "Data"] = parts[..] else { continue };
        let Some(dims) = tree.dims(&object.path) else { continue };
        let folder = format!("/Data/{kind}/{id}");
        let metadata = first_metadata(tree, &format!("{folder}/Metadata")).unwrap_or_else(Meta::map);
        let set = match (kind, dims) {
            ("Image", &[h, w, n]) => image(tree, &object.path, &metadata, [h, w, n])?,
            ("Spectrum", &[channels, n]) => spectrum(tree, &object.path, &metadata, [channels, n])?,
            _ => {
                let axes = dims.iter().map(|&n| Axis::plain("", n)).collect();
                tree.set("", &object.path, axes, View::Same)?
            }
        };
        sets.push(finish(set, kind, id, metadata));
    }
    Ok(Contents { format: "velox", sets, metadata: tree.metadata() })
}

fn finish(mut set: Set, kind: &str, id: &str, metadata: Meta) -> Set {
    let detector = metadata.text("BinaryResult/Detector").unwrap_or("");
    set.info.name = if detector.is_empty() { format!("{kind} {id}") } else { detector.to_string() };
    set.info.energy = metadata.number("Optics/AccelerationVoltage").filter(|v| *v > 0.0).map(Energy::ev);
    set.info.metadata = metadata;
    set
}

/// The JSON of the first frame: a column of (bytes, frames).
fn first_metadata(tree: &Tree<'_>, path: &str) -> Option<Meta> {
    frame_metadata(tree, path, 0)
}

fn frame_metadata(tree: &Tree<'_>, path: &str, k: usize) -> Option<Meta> {
    let &[n, frames] = tree.dims(path)? else { return None };
    if k >= frames {
        return None;
    }
    let Ok(Array::U8(t)) = tree.file.read_part(path, &[0..n, k..k + 1]) else { return None };
    Some(Meta::from_json(&bytes::text(t.as_slice())))
}

fn image(tree: &Tree<'_>, path: &str, metadata: &Meta, [h, w, n]: [usize; 3]) -> Result<Set, Error> {
    let number = |key: &str| metadata.number(&format!("BinaryResult/{key}")).filter(|v| v.is_finite());
    let axis = |name: &str, side: &str, size: usize| {
        let unit = metadata.text(&format!("BinaryResult/PixelUnit{}", name.to_ascii_uppercase())).unwrap_or("");
        let scale = number(&format!("PixelSize/{side}")).filter(|v| *v > 0.0);
        match scale {
            Some(scale) => readable(name, size, scale, number(&format!("Offset/{name}")).unwrap_or(0.0), unit),
            None => Axis::plain(name, size),
        }
    };
    let mut axes = vec![axis("y", "height", h), axis("x", "width", w)];
    if n == 1 {
        return tree.set("", path, axes, View::Dropped(vec![2]));
    }
    let time = metadata.number("Scan/FrameTime").filter(|v| *v > 0.0).or_else(|| interval(tree, path, metadata, n));
    axes.insert(0, time.map_or_else(|| Axis::plain("time", n), |t| Axis::new("time", n, t, 0.0, "s")));
    tree.set("", path, axes, View::Order(vec![2, 0, 1]))
}

/// Seconds between frames, from the camera's time stamps (µs) of the first and the last.
fn interval(tree: &Tree<'_>, path: &str, first: &Meta, n: usize) -> Option<f64> {
    let detector = first.text("BinaryResult/Detector")?;
    let stamp = |m: &Meta| m.number(&format!("CustomProperties/Detectors[{detector}].TimeStamp/value"));
    let last = frame_metadata(tree, &format!("{}Metadata", path.strip_suffix("Data")?), n - 1)?;
    let seconds = 1e-6 * (stamp(&last)? - stamp(first)?) / (n - 1) as f64;
    (seconds > 0.0).then_some(seconds)
}

/// Metres with the prefix that makes a quarter of the side a number from 1 to 1000, likewise 1/m.
fn readable(name: &str, size: usize, scale: f64, offset: f64, unit: &str) -> Axis {
    let quarter = 0.25 * scale * size as f64;
    let (factor, unit) = match unit {
        "m" if quarter < 1e-9 => (1e12, "pm"),
        "m" if quarter < 1e-6 => (1e9, "nm"),
        "m" if quarter < 1e-3 => (1e6, "µm"),
        "1/m" => (1e-9, "1/nm"),
        other => (1.0, other),
    };
    Axis::new(name, size, factor * scale, factor * offset, unit)
}

fn spectrum(tree: &Tree<'_>, path: &str, metadata: &Meta, [channels, n]: [usize; 2]) -> Result<Set, Error> {
    // The calibration is that of the detector of this name.
    let name = metadata.text("BinaryResult/Detector").unwrap_or("");
    let detectors = match metadata.get("Detectors") {
        Some(Meta::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    let detector = detectors.iter().map(|(_, d)| d).find(|d| d.text("DetectorName") == Some(name));
    let number = |key: &str| detector.and_then(|d| d.number(key)).filter(|v| v.is_finite());
    let energy = match number("Dispersion").filter(|v| *v > 0.0) {
        Some(step) => Axis::new("energy", channels, step, number("OffsetEnergy").unwrap_or(0.0), "eV"),
        None => Axis::plain("channel", channels),
    };
    if n == 1 {
        return tree.set("", path, vec![energy], View::Dropped(vec![1]));
    }
    tree.set("", path, vec![Axis::plain("spectrum", n), energy], View::Order(vec![1, 0]))
}
