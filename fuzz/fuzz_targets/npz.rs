#![no_main]
//! No archive panics, hangs or takes more memory than its length allows.

use exitwave::io::npz::Npz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Npz::parse(bytes.to_vec()) else { return };
    for name in file.names() {
        let _ = file.get(name);
    }
});
