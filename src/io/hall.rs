//! Space groups from their Hall symbols, for CIF files that name a group without listing its operations.
//!
//! A symbol is a lattice (P A B C I R H F, `-` for a centre of inversion) and up to four generators: `-` (with
//! inversion), the order of a rotation, a screw component, an axis (x y z ' " *), translations (a b c n u v w d). The
//! axis may be left out: the first rotation is along c; a second one of order 2 along a after 2 or 4, along a − b after
//! 3 or 6; a third of order 3 along a + b + c.
//!
//! # References
//! S. R. Hall, "Space-group notation with an explicit origin", Acta Cryst. A37 (1981) 517; International Tables B,
//! A1.4.2.3.

use crate::io::symmetry::Operation;
use crate::specimen::symmetry::{IDENTITY, Op, generated};

/// Parts of an axis that translations are counted in.
const PARTS: i32 = 12;

/// All operations of the group; none when the symbol is not understood.
pub(crate) fn operations(symbol: &str) -> Option<Vec<Operation>> {
    let symbol = symbol.trim();
    // A shift of the origin or a change of axes, in brackets, is not supported.
    if symbol.contains('(') {
        return None;
    }
    let mut words = symbol.split_whitespace();
    let lattice = words.next()?;
    let (identity, _) = IDENTITY;
    let mut generators: Vec<Op> = Vec::new();
    let letter = lattice.strip_prefix('-').unwrap_or(lattice);
    if lattice.starts_with('-') {
        generators.push((identity.map(|r| r.map(|v: i32| -v)), [0; 3]));
    }
    let centring: &[[i32; 3]] = match letter.to_ascii_uppercase().as_str() {
        "P" => &[],
        "A" => &[[0, 6, 6]],
        "B" => &[[6, 0, 6]],
        "C" => &[[6, 6, 0]],
        "I" => &[[6, 6, 6]],
        "R" => &[[8, 4, 4], [4, 8, 8]],
        "H" => &[[8, 4, 0], [4, 8, 0]],
        "F" => &[[0, 6, 6], [6, 0, 6], [6, 6, 0]],
        _ => return None,
    };
    generators.extend(centring.iter().map(|t| (identity, *t)));
    let mut before = None;
    for (position, word) in words.enumerate() {
        let (op, order, axis) = generator(word, position, before)?;
        generators.push(op);
        before = Some((order, axis));
    }

    let group = generated(&generators, PARTS)?;
    let real =
        |(r, t): &Op| Operation::new(r.map(|row| row.map(f64::from)), t.map(|v| f64::from(v) / f64::from(PARTS)));
    Some(group.iter().map(real).collect())
}

/// A generator with its order and principal axis; `before` is the order and the axis of the one before it.
fn generator(word: &str, position: usize, before: Option<(u8, usize)>) -> Option<(Op, u8, usize)> {
    let (improper, rest) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let mut letters = rest.chars().peekable();
    let order = letters.next()?.to_digit(10)? as u8;
    if !matches!(order, 1 | 2 | 3 | 4 | 6) {
        return None;
    }
    let mut principal = before.map_or(2, |(_, axis)| axis);
    let (mut diagonal, mut screw, mut shift) = (None, 0, [0i32; 3]);
    let mut explicit = false;
    for c in letters {
        match c {
            'x' | 'y' | 'z' => (principal, explicit) = (usize::from(c as u8 - b'x'), true),
            '\'' | '"' | '*' => (diagonal, explicit) = (Some(c), true),
            '1'..='5' => screw = c.to_digit(10)? as i32,
            _ => {
                let t = match c {
                    'a' => [6, 0, 0],
                    'b' => [0, 6, 0],
                    'c' => [0, 0, 6],
                    'n' => [6, 6, 6],
                    'u' => [3, 0, 0],
                    'v' => [0, 3, 0],
                    'w' => [0, 0, 3],
                    'd' => [3, 3, 3],
                    _ => return None,
                };
                shift = std::array::from_fn(|k| shift[k] + t[k]);
            }
        }
    }
    if !explicit && order > 1 {
        match (position, order, before) {
            (0, ..) => principal = 2,
            (1, 2, Some((2 | 4, _))) => principal = 0,
            (1, 2, Some((3 | 6, _))) => diagonal = Some('\''),
            (1 | 2, 3, _) => diagonal = Some('*'),
            // Other generators without an axis have order 1.
            _ => return None,
        }
    }

    // In the plane across the axis, (x, y) for z and its cyclic images for x and y.
    let (p, q) = ((principal + 1) % 3, (principal + 2) % 3);
    let mut r = [[0; 3]; 3];
    match diagonal {
        Some('*') => r = [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        Some(c) => {
            let s = if c == '"' { 1 } else { -1 };
            (r[p][q], r[q][p], r[principal][principal]) = (s, s, -1);
        }
        None => {
            let plane = match order {
                1 => [[1, 0], [0, 1]],
                2 => [[-1, 0], [0, -1]],
                3 => [[0, -1], [1, -1]],
                4 => [[0, -1], [1, 0]],
                _ => [[1, -1], [1, 0]],
            };
            (r[p][p], r[p][q], r[q][p], r[q][q]) = (plane[0][0], plane[0][1], plane[1][0], plane[1][1]);
            r[principal][principal] = 1;
        }
    }
    if screw > 0 {
        shift[principal] += 12 * screw / i32::from(order);
    }
    if improper {
        r = r.map(|row| row.map(|v: i32| -v));
    }
    Some(((r, shift.map(|v| v.rem_euclid(12))), order, principal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_orders() {
        for (symbol, order) in [
            ("P 1", 1),
            ("-P 1", 2),
            ("P 2yb", 2),
            ("-P 2ybc", 4),
            ("P 2ac 2ab", 4),
            ("-P 2ac 2n", 8),
            ("-P 4 2 3", 48),
            ("-I 4 2 3", 96),
            ("-F 4 2 3", 192),
            ("F 4d 2 3 -1d", 192),
            ("F -4 2 3", 96),
            ("-P 6c 2c", 24),
            ("-R 3 2\"", 36),
            ("-P 3* 2", 12),
            ("P 31 2\"", 6),
        ] {
            assert_eq!(operations(symbol).map(|o| o.len()), Some(order), "{symbol}");
        }
        for wrong in ["", "Q 1", "P 5", "P 2 (0 0 1)", "P 2q", "P 2 7"] {
            assert!(operations(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_screw_axis_shifts_along_itself() {
        // P 2₁: x, y, z and −x, y + ½, −z.
        let ops = operations("P 2yb").unwrap();
        assert_eq!(ops[1].apply([0.1, 0.2, 0.3]), [-0.1, 0.7, -0.3]);
    }
}
