//! One iteration of ptychography: a 64 × 64 scan, 128 × 128 detector, one mode, `f32`, whole pixels, 2 threads.

#[path = "support/synthetic.rs"]
mod synthetic;
#[path = "support/timing.rs"]
mod timing;

use criterion::Criterion;
use exitwave::Error;
use exitwave::fft::Fft2;
use exitwave::num_complex::Complex;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::ptycho::{Algorithm, Loss, Patterns, Placement, PtychoParams, Ptychography, ZeroFrequency};
use exitwave::tensor::Tensor;

const SCAN: usize = 64;
const DETECTOR: usize = 128;
/// The same number of threads as the peers' scripts.
const THREADS: usize = 2;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;
    let scan = synthetic::Scan::new(SCAN, DETECTOR)?;
    let data = scan.patterns(&par)?;

    let epie = Algorithm::Epie { object_step: 0.5, probe_step: 0.5 };
    let descent = Algorithm::Descent { step: 0.5, regularization: 0.1, batch: 64, loss: Loss::Amplitude };
    let epie = iteration(&mut c, "epie sweep", epie, &scan, data.clone(), &par)?;
    let descent = iteration(&mut c, "descent iteration", descent, &scan, data, &par)?;
    let fft = transforms(&mut c, &par)?;

    c.final_summary();
    let ratio = |a: Option<f64>| Some(a? / fft?);
    timing::print_figures(&[
        ("epie_sweep_s", epie),
        ("descent_iteration_s", descent),
        ("fft_only_s", fft),
        ("epie_over_fft", ratio(epie)),
        ("descent_over_fft", ratio(descent)),
    ]);
    Ok(())
}

/// One iteration over all patterns, object and probe updated; each goes on where the last one ended.
fn iteration(
    c: &mut Criterion,
    name: &str,
    algorithm: Algorithm,
    scan: &synthetic::Scan,
    data: Tensor<f32>,
    par: &Par,
) -> Result<Option<f64>, Error> {
    let patterns = Patterns::from_tensor(data, ZeroFrequency::Center, None)?;
    let params = PtychoParams { algorithm, placement: Placement::Whole, par: par.clone(), ..PtychoParams::default() };
    let plan = Ptychography::new(patterns, scan.positions.clone(), params)?;
    let mut state = Some(plan.start(scan.probe.clone())?);
    Ok(timing::measure(
        c,
        name,
        &mut state,
        |_| (),
        |state| {
            let before = state.take().expect("the last iteration has left its state");
            *state = Some(plan.run(before, 1, &mut silent).expect("the start was checked").state);
        },
    ))
}

/// The transforms of such an iteration and nothing else: forward and back for each pattern, 2 · 64 · 64 in all, each
/// thread in its own two frames, which stay in the cache.
fn transforms(c: &mut Criterion, par: &Par) -> Result<Option<f64>, Error> {
    let fft = Fft2::<f32>::new([DETECTOR, DETECTOR])?;
    let scale = 1.0 / fft.len() as f32;
    let frame = || vec![Complex::new(1.0, -1.0); fft.len()];
    let buffers = || (frame(), frame(), vec![Complex::default(); fft.row_scratch_len()]);
    let mut threads: Vec<_> = (0..par.count()).map(|_| buffers()).collect();
    Ok(timing::measure(
        c,
        "fft only",
        &mut threads,
        |_| (),
        |threads| {
            par.for_each_with(SCAN * SCAN, threads, |_, (wave, spectrum, scratch)| {
                fft.forward_into_transposed(wave, spectrum, scratch);
                fft.inverse_from_transposed(spectrum, wave, scale, scratch);
            });
        },
    ))
}
