//! Hot, dead and stuck pixels: found in the statistics of many frames, repaired from their neighbours.

use crate::error::Error;
use crate::par::Par;
use crate::shape::Limits;
use crate::stem::DataSet;

/// What replaces a bad pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    /// The median of its good neighbours: robust against a neighbour that is bad too.
    #[default]
    Median,
    /// Their mean: keeps the expected counts where there are fewer than a few electrons a pixel, whose median is mostly
    /// 0.
    Mean,
}

/// Parameters of [`BadPixels::find`].
#[derive(Clone, Debug)]
pub struct BadPixelParams {
    /// How many frames, evenly spaced over the scan, give the statistics.
    pub frames: usize,
    /// Smallest significance of a bad pixel: its distance from the median of its neighbours, in units of the standard
    /// deviation expected from counting and from how much its neighbours differ among themselves.
    pub significance: f64,
    /// A pixel is dead when its mean is below this fraction of its neighbours' median.
    pub dead_below: f64,
    /// A pixel is hot when its mean is above this multiple of its neighbours' median (and significantly so).
    pub hot_above: f64,
    /// Threads.
    pub par: Par,
    /// Memory.
    pub limits: Limits,
}

impl Default for BadPixelParams {
    fn default() -> Self {
        BadPixelParams {
            frames: 256,
            significance: 5.5,
            dead_below: 0.1,
            hot_above: 3.0,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// The bad pixels of a detector, as flat indices in increasing order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadPixels {
    /// Too bright, or NaN, infinite or negative in some frame.
    pub hot: Vec<usize>,
    /// Too dark.
    pub dead: Vec<usize>,
    /// The same count in every frame while the neighbours vary.
    pub stuck: Vec<usize>,
}

/// Mean and variance of every pixel over the sampled frames.
struct Statistics {
    mean: Vec<f64>,
    variance: Vec<f64>,
    invalid: Vec<bool>,
    frames: usize,
}

impl BadPixels {
    /// Finds pixels that do not count as their neighbours do.
    ///
    /// With the mean m and the variance v of every pixel over n frames, M the median of m over the eight neighbours,
    /// and D the median of
    /// |m − M| over them, the significance of a pixel is
    ///
    /// ```text
    /// z = |m − M| / √( (1.4826 D)² + max(v, median of the neighbours' v, 1/n) / n )
    /// ```
    ///
    /// Hot: z above the threshold and m above `hot_above` · M. Dead: z above it and m below `dead_below` · M; or no
    /// count at all where √(2nM), the Poisson deviance of that, is above the threshold. Stuck: v = 0 where the
    /// neighbours' median v is above 1/n and m·n is above `significance`² counts or differs from M by that much. A
    /// pixel at which a sampled frame is negative or not finite is hot.
    ///
    /// A user's own mask is simply a list of indices for [`DataSet::repaired`].
    ///
    /// # Errors
    /// - [`Error::Param`] for senseless parameters,
    /// - [`Error::OverBudget`] when three detector images and a frame a thread do not fit the limits,
    /// - whatever reading the frames gives.
    pub fn find(data: &DataSet, params: &BadPixelParams) -> Result<Self, Error> {
        let p = params;
        if p.frames == 0 {
            return Err(Error::param("frames", p.frames, "at least 1"));
        }
        for (name, v) in [("significance", p.significance), ("dead_below", p.dead_below), ("hot_above", p.hot_above)] {
            if !(v.is_finite() && v >= 0.0) {
                return Err(Error::param(name, v, "a finite number, not negative"));
            }
        }
        let s = statistics(data, p)?;
        let (dims, n) = (data.detector(), s.frames as f64);
        let mut bad = BadPixels::default();
        let (mut near, mut deviations) = (Vec::with_capacity(8), Vec::with_capacity(8));
        for i in 0..s.mean.len() {
            if s.invalid[i] {
                bad.hot.push(i);
                continue;
            }
            near.clear();
            near.extend(neighbours(dims, i, 1).filter(|&j| !s.invalid[j]));
            if near.is_empty() {
                continue;
            }
            let m_median = median(&mut near.iter().map(|&j| s.mean[j]).collect::<Vec<_>>());
            let v_median = median(&mut near.iter().map(|&j| s.variance[j]).collect::<Vec<_>>());
            deviations.clear();
            deviations.extend(near.iter().map(|&j| (s.mean[j] - m_median).abs()));
            let spread = 1.4826 * median(&mut deviations);
            let (m, v) = (s.mean[i], s.variance[i]);
            let z = (m - m_median).abs() / (spread * spread + v.max(v_median).max(1.0 / n) / n).sqrt();
            // No count at all where n·M were expected has probability e^{−nM}: the deviance √(2nM) is its significance,
            // which the variance of so few counts understates.
            let silent = 2.0 * n * m_median > p.significance * p.significance;
            // A pixel that should have seen this many counts cannot have been constant by chance.
            let counts = n * m.max(m_median) >= p.significance * p.significance;
            if z > p.significance && m > p.hot_above * m_median {
                bad.hot.push(i);
            } else if (z > p.significance || (m == 0.0 && silent)) && m < p.dead_below * m_median {
                bad.dead.push(i);
            } else if s.frames > 8 && v == 0.0 && v_median > 1.0 / n && counts {
                bad.stuck.push(i);
            }
        }
        Ok(bad)
    }

    /// All bad pixels, in increasing order: what [`DataSet::repaired`] takes.
    pub fn all(&self) -> Vec<usize> {
        let mut all = [&self.hot[..], &self.dead, &self.stuck].concat();
        all.sort_unstable();
        all
    }
}

/// Frames are cut into this many groups at most, whose sums are added in order.
const GROUPS: usize = 16;

fn statistics(data: &DataSet, p: &BadPixelParams) -> Result<Statistics, Error> {
    let (len, frames) = (data.frame_len(), p.frames.min(data.frames()));
    let groups = GROUPS.min(frames);
    // Two sums and a flag a group, and a frame a thread.
    let per_thread = 4 * len as u64 + data.view_bytes();
    let sums = (groups as u64 + 1) * 17 * len as u64;
    p.limits.check(sums + per_thread)?;
    let threads = p.par.count().min(((p.limits.bytes - sums) / per_thread) as usize).max(1);

    type Group = (Vec<f64>, Vec<f64>, Vec<bool>, Option<Error>);
    let new_group = || -> Group { (vec![0.0; len], vec![0.0; len], vec![false; len], None) };
    let mut parts: Vec<Group> = (0..groups).map(|_| new_group()).collect();
    let mut states: Vec<Vec<f32>> = vec![vec![0.0; len]; threads];
    p.par.chunks_with(&mut parts, 1, &mut states, |g, part, frame| {
        let (sum, square, invalid, failure) = &mut part[0];
        for f in g * frames / groups..(g + 1) * frames / groups {
            // Evenly spaced over all frames of the scan.
            let at = (f as u128 * data.frames() as u128 / frames as u128) as usize;
            if let Err(e) = data.source().read_frames(at, frame) {
                *failure = Some(e);
                return;
            }
            for (i, &v) in frame.iter().enumerate() {
                if v.is_finite() && v >= 0.0 {
                    sum[i] += f64::from(v);
                    square[i] += f64::from(v) * f64::from(v);
                } else {
                    invalid[i] = true;
                }
            }
        }
    });
    let (mut mean, mut square, mut invalid, _) = new_group();
    for (s, q, bad, failure) in parts {
        if let Some(e) = failure {
            return Err(e);
        }
        for i in 0..len {
            mean[i] += s[i];
            square[i] += q[i];
            invalid[i] |= bad[i];
        }
    }
    let n = frames as f64;
    let mut variance = square;
    for (m, v) in mean.iter_mut().zip(&mut variance) {
        *m /= n;
        // The rounding of the difference is far below one count over all frames.
        *v = (*v / n - *m * *m).max(0.0);
        if *v < 1e-12 * *m * *m {
            *v = 0.0;
        }
    }
    Ok(Statistics { mean, variance, invalid, frames })
}

/// A bad pixel and the good ones around it.
#[derive(Clone, Debug)]
pub(crate) struct PixelRepair {
    pixel: usize,
    good: Vec<usize>,
}

/// Most neighbours that are looked at.
const MAX_GOOD: usize = 64;

impl PixelRepair {
    /// Replaces the pixel in one frame.
    pub(crate) fn apply(&self, frame: &mut [f32], how: Repair) {
        let mut values = [0.0f32; MAX_GOOD];
        let n = self.good.len();
        for (v, &i) in values.iter_mut().zip(&self.good) {
            *v = frame[i];
        }
        let values = &mut values[..n];
        frame[self.pixel] = match how {
            Repair::Mean => values.iter().sum::<f32>() / n as f32,
            Repair::Median => {
                values.sort_unstable_by(f32::total_cmp);
                0.5 * (values[(n - 1) / 2] + values[n / 2])
            }
        };
    }
}

/// For every bad pixel the good ones in the smallest square around it that holds at least three (or all that there
/// are).
pub(crate) fn plan_repair(dims: [usize; 2], bad: &[usize]) -> Result<Vec<PixelRepair>, Error> {
    let len = dims[0] * dims[1];
    let mut is_bad = vec![false; len];
    for &i in bad {
        *is_bad.get_mut(i).ok_or_else(|| Error::param("pixels", i, "indices inside the detector"))? = true;
    }
    if is_bad.iter().all(|&b| b) {
        return Err(Error::param("pixels", bad.len(), "at least one good pixel left"));
    }
    let mut repairs = Vec::new();
    for pixel in (0..len).filter(|&i| is_bad[i]) {
        let mut good = Vec::new();
        for radius in 1..dims[0].max(dims[1]) {
            good.extend(neighbours(dims, pixel, radius).filter(|&j| !is_bad[j]).take(MAX_GOOD - good.len()));
            if good.len() >= 3 {
                break;
            }
        }
        repairs.push(PixelRepair { pixel, good });
    }
    Ok(repairs)
}

/// The pixels at Chebyshev distance `radius` from pixel `i`: the rim of a square.
fn neighbours([ny, nx]: [usize; 2], i: usize, radius: usize) -> impl Iterator<Item = usize> {
    let (r, y, x) = (radius as isize, (i / nx) as isize, (i % nx) as isize);
    (-r..=r).flat_map(move |dy| {
        let inner = dy.abs() < r;
        (-r..=r).step_by(if inner { 2 * radius } else { 1 }).filter_map(move |dx| {
            let (y, x) = (y + dy, x + dx);
            (y >= 0 && x >= 0 && y < ny as isize && x < nx as isize).then(|| y as usize * nx + x as usize)
        })
    })
}

fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    values.sort_unstable_by(f64::total_cmp);
    0.5 * (values[(n - 1) / 2] + values[n / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rim_of_a_square_is_visited_once() {
        let mut rim: Vec<usize> = neighbours([5, 5], 12, 1).collect();
        rim.sort_unstable();
        assert_eq!(rim, [6, 7, 8, 11, 13, 16, 17, 18]);
        assert_eq!(neighbours([5, 5], 12, 2).count(), 16);
        assert_eq!(neighbours([5, 5], 0, 1).count(), 3);
    }

    #[test]
    fn a_pixel_is_repaired_from_good_neighbours_only() {
        // The pixel in the middle and all but two of its neighbours are bad: the next rim is used too.
        let bad = [6, 7, 8, 11, 12, 13];
        let plan = plan_repair([5, 5], &bad).unwrap();
        let middle = plan.iter().find(|p| p.pixel == 12).unwrap();
        assert_eq!(middle.good, [16, 17, 18]);
        let mut frame: Vec<f32> = (0..25).map(|i| i as f32).collect();
        frame[12] = f32::NAN;
        middle.apply(&mut frame, Repair::Median);
        assert_eq!(frame[12], 17.0);
        frame[18] = 27.0;
        middle.apply(&mut frame, Repair::Mean);
        assert_eq!(frame[12], 20.0);
    }

    #[test]
    fn nothing_good_left_is_an_error() {
        assert!(plan_repair([1, 2], &[0, 1]).is_err());
        assert!(plan_repair([2, 2], &[4]).is_err());
    }
}
