//! How much memory a ptychographic reconstruction takes: makes a 4D-STEM scan, reconstructs it, and prints the peak of
//! the process.
//!
//! Patterns are written frame by frame into one tensor, which the reconstruction takes over, so that the data exist
//! once.

#[allow(dead_code)] // The other examples write files.
mod support;
#[path = "../benches/support/synthetic.rs"]
mod synthetic;

use exitwave::par::Par;
use exitwave::ptycho::{Algorithm, Patterns, Placement, PtychoParams, Ptychography, ZeroFrequency};

use support::{Failure, Options, peak_bytes, progress};

const HELP: &str = "\
Prints the peak memory of a ptychographic reconstruction (ePIE, f32) as one JSON object.

  --scan N        scan positions a side (64)
  --detector N    detector pixels a side (128)
  --sweeps N      ePIE sweeps (2)
  --threads N     threads (2)
  --subpixel      move the probe by fractions of a pixel (default: whole pixels)
  --help          this text";

fn main() -> Result<(), Failure> {
    let options = Options::read(HELP, &["scan", "detector", "sweeps", "threads"], &["subpixel"])?;
    let (scan, detector) = (options.get("scan", 64)?, options.get("detector", 128)?);
    let (sweeps, threads) = (options.get("sweeps", 2)?, options.get("threads", 2)?);
    let placement = if options.flag("subpixel") { Placement::Subpixel } else { Placement::Whole };

    let par = Par::threads(threads)?;
    let scan = synthetic::Scan::new(scan, detector)?;
    let data = scan.patterns(&par)?;
    let data_bytes = size_of_val(data.as_slice()) as u64;
    let object_bytes = size_of_val(scan.object.as_slice()) as u64;

    let patterns = Patterns::from_tensor(data, ZeroFrequency::Center, None)?;
    let algorithm = Algorithm::Epie { object_step: 0.5, probe_step: 0.5 };
    let params = PtychoParams { algorithm, placement, par, ..PtychoParams::default() };
    let plan = Ptychography::new(patterns, scan.positions, params)?;
    let outcome = plan.run(plan.start(scan.probe)?, sweeps, &mut progress("ePIE"))?;

    let peak = peak_bytes();
    let ratio = peak.map(|p| p as f64 / (data_bytes + 4 * object_bytes) as f64);
    let null = || "null".to_string();
    println!(
        "{{\"peak_bytes\": {}, \"data_bytes\": {data_bytes}, \"object_bytes\": {object_bytes}, \"ratio_to_data_and_4_objects\": {}, \
         \"planned_bytes\": {}, \"residual\": {:?}}}",
        peak.map_or_else(null, |p| p.to_string()),
        ratio.map_or_else(null, |r| format!("{r:.4}")),
        plan.workspace_bytes(1),
        outcome.state.loss,
    );
    Ok(())
}
