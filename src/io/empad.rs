//! EMPAD: `.raw`, frames of 130 × 128 numbers, and the `.xml` that describes them.
//!
//! The first 128 rows of a frame are the pattern, the last two the detector's own notes; little-endian `f32`.
//!
//! # References
//! M. W. Tate et al., "High dynamic range pixel array detector for scanning transmission electron microscopy", Microsc.
//! Microanal. 22 (2016) 237; the XML is as the acquisition program writes it.

use crate::error::Error;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, latin1};
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::file::FileAt;
use crate::io::layout::{Element, Strided};
use crate::io::meta::Meta;
use crate::io::xml;
use crate::units::Energy;

const ROWS: usize = 130;
const SIDE: usize = 128;
const FRAME: u64 = (ROWS * SIDE * 4) as u64;

/// Whether a file of this name and length can be the raw part.
pub(crate) fn recognise_raw(bytes: &Bytes) -> bool {
    let raw = bytes.path().extension().is_some_and(|e| e.eq_ignore_ascii_case("raw"));
    raw && bytes.len() >= FRAME && bytes.len().is_multiple_of(FRAME)
}

/// Whether the bytes begin as the description does.
pub(crate) fn recognise_xml(head: &[u8]) -> bool {
    let text = latin1(head);
    text.trim_start().starts_with('<') && text.contains("<root") && text.contains("acquisition")
}

/// Opens the description; its frames are in the file that it names, beside it. Without that file there are no sets.
pub(crate) fn read_xml(bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let text = latin1(&bytes.head(0, 1 << 24)?);
    let Some((_, mut metadata)) = xml::parse(&text) else {
        return Err(Error::format("empad", bytes.path(), 0, "the description is no XML"));
    };
    let name = metadata.text("raw_file/@filename").unwrap_or("");
    // The name may be a path of the acquisition computer; only its last part counts.
    let name = name.rsplit(['/', '\\']).next().unwrap_or("").to_string();
    let raw = bytes.path().with_file_name(&name);
    if beside == Beside::Nothing || name.is_empty() || !raw.is_file() {
        metadata.set("note", Meta::Text(format!("the frames are in {name:?}, which is not beside this file")));
        return Ok(Contents { format: "empad", sets: Vec::new(), metadata });
    }
    frames(&Bytes::new(FileAt::open(&raw)?), metadata, params)
}

/// Opens the raw part; the description is the `.xml` of the same name, or one beside it that names the file.
pub(crate) fn read_raw(bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let own = beside.small(bytes.path(), "xml", 1 << 24).and_then(|b| Some(xml::parse(&latin1(&b))?.1));
    let metadata = own.or_else(|| {
        let name = bytes.path().file_name()?.to_str()?;
        let folder = bytes.path().parent().filter(|_| beside == Beside::Folder)?;
        let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
        let others = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
        others.filter(|p| p.extension().is_some_and(|e| e == "xml")).take(1000).find_map(|p| {
            let (_, tree) = xml::parse(&latin1(&beside.read(&p, 1 << 24)?))?;
            tree.text("raw_file/@filename").is_some_and(|n| n.rsplit(['/', '\\']).next() == Some(name)).then_some(tree)
        })
    });
    frames(bytes, metadata.unwrap_or_else(Meta::map), params)
}

fn frames(bytes: &Bytes, metadata: Meta, params: &OpenParams) -> Result<Contents, Error> {
    let wrong = |reason: String| Error::format("empad", bytes.path(), 0, reason);
    if bytes.len() == 0 || !bytes.len().is_multiple_of(FRAME) {
        return Err(wrong(format!("{} bytes are no whole number of frames of {FRAME}", bytes.len())));
    }
    let n = (bytes.len() / FRAME) as usize;
    let whole = |name: &str| metadata.number(name).filter(|v| *v >= 1.0 && *v <= n as f64).map(|v| v as usize);
    let stated = whole("pix_y").zip(whole("pix_x")).map(|(y, x)| [y, x]);
    let outer = match params.scan.or(stated) {
        Some([y, x]) if y.checked_mul(x) == Some(n) => vec![Axis::plain("scan_y", y), Axis::plain("scan_x", x)],
        Some([y, x]) if params.scan.is_some() => return Err(Error::shape("empad: scan positions", &[y, x], &[n])),
        Some([y, x]) => return Err(wrong(format!("{n} frames, the description says {y} × {x}"))),
        None => vec![Axis::plain("frame", n)],
    };
    let part = |name: &str, rows: usize, first: usize| -> Result<Set, Error> {
        let mut axes = outer.clone();
        axes.extend([Axis::plain("det_y", rows), Axis::plain("det_x", SIDE)]);
        let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
        let mut strides = vec![(SIDE * 4) as i64, 4];
        let mut step = FRAME as i64;
        for axis in outer.iter().rev() {
            strides.insert(0, step);
            step *= axis.size as i64;
        }
        let (start, element, order) = ((first * SIDE * 4) as u64, Element::F32, Order::Little);
        let s = Strided { bytes: bytes.clone(), element, order, dims, strides, start, table: None };
        let mut info = SetInfo::new(name, element.name(), axes);
        let volts = metadata.number("iom_measurements/source.get_voltage");
        info.energy = volts.filter(|v| *v > 0.0).map(Energy::ev);
        Ok(Set::new(info, Store::Strided(s.checked("empad")?)))
    };
    let sets = vec![part("patterns", SIDE, 0)?, part("rows of notes", ROWS - SIDE, SIDE)?];
    Ok(Contents { format: "empad", sets, metadata })
}
