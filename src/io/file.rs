//! Files at the level of bytes: whole-file replacement and reads at a position.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Writes a file under a temporary name in the same folder and renames it when it is complete: a failure leaves the old
/// file, or none, never a half-written one.
///
/// # Errors
/// [`Error::Io`], and whatever `write` gives.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Error>) -> Result<(), Error> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let failed = |e| Error::io(path, e);
    let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;

    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut part_name = std::ffi::OsString::from(".");
    part_name.push(name);
    part_name.push(format!(".{}-{number}.part", std::process::id()));
    let part = Part(path.with_file_name(part_name));

    let mut out = BufWriter::new(File::create_new(&part.0).map_err(failed)?);
    write(&mut out)?;
    out.flush().map_err(failed)?;
    out.get_ref().sync_data().map_err(failed)?;
    drop(out);
    fs::rename(&part.0, path).map_err(failed)?;
    Ok(())
}

/// The unfinished file; dropping it removes what was written. After the rename there is nothing left to remove.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// An open file that several threads may read at positions of their own.
#[derive(Debug)]
pub(crate) struct FileAt {
    path: PathBuf,
    len: u64,
    input: Input,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Input {
    #[cfg(unix)]
    File(File),
    #[cfg(not(unix))]
    File(std::sync::Mutex<File>),
    Mapped(memmap2::Mmap),
    Memory(Vec<u8>),
}

impl FileAt {
    /// Opens for positioned reads and notes the length.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let len = file.metadata().map_err(|e| Error::io(path, e))?.len();
        #[cfg(not(unix))]
        let file = std::sync::Mutex::new(file);
        Ok(FileAt { path: path.to_path_buf(), len, input: Input::File(file) })
    }

    /// Opens and maps the file; see [`super::mapping`] for what that entails.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open_mapped(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let map = super::mapping::map(&file).map_err(|e| Error::io(path, e))?;
        Ok(FileAt { path: path.to_path_buf(), len: map.len() as u64, input: Input::Mapped(map) })
    }

    /// Bytes in memory, as if they were a file of this name.
    pub(crate) fn memory(path: &Path, bytes: Vec<u8>) -> Self {
        FileAt { path: path.to_path_buf(), len: bytes.len() as u64, input: Input::Memory(bytes) }
    }

    /// The file's name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` from byte `offset`.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that has become shorter gives an unexpected end of file.
    pub(crate) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        match &self.input {
            Input::File(file) => read_exact_at(file, offset, out),
            Input::Mapped(map) => copy_at(map, offset, out),
            Input::Memory(bytes) => copy_at(bytes, offset, out),
        }
        .map_err(|e| Error::io(&self.path, e))
    }
}

fn copy_at(map: &[u8], offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    let start = usize::try_from(offset).ok();
    let bytes = start.and_then(|start| map.get(start..start.checked_add(out.len())?));
    out.copy_from_slice(bytes.ok_or(std::io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(not(unix))]
fn read_exact_at(file: &std::sync::Mutex<File>, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = file.lock().unwrap_or_else(|e| e.into_inner());
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        replace(&path, |w| w.write_all(b"old").map_err(|e| Error::io("", e))).unwrap();
        let failed = replace(&path, |w| {
            w.write_all(b"half").map_err(|e| Error::io("", e))?;
            Err(Error::Unsupported { what: "the rest".into() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        replace(&path, |w| w.write_all(b"new").map_err(|e| Error::io("", e))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let e = replace(&dir.path().join("absent/a.bin"), |_| Ok(())).unwrap_err();
        assert!(e.to_string().contains("a.bin"), "{e}");
    }

    #[test]
    fn reads_at_a_position_check_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        fs::write(&path, b"0123456789").unwrap();
        for file in [FileAt::open(&path).unwrap(), FileAt::open_mapped(&path).unwrap()] {
            assert_eq!(file.len(), 10);
            let mut out = [0; 3];
            file.read_exact_at(7, &mut out).unwrap();
            assert_eq!(&out, b"789");
            for beyond in [8, u64::MAX] {
                assert!(matches!(file.read_exact_at(beyond, &mut out), Err(Error::Io { .. })));
            }
        }
    }
}
