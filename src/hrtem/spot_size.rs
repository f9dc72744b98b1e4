//! How large the spots of a diffraction pattern are.

use crate::hrtem::reflections::Spots;

/// Spots that are measured at most.
const MOST: usize = 80;
/// Fewer say nothing.
const FEWEST: usize = 5;
/// Significance of a spot that is measured.
const CLEAR: f64 = 8.0;
/// Rounds for one spot; each changes its size by at most a factor of 1.5.
const ROUNDS: usize = 60;
/// Smallest and largest size, in pixels.
const RANGE: [f64; 2] = [0.3, 50.0];

/// The standard deviation of a spot, in pixels: the median over the most significant spots; none where there are too few.
///
/// A Gaussian of variance σ² under a Gaussian window of variance s² has the variance v = σ²s²/(σ² + s²), whence
/// `σ² = 1/(1/v − 1/s²)`. The window takes the size that it finds, `s = σ`, until nothing changes: noise and neighbours
/// far from the spot count little, which they would not under a second moment without window.
pub(crate) fn spot_size(found: &Spots) -> Option<f64> {
    let mut sizes: Vec<f64> = Vec::new();
    let mut places: Vec<[f64; 2]> = Vec::new();
    for spot in found.spots.iter().filter(|s| s.significance >= CLEAR) {
        if sizes.len() == MOST {
            break;
        }
        let Some((at, sigma)) = size_of(found, spot.position, found.spot) else { continue };
        // Crests of the noise on a large spot all lead to its middle.
        if places.iter().all(|p| (p[0] - at[0]).hypot(p[1] - at[1]) > sigma) {
            places.push(at);
            sizes.push(sigma);
        }
    }
    sizes.sort_by(f64::total_cmp);
    (sizes.len() >= FEWEST).then(|| sizes[sizes.len() / 2])
}

/// Middle and size of the spot at a place; none where it has none, or pixels that cannot be used.
fn size_of(found: &Spots, start: [f64; 2], size: f64) -> Option<([f64; 2], f64)> {
    let &[ny, nx] = found.electrons.dims() else { return None };
    let (electrons, background) = (found.electrons.as_slice(), found.background.as_slice());
    let (mut at, mut s) = (start, size);
    let largest = RANGE[1].min(ny.min(nx) as f64 / 8.0);
    for _ in 0..ROUNDS {
        let reach = 3.0 * s;
        let (mut sum, mut first, mut second) = (0.0, [0.0; 2], 0.0);
        let inside = at[0] >= reach && at[1] >= reach;
        let inside = inside && at[0] + reach < (ny - 1) as f64 && at[1] + reach < (nx - 1) as f64;
        if !inside {
            return None;
        }
        for y in (at[0] - reach).ceil() as usize..=(at[0] + reach) as usize {
            for x in (at[1] - reach).ceil() as usize..=(at[1] + reach) as usize {
                let (dy, dx) = (y as f64 - at[0], x as f64 - at[1]);
                let r2 = dy * dy + dx * dx;
                let i = y * nx + x;
                if r2 > reach * reach {
                    continue;
                }
                if !found.usable.as_slice()[i] {
                    return None;
                }
                let v = (electrons[i] - background[i]) * (-0.5 * r2 / (s * s)).exp();
                sum += v;
                first = [first[0] + v * dy, first[1] + v * dx];
                second += 0.5 * v * r2;
            }
        }
        if sum <= 0.0 {
            return None;
        }
        // Under a window of the spot's own size a displaced spot shows half its displacement.
        let step = first.map(|f| (2.0 * f / sum).clamp(-0.5 * s, 0.5 * s));
        let middle = [0, 1].map(|i| first[i] / sum);
        let v = second / sum - 0.5 * (middle[0] * middle[0] + middle[1] * middle[1]);
        let inverse = 1.0 / v.max(1e-6) - 1.0 / (s * s);
        let new = if inverse > 0.0 { inverse.recip().sqrt() } else { f64::INFINITY };
        let new = new.clamp(s / 1.5, 1.5 * s);
        at = [at[0] + step[0], at[1] + step[1]];
        let settled = (new / s - 1.0).abs() < 1e-3 && step[0].hypot(step[1]) < 0.01 * s;
        s = new;
        let lost = (at[0] - start[0]).hypot(at[1] - start[1]) > 3.0 * s.max(size);
        if lost || !(RANGE[0]..=largest).contains(&s) {
            return None;
        }
        if settled {
            return Some((at, s));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::hrtem::pattern::{RecordParams, Reflection, count_pattern, expected_pattern};
    use crate::hrtem::reflections::{SpotParams, find_spots};
    use crate::units::SpatialFrequency;

    #[test]
    fn the_size_of_spots_is_measured_from_half_a_pixel_to_six() {
        for (spot, share) in [(0.6, 4e-4), (1.3, 4e-4), (2.5, 1e-3), (4.5, 4e-3), (6.0, 4e-3)] {
            let places = (0..36).map(|i| [0.27 * f64::from(i % 6) - 0.71, 0.27 * f64::from(i / 6) - 0.63]);
            let reflection = |q: [f64; 2]| Reflection {
                hkl: [1, 0, 0],
                layer: 0,
                q,
                excitation: SpatialFrequency::ZERO,
                share: share * (1.0 + (7.0 * q[0] + 3.0 * q[1]).sin().abs()),
            };
            let reflections: Vec<Reflection> = places.map(reflection).collect();
            let params = RecordParams { spot, stop: 6.0 * spot, ..RecordParams::default() };
            let counts = count_pattern(&expected_pattern(&reflections, &params).unwrap(), 5).unwrap();
            let found = find_spots(&counts, Some(&params.open().unwrap()), &SpotParams::default()).unwrap();
            // A pixel adds 1/12 to the variance. 36 spots of 180 electrons or more give 2 %; 6 % is three of that.
            let seen = (spot * spot + 1.0 / 12.0).sqrt();
            assert!((found.spot / seen - 1.0).abs() < 0.06, "{spot}: {} for {seen}", found.spot);
        }
    }

    #[test]
    fn a_pattern_without_spots_keeps_the_size_that_the_search_begins_with() {
        let flat = crate::tensor::Tensor::<f64>::full(&[64, 64], 4.0);
        let counts = count_pattern(&flat, 8).unwrap();
        assert_eq!(find_spots(&counts, None, &SpotParams::default()).unwrap().spot, 1.3);
    }
}
