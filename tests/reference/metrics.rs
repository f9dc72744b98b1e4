//! `metrics`.
