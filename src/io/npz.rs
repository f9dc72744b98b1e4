//! The `npz` format: a ZIP archive of npy files, one a name.
//!
//! Entries may be stored or deflated. What an entry claims to unpack to is compared with what its compressed bytes can
//! hold (deflate expands at most 1032 times) before memory is allocated, so that a small file cannot ask for a large
//! array.
//!
//! # References
//! ZIP: PKWARE APPNOTE 6.3; deflate: RFC 1951; the largest expansion is that of a run of 258-byte matches of 2 bits.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::Error;
use crate::io::array::{Array, ArrayRef};
use crate::io::file::replace;
use crate::io::npy::{Header, header_bytes, read_from, read_header};
use crate::shape::Limits;

/// Largest expansion of deflate: 258 bytes from 2 bits.
const DEFLATE_EXPANSION: u64 = 1032;

trait ReadSeek: Read + Seek + Send {}
impl<R: Read + Seek + Send> ReadSeek for R {}

/// An open npz file.
///
/// ```
/// use exitwave::io::npz::{self, Npz};
/// use exitwave::tensor::Tensor;
/// let path = std::env::temp_dir().join(format!("exitwave-doc-{}.npz", std::process::id()));
/// let (a, b) = (Tensor::<f32>::zeros(&[2, 3]), Tensor::<u16>::zeros(&[4]));
/// npz::write(&path, &[("image", (&a).into()), ("counts", (&b).into())])?;
///
/// let file = Npz::open(&path)?;
/// assert_eq!(file.names(), ["image", "counts"]);
/// assert_eq!(file.get("image")?.into_real::<f64>()?.dims(), &[2, 3]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub struct Npz {
    path: PathBuf,
    names: Vec<String>,
    limits: Limits,
    archive: Mutex<ZipArchive<Box<dyn ReadSeek>>>,
}

impl std::fmt::Debug for Npz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Npz").field("path", &self.path).field("names", &self.names).finish_non_exhaustive()
    }
}

impl Npz {
    /// Opens a file and reads its table of contents.
    ///
    /// # Errors
    /// - [`Error::Io`] when the file cannot be read,
    /// - [`Error::Format`] when it is no ZIP archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Npz::open_with(path, Limits::default())
    }

    /// Opens a file of which no array may need more memory than `limits`.
    ///
    /// # Errors
    /// As [`Npz::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Npz::new(path.to_path_buf(), Box::new(BufReader::new(file)), limits)
    }

    /// Reads the table of contents of an archive in memory.
    ///
    /// # Errors
    /// [`Error::Format`] when the bytes are no ZIP archive.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        Npz::new(PathBuf::new(), Box::new(Cursor::new(bytes)), Limits::default())
    }

    fn new(path: PathBuf, input: Box<dyn ReadSeek>, limits: Limits) -> Result<Self, Error> {
        let archive = ZipArchive::new(input).map_err(|e| zip_error(e, &path))?;
        let mut names = Vec::new();
        for name in archive.file_names() {
            let name = name.map_err(|e| zip_error(e, &path))?;
            names.extend(name.strip_suffix(".npy").map(str::to_string));
        }
        Ok(Npz { path, names, limits, archive: Mutex::new(archive) })
    }

    /// The names of the arrays, in the order of the archive, without the ending `.npy`. Other entries are left out.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is an array of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Reads one array.
    ///
    /// # Errors
    /// - [`Error::Param`] when there is no array of this name,
    /// - [`Error::Format`] when the entry is malformed, its checksum wrong, or it claims more than its bytes can hold;
    ///   the path is that of the file, a colon and the entry,
    /// - [`Error::OverBudget`] when it exceeds the limits,
    /// - as [`crate::io::npy::read`].
    pub fn get(&self, name: &str) -> Result<Array, Error> {
        self.entry(name, |entry, size, path| {
            let array = read_from(entry, size, path, &self.limits)?;
            // The end of the entry must be met: there its checksum is compared.
            match entry.read(&mut [0]) {
                Ok(0) => Ok(array),
                Ok(_) => Err(Error::format("npz", path, size, "bytes behind the array")),
                Err(e) => Err(Error::format("npz", path, size, e)),
            }
        })
    }

    /// The header of one array: its elements are not read.
    pub(crate) fn header(&self, name: &str) -> Result<Header, Error> {
        self.entry(name, |entry, size, path| read_header(entry, size, path))
    }

    /// Opens an entry and hands it over with its length and its name.
    fn entry<R>(
        &self,
        name: &str,
        read: impl FnOnce(&mut dyn Read, u64, &Path) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if !self.contains(name) {
            return Err(Error::param("name", format!("{name:?}"), "the name of an array in the npz file"));
        }
        let entry_name = format!("{name}.npy");
        let mut entry_path = self.path.clone().into_os_string();
        entry_path.push(format!(":{entry_name}"));
        let entry_path = PathBuf::from(entry_path);

        let mut archive = self.archive.lock().unwrap_or_else(|e| e.into_inner());
        let mut entry = archive.by_name(&entry_name).map_err(|e| zip_error(e, &entry_path))?;
        let expansion = match entry.compression() {
            CompressionMethod::Stored => 1,
            CompressionMethod::Deflated => DEFLATE_EXPANSION,
            other => return Err(Error::Unsupported { what: format!("ZIP compression {other:?}") }),
        };
        let (size, compressed) = (entry.size(), entry.compressed_size());
        if size > compressed.saturating_mul(expansion) {
            let reason = format!("{compressed} bytes cannot unpack to the {size} that the archive declares");
            return Err(Error::format("npz", entry_path, 0, reason));
        }
        read(&mut entry, size, &entry_path)
    }
}

/// Faults of the archive are faults of the format, whatever the library calls them.
fn zip_error(e: ZipError, path: &Path) -> Error {
    match e {
        ZipError::Io(e) if e.kind() != std::io::ErrorKind::UnexpectedEof && e.raw_os_error().is_some() => {
            Error::io(path, e)
        }
        ZipError::UnsupportedArchive(what) => Error::Unsupported { what: format!("ZIP archive: {what}") },
        ZipError::CompressionMethodNotSupported(id) => {
            Error::Unsupported { what: format!("ZIP compression method {id}") }
        }
        e => Error::format("npz", path, 0, e),
    }
}

/// Writes arrays, uncompressed; the file appears under its name when it is complete.
///
/// # Errors
/// - [`Error::Param`] when a name is empty or occurs twice,
/// - [`Error::Io`] when the file cannot be written.
pub fn write(path: impl AsRef<Path>, arrays: &[(&str, ArrayRef<'_>)]) -> Result<(), Error> {
    write_entries(path.as_ref(), arrays, CompressionMethod::Stored)
}

/// Writes arrays, deflated; for counts, labels and masks.
///
/// # Errors
/// As [`write()`].
pub fn write_compressed(path: impl AsRef<Path>, arrays: &[(&str, ArrayRef<'_>)]) -> Result<(), Error> {
    write_entries(path.as_ref(), arrays, CompressionMethod::Deflated)
}

fn write_entries(path: &Path, arrays: &[(&str, ArrayRef<'_>)], method: CompressionMethod) -> Result<(), Error> {
    for (i, (name, _)) in arrays.iter().enumerate() {
        if name.is_empty() || arrays[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::param("name", format!("{name:?}"), "a name that is not empty and occurs once"));
        }
    }
    let failed = |e| match e {
        ZipError::Io(e) => Error::io(path, e),
        e => Error::io(path, std::io::Error::other(e)),
    };
    replace(path, |out| {
        let mut zip = ZipWriter::new(out);
        for &(name, array) in arrays {
            let head = header_bytes(array)?;
            let large = (head.len() + array.bytes.len()) as u64 >= u64::from(u32::MAX);
            let options = SimpleFileOptions::default().compression_method(method).large_file(large);
            zip.start_file(format!("{name}.npy"), options).map_err(failed)?;
            zip.write_all(&head).and_then(|()| zip.write_all(array.bytes)).map_err(|e| Error::io(path, e))?;
        }
        zip.finish().map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;
    use CompressionMethod::{Deflated, Stored};

    fn sample(dir: &Path, method: CompressionMethod) -> PathBuf {
        let path = dir.join("a.npz");
        let (a, b) = (Tensor::from_fn(&[3, 4], |i| (i[0] * 4 + i[1]) as f64), Tensor::<u8>::full(&[5000], 7));
        write_entries(&path, &[("a", (&a).into()), ("folder/b", (&b).into())], method).unwrap();
        path
    }

    #[test]
    fn archives_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        for method in [Stored, Deflated] {
            let npz = Npz::open(sample(dir.path(), method)).unwrap();
            assert_eq!(npz.names(), ["a", "folder/b"]);
            let a = npz.get("a").unwrap().into_real::<f64>().unwrap();
            assert_eq!((a.dims(), a.as_slice()[11]), (&[3, 4][..], 11.0));
            assert_eq!(npz.get("folder/b").unwrap(), Array::U8(Tensor::full(&[5000], 7)));
            assert!(matches!(npz.get("c"), Err(Error::Param { .. })));
        }
    }

    #[test]
    fn names_must_be_unique() {
        let dir = tempfile::tempdir().unwrap();
        let t = Tensor::<u8>::zeros(&[1]);
        for names in [["a", "a"], ["", "a"]] {
            let arrays = names.map(|n| (n, ArrayRef::from(&t)));
            assert!(matches!(write(dir.path().join("a.npz"), &arrays), Err(Error::Param { .. })));
        }
    }

    #[test]
    fn the_limit_holds_for_what_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path(), Deflated);
        let npz = Npz::open_with(path, Limits { bytes: 1000 }).unwrap();
        assert!(npz.get("a").is_ok());
        assert!(matches!(npz.get("folder/b"), Err(Error::OverBudget { needed: 5000, budget: 1000 })));
    }

    #[test]
    fn no_truncation_panics() {
        let dir = tempfile::tempdir().unwrap();
        for method in [Stored, Deflated] {
            let whole = std::fs::read(sample(dir.path(), method)).unwrap();
            // The stored array is long; beyond the first kilobyte every 37th length will do.
            for n in (0..whole.len()).filter(|n| *n < 1000 || n % 37 == 0 || whole.len() - n < 200) {
                if let Ok(npz) = Npz::parse(whole[..n].to_vec()) {
                    for name in npz.names() {
                        let _ = npz.get(name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_the_elements_is_found_by_the_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(sample(dir.path(), Stored)).unwrap();
        let at = bytes.windows(64).position(|w| w == [7; 64]).unwrap();
        bytes[at] ^= 1;
        assert!(matches!(Npz::parse(bytes).unwrap().get("folder/b"), Err(Error::Format { .. })));
    }

    #[test]
    fn a_declared_size_beyond_what_deflate_can_give_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(sample(dir.path(), Deflated)).unwrap();
        // The size of the second entry in the central directory: 24 bytes into the record that bears its name.
        let name = bytes.windows(12).rposition(|w| w == b"folder/b.npy").unwrap();
        bytes[name - 46 + 24..name - 46 + 28].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
        let e = Npz::parse(bytes).unwrap().get("folder/b").unwrap_err();
        assert!(e.to_string().contains("cannot unpack"), "{e}");
    }
}
