//! The centre of a pattern: its centre of mass, and the edge of the bright-field disk.

use std::f64::consts::TAU;

use crate::error::Error;
use crate::stem::DataSet;
use crate::tensor::Tensor;
use crate::units::Angle;

/// Σ I r / Σ I in pixels, `[y, x]`.
///
/// # Errors
/// [`Error::Shape`] for a pattern that has not two axes, [`Error::Data`] for a value that is negative or not finite, or
/// a sum of 0.
pub fn centre_of_mass(pattern: &Tensor<f64>) -> Result<[f64; 2], Error> {
    let [_, nx] = check_pattern(pattern)?;
    let (mut s, mut y, mut x) = (0.0, 0.0, 0.0);
    for (i, &v) in pattern.as_slice().iter().enumerate() {
        s += v;
        y += v * (i / nx) as f64;
        x += v * (i % nx) as f64;
    }
    if s <= 0.0 { Err(Error::Data { what: "pattern without counts".into(), index: 0 }) } else { Ok([y / s, x / s]) }
}

/// A pattern is an image of finite numbers, none of them negative. Returns its dimensions.
pub(crate) fn check_pattern(pattern: &Tensor<f64>) -> Result<[usize; 2], Error> {
    let &[ny, nx] = pattern.dims() else {
        return Err(Error::shape("pattern: number of axes", &[2], &[pattern.dims().len()]));
    };
    match pattern.as_slice().iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        Some(index) => Err(Error::Data { what: format!("pattern value of {}", pattern.as_slice()[index]), index }),
        None => Ok([ny, nx]),
    }
}

/// Parameters of [`bright_field_disk`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskParams {
    /// The edge is where the intensity passes this fraction of the plateau.
    pub threshold: f64,
    /// Number of rays along which the edge is looked for.
    pub rays: usize,
}

impl Default for DiskParams {
    fn default() -> Self {
        DiskParams { threshold: 0.5, rays: 360 }
    }
}

/// A disk found in a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disk {
    /// Centre in pixels, `[y, x]`.
    pub centre: [f64; 2],
    /// Radius in pixels of the detector's y axis (an ellipse if its pixels are not square).
    pub radius: f64,
    /// The radius as an angle: the estimate of the probe's convergence semi-angle.
    pub semi_angle: Angle,
    /// Root mean square distance of the edge points from the circle, in pixels.
    pub roughness: f64,
    /// The intensity inside.
    pub plateau: f64,
}

/// Finds the bright-field disk of a mean pattern `[det_y, det_x]`, with radius and centre to a fraction of a pixel.
///
/// In the pattern's 3 × 3 median, which has no hot pixels, the plateau P is the median of the pixels above `threshold`
/// · P, by iteration from the brightest; the middle of those pixels is the first centre and √(area/π) the first radius.
/// Then, in the pattern itself, on every ray the outermost crossing of `threshold` · P is found by linear
/// interpolation, and a circle is fitted to the crossings by linear least squares (x² + y² = 2ax + 2by + c), twice,
/// leaving out points more than three times the median distance away.
///
/// # Errors
/// [`Error::Param`] for a threshold outside (0, 1) or fewer than 8 rays; what [`centre_of_mass`] gives; [`Error::Data`]
/// when there is no closed edge on the detector.
///
/// # References
/// Circle fit: I. Kåsa, IEEE Trans. Instrum. Meas. IM-25, 8 (1976).
pub fn bright_field_disk(data: &DataSet, pattern: &Tensor<f64>, params: DiskParams) -> Result<Disk, Error> {
    let p = params;
    if !(p.threshold > 0.0 && p.threshold < 1.0) {
        return Err(Error::param("threshold", p.threshold, "a fraction between 0 and 1"));
    }
    if p.rays < 8 {
        return Err(Error::param("rays", p.rays, "at least 8"));
    }
    let dims = check_pattern(pattern)?;
    if dims != data.detector() {
        return Err(Error::shape("bright_field_disk", &data.detector(), &dims));
    }
    let [ny, nx] = dims;
    // Lengths are in pixels of y; one pixel of x is `aspect` of them.
    let [ay, ax] = data.calibration().pixel_angle().map(|a| a.to_rad());
    let aspect = ax / ay;

    let i = pattern.as_slice();
    // Hot pixels must not be taken for the disk: levels and first guesses come from the median of 3 × 3 pixels.
    let smooth = median3(i, dims);
    let mut sorted = smooth.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut plateau = sorted.last().copied().unwrap_or(0.0);
    for _ in 0..20 {
        let above = &sorted[sorted.partition_point(|&v| v < p.threshold * plateau)..];
        let next = above.get(above.len() / 2).copied().unwrap_or(plateau);
        if next == plateau {
            break;
        }
        plateau = next;
    }
    let level = p.threshold * plateau;
    let (mut n, mut cy, mut cx) = (0.0, 0.0, 0.0);
    for (k, _) in smooth.iter().enumerate().filter(|(_, v)| **v >= level) {
        n += 1.0;
        cy += (k / nx) as f64;
        cx += (k % nx) as f64;
    }
    if !(plateau > 0.0 && n > 0.0) {
        return Err(Error::Data { what: "pattern without counts".into(), index: 0 });
    }
    let (mut centre, mut radius) = ([cy / n, cx / n], (n * aspect / std::f64::consts::PI).sqrt());

    let mut roughness = 0.0;
    for _ in 0..3 {
        let points = edge_points(i, dims, centre, radius, aspect, level, p.rays);
        if points.len() < p.rays / 2 {
            let what = format!("no closed edge of a bright-field disk ({} of {} rays cross it)", points.len(), p.rays);
            return Err(Error::Data { what, index: centre[0] as usize * nx + centre[1] as usize });
        }
        let everything = fit_circle(&points);
        let mut distances: Vec<f64> = points.iter().map(|q| everything.distance(*q)).collect();
        let mut ordered = distances.clone();
        ordered.sort_unstable_by(f64::total_cmp);
        let limit = 3.0 * ordered[ordered.len() / 2].max(0.02);
        let kept: Vec<[f64; 2]> =
            points.iter().zip(&distances).filter(|(_, d)| **d <= limit).map(|(q, _)| *q).collect();
        let circle = fit_circle(&kept);
        distances.clear();
        distances.extend(kept.iter().map(|q| circle.distance(*q).powi(2)));
        roughness = (distances.iter().sum::<f64>() / distances.len() as f64).sqrt();
        centre = [circle.y, circle.x / aspect];
        radius = circle.r;
        if !(roughness <= 0.2 * radius
            && radius.is_finite()
            && (0.0..=(ny - 1) as f64).contains(&centre[0])
            && (0.0..=(nx - 1) as f64).contains(&centre[1]))
        {
            return Err(Error::Data { what: "the edge found is no disk on the detector".into(), index: 0 });
        }
    }
    Ok(Disk { centre, radius, semi_angle: Angle::rad(radius * ay), roughness, plateau })
}

/// The median of every pixel and those around it.
fn median3(i: &[f64], [ny, nx]: [usize; 2]) -> Vec<f64> {
    let mut out = Vec::with_capacity(i.len());
    let mut near = Vec::with_capacity(9);
    for y in 0..ny {
        for x in 0..nx {
            near.clear();
            for v in y.saturating_sub(1)..(y + 2).min(ny) {
                near.extend_from_slice(&i[v * nx + x.saturating_sub(1)..v * nx + (x + 2).min(nx)]);
            }
            near.sort_unstable_by(f64::total_cmp);
            out.push(near[near.len() / 2]);
        }
    }
    out
}

/// Where rays from the centre cross `level` for the last time, in pixels of y: [y, x].
fn edge_points(
    i: &[f64],
    [ny, nx]: [usize; 2],
    centre: [f64; 2],
    radius: f64,
    aspect: f64,
    level: f64,
    rays: usize,
) -> Vec<[f64; 2]> {
    let sample = |r: f64, (sin, cos): (f64, f64)| -> Option<f64> {
        let (y, x) = (centre[0] + r * sin, centre[1] + r * cos / aspect);
        let (fy, fx) = (y.floor(), x.floor());
        if fy < 0.0 || fx < 0.0 || fy + 1.0 >= ny as f64 || fx + 1.0 >= nx as f64 {
            return None;
        }
        let (k, wy, wx) = (fy as usize * nx + fx as usize, y - fy, x - fx);
        let top = i[k] * (1.0 - wx) + i[k + 1] * wx;
        let bottom = i[k + nx] * (1.0 - wx) + i[k + nx + 1] * wx;
        Some(top * (1.0 - wy) + bottom * wy)
    };
    const STEP: f64 = 0.25;
    let mut points = Vec::with_capacity(rays);
    for ray in 0..rays {
        let direction = (TAU * ray as f64 / rays as f64).sin_cos();
        // Inwards from well outside, as disks of single frames of a crystal have structure inside.
        let steps = ((1.5 * radius + 4.0) / STEP) as usize;
        let mut outside: Option<f64> = None;
        for s in (0..=steps).rev() {
            let r = s as f64 * STEP;
            let Some(v) = sample(r, direction) else { continue };
            match outside {
                Some(o) if v >= level && o < level => {
                    let at = r + STEP * (v - level) / (v - o);
                    points.push([centre[0] + at * direction.0, centre[1] * aspect + at * direction.1]);
                    break;
                }
                _ => outside = Some(v),
            }
        }
    }
    points
}

struct Circle {
    y: f64,
    x: f64,
    r: f64,
}

impl Circle {
    fn distance(&self, [y, x]: [f64; 2]) -> f64 {
        ((y - self.y).hypot(x - self.x) - self.r).abs()
    }
}

/// Least squares of x² + y² = 2ax + 2by + c about the mean of the points.
fn fit_circle(points: &[[f64; 2]]) -> Circle {
    let n = points.len() as f64;
    let mean: [f64; 2] = std::array::from_fn(|a| points.iter().map(|p| p[a]).sum::<f64>() / n);
    let (mut yy, mut xx, mut xy, mut yr, mut xr, mut r2) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for p in points {
        let (y, x) = (p[0] - mean[0], p[1] - mean[1]);
        let s = y * y + x * x;
        yy += y * y;
        xx += x * x;
        xy += x * y;
        yr += y * s;
        xr += x * s;
        r2 += s;
    }
    let det = yy * xx - xy * xy;
    let (b, a) = (0.5 * (yr * xx - xr * xy) / det, 0.5 * (xr * yy - yr * xy) / det);
    Circle { y: mean[0] + b, x: mean[1] + a, r: (r2 / n + a * a + b * b).sqrt() }
}
