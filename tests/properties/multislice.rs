//! `multislice`: the invariants of waves through slices, and gradients against finite differences.

use exitwave::autodiff::{Function, check_function_at};
use exitwave::fft::{Direction, Fft2};
use exitwave::multislice::{
    Averaging, BandLimit, HrtemImage, Multislice, MultisliceFunction, MultisliceParams, Prism, ProbeFunction,
    diffraction, transmission_cross_coefficient,
};
use exitwave::optics::{
    Aberration, Aberrations, Aperture, CtfParams, FocalSpread, Grid, Probe, ProbeParams, SourceAngle,
};
use exitwave::par::Par;
use exitwave::real::{Real, cis};
use exitwave::rng;
use exitwave::shape::Space;
use exitwave::specimen::Potential;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};
use num_complex::Complex;
use proptest::prelude::*;
use std::f64::consts::{PI, TAU};

type C = Complex<f64>;

fn normal(n: usize, seed: u64, scale: f64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| scale * rng::normal(&mut r)).collect()
}

fn waves(n: usize, seed: u64) -> Vec<C> {
    normal(2 * n, seed, 1.0).chunks(2).map(|z| C::new(z[0], z[1])).collect()
}

/// A specimen of random slices: potentials of a few hundred V Å, as atoms have.
#[derive(Clone, Debug)]
struct Specimen {
    params: MultisliceParams,
    potential: Potential<f64>,
}

impl Specimen {
    fn new(dims: [usize; 2], slices: usize, band_limit: BandLimit, seed: u64) -> Self {
        let grid = Grid { dims, sampling: [Length::angstrom(0.21), Length::angstrom(0.17)] };
        let thickness: Vec<Length> = (0..slices).map(|i| Length::angstrom(2.0 + 0.3 * (i % 3) as f64)).collect();
        let values = normal(slices * grid.len(), seed, 400.0);
        let values = Tensor::from_vec(&[slices, dims[0], dims[1]], values).unwrap();
        let params = MultisliceParams {
            grid,
            thickness: thickness.clone(),
            band_limit,
            energy: Energy::kev(120.0),
            par: Par::seq(),
            ..Default::default()
        };
        Specimen { params, potential: Potential { grid, thickness, values } }
    }

    fn run(&self, psi: &[C]) -> Vec<C> {
        let plan = Multislice::<f64>::new(&self.params).unwrap();
        let t = plan.transmission(&self.potential).unwrap();
        let [ny, nx] = self.params.grid.dims;
        let psi = Tensor::from_vec(&[psi.len() / (ny * nx), ny, nx], psi.to_vec()).unwrap();
        plan.exit_waves(&t, &psi).unwrap().into_vec()
    }

    /// Slices in this order, with these thicknesses.
    fn reordered(&self, order: &[Option<usize>], thickness: &[Length]) -> Self {
        let [ny, nx] = self.params.grid.dims;
        let n = ny * nx;
        let mut values = Vec::new();
        for slice in order {
            match slice {
                Some(i) => values.extend_from_slice(&self.potential.values.as_slice()[i * n..(i + 1) * n]),
                None => values.resize(values.len() + n, 0.0),
            }
        }
        let values = Tensor::from_vec(&[order.len(), ny, nx], values).unwrap();
        let thickness = thickness.to_vec();
        let params = MultisliceParams { thickness: thickness.clone(), ..self.params.clone() };
        Specimen { params, potential: Potential { grid: self.potential.grid, thickness, values } }
    }
}

fn distance(a: &[C], b: &[C]) -> f64 {
    let norm = b.iter().map(|z| z.norm_sqr()).sum::<f64>().sqrt();
    a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>().sqrt() / norm
}

fn intensity(psi: &[C]) -> f64 {
    psi.iter().map(|z| z.norm_sqr()).sum()
}

/// Multislice as its formula is printed, with plain transforms.
fn naive(s: &Specimen, psi: &[C]) -> Vec<C> {
    let grid = s.params.grid;
    let fft = Fft2::<f64>::new(grid.dims).unwrap();
    let mut scratch = vec![C::default(); fft.scratch_len()];
    let [ky, kx] = grid.frequencies();
    let nyquist = 0.5 / grid.sampling[0].max(grid.sampling[1]).to_angstrom();
    let pass = |k: f64| match s.params.band_limit {
        BandLimit::Hard { fraction } => f64::from(k <= fraction * nyquist),
        BandLimit::Cosine { fraction, width } => {
            let (c, w) = (fraction * nyquist, 2.0 * width * nyquist);
            if k <= c - w {
                1.0
            } else if k <= c {
                0.5 * (1.0 + (PI * (k - c + w) / w).cos())
            } else {
                0.0
            }
        }
        BandLimit::Open => 1.0,
    };
    let lambda = exitwave::optics::wavelength(s.params.energy).to_angstrom();
    let sigma = exitwave::optics::interaction_parameter(s.params.energy);
    let tilt = s.params.tilt.map(|t| t.to_rad().tan());
    let mut psi = psi.to_vec();
    for (v, dz) in s.potential.values.as_slice().chunks(grid.len()).zip(&s.params.thickness) {
        let mu = s.params.absorption;
        let mut t: Vec<C> = v.iter().map(|v| cis(sigma * v) * (-mu * sigma * v).exp()).collect();
        let mut filter = |f: &mut [C], dz: f64| {
            fft.transform(f, Direction::Forward, 1.0, &mut scratch);
            for (iy, ky) in ky.iter().enumerate() {
                for (ix, kx) in kx.iter().enumerate() {
                    let chi = -PI * lambda * dz * (ky * ky + kx * kx) - TAU * dz * (ky * tilt[0] + kx * tilt[1]);
                    f[iy * grid.dims[1] + ix] *= cis(chi) * pass(ky.hypot(*kx));
                }
            }
            fft.inverse(f, &mut scratch);
        };
        filter(&mut t, 0.0);
        psi.iter_mut().zip(&t).for_each(|(p, t)| *p *= t);
        filter(&mut psi, dz.to_angstrom());
    }
    psi
}

fn limits() -> impl Strategy<Value = BandLimit> {
    prop_oneof![
        Just(BandLimit::Open),
        (0.2..1.0f64).prop_map(|fraction| BandLimit::Hard { fraction }),
        Just(BandLimit::default()),
        Just(BandLimit::Cosine { fraction: 0.6666666, width: 0.05 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_passes_of_sixteen_rows_are_the_printed_formula(
        dims in [1usize..50, 1usize..70],
        slices in 1usize..5,
        band_limit in limits(),
        tilt in [-0.05..0.05f64, -0.05..0.05],
        absorption in prop_oneof![Just(0.0), 0.0..0.3f64],
        count in 1usize..4,
        seed in 0u64..1000,
    ) {
        let mut s = Specimen::new(dims, slices, band_limit, seed);
        s.params.tilt = tilt.map(Angle::rad);
        s.params.absorption = absorption;
        let n = dims[0] * dims[1];
        let psi = waves(count * n, seed + 1);
        let got = s.run(&psi);
        for (got, psi) in got.chunks(n).zip(psi.chunks(n)) {
            let want = naive(&s, psi);
            // A spectrum of which nothing passes has no relative error.
            let scale = intensity(psi).sqrt();
            let d = got.iter().zip(&want).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>().sqrt();
            prop_assert!(d < 1e-12 * scale, "{} of {}", d, scale);
        }
    }

    #[test]
    fn results_are_the_same_bits_for_any_number_of_threads_and_any_batch(
        dims in [17usize..40, 17usize..40], count in 1usize..6, seed in 0u64..100,
    ) {
        let mut s = Specimen::new(dims, 3, BandLimit::default(), seed);
        let n = dims[0] * dims[1];
        let psi = waves(count * n, seed);
        let one = s.run(&psi);
        // With 2 or 3 threads each takes slices and, if there are enough, waves by itself; with 5 they share them.
        for threads in [2, 3, 5] {
            s.params.par = Par::threads(threads).unwrap();
            prop_assert_eq!(&s.run(&psi), &one);
        }
        prop_assert_eq!(&s.run(&psi[..n]), &one[..n]);
    }

    #[test]
    fn the_intensity_is_conserved_without_a_band_limit(dims in [2usize..40, 2usize..40], seed in 0u64..1000) {
        let s = Specimen::new(dims, 6, BandLimit::Open, seed);
        let psi = waves(dims[0] * dims[1], seed);
        prop_assert!((intensity(&s.run(&psi)) / intensity(&psi) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn source_and_detector_can_be_exchanged(seed in 0u64..1000, q in [0usize..24, 0usize..20], k in [0usize..24, 0usize..20]) {
        // From q to k through slices 1 … n, and from −k to −q through n … 1, for a sharp and an open band limit.
        let dims = [24, 20];
        for limit in [BandLimit::Open, BandLimit::default()] {
            let s = Specimen::new(dims, 4, limit, seed);
            let t = &s.params.thickness;
            let back = s.reordered(&[Some(3), Some(2), Some(1), Some(0)], &[t[2], t[1], t[0], t[0]]);
            // Propagators commute with nothing else, so the thicknesses between the slices must be the same: the last one only turns phases.
            let amplitude = |s: &Specimen, from: [usize; 2], to: [usize; 2]| {
                let wave = |k: [usize; 2], i: usize| {
                    cis(TAU * ((k[0] * (i / dims[1])) as f64 / 24.0 + (k[1] * (i % dims[1])) as f64 / 20.0))
                };
                let psi: Vec<C> = (0..480).map(|i| wave(from, i)).collect();
                s.run(&psi).iter().enumerate().map(|(i, z)| z * wave(to, i).conj()).sum::<C>().norm()
            };
            let minus = |k: [usize; 2]| [(24 - k[0]) % 24, (20 - k[1]) % 20];
            // The band limit acts behind the last slice only: beams that it stops are left out.
            let grid = s.params.grid;
            let nyquist = 0.5 / 0.21;
            let [ky, kx] = grid.frequencies();
            let inside = |k: [usize; 2]| ky[k[0]].hypot(kx[k[1]]) <= 2.0 / 3.0 * nyquist;
            if limit == BandLimit::Open || (inside(q) && inside(k)) {
                let (a, b) = (amplitude(&s, q, k), amplitude(&back, minus(k), minus(q)));
                prop_assert!((a - b).abs() < 1e-10 * 480.0, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn two_half_slices_are_one(seed in 0u64..1000, dims in [5usize..30, 5usize..30]) {
        let s = Specimen::new(dims, 1, BandLimit::Open, seed);
        let psi = waves(dims[0] * dims[1], seed);
        let (whole, dz) = (s.run(&psi), s.params.thickness[0]);
        // Half the potential twice, with nothing between; and vacuum in the second half.
        let mut half = s.reordered(&[Some(0), Some(0)], &[Length::ZERO, dz]);
        half.potential.values.as_mut_slice().iter_mut().for_each(|v| *v *= 0.5);
        prop_assert!(distance(&half.run(&psi), &whole) < 1e-12);
        for limit in [BandLimit::Open, BandLimit::default()] {
            let mut s = s.clone();
            s.params.band_limit = limit;
            let split = s.reordered(&[Some(0), None], &[dz * 0.3, dz * 0.7]);
            prop_assert!(distance(&split.run(&psi), &s.run(&psi)) < 1e-12);
        }
    }

    #[test]
    fn specimens_one_behind_the_other_add_up(seed in 0u64..1000, cut in 1usize..5, limit in limits()) {
        let s = Specimen::new([20, 26], 5, limit, seed);
        let psi = waves(520, seed);
        let order: Vec<Option<usize>> = (0..5).map(Some).collect();
        let front = s.reordered(&order[..cut], &s.params.thickness[..cut]);
        let rear = s.reordered(&order[cut..], &s.params.thickness[cut..]);
        let (both, whole) = (rear.run(&front.run(&psi)), s.run(&psi));
        prop_assert!(distance(&both, &whole) < 1e-12);
        // And the series has both.
        let plan = Multislice::<f64>::new(&s.params).unwrap();
        let t = plan.transmission(&s.potential).unwrap();
        let psi = Tensor::from_vec(&[1, 20, 26], psi).unwrap();
        let series = plan.thickness_series(&t, &psi, &[cut, 5]).unwrap();
        prop_assert!(distance(series[0].as_slice(), &front.run(psi.as_slice())) < 1e-15);
        prop_assert!(distance(series[1].as_slice(), &whole) < 1e-15);
    }

    #[test]
    fn a_specimen_that_is_moved_moves_its_exit_wave(seed in 0u64..1000, by in [0usize..20, 0usize..26]) {
        let s = Specimen::new([20, 26], 3, BandLimit::default(), seed);
        let shift = |i: usize| (i / 26 + by[0]) % 20 * 26 + (i % 26 + by[1]) % 26;
        let mut moved = s.clone();
        for n in 0..3 {
            for i in 0..520 {
                moved.potential.values.as_mut_slice()[n * 520 + shift(i)] = s.potential.values.as_slice()[n * 520 + i];
            }
        }
        let one = vec![C::new(1.0, 0.0); 520];
        let (a, b) = (s.run(&one), moved.run(&one));
        let back: Vec<C> = (0..520).map(|i| b[shift(i)]).collect();
        prop_assert!(distance(&back, &a) < 1e-12);
    }

    #[test]
    fn time_can_be_reversed(seed in 0u64..1000) {
        // The conjugate exit wave through the specimen from behind is the conjugate incident wave.
        let s = Specimen::new([21, 16], 4, BandLimit::Open, seed);
        let psi = waves(336, seed);
        let exit: Vec<C> = s.run(&psi).iter().map(|z| z.conj()).collect();
        let t = &s.params.thickness;
        let back = s.reordered(&[None, Some(3), Some(2), Some(1), Some(0)], &[t[3], t[2], t[1], t[0], Length::ZERO]);
        let again: Vec<C> = back.run(&exit).iter().map(|z| z.conj()).collect();
        prop_assert!(distance(&again, &psi) < 1e-12);
    }

    #[test]
    fn a_weak_specimen_scatters_once(seed in 0u64..1000) {
        // ψ = 1 + Σ_n F⁻¹ A P F iσV_n + O(V²).
        let mut s = Specimen::new([24, 24], 3, BandLimit::default(), seed);
        let one = vec![C::new(1.0, 0.0); 576];
        let second = |s: &Specimen| {
            let mut sum = one.clone();
            for n in 0..3 {
                let alone: Vec<Option<usize>> = (0..3).map(|i| (i == n).then_some(n)).collect();
                let exit = s.reordered(&alone, &s.params.thickness).run(&one);
                sum.iter_mut().zip(&exit).for_each(|(s, z)| *s += z - 1.0);
            }
            let exit = s.run(&one);
            distance(&exit, &sum)
        };
        s.potential.values.as_mut_slice().iter_mut().for_each(|v| *v *= 0.1);
        let weak = second(&s);
        s.potential.values.as_mut_slice().iter_mut().for_each(|v| *v *= 0.1);
        // A tenth of the potential, a hundredth of what is scattered twice.
        let ratio = weak / second(&s);
        prop_assert!((ratio / 100.0 - 1.0).abs() < 0.1, "{}", ratio);
    }

    #[test]
    fn prism_without_interpolation_is_multislice(seed in 0u64..100, y in -3.0..9.0f64, x in -3.0..9.0f64) {
        let s = Specimen::new([32, 40], 3, BandLimit::default(), seed);
        let plan = Multislice::<f64>::new(&s.params).unwrap();
        let t = plan.transmission(&s.potential).unwrap();
        let mut aberrations = Aberrations::from_defocus(Length::angstrom(80.0));
        aberrations.set_astigmatism(Length::angstrom(30.0), Angle::rad(0.4));
        let probe = ProbeParams {
            energy: s.params.energy,
            grid: s.params.grid,
            aberrations,
            aperture: Aperture::Soft { semi_angle: Angle::mrad(30.0) },
            ..Default::default()
        };
        let r = [Length::angstrom(y), Length::angstrom(x)];
        let prism = Prism::new(&plan, &t, &probe, [1, 1]).unwrap();
        let psi = Probe::<f64>::new(&probe).unwrap().real(r).unwrap();
        let want = diffraction(&plan.exit_waves(&t, &psi.reshape(&[1, 32, 40]).unwrap()).unwrap(), &Par::seq()).unwrap();
        let got = prism.patterns(&[r]).unwrap();
        let largest = want.as_slice().iter().fold(0.0f64, |m, v| m.max(*v));
        for (a, b) in got.as_slice().iter().zip(want.as_slice()) {
            prop_assert!((a - b).abs() < 1e-10 * largest);
        }
        // Linear: a scattering matrix twice as bright … its beams add up to any other probe's.
        let two = prism.exit_waves(&[r, r]).unwrap();
        prop_assert_eq!(&two.as_slice()[..1280], &two.as_slice()[1280..]);
    }
}

/// A point where the specimen scatters strongly, and the error of the gradients there.
fn gradient_error(
    tape_bytes: u64,
    geometry: bool,
    dims: [usize; 2],
    slices: usize,
    count: usize,
    absorption: f64,
) -> f64 {
    let s = Specimen::new(dims, slices, BandLimit::default(), 3);
    let params = MultisliceParams { tape_bytes, absorption, par: Par::threads(2).unwrap(), ..s.params.clone() };
    let f = MultisliceFunction::<f64>::new(&params).unwrap();
    let mut spaces = vec![Space::real(&[slices, dims[0], dims[1]]), Space::complex(&[count, dims[0], dims[1]])];
    let mut point = vec![s.potential.values.into_vec(), normal(2 * count * dims[0] * dims[1], 5, 1.0)];
    if geometry {
        spaces.push(Space::real(&[slices + 2]));
        // Thin slices: the differences take steps of 1e-3 rad in the tilt, which turns a frequency k by 2π k z · 1e-3 after a depth z.
        let mut g: Vec<f64> = params.thickness.iter().map(|t| 0.3 * t.to_angstrom()).collect();
        g.extend([0.01, -0.02]);
        point.push(g);
    }
    check_function_at(&f, &spaces, &point, 9).unwrap()
}

#[test]
fn gradients_of_potential_waves_thickness_and_tilt_are_finite_differences() {
    for (tape, geometry, dims, slices, count, absorption) in [
        (u64::MAX, false, [9, 12], 3, 2, 0.0),
        (0, false, [9, 12], 5, 2, 0.1),
        (u64::MAX, true, [8, 10], 3, 1, 0.0),
        (0, true, [18, 7], 7, 3, 0.05),
        (0, true, [5, 20], 1, 1, 0.0),
    ] {
        let error = gradient_error(tape, geometry, dims, slices, count, absorption);
        assert!(error < 1e-6, "tape {tape}, geometry {geometry}, {dims:?}: {error:e}");
    }
}

#[test]
fn a_short_tape_gives_the_same_gradient_as_a_long_one() {
    let s = Specimen::new([20, 24], 11, BandLimit::default(), 4);
    let run = |tape_bytes: u64| {
        let f = MultisliceFunction::<f64>::new(&MultisliceParams { tape_bytes, ..s.params.clone() }).unwrap();
        let spaces = [Space::real(&[11, 20, 24]), Space::complex(&[2, 20, 24])];
        let spaces = [&spaces[0], &spaces[1]];
        let (needs, scratch) = (f.needs(&spaces), f.scratch_len(&spaces));
        let (v, psi) = (s.potential.values.as_slice(), normal(1920, 1, 1.0));
        let (mut y, mut tape, mut scratch) =
            (vec![f64::NAN; 1920], vec![f64::NAN; needs.tape_len], vec![f64::NAN; scratch]);
        f.forward(&[v, &psi], &mut y, &mut tape, &mut scratch, exitwave::autodiff::Mode::Eval);
        let (mut dv, mut dpsi) = (vec![f64::NAN; v.len()], vec![f64::NAN; 1920]);
        scratch.fill(f64::NAN);
        let set = exitwave::op::Write::Set;
        f.backward(&[v, &psi], &y, &tape, &y, &mut [Some((&mut dv, set)), Some((&mut dpsi, set))], &mut scratch);
        (needs.tape_len, dv, dpsi)
    };
    let (long, dv, dpsi) = run(u64::MAX);
    let (short, dv2, dpsi2) = run(0);
    assert!(short < long);
    assert_eq!((dv, dpsi), (dv2, dpsi2));
}

#[test]
fn gradients_of_aberrations_and_positions_are_finite_differences() {
    let grid = Grid { dims: [12, 16], sampling: [Length::angstrom(0.3); 2] };
    let params = ProbeParams {
        grid,
        energy: Energy::kev(80.0),
        aperture: Aperture::Soft { semi_angle: Angle::mrad(30.0) },
        ..Default::default()
    };
    let f = ProbeFunction::<f64>::new(&params).unwrap();
    let spaces = [Space::real(&[Aberration::COUNT, 2]), Space::real(&[2, 2])];
    let point = [normal(28, 1, 40.0), vec![0.3, 1.2, 2.5, -0.7]];
    let error = check_function_at(&f, &spaces, &point, 2).unwrap();
    assert!(error < 1e-6, "{error:e}");
    // The same probe as the optics room makes.
    let mut lens = exitwave::optics::CartesianAberrations::default();
    for (c, v) in lens.coefficients.iter_mut().zip(point[0].chunks(2)) {
        (c.a, c.b) = (Length::angstrom(v[0]), Length::angstrom(v[1]));
    }
    let probe = Probe::<f64>::new(&ProbeParams { aberrations: lens.to_polar(), ..params }).unwrap();
    let want = probe.real([Length::angstrom(0.3), Length::angstrom(1.2)]).unwrap();
    let refs = [&spaces[0], &spaces[1]];
    let mut scratch = vec![0.0; f.scratch_len(&refs)];
    let mut y = vec![f64::NAN; 2 * 2 * 192];
    f.forward(&[&point[0], &point[1]], &mut y, &mut [], &mut scratch, exitwave::autodiff::Mode::Eval);
    for (i, z) in want.as_slice().iter().enumerate() {
        assert!((z - C::new(y[2 * i], y[2 * i + 1])).norm() < 1e-12);
    }
}

#[test]
fn averages_over_source_and_focus_are_the_transmission_cross_coefficient() {
    let grid = Grid { dims: [24, 24], sampling: [Length::angstrom(0.5); 2] };
    let mut aberrations = Aberrations::from_defocus(Length::angstrom(400.0));
    aberrations.set_cs(Length::mm(1.0));
    let ctf = CtfParams {
        energy: Energy::kev(200.0),
        aberrations,
        aperture: Aperture::Hard { semi_angle: Angle::mrad(13.7) },
        focal_spread: FocalSpread::rms(Length::angstrom(60.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.15)),
        ..Default::default()
    };
    let s = Specimen::new([24, 24], 2, BandLimit::default(), 8);
    let wave = s.run(&vec![C::new(1.0, 0.0); 576]);
    let wave = Tensor::from_vec(&[24, 24], wave).unwrap();
    let want = transmission_cross_coefficient(&wave, &ctf, &grid).unwrap();
    let waves = wave.clone().reshape(&[1, 24, 24]).unwrap();
    let error = |averaging| {
        let image = HrtemImage::<f64>::new(&ctf, grid, averaging, Par::seq()).unwrap().images(&waves).unwrap();
        let d = image.as_slice().iter().zip(want.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let mean = want.as_slice().iter().sum::<f64>() / 576.0;
        d / mean
    };
    let (explicit, envelope) = (error(Averaging::Explicit { focus: 21, directions: 9 }), error(Averaging::Envelope));
    eprintln!("explicit {explicit:.2e}, envelope {envelope:.2e}");
    // Nine directions to 3.5 standard deviations; no beam lies within two of them of the aperture's edge, which moves with the
    // direction. What is left is the curvature of χ over the source.
    assert!(explicit < 0.02, "{explicit:e}");
    assert!(envelope > explicit, "{envelope:e}");
    // Without partial coherence all three are the coherent image.
    let coherent = CtfParams { focal_spread: FocalSpread::ZERO, source_angle: SourceAngle::ZERO, ..ctf.clone() };
    let want = transmission_cross_coefficient(&wave, &coherent, &grid).unwrap();
    for averaging in [Averaging::Envelope, Averaging::Explicit { focus: 3, directions: 3 }] {
        let image = HrtemImage::<f64>::new(&coherent, grid, averaging, Par::seq()).unwrap().images(&waves).unwrap();
        for (a, b) in image.as_slice().iter().zip(want.as_slice()) {
            assert!((a - b).abs() < 1e-10, "{a} {b}");
        }
    }
}

#[test]
fn a_streamed_scan_is_the_patterns_of_its_probes_and_can_be_cancelled() {
    let s = Specimen::new([20, 24], 3, BandLimit::default(), 6);
    let plan = Multislice::<f64>::new(&s.params).unwrap();
    let t = plan.transmission(&s.potential).unwrap();
    let aperture = Aperture::Soft { semi_angle: Angle::mrad(25.0) };
    let params = ProbeParams { energy: s.params.energy, aperture, grid: s.params.grid, ..Default::default() };
    let probe = Probe::<f64>::new(&params).unwrap();
    let step = [Length::angstrom(0.7), Length::angstrom(0.4)];
    let positions = exitwave::multislice::raster([Length::angstrom(0.1); 2], step, [5, 7]);
    assert_eq!(positions[8], [Length::angstrom(0.1) + step[0], Length::angstrom(0.1) + step[1]]);
    let all = plan.patterns(&t, &probe, &positions).unwrap();
    for i in [0, 17, 34] {
        let psi = probe.real(positions[i]).unwrap().reshape(&[1, 20, 24]).unwrap();
        let one = diffraction(&plan.exit_waves(&t, &psi).unwrap(), &Par::seq()).unwrap();
        // The scan leaves out a transform back and forth: a few roundings of numbers up to 0.1.
        assert!(one.as_slice().iter().zip(all.row(i)).all(|(a, b)| (a - b).abs() < 1e-15));
    }
    // One thread with a wave to itself, and three that share it.
    for par in [Par::seq(), Par::threads(3).unwrap()] {
        let plan = Multislice::<f64>::new(&MultisliceParams { par, ..s.params.clone() }).unwrap();
        assert_eq!(plan.patterns(&t, &probe, &positions[17..18]).unwrap().as_slice(), all.row(17));
    }
    let mut seen = 0;
    let mut sink = |first: usize, some: &[f64]| {
        assert_eq!(first * 480, seen);
        seen += some.len();
        Ok(())
    };
    let mut stop = |_: &exitwave::observe::Step| exitwave::observe::ControlFlow::Break(());
    let end = plan.scan(&t, &probe, &positions, &mut sink, &mut stop).unwrap();
    assert_eq!(end, exitwave::observe::Stop::Cancelled);
    assert_eq!(seen, plan.group().min(35) * 480);
}

#[test]
fn impossible_parameters_are_errors() {
    let good = Specimen::new([8, 8], 2, BandLimit::default(), 0).params;
    let bad = |p: MultisliceParams| Multislice::<f32>::new(&p).is_err();
    assert!(!bad(good.clone()));
    assert!(bad(MultisliceParams { thickness: vec![], ..good.clone() }));
    assert!(bad(MultisliceParams { thickness: vec![Length::angstrom(f64::NAN)], ..good.clone() }));
    assert!(bad(MultisliceParams { tilt: [Angle::rad(2.0), Angle::ZERO], ..good.clone() }));
    assert!(bad(MultisliceParams { absorption: -0.1, ..good.clone() }));
    assert!(bad(MultisliceParams { energy: Energy::ZERO, ..good.clone() }));
    assert!(bad(MultisliceParams { band_limit: BandLimit::Hard { fraction: 0.0 }, ..good.clone() }));
    assert!(bad(MultisliceParams { band_limit: BandLimit::Cosine { fraction: 0.5, width: f64::NAN }, ..good.clone() }));
    assert!(bad(MultisliceParams { limits: exitwave::shape::Limits { bytes: 8 }, ..good }));
    assert_eq!(<f64 as Real>::NAME, "f64");
}
