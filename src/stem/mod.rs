//! The 4D-STEM data set and what is computed from it directly.
