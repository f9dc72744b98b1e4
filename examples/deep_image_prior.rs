//! Denoising and inpainting with a deep image prior: a network is fitted to one noisy image with missing pixels, and shows what is missing.
//!
//! The 2-D network of Brosset et al. (arXiv 2605.27139) maps fixed noise to an image; only the pixels that were measured enter the loss. It
//! learns the lattice first and the noise afterwards. When to stop is decided by the running variance of its images (Wang et al., arXiv
//! 2112.06074), which needs no truth: `optim::VarianceStop`.
//!
//! A phantom is always reconstructed, because only there is the truth known; then a measured image, if there is one.

mod support;

use std::cell::{Cell as Flag, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use exitwave::autodiff::{Mode, PlanOptions, Session};
use exitwave::io::{self, npy};
use exitwave::metrics::{SsimParams, pearson, psnr, ssim};
use exitwave::nn::{DipParams, Net, PointLoss, PointLossParams, deep_image_prior};
use exitwave::observe::{ControlFlow, Step};
use exitwave::optim::{
    AdamStep, Method, Minimize, MinimizeParams, Schedule, VarianceStop, VarianceStopParams, WeightDecay,
};
use exitwave::par::Par;
use exitwave::render::{Axis, Cell, ColorMap, Guide, Image, Line, Panel, Pixel, Plot, Range, Scale, Series};
use exitwave::rng;
use exitwave::tensor::Tensor;
use exitwave::units::Length;
use support::{Failure, Options, progress};

const HELP: &str = "\
deep_image_prior [FILE]: denoise and inpaint a STEM image, and a phantom, with an untrained network

FILE is any file that `io::open` reads; its largest image is taken. Without FILE it is the HAADF image of Se-doped MoS2,
data/stem/example_Se_implanted_MoS2.dm3, in the folder EXITWAVE_DATA or in ../shared, if it is there.

  --size N         side of the square that is cut from the middle (default 256)
  --missing F      fraction of pixels that are taken away at random, beside two bands of 5 lines (default 0.2)
  --electrons E    electrons a pixel at the brightest column of the phantom (default 12)
  --iterations N   the most iterations (default 600)
  --patience N     iterations without a smaller variance after which it stops (default 150)
  --rate R         learning rate (default 0.004)
  --seed S         seed of noise, mask and weights (default 1)
  --threads N      threads (default: all cores)
  --phantom        the phantom only
  --out DIR        where the PNG and the arrays (.npy) go (default out/deep_image_prior)

The last line printed is one JSON object.";

/// Channels of the network's input.
const CHANNELS: usize = 32;
/// The input is uniform in [0, 0.1), and perturbed by normal numbers of a thirtieth of that at every iteration. Stronger ones keep the
/// network from learning at first, when the variance is then small.
const PERTURBATION: f32 = 0.1 / 30.0;

/// How a fit is made.
struct Settings {
    iterations: usize,
    patience: usize,
    rate: f64,
    seed: u64,
    par: Par,
}

/// What is fitted: an image, its pixels that are known, and the truth if there is one.
struct Problem {
    title: &'static str,
    dims: [usize; 2],
    image: Vec<f32>,
    known: Vec<f32>,
    truth: Option<Vec<f32>>,
    pixel: Pixel,
}

/// What came out, and how.
struct Solution {
    image: Vec<f32>,
    iterations: usize,
    best_iteration: usize,
    loss: Vec<f64>,
    variance: Vec<f64>,
    /// PSNR of each iteration's image, where the truth is known.
    psnr: Vec<f64>,
    plan_bytes: u64,
    seconds: f64,
}

/// Fits the network to the known pixels.
fn fit(p: &Problem, s: &Settings) -> Result<Solution, Failure> {
    let begin = Instant::now();
    let [ny, nx] = p.dims;
    let pixels = ny * nx;

    // L = Σ m (f_θ(z) − b)² / N.
    let mut net = Net::<f32>::new(&s.par);
    let z = net.input("z", &[1, CHANNELS, ny, nx]);
    let b = net.input("b", &[1, 1, ny, nx]);
    let m = net.input("m", &[1, 1, ny, nx]);
    let y = deep_image_prior(&mut net, z, &DipParams::image())?;
    net.graph.output(y);
    let mse = PointLoss::new(&PointLossParams { dims: vec![1, 1, ny, nx], par: s.par.clone(), ..Default::default() })?;
    let loss = net.graph.call(Arc::new(mse), &[y, b, m])?;
    let weights = net.initial(s.seed)?;
    let plan = net.graph.plan(&[loss], PlanOptions { par: s.par.clone(), ..PlanOptions::default() })?;
    let mut session = Session::new(&plan)?;
    weights.store(&mut session)?;
    session.set(b, &p.image);
    session.set(m, &p.known);
    let start = session.params().to_vec();

    // The fixed input, and normal numbers for its perturbations: every iteration takes them from another place on.
    let words = CHANNELS * pixels;
    let mut r = rng::stream(s.seed, 1);
    let fixed: Vec<f32> = (0..words).map(|_| 0.1 * rng::uniform(&mut r) as f32).collect();
    let normal: Vec<f32> = (0..words + pixels).map(|_| rng::normal(&mut r) as f32).collect();

    let params = VarianceStopParams { patience: s.patience, ..VarianceStopParams::default() };
    let rule = RefCell::new(VarianceStop::new(pixels, params)?);
    let ended = Flag::new(false);
    let (variance, quality) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let mut objective = |x: &[f32], i: usize, g: &mut [f32]| {
        let at = rng::below(&mut rng::stream(s.seed, 2 + i as u64), pixels);
        let all = session.input(z).iter_mut().zip(&fixed).zip(&normal[at..]);
        all.for_each(|((z, f), n)| *z = f + PERTURBATION * n);
        let loss = session.evaluate(x, Mode::Train { step: i as u64 }, g)?;
        let image = session.value(y);
        let mut rule = rule.borrow_mut();
        ended.set(rule.observe(image).is_break());
        variance.borrow_mut().push(rule.variance());
        if let Some(truth) = &p.truth {
            quality.borrow_mut().push(psnr(truth, image, 1.0)?);
        }
        Ok(loss)
    };
    let adam = AdamStep { weight_decay: WeightDecay::Decoupled(0.01), ..AdamStep::default() };
    let params = MinimizeParams {
        method: Method::Adam(adam),
        schedule: Schedule { rate: s.rate, ..Schedule::default() },
        ..MinimizeParams::default()
    };
    let mut bar = progress(p.title);
    let mut observe = |step: &Step| match bar(step) {
        ControlFlow::Continue(()) if ended.get() => ControlFlow::Break(()),
        go_on => go_on,
    };
    let minimize = Minimize::new(plan.param_words(), params)?;
    let found = minimize.run(minimize.start(&start)?, s.iterations, &mut objective, &mut observe)?;
    drop(bar);
    let rule = rule.into_inner();
    Ok(Solution {
        image: rule.best().to_vec(),
        iterations: found.iterations,
        best_iteration: rule.best_iteration(),
        loss: found.state.loss,
        variance: variance.into_inner(),
        psnr: quality.into_inner(),
        plan_bytes: plan.bytes(),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// 1 where a pixel is known: all but a fraction, and but two bands of five scan lines.
fn mask([ny, nx]: [usize; 2], missing: f64, seed: u64) -> Vec<f32> {
    let mut r = rng::stream(seed, 3);
    let lost = |y: usize| [ny / 3, 3 * ny / 4].iter().any(|&first| (first..first + 5).contains(&y));
    (0..ny * nx)
        .map(|i| {
            let random = rng::uniform(&mut r) < missing;
            if random || lost(i / nx) { 0.0 } else { 1.0 }
        })
        .collect()
}

/// A sheet of MoS2 in projection, with selenium on some sulphur places and vacancies on others, above a weak uneven support; the brightest
/// column is 1. Columns scatter as Z^1.7.
fn phantom(n: usize, pixel: f64, seed: u64) -> Vec<f32> {
    const A: f64 = 3.16;
    const SIGMA: f64 = 0.5;
    let mut r = rng::stream(seed, 4);
    let z = |z: f64| (z / 42.0).powf(1.7);
    let (mo, s, se) = (z(42.0), z(16.0), z(34.0));
    let side = n as f64 * pixel;
    let mut image = vec![0.0f64; n * n];
    let mut column = |y: f64, x: f64, height: f64| {
        let (cy, cx, reach) = (y / pixel, x / pixel, 4.0 * SIGMA / pixel);
        for i in ((cy - reach).max(0.0) as usize)..((cy + reach).clamp(0.0, n as f64) as usize) {
            for j in ((cx - reach).max(0.0) as usize)..((cx + reach).clamp(0.0, n as f64) as usize) {
                let d2 = ((i as f64 - cy).powi(2) + (j as f64 - cx).powi(2)) * pixel * pixel;
                image[i * n + j] += height * (-0.5 * d2 / (SIGMA * SIGMA)).exp();
            }
        }
    };
    // Lattice vectors at an angle to the scan; two sulphurs above each other.
    let (sin, cos) = 0.2f64.sin_cos();
    let turn = |u: f64, v: f64| (cos * v + sin * u, cos * u - sin * v);
    let reach = (1.5 * side / A) as i32;
    for i in -reach..=reach {
        for j in -reach..=reach {
            let (u, v) = (A * (f64::from(i) + 0.5 * f64::from(j)), A * 0.75f64.sqrt() * f64::from(j));
            let (y, x) = turn(u, v);
            column(y, x, mo);
            let (y, x) = turn(u + 0.5 * A, v + 0.5 * A / 3f64.sqrt());
            let upper = rng::uniform(&mut r);
            let pair = if upper < 0.12 {
                s + se
            } else if upper < 0.2 {
                s
            } else {
                2.0 * s
            };
            column(y, x, pair);
        }
    }
    let support = |y: f64, x: f64| 0.12 + 0.06 * (0.11 * y + 1.0).sin() * (0.07 * x).cos();
    let with: Vec<f64> =
        (0..n * n).map(|i| image[i] + support((i / n) as f64 * pixel, (i % n) as f64 * pixel)).collect();
    let top = with.iter().fold(0.0f64, |m, v| m.max(*v));
    with.iter().map(|v| (v / top) as f32).collect()
}

/// The largest image of a file, cut to a square in its middle, from 0 to 1 between its percentiles 0.1 and 99.9.
fn measured(path: &Path, size: usize, missing: f64, seed: u64) -> Result<Problem, Failure> {
    let file = io::open(path)?;
    let images = file.sets().enumerate().filter(|(_, s)| s.dims.len() == 2);
    let (set, info) = images.max_by_key(|(_, s)| s.dims[0] * s.dims[1]).ok_or("no image in this file")?;
    let [ny, nx] = [info.dims[0], info.dims[1]];
    let n = size.min(ny).min(nx);
    let pixel = info.axes[1].length().map_or(Pixel::Unknown, Pixel::Length);
    let (y0, x0) = ((ny - n) / 2, (nx - n) / 2);
    let cut = file.read_part(set, &[y0..y0 + n, x0..x0 + n])?.into_real::<f32>()?.into_vec();
    let [low, high] = Range::Percentile { low: 0.1, high: 99.9 }.limits(&cut)?;
    let image = cut.iter().map(|v| ((f64::from(*v) - low) / (high - low)) as f32).collect();
    Ok(Problem { title: "measured image", dims: [n; 2], image, known: mask([n; 2], missing, seed), truth: None, pixel })
}

/// The image where it is known, 0 elsewhere.
fn shown(p: &Problem) -> Vec<f32> {
    p.image.iter().zip(&p.known).map(|(v, m)| v * m).collect()
}

/// Truth or measurement, what was fitted, the result, and the course of the fit.
fn draw(panel: &mut Panel, p: &Problem, s: &Solution) -> Result<(), Failure> {
    let (first, name) = match &p.truth {
        Some(truth) => (truth, "phantom"),
        None => (&p.image, "measured"),
    };
    for (title, data) in [(name, first), ("noisy, pixels missing", &shown(p)), ("deep image prior", &s.image)] {
        let mut cell = Image::real(&p.dims, data)?;
        (cell.title, cell.map, cell.pixel) = (title.into(), ColorMap::Grey, p.pixel);
        cell.range = Range::Fixed { min: 0.0, max: 1.0 };
        panel.add(Cell::Image(cell));
    }
    let x = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<f64>>();
    let series = |label: &str, y: &[f64], line: Line| Series {
        label: label.into(),
        x: x(y.len()),
        y: y.to_vec(),
        line,
        ..Series::default()
    };
    panel.add(Cell::Plot(Plot {
        title: p.title.into(),
        x_label: "iteration".into(),
        y_label: "per pixel".into(),
        y_scale: Scale::Log,
        series: vec![series("loss", &s.loss, Line::Solid), series("variance", &s.variance, Line::Dashed)],
        guides: vec![Guide { value: s.best_iteration as f64, axis: Axis::X, label: "answer".into() }],
        ..Plot::default()
    }));
    Ok(())
}

/// Writes an image as npy.
fn write(out: &Path, name: &str, p: &Problem, data: &[f32]) -> Result<(), Failure> {
    Ok(npy::write(out.join(name), &Tensor::from_vec(&p.dims, data.to_vec())?)?)
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let names = ["size", "missing", "electrons", "iterations", "patience", "rate", "seed", "threads", "out"];
    let options = Options::read(HELP, &names, &["phantom"])?;
    let (size, missing): (usize, f64) = (options.get("size", 256)?, options.get("missing", 0.2)?);
    let electrons: f64 = options.get("electrons", 12.0)?;
    let threads: usize = options.get("threads", 0)?;
    let settings = Settings {
        iterations: options.get("iterations", 600)?,
        patience: options.get("patience", 150)?,
        rate: options.get("rate", 0.004)?,
        seed: options.get("seed", 1)?,
        par: if threads == 0 { Par::default() } else { Par::threads(threads)? },
    };
    if size < 32 || !(0.0..1.0).contains(&missing) || electrons <= 0.0 || electrons.is_nan() {
        return Err("--size is at least 32, --missing in [0, 1), --electrons positive".into());
    }
    let out = options.out("out/deep_image_prior")?;
    let mut panel = Panel::new(4);

    // The phantom: electrons are counted.
    let pixel = 0.125;
    let truth = phantom(size, pixel, settings.seed);
    let mut r = rng::stream(settings.seed, 5);
    let counted = |t: &f32| (rng::poisson(&mut r, electrons * f64::from(*t)) / electrons) as f32;
    let p = Problem {
        title: "phantom",
        dims: [size; 2],
        image: truth.iter().map(counted).collect(),
        known: mask([size; 2], missing, settings.seed),
        truth: Some(truth.clone()),
        pixel: Pixel::Length(Length::angstrom(pixel)),
    };
    let s = fit(&p, &settings)?;
    draw(&mut panel, &p, &s)?;
    for (name, data) in [("truth.npy", &truth), ("noisy.npy", &shown(&p)), ("result.npy", &s.image)] {
        write(&out, name, &p, data)?;
    }
    // Of all pixels, and of those that were missing.
    let of = |which: f32, a: &[f32]| -> Vec<f32> {
        a.iter().zip(&p.known).filter(|(_, m)| **m == which).map(|(v, _)| *v).collect()
    };
    let similarity = |image: &[f32]| -> Result<f64, Failure> {
        Ok(ssim(&truth, image, p.dims, &SsimParams { data_range: 1.0, ..SsimParams::default() })?.mean)
    };
    let (noisy, found) = (psnr(&truth, &p.image, 1.0)?, psnr(&truth, &s.image, 1.0)?);
    let inpainted = psnr(&of(0.0, &truth), &of(0.0, &s.image), 1.0)?;
    let peak = s.psnr.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let (ssim_noisy, ssim_found) = (similarity(&p.image)?, similarity(&s.image)?);
    println!("\nphantom: PSNR {noisy:.2} dB → {found:.2} dB ({inpainted:.2} dB where pixels were missing),");
    println!("SSIM {ssim_noisy:.3} → {ssim_found:.3}; answer at iteration {} of {}", s.best_iteration, s.iterations);
    println!("the best single iteration, which only the truth can tell, has {peak:.2} dB");
    let mut line = serde_json::json!({
        "psnr_noisy_dB": noisy,
        "psnr_dB": found,
        "psnr_missing_dB": inpainted,
        "psnr_best_iteration_dB": peak,
        "ssim_noisy": ssim_noisy,
        "ssim": ssim_found,
        "best_iteration": s.best_iteration,
        "iterations": s.iterations,
        "plan_bytes": s.plan_bytes,
        "seconds_per_iteration": s.seconds / s.iterations.max(1) as f64,
    });

    // The measured image: the pixels that were taken away were measured, so that they can be held against the result.
    let folder = std::env::var_os("EXITWAVE_DATA").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let default = folder.join("data/stem/example_Se_implanted_MoS2.dm3");
    let file = options.free(0).map(PathBuf::from).or_else(|| default.exists().then_some(default));
    match file.filter(|_| !options.flag("phantom")) {
        Some(file) => {
            let p = measured(&file, size, missing, settings.seed)?;
            let s = fit(&p, &settings)?;
            draw(&mut panel, &p, &s)?;
            write(&out, "measured.npy", &p, &p.image)?;
            write(&out, "measured_noisy.npy", &p, &shown(&p))?;
            write(&out, "measured_result.npy", &p, &s.image)?;
            let weights: Vec<f64> = p.known.iter().map(|m| 1.0 - f64::from(*m)).collect();
            let held_out = pearson(&p.image, &s.image, Some(&weights))?;
            println!("\nmeasured: answer at iteration {} of {}", s.best_iteration, s.iterations);
            println!("correlation with the {} measured pixels that were held back: {held_out:.4}", of_zero(&p.known));
            line["measured"] = serde_json::json!({
                "file": file.file_name().map(|n| n.to_string_lossy().into_owned()),
                "held_back_correlation": held_out,
                "best_iteration": s.best_iteration,
                "iterations": s.iterations,
            });
        }
        None => println!("no measured image (give a FILE, or set EXITWAVE_DATA)"),
    }
    let png = out.join("deep_image_prior.png");
    panel.render()?.write_png(&png)?;
    line["seconds"] = start.elapsed().as_secs_f64().into();
    line["png"] = png.display().to_string().into();
    println!("{line}");
    Ok(())
}

/// How many pixels are not known.
fn of_zero(known: &[f32]) -> usize {
    known.iter().filter(|m| **m == 0.0).count()
}
