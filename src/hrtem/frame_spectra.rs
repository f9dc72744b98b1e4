//! Frames as half spectra, a few at a time: the one way in which this room reads series.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::RealFft2;
use crate::metrics::Window;
use crate::par::Par;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::source::FrameSource;

/// A frame in work.
#[derive(Debug)]
pub(super) struct Slot {
    image: Vec<f32>,
    /// The half spectrum of the frame without its mean, (ny, nx/2 + 1).
    pub spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// Mean of the frame.
    pub mean: f64,
    failed: Option<Error>,
}

/// The spectra of a series, streamed: as many frames in memory as there are threads.
pub(super) struct FrameSpectra<'a> {
    source: &'a dyn FrameSource,
    pub fft: RealFft2<f32>,
    /// Side lengths of a frame.
    pub dims: [usize; 2],
    /// nx/2 + 1.
    pub half: usize,
    /// Number of frames.
    pub frames: usize,
    taper: Option<[Vec<f32>; 2]>,
    pub par: Par,
    slots: Vec<Slot>,
}

impl<'a> FrameSpectra<'a> {
    /// Checks the sizes and allocates; `extra` are bytes that the caller will need beside.
    pub fn new(
        source: &'a dyn FrameSource,
        window: Window,
        par: &Par,
        limits: Limits,
        extra: u64,
    ) -> Result<Self, Error> {
        let [sy, sx, ny, nx] = source.shape();
        let frames = checked_len(&[sy, sx])?;
        if frames == 0 || ny < 8 || nx < 8 {
            return Err(Error::param(
                "frames",
                format!("{frames} of {ny} × {nx}"),
                "at least one frame of at least 8 × 8 pixels",
            ));
        }
        let half = nx / 2 + 1;
        let n = par.count().min(frames);
        let per_slot = (checked_len(&[ny, nx])? as u64).saturating_mul(4 + 8 + 8);
        limits.check(per_slot.saturating_mul(n as u64).saturating_add(extra))?;
        let fft = RealFft2::new([ny, nx])?;
        let taper = match window {
            Window::None => None,
            window => {
                let axis = |n| window.weights(n).map(|w| w.iter().map(|&w| w as f32).collect::<Vec<f32>>());
                Some([axis(ny)?, axis(nx)?])
            }
        };
        let mut slots = Vec::with_capacity(n);
        for _ in 0..n {
            slots.push(Slot {
                image: try_zeroed(ny * nx)?,
                spectrum: try_zeroed(ny * half)?,
                scratch: try_zeroed(fft.scratch_len())?,
                mean: 0.0,
                failed: None,
            });
        }
        Ok(FrameSpectra { source, fft, dims: [ny, nx], half, frames, taper, par: par.clone(), slots })
    }

    /// Calls `work(first, spectra)` for consecutive batches of frames, in order, until all are done or one fails.
    pub fn for_each(
        &mut self,
        mut work: impl FnMut(usize, &mut [Slot], &Par) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let par = self.par.clone();
        let [_, nx] = self.dims;
        let (source, fft, taper) = (self.source, &self.fft, &self.taper);
        let mut first = 0;
        while first < self.frames {
            let n = self.slots.len().min(self.frames - first);
            par.chunks(&mut self.slots[..n], 1, |i, slot| {
                let slot = &mut slot[0];
                slot.failed = source.read_frames(first + i, &mut slot.image).err();
                if slot.failed.is_some() {
                    return;
                }
                // In rows, so that the sum of many small numbers keeps its digits.
                let sum: f64 = slot.image.chunks(nx).map(|r| f64::from(r.iter().sum::<f32>())).sum();
                if !sum.is_finite() {
                    let index = slot.image.iter().position(|v| !v.is_finite()).unwrap_or(0);
                    slot.failed = Some(Error::Data { what: format!("frame {} is not finite", first + i), index });
                    return;
                }
                slot.mean = sum / slot.image.len() as f64;
                let mean = slot.mean as f32;
                match taper {
                    None => slot.image.iter_mut().for_each(|v| *v -= mean),
                    Some([wy, wx]) => {
                        for (row, wy) in slot.image.chunks_mut(nx).zip(wy) {
                            row.iter_mut().zip(wx).for_each(|(v, wx)| *v = (*v - mean) * wx * wy);
                        }
                    }
                }
                fft.forward(&mut slot.image, &mut slot.spectrum, &mut slot.scratch);
            });
            if let Some(e) = self.slots[..n].iter_mut().find_map(|s| s.failed.take()) {
                return Err(e);
            }
            work(first, &mut self.slots[..n], &par)?;
            first += n;
        }
        Ok(())
    }
}

/// Calls `work(f, frame, mean)` for every frame, several at a time, and collects what it gives in order.
pub(super) fn map_frames<R: Send>(
    source: &dyn FrameSource,
    par: &Par,
    work: impl Fn(usize, &[f32], f32) -> R + Sync,
) -> Result<Vec<R>, Error> {
    let [sy, sx, ny, nx] = source.shape();
    let (n, len) = (checked_len(&[sy, sx])?, checked_len(&[ny, nx])?);
    let mut buffers = Vec::with_capacity(par.count());
    for _ in 0..par.count().min(n) {
        buffers.push(try_zeroed::<f32>(len)?);
    }
    let mut out: Vec<Option<Result<R, Error>>> = (0..n).map(|_| None).collect();
    par.chunks_with(&mut out, 1, &mut buffers, |f, out, image| {
        out[0] = Some(source.read_frames(f, image).map(|()| {
            let sum: f64 = image.chunks(nx).map(|r| f64::from(r.iter().sum::<f32>())).sum();
            work(f, image, (sum / len as f64) as f32)
        }));
    });
    out.into_iter().flatten().collect()
}

/// Radial bins of the half spectrum, by |k| in cycles a pixel; every coefficient of a half spectrum has one.
#[derive(Clone, Debug)]
pub(super) struct Annuli {
    dims: [usize; 2],
    half: usize,
    /// Bins from 0 to the corner.
    pub count: usize,
    scale: f64,
}

impl Annuli {
    /// Bins as wide as `width` steps of the finer axis.
    pub fn new(dims: [usize; 2], width: f64) -> Self {
        let scale = dims[0].min(dims[1]) as f64 / width;
        Annuli { dims, half: dims[1] / 2 + 1, count: (std::f64::consts::FRAC_1_SQRT_2 * scale) as usize + 1, scale }
    }

    /// k of a flat index of the half spectrum, cycles a pixel.
    pub fn k(&self, i: usize) -> [f64; 2] {
        let ky = crate::fft::frequency_index(i / self.half, self.dims[0]) as f64 / self.dims[0] as f64;
        [ky, (i % self.half) as f64 / self.dims[1] as f64]
    }

    /// The bin of a frequency.
    pub fn bin(&self, k: [f64; 2]) -> usize {
        ((k[0].hypot(k[1]) * self.scale) as usize).min(self.count - 1)
    }

    /// Whether an index is one of the independent coefficients of a real image: half a plane, without the points that are
    /// their own mates.
    pub fn independent(&self, i: usize) -> bool {
        let (y, x) = (i / self.half, i % self.half);
        if x == 0 {
            return y > 0 && 2 * y < self.dims[0];
        }
        2 * x < self.dims[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn every_frame_comes_once_in_order_for_any_number_of_threads() {
        let stack = Tensor::from_fn(&[7, 8, 9], |i| (i[0] * 31 + i[1] * 5 + i[2] * i[2]) as f32);
        let mut all = Vec::new();
        for threads in [1, 3] {
            let par = Par::threads(threads).unwrap();
            let mut spectra = FrameSpectra::new(&stack, Window::None, &par, Limits::default(), 0).unwrap();
            let mut seen = Vec::new();
            spectra
                .for_each(|first, slots, _| {
                    assert_eq!(first * 8 * 5, seen.len());
                    slots.iter().for_each(|s| seen.extend_from_slice(&s.spectrum));
                    Ok(())
                })
                .unwrap();
            all.push(seen);
        }
        assert_eq!(all[0], all[1]);
        assert_eq!(all[0].len(), 7 * 8 * 5);
    }

    #[test]
    fn half_the_plane_is_independent() {
        for dims in [[8, 8], [9, 8], [8, 9], [9, 9]] {
            let a = Annuli::new(dims, 2.0);
            let n = (0..dims[0] * a.half).filter(|&i| a.independent(i)).count();
            // Twice these and the points that are their own mates make up the plane, but for the Nyquist column.
            let column = if dims[1] % 2 == 0 { dims[0] } else { 0 };
            let own = if dims[0] % 2 == 0 { 2 } else { 1 };
            assert_eq!(2 * n + own + column, dims[0] * dims[1], "{dims:?}");
        }
    }
}
