//! `hrtem`: Thon rings of a real micrograph.

use exitwave::hrtem::{Thon, ThonParams};
use exitwave::units::Length;

use crate::support::data;

/// Another program's fit: 2.72 µm underfocus, 0.02 µm astigmatism (Cs 2.7 mm, 7 % amplitude contrast, 28–7 Å).
#[test]
fn the_micrograph_has_the_defocus_that_another_program_finds() {
    let Some(path) = data("data/hrtem/epu2.9_example.mrc") else { return };
    let image = exitwave::io::open(path).unwrap().read(0).unwrap().into_real::<f32>().unwrap();
    let d = image.dims().to_vec();
    let image = image.reshape(&d[d.len() - 2..]).unwrap();
    let params = ThonParams { pixel: Length::angstrom(0.66655), ..ThonParams::default() };
    for resolution in [[30.0, 5.0], [28.0, 7.0]] {
        let params = ThonParams { resolution: resolution.map(Length::angstrom), ..params.clone() };
        let fit = Thon::new(params).unwrap().fit(&image).unwrap();
        let (um, astigmatism) = (fit.defocus.to_um(), fit.astigmatism.to_um());
        println!(
            "{um:.4} µm, astigmatism {astigmatism:.4} µm, quality {:.3}, rings to {:?}",
            fit.quality, fit.resolution
        );
        assert!((um - 2.72).abs() < 0.05, "{um}");
        assert!((astigmatism - 0.02).abs() < 0.01, "{astigmatism}");
        // The other program's fit ends at 7 Å; rings are seen further.
        assert!(fit.quality > 0.9 && fit.confidence > 0.99, "{} {}", fit.quality, fit.confidence);
        assert!(fit.resolution.is_some_and(|r| r < Length::angstrom(7.0)), "{:?}", fit.resolution);
    }
}
