//! PNG pictures, 8 bits a channel.

use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::io::file::replace;

/// Writes a grey picture, 0 black, 255 white.
///
/// # Shapes
/// `pixels` is (height, width).
///
/// # Errors
/// - [`Error::Shape`] when `pixels` has another length, or a side is 0 or beyond 2³¹ − 1,
/// - [`Error::Io`] when the file cannot be written.
pub fn write_gray(path: impl AsRef<Path>, width: usize, height: usize, pixels: &[u8]) -> Result<(), Error> {
    write(path.as_ref(), width, height, png::ColorType::Grayscale, pixels)
}

/// Writes a colour picture (sRGB).
///
/// # Shapes
/// `pixels` is (height, width, 3): red, green, blue.
///
/// # Errors
/// As [`write_gray`].
///
/// # Examples
/// ```
/// use exitwave::io::png;
/// let dir = std::env::temp_dir();
/// let path = dir.join(format!("exitwave-doc-{}.png", std::process::id()));
/// png::write_rgb(&path, 2, 1, &[255, 0, 0, 0, 0, 255])?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn write_rgb(path: impl AsRef<Path>, width: usize, height: usize, pixels: &[u8]) -> Result<(), Error> {
    write(path.as_ref(), width, height, png::ColorType::Rgb, pixels)
}

fn write(path: &Path, width: usize, height: usize, color: png::ColorType, pixels: &[u8]) -> Result<(), Error> {
    let channels = color.samples();
    let side = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0 && n <= i32::MAX as u32);
    let (Some(w), Some(h)) = (side(width), side(height)) else {
        return Err(Error::shape("png::write: sides of 1 to 2147483647", &[1, 1], &[height, width]));
    };
    if width.checked_mul(height).and_then(|n| n.checked_mul(channels)) != Some(pixels.len()) {
        return Err(Error::shape("png::write", &[height, width, channels], &[pixels.len()]));
    }
    replace(path, |out| {
        let failed = |e: png::EncodingError| Error::io(path, e.into());
        let mut encoder = png::Encoder::new(out.by_ref(), w, h);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(pixels).map_err(failed)?;
        writer.finish().map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(path: &Path) -> (png::ColorType, u32, u32, Vec<u8>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        pixels.truncate(info.buffer_size());
        (info.color_type, info.width, info.height, pixels)
    }

    #[test]
    fn pictures_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let gray: Vec<u8> = (0..15).map(|i| i * 17).collect();
        write_gray(&path, 5, 3, &gray).unwrap();
        assert_eq!(read_back(&path), (png::ColorType::Grayscale, 5, 3, gray));
        let rgb: Vec<u8> = (0..18).map(|i| i * 13).collect();
        write_rgb(&path, 3, 2, &rgb).unwrap();
        assert_eq!(read_back(&path), (png::ColorType::Rgb, 3, 2, rgb));
    }

    #[test]
    fn wrong_sizes_are_errors_and_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        assert!(matches!(write_gray(&path, 2, 2, &[0; 3]), Err(Error::Shape { .. })));
        assert!(matches!(write_rgb(&path, 0, 2, &[]), Err(Error::Shape { .. })));
        assert!(matches!(write_rgb(&path, usize::MAX, 2, &[]), Err(Error::Shape { .. })));
        assert!(!path.exists());
    }
}
