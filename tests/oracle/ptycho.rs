//! Ptychography of the simulated MoS2 set, beside what another program finds in it, and against the true phase.

use exitwave::fft::{Direction, Fft2, fft_shift, frequencies};
use exitwave::io::npy;
use exitwave::linalg::gemm::{Trans, gemm_complex};
use exitwave::num_complex::Complex;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::ptycho::*;
use exitwave::tensor::Tensor;
use exitwave::units::Length;

use crate::support::data;

const BOX: f64 = 22.12;
/// 2α/λ for 21.4 mrad at 80 kV.
const CUTOFF: f64 = 1.025;
const SCAN_START: f64 = 6.46;
const SCAN: f64 = 9.2;
/// σ at 80 kV, from the set's own description.
const SIGMA: f64 = 0.001008706604626261;

struct Set {
    patterns: Patterns<f64>,
    positions: Positions,
    start: State<f64>,
    // Spectrum of the true phase on its 128 × 128 grid, band-limited.
    truth: Vec<Complex<f64>>,
}

fn set() -> Option<Set> {
    let file = |name: &str| data(&format!("oracle/{name}.npy"));
    let real = |p: std::path::PathBuf| npy::read(p).unwrap().into_real::<f64>().unwrap();
    let raw = npy::read(file("stem4d/mos2_C10_p50__data")?).unwrap().into_real::<f32>().unwrap();
    let pixels = real(file("py4dstem/ptycho_potential_C10_p50__positions_px")?);
    let initial = real(file("py4dstem/ptycho_potential_C10_p50__object_initial")?);
    let corner = npy::read(file("py4dstem/ptycho_potential_C10_p50__probe_initial")?).unwrap();
    let corner = corner.into_complex::<f64>().unwrap();
    let potential = real(file("stem4d/mos2_projected_potential")?);

    // Their patches start half a window before the position; their probe has its centre in the corner.
    let pixels = pixels.as_slice().chunks(2).map(|p| [p[0] - 48.0, p[1] - 48.0]).collect();
    let positions = Positions { pixels, object: [136, 136], pixel: [Length::angstrom(BOX / 96.0); 2] };
    let mut probe = Tensor::zeros(&[1, 96, 96]);
    fft_shift(&[96, 96], corner.as_slice(), probe.as_mut_slice());
    let start = State {
        object: initial.map(|&phi| Complex::cis(phi)),
        probe,
        positions: positions.pixels.clone(),
        iteration: 0,
        loss: Vec::new(),
        memory: Vec::new(),
    };
    let patterns = Patterns::from_source(&raw, ZeroFrequency::Center, None, Default::default()).unwrap();
    let mut truth: Vec<Complex<f64>> = potential.as_slice().iter().map(|&v| Complex::new(SIGMA * v, 0.0)).collect();
    band(&mut truth, 128, BOX / 128.0, false);
    Some(Set { patterns, positions, start, truth })
}

/// Band-limits an image to [`CUTOFF`]; leaves its spectrum, or transforms it back.
fn band(image: &mut [Complex<f64>], n: usize, pixel: f64, back: bool) {
    let fft = Fft2::new([n, n]).unwrap();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(image, &mut scratch);
    let k = frequencies(n, pixel);
    for (i, z) in image.iter_mut().enumerate() {
        if k[i / n].hypot(k[i % n]) > CUTOFF {
            *z = Complex::default();
        }
    }
    if back {
        fft.transform(image, Direction::Inverse, 1.0 / (n * n) as f64, &mut scratch);
    }
}

/// Correlation of the reconstructed with the true phase over the scanned square, planes removed.
fn correlation(set: &Set, object: &Tensor<Complex<f64>>) -> f64 {
    let pixel = BOX / 96.0;
    let mut phase: Vec<Complex<f64>> = object.as_slice().iter().map(|z| Complex::new(z.arg(), 0.0)).collect();
    band(&mut phase, 136, pixel, true);
    let first = set.positions.pixels[0][0] + 48.0;
    let (a, h) = (first.ceil() as usize, (SCAN / pixel) as usize + 1);
    // The trigonometric interpolant of the truth at the object's pixels.
    let r0 = SCAN_START + (a as f64 - first) * pixel;
    let k = frequencies(128, BOX / 128.0);
    let e: Vec<Complex<f64>> = (0..h)
        .flat_map(|i| k.iter().map(move |k| Complex::cis(std::f64::consts::TAU * k * (r0 + i as f64 * pixel)) / 128.0))
        .collect();
    let (one, zero) = (Complex::new(1.0, 0.0), Complex::new(0.0, 0.0));
    let (mut half, mut truth) = (vec![zero; h * 128], vec![zero; h * h]);
    gemm_complex([h, 128, 128], one, &e, Trans::No, &set.truth, Trans::No, zero, &mut half);
    gemm_complex([h, 128, h], one, &half, Trans::No, &e, Trans::Transpose, zero, &mut truth);

    let mut found: Vec<f64> = (0..h * h).map(|i| phase[(a + i / h) * 136 + a + i % h].re).collect();
    let mut truth: Vec<f64> = truth.iter().map(|z| z.re).collect();
    remove_plane(&mut found, h);
    remove_plane(&mut truth, h);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&found, &truth) / (dot(&found, &found) * dot(&truth, &truth)).sqrt()
}

/// On a square grid the constant and the two centred ramps are orthogonal: three projections.
fn remove_plane(z: &mut [f64], h: usize) {
    let c = (h as f64 - 1.0) / 2.0;
    let ramps: [&dyn Fn(usize) -> f64; 3] = [&|_| 1.0, &|i| (i / h) as f64 - c, &|i| (i % h) as f64 - c];
    for r in ramps {
        let (mut a, mut b) = (0.0, 0.0);
        for (i, z) in z.iter().enumerate() {
            a += r(i) * z;
            b += r(i) * r(i);
        }
        z.iter_mut().enumerate().for_each(|(i, z)| *z -= a / b * r(i));
    }
}

fn reconstruct(set: &Set, algorithm: Algorithm, iterations: usize) -> (f64, State<f64>) {
    let params =
        PtychoParams { algorithm, object: ObjectKind::Phase, par: Par::threads(2).unwrap(), ..PtychoParams::default() };
    let plan = Ptychography::new(set.patterns.clone(), set.positions.clone(), params).unwrap();
    let outcome = plan.run(set.start.clone(), iterations, &mut silent).unwrap();
    (correlation(set, &outcome.state.object), outcome.state)
}

#[test]
fn the_comparison_gives_the_other_program_its_own_figure() {
    let Some(set) = set() else { return };
    let Some(path) = data("oracle/py4dstem/ptycho_potential_C10_p50__object.npy") else { return };
    let theirs = npy::read(path).unwrap().into_real::<f64>().unwrap().map(|&phi| Complex::cis(phi));
    let c = correlation(&set, &theirs);
    assert!((c - 0.906).abs() < 1e-3, "{c}");
}

#[test]
fn sixteen_full_batch_iterations_come_closer_to_the_true_phase_than_the_other_program() {
    let Some(set) = set() else { return };
    let descent = Algorithm::Descent { step: 1.0, regularization: 0.05, batch: 0, loss: Loss::Amplitude };
    let lbfgs = Algorithm::Lbfgs { pairs: 8, regularization: 0.05, loss: Loss::Amplitude };
    let (d, state) = reconstruct(&set, descent, 16);
    println!("descent {d} {:?}", state.loss);
    let (l, state) = reconstruct(&set, lbfgs, 16);
    println!("lbfgs {l} {:?}", state.loss);
    assert!(d >= 0.906, "descent: {d}");
    assert!(l >= 0.906, "L-BFGS: {l}");
}

#[test]
fn the_converged_phase_is_the_true_one() {
    let Some(set) = set() else { return };
    let lbfgs = Algorithm::Lbfgs { pairs: 8, regularization: 0.05, loss: Loss::Amplitude };
    let (c, state) = reconstruct(&set, lbfgs, 60);
    println!("lbfgs {c} {:?}", state.loss.last());
    assert!(c >= 0.99, "{c}");
}
