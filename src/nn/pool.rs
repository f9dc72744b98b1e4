//! Average and maximum pooling.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// What of a window is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean, padded zeros included.
    Average,
    /// The largest element; of equal ones the first.
    Max,
}

/// Parameters of [`Pool`].
#[derive(Clone, Debug)]
pub struct PoolParams<const D: usize> {
    /// What of a window is kept.
    pub pooling: Pooling,
    /// Images times channels.
    pub planes: [usize; 2],
    /// Size of the input image, (z,) y, x.
    pub size: [usize; D],
    /// Size of the window, k.
    pub kernel: [usize; D],
    /// Step of the window, s.
    pub stride: [usize; D],
    /// Pixels that are added on either side, p ≤ k/2: zeros of a mean, nothing for a maximum.
    pub padding: [usize; D],
    /// On how many threads.
    pub par: Par,
}

/// Mean over windows of 2, next to each other.
impl<const D: usize> Default for PoolParams<D> {
    fn default() -> Self {
        PoolParams {
            pooling: Pooling::Average,
            planes: [1, 1],
            size: [2; D],
            kernel: [2; D],
            stride: [2; D],
            padding: [0; D],
            par: Par::default(),
        }
    }
}

/// Pooling over windows:
///
/// ```text
/// average  y[t] = Σ_{κ<k} x[s t + κ − p] / k₁k₂…,        dx[s t + κ − p] += dy[t] / k₁k₂…
/// maximum  y[t] = max_{κ<k} x[s t + κ − p] = x[u(t)],    dx[u(t)] += dy[t]
/// ```
///
/// with ⌊(size + 2p − k) / s⌋ + 1 windows an axis.
///
/// # Shapes
/// Input: (n, c, size) with `planes = [n, c]`. Output: (n, c, windows).
#[derive(Clone, Debug)]
pub struct Pool<const D: usize> {
    p: PoolParams<D>,
    /// (input, output, kernel, stride, padding) of z, y, x.
    axes: [[usize; 5]; 3],
    in_dims: Vec<usize>,
    out_dims: Vec<usize>,
}

/// Pooling of images.
pub type Pool2d = Pool<2>;
/// Pooling of volumes.
pub type Pool3d = Pool<3>;

impl<const D: usize> Pool<D> {
    /// A pooling for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0, a window larger than the padded image, or a padding of more than half the
    /// window; [`Error::Unsupported`] unless D is 1, 2 or 3.
    pub fn new(params: &PoolParams<D>) -> Result<Self, Error> {
        if !(1..=3).contains(&D) {
            return Err(Error::Unsupported { what: format!("pooling in {D} dimensions") });
        }
        let mut axes = [[1, 1, 1, 1, 0]; 3];
        for i in 0..D {
            let (n, k, s, p) = (params.size[i], params.kernel[i], params.stride[i], params.padding[i]);
            for (name, v) in [("size", n), ("kernel", k), ("stride", s)] {
                check::not_zero(name, v)?;
            }
            if p > k / 2 {
                return Err(Error::param("padding", p, "at most half of the window"));
            }
            let span = n.checked_add(2 * p).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
            let steps = span.checked_sub(k).ok_or_else(|| Error::param("kernel", k, "at most the padded image"))?;
            axes[3 - D + i] = [n, steps / s + 1, k, s, p];
        }
        params.planes.iter().try_for_each(|&n| check::not_zero("planes", n))?;
        let dims = |which: usize| [&params.planes[..], &axes.map(|a| a[which])[3 - D..]].concat();
        let (in_dims, out_dims) = (dims(0), dims(1));
        checked_len(&in_dims)?;
        checked_len(&out_dims)?;
        Ok(Pool { p: params.clone(), axes, in_dims, out_dims })
    }

    /// Dimensions of the output.
    pub fn out_dims(&self) -> &[usize] {
        &self.out_dims
    }

    /// Words of a plane of the input, or (1) the output.
    fn len(&self, which: usize) -> usize {
        self.axes.iter().map(|a| a[which]).product()
    }

    /// Calls `f(output index, input index)` for every element of every window, windows in order.
    #[inline(always)]
    fn windows(&self, mut f: impl FnMut(usize, usize)) {
        let [[nz, oz, kz, sz, pz], [ny, oy, ky, sy, py], [nx, ox, kx, sx, px]] = self.axes;
        // The part of a window that lies within the image.
        let within = |t: usize, s: usize, k: usize, p: usize, n: usize| {
            (s * t).saturating_sub(p)..(s * t + k).saturating_sub(p).min(n)
        };
        for tz in 0..oz {
            for ty in 0..oy {
                for tx in 0..ox {
                    for z in within(tz, sz, kz, pz, nz) {
                        for y in within(ty, sy, ky, py, ny) {
                            for x in within(tx, sx, kx, px, nx) {
                                f((tz * oy + ty) * ox + tx, (z * ny + y) * nx + x);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whether the windows are 1 × 2 × 2, next to each other: the usual ones, with loops of their own.
    fn halves(&self) -> bool {
        self.axes[0][2..] == [1, 1, 0] && self.axes[1][2..] == [2, 2, 0] && self.axes[2][2..] == [2, 2, 0]
    }
}

impl<T: Real, const D: usize> Function<T> for Pool<D> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("pooling", inputs, &[&self.in_dims], 0)?;
        Ok(Space::real(&self.out_dims))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        let inputs = if self.p.pooling == Pooling::Max { vec![0] } else { vec![] };
        Needs { inputs, output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.p.par.count() * self.len(1)
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let (len, out) = (self.len(0), self.len(1));
        check_len("pooling", "x", self.in_dims.iter().product(), x[0].len());
        check_len("pooling", "y", self.out_dims.iter().product(), y.len());
        let scale = T::of(1.0 / self.axes.iter().map(|a| a[2]).product::<usize>() as f64);
        let (nx, ox, ny, oy) = (self.axes[2][0], self.axes[2][1], self.axes[1][0], self.axes[1][1]);
        self.p.par.chunks(y, out, |plane, y| {
            let x = &x[0][plane * len..][..len];
            match self.p.pooling {
                _ if self.halves() => {
                    for (row, y) in y.chunks_exact_mut(ox).enumerate() {
                        let at = (row / oy * ny + 2 * (row % oy)) * nx;
                        let (a, b) = (&x[at..][..2 * ox], &x[at + nx..][..2 * ox]);
                        let pairs = y.iter_mut().zip(a.chunks_exact(2).zip(b.chunks_exact(2)));
                        match self.p.pooling {
                            Pooling::Average => {
                                pairs.for_each(|(y, (a, b))| *y = ((a[0] + a[1]) + (b[0] + b[1])) * scale)
                            }
                            Pooling::Max => pairs.for_each(|(y, (a, b))| {
                                let larger = |m: T, v: T| if v > m { v } else { m };
                                *y = larger(larger(larger(a[0], a[1]), b[0]), b[1]);
                            }),
                        }
                    }
                }
                Pooling::Average => {
                    y.fill(T::ZERO);
                    self.windows(|t, u| y[t] += x[u] * scale);
                }
                Pooling::Max => {
                    y.fill(-T::INFINITY);
                    self.windows(|t, u| y[t] = if x[u] > y[t] { x[u] } else { y[t] });
                }
            }
        });
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        _: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let (len, out) = (self.len(0), self.len(1));
        check_len("pooling", "dy", self.out_dims.iter().product(), dy.len());
        let scale = T::of(1.0 / self.axes.iter().map(|a| a[2]).product::<usize>() as f64);
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(out).take(self.p.par.count()).collect();
        self.p.par.chunks_with(dx, len, &mut states, |plane, dx, largest| {
            let dy = &dy[plane * out..][..out];
            if onto == Write::Set {
                dx.fill(T::ZERO);
            }
            match self.p.pooling {
                Pooling::Average => self.windows(|t, u| dx[u] += dy[t] * scale),
                Pooling::Max => {
                    // The maximum again; the first element that has it gets the gradient, and its entry becomes NaN,
                    // which equals none.
                    let x = &x[0][plane * len..][..len];
                    largest.fill(-T::INFINITY);
                    self.windows(|t, u| largest[t] = if x[u] > largest[t] { x[u] } else { largest[t] });
                    self.windows(|t, u| {
                        if x[u] == largest[t] {
                            dx[u] += dy[t];
                            largest[t] = T::NAN;
                        }
                    });
                }
            }
        });
    }
}
