//! What alignment has won.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::RealFft2;
use crate::hrtem::aligned_sum::AlignedSum;
use crate::hrtem::frame_spectra::Annuli;
use crate::metrics::{CorrelationCurve, FrcParams, Resolution, RingCorrelation, Threshold};
use crate::shape::try_zeroed;
use crate::units::Length;

/// What is in the sum of a series.
#[derive(Clone, Debug)]
pub struct SumQuality {
    /// Ring correlation of its halves.
    pub frc: CorrelationCurve,
    /// Where it crosses 1/7.
    pub resolution: Resolution,
    /// Local maxima of the spectrum that noise would reach once in ten sums.
    pub reflections: usize,
    /// The shortest period among them.
    pub finest: Option<Length>,
}

/// Ring correlation of the halves, and the reflections that stand out of the noise:
///
/// ```text
/// |F(k)|² > s²(|k|) ln(M/0.1),    s² = median of |F|² in rings / ln 2,    M coefficients
/// ```
///
/// which the exponentially distributed power of noise passes 0.1 times a sum. A crystal fills few points of a ring: the ring correlation, an average over rings, says less than
/// its reflections do.
///
/// # Errors
/// [`Error::Param`] for a pixel that is not positive or images smaller than 8 × 8; [`Error::OutOfMemory`].
pub fn sum_quality(sum: &AlignedSum, pixel: [Length; 2]) -> Result<SumQuality, Error> {
    let &[ny, nx] = sum.sum.dims() else {
        return Err(Error::shape("sum_quality", &[1, 1], sum.sum.dims()));
    };
    let frc = RingCorrelation::new([ny, nx], FrcParams { pixel, ..FrcParams::default() })?
        .real(sum.halves[0].as_slice(), sum.halves[1].as_slice())?;
    let fft = RealFft2::<f32>::new([ny, nx])?;
    let half = nx / 2 + 1;
    let mut spectrum: Vec<Complex<f32>> = try_zeroed(ny * half)?;
    let mean = sum.sum.as_slice().iter().map(|&v| f64::from(v)).sum::<f64>() / (ny * nx) as f64;
    let mut image: Vec<f32> = sum.sum.as_slice().iter().map(|v| v - mean as f32).collect();
    fft.forward(&mut image, &mut spectrum, &mut try_zeroed(fft.scratch_len())?);
    let power: Vec<f32> = spectrum.iter().map(|z| z.norm_sqr()).collect();
    let annuli = Annuli::new([ny, nx], 8.0);
    let mut rings = vec![Vec::new(); annuli.count];
    for i in (0..power.len()).filter(|&i| annuli.independent(i)) {
        rings[annuli.bin(annuli.k(i))].push(power[i]);
    }
    let tested: usize = rings.iter().map(Vec::len).sum();
    let level: Vec<f32> = rings
        .iter_mut()
        .map(|r| {
            if r.len() < 32 {
                return f32::INFINITY;
            }
            let middle = r.len() / 2;
            *r.select_nth_unstable_by(middle, f32::total_cmp).1 / std::f32::consts::LN_2 * (tested as f32 / 0.1).ln()
        })
        .collect();
    let (mut reflections, mut finest) = (0, 0.0f64);
    for i in (0..power.len()).filter(|&i| annuli.independent(i)) {
        let (y, x) = (i / half, i % half);
        if power[i] <= level[annuli.bin(annuli.k(i))] {
            continue;
        }
        // The highest within three coefficients: a reflection is wider than one.
        let top = (0..7).all(|dy| {
            let v = (y + ny + dy - 3) % ny;
            (x.saturating_sub(3)..(x + 4).min(half)).all(|u| power[v * half + u] <= power[i])
        });
        if top {
            let k = annuli.k(i);
            reflections += 1;
            finest = finest.max((k[0] / pixel[0].to_angstrom()).hypot(k[1] / pixel[1].to_angstrom()));
        }
    }
    let resolution = frc.resolution(Threshold::OneSeventh);
    Ok(SumQuality { frc, resolution, reflections, finest: (finest > 0.0).then(|| Length::angstrom(1.0 / finest)) })
}
