//! Rings and their segments: which pixels are added up, and with which weights.

use std::f64::consts::TAU;

use crate::error::Error;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::Angle;

/// How a detector's edge cuts pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// A pixel belongs to a detector or not, by its centre.
    #[default]
    Hard,
    /// Weights fall from 1 to 0 linearly over one pixel; those of adjacent segments add up to the weight of their ring.
    Soft,
}

/// The weights of a ring that is cut into `segments`: segment s covers the azimuths `rotation` + s·360°/n … + (s + 1)·360°/n, measured from
/// +x (columns) towards +y (rows).
///
/// # Shapes
/// `[segments, dy, dx]`.
///
/// # Units
/// `centre = [y, x]` in pixels, `pixel = [y, x]` in radians a pixel, `radii = [inner, outer]`.
///
/// # Errors
/// [`Error::Param`] for radii that are negative, not finite or not increasing, no segments or more than there are pixels, a rotation that is not
/// finite; [`Error::OutOfMemory`].
///
/// ```
/// use exitwave::detect::{Edge, ring};
/// use exitwave::units::Angle;
/// let haadf = ring([64, 64], [32.0; 2], [5e-3; 2], [Angle::mrad(60.0), Angle::mrad(150.0)], 1, Angle::ZERO, Edge::Hard)?;
/// assert_eq!((haadf[[0, 32, 32]], haadf[[0, 32, 50]]), (0.0, 1.0));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn ring(
    [dy, dx]: [usize; 2],
    centre: [f64; 2],
    pixel: [f64; 2],
    [inner, outer]: [Angle; 2],
    segments: usize,
    rotation: Angle,
    edge: Edge,
) -> Result<Tensor<f32>, Error> {
    let (inner, outer, rotation) = (inner.to_rad(), outer.to_rad(), rotation.to_rad());
    if !(inner >= 0.0 && outer > inner && outer.is_finite()) {
        return Err(Error::param("Detector radii", format!("{inner} … {outer} rad"), "0 <= inner < outer, finite"));
    }
    if segments == 0 || segments > dy * dx {
        return Err(Error::param("segments", segments, "from 1 to the number of pixels"));
    }
    if !rotation.is_finite() {
        return Err(Error::param("rotation", rotation, "a finite angle"));
    }
    let len = checked_len(&[segments, dy, dx])?;
    let mut w = Tensor::from_vec(&[segments, dy, dx], try_zeroed::<f32>(len)?)?;
    let mut shares = vec![0.0; segments];
    // One pixel, as an angle: the width of a soft edge.
    let width = (pixel[0] * pixel[1]).sqrt();
    for y in 0..dy {
        for x in 0..dx {
            let v = (y as f64 - centre[0]) * pixel[0];
            let u = (x as f64 - centre[1]) * pixel[1];
            let r = u.hypot(v);
            let radial = match edge {
                Edge::Hard => f64::from(r <= outer && (r >= inner || inner == 0.0)),
                Edge::Soft => {
                    let below = |limit: f64| ((limit - r) / width + 0.5).clamp(0.0, 1.0);
                    below(outer) - if inner > 0.0 { below(inner) } else { 0.0 }
                }
            };
            if radial == 0.0 {
                continue;
            }
            split([u, v], rotation, width, edge, &mut shares);
            for (s, share) in shares.iter().enumerate() {
                w[[s, y, x]] = (radial * share) as f32;
            }
        }
    }
    Ok(w)
}

/// Which part of the pixel at `[u, v]` belongs to each segment; the parts add up to 1.
fn split([u, v]: [f64; 2], rotation: f64, width: f64, edge: Edge, shares: &mut [f64]) {
    let n = shares.len();
    let turn = ((v.atan2(u) - rotation) / TAU).rem_euclid(1.0);
    // The pixel in the very centre belongs to all alike, as soft edges say.
    if edge == Edge::Hard && (n == 1 || u != 0.0 || v != 0.0) {
        shares.fill(0.0);
        shares[((turn * n as f64) as usize).min(n - 1)] = 1.0;
        return;
    }
    if n == 1 || (u == 0.0 && v == 0.0) {
        shares.fill(1.0 / n as f64);
        return;
    }
    // The signed distance from the ray at which segment s begins, positive on the segment's side.
    let beyond = |s: usize| {
        let (sin, cos) = (rotation + TAU * s as f64 / n as f64).sin_cos();
        ((cos * v - sin * u) / width + 0.5).clamp(0.0, 1.0)
    };
    for s in 0..n {
        shares[s] = beyond(s).min(1.0 - beyond(s + 1));
    }
    let sum: f64 = shares.iter().sum();
    if sum > 0.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    } else {
        shares[((turn * n as f64) as usize).min(n - 1)] = 1.0;
    }
}
