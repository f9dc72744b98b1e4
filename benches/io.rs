//! Reading: a raw 4D set against the bytes alone, and stacks of DM4 and MRC against a copy in memory.
//!
//! Files stay in the system's cache, so that the code is measured, not the disk: 256 MiB of a stack, and a scan of 1 GiB
//! that is turned into virtual images by two threads.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exitwave::io;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::source::FrameSource;
use exitwave::stem::{Calibration, DataSet, Detector, Pass, PassParams, Pixel};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};

const SHAPE: [usize; 4] = [32, 64, 256, 256];
const SCAN: [usize; 4] = [64, 128, 256, 256];

/// A disk, a ring and four quadrants, with the centre of mass and the mean pattern that every pass makes.
fn virtual_images(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let raw = folder.path().join("scan.npy");
    io::npy::write(&raw, &Tensor::from_fn(&SCAN, |i| (i[1] * 31 + i[2] * 7 + i[3]) as u16)).expect("room for 1 GiB");
    let mut group = c.benchmark_group("io 1 GiB u16");
    let bytes = 2 * SCAN.iter().product::<usize>() as u64;
    group.sample_size(10).measurement_time(Duration::from_secs(5)).throughput(Throughput::Bytes(bytes));
    group.bench_function("bytes alone", |b| b.iter(|| read_bytes(&raw)));
    let mrad = Angle::mrad;
    let disk = Detector::Disk { outer: mrad(20.0) };
    let ring = Detector::Annulus { inner: mrad(30.0), outer: mrad(90.0) };
    let quadrants = Detector::Segments { inner: Angle::ZERO, outer: mrad(20.0), segments: 4, rotation: Angle::ZERO };
    let par = Par::threads(2).expect("two threads");
    let calibration = Calibration::new([Length::angstrom(0.5); 2], Pixel::Angle([mrad(0.8); 2]), Energy::kev(300.0));
    for (name, detectors) in [("disk", vec![disk.clone()]), ("disk, ring and quadrants", vec![disk, ring, quadrants])] {
        group.bench_function(format!("virtual images: {name}"), |b| {
            b.iter(|| {
                let frames = io::open(&raw).and_then(|f| f.frames(0)).expect("a scan");
                let data = DataSet::new(Arc::new(frames), calibration).expect("a scan");
                let params = PassParams { detectors: detectors.clone(), par: par.clone(), ..PassParams::default() };
                black_box(Pass::new(&data, params).and_then(|pass| pass.run(&mut silent)).expect("good counts"));
            });
        });
    }
    group.finish();
}

/// Reads a file to its end, a mebibyte at a time.
fn read_bytes(path: &Path) {
    let mut buffer = vec![0u8; 1 << 20];
    let mut file = std::fs::File::open(path).expect("written before");
    while file.read(&mut buffer).expect("readable") > 0 {
        black_box(&buffer);
    }
}

fn reading(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let data = Tensor::from_fn(&SHAPE, |i| (i[1] * 31 + i[2] * 7 + i[3]) as u16);
    let raw = folder.path().join("a.npy");
    io::npy::write(&raw, &data).expect("room for 256 MiB");
    let stack = data.reshape(&[SHAPE[0] * SHAPE[1], SHAPE[2], SHAPE[3]]).expect("the same elements");
    let mrc = folder.path().join("a.mrc");
    io::mrc::write(&mrc, &stack, [Length::ZERO; 3]).expect("room for 256 MiB");
    let dm4 = folder.path().join("a.dm4");
    std::fs::write(&dm4, dm4_bytes(&stack)).expect("room for 256 MiB");
    let bytes = 2 * stack.len();

    let mut group = c.benchmark_group("io 256 MiB u16");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("bytes alone", |b| b.iter(|| read_bytes(&raw)));
    group.bench_function("frames of a raw set", |b| {
        let frames = io::open(&raw).and_then(|f| f.frames(0)).expect("a set of 4 axes");
        let mut out = vec![0.0f32; 8 * frames.frame_len()];
        b.iter(|| {
            for first in (0..frames.frames()).step_by(8) {
                frames.read_frames(first, &mut out).expect("readable");
                black_box(&out);
            }
        });
    });
    for (name, path) in [("MRC", &mrc), ("DM4", &dm4)] {
        group.bench_function(format!("frames of a {name} stack"), |b| {
            let frames = io::open(path).and_then(|f| f.frames(0)).expect("a stack");
            let mut out = vec![0.0f32; 8 * frames.frame_len()];
            b.iter(|| {
                for first in (0..frames.frames()).step_by(8) {
                    frames.read_frames(first, &mut out).expect("readable");
                    black_box(&out);
                }
            });
        });
        group.bench_function(format!("a whole {name} stack"), |b| {
            let file = io::open(path).expect("a stack");
            b.iter(|| black_box(file.read(0).expect("readable")));
        });
    }
    group.bench_function("a copy in memory", |b| b.iter(|| black_box(stack.as_slice().to_vec())));
    group.finish();
}

/// The least DM4 file that holds a stack: header, and the tags of one image.
fn dm4_bytes(stack: &Tensor<u16>) -> Vec<u8> {
    // A tag: kind (20 a directory, 21 data), name, bytes of what follows, and that.
    let tag = |kind: u8, name: &str, content: Vec<u8>| {
        let length = (name.len() as u16).to_be_bytes();
        [&[kind], &length[..], name.as_bytes(), &(content.len() as u64).to_be_bytes(), &content].concat()
    };
    let directory = |tags: &[Vec<u8>]| [&[1u8, 0][..], &(tags.len() as u64).to_be_bytes(), &tags.concat()].concat();
    let data = |types: &[u64], bytes: &[u8]| {
        let types: Vec<u8> = [types.len() as u64].iter().chain(types).flat_map(|n| n.to_be_bytes()).collect();
        [b"%%%%", &types[..], bytes].concat()
    };
    let number = |name: &str, n: u32| tag(21, name, data(&[5], &n.to_le_bytes()));
    let sizes: Vec<_> = stack.dims().iter().rev().map(|&n| number("", n as u32)).collect();
    let counts: Vec<u8> = stack.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect();
    let image = directory(&[
        tag(21, "Data", data(&[20, 4, stack.len() as u64], &counts)),
        number("DataType", 10),
        tag(20, "Dimensions", directory(&sizes)),
        number("PixelDepth", 2),
    ]);
    let list = directory(&[tag(20, "", directory(&[tag(20, "ImageData", image)]))]);
    let root = directory(&[tag(20, "ImageList", list)]);
    [&4u32.to_be_bytes()[..], &(root.len() as u64).to_be_bytes(), &1u32.to_be_bytes(), &root].concat()
}

criterion_group!(benches, reading, virtual_images);
criterion_main!(benches);
