//! `io`.

use exitwave::Error;
use exitwave::io::hdf5::{Attribute, Hdf5, Hdf5Frames, ObjectKind};
use exitwave::io::npz::Npz;
use exitwave::io::{Array, npy};
use exitwave::source::FrameSource;

use crate::support::data;

/// Compares a data set with its npy twin; types that are converted on reading become those of the twin on reading.
fn same_as_twin(case: &str, name: &str) {
    let (Some(h5), Some(twin)) =
        (data(&format!("data/formats/hdf5_cases/{case}.h5")), data(&format!("data/formats/hdf5_cases/{case}.npy")))
    else {
        return;
    };
    let expected = npy::read(twin).unwrap();
    let file = Hdf5::open(&h5).unwrap();
    assert_eq!(file.read(name).unwrap(), expected, "{case}");

    // A part in the middle is that part of the whole.
    let dims = expected.dims().to_vec();
    let ranges: Vec<_> = dims.iter().map(|&d| d / 3..d - d / 4).collect();
    let part = file.read_part(name, &ranges).unwrap().into_complex::<f64>().unwrap();
    let whole = expected.into_complex::<f64>().unwrap();
    let mut flat = 0;
    for (index, value) in whole.as_slice().iter().enumerate() {
        let mut rest = index;
        let inside = dims.iter().zip(&ranges).rev().all(|(&d, r)| {
            let i = rest % d;
            rest /= d;
            r.contains(&i)
        });
        if inside {
            let got = part.as_slice()[flat];
            assert!(got == *value || (got.is_nan() && value.is_nan()), "{case} at {index}: {got} and {value}");
            flat += 1;
        }
    }
    assert_eq!(flat, part.len(), "{case}");
}

#[test]
fn plain_layouts_read_as_their_twins() {
    for case in ["contiguous_f32", "contiguous_be_u16", "latest_fixed_array", "resizable"] {
        same_as_twin(case, "/data");
    }
}

#[test]
fn filters_read_as_their_twins() {
    for case in ["chunked_gzip_shuffle", "fletcher32", "scaleoffset_gzip_latest", "chunked_lzf", "lz4"] {
        same_as_twin(case, "/data");
    }
    for case in ["bitshuffle_lz4", "bitshuffle_lz4_u32"] {
        same_as_twin(case, "/data");
    }
}

#[test]
fn converted_types_read_as_their_twins() {
    for case in ["compound_complex64", "float16", "int8_bool"] {
        same_as_twin(case, "/data");
    }
}

#[test]
fn external_links_are_followed_into_files_of_the_folder() {
    for name in ["/entry/data/data_000001", "soft"] {
        same_as_twin("external_master", name);
    }
}

#[test]
fn an_external_link_that_leads_nowhere_is_named() {
    let Some(path) = data("data/formats/hdf5_cases/external_master.h5") else { return };
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("alone.h5");
    std::fs::copy(path, &alone).unwrap();
    let file = Hdf5::open(&alone).unwrap();
    file.list().unwrap();
    let e = file.read("soft").unwrap_err().to_string();
    assert!(e.contains("external_data_000001.h5"), "{e}");
}

#[test]
fn every_case_can_be_listed() {
    let Some(folder) = data("data/formats/hdf5_cases") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "h5") {
            let objects = Hdf5::open(&path).unwrap().list().unwrap();
            let wanted = if path.ends_with("virtual.h5") {
                |k: &ObjectKind| matches!(k, ObjectKind::Unreadable { reason } if reason.contains("layout"))
            } else {
                |k: &ObjectKind| matches!(k, ObjectKind::Dataset { .. })
            };
            assert!(objects.iter().any(|o| wanted(&o.kind)), "{}: {objects:?}", path.display());
        }
    }
}

#[test]
fn virtual_sets_are_refused_as_unsupported() {
    let Some(path) = data("data/formats/hdf5_cases/virtual.h5") else { return };
    let e = Hdf5::open(path).unwrap().read("data").unwrap_err();
    assert!(matches!(e, Error::Unsupported { .. }), "{e}");
}

#[test]
fn attributes_are_text_and_numbers() {
    let Some(path) = data("data/formats/hdf5_cases/contiguous_f32.h5") else { return };
    let file = Hdf5::open(path).unwrap();
    assert_eq!(file.attribute("data", "units").unwrap().unwrap().text(), Some("A"));
    assert_eq!(file.attribute("data", "note").unwrap().unwrap().text(), Some("variable length \u{c5}"));
    let Some(Attribute::Array(scale)) = file.attribute("data", "scale").unwrap() else { panic!("no array") };
    assert_eq!(scale.into_real::<f64>().unwrap().as_slice(), &[0.5, 0.25]);
    assert_eq!(file.attribute("data", "absent").unwrap(), None);
    assert!(matches!(file.attributes("absent"), Err(Error::Param { .. })));
}

#[test]
fn frames_of_a_chunked_set_are_those_of_the_whole() {
    for case in ["chunked_gzip_shuffle", "contiguous_be_u16", "bitshuffle_lz4"] {
        let Some(path) = data(&format!("data/formats/hdf5_cases/{case}.h5")) else { return };
        let whole = Hdf5::open(&path).unwrap().read("data").unwrap().into_real::<f32>().unwrap();
        let source = Hdf5Frames::open(&path, "data").unwrap();
        assert_eq!(source.shape().as_slice(), whole.dims());
        let frame = source.frame_len();
        // Requests that begin and end within rows of the scan, and the whole.
        for (first, n) in [(0, 1), (3, 1), (3, 4), (4, 14), (0, source.frames()), (source.frames() - 2, 2)] {
            let mut out = vec![f32::NAN; n * frame];
            source.read_frames(first, &mut out).unwrap();
            assert_eq!(out, whole.as_slice()[first * frame..][..n * frame], "{case}, {n} frames from {first}");
        }
    }
}

#[test]
fn a_truncated_hdf5_file_is_an_error_or_valid_data() {
    // Compressed, contiguous and of the new kind; each cut at some hundred places.
    for case in ["compound_complex64", "resizable", "chunked_gzip_shuffle", "bitshuffle_lz4", "external_data_000001"] {
        let Some(path) = data(&format!("data/formats/hdf5_cases/{case}.h5")) else { return };
        let whole = std::fs::read(path).unwrap();
        for n in (0..whole.len()).filter(|n| *n < 100 || n % (whole.len() / 150 + 1) == 0) {
            let Ok(file) = Hdf5::parse(whole[..n].to_vec()) else { continue };
            for object in file.list().unwrap_or_default() {
                let _ = file.read(&object.path);
            }
        }
    }
}

#[test]
fn the_siemens_star_opens() {
    let Some(path) = data("data/ptychography/siemens_star_small.npz") else { return };
    let npz = Npz::open(path).unwrap();
    let Array::U16(counts) = npz.get("data_u16").unwrap() else { panic!("counts are 16 bit") };
    assert_eq!(counts.dims(), &[516, 128, 128]);
    assert_eq!(npz.get("scan_px").unwrap().dims(), &[516, 2]);
    assert!(npz.get("probe").unwrap().is_complex());
}

#[test]
fn a_big_endian_detector_file_opens() {
    let Some(path) = data("data/stem4d/fpd_file_test.hdf5") else { return };
    let file = Hdf5::open(path).unwrap();
    let sets = file.list().unwrap();
    let wanted = |o: &&exitwave::io::hdf5::Object| matches!(&o.kind, ObjectKind::Dataset { dims, .. } if dims == &[2, 2, 1, 256, 256]);
    let set = sets.iter().find(wanted).expect("the set of frames");
    let whole = file.read(&set.path).unwrap().into_real::<f64>().unwrap();
    assert!(whole.as_slice().iter().sum::<f64>() > 0.0);
}
