//! `multislice`: what a scan holds.

use exitwave::multislice::{Multislice, MultisliceParams, raster};
use exitwave::optics::{Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::specimen::{PotentialParams, PotentialPlan, Slicing, crystals};
use exitwave::units::{Angle, Length};

use crate::peak;

#[test]
fn sixty_four_probes_through_fifty_slices_take_less_than_200_megabytes() {
    const A: f64 = 3.905;
    let (patterns, peak) = peak(|| {
        let crystal = crystals::strontium_titanate().repeated([4, 4, 25]).unwrap();
        let grid = Grid { dims: [256; 2], sampling: [Length::angstrom(4.0 * A / 256.0); 2] };
        let slicing = Slicing::Thickness(Length::angstrom(0.5 * A));
        let potential = PotentialParams { grid, slicing, par: Par::seq(), ..Default::default() };
        let v = PotentialPlan::<f32>::new(&crystal, &potential).unwrap().build().unwrap();
        let params = MultisliceParams { grid, thickness: v.thickness.clone(), par: Par::seq(), ..Default::default() };
        let multislice = Multislice::<f32>::new(&params).unwrap();
        assert_eq!(multislice.slices(), 50);
        let t = multislice.transmission(&v).unwrap();
        let aperture = Aperture::Soft { semi_angle: Angle::mrad(20.0) };
        let probe = Probe::new(&ProbeParams { aperture, grid, ..Default::default() }).unwrap();
        let positions = raster([Length::angstrom(A); 2], [Length::angstrom(A / 8.0); 2], [8, 8]);
        multislice.patterns(&t, &probe, &positions).unwrap()
    });
    assert_eq!(patterns.dims(), [64, 256, 256]);
    // Potential 13 MB, transmissions 26 MB, patterns 17 MB, and a group of waves.
    eprintln!("peak {:.1} MB", peak as f64 / 1e6);
    assert!(peak < 200_000_000, "{peak} bytes");
}
