//! Fourier transforms of complex `f32`.

#[path = "support/timing.rs"]
mod timing;

use exitwave::fft::{Direction, Fft2, Fft3};
use exitwave::num_complex::Complex;
use exitwave::par::Par;
use exitwave::rng;

/// The same number of threads as the peers' scripts.
const THREADS: usize = 2;

fn random(n: usize) -> Vec<Complex<f32>> {
    let mut r = rng::stream(0, 0);
    (0..n).map(|_| rng::normal_pair(&mut r)).map(|(a, b)| Complex::new(a as f32, b as f32)).collect()
}

fn main() -> Result<(), exitwave::Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;

    // 64 frames of 256², there and back in turn, so that the numbers do not grow.
    let plan = Fft2::<f32>::new([256, 256])?;
    let mut scratch = vec![Complex::default(); plan.batch_scratch_len(&par)];
    let mut direction = Direction::Inverse;
    let batch = timing::measure(
        &mut c,
        "fft2 64x256x256",
        &mut random(64 * 256 * 256),
        |_| (),
        |y| {
            direction = direction.reverse();
            plan.batch(y, direction, &par, &mut scratch);
        },
    );

    // One frame of 128², spectrum left transposed: what ptychography does twice a pattern.
    let x = random(128 * 128);
    let plan = Fft2::<f32>::new([128, 128])?;
    let mut scratch = vec![Complex::default(); plan.scratch_len()];
    let single = timing::measure(
        &mut c,
        "fft2 128x128 transposed",
        &mut x.clone(),
        |y| y.copy_from_slice(&x),
        |y| plan.forward_transposed(y, &mut scratch),
    );

    let x = random(64 * 64 * 64);
    let plan = Fft3::<f32>::new([64, 64, 64], par)?;
    let mut scratch = vec![Complex::default(); plan.scratch_len()];
    let volume = timing::measure(
        &mut c,
        "fft3 64x64x64",
        &mut x.clone(),
        |y| y.copy_from_slice(&x),
        |y| plan.forward(y, &mut scratch),
    );

    c.final_summary();
    timing::print_figures(&[
        ("fft2_64x256x256_s", batch),
        ("fft2_128x128_transposed_s", single),
        ("fft3_64x64x64_s", volume),
    ]);
    Ok(())
}
