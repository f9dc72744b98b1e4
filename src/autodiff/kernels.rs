//! The loops of the elementary operations.
//!
//! Every loop partitions its output into fixed chunks, and every sum runs in a fixed order in `f64`: the bits do not
//! depend on the number of threads.

use num_complex::Complex;

use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;

/// Elements that one task works on; shorter loops stay on the calling thread.
const CHUNK: usize = 1 << 14;
/// Outputs of a reduction that are accumulated together.
const BLOCK: usize = 64;
/// Partial sums of a long sum.
const LANES: usize = 8;

/// Words as complex numbers.
pub(crate) fn complex<T: Real>(x: &[T]) -> &[Complex<T>] {
    bytemuck::cast_slice(x)
}

/// Words as complex numbers.
pub(crate) fn complex_mut<T: Real>(x: &mut [T]) -> &mut [Complex<T>] {
    bytemuck::cast_slice_mut(x)
}

/// Calls `f(start, chunk)` for fixed chunks of `out`.
fn each<E: Send>(par: &Par, out: &mut [E], f: impl Fn(usize, &mut [E]) + Sync) {
    if out.len() <= CHUNK {
        f(0, out);
    } else {
        par.chunks(out, CHUNK, |i, chunk| f(i * CHUNK, chunk));
    }
}

/// `yᵢ = f(xᵢ)`.
pub(crate) fn map<A, E>(par: &Par, x: &[A], y: &mut [E], w: Write, f: impl Fn(A) -> E + Sync)
where
    A: Copy + Sync,
    E: Copy + Send + std::ops::Add<Output = E>,
{
    each(par, y, |start, y| y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| write(y, f(x), w)));
}

/// `yᵢ = f(aᵢ, bᵢ)`.
pub(crate) fn zip<A, B, E>(par: &Par, a: &[A], b: &[B], y: &mut [E], w: Write, f: impl Fn(A, B) -> E + Sync)
where
    A: Copy + Sync,
    B: Copy + Sync,
    E: Copy + Send + std::ops::Add<Output = E>,
{
    each(par, y, |start, y| {
        y.iter_mut().zip(&a[start..]).zip(&b[start..]).for_each(|((y, &a), &b)| write(y, f(a, b), w));
    });
}

/// `y[i, j] = f(a[i, j], b[j])`, the shorter of the two being repeated along the leading axes.
pub(crate) fn broadcast<A, B, E>(par: &Par, a: &[A], b: &[B], y: &mut [E], w: Write, f: impl Fn(A, B) -> E + Sync)
where
    A: Copy + Sync,
    B: Copy + Sync,
    E: Copy + Send + std::ops::Add<Output = E>,
{
    if a.len() == b.len() {
        zip(par, a, b, y, w, f);
    } else if a.len() < b.len() {
        repeat(par, b, a, y, w, |b, a| f(a, b));
    } else {
        repeat(par, a, b, y, w, f);
    }
}

/// [`broadcast`] with the second one shorter.
fn repeat<A, B, E>(par: &Par, a: &[A], b: &[B], y: &mut [E], w: Write, f: impl Fn(A, B) -> E + Sync)
where
    A: Copy + Sync,
    B: Copy + Sync,
    E: Copy + Send + std::ops::Add<Output = E>,
{
    if let [b] = *b {
        return map(par, a, y, w, |a| f(a, b));
    }
    each(par, y, |start, mut y| {
        let mut at = start;
        while !y.is_empty() {
            let j = at % b.len();
            let run = (b.len() - j).min(y.len());
            let (run, rest) = std::mem::take(&mut y).split_at_mut(run);
            run.iter_mut().zip(&a[at..]).zip(&b[j..]).for_each(|((y, &a), &b)| write(y, f(a, b), w));
            at += run.len();
            y = rest;
        }
    });
}

/// `Σᵢ f(i)` over `0..n` in eight interleaved partial sums.
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(start + l);
        }
    }
    for i in whole..n {
        lanes[i - whole] += f(i);
    }
    lanes.iter().sum()
}

/// `y[o, j] = Σ_k f(x index (o, k, j))` for an array (outer, n, inner) seen through `f`, accumulated in `f64`; `put` rounds.
pub(crate) fn reduce<E: Copy + Send + std::ops::Add<Output = E>>(
    par: &Par,
    [n, inner]: [usize; 2],
    y: &mut [E],
    w: Write,
    f: impl Fn(usize) -> Complex<f64> + Sync,
    put: impl Fn(Complex<f64>) -> E + Sync,
) {
    // y is (outer, inner)
    if inner == 1 {
        return each(par, y, |start, y| {
            for (o, y) in y.iter_mut().enumerate() {
                let first = (start + o) * n;
                let total = Complex::new(sum(n, |k| f(first + k).re), sum(n, |k| f(first + k).im));
                write(y, put(total), w);
            }
        });
    }
    each(par, y, |start, mut y| {
        let mut at = start;
        while !y.is_empty() {
            let (o, j) = (at / inner, at % inner);
            let run = (inner - j).min(BLOCK).min(y.len());
            let (run, rest) = std::mem::take(&mut y).split_at_mut(run);
            let mut total = [Complex::new(0.0, 0.0); BLOCK];
            for k in 0..n {
                let first = (o * n + k) * inner + j;
                total[..run.len()].iter_mut().enumerate().for_each(|(i, t)| *t += f(first + i));
            }
            run.iter_mut().zip(total).for_each(|(y, t)| write(y, put(t), w));
            at += run.len();
            y = rest;
        }
    });
}

/// Windows (wy, wx) of an image (ny, nx), in words along x, whose first elements are given by an index input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Windows {
    /// Rows and words a row of the image.
    pub image: [usize; 2],
    /// Rows and words a row of a window.
    pub window: [usize; 2],
    /// Words an element.
    pub element: usize,
    /// Indices a window: 2 for `[y, x]`, 1 for a row of which the window takes all.
    pub indices: usize,
}

impl Windows {
    /// First row and first word of window i.
    fn corner(&self, index: &[u32], i: usize) -> [usize; 2] {
        match self.indices {
            1 => [index[i] as usize, 0],
            _ => [index[2 * i] as usize, index[2 * i + 1] as usize * self.element],
        }
    }

    /// The place in `index` of the first window that does not lie inside the image.
    pub fn outside(&self, index: &[u32]) -> Option<usize> {
        let fits = |i: usize| {
            let [y, x] = self.corner(index, i);
            y + self.window[0] <= self.image[0] && x + self.window[1] <= self.image[1]
        };
        (0..index.len() / self.indices).find(|&i| !fits(i)).map(|i| i * self.indices)
    }

    /// `y[i, r, c] = x[yᵢ + r, xᵢ + c]`.
    pub fn gather<T: Real>(&self, par: &Par, index: &[u32], x: &[T], y: &mut [T], w: Write) {
        // x is (ny, nx), y is (n, wy, wx)
        let [wy, wx] = self.window;
        let cut = |i: usize, y: &mut [T]| {
            let [y0, x0] = self.corner(index, i);
            for (r, y) in y.chunks_mut(wx).enumerate() {
                let x = &x[(y0 + r) * self.image[1] + x0..][..wx];
                y.iter_mut().zip(x).for_each(|(y, &x)| write(y, x, w));
            }
        };
        if y.len() <= CHUNK {
            y.chunks_mut(wy * wx).enumerate().for_each(|(i, y)| cut(i, y));
        } else {
            par.chunks(y, wy * wx, cut);
        }
    }

    /// `x[yᵢ + r, xᵢ + c] += y[i, r, c]`, the adjoint of [`Windows::gather`].
    pub fn scatter<T: Real>(&self, par: &Par, index: &[u32], y: &[T], x: &mut [T], w: Write) {
        // y is (n, wy, wx), x is (ny, nx)
        let ([wy, wx], nx) = (self.window, self.image[1]);
        // The image is cut into bands of rows; each band visits all windows in their order.
        let band = (CHUNK / nx).max(1);
        par.chunks(x, band * nx, |b, x| {
            if w == Write::Set {
                x.fill(T::ZERO);
            }
            let rows = b * band..b * band + x.len() / nx;
            for (i, y) in y.chunks(wy * wx).enumerate() {
                let [y0, x0] = self.corner(index, i);
                for row in rows.start.max(y0)..rows.end.min(y0 + wy) {
                    let x = &mut x[(row - rows.start) * nx + x0..][..wx];
                    x.iter_mut().zip(&y[(row - y0) * wx..]).for_each(|(x, &y)| *x += y);
                }
            }
        });
    }
}
