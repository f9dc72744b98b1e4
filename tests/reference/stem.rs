//! `stem`.
