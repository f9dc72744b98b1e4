//! Dense linear algebra and Krylov solvers.
//!
//! Dense matrices are slices, row-major; a matrix of shape (m, n) has the element i, j at `i·n + j`. The factorisations
//! compute in `f64` for both scalars and round their results once. All reject NaN and infinities with an error, and
//! none uses threads.
//!
//! - [`gemm`]: matrix products.
//! - [`eigen`]: eigenvalues and eigenvectors of symmetric and Hermitian matrices.
//! - [`svd`]: singular value decomposition by one-sided Jacobi rotations.
//! - [`lstsq`]: linear systems and least squares by Cholesky, QR and SVD.
//! - [`nnls`]: non-negative least squares.
//! - [`krylov`]: conjugate gradients and LSQR on any [`crate::op::LinearOp`].

mod dense;
pub mod eigen;
pub mod gemm;
mod householder;
pub mod krylov;
pub mod lstsq;
pub mod nnls;
pub mod svd;
