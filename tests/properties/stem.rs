//! `stem`: the gradient and its inverse, the pass for any source, budget and number of threads, and what its views
//! conserve.

use std::f64::consts::TAU;
use std::sync::Arc;

use exitwave::Error;
use exitwave::observe::{ControlFlow, Stop, silent};
use exitwave::op::{LinearOp, Write, dot_test};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Limits;
use exitwave::source::{DType, Element, FrameSource};
use exitwave::stem::{
    Analysis, Boundary, Calibration, Com, DataSet, Descan, Detector, Edge, Gradient, Icom, IcomParams, Orientation,
    Pass, PassParams, Pixel, Repair, Transposition,
};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};
use proptest::prelude::*;

/// Dot tests and identities of `f64`: 1e-12, as the design asks.
const TIGHT: f64 = 1e-12;

fn calibration() -> Calibration {
    let step = [Length::angstrom(0.4), Length::angstrom(0.5)];
    Calibration::new(step, Pixel::Angle([Angle::mrad(1.0); 2]), Energy::kev(200.0))
}

/// Poisson counts of a bright disk with a few electrons a pixel.
fn counts<E: Element>(dims: [usize; 4], seed: u64, cast: fn(f64) -> E) -> Tensor<E> {
    let mut r = rng::stream(seed, 0);
    let [_, _, ny, nx] = dims;
    Tensor::from_fn(&dims, |i| {
        let (y, x) = (i[2] as f64 - 0.5 * ny as f64, i[3] as f64 - 0.5 * nx as f64);
        let mean = if y.hypot(x) < 0.35 * ny.min(nx) as f64 { 3.0 } else { 0.1 };
        cast(rng::poisson(&mut r, mean))
    })
}

fn set<E: Element>(frames: Tensor<E>) -> DataSet {
    DataSet::new(Arc::new(frames), calibration()).unwrap()
}

fn detectors() -> Vec<Detector> {
    let (zero, outer) = (Angle::ZERO, Angle::mrad(3.3));
    vec![
        Detector::Disk { outer },
        Detector::Annulus { inner: Angle::mrad(1.5), outer },
        Detector::Segments { inner: zero, outer, segments: 3, rotation: Angle::deg(20.0) },
        Detector::Point { at: [Angle::mrad(1.0), Angle::mrad(-1.0)] },
    ]
}

fn analyse(data: &DataSet, par: Par, bytes: u64, edge: Edge) -> Result<Analysis, Error> {
    let pass = Pass::new(
        data,
        PassParams { detectors: detectors(), edge, par, limits: Limits { bytes }, ..Default::default() },
    )?;
    assert!(pass.workspace_bytes() <= bytes);
    pass.run(&mut silent)
}

fn bits(a: &Analysis) -> Vec<u64> {
    let c = &a.com;
    [&a.images, &a.sums, &a.mean, &c.y, &c.x, &c.electrons, &c.var_yy, &c.var_xx, &c.var_xy]
        .iter()
        .flat_map(|t| t.as_slice().iter().map(|v| v.to_bits()))
        .collect()
}

/// A source that has nothing in memory but makes each frame when it is asked for.
struct Streamed(Tensor<u16>);

impl FrameSource for Streamed {
    fn shape(&self) -> [usize; 4] {
        self.0.shape()
    }
    fn dtype(&self) -> DType {
        DType::U16
    }
    fn read_frames(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let n = self.frame_len();
        out.chunks_mut(n).enumerate().try_for_each(|(i, frame)| self.0.read_frames(first + i, frame))
    }
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let scale = b.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * scale)
}

fn boundary(mirror: bool) -> Boundary {
    if mirror { Boundary::Mirror } else { Boundary::Periodic }
}

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

fn com_map(dims: [usize; 2], y: Vec<f64>, x: Vec<f64>) -> Com {
    let map = |v| Tensor::from_vec(&dims, v).unwrap();
    let full = |v| Tensor::full(&dims, v);
    Com { y: map(y), x: map(x), electrons: full(100.0), var_yy: full(0.1), var_xx: full(0.1), var_xy: full(0.0) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gradient_passes_the_dot_test(ny in 1usize..15, nx in 1usize..15, mirror: bool, seed: u64) {
        let steps = [Length::angstrom(0.4), Length::angstrom(0.7)];
        let op = Gradient::<f64>::new([ny, nx], steps, boundary(mirror)).unwrap();
        // An image of one sample a side may have no gradient at all: then both products are exactly 0.
        prop_assert!(dot_test(&op, seed).error < TIGHT);
    }

    #[test]
    fn icom_is_the_pseudo_inverse_of_the_gradient(ny in 2usize..14, nx in 2usize..14, mirror: bool, seed: u64) {
        let step = [Length::angstrom(0.4), Length::angstrom(0.7)];
        let gradient = Gradient::<f64>::new([ny, nx], step, boundary(mirror)).unwrap();
        let icom = Icom::new([ny, nx], IcomParams { step, boundary: boundary(mirror), ..Default::default() }).unwrap();
        let n = ny * nx;
        let mut scratch = vec![Default::default(); icom.scratch_len()];
        // A = ∇/2π and A⁺ = iCOM satisfy all four conditions of Penrose.
        let forward = |phi: &[f64]| -> Vec<f64> {
            let mut g = vec![0.0; 2 * n];
            gradient.apply(phi, &mut g, Write::Set, &mut vec![0.0; gradient.scratch_len()]);
            g.iter().map(|g| g / TAU).collect()
        };
        let mut inverse = |c: &[f64]| {
            let mut phi = vec![0.0; n];
            icom.integrate(&c[..n], &c[n..], &mut phi, &mut scratch);
            phi
        };
        let (phi, c, d) = (normals(n, seed), normals(2 * n, seed ^ 1), normals(2 * n, seed ^ 2));
        let (a_phi, plus_c) = (forward(&phi), inverse(&c));
        prop_assert!(close(&forward(&inverse(&a_phi)), &a_phi, TIGHT), "A A⁺ A = A");
        prop_assert!(close(&inverse(&forward(&plus_c)), &plus_c, TIGHT), "A⁺ A A⁺ = A⁺");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let projected = |inverse: &mut dyn FnMut(&[f64]) -> Vec<f64>, c: &[f64]| forward(&inverse(c));
        let (pc, pd) = (projected(&mut inverse, &c), projected(&mut inverse, &d));
        prop_assert!((dot(&pc, &d) - dot(&c, &pd)).abs() < TIGHT * dot(&c, &c), "A A⁺ is symmetric");
        let psi = normals(n, seed ^ 3);
        let (q_phi, q_psi) = (inverse(&a_phi), inverse(&forward(&psi)));
        prop_assert!((dot(&q_phi, &psi) - dot(&phi, &q_psi)).abs() < TIGHT * dot(&phi, &phi).max(1.0), "A⁺ A is symmetric");
        prop_assert!(phi.len() == n && (plus_c.iter().sum::<f64>()).abs() < 1e-10, "the mean of the phase is 0");
    }

    #[test]
    fn the_pass_gives_the_same_bits_for_any_source_budget_and_number_of_threads(
        sy in 1usize..9, sx in 1usize..14, dy in 6usize..13, dx in 6usize..20, soft: bool, seed: u64
    ) {
        let frames = counts([sy, sx, dy, dx], seed, |v| v as u16);
        let edge = if soft { Edge::Soft } else { Edge::Hard };
        let one = bits(&analyse(&set(frames.clone()), Par::seq(), u64::MAX, edge).unwrap());
        let two = bits(&analyse(&set(frames.clone()), Par::threads(3).unwrap(), u64::MAX, edge).unwrap());
        prop_assert_eq!(&one, &two);
        let streamed = DataSet::new(Arc::new(Streamed(frames.clone())), calibration()).unwrap();
        // The smallest budget that is accepted, to within a hundredth.
        let (mut low, mut high) = (0u64, 1u64 << 30);
        while high - low > high / 100 {
            let middle = (low + high) / 2;
            let limits = Limits { bytes: middle };
            match Pass::new(&streamed, PassParams { detectors: detectors(), edge, limits, ..Default::default() }) {
                Ok(_) => high = middle,
                Err(e) => {
                    prop_assert!(matches!(e, Error::OverBudget { .. }), "{}", e);
                    low = middle;
                }
            }
        }
        prop_assert_eq!(&one, &bits(&analyse(&streamed, Par::threads(2).unwrap(), high, edge).unwrap()));
        let floats = Tensor::from_vec(frames.dims(), frames.as_slice().iter().map(|&v| f64::from(v)).collect()).unwrap();
        prop_assert_eq!(&one, &bits(&analyse(&set(floats), Par::seq(), u64::MAX, edge).unwrap()));
    }

    #[test]
    fn the_pass_is_what_its_definition_says(sy in 1usize..4, sx in 1usize..5, dy in 5usize..12, dx in 5usize..12, seed: u64) {
        let frames = counts([sy, sx, dy, dx], seed, |v| v as u8);
        let data = set(frames.clone());
        let a = analyse(&data, Par::seq(), u64::MAX, Edge::Soft).unwrap();
        let masks: Vec<Tensor<f32>> = detectors().iter().map(|d| d.weights(&data, Edge::Soft).unwrap()).collect();
        let masks: Vec<&[f32]> = masks.iter().flat_map(|m| (0..m.dims()[0]).map(|c| m.row(c))).collect();
        let dk = data.calibration().pixel_frequency()[0].to_per_angstrom();
        let [cy, cx] = data.centre();
        for f in 0..sy * sx {
            let frame: Vec<f64> = frames.as_slice()[f * dy * dx..][..dy * dx].iter().map(|&v| f64::from(v)).collect();
            let sum = |w: &dyn Fn(usize) -> f64| frame.iter().enumerate().map(|(i, v)| v * w(i)).sum::<f64>();
            let n = sum(&|_| 1.0);
            prop_assert_eq!(a.sums.as_slice()[f], n);
            let (ky, kx) = (|i: usize| ((i / dx) as f64 - cy) * dk, |i: usize| ((i % dx) as f64 - cx) * dk);
            let (c_y, c_x) = (sum(&ky) / n, sum(&kx) / n);
            let v_yy = sum(&|i| (ky(i) - c_y).powi(2)) / n / (n - 1.0);
            let v_xy = sum(&|i| (ky(i) - c_y) * (kx(i) - c_x)) / n / (n - 1.0);
            prop_assert!((a.com.y.as_slice()[f] - c_y).abs() < 1e-12 && (a.com.x.as_slice()[f] - c_x).abs() < 1e-12);
            prop_assert!((a.com.var_yy.as_slice()[f] - v_yy).abs() < 1e-12 && (a.com.var_xy.as_slice()[f] - v_xy).abs() < 1e-12);
            for (c, mask) in masks.iter().enumerate() {
                // Weights and partial sums are single precision.
                prop_assert!((a.images.row(c)[f] - sum(&|i| f64::from(mask[i]))).abs() <= 1e-5 * n.max(1.0));
            }
        }
        let mean: f64 = a.mean.as_slice().iter().sum();
        prop_assert!((mean * (sy * sx) as f64 - a.sums.as_slice().iter().sum::<f64>()).abs() < 1e-6);
    }

    #[test]
    fn segments_add_up_to_their_ring(segments in 1usize..9, turn in -400.0..400.0f64, inner in 0.0..3.0f64, soft: bool) {
        let data = set(Tensor::<u8>::full(&[1, 1, 17, 16], 1));
        let edge = if soft { Edge::Soft } else { Edge::Hard };
        let (inner, outer) = (Angle::mrad(inner), Angle::mrad(6.2));
        let ring = Detector::Annulus { inner, outer }.weights(&data, edge).unwrap();
        let parts = Detector::Segments { inner, outer, segments, rotation: Angle::deg(turn) }.weights(&data, edge).unwrap();
        for (i, r) in ring.as_slice().iter().enumerate() {
            let sum: f32 = (0..segments).map(|s| parts.row(s)[i]).sum();
            prop_assert!((sum - r).abs() < 1e-6);
            prop_assert!((0..segments).all(|s| parts.row(s)[i] >= 0.0));
        }
    }

    #[test]
    fn views_keep_counts_and_angles(sy in 2usize..6, sx in 2usize..6, dy in 4usize..12, dx in 4usize..12, by in 1usize..3, seed: u64) {
        let frames = counts([sy, sx, dy, dx], seed, |v| v as u32);
        let data = set(frames.clone());
        let binned = data.binned([by, 1, by, 2]).unwrap();
        let [ny, nx, my, mx] = binned.shape();
        let (mut out, mut total) = (vec![0.0f32; my * mx], 0.0);
        for f in 0..ny * nx {
            binned.source().read_frames(f, &mut out).unwrap();
            total += out.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        let cut = data.cropped([0..ny * by, 0..nx, 0..my * by, 0..mx * 2]).unwrap();
        let a = analyse(&cut, Par::seq(), u64::MAX, Edge::Hard).unwrap();
        prop_assert_eq!(total, a.sums.as_slice().iter().sum::<f64>());
        // A bin's centre has the angle of the mean of its pixels, so the centre of mass of all counts moves by nothing
        // …
        let half = cut.binned([1, 1, by, 1]).unwrap();
        let b = Pass::new(&half, PassParams::default()).unwrap().run(&mut silent).unwrap();
        let one_bin = cut.binned([1, 1, 1, 1]).unwrap();
        let c = Pass::new(&one_bin, PassParams::default()).unwrap().run(&mut silent).unwrap();
        prop_assert!(close(c.com.y.as_slice(), a.com.y.as_slice(), 1e-12));
        prop_assert!(close(b.com.x.as_slice(), a.com.x.as_slice(), 1e-9));
        // … more than the rounding within a bin.
        let bin = data.calibration().pixel_frequency()[0].to_per_angstrom() * by as f64;
        prop_assert!(b.com.y.as_slice().iter().zip(a.com.y.as_slice()).all(|(b, a)| (b - a).abs() <= 0.5 * bin));
        prop_assert_eq!(half.calibration().step[0], cut.calibration().step[0]);
    }

    #[test]
    fn recentring_moves_the_pattern_back(shift_y in -3isize..4, shift_x in -3isize..4, slope in -0.5..0.5f64) {
        // One bright pixel that wanders: by whole shifts and a slope of a fraction of a pixel per column.
        let at = |x: usize| (10 + shift_y, 10 + shift_x + (slope * x as f64).round() as isize);
        let frames = Tensor::from_fn(&[2, 5, 20, 21], |i| u8::from((i[2] as isize, i[3] as isize) == at(i[1])) * 7);
        let data = set(frames);
        let dk = data.calibration().pixel_frequency()[0].to_per_angstrom();
        let descan = Descan { origin: [shift_y as f64 * dk, shift_x as f64 * dk], per_y: [0.0; 2], per_x: [0.0, slope * dk] };
        let still = data.recentred(&descan).unwrap();
        let a = Pass::new(&still, PassParams::default()).unwrap().run(&mut silent).unwrap();
        // Halves may be rounded to either side.
        prop_assert!(a.com.x.as_slice().iter().chain(a.com.y.as_slice()).all(|c| c.abs() <= 1.001 * dk), "{:?}", a.com.x);
        prop_assert_eq!(a.com.y.as_slice()[0], 0.0);
        prop_assert_eq!(a.mean[[10, 10]], 7.0 * a.com.x.as_slice().iter().filter(|c| **c == 0.0).count() as f64 / 10.0);
    }

    #[test]
    fn a_plane_is_fitted_exactly(ny in 1usize..9, nx in 1usize..9, p in prop::array::uniform6(-1.0..1.0f64), seed: u64) {
        let n = ny * nx;
        let plane = |k: usize| -> Vec<f64> {
            let slope = |size: usize, s: f64| if size > 1 { s } else { 0.0 };
            (0..n).map(|i| p[k] + slope(ny, p[k + 1]) * (i / nx) as f64 + slope(nx, p[k + 2]) * (i % nx) as f64).collect()
        };
        let mut com = com_map([ny, nx], plane(0), plane(3));
        let mut r = rng::stream(seed, 0);
        com.electrons.as_mut_slice().iter_mut().for_each(|e| *e = 1.0 + 9.0 * rng::uniform(&mut r));
        let rest = Descan::fit(&com).unwrap().corrected(&com);
        prop_assert!(rest.y.as_slice().iter().chain(rest.x.as_slice()).all(|c| c.abs() < 1e-10));
    }

    #[test]
    fn any_rotation_and_transposition_of_a_gradient_is_found(
        degrees in -180.0..180.0f64, swapped: bool, mirror: bool, noise in 0.0..0.05f64, seed: u64
    ) {
        // Positive atoms on a lattice without mirror symmetry along the axes, turned away from those of the scan.
        let (ny, nx) = (24, 30);
        let mut phi = vec![0.0; ny * nx];
        for (y0, x0, height) in [(5.0, 6.0, 1.0), (8.0, 20.0, 0.7), (16.0, 11.0, 0.9), (18.0, 24.0, 0.6)] {
            for (i, p) in phi.iter_mut().enumerate() {
                let r2 = ((i / nx) as f64 - y0).powi(2) + ((i % nx) as f64 - x0).powi(2);
                *p += height * (-r2 / 6.0f64).exp();
            }
        }
        let step = [Length::angstrom(0.4), Length::angstrom(0.5)];
        let gradient = Gradient::<f64>::new([ny, nx], step, Boundary::Mirror).unwrap();
        let mut g = vec![0.0; 2 * ny * nx];
        gradient.apply(&phi, &mut g, Write::Set, &mut vec![0.0; gradient.scratch_len()]);
        let rms = (g.iter().map(|v| v * v).sum::<f64>() / g.len() as f64).sqrt();
        let e = normals(2 * ny * nx, seed);
        g.iter_mut().zip(&e).for_each(|(g, e)| *g = (*g + noise * rms * e) / TAU);
        let truth = Orientation {
            rotation: Angle::deg(degrees),
            transposition: if swapped { Transposition::Swapped } else { Transposition::Kept },
        };
        let x = g.split_off(ny * nx);
        let scan = com_map([ny, nx], g, x);
        let mut detector = scan.clone();
        for i in 0..ny * nx {
            let [y, x] = truth.to_detector([scan.y.as_slice()[i], scan.x.as_slice()[i]]);
            detector.y.as_mut_slice()[i] = y;
            detector.x.as_mut_slice()[i] = x;
        }
        let fit = Orientation::find(&detector, step, boundary(mirror)).unwrap();
        prop_assert_eq!(fit.orientation.transposition, truth.transposition);
        let off = (fit.orientation.rotation.to_rad() - truth.rotation.to_rad()).sin().asin().abs();
        let same = (fit.orientation.rotation.to_rad() - truth.rotation.to_rad()).cos() > 0.0;
        // Noise of 5 % on 1440 numbers turns the field by about 0.05/√1440 = 1.3 mrad.
        prop_assert!(same && off < 0.01, "{:?} for {:?}", fit, truth);
    }

    #[test]
    fn repair_restores_a_smooth_pattern(bad in prop::collection::btree_set(0usize..11 * 9, 1..8), mean: bool) {
        let mut frames = Tensor::from_fn(&[1, 2, 11, 9], |_| 5.0f32);
        for f in 0..2 {
            bad.iter().for_each(|&b| frames.as_mut_slice()[f * 99 + b] = if b % 2 == 0 { f32::NAN } else { -1e9 });
        }
        let data = set(frames);
        let bad: Vec<usize> = bad.into_iter().collect();
        let is_bad = matches!(Pass::new(&data, PassParams::default()).unwrap().run(&mut silent), Err(Error::Data { index, .. }) if index == bad[0]);
        prop_assert!(is_bad);
        let whole = data.repaired(&bad, if mean { Repair::Mean } else { Repair::Median }).unwrap();
        let a = Pass::new(&whole, PassParams::default()).unwrap().run(&mut silent).unwrap();
        prop_assert!(a.mean.as_slice().iter().all(|&v| v == 5.0));
    }
}

#[test]
fn bad_counts_are_reported_with_their_index() {
    let frames = Tensor::<f32>::full(&[3, 40, 5, 7], 1.0);
    for (index, value) in [(0, f32::NAN), (35 * 100 + 17, -1.0), (35 * 119 + 34, f32::INFINITY)] {
        let mut bad = frames.clone();
        bad.as_mut_slice()[index] = value;
        // A later one too: the first is the one reported.
        bad.as_mut_slice()[35 * 119 + 34] = f32::NAN;
        for par in [Par::seq(), Par::threads(2).unwrap()] {
            let pass = Pass::new(&set(bad.clone()), PassParams { par, ..Default::default() }).unwrap();
            match pass.run(&mut silent) {
                Err(Error::Data { index: found, .. }) => assert_eq!(found, index),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn empty_frames_stay_at_the_centre_with_no_weight_and_empty_data_are_an_error() {
    let mut frames = Tensor::<u16>::full(&[2, 2, 6, 6], 3);
    frames.as_mut_slice()[36..72].fill(0);
    let run = |t: Tensor<u16>| Pass::new(&set(t), PassParams::default()).unwrap().run(&mut silent);
    let a = run(frames.clone()).unwrap();
    assert_eq!((a.com.electrons[[0, 1]], a.com.y[[0, 1]], a.com.x[[0, 1]]), (0.0, 0.0, 0.0));
    assert!(a.com.var_yy[[0, 1]] > a.com.var_yy[[0, 0]] && a.com.var_yy[[0, 1]].is_finite());
    frames.as_mut_slice().fill(0);
    assert!(matches!(run(frames), Err(Error::Data { .. })));
}

#[test]
fn a_cancelled_pass_returns_what_it_read() {
    let data = set(counts([10, 100, 6, 6], 1, |v| v as u8));
    let params = PassParams { par: Par::seq(), ..Default::default() };
    let mut calls = 0;
    let a = Pass::new(&data, params).unwrap().run(&mut |s| {
        calls += 1;
        assert_eq!((s.iteration, s.total), (8, 32));
        ControlFlow::Break(())
    });
    let a = a.unwrap();
    assert_eq!((calls, a.stop, a.frames), (1, Stop::Cancelled, 256));
    assert!(a.sums.as_slice()[255] > 0.0 && a.sums.as_slice()[256..].iter().all(|&s| s == 0.0));
}

#[test]
fn senseless_requests_are_errors() {
    let data = set(Tensor::<u8>::full(&[2, 3, 8, 8], 1));
    let none = DataSet::new(Arc::new(Tensor::<u8>::zeros(&[0, 3, 8, 8])), calibration());
    assert!(matches!(none, Err(Error::Param { .. })));
    assert!(matches!(data.cropped([0..2, 0..3, 0..9, 0..8]), Err(Error::Shape { .. })));
    assert!(matches!(data.cropped([0..2, 1..1, 0..8, 0..8]), Err(Error::Shape { .. })));
    assert!(matches!(data.binned([1, 1, 0, 1]), Err(Error::Shape { .. })));
    assert!(matches!(data.binned([1, 4, 1, 1]), Err(Error::Shape { .. })));
    assert!(data.repaired(&[64], Repair::Median).is_err());
    let pass = |d: Detector| Pass::new(&data, PassParams { detectors: vec![d], ..Default::default() }).map(|_| ());
    let (zero, outer) = (Angle::ZERO, Angle::mrad(3.0));
    assert!(pass(Detector::Disk { outer: Angle::mrad(f64::NAN) }).is_err());
    assert!(pass(Detector::Annulus { inner: outer, outer: zero }).is_err());
    assert!(pass(Detector::Segments { inner: zero, outer, segments: 0, rotation: zero }).is_err());
    assert!(pass(Detector::Segments { inner: zero, outer, segments: usize::MAX, rotation: zero }).is_err());
    assert!(pass(Detector::Point { at: [Angle::mrad(50.0), zero] }).is_err());
    assert!(pass(Detector::Mask(Tensor::zeros(&[8, 7]))).is_err());
    assert!(pass(Detector::Mask(Tensor::full(&[8, 8], f32::NAN))).is_err());
    let tight = PassParams { limits: Limits { bytes: 100 }, ..Default::default() };
    assert!(matches!(Pass::new(&data, tight), Err(Error::OverBudget { .. })));
    assert!(Icom::new([0, 4], IcomParams::default()).is_err());
    let tight = IcomParams { limits: Limits { bytes: 100 }, ..Default::default() };
    assert!(matches!(Icom::new([8, 8], tight), Err(Error::OverBudget { .. })));
    assert!(matches!(
        Icom::new([usize::MAX, 2], IcomParams { limits: Limits { bytes: 1 << 30 }, ..Default::default() }),
        Err(Error::OverBudget { .. })
    ));
    assert!(Icom::new([usize::MAX, 2], IcomParams::default()).is_err());
    let flat = com_map([4, 4], vec![0.1; 16], vec![0.2; 16]);
    assert!(matches!(
        Orientation::find(&flat, [Length::angstrom(1.0); 2], Boundary::Periodic),
        Err(Error::Data { .. })
    ));
}
