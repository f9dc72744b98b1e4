//! XYZ: lists of atoms, plain, extended, and in the form of Prismatic and computem.
//!
//! | kind | lines |
//! |---|---|
//! | plain | number of atoms; comment; `symbol x y z` |
//! | extended | the comment has `Lattice="…"` (three vectors) and `Properties=…` |
//! | Prismatic | comment; three lengths of the cell; `Z x y z occupancy displacement`; `-1` |
//!
//! All lengths are Å.
//!
//! # References
//! - Extended XYZ: the format's specification (libatoms). Prismatic: A. Pryor, C. Ophus, J. Miao, Adv. Struct. Chem.
//!   Imaging 3 (2017) 15; E. J. Kirkland, "Advanced Computing in Electron Microscopy", for the form of its lists.

use std::path::Path;

use crate::error::Error;
use crate::io::bytes::latin1;
use crate::io::file::FileAt;
use crate::io::symmetry::{atomic_number, symbol};
use crate::shape::try_reserved;
use crate::units::Length;

const MAX_BYTES: u64 = 1 << 32;

/// A list of atoms.
#[derive(Clone, Debug, PartialEq)]
pub struct XyzStructure {
    /// The comment line.
    pub comment: String,
    /// Vectors of the cell, each `[x, y, z]`, where the file has them.
    pub cell: Option<[[Length; 3]; 3]>,
    /// The atoms.
    pub atoms: Vec<XyzAtom>,
}

/// An atom of an [`XyzStructure`].
#[derive(Clone, Debug, PartialEq)]
pub struct XyzAtom {
    /// Chemical symbol.
    pub symbol: &'static str,
    /// Position `[x, y, z]`.
    pub position: [Length; 3],
    /// Probability that it is there: 1 where the file has none.
    pub occupancy: f64,
    /// Root of the mean square displacement as the file has it; Prismatic takes it for each direction.
    pub displacement: Option<Length>,
}

/// Reads a file.
///
/// # Errors
/// - [`Error::Io`],
/// - [`Error::Format`] when it is none of the three kinds.
pub fn read(path: impl AsRef<Path>) -> Result<XyzStructure, Error> {
    let path = path.as_ref();
    let file = FileAt::open(path)?;
    if file.len() > MAX_BYTES {
        return Err(Error::format("xyz", path, 0, format!("{} bytes, at most {MAX_BYTES}", file.len())));
    }
    let mut bytes = crate::shape::try_zeroed(file.len() as usize)?;
    file.read_exact_at(0, &mut bytes)?;
    parse_at(&latin1(&bytes), path)
}

/// Reads a text.
///
/// # Errors
/// As [`read`].
///
/// # Examples
/// ```
/// let text = "one cell\n 4 4 4\n 79 0 0 2 1.0 0.1\n-1\n";
/// let gold = exitwave::io::xyz::parse(text)?;
/// assert_eq!((gold.atoms[0].symbol, gold.atoms[0].position[2].to_angstrom()), ("Au", 2.0));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn parse(text: &str) -> Result<XyzStructure, Error> {
    parse_at(text, Path::new(""))
}

/// Whether a text is one of the three kinds.
pub(crate) fn recognise(text: &str) -> bool {
    let mut lines = text.lines();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return false };
    let Some(third) = lines.next() else { return false };
    let plain = first.trim().parse::<usize>().is_ok() && row(third).is_some_and(|(n, _)| n >= 4);
    let lengths = numbers(second).is_some_and(|v| v.len() == 3);
    plain || lengths && numbers(third).is_some_and(|v| v.len() >= 4)
}

/// Number of words of a line of a plain file, if it is one.
fn row(line: &str) -> Option<(usize, &'static str)> {
    let mut words = line.split_whitespace();
    let element = species(words.next()?)?;
    let n = words.clone().take(3).filter(|w| w.parse::<f64>().is_ok()).count();
    (n == 3).then(|| (1 + words.count(), element))
}

fn numbers(line: &str) -> Option<Vec<f64>> {
    line.split_whitespace().map(|w| w.parse::<f64>().ok().filter(|v| v.is_finite())).collect()
}

/// A symbol, or a number that stands for one.
fn species(word: &str) -> Option<&'static str> {
    let letters: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
    match word.parse::<u8>() {
        Ok(n) => symbol(n),
        Err(_) => symbol(atomic_number(&letters)?),
    }
}

fn parse_at(text: &str, path: &Path) -> Result<XyzStructure, Error> {
    let wrong = |line: usize, reason: &str| Error::format("xyz", path, 0, format!("line {}: {reason}", line + 1));
    let mut lines = text.lines().enumerate();
    let (Some((_, first)), Some((_, second))) = (lines.next(), lines.next()) else {
        return Err(wrong(0, "fewer than two lines"));
    };
    // A line takes at least 7 characters.
    let mut atoms: Vec<XyzAtom> = try_reserved(text.len() / 40)?;
    if let Ok(count) = first.trim().parse::<usize>() {
        let columns = Columns::of(second).ok_or_else(|| wrong(1, "`Properties` without species or pos"))?;
        for (k, line) in lines.by_ref().take(count) {
            atoms.push(columns.atom(line).ok_or_else(|| wrong(k, "no symbol and three numbers"))?);
        }
        if atoms.len() != count {
            return Err(wrong(text.lines().count(), &format!("{} atoms, the first line says {count}", atoms.len())));
        }
        return Ok(XyzStructure { comment: second.to_string(), cell: lattice(second), atoms });
    }

    let Some([a, b, c]) = numbers(second).and_then(|v| <[f64; 3]>::try_from(v).ok()) else {
        return Err(wrong(1, "neither a number of atoms first nor three lengths second"));
    };
    let length = Length::angstrom;
    let cell = [
        [length(a), Length::ZERO, Length::ZERO],
        [Length::ZERO, length(b), Length::ZERO],
        [Length::ZERO, Length::ZERO, length(c)],
    ];
    for (k, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        let v = numbers(line).ok_or_else(|| wrong(k, "not all words are numbers"))?;
        if v[0] == -1.0 {
            break;
        }
        let symbol = Some(v[0]).filter(|z| z.fract() == 0.0 && (1.0..=118.0).contains(z)).and_then(|z| symbol(z as u8));
        let (Some(symbol), true) = (symbol, v.len() >= 4) else {
            return Err(wrong(k, "no atomic number and three lengths"));
        };
        atoms.push(XyzAtom {
            symbol,
            position: [v[1], v[2], v[3]].map(length),
            occupancy: v.get(4).copied().unwrap_or(1.0),
            displacement: v.get(5).copied().map(length),
        });
    }
    Ok(XyzStructure { comment: first.to_string(), cell: Some(cell), atoms })
}

/// `Lattice="ax ay az bx by bz cx cy cz"` of an extended comment.
fn lattice(comment: &str) -> Option<[[Length; 3]; 3]> {
    let v = numbers(quoted(comment, "Lattice=")?)?;
    (v.len() == 9).then(|| std::array::from_fn(|i| std::array::from_fn(|j| Length::angstrom(v[3 * i + j]))))
}

/// What follows a key, in quotes or up to a blank.
fn quoted<'a>(comment: &'a str, key: &str) -> Option<&'a str> {
    let rest = &comment[comment.find(key)? + key.len()..];
    match rest.strip_prefix('"') {
        Some(rest) => rest.split_once('"').map(|(v, _)| v),
        None => rest.split_whitespace().next(),
    }
}

/// Where symbol, position and occupancy stand in a line.
struct Columns {
    species: usize,
    position: usize,
    occupancy: Option<usize>,
}

impl Columns {
    /// From `Properties=species:S:1:pos:R:3:…`; a plain file has symbol and position first.
    fn of(comment: &str) -> Option<Self> {
        let Some(list) = quoted(comment, "Properties=") else {
            return Some(Columns { species: 0, position: 1, occupancy: None });
        };
        let (mut species, mut position, mut occupancy, mut at) = (None, None, None, 0usize);
        let parts: Vec<&str> = list.split(':').collect();
        for part in parts.chunks_exact(3) {
            match part[0] {
                "species" | "Z" | "element" => species = Some(at),
                "pos" => position = Some(at),
                "occupancy" | "occ" | "occupancies" => occupancy = Some(at),
                _ => {}
            }
            at = at.checked_add(part[2].parse::<usize>().ok().filter(|n| *n < 1000)?)?;
        }
        Some(Columns { species: species?, position: position?, occupancy })
    }

    fn atom(&self, line: &str) -> Option<XyzAtom> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = |k: usize| words.get(k)?.parse::<f64>().ok().filter(|v| v.is_finite());
        let p = self.position;
        Some(XyzAtom {
            symbol: species(words.get(self.species)?)?,
            position: [value(p)?, value(p + 1)?, value(p + 2)?].map(Length::angstrom),
            occupancy: match self.occupancy {
                Some(k) => value(k)?,
                None => 1.0,
            },
            displacement: None,
        })
    }
}
