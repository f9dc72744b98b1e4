//! Vector fields: direction as hue, magnitude as brightness, arrows on top; and the wheel that explains it.

use super::color::composite;
use crate::error::Error;
use crate::real::Real;

/// How a vector field becomes colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorMap {
    /// The magnitude at full brightness; 0: the 99th percentile.
    pub full: f64,
    /// An arrow every so many pixels; 0: none.
    pub arrows: usize,
}

/// The 99th percentile, no arrows.
impl Default for VectorMap {
    fn default() -> Self {
        VectorMap { full: 0.0, arrows: 0 }
    }
}

impl VectorMap {
    /// Colours of the field with the components `y` (down) and `x` (right), both (ny, nx): hue is the azimuth from x
    /// towards y, brightness the magnitude over `full`; arrows are white where the field is dark, black where it is
    /// bright.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Param`] for a magnitude that is negative or not finite.
    ///
    /// # Examples
    /// ```
    /// use exitwave::render::VectorMap;
    /// let colours = VectorMap { full: 1.0, arrows: 0 }.colours([1, 2], &[0.0, 0.0], &[1.0, 0.0])?;
    /// assert_eq!(colours[1], [0, 0, 0]);
    /// assert!(colours[0][0] > colours[0][2]);
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn colours<T: Real>(&self, dims: [usize; 2], y: &[T], x: &[T]) -> Result<Vec<[u8; 3]>, Error> {
        let [ny, nx] = dims;
        if y.len() != ny * nx || x.len() != ny * nx {
            return Err(Error::shape("VectorMap", &[ny * nx, ny * nx], &[y.len(), x.len()]));
        }
        if !(self.full >= 0.0 && self.full.is_finite()) {
            return Err(Error::param("full", self.full, "a finite number >= 0"));
        }
        let length = |i: usize| x[i].f64().hypot(y[i].f64());
        let full = if self.full > 0.0 { self.full } else { percentile((0..ny * nx).map(length).collect()) };
        let mut out: Vec<[u8; 3]> =
            (0..ny * nx).map(|i| composite((length(i) / full).min(1.0), y[i].f64().atan2(x[i].f64()))).collect();
        if self.arrows > 0 {
            let s = self.arrows;
            for cy in (s / 2..ny).step_by(s) {
                for cx in (s / 2..nx).step_by(s) {
                    let i = cy * nx + cx;
                    let l = length(i);
                    if l > 0.05 * full {
                        let reach = 0.45 * s as f64 * (l / full).min(1.0);
                        let d = [y[i].f64() / l, x[i].f64() / l];
                        arrow(&mut out, dims, [cy as f64, cx as f64], d, reach, (s as f64 / 24.0).max(0.6));
                    }
                }
            }
        }
        Ok(out)
    }
}

/// The 99th percentile, or 1 for a field of zeros.
fn percentile(mut lengths: Vec<f64>) -> f64 {
    lengths.retain(|l| l.is_finite());
    if lengths.is_empty() {
        return 1.0;
    }
    let at = (lengths.len() - 1) * 99 / 100;
    let (_, v, _) = lengths.select_nth_unstable_by(at, f64::total_cmp);
    if *v > 0.0 { *v } else { 1.0 }
}

/// One arrow through the centre `c`, half-length `reach`, with smooth edges.
fn arrow(out: &mut [[u8; 3]], [ny, nx]: [usize; 2], c: [f64; 2], d: [f64; 2], reach: f64, width: f64) {
    let head = 0.8 * reach;
    let margin = reach + width + 1.0;
    let range = |c: f64, n: usize| ((c - margin).max(0.0) as usize)..((c + margin).max(0.0) as usize + 1).min(n);
    for y in range(c[0], ny) {
        for x in range(c[1], nx) {
            let (py, px) = (y as f64 - c[0], x as f64 - c[1]);
            // Along and across the arrow.
            let (u, v) = (py * d[0] + px * d[1], (px * d[0] - py * d[1]).abs());
            let shaft = if u > -reach && u < reach - 0.5 * head { width / 2.0 - v } else { -1.0 };
            let tip = if u <= reach && u > reach - head { 0.45 * (reach - u) - v } else { -1.0 };
            let cover = (shaft.max(tip) + 0.5).clamp(0.0, 1.0);
            if cover > 0.0 {
                let p = &mut out[y * nx + x];
                let light = (u16::from(p[0]) + u16::from(p[1]) + u16::from(p[2])) / 3;
                let ink = if light > 110 { 0.0 } else { 255.0 };
                *p = p.map(|v| (f64::from(v) * (1.0 - cover) + ink * cover).round() as u8);
            }
        }
    }
}

/// The wheel that explains a [`VectorMap`]: `n` × `n` colours, a vector from the middle pointing at each; white outside.
pub fn colour_wheel(n: usize) -> Vec<[u8; 3]> {
    let c = 0.5 * (n as f64 - 1.0);
    let radius = (0.5 * n as f64).max(1.0);
    (0..n * n)
        .map(|i| ((i / n) as f64 - c, (i % n) as f64 - c))
        .map(|(y, x)| if y.hypot(x) <= radius { composite(y.hypot(x) / radius, y.atan2(x)) } else { [255; 3] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_along_the_field_and_stay_inside() {
        let (n, half) = (33, 16);
        let (y, x) = (vec![0.0; n * n], vec![1.0; n * n]);
        let plain = VectorMap::default().colours([n, n], &y, &x).unwrap();
        let drawn = VectorMap { arrows: 33, ..VectorMap::default() }.colours([n, n], &y, &x).unwrap();
        let changed: Vec<usize> = (0..n * n).filter(|&i| plain[i] != drawn[i]).collect();
        assert!(!changed.is_empty());
        // Wider on the side of the tip, as high above as below.
        let high = |at: usize| changed.iter().filter(|&&i| i % n == at).count();
        assert!(high(half + 4) > high(half - 8) && high(half - 8) > 0);
        for &i in &changed {
            assert!(changed.contains(&((n - 1 - i / n) * n + i % n)));
        }
        assert_eq!(colour_wheel(9).len(), 81);
        assert!(VectorMap { full: f64::NAN, arrows: 0 }.colours([1, 1], &[0.0], &[0.0]).is_err());
        assert!(VectorMap::default().colours([2, 2], &[0.0], &[0.0]).is_err());
    }
}
