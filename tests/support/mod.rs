//! Where the tests find data that is not part of the repository.

use std::path::{Path, PathBuf};

/// The file or folder `relative` (such as `"oracle/ctf/ctf_2d.json"` or `"data/hrtem"`) in the folder named by
/// `EXITWAVE_DATA`, else in `shared` beside the repository.
///
/// Absent, the caller returns: the test says that it was skipped. With `EXITWAVE_REQUIRE_DATA=1` absence is a failure.
///
/// # Panics
/// If the file is required and absent.
pub fn data(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EXITWAVE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("EXITWAVE_REQUIRE_DATA").is_ok_and(|v| v == "1");
    assert!(!required, "{} is required (EXITWAVE_REQUIRE_DATA=1) and absent", path.display());
    eprintln!("skipped: {relative} is absent (set EXITWAVE_DATA)");
    None
}
