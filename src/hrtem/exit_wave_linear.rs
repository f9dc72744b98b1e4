//! The linear restoration of an exit wave from a focal series.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::focal_series::Words;
use crate::hrtem::{FocalSeries, FocalSeriesParams};
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// The exit wave of a focal series by linear theory, ψ = 1 + φ:
///
/// ```text
/// I_k(q)/Ī_k − δ(q) = T_k(q) φ(q) + conj(T_k(−q) φ(−q)) + noise
/// [φ(q), φ̄(−q)] = (Σ_k a_kᴴ a_k + ε)⁻¹ Σ_k a_kᴴ I_k(q)/Ī_k,   a_k = [T_k(q), conj T_k(−q)]
/// ```
///
/// The Wiener filter of Schiske and of Saxton: both sidebands are solved for together, so that the conjugate image does not leak into the
/// wave where the series can tell the two apart, and where it cannot (low frequencies) both get half of what is seen.
///
/// # Shapes
/// Images (n, ny, nx), counts or intensities; wave (ny, nx), of mean intensity about 1, nothing outside the aperture.
///
/// # Errors
/// Those of [`FocalSeries::new`]; [`Error::Shape`]; [`Error::Data`] for images that are not finite or whose mean is not positive;
/// [`Error::Param`] for an ε that is not positive.
///
/// # References
/// P. Schiske, *J. Microsc.* 207, 154 (2002, reprint of 1973); W. O. Saxton, *Scanning Microsc. Suppl.* 2, 213 (1988).
///
/// # Examples
/// ```
/// use exitwave::hrtem::{FocalImage, FocalSeries, FocalSeriesParams, restore_linear};
/// use exitwave::optics::{Aberrations, Grid};
/// use exitwave::units::Length;
/// use num_complex::Complex;
/// let foci: Vec<Length> = (0..6).map(|i| Length::nm(10.0 * f64::from(i))).collect();
/// let images = FocalImage::series(&foci, &Aberrations::default());
/// let grid = Grid { dims: [16, 16], sampling: [Length::angstrom(0.5); 2] };
/// let params = FocalSeriesParams { grid, images, ..FocalSeriesParams::default() };
/// let wave: Vec<_> = (0..256).map(|i| Complex::cis(0.01 * (f64::from(i % 16) * 1.178).cos())).collect();
/// let found = restore_linear(&params, &FocalSeries::new(&params)?.images(&wave)?, 1e-6)?;
/// assert!((found[[0, 0]].im - 0.01).abs() < 1e-3);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn restore_linear<T: Real>(
    params: &FocalSeriesParams,
    images: &Tensor<T>,
    epsilon: f64,
) -> Result<Tensor<Complex<T>>, Error> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(Error::param("epsilon", epsilon, "a positive number"));
    }
    let series = FocalSeries::<T>::new(params)?;
    let spectra = contrast_spectra(&series, images)?;
    let mut linear = Linear::new(&series)?;
    for (k, words) in series.words().iter().enumerate() {
        linear.set(&series, k, words)?;
    }
    let all: Vec<usize> = (0..series.count()).collect();
    let spectrum = linear.restore(&series, &spectra, &all, epsilon);
    let [ny, nx] = series.grid().dims;
    let (mut wave, mut scratch) = (try_zeroed(ny * nx)?, try_zeroed(series.fft.scratch_len())?);
    let one = Complex::new(T::ONE, T::ZERO);
    series.wave_of(&spectrum, T::of(1.0 / (ny * nx) as f64), &mut wave, &mut scratch);
    wave.iter_mut().for_each(|z| *z += one);
    Tensor::from_vec(&[ny, nx], wave)
}

/// `F{I_k/Ī_k − 1}` inside the aperture, one vector an image.
pub(crate) fn contrast_spectra<T: Real>(
    series: &FocalSeries<T>,
    images: &Tensor<T>,
) -> Result<Vec<Vec<Complex<T>>>, Error> {
    let [ny, nx] = series.grid().dims;
    let (n, len) = (series.count(), ny * nx);
    if images.dims() != [n, ny, nx] {
        return Err(Error::shape("focal series", &[n, ny, nx], images.dims()));
    }
    if let Some(index) = images.as_slice().iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: "an intensity that is not finite".into(), index });
    }
    let mut scratch = try_zeroed(series.fft.scratch_len())?;
    let mut out = Vec::with_capacity(n);
    for (k, image) in images.as_slice().chunks(len).enumerate() {
        let mean = image.iter().map(|v| v.f64()).sum::<f64>() / len as f64;
        if mean.is_nan() || mean <= 0.0 {
            return Err(Error::Data { what: format!("an image whose mean is {mean}"), index: k });
        }
        let mut full: Vec<Complex<T>> =
            image.iter().map(|v| Complex::new(T::of(v.f64() / mean - 1.0), T::ZERO)).collect();
        let mut spectrum = try_zeroed(series.frequencies())?;
        series.spectrum_of(&mut full, &mut spectrum, &mut scratch);
        out.push(spectrum);
    }
    Ok(out)
}

/// The transfer functions of the linear image.
pub(crate) struct Linear<T: Real> {
    /// (frequencies), one vector an image.
    pub tables: Vec<Vec<Complex<T>>>,
}

impl<T: Real> Linear<T> {
    pub fn new(series: &FocalSeries<T>) -> Result<Self, Error> {
        let table = |_| try_zeroed(series.frequencies());
        Ok(Linear { tables: (0..series.count()).map(table).collect::<Result<_, _>>()? })
    }

    pub fn set(&mut self, series: &FocalSeries<T>, k: usize, words: &Words) -> Result<(), Error> {
        series.fill_linear(words, &mut self.tables[k])
    }

    /// φ (frequencies) from the images in `which`.
    pub fn restore(
        &self,
        series: &FocalSeries<T>,
        spectra: &[Vec<Complex<T>>],
        which: &[usize],
        epsilon: f64,
    ) -> Vec<Complex<T>> {
        let wide = |z: Complex<T>| Complex::new(z.re.f64(), z.im.f64());
        let solve = |i: usize| {
            let m = series.minus()[i] as usize;
            let (mut aa, mut bb, mut ab) = (epsilon, epsilon, Complex::new(0.0, 0.0));
            let (mut ra, mut rb) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0));
            for &k in which {
                let (a, b) = (wide(self.tables[k][i]), wide(self.tables[k][m]).conj());
                let d = wide(spectra[k][i]);
                aa += a.norm_sqr();
                bb += b.norm_sqr();
                ab += a.conj() * b;
                ra += a.conj() * d;
                rb += b.conj() * d;
            }
            let z = (ra * bb - ab * rb) / (aa * bb - ab.norm_sqr());
            Complex::new(T::of(z.re), T::of(z.im))
        };
        (0..series.frequencies()).map(solve).collect()
    }

    /// The spectrum of the linear image of φ: `T(q) φ(q) + conj(T(−q) φ(−q))`.
    pub fn predict(series: &FocalSeries<T>, table: &[Complex<T>], phi: &[Complex<T>], out: &mut [Complex<T>]) {
        for (i, out) in out.iter_mut().enumerate() {
            let m = series.minus()[i] as usize;
            *out = table[i] * phi[i] + (table[m] * phi[m]).conj();
        }
    }
}
