//! The loss of a focal series and its gradients by the wave and by the images' numbers.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::FocalSeries;
use crate::hrtem::focal_series::{Buffers, SHIFT, Words};
use crate::ptycho::Loss;
use crate::real::Real;
use crate::shape::{checked_len, try_reserved, try_zeroed};
use crate::tensor::Tensor;

/// One image's part of the gradient.
#[derive(Debug)]
struct Part<T: Real> {
    by_spectrum: Vec<Complex<T>>,
    by_words: Words,
    loss: f64,
}

/// `L = 1/M Σ_k Σ_r w ℓ(e_k I_k(r), D_k(r))`, e_k being the mean count of image k and M = Σ w: the wave has a mean intensity of 1, whatever the dose.
#[derive(Debug)]
pub(crate) struct Objective<T: Real> {
    pub series: FocalSeries<T>,
    loss: Loss,
    /// Counts (n, ny, nx).
    counts: Vec<T>,
    weights: Option<Vec<T>>,
    /// e_k.
    pub electrons: Vec<f64>,
    measured: f64,
    /// (n, points, frequencies), and whose they are.
    tables: Vec<Complex<T>>,
    of: Vec<Words>,
    parts: Vec<Part<T>>,
    buffers: Vec<Buffers<T>>,
}

impl<T: Real> Objective<T> {
    pub fn new(
        series: FocalSeries<T>,
        images: &Tensor<T>,
        weights: Option<&Tensor<T>>,
        loss: Loss,
    ) -> Result<Self, Error> {
        let [ny, nx] = series.grid().dims;
        let (n, len) = (series.count(), ny * nx);
        for t in std::iter::once(images).chain(weights) {
            if t.dims() != [n, ny, nx] {
                return Err(Error::shape("ExitWave images", &[n, ny, nx], t.dims()));
            }
            if let Some(index) = t.as_slice().iter().position(|v| !(*v >= T::ZERO && v.is_finite())) {
                return Err(Error::Data { what: "a count or weight that is negative or not finite".into(), index });
            }
        }
        let mut electrons = try_reserved(n)?;
        let mut measured = 0.0;
        for k in 0..n {
            let d = images.as_slice()[k * len..][..len].iter();
            let (mut sum, mut weight) = (0.0, 0.0);
            match weights {
                None => (sum, weight) = (d.map(|d| d.f64()).sum(), len as f64),
                Some(w) => {
                    for (d, w) in d.zip(&w.as_slice()[k * len..][..len]) {
                        sum += d.f64() * w.f64();
                        weight += w.f64();
                    }
                }
            }
            if !(sum > 0.0 && weight > 0.0) {
                return Err(Error::Data { what: "an image without electrons where it has weight".into(), index: k });
            }
            electrons.push(sum / weight);
            measured += weight;
        }
        let table = series.table_len();
        let part = |_| {
            let by_spectrum = try_zeroed(series.frequencies())?;
            Ok(Part { by_spectrum, by_words: [0.0; SHIFT + 2], loss: 0.0 })
        };
        Ok(Objective {
            loss,
            counts: images.as_slice().to_vec(),
            weights: weights.map(|w| w.as_slice().to_vec()),
            electrons,
            measured,
            tables: try_zeroed(checked_len(&[n, table])?)?,
            of: vec![[f64::NAN; SHIFT + 2]; n],
            parts: (0..n).map(part).collect::<Result<_, Error>>()?,
            buffers: (0..series.par.count()).map(|_| series.buffers()).collect::<Result<_, _>>()?,
            series,
        })
    }

    /// What is minimised.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The counts of image k (ny, nx).
    pub fn counts(&self, k: usize) -> &[T] {
        &self.counts[k * self.series.fft.len()..][..self.series.fft.len()]
    }

    /// Its weights.
    pub fn weights(&self, k: usize) -> Option<&[T]> {
        self.weights.as_ref().map(|w| &w[k * self.series.fft.len()..][..self.series.fft.len()])
    }

    /// Second derivative of ℓ by √(eI), over 2.
    fn stiffness(&self) -> f64 {
        match self.loss {
            Loss::Amplitude => 1.0,
            Loss::Poisson { .. } => 2.0,
        }
    }

    /// About the second derivative of the loss by a coefficient of the spectrum of a wave that passes undamped.
    pub fn wave_curvature(&self) -> f64 {
        let e = self.electrons.iter().sum::<f64>() / self.electrons.len() as f64;
        self.stiffness() * e / (self.series.fft.len() as f64).powi(2)
    }

    /// Of the log-likelihood instead of the loss.
    pub fn information(&self) -> f64 {
        // Half the deviance is the log-likelihood; half of the sum of squares of √ is a quarter of it.
        let nats = match self.loss {
            Loss::Amplitude => 2.0,
            Loss::Poisson { .. } => 1.0,
        };
        nats * self.measured * self.wave_curvature()
    }

    /// About that by a change of the numbers of image k.
    pub fn curvature(
        &mut self,
        k: usize,
        words: &Words,
        change: &Words,
        spectrum: &[Complex<T>],
    ) -> Result<f64, Error> {
        let len = self.series.table_len();
        self.of[k] = [f64::NAN; SHIFT + 2];
        let (table, mut bench) = (&mut self.tables[k * len..][..len], self.buffers[0].bench());
        let sum = self.series.curvature(words, change, table, spectrum, &mut bench)?;
        Ok(2.0 * self.stiffness() * self.electrons[k] * sum / self.measured)
    }

    /// `Σ_j w_j |T_kj|²` averaged over the images, (frequencies): how much of a coefficient is seen.
    pub fn transmission(&mut self, words: &[Words]) -> Result<Vec<f64>, Error> {
        self.update(words)?;
        let (a, n) = (self.series.frequencies(), words.len());
        let mut out = vec![0.0; a];
        for k in 0..n {
            for (j, (w, _)) in self.series.points.iter().enumerate() {
                let t = &self.tables[(k * self.series.points.len() + j) * a..][..a];
                out.iter_mut().zip(t).for_each(|(o, t)| *o += w * t.norm_sqr().f64() / n as f64);
            }
        }
        Ok(out)
    }

    fn update(&mut self, words: &[Words]) -> Result<(), Error> {
        let (series, len, of) = (&self.series, self.series.table_len(), &self.of);
        series.par.chunks(&mut self.tables, len, |k, table| {
            if of[k] != words[k] && series.fill_table(&words[k], table).is_err() {
                table.fill(Complex::new(T::of(f64::NAN), T::ZERO));
            }
        });
        self.of.copy_from_slice(words);
        Ok(())
    }

    /// The loss at a spectrum (frequencies) and numbers, with its gradients.
    pub fn evaluate(
        &mut self,
        spectrum: &[Complex<T>],
        words: &[Words],
        by_spectrum: &mut [Complex<T>],
        by_words: Option<&mut [Words]>,
    ) -> Result<f64, Error> {
        self.update(words)?;
        let (series, loss) = (&self.series, self.loss);
        let (len, table) = (series.fft.len(), series.table_len());
        let (counts, weights, tables) = (&self.counts, self.weights.as_deref(), &self.tables);
        let (electrons, scale, wanted) = (&self.electrons, 1.0 / self.measured, by_words.is_some());
        series.par.chunks_with(&mut self.parts, 1, &mut self.buffers, |k, part, buffers| {
            let part = &mut part[0];
            let mut bench = buffers.bench();
            let t = &tables[k * table..][..table];
            series.image(t, spectrum, &mut bench);
            let w = weights.map(|w| &w[k * len..][..len]);
            part.loss = pixels(loss, bench.intensity, &counts[k * len..][..len], w, electrons[k], scale);
            part.by_spectrum.fill(Complex::default());
            let by = if wanted { Some(&mut part.by_words) } else { None };
            let done = series.image_adjoint(&words[k], t, spectrum, &mut bench, &mut part.by_spectrum, by);
            if done.is_err() {
                part.loss = f64::NAN;
            }
        });
        by_spectrum.fill(Complex::default());
        for part in &self.parts {
            by_spectrum.iter_mut().zip(&part.by_spectrum).for_each(|(b, p)| *b += p);
        }
        if let Some(by) = by_words {
            by.iter_mut().zip(&self.parts).for_each(|(b, p)| *b = p.by_words);
        }
        Ok(self.parts.iter().map(|p| p.loss).sum())
    }
}

/// The loss of one image; `i` holds I on entry and ∂L/∂I on return.
fn pixels<T: Real>(loss: Loss, i: &mut [T], counts: &[T], w: Option<&[T]>, e: f64, scale: f64) -> f64 {
    let mut total = 0.0;
    for (r, (i, d)) in i.iter_mut().zip(counts).enumerate() {
        let (y, d) = (e * i.f64(), d.f64());
        let w = w.map_or(1.0, |w| w[r].f64()) * scale;
        let (l, slope) = match loss {
            Loss::Amplitude => {
                let m = y.max(1e-12).sqrt();
                ((m - d.sqrt()).powi(2), 1.0 - d.sqrt() / m)
            }
            Loss::Poisson { background } => {
                let y = y + background;
                let log = if d > 0.0 { d * (y / d).ln() } else { 0.0 };
                (y - d - log, 1.0 - d / y)
            }
        };
        total += w * l;
        *i = T::of(w * e * slope);
    }
    total
}
