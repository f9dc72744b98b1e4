//! The projected potential of a crystal that is no weak object, from the reflections of its images, the lens known.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::contrast::{check_amplitude_contrast, contrast_transfer};
use crate::hrtem::crystal_focus::FocusReflection;
use crate::hrtem::image_reflections::{PlaneReflection, PlaneReflections};
use crate::hrtem::phase_series::{PhaseObject, PhaseSeries, SeriesLens, SeriesWork};
use crate::hrtem::plane_groups::PlaneOperation;
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::strong_focus::{basis_of, mean_power, one_of_each_pair};
use crate::observe::silent;
use crate::optics::{Ctf, CtfParams, wavelength};
use crate::optim::{Method, Minimize, MinimizeParams, Wolfe};
use crate::par::Par;
use crate::rng;
use crate::units::{Length, SpatialFrequency};

type C = Complex<f64>;

/// What a linear start leaves to noise at a zero of the transfer.
const WIENER: f64 = 0.1;
/// The least density of a start, in standard deviations of the linear phase: at 0 the gradient of u² is 0.
const LEAST: f64 = 0.05;
/// Standard deviation of the atoms of a random start, Å.
const COARSE: f64 = 0.4;
/// Mean density of random starts, in standard deviations of the linear phase: in turn.
const HEIGHTS: [f64; 3] = [1.0, 2.0, 4.0];
/// Share of the iterations after which starts are compared, one of so many of which is finished.
const SCREEN: usize = 3;
const FINISHED: usize = 4;
/// Phases that correlate less are different answers.
const ALIKE: f64 = 0.9;

/// What the search for the phase of a crystal depends on.
#[derive(Clone, Debug)]
pub struct CrystalPhaseParams {
    /// The lens of each image; their defocus is that of the specimen's middle. The images lie on each other.
    pub lenses: Vec<CtfParams>,
    /// Thickness of the crystal.
    pub thickness: Length,
    /// Equal slices that it is cut into.
    pub slices: usize,
    /// Foci within the focal spread whose images make one up: right to any order. 1: the spread is an envelope.
    pub foci: usize,
    /// Amplitude contrast w.
    pub amplitude_contrast: f64,
    /// Standard deviation of the narrowest column that there can be.
    pub width: Length,
    /// Price of the mean of the phase over its standard deviation, for each reflection.
    pub sparsity: f64,
    /// What the model may leave of a reflection, as a share of the mean intensity at its |k|: its variance beside noise.
    pub share: f64,
    /// Symmetry of random starts, about the point from which the reflections' phases count; empty: none.
    pub operations: Vec<PlaneOperation>,
    /// Starts: the linear phase, then random ones.
    pub starts: usize,
    /// Seed of the random starts.
    pub seed: u64,
    /// The most iterations.
    pub iterations: usize,
    /// Converged when the loss changes by less than this share.
    pub tolerance: f64,
    /// Threads, over starts.
    pub par: Par,
}

/// One ideal lens, 4 nm in five slices, five foci, columns of 0.25 Å, a sparsity of 0.1, 10⁻³ beside noise, one start, 300 iterations, 10⁻⁶.
impl Default for CrystalPhaseParams {
    fn default() -> Self {
        CrystalPhaseParams {
            lenses: vec![CtfParams::default()],
            thickness: Length::nm(4.0),
            slices: 5,
            foci: 5,
            amplitude_contrast: 0.0,
            width: Length::angstrom(0.25),
            sparsity: 0.1,
            share: 1e-3,
            operations: Vec::new(),
            starts: 1,
            seed: 1,
            iterations: 300,
            tolerance: 1e-6,
            par: Par::default(),
        }
    }
}

/// The phase of a crystal.
#[derive(Clone, Debug)]
pub struct CrystalPhaseFit {
    /// The coefficients of φ = σ ∫V dz, rad, of one of each Friedel pair of the reflections that were given: `φ = Σ_g F e^{2πi g·r}`, one
    /// `f` each. `sigma` is √⟨|n|²⟩ by the linear transfer, with the spread of phases at its |k| where that is smaller.
    pub phase: Vec<FocusReflection>,
    /// Σ|M − F|² over Σ|F|²: what the phase leaves of the images.
    pub left: f64,
    /// Mean of |M − F|²/v: above 1 the model does not explain the images.
    pub chi2: f64,
    /// Starts that led to this phase, of those that were finished.
    pub found: usize,
    /// The lowest loss of another phase over the loss of this; none, if no other was met. Near 1: which of them is open.
    pub next: Option<f64>,
    /// Iterations of the start that led here.
    pub iterations: usize,
}

impl CrystalPhaseFit {
    /// The phase's reflections up to a spatial frequency, in the crystallographers' sign, times a factor: 1/(σ t) for the mean
    /// potential in V.
    pub fn plane_reflections(
        &self,
        lattice: &PlaneLattice,
        highest: SpatialFrequency,
        factor: f64,
    ) -> PlaneReflections {
        let highest = highest.to_per_angstrom();
        let mut list: Vec<PlaneReflection> = self
            .phase
            .iter()
            .filter(|r| r.k[0].hypot(r.k[1]) <= highest)
            .map(|r| {
                let (index, f) = match r.hk > [0, 0] {
                    true => (r.hk, r.f[0].conj()),
                    false => (r.hk.map(|h| -h), r.f[0]),
                };
                PlaneReflection { index, f: f * factor, sigma: r.sigma * (0.5f64.sqrt() * factor.abs()) }
            })
            .collect();
        list.sort_by_key(|r| r.index);
        PlaneReflections { lattice: *lattice, mean: 0.0, list }
    }
}

/// Reflections of pictures of one crystal, measured on the same lattice, in the form that the searches for focus and phase take.
///
/// # Units
/// `unit` is that of the lattice: the side of a pixel. σ becomes √⟨|n|²⟩ of the contrast I/Ī − 1, the largest over the pictures.
///
/// # Errors
/// [`Error::Data`] for pictures with other reflections than the first, or a mean that is not positive.
pub fn focus_reflections(pictures: &[PlaneReflections], unit: Length) -> Result<Vec<FocusReflection>, Error> {
    let Some(first) = pictures.first() else {
        return Err(Error::param("pictures", 0, "at least one"));
    };
    for (index, p) in pictures.iter().enumerate() {
        if !(p.mean > 0.0 && p.mean.is_finite()) {
            return Err(Error::Data { what: format!("a mean of {}", p.mean), index });
        }
        if p.list.len() != first.list.len() || p.list.iter().zip(&first.list).any(|(a, b)| a.index != b.index) {
            return Err(Error::Data { what: "reflections with other indices than the first picture's".into(), index });
        }
    }
    let dual = first.lattice.reciprocal();
    let unit = unit.to_angstrom();
    let one = |i: usize| {
        let hk = first.list[i].index;
        let own = |p: &PlaneReflections| p.list[i].sigma * std::f64::consts::SQRT_2 / p.mean;
        FocusReflection {
            hk,
            k: dual.at(hk.map(f64::from)).map(|k| k / unit),
            f: pictures.iter().map(|p| p.list[i].f.conj() / p.mean).collect(),
            sigma: pictures.iter().map(own).fold(0.0, f64::max),
        }
    };
    Ok((0..first.list.len()).map(one).collect())
}

/// Finds the projected potential whose images, not linear in it, have the given reflections.
///
/// The phase is a positive density of columns, as wide as `width` at least, the same all along the beam:
///
/// ```text
/// φ = G ⊗ u²;   ψ ← P_{t/n} e^{κφ/n} ψ, n times, κ = i√(1 − w²) − w;   I_j = |F⁻¹ T_j F ψ|²;   M_j(h) = Î_j(h)/Î_j(0)
/// L(u) = Σ_j Σ_h |M_j(h) − F_j(h)|²/v(h) + s H/(N rms) Σ_r u²,   v = σ² + f⟨|F|²⟩,   H reflections, N points, rms of the linear phase
/// ```
///
/// by L-BFGS. Reflections far beyond the resolution that is wanted belong in: in a strong object they carry, with those below, what
/// a zero of the transfer took. The loss has other hollows where columns turn the wave by several radians: `starts` tries random
/// densities with the symmetry that is known, the lowest loss is taken.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{CrystalPhase, CrystalPhaseParams};
/// use exitwave::units::Length;
/// let plan = CrystalPhase::new(CrystalPhaseParams { thickness: Length::nm(6.0), ..CrystalPhaseParams::default() })?;
/// // Reflections come from `measure_reflections` and `focus_reflections`; without any there is no phase.
/// assert!(plan.fit(&[]).is_err());
/// # Ok::<(), exitwave::Error>(())
/// ```
///
/// # References
/// W. Van den Broek, C. T. Koch, *Phys. Rev. Lett.* 109, 245502 (2012), for the gradient; derivation in docs/ctf_correction.md.
#[derive(Debug)]
pub struct CrystalPhase {
    params: CrystalPhaseParams,
    lenses: Vec<Ctf>,
}

/// The loss as a function of u.
struct Density<'a> {
    series: &'a PhaseSeries,
    lens: &'a SeriesLens,
    blob: Vec<f64>,
    shifts: Vec<[f64; 2]>,
    price: f64,
}

/// Where a start led.
#[derive(Clone, Debug, Default)]
struct Tried {
    loss: f64,
    x: Vec<f64>,
    iterations: usize,
}

impl Density<'_> {
    /// φ of u, into `w.phase`.
    fn phase(&self, u: &[f64], w: &mut SeriesWork) {
        w.phase.iter_mut().zip(u).for_each(|(p, u)| *p = C::new(u * u, 0.0));
        self.series.filter(&self.blob, w);
    }

    /// L, its gradient, Σ|M − F|²/v and Σ|M − F|².
    fn evaluate(&self, u: &[f64], g: &mut [f64], w: &mut SeriesWork) -> (f64, f64, f64) {
        self.phase(u, w);
        let mut own = vec![[0.0; 2]; self.shifts.len()];
        let (misfit, left) = self.series.misfit(self.lens, &self.shifts, &mut own, w);
        // G is even and real: its own adjoint.
        self.series.filter(&self.blob, w);
        let mut sum = 0.0;
        for ((g, u), d) in g.iter_mut().zip(u).zip(&w.phase) {
            *g = 2.0 * u * (d.re + self.price);
            sum += u * u;
        }
        (misfit + self.price * sum, misfit, left)
    }
}

impl CrystalPhase {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter that is not finite or outside its range.
    pub fn new(params: CrystalPhaseParams) -> Result<Self, Error> {
        let p = &params;
        check_amplitude_contrast(p.amplitude_contrast)?;
        if p.lenses.is_empty() || p.lenses.iter().any(|l| l.energy != p.lenses[0].energy) {
            return Err(Error::param("lenses", p.lenses.len(), "at least one, all of one energy"));
        }
        let lenses = p.lenses.iter().map(Ctf::new).collect::<Result<Vec<_>, _>>()?;
        if !(p.thickness > Length::ZERO && p.thickness <= Length::um(1.0)) {
            return Err(Error::param("thickness", p.thickness, "between 0 and 1 µm"));
        }
        if !(p.width >= Length::ZERO && p.width <= Length::nm(1.0)) {
            return Err(Error::param("width", p.width, "0 to 1 nm"));
        }
        for (name, value, least) in [("sparsity", p.sparsity, 0.0), ("share", p.share, f64::MIN_POSITIVE)] {
            if !(value >= least && value <= 1e3) {
                return Err(Error::param(name, value, "positive, at most 1000"));
            }
        }
        if !(p.tolerance >= 0.0 && p.tolerance < 1.0) {
            return Err(Error::param("tolerance", p.tolerance, "0 to 1"));
        }
        for (name, value, most) in [
            ("slices", p.slices, 1000),
            ("foci", p.foci, 15),
            ("iterations", p.iterations, 100_000),
            ("starts", p.starts, 10_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::param(
                    name,
                    value,
                    "at least 1; at most 1000 slices, 15 foci, 10⁵ iterations, 10⁴ starts",
                ));
            }
        }
        Ok(CrystalPhase { params, lenses })
    }

    /// The phase of these reflections. They should reach as far as they stand out of noise; absent and weak ones are data, too.
    ///
    /// # Errors
    /// [`Error::Data`] for reflections without a coefficient for each lens, or that are not finite or without σ; [`Error::Param`] for indices
    /// that span no lattice or pass 500; [`Error::OutOfMemory`].
    pub fn fit(&self, reflections: &[FocusReflection]) -> Result<CrystalPhaseFit, Error> {
        let p = &self.params;
        self.check(reflections)?;
        let used = one_of_each_pair(reflections);
        let images = p.lenses.len();
        let basis = basis_of(&used)?;
        let hk: Vec<[i32; 2]> = used.iter().map(|r| r.hk).collect();
        let data: Vec<Vec<C>> = (0..images).map(|j| used.iter().map(|r| r.f[j]).collect()).collect();
        let power = mean_power(&used);
        let variance: Vec<f64> = used.iter().zip(&power).map(|(r, s)| r.sigma * r.sigma + p.share * s).collect();
        let object = PhaseObject {
            lambda: wavelength(p.lenses[0].energy).to_angstrom(),
            thickness: p.thickness.to_angstrom(),
            slices: p.slices,
            amplitude: p.amplitude_contrast,
        };
        let weight = variance.iter().map(|v| 1.0 / v).collect();
        let series = PhaseSeries::new(object, basis, &hk, &data, weight, vec![1.0; hk.len()])?;
        let lens = series.lens_of(&p.lenses, &nodes(p.foci))?;

        let transfer = |r: &FocusReflection| -> Vec<f64> {
            let c = |ctf: &Ctf| contrast_transfer(ctf.at(r.k, [1e-3; 2]), p.amplitude_contrast);
            self.lenses.iter().map(c).collect()
        };
        let linear: Vec<C> = used
            .iter()
            .map(|r| {
                let c = transfer(r);
                let sum: C = r.f.iter().zip(&c).map(|(f, c)| f * *c).sum();
                sum * 0.5 / (WIENER + c.iter().map(|c| c * c).sum::<f64>())
            })
            .collect();
        // At focus the linear phase is 0; a contrast of 2cφ is no more than 2φ.
        let contrast = used.iter().map(|r| r.f[0].norm_sqr()).sum::<f64>();
        let seen = linear.iter().map(|a| a.norm_sqr()).sum::<f64>();
        let rms = (2.0 * if seen > 0.0 { seen } else { 0.25 * contrast }).sqrt();
        let total: f64 = data.iter().flatten().map(|f| f.norm_sqr()).sum();
        if rms.is_nan() || rms <= 0.0 {
            return Err(Error::Data { what: "reflections that are all 0".into(), index: 0 });
        }
        let blob = series.blob(p.width.to_angstrom());
        let price = p.sparsity * used.len() as f64 / (blob.len() as f64 * rms);
        let density = Density { series: &series, lens: &lens, blob, shifts: vec![[0.0; 2]; images], price };

        // Every start to a third of the way, the best quarter to the end.
        let first = if p.starts == 1 { p.iterations } else { p.iterations.div_ceil(SCREEN) };
        let all = p.par.map(p.starts, |i| Some(self.descend(&density, &self.start(&density, &linear, rms, i), first)));
        let mut tried: Vec<Tried> = all.into_iter().flatten().collect::<Result<_, Error>>()?;
        tried.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        if p.starts > 1 {
            tried.truncate(p.starts.div_ceil(FINISHED).max(2));
            let rest = p.iterations - first;
            let all = p.par.map(tried.len(), |i| Some(self.descend(&density, &tried[i].x, rest)));
            let more: Vec<Tried> = all.into_iter().flatten().collect::<Result<_, Error>>()?;
            for (old, new) in tried.iter_mut().zip(more) {
                *old = Tried { iterations: old.iterations + new.iterations, ..new };
            }
            tried.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        }

        let mut w = series.work();
        let mut coefficients = |t: &Tried| {
            density.phase(&t.x, &mut w);
            series.take_phase(&mut w)
        };
        let a = coefficients(&tried[0]);
        let mut found = 0;
        let mut next = None;
        for t in &tried {
            let b = coefficients(t);
            let inner = |x: &[C], y: &[C]| x.iter().zip(y).map(|(x, y)| (x.conj() * y).re).sum::<f64>();
            if inner(&a, &b) >= ALIKE * (inner(&a, &a) * inner(&b, &b)).sqrt() {
                found += 1;
            } else if next.is_none() {
                next = Some(t.loss / tried[0].loss.max(f64::MIN_POSITIVE));
            }
        }
        let mut g = vec![0.0; tried[0].x.len()];
        let (_, misfit, left) = density.evaluate(&tried[0].x, &mut g, &mut w);
        let phase: Vec<FocusReflection> =
            used.iter().zip(&a).map(|(r, a)| FocusReflection { f: vec![*a], sigma: 0.0, ..r.clone() }).collect();
        let spread = mean_power(&phase);
        let phase = phase
            .into_iter()
            .zip(&used)
            .zip(spread.iter().zip(&variance))
            .map(|((out, r), (s, v))| {
                let c2: f64 = transfer(r).iter().map(|c| c * c).sum();
                FocusReflection { sigma: (1.0 / (4.0 * c2 / v + 1.0 / s)).sqrt(), ..out }
            })
            .collect();
        Ok(CrystalPhaseFit {
            phase,
            left: left / total,
            chi2: misfit / (images * used.len()) as f64,
            found,
            next,
            iterations: tried[0].iterations,
        })
    }

    fn check(&self, reflections: &[FocusReflection]) -> Result<(), Error> {
        let images = self.params.lenses.len();
        for (index, r) in reflections.iter().enumerate() {
            let finite = r.f.iter().all(|f| f.re.is_finite() && f.im.is_finite()) && r.k.iter().all(|k| k.is_finite());
            if r.f.len() != images || !finite || !(r.sigma > 0.0 && r.sigma.is_finite()) {
                let what =
                    format!("reflection {:?}: {} coefficients for {images} images, σ {}", r.hk, r.f.len(), r.sigma);
                return Err(Error::Data { what, index });
            }
            if r.hk.iter().any(|h| h.unsigned_abs() > 500) {
                return Err(Error::param("hk", format!("{:?}", r.hk), "indices up to 500"));
            }
        }
        Ok(())
    }

    /// u of the i-th start.
    fn start(&self, density: &Density<'_>, linear: &[C], rms: f64, i: usize) -> Vec<f64> {
        let (series, mut w) = (density.series, density.series.work());
        if i == 0 {
            series.set_phase(linear, &mut w);
            return w.phase.iter().map(|p| p.re.max(LEAST * rms).sqrt()).collect();
        }
        let mut r = rng::stream(self.params.seed, i as u64);
        w.phase.iter_mut().for_each(|p| *p = C::new(rng::normal(&mut r), 0.0));
        series.filter(&series.blob(COARSE), &mut w);
        series.symmetrise(&self.params.operations, &mut w);
        let mean = w.phase.iter().map(|z| z.re * z.re).sum::<f64>() / w.phase.len() as f64;
        let height = (HEIGHTS[i % HEIGHTS.len()] * rms / mean.max(f64::MIN_POSITIVE)).sqrt();
        w.phase.iter().map(|z| height * z.re).collect()
    }

    fn descend(&self, density: &Density<'_>, x: &[f64], iterations: usize) -> Result<Tried, Error> {
        let mut w = density.series.work();
        let method = Method::Lbfgs { pairs: 15, wolfe: Wolfe::default() };
        let params = MinimizeParams { method, change_tolerance: self.params.tolerance, ..MinimizeParams::default() };
        let plan = Minimize::new(x.len(), params)?;
        let mut objective = |x: &[f64], _: usize, g: &mut [f64]| Ok(density.evaluate(x, g, &mut w).0);
        let end = plan.run(plan.start(x)?, iterations, &mut objective, &mut silent)?;
        let x = end.state.best;
        let mut g = vec![0.0; x.len()];
        let loss = density.evaluate(&x, &mut g, &mut w).0;
        Ok(Tried { loss, x, iterations: end.iterations })
    }
}

/// Points and weights of the mean over a normal distribution, exact for polynomials of degree 2n − 1 (Gauss and Hermite): zeros of Heₙ by
/// halving between those of Heₙ₋₁, w = (n−1)!/(n Heₙ₋₁²).
fn nodes(n: usize) -> Vec<(f64, f64)> {
    let he = |n: usize, x: f64| {
        let (mut a, mut b) = (1.0, x);
        for i in 1..n {
            (a, b) = (b, x * b - i as f64 * a);
        }
        // Heₙ₋₁ and Heₙ.
        (a, b)
    };
    let mut zeros = vec![0.0];
    for m in 2..=n {
        // Zeros of one lie between those of the next; all are within 2√m.
        let mut edges = vec![-2.0 * (m as f64).sqrt()];
        edges.extend(&zeros);
        edges.push(2.0 * (m as f64).sqrt());
        zeros = edges
            .windows(2)
            .map(|e| {
                let (mut low, mut high) = (e[0], e[1]);
                let rising = he(m, high).1 > he(m, low).1;
                for _ in 0..80 {
                    let x = 0.5 * (low + high);
                    if (he(m, x).1 > 0.0) == rising { high = x } else { low = x }
                }
                0.5 * (low + high)
            })
            .collect();
    }
    let factorial: f64 = (1..n).map(|i| i as f64).product();
    zeros.into_iter().map(|x| (x, factorial / (n as f64 * he(n, x).0.powi(2)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optics::Aberrations;

    #[test]
    fn the_gradient_of_the_density_is_that_of_finite_differences() {
        let mut r = rng::stream(4, 0);
        let object = PhaseObject { lambda: 0.0197, thickness: 60.0, slices: 3, amplitude: 0.1 };
        let hk: Vec<[i32; 2]> = (0..3).flat_map(|h| (-2..3).map(move |k| [h, k])).filter(|h| *h > [0, 0]).collect();
        let data: Vec<C> = hk.iter().map(|_| C::new(rng::normal(&mut r), rng::normal(&mut r)) * 0.1).collect();
        let weight = (0..hk.len()).map(|i| 1.0 + i as f64).collect();
        let basis = [[0.11, 0.02], [0.0, 0.13]];
        let series = PhaseSeries::new(object, basis, &hk, &[data], weight, vec![1.0; hk.len()]).unwrap();
        let lens = CtfParams { aberrations: Aberrations::from_defocus(Length::nm(30.0)), ..CtfParams::default() };
        let lens = series.lens_of(&[lens], &nodes(3)).unwrap();
        let blob = series.blob(0.6);
        let density = Density { series: &series, lens: &lens, blob, shifts: vec![[0.0; 2]], price: 0.01 };
        let mut w = series.work();
        let x: Vec<f64> = w.phase.iter().map(|_| 0.7 * rng::normal(&mut r)).collect();
        let mut g = vec![0.0; x.len()];
        density.evaluate(&x, &mut g, &mut w);
        let mut spare = g.clone();
        for i in (0..x.len()).step_by(7) {
            let mut at = |d: f64| {
                let mut y = x.clone();
                y[i] += d;
                density.evaluate(&y, &mut spare, &mut w).0
            };
            // Fourth order: the error is h⁴ of the fifth derivative, and 10⁻¹⁶ of L over h.
            let h = 1e-2;
            let difference = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            assert!((difference - g[i]).abs() < 1e-6 * g[i].abs().max(0.1), "{i}: {difference} {}", g[i]);
        }
    }

    #[test]
    fn nodes_give_the_moments_of_a_normal_distribution() {
        for n in 1..=15 {
            let nodes = nodes(n);
            let mut moment = 1.0;
            for power in 0..n {
                // ⟨x²ᵖ⟩ = (2p − 1)!!
                moment *= if power > 0 { 2.0 * power as f64 - 1.0 } else { 1.0 };
                let even: f64 = nodes.iter().map(|(x, w)| w * x.powi(2 * power as i32)).sum();
                assert!((even / moment - 1.0).abs() < 1e-9, "{n} {power}: {even} {moment}");
            }
        }
    }
}
