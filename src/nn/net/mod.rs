//! Networks: layers recorded into a graph, with named weights.
//!
//! - [`Net`]: the recorder; [`Init`], [`Weights`]: how weights start, and all of them by name.
//! - [`RunningStatistics`], [`Statistics`]: by what a network that was trained on many images evaluates one.
//! - [`unet`], [`attention_unet`], [`attention_gate`]: U-Nets.
//! - [`deep_image_prior`]: the networks of deep image priors.

mod dip;
mod record;
mod running;
mod unet;
mod weights;

pub use dip::{DipHead, DipMemory, DipParams, deep_image_prior};
pub use record::Net;
pub use running::{RunningStatistics, Statistics};
pub use unet::{UnetParams, attention_gate, attention_unet, unet};
pub use weights::{Init, Weights};
