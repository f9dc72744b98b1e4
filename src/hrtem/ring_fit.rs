//! The linear part of a fit of Thon rings: background and strength, best for a given lens.

use crate::error::Error;
use crate::hrtem::contrast::contrast_transfer;
use crate::hrtem::power_spectrum::PolarSpectrum;
use crate::linalg::lstsq::cholesky_solve;
use crate::optics::{LensNumbers, LensTransfer};

/// Polynomials of the background.
const NB: usize = 6;
/// Polynomials of the strength of the rings.
const NA: usize = 4;
const N: usize = NB + NA;

/// The polar spectrum, divided by its smooth rotational mean P̃, and what of the normal equations no lens changes.
///
/// `P/P̃ = Σ_j b_j B_j(k) + c²(k) Σ_j a_j A_j(k)`, a_j ≥ 0, both B and A Bernstein polynomials over the range; the variance of a cell of M
/// variates is 1/M.
#[derive(Debug)]
pub struct RingFit {
    lens: LensTransfer,
    amplitude_contrast: f64,
    sectors: usize,
    k: Vec<[f64; 2]>,
    y: Vec<f64>,
    w: Vec<f64>,
    /// B and A of each ring, (rings, N).
    basis: Vec<[f64; N]>,
    /// P̃ of each ring.
    smooth: Vec<f64>,
    /// Σ w B Bᵀ, Σ w B y, Σ w y².
    bb: [[f64; NB]; NB],
    by: [f64; NB],
    yy: f64,
    /// What the background alone explains of yy.
    alone: f64,
    cells: usize,
}

/// The best background and strength for one lens.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// By how much χ² is below that of a background without rings.
    pub gain: f64,
    /// b and a.
    pub coefficients: [f64; N],
}

impl RingFit {
    /// The fit of a polar spectrum, of which no ring may be empty.
    pub fn new(polar: &PolarSpectrum, lens: LensTransfer, amplitude_contrast: f64) -> Result<Self, Error> {
        let sectors = polar.sectors;
        let rings = polar.mean.len() / sectors;
        let (mut radius, mut mean, mut count) = (vec![0.0; rings], vec![0.0; rings], vec![0.0; rings]);
        for i in 0..polar.mean.len() {
            let n = polar.count[i];
            radius[i / sectors] += n * polar.k[i][0].hypot(polar.k[i][1]);
            mean[i / sectors] += n * polar.mean[i];
            count[i / sectors] += n;
        }
        for r in 0..rings {
            radius[r] /= count[r].max(1e-300);
            mean[r] /= count[r].max(1e-300);
        }
        if let Some(index) = mean.iter().position(|m| !(*m > 0.0 && m.is_finite())) {
            return Err(Error::Data { what: "a ring of the power spectrum without power".into(), index });
        }
        if rings < 2 * N {
            let got = format!("{rings} rings");
            return Err(Error::param(
                "resolution",
                got,
                "a range of at least 20 rings of the power spectrum (larger tiles)",
            ));
        }
        let smooth = smooth(&radius, &mean, &count)?;
        let (low, high) = (radius[0], radius[rings - 1]);
        let basis: Vec<[f64; N]> = radius
            .iter()
            .map(|k| {
                let x = ((k - low) / (high - low)).clamp(0.0, 1.0);
                let mut row = [0.0; N];
                (0..NB).for_each(|j| row[j] = bernstein(NB - 1, j, x));
                (0..NA).for_each(|j| row[NB + j] = bernstein(NA - 1, j, x));
                row
            })
            .collect();
        let y: Vec<f64> = polar.mean.iter().enumerate().map(|(i, m)| m / smooth[i / sectors]).collect();
        let mut fit = RingFit {
            lens,
            amplitude_contrast,
            sectors,
            k: polar.k.clone(),
            y,
            w: polar.count.clone(),
            basis,
            smooth,
            bb: [[0.0; NB]; NB],
            by: [0.0; NB],
            yy: 0.0,
            alone: 0.0,
            cells: polar.count.iter().filter(|n| **n > 0.0).count(),
        };
        for (i, (y, w)) in fit.y.iter().zip(&fit.w).enumerate() {
            let b = &fit.basis[i / sectors];
            fit.yy += w * y * y;
            for j in 0..NB {
                fit.by[j] += w * b[j] * y;
                for l in 0..NB {
                    fit.bb[j][l] += w * b[j] * b[l];
                }
            }
        }
        let flat: Vec<f64> = fit.bb.as_flattened().to_vec();
        let x = solve(NB, &flat, &fit.by)?;
        fit.alone = x.iter().zip(&fit.by).map(|(x, b)| x * b).sum();
        Ok(fit)
    }

    /// c of a cell.
    fn contrast(&self, p: &LensNumbers, k: [f64; 2]) -> f64 {
        contrast_transfer(self.lens.at(p, k), self.amplitude_contrast)
    }

    /// The best background and strength for a lens.
    ///
    /// Least squares with a ≥ 0: the most negative coefficient is set to zero until none is (four of them need no better method).
    pub fn at(&self, p: &LensNumbers) -> Result<Rings, Error> {
        let (mut aa, mut ab, mut ay) = ([[0.0; NA]; NA], [[0.0; NB]; NA], [0.0; NA]);
        for (r, basis) in self.basis.iter().enumerate() {
            // The polynomials are those of the ring: three sums over its sectors are enough.
            let (mut s2, mut s4, mut sy) = (0.0, 0.0, 0.0);
            for i in r * self.sectors..(r + 1) * self.sectors {
                if self.w[i] > 0.0 {
                    let c = self.contrast(p, self.k[i]);
                    let c2 = c * c;
                    s2 += self.w[i] * c2;
                    s4 += self.w[i] * c2 * c2;
                    sy += self.w[i] * c2 * self.y[i];
                }
            }
            for j in 0..NA {
                let a = basis[NB + j];
                ay[j] += a * sy;
                (0..NB).for_each(|l| ab[j][l] += a * basis[l] * s2);
                (0..NA).for_each(|l| aa[j][l] += a * basis[NB + l] * s4);
            }
        }
        let mut free: Vec<usize> = (0..N).collect();
        loop {
            let n = free.len();
            let (mut m, mut b) = (vec![0.0; n * n], vec![0.0; n]);
            for (i, &u) in free.iter().enumerate() {
                b[i] = if u < NB { self.by[u] } else { ay[u - NB] };
                for (j, &v) in free.iter().enumerate() {
                    m[i * n + j] = match (u < NB, v < NB) {
                        (true, true) => self.bb[u][v],
                        (true, false) => ab[v - NB][u],
                        (false, true) => ab[u - NB][v],
                        (false, false) => aa[u - NB][v - NB],
                    };
                }
            }
            let x = solve(n, &m, &b)?;
            let worst = (NB..n).min_by(|i, j| x[*i].total_cmp(&x[*j])).filter(|i| x[*i] < 0.0);
            if let Some(i) = worst {
                free.remove(i);
                continue;
            }
            let mut coefficients = [0.0; N];
            free.iter().zip(&x).for_each(|(&u, &x)| coefficients[u] = x);
            let explained: f64 = x.iter().zip(&b).map(|(x, b)| x * b).sum();
            return Ok(Rings { gain: (explained - self.alone).max(0.0), coefficients });
        }
    }

    /// Ways in which rings can be stronger or weaker.
    pub fn strengths(&self) -> usize {
        NA
    }

    /// Number of rings.
    pub fn rings(&self) -> usize {
        self.basis.len()
    }

    /// χ² per degree of freedom, with the rings.
    pub fn reduced(&self, rings: &Rings) -> f64 {
        (self.yy - self.alone - rings.gain) / (self.cells.saturating_sub(N + 3)).max(1) as f64
    }

    /// The correlation of the rings with what the background leaves: √(gain / χ² without rings).
    pub fn correlation(&self, rings: &Rings) -> f64 {
        (rings.gain / (self.yy - self.alone).max(1e-300)).sqrt()
    }

    /// Background and strength at a radius inside the range, in units of the spectrum.
    pub fn curves(&self, rings: &Rings, k: f64) -> Option<[f64; 2]> {
        let radius = |r: usize| {
            let cells = r * self.sectors..(r + 1) * self.sectors;
            let (s, n) =
                cells.fold((0.0, 0.0), |(s, n), i| (s + self.w[i] * self.k[i][0].hypot(self.k[i][1]), n + self.w[i]));
            s / n
        };
        let (low, high) = (radius(0), radius(self.rings() - 1));
        if !(k >= low && k <= high) {
            return None;
        }
        let x = (k - low) / (high - low);
        let at = x * (self.rings() - 1) as f64;
        let (i, f) = (at as usize, at.fract());
        let p = self.smooth[i] * (1.0 - f) + self.smooth[(i + 1).min(self.rings() - 1)] * f;
        let b: f64 = (0..NB).map(|j| rings.coefficients[j] * bernstein(NB - 1, j, x)).sum();
        let a: f64 = (0..NA).map(|j| rings.coefficients[NB + j] * bernstein(NA - 1, j, x)).sum();
        Some([b * p, a * p])
    }
}

/// Bernstein's polynomial j of degree n.
fn bernstein(n: usize, j: usize, x: f64) -> f64 {
    let binomial = (0..j).fold(1.0, |b, i| b * (n - i) as f64 / (i + 1) as f64);
    binomial * x.powi(j as i32) * (1.0 - x).powi((n - j) as i32)
}

/// A positive system with 10⁻¹⁰ of its trace on the diagonal: for some lenses c² is a polynomial.
fn solve(n: usize, a: &[f64], b: &[f64]) -> Result<Vec<f64>, Error> {
    let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
    let mut a = a.to_vec();
    (0..n).for_each(|i| a[i * n + i] += 1e-10 * trace + f64::MIN_POSITIVE);
    cholesky_solve(n, &a, b)
}

/// The smooth mean of the rings: exp of a polynomial of degree 4, by least squares of ln P with the rings' variates as weights.
fn smooth(radius: &[f64], mean: &[f64], count: &[f64]) -> Result<Vec<f64>, Error> {
    const M: usize = 5;
    let (low, high) = (radius[0], radius[radius.len() - 1]);
    let row = |k: f64| -> [f64; M] {
        std::array::from_fn(|j| bernstein(M - 1, j, ((k - low) / (high - low)).clamp(0.0, 1.0)))
    };
    let (mut a, mut b) = ([0.0; M * M], [0.0; M]);
    for ((k, p), n) in radius.iter().zip(mean).zip(count) {
        // Every ring tells as much about the trend as it is wide; more variates do not make it more typical.
        let (t, n) = (row(*k), n.sqrt());
        for i in 0..M {
            b[i] += n * t[i] * p.ln();
            (0..M).for_each(|j| a[i * M + j] += n * t[i] * t[j]);
        }
    }
    let x = solve(M, &a, &b)?;
    Ok(radius.iter().map(|k| row(*k).iter().zip(&x).map(|(t, x)| t * x).sum::<f64>().exp()).collect())
}
