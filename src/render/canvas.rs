//! The picture: 8-bit red, green and blue, with the few things that can be drawn on it.

use std::path::Path;

use super::font::{self, Segment};
use crate::error::Error;
use crate::shape::{Limits, checked_len, try_zeroed};

/// Colour of text and axes: not quite black.
pub const INK: [u8; 3] = [34, 34, 34];
/// Colour of grid lines and of frames around images.
pub const FAINT: [u8; 3] = [214, 214, 214];
/// Paper.
pub const WHITE: [u8; 3] = [255, 255, 255];

/// A picture.
///
/// # Shapes
/// `data` is `[height, width, 3]`, rows from the top, red first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Colours, `3 × width × height` bytes.
    pub data: Vec<u8>,
}

/// How text is placed on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// The point is at the left end of the baseline.
    Left,
    /// The point is in the middle of the baseline.
    Center,
    /// The point is at the right end of the baseline.
    Right,
}

/// The direction of a line of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Left to right.
    None,
    /// Bottom to top, for the axis on the left.
    Left,
}

/// The look of a line of text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ink {
    pub size: f64,
    /// Extra width of the pen relative to its normal width: 1 is regular, 1.4 is bold.
    pub weight: f64,
    pub color: [u8; 3],
}

/// A box in whole pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Rgb {
    /// A picture of one colour.
    ///
    /// # Units
    /// Pixels.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty picture, [`Error::OverBudget`] when it needs more than `limits`, and
    /// [`Error::OutOfMemory`].
    pub fn new(width: usize, height: usize, color: [u8; 3], limits: Limits) -> Result<Self, Error> {
        if width == 0 || height == 0 {
            return Err(Error::param("width × height", format_args!("{width} × {height}"), "at least one pixel"));
        }
        let len = checked_len(&[height, width, 3])?;
        limits.check(len as u64)?;
        let mut data: Vec<u8> = try_zeroed(len)?;
        for pixel in data.chunks_exact_mut(3) {
            pixel.copy_from_slice(&color);
        }
        Ok(Rgb { width, height, data })
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// Outside the picture.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "({x}, {y}) is outside {} × {}", self.width, self.height);
        let i = 3 * (y * self.width + x);
        [self.data[i], self.data[i + 1], self.data[i + 2]]
    }

    /// Writes a PNG file with 8 bits a channel.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` does not fit `width` and `height`, [`Error::Io`] when the file cannot be written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        crate::io::png::write_rgb(path, self.width, self.height, &self.data)
    }

    /// Mixes `color` into a pixel, by `alpha` from 0 to 1. Outside the picture nothing happens.
    pub(crate) fn blend(&mut self, x: i64, y: i64, color: [u8; 3], alpha: f64) {
        if x < 0 || y < 0 || x >= self.width as i64 || y >= self.height as i64 {
            return;
        }
        let i = 3 * (y as usize * self.width + x as usize);
        for (old, new) in self.data[i..i + 3].iter_mut().zip(color) {
            *old = (f64::from(*old) * (1.0 - alpha) + f64::from(new) * alpha).round() as u8;
        }
    }

    /// Fills a box, as far as it lies within the picture.
    pub(crate) fn fill(&mut self, r: Rect, color: [u8; 3]) {
        for y in r.y..(r.y + r.height).min(self.height) {
            for x in r.x..(r.x + r.width).min(self.width) {
                let i = 3 * (y * self.width + x);
                self.data[i..i + 3].copy_from_slice(&color);
            }
        }
    }

    /// Draws the outline of a box, `thick` pixels wide, just outside it.
    pub(crate) fn frame(&mut self, r: Rect, thick: usize, color: [u8; 3]) {
        let (x, y) = (r.x.saturating_sub(thick), r.y.saturating_sub(thick));
        let (width, height) = (r.width + 2 * thick, r.height + 2 * thick);
        self.fill(Rect { x, y, width, height: thick }, color);
        self.fill(Rect { x, y: y + height - thick, width, height: thick }, color);
        self.fill(Rect { x, y, width: thick, height }, color);
        self.fill(Rect { x: x + width - thick, y, width: thick, height }, color);
    }

    /// Copies another picture onto this one, with its top left corner at (x, y).
    pub(crate) fn paste(&mut self, picture: &Rgb, x: usize, y: usize) {
        for row in 0..picture.height.min(self.height.saturating_sub(y)) {
            let n = picture.width.min(self.width.saturating_sub(x));
            let to = 3 * ((y + row) * self.width + x);
            let from = 3 * row * picture.width;
            self.data[to..to + 3 * n].copy_from_slice(&picture.data[from..from + 3 * n]);
        }
    }

    /// Draws straight pieces with a round pen of the given width, smoothly, within `clip`. Where pieces overlap, they
    /// do not darken each other.
    pub(crate) fn stroke(&mut self, segments: &[Segment], pen: f64, color: [u8; 3], clip: Rect) {
        let clip = Rect {
            width: clip.width.min(self.width.saturating_sub(clip.x)),
            height: clip.height.min(self.height.saturating_sub(clip.y)),
            ..clip
        };
        // Only the part of the clip that the strokes can reach gets a mask.
        let reach = 0.5 * pen + 1.0;
        let [mut x0, mut y0, mut x1, mut y1] = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
        for p in segments.iter().flat_map(|s| [s.from, s.to]) {
            (x0, y0, x1, y1) = (x0.min(p[0]), y0.min(p[1]), x1.max(p[0]), y1.max(p[1]));
        }
        let low = |v: f64, from: usize| ((v - reach).floor().max(from as f64)) as usize;
        let high = |v: f64, to: usize| ((v + reach).ceil().clamp(0.0, to as f64)) as usize;
        let (x0, y0) = (low(x0, clip.x), low(y0, clip.y));
        let (x1, y1) = (high(x1, clip.x + clip.width), high(y1, clip.y + clip.height));
        if x0 >= x1 || y0 >= y1 {
            return;
        }
        let width = x1 - x0;
        let mut mask = vec![0f32; width * (y1 - y0)];
        for s in segments {
            let rows = low(s.from[1].min(s.to[1]), y0)..high(s.from[1].max(s.to[1]), y1);
            let columns = low(s.from[0].min(s.to[0]), x0)..high(s.from[0].max(s.to[0]), x1);
            for y in rows {
                for x in columns.clone() {
                    let covered = (0.5 * pen + 0.5 - distance(s, [x as f64, y as f64])).clamp(0.0, 1.0) as f32;
                    let old = &mut mask[(y - y0) * width + x - x0];
                    *old = old.max(covered);
                }
            }
        }
        for (i, &alpha) in mask.iter().enumerate() {
            if alpha > 0.0 {
                self.blend((x0 + i % width) as i64, (y0 + i / width) as i64, color, f64::from(alpha));
            }
        }
    }

    /// The whole picture as a box.
    pub(crate) fn bounds(&self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// Writes a line of text with its baseline through `point`.
    pub(crate) fn text(&mut self, text: &str, point: [f64; 2], align: Align, turn: Turn, ink: Ink) {
        let segments = layout(text, point, align, turn, ink.size);
        self.stroke(&segments, pen(ink), ink.color, self.bounds());
    }

    /// Writes text within a halo of another colour, so that it can be read on any image.
    pub(crate) fn text_with_halo(&mut self, text: &str, point: [f64; 2], align: Align, ink: Ink, halo: [u8; 3]) {
        let segments = layout(text, point, align, Turn::None, ink.size);
        self.stroke(&segments, pen(ink) + 2.0 * ink.size, halo, self.bounds());
        self.stroke(&segments, pen(ink), ink.color, self.bounds());
    }
}

/// Width of the pen in pixels.
fn pen(ink: Ink) -> f64 {
    font::PEN * ink.size.powf(0.85) * ink.weight
}

/// Moves the strokes of a line of text to their place on the picture.
fn layout(text: &str, point: [f64; 2], align: Align, turn: Turn, size: f64) -> Vec<Segment> {
    let width = font::width(text, size);
    let shift = match align {
        Align::Left => 0.0,
        Align::Center => -(0.5 * width).round(),
        Align::Right => -width.round(),
    };
    let [px, py] = point.map(f64::round);
    let place = |p: [f64; 2]| match turn {
        Turn::None => [px + shift + p[0], py + p[1]],
        Turn::Left => [px + p[1], py - shift - p[0]],
    };
    font::strokes(text, size).iter().map(|s| Segment { from: place(s.from), to: place(s.to) }).collect()
}

/// Distance of a point from a straight piece.
fn distance(s: &Segment, p: [f64; 2]) -> f64 {
    let d = [s.to[0] - s.from[0], s.to[1] - s.from[1]];
    let r = [p[0] - s.from[0], p[1] - s.from[1]];
    let length2 = d[0] * d[0] + d[1] * d[1];
    let t = if length2 > 0.0 { ((r[0] * d[0] + r[1] * d[1]) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (r[0] - t * d[0]).hypot(r[1] - t * d[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper() -> Rgb {
        Rgb::new(40, 30, WHITE, Limits::default()).unwrap()
    }

    #[test]
    fn stems_of_text_are_sharp() {
        let mut p = paper();
        p.text("I", [10.0, 20.0], Align::Left, Turn::None, Ink { size: 1.0, weight: 1.0, color: [0, 0, 0] });
        // The stem of the I is one dark column, from the baseline to ten rows above.
        let dark: Vec<(usize, usize)> =
            (0..30).flat_map(|y| (0..40).map(move |x| (x, y))).filter(|&(x, y)| p.at(x, y)[0] < 64).collect();
        assert_eq!(dark, (11..=20).map(|y| (11, y)).collect::<Vec<_>>());
    }

    #[test]
    fn strokes_stay_inside_the_clip_and_the_picture() {
        let mut p = paper();
        let clip = Rect { x: 5, y: 5, width: 10, height: 10 };
        let far = Segment { from: [-1e9, 8.0], to: [1e9, 8.0] };
        p.stroke(&[far], 3.0, [0, 0, 0], clip);
        for y in 0..30 {
            for x in 0..40 {
                let inside = (5..15).contains(&x) && (5..15).contains(&y);
                assert!(inside || p.at(x, y) == WHITE);
            }
        }
        assert_eq!(p.at(5, 8), [0, 0, 0]);
        assert_eq!(p.at(14, 8), [0, 0, 0]);
        // A clip outside the picture, and strokes far away, draw nothing.
        let before = p.clone();
        p.stroke(&[far], 3.0, [0, 0, 0], Rect { x: 100, y: 100, width: 5, height: 5 });
        p.stroke(&[Segment { from: [-50.0, -50.0], to: [-40.0, -40.0] }], 3.0, [0, 0, 0], p.bounds());
        assert_eq!(p, before);
    }

    #[test]
    fn empty_pictures_and_too_large_ones_are_refused() {
        assert!(matches!(Rgb::new(0, 5, WHITE, Limits::default()), Err(Error::Param { .. })));
        assert!(matches!(Rgb::new(10, 10, WHITE, Limits { bytes: 299 }), Err(Error::OverBudget { needed: 300, .. })));
        assert!(Rgb::new(usize::MAX, 2, WHITE, Limits::default()).is_err());
        let broken = Rgb { width: 2, height: 2, data: vec![0; 5] };
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(broken.write_png(folder.path().join("a.png")), Err(Error::Shape { .. })));
        let missing = paper().write_png(folder.path().join("no/such/folder.png"));
        assert!(matches!(missing, Err(Error::Io { .. })));
    }

    #[test]
    fn png_holds_the_pixels() {
        let mut p = paper();
        p.fill(Rect { x: 3, y: 4, width: 5, height: 6 }, [10, 20, 30]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        p.write_png(&path).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut back = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut back).unwrap();
        assert_eq!((info.width, info.height, back), (40, 30, p.data));
    }
}
