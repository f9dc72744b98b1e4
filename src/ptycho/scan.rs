//! Scan positions, and how they lie on the object's pixels.

use crate::error::Error;
use crate::ptycho::kernels::Window;
use crate::units::{Angle, Length};

/// Positions `[y, x]` of a rectangular scan, row by row: `r(i, j) = R(rotation) · (i · step_y, j · step_x)`.
///
/// A positive rotation turns the scan from the x axis towards the y axis.
///
/// ```
/// use exitwave::ptycho::grid;
/// use exitwave::units::{Angle, Length};
/// let a = Length::angstrom(0.5);
/// let r = grid([2, 3], [a, a], Angle::ZERO);
/// assert_eq!(r[4], [a, a]);
/// ```
pub fn grid([ny, nx]: [usize; 2], step: [Length; 2], rotation: Angle) -> Vec<[Length; 2]> {
    let (s, c) = rotation.to_rad().sin_cos();
    let mut r = Vec::with_capacity(ny * nx);
    for i in 0..ny {
        for j in 0..nx {
            let (y, x) = (step[0] * i as f64, step[1] * j as f64);
            r.push([x * s + y * c, x * c - y * s]);
        }
    }
    r
}

/// `n` positions of a Fermat spiral, `r = c √i` at multiples of the golden angle: the most even cover of a disk,
/// without the periodicity of a grid that ptychography amplifies. `spacing` is the mean distance of neighbours: each
/// position owns an area spacing².
///
/// # References
/// X. Huang et al., Opt. Express 22, 12634 (2014).
pub fn spiral(n: usize, spacing: Length) -> Vec<[Length; 2]> {
    let golden = std::f64::consts::PI * (3.0 - 5f64.sqrt());
    // π r² = n spacing² at the rim.
    let c = spacing / std::f64::consts::PI.sqrt();
    (0..n)
        .map(|i| {
            let (s, co) = (golden * i as f64).sin_cos();
            let r = c * (i as f64).sqrt();
            [r * s, r * co]
        })
        .collect()
}

/// Longest side of an object, in pixels.
const SIDE: usize = 65536;

/// Where the probe's window lies on the object for each pattern, in object pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    /// Row and column of the first pixel of each window, `[y, x]`; fractions are sub-pixel shifts of the probe.
    pub pixels: Vec<[f64; 2]>,
    /// `[height, width]` of the object that holds all windows.
    pub object: [usize; 2],
    /// Size of an object pixel, `[y, x]`.
    pub pixel: [Length; 2],
}

impl Positions {
    /// Puts positions of the probe on the smallest object that holds all windows of `window` = `[ny, nx]` pixels, and
    /// `margin` pixels more on every side, which refined positions may use.
    ///
    /// The pixel size is fixed by the detector: λ/(n Δα), or 1/(n Δk), for n detector pixels of angle Δα or frequency
    /// Δk.
    ///
    /// # Errors
    /// [`Error::Param`] for no positions, positions that are not finite, a pixel size that is not positive, or an
    /// object that would be longer than 65536 pixels.
    pub fn new(
        positions: &[[Length; 2]],
        pixel: [Length; 2],
        window: [usize; 2],
        margin: usize,
    ) -> Result<Self, Error> {
        if !pixel.iter().all(|p| p.is_finite() && *p > Length::ZERO) {
            return Err(Error::param("pixel", format!("[{}, {}]", pixel[0], pixel[1]), "a positive length"));
        }
        let raw: Vec<[f64; 2]> = positions.iter().map(|r| [r[0] / pixel[0], r[1] / pixel[1]]).collect();
        if raw.is_empty() || raw.iter().flatten().any(|v| !v.is_finite()) {
            return Err(Error::param("positions", format!("{} of them", raw.len()), "at least one, all finite"));
        }
        let extent = |axis: usize| {
            raw.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p[axis]), hi.max(p[axis])))
        };
        let (mut object, mut low) = ([0; 2], [0.0; 2]);
        for axis in 0..2 {
            let (lo, hi) = extent(axis);
            let size = (hi - lo).round() + window[axis] as f64 + 2.0 * margin as f64;
            if size > SIDE as f64 {
                let got = format!("positions over {} pixels and a margin of {margin}", hi - lo);
                return Err(Error::param("object", got, "at most 65536 pixels a side"));
            }
            (object[axis], low[axis]) = (size as usize, lo);
        }
        let pixels = raw.iter().map(|p| [p[0] - low[0] + margin as f64, p[1] - low[1] + margin as f64]).collect();
        Ok(Positions { pixels, object, pixel })
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Checks that every window of `[ny, nx]` lies on the object.
    ///
    /// # Errors
    /// - [`Error::Data`] naming the first position that does not,
    /// - [`Error::Param`] for an object longer than 65536 pixels.
    pub fn check(&self, window: [usize; 2]) -> Result<(), Error> {
        if self.object.iter().any(|&n| n > SIDE) {
            return Err(Error::param("object", format!("{:?}", self.object), "at most 65536 pixels a side"));
        }
        for (index, p) in self.pixels.iter().enumerate() {
            let inside = |axis: usize| {
                // A position that is not finite fails one of the two.
                p[axis].round() >= 0.0 && p[axis].round() + window[axis] as f64 <= self.object[axis] as f64
            };
            if !(inside(0) && inside(1)) {
                let what = format!("window at {p:?} of {window:?} pixels outside the object of {:?}", self.object);
                return Err(Error::Data { what, index });
            }
        }
        Ok(())
    }
}

/// The window of a position, and the fraction of a pixel, in [−½, ½], by which the probe is moved in it.
pub(crate) fn place(p: [f64; 2], [ny, nx]: [usize; 2], width: usize) -> (Window, [f64; 2]) {
    let (y, x) = (p[0].round(), p[1].round());
    (Window { y0: y as usize, x0: x as usize, ny, nx, width }, [p[0] - y, p[1] - x])
}

/// Keeps a refined position where its window lies on the object.
pub(crate) fn clamp(p: [f64; 2], window: [usize; 2], object: [usize; 2]) -> [f64; 2] {
    std::array::from_fn(|axis| p[axis].clamp(-0.49, (object[axis] - window[axis]) as f64 + 0.49))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn angstrom(v: [f64; 2]) -> [Length; 2] {
        v.map(Length::angstrom)
    }

    #[test]
    fn a_quarter_turn_takes_the_fast_axis_to_y() {
        let r = grid([1, 2], angstrom([1.0, 2.0]), Angle::deg(90.0));
        assert!((r[1][0].to_angstrom() - 2.0).abs() < 1e-12 && r[1][1].to_angstrom().abs() < 1e-12);
    }

    #[test]
    fn the_object_holds_every_window() {
        let r = [angstrom([-1.0, 4.0]), angstrom([2.4, 0.1]), angstrom([0.0, 1.0])];
        let p = Positions::new(&r, angstrom([0.5, 0.25]), [8, 6], 2).unwrap();
        p.check([8, 6]).unwrap();
        assert_eq!(p.object, [7 + 8 + 4, 16 + 6 + 4]);
        assert_eq!(p.pixels[0][0], 2.0);
        // The margin of 2 holds a window that is 2 rows longer, not 3.
        assert!(p.check([10, 6]).is_ok() && p.check([11, 6]).is_err());
    }

    #[test]
    fn unusable_positions_are_errors() {
        let one = angstrom([1.0, 1.0]);
        assert!(Positions::new(&[], one, [4, 4], 0).is_err());
        assert!(Positions::new(&[angstrom([f64::NAN, 0.0])], one, [4, 4], 0).is_err());
        assert!(Positions::new(&[one], angstrom([0.0, 1.0]), [4, 4], 0).is_err());
        assert!(Positions::new(&[one, angstrom([1e300, 0.0])], one, [4, 4], 0).is_err());
        assert!(Positions::new(&[one], one, [4, usize::MAX], usize::MAX).is_err());
        let p = |y, side| Positions { pixels: vec![[y, 0.0]], object: [side, 4], pixel: one };
        for bad in [1e300, 0.5, -0.5, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(matches!(p(bad, 4).check([4, 4]), Err(Error::Data { index: 0, .. })), "{bad}");
        }
        assert!(p(0.49, 4).check([4, 4]).is_ok() && p(-0.49, 4).check([4, 4]).is_ok());
        assert!(matches!(p(0.0, usize::MAX).check([4, 4]), Err(Error::Param { .. })));
        assert_eq!(Positions::new(&[one], one, [4, 4], 0).unwrap().object, [4, 4]);
    }

    #[test]
    fn a_window_and_a_fraction_make_the_position() {
        for y in [-0.49, -0.0, 0.2, 0.5, 7.4999, 7.5, 8.49] {
            let (at, f) = place([y, 3.0], [4, 4], 20);
            assert!((at.y0 as f64 + f[0] - y).abs() < 1e-15 && f[0].abs() <= 0.5, "{y}");
            assert_eq!((at.x0, f[1]), (3, 0.0));
        }
        // What is clamped lies on the object.
        for y in [-1e300, -3.0, 9.0, 1e300] {
            let p = clamp([y, 1.0], [4, 4], [12, 12]);
            assert!(Positions { pixels: vec![p], object: [12, 12], pixel: angstrom([1.0; 2]) }.check([4, 4]).is_ok());
        }
    }

    #[test]
    fn a_spiral_position_owns_the_area_of_its_spacing() {
        let r = spiral(5000, Length::angstrom(0.7));
        let rim = r.iter().map(|p| p[0].to_angstrom().hypot(p[1].to_angstrom())).fold(0.0, f64::max);
        let area = std::f64::consts::PI * rim * rim / 5000.0;
        assert!((area / 0.49 - 1.0).abs() < 1e-3);
    }
}
