//! Any data set of 3 or 4 axes as a source of frames.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::data_file::{SetInfo, Store};
use crate::io::layout::{Element, Strided};
use crate::io::npy::{half_to_f32, swap_bytes};
use crate::shape::try_zeroed;
use crate::simd::vectorized;
use crate::source::{DType, Element as _, FrameSource, check_request};
use crate::tensor::Tensor;

/// Bytes of raw frames that are read at once beside the caller's buffer: they stay in the cache until they are widened,
/// and are few enough for the allocator to keep.
const RAW_BLOCK: usize = 1 << 16;
/// Bytes of decoded frames that are read at once.
const BLOCK: usize = 1 << 24;

/// Frames of a data set of an open file, read when they are asked for, from any number of threads.
#[derive(Clone, Debug)]
pub struct SetFrames {
    store: Arc<Store>,
    axes: usize,
    shape: [usize; 4],
    dtype: DType,
}

impl SetFrames {
    pub(crate) fn new(store: Arc<Store>, info: &SetInfo) -> Result<Self, Error> {
        let shape = frame_shape("frames [scan_y, scan_x, det_y, det_x]", &info.dims)?;
        let dtype = frame_dtype(info.dtype)?;
        Ok(SetFrames { store, axes: info.dims.len(), shape, dtype })
    }

    /// Rows `y` and columns `x` of the scan.
    fn block(&self, y: Range<usize>, x: Range<usize>, out: &mut [f32]) -> Result<(), Error> {
        let mut ranges = vec![x, 0..self.shape[2], 0..self.shape[3]];
        if self.axes == 4 {
            ranges.insert(0, y);
        }
        widen_array(&self.store.read(&ranges)?, out)
    }
}

impl FrameSource for SetFrames {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The stored type; half precision is reported as `F32`, as which it is read.
    fn dtype(&self) -> DType {
        self.dtype
    }

    /// Raw frames are read into a buffer of 64 KiB and widened; others in rectangles of the scan of at most 16 MiB.
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape, first, out.len())?;
        let frame = self.frame_len();
        if out.is_empty() {
            return Ok(());
        }
        if let Store::Strided(s) = &*self.store
            && let Some(packed) = packed_frame(s, self.axes)
            && frame * s.element.size() <= BLOCK
        {
            return read_packed(s, self.axes, first, frame, packed, out);
        }
        let bytes = frame * self.dtype.size();
        read_rectangles(self.shape, bytes, first, out, |y, x, out| self.block(y, x, out))
    }

    /// Raw 16-bit counts whose frames lie one after the other.
    fn read_counts(&self, first: usize, out: &mut [u16]) -> Option<Result<(), Error>> {
        let Store::Strided(s) = &*self.store else { return None };
        if s.element != Element::U16 || packed_frame(s, self.axes) != Some(Gap::None) {
            return None;
        }
        Some(check_request(self.shape, first, out.len()).and_then(|_| {
            let from = s.start + (first * self.frame_len() * 2) as u64;
            read_counts(s.order.swapped(), out, |bytes| s.bytes.read_at(from, bytes))
        }))
    }
}

/// The type of elements that may be read as `f32`, from its name.
pub(crate) fn frame_dtype(name: &str) -> Result<DType, Error> {
    Ok(match name {
        "u8" | "bool" => DType::U8,
        "i8" => DType::I8,
        "u16" => DType::U16,
        "i16" => DType::I16,
        "u32" => DType::U32,
        "i32" => DType::I32,
        "u64" => DType::U64,
        "i64" => DType::I64,
        "f16" | "f32" => DType::F32,
        "f64" => DType::F64,
        other => return Err(Error::Unsupported { what: format!("frames of {other}") }),
    })
}

/// Dimensions `[scan_y, scan_x, det_y, det_x]` of a data set of 4 axes, or of 3: then its frames are one row of a scan.
pub(crate) fn frame_shape(op: &'static str, dims: &[usize]) -> Result<[usize; 4], Error> {
    match *dims {
        [n, y, x] => Ok([1, n, y, x]),
        [sy, sx, y, x] => Ok([sy, sx, y, x]),
        _ => Err(Error::shape(op, &[0; 4], dims)),
    }
}

/// Reads the frames from `first` on that fill `out`, in rectangles of the scan of at most [`BLOCK`] bytes, `bytes` a
/// frame: the rest of a row, whole rows, the start of a row. `read(y, x, out)` reads one.
pub(crate) fn read_rectangles(
    shape: [usize; 4],
    bytes: usize,
    first: usize,
    out: &mut [f32],
    read: impl Fn(Range<usize>, Range<usize>, &mut [f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (row, frame) = (shape[1], shape[2] * shape[3]);
    let most = (BLOCK / bytes.max(1)).max(1);
    let (mut at, end) = (first, first + out.len() / frame.max(1));
    while at < end {
        let (y, x) = (at / row, at % row);
        let (ys, xs) = if x == 0 && end - at >= row && most >= row {
            (y..y + ((end - at) / row).min(most / row), 0..row)
        } else {
            (y..y + 1, x..(x + (end - at).min(most)).min(row))
        };
        let n = ys.len() * xs.len();
        let start = (at - first) * frame;
        read(ys, xs, &mut out[start..start + n * frame])?;
        at += n;
    }
    Ok(())
}

/// Whether all frames follow each other without gaps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Some,
}

/// Whether a frame lies in one piece, and whether the frames do.
fn packed_frame(s: &Strided, axes: usize) -> Option<Gap> {
    let (dims, strides, size) = (&s.dims, &s.strides, s.element.size() as i64);
    let mut run = size;
    for axis in (axes - 2..axes).rev() {
        if dims[axis] > 1 && strides[axis].abs() != run || axis + 1 == axes && strides[axis] < 0 {
            return None;
        }
        run *= dims[axis] as i64;
    }
    // Rows that run backwards are turned round frame by frame.
    let mut gap = if s.table.is_some() || strides[axes - 2] < 0 { Gap::Some } else { Gap::None };
    for axis in (0..axes - 2).rev() {
        if dims[axis] > 1 && strides[axis] != run {
            gap = Gap::Some;
        }
        run *= dims[axis] as i64;
    }
    Some(gap)
}

fn read_packed(s: &Strided, axes: usize, first: usize, frame: usize, gap: Gap, out: &mut [f32]) -> Result<(), Error> {
    let size = s.element.size();
    let at = |n: usize| -> Vec<Range<usize>> {
        let mut ranges = vec![0..s.dims[axes - 2], 0..s.dims[axes - 1]];
        let columns = s.dims[axes - 3];
        ranges.insert(0, n % columns..n % columns + 1);
        if axes == 4 {
            ranges.insert(0, n / columns..n / columns + 1);
        }
        ranges
    };
    match gap {
        Gap::None => {
            let from = s.start + (first * frame * size) as u64;
            read_widened(s.element, s.order.swapped(), from, out, |at, bytes| s.bytes.read_at(at, bytes))?;
        }
        Gap::Some => {
            let mut buffer = try_zeroed::<u8>(frame * size)?;
            for (k, part) in out.chunks_exact_mut(frame).enumerate() {
                // The elements come out in native order, as `widen` would have brought them.
                s.gather(&at(first + k), &mut buffer)?;
                widen(s.element, &buffer, part);
            }
        }
    }
    Ok(())
}

/// Packed elements from byte `at` on as `f32`, a block at a time; `read(at, bytes)` fills bytes.
pub(crate) fn read_widened(
    element: Element,
    swapped: bool,
    mut at: u64,
    out: &mut [f32],
    read: impl Fn(u64, &mut [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let size = element.size();
    let mut buffer = try_zeroed::<u8>(RAW_BLOCK.min(out.len() * size))?;
    for part in out.chunks_mut(RAW_BLOCK / size) {
        let bytes = &mut buffer[..part.len() * size];
        read(at, bytes)?;
        at += bytes.len() as u64;
        if swapped {
            swap_bytes(bytes, size);
        }
        widen(element, bytes, part);
    }
    Ok(())
}

/// Packed counts of 16 bits in native order; `read` fills their bytes.
pub(crate) fn read_counts(
    swapped: bool,
    out: &mut [u16],
    read: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let bytes = bytemuck::cast_slice_mut(out);
    read(bytes)?;
    if swapped {
        swap_bytes(bytes, 2);
    }
    Ok(())
}

/// Elements in native byte order to `f32`.
fn widen(element: Element, bytes: &[u8], out: &mut [f32]) {
    macro_rules! from {
        ($t:ty) => {{
            vectorized!({
                for (o, &w) in out.iter_mut().zip(bytes.as_chunks::<{ size_of::<$t>() }>().0) {
                    *o = <$t>::from_ne_bytes(w).to_f32();
                }
            })
        }};
    }
    match element {
        Element::U8 => from!(u8),
        Element::I8 => from!(i8),
        Element::U16 => from!(u16),
        Element::I16 => from!(i16),
        Element::U32 => from!(u32),
        Element::I32 => from!(i32),
        Element::U64 => from!(u64),
        Element::I64 => from!(i64),
        Element::F32 => from!(f32),
        Element::F64 => from!(f64),
        Element::F16 => {
            for (o, &w) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = half_to_f32(u16::from_ne_bytes(w));
            }
        }
        // `SetFrames::new` refuses complex elements.
        Element::C16 | Element::C32 | Element::C64 => out.fill(f32::NAN),
    }
}

/// The elements of an array as `f32`.
///
/// # Errors
/// [`Error::Unsupported`] for complex elements.
pub(crate) fn widen_array(array: &Array, out: &mut [f32]) -> Result<(), Error> {
    fn copy<E: crate::source::Element>(tensor: &Tensor<E>, out: &mut [f32]) {
        for (o, &v) in out.iter_mut().zip(tensor.as_slice()) {
            *o = v.to_f32();
        }
    }
    match array {
        Array::U8(t) => copy(t, out),
        Array::I8(t) => copy(t, out),
        Array::U16(t) => copy(t, out),
        Array::I16(t) => copy(t, out),
        Array::U32(t) => copy(t, out),
        Array::I32(t) => copy(t, out),
        Array::U64(t) => copy(t, out),
        Array::I64(t) => copy(t, out),
        Array::F32(t) => copy(t, out),
        Array::F64(t) => copy(t, out),
        complex => return Err(Error::Unsupported { what: format!("frames of {}", complex.dtype()) }),
    }
    Ok(())
}
