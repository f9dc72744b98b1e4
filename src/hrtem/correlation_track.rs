//! Drift by cross- or phase correlation of frames, or of sums of a few, with the first or the one before.

use num_complex::Complex;

use crate::error::Error;
use crate::hrtem::components::newton;
use crate::hrtem::drift::{CorrelationReference, Drift, DriftMethod, DriftParams};
use crate::hrtem::frame_spectra::{Annuli, FrameSpectra};
use crate::observe::Stop;
use crate::real::{cis, unit};
use crate::shape::try_zeroed;
use crate::source::FrameSource;

type C = Complex<f32>;

/// The maximum of a correlation, its height over the scatter of the map, and the standard deviation that its curvature allows.
pub(super) struct Peak {
    pub d: [f64; 2],
    pub height: f64,
    pub deviation: f64,
}

/// The maximum of c(d) = Σ_k Re c_k e^{+2πi k·d} within `reach` of `middle`, c being a half spectrum (ny, nx/2 + 1) of which `map` is the inverse transform.
///
/// On whole pixels from the map, then by Newton's method on the sum itself, which is the trigonometric interpolant. `variance` is that of c(d) by noise
/// where it is known, else that of the map is taken.
pub(super) fn highest(
    c: &[C],
    map: &[f32],
    dims: [usize; 2],
    middle: [f64; 2],
    reach: f64,
    variance: Option<f64>,
) -> Peak {
    let [ny, nx] = dims;
    let signed = |i: usize, n: usize| if i > n / 2 { i as f64 - n as f64 } else { i as f64 };
    // Half a pixel more, so that there is always one.
    let near = |i: usize, n: usize, a: usize| (signed(i, n) - middle[a]).abs() <= reach + 0.5;
    let (mut best, mut at) = (f32::NEG_INFINITY, [0.0; 2]);
    for y in (0..ny).filter(|&y| near(y, ny, 0)) {
        for x in (0..nx).filter(|&x| near(x, nx, 1)) {
            if map[y * nx + x] > best {
                (best, at) = (map[y * nx + x], [signed(y, ny), signed(x, nx)]);
            }
        }
    }
    let square: f64 = map.chunks(nx).map(|r| f64::from(r.iter().map(|v| v * v).sum::<f32>())).sum();
    let scatter = (square / map.len() as f64).sqrt();

    let half = nx / 2 + 1;
    let start = at;
    let mut h = [0.0; 3];
    for _ in 0..5 {
        // Rows: Σ_x of c e^{i}, and its first and second moments in kx.
        let turn = |k: f64, d: f64| cis(std::f64::consts::TAU * k * d);
        let ex: Vec<C> = (0..half)
            .map(|x| {
                let z = turn(x as f64 / nx as f64, at[1]);
                let twice = if x == 0 || 2 * x == nx { 1.0 } else { 2.0 };
                C::new((z.re * twice) as f32, (z.im * twice) as f32)
            })
            .collect();
        let mut g = [0.0; 2];
        h = [0.0; 3];
        for (y, row) in c.chunks(half).enumerate() {
            let (mut s0, mut s1, mut s2) = (C::default(), C::default(), C::default());
            for (x, (z, e)) in row.iter().zip(&ex).enumerate() {
                let z = z * e;
                let kx = x as f32;
                s0 += z;
                s1 += z * kx;
                s2 += z * (kx * kx);
            }
            let ky = crate::fft::frequency_index(y, ny) as f64 / ny as f64;
            let ey = turn(ky, at[0]);
            let of = |s: C, n: i32| Complex::new(f64::from(s.re), f64::from(s.im)) * ey / (nx as f64).powi(n);
            let (z0, z1, z2) = (of(s0, 0), of(s1, 1), of(s2, 2));
            g = [g[0] - ky * z0.im, g[1] - z1.im];
            h = [h[0] - ky * ky * z0.re, h[1] - ky * z1.re, h[2] - z2.re];
        }
        let Some(step) = newton(g, h) else { break };
        let step = step.map(|s| (s / std::f64::consts::TAU).clamp(-0.5, 0.5));
        at = [at[0] + step[0], at[1] + step[1]];
        if step[0].hypot(step[1]) < 1e-4 {
            break;
        }
    }
    if (at[0] - start[0]).hypot(at[1] - start[1]) > 1.5 {
        at = start;
    }
    // var d ≈ var(c′)/c″²; for white noise of the map, var(c′) is var(c) times the mean of (2πk)², which c″/c bounds: here (2π)² ⟨k²⟩ of the peak itself.
    let sigma = variance.map_or(scatter * (ny * nx) as f64, f64::sqrt);
    let curvature = -0.5 * (h[0] + h[2]) * std::f64::consts::TAU.powi(2);
    let value = f64::from(best) * (ny * nx) as f64;
    let deviation = if curvature > 0.0 && value > 0.0 { sigma / (curvature * value).sqrt() } else { f64::INFINITY };
    Peak { d: at, height: f64::from(best) / scatter.max(f64::MIN_POSITIVE), deviation }
}

/// Probability that a peak of `height` standard deviations is not the highest of `places` of noise.
pub(super) fn confidence(height: f64, places: f64) -> f64 {
    1.0 / (1.0 + places * (-0.5 * height * height).exp())
}

/// One for coefficients of the band, 0 for others.
pub(super) fn in_band(annuli: &Annuli, i: usize, band: [f64; 2]) -> bool {
    let k = annuli.k(i);
    (band[0]..=band[1]).contains(&k[0].hypot(k[1]))
}

pub(super) fn run(source: &dyn FrameSource, params: &DriftParams) -> Result<Drift, Error> {
    let extra = (source.frame_len() as u64).saturating_mul(5 * 4);
    let mut spectra = FrameSpectra::new(source, params.window, &params.par, params.limits, extra)?;
    let (n, dims, half) = (spectra.frames, spectra.dims, spectra.half);
    let annuli = Annuli::new(dims, 1.0);
    let reach = params.reach(dims);
    let len = dims[0] * half;
    let (mut reference, mut group): (Vec<C>, Vec<C>) = (try_zeroed(len)?, try_zeroed(len)?);
    let (mut c, mut work): (Vec<C>, Vec<C>) = (try_zeroed(len)?, try_zeroed(len)?);
    let (mut map, mut scratch): (Vec<f32>, Vec<C>) =
        (try_zeroed(dims[0] * dims[1])?, try_zeroed(spectra.fft.scratch_len())?);
    let fft = spectra.fft.clone();
    let phase = params.method == DriftMethod::PhaseCorrelation;
    let mut peaks: Vec<Peak> = Vec::new();
    let mut selected = 0;
    spectra.for_each(|first, slots, _| {
        for (i, slot) in slots.iter().enumerate() {
            let f = first + i;
            if f % params.merge == 0 {
                group.fill(C::default());
            }
            group.iter_mut().zip(&slot.spectrum).for_each(|(g, z)| *g += z);
            // A last group of fewer frames is aligned as it is.
            if (f + 1) % params.merge != 0 && f + 1 != n {
                continue;
            }
            for (i, g) in group.iter_mut().enumerate() {
                if i == 0 || !in_band(&annuli, i, params.band) {
                    *g = C::default();
                }
            }
            let Some(last) = peaks.last().map(|p: &Peak| p.d) else {
                reference.copy_from_slice(&group);
                selected = (1..len).filter(|&i| in_band(&annuli, i, params.band)).count();
                peaks.push(Peak { d: [0.0; 2], height: f64::INFINITY, deviation: 0.0 });
                continue;
            };
            c.iter_mut().zip(reference.iter().zip(&group)).for_each(|(c, (r, g))| *c = r.conj() * g);
            if phase {
                c.iter_mut().filter(|z| z.norm_sqr() > 0.0).for_each(|z| *z = unit(*z));
            }
            work.copy_from_slice(&c);
            fft.inverse(&mut work, &mut map, &mut scratch);
            let middle = if params.reference == CorrelationReference::FirstNearby { last } else { [0.0; 2] };
            let mut peak = highest(&c, &map, dims, middle, reach, None);
            if params.reference == CorrelationReference::Previous {
                peak.d = [last[0] + peak.d[0], last[1] + peak.d[1]];
                reference.copy_from_slice(&group);
            }
            peaks.push(peak);
        }
        Ok(())
    })?;

    // Groups are where their middle is; between the middles the track is a line.
    let m = params.merge as f64;
    let middle = |g: usize| {
        let (a, b) = (g as f64 * m, ((g + 1) as f64 * m).min(n as f64));
        0.5 * (a + b - 1.0)
    };
    let places = (2.0 * reach + 1.0).powi(2);
    let at = |f: usize| {
        let g = f / params.merge;
        let t = f as f64;
        let other = if t < middle(g) { g.checked_sub(1) } else { (g + 1 < peaks.len()).then_some(g + 1) };
        other.map_or(peaks[g].d, |o| {
            let s = (t - middle(g)) / (middle(o) - middle(g));
            [0, 1].map(|a| peaks[g].d[a] + s * (peaks[o].d[a] - peaks[g].d[a]))
        })
    };
    Ok(Drift {
        track: (0..n).map(at).collect(),
        confidence: (0..n).map(|f| confidence(peaks[f / params.merge].height, places)).collect(),
        uncertainty: (0..n).map(|f| peaks[f / params.merge].deviation).collect(),
        selected,
        iterations: 1,
        stop: Stop::Converged,
        pieces: Vec::new(),
        filter: None,
    })
}
