//! Measured patterns, as amplitudes in the order that the kernels read.

use crate::error::Error;
use crate::real::Real;
use crate::shape::{Limits, checked_len, try_reserved, try_zeroed};
use crate::source::FrameSource;
use crate::tensor::Tensor;

/// Where the detector has its zero frequency (the direct beam).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroFrequency {
    /// Pixel (0, 0), as a transform leaves it.
    Corner,
    /// Pixel (ny/2, nx/2), rounded down: as a picture shows it.
    Center,
    /// This pixel, `[y, x]`.
    Pixel([usize; 2]),
}

impl ZeroFrequency {
    /// The pixel `[y, x]` on a detector of `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for a pixel outside of it.
    pub fn pixel(self, [ny, nx]: [usize; 2]) -> Result<[usize; 2], Error> {
        let at = match self {
            ZeroFrequency::Corner => [0, 0],
            ZeroFrequency::Center => [ny / 2, nx / 2],
            ZeroFrequency::Pixel(p) => p,
        };
        if at[0] < ny && at[1] < nx {
            Ok(at)
        } else {
            Err(Error::param("zero", format!("{at:?}"), "a pixel of the detector"))
        }
    }
}

/// Diffraction patterns as amplitudes a = √I, zero frequency first, each stored transposed, (det_x, det_y): the order
/// in which [`crate::fft::Fft2::forward_into_transposed`] leaves a spectrum. Pixels without a measurement hold −1.
#[derive(Clone, Debug)]
pub struct Patterns<T: Real> {
    amplitudes: Vec<T>,
    count: usize,
    // [ny, nx] of the detector.
    dims: [usize; 2],
    total: f64,
    brightest: f64,
}

impl<T: Real> Patterns<T> {
    /// Reads a data set frame by frame; the source may be dropped afterwards. `mask` (det_y, det_x), as the detector is
    /// stored, is `true` where a pixel is good; `None`: all are.
    ///
    /// # Errors
    /// - [`Error::Param`] for no frames, an empty detector, or a zero frequency outside of it,
    /// - [`Error::Shape`] for a mask of another size,
    /// - [`Error::Data`] for a NaN, an infinity or a negative intensity in a good pixel, naming its flat index, and for
    ///   data without a single count,
    /// - [`Error::OverBudget`] when the amplitudes and one frame need more than `limits`,
    /// - [`Error::OutOfMemory`] when they need more than there is, whatever reading gives.
    pub fn from_source(
        source: &dyn FrameSource,
        zero: ZeroFrequency,
        mask: Option<&[bool]>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let [sy, sx, ny, nx] = source.shape();
        let len = checked_len(&[sy, sx, ny, nx])?;
        let (count, order) = checked(sy * sx, [ny, nx], zero, mask)?;
        let bytes = |len: usize, size: usize| (len as u64).saturating_mul(size as u64);
        limits.check(bytes(len, size_of::<T>()).saturating_add(bytes(ny * nx, size_of::<f32>())))?;
        // Grows as frames are read: a source that declares more than it has ends at the first that is missing.
        let mut amplitudes = try_reserved::<T>(len)?;
        let mut frame = try_zeroed::<f32>(ny * nx)?;
        let (mut total, mut brightest) = (0.0, 0.0f64);
        for i in 0..count {
            source.read_frames(i, &mut frame)?;
            amplitudes.resize((i + 1) * ny * nx, T::ZERO);
            let sum = store(&frame, &mut amplitudes[i * ny * nx..], [ny, nx], order, mask, i)?;
            total += sum;
            brightest = brightest.max(sum);
        }
        Patterns { amplitudes, count, dims: [ny, nx], total, brightest }.with_counts()
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no pattern; never true for a value that a constructor returned.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `[det_y, det_x]`.
    pub fn dims(&self) -> [usize; 2] {
        self.dims
    }

    /// Sum of all intensities in good pixels.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Sum of the brightest pattern.
    pub fn brightest(&self) -> f64 {
        self.brightest
    }

    /// The amplitudes of pattern `i`, (det_x, det_y).
    ///
    /// # Panics
    /// If `i` is out of range.
    #[inline]
    pub fn amplitudes(&self, i: usize) -> &[T] {
        let n = self.dims[0] * self.dims[1];
        &self.amplitudes[i * n..(i + 1) * n]
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.amplitudes.len() * size_of::<T>()) as u64
    }

    fn with_counts(self) -> Result<Self, Error> {
        if self.total > 0.0 {
            Ok(self)
        } else {
            Err(Error::Data { what: "all patterns are zero: there is nothing to reconstruct".into(), index: 0 })
        }
    }
}

impl Patterns<f32> {
    /// Takes a data set (of 4 axes, or 3) over and converts it in place: no second copy is ever held.
    ///
    /// # Errors
    /// As [`Patterns::from_source`], without the budget.
    pub fn from_tensor(data: Tensor<f32>, zero: ZeroFrequency, mask: Option<&[bool]>) -> Result<Self, Error> {
        if !matches!(data.dims().len(), 3 | 4) {
            return Err(Error::shape("Patterns::from_tensor [scan_y, scan_x, det_y, det_x]", &[0; 4], data.dims()));
        }
        let [sy, sx, ny, nx] = data.shape();
        let (count, order) = checked(sy * sx, [ny, nx], zero, mask)?;
        let mut amplitudes = data.into_vec();
        let mut frame = try_zeroed::<f32>(ny * nx)?;
        let (mut total, mut brightest) = (0.0, 0.0f64);
        for (i, a) in amplitudes.chunks_mut(ny * nx).enumerate() {
            frame.copy_from_slice(a);
            let sum = store(&frame, a, [ny, nx], order, mask, i)?;
            total += sum;
            brightest = brightest.max(sum);
        }
        Patterns { amplitudes, count, dims: [ny, nx], total, brightest }.with_counts()
    }
}

/// Checks what all constructors are given; returns the number of frames and the pixel of zero frequency.
fn checked(
    count: usize,
    [ny, nx]: [usize; 2],
    zero: ZeroFrequency,
    mask: Option<&[bool]>,
) -> Result<(usize, [usize; 2]), Error> {
    if count == 0 || ny == 0 || nx == 0 {
        return Err(Error::param("patterns", format!("{count} of {ny} x {nx}"), "at least one pattern of one pixel"));
    }
    let at = zero.pixel([ny, nx])?;
    if let Some(mask) = mask
        && mask.len() != ny * nx
    {
        return Err(Error::shape("mask", &[ny, nx], &[mask.len()]));
    }
    Ok((count, at))
}

/// Writes one frame of intensities as amplitudes; returns its sum.
fn store<T: Real>(
    frame: &[f32],
    a: &mut [T],
    [ny, nx]: [usize; 2],
    [cy, cx]: [usize; 2],
    mask: Option<&[bool]>,
    index: usize,
) -> Result<f64, Error> {
    let mut sum = 0.0;
    for y in 0..ny {
        let iy = (y + ny - cy) % ny;
        for x in 0..nx {
            let ix = (x + nx - cx) % nx;
            let v = frame[y * nx + x];
            let good = mask.is_none_or(|m| m[y * nx + x]);
            a[ix * ny + iy] = if !good {
                T::of(-1.0)
            } else if v >= 0.0 && v.is_finite() {
                sum += f64::from(v);
                T::of(f64::from(v)).sqrt()
            } else {
                let what = format!("intensity {v} (expected finite and >= 0) of pixel [{y}, {x}] in pattern {index}");
                return Err(Error::Data { what, index: index * ny * nx + y * nx + x });
            };
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_frequency_is_brought_to_the_corner() {
        let mut data = Tensor::<f32>::zeros(&[1, 1, 5, 4]);
        data.as_mut_slice()[2 * 4 + 2] = 9.0;
        data.as_mut_slice()[2 * 4 + 3] = 4.0;
        let read = |zero| Patterns::<f64>::from_source(&data, zero, None, Limits::default()).unwrap();
        let p = read(ZeroFrequency::Center);
        assert_eq!((p.amplitudes(0)[0], p.amplitudes(0)[5]), (3.0, 2.0));
        assert_eq!(read(ZeroFrequency::Pixel([2, 2])).amplitudes(0), p.amplitudes(0));
        assert_eq!(read(ZeroFrequency::Corner).amplitudes(0)[2 * 5 + 2], 3.0);
        assert_eq!(p.total(), 13.0);
        let q = Patterns::from_tensor(data, ZeroFrequency::Center, None).unwrap();
        assert!(q.amplitudes(0).iter().zip(p.amplitudes(0)).all(|(&a, &b)| f64::from(a) == b));
    }

    #[test]
    fn bad_values_are_named_by_their_place() {
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            let mut data = Tensor::<f32>::full(&[2, 1, 2, 2], 1.0);
            data.as_mut_slice()[6] = bad;
            let mut mask = [true; 4];
            let read = |mask: Option<&[bool]>| Patterns::from_tensor(data.clone(), ZeroFrequency::Corner, mask);
            assert!(matches!(read(None), Err(Error::Data { index: 6, .. })));
            assert!(matches!(read(Some(&[true; 3])), Err(Error::Shape { .. })));
            mask[2] = false;
            assert_eq!(read(Some(&mask)).unwrap().total(), 6.0);
        }
    }

    /// Declares any shape, and has one frame.
    struct Liar([usize; 4]);

    impl FrameSource for Liar {
        fn shape(&self) -> [usize; 4] {
            self.0
        }
        fn dtype(&self) -> crate::source::DType {
            crate::source::DType::U8
        }
        fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
            out.fill(1.0);
            if first == 0 { Ok(()) } else { Err(Error::Data { what: "no such frame".into(), index: first }) }
        }
    }

    #[test]
    fn a_huge_declared_shape_is_an_error_before_it_is_an_allocation() {
        let read = |shape, limits| Patterns::<f64>::from_source(&Liar(shape), ZeroFrequency::Corner, None, limits);
        let half = 1 << (usize::BITS / 2);
        for shape in [[half, half, 1, 1], [1, 1, half, half], [half, 1, half, 1], [usize::MAX; 4]] {
            assert!(matches!(read(shape, Limits::default()), Err(Error::OutOfMemory { .. })), "{shape:?}");
        }
        // Fits into `usize` as a number, but not as bytes.
        let shape = [1, usize::MAX / 16, 4, 2];
        assert!(matches!(read(shape, Limits { bytes: 1 << 40 }), Err(Error::OverBudget { .. })));
        assert!(matches!(read(shape, Limits::default()), Err(Error::OutOfMemory { .. })));
        // Eight gigabytes declared, of which nothing is touched.
        assert!(matches!(read([1, 1 << 20, 32, 32], Limits::default()), Err(Error::Data { index: 1, .. })));
        assert!(read([1, 1, 3, 3], Limits { bytes: 9 * 8 + 9 * 4 }).is_ok());
        assert!(matches!(read([1, 1, 3, 3], Limits { bytes: 9 * 8 + 9 * 4 - 1 }), Err(Error::OverBudget { .. })));
    }

    #[test]
    fn nothing_measured_is_an_error() {
        let read = |dims: &[usize], zero| Patterns::from_tensor(Tensor::zeros(dims), zero, None);
        assert!(matches!(read(&[2, 2, 3, 3], ZeroFrequency::Center), Err(Error::Data { .. })));
        assert!(matches!(read(&[0, 2, 3, 3], ZeroFrequency::Center), Err(Error::Param { .. })));
        assert!(matches!(read(&[3, 3], ZeroFrequency::Center), Err(Error::Shape { .. })));
        assert!(matches!(read(&[2, 3, 3], ZeroFrequency::Pixel([3, 0])), Err(Error::Param { .. })));
    }
}
