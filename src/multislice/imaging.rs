//! From exit waves to intensities: diffraction patterns and high-resolution images.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::Fft2;
use crate::optics::{Aperture, Coherence, Ctf, CtfParams, FocalSpread, Grid, SourceAngle};
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::Length;

/// |F ψ|² of waves: intensities in the detector plane, which sum to the waves' intensity times the number of pixels.
///
/// # Shapes
/// `[waves, y, x]` → `[waves, ky, kx]`, zero frequency at index 0.
///
/// # Errors
/// [`Error::Shape`] for waves that are not `[waves, y, x]`, [`Error::OutOfMemory`].
pub fn diffraction<T: Real>(waves: &Tensor<Complex<T>>, par: &Par) -> Result<Tensor<T>, Error> {
    let &[n, ny, nx] = waves.dims() else {
        return Err(Error::shape("diffraction", &[1, 1, 1], waves.dims()));
    };
    let fft = Fft2::<T>::new([ny, nx])?;
    let mut out = try_zeroed(checked_len(&[n, ny, nx])?)?;
    let mut states = Vec::with_capacity(par.count());
    for _ in 0..par.count() {
        states.push((try_zeroed(fft.len())?, try_zeroed(fft.scratch_len())?));
    }
    par.chunks_with(
        &mut out,
        ny * nx,
        &mut states,
        |w, out, (psi, scratch): &mut (Vec<Complex<T>>, Vec<Complex<T>>)| {
            psi.copy_from_slice(&waves.as_slice()[w * ny * nx..][..ny * nx]);
            fft.forward(psi, scratch);
            out.iter_mut().zip(psi.iter()).for_each(|(i, z)| *i = z.norm_sqr());
        },
    );
    Tensor::from_vec(&[n, ny, nx], out)
}

/// How partial coherence enters an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Averaging {
    /// The envelopes multiply the transfer function (quasi-coherent): right for the linear part of the image.
    #[default]
    Envelope,
    /// Images of several focus values and beam directions are added up with Gaussian weights: right to any order.
    ///
    /// The spreads are those of [`CtfParams`]; `focus` values reach to ±3.5 standard deviations, and `directions`² tilts to the same
    /// number of those of the source, by the trapezoidal rule.
    Explicit {
        /// Number of focus values.
        focus: usize,
        /// Number of beam directions along each axis.
        directions: usize,
    },
}

/// Images of exit waves by a lens: `I = |F⁻¹{T F ψ}|²`, with partial coherence.
///
/// # Shapes
/// Waves `[waves, y, x]`, images likewise.
///
/// # References
/// J. Frank, *Optik* 38, 519 (1973); K. Ishizuka, *Ultramicroscopy* 5, 55 (1980), for what the envelopes leave out.
///
/// # Examples
/// ```
/// use exitwave::multislice::{Averaging, HrtemImage};
/// use exitwave::optics::{CtfParams, FocalSpread, Grid};
/// use exitwave::par::Par;
/// use exitwave::tensor::Tensor;
/// use exitwave::units::Length;
/// use num_complex::Complex;
/// let ctf = CtfParams { focal_spread: FocalSpread::rms(Length::angstrom(30.0)), ..Default::default() };
/// let grid = Grid { dims: [32, 32], sampling: [Length::angstrom(0.2); 2] };
/// let lens = HrtemImage::<f32>::new(&ctf, grid, Averaging::Envelope, Par::seq())?;
/// let image = lens.images(&Tensor::full(&[1, 32, 32], Complex::new(1.0, 0.0)))?;
/// assert!((image.as_slice()[0] - 1.0).abs() < 1e-6);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct HrtemImage<T: Real> {
    grid: Grid,
    /// Transfer functions (with 1/N) and their weights.
    transfer: Vec<(f64, Vec<Complex<T>>)>,
    fft: Fft2<T>,
    par: Par,
}

impl<T: Real> HrtemImage<T> {
    /// Tabulates the transfer functions.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range, [`Error::OutOfMemory`].
    pub fn new(ctf: &CtfParams, grid: Grid, averaging: Averaging, par: Par) -> Result<Self, Error> {
        grid.check()?;
        let mut transfer = Vec::new();
        for (weight, shifted) in points(ctf, averaging)? {
            transfer.push((weight, shifted.table(&grid, ctf)?));
        }
        Ok(HrtemImage { grid, transfer, fft: Fft2::new(grid.dims)?, par })
    }

    /// The images of waves.
    ///
    /// # Errors
    /// [`Error::Shape`] for waves of another grid, [`Error::OutOfMemory`].
    pub fn images(&self, waves: &Tensor<Complex<T>>) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.grid.dims;
        let n = waves.dims().first().copied().unwrap_or(0);
        if *waves.dims() != [n, ny, nx] {
            return Err(Error::shape("HrtemImage::images", &[n, ny, nx], waves.dims()));
        }
        let mut out: Vec<T> = try_zeroed(checked_len(&[n, ny, nx])?)?;
        let mut states = Vec::with_capacity(self.par.count());
        for _ in 0..self.par.count() {
            states.push((try_zeroed(ny * nx)?, try_zeroed(ny * nx)?, try_zeroed(self.fft.scratch_len())?));
        }
        type State<T> = (Vec<Complex<T>>, Vec<Complex<T>>, Vec<Complex<T>>);
        self.par.chunks_with(&mut out, ny * nx, &mut states, |w, out, (spectrum, psi, scratch): &mut State<T>| {
            spectrum.copy_from_slice(&waves.as_slice()[w * ny * nx..][..ny * nx]);
            self.fft.forward(spectrum, scratch);
            for (weight, t) in &self.transfer {
                psi.iter_mut().zip(spectrum.iter()).zip(t).for_each(|((p, s), t)| *p = s * t);
                self.fft.transform(psi, crate::fft::Direction::Inverse, T::ONE, scratch);
                let weight = T::of(*weight);
                out.iter_mut().zip(psi.iter()).for_each(|(i, z)| *i += weight * z.norm_sqr());
            }
        });
        Tensor::from_vec(&[n, ny, nx], out)
    }
}

/// One point of the focus and source distributions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shifted {
    /// Å, added to C10.
    pub focus: f64,
    /// `[y, x]`, rad.
    pub direction: [f64; 2],
    /// Whether the spreads damp the transfer function.
    pub envelope: bool,
}

impl Shifted {
    /// The lens as this point sees it.
    pub(crate) fn lens(&self, params: &CtfParams) -> Result<ShiftedLens, Error> {
        let mut lens = params.clone();
        if !self.envelope {
            (lens.focal_spread, lens.source_angle) = (FocalSpread::ZERO, SourceAngle::ZERO);
            lens.aberrations[crate::optics::Aberration::C10].c += Length::angstrom(self.focus);
        }
        let ctf = Ctf::new(&lens)?;
        let lambda = ctf.chi().lambda();
        let q = self.direction.map(|d| d / lambda);
        let phase = cis(ctf.chi().value(q));
        Ok(ShiftedLens { ctf, q, phase })
    }

    /// T on a grid, divided by N.
    fn table<T: Real>(&self, grid: &Grid, params: &CtfParams) -> Result<Vec<Complex<T>>, Error> {
        let lens = self.lens(params)?;
        let step = grid.frequency_step().map(|d| d.to_per_angstrom());
        let scale = 1.0 / grid.len() as f64;
        let [ky, kx] = grid.frequencies();
        let mut table = try_zeroed(grid.len())?;
        for (row, &y) in table.chunks_mut(grid.dims[1]).zip(&ky) {
            for (t, &x) in row.iter_mut().zip(&kx) {
                let z = lens.at([y, x], step) * scale;
                *t = Complex::new(T::of(z.re), T::of(z.im));
            }
        }
        Ok(table)
    }
}

/// A lens at one point of the focus and source distributions: `T(k + q)/unit T(q)`, q = direction/λ. The wave enters along the tilt, and the image keeps
/// its place on average by the definition of the envelopes.
#[derive(Clone, Debug)]
pub(crate) struct ShiftedLens {
    pub ctf: Ctf,
    pub q: [f64; 2],
    phase: Complex<f64>,
}

impl ShiftedLens {
    /// T at k, on a grid of frequencies `step` apart.
    pub(crate) fn at(&self, k: [f64; 2], step: [f64; 2]) -> Complex<f64> {
        self.ctf.at([k[0] + self.q[0], k[1] + self.q[1]], step) * self.phase
    }
}

/// Weights and points of the averages; weights sum to 1.
pub(crate) fn points(ctf: &CtfParams, averaging: Averaging) -> Result<Vec<(f64, Shifted)>, Error> {
    let Averaging::Explicit { focus, directions } = averaging else {
        return Ok(vec![(1.0, Shifted { focus: 0.0, direction: [0.0; 2], envelope: true })]);
    };
    if !(1..=1001).contains(&focus) || !(1..=101).contains(&directions) {
        return Err(Error::param(
            "averaging",
            format!("{averaging:?}"),
            "1 to 1001 focus values, 1 to 101 directions an axis",
        ));
    }
    let line = |n: usize, rms: f64| -> Vec<(f64, f64)> {
        if n == 1 || rms == 0.0 {
            return vec![(1.0, 0.0)];
        }
        let at = |i: usize| 3.5 * (2.0 * i as f64 / (n - 1) as f64 - 1.0);
        let total: f64 = (0..n).map(|i| (-0.5 * at(i) * at(i)).exp()).sum();
        (0..n).map(|i| ((-0.5 * at(i) * at(i)).exp() / total, rms * at(i))).collect()
    };
    let foci = line(focus, ctf.focal_spread.to_rms().to_angstrom());
    let angles = line(directions, ctf.source_angle.to_rms().to_rad());
    let mut all = Vec::with_capacity(foci.len() * angles.len() * angles.len());
    for &(wf, f) in &foci {
        for &(wy, y) in &angles {
            for &(wx, x) in &angles {
                all.push((wf * wy * wx, Shifted { focus: f, direction: [y, x], envelope: false }));
            }
        }
    }
    Ok(all)
}

/// The image of a wave by the full transmission cross-coefficient, to every order in the wave:
///
/// ```text
/// I(k) = Σ_q ψ(q + k) ψ̄(q) TCC(q + k, q),   TCC(a, b) = A(a) A(b) e^{−iχ(a) + iχ(b)} E(a, b)
/// E = exp(−(θ/2λ)² |∇χ(a) − ∇χ(b)|²) exp(−(πλΔ/2)² (a² − b²)²)
/// ```
///
/// with the 1/e half-widths θ of the source and Δ of the focal spread: what the explicit averages converge to for small angles. Costs the square of the number of
/// frequencies inside the aperture: for small grids, and to test what is faster.
///
/// # Shapes
/// `psi` is (ny, nx); the image too.
///
/// # Errors
/// [`Error::Shape`] for a wave of another grid, [`Error::Param`] for a parameter outside its range, without an aperture, or for more than 20 000
/// frequencies in it, [`Error::Unsupported`] for [`Coherence::Coupled`].
///
/// # References
/// K. Ishizuka, *Ultramicroscopy* 5, 55 (1980), equation 12.
pub fn transmission_cross_coefficient(
    psi: &Tensor<Complex<f64>>,
    ctf: &CtfParams,
    grid: &Grid,
) -> Result<Tensor<f64>, Error> {
    grid.check()?;
    let [ny, nx] = grid.dims;
    if *psi.dims() != [ny, nx] {
        return Err(Error::shape("transmission_cross_coefficient", &[ny, nx], psi.dims()));
    }
    if ctf.coherence == Coherence::Coupled {
        return Err(Error::Unsupported { what: "the coupled envelope in a transmission cross-coefficient".into() });
    }
    let coherent = CtfParams { focal_spread: FocalSpread::ZERO, source_angle: SourceAngle::ZERO, ..ctf.clone() };
    ctf.focal_spread.check()?;
    ctf.source_angle.check()?;
    let lens = Ctf::new(&coherent)?;
    let lambda = lens.chi().lambda();
    let theta = ctf.source_angle.to_one_over_e().to_rad();
    let delta = ctf.focal_spread.to_one_over_e().to_angstrom();
    let step = grid.frequency_step().map(|d| d.to_per_angstrom());
    let [ky, kx] = grid.frequencies();
    let fft = Fft2::<f64>::new(grid.dims)?;
    let mut scratch = try_zeroed(fft.scratch_len())?;
    let mut spectrum = psi.as_slice().to_vec();
    check_len("transmission_cross_coefficient", "psi", fft.len(), spectrum.len());
    fft.forward(&mut spectrum, &mut scratch);

    // The frequencies that pass, with T ψ, ∇χ/λ and k².
    let mut beams = Vec::new();
    for iy in 0..ny {
        for ix in 0..nx {
            let k = [ky[iy], kx[ix]];
            let t = lens.at(k, step);
            if t.norm_sqr() > 0.0 {
                let g = lens.chi().gradient(k).map(|g| g / lambda);
                beams.push(([iy, ix], t * spectrum[iy * nx + ix], g, k[0] * k[0] + k[1] * k[1]));
            }
        }
    }
    if beams.len() > 20_000 || ctf.aperture == Aperture::Open {
        return Err(Error::param(
            "aperture",
            format!("{} frequencies", beams.len()),
            "an aperture that holds at most 20 000",
        ));
    }
    let mut image: Vec<Complex<f64>> = try_zeroed(ny * nx)?;
    let a = 0.25 * theta * theta;
    let b = (0.5 * std::f64::consts::PI * lambda * delta).powi(2);
    for (p, zp, gp, kp) in &beams {
        for (q, zq, gq, kq) in &beams {
            let d = [gp[0] - gq[0], gp[1] - gq[1]];
            let e = (-a * (d[0] * d[0] + d[1] * d[1]) - b * (kp - kq).powi(2)).exp();
            let at = (p[0] + ny - q[0]) % ny * nx + (p[1] + nx - q[1]) % nx;
            image[at] += zp * zq.conj() * e;
        }
    }
    fft.inverse(&mut image, &mut scratch);
    // ψ = F⁻¹ has 1/N for each of the two waves; one of them is in the inverse transform.
    let scale = 1.0 / (ny * nx) as f64;
    Tensor::from_vec(&[ny, nx], image.iter().map(|z| z.re * scale).collect())
}

/// Positions of a scan, `[y, x]`, rows first: `steps` points of `step` each from `start`.
pub fn raster(start: [Length; 2], step: [Length; 2], steps: [usize; 2]) -> Vec<[Length; 2]> {
    let at = |a: usize, i: usize| start[a] + step[a] * i as f64;
    (0..steps[0]).flat_map(|i| (0..steps[1]).map(move |j| [at(0, i), at(1, j)])).collect()
}
