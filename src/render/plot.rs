//! One plot of a panel: several series over common axes.

use super::canvas::{Align, FAINT, INK, Ink, Rect, Rgb, Turn, WHITE};
use super::font::{self, Segment};
use super::image::with_exponent;
use super::panel::Room;
use super::ticks::{self, Ticks};
use crate::error::Error;

/// Colours of the series in their order: dark and distinct, also for colour-blind readers.
///
/// # References
/// M. Okabe and K. Ito, *Color Universal Design* (2008); B. Wong, *Nature Methods* **8**, 441 (2011).
pub const PALETTE: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [70, 70, 70]];

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm; values that are not positive are left out.
    Log,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// A line through the points.
    #[default]
    Solid,
    /// A broken line.
    Dashed,
    /// A dot at each point.
    Points,
}

/// Which axis a guide line is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// A vertical line at a value of x.
    X,
    /// A horizontal line at a value of y.
    #[default]
    Y,
}

/// Where the names of the series stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Legend {
    /// Where it covers least, in a corner if possible; nowhere when no series has a label.
    #[default]
    Auto,
    /// Nowhere.
    None,
    /// In the upper left corner.
    TopLeft,
    /// In the upper right corner.
    TopRight,
    /// In the lower left corner.
    BottomLeft,
    /// In the lower right corner.
    BottomRight,
}

/// One curve. Points that are not finite interrupt it.
///
/// # Shapes
/// `x` and `y` have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend; left out when empty.
    pub label: String,
    /// Positions along the horizontal axis.
    pub x: Vec<f64>,
    /// Positions along the vertical axis.
    pub y: Vec<f64>,
    /// How it is drawn.
    pub line: Line,
    /// Its colour; `None` takes the next of [`PALETTE`].
    pub color: Option<[u8; 3]>,
}

/// A thin line across the whole plot, such as FRC = 1/7.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guide {
    /// Where.
    pub value: f64,
    /// On which axis `value` is.
    pub axis: Axis,
    /// Written along the line; may be empty.
    pub label: String,
}

/// A plot.
///
/// # Examples
/// ```
/// use exitwave::render::{Cell, Guide, Panel, Plot, Series};
/// let x: Vec<f64> = (0..100).map(|i| f64::from(i) * 0.01).collect();
/// let y = x.iter().map(|k| (-5.0 * k * k).exp()).collect();
/// let mut panel = Panel::new(1);
/// panel.add(Cell::Plot(Plot {
///     title: "Fourier ring correlation".into(),
///     x_label: "k / Å⁻¹".into(),
///     y_range: Some([0.0, 1.0]),
///     series: vec![Series { label: "ptychography".into(), x, y, ..Series::default() }],
///     guides: vec![Guide { value: 1.0 / 7.0, label: "1/7".into(), ..Guide::default() }],
///     ..Plot::default()
/// }));
/// let picture = panel.render()?;
/// assert!(picture.width > 256);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Above the plot; none when empty.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Beside the vertical axis.
    pub y_label: String,
    /// Spacing of the horizontal axis.
    pub x_scale: Scale,
    /// Spacing of the vertical axis.
    pub y_scale: Scale,
    /// Ends of the horizontal axis; `None` takes those of the data.
    pub x_range: Option<[f64; 2]>,
    /// Ends of the vertical axis; `None` takes those of the data and the guides, with a little room.
    pub y_range: Option<[f64; 2]>,
    /// The curves, drawn in this order.
    pub series: Vec<Series>,
    /// Lines across the plot.
    pub guides: Vec<Guide>,
    /// Where the names of the series stand.
    pub legend: Legend,
    /// Number of columns of the panel that the plot takes up, at least 1.
    pub span: usize,
}

impl Default for Plot {
    fn default() -> Self {
        Plot {
            title: String::new(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_range: None,
            y_range: None,
            series: Vec::new(),
            guides: Vec::new(),
            legend: Legend::Auto,
            span: 1,
        }
    }
}

/// The ends of the axes, in the data's own values.
pub(crate) struct Measured {
    x: [f64; 2],
    y: [f64; 2],
}

/// From values to pixels.
struct Frame<'a> {
    plot: &'a Plot,
    measured: &'a Measured,
    body: Rect,
}

impl Plot {
    /// Checks the fields, finds the ends of the axes, and says how much room the plot needs around a body of `[height,
    /// width]`.
    pub(crate) fn measure(&self, cell: [usize; 2], s: f64) -> Result<(Measured, Room), Error> {
        for series in &self.series {
            if series.x.len() != series.y.len() {
                return Err(Error::shape("plot series", &[series.x.len()], &[series.y.len()]));
            }
        }
        if let Some(guide) = self.guides.iter().find(|g| !g.value.is_finite()) {
            return Err(Error::param("guide.value", guide.value, "a finite number"));
        }
        let x = ends("plot.x_range", self.x_range, self.x_scale, 0.0, self.values(Axis::X))?;
        let y = ends("plot.y_range", self.y_range, self.y_scale, 0.05, self.values(Axis::Y))?;
        let measured = Measured { x, y };
        let [height, width] = cell;
        let (xt, yt) = (self.ticks(&measured, Axis::X, width, s), self.ticks(&measured, Axis::Y, height, s));
        let numbers = yt.labels.iter().map(|l| font::width(l, s)).fold(0.0, f64::max);
        let y_label = !with_exponent(&self.y_label, yt.exponent).is_empty();
        let x_label = !with_exponent(&self.x_label, xt.exponent).is_empty();
        let left = 9.0 * s + numbers + if y_label { 20.0 * s } else { 0.0 };
        let bottom = 24.0 * s + if x_label { (font::LINE + 1.0) * s } else { 0.0 };
        let last = xt.labels.last().map_or(0.0, |l| 0.5 * font::width(l, s));
        let room = Room {
            left: left.ceil() as usize,
            right: last.ceil() as usize,
            top: (6.0 * s).round() as usize,
            bottom: bottom.ceil() as usize,
            width,
            height,
        };
        Ok((measured, room))
    }

    /// The values that an axis must show: those of the points that can be drawn, and of the guides.
    fn values(&self, axis: Axis) -> impl Iterator<Item = f64> {
        let fits = |v: f64, scale: Scale| v.is_finite() && (scale == Scale::Linear || v > 0.0);
        let points = self.series.iter().flat_map(|s| s.x.iter().zip(&s.y));
        let drawn = points.filter(move |(x, y)| fits(**x, self.x_scale) && fits(**y, self.y_scale));
        let of_points = drawn.map(move |(x, y)| if axis == Axis::X { *x } else { *y });
        let scale = if axis == Axis::X { self.x_scale } else { self.y_scale };
        let of_guides = self.guides.iter().filter(move |g| g.axis == axis && fits(g.value, scale)).map(|g| g.value);
        of_points.chain(of_guides)
    }

    /// The marks of one axis of `length` pixels.
    fn ticks(&self, measured: &Measured, axis: Axis, length: usize, s: f64) -> Ticks {
        let (scale, [min, max], each) = match axis {
            Axis::X => (self.x_scale, measured.x, 60.0),
            Axis::Y => (self.y_scale, measured.y, 45.0),
        };
        let target = ((length as f64 / (each * s)) as usize).clamp(1, 8);
        match scale {
            Scale::Linear => ticks::linear(min, max, target),
            Scale::Log => ticks::logarithmic(min, max, target),
        }
    }

    /// Draws the plot with its axes along the edges of `body`.
    pub(crate) fn draw(&self, measured: &Measured, body: Rect, s: f64, onto: &mut Rgb) {
        let frame = Frame { plot: self, measured, body };
        frame.axes(s, onto);
        for guide in &self.guides {
            frame.guide(guide, s, onto);
        }
        for (i, series) in self.series.iter().enumerate() {
            let color = series.color.unwrap_or(PALETTE[i % PALETTE.len()]);
            let (pen, pieces) = frame.pieces(series, s);
            onto.stroke(&pieces, pen, color, body);
        }
        let legend = frame.legend_place(s);
        for guide in &self.guides {
            frame.guide_label(guide, legend, s, onto);
        }
        onto.frame(body, s.round() as usize, INK);
        if let Some(place) = legend {
            frame.legend(place, s, onto);
        }
    }
}

impl Frame<'_> {
    /// The pixel of a value on the axis, not rounded; NaN for what cannot be shown.
    fn pixel(&self, axis: Axis, v: f64) -> f64 {
        let (scale, [min, max]) = match axis {
            Axis::X => (self.plot.x_scale, self.measured.x),
            Axis::Y => (self.plot.y_scale, self.measured.y),
        };
        let t = match scale {
            Scale::Linear => (v - min) / (max - min),
            Scale::Log if v > 0.0 => (v.ln() - min.ln()) / (max.ln() - min.ln()),
            Scale::Log => f64::NAN,
        };
        // Far outside the picture the exact place does not matter, but overflow would.
        let t = t.clamp(-1e6, 1e6);
        match axis {
            Axis::X => self.body.x as f64 + t * (self.body.width as f64 - 1.0),
            Axis::Y => self.body.y as f64 + (1.0 - t) * (self.body.height as f64 - 1.0),
        }
    }

    /// Grid, marks, numbers and labels.
    fn axes(&self, s: f64, onto: &mut Rgb) {
        let Rect { x, y, width, height } = self.body;
        let ink = Ink { size: s, weight: 1.0, color: INK };
        let [thick, long, short] = [1.0, 5.0, 3.0].map(|v: f64| (v * s).round() as usize);
        let below = y + height;
        let cap = (font::CAPITAL * s).round();

        let ticks = self.plot.ticks(self.measured, Axis::X, width, s);
        for (values, length) in [(&ticks.minor, short), (&ticks.major, long)] {
            for at in values.iter().map(|&v| self.pixel(Axis::X, v).round() as usize) {
                if length == long {
                    onto.fill(Rect { x: at, y, width: 1, height }, FAINT);
                }
                onto.fill(Rect { x: at, y: below, width: thick, height: length }, INK);
            }
        }
        for (&v, label) in ticks.major.iter().zip(&ticks.labels) {
            let baseline = below as f64 + 9.0 * s + cap;
            onto.text(label, [self.pixel(Axis::X, v), baseline], Align::Center, Turn::None, ink);
        }
        let x_label = with_exponent(&self.plot.x_label, ticks.exponent);
        let baseline = below as f64 + 11.0 * s + cap + font::LINE * s;
        onto.text(&x_label, [x as f64 + 0.5 * width as f64, baseline], Align::Center, Turn::None, ink);

        let ticks = self.plot.ticks(self.measured, Axis::Y, height, s);
        for (values, length) in [(&ticks.minor, short), (&ticks.major, long)] {
            for at in values.iter().map(|&v| self.pixel(Axis::Y, v).round() as usize) {
                if length == long {
                    onto.fill(Rect { x, y: at, width, height: 1 }, FAINT);
                }
                onto.fill(Rect { x: x.saturating_sub(length), y: at, width: length, height: thick }, INK);
            }
        }
        let mut widest = 0.0;
        for (&v, label) in ticks.major.iter().zip(&ticks.labels) {
            let baseline = self.pixel(Axis::Y, v).round() + (0.5 * cap).round();
            onto.text(label, [x as f64 - 8.0 * s, baseline], Align::Right, Turn::None, ink);
            widest = f64::max(widest, font::width(label, s));
        }
        let y_label = font::wrap(&with_exponent(&self.plot.y_label, ticks.exponent), s, height as f64, 1);
        let at = [x as f64 - 15.0 * s - widest, y as f64 + 0.5 * height as f64];
        onto.text(y_label.first().map_or("", String::as_str), at, Align::Center, Turn::Left, ink);
    }

    /// The line of a guide.
    fn guide(&self, guide: &Guide, s: f64, onto: &mut Rgb) {
        let Rect { x, y, width, height } = self.body;
        let at = self.pixel(guide.axis, guide.value).round();
        if at.is_nan() {
            return;
        }
        let (from, to) = match guide.axis {
            Axis::X => ([at, y as f64], [at, (y + height) as f64]),
            Axis::Y => ([x as f64, at], [(x + width) as f64, at]),
        };
        onto.stroke(&dash(&[Segment { from, to }], 3.0 * s, 3.0 * s), s, [110, 110, 110], self.body);
    }

    /// The baseline of a guide's label, from its left to its right end: on the right above a horizontal line (below,
    /// where there is no room above), at the top beside a vertical one.
    fn guide_label_line(&self, guide: &Guide, s: f64) -> Segment {
        let Rect { x, y, width, .. } = self.body;
        let at = self.pixel(guide.axis, guide.value).round();
        let (text, tall, edge) = (font::width(&guide.label, s), (font::CAPITAL + 6.0) * s, (x + width) as f64);
        let [left, baseline] = match guide.axis {
            Axis::X if at + 9.0 * s + text <= edge => [at + 4.0 * s, y as f64 + tall],
            Axis::X => [at - 4.0 * s - text, y as f64 + tall],
            Axis::Y if at - tall >= y as f64 => [edge - 5.0 * s - text, at - 4.0 * s],
            Axis::Y => [edge - 5.0 * s - text, at + tall - 2.0 * s],
        };
        Segment { from: [left, baseline], to: [left + text, baseline] }
    }

    /// Writes the label of a guide, when its line lies within the plot. At a vertical line it goes to the bottom when
    /// the legend is at the top.
    fn guide_label(&self, guide: &Guide, legend: Option<Rect>, s: f64, onto: &mut Rgb) {
        let Rect { x, y, width, height } = self.body;
        let at = self.pixel(guide.axis, guide.value);
        let (from, to) = if guide.axis == Axis::X { (x, x + width) } else { (y, y + height) };
        if guide.label.is_empty() || !(at >= from as f64 && at <= to as f64) {
            return;
        }
        let line = self.guide_label_line(guide, s);
        let hidden = legend.is_some_and(|r| cut(line.from, line.to, r).is_some());
        let baseline = if guide.axis == Axis::X && hidden { (y + height) as f64 - 6.0 * s } else { line.from[1] };
        let ink = Ink { size: s, weight: 1.0, color: [90, 90, 90] };
        onto.text_with_halo(&guide.label, [line.from[0], baseline], Align::Left, ink, WHITE);
    }

    /// The pen and the straight pieces of a series, cut to the body.
    fn pieces(&self, series: &Series, s: f64) -> (f64, Vec<Segment>) {
        let points = series.x.iter().zip(&series.y).map(|(&x, &y)| [self.pixel(Axis::X, x), self.pixel(Axis::Y, y)]);
        let shown = |p: &[f64; 2]| p[0].is_finite() && p[1].is_finite();
        if series.line == Line::Points {
            let inside = |p: &[f64; 2]| cut(*p, *p, self.body).is_some();
            return (5.0 * s, points.filter(shown).filter(inside).map(|p| Segment { from: p, to: p }).collect());
        }
        let mut pieces = Vec::new();
        let mut last: Option<[f64; 2]> = None;
        for p in points {
            if !shown(&p) {
                last = None;
                continue;
            }
            if let Some(segment) = last.and_then(|q| cut(q, p, self.body)) {
                pieces.push(segment);
            }
            last = Some(p);
        }
        if series.line == Line::Dashed { (1.8 * s, dash(&pieces, 6.0 * s, 4.0 * s)) } else { (1.8 * s, pieces) }
    }

    /// The series that have a name, with their place in the order of colours.
    fn named(&self) -> impl Iterator<Item = (usize, &Series)> {
        self.plot.series.iter().enumerate().filter(|(_, series)| !series.label.is_empty())
    }

    /// Sizes in the legend: white space, length of the sample line, height of a row, and the most that a name may take.
    fn legend_sizes(&self, s: f64) -> [f64; 4] {
        let [pad, sample, line] = [7.0 * s, 22.0 * s, (font::LINE * s).round()];
        [pad, sample, line, (self.body.width as f64 - 3.0 * pad - sample - 18.0 * s).max(0.0)]
    }

    /// The box of the legend; none without names, and none where it does not fit: in a plot so small the curves come
    /// first.
    fn legend_place(&self, s: f64) -> Option<Rect> {
        let longest = self.named().map(|(_, series)| font::width(&series.label, s)).fold(0.0, f64::max);
        if longest == 0.0 || self.plot.legend == Legend::None {
            return None;
        }
        let [pad, sample, line, limit] = self.legend_sizes(s);
        let width = (3.0 * pad + sample + longest.min(limit)).ceil() as usize;
        let height = (line * self.named().count() as f64 + pad).ceil() as usize;
        let inset = (16.0 * s) as usize;
        let fits = width + inset <= self.body.width && height + inset <= self.body.height;
        fits.then(|| self.legend_corner(width, height, s))
    }

    /// Draws the names of the series into the box `place`.
    fn legend(&self, place: Rect, s: f64, onto: &mut Rgb) {
        let [pad, sample, line, limit] = self.legend_sizes(s);
        // Paper behind the names, so that lines below them only shine through.
        for y in place.y..place.y + place.height {
            for x in place.x..place.x + place.width {
                onto.blend(x as i64, y as i64, WHITE, 0.88);
            }
        }
        onto.frame(place, 1, FAINT);
        for (row, (i, series)) in self.named().enumerate() {
            let color = series.color.unwrap_or(PALETTE[i % PALETTE.len()]);
            let baseline = place.y as f64 + 0.5 * pad + (row as f64 + 1.0) * line - 4.0 * s;
            let middle = (baseline - 0.5 * font::CAPITAL * s).round();
            let from = [place.x as f64 + pad, middle];
            let (pen, pieces) = match series.line {
                Line::Solid => (1.8 * s, vec![Segment { from, to: [from[0] + sample, middle] }]),
                Line::Dashed => (1.8 * s, dash(&[Segment { from, to: [from[0] + sample, middle] }], 6.0 * s, 4.0 * s)),
                Line::Points => {
                    let p = [from[0] + 0.5 * sample, middle];
                    (5.0 * s, vec![Segment { from: p, to: p }])
                }
            };
            onto.stroke(&pieces, pen, color, place);
            let label = font::wrap(&series.label, s, limit, 1).into_iter().next().unwrap_or_default();
            let ink = Ink { size: s, weight: 1.0, color: INK };
            onto.text(&label, [from[0] + sample + pad, baseline], Align::Left, Turn::None, ink);
        }
    }

    /// The box of the legend: in its corner, or where it hides least.
    fn legend_corner(&self, width: usize, height: usize, s: f64) -> Rect {
        let inset = (8.0 * s).round() as usize;
        let left = self.body.x + inset;
        let right = (self.body.x + self.body.width).saturating_sub(inset + width).max(left);
        let top = self.body.y + inset;
        let bottom = (self.body.y + self.body.height).saturating_sub(inset + height).max(top);
        let corner = |x, y| Rect { x, y, width, height };
        let corners = [corner(right, top), corner(left, top), corner(right, bottom), corner(left, bottom)];
        match self.plot.legend {
            Legend::TopRight | Legend::None => corners[0],
            Legend::TopLeft => corners[1],
            Legend::BottomRight => corners[2],
            Legend::BottomLeft => corners[3],
            Legend::Auto => {
                // Lines are counted by the length that they have inside the box, dots as one pen each.
                let pieces: Vec<Segment> =
                    self.plot.series.iter().flat_map(|series| self.pieces(series, s).1).collect();
                let across = self.plot.guides.iter().filter(|g| g.axis == Axis::Y);
                let labels: Vec<Segment> = across.map(|g| self.guide_label_line(g, s)).collect();
                // Text that cannot be read is worse than a line that passes under the box.
                let hidden = |r: &Rect| -> f64 {
                    let inside = |all: &[Segment]| -> f64 {
                        let parts = all.iter().filter_map(|p| cut(p.from, p.to, *r));
                        parts.map(|p| 1.0 + (p.to[0] - p.from[0]).hypot(p.to[1] - p.from[1])).sum()
                    };
                    inside(&pieces) + 10.0 * inside(&labels)
                };
                // The corners come first, then places between them.
                let between =
                    [0.0, 0.5, 1.0].iter().flat_map(|v| [1.0, 0.75, 0.5, 0.25, 0.0].map(|u| (u, *v))).map(|(u, v)| {
                        let along = |from: usize, to: usize, t: f64| from + (t * (to - from) as f64).round() as usize;
                        corner(along(left, right, u), along(top, bottom, v))
                    });
                let mut best = (corners[0], hidden(&corners[0]));
                for r in corners.into_iter().skip(1).chain(between) {
                    let h = hidden(&r);
                    if h < best.1 {
                        best = (r, h);
                    }
                }
                best.0
            }
        }
    }
}

/// The ends of an axis: as given, or around the data with `room` (a fraction of the whole) on both sides.
fn ends(
    name: &'static str,
    given: Option<[f64; 2]>,
    scale: Scale,
    room: f64,
    values: impl Iterator<Item = f64>,
) -> Result<[f64; 2], Error> {
    if let Some([min, max]) = given {
        let fits = min < max && (max - min).is_finite() && (scale == Scale::Linear || min >= 1e-300);
        let expected = "finite numbers, min < max, at least 1e-300 on a logarithmic axis";
        return if fits { Ok([min, max]) } else { Err(Error::param(name, format_args!("{min} to {max}"), expected)) };
    }
    // Beyond these values differences would overflow, and logarithms of subnormal numbers lose their meaning.
    let (lowest, highest) = match scale {
        Scale::Linear => (-1e300, 1e300),
        Scale::Log => (1e-300, 1e300),
    };
    let [min, max] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], v| [lo.min(v), hi.max(v)]);
    let [min, max] = [min, max].map(|v| v.clamp(lowest, highest));
    Ok(match scale {
        _ if min > max => [if scale == Scale::Log { 0.1 } else { 0.0 }, 1.0],
        Scale::Linear => {
            let span = max - min;
            if span > 1e-9 * min.abs().max(max.abs()) {
                [min - room * span, max + room * span]
            } else {
                let half = if min == 0.0 { 0.5 } else { 0.5 * min.abs() };
                [min - half, max + half]
            }
        }
        Scale::Log => {
            let factor = if max / min > 1.0 + 1e-9 { (max / min).powf(room) } else { 3.0 };
            [(min / factor).max(lowest), (max * factor).min(highest)]
        }
    })
}

/// The part of a straight piece that lies within a box, a little enlarged (Liang and Barsky 1984); `None` when it
/// misses it.
fn cut(from: [f64; 2], to: [f64; 2], r: Rect) -> Option<Segment> {
    const EDGE: f64 = 4.0;
    let low = [r.x as f64 - EDGE, r.y as f64 - EDGE];
    let high = [(r.x + r.width) as f64 + EDGE, (r.y + r.height) as f64 + EDGE];
    let (mut t0, mut t1) = (0.0f64, 1.0f64);
    for k in 0..2 {
        let d = to[k] - from[k];
        if d == 0.0 {
            if from[k] < low[k] || from[k] > high[k] {
                return None;
            }
            continue;
        }
        let (a, b) = ((low[k] - from[k]) / d, (high[k] - from[k]) / d);
        t0 = t0.max(a.min(b));
        t1 = t1.min(a.max(b));
    }
    let at = |t: f64| [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])];
    (t0 <= t1).then(|| Segment { from: at(t0), to: at(t1) })
}

/// Breaks a chain of straight pieces into dashes of length `on` with gaps of length `off`.
fn dash(pieces: &[Segment], on: f64, off: f64) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut walked = 0.0;
    for s in pieces {
        let d = [s.to[0] - s.from[0], s.to[1] - s.from[1]];
        let length = d[0].hypot(d[1]);
        let at = |t: f64| [s.from[0] + d[0] * t / length, s.from[1] + d[1] * t / length];
        let mut t = 0.0;
        while t < length {
            let phase = (walked + t) % (on + off);
            // At least a hundredth of a pixel forward, whatever rounding leaves of the rest.
            let rest = if phase < on { on - phase } else { on + off - phase }.max(0.01);
            let end = (t + rest).min(length);
            if phase < on {
                out.push(Segment { from: at(t), to: at(end) });
            }
            t = end;
        }
        walked += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Limits;

    const BODY: Rect = Rect { x: 60, y: 20, width: 201, height: 101 };

    fn draw(plot: &Plot) -> Rgb {
        let (measured, _) = plot.measure([BODY.height, BODY.width], 1.0).unwrap();
        let mut picture = Rgb::new(300, 180, WHITE, Limits::default()).unwrap();
        plot.draw(&measured, BODY, 1.0, &mut picture);
        picture
    }

    fn unit_plot(series: Vec<Series>) -> Plot {
        Plot { x_range: Some([0.0, 1.0]), y_range: Some([0.0, 1.0]), series, ..Plot::default() }
    }

    #[test]
    fn lines_points_and_guides_are_where_their_values_say() {
        let color = Some([200, 0, 0]);
        let line = Series { x: vec![0.0, 1.0], y: vec![0.0, 1.0], color, ..Series::default() };
        let picture = draw(&unit_plot(vec![line]));
        // From the lower left (60, 120) to the upper right (260, 20): two columns a row.
        for i in 1..100 {
            assert_eq!(picture.at(60 + 2 * i, 120 - i), [200, 0, 0], "{i}");
        }
        let dot = Series { x: vec![0.25], y: vec![0.75], line: Line::Points, color, ..Series::default() };
        let picture = draw(&unit_plot(vec![dot]));
        assert_eq!(picture.at(110, 45), [200, 0, 0]);
        let red = picture.data.chunks(3).filter(|c| **c == [200, 0, 0]).count();
        assert_eq!(red, 13, "a dot five pixels across covers the pixels up to two away wholly");
        let guide = Guide { value: 0.3, ..Guide::default() };
        let picture = draw(&Plot { guides: vec![guide], ..unit_plot(Vec::new()) });
        let dark = (60..261).filter(|&x| picture.at(x, 90)[0] < 150).count();
        assert!((80..160).contains(&dark), "about half of a dashed line is drawn, not {dark}");
    }

    #[test]
    fn logarithmic_axes_space_decades_evenly() {
        let dots = Series {
            x: vec![1.0, 10.0, 100.0, -5.0, 0.0],
            y: vec![1e-4, 1e-2, 1.0, 1.0, 1.0],
            line: Line::Points,
            color: Some([200, 0, 0]),
            ..Series::default()
        };
        let plot = Plot {
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            x_range: Some([0.1, 1000.0]),
            y_range: Some([1e-6, 1e2]),
            series: vec![dots],
            ..Plot::default()
        };
        let picture = draw(&plot);
        for i in 0..3 {
            assert_eq!(picture.at(60 + 50 * (i + 1), 120 - 25 * (i + 1)), [200, 0, 0], "{i}");
        }
    }

    #[test]
    fn gaps_and_far_points_do_no_harm() {
        let series = Series {
            x: vec![0.0, 0.2, 0.4, 0.6, f64::INFINITY, 0.8, 1.0],
            y: vec![0.5, 0.5, f64::NAN, 1e300, 0.5, -1e300, 0.5],
            color: Some([200, 0, 0]),
            ..Series::default()
        };
        let picture = draw(&unit_plot(vec![series]));
        assert_eq!(picture.at(80, 70), [200, 0, 0]);
        // Between x = 0.2 and the next finite point nothing is drawn.
        assert!((104..176).all(|x| picture.at(x, 70) != [200, 0, 0]));
    }

    #[test]
    fn axes_hold_all_values_when_no_range_is_given() {
        for scale in [Scale::Linear, Scale::Log] {
            for y in [vec![], vec![0.0], vec![3.0, 3.0], vec![1e-320, 1e308], vec![-1e308, 1e308], vec![f64::NAN, 2.0]]
            {
                let series = Series { x: (0..y.len()).map(|i| i as f64).collect(), y: y.clone(), ..Series::default() };
                let plot = Plot { y_scale: scale, series: vec![series], ..Plot::default() };
                let (m, _) = plot.measure([100, 200], 1.0).unwrap();
                assert!(m.y[0] < m.y[1] && (m.y[1] - m.y[0]).is_finite() && m.x[0] < m.x[1], "{scale:?} {y:?}");
                draw(&plot);
            }
        }
    }

    #[test]
    fn legend_goes_where_it_hides_nothing() {
        let x: Vec<f64> = (0..50).map(|i| f64::from(i) / 49.0).collect();
        let falling =
            Series { label: "a".into(), y: x.iter().map(|x| 1.0 - x).collect(), x: x.clone(), ..Series::default() };
        let plot = unit_plot(vec![falling]);
        let (measured, _) = plot.measure([BODY.height, BODY.width], 1.0).unwrap();
        let place = Frame { plot: &plot, measured: &measured, body: BODY }.legend_corner(60, 30, 1.0);
        assert_eq!((place.x, place.y), (60 + 201 - 8 - 60, 28));
        let rising = Series { label: "a".into(), y: x.clone(), x, ..Series::default() };
        let plot = unit_plot(vec![rising]);
        let place = Frame { plot: &plot, measured: &measured, body: BODY }.legend_corner(60, 30, 1.0);
        assert_eq!((place.x, place.y), (68, 28));
    }

    #[test]
    fn wrong_input_is_refused() {
        let uneven = Series { x: vec![0.0; 3], y: vec![0.0; 2], ..Series::default() };
        let plot = Plot { series: vec![uneven], ..Plot::default() };
        assert!(matches!(plot.measure([100, 100], 1.0), Err(Error::Shape { .. })));
        for range in [[1.0, 1.0], [2.0, 1.0], [f64::NAN, 1.0], [-f64::MAX, f64::MAX]] {
            let plot = Plot { y_range: Some(range), ..Plot::default() };
            assert!(matches!(plot.measure([100, 100], 1.0), Err(Error::Param { .. })), "{range:?}");
        }
        let plot = Plot { x_scale: Scale::Log, x_range: Some([0.0, 1.0]), ..Plot::default() };
        assert!(matches!(plot.measure([100, 100], 1.0), Err(Error::Param { .. })));
        let guide = Guide { value: f64::NAN, ..Guide::default() };
        let plot = Plot { guides: vec![guide], ..Plot::default() };
        assert!(matches!(plot.measure([100, 100], 1.0), Err(Error::Param { .. })));
    }

    #[test]
    fn dashes_cover_their_share_of_the_line() {
        let line = [Segment { from: [0.0, 0.0], to: [100.0, 0.0] }, Segment { from: [100.0, 0.0], to: [100.0, 100.0] }];
        let dashes = dash(&line, 6.0, 4.0);
        let drawn: f64 = dashes.iter().map(|s| (s.to[0] - s.from[0]).hypot(s.to[1] - s.from[1])).sum();
        assert!((drawn - 120.0).abs() < 0.5, "{drawn}");
        assert!(dash(&[Segment { from: [1.0, 1.0], to: [1.0, 1.0] }], 6.0, 4.0).is_empty());
    }
}
