//! Smoothed total variation.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::conv::three;
use crate::nn::loss::Reduction;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Parameters of [`TvLoss`].
#[derive(Clone, Debug)]
pub struct TvLossParams<const D: usize> {
    /// Images and channels.
    pub planes: [usize; 2],
    /// Size of an image or volume, (z,) y, x.
    pub size: [usize; D],
    /// ε, which is added to the squared gradient.
    pub epsilon: f64,
    /// Mean or sum over pixels.
    pub reduction: Reduction,
    /// On how many threads.
    pub par: Par,
}

/// Sum over one pixel, ε = 10⁻⁹.
impl<const D: usize> Default for TvLossParams<D> {
    fn default() -> Self {
        TvLossParams { planes: [1, 1], size: [1; D], epsilon: 1e-9, reduction: Reduction::Sum, par: Par::default() }
    }
}

/// Isotropic total variation, smoothed:
///
/// ```text
/// L = s Σ_i r_i,   r_i = (Σ_axes (x_{i+e} − x_i)² + ε)^{1/2}
/// ```
///
/// with forward differences that are 0 at the last pixel of an axis. With δ = x_{i+e} − x_i, each pixel and axis adds
/// `s δ/r_i` to the gradient of x_{i+e} and takes it from that of x_i.
///
/// # Shapes
/// Input: (n, c, size) with `planes = [n, c]`. Output: a scalar.
///
/// # References
/// L. I. Rudin, S. Osher, E. Fatemi, Physica D 60, 259 (1992), eq. (2.4); smoothing as R. Acar, C. R. Vogel, Inverse
/// Problems 10, 1217 (1994).
#[derive(Clone, Debug)]
pub struct TvLoss<const D: usize> {
    p: TvLossParams<D>,
    dims: Vec<usize>,
    size: [usize; 3],
}

impl<const D: usize> TvLoss<D> {
    /// A total variation of inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0, or an ε that is not positive; [`Error::Unsupported`] unless D is 1, 2 or 3.
    pub fn new(params: &TvLossParams<D>) -> Result<Self, Error> {
        if !(1..=3).contains(&D) {
            return Err(Error::Unsupported { what: format!("total variation in {D} dimensions") });
        }
        check::positive("epsilon", params.epsilon)?;
        let dims = [&params.planes[..], &params.size[..]].concat();
        dims.iter().try_for_each(|&d| check::not_zero("size", d))?;
        checked_len(&dims)?;
        Ok(TvLoss { p: params.clone(), dims, size: three(params.size, 1) })
    }

    fn len(&self) -> usize {
        self.size.iter().product()
    }

    fn scale(&self) -> f64 {
        match self.p.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / self.dims.iter().product::<usize>() as f64,
        }
    }

    /// Calls `f(i, [(step, δ); 3], r)` for every pixel of a volume; an axis that ends at i has δ = 0 and step 0.
    #[inline(always)]
    fn each<T: Real>(&self, x: &[T], mut f: impl FnMut(usize, [(usize, T); 3], T)) {
        let [nz, ny, nx] = self.size;
        let epsilon = T::of(self.p.epsilon);
        for z in 0..nz {
            for y in 0..ny {
                for column in 0..nx {
                    let i = (z * ny + y) * nx + column;
                    let delta = |step: usize, inside: bool| {
                        if inside { (step, x[i + step] - x[i]) } else { (0, T::ZERO) }
                    };
                    let d = [delta(ny * nx, z + 1 < nz), delta(nx, y + 1 < ny), delta(1, column + 1 < nx)];
                    f(i, d, (d[0].1 * d[0].1 + d[1].1 * d[1].1 + d[2].1 * d[2].1 + epsilon).sqrt());
                }
            }
        }
    }
}

impl<T: Real, const D: usize> Function<T> for TvLoss<D> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("total variation", inputs, &[&self.dims], 0)?;
        Ok(Space::real(&[]))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let len = self.len();
        check_len("total variation", "x", self.dims.iter().product(), x[0].len());
        let sum = self.p.par.sum(x[0].len(), len, |range| {
            let mut sum = 0.0;
            self.each(&x[0][range], |_, _, r| sum += r.f64());
            sum
        });
        y[0] = T::of(sum * self.scale());
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let len = self.len();
        let g = T::of(dy[0].f64() * self.scale());
        self.p.par.chunks(dx, len, |plane, dx| {
            if onto == Write::Set {
                dx.fill(T::ZERO);
            }
            self.each(&x[0][plane * len..][..len], |i, d, r| {
                for (step, delta) in d {
                    let v = g * delta / r;
                    dx[i + step] += v;
                    write(&mut dx[i], -v, Write::Add);
                }
            });
        });
    }
}
