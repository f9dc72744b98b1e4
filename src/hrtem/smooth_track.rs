//! The smoothest track through maps of likelihood: dynamic programming with a truncated quadratic cost.

use crate::error::Error;

/// What is believed about drift before it is measured: from frame to frame it moves by about `step`, and sometimes it jumps.
///
/// ```text
/// −ln p(d_f | d_{f−1}) = min( |d_f − d_{f−1}|²/2σ²,  J ) + const,   J = ln(area/(2πσ²)) − ln p_jump
/// ```
///
/// J compares a Gaussian with a jump to anywhere in the searched area, with its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothTrack {
    /// σ: RMS drift from one frame to the next along an axis, pixels.
    pub step: f64,
    /// p_jump: probability of a jump between two frames.
    pub jump: f64,
}

/// One pixel a frame; one jump in a hundred frames.
impl Default for SmoothTrack {
    fn default() -> Self {
        SmoothTrack { step: 1.0, jump: 0.01 }
    }
}

impl SmoothTrack {
    /// # Errors
    /// [`Error::Param`] for a step that is not positive, a probability outside (0, 1).
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(self.step > 0.0 && self.step.is_finite()) {
            return Err(Error::param("step", self.step, "a positive number of pixels"));
        }
        if !(self.jump > 0.0 && self.jump < 1.0) {
            return Err(Error::param("jump", self.jump, "a probability between 0 and 1"));
        }
        Ok(())
    }

    /// J for a search over `area` square pixels.
    pub(super) fn jump_cost(&self, area: f64) -> f64 {
        (area / (std::f64::consts::TAU * self.step * self.step)).max(1.0).ln() - self.jump.ln()
    }

    /// The cost of going from `a` to `b`.
    pub(super) fn cost(&self, a: [f64; 2], b: [f64; 2], jump_cost: f64) -> f64 {
        let d2 = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        (0.5 * d2 / (self.step * self.step)).min(jump_cost)
    }
}

/// The path of greatest total log-likelihood less the cost of its steps, over square maps.
///
/// # Shapes
/// Each map is (side, side), `spacing` pixels between its points. Returns a flat index for each map.
///
/// # References
/// A. J. Viterbi, IEEE Trans. Inf. Theory 13, 260 (1967). P. F. Felzenszwalb, D. P. Huttenlocher, Theory of Computing 8, 415 (2012), section 2: the lower envelope
/// of parabolas, which makes a step linear in the number of points.
pub(super) fn best_path(maps: &[Vec<f32>], side: usize, spacing: f64, prior: &SmoothTrack) -> Vec<usize> {
    if maps.is_empty() {
        return Vec::new();
    }
    let n = side * side;
    let jump = prior.jump_cost((side as f64 * spacing).powi(2)) as f32;
    let curvature = (0.5 * (spacing / prior.step).powi(2)) as f32;
    let mut cost: Vec<f32> = maps[0].iter().map(|s| -s).collect();
    let mut from: Vec<Vec<u32>> = Vec::with_capacity(maps.len());
    let mut envelope = Envelope::new(side);
    let (mut reached, mut along_x) = (vec![0.0f32; n], vec![0u32; n]);
    for map in maps.iter().skip(1) {
        let cheapest = (0..n).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).unwrap_or(0);
        // Rows, then columns: a quadratic is separable.
        for y in 0..side {
            envelope.run(
                curvature,
                |x| cost[y * side + x],
                |x, v, at| {
                    reached[y * side + x] = v;
                    along_x[y * side + x] = at as u32;
                },
            );
        }
        let mut back = vec![0u32; n];
        let mut next = vec![0.0f32; n];
        for x in 0..side {
            envelope.run(
                curvature,
                |y| reached[y * side + x],
                |y, v, at| {
                    let i = y * side + x;
                    let smooth = v <= cost[cheapest] + jump;
                    back[i] = if smooth { at as u32 * side as u32 + along_x[at * side + x] } else { cheapest as u32 };
                    next[i] = if smooth { v } else { cost[cheapest] + jump } - map[i];
                },
            );
        }
        cost = next;
        from.push(back);
    }
    let mut at = (0..n).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).unwrap_or(0);
    let mut path = vec![at];
    for back in from.iter().rev() {
        at = back[at] as usize;
        path.push(at);
    }
    path.reverse();
    path
}

/// The lower envelope of the parabolas value(q) + c (p − q)² over a line.
struct Envelope {
    /// Vertices of the parabolas, and where each begins to be the lowest.
    vertex: Vec<usize>,
    begins: Vec<f32>,
    values: Vec<f32>,
}

impl Envelope {
    fn new(n: usize) -> Self {
        Envelope { vertex: vec![0; n], begins: vec![0.0; n + 1], values: vec![0.0; n] }
    }

    fn run(&mut self, c: f32, value: impl Fn(usize) -> f32, mut out: impl FnMut(usize, f32, usize)) {
        let n = self.values.len();
        for (i, v) in self.values.iter_mut().enumerate() {
            *v = value(i);
        }
        let f = &self.values;
        let crossing = |q: usize, p: usize| {
            let (qf, pf) = (q as f32, p as f32);
            ((f[q] + c * qf * qf) - (f[p] + c * pf * pf)) / (2.0 * c * (qf - pf))
        };
        let mut last = 0;
        self.vertex[0] = 0;
        self.begins[0] = f32::NEG_INFINITY;
        for q in 1..n {
            let mut s = crossing(q, self.vertex[last]);
            while last > 0 && s <= self.begins[last] {
                last -= 1;
                s = crossing(q, self.vertex[last]);
            }
            last += 1;
            self.vertex[last] = q;
            self.begins[last] = s;
        }
        let mut at = 0;
        for p in 0..n {
            while at < last && self.begins[at + 1] < p as f32 {
                at += 1;
            }
            let q = self.vertex[at];
            out(p, f[q] + c * (p as f32 - q as f32).powi(2), q);
        }
    }
}

/// The same over a list of candidates a frame: positions and their log-likelihoods. Returns an index for each frame.
pub(super) fn best_candidates(candidates: &[Vec<([f64; 2], f64)>], area: f64, prior: &SmoothTrack) -> Vec<usize> {
    let jump = prior.jump_cost(area);
    let mut cost: Vec<f64> = candidates.first().map_or(vec![], |c| c.iter().map(|c| -c.1).collect());
    let mut from = Vec::with_capacity(candidates.len());
    for pair in candidates.windows(2) {
        let mut back = Vec::with_capacity(pair[1].len());
        let next = pair[1].iter().map(|&(to, score)| {
            let step = |i: usize| cost[i] + prior.cost(pair[0][i].0, to, jump);
            let best = (0..cost.len()).min_by(|&a, &b| step(a).total_cmp(&step(b))).unwrap_or(0);
            back.push(best);
            step(best) - score
        });
        cost = next.collect();
        from.push(back);
    }
    let mut at = (0..cost.len()).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).unwrap_or(0);
    let mut path = vec![at];
    for back in from.iter().rev() {
        at = back[at];
        path.push(at);
    }
    path.reverse();
    path.truncate(candidates.len());
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_path_over_maps_is_the_best_of_all_candidates() {
        let side = 6;
        for seed in 0..20 {
            let mut r = rng::stream(3, seed);
            let maps: Vec<Vec<f32>> =
                (0..5).map(|_| (0..36).map(|_| 3.0 * rng::normal(&mut r) as f32).collect()).collect();
            let prior = SmoothTrack { step: 0.8, jump: 0.05 };
            let path = best_path(&maps, side, 0.7, &prior);
            let at = |i: usize| [0.7 * (i / side) as f64, 0.7 * (i % side) as f64];
            let all: Vec<Vec<([f64; 2], f64)>> =
                maps.iter().map(|m| m.iter().enumerate().map(|(i, &s)| (at(i), f64::from(s))).collect()).collect();
            let area = (6.0f64 * 0.7).powi(2);
            let other = best_candidates(&all, area, &prior);
            let total = |p: &[usize]| {
                let score: f64 = p.iter().zip(&maps).map(|(&i, m)| f64::from(m[i])).sum();
                score - p.windows(2).map(|w| prior.cost(at(w[0]), at(w[1]), prior.jump_cost(area))).sum::<f64>()
            };
            assert!((total(&path) - total(&other)).abs() < 1e-4, "{seed}: {} {}", total(&path), total(&other));
            // No single change of a frame is better.
            for f in 0..5 {
                for i in 0..36 {
                    let mut p = path.clone();
                    p[f] = i;
                    assert!(total(&p) <= total(&path) + 1e-4);
                }
            }
        }
    }

    #[test]
    fn a_jump_costs_once_and_a_doubtful_frame_is_carried_by_its_neighbours() {
        let side = 21;
        let map = |y: usize, x: usize, height: f32| {
            let mut m = vec![0.0f32; side * side];
            m[y * side + x] = height;
            m
        };
        let mut maps: Vec<Vec<f32>> = (0..5).map(|_| map(3, 3, 20.0)).collect();
        maps.push(map(15, 2, 4.0)); // a false peak
        maps.extend((0..5).map(|_| map(16, 17, 20.0)));
        let path = best_path(&maps, side, 1.0, &SmoothTrack::default());
        assert_eq!(path[4], 3 * side + 3);
        assert_eq!(path[6], 16 * side + 17);
        assert_ne!(path[5], 15 * side + 2);
        assert!(best_path(&[], side, 1.0, &SmoothTrack::default()).is_empty());
    }
}
