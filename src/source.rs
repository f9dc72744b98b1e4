//! Data that need not fit into memory: frames that are read when they are asked for.

use std::any::Any;

use crate::error::Error;
use crate::shape::checked_len;
use crate::tensor::Tensor;

/// Element type of stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 8-bit unsigned.
    U8,
    /// 8-bit signed.
    I8,
    /// 16-bit unsigned.
    U16,
    /// 16-bit signed.
    I16,
    /// 32-bit unsigned.
    U32,
    /// 32-bit signed.
    I32,
    /// 64-bit unsigned.
    U64,
    /// 64-bit signed.
    I64,
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
}

impl DType {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }
}

/// A 4D-STEM data set `[scan_y, scan_x, det_y, det_x]`, frame by frame. Frames are numbered in scan order,
/// `scan_y · n_x + scan_x`.
///
/// A source may be read from several threads at a time, each with its own buffer: `read_frames` takes `&self`.
pub trait FrameSource: Send + Sync {
    /// `[scan_y, scan_x, det_y, det_x]`. Positions that form no grid: `[1, n, det_y, det_x]`.
    fn shape(&self) -> [usize; 4];

    /// How the elements are stored.
    fn dtype(&self) -> DType;

    /// Reads whole consecutive frames: as many as fit into `out`, starting with frame `first`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `out` is not a whole number of frames or they go beyond the end, and whatever reading
    /// gives.
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error>;

    /// The same as 16-bit counts, for sources that store them so and can give them without a conversion: half the
    /// bytes. `None`, the default, says that this one cannot, whatever is asked for.
    ///
    /// # Errors
    /// As [`FrameSource::read_frames`].
    fn read_counts(&self, first: usize, out: &mut [u16]) -> Option<Result<(), Error>> {
        let _ = (first, out);
        None
    }

    /// Number of frames; `usize::MAX` where the shape declares more.
    fn frames(&self) -> usize {
        self.shape()[0].saturating_mul(self.shape()[1])
    }

    /// Elements in a frame; `usize::MAX` where the shape declares more.
    fn frame_len(&self) -> usize {
        self.shape()[2].saturating_mul(self.shape()[3])
    }
}

/// Checks the arguments of [`FrameSource::read_frames`]; returns how many frames are asked for.
///
/// # Errors
/// - [`Error::Shape`] when `out_len` is not a whole number of frames, or they go beyond the end,
/// - [`Error::OutOfMemory`] for a shape whose number of frames, or of elements in a frame, overflows `usize`.
pub fn check_request(shape: [usize; 4], first: usize, out_len: usize) -> Result<usize, Error> {
    let (frames, frame) = (checked_len(&shape[..2])?, checked_len(&shape[2..])?);
    let n = out_len.checked_div(frame).unwrap_or(0);
    if n * frame != out_len || first.checked_add(n).is_none_or(|end| end > frames) {
        return Err(Error::shape(
            "read_frames [first + n, frame]",
            &[frames, frame],
            &[first.saturating_add(n), out_len],
        ));
    }
    Ok(n)
}

/// Element types that an in-memory data set may have.
pub trait Element: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// Its name.
    const DTYPE: DType;
    /// The value as `f32`, rounded where it must be.
    fn to_f32(self) -> f32;
}

macro_rules! element {
    ($($t:ident => $d:ident),+) => { $(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            #[inline]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    )+ };
}
element!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64);

/// A data set in memory, of any element type: a tensor of 4 axes, or of 3 (a list of frames).
impl<E: Element> FrameSource for Tensor<E> {
    /// # Panics
    /// If the tensor has neither 3 nor 4 axes.
    fn shape(&self) -> [usize; 4] {
        match *self.dims() {
            [n, y, x] => [1, n, y, x],
            [sy, sx, y, x] => [sy, sx, y, x],
            ref other => panic!("FrameSource: a data set has 4 axes or 3, got {other:?}"),
        }
    }

    fn dtype(&self) -> DType {
        E::DTYPE
    }

    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        check_request(self.shape(), first, out.len())?;
        let start = first * self.frame_len();
        for (o, &v) in out.iter_mut().zip(&self.as_slice()[start..]) {
            *o = v.to_f32();
        }
        Ok(())
    }

    fn read_counts(&self, first: usize, out: &mut [u16]) -> Option<Result<(), Error>> {
        let counts = (self as &dyn Any).downcast_ref::<Tensor<u16>>()?;
        let start = first.saturating_mul(self.frame_len());
        Some(check_request(self.shape(), first, out.len()).map(|_| {
            out.copy_from_slice(&counts.as_slice()[start..start + out.len()]);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_numbered_in_scan_order() {
        let t = Tensor::from_fn(&[2, 3, 2, 2], |i| (i[0] * 1000 + i[1] * 100 + i[2] * 10 + i[3]) as u16);
        let mut out = [0.0; 8];
        t.read_frames(2, &mut out).unwrap();
        assert_eq!(out, [200.0, 201.0, 210.0, 211.0, 1000.0, 1001.0, 1010.0, 1011.0]);
    }

    #[test]
    fn requests_beyond_the_end_are_errors() {
        let t = Tensor::<u8>::zeros(&[2, 2, 2, 2]);
        assert!(t.read_frames(3, &mut [0.0; 8]).is_err());
        assert!(t.read_frames(usize::MAX, &mut [0.0; 4]).is_err());
        assert!(t.read_frames(0, &mut [0.0; 3]).is_err());
        assert!(t.read_frames(4, &mut []).is_ok());
        let huge = 1 << (usize::BITS - 1);
        assert!(matches!(check_request([huge, 2, 1, 1], 0, 1), Err(Error::OutOfMemory { .. })));
    }
}
