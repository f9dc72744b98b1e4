//! Off-axis electron holography: from fringes to a wave.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequencies};
use crate::lorentz::unwrap;
use crate::metrics::Window;
use crate::real::{Real, arg, cis, norm};
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// Parameters of [`Hologram`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HologramParams {
    /// Radius of the soft aperture about the side band, as a part of the carrier frequency; ⅓ keeps the autocorrelation
    /// of a strong object out.
    pub aperture: f64,
    /// The side band `[ky, kx]` in cycles a pixel; `None`: the highest peak of the reference (or the hologram).
    pub carrier: Option<[f64; 2]>,
}

/// A third of the carrier, found by itself.
impl Default for HologramParams {
    fn default() -> Self {
        HologramParams { aperture: 1.0 / 3.0, carrier: None }
    }
}

/// What a hologram says.
#[derive(Clone, Debug)]
pub struct HologramResult<T: Real> {
    /// Amplitude over that of the reference, (ny, nx).
    pub amplitude: Tensor<T>,
    /// Phase relative to the reference, wrapped.
    pub wrapped: Tensor<T>,
    /// The same, unwrapped.
    pub phase: Tensor<T>,
    /// The carrier `[ky, kx]` used, cycles a pixel.
    pub carrier: [f64; 2],
}

impl<T: Real> HologramResult<T> {
    /// Distance of the fringes in pixels, and the direction of the carrier in degrees from x towards y.
    pub fn fringes(&self) -> (f64, f64) {
        let [y, x] = self.carrier;
        (1.0 / y.hypot(x), y.atan2(x).to_degrees())
    }
}

/// The reconstruction of off-axis holograms of one size:
///
/// ```text
/// I = 1 + |ψ|² + 2V|ψ| cos(2π k_c·r + φ),   ψ_o = F⁻¹{ A(k) F{I}(k + k_c) },   ψ = ψ_o/ψ_reference
/// ```
///
/// A is 1 − smoothstep between 0.9 and 1.1 of its radius.
///
/// # References
/// H. Lichte, M. Lehmann, *Rep. Prog. Phys.* 71, 016102 (2008), section 4.3.
#[derive(Debug)]
pub struct Hologram<T: Real> {
    params: HologramParams,
    fft: Fft2<T>,
}

impl<T: Real> Hologram<T> {
    /// Plans the transforms for holograms of `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for sides below 8, an aperture outside (0, 1] or a carrier that is zero or beyond the Nyquist
    /// frequency.
    pub fn new(dims: [usize; 2], params: HologramParams) -> Result<Self, Error> {
        if dims.iter().any(|&n| n < 8) {
            return Err(Error::param("dims", format!("{dims:?}"), "8 pixels or more"));
        }
        if !(params.aperture > 0.0 && params.aperture <= 1.0) {
            return Err(Error::param("aperture", params.aperture, "a part of the carrier in (0, 1]"));
        }
        if let Some(c) = params.carrier {
            let fits = c.iter().all(|k| k.abs() <= 0.5) && c != [0.0, 0.0];
            if !fits {
                return Err(Error::param("carrier", format!("{c:?}"), "a frequency within ½ cycle a pixel, not 0"));
            }
        }
        Ok(Hologram { params, fft: Fft2::new(dims)? })
    }

    /// The wave of `hologram` (ny, nx), relative to `reference` where there is one.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Data`] for values that are not finite, or an image without fringes.
    pub fn reconstruct(&self, hologram: &Tensor<T>, reference: Option<&Tensor<T>>) -> Result<HologramResult<T>, Error> {
        let dims = self.fft.dims();
        for image in std::iter::once(hologram).chain(reference) {
            if image.dims() != dims {
                return Err(Error::shape("Hologram", &dims, image.dims()));
            }
            if let Some(index) = image.as_slice().iter().position(|v| !v.is_finite()) {
                return Err(Error::Data { what: "a hologram value that is not finite".into(), index });
            }
        }
        let carrier = match self.params.carrier {
            Some(c) => c,
            None => self.find(reference.unwrap_or(hologram))?,
        };
        let object = self.side_band(hologram, carrier)?;
        let wave: Vec<Complex<T>> = match reference {
            None => object,
            Some(reference) => {
                let r = self.side_band(reference, carrier)?;
                let largest = r.iter().fold(T::ZERO, |m, z| m.max(z.norm_sqr()));
                let least = largest * T::of(1e-12);
                // A wave over nothing is nothing.
                object
                    .iter()
                    .zip(&r)
                    .map(|(o, r)| if r.norm_sqr() > least { *o / *r } else { Complex::default() })
                    .collect()
            }
        };
        let wrapped = Tensor::from_vec(&dims, wave.iter().map(|z| arg(*z)).collect())?;
        Ok(HologramResult {
            amplitude: Tensor::from_vec(&dims, wave.iter().map(|z| norm(*z)).collect())?,
            phase: unwrap(&wrapped)?,
            wrapped,
            carrier,
        })
    }

    /// `F⁻¹{ A(k − k_c) F{I} } e^{−2πi k_c·r}`.
    fn side_band(&self, image: &Tensor<T>, carrier: [f64; 2]) -> Result<Vec<Complex<T>>, Error> {
        let [ny, nx] = self.fft.dims();
        let mut f: Vec<Complex<T>> = image.as_slice().iter().map(|v| Complex::new(*v, T::ZERO)).collect();
        let mut scratch = try_zeroed(self.fft.scratch_len())?;
        self.fft.forward(&mut f, &mut scratch);
        let (ky, kx) = (frequencies(ny, 1.0), frequencies(nx, 1.0));
        let radius = self.params.aperture * carrier[0].hypot(carrier[1]);
        for (i, z) in f.iter_mut().enumerate() {
            // Distances go round: the side band may lie across the edge of the spectrum.
            let [dy, dx] = [ky[i / nx] - carrier[0], kx[i % nx] - carrier[1]].map(|d| d - d.round());
            let t = ((dy.hypot(dx) / radius - 0.9) / 0.2).clamp(0.0, 1.0);
            *z = z.scale(T::of(1.0 - t * t * (3.0 - 2.0 * t)));
        }
        self.fft.inverse(&mut f, &mut scratch);
        for (i, z) in f.iter_mut().enumerate() {
            let turns = carrier[0] * (i / nx) as f64 + carrier[1] * (i % nx) as f64;
            let e = cis(-std::f64::consts::TAU * (turns - turns.floor()));
            *z *= Complex::new(T::of(e.re), T::of(e.im));
        }
        Ok(f)
    }

    /// The highest peak of the spectrum away from the centre, to a small part of a pixel: of the image under a Hann
    /// window, refined by a parabola through ln|F| at quarter pixels, three times. Of the two side bands, that with
    /// k_y > 0.
    fn find(&self, image: &Tensor<T>) -> Result<[f64; 2], Error> {
        let [ny, nx] = self.fft.dims();
        let p = image.as_slice();
        let mean = p.iter().map(|v| v.f64()).sum::<f64>() / p.len() as f64;
        let hann = Window::Hann.array(&[ny, nx])?;
        let windowed: Vec<f64> = p.iter().zip(hann).map(|(v, w)| (v.f64() - mean) * w).collect();
        let fft = Fft2::<f64>::new([ny, nx])?;
        let mut f: Vec<Complex<f64>> = windowed.iter().map(|v| Complex::new(*v, 0.0)).collect();
        let mut scratch = try_zeroed(fft.scratch_len())?;
        fft.forward(&mut f, &mut scratch);
        let (ky, kx) = (frequencies(ny, 1.0), frequencies(nx, 1.0));
        let (mut best, mut at) = (0.0, None);
        for (i, z) in f.iter().enumerate() {
            let k = [ky[i / nx], kx[i % nx]];
            // Below a twentieth of a cycle a pixel lies the object, not the carrier.
            let half = k[0] > 0.0 || (k[0] == 0.0 && k[1] > 0.0);
            if half && k[0].hypot(k[1]) > 0.05 && z.norm_sqr() > best {
                (best, at) = (z.norm_sqr(), Some(k));
            }
        }
        let mut k = at.ok_or_else(|| Error::Data { what: "a hologram without fringes".into(), index: 0 })?;
        let power = |k: [f64; 2]| {
            let row: Vec<Complex<f64>> = (0..nx).map(|x| cis(-std::f64::consts::TAU * k[1] * x as f64)).collect();
            let mut sum = Complex::new(0.0, 0.0);
            for (y, v) in windowed.chunks(nx).enumerate() {
                let s: Complex<f64> = v.iter().zip(&row).map(|(v, e)| e * v).sum();
                sum += s * cis(-std::f64::consts::TAU * k[0] * y as f64);
            }
            sum.norm_sqr().max(f64::MIN_POSITIVE).ln()
        };
        let mut step = [0.25 / ny as f64, 0.25 / nx as f64];
        for _ in 0..3 {
            for axis in 0..2 {
                let moved = |s: f64| {
                    let mut k = k;
                    k[axis] += s * step[axis];
                    power(k)
                };
                let (a, b, c) = (moved(-1.0), moved(0.0), moved(1.0));
                let bend = a - 2.0 * b + c;
                if bend < 0.0 {
                    k[axis] += (0.5 * (a - c) / bend).clamp(-2.0, 2.0) * step[axis];
                }
            }
            step = step.map(|s| 0.5 * s);
        }
        Ok(k)
    }
}
