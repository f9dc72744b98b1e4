//! The element-wise loops of ptychography, on rows of interleaved complex numbers.
//!
//! Every loop is plain safe code that the compiler vectorises (see [`crate::simd`]). Sums run in a fixed number of
//! lanes, so their bits depend neither on the number of threads nor on the vector width.

use num_complex::Complex;

use crate::op::{Write, write};
use crate::real::Real;
use crate::simd::vectorized;

/// Lanes of a sum or a maximum.
const LANES: usize = 16;

/// Smallest modulus that is divided by: below it a wave has no phase. Its square is still a normal number.
pub(crate) fn tiny<T: Real>() -> T {
    T::MIN_POSITIVE.sqrt()
}

/// A window (ny, nx) of an image whose rows are `width` long, from row y0 and column x0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub y0: usize,
    pub x0: usize,
    pub ny: usize,
    pub nx: usize,
    pub width: usize,
}

impl Window {
    /// The rows `rows` of the window, as a window.
    #[inline(always)]
    pub fn band(&self, rows: std::ops::Range<usize>) -> Window {
        Window { y0: self.y0 + rows.start, ny: rows.len(), ..*self }
    }

    /// The part of row `y` of the window.
    #[inline(always)]
    pub fn row(&self, y: usize) -> std::ops::Range<usize> {
        let start = (self.y0 + y) * self.width + self.x0;
        start..start + self.nx
    }
}

/// Pixels that are worked on at a time, in buffers that stay in registers and the first-level cache.
const BLOCK: usize = 256;

/// Adds the elements of a block to the lanes: a loop over contiguous numbers, which is what the compiler vectorises.
#[inline(always)]
fn fold<T: Real>(lanes: &mut [T; LANES], block: &[T], f: impl Fn(T, T) -> T) {
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (l, &v) in lanes.iter_mut().zip(chunk) {
            *l = f(*l, v);
        }
    }
    for (l, &v) in lanes.iter_mut().zip(rest) {
        *l = f(*l, v);
    }
}

/// |z|² of a block.
#[inline(always)]
fn norms<'b, T: Real>(z: &[Complex<T>], buffer: &'b mut [T; BLOCK]) -> &'b mut [T] {
    let block = &mut buffer[..z.len()];
    block.iter_mut().zip(z).for_each(|(i, z)| *i = z.norm_sqr());
    block
}

/// The largest |z|².
pub(crate) fn max_norm_sqr<T: Real>(z: &[Complex<T>]) -> T {
    vectorized!({
        let (mut lanes, mut buffer) = ([T::ZERO; LANES], [T::ZERO; BLOCK]);
        for z in z.chunks(BLOCK) {
            fold(&mut lanes, norms(z, &mut buffer), T::max);
        }
        lanes.into_iter().fold(T::ZERO, T::max)
    })
}

/// The largest |O|² in a window.
pub(crate) fn max_norm_sqr_window<T: Real>(o: &[Complex<T>], at: Window) -> T {
    (0..at.ny).fold(T::ZERO, |m, y| m.max(max_norm_sqr(&o[at.row(y)])))
}

/// ψ = P · O, the exit wave of a thin object.
pub(crate) fn exit_wave<T: Real>(p: &[Complex<T>], o: &[Complex<T>], at: Window, psi: &mut [Complex<T>]) {
    // p, psi are (ny, nx); o is the whole object.
    vectorized!({
        for y in 0..at.ny {
            let (p, psi) = (&p[y * at.nx..][..at.nx], &mut psi[y * at.nx..][..at.nx]);
            for ((psi, p), o) in psi.iter_mut().zip(p).zip(&o[at.row(y)]) {
                *psi = p * o;
            }
        }
    })
}

/// I = |Ψ|², set or added.
pub(crate) fn intensity<T: Real>(psi: &[Complex<T>], i: &mut [T], w: Write) {
    vectorized!({ i.iter_mut().zip(psi).for_each(|(i, z)| write(i, z.norm_sqr(), w)) })
}

/// What a pattern asks of each amplitude: |Ψ| → a. Negative amplitudes mark pixels without a measurement, which ask
/// nothing.
///
/// `f = a/|Ψ| − 1` times Ψ is the correction Ψ' − Ψ of the modulus constraint; the sum returned is Σ (|Ψ| − a)².
#[inline(always)]
fn modulus_factor<T: Real>(i: T, a: T, tiny: T) -> (T, T) {
    let m = i.sqrt();
    let seen = a >= T::ZERO;
    let f = if seen { a / m.max(tiny) - T::ONE } else { T::ZERO };
    let r = if seen { m - a } else { T::ZERO };
    (f, r * r)
}

/// I ← a/√I − 1 for a block; adds (√I − a)² to the lanes.
#[inline(always)]
fn factors<T: Real>(i: &mut [T], a: &[T], tiny: T, lanes: &mut [T; LANES]) {
    let mut squares = [T::ZERO; BLOCK];
    let squares = &mut squares[..i.len()];
    for ((i, &a), r) in i.iter_mut().zip(a).zip(squares.iter_mut()) {
        (*i, *r) = modulus_factor(*i, a, tiny);
    }
    fold(lanes, squares, |sum, r| sum + r);
}

/// Σ of the lanes, in `f64`.
fn total<T: Real>(lanes: [T; LANES]) -> f64 {
    lanes.iter().map(|l| l.f64()).sum()
}

/// Ψ ← (a/|Ψ| − 1) Ψ for one coherent wave. Returns Σ (|Ψ| − a)².
pub(crate) fn modulus_correction<T: Real>(psi: &mut [Complex<T>], a: &[T]) -> f64 {
    let tiny = tiny::<T>();
    vectorized!({
        let (mut lanes, mut buffer) = ([T::ZERO; LANES], [T::ZERO; BLOCK]);
        for (psi, a) in psi.chunks_mut(BLOCK).zip(a.chunks(BLOCK)) {
            let f = norms(psi, &mut buffer);
            factors(f, a, tiny, &mut lanes);
            psi.iter_mut().zip(f).for_each(|(z, f)| *z = z.scale(*f));
        }
        total(lanes)
    })
}

/// I ← a/√I − 1, the factor that all modes share. Returns Σ (√I − a)².
pub(crate) fn modulus_factors<T: Real>(i: &mut [T], a: &[T]) -> f64 {
    let tiny = tiny::<T>();
    vectorized!({
        let mut lanes = [T::ZERO; LANES];
        for (i, a) in i.chunks_mut(BLOCK).zip(a.chunks(BLOCK)) {
            factors(i, a, tiny, &mut lanes);
        }
        total(lanes)
    })
}

/// Ψ ← f Ψ.
pub(crate) fn scale_by<T: Real>(psi: &mut [Complex<T>], f: &[T]) {
    vectorized!({ psi.iter_mut().zip(f).for_each(|(z, &f)| *z = z.scale(f)) })
}

/// The ePIE step: `O += s_o P̄ Δ` and `P += s_p Ō Δ`, with the object before its update. Returns max |P|² after it.
pub(crate) fn update_both<T: Real>(
    o: &mut [Complex<T>],
    at: Window,
    p: &mut [Complex<T>],
    delta: &[Complex<T>],
    s_o: T,
    s_p: T,
) -> T {
    vectorized!({
        let (mut lanes, mut buffer) = ([T::ZERO; LANES], [T::ZERO; BLOCK]);
        for y in 0..at.ny {
            let (p, delta) = (&mut p[y * at.nx..][..at.nx], &delta[y * at.nx..][..at.nx]);
            for ((o, p), &d) in o[at.row(y)].iter_mut().zip(p.iter_mut()).zip(delta) {
                let (o0, p0) = (*o, *p);
                *o = o0 + (p0.conj() * d).scale(s_o);
                *p = p0 + (o0.conj() * d).scale(s_p);
            }
            for p in p.chunks(BLOCK) {
                fold(&mut lanes, norms(p, &mut buffer), T::max);
            }
        }
        lanes.into_iter().fold(T::ZERO, T::max)
    })
}

/// `y = s ū v`, or `y += s ū v`.
pub(crate) fn conj_product<T: Real>(y: &mut [Complex<T>], u: &[Complex<T>], v: &[Complex<T>], s: T, w: Write) {
    vectorized!({ y.iter_mut().zip(u).zip(v).for_each(|((y, u), v)| write(y, (u.conj() * v).scale(s), w)) })
}

/// `y = Ō Δ` with O from a window.
pub(crate) fn conj_window_product<T: Real>(y: &mut [Complex<T>], o: &[Complex<T>], at: Window, delta: &[Complex<T>]) {
    vectorized!({
        for r in 0..at.ny {
            let (y, delta) = (&mut y[r * at.nx..][..at.nx], &delta[r * at.nx..][..at.nx]);
            for ((y, o), d) in y.iter_mut().zip(&o[at.row(r)]).zip(delta) {
                *y = o.conj() * d;
            }
        }
    })
}

/// `y += Ō Δ` with O from a window.
pub(crate) fn add_conj_to_window<T: Real>(y: &mut [Complex<T>], o: &[Complex<T>], at: Window, delta: &[Complex<T>]) {
    vectorized!({
        for r in 0..at.ny {
            let (y, delta) = (&mut y[r * at.nx..][..at.nx], &delta[r * at.nx..][..at.nx]);
            for ((y, o), d) in y.iter_mut().zip(&o[at.row(r)]).zip(delta) {
                *y += o.conj() * d;
            }
        }
    })
}

/// |O|² in a window.
pub(crate) fn intensity_window<T: Real>(o: &[Complex<T>], at: Window, i: &mut [T]) {
    for (y, row) in i.chunks_mut(at.nx).enumerate() {
        intensity(&o[at.row(y)], row, Write::Set);
    }
}

/// `w ← step / ((1 − α) w + α max w)`; all zero where there is nothing to divide by.
pub(crate) fn to_divisors<T: Real>(w: &mut [T], step: T, alpha: T) {
    let max = w.iter().fold(T::ZERO, |m, &v| m.max(v));
    let floor = (alpha * max).max(T::MIN_POSITIVE);
    let step = if max > T::ZERO { step } else { T::ZERO };
    vectorized!({ w.iter_mut().for_each(|w| *w = step / ((T::ONE - alpha) * *w + floor)) })
}

/// `O += f Δ` in a window, f a factor a pixel.
pub(crate) fn add_scaled_window<T: Real>(o: &mut [Complex<T>], at: Window, delta: &[Complex<T>], f: &[T]) {
    vectorized!({
        for y in 0..at.ny {
            let (delta, f) = (&delta[y * at.nx..][..at.nx], &f[y * at.nx..][..at.nx]);
            for ((o, d), &f) in o[at.row(y)].iter_mut().zip(delta).zip(f) {
                *o += d.scale(f);
            }
        }
    })
}

/// `y = p · rx ry`, a transposed spectrum (nx, ny) times separable factors; `y += …` adds.
pub(crate) fn ramp<T: Real>(y: &mut [Complex<T>], p: &[Complex<T>], rx: &[Complex<T>], ry: &[Complex<T>], w: Write) {
    vectorized!({
        let ny = ry.len();
        for ((y, p), &rx) in y.chunks_mut(ny).zip(p.chunks(ny)).zip(rx) {
            for ((y, p), ry) in y.iter_mut().zip(p).zip(ry) {
                write(y, p * (rx * ry), w);
            }
        }
    })
}

/// `y += p · conj(rx ry)`: the adjoint of [`ramp`].
pub(crate) fn ramp_adjoint<T: Real>(
    y: &mut [Complex<T>],
    p: &[Complex<T>],
    rx: &[Complex<T>],
    ry: &[Complex<T>],
    s: T,
    w: Write,
) {
    vectorized!({
        let ny = ry.len();
        for ((y, p), &rx) in y.chunks_mut(ny).zip(p.chunks(ny)).zip(rx) {
            for ((y, p), ry) in y.iter_mut().zip(p).zip(ry) {
                write(y, (p * (rx * ry).conj()).scale(s), w);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::tests::random;

    #[test]
    fn fused_updates_are_the_formulas() {
        let at = Window { y0: 1, x0: 2, ny: 5, nx: 19, width: 23 };
        let (o, p, d) = (random::<f64>(23 * 7, 1), random::<f64>(95, 2), random::<f64>(95, 3));
        let (mut o2, mut p2) = (o.clone(), p.clone());
        let m = update_both(&mut o2, at, &mut p2, &d, 0.3, 0.7);
        assert_eq!(m, max_norm_sqr(&p2));
        let mut g = vec![Complex::new(f64::NAN, 0.0); 95];
        conj_window_product(&mut g, &o, at, &d);
        for i in 0..95 {
            let j = (1 + i / 19) * 23 + 2 + i % 19;
            assert_eq!(o2[j], o[j] + (p[i].conj() * d[i]).scale(0.3));
            assert_eq!(p2[i], p[i] + (o[j].conj() * d[i]).scale(0.7));
            assert_eq!(g[i], o[j].conj() * d[i]);
        }
        assert_eq!(o2[0], o[0]);
    }

    #[test]
    fn the_modulus_correction_takes_each_amplitude_to_the_measured_one() {
        let mut psi = random::<f64>(37, 4);
        psi[3] = Complex::new(0.0, 0.0);
        let mut a: Vec<f64> = (0..37).map(|i| 0.1 * f64::from(i)).collect();
        a[5] = -1.0;
        let before = psi.clone();
        let r = modulus_correction(&mut psi, &a);
        let mut want = 0.0;
        for i in 0..37 {
            let new = before[i] + psi[i];
            if i == 5 {
                assert_eq!(psi[i], Complex::new(0.0, 0.0));
                continue;
            }
            want += (crate::real::norm(before[i]) - a[i]).powi(2);
            if i != 3 {
                assert!((crate::real::norm(new) - a[i]).abs() < 1e-14);
            }
        }
        assert!((r - want).abs() < 1e-12);
        // The shared factor of incoherent modes is the same one.
        let mut i: Vec<f64> = before.iter().map(|z| z.norm_sqr()).collect();
        assert!((modulus_factors(&mut i, &a) - want).abs() < 1e-12);
        let mut again = before.clone();
        scale_by(&mut again, &i);
        assert_eq!(again, psi);
    }
}
