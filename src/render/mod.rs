//! Pictures: colour maps, panels of images and plots, PNG.
//!
//! A [`Panel`] is a grid of [`Cell`]s. Each is an [`Image`] (real, complex or ready-made colours; with a title, a scale
//! bar and a colour bar) or a [`Plot`] (series, guide lines, a legend). [`Panel::render`] gives an [`Rgb`] picture, and
//! [`Rgb::write_png`] writes it. The same input gives the same bytes.
//!
//! | module | its job |
//! |---|---|
//! | [`color`] | colour maps and phase/amplitude composites, in OKLab |
//! | [`range`] | which values the ends of a colour map stand for |
//! | [`ticks`] | round numbers for axes, and their labels |
//! | [`scale_bar`] | round lengths for scale bars |
//! | [`font`] | our own letters, drawn by a pen along lines and curves |
//! | [`canvas`] | the picture: rectangles, smooth lines, text, PNG |
//! | [`image`] | one image cell: scaling, resampling, decoration |
//! | [`plot`] | one plot cell: axes, series, guides, legend |
//! | [`panel`] | the grid |
//! | [`vector`] | vector fields: hue for direction, arrows |
//!
//! ```
//! use exitwave::render::{Cell, ColorMap, Image, Panel, Pixel};
//! use exitwave::tensor::Tensor;
//! use exitwave::units::Length;
//!
//! let wave = Tensor::from_fn(&[32, 32], |i| (i[1] as f32 * 0.4).sin());
//! let mut panel = Panel::new(1);
//! panel.add(Cell::Image(Image {
//!     title: "A plane wave".into(),
//!     map: ColorMap::Viridis,
//!     pixel: Pixel::Length(Length::angstrom(0.2)),
//!     color_bar: Some("phase / rad".into()),
//!     ..Image::real(wave.dims(), wave.as_slice())?
//! }));
//! let picture = panel.render()?;
//! assert_eq!(picture.data.len(), 3 * picture.width * picture.height);
//! # Ok::<(), exitwave::Error>(())
//! ```

pub mod canvas;
pub mod color;
pub mod font;
pub mod image;
pub mod panel;
pub mod plot;
pub mod range;
pub mod scale_bar;
pub mod ticks;
pub mod vector;

pub use canvas::Rgb;
pub use color::{ColorMap, composite};
pub use image::{Image, Pixel, Values};
pub use panel::{Cell, Panel};
pub use plot::{Axis, Guide, Legend, Line, Plot, Scale, Series};
pub use range::Range;
pub use vector::{VectorMap, colour_wheel};
