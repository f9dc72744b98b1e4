//! Dense linear algebra and Krylov solvers.

pub mod gemm;
mod eigen;
pub use eigen::{Eigen, hermitian_eigen, symmetric_eigen};
mod dense;
