//! Gradient algorithms over batches of patterns: preconditioned descent, Adam, L-BFGS.
//!
//! The preconditioner is the diagonal of the amplitude loss' Gauss–Newton matrix, as if all phases were right: with the
//! unnormalised transform of N pixels,
//!
//! ```text
//! O:  1 / (2N (1 − γ) W + 2N γ max W),   W(r) = Σ_j Σ_m |P_m(r − r_j)|²
//! P:  1 / (2N (1 − γ) V + 2N γ max V),   V(r) = Σ_j |O(r + r_j)|²
//! ```
//!
//! at whole pixels. A step of 1 along −(preconditioner · gradient) is then, where γ is small, the average of what each
//! pattern asks for. Phases φ of a phase object have the gradient ∂L/∂φ = Im(g_O Ō), from dL = Re(ḡ_O dO) and dO = iO
//! dφ.
//!
//! References: Thibault & Guizar-Sicairos, New J. Phys. 14, 063004 (2012), for maximum-likelihood refinement; Nocedal &
//! Wright, *Numerical Optimization* (2006), for L-BFGS and the sufficient-decrease condition (3.4).

use num_complex::Complex;

use crate::op::Write;
use crate::optim::{Adam, Lbfgs, dot};
use crate::ptycho::evaluate::{Evaluation, Problem};
use crate::ptycho::kernels;
use crate::ptycho::loss::Loss;
use crate::ptycho::model::{Model, Scratch};
use crate::ptycho::patterns::Patterns;
use crate::ptycho::plan::{Algorithm, ObjectKind, Placement, PtychoParams};
use crate::ptycho::scan::place;
use crate::ptycho::state::State;
use crate::real::{Real, cis};
use crate::rng;

/// Buffers of a gradient algorithm. Vectors are flat: the object's words (phases, for a phase object), then the
/// probe's.
pub(crate) struct Gradient<T: Real> {
    algorithm: Algorithm,
    loss: Loss,
    kind: ObjectKind,
    evaluation: Evaluation<T>,
    gradient: Vec<T>,
    scale: Vec<T>,
    change: Vec<T>,
    // Words of the object in a flat vector.
    object_words: usize,
    // The loss, where `gradient` is that of the state as it is now, and whether it has the probe's part.
    current: Option<(f64, bool)>,
}

impl<T: Real> Gradient<T> {
    pub fn new(model: &Model<T>, algorithm: Algorithm, params: &PtychoParams, object: [usize; 2]) -> Self {
        let loss = match algorithm {
            Algorithm::Descent { loss, .. } | Algorithm::Adam { loss, .. } | Algorithm::Lbfgs { loss, .. } => loss,
            Algorithm::Epie { .. } | Algorithm::Rpie { .. } => Loss::Amplitude,
        };
        let pixels = object[0] * object[1];
        let object_words = if params.object == ObjectKind::Phase { pixels } else { 2 * pixels };
        let words = object_words + 2 * model.modes * model.frame();
        let zeros = || vec![T::ZERO; words];
        Gradient {
            algorithm,
            loss,
            kind: params.object,
            evaluation: Evaluation::new(model, object),
            gradient: zeros(),
            scale: zeros(),
            change: zeros(),
            object_words,
            current: None,
        }
    }

    /// One iteration: a sweep over all patterns. Returns its loss, divided by the number of electrons, and whether no
    /// step improved it.
    pub fn iterate(
        &mut self,
        model: &Model<T>,
        patterns: &Patterns<T>,
        params: &PtychoParams,
        state: &mut State<T>,
        update_probe: bool,
        scratch: &mut [Scratch<T>],
    ) -> (f64, bool) {
        let n = patterns.len();
        let all: Vec<usize> = (0..n).collect();
        match self.algorithm {
            Algorithm::Lbfgs { pairs, regularization, .. } => {
                let (loss, stalled) =
                    self.lbfgs(model, patterns, params, state, update_probe, scratch, &all, pairs, regularization);
                (loss / patterns.total(), stalled)
            }
            Algorithm::Descent { batch, .. } | Algorithm::Adam { batch, .. } => {
                let order = match batch {
                    0 => all,
                    _ => rng::permutation(&mut rng::stream(params.seed, state.iteration as u64), n),
                };
                let mut loss = 0.0;
                let batch = if batch == 0 { n } else { batch };
                for which in order.chunks(batch) {
                    loss += self.evaluate(model, patterns, params, state, update_probe, scratch, which);
                    match self.algorithm {
                        Algorithm::Descent { step, regularization, .. } => {
                            self.precondition(model, state, which, regularization);
                            let step = T::of(step);
                            for ((c, &g), &h) in self.change.iter_mut().zip(&self.gradient).zip(&self.scale) {
                                *c = -(step * h * g);
                            }
                        }
                        Algorithm::Adam { object_rate, probe_rate, .. } => self.adam(state, object_rate, probe_rate),
                        _ => unreachable!("matched above"),
                    }
                    let change = std::mem::take(&mut self.change);
                    self.apply(state, &change, T::ONE);
                    self.change = change;
                }
                (loss / patterns.total(), false)
            }
            Algorithm::Epie { .. } | Algorithm::Rpie { .. } => unreachable!("not a gradient algorithm"),
        }
    }

    /// The loss of some patterns, and its flat gradient.
    fn evaluate(
        &mut self,
        model: &Model<T>,
        patterns: &Patterns<T>,
        params: &PtychoParams,
        state: &State<T>,
        update_probe: bool,
        scratch: &mut [Scratch<T>],
        which: &[usize],
    ) -> f64 {
        let problem = Problem {
            model,
            patterns,
            positions: &state.positions,
            subpixel: params.placement == Placement::Subpixel,
            loss: self.loss,
            width: state.object.dims()[1],
            position_gradient: false,
        };
        let (object, probe) = (state.object.as_slice(), state.probe.as_slice());
        let loss = self.evaluation.run(problem, object, probe, which, &params.par, scratch);
        let (g_object, g_probe) = self.gradient.split_at_mut(self.object_words);
        match self.kind {
            ObjectKind::Complex => g_object.copy_from_slice(bytemuck::cast_slice(&self.evaluation.object)),
            ObjectKind::Phase => {
                for ((g, z), o) in g_object.iter_mut().zip(&self.evaluation.object).zip(object) {
                    *g = z.im * o.re - z.re * o.im;
                }
            }
        }
        match update_probe {
            true => g_probe.copy_from_slice(bytemuck::cast_slice(&self.evaluation.probe)),
            false => g_probe.fill(T::ZERO),
        }
        loss
    }

    /// The preconditioner of the module's formulas, as a flat vector.
    fn precondition(&mut self, model: &Model<T>, state: &State<T>, which: &[usize], gamma: f64) {
        let (n, dims, width) = (model.frame(), model.fft.dims(), state.object.dims()[1]);
        let object = state.object.as_slice();
        let mut power = vec![T::ZERO; n];
        for (m, p) in state.probe.as_slice().chunks(n).enumerate() {
            kernels::intensity(p, &mut power, if m == 0 { Write::Set } else { Write::Add });
        }
        let mut lit = vec![T::ZERO; object.len()];
        let mut lighting = vec![T::ZERO; n];
        let mut object_power = vec![T::ZERO; object.len()];
        kernels::intensity(object, &mut object_power, Write::Set);
        for &j in which {
            let (at, _) = place(state.positions[j], dims, width);
            for y in 0..at.ny {
                let row = y * at.nx..(y + 1) * at.nx;
                let pairs =
                    [(&mut lit[at.row(y)], &power[row.clone()]), (&mut lighting[row], &object_power[at.row(y)])];
                for (out, from) in pairs {
                    crate::simd::vectorized!({ out.iter_mut().zip(from).for_each(|(o, &v)| *o += v) });
                }
            }
        }
        let (two_n, gamma) = (T::of(2.0 * n as f64), T::of(gamma));
        let invert = |w: &mut [T]| {
            let max = w.iter().fold(T::MIN_POSITIVE, |m, &v| m.max(v));
            // What is not lit has no gradient; the floor keeps its factor finite.
            let divisor = |w: T| (two_n * ((T::ONE - gamma) * w + gamma * max)).max(T::MIN_POSITIVE);
            w.iter_mut().for_each(|w| *w = T::ONE / divisor(*w));
        };
        invert(&mut lit);
        invert(&mut lighting);
        let (s_object, s_probe) = self.scale.split_at_mut(self.object_words);
        match self.kind {
            ObjectKind::Phase => s_object.copy_from_slice(&lit),
            ObjectKind::Complex => double(&lit, s_object),
        }
        for mode in s_probe.chunks_mut(2 * n) {
            double(&lighting, mode);
        }
    }

    /// Moves object and probe by `t · change`.
    fn apply(&self, state: &mut State<T>, change: &[T], t: T) {
        let (d_object, d_probe) = change.split_at(self.object_words);
        match self.kind {
            ObjectKind::Complex => {
                let d: &[Complex<T>] = bytemuck::cast_slice(d_object);
                state.object.as_mut_slice().iter_mut().zip(d).for_each(|(o, d)| *o += d.scale(t));
            }
            ObjectKind::Phase => {
                state.object.as_mut_slice().iter_mut().zip(d_object).for_each(|(o, &d)| *o *= cis(t * d));
            }
        }
        let d: &[Complex<T>] = bytemuck::cast_slice(d_probe);
        state.probe.as_mut_slice().iter_mut().zip(d).for_each(|(p, d)| *p += d.scale(t));
    }

    /// Adam's change, from what the state keeps: [m, v, t], an odd number of words, which no history of L-BFGS has. (A
    /// count in `f32` ends at 2²⁴, long after the bias corrections have.)
    fn adam(&mut self, state: &mut State<T>, object_rate: f64, probe_rate: f64) {
        let words = self.gradient.len();
        if state.memory.len() != 2 * words + 1 {
            state.memory = vec![T::ZERO; 2 * words + 1];
        }
        let (moments, t) = state.memory.split_at_mut(2 * words);
        let (m, v) = moments.split_at_mut(words);
        t[0] += T::ONE;
        Adam::default().step(t[0].f64() as usize, &self.gradient, m, v, &mut self.change);
        let probe = state.probe.as_slice();
        let rms = (probe.iter().map(|z| z.norm_sqr().f64()).sum::<f64>() / probe.len() as f64).sqrt();
        let (c_object, c_probe) = self.change.split_at_mut(self.object_words);
        c_object.iter_mut().for_each(|c| *c *= T::of(object_rate));
        c_probe.iter_mut().for_each(|c| *c *= T::of(probe_rate * rms));
    }

    /// One step of L-BFGS, with the loss before it. The state keeps the pairs.
    fn lbfgs(
        &mut self,
        model: &Model<T>,
        patterns: &Patterns<T>,
        params: &PtychoParams,
        state: &mut State<T>,
        update_probe: bool,
        scratch: &mut [Scratch<T>],
        all: &[usize],
        pairs: usize,
        regularization: f64,
    ) -> (f64, bool) {
        let words = self.gradient.len();
        let mut memory = Lbfgs::new(pairs, words, std::mem::take(&mut state.memory));
        // The last line search ended with this state's gradient, unless positions have moved since, which clears the
        // memory.
        let loss = match self.current {
            Some((loss, with_probe)) if with_probe == update_probe && !memory.history().is_empty() => loss,
            _ => self.evaluate(model, patterns, params, state, update_probe, scratch, all),
        };
        self.precondition(model, state, all, regularization);
        let mut d = std::mem::take(&mut self.change);
        d.copy_from_slice(&self.gradient);
        memory.direction(&mut d, &self.scale);
        let mut slope = dot(&d, &self.gradient);
        if slope >= 0.0 {
            // Not a direction of descent: start again from the preconditioned gradient.
            memory.clear();
            d.copy_from_slice(&self.gradient);
            memory.direction(&mut d, &self.scale);
            slope = dot(&d, &self.gradient);
        }

        // Backtracks until the loss has fallen by at least 1e-4 of what the slope promises.
        let old = self.gradient.clone();
        let base = (state.object.clone(), state.probe.clone());
        let (mut t, mut stalled) = (1.0f64, true);
        for _ in 0..12 {
            self.apply(state, &d, T::of(t));
            let new = self.evaluate(model, patterns, params, state, update_probe, scratch, all);
            if new <= loss + 1e-4 * t * slope {
                let scaled = d.iter().map(|&d| T::of(t) * d);
                memory.push(scaled, self.gradient.iter().zip(&old).map(|(&g, &o)| g - o));
                self.current = Some((new, update_probe));
                stalled = false;
                break;
            }
            state.object.as_mut_slice().copy_from_slice(base.0.as_slice());
            state.probe.as_mut_slice().copy_from_slice(base.1.as_slice());
            // The minimum of the parabola through both losses and the slope, kept within [0.1, 0.5] of the last try.
            let parabola = -slope * t * t / (2.0 * (new - loss - slope * t));
            t = if parabola.is_finite() { parabola.clamp(0.1 * t, 0.5 * t) } else { 0.1 * t };
        }
        // A step that failed with curvature is tried once more without: only then has the loss stopped falling.
        let gave_up = stalled && memory.history().is_empty();
        if stalled {
            self.current = None;
            memory.clear();
        }
        self.change = d;
        state.memory = memory.into_history();
        (loss, gave_up)
    }
}

/// Each value twice: for the real and the imaginary part.
fn double<T: Real>(from: &[T], to: &mut [T]) {
    for (pair, &v) in to.chunks_mut(2).zip(from) {
        pair.fill(v);
    }
}
