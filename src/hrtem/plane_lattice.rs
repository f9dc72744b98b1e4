//! A lattice in the plane.

/// t
#[derive(Debug, Clone)]
pub struct PlaneLattice;
/// t
#[derive(Debug, Clone)]
pub struct PlaneLatticeFit;
/// t
#[derive(Debug, Clone)]
pub struct PlaneLatticeParams;
