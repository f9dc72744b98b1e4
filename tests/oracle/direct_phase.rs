//! Parallax of a synthetic weak-phase set, against another program's numbers.

use std::sync::Arc;

use exitwave::io::npy;
use exitwave::observe::silent;
use exitwave::optics::Aberration;
use exitwave::stem::{
    Border, Calibration, DataSet, ParallaxFit, ParallaxParams, Pixel, ScanSpectrum, ScanSpectrumParams, parallax,
};
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};

use crate::support::data;

#[test]
fn parallax_is_the_oracles_in_shifts_defocus_and_image() {
    let (Some(path), Some(recon), Some(shifts), Some(pixels)) = (
        data("oracle/py4dstem/parallax_synth__data.npy"),
        data("oracle/py4dstem/parallax_synth__recon_BF.npy"),
        data("oracle/py4dstem/parallax_synth__shifts_px.npy"),
        data("oracle/py4dstem/parallax_synth__bf_inds.npy"),
    ) else {
        return;
    };
    // Detector pixel j has its centre at k = (6 (j − 12) − 0.5)/96 Å⁻¹; x is our y throughout.
    let mut calibration = Calibration::new(
        [Length::angstrom(2.0); 2],
        Pixel::Frequency([SpatialFrequency::per_angstrom(0.0625); 2]),
        Energy::kev(200.0),
    );
    calibration.centre = Some([12.0 + 0.5 / 6.0; 2]);
    let set = DataSet::new(Arc::new(npy::read(path).unwrap().into_real::<f32>().unwrap()), calibration).unwrap();
    let semi_angle = Angle::mrad(15.0);
    let spectrum = |border| {
        let params = ScanSpectrumParams { reach: Some(semi_angle * 1.1), border, ..Default::default() };
        ScanSpectrum::new(&set, &params, &mut silent).unwrap()
    };
    // The set is periodic; the other program pads it by its mean all the same.
    let g = spectrum(Border::Periodic);
    let params = ParallaxParams {
        semi_angle,
        fit: ParallaxFit::Astigmatism { defocus_range: Length::nm(300.0) },
        ..Default::default()
    };
    let found = parallax(&g, &params, &mut silent).unwrap();
    let c = found.aberrations.to_cartesian();
    let c10 = c[Aberration::C10].a.to_angstrom();
    println!(
        "C10 {c10:.2} Å, C12 {:?}, {:?}, rotation {}, {} rounds",
        c[Aberration::C12].a,
        c[Aberration::C12].b,
        found.rotation,
        found.iterations
    );
    // The truth is 1500 Å; the other program finds 1512.
    assert!((c10 - 1500.0).abs() < 15.0, "{c10}");

    // Its shifts are those to apply, in scan pixels, of its own choice of pixels.
    let (shifts, pixels) = (
        npy::read(shifts).unwrap().into_real::<f64>().unwrap(),
        npy::read(pixels).unwrap().into_real::<f64>().unwrap(),
    );
    let (mut sum, mut n) = (0.0, 0);
    for (i, p) in pixels.as_slice().chunks(2).enumerate() {
        let flat = p[0] as usize * 24 + p[1] as usize;
        let Some(j) = found.used.iter().position(|&u| g.pixels()[u] == flat) else { continue };
        let theirs = [shifts[[i, 0]] * 2.0, shifts[[i, 1]] * 2.0];
        sum += (found.shifts[j][0] - theirs[0]).powi(2) + (found.shifts[j][1] - theirs[1]).powi(2);
        n += 1;
    }
    let rms = (sum / f64::from(n)).sqrt() / 2.0;
    println!("shifts of {n} pixels differ by {rms:.3} scan pixels RMS");
    assert!(n > 200 && rms < 0.1, "{n} {rms}");

    let fixed = ParallaxParams { aberrations: found.aberrations, fit: ParallaxFit::Fixed, ..params };
    let padded = parallax(&spectrum(Border::Blended { padding: 4, blend: 4 }), &fixed, &mut silent).unwrap();
    let recon = npy::read(recon).unwrap().into_real::<f64>().unwrap();
    let (a, b): (Vec<f64>, Vec<f64>) =
        (0..48 * 48).map(|i| (padded.image[[i / 48 + 4, i % 48 + 4]], recon[[i / 48 + 4, i % 48 + 4]])).unzip();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(&a), mean(&b));
    let dot = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let correlation =
        dot(&|i| (a[i] - ma) * (b[i] - mb)) / (dot(&|i| (a[i] - ma).powi(2)) * dot(&|i| (b[i] - mb).powi(2))).sqrt();
    println!("correlation with the other program's image {correlation:.4}");
    assert!(correlation >= 0.99, "{correlation}");
}
