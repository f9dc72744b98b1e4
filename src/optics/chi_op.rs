//! χ on a grid as a linear operator on the Cartesian coefficients, with its adjoint.

use crate::error::Error;
use crate::op::linear_op::check_apply;
use crate::op::{LinearOp, Write, write};
use crate::optics::{Aberration, Grid, chi_basis};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;
use crate::units::Length;

/// Coefficients → aberration phase: `χ(k) = Σ_j B_j(k) c_j`, j running over `C_nma, C_nmb` of all aberrations and B_j
/// being the functions of [`chi_basis`]. The adjoint, `c_j = Σ_k B_j(k) g(k)`, turns the gradient of a loss with
/// respect to χ into that with respect to every coefficient; [`crate::optics::Aberrations::polar_gradient`] turns that
/// into the polar one.
///
/// # Shapes
/// Domain: real `[14, 2]`, in the order of [`Aberration::ALL`], `[a, b]`. Range: real `[ny, nx]`, zero frequency at
/// index 0.
///
/// # Units
/// Coefficients in Å, χ in rad.
#[derive(Debug)]
pub struct ChiOp {
    lambda: f64,
    k: [Vec<f64>; 2],
    par: Par,
    domain: Space,
    range: Space,
}

const WORDS: usize = 2 * Aberration::COUNT;

impl ChiOp {
    /// The operator on the spatial frequencies of `grid`.
    ///
    /// # Errors
    /// [`Error::Param`] for a wavelength that is not positive, or an impossible grid.
    pub fn new(grid: &Grid, wavelength: Length, par: Par) -> Result<Self, Error> {
        grid.check()?;
        if !(wavelength.is_finite() && wavelength > Length::ZERO) {
            return Err(Error::param("wavelength", wavelength, "a positive length"));
        }
        Ok(ChiOp {
            lambda: wavelength.to_angstrom(),
            k: grid.frequencies(),
            par,
            domain: Space::real(&[Aberration::COUNT, 2]),
            range: Space::real(&grid.dims),
        })
    }
}

impl<T: Real> LinearOp<T> for ChiOp {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    /// One set of coefficients a row.
    fn scratch_len(&self) -> usize {
        self.k[0].len() * WORDS
    }

    fn apply(&self, x: &[T], y: &mut [T], w: Write, scratch: &mut [T]) {
        // x is (14, 2), y is (ny, nx)
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        let nx = self.k[1].len();
        self.par.chunks(y, nx, |iy, row| {
            for (ix, y) in row.iter_mut().enumerate() {
                let b = chi_basis(self.lambda, [self.k[0][iy], self.k[1][ix]]);
                let chi = b.as_flattened().iter().zip(x).map(|(b, c)| b * c.f64()).sum();
                write(y, T::of(chi), w);
            }
        });
    }

    fn apply_adjoint(&self, y: &[T], x: &mut [T], w: Write, scratch: &mut [T]) {
        // y is (ny, nx), x is (14, 2), scratch is (ny, 14, 2)
        check_apply::<T>(self, x.len(), y.len(), scratch.len());
        let (ny, nx) = (self.k[0].len(), self.k[1].len());
        let partial = &mut scratch[..ny * WORDS];

        // Each row sums on its own; the rows are then added in order, whatever the number of threads.
        self.par.chunks(partial, WORDS, |iy, sums| {
            let mut c = [0.0; WORDS];
            for (ix, g) in y[iy * nx..][..nx].iter().enumerate() {
                let b = chi_basis(self.lambda, [self.k[0][iy], self.k[1][ix]]);
                for (c, b) in c.iter_mut().zip(b.as_flattened()) {
                    *c += b * g.f64();
                }
            }
            for (s, c) in sums.iter_mut().zip(c) {
                *s = T::of(c);
            }
        });
        for (j, x) in x.iter_mut().enumerate() {
            let c: f64 = (0..ny).map(|iy| partial[iy * WORDS + j].f64()).sum();
            write(x, T::of(c), w);
        }
    }
}
