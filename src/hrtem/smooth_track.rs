//! The smoothest track through the candidates of all frames: dynamic programming with a cost for jumps.

use crate::error::Error;

/// What is believed about drift before it is measured: from frame to frame it moves a little, and sometimes it jumps.
///
/// ```text
/// −ln p(d_f | d_{f−1}) = min( δ²/2σ²,  J + δ²/2σ_j² ) + const,   δ = |d_f − d_{f−1}|,   J = 2 ln(σ_j/σ) − ln p_jump
/// ```
///
/// The two terms are those of a mixture of two normal distributions, of which the larger counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothTrack {
    /// σ: RMS drift from one frame to the next along an axis, pixels.
    pub step: f64,
    /// p_jump: probability of a jump between two frames.
    pub jump: f64,
    /// σ_j: RMS size of a jump along an axis, pixels.
    pub jump_size: f64,
}

/// One pixel a frame; one jump in a hundred frames, of 10 pixels.
impl Default for SmoothTrack {
    fn default() -> Self {
        SmoothTrack { step: 1.0, jump: 0.01, jump_size: 10.0 }
    }
}

impl SmoothTrack {
    /// # Errors
    /// [`Error::Param`] for a step that is not positive, jumps that are smaller than steps, a probability outside (0, 1).
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(self.step > 0.0 && self.step.is_finite()) {
            return Err(Error::param("step", self.step, "a positive number of pixels"));
        }
        if !(self.jump > 0.0 && self.jump < 1.0) {
            return Err(Error::param("jump", self.jump, "a probability between 0 and 1"));
        }
        if !(self.jump_size >= self.step && self.jump_size.is_finite()) {
            return Err(Error::param("jump_size", self.jump_size, "at least the step, pixels"));
        }
        Ok(())
    }

    /// J.
    pub(super) fn jump_cost(&self) -> f64 {
        2.0 * (self.jump_size / self.step).ln() - self.jump.ln()
    }

    /// The cost of going from `a` to `b`.
    pub(super) fn cost(&self, a: [f64; 2], b: [f64; 2]) -> f64 {
        let d2 = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let jump = self.jump_cost() + 0.5 * d2 / (self.jump_size * self.jump_size);
        (0.5 * d2 / (self.step * self.step)).min(jump)
    }
}

/// The path of greatest total log-likelihood less the cost of its steps: of each frame one of its candidates, a position and its log-likelihood. Returns an index
/// for each frame.
///
/// # References
/// A. J. Viterbi, IEEE Trans. Inf. Theory 13, 260 (1967).
pub(super) fn best_candidates(candidates: &[Vec<([f64; 2], f64)>], prior: &SmoothTrack) -> Vec<usize> {
    let mut cost: Vec<f64> = candidates.first().map_or(vec![], |c| c.iter().map(|c| -c.1).collect());
    let mut from = Vec::with_capacity(candidates.len());
    for pair in candidates.windows(2) {
        let mut back = Vec::with_capacity(pair[1].len());
        let next = pair[1].iter().map(|&(to, score)| {
            let step = |i: usize| cost[i] + prior.cost(pair[0][i].0, to);
            let best = (0..cost.len()).min_by(|&a, &b| step(a).total_cmp(&step(b))).unwrap_or(0);
            back.push(best);
            step(best) - score
        });
        cost = next.collect();
        from.push(back);
    }
    if candidates.is_empty() {
        return Vec::new();
    }
    let mut at = (0..cost.len()).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).unwrap_or(0);
    let mut path = vec![at];
    for back in from.iter().rev() {
        at = back[at];
        path.push(at);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_path_is_the_best_of_all() {
        for seed in 0..20 {
            let mut r = rng::stream(3, seed);
            let mut place = || [3.0 * rng::normal(&mut r), 3.0 * rng::normal(&mut r)];
            let all: Vec<Vec<([f64; 2], f64)>> =
                (0..5).map(|_| (0..4).map(|_| (place(), place()[0])).collect()).collect();
            let prior = SmoothTrack { step: 0.8, jump: 0.05, jump_size: 2.0 };
            let total = |p: &[usize]| {
                let score: f64 = p.iter().zip(&all).map(|(&i, c)| c[i].1).sum();
                let at = |f: usize| all[f][p[f]].0;
                score - (1..5).map(|f| prior.cost(at(f - 1), at(f))).sum::<f64>()
            };
            let found = total(&best_candidates(&all, &prior));
            let best = (0..1024usize)
                .map(|i| total(&(0..5).map(|f| i >> (2 * f) & 3).collect::<Vec<_>>()))
                .fold(f64::NEG_INFINITY, f64::max);
            assert!((found - best).abs() < 1e-9, "{seed}: {found} {best}");
        }
    }

    #[test]
    fn a_jump_costs_once_and_a_doubtful_frame_is_carried_by_its_neighbours() {
        let mut frames = vec![vec![([3.0, 3.0], 20.0), ([16.0, 17.0], 0.0)]; 5];
        frames.push(vec![([15.0, 2.0], 4.0), ([3.5, 3.0], 0.0)]); // a false peak
        frames.extend(vec![vec![([3.0, 3.0], 0.0), ([16.0, 17.0], 20.0)]; 5]);
        let path = best_candidates(&frames, &SmoothTrack::default());
        assert_eq!(path, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert!(best_candidates(&[], &SmoothTrack::default()).is_empty());
    }
}
