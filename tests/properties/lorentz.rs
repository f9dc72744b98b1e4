//! `lorentz`: the model and its adjoint, invariants of images and of the magnetic phase.

use exitwave::autodiff::{Function, Mode, check_function_at};
use exitwave::lorentz::{
    Edges, FreeSettings, Freedom, Gradients, ImageSetting, LorentzImages, LorentzModel, LorentzObjective,
    LorentzParams, Loss, Magnetization, MansuripurParams, PhantomParams, Retrieval, RetrievalParams, SETTING_WORDS,
    Stage, Texture, Tie, TieParams, WallKind, Word, mansuripur, phantom,
};
use exitwave::metrics::normalised_correlation;
use exitwave::observe::silent;
use exitwave::op::Write;
use exitwave::optics::{Aperture, Coherence, FocalSpread, Grid, Polar, SourceAngle};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Space;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};
use proptest::prelude::*;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

/// Slow electrons and coarse pixels, in which every number of the lens is of order 0.05 to 10⁴.
fn series(dims: [usize; 2], coherence: Coherence, turned: bool) -> LorentzParams {
    let image = |sign: f64| ImageSetting {
        defocus: Length::angstrom(30.0 * sign),
        astigmatism: Polar { c: Length::angstrom(7.0), phi: Angle::rad(0.4) },
        cs: Length::angstrom(9000.0),
        source_angle: SourceAngle::one_over_e(Angle::rad(0.05)),
        focal_spread: FocalSpread::rms(Length::angstrom(12.0)),
        shift: [Length::angstrom(1.3), Length::angstrom(-2.1 * sign)],
        rotation: if turned { Angle::rad(0.11 * sign) } else { Angle::ZERO },
        magnification: if turned { 1.03 } else { 1.0 },
    };
    LorentzParams {
        energy: Energy::kev(1.0),
        grid: Grid { dims, sampling: [Length::angstrom(4.0), Length::angstrom(4.5)] },
        images: vec![image(1.0), image(-1.0)],
        aperture: Aperture::Soft { semi_angle: Angle::rad(0.045) },
        coherence,
        par: Par::seq(),
        ..LorentzParams::default()
    }
}

/// A random object, weak enough that no interpolated intensity falls below 0.
fn object(n: usize, seed: u64) -> [Vec<f64>; 2] {
    let part = |index, f: f64| random(n, index).into_iter().map(|v| f * v).collect::<Vec<_>>();
    [part(seed, 0.1), part(seed + 1, 0.02).iter().map(|a| 1.0 + a).collect()]
}

fn coherences() -> impl Strategy<Value = Coherence> {
    prop_oneof![Just(Coherence::Separable), Just(Coherence::Coupled)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_images_have_the_gradient_of_finite_differences(
        dims in [4usize..9, 4usize..9], coherence in coherences(), turned: bool, seed in 0u64..1000
    ) {
        let f = LorentzImages::new(LorentzModel::<f64>::new(&series(dims, coherence, turned)).unwrap());
        let n = dims[0] * dims[1];
        let point = object(n, seed).to_vec();
        let error = check_function_at(&f, &[Space::real(&dims), Space::real(&dims)], &point, seed).unwrap();
        prop_assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn losses_have_the_gradient_of_finite_differences_by_object_and_settings(
        dims in [5usize..9, 5usize..9], coherence in coherences(), poisson: bool, seed in 0u64..1000
    ) {
        let params = series(dims, coherence, true);
        let model = LorentzModel::<f64>::new(&params).unwrap();
        let n = dims[0] * dims[1];
        let [phase, amplitude] = object(n, seed);
        let [other, b] = object(n, seed + 50);
        let images = model.images(&other, &b).unwrap();
        let settings = model.settings().to_vec();
        let loss = if poisson { Loss::Poisson } else { Loss::Amplitude };
        let mut objective = LorentzObjective::new(model, &images, None, loss).unwrap();
        let mut at = |p: &[f64], a: &[f64], s: &[[f64; SETTING_WORDS]]| {
            let (mut g, mut h, mut by) = (vec![0.0; n], vec![0.0; n], vec![[0.0; SETTING_WORDS]; 2]);
            let value = objective.evaluate(p, a, Some(s), Gradients {
                phase: &mut g, amplitude: Some(&mut h), settings: Some(&mut by),
            }).unwrap();
            (value, g, h, by)
        };
        let (_, g, h, by) = at(&phase, &amplitude, &settings);
        let slope = |f: &mut dyn FnMut(f64) -> f64, h: f64| {
            (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
        };
        // Along random directions; both losses are smooth where no intensity vanishes.
        for (k, gradient) in [&g, &h].into_iter().enumerate() {
            let d = random(n, seed + 7);
            let product: f64 = gradient.iter().zip(&d).map(|(g, d)| g * d).sum();
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt() * (n as f64).sqrt();
            let found = slope(&mut |s| {
                let moved = |x: &[f64]| x.iter().zip(&d).map(|(x, d)| x + s * d).collect::<Vec<_>>();
                let (p, a) = if k == 0 { (moved(&phase), amplitude.clone()) } else { (phase.clone(), moved(&amplitude)) };
                at(&p, &a, &settings).0
            }, 1e-5);
            prop_assert!((found - product).abs() < 1e-6 * norm.max(1e-3), "{k}: {found} {product}");
        }
        for word in Word::ALL {
            let j = word.index();
            // The cubic interpolant has a third derivative with jumps: differences see them.
            let (step, tolerance) = match word {
                Word::Rotation | Word::LnMagnification => (1e-6, 1e-4),
                _ => (1e-5 * settings[1][j].abs(), 1e-6),
            };
            let found = slope(&mut |s| {
                let mut moved = settings.clone();
                moved[1][j] += s;
                at(&phase, &amplitude, &moved).0
            }, step);
            let scale = settings[1][j].abs().max(0.05);
            prop_assert!((found - by[1][j]).abs() * scale < tolerance, "{word:?}: {found} {}", by[1][j]);
        }
    }

    #[test]
    fn the_function_of_a_graph_and_the_fused_loss_agree(dims in [4usize..9, 4usize..9], turned: bool, seed in 0u64..1000) {
        let params = series(dims, Coherence::Separable, turned);
        let n = dims[0] * dims[1];
        let [phase, amplitude] = object(n, seed);
        let measured = LorentzModel::<f64>::new(&params).unwrap().images(&object(n, seed + 9)[0], &amplitude).unwrap();
        let model = LorentzModel::<f64>::new(&params).unwrap();
        let words: Vec<f64> = model.settings().as_flattened().to_vec();
        let f = LorentzImages::new(model);
        let spaces = [Space::real(&dims), Space::real(&dims), Space::real(&[2, SETTING_WORDS])];
        let refs: Vec<&Space> = spaces.iter().collect();
        prop_assert_eq!(f.infer(&refs).unwrap(), Space::real(&[2, dims[0], dims[1]]));
        let (needs, scratch) = (f.needs(&refs), f.scratch_len(&refs));
        let (mut y, mut tape) = (vec![f64::NAN; 2 * n], vec![f64::NAN; needs.tape_len]);
        let x: [&[f64]; 3] = [&phase, &amplitude, &words];
        f.forward(&x, &mut y, &mut tape, &mut vec![f64::NAN; scratch], Mode::Eval);
        // dy of the mean of (√y − √I)².
        let dy: Vec<f64> =
            y.iter().zip(measured.as_slice()).map(|(y, i)| (1.0 - (i / y).sqrt()) / (2 * n) as f64).collect();
        let mut got = [vec![f64::NAN; n], vec![f64::NAN; n], vec![f64::NAN; 2 * SETTING_WORDS]];
        let mut dx: Vec<Option<(&mut [f64], Write)>> = got.iter_mut().map(|g| Some((&mut g[..], Write::Set))).collect();
        f.backward(&x, &[], &tape, &dy, &mut dx, &mut vec![f64::NAN; scratch]);

        let mut objective =
            LorentzObjective::new(LorentzModel::<f64>::new(&params).unwrap(), &measured, None, Loss::Amplitude).unwrap();
        let (mut g, mut h, mut by) = (vec![0.0; n], vec![0.0; n], vec![[0.0; SETTING_WORDS]; 2]);
        let settings = objective.model().settings().to_vec();
        objective.evaluate(&phase, &amplitude, Some(&settings), Gradients {
            phase: &mut g, amplitude: Some(&mut h), settings: Some(&mut by),
        }).unwrap();
        for (a, b) in [(&got[0], &g), (&got[1], &h), (&got[2], &by.as_flattened().to_vec())] {
            let size = b.iter().fold(0.0f64, |m, b| m.max(b.abs()));
            prop_assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-11 * size), "{a:?} {b:?}");
        }
    }

    #[test]
    fn sixteen_lines_at_a_time_are_the_images_one_by_one(
        blocks in [1usize..4, 1usize..6], images in 1usize..8, poisson: bool, seed in 0u64..1000
    ) {
        let dims = blocks.map(|b| 16 * b);
        let mut params = series(dims, Coherence::Separable, false);
        let one = params.images[0];
        let other = |k: usize| ImageSetting { defocus: one.defocus * (0.3 * k as f64 - 0.7), ..one };
        params.images = (0..images).map(other).collect();
        let n = dims[0] * dims[1];
        let [phase, amplitude] = object(n, seed);
        let model = || LorentzModel::<f64>::new(&params).unwrap();
        let measured = model().images(&object(n, seed + 9)[0], &amplitude).unwrap();
        let loss = if poisson { Loss::Poisson } else { Loss::Amplitude };
        let mut objective = LorentzObjective::new(model(), &measured, None, loss).unwrap();
        let settings = objective.model().settings().to_vec();
        // With settings given the images are taken one by one.
        let mut at = |settings: Option<&[[f64; SETTING_WORDS]]>| {
            let (mut g, mut h) = (vec![f64::NAN; n], vec![f64::NAN; n]);
            let gradients = Gradients { phase: &mut g, amplitude: Some(&mut h), settings: None };
            (objective.evaluate(&phase, &amplitude, settings, gradients).unwrap(), g, h)
        };
        let (a, b, again) = (at(None), at(Some(&settings)), at(None));
        prop_assert_eq!(&a, &again);
        prop_assert!((a.0 - b.0).abs() <= 1e-12 * b.0, "{} {}", a.0, b.0);
        for (a, b) in [(&a.1, &b.1), (&a.2, &b.2)] {
            let size = b.iter().fold(0.0f64, |m, b| m.max(b.abs()));
            prop_assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-11 * size));
        }
    }

    #[test]
    fn a_lens_without_aperture_or_spread_conserves_the_total_intensity(
        dims in [4usize..20, 4usize..20], defocus in -1e3..1e3f64, seed in 0u64..1000
    ) {
        let setting = ImageSetting { defocus: Length::um(defocus), cs: Length::mm(1.0), ..ImageSetting::default() };
        let params = LorentzParams {
            grid: Grid { dims, sampling: [Length::nm(5.0); 2] },
            images: vec![setting],
            par: Par::seq(),
            ..LorentzParams::default()
        };
        let n = dims[0] * dims[1];
        let [phase, amplitude] = object(n, seed);
        let image = LorentzModel::<f64>::new(&params).unwrap().images(&phase, &amplitude).unwrap();
        let (sum, expected): (f64, f64) = (image.as_slice().iter().sum(), amplitude.iter().map(|a| a * a).sum());
        // A unitary transform of n numbers.
        prop_assert!((sum / expected - 1.0).abs() < 1e-12);
    }

    #[test]
    fn time_reversal_flips_the_magnetic_phase_and_a_rotation_turns_it(
        seed in 0u64..1000, tilt in -0.6..0.6f64, n in 4usize..10
    ) {
        let value = |c: u64| Tensor::from_vec(&[2, n, n], random(2 * n * n, 3 * seed + c)).unwrap();
        let m = Magnetization { m: [value(0), value(1), value(2)], voxel: [Length::nm(3.0), Length::nm(2.0), Length::nm(2.0)] };
        let beam = [tilt.cos(), 0.8 * tilt.sin(), 0.6 * tilt.sin()];
        let of = |m: &Magnetization, beam| mansuripur(m, &MansuripurParams { beam, ..Default::default() }).unwrap();
        let phase = of(&m, beam);
        let size = phase.as_slice().iter().fold(0.0f64, |m, p| m.max(p.abs()));
        for (a, b) in phase.as_slice().iter().zip(of(&m.reversed(), beam).as_slice()) {
            prop_assert!((a + b).abs() <= 1e-12 * size);
        }
        // The other way round through the specimen: the same line, run through backwards.
        for (a, b) in phase.as_slice().iter().zip(of(&m, beam.map(|b| -b)).as_slice()) {
            prop_assert!((a + b).abs() <= 1e-12 * size);
        }
        // A quarter turn from x towards y, (y, x) → (x, −y), of specimen and beam together.
        let turn = |t: &Tensor<f64>| Tensor::from_fn(&[2, n, n], |i| t[[i[0], n - 1 - i[2], i[1]]]);
        let turned = Magnetization {
            m: [turn(&m.m[0]), turn(&m.m[2]), turn(&m.m[1]).map(|v| -v)],
            voxel: m.voxel,
        };
        let found = of(&turned, [beam[0], beam[2], -beam[1]]);
        for i in 0..n * n {
            let expected = phase[[n - 1 - i % n, i / n]];
            prop_assert!((found.as_slice()[i] - expected).abs() <= 1e-10 * size, "{i}");
        }
    }
}

#[test]
fn the_same_bits_come_from_any_number_of_threads() {
    let joint = FreeSettings { defocus: Freedom::Each, shift: Freedom::Each, ..FreeSettings::NONE };
    for (dims, turned, free) in [([24, 20], true, joint), ([32, 48], false, FreeSettings::NONE)] {
        same_bits(dims, turned, free);
    }
}

fn same_bits(dims: [usize; 2], turned: bool, free: FreeSettings) {
    let len = dims[0] * dims[1];
    let run = |par: Par| {
        let params = LorentzParams { par, ..series(dims, Coherence::Separable, turned) };
        let [phase, amplitude] = object(len, 3);
        let images = LorentzModel::<f64>::new(&params).unwrap().images(&phase, &amplitude).unwrap();
        let plan = Retrieval::new(RetrievalParams {
            series: params,
            stages: vec![Stage { binning: 1, iterations: 4, free }],
            ..RetrievalParams::default()
        })
        .unwrap();
        let found = plan.run(&images, &vec![0.0; len], &amplitude, None, &mut silent).unwrap();
        (images, found.phase, found.settings)
    };
    let one = run(Par::seq());
    assert_eq!(one, run(Par::threads(2).unwrap()));
    assert_eq!(one, run(Par::threads(3).unwrap()));
}

#[test]
fn a_neel_skyrmion_is_seen_only_in_a_tilted_specimen() {
    let texture = |kind| Texture::Skyrmions {
        radius: Length::nm(40.0),
        width: Length::nm(10.0),
        distance: Length::nm(160.0),
        kind,
    };
    let of = |kind, tilt: f64| {
        let p = PhantomParams {
            dims: [1, 64, 64],
            voxel: [Length::nm(20.0), Length::nm(2.5), Length::nm(2.5)],
            texture: texture(kind),
            ..PhantomParams::default()
        };
        let beam = [tilt.to_radians().cos(), tilt.to_radians().sin(), 0.0];
        let phase = mansuripur(&phantom(&p).unwrap().0, &MansuripurParams { beam, ..Default::default() }).unwrap();
        phase.as_slice().iter().fold(0.0f64, |m, p| m.max(p.abs()))
    };
    let bloch = of(WallKind::Bloch, 0.0);
    assert!(bloch > 0.1);
    // Its divergence-free part vanishes: what is left is rounding and the sampling of the wall.
    assert!(of(WallKind::Neel, 0.0) < 1e-3 * bloch);
    assert!(of(WallKind::Neel, 25.0) > 0.1 * bloch);
}

#[test]
fn transport_of_intensity_is_exact_for_small_defocus() {
    let grid = Grid { dims: [64, 48], sampling: [Length::nm(5.0); 2] };
    let phase: Vec<f64> = (0..64 * 48)
        .map(|i| {
            let (y, x) = (f64::from(i / 48) / 64.0, f64::from(i % 48) / 48.0);
            (std::f64::consts::TAU * (2.0 * x + y)).sin() + 0.7 * (std::f64::consts::TAU * (3.0 * y - x)).cos()
        })
        .collect();
    let mut errors = Vec::new();
    for um in [20.0, 10.0] {
        let setting = |s: f64| ImageSetting { defocus: Length::um(s * um), ..ImageSetting::default() };
        let params =
            LorentzParams { grid, images: vec![setting(-1.0), setting(1.0)], par: Par::seq(), ..Default::default() };
        let images = LorentzModel::<f64>::new(&params).unwrap().images(&phase, &vec![1.0; phase.len()]).unwrap();
        for edges in [Edges::Periodic, Edges::Mirrored] {
            let tie = Tie::<f64>::new(TieParams { grid, edges, ..TieParams::default() }).unwrap();
            let found = tie.series(&images, &[Length::um(-um), Length::um(um)], None).unwrap();
            // Absolute, sign included.
            if edges == Edges::Periodic {
                let worst = found.as_slice().iter().zip(&phase).map(|(a, b)| (a - b).abs()).fold(0.0f64, f64::max);
                errors.push(worst);
            } else {
                // Mirrored edges are wrong for a periodic object within about the size of its structure.
                assert!(normalised_correlation(&phase, found.as_slice()).unwrap() > 0.5);
            }
        }
    }
    // The odd part of the intensity deviates in the third order of the defocus: half of it, a quarter of the error.
    assert!(errors[0] < 0.05 && errors[1] < 0.3 * errors[0], "{errors:?}");
}

#[test]
fn impossible_parameters_are_errors() {
    let good = series([8, 8], Coherence::Separable, false);
    let bad = |f: &dyn Fn(&mut LorentzParams)| {
        let mut p = good.clone();
        f(&mut p);
        assert!(LorentzModel::<f32>::new(&p).is_err());
        assert!(Retrieval::new(RetrievalParams { series: p, ..RetrievalParams::default() }).is_err());
    };
    bad(&|p| p.images.clear());
    bad(&|p| p.images[0].defocus = Length::nm(f64::NAN));
    bad(&|p| p.images[1].magnification = 0.0);
    bad(&|p| p.grid.dims = [0, 8]);
    let stage = Stage { binning: 3, iterations: 1, free: FreeSettings::NONE };
    let params = RetrievalParams { series: good.clone(), stages: vec![stage], ..RetrievalParams::default() };
    assert!(Retrieval::new(params).is_err());
    let plan = Retrieval::new(RetrievalParams {
        series: good,
        stages: vec![Stage { binning: 1, ..stage }],
        ..RetrievalParams::default()
    })
    .unwrap();
    let images = Tensor::full(&[2, 8, 8], 1.0f32);
    let ones = [1.0f32; 64];
    let mut negative = images.clone();
    negative.as_mut_slice()[5] = -1.0;
    assert!(plan.run(&negative, &ones, &ones, None, &mut silent).is_err());
    assert!(plan.run(&images, &[f32::NAN; 64], &ones, None, &mut silent).is_err());
    assert!(plan.run(&Tensor::full(&[2, 8, 7], 1.0f32), &ones, &ones, None, &mut silent).is_err());
}
