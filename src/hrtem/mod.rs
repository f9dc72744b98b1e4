//! Low-dose high-resolution TEM: from a crystal off its zone axis to a structure.
//!
//! Positions in pictures and patterns are `[y, x]` in pixels or 1/Å; defocus is positive for underfocus; a frame's drift is
//! the shift that its content has, and is removed by shifting the frame by its negative.
//!
//! **The plane lattice**: [`PlaneLattice`], found in the peaks of a spectrum or a diffraction pattern, refined, indexed.
//!
//! **Crystallographic processing** of a picture: [`find_image_lattice`], [`measure_reflections`], [`rank_plane_groups`] over
//! [`PlaneGroup`]s and their [`PlaneSetting`]s, [`impose_plane_group`]; [`average_unit_cell`] with [`unbend`].
//!
//! **The potential in three dimensions** from pictures along two zone axes or more: [`zone_bases`], [`combine_zones`] under a
//! [`SpaceGroup`], [`CrystalReflections::volume`]; what it should be, [`crystal_reflections`].

mod combine_zones;
mod crystal_factors;
mod image_lattice;
mod image_reflections;
mod lattice_transform;
mod origin_map;
mod plane_group_search;
mod plane_groups;
mod plane_lattice;
mod potential_3d;
mod space_group;
mod unit_cell;
mod zone_bases;

pub use combine_zones::{CombineZonesParams, CombinedZones, PlacedZone, Zone, combine_zones};
pub use crystal_factors::{crystal_factors, crystal_reflections};
pub use image_lattice::{ImageLattice, ImageLatticeParams, find_image_lattice};
pub use image_reflections::{PlaneReflection, PlaneReflections, ReflectionsParams, measure_reflections};
pub use plane_group_search::{
    PlaneGroupFit, PlaneGroupParams, PlaneGroupRanking, impose_plane_group, rank_plane_groups,
};
pub use plane_groups::{PlaneGroup, PlaneMetric, PlaneOperation, PlaneSetting, PlaneSystem, plane_settings};
pub use plane_lattice::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
pub use potential_3d::{CrystalReflection, CrystalReflections, PotentialPeak};
pub use space_group::{SpaceGroup, SpaceOperation};
pub use unit_cell::{Bend, UnitCell, UnitCellParams, average_unit_cell, unbend};
pub use zone_bases::{ZoneBasesParams, zone_bases};
