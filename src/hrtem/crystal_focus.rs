//! Defocus from the reflections of a crystal, its structure unknown.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::contrast::{check_amplitude_contrast, contrast_transfer};
use crate::hrtem::thon::Alternative;
use crate::optics::{Aberrations, Coherence, FocalSpread, LensNumbers, LensTransfer, SourceAngle, wavelength};
use crate::par::Par;
use crate::real::cis;
use crate::units::{Angle, Energy, Length};

/// Step of the search: so many radians of χ at the largest k.
const STEP: f64 = 0.1;
/// Points along each axis of the cell where the shift of an image is sought first.
const CELL: usize = 16;
/// The most foci that are tried.
const MOST: usize = 200_000;

/// One reflection, in all images of a series.
#[derive(Clone, Debug)]
pub struct FocusReflection {
    /// Its indices in the lattice of the projection.
    pub hk: [i32; 2],
    /// `[ky, kx]`, 1/Å.
    pub k: [f64; 2],
    /// Its coefficients F of the contrast, `I/Ī = Σ_g F e^{2πi g·r}`, one an image.
    pub f: Vec<Complex<f64>>,
    /// Standard deviation √⟨|n|²⟩ of the noise of one coefficient: 1/√(dose × area) for counting noise.
    pub sigma: f64,
}

/// Whether the images of a series lie on each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// They do, to a tenth of the finest spacing.
    Aligned,
    /// Each is shifted against the first; the shift within the cell is found with the focus.
    #[default]
    Unknown,
}

/// What the crystal route depends on.
#[derive(Clone, Debug)]
pub struct CrystalFocusParams {
    /// Beam energy.
    pub energy: Energy,
    /// Spherical aberration.
    pub cs: Length,
    /// Twofold astigmatism C12 and its azimuth, if known.
    pub astigmatism: (Length, Angle),
    /// Spread of focus.
    pub focal_spread: FocalSpread,
    /// Spread of beam directions.
    pub source_angle: SourceAngle,
    /// Amplitude contrast w.
    pub amplitude_contrast: f64,
    /// Defocus of every image minus that of the first; its first element is zero.
    pub steps: Vec<Length>,
    /// Whether the images lie on each other.
    pub registration: Registration,
    /// Where the defocus of the first image is sought.
    pub defocus: [Length; 2],
    /// Reflections whose |k| differ by less than this share are taken for equivalent.
    pub equivalent: f64,
    /// What does not obey the linear image model, as a share of a reflection's mean intensity before the lens.
    pub floor: f64,
    /// The answer is right when it is as near as this.
    pub tolerance: Length,
    /// Threads.
    pub par: Par,
}

/// One image at 300 keV, Cs 1.2 mm, focal spread 3 nm, sought from 10 to 200 nm, 1 % not linear, right to 5 nm.
impl Default for CrystalFocusParams {
    fn default() -> Self {
        CrystalFocusParams {
            energy: Energy::kev(300.0),
            cs: Length::mm(1.2),
            astigmatism: (Length::ZERO, Angle::ZERO),
            focal_spread: FocalSpread::rms(Length::nm(3.0)),
            source_angle: SourceAngle::ZERO,
            amplitude_contrast: 0.0,
            steps: vec![Length::ZERO],
            registration: Registration::default(),
            defocus: [Length::nm(10.0), Length::nm(200.0)],
            equivalent: 1e-3,
            floor: 0.01,
            tolerance: Length::nm(5.0),
            par: Par::default(),
        }
    }
}

/// The defocus of a crystal's image.
#[derive(Clone, Debug)]
pub struct CrystalFocusFit {
    /// Defocus of the first image, underfocus positive: of the specimen's middle.
    pub defocus: Length,
    /// Standard deviation of its probability within the tolerance.
    pub sigma: Length,
    /// Probability that the answer is right to the tolerance.
    pub confidence: f64,
    /// Maxima of the probability, the answer first, each with the probability within the tolerance of it.
    pub alternatives: Vec<Alternative>,
    /// The search: defocus and log likelihood.
    pub search: Vec<(Length, f64)>,
    /// K of the prior `⟨|F|²⟩ = 4 K e^{−Bk²/2}` before the lens.
    pub scale: f64,
    /// B, Å².
    pub falloff: f64,
    /// Shifts of the images' content against the first's, as fractions of the cell `[h, k]`.
    pub shifts: Vec<[f64; 2]>,
    /// Independent sets of equivalent reflections that were used.
    pub orbits: usize,
}

/// Finds the defocus at which the reflections of one image, or of a series of the same area, are most probable whatever the structure is.
///
/// The coefficient of image j is `F_j = 2 c_j(g) φ_g e^{−2πi g·d_j} + n`. Nothing is known of φ_g but Wilson's statistics,
/// `2φ_g ~ CN(0, s²)`, `s² = K e^{−Bk²/2}`, and it is integrated over: the vector of the coefficients is
///
/// `F ~ CN(0, Σ)`, `Σ = s² c cᵀ + ν 1`, `ν = (σ² + f s²)/m`,
/// `−ln L = ln det Σ + tr Σ⁻¹ Ĉ`, `ln det Σ = J ln ν + ln(1 + s²|c|²/ν)`
///
/// for m equivalent reflections, which count as one, Ĉ being their mean F Fᴴ less the noise that the mean does not have, f what the
/// linear model leaves out. K and B are the most likely ones at every defocus, the shifts those at which the images agree best.
/// Zeros of c speak in one image; in a series its signs do.
///
/// # References
/// A. J. C. Wilson, *Acta Cryst.* 2, 318 (1949), for the prior; derivation in docs/ctf_fit.md. Zeros over reflections: X. D. Zou, S. Hovmöller,
/// P. Oleynikov, *Electron Crystallography*, Oxford (2011), chapter 11.
#[derive(Debug)]
pub struct CrystalFocus {
    params: CrystalFocusParams,
    lens: LensTransfer,
}

/// Equivalent reflections.
struct Orbit {
    k2: f64,
    members: Vec<usize>,
    /// σ² of one coefficient.
    noise: f64,
}

/// An orbit at one defocus: |c|², cᵀĈc, tr Ĉ.
#[derive(Clone, Copy)]
struct Seen {
    k2: f64,
    m: f64,
    noise: f64,
    cc: f64,
    along: f64,
    trace: f64,
}

/// One focus of the search.
#[derive(Clone, Default)]
struct Tried {
    likelihood: f64,
    scale: f64,
    falloff: f64,
    shifts: Vec<[f64; 2]>,
}

impl CrystalFocus {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter that is not finite or outside its range.
    pub fn new(params: CrystalFocusParams) -> Result<Self, Error> {
        let lambda = wavelength(params.energy).to_angstrom();
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(Error::param("energy", params.energy, "a positive energy"));
        }
        check_amplitude_contrast(params.amplitude_contrast)?;
        params.focal_spread.check()?;
        params.source_angle.check()?;
        let mut lens = Aberrations::default();
        lens.set_cs(params.cs);
        lens.set_astigmatism(params.astigmatism.0, params.astigmatism.1);
        lens.check()?;
        let limit = Length::mm(10.0);
        let [low, high] = params.defocus;
        if !(low < high && low.abs() <= limit && high.abs() <= limit) {
            return Err(Error::param("defocus", format!("{low} to {high}"), "an interval within 10 mm"));
        }
        let steps = &params.steps;
        if !(steps.first() == Some(&Length::ZERO) && steps.iter().all(|s| s.abs() <= limit)) {
            return Err(Error::param("steps", format!("{steps:?}"), "zero first, all within 10 mm"));
        }
        for (name, value, low, high) in [("equivalent", params.equivalent, 0.0, 0.1), ("floor", params.floor, 0.0, 1.0)]
        {
            if !(value >= low && value <= high) {
                return Err(Error::param(name, value, "a small share, at most 0.1 of k and 1 of the intensity"));
            }
        }
        if !(params.tolerance > Length::ZERO && params.tolerance.is_finite()) {
            return Err(Error::param("tolerance", params.tolerance, "a positive length"));
        }
        Ok(CrystalFocus { params, lens: LensTransfer { lambda, coherence: Coherence::Separable } })
    }

    /// The defocus of these reflections.
    ///
    /// # Errors
    /// [`Error::Param`] for fewer than four sets of equivalent reflections, or a range too wide for them; [`Error::Data`] for a
    /// reflection with another number of images than there are steps, or a value that is not finite, or noise that is not positive.
    pub fn fit(&self, reflections: &[FocusReflection]) -> Result<CrystalFocusFit, Error> {
        let p = &self.params;
        for (index, r) in reflections.iter().enumerate() {
            let finite = r.f.iter().all(|f| f.is_finite()) && r.k.iter().all(|k| k.is_finite());
            if !(finite && r.sigma > 0.0 && r.sigma.is_finite() && r.f.len() == p.steps.len()) {
                let what = format!(
                    "reflection {:?}: {} coefficients for {} images, noise {}",
                    r.hk,
                    r.f.len(),
                    p.steps.len(),
                    r.sigma
                );
                return Err(Error::Data { what, index });
            }
        }
        let orbits = orbits(reflections, p.equivalent);
        if orbits.len() < 4 {
            return Err(Error::param("reflections", format!("{} independent ones", orbits.len()), "at least four"));
        }
        let k2 = orbits[orbits.len() - 1].k2;
        let [low, high] = p.defocus.map(|d| d.to_angstrom());
        let step = STEP / (PI * self.lens.lambda * k2);
        let count = ((high - low) / step).ceil() + 1.0;
        if !(count <= MOST as f64) {
            return Err(Error::param("defocus", format!("{count:.0} steps"), "at most 200000 of them"));
        }
        let step = (high - low) / (count - 1.0);
        let tried = p.par.map(count as usize, |i| self.try_focus(low + i as f64 * step, reflections, &orbits));
        Ok(self.result(&tried, low, step, orbits.len()))
    }

    fn numbers(&self, defocus: f64) -> LensNumbers {
        let p = &self.params;
        let mut a = Aberrations::default();
        a.set_defocus(Length::angstrom(defocus));
        a.set_cs(p.cs);
        a.set_astigmatism(p.astigmatism.0, p.astigmatism.1);
        LensTransfer::numbers(&a, p.source_angle, p.focal_spread)
    }

    /// The likelihood at one defocus.
    fn try_focus(&self, defocus: f64, reflections: &[FocusReflection], orbits: &[Orbit]) -> Tried {
        let p = &self.params;
        let images = p.steps.len();
        let numbers: Vec<LensNumbers> = p.steps.iter().map(|s| self.numbers(defocus + s.to_angstrom())).collect();
        let c: Vec<Vec<f64>> = reflections
            .iter()
            .map(|r| numbers.iter().map(|n| contrast_transfer(self.lens.at(n, r.k), p.amplitude_contrast)).collect())
            .collect();
        let shifts: Vec<[f64; 2]> =
            (0..images)
                .map(|j| {
                    if j == 0 || p.registration == Registration::Aligned { [0.0; 2] } else { shift(reflections, &c, j) }
                })
                .collect();

        let seen: Vec<Seen> = orbits
            .iter()
            .map(|o| {
                let m = o.members.len() as f64;
                let mut s = Seen { k2: o.k2, m, noise: o.noise, cc: 0.0, along: 0.0, trace: 0.0 };
                for &i in &o.members {
                    let r = &reflections[i];
                    let mut sum = Complex::new(0.0, 0.0);
                    for j in 0..images {
                        let turn = TAU * (f64::from(r.hk[0]) * shifts[j][0] + f64::from(r.hk[1]) * shifts[j][1]);
                        sum += r.f[j] * cis(turn) * c[i][j];
                        s.trace += r.f[j].norm_sqr() / m;
                        s.cc += c[i][j] * c[i][j] / m;
                    }
                    s.along += sum.norm_sqr() / m;
                }
                // The mean over m keeps all of the noise; one coefficient with a noise of σ²/m has a part of it.
                let extra = o.noise * (1.0 - 1.0 / m);
                s.trace = (s.trace - extra * images as f64).max(0.0);
                s.along = (s.along - extra * s.cc).clamp(0.0, s.trace * s.cc);
                s
            })
            .collect();

        // K by a golden section at each B; the largest mean intensity that the orbits could have had bounds it.
        let top = seen.iter().map(|s| s.trace / s.cc.max(0.01)).fold(0.0, f64::max).max(1e-300);
        let k2 = orbits[orbits.len() - 1].k2;
        let mut best = Tried { likelihood: f64::NEG_INFINITY, ..Tried::default() };
        for b in 0..12 {
            // To an intensity of e⁻⁶ at the last reflection.
            let falloff = b as f64 / k2;
            let value = |ln_k: f64| likelihood(&seen, images as f64, ln_k.exp(), falloff, p.floor);
            let (ln_k, l) = golden(top.ln() - 12.0, top.ln() + 4.0, value);
            if l > best.likelihood {
                best = Tried { likelihood: l, scale: ln_k.exp(), falloff, shifts: Vec::new() };
            }
        }
        best.shifts = shifts;
        best
    }

    fn result(&self, tried: &[Tried], low: f64, step: f64, orbits: usize) -> CrystalFocusFit {
        let top = tried.iter().map(|t| t.likelihood).fold(f64::NEG_INFINITY, f64::max);
        let mass: Vec<f64> = tried.iter().map(|t| (t.likelihood - top).exp()).collect();
        let total: f64 = mass.iter().sum();
        let tolerance = (self.params.tolerance.to_angstrom() / step).max(1.0) as usize;
        let within = |i: usize| i.saturating_sub(tolerance)..(i + tolerance + 1).min(mass.len());

        // Maxima that are further apart than the tolerance, by the probability around them.
        let around: Vec<f64> = (0..mass.len()).map(|i| mass[within(i)].iter().sum::<f64>() / total).collect();
        let mut order: Vec<usize> = (0..mass.len()).filter(|&i| within(i).all(|j| mass[j] <= mass[i])).collect();
        order.sort_by(|a, b| around[*b].total_cmp(&around[*a]));
        order.truncate(32);
        let best = order[0];
        // The mean within the tolerance, and its deviation.
        let place = |i: usize| low + i as f64 * step;
        let sum: f64 = mass[within(best)].iter().sum();
        let mean: f64 = within(best).map(|i| mass[i] * place(i)).sum::<f64>() / sum;
        let variance: f64 = within(best).map(|i| mass[i] * (place(i) - mean).powi(2)).sum::<f64>() / sum;
        CrystalFocusFit {
            defocus: Length::angstrom(mean),
            sigma: Length::angstrom(variance.max(step * step / 12.0).sqrt()),
            confidence: around[best].min(1.0),
            alternatives: order
                .iter()
                .map(|&i| Alternative { defocus: Length::angstrom(place(i)), probability: around[i].min(1.0) })
                .collect(),
            search: tried.iter().enumerate().map(|(i, t)| (Length::angstrom(place(i)), t.likelihood)).collect(),
            scale: tried[best].scale,
            falloff: tried[best].falloff,
            shifts: tried[best].shifts.clone(),
            orbits,
        }
    }
}

/// Reflections of equal |k| together, one of each Friedel pair, in the order of |k|; the direct beam left out.
fn orbits(reflections: &[FocusReflection], equivalent: f64) -> Vec<Orbit> {
    let k = |i: usize| reflections[i].k[0].hypot(reflections[i].k[1]);
    let mut order: Vec<usize> = (0..reflections.len())
        .filter(|&i| {
            let [h, l] = reflections[i].hk;
            [h, l] != [0, 0] && !reflections[..i].iter().any(|r| r.hk == [-h, -l] || r.hk == [h, l])
        })
        .collect();
    order.sort_by(|a, b| k(*a).total_cmp(&k(*b)));
    let mut out: Vec<Orbit> = Vec::new();
    for i in order {
        match out.last_mut() {
            Some(o) if k(i) - k(o.members[0]) <= equivalent * k(i) => o.members.push(i),
            _ => out.push(Orbit { k2: 0.0, members: vec![i], noise: 0.0 }),
        }
    }
    for o in &mut out {
        let m = o.members.len() as f64;
        o.k2 = o.members.iter().map(|&i| k(i) * k(i)).sum::<f64>() / m;
        o.noise = o.members.iter().map(|&i| reflections[i].sigma.powi(2)).sum::<f64>() / m;
    }
    out
}

/// ln L of all orbits.
fn likelihood(seen: &[Seen], images: f64, scale: f64, falloff: f64, floor: f64) -> f64 {
    let mut sum = 0.0;
    for s in seen {
        let s2 = scale * (-0.5 * falloff * s.k2).exp();
        let nu = (s.noise + floor * s2) / s.m;
        let signal = s2 * s.cc / nu;
        // tr Σ⁻¹Ĉ = tr Ĉ/ν − s² cᵀĈc/(ν²(1 + s²|c|²/ν)).
        let trace = s.trace / nu - s2 * s.along / (nu * nu * (1.0 + signal));
        sum -= images * nu.ln() + signal.ln_1p() + trace;
    }
    sum
}

/// The maximum of a function of one variable between two bounds.
fn golden(mut a: f64, mut b: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let ratio = 0.5 * (5f64.sqrt() - 1.0);
    let (mut x, mut y) = (b - ratio * (b - a), a + ratio * (b - a));
    let (mut fx, mut fy) = (f(x), f(y));
    while b - a > 0.05 {
        if fx > fy {
            (b, y, fy) = (y, x, fx);
            x = b - ratio * (b - a);
            fx = f(x);
        } else {
            (a, x, fx) = (x, y, fy);
            y = a + ratio * (b - a);
            fy = f(y);
        }
    }
    if fx > fy { (x, fx) } else { (y, fy) }
}

/// The shift of image j against the first at which both, corrected for their lenses, agree best: the maximum of
/// `Re Σ_g c̄_0 F̄_0 c_j F_j e^{2πi h·u}` over the cell, refined by Newton steps.
fn shift(reflections: &[FocusReflection], c: &[Vec<f64>], j: usize) -> [f64; 2] {
    let product: Vec<([f64; 2], Complex<f64>)> = reflections
        .iter()
        .zip(c)
        .filter(|(r, _)| r.hk != [0, 0])
        .map(|(r, c)| (r.hk.map(f64::from), r.f[0].conj() * r.f[j] * (c[0] * c[j])))
        .collect();
    let value =
        |u: [f64; 2]| -> f64 { product.iter().map(|(h, z)| (z * cis(TAU * (h[0] * u[0] + h[1] * u[1]))).re).sum() };
    let mut best = ([0.0; 2], f64::NEG_INFINITY);
    for i in 0..CELL * CELL {
        let u = [(i / CELL) as f64 / CELL as f64, (i % CELL) as f64 / CELL as f64];
        let v = value(u);
        if v > best.1 {
            best = (u, v);
        }
    }
    let mut u = best.0;
    for _ in 0..6 {
        let (mut g, mut a) = ([0.0; 2], [0.0; 3]);
        for (h, z) in &product {
            let w = z * cis(TAU * (h[0] * u[0] + h[1] * u[1]));
            g[0] -= TAU * h[0] * w.im;
            g[1] -= TAU * h[1] * w.im;
            let curvature = TAU * TAU * w.re;
            a = [a[0] + curvature * h[0] * h[0], a[1] + curvature * h[0] * h[1], a[2] + curvature * h[1] * h[1]];
        }
        let det = a[0] * a[2] - a[1] * a[1];
        if !(det > 0.0 && a[0] > 0.0) {
            break;
        }
        let step = [(a[2] * g[0] - a[1] * g[1]) / det, (a[0] * g[1] - a[1] * g[0]) / det];
        let limit = 0.5 / CELL as f64;
        u = [u[0] + step[0].clamp(-limit, limit), u[1] + step[1].clamp(-limit, limit)];
    }
    u
}
