#![no_main]
//! No file of this format panics, hangs or takes more memory than the limit.

use libfuzzer_sys::fuzz_target;

mod use_file;

fuzz_target!(|bytes: &[u8]| use_file::use_file("a.mrc", bytes));
