//! The forward model of a focal series as a differentiable function of a graph.

use bytemuck::{cast_slice, cast_slice_mut};
use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::Error;
use crate::hrtem::focal_series::{Bench, Words};
use crate::hrtem::{FOCAL_WORDS, FocalSeries};
use crate::op::{Write, write};
use crate::real::Real;
use crate::shape::Space;

/// Exit wave (ny, nx) [, numbers of the images (n, 30)] → intensities (n, ny, nx), for a graph: deep image priors, own losses. The numbers are those
/// of [`FOCAL_WORDS`]; without them, those of the series.
///
/// `g_ψ = Σ_k Fᴴ{ Σ_j T̄_kj F{2 w_j g_k ψ_kj}/N }`, `∂L/∂p = Re Σ_q Σ_j conj(F{2 w_j g_k ψ_kj}/N) S T_kj ∂ln T_kj/∂p`.
///
/// # Shapes
/// As said. There is no tape: backward computes the waves again.
#[derive(Debug)]
pub struct FocalSeriesFunction<T: Real> {
    series: FocalSeries<T>,
}

/// Of the scratch, complex: spectrum, its gradient, table, wave, and what an image needs.
struct Parts<'s, T: Real> {
    spectrum: &'s mut [Complex<T>],
    by_spectrum: &'s mut [Complex<T>],
    table: &'s mut [Complex<T>],
    wave: &'s mut [Complex<T>],
    bench: Bench<'s, T>,
}

impl<T: Real> FocalSeriesFunction<T> {
    /// The function of a series. Its images run one after the other; the series' threads are not used inside a graph.
    pub fn new(series: FocalSeries<T>) -> Self {
        FocalSeriesFunction { series }
    }

    /// The series.
    pub fn series(&self) -> &FocalSeries<T> {
        &self.series
    }

    fn complex_len(&self) -> usize {
        let s = &self.series;
        2 * s.frequencies() + s.table_len() + (1 + s.points.len()) * s.fft.len() + s.fft.scratch_len()
    }

    fn parts<'s>(&self, scratch: &'s mut [T]) -> Parts<'s, T> {
        let s = &self.series;
        let (complex, real) = scratch.split_at_mut(2 * self.complex_len());
        let complex: &mut [Complex<T>] = cast_slice_mut(complex);
        let (spectrum, rest) = complex.split_at_mut(s.frequencies());
        let (by_spectrum, rest) = rest.split_at_mut(s.frequencies());
        let (table, rest) = rest.split_at_mut(s.table_len());
        let (wave, rest) = rest.split_at_mut(s.fft.len());
        let (psi, scratch) = rest.split_at_mut(s.points.len() * s.fft.len());
        let bench = Bench { psi, intensity: &mut real[..s.fft.len()], scratch };
        Parts { spectrum, by_spectrum, table, wave, bench }
    }

    fn words(&self, x: &[&[T]], k: usize) -> Words {
        match x.get(1) {
            Some(p) => std::array::from_fn(|j| p[k * FOCAL_WORDS + j].f64()),
            None => self.series.words()[k],
        }
    }
}

impl<T: Real> Function<T> for FocalSeriesFunction<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let (dims, n) = (self.series.grid().dims, self.series.count());
        if !(1..=2).contains(&inputs.len()) {
            return Err(Error::shape("FocalSeriesFunction inputs", &[2], &[inputs.len()]));
        }
        if *inputs[0] != Space::complex(&dims) {
            return Err(Error::shape("FocalSeriesFunction wave", &dims, inputs[0].dims()));
        }
        if let Some(x) = inputs.get(1).filter(|x| ***x != Space::real(&[n, FOCAL_WORDS])) {
            return Err(Error::shape("FocalSeriesFunction numbers", &[n, FOCAL_WORDS], x.dims()));
        }
        Ok(Space::real(&[n, dims[0], dims[1]]))
    }

    fn needs(&self, inputs: &[&Space]) -> Needs {
        Needs { inputs: (0..inputs.len()).collect(), output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        2 * self.complex_len() + self.series.fft.len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        // x is the wave (ny, nx) complex, the numbers (n, 30); y is (n, ny, nx)
        let s = &self.series;
        let mut p = self.parts(scratch);
        p.wave.copy_from_slice(cast_slice(x[0]));
        s.spectrum_of(p.wave, p.spectrum, p.bench.scratch);
        for (k, y) in y.chunks_mut(s.fft.len()).enumerate() {
            if s.fill_table(&self.words(x, k), p.table).is_err() {
                y.fill(T::of(f64::NAN));
                continue;
            }
            s.image(p.table, p.spectrum, &mut p.bench);
            y.copy_from_slice(p.bench.intensity);
        }
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        _: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let s = &self.series;
        let mut p = self.parts(scratch);
        p.wave.copy_from_slice(cast_slice(x[0]));
        s.spectrum_of(p.wave, p.spectrum, p.bench.scratch);
        p.by_spectrum.fill(Complex::default());
        let wanted = matches!(dx.get(1), Some(Some(_)));
        for (k, g) in dy.chunks(s.fft.len()).enumerate() {
            let words = self.words(x, k);
            let mut by = [f64::NAN; FOCAL_WORDS];
            if s.fill_table(&words, p.table).is_ok() {
                s.image(p.table, p.spectrum, &mut p.bench);
                p.bench.intensity.copy_from_slice(g);
                let by = if wanted { Some(&mut by) } else { None };
                // The lens is one that `fill_table` has just accepted.
                let _ = s.image_adjoint(&words, p.table, p.spectrum, &mut p.bench, p.by_spectrum, by);
            } else {
                p.by_spectrum.fill(Complex::new(T::of(f64::NAN), T::of(f64::NAN)));
            }
            if let Some(Some((out, w))) = dx.get_mut(1) {
                for (out, by) in out[k * FOCAL_WORDS..][..FOCAL_WORDS].iter_mut().zip(&by) {
                    write(out, T::of(*by), *w);
                }
            }
        }
        if let Some((out, w)) = &mut dx[0] {
            s.wave_of(p.by_spectrum, T::ONE, p.wave, p.bench.scratch);
            out.iter_mut().zip(cast_slice::<_, T>(p.wave)).for_each(|(o, g)| write(o, *g, *w));
        }
    }
}
