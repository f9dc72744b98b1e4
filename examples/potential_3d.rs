//! The potential of UiO-66 in three dimensions from two low-dose images, along [001] and [110].

#[path = "support/plane_crystal.rs"]
mod plane_crystal;
mod support;

use std::time::Instant;

use exitwave::fft::fourier_resample;
use exitwave::hrtem::{
    CombineZonesParams, CrystalPhase, CrystalPhaseParams, CrystalReflections, ImageLatticeParams, PlaneGroup,
    PlaneGroupParams, PlaneGroupRanking, ReflectionsParams, SpaceGroup, Zone, ZoneBasesParams, combine_zones,
    crystal_reflections, find_image_lattice, focus_reflections, impose_plane_group, measure_reflections,
    rank_plane_groups, zone_bases,
};
use exitwave::io::{mrc, npy};
use exitwave::metrics::normalised_correlation;
use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::optics::{Aberrations, Aperture, Ctf, CtfParams, FocalSpread, Grid, SourceAngle, interaction_parameter};
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Panel, Pixel, Range};
use exitwave::rng;
use exitwave::specimen::{Atoms, Parametrization, PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length, SpatialFrequency};
use support::{Failure, Options};

const HELP: &str = "\
potential_3d: the potential of UiO-66 in three dimensions from images along [001] and [110]

  --dose D           electrons per square Angstrom and image (default 10)
  --field-px N       pixels of an image's side (default 1024)
  --pixel-A P        size of a pixel (default 0.5)
  --defocus-nm L     underfocus, counted from the middle of the crystal (default 15)
  --thickness-nm L   thickness, to whole cells (default 2)
  --resolution-A D   finest reflections that are used (default 2)
  --model M          strong: the phase whose images agree, not linear in it (default); weak: division by the transfer
  --measure-A D      strong: finest reflections of the images that are fitted (default 1.15)
  --starts N         strong: starts of the search for the phase (default 8)
  --told-share S     thickness that the reconstruction is told, over the true one (default 1)
  --seed S           seed of the counts (default 1)
  --threads N        threads (default: all cores)
  --study groups     instead: plane groups of random structures, found in images; the table of confusions
  --cases N          cases a group in the study (default 10)
  --out DIR          where PNG, MRC and .npy go (default out/potential_3d)

Simulated by multislice with partial coherence and Poisson counts; the image is turned by some degrees against its
pixels. Nothing but the cell, the space group, the zone axes, the focus and which way the images are turned, to some
degrees, is known to the reconstruction. The last line printed is one JSON object.";

const ENERGY: Energy = Energy::kev(300.0);
const FM3M: [&str; 7] = ["x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "-x,-y,z", "-x,y,-z", "z,x,y", "y,x,-z", "-x,-y,-z"];

/// Foci and beam directions whose images are added up: what envelopes leave out matters for columns of heavy atoms.
const AVERAGING: Averaging = Averaging::Explicit { focus: 15, directions: 7 };

/// How potentials follow from reflections.
enum Model {
    Weak,
    Strong { measured: Length, starts: usize },
}

struct Setting {
    dose: Dose,
    side: usize,
    pixel: Length,
    defocus: Length,
    thickness: Length,
    finest: Length,
    model: Model,
    told: f64,
    seed: u64,
    par: Par,
}

/// The lens: corrected for spherical aberration, 3 nm of focal spread, 0.1 mrad of convergence. `defocus` counts from
/// where the wave is.
fn lens(defocus: Length) -> CtfParams {
    CtfParams {
        energy: ENERGY,
        aberrations: Aberrations::from_defocus(defocus),
        aperture: Aperture::Open,
        focal_spread: FocalSpread::rms(Length::nm(3.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.1)),
        ..Default::default()
    }
}

fn crystal() -> Result<Atoms, Failure> {
    let mut crystal = crystals::uio_66();
    for (symbol, sigma) in [("C", 0.1007), ("H", 0.1007), ("O", 0.0872), ("Zr", 0.0390)] {
        crystal = crystal.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    Ok(crystal)
}

/// The counts of one image: `[side, side]`.
fn simulate(zone: [i32; 3], up: [i32; 3], turn: Angle, set: &Setting) -> Result<(Vec<f64>, Length), Failure> {
    let cell = crystal()?.oriented(zone, up)?;
    let [lz, ly, lx] = cell.cell.edges().ok_or("no orthogonal cell")?;
    let deep = (set.thickness / lz).round().max(1.0) as usize;
    let film = cell.repeated([1, 1, deep])?;
    let dims = [ly, lx].map(|l| 2 * (l.to_angstrom() / 0.6).ceil() as usize);
    let grid = Grid { dims, sampling: [ly / dims[0] as f64, lx / dims[1] as f64] };
    let slicing = Slicing::Thickness(Length::angstrom(2.1));
    let par = set.par.clone();
    let v =
        PotentialPlan::<f64>::new(&film, &PotentialParams { grid, slicing, par: par.clone(), ..Default::default() })?
            .build()?;
    let multislice = Multislice::new(&MultisliceParams {
        energy: ENERGY,
        grid,
        thickness: v.thickness.clone(),
        par: par.clone(),
        ..Default::default()
    })?;
    let waves = multislice.exit_waves(&multislice.transmission(&v)?, &multislice.plane_waves(1)?)?;
    // The middle of the crystal is half of its thickness above the exit surface.
    let thickness = lz * deep as f64;
    let focus = set.defocus + thickness * 0.5;
    let image = HrtemImage::<f64>::new(&lens(focus), grid, AVERAGING, par)?.images(&waves)?;

    // One cell on fine points, then the field, turned, by interpolation between them.
    let fine = dims.map(|n| 8 * n);
    let cell = fourier_resample(image.as_slice(), dims, fine)?;
    let at = |y: f64, x: f64| {
        let (u, v) = (y.rem_euclid(1.0) * fine[0] as f64, x.rem_euclid(1.0) * fine[1] as f64);
        let (i, j, p, q) = (u as usize % fine[0], v as usize % fine[1], u.fract(), v.fract());
        let value = |i: usize, j: usize| cell[i % fine[0] * fine[1] + j % fine[1]];
        (1.0 - p) * ((1.0 - q) * value(i, j) + q * value(i, j + 1))
            + p * ((1.0 - q) * value(i + 1, j) + q * value(i + 1, j + 1))
    };
    let (sin, cos) = turn.to_rad().sin_cos();
    let electrons = set.dose * (set.pixel * set.pixel);
    let n = set.side;
    let rows = set.par.map(n, |i| {
        let mut random = rng::stream(set.seed, (zone[0] * 1_000_000) as u64 + i as u64);
        let row = (0..n).map(|j| {
            let (y, x) = (i as f64 * set.pixel.to_angstrom(), j as f64 * set.pixel.to_angstrom());
            let value = at((cos * y - sin * x) / ly.to_angstrom(), (sin * y + cos * x) / lx.to_angstrom());
            rng::poisson(&mut random, electrons * value.max(0.0))
        });
        row.collect::<Vec<f64>>()
    });
    Ok((rows.concat(), thickness))
}

/// One image to its corrected reflections, in V of the mean along the beam.
fn process(
    counts: &[f64],
    zone: [i32; 3],
    up: [i32; 3],
    thickness: Length,
    group: &SpaceGroup,
    set: &Setting,
) -> Result<(Zone, PlaneGroupRanking), Failure> {
    let dims = [set.side; 2];
    let pixel = set.pixel.to_angstrom();
    let highest = pixel / set.finest.to_angstrom();
    let search = ImageLatticeParams { band: [pixel / 25.0, highest], par: set.par.clone(), ..Default::default() };
    let found = find_image_lattice(dims, counts, &search)?;
    let measure = |highest: f64| {
        let params = ReflectionsParams { highest, par: set.par.clone(), ..Default::default() };
        measure_reflections(dims, counts, &found.lattice, &params)
    };
    let reflections = measure(highest)?;
    let ranking = rank_plane_groups(&reflections, &PlaneGroupParams { systematic: 0.05, ..Default::default() })?;
    let thickness = thickness * set.told;
    let sigma = interaction_parameter(ENERGY);
    let potential = match set.model {
        // Contrast to projected potential: 2σ Im T̄, focus from the middle of the crystal.
        Model::Weak => {
            let ctf = Ctf::new(&lens(set.defocus))?;
            let transfer =
                |k: [f64; 2]| -2.0 * sigma * ctf.at(k.map(|k| k / pixel), [1e-3; 2]).im * thickness.to_angstrom();
            reflections.scaled(1.0 / reflections.mean).corrected(&transfer, 0.05)?
        }
        // The phase that gives these images, from all reflections that stand out, those of equal symmetry averaged.
        Model::Strong { measured, starts } => {
            let all = impose_plane_group(&measure(pixel / measured.to_angstrom())?, ranking.best())?;
            let plan = CrystalPhase::new(CrystalPhaseParams {
                lenses: vec![lens(set.defocus)],
                thickness,
                operations: ranking.best().setting.operations(),
                starts,
                par: set.par.clone(),
                ..Default::default()
            })?;
            let fit = plan.fit(&focus_reflections(std::slice::from_ref(&all), set.pixel)?)?;
            let next = fit.next.map_or("none".into(), |n| format!("{n:.2} times its loss"));
            println!(
                "{zone:?}: a phase from {} reflections leaves {:.1e} of them, χ² {:.2}, found {} times, next {next}",
                fit.phase.len(),
                fit.left,
                fit.chi2,
                fit.found
            );
            let highest = SpatialFrequency::per_angstrom(1.0 / set.finest.to_angstrom());
            fit.plane_reflections(&all.lattice, highest, 1.0 / (sigma * thickness.to_angstrom()))
        }
    };
    let params = ZoneBasesParams { zone, pixel: set.pixel, x_axis: Some(up), ..Default::default() };
    let bases = zone_bases(&crystal()?.cell, group, &found.lattice, &params)?;
    let best = ranking.best();
    println!(
        "{zone:?}: cell {:.3} x {:.3} Å, {} of {} peaks indexed, {} reflections, {} (phase residual {:.1}°, {:.1}° from noise)",
        found.lattice.lengths()[0] * pixel,
        found.lattice.lengths()[1] * pixel,
        (found.indexed * found.peaks as f64).round(),
        found.peaks,
        reflections.list.len(),
        best.setting.group.symbol(),
        best.phase_residual.to_deg(),
        best.expected_phase_residual.to_deg(),
    );
    Ok((Zone { reflections: potential, bases }, ranking))
}

/// Reflections moved to another origin: F e^{−2πi h·s}.
fn moved(found: &CrystalReflections, s: [f64; 3]) -> CrystalReflections {
    let mut out = found.clone();
    for r in &mut out.list {
        let turn = (0..3).map(|i| f64::from(r.index[i]) * s[i]).sum::<f64>();
        r.f *= exitwave::num_complex::Complex::from_polar(1.0, -std::f64::consts::TAU * turn);
    }
    out
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let names = [
        "dose",
        "field-px",
        "pixel-A",
        "defocus-nm",
        "thickness-nm",
        "resolution-A",
        "model",
        "measure-A",
        "starts",
        "told-share",
        "seed",
        "threads",
        "study",
        "cases",
        "out",
    ];
    let options = Options::read(HELP, &names, &[])?;
    let threads: usize = options.get("threads", 0)?;
    let measured = Length::angstrom(options.get("measure-A", 1.15)?);
    let model = match options.get("model", String::from("strong"))?.as_str() {
        "strong" => Model::Strong { measured, starts: options.get("starts", 8)? },
        "weak" => Model::Weak,
        other => return Err(format!("--model {other}: strong or weak").into()),
    };
    let set = Setting {
        model,
        told: options.get("told-share", 1.0)?,
        dose: Dose::per_angstrom2(options.get("dose", 10.0)?),
        side: options.get("field-px", 1024)?,
        pixel: Length::angstrom(options.get("pixel-A", 0.5)?),
        defocus: Length::nm(options.get("defocus-nm", 15.0)?),
        thickness: Length::nm(options.get("thickness-nm", 2.0)?),
        finest: Length::angstrom(options.get("resolution-A", 2.0)?),
        seed: options.get("seed", 1)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
    };
    match options.get("study", String::new())?.as_str() {
        "" => {}
        "groups" => return groups(options.get("cases", 10)?, &set),
        other => return Err(format!("--study {other}: there is only groups").into()),
    }
    if !(set.side >= 64 && set.side <= 8192 && set.pixel > Length::ZERO && set.finest > set.pixel * 2.0) {
        return Err("an image of 64 to 8192 pixels, smaller than half the resolution".into());
    }
    let out = options.out("out/potential_3d")?;
    let group = SpaceGroup::from_generators(&FM3M)?;

    let mut zones = Vec::new();
    let mut images = Vec::new();
    let mut symbols = Vec::new();
    for (zone, up, turn) in [([0, 0, 1], [1, 0, 0], 7.3), ([1, 1, 0], [0, 0, 1], -4.1)] {
        let (counts, thickness) = simulate(zone, up, Angle::deg(turn), &set)?;
        let (data, ranking) = process(&counts, zone, up, thickness, &group, &set)?;
        symbols.push(ranking.best().setting.group.symbol());
        zones.push(data);
        images.push(counts);
    }
    let found = combine_zones(&crystal()?.cell, &group, &zones, &CombineZonesParams::default())?;

    // The truth, of the same reflections and of all; the origin of Fm-3m may be either point of its symmetry.
    let truth = crystal_reflections(&crystal()?, Parametrization::default(), set.finest)?;
    let points = [72; 3];
    let volume = |r: &CrystalReflections| r.volume(points, &set.par);
    let (all, same) = (volume(&truth)?, volume(&truth.in_common(&found.reflections))?);
    let mut best = (-2.0, found.reflections.clone());
    for s in [[0.0; 3], [0.5; 3]] {
        let r = moved(&found.reflections, s);
        let c = normalised_correlation(volume(&r)?.as_slice(), same.as_slice())?;
        if c > best.0 {
            best = (c, r);
        }
    }
    let (correlation, reflections) = best;
    let result = volume(&reflections)?;
    let against_all = normalised_correlation(result.as_slice(), all.as_slice())?;
    let ceiling = normalised_correlation(same.as_slice(), all.as_slice())?;
    // Every reflection of both zones and its equivalents, those near zeros of the transfer too.
    let in_zones = |h: [i32; 3]| {
        group.operations().iter().any(|o| {
            let g = o.reflection(h);
            g[2] == 0 || g[0] + g[1] == 0
        })
    };
    let list = truth.list.iter().filter(|r| in_zones(r.index)).copied().collect();
    let complete = CrystalReflections { cell: truth.cell, list };
    let complete = normalised_correlation(volume(&complete)?.as_slice(), all.as_slice())?;

    // Zirconium: the highest 24 maxima.
    let a = crystal()?.cell.vectors[0][2];
    let metals: Vec<[f64; 3]> = crystal()?
        .atoms
        .iter()
        .filter(|atom| atom.species == Species::from_symbol("Zr").expect("zirconium"))
        .map(|atom| crystals::uio_66().cell.fractional(atom.position))
        .collect();
    let errors = |r: &CrystalReflections| -> Result<Vec<f64>, Failure> {
        let peaks = r.peaks(points, metals.len(), &set.par)?;
        let distance = |x: &[f64; 3], p: &[f64; 3]| {
            let d = [0, 1, 2].map(|i| x[i] - p[i] - (x[i] - p[i]).round());
            a * d.iter().map(|d| d * d).sum::<f64>().sqrt()
        };
        let nearest = |x: &[f64; 3]| peaks.iter().map(|p| distance(x, &p.position)).fold(f64::INFINITY, f64::min);
        Ok(metals.iter().map(nearest).collect())
    };
    let worst = |e: Vec<f64>| e.into_iter().fold(0.0, f64::max);
    let (metal, metal_ideal) = (worst(errors(&reflections)?), worst(errors(&truth.in_common(&reflections))?));
    println!(
        "{} reflections of {} to {} Å; correlation {correlation:.4} with the truth of the same, {against_all:.4} with all (without noise \
         {ceiling:.4}); Zr within {metal:.3} Å (without noise {metal_ideal:.3})",
        reflections.list.len(),
        truth.list.len(),
        set.finest.to_angstrom(),
    );

    let png = out.join("potential_3d.png");
    draw(&images, [&result, &same, &all], &set, a)?.render()?.write_png(&png)?;
    let step = Length::angstrom(a / points[0] as f64);
    let file = out.join("potential_3d.mrc");
    mrc::write(&file, &result.map(|v| *v as f32), [step; 3])?;
    npy::write(out.join("potential_3d.npy"), &result)?;
    npy::write(out.join("truth_same_reflections.npy"), &same)?;
    let line = serde_json::json!({
        "dose_e_per_A2": set.dose.to_per_angstrom2(),
        "plane_groups": symbols,
        "reflections": reflections.list.len(),
        "reflections_all": truth.list.len(),
        "scale": found.zones[1].scale,
        "phase_residual_deg": found.phase_residual.to_deg(),
        "amplitude_residual": found.amplitude_residual,
        "correlation_same_reflections": correlation,
        "correlation_all_reflections": against_all,
        "all_reflections_without_noise": ceiling,
        "ceiling_two_axes": complete,
        "metal_error_A": metal,
        "metal_error_without_noise_A": metal_ideal,
        "seconds": start.elapsed().as_secs_f64(),
        "mrc": file.display().to_string(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}

/// Rows: the images; three sections of the result, of the truth from the same reflections, of the truth.
fn draw(images: &[Vec<f64>], volumes: [&Tensor<f64>; 3], set: &Setting, a: f64) -> Result<Panel, Failure> {
    let mut panel = Panel::new(4);
    panel.title = format!("UiO-66 from two images of {} electrons per Å²", set.dose.to_per_angstrom2());
    panel.cell = [230, 230];
    let n = volumes[0].dims()[0];
    // Sections at z = 0 through the clusters' zirconium, at x = y through linkers and clusters, and the projection.
    let section = |v: &Tensor<f64>, which: usize| -> ([usize; 2], Vec<f64>) {
        let v = v.as_slice();
        let at = |z: usize, y: usize, x: usize| v[(z % n * n + y % n) * n + x % n];
        match which {
            0 => ([n, n], (0..n * n).map(|i| at(0, i / n, i % n)).collect()),
            1 => ([n, n], (0..n * n).map(|i| at(n / 4, i / n, i % n)).collect()),
            _ => ([n, n], (0..n * n).map(|i| at(i / n, i % n, (n - i % n) % n)).collect()),
        }
    };
    let names = ["images", "from both", "truth, same reflections", "truth, all reflections"];
    let sections = ["z = 0", "z = c/4", "x = −y"];
    for which in 0..3 {
        if which < images.len() {
            let crop = set.side.min((4.2 * a / set.pixel.to_angstrom()) as usize);
            let window: Vec<f64> = (0..crop * crop).map(|i| images[which][i / crop * set.side + i % crop]).collect();
            let mut shown = Image::real(&[crop, crop], &window)?;
            shown.title = ["counts along [001]", "counts along [110]"][which].into();
            (shown.map, shown.range, shown.pixel) =
                (ColorMap::Grey, Range::Percentile { low: 1.0, high: 99.0 }, Pixel::Length(set.pixel));
            panel.add(Cell::Image(shown));
        } else {
            panel.add(Cell::Empty);
        }
        for (v, name) in volumes.iter().zip(&names[1..]) {
            let (dims, values) = section(v, which);
            let mut shown = Image::real(&dims, &values)?;
            shown.title = format!("{name}, {}", sections[which]);
            (shown.map, shown.range) = (ColorMap::Viridis, Range::Percentile { low: 1.0, high: 99.7 });
            shown.pixel = Pixel::Length(Length::angstrom(a / n as f64));
            panel.add(Cell::Image(shown));
        }
    }
    Ok(panel)
}

/// Random structures of every group, images of them at 10 electrons per Å², the whole chain: which group is found.
fn groups(cases: usize, set: &Setting) -> Result<(), Failure> {
    const SIDE: usize = 512;
    let (pixel, finest, contrast) = (0.6, 2.2, 0.07);
    let electrons = set.dose.to_per_angstrom2() * pixel * pixel;
    let n = PlaneGroup::ALL.len();
    let results = set.par.map(n * cases, |i| {
        let group = PlaneGroup::ALL[i % n];
        let seed = set.seed * 100_000 + (i / n) as u64;
        let structure = plane_crystal::structure(group, seed, finest);
        let image = plane_crystal::picture(&structure, SIDE, pixel, contrast, electrons, seed);
        let ranking = plane_crystal::classify(&image, SIDE, pixel, finest, &PlaneGroupParams::default());
        ranking.ok().map(|r| {
            let best = r.best();
            let residuals = [best.phase_residual.to_deg(), best.expected_phase_residual.to_deg()];
            (best.setting.group, plane_crystal::by_threshold(&r), residuals, r.reflections)
        })
    });
    let mut table = vec![vec![0usize; n + 1]; n];
    let (mut right, mut practice) = (0, 0);
    println!("group   right  of   as                            phase residual (noise's)  reflections");
    for (g, group) in PlaneGroup::ALL.into_iter().enumerate() {
        let own: Vec<_> = (0..cases).map(|c| &results[c * n + g]).collect();
        let mut sums = [0.0; 3];
        for r in &own {
            let found = r.as_ref().map_or(n, |r| r.0.number() - 1);
            table[g][found] += 1;
            practice += usize::from(r.as_ref().is_some_and(|r| r.1 == group));
            if let Some((_, _, [p, e], count)) = r {
                sums = [sums[0] + p, sums[1] + e, sums[2] + *count as f64];
            }
        }
        right += table[g][g];
        let name = |f: usize| PlaneGroup::ALL.get(f).map_or("no lattice", |g| g.symbol());
        let wrong = (0..=n).filter(|&f| f != g && table[g][f] > 0);
        let wrong: Vec<String> = wrong.map(|f| format!("{} {}", table[g][f], name(f))).collect();
        let [p, e, count] = sums.map(|s| s / own.iter().filter(|r| r.is_some()).count().max(1) as f64);
        println!(
            "{:6} {:6} {:4}   {:28} {p:6.1}° ({e:.1}°) {count:12.0}",
            group.symbol(),
            table[g][g],
            cases,
            wrong.join(", ")
        );
    }
    let total = (n * cases) as f64;
    let line = serde_json::json!({
        "cases": n * cases,
        "right": right as f64 / total,
        "right_by_20_deg_of_phase_residual": practice as f64 / total,
        "dose_e_per_A2": set.dose.to_per_angstrom2(),
        "contrast": contrast,
        "field_px": SIDE,
        "pixel_A": pixel,
        "resolution_A": finest,
    });
    println!("{line}");
    Ok(())
}
