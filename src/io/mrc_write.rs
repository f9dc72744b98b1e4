//! MRC: writing of modes 0, 1, 2 and 6.

use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::io::array::ArrayRef;
use crate::io::file::replace;
use crate::units::Length;

/// Writes an image, a stack or a volume. The element type gives the mode: `i8` 0, `i16` 1, `f32` 2, `u16` 6.
///
/// # Shapes
/// `array` is (height, width) or (sections, height, width).
///
/// # Units
/// `voxel` is the distance of two elements along `[z, y, x]`; zero, where it is not known.
///
/// # Errors
/// - [`Error::Unsupported`] for other element types,
/// - [`Error::Shape`] for other shapes, and sides of 0 or beyond 2³¹ − 1,
/// - [`Error::Param`] when a length is negative or not finite,
/// - [`Error::Io`].
///
/// # References
/// As [`crate::io::open`]: MRC2014.
///
/// # Examples
/// ```
/// use exitwave::io::{self, mrc};
/// use exitwave::tensor::Tensor;
/// use exitwave::units::Length;
/// let path = std::env::temp_dir().join(format!("exitwave-doc-{}.mrc", std::process::id()));
/// let stack = Tensor::from_fn(&[3, 4, 5], |i| (100 * i[0] + 10 * i[1] + i[2]) as u16);
/// mrc::write(&path, &stack, [Length::ZERO, Length::nm(0.2), Length::nm(0.2)])?;
/// let file = io::open(&path)?;
/// assert_eq!(file.read(0)?, stack.into());
/// assert!((file.info(0)?.axes[2].length().unwrap().to_nm() - 0.2).abs() < 1e-7);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn write<'a>(path: impl AsRef<Path>, array: impl Into<ArrayRef<'a>>, voxel: [Length; 3]) -> Result<(), Error> {
    let (path, array) = (path.as_ref(), array.into());
    let mode = match array.descr {
        "i1" => 0,
        "i2" => 1,
        "f4" => 2,
        "u2" => 6,
        other => return Err(Error::Unsupported { what: format!("MRC files of elements '{other}'") }),
    };
    let wrong = || Error::shape("mrc::write [sections, height, width]", &[1, 1, 1], array.dims);
    let (n, h, w, volume) = match *array.dims {
        [h, w] => (1, h, w, false),
        [n, h, w] => (n, h, w, true),
        _ => return Err(wrong()),
    };
    let side = |n: usize| i32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(wrong);
    let (nz, ny, nx) = (side(n)?, side(h)?, side(w)?);
    if let Some(v) = voxel.iter().find(|v| !(v.is_finite() && v.to_angstrom() >= 0.0)) {
        return Err(Error::param("voxel", v, "lengths that are finite and not negative"));
    }

    let mut header = [0u8; 1024];
    let mut put = |at: usize, bytes: [u8; 4]| header[at..at + 4].copy_from_slice(&bytes);
    let dims = [nx, ny, nz];
    for (k, v) in [nx, ny, nz, mode].into_iter().enumerate() {
        put(4 * k, v.to_ne_bytes());
    }
    let [z, y, x] = voxel.map(Length::to_angstrom);
    for (k, (n, step)) in dims.into_iter().zip([x, y, z]).enumerate() {
        put(28 + 4 * k, n.to_ne_bytes());
        put(40 + 4 * k, ((f64::from(n) * step) as f32).to_ne_bytes());
        put(52 + 4 * k, 90f32.to_ne_bytes());
        put(64 + 4 * k, (k as i32 + 1).to_ne_bytes());
    }
    let (min, max, mean, deviation) = statistics(array);
    for (at, v) in [(76, min), (80, max), (84, mean), (216, deviation)] {
        put(at, (v as f32).to_ne_bytes());
    }
    // Space group 1 is a volume, 0 a stack of images: a stack has no length along z.
    put(88, i32::from(volume && z > 0.0).to_ne_bytes());
    put(108, 20141i32.to_ne_bytes());
    put(208, *b"MAP ");
    put(212, if cfg!(target_endian = "big") { [0x11, 0x11, 0, 0] } else { [0x44, 0x44, 0, 0] });
    put(220, 1i32.to_ne_bytes());
    let label = b"written by exitwave";
    header[224..224 + label.len()].copy_from_slice(label);

    replace(path, |out| {
        let mut all = |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::io(path, e));
        all(&header)?;
        all(array.bytes)
    })
}

/// Minimum, maximum, mean and standard deviation.
fn statistics(array: ArrayRef<'_>) -> (f64, f64, f64, f64) {
    fn of(values: impl Iterator<Item = f64> + Clone) -> (f64, f64, f64, f64) {
        let (mut min, mut max, mut sum, mut n) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
        for v in values.clone() {
            (min, max, sum, n) = (min.min(v), max.max(v), sum + v, n + 1.0);
        }
        let mean = sum / n;
        let square: f64 = values.map(|v| (v - mean) * (v - mean)).sum();
        (min, max, mean, (square / n).sqrt())
    }
    let b = array.bytes;
    match array.descr {
        "i1" => of(b.iter().map(|&v| f64::from(v as i8))),
        "i2" => of(b.as_chunks::<2>().0.iter().map(|&w| f64::from(i16::from_ne_bytes(w)))),
        "u2" => of(b.as_chunks::<2>().0.iter().map(|&w| f64::from(u16::from_ne_bytes(w)))),
        _ => of(b.as_chunks::<4>().0.iter().map(|&w| f64::from(f32::from_ne_bytes(w)))),
    }
}
