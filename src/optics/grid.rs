//! The pixels that transfer functions and probes are sampled on.

use crate::error::Error;
use crate::fft::frequencies;
use crate::units::{Length, SpatialFrequency};

/// No camera and no simulation has more pixels along an axis; a larger number is a mistake, found before it allocates.
const MAX_SIDE: usize = 1 << 24;

/// Pixel sizes outside these are mistakes too; inside, no phase overflows.
const SMALLEST: Length = Length::angstrom(1e-6);
const LARGEST: Length = Length::m(1.0);

/// A periodic grid of pixels, `[y, x]`.
///
/// # Examples
/// ```
/// use exitwave::optics::Grid;
/// use exitwave::units::Length;
/// let grid = Grid { dims: [128, 256], sampling: [Length::angstrom(0.2), Length::angstrom(0.1)] };
/// assert_eq!(grid.extent()[0].to_angstrom(), 25.6);
/// assert_eq!(grid.frequency_step()[1].to_per_angstrom(), 1.0 / 25.6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Number of pixels, `[ny, nx]`.
    pub dims: [usize; 2],
    /// Size of a pixel, `[dy, dx]`.
    pub sampling: [Length; 2],
}

/// 256 × 256 pixels of 0.1 Å.
impl Default for Grid {
    fn default() -> Self {
        Grid { dims: [256, 256], sampling: [Length::angstrom(0.1); 2] }
    }
}

impl Grid {
    /// Whether the grid can be used: 1 to 2²⁴ pixels along an axis, of 1e-6 Å to 1 m.
    ///
    /// # Errors
    /// [`Error::Param`].
    pub fn check(&self) -> Result<(), Error> {
        if self.dims.contains(&0) {
            return Err(Error::param("grid.dims", format!("{:?}", self.dims), "at least one pixel along each axis"));
        }
        if self.dims.iter().any(|&n| n > MAX_SIDE) {
            return Err(Error::param("grid.dims", format!("{:?}", self.dims), "at most 2²⁴ pixels along an axis"));
        }
        for d in self.sampling {
            if !(d >= SMALLEST && d <= LARGEST) {
                return Err(Error::param("grid.sampling", d, "a pixel size between 1e-6 Å and 1 m"));
            }
        }
        Ok(())
    }

    /// Number of pixels.
    pub fn len(&self) -> usize {
        self.dims[0] * self.dims[1]
    }

    /// Whether the grid has no pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the whole grid, `[ny dy, nx dx]`.
    pub fn extent(&self) -> [Length; 2] {
        [self.sampling[0] * self.dims[0] as f64, self.sampling[1] * self.dims[1] as f64]
    }

    /// Distance of neighbouring spatial frequencies, 1/extent.
    pub fn frequency_step(&self) -> [SpatialFrequency; 2] {
        self.extent().map(|l| 1.0 / l)
    }

    /// The spatial frequencies of the rows and of the columns of a spectrum, 1/Å, zero frequency at index 0.
    pub fn frequencies(&self) -> [Vec<f64>; 2] {
        [0, 1].map(|axis| frequencies(self.dims[axis], self.sampling[axis].to_angstrom()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_grids_are_errors() {
        let good = Grid::default();
        assert!(good.check().is_ok());
        assert!(matches!(Grid { dims: [0, 4], ..good }.check(), Err(Error::Param { .. })));
        assert!(matches!(Grid { dims: [usize::MAX, 4], ..good }.check(), Err(Error::Param { .. })));
        for d in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-320] {
            let grid = Grid { sampling: [Length::angstrom(d), Length::angstrom(1.0)], ..good };
            assert!(matches!(grid.check(), Err(Error::Param { name: "grid.sampling", .. })));
        }
    }
}
