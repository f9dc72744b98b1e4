//! PRISM: probes as sums of plane waves that were propagated once.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::multislice::{Multislice, Transmission};
use crate::optics::constants::checked_wavelength;
use crate::optics::{Chi, Grid, ProbeParams};
use crate::real::{Real, cis};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::Length;

/// Plane waves that are written into the matrix together: a cache line of it, and the lanes of a sum.
const TOGETHER: usize = 16;

/// The scattering matrix of a specimen: the exit waves of the plane waves that an aperture lets through, at every f-th spatial frequency.
///
/// ```text
/// S_h = multislice of exp(2πi k_h·r),  k_h on the grid of the window, extent/f
/// ψ(r; r₀) = Σ_h a_h exp(−iχ(k_h) − 2πi k_h·r₀) S_h(r) inside a window of extent/f around r₀,   Σ_h |a_h|² = 1/N_window
/// ```
///
/// For f = 1 that is multislice, exactly. For larger f the probe is periodic with extent/f, and exact as long as it keeps inside its window; the work
/// falls with f² for the plane waves and f² again for the probes.
///
/// # Shapes
/// Diffraction patterns of a window are `[probes, ny/f, nx/f]`.
///
/// # References
/// C. Ophus, *Adv. Struct. Chem. Imaging* 3, 13 (2017), equations 8 to 12.
#[derive(Debug)]
pub struct Prism<T: Real> {
    grid: Grid,
    /// The window.
    window: [usize; 2],
    /// k of each beam, as index in the window's spectrum, and its amplitude.
    beams: Vec<([isize; 2], Complex<f64>)>,
    /// (ny, nx, re/im, beams and zeros up to a multiple of 16): a probe's sum runs along the beams of a pixel.
    matrix: Vec<T>,
    fft: Fft2<T>,
    par: crate::par::Par,
}

impl<T: Real> Prism<T> {
    /// Propagates the plane waves of a probe through a specimen, with interpolation factor `f` along `[y, x]`.
    ///
    /// # Errors
    /// [`Error::Param`] for a factor that is 0 or does not divide the grid, another grid or energy in the probe, or an aperture that holds no beam; errors
    /// of [`Multislice::exit_waves`].
    pub fn new(
        multislice: &Multislice<T>,
        transmission: &Transmission<T>,
        probe: &ProbeParams,
        f: [usize; 2],
    ) -> Result<Self, Error> {
        let grid = *multislice.grid();
        let [ny, nx] = grid.dims;
        if (0..2).any(|a| f[a] == 0 || !grid.dims[a].is_multiple_of(f[a])) {
            return Err(Error::param("f", format!("{f:?}"), "interpolation factors that divide the grid"));
        }
        if probe.grid != grid || probe.energy != multislice.params.energy {
            return Err(Error::param(
                "probe",
                format!("{:?}, {}", probe.grid, probe.energy),
                "grid and energy of the multislice plan",
            ));
        }
        probe.aperture.check()?;
        let lambda = checked_wavelength(probe.energy, &probe.constants)?;
        let chi = Chi::new(Length::angstrom(lambda), &probe.aberrations)?;
        let window = [ny / f[0], nx / f[1]];
        let extent = [0, 1].map(|a| window[a] as f64 * grid.sampling[a].to_angstrom());

        // The beams inside the aperture, on the frequencies of the window.
        let mut beams = Vec::new();
        for iy in 0..window[0] {
            for ix in 0..window[1] {
                let h = [frequency_index(iy, window[0]), frequency_index(ix, window[1])];
                let k = [0, 1].map(|a| h[a] as f64 / extent[a]);
                let a = probe.aperture.transmission(k.map(|k| lambda * k), extent.map(|l| lambda / l));
                if a > 0.0 {
                    beams.push((h, cis(-chi.value(k)) * a));
                }
            }
        }
        let norm = beams.iter().map(|b| b.1.norm_sqr()).sum::<f64>().sqrt();
        if beams.is_empty() || norm == 0.0 {
            return Err(Error::param("aperture", format!("{:?}", probe.aperture), "an aperture that holds a beam"));
        }
        // As a probe of unit intensity in reciprocal space: 1/N of the window.
        let n_window = (window[0] * window[1]) as f64;
        beams.iter_mut().for_each(|b| b.1 /= norm * n_window);

        // Plane waves, a group at a time.
        let count = beams.len().next_multiple_of(TOGETHER);
        let len = checked_len(&[ny, nx, 2, count])?;
        multislice.params.limits.check((len as u64).saturating_mul(size_of::<T>() as u64))?;
        let mut matrix: Vec<T> = try_zeroed(len)?;
        let mut scratch = multislice.scratch()?;
        let group = TOGETHER.min(beams.len());
        let mut psi = try_zeroed(group * ny * nx)?;
        let mut exit = try_zeroed(group * ny * nx)?;
        for (g, some) in beams.chunks(group).enumerate() {
            let pixels = some.len() * ny * nx;
            multislice.par().chunks(&mut psi[..pixels], ny * nx, |i, psi| {
                let turn = |a: usize, j: usize| {
                    let n = window[a] as isize;
                    let z = cis(TAU * ((some[i].0[a] * j as isize).rem_euclid(n)) as f64 / n as f64);
                    Complex::new(T::of(z.re), T::of(z.im))
                };
                let row: Vec<Complex<T>> = (0..nx).map(|ix| turn(1, ix)).collect();
                for (iy, out) in psi.chunks_mut(nx).enumerate() {
                    let fy = turn(0, iy);
                    out.iter_mut().zip(&row).for_each(|(z, fx)| *z = fy * fx);
                }
            });
            multislice.exit_waves_into(transmission, &psi[..pixels], &mut exit[..pixels], &mut scratch);
            multislice.par().chunks(&mut matrix, nx * 2 * count, |iy, rows| {
                for (ix, at) in rows.chunks_mut(2 * count).enumerate() {
                    for b in 0..some.len() {
                        let z = exit[(b * ny + iy) * nx + ix];
                        (at[g * group + b], at[count + g * group + b]) = (z.re, z.im);
                    }
                }
            });
        }
        Ok(Prism { grid, window, beams, matrix, fft: Fft2::new(window)?, par: multislice.par().clone() })
    }

    /// Number of plane waves.
    pub fn beams(&self) -> usize {
        self.beams.len()
    }

    /// Pixels of the window that a probe sees.
    pub fn window(&self) -> [usize; 2] {
        self.window
    }

    /// Bytes of the scattering matrix.
    pub fn workspace_bytes(&self) -> u64 {
        (self.matrix.len() * size_of::<T>()) as u64
    }

    /// Exit waves of probes at `positions`, inside their windows, whose corner lies at the pixel nearest to r₀ − window/2 (periodic).
    ///
    /// # Shapes
    /// `[probes, ny/f, nx/f]`.
    ///
    /// # Errors
    /// [`Error::Param`] for a position that is not finite, [`Error::OutOfMemory`].
    pub fn exit_waves(&self, positions: &[[Length; 2]]) -> Result<Tensor<Complex<T>>, Error> {
        self.reduce(positions, |_, _| {})
    }

    /// Intensities in the detector plane: |F ψ|² of the exit waves, which sum to 1 but for what the band limit removed.
    ///
    /// # Shapes
    /// `[probes, ny/f, nx/f]`, zero frequency at index 0.
    ///
    /// # Errors
    /// As [`Prism::exit_waves`].
    pub fn patterns(&self, positions: &[[Length; 2]]) -> Result<Tensor<T>, Error> {
        let waves = self.reduce(positions, |psi, scratch| self.fft.forward(psi, scratch))?;
        Ok(waves.map(|z| z.norm_sqr()))
    }

    fn reduce(
        &self,
        positions: &[[Length; 2]],
        then: impl Fn(&mut [Complex<T>], &mut [Complex<T>]) + Sync,
    ) -> Result<Tensor<Complex<T>>, Error> {
        if let Some(r) = positions.iter().flatten().find(|r| !r.is_finite() || r.abs() > Length::mm(1.0)) {
            return Err(Error::param("position", r, "a finite position"));
        }
        let ([wy, wx], [ny, nx], count) = (self.window, self.grid.dims, self.beams.len().next_multiple_of(TOGETHER));
        let d = self.grid.sampling.map(|d| d.to_angstrom());
        let mut waves = try_zeroed(checked_len(&[positions.len(), wy, wx])?)?;
        let mut states = Vec::with_capacity(self.par.count());
        for _ in 0..self.par.count() {
            states.push((try_zeroed(2 * count)?, try_zeroed(self.fft.scratch_len())?));
        }
        self.par.chunks_with(
            &mut waves,
            wy * wx,
            &mut states,
            |p, psi, (c, scratch): &mut (Vec<T>, Vec<Complex<T>>)| {
                let r = positions[p].map(|r| r.to_angstrom());
                for (b, (h, a)) in self.beams.iter().enumerate() {
                    let turns = (0..2).map(|i| h[i] as f64 * r[i] / (self.window[i] as f64 * d[i])).sum::<f64>();
                    let z = a * cis(-TAU * turns.fract());
                    (c[b], c[count + b]) = (T::of(z.re), T::of(z.im));
                }
                let corner = [0, 1].map(|i| (r[i] / d[i] - 0.5 * self.window[i] as f64).round() as isize);
                let at = |i: usize, j: usize, n: usize| (corner[i] + j as isize).rem_euclid(n as isize) as usize;
                for jy in 0..wy {
                    let row = at(0, jy, ny) * nx;
                    for jx in 0..wx {
                        let s = &self.matrix[(row + at(1, jx, nx)) * 2 * count..][..2 * count];
                        psi[jy * wx + jx] = dot(s, c);
                    }
                }
                then(psi, scratch);
            },
        );
        Tensor::from_vec(&[positions.len(), wy, wx], waves)
    }
}

/// Σ s c of split numbers, sixteen at a time.
#[inline]
fn dot<T: Real>(s: &[T], c: &[T]) -> Complex<T> {
    crate::simd::vectorized!({
        let n = s.len() / 2;
        let [sr, si, cr, ci] = [&s[..n], &s[n..], &c[..n], &c[n..]].map(|x| x.as_chunks::<TOGETHER>().0);
        let (mut re, mut im) = ([T::ZERO; TOGETHER], [T::ZERO; TOGETHER]);
        for (((sr, si), cr), ci) in sr.iter().zip(si).zip(cr).zip(ci) {
            for l in 0..TOGETHER {
                re[l] += sr[l] * cr[l] - si[l] * ci[l];
                im[l] += sr[l] * ci[l] + si[l] * cr[l];
            }
        }
        let mut sum = Complex::new(T::ZERO, T::ZERO);
        for l in 0..TOGETHER {
            sum += Complex::new(re[l], im[l]);
        }
        sum
    })
}
