//! A small patch of a finely sampled inverse transform, by two matrix products.

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::frequency_index;
use crate::linalg::gemm::{Trans, gemm_complex};
use crate::op::linear_op::{check_apply, checked_words};
use crate::op::{LinearOp, Write, write};
use crate::real::{Real, cis};
use crate::shape::{Space, checked_len, try_reserved, try_zeroed};

/// Samples the trigonometric interpolant of a spectrum on a fine patch:
///
/// ```text
/// y(u, v) = 1/(ny nx) Σ_{ky,kx} X(ky, kx) e^{+2πi (ky r_u/ny + kx r_v/nx)},   r_u = start_y + u·step,   r_v = start_x + v·step
/// ```
///
/// For a patch of m × m points the cost is m·ny·nx + m²·nx products instead of a transform of the whole upsampled
/// image: what sub-pixel cross-correlation needs.
///
/// # Shapes
/// Domain: complex (ny, nx), a spectrum with zero frequency at index 0. Range: complex (my, mx).
///
/// # Units
/// `start` and `step` in pixels of the original image.
///
/// # References
/// M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, Opt. Lett. 33, 156 (2008): the matrix-multiply DFT.
#[derive(Debug)]
pub struct UpsampledDft<T: Real> {
    domain: Space,
    range: Space,
    // (my, ny) and (nx, mx).
    ey: Vec<Complex<T>>,
    ex: Vec<Complex<T>>,
}

impl<T: Real> UpsampledDft<T> {
    /// A patch of `patch` = `[my, mx]` points, `step` pixels apart, whose first point is at `start` = `[y, x]`, of
    /// images of `dims` = `[ny, nx]`.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty axis, or a start or step that is not finite; [`Error::OutOfMemory`] for more
    /// points than the memory holds.
    pub fn new(dims: [usize; 2], patch: [usize; 2], start: [f64; 2], step: f64) -> Result<Self, Error> {
        if dims.contains(&0) || patch.contains(&0) {
            return Err(Error::param("dims", format!("{dims:?}, patch {patch:?}"), "at least one point on every axis"));
        }
        if !(start[0].is_finite() && start[1].is_finite() && step.is_finite()) {
            return Err(Error::param("start, step", format!("{start:?}, {step}"), "finite numbers of pixels"));
        }
        // e^{+2πi k r/n}/n, as (points, frequencies).
        let axis = |n: usize, m: usize, start: f64| -> Result<Vec<Complex<T>>, Error> {
            let mut e = try_reserved(checked_len(&[m, n])?)?;
            for u in 0..m {
                for i in 0..n {
                    let r = start + u as f64 * step;
                    let z = cis(std::f64::consts::TAU * frequency_index(i, n) as f64 * r / n as f64) / n as f64;
                    e.push(Complex::new(T::of(z.re), T::of(z.im)));
                }
            }
            Ok(e)
        };
        checked_words("dims", &Space::complex(&dims))?;
        checked_words("patch", &Space::complex(&patch))?;
        let ex_rows = axis(dims[1], patch[1], start[1])?;
        let mut ex = try_zeroed(ex_rows.len())?;
        crate::fft::transpose([patch[1], dims[1]], &ex_rows, &mut ex);
        Ok(UpsampledDft {
            domain: Space::complex(&dims),
            range: Space::complex(&patch),
            ey: axis(dims[0], patch[0], start[0])?,
            ex,
        })
    }

    fn sizes(&self) -> ([usize; 2], [usize; 2]) {
        let (d, r) = (self.domain.dims(), self.range.dims());
        ([d[0], d[1]], [r[0], r[1]])
    }

    /// `y = E_y X E_x`. Scratch: my·nx + my·mx elements.
    fn forward(&self, x: &[Complex<T>], y: &mut [Complex<T>], w: Write, scratch: &mut [Complex<T>]) {
        let ([ny, nx], [my, mx]) = self.sizes();
        let (half, out) = scratch.split_at_mut(my * nx);
        product([my, ny, nx], &self.ey, Trans::No, x, Trans::No, half);
        product([my, nx, mx], half, Trans::No, &self.ex, Trans::No, &mut out[..my * mx]);
        y.iter_mut().zip(&*out).for_each(|(y, &o)| write(y, o, w));
    }

    /// `x = E_yᴴ Y E_xᴴ`, as the conjugate of `E_yᵀ Ȳ E_xᵀ`. Scratch: my·mx + my·nx + ny·nx elements.
    fn adjoint(&self, y: &[Complex<T>], x: &mut [Complex<T>], w: Write, scratch: &mut [Complex<T>]) {
        let ([ny, nx], [my, mx]) = self.sizes();
        let (conj, rest) = scratch.split_at_mut(my * mx);
        let (half, out) = rest.split_at_mut(my * nx);
        conj.iter_mut().zip(y).for_each(|(c, y)| *c = y.conj());
        product([my, mx, nx], conj, Trans::No, &self.ex, Trans::Transpose, half);
        product([ny, my, nx], &self.ey, Trans::Transpose, half, Trans::No, &mut out[..ny * nx]);
        x.iter_mut().zip(&*out).for_each(|(x, o)| write(x, o.conj(), w));
    }
}

fn product<T: Real>(mkn: [usize; 3], a: &[Complex<T>], ta: Trans, b: &[Complex<T>], tb: Trans, c: &mut [Complex<T>]) {
    let (one, zero) = (Complex::new(T::ONE, T::ZERO), Complex::new(T::ZERO, T::ZERO));
    check_len("UpsampledDft", "product", mkn[0] * mkn[2], c.len());
    gemm_complex(mkn, one, a, ta, b, tb, zero, c);
}

impl<T: Real> LinearOp<T> for UpsampledDft<T> {
    fn domain(&self) -> &Space {
        &self.domain
    }
    fn range(&self) -> &Space {
        &self.range
    }
    fn scratch_len(&self) -> usize {
        let ([ny, nx], [my, mx]) = self.sizes();
        2 * (my * mx + my * nx + ny * nx)
    }
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        // Scratch may be longer, and odd.
        let scratch = bytemuck::cast_slice_mut(&mut scratch[..self.scratch_len()]);
        self.forward(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), w, scratch);
    }
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        // Scratch may be longer, and odd.
        let scratch = bytemuck::cast_slice_mut(&mut scratch[..self.scratch_len()]);
        self.adjoint(bytemuck::cast_slice(y), bytemuck::cast_slice_mut(x), w, scratch);
    }
}
