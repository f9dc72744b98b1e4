//! Data sets whose frames must be decoded: bit-packed detectors, packed Fourier transforms, half bytes.

use std::ops::Range;

use crate::error::Error;
use crate::io::array::{Array, ArrayRef, NpyElement};
use crate::io::bytes::Bytes;
use crate::io::layout::{advance, crop};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// Decodes the bytes of one frame into its elements.
pub(crate) type Decode = Box<dyn Fn(&[u8]) -> Result<Array, Error> + Send + Sync>;

/// Frames of equal length in the file, each decoded when it is asked for.
pub(crate) struct Coded {
    pub(crate) bytes: Bytes,
    pub(crate) dims: Vec<usize>,
    /// How many trailing axes make a frame.
    pub(crate) inner: usize,
    /// Address of the first frame, and bytes from one to the next.
    pub(crate) start: u64,
    pub(crate) step: u64,
    /// Bytes of a frame.
    pub(crate) frame: usize,
    pub(crate) decode: Decode,
}

impl std::fmt::Debug for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coded").field("dims", &self.dims).field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl Coded {
    /// Checks that all frames lie in the file.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub(crate) fn checked(self, format: &'static str) -> Result<Self, Error> {
        let frames = checked_len(&self.dims[..self.dims.len() - self.inner])? as u64;
        let end = frames
            .checked_sub(1)
            .map_or(Some(0), |n| n.checked_mul(self.step)?.checked_add(self.start)?.checked_add(self.frame as u64));
        if end.is_none_or(|end| end > self.bytes.len()) || self.step < self.frame as u64 {
            let reason = format!("{frames} frames of {} bytes in a file of {}", self.frame, self.bytes.len());
            return Err(Error::format(format, self.bytes.path(), self.start, reason));
        }
        Ok(self)
    }

    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let mut parts = Parts::new(ranges)?;
        let (outer, inner) = ranges.split_at(ranges.len() - self.inner);
        let mut index: Vec<usize> = outer.iter().map(|r| r.start).collect();
        let mut bytes = try_zeroed::<u8>(self.frame)?;
        for _ in 0..outer.iter().map(Range::len).product::<usize>() {
            let flat = index.iter().zip(&self.dims).fold(0, |at, (&i, &n)| at * n + i);
            self.bytes.read_at(self.start + flat as u64 * self.step, &mut bytes)?;
            parts.push(&(self.decode)(&bytes)?, &self.dims[outer.len()..], inner)?;
            advance(&mut index, outer);
        }
        parts.finish()
    }
}

/// A part that is put together block by block, in the order of its elements.
pub(crate) struct Parts {
    dims: Vec<usize>,
    at: usize,
    array: Option<Array>,
}

impl Parts {
    pub(crate) fn new(ranges: &[Range<usize>]) -> Result<Self, Error> {
        Ok(Parts { dims: ranges.iter().map(Range::len).collect(), at: 0, array: None })
    }

    /// Adds the part `ranges` of a block.
    pub(crate) fn push(&mut self, block: &Array, dims: &[usize], ranges: &[Range<usize>]) -> Result<(), Error> {
        if ArrayRef::from(block).dims != dims {
            return Err(Error::shape("io: decoded block", dims, block.dims()));
        }
        match block {
            Array::U8(t) => self.add(t, ranges),
            Array::I8(t) => self.add(t, ranges),
            Array::U16(t) => self.add(t, ranges),
            Array::I16(t) => self.add(t, ranges),
            Array::U32(t) => self.add(t, ranges),
            Array::I32(t) => self.add(t, ranges),
            Array::U64(t) => self.add(t, ranges),
            Array::I64(t) => self.add(t, ranges),
            Array::F32(t) => self.add(t, ranges),
            Array::F64(t) => self.add(t, ranges),
            Array::C32(t) => self.add(t, ranges),
            Array::C64(t) => self.add(t, ranges),
        }
    }

    fn add<E: NpyElement>(&mut self, block: &Tensor<E>, ranges: &[Range<usize>]) -> Result<(), Error> {
        if self.array.is_none() {
            let data = try_zeroed::<E>(checked_len(&self.dims)?)?;
            self.array = Some(E::array(Tensor::from_vec(&self.dims, data)?));
        }
        let n: usize = ranges.iter().map(Range::len).product();
        let out = self.array.as_mut().and_then(E::of_mut);
        let out = out.ok_or_else(|| Error::Unsupported { what: "blocks of several element types".into() })?;
        let here = out.as_mut_slice().get_mut(self.at..self.at + n);
        let here = here.ok_or_else(|| Error::shape("io: blocks of a part", &self.dims, &[self.at + n]))?;
        crop(block.as_slice(), block.dims(), ranges, here);
        self.at += n;
        Ok(())
    }

    /// The whole part. Without a block it is empty, and its type does not matter.
    pub(crate) fn finish(self) -> Result<Array, Error> {
        match self.array {
            Some(array) => Ok(array),
            None => Ok(Array::U8(Tensor::from_vec(&self.dims, Vec::new())?)),
        }
    }
}

/// A part of an array in memory.
pub(crate) fn part_of(array: &Array, ranges: &[Range<usize>]) -> Result<Array, Error> {
    let mut parts = Parts::new(ranges)?;
    parts.push(array, array.dims(), ranges)?;
    parts.finish()
}
