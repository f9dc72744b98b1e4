#![no_main]
//! What is read from any bytes can be written and comes back.

use exitwave::io::{Array, npy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Array::U16(tensor)) = npy::parse(bytes) {
        let written = npy::to_bytes(&tensor).expect("it was read, it can be written");
        assert_eq!(npy::parse(&written).expect("our own file"), Array::U16(tensor));
    }
});
