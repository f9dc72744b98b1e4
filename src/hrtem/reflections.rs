//! Reflections in a recorded diffraction pattern: what cannot be used, the background, the spots.

use crate::error::Error;
use crate::hrtem::spot_size::spot_size;
use crate::tensor::Tensor;

/// Electrons a pixel below which the background does not count as lower.
const FAINT: f64 = 0.02;
/// The size of spots from which a search begins, and which stands where there are too few to measure, in pixels.
const START: f64 = 1.3;
/// The least window, in pixels, and the window of large spots in their standard deviations.
const WINDOW: [f64; 2] = [12.0, 3.5];
/// Searches for the size of spots, and the change of its logarithm that ends them.
const SEARCHES: usize = 5;
const SETTLED: f64 = 0.03;

/// How spots are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpotParams {
    /// Standard deviation of a spot, in pixels; measured from the strongest spots where it is not given.
    pub spot: Option<f64>,
    /// Standard deviation of the window in which the background is averaged, in pixels; well above the spots'
    /// distance from one another where they are close. Where it is not given: 3.5 spots, at least 12 pixels.
    pub window: Option<f64>,
    /// Significance from which on a maximum is a spot, in standard deviations.
    pub threshold: f64,
    /// Values from here on are saturated; infinite where no camera saturates.
    pub saturation: f64,
    /// Camera units an electron; measured from the noise where it is not known.
    pub gain: Option<f64>,
    /// Largest number of spots: the most significant are kept.
    pub most: usize,
}

/// The size of spots measured, the window after it, 5 standard deviations, no saturation, counted electrons, 2000 spots.
impl Default for SpotParams {
    fn default() -> Self {
        SpotParams { spot: None, window: None, threshold: 5.0, saturation: f64::INFINITY, gain: Some(1.0), most: 2000 }
    }
}

/// One spot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Its place, `[y, x]` in pixels.
    pub position: [f64; 2],
    /// Standard deviation of each coordinate, from its electrons and the background's.
    pub sigma: f64,
    /// Its electrons, background taken off.
    pub electrons: f64,
    /// How many standard deviations it stands above the background.
    pub significance: f64,
}

/// What a pattern shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Spots {
    /// The spots, most significant first.
    pub spots: Vec<Spot>,
    /// Pixels that can be used: not masked, finite, neither saturated nor hot.
    pub usable: Tensor<bool>,
    /// The background, in electrons a pixel.
    pub background: Tensor<f64>,
    /// The pattern in electrons; 0 where it cannot be used.
    pub electrons: Tensor<f64>,
    /// Camera units an electron.
    pub gain: f64,
    /// Standard deviation of a spot, in pixels: given or measured.
    pub spot: f64,
    /// How many pixels are hot.
    pub hot: usize,
    /// How many are saturated.
    pub saturated: usize,
}

/// Finds the spots of a pattern.
///
/// The background is the mean of the pixels around, weighted by a Gaussian window, without those that stand out,
/// and the same mean of what is
/// left; three rounds. With
/// weights h of the spot's shape, `n = Σ h I` and `m = Σ h b` have the statistics of n/f counts, `f = Σ h²b/Σ h
/// b`, so that
///
/// ```text
/// z² = 2 [n ln(n/m) − n + m]/f
/// ```
///
/// is the square of a significance for single electrons on an empty background as for thousands (it becomes (n −
/// m)²/(f m) for large
/// counts). A maximum of z above the threshold is a spot; its centre of mass under h is iterated.
///
/// A pixel is hot when it holds at least 20 electrons and ten times as much as any of its neighbours: no spot is
/// that sharp.
///
/// A size of the spots that is not given is the median of the strongest ones' (second moments under a Gaussian of the
/// spot's own size), with which spots and background are sought again until it stays.
///
/// # Shapes
/// `pattern` and `mask` (true where usable) are `[y, x]`.
///
/// # Errors
/// [`Error::Shape`] where they differ or are not pictures; [`Error::Param`] for parameters out of range;
/// [`Error::Data`] for a
/// pattern without usable pixels.
///
/// # References
/// z: signed root of the Poisson deviance, T.-P. Li, Y.-Q. Ma, *Astrophys. J.* 272, 317 (1983), equation 17 with
/// a known background.
pub fn find_spots(pattern: &Tensor<f64>, mask: Option<&Tensor<bool>>, params: &SpotParams) -> Result<Spots, Error> {
    let &[ny, nx] = pattern.dims() else { return Err(Error::shape("find_spots", &[0, 0], pattern.dims())) };
    if mask.is_some_and(|m| m.dims() != pattern.dims()) {
        return Err(Error::shape("find_spots mask", pattern.dims(), mask.map_or(&[], |m| m.dims())));
    }
    check(params)?;
    if ny < 8 || nx < 8 {
        return Err(Error::shape("find_spots", &[8, 8], pattern.dims()));
    }

    // What can be used.
    let n = ny * nx;
    let (mut hot, mut saturated) = (0, 0);
    let mut usable = vec![true; n];
    let values = pattern.as_slice();
    for i in 0..n {
        let v = values[i];
        let open = mask.is_none_or(|m| m.as_slice()[i]);
        usable[i] = open && v.is_finite() && v < params.saturation;
        saturated += usize::from(open && v >= params.saturation);
    }
    let gain = match params.gain {
        Some(gain) => gain,
        None => measured_gain(values, &usable, [ny, nx]),
    };
    let mut electrons: Vec<f64> =
        values.iter().zip(&usable).map(|(&v, &open)| if open { (v / gain).max(0.0) } else { 0.0 }).collect();
    for y in 0..ny {
        for x in 0..nx {
            let v = electrons[y * nx + x];
            if v < 20.0 {
                continue;
            }
            let near = (-1i64..=1).flat_map(|j| (-1i64..=1).map(move |i| (j, i))).filter(|&d| d != (0, 0));
            let at = |(j, i): (i64, i64)| {
                let (y, x) = (y as i64 + j, x as i64 + i);
                let inside = y >= 0 && x >= 0 && y < ny as i64 && x < nx as i64;
                inside.then(|| y as usize * nx + x as usize).filter(|&k| usable[k])
            };
            let around: Vec<f64> = near.filter_map(at).map(|k| electrons[k]).collect();
            if !around.is_empty() && around.iter().all(|&a| v > 10.0 * a) {
                usable[y * nx + x] = false;
                hot += 1;
            }
        }
    }
    electrons.iter_mut().zip(&usable).filter(|(_, open)| !**open).for_each(|(v, _)| *v = 0.0);
    if !usable.contains(&true) {
        return Err(Error::Data { what: "a pattern without usable pixels".into(), index: 0 });
    }

    // The size of the spots: what they are with the last one, until it stays.
    let (electrons, usable) = (Tensor::from_vec(&[ny, nx], electrons)?, Tensor::from_vec(&[ny, nx], usable)?);
    let search = |spot: f64| -> Result<Spots, Error> {
        let window = params.window.unwrap_or(WINDOW[0].max(WINDOW[1] * spot));
        let (spots, background) = spots_of_size(&electrons, &usable, spot, window, params);
        let background = Tensor::from_vec(&[ny, nx], background)?;
        let (electrons, usable) = (electrons.clone(), usable.clone());
        Ok(Spots { spots, usable, background, electrons, gain, spot, hot, saturated })
    };
    let mut found = search(params.spot.unwrap_or(START))?;
    if params.spot.is_none() {
        for _ in 0..SEARCHES {
            let Some(spot) = spot_size(&found) else { break };
            let change = (spot / found.spot).ln().abs();
            if change > 1e-3 {
                found = search(spot)?;
            }
            if change < SETTLED {
                break;
            }
        }
    }
    Ok(found)
}

/// The spots of a given size, most significant first, and the background.
fn spots_of_size(
    electrons: &Tensor<f64>,
    usable: &Tensor<bool>,
    size: f64,
    window: f64,
    params: &SpotParams,
) -> (Vec<Spot>, Vec<f64>) {
    let &[ny, nx] = electrons.dims() else { unreachable!("a pattern has two axes") };
    let (electrons, usable) = (electrons.as_slice(), usable.as_slice());
    let n = ny * nx;

    // Background and significance, in turns.
    let h = kernel(size);
    let h2: Vec<f64> = h.iter().map(|h| h * h).collect();
    let h_sum: f64 = h.iter().sum();
    let mut quiet = usable.to_vec();
    let mut background = vec![0.0; n];
    let mut z = vec![0.0; n];
    let flat = electrons.iter().sum::<f64>() / usable.iter().filter(|u| **u).count() as f64;
    for round in 0..3 {
        let wide = gaussian(window);
        let weight: Vec<f64> = quiet.iter().map(|&q| f64::from(q)).collect();
        let value: Vec<f64> = electrons.iter().zip(&weight).map(|(e, w)| e * w).collect();
        let quiet_weight = weight.clone();
        let (value, weight) = (blur(&value, [ny, nx], &wide), blur(&weight, [ny, nx], &wide));
        for i in 0..n {
            // Far from every quiet pixel the mean of the whole pattern stands in.
            background[i] = if weight[i] > 1e-6 { value[i] / weight[i] } else { flat };
        }
        // Once more on what is left: crests of rings and the halo of the beam, which one mean flattens.
        let left: Vec<f64> = (0..n).map(|i| (electrons[i] - background[i]) * quiet_weight[i]).collect();
        let left = blur(&left, [ny, nx], &wide);
        for i in 0..n {
            if weight[i] > 1e-6 {
                background[i] = (background[i] + left[i] / weight[i]).max(0.0);
            }
        }
        let open: Vec<f64> = usable.iter().map(|&u| f64::from(u)).collect();
        let under: Vec<f64> = background.iter().zip(&open).map(|(b, o)| b * o).collect();
        let (count, mean, var) =
            (blur(electrons, [ny, nx], &h), blur(&under, [ny, nx], &h), blur(&under, [ny, nx], &h2));
        for i in 0..n {
            // Where next to nothing is expected two electrons in a place are chance: one pixel in ten
            // thousand has them.
            let least = FAINT * h_sum * h_sum;
            z[i] = significance(count[i], mean[i].max(least), var[i].max(0.5 * least));
        }
        if round < 2 {
            for i in 0..n {
                quiet[i] = usable[i] && z[i] < 2.5;
            }
        }
    }

    let reach = (1.5 * size).ceil() as usize;
    let mut spots = Vec::new();
    for y in 1..ny - 1 {
        for x in 1..nx - 1 {
            let i = y * nx + x;
            if !usable[i] || z[i] < params.threshold {
                continue;
            }
            let (y0, y1) = (y.saturating_sub(reach), (y + reach).min(ny - 1));
            let (x0, x1) = (x.saturating_sub(reach), (x + reach).min(nx - 1));
            let highest = (y0..=y1).all(|v| {
                (x0..=x1).all(|u| {
                    let k = v * nx + u;
                    // Of equal neighbours the first counts.
                    z[k] < z[i] || (z[k] == z[i] && k >= i)
                })
            });
            if !highest {
                continue;
            }
            if let Some(spot) = refine([y, x], [ny, nx], electrons, &background, usable, size) {
                spots.push(Spot { significance: z[i], ..spot });
            }
        }
    }
    spots.sort_by(|a, b| b.significance.total_cmp(&a.significance));
    spots.truncate(params.most);
    (spots, background)
}

fn check(params: &SpotParams) -> Result<(), Error> {
    if params.spot.is_some_and(|s| !(0.3..=50.0).contains(&s)) {
        return Err(Error::param("spot", params.spot.unwrap_or(0.0), "0.3 to 50 pixels"));
    }
    if params.window.is_some_and(|w| !(w >= params.spot.unwrap_or(START) && w <= 1000.0)) {
        return Err(Error::param("window", params.window.unwrap_or(0.0), "from the size of a spot to 1000 pixels"));
    }
    if !(params.threshold > 0.0 && !params.saturation.is_nan() && params.most > 0) {
        return Err(Error::param("threshold", params.threshold, "above 0, with a saturation and at least one spot"));
    }
    if params.gain.is_some_and(|g| !(g > 0.0 && g.is_finite())) {
        return Err(Error::param("gain", params.gain.unwrap_or(0.0), "a positive number of units an electron"));
    }
    Ok(())
}

/// Signed root of the deviance of n against m, of which `var` is the variance.
fn significance(n: f64, m: f64, var: f64) -> f64 {
    let f = var / m;
    let log = if n > 0.0 { n * (n / m).ln() } else { 0.0 };
    (2.0 * (log - n + m).max(0.0) / f).sqrt().copysign(n - m)
}

/// Variance over mean of what is left when neighbours are subtracted: half the squared difference of pixels two
/// apart over their
/// mean, median over blocks of 16².
fn measured_gain(values: &[f64], usable: &[bool], [ny, nx]: [usize; 2]) -> f64 {
    const BLOCK: usize = 16;
    let mut ratios = Vec::new();
    for by in (0..ny).step_by(BLOCK) {
        for bx in (0..nx).step_by(BLOCK) {
            let (mut var, mut mean, mut count) = (0.0, 0.0, 0.0);
            for y in by..(by + BLOCK).min(ny) {
                for x in bx..(bx + BLOCK).min(nx).saturating_sub(2) {
                    let (i, j) = (y * nx + x, y * nx + x + 2);
                    if usable[i] && usable[j] {
                        var += 0.5 * (values[i] - values[j]).powi(2);
                        mean += 0.5 * (values[i] + values[j]);
                        count += 1.0;
                    }
                }
            }
            if count >= 64.0 && mean > 0.0 {
                ratios.push(var / mean);
            }
        }
    }
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().filter(|r| *r > 0.0 && r.is_finite()).unwrap_or(1.0)
}

/// exp(−x²/2σ²) at whole pixels to 3σ, its middle 1.
fn kernel(sigma: f64) -> Vec<f64> {
    let reach = (3.0 * sigma).ceil() as i32;
    (-reach..=reach).map(|x| (-0.5 * (f64::from(x) / sigma).powi(2)).exp()).collect()
}

/// The same of sum 1.
fn gaussian(sigma: f64) -> Vec<f64> {
    let k = kernel(sigma);
    let sum: f64 = k.iter().sum();
    k.iter().map(|v| v / sum).collect()
}

/// Correlation with a kernel along both axes; zeros outside.
fn blur(x: &[f64], [ny, nx]: [usize; 2], kernel: &[f64]) -> Vec<f64> {
    let r = kernel.len() / 2;
    let mut rows = vec![0.0; ny * nx];
    for y in 0..ny {
        for x0 in 0..nx {
            let (low, high) = (x0.saturating_sub(r), (x0 + r).min(nx - 1));
            let k = &kernel[low + r - x0..=high + r - x0];
            rows[y * nx + x0] = k.iter().zip(&x[y * nx + low..=y * nx + high]).map(|(k, v)| k * v).sum();
        }
    }
    let mut out = vec![0.0; ny * nx];
    for y in 0..ny {
        let (low, high) = (y.saturating_sub(r), (y + r).min(ny - 1));
        for v in low..=high {
            let k = kernel[v + r - y];
            let (row, from) = (&mut out[y * nx..(y + 1) * nx], &rows[v * nx..(v + 1) * nx]);
            row.iter_mut().zip(from).for_each(|(o, f)| *o += k * f);
        }
    }
    out
}

/// Centre of mass under a Gaussian window that follows it, twice as steep as the window alone would say.
fn refine(
    start: [usize; 2],
    [ny, nx]: [usize; 2],
    electrons: &[f64],
    background: &[f64],
    usable: &[bool],
    sigma: f64,
) -> Option<Spot> {
    let mut at = start.map(|i| i as f64);
    let reach = 3.0 * sigma;
    let (mut count, mut under, mut norm) = (0.0, 0.0, 0.0);
    for _ in 0..6 {
        let (mut my, mut mx) = (0.0, 0.0);
        (count, under, norm) = (0.0, 0.0, 0.0);
        let low = |c: f64| (c - reach).max(0.0) as usize;
        for y in low(at[0])..((at[0] + reach) as usize + 1).min(ny) {
            for x in low(at[1])..((at[1] + reach) as usize + 1).min(nx) {
                let i = y * nx + x;
                if !usable[i] {
                    continue;
                }
                let (dy, dx) = (y as f64 - at[0], x as f64 - at[1]);
                let h = (-0.5 * (dy * dy + dx * dx) / (sigma * sigma)).exp();
                let v = electrons[i] - background[i];
                (my, mx, count) = (my + h * v * dy, mx + h * v * dx, count + h * v);
                under += h * background[i];
                norm += h * h / (2.0 * std::f64::consts::PI * sigma * sigma);
            }
        }
        if count.is_nan() || count <= 0.0 {
            return None;
        }
        // Under a window of the spot's own width a displaced spot shows half its displacement.
        let step = [2.0 * my / count, 2.0 * mx / count].map(|s| s.clamp(-0.5 * sigma, 0.5 * sigma));
        at = [at[0] + step[0], at[1] + step[1]];
        let far = (at[0] - start[0] as f64).hypot(at[1] - start[1] as f64);
        if far > 2.0 * sigma || at[0] < 0.0 || at[1] < 0.0 || at[0] > (ny - 1) as f64 || at[1] > (nx - 1) as f64 {
            return None;
        }
        if step[0].hypot(step[1]) < 1e-4 * sigma {
            break;
        }
    }
    let total = count / norm.max(1e-9);
    // Variance of the centre under this window: 16/9 σ² over the electrons N, and 2 σ² u/N² of a background of
    // u electrons on 4πσ².
    let area = under / norm.max(1e-9);
    let sigma_position = sigma * ((16.0 / 9.0 + 2.0 * area / total.max(1e-9)) / total.max(1e-9)).sqrt();
    Some(Spot { position: at, sigma: sigma_position, electrons: total, significance: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hrtem::pattern::{RecordParams, Reflection, count_pattern, expected_pattern};
    use crate::units::SpatialFrequency;

    fn reflection(y: f64, x: f64, share: f64) -> Reflection {
        Reflection { hkl: [1, 0, 0], layer: 0, q: [y, x], excitation: SpatialFrequency::ZERO, share }
    }

    #[test]
    fn spots_are_found_to_their_counting_statistics_and_noise_is_not() {
        let spiral = |i: i32| {
            let (sin, cos) = (0.26 * f64::from(i)).sin_cos();
            [sin, cos].map(|v| (0.4 + 0.02 * f64::from(i)) * v)
        };
        let places: Vec<[f64; 2]> = (0..24).map(spiral).collect();
        let reflections: Vec<Reflection> = places.iter().map(|p| reflection(p[0], p[1], 4e-4)).collect();
        let params = RecordParams::default();
        let counts = count_pattern(&expected_pattern(&reflections, &params).unwrap(), 4).unwrap();
        let found = find_spots(&counts, Some(&params.open().unwrap()), &SpotParams::default()).unwrap();
        let pixel = params.pixel.to_per_angstrom();
        let mut chi2 = 0.0;
        for p in &places {
            let at = [0, 1].map(|i| params.centre[i] + p[i] / pixel);
            let d = |s: &Spot| (s.position[0] - at[0]).hypot(s.position[1] - at[1]);
            let nearest = found.spots.iter().min_by(|a, b| d(a).total_cmp(&d(b))).unwrap();
            chi2 += (d(nearest) / nearest.sigma).powi(2);
            // 180 electrons on a background of a few.
            assert!((nearest.electrons - 180.0).abs() < 4.0 * 200f64.sqrt(), "{nearest:?}");
        }
        // 48 coordinates: their mean square deviation is 1 within four of its standard deviations √(2/48).
        assert!((chi2 / 48.0 - 1.0).abs() < 0.82, "{}", chi2 / 48.0);
        // Noise reaches 5 σ once in 10⁶ pixels; the halo of the direct beam around its stop is no noise.
        let far = found.spots.iter().filter(|s| (s.position[0] - 256.0).hypot(s.position[1] - 256.0) > 20.0).count();
        assert!(far <= 26, "{far}");
    }

    #[test]
    fn hot_saturated_and_masked_pixels_are_no_spots() {
        let mut pattern = Tensor::<f64>::full(&[64, 64], 1.0);
        pattern[[20, 20]] = 500.0;
        pattern[[40, 41]] = f64::NAN;
        pattern[[10, 50]] = 1e5;
        let mask = Tensor::from_fn(&[64, 64], |i| i[0] < 60);
        let params = SpotParams { saturation: 6e4, ..SpotParams::default() };
        let s = find_spots(&pattern, Some(&mask), &params).unwrap();
        assert_eq!((s.hot, s.saturated, s.spots.len()), (1, 1, 0));
        assert!(!s.usable[[20, 20]] && !s.usable[[40, 41]] && !s.usable[[62, 3]]);
    }

    #[test]
    fn the_gain_of_a_camera_is_measured_from_its_noise() {
        let flat = Tensor::<f64>::full(&[128, 128], 7.0);
        let counts = count_pattern(&flat, 8).unwrap().map(|v| 30.0 * v);
        let s = find_spots(&counts, None, &SpotParams { gain: None, ..SpotParams::default() }).unwrap();
        // 64 blocks of 224 pairs: a variance to 10 %, its median to 2 %.
        assert!((s.gain / 30.0 - 1.0).abs() < 0.06, "{}", s.gain);
    }

    #[test]
    fn wrong_shapes_and_parameters_are_errors() {
        let p = SpotParams::default();
        let flat = Tensor::<f64>::zeros(&[16, 16]);
        assert!(find_spots(&Tensor::zeros(&[16]), None, &p).is_err());
        assert!(find_spots(&flat, Some(&Tensor::full(&[16, 15], true)), &p).is_err());
        assert!(find_spots(&flat, Some(&Tensor::full(&[16, 16], false)), &p).is_err());
        assert!(find_spots(&flat, None, &SpotParams { spot: Some(f64::NAN), ..p }).is_err());
        assert!(find_spots(&flat, None, &SpotParams { gain: Some(0.0), ..p }).is_err());
        assert!(find_spots(&flat, None, &p).unwrap().spots.is_empty());
    }
}
