//! Gates: maps between 0 and 1 that weight an image's channels, its pixels, or both.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::norm::sum2;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// Dimensions as (batch, channels, pixels).
fn split(dims: &[usize]) -> Result<[usize; 3], Error> {
    if dims.len() < 2 || dims.contains(&0) {
        return Err(Error::param("dims", format!("{dims:?}"), "at least batch and channels, none of them 0"));
    }
    checked_len(dims)?;
    Ok([dims[0], dims[1], dims[2..].iter().product()])
}

/// What a [`Gate`] weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOver {
    /// One weight a channel of an image, g (n, c).
    Channels,
    /// One weight a pixel of an image, g (n, 1, …).
    Pixels,
}

/// `y = x g`, with g repeated over the pixels or over the channels; `dx = dy g`, `dg = Σ dy x` over what g is repeated.
///
/// With g = σ(w·relu(W_g h + W_x x + b) + b′), made of convolutions of 1 × 1, it is the additive attention gate of a
/// U-Net's skip; with g from [`ChannelAttention`] the squeeze-and-excitation block; with g =
/// σ(conv([`SpatialStatistics`])) the spatial attention.
///
/// # Shapes
/// Inputs: x (n, c, …), g as [`GateOver`] says. Output: as x.
///
/// # References
/// O. Oktay et al., arXiv 1804.03999, eqs. (1), (2).
#[derive(Clone, Debug)]
pub struct Gate {
    dims: Vec<usize>,
    split: [usize; 3],
    over: GateOver,
    par: Par,
}

impl Gate {
    /// A gate for images of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0.
    pub fn new(dims: &[usize], over: GateOver, par: &Par) -> Result<Self, Error> {
        Ok(Gate { dims: dims.to_vec(), split: split(dims)?, over, par: par.clone() })
    }

    fn gate_dims(&self) -> Vec<usize> {
        match self.over {
            GateOver::Channels => vec![self.dims[0], self.dims[1]],
            GateOver::Pixels => [&[self.dims[0], 1], &self.dims[2..]].concat(),
        }
    }

    /// Calls `f(i, weight)` over the pixels of a plane.
    #[inline(always)]
    fn weights<T: Real>(&self, g: &[T], plane: usize, mut f: impl FnMut(usize, T)) {
        let [_, c, len] = self.split;
        match self.over {
            GateOver::Channels => (0..len).for_each(|i| f(i, g[plane])),
            GateOver::Pixels => g[plane / c * len..][..len].iter().enumerate().for_each(|(i, &g)| f(i, g)),
        }
    }
}

impl<T: Real> Function<T> for Gate {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("gate", inputs, &[&self.dims, &self.gate_dims()], 0)?;
        Ok(Space::real(&self.dims))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let len = self.split[2];
        check_len("gate", "y", x[0].len(), y.len());
        self.par.chunks(y, len, |plane, y| {
            let v = &x[0][plane * len..][..len];
            self.weights(x[1], plane, |i, g| y[i] = v[i] * g);
        });
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let [_, c, len] = self.split;
        check_len("gate", "dy", self.dims.iter().product(), dy.len());
        if let Some((dx, onto)) = check::want(dx, 0) {
            self.par.chunks(dx, len, |plane, dx| {
                let dy = &dy[plane * len..][..len];
                self.weights(x[1], plane, |i, g| write(&mut dx[i], dy[i] * g, onto));
            });
        }
        let Some((dg, onto)) = check::want(dx, 1) else { return };
        let plane = |p: usize| (&x[0][p * len..][..len], &dy[p * len..][..len]);
        match self.over {
            GateOver::Channels => self.par.chunks(dg, 1, |p, dg| {
                let (x, dy) = plane(p);
                write(&mut dg[0], T::of(sum2(x, dy, |x, dy| x * dy)), onto);
            }),
            GateOver::Pixels => self.par.chunks(dg, len, |image, dg| {
                for channel in 0..c {
                    let (x, dy) = plane(image * c + channel);
                    let onto = if channel == 0 { onto } else { Write::Add };
                    (0..len).for_each(|i| write(&mut dg[i], x[i] * dy[i], onto));
                }
            }),
        }
    }
}

/// Mean and maximum over the channels: (n, c, …) to (n, 2, …), of which a convolution and a sigmoid make a spatial
/// gate.
///
/// `dx_c = dy₀ / c`, and `dy₁` for the first channel that has the maximum.
///
/// # References
/// S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, arXiv 1807.06521, eq. (3).
#[derive(Clone, Debug)]
pub struct SpatialStatistics {
    dims: Vec<usize>,
    split: [usize; 3],
    par: Par,
}

impl SpatialStatistics {
    /// For images of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0.
    pub fn new(dims: &[usize], par: &Par) -> Result<Self, Error> {
        Ok(SpatialStatistics { dims: dims.to_vec(), split: split(dims)?, par: par.clone() })
    }
}

impl<T: Real> Function<T> for SpatialStatistics {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("spatial statistics", inputs, &[&self.dims], 0)?;
        Ok(Space::real(&[&[self.dims[0], 2], &self.dims[2..]].concat()))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0], output: true, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let [_, c, len] = self.split;
        check_len("spatial statistics", "x", self.dims.iter().product(), x[0].len());
        self.par.chunks(y, 2 * len, |image, y| {
            let (mean, largest) = y.split_at_mut(len);
            mean.fill(T::ZERO);
            largest.fill(-T::INFINITY);
            for x in x[0][image * c * len..][..c * len].chunks_exact(len) {
                for i in 0..len {
                    mean[i] += x[i];
                    largest[i] = if x[i] > largest[i] { x[i] } else { largest[i] };
                }
            }
            let scale = T::of(1.0 / c as f64);
            mean.iter_mut().for_each(|m| *m *= scale);
        });
    }

    fn backward(&self, x: &[&[T]], y: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let [_, c, len] = self.split;
        let scale = T::of(1.0 / c as f64);
        self.par.chunks(dx, c * len, |image, dx| {
            let x = &x[0][image * c * len..][..c * len];
            let (largest, dy) = (&y[image * 2 * len + len..][..len], &dy[image * 2 * len..][..2 * len]);
            for i in 0..len {
                let first = (0..c).find(|&k| x[k * len + i] == largest[i]);
                for k in 0..c {
                    let extra = if first == Some(k) { dy[len + i] } else { T::ZERO };
                    write(&mut dx[k * len + i], dy[i] * scale + extra, onto);
                }
            }
        });
    }
}

/// Squeeze and excitation: the weights of an image's channels from the means of its channels,
///
/// ```text
/// s_c = mean of x over the pixels,   h = max(W₁ s + b₁, 0),   g = σ(W₂ h + b₂)
/// ```
///
/// Backward: `da₂ = dg g (1 − g)`, `dW₂ = da₂ hᵀ`, `da₁ = W₂ᵀ da₂` where h > 0, `dW₁ = da₁ sᵀ`, `dx = W₁ᵀ da₁ /
/// pixels`, summed over the batch for the weights. g goes into a [`Gate`].
///
/// # Shapes
/// Inputs: x (n, c, …), W₁ (r, c), b₁ (r), W₂ (c, r), b₂ (c). Output: g (n, c).
///
/// # References
/// J. Hu, L. Shen, G. Sun, arXiv 1709.01507, eqs. (2), (3).
#[derive(Clone, Debug)]
pub struct ChannelAttention {
    dims: Vec<usize>,
    split: [usize; 3],
    r: usize,
    par: Par,
}

impl ChannelAttention {
    /// For images of these dimensions, with r hidden numbers.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0, nor r.
    pub fn new(dims: &[usize], r: usize, par: &Par) -> Result<Self, Error> {
        check::not_zero("hidden", r)?;
        let split = split(dims)?;
        checked_len(&[split[1], r])?;
        Ok(ChannelAttention { dims: dims.to_vec(), split, r, par: par.clone() })
    }
}

impl<T: Real> Function<T> for ChannelAttention {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let ([n, c, _], r) = (self.split, self.r);
        check::spaces("channel attention", inputs, &[&self.dims, &[r, c], &[r], &[c, r], &[c]], 0)?;
        Ok(Space::real(&[n, c]))
    }

    /// The tape holds s and h.
    fn needs(&self, _: &[&Space]) -> Needs {
        let [n, c, _] = self.split;
        Needs { inputs: vec![1, 3], output: true, tape_len: n * (c + self.r) }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        let [n, c, _] = self.split;
        n * (2 * c + self.r)
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], _: &mut [T], _: Mode) {
        let ([n, c, len], r) = (self.split, self.r);
        check_len("channel attention", "x", n * c * len, x[0].len());
        let (s, h) = tape.split_at_mut(n * c);
        self.par.chunks(s, 1, |plane, s| {
            s[0] = T::of(crate::nn::norm::sum(&x[0][plane * len..][..len], |x| x) / len as f64);
        });
        for image in 0..n {
            let (s, h) = (&s[image * c..][..c], &mut h[image * r..][..r]);
            let dot = |w: &[T], v: &[T]| -> T { w.iter().zip(v).map(|(a, b)| *a * *b).sum() };
            for k in 0..r {
                h[k] = (dot(&x[1][k * c..][..c], s) + x[2][k]).max(T::ZERO);
            }
            for k in 0..c {
                y[image * c + k] = T::ONE / (T::ONE + (-(dot(&x[3][k * r..][..r], h) + x[4][k])).exp());
            }
        }
    }

    fn backward(
        &self,
        x: &[&[T]],
        y: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let ([n, c, len], r) = (self.split, self.r);
        let (s, h) = tape.split_at(n * c);
        let (da2, rest) = scratch.split_at_mut(n * c);
        let (da1, ds) = rest.split_at_mut(n * r);
        for i in 0..n * c {
            da2[i] = dy[i] * y[i] * (T::ONE - y[i]);
        }
        for image in 0..n {
            for k in 0..r {
                let back: T = (0..c).map(|j| x[3][j * r + k] * da2[image * c + j]).sum();
                da1[image * r + k] = if h[image * r + k] > T::ZERO { back } else { T::ZERO };
            }
            for j in 0..c {
                ds[image * c + j] = (0..r).map(|k| x[1][k * c + j] * da1[image * r + k]).sum();
            }
        }
        if let Some((dx, onto)) = check::want(dx, 0) {
            let scale = T::of(1.0 / len as f64);
            let ds = &*ds;
            self.par.chunks(dx, len, |plane, dx| dx.iter_mut().for_each(|d| write(d, ds[plane] * scale, onto)));
        }
        // Sums over the batch of products a bᵀ, and of a.
        let outer = |a: &[T], b: &[T], rows: usize, columns: usize, at: usize| -> T {
            (0..n).map(|i| a[i * rows + at / columns] * b[i * columns + at % columns]).sum()
        };
        if let Some((d, onto)) = check::want(dx, 1) {
            d.iter_mut().enumerate().for_each(|(at, d)| write(d, outer(da1, s, r, c, at), onto));
        }
        if let Some((d, onto)) = check::want(dx, 2) {
            d.iter_mut().enumerate().for_each(|(k, d)| write(d, (0..n).map(|i| da1[i * r + k]).sum(), onto));
        }
        if let Some((d, onto)) = check::want(dx, 3) {
            d.iter_mut().enumerate().for_each(|(at, d)| write(d, outer(da2, h, c, r, at), onto));
        }
        if let Some((d, onto)) = check::want(dx, 4) {
            d.iter_mut().enumerate().for_each(|(k, d)| write(d, (0..n).map(|i| da2[i * c + k]).sum(), onto));
        }
    }
}
