//! The forward model: phase and amplitude of the object → intensities of a series.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::Fft2;
use crate::lorentz::kernels;
use crate::lorentz::warp::Warp;
use crate::lorentz::{ImageSetting, SETTING_WORDS, Word};
use crate::optics::constants::{CODATA_2018, checked_wavelength};
use crate::optics::{Aperture, Coherence, Grid, LensTransfer};
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{Limits, try_zeroed};
use crate::tensor::Tensor;
use crate::units::Energy;

/// What a series is taken with.
#[derive(Clone, Debug)]
pub struct LorentzParams {
    /// Beam energy.
    pub energy: Energy,
    /// The object's pixels, and those of the images.
    pub grid: Grid,
    /// One setting an image.
    pub images: Vec<ImageSetting>,
    /// Aperture in the back focal plane.
    pub aperture: Aperture,
    /// How the two spreads are combined.
    pub coherence: Coherence,
    /// Threads.
    pub par: Par,
    /// The most memory.
    pub limits: Limits,
}

/// 200 keV, no image yet.
impl Default for LorentzParams {
    fn default() -> Self {
        LorentzParams {
            energy: Energy::kev(200.0),
            grid: Grid::default(),
            images: Vec::new(),
            aperture: Aperture::Open,
            coherence: Coherence::Separable,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

impl LorentzParams {
    /// The wavelength in Å, if everything about the series makes sense.
    pub(crate) fn check(&self) -> Result<f64, Error> {
        self.grid.check()?;
        self.aperture.check()?;
        if self.images.is_empty() {
            return Err(Error::param("images", 0, "at least one image"));
        }
        for setting in &self.images {
            setting.check()?;
        }
        checked_wavelength(self.energy, &CODATA_2018)
    }
}

/// The images of a thin object under a Lorentz lens:
///
/// ```text
/// O = A e^{iφ},   ψ_k = F⁻¹{ F{O} T_k },   I_k = |ψ_k|² turned and magnified
/// T_k(q) = A(q) E_k(q) exp(−iχ_k(q)) exp(−2πi q·s_k)
/// ```
///
/// It simulates series and is what every retrieval differentiates: one model.
///
/// # Shapes
/// Phase and amplitude (ny, nx), images (n, ny, nx). The object is periodic.
///
/// # References
/// T. Zhou, M. Cherukara, C. Phatak, *npj Comput. Mater.* 7, 141 (2021), eqs. (1)–(4); M. De Graef, *Introduction to
/// Conventional Transmission Electron Microscopy* (2003), section 10.2.
///
/// # Examples
/// ```
/// use exitwave::lorentz::{ImageSetting, LorentzModel, LorentzParams};
/// use exitwave::optics::Grid;
/// use exitwave::units::Length;
/// let grid = Grid { dims: [32, 32], sampling: [Length::nm(5.0); 2] };
/// let images = vec![ImageSetting { defocus: Length::um(200.0), ..ImageSetting::default() }];
/// let model = LorentzModel::<f64>::new(&LorentzParams { grid, images, ..LorentzParams::default() })?;
/// let flat = model.images(&[0.3; 1024], &[0.5; 1024])?;
/// assert!(flat.as_slice().iter().all(|i| (i - 0.25).abs() < 1e-12));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct LorentzModel<T: Real> {
    grid: Grid,
    pub(crate) fft: Fft2<T>,
    lens: LensTransfer,
    /// (nx, ny), or nothing for an open one.
    aperture: Option<Vec<f64>>,
    k: [Vec<f64>; 2],
    settings: Vec<[f64; SETTING_WORDS]>,
    /// (n, nx, ny): of the given settings.
    transfers: Vec<Complex<T>>,
    pub(crate) par: Par,
}

/// The buffers of one thread.
#[derive(Debug)]
pub(crate) struct Bench<T: Real> {
    pub psi: Vec<Complex<T>>,
    pub scratch: Vec<Complex<T>>,
    /// Intensities before and after the warp; empty where nothing is warped.
    pub plain: Vec<T>,
    pub warped: Vec<T>,
    /// The gradient by the plain ones.
    pub back: Vec<T>,
}

impl<T: Real> LorentzModel<T> {
    /// Checks everything and computes the transfer functions.
    ///
    /// # Errors
    /// [`Error::Param`] for a series without images or a setting out of range, [`Error::OverBudget`],
    /// [`Error::OutOfMemory`].
    pub fn new(params: &LorentzParams) -> Result<Self, Error> {
        let lambda = params.check()?;
        let len = params.grid.len();
        let bytes = (params.images.len() as u64 * 2 + 4 + 3 * params.par.count() as u64)
            .saturating_mul(len as u64)
            .saturating_mul(2 * size_of::<T>() as u64);
        params.limits.check(bytes)?;
        let lens = LensTransfer { lambda, coherence: params.coherence };
        let k = params.grid.frequencies();
        let ny = params.grid.dims[0];
        let aperture = match params.aperture {
            Aperture::Open => None,
            a => {
                let step = params.grid.frequency_step().map(|d| lambda * d.to_per_angstrom());
                let mut values = try_zeroed(len)?;
                for (i, v) in values.iter_mut().enumerate() {
                    *v = a.transmission([lambda * k[0][i % ny], lambda * k[1][i / ny]], step);
                }
                Some(values)
            }
        };
        let settings: Vec<_> = params.images.iter().map(ImageSetting::to_words).collect();
        let mut model = LorentzModel {
            grid: params.grid,
            fft: Fft2::new(params.grid.dims)?,
            lens,
            aperture,
            k,
            transfers: try_zeroed(settings.len() * len)?,
            settings,
            par: params.par.clone(),
        };
        let mut transfers = std::mem::take(&mut model.transfers);
        model.fill_transfers(&model.settings, &mut transfers);
        model.transfers = transfers;
        Ok(model)
    }

    /// The object's grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.settings.len()
    }

    /// Wavelength, Å.
    pub fn lambda(&self) -> f64 {
        self.lens.lambda
    }

    /// The settings as numbers.
    pub fn settings(&self) -> &[[f64; SETTING_WORDS]] {
        &self.settings
    }

    /// The transfer functions T_k (n, nx, ny), transposed, zero frequency at index 0.
    pub fn transfers(&self) -> &[Complex<T>] {
        &self.transfers
    }

    /// Buffers for every thread.
    pub(crate) fn benches(&self, warped: Warped) -> Result<Vec<Bench<T>>, Error> {
        let len = self.fft.len();
        let extra = if warped == Warped::Yes { len } else { 0 };
        (0..self.par.count())
            .map(|_| {
                Ok(Bench {
                    psi: try_zeroed(len)?,
                    scratch: try_zeroed(self.fft.row_scratch_len())?,
                    plain: try_zeroed(extra)?,
                    warped: try_zeroed(extra)?,
                    back: try_zeroed(extra)?,
                })
            })
            .collect()
    }

    /// Whether an image with these numbers is turned or magnified.
    pub(crate) fn is_warped(words: &[f64; SETTING_WORDS]) -> bool {
        words[Word::Rotation.index()] != 0.0 || words[Word::LnMagnification.index()] != 0.0
    }

    /// The warp of an image.
    pub(crate) fn warp(&self, words: &[f64; SETTING_WORDS]) -> Warp {
        Warp::new(self.grid.dims, words[Word::Rotation.index()], words[Word::LnMagnification.index()])
    }

    /// Writes T (n, nx, ny) of n settings. The lens is even in q: half of its values are those of the other half.
    pub(crate) fn fill_transfers(&self, settings: &[[f64; SETTING_WORDS]], t: &mut [Complex<T>]) {
        // t is (n, nx, ny)
        let [nx, ny] = [self.k[1].len(), self.k[0].len()];
        check_len("LorentzModel", "transfers", settings.len() * nx * ny, t.len());
        let mirrored = |i: usize, n: usize| if i == 0 { 0 } else { n - i };
        let along_y = |words: &[f64; SETTING_WORDS]| -> Vec<Complex<f64>> {
            if words[6] == 0.0 && words[7] == 0.0 {
                return Vec::new();
            }
            self.k[0].iter().map(|k| cis(-std::f64::consts::TAU * k * words[6])).collect()
        };
        let shifts: Vec<_> = settings.iter().map(along_y).collect();
        // Rows ix and −ix together, one task.
        let mut pairs = Vec::with_capacity(settings.len() * (nx / 2 + 1));
        for ((words, shift), t) in settings.iter().zip(&shifts).zip(t.chunks_mut(nx * ny)) {
            let mut rows: Vec<_> = t.chunks_mut(ny).map(Some).collect();
            for ix in 0..=nx / 2 {
                let (row, other) = (rows[ix].take(), rows[mirrored(ix, nx)].take());
                pairs.extend(row.map(|row| (words, shift, ix, row, other)));
            }
        }
        self.par.chunks(&mut pairs, 1, |_, pair| {
            let (words, shift, ix, row, other) = &mut pair[0];
            let numbers = lens_words(words);
            let kx = self.k[1][*ix];
            let at = |ky: f64, kx: f64| {
                let z = self.lens.at(&numbers, [ky, kx]);
                Complex::new(T::of(z.re), T::of(z.im))
            };
            // Row 0 is its own mirror image.
            let computed = if *ix == 0 { ny / 2 + 1 } else { ny };
            row[..computed].iter_mut().zip(&self.k[0]).for_each(|(t, &ky)| *t = at(ky, kx));
            for iy in computed..ny {
                row[iy] = row[ny - iy];
            }
            if let Some(other) = other {
                (0..ny).for_each(|iy| other[iy] = row[mirrored(iy, ny)]);
                // The highest frequency of an even side stands for both signs, but is computed at one.
                if ny.is_multiple_of(2) {
                    other[ny / 2] = at(self.k[0][ny / 2], -kx);
                }
                self.shift_and_cut(words, shift, mirrored(*ix, nx), other);
            }
            self.shift_and_cut(words, shift, *ix, row);
        });
    }

    /// Row `ix` of a transfer function times the factors of the shift, whose part along y is given (none: no shift), and
    /// of the aperture.
    fn shift_and_cut(&self, words: &[f64; SETTING_WORDS], along_y: &[Complex<f64>], ix: usize, row: &mut [Complex<T>]) {
        let along_x = cis(-std::f64::consts::TAU * self.k[1][ix] * words[7]);
        for (t, y) in row.iter_mut().zip(along_y) {
            let ramp = along_x * y;
            *t *= Complex::new(T::of(ramp.re), T::of(ramp.im));
        }
        if let Some(a) = &self.aperture {
            let a = &a[ix * row.len()..];
            row.iter_mut().zip(a).for_each(|(t, a)| *t = t.scale(T::of(*a)));
        }
    }

    /// The factor of the shift, `exp(−2πi q·s)`.
    pub(crate) fn ramp(&self, words: &[f64; SETTING_WORDS], iy: usize, ix: usize) -> Complex<f64> {
        cis(-std::f64::consts::TAU * (self.k[0][iy] * words[6] + self.k[1][ix] * words[7]))
    }

    /// `∂L/∂p = Re Σ_q conj(g_ψ(q)) O(q) T(q) ∂ln T/∂p` for the eight numbers that T depends on; `g` is the spectrum of
    /// the gradient by ψ, `spectrum` that of the object, both transposed.
    pub(crate) fn setting_gradient(
        &self,
        words: &[f64; SETTING_WORDS],
        t: &[Complex<T>],
        spectrum: &[Complex<T>],
        g: &[Complex<T>],
    ) -> [f64; 8] {
        // t, spectrum, g are (nx, ny)
        let ny = self.k[0].len();
        let numbers = lens_words(words);
        let wide = |z: Complex<T>| Complex::new(z.re.f64(), z.im.f64());
        let mut out = [0.0; 8];
        for ix in 0..self.k[1].len() {
            let kx = self.k[1][ix];
            for iy in 0..ny {
                let i = ix * ny + iy;
                let w = wide(g[i]).conj() * wide(spectrum[i]) * wide(t[i]);
                // Beyond the envelope nothing depends on anything.
                if w.norm_sqr() == 0.0 {
                    continue;
                }
                let ky = self.k[0][iy];
                let by = self.lens.log_gradient(&numbers, [ky, kx]);
                for (out, by) in out.iter_mut().zip(&by) {
                    *out += w.re * by.re - w.im * by.im;
                }
                // ∂ln T/∂s = −2πi q.
                out[6] += std::f64::consts::TAU * ky * w.im;
                out[7] += std::f64::consts::TAU * kx * w.im;
            }
        }
        out
    }

    /// `dψ = F⁻¹{ O T Σ_p (∂ln T/∂p) v_p }` of one image for a change v of its numbers.
    pub(crate) fn wave_tangent(
        &self,
        words: &[f64; SETTING_WORDS],
        change: &[f64; SETTING_WORDS],
        spectrum: &[Complex<T>],
        frame: &mut [Complex<T>],
        bench: &mut Bench<T>,
    ) {
        let ny = self.k[0].len();
        let numbers = lens_words(words);
        self.fill_transfers(std::slice::from_ref(words), frame);
        for (i, (f, o)) in frame.iter_mut().zip(spectrum).enumerate() {
            let k = [self.k[0][i % ny], self.k[1][i / ny]];
            let by = self.lens.log_gradient(&numbers, k);
            let mut sum: Complex<f64> = by.iter().zip(change).map(|(b, v)| b * v).sum();
            sum += Complex::new(0.0, -std::f64::consts::TAU * (k[0] * change[6] + k[1] * change[7]));
            *f = *f * *o * Complex::new(T::of(sum.re), T::of(sum.im));
        }
        let scale = T::of(1.0 / self.fft.len() as f64);
        self.fft.inverse_from_transposed(frame, &mut bench.psi, scale, &mut bench.scratch);
    }

    /// O = A e^{iφ}, and its spectrum (nx, ny).
    pub(crate) fn object(
        &self,
        phase: &[T],
        amplitude: &[T],
        wave: &mut [Complex<T>],
        spectrum: &mut [Complex<T>],
        bench: &mut Bench<T>,
    ) {
        let chunk = kernels::CHUNK;
        self.par.chunks(wave, chunk, |i, wave| {
            let at = i * chunk;
            kernels::object_wave(&phase[at..][..wave.len()], &amplitude[at..][..wave.len()], wave);
        });
        bench.psi.copy_from_slice(wave);
        self.fft.forward_into_transposed(&mut bench.psi, spectrum, &mut bench.scratch);
    }

    /// ψ = F⁻¹{ O T } into the bench; `frame` is used on the way.
    pub(crate) fn wave(
        &self,
        t: &[Complex<T>],
        spectrum: &[Complex<T>],
        frame: &mut [Complex<T>],
        bench: &mut Bench<T>,
    ) {
        kernels::product(spectrum, t, frame);
        let scale = T::of(1.0 / self.fft.len() as f64);
        self.fft.inverse_from_transposed(frame, &mut bench.psi, scale, &mut bench.scratch);
    }

    /// The adjoint of [`LorentzModel::wave`] without the factor T̄: the gradient by ψ in the bench (overwritten) becomes
    /// its spectrum `frame`, (nx, ny), times 1/N.
    pub(crate) fn wave_adjoint(&self, frame: &mut [Complex<T>], bench: &mut Bench<T>) {
        self.fft.forward_into_transposed(&mut bench.psi, frame, &mut bench.scratch);
    }

    /// The images (n, ny, nx) of an object, with the given settings.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn images(&self, phase: &[T], amplitude: &[T]) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.grid.dims;
        for (what, x) in [("LorentzModel phase", phase), ("LorentzModel amplitude", amplitude)] {
            if x.len() != ny * nx {
                return Err(Error::shape(what, &[ny, nx], &[x.len()]));
            }
        }
        let len = ny * nx;
        let mut out = Tensor::from_vec(&[self.count(), ny, nx], try_zeroed(self.count() * len)?)?;
        let (mut wave, mut spectrum) = (try_zeroed(len)?, try_zeroed(len)?);
        let mut benches: Vec<_> = self
            .benches(Warped::Yes)?
            .into_iter()
            .map(|b| Ok((b, try_zeroed(len)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        self.object(phase, amplitude, &mut wave, &mut spectrum, &mut benches[0].0);
        self.par.chunks_with(out.as_mut_slice(), len, &mut benches, |i, image, (bench, frame)| {
            self.wave(&self.transfers[i * len..][..len], &spectrum, frame, bench);
            let words = &self.settings[i];
            if Self::is_warped(words) {
                kernels::intensity(&bench.psi, &mut bench.plain);
                self.warp(words).forward(&bench.plain, image);
            } else {
                kernels::intensity(&bench.psi, image);
            }
        });
        Ok(out)
    }
}

/// The six numbers of the lens, without the image's shift and warp.
fn lens_words(words: &[f64; SETTING_WORDS]) -> [f64; 6] {
    std::array::from_fn(|i| words[i])
}

/// Whether buffers for turned images are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warped {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Angle, Length};

    #[test]
    fn transfer_functions_from_one_half_are_those_of_every_frequency() {
        for dims in [[6, 7], [5, 8], [1, 6], [4, 1]] {
            let plain = ImageSetting {
                defocus: Length::um(150.0),
                cs: Length::mm(3.0),
                astigmatism: crate::optics::Polar { c: Length::um(20.0), phi: Angle::deg(25.0) },
                focal_spread: crate::optics::FocalSpread::rms(Length::nm(300.0)),
                ..ImageSetting::default()
            };
            let moved = ImageSetting { shift: [Length::nm(3.0), Length::nm(-8.0)], ..plain };
            let model = LorentzModel::<f64>::new(&LorentzParams {
                grid: Grid { dims, sampling: [Length::nm(5.0), Length::nm(4.0)] },
                images: vec![plain, moved],
                aperture: Aperture::Soft { semi_angle: Angle::mrad(0.3) },
                ..LorentzParams::default()
            })
            .unwrap();
            let aperture = model.aperture.as_ref().unwrap();
            for (k, t) in model.transfers.chunks(dims[0] * dims[1]).enumerate() {
                let words = &model.settings[k];
                for (i, t) in t.iter().enumerate() {
                    let (ix, iy) = (i / dims[0], i % dims[0]);
                    let lens = model.lens.at(&lens_words(words), [model.k[0][iy], model.k[1][ix]]);
                    let want = lens * aperture[i] * model.ramp(words, iy, ix);
                    assert!((t - want).norm() < 1e-14, "{dims:?} {k} {i}: {t} {want}");
                }
            }
        }
    }
}
