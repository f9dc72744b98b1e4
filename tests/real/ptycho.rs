//! `ptycho`.
