//! Layers, losses and networks, each a [`crate::autodiff::Function`] with its gradient beside it.
//!
//! Arrays are laid out as `[n, channels, (z,) y, x]`.
//!
//! - Convolution: [`Conv2d`], [`Conv3d`], [`ConvTranspose2d`], [`ConvTranspose3d`]; [`FourierConv2d`] for large
//!   kernels, between which and the direct one [`convolution`] chooses.
//! - Elements: [`Pointwise`] with its [`Activation`]s, [`PRelu`], [`Softmax`], [`Dropout`].
//! - Normalisation: [`Norm`] (batch, instance, group) with [`BatchStatistics`], [`LayerNorm`].
//! - Size: [`Pool2d`], [`Pool3d`], [`Resample2d`], [`Resample3d`], [`PixelShuffle`].
//! - Matrices: [`Linear`].
//! - Networks: [`Net`] records layers; [`unet`], [`attention_unet`], [`deep_image_prior`]; [`Init`], [`Weights`],
//!   [`RunningStatistics`].
//! - Losses: [`PointLoss`], [`SsimLoss`], [`TvLoss`], [`FourierRingLoss`].
//! - Attention: [`Attention`], [`MultiHeadAttention`], [`Gate`] with [`ChannelAttention`] and [`SpatialStatistics`].

mod activation;
mod attention;
pub(crate) mod check;
mod conv;
mod dense;
mod layer_norm;
mod loss;
mod net;
mod norm;
mod pool;
mod resample;
pub(crate) mod special;

pub use activation::{Activation, PRelu, Pointwise, PointwiseParams};
pub use attention::{
    Attention, AttentionParams, ChannelAttention, Gate, GateOver, MultiHeadAttention, MultiHeadParams,
    SpatialStatistics,
};
pub use conv::{
    Conv, Conv2d, Conv3d, ConvParams, ConvTranspose, ConvTranspose2d, ConvTranspose3d, ConvTransposeParams,
    FourierConv2d, Padding, convolution,
};
pub use dense::{Dropout, Linear, LinearParams, Softmax};
pub use layer_norm::{LayerNorm, LayerNormParams};
pub use loss::{
    Distance, FourierRingLoss, LossWindow, PointLoss, PointLossParams, Reduction, SsimLoss, SsimLossParams, TvLoss,
    TvLossParams,
};
pub use net::{
    DipHead, DipMemory, DipParams, Init, Net, RunningStatistics, Statistics, UnetParams, Weights, attention_gate,
    attention_unet, deep_image_prior, unet,
};
pub use norm::{BatchStatistics, Norm, NormOver, NormParams};
pub use pool::{Pool, Pool2d, Pool3d, PoolParams, Pooling};
pub use resample::{Interpolation, PixelShuffle, Resample, Resample2d, Resample3d, ResampleParams};
