//! CIF: unit cells with their symmetry expanded.
//!
//! A CIF is `data_NAME`, items `_name value`, and tables `loop_ _name … value …`. Values are words, or quoted, or lines
//! between semicolons; a number may have its uncertainty in brackets.
//!
//! # References
//! S. R. Hall, F. H. Allen, I. D. Brown, "The Crystallographic Information File (CIF)", Acta Cryst. A47 (1991) 655.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;
use crate::io::bytes::latin1;
use crate::io::file::FileAt;
use crate::io::hall;
use crate::io::symmetry::{Operation, operation};
use crate::units::{Angle, Area, Length};

/// Largest file, and largest number of atoms that symmetry may make.
const MAX_BYTES: u64 = 1 << 28;
const MAX_ATOMS: usize = 10_000_000;
/// A space group has at most 192 operations in its cell; larger cells of it have more.
const MAX_OPERATIONS: usize = 2000;
/// Atoms that symmetry brings closer together than this are one atom.
const SAME: f64 = 0.01;

/// A unit cell: axes, and all atoms in it.
#[derive(Clone, Debug, PartialEq)]
pub struct CifStructure {
    /// Name of the data block.
    pub name: String,
    /// Lengths of the axes a, b, c.
    pub lengths: [Length; 3],
    /// Angles between them, α (b, c), β (a, c), γ (a, b).
    pub angles: [Angle; 3],
    /// Space group as the file has it; empty when it has none.
    pub space_group: String,
    /// Number of symmetry operations that were applied.
    pub operations: usize,
    /// The atoms of the whole cell.
    pub atoms: Vec<CifAtom>,
}

/// An atom of a [`CifStructure`].
#[derive(Clone, Debug, PartialEq)]
pub struct CifAtom {
    /// Chemical symbol, without charge: `"Si"`.
    pub symbol: String,
    /// Label of its site: `"Si1"`.
    pub label: String,
    /// Position in fractions of the axes a, b, c, in `[0, 1)`.
    pub position: [f64; 3],
    /// Probability that it is there.
    pub occupancy: f64,
    /// Mean square displacement along a line, U; from B = 8π²U where the file has that, from the mean of U_ij where it
    /// has only those.
    pub u_iso: Option<Area>,
}

/// Reads the first data block of a file that has a cell and atoms.
///
/// # Errors
/// - [`Error::Io`],
/// - [`Error::Format`] when there is no such block, or a number is none,
/// - [`Error::Unsupported`] when the file names a space group other than P 1 with neither its operations nor a Hall
///   symbol that gives them: they are not guessed.
pub fn read(path: impl AsRef<Path>) -> Result<CifStructure, Error> {
    let path = path.as_ref();
    let file = FileAt::open(path)?;
    if file.len() > MAX_BYTES {
        return Err(Error::format("cif", path, 0, format!("{} bytes, at most {MAX_BYTES}", file.len())));
    }
    let mut bytes = vec![0; file.len() as usize];
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
/// let cif = "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n\
///     _cell_angle_beta 90\n\
///     _cell_angle_gamma 90\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n'x+1/2, y+1/2, z'\nloop_\n_atom_site_label\n\
///     _atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nAu1 0 0 0\n";
/// let cell = exitwave::io::cif::parse(cif)?;
/// assert_eq!(cell.atoms.len(), 2);
/// assert_eq!(cell.atoms[1].position, [0.5, 0.5, 0.0]);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn parse(text: &str) -> Result<CifStructure, Error> {
    parse_at(text, Path::new(""))
}

/// A word of the file, and whether it was quoted: then it is never a name.
struct Word<'a> {
    text: &'a str,
    quoted: bool,
    line: usize,
}

/// The words of a file.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut at_start = true;
    while let Some(c) = rest.chars().next() {
        if c == '\n' {
            (rest, line, at_start) = (&rest[1..], line + 1, true);
            continue;
        }
        if c.is_whitespace() {
            (rest, at_start) = (&rest[c.len_utf8()..], false);
            continue;
        }
        if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        if c == ';' && at_start {
            let end = rest.find("\n;").unwrap_or(rest.len());
            out.push(Word { text: rest[1..end].trim(), quoted: true, line });
            line += rest[..end].matches('\n').count() + usize::from(end < rest.len());
            rest = rest.get(end + 2..).unwrap_or("");
            at_start = false;
            continue;
        }
        at_start = false;
        if c == '\'' || c == '"' {
            // A quote ends where a blank follows it.
            let inside = &rest[1..];
            let closing = inside.char_indices().find(|&(i, d)| {
                d == '\n' || (d == c && inside[i + 1..].chars().next().is_none_or(char::is_whitespace))
            });
            let (end, skip) = match closing {
                Some((i, '\n')) => (i, 0),
                Some((i, _)) => (i, 1),
                None => (inside.len(), 0),
            };
            out.push(Word { text: &inside[..end], quoted: true, line });
            rest = &inside[end + skip..];
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        out.push(Word { text: &rest[..end], quoted: false, line });
        rest = &rest[end..];
    }
    out
}

/// Value and line.
type Item<'a> = (&'a str, usize);

/// A table: its names, and its values row by row.
type Table<'a> = (Vec<String>, Vec<Item<'a>>);

/// Items and tables of a data block.
#[derive(Default)]
struct Block<'a> {
    name: String,
    items: Vec<(String, &'a str, usize)>,
    /// Names, and values row by row with their line.
    loops: Vec<Table<'a>>,
}

fn blocks<'a>(words: &[Word<'a>]) -> Vec<Block<'a>> {
    let mut out: Vec<Block<'a>> = Vec::new();
    let lower = |w: &Word<'_>| w.text.to_ascii_lowercase();
    let is_name = |w: &Word<'_>| !w.quoted && w.text.starts_with('_');
    let is_keyword = |w: &Word<'_>| {
        let prefix = |p: &str| w.text.get(..p.len()).is_some_and(|t| t.eq_ignore_ascii_case(p));
        !w.quoted && (prefix("data_") || prefix("loop_") || prefix("save_"))
    };
    let mut k = 0;
    while k < words.len() {
        let w = &words[k];
        k += 1;
        if is_keyword(w) && lower(w).starts_with("data_") {
            out.push(Block { name: w.text[5..].to_string(), ..Block::default() });
            continue;
        }
        if out.is_empty() {
            out.push(Block::default());
        }
        let block = out.last_mut().expect("pushed above");
        if is_keyword(w) && lower(w).starts_with("loop_") {
            let mut names = Vec::new();
            while let Some(w) = words.get(k).filter(|w| is_name(w)) {
                names.push(lower(w));
                k += 1;
            }
            let mut values = Vec::new();
            while let Some(w) = words.get(k).filter(|w| !is_name(w) && !is_keyword(w)) {
                values.push((w.text, w.line));
                k += 1;
            }
            block.loops.push((names, values));
        } else if is_name(w)
            && let Some(value) = words.get(k).filter(|v| !is_name(v) && !is_keyword(v))
        {
            block.items.push((lower(w), value.text, value.line));
            k += 1;
        }
    }
    out
}

impl<'a> Block<'a> {
    /// Value and line of an item, by any of its names (dots of newer dictionaries are underscores here).
    fn item(&self, names: &[&str]) -> Option<(&'a str, usize)> {
        let found = self.items.iter().find(|(n, ..)| names.contains(&n.replace('.', "_").as_str()));
        found.map(|&(_, value, line)| (value, line))
    }

    /// The table that has a column of one of these names: width, and column.
    fn table(&self, names: &[&str]) -> Option<(&[String], &[Item<'a>], usize)> {
        self.loops.iter().find_map(|(columns, values)| {
            let at = columns.iter().position(|c| names.contains(&c.replace('.', "_").as_str()))?;
            Some((columns.as_slice(), values.as_slice(), at))
        })
    }
}

/// A number, without its uncertainty; `?` and `.` are none.
fn number(path: &Path, (text, line): (&str, usize)) -> Result<Option<f64>, Error> {
    if matches!(text, "?" | ".") {
        return Ok(None);
    }
    let plain = text.split_once('(').map_or(text, |(n, _)| n);
    match plain.parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(Some(v)),
        _ => Err(Error::format("cif", path, 0, format!("line {line}: {text:?} is no number"))),
    }
}

fn parse_at(text: &str, path: &Path) -> Result<CifStructure, Error> {
    let words = words(text);
    let blocks = blocks(&words);
    let complete = |b: &&Block<'_>| b.item(&["_cell_length_a"]).is_some() && b.table(&["_atom_site_fract_x"]).is_some();
    let Some(block) = blocks.iter().find(complete) else {
        return Err(Error::format("cif", path, 0, "no data block has a cell and atoms"));
    };
    let need = |name: &str| -> Result<f64, Error> {
        let item = block.item(&[name]).map(|i| number(path, i)).transpose()?.flatten();
        item.ok_or_else(|| Error::format("cif", path, 0, format!("there is no {name}")))
    };
    let lengths = [need("_cell_length_a")?, need("_cell_length_b")?, need("_cell_length_c")?];
    let angles = [need("_cell_angle_alpha")?, need("_cell_angle_beta")?, need("_cell_angle_gamma")?];
    let metric = metric(lengths, angles);
    let Some(metric) = metric else {
        return Err(Error::format("cif", path, 0, format!("a cell of {lengths:?} Å and {angles:?} degrees")));
    };

    let operations = operations(block, path)?;
    let sites = sites(block, path, &metric)?;
    if operations.len() > MAX_OPERATIONS || operations.len().saturating_mul(sites.len()) > MAX_ATOMS {
        let reason = format!("{} operations on {} sites", operations.len(), sites.len());
        return Err(Error::format("cif", path, 0, reason));
    }
    let mut atoms = Vec::new();
    for site in sites {
        // The images of one site; those that coincide are one atom.
        let mut images: Vec<[f64; 3]> = Vec::new();
        for op in &operations {
            let image = op.apply(site.position).map(wrap);
            if images.iter().all(|other| distance2(&metric, image, *other) > SAME * SAME) {
                images.push(image);
            }
        }
        atoms.extend(images.into_iter().map(|position| CifAtom { position, ..site.clone() }));
    }
    Ok(CifStructure {
        name: block.name.clone(),
        lengths: lengths.map(Length::angstrom),
        angles: angles.map(Angle::deg),
        space_group: space_group(block).to_string(),
        operations: operations.len(),
        atoms,
    })
}

/// A coordinate in [0, 1); what lies a rounding below 1 is 0.
fn wrap(x: f64) -> f64 {
    let x = x - x.floor();
    if x > 1.0 - 1e-9 { 0.0 } else { x }
}

/// g_ij = a_i · a_j; none when the cell has no volume.
fn metric(l: [f64; 3], angles: [f64; 3]) -> Option<[[f64; 3]; 3]> {
    let c = angles.map(|a| a.to_radians().cos());
    let volume2 = 1.0 - c[0] * c[0] - c[1] * c[1] - c[2] * c[2] + 2.0 * c[0] * c[1] * c[2];
    let sound = l.iter().all(|l| *l > 0.0 && *l < 1e6) && angles.iter().all(|a| *a > 0.0 && *a < 180.0);
    let cos = [[1.0, c[2], c[1]], [c[2], 1.0, c[0]], [c[1], c[0], 1.0]];
    (sound && volume2 > 1e-9).then(|| std::array::from_fn(|i| std::array::from_fn(|j| l[i] * l[j] * cos[i][j])))
}

/// Square of the distance of two positions, through the nearest cell face along each axis.
fn distance2(g: &[[f64; 3]; 3], a: [f64; 3], b: [f64; 3]) -> f64 {
    let d: [f64; 3] = std::array::from_fn(|k| {
        let d = a[k] - b[k];
        d - d.round()
    });
    (0..3).flat_map(|i| (0..3).map(move |j| (i, j))).map(|(i, j)| d[i] * g[i][j] * d[j]).sum()
}

fn space_group<'a>(block: &Block<'a>) -> &'a str {
    const NAMES: [&str; 4] = [
        "_symmetry_space_group_name_h-m",
        "_space_group_name_h-m_alt",
        "_symmetry_space_group_name_hall",
        "_space_group_name_hall",
    ];
    block.item(&NAMES).map_or("", |(v, _)| v)
}

fn operations(block: &Block<'_>, path: &Path) -> Result<Vec<Operation>, Error> {
    const NAMES: [&str; 2] = ["_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz"];
    let read = |text: &str, line: usize| {
        let wrong = || Error::format("cif", path, 0, format!("line {line}: {text:?} is no symmetry operation"));
        operation(text).ok_or_else(wrong)
    };
    if let Some((columns, values, at)) = block.table(&NAMES) {
        let rows = values.chunks_exact(columns.len());
        return rows.map(|row| read(row[at].0, row[at].1)).collect();
    }
    if let Some((text, line)) = block.item(&NAMES) {
        return Ok(vec![read(text, line)?]);
    }
    let hall = block.item(&["_symmetry_space_group_name_hall", "_space_group_name_hall"]);
    if let Some(list) = hall.and_then(|(symbol, _)| hall::operations(symbol)) {
        return Ok(list);
    }
    let name: String = space_group(block).chars().filter(|c| !c.is_whitespace() && *c != '\'').collect();
    if matches!(name.as_str(), "" | "P1" | "?" | ".") {
        return Ok(vec![Operation::IDENTITY]);
    }
    Err(Error::Unsupported { what: format!("{} space group {name} without its symmetry operations", path.display()) })
}

fn sites(block: &Block<'_>, path: &Path, g: &[[f64; 3]; 3]) -> Result<Vec<CifAtom>, Error> {
    let wrong = |line: usize, reason: String| Error::format("cif", path, 0, format!("line {line}: {reason}"));
    let (columns, values, at_x) = block.table(&["_atom_site_fract_x"]).expect("the block was chosen by it");
    let column = |names: &[&str]| columns.iter().position(|c| names.contains(&c.replace('.', "_").as_str()));
    let (Some(at_y), Some(at_z)) = (column(&["_atom_site_fract_y"]), column(&["_atom_site_fract_z"])) else {
        return Err(wrong(0, "atoms have no fractional y or z".into()));
    };
    let (label, symbol) = (column(&["_atom_site_label"]), column(&["_atom_site_type_symbol"]));
    let occupancy = column(&["_atom_site_occupancy"]);
    let u = column(&["_atom_site_u_iso_or_equiv"]);
    let b = column(&["_atom_site_b_iso_or_equiv"]);
    if values.len() % columns.len() != 0 {
        let line = values.last().map_or(0, |v| v.1);
        return Err(wrong(line, format!("{} values for {} columns of atoms", values.len(), columns.len())));
    }
    // Where the U_ij of each label stand.
    let aniso: HashMap<&str, usize> = match block.table(&["_atom_site_aniso_label"]) {
        Some((columns, values, at)) => {
            values.chunks_exact(columns.len()).enumerate().map(|(k, r)| (r[at].0, k)).collect()
        }
        None => HashMap::new(),
    };
    let mut out = Vec::new();
    for row in values.chunks_exact(columns.len()) {
        let mut position = [0.0; 3];
        for (p, at) in position.iter_mut().zip([at_x, at_y, at_z]) {
            *p = number(path, row[at])?.ok_or_else(|| wrong(row[at].1, "an atom without a position".into()))?;
        }
        let name = label.map_or("", |k| row[k].0);
        let of_type = symbol.map(|k| row[k].0).filter(|s| !matches!(*s, "?" | "."));
        let Some(symbol) = element(of_type.unwrap_or(name)) else {
            return Err(wrong(row[at_x].1, format!("{:?} names no element", of_type.unwrap_or(name))));
        };
        let optional = |k: Option<usize>| k.map(|k| number(path, row[k])).transpose().map(Option::flatten);
        let eight_pi2 = 8.0 * std::f64::consts::PI * std::f64::consts::PI;
        let u_iso = match (optional(u)?, optional(b)?) {
            (Some(u), _) => Some(u),
            (None, Some(b)) => Some(b / eight_pi2),
            (None, None) => anisotropic(block, path, &aniso, name, g)?,
        };
        out.push(CifAtom {
            symbol,
            label: name.to_string(),
            position,
            occupancy: optional(occupancy)?.unwrap_or(1.0),
            u_iso: u_iso.map(Area::angstrom2),
        });
    }
    Ok(out)
}

/// U_eq = ⅓ Σ_ij U_ij a*_i a*_j (a_i · a_j), from the table of U_ij.
fn anisotropic(
    block: &Block<'_>,
    path: &Path,
    rows: &HashMap<&str, usize>,
    label: &str,
    g: &[[f64; 3]; 3],
) -> Result<Option<f64>, Error> {
    let Some((columns, values, _)) = block.table(&["_atom_site_aniso_label"]) else { return Ok(None) };
    let row = rows.get(label).and_then(|k| values.chunks_exact(columns.len()).nth(*k));
    let Some(row) = row else { return Ok(None) };
    let column = |i: usize, j: usize| {
        let name = format!("_atom_site_aniso_u_{}{}", i.min(j) + 1, i.max(j) + 1);
        columns.iter().position(|c| c.replace('.', "_") == name)
    };
    // Lengths of the reciprocal axes: a*_i² = (g⁻¹)_ii, by cofactors.
    let minor = |i: usize| {
        let (p, q) = ((i + 1) % 3, (i + 2) % 3);
        g[p][p] * g[q][q] - g[p][q] * g[q][p]
    };
    let det: f64 = (0..3)
        .map(|j| {
            let (p, q) = ((j + 1) % 3, (j + 2) % 3);
            g[0][j] * (g[1][p] * g[2][q] - g[1][q] * g[2][p])
        })
        .sum();
    let reciprocal: [f64; 3] = std::array::from_fn(|i| (minor(i) / det).sqrt());
    let mut sum = 0.0;
    for i in 0..3 {
        for j in 0..3 {
            let Some(value) = column(i, j).map(|k| number(path, row[k])).transpose()?.flatten() else {
                return Ok(None);
            };
            sum += value * reciprocal[i] * reciprocal[j] * g[i][j];
        }
    }
    Ok(Some(sum / 3.0))
}

/// The element that a symbol or label begins with: `Fe2+`, `O1`, `CU` (copper, not carbon).
fn element(text: &str) -> Option<String> {
    let letters: String = text.chars().take_while(char::is_ascii_alphabetic).take(2).collect();
    let first = letters.chars().next()?.to_ascii_uppercase();
    let two: String =
        [Some(first), letters.chars().nth(1).map(|c| c.to_ascii_lowercase())].into_iter().flatten().collect();
    let one = first.to_string();
    [two, one].into_iter().find(|s| crate::io::symmetry::atomic_number(s).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "data_x\n_cell_length_a 4.00(2)\n_cell_length_b 5\n_cell_length_c 6 # Å\n_cell_angle_alpha 90\n\
        _cell_angle_beta 90\n_cell_angle_gamma 90\n_note\n;\nloop_ in a text\n;\n";

    #[test]
    fn displacements_are_read_in_every_form() {
        let atoms = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n";
        let u = |tail: &str| {
            let cell = parse(&format!("{HEAD}{atoms}{tail}")).unwrap();
            cell.atoms[0].u_iso.map(|u| u.to_angstrom2())
        };
        assert_eq!(u("_atom_site_U_iso_or_equiv\nAu1 0 0 0 0.0125(3)\n"), Some(0.0125));
        let b = 8.0 * std::f64::consts::PI.powi(2) * 0.02;
        assert!((u(&format!("_atom_site_B_iso_or_equiv\nAu1 0 0 0 {b}\n")).unwrap() - 0.02).abs() < 1e-15);
        assert_eq!(u("Au1 0 0 0\n"), None);
        // In a cell of right angles U_eq is the mean of the diagonal.
        let aniso = "loop_\n_atom_site_aniso_label\n_atom_site_aniso_U_11\n_atom_site_aniso_U_22\n_atom_site_aniso_U_33\n\
            _atom_site_aniso_U_12\n_atom_site_aniso_U_13\n_atom_site_aniso_U_23\nAu1 .01 .02 .03 .004 0 0\n";
        assert!((u(&format!("Au1 0 0 0\n{aniso}")).unwrap() - 0.02).abs() < 1e-15);
    }

    #[test]
    fn symmetry_joins_images_that_coincide() {
        let atoms = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\nloop_\n_atom_site_type_symbol\n_atom_site_fract_x\n\
            _atom_site_fract_y\n_atom_site_fract_z\nFe2+ 0.5 0 0.5\nO2- 0.1 0.2 .\n";
        assert!(matches!(parse(&format!("{HEAD}{atoms}")), Err(Error::Format { .. })));
        let cell = parse(&format!("{HEAD}{}", atoms.replace("0.2 .", "0.2 0.3"))).unwrap();
        let symbols: Vec<_> = cell.atoms.iter().map(|a| a.symbol.as_str()).collect();
        assert_eq!(symbols, ["Fe", "O", "O"]);
        assert!((cell.atoms[2].position[2] - 0.7).abs() < 1e-12);
    }

    #[test]
    fn a_group_without_operations_is_not_guessed() {
        let atoms = "_symmetry_space_group_name_H-M 'F d d d'\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n\
            _atom_site_fract_z\nC 0 0 0\n";
        assert!(matches!(parse(&format!("{HEAD}{atoms}")), Err(Error::Unsupported { .. })));
        assert!(matches!(parse("data_x\n_cell_length_a 1\n"), Err(Error::Format { .. })));
        assert!(matches!(parse(""), Err(Error::Format { .. })));
    }
}
