//! The magnetic phase of a magnetisation in Fourier space, for a beam in any direction.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequencies};
use crate::lorentz::{E_OVER_HBAR, Magnetization};
use crate::real::cis;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::tensor::Tensor;

/// Parameters of [`mansuripur`].
#[derive(Clone, Copy, Debug)]
pub struct MansuripurParams {
    /// Direction in which electrons travel, `[z, y, x]`; need not be of length 1. Along −z the phase has the sign that
    /// programs with the z axis towards the source print.
    pub beam: [f64; 3],
    /// The sides of the frame in which the magnetisation is taken as periodic, over those of the grid; the rest is empty.
    pub padding: usize,
    /// [`Surroundings::Isolated`] corrects the far field for the copies that a periodic frame has.
    pub surroundings: Surroundings,
    /// The most memory.
    pub limits: Limits,
}

/// What is around the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surroundings {
    /// The frame again.
    #[default]
    Periodic,
    /// Nothing: the phase gradient that the copies take away in the middle is put back (periodicity forbids a mean
    /// gradient). What remains of their field falls as (distance/side)⁴.
    Isolated,
}

/// A beam along +z, no padding, periodic.
impl Default for MansuripurParams {
    fn default() -> Self {
        MansuripurParams {
            beam: [1.0, 0.0, 0.0],
            padding: 1,
            surroundings: Surroundings::Periodic,
            limits: Limits::default(),
        }
    }
}

/// The phase φ = −(e/ħ) ∫ A·dl of the lines along e through the pixels of the plane z = 0, the middle of the specimen:
///
/// ```text
/// φ(κ) = −i (e/ħ) Σ_n Δz sinc(κ_z Δz/2) e^{−iκ_z z_n} μ₀M_n(κ)·(e × κ) / (|e_z| |κ|²),   κ_z = −(κ_x e_x + κ_y e_y)/e_z
/// ```
///
/// κ = (κ_x, κ_y, κ_z) ⊥ e, z_n the middle of layer n. For a magnetisation that is constant through the thickness t the
/// sum is t sin(a)/a with a = (t|κ_⊥|/2)(s·e)/e_z, which is Mansuripur's form.
///
/// # Shapes
/// (ny, nx), rad; mean 0 where periodic. Pixels are those of the specimen's plane, not foreshortened.
///
/// # Errors
/// Those of [`Magnetization::check`]; [`Error::Param`] for a beam within 1° of the plane, or a padding of 0 or above 16;
/// [`Error::OverBudget`].
///
/// # References
/// M. Mansuripur, *J. Appl. Phys.* 69, 2455 (1991), eqs. (13)–(15); M. Beleggia, Y. Zhu, *Philos. Mag.* 83, 1045 (2003),
/// eq. (10). Note: programs print a without t|κ|/2, and the phase with the sign of e_z < 0.
pub fn mansuripur(magnetization: &Magnetization, params: &MansuripurParams) -> Result<Tensor<f64>, Error> {
    magnetization.check()?;
    let [ez, ey, ex] = unit_beam(params.beam)?;
    if !(1..=16).contains(&params.padding) {
        return Err(Error::param("padding", params.padding, "1 to 16"));
    }
    let [nz, ny, nx] = magnetization.dims();
    let (my, mx) = (ny * params.padding, nx * params.padding);
    let len = checked_len(&[my, mx])?;
    params.limits.check((len as u64).saturating_mul(16 * 5))?;
    let [dz, dy, dx] = magnetization.voxel.map(|v| v.to_angstrom());
    let tau = std::f64::consts::TAU;
    let (ky, kx) = (frequencies(my, dy), frequencies(mx, dx));
    let fft = Fft2::<f64>::new([my, mx])?;
    let mut scratch = try_zeroed(fft.scratch_len())?;
    let mut phi: Vec<Complex<f64>> = try_zeroed(len)?;
    let mut frame: Vec<Complex<f64>> = try_zeroed(len)?;

    // Each layer, each component: weights of M·(e × κ).
    for n in 0..nz {
        let z = (n as f64 - 0.5 * (nz as f64 - 1.0)) * dz;
        for c in 0..3 {
            let layer = &magnetization.m[c].as_slice()[n * ny * nx..][..ny * nx];
            if layer.iter().all(|m| *m == 0.0) {
                continue;
            }
            frame.fill(Complex::default());
            for y in 0..ny {
                for x in 0..nx {
                    frame[y * mx + x].re = layer[y * nx + x];
                }
            }
            fft.forward(&mut frame, &mut scratch);
            for (i, (p, m)) in phi.iter_mut().zip(&frame).enumerate() {
                let (qy, qx) = (tau * ky[i / mx], tau * kx[i % mx]);
                let qz = -(qx * ex + qy * ey) / ez;
                let q2 = qx * qx + qy * qy + qz * qz;
                if q2 == 0.0 {
                    continue;
                }
                let cross = [ex * qy - ey * qx, ez * qx - ex * qz, ey * qz - ez * qy][c];
                let half = 0.5 * qz * dz;
                let sinc = if half == 0.0 { 1.0 } else { half.sin() / half };
                *p += m * cis(-qz * z) * Complex::new(0.0, -E_OVER_HBAR * dz * sinc * cross / (ez.abs() * q2));
            }
        }
    }
    // A real image has no imaginary part at the Nyquist frequencies, an odd function no value.
    for (i, p) in phi.iter_mut().enumerate() {
        let (y, x) = (i / mx, i % mx);
        if (my.is_multiple_of(2) && y == my / 2) || (mx.is_multiple_of(2) && x == mx / 2) {
            *p = Complex::default();
        }
    }
    fft.inverse(&mut phi, &mut scratch);
    let mut out = Tensor::from_fn(&[ny, nx], |i| phi[i[0] * mx + i[1]].re);

    // What the copies take away.
    if params.surroundings == Surroundings::Isolated {
        let total = |c: usize| magnetization.m[c].as_slice().iter().sum::<f64>() * dz / len as f64;
        let m = [total(0), total(1), total(2)];
        let slope = isolated_slope(m, [ez, ey, ex], [my as f64 * dy, mx as f64 * dx]);
        for y in 0..ny {
            for x in 0..nx {
                let (ry, rx) = ((y as f64 - 0.5 * (ny as f64 - 1.0)) * dy, (x as f64 - 0.5 * (nx as f64 - 1.0)) * dx);
                out.as_mut_slice()[y * nx + x] += slope[0] * ry + slope[1] * rx;
            }
        }
    }
    Ok(out)
}

/// The phase gradient `[y, x]` in the middle of a frame with the given sides that its copies take away, for the mean
/// projected moment m (T Å): with f(κ) = iκφ(κ), which depends on the direction of κ alone, and a wide Gaussian g,
/// `∫ f g d²κ · (area of the frame) − Σ_{κ≠0} f g` over the frequencies of the frame. At normal incidence on a square that
/// is the mean of f, half of the gradient of a layer of this moment.
fn isolated_slope([mz, my, mx]: [f64; 3], [ez, ey, ex]: [f64; 3], sides: [f64; 2]) -> [f64; 2] {
    let f = |sy: f64, sx: f64| {
        let sz = -(sx * ex + sy * ey) / ez;
        let cross = mz * (ex * sy - ey * sx) + my * (ez * sx - ex * sz) + mx * (ey * sz - ez * sy);
        let f = E_OVER_HBAR * cross / (ez.abs() * (1.0 + sz * sz));
        [f * sy, f * sx]
    };
    // The width in units of the coarser frequency step; sums reach five widths.
    let sigma = 8.0 / sides[0].min(sides[1]);
    let mut slope = [0.0; 2];
    let steps = 720;
    let mut add = |[y, x]: [f64; 2], weight: f64| {
        slope[0] += weight * y;
        slope[1] += weight * x;
    };
    let area = std::f64::consts::TAU * sigma * sigma * sides[0] * sides[1];
    for i in 0..steps {
        let (sy, sx) = (std::f64::consts::TAU * f64::from(i) / f64::from(steps)).sin_cos();
        add(f(sy, sx), area / f64::from(steps));
    }
    // Of a very long frame the sum is cut: no frame needs more than so many frequencies.
    let reach = sides.map(|l| (5.0 * sigma * l).ceil().min(2000.0) as i64);
    for j in -reach[0]..=reach[0] {
        for i in -reach[1]..=reach[1] {
            let (ky, kx) = (j as f64 / sides[0], i as f64 / sides[1]);
            let k2 = ky * ky + kx * kx;
            if k2 > 0.0 {
                let k = k2.sqrt();
                add(f(ky / k, kx / k), -(-0.5 * k2 / (sigma * sigma)).exp());
            }
        }
    }
    slope
}

/// The direction, of length 1.
pub(crate) fn unit_beam(beam: [f64; 3]) -> Result<[f64; 3], Error> {
    let length = beam.iter().map(|b| b * b).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0 && (beam[0] / length).abs() > 0.0175) {
        return Err(Error::param("beam", format!("{beam:?}"), "a direction more than 1° from the specimen's plane"));
    }
    Ok(beam.map(|b| b / length))
}
