//! The gradient of an image, spectral, with its adjoint; and the weighted inverse that integrates.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{Fft2, frequency_index};
use crate::op::linear_op::check_apply;
use crate::op::{LinearOp, Write, write};
use crate::real::Real;
use crate::shape::{Space, checked_len};
use crate::units::Length;

/// How an image goes on beyond its border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// It repeats: right for a scan over whole unit cells, or with empty margins.
    Periodic,
    /// It is mirrored, half a step beyond the last sample (the even extension): right for a window into something
    /// larger.
    #[default]
    Mirror,
}

/// The spectral gradient of a real image, g = ∇φ:
///
/// ```text
/// Periodic   g_y = F⁻¹[ 2πi k_y F φ ],   k = −n/2 … n/2 over n d      (at the Nyquist frequency k_y = 0, so that g is real)
/// Mirror     φ = Σ_m a_m cos(π m_y (j_y + ½)/n_y) cos(π m_x (j_x + ½)/n_x)  is differentiated term by term
/// ```
///
/// Both are one complex transform each way, on the image or on its mirror extension of twice the size, with z = g_y + i
/// g_x: z = F⁻¹[ m F φ ], m(k) = 2πi (k_y + i k_x). The adjoint is the divergence, −∇·g = Re F⁻¹[ m̄ F z ], of z
/// extended as a gradient is: across the border the component along the axis changes sign.
///
/// # Shapes
/// Domain `[ny, nx]`, range `[2, ny, nx]` (y first), both real.
///
/// # Units
/// Those of φ per Å.
///
/// ```
/// use exitwave::op::dot_test;
/// use exitwave::stem::{Boundary, Gradient};
/// use exitwave::units::Length;
/// let gradient = Gradient::<f64>::new([9, 14], [Length::angstrom(0.4); 2], Boundary::Mirror)?;
/// assert!(dot_test(&gradient, 1).error < 1e-12);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Gradient<T: Real> {
    dims: [usize; 2],
    boundary: Boundary,
    /// Size of the periodic field: that of the image, or twice.
    extended: [usize; 2],
    /// 2π k_y and 2π k_x of the extended spectrum.
    k: [Vec<T>; 2],
    fft: Fft2<T>,
    domain: Space,
    range: Space,
}

impl<T: Real> Gradient<T> {
    /// Plans the gradient of images of `[ny, nx]` samples, `step` apart.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty image or a step that is not positive and finite; [`Error::OutOfMemory`] for sizes
    /// that overflow.
    pub fn new(dims: [usize; 2], step: [Length; 2], boundary: Boundary) -> Result<Self, Error> {
        checked_len(&[dims[0], dims[1], 16])?;
        if let Some(s) = step.into_iter().find(|s| !(s.is_finite() && *s > Length::ZERO)) {
            return Err(Error::param("step", s, "a positive, finite length"));
        }
        let extended = match boundary {
            Boundary::Periodic => dims,
            Boundary::Mirror => dims.map(|n| 2 * n),
        };
        let k = std::array::from_fn(|a| {
            let n = extended[a];
            let at = |i: usize| match 2 * i == n {
                true => T::ZERO,
                false => T::of(TAU * frequency_index(i, n) as f64 / (n as f64 * step[a].to_angstrom())),
            };
            (0..n).map(at).collect()
        });
        let (domain, range) = (Space::real(&dims), Space::real(&[2, dims[0], dims[1]]));
        Ok(Gradient { dims, boundary, extended, k, fft: Fft2::new(extended)?, domain, range })
    }

    /// `[ny, nx]`.
    pub fn dims(&self) -> [usize; 2] {
        self.dims
    }

    /// The size of the field that is transformed: `[ny, nx]`, or twice that.
    pub(crate) fn extended(&self) -> [usize; 2] {
        self.extended
    }

    pub(crate) fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// m(k) = 2πi (k_y + i k_x).
    pub(crate) fn symbol(&self, iy: usize, ix: usize) -> Complex<T> {
        Complex::new(-self.k[1][ix], self.k[0][iy])
    }

    pub(crate) fn fft(&self) -> &Fft2<T> {
        &self.fft
    }

    /// Where sample i of the extended axis comes from, and whether it is a mirror image.
    pub(crate) fn fold(&self, i: usize, axis: usize) -> (usize, bool) {
        let n = self.dims[axis];
        if i < n { (i, false) } else { (2 * n - 1 - i, true) }
    }

    /// φ (ny, nx) ↦ g (2, ny, nx).
    fn forward(&self, phi: &[T], g: &mut [T], w: Write, scratch: &mut [Complex<T>]) {
        let (z, scratch) = scratch.split_at_mut(self.fft.len());
        let [ey, ex] = self.extended;
        for y in 0..ey {
            let row = self.fold(y, 0).0 * self.dims[1];
            for x in 0..ex {
                z[y * ex + x] = Complex::new(phi[row + self.fold(x, 1).0], T::ZERO);
            }
        }
        self.fft.forward(z, scratch);
        for y in 0..ey {
            for x in 0..ex {
                z[y * ex + x] *= self.symbol(y, x);
            }
        }
        self.fft.inverse(z, scratch);
        let [ny, nx] = self.dims;
        let (g_y, g_x) = g.split_at_mut(ny * nx);
        for i in 0..ny * nx {
            let v = z[i / nx * ex + i % nx];
            write(&mut g_y[i], v.re, w);
            write(&mut g_x[i], v.im, w);
        }
    }

    /// φ = Re F⁻¹[ h m̄ F z ], with z = g_y + i g_x extended as a gradient: the adjoint for h = 1 (an empty `filter`),
    /// the inverse on gradients for h = 1/|m|².
    ///
    /// Summing the images of a mirrored sample, as the adjoint of the extension does, and cropping are the same here:
    /// the field Re F⁻¹[m̄ F z] of an extended z is itself even.
    pub(crate) fn filtered_adjoint(
        &self,
        g_y: &[T],
        g_x: &[T],
        filter: &[T],
        phi: &mut [T],
        w: Write,
        scratch: &mut [Complex<T>],
    ) {
        let (z, scratch) = scratch.split_at_mut(self.fft.len());
        let ([ny, nx], [ey, ex]) = (self.dims, self.extended);
        for y in 0..ey {
            let (fy, minus_y) = self.fold(y, 0);
            for x in 0..ex {
                let (fx, minus_x) = self.fold(x, 1);
                let (a, b) = (g_y[fy * nx + fx], g_x[fy * nx + fx]);
                z[y * ex + x] = Complex::new(if minus_y { -a } else { a }, if minus_x { -b } else { b });
            }
        }
        self.fft.forward(z, scratch);
        for y in 0..ey {
            for x in 0..ex {
                let h = filter.get(y * ex + x).copied().unwrap_or(T::ONE);
                z[y * ex + x] *= self.symbol(y, x).conj().scale(h);
            }
        }
        self.fft.inverse(z, scratch);
        for i in 0..ny * nx {
            write(&mut phi[i], z[i / nx * ex + i % nx].re, w);
        }
    }

    /// Complex scratch of both directions.
    pub(crate) fn complex_scratch_len(&self) -> usize {
        self.fft.len() + self.fft.scratch_len()
    }
}

impl<T: Real> LinearOp<T> for Gradient<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }
    fn range(&self) -> &Space {
        &self.range
    }
    fn scratch_len(&self) -> usize {
        2 * self.complex_scratch_len()
    }
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.forward(x, y, w, bytemuck::cast_slice_mut(&mut scratch[..2 * self.complex_scratch_len()]));
    }
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        let (g_y, g_x) = y.split_at(self.dims[0] * self.dims[1]);
        check_len("Gradient", "g_x", g_y.len(), g_x.len());
        let scratch = bytemuck::cast_slice_mut(&mut scratch[..2 * self.complex_scratch_len()]);
        self.filtered_adjoint(g_y, g_x, &[], x, w, scratch);
    }
}
