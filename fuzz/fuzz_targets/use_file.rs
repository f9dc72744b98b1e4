//! What every target of a format does with its bytes: open, look at everything, read the corners of the sets.

use exitwave::io::{self, DataFile, OpenParams};
use exitwave::shape::Limits;
use exitwave::source::FrameSource;

#[allow(dead_code)]
pub fn use_file(name: &str, bytes: &[u8]) {
    if let Ok(file) = io::parse(name, bytes.to_vec(), params()) {
        look(&file);
    }
}

pub fn params() -> OpenParams {
    OpenParams { limits: Limits { bytes: 1 << 24 }, ..OpenParams::default() }
}

pub fn look(file: &DataFile) {
    let _ = file.metadata().to_json();
    for k in 0..file.sets().len().min(16) {
        let dims = file.info(k).expect("listed").dims.clone();
        let _ = file.read(k);
        let _ = file.read_part(k, &dims.iter().map(|&n| n / 2..n).collect::<Vec<_>>());
        let _ = file.spectrum_image::<f32>(k);
        if let Ok(scan) = file.scan(k)
            && scan.frames.frame_len() < 1 << 20
        {
            let _ = scan.calibration();
            let _ = scan.frames.read_frames(0, &mut vec![0.0; scan.frames.frame_len()]);
        }
    }
}
