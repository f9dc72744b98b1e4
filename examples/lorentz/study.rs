//! The longer studies behind `--study`.

use std::time::Instant;

use exitwave::lorentz::{
    FreeSettings, Freedom, ImageSetting, LorentzModel, LorentzParams, Noise, PhantomParams, Regularizer, Retrieval,
    RetrievalParams, Siprad, SipradParams, Stage, Texture, Tie, TieParams, WallKind, add_noise, mansuripur, phantom,
};
use exitwave::observe::silent;
use exitwave::optics::{Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::units::{Angle, Dose, Energy, Induction, Length};
use serde_json::{Value, json};

use super::case::{Case, Knowledge, Prior, ad, gs, lens, median, stages, tie};
use super::support::Failure;

/// The table of the published cases.
pub fn table(case: &Case, seeds: u64, only: &str) -> Result<Value, Failure> {
    let rows: [(&str, &[f64], f64); 3] = [
        ("4 images ±1.6 ±0.15 mm, 10 %", &[-1.6, -0.15, 0.15, 1.6], 10.0),
        ("4 images −0.2 −0.1 1.5 1.6 mm, 14 %", &[-0.2, -0.1, 1.5, 1.6], 14.0),
        ("2 images ±1.6 mm, 10 %", &[-1.6, 1.6], 10.0),
    ];
    let mut out = Vec::new();
    for (name, defocus, percent) in rows.into_iter().filter(|r| r.0.starts_with(only)) {
        let case = case.at(defocus);
        let mut acc: [Vec<f64>; 5] = Default::default();
        let mut seconds = Vec::new();
        for seed in 0..seeds {
            let noise = Noise::AmplitudePercent(percent);
            let images = case.images(noise, seed)?;
            for (i, knowledge) in [Knowledge::Given, Knowledge::InFocus, Knowledge::Unknown].into_iter().enumerate() {
                let a = case.amplitude(knowledge, &images, noise, seed)?;
                let start = Instant::now();
                let found = ad(&case, &case.series, &images, &a, knowledge, FreeSettings::NONE)?;
                seconds.push(start.elapsed().as_secs_f64());
                acc[i].push(case.accuracy(&found.phase)?);
            }
            acc[3].push(tie(&case, &images)?.0);
            acc[4].push(gs(&case, &images, &case.amplitude, 200)?.0);
        }
        let [given, focus, unknown, tie, gs] = acc.map(median);
        println!(
            "{name:40} AD {given:.4} (amplitude in focus {focus:.4}, unknown {unknown:.4})  TIE {tie:.4}  GS {gs:.4}  {:.1} s",
            median(seconds)
        );
        out.push(json!({ "case": name, "ad": given, "ad_amplitude_in_focus": focus, "ad_amplitude_unknown": unknown, "tie": tie, "gs": gs }));
    }
    Ok(json!({ "rows": out, "seeds": seeds }))
}

/// θ_c, and defoci with shifts, wrong at the start.
pub fn joint(case: &Case, seeds: u64, only: &str) -> Result<Value, Failure> {
    let mut out = Vec::new();
    let noise = Noise::AmplitudePercent(14.0);
    let known = case.at(&[-0.2, -0.1, 1.5, 1.6]);
    for (name, factor) in [("θ_c started × 2", 2.0), ("θ_c started × 0.5", 0.5)] {
        if !name.starts_with(only) {
            continue;
        }
        let (mut acc, mut theta) = (Vec::new(), Vec::new());
        for seed in 0..seeds {
            let images = known.images(noise, seed)?;
            let wrong = LorentzParams {
                images: known
                    .series
                    .images
                    .iter()
                    .map(|i| ImageSetting {
                        source_angle: SourceAngle::one_over_e(i.source_angle.to_one_over_e() * factor),
                        ..*i
                    })
                    .collect(),
                ..known.series.clone()
            };
            let free = FreeSettings { source_angle: Freedom::Common, ..FreeSettings::NONE };
            let found = ad(&known, &wrong, &images, &known.amplitude, Knowledge::Given, free)?;
            acc.push(known.accuracy(&found.phase)?);
            theta.push(found.settings[0].source_angle.to_one_over_e() / Angle::mrad(0.01));
        }
        let (a, t) = (median(acc), median(theta));
        println!("{name}: accuracy {a:.4}, θ_c/true {t:.4}");
        out.push(json!({ "theta_c_factor": factor, "ad": a, "theta_c_over_true": t }));
    }
    let rows = [("±1.6 ±0.15", [-1.6, -0.15, 0.15, 1.6]), ("−0.2 −0.1 1.5 1.6", [-0.2, -0.1, 1.5, 1.6])];
    for (name, mm) in rows.into_iter().filter(|r| r.0.starts_with(only)) {
        let case = case.at(&mm);
        let (mut acc, mut loss, mut shift, mut defocus, mut sigma) = (vec![], vec![], vec![], vec![], vec![]);
        for seed in 0..seeds {
            let mut r = rng::stream(900 + seed, 0);
            let noise = Noise::AmplitudePercent(10.0);
            // Images lie up to 3 pixels away, and the defoci that the retrieval is told are up to 10 % wrong.
            let pixel = case.series.grid.sampling[0];
            let mut moved = case.clone();
            for (k, i) in moved.series.images.iter_mut().enumerate() {
                let mut s = || pixel * (3.0 * (2.0 * rng::uniform(&mut r) - 1.0));
                i.shift = if k == 0 { [Length::ZERO; 2] } else { [s(), s()] };
            }
            let images = moved.images(noise, seed)?;
            let told = LorentzParams {
                images: case
                    .series
                    .images
                    .iter()
                    .map(|i| ImageSetting {
                        defocus: i.defocus * (1.0 + 0.1 * (2.0 * rng::uniform(&mut r) - 1.0)),
                        ..*i
                    })
                    .collect(),
                ..case.series.clone()
            };
            let free = FreeSettings { defocus: Freedom::Each, shift: Freedom::Each, ..FreeSettings::NONE };
            let right = ad(&case, &moved.series, &images, &case.amplitude, Knowledge::Given, FreeSettings::NONE)?;
            let found = ad(&case, &told, &images, &case.amplitude, Knowledge::Given, free)?;
            let (a, b) = (case.accuracy(&right.phase)?, case.accuracy(&found.phase)?);
            acc.push(b);
            loss.push(a - b);
            let s: f64 = found
                .settings
                .iter()
                .zip(&moved.series.images)
                .flat_map(|(f, t)| (0..2).map(|c| ((f.shift[c] - t.shift[c]) / pixel).abs()).collect::<Vec<_>>())
                .fold(0.0, f64::max);
            shift.push(s);
            // Relative: to their common factor.
            let ratio: Vec<f64> =
                found.settings.iter().zip(&case.series.images).map(|(f, t)| f.defocus / t.defocus).collect();
            let n = ratio.len() as f64;
            let mean = ratio.iter().sum::<f64>() / n;
            defocus.push(ratio.iter().map(|r| (r / mean - 1.0).abs()).fold(0.0, f64::max));
            sigma.push(mean);
        }
        let [a, l, s, d, m] = [acc, loss, shift, defocus, sigma].map(median);
        println!(
            "{name:20} defoci ±10 %, shifts 3 px: accuracy {a:.4} (known parameters +{l:.4}), worst shift {s:.3} px, worst relative defocus {:.2} %, common factor {m:.4}",
            100.0 * d
        );
        out.push(json!({ "series": name, "ad": a, "below_known": l, "worst_shift_px": s, "worst_relative_defocus": d, "common_factor": m }));
    }
    Ok(json!({ "rows": out, "seeds": seeds }))
}

/// Accuracy and resolution over noise and defocus, in percent or in e/Å².
pub fn grid(case: &Case, dose: bool, seed: u64, only: &str) -> Result<Value, Failure> {
    let pixel = case.series.grid.sampling[0];
    let levels: Vec<(String, Noise)> = if dose {
        // Electrons a pixel of 50 Å.
        let each = |d: f64| (format!("{d} e/Å²"), Noise::Counts(Dose::per_angstrom2(d) * (pixel * pixel)));
        [0.004, 0.01, 0.04, 0.1, 0.4, 4.0].map(each).into_iter().collect()
    } else {
        [0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0].map(|p| (format!("{p} %"), Noise::AmplitudePercent(p))).into()
    };
    let mut out = Vec::new();
    let mut worst = [f64::INFINITY; 2];
    for (name, noise) in levels.into_iter().filter(|l| l.0.starts_with(only)) {
        for mm in [0.05, 0.2, 0.8, 1.6] {
            let case = case.at(&[-mm, mm]);
            let images = case.images(noise, seed)?;
            let (t, tie_phase) = tie(&case, &images)?;
            let found = ad(&case, &case.series, &images, &case.amplitude, Knowledge::Given, FreeSettings::NONE)?;
            let a = case.accuracy(&found.phase)?;
            let (rt, ra) = (case.resolution_nm(&tie_phase)?, case.resolution_nm(&found.phase)?);
            worst = [worst[0].min(a - t), worst[1].min(rt / ra)];
            println!("{name:>10}  ±{mm:4} mm   AD {a:.4} {ra:7.1} nm   TIE {t:.4} {rt:7.1} nm");
            out.push(json!({ "noise": name, "defocus_mm": mm, "ad": a, "tie": t, "ad_nm": ra, "tie_nm": rt }));
        }
    }
    println!("smallest lead of AD: {:.4}; smallest ratio of resolutions TIE/AD {:.3}", worst[0], worst[1]);
    Ok(json!({ "rows": out, "smallest_lead": worst[0], "smallest_resolution_ratio": worst[1] }))
}

/// The domain phantom of the single-image case: 256 × 256 pixels of 4 nm, walls and an island.
pub fn domains(par: &Par) -> Result<Case, Failure> {
    let voxel = [Length::nm(20.0), Length::nm(4.0), Length::nm(4.0)];
    let sides = [Length::nm(480.0), Length::nm(720.0)];
    let (m, _) = phantom(&PhantomParams {
        dims: [1, 256, 256],
        voxel,
        saturation: Induction::tesla(1.0),
        texture: Texture::Island { sides },
        rotation: Angle::deg(15.0),
    })?;
    let phase = mansuripur(&m, &Default::default())?;
    let series = LorentzParams {
        energy: Energy::kev(200.0),
        grid: Grid { dims: [256, 256], sampling: [Length::nm(4.0); 2] },
        images: vec![lens(-1.0, 0.2, 0.01, 80.0)],
        par: par.clone(),
        ..LorentzParams::default()
    };
    Ok(Case {
        series,
        phase: phase.as_slice().iter().map(|v| *v as f32).collect(),
        amplitude: vec![1.0; 256 * 256],
        prior: Prior::magnetic(),
    })
}

/// One image at −1 mm and 30 % noise.
pub fn single(par: &Par, prior: Prior, seeds: u64) -> Result<Value, Failure> {
    let case = Case { prior, ..domains(par)? };
    let (mut acc, mut sitie) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let images = case.images(Noise::IntensityPercent(30.0), seed)?;
        let t = Tie::<f32>::new(TieParams { grid: case.series.grid, ..TieParams::default() })?
            .single(images.as_slice(), case.series.images[0].defocus)?;
        sitie.push(case.accuracy(&t)?);
        let found = ad(&case, &case.series, &images, &case.amplitude, Knowledge::Given, FreeSettings::NONE)?;
        acc.push(case.accuracy(&found.phase)?);
    }
    let (a, t) = (median(acc), median(sitie));
    println!("single image, −1 mm, 30 %: AD {a:.4}, SITIE {t:.4}");
    Ok(json!({ "ad": a, "sitie": t, "seeds": seeds }))
}

/// The same image, its phase the output of a network.
pub fn siprad(par: &Par, seeds: u64) -> Result<Value, Failure> {
    let case = domains(par)?;
    let mut acc = Vec::new();
    for seed in 0..seeds {
        let images = case.images(Noise::IntensityPercent(30.0), seed)?;
        let start = Tie::<f32>::new(TieParams { grid: case.series.grid, ..TieParams::default() })?
            .single(images.as_slice(), case.series.images[0].defocus)?;
        let clock = Instant::now();
        let params = SipradParams { series: case.series.clone(), seed, ..SipradParams::default() };
        let found = Siprad::new(params)?.run(&images, &start, &case.amplitude, &mut silent)?;
        acc.push(case.accuracy(&found.phase)?);
        let (a, t, s) = (acc[acc.len() - 1], case.accuracy(&start)?, clock.elapsed().as_secs_f64());
        println!("single image, −1 mm, 30 %, seed {seed}: SIPRAD {a:.4}, SITIE {t:.4}, {s:.0} s");
    }
    Ok(json!({ "siprad": median(acc), "seeds": seeds }))
}

/// A wall that moves over 20 frames at low dose: each frame from the last, and from scratch.
pub fn in_situ(par: &Par) -> Result<Value, Failure> {
    let voxel = [Length::nm(20.0), Length::nm(8.0), Length::nm(8.0)];
    let grid = Grid { dims: [128, 128], sampling: [Length::nm(8.0); 2] };
    let series = LorentzParams {
        grid,
        images: vec![lens(-0.8, 1.0, 0.01, 100.0), lens(0.8, 1.0, 0.01, 100.0)],
        par: par.clone(),
        ..LorentzParams::default()
    };
    let model = LorentzModel::<f32>::new(&series)?;
    let flat = vec![1.0f32; grid.len()];
    let mut last = vec![0.0f32; grid.len()];
    let (mut warm, mut cold, mut seconds, mut iterations) = (vec![], vec![], [0.0; 2], [0usize; 2]);
    for frame in 0..20 {
        // The wall's place is where the stripes begin.
        let (mut m, _) = phantom(&PhantomParams {
            dims: [1, 128, 128],
            voxel,
            texture: Texture::Walls { period: Length::nm(1024.0), width: Length::nm(20.0), kind: WallKind::Bloch },
            ..PhantomParams::default()
        })?;
        for c in &mut m.m {
            c.as_mut_slice().chunks_mut(128).for_each(|row| row.rotate_right(frame));
        }
        let phase: Vec<f32> = mansuripur(&m, &Default::default())?.as_slice().iter().map(|v| *v as f32).collect();
        let mut images = model.images(&phase, &flat)?;
        add_noise(&mut images, Noise::Counts(40.0), frame as u64, par)?;
        let case = Case { series: series.clone(), phase, amplitude: flat.clone(), prior: Prior::magnetic() };
        for (i, start) in [last.clone(), vec![0.0; grid.len()]].into_iter().enumerate() {
            let clock = Instant::now();
            let plan = Retrieval::new(RetrievalParams {
                series: series.clone(),
                regularizer: Regularizer::Curvature { weight: 0.02, smoothing: 0.002 },
                stages: match i {
                    0 if frame > 0 => vec![Stage { binning: 1, iterations: 150, free: FreeSettings::NONE }],
                    _ => stages(128, 4, 150, FreeSettings::NONE),
                },
                tolerance: 1e-5,
                ..RetrievalParams::default()
            })?;
            let found = plan.run(&images, &start, &flat, None, &mut silent)?;
            seconds[i] += clock.elapsed().as_secs_f64();
            iterations[i] += found.iterations;
            let a = case.accuracy(&found.phase)?;
            if i == 0 {
                warm.push(a);
                last = found.phase.into_vec();
            } else {
                cold.push(a);
            }
        }
    }
    let (w, c) = (median(warm), median(cold));
    println!(
        "20 frames: from the last {w:.4} in {:.2} s ({} iterations), from scratch {c:.4} in {:.2} s ({})",
        seconds[0], iterations[0], seconds[1], iterations[1]
    );
    Ok(json!({ "warm": w, "cold": c, "warm_seconds": seconds[0], "cold_seconds": seconds[1] }))
}

/// The transport-of-intensity equation where there is no truth: a cut-off of a quarter of a cycle a micrometre.
pub fn tie_of(case: &Case, images: &exitwave::tensor::Tensor<f32>) -> Result<exitwave::tensor::Tensor<f32>, Failure> {
    let defocus: Vec<Length> = case.series.images.iter().map(|i| i.defocus).collect();
    let params = TieParams {
        energy: case.series.energy,
        grid: case.series.grid,
        regularization: exitwave::units::SpatialFrequency::per_angstrom(0.25e-4),
        ..TieParams::default()
    };
    Ok(Tie::<f32>::new(params)?.series(images, &defocus, None)?)
}
