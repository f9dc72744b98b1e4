//! A 4D data set in an npy file, read frame by frame.

use std::io::Read;
use std::path::Path;

use crate::error::Error;
use crate::io::file::FileAt;
use crate::io::frames::{frame_dtype, frame_shape, read_counts, read_widened};
use crate::io::layout::Element;
use crate::io::npy::{Header, read_header};
use crate::source::{DType, FrameSource, check_request};

/// A data set in an npy file that is read when frames are asked for, by positioned reads: a file that is cut short
/// while it is open gives an error.
///
/// Several threads may read at once; each call has a buffer of 64 KiB of its own.
#[derive(Debug)]
pub struct NpyFrames {
    file: FileAt,
    offset: u64,
    shape: [usize; 4],
    element: Element,
    dtype: DType,
    swapped: bool,
}

impl NpyFrames {
    /// Opens a file of 4 axes `[scan_y, scan_x, det_y, det_x]`, or of 3 `[frame, det_y, det_x]`.
    ///
    /// # Errors
    /// - as [`crate::io::npy::read`],
    /// - [`Error::Unsupported`] for complex elements, Fortran order and other numbers of axes: read those whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        NpyFrames::new(path.as_ref(), FileAt::open(path.as_ref())?)
    }

    /// The same through a memory map, which saves a copy when frames are read many times.
    ///
    /// The file must not be shortened or rewritten, by this program or another, as long as the result lives: a
    /// shortened file kills the process at the next read, a rewritten one gives a mixture of old and new values. Take
    /// [`NpyFrames::open`] for files that an acquisition program may still touch.
    ///
    /// # Errors
    /// As [`NpyFrames::open`].
    pub fn open_mapped(path: impl AsRef<Path>) -> Result<Self, Error> {
        NpyFrames::new(path.as_ref(), FileAt::open_mapped(path.as_ref())?)
    }

    fn new(path: &Path, file: FileAt) -> Result<Self, Error> {
        let header = read_header(&mut Cursor { file: &file, at: 0 }, file.len(), path)?;
        if header.fortran {
            return Err(Error::Unsupported { what: "frames of an npy file in Fortran order".into() });
        }
        let shape = frame_shape("NpyFrames::open [scan_y, scan_x, det_y, det_x]", &header.dims)?;
        let element = header.element()?;
        let dtype = frame_dtype(element.name())?;
        let Header { descr, dims, offset, swapped, .. } = header;
        let source = NpyFrames { file, offset: offset as u64, shape, element, dtype, swapped };
        let needed = (shape.iter().product::<usize>() as u64) * element.size() as u64;
        let there = source.file.len().saturating_sub(source.offset);
        if needed > there {
            let reason = format!("shape {dims:?} of '{descr}' needs {needed} bytes, {there} follow the header");
            return Err(Error::format("npy", path, source.offset, reason));
        }
        Ok(source)
    }
}

/// The start of the file as a stream, for the header.
struct Cursor<'a> {
    file: &'a FileAt,
    at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min(usize::try_from(self.file.len() - self.at).unwrap_or(usize::MAX));
        self.file.read_exact_at(self.at, &mut out[..n]).map_err(std::io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl FrameSource for NpyFrames {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The stored type; half precision is reported as `F32`, as which it is read.
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape, first, out.len())?;
        let from = self.offset + (first * self.frame_len() * self.element.size()) as u64;
        read_widened(self.element, self.swapped, from, out, |at, bytes| self.file.read_exact_at(at, bytes))
    }

    fn read_counts(&self, first: usize, out: &mut [u16]) -> Option<Result<(), Error>> {
        if self.element != Element::U16 {
            return None;
        }
        Some(check_request(self.shape, first, out.len()).and_then(|_| {
            let from = self.offset + (first * self.frame_len() * 2) as u64;
            read_counts(self.swapped, out, |bytes| self.file.read_exact_at(from, bytes))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::npy;
    use crate::tensor::Tensor;

    #[test]
    fn frames_of_a_file_are_those_of_the_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scan.npy");
        // A frame of 300 × 301 f64 needs more than one block.
        let t = Tensor::from_fn(&[2, 2, 300, 301], |i| (i[0] * 7 + i[1] * 5 + i[2] * 3 + i[3]) as f64);
        npy::write(&path, &t).unwrap();
        for source in [NpyFrames::open(&path).unwrap(), NpyFrames::open_mapped(&path).unwrap()] {
            assert_eq!((source.shape(), source.dtype()), ([2, 2, 300, 301], DType::F64));
            let (mut a, mut b) = (vec![0.0; 2 * 300 * 301], vec![0.0; 2 * 300 * 301]);
            for first in 0..3 {
                source.read_frames(first, &mut a).unwrap();
                t.read_frames(first, &mut b).unwrap();
                assert_eq!(a, b);
            }
            assert!(matches!(source.read_frames(3, &mut a), Err(Error::Shape { .. })));
        }
    }

    #[test]
    fn every_stored_type_is_widened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        for (descr, bytes) in [
            ("|u1", vec![1, 2]),
            ("|b1", vec![1, 0]),
            ("|i1", vec![1, 255]),
            (">u2", vec![0, 1, 1, 0]),
            ("<i2", vec![1, 0, 0, 0x80]),
            (">f2", vec![0x3c, 0, 0xc0, 0]),
            (">f4", [1.5f32.to_be_bytes(), (-2.5f32).to_be_bytes()].concat()),
            ("<u8", [1u64.to_le_bytes(), 77u64.to_le_bytes()].concat()),
        ] {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 1, 1)}}");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.as_bytes());
            file.extend(bytes);
            std::fs::write(&path, &file).unwrap();
            let mut out = [0.0; 2];
            let source = NpyFrames::open(&path).unwrap();
            source.read_frames(0, &mut out).unwrap();
            assert_eq!(npy::read(&path).unwrap().into_real::<f32>().unwrap().as_slice(), &out, "{descr}");
        }
    }

    #[test]
    fn counts_of_16_bits_are_lent_as_they_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let t = Tensor::from_fn(&[2, 3, 5, 7], |i| (i[0] * 9001 + i[1] * 701 + i[2] * 7 + i[3]) as u16);
        npy::write(&path, &t).unwrap();
        let little = std::fs::read(&path).unwrap();
        let mut big = little.clone();
        let descr = big.windows(3).position(|w| w == b"<u2").unwrap();
        big[descr] = b'>';
        let data = big.len() - 2 * t.len();
        big[data..].chunks_mut(2).for_each(|w| w.swap(0, 1));
        for bytes in [little, big] {
            std::fs::write(&path, bytes).unwrap();
            let set = crate::io::open(&path).and_then(|f| f.frames(0)).unwrap();
            let sources: [&dyn FrameSource; 3] = [&NpyFrames::open(&path).unwrap(), &set, &t];
            for source in sources {
                let mut out = [0; 3 * 35];
                source.read_counts(2, &mut out).unwrap().unwrap();
                assert_eq!(out, t.as_slice()[2 * 35..5 * 35]);
                assert!(matches!(source.read_counts(4, &mut out), Some(Err(Error::Shape { .. }))));
            }
        }
        npy::write(&path, &Tensor::<i16>::zeros(&[2, 3, 5, 7])).unwrap();
        let set = crate::io::open(&path).and_then(|f| f.frames(0)).unwrap();
        let sources: [&dyn FrameSource; 3] =
            [&NpyFrames::open(&path).unwrap(), &set, &Tensor::<i16>::zeros(&[2, 3, 5, 7])];
        assert!(sources.iter().all(|s| s.read_counts(0, &mut [0; 35]).is_none()));
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_open_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        npy::write(&path, &Tensor::<u16>::zeros(&[4, 8, 8])).unwrap();
        let source = NpyFrames::open(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(200).unwrap();
        assert!(matches!(source.read_frames(2, &mut [0.0; 64]), Err(Error::Io { .. })));
        assert!(matches!(NpyFrames::open(&path), Err(Error::Format { .. })));
    }
}
