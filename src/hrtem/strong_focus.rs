//! Defocus of a crystal that is no weak object: the focus at which one phase explains all images.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::contrast::contrast_transfer;
use crate::hrtem::crystal_focus::{CrystalFocus, CrystalFocusParams, FocusReflection, Registration, shift};
use crate::hrtem::phase_series::{PhaseObject, PhaseSeries};
use crate::hrtem::thon::Alternative;
use crate::observe::silent;
use crate::optim::{Method, Minimize, MinimizeParams, Wolfe};
use crate::units::Length;

type C = Complex<f64>;

/// Width over which the mean intensity of reflections is taken, in |k| of the last one.
const SMOOTH: f64 = 0.12;
/// What a linear start leaves to noise at a zero of the transfer.
const WIENER: f64 = 0.1;
/// Share of the intensity that a phase may leave before its focus is doubted.
const LEFT: f64 = 0.1;
/// Halvings of the step about the best foci, and how many of these there are.
const HALVINGS: usize = 3;
const FINISHED: usize = 4;

/// What the search for the focus of a strong object depends on.
#[derive(Clone, Debug)]
pub struct StrongFocusParams {
    /// Beam, lens, steps, range and tolerance; `equivalent`, `amplitude_share` and `spread` are not used.
    pub series: CrystalFocusParams,
    /// Thickness of the crystal, to a third or so.
    pub thickness: Length,
    /// Slices that the beam passes.
    pub slices: usize,
    /// Distance between the foci that are tried.
    pub step: Length,
    /// What the model may leave of a reflection, as a share of the mean intensity at its |k|: its variance beside noise.
    pub share: f64,
    /// Largest standard deviation of the phase's coefficients against those of the contrast.
    pub strength: f64,
    /// The most iterations at one focus.
    pub iterations: usize,
}

/// Three foci 25 nm apart, 10 nm in four slices, tried every 4 nm, 1 % beside noise, 60 iterations.
impl Default for StrongFocusParams {
    fn default() -> Self {
        StrongFocusParams {
            series: CrystalFocusParams {
                steps: [0.0, 25.0, 50.0].map(Length::nm).to_vec(),
                ..CrystalFocusParams::default()
            },
            thickness: Length::nm(10.0),
            slices: 4,
            step: Length::nm(4.0),
            share: 0.01,
            strength: 2.0,
            iterations: 60,
        }
    }
}

/// The defocus of a strong object.
#[derive(Clone, Debug)]
pub struct StrongFocusFit {
    /// Defocus of the first image, underfocus positive: of the specimen's middle.
    pub defocus: Length,
    /// Standard deviation of its probability within the tolerance.
    pub sigma: Length,
    /// Probability that the answer is right to the tolerance, times (0.1/`left`)² where more than a tenth is left.
    pub confidence: f64,
    /// Minima of the misfit, the answer first, each with the probability within the tolerance of it.
    pub alternatives: Vec<Alternative>,
    /// The search: defocus and misfit.
    pub search: Vec<(Length, f64)>,
    /// Share of the reflections' intensity that the best phase leaves.
    pub left: f64,
    /// Shifts of the images' content against the first's, as fractions of the cell `[h, k]`.
    pub shifts: Vec<[f64; 2]>,
}

/// Finds the defocus at which one phase, the same all along the beam, explains the reflections of a focal series best.
///
/// [`CrystalFocus`] takes images for linear in the object; columns of heavy atoms turn the wave by more than a radian, and
/// their images are not. Here the phase φ of the object, its coefficients a_h and the shifts u_j are sought at every focus,
///
/// ```text
/// R(Δf) = min Σ_j Σ_h |M_j(h; a, u) − F_j(h)|²/v(h) + Σ_h |a_h|²/p(h)
/// ```
///
/// with M the reflections of |F⁻¹ T_j F ψ|², ψ the wave behind n slices of φ/n. Each focus has its own phase, but only near the
/// true one does a phase exist that explains all images: two of three of the coefficients are its test. With the scale of
/// v unknown, `p(Δf) ∝ R^{−n/2}`; n is the number of independent reflections, not of coefficients: what the model leaves of one is much
/// the same in all images.
///
/// One image has as many coefficients as the phase and is refused.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{StrongFocus, StrongFocusParams};
/// use exitwave::units::Length;
/// let plan = StrongFocus::new(StrongFocusParams { thickness: Length::nm(8.0), ..StrongFocusParams::default() })?;
/// // Reflections come from `measure_reflections`, one list of coefficients an image; without any there is no focus.
/// assert!(plan.fit(&[]).is_err());
/// # Ok::<(), exitwave::Error>(())
/// ```
///
/// # References
/// W. Van den Broek, C. T. Koch, *Phys. Rev. Lett.* 109, 245502 (2012), for the gradient; derivation in docs/ctf_fit.md.
#[derive(Debug)]
pub struct StrongFocus {
    params: StrongFocusParams,
    linear: CrystalFocus,
}

/// One focus of the search.
#[derive(Clone, Debug, Default)]
struct Tried {
    defocus: f64,
    loss: f64,
    left: f64,
    x: Vec<f64>,
    shifts: Vec<[f64; 2]>,
}

impl StrongFocus {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter that is not finite or outside its range, or a series of one image.
    pub fn new(params: StrongFocusParams) -> Result<Self, Error> {
        let linear = CrystalFocus::new(params.series.clone())?;
        if params.series.steps.len() < 2 {
            return Err(Error::param("steps", params.series.steps.len(), "at least two images"));
        }
        if !(params.thickness > Length::ZERO && params.thickness <= Length::um(1.0)) {
            return Err(Error::param("thickness", params.thickness, "between 0 and 1 µm"));
        }
        if !((1..=1000).contains(&params.slices) && (1..=100_000).contains(&params.iterations)) {
            return Err(Error::param("slices", params.slices, "1 to 1000, with at least one iteration"));
        }
        let [low, high] = params.series.defocus;
        if !(params.step > Length::ZERO && (high - low) / params.step <= 1e4) {
            return Err(Error::param("step", params.step, "positive, at most 10000 of them"));
        }
        for (name, value) in [("share", params.share), ("strength", params.strength)] {
            if !(value > 0.0 && value <= 1e3) {
                return Err(Error::param(name, value, "above 0, at most 1000"));
            }
        }
        Ok(StrongFocus { params, linear })
    }

    /// The defocus of these reflections.
    ///
    /// # Errors
    /// As [`CrystalFocus::fit`]; [`Error::Param`] for indices that span no lattice.
    pub fn fit(&self, reflections: &[FocusReflection]) -> Result<StrongFocusFit, Error> {
        let p = &self.params;
        self.linear.check(reflections)?;
        let independent = self.linear.independent(reflections)?;
        let used = one_of_each_pair(reflections);
        let images = p.series.steps.len();
        let basis = basis_of(&used)?;
        let hk: Vec<[i32; 2]> = used.iter().map(|r| r.hk).collect();
        let data: Vec<Vec<C>> = (0..images).map(|j| used.iter().map(|r| r.f[j]).collect()).collect();
        let power = mean_power(&used);
        let weight = used.iter().zip(&power).map(|(r, s)| 1.0 / (r.sigma * r.sigma + p.share * s)).collect();
        // A phase of coefficients a gives a contrast of 2ca, c² ½ on average.
        let prior = power.iter().map(|s| 0.5 * s * p.strength * p.strength).collect();
        let object = PhaseObject {
            lambda: self.linear.lambda(),
            thickness: p.thickness.to_angstrom(),
            slices: p.slices,
            amplitude: p.series.amplitude_contrast,
        };
        let series = PhaseSeries::new(object, basis, &hk, &data, weight, prior)?;

        let [low, high] = p.series.defocus.map(|d| d.to_angstrom());
        let count = ((high - low) / p.step.to_angstrom()).ceil().max(1.0) as usize + 1;
        let step = (high - low) / (count - 1) as f64;
        let try_all = |places: &[(f64, Option<&Tried>)]| -> Result<Vec<Tried>, Error> {
            let found = p.series.par.map(places.len(), |i| {
                let (focus, from) = places[i];
                Some(self.try_focus(focus, &used, &series, from))
            });
            found.into_iter().flatten().collect()
        };
        let places: Vec<_> = (0..count).map(|i| (low + i as f64 * step, None)).collect();
        let mut tried = try_all(&places)?;

        // Between the foci, about the lowest of them.
        let mut h = step;
        for _ in 0..HALVINGS {
            h *= 0.5;
            let mut minima: Vec<usize> = (0..tried.len())
                .filter(|&i| {
                    let lower = |j: usize| tried.get(j).is_none_or(|t| tried[i].loss <= t.loss);
                    lower(i + 1) && (i == 0 || lower(i - 1))
                })
                .collect();
            minima.sort_by(|a, b| tried[*a].loss.total_cmp(&tried[*b].loss));
            minima.truncate(FINISHED);
            let places: Vec<(f64, Option<&Tried>)> = minima
                .iter()
                .flat_map(|&i| [-h, h].map(|d| (tried[i].defocus + d, Some(&tried[i]))))
                .filter(|(f, _)| (low..=high).contains(f) && tried.iter().all(|t| (t.defocus - f).abs() > 0.4 * h))
                .collect();
            let more = try_all(&places)?;
            tried.extend(more);
            tried.sort_by(|a, b| a.defocus.total_cmp(&b.defocus));
        }
        let total: f64 = data.iter().flatten().map(|f| f.norm_sqr()).sum();
        Ok(self.result(&tried, independent as f64, total))
    }

    /// The best phase at one focus: from the linear one, or from that of a focus nearby.
    fn try_focus(
        &self,
        defocus: f64,
        used: &[FocusReflection],
        series: &PhaseSeries,
        from: Option<&Tried>,
    ) -> Result<Tried, Error> {
        let p = &self.params;
        let images = p.series.steps.len();
        let numbers: Vec<_> = p.series.steps.iter().map(|s| self.linear.numbers(defocus + s.to_angstrom())).collect();
        let both: Vec<Vec<[f64; 2]>> = used
            .iter()
            .map(|r| {
                let c = |n| contrast_transfer(self.linear.lens().at(n, r.k), p.series.amplitude_contrast);
                numbers.iter().map(|n| [c(n), 0.0]).collect()
            })
            .collect();
        let known = p.series.registration == Registration::Aligned;
        let shifts: Vec<[f64; 2]> = (0..images)
            .map(|j| match from {
                Some(t) => t.shifts[j],
                None if j == 0 || known => [0.0; 2],
                None => shift(used, &both, j),
            })
            .collect();
        let lens = series.lens(self.linear.lens(), &numbers, &shifts);
        let mut x = match from {
            Some(t) => t.x.clone(),
            None => {
                let linear = |(r, c): (&FocusReflection, &Vec<[f64; 2]>)| {
                    let (mut sum, mut norm) = (C::default(), WIENER);
                    for j in 0..images {
                        let turn = f64::from(r.hk[0]) * shifts[j][0] + f64::from(r.hk[1]) * shifts[j][1];
                        sum += r.f[j] * crate::real::cis(std::f64::consts::TAU * turn) * c[j][0];
                        norm += c[j][0] * c[j][0];
                    }
                    sum * 0.5 / norm
                };
                series.start(&used.iter().zip(&both).map(linear).collect::<Vec<_>>())
            }
        };
        let own = x.len() - 2 * (images - 1);
        x[own..].fill(0.0);
        let mut work = series.work();
        let method = Method::Lbfgs { pairs: 12, wolfe: Wolfe::default() };
        let plan =
            Minimize::new(x.len(), MinimizeParams { method, change_tolerance: 1e-4, ..MinimizeParams::default() })?;
        let mut objective = |x: &[f64], _: usize, g: &mut [f64]| {
            let loss = series.evaluate(&lens, x, g, &mut work).0;
            if known {
                g[own..].fill(0.0);
            }
            Ok(loss)
        };
        let end = plan.run(plan.start(&x)?, p.iterations, &mut objective, &mut silent)?;
        let x = end.state.best;
        let mut g = vec![0.0; x.len()];
        let (loss, left) = series.evaluate(&lens, &x, &mut g, &mut series.work());
        let shifts = series.shifts(&lens, &x);
        Ok(Tried { defocus, loss, left, x, shifts })
    }

    fn result(&self, tried: &[Tried], independent: f64, total: f64) -> StrongFocusFit {
        let n = tried.len();
        let lowest = tried.iter().map(|t| t.loss).fold(f64::INFINITY, f64::min);
        // Probability times the share of the axis that a focus stands for.
        let width = |i: usize| {
            let (a, b) = (tried[i.saturating_sub(1)].defocus, tried[(i + 1).min(n - 1)].defocus);
            0.5 * (b - a)
        };
        let mass: Vec<f64> =
            (0..n).map(|i| width(i) * (-0.5 * independent * (tried[i].loss / lowest).ln()).exp()).collect();
        let sum: f64 = mass.iter().sum();
        let tolerance = self.params.series.tolerance.to_angstrom();
        let near = |i: usize, j: usize| (tried[i].defocus - tried[j].defocus).abs() <= tolerance;
        let around: Vec<f64> =
            (0..n).map(|i| (0..n).filter(|&j| near(i, j)).map(|j| mass[j]).sum::<f64>() / sum).collect();
        let mut order: Vec<usize> =
            (0..n).filter(|&i| (0..n).all(|j| !near(i, j) || tried[i].loss <= tried[j].loss)).collect();
        order.sort_by(|a, b| around[*b].total_cmp(&around[*a]));
        order.truncate(32);
        let best = order[0];
        let inside: Vec<usize> = (0..n).filter(|&j| near(best, j)).collect();
        let own: f64 = inside.iter().map(|&j| mass[j]).sum();
        let mean = inside.iter().map(|&j| mass[j] * tried[j].defocus).sum::<f64>() / own;
        let variance = inside.iter().map(|&j| mass[j] * (tried[j].defocus - mean).powi(2)).sum::<f64>() / own;
        let left = tried[best].left / total;
        let finest = (1..n).map(|i| tried[i].defocus - tried[i - 1].defocus).fold(f64::INFINITY, f64::min);
        StrongFocusFit {
            defocus: Length::angstrom(mean),
            sigma: Length::angstrom(variance.max(finest * finest / 12.0).sqrt()),
            confidence: around[best].min(1.0) * (LEFT / left.max(LEFT)).powi(2),
            alternatives: order
                .iter()
                .map(|&i| Alternative { defocus: Length::angstrom(tried[i].defocus), probability: around[i].min(1.0) })
                .collect(),
            search: tried.iter().map(|t| (Length::angstrom(t.defocus), t.loss)).collect(),
            left,
            shifts: tried[best].shifts.clone(),
        }
    }
}

/// One reflection of each Friedel pair, without the direct beam.
pub(super) fn one_of_each_pair(reflections: &[FocusReflection]) -> Vec<FocusReflection> {
    let mut seen = std::collections::BTreeSet::new();
    let half = |h: [i32; 2]| if h < [0, 0] { h.map(|x| -x) } else { h };
    reflections.iter().filter(|r| r.hk != [0, 0] && seen.insert(half(r.hk))).cloned().collect()
}

/// The reciprocal vectors, by least squares: k = h b₀ + l b₁.
pub(super) fn basis_of(reflections: &[FocusReflection]) -> Result<[[f64; 2]; 2], Error> {
    let (mut m, mut r) = ([0.0; 3], [[0.0; 2]; 2]);
    for f in reflections {
        let h = f.hk.map(f64::from);
        m = [m[0] + h[0] * h[0], m[1] + h[0] * h[1], m[2] + h[1] * h[1]];
        (0..2).for_each(|i| (0..2).for_each(|a| r[i][a] += h[i] * f.k[a]));
    }
    let det = m[0] * m[2] - m[1] * m[1];
    if det <= 0.5 {
        return Err(Error::param("reflections", reflections.len(), "indices that span a lattice"));
    }
    let row = |a: usize| [(m[2] * r[0][a] - m[1] * r[1][a]) / det, (m[0] * r[1][a] - m[1] * r[0][a]) / det];
    let [y, x] = [row(0), row(1)];
    Ok([[y[0], x[0]], [y[1], x[1]]])
}

/// The mean of |F|² over images and reflections of about the same |k|, noise taken off.
pub(super) fn mean_power(reflections: &[FocusReflection]) -> Vec<f64> {
    let k: Vec<f64> = reflections.iter().map(|r| r.k[0].hypot(r.k[1])).collect();
    let width = SMOOTH * k.iter().fold(0.0f64, |a, b| a.max(*b));
    let own: Vec<f64> =
        reflections.iter().map(|r| r.f.iter().map(|f| f.norm_sqr()).sum::<f64>() / r.f.len() as f64).collect();
    (0..k.len())
        .map(|i| {
            let (mut sum, mut norm, mut noise) = (0.0, 0.0, 0.0);
            for j in 0..k.len() {
                let w = (-0.5 * ((k[i] - k[j]) / width).powi(2)).exp();
                (sum, norm) = (sum + w * own[j], norm + w);
                noise += w * reflections[j].sigma.powi(2);
            }
            ((sum - noise) / norm).max(0.1 * noise / norm)
        })
        .collect()
}
