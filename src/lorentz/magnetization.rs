//! A magnetised, charged specimen on a grid of voxels.

use crate::error::Error;
use crate::optics::{Grid, interaction_parameter};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Energy, Length};

/// e/ħ in rad/(T Å²): the phase gradient of one tesla over one ångström is this many radians an ångström.
pub const E_OVER_HBAR: f64 = std::f64::consts::PI / crate::optics::constants::FLUX_QUANTUM * 1e-20;

/// A magnetisation μ₀M in tesla, one vector `[z, y, x]` a voxel; the beam travels roughly along z.
///
/// # Shapes
/// `m[c]` is (nz, ny, nx) for the components c = z, y, x.
#[derive(Clone, Debug, PartialEq)]
pub struct Magnetization {
    /// The components z, y, x of μ₀M, T.
    pub m: [Tensor<f64>; 3],
    /// Size of a voxel, `[dz, dy, dx]`.
    pub voxel: [Length; 3],
}

impl Magnetization {
    /// From a function of the voxel's place relative to the middle of the grid, `[z, y, x]` in Å, that returns μ₀M in T.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty grid or impossible voxels, [`Error::OutOfMemory`].
    pub fn from_fn(dims: [usize; 3], voxel: [Length; 3], f: impl Fn([f64; 3]) -> [f64; 3]) -> Result<Self, Error> {
        let n = checked_len(&dims)?;
        check_grid(dims, voxel)?;
        let mut parts: [Vec<f64>; 3] = [try_zeroed(n)?, try_zeroed(n)?, try_zeroed(n)?];
        for i in 0..n {
            let at = [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
            let m = f(std::array::from_fn(|a| (at[a] as f64 - 0.5 * (dims[a] as f64 - 1.0)) * voxel[a].to_angstrom()));
            (0..3).for_each(|c| parts[c][i] = m[c]);
        }
        let [z, y, x] = parts;
        Ok(Magnetization {
            m: [Tensor::from_vec(&dims, z)?, Tensor::from_vec(&dims, y)?, Tensor::from_vec(&dims, x)?],
            voxel,
        })
    }

    /// `[nz, ny, nx]`.
    pub fn dims(&self) -> [usize; 3] {
        let d = self.m[0].dims();
        [d[0], d[1], d[2]]
    }

    /// The pixels of its projection.
    pub fn grid(&self) -> Grid {
        let [_, ny, nx] = self.dims();
        Grid { dims: [ny, nx], sampling: [self.voxel[1], self.voxel[2]] }
    }

    /// The same with every moment turned round: time reversal.
    pub fn reversed(&self) -> Self {
        Magnetization { m: self.m.clone().map(|m| m.map(|v| -v)), voxel: self.voxel }
    }

    /// Whether components and voxels fit.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Param`], [`Error::Data`] for a moment that is not finite.
    pub fn check(&self) -> Result<(), Error> {
        if self.m[0].dims().len() != 3 {
            return Err(Error::shape("Magnetization", &[0, 0, 0], self.m[0].dims()));
        }
        for m in &self.m {
            if m.dims() != self.m[0].dims() {
                return Err(Error::shape("Magnetization", self.m[0].dims(), m.dims()));
            }
            if let Some(index) = m.as_slice().iter().position(|v| !v.is_finite()) {
                return Err(Error::Data { what: "a magnetisation that is not finite".into(), index });
            }
        }
        check_grid(self.dims(), self.voxel)
    }
}

fn check_grid(dims: [usize; 3], voxel: [Length; 3]) -> Result<(), Error> {
    Grid { dims: [dims[1], dims[2]], sampling: [voxel[1], voxel[2]] }.check()?;
    if dims[0] == 0 || !(voxel[0] > Length::ZERO && voxel[0] <= Length::m(1.0)) {
        return Err(Error::param(
            "voxel",
            format!("{} × {}", dims[0], voxel[0]),
            "one or more slices of positive size",
        ));
    }
    Ok(())
}

/// Phase and amplitude of a specimen of thickness t: the electrostatic phase φ = σ V₀ t, and by absorption (scattering
/// outside the aperture) A = exp(−t/2Λ).
///
/// # Units
/// `thickness` (ny, nx) in Å; V₀ in volts; Λ is the mean free path of the intensity, `None` for none.
///
/// # Errors
/// [`Error::Param`] for V₀ that is not finite, an energy or Λ that is not positive.
///
/// # References
/// H. Lichte, M. Lehmann, *Rep. Prog. Phys.* 71, 016102 (2008), eq. (7).
pub fn electrostatic_phase(
    thickness: &Tensor<f64>,
    mean_inner_potential: f64,
    mean_free_path: Option<Length>,
    energy: Energy,
) -> Result<[Tensor<f64>; 2], Error> {
    if !mean_inner_potential.is_finite() {
        return Err(Error::param("mean_inner_potential", mean_inner_potential, "a finite number of volts"));
    }
    if let Some(l) = mean_free_path.filter(|l| *l <= Length::ZERO || !l.is_finite()) {
        return Err(Error::param("mean_free_path", l, "a positive length"));
    }
    let sigma = interaction_parameter(energy);
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(Error::param("energy", energy, "a positive energy"));
    }
    let phase = thickness.map(|t| sigma * mean_inner_potential * t);
    let amplitude = thickness.map(|t| mean_free_path.map_or(1.0, |l| (-0.5 * t / l.to_angstrom()).exp()));
    Ok([phase, amplitude])
}
