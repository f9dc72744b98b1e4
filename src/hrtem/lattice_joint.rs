//! The lattice vectors of all pieces together: every way to part the pieces into two groups, the one moved against the other.

use std::ops::Range;

use crate::hrtem::cell_maps::CellMaps;
use crate::hrtem::lattice_pieces::{Assembly, Block, DriftPiece, ranges};

/// Up to this many pieces all partings are tried, 2^(P − 1) − 1 of them; of more pieces single ones, neighbours, and all before a jump.
const ALL: usize = 7;
/// Rounds of moving what is better moved, at most.
const ROUNDS: usize = 12;
/// What a group must win by moving, nats: templates change with it, and what is won must not be lost on the way back.
const WORTH: f64 = 0.5;

/// Pieces that move against the others: those of fewer frames.
#[derive(Default)]
pub(super) struct Parting {
    moved: Vec<bool>,
    /// Gain of every lattice vector over staying, nats, of frames alone; the first is 0.
    gains: Vec<f64>,
}

/// What jumps are believed to be.
#[derive(Clone, Copy, PartialEq)]
enum Jumps {
    /// As the prior has it: small ones are more probable.
    Sized,
    /// Of any size alike: what the frames do not decide stays undecided.
    Alike,
}

impl Assembly<'_> {
    /// Groups of pieces that are moved against the rest.
    fn partings(frames: &[usize]) -> Vec<Vec<bool>> {
        let n = frames.len();
        let total: usize = frames.iter().sum();
        let mut sets: Vec<Vec<bool>> = if n <= ALL {
            (1..1usize << n.saturating_sub(1))
                .map(|s| (0..n).map(|p| p > 0 && s >> (p - 1) & 1 == 1).collect())
                .collect()
        } else {
            let within = |r: Range<usize>| (0..n).map(|p| r.contains(&p)).collect::<Vec<bool>>();
            let alone = (0..n).map(|p| within(p..p + 1));
            alone.chain((0..n - 1).map(|p| within(p..p + 2))).chain((1..n).map(|p| within(p..n))).collect()
        };
        // Those of fewer frames move; of equal numbers, those without the first piece.
        for s in &mut sets {
            let size: usize = frames.iter().zip(s.iter()).filter(|f| *f.1).map(|f| f.0).sum();
            if 2 * size > total || 2 * size == total && s[0] {
                s.iter_mut().for_each(|m| *m = !*m);
            }
        }
        sets.sort();
        sets.dedup();
        sets
    }

    /// The maps of the blocks of some pieces where they are, merged, and how many frames these are.
    fn gathered(&self, blocks: &[Block], at: &[[i32; 2]], wanted: impl Fn(usize) -> bool) -> (CellMaps, f64) {
        let (mut sum, mut frames) = (self.grid.empty(), 0.0);
        for b in blocks.iter().filter(|b| wanted(b.piece)) {
            if let Some(s) = &b.sum {
                sum.add(self.grid, s, at[b.frames.start]);
                frames += b.frames.len() as f64;
            }
        }
        (sum, frames)
    }

    /// What the frames say of moving a group by every lattice vector.
    fn part(&self, blocks: &[Block], at: &[[i32; 2]], moved: Vec<bool>) -> Parting {
        let (own, m) = self.gathered(blocks, at, |p| moved[p]);
        let (rest, n) = self.gathered(blocks, at, |p| !moved[p]);
        let t = self.template_of(&rest);
        let scores = self.scores(&t, &own, m, n);
        let still = scores.first().copied().unwrap_or(0.0);
        let middle = at.len() / 2;
        let of = |f: usize| blocks.iter().find(|b| b.frames.contains(&f)).map_or(0, |b| b.piece);
        let inside = |r: [i32; 2]| {
            let place = |f: usize, p: usize| {
                let v = if moved[p] { [at[f][0] + r[0], at[f][1] + r[1]] } else { at[f] };
                self.moved(f, v)
            };
            let c = place(middle, of(middle));
            blocks.iter().all(|b| {
                let d = place((b.frames.start + b.frames.end) / 2, b.piece);
                (d[0] - c[0]).abs().max((d[1] - c[1]).abs()) <= 1.5 * self.largest
            })
        };
        let gains = (self.vectors.iter().zip(&scores))
            .map(|(r, s)| if *r == [0; 2] || inside(*r) { s - still } else { f64::NEG_INFINITY })
            .collect();
        Parting { moved, gains }
    }

    /// What the prior loses when a group is moved by r.
    fn loss(&self, blocks: &[Block], at: &[[i32; 2]], moved: &[bool], r: [i32; 2], jumps: Jumps) -> f64 {
        let cost = |a: [f64; 2], b: [f64; 2]| match jumps {
            Jumps::Sized => self.prior.cost(a, b),
            Jumps::Alike => {
                let d2 = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
                (0.5 * d2 / (self.prior.step * self.prior.step)).min(self.prior.jump_cost())
            }
        };
        let pairs = blocks.windows(2).filter(|w| moved[w[0].piece] != moved[w[1].piece]);
        pairs
            .map(|w| {
                let (f, g) = (w[0].frames.end - 1, w[1].frames.start);
                let by = |f: usize, p: usize| {
                    let v = if moved[p] { [at[f][0] + r[0], at[f][1] + r[1]] } else { at[f] };
                    self.moved(f, v)
                };
                cost(by(f, w[0].piece), by(g, w[1].piece)) - cost(self.moved(f, at[f]), self.moved(g, at[g]))
            })
            .sum()
    }

    /// Moves groups of pieces against the others as long as that is worth it.
    pub(super) fn jointly(&self, at: &mut [[i32; 2]]) {
        for _ in 0..ROUNDS {
            let blocks = self.blocks(at);
            let pieces = ranges(blocks.iter().map(|b| b.piece));
            if pieces.len() < 2 {
                return;
            }
            let all = self.all_partings(&blocks, &pieces, at);
            let mut best = (WORTH, None);
            for part in &all {
                for (r, gain) in self.vectors.iter().zip(&part.gains).skip(1) {
                    let gain = gain - self.loss(&blocks, at, &part.moved, *r, Jumps::Sized);
                    if gain > best.0 {
                        best = (gain, Some((part, *r)));
                    }
                }
            }
            let Some((part, r)) = best.1 else { return };
            for b in blocks.iter().filter(|b| part.moved[b.piece]) {
                b.frames.clone().for_each(|f| at[f] = [at[f][0] + r[0], at[f][1] + r[1]]);
            }
        }
    }

    fn all_partings(&self, blocks: &[Block], pieces: &[Range<usize>], at: &[[i32; 2]]) -> Vec<Parting> {
        let frames: Vec<usize> =
            pieces.iter().map(|p| blocks[p.end - 1].frames.end - blocks[p.start].frames.start).collect();
        let sets = Self::partings(&frames);
        self.par.map(sets.len(), |i| self.part(blocks, at, sets[i].clone()))
    }

    /// How sure each piece is, all partings considered: with Z = 1 + Σ e^{gain} over all of them and all lattice vectors, what moves a piece is taken from its probability.
    pub(super) fn verdicts(&self, at: &[[i32; 2]]) -> Vec<DriftPiece> {
        let blocks = self.blocks(at);
        let pieces = ranges(blocks.iter().map(|b| b.piece));
        let frames = |p: &Range<usize>| blocks[p.start].frames.start..blocks[p.end - 1].frames.end;
        if pieces.len() < 2 {
            let sure = |p: &Range<usize>| DriftPiece {
                frames: frames(p),
                confidence: 1.0,
                separation: f64::INFINITY,
                doubt: [0.0; 2],
            };
            return pieces.iter().map(sure).collect();
        }
        let all = self.all_partings(&blocks, &pieces, at);
        let mut z = 1.0;
        // Of each piece: what moves it, and the second moments of by how much.
        let mut wrong = vec![0.0; pieces.len()];
        let mut moment = vec![[0.0; 3]; pieces.len()];
        for part in &all {
            for (r, gain) in self.vectors.iter().zip(&part.gains).skip(1) {
                let p = (gain - self.loss(&blocks, at, &part.moved, *r, Jumps::Alike)).min(500.0).exp();
                let [y, x] = self.lattice.at(r.map(f64::from));
                z += p;
                for i in (0..pieces.len()).filter(|&i| part.moved[i]) {
                    wrong[i] += p;
                    moment[i] = [moment[i][0] + p * y * y, moment[i][1] + p * y * x, moment[i][2] + p * x * x];
                }
            }
        }
        let separation = self.par.map(pieces.len(), |i| self.separation(&blocks, at, i));
        (0..pieces.len())
            .map(|i| DriftPiece {
                frames: frames(&pieces[i]),
                confidence: 1.0 - wrong[i] / z,
                separation: separation[i],
                doubt: longest(moment[i].map(|m| m / z)),
            })
            .collect()
    }

    /// How far the nearest other vector of a piece is, in standard deviations of noise.
    fn separation(&self, blocks: &[Block], at: &[[i32; 2]], piece: usize) -> f64 {
        let (own, m) = self.gathered(blocks, at, |p| p == piece);
        let (rest, n) = self.gathered(blocks, at, |p| p != piece);
        let t = self.template_of(&rest);
        let cells = self.grid.common(&t, &own, &self.vectors);
        let weight = self.weight.map(|w| w / (1.0 + m / n.max(1.0)));
        let distances = self.grid.distances(&t, &own, &cells, &self.vectors, weight);
        distances[1..].iter().copied().fold(f64::INFINITY, f64::min).sqrt()
    }
}

/// The longest axis of second moments yy, yx, xx: its direction, its length the standard deviation along it.
fn longest([yy, yx, xx]: [f64; 3]) -> [f64; 2] {
    let (half, difference) = (0.5 * (yy + xx), 0.5 * (yy - xx));
    let most = half + difference.hypot(yx);
    // 2θ of the axis, counted from y.
    let angle = 0.5 * yx.atan2(difference);
    let length = most.max(0.0).sqrt();
    [length * angle.cos(), length * angle.sin()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hrtem::cell_maps::CellBox;
    use crate::hrtem::plane_lattice::PlaneLattice;
    use crate::hrtem::smooth_track::SmoothTrack;
    use crate::par::Par;
    use crate::rng;

    #[test]
    fn the_side_of_fewer_frames_moves_and_no_parting_comes_twice() {
        for frames in [vec![30; 4], vec![10, 50, 20], vec![5, 5], vec![3; 9]] {
            let all = Assembly::partings(&frames);
            let n = frames.len();
            let total: usize = frames.iter().sum();
            if n <= ALL {
                assert_eq!(all.len(), (1 << (n - 1)) - 1);
            }
            for s in &all {
                let size: usize = frames.iter().zip(s).filter(|f| *f.1).map(|f| f.0).sum();
                assert!(size > 0 && 2 * size <= total);
                let other: Vec<bool> = s.iter().map(|m| !m).collect();
                assert!(!all.contains(&other));
            }
            // Every piece moves alone in one of them, or all others do.
            for p in 0..n {
                let alone = |s: &Vec<bool>| {
                    let count = s.iter().filter(|m| **m).count();
                    (count == 1 && s[p]) || (count == n - 1 && !s[p])
                };
                assert!(all.iter().any(alone), "{frames:?} {p}");
            }
        }
    }

    #[test]
    fn the_longest_axis_of_moments_is_that_of_the_vector() {
        for v in [[3.0, 0.0], [0.0, 2.0], [1.0, 4.0], [2.0, -5.0]] {
            let [y, x]: [f64; 2] = v;
            let [p, q] = longest([y * y, y * x, x * x]);
            assert!((p * x - q * y).abs() < 1e-9 && (p.hypot(q) - y.hypot(x)).abs() < 1e-9, "{v:?} {p} {q}");
        }
        assert_eq!(longest([0.0; 3]), [0.0; 2]);
    }

    /// Thirty frames in three pieces between jumps, cells of 6.2 by 7.3 pixels with noise of one; brighter by 0.6 and no crystal where `bright`.
    fn with_scene<R>(seed: u64, bright: impl Fn([f64; 2]) -> bool, check: impl Fn(&Assembly<'_>) -> R) -> R {
        let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 6.2], b: [7.3, 0.0] };
        let track: Vec<[f64; 2]> = (0..30).map(|f| [[0.0, 0.0], [9.0, -4.0], [3.0, 11.0]][f / 10]).collect();
        let grid = CellBox::new([300, 300], &lattice, &track, 20.0).unwrap();
        let mut r = rng::stream(5, seed);
        let mut frame = || -> Vec<[f32; 2]> {
            (0..grid.len())
                .map(|i| {
                    let at = [i / grid.size[1], i % grid.size[1]];
                    let u = [0, 1].map(|a| (at[a] as i64 + grid.first[a]) as f64);
                    let step = if bright(lattice.at(u)) { [0.6, 0.0] } else { [0.0, 0.3] };
                    step.map(|v| (v + rng::normal(&mut r)) as f32)
                })
                .collect()
        };
        let maps: Vec<Vec<[f32; 2]>> = track.iter().map(|_| frame()).collect();
        let (prior, par) = (SmoothTrack::default(), Par::seq());
        check(&Assembly::new(&grid, &lattice, &track, &maps, 40.0, 20.0, &prior, true, &par).unwrap())
    }

    #[test]
    fn pieces_that_are_wrong_together_are_moved_together() {
        with_scene(
            0,
            |r| r[0] > 150.0 && r[1] > 140.0,
            |all| {
                let mut at: Vec<[i32; 2]> = (0..30).map(|f| if f < 10 { [0, 0] } else { [1, -1] }).collect();
                all.jointly(&mut at);
                assert!(at.iter().all(|v| *v == at[0]), "{at:?}");
                for p in all.verdicts(&at) {
                    assert!(p.confidence > 0.9 && p.doubt[0].hypot(p.doubt[1]) < 2.0, "{p:?}");
                }
            },
        );
    }

    #[test]
    fn what_doubt_an_edge_leaves_lies_along_itself() {
        for seed in 0..6 {
            with_scene(
                seed,
                |r| r[1] > 140.0,
                |all| {
                    for p in all.verdicts(&[[0; 2]; 30]) {
                        // Across it a tenth of a cell at most.
                        assert!(p.doubt[1].abs() < 0.6, "{seed} {p:?}");
                        assert!(p.confidence < 0.9 && p.doubt[0].abs() > 3.6, "{seed} {p:?}");
                    }
                },
            );
        }
    }
}
