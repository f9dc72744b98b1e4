//! Symmetry operations: their text, and the groups that they generate.

/// Rotation, and translation in whole parts of the axes.
pub(crate) type Op = ([[i32; 3]; 3], [i32; 3]);

pub(crate) const IDENTITY: Op = ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0; 3]);

/// Most operations of a space group in three dimensions.
pub(crate) const MOST: usize = 192;

/// Rotation and translation from text such as `-x+1/2, y, z-.25`.
pub(crate) fn parse(text: &str) -> Option<([[f64; 3]; 3], [f64; 3])> {
    let (mut rotation, mut translation) = ([[0.0; 3]; 3], [0.0; 3]);
    let mut parts = text.split(',');
    for i in 0..3 {
        let part: String =
            parts.next()?.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        let mut rest = part.as_str();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let sign = if rest.starts_with('-') { -1.0 } else { 1.0 };
            rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let (term, after) = rest.split_at(end);
            rest = after;
            // A term is an axis, a number, or their product.
            let (factor, axis) = match term.find(['x', 'y', 'z']) {
                Some(at) => {
                    let before = term[..at].trim_end_matches('*');
                    let factor = if before.is_empty() { 1.0 } else { fraction(before)? };
                    let divided = &term[at + 1..];
                    let divided = if divided.is_empty() { 1.0 } else { fraction(divided.strip_prefix('/')?)? };
                    if divided == 0.0 {
                        return None;
                    }
                    (factor / divided, Some(term.as_bytes()[at] - b'x'))
                }
                None => (fraction(term)?, None),
            };
            match axis {
                Some(j) => rotation[i][usize::from(j)] += sign * factor,
                None => translation[i] += sign * factor,
            }
        }
    }
    parts.next().is_none().then_some((rotation, translation))
}

fn fraction(text: &str) -> Option<f64> {
    let v = match text.split_once('/') {
        Some((n, d)) => n.parse::<f64>().ok()? / d.parse::<f64>().ok().filter(|d| *d != 0.0)?,
        None => text.parse::<f64>().ok()?,
    };
    v.is_finite().then_some(v)
}

/// The group of some operations whose translations count in `parts` of an axis, the identity first: products with the generators until nothing new
/// appears. None for more than [`MOST`].
pub(crate) fn generated(generators: &[Op], parts: i32) -> Option<Vec<Op>> {
    let mut group = vec![IDENTITY];
    let mut at = 0;
    while at < group.len() {
        for g in generators {
            let product = multiply(g, &group[at], parts);
            if !group.contains(&product) {
                group.push(product);
            }
            if group.len() > MOST {
                return None;
            }
        }
        at += 1;
    }
    Some(group)
}

/// a b; what overflows is no operation of a lattice, and makes a group too large.
fn multiply(a: &Op, b: &Op, parts: i32) -> Op {
    let r = std::array::from_fn(|i| {
        std::array::from_fn(|j| (0..3).map(|k| a.0[i][k].wrapping_mul(b.0[k][j])).fold(0i32, i32::wrapping_add))
    });
    let t = std::array::from_fn(|i| {
        let sum = (0..3).map(|k| a.0[i][k].wrapping_mul(b.1[k])).fold(a.1[i], i32::wrapping_add);
        sum.rem_euclid(parts)
    });
    (r, t)
}
