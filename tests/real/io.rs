//! `io`.

use exitwave::Error;
use exitwave::io::hdf5::{Attribute, Hdf5, Hdf5Frames, ObjectKind};
use exitwave::io::npz::Npz;
use exitwave::io::{self, Array, npy, safetensors};
use exitwave::shape::Limits;
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

/// File, number of elements, sum, minimum and maximum of its signal, as another program reads it.
const SIGNALS: [(&str, usize, f64, f64, f64); 7] = [
    ("eds/core_shell.hspy", 64 * 64 * 992, 884_071.0, 0.0, 68.0),
    ("formats/emd_Si100_3D.emd", 37 * 22 * 22, 442.428_139_325_878_9, 0.0, 0.144_691_556_692_123_4),
    ("formats/emd_example_signal.emd", 27, 351.0, 0.0, 26.0),
    ("formats/hspy_example2_v3.1.hspy", 256, 250_910.0, 718.0, 1218.0),
    ("formats/velox_camera_ceta_imaging.emd", 512 * 512, -411_708.0, -10.0, 7.0),
    ("formats/velox_stem_4_detectors.emd", 128 * 128, 163_768_109.0, 9989.0, 10003.0),
    ("tomography/HAADF_Aligned.hspy", 77 * 256 * 256, 21_406_343_384.229_748, 0.0, 64_197.714_843_75),
];

#[test]
fn signals_of_other_programs_have_their_sums() {
    for (name, len, sum, min, max) in SIGNALS {
        let Some(path) = data(&format!("data/{name}")) else { return };
        let file = Hdf5::open(path).unwrap();
        let mut found = false;
        for object in file.list().unwrap() {
            let ObjectKind::Dataset { dims, .. } = &object.kind else { continue };
            if dims.iter().product::<usize>() != len {
                continue;
            }
            let Ok(values) = file.read(&object.path).and_then(Array::into_real::<f64>) else { continue };
            let s: f64 = values.as_slice().iter().sum();
            let lo = values.as_slice().iter().copied().fold(f64::INFINITY, f64::min);
            let hi = values.as_slice().iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // The sums were taken in another order: n roundings of the running sum.
            let tolerance = f64::EPSILON * len as f64 * sum.abs();
            found |= (s - sum).abs() <= tolerance && lo == min && hi == max;
        }
        assert!(found, "{name}: no data set has the expected sum");
    }
}

#[test]
fn everything_in_the_files_of_the_field_is_read_or_refused_by_name() {
    for name in [
        "formats/emd_py4DSTEM_size2x3x4x5.h5",
        "formats/emd_type1_stringDims.h5",
        "formats/emd_fei_example_tem_stack.emd",
        "formats/arina/test_00_master.h5",
        "stem4d/fpd_file_test.hdf5",
        "ptychography/PETRAIII_P25_Near_Field_Ptycho.cxi",
    ] {
        let Some(path) = data(&format!("data/{name}")) else { return };
        let file = Hdf5::open(path).unwrap();
        let mut sets = 0;
        for object in file.list().unwrap() {
            let ObjectKind::Dataset { dims, dtype, .. } = &object.kind else {
                assert_eq!(object.kind, ObjectKind::Group, "{name}: {object:?}");
                continue;
            };
            sets += 1;
            match file.read(&object.path) {
                Ok(array) => assert_eq!(array.dims(), dims),
                Err(Error::Unsupported { .. }) if dtype == "string" => {
                    assert_eq!(file.read_strings(&object.path).unwrap().dims(), dims);
                }
                Err(Error::Unsupported { what }) => assert!(what.contains(dtype.as_str()), "{name}: {what}"),
                Err(e) => panic!("{name}, {}: {e}", object.path),
            }
        }
        assert!(sets > 0, "{name}");
    }
}

/// The files of a fuzz target's corpus: seeds and what fuzzing found.
fn corpus(target: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|p| (p.clone(), std::fs::read(p).unwrap())).collect()
}

fn use_npz(bytes: Vec<u8>) {
    let Ok(file) = Npz::parse(bytes) else { return };
    for name in file.names() {
        let _ = file.get(name);
    }
}

fn use_hdf5(bytes: Vec<u8>) {
    let Ok(file) = Hdf5::parse_with(bytes, Limits { bytes: 1 << 24 }) else { return };
    for object in file.list().unwrap_or_default() {
        let ObjectKind::Dataset { dims, .. } = &object.kind else { continue };
        let _ = file.read(&object.path);
        let _ = file.read_strings(&object.path);
        let _ = file.read_part(&object.path, &dims.iter().map(|&d| d / 2..d).collect::<Vec<_>>());
    }
}

#[test]
fn fuzz_corpus_is_replayed() {
    for (path, bytes) in corpus("npy") {
        if let Ok(Array::U16(t)) = npy::parse(&bytes) {
            assert_eq!(npy::parse(&npy::to_bytes(&t).unwrap()).unwrap(), Array::U16(t), "{}", path.display());
        }
    }
    corpus("npz").into_iter().for_each(|(_, bytes)| use_npz(bytes));
    corpus("hdf5").into_iter().for_each(|(_, bytes)| use_hdf5(bytes));
    for (path, bytes) in corpus("safetensors") {
        let Ok(arrays) = safetensors::parse(&bytes) else { continue };
        let refs: Vec<_> = arrays.iter().map(|(name, array)| (name.as_str(), array.into())).collect();
        assert_eq!(safetensors::parse(&safetensors::to_bytes(&refs).unwrap()).unwrap().len(), arrays.len(), "{path:?}");
    }
}

#[test]
fn no_prefix_of_a_seed_panics() {
    for (_, bytes) in corpus("npy") {
        (0..bytes.len()).for_each(|n| drop(npy::parse(&bytes[..n])));
    }
    for (_, bytes) in corpus("npz") {
        (0..bytes.len()).for_each(|n| use_npz(bytes[..n].to_vec()));
    }
    for (_, bytes) in corpus("safetensors") {
        (0..bytes.len()).for_each(|n| drop(safetensors::parse(&bytes[..n])));
    }
    // The files of HDF5 are longer; every seventh length of them, and the last hundred.
    for (_, bytes) in corpus("hdf5") {
        for n in (0..bytes.len()).filter(|n| n % 7 == 0 || bytes.len() - n < 100) {
            use_hdf5(bytes[..n].to_vec());
        }
    }
}

/// Targets of the formats that `io::open` knows, and the name under which their bytes are opened.
const FORMATS: [(&str, &str); 12] = [
    ("dm", "a.dm4"),
    ("mrc", "a.mrc"),
    ("mib", "a.mib"),
    ("ser", "a.ser"),
    ("blo", "a.blo"),
    ("tvips", "a.tvips"),
    ("tiff", "a.tif"),
    ("msa", "a.msa"),
    ("mat", "a.mat"),
    ("empad", "a.xml"),
    ("structure", "a"),
    ("hdf5_family", "a.h5"),
];

fn fuzz_params() -> io::OpenParams {
    io::OpenParams { limits: Limits { bytes: 1 << 24 }, ..io::OpenParams::default() }
}

/// What the fuzz targets do with their bytes: whether they open.
fn use_format(name: &str, bytes: Vec<u8>) -> bool {
    io::parse(name, bytes, fuzz_params()).is_ok_and(|file| look(&file))
}

/// As the fuzz target of Zarr: the description and, after a zero, one chunk.
fn use_zarr(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else { return false };
    let mut parts = rest.splitn(2, |&b| b == 0);
    let (text, chunk) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let folder = tempfile::tempdir().unwrap();
    let (name, first) = if kind % 2 == 0 { (".zarray", "0.0") } else { ("zarr.json", "c/0/0") };
    std::fs::create_dir_all(folder.path().join("c/0")).unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::write(folder.path().join(first), chunk).unwrap();
    io::open_with(folder.path(), fuzz_params()).is_ok_and(|file| look(&file))
}

#[test]
fn seeds_of_zarr_open_and_their_prefixes_do_not_panic() {
    for (path, bytes) in corpus("zarr") {
        assert!(use_zarr(&bytes), "{}", path.display());
        for n in 0..bytes.len() {
            let _ = use_zarr(&bytes[..n]);
        }
    }
}

fn look(file: &io::DataFile) -> bool {
    let _ = file.metadata().to_json();
    for k in 0..file.sets().len().min(16) {
        let dims = file.info(k).unwrap().dims.clone();
        let _ = file.read(k);
        let _ = file.read_part(k, &dims.iter().map(|&n| n / 2..n).collect::<Vec<_>>());
        let _ = file.spectrum_image::<f32>(k);
        if let Ok(scan) = file.scan(k)
            && scan.frames.frame_len() < 1 << 20
        {
            let _ = scan.frames.read_frames(0, &mut vec![0.0; scan.frames.frame_len()]);
        }
    }
    true
}

#[test]
fn seeds_of_every_format_open_and_their_prefixes_do_not_panic() {
    for (target, name) in FORMATS {
        for (path, bytes) in corpus(target) {
            let finding = path.file_name().unwrap().to_str().unwrap().starts_with("finding");
            assert!(use_format(name, bytes.clone()) || finding, "{}", path.display());
            // Of long files every 31st length.
            let step = if bytes.len() > 4096 { 31 } else { 1 };
            for n in (0..bytes.len()).step_by(step) {
                let _ = use_format(name, bytes[..n].to_vec());
            }
        }
    }
}

#[test]
fn our_own_seeds_read_as_they_were_made() {
    let expected: Vec<u16> = (0..64).collect();
    for (path, bytes) in corpus("hdf5") {
        let Some(name) =
            [("contiguous", "g/data"), ("gzip_shuffle", "data"), ("latest", "bt2"), ("bitshuffle", "data")]
                .iter()
                .find(|(stem, _)| path.file_stem().is_some_and(|s| s == *stem))
        else {
            continue;
        };
        let Array::U16(t) = Hdf5::parse(bytes).unwrap().read(name.1).unwrap() else { panic!("16 bits") };
        assert_eq!((t.dims(), t.as_slice()), (&[2, 2, 4, 4][..], expected.as_slice()), "{}", path.display());
    }
}
