//! Dense linear algebra and Krylov solvers.

pub mod gemm;
