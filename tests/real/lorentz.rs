//! `lorentz`: the published design object, and the Fe-needle hologram.

use exitwave::lorentz::{
    Hologram, HologramParams, ImageSetting, LorentzModel, LorentzParams, Noise, Precondition, Regularizer, Retrieval,
    RetrievalParams, add_noise,
};
use exitwave::metrics::{Plane, normalised_correlation};
use exitwave::observe::silent;
use exitwave::optics::{FocalSpread, Grid, SourceAngle};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Length};

use crate::support::data;

fn image(name: &str) -> Option<Tensor<f32>> {
    let t = exitwave::io::open(data(name)?).unwrap().read(0).unwrap().into_real::<f32>().unwrap();
    let d = t.dims().to_vec();
    Some(t.reshape(&d[d.len() - 2..]).unwrap())
}

/// Two images at ±1.6 mm with 10 % noise (METHODS 1.1): published 0.979.
#[test]
fn the_design_phase_comes_back_from_two_noisy_images() {
    let (Some(phase), Some(amplitude)) =
        (image("data/lorentz/design_tphi.tiff"), image("data/lorentz/design_amp.tiff"))
    else {
        return;
    };
    let setting = |mm: f64| ImageSetting {
        defocus: Length::mm(mm),
        cs: Length::mm(1.0),
        source_angle: SourceAngle::one_over_e(Angle::mrad(0.01)),
        focal_spread: FocalSpread::rms(Length::nm(500.0)),
        ..ImageSetting::default()
    };
    let grid = Grid { dims: [512, 512], sampling: [Length::nm(5.0); 2] };
    let series = LorentzParams { grid, images: vec![setting(-1.6), setting(1.6)], ..LorentzParams::default() };
    let mut images = LorentzModel::<f32>::new(&series).unwrap().images(phase.as_slice(), amplitude.as_slice()).unwrap();
    add_noise(&mut images, Noise::AmplitudePercent(10.0), 1, &series.par).unwrap();
    let plan = Retrieval::new(RetrievalParams {
        series,
        regularizer: Regularizer::TotalVariation { weight: 1.6e-3, smoothing: 0.02 },
        precondition: Precondition::default(),
        ..RetrievalParams::default()
    })
    .unwrap();
    let start = vec![0.0; phase.len()];
    let found = plan.run(&images, &start, amplitude.as_slice(), None, &mut silent).unwrap();
    let c = normalised_correlation(phase.as_slice(), found.phase.as_slice()).unwrap();
    println!("accuracy {c:.4} in {} iterations", found.iterations);
    assert!(c > 0.985, "{c}");
}

#[test]
fn the_needle_has_the_fringes_stated_and_a_smooth_phase_around_it() {
    let (Some(reference), Some(hologram)) = (
        image("data/holography/00_ref_Vbp_130V_0V_bin2_crop.hdf5"),
        image("data/holography/01_holo_Vbp_130V_0V_bin2_crop.hdf5"),
    ) else {
        return;
    };
    let dims = [hologram.dims()[0], hologram.dims()[1]];
    let plan = Hologram::<f32>::new(dims, HologramParams::default()).unwrap();
    let found = plan.reconstruct(&hologram, Some(&reference)).unwrap();
    let (period, azimuth) = found.fringes();
    println!("{period:.4} px at {azimuth:.3}°");
    // Stated: 3.776 px at 115.53°.
    assert!((period - 3.776).abs() < 2e-3 && (azimuth - 115.53).abs() < 0.05, "{period} {azimuth}");

    // In the vacuum below the needle the phase is a plane and a gentle bend: neighbours differ by little.
    let (y0, x0, side) = (dims[0] * 3 / 4, dims[1] / 4, dims[0] / 6);
    let patch: Vec<f32> = (0..side * side).map(|i| found.phase[[y0 + i / side, x0 + i % side]]).collect();
    let plane = Plane::fit(&patch, [side, side], None).unwrap();
    let rms = patch
        .iter()
        .enumerate()
        .map(|(i, p)| (f64::from(*p) - plane.at(i / side, i % side, [side, side])).powi(2))
        .sum::<f64>();
    let rms = (rms / patch.len() as f64).sqrt();
    println!("vacuum: {rms:.3} rad about a plane");
    assert!(rms < 0.35, "{rms}");
}
