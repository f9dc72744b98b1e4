//! The magnetic phase by linear superposition: a sum of dipoles in real space, and the sphere in closed form.

use crate::error::Error;
use crate::lorentz::mansuripur::unit_beam;
use crate::lorentz::{E_OVER_HBAR, Magnetization};
use crate::par::Par;
use crate::tensor::Tensor;
use crate::units::{Induction, Length};

/// The phase of isolated voxels, each a magnetic moment m = M ΔV, along lines through the pixels of the plane z = 0:
///
/// ```text
/// φ(r) = −(e μ₀/2πħ) Σ_j e·(m_j × ρ_j)/ρ_j²,   ρ_j = (r − r_j) − e (e·(r − r_j))
/// ```
///
/// The field of a voxel's inside is that of a uniformly magnetised sphere of the same volume, so that no distance is too
/// small. Nothing is periodic and nothing is transformed: an independent check of
/// [`mansuripur`](crate::lorentz::mansuripur). It takes one operation a voxel and pixel.
///
/// # Shapes
/// (ny, nx), rad.
///
/// # Errors
/// Those of [`Magnetization::check`]; [`Error::Param`] for a beam within 1° of the plane.
///
/// # References
/// M. Beleggia, Y. Zhu, *Philos. Mag.* 83, 1045 (2003), eq. (4); A. R. C. McCray et al., *Phys. Rev. Applied* 15, 044025
/// (2021), section II.
pub fn linear_superposition(magnetization: &Magnetization, beam: [f64; 3], par: &Par) -> Result<Tensor<f64>, Error> {
    magnetization.check()?;
    let e = unit_beam(beam)?;
    let dims = magnetization.dims();
    let d = magnetization.voxel.map(|v| v.to_angstrom());
    let volume = d[0] * d[1] * d[2];
    let radius = (3.0 * volume / (4.0 * std::f64::consts::PI)).cbrt();
    let place = |i: usize, a: usize| (i as f64 - 0.5 * (dims[a] as f64 - 1.0)) * d[a];

    // Moments that are not zero: place and μ₀m.
    let mut moments = Vec::new();
    let n = dims[1] * dims[2];
    for i in 0..dims[0] * n {
        let m: [f64; 3] = std::array::from_fn(|c| magnetization.m[c].as_slice()[i] * volume);
        if m != [0.0; 3] {
            moments.push(([place(i / n, 0), place(i / dims[2] % dims[1], 1), place(i % dims[2], 2)], m));
        }
    }
    let mut out = Tensor::<f64>::zeros(&[dims[1], dims[2]]);
    let scale = -E_OVER_HBAR / (2.0 * std::f64::consts::PI);
    par.chunks(out.as_mut_slice(), dims[2], |y, row| {
        for (x, phase) in row.iter_mut().enumerate() {
            let r = [0.0, place(y, 1), place(x, 2)];
            let sum: f64 = moments.iter().map(|(at, m)| dipole(r, at, m, &e, radius)).sum();
            *phase = scale * sum;
        }
    });
    Ok(out)
}

/// `e·(m × ρ)/ρ²` of a sphere, `[1 − (1 − ρ²/R²)^{3/2}]` of it inside the radius.
fn dipole(r: [f64; 3], at: &[f64; 3], m: &[f64; 3], e: &[f64; 3], radius: f64) -> f64 {
    // Vectors are [z, y, x].
    let mut rho = [r[0] - at[0], r[1] - at[1], r[2] - at[2]];
    let along = rho[0] * e[0] + rho[1] * e[1] + rho[2] * e[2];
    (0..3).for_each(|a| rho[a] -= along * e[a]);
    let rho2 = rho[0] * rho[0] + rho[1] * rho[1] + rho[2] * rho[2];
    if rho2 == 0.0 {
        return 0.0;
    }
    // (m × ρ) with x × y = z.
    let cross = [m[2] * rho[1] - m[1] * rho[2], m[0] * rho[2] - m[2] * rho[0], m[1] * rho[0] - m[0] * rho[1]];
    let inside = 1.0 - rho2 / (radius * radius);
    let part = if inside > 0.0 { 1.0 - inside * inside.sqrt() } else { 1.0 };
    (cross[0] * e[0] + cross[1] * e[1] + cross[2] * e[2]) / rho2 * part
}

/// The phase at the place `r = [y, x]` (Å) of the plane through the middle of a uniformly magnetised sphere, for a beam
/// along `beam`: with B₀ = μ₀M along the unit vector m,
///
/// `φ = −(2e/3ħ) B₀ R³ e·(m × ρ)/ρ² · [1 − (1 − ρ²/R²)^{3/2}]`, the bracket being 1 outside.
///
/// # Errors
/// [`Error::Param`] for a beam within 1° of the plane or a radius that is not positive.
///
/// # References
/// M. De Graef, N. T. Nuhfer, M. R. McCartney, *J. Microsc.* 194, 84 (1999), eq. (5).
pub fn sphere_phase(
    r: [f64; 2],
    radius: Length,
    saturation: Induction,
    direction: [f64; 3],
    beam: [f64; 3],
) -> Result<f64, Error> {
    let e = unit_beam(beam)?;
    if !(radius > Length::ZERO && radius.is_finite()) {
        return Err(Error::param("radius", radius, "a positive length"));
    }
    let big_r = radius.to_angstrom();
    let moment = 4.0 / 3.0 * std::f64::consts::PI * big_r.powi(3) * saturation.to_tesla();
    let length = direction.iter().map(|m| m * m).sum::<f64>().sqrt();
    let m = direction.map(|m| moment * m / length);
    Ok(-E_OVER_HBAR / (2.0 * std::f64::consts::PI) * dipole([0.0, r[0], r[1]], &[0.0; 3], &m, &e, big_r))
}
