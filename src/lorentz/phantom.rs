//! Magnetic textures to simulate with.

use crate::error::Error;
use crate::lorentz::Magnetization;
use crate::tensor::Tensor;
use crate::units::{Angle, Induction, Length};

/// How the magnetisation turns inside a wall or a skyrmion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WallKind {
    /// About the normal of the wall: it stays in the wall's plane.
    #[default]
    Bloch,
    /// In the plane of the normal.
    Neel,
}

/// A magnetic texture, constant through the thickness of the specimen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texture {
    /// Stripes along y of in-plane magnetisation ±y, with walls `w`: `m_y = ± tanh(x/w)`, m turning out of plane (Bloch)
    /// or through x (Néel). Walls are `period/2` apart.
    Walls {
        /// Distance after which the pattern repeats, along x.
        period: Length,
        /// Wall width w.
        width: Length,
        /// How it turns.
        kind: WallKind,
    },
    /// A closed flux in a disc: m along the azimuth, with a core `m_z = exp(−r²/w²)`.
    Vortex {
        /// Radius of the disc.
        radius: Length,
        /// Core size w.
        core: Length,
    },
    /// A lattice of skyrmions, down in the middle and up between: `ϑ(r) = 2 atan(sinh(R/w)/sinh(r/w))`.
    Skyrmions {
        /// Radius R at which m_z = 0.
        radius: Length,
        /// Wall width w.
        width: Length,
        /// Distance of neighbours on a square lattice.
        distance: Length,
        /// Bloch: m turns along the azimuth; Néel: along the radius.
        kind: WallKind,
    },
    /// A rectangular island with four closure domains (Landau state).
    Island {
        /// Sides `[y, x]`.
        sides: [Length; 2],
    },
}

/// Parameters of [`phantom`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhantomParams {
    /// Voxels `[nz, ny, nx]`.
    pub dims: [usize; 3],
    /// Their size `[dz, dy, dx]`.
    pub voxel: [Length; 3],
    /// μ₀M_s.
    pub saturation: Induction,
    /// What it looks like.
    pub texture: Texture,
    /// Turns the texture in the plane, from x towards y.
    pub rotation: Angle,
}

/// 128 × 128 pixels of 5 nm, 20 nm thick, 1 T: a vortex of 200 nm.
impl Default for PhantomParams {
    fn default() -> Self {
        PhantomParams {
            dims: [1, 128, 128],
            voxel: [Length::nm(20.0), Length::nm(5.0), Length::nm(5.0)],
            saturation: Induction::tesla(1.0),
            texture: Texture::Vortex { radius: Length::nm(200.0), core: Length::nm(10.0) },
            rotation: Angle::ZERO,
        }
    }
}

/// A magnetic phantom, and where there is material (ny, nx): 1 or 0, for thickness and electrostatic phase.
///
/// # Errors
/// [`Error::Param`] for sizes that are not positive.
///
/// # References
/// Skyrmion profile: X. S. Wang, H. Y. Yuan, X. R. Wang, *Commun. Phys.* 1, 31 (2018), eq. (3).
pub fn phantom(params: &PhantomParams) -> Result<(Magnetization, Tensor<f64>), Error> {
    let texture = params.texture;
    let sizes = match texture {
        Texture::Walls { period, width, .. } => vec![period, width],
        Texture::Vortex { radius, core } => vec![radius, core],
        Texture::Skyrmions { radius, width, distance, .. } => vec![radius, width, distance],
        Texture::Island { sides } => sides.to_vec(),
    };
    if let Some(s) = sizes.into_iter().find(|s| !(*s > Length::ZERO && s.is_finite())) {
        return Err(Error::param("texture", s, "positive lengths"));
    }
    if !params.rotation.is_finite() || !params.saturation.is_finite() {
        return Err(Error::param("rotation", params.rotation, "a finite angle and a finite saturation"));
    }
    let (sin, cos) = params.rotation.to_rad().sin_cos();
    let b = params.saturation.to_tesla();
    let at = |y: f64, x: f64| {
        let (u, v) = (cos * x + sin * y, cos * y - sin * x);
        let (m, inside) = direction(&texture, v, u);
        ([m[0], cos * m[1] + sin * m[2], cos * m[2] - sin * m[1]], inside)
    };
    let m = Magnetization::from_fn(params.dims, params.voxel, |[_, y, x]| {
        let (m, inside) = at(y, x);
        if inside { m.map(|m| b * m) } else { [0.0; 3] }
    })?;
    let [_, ny, nx] = params.dims;
    let [_, dy, dx] = params.voxel.map(|v| v.to_angstrom());
    let mask = Tensor::from_fn(&[ny, nx], |i| {
        let (y, x) = ((i[0] as f64 - 0.5 * (ny as f64 - 1.0)) * dy, (i[1] as f64 - 0.5 * (nx as f64 - 1.0)) * dx);
        if at(y, x).1 { 1.0 } else { 0.0 }
    });
    Ok((m, mask))
}

/// The unit vector `[z, y, x]` at (y, x) in Å, and whether there is material.
fn direction(texture: &Texture, y: f64, x: f64) -> ([f64; 3], bool) {
    match *texture {
        Texture::Walls { period, width, kind } => {
            let (p, w) = (period.to_angstrom(), width.to_angstrom());
            // Distance from the nearest wall, walls at ±p/4, turning up and down in alternation.
            let s = (x / p - (x / p).round()) * p;
            let (d, sign) = if s >= 0.0 { (s - 0.25 * p, 1.0) } else { (-s - 0.25 * p, -1.0) };
            let along = -(d / w).tanh();
            let turn = sign / (d / w).cosh();
            match kind {
                WallKind::Bloch => ([turn, along, 0.0], true),
                WallKind::Neel => ([0.0, along, turn], true),
            }
        }
        Texture::Vortex { radius, core } => {
            let r = y.hypot(x);
            let mz = (-(r / core.to_angstrom()).powi(2)).exp();
            let s = (1.0 - mz * mz).sqrt() / r.max(1e-300);
            ([mz, s * x, -s * y], r <= radius.to_angstrom())
        }
        Texture::Skyrmions { radius, width, distance, kind } => {
            let d = distance.to_angstrom();
            let (u, v) = ((x / d - (x / d).round()) * d, (y / d - (y / d).round()) * d);
            let (r, w) = (u.hypot(v), width.to_angstrom());
            let ratio = (radius.to_angstrom() / w).sinh() / (r / w).sinh().max(1e-300);
            let (sin, cos) = (2.0 * ratio.atan()).sin_cos();
            let (cy, cx) = (v / r.max(1e-300), u / r.max(1e-300));
            match kind {
                WallKind::Bloch => ([cos, sin * cx, -sin * cy], true),
                WallKind::Neel => ([cos, sin * cy, sin * cx], true),
            }
        }
        Texture::Island { sides } => {
            let [h, w] = sides.map(|s| 0.5 * s.to_angstrom());
            let inside = y.abs() <= h && x.abs() <= w;
            // Domains end at lines of 45° from the corners.
            let (from_y, from_x) = (h - y.abs(), w - x.abs());
            let m = if from_y < from_x { [0.0, 0.0, -y.signum()] } else { [0.0, x.signum(), 0.0] };
            (m, inside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textures_are_unit_vectors_inside() {
        let nm = Length::nm;
        for texture in [
            Texture::Walls { period: nm(300.0), width: nm(10.0), kind: WallKind::Bloch },
            Texture::Walls { period: nm(300.0), width: nm(10.0), kind: WallKind::Neel },
            Texture::Vortex { radius: nm(200.0), core: nm(10.0) },
            Texture::Skyrmions { radius: nm(60.0), width: nm(10.0), distance: nm(200.0), kind: WallKind::Bloch },
            Texture::Skyrmions { radius: nm(60.0), width: nm(10.0), distance: nm(200.0), kind: WallKind::Neel },
            Texture::Island { sides: [nm(300.0), nm(500.0)] },
        ] {
            let p = PhantomParams { texture, rotation: Angle::deg(20.0), ..PhantomParams::default() };
            let (m, mask) = phantom(&p).unwrap();
            assert!(mask.as_slice().contains(&1.0));
            for i in 0..mask.len() {
                let length = m.m.iter().map(|m| m.as_slice()[i].powi(2)).sum::<f64>().sqrt();
                // Far from a wall the sum of squared hyperbolic functions is 1 to rounding.
                assert!((length - mask.as_slice()[i]).abs() < 1e-6, "{texture:?} at {i}: {length}");
            }
        }
        let bad = Texture::Island { sides: [Length::ZERO, nm(1.0)] };
        assert!(phantom(&PhantomParams { texture: bad, ..PhantomParams::default() }).is_err());
    }
}
