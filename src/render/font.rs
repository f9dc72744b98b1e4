//! Our own letters: a pen drawn along lines and curves.
//!
//! The picture's text is small, so the letters are designed on the pixel grid: baseline 0, small letters 6, capitals 9,
//! descenders down to −3, one pen of about one pixel. Stems and bars run through pixel centres, which keeps them sharp;
//! the curves between them are smoothed by the canvas. At other sizes, points with whole-number coordinates are moved
//! to whole pixels.
//!
//! A glyph is a string of strokes separated by `;`. A stroke is a list of points `x,y`, y upwards. A point marked `~`
//! is the control point of a quadratic curve; between two control points in a row the curve passes half way, as in
//! TrueType outlines. Characters without a drawing appear as an empty box.

/// Width of the pen, in pixels at size 1.
pub(crate) const PEN: f64 = 1.15;
/// Height of a capital above the baseline, in pixels at size 1, to the middle of the pen.
pub(crate) const CAPITAL: f64 = 9.0;
/// Distance of one baseline from the next.
pub(crate) const LINE: f64 = 17.0;

/// A bowl shared by b and p, and its mirror image for d, g and q.
const BOWL: &str = "0,3 ~0,6 2.5,6 ~5,6 5,3 ~5,0 2.5,0 ~0,0 0,3";
const BOWL_LEFT: &str = "5,3 ~5,6 2.5,6 ~0,6 0,3 ~0,0 2.5,0 ~5,0 5,3";

/// Character, advance to the next one, strokes. Sorted, so that a letter is found by bisection.
#[rustfmt::skip]
const GLYPHS: &[(char, f64, &[&str])] = &[
    (' ', 4.0, &[]),
    ('!', 4.0, &["0.5,9 0.5,3;0.5,0.5 0.5,0"]),
    ('"', 6.0, &["0,9 0,6.5;3,9 3,6.5"]),
    ('#', 10.0, &["2.5,9 1,0;6,9 4.5,0;0,6 7,6;0,3 7,3"]),
    ('$', 9.0, &["6,7 ~5.5,8 3,8 ~0,8 0,6.3 ~0,5 3,4.5 ~6,4 6,2.5 ~6,1 3,1 ~0.5,1 0,2.5;3,10 3,-1"]),
    ('%', 12.0, &["2,9 ~4,9 4,7 ~4,5 2,5 ~0,5 0,7 ~0,9 2,9;7,4 ~9,4 9,2 ~9,0 7,0 ~5,0 5,2 ~5,4 7,4;7.5,9 1.5,0"]),
    ('&', 11.0, &["8,5 ~7.5,0 3,0 ~0,0 0,2.5 ~0,4 2.5,5 ~5,6.2 5,7.5 ~5,9 3.5,9 ~1.5,9 1.5,7.3 ~1.5,6 3,4.5 8,0"]),
    ('\'', 3.0, &["0,9 0,6.5"]),
    ('(', 5.0, &["2,11 ~0,8.5 0,4.5 ~0,0 2,-2"]),
    (')', 5.0, &["0,11 ~2,8.5 2,4.5 ~2,0 0,-2"]),
    ('*', 8.0, &["2.5,9 2.5,4;0.2,7.8 4.8,5.2;0.2,5.2 4.8,7.8"]),
    ('+', 9.0, &["3,7 3,1;0,4 6,4"]),
    (',', 4.0, &["0.5,0.5 0.5,0 ~0.5,-1.2 -0.5,-2"]),
    ('-', 6.0, &["0,4 3,4"]),
    ('.', 4.0, &["0.5,0.5 0.5,0"]),
    ('/', 6.0, &["0,-1 4,10"]),
    ('0', 8.0, &["2.5,9 ~5,9 5,4.5 ~5,0 2.5,0 ~0,0 0,4.5 ~0,9 2.5,9"]),
    ('1', 8.0, &["0.6,7 3,9 3,0"]),
    ('2', 8.0, &["0,7 ~0.2,9 2.5,9 ~5,9 5,6.7 ~5,5 3.3,3.5 0,0 5,0"]),
    ('3', 8.0, &["0.2,7.6 ~0.7,9 2.4,9 ~4.7,9 4.7,7 ~4.7,5 2.4,5 1.8,5;2.4,5 ~5,5 5,2.5 ~5,0 2.4,0 ~0.4,0 0,1.8"]),
    ('4', 8.0, &["4,0 4,9 0,3 5.5,3"]),
    ('5', 8.0, &["4.7,9 0.7,9 0.3,5 ~1,5.8 2.5,5.8 ~5,5.8 5,2.9 ~5,0 2.4,0 ~0.5,0 0,1.6"]),
    ('6', 8.0, &["4.6,7.9 ~4,9 2.8,9 ~0,9 0,3.5 ~0,0 2.5,0 ~5,0 5,2.8 ~5,5.5 2.6,5.5 ~0.4,5.5 0,3.2"]),
    ('7', 8.0, &["0,9 5,9 ~2.2,5 2,0"]),
    ('8', 8.0, &["2.5,9 ~4.7,9 4.7,7 ~4.7,5 2.5,5 ~0.3,5 0.3,7 ~0.3,9 2.5,9;2.5,5 ~5,5 5,2.5 ~5,0 2.5,0 ~0,0 0,2.5 ~0,5 2.5,5"]),
    ('9', 8.0, &["0.4,1.1 ~1,0 2.2,0 ~5,0 5,5.5 ~5,9 2.5,9 ~0,9 0,6.2 ~0,3.5 2.4,3.5 ~4.6,3.5 5,5.8"]),
    (':', 4.0, &["0.5,6 0.5,5.5;0.5,0.5 0.5,0"]),
    (';', 4.0, &["0.5,6 0.5,5.5;0.5,0.5 0.5,0 ~0.5,-1.2 -0.5,-2"]),
    ('<', 9.0, &["6,7 0,4 6,1"]),
    ('=', 9.0, &["0,5 6,5;0,3 6,3"]),
    ('>', 9.0, &["0,7 6,4 0,1"]),
    ('?', 8.0, &["0,7 ~0.2,9 2.5,9 ~5,9 5,6.8 ~5,5.5 3.5,4.7 ~2.5,4 2.5,2.7;2.5,0.4 2.5,0"]),
    ('@', 14.0, &["7,5 ~7,6.5 5.5,6.5 ~3.5,6.5 3.5,4 ~3.5,2 5,2 ~7,2 7.3,6.5;7,3.5 ~7,2 8.5,2 ~11,2 11,5 ~11,9 6,9 ~0,9 0,3.5 ~0,-2 6,-2 8,-1.6"]),
    ('A', 10.0, &["0,0 4,9 8,0;1.3,3 6.7,3"]),
    ('B', 9.0, &["0,0 0,9 3,9 ~5.5,9 5.5,7 ~5.5,5 3,5 0,5;3,5 ~6,5 6,2.5 ~6,0 3,0 0,0"]),
    ('C', 10.0, &["7,6.8 ~6.2,9 4,9 ~0,9 0,4.5 ~0,0 4,0 ~6.2,0 7,2.2"]),
    ('D', 10.0, &["0,0 0,9 3,9 ~7,9 7,4.5 ~7,0 3,0 0,0"]),
    ('E', 9.0, &["6,9 0,9 0,0 6,0;0,5 5,5"]),
    ('F', 8.0, &["6,9 0,9 0,0;0,5 5,5"]),
    ('G', 10.0, &["7,7 ~6,9 4,9 ~0,9 0,4.5 ~0,0 4,0 ~6,0 7,1.2 7,4 4.5,4"]),
    ('H', 10.0, &["0,0 0,9;7,0 7,9;0,5 7,5"]),
    ('I', 3.0, &["0,0 0,9"]),
    ('J', 7.0, &["4,9 4,2.5 ~4,0 2,0 ~0,0 0,2.3"]),
    ('K', 9.0, &["0,0 0,9;6,9 0,3;2,5 6.3,0"]),
    ('L', 8.0, &["0,9 0,0 5,0"]),
    ('M', 11.0, &["0,0 0,9 4,1.5 8,9 8,0"]),
    ('N', 10.0, &["0,0 0,9 7,0 7,9"]),
    ('O', 11.0, &["4,9 ~8,9 8,4.5 ~8,0 4,0 ~0,0 0,4.5 ~0,9 4,9"]),
    ('P', 9.0, &["0,0 0,9 3.5,9 ~6,9 6,6.5 ~6,4 3.5,4 0,4"]),
    ('Q', 11.0, &["4,9 ~8,9 8,4.5 ~8,0 4,0 ~0,0 0,4.5 ~0,9 4,9;5,2.5 8,-0.8"]),
    ('R', 9.0, &["0,0 0,9 3.5,9 ~6,9 6,6.5 ~6,4 3.5,4 0,4;3,4 6.3,0"]),
    ('S', 9.0, &["6,7 ~5.4,9 3,9 ~0,9 0,7 ~0,5.2 3,4.7 ~6.2,4.2 6.2,2.3 ~6.2,0 3.1,0 ~0.4,0 0,2.2"]),
    ('T', 10.0, &["0,9 8,9;4,9 4,0"]),
    ('U', 10.0, &["0,9 0,3 ~0,0 3.5,0 ~7,0 7,3 7,9"]),
    ('V', 10.0, &["0,9 4,0 8,9"]),
    ('W', 13.0, &["0,9 2.7,0 5.5,9 8.3,0 11,9"]),
    ('X', 9.0, &["0,0 7,9;0,9 7,0"]),
    ('Y', 10.0, &["0,9 4,4.5 8,9;4,4.5 4,0"]),
    ('Z', 9.0, &["0,9 6.5,9 0,0 6.5,0"]),
    ('[', 5.0, &["2,11 0,11 0,-2 2,-2"]),
    ('\\', 7.0, &["0,10 4,-1"]),
    (']', 5.0, &["0,11 2,11 2,-2 0,-2"]),
    ('^', 8.0, &["0,6 2.5,9 5,6"]),
    ('_', 8.0, &["-0.5,-2 5.5,-2"]),
    ('`', 5.0, &["0,9.5 1.7,7.5"]),
    ('a', 8.0, &["0.3,5 ~0.9,6 2.6,6 ~5,6 5,4 5,0;5,3.4 3,3.4 ~0,3.4 0,1.6 ~0,0 2,0 ~4.2,0 5,2"]),
    ('b', 8.0, &["0,9 0,0", BOWL]),
    ('c', 7.0, &["4.8,4.5 ~4.3,6 2.6,6 ~0,6 0,3 ~0,0 2.6,0 ~4.3,0 4.8,1.5"]),
    ('d', 8.0, &["5,9 5,0", BOWL_LEFT]),
    ('e', 8.0, &["0,3 5,3 ~5,6 2.5,6 ~0,6 0,3 ~0,0 2.7,0 ~4.4,0 4.9,1.3"]),
    ('f', 6.0, &["4,9 ~2,9 2,7 2,0;0,6 4,6"]),
    ('g', 8.0, &["5,6 5,-0.5 ~5,-3 2.5,-3 ~0.9,-3 0.3,-2", BOWL_LEFT]),
    ('h', 8.0, &["0,0 0,9;0,3 ~0,6 2.7,6 ~5,6 5,4 5,0"]),
    ('i', 3.0, &["0,0 0,6;0,9 0,8.6"]),
    ('j', 4.0, &["1,6 1,-1 ~1,-3 -0.8,-3;1,9 1,8.6"]),
    ('k', 7.0, &["0,0 0,9;4.5,6 0,2;1.6,3.5 4.8,0"]),
    ('l', 4.0, &["0,9 0,1.5 ~0,0 1.6,0"]),
    ('m', 11.0, &["0,0 0,6;0,3.5 ~0,6 2.2,6 ~4,6 4,4 4,0;4,3.5 ~4,6 6.2,6 ~8,6 8,4 8,0"]),
    ('n', 8.0, &["0,0 0,6;0,3 ~0,6 2.7,6 ~5,6 5,4 5,0"]),
    ('o', 8.0, &["2.5,6 ~5,6 5,3 ~5,0 2.5,0 ~0,0 0,3 ~0,6 2.5,6"]),
    ('p', 8.0, &["0,6 0,-3", BOWL]),
    ('q', 8.0, &["5,6 5,-3", BOWL_LEFT]),
    ('r', 5.0, &["0,0 0,6;0,3 ~0.2,6 3.2,6"]),
    ('s', 7.0, &["4.4,4.8 ~3.9,6 2.3,6 ~0.2,6 0.2,4.5 ~0.2,3.4 2.4,3.1 ~4.7,2.8 4.7,1.5 ~4.7,0 2.4,0 ~0.5,0 0,1.3"]),
    ('t', 6.0, &["2,8 2,2 ~2,0 4,0;0,6 4,6"]),
    ('u', 8.0, &["0,6 0,2 ~0,0 2.3,0 ~5,0 5,3;5,6 5,0"]),
    ('v', 8.0, &["0,6 3,0 6,6"]),
    ('w', 11.0, &["0,6 2.2,0 4.5,6 6.8,0 9,6"]),
    ('x', 7.0, &["0,0 5,6;0,6 5,0"]),
    ('y', 8.0, &["0,6 3,0;6,6 2.3,-1.5 ~1.7,-3 0.2,-3"]),
    ('z', 7.0, &["0.2,6 4.8,6 0,0 5,0"]),
    ('{', 6.0, &["3,11 ~1,11 1,8.5 1,6.5 ~1,4.5 -0.3,4.5 ~1,4.5 1,2.5 1,0.5 ~1,-2 3,-2"]),
    ('|', 5.0, &["1,11 1,-2"]),
    ('}', 6.0, &["0,11 ~2,11 2,8.5 2,6.5 ~2,4.5 3.3,4.5 ~2,4.5 2,2.5 2,0.5 ~2,-2 0,-2"]),
    ('~', 9.0, &["0,3.2 ~0.8,5 2.2,5 ~3,5 3.5,4 ~4,3 4.8,3 ~6.2,3 7,4.8"]),
    ('\u{a0}', 4.0, &[]),
    ('°', 6.0, &["1.5,9 ~3,9 3,7.5 ~3,6 1.5,6 ~0,6 0,7.5 ~0,9 1.5,9"]),
    ('±', 9.0, &["3,8 3,2;0,5 6,5;0,0 6,0"]),
    ('µ', 8.0, &["0,6 0,-3;0,2 ~0,0 2.3,0 ~5,0 5,3;5,6 5,0"]),
    ('·', 4.0, &["0.5,4.3 0.5,3.8"]),
    ('Å', 10.0, &["0,0 4,8 8,0;1.4,3 6.6,3;4,8 ~5.5,8 5.5,9.5 ~5.5,11 4,11 ~2.5,11 2.5,9.5 ~2.5,8 4,8"]),
    ('×', 9.0, &["0.5,6.5 5.5,1.5;0.5,1.5 5.5,6.5"]),
    ('å', 8.0, &["0.3,5 ~0.9,6 2.6,6 ~5,6 5,4 5,0;5,3.4 3,3.4 ~0,3.4 0,1.6 ~0,0 2,0 ~4.2,0 5,2;2.5,10.8 ~3.9,10.8 3.9,9.4 ~3.9,8 2.5,8 ~1.1,8 1.1,9.4 ~1.1,10.8 2.5,10.8"]),
    ('Γ', 8.0, &["6,9 0,9 0,0"]),
    ('Δ', 11.0, &["0,0 4,9 8,0 0,0"]),
    ('Σ', 9.0, &["6,9 0,9 3.5,4.5 0,0 6.3,0"]),
    ('Φ', 11.0, &["4,9 4,0;4,7 ~8,7 8,4.5 ~8,2 4,2 ~0,2 0,4.5 ~0,7 4,7"]),
    ('Ψ', 11.0, &["4,9 4,0;0,9 0,6.5 ~0,3 4,3 ~8,3 8,6.5 8,9"]),
    ('Ω', 11.0, &["0,0 3,0 ~0,2.3 0,5 ~0,9 4,9 ~8,9 8,5 ~8,2.3 5,0 8,0"]),
    ('α', 9.0, &["6,6 ~4.8,0 2.3,0 ~0,0 0,3 ~0,6 2.3,6 ~4.8,6 6.2,0"]),
    ('β', 8.0, &["0,-3 0,6.5 ~0,9 2.3,9 ~4.5,9 4.5,7 ~4.5,5 2.3,5 1.8,5;2.3,5 ~5,5 5,2.5 ~5,0 2.5,0 ~0.6,0 0,1.2"]),
    ('γ', 8.0, &["0,5.5 ~1.2,6.8 2.3,3.2 3,0.5 3,-3;6,6 3,0.5"]),
    ('δ', 8.0, &["4.6,8 ~4,9 2.7,9 ~0.8,9 0.8,7.5 ~0.8,6.4 2.8,5.6 ~5,4.7 5,2.8 ~5,0 2.5,0 ~0,0 0,2.8 ~0,5.6 2.8,5.6"]),
    ('ε', 7.0, &["4.5,5 ~3.8,6 2.5,6 ~0.3,6 0.3,4.5 ~0.3,3.2 2.4,3.2 3.2,3.2;2.4,3.2 ~0,3.2 0,1.6 ~0,0 2.4,0 ~4,0 4.7,1.2"]),
    ('θ', 8.0, &["2.5,9 ~5,9 5,4.5 ~5,0 2.5,0 ~0,0 0,4.5 ~0,9 2.5,9;0,4.5 5,4.5"]),
    ('λ', 8.0, &["0.3,9 ~1.6,9 2.2,7.3 5,0 5.3,0;2.9,5 0,0"]),
    ('μ', 8.0, &["0,6 0,-3;0,2 ~0,0 2.3,0 ~5,0 5,3;5,6 5,0"]),
    ('π', 9.0, &["0,5.2 ~0.4,6 1.5,6 6.5,6;1.8,6 1.8,3 ~1.8,1 0.8,0;4.8,6 4.8,1.5 ~4.8,0 6.4,0.2"]),
    ('ρ', 8.0, &["0,-3 0,3", BOWL]),
    ('σ', 9.0, &["6.3,6 2.5,6 ~0,6 0,3 ~0,0 2.5,0 ~5,0 5,3 ~5,5 3.5,6"]),
    ('τ', 8.0, &["0,5.2 ~0.4,6 1.3,6 5.5,6;2.8,6 2.8,1.7 ~2.8,0 4.6,0.3"]),
    ('φ', 9.0, &["3,9 3,-3;3,6 ~6,6 6,3 ~6,0 3,0 ~0,0 0,3 ~0,6 3,6"]),
    ('χ', 8.0, &["0,6 ~1,6 1.6,4.8 4,-1.7 ~4.6,-3 5.8,-3;5.5,6 0,-3"]),
    ('ψ', 11.0, &["4,9 4,-3;0,6 0,3 ~0,0 4,0 ~8,0 8,3 8,6"]),
    ('ω', 10.0, &["1.6,6 ~0,4.5 0,2.5 ~0,0 1.8,0 ~3.5,0 3.5,2.5 3.5,4;3.5,2.5 ~3.5,0 5.2,0 ~7,0 7,2.5 ~7,4.5 5.4,6"]),
    ('–', 9.0, &["0,4 6,4"]),
    ('—', 13.0, &["0,4 10,4"]),
    ('…', 11.0, &["0.5,0.5 0.5,0;4,0.5 4,0;7.5,0.5 7.5,0"]),
    ('−', 9.0, &["0,4 6,4"]),
    ('√', 10.0, &["0,3.5 1,4 3,0 5,10 8,10"]),
    ('∞', 12.0, &["4.5,3.5 ~6,6 7.2,6 ~9,6 9,3.5 ~9,1 7.2,1 ~6,1 4.5,3.5 ~3,6 1.8,6 ~0,6 0,3.5 ~0,1 1.8,1 ~3,1 4.5,3.5"]),
    ('≈', 9.0, &["0,4.7 ~0.7,6.2 2,6.2 ~2.7,6.2 3.2,5.4 ~3.7,4.6 4.4,4.6 ~5.7,4.6 6.4,6.1;0,1.7 ~0.7,3.2 2,3.2 ~2.7,3.2 3.2,2.4 ~3.7,1.6 4.4,1.6 ~5.7,1.6 6.4,3.1"]),
    ('≤', 9.0, &["6,8 0,5 6,2;0,0 6,0"]),
    ('≥', 9.0, &["0,8 6,5 0,2;0,0 6,0"]),
];

/// Drawn for characters that are not in the table.
const MISSING: (f64, &[&str]) = (8.0, &["0,0 0,9 5,9 5,0 0,0"]);

/// Superscripts and subscripts are the plain character, smaller and moved: (plain, upward shift).
fn script(c: char) -> Option<(char, f64)> {
    const UP: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻";
    const DOWN: &str = "₀₁₂₃₄₅₆₇₈₉₊₋";
    const PLAIN: &str = "0123456789+-";
    let plain = |row: &str| row.chars().position(|s| s == c).and_then(|i| PLAIN.chars().nth(i));
    plain(UP).map(|p| (p, 5.0)).or_else(|| plain(DOWN).map(|p| (p, -3.0)))
}

/// Size of superscripts and subscripts relative to the line.
const SCRIPT: f64 = 0.62;

/// A straight piece of a pen stroke, from one point to another; x to the right, y downwards, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    pub from: [f64; 2],
    pub to: [f64; 2],
}

/// One character ready for drawing: its table entry, and how it is scaled and raised.
struct Placed {
    advance: f64,
    strokes: &'static [&'static str],
    scale: f64,
    raise: f64,
}

/// Looks a character up.
fn place(c: char, size: f64) -> Placed {
    let (plain, shift, factor) = match script(c) {
        Some((plain, shift)) => (plain, shift, SCRIPT),
        None => (c, 0.0, 1.0),
    };
    let (advance, strokes) = match GLYPHS.binary_search_by_key(&plain, |g| g.0) {
        Ok(i) => (GLYPHS[i].1, GLYPHS[i].2),
        Err(_) => MISSING,
    };
    Placed { advance: (advance * factor * size).round(), strokes, scale: size * factor, raise: (shift * size).round() }
}

/// Whether the font has a drawing for `c`.
///
/// # Examples
/// ```
/// use exitwave::render::font::has;
/// assert!("0.5 Å⁻¹ · 2 µm, φ = π² °".chars().all(has));
/// assert!(!has('漢'));
/// ```
pub fn has(c: char) -> bool {
    let plain = script(c).map_or(c, |(p, _)| p);
    GLYPHS.binary_search_by_key(&plain, |g| g.0).is_ok()
}

/// Width of a line of text at `size`, from the left edge of the first pen stroke to the right edge of the last.
///
/// # Units
/// Pixels; `size` 1 has capitals ten pixels high.
///
/// # Examples
/// ```
/// use exitwave::render::font::width;
/// assert_eq!(width("", 1.0), 0.0);
/// assert!(width("WW", 1.0) > width("ii", 1.0));
/// ```
pub fn width(text: &str, size: f64) -> f64 {
    let total: f64 = text.chars().map(|c| place(c, size).advance).sum();
    // The last character's white space to the right does not count.
    if total > 0.0 { total - size } else { 0.0 }
}

/// The pen strokes of a line of text whose baseline begins at the origin, x to the right and y downwards.
pub(crate) fn strokes(text: &str, size: f64) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut x = (0.5 * size).round();
    for c in text.chars() {
        let glyph = place(c, size);
        let at = |p: [f64; 2]| [x + hint(p[0], glyph.scale), -glyph.raise - hint(p[1], glyph.scale)];
        for stroke in glyph.strokes.iter().flat_map(|s| s.split(';')) {
            flatten(stroke, &at, &mut segments);
        }
        x += glyph.advance;
    }
    segments
}

/// Scales a coordinate; whole numbers go to whole pixels.
fn hint(v: f64, scale: f64) -> f64 {
    if v.fract() == 0.0 { (v * scale).round() } else { v * scale }
}

/// Turns one stroke into straight pieces.
fn flatten(stroke: &str, at: &dyn Fn([f64; 2]) -> [f64; 2], out: &mut Vec<Segment>) {
    const PIECES: usize = 8;
    let mut here: Option<[f64; 2]> = None;
    let mut control: Option<[f64; 2]> = None;
    for word in stroke.split_whitespace() {
        let (curved, word) = word.strip_prefix('~').map_or((false, word), |w| (true, w));
        let Some((px, py)) = word.split_once(',') else { continue };
        let (Ok(px), Ok(py)) = (px.parse(), py.parse()) else { continue };
        let p = at([px, py]);
        let Some(from) = here else {
            here = Some(p);
            continue;
        };
        // The end of the piece that this point completes, and the control point that waits for the next one.
        let end = match (control, curved) {
            (None, false) => {
                out.push(Segment { from, to: p });
                here = Some(p);
                continue;
            }
            (None, true) => {
                control = Some(p);
                continue;
            }
            (Some(q), true) => [0.5 * (q[0] + p[0]), 0.5 * (q[1] + p[1])],
            (Some(_), false) => p,
        };
        let q = control.unwrap_or(end);
        let mut last = from;
        for i in 1..=PIECES {
            let t = i as f64 / PIECES as f64;
            let point = [0, 1].map(|k| (1.0 - t).powi(2) * from[k] + 2.0 * t * (1.0 - t) * q[k] + t * t * end[k]);
            out.push(Segment { from: last, to: point });
            last = point;
        }
        here = Some(end);
        control = curved.then_some(p);
    }
}

/// Breaks text at spaces so that no line is wider than `limit`; at most `max_lines`, the last one cut with "…" if it
/// must be. A `'\n'` in the text always begins a new line.
pub(crate) fn wrap(text: &str, size: f64, limit: f64, max_lines: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
            if line.is_empty() || width(&longer, size) <= limit {
                line = longer;
            } else {
                lines.push(std::mem::replace(&mut line, word.to_string()));
            }
        }
        lines.push(line);
    }
    let cut = lines.len() > max_lines;
    lines.truncate(max_lines);
    let n = lines.len();
    for (i, line) in lines.iter_mut().enumerate() {
        if width(line, size) > limit || (cut && i + 1 == n) {
            *line = shorten(line, size, limit);
        }
    }
    lines
}

/// The longest beginning of `text` that fits into `limit` together with "…".
fn shorten(text: &str, size: f64, limit: f64) -> String {
    let mut kept: Vec<char> = text.chars().collect();
    loop {
        let line: String = kept.iter().collect::<String>().trim_end().to_string() + "…";
        if kept.is_empty() || width(&line, size) <= limit {
            return line;
        }
        kept.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_covers_ascii_and_the_units() {
        assert!(GLYPHS.windows(2).all(|w| w[0].0 < w[1].0));
        assert!((' '..='~').all(has));
        assert!("Åµμπ²⁻¹·°φ⁰³⁴⁵⁶⁷⁸⁹±×√−–—…₀₁₂".chars().all(has));
    }

    #[test]
    fn every_glyph_can_be_drawn_and_stays_in_its_box() {
        for &(c, advance, strokes_of) in GLYPHS {
            for point in strokes_of.iter().flat_map(|s| s.split(';')).flat_map(str::split_whitespace) {
                let (x, y) = point.trim_start_matches('~').split_once(',').expect("a pair");
                let (x, y): (f64, f64) = (x.parse().expect("a number"), y.parse().expect("a number"));
                assert!((-1.0..advance).contains(&x) && (-3.0..=11.0).contains(&y), "{c}: {x},{y}");
            }
            assert_eq!(strokes(&c.to_string(), 1.0).is_empty(), c.is_whitespace(), "{c}");
        }
    }

    #[test]
    fn no_two_letters_look_alike() {
        let shapes: Vec<_> =
            GLYPHS.iter().filter(|g| !g.0.is_whitespace()).map(|g| (g.0, strokes(&g.0.to_string(), 1.0))).collect();
        for (i, a) in shapes.iter().enumerate() {
            for b in &shapes[..i] {
                // Two micro signs, and a minus as wide as the en dash, are drawn alike on purpose.
                let twins = matches!((b.0, a.0), ('µ', 'μ') | ('–', '−'));
                assert_eq!(a.1 == b.1, twins, "{} {}", a.0, b.0);
            }
        }
    }

    #[test]
    fn width_adds_up_and_grows_with_size() {
        let text = "0.5 Å⁻¹";
        let advances: f64 = text.chars().map(|c| place(c, 1.0).advance).sum();
        assert_eq!(width(text, 1.0), advances - 1.0);
        assert_eq!(width("ab", 1.0), 15.0);
        assert!(width(text, 2.0) > 1.8 * width(text, 1.0));
        // Digits share one width, so that columns of numbers stand in line.
        assert!(('0'..='9').all(|c| place(c, 1.0).advance == 8.0));
    }

    #[test]
    fn strokes_stay_within_the_width() {
        for size in [1.0, 1.5, 2.0, 3.0] {
            let text = "Wave 123 µm";
            let right = strokes(text, size).iter().map(|s| s.from[0].max(s.to[0])).fold(0.0, f64::max);
            assert!(right <= width(text, size), "{right}");
        }
    }

    #[test]
    fn wrapping_keeps_every_line_within_the_limit() {
        let text = "A title of several words that does not fit on one line at all";
        for limit in [40.0, 100.0, 200.0] {
            let lines = wrap(text, 1.0, limit, 2);
            assert!(lines.len() <= 2 && lines.iter().all(|l| width(l, 1.0) <= limit), "{lines:?}");
        }
        assert_eq!(wrap("one two", 1.0, 1000.0, 2), ["one two"]);
        assert_eq!(wrap("one\ntwo", 1.0, 1000.0, 2), ["one", "two"]);
        assert!(wrap(text, 1.0, 100.0, 2)[1].ends_with('…'));
        assert!(wrap("", 1.0, 100.0, 2).is_empty());
    }
}
