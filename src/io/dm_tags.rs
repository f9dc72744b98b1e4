//! The tag tree of DigitalMicrograph files, versions 3 and 4.
//!
//! A file is a version (3 or 4), a length, a byte order and a group of tags. A group is two flags, a number of tags and
//! the tags; a tag is a group or a value. A value begins with `%%%%` and a list of words that describe it: a plain
//! number, a structure (its fields), a string, an array (its element, which may be a structure, and its length). All of
//! this is big-endian; only the values are in the byte order of the file. Version 4 has lengths of 8 bytes where
//! version 3 has 4, and a length before each tag.
//!
//! # References
//! Notes on the DM3 and DM4 formats by C. B. Boothroyd and by G. Jefferis, as published on the web.

use crate::error::Error;
use crate::io::bytes::{Bytes, Order, Reader, latin1};
use crate::io::meta::Meta;

/// A node of the tree.
#[derive(Debug)]
pub(crate) enum Tag {
    Group(Vec<(String, Tag)>),
    Value(Meta),
    /// A long array, left in the file: address, kind of element, number of elements.
    Data {
        at: u64,
        kind: u64,
        count: u64,
        /// What a short array of 16-bit numbers says as text: that is how strings are stored.
        text: Option<String>,
    },
}

/// Groups inside groups, tags in all, and length of arrays that are read.
const MAX_DEPTH: usize = 64;
const MAX_TAGS: usize = 1 << 20;
const MAX_ARRAY: u64 = 4096;

impl Tag {
    /// The node that `path` leads to; groups of unnamed tags are counted from 0.
    pub(crate) fn get(&self, path: &str) -> Option<&Tag> {
        path.split('/').try_fold(self, |node, key| match node {
            Tag::Group(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, tag)| tag),
            _ => None,
        })
    }

    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Tag::Value(v) => v.as_number(),
            _ => None,
        }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Tag::Value(Meta::Text(t)) | Tag::Data { text: Some(t), .. } => Some(t),
            _ => None,
        }
    }

    /// The children of a group.
    pub(crate) fn children(&self) -> &[(String, Tag)] {
        match self {
            Tag::Group(entries) => entries,
            _ => &[],
        }
    }

    /// The tree as metadata; long arrays are named, not read.
    pub(crate) fn meta(&self) -> Meta {
        match self {
            Tag::Group(entries) => Meta::Map(entries.iter().map(|(name, tag)| (name.clone(), tag.meta())).collect()),
            Tag::Value(v) => v.clone(),
            Tag::Data { text: Some(t), .. } => Meta::Text(t.clone()),
            Tag::Data { count, .. } => Meta::Text(format!("array of {count} elements")),
        }
    }
}

/// Version, byte order of the values, and the root group.
pub(crate) fn read(bytes: &Bytes) -> Result<(u32, Order, Tag), Error> {
    let mut r = Reader::new(bytes, "dm", Order::Big);
    let version = r.u32()?;
    if version != 3 && version != 4 {
        return Err(r.wrong(format!("version {version}, expected 3 or 4")));
    }
    r.skip(if version == 3 { 4 } else { 8 })?;
    let order = match r.u32()? {
        0 => Order::Big,
        1 => Order::Little,
        other => return Err(r.wrong(format!("byte order {other}, expected 0 or 1"))),
    };
    let mut parser = Parser { r, wide: version == 4, order, tags: 0 };
    let root = parser.group(0)?;
    Ok((version, order, root))
}

struct Parser<'a> {
    r: Reader<'a>,
    wide: bool,
    order: Order,
    tags: usize,
}

impl Parser<'_> {
    fn word(&mut self) -> Result<u64, Error> {
        if self.wide { self.r.u64() } else { self.r.u32().map(u64::from) }
    }

    fn group(&mut self, depth: usize) -> Result<Tag, Error> {
        if depth > MAX_DEPTH {
            return Err(self.r.wrong(format!("groups nested deeper than {MAX_DEPTH}")));
        }
        self.r.skip(2)?;
        let count = self.word()?;
        let mut entries = Vec::new();
        for k in 0..count {
            self.tags += 1;
            if self.tags > MAX_TAGS {
                return Err(self.r.wrong(format!("more than {MAX_TAGS} tags")));
            }
            let kind = self.r.u8()?;
            if kind == 0 {
                break;
            }
            let length = self.r.u16()?;
            let name = latin1(&self.r.take(usize::from(length))?);
            let name = if name.is_empty() { k.to_string() } else { name };
            if self.wide {
                self.r.skip(8)?;
            }
            let tag = match kind {
                20 => self.group(depth + 1)?,
                21 => self.value()?,
                other => return Err(self.r.wrong(format!("tag of kind {other}, expected 20 or 21"))),
            };
            entries.push((name, tag));
        }
        Ok(Tag::Group(entries))
    }

    fn value(&mut self) -> Result<Tag, Error> {
        let mut mark = [0; 4];
        self.r.fill(&mut mark)?;
        if &mark != b"%%%%" {
            return Err(self.r.wrong(format!("{mark:?} where a value begins with %%%%")));
        }
        let words = self.word()?;
        if words == 0 || words > 1024 {
            return Err(self.r.wrong(format!("a description of {words} words")));
        }
        let info = (0..words).map(|_| self.word()).collect::<Result<Vec<_>, _>>()?;
        let short = |p: &Self| p.r.wrong(format!("description {info:?} is incomplete"));
        match info[0] {
            15 => {
                let fields = fields(&info).ok_or_else(|| short(self))?;
                let values = fields.iter().map(|&k| self.plain(k)).collect::<Result<Vec<_>, _>>()?;
                Ok(Tag::Value(Meta::Numbers(values.iter().map(|v| v.as_number().unwrap_or(f64::NAN)).collect())))
            }
            18 => {
                let n = *info.get(1).ok_or_else(|| short(self))?;
                let bytes = self.r.take(usize::try_from(n).unwrap_or(usize::MAX))?;
                Ok(Tag::Value(Meta::Text(latin1(&bytes))))
            }
            20 => {
                let (&count, element) = info[1..].split_last().ok_or_else(|| short(self))?;
                self.array(element, count).map_err(|e| if element.is_empty() { short(self) } else { e })
            }
            kind => Ok(Tag::Value(self.plain(kind)?)),
        }
    }

    fn array(&mut self, element: &[u64], count: u64) -> Result<Tag, Error> {
        let kind = element.first().copied().unwrap_or(0);
        let size = match kind {
            15 => fields(element).and_then(|f| f.iter().map(|&k| width(k)).sum::<Option<u64>>()),
            kind => width(kind),
        };
        let Some(size) = size else { return Err(self.r.wrong(format!("array of elements {element:?}"))) };
        let at = self.r.at();
        let Some(len) = count.checked_mul(size) else { return Err(self.r.wrong(format!("array of {count} elements"))) };
        if count > MAX_ARRAY || kind == 15 {
            self.r.skip(len)?;
            return Ok(Tag::Data { at, kind, count, text: None });
        }
        // Strings are arrays of 16-bit characters.
        if kind == 4 {
            self.r.order = self.order;
            let units = (0..count).map(|_| self.r.u16()).collect::<Result<Vec<_>, _>>();
            self.r.order = Order::Big;
            let units = units?;
            let text = String::from_utf16(&units).ok();
            return Ok(Tag::Data { at, kind, count, text });
        }
        self.r.skip(len)?;
        Ok(Tag::Data { at, kind, count, text: None })
    }

    fn plain(&mut self, kind: u64) -> Result<Meta, Error> {
        self.r.order = self.order;
        let value = match kind {
            2 => self.r.i16().map(|v| Meta::Integer(v.into())),
            3 => self.r.i32().map(|v| Meta::Integer(v.into())),
            4 => self.r.u16().map(|v| Meta::Integer(v.into())),
            5 => self.r.u32().map(|v| Meta::Integer(v.into())),
            6 => self.r.f32().map(|v| Meta::Number(v.into())),
            7 => self.r.f64().map(Meta::Number),
            8 => self.r.u8().map(|v| Meta::Bool(v != 0)),
            9 => self.r.i8().map(|v| Meta::Integer(v.into())),
            10 => self.r.u8().map(|v| Meta::Integer(v.into())),
            11 => self.r.i64().map(Meta::Integer),
            12 => self.r.u64().map(|v| i64::try_from(v).map_or(Meta::Number(v as f64), Meta::Integer)),
            other => Err(self.r.wrong(format!("value of kind {other}"))),
        };
        self.r.order = Order::Big;
        value
    }
}

/// The kinds of a structure's fields: the description is 15, name length, number of fields, then name length and kind
/// of each.
fn fields(info: &[u64]) -> Option<Vec<u64>> {
    let n = usize::try_from(*info.get(2)?).ok()?;
    let pairs = info.get(3..)?;
    (n <= pairs.len() / 2).then(|| pairs.chunks_exact(2).take(n).map(|p| p[1]).collect())
}

/// Bytes of a plain value.
pub(crate) fn width(kind: u64) -> Option<u64> {
    match kind {
        8..=10 => Some(1),
        2 | 4 => Some(2),
        3 | 5 | 6 => Some(4),
        7 | 11 | 12 => Some(8),
        _ => None,
    }
}
