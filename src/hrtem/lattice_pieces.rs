//! Which of all lattice vectors: the pieces of a track between its jumps are placed by what the frames of each, merged, hold that is not periodic.

use std::ops::Range;

use crate::error::Error;
use crate::fft::Fft2;
use crate::hrtem::cell_maps::{CellBox, CellMaps, CellTemplate};
use crate::hrtem::plane_lattice::PlaneLattice;
use crate::hrtem::smooth_track::{SmoothTrack, best_candidates};
use crate::par::Par;

/// Frames of a block at most: what is moved as a whole.
const BLOCK: usize = 12;
/// Lattice vectors that are tried at most, the shortest.
const VECTORS: usize = 121;
/// Longest pieces that each begin an assembly.
const STARTS: usize = 3;

/// A piece of the track that holds together: frames between two jumps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriftPiece {
    /// Its frames.
    pub frames: Range<usize>,
    /// Probability of its lattice vector: against moving this piece, alone or with any others of no more frames than the rest has, by any lattice vector, jumps of all
    /// sizes being equally probable. 1 where there is nothing to decide.
    pub confidence: f64,
    /// Where its lattice vector is doubtful: the direction `[y, x]` in which the alternatives lie farthest, its length their standard deviation in pixels, weighted by their probability. An edge alone
    /// in view leaves doubt along itself.
    pub doubt: [f64; 2],
    /// How many standard deviations of noise separate the nearest other lattice vector from the one that was taken, as far as the merged frames show what is not periodic. The best
    /// test errs with the probability Q(separation/2), Q the tail of the normal distribution: below about 3, nothing can tell.
    pub separation: f64,
}

/// The maps of all frames, and what they are compared by.
pub(super) struct Assembly<'a> {
    pub grid: &'a CellBox,
    pub lattice: &'a PlaneLattice,
    /// Modulo the lattice.
    pub track: &'a [[f64; 2]],
    pub maps: &'a [Vec<[f32; 2]>],
    /// Largest distance along an axis from where the first piece is.
    pub largest: f64,
    pub prior: SmoothTrack,
    /// 1/variance of both maps in one frame; 0 for a map that does not count.
    pub weight: [f64; 2],
    pub par: &'a Par,
    fft: Fft2<f32>,
    whole: Vec<Vec<u32>>,
    /// From the shortest: 0 first.
    pub vectors: Vec<[i32; 2]>,
}

/// Frames that are moved as a whole, merged.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub frames: Range<usize>,
    pub sum: Option<CellMaps>,
    /// Which piece it is of.
    pub piece: usize,
}

/// How far along an axis a track goes from frame to frame, as the median has it.
pub(super) fn usual_step(track: &[[f64; 2]]) -> f64 {
    let mut d2: Vec<f64> =
        track.windows(2).map(|w| (w[1][0] - w[0][0]).powi(2) + (w[1][1] - w[0][1]).powi(2)).collect();
    d2.sort_by(f64::total_cmp);
    (d2.get(d2.len() / 2).copied().unwrap_or(0.0) / (2.0 * std::f64::consts::LN_2)).sqrt()
}

/// A place for every lattice vector, and the piece's verdict.
pub(super) struct Placed {
    pub track: Vec<[f64; 2]>,
    pub pieces: Vec<DriftPiece>,
    /// From all frames where they are.
    pub template: CellTemplate,
}

impl<'a> Assembly<'a> {
    pub fn new(
        grid: &'a CellBox,
        lattice: &'a PlaneLattice,
        track: &'a [[f64; 2]],
        maps: &'a [Vec<[f32; 2]>],
        largest: f64,
        margin: f64,
        prior: &SmoothTrack,
        brightness: bool,
        par: &'a Par,
    ) -> Result<Self, Error> {
        let whole = par.map(track.len(), |f| grid.whole(track[f]));
        // The noise of a cell, from differences of neighbours: what varies slowly is not in it.
        let mut variance = [0.0; 2];
        for (channel, v) in variance.iter_mut().enumerate() {
            let of = par.map(track.len(), |f| {
                let pairs = whole[f].windows(2).filter(|p| p[1] == p[0] + 1);
                let (mut sum, mut n) = (0.0, 0.0);
                for p in pairs {
                    let d = f64::from(maps[f][p[1] as usize][channel] - maps[f][p[0] as usize][channel]);
                    (sum, n) = (sum + 0.5 * d * d, n + 1.0);
                }
                (sum, n)
            });
            let (sum, n) = of.iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            *v = sum / f64::max(n, 1.0);
        }
        let mut weight = variance.map(|v| if v > 0.0 { 1.0 / v } else { 0.0 });
        if !brightness {
            weight[0] = 0.0;
        }
        // All vectors up to the margin, from the shortest: 0 first.
        let most = lattice.lengths().map(|l| ((1.3 * margin / l) as i32).min(60));
        let length = |r: &[i32; 2]| {
            let p = lattice.at(r.map(f64::from));
            p[0].hypot(p[1])
        };
        let mut vectors: Vec<[i32; 2]> = (-most[0]..=most[0])
            .flat_map(|i| (-most[1]..=most[1]).map(move |j| [i, j]))
            .filter(|r| length(r) <= margin)
            .collect();
        vectors.sort_by(|a, b| length(a).total_cmp(&length(b)).then(a.cmp(b)));
        vectors.truncate(VECTORS);
        let step = (1.5 * usual_step(track)).clamp(0.05 * prior.step, prior.step);
        Ok(Assembly {
            grid,
            lattice,
            track,
            maps,
            largest,
            prior: SmoothTrack { step, ..*prior },
            weight,
            par,
            fft: Fft2::new(grid.size)?,
            whole,
            vectors,
        })
    }

    pub(super) fn moved(&self, f: usize, r: [i32; 2]) -> [f64; 2] {
        let d = self.lattice.at(r.map(f64::from));
        [self.track[f][0] + d[0], self.track[f][1] + d[1]]
    }

    /// Frames of one piece merged, each at its vector less `base`.
    fn merged(&self, frames: Range<usize>, at: &[[i32; 2]], base: [i32; 2]) -> CellMaps {
        let mut sum = self.grid.empty();
        for f in frames {
            let r = [at[f][0] - base[0], at[f][1] - base[1]];
            sum.add_frame(self.grid, &self.maps[f], &self.whole[f], r);
        }
        sum
    }

    /// Blocks of at most [`BLOCK`] frames between the steps that are no drift.
    pub(super) fn blocks(&self, at: &[[i32; 2]]) -> Vec<Block> {
        let n = self.track.len();
        let step = |f: usize| {
            let (a, b) = (self.moved(f - 1, at[f - 1]), self.moved(f, at[f]));
            (a[0] - b[0]).hypot(a[1] - b[1])
        };
        let jump = 4.0 * self.prior.step;
        let mut starts: Vec<usize> = (1..n).filter(|&f| step(f) > jump).collect();
        starts.insert(0, 0);
        starts.push(n);
        let mut out = Vec::new();
        for (piece, w) in starts.windows(2).enumerate() {
            let parts = (w[1] - w[0]).div_ceil(BLOCK);
            for i in 0..parts {
                let edge = |i: usize| w[0] + (w[1] - w[0]) * i / parts;
                out.push(Block { frames: edge(i)..edge(i + 1), sum: None, piece });
            }
        }
        let sums = self.par.map(out.len(), |b| Some(self.merged(out[b].frames.clone(), at, at[out[b].frames.start])));
        out.iter_mut().zip(sums).for_each(|(b, s)| b.sum = s);
        out
    }

    /// What is expected from the blocks that are placed and not of `without`.
    fn template(&self, blocks: &[Block], at: &[Option<[i32; 2]>], without: Range<usize>) -> (CellTemplate, f64) {
        let (mut sum, mut frames) = (self.grid.empty(), 0.0);
        for (i, (b, r)) in blocks.iter().zip(at).enumerate() {
            if let (Some(r), Some(s), false) = (r, &b.sum, without.contains(&i)) {
                sum.add(self.grid, s, *r);
                frames += b.frames.len() as f64;
            }
        }
        (self.template_of(&sum), frames)
    }

    /// What is expected where these maps were seen.
    pub(super) fn template_of(&self, sum: &CellMaps) -> CellTemplate {
        self.grid.template(sum, self.weight, &self.fft)
    }

    /// Log-likelihoods of the vectors for some maps of `m` frames against a template of `n`: that has noise of its own.
    pub(super) fn scores(&self, t: &CellTemplate, maps: &CellMaps, m: f64, n: f64) -> Vec<f64> {
        let cells = self.grid.common(t, maps, &self.vectors);
        let trust = 1.0 / (1.0 + m / n.max(1.0));
        self.grid.scores(t, maps, &cells, &self.vectors, self.weight.map(|w| w * trust))
    }

    /// The best vectors for the blocks `range` with the neighbours where they are, and what that is worth.
    fn place(
        &self,
        blocks: &[Block],
        at: &[Option<[i32; 2]>],
        range: Range<usize>,
        middle: [f64; 2],
    ) -> (Vec<[i32; 2]>, f64) {
        let (t, n) = self.template(blocks, at, range.clone());
        let m: f64 = blocks[range.clone()].iter().map(|b| b.frames.len() as f64).sum();
        let scores: Vec<Vec<f64>> =
            range.clone().map(|b| blocks[b].sum.as_ref().map_or(vec![], |s| self.scores(&t, s, m, n))).collect();
        // A path over blocks, drift within them taken out.
        let mut items: Vec<Vec<([f64; 2], f64)>> = Vec::new();
        let mut drift = [0.0; 2];
        let mut edge: Option<usize> = None;
        if let Some(before) = range.start.checked_sub(1)
            && let Some(r) = at[before]
        {
            let f = blocks[before].frames.end - 1;
            items.push(vec![(self.lattice.at(r.map(f64::from)), 0.0)]);
            edge = Some(f);
        }
        let lead = items.len();
        let crossing = |drift: &mut [f64; 2], from: Option<usize>, to: usize| {
            if let Some(f) = from {
                *drift = [0, 1].map(|a| drift[a] + self.track[to][a] - self.track[f][a]);
            }
        };
        let place = |r: [i32; 2], drift: [f64; 2]| {
            let p = self.lattice.at(r.map(f64::from));
            [p[0] + drift[0], p[1] + drift[1]]
        };
        for (b, scores) in range.clone().zip(&scores) {
            crossing(&mut drift, edge, blocks[b].frames.start);
            edge = Some(blocks[b].frames.end - 1);
            let inside = |r: [i32; 2]| {
                let d = self.moved((blocks[b].frames.start + blocks[b].frames.end) / 2, r);
                (d[0] - middle[0]).abs().max((d[1] - middle[1]).abs()) <= self.largest
            };
            let list = self.vectors.iter().zip(scores);
            items.push(list.map(|(r, s)| (place(*r, drift), if inside(*r) { *s } else { *s - 1e3 })).collect());
        }
        if range.end < blocks.len()
            && let Some(r) = at[range.end]
        {
            crossing(&mut drift, edge, blocks[range.end].frames.start);
            items.push(vec![(place(r, drift), 0.0)]);
        }
        let path = best_candidates(&items, &self.prior);
        let worth: f64 = path.iter().zip(&items).map(|(&i, c)| c[i].1).sum::<f64>()
            - (1..items.len()).map(|i| self.prior.cost(items[i - 1][path[i - 1]].0, items[i][path[i]].0)).sum::<f64>();
        let chosen = path[lead..lead + range.len()].iter().map(|&i| self.vectors[i]).collect();
        (chosen, worth)
    }

    /// All blocks, from the middle of one piece outwards; then each piece against all others until nothing changes.
    fn assemble(&self, blocks: &[Block], pieces: &[Range<usize>], start: usize) -> (Vec<[i32; 2]>, f64) {
        let mut at: Vec<Option<[i32; 2]>> = vec![None; blocks.len()];
        let first = &pieces[start];
        let seed = (first.start + first.end) / 2;
        at[seed] = Some([0; 2]);
        let middle = self.track[(blocks[seed].frames.start + blocks[seed].frames.end) / 2];
        for reach in 1..first.len() {
            for b in [seed.checked_sub(reach), Some(seed + reach)].into_iter().flatten() {
                if first.contains(&b) {
                    at[b] = Some(self.place(blocks, &at, b..b + 1, middle).0[0]);
                }
            }
        }
        let (mut low, mut high) = (start, start + 1);
        while low > 0 || high < pieces.len() {
            // The longer neighbour first: it says more.
            let down = low > 0 && (high == pieces.len() || pieces[low - 1].len() > pieces[high].len());
            let piece = if down { pieces[low - 1].clone() } else { pieces[high].clone() };
            let (chosen, _) = self.place(blocks, &at, piece.clone(), middle);
            piece.zip(chosen).for_each(|(b, r)| at[b] = Some(r));
            if down { low -= 1 } else { high += 1 }
        }
        let mut at: Vec<[i32; 2]> = at.into_iter().map(Option::unwrap_or_default).collect();
        let worth = self.settle(blocks, pieces, &mut at, middle);
        (at, worth)
    }

    /// One piece after the other against all others, until none moves; and what the whole is worth.
    fn settle(&self, blocks: &[Block], pieces: &[Range<usize>], at: &mut [[i32; 2]], middle: [f64; 2]) -> f64 {
        let mut worth = 0.0;
        let mut placed: Vec<Option<[i32; 2]>> = at.iter().copied().map(Some).collect();
        for _ in 0..if pieces.len() > 1 { 5 } else { 0 } {
            let mut changed = false;
            worth = 0.0;
            for piece in pieces {
                let (chosen, value) = self.place(blocks, &placed, piece.clone(), middle);
                worth += value;
                for (b, r) in piece.clone().zip(chosen) {
                    changed |= placed[b] != Some(r);
                    placed[b] = Some(r);
                }
            }
            if !changed {
                break;
            }
        }
        at.iter_mut().zip(placed).for_each(|(a, p)| *a = p.unwrap_or_default());
        worth
    }

    /// The vector of every frame.
    pub fn run(&self) -> Placed {
        let n = self.track.len();
        let mut at = vec![[0i32; 2]; n];
        let blocks = self.blocks(&at);
        let pieces = ranges(blocks.iter().map(|b| b.piece));
        let frames = |p: &Range<usize>| blocks[p.end - 1].frames.end - blocks[p.start].frames.start;
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&p| (std::cmp::Reverse(frames(&pieces[p])), p));
        order.truncate(STARTS);
        let all = self.par.map(order.len(), |i| self.assemble(&blocks, &pieces, order[i]));
        let best = all.into_iter().reduce(|a, b| if b.1 > a.1 { b } else { a });
        if let Some((vectors, _)) = best {
            for (b, r) in blocks.iter().zip(vectors) {
                b.frames.clone().for_each(|f| at[f] = r);
            }
        }
        // Frames may change sides at a jump, and jumps that a lattice vector hides come out; then all pieces once more, one after the other.
        for _ in 0..2 {
            let mut next = self.frame_by_frame(&at);
            if next == at {
                break;
            }
            let blocks = self.blocks(&next);
            let pieces = ranges(blocks.iter().map(|b| b.piece));
            let mut placed: Vec<[i32; 2]> = blocks.iter().map(|b| next[b.frames.start]).collect();
            let middle = self.moved(n / 2, next[n / 2]);
            self.settle(&blocks, &pieces, &mut placed, middle);
            for (b, r) in blocks.iter().zip(placed) {
                b.frames.clone().for_each(|f| next[f] = r);
            }
            at = next;
        }
        self.jointly(&mut at);
        let blocks = self.blocks(&at);
        let placed: Vec<Option<[i32; 2]>> = blocks.iter().map(|b| Some(at[b.frames.start])).collect();
        let (template, _) = self.template(&blocks, &placed, 0..0);
        let pieces = self.verdicts(&at);
        Placed { track: (0..n).map(|f| self.moved(f, at[f])).collect(), pieces, template }
    }

    /// Every frame against the blocks that it is not of, the best path over all: where within a block the lattice vector changes.
    fn frame_by_frame(&self, at: &[[i32; 2]]) -> Vec<[i32; 2]> {
        let blocks = self.blocks(at);
        if blocks.len() < 2 {
            return at.to_vec();
        }
        let placed: Vec<Option<[i32; 2]>> = blocks.iter().map(|b| Some(at[b.frames.start])).collect();
        let middle = self.moved(at.len() / 2, at[at.len() / 2]);
        let lists = self.par.map(blocks.len(), |b| {
            let (t, n) = self.template(&blocks, &placed, b..b + 1);
            let one = |f: usize| {
                let mut maps = self.grid.empty();
                maps.add_frame(self.grid, &self.maps[f], &self.whole[f], [0; 2]);
                let scores = self.scores(&t, &maps, 1.0, n);
                let near = self.vectors.iter().zip(scores).filter_map(|(r, s)| {
                    let d = self.moved(f, *r);
                    let inside = (d[0] - middle[0]).abs().max((d[1] - middle[1]).abs()) <= 1.5 * self.largest;
                    (inside || *r == at[f]).then_some((*r, (d, s)))
                });
                near.unzip()
            };
            blocks[b].frames.clone().map(one).collect::<Vec<(Vec<[i32; 2]>, Vec<([f64; 2], f64)>)>>()
        });
        let (vectors, items): (Vec<_>, Vec<_>) = lists.into_iter().flatten().unzip();
        best_candidates(&items, &self.prior).iter().zip(&vectors).map(|(&i, v)| v[i]).collect()
    }
}

/// Ranges of equal neighbours.
pub(super) fn ranges(of: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for (i, p) in of.enumerate() {
        if last == Some(p) {
            if let Some(r) = out.last_mut() {
                r.end = i + 1;
            }
        } else {
            out.push(i..i + 1);
        }
        last = Some(p);
    }
    out
}
