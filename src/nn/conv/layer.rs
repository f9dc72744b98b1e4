//! Convolution as a layer, in two and three dimensions.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::conv::correlate::Correlate;
use crate::nn::conv::geometry::{Axis, Geometry};
use crate::nn::conv::spread::Spread;
use crate::nn::conv::weight_gradient::WeightGradient;
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;

/// What stands beyond the edge of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    #[default]
    Zero,
    /// The image mirrored at its edge pixels, which are not repeated: `x[−1] = x[1]`. At most n − 1 pixels.
    Reflect,
    /// The image repeated: `x[−1] = x[n − 1]`. At most n pixels.
    Periodic,
}

/// Parameters of [`Conv2d`] (D = 2) and [`Conv3d`] (D = 3). Axes are in the order of the array: (z,) y, x.
#[derive(Clone, Debug)]
pub struct ConvParams<const D: usize> {
    /// Images of a batch, n.
    pub batch: usize,
    /// Channels of the input, a multiple of `groups`.
    pub channels: usize,
    /// Size of the input image.
    pub size: [usize; D],
    /// Channels of the output, a multiple of `groups`.
    pub out_channels: usize,
    /// Size of the kernel, k.
    pub kernel: [usize; D],
    /// Step of the output on the input, s.
    pub stride: [usize; D],
    /// Distance of the taps, d.
    pub dilation: [usize; D],
    /// Pixels that are added on either side, p.
    pub padding: [usize; D],
    /// What these pixels are.
    pub mode: Padding,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// On how many threads.
    pub par: Par,
}

/// One image of one channel and one pixel, a kernel of 3 with padding 1: the size is kept.
impl<const D: usize> Default for ConvParams<D> {
    fn default() -> Self {
        ConvParams {
            batch: 1,
            channels: 1,
            size: [1; D],
            out_channels: 1,
            kernel: [3; D],
            stride: [1; D],
            dilation: [1; D],
            padding: [1; D],
            mode: Padding::Zero,
            groups: 1,
            par: Par::default(),
        }
    }
}

/// Convolution of images; see [`Conv`].
pub type Conv2d = Conv<2>;
/// Convolution of volumes; see [`Conv`].
pub type Conv3d = Conv<3>;

/// Convolution as networks have it (a correlation: the kernel is not turned round):
///
/// ```text
/// y[n, o, t] = b[o] + Σ_c Σ_κ w[o, c, κ] x[n, c, s t + d κ − p],   size of y = ⌊(size + 2p − d (k − 1) − 1) / s⌋ + 1
/// ```
///
/// Its gradients, for a loss with `dy = ∂L/∂y`:
///
/// ```text
/// dx[n, c, u] = Σ_o Σ_{κ, t: s t + d κ − p = u} w[o, c, κ] dy[n, o, t]
/// dw[o, c, κ] = Σ_n Σ_t dy[n, o, t] x[n, c, s t + d κ − p],   db[o] = Σ_n Σ_t dy[n, o, t]
/// ```
///
/// # Shapes
/// Inputs: x (n, channels, size), w (out_channels, channels / groups, kernel) and, if there is a bias, b
/// (out_channels). Output: (n, out_channels, size of y).
///
/// # References
/// V. Dumoulin, F. Visin, arXiv 1603.07285, for sizes; derivation and method in `docs/nn_convolution.md`.
///
/// # Examples
/// ```
/// use exitwave::autodiff::{Function, check_function};
/// use exitwave::nn::{Conv2d, ConvParams};
/// use exitwave::shape::Space;
/// let conv = Conv2d::new(&ConvParams { channels: 2, out_channels: 3, size: [5, 4], ..ConvParams::default() })?;
/// let inputs = [Space::real(&[1, 2, 5, 4]), Space::real(&[3, 2, 3, 3]), Space::real(&[3])];
/// assert!(check_function(&conv, &inputs, 1)? < 1e-6);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv<const D: usize>(Kernels);

/// What a convolution and its adjoint share: sizes, the three kernels, threads.
#[derive(Clone, Debug)]
pub(super) struct Kernels {
    pub g: Geometry,
    pub correlate: Correlate,
    pub spread: Spread,
    pub weights: WeightGradient,
    pub dims: Dims,
    pub par: Par,
}

impl Kernels {
    pub fn new(g: Geometry, dims: Dims, par: &Par) -> Self {
        let (correlate, spread, weights) = (Correlate::new(&g), Spread::new(&g), WeightGradient::new(&g));
        Kernels { g, correlate, spread, weights, dims, par: par.clone() }
    }

    /// The output's space for these inputs; the bias may be absent.
    pub fn infer(&self, op: &'static str, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces(op, inputs, &[&self.dims.x, &self.dims.w, &self.dims.b], 1)?;
        Ok(Space::real(&self.dims.y))
    }

    pub fn scratch_len(&self) -> usize {
        let threads = self.par.count();
        self.correlate.scratch_len(threads).max(self.spread.scratch_len(threads)).max(self.weights.scratch_len(threads))
    }
}

/// Dimensions of x, w, b and y.
#[derive(Clone, Debug)]
pub(super) struct Dims {
    pub x: Vec<usize>,
    pub w: Vec<usize>,
    pub b: [usize; 1],
    pub y: Vec<usize>,
}

/// Missing axes, in front, have size 1.
pub(crate) fn three<const D: usize>(v: [usize; D], missing: usize) -> [usize; 3] {
    std::array::from_fn(|i| if i + D >= 3 { v[i + D - 3] } else { missing })
}

/// Channels of a group.
pub(super) fn per_group(name: &'static str, channels: usize, groups: usize) -> Result<usize, Error> {
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::param(name, format!("{channels} in {groups} groups"), "a positive multiple of the groups"));
    }
    Ok(channels / groups)
}

impl<const D: usize> Conv<D> {
    /// A convolution for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0, a kernel that is larger than the padded image, more padding than reflection or
    /// repetition allow, or channels that are no multiple of the groups; [`Error::Unsupported`] unless D is 1, 2 or 3;
    /// [`Error::OutOfMemory`] for sizes whose product overflows.
    pub fn new(params: &ConvParams<D>) -> Result<Self, Error> {
        if !(1..=3).contains(&D) {
            return Err(Error::Unsupported { what: format!("convolution in {D} dimensions") });
        }
        let (size, kernel) = (three(params.size, 1), three(params.kernel, 1));
        let (stride, dilation) = (three(params.stride, 1), three(params.dilation, 1));
        let padding = three(params.padding, 0);
        let axis = |i: usize| Axis::new(size[i], kernel[i], stride[i], dilation[i], padding[i], params.mode);
        let g = Geometry {
            n: params.batch,
            groups: params.groups,
            ci: per_group("channels", params.channels, params.groups)?,
            co: per_group("out_channels", params.out_channels, params.groups)?,
            axes: [axis(0)?, axis(1)?, axis(2)?],
            mode: params.mode,
        }
        .checked()?;
        let dims = Dims {
            x: [&[g.n, params.channels], &params.size[..]].concat(),
            w: [&[params.out_channels, g.ci], &params.kernel[..]].concat(),
            b: [params.out_channels],
            y: [&[g.n, params.out_channels], &g.axes.map(|a| a.output)[3 - D..]].concat(),
        };
        Ok(Conv(Kernels::new(g, dims, &params.par)))
    }

    /// Dimensions of the output.
    pub fn out_dims(&self) -> &[usize] {
        &self.0.dims.y
    }

    /// Dimensions of the input.
    pub fn in_dims(&self) -> &[usize] {
        &self.0.dims.x
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.0.g
    }

    pub(super) fn dims(&self) -> &Dims {
        &self.0.dims
    }

    /// Dimensions of the weights.
    pub fn weight_dims(&self) -> &[usize] {
        &self.0.dims.w
    }
}

impl<T: Real, const D: usize> Function<T> for Conv<D> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        self.0.infer("convolution", inputs)
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.0.scratch_len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        check_len("convolution", "x", self.0.g.x_len(), x[0].len());
        check_len("convolution", "w", self.0.g.w_len(), x[1].len());
        check_len("convolution", "y", self.0.g.y_len(), y.len());
        self.0.correlate.run(x[0], x[1], x.get(2).copied(), y, Write::Set, scratch, &self.0.par);
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
        check_len("convolution", "dy", self.0.g.y_len(), dy.len());
        if let Some((dx, onto)) = check::want(dx, 0) {
            check_len("convolution", "dx", self.0.g.x_len(), dx.len());
            self.0.spread.run(dy, x[1], None, dx, onto, scratch, &self.0.par);
        }
        let [_, dw, rest @ ..] = dx else { return };
        let (dw, db) = (check::want(std::slice::from_mut(dw), 0), check::want(rest, 0));
        if dw.is_some() || db.is_some() {
            check_len("convolution", "x", self.0.g.x_len(), x[0].len());
            self.0.weights.run(x[0], dy, dw, db, scratch, &self.0.par);
        }
    }
}
