//! Experimental files; read from the data folder, skipped where it is absent.

#[path = "../support/mod.rs"]
mod support;

mod formats;
mod hrtem_ctf;
mod hrtem_drift;
mod hrtem_zone;
mod io;
mod lorentz;
mod ptycho;
mod stem;
