//! Focus and place of each image once more, by the likelihood itself, far around where a descent has put them.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, frequency_index};
use crate::hrtem::exit_wave_objective::Objective;
use crate::hrtem::exit_wave_search::{check_reach, vertex};
use crate::hrtem::focal_series::{SHIFT, Words};
use crate::ptycho::Loss;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::units::Length;

/// A scan of each image's focus and shift with the wave as it is, before a stage of the descent. A descent ends in the nearest minimum; of a crystal
/// there are many, half a cell or a reversal of contrast apart.
///
/// For every focus the image is predicted by the full model, and its log-likelihood for all shifts of whole pixels,
///
/// ```text
/// Poisson    Σ_r w(r) [e I(r − s) − D(r) ln(e I(r − s) + b)]
/// amplitude  Σ_r w(r) [e I(r − s) − 2 √D(r) √(e I(r − s))]
/// ```
///
/// is two cross-correlations. The prediction holds only those coefficients of the wave that stand out of their counting noise: the others have been
/// fitted to the noise of the very images that are compared, and would hold each where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalScan {
    /// Foci on either side.
    pub focus_range: Length,
    /// From focus to focus.
    pub focus_step: Length,
    /// Shifts on either side, along each axis.
    pub max_shift: Length,
    /// How many standard deviations a coefficient stands out.
    pub significance: f64,
}

impl Default for FocalScan {
    fn default() -> Self {
        FocalScan {
            focus_range: Length::nm(8.0),
            focus_step: Length::angstrom(8.0),
            max_shift: Length::angstrom(5.0),
            significance: 3.0,
        }
    }
}

impl FocalScan {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_reach(self.focus_range, self.focus_step, self.max_shift)?;
        if !(self.significance >= 0.0 && self.significance.is_finite()) {
            return Err(Error::param("significance", self.significance, "a number that is not negative"));
        }
        Ok(())
    }
}

/// One focus: the smallest loss, and the shift that has it, Å.
#[derive(Clone, Copy, Debug)]
struct Fit {
    loss: f64,
    shift: [f64; 2],
}

impl Default for Fit {
    fn default() -> Self {
        Fit { loss: f64::INFINITY, shift: [0.0; 2] }
    }
}

/// The words of all images after the scan, each against the same wave. An image whose best place is where it was keeps its numbers.
pub(crate) fn rescan<T: Real>(
    scan: &FocalScan,
    objective: &mut Objective<T>,
    spectrum: &[Complex<T>],
    words: &[Words],
) -> Result<Vec<Words>, Error> {
    // A coefficient has two components of this variance.
    let seen = objective.transmission(words)?;
    let information = objective.information();
    let mut known = spectrum.to_vec();
    for (z, t) in known.iter_mut().zip(&seen) {
        let variance = 2.0 / (information * t.max(1e-6));
        if z.norm_sqr().f64() < scan.significance * scan.significance * variance {
            *z = Complex::default();
        }
    }
    let (objective, spectrum) = (&*objective, &known[..]);
    let pixel = objective.series.grid().sampling.map(|d| d.to_angstrom());
    let step = scan.focus_step.to_angstrom();
    let count = (scan.focus_range / scan.focus_step).floor() as usize;
    let n = 2 * count + 1;
    let mut out = words.to_vec();
    for (k, new) in out.iter_mut().enumerate() {
        let old = *new;
        let focus = |i: usize| old[0] + (i as f64 - count as f64) * step;
        let fits = objective.series.par.map(n, |i| {
            let mut w = old;
            w[0] = focus(i);
            one_focus(scan, objective, spectrum, &w, k).unwrap_or_default()
        });
        let best = (0..n).fold(count, |b, i| if fits[i].loss < fits[b].loss { i } else { b });
        let moved = [0, 1].map(|a| (fits[best].shift[a] - old[SHIFT + a]).abs() / pixel[a]);
        if best.abs_diff(count) <= 1 && moved[0] <= 1.0 && moved[1] <= 1.0 {
            continue;
        }
        new[0] = focus(best);
        if best > 0 && best + 1 < n {
            new[0] += step * vertex(-fits[best - 1].loss, -fits[best].loss, -fits[best + 1].loss);
        }
        new[SHIFT..].copy_from_slice(&fits[best].shift);
    }
    Ok(out)
}

fn one_focus<T: Real>(
    scan: &FocalScan,
    o: &Objective<T>,
    spectrum: &[Complex<T>],
    words: &Words,
    k: usize,
) -> Result<Fit, Error> {
    let s = &o.series;
    let [ny, nx] = s.grid().dims;
    let (len, pixel) = (ny * nx, s.grid().sampling.map(|d| d.to_angstrom()));
    let (mut table, mut buffers) = (try_zeroed(s.table_len())?, s.buffers()?);
    s.fill_table(words, &mut table)?;
    let mut bench = buffers.bench();
    s.image(&table, spectrum, &mut bench);

    // Both terms as F{a} conj F{b}: one complex transform of a pair of real images each, then one back.
    let (counts, weights, e) = (o.counts(k), o.weights(k), o.electrons[k]);
    let weight = |r: usize| weights.map_or(1.0, |w| w[r].f64());
    let (mut data, mut model): (Vec<Complex<T>>, Vec<Complex<T>>) = (try_zeroed(len)?, try_zeroed(len)?);
    for r in 0..len {
        let (y, d) = (e * bench.intensity[r].f64(), counts[r].f64());
        let (seen, by) = match o.loss() {
            Loss::Poisson { background } => (d, (y + background).ln()),
            Loss::Amplitude => (2.0 * d.sqrt(), y.max(0.0).sqrt()),
        };
        data[r] = Complex::new(T::of(-weight(r) * seen), T::of(weight(r)));
        model[r] = Complex::new(T::of(by), T::of(y));
    }
    s.fft.forward(&mut data, bench.scratch);
    s.fft.forward(&mut model, bench.scratch);
    let cross = &mut bench.psi[..len];
    for (i, out) in cross.iter_mut().enumerate() {
        let m = (ny - i / nx) % ny * nx + (nx - i % nx) % nx;
        let half = T::of(0.5);
        let parts = |z: &[Complex<T>]| {
            let (a, b) = (z[i], z[m].conj());
            let odd = (a - b).scale(half);
            ((a + b).scale(half), Complex::new(odd.im, -odd.re))
        };
        let ((d, w), (by, y)) = (parts(&data), parts(&model));
        *out = d * by.conj() + w * y.conj();
    }
    s.fft.transform(cross, Direction::Inverse, T::of(1.0 / len as f64), bench.scratch);

    // The place within reach; one nat for its edge, so that of equal ones (a lattice) the nearest is taken.
    let reach = scan.max_shift.to_angstrom();
    let mut best = Fit::default();
    let mut at = None;
    for (i, z) in cross.iter().enumerate() {
        let off = |i: usize, n: usize, a: usize| {
            // The prediction lies where the words say: the cross-correlation is about that.
            let d = frequency_index(i, n) as f64 * pixel[a];
            let period = n as f64 * pixel[a];
            d - period * (d / period).round()
        };
        let d = [off(i / nx, ny, 0), off(i % nx, nx, 1)];
        if d[0].abs() > reach || d[1].abs() > reach {
            continue;
        }
        let loss = z.re.f64() + (d[0] * d[0] + d[1] * d[1]) / (reach * reach);
        if loss < best.loss {
            best = Fit { loss, shift: d };
            at = Some(i);
        }
    }
    if let Some(i) = at {
        let (y, x) = (i / nx, i % nx);
        let v = |y: usize, x: usize| -cross[y % ny * nx + x % nx].re.f64();
        let sub = [vertex(v(y + ny - 1, x), v(y, x), v(y + 1, x)), vertex(v(y, x + nx - 1), v(y, x), v(y, x + 1))];
        best.shift = [0, 1].map(|a| words[SHIFT + a] + best.shift[a] + sub[a] * pixel[a]);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hrtem::{FocalImage, FocalSeries, FocalSeriesParams};
    use crate::optics::{Aberrations, Grid};
    use crate::par::Par;
    use crate::rng;
    use crate::tensor::Tensor;

    /// One image of a random wave, its counts where the content lies 2 and −3 pixels away, and weights that are 0 here and there.
    fn case(loss: Loss) -> (Objective<f64>, Vec<Complex<f64>>) {
        let grid = Grid { dims: [12, 10], sampling: [Length::angstrom(0.4); 2] };
        let images = FocalImage::series(&[Length::nm(12.0)], &Aberrations::default());
        let params = FocalSeriesParams { grid, images, par: Par::seq(), ..FocalSeriesParams::default() };
        let mut r = rng::stream(5, 0);
        let wave: Vec<_> = (0..120).map(|_| Complex::cis(0.8 * rng::normal(&mut r))).collect();
        let series = FocalSeries::new(&params).unwrap();
        let image = series.images(&wave).unwrap();
        let counts = Tensor::from_fn(&[1, 12, 10], |i| {
            rng::poisson(&mut r, 60.0 * image[[0, (i[1] + 12 - 2) % 12, (i[2] + 3) % 10]])
        });
        let weights = Tensor::from_fn(&[1, 12, 10], |i| f64::from(u8::from((i[1] * 7 + i[2] * 3) % 11 != 0)));
        let mut spectrum = vec![Complex::default(); series.frequencies()];
        series.spectrum_of(&mut wave.clone(), &mut spectrum, &mut vec![Complex::default(); series.fft.scratch_len()]);
        (Objective::new(series, &counts, Some(&weights), loss).unwrap(), spectrum)
    }

    #[test]
    fn the_best_place_is_that_of_the_sums_over_pixels() {
        let scan = FocalScan { max_shift: Length::angstrom(1.9), ..FocalScan::default() };
        for loss in [Loss::Poisson { background: 0.1 }, Loss::Amplitude] {
            let (objective, spectrum) = case(loss);
            let words = objective.series.words()[0];
            let fit = one_focus(&scan, &objective, &spectrum, &words, 0).unwrap();
            // The same by sums.
            let mut buffers = objective.series.buffers().unwrap();
            let mut table = vec![Complex::default(); objective.series.table_len()];
            objective.series.fill_table(&words, &mut table).unwrap();
            let mut bench = buffers.bench();
            objective.series.image(&table, &spectrum, &mut bench);
            let (d, w, e) = (objective.counts(0), objective.weights(0).unwrap(), objective.electrons[0]);
            let mut best = Fit::default();
            for dy in -4i32..=4 {
                for dx in -4i32..=4 {
                    let mut sum = 0.16 * f64::from(dy * dy + dx * dx) / (1.9 * 1.9);
                    for r in 0..120 {
                        let (y, x) = ((r / 10) as i32 - dy, (r % 10) as i32 - dx);
                        let y = e * bench.intensity[(y.rem_euclid(12) * 10 + x.rem_euclid(10)) as usize];
                        sum += w[r]
                            * match loss {
                                Loss::Poisson { background } => y - d[r] * (y + background).ln(),
                                Loss::Amplitude => y - 2.0 * d[r].sqrt() * y.sqrt(),
                            };
                    }
                    if sum < best.loss {
                        best = Fit { loss: sum, shift: [0.4 * f64::from(dy), 0.4 * f64::from(dx)] };
                    }
                }
            }
            // Sums of 120 terms of some hundred, by transforms.
            assert!((best.loss - fit.loss).abs() < 1e-8, "{} {}", best.loss, fit.loss);
            assert_eq!(best.shift, [0.4 * 2.0, 0.4 * -3.0]);
            // The vertex is within half a pixel of it.
            assert!((0..2).all(|a| (fit.shift[a] - best.shift[a]).abs() <= 0.2 + 1e-12));
        }
    }
}
