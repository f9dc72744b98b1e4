//! Alignment of a series: shift, rotation and magnification between images.

use crate::error::Error;
use crate::fft::{Fft2, frequencies};
use crate::linalg::lstsq::cholesky_solve;
use crate::metrics::{CrossSpectrum, Register, RegisterParams};
use crate::op::cubic::keys;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;
use crate::units::{Angle, Length};

/// Parameters of [`align_series`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlignParams {
    /// Images are smoothed by Gaussians of these standard deviations, one after the other, pixels.
    pub smoothing: [f64; 2],
    /// Gauss–Newton steps at each.
    pub iterations: usize,
    /// Largest shift in pixels that the first guess, by cross-correlation, may have.
    pub max_shift: f64,
    /// Part of each side that is left out at every edge.
    pub margin: f64,
}

/// 4 and 1.5 pixels, 30 steps each, shifts to 32 pixels, a margin of a tenth.
impl Default for AlignParams {
    fn default() -> Self {
        AlignParams { smoothing: [4.0, 1.5], iterations: 30, max_shift: 32.0, margin: 0.1 }
    }
}

/// Where an image lies relative to another, in the words of [`ImageSetting`](crate::lorentz::ImageSetting):
/// `b(r) = a(c + R(−ϑ)(r − c)/m − s)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Shift s, `[y, x]` in pixels.
    pub shift: [f64; 2],
    /// Rotation ϑ, from x towards y.
    pub rotation: Angle,
    /// Magnification m.
    pub magnification: f64,
    /// Correlation coefficient of the two images so aligned, both at the finer smoothing.
    pub correlation: f64,
}

impl Alignment {
    /// No displacement.
    pub const IDENTITY: Alignment =
        Alignment { shift: [0.0; 2], rotation: Angle::ZERO, magnification: 1.0, correlation: 1.0 };

    /// The displacement of c relative to a, from that of b relative to a (`self`) and of c relative to b (`next`).
    pub fn then(&self, next: &Alignment) -> Alignment {
        // r_b − c = R(−ϑ₂)(r − c)/m₂ − s₂, then the same into a: s = s₁ + R(−ϑ₁) s₂/m₁.
        let (sin, cos) = self.rotation.to_rad().sin_cos();
        let m = self.magnification;
        let [y, x] = next.shift;
        Alignment {
            shift: [self.shift[0] + (cos * y - sin * x) / m, self.shift[1] + (sin * y + cos * x) / m],
            rotation: self.rotation + next.rotation,
            magnification: m * next.magnification,
            correlation: self.correlation.min(next.correlation),
        }
    }

    /// The shift as lengths, for an `ImageSetting`.
    pub fn lengths(&self, sampling: [Length; 2]) -> [Length; 2] {
        [sampling[0] * self.shift[0], sampling[1] * self.shift[1]]
    }
}

/// Where image b lies relative to image a, both (ny, nx): the similarity for which `g a(W(r)) + o` is closest to b in the
/// mean square, g and o free, by Gauss–Newton on images smoothed ever less, from the shift of the highest
/// cross-correlation.
///
/// # Errors
/// [`Error::Shape`]; [`Error::Data`] for values that are not finite, or images without contrast; [`Error::Param`].
///
/// # References
/// B. D. Lucas, T. Kanade, *Proc. IJCAI* 674 (1981); S. Baker, I. Matthews, *Int. J. Comput. Vis.* 56, 221 (2004),
/// section 2.
pub fn align_pair<T: Real>(a: &[T], b: &[T], dims: [usize; 2], params: &AlignParams) -> Result<Alignment, Error> {
    let ordered = params.smoothing.iter().all(|s| *s >= 0.0 && s.is_finite());
    if !ordered || !(0.0..f64::INFINITY).contains(&params.max_shift) || !(0.0..0.45).contains(&params.margin) {
        return Err(Error::param("align", format!("{params:?}"), "finite smoothing, a margin below 0.45"));
    }
    let [ny, nx] = dims;
    if a.len() != ny * nx || b.len() != ny * nx || ny < 8 || nx < 8 {
        return Err(Error::shape("align_pair", &[ny.max(8) * nx.max(8); 2], &[a.len(), b.len()]));
    }
    let coarse = [smooth(a, dims, params.smoothing[0])?, smooth(b, dims, params.smoothing[0])?];
    let register = Register::new(
        dims,
        RegisterParams { upsample: 2, spectrum: CrossSpectrum::Plain, max_shift: Some(params.max_shift) },
    )?;
    // The shift to be applied to b is minus that which it has.
    let first = register.real(&coarse[0], &coarse[1])?;
    let mut p = [-first.shift[0], -first.shift[1], 0.0, 0.0];
    let mut correlation = 0.0;
    for s in params.smoothing {
        let (a, b) = (smooth(a, dims, s)?, smooth(b, dims, s)?);
        for _ in 0..params.iterations {
            let step = gauss_newton(&a, &b, dims, &p, params.margin)?;
            (0..4).for_each(|j| p[j] += step.0[j]);
            correlation = step.1;
            let size = step.0[0].hypot(step.0[1]) + (step.0[2].abs() + step.0[3].abs()) * ny.max(nx) as f64;
            if size < 1e-4 {
                break;
            }
        }
    }
    if p.iter().any(|p| !p.is_finite()) {
        return Ok(Alignment { correlation: 0.0, ..Alignment::IDENTITY });
    }
    Ok(Alignment { shift: [p[0], p[1]], rotation: Angle::rad(p[2]), magnification: p[3].exp(), correlation })
}

/// Where every image of a series (n, ny, nx) lies relative to `reference`. Neighbours in the series are compared, which
/// differ least in defocus, and their displacements are chained.
///
/// # Errors
/// As [`align_pair`]; [`Error::Param`] for a reference that is not in the series.
pub fn align_series<T: Real>(
    images: &Tensor<T>,
    reference: usize,
    params: &AlignParams,
) -> Result<Vec<Alignment>, Error> {
    let &[n, ny, nx] = images.dims() else {
        return Err(Error::shape("align_series", &[0, 0, 0], images.dims()));
    };
    if reference >= n {
        return Err(Error::param("reference", reference, "an image of the series"));
    }
    let image = |k: usize| &images.as_slice()[k * ny * nx..][..ny * nx];
    let mut out = vec![Alignment::IDENTITY; n];
    for k in reference + 1..n {
        out[k] = out[k - 1].then(&align_pair(image(k - 1), image(k), [ny, nx], params)?);
    }
    for k in (0..reference).rev() {
        out[k] = out[k + 1].then(&align_pair(image(k + 1), image(k), [ny, nx], params)?);
    }
    Ok(out)
}

/// A Gaussian blur, mean removed.
fn smooth<T: Real>(x: &[T], dims: [usize; 2], sigma: f64) -> Result<Vec<f64>, Error> {
    if let Some(index) = x.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: "an image value that is not finite".into(), index });
    }
    let fft = Fft2::<f64>::new(dims)?;
    let mut f: Vec<_> = x.iter().map(|v| num_complex::Complex::new(v.f64(), 0.0)).collect();
    let mut scratch = try_zeroed(fft.scratch_len())?;
    fft.forward(&mut f, &mut scratch);
    let (ky, kx) = (frequencies(dims[0], 1.0), frequencies(dims[1], 1.0));
    let c = 2.0 * (std::f64::consts::PI * sigma).powi(2);
    for (i, z) in f.iter_mut().enumerate() {
        let k2 = ky[i / dims[1]].powi(2) + kx[i % dims[1]].powi(2);
        *z *= if i == 0 { 0.0 } else { (-c * k2).exp() };
    }
    fft.inverse(&mut f, &mut scratch);
    Ok(f.iter().map(|z| z.re).collect())
}

/// One step for (s_y, s_x, ϑ, ln m), with gain and offset of a projected out, and the correlation before it.
fn gauss_newton(a: &[f64], b: &[f64], dims: [usize; 2], p: &[f64; 4], margin: f64) -> Result<([f64; 4], f64), Error> {
    let [ny, nx] = dims;
    let c = [(ny / 2) as f64, (nx / 2) as f64];
    let (sin, cos) = p[2].sin_cos();
    let m = p[3].exp();
    let edge = [(margin * ny as f64) as usize, (margin * nx as f64) as usize];

    // Unknowns: the four, gain, offset. Normal equations of Σ (b − g a(W) − o − g ∇a·δW)².
    let (mut h, mut r) = ([0.0; 36], [0.0; 6]);
    let mut add = |row: &[f64; 6], value: f64| {
        for i in 0..6 {
            r[i] += row[i] * value;
            for j in 0..6 {
                h[6 * i + j] += row[i] * row[j];
            }
        }
    };
    let (mut sums, mut count) = ([0.0; 5], 0.0);
    for iy in edge[0]..ny - edge[0] {
        for ix in edge[1]..nx - edge[1] {
            let (y, x) = (iy as f64 - c[0], ix as f64 - c[1]);
            let (ry, rx) = ((cos * y - sin * x) / m, (sin * y + cos * x) / m);
            let (py, px) = (ry + c[0] - p[0], rx + c[1] - p[1]);
            if py < 1.0 || px < 1.0 || py > ny as f64 - 3.0 || px > nx as f64 - 3.0 {
                continue;
            }
            let (v, gy, gx) = sample(a, nx, py, px);
            let value = b[iy * nx + ix];
            // ∂W/∂s = −1, ∂W/∂ϑ = (−x', y'), ∂W/∂ln m = −(y', x').
            add(&[-gy, -gx, gx * ry - gy * rx, -(gy * ry + gx * rx), v, 1.0], value);
            for (s, t) in sums.iter_mut().zip([v, value, v * v, value * value, v * value]) {
                *s += t;
            }
            count += 1.0;
        }
    }
    let [sa, sb, saa, sbb, sab] = sums.map(|s| s / f64::max(count, 1.0));
    let variance = (saa - sa * sa) * (sbb - sb * sb);
    if count < 64.0 || variance <= 0.0 {
        return Err(Error::Data { what: "images without contrast or overlap".into(), index: 0 });
    }
    let correlation = (sab - sa * sb) / variance.sqrt();
    for i in 0..6 {
        h[7 * i] *= 1.0 + 1e-9;
    }
    let Ok(d) = cholesky_solve(6, &h, &r) else { return Ok(([0.0; 4], correlation)) };
    // The first four come times the gain. A step is kept within what linearisation can say.
    let g = if d[4].abs() > 1e-6 { d[4] } else { 1e-6 };
    let limit = [2.0, 2.0, 0.05, 0.05];
    Ok((std::array::from_fn(|j| (d[j] / g).clamp(-limit[j], limit[j])), correlation))
}

/// Value and gradient at (y, x) by cubic convolution; the four neighbours along each axis are inside.
fn sample(a: &[f64], nx: usize, y: f64, x: f64) -> (f64, f64, f64) {
    let (iy, ix) = (y as usize, x as usize);
    let ((wy, dy), (wx, dx)) = (keys(y - iy as f64), keys(x - ix as f64));
    let mut out = (0.0, 0.0, 0.0);
    for j in 0..4 {
        let row = &a[(iy + j - 1) * nx + ix - 1..][..4];
        let (v, g) = (0..4).fold((0.0, 0.0), |s, i| (s.0 + wx[i] * row[i], s.1 + dx[i] * row[i]));
        out.0 += wy[j] * v;
        out.1 += dy[j] * v;
        out.2 += wy[j] * g;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similarity_is_found_and_chains() {
        let n = 96usize;
        // Smooth blobs, far from the edges.
        let picture = |y: f64, x: f64| {
            [(40.0, 30.0, 6.0, 1.0), (60.0, 66.0, 8.0, 0.8), (34.0, 62.0, 5.0, -0.7), (66.0, 34.0, 7.0, 0.6)]
                .iter()
                .map(|(cy, cx, s, h)| h * (-((y - cy).powi(2) + (x - cx).powi(2)) / (2.0 * s * s)).exp())
                .sum::<f64>()
        };
        let at = |al: &Alignment| -> Vec<f64> {
            let (sin, cos) = al.rotation.to_rad().sin_cos();
            (0..n * n)
                .map(|i| {
                    let (y, x) = ((i / n) as f64 - 48.0, (i % n) as f64 - 48.0);
                    let m = al.magnification;
                    let (ry, rx) = ((cos * y - sin * x) / m, (sin * y + cos * x) / m);
                    1.7 * picture(ry + 48.0 - al.shift[0], rx + 48.0 - al.shift[1]) + 0.3
                })
                .collect()
        };
        let one = Alignment { shift: [2.3, -4.1], rotation: Angle::deg(2.0), magnification: 1.03, correlation: 1.0 };
        let two = one.then(&Alignment { shift: [-1.0, 3.0], rotation: Angle::deg(-3.0), ..one });
        let mut stack = at(&Alignment::IDENTITY);
        stack.extend(at(&one));
        stack.extend(at(&two));
        let stack = Tensor::from_vec(&[3, n, n], stack).unwrap();
        for reference in [0, 1] {
            let found = align_series(&stack, reference, &AlignParams::default()).unwrap();
            let expected = if reference == 0 {
                [Alignment::IDENTITY, one, two]
            } else {
                [found[0], Alignment::IDENTITY, found[2]]
            };
            for (f, e) in found.iter().zip(&expected) {
                // Cubic interpolation of images smoothed over 1.5 pixels.
                assert!((0..2).all(|c| (f.shift[c] - e.shift[c]).abs() < 0.02), "{f:?} {e:?}");
                assert!((f.rotation - e.rotation).abs() < Angle::mrad(0.5) && f.correlation > 0.999);
                assert!((f.magnification - e.magnification).abs() < 1e-3);
            }
        }
        assert!(align_pair(&[1.0f64; 64], &[1.0; 64], [8, 8], &AlignParams::default()).is_err());
        assert!(align_series(&stack, 3, &AlignParams::default()).is_err());
    }
}
