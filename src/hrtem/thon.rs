//! Defocus and astigmatism from the Thon rings of amorphous matter.

use std::f64::consts::PI;

use crate::error::Error;
use crate::hrtem::contrast::{check_amplitude_contrast, contrast_transfer};
use crate::hrtem::power_spectrum::{PolarSpectrum, PowerSpectrum, PowerSpectrumParams, Tiles};
use crate::hrtem::quadratic::climb;
use crate::hrtem::ring_fit::{RingFit, Rings};
use crate::optics::{Aberrations, Coherence, LensNumbers, LensTransfer, wavelength};
use crate::par::Par;
use crate::shape::Limits;
use crate::tensor::Tensor;
use crate::units::{Angle, Energy, Length, SpatialFrequency};

/// Sectors of the half plane: in the search, and in the refinement.
const SECTORS: [usize; 2] = [12, 72];
/// Step of the search: so many radians of χ at the largest k.
const STEP: f64 = 0.4;
/// How many maxima of the search are refined.
const REFINED: usize = 4;
/// The largest number of lenses that a search tries.
const MOST: usize = 4_000_000;

/// What a fit of Thon rings depends on.
#[derive(Clone, Debug)]
pub struct ThonParams {
    /// Beam energy.
    pub energy: Energy,
    /// Size of a pixel.
    pub pixel: Length,
    /// Spherical aberration.
    pub cs: Length,
    /// Amplitude contrast w: the share of the object that absorbs.
    pub amplitude_contrast: f64,
    /// Where defocus is sought, underfocus positive.
    pub defocus: [Length; 2],
    /// The largest difference of the two principal defoci; zero: a round lens.
    pub astigmatism: Length,
    /// Coarsest and finest spacing that are fitted.
    pub resolution: [Length; 2],
    /// How the image is cut; `None`: tiles large enough that rings of the largest defocus are four pixels apart, yet at most half the image.
    pub tiles: Option<Tiles>,
    /// Threads.
    pub par: Par,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

/// 300 keV, Cs 2.7 mm, 7 % amplitude contrast, 0.1–5 µm underfocus, 0.2 µm astigmatism, 30–5 Å, pixels of 1 Å.
impl Default for ThonParams {
    fn default() -> Self {
        ThonParams {
            energy: Energy::kev(300.0),
            pixel: Length::angstrom(1.0),
            cs: Length::mm(2.7),
            amplitude_contrast: 0.07,
            defocus: [Length::um(0.1), Length::um(5.0)],
            astigmatism: Length::um(0.2),
            resolution: [Length::angstrom(30.0), Length::angstrom(5.0)],
            tiles: None,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// A maximum of the search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alternative {
    /// Its defocus.
    pub defocus: Length,
    /// How probable it is, by the fit's own statistics.
    pub probability: f64,
}

/// The spectrum along the radius, averaged over curves of equal χ.
#[derive(Clone, Debug, Default)]
pub struct ThonCurve {
    /// Radius, 1/Å, at which the round lens of the mean defocus has that χ.
    pub k: Vec<f64>,
    /// Mean power, Å².
    pub power: Vec<f64>,
    /// c² of the lens.
    pub transfer: Vec<f64>,
    /// The fitted background; NaN outside the fitted range.
    pub background: Vec<f64>,
    /// Strength of the rings; NaN outside the fitted range.
    pub strength: Vec<f64>,
    /// Background and strength times c²; NaN outside the fitted range.
    pub fit: Vec<f64>,
}

/// A fit of Thon rings.
#[derive(Clone, Debug)]
pub struct ThonFit {
    /// Mean defocus, underfocus positive: of the specimen's middle.
    pub defocus: Length,
    /// Its standard deviation, from the counting noise only.
    pub defocus_sigma: Length,
    /// Difference of the largest and the smallest defocus: 2 C12.
    pub astigmatism: Length,
    /// Direction of the largest underfocus, from x towards y, in (−90°, 90°].
    pub angle: Angle,
    /// The fitted lens.
    pub aberrations: Aberrations,
    /// Correlation of the fitted rings with the measured ones along the radius, background removed: near 1 for clear rings.
    pub quality: f64,
    /// The same over the cells of the plane, each with its noise.
    pub correlation: f64,
    /// By how much the rings lower χ².
    pub gain: f64,
    /// χ² per degree of freedom: near 1 where model and noise are right.
    pub reduced_chi2: f64,
    /// Probability of the answer among the alternatives, no rings at all being one of them.
    pub confidence: f64,
    /// The finest spacing to which the rings fit without a gap: three standard deviations within one ring period each side.
    pub resolution: Option<Length>,
    /// All maxima of the search, the answer first, the most probable before the others.
    pub alternatives: Vec<Alternative>,
    /// The search: defocus, and the gain in χ² that it reaches at best.
    pub search: Vec<(Length, f64)>,
    /// The spectrum along the radius.
    pub curve: ThonCurve,
}

/// A maximum on its way.
#[derive(Clone, Copy)]
struct Peak {
    x: [f64; 3],
    rings: Rings,
    sigma: f64,
}

/// Finds the defocus and the astigmatism whose rings explain most of an image's power spectrum.
///
/// `P(k) = B(|k|) + A(|k|) c²(k)`: for every lens the smooth background B and the strength A ≥ 0 are solved for, and the sum of squares that is
/// left, each cell of a polar grid weighted with its counting statistics, is compared. First on a grid of defocus (round lens), then on
/// one with astigmatism, then by Newton steps from the best maxima.
///
/// # References
/// F. Thon, *Z. Naturforsch.* 21a, 476 (1966); A. Rohou, N. Grigorieff, *J. Struct. Biol.* 192, 216 (2015) for the search and its equations 2
/// to 5; deviations: (1) least squares with the background among the unknowns instead of a correlation after its removal, (2) polar
/// cells instead of pixels, (3) confidence from the likelihoods of all maxima.
///
/// # Examples
/// See `examples/thon`.
#[derive(Debug)]
pub struct Thon {
    params: ThonParams,
    lambda: f64,
}

impl Thon {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter that is not finite or outside its range.
    pub fn new(params: ThonParams) -> Result<Self, Error> {
        let lambda = wavelength(params.energy).to_angstrom();
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(Error::param("energy", params.energy, "a positive energy"));
        }
        if !(params.pixel >= Length::angstrom(1e-3) && params.pixel <= Length::mm(1.0)) {
            return Err(Error::param("pixel", params.pixel, "between 0.001 Å and 1 mm"));
        }
        if !(params.cs.is_finite() && params.cs.abs() <= Length::m(1.0)) {
            return Err(Error::param("cs", params.cs, "at most 1 m"));
        }
        check_amplitude_contrast(params.amplitude_contrast)?;
        let [low, high] = params.defocus;
        if !(low < high && low.abs() <= Length::mm(10.0) && high.abs() <= Length::mm(10.0)) {
            return Err(Error::param("defocus", format!("{low} to {high}"), "an interval within 10 mm"));
        }
        if !(params.astigmatism >= Length::ZERO && params.astigmatism <= Length::mm(1.0)) {
            return Err(Error::param("astigmatism", params.astigmatism, "between 0 and 1 mm"));
        }
        let [coarse, fine] = params.resolution;
        if !(coarse > fine && fine >= params.pixel * 2.0 && coarse.is_finite()) {
            let got = format!("{coarse} to {fine} at pixels of {}", params.pixel);
            return Err(Error::param("resolution", got, "from coarse to fine, no finer than two pixels"));
        }
        let thon = Thon { params, lambda };
        let [foci, others] = thon.trials();
        if !((foci * others).is_finite() && foci * others <= MOST as f64) {
            return Err(Error::param("defocus", format!("{foci:.0} × {others:.0} lenses"), "at most 4·10⁶ of them"));
        }
        Ok(thon)
    }

    /// How an image is cut that is at least twice as large.
    pub fn tiles(&self) -> Tiles {
        let p = &self.params;
        p.tiles.unwrap_or_else(|| {
            // Rings are 1/(2λ|Δf|k) apart.
            let defocus = p.defocus[0].abs().max(p.defocus[1].abs()).to_angstrom();
            let k = 1.0 / p.resolution[1].to_angstrom();
            let side = 4.0 * 2.0 * self.lambda * defocus * k / p.pixel.to_angstrom();
            let rings = 80.0 / (p.pixel.to_angstrom() * k);
            Tiles::Side((side.max(rings).clamp(128.0, 8192.0) as usize).next_power_of_two())
        })
    }

    /// χ at the finest spacing, radians for each Å of defocus.
    fn slope(&self) -> f64 {
        PI * self.lambda / self.params.resolution[1].to_angstrom().powi(2)
    }

    /// Numbers of foci and of astigmatisms in the search.
    fn trials(&self) -> [f64; 2] {
        let p = &self.params;
        let step = STEP / self.slope();
        let foci = ((p.defocus[1] - p.defocus[0]).to_angstrom() / step).ceil() + 1.0;
        let radii = (0.5 * p.astigmatism.to_angstrom() / (2.0 * step)).ceil();
        [foci, 1.0 + 3.0 * radii * (radii + 1.0)]
    }

    /// Fits an image.
    ///
    /// # Shapes
    /// `[y, x]`.
    ///
    /// # Errors
    /// As [`PowerSpectrum::new`] and [`Thon::fit_spectrum`].
    pub fn fit(&self, image: &Tensor<f32>) -> Result<ThonFit, Error> {
        let p = &self.params;
        // A window of the image's own size would use an eighth of it.
        let half = image.dims().iter().min().map_or(0, |n| n / 2);
        let tiles = match (p.tiles, self.tiles()) {
            (None, Tiles::Side(n)) => Tiles::Side(n.min(half.max(128))),
            (_, tiles) => tiles,
        };
        let spectrum = PowerSpectrumParams { pixel: p.pixel, tiles, par: p.par.clone(), limits: p.limits };
        self.fit_spectrum(&PowerSpectrum::new(image, &spectrum)?)
    }

    /// Fits a power spectrum.
    ///
    /// # Errors
    /// [`Error::Param`] where the spectrum has fewer than 20 rings in the range of resolution, [`Error::Data`] for rings without power.
    pub fn fit_spectrum(&self, spectrum: &PowerSpectrum) -> Result<ThonFit, Error> {
        let p = &self.params;
        let range = [0, 1].map(|i| SpatialFrequency::per_angstrom(1.0 / p.resolution[i].to_angstrom()));
        let lens = LensTransfer { lambda: self.lambda, coherence: Coherence::Separable };
        let fine = spectrum.polar(SECTORS[1], range)?;
        // Whole rings, wide sectors for the search with astigmatism, narrow ones for its refinement.
        let fit = |factor: usize| RingFit::new(&merged(&fine, factor), lens, p.amplitude_contrast);
        let (round, coarse, full) = (fit(SECTORS[1])?, fit(SECTORS[1] / SECTORS[0])?, fit(1)?);
        let astigmatic = p.astigmatism > Length::ZERO;

        // The search: a round lens, then every astigmatism.
        let step = STEP / self.slope();
        let [foci, _] = self.trials();
        let [low, high] = p.defocus.map(|d| d.to_angstrom());
        let stretch = (high - low) / (foci - 1.0);
        let astigmatisms =
            if astigmatic { hexagonal(0.5 * p.astigmatism.to_angstrom(), 2.0 * step) } else { vec![[0.0; 2]] };
        let tried = p.par.map(foci as usize, |i| {
            let defocus = low + i as f64 * stretch;
            let mut best: Option<([f64; 3], f64)> = None;
            for (j, a) in astigmatisms.iter().enumerate() {
                let x = [defocus, a[0], a[1]];
                let gain = if j == 0 && !astigmatic { round.at(&self.numbers(x)) } else { coarse.at(&self.numbers(x)) };
                if let Ok(r) = gain
                    && best.is_none_or(|b| r.gain > b.1)
                {
                    best = Some((x, r.gain));
                }
            }
            best
        });
        let tried: Vec<([f64; 3], f64)> = tried.into_iter().flatten().collect();
        if tried.is_empty() {
            return Err(Error::Data { what: "no lens could be fitted to the power spectrum".into(), index: 0 });
        }

        // Its maxima, the highest first; some of them refined.
        let mut peaks: Vec<usize> = (0..tried.len())
            .filter(|&i| {
                (i == 0 || tried[i].1 >= tried[i - 1].1) && (i + 1 == tried.len() || tried[i].1 > tried[i + 1].1)
            })
            .collect();
        peaks.sort_by(|a, b| tried[*b].1.total_cmp(&tried[*a].1));
        peaks.truncate(64);
        let free = if astigmatic { 3 } else { 1 };
        let h = 0.3 * step;
        let refined = p.par.map(peaks.len().min(REFINED), |i| {
            let gain = |x: &[f64]| {
                let x = [x[0], x.get(1).copied().unwrap_or(0.0), x.get(2).copied().unwrap_or(0.0)];
                full.at(&self.numbers(x)).map_or(0.0, |r| r.gain)
            };
            let (x, covariance) = climb(&tried[peaks[i]].0[..free], h, 12, gain);
            let x = [x[0], x.get(1).copied().unwrap_or(0.0), x.get(2).copied().unwrap_or(0.0)];
            // The likelihood is exp(gain/2).
            Some((x, (2.0 * covariance).sqrt()))
        });
        let mut found: Vec<Peak> = Vec::with_capacity(peaks.len());
        for (i, &at) in peaks.iter().enumerate() {
            let (x, sigma) = refined.get(i).copied().flatten().unwrap_or((tried[at].0, step));
            // Two maxima of the search may lead to one.
            if found.iter().all(|f| (f.x[0] - x[0]).abs() > 0.25 * step) {
                found.push(Peak { x, rings: full.at(&self.numbers(x))?, sigma });
            }
        }
        found.sort_by(|a, b| b.rings.gain.total_cmp(&a.rings.gain));
        Ok(self.result(spectrum, &full, &found, tried.iter().map(|t| (Length::angstrom(t.0[0]), t.1)).collect()))
    }

    /// The numbers of the lens: defocus, C12a, C12b.
    fn numbers(&self, [defocus, a, b]: [f64; 3]) -> LensNumbers {
        [-defocus, a, b, self.params.cs.to_angstrom(), 0.0, 0.0]
    }

    fn result(&self, spectrum: &PowerSpectrum, full: &RingFit, found: &[Peak], search: Vec<(Length, f64)>) -> ThonFit {
        let best = &found[0];
        let reduced = full.reduced(&best.rings);
        let scale = reduced.max(1.0);

        // Laplace: the mass of a maximum is exp(gain/2) times its width; that of no rings at all is the length of the range, with half a
        // logarithm of the data for each number that rings take (Schwarz).
        let range = (self.params.defocus[1] - self.params.defocus[0]).to_angstrom();
        let numbers = full.strengths() as f64 + if self.params.astigmatism > Length::ZERO { 2.0 } else { 0.0 };
        let null = range.ln() + 0.5 * numbers * (full.rings() as f64).ln();
        let mass = |f: &Peak| {
            let sigma = if f.sigma.is_finite() && f.sigma > 0.0 { f.sigma * scale.sqrt() } else { range };
            0.5 * f.rings.gain / scale + (sigma * (2.0 * PI).sqrt()).min(range).ln()
        };
        let top = found.iter().map(mass).fold(null, f64::max);
        let total: f64 = found.iter().map(|f| (mass(f) - top).exp()).sum::<f64>() + (null - top).exp();
        let alternatives: Vec<Alternative> = found
            .iter()
            .map(|f| Alternative { defocus: Length::angstrom(f.x[0]), probability: (mass(f) - top).exp() / total })
            .collect();

        let numbers = self.numbers(best.x);
        let (aberrations, _, _) = LensTransfer::lens(&numbers);
        let c12 = best.x[1].hypot(best.x[2]);
        // C12 adds to C10, and takes from the underfocus, along φ12: the largest underfocus is across.
        let mut angle = 0.5 * best.x[2].atan2(best.x[1]) + 0.5 * PI;
        if angle > 0.5 * PI {
            angle -= PI;
        }
        let curve = self.curve(spectrum, full, &best.rings, &numbers);
        ThonFit {
            defocus: Length::angstrom(best.x[0]),
            defocus_sigma: Length::angstrom(best.sigma * scale.sqrt()),
            astigmatism: Length::angstrom(2.0 * c12),
            angle: Angle::rad(angle),
            aberrations,
            quality: quality(&curve),
            correlation: full.correlation(&best.rings),
            gain: best.rings.gain,
            reduced_chi2: reduced,
            confidence: alternatives[0].probability,
            resolution: self.reach(&curve, best.x[0]),
            alternatives,
            search,
            curve,
        }
    }

    /// The average over curves of equal χ, and the fit along it.
    fn curve(&self, spectrum: &PowerSpectrum, full: &RingFit, rings: &Rings, p: &LensNumbers) -> ThonCurve {
        let round = [p[0], 0.0, 0.0, p[3], 0.0, 0.0];
        let lens = LensTransfer { lambda: self.lambda, coherence: Coherence::Separable };
        let l2 = self.lambda * self.lambda;
        // One Newton step in k² from the pixel's own: χ = (π/λ)[C10 ρ + ½ C30 ρ² + C12a (x² − y²) + C12b 2xy], ρ = λ²k².
        let radial = spectrum.radial(|[y, x]| {
            let rho = l2 * (y * y + x * x);
            let two = l2 * (p[1] * (x * x - y * y) + 2.0 * p[2] * x * y);
            let slope = p[0] + p[3] * rho;
            let moved = if slope.abs() * rho > 4.0 * two.abs() { two / slope } else { 0.0 };
            ((rho + moved) / l2).max(0.0).sqrt()
        });
        let mut curve = ThonCurve { k: radial.k, power: radial.mean, ..ThonCurve::default() };
        for &k in &curve.k {
            let c = contrast_transfer(lens.at(&round, [0.0, k]), self.params.amplitude_contrast);
            curve.transfer.push(c * c);
            let [b, a] = full.curves(rings, k).unwrap_or([f64::NAN; 2]);
            curve.background.push(b);
            curve.strength.push(a);
            curve.fit.push(b + a * c * c);
        }
        curve
    }

    /// The finest spacing to which rings are seen: least squares of `a + b k + d c²` within a ring period each side, d above three of its standard
    /// deviations.
    fn reach(&self, curve: &ThonCurve, defocus: f64) -> Option<Length> {
        let low = 1.0 / self.params.resolution[0].to_angstrom();
        let cs = self.params.cs.to_angstrom();
        let mut last = None;
        for (i, &k) in curve.k.iter().enumerate().filter(|(_, k)| **k >= low) {
            let slope = 2.0 * PI * self.lambda * k * (cs * self.lambda * self.lambda * k * k - defocus).abs();
            let period = PI / slope.max(1e-9);
            let near: Vec<usize> =
                (0..curve.k.len()).filter(|&j| (curve.k[j] - k).abs() <= period.min(0.5 * k)).collect();
            let significance = if near.len() < 7 { 0.0 } else { local(curve, &near, k) };
            match (significance > 3.0, last) {
                (true, _) => last = Some(i),
                // A gap of a ring is allowed where the rings are weak, and before the first.
                (false, Some(l)) if curve.k[i] - curve.k[l] > 2.0 * period => break,
                _ => {}
            }
        }
        last.map(|i| Length::angstrom(1.0 / curve.k[i]))
    }
}

/// d over its standard deviation.
fn local(curve: &ThonCurve, near: &[usize], k: f64) -> f64 {
    let (mut a, mut b) = ([0.0; 9], [0.0; 3]);
    let mean = near.iter().map(|&j| curve.power[j]).sum::<f64>() / near.len() as f64;
    let row = |j: usize| [1.0, (curve.k[j] - k) / k, curve.transfer[j]];
    for &j in near {
        let (t, y) = (row(j), curve.power[j] / mean);
        for u in 0..3 {
            b[u] += t[u] * y;
            (0..3).for_each(|v| a[u * 3 + v] += t[u] * t[v]);
        }
    }
    let Ok(x) = crate::linalg::lstsq::cholesky_solve(3, &a, &b) else { return 0.0 };
    let Ok(e) = crate::linalg::lstsq::cholesky_solve(3, &a, &[0.0, 0.0, 1.0]) else { return 0.0 };
    let left: f64 = near
        .iter()
        .map(|&j| (curve.power[j] / mean - row(j).iter().zip(&x).map(|(t, x)| t * x).sum::<f64>()).powi(2))
        .sum();
    x[2] / (e[2] * left / (near.len() - 3) as f64).sqrt().max(1e-300)
}

/// Correlation of measured and fitted rings along the radius, each divided by the background.
fn quality(curve: &ThonCurve) -> f64 {
    let (mut ff, mut dd, mut fd, mut f1, mut d1, mut n) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for i in 0..curve.k.len() {
        let (f, d) = (curve.fit[i] / curve.background[i] - 1.0, curve.power[i] / curve.background[i] - 1.0);
        if f.is_finite() && d.is_finite() {
            (ff, dd, fd, f1, d1, n) = (ff + f * f, dd + d * d, fd + f * d, f1 + f, d1 + d, n + 1.0);
        }
    }
    let (vf, vd) = (ff - f1 * f1 / n, dd - d1 * d1 / n);
    if vf > 0.0 && vd > 0.0 { (fd - f1 * d1 / n) / (vf * vd).sqrt() } else { 0.0 }
}

/// The points of a hexagonal grid within a circle, the origin first.
fn hexagonal(radius: f64, step: f64) -> Vec<[f64; 2]> {
    let n = (radius / step).ceil() as i64 + 1;
    let mut points = vec![[0.0; 2]];
    for i in -2 * n..=2 * n {
        for j in -2 * n..=2 * n {
            let q = [step * (i as f64 + 0.5 * j as f64), step * j as f64 * 0.75f64.sqrt()];
            if (i, j) != (0, 0) && q[0].hypot(q[1]) <= radius * 1.001 {
                points.push(q);
            }
        }
    }
    points
}

/// Neighbouring sectors taken together.
fn merged(polar: &PolarSpectrum, factor: usize) -> PolarSpectrum {
    let sectors = polar.sectors / factor;
    let cells = polar.mean.len() / factor;
    let mut out = PolarSpectrum { sectors, k: vec![[0.0; 2]; cells], mean: vec![0.0; cells], count: vec![0.0; cells] };
    for i in 0..cells {
        let (mut k2, mut direction) = (0.0, [0.0; 2]);
        for j in i * factor..(i + 1) * factor {
            let (n, k) = (polar.count[j], polar.k[j]);
            k2 += n * (k[0] * k[0] + k[1] * k[1]);
            direction = [direction[0] + n * k[0], direction[1] + n * k[1]];
            out.mean[i] += n * polar.mean[j];
            out.count[i] += n;
        }
        if out.count[i] > 0.0 {
            let (r, phi) = ((k2 / out.count[i]).sqrt(), direction[0].atan2(direction[1]));
            out.k[i] = [r * phi.sin(), r * phi.cos()];
            out.mean[i] /= out.count[i];
        }
    }
    out
}
