//! `optics`.
