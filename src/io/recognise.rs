//! Which format a file has: by its first bytes, by its name only where a format has no mark.

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, Reader, latin1};
use crate::io::data_file::{Beside, Contents, OpenParams, Set, SetInfo, Store};
use crate::io::hdf5::Hdf5;
use crate::io::layout::Strided;
use crate::io::meta::Meta;
use crate::io::npz::Npz;
use crate::io::{blo, cif, dm, empad, hdf5_family, mat, mib, mrc_read, msa, npy, ser, tiff_read, tvips, xyz};
use crate::shape::Limits;
use crate::tensor::Tensor;

/// Bytes that are looked at.
const HEAD: usize = 4096;

pub(crate) fn read_any(path: &Path, bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let head = bytes.head(0, HEAD)?;
    if hdf5_family::recognise(&head) {
        return hdf5_family::read(hdf5(path, bytes, beside, params)?, params);
    }
    if head.starts_with(b"\x93NUMPY") {
        return numpy(path, bytes);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return archive(path, bytes, beside, params);
    }
    if dm::recognise(&head) {
        return dm::read(bytes);
    }
    if mib::recognise(&head) {
        return mib::read(bytes, beside, params);
    }
    if ser::recognise(&head) {
        return ser::read(bytes, beside);
    }
    if blo::recognise(&head) {
        return blo::read(bytes);
    }
    if tiff_read::recognise(&head) {
        return tiff_read::read(bytes, params);
    }
    if mat::recognise(&head) {
        return mat::read(bytes, params);
    }
    if msa::recognise(&head) {
        return msa::read(bytes, params);
    }
    if empad::recognise_xml(&head) {
        return empad::read_xml(bytes, beside, params);
    }
    if tvips::recognise(&head, path) {
        return tvips::read(bytes, beside, params);
    }
    if ser::recognise_emi(path) {
        return ser::read_emi(bytes, beside);
    }
    if empad::recognise_raw(bytes) {
        return empad::read_raw(bytes, beside, params);
    }
    if let Some(order) = mrc_read::order(&head, bytes.len()) {
        return mrc_read::read(bytes, order, beside, params);
    }
    text(path, bytes, &head, params)
}

/// Structures, which are texts.
fn text(path: &Path, bytes: &Bytes, head: &[u8], params: &OpenParams) -> Result<Contents, Error> {
    let unknown = || Error::Unsupported { what: format!("{}: a file of a format that is not known", path.display()) };
    if head.contains(&0) || head.is_empty() {
        return Err(unknown());
    }
    let ends = |with: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(with));
    let start = latin1(head);
    let is_cif = ends("cif") || start.lines().any(|l| l.starts_with("data_"));
    let is_xyz = ends("xyz") || xyz::recognise(&start);
    if !is_cif && !is_xyz {
        return Err(unknown());
    }
    params.limits.check(bytes.len().saturating_mul(4))?;
    let all = latin1(&bytes.head(0, usize::try_from(bytes.len()).unwrap_or(usize::MAX))?);
    let named = |e: Error| match e {
        Error::Format { format, offset, reason, .. } => Error::format(format, path, offset, reason),
        e => e,
    };
    if is_cif {
        structure_cif(&cif::parse(&all).map_err(named)?)
    } else {
        structure_xyz(&xyz::parse(&all).map_err(named)?)
    }
}

/// A cell as sets: positions, and occupancies.
fn structure_cif(cell: &cif::CifStructure) -> Result<Contents, Error> {
    let metadata = Meta::Map(vec![
        ("name".into(), Meta::Text(cell.name.clone())),
        ("lengths_A".into(), Meta::Numbers(cell.lengths.iter().map(|l| l.to_angstrom()).collect())),
        ("angles_deg".into(), Meta::Numbers(cell.angles.iter().map(|a| a.to_deg()).collect())),
        ("space_group".into(), Meta::Text(cell.space_group.clone())),
        ("operations".into(), Meta::Integer(cell.operations as i64)),
        ("symbols".into(), Meta::Text(formula(cell.atoms.iter().map(|a| a.symbol.as_str())))),
    ]);
    let positions = cell.atoms.iter().flat_map(|a| a.position).collect();
    let occupancies = cell.atoms.iter().map(|a| a.occupancy).collect();
    let sets =
        vec![columns("fractional positions", cell.atoms.len(), positions, "")?, column("occupancies", occupancies)?];
    Ok(Contents { format: "cif", sets, metadata })
}

fn structure_xyz(list: &xyz::XyzStructure) -> Result<Contents, Error> {
    let mut metadata = Meta::Map(vec![
        ("comment".into(), Meta::Text(list.comment.clone())),
        ("symbols".into(), Meta::Text(formula(list.atoms.iter().map(|a| a.symbol)))),
    ]);
    if let Some(cell) = list.cell {
        metadata.set("cell_A", Meta::Numbers(cell.iter().flatten().map(|l| l.to_angstrom()).collect()));
    }
    let positions = list.atoms.iter().flat_map(|a| a.position.map(|p| p.to_angstrom())).collect();
    let occupancies = list.atoms.iter().map(|a| a.occupancy).collect();
    let sets = vec![columns("positions", list.atoms.len(), positions, "Å")?, column("occupancies", occupancies)?];
    Ok(Contents { format: "xyz", sets, metadata })
}

fn columns(name: &str, n: usize, values: Vec<f64>, unit: &str) -> Result<Set, Error> {
    // The unit belongs to the numbers; the axis only counts them.
    let mut info = SetInfo::new(name, "f64", vec![Axis::plain("atom", n), Axis::plain("xyz", 3)]);
    if !unit.is_empty() {
        info.metadata.set("unit", unit.into());
    }
    Ok(Set::new(info, Store::Memory(Array::F64(Tensor::from_vec(&[n, 3], values)?))))
}

fn column(name: &str, values: Vec<f64>) -> Result<Set, Error> {
    let info = SetInfo::new(name, "f64", vec![Axis::plain("atom", values.len())]);
    Ok(Set::new(info, Store::Memory(Array::F64(Tensor::from_vec(&[values.len()], values)?))))
}

/// How many atoms of each element there are: `"Si8 O16"`.
fn formula<'a>(symbols: impl Iterator<Item = &'a str>) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for s in symbols {
        match counts.iter_mut().find(|(n, _)| *n == s) {
            Some(entry) => entry.1 += 1,
            None => counts.push((s, 1)),
        }
    }
    counts.iter().map(|(s, n)| format!("{s}{n}")).collect::<Vec<_>>().join(" ")
}

fn hdf5(path: &Path, bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Hdf5, Error> {
    let limited = params.limits != Limits::default();
    match (beside, limited) {
        (Beside::Folder, false) => Hdf5::open(path),
        (Beside::Folder, true) => Hdf5::open_with(path, params.limits),
        (Beside::Nothing, limited) => {
            let all = bytes.head(0, usize::try_from(bytes.len()).unwrap_or(usize::MAX))?;
            if limited { Hdf5::parse_with(all, params.limits) } else { Hdf5::parse(all) }
        }
    }
}

fn numpy(path: &Path, bytes: &Bytes) -> Result<Contents, Error> {
    let mut r = Reader::new(bytes, "npy", Order::Little);
    r.seek(6);
    let long = r.u8()? > 1;
    r.skip(1)?;
    let len = if long { r.u32()? as usize } else { usize::from(r.u16()?) };
    let head = bytes.head(0, len.saturating_add(12).min(1 << 20))?;
    let h = npy::read_header(&mut head.as_slice(), bytes.len(), path)?;
    let element = h.element()?;
    let order = if h.swapped != cfg!(target_endian = "big") { Order::Big } else { Order::Little };
    let mut s = Strided::packed(bytes, element, order, &h.dims, h.offset as u64)?;
    if h.fortran {
        let mut step = element.size() as i64;
        for (stride, &n) in s.strides.iter_mut().zip(&h.dims) {
            *stride = step;
            step = step.saturating_mul(n as i64);
        }
    }
    let axes = h.dims.iter().map(|&n| Axis::plain("", n)).collect();
    let set = Set::new(SetInfo::new("data", element.name(), axes), Store::Strided(s.checked("npy")?));
    Ok(Contents { format: "npy", sets: vec![set], metadata: Meta::map() })
}

fn archive(path: &Path, bytes: &Bytes, beside: Beside, params: &OpenParams) -> Result<Contents, Error> {
    let npz = match beside {
        Beside::Folder => Npz::open_with(path, params.limits)?,
        Beside::Nothing => Npz::parse(bytes.head(0, usize::try_from(bytes.len()).unwrap_or(usize::MAX))?)?,
    };
    let npz = Arc::new(npz);
    let mut sets = Vec::new();
    let mut metadata = Meta::map();
    for name in npz.names() {
        // Entries that are no arrays of numbers are named, and do not spoil the others.
        match npz.header(name).and_then(|h| Ok((h.element()?, h.dims))) {
            Ok((element, dims)) => {
                let axes = dims.iter().map(|&n| Axis::plain("", n)).collect();
                let info = SetInfo::new(name.as_str(), element.name(), axes);
                sets.push(Set::new(info, Store::Npz(npz.clone(), name.clone())));
            }
            Err(e) => metadata.set(&format!("unreadable/{}", name.replace('/', " ")), Meta::Text(e.to_string())),
        }
    }
    Ok(Contents { format: "npz", sets, metadata })
}
