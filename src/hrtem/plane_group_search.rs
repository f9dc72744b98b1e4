//! Which plane group a picture has: every setting tried, its phase origin sought, its residuals against those of noise.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::image_reflections::{PlaneReflection, PlaneReflections};
use crate::hrtem::origin_map::OriginMap;
use crate::hrtem::{PlaneMetric, PlaneSetting, plane_settings};
use crate::real::cis;
use crate::rng;
use crate::units::Angle;

const TAU: f64 = std::f64::consts::TAU;

/// How plane groups are compared.
#[derive(Clone, Copy, Debug)]
pub struct PlaneGroupParams {
    /// How far the lattice may be from a group's.
    pub metric: PlaneMetric,
    /// Error of an amplitude that is no noise, as a share of it: what is left of the transfer function, of tilt, of
    /// multiple
    /// scattering. It is added to σ in squares.
    pub systematic: f64,
    /// A group is refused when χ² is above that of a less symmetric one by more than noise gives, by this many
    /// standard deviations.
    pub limit: f64,
    /// Draws of the noise from which a group's expected phase residual is taken; 0 for none.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// Shape within 2 % and 1.5°, no systematic error, 4 standard deviations, 16 draws.
impl Default for PlaneGroupParams {
    fn default() -> Self {
        PlaneGroupParams { metric: PlaneMetric::default(), systematic: 0.0, limit: 4.0, draws: 16, seed: 1 }
    }
}

/// How well one setting of one plane group agrees with a picture's reflections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneGroupFit {
    /// Group and axes.
    pub setting: PlaneSetting,
    /// The group's origin, in fractions of the lattice's axes from the lattice's origin.
    pub origin: [f64; 2],
    /// φ_res = Σ |F_o| |φ_o − φ_s| / Σ |F_o| over the reflections that the group allows.
    pub phase_residual: Angle,
    /// What φ_res noise alone gives, if the group is right; zero without draws.
    pub expected_phase_residual: Angle,
    /// R_sym = Σ | |F_o| − ⟨|F_o|⟩ | / Σ |F_o|, the mean over each reflection's equivalents.
    pub amplitude_residual: f64,
    /// Mean amplitude of the reflections that the group forbids, over the mean of those that it allows; none, if it
    /// forbids none.
    pub absent_ratio: Option<f64>,
    /// χ² = Σ |F_o − F_s|² / σ² over one of each Friedel pair.
    pub chi2: f64,
    /// Numbers measured minus numbers that the group leaves free: the expectation of χ².
    pub freedom: f64,
    /// χ² + 2 × (free numbers and free coordinates of the origin), by which groups are ranked.
    pub criterion: f64,
    /// By how many standard deviations χ² is above that of the less symmetric group to which it compares worst, p1
    /// with its χ² of 0
    /// among them.
    pub worst_excess: f64,
}

impl PlaneGroupFit {
    /// How many standard deviations χ² is above its expectation, by Wilson and Hilferty's cube root; 0 where nothing
    /// is tested.
    pub fn excess(&self) -> f64 {
        excess(self.chi2, self.freedom)
    }
}

fn excess(chi2: f64, freedom: f64) -> f64 {
    if freedom < 0.5 {
        return 0.0;
    }
    let v = 2.0 / (9.0 * freedom);
    ((chi2.max(0.0) / freedom).cbrt() - 1.0 + v) / v.sqrt()
}

/// The plane groups of a picture, the likeliest first.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneGroupRanking {
    /// Every setting that the lattice admits: those that noise explains, by `criterion`, then the others likewise.
    pub fits: Vec<PlaneGroupFit>,
    /// Criterion of the next group that noise explains, minus that of the best: e^{−margin/2} is its relative
    /// likelihood.
    pub margin: f64,
    /// Reflections (one of each pair) that took part.
    pub reflections: usize,
}

impl PlaneGroupRanking {
    /// The likeliest.
    pub fn best(&self) -> &PlaneGroupFit {
        &self.fits[0]
    }
}

/// Compares all plane groups that the lattice admits.
///
/// With the origin at x₀ coefficients are F′(h) = F(h) e^{−2πi h·x₀}, and the nearest ones with the group's symmetry
/// are
///
/// `F_s(h) = 1/|G| Σ_g e^{2πi h·t_g} F′(hR_g)`.
///
/// χ²(x₀) = Σ w |F′ − F_s|² = Σ w |F|² − Σ w |F_s|², with weights w = 1/σ² that are the mean over equivalents, is a
/// trigonometric polynomial in x₀: its minimum is looked for on a fine map by one Fourier transform and refined by
/// Newton's
/// steps. Only reflections all of whose equivalents were measured take part, for every setting the same ones where
/// shells are complete.
///
/// The group with more symmetry fits worse, always. What decides is whether it does by more than noise. A group leaves
/// n numbers
/// free, the trace of the projection F ↦ F_s and the coordinates of the origin; against a less symmetric one, χ² may
/// grow by as much as
/// there are fewer of them, with the scatter of χ². Groups for which it grows by more than `limit` standard deviations
/// are refused. The
/// others are ranked by `χ² + 2n`, an estimate of how well the fit would predict another picture of the same crystal
/// (Akaike), which Kanatani and Moeck take for this choice: the one with most symmetry, unless χ² says otherwise.
///
/// # Errors
/// [`Error::Param`] for a lattice without area, a systematic error that is negative or not finite, or more than 10 000
/// draws,
/// [`Error::Data`] for reflections that are too few (3), not finite, or have no noise (σ ≤ 0) while `systematic` is 0.
///
/// # References
/// - S. Hovmöller, *Ultramicroscopy* 41, 121 (1992): origin search, φ_res, R_sym.
/// - J. M. Valpuesta, J. L. Carrascosa, R. Henderson, *J. Mol. Biol.* 240, 281 (1994): all groups, with the residual
///   expected from the signal-to-noise ratios.
/// - K. Kanatani, *Int. J. Comput. Vis.* 26, 171 (1998); P. Moeck, *Symmetry* 10, 133 (2018): the criterion.
///   Deviation: the noise is
///   measured around the reflections, not taken from the best model.
pub fn rank_plane_groups(
    reflections: &PlaneReflections,
    params: &PlaneGroupParams,
) -> Result<PlaneGroupRanking, Error> {
    let data = Data::new(&reflections.list, params)?;
    let mut map = OriginMap::new(2 * data.reach as usize)?;
    let mut fits = Vec::new();
    for setting in plane_settings(&reflections.lattice, &params.metric)? {
        fits.push(data.fit(setting, &mut map, params));
    }
    for i in 0..fits.len() {
        let f: PlaneGroupFit = fits[i];
        let less = fits.iter().filter(|g| g.freedom < f.freedom - 0.5);
        fits[i].worst_excess = less.map(|g| excess(f.chi2 - g.chi2, f.freedom - g.freedom)).fold(0.0, f64::max);
    }
    let refused = |f: &PlaneGroupFit| f.worst_excess > params.limit;
    fits.sort_by(|a, b| refused(a).cmp(&refused(b)).then(a.criterion.total_cmp(&b.criterion)));
    let other = fits.iter().find(|f| f.setting.group != fits[0].setting.group && !refused(f));
    let margin = other.map_or(f64::INFINITY, |f| f.criterion - fits[0].criterion);
    Ok(PlaneGroupRanking { fits, margin, reflections: reflections.list.len() })
}

/// Imposes a plane group: the reflections with the group's symmetry and origin that are nearest to those given.
///
/// The lattice's origin becomes the group's. Reflections without all of their equivalents keep the mean of those that
/// are
/// there; forbidden ones are 0. σ becomes that of the mean.
///
/// # Errors
/// As [`rank_plane_groups`].
pub fn impose_plane_group(reflections: &PlaneReflections, fit: &PlaneGroupFit) -> Result<PlaneReflections, Error> {
    let data = Data::new(&reflections.list, &PlaneGroupParams { systematic: 1.0, ..Default::default() })?;
    let operations = fit.setting.operations();
    let moved = |h: [i32; 2]| {
        let turn = f64::from(h[0]) * fit.origin[0] + f64::from(h[1]) * fit.origin[1];
        data.at(h).map(|(f, v)| (f * cis(-TAU * turn), v))
    };
    let list = reflections.list.iter().map(|r| {
        let (mut sum, mut variance, mut count) = (Complex::new(0.0, 0.0), 0.0, 0.0);
        // What a real part is worth: equivalents that are Friedel mates of each other are one measurement.
        for o in &operations {
            if let Some((f, v)) = moved(o.reflection(r.index)) {
                (sum, variance, count) = (sum + f * cis(TAU * o.turns(r.index)), variance + v, count + 1.0);
            }
        }
        let mut distinct: Vec<[i32; 2]> = operations.iter().map(|o| o.reflection(r.index)).collect();
        distinct.iter_mut().for_each(|h| *h = if super::image_reflections::upper(*h) { *h } else { h.map(|i| -i) });
        distinct.sort_unstable();
        distinct.dedup();
        let present = distinct.iter().filter(|h| data.at(**h).is_some()).count() as f64;
        PlaneReflection { index: r.index, f: sum / count, sigma: (variance / count / present).sqrt() }
    });
    let list = list.collect();
    let mut lattice = reflections.lattice;
    lattice.origin = lattice.at(fit.origin);
    Ok(PlaneReflections { lattice, mean: reflections.mean, list })
}

/// F and the variance of its real part.
type Measured = (Complex<f64>, f64);

/// Reflections and their mates in a square table.
struct Data {
    reach: i32,
    table: Vec<Option<Measured>>,
    /// All, mates included.
    all: Vec<[i32; 2]>,
    systematic: f64,
}

impl Data {
    fn new(list: &[PlaneReflection], params: &PlaneGroupParams) -> Result<Self, Error> {
        if !(params.systematic >= 0.0 && params.systematic <= 1.0) {
            return Err(Error::param("systematic", params.systematic, "0 to 1"));
        }
        if params.limit.is_nan() || params.limit <= 0.0 {
            return Err(Error::param("limit", params.limit, "above 0"));
        }
        if params.draws > 10_000 {
            return Err(Error::param("draws", params.draws, "at most 10 000"));
        }
        let reach = list.iter().flat_map(|r| r.index.map(|i| i.unsigned_abs())).max().unwrap_or(0);
        if list.len() < 3 || reach > 500 {
            let what = format!("{} reflections, indices to {reach}: at least 3, indices to 500", list.len());
            return Err(Error::Data { what, index: 0 });
        }
        let reach = reach as i32;
        let side = (2 * reach + 1) as usize;
        let mut data = Data { reach, table: vec![None; side * side], all: Vec::new(), systematic: params.systematic };
        for (index, r) in list.iter().enumerate() {
            let finite = r.f.re.is_finite() && r.f.im.is_finite() && r.sigma.is_finite() && r.sigma >= 0.0;
            if !finite || (r.sigma == 0.0 && params.systematic == 0.0) {
                return Err(Error::Data {
                    what: format!("reflection {:?}: F = {}, σ = {}", r.index, r.f, r.sigma),
                    index,
                });
            }
            for (h, f) in [(r.index, r.f), (r.index.map(|i| -i), r.f.conj())] {
                let place = data.place(h).unwrap_or(0);
                if data.table[place].is_some() || h == [0, 0] {
                    return Err(Error::Data { what: format!("reflection {h:?} twice, or (0, 0)"), index });
                }
                data.table[place] = Some((f, r.sigma * r.sigma));
                data.all.push(h);
            }
        }
        Ok(data)
    }

    fn place(&self, h: [i32; 2]) -> Option<usize> {
        let side = 2 * self.reach + 1;
        let inside = h.iter().all(|i| i.abs() <= self.reach);
        inside.then(|| ((h[0] + self.reach) * side + h[1] + self.reach) as usize)
    }

    fn at(&self, h: [i32; 2]) -> Option<Measured> {
        self.place(h).and_then(|p| self.table[p])
    }

    fn fit(&self, setting: PlaneSetting, map: &mut OriginMap, params: &PlaneGroupParams) -> PlaneGroupFit {
        let operations = setting.operations();
        let count = operations.len() as f64;
        // Complete orbits: for each reflection its coefficients under all operations, its weight, its mean amplitude.
        struct Orbit {
            f: Vec<Complex<f64>>,
            /// h·t and hR of each operation.
            turns: Vec<f64>,
            images: Vec<[i32; 2]>,
            weight: f64,
            amplitude: f64,
        }
        let mut orbits = Vec::with_capacity(self.all.len());
        let mut incomplete = 0.0;
        for &h in &self.all {
            let images: Vec<[i32; 2]> = operations.iter().map(|o| o.reflection(h)).collect();
            let Some(members) = images.iter().map(|&g| self.at(g)).collect::<Option<Vec<_>>>() else {
                incomplete += 1.0;
                continue;
            };
            let mean = |f: &dyn Fn(&Measured) -> f64| members.iter().map(f).sum::<f64>() / count;
            let variance = mean(&|m| m.1) + self.systematic.powi(2) * mean(&|m| m.0.norm_sqr());
            orbits.push(Orbit {
                f: members.iter().map(|m| m.0).collect(),
                turns: operations.iter().map(|o| o.turns(h)).collect(),
                images,
                weight: 1.0 / variance.max(f64::MIN_POSITIVE),
                amplitude: mean(&|m| m.0.norm()),
            });
        }

        // Σ w |F_s|² as a polynomial in the origin, and the trace of the projection.
        map.clear();
        let (mut total, mut free) = (0.0, incomplete);
        for orbit in &orbits {
            let h = orbit.images[0];
            total += orbit.weight * orbit.f[0].norm_sqr();
            for g in 0..operations.len() {
                let c = orbit.f[0].conj() * orbit.f[g] * cis(TAU * orbit.turns[g]) * (orbit.weight / count);
                map.add([h[0] - orbit.images[g][0], h[1] - orbit.images[g][1]], c);
                if orbit.images[g] == h {
                    free += (TAU * orbit.turns[g]).cos() / count;
                }
            }
        }
        let (origin, kept) = map.maxima(2).first().copied().unwrap_or(([0.0; 2], total));
        // Each pair was counted twice; two numbers of variance σ² each.
        let chi2 = (0.5 * (total - kept)).max(0.0);

        let moved = |h: [i32; 2]| cis(-TAU * (f64::from(h[0]) * origin[0] + f64::from(h[1]) * origin[1]));
        let symmetric = |orbit: &Orbit, f: &dyn Fn(usize) -> Complex<f64>| {
            let terms = (0..operations.len()).map(|g| f(g) * cis(TAU * orbit.turns[g]));
            terms.sum::<Complex<f64>>() / count
        };
        let (mut difference, mut spread, mut amplitudes) = (0.0, 0.0, 0.0);
        let (mut absent, mut present) = ([0.0; 2], [0.0; 2]);
        let mut model = Vec::with_capacity(orbits.len());
        for orbit in &orbits {
            let fs = symmetric(orbit, &|g| orbit.f[g] * moved(orbit.images[g]));
            let f = orbit.f[0] * moved(orbit.images[0]);
            if setting.allows(orbit.images[0]) {
                difference += f.norm() * (f * fs.conj()).arg().abs();
                spread += (f.norm() - orbit.amplitude).abs();
                amplitudes += f.norm();
                present = [present[0] + f.norm(), present[1] + 1.0];
            } else {
                absent = [absent[0] + f.norm(), absent[1] + 1.0];
            }
            model.push(fs);
        }
        let expected = if operations.len() == 1 {
            0.0
        } else {
            self.expected(
                &orbits
                    .iter()
                    .map(|o| Drawn { images: &o.images, turns: &o.turns, sigma: 1.0 / o.weight.sqrt() })
                    .collect::<Vec<_>>(),
                &model,
                setting,
                params,
            )
        };
        let ratio = (absent[1] > 0.0 && present[0] > 0.0).then(|| absent[0] / absent[1] * present[1] / present[0]);
        let safe = |x: f64| if amplitudes > 0.0 { x / amplitudes } else { 0.0 };
        let origin_free = (2 - setting.group.polar_directions()) as f64;
        let numbers = self.all.len() as f64;
        PlaneGroupFit {
            setting,
            origin,
            phase_residual: Angle::rad(safe(difference)),
            expected_phase_residual: Angle::rad(expected),
            amplitude_residual: safe(spread),
            absent_ratio: ratio,
            chi2,
            freedom: (numbers - free - origin_free).max(0.0),
            criterion: chi2 + 2.0 * (free + origin_free),
            worst_excess: 0.0,
        }
    }

    /// The mean phase residual of the model with noise added, the origin kept.
    fn expected(
        &self,
        orbits: &[Drawn<'_>],
        model: &[Complex<f64>],
        setting: PlaneSetting,
        params: &PlaneGroupParams,
    ) -> f64 {
        let mut noisy = vec![Complex::new(0.0, 0.0); self.table.len()];
        let mut sum = 0.0;
        for draw in 0..params.draws {
            let mut random = rng::stream(params.seed, draw as u64);
            for (orbit, f) in orbits.iter().zip(model) {
                let h = orbit.images[0];
                // A pair has one noise.
                if super::image_reflections::upper(h) {
                    let (u, v) = rng::normal_pair(&mut random);
                    let z = f + Complex::new(u, v) * orbit.sigma;
                    let mate = h.map(|i| -i);
                    for (h, z) in [(h, z), (mate, z.conj())] {
                        if let Some(p) = self.place(h) {
                            noisy[p] = z;
                        }
                    }
                }
            }
            let (mut difference, mut amplitudes) = (0.0, 0.0);
            for orbit in orbits.iter().filter(|o| setting.allows(o.images[0])) {
                let at = |h: [i32; 2]| self.place(h).map_or(Complex::new(0.0, 0.0), |p| noisy[p]);
                let terms = orbit.images.iter().zip(orbit.turns).map(|(&h, t)| at(h) * cis(TAU * t));
                let fs: Complex<f64> = terms.sum();
                let f = at(orbit.images[0]);
                difference += f.norm() * (f * fs.conj()).arg().abs();
                amplitudes += f.norm();
            }
            sum += if amplitudes > 0.0 { difference / amplitudes } else { 0.0 };
        }
        if params.draws == 0 { 0.0 } else { sum / params.draws as f64 }
    }
}

/// What a draw needs of an orbit.
struct Drawn<'a> {
    images: &'a [[i32; 2]],
    turns: &'a [f64],
    sigma: f64,
}
