//! The exit wave of SrTiO₃ from twelve noisy images at unknown foci and places.

#[path = "../../examples/support/focal.rs"]
mod focal;

use exitwave::hrtem::{ExitWave, ExitWaveParams, FocalRegistration, FocalSearch, compare_exit_waves, focal_errors};
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::units::Length;

#[test]
fn strontium_titanate_is_found_from_twelve_images_of_200_electrons_at_unknown_foci_and_places() {
    // Foci are wrong by 25 Å (standard deviation), shifts by 3 pixels and a drift; 200 e/Å² in each image, counted.
    let scene = focal::Scene::default();
    let case = scene.series(&Par::default()).unwrap();
    // One start is enough here, and takes a third of the time.
    let registration = FocalRegistration::Search(FocalSearch { starts: 1, ..FocalSearch::default() });
    let params = ExitWaveParams { series: case.nominal.clone(), registration, ..ExitWaveParams::default() };
    let plan = ExitWave::new(params).unwrap();
    let state = plan.start(&case.counts, None, &mut silent).unwrap();
    let found = plan.run(&case.counts, None, state, usize::MAX, &mut silent).unwrap();

    let (grid, limit) = (&case.nominal.grid, focal::cutoff());
    let wave = found.wave.as_slice();
    let same = compare_exit_waves(wave, &case.wave, grid, focal::ENERGY, Length::nm(20.0), limit).unwrap();
    let errors = focal_errors(&found.images, &case.truth, Some(focal::lattice())).unwrap();
    let before = focal_errors(&case.nominal.images, &case.truth, Some(focal::lattice())).unwrap();
    let pixel = grid.sampling[0];
    // It was not so before: the series is off by nanometres and pixels.
    assert!(before.focus_max() > Length::nm(3.0) && before.shift_max() > pixel * 3.0);
    // The bars of the issue; measured 0.992, 0.2 Å and 0.02 px.
    assert!(same.phase >= 0.98, "phase correlates by {}", same.phase);
    assert!(errors.focus_max() <= Length::nm(1.0), "foci are off by {}", errors.focus_max());
    assert!(errors.shift_max() <= pixel * 0.05, "shifts are off by {} px", errors.shift_max() / pixel);
}
