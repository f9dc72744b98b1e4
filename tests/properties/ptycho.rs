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

/// Central difference of the loss along a direction in everything at once or in one part, beside the gradient's
/// projection on it.
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
        // Within a pixel's rounding interval the loss is smooth; positions that step over its edge change window, which
        // is smooth too only where the probe does not wrap round: so those near an edge are moved away from it.
        let (patterns, positions, state) = problem(ny, nx, modes, 5, seed);
        let near = state.positions.iter().flatten().any(|p| ((p + 0.5).fract() - 0.0).abs() < 2e-3 || ((p + 0.5).fract() - 1.0).abs() < 2e-3);
        drop((patterns, positions));
        prop_assume!(!near);
        check_gradient(ny, nx, modes, seed, loss, 2);
    }

    #[test]
    fn intensities_do_not_see_the_gauge(ny in 4usize..9, nx in 4usize..9, modes in 1usize..4, seed: u64) {
        let (_, positions, state) = problem(ny, nx, modes, 4, seed);
        // Fixing the gauge moves windows by up to a pixel and shifts the probe; with a margin and whole windows inside
        // nothing is clamped. Ramps and scales are exact; the move of the probe is a cyclic one, which equals a move of
        // the window only up to what wraps round: so only the others are compared here.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn refinement_finds_a_pattern_that_was_moved_by_a_fifth_of_a_pixel(n in 15usize..19, modes in 1usize..3, moved in 0usize..9, angle in 0.0..std::f64::consts::TAU) {
        let (object, probe, mut positions) = scene(n, 3, 4.0, 2, 1e5, modes);
        // Off the pixels, and off the edges of their rounding.
        positions.pixels.iter_mut().for_each(|p| *p = [p[0] + 0.13, p[1] - 0.21]);
        let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
        let patterns = Patterns::<f64>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
        // The true object and probe, which a step of 0 leaves alone.
        let algorithm = Algorithm::Epie { object_step: 0.0, probe_step: 0.0 };
        let refine = Some(Refinement { from: 0, ..Refinement::default() });
        let plan = Ptychography::new(patterns, positions.clone(), PtychoParams { algorithm, refine, ..seq() }).unwrap();
        let mut state = State { object: object.clone(), probe, positions: positions.pixels.clone(), iteration: 0, loss: vec![], memory: vec![] };
        state.positions[moved][0] += 0.2 * angle.sin();
        state.positions[moved][1] += 0.2 * angle.cos();
        let found = plan.run(state, 6, &mut silent).unwrap().state;
        prop_assert!(found.object == object);
        for (p, truth) in found.positions.iter().zip(&positions.pixels) {
            prop_assert!((p[0] - truth[0]).hypot(p[1] - truth[1]) < 1e-3, "{p:?} for {truth:?}");
        }
    }

    #[test]
    fn fixing_the_gauge_changes_no_intensity(ny in 30usize..34, nx in 30usize..34, modes in 1usize..4, seed: u64) {
        // A smooth probe, off centre, with a ramp, which is 1e-6 of its maximum at the rim of its window; modes mixed.
        let mut r = rng::stream(seed, 2);
        let mut u = |a: f64| a * (2.0 * rng::uniform(&mut r) - 1.0);
        let (c, q, scale, turn) = ([u(1.5), u(1.5)], [u(0.2), u(0.2)], 1.0 + u(0.5), u(3.0));
        let object = normals(&[ny + 9, nx + 9], 0.1, seed).map(|z| (z + 1.0) * C::from_polar(scale, turn));
        let pixels: Vec<[f64; 2]> = (0..5).map(|_| [4.0 + u(1.9), 4.0 + u(1.9)]).collect();
        let one = Tensor::from_fn(&[ny, nx], |i| {
            let d = [i[0] as f64 - (ny / 2) as f64 - c[0], i[1] as f64 - (nx / 2) as f64 - c[1]];
            C::from_polar(3.0 * (-(d[0] * d[0] + d[1] * d[1]) / 12.0).exp(), q[0] * d[0] + q[1] * d[1])
        });
        let mut probe = extend_modes(&one, modes, 0.2).unwrap();
        if modes > 1 {
            let (a, b) = (0.6, 0.8);
            for i in 0..ny * nx {
                let (x, y) = (probe.as_slice()[i], probe.as_slice()[ny * nx + i]);
                probe.as_mut_slice()[i] = x * a - y * b;
                probe.as_mut_slice()[ny * nx + i] = x * b + y * a;
            }
        }
        let mut state = State { object, probe, positions: pixels, iteration: 0, loss: vec![], memory: vec![] };
        let intensities = |s: &State<f64>| {
            let positions = Positions { pixels: s.positions.clone(), object: [ny + 9, nx + 9], pixel: [Length::angstrom(1.0); 2] };
            simulate(&s.object, &s.probe, &positions, ZeroFrequency::Corner, &Par::seq()).unwrap()
        };
        let before = intensities(&state);
        let places = state.positions.clone();
        state.fix_gauge().unwrap();
        prop_assert!(state.positions.iter().zip(&places).any(|(a, b)| (a[0] - b[0]).abs() > 1e-3));
        let after = intensities(&state);
        let max = before.as_slice().iter().fold(0.0f64, |m, &v| m.max(v));
        let worst = before.as_slice().iter().zip(after.as_slice()).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        prop_assert!(worst < 1e-5 * max, "{}", worst / max);
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

fn bits(s: &State<f32>) -> Vec<u64> {
    let words =
        |z: &[Complex<f32>]| z.iter().flat_map(|z| [z.re, z.im]).map(|v| v.to_bits().into()).collect::<Vec<_>>();
    let mut all = words(s.object.as_slice());
    all.extend(words(s.probe.as_slice()));
    all.extend(s.positions.iter().flatten().map(|p| p.to_bits()));
    all.extend(s.loss.iter().map(|l| l.to_bits()));
    all.extend(s.memory.iter().map(|m| u64::from(m.to_bits())));
    all.push(s.iteration as u64);
    all
}

#[test]
fn lbfgs_in_two_halves_gives_the_bits_of_the_whole() {
    let (object, probe, positions) = scene(20, 5, 4.0, 3, 1e5, 2);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    // Positions a little off, so that they move.
    let mut wrong = positions.clone();
    wrong.pixels.iter_mut().enumerate().for_each(|(j, p)| p[j % 2] += 0.3 * (j as f64).sin());
    for (kind, refine, pairs) in [
        (ObjectKind::Complex, None, 3),
        (ObjectKind::Phase, None, 0),
        (ObjectKind::Complex, Some(Refinement { from: 4, ..Refinement::default() }), 3),
        (ObjectKind::Phase, Some(Refinement { from: 12, ..Refinement::default() }), 5),
    ] {
        let run = |parts: &[usize]| {
            let algorithm = Algorithm::Lbfgs { pairs, regularization: 0.1, loss: Loss::Amplitude };
            let params = PtychoParams {
                algorithm,
                object: kind,
                par: Par::seq(),
                probe_from: 7,
                refine,
                ..PtychoParams::default()
            };
            let patterns = Patterns::<f32>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
            let plan = Ptychography::new(patterns, wrong.clone(), params).unwrap();
            let mut state = plan.start(narrow(&probe)).unwrap();
            for &part in parts {
                state = plan.run(state, part, &mut silent).unwrap().state;
            }
            state
        };
        let whole = run(&[20]);
        assert!(refine.is_none() || whole.positions != wrong.pixels);
        assert!(whole.loss[19] < 0.5 * whole.loss[0], "{kind:?}: {:?}", whole.loss);
        assert!(bits(&whole) == bits(&run(&[10, 10])), "{kind:?}, {refine:?} in halves");
        assert!(bits(&whole) == bits(&run(&[1, 6, 5, 1, 7])), "{kind:?}, {refine:?} in pieces");
    }
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
fn a_run_that_diverges_is_an_error_even_in_its_last_iteration() {
    let (object, probe, positions) = scene(16, 3, 3.0, 0, 1e4, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f32>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let algorithm = Algorithm::Adam { object_rate: 1e300, probe_rate: 0.1, batch: 0, loss: Loss::Amplitude };
    let plan = Ptychography::new(patterns, positions, PtychoParams { algorithm, ..seq() }).unwrap();
    let start = plan.start(narrow(&probe)).unwrap();
    let end = plan.run(start.clone(), 1, &mut silent);
    assert!(matches!(end, Err(Error::NotFinite { ref node, step: 0 }) if node == "object"), "{end:?}");
    // The state that was kept is as good as before.
    assert!(plan.run(start, 0, &mut silent).is_ok());
}

#[test]
fn algorithms_may_follow_each_other_on_one_state() {
    // What one remembers is of no use to the next, and does no harm.
    let (object, probe, positions) = scene(16, 4, 3.0, 0, 1e5, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f64>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let run = |state, algorithm, iterations| {
        let params = PtychoParams { algorithm, probe_from: usize::MAX, ..seq() };
        let plan = Ptychography::new(patterns.clone(), positions.clone(), params).unwrap();
        plan.run(state, iterations, &mut silent).unwrap().state
    };
    let adam = Algorithm::Adam { object_rate: 0.02, probe_rate: 0.02, batch: 0, loss: Loss::Amplitude };
    let lbfgs = Algorithm::Lbfgs { pairs: 1, regularization: 0.1, loss: Loss::Amplitude };
    let epie = Algorithm::Epie { object_step: 0.5, probe_step: 0.5 };
    let first = Ptychography::new(patterns.clone(), positions.clone(), seq()).unwrap().start(probe).unwrap();
    for other in [lbfgs, epie] {
        let before = run(first.clone(), other, 4);
        // Adam starts with the step it would make from this object and probe alone.
        let fresh = State { memory: Vec::new(), iteration: 0, loss: Vec::new(), ..before.clone() };
        let (a, b) = (run(before, adam, 1), run(fresh, adam, 1));
        assert!(a.object == b.object);
        // And so does L-BFGS after it.
        let fresh = State { memory: Vec::new(), ..a.clone() };
        assert!(run(a, lbfgs, 2) == run(fresh, lbfgs, 2));
    }
}

#[test]
fn huge_parameters_are_errors_or_do_what_they_say() {
    let (object, probe, positions) = scene(16, 3, 3.0, 0, 1e4, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f32>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let new = |params| Ptychography::new(patterns.clone(), positions.clone(), params).unwrap();
    let all = usize::MAX;
    // As many iterations as the observer lets it, of batches and with a memory as large as they may be.
    for algorithm in [
        Algorithm::Epie { object_step: 0.5, probe_step: 0.5 },
        Algorithm::Descent { step: 0.5, regularization: 1e-300, batch: all, loss: Loss::Amplitude },
        Algorithm::Lbfgs { pairs: all, regularization: 1e-300, loss: Loss::Amplitude },
    ] {
        let plan = new(PtychoParams { algorithm, seed: u64::MAX, ..seq() });
        let mut state = plan.start(narrow(&probe)).unwrap();
        for _ in 0..2 {
            let mut two = 0;
            let outcome = plan.run(state, all, &mut |_| {
                two += 1;
                if two == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            state = outcome.unwrap().state;
        }
        assert_eq!(state.iteration, 4);
        assert!(state.loss[3] < state.loss[0], "{algorithm:?} {:?}", state.loss);
    }
    let lbfgs = Algorithm::Lbfgs { pairs: all, regularization: 0.1, loss: Loss::Amplitude };
    assert!(new(PtychoParams { algorithm: lbfgs, ..seq() }).workspace_bytes(usize::MAX) == u64::MAX);
    let limited = new(PtychoParams { algorithm: lbfgs, limits: Limits { bytes: 1 << 30 }, ..seq() });
    assert!(matches!(limited.start(narrow(&probe)), Err(Error::OverBudget { .. })));
    // Probes so weak or so strong that their squares leave the range of `f32`.
    let plan = new(seq());
    let usual = plan.start(narrow(&probe)).unwrap();
    for factor in [1e-30f32, 1e30] {
        let start = plan.start(narrow(&probe).map(|z| z * factor)).unwrap();
        for (a, b) in start.probe.as_slice().iter().zip(usual.probe.as_slice()) {
            assert!((a - b).norm() <= 1e-5 * (1.0 + b.norm()));
        }
    }
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

/// FRC resolution (½ against the truth) in pixels of the part of the object that is well lit.
fn resolution(state: &State<f32>, truth: &Tensor<C>, border: usize) -> f64 {
    use exitwave::metrics::{FrcParams, Gauge, GaugeParams, RingCorrelation, Threshold, Window, compare_objects};
    let [h, w] = [truth.dims()[0], truth.dims()[1]];
    let n = h - 2 * border;
    let crop =
        |z: &dyn Fn(usize) -> C| -> Vec<C> { (0..n * n).map(|i| z((border + i / n) * w + border + i % n)).collect() };
    let found = state.object.as_slice();
    let object = crop(&|i| C::new(f64::from(found[i].re), f64::from(found[i].im)));
    let truth = crop(&|i| truth.as_slice()[i]);
    let gauge = GaugeParams { gauge: Gauge::RampAndShift, max_shift: Some(4.0), ..GaugeParams::default() };
    let aligned = compare_objects(&truth, &object, [n, n], None, &gauge).unwrap().aligned;
    let params = FrcParams { window: Window::Hann, ..FrcParams::default() };
    let curve = RingCorrelation::new([n, n], params).unwrap().complex(&truth, &aligned).unwrap();
    curve.resolution(Threshold::Half).length().unwrap().to_angstrom()
}

#[test]
fn three_modes_and_positions_wrong_by_two_pixels_are_recovered() {
    // At 10⁶ electrons a pattern both objects reach the limit of the data, 3 px; at 10⁴ noise sets the resolution.
    let (d, _, _) = modes_and_positions(1e6);
    assert!(d <= 0.1, "{d}");
    let (_, a, b) = modes_and_positions(1e4);
    assert!(b > 3.1, "{b}");
    assert!(a <= 1.05 * b, "{a} {b}");
}

/// With three modes of unknown form and positions wrong by 2 px: the RMS error of the positions that were found, and
/// the resolutions with these and with the true positions.
fn modes_and_positions(electrons: f64) -> (f64, f64, f64) {
    let margin = 12;
    let (object, probe, positions) = scene(64, 16, 5.0, margin, electrons, 3);
    let mut data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::default()).unwrap();
    count_electrons(&mut data, 1, &Par::default());
    let mut r = rng::stream(5, 0);
    let mut wrong = positions.clone();
    for p in &mut wrong.pixels {
        let (a, b) = rng::normal_pair(&mut r);
        *p = [p[0] + 2.0 / 2f64.sqrt() * a, p[1] + 2.0 / 2f64.sqrt() * b];
    }
    // RMS distance from the true positions, their common shift (a gauge) removed.
    let distance = |found: &[[f64; 2]]| {
        let d: Vec<[f64; 2]> = found.iter().zip(&positions.pixels).map(|(a, b)| [a[0] - b[0], a[1] - b[1]]).collect();
        let n = d.len() as f64;
        let mean = d.iter().fold([0.0; 2], |m, d| [m[0] + d[0] / n, m[1] + d[1] / n]);
        (d.iter().map(|d| (d[0] - mean[0]).powi(2) + (d[1] - mean[1]).powi(2)).sum::<f64>() / n).sqrt()
    };
    let run = |positions: &Positions, refine: Option<Refinement>| {
        let patterns = Patterns::<f32>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
        let algorithm = Algorithm::Epie { object_step: 0.5, probe_step: 0.5 };
        let params = PtychoParams { algorithm, refine, ..PtychoParams::default() };
        let plan = Ptychography::new(patterns, positions.clone(), params).unwrap();
        // The first mode is known, how the others look is not.
        let first = Tensor::from_vec(&[64, 64], narrow(&probe).row(0).to_vec()).unwrap();
        let start = plan.start(extend_modes(&first, 3, 0.05).unwrap()).unwrap();
        plan.run(start, 40, &mut silent).unwrap().state
    };
    assert!((distance(&wrong.pixels) - 2.0).abs() < 0.2);
    let refined = run(&wrong, Some(Refinement { relaxation: 1.0, max_step: 1.0, ..Refinement::default() }));
    let known = run(&positions, None);
    let (d, a, b) = (distance(&refined.positions), resolution(&refined, &object, 40), resolution(&known, &object, 40));
    println!("{electrons:e} electrons: positions wrong by {d:.3} px RMS; FRC {a:.3} px, with true positions {b:.3} px");
    (d, a, b)
}

#[test]
fn the_fused_sweep_of_epie_is_the_general_one() {
    // One mode at whole pixels takes the fused path; rPIE with α = 1 is ePIE with steps of 1 by the general one.
    let (object, probe, positions) = scene(20, 5, 3.0, 0, 1e4, 1);
    let data = simulate(&object, &probe, &positions, ZeroFrequency::Center, &Par::seq()).unwrap();
    let patterns = Patterns::<f64>::from_source(&data, ZeroFrequency::Center, None, Limits::default()).unwrap();
    let run = |algorithm| {
        let params = PtychoParams { algorithm, placement: Placement::Whole, ..seq() };
        let plan = plan(&patterns, &positions, params);
        let mut start = plan.start(probe.clone()).unwrap();
        // Of an empty object the spectrum beyond the aperture is rounding, whose phase is that of no formula.
        for (i, z) in start.object.as_mut_slice().iter_mut().enumerate() {
            *z = Complex::from_polar(1.0, 0.3 * (1.7 * i as f64).sin());
        }
        plan.run(start, 3, &mut silent).unwrap().state
    };
    let fused = run(Algorithm::Epie { object_step: 1.0, probe_step: 1.0 });
    let general = run(Algorithm::Rpie { object_alpha: 1.0, probe_alpha: 1.0 });
    // Sums in another order, over 75 updates of an f64 state of order 1: rounding, far below 1e-9.
    for (a, b) in fused.object.as_slice().iter().zip(general.object.as_slice()) {
        assert!((a - b).norm() < 1e-9, "{a} {b}");
    }
    for (a, b) in fused.loss.iter().zip(&general.loss) {
        assert!((a - b).abs() < 1e-9 * a, "{a} {b}");
    }
}
