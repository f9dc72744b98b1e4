//! `stem`: side bands, Wigner deconvolution and parallax on patterns computed from their definition.

use std::f64::consts::TAU;
use std::sync::Arc;

use exitwave::fft::{Direction, Fft2, fft_shift, frequencies};
use exitwave::observe::silent;
use exitwave::optics::{Aberration, Aberrations, Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::stem::*;
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use num_complex::Complex;

/// A periodic box of 64 × 64 pixels of 0.5 Å; 32 × 32 positions 1 Å apart; the detector is the box's spectrum.
const N: usize = 64;
const SCAN: usize = 32;
const PIXEL: f64 = 0.5;
const ENERGY: Energy = Energy::kev(200.0);
const SEMI_ANGLE: Angle = Angle::mrad(10.0);

fn lens(c10: f64) -> Aberrations {
    let mut a = Aberrations::from_defocus(Length::angstrom(-c10));
    a[Aberration::C12].c = Length::angstrom(0.2 * c10);
    a[Aberration::C12].phi = Angle::deg(25.0);
    a.set_cs(Length::mm(0.001));
    a
}

/// A real field of the scan's frequencies, without those at its Nyquist frequency, on the box; its root mean square is
/// `rms`.
fn phase(rms: f64, seed: u64) -> Vec<f64> {
    let fft = Fft2::<f64>::new([N, N]).unwrap();
    let mut r = rng::stream(seed, 0);
    let mut z: Vec<Complex<f64>> = (0..N * N).map(|_| Complex::new(rng::normal(&mut r), 0.0)).collect();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(&mut z, &mut scratch);
    let k = frequencies(N, PIXEL);
    for (i, z) in z.iter_mut().enumerate() {
        let inside = k[i / N].abs() < 0.49 && k[i % N].abs() < 0.49 && i > 0;
        *z *= if inside { (-4.0 * (k[i / N].powi(2) + k[i % N].powi(2))).exp() } else { 0.0 };
    }
    fft.inverse(&mut z, &mut scratch);
    let norm = (z.iter().map(|z| z.re * z.re).sum::<f64>() / (N * N) as f64).sqrt();
    z.iter().map(|z| rms * z.re / norm).collect()
}

/// The patterns of exp(iφ), zero frequency in the middle, times `electrons`.
fn patterns(phase: &[f64], aberrations: &Aberrations, electrons: f64) -> Tensor<f32> {
    let grid = Grid { dims: [N, N], sampling: [Length::angstrom(PIXEL); 2] };
    let aperture = Aperture::Soft { semi_angle: SEMI_ANGLE };
    let probe = Probe::<f64>::new(&ProbeParams {
        energy: ENERGY,
        aperture,
        aberrations: *aberrations,
        grid,
        ..Default::default()
    })
    .unwrap();
    let fft = Fft2::<f64>::new([N, N]).unwrap();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    let mut data = Tensor::<f32>::zeros(&[SCAN, SCAN, N, N]);
    for (i, pattern) in data.as_mut_slice().chunks_mut(N * N).enumerate() {
        let at = [i / SCAN, i % SCAN].map(|i| Length::angstrom((i * N / SCAN) as f64 * PIXEL));
        let mut psi = probe.real(at).unwrap().into_vec();
        psi.iter_mut().zip(phase).for_each(|(z, &p)| *z *= Complex::cis(p));
        fft.transform(&mut psi, Direction::Forward, 1.0, &mut scratch);
        let mut shifted = psi.clone();
        fft_shift(&[N, N], &psi, &mut shifted);
        let sum: f64 = shifted.iter().map(|z| z.norm_sqr()).sum();
        pattern.iter_mut().zip(&shifted).for_each(|(p, z)| *p = (electrons * z.norm_sqr() / sum) as f32);
    }
    data
}

fn set(data: Tensor<f32>) -> DataSet {
    let pixel = Pixel::Frequency([SpatialFrequency::per_angstrom(1.0 / (N as f64 * PIXEL)); 2]);
    DataSet::new(Arc::new(data), Calibration::new([Length::angstrom(N as f64 / SCAN as f64 * PIXEL); 2], pixel, ENERGY))
        .unwrap()
}

fn spectra(data: &DataSet, reach: Option<Angle>) -> ScanSpectrum {
    ScanSpectrum::new(data, &ScanSpectrumParams { reach, ..Default::default() }, &mut silent).unwrap()
}

/// The phase at the scan positions.
fn sampled(phase: &[f64]) -> Vec<f64> {
    let s = N / SCAN;
    (0..SCAN * SCAN).map(|i| phase[i / SCAN * s * N + i % SCAN * s]).collect()
}

/// Normalised Fourier coefficients, (1/N) Σ φ e^{−2πi Q·R}.
fn coefficients(phase: &[f64]) -> Vec<Complex<f64>> {
    let fft = Fft2::<f64>::new([SCAN, SCAN]).unwrap();
    let mut z: Vec<Complex<f64>> = phase.iter().map(|&p| Complex::new(p, 0.0)).collect();
    fft.transform(
        &mut z,
        Direction::Forward,
        1.0 / phase.len() as f64,
        &mut vec![Complex::default(); fft.scratch_len()],
    );
    z
}

/// ‖a − t b‖/‖t b‖ over the coefficients with transfer t > 0.
fn error(found: &[f64], truth: &[f64], transfer: &[f64]) -> f64 {
    let (a, b) = (coefficients(found), coefficients(truth));
    let (mut d, mut n) = (0.0, 0.0);
    for i in (0..a.len()).filter(|&i| transfer[i] > 0.0) {
        d += (a[i] - b[i] * transfer[i]).norm_sqr();
        n += (b[i] * transfer[i]).norm_sqr();
    }
    (d / n).sqrt()
}

#[test]
fn side_bands_recover_a_weak_phase_to_one_percent() {
    // The next order of the object is 10⁻³ of the phase; single precision of the counts adds 10⁻⁴.
    let truth = phase(1e-3, 1);
    for c10 in [0.0, 400.0] {
        let g = spectra(&set(patterns(&truth, &lens(c10), 1.0)), Some(SEMI_ANGLE * 1.2));
        for weighting in [Weighting::SingleSideBand, Weighting::LeastSquares, Weighting::OptimumBrightField] {
            let params =
                SideBandParams { semi_angle: SEMI_ANGLE, aberrations: lens(c10), weighting, ..Default::default() };
            let found = side_band(&g, &params).unwrap();
            let covered = found.transfer.as_slice().iter().filter(|&&t| t > 0.0).count();
            let e = error(found.phase.as_slice(), &sampled(&truth), found.transfer.as_slice());
            println!("C10 {c10} {weighting:?}: error {e:.2e}, {covered} of {} frequencies", SCAN * SCAN);
            assert!(e < 0.01, "{c10} {weighting:?}: {e}");
            // In focus least squares sees no triple overlap (its Γ vanishes), and so no lowest frequencies at all.
            assert!(covered > SCAN * SCAN / 2, "{covered}");
        }
    }
}

#[test]
fn wrong_aberrations_or_a_wrong_sign_are_not_forgiven() {
    let truth = phase(1e-3, 2);
    let g = spectra(&set(patterns(&truth, &lens(400.0), 1.0)), Some(SEMI_ANGLE * 1.2));
    for wrong in [0.0, -400.0] {
        let params = SideBandParams { semi_angle: SEMI_ANGLE, aberrations: lens(wrong), ..Default::default() };
        let found = side_band(&g, &params).unwrap();
        assert!(error(found.phase.as_slice(), &sampled(&truth), found.transfer.as_slice()) > 0.3);
    }
}

#[test]
fn wigner_deconvolution_recovers_weak_and_strong_phases() {
    // The weak one to 1 %; of a strong one the filter lets other parts through, and its transfer is that of a weak one.
    for rms in [1e-3, 0.3] {
        let truth = phase(rms, 3);
        let g = spectra(&set(patterns(&truth, &lens(200.0), 1.0)), None);
        let params = WddParams { semi_angle: SEMI_ANGLE, aberrations: lens(200.0), regularization: 1e-3 };
        let found = wdd(&g, &params).unwrap();
        let (a, b) = (coefficients(found.phase.as_slice()), coefficients(&sampled(&truth)));
        let t = found.transfer.as_slice();
        let (mut d, mut n, mut ab, mut aa, mut covered) = (0.0, 0.0, 0.0, 0.0, 0);
        for i in (1..a.len()).filter(|&i| t[i] > 0.1) {
            let want = b[i] * t[i];
            d += (a[i] - want).norm_sqr();
            n += want.norm_sqr();
            aa += a[i].norm_sqr();
            ab += (a[i] * want.conj()).re;
            covered += 1;
        }
        let (e, correlation) = ((d / n).sqrt(), ab / (aa * n).sqrt());
        println!("rms {rms}: error {e:.2e}, correlation {correlation:.4} over {covered} frequencies");
        assert!(e < if rms < 0.1 { 0.01 } else { 0.05 }, "{rms}: {e} {correlation}");
        assert!(covered > 500, "{covered}");
    }
}

#[test]
fn the_noise_is_that_of_counts() {
    // Sixteen scans of vacuum: the phase's coefficients scatter as the noise says, to three standard errors.
    let electrons = 50.0;
    let vacuum = patterns(&vec![0.0; N * N], &lens(300.0), electrons);
    for weighting in [Weighting::SingleSideBand, Weighting::LeastSquares, Weighting::OptimumBrightField] {
        let (mut sum, mut n) = (0.0, 0.0);
        for seed in 0..4 {
            let mut data = vacuum.clone();
            exitwave::ptycho::count_electrons(&mut data, seed, &Par::default());
            let g = spectra(&set(data), Some(SEMI_ANGLE * 1.2));
            let params =
                SideBandParams { semi_angle: SEMI_ANGLE, aberrations: lens(300.0), weighting, ..Default::default() };
            let found = side_band(&g, &params).unwrap();
            for (z, s) in coefficients(found.phase.as_slice()).iter().zip(found.noise.as_slice()) {
                if *s > 0.0 {
                    sum += z.norm_sqr() / (s * s);
                    n += 1.0;
                }
            }
        }
        // |z|²/σ² has mean 1 and variance 1; coefficients at ±Q are the same number, which doubles the variance.
        let chi2 = sum / n;
        assert!((chi2 - 1.0).abs() < 3.0 * (2.0 / n).sqrt() + 0.02, "{weighting:?}: {chi2} of {n}");
    }
}

#[test]
fn parallax_finds_the_aberrations_and_its_transfer_is_the_images() {
    let truth = phase(1e-3, 5);
    let c = lens(600.0);
    let g = spectra(&set(patterns(&truth, &c, 1.0)), Some(SEMI_ANGLE * 1.2));
    let params = ParallaxParams {
        semi_angle: SEMI_ANGLE,
        aberrations: {
            let mut a = Aberrations::default();
            a.set_cs(c.cs());
            a
        },
        fit: ParallaxFit::Astigmatism { defocus_range: Length::nm(200.0) },
        ..Default::default()
    };
    let found = parallax(&g, &params, &mut silent).unwrap();
    println!(
        "{} rounds, {:?}: {:?}, rotation {}",
        found.iterations,
        found.stop,
        found.aberrations.coefficients[..2].to_vec(),
        found.rotation
    );
    let (a, b) = (found.aberrations.to_cartesian(), c.to_cartesian());
    for which in [Aberration::C10, Aberration::C12] {
        // Maximum likelihood without noise; 15 Å is what a step of the last parabolas may leave.
        assert!((a[which].a - b[which].a).to_angstrom().abs() < 15.0, "{which:?}: {:?} {:?}", a[which], b[which]);
        assert!((a[which].b - b[which].b).to_angstrom().abs() < 15.0, "{which:?}: {:?} {:?}", a[which], b[which]);
    }
    // With the true aberrations, image − 1 = F⁻¹[T φ̃].
    let fixed = ParallaxParams { aberrations: c, fit: ParallaxFit::Fixed, ..params };
    let exact = parallax(&g, &fixed, &mut silent).unwrap();
    let e = error(exact.image.as_slice(), &sampled(&truth), exact.transfer.as_slice());
    assert!(e < 0.02, "{e}");
}

#[test]
fn upsampled_parallax_shows_what_the_scan_alone_cannot() {
    // A wave of 18/32 cycles an Å, above the scan's Nyquist frequency of 0.5; its alias is at −14/32.
    let truth: Vec<f64> = (0..N * N).map(|i| 1e-3 * (TAU * 0.5625 * PIXEL * (i % N) as f64).cos()).collect();
    let c = Aberrations::from_defocus(Length::angstrom(-600.0));
    let g = spectra(&set(patterns(&truth, &c, 1.0)), Some(SEMI_ANGLE));
    let params = ParallaxParams {
        semi_angle: SEMI_ANGLE,
        aberrations: c,
        fit: ParallaxFit::Fixed,
        upsampling: 2,
        ..Default::default()
    };
    let found = parallax(&g, &params, &mut silent).unwrap();
    assert_eq!(found.image.dims(), &[2 * SCAN, 2 * SCAN]);
    // |φ̃| of this wave is 5·10⁻⁴; its alias is suppressed, since the shifts scatter its phases.
    let fft = Fft2::<f64>::new([2 * SCAN, 2 * SCAN]).unwrap();
    let mut z: Vec<Complex<f64>> = found.image.as_slice().iter().map(|&p| Complex::new(p, 0.0)).collect();
    let norm = 1.0 / z.len() as f64;
    fft.transform(&mut z, Direction::Forward, norm, &mut vec![Complex::default(); fft.scratch_len()]);
    let (here, alias) = (z[18], z[2 * SCAN - 14]);
    let expected = found.transfer.as_slice()[18] * 5e-4;
    assert!(expected.abs() > 1e-5 && (here.re - expected).abs() < 0.05 * expected.abs(), "{here} {expected}");
    println!("{here} expected {expected}, alias {alias}");
    assert!(alias.norm() < 0.2 * here.norm(), "{alias} {here}");
}

#[test]
fn direct_phase_retrieval_refuses_what_makes_no_sense() {
    let data = set(patterns(&phase(1e-3, 1), &lens(0.0), 1.0));
    let params = |reach| ScanSpectrumParams { reach, ..Default::default() };
    let g = spectra(&data, Some(SEMI_ANGLE));
    assert!(wdd(&g, &WddParams::default()).is_err());
    assert!(side_band(&g, &SideBandParams { floor: 1.0, ..Default::default() }).is_err());
    assert!(side_band(&g, &SideBandParams { semi_angle: Angle::mrad(-1.0), ..Default::default() }).is_err());
    assert!(parallax(&g, &ParallaxParams { upsampling: 0, ..Default::default() }, &mut silent).is_err());
    let limits = exitwave::shape::Limits { bytes: 1000 };
    assert!(ScanSpectrum::new(&data, &ScanSpectrumParams { limits, ..params(None) }, &mut silent).is_err());
    let zeros = set(Tensor::zeros(&[SCAN, SCAN, N, N]));
    assert!(ScanSpectrum::new(&zeros, &params(None), &mut silent).is_err());
    let mut bad = Tensor::<f32>::zeros(&[SCAN, SCAN, N, N]);
    bad.as_mut_slice()[77] = f32::NAN;
    match ScanSpectrum::new(&set(bad), &params(None), &mut silent) {
        Err(exitwave::Error::Data { index, .. }) => assert_eq!(index, 77),
        other => panic!("{other:?}"),
    }
}
