//! The 4D data set: frames, and what they mean.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::shape::checked_len;
use crate::source::FrameSource;
use crate::stem::bad_pixels::{Repair, plan_repair};
use crate::stem::view::{Binned, Cropped, Repaired, Shifted};
use crate::stem::{Calibration, Descan};

/// A 4D-STEM data set `[scan_y, scan_x, det_y, det_x]` with its calibration: a source of frames, in memory or streamed.
///
/// The methods that crop, bin, repair and recentre give a new data set that reads through this one: nothing is copied,
/// and the calibration follows. Cloning shares the source.
///
/// ```
/// use exitwave::stem::{Calibration, DataSet, Pixel};
/// use exitwave::tensor::Tensor;
/// use exitwave::units::{Angle, Energy, Length};
/// use std::sync::Arc;
/// let counts = Tensor::<u16>::full(&[8, 10, 32, 32], 1);
/// let pixel = Pixel::Angle([Angle::mrad(1.5); 2]);
/// let data = DataSet::new(Arc::new(counts), Calibration::new([Length::angstrom(0.4); 2], pixel, Energy::kev(300.0)))?;
/// let half = data.binned([1, 1, 2, 2])?.cropped([0..4, 0..4, 0..16, 0..16])?;
/// assert_eq!(half.shape(), [4, 4, 16, 16]);
/// assert_eq!(half.calibration().pixel_angle()[0].to_mrad(), 3.0);
/// assert_eq!(half.centre(), [7.75, 7.75]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone)]
pub struct DataSet {
    source: Arc<dyn FrameSource>,
    calibration: Calibration,
    shape: [usize; 4],
    /// Bytes that the views hold for each thread that reads.
    view_bytes: u64,
}

impl DataSet {
    /// Puts a calibration on frames.
    ///
    /// # Errors
    /// - [`Error::Param`] for a calibration that is not positive and finite, or a source without frames or pixels,
    /// - [`Error::OutOfMemory`] when the number of elements overflows.
    pub fn new(source: Arc<dyn FrameSource>, calibration: Calibration) -> Result<Self, Error> {
        calibration.validate()?;
        let shape = source.shape();
        checked_len(&shape)?;
        if shape.contains(&0) {
            return Err(Error::param("shape", format!("{shape:?}"), "at least one frame of at least one pixel"));
        }
        Ok(DataSet { source, calibration, shape, view_bytes: 0 })
    }

    /// `[scan_y, scan_x, det_y, det_x]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// `[scan_y, scan_x]`.
    pub fn scan(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1]]
    }

    /// `[det_y, det_x]`.
    pub fn detector(&self) -> [usize; 2] {
        [self.shape[2], self.shape[3]]
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Pixels in a frame.
    pub fn frame_len(&self) -> usize {
        self.shape[2] * self.shape[3]
    }

    /// The frames.
    pub fn source(&self) -> &Arc<dyn FrameSource> {
        &self.source
    }

    /// What the numbers mean.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The same frames under another calibration.
    ///
    /// # Errors
    /// As [`DataSet::new`].
    pub fn calibrated(&self, calibration: Calibration) -> Result<Self, Error> {
        calibration.validate()?;
        Ok(DataSet { calibration, ..self.clone() })
    }

    /// Where the undeflected beam meets the detector, in pixels `[y, x]`.
    pub fn centre(&self) -> [f64; 2] {
        self.calibration.centre.unwrap_or(self.detector().map(|n| (n / 2) as f64))
    }

    /// Bytes that the views of this data set hold for each thread that reads (one frame a view).
    pub fn view_bytes(&self) -> u64 {
        self.view_bytes
    }

    /// A box of the data: ranges of `[scan_y, scan_x, det_y, det_x]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a range that is empty or goes beyond the end.
    pub fn cropped(&self, ranges: [Range<usize>; 4]) -> Result<Self, Error> {
        let ends = [ranges[0].end, ranges[1].end, ranges[2].end, ranges[3].end];
        if (0..4).any(|a| ranges[a].is_empty() || ends[a] > self.shape[a]) {
            return Err(Error::shape("DataSet::cropped: ends of the ranges", &self.shape, &ends));
        }
        let start = [ranges[0].start, ranges[1].start, ranges[2].start, ranges[3].start];
        let shape = std::array::from_fn(|a| ranges[a].len());
        let c = self.centre();
        let calibration =
            Calibration { centre: Some([c[0] - start[2] as f64, c[1] - start[3] as f64]), ..self.calibration };
        Ok(self.through(Arc::new(Cropped::new(self.source.clone(), start, shape)), calibration))
    }

    /// Sums of `by` neighbours along `[scan_y, scan_x, det_y, det_x]`. What does not fill a bin at the end is left out.
    ///
    /// # Errors
    /// [`Error::Shape`] for a bin of 0, or larger than the data.
    pub fn binned(&self, by: [usize; 4]) -> Result<Self, Error> {
        if (0..4).any(|a| by[a] == 0 || by[a] > self.shape[a]) {
            return Err(Error::shape("DataSet::binned: bins", &self.shape, &by));
        }
        let mut calibration = self.calibration.detector_binned([by[2], by[3]], self.centre());
        calibration.step = [calibration.step[0] * by[0] as f64, calibration.step[1] * by[1] as f64];
        Ok(self.through(Arc::new(Binned::new(self.source.clone(), by)), calibration))
    }

    /// Replaces bad pixels (flat indices of the detector) in every frame by the median, or the mean, of their good
    /// neighbours: those in the smallest square around the pixel that holds at least three of them.
    ///
    /// # Errors
    /// [`Error::Param`] for an index outside the detector, or when fewer than one pixel is good.
    pub fn repaired(&self, pixels: &[usize], how: Repair) -> Result<Self, Error> {
        let pixels = plan_repair(self.detector(), pixels)?;
        let mut d = self.through(Arc::new(Repaired { inner: self.source.clone(), pixels, how }), self.calibration);
        // This view works in the caller's buffer.
        d.view_bytes = self.view_bytes;
        Ok(d)
    }

    /// Shifts every frame by whole pixels, so that the beam, which wanders over the detector as `descan` says, stays
    /// within half a pixel of the calibrated centre. Counts stay counts; what enters at the border is 0.
    ///
    /// # Errors
    /// [`Error::Param`] when the descan is not finite or beyond the detector.
    pub fn recentred(&self, descan: &Descan) -> Result<Self, Error> {
        let [dk_y, dk_x] = self.calibration.pixel_frequency().map(|k| k.to_per_angstrom());
        let [dy, dx] = self.detector().map(|n| n as f64);
        let mut shifts = Vec::with_capacity(self.frames());
        for i in 0..self.frames() {
            let [c_y, c_x] = descan.at(i / self.shape[1], i % self.shape[1]);
            let [c_y, c_x] = self.calibration.orientation.to_detector([c_y, c_x]);
            let [p_y, p_x] = [(c_y / dk_y).round(), (c_x / dk_x).round()];
            // NaN fails both comparisons.
            if !(p_y.abs() <= dy && p_x.abs() <= dx) {
                return Err(Error::param(
                    "descan",
                    format!("[{p_y}, {p_x}] pixels"),
                    "a shift smaller than the detector",
                ));
            }
            shifts.push([p_y as i32, p_x as i32]);
        }
        Ok(self.through(Arc::new(Shifted::new(self.source.clone(), shifts)), self.calibration))
    }

    /// A data set that reads through a view of this one, which holds one frame of this one for each reader.
    fn through(&self, view: Arc<dyn FrameSource>, calibration: Calibration) -> Self {
        let shape = view.shape();
        let view_bytes = self.view_bytes + 4 * self.frame_len() as u64;
        DataSet { source: view, calibration, shape, view_bytes }
    }
}

impl fmt::Debug for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataSet")
            .field("shape", &self.shape)
            .field("dtype", &self.source.dtype())
            .field("calibration", &self.calibration)
            .finish()
    }
}
