//! HDF5 files: what is in them, attributes, whole data sets and parts of them.
//!
//! The container is read by a library written in Rust; this file is the only one that knows it. Chunks may be
//! compressed by deflate, shuffle, n-bit, scale-offset, szip, LZF, LZ4 and bitshuffle with LZ4. Soft and hard links are
//! followed, and external links into files of the same folder. Virtual data sets and compound types other than complex
//! numbers are not supported.
//!
//! # References
//! The HDF Group, "HDF5 File Format Specification, version 3.0".

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use hdf5_reader::error::Error as Fault;
use hdf5_reader::group::Group;
use hdf5_reader::storage::{BytesStorage, DynStorage, FileStorage};
use hdf5_reader::{
    Dataset, ExternalLinkResolver, FilterRegistry, H5Type, HDF5_MAX_CHUNK_BYTES, Hdf5File, OpenOptions, SliceInfo,
    SliceInfoElem,
};

use crate::error::Error;
use crate::io::array::{Array, NpyElement};
use crate::io::hdf5_types::{Kind, attribute};
use crate::io::hdf5_virtual::VirtualSet;
use crate::io::{hdf5_filters, hdf5_links, hdf5_virtual};
use crate::shape::{Limits, checked_len};
use crate::tensor::Tensor;

pub use crate::io::hdf5_frames::Hdf5Frames;
pub use crate::io::hdf5_types::Attribute;

/// Largest number of objects that are listed, and of groups inside groups.
const MAX_OBJECTS: usize = 100_000;
const MAX_DEPTH: usize = 64;
/// What a file may unpack to without being asked for more by [`Hdf5::open_with`]: this many times its length, at least
/// 1 GiB.
const PLAUSIBLE_EXPANSION: u64 = 1100;
const PLAUSIBLE_BYTES: u64 = 1 << 30;

/// An open HDF5 file. Reads are positioned; nothing is mapped.
///
/// ```no_run
/// use exitwave::io::hdf5::Hdf5;
/// let file = Hdf5::open("scan.h5")?;
/// for object in file.list()? {
///     println!("{} {:?}", object.path, object.kind);
/// }
/// let frame = file.read_part("/entry/data/data", &[3..4, 0..256, 0..256])?.into_real::<f32>()?;
/// # Ok::<(), exitwave::Error>(())
/// ```
pub struct Hdf5 {
    path: PathBuf,
    file: Hdf5File,
    opened: Arc<Opened>,
    budget: u64,
}

impl std::fmt::Debug for Hdf5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A group or a data set, as [`Hdf5::list`] finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Full name: `"/entry/data"`.
    pub path: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its attributes, in the order of the file.
    pub attributes: Vec<(String, Attribute)>,
}

/// What an [`Object`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectKind {
    /// A group.
    Group,
    /// A data set.
    Dataset {
        /// Dimensions, slowest first; none for a scalar.
        dims: Vec<usize>,
        /// Element type: `"u16"`, `"complex<f32>"`, `"string"`, …
        dtype: String,
        /// Dimensions of a chunk, if the set is stored in chunks.
        chunks: Option<Vec<usize>>,
    },
    /// Something that cannot be opened.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// Files that external links have led to, each opened once, and those that could not be.
#[derive(Default)]
struct Opened {
    files: Mutex<BTreeMap<PathBuf, Hdf5File>>,
    failed: Mutex<BTreeMap<String, String>>,
    limits: Option<Limits>,
}

/// Finds the files that external links name, beside the file that names them. The weak reference breaks the cycle
/// file → resolver → list of files → file.
struct Beside {
    folder: PathBuf,
    opened: Weak<Opened>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl ExternalLinkResolver for Beside {
    /// An absolute name, or one that climbs out of the folder, is looked for by its last part only. A file that is
    /// absent or unreadable leaves the link dangling, so that the rest of the group can still be listed.
    fn resolve_external_link(&self, filename: &str) -> Result<Option<Hdf5File>, Fault> {
        let Some(opened) = self.opened.upgrade() else { return Ok(None) };
        let name = Path::new(filename);
        let inside = name.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let name = if inside { name } else { Path::new(name.file_name().unwrap_or_default()) };
        let result = self.folder.join(name).canonicalize().map_err(Fault::from).and_then(|path| {
            if let Some(file) = lock(&opened.files).get(&path) {
                return Ok(file.clone());
            }
            let file = open_file(&path, &opened)?;
            lock(&opened.files).insert(path, file.clone());
            Ok(file)
        });
        match result {
            Ok(file) => Ok(Some(file)),
            Err(e) => {
                lock(&opened.failed).insert(filename.to_string(), e.to_string());
                Ok(None)
            }
        }
    }
}

/// Opens a file whose external links go through `opened`.
fn open_file(path: &Path, opened: &Arc<Opened>) -> Result<Hdf5File, Fault> {
    let storage: DynStorage = Arc::new(FileStorage::open(path)?);
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let beside = Beside { folder, opened: Arc::downgrade(opened) };
    let options = options(storage.len(), opened.limits).with_external_link_resolver(Arc::new(beside));
    Hdf5File::from_storage_with_options(storage, options)
}

/// Largest number of bytes of one read.
fn budget(file_len: u64, limits: Option<Limits>) -> u64 {
    limits.map_or(file_len.saturating_mul(PLAUSIBLE_EXPANSION).max(PLAUSIBLE_BYTES), |l| l.bytes)
}

fn options(file_len: u64, limits: Option<Limits>) -> OpenOptions {
    let bytes = usize::try_from(budget(file_len, limits)).unwrap_or(usize::MAX);
    let mut filters = FilterRegistry::new();
    let wrong = |name: &'static str| move |e: String| Fault::FilterError(format!("{name}: {e}"));
    filters.register(32000, Box::new(move |f, data, _| hdf5_filters::lzf(&f.client_data, data).map_err(wrong("LZF"))));
    filters.register(32004, Box::new(move |_, data, _| hdf5_filters::lz4(data).map_err(wrong("LZ4"))));
    filters.register(
        32008,
        Box::new(move |f, data, size| {
            hdf5_filters::bitshuffle(&f.client_data, size, data).map_err(wrong("bitshuffle"))
        }),
    );
    OpenOptions::default()
        .with_filter_registry(filters)
        .with_max_read_bytes(bytes)
        .with_max_chunk_bytes(bytes.min(HDF5_MAX_CHUNK_BYTES))
}

impl Hdf5 {
    /// Opens a file. One read may give at most 1100 times the file's length, or 1 GiB if that is more; a set of fill
    /// values beyond that needs [`Hdf5::open_with`].
    ///
    /// # Errors
    /// - [`Error::Io`] when the file cannot be read,
    /// - [`Error::Format`] when it is not HDF5.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Hdf5::open_limited(path.as_ref(), None)
    }

    /// Opens a file of which one read may give at most `limits`.
    ///
    /// # Errors
    /// As [`Hdf5::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Self, Error> {
        Hdf5::open_limited(path.as_ref(), Some(limits))
    }

    fn open_limited(path: &Path, limits: Option<Limits>) -> Result<Self, Error> {
        let opened = Arc::new(Opened { limits, ..Opened::default() });
        let real = path.canonicalize().map_err(|e| Error::io(path, e))?;
        let file = open_file(&real, &opened).map_err(|e| convert(path, e))?;
        lock(&opened.files).insert(real, file.clone());
        let budget = budget(file.storage().len(), limits);
        Ok(Hdf5 { path: path.to_path_buf(), file, opened, budget })
    }

    /// Reads a file in memory. External links stay dangling.
    ///
    /// # Errors
    /// [`Error::Format`] when the bytes are not HDF5.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        Hdf5::parse_limited(bytes, None)
    }

    /// Reads a file in memory of which one read may give at most `limits`.
    ///
    /// # Errors
    /// As [`Hdf5::parse`].
    pub fn parse_with(bytes: Vec<u8>, limits: Limits) -> Result<Self, Error> {
        Hdf5::parse_limited(bytes, Some(limits))
    }

    fn parse_limited(bytes: Vec<u8>, limits: Option<Limits>) -> Result<Self, Error> {
        let len = bytes.len() as u64;
        let storage: DynStorage = Arc::new(BytesStorage::new(bytes));
        let file = Hdf5File::from_storage_with_options(storage, options(len, limits));
        let file = file.map_err(|e| convert(Path::new(""), e))?;
        Ok(Hdf5 { path: PathBuf::new(), file, opened: Arc::default(), budget: budget(len, limits) })
    }

    /// Lists all groups and data sets below the root, a group before its members. A group that several links reach is
    /// entered once.
    ///
    /// # Errors
    /// - [`Error::Format`] when a group is malformed,
    /// - [`Error::Unsupported`] for more than 100 000 objects or groups nested deeper than 64.
    pub fn list(&self) -> Result<Vec<Object>, Error> {
        let root = self.file.root_group().map_err(|e| convert(&self.path, e))?;
        let mut walk = Walk { file: self, objects: Vec::new(), entered: HashSet::new(), keep: Vec::new() };
        walk.group(&root, "", 0)?;
        Ok(walk.objects)
    }

    /// The attributes of a group (`"/"` is the root) or data set.
    ///
    /// # Errors
    /// - [`Error::Param`] when there is neither under this name,
    /// - [`Error::Format`] when it is malformed.
    pub fn attributes(&self, path: &str) -> Result<Vec<(String, Attribute)>, Error> {
        let attributes = match self.file.group(path) {
            Ok(group) => group.attributes().map_err(|e| convert(&self.path, e))?,
            Err(_) => self.dataset(path)?.attributes(),
        };
        Ok(attributes.into_iter().map(attribute).collect())
    }

    /// One attribute, or none of this name.
    ///
    /// # Errors
    /// As [`Hdf5::attributes`].
    pub fn attribute(&self, path: &str, name: &str) -> Result<Option<Attribute>, Error> {
        Ok(self.attributes(path)?.into_iter().find(|(n, _)| n == name).map(|(_, a)| a))
    }

    /// The dimensions of a data set; none for a scalar.
    ///
    /// # Errors
    /// As [`Hdf5::attributes`].
    pub fn dims(&self, path: &str) -> Result<Vec<usize>, Error> {
        dims_of(&self.dataset(path)?).map_err(|e| convert(&self.path, e))
    }

    /// Reads a whole data set of numbers.
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no such data set,
    /// - [`Error::Format`] when it is malformed,
    /// - [`Error::Unsupported`] for element types that [`Array`] does not have, virtual sets and unknown filters,
    /// - [`Error::OverBudget`] beyond the limit of [`Hdf5::open`].
    pub fn read(&self, path: &str) -> Result<Array, Error> {
        let data = self.data(path)?;
        let dims = data.dims.clone();
        data.read(None, &dims)
    }

    /// Reads the part `ranges` of a data set, one range an axis; only the chunks that it meets are read.
    ///
    /// # Shapes
    /// The result has the lengths of the ranges, axes of length 1 included.
    ///
    /// # Errors
    /// As [`Hdf5::read`], and [`Error::Shape`] when the ranges do not lie within the data set.
    pub fn read_part(&self, path: &str, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let data = self.data(path)?;
        let dims: Vec<usize> = ranges.iter().map(|r| r.end.saturating_sub(r.start)).collect();
        let inside = ranges.len() == data.dims.len()
            && ranges.iter().zip(&data.dims).all(|(r, &d)| r.start <= r.end && r.end <= d);
        if !inside {
            let ends: Vec<usize> = ranges.iter().map(|r| r.end).collect();
            return Err(Error::shape("Hdf5::read_part: ranges within", &data.dims, &ends));
        }
        data.read(Some(ranges), &dims)
    }

    /// Reads a data set of strings.
    ///
    /// # Errors
    /// As [`Hdf5::read`].
    pub fn read_strings(&self, path: &str) -> Result<Tensor<String>, Error> {
        let set = self.dataset(path)?;
        let dims = dims_of(&set).map_err(|e| convert(&self.path, e))?;
        // Sixteen bytes refer to a string of variable length; a fixed one takes its own.
        let size = set.raw_element_size().unwrap_or(16).max(size_of::<String>());
        check_budget(self.budget, &dims, size)?;
        let strings = set.read_strings().map_err(|e| convert(&self.path, e))?;
        Tensor::from_vec(&dims, strings)
    }

    /// A virtual data set with its sources open; none when `path` is of another kind. Sources are looked for as
    /// external links are.
    pub(crate) fn virtual_set(&self, path: &str) -> Result<Option<VirtualSet>, Error> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let failed = |e| convert(&self.path, e);
        let group = self.file.group(if folder.is_empty() { "/" } else { folder }).map_err(failed)?;
        let Some(described) = hdf5_virtual::describe(&group, name).map_err(failed)? else { return Ok(None) };
        let mut set = VirtualSet { dims: described.dims, dtype: "", pieces: Vec::new() };
        check_budget(u64::MAX, &set.dims, 16)?;
        for piece in described.pieces {
            let source = match piece.file.as_str() {
                "." => self.data(&piece.set)?,
                file => {
                    let beside = Path::new(Path::new(file).file_name().unwrap_or_default());
                    let parent = self.path.parent().filter(|_| !self.path.as_os_str().is_empty());
                    let parent = parent.ok_or_else(|| Error::Unsupported { what: format!("{file} beside no file") })?;
                    Hdf5::open_limited(&parent.join(beside), self.opened.limits)?.data(&piece.set)?
                }
            };
            set.dtype = match source.kind.name() {
                "bool" => "u8",
                "f16" => "f32",
                other => other,
            };
            set.piece(piece, source)?;
        }
        if set.pieces.windows(2).any(|p| p[0].0.kind.name() != p[1].0.kind.name()) || set.pieces.is_empty() {
            return Err(Error::Unsupported {
                what: format!("{path}: a virtual set of several element types, or of none"),
            });
        }
        Ok(Some(set))
    }

    /// A data set of numbers, ready to be read.
    pub(crate) fn data(&self, path: &str) -> Result<Data, Error> {
        let set = self.dataset(path)?;
        let dims = dims_of(&set).map_err(|e| convert(&self.path, e))?;
        let kind = Kind::of(set.dtype())
            .and_then(|kind| match set.raw_datatype() {
                Ok(raw) => kind.check_layout(&raw),
                Err(e) => Err(e.to_string()),
            })
            .map_err(|what| Error::Unsupported { what: format!("{}: {path} of {what}", self.path.display()) })?;
        Ok(Data { file: self.path.clone(), set, dims, kind, budget: self.budget, _opened: self.opened.clone() })
    }

    fn dataset(&self, path: &str) -> Result<Dataset, Error> {
        self.file.dataset(path).map_err(|e| match innermost(&e) {
            Fault::DatasetNotFound(_) | Fault::GroupNotFound(_) => {
                let failed = lock(&self.opened.failed);
                let links: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                let note = if links.is_empty() { "" } else { "; external links that lead nowhere: " };
                let got = format!("{path:?} in {}{note}{}", self.path.display(), links.join(", "));
                Error::param("path", got, "the name of an object in the file")
            }
            _ => convert(&self.path, e),
        })
    }
}

/// The descent of [`Hdf5::list`].
struct Walk<'a> {
    file: &'a Hdf5,
    objects: Vec<Object>,
    /// Storage and header address of the groups that have been entered.
    entered: HashSet<(usize, u64)>,
    /// Keeps the storages alive whose addresses are in `entered`.
    keep: Vec<Group>,
}

impl Walk<'_> {
    fn group(&mut self, group: &Group, path: &str, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Unsupported { what: format!("HDF5 groups nested deeper than {MAX_DEPTH}, at {path}") });
        }
        let storage = std::ptr::from_ref(group.storage()).cast::<u8>() as usize;
        if !self.entered.insert((storage, group.address())) {
            return Ok(());
        }
        self.keep.push(group.clone());
        // A member that cannot be opened spoils the library's listing, not ours.
        let names = match group.member_names() {
            Ok((groups, sets)) => sets.into_iter().chain(groups).collect(),
            Err(_) => hdf5_links::names(group).map_err(|e| convert(&self.file.path, e))?,
        };
        for name in names {
            let path = format!("{path}/{name}");
            let (kind, attributes, child) = match group.dataset(&name).and_then(|set| describe(&set)) {
                Ok((kind, attributes)) => (kind, attributes, None),
                Err(_) if group.group(&name).is_ok() => {
                    let child = group.group(&name).map_err(|e| convert(&self.file.path, e))?;
                    let attributes = child.attributes().map_err(|e| convert(&self.file.path, e))?;
                    (ObjectKind::Group, attributes.into_iter().map(attribute).collect(), Some(child))
                }
                Err(e) => (ObjectKind::Unreadable { reason: e.to_string() }, Vec::new(), None),
            };
            self.push(Object { path: path.clone(), kind, attributes })?;
            if let Some(child) = child {
                self.group(&child, &path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, object: Object) -> Result<(), Error> {
        if self.objects.len() >= MAX_OBJECTS {
            return Err(Error::Unsupported { what: format!("HDF5 files of more than {MAX_OBJECTS} objects") });
        }
        self.objects.push(object);
        Ok(())
    }
}

fn describe(set: &Dataset) -> Result<(ObjectKind, Vec<(String, Attribute)>), Fault> {
    let dtype = match Kind::of(set.dtype()) {
        Ok(kind) => kind.name().to_string(),
        Err(other) => other,
    };
    let chunks = set.chunks().map(|c| c.iter().map(|&n| n as usize).collect());
    let attributes = set.attributes().into_iter().map(attribute).collect();
    Ok((ObjectKind::Dataset { dims: dims_of(set)?, dtype, chunks }, attributes))
}

/// The dimensions as `usize`. An empty data space is listed as one axis of length 0.
fn dims_of(set: &Dataset) -> Result<Vec<usize>, Fault> {
    if set.ndim() == 0 && set.num_elements()? == 0 {
        return Ok(vec![0]);
    }
    // An axis of length 0 must not hide an overflow of the others; 16 bytes are the longest element.
    let bytes = set.shape().iter().try_fold(16u64, |n, &d| n.checked_mul(d.max(1)));
    if bytes.and_then(|n| usize::try_from(n).ok()).is_none() {
        return Err(Fault::InvalidData(format!("dimensions {:?} overflow", set.shape())));
    }
    Ok(set.shape().iter().map(|&d| d as usize).collect())
}

fn check_budget(budget: u64, dims: &[usize], element: usize) -> Result<(), Error> {
    let needed = (checked_len(dims)? as u64).saturating_mul(element as u64);
    Limits { bytes: budget }.check(needed)
}

/// An open data set of numbers.
pub(crate) struct Data {
    file: PathBuf,
    set: Dataset,
    pub(crate) dims: Vec<usize>,
    pub(crate) kind: Kind,
    budget: u64,
    /// External files stay open as long as the set is read.
    _opened: Arc<Opened>,
}

/// Bytes of an element, whatever they mean.
#[derive(Clone)]
struct Raw<const N: usize>([u8; N]);

impl<const N: usize> H5Type for Raw<N> {
    fn hdf5_type() -> hdf5_reader::Datatype {
        hdf5_reader::Datatype::Opaque { size: N as u32, tag: String::new() }
    }

    fn from_bytes(bytes: &[u8], _: &hdf5_reader::Datatype) -> Result<Self, Fault> {
        let bytes = bytes.try_into().map_err(|_| Fault::InvalidData(format!("{} bytes, not {N}", bytes.len())))?;
        Ok(Raw(bytes))
    }

    fn element_size(_: &hdf5_reader::Datatype) -> usize {
        N
    }
}

impl Data {
    /// Reads a part, or everything, into an array of dimensions `dims`.
    pub(crate) fn read(&self, part: Option<&[Range<usize>]>, dims: &[usize]) -> Result<Array, Error> {
        check_budget(self.budget, dims, self.kind.size())?;
        let result = match self.kind.plain() {
            Some("u1") => self.typed::<u8>(part, dims),
            Some("i1") => self.typed::<i8>(part, dims),
            Some("u2") => self.typed::<u16>(part, dims),
            Some("i2") => self.typed::<i16>(part, dims),
            Some("u4") => self.typed::<u32>(part, dims),
            Some("i4") => self.typed::<i32>(part, dims),
            Some("u8") => self.typed::<u64>(part, dims),
            Some("i8") => self.typed::<i64>(part, dims),
            Some("f4") => self.typed::<f32>(part, dims),
            Some("f8") => self.typed::<f64>(part, dims),
            _ => self.bytes(part).map(|bytes| self.kind.decode(dims, &bytes)),
        };
        result.map_err(|e| convert(&self.file, e))?
    }

    fn typed<E: NpyElement + H5Type>(
        &self,
        part: Option<&[Range<usize>]>,
        dims: &[usize],
    ) -> Result<Result<Array, Error>, Fault> {
        Ok(Tensor::from_vec(dims, self.elements::<E>(part)?).map(E::array))
    }

    fn elements<E: H5Type>(&self, part: Option<&[Range<usize>]>) -> Result<Vec<E>, Fault> {
        let array = match part {
            None => self.set.read_array::<E>()?,
            Some(ranges) => {
                let selections = ranges
                    .iter()
                    .map(|r| SliceInfoElem::Slice { start: r.start as u64, end: r.end as u64, step: 1 })
                    .collect();
                self.set.read_slice::<E>(&SliceInfo { selections })?
            }
        };
        if array.is_standard_layout() {
            Ok(array.into_raw_vec_and_offset().0)
        } else {
            Ok(array.iter().cloned().collect())
        }
    }

    fn bytes(&self, part: Option<&[Range<usize>]>) -> Result<Vec<u8>, Fault> {
        fn flat<const N: usize>(elements: Vec<Raw<N>>) -> Vec<u8> {
            elements.into_iter().flat_map(|e| e.0).collect()
        }
        match (part, self.kind.size()) {
            (None, _) => self.set.read_raw_bytes(),
            (_, 1) => self.elements::<Raw<1>>(part).map(flat),
            (_, 2) => self.elements::<Raw<2>>(part).map(flat),
            (_, 4) => self.elements::<Raw<4>>(part).map(flat),
            (_, 8) => self.elements::<Raw<8>>(part).map(flat),
            (_, 16) => self.elements::<Raw<16>>(part).map(flat),
            (_, n) => Err(Fault::UnsupportedEncoding(format!("elements of {n} bytes"))),
        }
    }
}

/// The fault itself, without the names of the objects around it.
fn innermost(e: &Fault) -> &Fault {
    match e {
        Fault::Context { source, .. } => innermost(source),
        e => e,
    }
}

/// The library's error as ours: what it does not know is unsupported, the rest a fault of the file.
fn convert(path: &Path, e: Fault) -> Error {
    let offset = match innermost(&e) {
        Fault::UnexpectedEof { offset, .. } | Fault::OffsetOutOfBounds(offset) => *offset,
        _ => 0,
    };
    match innermost(&e) {
        Fault::Io(io) => Error::io(path, std::io::Error::new(io.kind(), e.to_string())),
        Fault::UnsupportedFilter(_)
        | Fault::UnsupportedEncoding(_)
        | Fault::UnsupportedLayoutClass(_)
        | Fault::UnsupportedDatatypeClass(_)
        | Fault::UnsupportedLinkType(_) => Error::Unsupported { what: format!("{}: HDF5: {e}", path.display()) },
        _ => Error::format("hdf5", path, offset, e),
    }
}
