//! Typed shortcuts: an open file as what a user came for.

use crate::error::Error;
use crate::io::data_file::{DataFile, SetInfo};
use crate::io::frames::SetFrames;
use crate::real::Real;
use crate::stem::{Calibration, Pixel};
use crate::tensor::Tensor;
use crate::units::{Angle, Energy, Length};

/// An image `[y, x]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Image<T> {
    /// The values.
    pub data: Tensor<T>,
    /// Sampling `[y, x]`, where the file has it as a length.
    pub sampling: Option<[Length; 2]>,
}

/// A stack of images `[n, y, x]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack<T> {
    /// The values.
    pub data: Tensor<T>,
    /// Sampling `[y, x]`, where the file has it as a length.
    pub sampling: Option<[Length; 2]>,
}

/// A tilt series `[tilt, y, x]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TiltSeries<T> {
    /// The values.
    pub data: Tensor<T>,
    /// Tilt of each image.
    pub angles: Vec<Angle>,
    /// Sampling `[y, x]`, where the file has it as a length.
    pub sampling: Option<[Length; 2]>,
}

/// Spectra `[y, x, energy]`; a line scan has y of length 1, a single spectrum also x.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectrumImage<T> {
    /// The values.
    pub data: Tensor<T>,
    /// Energy of the first channel.
    pub first: Energy,
    /// Width of a channel.
    pub width: Energy,
    /// Scan step `[y, x]`, where the file has it as a length.
    pub step: [Option<Length>; 2],
}

/// A 4D-STEM data set that is read frame by frame.
#[derive(Clone, Debug)]
pub struct Scan4d {
    /// The frames.
    pub frames: SetFrames,
    /// Scan step `[y, x]`, where the file has it as a length.
    pub step: Option<[Length; 2]>,
    /// Detector pixel `[y, x]`, where the file has it as an angle or a spatial frequency.
    pub pixel: Option<Pixel>,
    /// Energy of the electrons, where the file has it.
    pub energy: Option<Energy>,
}

impl Scan4d {
    /// The calibration for `stem`, if the file has all of it.
    pub fn calibration(&self) -> Option<Calibration> {
        Some(Calibration::new(self.step?, self.pixel?, self.energy?))
    }
}

impl DataFile {
    /// A set as an image; axes of length 1 before the last two are dropped.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set is no image, and as [`DataFile::read`].
    pub fn image<T: Real>(&self, set: usize) -> Result<Image<T>, Error> {
        let info = self.info(set)?;
        let &[.., y, x] = info.dims.as_slice() else { return Err(shape("image [y, x]", info)) };
        if info.dims.iter().rev().skip(2).any(|&n| n != 1) {
            return Err(shape("image [y, x]", info));
        }
        let data = self.read(set)?.into_real()?.reshape(&[y, x])?;
        Ok(Image { data, sampling: sampling(info) })
    }

    /// A set as a stack of images; axes before the last two are joined, an image is a stack of one.
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes, and as [`DataFile::read`].
    pub fn stack<T: Real>(&self, set: usize) -> Result<Stack<T>, Error> {
        let info = self.info(set)?;
        let &[ref outer @ .., y, x] = info.dims.as_slice() else { return Err(shape("stack [n, y, x]", info)) };
        let n = outer.iter().product();
        Ok(Stack { data: self.read(set)?.into_real()?.reshape(&[n, y, x])?, sampling: sampling(info) })
    }

    /// A stack with its tilt angles.
    ///
    /// # Errors
    /// As [`DataFile::stack`], and [`Error::Unsupported`] when the file does not say the angles.
    pub fn tilt_series<T: Real>(&self, set: usize) -> Result<TiltSeries<T>, Error> {
        let info = self.info(set)?;
        let &[n, _, _] = info.dims.as_slice() else { return Err(shape("tilt series [tilt, y, x]", info)) };
        let along = info.axes[0].angle().map(|step| {
            let start = crate::io::axis::quantity(info.axes[0].offset, &info.axes[0].unit);
            let first = if let crate::io::Quantity::Angle(a) = start { a } else { Angle::ZERO };
            (0..n).map(|i| first + step * i as f64).collect::<Vec<_>>()
        });
        let angles = if info.tilts.len() == n { Some(info.tilts.clone()) } else { along };
        let angles = angles.ok_or_else(|| Error::Unsupported {
            what: format!("{}: a tilt series without tilt angles", self.path().display()),
        })?;
        Ok(TiltSeries { data: self.read(set)?.into_real()?, angles, sampling: sampling(info) })
    }

    /// A set whose last axis is an energy as a spectrum image.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than 3 axes or none, [`Error::Unsupported`] when the last axis is no energy, and as
    /// [`DataFile::read`].
    pub fn spectrum_image<T: Real>(&self, set: usize) -> Result<SpectrumImage<T>, Error> {
        let info = self.info(set)?;
        let dims = match *info.dims.as_slice() {
            [e] => [1, 1, e],
            [x, e] => [1, x, e],
            [y, x, e] => [y, x, e],
            _ => return Err(shape("spectrum image [y, x, energy]", info)),
        };
        let axis = &info.axes[info.axes.len() - 1];
        let (Some(width), crate::io::Quantity::Energy(first)) = (axis.energy(), axis.start()) else {
            return Err(Error::Unsupported { what: format!("spectra along an axis in {:?}", axis.unit) });
        };
        let along = |back: usize| info.axes.iter().rev().nth(back).and_then(|a| a.length());
        let data = self.read(set)?.into_real()?.reshape(&dims)?;
        Ok(SpectrumImage { data, first, width, step: [along(2), along(1)] })
    }

    /// A set of 4 axes, or 3, as a 4D-STEM scan.
    ///
    /// # Errors
    /// As [`DataFile::frames`].
    pub fn scan(&self, set: usize) -> Result<Scan4d, Error> {
        let info = self.info(set)?;
        let frames = self.frames(set)?;
        let [dy, dx] = [&info.axes[info.axes.len() - 2], &info.axes[info.axes.len() - 1]];
        let pixel = match (dy.angle(), dx.angle(), dy.frequency(), dx.frequency()) {
            (Some(y), Some(x), _, _) => Some(Pixel::Angle([y, x])),
            (_, _, Some(y), Some(x)) => Some(Pixel::Frequency([y, x])),
            _ => None,
        };
        let step = match info.axes.as_slice() {
            [y, x, _, _] => y.length().zip(x.length()).map(|(y, x)| [y, x]),
            [x, _, _] => x.length().map(|x| [x, x]),
            _ => None,
        };
        Ok(Scan4d { frames, step, pixel, energy: info.energy })
    }
}

fn sampling(info: &SetInfo) -> Option<[Length; 2]> {
    let [.., y, x] = info.axes.as_slice() else { return None };
    Some([y.length()?, x.length()?])
}

fn shape(op: &'static str, info: &SetInfo) -> Error {
    Error::shape(op, &[], &info.dims)
}
