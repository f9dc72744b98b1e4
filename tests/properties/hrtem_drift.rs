//! `hrtem`: drift of crystals at doses where a frame shows nothing.

use exitwave::hrtem::{
    AlignedSumParams, AmplitudeFilter, AmplitudeFilterParams, CorrelationReference, DriftMethod, DriftParams,
    LatticeAmbiguity, align_frames, aligned_sum, reflection_fading, sum_quality,
};
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::shape::Limits;
use exitwave::tensor::Tensor;
use exitwave::units::{Dose, Length};

#[path = "../support/drifting_crystal.rs"]
mod drifting_crystal;
use drifting_crystal::{Crystal, Scene, drift};

fn params(method: DriftMethod, merge: usize) -> DriftParams {
    DriftParams { method, merge, iterations: 6, ..DriftParams::default() }
}

/// As many electrons a frame as 2048² pixels at 0.033 hold, on fewer pixels: 512² at 0.5.
#[test]
fn the_amplitude_filter_reaches_the_bound_where_single_frames_cannot_be_correlated() {
    let crystal = Crystal::framework([512; 2], 0.05, Scene::Infinite);
    let track = drift(40, 30.0, 2, 1);
    let frames = crystal.frames(&track, 0.5, 1, &Par::default()).unwrap();
    let error = |p: &DriftParams| crystal.error(&align_frames(&frames, p, &mut silent).unwrap().track, &track, true);
    let bound = crystal.bound(0.5);
    let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
    let rms = crystal.error(&found.track, &track, true);
    println!("{rms:.3} px, bound {bound:.3}, stated {:.3}", found.uncertainty[0]);
    assert!(rms <= f64::max(0.2, 1.5 * bound), "{rms} against {bound}");
    assert!(found.confidence.iter().all(|&c| c > 0.9));
    // One in seventy of the pairs' correlation is signal: the highest peak is anywhere, about a quarter of a cell away.
    let single = error(&params(DriftMethod::CrossCorrelation, 1));
    let phase = error(&params(DriftMethod::PhaseCorrelation, 1));
    println!("single frames: cross-correlation {single:.2}, phase {phase:.2}");
    assert!(single > 2.0 && phase > 2.0, "{single} {phase}");
    // The published form, frame by frame, is worse than the agreement of all frames.
    let pairs = error(&params(DriftMethod::FilteredPairs, 1));
    println!("pairs {pairs:.3}");
    assert!(pairs > rms, "{pairs} {rms}");
}

/// 512² pixels of 0.8 electrons at a contrast of 0.05: a peak of n σ² √N = 1.0 standard deviations for single frames, 10 for ten merged.
#[test]
fn ten_merged_frames_of_a_slow_drift_are_correlated_where_single_ones_are_not() {
    let crystal = Crystal::framework([512; 2], 0.05, Scene::Infinite);
    let track = drift(60, 5.0, 0, 3);
    let frames = crystal.frames(&track, 0.8, 3, &Par::default()).unwrap();
    for reference in [CorrelationReference::FirstNearby, CorrelationReference::Previous] {
        // Less than half a lattice vector.
        let of = |merge| DriftParams { reference, max_shift: 5.0, ..params(DriftMethod::CrossCorrelation, merge) };
        let error =
            |merge| crystal.error(&align_frames(&frames, &of(merge), &mut silent).unwrap().track, &track, merge == 1);
        let (single, merged) = (error(1), error(10));
        println!("{reference:?}: single {single:.2} modulo the lattice, merged {merged:.2}");
        // Tremor of 0.15 px is not followed, half a group at each end is not extrapolated (0.2 px); steps add their errors up.
        assert!(single > 2.0 && merged < 1.0, "{reference:?} {single} {merged}");
    }
}

/// 0.04 electrons a pixel and no jump: a frame or a run of frames that takes a lattice vector is wrong. Coefficients beside a reflection that share a measured centre are not
/// periodic with the lattice, and the sum over frames is drawn to a more compact track; reflections of one lattice are.
#[test]
fn no_lattice_vector_is_taken_where_nothing_jumped() {
    let crystal = Crystal::framework([512; 2], 0.3, Scene::FaintCorner);
    let track = drift(120, 30.0, 0, 1);
    let frames = crystal.frames(&track, 0.042, 1, &Par::default()).unwrap();
    for ambiguity in [LatticeAmbiguity::Envelope, LatticeAmbiguity::EnvelopeOfReflections, LatticeAmbiguity::Smooth] {
        let p = DriftParams { ambiguity, ..DriftParams::default() };
        let found = align_frames(&frames, &p, &mut silent).unwrap();
        let rms = crystal.error(&found.track, &track, false);
        println!("{ambiguity:?}: {rms:.3} px, bound {:.3}", crystal.bound(0.042));
        // Without the maps of the crystal, the noise of the vacuum, two thirds of the field, is not left out; a single frame that took a vector would come to 1.
        let most = if ambiguity == LatticeAmbiguity::Smooth { 2.5 } else { 1.5 };
        assert!(rms <= f64::max(0.2, most * crystal.bound(0.042)), "{ambiguity:?}: {rms}");
    }
}

/// As many electrons as 2048² pixels hold at 0.033, and ten frames between jumps: the pieces are told apart by a spot that no single frame shows.
#[test]
fn a_weak_defect_makes_the_track_absolute() {
    let crystal = Crystal::framework([512; 2], 0.05, Scene::Defect);
    let known = crystal.separation(0.5, 10, 30);
    for seed in [1, 2] {
        let track = drift(40, 30.0, 3, seed);
        let frames = crystal.frames(&track, 0.5, seed, &Par::default()).unwrap();
        let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
        let (rms, bound) = (crystal.error(&found.track, &track, false), crystal.bound(0.5));
        let apart = found.pieces.iter().map(|p| p.separation).fold(f64::INFINITY, f64::min);
        println!("{rms:.3} px, bound {bound:.3}; separation {apart:.1}, with the pattern known {known:.1}");
        assert!(rms <= f64::max(0.2, 1.5 * bound), "{rms} against {bound}");
        assert!(found.pieces.len() >= 3 && found.pieces.iter().all(|p| p.confidence > 0.99), "{:?}", found.pieces);
        // A part of the pattern is seen, not all of it, and the field loses its border; noise adds little.
        assert!(apart < 1.3 * known && apart > 0.4 * known, "{apart} {known}");
    }
}

/// An infinite crystal holds nothing that could tell lattice vectors apart, and that is what is said.
#[test]
fn where_nothing_tells_lattice_vectors_apart_no_piece_is_sure() {
    let crystal = Crystal::framework([512; 2], 0.05, Scene::Infinite);
    let track = drift(40, 30.0, 3, 1);
    let frames = crystal.frames(&track, 0.5, 1, &Par::default()).unwrap();
    let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
    println!("{:?}", found.pieces);
    assert!(found.pieces.len() >= 3);
    assert!(found.pieces.iter().all(|p| p.separation < 2.0 && p.confidence < 0.99), "{:?}", found.pieces);
}

/// Of the bound for a known image, at 0.1 electrons a pixel, the pattern being found from the same frames: the reflections themselves, not the coefficients beside them.
#[test]
fn reflections_between_the_coefficients_give_all_that_they_hold() {
    let crystal = Crystal::framework([512; 2], 0.07, Scene::Infinite);
    let mut all = 0.0;
    for seed in 1..=3 {
        let track = drift(40, 30.0, 3, seed);
        let frames = crystal.frames(&track, 0.25, seed, &Par::default()).unwrap();
        let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
        all += crystal.error(&found.track, &track, true).powi(2) / 3.0;
    }
    let ratio = all.sqrt() / crystal.bound(0.25);
    println!("{ratio:.3} of the bound");
    // 240 numbers: their RMS scatters by 5 %. With single coefficients it was 1.3.
    assert!(ratio < 1.2, "{ratio}");
}

#[test]
fn the_track_is_the_same_for_any_number_of_threads() {
    let crystal = Crystal::framework([128; 2], 0.2, Scene::Infinite);
    let track = drift(12, 6.0, 1, 3);
    let frames = crystal.frames(&track, 0.5, 1, &Par::seq()).unwrap();
    for method in [
        DriftMethod::AmplitudeFilter,
        DriftMethod::FilteredPairs,
        DriftMethod::CrossCorrelation,
        DriftMethod::PhaseCorrelation,
        DriftMethod::MaximumLikelihood,
    ] {
        let run = |threads: usize| {
            let p = DriftParams { par: Par::threads(threads).unwrap(), ..params(method, 1) };
            align_frames(&frames, &p, &mut silent).unwrap().track
        };
        assert_eq!(run(1), run(3), "{method:?}");
    }
}

#[test]
fn a_cancelled_alignment_says_so_and_keeps_what_it_has() {
    let crystal = Crystal::framework([128; 2], 0.2, Scene::Infinite);
    let frames = crystal.frames(&drift(12, 6.0, 1, 3), 0.5, 1, &Par::seq()).unwrap();
    for method in [DriftMethod::AmplitudeFilter, DriftMethod::MaximumLikelihood] {
        // Only steps that change something are told: with the first, all is over.
        let mut told = 0;
        let mut stop = |_: &exitwave::observe::Step| {
            told += 1;
            std::ops::ControlFlow::Break(())
        };
        let found = align_frames(&frames, &params(method, 1), &mut stop).unwrap();
        assert_eq!((told, found.track.len()), (1, 12), "{method:?}");
        assert_eq!(found.stop, exitwave::observe::Stop::Cancelled, "{method:?}");
        assert_eq!(found.iterations, 1, "{method:?}");
    }
}

/// Vacuum beyond the crystal's corner: a lattice vector more or less would be seen.
#[test]
fn a_corner_in_view_makes_the_track_absolute() {
    let crystal = Crystal::framework([512; 2], 0.1, Scene::Corner);
    let track = drift(40, 30.0, 2, 4);
    let frames = crystal.frames(&track, 0.5, 2, &Par::default()).unwrap();
    let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
    let (rms, bound) = (crystal.error(&found.track, &track, false), crystal.bound(0.5));
    println!("{rms:.3} px, bound {bound:.3}");
    assert!(rms <= f64::max(0.2, 1.5 * bound), "{rms} against {bound}");
}

#[test]
fn a_defect_survives_in_the_aligned_sum() {
    let crystal = Crystal::framework([512; 2], 0.05, Scene::Defect);
    let track = drift(40, 20.0, 1, 5);
    let frames = crystal.frames(&track, 0.5, 6, &Par::default()).unwrap();
    let found = align_frames(&frames, &DriftParams::default(), &mut silent).unwrap();
    let sum = |t: &[[f64; 2]]| aligned_sum(&frames, t, &AlignedSumParams::default()).unwrap();
    let (aligned, ideal) = (sum(&found.track), sum(&track));
    // The spot against the same spot in the sum along the true track; both are relative to their first frame.
    let offset = [0, 1].map(|a| {
        let mut e: Vec<f64> = found.track.iter().zip(&track).map(|(f, t)| f[a] - t[a]).collect();
        e.sort_by(f64::total_cmp);
        e[e.len() / 2]
    });
    let spot = |s: &Tensor<f32>, o: [f64; 2]| -> f64 {
        let (mut weighted, mut weight) = (0.0, 0.0);
        for y in 60..452 {
            for x in 60..452 {
                let w = crystal.defect([y as f64 + o[0], x as f64 + o[1]]);
                weighted += w * f64::from(s[[y, x]]);
                weight += w;
            }
        }
        weighted / weight
    };
    let (got, want) = (spot(&aligned.sum, offset), spot(&ideal.sum, [0.0; 2]));
    // 20 electrons a pixel; the noise of the mean over the spot is √20/√(4π·60²) = 0.02.
    println!("{got:.3} {want:.3}");
    assert!((got - want).abs() < 0.2 && want < 19.0, "{got} {want}");
    let quality = |s| sum_quality(s, [Length::angstrom(1.0); 2]).unwrap();
    let (raw, after) = (quality(&sum(&vec![[0.0; 2]; 40])), quality(&aligned));
    println!("{} reflections, {} aligned", raw.reflections, after.reflections);
    assert!(after.reflections > raw.reflections);
}

#[test]
fn reflections_that_fade_give_back_their_critical_dose() {
    let crystal = Crystal::framework([256; 2], 0.2, Scene::Infinite);
    // Contrast falls with the dose: amplitudes e^{−N/2N_c}, 1 e/Å² a frame, N_c = 15.
    let n = 30;
    let camera = exitwave::detect::EventCameraParams { dims: [256; 2], ..Default::default() };
    let density = |t: f64, r: [f64; 2]| 1.0 + (crystal.intensity(r) - 1.0) * (-(t.floor() + 0.5) / 30.0).exp();
    let frames = exitwave::detect::count_events(&camera, &density, crystal.highest() * 1.001, n, 1).unwrap();
    let filter = AmplitudeFilter::new(&frames, &AmplitudeFilterParams::default()).unwrap();
    let track = vec![[0.0; 2]; n];
    let one = Dose::per_angstrom2(1.0);
    let found = reflection_fading(&frames, &track, &filter, one, &Par::seq(), Limits::default()).unwrap();
    let (mut sum, mut weight) = (0.0, 0.0);
    for r in &found {
        let (c, s) = (r.fading.critical.to_per_angstrom2(), r.fading.uncertainty.to_per_angstrom2());
        if c.is_finite() && s > 0.0 {
            let w = (c * c / s).powi(2);
            sum += w / c;
            weight += w;
        }
    }
    let (mean, error) = (weight / sum, weight.sqrt() / sum * weight / sum);
    println!("{} coefficients: {mean:.2} ± {error:.2} e/Å²", found.len());
    assert!((mean - 15.0).abs() < 5.0 * error && error < 2.0, "{mean} ± {error}");
}

#[test]
fn noise_alone_has_no_track_and_bad_input_is_an_error() {
    let camera = exitwave::detect::EventCameraParams { dims: [64; 2], ..Default::default() };
    let noise = exitwave::detect::count_events(&camera, &|_, _| 0.5, 0.5, 8, 1).unwrap();
    let p = DriftParams { false_alarms: 1e-3, ..DriftParams::default() };
    let found = align_frames(&noise, &p, &mut silent).unwrap();
    assert!(found.confidence.iter().all(|&c| c < 0.5));
    let run = |p: DriftParams| align_frames(&noise, &p, &mut silent).is_err();
    assert!(run(DriftParams { max_shift: f64::NAN, ..Default::default() }));
    assert!(run(DriftParams { merge: 0, ..Default::default() }));
    assert!(run(DriftParams { false_alarms: -1.0, ..Default::default() }));
    assert!(run(DriftParams { band: [0.2, 0.1], ..Default::default() }));
    assert!(run(DriftParams { limits: Limits { bytes: 1000 }, ..Default::default() }));
    let mut bad = Tensor::full(&[3, 16, 16], 1.0f32);
    bad[[1, 2, 3]] = f32::NAN;
    for method in [DriftMethod::AmplitudeFilter, DriftMethod::CrossCorrelation, DriftMethod::MaximumLikelihood] {
        assert!(align_frames(&bad, &params(method, 1), &mut silent).is_err());
        assert!(align_frames(&Tensor::full(&[3, 4, 4], 1.0f32), &params(method, 1), &mut silent).is_err());
        // A series without contrast, and a single frame, are no errors.
        let flat = align_frames(&Tensor::full(&[3, 16, 16], 1.0f32), &params(method, 1), &mut silent);
        assert!(flat.is_ok_and(|d| d.track.iter().flatten().all(|v| v.is_finite())), "{method:?}");
        assert!(align_frames(&Tensor::full(&[1, 16, 16], 1.0f32), &params(method, 1), &mut silent).is_ok());
    }
    let smooth = DriftParams { ambiguity: LatticeAmbiguity::Smooth, ..DriftParams::default() };
    assert!(align_frames(&noise, &smooth, &mut silent).is_ok());
}
