//! Fourier-ring correlation as a loss.

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::{Fft2, frequency_index};
use crate::nn::check;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// One minus the mean Fourier-ring correlation of two images, over the rings 1 … R up to the Nyquist frequency:
///
/// ```text
/// L = 1 − (1/nR) Σ_images Σ_rings C/√(P Q),   C = Re Σ A B̄,  P = Σ |A|²,  Q = Σ |B|²   (sums over a ring)
/// ```
///
/// with A, B the Fourier transforms of a and b. Rings are one step of the shorter axis wide: a frequency k belongs to
/// ring round(|k|/Δk). A ring without power counts as 0.
///
/// Backward, with `g_A = ∂L/∂Re A + i ∂L/∂Im A = −(B − (C/P) A)/(nR √(P Q))`: `da = Re Fᴴ g_A`; for b with the rôles
/// exchanged.
///
/// # Shapes
/// Inputs: a, b (n, ny, nx). Output: a scalar.
///
/// # References
/// M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. (2).
#[derive(Clone, Debug)]
pub struct FourierRingLoss<T: Real> {
    n: usize,
    dims: [usize; 2],
    fft: Fft2<T>,
    /// Ring of every point of the spectrum; those beyond the last have its number plus one.
    ring: Vec<usize>,
    rings: usize,
    par: Par,
}

impl<T: Real> FourierRingLoss<T> {
    /// A loss for stacks of n images (ny, nx).
    ///
    /// # Errors
    /// [`Error::Param`] for no image, or fewer than 2 pixels on a side.
    pub fn new(n: usize, dims: [usize; 2], par: &Par) -> Result<Self, Error> {
        check::not_zero("images", n)?;
        if let Some(d) = dims.iter().find(|&&d| d < 2) {
            return Err(Error::param("dims", d, "at least 2 pixels on a side"));
        }
        checked_len(&[n, dims[0], dims[1], 4])?;
        let shorter = dims[0].min(dims[1]);
        let rings = shorter / 2;
        let ring = |i: usize| {
            let k = |i: usize, n: usize| frequency_index(i, n) as f64 / n as f64;
            let (ky, kx) = (k(i / dims[1], dims[0]), k(i % dims[1], dims[1]));
            ((ky.hypot(kx) * shorter as f64).round() as usize).min(rings + 1)
        };
        Ok(FourierRingLoss {
            n,
            dims,
            fft: Fft2::new(dims)?,
            ring: (0..dims[0] * dims[1]).map(ring).collect(),
            rings,
            par: par.clone(),
        })
    }

    /// Words of one image's work: both spectra and the transform's scratch.
    fn work(&self) -> usize {
        2 * (2 * self.dims[0] * self.dims[1] + self.fft.scratch_len())
    }

    /// Both spectra of an image, and (C, P, Q) of every ring.
    fn sums(
        &self,
        a: &[T],
        b: &[T],
        fa: &mut [Complex<T>],
        fb: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
        mut each: impl FnMut(usize, [f64; 3]),
    ) {
        for (x, f) in [(a, &mut *fa), (b, &mut *fb)] {
            f.iter_mut().zip(x).for_each(|(f, &x)| *f = Complex::new(x, T::ZERO));
            self.fft.forward(f, scratch);
        }
        for i in 0..self.ring.len() {
            let (u, v) = (fa[i], fb[i]);
            each(self.ring[i], [(u.re * v.re + u.im * v.im).f64(), u.norm_sqr().f64(), v.norm_sqr().f64()]);
        }
    }
}

impl<T: Real> Function<T> for FourierRingLoss<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let d: &[usize] = &[self.n, self.dims[0], self.dims[1]];
        check::spaces("Fourier-ring loss", inputs, &[d, d], 0)?;
        Ok(Space::real(&[]))
    }

    /// The tape holds (C, P, Q) of every image and ring.
    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 3 * self.n * (self.rings + 2) }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.par.count() * self.work()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        let len = self.ring.len();
        check_len("Fourier-ring loss", "a", self.n * len, x[0].len());
        check_len("Fourier-ring loss", "b", self.n * len, x[1].len());
        let tape = &mut tape[..3 * self.n * (self.rings + 2)];
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(self.work()).take(self.par.count()).collect();
        self.par.chunks_with(tape, 3 * (self.rings + 2), &mut states, |image, sums, state| {
            let state: &mut [Complex<T>] = bytemuck::cast_slice_mut(state);
            let (fa, rest) = state.split_at_mut(len);
            let (fb, work) = rest.split_at_mut(len);
            let part = image * len..(image + 1) * len;
            sums.fill(T::ZERO);
            self.sums(&x[0][part.clone()], &x[1][part], fa, fb, work, |ring, v| {
                (0..3).for_each(|k| sums[3 * ring + k] += T::of(v[k]));
            });
        });
        let mut total = 0.0;
        for sums in tape.chunks_exact(3 * (self.rings + 2)) {
            for ring in sums.chunks_exact(3).skip(1).take(self.rings) {
                let root = (ring[1].f64() * ring[2].f64()).sqrt();
                total += if root > 0.0 { ring[0].f64() / root } else { 0.0 };
            }
        }
        y[0] = T::of(1.0 - total / (self.n * self.rings) as f64);
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let len = self.ring.len();
        let scale = -dy[0].f64() / (self.n * self.rings) as f64;
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(self.work()).take(self.par.count()).collect();
        for which in 0..2 {
            let Some((dx, onto)) = check::want(dx, which) else { continue };
            self.par.chunks_with(dx, len, &mut states, |image, dx, state| {
                let state: &mut [Complex<T>] = bytemuck::cast_slice_mut(state);
                let (fa, rest) = state.split_at_mut(len);
                let (fb, work) = rest.split_at_mut(len);
                let part = image * len..(image + 1) * len;
                let sums = &tape[3 * image * (self.rings + 2)..][..3 * (self.rings + 2)];
                // The wanted image first.
                self.sums(&x[which][part.clone()], &x[1 - which][part], fa, fb, work, |_, _| {});
                for i in 0..len {
                    let ring = self.ring[i];
                    let (c, p, q) =
                        (sums[3 * ring].f64(), sums[3 * ring + 1 + which].f64(), sums[3 * ring + 2 - which].f64());
                    let root = (p * q).sqrt();
                    let inside = (1..=self.rings).contains(&ring) && root > 0.0;
                    fa[i] = if inside {
                        (fb[i] - fa[i].scale(T::of(c / p))).scale(T::of(scale / root))
                    } else {
                        Complex::default()
                    };
                }
                // Fᴴ is the inverse without its 1/N.
                self.fft.inverse(fa, work);
                let n = T::of(len as f64);
                dx.iter_mut().zip(&*fa).for_each(|(d, g)| write(d, g.re * n, onto));
            });
        }
    }
}
