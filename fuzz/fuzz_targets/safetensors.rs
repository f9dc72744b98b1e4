#![no_main]
//! What is read from any bytes can be written and comes back.

use exitwave::io::safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(arrays) = safetensors::parse(bytes) {
        let refs: Vec<_> = arrays.iter().map(|(name, array)| (name.as_str(), array.into())).collect();
        let written = safetensors::to_bytes(&refs).expect("it was read, it can be written");
        assert_eq!(safetensors::parse(&written).expect("our own file").len(), arrays.len());
    }
});
