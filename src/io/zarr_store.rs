//! Zarr v2 and v3 directories: reading of arrays in plain, zlib or gzip chunks, and writing of v3.
//!
//! An array is a folder with `.zarray` (v2) or `zarr.json` (v3) and a file a chunk, `0.0` or `c/0/0`; a chunk that is
//! absent is all fill value. Chunks at the end are whole, with elements beyond the array.
//!
//! # References
//! Zarr storage specifications 2 and 3 (zarr-specs.readthedocs.io).

use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use num_complex::Complex;
use serde_json::{Value, json};

use crate::error::Error;
use crate::io::array::{Array, ArrayRef, NpyElement};
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order};
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::file::{FileAt, replace};
use crate::io::layout::{Element, Strided, advance};
use crate::io::meta::Meta;
use crate::shape::{Limits, checked_len, try_reserved, try_zeroed};
use crate::tensor::Tensor;

const MAX_ARRAYS: usize = 10_000;
const MAX_DEPTH: usize = 32;
/// Bytes of a read that need no proof, and chunks of one read.
const PLAUSIBLE_BYTES: u64 = 1 << 30;
const MAX_CHUNKS: usize = 1 << 24;
const MAX_JSON: u64 = 1 << 26;

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Packing {
    None,
    Zlib,
    Gzip,
}

/// Chunks that are files.
#[derive(Debug)]
pub(crate) struct ZarrSet {
    folder: PathBuf,
    dims: Vec<usize>,
    chunks: Vec<usize>,
    element: Element,
    order: Order,
    /// Whether the first axis of a chunk is the fastest.
    fortran: bool,
    packing: Packing,
    fill: f64,
    /// What stands before the numbers of a chunk, and between them.
    prefix: &'static str,
    separator: String,
}

pub(crate) fn open(path: &Path, _params: &OpenParams) -> Result<Contents, Error> {
    let mut sets = Vec::new();
    let mut metadata = Meta::map();
    walk(path, "", 0, &mut sets, &mut metadata)?;
    let known = [".zarray", ".zgroup", "zarr.json"].iter().any(|f| path.join(f).is_file());
    if !known && sets.is_empty() {
        return Err(Error::Unsupported { what: format!("{}: a folder that is no Zarr store", path.display()) });
    }
    Ok(Contents { format: "zarr", sets, metadata })
}

fn text(path: &Path) -> Option<Value> {
    serde_json::from_slice(&Beside::Folder.read(path, MAX_JSON)?).ok()
}

fn walk(path: &Path, name: &str, depth: usize, sets: &mut Vec<Set>, metadata: &mut Meta) -> Result<(), Error> {
    let (old, new) = (text(&path.join(".zarray")), text(&path.join("zarr.json")));
    let is_array = |v: &Value| v.get("node_type").and_then(Value::as_str) == Some("array");
    let array = match (&old, &new) {
        (Some(v), _) => Some(version2(path, v)),
        (None, Some(v)) if is_array(v) => Some(version3(path, v)),
        _ => None,
    };
    let key = if name.is_empty() { "data" } else { name };
    let attributes = match &new {
        Some(v) => v.get("attributes").cloned(),
        None => text(&path.join(".zattrs")),
    };
    if let Some(attributes) = attributes {
        metadata.set(&format!("{key}/attributes"), Meta::from_json(&attributes.to_string()));
    }
    match array {
        Some(Ok((set, names))) => {
            let axes =
                set.dims.iter().enumerate().map(|(k, &n)| Axis::plain(names.get(k).cloned().unwrap_or_default(), n));
            let axes = calibrated(axes.collect(), metadata.get(&format!("{key}/attributes")));
            let info = SetInfo::new(key, set.element.name(), axes);
            sets.push(Set::new(info, Store::Zarr(set)));
            return Ok(());
        }
        Some(Err(e)) if name.is_empty() => return Err(e),
        Some(Err(e)) => {
            metadata.set(&format!("{key}/unreadable"), Meta::Text(e.to_string()));
            return Ok(());
        }
        None => {}
    }
    if depth >= MAX_DEPTH || sets.len() >= MAX_ARRAYS {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.is_dir() && !p.is_symlink()).collect();
    folders.sort();
    for folder in folders {
        let last = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let below = if name.is_empty() { last } else { format!("{name}/{last}") };
        walk(&folder, &below, depth + 1, sets, metadata)?;
    }
    Ok(())
}

/// Scales, offsets and units that our own writer puts into the attributes.
fn calibrated(mut axes: Vec<Axis>, attributes: Option<&Meta>) -> Vec<Axis> {
    for (k, axis) in axes.iter_mut().enumerate() {
        let Some(stored) = attributes.and_then(|a| a.get(&format!("axes/{k}"))) else { continue };
        axis.scale = stored.number("scale").unwrap_or(1.0);
        axis.offset = stored.number("offset").unwrap_or(0.0);
        axis.unit = stored.text("unit").unwrap_or("").to_string();
    }
    axes
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::format("zarr", path, 0, reason)
}

fn unsupported(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Unsupported { what: format!("{}: Zarr {what}", path.display()) }
}

fn sizes(path: &Path, v: Option<&Value>, what: &str) -> Result<Vec<usize>, Error> {
    let list = v.and_then(Value::as_array).filter(|l| l.len() <= 32);
    let sizes: Option<Vec<usize>> =
        list.and_then(|l| l.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect());
    sizes.ok_or_else(|| wrong(path, format!("no {what}")))
}

fn fill(v: Option<&Value>) -> f64 {
    match v {
        Some(Value::Number(n)) => n.as_f64().unwrap_or(0.0),
        Some(Value::Bool(true)) => 1.0,
        Some(Value::String(s)) => match s.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => 0.0,
        },
        _ => 0.0,
    }
}

fn version2(path: &Path, v: &Value) -> Result<(ZarrSet, Vec<String>), Error> {
    let dtype = v.get("dtype").and_then(Value::as_str).unwrap_or("");
    let element = match dtype.get(1..) {
        Some("u1" | "b1") => Element::U8,
        Some("i1") => Element::I8,
        Some("u2") => Element::U16,
        Some("i2") => Element::I16,
        Some("u4") => Element::U32,
        Some("i4") => Element::I32,
        Some("u8") => Element::U64,
        Some("i8") => Element::I64,
        Some("f2") => Element::F16,
        Some("f4") => Element::F32,
        Some("f8") => Element::F64,
        Some("c8") => Element::C32,
        Some("c16") => Element::C64,
        _ => return Err(unsupported(path, format!("elements {:?}", v.get("dtype")))),
    };
    let packing = match v.get("compressor").and_then(|c| c.get("id")).and_then(Value::as_str) {
        None => Packing::None,
        Some("zlib") => Packing::Zlib,
        Some("gzip") => Packing::Gzip,
        Some(other) => return Err(unsupported(path, format!("compressor {other:?}"))),
    };
    if v.get("filters").and_then(Value::as_array).is_some_and(|f| !f.is_empty()) {
        return Err(unsupported(path, "filters"));
    }
    let names = text(&path.join(".zattrs"))
        .and_then(|a| a.get("_ARRAY_DIMENSIONS").and_then(Value::as_array).cloned())
        .unwrap_or_default();
    let set = ZarrSet {
        folder: path.to_path_buf(),
        dims: sizes(path, v.get("shape"), "shape")?,
        chunks: sizes(path, v.get("chunks"), "chunks")?,
        element,
        order: if dtype.starts_with('>') { Order::Big } else { Order::Little },
        fortran: v.get("order").and_then(Value::as_str) == Some("F"),
        packing,
        fill: fill(v.get("fill_value")),
        prefix: "",
        separator: v.get("dimension_separator").and_then(Value::as_str).unwrap_or(".").to_string(),
    };
    Ok((checked(set)?, names.iter().map(|n| n.as_str().unwrap_or("").to_string()).collect()))
}

fn version3(path: &Path, v: &Value) -> Result<(ZarrSet, Vec<String>), Error> {
    let word = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("").to_string();
    let element = match word(v.get("data_type")).as_str() {
        "uint8" | "bool" => Element::U8,
        "int8" => Element::I8,
        "uint16" => Element::U16,
        "int16" => Element::I16,
        "uint32" => Element::U32,
        "int32" => Element::I32,
        "uint64" => Element::U64,
        "int64" => Element::I64,
        "float16" => Element::F16,
        "float32" => Element::F32,
        "float64" => Element::F64,
        "complex64" => Element::C32,
        "complex128" => Element::C64,
        other => return Err(unsupported(path, format!("elements {other:?}"))),
    };
    let grid = v.get("chunk_grid");
    if word(grid.and_then(|g| g.get("name"))) != "regular" {
        return Err(unsupported(path, "chunk grids that are not regular"));
    }
    let (mut order, mut packing) = (Order::Little, Packing::None);
    for (k, codec) in v.get("codecs").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let configuration = codec.get("configuration");
        match (word(codec.get("name")).as_str(), k) {
            ("bytes", 0) => {
                if word(configuration.and_then(|c| c.get("endian"))) == "big" {
                    order = Order::Big;
                }
            }
            ("gzip", 1) => packing = Packing::Gzip,
            (other, _) => return Err(unsupported(path, format!("codec {other:?}"))),
        }
    }
    let key = v.get("chunk_key_encoding");
    let (prefix, default) = if word(key.and_then(|k| k.get("name"))) == "v2" { ("", ".") } else { ("c", "/") };
    let separator = key.and_then(|k| k.get("configuration")).and_then(|c| c.get("separator")).and_then(Value::as_str);
    let names = v.get("dimension_names").and_then(Value::as_array).cloned().unwrap_or_default();
    let set = ZarrSet {
        folder: path.to_path_buf(),
        dims: sizes(path, v.get("shape"), "shape")?,
        chunks: sizes(
            path,
            grid.and_then(|g| g.get("configuration")).and_then(|c| c.get("chunk_shape")),
            "chunk shape",
        )?,
        element,
        order,
        fortran: false,
        packing,
        fill: fill(v.get("fill_value")),
        prefix,
        separator: separator.unwrap_or(default).to_string(),
    };
    Ok((checked(set)?, names.iter().map(|n| n.as_str().unwrap_or("").to_string()).collect()))
}

fn checked(set: ZarrSet) -> Result<ZarrSet, Error> {
    if set.chunks.len() != set.dims.len() || set.chunks.contains(&0) {
        return Err(wrong(&set.folder, format!("chunks {:?} of an array {:?}", set.chunks, set.dims)));
    }
    if !matches!(set.separator.as_str(), "." | "/") {
        return Err(wrong(&set.folder, format!("separator {:?}", set.separator)));
    }
    checked_len(&set.dims)?.checked_mul(16).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
    checked_len(&set.chunks)?.checked_mul(16).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
    Ok(set)
}

impl ZarrSet {
    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
        let grid: Vec<Range<usize>> =
            ranges.iter().zip(&self.chunks).map(|(r, &c)| r.start / c..r.end.div_ceil(c)).collect();
        self.plausible(&dims, &grid)?;
        let mut out = filled(self.element, &dims, self.fill)?;
        let mut chunk: Vec<usize> = grid.iter().map(|g| g.start).collect();
        for _ in 0..grid.iter().map(Range::len).product::<usize>() {
            if let Some(bytes) = self.chunk(&chunk)? {
                let mut inside = Vec::new();
                let mut at = Vec::new();
                for (axis, r) in ranges.iter().enumerate() {
                    let start = chunk[axis] * self.chunks[axis];
                    let (from, to) = (r.start.max(start), r.end.min(start + self.chunks[axis]));
                    inside.push(from - start..to - start);
                    at.push(from - r.start);
                }
                let memory = Bytes::new(FileAt::memory(&self.folder, bytes));
                let mut s = Strided::packed(&memory, self.element, self.order, &self.chunks, 0)?;
                if self.fortran {
                    let mut step = self.element.size() as i64;
                    for (stride, &n) in s.strides.iter_mut().zip(&self.chunks) {
                        *stride = step;
                        step *= n as i64;
                    }
                }
                out.paste(&s.checked("zarr")?.read(&inside)?, &at)?;
            }
            advance(&mut chunk, &grid);
        }
        Ok(out)
    }

    /// A store may legally be vast and empty. Beyond 1 GiB what is read must be there, if only packed.
    fn plausible(&self, dims: &[usize], grid: &[Range<usize>]) -> Result<(), Error> {
        let needed = (checked_len(dims)? as u64).saturating_mul(self.element.size() as u64);
        let count = checked_len(&grid.iter().map(Range::len).collect::<Vec<_>>())?;
        let budget = if count > MAX_CHUNKS { 0 } else { PLAUSIBLE_BYTES };
        if needed <= budget {
            return Ok(());
        }
        let (mut there, mut chunk) = (0u64, grid.iter().map(|g| g.start).collect::<Vec<_>>());
        for _ in 0..if budget > 0 { count } else { 0 } {
            there = there.saturating_add(std::fs::metadata(self.file(&chunk)).map_or(0, |m| m.len()));
            advance(&mut chunk, grid);
        }
        Limits { bytes: there.saturating_mul(1032) }.check(needed)
    }

    /// The file of a chunk.
    fn file(&self, index: &[usize]) -> PathBuf {
        let numbers: Vec<String> = index.iter().map(usize::to_string).collect();
        let name = numbers.join(&self.separator);
        let name = match (self.prefix.is_empty(), numbers.is_empty()) {
            (true, true) => "0".to_string(),
            (true, false) => name,
            (false, true) => self.prefix.to_string(),
            (false, false) => format!("{}{}{name}", self.prefix, self.separator),
        };
        self.folder.join(name)
    }

    /// The bytes of a chunk; none when it is not there.
    fn chunk(&self, index: &[usize]) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(index);
        if !path.is_file() {
            return Ok(None);
        }
        let len = checked_len(&self.chunks)? * self.element.size();
        let file = FileAt::open(&path)?;
        // What the file can unpack to must be what the array says.
        let expansion = if self.packing == Packing::None { 1 } else { 1032 };
        if (len as u64) > file.len().saturating_mul(expansion) || file.len() > 2 * len as u64 + 1024 {
            return Err(wrong(&path, format!("{} bytes for a chunk of {len}", file.len())));
        }
        let mut packed = try_zeroed::<u8>(file.len() as usize)?;
        file.read_exact_at(0, &mut packed)?;
        let mut out: Vec<u8> = try_reserved(len)?;
        let most = len as u64 + 1;
        let read = match self.packing {
            Packing::None => {
                out = packed;
                Ok(0)
            }
            Packing::Zlib => flate2::read::ZlibDecoder::new(&packed[..]).take(most).read_to_end(&mut out),
            Packing::Gzip => flate2::read::MultiGzDecoder::new(&packed[..]).take(most).read_to_end(&mut out),
        };
        read.map_err(|e| wrong(&path, e))?;
        if out.len() != len {
            return Err(wrong(&path, format!("a chunk of {} bytes, expected {len}", out.len())));
        }
        Ok(Some(out))
    }
}

/// An array of one value.
fn filled(element: Element, dims: &[usize], fill: f64) -> Result<Array, Error> {
    fn of<E: NpyElement>(dims: &[usize], value: E) -> Result<Array, Error> {
        let mut data = try_reserved(checked_len(dims)?)?;
        data.resize(checked_len(dims)?, value);
        Ok(E::array(Tensor::from_vec(dims, data)?))
    }
    match element {
        Element::U8 => of(dims, fill as u8),
        Element::I8 => of(dims, fill as i8),
        Element::U16 => of(dims, fill as u16),
        Element::I16 => of(dims, fill as i16),
        Element::U32 => of(dims, fill as u32),
        Element::I32 => of(dims, fill as i32),
        Element::U64 => of(dims, fill as u64),
        Element::I64 => of(dims, fill as i64),
        Element::F16 | Element::F32 => of(dims, fill as f32),
        Element::F64 => of(dims, fill),
        Element::C16 | Element::C32 => of(dims, Complex::new(fill as f32, 0.0)),
        Element::C64 => of(dims, Complex::new(fill, 0.0)),
    }
}

/// Writes an array as a Zarr v3 store of plain chunks, one for each index of the first axis (one in all for fewer than
/// three). The calibration of the axes goes into the attributes. The folder must not exist.
///
/// # Errors
/// - [`Error::Shape`] when there is not one axis a dimension,
/// - [`Error::Io`], also when the folder exists; what was written then stays behind.
///
/// # References
/// Zarr storage specification 3.
pub fn write<'a>(path: impl AsRef<Path>, array: impl Into<ArrayRef<'a>>, axes: &[Axis]) -> Result<(), Error> {
    let (path, array) = (path.as_ref(), array.into());
    let sizes: Vec<usize> = axes.iter().map(|a| a.size).collect();
    if sizes != array.dims {
        return Err(Error::shape("zarr::write: axes", array.dims, &sizes));
    }
    std::fs::create_dir(path).map_err(|e| Error::io(path, e))?;
    let mut chunk: Vec<usize> = array.dims.iter().map(|&n| n.max(1)).collect();
    let sliced = chunk.len() >= 3;
    if sliced {
        chunk[0] = 1;
    }
    let data_type = match array.descr {
        "u1" => "uint8",
        "i1" => "int8",
        "u2" => "uint16",
        "i2" => "int16",
        "u4" => "uint32",
        "i4" => "int32",
        "u8" => "uint64",
        "i8" => "int64",
        "f4" => "float32",
        "f8" => "float64",
        "c8" => "complex64",
        _ => "complex128",
    };
    let fill = if data_type.starts_with("complex") { json!([0.0, 0.0]) } else { json!(0) };
    let endian = if cfg!(target_endian = "big") { "big" } else { "little" };
    let described = json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": array.dims,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": "bytes", "configuration": {"endian": endian}}],
        "dimension_names": axes.iter().map(|a| a.name.clone()).collect::<Vec<_>>(),
        "attributes": {"axes": axes.iter().map(|a| json!({
            "name": a.name, "scale": a.scale, "offset": a.offset, "unit": a.unit,
        })).collect::<Vec<_>>()},
    });
    let put = |file: &Path, bytes: &[u8]| replace(file, |out| out.write_all(bytes).map_err(|e| Error::io(file, e)));
    let count = if sliced { array.dims[0] } else { usize::from(!array.bytes.is_empty()) };
    for k in 0..if array.bytes.is_empty() { 0 } else { count } {
        let mut folder = path.join("c");
        let mut numbers = vec![0; chunk.len()];
        if sliced {
            numbers[0] = k;
        }
        let name = numbers.pop();
        numbers.iter().for_each(|n| folder.push(n.to_string()));
        let file = match name {
            Some(n) => {
                std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
                folder.join(n.to_string())
            }
            None => folder,
        };
        let size = array.bytes.len() / count;
        put(&file, &array.bytes[k * size..(k + 1) * size])?;
    }
    put(&path.join("zarr.json"), described.to_string().as_bytes())
}
