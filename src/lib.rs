//! Low-dose electron microscopy in pure Rust: from atoms and counted electrons to images, phases and what they can be
//! trusted for.
//!
//! One crate without C, framework or global state. It is to be linked by programs, embedded in instruments, and audited
//! by scientists: each formula stands beside the code that computes it, with the same letters, its paper and the test
//! that proves it.
//!
//! # Example
//!
//! A low-dose 4D-STEM scan, simulated and reconstructed by the same model:
//!
//! ```
//! use exitwave::fft::fft_shift;
//! use exitwave::num_complex::Complex;
//! use exitwave::observe::silent;
//! use exitwave::optics::{Aberrations, Aperture, Grid, Probe, ProbeParams};
//! use exitwave::par::Par;
//! use exitwave::ptycho::{Patterns, Positions, PtychoParams, Ptychography, ZeroFrequency, count_electrons, grid, simulate};
//! use exitwave::tensor::Tensor;
//! use exitwave::units::{Angle, Dose, Energy, Length};
//!
//! // 12 × 12 positions, 1 Å apart; windows of 32 pixels of 0.25 Å; a weak phase object.
//! let (pixel, step) = (Length::angstrom(0.25), Length::angstrom(1.0));
//! let positions = Positions::new(&grid([12, 12], [step; 2], Angle::ZERO), [pixel; 2], [32, 32], 0)?;
//! let object = Tensor::from_fn(&positions.object, |i| Complex::from_polar(1.0f32, 0.3 * (i[0] as f32 * 0.4).sin()));
//!
//! // A probe of 25 mrad at 300 kV, focused 10 nm above the specimen: overfocus, C10 = +100 Å.
//! let probe = Probe::<f32>::new(&ProbeParams {
//!     energy: Energy::kev(300.0),
//!     aperture: Aperture::Soft { semi_angle: Angle::mrad(25.0) },
//!     aberrations: Aberrations::from_defocus(Length::nm(-10.0)),
//!     grid: Grid { dims: [32, 32], sampling: [pixel; 2] },
//!     ..ProbeParams::default()
//! })?;
//! let electrons = Dose::per_angstrom2(1000.0) * (step * step);
//! let probe = probe.real([pixel * 16.0; 2])?.map(|z| z.scale((electrons as f32).sqrt()));
//!
//! // Expected intensities, then counts.
//! let par = Par::threads(2)?;
//! let mut data = simulate(&object, &probe.clone().reshape(&[1, 32, 32])?, &positions, ZeroFrequency::Center, &par)?;
//! count_electrons(&mut data, 7, &par);
//!
//! // Plan, ask, execute.
//! let patterns = Patterns::from_tensor(data, ZeroFrequency::Center, None)?;
//! let plan = Ptychography::new(patterns, positions, PtychoParams { par, ..PtychoParams::default() })?;
//! assert!(plan.workspace_bytes(1) < 10_000_000);
//! let outcome = plan.run(plan.start(probe)?, 5, &mut silent)?;
//! assert!(outcome.state.loss[4] < outcome.state.loss[0]);
//! # Ok::<(), exitwave::Error>(())
//! ```
//!
//! # Rooms
//!
//! A room uses rooms above it in this table only, or rows above it on its own floor; never in a circle.
//!
//! | floor | room | what is in it |
//! |---|---|---|
//! | 0 | [`error`] | the one [`Error`] |
//! | | [`units`] | lengths, angles, energies, doses … as types |
//! | | [`real`] | the scalars, `f32` and `f64` |
//! | | [`shape`] | sizes that are checked before memory is asked for, memory limits |
//! | | [`tensor`] | contiguous arrays of any dimension |
//! | | [`par`] | threads, with the same bits for any number of them |
//! | | [`rng`] | random streams, normal and Poisson numbers |
//! | | [`observe`] | progress and cancelling |
//! | | [`source`] | frames that need not fit into memory |
//! | | [`simd`] | vector kernels |
//! | 1 | [`op`] | linear operators with their adjoints, the dot test |
//! | | [`fft`] | Fourier transforms, shifts, crops, sub-pixel shifts |
//! | | [`linalg`] | matrix products, eigenvalues, singular values, least squares, Krylov solvers |
//! | 2 | [`autodiff`] | gradients: graph, plan, session; functions with hand-written vector–Jacobian products |
//! | | [`optim`] | SGD, Adam, L-BFGS, conjugate gradients, schedules; proximal and primal–dual solvers |
//! | 3 | [`nn`] | layers, losses, U-Nets and deep image priors |
//! | | [`optics`] | the electron, aberrations, transfer functions, probes |
//! | | [`specimen`] | atoms, cells, scattering factors, potentials, thermal motion |
//! | | [`metrics`] | Fourier ring and shell correlation, similarity, registration, dose |
//! | 4 | [`multislice`] | transmission and propagation through thick specimens, PRISM, images; their adjoints |
//! | | [`detect`] | counting statistics, detector response, dose fractionation |
//! | 5 | [`stem`] | 4D data sets, virtual detectors, centre of mass, iDPC, iCOM, SSB, Wigner deconvolution, parallax |
//! | | [`ptycho`] | iterative ptychography |
//! | | [`lorentz`] | magnetic phase, Lorentz images, phase from focal series, induction maps, holography |
//! | | [`hrtem`] | zone axes, drift, defocus and transfer function, exit waves, crystal symmetry, 3D potentials, at low dose |
//! | 6 | [`io`] | files (feature `io`, on by default) |
//! | | [`render`] | pictures (feature `io`) |
//!
//! # Conventions
//!
//! They hold everywhere and are stated here once. [`optics::conventions`] converts to and from those of other programs.
//!
//! **Units.** Inside, lengths are Å, spatial frequencies 1/Å, angles rad, energies eV, potentials V, charge is counted
//! in electrons, induction is in T. Parameters and results have a unit in their type ([`units`]); kernels see plain
//! numbers in these units.
//!
//! **Axes.** Arrays are row-major and contiguous. Images are `[y, x]`, stacks `[n, y, x]`, volumes `[z, y, x]`, 4D-STEM
//! data `[scan_y, scan_x, det_y, det_x]`; spectra have their energy axis last. Pairs of numbers, such as steps and
//! positions, come in the same order, `[y, x]`. An azimuth φ is measured from x (columns) towards y (rows).
//!
//! **Transforms.** Forward is `Σ f e^{−2πi kx}`, unnormalised; inverse has `1/N`. Operators that must be unitary use
//! `1/√N` both ways. The zero frequency is at index 0 of every spectrum; detector images are as recorded, with the
//! direct beam somewhere in the middle; [`fft::fft_shift`] and [`fft::ifft_shift`] are the only bridge.
//!
//! **Waves.** A plane wave is `e^{+2πi k·r}`. A specimen multiplies it by the transmission `exp(+iσV)`, free space by
//! the propagator `exp(−iπλΔz k²)`, a lens by `exp(−iχ)`.
//!
//! **Aberrations.** `χ = (2π/λ) Σ (λk)^{n+1}/(n+1) · C_nm cos m(φ − φ_nm)`. `C10 = −defocus`; positive defocus is
//! underfocus. A probe that is focused 50 nm above the surface is overfocused, C10 = +500 Å.
//!
//! **Interaction parameter.** `σ = 2π m e λ/h²` with the relativistic mass m = γm₀; constants are those of CODATA 2018.
//!
//! **Envelopes.** Source semi-angle and focal spread are 1/e half-widths or standard deviations, and the type says
//! which; they differ by √2.
//!
//! **Dose.** Electrons per Å² of the scanned or imaged area. One probe position gets dose · step_y · step_x;
//! intensities are expected electrons a pixel.
//!
//! **Band limit, resolution.** Simulated waves are limited to 2/3 of the Nyquist frequency. A Fourier ring correlation
//! is given with its 1/7 and half-bit curves, and never quoted beyond 2/3 of the data's Nyquist frequency.
//!
//! **Gradients.** For a real loss L and z = a + ib, `g = ∂L/∂a + i ∂L/∂b`; hence `y = A x ⇒ g_x = Aᴴ g_y`.
//!
//! # What holds everywhere
//!
//! - **Plan, ask, execute.** What does work is built by `new(params) -> Result<Self, Error>`, which checks everything
//!   and allocates; it tells its memory before it runs, and runs with `&self` on slices, without allocating where it is
//!   hot.
//! - **Errors.** No file, shape, NaN or parameter makes the crate panic, hang or exhaust the memory: it returns an
//!   [`Error`] with the numbers. Only slices of a wrong length inside hot paths panic, as documented there. Not
//!   converging is a result, not an error.
//! - **Threads.** [`par::Par`] is a parameter. Results are the same bits for any number of threads on one machine;
//!   between processors with different vector units the last bits may differ, since those of `rustfft` do.
//! - **Random numbers.** A seed gives the same numbers for any number of threads: each frame has its own stream.
//! - **Progress.** What can take over a second takes an observer, which can end it: the best answer so far is returned.
#![warn(rust_2018_idioms)]

pub mod autodiff;
pub mod detect;
pub mod error;
pub mod fft;
// What no reader of files needs is left out of fuzzing, where building takes longer than running.
#[cfg(not(fuzzing))]
pub mod hrtem;
#[cfg(feature = "io")]
pub mod io;
pub mod linalg;
#[cfg(not(fuzzing))]
pub mod lorentz;
pub mod metrics;
pub mod multislice;
pub mod nn;
pub mod observe;
pub mod op;
pub mod optics;
pub mod optim;
pub mod par;
pub mod ptycho;
pub mod real;
#[cfg(feature = "io")]
pub mod render;
pub mod rng;
pub mod shape;
pub mod simd;
pub mod source;
pub mod specimen;
pub mod stem;
pub mod tensor;
pub mod units;

pub use error::Error;
pub use num_complex;

/// The README's example compiles.
#[cfg(all(doctest, feature = "io"))]
#[doc = include_str!("../README.md")]
struct Readme;
