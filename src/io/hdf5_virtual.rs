//! Virtual data sets of HDF5: boxes of other data sets, put together.
//!
//! The layout message of such a set names an object in a global heap: a list of pieces, each with file (`.` is the same
//! one), data set, and two selections, the part of the source and the part of the whole that it becomes. Selections
//! must be boxes; what no piece covers is zero.
//!
//! # References
//! The HDF Group, "HDF5 File Format Specification, version 3.0", IV.A.1.b and IV.A.1.a (object headers), IV.A.2.i
//! (layout, class 3), III.F (global heap blocks for virtual data sets), appendix C (selections).

use std::ops::Range;

use hdf5_reader::error::Error as Fault;
use hdf5_reader::global_heap::GlobalHeapCollection;
use hdf5_reader::group::Group;
use hdf5_reader::messages::dataspace;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::data_file::empty;
use crate::io::hdf5::Data;
use crate::io::hdf5_links;

/// Bytes of an object header, continuation blocks, and pieces of a set, at most.
const MAX_BLOCK: u64 = 1 << 20;
const MAX_BLOCKS: usize = 1000;
const MAX_PIECES: usize = 100_000;

/// A box: one range an axis.
type Part = Vec<Range<usize>>;

/// A part of another data set.
pub(crate) struct Piece {
    pub(crate) file: String,
    pub(crate) set: String,
    /// Part of the source; none for all of it.
    pub(crate) from: Option<Vec<Range<usize>>>,
    /// Part of the whole.
    pub(crate) to: Vec<Range<usize>>,
}

/// What the header of a virtual set says.
pub(crate) struct Described {
    pub(crate) dims: Vec<usize>,
    pub(crate) pieces: Vec<Piece>,
}

/// A virtual set with its sources open.
pub(crate) struct VirtualSet {
    pub(crate) dims: Vec<usize>,
    pub(crate) dtype: &'static str,
    /// Source, its part, and the part of the whole; the lengths other than 1 of both agree.
    pub(crate) pieces: Vec<(Data, Part, Part)>,
}

impl std::fmt::Debug for VirtualSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualSet").field("dims", &self.dims).field("pieces", &self.pieces.len()).finish()
    }
}

impl VirtualSet {
    /// Joins a piece with its open source.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the shapes do not agree.
    pub(crate) fn piece(&mut self, piece: Piece, source: Data) -> Result<(), Error> {
        let from = piece.from.unwrap_or_else(|| source.dims.iter().map(|&n| 0..n).collect());
        let inside = |r: &[Range<usize>], dims: &[usize]| {
            r.len() == dims.len() && r.iter().zip(dims).all(|(r, &n)| r.start <= r.end && r.end <= n)
        };
        let long = |r: &[Range<usize>]| r.iter().map(Range::len).filter(|&n| n != 1).collect::<Vec<_>>();
        if !inside(&from, &source.dims) || !inside(&piece.to, &self.dims) || long(&from) != long(&piece.to) {
            let what = format!("a virtual set with {from:?} of {:?} as {:?} of {:?}", source.dims, piece.to, self.dims);
            return Err(Error::Unsupported { what });
        }
        self.pieces.push((source, from, piece.to));
        Ok(())
    }

    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let dims: Vec<usize> = ranges.iter().map(Range::len).collect();
        let mut out = empty(self.dtype, &[0])?.zeros_like(&dims)?;
        for (source, from, to) in &self.pieces {
            let common: Vec<Range<usize>> =
                ranges.iter().zip(to).map(|(r, t)| r.start.max(t.start)..r.end.min(t.end)).collect();
            if common.iter().any(|c| c.start >= c.end) {
                continue;
            }
            // Axes longer than 1 correspond in their order; the others stay where they are.
            let mut along = common.iter().zip(to).filter(|(_, t)| t.len() != 1);
            let part: Vec<Range<usize>> = (from.iter())
                .map(|f| match f.len() {
                    1 => f.clone(),
                    _ => along.next().map_or(0..0, |(c, t)| f.start + c.start - t.start..f.start + c.end - t.start),
                })
                .collect();
            let sizes: Vec<usize> = part.iter().map(Range::len).collect();
            let shape: Vec<usize> = common.iter().map(Range::len).collect();
            let at: Vec<usize> = common.iter().zip(ranges).map(|(c, r)| c.start - r.start).collect();
            out.paste(&source.read(Some(&part), &sizes)?.reshape(&shape)?, &at)?;
        }
        Ok(out)
    }
}

/// The description of the virtual set `name` of a group; none when it is of another kind.
pub(crate) fn describe(group: &Group, name: &str) -> Result<Option<Described>, Fault> {
    let Some(address) = hdf5_links::addresses(group)?.into_iter().find(|(n, _)| n == name).and_then(|(_, a)| a) else {
        return Ok(None);
    };
    let (mut dims, mut layout) = (None, None);
    for (kind, content) in messages(group, address)? {
        match kind {
            1 => {
                let mut cursor = hdf5_reader::io::Cursor::new(&content);
                let space = dataspace::parse(&mut cursor, group.offset_size(), group.length_size(), content.len())?;
                dims = Some(space.dims.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect::<Vec<_>>());
            }
            8 => layout = Some(content),
            5 if fill_is_set(&content) => {
                return Err(Fault::UnsupportedEncoding("a virtual data set with a fill value".into()));
            }
            _ => {}
        }
    }
    let (Some(dims), Some(layout)) = (dims, layout) else { return Ok(None) };
    // Version 4, class 3, address of the heap, number of the object.
    let mut r = Bytes(&layout);
    if r.number(1)? != 4 || r.number(1)? != 3 {
        return Ok(None);
    }
    let heap = r.number(usize::from(group.offset_size()))?;
    let index = r.number(4)? as u16;
    let heap = GlobalHeapCollection::parse_at_storage(group.storage(), heap, group.offset_size(), group.length_size())?;
    let Some(object) = heap.get_object(index) else { return Ok(None) };

    let mut r = Bytes(&object.data);
    if r.number(1)? != 0 {
        return Err(Fault::UnsupportedEncoding("a newer list of virtual pieces".into()));
    }
    let count = r.number(usize::from(group.length_size()))? as usize;
    let mut pieces = Vec::new();
    for _ in 0..count.min(MAX_PIECES) {
        let (file, set) = (r.text()?, r.text()?);
        let (from, to) = (r.selection()?, r.selection()?);
        let to = to.unwrap_or_else(|| dims.iter().map(|&n| 0..n).collect());
        if file.contains("%b") || set.contains("%b") {
            return Err(Fault::UnsupportedEncoding("numbered sources of a virtual data set".into()));
        }
        pieces.push(Piece { file, set, from, to });
    }
    Ok(Some(Described { dims, pieces }))
}

/// Whether a fill value message defines one that is not zero.
fn fill_is_set(message: &[u8]) -> bool {
    match message {
        [1 | 2, _, _, 1, _, _, _, _, value @ ..] => value.iter().any(|b| *b != 0),
        [3, flags, _, _, _, _, value @ ..] if flags & 0x20 != 0 => value.iter().any(|b| *b != 0),
        _ => false,
    }
}

/// Kind and content of the messages of an object header, of either version.
fn messages(group: &Group, address: u64) -> Result<Vec<(u16, Vec<u8>)>, Fault> {
    let block = |at: u64, len: u64| {
        let len = usize::try_from(len.min(MAX_BLOCK)).unwrap_or(0);
        group.storage().read_range(at, len).map(|b| b.to_vec())
    };
    let (offset, length) = (usize::from(group.offset_size()), usize::from(group.length_size()));
    let head = block(address, 34)?;
    let new = head.starts_with(b"OHDR");
    // The first block: where its messages begin, their bytes, and whether messages have an order of creation.
    let (start, len, ordered) = if new {
        let flags = *head.get(5).unwrap_or(&0);
        let fixed = 6 + if flags & 0x20 != 0 { 16 } else { 0 } + if flags & 0x10 != 0 { 4 } else { 0 };
        let mut r = Bytes(head.get(fixed..).unwrap_or(&[]));
        let width = 1usize << (flags & 3);
        (address + (fixed + width) as u64, r.number(width)?, flags & 4 != 0)
    } else {
        let mut r = Bytes(head.get(8..).unwrap_or(&[]));
        (address + 16, r.number(4)?, false)
    };
    let mut out = Vec::new();
    let mut blocks = vec![(start, len)];
    let mut at = 0;
    while at < blocks.len() && at < MAX_BLOCKS {
        let (start, len) = blocks[at];
        let bytes = block(start, len)?;
        let mut r = Bytes(&bytes);
        let head = if new { 4 + if ordered { 2 } else { 0 } } else { 8 };
        while r.0.len() >= head {
            let (kind, size) = if new { (r.number(1)?, r.number(2)?) } else { (r.number(2)?, r.number(2)?) };
            r.take(head - if new { 3 } else { 4 })?;
            let content = r.take(size as usize)?.to_vec();
            if kind == 16 {
                let mut c = Bytes(&content);
                let (next, len) = (c.number(offset)?, c.number(length)?);
                // Continuation blocks of the new kind have a signature and a checksum.
                blocks.push(if new { (next.saturating_add(4), len.saturating_sub(8)) } else { (next, len) });
            }
            out.push((kind as u16, content));
        }
        at += 1;
    }
    Ok(out)
}

/// Little-endian numbers one behind the other.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (now, rest) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| Fault::InvalidData(format!("{n} bytes wanted, {}", self.0.len())))?;
        self.0 = rest;
        Ok(now)
    }

    fn number(&mut self, n: usize) -> Result<u64, Fault> {
        Ok(self.take(n.min(8))?.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let end = self.0.iter().position(|&b| b == 0);
        let end = end.ok_or_else(|| Fault::InvalidData("a name without end".into()))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// A selection that is a box; none for everything.
    fn selection(&mut self) -> Result<Option<Vec<Range<usize>>>, Fault> {
        let other = |what: String| Err(Fault::UnsupportedEncoding(what));
        match (self.number(4)?, self.number(4)?) {
            (3, _) => {
                self.take(8)?;
                Ok(None)
            }
            (2, version @ 1..=3) => {
                let (regular, width) = match version {
                    1 => {
                        self.take(8)?;
                        (false, 4)
                    }
                    2 => {
                        let flags = self.number(1)?;
                        self.take(4)?;
                        (flags & 1 == 1, 8)
                    }
                    _ => (self.number(1)? & 1 == 1, self.number(1)? as usize),
                };
                let rank = self.number(4)? as usize;
                if rank > 32 || !matches!(width, 2 | 4 | 8) {
                    return Err(Fault::InvalidData(format!("a selection of {rank} axes in {width} bytes")));
                }
                if !regular && self.number(width)? != 1 {
                    return other("selections of several blocks".into());
                }
                let mut out = Vec::new();
                if regular {
                    for _ in 0..rank {
                        let [start, stride, count, block] =
                            [self.number(width)?, self.number(width)?, self.number(width)?, self.number(width)?];
                        let len = if count == 1 || stride == block { count.checked_mul(block) } else { None };
                        let end = len.and_then(|n| start.checked_add(n)).filter(|&end| end < u64::from(u32::MAX) << 16);
                        let Some(end) = end else { return other("selections with gaps or without end".into()) };
                        out.push(start as usize..end as usize);
                    }
                } else {
                    let starts = (0..rank).map(|_| self.number(width)).collect::<Result<Vec<_>, _>>()?;
                    for start in starts {
                        out.push(start as usize..(self.number(width)? as usize).saturating_add(1));
                    }
                }
                Ok(Some(out))
            }
            (kind, version) => other(format!("selections of kind {kind}, version {version}")),
        }
    }
}
