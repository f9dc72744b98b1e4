//! MRC, MRCS and CCP4 maps: reading.
//!
//! 1024 bytes of header (all words of 4 bytes): columns, rows, sections, mode; first indices; samples of the cell (mx,
//! my, mz), its lengths in Å and angles; which cell axis the columns, rows and sections run along; …; length of the
//! extended header (word 24), its kind (byte 104), the mark `MAP ` (byte 208), the machine stamp (byte 212), labels.
//! Then the extended header and the sections.
//!
//! # References
//! - A. Cheng et al., "MRC2014: Extensions to the MRC format header for electron cryo-microscopy and tomography", J.
//!   Struct. Biol. 192 (2015) 146.
//! - The extended headers SERI and of FEI: IMOD's "MRC file format" notes; Thermo Fisher, "MRC2014 extended header"
//!   (EPU manual).

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, Reader, text};
use crate::io::coded::Coded;
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::layout::{Element, Strided};
use crate::io::meta::Meta;
use crate::shape::checked_len;
use crate::tensor::Tensor;
use crate::units::{Angle, Energy};

/// Bytes of the header.
const HEADER: u64 = 1024;
/// Word 38 of a file by IMOD or SerialEM.
const IMOD: i32 = 1_146_047_817;

/// The byte order, if the bytes begin as an MRC file does. The mark `MAP ` is absent from old files: then dimensions,
/// mode and axes must make sense.
pub(crate) fn order(head: &[u8], file_len: u64) -> Option<Order> {
    if head.len() < HEADER as usize {
        return None;
    }
    let sound = |order: Order| {
        let word = |k: usize| {
            let b = [head[4 * k], head[4 * k + 1], head[4 * k + 2], head[4 * k + 3]];
            if order == Order::Little { i32::from_le_bytes(b) } else { i32::from_be_bytes(b) }
        };
        let dims = (0..3).all(|k| word(k) > 0 && word(k) < 1 << 24);
        let mode = matches!(word(3), 0..=4 | 6 | 12 | 16 | 101);
        let marked = &head[208..211] == b"MAP";
        let mut axes = [word(16), word(17), word(18)];
        axes.sort_unstable();
        let axes = axes == [1, 2, 3] || axes == [0, 0, 0];
        let fits = HEADER + word(23).max(0) as u64 <= file_len;
        dims && mode && word(23) >= 0 && (marked || (axes && fits && (0..3).all(|k| word(7 + k) >= 0)))
    };
    [Order::Little, Order::Big].into_iter().find(|&o| sound(o))
}

/// The words of the header that are used.
struct Header {
    dims: [usize; 3],
    mode: i32,
    samples: [i32; 3],
    cell: [f32; 3],
    along: [usize; 3],
    extended: u64,
    kind: [u8; 4],
    per_section: [i16; 2],
    imod: Option<i32>,
    sections_are_volume: bool,
    labels: Vec<String>,
}

fn header(bytes: &Bytes, order: Order) -> Result<(Header, Meta), Error> {
    let mut r = Reader::new(bytes, "mrc", order);
    let mut ints = |at: u64, n: usize| -> Result<Vec<i32>, Error> {
        r.seek(at);
        (0..n).map(|_| r.i32()).collect()
    };
    let (dims, starts, samples) = (ints(0, 4)?, ints(16, 3)?, ints(28, 3)?);
    let (along, group, imod) = (ints(64, 3)?, ints(88, 2)?, ints(152, 2)?);
    let labels = ints(220, 1)?[0].clamp(0, 10);
    let mut floats = |at: u64, n: usize| -> Result<Vec<f32>, Error> {
        r.seek(at);
        (0..n).map(|_| r.f32()).collect()
    };
    let (cell, angles, range) = (floats(40, 3)?, floats(52, 3)?, floats(76, 3)?);
    let origin = floats(196, 3)?;
    r.seek(104);
    let kind: [u8; 4] = r.take(4)?.try_into().expect("4 bytes");
    let version = r.i32()?;
    r.seek(128);
    let per_section = [r.i16()?, r.i16()?];
    r.seek(224);
    let labels = (0..labels).map(|_| r.text(80)).collect::<Result<Vec<_>, _>>()?;

    let numbers = |v: &[i32]| Meta::Numbers(v.iter().map(|&v| v.into()).collect());
    let reals = |v: &[f32]| Meta::Numbers(v.iter().map(|&v| v.into()).collect());
    let metadata = Meta::Map(vec![
        ("mode".into(), Meta::Integer(dims[3].into())),
        ("nstart".into(), numbers(&starts)),
        ("m".into(), numbers(&samples)),
        ("cell_A".into(), reals(&cell)),
        ("angles_deg".into(), reals(&angles)),
        ("map_axes".into(), numbers(&along)),
        ("min_max_mean".into(), reals(&range)),
        ("space_group".into(), Meta::Integer(group[0].into())),
        ("extended_header".into(), Meta::Text(text(&kind))),
        ("version".into(), Meta::Integer(version.into())),
        ("origin_A".into(), reals(&origin)),
        ("labels".into(), Meta::List(labels.iter().map(|l| Meta::Text(l.clone())).collect())),
    ]);
    let size = |k: usize| usize::try_from(dims[k]).ok().filter(|&n| n > 0);
    let (Some(nx), Some(ny), Some(nz)) = (size(0), size(1), size(2)) else {
        return Err(Error::format("mrc", bytes.path(), 0, format!("dimensions {:?}", &dims[..3])));
    };
    // Where the axes make no permutation, columns are x.
    let mut sorted = [along[0], along[1], along[2]];
    sorted.sort_unstable();
    let along = if sorted == [1, 2, 3] { [0, 1, 2].map(|k| along[k] as usize - 1) } else { [0, 1, 2] };
    let header = Header {
        dims: [nz, ny, nx],
        mode: dims[3],
        samples: [samples[0], samples[1], samples[2]],
        cell: [cell[0], cell[1], cell[2]],
        along,
        extended: u64::try_from(group[1]).unwrap_or(0),
        kind,
        per_section,
        imod: (imod[0] == IMOD).then_some(imod[1]),
        // Space group 0 with mz = nz is a stack of images; 401 and above stacks of volumes.
        sections_are_volume: group[0] >= 1 && group[0] < 401,
        labels,
    };
    Ok((header, metadata))
}

pub(crate) fn read(bytes: &Bytes, order: Order, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let (h, mut metadata) = header(bytes, order)?;
    let start = HEADER + h.extended;
    let sections = sections(bytes, order, &h)?;
    if let Some(m) = sections.metadata {
        metadata.set("extended", m);
    }

    // Lengths of a sample in nm, columns first. A cell of zeros, or negative ones, is no calibration; nor is one of
    // exactly 1 Å a sample where the extended header knows better.
    let nm = |k: usize| {
        let along = h.along[k];
        let step = f64::from(h.cell[along]) / f64::from(h.samples[along]) / 10.0;
        if h.samples[along] > 0 && step.is_finite() && step > 0.0 { Some(step) } else { None }
    };
    let names = ["x", "y", "z"].map(str::to_string);
    let axis = |k: usize, size: usize, step: Option<f64>| match step {
        Some(step) => Axis::new(names[h.along[k]].clone(), size, step, 0.0, "nm"),
        None => Axis::plain(names[h.along[k]].clone(), size),
    };
    let image = |k: usize| sections.pixel.map(|p| 1e9 * p[k]).or_else(|| nm(k));
    let mut axes = vec![axis(1, h.dims[1], image(1)), axis(0, h.dims[2], image(0))];
    let nz = h.dims[0];
    if nz > 1 {
        let stack = !h.sections_are_volume || !sections.tilts.is_empty();
        axes.insert(0, axis(2, nz, nm(2).filter(|_| !stack)));
    }
    if let Some([sy, sx]) = params.scan {
        if sy.checked_mul(sx) != Some(nz) {
            return Err(Error::shape("mrc: scan positions", &[sy, sx], &[nz]));
        }
        axes = vec![
            Axis::plain("scan_y", sy),
            Axis::plain("scan_x", sx),
            axes[axes.len() - 2].clone(),
            axes[axes.len() - 1].clone(),
        ];
    }
    let mut dims: Vec<usize> = axes.iter().map(|a| a.size).collect();

    let element = match h.mode {
        // Bytes are signed by the standard; IMOD says in its flags when they are not.
        0 if h.imod.is_some_and(|flags| flags & 1 == 0) => Element::U8,
        0 => Element::I8,
        1 => Element::I16,
        2 => Element::F32,
        3 => Element::C16,
        4 => Element::C32,
        6 => Element::U16,
        12 => Element::F16,
        16 => {
            dims.push(3);
            axes.push(Axis::plain("colour", 3));
            Element::U8
        }
        101 => Element::U8,
        other => return Err(Error::Unsupported { what: format!("{}: MRC mode {other}", bytes.path().display()) }),
    };
    let store = if h.mode == 101 {
        Store::Coded(half_bytes(bytes, start, &dims)?.checked("mrc")?)
    } else {
        Store::Strided(Strided::packed(bytes, element, order, &dims, start)?.checked("mrc")?)
    };
    let mut info = SetInfo::new("data", element.name(), axes);
    info.energy = sections.energy;
    info.tilts = sections.tilts;
    if info.tilts.len() != nz {
        info.tilts = beside.small(bytes.path(), "rawtlt", 1 << 20).map_or_else(Vec::new, |t| angles(&t, nz));
    }
    info.metadata = metadata.clone();
    Ok(Contents { format: "mrc", sets: vec![Set::new(info, store)], metadata })
}

/// Angles in degrees, one a line; none when there are not as many as sections.
fn angles(bytes: &[u8], n: usize) -> Vec<Angle> {
    let text = String::from_utf8_lossy(bytes);
    let read: Option<Vec<Angle>> = text.split_whitespace().map(|w| w.parse().ok().map(Angle::deg)).collect();
    read.filter(|a| a.len() == n && a.iter().all(|a| a.is_finite())).unwrap_or_default()
}

/// Mode 101: two pixels a byte, the first in the low half; rows of an odd number of pixels end with a half that is not
/// used.
fn half_bytes(bytes: &Bytes, start: u64, dims: &[usize]) -> Result<Coded, Error> {
    let [.., h, w] = *dims else { return Err(Error::shape("mrc mode 101", &[0, 0], dims)) };
    let frame = checked_len(&[h, w.div_ceil(2)])?;
    let decode = move |b: &[u8]| {
        let row = w.div_ceil(2);
        let value = |i: &[usize]| b[i[0] * row + i[1] / 2] >> (4 * (i[1] % 2)) & 15;
        Ok(Array::U8(Tensor::from_fn(&[h, w], value)))
    };
    let (bytes, dims, step) = (bytes.clone(), dims.to_vec(), frame as u64);
    Ok(Coded { bytes, dims, inner: 2, start, step, frame, decode: Box::new(decode) })
}

/// What the extended header says of the sections.
#[derive(Default)]
struct Sections {
    tilts: Vec<Angle>,
    energy: Option<Energy>,
    /// Metres a pixel, x and y.
    pixel: Option<[f64; 2]>,
    metadata: Option<Meta>,
}

fn sections(bytes: &Bytes, order: Order, h: &Header) -> Result<Sections, Error> {
    let nz = h.dims[0] as u64;
    let there = h.extended.min(bytes.len().saturating_sub(HEADER));
    let mut r = Reader::new(bytes, "mrc", order);
    let mut out = Sections::default();
    match &h.kind {
        b"FEI1" | b"FEI2" => {
            r.seek(HEADER);
            let size = if there >= 768 { u64::try_from(r.i32()?).unwrap_or(0) } else { 0 };
            if size >= 768 && size.saturating_mul(nz) <= there {
                fei(&mut r, size, nz, &mut out)?;
            }
        }
        b"SERI" => seri(&mut r, h, there, &mut out)?,
        _ if h.per_section == [0, 32] && there >= 128 * nz.min(1024) => old_fei(&mut r, h, nz, &mut out)?,
        // A CCP4 map: lines of 80 characters with the symmetry operations.
        _ if there > 0 && there.is_multiple_of(80) && there <= 1 << 16 => {
            r.seek(HEADER);
            let lines = (0..there / 80).map(|_| r.text(80)).collect::<Result<Vec<_>, _>>()?;
            if lines.iter().all(|l| l.chars().all(|c| !c.is_control())) {
                out.metadata = Some(Meta::List(lines.into_iter().map(Meta::Text).collect()));
            }
        }
        _ => {}
    }
    Ok(out)
}

/// FEI1 and FEI2: a record a section, at fixed places behind two words of flags that say which numbers are valid.
fn fei(r: &mut Reader<'_>, size: u64, nz: u64, out: &mut Sections) -> Result<(), Error> {
    // Name, byte, factor, bit of the first flags.
    const NUMBERS: [(&str, u64, u32); 13] = [
        ("high_tension_V", 84, 6),
        ("dose_per_m2", 92, 7),
        ("alpha_tilt_deg", 100, 8),
        ("beta_tilt_deg", 108, 9),
        ("stage_x_m", 116, 10),
        ("stage_y_m", 124, 11),
        ("stage_z_m", 132, 12),
        ("tilt_axis_deg", 140, 13),
        ("dual_axis_rotation_deg", 148, 14),
        ("pixel_x_m", 156, 15),
        ("pixel_y_m", 164, 16),
        ("defocus_m", 220, 22),
        ("magnification", 289, 30),
    ];
    let mut first = Meta::map();
    for section in 0..nz {
        let at = HEADER + section * size;
        r.seek(at + 8);
        let valid = r.u32()?;
        let mut value = |k: usize| -> Result<Option<f64>, Error> {
            let (_, offset, bit) = NUMBERS[k];
            r.seek(at + offset);
            let v = r.f64()?;
            Ok((valid >> bit & 1 == 1 && v.is_finite()).then_some(v))
        };
        if let Some(tilt) = value(2)? {
            out.tilts.push(Angle::deg(tilt));
        }
        if section == 0 {
            out.energy = value(0)?.filter(|v| *v > 0.0).map(Energy::ev);
            out.pixel = value(9)?.zip(value(10)?).filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| [x, y]);
            for (k, (name, ..)) in NUMBERS.iter().enumerate() {
                if let Some(v) = value(k)? {
                    first.set(name, Meta::Number(v));
                }
            }
            r.seek(at + 20);
            first.set("microscope", Meta::Text(r.text(16)?));
            r.seek(at + 52);
            first.set("application", Meta::Text(r.text(16)?));
        }
    }
    // A single image at a tilt is not a series.
    if nz == 1 {
        out.tilts.clear();
    }
    out.metadata = Some(first);
    Ok(())
}

/// SerialEM: a record a section of 16-bit numbers, those whose bit is set in word 33: tilt (1), piece (3), stage (2),
/// magnification, intensity, dose (2).
fn seri(r: &mut Reader<'_>, h: &Header, there: u64, out: &mut Sections) -> Result<(), Error> {
    let [size, flags] = h.per_section;
    let nz = h.dims[0] as u64;
    if size <= 0 || flags & 1 == 0 || size as u64 * nz > there {
        return Ok(());
    }
    for section in 0..nz {
        r.seek(HEADER + section * size as u64);
        out.tilts.push(Angle::deg(f64::from(r.i16()?) / 100.0));
    }
    Ok(())
}

/// Files of FEI before 2014: 1024 records of 128 bytes, numbers of 32 bits: α and β tilt (degrees), stage (3), shift
/// (2), defocus, exposure, mean, tilt axis, pixel size (m), magnification.
fn old_fei(r: &mut Reader<'_>, h: &Header, nz: u64, out: &mut Sections) -> Result<(), Error> {
    if nz > 1024 || !h.labels.iter().any(|l| l.contains("Fei") || l.contains("FEI")) {
        return Ok(());
    }
    let mut tilts = Vec::new();
    for section in 0..nz {
        r.seek(HEADER + 128 * section);
        tilts.push(Angle::deg(r.f32()?.into()));
        if section == 0 {
            r.seek(HEADER + 44);
            let pixel = f64::from(r.f32()?);
            out.pixel = (pixel > 0.0 && pixel < 1e-3).then_some([pixel; 2]);
        }
    }
    // Records of zeros: the angles were not written.
    if tilts.windows(2).any(|t| t[0] != t[1]) && tilts.iter().all(|t| t.is_finite()) {
        out.tilts = tilts;
    }
    Ok(())
}
