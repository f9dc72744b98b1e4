//! Focal series: the model is the crate's image, its gradients, its gauge; the retrieval resumes, and does not depend on threads.

use exitwave::autodiff::check_function_at;
use exitwave::hrtem::{
    ExitWave, ExitWaveParams, FOCAL_WORDS, FocalFreedom, FocalImage, FocalRegistration, FocalSeries,
    FocalSeriesFunction, FocalSeriesParams, FocalVariables, focal_errors, refocus, restore_linear,
};
use exitwave::multislice::{Averaging, HrtemImage};
use exitwave::num_complex::Complex;
use exitwave::observe::{ControlFlow, Step, Stop, silent};
use exitwave::optics::{Aberration, Aberrations, Aperture, CtfParams, FocalSpread, Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::shape::Space;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Length, SpatialFrequency};
use exitwave::{Error, rng};
use proptest::prelude::*;

fn lens(seed: u64) -> Aberrations {
    let mut r = rng::stream(seed, 7);
    let mut lens = Aberrations::from_defocus(Length::angstrom(100.0 * rng::normal(&mut r)));
    lens.set_cs(Length::um(20.0 * rng::normal(&mut r)));
    lens.set_astigmatism(Length::angstrom(30.0), Angle::rad(rng::normal(&mut r)));
    lens.set_coma(Length::angstrom(200.0), Angle::rad(rng::normal(&mut r)));
    lens
}

fn series(dims: [usize; 2], n: usize, seed: u64) -> FocalSeriesParams {
    let mut r = rng::stream(seed, 3);
    let foci: Vec<Length> = (0..n).map(|k| Length::angstrom(60.0 * k as f64 - 90.0)).collect();
    let mut images = FocalImage::series(&foci, &lens(seed));
    for image in &mut images {
        image.shift = [0, 1].map(|_| Length::angstrom(rng::normal(&mut r)));
    }
    FocalSeriesParams {
        grid: Grid { dims, sampling: [Length::angstrom(0.25), Length::angstrom(0.23)] },
        images,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(18.0) },
        focal_spread: FocalSpread::rms(Length::angstrom(20.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.4)),
        par: Par::seq(),
        ..FocalSeriesParams::default()
    }
}

/// A wave of modulus about 1 whose spectrum lies inside the aperture.
fn wave(params: &FocalSeriesParams, seed: u64) -> Vec<Complex<f64>> {
    let mut r = rng::stream(seed, 5);
    let z: Vec<_> = (0..params.grid.len())
        .map(|_| Complex::new(1.0 + 0.5 * rng::normal(&mut r), 0.5 * rng::normal(&mut r)))
        .collect();
    let energy = params.energy;
    let limit = SpatialFrequency::per_angstrom(0.7);
    refocus(&z, &params.grid, energy, Length::ZERO, [Length::ZERO; 2], limit).unwrap()
}

fn averaging() -> impl Strategy<Value = Averaging> {
    prop_oneof![Just(Averaging::Envelope), Just(Averaging::Explicit { focus: 3, directions: 2 })]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_image_of_a_series_is_the_image_of_its_lens(
        ny in 6usize..17, nx in 6usize..17, seed in 0u64..100, averaging in averaging(),
    ) {
        // Not shifted: `HrtemImage` has no shift.
        let mut params = FocalSeriesParams { averaging, ..series([ny, nx], 3, seed) };
        params.images.iter_mut().for_each(|i| i.shift = [Length::ZERO; 2]);
        let psi = wave(&params, seed);
        let images = FocalSeries::new(&params).unwrap().images(&psi).unwrap();
        for (k, image) in params.images.iter().enumerate() {
            let ctf = CtfParams {
                energy: params.energy,
                aberrations: image.lens,
                aperture: params.aperture,
                focal_spread: params.focal_spread,
                source_angle: params.source_angle,
                ..CtfParams::default()
            };
            let other = HrtemImage::<f64>::new(&ctf, params.grid, averaging, Par::seq()).unwrap();
            let other = other.images(&Tensor::from_vec(&[1, ny, nx], psi.clone()).unwrap()).unwrap();
            for (a, b) in images.row(k).iter().zip(other.as_slice()) {
                // Two transforms of sums of order 1; polar and Cartesian aberrations differ by rounding of χ < 100 rad.
                prop_assert!((a - b).abs() < 1e-11, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn gradients_by_wave_foci_shifts_and_aberrations_are_those_of_finite_differences(
        ny in 8usize..13, nx in 8usize..13, seed in 0u64..1000, averaging in averaging(),
    ) {
        let params = FocalSeriesParams { averaging, ..series([ny, nx], 2, seed) };
        let psi = wave(&params, seed);
        // The numbers of an image enter scaled by units in which each turns the phase by about a radian: a linear map, tested with the function.
        let f = Scaled { inner: FocalSeriesFunction::new(FocalSeries::new(&params).unwrap()), units: units() };
        let numbers: Vec<f64> = params.images.iter()
            .flat_map(|i| i.to_words().iter().zip(&units()).map(|(w, u)| w / u).collect::<Vec<_>>())
            .collect();
        let inputs = [Space::complex(&[ny, nx]), Space::real(&[2, FOCAL_WORDS])];
        let words: Vec<f64> = psi.iter().flat_map(|z| [z.re, z.im]).collect();
        let error = check_function_at(&f, &inputs, &[words, numbers], seed).unwrap();
        prop_assert!(error <= 1e-6, "{}", error);
    }

    #[test]
    fn intensity_is_conserved_by_a_coherent_lens_without_aperture(
        ny in 4usize..20, nx in 4usize..20, seed in 0u64..100,
    ) {
        let params = FocalSeriesParams {
            focal_spread: FocalSpread::ZERO,
            source_angle: SourceAngle::ZERO,
            aperture: Aperture::Open,
            ..series([ny, nx], 3, seed)
        };
        let psi = wave(&params, seed);
        let sum: f64 = psi.iter().map(|z| z.norm_sqr()).sum();
        let images = FocalSeries::new(&params).unwrap().images(&psi).unwrap();
        for k in 0..3 {
            // Parseval, to the rounding of the transforms.
            prop_assert!((images.row(k).iter().sum::<f64>() - sum).abs() < 1e-12 * sum);
        }
    }

    #[test]
    fn a_common_focus_and_shift_are_a_gauge(
        ny in 6usize..16, nx in 6usize..16, seed in 0u64..100, f in -100.0f64..100.0, y in -2.0f64..2.0, x in -2.0f64..2.0,
    ) {
        // Exact where the beam is parallel.
        let params = FocalSeriesParams { source_angle: SourceAngle::ZERO, ..series([ny, nx], 3, seed) };
        let psi = wave(&params, seed);
        let (focus, shift) = (Length::angstrom(f), [y, x].map(Length::angstrom));
        let limit = SpatialFrequency::per_angstrom(10.0);
        let moved = refocus(&psi, &params.grid, params.energy, focus, shift, limit).unwrap();
        let mut other = params.clone();
        for image in &mut other.images {
            image.lens.set_defocus(image.defocus() - focus);
            image.shift = [0, 1].map(|a| image.shift[a] - shift[a]);
        }
        let a = FocalSeries::new(&params).unwrap().images(&psi).unwrap();
        let b = FocalSeries::new(&other).unwrap().images(&moved).unwrap();
        for (a, b) in a.as_slice().iter().zip(b.as_slice()) {
            prop_assert!((a - b).abs() < 1e-11, "{} {}", a, b);
        }
        let errors = focal_errors(&other.images, &params.images, None).unwrap();
        prop_assert!(errors.focus_max().to_angstrom() < 1e-9 && errors.shift_max().to_angstrom() < 1e-9);
    }

    #[test]
    fn linear_restoration_inverts_the_linear_image(seed in 0u64..100) {
        // A weak object, so that what is quadratic in it is below the tolerance; ε and the zeros of the transfer set the rest.
        let params = FocalSeriesParams { source_angle: SourceAngle::ZERO, ..series([16, 15], 8, seed) };
        let strength = 1e-4;
        let mut psi: Vec<Complex<f64>> = wave(&params, seed);
        let mean = psi.iter().sum::<Complex<f64>>() / psi.len() as f64;
        psi.iter_mut().for_each(|z| *z = 1.0 + (*z - mean) * strength);
        let images = FocalSeries::new(&params).unwrap().images(&psi).unwrap();
        let found = restore_linear(&params, &images, 1e-6).unwrap();
        let (mut error, mut size) = (0.0, 0.0);
        for (a, b) in found.as_slice().iter().zip(&psi) {
            error += (a - b).norm_sqr();
            size += (b - 1.0).norm_sqr();
        }
        // Frequencies next to zero have phases that hardly change with focus: up to one part in a hundred is lost in ε.
        prop_assert!(error < 1e-2 * size, "{}", (error / size).sqrt());
    }
}

fn units() -> [f64; FOCAL_WORDS] {
    let mut u = [0.5; FOCAL_WORDS];
    for (i, which) in Aberration::ALL.into_iter().enumerate() {
        // λ/(2π) (n + 1)/α^{n+1} at 20 mrad, just beyond the aperture.
        let n = which.n() as i32;
        let unit = 0.0197 / std::f64::consts::TAU * f64::from(n + 1) / 0.02f64.powi(n + 1);
        (u[2 * i], u[2 * i + 1]) = (unit, unit);
    }
    u
}

/// The function with its numbers in other units.
#[derive(Debug)]
struct Scaled {
    inner: FocalSeriesFunction<f64>,
    units: [f64; FOCAL_WORDS],
}

impl exitwave::autodiff::Function<f64> for Scaled {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        self.inner.infer(inputs)
    }
    fn needs(&self, inputs: &[&Space]) -> exitwave::autodiff::Needs {
        self.inner.needs(inputs)
    }
    fn scratch_len(&self, inputs: &[&Space]) -> usize {
        self.inner.scratch_len(inputs)
    }
    fn forward(
        &self,
        x: &[&[f64]],
        y: &mut [f64],
        tape: &mut [f64],
        scratch: &mut [f64],
        mode: exitwave::autodiff::Mode,
    ) {
        let words: Vec<f64> = x[1].iter().enumerate().map(|(i, w)| w * self.units[i % FOCAL_WORDS]).collect();
        self.inner.forward(&[x[0], &words], y, tape, scratch, mode);
    }
    fn backward(
        &self,
        x: &[&[f64]],
        y: &[f64],
        tape: &[f64],
        dy: &[f64],
        dx: &mut [Option<(&mut [f64], exitwave::op::Write)>],
        scratch: &mut [f64],
    ) {
        let words: Vec<f64> = x[1].iter().enumerate().map(|(i, w)| w * self.units[i % FOCAL_WORDS]).collect();
        let mut by = vec![0.0; words.len()];
        let (first, second) = dx.split_at_mut(1);
        let wave = first[0].as_mut().map(|(g, w)| (&mut **g, *w));
        let wanted = second[0].is_some();
        let numbers = if wanted { Some((&mut by[..], exitwave::op::Write::Set)) } else { None };
        self.inner.backward(&[x[0], &words], y, tape, dy, &mut [wave, numbers], scratch);
        if let Some((out, w)) = &mut second[0] {
            for (i, (out, by)) in out.iter_mut().zip(&by).enumerate() {
                exitwave::op::write(out, by * self.units[i % FOCAL_WORDS], *w);
            }
        }
    }
}

/// A small series with its counts, expected ones.
fn small() -> (FocalSeriesParams, Vec<Complex<f64>>, Tensor<f64>) {
    let params = series([20, 18], 5, 4);
    let psi = wave(&params, 4);
    let mut counts = FocalSeries::new(&params).unwrap().images(&psi).unwrap();
    counts.as_mut_slice().iter_mut().for_each(|c| *c *= 40.0);
    (params, psi, counts)
}

fn plan(series: FocalSeriesParams) -> ExitWave {
    let free = FocalVariables {
        focus: FocalFreedom::Each,
        shift: FocalFreedom::Each,
        aberrations: vec![(Aberration::C12, FocalFreedom::Each), (Aberration::C30, FocalFreedom::Common)],
    };
    let mut params = ExitWaveParams { series, registration: FocalRegistration::Known, ..ExitWaveParams::default() };
    params.stages.truncate(2);
    for stage in &mut params.stages {
        stage.iterations = 6;
    }
    params.stages[1].free = free;
    params.tolerance = 0.0;
    ExitWave::new(params).unwrap()
}

#[test]
fn a_run_in_parts_gives_the_bits_of_one_run_and_so_do_threads() {
    let (params, _, counts) = small();
    let whole = plan(params.clone());
    let start = whole.start(&counts, None, &mut silent).unwrap();
    let all = whole.run(&counts, None, start.clone(), usize::MAX, &mut silent).unwrap();
    assert_eq!(all.iterations, 12);
    let mut state = start;
    for part in [4, 5, 100] {
        state = whole.run(&counts, None, state, part, &mut silent).unwrap().state;
    }
    assert_eq!(state, all.state);
    let many = plan(FocalSeriesParams { par: Par::threads(3).unwrap(), ..params });
    let start = many.start(&counts, None, &mut silent).unwrap();
    assert_eq!(many.run(&counts, None, start, usize::MAX, &mut silent).unwrap().state, all.state);
}

#[test]
fn an_observer_ends_a_run_which_returns_the_best_so_far() {
    let (params, _, counts) = small();
    let plan = plan(params);
    let start = plan.start(&counts, None, &mut silent).unwrap();
    let mut stop = |s: &Step| if s.iteration == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let found = plan.run(&counts, None, start, usize::MAX, &mut stop).unwrap();
    assert_eq!((found.stop, found.iterations), (Stop::Cancelled, 3));
    assert!(found.loss[2] < found.loss[0]);
}

#[test]
fn pixels_without_weight_may_hold_anything() {
    let (params, _, counts) = small();
    let plan = plan(params);
    let (mut weights, mut spoilt) = (counts.map(|_| 1.0), counts.clone());
    for k in 0..5 {
        (weights[[k, 3, 4]], spoilt[[k, 3, 4]]) = (0.0, 1e5);
    }
    let run = |c: &Tensor<f64>| {
        let start = plan.start(c, Some(&weights), &mut silent).unwrap();
        plan.run(c, Some(&weights), start, 8, &mut silent).unwrap()
    };
    assert_eq!(run(&counts).wave, run(&spoilt).wave);
}

#[test]
fn impossible_series_are_errors() {
    let (params, _, counts) = small();
    let with = |change: &dyn Fn(&mut ExitWaveParams)| {
        let mut p = ExitWaveParams { series: params.clone(), ..ExitWaveParams::default() };
        change(&mut p);
        ExitWave::new(p)
    };
    assert!(with(&|_| {}).is_ok());
    assert!(with(&|p| p.series.images.clear()).is_err());
    assert!(with(&|p| p.series.images[0].shift[0] = Length::angstrom(f64::NAN)).is_err());
    assert!(with(&|p| p.series.images[0].lens.set_defocus(Length::angstrom(f64::INFINITY))).is_err());
    assert!(with(&|p| p.stages.clear()).is_err());
    assert!(with(&|p| p.epsilon = 0.0).is_err());
    assert!(with(&|p| p.pairs = 0).is_err());
    assert!(with(&|p| p.series.limits.bytes = 1000).is_err());
    assert!(with(&|p| p.stages[1].free.aberrations.push((Aberration::C10, FocalFreedom::Each))).is_err());
    let plan = with(&|_| {}).unwrap();
    let mut bad = counts.clone();
    bad[[1, 2, 3]] = f64::NAN;
    assert!(matches!(plan.start(&bad, None, &mut silent), Err(Error::Data { .. })));
    bad.as_mut_slice().fill(0.0);
    assert!(matches!(plan.start(&bad, None, &mut silent), Err(Error::Data { .. })));
    let few = Tensor::<f64>::zeros(&[4, 20, 18]);
    assert!(matches!(plan.start(&few, None, &mut silent), Err(Error::Shape { .. })));
    let mut state = plan.start(&counts, None, &mut silent).unwrap();
    state.words.pop();
    assert!(matches!(plan.run(&counts, None, state, 1, &mut silent), Err(Error::Checkpoint { .. })));
}
