//! Cameras: what an expected image becomes.

use crate::error::Error;
use crate::fft::{RealFft2, frequency_index};
use crate::par::Par;
use crate::real::Real;
use crate::rng;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// How a quantity of a camera depends on spatial frequency.
///
/// # Units
/// Frequencies are in units of the Nyquist frequency: 1 is half a cycle a pixel.
#[derive(Clone, Debug, PartialEq)]
pub enum Transfer {
    /// 1 everywhere.
    Flat,
    /// The square pixel itself: `|sin(πν/2)/(πν/2)|` along each axis.
    Pixel,
    /// `(c₀ − c₁)/(1 + (ν/(2c₂))^{|c₃|}) + c₁`, the usual fit to scintillator cameras, ν in cycles a pixel there; here too ν/2 is taken.
    Lorentzian {
        /// Value at zero frequency.
        c0: f64,
        /// Value far out.
        c1: f64,
        /// Half the frequency at which half the fall is reached, cycles a pixel.
        c2: f64,
        /// Exponent.
        c3: f64,
    },
    /// Measured values at increasing frequencies, linear between them, constant beyond the last.
    Measured(Vec<(f64, f64)>),
}

impl Transfer {
    /// The value at `nu = [νy, νx]`.
    pub fn at(&self, nu: [f64; 2]) -> f64 {
        let r = nu[0].hypot(nu[1]);
        match self {
            Transfer::Flat => 1.0,
            Transfer::Pixel => nu
                .map(|v| {
                    let x = 0.5 * std::f64::consts::PI * v;
                    if x == 0.0 { 1.0 } else { (x.sin() / x).abs() }
                })
                .iter()
                .product(),
            Transfer::Lorentzian { c0, c1, c2, c3 } => (c0 - c1) / (1.0 + (0.5 * r / (2.0 * c2)).powf(c3.abs())) + c1,
            Transfer::Measured(points) => {
                let i = points.partition_point(|p| p.0 <= r);
                match (i.checked_sub(1).and_then(|j| points.get(j)), points.get(i)) {
                    (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (r - a.0) / (b.0 - a.0),
                    (Some(a), None) => a.1,
                    (None, Some(b)) => b.1,
                    (None, None) => 1.0,
                }
            }
        }
    }

    fn check(&self, name: &'static str) -> Result<(), Error> {
        let good = match self {
            Transfer::Flat | Transfer::Pixel => true,
            Transfer::Lorentzian { c0, c1, c2, c3 } => {
                *c0 > 0.0 && *c1 >= 0.0 && *c2 > 0.0 && [c0, c1, c2, c3].iter().all(|c| c.is_finite())
            }
            Transfer::Measured(p) => {
                !p.is_empty()
                    && p.iter().all(|p| p.0 >= 0.0 && p.0.is_finite() && (0.0..=10.0).contains(&p.1))
                    && p.windows(2).all(|w| w[1].0 > w[0].0)
            }
        };
        let finite = (0..=30).all(|i| (0.0..=1e6).contains(&self.at([0.05 * f64::from(i), 0.0])));
        if good && finite {
            Ok(())
        } else {
            Err(Error::param(name, format!("{self:?}"), "positive constants, or values at increasing frequencies"))
        }
    }
}

/// What a camera does. The default is a perfect counting camera.
#[derive(Clone, Debug)]
pub struct CameraParams {
    /// Modulation transfer: contrast of the recorded image over that of the arriving one.
    pub mtf: Transfer,
    /// Normalised noise power spectrum: power of the noise of a flat image over that of white Poisson noise, 1 at zero frequency. With `Flat`, pixels are
    /// independent, as in counting; a scintillator has about MTF².
    pub nps: Transfer,
    /// Detective quantum efficiency at zero frequency: the fraction of the electrons that counts.
    pub dqe0: f64,
    /// Recorded units an electron that counts.
    pub gain: f64,
    /// Standard deviation of the readout noise, recorded units a pixel.
    pub readout_noise: f64,
    /// Threads.
    pub par: Par,
}

impl Default for CameraParams {
    fn default() -> Self {
        CameraParams {
            mtf: Transfer::Flat,
            nps: Transfer::Flat,
            dqe0: 1.0,
            gain: 1.0,
            readout_noise: 0.0,
            par: Par::default(),
        }
    }
}

/// A camera on images of one size.
///
/// ```text
/// N ~ Poisson(DQE₀ · F⁻¹{ (MTF/√NPS) F I }),   recorded = gain · F⁻¹{ √NPS F N } + readout noise
/// DQE(ν) = DQE₀ MTF²(ν)/NPS(ν)
/// ```
///
/// Signal and noise are blurred differently: what blurs before an electron is counted takes signal away, what blurs after takes noise with it. Expected
/// values that ringing has made negative count as 0.
///
/// # Shapes
/// Images `[n, y, x]`, in expected electrons a pixel.
///
/// # References
/// R. R. Meyer, A. I. Kirkland, *Microsc. Res. Tech.* 49, 269 (2000); M. Vulović and others, *J. Struct. Biol.* 183, 19 (2013), equations 8 to 13.
///
/// # Examples
/// ```
/// use exitwave::detect::{Camera, CameraParams, Transfer};
/// use exitwave::tensor::Tensor;
/// let mtf = Transfer::Measured(vec![(0.0, 1.0), (1.0, 0.2)]);
/// let camera = Camera::<f32>::new([32, 32], &CameraParams { mtf, dqe0: 0.8, ..Default::default() })?;
/// let image = camera.record(&Tensor::full(&[1, 32, 32], 20.0), 1)?;
/// let mean = image.as_slice().iter().sum::<f32>() / 1024.0;
/// assert!((mean - 16.0).abs() < 1.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Camera<T: Real> {
    dims: [usize; 2],
    params: CameraParams,
    /// On the half spectrum: DQE₀ MTF/√NPS, and gain √NPS.
    before: Vec<T>,
    after: Vec<T>,
    fft: RealFft2<T>,
}

impl<T: Real> Camera<T> {
    /// Tabulates the transfer.
    ///
    /// # Errors
    /// [`Error::Param`] for an efficiency outside (0, 1], a gain that is not positive, noise that is negative, transfer functions that are not finite or
    /// a noise power of 0; [`Error::OutOfMemory`].
    pub fn new(dims: [usize; 2], params: &CameraParams) -> Result<Self, Error> {
        params.mtf.check("mtf")?;
        params.nps.check("nps")?;
        if !(params.dqe0 > 0.0 && params.dqe0 <= 1.0) {
            return Err(Error::param("dqe0", params.dqe0, "in (0, 1]"));
        }
        if !(params.gain > 0.0
            && params.gain.is_finite()
            && params.readout_noise >= 0.0
            && params.readout_noise.is_finite())
        {
            return Err(Error::param(
                "gain",
                format!("{}, noise {}", params.gain, params.readout_noise),
                "a positive gain, noise ≥ 0",
            ));
        }
        let fft = RealFft2::new(dims)?;
        let half = fft.spectrum_dims()[1];
        let (mut before, mut after) = (try_zeroed(dims[0] * half)?, try_zeroed(dims[0] * half)?);
        for i in 0..dims[0] * half {
            let nu = [
                frequency_index(i / half, dims[0]) as f64 * 2.0 / dims[0] as f64,
                (i % half) as f64 * 2.0 / dims[1] as f64,
            ];
            let (mtf, nps) = (params.mtf.at(nu), params.nps.at(nu));
            if nps.is_nan() || nps <= 0.0 {
                return Err(Error::param("nps", nps, "a noise power above 0 at every frequency"));
            }
            before[i] = T::of(params.dqe0 * mtf / nps.sqrt());
            after[i] = T::of(params.gain * nps.sqrt());
        }
        Ok(Camera { dims, params: params.clone(), before, after, fft })
    }

    /// DQE at `nu = [νy, νx]`, in units of the Nyquist frequency.
    pub fn dqe(&self, nu: [f64; 2]) -> f64 {
        self.params.dqe0 * self.params.mtf.at(nu).powi(2) / self.params.nps.at(nu)
    }

    /// Records images of expected electrons; image i draws from stream i of the seed.
    ///
    /// # Errors
    /// [`Error::Shape`] for images of another size, [`Error::Data`] for an expected value that is negative or not finite, [`Error::OutOfMemory`].
    pub fn record(&self, expected: &Tensor<T>, seed: u64) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.dims;
        let n = expected.dims().first().copied().unwrap_or(0);
        if *expected.dims() != [n, ny, nx] {
            return Err(Error::shape("Camera::record", &[n, ny, nx], expected.dims()));
        }
        if let Some(index) = expected.as_slice().iter().position(|i| !(i.f64() >= 0.0 && i.f64() <= 1e15)) {
            return Err(Error::Data { what: format!("an expected value of {}", expected.as_slice()[index]), index });
        }
        let mut out = expected.clone();
        let white = self.params.mtf == Transfer::Flat && self.params.nps == Transfer::Flat;
        let mut states = Vec::with_capacity(self.params.par.count());
        for _ in 0..self.params.par.count() {
            states.push((try_zeroed(self.before.len())?, try_zeroed(self.fft.scratch_len())?));
        }
        self.params.par.chunks_with(out.as_mut_slice(), ny * nx, &mut states, |i, image, (spectrum, scratch)| {
            let mut stream = rng::stream(seed, i as u64);
            let mut filter = |image: &mut [T], t: &[T]| {
                if white {
                    image.iter_mut().for_each(|v| *v *= t[0]);
                    return;
                }
                self.fft.forward(image, spectrum, scratch);
                spectrum.iter_mut().zip(t).for_each(|(z, &t)| *z = num_complex::Complex::scale(z, t));
                self.fft.inverse(spectrum, image, scratch);
            };
            filter(image, &self.before);
            image.iter_mut().for_each(|v| *v = T::of(rng::poisson(&mut stream, v.f64().max(0.0))));
            filter(image, &self.after);
            if self.params.readout_noise > 0.0 {
                image.iter_mut().for_each(|v| *v += T::of(self.params.readout_noise * rng::normal(&mut stream)));
            }
        });
        Ok(out)
    }
}
