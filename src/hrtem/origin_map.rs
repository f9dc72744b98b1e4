//! A real trigonometric polynomial over the unit cell, and where it is largest: what phase origins are sought on.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft2};
use crate::real::cis;

const TAU: f64 = std::f64::consts::TAU;
/// Widest map: coefficients of order ±1000.
const MOST: usize = 4096;

/// q(x) = Re Σ c_f e^{2πi f·x}, x in fractions of the cell, f whole numbers of at most `order` each.
#[derive(Debug)]
pub(super) struct OriginMap {
    side: usize,
    fft: Fft2<f64>,
    scratch: Vec<Complex<f64>>,
    coefficients: Vec<Complex<f64>>,
    values: Vec<Complex<f64>>,
}

impl OriginMap {
    /// A map for frequencies up to ±order.
    pub fn new(order: usize) -> Result<Self, Error> {
        let side = (2 * order + 2).next_power_of_two().max(32);
        if side > MOST {
            return Err(Error::param("reflections", order, "indices of at most some hundreds"));
        }
        let fft = Fft2::new([side, side])?;
        let zero = Complex::new(0.0, 0.0);
        let scratch = vec![zero; fft.scratch_len()];
        Ok(OriginMap { side, fft, scratch, coefficients: vec![zero; side * side], values: vec![zero; side * side] })
    }

    pub fn clear(&mut self) {
        self.coefficients.fill(Complex::new(0.0, 0.0));
    }

    pub fn add(&mut self, f: [i32; 2], c: Complex<f64>) {
        let [i, j] = f.map(|f| f.rem_euclid(self.side as i32) as usize);
        self.coefficients[i * self.side + j] += c;
    }

    /// The coefficients that are there, with their frequencies.
    pub fn terms(&self) -> Vec<([i32; 2], Complex<f64>)> {
        let half = (self.side / 2) as i32;
        let signed = |i: usize| if i as i32 >= half { i as i32 - self.side as i32 } else { i as i32 };
        let all = self.coefficients.iter().enumerate().filter(|(_, c)| c.norm_sqr() > 0.0);
        all.map(|(n, &c)| ([signed(n / self.side), signed(n % self.side)], c)).collect()
    }

    /// The `most` largest local maxima on the map's points, refined, largest first: place and value.
    pub fn maxima(&mut self, most: usize) -> Vec<([f64; 2], f64)> {
        let n = self.side;
        self.values.copy_from_slice(&self.coefficients);
        self.fft.transform(&mut self.values, Direction::Inverse, 1.0, &mut self.scratch);
        let at = |i: usize, j: usize| self.values[i % n * n + j % n].re;
        let mut found: Vec<(usize, usize, f64)> = Vec::new();
        for i in 0..n {
            for j in 0..n {
                let v = at(i, j);
                let around = [(1, 0), (0, 1), (1, 1), (1, n - 1), (n - 1, 0), (0, n - 1), (n - 1, n - 1), (n - 1, 1)];
                if around.iter().all(|&(p, q)| at(i + p, j + q) <= v) {
                    found.push((i, j, v));
                }
            }
        }
        found.sort_by(|p, q| q.2.total_cmp(&p.2).then((p.0, p.1).cmp(&(q.0, q.1))));
        // Refinement raises values by little: candidates beyond `most` by a margin only.
        found.truncate(2 * most);
        let terms = self.terms();
        let start = |(i, j, _): (usize, usize, f64)| [i as f64 / n as f64, j as f64 / n as f64];
        let mut all: Vec<([f64; 2], f64)> = found.into_iter().map(|p| climb(&terms, start(p))).collect();
        all.sort_by(|p, q| q.1.total_cmp(&p.1));
        all.truncate(most);
        all
    }
}

/// The value with its gradient and second derivatives (xx, xy, yy).
fn derivatives(terms: &[([i32; 2], Complex<f64>)], x: [f64; 2]) -> (f64, [f64; 2], [f64; 3]) {
    let (mut q, mut g, mut h) = (0.0, [0.0; 2], [0.0; 3]);
    for (f, c) in terms {
        let k = f.map(|f| TAU * f64::from(f));
        let z = c * cis(k[0] * x[0] + k[1] * x[1]);
        q += z.re;
        g = [g[0] - k[0] * z.im, g[1] - k[1] * z.im];
        h = [h[0] - k[0] * k[0] * z.re, h[1] - k[0] * k[1] * z.re, h[2] - k[1] * k[1] * z.re];
    }
    (q, g, h)
}

/// Newton's steps to the maximum; directions along which the polynomial does not curve downwards are left alone.
fn climb(terms: &[([i32; 2], Complex<f64>)], mut x: [f64; 2]) -> ([f64; 2], f64) {
    let (mut q, mut g, mut h) = derivatives(terms, x);
    for _ in 0..8 {
        // Eigenvalues of the negative Hessian.
        let (a, b, c) = (-h[0], -h[1], -h[2]);
        let (mean, gap) = (0.5 * (a + c), (0.25 * (a - c) * (a - c) + b * b).sqrt());
        let (sin, cos) = (0.5 * (2.0 * b).atan2(a - c)).sin_cos();
        let floor = 1e-9 * (mean.abs() + gap);
        let mut step = [0.0; 2];
        for (value, v) in [(mean + gap, [cos, sin]), (mean - gap, [-sin, cos])] {
            if value > floor {
                let s = (v[0] * g[0] + v[1] * g[1]) / value;
                step = [step[0] + s * v[0], step[1] + s * v[1]];
            }
        }
        let mut better = false;
        for _ in 0..6 {
            let y = [x[0] + step[0], x[1] + step[1]];
            let (q1, g1, h1) = derivatives(terms, y);
            if q1 > q {
                (x, q, g, h, better) = (y, q1, g1, h1, true);
                break;
            }
            step = step.map(|s| 0.5 * s);
        }
        if !better || step[0].hypot(step[1]) < 1e-10 {
            break;
        }
    }
    (x.map(|x| x.rem_euclid(1.0)), q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_of_a_shifted_cosine_is_found_between_the_points() {
        let mut map = OriginMap::new(5).unwrap();
        let at = [0.3137, 0.777];
        for f in [[1, 0], [0, 1], [3, -2], [5, 4]] {
            map.add(f, cis(-TAU * (f64::from(f[0]) * at[0] + f64::from(f[1]) * at[1])));
        }
        let (x, q) = map.maxima(3)[0];
        assert!((q - 4.0).abs() < 1e-12 && (0..2).all(|i| (x[i] - at[i]).abs() < 1e-7), "{x:?} {q}");
        assert_eq!(map.terms().len(), 4);
    }

    #[test]
    fn a_flat_direction_is_left_alone() {
        let mut map = OriginMap::new(5).unwrap();
        map.add([2, 0], Complex::new(-1.0, 0.0));
        let (x, q) = map.maxima(1)[0];
        assert!((q - 1.0).abs() < 1e-12 && (x[0] - 0.25).abs() < 1e-9 && x[1] == 0.0);
    }
}
