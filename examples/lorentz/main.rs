//! Phase and induction from a focal series, by TIE, Gerchberg–Saxton and automatic differentiation.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod study;

use std::time::Instant;

use case::{Case, Knowledge, Prior, ad, gs, lens, tie};
use exitwave::io::npy;
use exitwave::lorentz::{
    BeamDirection, FreeSettings, Freedom, ImageSetting, LorentzParams, Loss, Noise, PhantomParams, Texture, WallKind,
    Word, contours, induction, mansuripur, phantom,
};
use exitwave::metrics::{FrcParams, RingCorrelation};
use exitwave::optics::{Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Guide, Image, Panel, Pixel, Plot, Range, Series, VectorMap, colour_wheel};
use exitwave::tensor::Tensor;
use exitwave::units::{Energy, Length};
use serde_json::json;
use support::{Failure, Options};

const HELP: &str = "\
lorentz: phase and induction from a focal series, by TIE, Gerchberg-Saxton and automatic differentiation

  --phantom P        skyrmions, neel, walls, vortex or island (default skyrmions), 256 x 256 pixels
  --phase FILE       or a given phase in rad (TIFF, npy, ...)
  --amplitude FILE   and its amplitude (default 1)
  --stack FILE       or measured images [n, y, x]; then
  --meta FILE        is JSON: { \"pixel_nm\": .., \"defocus_mm\": [..], \"energy_kev\": .., \"cs_mm\": .. }
  --pixel-nm P       pixel (default 5)
  --defocus-mm L     underfocus positive, separated by commas (default -1.6,-0.15,0.15,1.6)
  --noise-percent N  200 x standard deviation of the amplitude over its mean (default 10)
  --energy-kev E     (default 200)
  --cs-mm C          (default 1)
  --theta-mrad T     semi-angle theta_c, 1/e (default 0.01)
  --spread-nm D      defocus spread, standard deviation (default 500)
  --unknown L        what is sought besides the phase, of: theta_c, spread, defocus, astigmatism, cs, shift, rotation,
                     amplitude; a simulated theta_c starts 1.5 times too large, defoci 5 % wrong
  --prior P          of the phase: constant (total variation) or linear (curvature) by pieces
                     (default linear for phantoms, constant else)
  --strength S       its weight over noise^2/images (default 3; linear 4), --smoothing E (0.02; 0.002),
  --coarse B         and the binning of the first stage (4), --floor F, --tolerance T of the descent
  --loss L           amplitude (default) or poisson
  --iterations-gs N  (default 200)
  --seed S           (default 1)
  --study S          table, joint, noise, dose, single, siprad or in-situ: the longer studies (--seeds K, default 5)
  --only TEXT        of their rows those whose name begins with this
  --threads N        threads (default: all cores)
  --out DIR          where PNG and arrays (.npy) go (default out/lorentz)

The last line printed is one JSON object.";

/// What is shown and compared.
struct Found {
    name: &'static str,
    phase: Tensor<f32>,
    accuracy: Option<f64>,
}

fn list(text: &str) -> Result<Vec<f64>, Failure> {
    text.split(',').map(|s| s.trim().parse::<f64>().map_err(|e| format!("{s}: {e}").into())).collect()
}

fn read(path: &str) -> Result<Tensor<f32>, Failure> {
    Ok(exitwave::io::open(path)?.read(0)?.into_real::<f32>()?)
}

fn image_of(path: &str) -> Result<Tensor<f32>, Failure> {
    let t = read(path)?;
    match *t.dims() {
        [_, _] => Ok(t),
        [1, y, x] => Ok(t.reshape(&[y, x])?),
        _ => Err(format!("{path}: {:?} is no image", t.dims()).into()),
    }
}

/// A phantom's phase.
fn simulated(name: &str, pixel: Length) -> Result<Tensor<f32>, Failure> {
    let nm = Length::nm;
    let texture = match name {
        "skyrmions" | "neel" => Texture::Skyrmions {
            radius: pixel * 16.0,
            width: pixel * 4.0,
            distance: pixel * 64.0,
            kind: if name == "neel" { WallKind::Neel } else { WallKind::Bloch },
        },
        "walls" => Texture::Walls { period: pixel * 128.0, width: nm(15.0), kind: WallKind::Bloch },
        "vortex" => Texture::Vortex { radius: pixel * 80.0, core: nm(15.0) },
        "island" => Texture::Island { sides: [pixel * 110.0, pixel * 170.0] },
        other => return Err(format!("--phantom {other} (see --help)").into()),
    };
    let voxel = [nm(20.0), pixel, pixel];
    let (m, _) = phantom(&PhantomParams { dims: [1, 256, 256], voxel, texture, ..PhantomParams::default() })?;
    Ok(mansuripur(&m, &Default::default())?.map(|v| *v as f32))
}

fn main() -> Result<(), Failure> {
    let names = [
        "phantom",
        "phase",
        "amplitude",
        "stack",
        "meta",
        "pixel-nm",
        "defocus-mm",
        "noise-percent",
        "energy-kev",
        "cs-mm",
        "theta-mrad",
        "spread-nm",
        "unknown",
        "loss",
        "iterations-gs",
        "seed",
        "seeds",
        "prior",
        "strength",
        "smoothing",
        "coarse",
        "floor",
        "tolerance",
        "study",
        "only",
        "threads",
        "out",
    ];
    let o = Options::read(HELP, &names, &[])?;
    let text = |name: &str, default: &str| o.get(name, String::from(default));
    let out = o.out("out/lorentz")?;
    let (seed, threads): (u64, usize) = (o.get("seed", 1)?, o.get("threads", 0)?);
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    let mut pixel = Length::nm(o.get("pixel-nm", 5.0)?);
    let mut energy = Energy::kev(o.get("energy-kev", 200.0)?);
    let mut defocus = list(&text("defocus-mm", "-1.6,-0.15,0.15,1.6")?)?;
    let mut cs: f64 = o.get("cs-mm", 1.0)?;
    let (mut theta, mut spread): (f64, f64) = (o.get("theta-mrad", 0.01)?, o.get("spread-nm", 500.0)?);
    let percent: f64 = o.get("noise-percent", 10.0)?;

    // Measured images, or an object to simulate them from.
    let stack = text("stack", "")?;
    let measured = if stack.is_empty() { None } else { Some(read(&stack)?) };
    let meta = text("meta", "")?;
    if !meta.is_empty() {
        let m: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&meta)?)?;
        let number = |key: &str, old: f64| m.get(key).and_then(|v| v.as_f64()).unwrap_or(old);
        (pixel, energy) =
            (Length::nm(number("pixel_nm", pixel.to_nm())), Energy::kev(number("energy_kev", energy.to_kev())));
        (cs, theta, spread) = (number("cs_mm", cs), number("theta_c_mrad", theta), number("spread_nm", spread));
        if let Some(d) = m.get("defocus_mm").and_then(|v| v.as_array()) {
            defocus = d.iter().filter_map(|v| v.as_f64()).collect();
        }
    }
    let phase = match (&measured, text("phase", "")?) {
        (Some(m), _) => match *m.dims() {
            [_, y, x] => Tensor::zeros(&[y, x]),
            _ => return Err(format!("--stack {stack}: {:?} is no stack", m.dims()).into()),
        },
        (None, file) if file.is_empty() => simulated(&text("phantom", "skyrmions")?, pixel)?,
        (None, file) => image_of(&file)?,
    };
    let dims = [phase.dims()[0], phase.dims()[1]];
    let amplitude = match text("amplitude", "")? {
        file if file.is_empty() => vec![1.0; phase.len()],
        file => image_of(&file)?.into_vec(),
    };
    let grid = Grid { dims, sampling: [pixel; 2] };
    let images: Vec<ImageSetting> = defocus.iter().map(|d| lens(*d, cs, theta, spread)).collect();
    let series = LorentzParams { energy, grid, images, par: par.clone(), ..LorentzParams::default() };
    let magnetic = measured.is_none() && text("phase", "")?.is_empty();
    let base = match text("prior", if magnetic { "linear" } else { "constant" })?.as_str() {
        "linear" => Prior::magnetic(),
        "constant" => Prior::default(),
        other => return Err(format!("--prior {other} (see --help)").into()),
    };
    let prior = Prior {
        strength: o.get("strength", base.strength)?,
        smoothing: o.get("smoothing", base.smoothing)?,
        coarse: o.get("coarse", base.coarse)?,
        floor: o.get("floor", base.floor)?,
        tolerance: o.get("tolerance", base.tolerance)?,
        loss: match text("loss", "amplitude")?.as_str() {
            "amplitude" => Loss::Amplitude,
            "poisson" => Loss::Poisson,
            other => return Err(format!("--loss {other} (see --help)").into()),
        },
        ..base
    };
    let case = Case { series, phase: phase.as_slice().to_vec(), amplitude, prior };

    let (seeds, only) = (o.get("seeds", 5)?, text("only", "")?);
    let study = match text("study", "")?.as_str() {
        "" => None,
        "table" => Some(study::table(&case, seeds, &only)?),
        "joint" => Some(study::joint(&case, seeds, &only)?),
        "noise" => Some(study::grid(&case, false, seed, &only)?),
        "dose" => Some(study::grid(&case, true, seed, &only)?),
        "single" => Some(study::single(&par, prior, seeds)?),
        "siprad" => Some(study::siprad(&par, seeds)?),
        "in-situ" => Some(study::in_situ(&par)?),
        other => return Err(format!("--study {other} (see --help)").into()),
    };
    if let Some(result) = study {
        println!("{result}");
        return Ok(());
    }

    // What is unknown.
    let unknown = text("unknown", "")?;
    let (mut free, mut knowledge, mut told) = (FreeSettings::NONE, Knowledge::Given, case.series.clone());
    for word in unknown.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        match word {
            "theta_c" => {
                free.source_angle = Freedom::Common;
                for i in told.images.iter_mut().filter(|_| measured.is_none()) {
                    i.source_angle = SourceAngle::one_over_e(i.source_angle.to_one_over_e() * 1.5);
                }
            }
            "spread" => free.focal_spread = Freedom::Common,
            "defocus" => {
                free.defocus = Freedom::Each;
                for (k, i) in told.images.iter_mut().enumerate().filter(|_| measured.is_none()) {
                    i.defocus = i.defocus * (1.0 + 0.05 * if k % 2 == 0 { 1.0 } else { -1.0 });
                }
            }
            "astigmatism" => free.astigmatism = Freedom::Common,
            "cs" => free.cs = Freedom::Common,
            "shift" => free.shift = Freedom::Each,
            "rotation" => free.rotation = Freedom::Each,
            "amplitude" => knowledge = Knowledge::Unknown,
            other => return Err(format!("--unknown {other} (see --help)").into()),
        }
    }
    let noise = Noise::AmplitudePercent(percent);
    let data = match &measured {
        Some(m) => m.clone(),
        None => case.images(noise, seed)?,
    };
    if measured.is_some() && text("amplitude", "")?.is_empty() {
        knowledge = Knowledge::Unknown;
    }
    let start_amplitude = case.amplitude(knowledge, &data, noise, seed)?;

    // Three methods.
    let clock = Instant::now();
    let (_, tie_phase) = if measured.is_some() { (0.0, study::tie_of(&case, &data)?) } else { tie(&case, &data)? };
    let tie_seconds = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let gs_phase = gs_or_flat(&case, &data, &start_amplitude, o.get("iterations-gs", 200)?)?;
    let gs_seconds = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    let found = ad(&case, &told, &data, &start_amplitude, knowledge, free)?;
    let ad_seconds = clock.elapsed().as_secs_f64();

    let truth = measured.is_none();
    let accuracy = |p: &Tensor<f32>| if truth { case.accuracy(p).map(Some) } else { Ok(None) };
    let all = [
        Found { name: "TIE", accuracy: accuracy(&tie_phase)?, phase: tie_phase },
        Found { name: "Gerchberg–Saxton", accuracy: accuracy(&gs_phase)?, phase: gs_phase },
        Found { name: "automatic differentiation", accuracy: accuracy(&found.phase)?, phase: found.phase.clone() },
    ];

    let png = out.join("lorentz.png");
    picture(&case, truth, &data, &defocus, &all, &found.loss)?.render()?.write_png(&png)?;
    for f in &all {
        let name = f.name.split([' ', '–']).next().unwrap_or(f.name).to_lowercase();
        npy::write(out.join(format!("phase_{name}.npy")), &f.phase)?;
    }
    npy::write(out.join("images.npy"), &data)?;
    npy::write(out.join("amplitude.npy"), &found.amplitude)?;
    for f in &all {
        println!("{:28} accuracy {}", f.name, f.accuracy.map_or("–".into(), |a| format!("{a:.4}")));
    }
    let retrieved: Vec<_> = found
        .settings
        .iter()
        .map(|s| {
            let w = s.to_words();
            let of = |word: Word| (word.name().to_string(), json!(w[word.index()]));
            let mut map: serde_json::Map<String, serde_json::Value> = Word::ALL.into_iter().map(of).collect();
            map.insert("defocus_mm".into(), json!(s.defocus.to_mm()));
            serde_json::Value::Object(map)
        })
        .collect();
    println!(
        "{}",
        json!({
            "accuracy": { "tie": all[0].accuracy, "gs": all[1].accuracy, "ad": all[2].accuracy },
            "retrieved": if free.any() { json!(retrieved) } else { json!([]) },
            "iterations": found.iterations,
            "seconds": { "tie": tie_seconds, "gs": gs_seconds, "ad": ad_seconds },
            "png": png.display().to_string(),
        })
    );
    Ok(())
}

/// Gerchberg–Saxton's phase.
fn gs_or_flat(case: &Case, images: &Tensor<f32>, amplitude: &[f32], iterations: usize) -> Result<Tensor<f32>, Failure> {
    let known = Case { phase: ramp(case.phase.len()), ..case.clone() };
    let truth = case.phase.iter().any(|p| *p != 0.0);
    Ok(gs(if truth { case } else { &known }, images, amplitude, iterations)?.1)
}

/// Something to correlate with where there is no truth.
fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

/// Truth and phases, induction maps, contours, images, curves.
fn picture(
    case: &Case,
    truth: bool,
    data: &Tensor<f32>,
    defocus: &[f64],
    all: &[Found],
    loss: &[f64],
) -> Result<Panel, Failure> {
    let dims = case.series.grid.dims;
    let grid = &case.series.grid;
    let pixel = Pixel::Length(grid.sampling[0]);
    let mut panel = Panel::new(4);
    panel.title = format!("Lorentz series, {} kV", case.series.energy.to_kev());
    let centred = |p: &[f32]| {
        let mean = p.iter().sum::<f32>() / p.len() as f32;
        p.iter().map(|v| v - mean).collect::<Vec<_>>()
    };
    let reference = Tensor::from_vec(&dims, if truth { case.phase.clone() } else { all[2].phase.as_slice().to_vec() })?;
    let range = Range::Percentile { low: 0.2, high: 99.8 }.limits(&centred(reference.as_slice()))?;
    let show = |title: String, p: &[f32]| -> Result<Cell, Failure> {
        let mut i = Image::real(&dims, &centred(p))?;
        (i.title, i.map, i.pixel, i.color_bar) = (title, ColorMap::Viridis, pixel, Some("φ / rad".into()));
        i.range = Range::Fixed { min: range[0], max: range[1] };
        Ok(Cell::Image(i))
    };
    panel.add(if truth { show("truth".into(), &case.phase)? } else { Cell::Empty });
    for f in all {
        let title = f.accuracy.map_or(f.name.into(), |a| format!("{}: {a:.4}", f.name));
        panel.add(show(title, f.phase.as_slice())?);
    }

    // Induction: the truth's magnitude sets the brightness of all.
    let full = {
        let m = induction(&reference, grid, BeamDirection::AlongZ)?.magnitude();
        let mut v = m.into_vec();
        let at = (v.len() - 1) * 99 / 100;
        *v.select_nth_unstable_by(at, f64::total_cmp).1
    };
    let map = |title: &str, p: &Tensor<f32>| -> Result<Cell, Failure> {
        let b = induction(p, grid, BeamDirection::AlongZ)?;
        let style = VectorMap { full, arrows: dims[0] / 16 };
        let mut i = Image::rgb(&dims, &style.colours(dims, b.by_t_nm.as_slice(), b.bx_t_nm.as_slice())?)?;
        (i.title, i.pixel) = (format!("{title}: induction, full at {full:.0} T nm"), pixel);
        Ok(Cell::Image(i))
    };
    panel.add(if truth { map("truth", &reference)? } else { Cell::Empty });
    for (f, short) in all.iter().zip(["TIE", "GS", "AD"]) {
        panel.add(map(short, &f.phase)?);
    }

    // Data, contours, wheel.
    let n = data.dims()[0];
    for k in [0, n - 1] {
        let mut i = Image::real(&dims, &data.as_slice()[k * grid.len()..][..grid.len()])?;
        (i.title, i.pixel) = (format!("image at {} mm", defocus[k]), pixel);
        i.range = Range::Percentile { low: 0.3, high: 99.7 };
        panel.add(Cell::Image(i));
    }
    let mut i = Image::real(&dims, contours(&all[2].phase, 4.0).as_slice())?;
    (i.title, i.pixel) = ("AD: cos 4φ".into(), pixel);
    panel.add(Cell::Image(i));
    let mut wheel = Image::rgb(&[128, 128], &colour_wheel(128))?;
    wheel.title = "direction of B".into();
    panel.add(Cell::Image(wheel));

    // Ring correlation with the truth, and the loss.
    if truth {
        let frc = RingCorrelation::new(dims, FrcParams { pixel: grid.sampling, ..FrcParams::default() })?;
        let mut curves = Vec::new();
        for f in all {
            let c = frc.real(reference.as_slice(), f.phase.as_slice())?;
            curves.push(Series {
                label: f.name.into(),
                x: c.frequency.iter().map(|f| f.to_per_angstrom() * 10.0).collect(),
                y: c.correlation,
                ..Series::default()
            });
        }
        panel.add(Cell::Plot(Plot {
            title: "Fourier ring correlation with the truth".into(),
            x_label: "k / nm⁻¹".into(),
            y_range: Some([0.0, 1.0]),
            series: curves,
            guides: vec![Guide { value: 0.5, label: "0.5".into(), ..Guide::default() }],
            span: 2,
            ..Plot::default()
        }));
    }
    panel.add(Cell::Plot(Plot {
        title: "loss, coarse to fine".into(),
        x_label: "iteration".into(),
        y_scale: exitwave::render::Scale::Log,
        series: vec![Series { x: (1..=loss.len()).map(|i| i as f64).collect(), y: loss.to_vec(), ..Series::default() }],
        span: 2,
        ..Plot::default()
    }));
    Ok(panel)
}
