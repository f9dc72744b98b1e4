//! Element types of HDF5 and what they become: numbers, complex pairs, half precision, booleans; attributes.

use hdf5_reader::error::ByteOrder;
use hdf5_reader::{Attribute as Stored, CompoundField, Datatype, VarLenKind};
use num_complex::Complex;

use crate::error::Error;
use crate::io::array::{Array, NpyElement};
use crate::io::npy::{half_to_f32, swap_bytes};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// The value of an HDF5 attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Strings; a single one has no dimensions.
    Text(Tensor<String>),
    /// Numbers; a single one has no dimensions.
    Array(Array),
    /// A value that has no counterpart here: its element type, or what is wrong with it.
    Other(String),
}

impl Attribute {
    /// The string, if the value is a single one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Attribute::Text(t) if t.len() == 1 => Some(&t.as_slice()[0]),
            _ => None,
        }
    }

    /// The number, if the value is a single real one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Attribute::Array(a) if a.len() == 1 => a.clone().into_real::<f64>().ok().map(|t| t.as_slice()[0]),
            _ => None,
        }
    }
}

/// How the elements of a numeric data set are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// Kind and size in the npy notation; `"b1"` and `"f2"` are converted on reading.
    descr: &'static str,
    /// Whether bytes must be reversed to become native.
    swapped: bool,
    /// Whether the library converts the elements itself: no enumeration, bit field, pair or half.
    plain: bool,
}

impl Kind {
    /// The kind of a datatype, or the name of one that is not supported.
    pub(crate) fn of(datatype: &Datatype) -> Result<Kind, String> {
        let kind = |descr, order: &ByteOrder, plain| {
            Ok(Kind { descr, swapped: (*order == ByteOrder::BigEndian) != cfg!(target_endian = "big"), plain })
        };
        match datatype {
            Datatype::FixedPoint { size, signed, byte_order } => match (size, signed) {
                (1, false) => kind("u1", byte_order, true),
                (1, true) => kind("i1", byte_order, true),
                (2, false) => kind("u2", byte_order, true),
                (2, true) => kind("i2", byte_order, true),
                (4, false) => kind("u4", byte_order, true),
                (4, true) => kind("i4", byte_order, true),
                (8, false) => kind("u8", byte_order, true),
                (8, true) => kind("i8", byte_order, true),
                _ => Err(format!("integers of {size} bytes")),
            },
            Datatype::FloatingPoint { size, byte_order } => match size {
                2 => kind("f2", byte_order, false),
                4 => kind("f4", byte_order, true),
                8 => kind("f8", byte_order, true),
                _ => Err(format!("floating-point numbers of {size} bytes")),
            },
            Datatype::Bitfield { size, byte_order } => match size {
                1 => kind("u1", byte_order, false),
                2 => kind("u2", byte_order, false),
                4 => kind("u4", byte_order, false),
                8 => kind("u8", byte_order, false),
                _ => Err(format!("bit fields of {size} bytes")),
            },
            Datatype::Enum { base, members } => {
                let base = Kind::of(base)?;
                // The enumeration {FALSE, TRUE} is how booleans are written.
                let boolean = base.size() == 1 && members.len() == 2 && members.iter().any(|m| m.name == "TRUE");
                Ok(Kind { descr: if boolean { "b1" } else { base.descr }, plain: false, ..base })
            }
            Datatype::Compound { size, fields } => complex(*size, fields),
            Datatype::String { .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => Err("string".into()),
            Datatype::VarLen { .. } => Err("lists of variable length".into()),
            Datatype::Array { dims, .. } => Err(format!("arrays of {dims:?} as elements")),
            Datatype::Opaque { size, .. } => Err(format!("opaque elements of {size} bytes")),
            Datatype::Reference { .. } => Err("references".into()),
        }
    }

    /// Bytes an element in the file.
    pub(crate) fn size(self) -> usize {
        match self.descr {
            "u1" | "i1" | "b1" => 1,
            "u2" | "i2" | "f2" => 2,
            "u4" | "i4" | "f4" => 4,
            "u8" | "i8" | "f8" | "c8" => 8,
            _ => 16,
        }
    }

    /// The npy notation, when the library converts the elements.
    pub(crate) fn plain(self) -> Option<&'static str> {
        self.plain.then_some(self.descr)
    }

    /// Name of the element type.
    pub(crate) fn name(self) -> &'static str {
        match self.descr {
            "b1" => "bool",
            "u1" => "u8",
            "i1" => "i8",
            "u2" => "u16",
            "i2" => "i16",
            "u4" => "u32",
            "i4" => "i32",
            "u8" => "u64",
            "i8" => "i64",
            "f2" => "f16",
            "f4" => "f32",
            "f8" => "f64",
            "c8" => "complex<f32>",
            _ => "complex<f64>",
        }
    }

    /// Compares the bit layout of a stored integer or floating-point type with that of the processor: other floats of
    /// the same size (bfloat16, VAX), and integers of fewer bits than their bytes hold, must not be read as if they
    /// were ordinary.
    ///
    /// `message` is the datatype message: class and version, 3 bytes of flags, size (4), then for integers bit offset
    /// (2) and precision (2); for floats also exponent position and width, mantissa position and width, bias (4).
    pub(crate) fn check_layout(self, message: &[u8]) -> Result<Kind, String> {
        let ordinary = match (message.first().map(|b| b & 15), message) {
            (Some(0), [_, flags, _, _, _, _, _, _, o0, o1, p0, p1, ..]) => {
                let (offset, precision) = (u16::from_le_bytes([*o0, *o1]), u16::from_le_bytes([*p0, *p1]));
                let signed = flags & 8 != 0;
                offset == 0 && (usize::from(precision) == 8 * self.size() || !signed)
            }
            (Some(1), [_, flags, rest @ ..]) if rest.len() >= 18 => {
                let expected: [u8; 12] = match self.size() {
                    2 => [0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0],
                    4 => [0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0],
                    _ => [0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0],
                };
                flags & 0x40 == 0 && rest[6..18] == expected
            }
            (Some(0 | 1) | None, _) => false,
            _ => true,
        };
        if ordinary { Ok(self) } else { Err(format!("{} with an unusual arrangement of bits", self.name())) }
    }

    /// Elements from the bytes of the file.
    pub(crate) fn decode(self, dims: &[usize], bytes: &[u8]) -> Result<Array, Error> {
        match self.descr {
            "b1" => Ok(Array::U8(self.tensor::<u8>(dims, bytes)?.map(|&v| u8::from(v != 0)))),
            "f2" => Ok(Array::F32(self.tensor::<u16>(dims, bytes)?.map(|&v| half_to_f32(v)))),
            "u1" => Ok(Array::U8(self.tensor(dims, bytes)?)),
            "i1" => Ok(Array::I8(self.tensor(dims, bytes)?)),
            "u2" => Ok(Array::U16(self.tensor(dims, bytes)?)),
            "i2" => Ok(Array::I16(self.tensor(dims, bytes)?)),
            "u4" => Ok(Array::U32(self.tensor(dims, bytes)?)),
            "i4" => Ok(Array::I32(self.tensor(dims, bytes)?)),
            "u8" => Ok(Array::U64(self.tensor(dims, bytes)?)),
            "i8" => Ok(Array::I64(self.tensor(dims, bytes)?)),
            "f4" => Ok(Array::F32(self.tensor(dims, bytes)?)),
            "f8" => Ok(Array::F64(self.tensor(dims, bytes)?)),
            "c8" => Ok(Array::C32(self.tensor::<Complex<f32>>(dims, bytes)?)),
            _ => Ok(Array::C64(self.tensor::<Complex<f64>>(dims, bytes)?)),
        }
    }

    fn tensor<E: NpyElement>(self, dims: &[usize], bytes: &[u8]) -> Result<Tensor<E>, Error> {
        let len = checked_len(dims)?;
        if len.checked_mul(size_of::<E>()) != Some(bytes.len()) {
            let reason = format!("{} bytes for {dims:?} elements of {}", bytes.len(), size_of::<E>());
            return Err(Error::format("hdf5", "", 0, reason));
        }
        let mut data = try_zeroed::<E>(len)?;
        let out = bytemuck::cast_slice_mut(&mut data);
        out.copy_from_slice(bytes);
        if self.swapped {
            swap_bytes(out, E::WORD);
        }
        Tensor::from_vec(dims, data)
    }
}

/// Two floating-point numbers, one behind the other, by the names that programs give to the parts of a complex number.
fn complex(size: u32, fields: &[CompoundField]) -> Result<Kind, String> {
    if let [re, im] = fields
        && let Some(kind) = pair(size, re, im)?
    {
        return Ok(kind);
    }
    let names: Vec<&str> = fields.iter().take(8).map(|f| f.name.as_str()).collect();
    Err(format!("records of {} fields ({} …)", fields.len(), names.join(", ")))
}

fn pair(size: u32, re: &CompoundField, im: &CompoundField) -> Result<Option<Kind>, String> {
    let names = (re.name.to_ascii_lowercase(), im.name.to_ascii_lowercase());
    // Velox says `realFloat` and `imagFloat`, or longer.
    let named = [("r", "i"), ("re", "im")].contains(&(&names.0, &names.1))
        || (names.0.starts_with("real") && names.1.starts_with("imag"));
    let (kind, other) = (Kind::of(&re.datatype)?, Kind::of(&im.datatype)?);
    let part = kind.size() as u32;
    let packed = re.byte_offset == 0 && im.byte_offset == part && size == 2 * part;
    let descr = match kind.descr {
        "f4" => "c8",
        "f8" => "c16",
        _ => return Ok(None),
    };
    let pair = Kind { descr, swapped: kind.swapped, plain: false };
    Ok((named && packed && kind == other).then_some(pair))
}

/// Name and value of an attribute.
pub(crate) fn attribute(stored: Stored) -> (String, Attribute) {
    let value = match Kind::of(&stored.datatype) {
        Ok(kind) => numbers(&stored, kind),
        Err(what) if what == "string" => text(&stored),
        Err(what) => Ok(Attribute::Other(what)),
    };
    (stored.name, value.unwrap_or_else(|e| Attribute::Other(e.to_string())))
}

fn dims_of(stored: &Stored) -> Result<Vec<usize>, Error> {
    let dims = stored.shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect::<Vec<_>>();
    checked_len(&dims)?;
    Ok(dims)
}

fn numbers(stored: &Stored, kind: Kind) -> Result<Attribute, Error> {
    let dims = dims_of(stored)?;
    let needed = checked_len(&dims)?.saturating_mul(kind.size());
    let bytes = stored.raw_data.get(..needed).unwrap_or(&stored.raw_data);
    Ok(Attribute::Array(kind.decode(&dims, bytes)?))
}

fn text(stored: &Stored) -> Result<Attribute, Error> {
    let wrong = |e: hdf5_reader::error::Error| Error::format("hdf5", "", 0, e);
    let strings = if stored.decoded_strings.is_none() && stored.shape.is_empty() {
        vec![stored.read_string().map_err(wrong)?]
    } else {
        stored.read_strings().map_err(wrong)?
    };
    Ok(Attribute::Text(Tensor::from_vec(&dims_of(stored)?, strings)?))
}
