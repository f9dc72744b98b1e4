//! Probes as a differentiable function of the lens and of the positions.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::{Fft2, frequency_index};
use crate::op::{Write, write};
use crate::optics::constants::checked_wavelength;
use crate::optics::{Aberration, ProbeParams, UnitIntensity, chi_basis};
use crate::real::{Real, cis};
use crate::shape::Space;

/// Incident probes as a [`Function`] of the Cartesian aberration coefficients and of the positions, for
/// [`crate::multislice::MultisliceFunction`].
///
/// ```text
/// ψ_b = F⁻¹{ s A(k) exp(−iΣ_c C_c ∂χ/∂C_c − 2πi k·r_b) }
/// ∂L/∂C_c = Σ_b Σ_k Im{ conj(G_b) ψ̂_b } ∂χ/∂C_c,   ∂L/∂r_b = Σ_k 2πk Im{ conj(G_b) ψ̂_b },   G = F g / N
/// ```
///
/// The aperture A and the norm s are those of the parameters; aberrations do not change the norm.
///
/// # Shapes
/// Inputs: coefficients, real (14, 2), `[C_nma, C_nmb]` in the order of [`Aberration::ALL`]; positions, real (probes, 2), `[y, x]`. Output: complex
/// (probes, ny, nx).
///
/// # Units
/// Å.
#[derive(Clone, Debug)]
pub struct ProbeFunction<T: Real> {
    dims: [usize; 2],
    extent: [f64; 2],
    /// s A, (ny, nx).
    amplitude: Vec<f64>,
    /// Indices where A is not 0, and the basis of χ there.
    inside: Vec<(usize, crate::optics::Coefficients)>,
    fft: Fft2<T>,
}

impl<T: Real> ProbeFunction<T> {
    /// Tabulates aperture and basis; the aberrations of the parameters are not used.
    ///
    /// # Errors
    /// As [`crate::optics::Probe::new`].
    pub fn new(params: &ProbeParams) -> Result<Self, Error> {
        let grid = params.grid;
        grid.check()?;
        params.aperture.check()?;
        let lambda = checked_wavelength(params.energy, &params.constants)?;
        params.limits.check((grid.len() as u64).saturating_mul(240))?;
        let [ky, kx] = grid.frequencies();
        let step = grid.frequency_step().map(|d| lambda * d.to_per_angstrom());
        let mut amplitude = Vec::with_capacity(grid.len());
        let mut inside = Vec::new();
        for &y in &ky {
            for &x in &kx {
                let a = params.aperture.transmission([lambda * y, lambda * x], step);
                if a > 0.0 {
                    inside.push((amplitude.len(), chi_basis(lambda, [y, x])));
                }
                amplitude.push(a);
            }
        }
        let unit = match params.unit_intensity {
            UnitIntensity::Reciprocal => 1.0,
            UnitIntensity::Real => grid.len() as f64,
        };
        let s = (unit / amplitude.iter().map(|a| a * a).sum::<f64>()).sqrt();
        amplitude.iter_mut().for_each(|a| *a *= s);
        let extent = grid.extent().map(|l| l.to_angstrom());
        Ok(ProbeFunction { dims: grid.dims, extent, amplitude, inside, fft: Fft2::new(grid.dims)? })
    }

    /// Calls `f(index, ψ̂)` for every frequency inside the aperture.
    fn spectrum(
        &self,
        x: &[&[T]],
        probe: usize,
        mut f: impl FnMut(&(usize, crate::optics::Coefficients), [f64; 2], Complex<f64>),
    ) {
        let r = [x[1][2 * probe].f64(), x[1][2 * probe + 1].f64()];
        for point in &self.inside {
            let (i, basis) = point;
            let at = [i / self.dims[1], i % self.dims[1]];
            let k = [0, 1].map(|a| frequency_index(at[a], self.dims[a]) as f64 / self.extent[a]);
            let mut phase = TAU * (k[0] * r[0] + k[1] * r[1]);
            for (c, b) in basis.iter().enumerate() {
                phase += x[0][2 * c].f64() * b[0] + x[0][2 * c + 1].f64() * b[1];
            }
            f(point, k, cis(-phase) * self.amplitude[*i]);
        }
    }
}

impl<T: Real> Function<T> for ProbeFunction<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let coefficients = Space::real(&[Aberration::COUNT, 2]);
        if inputs.len() != 2 || *inputs[0] != coefficients {
            return Err(Error::shape("ProbeFunction", coefficients.dims(), inputs.first().map_or(&[], |s| s.dims())));
        }
        let probes = inputs[1].dims().first().copied().unwrap_or(0);
        if probes == 0 || *inputs[1] != Space::real(&[probes, 2]) {
            return Err(Error::shape("ProbeFunction", &[1, 2], inputs[1].dims()));
        }
        Ok(Space::complex(&[probes, self.dims[0], self.dims[1]]))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        2 * (self.fft.scratch_len() + self.fft.len())
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        let n = self.fft.len();
        check_len("ProbeFunction", "y", x[1].len() * n, y.len());
        let whole = scratch.len() / 2 * 2;
        let scratch: &mut [Complex<T>] = bytemuck::cast_slice_mut(&mut scratch[..whole]);
        let waves: &mut [Complex<T>] = bytemuck::cast_slice_mut(y);
        for (p, psi) in waves.chunks_mut(n).enumerate() {
            psi.fill(Complex::default());
            self.spectrum(x, p, |(i, _), _, z| psi[*i] = Complex::new(T::of(z.re), T::of(z.im)));
            self.fft.inverse(psi, scratch);
        }
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        _: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let n = self.fft.len();
        let whole = scratch.len() / 2 * 2;
        let scratch: &mut [Complex<T>] = bytemuck::cast_slice_mut(&mut scratch[..whole]);
        let (g, scratch) = scratch.split_at_mut(n);
        let waves: &[Complex<T>] = bytemuck::cast_slice(dy);
        let mut coefficients = [[0.0; 2]; Aberration::COUNT];
        for (p, dpsi) in waves.chunks(n).enumerate() {
            g.copy_from_slice(dpsi);
            self.fft.forward(g, scratch);
            let mut position = [0.0; 2];
            self.spectrum(x, p, |(i, basis), k, z| {
                let g = Complex::new(g[*i].re.f64(), g[*i].im.f64()) / n as f64;
                // ∂ψ̂/∂phase = −iψ̂: Re{conj(G)(−iψ̂)} = Im{conj(G) ψ̂}.
                let slope = (g.conj() * z).im;
                for (c, b) in coefficients.iter_mut().zip(basis) {
                    c[0] += slope * b[0];
                    c[1] += slope * b[1];
                }
                position[0] += slope * TAU * k[0];
                position[1] += slope * TAU * k[1];
            });
            if let Some((d, how)) = &mut dx[1] {
                (0..2).for_each(|a| write(&mut d[2 * p + a], T::of(position[a]), *how));
            }
        }
        if let Some((d, how)) = &mut dx[0] {
            for (d, c) in d.iter_mut().zip(coefficients.as_flattened()) {
                write(d, T::of(*c), *how);
            }
        }
    }
}
