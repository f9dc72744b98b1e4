//! Electron optics: constants, aberrations, apertures, envelopes, contrast transfer, probes.
//!
//! Every wave factor of the lens is `T(k) = A(k) E(k) exp(−iχ(k))`, the same one for images (a transfer function) and
//! for probes. Spatial frequencies are `k = [ky, kx]` in 1/Å, angles `α = λk`, azimuths `φ = atan2(ky, kx)`: from the
//! axis of columns (x) towards the axis of rows (y). `C10 = −defocus`: positive defocus is underfocus.
//!
//! - [`constants`]: CODATA values; wavelength, mass factor, velocity and interaction parameter of the beam electron.
//! - [`Grid`]: the pixels that transfer functions and probes are sampled on.
//! - [`Aberration`], [`Aberrations`], [`CartesianAberrations`]: all coefficients to fifth order, polar and Cartesian.
//! - [`Chi`]: the aberration phase χ, its gradient in k and its gradients with respect to every coefficient;
//!   [`ChiOp`]: coefficients → χ on a grid, as a linear operator with its adjoint.
//! - [`conventions`]: to and from the conventions of other programs and of the CEOS (Uhlemann–Haider) notation.
//! - [`Aperture`]: hard, soft, cosine edge.
//! - [`FocalSpread`], [`SourceAngle`], [`Coherence`]: partial coherence.
//! - [`Ctf`]: the transfer function in two dimensions and along a radius.
//! - [`LensTransfer`]: the transfer function of a lens of few terms with its derivatives, for fits.
//! - [`Probe`]: the incident wave of unit intensity, anywhere.

mod aberrations;
mod aperture;
mod chi;
mod chi_op;
mod coherence;
pub mod constants;
pub mod conventions;
mod ctf;
mod grid;
mod lens;
mod probe;

pub use aberrations::{Aberration, Aberrations, Cartesian, CartesianAberrations, Polar};
pub use aperture::Aperture;
pub use chi::{Chi, Coefficients, chi_basis, chi_basis_gradient};
pub use chi_op::ChiOp;
pub use coherence::{Coherence, FocalSpread, SourceAngle, coupled_envelope, spatial_envelope, temporal_envelope};
pub use constants::{CODATA_2014, CODATA_2018, Constants, interaction_parameter, wavelength};
pub use ctf::{Ctf, CtfParams};
pub use grid::Grid;
pub use lens::{LensNumbers, LensTransfer, LogGradient};
pub use probe::{Probe, ProbeParams, UnitIntensity};
