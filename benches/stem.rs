//! One pass over a 4D-STEM data set in memory: centre of mass and four virtual detectors; a 64 × 64 scan, 128 × 128
//! detector, `f32`, 2 threads.

#[path = "support/synthetic.rs"]
mod synthetic;
#[path = "support/timing.rs"]
mod timing;

use std::sync::Arc;

use exitwave::Error;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::stem::{Calibration, DataSet, Detector, Pass, PassParams, Pixel};
use exitwave::units::{Angle, Energy, Length};

const SCAN: usize = 64;
const DETECTOR: usize = 128;
const THREADS: usize = 2;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;
    let data = synthetic::Scan::new(SCAN, DETECTOR)?.patterns(&par)?.reshape(&[SCAN, SCAN, DETECTOR, DETECTOR])?;
    let step = [Length::angstrom(0.5); 2];
    let k = 1.0 / Length::angstrom(25.6);
    let data = DataSet::new(Arc::new(data), Calibration::new(step, Pixel::Frequency([k; 2]), Energy::kev(80.0)))?;
    let mrad = Angle::mrad;
    let detectors = vec![
        Detector::Disk { outer: mrad(21.4) },
        Detector::Annulus { inner: mrad(10.7), outer: mrad(21.4) },
        Detector::Annulus { inner: mrad(30.0), outer: mrad(90.0) },
        Detector::Segments { inner: Angle::ZERO, outer: mrad(21.4), segments: 4, rotation: Angle::ZERO },
    ];
    let pass = Pass::new(&data, PassParams { detectors, par, ..PassParams::default() })?;

    let seconds = timing::measure(
        &mut c,
        "pass",
        &mut (),
        |_| (),
        |_| {
            std::hint::black_box(pass.run(&mut silent).expect("the data were checked"));
        },
    );
    c.final_summary();
    let bytes = (SCAN * SCAN * DETECTOR * DETECTOR * size_of::<f32>()) as f64;
    timing::print_figures(&[("pass_s", seconds), ("gigabytes_per_s", seconds.map(|s| 1e-9 * bytes / s))]);
    Ok(())
}
