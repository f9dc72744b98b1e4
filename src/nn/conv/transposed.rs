//! Transposed convolution as a layer, in two and three dimensions.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::conv::Padding;
use crate::nn::conv::geometry::{Axis, Geometry};
use crate::nn::conv::layer::{Dims, Kernels, per_group, three};
use crate::nn::conv::weight_gradient::row_sum;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;

/// Parameters of [`ConvTranspose2d`] (D = 2) and [`ConvTranspose3d`] (D = 3).
#[derive(Clone, Debug)]
pub struct ConvTransposeParams<const D: usize> {
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
    /// Step of the input on the output, s.
    pub stride: [usize; D],
    /// Distance of the taps, d.
    pub dilation: [usize; D],
    /// Pixels that are cut off on either side, p.
    pub padding: [usize; D],
    /// Pixels that are added at the end, less than the stride.
    pub output_padding: [usize; D],
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// On how many threads.
    pub par: Par,
}

/// One image of one channel and one pixel; kernel and stride 2: the size is doubled.
impl<const D: usize> Default for ConvTransposeParams<D> {
    fn default() -> Self {
        ConvTransposeParams {
            batch: 1,
            channels: 1,
            size: [1; D],
            out_channels: 1,
            kernel: [2; D],
            stride: [2; D],
            dilation: [1; D],
            padding: [0; D],
            output_padding: [0; D],
            groups: 1,
            par: Par::default(),
        }
    }
}

/// Transposed convolution of images; see [`ConvTranspose`].
pub type ConvTranspose2d = ConvTranspose<2>;
/// Transposed convolution of volumes; see [`ConvTranspose`].
pub type ConvTranspose3d = ConvTranspose<3>;

/// Transposed convolution, the adjoint of [`crate::nn::Conv`] in its input, plus a bias:
///
/// ```text
/// y[n, o, u] = b[o] + Σ_c Σ_{κ, t: s t + d κ − p = u} w[c, o, κ] x[n, c, t]
/// size of y = (size − 1) s − 2p + d (k − 1) + p_out + 1
/// ```
///
/// Being an adjoint, its own gradients are those of the convolution with the rôles of image and gradient exchanged.
///
/// # Shapes
/// Inputs: x (n, channels, size), w (channels, out_channels / groups, kernel) and, if there is a bias, b
/// (out_channels). Output: (n, out_channels, size of y).
///
/// # References
/// V. Dumoulin, F. Visin, arXiv 1603.07285, section 4.
#[derive(Clone, Debug)]
pub struct ConvTranspose<const D: usize>(Kernels);

impl<const D: usize> ConvTranspose<D> {
    /// A transposed convolution for inputs of this shape.
    ///
    /// # Errors
    /// As [`crate::nn::Conv::new`]; [`Error::Param`] for an output padding that is not less than the stride, or an
    /// output without pixels.
    pub fn new(params: &ConvTransposeParams<D>) -> Result<Self, Error> {
        if !(1..=3).contains(&D) {
            return Err(Error::Unsupported { what: format!("transposed convolution in {D} dimensions") });
        }
        let (size, kernel) = (three(params.size, 1), three(params.kernel, 1));
        let (stride, dilation) = (three(params.stride, 1), three(params.dilation, 1));
        let (padding, extra) = (three(params.padding, 0), three(params.output_padding, 0));
        let axis = |i: usize| -> Result<Axis, Error> {
            for (name, v) in [("size", size[i]), ("kernel", kernel[i]), ("stride", stride[i])] {
                check::not_zero(name, v)?;
            }
            if extra[i] >= stride[i] {
                return Err(Error::param("output_padding", extra[i], "less than the stride"));
            }
            let full = (size[i] - 1)
                .checked_mul(stride[i])
                .and_then(|n| n.checked_add(dilation[i].checked_mul(kernel[i] - 1)?))
                .and_then(|n| n.checked_add(extra[i] + 1))
                .ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
            let output = padding[i].checked_mul(2).and_then(|p| full.checked_sub(p)).unwrap_or(0);
            if output == 0 {
                return Err(Error::param("padding", padding[i], "less than half of the output"));
            }
            Axis::new(output, kernel[i], stride[i], dilation[i], padding[i], Padding::Zero)
        };
        let g = Geometry {
            n: params.batch,
            groups: params.groups,
            ci: per_group("out_channels", params.out_channels, params.groups)?,
            co: per_group("channels", params.channels, params.groups)?,
            axes: [axis(0)?, axis(1)?, axis(2)?],
            mode: Padding::Zero,
        }
        .checked()?;
        let dims = Dims {
            x: [&[g.n, params.channels], &params.size[..]].concat(),
            w: [&[params.channels, g.ci], &params.kernel[..]].concat(),
            b: [params.out_channels],
            y: [&[g.n, params.out_channels], &g.axes.map(|a| a.input)[3 - D..]].concat(),
        };
        Ok(ConvTranspose(Kernels::new(g, dims, &params.par)))
    }

    /// Dimensions of the output.
    pub fn out_dims(&self) -> &[usize] {
        &self.0.dims.y
    }

    /// Dimensions of the weights.
    pub fn weight_dims(&self) -> &[usize] {
        &self.0.dims.w
    }
}

impl<T: Real, const D: usize> Function<T> for ConvTranspose<D> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        self.0.infer("transposed convolution", inputs)
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.0.scratch_len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        check_len("transposed convolution", "x", self.0.g.y_len(), x[0].len());
        check_len("transposed convolution", "w", self.0.g.w_len(), x[1].len());
        check_len("transposed convolution", "y", self.0.g.x_len(), y.len());
        self.0.spread.run(x[0], x[1], x.get(2).copied(), y, Write::Set, scratch, &self.0.par);
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
        check_len("transposed convolution", "dy", self.0.g.x_len(), dy.len());
        if let Some((dx, onto)) = check::want(dx, 0) {
            check_len("transposed convolution", "dx", self.0.g.y_len(), dx.len());
            self.0.correlate.run(dy, x[1], None, dx, onto, scratch, &self.0.par);
        }
        if let Some(dw) = check::want(dx, 1) {
            check_len("transposed convolution", "x", self.0.g.y_len(), x[0].len());
            self.0.weights.run(dy, x[0], Some(dw), None, scratch, &self.0.par);
        }
        if let Some((db, onto)) = check::want(dx, 2) {
            let (channels, len) = (self.0.dims.b[0], self.0.g.input_len());
            self.0.par.chunks(db, 1, |c, db| {
                let image = |n: usize| row_sum(&dy[(n * channels + c) * len..][..len]);
                write(&mut db[0], (0..self.0.g.n).map(image).sum(), onto);
            });
        }
    }
}
