//! What is known about a phase before it is measured.

use crate::error::Error;
use crate::par::Par;
use crate::real::Real;

/// A penalty on the phase, added to the loss. Differences are forward and periodic, in radians a pixel.
///
/// The same knowledge of the object has a weight w ∝ σ²/n: σ is the noise of √I
/// ([`noise_level`](crate::lorentz::noise_level)), n the number of images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Regularizer {
    /// None.
    #[default]
    None,
    /// `w/N Σ (√(φ_x² + φ_y² + ε²) − ε)`: piecewise constant phases, as of particles.
    TotalVariation {
        /// w.
        weight: f64,
        /// ε, rad a pixel.
        smoothing: f64,
    },
    /// `w/N Σ (√(φ_xx² + 2φ_xy² + φ_yy² + ε²) − ε)`: piecewise linear phases, as of magnetic domains, inside which the
    /// induction is constant.
    Curvature {
        /// w.
        weight: f64,
        /// ε, rad a pixel squared.
        smoothing: f64,
    },
    /// `w/2N Σ (φ_x² + φ_y²)`: Tikhonov.
    Gradient {
        /// w.
        weight: f64,
    },
}

impl Regularizer {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        let (weight, smoothing) = match *self {
            Regularizer::None => return Ok(()),
            Regularizer::TotalVariation { weight, smoothing } | Regularizer::Curvature { weight, smoothing } => {
                (weight, smoothing)
            }
            Regularizer::Gradient { weight } => (weight, 1.0),
        };
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::param("regularizer.weight", weight, "a finite number >= 0"));
        }
        if !(smoothing > 0.0 && smoothing.is_finite()) {
            return Err(Error::param("regularizer.smoothing", smoothing, "a positive number"));
        }
        Ok(())
    }

    /// The largest curvature per pixel for a wave of Σ|1 − e^{iω}|² = `w2`: that of a flat phase.
    pub(crate) fn curvature(&self, w2: f64) -> f64 {
        match *self {
            Regularizer::None => 0.0,
            Regularizer::TotalVariation { weight, smoothing } => weight / smoothing * w2,
            Regularizer::Curvature { weight, smoothing } => weight / smoothing * w2 * w2,
            Regularizer::Gradient { weight } => weight * w2,
        }
    }

    /// Numbers of scratch for an image of `len` pixels.
    pub(crate) fn scratch_len(&self, len: usize) -> usize {
        match self {
            Regularizer::None => 0,
            Regularizer::TotalVariation { .. } | Regularizer::Gradient { .. } => 2 * len,
            Regularizer::Curvature { .. } => 3 * len,
        }
    }

    /// Adds the gradient to `g` and returns the penalty.
    pub(crate) fn add<T: Real>(&self, dims: [usize; 2], phase: &[T], g: &mut [T], scratch: &mut [T], par: &Par) -> f64 {
        let [ny, nx] = dims;
        let n = (ny * nx) as f64;
        let next = |i: usize, n: usize| if i + 1 == n { 0 } else { i + 1 };
        let last = |i: usize, n: usize| if i == 0 { n - 1 } else { i - 1 };
        match *self {
            Regularizer::None => 0.0,
            Regularizer::TotalVariation { weight, .. } | Regularizer::Gradient { weight } => {
                let eps = match *self {
                    Regularizer::TotalVariation { smoothing, .. } => Some(T::of(smoothing)),
                    _ => None,
                };
                // Fluxes (w/N) ∂/∂φ_x, interleaved by rows: p is (ny, 2, nx).
                let scale = T::of(weight / n);
                let mut sums = vec![0.0; ny];
                let rows = &mut scratch[..2 * ny * nx];
                zip_rows(par, rows, 2 * nx, &mut sums, |y, p| {
                    let (row, below) = (&phase[y * nx..][..nx], &phase[next(y, ny) * nx..][..nx]);
                    let (px, py) = p.split_at_mut(nx);
                    let mut sum = 0.0;
                    for x in 0..nx {
                        let (dx, dy) = (row[next(x, nx)] - row[x], below[x] - row[x]);
                        let s2 = dx * dx + dy * dy;
                        let f = match eps {
                            Some(eps) => {
                                let s = (s2 + eps * eps).sqrt();
                                sum += (s - eps).f64();
                                scale / s
                            }
                            None => {
                                sum += 0.5 * s2.f64();
                                scale
                            }
                        };
                        (px[x], py[x]) = (f * dx, f * dy);
                    }
                    sum
                });
                let p = &*rows;
                par.chunks(g, nx, |y, g| {
                    let (here, above) = (&p[2 * y * nx..][..2 * nx], &p[2 * last(y, ny) * nx..][..2 * nx]);
                    for x in 0..nx {
                        g[x] += here[last(x, nx)] - here[x] + above[nx + x] - here[nx + x];
                    }
                });
                weight / n * sums.iter().sum::<f64>()
            }
            Regularizer::Curvature { weight, smoothing } => {
                let eps = T::of(smoothing);
                let scale = T::of(weight / n);
                let two = T::of(2.0);
                let mut sums = vec![0.0; ny];
                let rows = &mut scratch[..3 * ny * nx];
                zip_rows(par, rows, 3 * nx, &mut sums, |y, p| {
                    let row = &phase[y * nx..][..nx];
                    let (above, below) = (&phase[last(y, ny) * nx..][..nx], &phase[next(y, ny) * nx..][..nx]);
                    let (pxx, p) = p.split_at_mut(nx);
                    let (pyy, pxy) = p.split_at_mut(nx);
                    let mut sum = 0.0;
                    for x in 0..nx {
                        let (l, r) = (last(x, nx), next(x, nx));
                        let xx = row[r] - two * row[x] + row[l];
                        let yy = below[x] - two * row[x] + above[x];
                        let xy = below[r] - below[x] - row[r] + row[x];
                        let s = (xx * xx + yy * yy + two * xy * xy + eps * eps).sqrt();
                        sum += (s - eps).f64();
                        let f = scale / s;
                        (pxx[x], pyy[x], pxy[x]) = (f * xx, f * yy, two * f * xy);
                    }
                    sum
                });
                let p = &*rows;
                par.chunks(g, nx, |y, g| {
                    let row = |y: usize| &p[3 * y * nx..][..3 * nx];
                    let (here, above, below) = (row(y), row(last(y, ny)), row(next(y, ny)));
                    for x in 0..nx {
                        let (l, r) = (last(x, nx), next(x, nx));
                        let xx = here[r] - two * here[x] + here[l];
                        let yy = below[nx + x] - two * here[nx + x] + above[nx + x];
                        let xy = |row: &[T], x: usize| row[2 * nx + x];
                        g[x] += xx + yy + xy(here, x) - xy(here, l) - xy(above, x) + xy(above, l);
                    }
                });
                weight / n * sums.iter().sum::<f64>()
            }
        }
    }
}

/// Rows of an array and one number each, filled together.
fn zip_rows<T: Real>(
    par: &Par,
    rows: &mut [T],
    width: usize,
    sums: &mut [f64],
    f: impl Fn(usize, &mut [T]) -> f64 + Sync,
) {
    let mut both: Vec<(&mut [T], &mut f64)> = rows.chunks_mut(width).zip(sums).collect();
    par.chunks(&mut both, 8, |i, part| {
        for (j, (row, sum)) in part.iter_mut().enumerate() {
            **sum = f(8 * i + j, row);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn penalties_have_the_gradients_they_add() {
        for dims in [[6, 7], [1, 5], [8, 2]] {
            let n = dims[0] * dims[1];
            let mut r = rng::stream(3, 0);
            let x: Vec<f64> = (0..n).map(|_| rng::normal(&mut r)).collect();
            for reg in [
                Regularizer::TotalVariation { weight: 0.7, smoothing: 0.3 },
                Regularizer::Curvature { weight: 0.7, smoothing: 0.3 },
                Regularizer::Gradient { weight: 0.7 },
            ] {
                let mut scratch = vec![f64::NAN; reg.scratch_len(n)];
                let mut run = |x: &[f64], g: &mut [f64]| reg.add(dims, x, g, &mut scratch, &Par::seq());
                let mut g = vec![0.0; n];
                run(&x, &mut g);
                for i in 0..n {
                    let mut at = |h: f64| {
                        let mut x = x.clone();
                        x[i] += h;
                        run(&x, &mut vec![0.0; n])
                    };
                    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!((slope - g[i]).abs() < 1e-8, "{reg:?} {dims:?} {i}: {slope} {}", g[i]);
                }
            }
        }
        assert!(Regularizer::Gradient { weight: -1.0 }.check().is_err());
        assert!(Regularizer::TotalVariation { weight: 1.0, smoothing: 0.0 }.check().is_err());
    }
}
