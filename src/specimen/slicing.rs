//! Where the specimen is cut into slices.

use crate::error::Error;
use crate::specimen::Atoms;
use crate::units::Length;

/// More slices than this are a mistake, found before they are allocated.
const MAX_SLICES: usize = 1_000_000;

/// How a specimen of height lz is cut along the beam.
#[derive(Clone, Debug, PartialEq)]
pub enum Slicing {
    /// Slices of equal thickness, at most this: ⌈lz/thickness⌉ of them.
    Thickness(Length),
    /// This many slices of equal thickness.
    Count(usize),
    /// One slice a plane of atoms, cut half way between planes; atoms whose z differ by less than the tolerance are one plane.
    Planes {
        /// Largest distance of neighbouring atoms in a plane.
        tolerance: Length,
    },
    /// At these heights, from 0 to lz.
    Boundaries(Vec<Length>),
}

/// Slices of 2 Å.
impl Default for Slicing {
    fn default() -> Self {
        Slicing::Thickness(Length::angstrom(2.0))
    }
}

impl Slicing {
    /// The n + 1 boundaries of n slices, Å, from 0 to `lz`.
    ///
    /// # Errors
    /// [`Error::Param`] for a thickness, number or tolerance that is not positive, more than 10⁶ slices, boundaries that do not increase from 0 to
    /// the height of the specimen.
    pub(crate) fn boundaries(&self, atoms: &Atoms, lz: f64) -> Result<Vec<f64>, Error> {
        let equal = |n: usize| (0..=n).map(|i| lz * i as f64 / n as f64).collect();
        match self {
            Slicing::Thickness(t) => {
                let t = t.to_angstrom();
                // A hair less, so that a height of exactly n slices gives n.
                let n = (lz / t - 1e-6).ceil().max(1.0);
                if !(t > 0.0 && n <= MAX_SLICES as f64) {
                    return Err(Error::param(
                        "slicing",
                        format!("{t} Å of {lz} Å"),
                        "a positive thickness, at most 10⁶ slices",
                    ));
                }
                Ok(equal(n as usize))
            }
            Slicing::Count(n) if (1..=MAX_SLICES).contains(n) => Ok(equal(*n)),
            Slicing::Count(n) => Err(Error::param("slicing", n, "1 to 10⁶ slices")),
            Slicing::Planes { tolerance } => {
                let tolerance = tolerance.to_angstrom();
                if !(tolerance > 0.0 && tolerance.is_finite()) {
                    return Err(Error::param("tolerance", tolerance, "a positive length"));
                }
                let mut z: Vec<f64> = atoms.atoms.iter().map(|a| a.position[0]).collect();
                z.sort_by(f64::total_cmp);
                let mut b = vec![0.0];
                for pair in z.windows(2) {
                    let middle = 0.5 * (pair[0] + pair[1]);
                    if pair[1] - pair[0] > tolerance && middle > 0.0 && middle < lz {
                        b.push(middle);
                    }
                }
                b.push(lz);
                Ok(b)
            }
            Slicing::Boundaries(b) => {
                let b: Vec<f64> = b.iter().map(|b| b.to_angstrom()).collect();
                let ends = b.len() >= 2 && b[0] == 0.0 && (b[b.len() - 1] - lz).abs() < 1e-6 * lz;
                if !(ends && b.len() <= MAX_SLICES && b.windows(2).all(|w| w[1] > w[0])) {
                    return Err(Error::param(
                        "slicing",
                        format!("{} boundaries of {lz} Å", b.len()),
                        "heights that increase from 0 to that of the cell",
                    ));
                }
                Ok(b)
            }
        }
    }
}

/// The slice that a height belongs to: its lower boundary is its own (with a tolerance of 1e-9 Å), what lies outside goes to
/// the first or the last.
pub(crate) fn slice_of(boundaries: &[f64], z: f64) -> usize {
    let above = boundaries.partition_point(|&b| b <= z + 1e-9);
    above.saturating_sub(1).min(boundaries.len() - 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::crystals;

    #[test]
    fn slices_cover_the_cell_and_planes_are_found() {
        let sto = crystals::strontium_titanate().repeated([1, 1, 3]).unwrap();
        let lz = 3.0 * 3.905;
        let b = |s: Slicing| s.boundaries(&sto, lz);
        assert_eq!(b(Slicing::Thickness(Length::angstrom(3.905 / 2.0))).unwrap().len(), 7);
        assert_eq!(b(Slicing::Thickness(Length::angstrom(2.0))).unwrap().len(), 7);
        assert_eq!(b(Slicing::Planes { tolerance: Length::angstrom(0.1) }).unwrap().len(), 7);
        for bad in [
            Slicing::Thickness(Length::ZERO),
            Slicing::Thickness(Length::angstrom(f64::NAN)),
            Slicing::Thickness(Length::angstrom(1e-9)),
            Slicing::Count(0),
            Slicing::Planes { tolerance: Length::ZERO },
            Slicing::Boundaries(vec![Length::ZERO]),
            Slicing::Boundaries(vec![Length::ZERO, Length::angstrom(5.0), Length::angstrom(4.0), Length::angstrom(lz)]),
        ] {
            assert!(matches!(b(bad.clone()), Err(Error::Param { .. })), "{bad:?}");
        }
        let b = [0.0, 1.0, 2.0];
        assert_eq!([-0.1, 0.0, 0.99, 1.0 - 1e-12, 1.0, 2.0, 9.0].map(|z| slice_of(&b, z)), [0, 0, 0, 1, 1, 1, 1]);
    }
}
