//! The Monte-Carlo tables: focus from an amorphous area, focus from a crystal, correction.

use std::path::Path;

use exitwave::hrtem::{
    Correction, CrystalFocus, CrystalFocusParams, CtfCorrection, CtfCorrectionParams, CtfGradient, CtfGradientParams,
    FocusReflection, StrongFocus, StrongFocusParams, Thon, ThonParams, weak_phase,
};
use exitwave::metrics::normalised_correlation;
use exitwave::observe::silent;
use exitwave::optics::{SourceAngle, interaction_parameter};
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
                let images = waves.iter().map(|w| simulate::image(w, &lens, par)).collect::<Result<Vec<_>, _>>()?;
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

/// A crystal of the study: its name, wave, lattice of the projection, finest spacing.
struct Case {
    name: &'static str,
    exit: Exit,
    basis: [[f64; 2]; 2],
    k_max: f64,
}

fn cases(mil: Option<&Path>, par: &Par) -> Result<Vec<Case>, Failure> {
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
        Case { name: "UiO-66 [001]", basis: square(&a), exit: a, k_max: 0.6 },
        Case { name: "UiO-66 [110]", basis: centred, exit: b, k_max: 0.6 },
        Case { name: "UiO-66 [110], 30 nm", basis: centred, exit: thick, k_max: 0.6 },
    ];
    if let Some(path) = mil {
        let atoms: Atoms = exitwave::io::cif::read(path)?.atoms()?;
        let c = simulate::crystal(&atoms, [0, 0, 1], [0, 1, 0], 0.5, t, par)?;
        all.push(Case { name: "MIL-101 [001]", basis: square(&c), exit: c, k_max: 0.3 });
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
                    let image = simulate::image(&case.exit, &lens, par)?;
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
    pub gradient: Tensor<f64>,
    pub numbers: [f64; 4],
    pub nonlinear: f64,
}

/// Corrects one cell of a crystal's image.
pub fn correct(
    exit: &Exit,
    cell: &Tensor<f64>,
    defocus: Length,
    cs: Length,
    band: f64,
    par: &Par,
) -> Result<Corrected, Failure> {
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
    let mut numbers = [0.0; 4];
    for (n, image) in numbers.iter_mut().zip([&raw, &flipped, &wiener, &gradient]) {
        *n = normalised_correlation(image.as_slice(), truth.as_slice())?;
    }
    let nonlinear = weak_phase(&truth, &lens, &exit.grid)?.nonlinear;
    Ok(Corrected { truth, raw, wiener, gradient, numbers, nonlinear })
}

fn correction(all: &[Case], dose: f64, par: &Par) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    // Thirty nanometres are no projection; MIL-101 has its reflections below 0.3 1/Å.
    for case in all.iter().filter(|c| !c.name.ends_with("30 nm")) {
        let band = case.k_max.min(0.5);
        let extent = case.exit.grid.extent()[0].to_angstrom();
        let tiles = (500.0 / extent).round() as usize;
        for (cs, nm) in [(1.2, 30.0), (1.2, 45.0), (1.2, 60.0), (1.2, 80.0), (0.0, 30.0), (0.0, 45.0), (0.0, 80.0)] {
            let lens = simulate::lens(Length::nm(nm), Length::mm(cs), case.exit.thickness);
            let image = simulate::image(&case.exit, &lens, par)?;
            let exact = image.map(|v| f64::from(*v));
            let counts = simulate::counts(&image, &case.exit.grid, tiles, dose, 1, par)?;
            for (what, cell) in [("noise-free", exact), ("averaged", simulate::averaged(&counts, case.exit.grid.dims)?)]
            {
                let c = correct(&case.exit, &cell, Length::nm(nm), Length::mm(cs), band, par)?;
                let [raw, flipped, wiener, gradient] = c.numbers;
                let row = json!({
                    "case": format!("{} Cs {cs} mm {nm} nm {what}", case.name), "raw": raw, "flipped": flipped,
                    "wiener": wiener, "gradient": gradient, "nonlinear": c.nonlinear,
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
        "correction": if wanted("correction") { correction(&all, dose, par)? } else { none()? },
    }))
}
