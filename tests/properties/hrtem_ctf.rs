//! `hrtem`: defocus from rings and reflections, correction, weak phases.

use exitwave::fft::{Fft2, frequencies};
use exitwave::hrtem::{
    Correction, CrystalFocus, CrystalFocusParams, CrystalPhase, CrystalPhaseParams, CtfCorrection, CtfCorrectionParams,
    CtfGradient, CtfGradientParams, FocusReflection, PlaneLattice, PowerSpectrum, PowerSpectrumParams,
    ReflectionsParams, Registration, StrongFocus, StrongFocusParams, Thon, ThonParams, Tiles, contrast_transfer,
    focus_reflections, measure_reflections, weak_phase,
};
use exitwave::metrics::normalised_correlation;
use exitwave::multislice::{Averaging, HrtemImage};
use exitwave::num_complex::Complex;
use exitwave::observe::silent;
use exitwave::optics::{Aberrations, Ctf, CtfParams, Grid};
use exitwave::par::Par;
use exitwave::real::cis;
use exitwave::rng;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use proptest::prelude::*;

fn lens(defocus_nm: f64, cs_mm: f64, astigmatism_nm: f64, degrees: f64) -> CtfParams {
    let mut aberrations = Aberrations::from_defocus(Length::nm(defocus_nm));
    aberrations.set_cs(Length::mm(cs_mm));
    aberrations.set_astigmatism(Length::nm(0.5 * astigmatism_nm), Angle::deg(degrees));
    CtfParams { aberrations, ..CtfParams::default() }
}

/// The image of white noise of phase through a lens, with counting noise; `strength` is the ratio of their powers.
fn rings(n: usize, pixel: f64, lens: &CtfParams, strength: f64, seed: u64) -> Tensor<f32> {
    let mut r = rng::stream(seed, 0);
    let mut z: Vec<Complex<f64>> = (0..n * n).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
    let fft = Fft2::<f64>::new([n, n]).unwrap();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(&mut z, &mut scratch);
    let (ctf, k) = (Ctf::new(lens).unwrap(), frequencies(n, pixel));
    for (i, z) in z.iter_mut().enumerate() {
        *z *= strength.sqrt() * contrast_transfer(ctf.at([k[i / n], k[i % n]], [1e-3; 2]), 0.0);
    }
    fft.inverse(&mut z, &mut scratch);
    Tensor::from_fn(&[n, n], |i| (20.0 + z[i[0] * n + i[1]].re + rng::normal(&mut r)) as f32)
}

fn search() -> ThonParams {
    ThonParams {
        pixel: Length::angstrom(0.5),
        cs: Length::mm(1.2),
        amplitude_contrast: 0.0,
        defocus: [Length::nm(30.0), Length::nm(220.0)],
        astigmatism: Length::nm(32.0),
        resolution: [10.0, 1.8].map(Length::angstrom),
        par: Par::seq(),
        ..ThonParams::default()
    }
}

#[test]
fn white_noise_has_a_flat_spectrum_of_one_over_the_dose() {
    for tiles in [Tiles::Whole, Tiles::Side(64), Tiles::Side(50)] {
        let mut r = rng::stream(3, 0);
        // Two electrons a pixel of 0.25 Å²: 8 e/Å².
        let image = Tensor::from_fn(&[200, 260], |_| rng::poisson(&mut r, 2.0) as f32);
        let p = PowerSpectrumParams { pixel: Length::angstrom(0.5), tiles, ..PowerSpectrumParams::default() };
        let spectrum = PowerSpectrum::new(&image, &p).unwrap();
        let ring = spectrum.rotational();
        let n = ring.k.len();
        let (mut sum, mut chi2) = (0.0, 0.0);
        for i in n / 4..n {
            sum += ring.mean[i] / (n - n / 4) as f64;
            chi2 += (ring.mean[i] * 8.0 - 1.0).powi(2) * ring.count[i] / (n - n / 4) as f64;
        }
        // All rings together hold more than 2500 independent variates: five of their standard deviations.
        assert!((sum * 8.0 - 1.0).abs() < 0.1, "{tiles:?} {sum}");
        // Its mean is 1 where the count of variates is right; rings of windowed tiles are correlated.
        assert!((0.4..1.8).contains(&chi2), "{tiles:?} {chi2}");
    }
}

#[test]
fn threads_do_not_change_a_bit_of_a_fit() {
    let image = rings(256, 0.5, &lens(80.0, 1.2, 0.0, 0.0), 1.0, 5);
    let fit = |par: Par| Thon::new(ThonParams { par, ..search() }).unwrap().fit(&image).unwrap();
    let (a, b) = (fit(Par::seq()), fit(Par::threads(3).unwrap()));
    assert_eq!(a.defocus.to_angstrom().to_bits(), b.defocus.to_angstrom().to_bits());
    assert_eq!(a.confidence.to_bits(), b.confidence.to_bits());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn rings_give_back_defocus_and_astigmatism(
        defocus in 40.0..200.0f64, astigmatism in 8.0..30.0f64, degrees in 0.0..180.0f64, seed in 0u64..1000,
    ) {
        let image = rings(384, 0.5, &lens(defocus, 1.2, astigmatism, degrees), 2.0, seed);
        let fit = Thon::new(search()).unwrap().fit(&image).unwrap();
        // Five of the fit's standard deviations, which are some 0.3 nm.
        let bar = 5.0 * fit.defocus_sigma.to_nm() + 0.2;
        prop_assert!((fit.defocus.to_nm() - defocus).abs() < bar, "{} ± {}", fit.defocus.to_nm(), fit.defocus_sigma.to_nm());
        prop_assert!((fit.astigmatism.to_nm() - astigmatism).abs() < 2.0 * bar, "{}", fit.astigmatism.to_nm());
        // The largest underfocus is across φ12; an error of the size of the bar turns it by bar/astigmatism.
        let turn = (fit.angle.to_deg() - degrees - 90.0).rem_euclid(180.0);
        let turn = turn.min(180.0 - turn);
        prop_assert!(turn < 57.3 * 2.0 * bar / astigmatism, "{turn}");
        prop_assert!(fit.confidence > 0.9, "{}", fit.confidence);
        // The quality is that of the curve along the radius, in which rings of strong astigmatism average out: at 0.5 1/Å 15 nm
        // of it spread the phase of a ring by ±0.37 π, and 28 nm have been seen to leave a quality of 0.3.
        prop_assert!(astigmatism > 15.0 || fit.quality > 0.5, "{}", fit.quality);
    }

    #[test]
    fn noise_without_rings_is_not_believed(seed in 0u64..1000) {
        let mut r = rng::stream(seed, 7);
        let image = Tensor::from_fn(&[256, 256], |_| rng::poisson(&mut r, 2.5) as f32);
        let fit = Thon::new(ThonParams { astigmatism: Length::ZERO, ..search() }).unwrap().fit(&image).unwrap();
        prop_assert!(fit.confidence < 0.9, "{} at {}", fit.confidence, fit.defocus.to_nm());
    }

    #[test]
    fn a_series_of_a_weak_crystal_gives_its_defocus_whatever_its_structure_and_shifts(
        defocus in 30.0..150.0f64, seed in 0u64..1000,
    ) {
        let mut r = rng::stream(seed, 3);
        let steps = [0.0, 20.0, 45.0];
        let shifts = [[0.0; 2], [rng::uniform(&mut r), rng::uniform(&mut r)], [rng::uniform(&mut r), rng::uniform(&mut r)]];
        let mut reflections = Vec::new();
        let sigma = 2e-3;
        for h in 0..=7i32 {
            for l in -7..=7i32 {
                let k = [f64::from(h) / 13.0, f64::from(l) / 11.0];
                if h == 0 && l <= 0 || k[0].hypot(k[1]) > 0.5 {
                    continue;
                }
                let phi = Complex::new(rng::normal(&mut r), rng::normal(&mut r)) * 0.02 * (-4.0 * (k[0] * k[0] + k[1] * k[1])).exp();
                let f = (0..3).map(|j| {
                    let c = contrast_transfer(Ctf::new(&lens(defocus + steps[j], 1.2, 0.0, 0.0)).unwrap().at(k, [1e-3; 2]), 0.0);
                    let turn = -std::f64::consts::TAU * (f64::from(h) * shifts[j][0] + f64::from(l) * shifts[j][1]);
                    phi * 2.0 * c * cis(turn) + Complex::new(rng::normal(&mut r), rng::normal(&mut r)) * sigma * 0.5f64.sqrt()
                });
                reflections.push(FocusReflection { hk: [h, l], k, f: f.collect(), sigma });
            }
        }
        let params = CrystalFocusParams {
            steps: steps.map(Length::nm).to_vec(), focal_spread: Default::default(), registration: Registration::Unknown,
            amplitude_share: 0.01, par: Par::seq(), ..CrystalFocusParams::default()
        };
        let fit = CrystalFocus::new(params).unwrap().fit(&reflections).unwrap();
        prop_assert!(fit.confidence < 0.95 || (fit.defocus.to_nm() - defocus).abs() < 2.0, "{} {}", fit.defocus.to_nm(), fit.confidence);
        prop_assert!(fit.confidence > 0.95, "{} of {}", fit.confidence, fit.defocus.to_nm());
    }
}

/// Gaussian atoms at random in a cell: a phase of the given peak.
fn object(n: usize, peak: f64, seed: u64) -> Tensor<f64> {
    let mut r = rng::stream(seed, 1);
    let atoms: Vec<[f64; 2]> =
        (0..8).map(|_| [rng::uniform(&mut r) * n as f64, rng::uniform(&mut r) * n as f64]).collect();
    Tensor::from_fn(&[n, n], |i| {
        let at = |a: &[f64; 2]| {
            let d2: f64 = (0..2)
                .map(|j| {
                    let d = i[j] as f64 - a[j];
                    (d - n as f64 * (d / n as f64).round()).powi(2)
                })
                .sum();
            (-d2 / 12.0).exp()
        };
        peak * atoms.iter().map(at).sum::<f64>()
    })
}

#[test]
fn correction_brings_back_a_weak_phase_where_the_image_does_not_show_it() {
    let grid = Grid { dims: [64, 64], sampling: [Length::angstrom(0.35); 2] };
    for (seed, defocus) in [(1, 70.0), (2, 95.0), (3, 130.0)] {
        let phase = object(64, 0.05, seed);
        let lens = lens(defocus, 0.01, 0.0, 0.0);
        assert!(weak_phase(&phase, &lens, &grid).unwrap().holds);
        let wave = phase.map(|p| cis(*p)).reshape(&[1, 64, 64]).unwrap();
        let image =
            HrtemImage::<f64>::new(&lens, grid, Averaging::Envelope, Par::seq()).unwrap().images(&wave).unwrap();
        let image = image.reshape(&[64, 64]).unwrap();
        let r = |x: &Tensor<f64>| normalised_correlation(x.as_slice(), phase.as_slice()).unwrap();
        let apply = |correction| {
            let p = CtfCorrectionParams { lens: lens.clone(), correction, grid, ..CtfCorrectionParams::default() };
            CtfCorrection::<f64>::new(p).unwrap().apply(&image).unwrap()
        };
        let (flipped, wiener) = (apply(Correction::PhaseFlip), apply(Correction::Wiener { signal_to_noise: 100.0 }));
        assert!(r(&image).abs() < 0.9, "{}", r(&image));
        assert!(r(&wiener) > 0.93 && r(&flipped) > r(&image).abs(), "{} {} {}", r(&image), r(&flipped), r(&wiener));
    }
}

#[test]
fn the_gradient_explains_the_image_of_a_strong_phase_that_no_linear_filter_does() {
    let grid = Grid { dims: [48, 48], sampling: [Length::angstrom(0.35); 2] };
    let phase = object(48, 1.2, 4);
    let lenses = vec![lens(40.0, 0.01, 0.0, 0.0), lens(65.0, 0.01, 0.0, 0.0)];
    assert!(!weak_phase(&phase, &lenses[0], &grid).unwrap().holds);
    let params = CtfGradientParams {
        lenses: lenses.clone(),
        grid,
        band: SpatialFrequency::per_angstrom(0.9),
        weight: 1e-5,
        iterations: 200,
        par: Par::seq(),
        ..CtfGradientParams::default()
    };
    // The specimen of the model is 1 Å thick: its middle is half of that above the wave.
    let mut images = Vec::new();
    for l in &lenses {
        let mut l = l.clone();
        l.aberrations.set_defocus(l.aberrations.defocus() + Length::angstrom(0.5));
        let wave = phase.map(|p| cis(*p)).reshape(&[1, 48, 48]).unwrap();
        images.extend(
            HrtemImage::<f64>::new(&l, grid, Averaging::Envelope, Par::seq())
                .unwrap()
                .images(&wave)
                .unwrap()
                .into_vec(),
        );
    }
    let images = Tensor::from_vec(&[2, 48, 48], images).unwrap();
    let first = Tensor::from_vec(&[48, 48], images.as_slice()[..48 * 48].to_vec()).unwrap();
    let p = CtfCorrectionParams {
        lens: lenses[0].clone(),
        correction: Correction::Wiener { signal_to_noise: 10.0 },
        grid,
        ..CtfCorrectionParams::default()
    };
    let start = CtfCorrection::<f64>::new(p).unwrap().apply(&first).unwrap();
    let found = CtfGradient::new(params).unwrap().run(&images, &start, &mut silent).unwrap();
    let r = |x: &[f64]| normalised_correlation(x, phase.as_slice()).unwrap();
    assert!(
        r(found.phase.as_slice()) > 0.95 && r(found.phase.as_slice()) > r(start.as_slice()),
        "{} {}",
        r(found.phase.as_slice()),
        r(start.as_slice())
    );
    assert!(found.loss.last().unwrap() < &(0.2 * found.loss[0]), "{:?}", found.loss);
}

/// Reflections below 0.6 1/Å of images of a periodic phase grating at three foci, shifted, with counting noise.
fn strong_series(peak: f64, defocus: f64, steps: [f64; 3], seed: u64) -> Vec<FocusReflection> {
    let n = 48;
    let grid = Grid { dims: [n, n], sampling: [Length::angstrom(0.35); 2] };
    let wave = object(n, peak, seed).map(|p| cis(*p)).reshape(&[1, n, n]).unwrap();
    let (sigma, side) = (1e-3, 0.35 * n as f64);
    let mut r = rng::stream(seed, 5);
    let mut out: Vec<FocusReflection> = Vec::new();
    for (j, step) in steps.iter().enumerate() {
        let l = lens(defocus + step, 1.2, 0.0, 0.0);
        let image = HrtemImage::<f64>::new(&l, grid, Averaging::Envelope, Par::seq()).unwrap().images(&wave).unwrap();
        let mean = image.as_slice().iter().sum::<f64>();
        let shift = [0.13 * j as f64, -0.21 * j as f64];
        let mut i = 0;
        for h in 0i32..=10 {
            for k in -10i32..=10 {
                let q = [f64::from(h) / side, f64::from(k) / side];
                if [h, k] <= [0, 0] || q[0].hypot(q[1]) > 0.6 {
                    continue;
                }
                let turn = |y: f64, x: f64| -std::f64::consts::TAU * (f64::from(h) * y + f64::from(k) * x);
                let sum: Complex<f64> = (0..n * n)
                    .map(|p| cis(turn((p / n) as f64 / n as f64, (p % n) as f64 / n as f64)) * image.as_slice()[p])
                    .sum();
                let noise = Complex::new(rng::normal(&mut r), rng::normal(&mut r)) * sigma * 0.5f64.sqrt();
                let f = sum / mean * cis(turn(shift[0], shift[1])) + noise;
                if j == 0 {
                    out.push(FocusReflection { hk: [h, k], k: q, f: vec![f], sigma });
                } else {
                    out[i].f.push(f);
                    i += 1;
                }
            }
        }
    }
    out
}

fn strong_params(steps: [f64; 3]) -> CrystalFocusParams {
    CrystalFocusParams {
        steps: steps.map(Length::nm).to_vec(),
        focal_spread: Default::default(),
        defocus: [Length::nm(10.0), Length::nm(130.0)],
        amplitude_share: 0.3,
        par: Par::seq(),
        ..CrystalFocusParams::default()
    }
}

fn strong_search(steps: [f64; 3]) -> StrongFocus {
    let series = strong_params(steps);
    StrongFocus::new(StrongFocusParams { series, thickness: Length::nm(0.1), slices: 1, ..Default::default() }).unwrap()
}

#[test]
fn a_series_of_a_strong_phase_gives_its_defocus_and_its_shifts() {
    let steps = [0.0, 25.0, 50.0];
    for (peak, seed, defocus) in [(0.8, 3, 88.0), (1.2, 1, 41.0), (1.2, 2, 63.5)] {
        let series = strong_series(peak, defocus, steps, seed);
        let fit = strong_search(steps).fit(&series).unwrap();
        assert!((fit.defocus.to_nm() - defocus).abs() < 1.0, "{} of {defocus}", fit.defocus.to_nm());
        // The linear model is off by more than it allows for.
        let linear = CrystalFocus::new(strong_params(steps)).unwrap().fit(&series).unwrap();
        assert!((linear.defocus.to_nm() - defocus).abs() > 5.0, "{} of {defocus}", linear.defocus.to_nm());
        assert!(fit.confidence > 0.95 && fit.left < 0.02, "{} {}", fit.confidence, fit.left);
        for (j, s) in fit.shifts.iter().enumerate() {
            let off = [s[0] - 0.13 * j as f64, s[1] + 0.21 * j as f64].map(|d| d - d.round());
            assert!(off[0].hypot(off[1]) < 0.01, "{:?}", fit.shifts);
        }
    }
}

#[test]
fn reflections_of_no_common_object_have_no_trusted_focus() {
    let steps = [0.0, 25.0, 50.0];
    let mut reflections = strong_series(1.0, 60.0, steps, 4);
    for (j, seed) in [(1, 5), (2, 6)] {
        let other = strong_series(1.0, 60.0, steps, seed);
        reflections.iter_mut().zip(&other).for_each(|(r, o)| r.f[j] = o.f[j]);
    }
    let fit = strong_search(steps).fit(&reflections).unwrap();
    assert!(fit.confidence < 0.5 && fit.left > 0.1, "{} {}", fit.confidence, fit.left);
    let one = StrongFocusParams { series: CrystalFocusParams::default(), ..Default::default() };
    assert!(StrongFocus::new(one).is_err(), "one image");
}

#[test]
fn senseless_parameters_are_errors() {
    let image = Tensor::full(&[64, 64], 1.0f32);
    let nan = ThonParams { cs: Length::mm(f64::NAN), ..search() };
    assert!(Thon::new(nan).is_err());
    assert!(Thon::new(ThonParams { pixel: Length::ZERO, ..search() }).is_err());
    assert!(
        Thon::new(ThonParams { defocus: [Length::ZERO, Length::mm(9.0)], astigmatism: Length::mm(1.0), ..search() })
            .is_err()
    );
    assert!(Thon::new(ThonParams { energy: Energy::kev(f64::NAN), ..search() }).is_err());
    assert!(Thon::new(search()).unwrap().fit(&image).is_err(), "an image without any power");
    let mut bad = rings(128, 0.5, &lens(60.0, 1.2, 0.0, 0.0), 1.0, 1);
    bad.as_mut_slice()[17] = f32::NAN;
    assert!(Thon::new(search()).unwrap().fit(&bad).is_err());
    assert!(Thon::new(search()).unwrap().fit(&Tensor::zeros(&[3, 3])).is_err());
    assert!(CrystalFocus::new(CrystalFocusParams { steps: Vec::new(), ..CrystalFocusParams::default() }).is_err());
    assert!(CrystalFocus::new(CrystalFocusParams::default()).unwrap().fit(&[]).is_err());
    let wiener = Correction::Wiener { signal_to_noise: -1.0 };
    assert!(
        CtfCorrection::<f32>::new(CtfCorrectionParams { correction: wiener, ..CtfCorrectionParams::default() })
            .is_err()
    );
    assert!(CtfGradient::new(CtfGradientParams { lenses: Vec::new(), ..CtfGradientParams::default() }).is_err());
}

/// Five columns of 1 to 3 rad at random in a cell of 10 × 12 Å, nothing symmetric: the phase, `[y, x]`, in pixels of ¼ Å.
fn columns(seed: u64) -> ([usize; 2], Vec<f64>) {
    let (dims, cell, width) = ([40usize, 48usize], [10.0, 12.0], 0.35);
    let mut r = rng::stream(seed, 1);
    let atoms: Vec<[f64; 3]> = (0..5)
        .map(|_| [10.0 * rng::uniform(&mut r), 12.0 * rng::uniform(&mut r), 1.0 + 2.0 * rng::uniform(&mut r)])
        .collect();
    let value = |i: usize| {
        let at = [(i / dims[1]) as f64 * 0.25, (i % dims[1]) as f64 * 0.25];
        let one = |a: &[f64; 3]| {
            let d = [0, 1].map(|j| (at[j] - a[j]) - cell[j] * ((at[j] - a[j]) / cell[j]).round());
            a[2] * (-0.5 * (d[0] * d[0] + d[1] * d[1]) / (width * width)).exp()
        };
        atoms.iter().map(one).sum()
    };
    (dims, (0..dims[0] * dims[1]).map(value).collect())
}

/// From the pixels of an image of four by four cells to the phase in one, by way of its reflections: hand and origin are kept, and the
/// answer is right where that of a linear image is not.
#[test]
fn a_strong_phase_follows_from_one_image() {
    let mut linear_failed = 0;
    for seed in 0..4 {
        let (dims, phase) = columns(seed);
        let grid = Grid { dims, sampling: [Length::angstrom(0.25); 2] };
        let lens = CtfParams {
            focal_spread: exitwave::optics::FocalSpread::rms(Length::nm(3.0)),
            ..lens(25.0 + 5.0 * seed as f64, 0.0, 0.0, 0.0)
        };
        let wave: Vec<Complex<f64>> = phase.iter().map(|p| cis(*p)).collect();
        let wave = Tensor::from_vec(&[1, dims[0], dims[1]], wave).unwrap();
        let image = HrtemImage::<f64>::new(&lens, grid, Averaging::Envelope, Par::seq()).unwrap();
        let image = image.images(&wave).unwrap();
        let all = dims.map(|n| 4 * n);
        let lattice = PlaneLattice { origin: [0.0; 2], a: [dims[0] as f64, 0.0], b: [0.0, dims[1] as f64] };
        let params = ReflectionsParams { highest: 0.225, par: Par::seq(), ..Default::default() };
        let mut measured = measure_reflections(all, &tile(image.as_slice(), dims), &lattice, &params).unwrap();
        // Without noise σ is what rounding leaves.
        measured.list.iter_mut().for_each(|r| r.sigma = 1e-4);
        let plan = CrystalPhase::new(CrystalPhaseParams {
            lenses: vec![lens.clone()],
            thickness: Length::angstrom(1.0),
            slices: 1,
            par: Par::seq(),
            ..CrystalPhaseParams::default()
        })
        .unwrap();
        let given = focus_reflections(std::slice::from_ref(&measured), grid.sampling[0]).unwrap();
        let fit = plan.fit(&given).unwrap();
        let band = SpatialFrequency::per_angstrom(0.6);
        let found = fit.plane_reflections(&lattice, band, 1.0).cell(dims).unwrap();
        let limited = |values: &[f64]| {
            let mut some = measure_reflections(all, &tile(values, dims), &lattice, &params).unwrap();
            some.list.retain(|r| given_k(&given, r.index) <= 0.6);
            some.mean = 0.0;
            some.cell(dims).unwrap()
        };
        let truth = limited(&phase);
        let correlation = normalised_correlation(found.as_slice(), truth.as_slice()).unwrap();
        assert!(correlation > 0.97, "seed {seed}: {correlation}, {:?}", (fit.left, fit.chi2));
        let wiener = CtfCorrection::<f64>::new(CtfCorrectionParams {
            lens,
            correction: Correction::Wiener { signal_to_noise: 10.0 },
            grid,
            ..CtfCorrectionParams::default()
        })
        .unwrap();
        let image = image.reshape(&dims).unwrap();
        let wiener = limited(wiener.apply(&image).unwrap().as_slice());
        linear_failed += usize::from(normalised_correlation(wiener.as_slice(), truth.as_slice()).unwrap() < 0.9);
    }
    assert!(linear_failed >= 3, "{linear_failed}");
}

/// Four by four cells.
fn tile(values: &[f64], dims: [usize; 2]) -> Vec<f64> {
    let width = 4 * dims[1];
    (0..16 * values.len()).map(|i| values[i / width % dims[0] * dims[1] + i % width % dims[1]]).collect()
}

fn given_k(given: &[FocusReflection], index: [i32; 2]) -> f64 {
    given.iter().find(|r| r.hk == index).map_or(f64::INFINITY, |r| r.k[0].hypot(r.k[1]))
}

#[test]
fn a_phase_is_refused_for_reflections_that_cannot_be_used() {
    let good = |hk: [i32; 2]| FocusReflection {
        hk,
        k: hk.map(|h| 0.1 * f64::from(h)),
        f: vec![Complex::new(0.1, 0.0)],
        sigma: 1e-3,
    };
    let plan = CrystalPhase::new(CrystalPhaseParams::default()).unwrap();
    let all = [good([1, 0]), good([0, 1]), good([1, 1])];
    assert!(plan.fit(&all).is_ok());
    let spoilt = |f: &dyn Fn(&mut FocusReflection)| {
        let mut all = all.to_vec();
        f(&mut all[1]);
        plan.fit(&all).is_err()
    };
    assert!(spoilt(&|r| r.sigma = 0.0) && spoilt(&|r| r.sigma = f64::NAN) && spoilt(&|r| r.f[0].re = f64::NAN));
    assert!(spoilt(&|r| r.f.clear()) && spoilt(&|r| r.hk = [0, 100_000]) && spoilt(&|r| r.k[0] = f64::INFINITY));
    assert!(plan.fit(&all[..1]).is_err() && plan.fit(&[]).is_err());
    let params = |f: &dyn Fn(&mut CrystalPhaseParams)| {
        let mut p = CrystalPhaseParams::default();
        f(&mut p);
        CrystalPhase::new(p).is_err()
    };
    assert!(params(&|p| p.lenses.clear()) && params(&|p| p.slices = 0) && params(&|p| p.starts = 0));
    assert!(params(&|p| p.thickness = Length::ZERO) && params(&|p| p.share = 0.0) && params(&|p| p.sparsity = -1.0));
    assert!(params(&|p| p.width = Length::angstrom(f64::NAN)) && params(&|p| p.tolerance = 1.0));
}
