//! Iterative ptychography.
