//! The published parameters of the scattering factors: facts, transcribed.

pub(super) mod kirkland;
pub(super) mod lobato;
pub(super) mod peng;
pub(super) mod peng_ions;
