//! Every sample of every format against what another program reads from it. Where we differ, the difference is one of
//! [`Difference`], and docs/formats.md says why.

use std::path::Path;

use exitwave::io::{self, Array, Axis, DataFile, OpenParams, Quantity};
use exitwave::shape::Limits;
use num_complex::Complex;
use serde_json::Value;

use crate::support::data;

/// Why a sample may differ from the other program, one reason each; docs/formats.md argues them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Difference {
    /// The axes are in another order: ours[k] = theirs[order[k]].
    Order(&'static [usize]),
    /// The calibration of these axes (ours).
    Axes(&'static [usize]),
    /// The element type.
    Dtype,
    /// Theirs has only the first columns of the last axis.
    Cropped,
    /// Theirs guesses a scan; it is given to ours.
    Scan([usize; 2]),
}

/// Samples that differ.
const DIFFERENCES: &[(&str, &[Difference])] = &[
    ("hrtem/EMD-3001.map", &[Difference::Axes(&[0, 1, 2])]),
    ("hrtem/EMD-3197.map", &[Difference::Axes(&[0])]),
    ("hrtem/hiv_image_80x80x1.mrc", &[Difference::Axes(&[0, 1])]),
    ("hrtem/hiv_images_shift_noise_80x80x10.mrc", &[Difference::Axes(&[1, 2])]),
    ("formats/mrc_Custom_movie.mrc", &[Difference::Axes(&[1, 2])]),
    ("formats/mrc_ROI_Random_Scan_movie.mrc", &[Difference::Axes(&[1, 2])]),
    ("formats/temp.mrc", &[Difference::Axes(&[0])]),
    ("misr/serialem_multiframe/test_000.mrc", &[Difference::Axes(&[0])]),
    ("misr/serialem_multiframe/test_001.mrc", &[Difference::Axes(&[0])]),
    ("misr/serialem_multiframe/test_002.mrc", &[Difference::Axes(&[0])]),
    ("eels/EELS_SI.dm4", &[Difference::Order(&[1, 2, 0])]),
    ("formats/digitalmicrograph_2D_test_fft_packed_complex8.dm4", &[Difference::Cropped]),
    ("formats/emd_example_signal.emd", &[Difference::Order(&[2, 1, 0])]),
    ("formats/tia_new_128x128-TEM_search_1.ser", &[Difference::Axes(&[0, 1])]),
    ("formats/tia_old_64x64x5_TEM_preview_1.ser", &[Difference::Axes(&[1, 2])]),
    ("formats/tvips_test_tvips_2233_000.tvips", &[Difference::Axes(&[1, 2])]),
    ("formats/arina/test_00_data_000001.h5", &[Difference::Scan([4, 4]), Difference::Dtype]),
    ("formats/arina/test_00_master.h5", &[Difference::Scan([4, 4]), Difference::Dtype]),
];

fn differences(name: &str) -> &'static [Difference] {
    DIFFERENCES.iter().find(|(n, _)| *n == name).map_or(&[], |(_, d)| d)
}

fn expected() -> Option<serde_json::Map<String, Value>> {
    let text = std::fs::read(data("data/expected.json")?).unwrap();
    match serde_json::from_slice(&text).unwrap() {
        Value::Object(map) => Some(map),
        other => panic!("expected.json is no object: {other}"),
    }
}

fn open(name: &str) -> Option<DataFile> {
    let scan = differences(name).iter().find_map(|d| if let Difference::Scan(s) = d { Some(*s) } else { None });
    let path = data(&format!("data/{name}"))?;
    Some(io::open_with(&path, OpenParams { scan, ..OpenParams::default() }).unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The element type of ours in the other program's words.
fn dtype(ours: &str) -> &str {
    match ours {
        "u8" => "uint8",
        "i8" => "int8",
        "u16" => "uint16",
        "i16" => "int16",
        "u32" => "uint32",
        "i32" => "int32",
        "f32" => "float32",
        "f64" => "float64",
        "complex<f32>" => "complex64",
        other => other,
    }
}

/// Their axis as one of ours, to compare quantities rather than spellings.
fn axis(theirs: &Value) -> Axis {
    let number = |key: &str| theirs[key].as_f64().unwrap_or(0.0);
    Axis::new("", 0, number("scale"), number("offset"), theirs["units"].as_str().unwrap_or(""))
}

fn same(a: Quantity, b: Quantity, tolerance: f64) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= tolerance * a.abs().max(b.abs());
    match (a, b) {
        (Quantity::Length(a), Quantity::Length(b)) => close(a.to_angstrom(), b.to_angstrom()),
        (Quantity::Frequency(a), Quantity::Frequency(b)) => close(a.to_per_angstrom(), b.to_per_angstrom()),
        (Quantity::Angle(a), Quantity::Angle(b)) => close(a.to_rad(), b.to_rad()),
        (Quantity::Energy(a), Quantity::Energy(b)) => close(a.to_ev(), b.to_ev()),
        (Quantity::Time(a), Quantity::Time(b)) => close(a.to_s(), b.to_s()),
        (Quantity::Number(a), Quantity::Number(b)) => close(a, b),
        (Quantity::Unknown(a, u), Quantity::Unknown(b, v)) => close(a, b) && u == v,
        _ => false,
    }
}

/// Whether values are equal. The JSON reader rounds the last bit of a number it reads, or the one before.
fn equal(a: Complex<f64>, b: Complex<f64>) -> bool {
    (a - b).norm() <= 2.0 * f64::EPSILON * b.norm()
}

fn check(name: &str, file: &DataFile, k: usize, theirs: &Value) {
    let info = file.info(k).unwrap();
    let differ = differences(name);
    let shape: Vec<usize> = numbers(&theirs["shape"]).iter().map(|&n| n as usize).collect();
    let order: Vec<usize> = (differ.iter())
        .find_map(|d| if let Difference::Order(o) = d { Some(o.to_vec()) } else { None })
        .unwrap_or_else(|| (0..shape.len()).collect());
    let cropped = differ.contains(&Difference::Cropped);
    let mut wanted: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
    if cropped {
        *wanted.last_mut().unwrap() += 1;
    }
    assert_eq!(info.dims, wanted, "{name}, set {k}: shape");
    let their_type = theirs["dtype"].as_str().unwrap().replace(">u2", "uint16").replace(">u4", "uint32");
    assert_eq!(
        dtype(info.dtype) == their_type,
        !differ.contains(&Difference::Dtype),
        "{name}: {} {their_type}",
        info.dtype
    );

    for (a, ours) in info.axes.iter().enumerate() {
        let described = axis(&theirs["axes"][order[a]]);
        // Theirs take times with 32-bit numbers, some scales too: seven digits.
        let equal = same(ours.step(), described.step(), 1e-4) && same(ours.start(), described.start(), 1e-4);
        let argued = differ.iter().any(|d| matches!(d, Difference::Axes(list) if list.contains(&a)));
        assert_ne!(equal, argued, "{name}, set {k}, axis {a}: {ours:?}, expected {described:?}");
    }

    let array = file.read(k).unwrap();
    assert_eq!(array.dims(), info.dims);
    assert_eq!(array.dtype(), info.dtype);
    let complex = array.is_complex();
    let values = array.into_complex::<f64>().unwrap();
    let at = |flat: usize| -> Complex<f64> {
        // Their flat index as an index, then our place.
        let (mut index, mut rest) = (vec![0; shape.len()], flat);
        for axis in (0..shape.len()).rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        let place = order.iter().zip(&info.dims).fold(0, |at, (&a, &n)| at * n + index[a]);
        values.as_slice()[place]
    };
    let flat = numbers(&theirs["flat_index"]);
    let flat_values = theirs["flat_value"].as_array().unwrap();
    for (&i, v) in flat.iter().zip(flat_values) {
        let v = if complex {
            Complex::new(v[0].as_f64().unwrap(), v[1].as_f64().unwrap())
        } else {
            v.as_f64().unwrap().into()
        };
        assert!(equal(at(i as usize), v), "{name}, set {k}, element {i}: {}, expected {v}", at(i as usize));
    }
    if complex {
        return;
    }
    let real = || values.as_slice().iter().map(|z| z.re);
    let magnitude: f64 = real().map(f64::abs).sum();
    let sum: f64 = real().sum();
    let wanted = theirs["sum"].as_f64().unwrap();
    // Summed in another order: n roundings of the running sum, ours and theirs; they may have summed 32-bit numbers
    // pairwise.
    assert!((sum - wanted).abs() <= 1e-7 * magnitude, "{name}, set {k}: sum {sum}, expected {wanted}");
    for (what, got) in
        [("min", real().fold(f64::INFINITY, f64::min)), ("max", real().fold(f64::NEG_INFINITY, f64::max))]
    {
        let wanted = theirs[what].as_f64().unwrap();
        assert!(equal(got.into(), wanted.into()), "{name}, set {k}, {what}: {got}, expected {wanted}");
    }
}

#[test]
fn every_sample_is_what_another_program_reads() {
    let Some(expected) = expected() else { return };
    let mut compared = 0;
    for (name, theirs) in &expected {
        let Some(file) = open(name) else { continue };
        let Some(signals) = theirs["signals"].as_array() else {
            // The other program refuses it; we read it.
            assert!(file.sets().len() > 0, "{name}");
            continue;
        };
        // A virtual bright field is listed behind the patterns, which they leave out.
        assert!(file.sets().len() >= signals.len(), "{name}: {} sets, expected {}", file.sets().len(), signals.len());
        for (k, signal) in signals.iter().enumerate() {
            check(name, &file, k, signal);
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

/// All files below a folder of the data.
fn samples() -> Vec<std::path::PathBuf> {
    fn below(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
        let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() { below(&path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    if let Some(folder) = data("data") {
        below(&folder, &mut out);
    }
    // Texts that belong to a file or to this data set.
    let beside = ["json", "md", "csv", "txt", "hdr", "rawtlt", "mdoc"];
    out.retain(|p| !p.extension().is_some_and(|e| beside.iter().any(|b| e == *b)));
    out
}

#[test]
fn every_sample_opens() {
    for path in samples() {
        let file = io::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let description = path.extension().is_some_and(|e| e == "xml");
        assert!(file.sets().len() > 0 || description, "{}", path.display());
    }
}

/// Reads a little of everything: the corners of each set.
fn use_file(file: &DataFile) {
    for k in 0..file.sets().len().min(8) {
        let dims = file.info(k).unwrap().dims.clone();
        let first: Vec<_> = dims.iter().map(|&n| 0..n.min(3)).collect();
        let last: Vec<_> = dims.iter().map(|&n| n - n.min(2)..n).collect();
        let _ = file.read_part(k, &first);
        let _ = file.read_part(k, &last);
        let _ = file.scan(k);
        let _ = file.metadata().to_json();
    }
}

/// A sample with something broken: it opens, or says what is wrong. The limit is small so that damage is cheap.
fn break_and_use(name: &str, bytes: Vec<u8>) {
    let limits = Limits { bytes: (4 * bytes.len() as u64).max(1 << 22) };
    match io::parse(name, bytes, OpenParams { limits, ..OpenParams::default() }) {
        Ok(file) => use_file(&file),
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// Longer samples are cut to this: what breaks stands in the headers.
const KEPT: usize = 1 << 17;

#[test]
fn damaged_samples_are_errors_or_valid_data() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let samples = samples();
    let next = AtomicUsize::new(0);
    // The samples are independent: the processors share them.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(|| {
                while let Some(path) = samples.get(next.fetch_add(1, Ordering::Relaxed)) {
                    damage(path);
                }
            });
        }
    });
}

fn damage(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut whole = std::fs::read(path).unwrap();
    // The structure of HDF5 is everywhere in the file; the others have it at the start, DM4 and long stacks also at the
    // end.
    let hdf5 = whole.starts_with(b"\x89HDF");
    if !hdf5 || whole.len() > 1 << 19 {
        whole.truncate(KEPT);
    }
    let mut dice = Dice(whole.len() as u64);
    for k in 0..200 {
        // Half of the places are in the first 4 KiB.
        let near = if k % 2 == 0 { whole.len().min(4096) } else { whole.len() };
        let cut = dice.below(near);
        break_and_use(name, whole[..cut].to_vec());
    }
    for k in 0..200 {
        let near = if k % 2 == 0 { whole.len().min(4096) } else { whole.len() };
        let at = dice.below(near);
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << dice.below(8);
        break_and_use(name, bytes);
    }
}

#[test]
fn raw_mib_frames_are_those_of_their_twins() {
    let folder = "data/stem4d/merlin";
    for stem in ["Single_9_Frame_CounterDepth_1_Rows_256", "Quad_1_Frame_CounterDepth_1_Rows_256"] {
        let (Some(plain), Some(raw)) =
            (data(&format!("{folder}/{stem}.mib")), data(&format!("{folder}/{stem}RAW.mib")))
        else {
            return;
        };
        let (plain, raw) = (io::open(plain).unwrap(), io::open(raw).unwrap());
        assert_eq!(plain.info(0).unwrap().dims, raw.info(0).unwrap().dims);
        let (Array::U8(a), Array::U8(b)) = (plain.read(0).unwrap(), raw.read(0).unwrap()) else { panic!("8 bits") };
        let equal = a.as_slice().iter().zip(b.as_slice()).filter(|(a, b)| a == b).count();
        // The twins are two exposures: a few pixels are hit in one of them. A wrong place of a chip, of a row or of a
        // bit leaves 97 % at most, as the picture is mostly empty.
        assert!(equal as f64 >= 0.999 * a.len() as f64, "{stem}: {equal} of {}", a.len());
    }
}

#[test]
fn parts_of_every_sample_are_those_of_the_whole() {
    for path in samples().iter().filter(|p| std::fs::metadata(p).unwrap().len() < 1 << 20) {
        let file = io::open(path).unwrap();
        for k in 0..file.sets().len().min(3) {
            let dims = file.info(k).unwrap().dims.clone();
            let ranges: Vec<_> = dims.iter().map(|&n| n / 3..n - n / 4).collect();
            let Ok(part) = file.read_part(k, &ranges) else { continue };
            let part = part.into_complex::<f64>().unwrap();
            let whole = file.read(k).unwrap().into_complex::<f64>().unwrap();
            let mut inside = Vec::new();
            for (flat, value) in whole.as_slice().iter().enumerate() {
                let mut rest = flat;
                let within = dims.iter().zip(&ranges).rev().all(|(&n, r)| {
                    let i = rest % n;
                    rest /= n;
                    r.contains(&i)
                });
                if within {
                    inside.push(*value);
                }
            }
            assert_eq!(inside.len(), part.len(), "{}, set {k}", path.display());
            let equal = |(a, b): (&Complex<f64>, &Complex<f64>)| a == b || (a.is_nan() && b.is_nan());
            assert!(inside.iter().zip(part.as_slice()).all(equal), "{}, set {k}", path.display());
        }
    }
}

/// Numbers of atoms of each element, in the order of the file.
fn atoms(path: &Path) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for atom in io::cif::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).atoms {
        match counts.iter_mut().find(|(s, _)| *s == atom.symbol) {
            Some(entry) => entry.1 += 1,
            None => counts.push((atom.symbol, 1)),
        }
    }
    counts.iter().map(|(s, n)| format!("{s}{n}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn cells_have_the_atoms_of_their_formula() {
    // Textbook contents of the cells: formula times the number of units in the cell.
    for (name, wanted) in [
        ("crystals_Si", "Si8"),
        ("crystals_diamond", "C8"),
        ("crystals_SiC", "Si4 C4"),
        ("crystals_Au", "Au4"),
        ("crystals_Fe", "Fe2"),
        // Only a Hall symbol, no operations.
        ("crystals_BaTiO3_cubic", "Ba1 Ti1 O3"),
        ("Graphite", "C4"),
        ("CHA_SI", "Si12 O24"),
        ("FAU_SI", "Si192 O384"),
        ("MFI_SI", "Si96 O192"),
        ("LTA_SI", "Si192 O384"),
        ("CsI3Pb", "Pb4 I12 Cs4"),
        ("UIO-66", "Zr24 O120 C192 H96"),
        ("IRMOF-1", "Zn32 O104 C192 H96"),
        ("MoS2", "Mo1 S2"),
    ] {
        let Some(path) = data(&format!("data/structures/{name}.cif")) else { return };
        let mut got: Vec<_> = atoms(&path).split(' ').map(str::to_string).collect();
        let mut wanted: Vec<_> = wanted.split(' ').map(str::to_string).collect();
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted, "{name}");
    }
}

#[test]
fn lists_of_prismatic_have_their_cell_and_thermal_displacements() {
    let Some(path) = data("data/structures/Si100_prismatic.xyz") else { return };
    let silicon = io::xyz::read(path).unwrap();
    assert_eq!(silicon.atoms.len(), 8);
    assert_eq!(silicon.cell.unwrap()[2][2].to_angstrom(), 5.43);
    assert!(silicon.atoms.iter().all(|a| a.symbol == "Si" && a.displacement.unwrap().to_angstrom() == 0.076));
}

#[test]
fn tilt_series_have_their_angles() {
    for name in ["tomography/HAADF.mrc", "tomography/HAADF_Aligned.hspy"] {
        let Some(path) = data(&format!("data/{name}")) else { return };
        let series = io::open(path).unwrap().tilt_series::<f32>(0).unwrap();
        assert_eq!(series.data.dims(), &[77, 256, 256]);
        for (k, angle) in series.angles.iter().enumerate() {
            // The older header of the first has angles in 32 bits, as the stage read them.
            assert!((angle.to_deg() - (2.0 * k as f64 - 76.0)).abs() < 0.1, "{name}: {k}, {}", angle.to_deg());
        }
        assert!((series.sampling.unwrap()[1].to_nm() - 3.36).abs() < 1e-3, "{name}");
    }
}

#[test]
fn the_header_of_epu_says_voltage_and_dose() {
    let Some(path) = data("data/hrtem/epu2.9_example.mrc") else { return };
    let file = io::open(path).unwrap();
    assert_eq!(file.info(0).unwrap().energy.unwrap().to_kev(), 300.0);
    // 41.17 e/Å².
    let dose = file.metadata().number("extended/dose_per_m2").unwrap();
    assert!((dose * 1e-20 - 41.17).abs() < 0.01, "{dose}");
}

#[test]
fn scans_have_their_calibration() {
    let Some(path) = data("data/formats/emd_py4DSTEM_size2x3x4x5.h5") else { return };
    let scan = io::open(path).unwrap().scan(0).unwrap();
    assert!((scan.step.unwrap()[0].to_nm() - 0.126_796_88).abs() < 1e-8);
    let Some(exitwave::stem::Pixel::Frequency([k, _])) = scan.pixel else { panic!("{:?}", scan.pixel) };
    assert!((k.to_per_angstrom() - 0.044_251_57).abs() < 1e-8);

    let Some(path) = data("data/stem4d/blockfile_test1.blo") else { return };
    let scan = io::open(path).unwrap().scan(0).unwrap();
    assert_eq!((scan.step.unwrap()[1].to_nm(), scan.energy.unwrap().to_kev()), (12.8, 200.0));
    // A length on the detector is neither an angle nor a frequency.
    assert_eq!(scan.pixel, None);
}

#[test]
fn spectrum_images_have_their_energies() {
    let Some(path) = data("data/eels/EELS_SI.dm4") else { return };
    let spectra = io::open(path).unwrap().spectrum_image::<f32>(0).unwrap();
    assert_eq!(spectra.data.dims(), &[2, 2, 2048]);
    assert_eq!((spectra.first.to_ev(), spectra.width.to_ev()), (300.0, 1.0));
    assert!((spectra.step[0].unwrap().to_nm() - 1.992).abs() < 1e-3);
}

#[test]
fn every_filter_and_layout_of_hdf5_reads_as_its_twin() {
    let Some(folder) = data("data/formats/hdf5_cases") else { return };
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let twin = entry.unwrap().path();
        if twin.extension().is_none_or(|e| e != "npy") {
            continue;
        }
        let mut path = twin.with_extension("h5");
        if twin.ends_with("external_master.npy") {
            path.set_file_name("external_master.h5");
        }
        let (file, wanted) = (io::open(&path).unwrap(), io::npy::read(&twin).unwrap());
        assert_eq!(file.read(0).unwrap(), wanted, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 14, "{compared}");
}

#[test]
fn cells_become_atoms_of_a_specimen() {
    use exitwave::specimen::{crystals, dot};
    let Some(path) = data("data/structures/crystals_Si.cif") else { return };
    let silicon = io::cif::read(path).unwrap().atoms().unwrap();
    // The file's lattice parameter and the table's are two measurements.
    let (ours, table) = (silicon.cell.volume_a3(), crystals::silicon().cell.volume_a3());
    assert!((ours / table - 1.0).abs() < 5e-3, "{ours} {table}");
    // In the diamond structure every atom has a neighbour at a√3/4, and none closer.
    let a = ours.cbrt();
    let all = silicon.repeated([2, 2, 2]).unwrap();
    let nearest = all.atoms[1..].iter().map(|b| {
        let d: [f64; 3] = std::array::from_fn(|k| b.position[k] - all.atoms[0].position[k]);
        dot(d, d).sqrt()
    });
    let nearest = nearest.fold(f64::INFINITY, f64::min);
    assert!((nearest - a * 3f64.sqrt() / 4.0).abs() < 1e-3, "{nearest}");

    let Some(path) = data("data/structures/Si100_prismatic.xyz") else { return };
    let listed = io::xyz::read(path).unwrap().atoms().unwrap();
    assert_eq!(listed.edges().unwrap().map(|e| e.to_angstrom()), [5.43; 3]);
    assert!(listed.atoms.iter().all(|a| a.sigma == [0.076; 3] && a.occupancy == 1.0));
}

#[test]
fn uio_66_is_the_published_structure() {
    use exitwave::specimen::{crystals, norm};
    let Some(path) = data("data/structures/UIO-66.cif") else { return };
    let listed = io::cif::read(path).unwrap().atoms().unwrap();
    let ours = crystals::uio_66();
    assert_eq!(listed.edges().unwrap(), ours.edges().unwrap());
    let distance = |a: [f64; 3], b: [f64; 3]| {
        let d: [f64; 3] = std::array::from_fn(|k| a[k] - b[k]);
        let f = ours.cell.fractional(d).map(|f| f - f.round());
        norm(ours.cell.cartesian(f))
    };
    // Every atom of the file is one of ours. The file lists 24 of the 32 oxygens inside the clusters; the rest of ours are those.
    for a in &listed.atoms {
        let same = |b: &&exitwave::specimen::Atom| b.species == a.species && distance(a.position, b.position) < 1e-3;
        assert_eq!(ours.atoms.iter().filter(same).count(), 1, "{a:?}");
    }
    assert_eq!(ours.atoms.len() - listed.atoms.len(), 8);
    let missing = |b: &&exitwave::specimen::Atom| listed.atoms.iter().all(|a| distance(a.position, b.position) > 1e-3);
    assert!(ours.atoms.iter().filter(missing).all(|b| b.species.symbol() == "O"));
}
