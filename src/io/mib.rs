//! MIB, the frames of Quantum Detectors' Merlin: 1 to 24 bits, one chip or four, bit-packed (RAW) or not.
//!
//! Each frame begins with a header of text: `MQ1`, number, bytes of the header, chips, width, height, type (`U08` `U16`
//! `U32`, or `R64` for the chips' own order), layout, …, and at the end `MQ1A`, time, exposure, counter depth. The
//! elements are big-endian.
//!
//! Rows are stored from the bottom of the picture, in which the numbers that the detector prints can be read; they are
//! reversed here.
//!
//! RAW frames are rows of 64-bit words, big-endian, whose lowest bits are the first pixel; a pixel takes 1, 8 or 16
//! bits at counter depths of 1, 6 and 12. At 24, two such frames of 12 bits follow each other after one header, the
//! higher bits first. Four chips stand side by side in a strip of 1024 columns: the first two are
//! the lower half of the frame from right to left, upside down, the others the upper half from right to left.
//!
//! # References
//! Quantum Detectors, "Merlin software manual", appendix on the MIB format; the order of the chips is measured on RAW
//! frames and their decoded twins; that of the halves at 24 bits is as the LiberTEM project describes it.

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, latin1, text};
use crate::io::coded::Coded;
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::layout::{Element, Strided, row_major};
use crate::io::meta::Meta;
use crate::shape::checked_len;
use crate::tensor::Tensor;

/// Side of a chip.
const CHIP: usize = 256;
/// Frames whose times are looked at for the ends of scan lines.
const MAX_LINE: usize = 4096;

pub(crate) fn recognise(head: &[u8]) -> bool {
    head.starts_with(b"MQ1,")
}

pub(crate) fn read(bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let wrong = |reason: String| Error::format("mib", bytes.path(), 0, reason);
    let line = latin1(&bytes.head(0, 4096)?);
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let field = |k: usize| fields.get(k).copied().unwrap_or("");
    let number = |k: usize, what: &str| {
        field(k).parse::<usize>().map_err(|_| wrong(format!("{what} is {:?}, expected a number", field(k))))
    };
    let (header, chips) = (number(2, "length of the header")?, number(3, "number of chips")?);
    let (width, height) = (number(4, "width")?, number(5, "height")?);
    let side = 1..=1 << 16;
    if !(64..=1 << 16).contains(&header) || !side.contains(&width) || !side.contains(&height) {
        return Err(wrong(format!("header of {header} bytes, frame of {height} × {width}")));
    }
    let last = fields.iter().position(|f| *f == "MQ1A");
    let depth = last.and_then(|k| field(k + 3).parse::<u32>().ok());

    let raw = field(6) == "R64";
    let (element, bits) = match (field(6), depth) {
        ("U08" | "U8" | "U01" | "U1", _) => (Element::U8, 8),
        ("U16", _) => (Element::U16, 16),
        ("U32", _) => (Element::U32, 32),
        ("U64", _) => (Element::U64, 64),
        ("R64", Some(1)) => (Element::U8, 1),
        ("R64", Some(6)) => (Element::U8, 8),
        ("R64", Some(12)) => (Element::U16, 16),
        ("R64", Some(24)) => (Element::U32, 32),
        (other, depth) => {
            let depth = depth.map_or("unknown".into(), |d| d.to_string());
            return Err(Error::Unsupported { what: format!("MIB frames of type {other:?} at counter depth {depth}") });
        }
    };
    let frame = checked_len(&[height, width, bits])? / 8;
    let step = (header + frame) as u64;
    // A recording that was interrupted ends within a frame.
    let frames = usize::try_from(bytes.len() / step).unwrap_or(usize::MAX);
    if frames == 0 {
        return Err(wrong(format!("a frame takes {step} bytes, the file has {}", bytes.len())));
    }

    let hdr = beside.small(bytes.path(), "hdr", 1 << 20).map(|b| settings(&b)).unwrap_or_else(Meta::map);
    let scan = match params.scan {
        Some(scan) => Some(scan),
        None => scan_of(&hdr, frames).or_else(|| line_length(bytes, header, step, frames).map(|n| [frames / n, n])),
    };
    let quad = raw && chips == 4 && width == 4 * CHIP && height == CHIP;
    if raw && chips != 1 && !quad {
        return Err(Error::Unsupported { what: format!("RAW MIB frames of {chips} chips in {height} × {width}") });
    }
    let pattern = if quad { [2 * CHIP, 2 * CHIP] } else { [height, width] };
    let mut axes = vec![Axis::plain("y", pattern[0]), Axis::plain("x", pattern[1])];
    match scan {
        Some([sy, sx]) => {
            if sy.checked_mul(sx) != Some(frames) {
                return Err(Error::shape("mib: scan positions", &[sy, sx], &[frames]));
            }
            axes = vec![Axis::plain("scan_y", sy), Axis::plain("scan_x", sx), Axis::plain("det_y", pattern[0])];
            axes.push(Axis::plain("det_x", pattern[1]));
        }
        None if frames > 1 => axes.insert(0, Axis::plain("frame", frames)),
        None => {}
    }
    let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let mut start = header as u64;
    let store = if raw {
        let decode = Box::new(move |b: &[u8]| decode(b, bits, width, height, quad));
        let coded = Coded { bytes: bytes.clone(), dims, inner: 2, start, step, frame, decode };
        Store::Coded(coded.checked("mib")?)
    } else {
        let mut strides = row_major(&dims, element.size())?;
        let outer = dims.len() - 2;
        let mut skip = step as i64;
        for axis in (0..outer).rev() {
            strides[axis] = skip;
            skip = skip.saturating_mul(dims[axis] as i64);
        }
        // The first row of the file is the lowest of the picture.
        let row = strides[outer];
        start += (height as u64 - 1) * row as u64;
        strides[outer] = -row;
        let order = Order::Big;
        let s = Strided { bytes: bytes.clone(), element, order, dims, strides, start, table: None };
        Store::Strided(s.checked("mib")?)
    };

    let mut metadata = Meta::Map(vec![
        ("chips".into(), Meta::Integer(chips as i64)),
        ("type".into(), field(6).into()),
        ("layout".into(), field(7).into()),
        ("time".into(), field(9).into()),
        ("shutter_time_s".into(), Meta::guess_number(field(10))),
    ]);
    if let Some(depth) = depth {
        metadata.set("counter_depth", Meta::Integer(depth.into()));
    }
    metadata.set("hdr", hdr);
    let mut info = SetInfo::new("frames", element.name(), axes);
    info.metadata = metadata.clone();
    Ok(Contents { format: "mib", sets: vec![Set::new(info, store)], metadata })
}

/// Pixels of a RAW frame.
fn decode(bytes: &[u8], bits: usize, width: usize, height: usize, quad: bool) -> Result<Array, Error> {
    // Counts of 24 bits are two frames of 12, in 16 each.
    let (bits, halves) = if bits == 32 { (16, true) } else { (bits, false) };
    // Pixel `x` of a row: word x·bits/64, counted from its lowest bit.
    let row = width * bits / 8;
    let word = |first: usize, y: usize, x: usize| {
        let at = first + y * row + x * bits / 64 * 8;
        u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) >> (x * bits % 64)
    };
    if !(width * bits).is_multiple_of(64) {
        return Err(Error::Unsupported { what: format!("RAW MIB rows of {width} pixels of {bits} bits") });
    }
    let place = |y: usize, x: usize| match (quad, y < CHIP, x < CHIP) {
        (false, ..) => (y, x),
        (true, true, true) => (y, 3 * CHIP + x),
        (true, true, false) => (y, CHIP + x),
        (true, false, true) => (2 * CHIP - 1 - y, 2 * CHIP - 1 - x),
        (true, false, false) => (2 * CHIP - 1 - y, 2 * CHIP - 1 - x),
    };
    let dims = if quad { [2 * CHIP, 2 * CHIP] } else { [height, width] };
    let upright = |i: &[usize]| place(dims[0] - 1 - i[0], i[1]);
    if halves {
        return Ok(Array::U32(Tensor::from_fn(&dims, |i| {
            let (y, x) = upright(i);
            let [high, low] = [0, height * row].map(|first| word(first, y, x) as u32 & 0xfff);
            high << 12 | low
        })));
    }
    Ok(if bits == 16 {
        Array::U16(Tensor::from_fn(&dims, |i| {
            let (y, x) = upright(i);
            word(0, y, x) as u16
        }))
    } else {
        let mask = (1u64 << bits) - 1;
        Array::U8(Tensor::from_fn(&dims, |i| {
            let (y, x) = upright(i);
            (word(0, y, x) & mask) as u8
        }))
    })
}

/// The `.hdr` file: lines of a name, a colon, a tabulator and a value.
fn settings(bytes: &[u8]) -> Meta {
    let all = text(bytes);
    let lines = all.lines().filter_map(|l| l.split_once(":\t").map(|(k, v)| (k.trim(), v.trim())));
    Meta::Map(lines.map(|(k, v)| (k.replace('/', " "), Meta::guess_number(v))).collect())
}

/// The scan from the `.hdr` file: its shape, or the frames of a trigger when each trigger is a line.
fn scan_of(hdr: &Meta, frames: usize) -> Option<[usize; 2]> {
    let whole = |name: &str| hdr.number(name).filter(|v| *v >= 1.0 && *v <= frames as f64).map(|v| v as usize);
    if let (Some(x), Some(y)) = (whole("ScanX"), whole("ScanY"))
        && x.checked_mul(y) == Some(frames)
    {
        return Some([y, x]);
    }
    let line = whole("Frames per Trigger (Number)").filter(|&n| n > 1 && n < frames && frames.is_multiple_of(n))?;
    Some([frames / line, line])
}

/// Frames of a scan line, from the times of the frames: the beam needs a moment to fly back, so that the interval to
/// the next frame is longer at the end of each line and equal everywhere else.
fn line_length(bytes: &Bytes, header: usize, step: u64, frames: usize) -> Option<usize> {
    let time = |k: usize| -> Option<i64> {
        let head = bytes.head(k as u64 * step, header).ok()?;
        let head = latin1(&head);
        let mut fields = head.split(',').skip_while(|f| *f != "MQ1A");
        nanoseconds(fields.nth(1)?)
    };
    // Times of the day: an interval over midnight is negative and ends the search.
    let first = time(1)?.checked_sub(time(0)?).filter(|d| *d > 0)?;
    let tolerance = (first / 100_000).max(500);
    let longer = |k: usize| Some((time(k)? - time(k - 1)?).checked_sub(first)? > tolerance);
    let line = (2..frames.min(MAX_LINE)).find(|&k| longer(k) != Some(false)).filter(|&k| longer(k) == Some(true))?;
    if !frames.is_multiple_of(line) || line < 2 || frames / line < 2 {
        return None;
    }
    // The next two lines must be as long.
    let regular = (line + 1..frames.min(3 * line + 1)).all(|k| longer(k) == Some(k % line == 0));
    regular.then_some(line)
}

/// `2021-05-07T16:51:10.905800928Z` as nanoseconds of the day.
fn nanoseconds(time: &str) -> Option<i64> {
    let clock = time.trim().strip_suffix('Z')?.split_once('T')?.1;
    let (clock, fraction) = clock.split_once('.')?;
    let mut parts = clock.split(':').map(|p| p.parse::<i64>().ok().filter(|v| (0..60).contains(v)));
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
    if fraction.len() != 9 {
        return None;
    }
    Some(((h * 60 + m) * 60 + s) * 1_000_000_000 + fraction.parse::<u32>().ok()? as i64)
}
