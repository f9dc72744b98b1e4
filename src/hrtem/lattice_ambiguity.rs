//! Which of all lattice translations: what is not periodic decides between tracks that differ by lattice vectors.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::hrtem::components::{Components, SearchGrid, climb};
use crate::hrtem::smooth_track::{SmoothTrack, best_candidates};
use crate::par::Par;
use crate::real::cis;

type C = Complex<f32>;

/// Square neighbourhoods of the strongest reflections, and of the zero frequency, in the spectrum of every frame: slowly varying complex maps of where the crystal is, and
/// of what is not crystal.
///
/// A translation by a lattice vector R leaves the phases at the reflections as they are; the phases around them, which hold the shape of the crystal, turn
/// by e^{−2πi κ·R}. In real space, with h_g(X) the map of reflection g and w a window that fades out before the border (content that leaves or enters the
/// field, and the border itself, which does not move, would speak for no drift at all):
///
/// ```text
/// ln p(frame | d) = Σ_X w(X) [ 2 Re r̄_g(X − d) h_g(X) − |r_g(X − d)|² ]/s_g²,    summed over g;  r_g from all other frames, aligned
/// ```
///
/// An infinite crystal has constant |r_g|, and nothing follows from it: the prior decides.
pub(super) struct Patches {
    dims: [usize; 2],
    /// Coefficients from −m to m about each centre.
    m: usize,
    /// Points of the maps along an axis.
    points: usize,
    centres: Vec<[isize; 2]>,
    /// 1/s, and 1 or ½ where both mates are in the patch.
    scale: Vec<f32>,
    share: Vec<f32>,
    /// `[frame][patch, 2m + 1, 2m + 1]`.
    data: Vec<Vec<C>>,
}

impl Patches {
    /// Patches about `peaks` (signed indices, noise s, significance), strongest first: as wide as they can be, up to ±16 coefficients, when of two that would
    /// overlap the weaker is left out and half of the significance (its logarithm) stays.
    pub fn new(dims: [usize; 2], peaks: &[([isize; 2], f64, f64)], zero: Option<f64>, frames: usize) -> Self {
        let gap = |a: [isize; 2], b: [isize; 2]| (a[0] - b[0]).abs().max((a[1] - b[1]).abs()) as usize;
        let apart = |m: usize| {
            let mut kept: Vec<([isize; 2], f64, f64)> = Vec::new();
            for p in peaks {
                // The zero frequency is a neighbour, and so are the mates.
                let free = |q: [isize; 2]| gap(p.0, q) > 2 * m;
                if free([0, 0]) && free(p.0.map(|v| -v)) && kept.iter().all(|q| free(q.0) && free(q.0.map(|v| -v))) {
                    kept.push(*p);
                }
            }
            kept.truncate(24);
            kept
        };
        // What lies close to the zero frequency is its shape, however strong.
        let weight = |kept: &[([isize; 2], f64, f64)]| {
            kept.iter().filter(|p| gap(p.0, [0, 0]) > 16).map(|p| (1.0 + p.2).ln()).sum::<f64>()
        };
        let largest = dims[0].min(dims[1]) / 4 - 1;
        let all = weight(&apart(2));
        let fits = |m: &usize| *m <= largest && 2.0 * weight(&apart(*m)) >= all;
        let m = [16, 14, 12, 10, 8, 7, 6, 5, 4, 3].into_iter().find(fits).unwrap_or(1);
        let peaks = apart(m);
        let mut centres: Vec<[isize; 2]> = peaks.iter().map(|p| p.0).collect();
        let mut scale: Vec<f32> = peaks.iter().map(|p| (1.0 / p.1) as f32).collect();
        let mut share = vec![1.0; centres.len()];
        if let Some(s) = zero {
            centres.push([0, 0]);
            scale.push((1.0 / s) as f32);
            share.push(0.5);
        }
        Patches { dims, m, points: (4 * m).next_power_of_two(), centres, scale, share, data: vec![Vec::new(); frames] }
    }

    fn side(&self) -> usize {
        2 * self.m + 1
    }

    /// Takes the patches of a frame out of its half spectrum.
    pub fn take(&self, spectrum: &[C]) -> Vec<C> {
        let [ny, nx] = self.dims;
        let half = nx / 2 + 1;
        let m = self.m as isize;
        let mut out = Vec::with_capacity(self.centres.len() * self.side() * self.side());
        for (c, &s) in self.centres.iter().zip(&self.scale) {
            for ky in c[0] - m..=c[0] + m {
                for kx in c[1] - m..=c[1] + m {
                    let row = |k: isize| k.rem_euclid(ny as isize) as usize;
                    let z = if kx.unsigned_abs() >= half {
                        C::default()
                    } else if kx >= 0 {
                        spectrum[row(ky) * half + kx as usize]
                    } else {
                        spectrum[row(-ky) * half + (-kx) as usize].conj()
                    };
                    out.push(z * s);
                }
            }
        }
        out
    }

    /// Stores what [`Patches::take`] gave.
    pub fn put(&mut self, frame: usize, data: Vec<C>) {
        self.data[frame] = data;
    }

    /// e^{+2πi k·d} for the rows and columns of every patch.
    fn phases(&self, d: [f64; 2]) -> Vec<[Vec<C>; 2]> {
        let m = self.m as isize;
        let axis = |c: isize, a: usize| {
            (c - m..=c + m)
                .map(|k| {
                    let z = cis(std::f64::consts::TAU * k as f64 * d[a] / self.dims[a] as f64);
                    C::new(z.re as f32, z.im as f32)
                })
                .collect()
        };
        self.centres.iter().map(|c| [axis(c[0], 0), axis(c[1], 1)]).collect()
    }

    /// Adds `sign` times a frame, its drift removed.
    fn add(&self, total: &mut [C], frame: usize, d: [f64; 2], sign: f32) {
        let side = self.side();
        for (p, [py, px]) in self.phases(d).iter().enumerate() {
            for i in 0..side * side {
                let at = p * side * side + i;
                total[at] += self.data[frame][at] * py[i / side] * px[i % side] * sign;
            }
        }
    }

    /// Window along an axis of the maps: 0 within `margin` pixels of the border, then rising over an eighth of the side.
    fn window(&self, margin: f64, axis: usize) -> Vec<f32> {
        let n = self.dims[axis] as f64;
        (0..self.points)
            .map(|i| {
                let at = n * i as f64 / self.points as f64;
                let t = ((at.min(n - at) - margin) / (n / 8.0)).clamp(0.0, 1.0);
                (std::f64::consts::FRAC_PI_2 * t).sin().powi(2) as f32
            })
            .collect()
    }

    /// A patch as a map over the field.
    fn to_map(&self, patch: &[C], map: &mut [C], fft: &Fft2<f32>, scratch: &mut [C]) {
        let (side, points, m) = (self.side(), self.points, self.m);
        map.fill(C::default());
        for i in 0..side * side {
            map[(i / side + points - m) % points * points + (i % side + points - m) % points] = patch[i];
        }
        fft.inverse(map, scratch);
    }

    /// All patches of a frame times the window.
    fn windowed(&self, frame: usize, w: &[Vec<f32>; 2], fft: &Fft2<f32>) -> Vec<C> {
        let (side, points, m) = (self.side(), self.points, self.m);
        let mut out = self.data[frame].clone();
        let (mut map, mut scratch) = (vec![C::default(); points * points], vec![C::default(); fft.scratch_len()]);
        for patch in out.chunks_mut(side * side) {
            self.to_map(patch, &mut map, fft, &mut scratch);
            map.iter_mut().enumerate().for_each(|(i, z)| *z *= w[0][i / points] * w[1][i % points]);
            fft.forward(&mut map, &mut scratch);
            for i in 0..side * side {
                patch[i] = map[(i / side + points - m) % points * points + (i % side + points - m) % points];
            }
        }
        out
    }

    /// The reference of m frames, from their aligned sum T.
    ///
    /// What the maps of reflections have in common is where the crystal is: r_g(κ) = a_g M(κ), the best such product (the first singular vectors of T as a matrix of g and κ), which has
    /// as many times less noise as there are reflections. Of M, and of the patch about the zero frequency, each coefficient is multiplied by the part of the power about it that is not noise.
    fn reference(&self, total: &[C], m: f64) -> Vec<C> {
        let (side, n) = (self.side(), self.side() * self.side());
        let reflections = self.centres.iter().filter(|c| **c != [0, 0]).count();
        let mut out = vec![C::default(); total.len()];
        let matrix = &total[..reflections * n];
        // The middle of each patch is the first guess of a.
        let mut a: Vec<C> = (0..reflections).map(|p| matrix[p * n + n / 2]).collect();
        let mut envelope = vec![C::default(); n];
        for _ in 0..4 {
            let norm = a.iter().map(|a| a.norm_sqr()).sum::<f32>().max(f32::MIN_POSITIVE).sqrt();
            a.iter_mut().for_each(|a| *a /= norm);
            envelope.fill(C::default());
            for (patch, a) in matrix.chunks(n).zip(&a) {
                envelope.iter_mut().zip(patch).for_each(|(e, t)| *e += a.conj() * t);
            }
            for (patch, a) in matrix.chunks(n).zip(&mut a) {
                *a = patch.iter().zip(&envelope).map(|(t, e)| t * e.conj()).sum();
            }
        }
        let norm = a.iter().map(|a| a.norm_sqr()).sum::<f32>().max(f32::MIN_POSITIVE).sqrt();
        self.shrink(&mut envelope, m);
        for (patch, a) in out.chunks_mut(n).zip(&a) {
            patch.iter_mut().zip(&envelope).for_each(|(o, e)| *o = e * (a / norm));
        }
        if self.centres.len() > reflections {
            let zero = &mut out[reflections * n..];
            zero.copy_from_slice(&total[reflections * n..]);
            zero[n / 2] = C::default();
            self.shrink(zero, m);
        }
        debug_assert_eq!(out.len(), self.centres.len() * side * side);
        out
    }

    /// T to T x/(1 + m x), 1 + m x being the mean of |T|²/m over the 5 × 5 neighbours: 0 where it is less than two standard deviations above 1.
    fn shrink(&self, total: &mut [C], m: f64) {
        let side = self.side() as isize;
        let power: Vec<f32> = total.iter().map(|t| t.norm_sqr() / m as f32).collect();
        for (i, t) in total.iter_mut().enumerate() {
            let (y, x) = (i as isize / side, i as isize % side);
            let (mut sum, mut count) = (0.0, 0.0f32);
            for v in (y - 2).max(0)..=(y + 2).min(side - 1) {
                for u in (x - 2).max(0)..=(x + 2).min(side - 1) {
                    sum += power[(v * side + u) as usize];
                    count += 1.0;
                }
            }
            // The coefficient itself may stand out alone.
            let own = (power[i] - 6.0).max(0.0);
            let around = sum / count - 1.0;
            let mx = if around > 2.0 / count.sqrt() { around.max(own) } else { own };
            *t *= mx / (1.0 + mx) / m as f32;
        }
    }

    /// Spectrum of Σ_g share |r_g(X)|² over the maps, times P² so that energies come out as sums over coefficients.
    fn energy(&self, reference: &[C], w: &[Vec<f32>; 2], fft: &Fft2<f32>) -> Vec<C> {
        let (side, points) = (self.side(), self.points);
        let n = points * points;
        let (mut map, mut scratch) = (vec![C::default(); n], vec![C::default(); fft.scratch_len()]);
        let mut e = vec![C::default(); n];
        for (patch, share) in reference.chunks(side * side).zip(&self.share) {
            self.to_map(patch, &mut map, fft, &mut scratch);
            e.iter_mut().zip(&map).for_each(|(e, z)| e.re += share * z.norm_sqr());
        }
        // Parseval: Σ_κ |r(κ)|² = P² Σ_X |r(X)|²;  Σ_X w(X) e(X − d) = 1/P² Σ_κ w̄(κ) e(κ) e^{−2πi κ·d}.
        fft.forward(&mut e, &mut scratch);
        let mut window: Vec<C> = (0..n).map(|i| C::new(w[0][i / points] * w[1][i % points], 0.0)).collect();
        fft.forward(&mut window, &mut scratch);
        e.iter().zip(&window).map(|(e, w)| e * w.conj()).collect()
    }

    /// Σ_X w(X) Σ_g share |r_g(X − d)|², from [`Patches::energy`].
    fn energy_at(&self, product: &[C], d: [f64; 2]) -> f64 {
        let points = self.points;
        let axis = |a: usize| -> Vec<C> {
            (0..points)
                .map(|i| {
                    let k = crate::fft::frequency_index(i, points) as f64;
                    let z = cis(-std::f64::consts::TAU * k * d[a] / self.dims[a] as f64);
                    C::new(z.re as f32, z.im as f32)
                })
                .collect()
        };
        let (y, x) = (axis(0), axis(1));
        let row = |r: &[C]| r.iter().zip(&x).map(|(p, x)| p * x).sum::<C>();
        product.chunks(points).zip(&y).map(|(r, y)| f64::from((row(r) * y).re)).sum()
    }

    /// r̄ h of a frame, ready for [`Patches::cross_at`].
    fn cross(&self, reference: &[C], windowed: &[C]) -> Vec<C> {
        let n = self.side() * self.side();
        reference.iter().zip(windowed).enumerate().map(|(i, (r, h))| r.conj() * h * (2.0 * self.share[i / n])).collect()
    }

    /// Σ_k 2 Re r̄(k) h(k) e^{+2πi k·d}.
    fn cross_at(&self, cross: &[C], d: [f64; 2]) -> f64 {
        let side = self.side();
        let mut sum = 0.0;
        for (patch, [y, x]) in cross.chunks(side * side).zip(self.phases(d)) {
            for (row, y) in patch.chunks(side).zip(y) {
                let s: C = row.iter().zip(&x).map(|(c, x)| c * x).sum();
                sum += f64::from((s * y).re);
            }
        }
        sum
    }

    /// Every frame once more to the nearest maximum of its likelihood against all others, over all coefficients of the patches, at most `reach` pixels away; and
    /// the standard deviation that the information of the patches allows.
    pub fn refine(&self, track: &[[f64; 2]], reach: f64, par: &Par) -> (Vec<[f64; 2]>, f64) {
        let n = track.len();
        let m = self.m as isize;
        let side = self.side();
        let mut total = vec![C::default(); self.data.first().map_or(0, Vec::len)];
        if n < 2 || total.is_empty() {
            return (track.to_vec(), f64::INFINITY);
        }
        let mut k = Vec::with_capacity(total.len());
        for c in &self.centres {
            for i in 0..(side * side) as isize {
                let at = [c[0] + i / side as isize - m, c[1] + i % side as isize - m];
                k.push([0, 1].map(|a| at[a] as f64 / self.dims[a] as f64));
            }
        }
        (0..n).for_each(|f| self.add(&mut total, f, track[f], 1.0));
        let moved = par.map(n, |f| {
            let mut others = total.clone();
            self.add(&mut others, f, track[f], -1.0);
            let c = self.cross(&self.reference(&others, (n - 1) as f64), &self.data[f]);
            climb(&k, &c, track[f], reach)
        });
        let reference = self.reference(&total, n as f64);
        let mut j = [0.0; 3];
        for (i, (r, k)) in reference.iter().zip(&k).enumerate() {
            let w = f64::from(2.0 * self.share[i / (side * side)] * r.norm_sqr()) * std::f64::consts::TAU.powi(2);
            j = [j[0] + w * k[0] * k[0], j[1] + w * k[0] * k[1], j[2] + w * k[1] * k[1]];
        }
        let det = j[0] * j[2] - j[1] * j[1];
        let deviation = if det > 0.0 { (0.5 * (j[0] + j[2]) / det).sqrt() } else { f64::INFINITY };
        (moved, deviation)
    }

    /// The track of which every frame may be moved by a lattice vector, decided over all frames.
    pub fn resolve(
        &self,
        components: &Components,
        track: &[[f64; 2]],
        grid: SearchGrid,
        prior: &SmoothTrack,
        par: &Par,
    ) -> Result<Vec<[f64; 2]>, Error> {
        let n = track.len();
        let mut lattice = components.translations(track, grid);
        if lattice.is_empty() || n < 2 || self.centres.is_empty() {
            return Ok(track.to_vec());
        }
        let shortest = lattice.iter().map(|r| r[0].hypot(r[1])).fold(f64::INFINITY, f64::min);
        lattice.insert(0, [0.0; 2]);
        let largest = (grid.side / 2) as f64 * grid.spacing;
        let fft = Fft2::<f32>::new([self.points; 2])?;

        // Drift about its middle, so that the window may be as wide as it can.
        let middle = [0, 1].map(|a| {
            let (low, high) =
                track.iter().fold((f64::MAX, f64::MIN), |(l, h), d| (f64::min(l, d[a]), f64::max(h, d[a])));
            0.5 * (low + high)
        });
        let mut track: Vec<[f64; 2]> = track.iter().map(|d| [d[0] - middle[0], d[1] - middle[1]]).collect();
        let margin = (1.5 * largest).min(self.dims[0].min(self.dims[1]) as f64 / 8.0);
        let w = [self.window(margin, 0), self.window(margin, 1)];
        let windowed = par.map(n, |f| self.windowed(f, &w, &fft));

        // Pieces between jumps are rigid: each is placed as a whole, the longest first, then its neighbours in time.
        let mut pieces: Vec<std::ops::Range<usize>> = Vec::new();
        for f in 0..n {
            let step = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
            match pieces.last_mut() {
                Some(p) if step(track[f], track[f - 1]) < shortest / 3.0 => p.end = f + 1,
                _ => pieces.push(f..f + 1),
            }
        }
        let first = (0..pieces.len()).max_by_key(|&i| (pieces[i].len(), usize::MAX - i)).unwrap_or(0);
        let mut total = vec![C::default(); self.data[0].len()];
        pieces[first].clone().for_each(|f| self.add(&mut total, f, track[f], 1.0));
        let (mut low, mut high) = (first, first + 1);
        let mut placed = pieces[first].len();
        while low > 0 || high < pieces.len() {
            // The longer neighbour first: it says more.
            let down = low > 0 && (high == pieces.len() || pieces[low - 1].len() > pieces[high].len());
            let piece = if down { pieces[low - 1].clone() } else { pieces[high].clone() };
            let reference = self.reference(&total, placed as f64);
            let energy = self.energy(&reference, &w, &fft);
            let frames: Vec<usize> = piece.clone().collect();
            let moved = |f: usize, r: [f64; 2]| [track[f][0] + r[0], track[f][1] + r[1]];
            let scores: Vec<Vec<f64>> = par.map(frames.len(), |i| {
                let f = frames[i];
                let cross = self.cross(&reference, &windowed[f]);
                let one = |r: &[f64; 2]| {
                    let d = moved(f, *r);
                    if d[0].abs().max(d[1].abs()) > largest {
                        return f64::NEG_INFINITY;
                    }
                    self.cross_at(&cross, d) - self.energy_at(&energy, d)
                };
                lattice.iter().map(one).collect()
            });
            let (inside, outside) = if down { (piece.end - 1, piece.end) } else { (piece.start, piece.start - 1) };
            let value = |j: usize| {
                scores.iter().map(|s| s[j]).sum::<f64>() - prior.cost(track[outside], moved(inside, lattice[j]))
            };
            let best = (0..lattice.len()).max_by(|&a, &b| value(a).total_cmp(&value(b)).then(b.cmp(&a))).unwrap_or(0);
            let known = value(best).is_finite();
            if known {
                let r = lattice[best];
                track[piece.clone()].iter_mut().for_each(|d| *d = [d[0] + r[0], d[1] + r[1]]);
            }
            piece.clone().for_each(|f| self.add(&mut total, f, track[f], 1.0));
            placed += piece.len();
            if down {
                low -= 1;
            } else {
                high += 1;
            }
        }

        // Each piece once more against all others, which are now all there: with its own frames in the reference it would find itself.
        let mut total = vec![C::default(); self.data[0].len()];
        (0..n).for_each(|f| self.add(&mut total, f, track[f], 1.0));
        for _ in 0..if pieces.len() > 1 { 3 } else { 0 } {
            let mut changed = false;
            for piece in &pieces {
                piece.clone().for_each(|f| self.add(&mut total, f, track[f], -1.0));
                let reference = self.reference(&total, (n - piece.len()) as f64);
                let energy = self.energy(&reference, &w, &fft);
                let scores = par.map(piece.len(), |i| {
                    let f = piece.start + i;
                    let cross = self.cross(&reference, &windowed[f]);
                    let one = |r: &[f64; 2]| {
                        let d = [track[f][0] + r[0], track[f][1] + r[1]];
                        if d[0].abs().max(d[1].abs()) > largest {
                            return f64::NEG_INFINITY;
                        }
                        self.cross_at(&cross, d) - self.energy_at(&energy, d)
                    };
                    lattice.iter().map(one).collect::<Vec<_>>()
                });
                let at = track.clone();
                let value = |j: usize| {
                    let r = lattice[j];
                    let track = &at;
                    let moved = |f: usize| [track[f][0] + r[0], track[f][1] + r[1]];
                    let before = piece.start.checked_sub(1).map_or(0.0, |p| prior.cost(track[p], moved(piece.start)));
                    let after = if piece.end < n { prior.cost(moved(piece.end - 1), track[piece.end]) } else { 0.0 };
                    scores.iter().map(|s| s[j]).sum::<f64>() - before - after
                };
                let best =
                    (0..lattice.len()).max_by(|&a, &b| value(a).total_cmp(&value(b)).then(b.cmp(&a))).unwrap_or(0);
                if best > 0 && value(best).is_finite() {
                    let r = lattice[best];
                    track[piece.clone()].iter_mut().for_each(|d| *d = [d[0] + r[0], d[1] + r[1]]);
                    changed = true;
                }
                piece.clone().for_each(|f| self.add(&mut total, f, track[f], 1.0));
            }
            if !changed {
                break;
            }
        }

        // Then every frame against all others, the cheapest path over all.
        for _ in 0..4 {
            let mut total = vec![C::default(); self.data[0].len()];
            (0..n).for_each(|f| self.add(&mut total, f, track[f], 1.0));
            let energy = self.energy(&self.reference(&total, n as f64), &w, &fft);
            let candidates = par.map(n, |f| {
                let mut others = total.clone();
                self.add(&mut others, f, track[f], -1.0);
                let cross = self.cross(&self.reference(&others, (n - 1) as f64), &windowed[f]);
                let at = lattice.iter().map(|r| [track[f][0] + r[0], track[f][1] + r[1]]);
                let near = at.filter(|d| d[0].abs().max(d[1].abs()) <= largest || *d == track[f]);
                near.map(|d| (d, self.cross_at(&cross, d) - self.energy_at(&energy, d))).collect::<Vec<_>>()
            });
            let path = best_candidates(&candidates, prior);
            let next: Vec<[f64; 2]> = path.iter().zip(&candidates).map(|(&i, c)| c[i].0).collect();
            let same = next == track;
            track = next;
            if same {
                break;
            }
        }
        Ok(track.iter().map(|d| [d[0] + middle[0], d[1] + middle[1]]).collect())
    }
}

impl Components {
    /// Translations that map the aligned pattern onto itself: the maxima of Σ |r̂|² cos 2πk·R above half of its value at 0, the nearest 48.
    pub(super) fn translations(&self, track: &[[f64; 2]], grid: SearchGrid) -> Vec<[f64; 2]> {
        let n = track.len() as f64;
        let total = self.total(&track.iter().copied().map(Some).collect::<Vec<_>>());
        let c: Vec<C> = total.iter().map(|t| C::new((t.norm_sqr() / n - 1.0).max(0.0) as f32, 0.0)).collect();
        let map = self.map_of(&c, grid);
        let (g, top) = (grid.side, c.iter().map(|c| c.re).sum::<f32>());
        let mut found: Vec<[f64; 2]> = Vec::new();
        for y in 1..g - 1 {
            for x in 1..g - 1 {
                let v = map[y * g + x];
                let around = [-1isize, 0, 1].iter().flat_map(|dy| [-1isize, 0, 1].map(|dx| (*dy, dx)));
                let highest = around
                    .filter(|&o| o != (0, 0))
                    .all(|(dy, dx)| map[(y as isize + dy) as usize * g + (x as isize + dx) as usize] <= v);
                if !highest || v < 0.35 * top {
                    continue;
                }
                // The grid is coarse: the height counts at the maximum itself.
                let r = self.climb(&c, grid.at(y * g + x), 2.0 * grid.spacing);
                let height: f64 = self
                    .k
                    .iter()
                    .zip(&c)
                    .map(|(k, c)| f64::from(c.re) * (std::f64::consts::TAU * (k[0] * r[0] + k[1] * r[1])).cos())
                    .sum();
                let new = found.iter().all(|q| (q[0] - r[0]).hypot(q[1] - r[1]) > grid.spacing);
                if new && r[0].hypot(r[1]) > grid.spacing && height > 0.5 * f64::from(top) {
                    found.push(r);
                }
            }
        }
        found.sort_by(|a, b| a[0].hypot(a[1]).total_cmp(&b[0].hypot(b[1])));
        found.truncate(48);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_and_cross_terms_are_the_sums_they_stand_for() {
        let peaks = [([10isize, 4isize], 1.0, 2.0), ([-6, 12], 2.0, 1.0)];
        let mut p = Patches::new([48, 64], &peaks, Some(1.0), 1);
        let spectrum: Vec<C> =
            (0..48 * 33).map(|i| C::new(((i * 37) % 101) as f32 - 50.0, ((i * 53) % 89) as f32 - 44.0)).collect();
        p.put(0, p.take(&spectrum));
        let ones = [vec![1.0; p.points], vec![1.0; p.points]];
        let fft = Fft2::<f32>::new([p.points; 2]).unwrap();
        // An open window: the frame against itself at 0 has cross term 2E and energy E, and energy does not depend on d.
        let reference = p.data[0].clone();
        let n = p.side() * p.side();
        let e: f64 = reference.iter().enumerate().map(|(i, z)| f64::from(z.norm_sqr() * p.share[i / n])).sum();
        let windowed = p.windowed(0, &ones, &fft);
        let cross = p.cross(&reference, &windowed);
        assert!((p.cross_at(&cross, [0.0; 2]) / (2.0 * e) - 1.0).abs() < 1e-4);
        let product = p.energy(&reference, &ones, &fft);
        for d in [[0.0, 0.0], [3.2, -7.0]] {
            assert!((p.energy_at(&product, d) / e - 1.0).abs() < 1e-4, "{} {e}", p.energy_at(&product, d));
        }
        // Moved by d, the cross term is largest there.
        let d = [1.5, -2.0];
        let mut total = vec![C::default(); reference.len()];
        p.add(&mut total, 0, d, 1.0);
        let cross = p.cross(&total, &windowed);
        assert!((p.cross_at(&cross, d) / (2.0 * e) - 1.0).abs() < 1e-4);
    }
}
