//! Gatan DigitalMicrograph, DM3 and DM4: images, stacks, spectra, spectrum images, 4D-STEM, several images a file.
//!
//! Each image of `ImageList` has `ImageData` (type, dimensions with the fastest first, calibrations, the array) and
//! `ImageTags`. Element i of an axis stands at (i − Origin) · Scale. Thumbnails are left out.
//!
//! # References
//! As [`crate::io::dm_tags`].

use num_complex::Complex;

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::{Axis, Quantity, quantity};
use crate::io::bytes::{Bytes, Order};
use crate::io::coded::Coded;
use crate::io::data_file::{Contents, Set, SetInfo, Store};
use crate::io::dm_tags::{self, Tag, width};
use crate::io::layout::{Element, Strided, row_major};
use crate::io::meta::Meta;
use crate::real::Real;
use crate::shape::checked_len;
use crate::tensor::Tensor;
use crate::units::Energy;

/// Whether the bytes begin as a DM file does: version, and a byte order of 0 or 1.
pub(crate) fn recognise(head: &[u8]) -> bool {
    let word = |at: usize| head.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match word(0) {
        Some(3) => word(8).is_some_and(|o| o <= 1),
        Some(4) => word(12).is_some_and(|o| o <= 1),
        _ => false,
    }
}

pub(crate) fn read(bytes: &Bytes) -> Result<Contents, Error> {
    let (version, order, root) = dm_tags::read(bytes)?;
    let thumbnails: Vec<usize> = (root.get("Thumbnails").map_or(&[][..], Tag::children).iter())
        .filter_map(|(_, t)| t.number("ImageIndex").map(|v| v as usize))
        .collect();
    let images = root.get("ImageList").map_or(&[][..], Tag::children);
    let mut sets = Vec::new();
    for (k, (_, image)) in images.iter().enumerate() {
        if !(thumbnails.contains(&k) && images.len() > thumbnails.len()) && image.get("ImageData/Data").is_some() {
            sets.push(set(bytes, order, k, image)?);
        }
    }
    let others = root.children().iter().filter(|(name, _)| name != "ImageList");
    let metadata = Meta::Map(others.map(|(name, tag)| (name.clone(), tag.meta())).collect());
    Ok(Contents { format: if version == 3 { "dm3" } else { "dm4" }, sets, metadata })
}

/// How a data type is stored: the element, or a colour, or a packed transform.
enum Kind {
    Plain(Element),
    /// Blue, green, red, and a byte that is not used.
    Colour,
    /// The transform of a real image, half of it.
    Packed(Element),
}

fn kind(data_type: f64) -> Option<Kind> {
    Some(match data_type as i64 {
        1 => Kind::Plain(Element::I16),
        2 => Kind::Plain(Element::F32),
        3 => Kind::Plain(Element::C32),
        5 | 27 => Kind::Packed(Element::C32),
        6 | 14 => Kind::Plain(Element::U8),
        7 => Kind::Plain(Element::I32),
        8 | 23 => Kind::Colour,
        9 => Kind::Plain(Element::I8),
        10 => Kind::Plain(Element::U16),
        11 => Kind::Plain(Element::U32),
        12 => Kind::Plain(Element::F64),
        13 => Kind::Plain(Element::C64),
        28 => Kind::Packed(Element::C64),
        39 => Kind::Plain(Element::I64),
        40 => Kind::Plain(Element::U64),
        _ => return None,
    })
}

fn set(bytes: &Bytes, order: Order, k: usize, image: &Tag) -> Result<Set, Error> {
    let wrong = |at: u64, reason: String| Error::format("dm", bytes.path(), at, reason);
    let Some(Tag::Data { at, kind: stored, count, .. }) = image.get("ImageData/Data") else {
        return Err(wrong(0, format!("image {k} has no array of data")));
    };
    let data_type = image.number("ImageData/DataType").ok_or_else(|| wrong(*at, format!("image {k} has no type")))?;
    let kind = kind(data_type)
        .ok_or_else(|| Error::Unsupported { what: format!("DigitalMicrograph data type {data_type}") })?;

    // Dimensions and calibrations, fastest first in the file.
    let mut axes = Vec::new();
    let sizes = image.get("ImageData/Dimensions").map_or(&[][..], Tag::children);
    for (name, size) in sizes.iter().rev() {
        let Tag::Value(size) = size else { continue };
        let size = size.as_number().filter(|n| *n >= 0.0 && *n <= 1e15).unwrap_or(0.0) as usize;
        let of = |what: &str| format!("ImageData/Calibrations/Dimension/{name}/{what}");
        let scale = image.number(&of("Scale")).unwrap_or(1.0);
        let origin = image.number(&of("Origin")).unwrap_or(0.0);
        let unit = image.text(&of("Units")).unwrap_or("");
        axes.push(Axis::new("", size, scale, -origin * scale, unit));
    }
    if axes.is_empty() {
        return Err(wrong(*at, format!("image {k} has no dimensions")));
    }
    let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let there = match stored {
        15 => bytes.len() - at,
        stored => count.saturating_mul(width(*stored).unwrap_or(1)),
    };
    let check = |needed: Option<usize>| match needed {
        Some(n) if n as u64 <= there => Ok(()),
        _ => Err(wrong(*at, format!("{dims:?} elements of type {data_type} in an array of {there} bytes"))),
    };
    let elements = checked_len(&dims)?;

    let order_of_axes = axis_order(&axes, image);
    let axes: Vec<Axis> = order_of_axes.iter().map(|&a| axes[a].clone()).collect();
    let mut axes = named(axes);
    let (store, dtype) = match kind {
        Kind::Plain(element) => {
            check(elements.checked_mul(element.size()))?;
            let s = Strided::packed(bytes, element, order, &dims, *at)?.permuted(&order_of_axes).checked("dm")?;
            (Store::Strided(s), element.name())
        }
        Kind::Colour => {
            check(elements.checked_mul(4))?;
            let mut strides = row_major(&dims, 4)?;
            strides.push(-1);
            let (mut colours, start) = (dims.clone(), at + 2);
            colours.push(3);
            axes.push(Axis::plain("colour", 3));
            let element = Element::U8;
            let s = Strided { bytes: bytes.clone(), element, order, dims: colours, strides, start, table: None };
            (Store::Strided(s.checked("dm")?), element.name())
        }
        Kind::Packed(element) => {
            let coded = packed(bytes, *at, element, order, &dims)?;
            check(Some(coded.frame))?;
            (Store::Coded(coded.checked("dm")?), element.name())
        }
    };
    let name = image.text("Name").filter(|n| !n.is_empty()).map_or_else(|| format!("image {k}"), str::to_string);
    let mut info = SetInfo::new(name, dtype, axes);
    info.energy = image.number("ImageTags/Microscope Info/Voltage").filter(|v| *v > 0.0).map(Energy::ev);
    info.metadata = image.get("ImageTags").map_or_else(Meta::map, Tag::meta);
    for what in ["Origin", "Scale"] {
        if let Some(v) = image.number(&format!("ImageData/Calibrations/Brightness/{what}")) {
            info.metadata.set(&format!("Brightness/{what}"), Meta::Number(v));
        }
    }
    if let Some(unit) = image.text("ImageData/Calibrations/Brightness/Units") {
        info.metadata.set("Brightness/Units", unit.into());
    }
    Ok(Set::new(info, store))
}

fn is_energy(axis: &Axis) -> bool {
    matches!(quantity(1.0, &axis.unit), Quantity::Energy(_))
}

/// Where each axis of ours is in the file. Spectrum images have the energy as the slowest axis: it becomes the last.
/// Scans of patterns whose fast axes are lengths and slow ones reciprocal have the patterns first: they become the last
/// two.
fn axis_order(axes: &[Axis], image: &Tag) -> Vec<usize> {
    let mut order: Vec<usize> = (0..axes.len()).collect();
    let format = image.text("ImageTags/Meta Data/Format").unwrap_or("");
    let energies: Vec<usize> = order.iter().copied().filter(|&a| is_energy(&axes[a])).collect();
    if let [energy] = energies[..] {
        order.retain(|&a| a != energy);
        order.push(energy);
    } else if energies.is_empty() && axes.len() == 3 && format == "Spectrum image" {
        order = vec![1, 2, 0];
    } else if let [a, b, c, d] = axes {
        let diffraction = |x: &Axis| matches!(quantity(1.0, &x.unit), Quantity::Frequency(_) | Quantity::Angle(_));
        let length = |x: &Axis| matches!(quantity(1.0, &x.unit), Quantity::Length(_));
        if diffraction(a) && diffraction(b) && length(c) && length(d) {
            order = vec![2, 3, 0, 1];
        }
    }
    order
}

/// Names by position; an energy is called so.
pub(crate) fn named(mut axes: Vec<Axis>) -> Vec<Axis> {
    let energy = axes.last().is_some_and(is_energy);
    let spatial = axes.len() - usize::from(energy);
    let names: &[&str] = match spatial {
        0 => &[],
        1 => &["x"],
        2 => &["y", "x"],
        3 => &["z", "y", "x"],
        4 => &["scan_y", "scan_x", "det_y", "det_x"],
        _ => &[],
    };
    for (axis, name) in axes.iter_mut().zip(names) {
        axis.name = (*name).to_string();
    }
    if energy && let Some(last) = axes.last_mut() {
        last.name = "energy".into();
    }
    axes
}

/// The packed transform of a real image of h × w pixels: its columns of frequency 0, −1, … −⌊w/2⌋, rows with the zero
/// frequency in the middle. The other columns follow from F(−k) = F(k)*.
fn packed(bytes: &Bytes, at: u64, element: Element, order: Order, dims: &[usize]) -> Result<Coded, Error> {
    let &[h, w] = dims else {
        return Err(Error::Unsupported { what: format!("a packed transform of dimensions {dims:?}") });
    };
    let frame = checked_len(&[h, w / 2 + 1, element.size()])?;
    let decode = move |b: &[u8]| {
        if element == Element::C64 {
            let words = b.as_chunks::<8>().0.iter().map(|&c| match order {
                Order::Little => f64::from_le_bytes(c),
                Order::Big => f64::from_be_bytes(c),
            });
            return Ok(Array::C64(unpack(&words.collect::<Vec<_>>(), h, w)));
        }
        let words = b.as_chunks::<4>().0.iter().map(|&c| match order {
            Order::Little => f32::from_le_bytes(c),
            Order::Big => f32::from_be_bytes(c),
        });
        Ok(Array::C32(unpack(&words.collect::<Vec<_>>(), h, w)))
    };
    let (step, dims) = (frame as u64, dims.to_vec());
    Ok(Coded { bytes: bytes.clone(), dims, inner: 2, start: at, step, frame, decode: Box::new(decode) })
}

/// `half` is (h, ⌊w/2⌋ + 1, 2), the result (h, w) with the zero frequency at (⌊h/2⌋, ⌊w/2⌋).
fn unpack<T: Real>(half: &[T], h: usize, w: usize) -> Tensor<Complex<T>> {
    let columns = w / 2 + 1;
    let at = |y: usize, k: usize| Complex::new(half[2 * (y * columns + k)], half[2 * (y * columns + k) + 1]);
    Tensor::from_fn(&[h, w], |i| {
        let (y, x) = (i[0], i[1]);
        if x <= w / 2 { at(y, w / 2 - x) } else { at((2 * (h / 2) - y) % h, x - w / 2).conj() }
    })
}
