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
/// What the linear model may leave out of a reflection, as a share of its intensity before the lens: which, the data say.
const FLOORS: [f64; 4] = [0.01, 0.04, 0.16, 0.64];
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
    /// Intensity that scatters as from an amplitude object, with cos χ, as a share of that of the phase: what dynamical scattering and
    /// thickness add to a weak phase object.
    pub amplitude_share: f64,
    /// Standard deviation of the logarithm of s² from one orbit to the next, beyond Wilson's statistics: few atoms in a large cell make
    /// some reflections much stronger than others.
    pub spread: f64,
    /// The answer is right when it is as near as this.
    pub tolerance: Length,
    /// Threads.
    pub par: Par,
}

/// One image at 300 keV, Cs 1.2 mm, focal spread 3 nm, sought from 10 to 200 nm, 10 % amplitude, right to 5 nm.
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
            amplitude_share: 0.1,
            spread: 1.2,
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
    /// The most probable share of the intensity that the linear model leaves out, of 0.01, 0.04, 0.16 and 0.64: above a tenth the object is no
    /// weak phase object, and the focus doubtful beyond what the confidence says.
    pub floor: f64,
    /// Shifts of the images' content against the first's, as fractions of the cell `[h, k]`.
    pub shifts: Vec<[f64; 2]>,
    /// Independent sets of equivalent reflections that were used.
    pub orbits: usize,
}

/// Finds the defocus at which the reflections of one image, or of a series of the same area, are most probable whatever the structure is.
///
/// The coefficient of image j is `F_j = 2 (c_j φ_g + c′_j μ_g) e^{−2πi g·d_j} + n`, c = A E sin χ for the phase, c′ = −A E cos χ for what
/// scatters as an amplitude object (dynamical scattering, thickness). Of φ_g nothing is known but Wilson's statistics, `2φ_g ~ CN(0, s²)`,
/// `⟨s²⟩ = K e^{−Bk²/2}`, of μ_g that its intensity is a share a of that; both are integrated over: the vector of the coefficients is
///
/// ```text
/// F ~ CN(0, Σ),   Σ = ν (1 + U Uᵀ),   U = √(s²/ν) [c, √a c′],   ν = σ²/m + f s²,   M = 1 + UᵀU
/// −ln L = J ln ν + ln det M + (tr Ĉ − tr M⁻¹ UᵀĈU)/ν
/// ```
///
/// for m equivalent reflections, which count as one: Ĉ is their mean F Fᴴ less the noise that a mean does not have. s² varies by a log-normal
/// factor from one orbit to the next. K and B are the most likely ones at every defocus, the shifts those at which the images
/// agree best, f (what no linear image has) is averaged over. Zeros of c speak in one image; in a series its signs do.
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

/// An orbit at one defocus, c and c′ being its contrast as phase and as amplitude.
#[derive(Clone, Copy, Default)]
struct Seen {
    k2: f64,
    /// Noise of the mean.
    noise: f64,
    /// |c|², c·c′, |c′|².
    square: [f64; 3],
    /// cᵀĈc, cᵀĈc′, c′ᵀĈc′.
    along: [f64; 3],
    trace: f64,
}

/// One focus of the search.
#[derive(Clone, Default)]
struct Tried {
    likelihood: f64,
    scale: f64,
    falloff: f64,
    floor: f64,
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
        for (name, value, low, high) in [
            ("equivalent", params.equivalent, 0.0, 0.1),
            ("amplitude_share", params.amplitude_share, 0.0, 10.0),
            ("spread", params.spread, 0.0, 5.0),
        ] {
            if !(value >= low && value <= high) {
                return Err(Error::param(
                    name,
                    value,
                    "not negative; at most 0.1 for `equivalent`, 5 for `spread`, else 10",
                ));
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
        self.check(reflections)?;
        let orbits = orbits(reflections, p.equivalent);
        if orbits.len() < 4 {
            return Err(Error::param("reflections", format!("{} independent ones", orbits.len()), "at least four"));
        }
        let k2 = orbits[orbits.len() - 1].k2;
        let [low, high] = p.defocus.map(|d| d.to_angstrom());
        let step = STEP / (PI * self.lens.lambda * k2);
        let count = ((high - low) / step).ceil() + 1.0;
        if !(count.is_finite() && count <= MOST as f64) {
            return Err(Error::param("defocus", format!("{count:.0} steps"), "at most 200000 of them"));
        }
        let step = (high - low) / (count - 1.0);
        let tried = p.par.map(count as usize, |i| self.try_focus(low + i as f64 * step, reflections, &orbits));
        Ok(self.result(&tried, low, step, orbits.len()))
    }

    /// Whether these are reflections of a series.
    pub(crate) fn check(&self, reflections: &[FocusReflection]) -> Result<(), Error> {
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
        Ok(())
    }

    /// How many sets of equivalent reflections there are.
    pub(crate) fn independent(&self, reflections: &[FocusReflection]) -> Result<usize, Error> {
        match orbits(reflections, self.params.equivalent).len() {
            n @ 0..4 => Err(Error::param("reflections", format!("{n} independent ones"), "at least four")),
            n => Ok(n),
        }
    }

    /// λ, Å.
    pub(crate) fn lambda(&self) -> f64 {
        self.lens.lambda
    }

    /// The lens, without its numbers.
    pub(crate) fn lens(&self) -> &LensTransfer {
        &self.lens
    }

    /// The lens at a defocus in Å.
    pub(crate) fn numbers(&self, defocus: f64) -> LensNumbers {
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
        let (w, images_f) = (p.amplitude_contrast, images as f64);
        let both: Vec<Vec<[f64; 2]>> = reflections
            .iter()
            .map(|r| {
                numbers
                    .iter()
                    .map(|n| {
                        let t = self.lens.at(n, r.k);
                        // A quarter of a period of the object's phase away: what absorbs, where the other refracts.
                        [contrast_transfer(t, w), contrast_transfer(t * Complex::new(0.0, 1.0), w)]
                    })
                    .collect()
            })
            .collect();
        let shifts: Vec<[f64; 2]> = (0..images)
            .map(|j| {
                if j == 0 || p.registration == Registration::Aligned { [0.0; 2] } else { shift(reflections, &both, j) }
            })
            .collect();

        let seen: Vec<Seen> = orbits
            .iter()
            .map(|o| {
                let m = o.members.len() as f64;
                let mut s = Seen { k2: o.k2, noise: o.noise / m, ..Seen::default() };
                for &i in &o.members {
                    let r = &reflections[i];
                    let mut sum = [Complex::new(0.0, 0.0); 2];
                    for j in 0..images {
                        let turn = TAU * (f64::from(r.hk[0]) * shifts[j][0] + f64::from(r.hk[1]) * shifts[j][1]);
                        let (f, [c, d]) = (r.f[j] * cis(turn), both[i][j]);
                        sum = [sum[0] + f * c, sum[1] + f * d];
                        s.trace += f.norm_sqr() / m;
                        s.square = [s.square[0] + c * c / m, s.square[1] + c * d / m, s.square[2] + d * d / m];
                    }
                    s.along[0] += sum[0].norm_sqr() / m;
                    s.along[1] += (sum[0].conj() * sum[1]).re / m;
                    s.along[2] += sum[1].norm_sqr() / m;
                }
                // The mean over m keeps all of the noise; one coefficient with a noise of σ²/m has a part of it.
                let extra = o.noise * (1.0 - 1.0 / m);
                if s.trace > extra * images_f {
                    s.trace -= extra * images_f;
                    (0..3).for_each(|i| s.along[i] -= extra * s.square[i]);
                    s.along[0] = s.along[0].max(0.0);
                    s.along[2] = s.along[2].max(0.0);
                }
                s
            })
            .collect();

        // K by a golden section at each B; the largest mean intensity that the orbits could have had bounds it.
        let top = seen.iter().map(|s| s.trace / s.square[0].max(0.01)).fold(0.0, f64::max).max(1e-300);
        let k2 = orbits[orbits.len() - 1].k2;
        let mut best = Tried { likelihood: f64::NEG_INFINITY, ..Tried::default() };
        let mut all = [f64::NEG_INFINITY; FLOORS.len()];
        for (all, floor) in all.iter_mut().zip(FLOORS) {
            for b in 0..6 {
                // To an intensity of e⁻⁶ at the last reflection.
                let falloff = 2.4 * f64::from(b) / k2;
                let value = |ln_k: f64| self.likelihood(&seen, images_f, ln_k.exp(), falloff, floor);
                let (ln_k, l) = golden(top.ln() - 10.0, top.ln() + 3.0, value);
                *all = all.max(l);
                if l > best.likelihood {
                    best = Tried { likelihood: l, scale: ln_k.exp(), falloff, floor, shifts: Vec::new() };
                }
            }
        }
        // The mean over the floors.
        let top = best.likelihood;
        best.likelihood = top + all.iter().map(|l| (l - top).exp()).sum::<f64>().ln();
        best.shifts = shifts;
        best
    }

    /// ln L of all orbits: of each the mean of its likelihood over a log-normal s².
    fn likelihood(&self, seen: &[Seen], images: f64, scale: f64, falloff: f64, floor: f64) -> f64 {
        // Five points of the normal distribution, with the moments to order nine (Gauss–Hermite).
        const NODES: [(f64, f64); 5] = [
            (-2.856970013872806, 0.01125741132772069),
            (-1.355626179974266, 0.2220759220056126),
            (0.0, 0.5333333333333333),
            (1.355626179974266, 0.2220759220056126),
            (2.856970013872806, 0.01125741132772069),
        ];
        let a = self.params.amplitude_share;
        let mut sum = 0.0;
        for s in seen {
            let mean = scale * (-0.5 * falloff * s.k2).exp();
            let mut terms = [0.0; 5];
            for (term, (x, w)) in terms.iter_mut().zip(NODES) {
                let s2 = mean * (self.params.spread * x).exp();
                let nu = s.noise + floor * s2;
                // Σ = ν(1 + U Uᵀ), U = √(s²/ν) [c, √a c′]; M = 1 + UᵀU.
                let u = s2 / nu;
                let m = [1.0 + u * s.square[0], u * a.sqrt() * s.square[1], 1.0 + u * a * s.square[2]];
                let det = m[0] * m[2] - m[1] * m[1];
                let r = [u * s.along[0], u * a.sqrt() * s.along[1], u * a * s.along[2]];
                let taken = (m[2] * r[0] - 2.0 * m[1] * r[1] + m[0] * r[2]) / det;
                *term = w.ln() - images * nu.ln() - det.ln() - ((s.trace - taken) / nu).max(0.0);
            }
            let top = terms.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            sum += top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln();
        }
        sum
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
            floor: tried[best].floor,
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

/// The maximum of a function of one variable between two bounds.
fn golden(mut a: f64, mut b: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let ratio = 0.5 * (5f64.sqrt() - 1.0);
    let (mut x, mut y) = (b - ratio * (b - a), a + ratio * (b - a));
    let (mut fx, mut fy) = (f(x), f(y));
    while b - a > 0.2 {
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
pub(crate) fn shift(reflections: &[FocusReflection], c: &[Vec<[f64; 2]>], j: usize) -> [f64; 2] {
    let product: Vec<([f64; 2], Complex<f64>)> = reflections
        .iter()
        .zip(c)
        .filter(|(r, _)| r.hk != [0, 0])
        .map(|(r, c)| (r.hk.map(f64::from), r.f[0].conj() * r.f[j] * (c[0][0] * c[j][0])))
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
