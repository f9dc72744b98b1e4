//! Multislice.
