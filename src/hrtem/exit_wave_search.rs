//! Where the images of a focal series lie, and how their foci differ from the nominal ones, before anything is known.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::frequency_index;
use crate::hrtem::FocalSeries;
use crate::hrtem::exit_wave_linear::Linear;
use crate::hrtem::focal_series::{SHIFT, Words};
use crate::observe::{Observer, Step};
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::units::Length;

/// The search for shifts and foci that precedes the descent.
///
/// A reference image is restored by linear theory; the image next to it in focus is registered to what the restored wave predicts, for every focus
/// of a range, by cross-correlation; it joins the restoration; and so on outwards. Then each image in turn is registered to what all others
/// predict, in ever smaller ranges. This is done for several references; of each the first two stages of the descent are tried, and the one with the
/// smallest loss is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalSearch {
    /// A focus may be wrong by this.
    pub focus_range: Length,
    /// First step of the scan over foci.
    pub focus_step: Length,
    /// A shift between neighbours is smaller than this, along each axis.
    pub max_shift: Length,
    /// Rounds over all images.
    pub sweeps: usize,
    /// How many references are tried.
    pub starts: usize,
    /// ε of the linear restoration.
    pub epsilon: f64,
}

impl Default for FocalSearch {
    fn default() -> Self {
        FocalSearch {
            focus_range: Length::nm(8.0),
            focus_step: Length::angstrom(10.0),
            max_shift: Length::angstrom(5.0),
            sweeps: 2,
            starts: 3,
            epsilon: 0.3,
        }
    }
}

impl FocalSearch {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_reach(self.focus_range, self.focus_step, self.max_shift)?;
        if self.starts == 0 || self.sweeps > 1000 {
            let got = format!("{} starts, {} sweeps", self.starts, self.sweeps);
            return Err(Error::param("starts", got, "at least one start, at most 1000 sweeps"));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::param("epsilon", self.epsilon, "a positive number"));
        }
        Ok(())
    }
}

/// What a scan of foci and shifts can cover.
pub(crate) fn check_reach(focus_range: Length, focus_step: Length, max_shift: Length) -> Result<(), Error> {
    let (r, s) = (focus_range, focus_step);
    if !(r >= Length::ZERO && s > Length::ZERO && r / s <= 1000.0) {
        return Err(Error::param("focus_range, focus_step", format!("{r}, {s}"), "at most 1000 steps"));
    }
    if !(max_shift > Length::ZERO && max_shift.is_finite()) {
        return Err(Error::param("max_shift", max_shift, "a positive length"));
    }
    Ok(())
}

/// How well one focus explains an image.
#[derive(Clone, Copy, Debug, Default)]
struct Fit {
    score: f64,
    shift: [f64; 2],
}

/// What every start leads to, in their order; one at least.
pub(crate) fn search<T: Real>(
    params: &FocalSearch,
    series: &FocalSeries<T>,
    spectra: &[Vec<Complex<T>>],
    observe: Observer<'_>,
) -> Result<Vec<Vec<Words>>, Error> {
    let n = series.count();
    let starts = params.starts.min(n);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| series.words()[a][0].total_cmp(&series.words()[b][0]));
    let mut all = Vec::with_capacity(starts);
    let total = starts * (params.sweeps + 1);
    for start in 0..starts {
        let reference = order[(2 * start + 1) * n / (2 * starts)];
        let mut one = Search { params, series, spectra, linear: Linear::new(series)?, words: series.words().to_vec() };
        one.grow(reference)?;
        let mut left = !observe(&Step::new(start * (params.sweeps + 1) + 1, total, f64::NAN)).is_break();
        for sweep in 0..params.sweeps {
            if !left {
                break;
            }
            one.sweep(reference, 0.65f64.powi(sweep as i32 + 1))?;
            let done = start * (params.sweeps + 1) + sweep + 2;
            left = !observe(&Step::new(done, total, one.residual()?)).is_break();
        }
        all.push(one.words);
        if !left {
            break;
        }
    }
    Ok(all)
}

struct Search<'a, T: Real> {
    params: &'a FocalSearch,
    series: &'a FocalSeries<T>,
    spectra: &'a [Vec<Complex<T>>],
    linear: Linear<T>,
    words: Vec<Words>,
}

impl<T: Real> Search<'_, T> {
    /// Image after image, from the reference outwards in focus.
    fn grow(&mut self, reference: usize) -> Result<(), Error> {
        let nominal = |k: usize| self.series.words()[k][0];
        let mut order: Vec<usize> = (0..self.words.len()).filter(|&k| k != reference).collect();
        let far = |k: usize| (nominal(k) - nominal(reference)).abs();
        order.sort_by(|&a, &b| far(a).total_cmp(&far(b)).then(a.cmp(&b)));
        self.linear.set(self.series, reference, &self.words[reference])?;
        let mut known = vec![reference];
        for k in order {
            let phi = self.linear.restore(self.series, self.spectra, &known, self.params.epsilon);
            // Foci are expected to be off by what the others were off by, shifts to be that of the nearest in focus.
            let off = known.iter().map(|&j| self.words[j][0] - nominal(j)).sum::<f64>() / known.len() as f64;
            let near = |&&j: &&usize| (nominal(j) - nominal(k)).abs();
            let nearest = known.iter().min_by(|a, b| near(a).total_cmp(&near(b))).copied().unwrap_or(reference);
            let mut words = self.words[k];
            words[0] = nominal(k) + off;
            words[SHIFT..].copy_from_slice(&self.words[nearest][SHIFT..]);
            self.register(k, words, &phi, 1.0)?;
            known.push(k);
        }
        Ok(())
    }

    /// Every image but the reference against all others.
    fn sweep(&mut self, reference: usize, range: f64) -> Result<(), Error> {
        for k in (0..self.words.len()).filter(|&k| k != reference) {
            let others: Vec<usize> = (0..self.words.len()).filter(|&j| j != k).collect();
            let phi = self.linear.restore(self.series, self.spectra, &others, self.params.epsilon);
            self.register(k, self.words[k], &phi, range)?;
        }
        Ok(())
    }

    /// The best focus and shift of image k about `around`, the range of foci and the step being `part` of the parameters'.
    fn register(&mut self, k: usize, around: Words, phi: &[Complex<T>], part: f64) -> Result<(), Error> {
        let step = self.params.focus_step.to_angstrom() * part;
        let count = (self.params.focus_range / self.params.focus_step).floor() as usize;
        let at = |i: usize| around[0] + (i as f64 - count as f64) * step;
        let n = 2 * count + 1;
        let fits = self.series.par.map(n, |i| {
            let mut words = around;
            words[0] = at(i);
            (words[SHIFT], words[SHIFT + 1]) = (0.0, 0.0);
            self.fit(k, &words, [around[SHIFT], around[SHIFT + 1]], phi).unwrap_or_default()
        });
        let best = (0..n).fold(count, |b, i| if fits[i].score > fits[b].score { i } else { b });
        let mut words = around;
        words[0] = at(best);
        if best > 0 && best + 1 < n {
            words[0] += step * vertex(fits[best - 1].score, fits[best].score, fits[best + 1].score);
        }
        words[SHIFT..].copy_from_slice(&fits[best].shift);
        self.words[k] = words;
        self.linear.set(self.series, k, &words)
    }

    /// The cross-correlation of image k with the prediction for `words`, normalised by the latter.
    fn fit(&self, k: usize, words: &Words, expected: [f64; 2], phi: &[Complex<T>]) -> Result<Fit, Error> {
        let s = self.series;
        let [ny, nx] = s.grid().dims;
        let (mut table, mut there) = (try_zeroed(s.frequencies())?, try_zeroed(s.frequencies())?);
        s.fill_linear(words, &mut table)?;
        Linear::predict(s, &table, phi, &mut there);
        let power: f64 = there.iter().map(|z| z.norm_sqr().f64()).sum();
        there.iter_mut().zip(&self.spectra[k]).for_each(|(z, d)| *z = z.conj() * d);
        let (mut wave, mut scratch) = (try_zeroed(ny * nx)?, try_zeroed(s.fft.scratch_len())?);
        s.wave_of(&there, T::ONE, &mut wave, &mut scratch);

        // The highest place within reach; of equal ones (a lattice) that nearest to what is expected.
        let pixel = s.grid().sampling.map(|d| d.to_angstrom());
        let reach = self.params.max_shift.to_angstrom();
        let highest = wave.iter().fold(0.0f64, |m, z| m.max(z.re.f64()));
        let (mut best, mut value) = (None, f64::NEG_INFINITY);
        for (i, z) in wave.iter().enumerate() {
            let off = |i: usize, n: usize, a: usize| {
                let d = frequency_index(i, n) as f64 * pixel[a] - expected[a];
                let period = n as f64 * pixel[a];
                d - period * (d / period).round()
            };
            let d = [off(i / nx, ny, 0), off(i % nx, nx, 1)];
            if d[0].abs() > reach || d[1].abs() > reach {
                continue;
            }
            let v = z.re.f64() - 0.01 * highest * (d[0] * d[0] + d[1] * d[1]) / (reach * reach);
            if v > value {
                (best, value) = (Some((i, d)), v);
            }
        }
        let Some((i, d)) = best else { return Ok(Fit { score: 0.0, shift: expected }) };
        let (y, x) = (i / nx, i % nx);
        let v = |y: usize, x: usize| wave[y % ny * nx + x % nx].re.f64();
        let sub = [vertex(v(y + ny - 1, x), v(y, x), v(y + 1, x)), vertex(v(y, x + nx - 1), v(y, x), v(y, x + 1))];
        let shift = [0, 1].map(|a| expected[a] + d[a] + sub[a] * pixel[a]);
        Ok(Fit { score: value / power.sqrt().max(f64::MIN_POSITIVE), shift })
    }

    /// `Σ_k |D_k − D̂_k|²/Σ_k |D_k|²` of the wave restored from all.
    fn residual(&self) -> Result<f64, Error> {
        let s = self.series;
        let all: Vec<usize> = (0..self.words.len()).collect();
        let phi = self.linear.restore(s, self.spectra, &all, self.params.epsilon);
        let mut there = try_zeroed(s.frequencies())?;
        let (mut left, mut total) = (0.0, 0.0);
        for k in all {
            Linear::predict(s, &self.linear.tables[k], &phi, &mut there);
            for (z, d) in there.iter().zip(&self.spectra[k]) {
                left += (d - z).norm_sqr().f64();
                total += d.norm_sqr().f64();
            }
        }
        Ok(left / total.max(f64::MIN_POSITIVE))
    }
}

/// Where the parabola through three values one apart has its vertex; 0 where it has no maximum.
pub(crate) fn vertex(a: f64, b: f64, c: f64) -> f64 {
    let curvature = a - 2.0 * b + c;
    if curvature < 0.0 { (0.5 * (a - c) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
}
