//! Drift of low-dose series: 40 frames of 512² of a crystal by the amplitude filter, and their aligned sum; with `EXITWAVE_BENCH_FULL=1` 120 frames of 2048² at 0.033 electrons a pixel.

#[path = "../tests/support/drifting_crystal.rs"]
mod drifting_crystal;
#[path = "support/timing.rs"]
mod timing;

use drifting_crystal::{Crystal, Scene, drift};
use exitwave::Error;
use exitwave::hrtem::{AlignedSumParams, DriftParams, align_frames, aligned_sum};
use exitwave::observe::silent;
use exitwave::par::Par;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let par = Par::threads(2)?;
    let mut figures = Vec::new();
    let mut sizes = vec![(512, 40, 0.5, ["drift_512_40", "aligned_sum_512_40"])];
    if std::env::var("EXITWAVE_BENCH_FULL").is_ok_and(|v| v == "1") {
        sizes.push((2048, 120, 0.033, ["drift_2048_120", "aligned_sum_2048_120"]));
    }
    for (side, n, electrons, names) in sizes {
        let crystal = Crystal::framework([side; 2], 0.05, Scene::Infinite);
        let track = drift(n, 30.0, 3, 1);
        let frames = crystal.frames(&track, electrons, 1, &par)?;
        let params = DriftParams { par: par.clone(), ..DriftParams::default() };
        let sums = AlignedSumParams { par: par.clone(), ..AlignedSumParams::default() };
        let align = |(): &mut ()| {
            align_frames(&frames, &params, &mut silent).expect("a valid series");
        };
        figures.push((names[0], timing::measure(&mut c, names[0], &mut (), |()| (), align)));
        let sum = |(): &mut ()| {
            aligned_sum(&frames, &track, &sums).expect("a valid series");
        };
        figures.push((names[1], timing::measure(&mut c, names[1], &mut (), |()| (), sum)));
    }
    c.final_summary();
    timing::print_figures(&figures);
    Ok(())
}
