//! TVIPS recordings: frames of a camera with a short header each, in one file or several (`…_000.tvips`, `…_001.tvips`,
//! …).
//!
//! Numbers of 4 bytes, little-endian: bytes of the header, version (1 or 2), columns, rows, bits a pixel, offsets,
//! binnings, pixel size, high tension (kV), magnification, and in version 2 the bytes before each frame (12 in version
//! 1). Those begin with the frame's number, its time in seconds and its milliseconds. Only the first file has the
//! header.
//!
//! # References
//! TVIPS GmbH, "EMPLIFIED recorder file format" notes.

use crate::error::Error;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, Reader};
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::file::FileAt;
use crate::io::layout::{Element, Strided, row_major};
use crate::io::meta::Meta;
use crate::shape::checked_len;
use crate::units::Energy;

/// Files of one recording.
const MAX_FILES: usize = 1000;
/// Frames of one file: a table of addresses is kept.
const MAX_FRAMES: u64 = 1 << 24;

pub(crate) fn recognise(head: &[u8], name: &std::path::Path) -> bool {
    let word = |k: usize| head.get(4 * k..4 * k + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let sound = matches!(word(1), Some(1 | 2)) && matches!(word(4), Some(8 | 16 | 32));
    sound && word(0) == Some(256) && name.extension().is_some_and(|e| e.eq_ignore_ascii_case("tvips"))
}

pub(crate) fn read(bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let mut r = Reader::new(bytes, "tvips", Order::Little);
    let (header, version) = (r.u32()?, r.u32()?);
    let (width, height, bits) = (r.u32()? as usize, r.u32()? as usize, r.u32()?);
    r.skip(8)?;
    let (bin_x, bin_y, pixel, kv, magnification) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    let before = if version == 2 { r.u32()? as usize } else { 12 };
    let element = match bits {
        8 => Element::U8,
        16 => Element::U16,
        32 => Element::F32,
        other => return Err(r.wrong(format!("{other} bits a pixel"))),
    };
    let frame = checked_len(&[height, width, element.size()])?;
    if frame == 0 || before > 1 << 16 || bytes.len() / (before + frame) as u64 > MAX_FRAMES {
        return Err(r.wrong(format!("frames of {height} × {width} behind {before} bytes")));
    }

    // The frames of this file, then those of the files that follow it.
    let step = (before + frame) as u64;
    let mut all = bytes.clone();
    let mut table = Vec::new();
    let count = |len: u64, from: u64| len.saturating_sub(from) / step;
    for k in 0..count(bytes.len(), header.into()) {
        table.push(u64::from(header) + k * step + before as u64);
    }
    if beside == Beside::Folder
        && let Some(stem) = bytes.path().file_stem().and_then(|s| s.to_str()).and_then(|s| s.strip_suffix("_000"))
    {
        for k in 1..MAX_FILES {
            let other = bytes.path().with_file_name(format!("{stem}_{k:03}.tvips"));
            let Ok(file) = FileAt::open(&other) else { break };
            let frames = count(file.len(), 0);
            let start = all.push(file);
            table.extend((0..frames).map(|k| start + k * step + before as u64));
        }
    }
    let frames = table.len();
    if frames == 0 {
        return Err(r.wrong(format!("no frame of {step} bytes in {} bytes", bytes.len())));
    }

    let seconds = |at: u64| -> Result<f64, Error> {
        let mut r = Reader::new(&all, "tvips", Order::Little);
        r.seek(at - before as u64 + 4);
        let s = f64::from(r.u32()?);
        Ok(s + f64::from(r.u32()?) / 1000.0)
    };
    let mut axes = match params.scan {
        Some([sy, sx]) if sy.checked_mul(sx) == Some(frames) => {
            vec![Axis::plain("scan_y", sy), Axis::plain("scan_x", sx)]
        }
        Some(scan) => return Err(Error::shape("tvips: scan positions", &scan, &[frames])),
        None if before >= 12 => {
            let (first, last) = (seconds(table[0])?, seconds(table[frames - 1])?);
            let interval = if frames > 1 { (last - first) / (frames - 1) as f64 } else { 0.0 };
            match interval > 0.0 {
                true => vec![Axis::new("time", frames, interval, first, "s")],
                false => vec![Axis::plain("frame", frames)],
            }
        }
        None => vec![Axis::plain("frame", frames)],
    };
    let outer = axes.len();
    axes.extend([Axis::plain("y", height), Axis::plain("x", width)]);
    let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let strides = row_major(&dims, element.size())?;
    let (order, start, table) = (Order::Little, 0, Some((table, outer)));
    let s = Strided { bytes: all, element, order, dims, strides, start, table }.checked("tvips")?;

    // Whether the pixel size is one of an image or of a pattern, the file does not say.
    let metadata = Meta::Map(vec![
        ("version".into(), Meta::Integer(version.into())),
        ("binning".into(), Meta::Numbers(vec![bin_y.into(), bin_x.into()])),
        ("pixel_size".into(), Meta::Integer(pixel.into())),
        ("high_tension_kV".into(), Meta::Integer(kv.into())),
        ("magnification".into(), Meta::Integer(magnification.into())),
    ]);
    let mut info = SetInfo::new("frames", element.name(), axes);
    info.energy = (kv > 0).then(|| Energy::kev(kv.into()));
    info.metadata = metadata.clone();
    Ok(Contents { format: "tvips", sets: vec![Set::new(info, Store::Strided(s))], metadata })
}
