//! Where the elements of a raw data set stand in its file, and the one reader of them.
//!
//! Nearly every format of the field stores numbers at `start + Σ_a i_a · stride_a`: with a header before each frame,
//! rows upside down, the energy as the slowest axis. [`Strided`] reads a part of any of them with the memory of that
//! part.

use std::ops::Range;

use num_complex::Complex;

use crate::error::Error;
use crate::io::array::{Array, NpyElement};
use crate::io::bytes::{Bytes, Order};
use crate::io::npy::{half_to_f32, swap_bytes};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    /// Half precision, read as `f32`.
    F16,
    F32,
    F64,
    /// Two 16-bit integers, read as `Complex<f32>`.
    C16,
    C32,
    C64,
}

impl Element {
    /// Bytes an element in the file.
    pub(crate) fn size(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 => 2,
            Element::U32 | Element::I32 | Element::F32 | Element::C16 => 4,
            Element::U64 | Element::I64 | Element::F64 | Element::C32 => 8,
            Element::C64 => 16,
        }
    }

    /// Bytes of the unit that has a byte order.
    fn word(self) -> usize {
        match self {
            Element::C16 | Element::C32 | Element::C64 => self.size() / 2,
            _ => self.size(),
        }
    }

    /// Name of the element type once it is read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Element::U8 => "u8",
            Element::I8 => "i8",
            Element::U16 => "u16",
            Element::I16 => "i16",
            Element::U32 => "u32",
            Element::I32 => "i32",
            Element::U64 => "u64",
            Element::I64 => "i64",
            Element::F16 | Element::F32 => "f32",
            Element::F64 => "f64",
            Element::C16 | Element::C32 => "complex<f32>",
            Element::C64 => "complex<f64>",
        }
    }
}

/// A data set at `start + Σ i_a · strides_a`, or, with a table, at `table[flat index of the leading axes] + Σ …` over
/// the rest.
#[derive(Clone, Debug)]
pub(crate) struct Strided {
    pub(crate) bytes: Bytes,
    pub(crate) element: Element,
    pub(crate) order: Order,
    pub(crate) dims: Vec<usize>,
    /// Bytes from one index to the next, an axis; those of the axes that the table covers are not used.
    pub(crate) strides: Vec<i64>,
    pub(crate) start: u64,
    /// Addresses of the blocks, and how many leading axes count them.
    pub(crate) table: Option<(Vec<u64>, usize)>,
}

/// Strides of a row-major array, `inner` bytes an element.
pub(crate) fn row_major(dims: &[usize], size: usize) -> Result<Vec<i64>, Error> {
    let mut strides = vec![0; dims.len()];
    let mut step = size as i64;
    for axis in (0..dims.len()).rev() {
        strides[axis] = step;
        let n = i64::try_from(dims[axis].max(1)).ok();
        step = n.and_then(|n| step.checked_mul(n)).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
    }
    Ok(strides)
}

/// Bytes that are fetched at once.
const WINDOW: usize = 1 << 18;

impl Strided {
    /// A row-major array at `start`.
    pub(crate) fn packed(
        bytes: &Bytes,
        element: Element,
        order: Order,
        dims: &[usize],
        start: u64,
    ) -> Result<Self, Error> {
        let strides = row_major(dims, element.size())?;
        Ok(Strided { bytes: bytes.clone(), element, order, dims: dims.to_vec(), strides, start, table: None })
    }

    /// Checks that every element lies in the file, and that there are no more than the file has room for.
    ///
    /// # Errors
    /// [`Error::Format`] with the missing bytes.
    pub(crate) fn checked(self, format: &'static str) -> Result<Self, Error> {
        let wrong = |at: u64, reason: String| Error::format(format, self.bytes.path(), at, reason);
        let (dims, len) = (&self.dims, self.bytes.len());
        let needed = checked_len(dims).ok().and_then(|n| n.checked_mul(self.element.size())).map(|n| n as u64);
        let outer = self.table.as_ref().map_or(0, |(_, outer)| *outer);
        if needed.is_none_or(|n| n > len) {
            return Err(wrong(self.start, format!("{dims:?} of {} in a file of {len} bytes", self.element.name())));
        }
        if let Some((table, outer)) = &self.table
            && checked_len(&dims[..*outer])? != table.len()
        {
            return Err(wrong(self.start, format!("{} addresses for {:?} frames", table.len(), &dims[..*outer])));
        }
        if needed == Some(0) {
            return Ok(self);
        }
        // The lowest and the highest byte of a block, relative to its start.
        let (mut low, mut high) = (0i128, self.element.size() as i128);
        for (&n, &s) in dims.iter().zip(&self.strides).skip(outer) {
            let span = (n as i128 - 1) * i128::from(s);
            if span < 0 { low += span } else { high += span }
        }
        let starts = self.table.as_ref().map_or(std::slice::from_ref(&self.start), |(t, _)| t);
        for &start in starts {
            if i128::from(start) + low < 0 || i128::from(start) + high > i128::from(len) {
                let reason = format!("{dims:?} of {} do not fit into {len} bytes", self.element.name());
                return Err(wrong(start, reason));
            }
        }
        Ok(self)
    }

    /// The axes in another order: new axis k is old axis `order[k]`. Axes that a table covers must stay.
    pub(crate) fn permuted(mut self, order: &[usize]) -> Self {
        self.dims = order.iter().map(|&a| self.dims[a]).collect();
        self.strides = order.iter().map(|&a| self.strides[a]).collect();
        self
    }

    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        match self.element {
            Element::U8 => self.typed::<u8>(ranges),
            Element::I8 => self.typed::<i8>(ranges),
            Element::U16 => self.typed::<u16>(ranges),
            Element::I16 => self.typed::<i16>(ranges),
            Element::U32 => self.typed::<u32>(ranges),
            Element::I32 => self.typed::<i32>(ranges),
            Element::U64 => self.typed::<u64>(ranges),
            Element::I64 => self.typed::<i64>(ranges),
            Element::F32 => self.typed::<f32>(ranges),
            Element::F64 => self.typed::<f64>(ranges),
            Element::C32 => self.typed::<Complex<f32>>(ranges),
            Element::C64 => self.typed::<Complex<f64>>(ranges),
            Element::F16 => Ok(Array::F32(self.tensor::<u16>(ranges)?.map(|&v| half_to_f32(v)))),
            Element::C16 => {
                let pairs = self.tensor::<u32>(ranges)?;
                let words: &[i16] = bytemuck::cast_slice(pairs.as_slice());
                let data = words.chunks_exact(2).map(|p| Complex::new(f32::from(p[0]), f32::from(p[1]))).collect();
                Ok(Array::C32(Tensor::from_vec(pairs.dims(), data)?))
            }
        }
    }

    fn typed<E: NpyElement>(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        Ok(E::array(self.tensor(ranges)?))
    }

    fn tensor<E: NpyElement>(&self, ranges: &[Range<usize>]) -> Result<Tensor<E>, Error> {
        let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
        let mut data = try_zeroed::<E>(checked_len(&dims)?)?;
        self.gather(ranges, bytemuck::cast_slice_mut(&mut data))?;
        Tensor::from_vec(&dims, data)
    }

    /// Bytes from one element of the last axis to the next are an element: rows can be read as they are.
    pub(crate) fn has_rows(&self) -> bool {
        self.dims.last().is_none_or(|&n| n <= 1) || self.strides.last() == Some(&(self.element.size() as i64))
    }

    /// Writes the elements of a part, in native byte order, into `out`.
    pub(crate) fn gather(&self, ranges: &[Range<usize>], out: &mut [u8]) -> Result<(), Error> {
        if out.is_empty() {
            return Ok(());
        }
        if self.has_rows() {
            self.gather_rows(ranges, out)?
        } else {
            self.gather_scattered(ranges, out)?
        }
        if self.order.swapped() {
            swap_bytes(out, self.element.word());
        }
        Ok(())
    }

    /// Address of an element. In range by [`Strided::checked`].
    fn address(&self, index: &[usize]) -> u64 {
        let (start, outer) = match &self.table {
            None => (self.start, 0),
            Some((table, outer)) => {
                let flat = index.iter().zip(&self.dims).take(*outer).fold(0, |at, (&i, &n)| at * n + i);
                (table[flat], *outer)
            }
        };
        let inner = index.iter().zip(&self.strides).skip(outer).map(|(&i, &s)| i as i64 * s).sum::<i64>();
        start.wrapping_add_signed(inner)
    }

    /// Rows along the last axis, joined with the axes before it as far as the part takes these whole. Axes that run
    /// backwards in the file are read forwards and turned round in memory.
    fn gather_rows(&self, ranges: &[Range<usize>], out: &mut [u8]) -> Result<(), Error> {
        let outer = self.table.as_ref().map_or(0, |(_, outer)| *outer);
        let back: Vec<bool> = self.strides.iter().enumerate().map(|(a, s)| a >= outer && *s < 0).collect();
        let mut split = ranges.len();
        let mut run = self.element.size();
        while split > outer {
            let axis = split - 1;
            if ranges[axis].len() > 1 && self.strides[axis].unsigned_abs() != run as u64 {
                break;
            }
            run *= ranges[axis].len();
            split = axis;
            if ranges[axis].len() != self.dims[axis] {
                break;
            }
        }
        let mut window = Window::new(&self.bytes);
        let mut index: Vec<usize> = ranges.iter().map(|r| r.start).collect();
        let mut place = vec![0; index.len()];
        for piece in out.chunks_exact_mut(run) {
            // The lowest address of the piece.
            for (a, r) in ranges.iter().enumerate() {
                place[a] = if back[a] { r.start + r.end - 1 - index[a] } else { index[a] };
            }
            window.read(self.address(&place), piece)?;
            advance(&mut index[..split], &ranges[..split]);
        }
        let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
        for axis in (0..dims.len()).filter(|&a| back[a]) {
            let block = dims[axis + 1..].iter().product::<usize>() * self.element.size();
            for whole in out.chunks_exact_mut(block * dims[axis]) {
                reverse(whole, block);
            }
        }
        Ok(())
    }

    /// Runs along the axis with the smallest step in the file, each element put where it belongs.
    fn gather_scattered(&self, ranges: &[Range<usize>], out: &mut [u8]) -> Result<(), Error> {
        let (size, dims) = (self.element.size(), ranges.iter().map(Range::len).collect::<Vec<_>>());
        let target = row_major(&dims, size)?;
        let outer = self.table.as_ref().map_or(0, |(_, outer)| *outer);
        // Axes by falling step; the axes of the table come first, as they are.
        let mut order: Vec<usize> = (0..dims.len()).collect();
        order[outer..].sort_by_key(|&a| std::cmp::Reverse(self.strides[a].unsigned_abs()));
        let Some((&fast, slow)) = order.split_last() else { return Ok(()) };
        let slow_ranges: Vec<_> = slow.iter().map(|&a| ranges[a].clone()).collect();
        let (n, step) = (dims[fast], self.strides[fast]);

        let mut window = Window::new(&self.bytes);
        let per = (WINDOW / step.unsigned_abs().max(1) as usize).clamp(1, n);
        let mut row = vec![0u8; (per - 1) * step.unsigned_abs() as usize + size];
        let mut index: Vec<usize> = ranges.iter().map(|r| r.start).collect();
        let mut slow_index: Vec<usize> = slow_ranges.iter().map(|r| r.start).collect();
        for _ in 0..out.len() / size / n {
            for (&a, &i) in slow.iter().zip(&slow_index) {
                index[a] = i;
            }
            let base: i64 = slow.iter().map(|&a| (index[a] - ranges[a].start) as i64 * target[a]).sum();
            for first in (0..n).step_by(per) {
                let count = per.min(n - first);
                // A negative step: the last element of the run has the lowest address.
                let lowest = if step < 0 { first + count - 1 } else { first };
                index[fast] = ranges[fast].start + lowest;
                let span = (count - 1) * step.unsigned_abs() as usize + size;
                window.read(self.address(&index), &mut row[..span])?;
                for k in 0..count {
                    let from = if step < 0 { count - 1 - k } else { k } * step.unsigned_abs() as usize;
                    let to = (base + (first + k) as i64 * target[fast]) as usize;
                    out[to..to + size].copy_from_slice(&row[from..from + size]);
                }
            }
            advance(&mut slow_index, &slow_ranges);
        }
        Ok(())
    }
}

/// Blocks of equal length in the reverse order.
fn reverse(bytes: &mut [u8], block: usize) {
    let n = bytes.len() / block;
    for k in 0..n / 2 {
        let (low, high) = bytes.split_at_mut((n - 1 - k) * block);
        low[k * block..(k + 1) * block].swap_with_slice(&mut high[..block]);
    }
}

/// The next index in row-major order; from the last one back to the first.
pub(crate) fn advance(index: &mut [usize], ranges: &[Range<usize>]) {
    for (i, r) in index.iter_mut().zip(ranges).rev() {
        *i += 1;
        if *i < r.end {
            return;
        }
        *i = r.start;
    }
}

/// Short reads near each other are served from one fetched block.
struct Window<'a> {
    bytes: &'a Bytes,
    block: Vec<u8>,
    at: u64,
    /// Where the last read ended: a block is fetched only when reads follow each other closely.
    last: u64,
}

impl<'a> Window<'a> {
    fn new(bytes: &'a Bytes) -> Self {
        Window { bytes, block: Vec::new(), at: 0, last: u64::MAX }
    }

    fn read(&mut self, at: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = at + out.len() as u64;
        if at < self.at || end > self.at + self.block.len() as u64 {
            let near = at.abs_diff(self.last) < 4096;
            self.last = end;
            if out.len() >= WINDOW / 4 || !near {
                return self.bytes.read_at(at, out);
            }
            self.block.resize(WINDOW.min((self.bytes.len() - at) as usize), 0);
            self.bytes.read_at(at, &mut self.block)?;
            self.at = at;
        }
        self.last = end;
        let start = (at - self.at) as usize;
        out.copy_from_slice(&self.block[start..start + out.len()]);
        Ok(())
    }
}

/// Copies a part of an array in memory into `out`, which has the lengths of the ranges.
pub(crate) fn crop<E: Copy>(array: &[E], dims: &[usize], ranges: &[Range<usize>], out: &mut [E]) {
    let Some((last, outer)) = ranges.split_last() else {
        out.copy_from_slice(&array[..1]);
        return;
    };
    if out.is_empty() {
        return;
    }
    let mut index: Vec<usize> = outer.iter().map(|r| r.start).collect();
    for piece in out.chunks_exact_mut(last.len()) {
        let row = index.iter().zip(dims).fold(0, |at, (&i, &n)| at * n + i) * dims[dims.len() - 1];
        piece.copy_from_slice(&array[row + last.start..row + last.end]);
        advance(&mut index, outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::file::FileAt;
    use std::path::Path;

    fn bytes(n: u16) -> Bytes {
        Bytes::new(FileAt::memory(Path::new(""), (0..n).flat_map(|v| v.to_be_bytes()).collect()))
    }

    /// Element by element.
    fn naive(s: &Strided, ranges: &[Range<usize>]) -> Vec<u16> {
        let mut index: Vec<usize> = ranges.iter().map(|r| r.start).collect();
        let n: usize = ranges.iter().map(Range::len).product();
        let mut out = Vec::new();
        for _ in 0..n {
            let mut b = [0; 2];
            s.bytes.read_at(s.address(&index), &mut b).unwrap();
            out.push(u16::from_be_bytes(b));
            advance(&mut index, ranges);
        }
        out
    }

    #[test]
    fn parts_of_any_arrangement_are_read_as_element_by_element() {
        let bytes = bytes(2000);
        let packed = Strided::packed(&bytes, Element::U16, Order::Big, &[5, 6, 7], 4).unwrap();
        let gaps = Strided { strides: vec![300, 20, 2], ..packed.clone() };
        let flipped = Strided { strides: vec![84, -14, 2], start: 74, ..packed.clone() };
        let mirrored = Strided { strides: vec![84, 14, -2], start: 16, ..packed.clone() };
        let table = Strided { table: Some((vec![900, 0, 300, 1500, 200], 1)), ..packed.clone() };
        let slow = packed.clone().permuted(&[1, 2, 0]);
        for (k, s) in [packed, gaps, flipped, mirrored, table, slow].into_iter().enumerate() {
            let s = s.checked("test").unwrap();
            for part in [[0..1, 0..1, 0..1], [0..5, 0..5, 0..5], [1..4, 2..3, 1..5], [2..2, 0..5, 0..5]] {
                let Array::U16(got) = s.read(&part).unwrap() else { panic!("16 bits") };
                assert_eq!(got.as_slice(), naive(&s, &part), "case {k}, {part:?}");
            }
            let whole: Vec<_> = s.dims.iter().map(|&n| 0..n).collect();
            let Array::U16(got) = s.read(&whole).unwrap() else { panic!("16 bits") };
            assert_eq!(got.as_slice(), naive(&s, &whole), "case {k}, whole");
        }
    }

    #[test]
    fn elements_outside_the_file_are_refused() {
        let bytes = bytes(100);
        let of = |dims: &[usize], start| Strided::packed(&bytes, Element::U16, Order::Little, dims, start).unwrap();
        assert!(of(&[10, 10], 0).checked("test").is_ok());
        assert!(of(&[10, 10], 1).checked("test").is_err());
        assert!(of(&[10, 11], 0).checked("test").is_err());
        let below = Strided { strides: vec![-2], ..of(&[3], 2) };
        assert!(below.checked("test").is_err());
        assert!(Strided::packed(&bytes, Element::U16, Order::Little, &[usize::MAX, 3], 0).is_err());
        // The same block a hundred times is more than the file holds.
        let table = Strided { table: Some((vec![0; 100], 1)), ..of(&[100, 10], 0) };
        assert!(table.checked("test").is_err());
    }
}
