//! The one entry: any supported file as a list of data sets.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes::Bytes;
use crate::io::coded::{Coded, part_of};
use crate::io::file::FileAt;
use crate::io::frames::SetFrames;
use crate::io::hdf5_set::Hdf5Set;
use crate::io::hdf5_virtual::VirtualSet;
use crate::io::layout::Strided;
use crate::io::meta::Meta;
use crate::io::npz::Npz;
use crate::io::recognise::read_any;
use crate::io::tiff_read::TiffPages;
use crate::io::zarr_store::ZarrSet;
use crate::shape::{Limits, checked_len};
use crate::units::{Angle, Energy};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenParams {
    /// Positioned reads or a map.
    pub access: Access,
    /// Largest number of bytes of one read, and of what a compressed or textual file may unpack to.
    pub limits: Limits,
    /// Scan positions `[y, x]` for detectors whose files do not say them (MIB, EMPAD, MRC movies, raw Dectris data). A
    /// frame list whose length is another is an error.
    pub scan: Option<[usize; 2]>,
}

/// How the bytes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Positioned reads: a file that is cut short while it is open gives an error.
    #[default]
    Read,
    /// A memory map, where the format is raw. The file must not be shortened or rewritten while it is open: the first
    /// kills the process, the second mixes old and new values.
    Map,
}

/// What is known of a data set before it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct SetInfo {
    /// Its name in the file.
    pub name: String,
    /// Dimensions, slowest first.
    pub dims: Vec<usize>,
    /// Element type as it is read, in the words of [`Array::dtype`].
    pub dtype: &'static str,
    /// One axis a dimension.
    pub axes: Vec<Axis>,
    /// What the file says about this set.
    pub metadata: Meta,
    /// Accelerating voltage, where the file has it.
    pub energy: Option<Energy>,
    /// Tilt angles, one for each element of the first axis; empty where there are none.
    pub tilts: Vec<Angle>,
}

impl SetInfo {
    /// A set without metadata.
    pub(crate) fn new(name: impl Into<String>, dtype: &'static str, axes: Vec<Axis>) -> Self {
        let dims = axes.iter().map(|a| a.size).collect();
        let metadata = Meta::map();
        SetInfo { name: name.into(), dims, dtype, axes, metadata, energy: None, tilts: Vec::new() }
    }
}

/// Where the elements of a set come from.
#[derive(Debug)]
pub(crate) enum Store {
    Strided(Strided),
    Coded(Coded),
    Hdf5(Hdf5Set),
    Hdf5Virtual(VirtualSet),
    Pages(TiffPages),
    Zarr(ZarrSet),
    Npz(Arc<Npz>, String),
    Memory(Array),
}

impl Store {
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        match self {
            Store::Strided(s) => s.read(ranges),
            Store::Coded(c) => c.read(ranges),
            Store::Hdf5(h) => h.read(ranges),
            Store::Hdf5Virtual(v) => v.read(ranges),
            Store::Pages(p) => p.read(ranges),
            Store::Zarr(z) => z.read(ranges),
            Store::Npz(npz, name) => part_of(&npz.get(name)?, ranges),
            Store::Memory(array) => part_of(array, ranges),
        }
    }
}

/// A set and where it comes from.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) info: SetInfo,
    pub(crate) store: Arc<Store>,
}

impl Set {
    pub(crate) fn new(info: SetInfo, store: Store) -> Self {
        Set { info, store: Arc::new(store) }
    }
}

/// What a format's reader gives back.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) format: &'static str,
    pub(crate) sets: Vec<Set>,
    pub(crate) metadata: Meta,
}

/// An open file: what is in it, and how to read it. Only headers have been read.
///
/// ```no_run
/// let file = exitwave::io::open("scan.mib")?;
/// for set in file.sets() {
///     println!("{} {:?} {}", set.name, set.dims, set.dtype);
/// }
/// let one = file.read_part(0, &[0..1, 0..1, 0..256, 0..256])?;
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    limits: Limits,
    format: &'static str,
    sets: Vec<Set>,
    metadata: Meta,
}

/// Opens a file of any supported format, which is recognised by its content.
///
/// Files that belong to it are found beside it: the `.hdr` of a MIB file, the `.raw` of an EMPAD `.xml`, the `.rawtlt`
/// of a tilt series, the parts of a TVIPS recording.
///
/// # Errors
/// - [`Error::Io`] when it cannot be read,
/// - [`Error::Format`] when it is damaged,
/// - [`Error::Unsupported`] when the format, or a variant of it, is not known.
pub fn open(path: impl AsRef<Path>) -> Result<DataFile, Error> {
    open_with(path, OpenParams::default())
}

/// Opens a file with parameters.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: impl AsRef<Path>, params: OpenParams) -> Result<DataFile, Error> {
    let path = path.as_ref();
    if path.is_dir() {
        return finish(path, crate::io::zarr_store::open(path, &params)?, params);
    }
    let file = match params.access {
        Access::Read => FileAt::open(path)?,
        Access::Map => FileAt::open_mapped(path)?,
    };
    let contents = read_any(path, &Bytes::new(file), Beside::Folder, &params)?;
    finish(path, contents, params)
}

/// Reads a file that is in memory; `name` stands for its path, of which some formats need the ending. Files beside it
/// are not looked for.
///
/// # Errors
/// As [`open`].
pub fn parse(name: &str, bytes: Vec<u8>, params: OpenParams) -> Result<DataFile, Error> {
    let path = Path::new(name);
    let contents = read_any(path, &Bytes::new(FileAt::memory(path, bytes)), Beside::Nothing, &params)?;
    finish(path, contents, params)
}

/// Whether files beside the one that is opened are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Folder,
    Nothing,
}

impl Beside {
    /// The file of this name or ending beside `path`, with at most `limit` bytes; none if it is absent or longer.
    pub(crate) fn small(self, path: &Path, ending: &str, limit: u64) -> Option<Vec<u8>> {
        let other = if ending.contains('.') { path.with_file_name(ending) } else { path.with_extension(ending) };
        self.read(&other, limit)
    }

    /// A file with at most `limit` bytes.
    pub(crate) fn read(self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        if self == Beside::Nothing {
            return None;
        }
        let file = FileAt::open(path).ok().filter(|f| f.len() <= limit)?;
        let mut out = vec![0; file.len() as usize];
        file.read_exact_at(0, &mut out).ok()?;
        Some(out)
    }
}

fn finish(path: &Path, contents: Contents, params: OpenParams) -> Result<DataFile, Error> {
    for set in &contents.sets {
        let sizes: Vec<usize> = set.info.axes.iter().map(|a| a.size).collect();
        if sizes != set.info.dims {
            return Err(Error::shape("io::open: axes of a set", &set.info.dims, &sizes));
        }
        checked_len(&set.info.dims)?;
    }
    let Contents { format, sets, metadata } = contents;
    Ok(DataFile { path: path.to_path_buf(), limits: params.limits, format, sets, metadata })
}

impl DataFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Short name of its format: `"dm4"`, `"mrc"`, `"velox"`, …
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// The data sets, in the order of the file.
    pub fn sets(&self) -> impl ExactSizeIterator<Item = &SetInfo> {
        self.sets.iter().map(|s| &s.info)
    }

    /// One data set.
    ///
    /// # Errors
    /// [`Error::Param`] when there are fewer.
    pub fn info(&self, set: usize) -> Result<&SetInfo, Error> {
        Ok(&self.set(set)?.info)
    }

    /// What the file says beside its data sets.
    pub fn metadata(&self) -> &Meta {
        &self.metadata
    }

    /// Number of the first set of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.sets.iter().position(|s| s.info.name == name)
    }

    pub(crate) fn set(&self, set: usize) -> Result<&Set, Error> {
        self.sets.get(set).ok_or_else(|| {
            let got = format!("{set} of {} sets in {}", self.sets.len(), self.path.display());
            Error::param("set", got, "the number of a data set")
        })
    }

    /// Reads a whole set.
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no such set,
    /// - [`Error::Format`] or [`Error::Io`] when it cannot be read,
    /// - [`Error::OverBudget`] beyond the limit of [`OpenParams`].
    pub fn read(&self, set: usize) -> Result<Array, Error> {
        let ranges: Vec<_> = self.set(set)?.info.dims.iter().map(|&n| 0..n).collect();
        self.read_part(set, &ranges)
    }

    /// Reads a part of a set, one range an axis. Raw formats read no more than that, chunked ones the chunks that it
    /// meets.
    ///
    /// # Shapes
    /// The result has the lengths of the ranges, axes of length 1 included.
    ///
    /// # Errors
    /// As [`DataFile::read`], and [`Error::Shape`] when the ranges do not lie within the set.
    pub fn read_part(&self, set: usize, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let set = self.set(set)?;
        let dims = &set.info.dims;
        let inside =
            ranges.len() == dims.len() && ranges.iter().zip(dims).all(|(r, &n)| r.start <= r.end && r.end <= n);
        if !inside {
            let ends: Vec<usize> = ranges.iter().map(|r| r.end).collect();
            return Err(Error::shape("DataFile::read_part: ranges within", dims, &ends));
        }
        let wanted: Vec<usize> = ranges.iter().map(Range::len).collect();
        let len = checked_len(&wanted)?;
        self.limits.check((len as u64).saturating_mul(element_size(set.info.dtype)))?;
        if len == 0 {
            return empty(set.info.dtype, &wanted);
        }
        set.store.read(ranges)
    }

    /// A set of 3 or 4 axes as frames, for `stem` and `ptycho`; its elements must be real.
    ///
    /// # Shapes
    /// `[scan_y, scan_x, det_y, det_x]`; a set of 3 axes is one row of frames.
    ///
    /// # Errors
    /// [`Error::Shape`] for other numbers of axes, [`Error::Unsupported`] for complex elements.
    pub fn frames(&self, set: usize) -> Result<SetFrames, Error> {
        let set = self.set(set)?;
        SetFrames::new(set.store.clone(), &set.info)
    }
}

/// Bytes of an element in memory.
pub(crate) fn element_size(dtype: &str) -> u64 {
    match dtype {
        "u8" | "i8" => 1,
        "u16" | "i16" => 2,
        "u32" | "i32" | "f32" => 4,
        "complex<f64>" => 16,
        _ => 8,
    }
}

/// An array without elements, of the right type.
pub(crate) fn empty(dtype: &str, dims: &[usize]) -> Result<Array, Error> {
    macro_rules! none {
        ($variant:ident) => {
            Array::$variant(crate::tensor::Tensor::from_vec(dims, Vec::new())?)
        };
    }
    Ok(match dtype {
        "u8" => none!(U8),
        "i8" => none!(I8),
        "u16" => none!(U16),
        "i16" => none!(I16),
        "u32" => none!(U32),
        "i32" => none!(I32),
        "u64" => none!(U64),
        "i64" => none!(I64),
        "f32" => none!(F32),
        "complex<f32>" => none!(C32),
        "complex<f64>" => none!(C64),
        _ => none!(F64),
    })
}
