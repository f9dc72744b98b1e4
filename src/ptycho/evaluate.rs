//! The loss of many patterns and its gradient with respect to object and probe, threaded, with the same bits for any
//! number of threads.
//!
//! Patterns are taken [`IN_FLIGHT`] at a time. Each group of [`GROUP`] of them is one task, with its own buffers: for
//! each pattern the object's gradient in its window, for all of them the sum of the probes' gradients. Then the windows
//! are added to the object's gradient: the *object* is cut into bands of rows, and each band adds its patterns in their
//! order. No two tasks ever write to the same place, and every sum has a fixed order.

use num_complex::Complex;

use crate::op::Write;
use crate::par::Par;
use crate::ptycho::kernels;
use crate::ptycho::loss::{Loss, derivative};
use crate::ptycho::model::{Model, Scratch};
use crate::ptycho::patterns::Patterns;
use crate::ptycho::scan::place;
use crate::real::Real;

/// Patterns a task.
const GROUP: usize = 4;
/// Patterns in memory at a time.
const IN_FLIGHT: usize = 8 * GROUP;
/// Rows of the object a task adds up.
const BAND: usize = 16;

/// Buffers of an evaluation, and its results.
#[derive(Debug)]
pub(crate) struct Evaluation<T: Real> {
    /// ∂L/∂O (height, width).
    pub object: Vec<Complex<T>>,
    /// ∂L/∂P (modes, ny, nx).
    pub probe: Vec<Complex<T>>,
    /// ∂L/∂s of the patterns that were asked for, in their order, where it was asked for.
    pub positions: Vec<[f64; 2]>,
    width: usize,
    groups: Vec<Group<T>>,
}

/// What one task leaves.
#[derive(Debug)]
struct Group<T: Real> {
    windows: Vec<Complex<T>>,
    probe: Vec<Complex<T>>,
    positions: [[f64; 2]; GROUP],
    loss: f64,
}

/// How patterns are compared and where they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a, T: Real> {
    pub model: &'a Model<T>,
    pub patterns: &'a Patterns<T>,
    pub positions: &'a [[f64; 2]],
    pub subpixel: bool,
    pub loss: Loss,
    pub width: usize,
    /// Whether ∂L/∂s of each position is wanted; needs `subpixel`.
    pub position_gradient: bool,
}

impl<T: Real> Evaluation<T> {
    pub fn new(model: &Model<T>, [height, width]: [usize; 2]) -> Self {
        let n = model.frame();
        let zeros = |n| vec![Complex::default(); n];
        let group = || Group {
            windows: zeros(GROUP * n),
            probe: zeros(model.modes * n),
            positions: [[0.0; 2]; GROUP],
            loss: 0.0,
        };
        Evaluation {
            object: zeros(height * width),
            probe: zeros(model.modes * n),
            positions: Vec::new(),
            width,
            groups: (0..IN_FLIGHT / GROUP).map(|_| group()).collect(),
        }
    }

    /// Words of [`Evaluation::new`] and of the probes' spectra in [`Evaluation::run`].
    pub fn words(frame: f64, modes: f64, object: f64) -> f64 {
        let groups = (IN_FLIGHT / GROUP) as f64;
        2.0 * (object + 2.0 * modes * frame + groups * (GROUP as f64 + modes) * frame)
    }

    /// Computes the loss of the patterns `which`, and its gradient: both are sums over patterns, nothing is normalised.
    pub fn run(
        &mut self,
        problem: Problem<'_, T>,
        object: &[Complex<T>],
        probe: &[Complex<T>],
        which: &[usize],
        par: &Par,
        scratch: &mut [Scratch<T>],
    ) -> f64 {
        let Problem { model, positions, subpixel, width, .. } = problem;
        let (n, dims) = (model.frame(), model.fft.dims());
        self.object.fill(Complex::default());
        self.probe.fill(Complex::default());
        self.positions.clear();
        let mut probe_hat = Vec::new();
        if subpixel {
            probe_hat = vec![Complex::default(); probe.len()];
            model.probe_spectra(probe, &mut probe_hat, &mut scratch[0]);
        }
        let mut loss = 0.0;
        for flight in which.chunks(IN_FLIGHT) {
            let used = flight.len().div_ceil(GROUP);
            par.chunks_with(&mut self.groups[..used], 1, scratch, |g, group, s| {
                let members = &flight[g * GROUP..((g + 1) * GROUP).min(flight.len())];
                group[0].run(problem, object, probe, &probe_hat, members, s);
            });
            loss += self.groups[..used].iter().map(|g| g.loss).sum::<f64>();
            if problem.position_gradient {
                let all = self.groups[..used].iter().flat_map(|g| g.positions);
                self.positions.extend(all.take(flight.len()));
            }

            // Each band of the object adds the rows of the windows that reach into it, in the order of the patterns.
            let groups = &self.groups;
            par.chunks(&mut self.object, BAND * self.width, |b, band| {
                for (i, &j) in flight.iter().enumerate() {
                    let (at, _) = place(positions[j], dims, width);
                    let window = &groups[i / GROUP].windows[i % GROUP * n..][..n];
                    let first = (b * BAND).max(at.y0);
                    let last = (b * BAND + band.len() / width).min(at.y0 + at.ny);
                    for y in first..last {
                        let row = &window[(y - at.y0) * at.nx..][..at.nx];
                        let out = &mut band[(y - b * BAND) * width + at.x0..][..at.nx];
                        crate::simd::vectorized!({ out.iter_mut().zip(row).for_each(|(o, w)| *o += w) });
                    }
                }
            });
            par.chunks(&mut self.probe, 4096, |c, part| {
                for group in &groups[..used] {
                    let from = &group.probe[c * 4096..][..part.len()];
                    part.iter_mut().zip(from).for_each(|(p, g)| *p += g);
                }
            });
        }
        if subpixel {
            // The probes' gradients were summed as spectra.
            probe_hat.copy_from_slice(&self.probe);
            model.probe_from_spectra(&probe_hat, &mut self.probe, &mut scratch[0]);
        }
        loss
    }
}

impl<T: Real> Group<T> {
    /// Forward and adjoint of each member; see the formulas of [`crate::ptycho`]'s model.
    fn run(
        &mut self,
        problem: Problem<'_, T>,
        object: &[Complex<T>],
        probe: &[Complex<T>],
        probe_hat: &[Complex<T>],
        members: &[usize],
        s: &mut Scratch<T>,
    ) {
        let Problem { model, patterns, positions, subpixel, loss, width, position_gradient } = problem;
        let n = model.frame();
        self.loss = 0.0;
        self.positions = [[0.0; 2]; GROUP];
        self.probe.fill(Complex::default());
        for (i, &j) in members.iter().enumerate() {
            let (at, fraction) = place(positions[j], model.fft.dims(), width);
            if subpixel {
                model.set_ramp(fraction, s);
                model.move_probe(probe_hat, s);
            }
            let moved = std::mem::take(&mut s.probe);
            let p = if subpixel { &moved[..] } else { probe };

            // Forward: the intensities, and what the loss says of them.
            model.waves(object, at, p, s);
            model.intensity(s);
            self.loss += derivative(loss, &mut s.intensity, patterns.amplitudes(j));

            // Adjoint: g_ψ of each mode, spread to the object's window and to the probe.
            let window = &mut self.windows[i * n..(i + 1) * n];
            for m in 0..model.modes {
                let mode = m * n..(m + 1) * n;
                kernels::scale_by(&mut s.spectra[mode.clone()], &s.intensity);
                model.back(m, T::of(2.0), s);
                let w = if m == 0 { Write::Set } else { Write::Add };
                kernels::conj_product(window, &p[mode.clone()], &s.wave, T::ONE, w);
                if subpixel {
                    let mut g = std::mem::take(&mut s.other);
                    kernels::conj_window_product(&mut g, object, at, &s.wave);
                    model.move_probe_adjoint(&mut g, &mut self.probe[mode.clone()], T::ONE, s);
                    s.other = g;
                    if position_gradient {
                        // The adjoint has left ĝ in `wave`.
                        let d = model.position_gradient(&s.wave, &probe_hat[mode], s);
                        self.positions[i][0] += d[0];
                        self.positions[i][1] += d[1];
                    }
                } else {
                    kernels::add_conj_to_window(&mut self.probe[mode], object, at, &s.wave);
                }
            }
            s.probe = moved;
        }
    }
}
