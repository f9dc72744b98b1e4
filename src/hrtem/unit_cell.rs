//! The average of all unit cells of a picture, with its standard error; bent lattices followed.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::lattice_transform::LatticeTransform;
use crate::hrtem::{PlaneLattice, PlaneReflections};
use crate::metrics::Window;
use crate::op::cubic::keys;
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

const TAU: f64 = std::f64::consts::TAU;

/// How unit cells are averaged.
#[derive(Clone, Debug)]
pub struct UnitCellParams {
    /// Points of the cell along a and along b.
    pub dims: [usize; 2],
    /// Where each part of the picture lies, from [`unbend`]; none for a perfect lattice.
    pub bend: Option<Bend>,
    /// Threads.
    pub par: Par,
}

/// 48 × 48 points, a perfect lattice.
impl Default for UnitCellParams {
    fn default() -> Self {
        UnitCellParams { dims: [48, 48], bend: None, par: Par::default() }
    }
}

/// The average cell.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitCell {
    /// Mean over the cells, `[n_a, n_b]`: the point (i, j) is at the fractions (i/n_a, j/n_b) of a and b.
    pub mean: Tensor<f64>,
    /// Standard error of the mean of each point, from the scatter over the cells.
    pub error: Tensor<f64>,
    /// Whole cells in the picture.
    pub cells: usize,
}

/// Displacements of a lattice over a picture, in pixels: what bending, distortion and scan errors did.
#[derive(Clone, Debug, PartialEq)]
pub struct Bend {
    /// Patches along y and x.
    pub patches: [usize; 2],
    /// Size of the picture.
    pub dims: [usize; 2],
    /// Displacement `[y, x]` of each patch from the lattice, row by row.
    pub shifts: Vec<[f64; 2]>,
}

impl Bend {
    /// The displacement at a point, bilinear between the middles of patches.
    pub fn at(&self, point: [f64; 2]) -> [f64; 2] {
        let place = |i: usize| {
            let n = self.patches[i];
            let t = (point[i] + 0.5) / self.dims[i] as f64 * n as f64 - 0.5;
            let t = t.clamp(0.0, (n - 1) as f64);
            let low = (t as usize).min(n.saturating_sub(2));
            (low, (low + 1).min(n - 1), t - low as f64)
        };
        let ((i, i1, p), (j, j1, q)) = (place(0), place(1));
        let value = |i: usize, j: usize| self.shifts[i * self.patches[1] + j];
        [0, 1].map(|c| {
            (1.0 - p) * ((1.0 - q) * value(i, j)[c] + q * value(i, j1)[c])
                + p * ((1.0 - q) * value(i1, j)[c] + q * value(i1, j1)[c])
        })
    }
}

/// Averages all whole cells of a picture, sampled between its pixels.
///
/// Cells are sampled at the points of the average by cubic convolution (Keys, a = −½), which follows the picture to
/// third order: at four
/// pixels a period it keeps 0.93 of the amplitude or more, at eight 0.995.
///
/// `error = √(Σ (cell − mean)² / (n (n − 1)))`, n the number of cells.
///
/// # Shapes
/// `image` is `[ny, nx]`, given by `dims`.
///
/// # Units
/// The lattice in pixels.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] for a cell of no points or a bend of another picture, [`Error::Data`] for pixels
/// that are not finite or a
/// picture with fewer than two whole cells, [`Error::OutOfMemory`].
///
/// # References
/// R. G. Keys, *IEEE Trans. Acoust. Speech Signal Process.* 29, 1153 (1981), eq. (15).
///
/// # Examples
/// ```
/// use exitwave::hrtem::{PlaneLattice, UnitCellParams, average_unit_cell};
/// let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 12.0], b: [12.5, 1.0] };
/// let picture: Vec<f64> = (0..96 * 96)
///     .map(|i| (std::f64::consts::TAU * lattice.fraction([(i / 96) as f64, (i % 96) as f64])[0]).cos())
///     .collect();
/// let cell = average_unit_cell([96, 96], &picture, &lattice, &UnitCellParams::default())?;
/// assert!(cell.cells > 30 && (cell.mean.as_slice()[0] - 1.0).abs() < 0.01);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn average_unit_cell<T: Real>(
    dims: [usize; 2],
    image: &[T],
    lattice: &PlaneLattice,
    params: &UnitCellParams,
) -> Result<UnitCell, Error> {
    let len = checked_len(&dims)?;
    if image.len() != len {
        return Err(Error::shape("average_unit_cell", &dims, &[image.len()]));
    }
    if let Some(index) = image.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: format!("pixel {}", image[index]), index });
    }
    let points = checked_len(&params.dims)?;
    if points == 0 || params.bend.as_ref().is_some_and(|b| b.dims != dims) {
        return Err(Error::param("dims", format!("{:?}", params.dims), "points, and a bend of this picture"));
    }
    let lengths = lattice.reduced().lengths();
    if !(lattice.area() > 1.0 && lengths[1] > 1.0 && lattice.lengths().iter().all(|l| *l < 1e6)) {
        return Err(Error::param("lattice", format!("{lattice:?}"), "a cell of more than a pixel"));
    }
    let cells = whole_cells(dims, lattice, params.bend.as_ref());
    if cells.len() < 2 {
        return Err(Error::Data { what: format!("{} whole cells in {dims:?} pixels", cells.len()), index: 0 });
    }
    let [na, nb] = params.dims;
    let mut sums: Vec<[f64; 2]> = try_zeroed(points)?;
    params.par.chunks(&mut sums, nb, |i, row| {
        for (j, sum) in row.iter_mut().enumerate() {
            // Welford's recurrence: no difference of large sums.
            for (n, cell) in cells.iter().enumerate() {
                let f = [f64::from(cell[0]) + i as f64 / na as f64, f64::from(cell[1]) + j as f64 / nb as f64];
                let mut p = lattice.at(f);
                if let Some(bend) = &params.bend {
                    let d = bend.at(p);
                    p = [p[0] + d[0], p[1] + d[1]];
                }
                let v = cubic(dims, image, p);
                let delta = v - sum[0];
                sum[0] += delta / (n + 1) as f64;
                sum[1] += delta * (v - sum[0]);
            }
        }
    });
    let n = cells.len() as f64;
    let mean = sums.iter().map(|s| s[0]).collect();
    let error = sums.iter().map(|s| (s[1] / (n * (n - 1.0))).sqrt()).collect();
    Ok(UnitCell {
        mean: Tensor::from_vec(&params.dims, mean)?,
        error: Tensor::from_vec(&params.dims, error)?,
        cells: cells.len(),
    })
}

/// Where each part of a picture lies against its lattice.
///
/// In a patch a reflection's sum is C(h) e^{−2πi k·d} for a displacement d of the patch; d is the weighted least
/// squares solution
/// of the phases of all reflections against `reflections`, with weights |C|², repeated with the phases that remain.
/// Displacements are
/// followed up to about half the finest spacing.
///
/// # Errors
/// As [`average_unit_cell`]; [`Error::Param`] for no patches, or patches smaller than two cells.
///
/// # References
/// M. J. Hÿtch, E. Snoeck and R. Kilaas, *Ultramicroscopy* 74, 131 (1998), eq. (13): displacements from the phases of
/// reflections.
pub fn unbend<T: Real>(
    dims: [usize; 2],
    image: &[T],
    reflections: &PlaneReflections,
    patches: [usize; 2],
    par: &Par,
) -> Result<Bend, Error> {
    let lattice = &reflections.lattice;
    if checked_len(&dims)? != image.len() {
        return Err(Error::shape("unbend", &dims, &[image.len()]));
    }
    let small = |i: usize| patches[i] == 0 || (dims[i] / patches[i]) as f64 <= 2.0 * lattice.reduced().lengths()[1];
    if small(0) || small(1) {
        return Err(Error::param("patches", format!("{patches:?}"), "at least one, of two cells each way at least"));
    }
    let dual = lattice.reciprocal();
    let strong: Vec<_> = reflections.list.iter().filter(|r| r.signal_to_noise() > 5.0).collect();
    let at: Vec<[f64; 2]> = strong.iter().map(|r| dual.at(r.index.map(f64::from))).collect();
    let mut shifts = Vec::with_capacity(patches[0] * patches[1]);
    for n in 0..patches[0] * patches[1] {
        // Patches overlap by half of their neighbours, under Hann's window.
        let range = |i: usize, n: usize| {
            let size = dims[i] as f64 / patches[i] as f64;
            let low = ((n as f64 - 0.25) * size).max(0.0) as usize;
            (low, (((n as f64 + 1.25) * size) as usize).min(dims[i]))
        };
        let ((y0, y1), (x0, x1)) = (range(0, n / patches[1]), range(1, n % patches[1]));
        let patch: Vec<f64> = (y0..y1)
            .flat_map(|y| image[y * dims[1] + x0..y * dims[1] + x1].iter().map(|v| v.f64() - reflections.mean))
            .collect();
        let transform = LatticeTransform::new([y1 - y0, x1 - x0], &patch, Window::Hann, par)?;
        let sums = transform.at(&at, par);
        let mut d = [0.0; 2];
        for _ in 0..8 {
            let (mut m, mut right) = ([0.0; 3], [0.0; 2]);
            for ((r, k), z) in strong.iter().zip(&at).zip(&sums) {
                // Phase of the patch's sum against the lattice's, at the present displacement.
                let origin = [y0 as f64 - lattice.origin[0] - d[0], x0 as f64 - lattice.origin[1] - d[1]];
                let turn: Complex<f64> = cis(-TAU * (k[0] * origin[0] + k[1] * origin[1]));
                let phase = (z * turn * r.f).arg();
                let w = r.f.norm_sqr();
                let k = k.map(|k| TAU * k);
                m = [m[0] + w * k[0] * k[0], m[1] + w * k[0] * k[1], m[2] + w * k[1] * k[1]];
                right = [right[0] - w * k[0] * phase, right[1] - w * k[1] * phase];
            }
            let det = m[0] * m[2] - m[1] * m[1];
            if det.is_nan() || det <= 1e-12 * m[0] * m[2] {
                break;
            }
            let step = [(m[2] * right[0] - m[1] * right[1]) / det, (m[0] * right[1] - m[1] * right[0]) / det];
            d = [d[0] + step[0], d[1] + step[1]];
            if step[0].hypot(step[1]) < 1e-9 {
                break;
            }
        }
        shifts.push(d);
    }
    Ok(Bend { patches, dims, shifts })
}

/// Indices of the cells all of whose points can be interpolated.
fn whole_cells(dims: [usize; 2], lattice: &PlaneLattice, bend: Option<&Bend>) -> Vec<[i32; 2]> {
    let margin = bend.map_or(1.0, |b| 1.0 + b.shifts.iter().flatten().fold(0.0, |m: f64, s| m.max(s.abs())));
    let inside = |p: [f64; 2]| (0..2).all(|i| p[i] >= margin && p[i] <= dims[i] as f64 - 2.0 - margin);
    let corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
    let [ny, nx] = dims.map(|n| n as f64);
    let ends = [[0.0, 0.0], [0.0, nx], [ny, 0.0], [ny, nx]].map(|p| lattice.fraction(p));
    let range = |i: usize| {
        let (low, high) = ends.iter().fold((f64::MAX, f64::MIN), |(l, h), e| (l.min(e[i]), h.max(e[i])));
        low.floor().max(-1e5) as i32..=high.ceil().min(1e5) as i32
    };
    let mut out = Vec::new();
    for h in range(0) {
        for k in range(1) {
            if corners.iter().all(|c| inside(lattice.at([f64::from(h) + c[0], f64::from(k) + c[1]]))) {
                out.push([h, k]);
            }
        }
    }
    out
}

/// Cubic convolution at a point at least one pixel from the edge.
fn cubic<T: Real>(dims: [usize; 2], image: &[T], p: [f64; 2]) -> f64 {
    let low = [0, 1].map(|i| (p[i] as usize).clamp(1, dims[i].saturating_sub(3).max(1)));
    let (wy, wx) = (keys(p[0] - low[0] as f64).0, keys(p[1] - low[1] as f64).0);
    (0..4)
        .map(|i| {
            let row = &image[(low[0] + i - 1) * dims[1] + low[1] - 1..];
            wy[i] * (0..4).map(|j| wx[j] * row[j].f64()).sum::<f64>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hrtem::{ReflectionsParams, measure_reflections};
    use crate::rng;

    fn picture(lattice: &PlaneLattice, n: usize, bend: f64, noise: f64) -> Vec<f64> {
        let mut random = rng::stream(4, 4);
        (0..n * n)
            .map(|i| {
                let (y, x) = ((i / n) as f64, (i % n) as f64);
                // A lattice that is displaced by d is the picture at r − d.
                let d = bend * (TAU * x / (2.0 * n as f64)).sin();
                let [u, v] = lattice.fraction([y - d, x]).map(|u| TAU * u);
                3.0 + u.cos() + v.sin() + 0.5 * (u + v).cos() + noise * rng::normal(&mut random)
            })
            .collect()
    }

    #[test]
    fn the_standard_error_is_that_of_the_noise_and_falls_with_the_cells() {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [1.0, 14.0], b: [15.0, 0.5] };
        let n = 200;
        let cell = average_unit_cell([n, n], &picture(&lattice, n, 0.0, 0.4), &lattice, &UnitCellParams::default());
        let cell = cell.unwrap();
        let truth = |i: usize| {
            let (u, v) = (TAU * (i / 48) as f64 / 48.0, TAU * (i % 48) as f64 / 48.0);
            3.0 + u.cos() + v.sin() + 0.5 * (u + v).cos()
        };
        let points = 48 * 48;
        let chi2: f64 =
            (0..points).map(|i| ((cell.mean.as_slice()[i] - truth(i)) / cell.error.as_slice()[i]).powi(2)).sum::<f64>()
                / points as f64;
        // About 225 independent pixels a cell: 0.1 is one standard deviation of their mean square; interpolation adds
        // to it.
        assert!((chi2 - 1.0).abs() < 0.4, "{chi2}");
        let error = cell.error.as_slice().iter().sum::<f64>() / points as f64;
        // Cubic convolution averages noise: between (Σw²) = 0.41 and 1 of its variance.
        let most = 0.4 / (cell.cells as f64).sqrt();
        assert!(error < most && error > 0.6 * most, "{error} {most}");
    }

    #[test]
    fn a_bent_lattice_is_followed() {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [1.0, 14.0], b: [15.0, 0.5] };
        let (n, bend) = (360, 2.0);
        let image = picture(&lattice, n, bend, 0.1);
        let params = ReflectionsParams { highest: 0.12, par: Par::seq(), ..Default::default() };
        let reflections = measure_reflections([n, n], &image, &lattice, &params).unwrap();
        let found = unbend([n, n], &image, &reflections, [3, 8], &Par::seq()).unwrap();
        // Up to a common displacement, which the reflections' phases hold.
        let rows: Vec<f64> = (0..8).map(|j| found.at([180.0, 45.0 * (j as f64 + 0.5)])[0]).collect();
        let truth: Vec<f64> = (0..8).map(|j| bend * (TAU * 45.0 * (j as f64 + 0.5) / 720.0).sin()).collect();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / 8.0;
        for (r, t) in rows.iter().zip(&truth) {
            assert!((r - mean(&rows) - t + mean(&truth)).abs() < 0.12, "{rows:?} {truth:?}");
        }
        let contrast = |bend| {
            let params = UnitCellParams { bend, par: Par::seq(), ..Default::default() };
            let cell = average_unit_cell([n, n], &image, &lattice, &params).unwrap();
            let m = cell.mean.as_slice().iter().sum::<f64>() / 2304.0;
            (cell.mean.as_slice().iter().map(|v| (v - m).powi(2)).sum::<f64>() / 2304.0).sqrt()
        };
        // √(½ + ½ + ⅛) of the perfect lattice.
        let (straight, followed) = (contrast(None), contrast(Some(found)));
        assert!(followed > straight && (followed / 1.125f64.sqrt() - 1.0).abs() < 0.03, "{straight} {followed}");
    }
}
