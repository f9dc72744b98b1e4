//! The centre of a pattern of rings.

use crate::error::Error;
use crate::stem::centre::{centre_of_mass, check_pattern};
use crate::tensor::Tensor;

/// Parameters of [`ring_centre`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RingParams {
    /// Where to begin, in pixels `[y, x]`; `None` for the centre of mass.
    pub start: Option<[f64; 2]>,
    /// How far from there the centre may be, in pixels.
    pub range: f64,
    /// Smallest and largest radius that are looked at, in pixels: leave out the central beam.
    pub radii: [f64; 2],
    /// A ring stands out from the smooth background by this many standard deviations of the profile's noise.
    pub significance: f64,
}

impl Default for RingParams {
    fn default() -> Self {
        RingParams { start: None, range: 12.0, radii: [20.0, 1e9], significance: 5.0 }
    }
}

/// A common centre of rings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rings {
    /// Centre in pixels, `[y, x]`.
    pub centre: [f64; 2],
    /// Radii of the rings in pixels, strongest first.
    pub radii: Vec<f64>,
    /// Mean intensity at radius 0, 1, 2, … pixels.
    pub profile: Vec<f64>,
}

/// Finds the common centre of rings in a pattern `[det_y, det_x]`: where the radial profile is sharpest.
///
/// With p(r) the mean of √I at radius r from a trial centre, the sum Σ_r n(r) (p(r) − p̄(r))² over the radii asked for,
/// p̄ being p averaged over ±6 pixels, is largest at the centre: away from it every ring is smeared over several radii.
/// It is searched at every whole pixel of the range, (2·range + 1)² profiles, and then refined around the best one down
/// to 1/50 pixel; bin a large detector first. Square roots make the noise of counts uniform and keep the few strongest
/// pixels from deciding alone; repair bad pixels first.
///
/// # Errors
/// [`Error::Param`] for senseless radii or range; what [`centre_of_mass`] gives; [`Error::Data`] when no radius lies on
/// the detector.
pub fn ring_centre(pattern: &Tensor<f64>, params: RingParams) -> Result<Rings, Error> {
    let p = params;
    let [ny, nx] = check_pattern(pattern)?;
    if !(p.range > 0.0 && p.range <= ny.max(nx) as f64) {
        return Err(Error::param("range", p.range, "a positive number of pixels, no larger than the detector"));
    }
    if !(p.radii[0] >= 0.0 && p.radii[1] > p.radii[0]) {
        return Err(Error::param("radii", format!("{:?}", p.radii), "0 <= inner < outer"));
    }
    let mut best = match p.start {
        Some(s) if s.iter().all(|v| v.is_finite()) => s,
        Some(s) => return Err(Error::param("start", format!("{s:?}"), "a finite position")),
        None => centre_of_mass(pattern)?,
    };
    let root: Vec<f64> = pattern.as_slice().iter().map(|v| v.sqrt()).collect();
    let far = p.radii[1].min(((ny * ny + nx * nx) as f64).sqrt()) as usize + 1;
    if p.radii[0] >= far as f64 {
        return Err(Error::Data { what: format!("no pixel beyond a radius of {}", p.radii[0]), index: 0 });
    }
    let mut work = Profile { sum: vec![0.0; far + 2], n: vec![0.0; far + 2] };
    let mut score = |c: [f64; 2]| work.sharpness(&root, [ny, nx], c, p.radii);
    // Every pixel in range first: the peak is as narrow as the rings. Then three by three points, moving while it
    // helps, half the step when it does not.
    let mut value = score(best);
    let (from, reach) = (best, p.range.ceil() as i32);
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let c = [from[0] + f64::from(dy), from[1] + f64::from(dx)];
            let v = score(c);
            if v > value {
                (best, value) = (c, v);
            }
        }
    }
    let mut step = 0.5;
    while step > 0.02 {
        let from = best;
        for k in 0..9 {
            let c = [from[0] + f64::from(k / 3 - 1) * step, from[1] + f64::from(k % 3 - 1) * step];
            let v = score(c);
            if v > value {
                (best, value) = (c, v);
            }
        }
        if best == from {
            step *= 0.5;
        }
    }
    work.fill(&root, [ny, nx], best, [0.0, far as f64]);
    let profile = work.mean();
    let radii = peaks(&profile, &work.n, p.radii, p.significance);
    work.fill(pattern.as_slice(), [ny, nx], best, [0.0, far as f64]);
    Ok(Rings { centre: best, radii, profile: work.mean() })
}

/// A radial profile: sums with linear weights between the two nearest whole radii.
struct Profile {
    sum: Vec<f64>,
    n: Vec<f64>,
}

/// Half width of the running mean that stands for the background.
const BACKGROUND: usize = 6;

impl Profile {
    fn fill(&mut self, image: &[f64], [ny, nx]: [usize; 2], c: [f64; 2], radii: [f64; 2]) {
        self.sum.fill(0.0);
        self.n.fill(0.0);
        let most = radii[1].min((self.sum.len() - 2) as f64);
        for y in 0..ny {
            let dy = y as f64 - c[0];
            for x in 0..nx {
                let r = (dy * dy + (x as f64 - c[1]).powi(2)).sqrt();
                if r < radii[0] || r > most {
                    continue;
                }
                let (i, w) = (r as usize, r.fract());
                let v = image[y * nx + x];
                self.sum[i] += (1.0 - w) * v;
                self.n[i] += 1.0 - w;
                self.sum[i + 1] += w * v;
                self.n[i + 1] += w;
            }
        }
    }

    fn mean(&self) -> Vec<f64> {
        self.sum.iter().zip(&self.n).map(|(s, n)| if *n > 0.0 { s / n } else { 0.0 }).collect()
    }

    /// Σ n (p − p̄)², p̄ the mean over the neighbouring radii with the same weights.
    fn sharpness(&mut self, image: &[f64], dims: [usize; 2], c: [f64; 2], radii: [f64; 2]) -> f64 {
        self.fill(image, dims, c, radii);
        let mut total = 0.0;
        for i in 0..self.sum.len() {
            if self.n[i] > 1.0 {
                let background = background(&self.sum, i) / background(&self.n, i);
                total += self.n[i] * (self.sum[i] / self.n[i] - background).powi(2);
            }
        }
        total
    }
}

fn background(v: &[f64], i: usize) -> f64 {
    v[i.saturating_sub(BACKGROUND)..(i + BACKGROUND + 1).min(v.len())].iter().sum()
}

/// Local maxima of the profile above its running mean, to a fraction of a pixel, strongest first.
fn peaks(profile: &[f64], n: &[f64], radii: [f64; 2], significance: f64) -> Vec<f64> {
    let excess: Vec<f64> = (0..profile.len())
        .map(|i| {
            let weight = background(n, i);
            let sum: f64 =
                (i.saturating_sub(BACKGROUND)..(i + BACKGROUND + 1).min(n.len())).map(|j| profile[j] * n[j]).sum();
            if weight > 0.0 { profile[i] - sum / weight } else { 0.0 }
        })
        .collect();
    let inside = |i: usize| i as f64 >= radii[0] + 1.0 && (i as f64) + 1.0 <= radii[1] && n[i + 1] > 1.0;
    // The noise of the profile, from its second differences (a smooth curve has none), whose standard deviation is √6
    // that of a value.
    let mut second: Vec<f64> = (1..profile.len() - 1)
        .filter(|&i| inside(i))
        .map(|i| (profile[i - 1] - 2.0 * profile[i] + profile[i + 1]).abs())
        .collect();
    if second.is_empty() {
        return Vec::new();
    }
    second.sort_unstable_by(f64::total_cmp);
    let noise = 1.4826 * second[second.len() / 2] / 6f64.sqrt();
    let mut found: Vec<(f64, f64)> = (1..profile.len() - 1)
        .filter(|&i| {
            inside(i) && excess[i] > excess[i - 1] && excess[i] >= excess[i + 1] && excess[i] > significance * noise
        })
        .map(|i| {
            let (a, b, c) = (excess[i - 1], excess[i], excess[i + 1]);
            (b, i as f64 + 0.5 * (a - c) / (a - 2.0 * b + c))
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, r)| r).collect()
}
