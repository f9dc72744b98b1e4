//! Detectors: from expected intensities to what is recorded.
//!
//! - [`ring`], [`Edge`]: annular and segmented detectors; [`collect`]: what they, or any weights, receive of simulated patterns.
//! - [`count`]: electrons counted at a dose.
//! - [`Camera`], [`CameraParams`], [`Transfer`]: modulation transfer, noise transfer and detective quantum efficiency, readout noise.
//! - [`count_events`], [`EventCameraParams`]: electrons counted one by one while the image moves, with spread and coincidence.
//! - [`fractionate`], [`Fractionation`]: one exposure as a series of drifting frames.
//!
//! [`crate::stem`] uses the same rings on recorded data. Derivations are in `docs/detect.md`.

mod camera;
mod collect;
mod count;
mod events;
mod fractionate;
mod ring;

pub use camera::{Camera, CameraParams, Transfer};
pub use collect::collect;
pub use count::count;
pub use events::{EventCameraParams, count_events};
pub use fractionate::{Fractionation, fractionate};
pub use ring::{Edge, ring};
