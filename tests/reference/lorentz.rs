//! `lorentz`: closed forms, published constants, and what statistics say.

use exitwave::lorentz::{
    BeamDirection, E_OVER_HBAR, FreeSettings, Freedom, Hologram, HologramParams, ImageSetting, LorentzModel,
    LorentzParams, Magnetization, MansuripurParams, Noise, Regularizer, Retrieval, RetrievalParams, Stage,
    Surroundings, Word, add_noise, electrostatic_phase, induction, linear_superposition, mansuripur, phase_gradient,
    profile, sphere_phase,
};
use exitwave::metrics::normalised_correlation;
use exitwave::observe::silent;
use exitwave::optics::{Grid, SourceAngle, wavelength};
use exitwave::par::Par;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Induction, Length};

/// 2π · 1/(2 · 2.0678e-15) rad/(T m²) = 1.519e-3 rad/(T nm²); λ = 2.5079 pm, σ = 0.0072884 rad/(V nm) at
/// 200 kV.
#[test]
fn constants_are_the_published_ones() {
    assert!((E_OVER_HBAR * 100.0 - 1.5193e-3).abs() < 1e-7);
    assert!((wavelength(Energy::kev(200.0)).to_nm() - 2.5079e-3).abs() < 1e-7);
    let [phase, amplitude] =
        electrostatic_phase(&Tensor::full(&[1, 1], 100.0), 17.0, Some(Length::nm(100.0)), Energy::kev(200.0)).unwrap();
    // 10 nm at 17 V.
    assert!((phase.as_slice()[0] / (0.0072884 * 170.0) - 1.0).abs() < 1e-4);
    assert!((amplitude.as_slice()[0] - (-0.05f64).exp()).abs() < 1e-12);
}

/// Stripes of ±1 T, 20 nm thick: inside each the phase gradient is (e/ħ) B t = 0.0304 rad/nm, and the induction that is
/// read back is what was put in.
#[test]
fn a_slab_of_known_induction_has_its_phase_gradient_and_gives_it_back() {
    let (b, t) = (1.0, Length::nm(20.0));
    let voxel = [t, Length::nm(2.0), Length::nm(2.0)];
    let m = Magnetization::from_fn([1, 32, 256], voxel, |[_, _, x]| [0.0, if x > 0.0 { b } else { -b }, 0.0]).unwrap();
    for (direction, sign) in [(BeamDirection::AlongZ, 1.0), (BeamDirection::AgainstZ, -1.0)] {
        let params = MansuripurParams { beam: [sign, 0.0, 0.0], ..MansuripurParams::default() };
        let phase = mansuripur(&m, &params).unwrap();
        let slope = (phase[[16, 200]] - phase[[16, 180]]) / (20.0 * 20.0);
        let expected = sign * phase_gradient(Induction::tesla(b), t);
        // The jump of the magnetisation rings on the grid: its sine integral at 50 pixels from the wall is 0.6 %.
        assert!((slope / expected - 1.0).abs() < 0.01, "{slope} {expected}");
        let grid = Grid { dims: [32, 256], sampling: [Length::nm(2.0); 2] };
        let map = induction(&phase, &grid, direction).unwrap();
        let [by, bx] = map.divided(t);
        let line = profile(&by, [16.0, 150.0], [16.0, 230.0], 3).unwrap();
        let mean = line.value.iter().sum::<f64>() / line.value.len() as f64;
        assert!((mean - b).abs() < 0.01, "{mean}");
        assert!(bx.as_slice().iter().all(|b| b.abs() < 1e-9));
        // Away from the walls the whole map is ±1 T to the ringing.
        assert!((map.magnitude()[[16, 192]] - 20.0).abs() < 0.5);
    }
}

/// A plane phase gives the induction of its gradient exactly, at the edges too.
#[test]
fn the_read_out_of_a_linear_phase_is_exact() {
    let g = phase_gradient(Induction::tesla(0.7), Length::nm(30.0));
    let grid = Grid { dims: [9, 7], sampling: [Length::nm(3.0), Length::nm(4.0)] };
    let phase = Tensor::from_fn(&[9, 7], |i| g * (40.0 * i[1] as f64 - 0.5 * 30.0 * i[0] as f64));
    let [by, bx] = induction(&phase, &grid, BeamDirection::AlongZ).unwrap().divided(Length::nm(30.0));
    assert!(by.as_slice().iter().all(|b| (b - 0.7).abs() < 1e-12));
    assert!(bx.as_slice().iter().all(|b| (b - 0.35).abs() < 1e-12));
}

/// A uniformly magnetised sphere on voxels: Fourier space, a sum of dipoles, and De Graef's closed form, for several
/// beams. What differs is the sum over voxels from the integral: with R = 12, 24, 26 voxels 3.7, 1.1 and 1.0 · 10⁻³ for
/// the dipoles.
#[test]
fn mansuripur_linear_superposition_and_the_sphere_in_closed_form_agree_tilted_too() {
    let (n, d) = (68usize, 4.0);
    let radius = 120.0;
    let direction = [0.3, 0.8, 0.52];
    let length = f64::sqrt(direction.iter().map(|m| m * m).sum());
    let part = |r: [f64; 3]| {
        // 6³ points of a voxel.
        let mut inside = 0;
        for i in 0..216 {
            let o = [i / 36, i / 6 % 6, i % 6].map(|j: i32| (f64::from(j) - 2.5) / 6.0 * d);
            let p = [r[0] + o[0], r[1] + o[1], r[2] + o[2]];
            inside += i32::from(p.iter().map(|p| p * p).sum::<f64>() < radius * radius);
        }
        f64::from(inside) / 216.0
    };
    let voxel = [Length::angstrom(d); 3];
    let m = Magnetization::from_fn([62, n, n], voxel, |r| direction.map(|c| 1.5 * part(r) * c / length)).unwrap();
    for degrees in [[0.0, 0.0], [30.0, 0.0], [-20.0, 40.0]] {
        let [a, b] = degrees.map(f64::to_radians);
        let beam = [a.cos() * b.cos(), a.sin(), a.cos() * b.sin()];
        let exact = Tensor::from_fn(&[n, n], |i| {
            let at = [i[0], i[1]].map(|i| (i as f64 - 0.5 * (n as f64 - 1.0)) * d);
            sphere_phase(at, Length::angstrom(radius), Induction::tesla(1.5), direction, beam).unwrap()
        });
        let params =
            MansuripurParams { beam, padding: 6, surroundings: Surroundings::Isolated, ..MansuripurParams::default() };
        let fourier = mansuripur(&m, &params).unwrap();
        let norm = exact.as_slice().iter().map(|p| p * p).sum::<f64>().sqrt();
        let error = |a: &Tensor<f64>, b: &Tensor<f64>| {
            let mean = |t: &Tensor<f64>| t.as_slice().iter().sum::<f64>() / t.len() as f64;
            let (ma, mb) = (mean(a), mean(b));
            let d = |(a, b): (&f64, &f64)| (a - ma - b + mb).powi(2);
            a.as_slice().iter().zip(b.as_slice()).map(d).sum::<f64>().sqrt() / norm
        };
        let mut errors = vec![error(&fourier, &exact)];
        // The sum of dipoles takes a second or more a beam: the most tilted one stands for all.
        if degrees[1] > 0.0 {
            let sum = linear_superposition(&m, beam, &Par::default()).unwrap();
            errors.extend([error(&sum, &exact), error(&fourier, &sum)]);
        }
        println!("{degrees:?}: Mansuripur–sphere, superposition–sphere, Mansuripur–superposition {errors:?}");
        assert!(errors.iter().all(|e| *e < 1e-3), "{degrees:?}: {errors:?}");
    }
}

/// Fringes of a known wave: amplitude and phase come back, relative to a reference with its own distortion.
#[test]
fn a_hologram_made_of_a_known_wave_gives_it_back() {
    let (n, k) = (128usize, [0.171, -0.093]);
    let wave = |y: f64, x: f64| {
        let r2 = (y - 64.0).powi(2) + (x - 60.0).powi(2);
        (1.0 - 0.3 * (-r2 / 400.0).exp(), 4.0 * (-r2 / 500.0).exp() + 0.02 * x)
    };
    let fringes = |object: bool| {
        Tensor::from_fn(&[n, n], |i| {
            let (y, x) = (i[0] as f64, i[1] as f64);
            let (a, p) = if object { wave(y, x) } else { (1.0, 0.0) };
            let distortion = 0.3 * (0.02 * y).sin();
            let carrier = std::f64::consts::TAU * (k[0] * y + k[1] * x);
            1.0 + a * a + 1.4 * a * (carrier + p + distortion).cos()
        })
    };
    let plan = Hologram::<f64>::new([n, n], HologramParams::default()).unwrap();
    let found = plan.reconstruct(&fringes(true), Some(&fringes(false))).unwrap();
    assert!((found.carrier[0] - k[0]).abs() < 3e-3 && (found.carrier[1] - k[1]).abs() < 3e-3, "{:?}", found.carrier);
    let offset = found.phase[[64, 64]] - wave(64.0, 64.0).1;
    for y in (20..108).step_by(8) {
        for x in (20..108).step_by(8) {
            let (a, p) = wave(y as f64, x as f64);
            // The aperture cuts the tails of the carrier's leakage from the edges, which is 1 to 2 % inside.
            assert!((found.amplitude[[y, x]] - a).abs() < 0.05, "{y} {x}");
            assert!((found.phase[[y, x]] - p - offset).abs() < 0.08, "{y} {x}: {} {p}", found.phase[[y, x]]);
        }
    }
}

/// What the curvature of the loss says of θ_c and the shifts is how they scatter from noise to noise. Twelve series tell
/// a standard deviation to 21 %; the six shifts together to 9 %. The descent must have converged: shifts trade with the phase
/// along directions of little curvature, and stopped early they scatter less.
#[test]
fn uncertainties_of_settings_are_their_scatter_over_noise() {
    let n = 24;
    let source_angle = SourceAngle::one_over_e(Angle::mrad(0.01));
    let image = |mm: f64| ImageSetting { defocus: Length::mm(mm), source_angle, ..ImageSetting::default() };
    let series = LorentzParams {
        grid: Grid { dims: [n, n], sampling: [Length::nm(5.0); 2] },
        images: [-1.6, -0.8, 0.8, 1.6].map(image).to_vec(),
        par: Par::seq(),
        ..LorentzParams::default()
    };
    let wave = |i: usize, k: f64| (std::f64::consts::TAU * k * i as f64 / n as f64).sin();
    let phase: Vec<f64> =
        (0..n * n).map(|i| wave(i % n, 1.0) * wave(i / n, 2.0) + 0.5 * wave(i % n + i / n, 3.0)).collect();
    let amplitude = vec![1.0; n * n];
    let clean = LorentzModel::<f64>::new(&series).unwrap().images(&phase, &amplitude).unwrap();
    let free = FreeSettings { source_angle: Freedom::Common, shift: Freedom::Each, ..FreeSettings::NONE };
    let plan = Retrieval::new(RetrievalParams {
        series: series.clone(),
        stages: vec![Stage { binning: 1, iterations: 400, free }],
        tolerance: 0.0,
        uncertainty_iterations: 100,
        ..RetrievalParams::default()
    })
    .unwrap();
    let found: Vec<_> = (0..12)
        .map(|seed| {
            let mut images = clean.clone();
            add_noise(&mut images, Noise::AmplitudePercent(4.0), seed, &Par::seq()).unwrap();
            plan.run(&images, &phase, &amplitude, None, &mut silent).unwrap()
        })
        .collect();
    let ratio = |word: Word, k: usize| {
        let of: Vec<f64> = found.iter().map(|f| f.settings[k].to_words()[word.index()]).collect();
        let mean = of.iter().sum::<f64>() / 12.0;
        let scatter = of.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 11.0;
        let told = found.iter().map(|f| f.uncertainty[k][word.index()].powi(2)).sum::<f64>() / 12.0;
        scatter / told
    };
    let angle = ratio(Word::SourceAngle, 0).sqrt();
    assert!((0.5..1.6).contains(&angle), "θ_c: {angle}");
    let shifts = (1..4).flat_map(|k| [ratio(Word::ShiftY, k), ratio(Word::ShiftX, k)]).sum::<f64>() / 6.0;
    assert!((0.7..1.3).contains(&shifts.sqrt()), "shifts: {}", shifts.sqrt());
}

/// Sharp edges, three images of which two are displaced, and a start a pixel away from where it should be: without moves
/// by whole pixels the object stays there.
#[test]
fn an_object_a_pixel_away_is_moved_to_where_image_0_and_the_amplitude_say() {
    let n = 64;
    let inside = |i: usize, a: usize, b: usize| (a..b).contains(&(i / n)) && (a..b).contains(&(i % n));
    let phase: Vec<f64> = (0..n * n).map(|i| if inside(i, 20, 44) { 1.5 } else { 0.0 }).collect();
    let amplitude: Vec<f64> = (0..n * n).map(|i| if inside(i, 20, 44) { 0.9 } else { 1.0 }).collect();
    let grid = Grid { dims: [n, n], sampling: [Length::nm(5.0); 2] };
    let image = |um: f64, [y, x]: [f64; 2]| ImageSetting {
        defocus: Length::um(um),
        shift: [Length::nm(5.0 * y), Length::nm(5.0 * x)],
        ..ImageSetting::default()
    };
    let settings =
        |by: f64| vec![image(-200.0, [0.0; 2]), image(40.0, [0.3 + by, -0.6]), image(60.0, [-1.2 + by, 0.8])];
    let series = |by| LorentzParams { grid, images: settings(by), par: Par::seq(), ..LorentzParams::default() };
    let mut images = LorentzModel::new(&series(0.0)).unwrap().images(&phase, &amplitude).unwrap();
    add_noise(&mut images, Noise::AmplitudePercent(5.0), 7, &Par::seq()).unwrap();
    // The object lies a pixel too far up, what the shifts make up for.
    let mut start = phase.clone();
    start.rotate_left(n);
    let run = |pixel_moves| {
        let free = FreeSettings { shift: Freedom::Each, ..FreeSettings::NONE };
        let found = Retrieval::new(RetrievalParams {
            series: series(1.0),
            regularizer: Regularizer::TotalVariation { weight: 1e-3, smoothing: 0.02 },
            stages: vec![Stage { binning: 1, iterations: 60, free }],
            pixel_moves,
            ..RetrievalParams::default()
        })
        .unwrap()
        .run(&images, &start, &amplitude, None, &mut silent)
        .unwrap();
        let off =
            |k: usize| found.settings[k].shift[0] / grid.sampling[0] - settings(0.0)[k].shift[0] / grid.sampling[0];
        (off(1).abs().max(off(2).abs()), normalised_correlation(&phase, found.phase.as_slice()).unwrap())
    };
    let ((stays, blurred), (moved, right)) = (run(0), run(4));
    assert!(stays > 0.5 && blurred < 0.97, "{stays} px, {blurred}");
    assert!(moved < 0.1 && right > 0.99, "{moved} px, {right}");
}
