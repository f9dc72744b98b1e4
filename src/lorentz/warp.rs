//! Rotation and magnification of an image, with the adjoint and the derivatives by angle and scale.

use crate::op::cubic::keys;
use crate::real::Real;

/// `y(r) = I(c + R(−ϑ)(r − c)/m)` by cubic convolution (Keys, a = −½) on a periodic image, c = (⌊ny/2⌋, ⌊nx/2⌋).
///
/// # References
/// R. G. Keys, *IEEE Trans. ASSP* 29, 1153 (1981), eq. (15).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warp {
    dims: [usize; 2],
    cos: f64,
    sin: f64,
}

/// Where one pixel is read: whole parts, weights, and the place relative to the centre.
struct Place {
    y: [usize; 4],
    x: [usize; 4],
    wy: [f64; 4],
    wx: [f64; 4],
    dy: [f64; 4],
    dx: [f64; 4],
    /// (y', x') − c.
    rel: [f64; 2],
}

impl Warp {
    /// Rotation ϑ in rad, ln m.
    pub fn new(dims: [usize; 2], rotation: f64, ln_m: f64) -> Self {
        let (sin, cos) = rotation.sin_cos();
        let m = ln_m.exp();
        Warp { dims, cos: cos / m, sin: sin / m }
    }

    #[inline]
    fn place(&self, iy: usize, ix: usize) -> Place {
        let [ny, nx] = self.dims;
        let c = [(ny / 2) as f64, (nx / 2) as f64];
        let (y, x) = (iy as f64 - c[0], ix as f64 - c[1]);
        let rel = [self.cos * y - self.sin * x, self.sin * y + self.cos * x];
        let at = |p: f64, n: usize| {
            let f = p.floor();
            let (w, d) = keys(p - f);
            let first = f as i64 - 1;
            ([0, 1, 2, 3].map(|j| (first + j).rem_euclid(n as i64) as usize), w, d)
        };
        let (ys, wy, dy) = at(rel[0] + c[0], ny);
        let (xs, wx, dx) = at(rel[1] + c[1], nx);
        Place { y: ys, x: xs, wy, wx, dy, dx, rel }
    }

    /// y = W I.
    pub fn forward<T: Real>(&self, image: &[T], y: &mut [T]) {
        let nx = self.dims[1];
        for (i, y) in y.iter_mut().enumerate() {
            let p = self.place(i / nx, i % nx);
            let mut sum = 0.0;
            for a in 0..4 {
                let row = &image[p.y[a] * nx..][..nx];
                sum += p.wy[a] * (0..4).map(|b| p.wx[b] * row[p.x[b]].f64()).sum::<f64>();
            }
            *y = T::of(sum);
        }
    }

    /// I = Wᵀ g, and Σ g ∂y/∂ϑ, Σ g ∂y/∂ln m. With (y', x') the place relative to the centre,
    /// `∂(y', x')/∂ϑ = (−x', y')` and `∂(y', x')/∂ln m = −(y', x')`.
    pub fn adjoint<T: Real>(&self, image: &[T], g: &[T], out: &mut [T]) -> [f64; 2] {
        let nx = self.dims[1];
        out.fill(T::ZERO);
        let mut by = [0.0; 2];
        for (i, g) in g.iter().enumerate() {
            let p = self.place(i / nx, i % nx);
            let g = g.f64();
            let mut slope = [0.0; 2];
            for a in 0..4 {
                let start = p.y[a] * nx;
                for b in 0..4 {
                    let v = image[start + p.x[b]].f64();
                    slope[0] += p.dy[a] * p.wx[b] * v;
                    slope[1] += p.wy[a] * p.dx[b] * v;
                    out[start + p.x[b]] += T::of(p.wy[a] * p.wx[b] * g);
                }
            }
            by[0] += g * (slope[1] * p.rel[0] - slope[0] * p.rel[1]);
            by[1] -= g * (slope[0] * p.rel[0] + slope[1] * p.rel[1]);
        }
        by
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn random(n: usize, index: u64) -> Vec<f64> {
        let mut r = rng::stream(7, index);
        (0..n).map(|_| rng::normal(&mut r)).collect()
    }

    #[test]
    fn adjoint_satisfies_the_dot_test_and_the_slopes_finite_differences() {
        for dims in [[9, 12], [8, 8], [5, 7]] {
            let n = dims[0] * dims[1];
            let (x, g) = (random(n, 0), random(n, 1));
            let (angle, ln_m) = (0.13, 0.04);
            let mut y = vec![f64::NAN; n];
            let mut back = vec![f64::NAN; n];
            let w = Warp::new(dims, angle, ln_m);
            w.forward(&x, &mut y);
            let by = w.adjoint(&x, &g, &mut back);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert!((dot(&y, &g) - dot(&x, &back)).abs() < 1e-12 * n as f64);
            // The interpolant is once differentiable: away from the knots the central difference is of second order.
            let at = |a: f64, m: f64| {
                let mut y = vec![0.0; n];
                Warp::new(dims, a, m).forward(&x, &mut y);
                dot(&y, &g)
            };
            let h = 1e-6;
            let slopes = [
                (at(angle + h, ln_m) - at(angle - h, ln_m)) / (2.0 * h),
                (at(angle, ln_m + h) - at(angle, ln_m - h)) / (2.0 * h),
            ];
            for (s, b) in slopes.iter().zip(by) {
                assert!((s - b).abs() < 1e-6 * n as f64, "{slopes:?} {by:?}");
            }
        }
    }

    #[test]
    fn the_identity_and_a_right_angle_move_pixels() {
        let x = random(49, 2);
        let mut y = vec![0.0; 49];
        Warp::new([7, 7], 0.0, 0.0).forward(&x, &mut y);
        assert_eq!(x, y);
        Warp::new([7, 7], std::f64::consts::FRAC_PI_2, 0.0).forward(&x, &mut y);
        // From x towards y: what was to the right of the centre is now below it.
        assert!((y[5 * 7 + 3] - x[3 * 7 + 5]).abs() < 1e-12);
    }
}
