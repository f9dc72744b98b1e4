//! The `npy` format: one array a file, a short text header before the elements.
//!
//! Read: versions 1 to 3, both byte orders, both storage orders, integers of 8 to 64 bits, booleans, floating point of
//! 16 to 64 bits, complex. Written: version 1, native byte order, row-major. The header is a Python dictionary literal;
//! it is parsed strictly, key by key, and nothing in it is evaluated.
//!
//! # References
//! The format is described in the documentation of NumPy (`numpy.lib.format`).

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::Error;
use crate::io::array::{Array, ArrayRef, NpyElement};
use crate::io::file::replace;
use crate::io::layout::Element;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::tensor::Tensor;
use num_complex::Complex;

pub use crate::io::npy_frames::NpyFrames;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read: a thousand times what three keys need.
const MAX_HEADER: usize = 1 << 17;
/// Largest number of axes.
const MAX_AXES: usize = 64;

/// What the header of an npy file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Kind and size of an element: `"f4"`.
    pub descr: String,
    /// Whether the bytes of an element must be reversed to become native.
    pub swapped: bool,
    /// Whether the first axis is the fastest.
    pub fortran: bool,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Byte offset of the first element.
    pub offset: usize,
}

impl Header {
    /// How the elements of the file are stored.
    pub(crate) fn element(&self) -> Result<Element, Error> {
        Ok(match self.descr.as_str() {
            "u1" | "b1" => Element::U8,
            "i1" => Element::I8,
            "u2" => Element::U16,
            "i2" => Element::I16,
            "u4" => Element::U32,
            "i4" => Element::I32,
            "u8" => Element::U64,
            "i8" => Element::I64,
            "f2" => Element::F16,
            "f4" => Element::F32,
            "f8" => Element::F64,
            "c8" => Element::C32,
            "c16" => Element::C64,
            other => return Err(Error::Unsupported { what: format!("npy elements '{other}'") }),
        })
    }
}

/// Reads a whole npy file.
///
/// # Shapes
/// As stored; an array in Fortran order is brought into row-major order, with the same dimensions.
///
/// # Errors
/// - [`Error::Io`] when the file cannot be read,
/// - [`Error::Format`] when it is malformed or shorter than its header says,
/// - [`Error::Unsupported`] for element types that [`Array`] does not have (strings, objects, records),
/// - [`Error::OutOfMemory`] when there is no memory for the elements.
pub fn read(path: impl AsRef<Path>) -> Result<Array, Error> {
    let path = path.as_ref();
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let len = file.metadata().map_err(|e| Error::io(path, e))?.len();
    read_from(&mut file, len, path, &Limits::default())
}

/// Reads an array from the bytes of an npy file. Bytes behind the last element are ignored.
///
/// # Errors
/// As [`read`].
///
/// # Examples
/// ```
/// use exitwave::io::npy;
/// use exitwave::tensor::Tensor;
/// let t = Tensor::from_vec(&[2], vec![1.5f32, -2.0])?;
/// let bytes = npy::to_bytes(&t)?;
/// assert_eq!(npy::parse(&bytes)?.into_real::<f64>()?.as_slice(), &[1.5, -2.0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Array, Error> {
    let len = bytes.len() as u64;
    read_from(&mut { bytes }, len, Path::new(""), &Limits::default())
}

/// Writes a tensor, or an [`Array`], to an npy file; the file appears under its name when it is complete.
///
/// # Errors
/// - [`Error::Io`] when the file cannot be written,
/// - [`Error::Param`] for more than 64 axes.
pub fn write<'a>(path: impl AsRef<Path>, array: impl Into<ArrayRef<'a>>) -> Result<(), Error> {
    let (path, array) = (path.as_ref(), array.into());
    let head = header_bytes(array)?;
    replace(path, |out| out.write_all(&head).and_then(|()| out.write_all(array.bytes)).map_err(|e| Error::io(path, e)))
}

/// The bytes of the npy file that [`write()`] would write.
///
/// # Errors
/// [`Error::Param`] for more than 64 axes.
pub fn to_bytes<E: NpyElement>(tensor: &Tensor<E>) -> Result<Vec<u8>, Error> {
    let array = ArrayRef::from(tensor);
    let mut bytes = header_bytes(array)?;
    bytes.extend_from_slice(array.bytes);
    Ok(bytes)
}

/// The header of version 1, padded so that the elements start at a multiple of 64.
pub(crate) fn header_bytes(array: ArrayRef<'_>) -> Result<Vec<u8>, Error> {
    header(ArrayHead { dims: array.dims, descr: array.descr })
}

/// Shape and kind of elements, as a header names them.
pub(crate) struct ArrayHead<'a> {
    pub dims: &'a [usize],
    pub descr: &'a str,
}

/// As [`header_bytes`], of elements that are not there yet.
pub(crate) fn header(array: ArrayHead<'_>) -> Result<Vec<u8>, Error> {
    if array.dims.len() > MAX_AXES {
        return Err(Error::param("axes", array.dims.len(), "at most 64"));
    }
    let order = match (array.descr, cfg!(target_endian = "little")) {
        ("u1" | "i1", _) => '|',
        (_, true) => '<',
        (_, false) => '>',
    };
    let shape: String = array.dims.iter().map(|d| format!("{d}, ")).collect();
    // A tuple of one element keeps its comma, longer ones lose it, as Python prints them.
    let shape = if array.dims.len() > 1 { shape.trim_end_matches([',', ' ']) } else { shape.trim_end() };
    let mut text = format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({shape}), }}", array.descr);
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.push_str(&" ".repeat(length - 1 - text.len()));
    text.push('\n');

    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    Ok(bytes)
}

/// Reads header and elements from `input`, of which `available` bytes exist. `path` is for messages.
pub(crate) fn read_from(input: &mut dyn Read, available: u64, path: &Path, limits: &Limits) -> Result<Array, Error> {
    let header = read_header(input, available, path)?;
    let source = &mut Source { input, available, path, limits };
    match header.descr.as_str() {
        "b1" => Ok(Array::U8(source.elements::<u8>(&header)?.map(|&v| u8::from(v != 0)))),
        "u1" => source.array::<u8>(&header),
        "i1" => source.array::<i8>(&header),
        "u2" => source.array::<u16>(&header),
        "i2" => source.array::<i16>(&header),
        "u4" => source.array::<u32>(&header),
        "i4" => source.array::<i32>(&header),
        "u8" => source.array::<u64>(&header),
        "i8" => source.array::<i64>(&header),
        "f2" => Ok(Array::F32(source.elements::<u16>(&header)?.map(|&v| half_to_f32(v)))),
        "f4" => source.array::<f32>(&header),
        "f8" => source.array::<f64>(&header),
        "c8" => source.array::<Complex<f32>>(&header),
        "c16" => source.array::<Complex<f64>>(&header),
        other => Err(Error::Unsupported { what: format!("npy elements of type '{other}'") }),
    }
}

/// Where elements come from, and how many bytes there are.
struct Source<'a> {
    input: &'a mut dyn Read,
    available: u64,
    path: &'a Path,
    limits: &'a Limits,
}

impl Source<'_> {
    fn array<E: NpyElement>(&mut self, header: &Header) -> Result<Array, Error> {
        Ok(E::array(self.elements(header)?))
    }

    /// Reads the elements straight into their vector; the need is compared with the file's length before it is
    /// allocated.
    fn elements<E: NpyElement>(&mut self, header: &Header) -> Result<Tensor<E>, Error> {
        let len = checked_len(&header.dims)?;
        let needed = (len as u64).saturating_mul(size_of::<E>() as u64);
        if needed > self.available.saturating_sub(header.offset as u64) {
            let reason = format!(
                "shape {:?} of '{}' needs {needed} bytes, {} follow the header",
                header.dims,
                header.descr,
                self.available.saturating_sub(header.offset as u64)
            );
            return Err(Error::format("npy", self.path, header.offset as u64, reason));
        }
        self.limits.check(needed)?;
        let mut data = try_zeroed::<E>(len)?;
        let bytes = bytemuck::cast_slice_mut(&mut data);
        self.input.read_exact(bytes).map_err(|e| ended(e, self.path, header.offset as u64))?;
        if header.swapped {
            swap_bytes(bytes, E::WORD);
        }
        let data = if header.fortran { from_fortran(&header.dims, &data)? } else { data };
        Tensor::from_vec(&header.dims, data)
    }
}

/// A premature end is a fault of the file, everything else of the system.
fn ended(e: std::io::Error, path: &Path, offset: u64) -> Error {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::format("npy", path, offset, "the file ends early"),
        _ => Error::io(path, e),
    }
}

/// Reverses the bytes of every word.
pub(crate) fn swap_bytes(bytes: &mut [u8], word: usize) {
    match word {
        1 => {}
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|w| w.reverse()),
        4 => bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|w| w.reverse()),
        _ => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|w| w.reverse()),
    }
}

/// Row-major from column-major order: element (i₀, …, iₙ) moves from Σ i_a Π_{b<a} d_b to Σ i_a Π_{b>a} d_b.
fn from_fortran<E: NpyElement>(dims: &[usize], data: &[E]) -> Result<Vec<E>, Error> {
    let mut out = try_zeroed::<E>(data.len())?;
    let mut strides = vec![1usize; dims.len()];
    for a in 1..dims.len() {
        strides[a] = strides[a - 1].wrapping_mul(dims[a - 1]);
    }
    let mut index = vec![0; dims.len()];
    let mut from = 0;
    for o in &mut out {
        *o = data[from];
        for a in (0..dims.len()).rev() {
            index[a] += 1;
            from += strides[a];
            if index[a] < dims[a] {
                break;
            }
            from -= strides[a] * dims[a];
            index[a] = 0;
        }
    }
    Ok(out)
}

/// Half precision: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. Exact.
///
/// # References
/// IEEE 754-2008, binary16.
pub(crate) fn half_to_f32(h: u16) -> f32 {
    let sign = if h >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(h & 0x3ff);
    match (h >> 10) & 0x1f {
        0 => sign * fraction * f32::powi(2.0, -24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        e => sign * (1024.0 + fraction) * f32::powi(2.0, i32::from(e) - 25),
    }
}

/// Reads magic, version, length and dictionary.
pub(crate) fn read_header(input: &mut dyn Read, available: u64, path: &Path) -> Result<Header, Error> {
    let mut fixed = [0; 8];
    input.read_exact(&mut fixed).map_err(|e| ended(e, path, 0))?;
    if &fixed[..6] != MAGIC {
        return Err(Error::format("npy", path, 0, "the file does not begin with \\x93NUMPY"));
    }
    let mut length = [0; 4];
    let start = match fixed[6] {
        1 => 10,
        2 | 3 => 12,
        v => return Err(Error::format("npy", path, 6, format!("version {v}.{}, expected 1, 2 or 3", fixed[7]))),
    };
    input.read_exact(&mut length[..start - 8]).map_err(|e| ended(e, path, 8))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER || (start + length) as u64 > available {
        let reason = format!("header of {length} bytes; the file has {available}, the limit is {MAX_HEADER}");
        return Err(Error::format("npy", path, 8, reason));
    }
    let mut text = vec![0; length];
    input.read_exact(&mut text).map_err(|e| ended(e, path, start as u64))?;
    let dictionary =
        parse_dictionary(&text).map_err(|(at, reason)| Error::format("npy", path, (start + at) as u64, reason))?;
    let (order, descr) = dictionary.descr.split_at_checked(1).unwrap_or(("", ""));
    let swapped = match order {
        "|" | "=" => false,
        "<" => cfg!(target_endian = "big"),
        ">" => cfg!(target_endian = "little"),
        _ => {
            let reason = format!("element type '{}' has no byte order", dictionary.descr);
            return Err(Error::format("npy", path, start as u64, reason));
        }
    };
    // The sizes, and parts of them, multiply to bytes later; an overflow is reported here, where the offset is known.
    // An axis of length 0 must not hide it.
    if dictionary.dims.iter().try_fold(16usize, |n, &d| n.checked_mul(d.max(1))).is_none() {
        return Err(Error::format("npy", path, start as u64, format!("shape {:?} overflows", dictionary.dims)));
    }
    Ok(Header {
        descr: descr.to_string(),
        swapped,
        fortran: dictionary.fortran,
        dims: dictionary.dims,
        offset: start + length,
    })
}

/// The three entries of the header's dictionary.
struct Dictionary {
    descr: String,
    fortran: bool,
    dims: Vec<usize>,
}

/// Position in the header and what is wrong there.
type Wrong = (usize, String);

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` and white space. Keys in any order, each once, no
/// others.
fn parse_dictionary(text: &[u8]) -> Result<Dictionary, Wrong> {
    let mut p = Parser { text, at: 0 };
    let (mut descr, mut fortran, mut dims) = (None, None, None);
    p.expect(b'{')?;
    while !p.take(b'}') {
        let at = p.at;
        let key = p.string()?;
        p.expect(b':')?;
        let repeated = match key.as_str() {
            "descr" => descr.replace(p.string()?).is_some(),
            "fortran_order" => fortran.replace(p.boolean()?).is_some(),
            "shape" => dims.replace(p.shape()?).is_some(),
            _ => return Err((at, format!("unknown key '{key}'"))),
        };
        if repeated {
            return Err((at, format!("key '{key}' occurs twice")));
        }
        if !p.take(b',') {
            p.expect(b'}')?;
            break;
        }
    }
    p.skip_space();
    if p.at != text.len() {
        return Err((p.at, "text behind the dictionary".into()));
    }
    match (descr, fortran, dims) {
        (Some(descr), Some(fortran), Some(dims)) => Ok(Dictionary { descr, fortran, dims }),
        _ => Err((0, "the dictionary needs 'descr', 'fortran_order' and 'shape'".into())),
    }
}

/// A cursor over the header's text.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Consumes `c` if it is next.
    fn take(&mut self, c: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: u8) -> Result<(), Wrong> {
        if self.take(c) {
            return Ok(());
        }
        let found = self.text.get(self.at).map_or("the end".into(), |&b| format!("'{}'", b.escape_ascii()));
        Err((self.at, format!("expected '{}', found {found}", char::from(c))))
    }

    /// A quoted string without escapes.
    fn string(&mut self) -> Result<String, Wrong> {
        let quote = if self.take(b'"') { b'"' } else { b'\'' };
        if quote == b'\'' {
            if self.text.get(self.at) == Some(&b'[') {
                return Err((self.at, "records (structured element types) are not supported".into()));
            }
            self.expect(b'\'')?;
        }
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&b| b == quote).ok_or((self.at, "string without end".to_string()))?;
        match std::str::from_utf8(&rest[..end]) {
            Ok(s) if !s.contains('\\') => {
                self.at += end + 1;
                Ok(s.to_string())
            }
            _ => Err((self.at, "string with escapes, or not UTF-8".into())),
        }
    }

    /// A bare word of letters and digits.
    fn word(&mut self) -> &str {
        self.skip_space();
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_alphanumeric) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[start..self.at]).expect("ASCII")
    }

    fn boolean(&mut self) -> Result<bool, Wrong> {
        let at = self.at;
        match self.word() {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err((at, format!("expected True or False, found '{other}'"))),
        }
    }

    /// A tuple of sizes. Python 2 marks long integers with an L.
    fn shape(&mut self) -> Result<Vec<usize>, Wrong> {
        let mut dims = Vec::new();
        self.expect(b'(')?;
        while !self.take(b')') {
            let at = self.at;
            let word = self.word();
            let digits = word.strip_suffix('L').unwrap_or(word);
            match digits.parse() {
                Ok(d) if digits.bytes().all(|b| b.is_ascii_digit()) && dims.len() < MAX_AXES => dims.push(d),
                _ => return Err((at, format!("'{word}' is no size of an axis, or there are more than 64"))),
            }
            if !self.take(b',') {
                if dims.len() == 1 {
                    return Err((self.at, "a tuple of one size needs a comma".into()));
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1 with any dictionary.
    fn file(dictionary: &str, elements: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((dictionary.len() as u16).to_le_bytes());
        bytes.extend(dictionary.as_bytes());
        bytes.extend(elements);
        bytes
    }

    #[test]
    fn every_type_comes_back_as_it_was_written() {
        fn check<E: NpyElement + PartialEq>(values: [E; 6])
        where
            Array: From<Tensor<E>>,
        {
            for dims in [&[6][..], &[2, 3], &[1, 3, 2], &[3, 1, 2, 1]] {
                let t = Tensor::from_vec(dims, values.to_vec()).unwrap();
                let bytes = to_bytes(&t).unwrap();
                assert_eq!((bytes.len() - size_of_val(&values)) % 64, 0, "elements are aligned");
                assert_eq!(parse(&bytes).unwrap(), Array::from(t));
            }
        }
        check([0u8, 1, 2, 3, 4, 255]);
        check([0i8, 1, 2, 3, -128, 127]);
        check([0u16, 1, 2, 3, 4, u16::MAX]);
        check([0i16, 1, 2, 3, 4, i16::MIN]);
        check([0u32, 1, 2, 3, 4, u32::MAX]);
        check([0i32, 1, 2, 3, 4, i32::MIN]);
        check([0u64, 1, 2, 3, 4, u64::MAX]);
        check([0i64, 1, 2, 3, 4, i64::MIN]);
        check([0f32, -1.5, f32::MIN_POSITIVE, f32::MAX, 1e-45, f32::INFINITY]);
        check([0f64, -1.5, f64::MIN_POSITIVE, f64::MAX, 5e-324, f64::INFINITY]);
        check([1, 2, 3, 4, 5, 6].map(|i| Complex::new(i as f32, -0.5)));
        check([1, 2, 3, 4, 5, 6].map(|i| Complex::new(f64::from(i), -0.5)));
    }

    #[test]
    fn scalars_and_empty_arrays_are_legal() {
        let t = Tensor::from_vec(&[], vec![2.5f64]).unwrap();
        assert_eq!(parse(&to_bytes(&t).unwrap()).unwrap(), Array::F64(t));
        let t = Tensor::<f32>::zeros(&[0, 3]);
        assert_eq!(parse(&to_bytes(&t).unwrap()).unwrap(), Array::F32(t));
    }

    #[test]
    fn both_byte_orders_read_the_same() {
        let little = file("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n", &[1, 0, 0, 0x80]);
        let big = file("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n", &[0, 1, 0x80, 0]);
        assert_eq!(parse(&little).unwrap(), Array::I16(Tensor::from_vec(&[2], vec![1, i16::MIN]).unwrap()));
        assert_eq!(parse(&little).unwrap(), parse(&big).unwrap());
        let mut elements = 1.5f32.to_be_bytes().to_vec();
        elements.extend((-2.0f32).to_be_bytes());
        let complex = file("{'descr': '>c8', 'fortran_order': False, 'shape': (1,)}", &elements);
        assert_eq!(parse(&complex).unwrap().into_complex::<f32>().unwrap().as_slice(), &[Complex::new(1.5, -2.0)]);
    }

    #[test]
    fn fortran_order_is_brought_into_row_major_order() {
        // Element (i, j, k) of shape (2, 3, 2) holds 100 i + 10 j + k; stored with i fastest.
        let mut stored = Vec::new();
        for k in 0..2u8 {
            for j in 0..3 {
                for i in 0..2 {
                    stored.push(100 * i + 10 * j + k);
                }
            }
        }
        let bytes = file("{'shape': (2L, 3, 2), \"fortran_order\": True, 'descr': '|u1'}", &stored);
        let expected = Tensor::from_fn(&[2, 3, 2], |i| (100 * i[0] + 10 * i[1] + i[2]) as u8);
        assert_eq!(parse(&bytes).unwrap(), Array::U8(expected));
    }

    #[test]
    fn versions_2_and_3_have_a_longer_length() {
        let t = Tensor::from_vec(&[2], vec![3u32, 4]).unwrap();
        let one = to_bytes(&t).unwrap();
        for version in [2, 3] {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([version, 0, one[8], one[9], 0, 0]);
            bytes.extend(&one[10..]);
            assert_eq!(parse(&bytes).unwrap(), Array::U32(t.clone()));
        }
        let mut four = one.clone();
        four[6] = 4;
        assert!(matches!(parse(&four), Err(Error::Format { offset: 6, .. })));
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        for (h, f) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0400, 6.103_515_6e-5), (0x0001, 5.960_464_5e-8)]
        {
            assert_eq!(half_to_f32(h), f);
        }
        assert_eq!(half_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
        assert_eq!(half_to_f32(0xfc00), f32::NEG_INFINITY);
        assert!(half_to_f32(0x7e00).is_nan());
    }

    #[test]
    fn booleans_become_zero_and_one() {
        let bytes = file("{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}", &[0, 1, 9]);
        assert_eq!(parse(&bytes).unwrap(), Array::U8(Tensor::from_vec(&[3], vec![0, 1, 1]).unwrap()));
    }

    #[test]
    fn a_malformed_dictionary_is_an_error() {
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (+2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
            "{'descr': '<f4', 'fortran_order': false, 'shape': (2,)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'more': 1, 'fortran_order': False, 'shape': (2,)}",
            "{'descr': 'f4', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        ] {
            assert!(matches!(parse(&file(bad, &[0; 8])), Err(Error::Format { .. })), "{bad}");
        }
        for unsupported in ["<U4", "|O", "|S3", "<M8[ns]", "<f16"] {
            let text = format!("{{'descr': '{unsupported}', 'fortran_order': False, 'shape': (1,)}}");
            assert!(matches!(parse(&file(&text, &[0; 16])), Err(Error::Unsupported { .. })), "{unsupported}");
        }
    }

    #[test]
    fn sizes_beyond_the_file_are_errors_before_any_allocation() {
        for shape in [
            "(9223372036854775807, 9223372036854775807)",
            "(1152921504606846975,)",
            "(3,)",
            "(0, 4294967296, 4294967296)",
        ] {
            let bytes = file(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"), &[0; 16]);
            assert!(matches!(parse(&bytes), Err(Error::Format { .. })), "{shape}");
        }
    }

    #[test]
    fn no_truncation_panics_and_none_is_read_as_whole() {
        let whole = to_bytes(&Tensor::from_fn(&[2, 3], |i| (i[0] * 3 + i[1]) as f32)).unwrap();
        for n in 0..whole.len() {
            assert!(parse(&whole[..n]).is_err(), "{n} bytes of {}", whole.len());
        }
    }

    #[test]
    fn files_come_back_and_errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let t = Tensor::from_fn(&[3, 2], |i| (i[0] * 2 + i[1]) as f64);
        write(&path, &t).unwrap();
        assert_eq!(read(&path).unwrap(), Array::F64(t));
        std::fs::write(&path, b"no array").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("a.npy"));
        assert!(matches!(read(dir.path().join("absent.npy")), Err(Error::Io { .. })));
    }
}
