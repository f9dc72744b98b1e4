//! The grid: images and plots in columns, with margins that keep everything apart.

use super::canvas::{Align, INK, Ink, Rect, Rgb, Turn, WHITE};
use super::{font, image, plot};
use super::{image::Image, plot::Plot};
use crate::error::Error;
use crate::shape::Limits;

/// One place of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// Nothing.
    #[default]
    Empty,
    /// An image.
    Image(Image),
    /// A plot.
    Plot(Plot),
}

/// A grid of images and plots, filled row by row.
///
/// Columns are as wide as their widest cell, with its colour bar or axis numbers; images and plots of a row begin at
/// the same height. A plot may span several columns ([`Plot::span`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Number of columns, at least 1.
    pub columns: usize,
    /// Height and width in pixels within which an image is drawn, and of a plot's axes; 16 to 8192.
    ///
    /// An image smaller than this is enlarged by the largest whole factor that fits, so that every value is a square; a
    /// larger one is reduced, each pixel the mean of the values under it.
    pub cell: [usize; 2],
    /// Size of the text: 1 (capitals ten pixels high) to 4. Margins grow with it.
    pub text: f64,
    /// Above all; none when empty.
    pub title: String,
    /// The content.
    pub cells: Vec<Cell>,
    /// Largest number of bytes the picture may take.
    pub limits: Limits,
}

impl Default for Panel {
    fn default() -> Self {
        Panel {
            columns: 1,
            cell: [256, 256],
            text: 1.0,
            title: String::new(),
            cells: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// The room a cell takes: its body, and what stands around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub left: usize,
    pub right: usize,
    pub top: usize,
    pub bottom: usize,
    pub width: usize,
    pub height: usize,
}

/// A cell with its place in the grid.
struct Placed<'a> {
    content: Content<'a>,
    row: usize,
    column: usize,
    span: usize,
    room: Room,
    title: &'a str,
    lines: Vec<String>,
}

/// What a cell draws.
enum Content<'a> {
    Image(&'a Image, image::Measured),
    Plot(&'a Plot, plot::Measured),
}

/// Distances of the grid, in pixels.
struct Margins {
    outer: usize,
    column_gap: usize,
    row_gap: usize,
    line: usize,
    /// From the last line of a title to what is below it.
    title_gap: usize,
}

impl Panel {
    /// An empty panel of `columns` columns, otherwise as [`Panel::default`].
    ///
    /// # Examples
    /// ```
    /// use exitwave::render::{Cell, Image, Panel};
    /// let mut panel = Panel::new(2);
    /// for value in [0.0, 1.0, 2.0] {
    ///     panel.add(Cell::Image(Image::real(&[4, 4], &[value; 16])?));
    /// }
    /// let picture = panel.render()?;
    /// assert!(picture.width > 2 * 256 && picture.height > 2 * 256);
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn new(columns: usize) -> Panel {
        Panel { columns, ..Panel::default() }
    }

    /// Adds a cell at the next place.
    pub fn add(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Draws the panel. The same panel gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Param`] for a panel without columns or cells, sizes outside their range, and impossible ranges or pixel
    /// sizes in a cell; [`Error::Shape`] where lengths do not fit; [`Error::OverBudget`] when the picture would be
    /// larger than `limits`.
    pub fn render(&self) -> Result<Rgb, Error> {
        self.check()?;
        let s = self.text;
        let px = |v: f64| (v * s).round() as usize;
        let m = Margins {
            outer: px(14.0),
            column_gap: px(20.0),
            row_gap: px(18.0),
            line: px(font::LINE),
            title_gap: px(7.0),
        };
        let (mut cells, columns) = self.place(&m)?;
        let rows = cells.iter().map(|c| c.row + 1).max().unwrap_or(0);

        // Titles are broken into lines once the columns are known, and make their rows higher.
        for c in &mut cells {
            let slot = columns[c.column];
            let wide = if c.span > 1 { c.room.width } else { slot.width };
            let side = if c.span > 1 { 0 } else { slot.left.min(slot.right) };
            let limit = (wide + 2 * side + m.column_gap - m.column_gap / 4) as f64;
            c.lines = font::wrap(c.title, s, limit, 3);
            if !c.lines.is_empty() {
                c.room.top += m.title_gap + m.line * (c.lines.len() - 1) + px(font::CAPITAL + 2.0);
            }
        }
        let mut heights = vec![Room::default(); rows];
        for c in &cells {
            let r = &mut heights[c.row];
            r.top = r.top.max(c.room.top);
            r.height = r.height.max(c.room.height);
            r.bottom = r.bottom.max(c.room.bottom);
        }

        let total_width = columns.iter().map(|c| c.left + c.width + c.right).sum::<usize>();
        let width = total_width + m.column_gap * (columns.len() - 1) + 2 * m.outer;
        let heading = font::wrap(&self.title, 1.25 * s, (width - 2 * m.outer) as f64, 2);
        let heading_line = px(1.25 * font::LINE);
        let above = m.outer + if heading.is_empty() { 0 } else { heading.len() * heading_line + m.title_gap };
        let total_height = heights.iter().map(|r| r.top + r.height + r.bottom).sum::<usize>();
        let height = above + total_height + m.row_gap * rows.saturating_sub(1) + m.outer;

        let mut picture = Rgb::new(width, height, WHITE, self.limits)?;
        for (i, line) in heading.iter().enumerate() {
            let baseline = (m.outer + i * heading_line + px(1.25 * (font::CAPITAL + 1.0))) as f64;
            let ink = Ink { size: 1.25 * s, weight: 1.25, color: INK };
            picture.text(line, [0.5 * width as f64, baseline], Align::Center, Turn::None, ink);
        }
        for c in &cells {
            let before =
                |n: usize| columns[..n].iter().map(|c| c.left + c.width + c.right + m.column_gap).sum::<usize>();
            let slot = columns[c.column];
            // A cell smaller than its column stands in the middle of the column's body.
            let inset = if c.span > 1 { c.room.left } else { slot.left + (slot.width - c.room.width) / 2 };
            let x = m.outer + before(c.column) + inset;
            let over = heights[..c.row].iter().map(|r| r.top + r.height + r.bottom + m.row_gap).sum::<usize>();
            let y = above + over + heights[c.row].top;
            let body = Rect { x, y, width: c.room.width, height: c.room.height };
            match &c.content {
                Content::Image(image, measured) => image.draw(measured, body, s, self.limits, &mut picture)?,
                Content::Plot(plot, measured) => plot.draw(measured, body, s, &mut picture),
            }
            for (i, line) in c.lines.iter().enumerate() {
                let baseline = y - m.title_gap - (c.lines.len() - 1 - i) * m.line - 1;
                let ink = Ink { size: s, weight: 1.3, color: INK };
                let middle = x as f64 + 0.5 * c.room.width as f64;
                picture.text(line, [middle, baseline as f64], Align::Center, Turn::None, ink);
            }
        }
        Ok(picture)
    }

    /// Checks the panel's own fields.
    fn check(&self) -> Result<(), Error> {
        if self.columns == 0 || self.columns > 1024 {
            return Err(Error::param("panel.columns", self.columns, "1 to 1024"));
        }
        if self.cells.is_empty() {
            return Err(Error::param("panel.cells", "empty", "at least one cell"));
        }
        if let Some(side) = self.cell.iter().find(|side| !(16..=8192).contains(*side)) {
            return Err(Error::param("panel.cell", side, "16 to 8192 pixels"));
        }
        if !(1.0..=4.0).contains(&self.text) {
            return Err(Error::param("panel.text", self.text, "1 to 4"));
        }
        Ok(())
    }

    /// Gives every cell its row and column, and every column its width.
    fn place(&self, m: &Margins) -> Result<(Vec<Placed<'_>>, Vec<Room>), Error> {
        let mut cells = Vec::new();
        let (mut row, mut column, mut used) = (0, 0, 0);
        for cell in &self.cells {
            let span = if let Cell::Plot(plot) = cell { plot.span } else { 1 };
            if span == 0 || span > self.columns {
                return Err(Error::param("plot.span", span, "1 to the number of the panel's columns"));
            }
            if column + span > self.columns {
                (row, column) = (row + 1, 0);
            }
            let (content, room, title) = match cell {
                Cell::Empty => {
                    column += 1;
                    continue;
                }
                Cell::Image(image) => {
                    let (measured, room) = image.measure(self.cell, self.text)?;
                    (Content::Image(image, measured), room, &image.title)
                }
                Cell::Plot(plot) => {
                    let (measured, room) = plot.measure(self.cell, self.text)?;
                    (Content::Plot(plot, measured), room, &plot.title)
                }
            };
            cells.push(Placed { content, row, column, span, room, title, lines: Vec::new() });
            column += span;
            used = used.max(column);
        }
        let mut columns = vec![Room::default(); used.max(1)];
        for c in cells.iter().filter(|c| c.span == 1) {
            let slot = &mut columns[c.column];
            slot.left = slot.left.max(c.room.left);
            slot.width = slot.width.max(c.room.width);
            slot.right = slot.right.max(c.room.right);
        }
        // Columns in which only wide plots stand are as wide as a cell.
        for slot in columns.iter_mut().filter(|slot| slot.width == 0) {
            slot.width = self.cell[1];
        }
        // A wide plot fills its columns, which grow where there is no room for its numbers.
        for c in cells.iter_mut().filter(|c| c.span > 1) {
            let slots = &mut columns[c.column..c.column + c.span];
            let all: usize = slots.iter().map(|slot| slot.left + slot.width + slot.right).sum();
            let all = all + m.column_gap * (c.span - 1);
            let needed = c.room.left + c.room.right + self.cell[1];
            slots[c.span - 1].right += needed.saturating_sub(all);
            c.room.width = all.max(needed) - c.room.left - c.room.right;
        }
        Ok((cells, columns))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ColorMap, Pixel, Range, Series};
    use super::*;
    use crate::units::Length;
    use num_complex::Complex;

    fn image(n: usize) -> Image {
        let data: Vec<f64> = (0..n * n).map(|i| i as f64).collect();
        Image {
            title: "Title".into(),
            map: ColorMap::Viridis,
            pixel: Pixel::Length(Length::angstrom(0.3)),
            color_bar: Some("value".into()),
            ..Image::real(&[n, n], &data).unwrap()
        }
    }

    fn plot(span: usize) -> Plot {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let series = Series { label: "s".into(), y: x.iter().map(|x| x.sin()).collect(), x, ..Series::default() };
        Plot {
            title: "Plot".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            series: vec![series],
            span,
            ..Plot::default()
        }
    }

    #[test]
    fn the_same_panel_gives_the_same_bytes() {
        let z: Vec<Complex<f32>> = (0..64).map(|i| Complex::from_polar(1.0, i as f32 * 0.1)).collect();
        let mut panel = Panel { title: "Heading".into(), ..Panel::new(2) };
        panel.add(Cell::Image(image(20)));
        panel.add(Cell::Image(Image::complex(&[8, 8], &z).unwrap()));
        panel.add(Cell::Plot(plot(2)));
        assert_eq!(panel.render().unwrap(), panel.clone().render().unwrap());
    }

    #[test]
    fn an_outer_margin_stays_white_whatever_the_content() {
        for text in [1.0, 1.5, 3.0] {
            for cell in [[64, 64], [256, 300]] {
                let mut panel = Panel { text, cell, title: "A long heading over everything".into(), ..Panel::new(3) };
                panel
                    .add(Cell::Image(Image { title: "A title much longer than its image is wide".into(), ..image(7) }));
                panel.add(Cell::Empty);
                panel.add(Cell::Plot(plot(1)));
                panel.add(Cell::Plot(plot(3)));
                panel.add(Cell::Image(image(300)));
                let picture = panel.render().unwrap();
                let edge = 4;
                for y in 0..picture.height {
                    for x in 0..picture.width {
                        let near = x < edge || y < edge || x + edge >= picture.width || y + edge >= picture.height;
                        assert!(!near || picture.at(x, y) == WHITE, "({x}, {y}) of text {text}, cell {cell:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn columns_of_equal_images_are_equally_spaced() {
        let mut panel = Panel::new(3);
        for _ in 0..3 {
            let full = Image { range: Range::Fixed { min: 0.0, max: 1.0 }, ..Image::real(&[1, 1], &[0.0]).unwrap() };
            panel.add(Cell::Image(full));
        }
        let picture = panel.render().unwrap();
        assert_eq!((picture.width, picture.height), (3 * 256 + 2 * 20 + 2 * 14, 256 + 2 * 14));
        for i in 0..3 {
            let x = 14 + i * 276;
            assert_eq!([picture.at(x, 100), picture.at(x + 255, 100)], [[0; 3]; 2]);
            assert_eq!([picture.at(x - 2, 100), picture.at(x + 257, 100)], [WHITE; 2]);
        }
    }

    #[test]
    fn impossible_panels_are_refused() {
        let one = || vec![Cell::Image(image(4))];
        assert!(matches!(Panel::new(0).render(), Err(Error::Param { .. })));
        assert!(matches!(Panel::new(1).render(), Err(Error::Param { .. })));
        for cell in [[0, 256], [256, 1_000_000]] {
            assert!(matches!(Panel { cell, cells: one(), ..Panel::default() }.render(), Err(Error::Param { .. })));
        }
        for text in [0.0, f64::NAN, 100.0] {
            assert!(matches!(Panel { text, cells: one(), ..Panel::default() }.render(), Err(Error::Param { .. })));
        }
        for span in [0, 2, usize::MAX] {
            let cells = vec![Cell::Plot(plot(span))];
            assert!(matches!(Panel { cells, ..Panel::default() }.render(), Err(Error::Param { .. })));
        }
        let small = Panel { cells: one(), limits: Limits { bytes: 1000 }, ..Panel::default() };
        assert!(matches!(small.render(), Err(Error::OverBudget { .. })));
    }
}
