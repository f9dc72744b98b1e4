//! Virtual detectors: which pixels are added up, and with which weights.

use crate::detect::{Edge, ring};
use crate::error::Error;
use crate::simd::vectorized;
use crate::source::Element;
use crate::stem::DataSet;
use crate::stem::moments::{LANES, sum_lanes};
use crate::tensor::Tensor;
use crate::units::Angle;

/// A virtual detector. Scattering angles are measured from the calibrated centre, azimuths from the detector's +x axis
/// (columns) towards its +y axis (rows).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Detector {
    /// The pixel nearest to a point, `[y, x]` from the centre.
    Point {
        /// Where, from the centre.
        at: [Angle; 2],
    },
    /// A disk around the centre: bright field.
    Disk {
        /// Its radius.
        outer: Angle,
    },
    /// A ring around the centre: annular bright or dark field.
    Annulus {
        /// Inner radius.
        inner: Angle,
        /// Outer radius.
        outer: Angle,
    },
    /// A ring cut into equal segments, one image each. Segment s covers the azimuths `rotation` + s·360°/n … + (s +
    /// 1)·360°/n.
    Segments {
        /// Inner radius; zero for quadrants and the like.
        inner: Angle,
        /// Outer radius.
        outer: Angle,
        /// Number of segments n.
        segments: usize,
        /// Azimuth at which segment 0 begins.
        rotation: Angle,
    },
    /// Any weights, `[det_y, det_x]`; negative ones are allowed.
    Mask(Tensor<f32>),
}

impl Detector {
    /// How many images the detector gives: the number of segments, or 1.
    pub fn channels(&self) -> usize {
        match self {
            Detector::Segments { segments, .. } => *segments,
            _ => 1,
        }
    }

    /// The weights of every pixel.
    ///
    /// # Shapes
    /// `[channels, det_y, det_x]`.
    ///
    /// # Errors
    /// - [`Error::Param`] for radii that are negative, not finite or not increasing, for no segments or more than there
    ///   are pixels, a point outside the detector, weights that are not finite,
    /// - [`Error::Shape`] for a mask that is not of the detector's shape.
    pub fn weights(&self, data: &DataSet, edge: Edge) -> Result<Tensor<f32>, Error> {
        let dims @ [dy, dx] = data.detector();
        let (centre, pixel) = (data.centre(), data.calibration().pixel_angle().map(|a| a.to_rad()));
        match self {
            Detector::Point { at } => {
                let p: [f64; 2] = std::array::from_fn(|a| (centre[a] + at[a].to_rad() / pixel[a]).round());
                if !(0..2).all(|a| p[a] >= 0.0 && p[a] < dims[a] as f64) {
                    return Err(Error::param("Detector::Point::at", format!("pixel {p:?}"), "a point on the detector"));
                }
                let mut w = Tensor::zeros(&[1, dy, dx]);
                w[[0, p[0] as usize, p[1] as usize]] = 1.0;
                Ok(w)
            }
            Detector::Disk { outer } => ring(dims, centre, pixel, [Angle::ZERO, *outer], 1, Angle::ZERO, edge),
            Detector::Annulus { inner, outer } => ring(dims, centre, pixel, [*inner, *outer], 1, Angle::ZERO, edge),
            Detector::Segments { inner, outer, segments, rotation } => {
                ring(dims, centre, pixel, [*inner, *outer], *segments, *rotation, edge)
            }
            Detector::Mask(mask) => {
                if *mask.dims() != dims {
                    return Err(Error::shape("Detector::Mask", &dims, mask.dims()));
                }
                if let Some(i) = mask.as_slice().iter().position(|w| !w.is_finite()) {
                    return Err(Error::param("Detector::Mask", mask.as_slice()[i], "finite weights"));
                }
                mask.clone().reshape(&[1, dy, dx])
            }
        }
    }
}

/// A detector as the pass uses it: runs of consecutive pixels.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// (first pixel, number of pixels, where the weights begin; `None` where all are 1).
    spans: Vec<(usize, usize, Option<usize>)>,
    weights: Vec<f32>,
}

impl Spans {
    pub(crate) fn new(mask: &[f32]) -> Self {
        let mut s = Spans::default();
        let mut i = 0;
        while i < mask.len() {
            let unit = mask[i] == 1.0;
            // Pixels of weight 1 need no multiplication, so they form runs of their own.
            let same = |w: f32| w != 0.0 && (w == 1.0) == unit;
            let len = mask[i..].iter().take_while(|&&w| same(w)).count();
            if len == 0 {
                i += 1;
                continue;
            }
            let weights = (!unit).then_some(s.weights.len());
            if !unit {
                s.weights.extend_from_slice(&mask[i..i + len]);
            }
            s.spans.push((i, len, weights));
            i += len;
        }
        s
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.spans.len() * size_of::<(usize, usize, Option<usize>)>() + self.weights.len() * 4) as u64
    }

    /// Σ w I over the detector: `f32` within a run, in sixteen fixed partial sums, `f64` from run to run.
    pub(crate) fn sum<E: Element>(&self, frame: &[E]) -> f64 {
        vectorized!({
            let mut total = 0.0;
            for &(first, len, weights) in &self.spans {
                let pixels = &frame[first..first + len];
                total += f64::from(match weights {
                    None => sum(pixels),
                    Some(at) => dot(pixels, &self.weights[at..at + len]),
                });
            }
            total
        })
    }
}

#[inline(always)]
fn sum<E: Element>(x: &[E]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for b in blocks {
        for l in 0..LANES {
            lanes[l] += b[l].to_f32();
        }
    }
    rest.iter().map(|x| x.to_f32()).sum::<f32>() + sum_lanes(lanes)
}

#[inline(always)]
fn dot<E: Element>(x: &[E], w: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((blocks, rest), (weights, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    for (b, w) in blocks.iter().zip(weights) {
        for l in 0..LANES {
            lanes[l] += b[l].to_f32() * w[l];
        }
    }
    rest.iter().zip(w_rest).map(|(x, w)| x.to_f32() * w).sum::<f32>() + sum_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ w I, pixel by pixel: the naive twin.
    fn naive(mask: &[f32], frame: &[f32]) -> f64 {
        mask.iter().zip(frame).map(|(&w, &i)| f64::from(w) * f64::from(i)).sum()
    }

    #[test]
    fn runs_give_the_sum_over_the_mask() {
        // Small whole numbers and halves: every sum is exact in f32, so the two agree in all bits.
        for seed in 0..40 {
            let mut r = crate::rng::stream(3, seed);
            let n = 1 + crate::rng::below(&mut r, 90);
            let mask: Vec<f32> = (0..n).map(|_| [0.0, 1.0, 1.0, 0.5, -2.0][crate::rng::below(&mut r, 5)]).collect();
            let frame: Vec<f32> = (0..n).map(|_| crate::rng::below(&mut r, 100) as f32).collect();
            assert_eq!(Spans::new(&mask).sum(&frame), naive(&mask, &frame));
        }
        assert_eq!(Spans::new(&[0.0; 9]).sum(&[1.0; 9]), 0.0);
    }
}
