//! Sub-pixel shifts by a phase ramp in Fourier space.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft2, frequency_index};
use crate::op::linear_op::{check_apply, checked_words};
use crate::op::{LinearOp, Write, write};
use crate::real::{Real, cis};
use crate::shape::{Field, Space};

/// The factors e^{−2πi k s/n} that move n points by `s` points towards higher indices, one for each index of a
/// spectrum.
///
/// For `Field::Real` the factor of an even axis' index n/2, which stands for ±n/2 alike, is their mean, cos πs: a real
/// image stays real. For `Field::Complex` it is e^{+πi s}, and the shift is unitary.
///
/// # Units
/// `s` in points; any finite number.
pub fn shift_factors(n: usize, s: f64, field: Field) -> Vec<Complex<f64>> {
    (0..n).map(|i| shift_factor(i, n, s, field)).collect()
}

/// One of the [`shift_factors`].
pub(crate) fn shift_factor(i: usize, n: usize, s: f64, field: Field) -> Complex<f64> {
    let k = frequency_index(i, n) as f64;
    // A shift by n points is none: what is left of a large s is exact, and keeps the phase small.
    let s = s % n as f64;
    if field == Field::Real && 2 * i == n {
        Complex::new((std::f64::consts::PI * s).cos(), 0.0)
    } else {
        cis(-std::f64::consts::TAU * k * s / n as f64)
    }
}

/// Moves a periodic image by any number of pixels: `y(r) = x(r − s)`, by `Y(k) = e^{−2πi k·s} X(k)`.
///
/// The adjoint moves back, by −s. On complex images the operator is unitary; on real ones all frequencies but the
/// Nyquist keep their amplitude (see [`shift_factors`]).
///
/// # Shapes
/// Domain and range: real or complex (ny, nx).
#[derive(Debug)]
pub struct FourierShift<T: Real> {
    space: Space,
    fft: Fft2<T>,
    // Separable factors, one an index.
    y: Vec<Complex<T>>,
    x: Vec<Complex<T>>,
}

impl<T: Real> FourierShift<T> {
    /// A shift by `[sy, sx]` pixels.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty axis or a shift that is not finite, [`Error::OutOfMemory`] for a number of words
    /// that overflows `usize`.
    pub fn new(dims: [usize; 2], shift: [f64; 2], field: Field) -> Result<Self, Error> {
        if !shift.iter().all(|s| s.is_finite()) {
            return Err(Error::param("shift", format!("{shift:?}"), "finite numbers of pixels"));
        }
        let space = match field {
            Field::Real => Space::real(&dims),
            Field::Complex => Space::complex(&dims),
        };
        checked_words("dims", &space)?;
        let axis =
            |n, s| shift_factors(n, s, field).into_iter().map(|z| Complex::new(T::of(z.re), T::of(z.im))).collect();
        Ok(FourierShift { space, fft: Fft2::new(dims)?, y: axis(dims[0], shift[0]), x: axis(dims[1], shift[1]) })
    }

    /// Multiplies the spectrum by the factors (forward) or by their conjugates.
    fn run(&self, x: &[T], y: &mut [T], direction: Direction, w: Write, scratch: &mut [T]) {
        let (buffer, scratch) = bytemuck::cast_slice_mut::<T, Complex<T>>(scratch).split_at_mut(self.fft.len());
        match self.space.field() {
            Field::Real => buffer.iter_mut().zip(x).for_each(|(b, &x)| *b = Complex::new(x, T::ZERO)),
            Field::Complex => buffer.copy_from_slice(bytemuck::cast_slice(x)),
        }
        self.fft.forward(buffer, scratch);
        for (row, &fy) in buffer.chunks_mut(self.x.len()).zip(&self.y) {
            for (z, &fx) in row.iter_mut().zip(&self.x) {
                let f = fy * fx;
                *z *= if direction == Direction::Forward { f } else { f.conj() };
            }
        }
        self.fft.inverse(buffer, scratch);
        match self.space.field() {
            Field::Real => y.iter_mut().zip(&*buffer).for_each(|(y, b)| write(y, b.re, w)),
            Field::Complex => {
                bytemuck::cast_slice_mut::<T, Complex<T>>(y).iter_mut().zip(&*buffer).for_each(|(y, &b)| write(y, b, w))
            }
        }
    }
}

impl<T: Real> LinearOp<T> for FourierShift<T> {
    fn domain(&self) -> &Space {
        &self.space
    }
    fn range(&self) -> &Space {
        &self.space
    }
    fn scratch_len(&self) -> usize {
        2 * (self.fft.len() + self.fft.scratch_len())
    }
    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.run(x, y, Direction::Forward, w, &mut scratch[..self.scratch_len()]);
    }
    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        self.run(y, x, Direction::Inverse, w, &mut scratch[..self.scratch_len()]);
    }
}
