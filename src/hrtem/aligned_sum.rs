//! The sum of frames whose drift is removed.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::dose_weight::FrameWeights;
use crate::hrtem::frame_spectra::{Annuli, FrameSpectra};
use crate::hrtem::likelihood::ramps;
use crate::metrics::Window;
use crate::par::Par;
use crate::shape::{Limits, try_zeroed};
use crate::source::FrameSource;
use crate::tensor::Tensor;

/// Parameters of [`aligned_sum`].
#[derive(Clone, Debug, Default)]
pub struct AlignedSumParams {
    /// Weight of each frame at each frequency; `None`: all alike.
    pub weights: Option<FrameWeights>,
    /// Threads.
    pub par: Par,
    /// Memory that may be used.
    pub limits: Limits,
}

/// The sum of a series.
#[derive(Clone, Debug)]
pub struct AlignedSum {
    /// Of all frames, `[ny, nx]`.
    pub sum: Tensor<f32>,
    /// Of the frames 0, 2, 4, … and 1, 3, 5, …: independent halves.
    pub halves: [Tensor<f32>; 2],
    /// Pixels at the borders `[top, bottom, left, right]` into which content from the other side was shifted.
    pub border: [usize; 4],
}

/// Adds frames shifted by −`track`, in one reading:
///
/// ```text
/// sum = F⁻¹{ Σ_f w_f(k) F_f(k) e^{+2πi k·d_f} / √(⟨w_f²⟩_f) }
/// ```
///
/// Shifts are exact (periodic) Fourier shifts. The noise keeps its power whatever the weights are; at k = 0 all frames weigh the same.
///
/// # Shapes
/// Frames `[sy, sx, ny, nx]`; `track` has a `[y, x]` a frame, in pixels.
///
/// # Errors
/// [`Error::Shape`] for a track or weights of another length, [`Error::Param`] for a track that is not finite, [`Error::Data`] for frames that are not;
/// [`Error::OverBudget`], [`Error::OutOfMemory`] and what reading gives.
pub fn aligned_sum(
    source: &dyn FrameSource,
    track: &[[f64; 2]],
    params: &AlignedSumParams,
) -> Result<AlignedSum, Error> {
    let extra = (source.frame_len() as u64).saturating_mul(2 * 4 + 3 * 4);
    let mut spectra = FrameSpectra::new(source, Window::None, &params.par, params.limits, extra)?;
    let (dims, half, n) = (spectra.dims, spectra.half, spectra.frames);
    if track.len() != n {
        return Err(Error::shape("aligned_sum, track", &[n], &[track.len()]));
    }
    if let Some(d) = track.iter().find(|d| !d.iter().all(|v| v.is_finite())) {
        return Err(Error::param("track", format!("{d:?}"), "finite numbers of pixels"));
    }
    if let Some(w) = &params.weights
        && w.frames() != n
    {
        return Err(Error::shape("aligned_sum, weights", &[n], &[w.frames()]));
    }
    let annuli = Annuli::new(dims, 1.0);
    // Weights by ring: of each frame, divided by their RMS.
    let rings: Option<Vec<Vec<f32>>> = params.weights.as_ref().map(|w| {
        let of = |f: usize| -> Vec<f64> {
            (0..annuli.count).map(|b| w.at(f, (b as f64 + 0.5) / dims[0].min(dims[1]) as f64)).collect()
        };
        let all: Vec<Vec<f64>> = (0..n).map(of).collect();
        let rms = |b: usize| (all.iter().map(|w| w[b] * w[b]).sum::<f64>() / n as f64).sqrt().max(1e-30);
        let norm: Vec<f64> = (0..annuli.count).map(rms).collect();
        all.iter().map(|w| w.iter().zip(&norm).map(|(w, n)| (w / n) as f32).collect()).collect()
    });
    // The weight of a frame at low frequencies may be small: its mean is added apart.
    let mut totals: [Vec<Complex<f32>>; 2] = [try_zeroed(dims[0] * half)?, try_zeroed(dims[0] * half)?];
    let mut means = [0.0; 2];
    spectra.for_each(|first, slots, par| {
        let turn: Vec<_> = (0..slots.len()).map(|i| ramps(dims, track[first + i])).collect();
        for (i, slot) in slots.iter().enumerate() {
            let f = first + i;
            means[f % 2] += slot.mean;
            let [ry, rx] = &turn[i];
            let weights = rings.as_ref().map(|r| &r[f]);
            par.chunks(&mut totals[f % 2], 16 * half, |c, rows| {
                for (r, row) in rows.chunks_mut(half).enumerate() {
                    let y = c * 16 + r;
                    let from = &slot.spectrum[y * half..][..half];
                    match weights {
                        None => row.iter_mut().zip(from).zip(rx).for_each(|((t, z), x)| *t += z * (ry[y] * x)),
                        Some(w) => {
                            for (x, t) in row.iter_mut().enumerate() {
                                let w = w[annuli.bin(annuli.k(y * half + x))];
                                *t += from[x] * (ry[y] * rx[x]) * w;
                            }
                        }
                    }
                }
            });
        }
        Ok(())
    })?;
    let fft = spectra.fft.clone();
    drop(spectra);
    let mut scratch = try_zeroed(fft.scratch_len())?;
    let mut image = |spectrum: &mut [Complex<f32>], mean: f64| -> Result<Tensor<f32>, Error> {
        let mut out = try_zeroed(dims[0] * dims[1])?;
        fft.inverse(spectrum, &mut out, &mut scratch);
        out.iter_mut().for_each(|v| *v += mean as f32);
        Tensor::from_vec(&dims, out)
    };
    let [mut even, mut odd] = totals;
    let halves = [image(&mut even, means[0])?, image(&mut odd, means[1])?];
    let mut sum = halves[0].clone();
    sum.as_mut_slice().iter_mut().zip(halves[1].as_slice()).for_each(|(a, b)| *a += b);
    let extreme = |a: usize, sign: f64, n: usize| {
        track.iter().map(|d| sign * d[a]).fold(0.0, f64::max).ceil().min(n as f64) as usize
    };
    // Content that drifted down is shifted up: the bottom is filled from the top.
    let border =
        [extreme(0, -1.0, dims[0]), extreme(0, 1.0, dims[0]), extreme(1, -1.0, dims[1]), extreme(1, 1.0, dims[1])];
    Ok(AlignedSum { sum, halves, border })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_moved_by_whole_pixels_add_up_to_their_multiple() {
        let image = |y: usize, x: usize| ((y * 7 + x * 3) % 11) as f32 + if y == 4 && x == 9 { 20.0 } else { 0.0 };
        let track = [[0.0, 0.0], [2.0, 1.0], [-1.0, 3.0]];
        let frames = Tensor::from_fn(&[3, 16, 18], |i| {
            let at = |a: usize, n: usize| (i[a + 1] as f64 - track[i[0]][a]).rem_euclid(n as f64) as usize;
            image(at(0, 16), at(1, 18))
        });
        for threads in [1, 2] {
            let params = AlignedSumParams { par: Par::threads(threads).unwrap(), ..Default::default() };
            let got = aligned_sum(&frames, &track, &params).unwrap();
            for y in 0..16 {
                for x in 0..18 {
                    assert!((got.sum[[y, x]] - 3.0 * image(y, x)).abs() < 1e-3);
                    assert!((got.halves[1][[y, x]] - image(y, x)).abs() < 1e-3);
                }
            }
            assert_eq!(got.border, [1, 2, 0, 3]);
        }
        assert!(aligned_sum(&frames, &track[..2], &AlignedSumParams::default()).is_err());
        assert!(aligned_sum(&frames, &[[f64::NAN, 0.0]; 3], &AlignedSumParams::default()).is_err());
    }
}
