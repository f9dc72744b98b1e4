//! TIFF and BigTIFF: reading of images and stacks, with the calibrations that DigitalMicrograph and ImageJ write.
//!
//! The container is read by a library written in Rust; this file and `tiff.rs` are the only ones that know it. Pages of
//! one size and type that follow each other are a stack. Uncompressed pages are read in parts, compressed ones page by
//! page.
//!
//! # References
//! - TIFF 6.0, with the supplements on BigTIFF and sample formats.
//! - Private tags of DigitalMicrograph, as its files have them: 65003–65005 units of x, y, z, 65006–65008 origins,
//!   65009–65011 scales; element i stands at (i − origin) · scale.
//! - ImageJ's description: `images`, `unit`, `spacing`; the resolutions are pixels a unit.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult, Limits as TiffLimits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use crate::error::Error;
use crate::io::array::{Array, NpyElement};
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, Order};
use crate::io::coded::Parts;
use crate::io::data_file::{Contents, OpenParams, Set, SetInfo, Store};
use crate::io::layout::{Element, Strided, advance, row_major};
use crate::io::meta::Meta;
use crate::io::npy::half_to_f32;
use crate::shape::checked_len;
use crate::tensor::Tensor;

const MAX_PAGES: usize = 1 << 20;
/// Deflate gives 1032 bytes for one, LZW at most 1400.
const EXPANSION: u64 = 1400;

pub(crate) fn recognise(head: &[u8]) -> bool {
    matches!(head.get(..4), Some(b"II*\0" | b"MM\0*" | b"II+\0" | b"MM\0+"))
}

/// The file as a stream.
struct Stream {
    bytes: Bytes,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = (out.len() as u64).min(self.bytes.len().saturating_sub(self.at)) as usize;
        self.bytes.read_at(self.at, &mut out[..n]).map_err(std::io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by),
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

type Pages = Decoder<BufReader<Stream>>;

fn decoder(bytes: &Bytes, most: u64) -> Result<Pages, TiffError> {
    let stream = BufReader::new(Stream { bytes: bytes.clone(), at: 0 });
    let mut limits = TiffLimits::default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    limits.decoding_buffer_size = most;
    limits.intermediate_buffer_size = most;
    // The table of a page with many strips: at most what the file has.
    limits.ifd_value_size = usize::try_from(bytes.len()).unwrap_or(usize::MAX).max(1 << 20);
    Ok(Decoder::new(stream)?.with_limits(limits))
}

fn convert(bytes: &Bytes, e: TiffError) -> Error {
    match e {
        TiffError::IoError(e) => Error::io(bytes.path(), e),
        TiffError::UnsupportedError(e) => Error::Unsupported { what: format!("{}: TIFF: {e}", bytes.path().display()) },
        e => Error::format("tiff", bytes.path(), 0, e),
    }
}

/// A page, as far as it is known without its elements.
struct Page {
    /// Height, width, samples a pixel.
    dims: [usize; 3],
    element: Element,
    /// Address of the elements, if they are in one piece and not compressed.
    at: Option<u64>,
}

/// Pages that must be decoded.
#[derive(Debug)]
pub(crate) struct TiffPages {
    bytes: Bytes,
    first: usize,
    count: usize,
    page: Vec<usize>,
    most: u64,
}

pub(crate) fn read(bytes: &Bytes, params: &OpenParams) -> Result<Contents, Error> {
    let most = params.limits.bytes.min(bytes.len().saturating_mul(EXPANSION));
    let failed = |e| convert(bytes, e);
    let mut d = decoder(bytes, most).map_err(failed)?;
    let order = if d.byte_order() == tiff::tags::ByteOrder::LittleEndian { Order::Little } else { Order::Big };
    let mut pages = Vec::new();
    let mut calibration = None;
    loop {
        pages.push(page(bytes, &mut d, most)?);
        if calibration.is_none() {
            calibration = Some(Calibration::read(&mut d));
        }
        if !d.more_images() || pages.len() >= MAX_PAGES {
            break;
        }
        d.next_image().map_err(failed)?;
    }
    let calibration = calibration.unwrap_or_default();

    // Runs of equal pages.
    let mut sets: Vec<Set> = Vec::new();
    let mut first = 0;
    while first < pages.len() {
        let like = |p: &Page| p.dims == pages[first].dims && p.element == pages[first].element;
        let count = pages[first..].iter().take_while(|p| like(p)).count();
        let run = &pages[first..first + count];
        sets.push(set(bytes, order, run, first, pages.len(), &calibration, most)?);
        first += count;
    }
    Ok(Contents { format: "tiff", sets, metadata: calibration.metadata })
}

fn page(bytes: &Bytes, d: &mut Pages, most: u64) -> Result<Page, Error> {
    let failed = |e| convert(bytes, e);
    let (width, height) = d.dimensions().map_err(failed)?;
    let color = d.colortype().map_err(failed)?;
    let (bits, samples) = match color {
        ColorType::Gray(b) => (b, 1),
        ColorType::GrayA(b) => (b, 2),
        ColorType::RGB(b) => (b, 3),
        ColorType::RGBA(b) | ColorType::CMYK(b) => (b, 4),
        ColorType::Multiband { bit_depth, num_samples } => (bit_depth, usize::from(num_samples)),
        other => return Err(Error::Unsupported { what: format!("{}: TIFF pixels {other:?}", bytes.path().display()) }),
    };
    let format = d.find_tag(Tag::SampleFormat).map_err(failed)?;
    let format = match format {
        Some(Value::List(list)) => list.into_iter().next(),
        other => other,
    };
    let format = format.and_then(|v| v.into_u16().ok()).unwrap_or(1);
    let element = match (format, bits) {
        (1 | 4, 8) => Element::U8,
        (1 | 4, 16) => Element::U16,
        (1 | 4, 32) => Element::U32,
        (1 | 4, 64) => Element::U64,
        (2, 8) => Element::I8,
        (2, 16) => Element::I16,
        (2, 32) => Element::I32,
        (2, 64) => Element::I64,
        (3, 16) => Element::F16,
        (3, 32) => Element::F32,
        (3, 64) => Element::F64,
        _ => {
            let what = format!("{}: TIFF samples of {bits} bits, format {format}", bytes.path().display());
            return Err(Error::Unsupported { what });
        }
    };
    let dims = [height as usize, width as usize, samples];
    let len = checked_len(&[dims[0], dims[1], dims[2], element.size()])? as u64;
    if len > most {
        let reason = format!("a page of {dims:?} in a file of {} bytes", bytes.len());
        return Err(Error::format("tiff", bytes.path(), 0, reason));
    }
    Ok(Page { dims, element, at: plain(d, len).map_err(failed)? })
}

/// Address of the elements of a page whose strips are neither compressed nor scattered.
fn plain(d: &mut Pages, len: u64) -> Result<Option<u64>, TiffError> {
    let one = |d: &mut Pages, tag, default: u32| -> Result<u32, TiffError> {
        Ok(d.find_tag_unsigned::<u32>(tag)?.unwrap_or(default))
    };
    if one(d, Tag::Compression, 1)? != 1
        || one(d, Tag::Predictor, 1)? != 1
        || one(d, Tag::PlanarConfiguration, 1)? != 1
        || one(d, Tag::FillOrder, 1)? != 1
        || one(d, Tag::PhotometricInterpretation, 1)? == 0
        || d.find_tag(Tag::TileWidth)?.is_some()
    {
        return Ok(None);
    }
    let (Some(at), Some(counts)) =
        (d.find_tag_unsigned_vec::<u64>(Tag::StripOffsets)?, d.find_tag_unsigned_vec::<u64>(Tag::StripByteCounts)?)
    else {
        return Ok(None);
    };
    let joined = at.windows(2).zip(&counts).all(|(a, n)| a[0].checked_add(*n) == Some(a[1]));
    let total = counts.iter().fold(0u64, |s, n| s.saturating_add(*n));
    Ok((at.len() == counts.len() && joined && total >= len).then(|| at.first().copied()).flatten())
}

fn set(
    bytes: &Bytes,
    order: Order,
    run: &[Page],
    first: usize,
    pages: usize,
    calibration: &Calibration,
    most: u64,
) -> Result<Set, Error> {
    let Page { dims: [h, w, samples], element, at } = run[0];
    let mut page = vec![h, w];
    let mut axes = vec![calibration.axis(1, "y", h), calibration.axis(0, "x", w)];
    if samples > 1 {
        page.push(samples);
        axes.push(Axis::plain("sample", samples));
    }
    let bytes_of_page = checked_len(&page)? * element.size();

    // ImageJ writes stacks beyond 4 GB as one page with the others behind it.
    let behind = calibration.images.filter(|&n| n > 1 && pages == 1);
    let count = match (behind, at) {
        (Some(n), Some(at)) if (n as u64).saturating_mul(bytes_of_page as u64) <= bytes.len().saturating_sub(at) => n,
        _ => run.len(),
    };
    if count > 1 {
        axes.insert(0, calibration.axis(2, "n", count));
    }
    let dims: Vec<usize> = axes.iter().map(|a| a.size).collect();
    let name = if run.len() == pages { "data".to_string() } else { format!("page {first}") };
    let mut info = SetInfo::new(name, element.name(), axes);
    info.metadata = calibration.metadata.clone();
    let starts: Option<Vec<u64>> = run.iter().map(|p| p.at).collect();
    let strided = |start, table| -> Result<Strided, Error> {
        let strides = row_major(&dims, element.size())?;
        Strided { bytes: bytes.clone(), element, order, dims: dims.clone(), strides, start, table }.checked("tiff")
    };
    let store = match starts {
        Some(starts) if count == 1 || behind == Some(count) => strided(starts[0], None).map(Store::Strided),
        Some(starts) => strided(0, Some((starts, 1))).map(Store::Strided),
        None => Ok(Store::Pages(TiffPages { bytes: bytes.clone(), first, count, page, most })),
    };
    Ok(Set::new(info, store?))
}

impl TiffPages {
    /// Reads a part; `ranges` lie within the dimensions.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Array, Error> {
        let failed = |e| convert(&self.bytes, e);
        let (outer, inner) = ranges.split_at(ranges.len() - self.page.len());
        let mut parts = Parts::new(ranges)?;
        let mut d = decoder(&self.bytes, self.most).map_err(failed)?;
        let mut index: Vec<usize> = outer.iter().map(|r| r.start).collect();
        for _ in 0..outer.iter().map(Range::len).product::<usize>() {
            let k = index.first().copied().unwrap_or(0).min(self.count - 1);
            d.seek_to_image(self.first + k).map_err(failed)?;
            let array = array(&self.page, d.read_image().map_err(failed)?)?;
            parts.push(&array, &self.page, inner)?;
            advance(&mut index, outer);
        }
        parts.finish()
    }
}

fn array(dims: &[usize], decoded: DecodingResult) -> Result<Array, Error> {
    fn of<E: NpyElement>(dims: &[usize], v: Vec<E>) -> Result<Array, Error> {
        Ok(E::array(Tensor::from_vec(dims, v)?))
    }
    match decoded {
        DecodingResult::U8(v) => of(dims, v),
        DecodingResult::U16(v) => of(dims, v),
        DecodingResult::U32(v) => of(dims, v),
        DecodingResult::U64(v) => of(dims, v),
        DecodingResult::I8(v) => of(dims, v),
        DecodingResult::I16(v) => of(dims, v),
        DecodingResult::I32(v) => of(dims, v),
        DecodingResult::I64(v) => of(dims, v),
        DecodingResult::F32(v) => of(dims, v),
        DecodingResult::F64(v) => of(dims, v),
        DecodingResult::F16(v) => of(dims, v.into_iter().map(|h| half_to_f32(h.to_bits())).collect::<Vec<f32>>()),
    }
}

/// Scale, offset and unit of x, y and z, and what else the tags of the first page say.
#[derive(Default)]
struct Calibration {
    axes: [Option<(f64, f64, String)>; 3],
    images: Option<usize>,
    metadata: Meta,
}

impl Calibration {
    fn read(d: &mut Pages) -> Self {
        let mut out = Calibration::default();
        let description = d.get_tag_ascii_string(Tag::ImageDescription).unwrap_or_default();
        if !description.is_empty() {
            out.metadata.set("description", Meta::Text(description.clone()));
        }
        for (name, tag) in [("software", Tag::Software), ("time", Tag::DateTime), ("make", Tag::Make)] {
            if let Ok(text) = d.get_tag_ascii_string(tag) {
                out.metadata.set(name, Meta::Text(text));
            }
        }
        let private = |d: &mut Pages, code: u16| d.find_tag(Tag::Unknown(code)).ok().flatten();
        for k in 0..3u16 {
            let number = |v: Option<Value>| v.and_then(|v| v.into_f64().ok());
            let scale = number(private(d, 65009 + k));
            let origin = number(private(d, 65006 + k)).unwrap_or(0.0);
            // The unit is Latin-1, which the library does not take for text.
            let mut unit = [0; 64];
            let found = d.image_ifd().find_tag_bytes(Tag::Unknown(65003 + k), &mut unit, 0);
            let unit = if matches!(found, Ok(Some(_))) { crate::io::bytes::text(&unit) } else { String::new() };
            if let Some(scale) = scale {
                out.axes[usize::from(k)] = Some((scale, -origin * scale, unit));
            }
        }
        if description.starts_with("ImageJ=") {
            out.imagej(d, &description);
        }
        out
    }

    fn imagej(&mut self, d: &mut Pages, description: &str) {
        let word = |key: &str| {
            description.lines().find_map(|l| l.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v.trim()))
        };
        self.images = word("images").and_then(|v| v.parse().ok());
        let Some(unit) = word("unit").filter(|u| !matches!(*u, "pixel" | "pixels" | "")) else { return };
        // ImageJ escapes the micro sign.
        let unit = unit.replace("\\u00B5", "µ").replace("micron", "µm");
        let mut resolution = |tag| match d.find_tag(tag).ok().flatten() {
            Some(Value::Rational(n, m)) if n > 0 => Some(f64::from(m) / f64::from(n)),
            _ => None,
        };
        for (k, tag) in [Tag::XResolution, Tag::YResolution].into_iter().enumerate() {
            if let Some(scale) = resolution(tag) {
                self.axes[k] = Some((scale, 0.0, unit.clone()));
            }
        }
        if let Some(spacing) = word("spacing").and_then(|v| v.parse::<f64>().ok()) {
            self.axes[2] = Some((spacing, 0.0, unit));
        }
    }

    fn axis(&self, k: usize, name: &str, size: usize) -> Axis {
        match &self.axes[k] {
            Some((scale, offset, unit)) => Axis::new(name, size, *scale, *offset, unit.clone()),
            None => Axis::plain(name, size),
        }
    }
}
