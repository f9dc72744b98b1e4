//! Straight edges of a crystal in its maps of cells: the convex region that best parts the cells into crystal and what is none.

use crate::hrtem::cell_maps::CellMaps;

/// Edges at most.
const SIDES: usize = 6;
/// What an edge must explain, nats: noise reaches 10 to 12 in the search of some ten thousand lines.
const GAIN: f64 = 16.0;
/// Fewer cells are not cut off.
const LEAST: f64 = 8.0;
/// Directions in which is searched.
const ANGLES: usize = 96;
/// Where the crystal ends, no more of it than this is left.
const VACUUM: f64 = 0.3;
/// Cells beside a line that are looked at when it is moved.
const BAND: f64 = 6.0;

/// The half-plane n·X ≥ c of cells X, n = (cos θ, sin θ).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Side {
    normal: [f64; 2],
    offset: f64,
}

impl Side {
    fn at(angle: f64, offset: f64) -> Side {
        let (s, c) = angle.sin_cos();
        Side { normal: [c, s], offset }
    }

    /// What is not in it.
    fn opposite(&self) -> Side {
        Side { normal: self.normal.map(|n| -n), offset: -self.offset }
    }

    fn distance(&self, x: [f64; 2]) -> f64 {
        self.normal[0] * x[0] + self.normal[1] * x[1] - self.offset
    }

    /// What part of a cell lies in it: of the square [−½, ½]² about X, s cells from the line,
    ///
    /// ```text
    /// C(s) = [q(s + a + b) − q(s + a − b) − q(s − a + b) + q(s − a − b)]/8ab,   q(x) = max(x, 0)²,   a, b = |cos θ|/2, |sin θ|/2
    /// ```
    fn part(&self, x: [f64; 2]) -> f64 {
        let s = self.distance(x);
        // Not 0, which would divide by it.
        let [a, b] = self.normal.map(|n| (0.5 * n.abs()).max(0.01));
        if s.abs() >= a + b {
            return if s > 0.0 { 1.0 } else { 0.0 };
        }
        let q = |x: f64| x.max(0.0).powi(2);
        (q(s + a + b) - q(s + a - b) - q(s - a + b) + q(s - a - b)) / (8.0 * a * b)
    }

    /// The same line turned about a point and moved.
    fn turned(&self, about: [f64; 2], angle: f64, offset: f64) -> Side {
        let (s, c) = angle.sin_cos();
        let [y, x] = self.normal;
        let turned = Side { normal: [c * y - s * x, s * y + c * x], offset: 0.0 };
        Side { offset: turned.distance(about) - self.distance(about) + offset, ..turned }
    }
}

/// A cell that is known: its place in the box, how many frames saw it, the sums of both maps.
#[derive(Clone, Copy, Debug)]
struct Known {
    index: usize,
    x: [f64; 2],
    count: f64,
    sum: [f64; 2],
}

/// Of some cells: how many times seen, sums.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    sum: [f64; 2],
    cells: f64,
}

impl Sums {
    fn add(&mut self, k: &Known) {
        self.count += k.count;
        self.cells += 1.0;
        self.sum = [self.sum[0] + k.sum[0], self.sum[1] + k.sum[1]];
    }

    fn plus(&self, o: &Sums, sign: f64) -> Sums {
        Sums {
            count: self.count + sign * o.count,
            cells: self.cells + sign * o.cells,
            sum: [self.sum[0] + sign * o.sum[0], self.sum[1] + sign * o.sum[1]],
        }
    }

    /// Log-likelihood of the level that fits best: Σ w S²/2n.
    fn worth(&self, weight: [f64; 2]) -> f64 {
        if self.count > 0.0 {
            (0..2).map(|c| 0.5 * weight[c] * self.sum[c] * self.sum[c] / self.count).sum()
        } else {
            0.0
        }
    }
}

/// Levels of both maps within the region and beyond.
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    within: [f64; 2],
    beyond: [f64; 2],
}

/// The two levels of both maps for every cell that `known` has, 0 elsewhere; one level where no edge stands out.
///
/// ```text
/// μ(X) = beyond + (within − beyond) Π_i C_i(X)      ln p = Σ_X Σ_maps w (μ S − ½ n μ²),   S the sum of n frames
/// ```
///
/// One edge after the other: that of the greatest likelihood of all lines, with cells on one side or the other; then each line is turned and moved, and each of them sought again, until nothing is won. After the first, the side that is cut further is the one
/// that wins more. An edge stays if it explains 16 nats; all of them, if less than 0.3 of the crystal is left on one side.
pub(super) fn two_levels(size: [usize; 2], maps: &CellMaps, known: &[bool], weight: [f64; 2]) -> Vec<[f64; 2]> {
    let cells: Vec<Known> = (0..known.len())
        .filter(|&i| known[i])
        .map(|i| Known {
            index: i,
            x: [(i / size[1]) as f64, (i % size[1]) as f64],
            count: f64::from(maps.count[i]),
            sum: maps.sum[i].map(f64::from),
        })
        .collect();
    let mut fit = Fit { cells: &cells, weight, sides: Vec::new(), levels: Levels::default() };
    fit.levels = fit.level();
    let mut worth = fit.worth();
    while fit.sides.len() < SIDES {
        let mut next = fit.clone();
        let Some(side) = next.best_cut() else { break };
        next.sides.push(side);
        next.settle();
        let now = next.again();
        if now - worth < GAIN {
            break;
        }
        (fit, worth) = (next, now);
    }
    // A defect or a step in thickness is no end of the crystal.
    let crystal = [fit.levels.within[1], fit.levels.beyond[1]];
    if !fit.sides.is_empty() && crystal[0].min(crystal[1]) > VACUUM * crystal[0].max(crystal[1]) {
        fit.sides.clear();
        fit.levels = fit.level();
    }
    let mut out = vec![[0.0; 2]; known.len()];
    for k in fit.cells {
        let p = fit.part(k.x);
        out[k.index] = [0, 1].map(|c| fit.levels.beyond[c] + p * (fit.levels.within[c] - fit.levels.beyond[c]));
    }
    out
}

#[derive(Clone, Debug)]
struct Fit<'a> {
    cells: &'a [Known],
    weight: [f64; 2],
    /// The region is what lies in all of them.
    sides: Vec<Side>,
    levels: Levels,
}

impl Fit<'_> {
    fn part(&self, x: [f64; 2]) -> f64 {
        self.sides.iter().map(|s| s.part(x)).product()
    }

    /// Levels by least squares.
    fn level(&self) -> Levels {
        let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
        let (mut sa, mut sb) = ([0.0; 2], [0.0; 2]);
        for k in self.cells {
            let p = self.part(k.x);
            let q = 1.0 - p;
            (aa, ab, bb) = (aa + k.count * p * p, ab + k.count * p * q, bb + k.count * q * q);
            (0..2).for_each(|c| (sa[c], sb[c]) = (sa[c] + p * k.sum[c], sb[c] + q * k.sum[c]));
        }
        let det = aa * bb - ab * ab;
        let level = |c: usize| {
            if det > 1e-9 * aa.max(bb).powi(2) {
                [(bb * sa[c] - ab * sb[c]) / det, (aa * sb[c] - ab * sa[c]) / det]
            } else {
                [(sa[c] + sb[c]) / (aa + bb + 2.0 * ab).max(f64::MIN_POSITIVE); 2]
            }
        };
        let (p, q) = (level(0), level(1));
        Levels { within: [p[0], q[0]], beyond: [p[1], q[1]] }
    }

    /// ln p of a cell of which the part `p` lies in the region.
    fn of(&self, k: &Known, p: f64) -> f64 {
        let one = |c: usize| {
            let mu = self.levels.beyond[c] + p * (self.levels.within[c] - self.levels.beyond[c]);
            self.weight[c] * mu * (k.sum[c] - 0.5 * k.count * mu)
        };
        one(0) + one(1)
    }

    fn worth(&self) -> f64 {
        self.cells.iter().map(|k| self.of(k, self.part(k.x))).sum()
    }

    /// The line that wins most, of cells as a whole.
    fn best_cut(&mut self) -> Option<Side> {
        let within: Vec<bool> = self.cells.iter().map(|k| self.part(k.x) >= 0.5).collect();
        let mut groups = [Sums::default(); 2];
        self.cells.iter().zip(&within).for_each(|(k, w)| groups[usize::from(!w)].add(k));
        let before: f64 = groups.iter().map(|g| g.worth(self.weight)).sum();
        // After the first line either side may be cut; after that the region is what it is.
        let choices: &[bool] = if self.sides.len() == 1 { &[true, false] } else { &[true] };
        let mut best: (f64, Option<(Side, bool)>) = (0.0, None);
        for &inner in choices {
            let (cut, other) = if inner { (groups[0], groups[1]) } else { (groups[1], groups[0]) };
            let own: Vec<&Known> = self.cells.iter().zip(&within).filter(|p| *p.1 == inner).map(|p| p.0).collect();
            for a in 0..ANGLES / 2 {
                let angle = std::f64::consts::TAU * a as f64 / ANGLES as f64;
                let (s, c) = angle.sin_cos();
                let place = |k: &Known| c * k.x[0] + s * k.x[1];
                let (low, high) = own.iter().fold((f64::MAX, f64::MIN), |(l, h), k| (l.min(place(k)), h.max(place(k))));
                if low > high {
                    break;
                }
                let mut bins = vec![Sums::default(); (high - low) as usize + 1];
                own.iter().for_each(|k| bins[(place(k) - low) as usize].add(k));
                // What lies below goes to the other kind, or what lies above.
                let mut below = Sums::default();
                for (i, b) in bins.iter().enumerate() {
                    below = below.plus(b, 1.0);
                    for upper in [false, true] {
                        let gone = if upper { cut.plus(&below, -1.0) } else { below };
                        let left = cut.plus(&gone, -1.0);
                        if gone.cells < LEAST || left.cells < LEAST {
                            continue;
                        }
                        let gain = left.worth(self.weight) + other.plus(&gone, 1.0).worth(self.weight) - before;
                        if gain > best.0 {
                            let line = low + (i + 1) as f64;
                            let side = Side::at(angle, line);
                            best = (gain, Some((if upper { side.opposite() } else { side }, inner)));
                        }
                    }
                }
            }
        }
        let (side, inner) = best.1?;
        if !inner {
            self.sides.iter_mut().for_each(|s| *s = s.opposite());
        }
        // The scan counts whole cells: what it cannot win, no line will.
        (best.0 > 0.5 * GAIN).then_some(side)
    }

    /// Every line turned and moved in ever smaller steps, levels fitted between.
    fn settle(&mut self) {
        self.levels = self.level();
        for step in [1.0, 0.5, 0.25, 0.12, 0.06] {
            for i in 0..self.sides.len() {
                self.move_side(i, step);
            }
            self.levels = self.level();
        }
    }

    /// One line after the other is taken away and sought again: the best single line of a corner lies across it. Returns the likelihood.
    fn again(&mut self) -> f64 {
        let mut worth = self.worth();
        let mut kept = 0;
        while self.sides.len() > 1 && kept < self.sides.len() {
            let mut other = self.clone();
            other.sides.remove(0);
            if let Some(side) = other.best_cut() {
                other.sides.push(side);
                other.settle();
                let now = other.worth();
                if now > worth + 0.5 {
                    (*self, worth, kept) = (other, now, 0);
                    continue;
                }
            }
            self.sides.rotate_left(1);
            kept += 1;
        }
        worth
    }

    fn move_side(&mut self, i: usize, step: f64) {
        let side = self.sides[i];
        // Cells beside the line, and what the others leave of them.
        let near: Vec<(&Known, f64)> = self
            .cells
            .iter()
            .filter(|k| side.distance(k.x).abs() < BAND)
            .map(|k| {
                let others = self.sides.iter().enumerate().filter(|o| o.0 != i);
                (k, others.map(|o| o.1.part(k.x)).product::<f64>())
            })
            .filter(|p| p.1 > 0.0)
            .collect();
        let total = near.iter().map(|p| p.1).sum::<f64>();
        if total < 2.0 {
            return;
        }
        let about = [0, 1].map(|a| near.iter().map(|p| p.1 * p.0.x[a]).sum::<f64>() / total);
        let reach = near.iter().map(|p| (p.0.x[0] - about[0]).hypot(p.0.x[1] - about[1])).fold(4.0, f64::max);
        let worth = |s: &Side| near.iter().map(|(k, p)| self.of(k, p * s.part(k.x))).sum::<f64>();
        let mut best = (worth(&side), side);
        for _ in 0..8 {
            let from = best.1;
            for (angle, offset) in [(0.0, step), (0.0, -step), (step / reach, 0.0), (-step / reach, 0.0)] {
                let s = from.turned(about, angle, offset);
                // Not beyond the cells that are looked at.
                if s.distance(about).abs() - side.distance(about).abs() > 0.5 * BAND {
                    continue;
                }
                let w = worth(&s);
                if w > best.0 {
                    best = (w, s);
                }
            }
            if best.1 == from {
                break;
            }
        }
        self.sides[i] = best.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    const SIZE: [usize; 2] = [48, 56];

    /// Cells of which `part` is crystal, seen twenty times: a signal of 0.3 in the second map, brightness less by `dark`, noise of one in each frame.
    fn scene(seed: u64, dark: f64, part: impl Fn([f64; 2]) -> f64) -> (CellMaps, Vec<bool>) {
        let mut r = rng::stream(91, seed);
        let n = 20.0f64;
        let one = |i: usize| {
            let p = part([(i / SIZE[1]) as f64, (i % SIZE[1]) as f64]);
            [-dark * p, 0.3 * p].map(|v| (n * v + n.sqrt() * rng::normal(&mut r)) as f32)
        };
        let len = SIZE[0] * SIZE[1];
        let maps = CellMaps { sum: (0..len).map(one).collect(), count: vec![n as f32; len] };
        (maps, (0..len).map(|i| i % SIZE[1] > 3).collect())
    }

    /// RMS difference of the second map from 0.3 of the part that is crystal.
    fn error(levels: &[[f64; 2]], known: &[bool], part: impl Fn([f64; 2]) -> f64) -> f64 {
        let d2 = |i: usize| (levels[i][1] - 0.3 * part([(i / SIZE[1]) as f64, (i % SIZE[1]) as f64])).powi(2);
        let all: Vec<f64> = (0..known.len()).filter(|&i| known[i]).map(d2).collect();
        (all.iter().sum::<f64>() / all.len() as f64).sqrt()
    }

    #[test]
    fn the_part_of_a_cell_is_its_area_on_one_side() {
        for (angle, offset) in [(0.3, 0.1), (0.0, 0.2), (1.2, -0.4), (2.5, 0.0), (4.0, 0.6)] {
            let side = Side::at(angle, offset);
            let n = 200;
            let at = |i: usize| (i as f64 + 0.5) / n as f64 - 0.5;
            let inside = (0..n * n).filter(|i| side.distance([at(i / n), at(i % n)]) > 0.0).count();
            let (want, got) = (inside as f64 / (n * n) as f64, side.part([0.0; 2]));
            // A row of points, and the least width where the line is parallel to an axis.
            assert!((got - want).abs() < 0.012, "{angle} {offset}: {got} {want}");
        }
    }

    /// Cells have noise of 0.22 each; edges of some thirty cells are known to a tenth of a cell.
    #[test]
    fn a_corner_of_crystal_and_a_corner_of_vacuum_are_found() {
        let corner = |x: [f64; 2]| Side::at(0.4, 20.3).part(x) * Side::at(1.9, 10.6).part(x);
        let notch = |x: [f64; 2]| 1.0 - corner(x);
        for seed in 0..3 {
            let (maps, known) = scene(seed, 0.0, corner);
            let found = error(&two_levels(SIZE, &maps, &known, [1.0; 2]), &known, corner);
            assert!(found < 0.03, "{seed} {found}");
            let (maps, known) = scene(seed, 0.1, notch);
            let found = error(&two_levels(SIZE, &maps, &known, [1.0; 2]), &known, notch);
            assert!(found < 0.03, "{seed} {found}");
        }
    }

    #[test]
    fn a_crystal_without_end_has_one_level_and_a_dark_spot_is_no_edge() {
        for seed in 0..4 {
            let (maps, known) = scene(seed, 0.0, |_| 1.0);
            let levels = two_levels(SIZE, &maps, &known, [1.0; 2]);
            let one = levels[known.iter().position(|k| *k).unwrap()];
            assert!((0..known.len()).all(|i| !known[i] || levels[i] == one));
            let (mut maps, known) = scene(seed, 0.0, |_| 1.0);
            for (i, s) in maps.sum.iter_mut().enumerate() {
                let d2 = ((i / SIZE[1]) as f64 - 20.0).powi(2) + ((i % SIZE[1]) as f64 - 30.0).powi(2);
                s[0] -= 20.0 * (-0.5 * d2 / 16.0).exp() as f32;
            }
            let levels = two_levels(SIZE, &maps, &known, [1.0; 2]);
            let one = levels[known.iter().position(|k| *k).unwrap()];
            assert!((0..known.len()).all(|i| !known[i] || levels[i] == one), "{seed}");
        }
    }
}
