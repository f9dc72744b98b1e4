//! `ptycho`: gradients, gauge freedoms, determinism, exact resume, recovery of what was planted.

use std::ops::ControlFlow;

use exitwave::Error;
use exitwave::fft::{Fft2, frequencies};
use exitwave::num_complex::Complex;
use exitwave::observe::{Stop, silent};
use exitwave::par::Par;
use exitwave::ptycho::*;
use exitwave::rng;
use exitwave::shape::Limits;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Length};
use proptest::prelude::*;

type C = Complex<f64>;

fn normals(dims: &[usize], scale: f64, seed: u64) -> Tensor<C> {
    let mut r = rng::stream(seed, 7);
    Tensor::from_fn(dims, |_| {
        let (a, b) = rng::normal_pair(&mut r);
        C::new(a, b) * scale
    })
}

/// A small random problem: object, probe, and counts of another object, so that no gradient vanishes.
fn problem(ny: usize, nx: usize, modes: usize, count: usize, seed: u64) -> (Patterns<f64>, Positions, State<f64>) {
    let mut r = rng::stream(seed, 1);
    let object = [ny + 5, nx + 4];
    let pixels: Vec<[f64; 2]> =
        (0..count).map(|_| [0.3 + 4.0 * rng::uniform(&mut r), 0.3 + 3.0 * rng::uniform(&mut r)]).collect();
    let positions = Positions { pixels: pixels.clone(), object, pixel: [Length::angstrom(1.0); 2] };
    let base = normals(&object, 0.3, seed).map(|z| z + 1.0);
    let probe = normals(&[modes, ny, nx], 0.5, seed ^ 1);
    let mut data = simulate(&base, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    count_electrons(&mut data, seed, &Par::seq());
    data.as_mut_slice()[0] += 1.0;
    let patterns = Patterns::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let noise = normals(&object, 0.1, seed ^ 2);
    let mut moved = base;
    moved.as_mut_slice().iter_mut().zip(noise.as_slice()).for_each(|(o, n)| *o += n);
    let state = State { object: moved, probe, positions: pixels, iteration: 0, loss: Vec::new(), memory: Vec::new() };
    (patterns, positions, state)
}

fn plan(patterns: &Patterns<f64>, positions: &Positions, params: PtychoParams) -> Ptychography<f64> {
    Ptychography::new(patterns.clone(), positions.clone(), params).unwrap()
}

fn seq() -> PtychoParams {
    PtychoParams { par: Par::seq(), ..PtychoParams::default() }
}

/// Central difference of the loss along a direction in everything at once or in one part, beside the gradient's projection on it.
fn check_gradient(ny: usize, nx: usize, modes: usize, seed: u64, loss: Loss, part: usize) {
    let (patterns, positions, state) = problem(ny, nx, modes, 5, seed);
    let plan = plan(&patterns, &positions, seq());
    let g = plan.loss_gradient(&state, loss).unwrap();
    let (d_o, d_p) = (normals(state.object.dims(), 1.0, seed ^ 3), normals(state.probe.dims(), 1.0, seed ^ 4));
    let mut r = rng::stream(seed, 9);
    let d_s: Vec<[f64; 2]> = state.positions.iter().map(|_| [rng::normal(&mut r), rng::normal(&mut r)]).collect();
    let at = |h: f64| {
        let mut s = state.clone();
        match part {
            0 => s.object.as_mut_slice().iter_mut().zip(d_o.as_slice()).for_each(|(o, d)| *o += d * h),
            1 => s.probe.as_mut_slice().iter_mut().zip(d_p.as_slice()).for_each(|(p, d)| *p += d * h),
            _ => s.positions.iter_mut().zip(&d_s).for_each(|(p, d)| *p = [p[0] + d[0] * h, p[1] + d[1] * h]),
        }
        plan.loss_gradient(&s, loss).unwrap().loss
    };
    let re = |g: &[C], d: &[C]| g.iter().zip(d).map(|(g, d)| g.re * d.re + g.im * d.im).sum::<f64>();
    let projected = match part {
        0 => re(g.object.as_slice(), d_o.as_slice()),
        1 => re(g.probe.as_slice(), d_p.as_slice()),
        _ => g.positions.iter().zip(&d_s).map(|(g, d)| g[0] * d[0] + g[1] * d[1]).sum(),
    };
    // Fourth-order central difference: its error is O(h⁴), its rounding ε L/h.
    let h = 1e-4;
    let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
    let scale = projected.abs().max(1e-3 * g.loss);
    assert!((numeric - projected).abs() <= 1e-6 * scale, "part {part}, {loss:?}: {numeric} and {projected}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_gradient_of_the_object_is_the_finite_difference(ny in 3usize..9, nx in 3usize..9, modes in 1usize..4, seed: u64, poisson: bool) {
        let loss = if poisson { Loss::Poisson { background: 0.3 } } else { Loss::Amplitude };
        check_gradient(ny, nx, modes, seed, loss, 0);
    }

    #[test]
    fn the_gradient_of_every_probe_mode_is_the_finite_difference(ny in 3usize..9, nx in 3usize..9, modes in 1usize..4, seed: u64, poisson: bool) {
        let loss = if poisson { Loss::Poisson { background: 0.3 } } else { Loss::Amplitude };
        check_gradient(ny, nx, modes, seed, loss, 1);
    }

    #[test]
    fn the_gradient_of_the_positions_is_the_finite_difference(ny in 3usize..9, nx in 3usize..9, modes in 1usize..4, seed: u64, poisson: bool) {
        let loss = if poisson { Loss::Poisson { background: 0.3 } } else { Loss::Amplitude };
        // Within a pixel's rounding interval the loss is smooth; positions that step over its edge change window, which is smooth too only where
        // the probe does not wrap round: so those near an edge are moved away from it.
        let (patterns, positions, state) = problem(ny, nx, modes, 5, seed);
        let near = state.positions.iter().flatten().any(|p| ((p + 0.5).fract() - 0.0).abs() < 2e-3 || ((p + 0.5).fract() - 1.0).abs() < 2e-3);
        drop((patterns, positions));
        prop_assume!(!near);
        check_gradient(ny, nx, modes, seed, loss, 2);
    }

    #[test]
    fn intensities_do_not_see_the_gauge(ny in 4usize..9, nx in 4usize..9, modes in 1usize..4, seed: u64) {
        let (_, positions, state) = problem(ny, nx, modes, 4, seed);
        // Fixing the gauge moves windows by up to a pixel and shifts the probe; with a margin and whole windows inside nothing is clamped. Ramps and scales are exact; the
        // move of the probe is a cyclic one, which equals a move of the window only up to what wraps round: so only the others are compared here.
        let intensity = |object: &Tensor<C>, probe: &Tensor<C>| {
            simulate(object, probe, &Positions { pixels: state.positions.iter().map(|p| p.map(f64::round)).collect(), ..positions.clone() }, ZeroFrequency::Corner, &Par::seq()).unwrap()
        };
        let before = intensity(&state.object, &state.probe);
        let mut r = rng::stream(seed, 3);
        let q = [rng::normal(&mut r), rng::normal(&mut r)];
        let c = C::from_polar(0.5 + rng::uniform(&mut r), 3.0 * rng::normal(&mut r));
        let width = state.object.dims()[1];
        let ramp = |i: usize, w: usize, sign: f64| C::cis(sign * (q[0] * (i / w) as f64 + q[1] * (i % w) as f64));
        let mut object = state.object.clone();
        object.as_mut_slice().iter_mut().enumerate().for_each(|(i, z)| *z *= c * ramp(i, width, 1.0));
        let mut probe = state.probe.clone();
        let frame = ny * nx;
        probe.as_mut_slice().iter_mut().enumerate().for_each(|(i, z)| *z *= ramp(i % frame, nx, -1.0) / c);
        orthogonalise(probe.as_mut_slice(), modes).unwrap();
        let after = intensity(&object, &probe);
        let scale = before.as_slice().iter().fold(0.0f64, |m, &v| m.max(v));
        for (a, b) in before.as_slice().iter().zip(after.as_slice()) {
            prop_assert!((a - b).abs() <= 1e-11 * scale);
        }
        // The modes are orthogonal now, strongest first.
        for i in 0..modes {
            for j in 0..i {
                let dot: C = probe.row(i).iter().zip(probe.row(j)).map(|(a, b)| a.conj() * b).sum();
                let power = |m: usize| probe.row(m).iter().map(|z| z.norm_sqr()).sum::<f64>();
                prop_assert!(dot.norm() <= 1e-10 * power(0));
                prop_assert!(power(j) >= power(i) * (1.0 - 1e-12));
            }
        }
    }

    #[test]
    fn the_loss_does_not_see_the_order_of_the_patterns(ny in 3usize..9, nx in 3usize..9, seed: u64) {
        let (patterns, positions, state) = problem(ny, nx, 2, 9, seed);
        let order = rng::permutation(&mut rng::stream(seed, 5), 9);
        let mut data = Tensor::<f32>::zeros(&[9, ny, nx]);
        for (to, &from) in order.iter().enumerate() {
            // Back from amplitudes (transposed) to intensities.
            for (i, &a) in patterns.amplitudes(from).iter().enumerate() {
                data.row_mut(to)[i % ny * nx + i / ny] = (a * a).round() as f32;
            }
        }
        let shuffled = Patterns::<f64>::from_source(&data, ZeroFrequency::Corner, None, Limits::default()).unwrap();
        let pick = |p: &[[f64; 2]]| order.iter().map(|&j| p[j]).collect::<Vec<_>>();
        let positions2 = Positions { pixels: pick(&positions.pixels), ..positions.clone() };
        let state2 = State { positions: pick(&state.positions), ..state.clone() };
        let a = plan(&patterns, &positions, seq()).loss_gradient(&state, Loss::Amplitude).unwrap();
        let b = plan(&shuffled, &positions2, seq()).loss_gradient(&state2, Loss::Amplitude).unwrap();
        // Sums in another order: rounding only. (Counts are integers, so that a² is exact after rounding.)
        prop_assert!((a.loss - b.loss).abs() <= 1e-12 * a.loss);
        for (x, y) in a.object.as_slice().iter().zip(b.object.as_slice()) {
            prop_assert!((x - y).norm() <= 1e-9 * (1.0 + x.norm()));
        }
    }

    #[test]
    fn a_pattern_holds_as_many_electrons_as_the_exit_wave(ny in 3usize..12, nx in 3usize..12, modes in 1usize..4, seed: u64) {
        // A pure phase object absorbs nothing, a moved probe loses nothing: Parseval.
        let (_, positions, state) = problem(ny, nx, modes, 4, seed);
        let object = state.object.map(|z| z / z.norm());
        let data = simulate(&object, &state.probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
        let want = (ny * nx) as f64 * state.probe.as_slice().iter().map(|z| z.norm_sqr()).sum::<f64>();
        for j in 0..4 {
            // The cyclic move is unitary.
            prop_assert!((data.row(j).iter().sum::<f64>() / want - 1.0).abs() < 1e-12);
        }
    }
}

/// A smooth random phase object with a little absorption, and a defocused disk as probe: a fair problem.
fn scene(
    n: usize,
    side: usize,
    step: f64,
    margin: usize,
    electrons: f64,
    modes: usize,
) -> (Tensor<C>, Tensor<C>, Positions) {
    let a = Length::angstrom(1.0);
    let s = a * step;
    let positions = Positions::new(&grid([side, side], [s, s], Angle::ZERO), [a, a], [n, n], margin).unwrap();
    let [h, w] = positions.object;
    let smooth = |seed: u64| {
        let mut z = normals(&[h, w], 1.0, seed);
        let fft = Fft2::new([h, w]).unwrap();
        let mut scratch = vec![C::default(); fft.scratch_len()];
        fft.forward(z.as_mut_slice(), &mut scratch);
        let (ky, kx) = (frequencies(h, 1.0), frequencies(w, 1.0));
        for (i, z) in z.as_mut_slice().iter_mut().enumerate() {
            *z *= (-(ky[i / w].powi(2) + kx[i % w].powi(2)) / (2.0 * 0.1f64.powi(2))).exp();
        }
        fft.inverse(z.as_mut_slice(), &mut scratch);
        let sd = (z.as_slice().iter().map(|z| z.re * z.re).sum::<f64>() / (h * w) as f64).sqrt();
        z.map(|z| z / sd)
    };
    let object = smooth(11).map(|z| C::from_polar((1.0 - 0.05 * z.im.abs()).max(0.5), 0.4 * z.re));
    let fft = Fft2::new([n, n]).unwrap();
    let k = frequencies(n, 1.0);
    let mut p: Vec<C> = (0..n * n)
        .map(|i| {
            let k2 = k[i / n].powi(2) + k[i % n].powi(2);
            if k2 <= 0.16 * 0.16 { C::cis(-250.0 * k2) } else { C::default() }
        })
        .collect();
    fft.inverse(&mut p, &mut vec![C::default(); fft.scratch_len()]);
    let mut centred = p.clone();
    exitwave::fft::fft_shift(&[n, n], &p, &mut centred);
    let power: f64 = centred.iter().map(|z| z.norm_sqr()).sum();
    let scale = (electrons / (n * n) as f64 / power).sqrt();
    let probe = Tensor::from_vec(&[n, n], centred.iter().map(|z| z * scale).collect()).unwrap();
    (object, extend_modes(&probe, modes, 0.15).unwrap(), positions)
}

fn algorithms() -> Vec<Algorithm> {
    vec![
        Algorithm::Epie { object_step: 0.7, probe_step: 0.5 },
        Algorithm::Rpie { object_alpha: 0.2, probe_alpha: 0.5 },
        Algorithm::Descent { step: 0.7, regularization: 0.1, batch: 16, loss: Loss::Amplitude },
        Algorithm::Adam { object_rate: 0.02, probe_rate: 0.02, batch: 16, loss: Loss::Poisson { background: 0.1 } },
        Algorithm::Lbfgs { pairs: 4, regularization: 0.1, loss: Loss::Amplitude },
    ]
}

fn narrow(z: &Tensor<C>) -> Tensor<Complex<f32>> {
    z.map(|z| Complex::new(z.re as f32, z.im as f32))
}

fn bits(s: &State<f32>) -> Vec<u32> {
    let words = |z: &[Complex<f32>]| z.iter().flat_map(|z| [z.re.to_bits(), z.im.to_bits()]).collect::<Vec<_>>();
    let mut all = words(s.object.as_slice());
    all.extend(words(s.probe.as_slice()));
    all.extend(s.positions.iter().flatten().map(|p| (p.to_bits() >> 20) as u32));
    all.extend(s.loss.iter().map(|l| (l.to_bits() >> 20) as u32));
    all.extend(s.memory.iter().map(|m| m.to_bits()));
    all
}

#[test]
fn every_algorithm_gives_the_same_bits_for_any_number_of_threads_and_after_a_resume() {
    let (object, probe, positions) = scene(24, 5, 4.0, 3, 1e5, 2);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    for object in [ObjectKind::Complex, ObjectKind::Phase] {
        for algorithm in algorithms() {
            let run = |threads: usize, parts: &[usize]| {
                let params = PtychoParams {
                    algorithm,
                    object,
                    par: Par::threads(threads).unwrap(),
                    probe_from: 1,
                    refine: Some(Refinement { from: 4, ..Refinement::default() }),
                    ..PtychoParams::default()
                };
                let patterns =
                    Patterns::<f32>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
                let plan = Ptychography::new(patterns, positions.clone(), params).unwrap();
                let mut state = plan.start(narrow(&probe)).unwrap();
                for &part in parts {
                    state = plan.run(state, part, &mut silent).unwrap().state;
                }
                bits(&state)
            };
            let one = run(1, &[6]);
            assert!(one == run(2, &[6]), "{algorithm:?} with 2 threads");
            assert!(one == run(3, &[2, 1, 3]), "{algorithm:?} resumed");
        }
    }
}

#[test]
fn every_algorithm_finds_the_object_it_was_given_data_of() {
    let (object, probe, positions) = scene(32, 9, 4.0, 0, 1e6, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Corner, &Par::default()).unwrap();
    for algorithm in algorithms() {
        let patterns = Patterns::<f32>::from_source(&data, ZeroFrequency::Corner, None, Limits::default()).unwrap();
        let params = PtychoParams { algorithm, probe_from: usize::MAX, ..PtychoParams::default() };
        let plan = Ptychography::new(patterns, positions.clone(), params).unwrap();
        let outcome = plan.run(plan.start(narrow(&probe)).unwrap(), 60, &mut silent).unwrap();
        // Where the illumination is at least a fifth of its maximum, up to a phase.
        let weight = outcome.state.illumination();
        let cut = 0.2 * weight.iter().fold(0.0f64, |m, &w| m.max(w));
        let (mut dot, mut aa, mut bb) = (C::default(), 0.0, 0.0);
        for ((z, t), &w) in outcome.state.object.as_slice().iter().zip(object.as_slice()).zip(&weight) {
            if w > cut {
                let z = C::new(f64::from(z.re), f64::from(z.im));
                dot += z * t.conj();
                aa += z.norm_sqr();
                bb += t.norm_sqr();
            }
        }
        let error = (1.0 - (dot.norm_sqr() / (aa * bb)).min(1.0)).sqrt();
        println!("{algorithm:?}: error {error:.4}, loss {:.2e}", outcome.state.loss.last().unwrap());
        // A tenth of the object's own contrast (0.4 rad RMS) would be 0.04.
        assert!(error < 0.04, "{algorithm:?}: {error}");
    }
}

#[test]
fn the_gauge_is_fixed_to_what_the_documentation_says() {
    let (object, probe, positions) = scene(24, 5, 4.0, 4, 1e5, 3);
    let width = object.dims()[1];
    let mut state = State {
        object: object.clone(),
        probe: probe.clone(),
        positions: positions.pixels.clone(),
        iteration: 0,
        loss: Vec::new(),
        memory: Vec::new(),
    };
    let c = C::from_polar(1.7, 2.0);
    let ramp = |i: usize, w: usize, s: f64| C::cis(s * (0.2 * (i / w) as f64 - 0.1 * (i % w) as f64));
    state.object.as_mut_slice().iter_mut().enumerate().for_each(|(i, z)| *z *= c * ramp(i, width, 1.0));
    state.probe.as_mut_slice().iter_mut().enumerate().for_each(|(i, z)| *z *= ramp(i % 576, 24, -1.0) / c);
    state.fix_gauge().unwrap();
    let weight = state.illumination();
    let total: f64 = weight.iter().sum();
    let mean: C = state.object.as_slice().iter().zip(&weight).map(|(z, w)| z * w).sum::<C>() / total;
    let power: f64 = state.object.as_slice().iter().zip(&weight).map(|(z, w)| z.norm_sqr() * w).sum::<f64>() / total;
    assert!(mean.im.abs() < 1e-12 && mean.re > 0.5, "{mean}");
    assert!((power - 1.0).abs() < 1e-12);
    // The same object without the planted ramp, phase and scale gives the same result.
    let mut plain = State { object, probe, ..state.clone() };
    plain.positions = positions.pixels.clone();
    plain.fix_gauge().unwrap();
    for (a, b) in plain.object.as_slice().iter().zip(state.object.as_slice()) {
        assert!((a - b).norm() < 1e-9, "{a} {b}");
    }
    // And it is a fixed point.
    let again = {
        let mut s = state.clone();
        s.fix_gauge().unwrap();
        s
    };
    for (a, b) in again.object.as_slice().iter().zip(state.object.as_slice()) {
        assert!((a - b).norm() < 1e-6, "{a} {b}");
    }
}

#[test]
fn cancelling_returns_what_was_found() {
    let (object, probe, positions) = scene(16, 3, 3.0, 0, 1e4, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f64>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let plan = Ptychography::new(patterns, positions, seq()).unwrap();
    let mut seen = Vec::new();
    let outcome = plan
        .run(plan.start(probe).unwrap(), 50, &mut |s| {
            seen.push((s.iteration, s.total));
            if s.iteration == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!((outcome.stop, outcome.iterations, outcome.state.loss.len()), (Stop::Cancelled, 3, 3));
    assert_eq!(seen, [(1, 50), (2, 50), (3, 50)]);
    assert!(outcome.state.loss[2] < outcome.state.loss[0]);
}

#[test]
fn masked_pixels_have_no_influence() {
    let (object, probe, positions) = scene(16, 4, 3.0, 0, 1e4, 1);
    let clean = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let mut mask = vec![true; 256];
    let mut dirty = clean.clone();
    for bad in [5, 100, 137] {
        mask[bad] = false;
        (0..16).for_each(|j| dirty.row_mut(j)[bad] = 1e9);
    }
    let run = |data: &Tensor<f64>| {
        let patterns =
            Patterns::<f64>::from_source(data, ZeroFrequency::Center, Some(&mask), Limits::default()).unwrap();
        let plan = Ptychography::new(patterns, positions.clone(), seq()).unwrap();
        plan.run(plan.start(probe.clone()).unwrap(), 3, &mut silent).unwrap().state
    };
    assert!(run(&clean) == run(&dirty));
}

#[test]
fn bad_input_is_an_error_with_its_numbers() {
    let (object, probe, positions) = scene(16, 3, 3.0, 0, 1e4, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f64>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let new = |positions: Positions, params| Ptychography::new(patterns.clone(), positions, params);
    let with = |algorithm| PtychoParams { algorithm, ..seq() };
    let param = |r: Result<Ptychography<f64>, Error>| matches!(r, Err(Error::Param { .. }));

    let mut fewer = positions.clone();
    fewer.pixels.pop();
    assert!(matches!(new(fewer, seq()), Err(Error::Shape { .. })));
    let mut outside = positions.clone();
    outside.pixels[4] = [-3.0, 1.0];
    assert!(matches!(new(outside, seq()), Err(Error::Data { index: 4, .. })));
    assert!(param(new(positions.clone(), with(Algorithm::Epie { object_step: f64::NAN, probe_step: 0.5 }))));
    assert!(param(new(positions.clone(), with(Algorithm::Rpie { object_alpha: 0.0, probe_alpha: 0.5 }))));
    let whole = PtychoParams { placement: Placement::Whole, refine: Some(Refinement::default()), ..seq() };
    assert!(param(new(positions.clone(), whole)));

    let plan = new(positions.clone(), PtychoParams { limits: Limits { bytes: 1000 }, ..seq() }).unwrap();
    assert!(matches!(plan.start(probe.clone()), Err(Error::OverBudget { budget: 1000, .. })));
    let plan = new(positions.clone(), seq()).unwrap();
    assert!(matches!(plan.start(Tensor::zeros(&[1, 16, 15])), Err(Error::Shape { .. })));
    assert!(matches!(plan.start(Tensor::zeros(&[1, 16, 16])), Err(Error::Data { .. })));
    assert!(matches!(plan.start(probe.map(|_| C::new(f64::NAN, 0.0))), Err(Error::Data { .. })));
    let mut state = plan.start(probe.clone()).unwrap();
    state.object = Tensor::zeros(&[3, 3]);
    assert!(matches!(plan.run(state, 1, &mut silent), Err(Error::Checkpoint { .. })));

    // One position is a legal, if poor, data set.
    let one = Positions { pixels: vec![[0.0, 0.0]], object: [16, 16], pixel: positions.pixel };
    let first = Tensor::from_vec(&[1, 16, 16], data.row(0).to_vec()).unwrap();
    let patterns = Patterns::<f64>::from_source(&first, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let plan = Ptychography::new(patterns, one, seq()).unwrap();
    assert!(plan.run(plan.start(probe).unwrap(), 2, &mut silent).is_ok());
}
