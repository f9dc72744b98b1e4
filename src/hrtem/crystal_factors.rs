//! Structure factors of a crystal, from its atoms.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::potential_3d::{CrystalReflection, CrystalReflections};
use crate::real::cis;
use crate::specimen::{Atoms, Parametrization, ScatteringFactor, dot};

/// The Fourier coefficients of a crystal's potential, in the crystallographers' sign.
///
/// `F(h) = 1/Ω Σ_j o_j f_j(|h|)/κ exp(−2π² u_j² |h|²) e^{+2πi h·x_j}`,  `V(r) = Σ_h F(h) e^{−2πi h·r}`
///
/// over the atoms of the cell; the mean square of the thermal motion along the three axes is taken for u².
///
/// # Units
/// V: F(0) is the mean inner potential.
///
/// # Errors
/// [`Error::Param`] and [`Error::Data`] for atoms that cannot be used, [`Error::Unsupported`] when the table lacks a
/// species.
///
/// # Examples
/// ```
/// use exitwave::hrtem::crystal_factors;
/// use exitwave::specimen::{Parametrization, crystals};
/// let silicon = crystals::silicon();
/// let f = crystal_factors(&silicon, Parametrization::Lobato, &[[0, 0, 0], [2, 0, 0], [2, 2, 0]])?;
/// assert!((f[0].re - silicon.mean_inner_potential(Parametrization::Lobato)?).abs() < 1e-9);
/// assert!(f[1].norm() < 1e-9 && f[2].norm() > 1.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn crystal_factors(
    atoms: &Atoms,
    parametrization: Parametrization,
    indices: &[[i32; 3]],
) -> Result<Vec<Complex<f64>>, Error> {
    atoms.check()?;
    let species = atoms.species();
    let factors =
        species.iter().map(|&s| ScatteringFactor::new(s, parametrization)).collect::<Result<Vec<_>, Error>>()?;
    let reciprocal = atoms.cell.reciprocal();
    let volume = atoms.cell.volume_a3().abs();
    // Per atom: which species, where, how far it moves.
    let sites: Vec<(usize, [f64; 3], f64, f64)> = atoms
        .atoms
        .iter()
        .map(|a| {
            let which = species.binary_search(&a.species).unwrap_or(0);
            let u = (dot(a.sigma, a.sigma) / 3.0).sqrt();
            (which, atoms.cell.fractional(a.position), u, a.occupancy)
        })
        .collect();
    Ok(indices
        .iter()
        .map(|h| {
            let h = h.map(f64::from);
            let g: [f64; 3] = std::array::from_fn(|i| (0..3).map(|n| h[n] * reciprocal[n][i]).sum());
            let k2 = dot(g, g);
            let sum: Complex<f64> = sites
                .iter()
                .map(|(which, x, u, o)| {
                    let turn = h[0] * x[0] + h[1] * x[1] + h[2] * x[2];
                    cis(std::f64::consts::TAU * turn.fract()) * (o * factors[*which].projected_fourier(k2, *u))
                })
                .sum();
            sum / volume
        })
        .collect())
}

/// All reflections of a crystal up to a resolution, one of each Friedel pair, without (0, 0, 0).
///
/// # Errors
/// As [`crystal_factors`]; [`Error::Param`] for a spacing with more than 10⁷ reflections.
pub fn crystal_reflections(
    atoms: &Atoms,
    parametrization: Parametrization,
    finest: crate::units::Length,
) -> Result<CrystalReflections, Error> {
    atoms.check()?;
    let d = finest.to_angstrom();
    let expected = 4.2 * atoms.cell.volume_a3().abs() / d.powi(3);
    if !(d > 0.0 && expected < 1e7) {
        return Err(Error::param("finest", finest, "a spacing with at most 10⁷ reflections"));
    }
    let reciprocal = atoms.cell.reciprocal();
    let reach = atoms.cell.vectors.map(|v| (dot(v, v).sqrt() / d).floor() as i32);
    let mut indices = Vec::new();
    for h in 0..=reach[0] {
        for k in -reach[1]..=reach[1] {
            for l in -reach[2]..=reach[2] {
                let g: [f64; 3] =
                    std::array::from_fn(|i| [h, k, l].iter().zip(&reciprocal).map(|(n, r)| f64::from(*n) * r[i]).sum());
                if [h, k, l] > [0; 3] && dot(g, g) * d * d <= 1.0 {
                    indices.push([h, k, l]);
                }
            }
        }
    }
    let factors = crystal_factors(atoms, parametrization, &indices)?;
    let list = indices.into_iter().zip(factors);
    let list = list.map(|(index, f)| CrystalReflection { index, f, sigma: 0.0, measured: 1 }).collect();
    Ok(CrystalReflections { cell: atoms.cell, list })
}
