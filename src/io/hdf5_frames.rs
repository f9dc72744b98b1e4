//! A 4D data set in an HDF5 file, read frame by frame.

use std::ops::Range;
use std::path::Path;

use crate::error::Error;
use crate::io::frames::{frame_dtype, frame_shape, read_rectangles, widen_array};
use crate::io::hdf5::{Data, Hdf5};
use crate::source::{DType, FrameSource, check_request};

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
        let shape = frame_shape("Hdf5Frames::new [scan_y, scan_x, det_y, det_x]", &data.dims)?;
        let dtype = frame_dtype(data.kind.name())?;
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
        widen_array(&self.data.read(Some(&ranges), &dims)?, out)
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
        check_request(self.shape, first, out.len())?;
        let bytes = self.frame_len() * self.data.kind.size();
        read_rectangles(self.shape, bytes, first, out, |y, x, out| self.block(y, x, out))
    }
}
