//! The rings and shells of a discrete spectrum, and the correlation of two spectra over them.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::frequencies;

/// Rings of equal width Δk about the zero frequency: the point k belongs to ring round(|k|/Δk).
///
/// Δk is the largest frequency step 1/(n d) of any axis; the last ring is the last whose centre is not beyond the
/// smallest Nyquist frequency 1/(2d) of any axis, so that no ring lacks a direction.
#[derive(Clone, Debug)]
pub(super) struct Rings {
    /// k² of the indices of each axis.
    squares: Vec<Vec<f64>>,
    /// Δk, in 1/Å.
    pub width: f64,
    /// The smallest Nyquist frequency, in 1/Å.
    pub nyquist: f64,
    /// Number of rings, the zero frequency's included.
    pub count: usize,
}

/// Sums over one ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Σ A B̄.
    pub cross: Complex<f64>,
    /// Σ |A|².
    pub a: f64,
    /// Σ |B|².
    pub b: f64,
    /// Number of points.
    pub n: usize,
}

impl Rings {
    /// Rings of arrays of `dims` points at `pixel` Å, slowest axis first.
    pub fn new(dims: &[usize], pixel: &[f64]) -> Result<Self, Error> {
        if let Some(n) = dims.iter().find(|&&n| n < 2) {
            return Err(Error::param("dims", n, "at least 2 points on every axis"));
        }
        if let Some(d) = pixel.iter().find(|&&d| !(d > 0.0 && d.is_finite())) {
            return Err(Error::param("pixel", format!("{d} Å"), "a positive finite length"));
        }
        let step = dims.iter().zip(pixel).map(|(&n, d)| 1.0 / (n as f64 * d));
        let width = step.fold(0.0, f64::max);
        let nyquist = pixel.iter().map(|d| 0.5 / d).fold(f64::INFINITY, f64::min);
        // The margin keeps the ring at exactly Nyquist against the rounding of the division.
        let count = (nyquist / width * (1.0 + 1e-12)).floor() as usize + 1;
        let squares =
            dims.iter().zip(pixel).map(|(&n, &d)| frequencies(n, d).iter().map(|k| k * k).collect()).collect();
        Ok(Rings { squares, width, nyquist, count })
    }

    /// Sums of two spectra, zero frequency at index 0, over every ring, in index order; and Σ|A|², Σ|B|² over all
    /// points.
    pub fn sums(&self, a: &[Complex<f64>], b: &[Complex<f64>]) -> (Vec<Sums>, [f64; 2]) {
        let mut sums = vec![Sums::default(); self.count];
        let mut total = [0.0; 2];
        // a, b are (outer axes, nx); `outer` is the sum of k² over the outer axes of a row.
        let (inner, outer) = self.squares.split_last().expect("at least one axis");
        for (row, (a, b)) in a.chunks(inner.len()).zip(b.chunks(inner.len())).enumerate() {
            let mut index = row;
            let mut outer_square = 0.0;
            for axis in outer.iter().rev() {
                outer_square += axis[index % axis.len()];
                index /= axis.len();
            }
            for ((a, b), square) in a.iter().zip(b).zip(inner) {
                let (pa, pb) = (a.norm_sqr(), b.norm_sqr());
                total[0] += pa;
                total[1] += pb;
                let ring = ((outer_square + square).sqrt() / self.width).round() as usize;
                if let Some(s) = sums.get_mut(ring) {
                    s.cross += a * b.conj();
                    s.a += pa;
                    s.b += pb;
                    s.n += 1;
                }
            }
        }
        (sums, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_of_a_square_image_are_those_of_the_integer_radius() {
        let rings = Rings::new(&[8, 8], &[0.5, 0.5]).unwrap();
        assert_eq!((rings.count, rings.width, rings.nyquist), (5, 0.25, 1.0));
        let one = vec![Complex::new(1.0, 0.0); 64];
        let (sums, total) = rings.sums(&one, &one);
        let mut expected = [0; 5];
        for y in -4i32..4 {
            for x in -4i32..4 {
                let r = f64::from(x * x + y * y).sqrt().round() as usize;
                if r < 5 {
                    expected[r] += 1;
                }
            }
        }
        assert_eq!(sums.iter().map(|s| s.n).collect::<Vec<_>>(), expected);
        assert_eq!(total, [64.0, 64.0]);
    }

    #[test]
    fn no_ring_of_any_shape_is_empty() {
        for (dims, pixel) in [
            (vec![2, 2], vec![1.0, 1.0]),
            (vec![5, 12], vec![0.3, 1.0]),
            (vec![31, 8], vec![0.1, 0.7]),
            (vec![4, 9, 6], vec![2.0, 0.4, 0.9]),
        ] {
            let rings = Rings::new(&dims, &pixel).unwrap();
            let x = vec![Complex::new(1.0, 0.0); dims.iter().product()];
            let (sums, _) = rings.sums(&x, &x);
            assert!(sums.iter().all(|s| s.n > 0), "{dims:?} {sums:?}");
            assert_eq!(sums[0].cross.re as usize, sums[0].n);
        }
    }

    #[test]
    fn impossible_grids_are_errors() {
        assert!(Rings::new(&[1, 8], &[1.0, 1.0]).is_err());
        assert!(Rings::new(&[0, 8], &[1.0, 1.0]).is_err());
        for d in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Rings::new(&[8, 8], &[1.0, d]).is_err());
        }
    }
}
