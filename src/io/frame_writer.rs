//! A 4D data set written a few frames at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::io::npy::{ArrayHead, header};
use crate::shape::checked_len;

/// What is done about the frames that an earlier, unfinished run has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfinished {
    /// They are the first of this data set: writing goes on behind the last whole one.
    #[default]
    Continue,
    /// They are thrown away.
    Replace,
}

/// Writes a data set `[scan_y, scan_x, det_y, det_x]` of `f32` to an npy file, frame after frame, in memory of one call's frames.
///
/// Until the last frame is there the file is called `NAME.part`; then it gets its name. Whoever stops in between loses nothing:
/// [`Unfinished::Continue`] goes on behind the last whole frame. [`crate::io::npy::NpyFrames`] reads the file, without holding it in memory
/// either.
///
/// # Examples
/// ```
/// use exitwave::io::{FrameWriter, Unfinished, npy::NpyFrames};
/// use exitwave::source::FrameSource;
/// let path = std::env::temp_dir().join(format!("exitwave-frames-{}.npy", std::process::id()));
/// let mut writer = FrameWriter::open(&path, [1, 3, 2, 2], Unfinished::Replace)?;
/// writer.append(&[1.0; 8])?;
/// drop(writer);
/// let mut writer = FrameWriter::open(&path, [1, 3, 2, 2], Unfinished::Continue)?;
/// assert_eq!(writer.written(), 2);
/// writer.append(&[2.0; 4])?;
/// writer.finish()?;
/// let mut last = [0.0; 4];
/// NpyFrames::open(&path)?.read_frames(2, &mut last)?;
/// assert_eq!(last, [2.0; 4]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct FrameWriter {
    path: PathBuf,
    part: PathBuf,
    file: File,
    frames: usize,
    frame_len: usize,
    written: usize,
}

impl FrameWriter {
    /// Opens `path.part`, with what an earlier run has left in it.
    ///
    /// # Errors
    /// - [`Error::OutOfMemory`] for a shape whose number of bytes overflows,
    /// - [`Error::Checkpoint`] when the frames that are there are of a data set of another shape or type,
    /// - [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, shape: [usize; 4], unfinished: Unfinished) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let failed = |e| Error::io(&path, e);
        let mut name: OsString =
            path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?.to_os_string();
        name.push(".part");
        let part = path.with_file_name(name);
        checked_len(&[shape[0], shape[1], shape[2], shape[3], size_of::<f32>()])?;
        let (frames, frame_len) = (shape[0] * shape[1], shape[2] * shape[3]);
        let head = header(ArrayHead { dims: &shape, descr: "f4" })?;

        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut written = 0;
        if unfinished == Unfinished::Continue && len >= head.len() as u64 {
            let mut there = vec![0; head.len()];
            file.read_exact(&mut there).map_err(failed)?;
            if there != head {
                let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[10.min(bytes.len())..]).trim().to_string();
                return Err(Error::Checkpoint { expected: text(&head), got: text(&there) });
            }
            let bytes = (frame_len * size_of::<f32>()).max(1) as u64;
            written = usize::try_from((len - head.len() as u64) / bytes).unwrap_or(usize::MAX).min(frames);
        } else {
            file.set_len(0).map_err(failed)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.write_all(&head).map_err(failed)?;
        }
        // A frame that was cut short is written again.
        let end = (head.len() + written * frame_len * size_of::<f32>()) as u64;
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        Ok(FrameWriter { path, part, file, frames, frame_len, written })
    }

    /// Frames that are in the file.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Writes the next frames.
    ///
    /// # Errors
    /// [`Error::Shape`] when `frames` is not a whole number of frames or they go beyond the end, [`Error::Io`].
    pub fn append(&mut self, frames: &[f32]) -> Result<(), Error> {
        let n = frames.len().checked_div(self.frame_len).unwrap_or(0);
        if n * self.frame_len != frames.len() || n > self.frames - self.written {
            let left = self.frames - self.written;
            return Err(Error::shape("FrameWriter::append", &[left, self.frame_len], &[n, frames.len()]));
        }
        self.file.write_all(bytemuck::cast_slice(frames)).map_err(|e| Error::io(&self.part, e))?;
        self.written += n;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Error::Data`] when frames are missing, [`Error::Io`].
    pub fn finish(self) -> Result<(), Error> {
        if self.written != self.frames {
            let what = format!("{} of {} frames", self.written, self.frames);
            return Err(Error::Data { what, index: self.written });
        }
        self.file.sync_data().map_err(|e| Error::io(&self.part, e))?;
        fs::rename(&self.part, &self.path).map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::npy;
    use crate::tensor::Tensor;

    #[test]
    fn what_was_interrupted_anywhere_goes_on_to_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scan.npy");
        let all = Tensor::from_fn(&[2, 3, 4, 5], |i| (i[0] * 60 + i[1] * 20 + i[2] * 5 + i[3]) as f32);
        let open = |u| FrameWriter::open(&path, [2, 3, 4, 5], u);
        let frames = |from: usize, to: usize| &all.as_slice()[from * 20..to * 20];
        let mut writer = open(Unfinished::Replace).unwrap();
        writer.append(frames(0, 2)).unwrap();
        assert!(writer.append(&[0.0; 3]).is_err() && writer.append(&[0.0; 100]).is_err());
        assert!(writer.finish().is_err() && !path.exists());
        // A power cut in the middle of a frame, and in the middle of the header.
        let part = dir.path().join("scan.npy.part");
        let len = std::fs::metadata(&part).unwrap().len();
        OpenOptions::new().write(true).open(&part).unwrap().set_len(len - 7).unwrap();
        let mut writer = open(Unfinished::Continue).unwrap();
        assert_eq!(writer.written(), 1);
        writer.append(frames(1, 6)).unwrap();
        writer.finish().unwrap();
        assert_eq!(npy::read(&path).unwrap().into_real::<f32>().unwrap(), all);
        std::fs::write(&part, b"\x93NUM").unwrap();
        assert_eq!(open(Unfinished::Continue).unwrap().written(), 0);
        let other = FrameWriter::open(&path, [2, 3, 5, 4], Unfinished::Continue);
        assert!(matches!(other, Err(Error::Checkpoint { .. })));
        assert!(FrameWriter::open(&path, [usize::MAX, 2, 1, 1], Unfinished::Continue).is_err());
        assert!(FrameWriter::open(dir.path().join("none/scan.npy"), [1; 4], Unfinished::Continue).is_err());
    }
}
