//! Layers, losses and networks, each a [`crate::autodiff::Function`] with its gradient beside it.
//!
//! Arrays are laid out as `[n, channels, (z,) y, x]`.
//!
//! - Convolution: [`Conv2d`], [`Conv3d`], [`ConvTranspose2d`], [`ConvTranspose3d`].

pub(crate) mod check;
mod conv;

pub use conv::{
    Conv, Conv2d, Conv3d, ConvParams, ConvTranspose, ConvTranspose2d, ConvTranspose3d, ConvTransposeParams, Padding,
};
