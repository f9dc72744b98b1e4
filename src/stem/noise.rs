//! The error map: how counting noise in the centre of mass appears in the integrated phase.

use num_complex::Complex;

use crate::error::Error;
use crate::linalg::gemm::{Trans, gemm};
use crate::shape::try_zeroed;
use crate::stem::{Boundary, Com, Gradient};
use crate::tensor::Tensor;

/// The variance of φ = 2π A⁺ c (weighted by `filter`, see [`crate::stem::Icom`]) for noise that is independent from
/// frame to frame.
///
/// φ(r) = Σ_r' K_y(r − r') c_y(r') + K_x(r − r') c_x(r') on the extended field, so
///
/// ```text
/// Var φ = K_y² ⋆ V_yy + K_x² ⋆ V_xx + 2 K_y K_x ⋆ V_xy,      K_y + i K_x = F⁻¹[ −m · filter ]
/// ```
///
/// exactly, where the extended samples are independent: with periodic boundaries. A mirrored sample and its images are
/// the same number; what that adds for variances that are constant, Var φ(r) = V Σ_m H_m² u_m(r)² in the orthonormal
/// cosine basis u_m, relative to V Σ K², is multiplied on (for V_yy and V_xx; V_xy is small, for it is zero for a round
/// pattern).
pub(crate) fn variance(gradient: &Gradient<f64>, filter: &[f64], com: &Com) -> Result<Tensor<f64>, Error> {
    let ([ny, nx], [ey, ex]) = (gradient.dims(), gradient.extended());
    let fft = gradient.fft();
    let len = ey * ex;
    let mut scratch: Vec<Complex<f64>> = try_zeroed(fft.scratch_len())?;
    let mut kernel: Vec<Complex<f64>> = try_zeroed(len)?;
    for i in 0..len {
        kernel[i] = -gradient.symbol(i / ex, i % ex).scale(filter[i]);
    }
    fft.inverse(&mut kernel, &mut scratch);

    let mirror = gradient.boundary() == Boundary::Mirror;
    let mut variance = Tensor::<f64>::zeros(&[ny, nx]);
    let (mut a, mut b): (Vec<Complex<f64>>, Vec<Complex<f64>>) = (try_zeroed(len)?, try_zeroed(len)?);
    type Product = fn(Complex<f64>) -> f64;
    let terms: [(&Tensor<f64>, Product, usize); 3] =
        [(&com.var_yy, |k| k.re * k.re, 0), (&com.var_xx, |k| k.im * k.im, 1), (&com.var_xy, |k| 2.0 * k.re * k.im, 2)];
    for (v, product, term) in terms {
        let v = v.as_slice();
        let mut sum = 0.0;
        for i in 0..len {
            let k2 = product(kernel[i]);
            sum += k2;
            a[i] = Complex::new(k2, 0.0);
            // A variance has no sign across the border; the covariance of two components, each of which changes its
            // own, has.
            let ((y, minus_y), (x, minus_x)) = (gradient.fold(i / ex, 0), gradient.fold(i % ex, 1));
            let sign = if term == 2 && minus_y != minus_x { -1.0 } else { 1.0 };
            b[i] = Complex::new(sign * v[y * nx + x], 0.0);
        }
        fft.forward(&mut a, &mut scratch);
        fft.forward(&mut b, &mut scratch);
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b);
        fft.inverse(&mut a, &mut scratch);
        let factor = (mirror && term < 2 && sum > 0.0).then(|| uniform_mirror(gradient, filter, term));
        for (i, out) in variance.as_mut_slice().iter_mut().enumerate() {
            let f = factor.as_ref().map_or(1.0, |f| f[i] / sum);
            *out += f * a[i / nx * ex + i % nx].re;
        }
    }
    // Rounding of the transforms may leave a small negative number where the variance is zero.
    variance.as_mut_slice().iter_mut().for_each(|v| *v = v.max(0.0));
    Ok(variance)
}

/// Var φ(r) for unit variance of one component (0: y, 1: x) under mirrored boundaries: Σ_m H_m² n_my n_mx cos²(π m_y
/// (j_y + ½)/n_y) cos²(…).
fn uniform_mirror(gradient: &Gradient<f64>, filter: &[f64], component: usize) -> Vec<f64> {
    let ([ny, nx], [_, ex]) = (gradient.dims(), gradient.extended());
    let squares = |n: usize| -> Vec<f64> {
        let value = |j: usize, m: usize| {
            let norm = if m == 0 { 1.0 } else { 2.0 } / n as f64;
            let turn = (m * (2 * j + 1)) % (4 * n);
            norm * (std::f64::consts::PI * turn as f64 / (2 * n) as f64).cos().powi(2)
        };
        (0..n * n).map(|i| value(i / n, i % n)).collect()
    };
    let mut h2 = vec![0.0; ny * nx];
    for (i, h2) in h2.iter_mut().enumerate() {
        let (my, mx) = (i / nx, i % nx);
        let m = gradient.symbol(my, mx);
        let k = if component == 0 { m.im } else { m.re };
        *h2 = (k * filter[my * ex + mx]).powi(2);
    }
    let (mut along_y, mut out) = (vec![0.0; ny * nx], vec![0.0; ny * nx]);
    gemm([ny, ny, nx], 1.0, &squares(ny), Trans::No, &h2, Trans::No, 0.0, &mut along_y);
    gemm([ny, nx, nx], 1.0, &along_y, Trans::No, &squares(nx), Trans::Transpose, 0.0, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use crate::stem::{Icom, IcomParams, LowFrequency};
    use crate::units::{Length, SpatialFrequency};

    /// Σ_r' H(r, r')² V(r'), with the columns of H found by integrating unit vectors: the naive twin, exact for every
    /// boundary.
    fn naive(icom: &Icom, com: &Com) -> Vec<f64> {
        let n = com.y.len();
        let mut scratch = vec![Complex::default(); icom.scratch_len()];
        let mut column = |i: usize, component: usize| {
            let (mut e, zero, mut phi) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            e[i] = 1.0;
            let (c_y, c_x) = if component == 0 { (&e, &zero) } else { (&zero, &e) };
            icom.integrate(c_y, c_x, &mut phi, &mut scratch);
            phi
        };
        let mut out = vec![0.0; n];
        for i in 0..n {
            let (h_y, h_x) = (column(i, 0), column(i, 1));
            let [yy, xx, xy] = [&com.var_yy, &com.var_xx, &com.var_xy].map(|v| v.as_slice()[i]);
            for r in 0..n {
                out[r] += h_y[r] * h_y[r] * yy + h_x[r] * h_x[r] * xx + 2.0 * h_y[r] * h_x[r] * xy;
            }
        }
        out
    }

    fn com(dims: [usize; 2], spread: f64) -> Com {
        let map = |seed, base: f64| {
            let mut r = rng::stream(seed, 0);
            Tensor::from_fn(&dims, |_| base * (1.0 + spread * (2.0 * rng::uniform(&mut r) - 1.0)))
        };
        let zero = Tensor::zeros(&dims);
        let xy = Tensor::from_fn(&dims, |i| if spread > 0.0 { 0.02 * ((i[0] + 2 * i[1]) as f64).sin() } else { 0.0 });
        Com { y: zero.clone(), x: zero, electrons: map(1, 1.0), var_yy: map(2, 0.3), var_xx: map(3, 0.5), var_xy: xy }
    }

    fn worst(dims: [usize; 2], boundary: Boundary, spread: f64) -> f64 {
        let params = IcomParams {
            step: [Length::angstrom(0.4), Length::angstrom(0.5)],
            boundary,
            low: LowFrequency::HighPass(SpatialFrequency::per_angstrom(0.1)),
            ..IcomParams::default()
        };
        let (icom, com) = (Icom::new(dims, params).unwrap(), com(dims, spread));
        let std = icom.run(&com).unwrap().std;
        let twin = naive(&icom, &com);
        std.as_slice().iter().zip(&twin).map(|(s, v)| (s * s / v - 1.0).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn the_variance_is_that_of_the_naive_sum() {
        for dims in [[6, 8], [7, 5]] {
            assert!(worst(dims, Boundary::Periodic, 0.8) < 1e-12);
            assert!(worst(dims, Boundary::Mirror, 0.0) < 1e-12);
            // Mirrored and varying by ±30 % from pixel to pixel: an approximation; the stated bound is what it reaches
            // here.
            assert!(worst(dims, Boundary::Mirror, 0.3) < 0.25, "{}", worst(dims, Boundary::Mirror, 0.3));
        }
    }
}
