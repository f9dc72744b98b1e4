//! The lattice of a periodic picture: from the peaks of its spectrum, refined to where its reflections are strongest.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequency_index};
use crate::hrtem::lattice_transform::{LatticeTransform, weighted};
use crate::hrtem::{PlaneLattice, PlaneLatticeFit, PlaneLatticeParams};
use crate::metrics::Window;
use crate::par::Par;
use crate::real::Real;
use crate::shape::try_zeroed;

const TAU: f64 = std::f64::consts::TAU;

/// How the lattice of a picture is sought.
#[derive(Clone, Debug)]
pub struct ImageLatticeParams {
    /// Frequencies that are searched, from and to, in cycles per pixel: from below the first reflection to at most ½.
    pub band: [f64; 2],
    /// A peak's power over the mean power of noise around zero frequency at its distance, at least.
    pub threshold: f64,
    /// The most peaks that are used.
    pub peaks: usize,
    /// How spots become a lattice.
    pub lattice: PlaneLatticeParams,
    /// Steps of the refinement, at most.
    pub iterations: usize,
    /// Threads.
    pub par: Par,
}

/// From 0.005 to 0.45 cycles per pixel, peaks ten times over the noise, 200 of them.
impl Default for ImageLatticeParams {
    fn default() -> Self {
        ImageLatticeParams {
            band: [0.005, 0.45],
            threshold: 12.0,
            peaks: 200,
            lattice: PlaneLatticeParams { origin: Some([0.0; 2]), ..PlaneLatticeParams::default() },
            iterations: 12,
            par: Par::default(),
        }
    }
}

/// The lattice of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageLattice {
    /// Reduced axes in pixels; the origin is the picture's first pixel.
    pub lattice: PlaneLattice,
    /// Standard deviations of a and of b along each direction, pixels: from how far reflections are from the lattice.
    pub error: [f64; 2],
    /// Number of peaks in the spectrum from which it was found.
    pub peaks: usize,
    /// Share of them on the lattice.
    pub indexed: f64,
    /// Σ_h |C(h)|² over the reflections above twice the noise's amplitude, before and after the last refinement.
    pub power: [f64; 2],
}

/// Finds the lattice of a periodic picture and refines it.
///
/// Peaks of the tapered spectrum, above the median of their ring, are the spots from which [`PlaneLattice::find`] takes
/// the reciprocal axes. These are then moved to maximise `P = Σ_h |C(h a* + k b*)|²`, C the tapered picture's Fourier
/// sum at any frequency: with s² the second moment of the taper, a reflection's |C|² falls off as
/// exp(−(2π)² s² δ²) about its peak, so that
///
/// `δ = ∂ log|C|²/∂k / (2 (2π)² s²)`
///
/// is its distance from it, and the axes follow from the δ of all by least squares with weights |C|², repeated.
///
/// Glide lines and pseudo-symmetry leave peaks of a smaller cell only. Lattices with two and three times the cell are
/// accepted
/// when their new reflections are above noise on average.
///
/// # Shapes
/// `image` is `[ny, nx]`, given by `dims`.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] for a band that is none, [`Error::Data`] for pixels that are not finite, or a
/// picture
/// without a lattice, [`Error::OutOfMemory`].
///
/// # Examples
/// ```
/// use exitwave::hrtem::{ImageLatticeParams, PlaneLattice, find_image_lattice};
///
/// let truth = PlaneLattice { origin: [0.0; 2], a: [0.31, 10.2], b: [11.7, 2.2] };
/// let picture: Vec<f64> = (0..128 * 128)
///     .map(|i| {
///         let [u, v] = truth.fraction([(i / 128) as f64, (i % 128) as f64]).map(|u| std::f64::consts::TAU * u);
///         u.cos() + v.cos() + 0.7 * (u + v).cos() + 0.5 * (u - v).cos()
///     })
///     .collect();
/// let found = find_image_lattice([128, 128], &picture, &ImageLatticeParams::default())?;
/// assert!((found.lattice.a[1] - 10.2).abs() < 1e-3 && (found.lattice.area() - truth.area()).abs() < 0.02);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn find_image_lattice<T: Real>(
    dims: [usize; 2],
    image: &[T],
    params: &ImageLatticeParams,
) -> Result<ImageLattice, Error> {
    let [low, high] = params.band;
    if !(low >= 0.0 && high > low && high <= 0.5) {
        return Err(Error::param("band", format!("{:?}", params.band), "0 ≤ from < to ≤ ½ cycle per pixel"));
    }
    if !(params.threshold > 1.0 && params.threshold.is_finite()) {
        return Err(Error::param("threshold", params.threshold, "above 1"));
    }
    // Without its mean, whose tails would cover reflections of low order.
    let transform = LatticeTransform::new(dims, image, Window::Hann, &params.par)?;
    let mean = image.iter().map(|v| v.f64()).sum::<f64>() / image.len() as f64;
    let flat: Vec<f64> = image.iter().map(|v| v.f64() - mean).collect();
    let spectrum = Spectrum::new(dims, weighted(&transform, &flat))?;
    let transform = LatticeTransform::new(dims, &flat, Window::Hann, &params.par)?;
    let (fit, indexed, peaks) = search(&spectrum, params)?;
    let mut hk: Vec<[i32; 2]> = fit.indices.iter().flatten().copied().filter(|&h| h != [0, 0]).collect();
    hk.sort_unstable();
    hk.dedup();

    let start = PlaneLattice { origin: [0.0; 2], ..fit.lattice };
    let (mut dual, mut power, mut variance) = climb(&transform, start, &hk, params)?;
    // Reflections that no peak showed but that are there on average make the cell larger.
    for _ in 0..2 {
        let Some(finer) = finer(&spectrum, &dual, params) else { break };
        dual = finer;
    }
    let all = within(&dual, params.band);
    let strength = strengths(&spectrum, &dual, &all, 0.0);
    let strong: Vec<[i32; 2]> = all.iter().zip(&strength).filter(|(_, s)| **s > 4.0).map(|(h, _)| *h).collect();
    if strong.len() >= 3 {
        (dual, power, variance) = climb(&transform, dual, &strong, params)?;
    }
    let covariance = variance;
    let lattice = dual.reciprocal();
    // δa = −(a ∂a*) a …: errors of the dual axes turn into those of the axes by their lengths.
    let [la, lb] = lattice.lengths();
    let [va, vb] = covariance;
    let error = [la * (la * la * va + lb * lb * vb).sqrt(), lb * (la * la * va + lb * lb * vb).sqrt()];
    let reduced = lattice.reduced();
    Ok(ImageLattice { lattice: reduced, error, peaks, indexed, power })
}

/// Peaks and their lattice; with a lower threshold where too few peaks have none.
fn search(spectrum: &Spectrum, params: &ImageLatticeParams) -> Result<(PlaneLatticeFit, f64, usize), Error> {
    let mut last = None;
    for share in [1.0, 0.75, 0.6] {
        let tried = spectrum.peaks(params, share * params.threshold).and_then(|spots| {
            let points: Vec<[f64; 2]> = spots.iter().flat_map(|s| [s.0, s.0.map(|k| -k)]).collect();
            let powers: Vec<f64> = spots.iter().flat_map(|s| [s.1; 2]).collect();
            let (fit, indexed) = coarsest(&points, &powers, &params.lattice)?;
            Ok((fit, indexed, spots.len()))
        });
        match tried {
            // Three spots have a lattice always.
            Ok(found) if found.2 > 4 && found.1 > 0.5 => return Ok(found),
            other => last = last.or(Some(other)),
        }
    }
    last.unwrap_or_else(|| Err(Error::Data { what: "a picture without a lattice".into(), index: 0 }))
}

/// Steps of the refinement until they end: the dual lattice, the power before and after, variances.
fn climb(
    transform: &LatticeTransform,
    mut dual: PlaneLattice,
    hk: &[[i32; 2]],
    params: &ImageLatticeParams,
) -> Result<(PlaneLattice, [f64; 2], [f64; 2]), Error> {
    let (mut power, mut variance) = ([0.0; 2], [0.0; 2]);
    for step in 0..=params.iterations {
        let refined = refine(transform, &dual, hk, &params.par)?;
        if step == 0 {
            power[0] = refined.power;
        }
        power[1] = refined.power;
        variance = refined.variance;
        if step == params.iterations || refined.step < 1e-9 {
            break;
        }
        dual = refined.lattice;
    }
    Ok((dual, power, variance))
}

/// The reflections of a dual lattice in a band, one of each pair.
fn within(dual: &PlaneLattice, band: [f64; 2]) -> Vec<[i32; 2]> {
    let reach = dual.reciprocal().lengths().map(|l| (l * band[1]).min(1000.0) as i32);
    let mut out = Vec::new();
    for h in 0..=reach[0] {
        for k in -reach[1]..=reach[1] {
            let q = dual.at([f64::from(h), f64::from(k)]);
            let size = q[0].hypot(q[1]);
            if (h > 0 || k > 0) && size >= band[0] && size <= band[1] {
                out.push([h, k]);
            }
        }
    }
    out
}

/// Power over the noise at the points of the spectrum nearest to those of a dual lattice; `tails` is added to the
/// noise.
fn strengths(spectrum: &Spectrum, dual: &PlaneLattice, hk: &[[i32; 2]], tails: f64) -> Vec<f64> {
    let at = hk.iter().map(|h| dual.at(h.map(f64::from)));
    at.map(|q| spectrum.near(q) / (spectrum.noise(q[0].hypot(q[1])) + tails)).collect()
}

/// A dual lattice with two or three times as many points whose new reflections are stronger than noise: N of them have
/// a mean strength
/// of 1 ± 1/√N where there is nothing.
fn finer(spectrum: &Spectrum, dual: &PlaneLattice, params: &ImageLatticeParams) -> Option<PlaneLattice> {
    let old = within(dual, params.band);
    let power: f64 = 2.0 * old.iter().map(|h| spectrum.near(dual.at(h.map(f64::from)))).sum::<f64>();
    let mut best: Option<(f64, PlaneLattice)> = None;
    for p in [2, 3] {
        for j in 0..=p {
            // The new vector is a*/p, or (j a* + b*)/p.
            let divided = |v: [f64; 2]| v.map(|x| x / f64::from(p));
            let (a, b) = (dual.a, dual.b);
            let along_a = j == p;
            let candidate = if along_a {
                PlaneLattice { a: divided(a), ..*dual }
            } else {
                PlaneLattice { b: divided([0, 1].map(|i| f64::from(j) * a[i] + b[i])), ..*dual }
            };
            let mut new = within(&candidate, params.band);
            new.retain(|h| h[usize::from(!along_a)] % p != 0);
            // Hann's tails, sin(πδ)/(πδ(δ² − 1)) at δ points of the spectrum, of reflections that are there.
            let delta = candidate.reduced().lengths()[0] * spectrum.dims[0].min(spectrum.dims[1]) as f64;
            if new.len() < 4 || new.len() > 4000 || delta < 3.0 {
                continue;
            }
            let tails = 0.5 * power / delta.powi(6);
            let all = strengths(spectrum, &candidate, &new, tails);
            let n = all.len() as f64;
            // One very strong one is no lattice: each counts as ten at most.
            let mean = all.iter().map(|s| s.min(10.0)).sum::<f64>() / n;
            let excess = (mean - 1.0) * n.sqrt();
            if mean > 1.3 && excess > 5.0 && best.as_ref().is_none_or(|b| excess > b.0) {
                best = Some((excess, candidate));
            }
        }
    }
    best.map(|b| b.1)
}

/// The lattice that indexes the spots, and the share of them. A picture with few strong reflections has waves whose
/// strength
/// depends on which these are: lower shares than the given one are tried too. Of lattices that index as much power, to
/// a fiftieth,
/// the one with the fewest points.
fn coarsest(points: &[[f64; 2]], powers: &[f64], params: &PlaneLatticeParams) -> Result<(PlaneLatticeFit, f64), Error> {
    // Not the power itself, or a few spots would decide alone.
    let weights = &powers.iter().map(|p| p.sqrt().min(30.0)).collect::<Vec<f64>>();
    let total: f64 = powers.iter().sum();
    let first = PlaneLattice::find(points, weights, params);
    let mut found: Vec<(PlaneLatticeFit, f64, f64)> = Vec::new();
    let with = |f: f64| PlaneLatticeParams { share: f * params.share, ..*params };
    let lower = [0.75, 0.6].map(|f| PlaneLattice::find(points, weights, &with(f)));
    let all = [&first, &lower[0], &lower[1]];
    for fit in all.into_iter().flatten() {
        let on = fit.indices.iter().filter(|i| i.is_some()).count();
        let power: f64 = powers.iter().zip(&fit.indices).filter(|(_, i)| i.is_some()).map(|(p, _)| p).sum();
        found.push((fit.clone(), on as f64 / points.len() as f64, power / total));
    }
    let most = found.iter().map(|f| f.2).fold(0.0, f64::max);
    // Of reciprocal lattices the one with the largest cell.
    let best = found.into_iter().filter(|f| f.2 >= most - 0.02);
    match best.max_by(|a, b| a.0.lattice.area().total_cmp(&b.0.lattice.area())) {
        Some(best) => Ok((best.0, best.1)),
        None => first.map(|f| (f, 0.0)),
    }
}

/// The power spectrum of a tapered picture, with its noise.
struct Spectrum {
    dims: [usize; 2],
    power: Vec<f64>,
    /// Mean power of noise in rings of this many to the cycle per pixel, and the least that counts.
    floor: Vec<f64>,
    rings: f64,
    least: f64,
}

impl Spectrum {
    fn new(dims: [usize; 2], mut spectrum: Vec<Complex<f64>>) -> Result<Self, Error> {
        let [ny, nx] = dims;
        let fft = Fft2::<f64>::new(dims)?;
        let mut scratch = try_zeroed(fft.scratch_len())?;
        fft.forward(&mut spectrum, &mut scratch);
        let power: Vec<f64> = spectrum.iter().map(|z| z.norm_sqr()).collect();
        let k = |i: usize, n: usize| frequency_index(i, n) as f64 / n as f64;
        // The median of a ring, ln 2 of the mean of exponentially distributed power, is not moved by spots.
        let rings = (ny.min(nx) / 8).max(2) as f64 * 2.0;
        let mut all: Vec<Vec<f64>> = vec![Vec::new(); rings as usize + 1];
        for (n, &p) in power.iter().enumerate() {
            let size = k(n / nx, ny).hypot(k(n % nx, nx));
            all[((size * rings) as usize).min(rings as usize)].push(p);
        }
        let median = |r: &mut Vec<f64>| {
            let middle = r.len() / 2;
            if r.is_empty() { 0.0 } else { *r.select_nth_unstable_by(middle, f64::total_cmp).1 }
        };
        let floor = all.iter_mut().map(|r| median(r) / std::f64::consts::LN_2).collect();
        // Of a picture without noise, what is below 1e-12 of the strongest is rounding.
        let least = 1e-12 * power.iter().copied().fold(0.0, f64::max);
        Ok(Spectrum { dims, power, floor, rings, least: least.max(f64::MIN_POSITIVE) })
    }

    /// The power at the point nearest to a frequency.
    fn near(&self, q: [f64; 2]) -> f64 {
        let [i, j] = [0, 1].map(|i| (q[i] * self.dims[i] as f64).round().rem_euclid(self.dims[i] as f64) as usize);
        self.power[i.min(self.dims[0] - 1) * self.dims[1] + j.min(self.dims[1] - 1)]
    }

    fn noise(&self, k: f64) -> f64 {
        self.floor[((k * self.rings) as usize).min(self.floor.len() - 1)].max(self.least)
    }

    /// The strongest peaks, one of each ± pair: frequency and power over the noise.
    fn peaks(&self, params: &ImageLatticeParams, threshold: f64) -> Result<Vec<([f64; 2], f64)>, Error> {
        let dims = self.dims;
        let [ny, nx] = dims;
        let k = |i: usize, n: usize| frequency_index(i, n) as f64 / n as f64;
        let mut found = Vec::new();
        for i in 0..ny {
            for j in 0..nx {
                let q = [k(i, ny), k(j, nx)];
                let size = q[0].hypot(q[1]);
                if !(q[0] > 0.0 || (q[0] == 0.0 && q[1] > 0.0)) || size < params.band[0] || size > params.band[1] {
                    continue;
                }
                let at = |u: isize, v: isize| {
                    let (y, x) = ((i as isize + u).rem_euclid(ny as isize), (j as isize + v).rem_euclid(nx as isize));
                    self.power[y as usize * nx + x as usize]
                };
                let p = at(0, 0);
                let noise = self.noise(size);
                let top = (-2..=2).all(|u| (-2..=2).all(|v| (u, v) == (0, 0) || at(u, v) <= p));
                if top && p > threshold * noise {
                    // A parabola through the logarithms: the spot of a bell-shaped taper.
                    let between = |m: f64, p0: f64| {
                        let (l, r, c) = (m.max(1e-300).ln(), p0.max(1e-300).ln(), p.ln());
                        let bend = l + r - 2.0 * c;
                        if bend < 0.0 { (0.5 * (l - r) / bend).clamp(-0.5, 0.5) } else { 0.0 }
                    };
                    let d = [between(at(-1, 0), at(1, 0)) / ny as f64, between(at(0, -1), at(0, 1)) / nx as f64];
                    found.push(([q[0] + d[0], q[1] + d[1]], p / noise));
                }
            }
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(params.peaks);
        if found.len() < 2 {
            return Err(Error::Data {
                what: format!("a picture of {dims:?} with {} reflections: no lattice", found.len()),
                index: 0,
            });
        }
        Ok(found)
    }
}

struct Refined {
    lattice: PlaneLattice,
    power: f64,
    step: f64,
    /// Of a* and of b*, per component.
    variance: [f64; 2],
}

/// One step of the refinement of the dual axes.
fn refine(transform: &LatticeTransform, dual: &PlaneLattice, hk: &[[i32; 2]], par: &Par) -> Result<Refined, Error> {
    let at: Vec<[f64; 2]> = hk.iter().map(|h| dual.at(h.map(f64::from))).collect();
    let moments = transform.moments(&at, par);
    let spread = transform.spread();
    let (mut m, mut right, mut power) = ([0.0; 3], [[0.0; 2]; 2], 0.0);
    let mut all = Vec::with_capacity(hk.len());
    for (h, z) in hk.iter().zip(&moments) {
        let p = z.c.norm_sqr();
        power += p;
        if p == 0.0 {
            continue;
        }
        // dC/dk = −2πi Σ w f e r, so ∂ log|C|²/∂k = 4π Im(C̄ Σ w f e r)/|C|².
        let delta = [0, 1].map(|i| {
            let first = if i == 0 { z.cy } else { z.cx };
            2.0 * TAU * (z.c.conj() * first).im / p / (2.0 * TAU * TAU * spread[i])
        });
        let h = h.map(f64::from);
        m = [m[0] + p * h[0] * h[0], m[1] + p * h[0] * h[1], m[2] + p * h[1] * h[1]];
        for i in 0..2 {
            right[i] = [right[i][0] + p * h[0] * delta[i], right[i][1] + p * h[1] * delta[i]];
        }
        all.push((h, p, delta));
    }
    let det = m[0] * m[2] - m[1] * m[1];
    if det.is_nan() || det <= 1e-9 * m[0] * m[2] {
        return Err(Error::Data { what: "reflections of one row only: no lattice in the plane".into(), index: 0 });
    }
    let solve = |r: [f64; 2]| [(m[2] * r[0] - m[1] * r[1]) / det, (m[0] * r[1] - m[1] * r[0]) / det];
    let [dy, dx] = [solve(right[0]), solve(right[1])];
    let lattice = PlaneLattice {
        origin: [0.0; 2],
        a: [dual.a[0] + dy[0], dual.a[1] + dx[0]],
        b: [dual.b[0] + dy[1], dual.b[1] + dx[1]],
    };
    // Scatter of what is left, weighted, per component.
    let left: f64 = all
        .iter()
        .map(|(h, p, d)| {
            let e = [d[0] - h[0] * dy[0] - h[1] * dy[1], d[1] - h[0] * dx[0] - h[1] * dx[1]];
            p * 0.5 * (e[0] * e[0] + e[1] * e[1])
        })
        .sum();
    let scale = left / all.len().max(3) as f64;
    let step = dy.iter().chain(&dx).map(|d| d.abs()).fold(0.0, f64::max);
    Ok(Refined { lattice, power, step, variance: [scale * m[2] / det, scale * m[0] / det] })
}
