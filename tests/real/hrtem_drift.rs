//! `hrtem`, drift: noisy copies of an image, repeated frames of a microscope.

use exitwave::hrtem::{DriftMethod, DriftParams, align_frames};
use exitwave::metrics::{Register, RegisterParams, Window};
use exitwave::observe::silent;
use exitwave::tensor::Tensor;

use crate::support::data;

fn stack(name: &str) -> Option<Tensor<f32>> {
    Some(exitwave::io::open(data(name)?).unwrap().stack::<f32>(0).unwrap().data)
}

fn rms(a: &[[f64; 2]], b: &[[f64; 2]]) -> f64 {
    let n = a.len() as f64;
    let mean = [0, 1].map(|i| a.iter().zip(b).map(|(p, q)| p[i] - q[i]).sum::<f64>() / n);
    let of = |(p, q): (&[f64; 2], &[f64; 2])| (p[0] - q[0] - mean[0]).powi(2) + (p[1] - q[1] - mean[1]).powi(2);
    (a.iter().zip(b).map(of).sum::<f64>() / (2.0 * n)).sqrt()
}

/// Ten copies, shifted and with noise: the track is the same from any first frame and from either order.
#[test]
fn shifted_noisy_images_have_one_track_whatever_their_order() {
    let (Some(frames), Some(image)) =
        (stack("data/hrtem/hiv_images_shift_noise_80x80x10.mrc"), stack("data/hrtem/hiv_image_80x80x1.mrc"))
    else {
        return;
    };
    let params = DriftParams {
        method: DriftMethod::MaximumLikelihood,
        band: [0.0, 0.5],
        window: Window::None,
        iterations: 20,
        ..DriftParams::default()
    };
    let whole = align_frames(&frames, &params, &mut silent).unwrap();
    println!("{:.3?}\n{:.3?}", whole.track, whole.uncertainty);
    // Closure: rotate the order, align, rotate back.
    let n = 6400;
    for turn in [3, 7] {
        let turned: Vec<f32> = (0..10).flat_map(|f| frames.as_slice()[(f + turn) % 10 * n..][..n].to_vec()).collect();
        let found = align_frames(&Tensor::from_vec(&[10, 80, 80], turned).unwrap(), &params, &mut silent).unwrap();
        let back: Vec<[f64; 2]> = (0..10).map(|f| found.track[(f + 10 - turn) % 10]).collect();
        let error = rms(&back, &whole.track);
        println!("turned by {turn}: {error:.4} px");
        assert!(error <= 0.05, "{error}");
    }
    // Against the image without noise.
    let register = Register::new([80, 80], RegisterParams::default()).unwrap();
    let truth: Vec<[f64; 2]> =
        (0..10).map(|f| register.real(image.as_slice(), frames.row(f)).unwrap().shift.map(|s| -s)).collect();
    let error = rms(&truth, &whole.track);
    println!("{truth:.2?}\nagainst the image: {error:.4} px");
    assert!(error <= 0.05, "{error}");
}

/// Shifts of repeated frames as another program finds them: those to apply to the second frame, minus its drift.
#[test]
fn repeated_frames_have_the_shifts_that_are_known() {
    for (i, want) in [[0.30, -0.19], [0.03, -0.17], [-0.15, 0.03]].into_iter().enumerate() {
        let Some(frames) = stack(&format!("data/misr/serialem_multiframe/test_00{i}.mrc")) else { return };
        for method in [DriftMethod::CrossCorrelation, DriftMethod::MaximumLikelihood] {
            let params = DriftParams { method, ..DriftParams::default() };
            let found = align_frames(&frames, &params, &mut silent).unwrap();
            println!("{i} {method:?}: {:.3?}, known {want:?}", found.track[1]);
            assert!((0..2).all(|a| (found.track[1][a] + want[a]).abs() <= 0.1), "{i} {method:?}: {:?}", found.track[1]);
        }
    }
}
