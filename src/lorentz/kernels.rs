//! The element-wise loops of the model, on slices; the compiler vectorises them (see [`crate::simd`]).

use num_complex::Complex;

use crate::real::{Real, cis};
use crate::simd::{sin_cos, vectorized};

/// Pixels that one task works on at a time.
pub(crate) const CHUNK: usize = 16384;
/// Lanes of a sum, whatever the vector width: fixed bits.
const LANES: usize = 16;
/// Pixels in a buffer on the stack.
const BLOCK: usize = 256;

/// O = A e^{iφ}.
pub(crate) fn object_wave<T: Real>(phase: &[T], amplitude: &[T], wave: &mut [Complex<T>]) {
    if phase.iter().all(|p| p.f64().abs() < sin_cos::LIMIT) {
        return vectorized!({
            for ((w, &p), &a) in wave.iter_mut().zip(phase).zip(amplitude) {
                let (s, c) = sin_cos::sin_cos::<T>(p.f64());
                *w = Complex::new(a * c, a * s);
            }
        });
    }
    for ((w, &p), &a) in wave.iter_mut().zip(phase).zip(amplitude) {
        *w = cis(p).scale(a);
    }
}

/// z = x y.
pub(crate) fn product<T: Real>(x: &[Complex<T>], y: &[Complex<T>], z: &mut [Complex<T>]) {
    vectorized!({ z.iter_mut().zip(x).zip(y).for_each(|((z, x), y)| *z = x * y) })
}

/// x ← s x ȳ.
pub(crate) fn scaled_conj_product<T: Real>(x: &mut [Complex<T>], y: &[Complex<T>], s: T) {
    vectorized!({ x.iter_mut().zip(y).for_each(|(x, y)| *x = (*x * y.conj()).scale(s)) })
}

/// x ← x + y.
pub(crate) fn add<T: Real>(x: &mut [Complex<T>], y: &[Complex<T>]) {
    vectorized!({ x.iter_mut().zip(y).for_each(|(x, y)| *x += *y) })
}

/// I = |ψ|².
pub(crate) fn intensity<T: Real>(psi: &[Complex<T>], i: &mut [T]) {
    vectorized!({ i.iter_mut().zip(psi).for_each(|(i, z)| *i = z.norm_sqr()) })
}

/// ψ ← 2 g ψ: from the gradient by |ψ|² to that by ψ.
pub(crate) fn scale_wave<T: Real>(psi: &mut [Complex<T>], g: &[T]) {
    vectorized!({ psi.iter_mut().zip(g).for_each(|(z, &g)| *z = z.scale(g + g)) })
}

/// Adds a block to the lanes.
#[inline(always)]
fn fold<T: Real>(lanes: &mut [T; LANES], block: &[T]) {
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (l, &v) in lanes.iter_mut().zip(chunk) {
            *l += v;
        }
    }
    for (l, &v) in lanes.iter_mut().zip(rest) {
        *l += v;
    }
}

/// One pixel of the amplitude loss: from y and the measured a, `r² = (√y − a)²` and `∂r²/∂y = 1 − a/√y`.
#[inline(always)]
fn amplitude_pixel<T: Real>(y: T, a: T, tiny: T) -> (T, T) {
    // An interpolated intensity may overshoot below 0: there it has no root and no slope.
    let m = y.max(tiny).sqrt();
    let r = m - a;
    (r * r, if y > tiny { r / m } else { T::ZERO })
}

/// One pixel of the Poisson loss: `y − I − I ln(y/I)` and its derivative `1 − I/y`; half the deviance.
#[inline(always)]
fn poisson_pixel<T: Real>(y: T, i: T, tiny: T) -> (T, T) {
    let y = y.max(tiny);
    let log = if i > T::ZERO { i * (y / i).ln() } else { T::ZERO };
    (y - i - log, if y > tiny { T::ONE - i / y } else { T::ZERO })
}

macro_rules! loss_loop {
    ($name:ident, $pixel:ident, $doc:literal) => {
        #[doc = $doc]
        /// `y` holds |ψ|² on entry and the gradient by it times `scale` on return; `w` are weights, possibly none.
        pub(crate) fn $name<T: Real>(y: &mut [T], measured: &[T], w: Option<&[T]>, scale: T, tiny: T) -> f64 {
            vectorized!({
                let mut total = 0.0;
                let mut squares = [T::ZERO; BLOCK];
                for (b, y) in y.chunks_mut(BLOCK).enumerate() {
                    let m = &measured[b * BLOCK..][..y.len()];
                    let r = &mut squares[..y.len()];
                    match w {
                        None => {
                            for ((y, r), &m) in y.iter_mut().zip(r.iter_mut()).zip(m) {
                                let (l, g) = $pixel(*y, m, tiny);
                                (*y, *r) = (g * scale, l);
                            }
                        }
                        Some(w) => {
                            let w = &w[b * BLOCK..][..y.len()];
                            for (((y, r), &m), &w) in y.iter_mut().zip(r.iter_mut()).zip(m).zip(w) {
                                let (l, g) = $pixel(*y, m, tiny);
                                (*y, *r) = (g * scale * w, l * w);
                            }
                        }
                    }
                    let mut lanes = [T::ZERO; LANES];
                    fold(&mut lanes, r);
                    total += lanes.iter().map(|l| l.f64()).sum::<f64>();
                }
                total
            })
        }
    };
}
loss_loop!(amplitude_loss, amplitude_pixel, "Σ w (√y − a)².");
loss_loop!(poisson_loss, poisson_pixel, "Σ w (y − I − I ln(y/I)).");

/// The amplitude loss of a wave that is not warped, in one pass: ψ becomes the gradient by ψ.
pub(crate) fn amplitude_loss_wave<T: Real>(psi: &mut [Complex<T>], a: &[T], scale: T, tiny: T) -> f64 {
    let twice = scale + scale;
    vectorized!({
        let mut total = 0.0;
        let (mut f, mut r) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        for (b, psi) in psi.chunks_mut(BLOCK).enumerate() {
            let a = &a[b * BLOCK..][..psi.len()];
            let (f, r) = (&mut f[..psi.len()], &mut r[..psi.len()]);
            f.iter_mut().zip(&*psi).for_each(|(f, z)| *f = z.norm_sqr());
            for ((f, r), &a) in f.iter_mut().zip(r.iter_mut()).zip(a) {
                let (l, g) = amplitude_pixel(*f, a, tiny);
                (*f, *r) = (g * twice, l);
            }
            psi.iter_mut().zip(f).for_each(|(z, f)| *z = z.scale(*f));
            let mut lanes = [T::ZERO; LANES];
            fold(&mut lanes, r);
            total += lanes.iter().map(|l| l.f64()).sum::<f64>();
        }
        total
    })
}

/// From the gradient g by O = A e^{iφ}: `∂L/∂φ = Im(g Ō)`.
pub(crate) fn phase_gradient<T: Real>(g: &[Complex<T>], o: &[Complex<T>], out: &mut [T]) {
    vectorized!({ out.iter_mut().zip(g).zip(o).for_each(|((d, g), o)| *d = g.im * o.re - g.re * o.im) })
}

/// `∂L/∂A = Re(g e^{−iφ})`.
pub(crate) fn amplitude_gradient<T: Real>(g: &[Complex<T>], phase: &[T], out: &mut [T]) {
    for ((d, g), &p) in out.iter_mut().zip(g).zip(phase) {
        let e = cis(p);
        *d = g.re * e.re + g.im * e.im;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_have_the_derivatives_they_return() {
        let h = 1e-6;
        for (y, m) in [(0.3f64, 0.7), (2.0, 1.0), (1.0, 0.0)] {
            for pixel in [amplitude_pixel::<f64>, poisson_pixel::<f64>] {
                let slope = (pixel(y + h, m, 1e-12).0 - pixel(y - h, m, 1e-12).0) / (2.0 * h);
                assert!((slope - pixel(y, m, 1e-12).1).abs() < 1e-8);
            }
        }
    }
}
