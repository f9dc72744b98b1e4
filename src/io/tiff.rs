//! TIFF of 32-bit floating-point numbers or 16-bit counts: one image, or a stack of pages. Other programs of the field
//! read it without loss.

use std::io::{Seek, Write};
use std::path::Path;

use tiff::TiffError;
use tiff::encoder::{TiffEncoder, TiffKind, TiffValue, colortype};

use crate::error::Error;
use crate::io::file::replace;
use crate::tensor::Tensor;

/// Writes an image or a stack, uncompressed; the file appears under its name when it is complete. Beyond 4 GB it is a
/// BigTIFF.
///
/// # Shapes
/// `tensor` is (height, width), or (pages, height, width).
///
/// # Errors
/// - [`Error::Shape`] when the tensor has other axes, an axis of length 0 or one beyond 2³² − 1,
/// - [`Error::Io`] when the file cannot be written.
///
/// # References
/// TIFF 6.0 with sample format 3 (IEEE floating point).
///
/// # Examples
/// ```
/// use exitwave::io::tiff;
/// use exitwave::tensor::Tensor;
/// let path = std::env::temp_dir().join(format!("exitwave-doc-{}.tif", std::process::id()));
/// tiff::write(&path, &Tensor::zeros(&[2, 64, 48]))?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn write(path: impl AsRef<Path>, tensor: &Tensor<f32>) -> Result<(), Error> {
    write_as::<colortype::Gray32Float>(path.as_ref(), tensor)
}

/// Writes counts, as [`write()`] does.
///
/// # Shapes
/// `tensor` is (height, width), or (pages, height, width).
///
/// # Errors
/// As [`write()`].
pub fn write_u16(path: impl AsRef<Path>, tensor: &Tensor<u16>) -> Result<(), Error> {
    write_as::<colortype::Gray16>(path.as_ref(), tensor)
}

fn write_as<C: colortype::ColorType>(path: &Path, tensor: &Tensor<C::Inner>) -> Result<(), Error>
where
    [C::Inner]: TiffValue,
{
    let wrong = || Error::shape("tiff::write [pages, height, width]", &[1, 1, 1], tensor.dims());
    let (h, w) = match *tensor.dims() {
        [h, w] | [_, h, w] if !tensor.is_empty() => (h, w),
        _ => return Err(wrong()),
    };
    let (Ok(height), Ok(width)) = (u32::try_from(h), u32::try_from(w)) else { return Err(wrong()) };
    let pages = || tensor.as_slice().chunks_exact(h * w);
    // Tags and strip tables need little beside the samples; the margin is generous.
    let size = size_of::<C::Inner>() as u64;
    let big = (tensor.len() as u64) * size + (pages().len() as u64) * 65536 > u64::from(u32::MAX);
    let failed = |e| match e {
        TiffError::IoError(e) => Error::io(path, e),
        e => Error::io(path, std::io::Error::other(e)),
    };
    replace(path, |out| {
        if big {
            write_pages::<C, _, _>(&mut TiffEncoder::new_big(out).map_err(failed)?, width, height, pages())
                .map_err(failed)
        } else {
            write_pages::<C, _, _>(&mut TiffEncoder::new(out).map_err(failed)?, width, height, pages()).map_err(failed)
        }
    })
}

fn write_pages<'a, C: colortype::ColorType, W: Write + Seek, K: TiffKind>(
    encoder: &mut TiffEncoder<W, K>,
    width: u32,
    height: u32,
    pages: impl Iterator<Item = &'a [C::Inner]>,
) -> Result<(), TiffError>
where
    C::Inner: 'a,
    [C::Inner]: TiffValue,
{
    for page in pages {
        encoder.write_image::<C>(width, height, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiff::decoder::{Decoder, DecodingResult};

    #[test]
    fn stacks_come_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        for dims in [&[3, 5, 4][..], &[5, 4]] {
            let t = Tensor::from_fn(dims, |i| i.iter().fold(0.1f32, |a, &k| 7.3 * a - k as f32));
            write(&path, &t).unwrap();
            let mut decoder = Decoder::new(std::fs::File::open(&path).unwrap()).unwrap();
            let mut all = Vec::new();
            loop {
                assert_eq!(decoder.dimensions().unwrap(), (4, 5));
                let DecodingResult::F32(page) = decoder.read_image().unwrap() else { panic!("not 32-bit floats") };
                all.extend(page);
                if !decoder.more_images() {
                    break;
                }
                decoder.next_image().unwrap();
            }
            assert_eq!(all, t.as_slice());
        }
    }

    #[test]
    fn other_shapes_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        for dims in [&[4][..], &[0, 4], &[2, 2, 2, 2]] {
            let e = write(dir.path().join("a.tif"), &Tensor::zeros(dims));
            assert!(matches!(e, Err(Error::Shape { .. })), "{dims:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
