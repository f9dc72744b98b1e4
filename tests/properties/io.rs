//! Files: what is written comes back, and large files cost no more than what is read of them.

use std::io::Write;
use std::time::{Duration, Instant};

use exitwave::io::hdf5_write::{self, Hdf5Array};
use exitwave::io::{self, Array, ArrayRef, Axis, NpyElement, Quantity};
use exitwave::source::FrameSource;
use exitwave::tensor::Tensor;
use exitwave::units::Length;
use num_complex::Complex;
use proptest::prelude::*;

/// An array of one of the element types, of bits that look random.
fn array(dims: &[usize], kind: usize, seed: u64) -> Array {
    fn of<E: NpyElement>(dims: &[usize], seed: u64, f: impl Fn(u64) -> E) -> Array {
        let mut state = seed;
        E::array(Tensor::from_fn(dims, |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f(state >> 11)
        }))
    }
    let real = |v: u64| (v % 2_000_003) as f64 / 7.0 - 1e5;
    match kind {
        0 => of(dims, seed, |v| v as u8),
        1 => of(dims, seed, |v| v as i8),
        2 => of(dims, seed, |v| v as u16),
        3 => of(dims, seed, |v| v as i16),
        4 => of(dims, seed, |v| v as u32),
        5 => of(dims, seed, |v| v as i32),
        6 => of(dims, seed, |v| v),
        7 => of(dims, seed, |v| v as i64),
        8 => of(dims, seed, |v| real(v) as f32),
        9 => of(dims, seed, real),
        10 => of(dims, seed, |v| Complex::new(real(v) as f32, v as u8 as f32)),
        _ => of(dims, seed, |v| Complex::new(real(v), f64::from(v as u16))),
    }
}

fn axes(dims: &[usize]) -> Vec<Axis> {
    let units = ["nm", "1/nm", "eV", "mrad", ""];
    let axis = |(k, &n): (usize, &usize)| Axis::new(format!("axis {k}"), n, 0.25 * (k + 1) as f64, -3.0, units[k % 5]);
    dims.iter().enumerate().map(axis).collect()
}

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..7, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn hdf5_comes_back_with_its_axes(dims in shapes(), kinds in prop::collection::vec(0usize..12, 1..4), seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let arrays: Vec<Array> = kinds.iter().map(|&k| array(&dims, k, seed)).collect();
        let names: Vec<String> = (0..arrays.len()).map(|k| format!("set {k}")).collect();
        let axes = axes(&dims);
        let sets: Vec<_> = arrays.iter().zip(&names)
            .map(|(a, name)| Hdf5Array { name, array: a.into(), axes: &axes }).collect();
        hdf5_write::write(&path, &sets).unwrap();
        let file = io::open(&path).unwrap();
        prop_assert_eq!(file.sets().len(), arrays.len());
        for (k, array) in arrays.iter().enumerate() {
            prop_assert_eq!(&file.read(k).unwrap(), array);
            for (a, b) in file.info(k).unwrap().axes.iter().zip(&axes) {
                // One element says no scale.
                prop_assert!(a == b || a.size == 1, "{:?} {:?}", a, b);
            }
        }
    }

    #[test]
    fn zarr_comes_back_with_its_axes(dims in shapes(), kind in 0usize..12, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zarr");
        let (array, axes) = (array(&dims, kind, seed), axes(&dims));
        io::zarr::write(&path, &array, &axes).unwrap();
        let file = io::open(&path).unwrap();
        prop_assert_eq!(&file.info(0).unwrap().axes, &axes);
        prop_assert_eq!(&file.read(0).unwrap(), &array);
        let part: Vec<_> = dims.iter().map(|&n| n / 2..n).collect();
        let whole = file.read_part(0, &part).unwrap();
        prop_assert_eq!(whole.len(), part.iter().map(|r| r.len()).product::<usize>());
        prop_assert!(io::zarr::write(&path, &array, &axes).is_err());
    }

    #[test]
    fn npy_and_npz_come_back(dims in shapes(), kind in 0usize..12, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let array = array(&dims, kind, seed);
        let (npy, npz) = (folder.path().join("a.npy"), folder.path().join("a.npz"));
        io::npy::write(&npy, &array).unwrap();
        io::npz::write_compressed(&npz, &[("x", ArrayRef::from(&array))]).unwrap();
        for path in [npy, npz] {
            prop_assert_eq!(&io::open(path).unwrap().read(0).unwrap(), &array);
        }
    }

    #[test]
    fn mrc_comes_back(dims in prop::collection::vec(1usize..9, 2..4), kind in prop::sample::select(vec![1usize, 2, 3, 8]), seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mrc");
        let array = array(&dims, kind, seed);
        io::mrc::write(&path, &array, [Length::nm(0.3), Length::nm(0.2), Length::nm(0.1)]).unwrap();
        let file = io::open(&path).unwrap();
        let info = file.info(0).unwrap();
        for (axis, nm) in info.axes.iter().rev().zip([0.1, 0.2, 0.3]) {
            // The cell is kept in 32 bits.
            let Quantity::Length(l) = axis.step() else { panic!("no length: {axis:?}") };
            prop_assert!((l.to_nm() - nm).abs() < 1e-6 * nm);
        }
        let got = file.read(0).unwrap();
        prop_assert_eq!(got.reshape(&dims).unwrap(), array);
    }

    #[test]
    fn tiff_comes_back(dims in prop::collection::vec(1usize..9, 2..4), counts: bool, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tif");
        let array = array(&dims, if counts { 2 } else { 8 }, seed);
        match &array {
            Array::U16(t) => io::tiff::write_u16(&path, t).unwrap(),
            Array::F32(t) => io::tiff::write(&path, t).unwrap(),
            _ => unreachable!("16 bits or floats"),
        }
        let got = io::open(&path).unwrap().read(0).unwrap();
        prop_assert_eq!(got.reshape(&dims).unwrap(), array);
    }
}

/// The header of a MIB frame of 256 × 256 counts of 16 bits.
fn mib_header() -> Vec<u8> {
    let text = "MQ1,000001,00384,01,0256,0256,U16,   1x1,01,2021-05-07 18:51:10.905800,0.1,MQ1A,,1ns,12,";
    let mut header = text.as_bytes().to_vec();
    header.resize(384, 0);
    header
}

const CHILD: &str = "EXITWAVE_TEST_CHILD";

/// Opens files of 4 GB that hold next to nothing on the disk and reads the last frame of each; in a process of its own,
/// so that its memory can be told.
#[test]
fn a_frame_of_a_4_gb_file_is_read_at_once_and_in_little_memory() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = std::path::PathBuf::from(folder);
        let mut slowest = Duration::ZERO;
        for name in ["a.mib", "a.raw", "a.mrc", "a.npy"] {
            // The first time may wait for other programs: the best of five.
            let best = (0..5).map(|_| {
                let start = Instant::now();
                let frames = io::open(folder.join(name)).unwrap().frames(0).unwrap();
                let mut out = vec![1.0; frames.frame_len()];
                frames.read_frames(frames.frames() - 1, &mut out).unwrap();
                assert!(out.iter().all(|v| *v == 0.0), "{name}");
                start.elapsed()
            });
            slowest = slowest.max(best.min().unwrap());
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).map_or("0 kB", str::trim).to_string();
        println!("CHILD {} us, {peak}", slowest.as_micros());
        return;
    }

    let folder = tempfile::tempdir().unwrap();
    let sparse = |name: &str, header: &[u8], len: u64| {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(header).unwrap();
        file.set_len(len).unwrap();
    };
    let frames = 32_700u64;
    sparse("a.mib", &mib_header(), frames * (384 + 131_072));
    sparse("a.raw", &[], 65_000 * 130 * 128 * 4);
    let mut mrc = vec![0u8; 1024];
    for (k, word) in [256i32, 256, 32_700, 6].iter().enumerate() {
        mrc[4 * k..4 * k + 4].copy_from_slice(&word.to_le_bytes());
    }
    mrc[208..212].copy_from_slice(b"MAP ");
    sparse("a.mrc", &mrc, 1024 + frames * 131_072);
    let text = "{'descr': '<u2', 'fortran_order': False, 'shape': (32700, 256, 256), }";
    let npy = [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    sparse("a.npy", &npy, npy.len() as u64 + frames * 131_072);

    let name = "io::a_frame_of_a_4_gb_file_is_read_at_once_and_in_little_memory";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{text}{}", String::from_utf8_lossy(&child.stderr));
    let line = text.lines().find_map(|l| l.split_once("CHILD ")).map(|(_, l)| l).expect("the child says its numbers");
    let (time, memory) = line.split_once(" us, ").unwrap();
    let (time, memory): (u64, u64) = (time.parse().unwrap(), memory.trim_end_matches(" kB").parse().unwrap());
    assert!(time < 50_000, "{time} µs");
    assert!(memory < 64 << 10, "{memory} kB");
}

#[test]
fn an_empad_scan_is_found_through_its_description_and_its_description_through_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u8> = (0..6 * 130 * 128).flat_map(|v| (v as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("scan_x3_y2.raw"), numbers).unwrap();
    let xml = "<root name=\"acquisition_1\"><pix_x>3</pix_x><pix_y>2</pix_y><raw_file filename=\"/home/a/scan_x3_y2.raw\"/>\
        <iom_measurements><source.get_voltage>80000.0</source.get_voltage></iom_measurements></root>";
    std::fs::write(folder.path().join("acquisition_1.xml"), xml).unwrap();
    for name in ["acquisition_1.xml", "scan_x3_y2.raw"] {
        let file = io::open(folder.path().join(name)).unwrap();
        let scan = file.scan(0).unwrap();
        assert_eq!((scan.frames.shape(), scan.energy.unwrap().to_kev()), ([2, 3, 128, 128], 80.0), "{name}");
        let mut frame = vec![0.0; 128 * 128];
        scan.frames.read_frames(4, &mut frame).unwrap();
        assert!(frame.iter().enumerate().all(|(k, v)| *v == (4 * 130 * 128 + k) as f32), "{name}");
    }
    std::fs::remove_file(folder.path().join("scan_x3_y2.raw")).unwrap();
    let alone = io::open(folder.path().join("acquisition_1.xml")).unwrap();
    assert_eq!(alone.sets().len(), 0);
    assert!(alone.metadata().text("note").unwrap().contains("scan_x3_y2.raw"));
}

#[test]
fn a_recording_of_several_files_is_one_stack() {
    let folder = tempfile::tempdir().unwrap();
    let frame = |k: u32| [[k, 100 + k, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect(), vec![k as u8; 6]].concat();
    let mut first: Vec<u8> =
        [256u32, 2, 3, 2, 8, 0, 0, 1, 1, 10, 200, 80, 16].iter().flat_map(|w| w.to_le_bytes()).collect();
    first.resize(256, 0);
    (1..=2).for_each(|k| first.extend(frame(k)));
    std::fs::write(folder.path().join("r_000.tvips"), first).unwrap();
    std::fs::write(folder.path().join("r_001.tvips"), frame(3)).unwrap();
    let file = io::open(folder.path().join("r_000.tvips")).unwrap();
    assert_eq!(file.info(0).unwrap().dims, [3, 2, 3]);
    let Array::U8(t) = file.read(0).unwrap() else { panic!("8 bits") };
    assert_eq!((t.row(0), t.row(1), t.row(2)), (&[1; 6][..], &[2; 6][..], &[3; 6][..]));
    assert_eq!(file.info(0).unwrap().axes[0].step(), Quantity::Time(exitwave::units::Time::s(1.0)));
}

#[test]
fn a_raw_mib_frame_of_24_bits_is_two_of_12_the_higher_bits_first() {
    let folder = tempfile::tempdir().unwrap();
    let counts = |y: usize, x: usize| (y * 65_537 + x * 257) as u32 & 0xff_ffff;
    let mut bytes = b"MQ1,000001,00384,01,0256,0256,R64,   1x1,01,,0.1,MQ1A,,1ns,24,".to_vec();
    bytes.resize(384, 0);
    for shift in [12, 0] {
        // Rows from the bottom; of each four pixels the last comes first, as the lowest bits of a big-endian word do.
        for y in (0..256).rev() {
            for four in 0..64 {
                let half = |x: usize| (counts(y, x) >> shift & 0xfff) as u16;
                bytes.extend((0..4).rev().flat_map(|k| half(4 * four + k).to_be_bytes()));
            }
        }
    }
    let path = folder.path().join("a.mib");
    std::fs::write(&path, bytes).unwrap();
    let Array::U32(found) = io::open(&path).unwrap().read(0).unwrap() else { panic!("32 bits") };
    assert_eq!(found, Tensor::from_fn(&[256, 256], |i| counts(i[0], i[1])));
}

#[test]
fn a_map_gives_what_reads_give_and_a_scan_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mib");
    let mut bytes = Vec::new();
    for k in 0..6u16 {
        bytes.extend(mib_header());
        bytes.extend((0..65_536u32).flat_map(|v| (v as u16 ^ k).to_be_bytes()));
    }
    std::fs::write(&path, bytes).unwrap();
    let scan = |scan| io::OpenParams { scan: Some(scan), ..io::OpenParams::default() };
    let read = io::open_with(&path, scan([2, 3])).unwrap();
    let mapped = io::open_with(&path, io::OpenParams { access: io::Access::Map, ..scan([2, 3]) }).unwrap();
    assert_eq!(read.info(0).unwrap().dims, [2, 3, 256, 256]);
    assert_eq!(read.read(0).unwrap(), mapped.read(0).unwrap());
    // Rows are stored from the bottom.
    let Array::U16(last) = read.read_part(0, &[1..2, 2..3, 255..256, 0..4]).unwrap() else { panic!("16 bits") };
    assert_eq!(last.as_slice(), &[5, 4, 7, 6]);
    let mut frame = vec![0.0; 65_536];
    read.frames(0).unwrap().read_frames(5, &mut frame).unwrap();
    assert_eq!(frame[255 * 256..][..4], [5.0, 4.0, 7.0, 6.0]);
    assert_eq!(frame[0], f32::from((255 * 256) ^ 5u16));
    assert_eq!(io::open(&path).unwrap().info(0).unwrap().dims, [6, 256, 256]);
    for wrong in [[2, 4], [usize::MAX, 3]] {
        assert!(matches!(io::open_with(&path, scan(wrong)), Err(exitwave::Error::Shape { .. })));
    }
    let limits = exitwave::shape::Limits { bytes: 1000 };
    let small = io::open_with(&path, io::OpenParams { limits, ..io::OpenParams::default() }).unwrap();
    assert!(matches!(small.read(0), Err(exitwave::Error::OverBudget { budget: 1000, .. })));
}
