//! Image and volume metrics: Fourier ring and shell correlation, similarity, phase comparison.
