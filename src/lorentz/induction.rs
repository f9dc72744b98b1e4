//! What is read from a phase: induction, contours, profiles.

use crate::error::Error;
use crate::lorentz::E_OVER_HBAR;
use crate::optics::Grid;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::units::{Induction, Length};

/// Which way electrons travel through a specimen whose normal is z = x × y.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeamDirection {
    /// Along +z, as everywhere in the crate: x to the right, y down, z away from the eye.
    #[default]
    AlongZ,
    /// Along −z: what programs with z towards the source have.
    AgainstZ,
}

/// The induction perpendicular to the beam, integrated along it, in T·nm.
#[derive(Clone, Debug, PartialEq)]
pub struct InductionMap {
    /// Component along rows, ∫B_y dz (ny, nx), T·nm.
    pub by_t_nm: Tensor<f64>,
    /// Component along columns, ∫B_x dz (ny, nx), T·nm.
    pub bx_t_nm: Tensor<f64>,
}

impl InductionMap {
    /// The mean induction along the beam of a specimen of this thickness, in T: (B_y, B_x).
    pub fn divided(&self, thickness: Length) -> [Tensor<f64>; 2] {
        let t = 1.0 / thickness.to_nm();
        [self.by_t_nm.map(|b| b * t), self.bx_t_nm.map(|b| b * t)]
    }

    /// The magnitude, T·nm.
    pub fn magnitude(&self) -> Tensor<f64> {
        let (y, x) = (self.by_t_nm.as_slice(), self.bx_t_nm.as_slice());
        let nx = self.by_t_nm.dims()[1];
        Tensor::from_fn(self.by_t_nm.dims(), |i| y[i[0] * nx + i[1]].hypot(x[i[0] * nx + i[1]]))
    }
}

/// The induction from the magnetic phase φ = −(e/ħ)∫A·dl, for a beam along +z:
///
/// ```text
/// ∫B_y dz = (ħ/e) ∂φ/∂x,   ∫B_x dz = −(ħ/e) ∂φ/∂y
/// ```
///
/// by central differences, of second order at the edges too. Along −z both signs change.
///
/// # Errors
/// [`Error::Shape`] for a phase that is not (ny, nx), or with a side below 3.
///
/// # References
/// M. De Graef, *Introduction to Conventional Transmission Electron Microscopy* (2003), section 7.4.
pub fn induction<T: Real>(phase: &Tensor<T>, grid: &Grid, beam: BeamDirection) -> Result<InductionMap, Error> {
    grid.check()?;
    let [ny, nx] = grid.dims;
    if phase.dims() != grid.dims || ny < 3 || nx < 3 {
        return Err(Error::shape("induction", &[ny.max(3), nx.max(3)], phase.dims()));
    }
    let p = phase.as_slice();
    let slope = |i: usize, n: usize, at: &dyn Fn(usize) -> f64| {
        if i == 0 {
            -1.5 * at(0) + 2.0 * at(1) - 0.5 * at(2)
        } else if i + 1 == n {
            1.5 * at(n - 1) - 2.0 * at(n - 2) + 0.5 * at(n - 3)
        } else {
            0.5 * (at(i + 1) - at(i - 1))
        }
    };
    let sign = if beam == BeamDirection::AlongZ { 1.0 } else { -1.0 };
    // rad/Å over rad/(T Å²) is T Å; ten of them are a T nm.
    let unit = grid.sampling.map(|d| sign * 0.1 / (E_OVER_HBAR * d.to_angstrom()));
    let by = Tensor::from_fn(&[ny, nx], |i| unit[1] * slope(i[1], nx, &|x| p[i[0] * nx + x].f64()));
    let bx = Tensor::from_fn(&[ny, nx], |i| -unit[0] * slope(i[0], ny, &|y| p[y * nx + i[1]].f64()));
    Ok(InductionMap { by_t_nm: by, bx_t_nm: bx })
}

/// The phase gradient, rad/Å, of an induction B over a thickness t: (e/ħ) B t.
pub fn phase_gradient(induction: Induction, thickness: Length) -> f64 {
    E_OVER_HBAR * induction.to_tesla() * thickness.to_angstrom()
}

/// A contour map: `cos(n φ)`; neighbouring bright lines are 2π/n apart, and for a magnetic phase enclose a flux of
/// h/(ne).
pub fn contours<T: Real>(phase: &Tensor<T>, amplification: f64) -> Tensor<f64> {
    phase.map(|p| (amplification * p.f64()).cos())
}

/// A profile through an image: the distance from the start and the value, averaged over a width.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Distance from the start, pixels.
    pub distance: Vec<f64>,
    /// Value, by linear interpolation.
    pub value: Vec<f64>,
}

/// The values of an image along the line from `from` to `to`, both `[y, x]` in pixels, one a pixel, averaged over
/// `width` parallel lines a pixel apart.
///
/// # Errors
/// [`Error::Shape`] for no image, [`Error::Param`] for ends outside the image or a width of 0.
pub fn profile<T: Real>(image: &Tensor<T>, from: [f64; 2], to: [f64; 2], width: usize) -> Result<Profile, Error> {
    let &[ny, nx] = image.dims() else {
        return Err(Error::shape("profile", &[0, 0], image.dims()));
    };
    let inside = |p: [f64; 2]| p[0] >= 0.0 && p[1] >= 0.0 && p[0] <= ny as f64 - 1.0 && p[1] <= nx as f64 - 1.0;
    let length = (to[0] - from[0]).hypot(to[1] - from[1]);
    if !(inside(from) && inside(to) && length > 0.0 && width > 0) {
        return Err(Error::param("profile", format!("{from:?} to {to:?}, {width} wide"), "a line inside the image"));
    }
    let d = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
    let p = image.as_slice();
    let at = |y: f64, x: f64| {
        let (y, x) = (y.clamp(0.0, ny as f64 - 1.0), x.clamp(0.0, nx as f64 - 1.0));
        let (iy, ix) = ((y as usize).min(ny.saturating_sub(2)), (x as usize).min(nx.saturating_sub(2)));
        let (ty, tx) = (y - iy as f64, x - ix as f64);
        let v = |dy: usize, dx: usize| p[(iy + dy).min(ny - 1) * nx + (ix + dx).min(nx - 1)].f64();
        (1.0 - ty) * ((1.0 - tx) * v(0, 0) + tx * v(0, 1)) + ty * ((1.0 - tx) * v(1, 0) + tx * v(1, 1))
    };
    let distance: Vec<f64> = (0..=length.floor() as usize).map(|i| i as f64).collect();
    let value = distance
        .iter()
        .map(|s| {
            let mean: f64 = (0..width)
                .map(|j| {
                    let t = j as f64 - 0.5 * (width as f64 - 1.0);
                    at(from[0] + s * d[0] + t * d[1], from[1] + s * d[1] - t * d[0])
                })
                .sum();
            mean / width as f64
        })
        .collect();
    Ok(Profile { distance, value })
}
