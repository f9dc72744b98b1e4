//! A 4D data set in an HDF5 file, read frame by frame.

use std::ops::Range;
use std::path::Path;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::hdf5::{Data, Hdf5};
use crate::source::{DType, Element, FrameSource, check_request};
use crate::tensor::Tensor;

/// Bytes that are unpacked at once beside the caller's buffer.
const BLOCK: usize = 1 << 24;

/// A data set of 4 axes `[scan_y, scan_x, det_y, det_x]` or 3 `[frame, det_y, det_x]` in an HDF5 file, read when frames
/// are asked for. A chunk that holds several frames is unpacked once while it is among the last 64 MiB of chunks.
pub struct Hdf5Frames {
    data: Data,
    shape: [usize; 4],
    dtype: DType,
}

impl std::fmt::Debug for Hdf5Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5Frames").field("shape", &self.shape).field("dtype", &self.dtype).finish_non_exhaustive()
    }
}

impl Hdf5Frames {
    /// Opens the data set `name` of the file.
    ///
    /// # Errors
    /// As [`Hdf5::read`], and [`Error::Shape`] when the data set has neither 3 nor 4 axes.
    pub fn open(path: impl AsRef<Path>, name: &str) -> Result<Self, Error> {
        Hdf5Frames::new(&Hdf5::open(path)?, name)
    }

    /// The same for a file that is open.
    ///
    /// # Errors
    /// As [`Hdf5Frames::open`].
    pub fn new(file: &Hdf5, name: &str) -> Result<Self, Error> {
        let data = file.data(name)?;
        let shape = match *data.dims.as_slice() {
            [n, y, x] => [1, n, y, x],
            [sy, sx, y, x] => [sy, sx, y, x],
            _ => return Err(Error::shape("Hdf5Frames::new [scan_y, scan_x, det_y, det_x]", &[0; 4], &data.dims)),
        };
        let dtype = match data.kind.name() {
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
        };
        Ok(Hdf5Frames { data, shape, dtype })
    }

    /// Reads rows `y` and columns `x` of the scan.
    fn block(&self, y: Range<usize>, x: Range<usize>, out: &mut [f32]) -> Result<(), Error> {
        let (h, w) = (self.shape[2], self.shape[3]);
        let mut ranges = vec![x.clone(), 0..h, 0..w];
        let mut dims = vec![x.len(), h, w];
        if self.data.dims.len() == 4 {
            ranges.insert(0, y.clone());
            dims.insert(0, y.len());
        }
        match self.data.read(Some(&ranges), &dims)? {
            Array::U8(t) => copy(&t, out),
            Array::I8(t) => copy(&t, out),
            Array::U16(t) => copy(&t, out),
            Array::I16(t) => copy(&t, out),
            Array::U32(t) => copy(&t, out),
            Array::I32(t) => copy(&t, out),
            Array::U64(t) => copy(&t, out),
            Array::I64(t) => copy(&t, out),
            Array::F32(t) => copy(&t, out),
            Array::F64(t) => copy(&t, out),
            complex => return Err(Error::Unsupported { what: format!("frames of {}", complex.dtype()) }),
        }
        Ok(())
    }
}

fn copy<E: Element>(tensor: &Tensor<E>, out: &mut [f32]) {
    for (o, &v) in out.iter_mut().zip(tensor.as_slice()) {
        *o = v.to_f32();
    }
}

impl FrameSource for Hdf5Frames {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The stored type; half precision is reported as `F32` and booleans as `U8`, as which they are read.
    fn dtype(&self) -> DType {
        self.dtype
    }

    /// Frames are read in rectangles of the scan: the rest of a row, whole rows, the start of a row.
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let frames = check_request(self.shape, first, out.len())?;
        let (row, frame) = (self.shape[1], self.frame_len());
        let most = (BLOCK / (frame * self.data.kind.size()).max(1)).max(1);
        let (mut at, end) = (first, first + frames);
        while at < end {
            let (y, x) = (at / row, at % row);
            let (ys, xs) = if x == 0 && end - at >= row && most >= row {
                (y..y + ((end - at) / row).min(most / row), 0..row)
            } else {
                (y..y + 1, x..(x + (end - at).min(most)).min(row))
            };
            let n = ys.len() * xs.len();
            let start = (at - first) * frame;
            self.block(ys, xs, &mut out[start..start + n * frame])?;
            at += n;
        }
        Ok(())
    }
}
