//! Multislice: fast electrons through thick specimens.
//!
//! The specimen is cut into slices; each multiplies the wave by its transmission `exp(iσV)`, and free space carries it to the next. The same code
//! simulates data and is differentiated by reconstructions.
//!
//! - [`MultisliceParams`], [`BandLimit`]; [`Multislice`]: waves through slices, thickness series; [`Transmission`].
//! - [`Multislice::scan`]: patterns of a scan, streamed.
//! - [`MultisliceFunction`]: with gradients with respect to the potential, the incident waves, slice thicknesses and the tilt;
//!   [`ProbeFunction`]: incident waves with gradients with respect to aberrations and positions.
//! - [`Prism`]: the same probes by interpolation between plane waves.
//! - [`diffraction`], [`HrtemImage`], [`transmission_cross_coefficient`]: from exit waves to intensities.
//!
//! Derivations are in `docs/multislice.md`.

mod engine;
mod function;
mod imaging;
mod own;
mod params;
mod plan;
mod prism;
mod probe_function;
mod scan;

pub use function::MultisliceFunction;
pub use imaging::{Averaging, HrtemImage, diffraction, raster, transmission_cross_coefficient};
pub(crate) use imaging::{Shifted, ShiftedLens, points};
pub use params::{BandLimit, MultisliceParams};
pub use plan::{Multislice, MultisliceScratch, Transmission};
pub use prism::Prism;
pub use probe_function::ProbeFunction;
pub use scan::Sink;
