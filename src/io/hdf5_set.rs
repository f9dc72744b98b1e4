//! A data set of an HDF5 file as the common model sees it: with its axes in our order, or several of them one behind
//! the other.

use std::ops::Range;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::coded::Parts;
use crate::io::hdf5::Data;

/// One or several data sets of equal frames, and how our axes lie in them.
pub(crate) struct Hdf5Set {
    /// The data sets, joined along their first axis.
    pub(crate) parts: Vec<Data>,
    pub(crate) view: View,
}

/// How our axes lie in the stored ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum View {
    /// As they are.
    Same,
    /// Our axis k is stored axis `order[k]`.
    Order(Vec<usize>),
    /// Our first two axes are the first stored one, with so many columns.
    Grid(usize),
    /// Our axes, those of length 1 left out that are listed here (places in the stored dimensions, rising).
    Dropped(Vec<usize>),
}

impl std::fmt::Debug for Hdf5Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5Set").field("parts", &self.parts.len()).field("view", &self.view).finish()
    }
}

impl Hdf5Set {
    /// Name of the element type as it is read.
    pub(crate) fn dtype(&self) -> &'static str {
        match self.parts[0].kind.name() {
            "bool" => "u8",
            "f16" => "f32",
            other => other,
        }
    }

    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
        match &self.view {
            View::Same => self.stored(ranges),
            View::Order(order) => {
                let mut stored = vec![0..0; order.len()];
                for (k, &a) in order.iter().enumerate() {
                    stored[a] = ranges[k].clone();
                }
                Ok(self.stored(&stored)?.permuted(order))
            }
            View::Dropped(places) => {
                let mut stored = ranges.to_vec();
                for &at in places {
                    stored.insert(at, 0..1);
                }
                self.stored(&stored)?.reshape(&dims)
            }
            View::Grid(columns) => {
                let mut parts = Parts::new(ranges)?;
                let (rows, inside) = (ranges[0].clone(), ranges[1].clone());
                // Whole rows of the scan are one part.
                let whole = inside == (0..*columns);
                let piece = |y: usize| match whole {
                    true => rows.start * columns..rows.end * columns,
                    false => y * columns + inside.start..y * columns + inside.end,
                };
                let count = if whole { 1 } else { rows.len() };
                for piece in rows.clone().take(count).map(piece) {
                    let mut stored = ranges[1..].to_vec();
                    stored[0] = piece;
                    let array = self.stored(&stored)?;
                    let all: Vec<_> = array.dims().iter().map(|&n| 0..n).collect();
                    let shape = array.dims().to_vec();
                    parts.push(&array, &shape, &all)?;
                }
                parts.finish()
            }
        }
    }

    /// A part in the order of the file, over all data sets.
    fn stored(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let read = |data: &Data, ranges: &[Range<usize>]| {
            let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
            if ranges.is_empty() { data.read(None, &dims) } else { data.read(Some(ranges), &dims) }
        };
        if let [one] = self.parts.as_slice() {
            return read(one, ranges);
        }
        let mut parts = Parts::new(ranges)?;
        let mut start = 0;
        for data in &self.parts {
            let end = start + data.dims[0];
            let (from, to) = (ranges[0].start.max(start), ranges[0].end.min(end));
            if from < to {
                let mut here = ranges.to_vec();
                here[0] = from - start..to - start;
                let array = read(data, &here)?;
                let shape = array.dims().to_vec();
                let all: Vec<_> = shape.iter().map(|&n| 0..n).collect();
                parts.push(&array, &shape, &all)?;
            }
            start = end;
        }
        parts.finish()
    }
}
