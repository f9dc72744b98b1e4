//! Moves by whole pixels, between which a retrieval with free shifts finds no way.

use crate::error::Error;
use crate::lorentz::problem::Problem;
use crate::lorentz::{Amplitude, SETTING_WORDS, Word};
use crate::optics::Grid;
use crate::real::Real;

/// What a retrieval seeks.
#[derive(Clone, Debug)]
pub(crate) struct State<T: Real> {
    pub phase: Vec<T>,
    pub amplitude: Vec<T>,
    pub settings: Vec<[f64; SETTING_WORDS]>,
}

impl<T: Real> State<T> {
    /// The object displaced by `[y, x]` pixels, over the edges, and all images but the first by minus as much. An
    /// amplitude that is known stays.
    fn displaced(&self, grid: &Grid, amplitude: Amplitude, by: [isize; 2]) -> State<T> {
        let mut out = self.clone();
        roll(&mut out.phase, grid.dims, by);
        if amplitude == Amplitude::Free {
            roll(&mut out.amplitude, grid.dims, by);
        }
        for words in out.settings.iter_mut().skip(1) {
            for (c, word) in [Word::ShiftY, Word::ShiftX].into_iter().enumerate() {
                words[word.index()] -= by[c] as f64 * grid.sampling[c].to_angstrom();
            }
        }
        out
    }

    /// Of the eight neighbours of this state, where x of `problem` is now, displaced by a pixel of `problem`, which is
    /// `binning` pixels of `grid`: the one with the lowest loss.
    ///
    /// Edges of an object are sharp and lie somewhere between pixels; an image shifted by a part of a pixel shows other
    /// values there, and total variation holds edges at the borders of pixels. The loss therefore has a minimum at every
    /// whole pixel of common displacement, and only image 0, and an amplitude that is known, tell which is the lowest.
    pub fn best_neighbour(
        &self,
        problem: &mut Problem<T>,
        x: &[T],
        grid: &Grid,
        binning: usize,
    ) -> Result<State<T>, Error> {
        let mut best: Option<(f64, [isize; 2])> = None;
        let (here, coarse) = (problem.state(x), *problem.grid());
        for [dy, dx] in [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]] {
            let state = here.displaced(&coarse, problem.amplitude(), [dy, dx]);
            let loss = problem.loss_of(&state)?;
            if best.is_none_or(|(lowest, _)| loss < lowest) {
                best = Some((loss, [dy, dx]));
            }
        }
        let (_, by) = best.expect("eight neighbours");
        Ok(self.displaced(grid, problem.amplitude(), by.map(|t| t * binning as isize)))
    }
}

/// x (ny, nx) displaced by whole pixels, over the edges.
fn roll<T: Copy>(x: &mut [T], [ny, nx]: [usize; 2], by: [isize; 2]) {
    let part = |t: isize, n: usize| t.rem_euclid(n as isize) as usize;
    x.rotate_right(part(by[0], ny) * nx);
    x.chunks_mut(nx).for_each(|row| row.rotate_right(part(by[1], nx)));
}
