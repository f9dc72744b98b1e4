//! The HDF5 files of the field: which program wrote them, and what their data sets are.
//!
//! | written by | recognised by | sets |
//! |---|---|---|
//! | Velox (EMD) | `/Data/…` and `/Operations` | [`crate::io::velox`] |
//! | HyperSpy (`.hspy`) | `/Experiments/*/data` with `axis-0` … | one an experiment |
//! | NCEM EMD, py4DSTEM, Prismatic, FPD | groups with `emd_group_type` and `dim…` | one a group |
//! | Dectris (NeXus master and data files) | `/entry/data/data…` | the frames of all files |
//! | CXI, and everything else | – | each data set of numbers |
//!
//! # References
//! - EMD: NCEM, "Electron Microscopy Datasets" 0.2; py4DSTEM's 1.0. HyperSpy's file specification 3.1. CXI file format
//!   1.6 (F. R. N. C. Maia, Nat. Methods 9 (2012) 854). NeXus definition NXmx.

use std::sync::Arc;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::data_file::{Contents, OpenParams, Set, SetInfo, Store};
use crate::io::hdf5::{Attribute, Hdf5, Object, ObjectKind};
use crate::io::hdf5_set::{Hdf5Set, View};
use crate::io::meta::Meta;
use crate::io::velox;
use crate::units::Energy;

/// Elements of a data set that counts as metadata.
const SMALL: usize = 16;
/// Data sets of metadata that are read, and length of a text that is kept.
const MAX_VALUES: usize = 2000;
const MAX_TEXT: usize = 1 << 16;

pub(crate) fn recognise(head: &[u8]) -> bool {
    head.starts_with(b"\x89HDF\r\n\x1a\n")
}

pub(crate) fn read(file: Hdf5, params: &OpenParams) -> Result<Contents, Error> {
    let file = Arc::new(file);
    let objects = file.list()?;
    let tree = Tree { file: &file, objects: &objects };
    let has = |path: &str| objects.iter().any(|o| o.path == path);
    if has("/Data") && has("/Operations") || has("/Data/Image") {
        return velox::read(&tree, params);
    }
    let metadata = tree.metadata();
    let (format, sets) = if has("/Experiments") {
        ("hspy", hspy(&tree)?)
    } else if objects.iter().any(|o| attribute(o, "emd_group_type").is_some()) {
        ("emd", emd(&tree)?)
    } else if objects.iter().any(|o| o.path.starts_with("/entry/data/data")) {
        ("nexus", nexus(&tree, params)?)
    } else {
        (if has("/cxi_version") { "cxi" } else { "hdf5" }, Vec::new())
    };
    let sets = if sets.is_empty() { plain(&tree)? } else { sets };
    Ok(Contents { format, sets, metadata })
}

/// The objects of a file.
pub(crate) struct Tree<'a> {
    pub(crate) file: &'a Arc<Hdf5>,
    pub(crate) objects: &'a [Object],
}

/// An attribute of an object.
pub(crate) fn attribute<'a>(object: &'a Object, name: &str) -> Option<&'a Attribute> {
    object.attributes.iter().find(|(n, _)| n == name).map(|(_, a)| a)
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    attribute(object, name).and_then(Attribute::text).unwrap_or("")
}

impl<'a> Tree<'a> {
    /// The dimensions of a data set of numbers.
    pub(crate) fn dims(&self, path: &str) -> Option<&'a [usize]> {
        self.objects.iter().find(|o| o.path == path).and_then(numeric)
    }

    pub(crate) fn object(&self, path: &str) -> Option<&'a Object> {
        self.objects.iter().find(|o| o.path == path)
    }

    /// A set with its axes.
    pub(crate) fn set(&self, name: &str, path: &str, axes: Vec<Axis>, view: View) -> Result<Set, Error> {
        let store = Hdf5Set { parts: vec![self.file.data(path)?], view };
        Ok(Set::new(SetInfo::new(name, store.dtype(), axes), Store::Hdf5(store)))
    }

    /// Attributes and small data sets as a tree.
    pub(crate) fn metadata(&self) -> Meta {
        let mut tree = Meta::map();
        let mut read = 0;
        for object in self.objects {
            let path = object.path.trim_start_matches('/');
            for (name, value) in &object.attributes {
                tree.set(&format!("{path}/{}", name.replace('/', " ")), meta(value));
            }
            let ObjectKind::Dataset { dims, dtype, .. } = &object.kind else { continue };
            if dims.iter().product::<usize>() > SMALL || read >= MAX_VALUES {
                continue;
            }
            read += 1;
            let value = match dtype.as_str() {
                "string" => self.file.read_strings(&object.path).ok().map(|t| meta(&Attribute::Text(t))),
                _ => self.file.read(&object.path).ok().map(|a| meta(&Attribute::Array(a))),
            };
            if let Some(value) = value {
                let path = if object.attributes.is_empty() { path.to_string() } else { format!("{path}/value") };
                tree.set(&path, value);
            }
        }
        tree
    }
}

fn numeric(object: &Object) -> Option<&[usize]> {
    match &object.kind {
        ObjectKind::Dataset { dims, dtype, .. } if is_number(dtype) => Some(dims),
        _ => None,
    }
}

fn is_number(dtype: &str) -> bool {
    matches!(dtype, "bool" | "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "u64" | "i64" | "f16" | "f32" | "f64")
        || dtype.starts_with("complex")
}

/// The value of an attribute as metadata.
fn meta(value: &Attribute) -> Meta {
    let short = |t: &str| Meta::Text(t.chars().take(MAX_TEXT).collect());
    match value {
        Attribute::Text(t) if t.len() == 1 => short(&t.as_slice()[0]),
        Attribute::Text(t) => Meta::List(t.as_slice().iter().map(|t| short(t)).collect()),
        Attribute::Array(a) => numbers(a),
        Attribute::Other(what) => Meta::Text(format!("({what})")),
    }
}

fn numbers(array: &Array) -> Meta {
    match array {
        Array::F32(_) | Array::F64(_) => {}
        Array::C32(_) | Array::C64(_) => return Meta::Text(format!("({} complex numbers)", array.len())),
        whole if whole.len() == 1 => {
            let v = whole.clone().into_real::<f64>().map_or(f64::NAN, |t| t.as_slice()[0]);
            return if v.abs() < 9e15 { Meta::Integer(v as i64) } else { Meta::Number(v) };
        }
        _ => {}
    }
    match array.clone().into_real::<f64>().map(|t| t.into_vec()) {
        Ok(v) if v.len() == 1 => Meta::Number(v[0]),
        Ok(v) => Meta::Numbers(v),
        Err(e) => Meta::Text(e.to_string()),
    }
}

/// HyperSpy: `/Experiments/NAME/data`, and groups `axis-k` with name, scale, offset and units.
fn hspy(tree: &Tree<'_>) -> Result<Vec<Set>, Error> {
    let mut sets = Vec::new();
    for object in tree.objects {
        let Some(name) = object.path.strip_prefix("/Experiments/").and_then(|p| p.strip_suffix("/data")) else {
            continue;
        };
        let Some(dims) = numeric(object).filter(|_| !name.contains('/')) else { continue };
        let axis = |k: usize, size: usize| {
            let group = tree.object(&format!("/Experiments/{name}/axis-{k}"));
            let number = |what: &str| group.and_then(|g| attribute(g, what)).and_then(Attribute::number);
            let word = |what: &str| group.map_or("", |g| text(g, what));
            Axis::new(
                word("name"),
                size,
                number("scale").unwrap_or(1.0),
                number("offset").unwrap_or(0.0),
                word("units"),
            )
        };
        let axes = dims.iter().enumerate().map(|(k, &n)| axis(k, n)).collect();
        let mut set = tree.set(name, &object.path, axes, View::Same)?;
        for mode in ["TEM", "SEM"] {
            let group = format!("/Experiments/{name}/metadata/Acquisition_instrument/{mode}");
            let volts = tree.object(&group).and_then(|g| attribute(g, "beam_energy")).and_then(Attribute::number);
            set.info.energy = set.info.energy.or(volts.filter(|v| *v > 0.0).map(Energy::kev));
        }
        sets.push(set);
    }
    Ok(sets)
}

/// EMD of NCEM (0.2: `dim1` …), py4DSTEM (1.0: `dim0` …), Prismatic, FPD: a group with `emd_group_type` holds one array
/// of numbers and a vector an axis, whole or its first two values, with name and units.
fn emd(tree: &Tree<'_>) -> Result<Vec<Set>, Error> {
    let mut sets = Vec::new();
    for group in tree.objects {
        let array = attribute(group, "emd_group_type")
            .is_some_and(|a| a.number() == Some(1.0) || matches!(a.text(), Some("array" | "1")));
        if !array {
            continue;
        }
        let member = |o: &&Object| o.path.rsplit_once('/').is_some_and(|(folder, _)| folder == group.path);
        let is_dim = |name: &str| name.strip_prefix("dim").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let arrays: Vec<&Object> = (tree.objects.iter().filter(member))
            .filter(|o| numeric(o).is_some() && !is_dim(o.path.rsplit('/').next().unwrap_or("")))
            .collect();
        let Some(data) = arrays.iter().find(|o| o.path.ends_with("/data")).or(arrays.first()) else { continue };
        let dims = numeric(data).unwrap_or(&[]);
        let first = usize::from(tree.object(&format!("{}/dim0", group.path)).is_none());
        let mut axes = Vec::new();
        for (k, &size) in dims.iter().enumerate() {
            axes.push(emd_axis(tree, &format!("{}/dim{}", group.path, k + first), size));
        }
        let name = group.path.rsplit('/').next().unwrap_or("");
        // Prismatic stores x before y: its axes are reversed. FPD has an axis of colours, of length 1 for one counter.
        let (view, axes) = if axes.len() >= 2 && axes[0].name == "R_x" && axes[1].name == "R_y" {
            let order: Vec<usize> = (0..axes.len()).rev().collect();
            axes.reverse();
            (View::Order(order), axes)
        } else {
            let colours: Vec<usize> =
                (0..axes.len()).filter(|&k| axes[k].name == "colour" && axes[k].size == 1).collect();
            match colours.is_empty() {
                true => (View::Same, axes),
                false => {
                    axes.retain(|a| !(a.name == "colour" && a.size == 1));
                    (View::Dropped(colours), axes)
                }
            }
        };
        sets.push(tree.set(name, &data.path, axes, view)?);
    }
    Ok(sets)
}

fn emd_axis(tree: &Tree<'_>, path: &str, size: usize) -> Axis {
    let Some(dim) = tree.object(path) else { return Axis::plain("", size) };
    // Units such as `[n_m]` and `[n_m^-1]` mean nm and 1/nm.
    let unit = text(dim, "units").trim_start_matches('[').trim_end_matches(']').replace('_', "");
    let name = text(dim, "name");
    let values = numeric(dim).filter(|d| d.iter().product::<usize>() <= size.max(2)).and_then(|_| {
        let v = tree.file.read(path).ok()?.into_real::<f64>().ok()?.into_vec();
        (v.len() >= 2 && v[..2].iter().all(|v| v.is_finite())).then(|| (v[0], v[1] - v[0]))
    });
    match values {
        Some((first, step)) if step != 0.0 => Axis::new(name, size, step, first, unit),
        _ => Axis::new(name, size, 1.0, 0.0, unit),
    }
}

/// Dectris: frames in `/entry/data/data_000001` … of the master (links into the data files), or `/entry/data/data`.
fn nexus(tree: &Tree<'_>, params: &OpenParams) -> Result<Vec<Set>, Error> {
    let mut names: Vec<&str> = (tree.objects.iter())
        .filter(|o| {
            o.path.strip_prefix("/entry/data/data").is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('_').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
        })
        .filter(|o| numeric(o).is_some_and(|d| d.len() == 3))
        .map(|o| o.path.as_str())
        .collect();
    names.sort_unstable();
    let Some(first) = names.first() else { return Ok(Vec::new()) };
    let mut parts = Vec::new();
    for name in &names {
        parts.push(tree.file.data(name)?);
    }
    if parts.iter().any(|p| p.dims[1..] != parts[0].dims[1..] || p.kind != parts[0].kind) {
        return Err(Error::Unsupported { what: format!("data files of several frame sizes behind {first}") });
    }
    let (h, w) = (parts[0].dims[1], parts[0].dims[2]);
    let frames = parts.iter().map(|p| p.dims[0]).sum();

    // Lines of a scan may be triggers of several frames each. A grid of single triggers is not in the file.
    let detector = "/entry/instrument/detector/detectorSpecific";
    let count = |name: &str| -> Option<usize> {
        let v = tree.file.read(&format!("{detector}/{name}")).ok()?.into_real::<f64>().ok()?;
        v.as_slice().first().map(|v| *v as usize)
    };
    let triggers = count("ntrigger").zip(count("nimages")).filter(|(t, n)| *t > 1 && *n > 1);
    let grid = match (params.scan, triggers) {
        (Some([y, x]), _) if y.checked_mul(x) == Some(frames) => Some([y, x]),
        (Some(scan), _) => return Err(Error::shape("nexus: scan positions", &scan, &[frames])),
        (None, Some((t, n))) if t.checked_mul(n) == Some(frames) => Some([t, n]),
        _ => None,
    };
    let mut axes = match grid {
        Some([y, x]) => vec![Axis::plain("scan_y", y), Axis::plain("scan_x", x)],
        None => vec![Axis::plain("frame", frames)],
    };
    axes.extend([Axis::plain("det_y", h), Axis::plain("det_x", w)]);
    let view = grid.map_or(View::Same, |[_, x]| View::Grid(x));
    let store = Hdf5Set { parts, view };
    Ok(vec![Set::new(SetInfo::new("data", store.dtype(), axes), Store::Hdf5(store))])
}

/// Every data set of numbers that is no scalar, as it is.
fn plain(tree: &Tree<'_>) -> Result<Vec<Set>, Error> {
    let mut sets = Vec::new();
    for object in tree.objects {
        if matches!(object.kind, ObjectKind::Unreadable { .. })
            && let Ok(Some(set)) = tree.file.virtual_set(&object.path)
        {
            let axes = set.dims.iter().map(|&n| Axis::plain("", n)).collect();
            let info = SetInfo::new(object.path.trim_start_matches('/'), set.dtype, axes);
            sets.push(Set::new(info, Store::Hdf5Virtual(set)));
            continue;
        }
        let Some(dims) = numeric(object).filter(|d| !d.is_empty()) else { continue };
        let axes = dims.iter().map(|&n| Axis::plain("", n)).collect();
        // A layout that the reader does not know must not spoil the other sets.
        if let Ok(set) = tree.set(object.path.trim_start_matches('/'), &object.path, axes, View::Same) {
            sets.push(set);
        }
    }
    Ok(sets)
}
