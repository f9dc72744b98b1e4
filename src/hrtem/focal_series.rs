//! The forward model of a focal series: one exit wave, several images.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{Direction, Fft2};
use crate::multislice::{Averaging, Shifted, ShiftedLens, points};
use crate::optics::{
    Aberration, Aberrations, Aperture, CartesianAberrations, Coherence, CtfParams, FocalSpread, Grid, SourceAngle,
    chi_basis, chi_basis_gradient,
};
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{Limits, checked_len, try_reserved, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Energy, Length};

/// Numbers that describe one image: the Cartesian aberrations `[a, b]` in the order of [`Aberration::ALL`], Å, then the shift
/// `[y, x]`, Å.
pub const FOCAL_WORDS: usize = 2 * Aberration::COUNT + 2;

/// What the kernels see of one image.
pub(crate) type Words = [f64; FOCAL_WORDS];

/// Where the shift stands among the words.
pub(crate) const SHIFT: usize = 2 * Aberration::COUNT;

/// The lens for one image of a series, and where the image lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FocalImage {
    /// All aberrations, the defocus among them.
    pub lens: Aberrations,
    /// `[y, x]`: the shift of the image's content.
    pub shift: [Length; 2],
}

impl FocalImage {
    /// A series with these underfocus values and otherwise the same lens, not shifted.
    pub fn series(defocus: &[Length], lens: &Aberrations) -> Vec<FocalImage> {
        let image = |f: &Length| {
            let mut lens = *lens;
            lens.set_defocus(*f);
            FocalImage { lens, shift: [Length::ZERO; 2] }
        };
        defocus.iter().map(image).collect()
    }

    /// The underfocus.
    pub fn defocus(&self) -> Length {
        self.lens.defocus()
    }

    /// The numbers, as [`FOCAL_WORDS`] says.
    pub fn to_words(&self) -> [f64; FOCAL_WORDS] {
        let c = self.lens.to_cartesian().to_angstrom();
        let mut w = [0.0; FOCAL_WORDS];
        for (w, c) in w.chunks_mut(2).zip(&c) {
            w.copy_from_slice(c);
        }
        (w[SHIFT], w[SHIFT + 1]) = (self.shift[0].to_angstrom(), self.shift[1].to_angstrom());
        w
    }

    /// The image with these numbers.
    pub fn from_words(w: &[f64; FOCAL_WORDS]) -> Self {
        FocalImage { lens: lens_of(w), shift: [Length::angstrom(w[SHIFT]), Length::angstrom(w[SHIFT + 1])] }
    }

    fn check(&self) -> Result<(), Error> {
        self.lens.check()?;
        if !self.shift.iter().all(|s| s.abs() <= Length::m(1.0)) {
            return Err(Error::param("shift", format!("{} {}", self.shift[0], self.shift[1]), "less than 1 m"));
        }
        Ok(())
    }
}

fn lens_of(w: &Words) -> Aberrations {
    let c: [[f64; 2]; Aberration::COUNT] = std::array::from_fn(|i| [w[2 * i], w[2 * i + 1]]);
    CartesianAberrations::from_angstrom(&c).to_polar()
}

/// What a focal series is taken with.
#[derive(Clone, Debug)]
pub struct FocalSeriesParams {
    /// Beam energy.
    pub energy: Energy,
    /// Pixels of the exit wave and of the images. Intensities reach to twice the aperture: the pixel must be a quarter of α/λ's inverse at most, or
    /// the images are aliased.
    pub grid: Grid,
    /// One an image.
    pub images: Vec<FocalImage>,
    /// Aperture in the back focal plane. Frequencies beyond it are no part of the model.
    pub aperture: Aperture,
    /// Spread of focus.
    pub focal_spread: FocalSpread,
    /// Spread of beam directions.
    pub source_angle: SourceAngle,
    /// How both enter: as envelopes, or as sums of images.
    pub averaging: Averaging,
    /// Threads.
    pub par: Par,
    /// The most memory.
    pub limits: Limits,
}

/// 300 keV, coherent, no image yet.
impl Default for FocalSeriesParams {
    fn default() -> Self {
        FocalSeriesParams {
            energy: Energy::kev(300.0),
            grid: Grid::default(),
            images: Vec::new(),
            aperture: Aperture::Open,
            focal_spread: FocalSpread::ZERO,
            source_angle: SourceAngle::ZERO,
            averaging: Averaging::Envelope,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// The images of an exit wave by a lens whose focus changes:
///
/// ```text
/// I_k(r) = Σ_j w_j |F⁻¹{ T_kj F ψ }|²,   T_kj(q) = T(q; C_k, j) exp(−2πi q·s_k)
/// ```
///
/// T is [`Ctf`](crate::optics::Ctf) with the aberrations C_k of image k, and j counts the points of the focus and source distributions
/// exactly as in [`HrtemImage`](crate::multislice::HrtemImage): one point with the envelopes, or many without. Only frequencies inside the
/// aperture are stored and computed.
///
/// It simulates series and is what [`ExitWave`](crate::hrtem::ExitWave) differentiates.
///
/// # Shapes
/// Wave (ny, nx), images (n, ny, nx); both periodic.
///
/// # References
/// W. Coene, A. Thust, M. Op de Beeck, D. Van Dyck, *Ultramicroscopy* 64, 109 (1996), equations 1 to 5.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{FocalImage, FocalSeries, FocalSeriesParams};
/// use exitwave::optics::{Aberrations, Grid};
/// use exitwave::units::Length;
/// use num_complex::Complex;
/// let images = FocalImage::series(&[Length::nm(-10.0), Length::nm(10.0)], &Aberrations::default());
/// let grid = Grid { dims: [16, 16], sampling: [Length::angstrom(0.3); 2] };
/// let series = FocalSeries::<f64>::new(&FocalSeriesParams { grid, images, ..FocalSeriesParams::default() })?;
/// let flat = series.images(&[Complex::new(0.0, 1.0); 256])?;
/// assert!(flat.as_slice().iter().all(|i| (i - 1.0).abs() < 1e-12));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct FocalSeries<T: Real> {
    grid: Grid,
    ctf: CtfParams,
    pub(crate) fft: Fft2<T>,
    /// Weights and points of the distributions.
    pub(crate) points: Vec<(f64, Shifted)>,
    /// Flat indices of the frequencies inside the aperture; the frequencies; and which of them is −q.
    active: Vec<u32>,
    k: Vec<[f64; 2]>,
    minus: Vec<u32>,
    words: Vec<Words>,
    pub(crate) par: Par,
}

/// The slices that one image needs: waves (points, ny, nx), their intensity (ny, nx), the transform's scratch.
pub(crate) struct Bench<'a, T: Real> {
    pub psi: &'a mut [Complex<T>],
    pub intensity: &'a mut [T],
    pub scratch: &'a mut [Complex<T>],
}

impl<T: Real> FocalSeries<T> {
    /// Checks everything, and finds the frequencies that pass.
    ///
    /// # Errors
    /// [`Error::Param`] for a series without images or a number out of range, [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn new(params: &FocalSeriesParams) -> Result<Self, Error> {
        params.grid.check()?;
        if params.images.is_empty() {
            return Err(Error::param("images", 0, "at least one image"));
        }
        for image in &params.images {
            image.check()?;
        }
        let ctf = CtfParams {
            energy: params.energy,
            aperture: params.aperture,
            focal_spread: params.focal_spread,
            source_angle: params.source_angle,
            coherence: Coherence::Separable,
            ..CtfParams::default()
        };
        let points = points(&ctf, params.averaging)?;
        let len = params.grid.len();
        let bytes = (len as u64).saturating_mul(points.len() as u64 + 2).saturating_mul(2 * size_of::<T>() as u64);
        params.limits.check(bytes.saturating_mul(params.par.count() as u64))?;
        let lenses = points.iter().map(|p| p.1.lens(&ctf)).collect::<Result<Vec<_>, _>>()?;

        // A frequency is active if it passes for any beam direction; with it its negative, so that real images stay real.
        let [ky, kx] = params.grid.frequencies();
        let [ny, nx] = params.grid.dims;
        let step = params.grid.frequency_step().map(|d| d.to_per_angstrom());
        let negative = |i: usize| (ny - i / nx) % ny * nx + (nx - i % nx) % nx;
        let mut passes: Vec<bool> = try_zeroed(len)?;
        for i in 0..len {
            let k = [ky[i / nx], kx[i % nx]];
            let lambda = lenses[0].ctf.chi().lambda();
            let open = |l: &ShiftedLens| {
                let w = [0, 1].map(|a| lambda * (k[a] + l.q[a]));
                params.aperture.transmission(w, step.map(|d| lambda * d)) > 0.0
            };
            if lenses.iter().any(open) {
                (passes[i], passes[negative(i)]) = (true, true);
            }
        }
        let active: Vec<u32> = (0..len).filter(|&i| passes[i]).map(|i| i as u32).collect();
        let mut place: Vec<u32> = try_zeroed(len)?;
        for (j, &i) in active.iter().enumerate() {
            place[i as usize] = j as u32;
        }
        Ok(FocalSeries {
            grid: params.grid,
            fft: Fft2::new(params.grid.dims)?,
            points,
            k: active.iter().map(|&i| [ky[i as usize / nx], kx[i as usize % nx]]).collect(),
            minus: active.iter().map(|&i| place[negative(i as usize)]).collect(),
            active,
            words: params.images.iter().map(FocalImage::to_words).collect(),
            ctf,
            par: params.par.clone(),
        })
    }

    /// The grid of wave and images.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.words.len()
    }

    /// Number of frequencies inside the aperture.
    pub fn frequencies(&self) -> usize {
        self.active.len()
    }

    /// The images' numbers.
    pub(crate) fn words(&self) -> &[Words] {
        &self.words
    }

    /// Which frequency is the negative of which.
    pub(crate) fn minus(&self) -> &[u32] {
        &self.minus
    }

    /// Numbers of a table of transfer functions.
    pub(crate) fn table_len(&self) -> usize {
        self.points.len() * self.active.len()
    }

    fn lens(&self, point: &Shifted, words: &Words) -> Result<ShiftedLens, Error> {
        point.lens(&CtfParams { aberrations: lens_of(words), ..self.ctf.clone() })
    }

    /// Writes T_j of one image, (points, frequencies).
    pub(crate) fn fill_table(&self, words: &Words, table: &mut [Complex<T>]) -> Result<(), Error> {
        check_len("FocalSeries", "table", self.table_len(), table.len());
        for ((_, point), table) in self.points.iter().zip(table.chunks_mut(self.active.len())) {
            self.fill_lens(point, words, table)?;
        }
        Ok(())
    }

    /// Writes T with the envelopes, (frequencies): the transfer function of the linear image.
    pub(crate) fn fill_linear(&self, words: &Words, table: &mut [Complex<T>]) -> Result<(), Error> {
        self.fill_lens(&Shifted { focus: 0.0, direction: [0.0; 2], envelope: true }, words, table)
    }

    fn fill_lens(&self, point: &Shifted, words: &Words, table: &mut [Complex<T>]) -> Result<(), Error> {
        if !words.iter().all(|w| w.is_finite()) {
            return Err(Error::NotFinite { node: "numbers of an image".into(), step: 0 });
        }
        let lens = self.lens(point, words)?;
        let step = self.grid.frequency_step().map(|d| d.to_per_angstrom());
        for (t, &k) in table.iter_mut().zip(&self.k) {
            let ramp = cis(-std::f64::consts::TAU * (k[0] * words[SHIFT] + k[1] * words[SHIFT + 1]));
            let z = lens.at(k, step) * ramp;
            *t = Complex::new(T::of(z.re), T::of(z.im));
        }
        Ok(())
    }

    /// The spectrum (frequencies) of a wave (ny, nx), which is overwritten.
    pub(crate) fn spectrum_of(&self, wave: &mut [Complex<T>], spectrum: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.fft.forward(wave, scratch);
        self.gather(wave, spectrum);
    }

    /// Picks the active frequencies of a spectrum (ny, nx).
    pub(crate) fn gather(&self, full: &[Complex<T>], spectrum: &mut [Complex<T>]) {
        for (s, &i) in spectrum.iter_mut().zip(&self.active) {
            *s = full[i as usize];
        }
    }

    /// `wave = scale · F⁻¹ spectrum`, the inverse without 1/N.
    pub(crate) fn wave_of(
        &self,
        spectrum: &[Complex<T>],
        scale: T,
        wave: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        wave.fill(Complex::default());
        for (s, &i) in spectrum.iter().zip(&self.active) {
            wave[i as usize] = *s;
        }
        self.fft.transform(wave, Direction::Inverse, scale, scratch);
    }

    /// ψ_j and the intensity of one image.
    pub(crate) fn image(&self, table: &[Complex<T>], spectrum: &[Complex<T>], bench: &mut Bench<'_, T>) {
        let (a, len) = (self.active.len(), self.fft.len());
        bench.intensity.fill(T::ZERO);
        for (j, (weight, _)) in self.points.iter().enumerate() {
            let psi = &mut bench.psi[j * len..][..len];
            psi.fill(Complex::default());
            for ((s, t), &i) in spectrum.iter().zip(&table[j * a..][..a]).zip(&self.active) {
                psi[i as usize] = s * t;
            }
            self.fft.transform(psi, Direction::Inverse, T::of(1.0 / len as f64), bench.scratch);
            let weight = T::of(*weight);
            bench.intensity.iter_mut().zip(psi.iter()).for_each(|(i, z)| *i += weight * z.norm_sqr());
        }
    }

    /// The adjoint of [`FocalSeries::image`]'s derivative: with g = ∂L/∂I in `bench.intensity` and ψ_j in `bench.psi` (overwritten),
    ///
    /// ```text
    /// g_ψj = 2 w_j g ψ_j,   G_j = F{g_ψj}/N,   g_S += Σ_j T̄_j G_j
    /// ∂L/∂p = Re Σ_q Σ_j Ḡ_j S T_j ∂ln T_j/∂p
    /// ```
    pub(crate) fn image_adjoint(
        &self,
        words: &Words,
        table: &[Complex<T>],
        spectrum: &[Complex<T>],
        bench: &mut Bench<'_, T>,
        by_spectrum: &mut [Complex<T>],
        by_words: Option<&mut Words>,
    ) -> Result<(), Error> {
        let (a, len) = (self.active.len(), self.fft.len());
        let scale = T::of(1.0 / len as f64);
        let mut sum = [0.0; FOCAL_WORDS];
        for (j, (weight, point)) in self.points.iter().enumerate() {
            let psi = &mut bench.psi[j * len..][..len];
            let twice = T::of(2.0 * weight);
            psi.iter_mut().zip(bench.intensity.iter()).for_each(|(z, &g)| *z = z.scale(twice * g));
            self.fft.transform(psi, Direction::Forward, scale, bench.scratch);
            let t = &table[j * a..][..a];
            for ((g, t), &i) in by_spectrum.iter_mut().zip(t).zip(&self.active) {
                *g += t.conj() * psi[i as usize];
            }
            if by_words.is_some() {
                let lens = self.lens(point, words)?;
                self.add_words(point, &lens, t, spectrum, psi, &mut sum);
            }
        }
        if let Some(out) = by_words {
            *out = sum;
        }
        Ok(())
    }

    /// `∂ln T/∂C = −i (∂χ/∂C(q + d) − ∂χ/∂C(d)) − (θ²/2λ²) ∇χ·∇(∂χ/∂C)`, the last with the envelope only; `∂ln T/∂s = −2πi q`.
    fn add_words(
        &self,
        point: &Shifted,
        lens: &ShiftedLens,
        t: &[Complex<T>],
        spectrum: &[Complex<T>],
        g: &[Complex<T>],
        sum: &mut Words,
    ) {
        let lambda = lens.ctf.chi().lambda();
        let theta = self.ctf.source_angle.to_one_over_e().to_rad();
        let damping = if point.envelope { -0.5 * (theta / lambda).powi(2) } else { 0.0 };
        let at_zero = chi_basis(lambda, lens.q);
        for (((t, s), k), &i) in t.iter().zip(spectrum).zip(&self.k).zip(&self.active) {
            let w = g[i as usize].conj() * s * t;
            let w = Complex::new(w.re.f64(), w.im.f64());
            let q = [k[0] + lens.q[0], k[1] + lens.q[1]];
            for (sum, (b, z)) in sum.chunks_mut(2).zip(chi_basis(lambda, q).iter().zip(&at_zero)) {
                sum[0] += (b[0] - z[0]) * w.im;
                sum[1] += (b[1] - z[1]) * w.im;
            }
            if damping != 0.0 {
                let chi = lens.ctf.chi().gradient(q);
                let by = chi_basis_gradient(lambda, q);
                for (sum, b) in sum.chunks_mut(2).zip(&by) {
                    for c in 0..2 {
                        sum[c] += damping * (chi[0] * b[c][0] + chi[1] * b[c][1]) * w.re;
                    }
                }
            }
            sum[SHIFT] += std::f64::consts::TAU * k[0] * w.im;
            sum[SHIFT + 1] += std::f64::consts::TAU * k[1] * w.im;
        }
    }

    /// `Σ_r (∂√I/∂v)²` of one image for a change v of its numbers: what they weigh in the loss.
    pub(crate) fn curvature(
        &self,
        words: &Words,
        change: &Words,
        table: &mut [Complex<T>],
        spectrum: &[Complex<T>],
        bench: &mut Bench<'_, T>,
    ) -> Result<f64, Error> {
        let (a, len) = (self.active.len(), self.fft.len());
        let mut slope: Vec<f64> = try_zeroed(len)?;
        let mut wave: Vec<Complex<T>> = try_zeroed(len)?;
        self.fill_table(words, table)?;
        self.image(table, spectrum, bench);
        for (j, (weight, point)) in self.points.iter().enumerate() {
            let lens = self.lens(point, words)?;
            let t = &mut table[j * a..][..a];
            for ((t, s), &k) in t.iter_mut().zip(spectrum).zip(&self.k) {
                let d = self.log_change(point, &lens, k, change);
                *t = *t * s * Complex::new(T::of(d.re), T::of(d.im));
            }
            self.wave_of(t, T::of(1.0 / len as f64), &mut wave, bench.scratch);
            for ((s, p), d) in slope.iter_mut().zip(&bench.psi[j * len..][..len]).zip(&wave) {
                *s += weight * (p.conj() * d).re.f64();
            }
        }
        Ok(slope.iter().zip(bench.intensity.iter()).map(|(s, i)| s * s / i.f64().max(1e-6)).sum())
    }

    /// `Σ_p (∂ln T/∂p) v_p`, as in the gradient.
    fn log_change(&self, point: &Shifted, lens: &ShiftedLens, k: [f64; 2], v: &Words) -> Complex<f64> {
        let lambda = lens.ctf.chi().lambda();
        let q = [k[0] + lens.q[0], k[1] + lens.q[1]];
        let (b, z) = (chi_basis(lambda, q), chi_basis(lambda, lens.q));
        let mut out = Complex::new(0.0, -std::f64::consts::TAU * (k[0] * v[SHIFT] + k[1] * v[SHIFT + 1]));
        for (i, v) in v[..SHIFT].chunks(2).enumerate() {
            out.im -= (b[i][0] - z[i][0]) * v[0] + (b[i][1] - z[i][1]) * v[1];
        }
        let theta = self.ctf.source_angle.to_one_over_e().to_rad();
        if point.envelope && theta > 0.0 {
            let (chi, by) = (lens.ctf.chi().gradient(q), chi_basis_gradient(lambda, q));
            for (i, v) in v[..SHIFT].chunks(2).enumerate() {
                let slope = |c: usize| chi[0] * by[i][c][0] + chi[1] * by[i][c][1];
                out.re -= 0.5 * (theta / lambda).powi(2) * (slope(0) * v[0] + slope(1) * v[1]);
            }
        }
        out
    }

    /// Buffers of one thread: (points·N) and N numbers and the scratch.
    pub(crate) fn buffers(&self) -> Result<Buffers<T>, Error> {
        let len = self.fft.len();
        Ok(Buffers {
            psi: try_zeroed(checked_len(&[self.points.len(), len])?)?,
            intensity: try_zeroed(len)?,
            scratch: try_zeroed(self.fft.scratch_len())?,
        })
    }

    /// The images (n, ny, nx) of a wave (ny, nx).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn images(&self, wave: &[Complex<T>]) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.grid.dims;
        if wave.len() != ny * nx {
            return Err(Error::shape("FocalSeries::images", &[ny, nx], &[wave.len()]));
        }
        let len = ny * nx;
        let mut out: Vec<T> = try_zeroed(checked_len(&[self.count(), len])?)?;
        let mut states = try_reserved(self.par.count())?;
        for _ in 0..self.par.count() {
            states.push((self.buffers()?, try_zeroed(self.table_len())?));
        }
        let mut spectrum = try_zeroed(self.active.len())?;
        let b = states[0].0.bench();
        let mut work = wave.to_vec();
        self.spectrum_of(&mut work, &mut spectrum, b.scratch);
        // A failure cannot happen with numbers that `new` has checked; it would show as NaN.
        self.par.chunks_with(&mut out, len, &mut states, |k, image, (buffers, table): &mut (Buffers<T>, Vec<_>)| {
            let good = self.fill_table(&self.words[k], table).is_ok();
            let mut bench = buffers.bench();
            self.image(table, &spectrum, &mut bench);
            let unit = if good { T::ONE } else { T::of(f64::NAN) };
            image.iter_mut().zip(bench.intensity.iter()).for_each(|(o, i)| *o = *i * unit);
        });
        Tensor::from_vec(&[self.count(), ny, nx], out)
    }
}

/// Owned memory of a [`Bench`].
#[derive(Debug)]
pub(crate) struct Buffers<T: Real> {
    psi: Vec<Complex<T>>,
    intensity: Vec<T>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Buffers<T> {
    pub fn bench(&mut self) -> Bench<'_, T> {
        Bench { psi: &mut self.psi, intensity: &mut self.intensity, scratch: &mut self.scratch }
    }
}
