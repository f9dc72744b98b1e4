//! SER, the series files of TIA (and the EMI that describes them): images, stacks, spectra, spectrum images.
//!
//! Little-endian: `II`, 0x0197, version (0x0210, or 0x0220 with addresses of 8 bytes), kind of the elements (0x4120
//! spectra, 0x4122 images), kind of the tags, elements reserved and written, address of the table of addresses, number
//! of dimensions of the series; for each its size and calibration. An element is its calibration, its data type, its
//! size, its numbers. Element `CalibrationElement` of an axis stands at `CalibrationOffset`.
//!
//! # References
//! C. B. Boothroyd, "TIA file format" notes (SER and EMI), as published on the web.

use crate::error::Error;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, Reader, latin1};
use crate::io::data_file::{Beside, Contents, Set, SetInfo, Store};
use crate::io::file::FileAt;
use crate::io::layout::{Element, Strided, row_major};
use crate::io::meta::Meta;
use crate::io::xml;
use crate::units::Energy;

/// Series of one EMI file.
const MAX_SERIES: usize = 1000;

pub(crate) fn recognise(head: &[u8]) -> bool {
    head.starts_with(&[0x49, 0x49, 0x97, 0x01])
}

/// Whether the file is an EMI: by name, for its content has no mark that is known.
pub(crate) fn recognise_emi(name: &std::path::Path) -> bool {
    name.extension().is_some_and(|e| e.eq_ignore_ascii_case("emi"))
}

pub(crate) fn read(bytes: &Bytes, beside: Beside) -> Result<Contents, Error> {
    // `name_1.ser` is described by `name.emi`.
    let stem = bytes.path().file_stem().and_then(|s| s.to_str()).unwrap_or("");
    let emi = stem.rsplit_once('_').and_then(|(base, _)| beside.small(bytes.path(), &format!("{base}.emi"), 1 << 26));
    let metadata = emi.map_or_else(Meta::map, |b| descriptions(&b));
    let set = set(bytes, stem, &metadata)?;
    Ok(Contents { format: "ser", sets: vec![set], metadata })
}

/// Opens the series that belong to an EMI file, `name_1.ser`, `name_2.ser`, …
pub(crate) fn read_emi(bytes: &Bytes, beside: Beside) -> Result<Contents, Error> {
    let metadata = descriptions(&bytes.head(0, 1 << 26)?);
    let stem = bytes.path().file_stem().and_then(|s| s.to_str()).unwrap_or("");
    let mut sets = Vec::new();
    for k in 1..MAX_SERIES {
        let path = bytes.path().with_file_name(format!("{stem}_{k}.ser"));
        if beside == Beside::Nothing || !path.is_file() {
            break;
        }
        sets.push(set(&Bytes::new(FileAt::open(&path)?), &format!("{stem}_{k}"), &metadata)?);
    }
    if sets.is_empty() && metadata == Meta::map() {
        let reason = "neither a description nor a series beside it";
        return Err(Error::format("emi", bytes.path(), 0, reason));
    }
    Ok(Contents { format: "emi", sets, metadata })
}

/// The XML descriptions between the binary parts of an EMI file.
fn descriptions(bytes: &[u8]) -> Meta {
    let text = latin1(bytes);
    let mut tree = Meta::map();
    let (mut rest, mut k) = (text.as_str(), 0);
    while let Some(at) = rest.find("<ObjectInfo>") {
        rest = &rest[at..];
        let Some(end) = rest.find("</ObjectInfo>") else { break };
        if let Some((_, info)) = xml::parse(&rest[..end + "</ObjectInfo>".len()]) {
            tree.set(&format!("ObjectInfo {k}"), info);
            k += 1;
        }
        rest = &rest[end..];
    }
    tree
}

/// High tension in kV: an entry of the experimental description, or of the conditions in V.
fn energy(metadata: &Meta) -> Option<Energy> {
    let Meta::Map(infos) = metadata else { return None };
    infos.iter().find_map(|(_, info)| {
        let volts = info.number("ExperimentalConditions/MicroscopeConditions/AcceleratingVoltage");
        volts.filter(|v| *v > 0.0).map(Energy::ev)
    })
}

/// An axis of a series or an element: offset, step, and the element that stands at the offset.
struct Calibration {
    offset: f64,
    delta: f64,
    element: u32,
}

impl Calibration {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Calibration { offset: r.f64()?, delta: r.f64()?, element: r.u32()? })
    }

    /// The same for the rows of an image, whose axis points up in TIA and down here.
    fn upward(&self, name: &str, size: usize) -> Axis {
        let up = self.axis(name, size);
        Axis { offset: -(up.offset + size.saturating_sub(1) as f64 * up.scale), ..up }
    }

    /// The file has no units of the elements. TIA has lengths in m and reciprocal ones in 1/m: no pixel is longer than
    /// a millimetre, and no reciprocal one smaller than 1/m, so the two cannot be confused. Everything else has no
    /// unit.
    fn axis(&self, name: &str, size: usize) -> Axis {
        let first = self.offset - f64::from(self.element) * self.delta;
        match self.delta.abs() {
            d if d > 0.0 && d < 1e-3 => Axis::new(name, size, 1e9 * self.delta, 1e9 * first, "nm"),
            d if d > 1.0 && d.is_finite() => Axis::new(name, size, 1e-9 * self.delta, 1e-9 * first, "1/nm"),
            d if d > 0.0 && d.is_finite() => Axis::new(name, size, self.delta, first, ""),
            _ => Axis::plain(name, size),
        }
    }
}

fn set(bytes: &Bytes, name: &str, description: &Meta) -> Result<Set, Error> {
    let mut r = Reader::new(bytes, "ser", Order::Little);
    r.seek(4);
    let version = r.u16()?;
    let wide = match version {
        0x0210 => false,
        0x0220 => true,
        other => return Err(r.wrong(format!("version 0x{other:04x}, expected 0x0210 or 0x0220"))),
    };
    let (kind, tags) = (r.u32()?, r.u32()?);
    let (reserved, written) = (r.u32()?, r.u32()?);
    let table_at = if wide { r.u64()? } else { u64::from(r.u32()?) };
    let images = match kind {
        0x4120 => false,
        0x4122 => true,
        other => return Err(r.wrong(format!("elements of kind 0x{other:04x}"))),
    };
    let dimensions = r.u32()?;
    if dimensions > 16 {
        return Err(r.wrong(format!("a series of {dimensions} dimensions")));
    }
    let mut series = Vec::new();
    for _ in 0..dimensions {
        let size = r.u32()? as usize;
        let c = Calibration::read(&mut r)?;
        let n = r.u32()? as usize;
        let description = r.text(n)?;
        let n = r.u32()? as usize;
        let unit = r.text(n)?;
        let scale = if c.delta.is_finite() && c.delta != 0.0 { c.delta } else { 1.0 };
        let first = c.offset - f64::from(c.element) * scale;
        let unit = if unit.eq_ignore_ascii_case("meters") { "m".into() } else { unit };
        series.push(Axis::new(description, size, scale, first, unit));
    }
    let written = written.min(reserved) as usize;
    let width = if wide { 8 } else { 4 };
    if (written as u64).saturating_mul(width) > bytes.len() || written == 0 {
        return Err(r.wrong(format!("{written} elements in {} bytes", bytes.len())));
    }
    r.seek(table_at);
    let mut table =
        (0..written).map(|_| if wide { r.u64() } else { r.u32().map(u64::from) }).collect::<Result<Vec<u64>, _>>()?;

    // The first element says what the others must be.
    r.seek(table[0]);
    let calibrations = [
        Calibration::read(&mut r)?,
        if images { Calibration::read(&mut r)? } else { Calibration { offset: 0.0, delta: 0.0, element: 0 } },
    ];
    let element = match r.u16()? {
        1 => Element::U8,
        2 => Element::U16,
        3 => Element::U32,
        4 => Element::I8,
        5 => Element::I16,
        6 => Element::I32,
        7 => Element::F32,
        8 => Element::F64,
        9 => Element::C32,
        10 => Element::C64,
        other => return Err(r.wrong(format!("data type {other}, expected 1 to 10"))),
    };
    let sizes = if images { vec![r.u32()? as usize, r.u32()? as usize] } else { vec![r.u32()? as usize] };
    let head = (r.at() - table[0]) as usize;
    let from = if images { 40 } else { 20 };
    let like = bytes.head(table[0], head)?;
    for (k, &at) in table.iter().enumerate() {
        if bytes.head(at, head)?.get(from..) != Some(&like[from..]) {
            let reason = format!("element {k} is of another size or type than the first");
            return Err(Error::format("ser", bytes.path(), at, reason));
        }
    }
    for at in &mut table {
        *at += head as u64;
    }

    // The series: its own dimensions, fastest first, if all of it was written.
    let product: Option<usize> = series.iter().try_fold(1usize, |n, a| n.checked_mul(a.size));
    let mut axes: Vec<Axis> = match written {
        1 => Vec::new(),
        n if product == Some(n) => series.iter().rev().cloned().collect(),
        n => vec![Axis::plain("element", n)],
    };
    let outer = axes.len();
    if images {
        axes.push(calibrations[1].upward("y", sizes[1]));
        axes.push(calibrations[0].axis("x", sizes[0]));
    } else {
        let c = &calibrations[0];
        let first = c.offset - f64::from(c.element) * c.delta;
        // Spectra of TIA are calibrated in eV; a step below 1e-3 eV is a length in m.
        axes.push(match c.delta.abs() {
            d if d > 1e-3 && d.is_finite() => Axis::new("energy", sizes[0], c.delta, first, "eV"),
            _ => c.axis("x", sizes[0]),
        });
    }
    let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let mut strides = row_major(&dims, element.size())?;
    // Images begin with their lowest row: ours is the last in the file.
    if images {
        let rows = strides[outer].checked_mul(sizes[1].saturating_sub(1) as i64).unwrap_or(i64::MAX);
        table.iter_mut().for_each(|at| *at = at.saturating_add(rows as u64));
        strides[outer] = -strides[outer];
    }
    let (start, table) = if outer == 0 { (table[0], None) } else { (0, Some((table, outer))) };
    let s = Strided { bytes: bytes.clone(), element, order: Order::Little, dims, strides, start, table };
    let mut info = SetInfo::new(name, element.name(), axes);
    info.energy = energy(description);
    info.metadata.set("version", Meta::Integer(version.into()));
    info.metadata.set("tags", Meta::Text(if tags == 0x4142 { "time and position" } else { "time" }.into()));
    Ok(Set::new(info, Store::Strided(s.checked("ser")?)))
}
