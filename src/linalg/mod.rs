//! Dense linear algebra and Krylov solvers.

mod eigen;
pub mod gemm;
pub use eigen::{Eigen, hermitian_eigen, symmetric_eigen};
mod dense;
