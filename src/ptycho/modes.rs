//! Incoherent probe modes: starting values, and the one set of modes that is orthogonal.

use num_complex::Complex;

use crate::error::Error;
use crate::linalg::eigen::hermitian_eigen;
use crate::real::Real;
use crate::tensor::Tensor;

/// Extends a single probe by `modes − 1` weaker ones: the probe times polynomials 1, x, y, x², xy, y², … of the
/// distance from its centre, made orthogonal, with a share `power` of the intensity each.
///
/// (Of a Gaussian probe x P and y P are the modes of a small jitter, ∂P/∂x and ∂P/∂y.)
///
/// # Shapes
/// `probe` is (ny, nx) or (1, ny, nx); the result is (modes, ny, nx), of the same total intensity.
///
/// # Errors
/// - [`Error::Shape`] for a probe of other axes,
/// - [`Error::Param`] for no modes or more than the probe has pixels, or a power outside of [0, 1/(modes − 1)),
/// - [`Error::Data`] for a probe without intensity, or with too few pixels that have some.
///
/// # References
/// P. Thibault, A. Menzel, Nature 494, 68 (2013), for mixed states. The start by polynomials is our own.
pub fn extend_modes<T: Real>(
    probe: &Tensor<Complex<T>>,
    modes: usize,
    power: f64,
) -> Result<Tensor<Complex<T>>, Error> {
    let (ny, nx) = match *probe.dims() {
        [ny, nx] | [1, ny, nx] => (ny, nx),
        _ => return Err(Error::shape("extend_modes: [ny, nx]", &[0, 0], probe.dims())),
    };
    if modes == 0 || modes > ny * nx {
        return Err(Error::param("modes", modes, "at least 1, at most the pixels of the probe"));
    }
    if !(power >= 0.0 && power * (modes as f64 - 1.0) < 1.0) {
        return Err(Error::param("power", power, "a share of the intensity, with some left for the first mode"));
    }
    let p: Vec<Complex<f64>> = probe.as_slice().iter().map(|z| Complex::new(z.re.f64(), z.im.f64())).collect();
    let total: f64 = p.iter().map(|z| z.norm_sqr()).sum();
    if total.is_nan() || total <= 0.0 || total.is_infinite() {
        return Err(Error::Data { what: format!("probe of intensity {total}"), index: 0 });
    }

    // Centre and width of the probe, from its intensity.
    let at = |i: usize| [(i / nx) as f64, (i % nx) as f64];
    let mean = |f: &dyn Fn(usize) -> f64| p.iter().enumerate().map(|(i, z)| z.norm_sqr() * f(i)).sum::<f64>() / total;
    let centre: [f64; 2] = std::array::from_fn(|a| mean(&|i| at(i)[a]));
    let width: [f64; 2] = std::array::from_fn(|a| mean(&|i| (at(i)[a] - centre[a]).powi(2)).sqrt().max(0.5));

    // Monomials y^a x^b times the probe in order of a + b, by Gram–Schmidt.
    let orders = (0usize..).flat_map(|n| (0..=n).map(move |a| (a, n - a)));
    let mut basis: Vec<Vec<Complex<f64>>> = Vec::new();
    for (a, b) in orders.take(modes) {
        let monomial = |i: usize| {
            let r = at(i);
            ((r[0] - centre[0]) / width[0]).powi(a as i32) * ((r[1] - centre[1]) / width[1]).powi(b as i32)
        };
        let mut v: Vec<_> = p.iter().enumerate().map(|(i, z)| z * monomial(i)).collect();
        // Twice is enough for orthogonality to machine precision.
        for _ in 0..2 {
            for u in &basis {
                let c: Complex<f64> = u.iter().zip(&v).map(|(u, v)| u.conj() * v).sum();
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= c * u);
            }
        }
        let norm = v.iter().map(|z| z.norm_sqr()).sum::<f64>().sqrt();
        // A mode without intensity would never get any.
        if norm.is_nan() || norm <= 1e-12 * total.sqrt() {
            let what = format!("the probe has too few pixels with intensity for {modes} modes; failed at mode");
            return Err(Error::Data { what, index: basis.len() });
        }
        v.iter_mut().for_each(|z| *z /= norm);
        basis.push(v);
    }
    let mut out = Vec::with_capacity(modes * ny * nx);
    for (m, v) in basis.iter().enumerate() {
        let share = if m == 0 { 1.0 - power * (modes - 1) as f64 } else { power };
        let scale = (share * total).sqrt();
        out.extend(v.iter().map(|z| Complex::new(T::of(z.re * scale), T::of(z.im * scale))));
    }
    Tensor::from_vec(&[modes, ny, nx], out)
}

/// Mixes the modes by a unitary matrix so that they are orthogonal, strongest first: `P'_k = Σ_j u_kj P_j`, where u_k
/// are the eigenvectors of the Gram matrix `G_ij = Σ_r P̄_i P_j`. No intensity changes.
///
/// # Shapes
/// `probe` is (modes, ny, nx).
///
/// # Errors
/// As [`hermitian_eigen`]: for modes that are not finite.
///
/// # Panics
/// If `probe.len()` is not a multiple of `modes`.
///
/// # References
/// P. Thibault, A. Menzel, Nature 494, 68 (2013): the modes are defined up to a unitary mixing.
pub fn orthogonalise<T: Real>(probe: &mut [Complex<T>], modes: usize) -> Result<(), Error> {
    if modes < 2 {
        return Ok(());
    }
    assert!(probe.len().is_multiple_of(modes), "orthogonalise: {} elements in {modes} modes", probe.len());
    let n = probe.len() / modes;
    let wide = |z: Complex<T>| Complex::new(z.re.f64(), z.im.f64());
    let mut gram = vec![Complex::new(0.0, 0.0); modes * modes];
    for i in 0..modes {
        for j in 0..modes {
            let (a, b) = (&probe[i * n..(i + 1) * n], &probe[j * n..(j + 1) * n]);
            gram[i * modes + j] = a.iter().zip(b).map(|(&a, &b)| wide(a).conj() * wide(b)).sum();
        }
    }
    let eigen = hermitian_eigen(modes, &gram)?;
    let old = probe.to_vec();
    for k in 0..modes {
        for r in 0..n {
            // The k-th eigenvector's components mix the old modes.
            let z: Complex<f64> = (0..modes).map(|j| wide(old[j * n + r]) * eigen.vector(k)[j]).sum();
            probe[k * n + r] = Complex::new(T::of(z.re), T::of(z.im));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_modes_are_orthogonal_and_share_the_intensity_as_asked() {
        let probe = Tensor::from_fn(&[7, 6], |i| {
            Complex::new((-((i[0] as f64 - 3.2).powi(2) + (i[1] as f64 - 2.6).powi(2)) / 4.0).exp(), 0.1 * i[0] as f64)
        });
        let total: f64 = probe.as_slice().iter().map(|z| z.norm_sqr()).sum();
        let modes = extend_modes(&probe, 5, 0.1).unwrap();
        for i in 0..5 {
            for j in 0..=i {
                let dot: Complex<f64> = modes.row(i).iter().zip(modes.row(j)).map(|(a, b)| a.conj() * b).sum();
                let want = if i != j { 0.0 } else { total * if i == 0 { 0.6 } else { 0.1 } };
                assert!((dot - want).norm() < 1e-12 * total, "{i} {j}");
            }
        }
    }

    #[test]
    fn more_modes_than_the_probe_can_carry_are_an_error() {
        let mut probe = Tensor::<Complex<f64>>::zeros(&[4, 4]);
        assert!(matches!(extend_modes(&probe, 1, 0.0), Err(Error::Data { .. })));
        probe[[1, 2]] = Complex::new(1.0, 0.0);
        assert!(matches!(extend_modes(&probe, 2, 0.1), Err(Error::Data { index: 1, .. })));
        assert!(matches!(extend_modes(&probe, usize::MAX, 0.0), Err(Error::Param { name: "modes", .. })));
        assert!(matches!(extend_modes(&probe, 3, 0.5), Err(Error::Param { name: "power", .. })));
    }
}
