//! The shift between two images, to a fraction of a pixel, by cross-correlation.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, UpsampledDft};
use crate::metrics::check;
use crate::op::{LinearOp, Write};
use crate::real::{Real, arg, unit};

/// Finest grid that a [`Register`] accepts, in steps a pixel: beyond it the patch would need more memory than it is
/// worth.
const MAX_UPSAMPLE: usize = 1000;

/// How the cross-spectrum A B̄ is weighted before its peak is sought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossSpectrum {
    /// As it is: plain cross-correlation, the least-squares choice under white noise.
    #[default]
    Plain,
    /// Divided by its modulus: phase correlation, a sharp peak for images of little noise whatever their spectrum.
    /// Frequencies at which either image holds no more than the rounding of its numbers (`f32` or `f64`, as they were
    /// given) have no phase, and are left out.
    Phase,
}

/// Parameters of a [`Register`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegisterParams {
    /// The shift is found on a grid of 1/`upsample` pixels, 1 to 1000.
    pub upsample: usize,
    /// Weighting of the cross-spectrum.
    pub spectrum: CrossSpectrum,
    /// Largest length of the shift in pixels that is considered: keeps a periodic object from being moved by a lattice
    /// vector.
    pub max_shift: Option<f64>,
}

/// A hundredth of a pixel, plain cross-correlation, any shift.
impl Default for RegisterParams {
    fn default() -> Self {
        RegisterParams { upsample: 100, spectrum: CrossSpectrum::Plain, max_shift: None }
    }
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Registration {
    /// `[y, x]` in pixels, to be *applied to the moving image* (towards higher indices) to bring it onto the reference:
    /// minus the shift that the moving image has.
    pub shift: [f64; 2],
    /// What remains: √(1 − |Σ a b̄|²/(Σ|a|² Σ|b|²)) of the reference a and the shifted moving image b, from 0 (they
    /// agree up to a complex factor) to 1.
    pub error: f64,
    /// Phase of Σ a b̄ in radians: of the reference over the shifted moving image. For real images 0, or π for inverted
    /// contrast.
    pub phase: f64,
}

/// Finds the shift between two images of `dims`, real with [`real`](Self::real) or complex with
/// [`complex`](Self::complex).
///
/// ```text
/// c(s) = Σ_r a(r) b̄(r − s) = 1/N Σ_k A(k) B̄(k) e^{+2πi k·s/n},   shift = argmax |c(s)|
/// ```
///
/// The maximum on whole pixels comes from one inverse transform; around it, c is sampled every 1/u pixels over 1.5
/// pixels by a matrix product. Images are taken as periodic; images that are not want a taper
/// ([`Window`](crate::metrics::Window)) and their means removed.
///
/// # References
/// M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, Opt. Lett. 33, 156 (2008), eqs. (1)–(3) and the matrix-multiply
/// algorithm.
#[derive(Clone, Debug)]
pub struct Register {
    finder: PeakFinder,
    params: RegisterParams,
}

impl Register {
    /// A plan for images of `dims` = `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty image, an up-sampling outside 1 to 1000, or a largest shift that is negative or
    /// not finite.
    pub fn new(dims: [usize; 2], params: RegisterParams) -> Result<Self, Error> {
        if let Some(s) = params.max_shift.filter(|s| !(*s >= 0.0 && s.is_finite())) {
            return Err(Error::param("max_shift", s, "a finite number of pixels >= 0"));
        }
        Ok(Register { finder: PeakFinder::new(dims, params.upsample)?, params })
    }

    /// The shift between two real images.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Data`] for a value that is not finite or an image of zeros.
    pub fn real<T: Real>(&self, reference: &[T], moving: &[T]) -> Result<Registration, Error> {
        let widen = |x: Vec<f64>| x.into_iter().map(|x| Complex::new(x, 0.0)).collect();
        self.run(
            widen(check::finite("reference", reference)?),
            widen(check::finite("moving", moving)?),
            T::EPSILON.f64(),
        )
    }

    /// The shift between two complex images. A common phase of either does not matter.
    ///
    /// # Errors
    /// As [`Register::real`].
    pub fn complex<T: Real>(&self, reference: &[Complex<T>], moving: &[Complex<T>]) -> Result<Registration, Error> {
        let (a, b) = (check::finite_complex("reference", reference)?, check::finite_complex("moving", moving)?);
        self.run(a, b, T::EPSILON.f64())
    }

    fn run(&self, mut a: Vec<Complex<f64>>, mut b: Vec<Complex<f64>>, epsilon: f64) -> Result<Registration, Error> {
        let dims = self.finder.fft.dims();
        check::dims("Register", &dims, a.len())?;
        check::dims("Register", &dims, b.len())?;
        let energy = |x: &[Complex<f64>]| x.iter().map(|z| z.norm_sqr()).sum::<f64>();
        let (ea, eb) = (energy(&a), energy(&b));
        for (name, e) in [("reference", ea), ("moving", eb)] {
            if e == 0.0 {
                return Err(Error::Data { what: format!("the {name} image is zero everywhere"), index: 0 });
            }
            if !e.is_finite() {
                return Err(Error::Data { what: format!("the {name} image overflows when squared"), index: 0 });
            }
        }
        let mut scratch = vec![Complex::default(); self.finder.fft.scratch_len()];
        self.finder.fft.forward(&mut a, &mut scratch);
        self.finder.fft.forward(&mut b, &mut scratch);
        // Rounding the pixels to ε adds noise of about ε‖a‖/√12 to every frequency.
        let (floor_a, floor_b) = (4.0 * epsilon * ea.sqrt(), 4.0 * epsilon * eb.sqrt());
        for (a, b) in a.iter_mut().zip(&mut b) {
            let known = a.norm() > floor_a && b.norm() > floor_b;
            *a *= b.conj();
            *b = if known { unit(*a) } else { Complex::default() };
        }
        let spectrum = match self.params.spectrum {
            CrossSpectrum::Plain => &a,
            CrossSpectrum::Phase => &b,
        };
        let shift = self.finder.find(spectrum, self.params.max_shift)?;
        let c = self.finder.sample(&a, [1, 1], shift, 1.0)?[0];
        Ok(Registration {
            shift,
            error: (1.0 - (c.norm() / ea.sqrt() / eb.sqrt()).powi(2)).max(0.0).sqrt(),
            phase: arg(c),
        })
    }
}

/// The shift `[y, x]` to apply to `moving` (ny, nx) to bring it onto `reference`, by plain cross-correlation on a grid
/// of 1/`upsample` pixels: [`Register`] for one pair of real images.
///
/// # Errors
/// As [`Register::new`] and [`Register::real`].
///
/// ```
/// use exitwave::metrics::register;
/// let image = |y0: usize, x0: usize| -> Vec<f64> {
///     (0..32 * 32).map(|i| (-0.2 * ((i / 32) as f64 - y0 as f64).powi(2) - 0.1 * ((i % 32) as f64 - x0 as f64).powi(2)).exp()).collect()
/// };
/// let r = register(&image(16, 16), &image(18, 13), [32, 32], 10)?;
/// assert_eq!(r.shift, [-2.0, 3.0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn register<T: Real>(
    reference: &[T],
    moving: &[T],
    dims: [usize; 2],
    upsample: usize,
) -> Result<Registration, Error> {
    Register::new(dims, RegisterParams { upsample, ..RegisterParams::default() })?.real(reference, moving)
}

/// Finds where the inverse transform of a spectrum has its largest modulus.
#[derive(Clone, Debug)]
pub(super) struct PeakFinder {
    pub fft: Fft2<f64>,
    upsample: usize,
}

impl PeakFinder {
    pub fn new(dims: [usize; 2], upsample: usize) -> Result<Self, Error> {
        if !(1..=MAX_UPSAMPLE).contains(&upsample) {
            return Err(Error::param("upsample", upsample, "1 to 1000 steps a pixel"));
        }
        Ok(PeakFinder { fft: Fft2::new(dims)?, upsample })
    }

    /// The position of the maximum, `[y, x]`, in −n/2 to n/2; of equal ones the first.
    pub fn find(&self, spectrum: &[Complex<f64>], max_shift: Option<f64>) -> Result<[f64; 2], Error> {
        let [ny, nx] = self.fft.dims();
        let allowed = |s: [f64; 2]| max_shift.is_none_or(|m| s[0].hypot(s[1]) <= m);

        // Whole pixels: every point of the inverse transform.
        let mut c = spectrum.to_vec();
        self.fft.inverse(&mut c, &mut vec![Complex::default(); self.fft.scratch_len()]);
        let signed = |i: usize, n: usize| if i > n / 2 { i as f64 - n as f64 } else { i as f64 };
        let shift = best(&c, |i| Some([signed(i / nx, ny), signed(i % nx, nx)]).filter(|&s| allowed(s)));
        if self.upsample == 1 {
            return Ok(shift);
        }

        // Fractions: a patch of 1.5 pixels about that point.
        let u = self.upsample as f64;
        let m = (1.5 * u).ceil() as usize;
        let half = (m / 2) as f64;
        let start = shift.map(|s| s - half / u);
        let patch = self.sample(spectrum, [m, m], start, 1.0 / u)?;
        let at = |i: usize, axis: usize| shift[axis] + (i as f64 - half) / u;
        Ok(best(&patch, |i| Some([at(i / m, 0), at(i % m, 1)]).filter(|&s| allowed(s))))
    }

    /// The inverse transform on a fine grid.
    fn sample(
        &self,
        spectrum: &[Complex<f64>],
        patch: [usize; 2],
        start: [f64; 2],
        step: f64,
    ) -> Result<Vec<Complex<f64>>, Error> {
        let dft = UpsampledDft::<f64>::new(self.fft.dims(), patch, start, step)?;
        let mut y = vec![Complex::new(0.0, 0.0); patch[0] * patch[1]];
        let mut scratch = vec![0.0; dft.scratch_len()];
        dft.apply(bytemuck::cast_slice(spectrum), bytemuck::cast_slice_mut(&mut y), Write::Set, &mut scratch);
        Ok(y)
    }
}

/// The position of the largest modulus among those that have one; the origin when none has.
fn best(c: &[Complex<f64>], position: impl Fn(usize) -> Option<[f64; 2]>) -> [f64; 2] {
    let (mut largest, mut at) = (f64::NEG_INFINITY, [0.0; 2]);
    for (i, z) in c.iter().enumerate() {
        if z.norm_sqr() > largest
            && let Some(s) = position(i)
        {
            (largest, at) = (z.norm_sqr(), s);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_largest_shift_keeps_to_the_nearest_of_equal_peaks() {
        // A lattice of period 8, moved by 3 pixels: −3 + 8 n are all as good, and noise may prefer any.
        let lattice = |s: i32| -> Vec<f64> {
            (0..1024).map(|i| f64::from(u8::from((i % 32 - s).rem_euclid(8) == 0 && (i / 32) % 8 == 0))).collect()
        };
        let mut moving = lattice(3);
        moving[5] += 1.0;
        let params = RegisterParams { max_shift: Some(4.0), ..RegisterParams::default() };
        let r = Register::new([32, 32], params).unwrap().real(&lattice(0), &moving).unwrap();
        assert!((r.shift[0]).abs() <= 0.02 && (r.shift[1] + 3.0).abs() <= 0.02, "{r:?}");
    }

    #[test]
    fn bad_input_is_an_error() {
        let x = [1.0f64; 12];
        assert!(matches!(register(&x, &x, [3, 4], 0), Err(Error::Param { .. })));
        assert!(matches!(register(&x, &x, [3, 4], 1_000_000_000), Err(Error::Param { .. })));
        assert!(matches!(register(&x, &x, [4, 4], 1), Err(Error::Shape { .. })));
        assert!(matches!(register(&x, &[0.0; 12], [3, 4], 1), Err(Error::Data { .. })));
        assert!(matches!(register(&[f64::INFINITY; 12], &x, [3, 4], 1), Err(Error::Data { .. })));
        let params = RegisterParams { max_shift: Some(f64::NAN), ..RegisterParams::default() };
        assert!(Register::new([3, 4], params).is_err());
        assert_eq!(register(&x, &x, [3, 4], 1).unwrap().shift, [0.0, 0.0]);
    }
}
