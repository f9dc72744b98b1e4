//! Attention.
//!
//! - [`Attention`]: scaled-dot-product attention of queries, keys and values; [`MultiHeadAttention`] with its
//!   projections.
//! - [`Gate`]: a map that weights channels, pixels or both; [`ChannelAttention`] and [`SpatialStatistics`] make such
//!   maps.

mod gate;
pub(crate) mod head;
mod multi_head;
mod scores;
mod sdpa;

pub use gate::{ChannelAttention, Gate, GateOver, SpatialStatistics};
pub use multi_head::{MultiHeadAttention, MultiHeadParams};
pub use sdpa::{Attention, AttentionParams};
