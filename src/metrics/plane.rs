//! Planes fitted by weighted least squares.

use crate::error::Error;
use crate::metrics::check;
use crate::real::Real;

/// A plane over an image (ny, nx): p(y, x) = offset + slope_y (y − ⌊ny/2⌋) + slope_x (x − ⌊nx/2⌋).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plane {
    /// Value at the centre pixel, in the unit of the image.
    pub offset: f64,
    /// `[y, x]`, in the unit of the image per pixel.
    pub slope: [f64; 2],
}

impl Plane {
    /// The plane that minimises Σ w (f − p)². Without weights every pixel counts; a mask is weights of 0 and 1.
    ///
    /// # Errors
    /// [`Error::Shape`] for lengths that do not fit, [`Error::Data`] for values that are not finite, weights that are
    /// negative, or whose pixels all lie on one line.
    ///
    /// ```
    /// use exitwave::metrics::Plane;
    /// let image: Vec<f64> = (0..20).map(|i| 3.0 + 0.5 * (i / 5) as f64 - (i % 5) as f64).collect();
    /// let p = Plane::fit(&image, [4, 5], None)?;
    /// assert!((p.slope[0] - 0.5).abs() < 1e-14 && (p.slope[1] + 1.0).abs() < 1e-14);
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn fit<T: Real>(image: &[T], dims: [usize; 2], weights: Option<&[f64]>) -> Result<Plane, Error> {
        check::dims("Plane::fit", &dims, image.len())?;
        let f = check::finite("image", image)?;
        let w = check::weights("Plane::fit", weights, f.len())?;
        fit(&f, &w, dims)
    }

    /// The value at a pixel.
    pub fn at(&self, y: usize, x: usize, dims: [usize; 2]) -> f64 {
        let [v, u] = centred(y, x, dims);
        self.offset + self.slope[0] * v + self.slope[1] * u
    }

    /// Takes the plane away from an image.
    ///
    /// # Errors
    /// [`Error::Shape`] for a length that does not fit.
    pub fn subtract<T: Real>(&self, image: &mut [T], dims: [usize; 2]) -> Result<(), Error> {
        check::dims("Plane::subtract", &dims, image.len())?;
        for (i, v) in image.iter_mut().enumerate() {
            *v = T::of(v.f64() - self.at(i / dims[1], i % dims[1], dims));
        }
        Ok(())
    }
}

/// A pixel's distance `[y, x]` from the centre pixel.
pub(super) fn centred(y: usize, x: usize, dims: [usize; 2]) -> [f64; 2] {
    [y as f64 - (dims[0] / 2) as f64, x as f64 - (dims[1] / 2) as f64]
}

/// The fit, on values that have been checked.
pub(super) fn fit(f: &[f64], w: &[f64], dims: [usize; 2]) -> Result<Plane, Error> {
    // Fitted to f minus its mean: a large constant must not cost the slope its digits.
    let mean = f.iter().zip(w).map(|(f, w)| f * w).sum::<f64>() / w.iter().sum::<f64>();
    let normal = NormalEquations::new(w, dims)?;
    let d = normal.solve(|i| w[i] * (f[i] - mean));
    Ok(Plane { offset: mean + d.offset, slope: d.slope })
}

/// The normal equations of a weighted plane fit, Σ w J Jᵀ p = Σ b J with J = (1, y, x).
///
/// About the centroid of the weights the constant decouples from the slopes, whose 2 × 2 matrix is then the covariance
/// of the pixels' coordinates.
pub(super) struct NormalEquations {
    dims: [usize; 2],
    total: f64,
    centroid: [f64; 2],
    // Σ w y², Σ w y x, Σ w x² about the centroid.
    covariance: [f64; 3],
}

impl NormalEquations {
    pub fn new(w: &[f64], dims: [usize; 2]) -> Result<Self, Error> {
        let at = |i: usize| centred(i / dims[1], i % dims[1], dims);
        let total: f64 = w.iter().sum();
        let mut centroid = [0.0; 2];
        for (i, &w) in w.iter().enumerate() {
            let [y, x] = at(i);
            centroid = [centroid[0] + w / total * y, centroid[1] + w / total * x];
        }
        let mut covariance = [0.0; 3];
        for (i, &w) in w.iter().enumerate() {
            let [y, x] = [at(i)[0] - centroid[0], at(i)[1] - centroid[1]];
            covariance = [covariance[0] + w * y * y, covariance[1] + w * y * x, covariance[2] + w * x * x];
        }
        // Coordinates that do not vary, or only together, do not span a plane; both margins are far above rounding.
        let [yy, yx, xx] = covariance;
        let spans = yy.min(xx) > 1e-9 * total && yy * xx - yx * yx > 1e-9 * yy * xx;
        if !spans {
            return Err(Error::Data {
                what: format!("the weighted pixels of the {} x {} image lie on one line: no plane", dims[0], dims[1]),
                index: 0,
            });
        }
        Ok(NormalEquations { dims, total, centroid, covariance })
    }

    /// The plane p that solves Σ w J Jᵀ p = Σ b J.
    pub fn solve(&self, b: impl Fn(usize) -> f64) -> Plane {
        let (mut b0, mut by, mut bx) = (0.0, 0.0, 0.0);
        for i in 0..self.dims[0] * self.dims[1] {
            let [y, x] = centred(i / self.dims[1], i % self.dims[1], self.dims);
            let b = b(i);
            b0 += b;
            by += b * (y - self.centroid[0]);
            bx += b * (x - self.centroid[1]);
        }
        let [yy, yx, xx] = self.covariance;
        let determinant = yy * xx - yx * yx;
        let slope = [(xx * by - yx * bx) / determinant, (yy * bx - yx * by) / determinant];
        // From the centroid to the centre pixel.
        Plane { offset: b0 / self.total - slope[0] * self.centroid[0] - slope[1] * self.centroid[1], slope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_recovered_under_a_mask() {
        let dims = [17, 12];
        let p = Plane { offset: 1e5, slope: [-0.3, 0.02] };
        let mut image: Vec<f64> = (0..204).map(|i| p.at(i / 12, i % 12, dims)).collect();
        let mut mask = vec![1.0; 204];
        for i in (0..204).step_by(5) {
            (image[i], mask[i]) = (-7e7, 0.0);
        }
        let got = Plane::fit(&image, dims, Some(&mask)).unwrap();
        assert!((got.offset - 1e5).abs() < 1e-9 && (got.slope[0] + 0.3).abs() < 1e-10, "{got:?}");
        got.subtract(&mut image, dims).unwrap();
        assert!(image.iter().zip(&mask).all(|(v, m)| m * v.abs() < 1e-9));
    }

    #[test]
    fn pixels_on_a_line_have_no_plane() {
        let diagonal: Vec<f64> = (0..64).map(|i| f64::from(u8::from(i / 8 == i % 8))).collect();
        assert!(matches!(Plane::fit(&[0.0; 64], [8, 8], Some(&diagonal)), Err(Error::Data { .. })));
        assert!(matches!(Plane::fit(&[1.0, 2.0], [1, 2], None), Err(Error::Data { .. })));
        // Three pixels that do span one are enough, also far from the centre of a large image.
        let mut corner = vec![0.0; 512 * 512];
        for i in [0, 1, 512] {
            corner[i] = 1.0;
        }
        assert!(Plane::fit(&vec![2.5; 512 * 512], [512, 512], Some(&corner)).is_ok_and(|p| p.slope[0].abs() < 1e-9));
    }
}
