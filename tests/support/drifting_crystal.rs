//! A crystal that drifts under a counting camera: what tests, benches and the example `align` share.

#![allow(dead_code, reason = "not every user needs all of it")]

use exitwave::Error;
use exitwave::detect::{EventCameraParams, count_events};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::tensor::Tensor;

/// What else is in the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scene {
    /// Nothing: the crystal is larger than the field.
    Infinite,
    /// The crystal's corner, two edges at a right angle; vacuum beyond is brighter by a tenth.
    Corner,
    /// The same without a difference in brightness.
    FaintCorner,
    /// A dark spot, 0.3 in its middle, of 60 pixels RMS radius in an infinite crystal.
    Defect,
    /// The same, of 8 pixels: it is gone when the track is off by as much.
    Spot,
}

/// An image that repeats: relative intensity 1 + σ c(r), ⟨c⟩ = 0, ⟨c²⟩ = 1.
pub struct Crystal {
    /// Lattice vectors `[y, x]`, pixels.
    pub a: [f64; 2],
    pub b: [f64; 2],
    /// The shortest translations, where the cell is centred.
    pub primitive: [[f64; 2]; 2],
    /// σ.
    pub contrast: f64,
    pub scene: Scene,
    pub dims: [usize; 2],
    side: usize,
    /// c over the cell, (side, side) along a and b.
    cell: Vec<f64>,
}

impl Crystal {
    /// A made-up framework: a cell of about 20 × 15 pixels, reflections to a period of 4 pixels.
    pub fn framework(dims: [usize; 2], contrast: f64, scene: Scene) -> Self {
        let (a, b) = ([20.3, 2.1], [-1.6, 15.2]);
        let side = 128;
        let det = a[0] * b[1] - a[1] * b[0];
        let mut r = rng::stream(17, 0);
        let mut cell = vec![0.0; side * side];
        for h in 0..6i32 {
            for k in -4..5i32 {
                if h == 0 && k <= 0 {
                    continue;
                }
                // Reciprocal vectors, cycles a pixel.
                let g = [
                    (f64::from(h) * b[1] - f64::from(k) * a[1]) / det,
                    (-f64::from(h) * b[0] + f64::from(k) * a[0]) / det,
                ];
                let length = g[0].hypot(g[1]);
                let (size, phase) = (rng::uniform(&mut r), std::f64::consts::TAU * rng::uniform(&mut r));
                if length > 0.25 {
                    continue;
                }
                let amplitude = (0.2 + size) * (-(length / 0.16).powi(2)).exp();
                for (i, c) in cell.iter_mut().enumerate() {
                    let u = [(i / side) as f64, (i % side) as f64].map(|u| u / side as f64);
                    *c +=
                        amplitude * (std::f64::consts::TAU * (f64::from(h) * u[0] + f64::from(k) * u[1]) + phase).cos();
                }
            }
        }
        Self::new(dims, a, b, side, cell, contrast, scene)
    }

    /// From the image of a cell, of any mean and scale.
    pub fn new(
        dims: [usize; 2],
        a: [f64; 2],
        b: [f64; 2],
        side: usize,
        mut cell: Vec<f64>,
        contrast: f64,
        scene: Scene,
    ) -> Self {
        let n = cell.len() as f64;
        let mean = cell.iter().sum::<f64>() / n;
        let rms = (cell.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / n).sqrt();
        cell.iter_mut().for_each(|c| *c = (*c - mean) / rms);
        Crystal { a, b, primitive: [a, b], contrast, scene, dims, side, cell }
    }

    /// c at a place of the specimen, linear between the points of the cell.
    fn lattice(&self, r: [f64; 2]) -> f64 {
        let det = self.a[0] * self.b[1] - self.a[1] * self.b[0];
        let u = (r[0] * self.b[1] - r[1] * self.b[0]) / det;
        let v = (-r[0] * self.a[1] + r[1] * self.a[0]) / det;
        let n = self.side;
        let split = |t: f64| {
            let t = (t - t.floor()) * n as f64;
            let i = t as usize % n;
            (i, (i + 1) % n, t - t.floor())
        };
        let ((y0, y1, fy), (x0, x1, fx)) = (split(u), split(v));
        let at = |y: usize, x: usize| self.cell[y * n + x];
        (at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx) * (1.0 - fy) + (at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx) * fy
    }

    /// Relative intensity at a place of the specimen, `r` = `[y, x]` in pixels.
    pub fn intensity(&self, r: [f64; 2]) -> f64 {
        let crystal = 1.0 + self.contrast * self.lattice(r);
        let [ny, nx] = self.dims.map(|n| n as f64);
        match self.scene {
            Scene::Infinite => crystal,
            Scene::Corner | Scene::FaintCorner => {
                // Edges turned by 20°, the corner at (0.45, 0.55) of the field.
                let (s, c) = 20f64.to_radians().sin_cos();
                let p = [r[0] - 0.45 * ny, r[1] - 0.55 * nx];
                let inside = c * p[0] - s * p[1] > 0.0 && s * p[0] + c * p[1] < 0.0;
                let dark = if self.scene == Scene::Corner { 0.9 } else { 1.0 };
                if inside { dark * crystal } else { 1.0 }
            }
            Scene::Defect | Scene::Spot => crystal - 0.3 * self.defect(r),
        }
    }

    /// The spot: 1 in its middle, at (0.4, 0.6) of the field.
    pub fn defect(&self, r: [f64; 2]) -> f64 {
        let [ny, nx] = self.dims.map(|n| n as f64);
        let d2 = (r[0] - 0.4 * ny).powi(2) + (r[1] - 0.6 * nx).powi(2);
        let size = if self.scene == Scene::Spot { 8.0 } else { 60.0f64 };
        (-0.5 * d2 / (size * size)).exp()
    }

    /// How deep the spot of [`Scene::Spot`] is in a sum of frames that is moved by `middle` against the first frame's place: least squares of the shape of the spot, of what
    /// the crystal alone would be there and a constant, in units of the mean of `electrons` a pixel.
    pub fn depth(&self, sum: &Tensor<f32>, middle: [f64; 2], electrons: f64) -> f64 {
        let place = [0.4 * self.dims[0] as f64, 0.6 * self.dims[1] as f64];
        let (mut cross, mut square, mut mean, mut shape, mut n) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let range = |c: f64| (c - 40.0) as usize..(c + 40.0) as usize;
        // Twice over the window: means, then the moments about them.
        for pass in 0..2 {
            for y in range(place[0]) {
                for x in range(place[1]) {
                    let r = [y as f64 - middle[0], x as f64 - middle[1]];
                    let v = f64::from(sum[[y, x]]) - electrons * (1.0 + self.contrast * self.lattice(r));
                    let s = self.defect(r);
                    if pass == 0 {
                        (mean, shape, n) = (mean + v, shape + s, n + 1.0);
                    } else {
                        (cross, square) = (cross + (v - mean / n) * (s - shape / n), square + (s - shape / n).powi(2));
                    }
                }
            }
        }
        -cross / square / electrons
    }

    /// By how many standard deviations the nearest lattice vector differs from the true one for `piece` frames merged, when the rest of the image is known from `rest` frames of
    /// the same scene and nothing else: √(e m/(1 + m/n) Σ (I(r) − I(r − R))²/I). The best test errs with the probability Q(separation/2).
    pub fn separation(&self, electrons: f64, piece: usize, rest: usize) -> f64 {
        let step = 2usize;
        let frames = piece as f64 / (1.0 + piece as f64 / rest.max(1) as f64);
        let distance = |v: [f64; 2]| -> f64 {
            let mut sum = 0.0;
            for y in (0..self.dims[0]).step_by(step) {
                for x in (0..self.dims[1]).step_by(step) {
                    let r = [y as f64, x as f64];
                    let (p, q) = (self.intensity(r), self.intensity([r[0] - v[0], r[1] - v[1]]));
                    sum += (p - q).powi(2) / p;
                }
            }
            electrons * frames * sum * (step * step) as f64
        };
        let [a, b] = self.primitive;
        let vectors = [a, b, [a[0] + b[0], a[1] + b[1]], [a[0] - b[0], a[1] - b[1]]];
        vectors.into_iter().map(distance).fold(f64::INFINITY, f64::min).sqrt()
    }

    /// The highest relative intensity.
    pub fn highest(&self) -> f64 {
        1.0 + self.contrast * self.cell.iter().fold(0.0f64, |m, c| m.max(*c))
    }

    /// Frames of `electrons` a pixel; the specimen stands still within each.
    pub fn frames(&self, track: &[[f64; 2]], electrons: f64, seed: u64, par: &Par) -> Result<Tensor<u8>, Error> {
        let camera = EventCameraParams { dims: self.dims, par: par.clone(), ..EventCameraParams::default() };
        let density = |t: f64, r: [f64; 2]| {
            let d = track[(t as usize).min(track.len() - 1)];
            electrons * self.intensity([r[0] - d[0], r[1] - d[1]])
        };
        count_events(&camera, &density, electrons * self.highest() * (1.0 + 1e-12), track.len(), seed)
    }

    /// The Cramér–Rao bound of the drift of a frame along an axis (RMS of both) when the image is known: J = N ∫∇I ∇Iᵀ/I over the field.
    pub fn bound(&self, electrons: f64) -> f64 {
        let (mut j, n) = ([0.0; 3], 500);
        for i in 0..n * n {
            // A step that shares no period with the lattice.
            let at = |i: usize, a: usize| ((i as f64 + 0.5) * self.dims[a] as f64 / n as f64).floor();
            let r = [at(i / n, 0), at(i % n, 1)];
            let c = |y: f64, x: f64| self.intensity([r[0] + y, r[1] + x]);
            // The pixel: differences over one pixel are the mean gradient in it.
            let g = [c(0.5, 0.0) - c(-0.5, 0.0), c(0.0, 0.5) - c(0.0, -0.5)];
            let w = 1.0 / c(0.0, 0.0);
            j = [j[0] + w * g[0] * g[0], j[1] + w * g[0] * g[1], j[2] + w * g[1] * g[1]];
        }
        let scale = electrons * (self.dims[0] * self.dims[1]) as f64 / (n * n) as f64;
        let j = j.map(|v| v * scale);
        (0.5 * (j[0] + j[2]) / (j[0] * j[2] - j[1] * j[1])).sqrt()
    }

    /// RMS of the error of a track along an axis, the common shift removed; with `modulo` every error is reduced by the lattice vector that makes it smallest.
    pub fn error(&self, found: &[[f64; 2]], truth: &[[f64; 2]], modulo: bool) -> f64 {
        let [pa, pb] = self.primitive;
        let det = pa[0] * pb[1] - pa[1] * pb[0];
        let reduce = |e: [f64; 2]| {
            if !modulo {
                return e;
            }
            let u = (e[0] * pb[1] - e[1] * pb[0]) / det;
            let v = (-e[0] * pa[1] + e[1] * pa[0]) / det;
            let mut best = e;
            for i in -1..=1 {
                for j in -1..=1 {
                    let (m, n) = (u.round() + f64::from(i), v.round() + f64::from(j));
                    let q = [e[0] - m * pa[0] - n * pb[0], e[1] - m * pa[1] - n * pb[1]];
                    if q[0].hypot(q[1]) < best[0].hypot(best[1]) {
                        best = q;
                    }
                }
            }
            best
        };
        // The common shift: that of one frame first, between lattice vectors no middle has a meaning; then the median, then the mean.
        let mut errors: Vec<[f64; 2]> = found.iter().zip(truth).map(|(a, b)| [a[0] - b[0], a[1] - b[1]]).collect();
        for round in 0..3 {
            let middle = [0, 1].map(|a| {
                let mut e: Vec<f64> = errors.iter().map(|e| e[a]).collect();
                e.sort_by(f64::total_cmp);
                if round == 0 && modulo {
                    errors[errors.len() / 2][a]
                } else if round < 2 {
                    e[e.len() / 2]
                } else {
                    e.iter().sum::<f64>() / e.len() as f64
                }
            });
            errors.iter_mut().for_each(|e| *e = reduce([e[0] - middle[0], e[1] - middle[1]]));
        }
        (errors.iter().map(|e| e[0] * e[0] + e[1] * e[1]).sum::<f64>() / (2 * errors.len()) as f64).sqrt()
    }
}

/// Drift that goes slowly `length` pixels far along a bent path, with a tremor of 0.15 pixels, and with `jumps` jumps of 8 to 20 pixels.
pub fn drift(frames: usize, length: f64, jumps: usize, seed: u64) -> Vec<[f64; 2]> {
    let mut r = rng::stream(seed, 77);
    let mut at = [0.0; 2];
    let mut next = frames / (jumps + 1);
    let mut path = Vec::with_capacity(frames);
    for f in 0..frames {
        let s = f as f64 / frames as f64;
        let smooth = [0.8 * length * s, 0.6 * length * (s + 0.15 * (std::f64::consts::TAU * s).sin())];
        if jumps > 0 && f == next && f > 0 {
            let (size, angle) = (8.0 + 12.0 * rng::uniform(&mut r), std::f64::consts::TAU * rng::uniform(&mut r));
            // Towards the middle of what was passed, so that the whole stays within the length asked for.
            let back = [-smooth[0].signum() * size * angle.cos().abs(), -smooth[1].signum() * size * angle.sin().abs()];
            at = [at[0] + back[0], at[1] + back[1]];
            next += frames / (jumps + 1);
        }
        let (a, b) = rng::normal_pair(&mut r);
        path.push([smooth[0] + at[0] + 0.15 * a, smooth[1] + at[1] + 0.15 * b]);
    }
    let first = path[0];
    path.iter().map(|d| [d[0] - first[0], d[1] - first[1]]).collect()
}
