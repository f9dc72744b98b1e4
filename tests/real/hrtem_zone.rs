//! A recorded spot pattern with a beam stop: no camera length is known, no angle is claimed.

use exitwave::hrtem::{IndexParams, IndexedPattern, SpotParams, index_pattern};
use exitwave::io;

use crate::support;

#[test]
fn the_walk_off_pattern_is_indexed_behind_its_beam_stop() {
    let (Some(pattern), Some(mask)) =
        (support::data("data/diffraction/ewald_walkoff.tif"), support::data("data/diffraction/ewald_walkoff_mask.tif"))
    else {
        return;
    };
    let pattern = io::open(pattern).unwrap().image::<f64>(0).unwrap().data;
    let mask = io::open(mask).unwrap().image::<f64>(0).unwrap().data.map(|v| *v != 0.0);
    // Nothing is said of the spots, of 4 to 5 pixels, some drawn out: they are measured. The camera's units are unknown.
    for gain in [None, Some(1.0)] {
        let spots = SpotParams { gain, ..SpotParams::default() };
        let found = index_pattern(&pattern, Some(&mask), &IndexParams { spots, ..IndexParams::default() }).unwrap();
        assert!((4.0..5.5).contains(&found.spots.spot), "{}", found.spots.spot);
        check(&found);
    }
}

fn check(found: &IndexedPattern) {
    assert!(found.spots.spots.len() > 90, "{}", found.spots.spots.len());
    assert!(found.indexed() >= 0.9, "{}", found.indexed());
    assert!(found.rms < 2.0, "{}", found.rms);
    // Neighbouring rows of the pattern are 58.5 pixels apart along x: a − b or a + b, as the axes are chosen.
    let [a, b] = [found.lattice.a, found.lattice.b];
    let [sum, difference] = [[a[0] + b[0], a[1] + b[1]], [a[0] - b[0], a[1] - b[1]]];
    let near = |v: [f64; 2]| (v[1].abs() - 58.5).abs() < 1.0 && v[0].abs() < 4.0;
    assert!(near(sum) || near(difference), "{a:?} {b:?}");
    // The mask's disc about the beam has its centre at (324, 133).
    let [y, x] = found.centre();
    assert!((y - 324.0).abs() < 6.0 && (x - 133.0).abs() < 6.0, "{y} {x}");
}
