//! BLO, the block files of NanoMEGAS: a scan of patterns and its virtual bright field.
//!
//! `IMGBLO`, 0x0102, address of the bright-field image, address of the patterns, …; each pattern is 0x55AA, its number
//! (4 bytes), and 8-bit pixels. Little-endian.
//!
//! # References
//! NanoMEGAS, "Block file format" notes; the header's fields as published by users of ASTAR.

use crate::error::Error;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order, Reader};
use crate::io::data_file::{Contents, Set, SetInfo, Store};
use crate::io::layout::{Element, Strided};
use crate::io::meta::Meta;
use crate::units::Energy;

pub(crate) fn recognise(head: &[u8]) -> bool {
    head.starts_with(b"IMGBLO")
}

pub(crate) fn read(bytes: &Bytes) -> Result<Contents, Error> {
    let mut r = Reader::new(bytes, "blo", Order::Little);
    r.seek(6);
    let magic = r.u16()?;
    if magic != 0x0102 {
        return Err(r.wrong(format!("0x{magic:04x} after IMGBLO, expected 0x0102")));
    }
    let (image, patterns) = (u64::from(r.u32()?), u64::from(r.u32()?));
    r.skip(4)?;
    let side = usize::from(r.u16()?);
    let pattern_rotation = f64::from(r.u16()?) / 100.0;
    let (nx, ny) = (usize::from(r.u16()?), usize::from(r.u16()?));
    let scan_rotation = f64::from(r.u16()?) / 100.0;
    let (step_x, step_y) = (r.f64()?, r.f64()?);
    let volts = r.u32()?;
    let pixels_per_cm = f64::from(r.u16()?) / 100.0;
    let camera_length = r.u32()?;
    let time = r.f64()?;
    r.seek(0xf0);
    let note = r.text(256.min((image.max(0xf0) - 0xf0) as usize)).unwrap_or_default();

    let step = |name: &str, n: usize, v: f64| match v > 0.0 && v.is_finite() {
        true => Axis::new(name, n, v, 0.0, "nm"),
        false => Axis::plain(name, n),
    };
    let pixel = |name: &str| match pixels_per_cm > 0.0 {
        true => Axis::new(name, side, 1.0 / pixels_per_cm, 0.0, "cm"),
        false => Axis::plain(name, side),
    };
    let scan = [step("scan_y", ny, step_y), step("scan_x", nx, step_x)];
    let metadata = Meta::Map(vec![
        ("pattern_rotation_deg".into(), Meta::Number(pattern_rotation)),
        ("scan_rotation_deg".into(), Meta::Number(scan_rotation)),
        ("beam_energy_V".into(), Meta::Integer(volts.into())),
        ("pixels_per_cm".into(), Meta::Number(pixels_per_cm)),
        ("camera_length".into(), Meta::Integer(camera_length.into())),
        ("acquisition_time_days".into(), Meta::Number(time)),
        ("note".into(), Meta::Text(note)),
    ]);
    let energy = (volts > 0).then(|| Energy::ev(volts.into()));

    let (element, order) = (Element::U8, Order::Little);
    let frame = (6 + side * side) as i64;
    let axes = vec![scan[0].clone(), scan[1].clone(), pixel("det_y"), pixel("det_x")];
    let (dims, strides) = (vec![ny, nx, side, side], vec![nx as i64 * frame, frame, side as i64, 1]);
    let (start, table) = (patterns + 6, None);
    let all = Strided { bytes: bytes.clone(), element, order, dims, strides, start, table }.checked("blo")?;
    let mut info = SetInfo::new("patterns", element.name(), axes);
    info.energy = energy;
    info.metadata = metadata.clone();
    let mut sets = vec![Set::new(info, Store::Strided(all))];
    // Some files have no room for the image: its address is that of the patterns.
    if patterns >= image && patterns - image >= (nx * ny) as u64 {
        let image = Strided::packed(bytes, element, order, &[ny, nx], image)?.checked("blo")?;
        let mut info = SetInfo::new("virtual bright field", element.name(), scan.to_vec());
        info.energy = energy;
        sets.push(Set::new(info, Store::Strided(image)));
    }
    Ok(Contents { format: "blo", sets, metadata })
}
