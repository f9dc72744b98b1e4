//! The same electrons on two cameras: a counting camera beside a scintillator with a CCD, at equal dose.
//!
//! A high-resolution image of a metal–organic framework arrives at both. The counting camera finds most electrons, each in a pixel of
//! its own; the scintillator spreads the light of each over its neighbours and adds readout noise. The pictures, their spectra, the detective quantum
//! efficiencies, and how far each recorded image agrees with the one that arrived.

mod support;
#[path = "support/uio66.rs"]
mod uio66;

use std::time::Instant;

use exitwave::detect::{Camera, CameraParams, Transfer};
use exitwave::fft::{RealFft2, fft_shift, fourier_resample, frequency_index};
use exitwave::io::npy;
use exitwave::metrics::{FrcParams, Resolution, RingCorrelation, Threshold, pearson};
use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::num_complex::Complex;
use exitwave::optics::{Aberrations, Aperture, CtfParams, FocalSpread, Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Line, Panel, Pixel, Plot, Range, Series};
use exitwave::specimen::{PotentialParams, PotentialPlan, Slicing};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Length};
use support::{Failure, Options};
use uio66::{DEEP, ENERGY, cell};

const HELP: &str = "\
camera: an image of UiO-66 [110] on a counting camera and on a scintillator with a CCD, at equal dose

  --dose D         electrons per Å² (default 20)
  --defocus-nm F   underfocus (default 40)
  --frames N       exposures of each, for the noise power (default 64)
  --seed S         seed of the counts (default 1)
  --threads N      threads (default: all cores)
  --out DIR        where the PNG and the arrays (.npy) go (default out/camera)

Reflections count where their power is ten times that of the noise, which one in 20000 is by chance. FRC resolutions are those at 1/2 of the ring correlation of one exposure with the image that arrived; null where no ring reaches it.
The last line printed is one JSON object.";

/// Pixels of the image that is simulated, over 6 × 4 cells of 14.6 × 20.7 Å; the cameras' pixels are twice as large, about 0.49 Å.
const FINE: [usize; 2] = [360, 336];
const PIXELS: [usize; 2] = [180, 168];

/// x and y.
type Curve = (Vec<f64>, Vec<f64>);

/// What a camera recorded.
struct Recorded {
    name: &'static str,
    camera: Camera<f64>,
    params: CameraParams,
    /// One exposure, in electrons.
    image: Vec<f64>,
    /// Noise power of flat exposures in rings, over that of perfect counting.
    noise: Vec<f64>,
    frc: Option<f64>,
    /// Reflections of the crystal that stand out of the noise, and the spacing of the finest, Å.
    reflections: (usize, f64),
    curve: Curve,
    correlation: f64,
}

/// The cameras: curves of the kind that are measured at 300 kV, not those of a product.
fn cameras(par: &Par) -> [(&'static str, CameraParams); 2] {
    let counting = CameraParams {
        mtf: Transfer::Measured(vec![(0.0, 1.0), (0.25, 0.96), (0.5, 0.87), (0.75, 0.74), (1.0, 0.58)]),
        nps: Transfer::Flat,
        dqe0: 0.85,
        par: par.clone(),
        ..CameraParams::default()
    };
    let light = Transfer::Lorentzian { c0: 1.0, c1: 0.06, c2: 0.06, c3: 1.6 };
    // Light spreads signal and noise alike; a part of the noise, that of electrons that scatter back, stays white.
    let nps = (0..=20).map(|i| f64::from(i) * 0.075).map(|nu| (nu, 0.9 * light.at([nu, 0.0]).powi(2) + 0.1)).collect();
    let scintillator = CameraParams {
        mtf: light,
        nps: Transfer::Measured(nps),
        dqe0: 0.5,
        gain: 8.0,
        readout_noise: 6.0,
        par: par.clone(),
    };
    [("counting", counting), ("scintillator", scintillator)]
}

/// The image that arrives, of mean 1, on the cameras' pixels.
fn arriving(defocus: Length, pixel: [Length; 2], par: &Par) -> Result<Vec<f64>, Failure> {
    let crystal = cell()?.repeated([4, 6, DEEP])?;
    let grid = Grid { dims: FINE, sampling: pixel.map(|p| p * 0.5) };
    let slicing = Slicing::Thickness(Length::angstrom(2.0));
    let potential = PotentialParams { grid, slicing, par: par.clone(), ..Default::default() };
    let v = PotentialPlan::<f64>::new(&crystal, &potential)?.build()?;
    let thickness = v.thickness.clone();
    let multislice =
        Multislice::new(&MultisliceParams { energy: ENERGY, grid, thickness, par: par.clone(), ..Default::default() })?;
    let wave = multislice.exit_waves(&multislice.transmission(&v)?, &multislice.plane_waves(1)?)?;
    let mut aberrations = Aberrations::from_defocus(defocus);
    aberrations.set_cs(Length::um(5.0));
    let ctf = CtfParams {
        energy: ENERGY,
        aberrations,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(18.0) },
        focal_spread: FocalSpread::rms(Length::nm(3.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.1)),
        ..Default::default()
    };
    let image = HrtemImage::<f64>::new(&ctf, grid, Averaging::Envelope, par.clone())?.images(&wave)?;
    let image = fourier_resample(image.as_slice(), FINE, PIXELS)?;
    let mean = image.iter().sum::<f64>() / image.len() as f64;
    Ok(image.iter().map(|v| (v / mean).max(0.0)).collect())
}

/// Power of a stack's spectra in rings of 1/20 of Nyquist, without the mean.
fn ring_power(stack: &Tensor<f64>) -> Result<Vec<f64>, Failure> {
    let [ny, nx] = PIXELS;
    let fft = RealFft2::<f64>::new(PIXELS)?;
    let half = nx / 2 + 1;
    let mut spectrum = vec![Complex::default(); ny * half];
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    let (mut power, mut count) = (vec![0.0; 20], vec![0.0; 20]);
    for image in stack.as_slice().chunks(ny * nx) {
        fft.forward(&mut image.to_vec(), &mut spectrum, &mut scratch);
        for (i, z) in spectrum.iter().enumerate().skip(1) {
            let nu = [frequency_index(i / half, ny) as f64 / ny as f64, (i % half) as f64 / nx as f64].map(|k| 2.0 * k);
            let ring = (nu[0].hypot(nu[1]) * 20.0) as usize;
            if ring < 20 {
                power[ring] += z.norm_sqr() / (ny * nx) as f64;
                count[ring] += 1.0;
            }
        }
    }
    Ok(power.iter().zip(&count).map(|(p, n)| p / f64::max(*n, 1.0)).collect())
}

/// How many reflections of the crystal have ten times the power of the noise around them, and the finest spacing.
fn reflections(image: &[f64], noise: &[f64], electrons: f64, pixel: [Length; 2]) -> Result<(usize, f64), Failure> {
    let [ny, nx] = PIXELS;
    let fft = RealFft2::<f64>::new(PIXELS)?;
    let half = nx / 2 + 1;
    let mut spectrum = vec![Complex::default(); ny * half];
    fft.forward(&mut image.to_vec(), &mut spectrum, &mut vec![Complex::default(); fft.scratch_len()]);
    let (mut found, mut finest) = (0, f64::INFINITY);
    for (i, z) in spectrum.iter().enumerate().skip(1) {
        let h = [frequency_index(i / half, ny), (i % half) as isize];
        let nu = [0, 1].map(|a| 2.0 * h[a] as f64 / PIXELS[a] as f64);
        let ring = (nu[0].hypot(nu[1]) * 20.0) as usize;
        // Six cells along y and four along x; half of the spectrum stands for both.
        let lattice = h[0] % 6 == 0 && h[1] % 4 == 0 && (h[1] > 0 || h[0] > 0);
        if lattice && ring < 20 && z.norm_sqr() / (ny * nx) as f64 > 10.0 * noise[ring] * electrons {
            let k = [0, 1].map(|a| h[a] as f64 / (PIXELS[a] as f64 * pixel[a].to_angstrom()));
            (found, finest) = (found + 1, finest.min(1.0 / k[0].hypot(k[1])));
        }
    }
    Ok((found, finest))
}

fn main() -> Result<(), Failure> {
    let start = Instant::now();
    let options = Options::read(HELP, &["dose", "defocus-nm", "frames", "seed", "threads", "out"], &[])?;
    let dose = Dose::per_angstrom2(options.get("dose", 20.0)?);
    let defocus = Length::nm(options.get("defocus-nm", 40.0)?);
    let (frames, seed, threads): (usize, u64, usize) =
        (options.get("frames", 64)?, options.get("seed", 1)?, options.get("threads", 0)?);
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    if frames == 0 {
        return Err("at least one exposure".into());
    }
    let out = options.out("out/camera")?;

    let [_, y, x] = cell()?.edges()?;
    let pixel = [y * 6.0 / PIXELS[0] as f64, x * 4.0 / PIXELS[1] as f64];
    let ideal = arriving(defocus, pixel, &par)?;
    let electrons = dose * (pixel[0] * pixel[1]);
    let dims = [frames, PIXELS[0], PIXELS[1]];

    // Each camera sees the same image, and a flat one.
    let expected = Tensor::from_vec(&[1, PIXELS[0], PIXELS[1]], ideal.iter().map(|v| v * electrons).collect())?;
    let flat = Tensor::full(&dims, electrons);
    let mut all = Vec::new();
    for (name, params) in cameras(&par) {
        let camera = Camera::<f64>::new(PIXELS, &params)?;
        let back = 1.0 / (params.gain * params.dqe0);
        let image: Vec<f64> = camera.record(&expected, seed)?.as_slice().iter().map(|v| v * back).collect();
        // Perfect counting of n electrons a pixel has the power n.
        let noise: Vec<f64> =
            ring_power(&camera.record(&flat, seed + 1)?)?.iter().map(|p| p * back * back / electrons).collect();
        let frc = RingCorrelation::new(PIXELS, FrcParams { pixel, ..FrcParams::default() })?.real(&ideal, &image)?;
        let resolution = match frc.resolution(Threshold::Half) {
            Resolution::At(d) | Resolution::BetterThan(d) => Some(d.to_angstrom()),
            Resolution::NotReached => None,
        };
        let reflections = reflections(&image, &noise, electrons, pixel)?;
        let correlation = pearson(&ideal, &image, None)?;
        npy::write(out.join(format!("{name}.npy")), &Tensor::from_vec(&PIXELS, image.clone())?)?;
        let k = frc.frequency.iter().map(|k| k.to_per_angstrom()).collect();
        all.push(Recorded {
            name,
            camera,
            params,
            image,
            noise,
            frc: resolution,
            reflections,
            curve: (k, frc.correlation),
            correlation,
        });
    }
    npy::write(out.join("expected.npy"), &Tensor::from_vec(&PIXELS, ideal.clone())?)?;

    // Images above their spectra, then the curves.
    let mut panel = Panel::new(3);
    panel.cell = [220, 220];
    panel.title = format!("UiO-66 [110], {} e/Å², {:.1} electrons a pixel", dose.to_per_angstrom2(), electrons);
    let picture = |data: &[f64], title: String| -> Result<Cell, Failure> {
        let mut image = Image::real(&PIXELS, data)?;
        (image.title, image.map, image.pixel) = (title, ColorMap::Grey, Pixel::Length(pixel[0]));
        image.range = Range::Percentile { low: 0.5, high: 99.5 };
        Ok(Cell::Image(image))
    };
    let spectrum = |data: &[f64]| -> Result<Cell, Failure> {
        let fft = exitwave::fft::Fft2::<f64>::new(PIXELS)?;
        let mean = data.iter().sum::<f64>() / data.len() as f64;
        let mut z: Vec<Complex<f64>> = data.iter().map(|v| Complex::new(v - mean, 0.0)).collect();
        fft.forward(&mut z, &mut vec![Complex::default(); fft.scratch_len()]);
        let power: Vec<f64> = z.iter().map(|z| (1.0 + z.norm()).ln()).collect();
        let mut centred = vec![0.0; power.len()];
        fft_shift(&PIXELS, &power, &mut centred);
        let mut image = Image::real(&PIXELS, &centred)?;
        (image.title, image.pixel) = ("log amplitude".into(), Pixel::Frequency(1.0 / (pixel[0] * PIXELS[0] as f64)));
        image.map = ColorMap::Viridis;
        Ok(Cell::Image(image))
    };
    panel.add(picture(&ideal, "what arrives".into())?);
    for r in &all {
        panel.add(picture(&r.image, format!("{}: {} reflections", r.name, r.reflections.0))?);
    }
    panel.add(spectrum(&ideal)?);
    for r in &all {
        panel.add(spectrum(&r.image)?);
    }
    let rings: Vec<f64> = (0..20).map(|i| (f64::from(i) + 0.5) / 20.0).collect();
    let line = |i: usize| if i == 0 { Line::Solid } else { Line::Dashed };
    let mut plot = |title: &str, x_label: &str, of: &dyn Fn(&Recorded) -> Curve| {
        let series = all.iter().enumerate().map(|(i, r)| {
            let (x, y) = of(r);
            Series { label: r.name.into(), x, y, line: line(i), ..Series::default() }
        });
        let series = series.collect();
        panel.add(Cell::Plot(Plot {
            title: title.into(),
            x_label: x_label.into(),
            y_range: Some([-0.05, 1.05]),
            series,
            ..Plot::default()
        }));
    };
    // At this dose readout noise counts too: what a perfect camera would need for the same ratio of signal to noise.
    let dqe = |r: &Recorded| -> Vec<f64> {
        rings.iter().zip(&r.noise).map(|(&nu, n)| r.params.mtf.at([0.0, nu]).powi(2) / n).collect()
    };
    plot("DQE at this dose, measured", "frequency/Nyquist", &|r| (rings.clone(), dqe(r)));
    plot("DQE of the counting statistics, model", "frequency/Nyquist", &|r| {
        (rings.clone(), rings.iter().map(|&nu| r.camera.dqe([0.0, nu])).collect())
    });
    plot("FRC with what arrives", "k (1/Å)", &|r| r.curve.clone());
    let png = out.join("camera.png");
    panel.render()?.write_png(&png)?;

    let of = |f: &dyn Fn(&Recorded) -> serde_json::Value| -> serde_json::Value {
        all.iter().map(|r| (r.name.to_string(), f(r))).collect::<serde_json::Map<_, _>>().into()
    };
    let line = serde_json::json!({
        "dose_e_per_A2": dose.to_per_angstrom2(),
        "electrons_per_pixel": electrons,
        "pixel_A": pixel[0].to_angstrom(),
        "frc_A": of(&|r| r.frc.into()),
        "reflections": of(&|r| r.reflections.0.into()),
        "finest_reflection_A": of(&|r| r.reflections.1.into()),
        "correlation": of(&|r| r.correlation.into()),
        "dqe_model_0": of(&|r| r.camera.dqe([0.0; 2]).into()),
        "dqe_model_nyquist": of(&|r| r.camera.dqe([0.0, 1.0]).into()),
        "dqe_measured": of(&|r| dqe(r).into()),
        "seconds": start.elapsed().as_secs_f64(),
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
