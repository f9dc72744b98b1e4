//! The element-wise loops of the model, on slices; the compiler vectorises them (see [`crate::simd`]).

use num_complex::Complex;

use crate::fft::{LANES, Lane};
use crate::real::{Real, cis};
use crate::simd::{sin_cos, vectorized};

/// Pixels that one task works on at a time.
pub(crate) const CHUNK: usize = 16384;
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

/// O = A e^{iφ}, real and imaginary parts apart.
pub(crate) fn object_parts<T: Real>(phase: &[T], amplitude: &[T], re: &mut [T], im: &mut [T]) {
    if phase.iter().all(|p| p.f64().abs() < sin_cos::LIMIT) {
        return vectorized!({
            for (((re, im), &p), &a) in re.iter_mut().zip(im).zip(phase).zip(amplitude) {
                let (s, c) = sin_cos::sin_cos::<T>(p.f64());
                (*re, *im) = (a * c, a * s);
            }
        });
    }
    for (((re, im), &p), &a) in re.iter_mut().zip(im).zip(phase).zip(amplitude) {
        let e = cis(p);
        (*re, *im) = (a * e.re, a * e.im);
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

/// z = x y of lanes, real and imaginary parts apart. (Word by word: of products lane by lane the compiler makes a
/// multiple of the instructions.)
pub(crate) fn lane_product<T: Real>(x: [&[Lane<T>]; 2], y: [&[Lane<T>]; 2], re: &mut [Lane<T>], im: &mut [Lane<T>]) {
    let ([xr, xi], [yr, yi]) = (x.map(<[_]>::as_flattened), y.map(<[_]>::as_flattened));
    let (re, im) = (re.as_flattened_mut(), im.as_flattened_mut());
    vectorized!({
        for (((((re, im), &xr), &xi), &yr), &yi) in re.iter_mut().zip(im).zip(xr).zip(xi).zip(yr).zip(yi) {
            (*re, *im) = (xr * yr - xi * yi, xr * yi + xi * yr);
        }
    })
}

macro_rules! lane_loss {
    ($name:ident, $pixel:ident, $doc:literal) => {
        #[doc = $doc]
        /// ψ, real and imaginary parts apart, becomes the gradient by ψ.
        pub(crate) fn $name<T: Real>(
            re: &mut [Lane<T>],
            im: &mut [Lane<T>],
            measured: &[Lane<T>],
            scale: T,
            tiny: T,
        ) -> f64 {
            let twice = scale + scale;
            vectorized!({
                let mut total = 0.0;
                let parts = re.chunks_mut(LANES).zip(im.chunks_mut(LANES)).zip(measured.chunks(LANES));
                for ((re, im), m) in parts {
                    let mut lanes = [T::ZERO; LANES];
                    for ((re, im), m) in re.iter_mut().zip(im).zip(m) {
                        let (mut x, mut y, m) = (*re, *im, *m);
                        for l in 0..LANES {
                            let (r2, g) = $pixel(x[l] * x[l] + y[l] * y[l], m[l], tiny);
                            let g = g * twice;
                            lanes[l] += r2;
                            x[l] *= g;
                            y[l] *= g;
                        }
                        (*re, *im) = (x, y);
                    }
                    total += lanes.iter().map(|l| l.f64()).sum::<f64>();
                }
                total
            })
        }
    };
}
lane_loss!(lane_amplitude_loss, amplitude_pixel, "Σ (√y − a)² of lanes.");
lane_loss!(lane_poisson_loss, poisson_pixel, "Σ (y − I − I ln(y/I)) of lanes.");

/// As [`phase_gradient`], of lanes: the real parts of g become it.
pub(crate) fn lane_phase_gradient<T: Real>(re: &mut [Lane<T>], im: &[Lane<T>], o: [&[Lane<T>]; 2]) {
    let (re, im, [or, oi]) = (re.as_flattened_mut(), im.as_flattened(), o.map(<[_]>::as_flattened));
    vectorized!({
        for (((re, &gi), &or), &oi) in re.iter_mut().zip(im).zip(or).zip(oi) {
            *re = gi * or - *re * oi;
        }
    })
}

/// As [`lane_phase_gradient`]; the imaginary parts become the gradient by the amplitude, see [`amplitude_gradient`].
pub(crate) fn lane_gradients<'a, T: Real>(
    re: &mut [Lane<T>],
    im: &mut [Lane<T>],
    o: [&[Lane<T>]; 2],
    phase: impl Iterator<Item = &'a [T]>,
) {
    for ((((re, im), or), oi), phase) in re.iter_mut().zip(im).zip(o[0]).zip(o[1]).zip(phase) {
        for l in 0..LANES {
            let (gr, gi, e) = (re[l], im[l], cis(phase[l]));
            re[l] = gi * or[l] - gr * oi[l];
            im[l] = gr * e.re + gi * e.im;
        }
    }
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
