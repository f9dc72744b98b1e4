//! The networks of deep image priors.

use crate::autodiff::NodeId;
use crate::error::Error;
use crate::nn::{Activation, Interpolation, Net, NormOver, Padding};
use crate::real::Real;

/// The last layers of [`deep_image_prior`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DipHead {
    /// Convolutions of 1 to so many channels and to the output, each followed by the activation, the first also by a
    /// normalisation.
    Pointwise(usize),
    /// Convolutions of 3, likewise, and the output squared: it is not negative.
    Squared(usize),
}

/// What [`deep_image_prior`] keeps for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DipMemory {
    /// All that the backward pass reads.
    #[default]
    Keep,
    /// What connects the scales; a scale is computed a second time before its backward pass
    /// ([`crate::autodiff::Graph::checkpoint`]). The same bits, in less memory and more time.
    Recompute,
}

/// Parameters of [`deep_image_prior`].
#[derive(Clone, Debug, PartialEq)]
pub struct DipParams {
    /// Channels of the scales on the way down and up, finest first.
    pub channels: Vec<usize>,
    /// Channels of the skips.
    pub skips: Vec<usize>,
    /// Channels of the output.
    pub out_channels: usize,
    /// What stands beyond the edge.
    pub mode: Padding,
    /// The last layers.
    pub head: DipHead,
    /// Slope of the leaky ReLU.
    pub slope: f64,
    /// What is kept for the backward pass.
    pub memory: DipMemory,
}

impl DipParams {
    /// For images: 16, 32, 64, 128 channels, skips of 4, 8, 16, 32, zero padding, and a head of 4 channels. The input
    /// has 32.
    ///
    /// # References
    /// Brosset et al., Ultramicroscopy 285, 114414 (2026), arXiv 2605.27139.
    pub fn image() -> Self {
        DipParams {
            channels: vec![16, 32, 64, 128],
            skips: vec![4, 8, 16, 32],
            out_channels: 1,
            mode: Padding::Zero,
            head: DipHead::Pointwise(4),
            slope: 0.01,
            memory: DipMemory::Keep,
        }
    }

    /// For volumes of several elements: the same scales, reflection, and a squared head of 16 channels. The input has
    /// 32.
    ///
    /// # References
    /// del Pozo Bueno et al., arXiv 2606.10547; Pelaez-Fernandez et al., arXiv 2606.10893.
    pub fn volume(out_channels: usize) -> Self {
        DipParams { out_channels, mode: Padding::Reflect, head: DipHead::Squared(16), ..DipParams::image() }
    }
}

/// For images.
impl Default for DipParams {
    fn default() -> Self {
        DipParams::image()
    }
}

/// The network whose structure is the prior of a deep-image-prior reconstruction, on images or volumes.
///
/// ```text
/// down    conv 3, step 2 – N – L – conv 3 – N – L
/// skip    conv 1 – N – L, of what enters the scale
/// up      linear interpolation to the size of the skip – joined with it – N – conv 3 – N – L – conv 1 – N – L
/// head    see [`DipHead`]
/// ```
///
/// with batch normalisation N by the statistics of the run, and leaky ReLU L. Names are `down.i`, `skip.i`, `up.i`
/// (scale i, finest 0) and `head`.
///
/// # Notes
/// The papers do not print the slope of the leaky ReLU; 0.01 is the default of the framework they used.
///
/// # Errors
/// [`Error::Param`] unless there are as many skips as scales, at least one, none of 0 channels; those of the layers.
pub fn deep_image_prior<T: Real>(net: &mut Net<T>, x: NodeId, p: &DipParams) -> Result<NodeId, Error> {
    if p.channels.is_empty() || p.channels.len() != p.skips.len() || p.channels.iter().chain(&p.skips).any(|&c| c == 0)
    {
        let got = format!("{:?} and {:?}", p.channels, p.skips);
        return Err(Error::param("channels and skips", got, "as many, at least one, none of them 0"));
    }
    let l = Activation::LeakyRelu { slope: p.slope };
    // A scale ends a segment.
    let end = |net: &mut Net<T>, y: NodeId| {
        if p.memory == DipMemory::Recompute {
            net.graph.checkpoint(y);
        }
        y
    };
    let mut entering = vec![x];
    for (i, &c) in p.channels.iter().enumerate() {
        let y = net.conv_norm(&format!("down.{i}.0"), entering[i], c, [3, 2], p.mode, l)?;
        let y = net.conv_norm(&format!("down.{i}.1"), y, c, [3, 1], p.mode, l)?;
        entering.push(end(net, y));
    }
    let mut y = entering[p.channels.len()];
    for (i, (&c, &s)) in p.channels.iter().zip(&p.skips).enumerate().rev() {
        let skip = net.conv_norm(&format!("skip.{i}"), entering[i], s, [1, 1], p.mode, l)?;
        let up = net.resample(y, skip, Interpolation::Linear)?;
        let both = net.graph.concat(&[up, skip], 1)?;
        let both = net.norm(&format!("up.{i}"), both, NormOver::Batch)?;
        y = net.conv_norm(&format!("up.{i}.0"), both, c, [3, 1], p.mode, l)?;
        y = net.conv_norm(&format!("up.{i}.1"), y, c, [1, 1], p.mode, l)?;
        end(net, y);
    }
    let (kernel, hidden) = match p.head {
        DipHead::Pointwise(hidden) => (1, hidden),
        DipHead::Squared(hidden) => (3, hidden),
    };
    y = net.conv_norm("head.0", y, hidden, [kernel, 1], p.mode, l)?;
    y = net.conv("head.1", y, p.out_channels, kernel, 1, p.mode)?;
    y = net.activation(y, l)?;
    match p.head {
        DipHead::Pointwise(_) => Ok(y),
        DipHead::Squared(_) => net.activation(y, Activation::Square),
    }
}
