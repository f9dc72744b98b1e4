#![no_main]
//! No HDF5 file panics, hangs or takes more memory than the limit.

use exitwave::io::hdf5::{Hdf5, Hdf5Frames, ObjectKind};
use exitwave::shape::Limits;
use exitwave::source::FrameSource;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Hdf5::parse_with(bytes.to_vec(), Limits { bytes: 1 << 24 }) else { return };
    for object in file.list().unwrap_or_default().iter().take(64) {
        let ObjectKind::Dataset { dims, .. } = &object.kind else { continue };
        let _ = file.read(&object.path);
        let _ = file.read_strings(&object.path);
        let _ = file.read_part(&object.path, &dims.iter().map(|&d| d / 2..d).collect::<Vec<_>>());
        if let Ok(frames) = Hdf5Frames::new(&file, &object.path)
            && frames.frame_len() < 1 << 20
        {
            let _ = frames.read_frames(0, &mut vec![0.0; frames.frame_len()]);
        }
    }
});
