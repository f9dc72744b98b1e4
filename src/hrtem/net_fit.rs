//! A known net laid on the spots of a pattern: its direction, its scale and the direct beam.

use std::f64::consts::PI;

use crate::error::Error;
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::reflections::Spots;
use crate::hrtem::rocking::{Misorientation, excitation_error};
use crate::hrtem::zone::ZoneNet;
use crate::linalg::lstsq::cholesky_solve;
use crate::num_complex::Complex;
use crate::specimen::{Vector, cross, dot};

/// Layers above and below that are looked for.
pub(crate) const LAYERS: i32 = 4;

/// Where the reflections of a zone axis fall on a pattern: `p = origin + (m/pixel) R(θ) g`, g turned by the tilt.
#[derive(Clone, Debug)]
pub(crate) struct NetFit {
    /// The direct beam, `[y, x]` in pixels.
    pub origin: [f64; 2],
    /// m cos θ and m sin θ.
    turn: [f64; 2],
    /// 1, or −1 for a pattern seen from behind.
    hand: f64,
    /// a and b of the zeroth layer `[y, x]`, the layer above's offset, in 1/Å; a along x.
    pub a: [f64; 2],
    pub b: [f64; 2],
    pub offset: [f64; 2],
    pub height: f64,
    /// The net of all layers seen along the axis, in the frame of a and b.
    union: PlaneLattice,
    pixel: f64,
    /// Root mean square distance of the spots that belong to the net, in pixels.
    pub rms: f64,
    lambda: f64,
}

impl NetFit {
    /// Finds direction and scale as those of the largest `Σ |Σⱼ wⱼ e^{2πi d·pⱼ}|²` over the shortest dual
    /// vectors d of the net of all layers, then the origin modulo
    /// that net, then all of them by least squares. The origin is some point of the net: [`NetFit::with_beam`] says which.
    pub fn new(net: &ZoneNet, spots: &Spots, spot: f64, pixel: f64, scale: f64, lambda: f64) -> Result<Self, Error> {
        let [la, lb] = net.lengths.map(|l| l.to_per_angstrom());
        let (sin, cos) = net.angle.to_rad().sin_cos();
        let (a, b) = ([0.0, la], [lb * sin, lb * cos]);
        let offset = [0, 1].map(|i| net.offset[0] * a[i] + net.offset[1] * b[i]);
        let flat = PlaneLattice { origin: [0.0; 2], a, b };
        let union = union_of_layers(&flat, net.offset);
        let mut fit = NetFit {
            origin: [0.0; 2],
            turn: [1.0, 0.0],
            hand: 1.0,
            a,
            b,
            offset,
            height: net.layer.to_per_angstrom(),
            union,
            pixel,
            rms: 0.0,
            lambda,
        };
        let places: Vec<[f64; 2]> = spots.spots.iter().map(|s| s.position).collect();
        if places.len() < 4 {
            return Err(Error::Data { what: format!("{} spots for a net, at least 4", places.len()), index: 0 });
        }
        let weights: Vec<f64> = spots.spots.iter().map(|s| 1.0 / (s.sigma * s.sigma + 0.25 * spot * spot)).collect();

        // Direction and scale: steps that move the outermost spots by an eighth of the net.
        let middle = [0, 1].map(|i| places.iter().map(|p| p[i]).sum::<f64>() / places.len() as f64);
        let extent = places.iter().map(|p| (p[0] - middle[0]).hypot(p[1] - middle[1])).fold(1.0, f64::max);
        let spacing = union.lengths()[0] / pixel;
        let step = (0.125 * spacing / extent).clamp(5e-4, 0.05);
        let scales = ((2.5 * scale.min(0.2)) / step).ceil() as i32;
        let dual = union.reciprocal();
        let duals = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]];
        let hands: &[f64] = if mirrored(&union) { &[1.0] } else { &[1.0, -1.0] };
        let mut best = (-1.0, 0.0, 1.0, 1.0);
        for &hand in hands {
            for k in 0..(PI / step).ceil() as i32 {
                let (s, c) = (f64::from(k) * step).sin_cos();
                for j in -scales..=scales {
                    let m = 1.0 + f64::from(j) * step;
                    let score: f64 = duals
                        .iter()
                        .map(|d| {
                            let v = [0, 1].map(|i| d[0] * dual.a[i] + d[1] * dual.b[i]);
                            let v = [hand * v[0], v[1]];
                            let r = [s * v[1] + c * v[0], c * v[1] - s * v[0]].map(|x| x * pixel / m);
                            wave(&places, &weights, middle, r).norm_sqr()
                        })
                        .sum();
                    if score > best.0 * (1.0 + 1e-9) {
                        best = (score, f64::from(k) * step, m, hand);
                    }
                }
            }
        }
        let (_, theta, m, hand) = best;
        (fit.hand, fit.turn) = (hand, [m * theta.cos(), m * theta.sin()]);

        // The origin modulo the net, from the phases of its two dual vectors.
        let shown = fit.lattice(&union);
        let r = shown.reciprocal();
        let phase = [r.a, r.b].map(|d| wave(&places, &weights, middle, d).arg() / (2.0 * PI));
        fit.origin = [0, 1].map(|i| middle[i] + phase[0] * shown.a[i] + phase[1] * shown.b[i]);
        for _ in 0..3 {
            fit.refine(spots, spot, None);
        }
        Ok(fit)
    }

    /// The same net with the direct beam at its point nearest to a place of the pattern.
    pub fn with_beam(&self, place: [f64; 2]) -> Self {
        let shown = self.union();
        let (zero, _) = shown.nearest(place);
        NetFit { origin: shown.at(zero.map(f64::from)), ..self.clone() }
    }

    /// A vector of the frame on the pattern, in pixels.
    fn on_pattern(&self, g: [f64; 2]) -> [f64; 2] {
        let ([c, s], y) = (self.turn, self.hand * g[0]);
        [s * g[1] + c * y, c * g[1] - s * y].map(|x| x / self.pixel)
    }

    /// A lattice of the frame on the pattern, untilted.
    fn lattice(&self, of: &PlaneLattice) -> PlaneLattice {
        PlaneLattice { origin: self.origin, a: self.on_pattern(of.a), b: self.on_pattern(of.b) }
    }

    /// The net of all layers on the pattern, in pixels, untilted.
    pub fn union(&self) -> PlaneLattice {
        self.lattice(&self.union)
    }

    /// The lowest layer with a reflection over a point of the union, as its height, and the distance to the
    /// next one; none where there
    /// is none.
    pub fn layer_of(&self, index: [i32; 2]) -> Option<(f64, f64)> {
        let g = self.union.at(index.map(f64::from));
        let flat = PlaneLattice { origin: [0.0; 2], a: self.a, b: self.b };
        let over = |n: &i32| {
            let at = flat.fraction([0, 1].map(|i| g[i] - f64::from(*n) * self.offset[i]));
            at.iter().all(|f| (f - f.round()).abs() < 0.05)
        };
        let mut layers = (0..12).filter(over);
        let first = layers.next()?;
        let next = layers.next().map_or(f64::INFINITY, |n| f64::from(n - first) * self.height);
        Some((f64::from(first) * self.height, next))
    }

    /// m, the scale of the camera length.
    pub fn scale(&self) -> f64 {
        self.turn[0].hypot(self.turn[1])
    }

    /// Where a reflection of layer n is seen from the direct beam, 1/Å in the axes of the pattern; g in the frame.
    pub fn place(&self, g: [f64; 2], n: f64, tilt: Misorientation) -> [f64; 2] {
        let m = self.scale();
        let flat = self.on_pattern(g).map(|x| x * self.pixel / m);
        let v = turned(tilt.axis(), [n * self.height, flat[0], flat[1]]);
        [v[1], v[2]]
    }

    /// From there to the pattern.
    pub fn pixel_of(&self, q: [f64; 2]) -> [f64; 2] {
        let m = self.scale() / self.pixel;
        [0, 1].map(|i| self.origin[i] + m * q[i])
    }

    /// Least squares for origin, direction and scale from the spots near points of the net. With a tilt each
    /// spot is a reflection of the layer that is nearest
    /// to the sphere there, seen foreshortened.
    pub fn refine(&mut self, spots: &Spots, spot: f64, tilt: Option<Misorientation>) {
        let (mut m, mut r) = ([0.0; 16], [0.0; 4]);
        let (mut count, mut square) = (0, 0.0);
        let tolerance = 0.25 * self.union.lengths()[0] / self.pixel;
        for s in &spots.spots {
            let Some(g) = self.reflection(s.position, tilt) else { continue };
            // p_y = o_y + s g_x + c g_y, p_x = o_x + c g_x − s g_y.
            let (gy, gx) = (g[0] / self.pixel, g[1] / self.pixel);
            let predicted = [0, 1].map(|i| {
                let by = [[gy, gx], [gx, -gy]][i];
                self.origin[i] + self.turn[0] * by[0] + self.turn[1] * by[1]
            });
            let d = [s.position[0] - predicted[0], s.position[1] - predicted[1]];
            let distance = d[0].hypot(d[1]);
            if distance > tolerance {
                continue;
            }
            let size = s.sigma.hypot(0.1 * spot).max(0.05 * tolerance);
            let weight = 1.0 / (size * size * (1.0 + (distance / (3.0 * size)).powi(2)));
            (count, square) = (count + 1, square + distance * distance);
            for (row, value) in [([1.0, 0.0, gy, gx], s.position[0]), ([0.0, 1.0, gx, -gy], s.position[1])] {
                for i in 0..4 {
                    r[i] += weight * row[i] * value;
                    for j in 0..4 {
                        m[i * 4 + j] += weight * row[i] * row[j];
                    }
                }
            }
        }
        if count < 4 {
            return;
        }
        if let Ok(x) = cholesky_solve(4, &m, &r) {
            (self.origin, self.turn) = ([x[0], x[1]], [x[2], x[3]]);
            self.rms = (square / count as f64).sqrt();
        }
    }

    /// The reflection at a place of the pattern, `[y, x]` in 1/Å of the pattern's unturned frame; none where
    /// the layers are ambiguous.
    fn reflection(&self, p: [f64; 2], tilt: Option<Misorientation>) -> Option<[f64; 2]> {
        let (index, _) = self.union().nearest(p);
        let g = self.union.at(index.map(f64::from));
        let hand = |g: [f64; 2]| [self.hand * g[0], g[1]];
        let Some(tilt) = tilt else { return Some(hand(g)) };
        let flat = PlaneLattice { origin: [0.0; 2], a: self.a, b: self.b };
        let w = tilt.slope();
        let mut best: Option<(f64, i32)> = None;
        for n in -LAYERS..=LAYERS {
            let at = flat.fraction([0, 1].map(|i| g[i] - f64::from(n) * self.offset[i]));
            if at.iter().any(|f| (f - f.round()).abs() > 0.05) {
                continue;
            }
            let q = self.place(g, f64::from(n), tilt);
            let s = excitation_error(w, q, self.lambda, f64::from(n) * self.height).abs();
            if best.is_none_or(|b| s < b.0) {
                best = Some((s, n));
            }
        }
        let (s, n) = best?;
        if s > 0.02 {
            return None;
        }
        // Turned by the tilt on the pattern, then back to the frame of (c, s).
        let q = self.place(g, f64::from(n), tilt);
        let ([c, s], m2) = (self.turn, self.scale());
        let [c, s] = [c / m2, s / m2];
        Some([c * q[0] - s * q[1], s * q[0] + c * q[1]])
    }
}

/// A vector `[z, y, x]` turned by the shortest rotation that takes z to the unit vector n.
pub(crate) fn turned(n: Vector, v: Vector) -> Vector {
    // Rodrigues about k = z × n: v c + k × v + k (k·v)/(1 + c), c = n_z.
    let k = cross([1.0, 0.0, 0.0], n);
    let kv = cross(k, v);
    let along = dot(k, v) / (1.0 + n[0]);
    std::array::from_fn(|i| v[i] * n[0] + kv[i] + k[i] * along)
}

fn wave(places: &[[f64; 2]], weights: &[f64], middle: [f64; 2], d: [f64; 2]) -> Complex<f64> {
    let one = |(p, w): (&[f64; 2], &f64)| {
        let phase = 2.0 * PI * (d[0] * (p[0] - middle[0]) + d[1] * (p[1] - middle[1]));
        Complex::from_polar(*w, phase)
    };
    places.iter().zip(weights).map(one).sum()
}

/// Whether a reduced lattice is its own mirror image: rectangular, or with two equal axes, or with b above the
/// middle of a.
fn mirrored(lattice: &PlaneLattice) -> bool {
    let l = lattice.reduced();
    let d = |u: [f64; 2], v: [f64; 2]| u[0] * v[0] + u[1] * v[1];
    let (aa, ab, bb) = (d(l.a, l.a), d(l.a, l.b), d(l.b, l.b));
    ab.abs() < 1e-6 * aa || (aa / bb - 1.0).abs() < 1e-6 || (2.0 * ab / aa - 1.0).abs() < 1e-6
}

/// The net of all layers, seen along the axis: the zeroth with the multiples of the offset, where these close
/// within six layers.
fn union_of_layers(flat: &PlaneLattice, offset: [f64; 2]) -> PlaneLattice {
    let whole = |k: i32| offset.iter().all(|f| (f64::from(k) * f - (f64::from(k) * f).round()).abs() < 0.02);
    let Some(k) = (1..=6).find(|&k| whole(k)) else { return *flat };
    let mut points: Vec<[f64; 2]> = Vec::new();
    for n in 0..k {
        for i in -2..=2 {
            for j in -2..=2 {
                // Fractions are of k: exact.
                let f = offset.map(|f| (f64::from(k) * f).round() * f64::from(n) / f64::from(k));
                let f = [f[0] - f[0].round() + f64::from(i), f[1] - f[1].round() + f64::from(j)];
                if f[0].hypot(f[1]) > 1e-9 {
                    points.push(flat.at(f));
                }
            }
        }
    }
    let length = |p: &[f64; 2]| p[0].hypot(p[1]);
    points.sort_by(|p, q| length(p).total_cmp(&length(q)));
    let a = points[0];
    let free = |b: &&[f64; 2]| (a[0] * b[1] - a[1] * b[0]).abs() > 1e-6 * length(&a) * length(b);
    let b = points.iter().find(free).copied().unwrap_or(flat.b);
    PlaneLattice { origin: flat.origin, a, b }.reduced()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_between_the_points_make_a_finer_net() {
        let square = PlaneLattice { origin: [0.0; 2], a: [0.0, 2.0], b: [2.0, 0.0] };
        for (offset, area) in [([0.0, 0.0], 4.0), ([0.5, 0.5], 2.0), ([0.5, 0.0], 2.0), ([0.25, 0.5], 1.0)] {
            assert!((union_of_layers(&square, offset).area() - area).abs() < 1e-12, "{offset:?}");
        }
        let hexagonal = PlaneLattice { origin: [0.0; 2], a: [0.0, 1.0], b: [0.75f64.sqrt(), 0.5] };
        let third = union_of_layers(&hexagonal, [1.0 / 3.0, 1.0 / 3.0]);
        assert!((third.area() - hexagonal.area() / 3.0).abs() < 1e-12);
        assert!(mirrored(&hexagonal) && mirrored(&third) && mirrored(&square));
        assert!(!mirrored(&PlaneLattice { origin: [0.0; 2], a: [0.0, 1.0], b: [1.3, 0.2] }));
    }

    #[test]
    fn the_turned_crystal_keeps_lengths_and_takes_its_axis_along() {
        let tilt = Misorientation { tilt: [0.08, -0.03].map(crate::units::Angle::rad) };
        let n = tilt.axis();
        let z = turned(n, [1.0, 0.0, 0.0]);
        assert!((0..3).all(|i| (z[i] - n[i]).abs() < 1e-15));
        let v = turned(n, [0.3, -1.0, 0.7]);
        assert!((dot(v, v) - 1.58).abs() < 1e-14);
    }
}
