//! The Monte-Carlo tables: focus from an amorphous area, focus from a crystal, correction.

use std::path::Path;

use exitwave::hrtem::{
    Correction, CrystalFocus, CrystalFocusParams, CrystalPhase, CrystalPhaseParams, CtfCorrection, CtfCorrectionParams,
    CtfGradient, CtfGradientParams, FocusReflection, PlaneGroupParams, PlaneLattice, PlaneReflection, PlaneReflections,
    StrongFocus, StrongFocusParams, Thon, ThonParams, focus_reflections, impose_plane_group, rank_plane_groups,
    weak_phase,
};
use exitwave::metrics::normalised_correlation;
use exitwave::multislice::Averaging;
use exitwave::observe::silent;
use exitwave::optics::{CtfParams, SourceAngle, interaction_parameter};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::specimen::{Atoms, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use serde_json::{Value, json};

use crate::simulate::{self, Exit};
use crate::support::Failure;

/// Side of one film, Å, and films a side of the square.
const SIDE: f64 = 125.0;
const PARTS: usize = 4;
/// Confidence below which an answer is flagged.
const FLAG: f64 = 0.95;

/// Errors of many answers, with what the confidence said of them.
#[derive(Default)]
struct Tally {
    errors: Vec<f64>,
    flagged: usize,
    wrong: usize,
    unflagged: usize,
}

impl Tally {
    fn add(&mut self, error_nm: f64, bar_nm: f64, confidence: f64) {
        self.errors.push(error_nm.abs());
        let (wrong, flagged) = (error_nm.abs() > bar_nm, confidence < FLAG);
        self.wrong += usize::from(wrong);
        self.flagged += usize::from(flagged);
        self.unflagged += usize::from(wrong && !flagged);
    }

    fn json(mut self, case: String) -> Value {
        self.errors.sort_by(f64::total_cmp);
        let at = |q: f64| self.errors[((self.errors.len() as f64 * q) as usize).min(self.errors.len() - 1)];
        let row = json!({
            "case": case, "trials": self.errors.len(), "median_nm": at(0.5), "p95_nm": at(0.95),
            "wrong": self.wrong, "flagged": self.flagged, "wrong_not_flagged": self.unflagged,
        });
        println!("{row}");
        row
    }
}

/// Expected images of different films at one lens.
pub fn films(par: &Par, count: u64) -> Result<Vec<Exit>, Failure> {
    (0..count).map(|seed| simulate::film(SIDE, (SIDE / 0.5) as usize, seed, par)).collect()
}

/// A search such as the study's: round or astigmatic lens, 5–250 nm, 10–1.7 Å.
pub fn thon(cs: Length, astigmatism: Length, par: &Par) -> Result<Thon, Failure> {
    Ok(Thon::new(ThonParams {
        energy: Energy::kev(simulate::KEV),
        pixel: Length::angstrom(0.5),
        cs,
        amplitude_contrast: 0.0,
        defocus: [Length::nm(5.0), Length::nm(250.0)],
        astigmatism,
        resolution: [10.0, 1.7].map(Length::angstrom),
        par: par.clone(),
        ..ThonParams::default()
    })?)
}

/// Focus of 50 × 50 nm of amorphous carbon, 10 nm thick.
fn amorphous(trials: u64, first: u64, dose: f64, par: &Par) -> Result<Vec<Value>, Failure> {
    let waves = films(par, 16)?;
    let mut rows = Vec::new();
    for cs in [0.0, 1.2].map(Length::mm) {
        for astigmatism in [0.0, 5.0].map(Length::nm) {
            let plan = thon(cs, astigmatism * 2.0, par)?;
            let mut tally = Tally::default();
            for seed in first..first + trials {
                let mut r = rng::stream(11, seed);
                let defocus = Length::nm(30.0 + 100.0 * rng::uniform(&mut r));
                let mut lens = simulate::lens(defocus, cs, Length::angstrom(simulate::THICKNESS));
                lens.aberrations.set_astigmatism(astigmatism * 0.5, Angle::deg(180.0 * rng::uniform(&mut r)));
                let images = waves
                    .iter()
                    .map(|w| simulate::image(w, &lens, Averaging::Envelope, par))
                    .collect::<Result<Vec<_>, _>>()?;
                let counts =
                    simulate::counts(&simulate::mosaic(&images, PARTS, seed), &waves[0].grid, 1, dose, seed, par)?;
                let fit = plan.fit(&counts)?;
                tally.add((fit.defocus - defocus).to_nm(), 2.0, fit.confidence);
            }
            rows.push(tally.json(format!(
                "carbon, Cs {} mm, astigmatism {} nm, {dose} e/A2",
                cs.to_mm(),
                astigmatism.to_nm()
            )));
        }
    }
    Ok(rows)
}

/// A crystal of the study: its name, wave, lattice of the projection, finest spacing; how far the phase is fitted, and from how many
/// starts.
pub struct Case {
    pub name: &'static str,
    pub exit: Exit,
    pub basis: [[f64; 2]; 2],
    pub k_max: f64,
    pub reach: f64,
    pub starts: usize,
}

pub fn cases(mil: Option<&Path>, par: &Par) -> Result<Vec<Case>, Failure> {
    let square = |e: &Exit| {
        let l = e.grid.extent().map(|l| l.to_angstrom());
        [[2.0 / l[0], 0.0], [0.0, 2.0 / l[1]]]
    };
    let uio = crystals::uio_66();
    let t = simulate::THICKNESS;
    let a = simulate::crystal(&uio, [0, 0, 1], [0, 1, 0], 0.4, t, par)?;
    let b = simulate::crystal(&uio, [1, 1, 0], [0, 0, 1], 0.4, t, par)?;
    let thick = simulate::crystal(&uio, [1, 1, 0], [0, 0, 1], 0.4, 3.0 * t, par)?;
    let l = b.grid.extent().map(|l| l.to_angstrom());
    let centred = [[1.0 / l[0], 1.0 / l[1]], [1.0 / l[0], -1.0 / l[1]]];
    let mut all = vec![
        Case { name: "UiO-66 [001]", basis: square(&a), exit: a, k_max: 0.6, reach: 0.9, starts: 8 },
        Case { name: "UiO-66 [110]", basis: centred, exit: b, k_max: 0.6, reach: 0.9, starts: 48 },
        Case { name: "UiO-66 [110], 30 nm", basis: centred, exit: thick, k_max: 0.6, reach: 0.9, starts: 48 },
    ];
    if let Some(path) = mil {
        let atoms: Atoms = exitwave::io::cif::read(path)?.atoms()?;
        let c = simulate::crystal(&atoms, [0, 0, 1], [0, 1, 0], 0.5, t, par)?;
        all.push(Case { name: "MIL-101 [001]", basis: square(&c), exit: c, k_max: 0.3, reach: 0.45, starts: 1 });
    }
    Ok(all)
}

/// Focus of a crystal from its reflections: one image, and three at steps of 25 nm with the dose shared, as of a weak object and, three
/// images, as of a strong one. The strong one is told 10 nm whatever the thickness.
fn crystal(all: &[Case], trials: u64, first: u64, dose: f64, par: &Par) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    for case in all {
        let extent = case.exit.grid.extent()[0].to_angstrom();
        let tiles = (500.0 / extent).round() as usize;
        for (images, cs) in [(1, 1.2), (3, 0.0), (3, 1.2)] {
            let steps: Vec<Length> = (0..images).map(|i| Length::nm(25.0 * f64::from(i))).collect();
            let series = CrystalFocusParams {
                cs: Length::mm(cs),
                source_angle: SourceAngle::rms(Angle::mrad(0.1)),
                steps: steps.clone(),
                amplitude_share: 0.3,
                par: par.clone(),
                ..CrystalFocusParams::default()
            };
            let plan = CrystalFocus::new(series.clone())?;
            let strong = match images {
                1 => None,
                _ => Some(StrongFocus::new(StrongFocusParams { series, ..StrongFocusParams::default() })?),
            };
            let (mut tally, mut tally_strong) = (Tally::default(), Tally::default());
            for seed in first..first + trials {
                let defocus = Length::nm(30.0 + 100.0 * rng::uniform(&mut rng::stream(7, seed)));
                let mut reflections: Vec<FocusReflection> = Vec::new();
                for (i, step) in steps.iter().enumerate() {
                    let lens = simulate::lens(defocus + *step, Length::mm(cs), case.exit.thickness);
                    let image = simulate::image(&case.exit, &lens, Averaging::Envelope, par)?;
                    let share = dose / f64::from(images);
                    let counts = simulate::counts(&image, &case.exit.grid, tiles, share, 16 * seed + i as u64, par)?;
                    let pixel = case.exit.grid.sampling.map(|d| d.to_angstrom());
                    let found = simulate::coefficients(&counts, pixel, case.basis, case.k_max);
                    if i == 0 {
                        reflections = found;
                    } else {
                        reflections.iter_mut().zip(found).for_each(|(r, f)| r.f.extend(f.f));
                    }
                }
                let fit = plan.fit(&reflections)?;
                // An object that the linear model leaves a sixth of is not believed.
                let confidence = if fit.floor > 0.1 { 0.0 } else { fit.confidence };
                tally.add((fit.defocus - defocus).to_nm(), 5.0, confidence);
                if let Some(strong) = &strong {
                    let fit = strong.fit(&reflections)?;
                    tally_strong.add((fit.defocus - defocus).to_nm(), 5.0, fit.confidence);
                }
            }
            let name = format!("{}, {images} image(s), Cs {cs} mm, {dose} e/A2 in all", case.name);
            rows.push(tally.json(format!("{name}, weak object")));
            if strong.is_some() {
                rows.push(tally_strong.json(format!("{name}, strong object")));
            }
        }
    }
    Ok(rows)
}

/// What correction makes of a cell: correlations with the projected potential in the same band of the raw image and of all corrections.
pub struct Corrected {
    pub truth: Tensor<f64>,
    pub raw: Tensor<f64>,
    pub wiener: Tensor<f64>,
    pub density: Tensor<f64>,
    pub numbers: [f64; 5],
    pub nonlinear: f64,
    /// χ² of the density's images, and the next loss over its own.
    pub chi2: f64,
    pub next: Option<f64>,
}

/// The phase of a crystal as a positive density, from the reflections of a cell's image, `sigma` their noise: below a spatial frequency,
/// on the cell's grid.
fn density(
    case: &Case,
    cell: &Tensor<f64>,
    lens: &CtfParams,
    band: f64,
    sigma: f64,
    par: &Par,
) -> Result<(Tensor<f64>, f64, Option<f64>), Failure> {
    let grid = &case.exit.grid;
    let pixel = grid.sampling.map(|d| d.to_angstrom());
    let found = simulate::coefficients(&cell.map(|v| *v as f32), pixel, case.basis, case.reach);
    let [p, q] = case.basis;
    let lattice = PlaneLattice { origin: [0.0; 2], a: p, b: q }.reciprocal();
    let one = |r: &FocusReflection| PlaneReflection { index: r.hk, f: r.f[0].conj(), sigma: sigma * 0.5f64.sqrt() };
    let picture = PlaneReflections { lattice, mean: 1.0, list: found.iter().map(one).collect() };
    let group = rank_plane_groups(&picture, &PlaneGroupParams { systematic: 0.05, ..Default::default() })?;
    let picture = impose_plane_group(&picture, group.best())?;
    let plan = CrystalPhase::new(CrystalPhaseParams {
        lenses: vec![lens.clone()],
        thickness: case.exit.thickness,
        operations: group.best().setting.operations(),
        starts: case.starts,
        par: par.clone(),
        ..Default::default()
    })?;
    let fit = plan.fit(&focus_reflections(std::slice::from_ref(&picture), Length::angstrom(1.0))?)?;
    let origin = picture.lattice.origin;
    let [ny, nx] = grid.dims;
    let mut out = vec![0.0; ny * nx];
    for r in fit.phase.iter().filter(|r| r.k[0].hypot(r.k[1]) <= band) {
        let turn = |n: usize, axis: usize| -> Vec<_> {
            let at = |i: usize| (i as f64 * pixel[axis] - origin[axis]) * r.k[axis] * std::f64::consts::TAU;
            (0..n).map(|i| exitwave::real::cis(at(i))).collect()
        };
        let (u, v) = (turn(ny, 0), turn(nx, 1));
        for (row, u) in out.chunks_mut(nx).zip(&u) {
            let f = r.f[0] * u * 2.0;
            row.iter_mut().zip(&v).for_each(|(o, v)| *o += (f * v).re);
        }
    }
    Ok((Tensor::from_vec(&[ny, nx], out)?, fit.chi2, fit.next))
}

/// Corrects one cell of a crystal's image, whose coefficients have the noise `noise`.
pub fn correct(
    case: &Case,
    cell: &Tensor<f64>,
    defocus: Length,
    cs: Length,
    noise: f64,
    par: &Par,
) -> Result<Corrected, Failure> {
    let exit = &case.exit;
    // Most of what there is of a framework lies below 0.5 1/Å.
    let band = case.k_max.min(0.5);
    let sigma = interaction_parameter(Energy::kev(simulate::KEV));
    let phase: Vec<f64> = exit.potential.iter().map(|v| f64::from(*v) * sigma).collect();
    let truth = simulate::limited(&phase, &exit.grid, band)?;
    let mut lens = simulate::lens(defocus, cs, exit.thickness);
    lens.aberrations.set_defocus(defocus);
    let apply = |correction| -> Result<Tensor<f64>, Failure> {
        let params = CtfCorrectionParams { lens: lens.clone(), correction, grid: exit.grid, ..Default::default() };
        simulate::limited(CtfCorrection::<f64>::new(params)?.apply(cell)?.as_slice(), &exit.grid, band)
    };
    let raw = simulate::limited(cell.as_slice(), &exit.grid, band)?;
    let flipped = apply(Correction::PhaseFlip)?;
    let wiener = apply(Correction::Wiener { signal_to_noise: 10.0 })?;
    let plan = CtfGradient::new(CtfGradientParams {
        lenses: vec![lens.clone()],
        grid: exit.grid,
        thickness: exit.thickness,
        slices: 10,
        band: SpatialFrequency::per_angstrom(band),
        weight: 0.01,
        iterations: 200,
        par: par.clone(),
        ..CtfGradientParams::default()
    })?;
    let [ny, nx] = exit.grid.dims;
    let gradient = plan.run(&cell.clone().reshape(&[1, ny, nx])?, &wiener, &mut silent)?.phase;
    let (density, chi2, next) = density(case, cell, &lens, band, noise, par)?;
    let mut numbers = [0.0; 5];
    for (n, image) in numbers.iter_mut().zip([&raw, &flipped, &wiener, &gradient, &density]) {
        *n = normalised_correlation(image.as_slice(), truth.as_slice())?;
    }
    let nonlinear = weak_phase(&truth, &lens, &exit.grid)?.nonlinear;
    Ok(Corrected { truth, raw, wiener, density, numbers, nonlinear, chi2, next })
}

fn correction(all: &[Case], seed: u64, dose: f64, par: &Par) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    // Thirty nanometres are no projection; MIL-101 has its reflections below 0.3 1/Å.
    for case in all.iter().filter(|c| !c.name.ends_with("30 nm")) {
        let [ly, lx] = case.exit.grid.extent().map(|l| l.to_angstrom());
        let tiles = (500.0 / ly).round() as usize;
        let noise = 1.0 / (dose * ly * lx).sqrt() / tiles as f64;
        for (cs, nm) in [(1.2, 30.0), (1.2, 45.0), (1.2, 60.0), (1.2, 80.0), (0.0, 30.0), (0.0, 45.0), (0.0, 80.0)] {
            let lens = simulate::lens(Length::nm(nm), Length::mm(cs), case.exit.thickness);
            let image = simulate::image(&case.exit, &lens, simulate::ALL_ORDERS, par)?;
            let exact = image.map(|v| f64::from(*v));
            let counts = simulate::counts(&image, &case.exit.grid, tiles, dose, seed, par)?;
            let averaged = simulate::averaged(&counts, case.exit.grid.dims)?;
            for (what, cell, noise) in [("noise-free", exact, 1e-5), ("averaged", averaged, noise)] {
                let c = correct(case, &cell, Length::nm(nm), Length::mm(cs), noise, par)?;
                let [raw, flipped, wiener, gradient, density] = c.numbers;
                let row = json!({
                    "case": format!("{} Cs {cs} mm {nm} nm {what}", case.name), "raw": raw, "flipped": flipped,
                    "wiener": wiener, "gradient": gradient, "density": density, "nonlinear": c.nonlinear, "chi2": c.chi2,
                    "next": c.next,
                });
                println!("{row}");
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// All tables.
pub fn run(trials: u64, seed: u64, dose: f64, which: &str, mil: Option<&Path>, par: &Par) -> Result<Value, Failure> {
    let wanted = |name: &str| which == "all" || which == name;
    let all = cases(mil, par)?;
    // Seeds of one run are no other's.
    let first = 1000 * seed;
    let none = || Ok::<_, Failure>(Vec::new());
    Ok(json!({
        "amorphous": if wanted("amorphous") { amorphous(trials, first, dose, par)? } else { none()? },
        "crystal": if wanted("crystal") { crystal(&all, trials, first, dose, par)? } else { none()? },
        "correction": if wanted("correction") { correction(&all, seed, dose, par)? } else { none()? },
    }))
}
