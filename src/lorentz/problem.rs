//! The coordinates of a retrieval, from the vector that an optimiser sees to phase, amplitude and settings, and back
//! for gradients.

use crate::error::Error;
use crate::lorentz::kernels::CHUNK;
use crate::lorentz::objective::Gradients;
use crate::lorentz::pixel_moves::State;
use crate::lorentz::precondition::Filter;
use crate::lorentz::variables::{Variable, gradient_of, settings_of};
use crate::lorentz::{Amplitude, LorentzObjective, Regularizer, SETTING_WORDS};
use crate::optics::Grid;
use crate::par::Par;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::simd::vectorized;

/// `x = [phase (ny, nx) | amplitude (ny, nx), if free | settings]`, all about 0:
/// `φ = φ₀ + C x_φ`, `A = A₀ + u x_A`, settings by [`Variable`].
#[derive(Debug)]
pub(crate) struct Problem<T: Real> {
    objective: LorentzObjective<T>,
    filter: Option<Filter<T>>,
    regularizer: Regularizer,
    amplitude: Amplitude,
    variables: Vec<Variable>,
    start_settings: Vec<[f64; SETTING_WORDS]>,
    start_phase: Vec<T>,
    start_amplitude: Vec<T>,
    amplitude_unit: T,
    // What an evaluation needs.
    phase: Vec<T>,
    /// F⁻¹{ f F{x} }; empty without a filter.
    change: Vec<T>,
    amplitude_now: Vec<T>,
    scratch: Vec<T>,
    settings_now: Vec<[f64; SETTING_WORDS]>,
    by: Vec<[f64; SETTING_WORDS]>,
}

impl<T: Real> Problem<T> {
    pub fn new(
        objective: LorentzObjective<T>,
        filter: Option<Filter<T>>,
        regularizer: Regularizer,
        amplitude: Amplitude,
        variables: Vec<Variable>,
        start_phase: Vec<T>,
        start_amplitude: Vec<T>,
    ) -> Result<Self, Error> {
        let len = start_phase.len();
        let settings = objective.model().settings().to_vec();
        // The curvature of the loss by the amplitude of one pixel is 2/N.
        let unit = if filter.is_some() { (len as f64 / 2.0).sqrt() } else { 1.0 };
        Ok(Problem {
            phase: try_zeroed(len)?,
            change: try_zeroed(if filter.is_some() { len } else { 0 })?,
            amplitude_now: start_amplitude.clone(),
            scratch: try_zeroed(regularizer.scratch_len(len))?,
            settings_now: settings.clone(),
            by: settings.iter().map(|_| [0.0; SETTING_WORDS]).collect(),
            start_settings: settings,
            amplitude_unit: T::of(unit),
            objective,
            filter,
            regularizer,
            amplitude,
            variables,
            start_phase,
            start_amplitude,
        })
    }

    /// Words of x.
    pub fn words(&self) -> usize {
        self.start_phase.len() * self.fields() + self.variables.len()
    }

    fn fields(&self) -> usize {
        if self.amplitude == Amplitude::Free { 2 } else { 1 }
    }

    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    pub fn start_phase(&self) -> &[T] {
        &self.start_phase
    }

    pub fn start_amplitude(&self) -> &[T] {
        &self.start_amplitude
    }

    pub fn images(&self) -> usize {
        self.start_settings.len()
    }

    pub fn grid(&self) -> &Grid {
        self.objective.model().grid()
    }

    pub fn amplitude(&self) -> Amplitude {
        self.amplitude
    }

    /// The loss of any state, penalties left out.
    pub fn loss_of(&mut self, state: &State<T>) -> Result<f64, Error> {
        let unused = Gradients { phase: &mut self.phase, amplitude: None, settings: None };
        self.objective.evaluate(&state.phase, &state.amplitude, Some(&state.settings), unused)
    }

    /// Units of the settings in which the loss has the curvature that the filter gives to the phase: 1, or without a
    /// filter that of a pixel.
    pub fn set_units(&mut self) -> Result<(), Error> {
        let len = self.start_phase.len();
        let wanted = if self.filter.is_some() { 1.0 } else { 2.0 / len as f64 };
        for i in 0..self.variables.len() {
            let var = &self.variables[i];
            let mut curvature = 0.0;
            for k in var.images.clone() {
                let words = self.start_settings[k];
                let mut change = [0.0; SETTING_WORDS];
                change[var.word.index()] = if var.is_factor() { words[var.word.index()] } else { 1.0 };
                curvature +=
                    self.objective.setting_curvature(&self.start_phase, &self.start_amplitude, &words, k, &change)?;
            }
            // A flat start (a constant object) says nothing about a setting: a unit it can grow from.
            let smallest = match self.variables[i].is_factor() {
                true => 1e-4,
                false => 1e-16,
            } * wanted;
            self.variables[i].unit = (wanted / curvature.max(smallest)).sqrt();
        }
        Ok(())
    }

    /// Phase, amplitude and settings at x; returns the penalty by frequency.
    fn unpack(&mut self, x: &[T]) -> f64 {
        let len = self.start_phase.len();
        let par = &self.objective.model().par;
        let mut penalty = 0.0;
        if let Some(filter) = &mut self.filter {
            self.change.copy_from_slice(&x[..len]);
            penalty = filter.forward(&mut self.change);
            add_scaled(&self.start_phase, T::ONE, &self.change, &mut self.phase, par);
        } else {
            add_scaled(&self.start_phase, T::ONE, &x[..len], &mut self.phase, par);
        }
        if self.amplitude == Amplitude::Free {
            let change = &x[len..2 * len];
            add_scaled(&self.start_amplitude, self.amplitude_unit, change, &mut self.amplitude_now, par);
        }
        let v: Vec<f64> = x[self.fields() * len..].iter().map(|v| v.f64()).collect();
        settings_of(&self.start_settings, &self.variables, &v, &mut self.settings_now);
        penalty
    }

    /// Phase, amplitude and settings at x.
    pub fn state(&mut self, x: &[T]) -> State<T> {
        self.unpack(x);
        State { phase: self.phase.clone(), amplitude: self.amplitude_now.clone(), settings: self.settings_now.clone() }
    }

    /// The loss with the penalty, and its gradient by x.
    pub fn evaluate(&mut self, x: &[T], g: &mut [T]) -> Result<f64, Error> {
        let len = self.start_phase.len();
        let penalty = self.unpack(x);
        let (by_phase, rest) = g.split_at_mut(len);
        let by_amplitude = match self.amplitude {
            Amplitude::Free => Some(&mut rest[..len]),
            Amplitude::Known => None,
        };
        let joint = !self.variables.is_empty();
        let loss = self.objective.evaluate(
            &self.phase,
            &self.amplitude_now,
            joint.then_some(&self.settings_now[..]),
            Gradients { phase: by_phase, amplitude: by_amplitude, settings: joint.then_some(&mut self.by[..]) },
        )?;
        let model = self.objective.model();
        let (dims, par) = (model.grid().dims, &model.par);
        let loss = loss + penalty + self.regularizer.add(dims, &self.phase, by_phase, &mut self.scratch, par);
        if let Some(filter) = &mut self.filter {
            filter.adjoint(by_phase);
        }
        if self.amplitude == Amplitude::Free {
            g[len..2 * len].iter_mut().for_each(|g| *g *= self.amplitude_unit);
        }
        if joint {
            let mut by = vec![0.0; self.variables.len()];
            gradient_of(&self.variables, &self.settings_now, &self.by, &mut by);
            let at = self.fields() * len;
            g[at..].iter_mut().zip(by).for_each(|(g, b)| *g = T::of(b));
        }
        Ok(loss)
    }
}

/// z = a + s b.
fn add_scaled<T: Real>(a: &[T], s: T, b: &[T], z: &mut [T], par: &Par) {
    par.chunks(z, CHUNK, |i, z| {
        let (a, b) = (&a[i * CHUNK..][..z.len()], &b[i * CHUNK..][..z.len()]);
        vectorized!({ z.iter_mut().zip(a).zip(b).for_each(|((z, &a), &b)| *z = a + s * b) })
    });
}
