//! Reading: a raw 4D set against the bytes alone, and stacks of DM4 and MRC against a copy in memory.
//!
//! The file is 256 MiB and stays in the system's cache, so that the code is measured, not the disk.

use std::hint::black_box;
use std::io::Read;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exitwave::io;
use exitwave::source::FrameSource;
use exitwave::tensor::Tensor;
use exitwave::units::Length;

const SHAPE: [usize; 4] = [32, 64, 256, 256];

fn reading(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let data = Tensor::from_fn(&SHAPE, |i| (i[1] * 31 + i[2] * 7 + i[3]) as u16);
    let raw = folder.path().join("a.npy");
    io::npy::write(&raw, &data).expect("room for 256 MiB");
    let stack = data.reshape(&[SHAPE[0] * SHAPE[1], SHAPE[2], SHAPE[3]]).expect("the same elements");
    let mrc = folder.path().join("a.mrc");
    io::mrc::write(&mrc, &stack, [Length::ZERO; 3]).expect("room for 256 MiB");
    let bytes = 2 * stack.len();

    let mut group = c.benchmark_group("io 256 MiB u16");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("bytes alone", |b| {
        let mut buffer = vec![0u8; 1 << 20];
        b.iter(|| {
            let mut file = std::fs::File::open(&raw).expect("written above");
            while file.read(&mut buffer).expect("readable") > 0 {
                black_box(&buffer);
            }
        });
    });
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
    group.bench_function("frames of an MRC stack", |b| {
        let frames = io::open(&mrc).and_then(|f| f.frames(0)).expect("a stack");
        let mut out = vec![0.0f32; 8 * frames.frame_len()];
        b.iter(|| {
            for first in (0..frames.frames()).step_by(8) {
                frames.read_frames(first, &mut out).expect("readable");
                black_box(&out);
            }
        });
    });
    group.bench_function("a whole MRC stack", |b| {
        let file = io::open(&mrc).expect("a stack");
        b.iter(|| black_box(file.read(0).expect("readable")));
    });
    group.bench_function("a copy in memory", |b| b.iter(|| black_box(stack.as_slice().to_vec())));
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
