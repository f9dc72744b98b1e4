//! Position refinement: a Gauss–Newton step for the place of each pattern.
//!
//! Moving the probe by δ changes the amplitudes √I to first order by `J δ`, with
//!
//! ```text
//! ∂P_s/∂s_y = F⁻¹[ −2πi (k_y/ny) e^{−2πi k·s} F P ],   J_y = Σ_m Re( Ψ̄_m F[O_w ∂P_m,s/∂s_y] ) / √I
//! δ = (JᵀJ + μ ½ tr(JᵀJ) 1)⁻¹ Jᵀ (√D − √I)
//! ```
//!
//! a 2 × 2 system for each pattern: least squares in the amplitudes, to first order, for object and probe as they are.
//! All patterns are independent of each other; one thread does not see what another found.
//!
//! References: M. Odstrčil, A. Menzel, M. Guizar-Sicairos, Opt. Express 26, 3108 (2018), section 2.4, for position
//! gradients in the least-squares frame; the step in the amplitude metric is [derived].

use num_complex::Complex;

use crate::fft::frequency_index;
use crate::ptycho::kernels::{self, Window};
use crate::ptycho::model::{Model, Scratch};
use crate::real::Real;

/// How positions are refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// Iterations without it at the start: an object must have formed.
    pub from: usize,
    /// Largest move of a position in one iteration, in object pixels.
    pub max_step: f64,
    /// Part of the Gauss–Newton step that is taken.
    pub relaxation: f64,
    /// μ, relative damping of the normal equations.
    pub damping: f64,
}

impl Default for Refinement {
    fn default() -> Self {
        Refinement { from: 5, max_step: 0.5, relaxation: 0.8, damping: 1e-3 }
    }
}

/// The step `[δ_y, δ_x]` in pixels, not yet relaxed or limited. `s` holds the ramp of the position and the moved
/// probes; `derivatives` is 2 frames of scratch.
pub(crate) fn gauss_newton<T: Real>(
    model: &Model<T>,
    object: &[Complex<T>],
    at: Window,
    probe_hat: &[Complex<T>],
    amplitudes: &[T],
    damping: f64,
    derivatives: &mut [T],
    s: &mut Scratch<T>,
) -> [f64; 2] {
    let (n, [ny, nx]) = (model.frame(), model.fft.dims());
    let moved = std::mem::take(&mut s.probe);
    model.waves(object, at, &moved, s);
    s.probe = moved;
    model.intensity(s);
    let (jy, jx) = derivatives.split_at_mut(n);
    jy.fill(T::ZERO);
    jx.fill(T::ZERO);

    // Re(Ψ̄ ∂Ψ) of each mode, along each axis; still without 1/√I.
    let scale = T::of(1.0 / n as f64);
    for m in 0..model.modes {
        for (axis, j) in [&mut *jy, &mut *jx].into_iter().enumerate() {
            for ix in 0..nx {
                for iy in 0..ny {
                    let k = if axis == 0 {
                        frequency_index(iy, ny) as f64 / ny as f64
                    } else {
                        frequency_index(ix, nx) as f64 / nx as f64
                    };
                    let z = probe_hat[m * n + ix * ny + iy] * (s.ramp_x[ix] * s.ramp_y[iy]);
                    let c = T::of(-std::f64::consts::TAU * k);
                    // −2πi k z
                    s.other[ix * ny + iy] = Complex::new(-z.im * c, z.re * c);
                }
            }
            // ∂P in `wave`, O ∂P in `other`, ∂Ψ in `wave`.
            model.fft.inverse_from_transposed(&mut s.other, &mut s.wave, scale, &mut s.rows);
            kernels::exit_wave(&s.wave, object, at, &mut s.other);
            model.fft.forward_into_transposed(&mut s.other, &mut s.wave, &mut s.rows);
            let psi = &s.spectra[m * n..(m + 1) * n];
            for ((j, psi), d) in j.iter_mut().zip(psi).zip(&s.wave) {
                *j += psi.re * d.re + psi.im * d.im;
            }
        }
    }

    // Normal equations over the measured pixels.
    let (mut hyy, mut hyx, mut hxx, mut by, mut bx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let tiny = kernels::tiny::<T>();
    for (((&i, &a), &y), &x) in s.intensity.iter().zip(amplitudes).zip(&*jy).zip(&*jx) {
        let root = i.sqrt();
        if a < T::ZERO || root <= tiny {
            continue;
        }
        let (y, x, r) = ((y / root).f64(), (x / root).f64(), (a - root).f64());
        hyy += y * y;
        hyx += y * x;
        hxx += x * x;
        by += y * r;
        bx += x * r;
    }
    let mu = damping * 0.5 * (hyy + hxx);
    let (hyy, hxx) = (hyy + mu, hxx + mu);
    let det = hyy * hxx - hyx * hyx;
    let step = [(hxx * by - hyx * bx) / det, (hyy * bx - hyx * by) / det];
    // A pattern that says nothing about its place moves nowhere.
    if det > 0.0 && step[0].is_finite() && step[1].is_finite() { step } else { [0.0, 0.0] }
}

/// Relaxes a step and limits its length. The step is finite.
pub(crate) fn limited(step: [f64; 2], how: &Refinement) -> [f64; 2] {
    let length = step[0].hypot(step[1]);
    let shrink = if length * how.relaxation > how.max_step { how.max_step / length } else { how.relaxation };
    step.map(|v| v * shrink)
}
