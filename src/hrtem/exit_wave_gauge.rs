//! What a focal series cannot tell, removed: a common focus, a common shift, a phase.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft2};
use crate::hrtem::FocalImage;
use crate::metrics::pearson;
use crate::optics::{Aberrations, Ctf, CtfParams, Grid};
use crate::real::{Real, cis};
use crate::shape::try_zeroed;
use crate::units::{Energy, Length, SpatialFrequency};

/// The wave as seen by an ideal lens: `F⁻¹{ e^{iπλfq²} e^{−2πi q·s} F ψ }` for an underfocus f and a shift s, nothing beyond `limit`.
///
/// A series explained by the wave ψ, foci f_k and shifts s_k is explained as well (but for the spread of beam directions) by the wave seen at f and s
/// with the foci f_k − f and shifts s_k − s.
///
/// # Shapes
/// (ny, nx).
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`], [`Error::OutOfMemory`].
pub fn refocus<T: Real>(
    wave: &[Complex<T>],
    grid: &Grid,
    energy: Energy,
    focus: Length,
    shift: [Length; 2],
    limit: SpatialFrequency,
) -> Result<Vec<Complex<T>>, Error> {
    let mut spectrum = spectrum(wave, grid)?;
    let moved = Mover::new(grid, energy, limit)?;
    for (i, z) in spectrum.iter_mut().enumerate() {
        *z *= moved.factor(i, focus.to_angstrom(), shift.map(|s| s.to_angstrom()));
    }
    back(spectrum, grid)
}

fn spectrum<T: Real>(wave: &[Complex<T>], grid: &Grid) -> Result<Vec<Complex<f64>>, Error> {
    grid.check()?;
    if wave.len() != grid.len() {
        return Err(Error::shape("exit wave", &grid.dims, &[wave.len()]));
    }
    if let Some(index) = wave.iter().position(|z| !(z.re.is_finite() && z.im.is_finite())) {
        return Err(Error::Data { what: "a wave that is not finite".into(), index });
    }
    let fft = Fft2::<f64>::new(grid.dims)?;
    let mut out: Vec<_> = wave.iter().map(|z| Complex::new(z.re.f64(), z.im.f64())).collect();
    fft.forward(&mut out, &mut try_zeroed(fft.scratch_len())?);
    Ok(out)
}

fn back<T: Real>(mut spectrum: Vec<Complex<f64>>, grid: &Grid) -> Result<Vec<Complex<T>>, Error> {
    let fft = Fft2::<f64>::new(grid.dims)?;
    let scale = 1.0 / grid.len() as f64;
    fft.transform(&mut spectrum, Direction::Inverse, scale, &mut try_zeroed(fft.scratch_len())?);
    Ok(spectrum.iter().map(|z| Complex::new(T::of(z.re), T::of(z.im))).collect())
}

/// The factor of a change of focus and a shift.
struct Mover {
    k: [Vec<f64>; 2],
    unit: Ctf,
    lambda: f64,
    limit: f64,
}

impl Mover {
    fn new(grid: &Grid, energy: Energy, limit: SpatialFrequency) -> Result<Self, Error> {
        let unit = Ctf::new(&CtfParams {
            energy,
            aberrations: Aberrations::from_defocus(Length::angstrom(1.0)),
            ..CtfParams::default()
        })?;
        Ok(Mover { k: grid.frequencies(), lambda: unit.chi().lambda(), unit, limit: limit.to_per_angstrom() })
    }

    fn k(&self, i: usize) -> [f64; 2] {
        let nx = self.k[1].len();
        [self.k[0][i / nx], self.k[1][i % nx]]
    }

    /// χ is linear in the focus.
    fn factor(&self, i: usize, focus: f64, s: [f64; 2]) -> Complex<f64> {
        let k = self.k(i);
        if k[0].hypot(k[1]) > self.limit {
            return Complex::new(0.0, 0.0);
        }
        cis(-self.unit.chi().value(k) * focus - std::f64::consts::TAU * (k[0] * s[0] + k[1] * s[1]))
    }
}

/// How an exit wave compares with the true one.
#[derive(Clone, Debug)]
pub struct ExitWaveComparison {
    /// The underfocus that brings the wave to the focus of the truth.
    pub focus: Length,
    /// `[y, x]`: the shift that brings it to its place.
    pub shift: [Length; 2],
    /// Pearson's correlation of the phases, both waves turned so that the truth's mean is real.
    pub phase: f64,
    /// That of the moduli.
    pub modulus: f64,
    /// The wave in the gauge of the truth (ny, nx), nothing beyond the limit.
    pub wave: Vec<Complex<f64>>,
    /// The truth, nothing beyond the limit, its mean real.
    pub truth: Vec<Complex<f64>>,
}

/// Compares an exit wave with the truth up to a common focus (within ± `range`), a common shift (anywhere; of a crystal modulo its lattice) and a phase:
/// those that make `|Σ_{0<q<limit} t̄(q) ψ(q) e^{iπλfq²} e^{−2πi q·s}|` largest.
///
/// # Shapes
/// (ny, nx).
///
/// # Errors
/// [`Error::Shape`], [`Error::Data`] for a wave that is not finite or constant, [`Error::Param`], [`Error::OutOfMemory`].
pub fn compare_exit_waves<T: Real>(
    found: &[Complex<T>],
    truth: &[Complex<T>],
    grid: &Grid,
    energy: Energy,
    range: Length,
    limit: SpatialFrequency,
) -> Result<ExitWaveComparison, Error> {
    if !(range >= Length::ZERO && range <= Length::um(10.0)) {
        return Err(Error::param("range", range, "0 to 10 µm"));
    }
    let mover = Mover::new(grid, energy, limit)?;
    let (psi, t) = (spectrum(found, grid)?, spectrum(truth, grid)?);
    let cross: Vec<Complex<f64>> = psi.iter().zip(&t).map(|(p, t)| p * t.conj()).collect();
    let inside: Vec<usize> = (1..grid.len()).filter(|&i| mover.factor(i, 0.0, [0.0; 2]).norm_sqr() > 0.0).collect();
    if inside.iter().all(|&i| cross[i].norm_sqr() == 0.0) {
        return Err(Error::Data { what: "a wave that is constant up to the limit".into(), index: 0 });
    }

    // Every focus, and by a transform every shift; a phase of π/8 at the limit from focus to focus.
    let fft = Fft2::<f64>::new(grid.dims)?;
    let (mut frame, mut scratch) = (try_zeroed(grid.len())?, try_zeroed(fft.scratch_len())?);
    let top = inside.iter().map(|&i| mover.k(i)[0].hypot(mover.k(i)[1])).fold(0.0, f64::max);
    let step = (0.125 / (mover.lambda * top * top)).max(range.to_angstrom() / 500.0).max(1e-3);
    let count = (range.to_angstrom() / step).ceil() as isize;
    let mut best = (f64::NEG_INFINITY, 0.0, [0.0; 2]);
    for j in -count..=count {
        let focus = j as f64 * step;
        frame.fill(Complex::new(0.0, 0.0));
        for &i in &inside {
            frame[i] = (cross[i] * mover.factor(i, focus, [0.0; 2])).conj();
        }
        fft.transform(&mut frame, Direction::Inverse, 1.0, &mut scratch);
        for (i, z) in frame.iter().enumerate() {
            if z.norm_sqr() > best.0 {
                let at = [i / grid.dims[1], i % grid.dims[1]];
                best = (z.norm_sqr(), focus, [0, 1].map(|a| at[a] as f64 * grid.sampling[a].to_angstrom()));
            }
        }
    }

    // Then by steps that halve.
    let sum = |focus: f64, s: [f64; 2]| -> f64 {
        inside.iter().map(|&i| cross[i] * mover.factor(i, focus, s)).sum::<Complex<f64>>().norm_sqr()
    };
    let (_, mut focus, mut s) = best;
    let mut value = sum(focus, s);
    let (mut df, mut ds) = (0.5 * step, grid.sampling.map(|d| 0.5 * d.to_angstrom()));
    for _ in 0..14 {
        loop {
            let trials = [-1.0, 1.0]
                .map(|u| [(focus + u * df, s), (focus, [s[0] + u * ds[0], s[1]]), (focus, [s[0], s[1] + u * ds[1]])]);
            let mut better = false;
            for (f, at) in trials.into_iter().flatten() {
                let v = sum(f, at);
                if v > value {
                    (value, focus, s, better) = (v, f, at, true);
                }
            }
            if !better {
                break;
            }
        }
        (df, ds) = (0.5 * df, ds.map(|d| 0.5 * d));
    }
    let turn = |z: Complex<f64>| if z.norm() > 0.0 { z.conj() / z.norm() } else { Complex::new(1.0, 0.0) };
    let all: Complex<f64> = inside.iter().map(|&i| cross[i] * mover.factor(i, focus, s)).sum();
    let mean = turn(t[0]);
    let with = |z: &[Complex<f64>], unit: Complex<f64>, f: f64, s: [f64; 2]| -> Result<Vec<Complex<f64>>, Error> {
        back(z.iter().enumerate().map(|(i, z)| z * mover.factor(i, f, s) * unit).collect(), grid)
    };
    let wave = with(&psi, turn(all) * mean, focus, s)?;
    let truth = with(&t, mean, 0.0, [0.0; 2])?;
    let phases = |w: &[Complex<f64>]| -> Vec<f64> { w.iter().map(|z| z.arg()).collect() };
    let moduli = |w: &[Complex<f64>]| -> Vec<f64> { w.iter().map(|z| z.norm()).collect() };
    Ok(ExitWaveComparison {
        focus: Length::angstrom(focus),
        shift: s.map(Length::angstrom),
        phase: pearson(&phases(&truth), &phases(&wave), None)?,
        modulus: pearson(&moduli(&truth), &moduli(&wave), None)?,
        wave,
        truth,
    })
}

/// Errors of the images' foci and shifts, what is common to all removed.
#[derive(Clone, Debug, PartialEq)]
pub struct FocalErrors {
    /// Of each focus.
    pub focus: Vec<Length>,
    /// Of each shift, `[y, x]`.
    pub shift: Vec<[Length; 2]>,
}

impl FocalErrors {
    /// Root mean square error of the foci.
    pub fn focus_rms(&self) -> Length {
        let square = |f: &Length| f.to_angstrom().powi(2);
        Length::angstrom((self.focus.iter().map(square).sum::<f64>() / self.focus.len() as f64).sqrt())
    }

    /// The largest error of a focus.
    pub fn focus_max(&self) -> Length {
        Length::angstrom(self.focus.iter().fold(0.0, |m, f| m.max(f.to_angstrom().abs())))
    }

    /// Root mean square length of the errors of the shifts.
    pub fn shift_rms(&self) -> Length {
        let square = |s: &[Length; 2]| s[0].to_angstrom().powi(2) + s[1].to_angstrom().powi(2);
        Length::angstrom((self.shift.iter().map(square).sum::<f64>() / self.shift.len() as f64).sqrt())
    }

    /// The longest error of a shift.
    pub fn shift_max(&self) -> Length {
        Length::angstrom(self.shift.iter().fold(0.0, |m, s| m.max(s[0].to_angstrom().hypot(s[1].to_angstrom()))))
    }
}

/// The errors of found images. Shifts count modulo the lattice vectors `[[y, x], [y, x]]` where there are some, each image by itself: of a perfect
/// crystal a series tells no more.
///
/// # Errors
/// [`Error::Shape`] for series of different lengths or none, [`Error::Param`] for lattice vectors on a line.
pub fn focal_errors(
    found: &[FocalImage],
    truth: &[FocalImage],
    lattice: Option<[[Length; 2]; 2]>,
) -> Result<FocalErrors, Error> {
    if found.len() != truth.len() || found.is_empty() {
        return Err(Error::shape("focal_errors", &[truth.len()], &[found.len()]));
    }
    let n = found.len() as f64;
    let f: Vec<f64> = found.iter().zip(truth).map(|(a, b)| (a.defocus() - b.defocus()).to_angstrom()).collect();
    let mut s: Vec<[f64; 2]> =
        found.iter().zip(truth).map(|(a, b)| [0, 1].map(|i| (a.shift[i] - b.shift[i]).to_angstrom())).collect();
    if let Some(lattice) = lattice {
        let [a, b] = lattice.map(|v| v.map(|c| c.to_angstrom()));
        let det = a[0] * b[1] - a[1] * b[0];
        if det.is_nan() || det.abs() <= 1e-9 * (a[0].hypot(a[1]) * b[0].hypot(b[1])) {
            return Err(Error::param("lattice", format!("{a:?}, {b:?}"), "two vectors that are not on a line"));
        }
        let first = s[0];
        for s in &mut s {
            let d = [s[0] - first[0], s[1] - first[1]];
            let (u, v) = ((d[0] * b[1] - d[1] * b[0]) / det, (a[0] * d[1] - a[1] * d[0]) / det);
            let (u, v) = (u.round(), v.round());
            *s = [s[0] - u * a[0] - v * b[0], s[1] - u * a[1] - v * b[1]];
        }
    }
    let mean = f.iter().sum::<f64>() / n;
    let centre = [0, 1].map(|i| s.iter().map(|s| s[i]).sum::<f64>() / n);
    Ok(FocalErrors {
        focus: f.iter().map(|f| Length::angstrom(f - mean)).collect(),
        shift: s.iter().map(|s| [0, 1].map(|i| Length::angstrom(s[i] - centre[i]))).collect(),
    })
}
