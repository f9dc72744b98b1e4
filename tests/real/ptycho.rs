//! Ptychography of a measured Siemens star (X-rays, real counts).

use exitwave::io::npz::Npz;
use exitwave::observe::silent;
use exitwave::ptycho::*;
use exitwave::tensor::Tensor;
use exitwave::units::Length;

use crate::support::data;

/// The running residual of each of `sweeps` sweeps of ePIE with sub-pixel positions.
fn residuals(sweeps: usize, step: f64, modes: usize, refine: Option<Refinement>) -> Option<Vec<f64>> {
    let file = Npz::open(data("data/ptychography/siemens_star_small.npz")?).unwrap();
    let patterns = file.get("data_u16").unwrap().into_real::<f32>().unwrap();
    let scan = file.get("scan_px").unwrap().into_real::<f64>().unwrap();
    let probe = file.get("probe").unwrap().into_complex::<f32>().unwrap();
    let a = Length::angstrom(1.0);
    let scan: Vec<[Length; 2]> = scan.as_slice().chunks(2).map(|p| [a * p[0], a * p[1]]).collect();
    let positions = Positions::new(&scan, [a, a], [128, 128], if refine.is_some() { 8 } else { 0 }).unwrap();
    let patterns = Patterns::from_tensor(patterns, ZeroFrequency::Corner, None).unwrap();
    // The probe's intensity for an unnormalised transform, from the data's own description.
    let scale = (461213.0f32 / 849136.0).sqrt();
    let probe = Tensor::from_vec(&[128, 128], probe.as_slice().iter().map(|z| z * scale).collect()).unwrap();
    let params = PtychoParams {
        algorithm: Algorithm::Epie { object_step: step, probe_step: step },
        refine,
        ..PtychoParams::default()
    };
    let plan = Ptychography::new(patterns, positions, params).unwrap();
    let mut state = plan.start(probe.clone()).unwrap();
    state.probe = extend_modes(&probe, modes, 0.02).unwrap();
    Some(plan.run(state, sweeps, &mut silent).unwrap().state.loss)
}

#[test]
fn the_star_reaches_the_residual_of_plain_epie() {
    // β = 0.2; another implementation of the same iteration gave 0.0131 after 20 sweeps.
    let Some(single) = residuals(20, 0.2, 1, None) else { return };
    assert!(single[19] <= 0.0135, "{}", single[19]);
    assert!(single.windows(2).skip(2).all(|w| w[1] < w[0] * 1.01), "{single:?}");
}

#[test]
fn incoherent_modes_and_refined_positions_explain_more_of_the_star() {
    let Some(single) = residuals(12, 0.2, 1, None) else { return };
    let modes = residuals(12, 0.2, 2, None).unwrap();
    let refined = residuals(12, 0.2, 1, Some(Refinement { from: 4, ..Refinement::default() })).unwrap();
    println!("single {:.5}, two modes {:.5}, refined {:.5}", single[11], modes[11], refined[11]);
    assert!(modes[11] < single[11] && refined[11] < single[11], "{} {} {}", single[11], modes[11], refined[11]);
}
