//! Phase factors, their sums of products, and factors that depend on the height: what a potential and its gradient are made of.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::fft::frequency_index;
use crate::real::{Real, cis};

/// Atoms whose phase factors are multiplied at a time.
pub(crate) const BLOCK: usize = 64;
/// Nodes of a factor that is tabulated in |k|.
pub(crate) const NODES: usize = 1024;

/// Buffers of one thread, cut out of one slice.
#[derive(Debug)]
pub(crate) struct Buffers<'a, T: Real> {
    /// (ny, nx/2 + 1).
    pub spectrum: &'a mut [Complex<T>],
    /// e_y of a block, (ny, block).
    pub y: &'a mut [Complex<T>],
    /// e_x of one atom, (nx/2 + 1).
    pub ex: &'a mut [Complex<T>],
    pub fft: &'a mut [Complex<T>],
    /// e_x of a block, (block, re/im, nx/2 + 1).
    pub x: &'a mut [T],
    /// Σ e_y e_x, (ny, re/im, nx/2 + 1).
    pub sum: &'a mut [T],
    /// A factor, and its derivative with respect to the height.
    pub table: &'a mut [T],
    pub slope: &'a mut [T],
    /// The computed grid, where it is cropped.
    pub real: &'a mut [T],
}

impl<'a, T: Real> Buffers<'a, T> {
    /// Complex elements for a grid of `work` pixels.
    pub fn len([ny, nx]: [usize; 2], cropped: bool, fft: usize) -> usize {
        let half = nx / 2 + 1;
        2 * ny * half + BLOCK * (ny + half) + half + fft + NODES + if cropped { (ny * nx).div_ceil(2) } else { 0 }
    }

    /// Cuts [`Buffers::len`] elements up.
    pub fn new(words: &'a mut [Complex<T>], [ny, nx]: [usize; 2], cropped: bool, fft: usize) -> Self {
        let half = nx / 2 + 1;
        let (spectrum, rest) = words.split_at_mut(ny * half);
        let (y, rest) = rest.split_at_mut(BLOCK * ny);
        let (ex, rest) = rest.split_at_mut(half);
        let (fft, rest) = rest.split_at_mut(fft);
        let rest: &mut [T] = bytemuck::cast_slice_mut(rest);
        let (x, rest) = rest.split_at_mut(2 * BLOCK * half);
        let (sum, rest) = rest.split_at_mut(2 * ny * half);
        let (table, rest) = rest.split_at_mut(NODES);
        let (slope, rest) = rest.split_at_mut(NODES);
        let real = &mut rest[..if cropped { ny * nx } else { 0 }];
        Buffers { spectrum, y, ex, fft, x, sum, table, slope, real }
    }
}

/// Hands out `o exp(−2πi k r − 2π²σ²k²)` for k of the first `count` of n indices over the extent; the mean of both signs at the Nyquist
/// frequency.
pub(crate) fn phases<T: Real>(
    [n, count]: [usize; 2],
    extent: f64,
    r: f64,
    sigma: f64,
    o: f64,
    mut put: impl FnMut(usize, Complex<T>),
) {
    for i in 0..count {
        let z = phase(i, n, extent, r, sigma) * o;
        put(i, Complex::new(T::of(z.re), T::of(z.im)));
    }
}

/// `exp(−2πi k r − 2π²σ²k²)`.
pub(crate) fn phase(i: usize, n: usize, extent: f64, r: f64, sigma: f64) -> Complex<f64> {
    let k = frequency_index(i, n) as f64 / extent;
    let damping = (-2.0 * PI * PI * sigma * sigma * k * k).exp();
    // A whole number of extents is none: what is left keeps the phase small.
    let z = cis(-TAU * k * (r % extent));
    if 2 * i == n { Complex::new(damping * z.re, 0.0) } else { z * damping }
}

/// A phase and its derivatives with respect to r and σ.
pub(crate) fn phase_derivatives(i: usize, n: usize, extent: f64, r: f64, sigma: f64) -> [Complex<f64>; 3] {
    let (k, e) = (frequency_index(i, n) as f64 / extent, phase(i, n, extent, r, sigma));
    let along = if 2 * i == n {
        // That of the cosine.
        let damping = (-2.0 * PI * PI * sigma * sigma * k * k).exp();
        Complex::new(-TAU * k * (TAU * k * (r % extent)).sin() * damping, 0.0)
    } else {
        Complex::new(0.0, -TAU * k) * e
    };
    [e, along, e * (-4.0 * PI * PI * sigma * k * k)]
}

/// sum += Σ_a y_a x_a for a block of atoms, four at a time.
pub(crate) fn add_products<T: Real>(atoms: usize, half: usize, y: &[Complex<T>], x: &[T], sum: &mut [T]) {
    // y is (ny, block), x is (block, re/im, half), sum is (ny, re/im, half)
    crate::simd::vectorized!({
        for (y, sum) in y.chunks(BLOCK).zip(sum.chunks_mut(2 * half)) {
            let (re, im) = sum.split_at_mut(half);
            let mut a = 0;
            while a < atoms {
                let part = |i: usize| {
                    // Beyond the last atom, nothing is added of the first.
                    let (i, e) = if a + i < atoms { (a + i, y[a + i]) } else { (a, Complex::default()) };
                    let (re, im) = x[2 * i * half..2 * (i + 1) * half].split_at(half);
                    (e, re, &im[..half])
                };
                let ((e, er, ei), (f, fr, fi), (g, gr, gi), (h, hr, hi)) = (part(0), part(1), part(2), part(3));
                for i in 0..half {
                    re[i] += (e.re * er[i] - e.im * ei[i])
                        + (f.re * fr[i] - f.im * fi[i])
                        + (g.re * gr[i] - g.im * gi[i])
                        + (h.re * hr[i] - h.im * hi[i]);
                    im[i] += (e.re * ei[i] + e.im * er[i])
                        + (f.re * fi[i] + f.im * fr[i])
                        + (g.re * gi[i] + g.im * gr[i])
                        + (h.re * hi[i] + h.im * hr[i]);
                }
                a += 4;
            }
        }
    })
}

/// A function of |k| at nodes, and between them by Lagrange's cubic. Node j lies at (j − 1) step; the function is even.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nodes {
    pub step: f64,
    /// What the values are multiplied by.
    pub scale: f64,
}

impl Nodes {
    pub fn tabulate<T: Real>(&self, table: &mut [T], f: impl Fn(f64) -> f64) {
        for (j, t) in table.iter_mut().enumerate() {
            let k = (j as f64 - 1.0) * self.step;
            *t = T::of(self.scale * f(k * k));
        }
    }

    #[inline]
    pub fn at<T: Real>(&self, k2: f64, table: &[T]) -> T {
        let x = k2.sqrt() / self.step;
        let j = x as usize;
        let t = x - j as f64;
        let w = [
            -t * (t - 1.0) * (t - 2.0) / 6.0,
            (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
            -(t + 1.0) * t * (t - 2.0) / 2.0,
            (t + 1.0) * t * (t - 1.0) / 6.0,
        ];
        let at = &table[j..j + 4];
        T::of(w[0]) * at[0] + T::of(w[1]) * at[1] + T::of(w[2]) * at[2] + T::of(w[3]) * at[3]
    }
}
