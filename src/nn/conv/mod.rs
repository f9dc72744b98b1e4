//! Convolution and its gradients in one, two and three dimensions.
//!
//! - [`Conv`] ([`Conv2d`], [`Conv3d`]): the layer; stride, dilation, padding, groups, bias.
//! - [`FourierConv2d`]: the same for large kernels; [`convolution`] chooses.
//! - [`ConvTranspose`] ([`ConvTranspose2d`], [`ConvTranspose3d`]): its adjoint as a layer.
//!
//! Inside: `geometry` has sizes and which pixel a tap reads, `correlate` the forward pass, `spread` the data gradient
//! (and the transposed convolution), `weight_gradient` the gradient in the weights. Their inner loops are in
//! `simd::conv`.

pub(crate) mod correlate;
mod fourier;
pub(crate) mod geometry;
mod layer;
#[cfg(test)]
mod naive;
pub(crate) mod spread;
mod transposed;
pub(crate) mod weight_gradient;
pub(crate) use layer::three;

pub use fourier::{FourierConv2d, convolution};
pub use layer::{Conv, Conv2d, Conv3d, ConvParams, Padding};
pub use transposed::{ConvTranspose, ConvTranspose2d, ConvTranspose3d, ConvTransposeParams};
