//! `stem`: bad pixels and the centre of a pattern of rings, recorded with a counting camera.

use std::f64::consts::TAU;
use std::sync::Arc;

use exitwave::io::hdf5::Hdf5;
use exitwave::observe::silent;
use exitwave::stem::{
    BadPixelParams, BadPixels, Calibration, DataSet, DiskParams, Pass, PassParams, Pixel, Repair, RingParams,
    bright_field_disk, ring_centre,
};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};

use crate::support::data;

/// The mean radius of the ring between 105 and 125 pixels in each eighth of a turn about a centre, above the level of 6
/// counts.
fn ring_in_octants(pattern: &Tensor<f64>, c: [f64; 2]) -> [f64; 8] {
    let (mut sum, mut moment) = ([0.0; 8], [0.0; 8]);
    for (i, v) in pattern.as_slice().iter().enumerate() {
        let (dy, dx) = ((i / 256) as f64 - c[0], (i % 256) as f64 - c[1]);
        let (r, turn) = (dy.hypot(dx), (dy.atan2(dx) / TAU).rem_euclid(1.0));
        if (105.0..125.0).contains(&r) {
            let octant = ((turn * 8.0) as usize).min(7);
            sum[octant] += (v - 6.0).clamp(0.0, 30.0);
            moment[octant] += r * (v - 6.0).clamp(0.0, 30.0);
        }
    }
    std::array::from_fn(|o| moment[o] / sum[o])
}

#[test]
fn bad_pixels_are_repaired_and_the_centre_of_the_rings_is_found() {
    let Some(path) = data("data/stem4d/fpd_file_test.hdf5") else { return };
    let counts = Hdf5::open(path).unwrap().read("/fpd_expt/fpd_data/data").unwrap().into_real::<f32>().unwrap();
    let counts = counts.reshape(&[2, 2, 256, 256]).unwrap();
    // Rings and pixels do not depend on the calibration.
    let c = Calibration::new([Length::nm(1.0); 2], Pixel::Angle([Angle::mrad(0.1); 2]), Energy::kev(200.0));
    let set = DataSet::new(Arc::new(counts), c).unwrap();
    let bad = BadPixels::find(&set, &BadPixelParams::default()).unwrap();
    // Of the 16 pixels that never count, those whose neighbours count enough in four frames to tell; no other pixel.
    assert!((10..=16).contains(&bad.dead.len()) && bad.hot.is_empty() && bad.stuck.is_empty(), "{bad:?}");

    let before = Pass::new(&set, PassParams::default()).unwrap().run(&mut silent).unwrap().mean;
    assert!(bad.dead.iter().all(|&i| before.as_slice()[i] == 0.0));
    let whole = set.repaired(&bad.all(), Repair::Median).unwrap();
    let mean = Pass::new(&whole, PassParams::default()).unwrap().run(&mut silent).unwrap().mean;
    assert!(bad.dead.iter().all(|&i| mean.as_slice()[i] > 1.0));

    let rings = ring_centre(&mean, RingParams { radii: [50.0, 125.0], ..Default::default() }).unwrap();
    // Others state rings of radius 83 and 115 pixels about (125.1, 128.7), which is the place of the central beam.
    let stated = [125.1, 128.7];
    for radius in [83.0, 115.0] {
        assert!(rings.radii.iter().any(|r| (r - radius).abs() < 1.5), "{radius} is not in {:?}", rings.radii);
    }
    assert!((rings.centre[0] - stated[0]).hypot(rings.centre[1] - stated[1]) < 3.0, "{:?}", rings.centre);
    // Opposite parts of the strong ring are equally far from the centre that was found, and less so from the stated
    // one. (The ring is slightly elliptical, so that parts at right angles differ.)
    let worst = |c| {
        let r = ring_in_octants(&mean, c);
        (0..4).map(|o| (r[o] - r[o + 4]).abs()).fold(0.0, f64::max)
    };
    println!("{:?}: {} px; stated: {} px", rings.centre, worst(rings.centre), worst(stated));
    assert!(worst(rings.centre) < 1.0 && worst(rings.centre) < worst(stated));

    // The central beam, at half its height.
    let disk = bright_field_disk(&whole, &mean, DiskParams::default()).unwrap();
    assert!((disk.centre[0] - stated[0]).hypot(disk.centre[1] - stated[1]) < 0.2, "{disk:?}");
    assert!((4.0..9.0).contains(&disk.radius) && disk.roughness < 1.0, "{disk:?}");
}
