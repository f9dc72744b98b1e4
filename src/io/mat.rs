//! MATLAB arrays, format 5 (and 7, which is 5 with deflate): numeric matrices.
//!
//! A header of 128 bytes that ends with the version 0x0100 and the letters `IM` or `MI` (the byte order); then
//! elements: type and length (4 bytes each, or both in one word for up to 4 bytes of content), content, padding to 8
//! bytes. A matrix has flags, its dimensions, its name and its numbers, fastest first, in a type that may be smaller
//! than its class. Structures, cells and texts are passed over.
//!
//! # References
//! The MathWorks, "MAT-File Format", 5.

use std::io::Read;

use num_complex::Complex;

use crate::error::Error;
use crate::io::array::{Array, NpyElement};
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, latin1};
use crate::io::data_file::{Contents, OpenParams, Set, SetInfo, Store};
use crate::io::layout::advance;
use crate::io::meta::Meta;
use crate::shape::{checked_len, try_reserved};
use crate::tensor::Tensor;

const MAX_VARIABLES: usize = 10_000;

pub(crate) fn recognise(head: &[u8]) -> bool {
    head.starts_with(b"MATLAB 5.0 MAT-file") && matches!(head.get(126..128), Some(b"IM" | b"MI"))
}

pub(crate) fn read(bytes: &Bytes, params: &OpenParams) -> Result<Contents, Error> {
    let limit = params.limits.bytes;
    let wrong = |at: usize, reason: String| Error::format("mat", bytes.path(), at as u64, reason);
    params.limits.check(bytes.len())?;
    let all = bytes.head(0, usize::try_from(bytes.len()).unwrap_or(usize::MAX))?;
    let order = if &all[126..128] == b"IM" { Order::Little } else { Order::Big };
    let (mut at, mut sets) = (128, Vec::new());
    while at < all.len() && sets.len() < MAX_VARIABLES {
        let (kind, content, next) = element(&all, at, order).map_err(|e| wrong(at, e))?;
        let found = match kind {
            14 => matrix(content, order).map_err(|e| wrong(at, e))?,
            15 => {
                let inner = inflate(content, limit).map_err(|e| wrong(at, e))?;
                let (kind, content, _) = element(&inner, 0, order).map_err(|e| wrong(at, e))?;
                if kind == 14 { matrix(content, order).map_err(|e| wrong(at, e))? } else { None }
            }
            _ => None,
        };
        if let Some((name, array)) = found {
            let names: Vec<Axis> = array.dims().iter().map(|&n| Axis::plain("", n)).collect();
            sets.push(Set::new(SetInfo::new(name, array.dtype(), names), Store::Memory(array)));
        }
        at = next;
    }
    let metadata = Meta::Map(vec![("header".into(), Meta::Text(latin1(&all[..116]).trim().to_string()))]);
    Ok(Contents { format: "mat", sets, metadata })
}

fn word(b: &[u8], at: usize, order: Order) -> Option<u32> {
    let b: [u8; 4] = b.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if order == Order::Little { u32::from_le_bytes(b) } else { u32::from_be_bytes(b) })
}

/// Type, content, and where the next element begins.
fn element(b: &[u8], at: usize, order: Order) -> Result<(u32, &[u8], usize), String> {
    let short = || format!("the element at {at} ends early");
    let first = word(b, at, order).ok_or_else(short)?;
    if first >> 16 != 0 {
        let n = (first >> 16) as usize;
        if n > 4 {
            return Err(format!("a short element of {n} bytes"));
        }
        return Ok((first & 0xffff, b.get(at + 4..at + 4 + n).ok_or_else(short)?, at + 8));
    }
    let n = word(b, at + 4, order).ok_or_else(short)? as usize;
    let content = b.get(at + 8..at + 8 + n).ok_or_else(short)?;
    // Compressed elements are not padded.
    let padded = if first == 15 { n } else { n.div_ceil(8) * 8 };
    Ok((first, content, at + 8 + padded))
}

/// What a deflated element unpacks to; deflate gives at most 1032 bytes for one.
fn inflate(content: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let most = (content.len() as u64).saturating_mul(1032).min(limit);
    let mut out = Vec::new();
    let mut z = flate2::read::ZlibDecoder::new(content).take(most.saturating_add(1));
    z.read_to_end(&mut out).map_err(|e| format!("deflate: {e}"))?;
    if out.len() as u64 > most { Err(format!("unpacks to more than {most} bytes")) } else { Ok(out) }
}

/// Name and values of a numeric matrix; none for other classes.
fn matrix(b: &[u8], order: Order) -> Result<Option<(String, Array)>, String> {
    let (_, flags, at) = element(b, 0, order)?;
    let flags = word(flags, 0, order).ok_or("a matrix without flags")?;
    let (class, complex, logical) = (flags & 0xff, flags & 0x0800 != 0, flags & 0x0200 != 0);
    let (_, sizes, at) = element(b, at, order)?;
    let dims: Vec<usize> = (0..sizes.len() / 4).map(|k| word(sizes, 4 * k, order).unwrap_or(0) as usize).collect();
    let (_, name, at) = element(b, at, order)?;
    let name = latin1(name);
    if !(6..=15).contains(&class) {
        return Ok(None);
    }
    let len = checked_len(&dims).map_err(|e| e.to_string())?;
    let (kind, real, at) = element(b, at, order)?;
    if complex {
        let (kind_i, imaginary, _) = element(b, at, order)?;
        let (re, im) = (numbers(kind, real, order, len)?, numbers(kind_i, imaginary, order, len)?);
        return Ok(Some((name, Array::C64(row_major(&dims, |k| Complex::new(re(k), im(k)))?))));
    }
    // 64-bit integers beyond 2⁵³ do not survive the way through `f64`.
    if let (14 | 15, 12 | 13) = (class, kind) {
        let words = real.as_chunks::<8>().0;
        if words.len() != len {
            return Err(format!("{} numbers for {dims:?}", words.len()));
        }
        let whole =
            |k: usize| if order == Order::Little { u64::from_le_bytes(words[k]) } else { u64::from_be_bytes(words[k]) };
        let array = match class {
            14 => Array::I64(row_major(&dims, |k| whole(k) as i64)?),
            _ => Array::U64(row_major(&dims, whole)?),
        };
        return Ok(Some((name, array)));
    }
    let values = numbers(kind, real, order, len)?;
    let array = match class {
        _ if logical => cast(&dims, &values, |v| v as u8)?,
        6 => cast(&dims, &values, |v| v)?,
        7 => cast(&dims, &values, |v| v as f32)?,
        8 => cast(&dims, &values, |v| v as i8)?,
        9 => cast(&dims, &values, |v| v as u8)?,
        10 => cast(&dims, &values, |v| v as i16)?,
        11 => cast(&dims, &values, |v| v as u16)?,
        12 => cast(&dims, &values, |v| v as i32)?,
        13 => cast(&dims, &values, |v| v as u32)?,
        14 => cast(&dims, &values, |v| v as i64)?,
        _ => cast(&dims, &values, |v| v as u64)?,
    };
    Ok(Some((name, array)))
}

fn cast<E: NpyElement>(dims: &[usize], values: &Numbers<'_>, f: impl Fn(f64) -> E) -> Result<Array, String> {
    Ok(E::array(row_major(dims, |k| f(values(k)))?))
}

/// Number k of a stored row of numbers.
type Numbers<'a> = Box<dyn Fn(usize) -> f64 + 'a>;

/// Numbers of a stored type; there must be `len` of them.
fn numbers<'a>(kind: u32, b: &'a [u8], order: Order, len: usize) -> Result<Numbers<'a>, String> {
    macro_rules! of {
        ($t:ty) => {{
            let words = b.as_chunks::<{ size_of::<$t>() }>().0;
            if words.len() != len {
                return Err(format!("{} numbers where {len} belong", words.len()));
            }
            Ok(match order {
                Order::Little => Box::new(|k: usize| <$t>::from_le_bytes(words[k]) as f64),
                Order::Big => Box::new(|k: usize| <$t>::from_be_bytes(words[k]) as f64),
            })
        }};
    }
    match kind {
        1 => of!(i8),
        2 => of!(u8),
        3 => of!(i16),
        4 => of!(u16),
        5 => of!(i32),
        6 => of!(u32),
        7 => of!(f32),
        9 => of!(f64),
        12 => of!(i64),
        13 => of!(u64),
        other => Err(format!("numbers of type {other}")),
    }
}

/// From fastest first to slowest first; the dimensions stay. `value` gives number k of the file, below the product of `dims`.
fn row_major<E: NpyElement>(dims: &[usize], value: impl Fn(usize) -> E) -> Result<Tensor<E>, String> {
    let mut data: Vec<E> = try_reserved(checked_len(dims).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let mut steps = vec![1; dims.len()];
    for axis in 1..dims.len() {
        steps[axis] = steps[axis - 1] * dims[axis - 1];
    }
    let all: Vec<_> = dims.iter().map(|&n| 0..n).collect();
    let mut index = vec![0; dims.len()];
    for _ in 0..dims.iter().product() {
        data.push(value(index.iter().zip(&steps).map(|(i, s)| i * s).sum()));
        advance(&mut index, &all);
    }
    Tensor::from_vec(dims, data).map_err(|e| e.to_string())
}
