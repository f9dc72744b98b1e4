#![no_main]
//! No Zarr store panics, hangs or takes more memory than the limit: a description and one chunk, put where either version
//! looks for them.

use exitwave::io;
use libfuzzer_sys::fuzz_target;

mod use_file;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let mut parts = rest.splitn(2, |&b| b == 0);
    let (text, chunk) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let folder = std::env::temp_dir().join(format!("exitwave-zarr-{}", std::process::id()));
    let (name, first) = if kind % 2 == 0 { (".zarray", "0.0") } else { ("zarr.json", "c/0/0") };
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("c/0")).expect("a folder for temporary files");
    std::fs::write(folder.join(name), text).expect("a temporary file");
    std::fs::write(folder.join(first), chunk).expect("a temporary file");
    if let Ok(file) = io::open_with(&folder, use_file::params()) {
        use_file::look(&file);
    }
});
