//! Views of a data set: cropped, binned, repaired, recentred while it is read. Each is itself a source of frames.

use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::source::{DType, FrameSource, check_request};
use crate::stem::bad_pixels::{PixelRepair, Repair};

/// A frame buffer for each thread that reads at the moment; given back after use, so that reading allocates only at
/// first.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<f32>>>);

impl Buffers {
    fn with<R>(&self, len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut buffer = self.0.lock().unwrap_or_else(|e| e.into_inner()).pop().unwrap_or_default();
        buffer.resize(len, 0.0);
        let result = f(&mut buffer);
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(buffer);
        result
    }
}

/// A rectangle of the scan and one of the detector.
pub(crate) struct Cropped {
    pub inner: Arc<dyn FrameSource>,
    pub shape: [usize; 4],
    pub start: [usize; 4],
    buffers: Buffers,
}

impl Cropped {
    pub fn new(inner: Arc<dyn FrameSource>, start: [usize; 4], shape: [usize; 4]) -> Self {
        Cropped { inner, shape, start, buffers: Buffers::default() }
    }
}

impl FrameSource for Cropped {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }
    fn dtype(&self) -> DType {
        self.inner.dtype()
    }
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape, first, out.len())?;
        let [_, sx, dy, dx] = self.shape;
        let [_, in_sx, in_dy, in_dx] = self.inner.shape();
        let whole = (dy, dx) == (in_dy, in_dx);
        for (i, frame) in out.chunks_mut(dy * dx).enumerate() {
            let (iy, ix) = ((first + i) / sx, (first + i) % sx);
            let from = (iy + self.start[0]) * in_sx + ix + self.start[1];
            if whole {
                self.inner.read_frames(from, frame)?;
                continue;
            }
            self.buffers.with(in_dy * in_dx, |buffer| {
                self.inner.read_frames(from, buffer)?;
                let rows = buffer.chunks(in_dx).skip(self.start[2]);
                for (row, to) in rows.zip(frame.chunks_mut(dx)) {
                    to.copy_from_slice(&row[self.start[3]..self.start[3] + dx]);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Sums of neighbouring pixels, and of neighbouring scan positions.
pub(crate) struct Binned {
    pub inner: Arc<dyn FrameSource>,
    /// `[scan_y, scan_x, det_y, det_x]`.
    pub by: [usize; 4],
    buffers: Buffers,
}

impl Binned {
    pub fn new(inner: Arc<dyn FrameSource>, by: [usize; 4]) -> Self {
        Binned { inner, by, buffers: Buffers::default() }
    }
}

impl FrameSource for Binned {
    fn shape(&self) -> [usize; 4] {
        let n = self.inner.shape();
        std::array::from_fn(|a| n[a] / self.by[a])
    }
    fn dtype(&self) -> DType {
        DType::F32
    }
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape(), first, out.len())?;
        let [_, sx, dy, dx] = self.shape();
        let [_, in_sx, in_dy, in_dx] = self.inner.shape();
        let [by_sy, by_sx, by_y, by_x] = self.by;
        for (i, frame) in out.chunks_mut(dy * dx).enumerate() {
            let (iy, ix) = ((first + i) / sx, (first + i) % sx);
            frame.fill(0.0);
            for b in 0..by_sy * by_sx {
                let from = (iy * by_sy + b / by_sx) * in_sx + ix * by_sx + b % by_sx;
                self.buffers.with(in_dy * in_dx, |buffer| {
                    self.inner.read_frames(from, buffer)?;
                    for (y, to) in frame.chunks_mut(dx).enumerate() {
                        for row in buffer[y * by_y * in_dx..(y + 1) * by_y * in_dx].chunks(in_dx) {
                            for (to, pixels) in to.iter_mut().zip(row.chunks_exact(by_x)) {
                                *to += pixels.iter().sum::<f32>();
                            }
                        }
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// Bad pixels replaced from their good neighbours.
pub(crate) struct Repaired {
    pub inner: Arc<dyn FrameSource>,
    pub pixels: Vec<PixelRepair>,
    pub how: Repair,
}

impl FrameSource for Repaired {
    fn shape(&self) -> [usize; 4] {
        self.inner.shape()
    }
    fn dtype(&self) -> DType {
        DType::F32
    }
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        self.inner.read_frames(first, out)?;
        let frame_len = self.frame_len();
        for frame in out.chunks_mut(frame_len.max(1)) {
            self.pixels.iter().for_each(|p| p.apply(frame, self.how));
        }
        Ok(())
    }
}

/// Frames shifted by whole pixels, one shift a frame; what comes in from outside is 0.
pub(crate) struct Shifted {
    pub inner: Arc<dyn FrameSource>,
    /// The pixel at p of the new frame is the one at p + shift of the old.
    pub shifts: Vec<[i32; 2]>,
    buffers: Buffers,
}

impl Shifted {
    pub fn new(inner: Arc<dyn FrameSource>, shifts: Vec<[i32; 2]>) -> Self {
        Shifted { inner, shifts, buffers: Buffers::default() }
    }
}

impl FrameSource for Shifted {
    fn shape(&self) -> [usize; 4] {
        self.inner.shape()
    }
    fn dtype(&self) -> DType {
        self.inner.dtype()
    }
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape(), first, out.len())?;
        let [_, _, dy, dx] = self.shape();
        for (i, frame) in out.chunks_mut((dy * dx).max(1)).enumerate() {
            let [sy, sx] = self.shifts[first + i].map(|s| s as isize);
            self.buffers.with(dy * dx, |buffer| {
                self.inner.read_frames(first + i, buffer)?;
                // Columns from..to of the new row lie inside the old one.
                let (from, to) = ((-sx).clamp(0, dx as isize), (dx as isize - sx).clamp(0, dx as isize));
                frame.fill(0.0);
                for (y, row) in frame.chunks_mut(dx).enumerate() {
                    let old = y as isize + sy;
                    if (0..dy as isize).contains(&old) && from < to {
                        let at = old as usize * dx;
                        let source = at + (from + sx) as usize..at + (to + sx) as usize;
                        row[from as usize..to as usize].copy_from_slice(&buffer[source]);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
