//! The one place where a file becomes memory.
//!
//! Mapping saves a copy and lets the system keep a large file in its cache across programs. It is opt-in, because it
//! trusts whoever else has the file open: a file that is cut short while it is mapped (by an acquisition program that
//! starts anew, say) kills the process at the next access, and one that is rewritten gives a mixture of old and new
//! values. Positioned reads, the default, give an error instead.
#![allow(unsafe_code)]

use std::fs::File;

use memmap2::Mmap;

/// Maps a whole file for reading.
///
/// # Errors
/// The system's.
pub(crate) fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private to this process, and its bytes are only ever copied out of it as
    // plain numbers, for which every bit pattern is a value. That nobody else shortens or rewrites the file meanwhile
    // is the caller's duty, which every public function that leads here states.
    unsafe { Mmap::map(file) }
}
