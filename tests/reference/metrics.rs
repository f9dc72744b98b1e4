//! `metrics`: closed forms and published values.

use exitwave::metrics::{
    Compared, FrcParams, FscParams, Register, RegisterParams, Resolution, RingCorrelation, ShellCorrelation, Split,
    Threshold,
};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::units::{Length, SpatialFrequency};

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

#[test]
fn bit_thresholds_are_those_of_van_heel_and_schatz() {
    // J. Struct. Biol. 151, 250 (2005): half-bit (0.2071 + 1.9102/√n)/(1.2071 + 0.9102/√n) and 1-bit (0.5 +
    // 2.4142/√n)/(1.5 + 1.4142/√n) for half data, SNR 0.4142 and 1 for full data; printed to four decimals, so to 1e-4.
    for n in [4.0f64, 20.0, 100.0, 1e4, 1e8] {
        let r = n.sqrt();
        let printed = [
            (Threshold::HalfBit(Split::Halves), (0.2071 + 1.9102 / r) / (1.2071 + 0.9102 / r)),
            (Threshold::OneBit(Split::Halves), (0.5 + (1.0 + 2f64.sqrt()) / r) / (1.5 + 2f64.sqrt() / r)),
            (Threshold::HalfBit(Split::Full), (0.4142 + 2.2872 / r) / (1.0 + 0.4142 + 1.2872 / r)),
            (Threshold::OneBit(Split::Full), (1.0 + 3.0 / r) / (2.0 + 2.0 / r)),
            (Threshold::OneSeventh, 0.142857),
            (Threshold::ThreeSigma, f64::min(1.0, 3.0 / r)),
        ];
        for (t, want) in printed {
            assert!((t.value(n) - want).abs() < 1e-4, "{t:?} at n = {n}: {}, {want}", t.value(n));
        }
    }
}

#[test]
fn ring_correlation_gives_the_signal_to_noise_ratio_back() {
    // White signal of variance 1 under white noise of variance 1/SNR in each half: FRC = SNR/(1 + SNR) in every ring,
    // and with the truth √(SNR/(1 + SNR)). Over all rings the estimate of the correlation r has the standard error (1 −
    // r²)/√N; five are allowed.
    let dims = [128, 128];
    let n = dims[0] * dims[1];
    let (snr, signal) = (0.5f64, normals(n, 1));
    let half = |s: u64| -> Vec<f64> { signal.iter().zip(normals(n, s)).map(|(x, e)| x + e / snr.sqrt()).collect() };
    let plan = RingCorrelation::new(dims, FrcParams::default()).unwrap();
    let mean = |correlation: &[f64], samples: &[usize]| {
        let all: usize = samples[1..].iter().sum();
        (correlation[1..].iter().zip(&samples[1..]).map(|(f, &n)| f * n as f64).sum::<f64>() / all as f64, all as f64)
    };
    let (a, b) = (half(2), half(3));
    let halves = plan.real(&a, &b).unwrap();
    let (f, m) = mean(&halves.correlation, &halves.samples);
    let want = snr / (1.0 + snr);
    assert!((f - want).abs() < 5.0 * (1.0 - want * want) / m.sqrt(), "{f}, {want}");

    let truth = plan.real(&signal, &a).unwrap();
    let (f, m) = mean(&truth.correlation, &truth.samples);
    let want = want.sqrt();
    assert!((f - want).abs() < 5.0 * (1.0 - want * want) / m.sqrt(), "{f}, {want}");

    // The sum of both halves has twice the ratio of one: what the halves predict agrees with what the truth says, ring
    // by ring within noise, on average over the 60 outer rings within a tenth.
    let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    let measured = plan.real(&signal, &sum).unwrap();
    let average = |x: &[f64]| x[4..].iter().sum::<f64>() / (x.len() - 4) as f64;
    let (predicted, known) = (average(&halves.snr(Compared::Halves)), average(&measured.snr(Compared::Truth)));
    assert!(
        (predicted / (2.0 * snr) - 1.0).abs() < 0.1 && (known / (2.0 * snr) - 1.0).abs() < 0.1,
        "{predicted} {known}"
    );
    let c_ref = average(&halves.expected_with_truth());
    assert!((c_ref / average(&measured.correlation) - 1.0).abs() < 0.02, "{c_ref}");
}

#[test]
fn the_resolution_is_where_the_data_end() {
    // Two independent noisy copies of a random image that holds frequencies up to 0.24/Å only, with pixels of 0.8 Å
    // (Nyquist 0.625/Å, limit 0.417/Å): every criterion must find the edge within one ring, Δk = 1/(96 · 0.8 Å) =
    // 0.0130/Å.
    use exitwave::fft::{Fft2, frequencies};
    use num_complex::Complex;
    let (n, pixel, edge) = (96usize, 0.8, 0.24);
    let plan = Fft2::<f64>::new([n, n]).unwrap();
    let mut scratch = vec![Complex::default(); plan.scratch_len()];
    let mut x: Vec<Complex<f64>> = normals(n * n, 1).iter().map(|&v| Complex::new(v, 0.0)).collect();
    plan.forward(&mut x, &mut scratch);
    let k = frequencies(n, pixel);
    for (i, z) in x.iter_mut().enumerate() {
        *z *= if k[i / n].hypot(k[i % n]) <= edge { 1.0 } else { 0.0 };
    }
    plan.inverse(&mut x, &mut scratch);
    let half = |s: u64| -> Vec<f32> { x.iter().zip(normals(n * n, s)).map(|(z, e)| (z.re + 0.1 * e) as f32).collect() };
    let params = FrcParams { pixel: [Length::angstrom(pixel); 2], ..FrcParams::default() };
    let curve = RingCorrelation::new([n, n], params).unwrap().real(&half(2), &half(3)).unwrap();
    for t in
        [Threshold::OneSeventh, Threshold::HalfBit(Split::Halves), Threshold::OneBit(Split::Halves), Threshold::Half]
    {
        let Resolution::At(d) = curve.resolution(t) else { panic!("{t:?}: {:?}", curve.resolution(t)) };
        assert!(((1.0 / d).to_per_angstrom() - edge).abs() < 1.0 / (n as f64 * pixel), "{t:?}: {d}");
    }
    // An image sampled twice as finely as its data were: the limit follows the data.
    let data_nyquist = Some(SpatialFrequency::per_angstrom(0.3));
    let params = FrcParams { pixel: [Length::angstrom(pixel); 2], data_nyquist, ..FrcParams::default() };
    let curve = RingCorrelation::new([n, n], params).unwrap().real(&half(2), &half(3)).unwrap();
    let Resolution::BetterThan(d) = curve.resolution(Threshold::HalfBit(Split::Halves)) else { panic!() };
    assert!((d.to_angstrom() - 5.0).abs() < 1e-12);
}

#[test]
fn independent_noise_has_no_resolution() {
    // Twenty pairs. (The first rings hold few samples, and chance alone takes three of them in a row above ½ about once
    // in a thousand pairs.)
    let plan = RingCorrelation::new([128, 128], FrcParams::default()).unwrap();
    for seed in 0..20 {
        let curve = plan.real(&normals(128 * 128, 2 * seed), &normals(128 * 128, 2 * seed + 1)).unwrap();
        for t in [Threshold::Half, Threshold::HalfBit(Split::Halves), Threshold::OneBit(Split::Halves)] {
            assert_eq!(curve.resolution(t), Resolution::NotReached, "{t:?}, pair {seed}");
        }
    }
}

#[test]
fn shells_of_noise_correlate_by_one_over_root_n() {
    // As for rings: Σ n F² over R shells is R ± √(2R); six standard deviations.
    let dims = [24, 20, 28];
    let n: usize = dims.iter().product();
    let plan = ShellCorrelation::new(dims, FscParams { par: Par::seq(), ..FscParams::default() }).unwrap();
    let curve = plan.real(&normals(n, 1), &normals(n, 2)).unwrap();
    let rings = curve.samples.len() - 1;
    let sum: f64 = (1..=rings).map(|i| curve.samples[i] as f64 * curve.correlation[i].powi(2)).sum();
    assert!((sum - rings as f64).abs() < 6.0 * (2.0 * rings as f64).sqrt(), "{sum} for {rings}");
    // A shell of radius i and width 1 (in the coarsest step, 1/20) holds about 4π i² · (24/20)(28/20) points: 1351 for
    // i = 8, well within Nyquist (10). Lattice points fluctuate by about the root of that, 3 %; twice is allowed.
    let expected = 4.0 * std::f64::consts::PI * 64.0 * 1.2 * 1.4;
    assert!((curve.samples[8] as f64 / expected - 1.0).abs() < 0.06, "{} {expected}", curve.samples[8]);
}

#[test]
fn registration_of_a_noisy_image_reaches_the_cramer_rao_bound() {
    // For the shift of a known image a under white noise of variance v: covariance ≥ v G⁻¹, G = Σ ∇a ∇aᵀ. The
    // cross-correlation with a is the maximum of the likelihood and reaches it. The root mean square over 40 repeats
    // has a relative standard error of 1/√80, three of which are allowed; the grid of 0.01 pixels adds 0.01²/12 to the
    // variance.
    let n = 64;
    let t = std::f64::consts::TAU / n as f64;
    // (ky, kx, amplitude). No shift inverts all four, which would be as good as none.
    let waves = [(0.0, 3.0, 1.0), (2.0, 0.0, 1.0), (4.0, 5.0, 0.5), (0.0, 4.0, 0.5)];
    let sum = |f: &dyn Fn(f64, (f64, f64, f64)) -> f64| -> Vec<f64> {
        (0..n * n)
            .map(|i| {
                let (y, x) = ((i / n) as f64, (i % n) as f64);
                waves.iter().map(|&w| f(t * (w.0 * y + w.1 * x), w)).sum()
            })
            .collect()
    };
    let image = sum(&|phase, w| w.2 * phase.cos());
    let (ay, ax) = (sum(&|phase, w| -w.2 * t * w.0 * phase.sin()), sum(&|phase, w| -w.2 * t * w.1 * phase.sin()));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (gyy, gyx, gxx) = (dot(&ay, &ay), dot(&ay, &ax), dot(&ax, &ax));

    let sigma = 0.5;
    let bound = (sigma * sigma * gyy / (gyy * gxx - gyx * gyx) + 1e-4 / 12.0).sqrt();
    let plan = Register::new([n, n], RegisterParams::default()).unwrap();
    let repeats = 40;
    let square: f64 = (0..repeats)
        .map(|r| {
            let noisy: Vec<f64> = image.iter().zip(normals(n * n, r)).map(|(x, e)| x + sigma * e).collect();
            plan.real(&image, &noisy).unwrap().shift[1].powi(2)
        })
        .sum();
    let ratio = (square / repeats as f64).sqrt() / bound;
    assert!((ratio - 1.0).abs() < 3.0 / 80f64.sqrt(), "{ratio} of the bound {bound}");
}
