//! Sixteen transforms at a time, one a vector lane.
//!
//! The numbers are split: real parts and imaginary parts in arrays of their own, each element of which holds the same point of sixteen
//! sequences. Every operation of a transform is then the same for all lanes, and no number ever changes its lane: the loops are plain
//! safe code that the compiler turns into the widest vectors there are.
//!
//! An inverse transform is a forward one with real and imaginary parts exchanged, which costs nothing here.

use crate::error::Error;
use crate::fft::Direction;
use crate::real::Real;
use crate::shape::try_reserved;
use crate::simd::vectorized;

/// Sequences that are transformed at a time: the `f32` of an AVX-512 register.
pub(crate) const LANES: usize = 16;

/// The same point of sixteen sequences.
pub(crate) type Lane<T> = [T; LANES];

/// The part of a buffer that begins at a cache line: a vector that crosses one takes twice as long. Costs at most one lane.
pub(crate) fn aligned<T: Real>(x: &mut [Lane<T>]) -> &mut [Lane<T>] {
    let words = x.as_flattened_mut();
    let start = words.as_ptr().align_offset(64).min(LANES).min(words.len());
    words[start..].as_chunks_mut::<LANES>().0
}

/// One step of Stockham's algorithm on n = radix · m points at distance `s`.
#[derive(Clone, Debug)]
struct Stage<T> {
    radix: usize,
    m: usize,
    s: usize,
    /// e^{−2πi p k/n} for p in 0..m, k in 1..radix.
    twiddles: Vec<[T; 2]>,
    /// e^{−2πi j/radix}, for radices without a butterfly of their own.
    roots: Vec<[T; 2]>,
}

/// A plan for sixteen transforms of n points each, unnormalised in both directions. Any n; quick for products of 2, 3, 4 and 5.
///
/// # References
/// T. G. Stockham, *AFIPS Proc.* 28, 229 (1966); C. Van Loan, *Computational Frameworks for the Fast Fourier Transform*, SIAM (1992),
/// section 1.7.
#[derive(Clone, Debug)]
pub(crate) struct LaneFft<T: Real> {
    n: usize,
    stages: Vec<Stage<T>>,
}

/// The arrays of one transform: the data, and a second buffer that every stage writes to before the two are exchanged.
#[derive(Debug)]
pub(crate) struct LaneBuffers<'a, T> {
    pub re: &'a mut [Lane<T>],
    pub im: &'a mut [Lane<T>],
    other_re: &'a mut [Lane<T>],
    other_im: &'a mut [Lane<T>],
}

impl<'a, T: Real> LaneBuffers<'a, T> {
    /// Cuts four arrays of `n` lanes out of 4n.
    pub fn new(words: &'a mut [Lane<T>], n: usize) -> Self {
        let (re, rest) = words.split_at_mut(n);
        let (im, rest) = rest.split_at_mut(n);
        let (other_re, rest) = rest.split_at_mut(n);
        LaneBuffers { re, im, other_re, other_im: &mut rest[..n] }
    }
}

impl<T: Real> LaneFft<T> {
    /// Plans n points.
    ///
    /// # Errors
    /// [`Error::Param`] for no points, [`Error::OutOfMemory`].
    pub fn new(n: usize) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::param("n", n, "at least one point"));
        }
        let mut stages = Vec::new();
        let (mut rest, mut s) = (n, 1);
        while rest > 1 {
            let radix =
                [4, 2, 3, 5].into_iter().find(|&r| rest.is_multiple_of(r)).unwrap_or_else(|| smallest_factor(rest));
            let m = rest / radix;
            let unit = |numerator: usize, n: usize| {
                let (sin, cos) = (-std::f64::consts::TAU * (numerator % n) as f64 / n as f64).sin_cos();
                [T::of(cos), T::of(sin)]
            };
            let mut twiddles = try_reserved(m.saturating_mul(radix - 1))?;
            twiddles.extend((0..m).flat_map(|p| (1..radix).map(move |k| (p, k))).map(|(p, k)| unit(p * k, rest)));
            let roots = (0..radix).map(|j| unit(j, radix)).collect();
            stages.push(Stage { radix, m, s, twiddles, roots });
            rest = m;
            s *= radix;
        }
        Ok(LaneFft { n, stages })
    }

    /// Transforms the first n points of `b.re`, `b.im`, where the result is left; the other two arrays hold rubbish then.
    ///
    /// # Panics
    /// If the arrays are shorter than n.
    pub fn run(&self, b: &mut LaneBuffers<'_, T>, direction: Direction) {
        let n = self.n;
        for stage in &self.stages {
            {
                let (x, y) = ((&b.re[..n], &b.im[..n]), (&mut b.other_re[..n], &mut b.other_im[..n]));
                match direction {
                    Direction::Forward => stage.run(x.0, x.1, y.0, y.1),
                    Direction::Inverse => stage.run(x.1, x.0, y.1, y.0),
                }
            }
            std::mem::swap(&mut b.re, &mut b.other_re);
            std::mem::swap(&mut b.im, &mut b.other_im);
        }
    }
}

fn smallest_factor(n: usize) -> usize {
    (2..).take_while(|f| f * f <= n).find(|f| n.is_multiple_of(*f)).unwrap_or(n)
}

impl<T: Real> Stage<T> {
    fn run(&self, xr: &[Lane<T>], xi: &[Lane<T>], yr: &mut [Lane<T>], yi: &mut [Lane<T>]) {
        match self.radix {
            4 => vectorized!({ self.radix4(xr, xi, yr, yi) }),
            2 => vectorized!({ self.radix2(xr, xi, yr, yi) }),
            _ => vectorized!({ self.any(xr, xi, yr, yi) }),
        }
    }

    /// y[q + s(4p + k)] = w^{pk} Σ_j x[q + s(p + jm)] (−i)^{jk}.
    #[inline(always)]
    fn radix4(&self, xr: &[Lane<T>], xi: &[Lane<T>], yr: &mut [Lane<T>], yi: &mut [Lane<T>]) {
        let (m, s) = (self.m, self.s);
        for p in 0..m {
            let [w1, w2, w3] = [self.twiddles[3 * p], self.twiddles[3 * p + 1], self.twiddles[3 * p + 2]];
            let (ar, ai) = (&xr[s * p..][..s], &xi[s * p..][..s]);
            let (br, bi) = (&xr[s * (p + m)..][..s], &xi[s * (p + m)..][..s]);
            let (cr, ci) = (&xr[s * (p + 2 * m)..][..s], &xi[s * (p + 2 * m)..][..s]);
            let (dr, di) = (&xr[s * (p + 3 * m)..][..s], &xi[s * (p + 3 * m)..][..s]);
            let (y0r, rest) = yr[4 * s * p..][..4 * s].split_at_mut(s);
            let (y1r, rest) = rest.split_at_mut(s);
            let (y2r, y3r) = rest.split_at_mut(s);
            let (y0i, rest) = yi[4 * s * p..][..4 * s].split_at_mut(s);
            let (y1i, rest) = rest.split_at_mut(s);
            let (y2i, y3i) = rest.split_at_mut(s);
            let (y3r, y3i) = (&mut y3r[..s], &mut y3i[..s]);
            for q in 0..s {
                // Copies, of which the compiler knows that nothing else points to them.
                let (ar, ai, br, bi) = (ar[q], ai[q], br[q], bi[q]);
                let (cr, ci, dr, di) = (cr[q], ci[q], dr[q], di[q]);
                let mut y = [[T::ZERO; LANES]; 8];
                for l in 0..LANES {
                    let (acr, aci) = (ar[l] + cr[l], ai[l] + ci[l]);
                    let (amr, ami) = (ar[l] - cr[l], ai[l] - ci[l]);
                    let (bdr, bdi) = (br[l] + dr[l], bi[l] + di[l]);
                    let (bmr, bmi) = (br[l] - dr[l], bi[l] - di[l]);
                    y[0][l] = acr + bdr;
                    y[1][l] = aci + bdi;
                    let (ur, ui) = (amr + bmi, ami - bmr);
                    y[2][l] = ur * w1[0] - ui * w1[1];
                    y[3][l] = ur * w1[1] + ui * w1[0];
                    let (ur, ui) = (acr - bdr, aci - bdi);
                    y[4][l] = ur * w2[0] - ui * w2[1];
                    y[5][l] = ur * w2[1] + ui * w2[0];
                    let (ur, ui) = (amr - bmi, ami + bmr);
                    y[6][l] = ur * w3[0] - ui * w3[1];
                    y[7][l] = ur * w3[1] + ui * w3[0];
                }
                (y0r[q], y0i[q], y1r[q], y1i[q]) = (y[0], y[1], y[2], y[3]);
                (y2r[q], y2i[q], y3r[q], y3i[q]) = (y[4], y[5], y[6], y[7]);
            }
        }
    }

    #[inline(always)]
    fn radix2(&self, xr: &[Lane<T>], xi: &[Lane<T>], yr: &mut [Lane<T>], yi: &mut [Lane<T>]) {
        let (m, s) = (self.m, self.s);
        for p in 0..m {
            let w = self.twiddles[p];
            let (ar, ai) = (&xr[s * p..][..s], &xi[s * p..][..s]);
            let (br, bi) = (&xr[s * (p + m)..][..s], &xi[s * (p + m)..][..s]);
            let (y0r, y1r) = yr[2 * s * p..][..2 * s].split_at_mut(s);
            let (y0i, y1i) = yi[2 * s * p..][..2 * s].split_at_mut(s);
            let (y1r, y1i) = (&mut y1r[..s], &mut y1i[..s]);
            for q in 0..s {
                let (ar, ai, br, bi) = (ar[q], ai[q], br[q], bi[q]);
                let mut y = [[T::ZERO; LANES]; 4];
                for l in 0..LANES {
                    y[0][l] = ar[l] + br[l];
                    y[1][l] = ai[l] + bi[l];
                    let (ur, ui) = (ar[l] - br[l], ai[l] - bi[l]);
                    y[2][l] = ur * w[0] - ui * w[1];
                    y[3][l] = ur * w[1] + ui * w[0];
                }
                (y0r[q], y0i[q], y1r[q], y1i[q]) = (y[0], y[1], y[2], y[3]);
            }
        }
    }

    /// Any radix, as a sum: radix² multiplications a butterfly.
    #[inline(always)]
    fn any(&self, xr: &[Lane<T>], xi: &[Lane<T>], yr: &mut [Lane<T>], yi: &mut [Lane<T>]) {
        let (r, m, s) = (self.radix, self.m, self.s);
        for p in 0..m {
            for q in 0..s {
                for k in 0..r {
                    let (mut sr, mut si) = ([T::ZERO; LANES], [T::ZERO; LANES]);
                    for j in 0..r {
                        let (w, at) = (self.roots[j * k % r], q + s * (p + j * m));
                        let (xr, xi) = (xr[at], xi[at]);
                        for l in 0..LANES {
                            sr[l] += xr[l] * w[0] - xi[l] * w[1];
                            si[l] += xr[l] * w[1] + xi[l] * w[0];
                        }
                    }
                    let w = if k == 0 { [T::ONE, T::ZERO] } else { self.twiddles[p * (r - 1) + k - 1] };
                    let at = q + s * (r * p + k);
                    let (mut zr, mut zi) = ([T::ZERO; LANES], [T::ZERO; LANES]);
                    for l in 0..LANES {
                        zr[l] = sr[l] * w[0] - si[l] * w[1];
                        zi[l] = sr[l] * w[1] + si[l] * w[0];
                    }
                    (yr[at], yi[at]) = (zr, zi);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::naive_dft;
    use crate::fft::tests::random;
    use num_complex::Complex;

    fn check<T: Real>(tolerance: f64) {
        for n in [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 20, 22, 26, 49, 64, 75, 128] {
            let x: Vec<Complex<T>> = random(n * LANES, n as u64);
            for direction in [Direction::Forward, Direction::Inverse] {
                let want = naive_dft(&x, [1, n, LANES], direction, 1.0);
                let mut words = vec![[T::NAN; LANES]; 4 * n];
                let mut b = LaneBuffers::new(&mut words, n);
                for i in 0..n * LANES {
                    (b.re[i / LANES][i % LANES], b.im[i / LANES][i % LANES]) = (x[i].re, x[i].im);
                }
                LaneFft::new(n).unwrap().run(&mut b, direction);
                for i in 0..n * LANES {
                    let got = Complex::new(b.re[i / LANES][i % LANES].f64(), b.im[i / LANES][i % LANES].f64());
                    let want = Complex::new(want[i].re.f64(), want[i].im.f64());
                    assert!((got - want).norm() < tolerance * (n as f64).sqrt(), "{n} {direction:?}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn sixteen_transforms_are_the_naive_ones() {
        check::<f64>(1e-14);
        check::<f32>(4e-6);
    }

    #[test]
    fn no_points_are_an_error() {
        assert!(LaneFft::<f32>::new(0).is_err());
    }
}
