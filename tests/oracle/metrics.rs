//! `metrics`: numbers of scikit-image 0.26.

use exitwave::io::npy;
use exitwave::metrics::{
    Covariance, CrossSpectrum, NrmseBy, Register, RegisterParams, SsimParams, SsimWindow, mse, nrmse, psnr, ssim,
};
use exitwave::tensor::Tensor;
use serde_json::Value;

use crate::support::data;

fn sidecar(name: &str) -> Option<Value> {
    let text = std::fs::read(data(&format!("oracle/skimage/{name}.json"))?).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn array(name: &str) -> Tensor<f64> {
    npy::read(data(&format!("oracle/skimage/{name}.npy")).unwrap()).unwrap().into_real::<f64>().unwrap()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("a number, not {v}"))
}

fn pair(v: &Value) -> [f64; 2] {
    [number(&v[0]), number(&v[1])]
}

#[test]
fn errors_and_similarities_equal_the_oracle() {
    let Some(oracle) = sidecar("metrics") else { return };
    let (a, b) = (array("metrics__a"), array("metrics__b"));
    let dims = [a.dims()[0], a.dims()[1]];
    let (a, b) = (a.as_slice(), b.as_slice());
    let want = |key: &str| number(&oracle["results"][key]);
    // Both in f64; sums of 16384 numbers in different order.
    let close = |got: f64, key: &str| assert!((got / want(key) - 1.0).abs() < 1e-12, "{key}: {got}, {}", want(key));
    let data_range = number(&oracle["data_range"]);
    close(mse(a, b).unwrap(), "mse");
    close(psnr(a, b, data_range).unwrap(), "psnr");
    close(nrmse(a, b, NrmseBy::Euclidean).unwrap(), "nrmse_euclidean");
    let uniform = SsimParams {
        window: SsimWindow::Uniform(7),
        covariance: Covariance::Sample,
        data_range,
        ..SsimParams::default()
    };
    close(ssim(a, b, dims, &uniform).unwrap().mean, "ssim_default_uniform7");
    let gaussian = SsimParams { data_range, ..SsimParams::default() };
    close(ssim(a, b, dims, &gaussian).unwrap().mean, "ssim_gaussian");
}

#[test]
fn registration_finds_the_shifts_of_the_oracle() {
    let Some(oracle) = sidecar("phase_cross_correlation") else { return };
    let floats = |name: &str| array(name).map(|&x| x as f32);
    let reference = floats("phase_cross_correlation__reference");
    let moving = floats("phase_cross_correlation__moving");
    let dims = [reference.dims()[0], reference.dims()[1]];
    let results = oracle["results"].as_array().unwrap();
    let (mut plain, mut clean, mut noisy) = (0, 0, 0);
    let mut squares = [0.0; 2];
    for case in results {
        let index = case["image_index"].as_u64().unwrap() as usize;
        let upsample = case["upsample_factor"].as_u64().unwrap() as usize;
        let spectrum = match case["normalization"].as_str().unwrap() {
            "phase" => CrossSpectrum::Phase,
            _ => CrossSpectrum::Plain,
        };
        let plan = Register::new(dims, RegisterParams { upsample, spectrum, max_shift: None }).unwrap();
        let got = plan.real(reference.as_slice(), moving.row(index)).unwrap();
        let (want, planted) = (pair(&case["shift"]), pair(&case["true_shift_of_moving"]));
        let off = |a: [f64; 2]| (a[0] + planted[0]).abs().max((a[1] + planted[1]).abs());
        // The oracle prints float32.
        let equal = (0..2).all(|i| (got.shift[i] - want[i]).abs() < 1e-5);
        if spectrum == CrossSpectrum::Plain {
            // Every one of 30, with noise and without, at every grid. Its sums are of complex64: 1 − ρ² is off by some
            // 6e-8.
            assert!(equal, "image {index}, 1/{upsample}: {:?}, oracle {want:?}", got.shift);
            assert!((got.error.powi(2) - number(&case["error"]).powi(2)).abs() < 4e-6, "{got:?} {case}");
            assert!(got.phase.abs() < 1e-6 && number(&case["phasediff"]).abs() < 1e-6);
            plain += 1;
        } else if number(&case["noise_sigma"]) == 0.0 {
            // On whole pixels a shift of 20.5 is a tie that rounding decides; all others are equal.
            let tie = upsample == 1 && planted[0].fract().abs() == 0.5;
            assert!(
                equal || (tie && off(got.shift) <= 0.5),
                "image {index}, 1/{upsample}: {:?}, oracle {want:?}",
                got.shift
            );
            clean += 1;
        } else {
            // The reference is smooth: most of its frequencies are rounding of float32, which phase correlation raises
            // to full weight in the oracle and leaves out here. So the two differ, by what noise does to either; the
            // planted shift is the judge.
            let whole = if upsample == 1 { 0.5 } else { 0.0 };
            assert!(off(got.shift) < 0.25 + whole, "image {index}, 1/{upsample}: {:?}, planted {planted:?}", got.shift);
            if upsample > 1 {
                squares[0] += off(got.shift).powi(2);
                squares[1] += off(want).powi(2);
            }
            noisy += 1;
        }
    }
    assert_eq!((plain, clean, noisy), (30, 15, 15));
    assert!(squares[0] < squares[1], "squared errors: {} here, {} of the oracle", squares[0], squares[1]);
}
