//! One image of a panel: from values to colours, to the wanted size, with scale bar and colour bar.

use num_complex::Complex;

use super::canvas::{Align, INK, Ink, Rect, Rgb, Turn, WHITE};
use super::color::{self, ColorMap, composite};
use super::font;
use super::panel::Room;
use super::range::Range;
use super::scale_bar::scale_bar;
use super::ticks::{self, Ticks};
use crate::error::Error;
use crate::real::Real;
use crate::shape::{Limits, checked_len};
use crate::units::{Angle, Length, SpatialFrequency};

/// What one pixel of an image measures; it decides the scale bar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pixel {
    /// Not known: no scale bar.
    #[default]
    Unknown,
    /// A length, for images in real space.
    Length(Length),
    /// A spatial frequency, for spectra.
    Frequency(SpatialFrequency),
    /// An angle, for diffraction patterns.
    Angle(Angle),
}

/// The content of an image, row by row from the top.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Coloured by a [`ColorMap`].
    Real(Vec<f64>),
    /// Hue from the phase, brightness from the amplitude: [`composite`].
    Complex(Vec<Complex<f64>>),
    /// Colours as they are.
    Rgb(Vec<[u8; 3]>),
}

/// An image with its title, scale bar and colour bar.
///
/// Made by [`Image::real`], [`Image::complex`] or [`Image::rgb`], which set `dims` and `values`; the other fields are
/// set by struct update, as in the example of [`render`](crate::render).
///
/// Values that are not finite are ignored by the scaling and drawn in [`color::NEUTRAL`].
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Rows and columns.
    pub dims: [usize; 2],
    /// What is shown.
    pub values: Values,
    /// Above the image; wrapped where it is too long, `'\n'` breaks it. None when empty.
    pub title: String,
    /// How values become colours. Used by [`Values::Real`] only.
    pub map: ColorMap,
    /// Values at the ends of the map. With [`Values::Complex`] the upper limit of |z| is full brightness, and the lower
    /// limit is 0 unless the range is [`Range::Fixed`].
    pub range: Range,
    /// Size of a pixel, for the scale bar.
    pub pixel: Pixel,
    /// The label of a colour bar on the right, possibly empty; `None` for no colour bar. A complex image's colour bar
    /// shows the phase.
    pub color_bar: Option<String>,
}

/// An image whose colours' limits and marks are known.
pub(crate) struct Measured {
    limits: [f64; 2],
    bar: Option<Bar>,
}

/// The marks and the label of a colour bar.
struct Bar {
    ticks: Ticks,
    label: String,
    limits: [f64; 2],
    map: ColorMap,
}

impl Image {
    /// An image of real values.
    ///
    /// # Shapes
    /// `dims` is `[height, width]`, `data` has as many values, row by row: `Image::real(t.dims(), t.as_slice())` shows
    /// a two-dimensional tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] when `dims` are not two, one of them is zero, or `data` has another length.
    pub fn real<T: Real>(dims: &[usize], data: &[T]) -> Result<Image, Error> {
        let dims = check(dims, data.len())?;
        Ok(Image::plain(dims, Values::Real(data.iter().map(|x| x.f64()).collect())))
    }

    /// An image of complex values: hue is phase, brightness is amplitude.
    ///
    /// # Shapes
    /// As for [`Image::real`].
    ///
    /// # Errors
    /// As for [`Image::real`].
    pub fn complex<T: Real>(dims: &[usize], data: &[Complex<T>]) -> Result<Image, Error> {
        let dims = check(dims, data.len())?;
        let values = data.iter().map(|z| Complex::new(z.re.f64(), z.im.f64())).collect();
        Ok(Image::plain(dims, Values::Complex(values)))
    }

    /// An image of ready colours.
    ///
    /// # Shapes
    /// As for [`Image::real`], with one colour a pixel.
    ///
    /// # Errors
    /// As for [`Image::real`].
    pub fn rgb(dims: &[usize], data: &[[u8; 3]]) -> Result<Image, Error> {
        let dims = check(dims, data.len())?;
        Ok(Image::plain(dims, Values::Rgb(data.to_vec())))
    }

    fn plain(dims: [usize; 2], values: Values) -> Image {
        Image {
            dims,
            values,
            title: String::new(),
            map: ColorMap::default(),
            range: Range::default(),
            pixel: Pixel::default(),
            color_bar: None,
        }
    }

    /// Checks the fields, finds the limits and the marks of the colour bar, and says how much room the image needs in a
    /// cell of `[height, width]` pixels. `s` is the size of the text.
    pub(crate) fn measure(&self, cell: [usize; 2], s: f64) -> Result<(Measured, Room), Error> {
        let len = match &self.values {
            Values::Real(v) => v.len(),
            Values::Complex(v) => v.len(),
            Values::Rgb(v) => v.len(),
        };
        check(&self.dims, len)?;
        let size = match self.pixel {
            Pixel::Unknown => 1.0,
            Pixel::Length(l) => l.to_angstrom(),
            Pixel::Frequency(k) => k.to_per_angstrom(),
            Pixel::Angle(a) => a.to_rad(),
        };
        if !(1e-30..1e30).contains(&size) {
            return Err(Error::param("image.pixel", size, "a positive size, 1e-30 to 1e30 internal units"));
        }
        let limits = match &self.values {
            Values::Real(v) => self.range.limits(v)?,
            Values::Complex(v) => {
                let amplitudes: Vec<f64> = v.iter().map(|z| z.re.hypot(z.im)).collect();
                let [min, max] = self.range.limits(&amplitudes)?;
                if matches!(self.range, Range::Fixed { .. }) { [min, max] } else { [0.0, max] }
            }
            Values::Rgb(_) => [0.0, 1.0],
        };
        let [height, width] = self.shown(cell);
        let bar = match (&self.color_bar, &self.values) {
            (None, _) | (_, Values::Rgb(_)) => None,
            (Some(label), Values::Real(_)) => Some(Bar::new(limits, self.map, label, height, s)),
            (Some(label), Values::Complex(_)) => {
                Some(Bar::new([-std::f64::consts::PI, std::f64::consts::PI], ColorMap::Phase, label, height, s))
            }
        };
        let right = bar.as_ref().map_or(0, |b| b.width(s));
        Ok((Measured { limits, bar }, Room { right, width, height, ..Room::default() }))
    }

    /// Height and width on the picture, for a cell of `[height, width]`.
    fn shown(&self, cell: [usize; 2]) -> [usize; 2] {
        let [h, w] = self.dims;
        let factor = (cell[0] / h).min(cell[1] / w);
        if factor > 0 {
            return [factor * h, factor * w];
        }
        let shrink = (cell[0] as f64 / h as f64).min(cell[1] as f64 / w as f64);
        [h, w].map(|n| ((n as f64 * shrink).round() as usize).max(1))
    }

    /// Draws the image, its scale bar and its colour bar, with the top left corner of `body` at the image's.
    pub(crate) fn draw(
        &self,
        measured: &Measured,
        body: Rect,
        s: f64,
        limits: Limits,
        onto: &mut Rgb,
    ) -> Result<(), Error> {
        let picture = self.colors(measured.limits, body, limits)?;
        onto.frame(body, 1, [90, 90, 90]);
        onto.paste(&picture, body.x, body.y);
        self.draw_scale_bar(body, s, onto);
        if let Some(bar) = &measured.bar {
            bar.draw(body, s, onto);
        }
        Ok(())
    }

    /// The coloured image at its final size: each value a square of whole pixels, or, where the image is larger than
    /// its cell, the mean of the values under each pixel.
    fn colors(&self, limits: [f64; 2], body: Rect, budget: Limits) -> Result<Rgb, Error> {
        let mut picture = Rgb::new(body.width, body.height, WHITE, budget)?;
        let [lo, hi] = limits;
        let (rows, columns) = (Cover::new(self.dims[0], body.height), Cover::new(self.dims[1], body.width));
        for y in 0..body.height {
            for x in 0..body.width {
                let color = match &self.values {
                    Values::Real(v) => {
                        let [mean, _] = mean(&rows, y, &columns, x, |i| [v[i], 0.0]);
                        self.map.rgb((mean - lo) / (hi - lo))
                    }
                    Values::Complex(v) => {
                        let [re, im] = mean(&rows, y, &columns, x, |i| [v[i].re, v[i].im]);
                        composite((re.hypot(im) - lo) / (hi - lo), im.atan2(re))
                    }
                    Values::Rgb(v) => {
                        let [r, g] = mean(&rows, y, &columns, x, |i| [f64::from(v[i][0]), f64::from(v[i][1])]);
                        let [b, _] = mean(&rows, y, &columns, x, |i| [f64::from(v[i][2]), 0.0]);
                        [r, g, b].map(|c| c.round() as u8)
                    }
                };
                let i = 3 * (y * body.width + x);
                picture.data[i..i + 3].copy_from_slice(&color);
            }
        }
        Ok(picture)
    }

    /// Draws the bar into the lower left corner: white on dark images, dark on bright ones, with a halo of the other.
    fn draw_scale_bar(&self, body: Rect, s: f64, onto: &mut Rgb) {
        let Some(bar) = scale_bar(self.dims[1], self.pixel, 0.3) else { return };
        let length = (bar.pixels * body.width as f64 / self.dims[1] as f64).round().max(1.0) as usize;
        let thick = (3.0 * s).round() as usize;
        let inset = ((10.0 * s).round() as usize).min(body.width / 10).min(body.height / 10);
        let text = font::width(&bar.label, s).ceil() as usize;
        // The bar is centred above its text or the text above the bar, whichever is shorter.
        let block = length.max(text);
        let gap = (6.0 * s).round() as usize;
        let tall = thick + gap + ((font::CAPITAL + 1.0) * s).ceil() as usize;
        if block + 2 * inset > body.width || tall + 2 * inset > body.height {
            return;
        }
        let area = Rect { x: body.x + inset, y: body.y + body.height - inset - tall, width: block, height: tall };
        let (mut light, mut count) = (0.0, 0.0);
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                light += color::luminance(onto.at(x, y));
                count += 1.0;
            }
        }
        let (ink, halo) = if light / count > 0.35 { ([0; 3], WHITE) } else { (WHITE, [0; 3]) };
        let line = Rect { x: area.x + (block - length) / 2, y: area.y + tall - thick, width: length, height: thick };
        onto.frame(line, s.round().max(1.0) as usize, halo);
        onto.fill(line, ink);
        let baseline = [(line.x as f64) + 0.5 * length as f64, (line.y - gap) as f64];
        onto.text_with_halo(&bar.label, baseline, Align::Center, Ink { size: s, weight: 1.2, color: ink }, halo);
    }
}

impl Bar {
    fn new(limits: [f64; 2], map: ColorMap, label: &str, height: usize, s: f64) -> Bar {
        let pi = std::f64::consts::PI;
        let ticks = if limits == [-pi, pi] {
            let names = ["−π", "−π/2", "0", "π/2", "π"];
            Ticks {
                major: [-1.0, -0.5, 0.0, 0.5, 1.0].map(|t| t * pi).to_vec(),
                labels: names.map(String::from).to_vec(),
                ..Ticks::default()
            }
        } else {
            let target = (height as f64 / (34.0 * s)) as usize;
            ticks::linear(limits[0], limits[1], target.clamp(1, 6))
        };
        let label = with_exponent(label, ticks.exponent);
        Bar { ticks, label, limits, map }
    }

    /// Distances from the image, left to right: gap, bar, mark, number; then the label.
    fn offsets(&self, s: f64) -> [usize; 4] {
        let numbers = self.ticks.labels.iter().map(|l| font::width(l, s)).fold(0.0, f64::max);
        let bar = (8.0 * s).round();
        let end = bar + (13.0 * s).round();
        let text = end + (7.0 * s).round();
        [bar, end, text, text + numbers.ceil()].map(|x| x as usize)
    }

    fn width(&self, s: f64) -> usize {
        let label = if self.label.is_empty() { 2.0 } else { 20.0 };
        self.offsets(s)[3] + (label * s).round() as usize
    }

    fn draw(&self, body: Rect, s: f64, onto: &mut Rgb) {
        let [left, end, text, right] = self.offsets(s).map(|x| x + body.x + body.width);
        for y in 0..body.height {
            // The middle of the first and of the last row are half a row inside the limits.
            let t = 1.0 - (y as f64 + 0.5) / body.height as f64;
            onto.fill(Rect { x: left, y: body.y + y, width: end - left, height: 1 }, self.map.rgb(t));
        }
        onto.frame(Rect { x: left, y: body.y, width: end - left, height: body.height }, 1, [90, 90, 90]);
        let ink = Ink { size: s, weight: 1.0, color: INK };
        let [lo, hi] = self.limits;
        for (&v, label) in self.ticks.major.iter().zip(&self.ticks.labels) {
            let y = body.y as f64 + ((1.0 - (v - lo) / (hi - lo)) * (body.height as f64 - 1.0)).round();
            let mark =
                Rect { x: end + 1, y: y as usize, width: (3.0 * s).round() as usize, height: s.round() as usize };
            onto.fill(mark, INK);
            onto.text(label, [text as f64, y + (0.5 * font::CAPITAL * s).round()], Align::Left, Turn::None, ink);
        }
        let middle = body.y as f64 + 0.5 * body.height as f64;
        let x = right as f64 + (6.0 + font::CAPITAL) * s;
        let label = font::wrap(&self.label, s, body.height as f64, 1);
        onto.text(label.first().map_or("", String::as_str), [x, middle], Align::Center, Turn::Left, ink);
    }
}

/// Appends a power of ten that was taken out of the numbers.
pub(crate) fn with_exponent(label: &str, exponent: i32) -> String {
    if exponent == 0 {
        return label.to_string();
    }
    let power = format!("×10{}", ticks::superscript(exponent));
    if label.is_empty() { power } else { format!("{label} ({power})") }
}

/// The two dimensions, when they fit the number of values.
fn check(dims: &[usize], len: usize) -> Result<[usize; 2], Error> {
    match *dims {
        [h, w] if h > 0 && w > 0 && checked_len(dims).is_ok_and(|n| n == len) => Ok([h, w]),
        _ => Err(Error::shape("image [height, width]", dims, &[len])),
    }
}

/// Which of `n` values lie under each of `shown` pixels, and with what weight.
struct Cover {
    n: usize,
    shown: usize,
}

impl Cover {
    fn new(n: usize, shown: usize) -> Cover {
        Cover { n, shown }
    }

    /// First and last index under pixel `i`, and the weights of these two; those between have weight 1.
    ///
    /// Pixel `i` covers [i n/shown, (i + 1) n/shown] in units of values; enlarged by a whole factor it lies within one
    /// value.
    fn under(&self, i: usize) -> (usize, usize, f64, f64) {
        let (from, to) = (i * self.n, (i + 1) * self.n);
        let (first, last) = (from / self.shown, (to - 1) / self.shown);
        let weight = |a: usize| ((a + 1) * self.shown).min(to) - (a * self.shown).max(from);
        let unit = self.shown as f64;
        (first, last, weight(first) as f64 / unit, weight(last) as f64 / unit)
    }
}

/// The mean of the finite values under one pixel; NaN when there are none.
fn mean(rows: &Cover, y: usize, columns: &Cover, x: usize, value: impl Fn(usize) -> [f64; 2]) -> [f64; 2] {
    let (y0, y1, wy0, wy1) = rows.under(y);
    let (x0, x1, wx0, wx1) = columns.under(x);
    if y0 == y1 && x0 == x1 {
        return value(y0 * columns.n + x0);
    }
    let (mut sum, mut weight) = ([0.0; 2], 0.0);
    for i in y0..=y1 {
        let wy = if i == y0 {
            wy0
        } else if i == y1 {
            wy1
        } else {
            1.0
        };
        for j in x0..=x1 {
            let w = wy
                * if j == x0 {
                    wx0
                } else if j == x1 {
                    wx1
                } else {
                    1.0
                };
            let v = value(i * columns.n + j);
            if v[0].is_finite() && v[1].is_finite() {
                sum = [sum[0] + w * v[0], sum[1] + w * v[1]];
                weight += w;
            }
        }
    }
    sum.map(|v| if weight > 0.0 { v / weight } else { f64::NAN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use color::NEUTRAL;

    fn draw(image: &Image, cell: [usize; 2]) -> Rgb {
        let (measured, room) = image.measure(cell, 1.0).unwrap();
        let body = Rect { x: 0, y: 0, width: room.width, height: room.height };
        image.colors(measured.limits, body, Limits::default()).unwrap()
    }

    #[test]
    fn small_images_grow_by_a_whole_factor() {
        let image = Image::real(&[2, 3], &[0.0, 0.5, 1.0, 1.0, 0.5, 0.0]).unwrap();
        let picture = draw(&image, [100, 100]);
        assert_eq!((picture.height, picture.width), (66, 99));
        for y in 0..66 {
            for x in 0..99 {
                let t: f64 = [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]][y / 33][x / 33];
                assert_eq!(picture.at(x, y), ColorMap::Grey.rgb(t));
            }
        }
    }

    #[test]
    fn large_images_shrink_by_area_means() {
        // Five columns onto two pixels: the middle column is shared.
        let image = Image {
            range: Range::Fixed { min: 0.0, max: 100.0 },
            ..Image::real(&[1, 5], &[0.0, 10.0, 100.0, 30.0, 40.0]).unwrap()
        };
        let picture = draw(&image, [2, 2]);
        assert_eq!((picture.height, picture.width), (1, 2));
        let want = [(10.0 + 50.0) / 2.5 / 100.0, (50.0 + 30.0 + 40.0) / 2.5 / 100.0];
        assert_eq!([picture.at(0, 0), picture.at(1, 0)], want.map(|t| ColorMap::Grey.rgb(t)));
    }

    #[test]
    fn shrinking_keeps_the_mean_of_the_image() {
        let (n, shown) = (37, 10);
        let data: Vec<f64> = (0..n * n).map(|i| ((i * 7919) % 101) as f64).collect();
        let cover = Cover::new(n, shown);
        let mut sum = 0.0;
        for y in 0..shown {
            for x in 0..shown {
                sum += mean(&cover, y, &cover, x, |i| [data[i], 0.0])[0];
            }
        }
        let want = data.iter().sum::<f64>() / data.len() as f64;
        assert!((sum / (shown * shown) as f64 - want).abs() < 1e-9);
    }

    #[test]
    fn values_that_are_not_numbers_are_neutral_and_do_not_change_the_scaling() {
        let image = Image::real(&[1, 4], &[f32::NAN, 0.0, 1.0, f32::INFINITY]).unwrap();
        let picture = draw(&image, [4, 4]);
        assert_eq!(picture.at(0, 0), NEUTRAL);
        assert_eq!([picture.at(1, 0), picture.at(2, 0)], [[0; 3], [255; 3]]);
        let nothing = draw(&Image::real(&[2, 2], &[f64::NAN; 4]).unwrap(), [2, 2]);
        assert!(nothing.data.chunks(3).all(|c| c == NEUTRAL));
        // A mean over several values leaves the missing ones out.
        let image = Image::real(&[1, 4], &[f64::NAN, 2.0, 0.0, 0.0]).unwrap();
        let picture = draw(&Image { range: Range::Fixed { min: 0.0, max: 2.0 }, ..image }, [2, 2]);
        assert_eq!(picture.at(0, 0), [255; 3]);
    }

    #[test]
    fn complex_images_are_composites_scaled_to_the_largest_amplitude() {
        let z =
            [Complex::new(2.0f32, 0.0), Complex::new(0.0, 1.0), Complex::new(0.0, 0.0), Complex::new(f32::NAN, 0.0)];
        let picture = draw(&Image::complex(&[2, 2], &z).unwrap(), [2, 2]);
        assert_eq!(picture.at(0, 0), composite(1.0, 0.0));
        assert_eq!(picture.at(1, 0), composite(0.5, std::f64::consts::FRAC_PI_2));
        assert_eq!(picture.at(0, 1), [0; 3]);
        assert_eq!(picture.at(1, 1), NEUTRAL);
    }

    #[test]
    fn wrong_shapes_and_pixels_are_refused() {
        assert!(matches!(Image::real(&[2, 3], &[0.0; 5]), Err(Error::Shape { .. })));
        assert!(matches!(Image::real::<f64>(&[0, 3], &[]), Err(Error::Shape { .. })));
        assert!(matches!(Image::real(&[4], &[0.0; 4]), Err(Error::Shape { .. })));
        assert!(matches!(Image::real(&[usize::MAX, 2], &[0.0; 4]), Err(Error::Shape { .. })));
        for pixel in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let pixel = Pixel::Length(Length::angstrom(pixel));
            let image = Image { pixel, ..Image::real(&[2, 2], &[0.0; 4]).unwrap() };
            assert!(matches!(image.measure([64, 64], 1.0), Err(Error::Param { .. })));
        }
        let changed = Image { dims: [3, 3], ..Image::real(&[2, 2], &[0.0; 4]).unwrap() };
        assert!(matches!(changed.measure([64, 64], 1.0), Err(Error::Shape { .. })));
    }

    #[test]
    fn scale_bar_is_as_long_as_it_says_and_readable_on_dark_and_bright() {
        for (level, ink) in [(0.0, [255; 3]), (1.0, [0; 3])] {
            // 128 pixels of 0.5 Å shown twice as large: 30 % of 64 Å is 19.2 Å, so the bar is 1 nm = 20 pixels = 40 on
            // the picture.
            let image = Image {
                range: Range::Fixed { min: 0.0, max: 1.0 },
                pixel: Pixel::Length(Length::angstrom(0.5)),
                ..Image::real(&[128, 128], &vec![level; 128 * 128]).unwrap()
            };
            let (measured, room) = image.measure([256, 256], 1.0).unwrap();
            let mut picture = Rgb::new(300, 300, [128; 3], Limits::default()).unwrap();
            let body = Rect { x: 20, y: 20, width: room.width, height: room.height };
            image.draw(&measured, body, 1.0, Limits::default(), &mut picture).unwrap();
            let y = 20 + 256 - 10 - 2;
            let row: Vec<usize> = (20..276).filter(|&x| picture.at(x, y) == ink).collect();
            assert_eq!(row.len(), 40, "{row:?}");
            assert_eq!(row[39] - row[0], 39);
        }
    }
}
