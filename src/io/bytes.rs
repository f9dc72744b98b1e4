//! The bytes of a data set: one file or several in a row, and a reader of headers over them.

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::io::file::FileAt;

/// Files one behind the other, addressed as one.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    /// Address of the first byte, and file.
    parts: Vec<(u64, Arc<FileAt>)>,
    len: u64,
}

impl Bytes {
    pub(crate) fn new(file: FileAt) -> Self {
        let len = file.len();
        Bytes { parts: vec![(0, Arc::new(file))], len }
    }

    /// Adds a file behind the others; its first byte has the address that is returned.
    pub(crate) fn push(&mut self, file: FileAt) -> u64 {
        let start = self.len;
        self.len = self.len.saturating_add(file.len());
        self.parts.push((start, Arc::new(file)));
        start
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Name of the first file.
    pub(crate) fn path(&self) -> &Path {
        self.parts[0].1.path()
    }

    /// Fills `out` from address `at`.
    ///
    /// # Errors
    /// [`Error::Io`]; beyond the end an unexpected end of file.
    pub(crate) fn read_at(&self, mut at: u64, mut out: &mut [u8]) -> Result<(), Error> {
        let mut k = self.parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        loop {
            let (start, file) = &self.parts[k];
            let left = (start + file.len()).saturating_sub(at);
            if out.len() as u64 <= left || k + 1 == self.parts.len() {
                return file.read_exact_at(at - start, out);
            }
            let (now, rest) = out.split_at_mut(left as usize);
            file.read_exact_at(at - start, now)?;
            at += left;
            out = rest;
            k += 1;
        }
    }

    /// `len` bytes from `at`, or as many as there are.
    pub(crate) fn head(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let n = (len as u64).min(self.len.saturating_sub(at)) as usize;
        let mut out = vec![0; n];
        self.read_at(at, &mut out)?;
        Ok(out)
    }
}

/// Byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    /// Whether bytes must be reversed to become native.
    pub(crate) fn swapped(self) -> bool {
        (self == Order::Big) != cfg!(target_endian = "big")
    }
}

/// Bytes that are fetched at once.
const WINDOW: usize = 1 << 16;

/// Reads a header: numbers one behind the other, each checked against the end of the file.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    format: &'static str,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Byte order of the numbers that follow.
    pub(crate) order: Order,
}

macro_rules! numbers {
    ($($name:ident: $t:ty),+) => { $(
        pub(crate) fn $name(&mut self) -> Result<$t, Error> {
            let mut b = [0; size_of::<$t>()];
            self.fill(&mut b)?;
            Ok(match self.order {
                Order::Little => <$t>::from_le_bytes(b),
                Order::Big => <$t>::from_be_bytes(b),
            })
        }
    )+ };
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a Bytes, format: &'static str, order: Order) -> Self {
        Reader { bytes, format, at: 0, window: Vec::new(), window_at: 0, order }
    }

    numbers!(u8: u8, u16: u16, u32: u32, u64: u64, i8: i8, i16: i16, i32: i32, i64: i64, f32: f32, f64: f64);

    /// The address of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Goes to an address, which may lie behind the end.
    pub(crate) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Leaves bytes out.
    pub(crate) fn skip(&mut self, n: u64) -> Result<(), Error> {
        self.at = self.at.checked_add(n).filter(|&at| at <= self.bytes.len()).ok_or_else(|| self.ends(n))?;
        Ok(())
    }

    /// A format error at the current address.
    pub(crate) fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        Error::format(self.format, self.bytes.path(), self.at, reason)
    }

    fn ends(&self, n: u64) -> Error {
        self.wrong(format!("{n} bytes wanted, the file has {}", self.bytes.len()))
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let n = out.len() as u64;
        if self.at.checked_add(n).is_none_or(|end| end > self.bytes.len()) {
            return Err(self.ends(n));
        }
        let within = self.at >= self.window_at && self.at + n <= self.window_at + self.window.len() as u64;
        if !within {
            if out.len() > WINDOW {
                self.bytes.read_at(self.at, out)?;
                self.at += n;
                return Ok(());
            }
            self.window.resize(WINDOW.min((self.bytes.len() - self.at) as usize), 0);
            self.bytes.read_at(self.at, &mut self.window)?;
            self.window_at = self.at;
        }
        let start = (self.at - self.window_at) as usize;
        out.copy_from_slice(&self.window[start..start + out.len()]);
        self.at += n;
        Ok(())
    }

    /// `n` bytes; asked for only when the file has them.
    pub(crate) fn take(&mut self, n: usize) -> Result<Vec<u8>, Error> {
        if self.at.checked_add(n as u64).is_none_or(|end| end > self.bytes.len()) {
            return Err(self.ends(n as u64));
        }
        let mut out = crate::shape::try_zeroed(n)?;
        self.fill(&mut out)?;
        Ok(out)
    }

    /// `n` bytes of text, up to the first zero, without the blanks around it. Bytes that are no UTF-8 are taken as
    /// Latin-1.
    pub(crate) fn text(&mut self, n: usize) -> Result<String, Error> {
        Ok(text(&self.take(n)?))
    }
}

/// Bytes as text, up to the first zero, without the blanks around it; Latin-1 where they are no UTF-8.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    latin1(&bytes[..end]).trim().to_string()
}

/// Bytes as UTF-8, else as Latin-1.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(s) => s.to_string(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_the_files() {
        let mut bytes = Bytes::new(FileAt::memory(Path::new("a"), vec![0, 1, 2]));
        assert_eq!(bytes.push(FileAt::memory(Path::new("b"), vec![3])), 3);
        bytes.push(FileAt::memory(Path::new("c"), vec![4, 5, 6]));
        let mut out = [0; 5];
        bytes.read_at(1, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 5]);
        assert!(bytes.read_at(3, &mut out).is_err());
        assert_eq!(bytes.head(5, 10).unwrap(), [5, 6]);
    }

    #[test]
    fn the_reader_stops_at_the_end() {
        let bytes = Bytes::new(FileAt::memory(Path::new("a"), vec![1, 0, 0, 0, 2]));
        let mut r = Reader::new(&bytes, "test", Order::Little);
        assert_eq!(r.u32().unwrap(), 1);
        assert!(matches!(r.u16(), Err(Error::Format { offset: 4, .. })));
        assert_eq!(r.u8().unwrap(), 2);
        assert!(r.take(usize::MAX).is_err());
    }
}
