//! Numbers computed by other programs; read from the data folder, skipped where it is absent.

#[path = "../support/mod.rs"]
mod support;

mod autodiff;
mod direct_phase;
mod metrics;
mod multislice;
mod nn;
mod optics;
mod optim;
mod ptycho;
mod stem;
