//! `linalg`.
