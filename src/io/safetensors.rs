//! The `safetensors` format: named arrays, a JSON table of contents before raw numbers.
//!
//! The file is a length N (8 bytes, little-endian), N bytes of JSON `{"name": {"dtype": "F32", "shape": [2, 3],
//! "data_offsets": [begin, end]}, …}`, and the numbers, little-endian and row-major; offsets count from the end of the
//! JSON. The arrays must fill the rest of the file without gaps or overlaps. What the table claims is compared with the
//! bytes that are there before memory is allocated.
//!
//! # References
//! The format's description, version 0.4 (`huggingface/safetensors`, README, section "Format").

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::io::array::{Array, ArrayRef, NpyElement};
use crate::io::file::replace;
use crate::io::npy::{half_to_f32, swap_bytes};
use crate::nn::Weights;
use crate::real::Real;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// The longest table of contents that is read.
const MAX_HEADER: u64 = 100_000_000;
/// The entry that holds text, not an array.
const METADATA: &str = "__metadata__";

/// Reads all arrays of a file, in the order of their numbers. Half-precision numbers are read as `f32`, booleans as
/// `u8`.
///
/// # Errors
/// - [`Error::Io`] when the file cannot be read,
/// - [`Error::Format`] when it is malformed or shorter than it says,
/// - [`Error::Unsupported`] for other element types.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>, Error> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse_from(&bytes, path)
}

/// Reads all arrays from the bytes of a file.
///
/// # Errors
/// As [`read`].
///
/// # Examples
/// ```
/// use exitwave::io::safetensors;
/// use exitwave::tensor::Tensor;
/// let w = Tensor::from_vec(&[2], vec![1.5f32, -2.0])?;
/// let bytes = safetensors::to_bytes(&[("w", (&w).into())])?;
/// assert_eq!(safetensors::parse(&bytes)?, [("w".to_string(), w.into())]);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, Array)>, Error> {
    parse_from(bytes, Path::new(""))
}

fn parse_from(bytes: &[u8], path: &Path) -> Result<Vec<(String, Array)>, Error> {
    let bad = |offset: u64, reason: String| Error::format("safetensors", path, offset, reason);
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(bad(0, format!("{} bytes, at least 8 expected", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER || length > rest.len() as u64 {
        return Err(bad(0, format!("a table of {length} bytes in a file of {}", bytes.len())));
    }
    let (header, data) = rest.split_at(length as usize);
    let table: Map<String, Value> = serde_json::from_slice(header).map_err(|e| bad(8, format!("table: {e}")))?;
    let mut entries = Vec::new();
    for (name, entry) in table.into_iter().filter(|(name, _)| name != METADATA) {
        let numbers = |key: &str| -> Result<Vec<usize>, Error> {
            let all = entry.get(key).and_then(Value::as_array);
            let all = all.and_then(|v| v.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect());
            all.ok_or_else(|| bad(8, format!("`{name}`: no `{key}` of whole numbers")))
        };
        let (dims, offsets) = (numbers("shape")?, numbers("data_offsets")?);
        let dtype = entry.get("dtype").and_then(Value::as_str).unwrap_or("").to_string();
        let &[begin, end] = &offsets[..] else {
            return Err(bad(8, format!("`{name}`: {} offsets, 2 expected", offsets.len())));
        };
        if begin > end || end > data.len() {
            return Err(bad(8, format!("`{name}`: bytes {begin} to {end} of {}", data.len())));
        }
        entries.push((begin, end, name, dtype, dims));
    }
    entries.sort();
    // Each array begins where the last one ends.
    let mut at = 0;
    for (begin, end, name, ..) in &entries {
        if *begin != at {
            return Err(bad(8 + length, format!("`{name}` begins at byte {begin}, {at} expected")));
        }
        at = *end;
    }
    if at != data.len() {
        return Err(bad(8 + length, format!("{} bytes of numbers, {at} in the table", data.len())));
    }
    let array = |(begin, end, name, dtype, dims): (usize, usize, String, String, Vec<usize>)| {
        let array = decode(&data[begin..end], &dtype, &dims)
            .map_err(|reason| bad(8 + length + begin as u64, format!("`{name}`: {reason}")));
        Ok((name, array?))
    };
    entries.into_iter().map(array).collect()
}

/// The array in these bytes, or what is wrong with them.
fn decode(bytes: &[u8], dtype: &str, dims: &[usize]) -> Result<Array, String> {
    let sixteen = |convert: fn(u16) -> f32| -> Result<Array, String> {
        let values = bytes.chunks_exact(2).map(|b| convert(u16::from_le_bytes([b[0], b[1]]))).collect::<Vec<f32>>();
        if !bytes.len().is_multiple_of(2) {
            return Err(format!("{} bytes of 16-bit numbers", bytes.len()));
        }
        Ok(Array::F32(Tensor::from_vec(dims, values).map_err(|e| e.to_string())?))
    };
    match dtype {
        "F64" => numbers::<f64>(bytes, dims),
        "F32" => numbers::<f32>(bytes, dims),
        "F16" => sixteen(half_to_f32),
        // The upper half of an f32.
        "BF16" => sixteen(|h| f32::from_bits(u32::from(h) << 16)),
        "I64" => numbers::<i64>(bytes, dims),
        "I32" => numbers::<i32>(bytes, dims),
        "I16" => numbers::<i16>(bytes, dims),
        "I8" => numbers::<i8>(bytes, dims),
        "U64" => numbers::<u64>(bytes, dims),
        "U32" => numbers::<u32>(bytes, dims),
        "U16" => numbers::<u16>(bytes, dims),
        "U8" | "BOOL" => numbers::<u8>(bytes, dims),
        other => Err(format!("element type `{other}`")),
    }
}

fn numbers<E: NpyElement>(bytes: &[u8], dims: &[usize]) -> Result<Array, String> {
    let words = checked_len(dims).map_err(|e| e.to_string())?;
    if words.checked_mul(size_of::<E>()) != Some(bytes.len()) {
        return Err(format!("{} bytes for the shape {dims:?}", bytes.len()));
    }
    let mut values = try_zeroed::<E>(words).map_err(|e| e.to_string())?;
    let out: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
    out.copy_from_slice(bytes);
    if cfg!(target_endian = "big") {
        swap_bytes(out, E::WORD);
    }
    Ok(E::array(Tensor::from_vec(dims, values).map_err(|e| e.to_string())?))
}

/// Writes arrays to a file; it appears under its name when it is complete.
///
/// # Errors
/// As [`to_bytes`], and [`Error::Io`] when the file cannot be written.
pub fn write(path: impl AsRef<Path>, arrays: &[(&str, ArrayRef<'_>)]) -> Result<(), Error> {
    let path = path.as_ref();
    let bytes = to_bytes(arrays)?;
    replace(path, |out| out.write_all(&bytes).map_err(|e| Error::io(path, e)))
}

/// The bytes of the file that [`write()`] would write.
///
/// # Errors
/// [`Error::Param`] for a name that is used twice or reserved; [`Error::Unsupported`] for complex arrays.
pub fn to_bytes(arrays: &[(&str, ArrayRef<'_>)]) -> Result<Vec<u8>, Error> {
    let mut names = HashSet::new();
    let (mut table, mut at) = (Map::new(), 0);
    for (name, array) in arrays {
        if *name == METADATA || !names.insert(*name) {
            return Err(Error::param("name", format!("`{name}`"), "a name of its own, not that of the metadata"));
        }
        let (dtype, _) = element(array)?;
        let end = at + array.bytes.len();
        let entry = serde_json::json!({ "dtype": dtype, "shape": array.dims, "data_offsets": [at, end] });
        table.insert(name.to_string(), entry);
        at = end;
    }
    let mut header = Value::Object(table).to_string();
    // Numbers begin at a multiple of 8.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    for (_, array) in arrays {
        let start = bytes.len();
        bytes.extend(array.bytes);
        if cfg!(target_endian = "big") {
            swap_bytes(&mut bytes[start..], element(array)?.1);
        }
    }
    Ok(bytes)
}

/// The format's name of an element type, and its bytes.
fn element(array: &ArrayRef<'_>) -> Result<(&'static str, usize), Error> {
    Ok(match array.descr {
        "f8" => ("F64", 8),
        "f4" => ("F32", 4),
        "i8" => ("I64", 8),
        "i4" => ("I32", 4),
        "i2" => ("I16", 2),
        "i1" => ("I8", 1),
        "u8" => ("U64", 8),
        "u4" => ("U32", 4),
        "u2" => ("U16", 2),
        "u1" => ("U8", 1),
        other => return Err(Error::Unsupported { what: format!("safetensors with elements of `{other}`") }),
    })
}

/// Writes the weights of a network.
///
/// # Errors
/// As [`write()`].
pub fn save_weights<T: Real + NpyElement>(path: impl AsRef<Path>, weights: &Weights<T>) -> Result<(), Error> {
    let arrays: Vec<(&str, ArrayRef<'_>)> = weights.entries.iter().map(|(n, t)| (n.as_str(), t.into())).collect();
    write(path, &arrays)
}

/// Reads the weights of a network, of any real element type. [`Weights::store`] checks names and shapes against the
/// network.
///
/// # Errors
/// As [`read`].
pub fn load_weights<T: Real>(path: impl AsRef<Path>) -> Result<Weights<T>, Error> {
    let entries = read(path)?.into_iter().map(|(name, array)| Ok((name, array.into_real()?)));
    Ok(Weights { entries: entries.collect::<Result<_, Error>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_come_back_in_their_order() {
        let (a, b) =
            (Tensor::from_vec(&[2, 1], vec![1.0f64, -0.0]).unwrap(), Tensor::from_vec(&[], vec![7u16]).unwrap());
        let empty = Tensor::<f32>::zeros(&[0, 3]);
        let arrays: [(&str, ArrayRef<'_>); 3] = [("z", (&a).into()), ("a", (&b).into()), ("none", (&empty).into())];
        let bytes = to_bytes(&arrays).unwrap();
        let back = parse(&bytes).unwrap();
        assert_eq!(back.len(), 3);
        assert!(back.contains(&("z".into(), a.clone().into())) && back.contains(&("a".into(), b.into())));
        assert_eq!(back[0].0, "z");
        assert!(to_bytes(&[("z", (&a).into()), ("z", (&a).into())]).is_err());
    }

    #[test]
    fn half_precision_is_widened() {
        let header = r#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"__metadata__":{"x":"y"}}"#;
        let back = parse(&file(header, &[0x00, 0x3e, 0x00, 0xc0, 0xc0, 0x3f])).unwrap();
        assert_eq!(back[0].1, Array::F32(Tensor::from_vec(&[2], vec![1.5, -2.0]).unwrap()));
        assert_eq!(back[1].1, Array::F32(Tensor::from_vec(&[1], vec![1.5]).unwrap()));
    }

    #[test]
    fn malformed_files_are_errors() {
        let entry = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        for bytes in [
            vec![],
            vec![255; 8],
            (1u64 << 40).to_le_bytes().to_vec(),
            file("[]", &[]),
            file("{", &[]),
            file(&entry("F32", "[1]", "[0,4]"), &[0; 3]),
            file(&entry("F32", "[1]", "[0,4]"), &[0; 5]),
            file(&entry("F32", "[2]", "[0,4]"), &[0; 4]),
            file(&entry("F32", "[1]", "[4,0]"), &[0; 4]),
            file(&entry("F32", "[1]", "[0,4,4]"), &[0; 4]),
            file(&entry("F16", "[1]", "[0,3]"), &[0; 3]),
            file(&entry("F32", "[4611686018427387904,4]", "[0,0]"), &[]),
            file(&entry("F8", "[1]", "[0,1]"), &[0]),
            file(&entry("F32", "[-1]", "[0,4]"), &[0; 4]),
        ] {
            assert!(matches!(parse(&bytes), Err(Error::Format { format: "safetensors", .. })), "{bytes:?}");
        }
    }
}
