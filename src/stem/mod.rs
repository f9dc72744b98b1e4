//! The 4D-STEM data set and what one pass over it gives: virtual images, centre of mass, DPC, iDPC and iCOM.
//!
//! A frame is a diffraction pattern I(k) at one scan position; frames come from any [`crate::source::FrameSource`], in
//! memory or streamed. The usual way through:
//!
//! ```text
//! DataSet ── repaired, cropped, binned, recentred (views; nothing is copied)
//!   └─ Pass ── one streamed pass: virtual images, sums, mean pattern, centre of mass with its covariance
//!        ├─ bright_field_disk, ring_centre, BadPixels, Descan    what the calibration lacks
//!        ├─ Orientation::find                                    scan rotation, transposition and sign
//!        └─ Icom (or Dpc, then Icom)                             the phase in radians, and its standard deviation
//! ```
//!
//! - Data: [`Calibration`], [`Pixel`], [`DataSet`], [`BadPixels`], [`Descan`].
//! - The pass: [`Pass`], [`Detector`], [`Analysis`], [`Com`].
//! - Centres: [`centre_of_mass`], [`bright_field_disk`], [`ring_centre`].
//! - Phase: [`Orientation`], [`Gradient`], [`Icom`], [`Dpc`].
//!
//! - Spectra along the scan, [`ScanSpectrum`], and from them: [`side_band`] (SSB, least squares, optimum bright field),
//!   [`wdd`], [`parallax`].
//!
//! Derivations are in `docs/icom.md` and `docs/direct_phase.md`.

mod bad_pixels;
mod calibration;
mod centre;
mod com;
mod data_set;
mod descan;
mod detector;
mod dpc;
mod gradient;
mod icom;
mod moments;
mod noise;
mod orientation;
mod parallax;
mod pass;
mod ring;
mod scan_spectrum;
mod side_band;
mod view;
mod wdd;

pub use crate::detect::Edge;
pub use bad_pixels::{BadPixelParams, BadPixels, Repair};
pub use calibration::{Calibration, Pixel};
pub use centre::{Disk, DiskParams, bright_field_disk, centre_of_mass};
pub use com::Com;
pub use data_set::DataSet;
pub use descan::Descan;
pub use detector::Detector;
pub use dpc::{Dpc, DpcParams};
pub use gradient::{Boundary, Gradient};
pub use icom::{Icom, IcomParams, LowFrequency, PhaseImage};
pub use orientation::{Orientation, OrientationFit, Transposition};
pub use parallax::{ParallaxFit, ParallaxParams, ParallaxResult, parallax};
pub use pass::{Analysis, Pass, PassParams};
pub use ring::{RingParams, Rings, ring_centre};
pub use scan_spectrum::{Border, ScanSpectrum, ScanSpectrumParams};
pub use side_band::{DirectPhase, SideBandParams, Weighting, side_band};
pub use wdd::{WddParams, WddResult, wdd};
