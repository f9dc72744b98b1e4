//! The Fourier sums of a tapered picture at any frequencies, and those of its taper.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::PlaneLattice;
use crate::metrics::Window;
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{checked_len, try_zeroed};

const TAU: f64 = std::f64::consts::TAU;

/// Σ_r w(r) f(r) e^{−2πi k·r} at frequencies between those of a discrete transform.
#[derive(Debug)]
pub(super) struct LatticeTransform {
    dims: [usize; 2],
    wy: Vec<f64>,
    wx: Vec<f64>,
    /// w f.
    values: Vec<f64>,
}

/// A sum with its first moments about the picture's middle: Σ w f e, Σ w f e (y − y₀), Σ w f e (x − x₀).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub c: Complex<f64>,
    pub cy: Complex<f64>,
    pub cx: Complex<f64>,
}

impl LatticeTransform {
    pub fn new<T: Real>(dims: [usize; 2], image: &[T], window: Window, par: &Par) -> Result<Self, Error> {
        let len = checked_len(&dims)?;
        if len != image.len() || len == 0 {
            return Err(Error::shape("reflections of a picture", &dims, &[image.len()]));
        }
        if let Some(index) = image.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data { what: format!("pixel {}", image[index]), index });
        }
        let (wy, wx) = (window.weights(dims[0])?, window.weights(dims[1])?);
        let mut values: Vec<f64> = try_zeroed(len)?;
        par.chunks(&mut values, dims[1], |y, row| {
            let image = &image[y * dims[1]..];
            row.iter_mut().zip(image).zip(&wx).for_each(|((o, v), w)| *o = v.f64() * w * wy[y]);
        });
        Ok(LatticeTransform { dims, wy, wx, values })
    }

    /// Σ w f.
    pub fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    /// Σ w.
    pub fn sum_of_weights(&self) -> f64 {
        self.wy.iter().sum::<f64>() * self.wx.iter().sum::<f64>()
    }

    /// Second moments of the taper's axes about the middle, Σ w (y − y₀)²/Σ w.
    pub fn spread(&self) -> [f64; 2] {
        [&self.wy, &self.wx].map(|w| {
            let middle = 0.5 * (w.len() as f64 - 1.0);
            let second: f64 = w.iter().enumerate().map(|(i, w)| w * (i as f64 - middle).powi(2)).sum();
            second / w.iter().sum::<f64>()
        })
    }

    /// The sums at many frequencies (cycles per pixel), phases from pixel (0, 0).
    pub fn at(&self, frequencies: &[[f64; 2]], par: &Par) -> Vec<Complex<f64>> {
        par.map(frequencies.len(), |i| {
            let [ky, kx] = frequencies[i];
            let (re, im) = wave(kx, self.dims[1]);
            let rows = self.values.chunks_exact(self.dims[1]).enumerate();
            rows.map(|(y, row)| {
                cis(-TAU * (ky * y as f64).fract()) * Complex::new(product(row, &re), product(row, &im))
            })
            .sum()
        })
    }

    /// The sums and their moments.
    pub fn moments(&self, frequencies: &[[f64; 2]], par: &Par) -> Vec<Moments> {
        par.map(frequencies.len(), |i| self.one(frequencies[i]))
    }

    fn one(&self, [ky, kx]: [f64; 2]) -> Moments {
        let [ny, nx] = self.dims;
        let (re, im) = wave(kx, nx);
        let (my, mx) = (0.5 * (ny as f64 - 1.0), 0.5 * (nx as f64 - 1.0));
        // The moment along x as a second pair of tables: no more work inside the loop than four products.
        let moved = |t: &[f64]| t.iter().enumerate().map(|(i, t)| t * (i as f64 - mx)).collect::<Vec<f64>>();
        let (re_x, im_x) = (moved(&re), moved(&im));
        let mut out = Moments::default();
        for (y, row) in self.values.chunks_exact(nx).enumerate() {
            let e = cis(-TAU * (ky * y as f64).fract());
            let z = e * Complex::new(product(row, &re), product(row, &im));
            out.c += z;
            out.cy += z * (y as f64 - my);
            out.cx += e * Complex::new(product(row, &re_x), product(row, &im_x));
        }
        out
    }

    /// The taper's transform at the frequencies h of a lattice, |h_i| ≤ reach, phases from `origin`: `[2·reach + 1]²`.
    pub fn window_table(&self, dual: &PlaneLattice, reach: i32, origin: [f64; 2]) -> Vec<Complex<f64>> {
        let axis = |w: &[f64], k: f64, origin: f64| -> Complex<f64> {
            w.iter().enumerate().map(|(i, w)| cis(-TAU * (k * (i as f64 - origin))) * *w).sum()
        };
        let side = (2 * reach + 1) as usize;
        let mut table = vec![Complex::new(0.0, 0.0); side * side];
        // Half of it; the other half is conjugate.
        for n in 0..=side * side / 2 {
            let h = [n / side, n % side].map(|i| f64::from(i as i32 - reach));
            let k = dual.at(h);
            let z = axis(&self.wy, k[0], origin[0]) * axis(&self.wx, k[1], origin[1]);
            table[n] = z;
            table[side * side - 1 - n] = z.conj();
        }
        table
    }
}

/// Cosines and negative sines of 2πki.
fn wave(k: f64, n: usize) -> (Vec<f64>, Vec<f64>) {
    (0..n).map(|i| cis(-TAU * (k * i as f64).fract())).map(|z: Complex<f64>| (z.re, z.im)).unzip()
}

/// Σ a b in eight sums.
fn product(a: &[f64], b: &[f64]) -> f64 {
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut s = [0.0; 8];
    for (a, b) in a8.0.iter().zip(b8.0) {
        for i in 0..8 {
            s[i] += a[i] * b[i];
        }
    }
    s.iter().sum::<f64>() + a8.1.iter().zip(b8.1).map(|(a, b)| a * b).sum::<f64>()
}

/// A picture times the taper, as complex numbers.
pub(super) fn weighted(transform: &LatticeTransform, image: &[f64]) -> Vec<Complex<f64>> {
    let nx = transform.dims[1];
    let at = |i: usize| transform.wy[i / nx] * transform.wx[i % nx];
    image.iter().enumerate().map(|(i, v)| Complex::new(v * at(i), 0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_moments_are_their_definitions() {
        let (ny, nx) = (7, 11);
        let image: Vec<f64> = (0..ny * nx).map(|i| (1.3 * i as f64).sin()).collect();
        let t = LatticeTransform::new([ny, nx], &image, Window::Hann, &Par::seq()).unwrap();
        let k = [0.137, -0.291];
        let m = t.moments(&[k], &Par::seq())[0];
        assert!((t.at(&[k], &Par::seq())[0] - m.c).norm() < 1e-13);
        let (mut c, mut cy, mut cx) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0), Complex::new(0.0, 0.0));
        let window = Window::Hann.array(&[ny, nx]).unwrap();
        for i in 0..ny * nx {
            let (y, x) = ((i / nx) as f64, (i % nx) as f64);
            let z = cis(-TAU * (k[0] * y + k[1] * x)) * window[i] * image[i];
            (c, cy, cx) = (c + z, cy + z * (y - 3.0), cx + z * (x - 5.0));
        }
        for (a, b) in [(m.c, c), (m.cy, cy), (m.cx, cx)] {
            assert!((a - b).norm() < 1e-12, "{a} {b}");
        }
    }
}
