//! HDF5: writing of arrays with their calibration.
//!
//! The file follows the EMD convention, which HyperSpy, py4DSTEM and ncempy open and h5py users understand: a group an
//! array, in it `data` and a vector `dim1` … an axis with `name` and `units`. Of HDF5 only the oldest parts are used:
//! superblock 0, object headers 1, groups of one B-tree node, contiguous data. Data come first, so that all addresses
//! are known when the headers are built.
//!
//! # References
//! - The HDF Group, "HDF5 File Format Specification, version 3.0": II.A (superblock 0), III.A.1 (B-tree 1), III.B
//!   (symbol table nodes), III.D (local heaps), IV.A.1.a (headers 1), IV.A.2 (messages 1, 3, 5, 8, 12, 17).
//! - NCEM, "Electron Microscopy Datasets", 0.2.

use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::io::array::ArrayRef;
use crate::io::axis::Axis;
use crate::io::file::replace;

/// An array with its name and axes, as [`write()`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct Hdf5Array<'a> {
    /// Name of the group.
    pub name: &'a str,
    /// The elements.
    pub array: ArrayRef<'a>,
    /// One axis a dimension.
    pub axes: &'a [Axis],
}

const UNDEFINED: u64 = u64::MAX;
/// Bytes of the superblock.
const START: u64 = 96;
/// Half of the children of a B-tree node.
const INTERNAL_K: u16 = 16;

/// Writes arrays into an HDF5 file, one group each: `/NAME/data`, `/NAME/dim1`, …
///
/// # Errors
/// - [`Error::Param`] for names that are empty, contain `/` or NUL, or occur twice,
/// - [`Error::Shape`] when there is not one axis a dimension, or more than 32,
/// - [`Error::Io`].
///
/// # Examples
/// ```
/// use exitwave::io::{self, Axis, hdf5_write};
/// use exitwave::tensor::Tensor;
/// let image = Tensor::from_fn(&[2, 3], |i| (i[0] * 3 + i[1]) as f32);
/// let axes = [Axis::new("y", 2, 0.5, 0.0, "nm"), Axis::new("x", 3, 0.5, 0.0, "nm")];
/// let path = std::env::temp_dir().join(format!("exitwave-doc-{}.h5", std::process::id()));
/// hdf5_write::write(&path, &[hdf5_write::Hdf5Array { name: "image", array: (&image).into(), axes: &axes }])?;
/// let file = io::open(&path)?;
/// assert_eq!(file.info(0)?.axes, axes);
/// assert_eq!(file.read(0)?.into_real::<f32>()?, image);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn write(path: impl AsRef<Path>, arrays: &[Hdf5Array<'_>]) -> Result<(), Error> {
    let path = path.as_ref();
    for (k, a) in arrays.iter().enumerate() {
        let name = a.name;
        if name.is_empty() || name == "." || name.contains(['/', '\0']) || arrays[..k].iter().any(|b| b.name == name) {
            return Err(Error::param("name", format!("{name:?}"), "distinct names without '/' and NUL"));
        }
        let sizes: Vec<usize> = a.axes.iter().map(|x| x.size).collect();
        if sizes != a.array.dims || sizes.len() > 32 {
            return Err(Error::shape("hdf5_write: axes", a.array.dims, &sizes));
        }
    }

    // Data: the arrays, then the values of their axes.
    let mut blocks: Vec<(u64, Block<'_>)> = Vec::new();
    let mut at = START;
    let mut place = |block| -> u64 {
        let start = at;
        at += Block::len(&block).div_ceil(8) * 8;
        blocks.push((start, block));
        start
    };
    let mut root = Vec::new();
    for a in arrays {
        let mut group = vec![(
            "data".to_string(),
            Node::set(place(Block::Array(a.array.bytes)), a.array.dims, a.array.descr, vec![]),
        )];
        for (k, axis) in a.axes.iter().enumerate() {
            let values: Vec<f64> = (0..axis.size).map(|i| axis.value(i)).collect();
            let attributes =
                vec![("name".into(), Value::Text(axis.name.clone())), ("units".into(), Value::Text(axis.unit.clone()))];
            let start = place(Block::Values(values));
            group.push((format!("dim{}", k + 1), Node::set(start, &[axis.size], "f8", attributes)));
        }
        let attributes = vec![("emd_group_type".into(), Value::Integer(1))];
        root.push((a.name.to_string(), Node::Group { attributes, members: group }));
    }
    let version = |n| Value::Integer(n);
    let attributes = vec![("version_major".into(), version(0)), ("version_minor".into(), version(2))];
    let root = Node::Group { attributes, members: root };

    // Headers, all of them behind the data, members before their group.
    let most = arrays.iter().map(|a| a.axes.len() + 1).max().unwrap_or(0).max(arrays.len());
    let leaf_k = u16::try_from(most.div_ceil(2).max(4)).map_err(|_| Error::param("arrays", most, "at most 131070"))?;
    let mut headers = Headers { bytes: Vec::new(), start: at, leaf_k: usize::from(leaf_k) };
    let root = headers.node(&root);
    let end = headers.start + headers.bytes.len() as u64;

    replace(path, |out| {
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::io(path, e));
        put(&superblock(leaf_k, root, end))?;
        for (_, block) in &blocks {
            let bytes: &[u8] = match block {
                Block::Array(b) => b,
                Block::Values(v) => bytemuck::cast_slice(v),
            };
            put(bytes)?;
            put(&[0; 8][..bytes.len().next_multiple_of(8) - bytes.len()])?;
        }
        put(&headers.bytes)
    })
}

/// The numbers of a data set.
enum Block<'a> {
    Array(&'a [u8]),
    Values(Vec<f64>),
}

impl Block<'_> {
    fn len(block: &Block<'_>) -> u64 {
        match block {
            Block::Array(b) => b.len() as u64,
            Block::Values(v) => 8 * v.len() as u64,
        }
    }
}

/// The value of an attribute.
enum Value {
    Text(String),
    Integer(i64),
}

enum Node {
    Group { attributes: Vec<(String, Value)>, members: Vec<(String, Node)> },
    Set { at: u64, dims: Vec<usize>, descr: &'static str, attributes: Vec<(String, Value)> },
}

impl Node {
    fn set(at: u64, dims: &[usize], descr: &'static str, attributes: Vec<(String, Value)>) -> Node {
        Node::Set { at, dims: dims.to_vec(), descr, attributes }
    }
}

fn superblock(leaf_k: u16, root: u64, end: u64) -> Vec<u8> {
    let mut b = b"\x89HDF\r\n\x1a\n".to_vec();
    // Versions of the superblock, free space, root group, shared messages; sizes of addresses and lengths.
    b.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    b.extend(leaf_k.to_le_bytes());
    b.extend(INTERNAL_K.to_le_bytes());
    b.extend([0; 4]);
    for address in [0, UNDEFINED, end, UNDEFINED] {
        b.extend(u64::to_le_bytes(address));
    }
    // The root group's entry: name, header, nothing cached.
    for word in [0, root, 0, 0, 0] {
        b.extend(u64::to_le_bytes(word));
    }
    b
}

struct Headers {
    bytes: Vec<u8>,
    /// Address of the first of them.
    start: u64,
    leaf_k: usize,
}

impl Headers {
    /// Address of what comes next.
    fn here(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Writes a node and everything below it; gives the address of its header.
    fn node(&mut self, node: &Node) -> u64 {
        let mut messages: Vec<(u16, Vec<u8>)> = Vec::new();
        let attributes = match node {
            Node::Group { attributes, members } => {
                let (tree, heap) = self.group(members);
                messages.push((17, [tree.to_le_bytes(), heap.to_le_bytes()].concat()));
                attributes
            }
            Node::Set { at, dims, descr, attributes } => {
                let (datatype, size) = datatype(descr);
                let len = dims.iter().product::<usize>() * size;
                messages.push((1, dataspace(dims)));
                messages.push((3, datatype));
                // No fill value; space is allocated late.
                messages.push((5, vec![2, 2, 2, 0]));
                let at = if len == 0 { UNDEFINED } else { *at };
                messages.push((8, [&[3, 1][..], &at.to_le_bytes(), &(len as u64).to_le_bytes()].concat()));
                attributes
            }
        };
        messages.extend(attributes.iter().map(|(name, value)| (12, attribute(name, value))));
        let mut body = Vec::new();
        for (kind, content) in &messages {
            let padded = content.len().next_multiple_of(8);
            body.extend(kind.to_le_bytes());
            body.extend((padded as u16).to_le_bytes());
            body.extend([0; 4]);
            body.extend(content);
            body.resize(body.len() + padded - content.len(), 0);
        }
        let at = self.here();
        self.bytes.extend([1, 0]);
        self.bytes.extend((messages.len() as u16).to_le_bytes());
        self.bytes.extend(1u32.to_le_bytes());
        self.bytes.extend((body.len() as u32).to_le_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(body);
        at
    }

    /// Writes the members of a group, their names, and the tables; gives the addresses of the B-tree and of the heap.
    fn group(&mut self, members: &[(String, Node)]) -> (u64, u64) {
        // Symbols are sorted by name; names stand in the heap, which begins with an empty one.
        let mut order: Vec<&(String, Node)> = members.iter().collect();
        order.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        let mut names = vec![0u8; 8];
        let mut symbols = Vec::new();
        for (name, node) in order {
            let header = self.node(node);
            symbols.push((names.len() as u64, header));
            names.extend(name.as_bytes());
            names.push(0);
            names.resize(names.len().next_multiple_of(8), 0);
        }

        let table = self.here();
        self.bytes.extend(b"SNOD\x01\0");
        self.bytes.extend((symbols.len() as u16).to_le_bytes());
        for (name, header) in &symbols {
            self.bytes.extend(name.to_le_bytes());
            self.bytes.extend(header.to_le_bytes());
            self.bytes.extend([0; 24]);
        }
        self.bytes.resize(self.bytes.len() + 40 * (2 * self.leaf_k - symbols.len()), 0);

        let heap = self.here();
        self.bytes.extend(b"HEAP\0\0\0\0");
        self.bytes.extend((names.len() as u64).to_le_bytes());
        // 1: there is no free block.
        self.bytes.extend(1u64.to_le_bytes());
        self.bytes.extend((heap + 32).to_le_bytes());
        self.bytes.extend(&names);

        let tree = self.here();
        let end = self.bytes.len() + 24 + 8 * (4 * usize::from(INTERNAL_K) + 1);
        self.bytes.extend(b"TREE\0\0");
        self.bytes.extend(u16::from(!symbols.is_empty()).to_le_bytes());
        for word in [UNDEFINED, UNDEFINED, 0, table, symbols.last().map_or(0, |s| s.0)] {
            self.bytes.extend(u64::to_le_bytes(word));
        }
        self.bytes.resize(end, 0);
        (tree, heap)
    }
}

fn dataspace(dims: &[usize]) -> Vec<u8> {
    let mut b = vec![1, dims.len() as u8, 0, 0, 0, 0, 0, 0];
    dims.iter().for_each(|&n| b.extend((n as u64).to_le_bytes()));
    b
}

/// The datatype message of elements in native byte order, and their size.
fn datatype(descr: &str) -> (Vec<u8>, usize) {
    let big = u8::from(cfg!(target_endian = "big"));
    let fixed = |signed: u8, size: u8| {
        let mut b = vec![0x10, big | signed << 3, 0, 0, size, 0, 0, 0, 0, 0, 8 * size, 0];
        b.resize(16, 0);
        (b, usize::from(size))
    };
    let float = |size: u8| {
        let (sign, exponent, width, bias) = if size == 4 { (31, 23, 8, 127u32) } else { (63, 52, 11, 1023) };
        let mut b = vec![0x11, 0x20 | big, sign, 0, size, 0, 0, 0, 0, 0, 8 * size, 0, exponent, width, 0, exponent];
        b.extend(bias.to_le_bytes());
        b.resize(24, 0);
        (b, usize::from(size))
    };
    // A record of two numbers: name (8 bytes), offset, no dimensions, type.
    let complex = |size: u8| {
        let mut b = vec![0x16, 2, 0, 0, 2 * size, 0, 0, 0];
        for (name, offset) in [(b'r', 0), (b'i', size)] {
            b.extend([name, 0, 0, 0, 0, 0, 0, 0, offset, 0, 0, 0]);
            b.extend([0; 28]);
            b.extend(&float(size).0[..20]);
        }
        (b, 2 * usize::from(size))
    };
    match descr {
        "u1" => fixed(0, 1),
        "i1" => fixed(1, 1),
        "u2" => fixed(0, 2),
        "i2" => fixed(1, 2),
        "u4" => fixed(0, 4),
        "i4" => fixed(1, 4),
        "u8" => fixed(0, 8),
        "i8" => fixed(1, 8),
        "f4" => float(4),
        "f8" => float(8),
        "c8" => complex(4),
        _ => complex(8),
    }
}

fn attribute(name: &str, value: &Value) -> Vec<u8> {
    let (datatype, content) = match value {
        Value::Integer(v) => (datatype("i8").0[..12].to_vec(), v.to_ne_bytes().to_vec()),
        // UTF-8, padded with zeros; a text has at least one byte.
        Value::Text(t) => {
            let mut content = t.as_bytes()[..t.len().min(60_000)].to_vec();
            content.push(0);
            let mut b = vec![0x13, 0x10, 0, 0];
            b.extend((content.len() as u32).to_le_bytes());
            (b, content)
        }
    };
    let space = dataspace(&[]);
    let mut b = vec![1, 0];
    for len in [name.len() + 1, datatype.len(), space.len()] {
        b.extend((len as u16).to_le_bytes());
    }
    for part in [[name.as_bytes(), &[0]].concat(), datatype, space] {
        b.extend(&part);
        b.resize(b.len() + part.len().next_multiple_of(8) - part.len(), 0);
    }
    b.extend(content);
    b
}
