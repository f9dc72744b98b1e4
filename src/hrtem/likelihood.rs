//! Iterative maximum likelihood: every frame against the mean of all others, weighted by what is known at each frequency.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::shift_factors;
use crate::hrtem::correlation_track::{self, confidence, highest, in_band};
use crate::hrtem::drift::{Drift, DriftMethod, DriftParams};
use crate::hrtem::frame_spectra::{Annuli, FrameSpectra};
use crate::observe::{Observer, Step, Stop};
use crate::shape::{Field, try_zeroed};
use crate::source::FrameSource;

type C = Complex<f32>;

/// e^{+2πi k·d} for rows and columns of a half spectrum: what takes drift away.
pub(super) fn ramps(dims: [usize; 2], d: [f64; 2]) -> [Vec<C>; 2] {
    let axis = |a: usize, n: usize| {
        shift_factors(n, -d[a], Field::Real).iter().map(|z| C::new(z.re as f32, z.im as f32)).collect()
    };
    let (y, mut x): (Vec<C>, Vec<C>) = (axis(0, dims[0]), axis(1, dims[1]));
    x.truncate(dims[1] / 2 + 1);
    [y, x]
}

/// The model is that of the amplitude filter's components, with x(|k|) and s²(|k|) from rings in place of a selection:
///
/// ```text
/// ⟨|F_f|²⟩ = s² (1 + x),   ⟨|T|²⟩ = n s² (1 + n x),   T = Σ_f F_f e^{+2πi k·d_f}      two equations a ring
/// c_f(k) = (v/(1 + v)) T̄_{−f} F_f / s²,  v = x/(1 + (n − 1) x)                         its inverse transform is ln p(d_f) but for a factor
/// ```
///
/// The sum over rings overestimates x while frames are misaligned at high frequencies not at all: there T adds up like noise, x comes out as 0, and they do not vote yet.
pub(super) fn run(source: &dyn FrameSource, params: &DriftParams, observe: Observer<'_>) -> Result<Drift, Error> {
    let start =
        correlation_track::run(source, &DriftParams { method: DriftMethod::CrossCorrelation, ..params.clone() })?;
    let extra = (source.frame_len() as u64).saturating_mul(5 * 4);
    let mut spectra = FrameSpectra::new(source, params.window, &params.par, params.limits, extra)?;
    let (n, dims, half) = (spectra.frames, spectra.dims, spectra.half);
    if n < 2 {
        return Ok(start);
    }
    let annuli = Annuli::new(dims, 4.0);
    let reach = params.reach(dims);
    let len = dims[0] * half;
    let bins: Vec<u32> = (0..len).map(|i| annuli.bin(annuli.k(i)) as u32).collect();
    let used: Vec<bool> = (0..len).map(|i| i > 0 && in_band(&annuli, i, params.band)).collect();
    let fft = spectra.fft.clone();
    let mut total: Vec<C> = try_zeroed(len)?;
    let (mut c, mut work): (Vec<C>, Vec<C>) = (try_zeroed(len)?, try_zeroed(len)?);
    let (mut map, mut scratch): (Vec<f32>, Vec<C>) =
        (try_zeroed(dims[0] * dims[1])?, try_zeroed(spectra.fft.scratch_len())?);
    let (mut track, mut quality) = (start.track.clone(), vec![(0.0, f64::INFINITY); n]);
    let (mut stop, mut done) = (Stop::Iterations, 0);
    let frames = n as f64;
    for iteration in 0..params.iterations {
        // The aligned sum, and the power of the frames in rings.
        total.fill(C::default());
        let mut power = vec![0.0f64; annuli.count];
        spectra.for_each(|first, slots, _| {
            for (i, slot) in slots.iter().enumerate() {
                let [y, x] = ramps(dims, track[first + i]);
                for (j, (t, z)) in total.iter_mut().zip(&slot.spectrum).enumerate() {
                    *t += z * y[j / half] * x[j % half];
                    power[bins[j] as usize] += f64::from(z.norm_sqr()) / frames;
                }
            }
            Ok(())
        })?;
        let mut aligned = vec![0.0f64; annuli.count];
        total.iter().zip(&bins).for_each(|(t, &b)| aligned[b as usize] += f64::from(t.norm_sqr()) / frames);
        // a = s²(1 + x), b = s²(1 + n x).
        let ring = |b: usize| {
            let signal = ((aligned[b] - power[b]) / (frames - 1.0)).max(0.0);
            let noise = (power[b] - signal).max(1e-6 * power[b]).max(f64::MIN_POSITIVE);
            let x = signal / noise;
            let v = x / (1.0 + (frames - 1.0) * x);
            v / (1.0 + v)
        };
        let weight: Vec<f64> = (0..annuli.count).map(ring).collect();
        let count = {
            let mut count = vec![0.0f64; annuli.count];
            bins.iter().for_each(|&b| count[b as usize] += 1.0);
            count
        };
        let noise: Vec<f64> = (0..annuli.count)
            .map(|b| (power[b] - ((aligned[b] - power[b]) / (frames - 1.0)).max(0.0)).max(1e-6 * power[b]))
            .map(|s| s.max(f64::MIN_POSITIVE))
            .zip(&count)
            .map(|(s, n)| s / f64::max(*n, 1.0))
            .collect();
        let scale: Vec<f32> = weight.iter().zip(&noise).map(|(w, s)| (w / s) as f32).collect();

        let mut change = 0.0f64;
        let old = track.clone();
        spectra.for_each(|first, slots, _| {
            for (i, slot) in slots.iter().enumerate() {
                let f = first + i;
                let [y, x] = ramps(dims, old[f]);
                // c = scale (T − F e^{ramp})‾ F.
                let mut variance = 0.0;
                for j in 0..len {
                    let z = slot.spectrum[j];
                    let others = total[j] - z * y[j / half] * x[j % half];
                    let w = if used[j] { scale[bins[j] as usize] } else { 0.0 };
                    c[j] = others.conj() * z * w;
                    let twice = if j % half == 0 { 1.0 } else { 2.0 };
                    variance += 0.5 * twice * twice * f64::from((others * w).norm_sqr()) * noise[bins[j] as usize];
                }
                work.copy_from_slice(&c);
                fft.inverse(&mut work, &mut map, &mut scratch);
                let peak = highest(&c, &map, dims, [0.0; 2], reach, Some(variance));
                change = change.max((peak.d[0] - old[f][0]).hypot(peak.d[1] - old[f][1]));
                track[f] = peak.d;
                quality[f] = (confidence(peak.height, (2.0 * reach + 1.0).powi(2)), peak.deviation);
            }
            Ok(())
        })?;
        // The mean is no information: without this, the frames could wander together.
        let middle = [0, 1].map(|a| track.iter().zip(&old).map(|(t, o)| t[a] - o[a]).sum::<f64>() / frames);
        track.iter_mut().for_each(|t| *t = [t[0] - middle[0], t[1] - middle[1]]);
        done = iteration + 1;
        if change < 2e-3 {
            stop = Stop::Converged;
            break;
        }
        if observe(&Step::new(done, params.iterations, change)).is_break() {
            stop = Stop::Cancelled;
            break;
        }
    }
    Ok(Drift {
        track,
        confidence: quality.iter().map(|q| q.0).collect(),
        uncertainty: quality.iter().map(|q| q.1).collect(),
        selected: used.iter().filter(|u| **u).count(),
        iterations: done,
        stop,
        pieces: Vec::new(),
        filter: None,
    })
}
