//! The pass: everything that is linear in the counts, and the centre of mass, in one reading of the data.

use crate::error::Error;
use crate::observe::{ControlFlow, Observer, Step, Stop};
use crate::par::Par;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::source::Element;
use crate::stem::detector::Spans;
use crate::stem::moments::{Moments, coordinates, moments};
use crate::stem::{Com, DataSet, Detector, Edge};
use crate::tensor::Tensor;

/// Parameters of [`Pass`].
#[derive(Clone, Debug)]
pub struct PassParams {
    /// Virtual detectors, any number.
    pub detectors: Vec<Detector>,
    /// How their edges cut pixels.
    pub edge: Edge,
    /// Electrons that one count stands for: 1 for a counting camera. Only the variances depend on it.
    pub electrons_per_count: f64,
    /// Threads.
    pub par: Par,
    /// Memory: the data are streamed in pieces that fit.
    pub limits: Limits,
}

impl Default for PassParams {
    fn default() -> Self {
        PassParams {
            detectors: Vec::new(),
            edge: Edge::default(),
            electrons_per_count: 1.0,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// What a pass found.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Virtual images in counts, `[channels, scan_y, scan_x]`: the detectors in order, each with its channels.
    pub images: Tensor<f64>,
    /// Counts in every frame, `[scan_y, scan_x]`.
    pub sums: Tensor<f64>,
    /// Mean pattern in counts a frame, `[det_y, det_x]`.
    pub mean: Tensor<f64>,
    /// Centre of mass along the axes of the scan, as the calibration's orientation has them, with its covariance.
    pub com: Com,
    /// Frames that were read; fewer than there are only after a cancelled pass.
    pub frames: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// Frames whose patterns are added in `f32` before they go into the sum in `f64`: fixed, so that results depend neither
/// on the number of threads nor on the memory.
const GROUP: usize = 32;
/// Bytes of frames read at a time by a thread (at least one frame): what stays in the second-level cache while it is
/// worked on.
const READ_BYTES: u64 = 512 << 10;
/// Words of a frame's row of results before those of the detectors: sum and five moments.
const MOMENTS: usize = 6;

/// One pass over a data set: for every frame the sum, the centre of mass with its covariance, and the sum under every
/// virtual detector; and the mean pattern.
///
/// ```text
/// c = Σ I k / Σ I,    cov(c) = (Σ I (k − c)(k − c)ᵀ / Σ I) / (N − 1),    N = electrons in the frame
/// ```
///
/// For independent electrons the covariance is unbiased (Bessel's correction). A frame with fewer than 2 electrons
/// cannot tell its own spread; it gets that of all frames together, divided by max(N, 1). A frame without counts has c
/// = 0 (the calibrated centre) and weight 0.
///
/// Groups of 32 frames are read, in pieces, by as many threads as the memory allows (each thread reads its own, so a
/// source is read from several threads at a time), and their patterns added in order. The result is the same bits for
/// any number of threads, any memory limit, and for data in memory or streamed.
///
/// # Units
/// Images, sums and patterns in counts; c in 1/Å.
///
/// ```
/// use exitwave::observe::silent;
/// use exitwave::stem::{Calibration, DataSet, Detector, Pass, PassParams, Pixel};
/// use exitwave::tensor::Tensor;
/// use exitwave::units::{Angle, Energy, Length};
/// use std::sync::Arc;
/// // One electron a frame, one pixel (1 mrad) to the right of the centre.
/// let counts = Tensor::from_fn(&[2, 3, 8, 8], |i| u8::from(i[2] == 4 && i[3] == 5));
/// let c = Calibration::new([Length::angstrom(1.0); 2], Pixel::Angle([Angle::mrad(1.0); 2]), Energy::kev(300.0));
/// let data = DataSet::new(Arc::new(counts), c)?;
/// let detectors = vec![Detector::Disk { outer: Angle::mrad(2.0) }];
/// let found = Pass::new(&data, PassParams { detectors, ..Default::default() })?.run(&mut silent)?;
/// assert_eq!(found.images.as_slice(), [1.0; 6]);
/// assert!((found.com.x[[1, 2]] - 1e-3 / 0.019687).abs() < 1e-5);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Pass {
    data: DataSet,
    electrons_per_count: f64,
    par: Par,
    spans: Vec<Spans>,
    /// Column coordinates about `origin`, the pixel nearest to the centre.
    x: Vec<f32>,
    origin: [usize; 2],
    threads: usize,
    slots: usize,
    read: usize,
    bytes: u64,
}

/// A group of frames while it is worked on.
struct Slot {
    pattern: Vec<f32>,
    rows: Vec<f64>,
    failure: Option<Error>,
}

impl Pass {
    /// Plans a pass.
    ///
    /// # Errors
    /// - [`Error::Param`] and [`Error::Shape`] for detectors that make no sense (see [`Detector::weights`]), or
    ///   `electrons_per_count` not positive and finite,
    /// - [`Error::OverBudget`] when the results, one frame and the sums do not fit the limits.
    pub fn new(data: &DataSet, params: PassParams) -> Result<Self, Error> {
        let p = params;
        if !(p.electrons_per_count > 0.0 && p.electrons_per_count.is_finite()) {
            return Err(Error::param("electrons_per_count", p.electrons_per_count, "a positive, finite number"));
        }
        let channels: usize = p.detectors.iter().map(Detector::channels).fold(0, usize::saturating_add);
        let (frames, frame_len) = (data.frames(), data.frame_len());
        checked_len(&[frames, channels.saturating_add(12), 8])?;

        // What does not depend on the number of threads: results, the sum of the patterns, and the largest of the masks
        // while they are turned into runs, which take at most as much again.
        let (f, l) = (frames as u64, frame_len as u64);
        let widest = p.detectors.iter().map(Detector::channels).max().unwrap_or(0) as u64;
        let results = f * 8 * (MOMENTS as u64 + 2 * channels as u64 + 7) + l * 8;
        p.limits.check(results.saturating_add(l.saturating_mul(4 * widest)))?;
        let mut spans = Vec::with_capacity(channels);
        for d in &p.detectors {
            let w = d.weights(data, p.edge)?;
            spans.extend((0..d.channels()).map(|c| Spans::new(w.row(c))));
        }
        let fixed = results + spans.iter().map(Spans::bytes).sum::<u64>() + 4 * data.detector()[1] as u64;
        let slot = 4 * l + 8 * (GROUP * (MOMENTS + channels)) as u64;
        let buffer = |read: u64| read * 4 * l + data.view_bytes();
        let groups = frames.div_ceil(GROUP);
        p.limits.check(fixed.saturating_add(slot).saturating_add(buffer(1)))?;

        // More memory buys, in this order: threads with a slot each, longer reads, and more slots, so that threads wait
        // less for each other.
        let free = p.limits.bytes.saturating_sub(fixed);
        let threads = (free / (slot + buffer(1))).min(p.par.count() as u64).min(groups as u64).max(1);
        let most = (READ_BYTES / (4 * l)).clamp(1, GROUP as u64);
        let left = free.saturating_sub(threads * (slot + buffer(1)));
        let read = (1 + left / (threads * 4 * l)).min(most);
        let left = left - threads * (read - 1) * 4 * l;
        let slots = (threads + left / slot).min(8 * threads).min(groups as u64);
        Ok(Pass {
            electrons_per_count: p.electrons_per_count,
            par: p.par,
            spans,
            x: coordinates(data.detector()[1], nearest(data, 1)),
            origin: [nearest(data, 0), nearest(data, 1)],
            threads: threads as usize,
            slots: slots as usize,
            read: read as usize,
            bytes: fixed + slots * slot + threads * buffer(read),
            data: data.clone(),
        })
    }

    /// Images that the pass makes: the channels of all detectors.
    pub fn channels(&self) -> usize {
        self.spans.len()
    }

    /// Bytes that the plan, a run and its results hold together at most; never above the limits.
    pub fn workspace_bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the data once.
    ///
    /// The observer sees groups of frames as iterations (the loss is NaN). When it breaks, what was read so far is
    /// returned; frames that were not read have sum 0.
    ///
    /// # Errors
    /// - [`Error::Data`] for a NaN, infinite or negative count, with its flat index in the data set: the first one of
    ///   the data,
    /// - [`Error::Data`] when all frames are empty,
    /// - [`Error::OutOfMemory`], and whatever reading the frames gives.
    pub fn run(&self, observe: Observer<'_>) -> Result<Analysis, Error> {
        let (frames, frame_len) = (self.data.frames(), self.data.frame_len());
        let (groups, width) = (frames.div_ceil(GROUP), MOMENTS + self.channels());
        let mut slots = Vec::with_capacity(self.slots);
        for _ in 0..self.slots {
            slots.push(Slot { pattern: try_zeroed(frame_len)?, rows: try_zeroed(GROUP * width)?, failure: None });
        }
        let mut buffers = Vec::with_capacity(self.threads);
        for _ in 0..self.threads {
            buffers.push(try_zeroed::<f32>(self.read * frame_len)?);
        }
        let mut rows: Vec<f64> = try_zeroed(frames * width)?;
        let mut pattern: Vec<f64> = try_zeroed(frame_len)?;

        let (mut done, mut stop) = (0, Stop::Iterations);
        while done < groups {
            let batch = self.slots.min(groups - done);
            self.par.chunks_with(&mut slots[..batch], 1, &mut buffers, |i, slot, buffer| {
                self.group(done + i, &mut slot[0], buffer);
            });
            for (i, slot) in slots[..batch].iter_mut().enumerate() {
                if let Some(e) = slot.failure.take() {
                    return Err(e);
                }
                let at = (done + i) * GROUP * width;
                let end = rows.len().min(at + GROUP * width);
                rows[at..end].copy_from_slice(&slot.rows[..end - at]);
            }
            // Every part of the pattern adds its groups in order.
            self.par.chunks(&mut pattern, 2048, |i, part| {
                for slot in &slots[..batch] {
                    for (p, &s) in part.iter_mut().zip(&slot.pattern[i * 2048..]) {
                        *p += f64::from(s);
                    }
                }
            });
            done += batch;
            if let ControlFlow::Break(()) = observe(&Step::new(done, groups, f64::NAN)) {
                stop = Stop::Cancelled;
                break;
            }
        }
        drop((slots, buffers));
        let read = (done * GROUP).min(frames);
        pattern.iter_mut().for_each(|p| *p /= read as f64);
        self.finish(&rows, width, pattern, read, stop)
    }

    /// One group of frames: its rows of sums, and its pattern.
    fn group(&self, group: usize, slot: &mut Slot, buffer: &mut [f32]) {
        let frame_len = self.data.frame_len();
        let (mut at, end) = (group * GROUP, ((group + 1) * GROUP).min(self.data.frames()));
        slot.pattern.fill(0.0);
        while at < end {
            // Counts as they are stored, if the source gives them: twice as many frames go into the buffer.
            let stored = (2 * self.read).min(end - at);
            let counts = &mut bytemuck::cast_slice_mut(buffer)[..stored * frame_len];
            let n;
            let done = if let Some(read) = self.data.source().read_counts(at, counts) {
                n = stored;
                read.and_then(|()| self.frames::<u16>(at, counts, slot))
            } else {
                n = self.read.min(end - at);
                let piece = &mut buffer[..n * frame_len];
                let read = self.data.source().read_frames(at, piece);
                read.and_then(|()| self.frames::<f32>(at, piece, slot))
            };
            if let Err(e) = done {
                slot.failure = Some(e);
                return;
            }
            at += n;
        }
    }

    /// Frames of a group, from number `index` of the data set on.
    fn frames<E: Element>(&self, mut index: usize, frames: &[E], slot: &mut Slot) -> Result<(), Error> {
        let frame_len = self.data.frame_len();
        let fours = frames.chunks_exact(4 * frame_len);
        let rest = fours.remainder();
        for four in fours {
            let found: [Moments; 4] = moments(four, &self.x, self.origin[0], &mut slot.pattern);
            for (frame, m) in four.chunks_exact(frame_len).zip(found) {
                self.row(index, frame, m, &mut slot.rows)?;
                index += 1;
            }
        }
        for frame in rest.chunks_exact(frame_len) {
            let [m] = moments(frame, &self.x, self.origin[0], &mut slot.pattern);
            self.row(index, frame, m, &mut slot.rows)?;
            index += 1;
        }
        Ok(())
    }

    /// What one frame says: its moments and its sums under the detectors, into its row of its group's results.
    fn row<E: Element>(&self, index: usize, frame: &[E], m: Moments, rows: &mut [f64]) -> Result<(), Error> {
        if !m.s.is_finite() || m.signed && frame.iter().any(|v| v.to_f32() < 0.0) {
            return Err(bad_count(index, frame));
        }
        let width = MOMENTS + self.channels();
        let row = &mut rows[index % GROUP * width..][..width];
        row[..MOMENTS].copy_from_slice(&[m.s, m.y, m.x, m.yy, m.xx, m.xy]);
        for (out, spans) in row[MOMENTS..].iter_mut().zip(&self.spans) {
            *out = spans.sum(frame);
        }
        Ok(())
    }

    /// From sums and moments in pixels to centres of mass in 1/Å.
    fn finish(
        &self,
        rows: &[f64],
        width: usize,
        pattern: Vec<f64>,
        frames: usize,
        stop: Stop,
    ) -> Result<Analysis, Error> {
        let [sy, sx] = self.data.scan();
        let calibration = self.data.calibration();
        let [dk_y, dk_x] = calibration.pixel_frequency().map(|k| k.to_per_angstrom());
        let centre = self.data.centre();
        let offset = [self.origin[0] as f64 - centre[0], self.origin[1] as f64 - centre[1]];

        let mut totals = [0.0; MOMENTS];
        for row in rows.chunks(width) {
            totals.iter_mut().zip(row).for_each(|(t, v)| *t += v);
        }
        if totals[0] <= 0.0 {
            return Err(Error::Data { what: format!("no counts in any of {frames} frames"), index: 0 });
        }
        // Mean and covariance of one electron, in pixels about the origin.
        let spread = |m: &[f64]| {
            let (y, x) = (m[1] / m[0], m[2] / m[0]);
            (y, x, [(m[3] / m[0] - y * y).max(0.0), (m[4] / m[0] - x * x).max(0.0), m[5] / m[0] - x * y])
        };
        let all = spread(&totals).2;

        let map = || Tensor::<f64>::zeros(&[sy, sx]);
        let mut com = Com { y: map(), x: map(), electrons: map(), var_yy: map(), var_xx: map(), var_xy: map() };
        let mut sums = map();
        let mut images = Tensor::zeros(&[self.channels(), sy, sx]);
        for (i, row) in rows.chunks(width).enumerate() {
            sums.as_mut_slice()[i] = row[0];
            for (c, &v) in row[MOMENTS..].iter().enumerate() {
                images.row_mut(c)[i] = v;
            }
            let electrons = row[0] * self.electrons_per_count;
            let (mut c, mut covariance, mut freedom) = ([0.0; 2], all, electrons.max(1.0));
            if row[0] > 0.0 {
                let (y, x, own) = spread(row);
                c = [(y + offset[0]) * dk_y, (x + offset[1]) * dk_x];
                if electrons >= 2.0 {
                    (covariance, freedom) = (own, electrons - 1.0);
                }
            }
            let [yy, xx, xy] = covariance.map(|v| v / freedom);
            let [y, x] = calibration.orientation.to_scan(c);
            let v = calibration.orientation.covariance_to_scan([yy * dk_y * dk_y, xx * dk_x * dk_x, xy * dk_y * dk_x]);
            com.electrons.as_mut_slice()[i] = electrons;
            com.y.as_mut_slice()[i] = y;
            com.x.as_mut_slice()[i] = x;
            com.var_yy.as_mut_slice()[i] = v[0].max(0.0);
            com.var_xx.as_mut_slice()[i] = v[1].max(0.0);
            com.var_xy.as_mut_slice()[i] = v[2];
        }
        let mean = Tensor::from_vec(&self.data.detector(), pattern)?;
        Ok(Analysis { images, sums, mean, com, frames, stop })
    }
}

#[cold]
fn bad_count<E: Element>(index: usize, frame: &[E]) -> Error {
    let bad = |v: &E| !(v.to_f32().is_finite() && v.to_f32() >= 0.0);
    let at = frame.iter().position(bad);
    let what = match at {
        Some(at) => format!("count of {} (frame {index}, pixel {at})", frame[at].to_f32()),
        None => format!("counts whose sum overflows (frame {index})"),
    };
    Error::Data { what, index: index * frame.len() + at.unwrap_or(0) }
}

/// The pixel nearest to the centre, along one axis of the detector.
fn nearest(data: &DataSet, axis: usize) -> usize {
    (data.centre()[axis].round().max(0.0) as usize).min(data.detector()[axis] - 1)
}
