//! U-Nets: plain, and with attention gates on the skips.

use crate::autodiff::NodeId;
use crate::error::Error;
use crate::nn::attention::{Gate, GateOver};
use crate::nn::{Activation, Interpolation, Net, NormOver, Padding, Pooling};
use crate::real::Real;

/// Parameters of [`unet`] and [`attention_unet`].
#[derive(Clone, Debug, PartialEq)]
pub struct UnetParams {
    /// Channels of the levels, finest first.
    pub channels: Vec<usize>,
    /// Channels of the output.
    pub out_channels: usize,
    /// What stands beyond the edge.
    pub mode: Padding,
    /// How the size is halved between levels.
    pub pooling: Pooling,
    /// How the size is doubled again.
    pub interpolation: Interpolation,
    /// After every normalisation.
    pub activation: Activation,
}

/// Five levels of 32, 64, 128, 128, 128 channels; reflection, mean, linear interpolation, leaky ReLU of slope 0.2; one
/// output.
impl Default for UnetParams {
    fn default() -> Self {
        UnetParams {
            channels: vec![32, 64, 128, 128, 128],
            out_channels: 1,
            mode: Padding::Reflect,
            pooling: Pooling::Average,
            interpolation: Interpolation::Linear,
            activation: Activation::LeakyRelu { slope: 0.2 },
        }
    }
}

/// Two times convolution of 3, batch normalisation, activation.
fn block<T: Real>(net: &mut Net<T>, name: &str, x: NodeId, c: usize, p: &UnetParams) -> Result<NodeId, Error> {
    let x = net.conv_norm(&format!("{name}.0"), x, c, [3, 1], p.mode, p.activation)?;
    net.conv_norm(&format!("{name}.1"), x, c, [3, 1], p.mode, p.activation)
}

/// The way down: what each level gives, finest first; at least one.
fn descend<T: Real>(net: &mut Net<T>, x: NodeId, p: &UnetParams) -> Result<Vec<NodeId>, Error> {
    if p.channels.is_empty() || p.channels.contains(&0) {
        return Err(Error::param("channels", format!("{:?}", p.channels), "at least one level, none of 0 channels"));
    }
    let mut levels = Vec::new();
    let mut y = x;
    for (i, &c) in p.channels.iter().enumerate() {
        if i > 0 {
            y = net.pool(y, p.pooling)?;
        }
        y = block(net, &format!("down.{i}"), y, c, p)?;
        levels.push(y);
    }
    Ok(levels)
}

/// A U-Net on images or volumes: blocks of two convolutions, the size halved from level to level; back up, each level's
/// result is interpolated to the size of the next finer one and joined with what that level gave on the way down; a
/// convolution of 1 at the end.
///
/// Names are `down.i`, `up.i` (level i, finest 0) and `head`.
///
/// # Errors
/// [`Error::Param`] for no level or a size of 0; those of the layers for an input that cannot be halved often enough.
///
/// # References
/// O. Ronneberger, P. Fischer, T. Brox, arXiv 1505.04597; volumes: Ö. Çiçek et al., arXiv 1606.06650.
pub fn unet<T: Real>(net: &mut Net<T>, x: NodeId, p: &UnetParams) -> Result<NodeId, Error> {
    let levels = descend(net, x, p)?;
    let mut y = levels[levels.len() - 1];
    for i in (0..levels.len() - 1).rev() {
        let up = net.resample(y, levels[i], p.interpolation)?;
        let both = net.graph.concat(&[up, levels[i]], 1)?;
        y = block(net, &format!("up.{i}"), both, p.channels[i], p)?;
    }
    net.conv("head", y, p.out_channels, 1, 1, Padding::Zero)
}

/// An additive attention gate on images: `x σ(N(w · max(N(W_g g) + N(W_x x), 0)))`, W and w convolutions of 1, N batch
/// normalisations, g of the size of x; `hidden` channels within.
///
/// # Errors
/// Those of the layers.
///
/// # References
/// O. Oktay et al., arXiv 1804.03999, eqs. (1), (2).
pub fn attention_gate<T: Real>(
    net: &mut Net<T>,
    name: &str,
    x: NodeId,
    g: NodeId,
    hidden: usize,
) -> Result<NodeId, Error> {
    let mut project = |part: &str, v: NodeId, c: usize| -> Result<NodeId, Error> {
        let v = net.conv(&format!("{name}.{part}"), v, c, 1, 1, Padding::Zero)?;
        net.norm(&format!("{name}.{part}"), v, NormOver::Batch)
    };
    let (from_g, from_x) = (project("g", g, hidden)?, project("x", x, hidden)?);
    let sum = net.graph.add(from_g, from_x)?;
    let sum = net.activation(sum, Activation::Relu)?;
    let psi = net.conv(&format!("{name}.psi"), sum, 1, 1, 1, Padding::Zero)?;
    let psi = net.norm(&format!("{name}.psi"), psi, NormOver::Batch)?;
    let psi = net.activation(psi, Activation::Sigmoid)?;
    let gate = Gate::new(net.graph.space(x).dims(), GateOver::Pixels, net.par())?;
    net.graph.call(std::sync::Arc::new(gate), &[x, psi])
}

/// The attention U-Net: as [`unet`], with a convolution, normalisation and activation after each interpolation, and
/// each skip weighted by an [`attention_gate`] of half its channels.
///
/// Names are `down.i`, `rise.i`, `gate.i`, `up.i` and `head`.
///
/// # Errors
/// As [`unet`].
///
/// # References
/// O. Oktay et al., arXiv 1804.03999; sizes as in 4D-MISR: Z. Wang et al., arXiv 2507.09953 (64 to 1024 channels, ReLU,
/// largest of 2 × 2, nearest).
pub fn attention_unet<T: Real>(net: &mut Net<T>, x: NodeId, p: &UnetParams) -> Result<NodeId, Error> {
    let levels = descend(net, x, p)?;
    let mut y = levels[levels.len() - 1];
    for i in (0..levels.len() - 1).rev() {
        let c = p.channels[i];
        let up = net.resample(y, levels[i], p.interpolation)?;
        let up = net.conv_norm(&format!("rise.{i}"), up, c, [3, 1], p.mode, p.activation)?;
        let skip = attention_gate(net, &format!("gate.{i}"), levels[i], up, (c / 2).max(1))?;
        let both = net.graph.concat(&[skip, up], 1)?;
        y = block(net, &format!("up.{i}"), both, c, p)?;
    }
    net.conv("head", y, p.out_channels, 1, 1, Padding::Zero)
}
