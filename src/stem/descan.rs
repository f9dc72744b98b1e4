//! Descan: the beam wanders over the detector while it scans the specimen.

use crate::error::Error;
use crate::stem::Com;

/// The centre of the pattern as a plane over the scan: c(i_y, i_x) = origin + per_y i_y + per_x i_x.
///
/// # Units
/// 1/Å, along the axes of the centre of mass it was fitted to; each member is `[y, x]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Descan {
    /// c at scan position (0, 0).
    pub origin: [f64; 2],
    /// Change of c a scan row.
    pub per_y: [f64; 2],
    /// Change of c a scan column.
    pub per_x: [f64; 2],
}

impl Descan {
    /// Fits a plane to each component by least squares, weighted by the electrons of the frames (variances fall as
    /// 1/electrons).
    ///
    /// A scan of one row or one column has no slope across it: that slope is 0. What the plane takes away from a phase
    /// is its overall tilt and a parabola, which a scan cannot tell from descan.
    ///
    /// # Errors
    /// [`Error::Data`] when no frame has electrons, or a value is not finite.
    pub fn fit(com: &Com) -> Result<Self, Error> {
        let [ny, nx] = com.scan();
        let w = com.electrons.as_slice();
        let total: f64 = w.iter().sum();
        if !(total > 0.0 && total.is_finite()) {
            return Err(Error::Data { what: format!("descan of frames with {total} electrons"), index: 0 });
        }
        // About the weighted mean position the constant separates from the slopes.
        let weighted = |f: &dyn Fn(usize) -> f64| (0..ny * nx).map(|i| w[i] * f(i)).sum::<f64>() / total;
        let (y0, x0) = (weighted(&|i| (i / nx) as f64), weighted(&|i| (i % nx) as f64));
        let (dy, dx) = (|i: usize| (i / nx) as f64 - y0, |i: usize| (i % nx) as f64 - x0);
        let (yy, xx, xy) = (weighted(&|i| dy(i) * dy(i)), weighted(&|i| dx(i) * dx(i)), weighted(&|i| dy(i) * dx(i)));
        let mut plane = Descan::default();
        for (a, c) in [&com.y, &com.x].into_iter().enumerate() {
            let c = c.as_slice();
            let (mean, cy, cx) = (weighted(&|i| c[i]), weighted(&|i| c[i] * dy(i)), weighted(&|i| c[i] * dx(i)));
            // Normal equations of two slopes; a direction without extent keeps slope 0.
            let det = yy * xx - xy * xy;
            let (py, px) = if det > 1e-12 * (yy * xx).max(f64::MIN_POSITIVE) {
                ((cy * xx - cx * xy) / det, (cx * yy - cy * xy) / det)
            } else {
                (if yy > 0.0 && yy >= xx { cy / yy } else { 0.0 }, if xx > yy { cx / xx } else { 0.0 })
            };
            plane.per_y[a] = py;
            plane.per_x[a] = px;
            plane.origin[a] = mean - py * y0 - px * x0;
            if !plane.origin[a].is_finite() {
                let index = c.iter().position(|v| !v.is_finite()).unwrap_or(0);
                return Err(Error::Data { what: "centre of mass that is not finite".into(), index });
            }
        }
        Ok(plane)
    }

    /// c at a scan position: `[y, x]`.
    pub fn at(&self, i_y: usize, i_x: usize) -> [f64; 2] {
        std::array::from_fn(|a| self.origin[a] + self.per_y[a] * i_y as f64 + self.per_x[a] * i_x as f64)
    }

    /// The centre of mass with the plane taken off. Frames without electrons stay at 0.
    pub fn corrected(&self, com: &Com) -> Com {
        let [_, nx] = com.scan();
        let mut c = com.clone();
        for i in 0..c.y.len() {
            if c.electrons.as_slice()[i] > 0.0 {
                let [y, x] = self.at(i / nx, i % nx);
                c.y.as_mut_slice()[i] -= y;
                c.x.as_mut_slice()[i] -= x;
            }
        }
        c
    }
}
