//! Phase retrieval by automatic differentiation: 512², 5 images, 100 Adam iterations, `f32`, 2 threads, no penalty; what
//! the peers' script does (its loss is the mean square of intensities, ours of amplitudes: the same transforms).

#[path = "support/timing.rs"]
mod timing;

use exitwave::Error;
use exitwave::fft::Fft2;
use exitwave::lorentz::{
    Descent, FreeSettings, ImageSetting, LorentzModel, LorentzParams, Precondition, Retrieval, RetrievalParams, Stage,
};
use exitwave::num_complex::Complex;
use exitwave::observe::silent;
use exitwave::optics::{Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::units::{Angle, Length};

const SIDE: usize = 512;
const ITERATIONS: usize = 100;
/// The same number of threads as the peers' scripts.
const THREADS: usize = 2;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;
    let setting = |um: f64| ImageSetting {
        defocus: Length::um(um),
        source_angle: SourceAngle::one_over_e(Angle::mrad(0.01)),
        ..ImageSetting::default()
    };
    let series = LorentzParams {
        grid: Grid { dims: [SIDE; 2], sampling: [Length::nm(2.0); 2] },
        images: [-400.0, -200.0, 0.0, 200.0, 400.0].map(setting).into(),
        par: par.clone(),
        ..LorentzParams::default()
    };
    let phase = smooth_phase()?;
    let ones = vec![1.0f32; phase.len()];
    let images = LorentzModel::<f32>::new(&series)?.images(&phase, &ones)?;
    let run = |descent, precondition| -> Result<Retrieval, Error> {
        Retrieval::new(RetrievalParams {
            series: series.clone(),
            descent,
            precondition,
            stages: vec![Stage { binning: 1, iterations: ITERATIONS, free: FreeSettings::NONE }],
            tolerance: 0.0,
            ..RetrievalParams::default()
        })
    };
    let adam = run(Descent::Adam { rate: 0.1 }, Precondition::None)?;
    let lbfgs = run(Descent::Lbfgs { pairs: 10 }, Precondition::default())?;
    let zero = vec![0.0f32; phase.len()];
    let mut time = |name: &str, plan: &Retrieval| {
        timing::measure(
            &mut c,
            name,
            &mut (),
            |()| (),
            |()| {
                plan.run(&images, &zero, &ones, None, &mut silent).expect("the series was checked");
            },
        )
    };
    let adam_s = time("adam 100 iterations", &adam);
    let lbfgs_s = time("lbfgs 100 iterations", &lbfgs);
    let fft_s = transforms(&mut c, &par)?;
    c.final_summary();
    timing::print_figures(&[
        ("adam_100_s", adam_s),
        ("lbfgs_100_s", lbfgs_s),
        ("fft_only_s", fft_s),
        ("workspace_bytes", Some(adam.workspace_bytes::<f32>() as f64)),
    ]);
    Ok(())
}

/// White noise under a Gaussian band limit of 0.01 cycles a pixel, of standard deviation 1.
fn smooth_phase() -> Result<Vec<f32>, Error> {
    let mut r = rng::stream(0, 0);
    let mut f: Vec<_> = (0..SIDE * SIDE).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
    let fft = Fft2::<f64>::new([SIDE; 2])?;
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(&mut f, &mut scratch);
    let k = exitwave::fft::frequencies(SIDE, 1.0);
    for (i, z) in f.iter_mut().enumerate() {
        *z *= (-(k[i / SIDE].powi(2) + k[i % SIDE].powi(2)) / 2e-4).exp();
    }
    fft.inverse(&mut f, &mut scratch);
    let rms = (f.iter().map(|z| z.re * z.re).sum::<f64>() / f.len() as f64).sqrt();
    Ok(f.iter().map(|z| (z.re / rms) as f32).collect())
}

/// The transforms of such a run and nothing else: 2 · 5 + 2 an iteration.
fn transforms(c: &mut criterion::Criterion, par: &Par) -> Result<Option<f64>, Error> {
    let fft = Fft2::<f32>::new([SIDE; 2])?;
    let scale = 1.0 / fft.len() as f32;
    let frame = || vec![Complex::new(1.0, -1.0); fft.len()];
    let mut threads: Vec<_> =
        (0..par.count()).map(|_| (frame(), frame(), vec![Complex::default(); fft.row_scratch_len()])).collect();
    Ok(timing::measure(
        c,
        "fft only",
        &mut threads,
        |_| (),
        |threads| {
            par.for_each_with(6 * ITERATIONS, threads, |_, (wave, spectrum, scratch)| {
                fft.forward_into_transposed(wave, spectrum, scratch);
                fft.inverse_from_transposed(spectrum, wave, scale, scratch);
            });
        },
    ))
}
