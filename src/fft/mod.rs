//! Fourier transforms: plans over `rustfft` and `realfft`, frequencies, shifts, and the operators built of them.
//!
//! The convention, everywhere in the crate, for N points at spacing d:
//!
//! ```text
//! forward   X(k) = Σ_r x(r) e^{−2πi k r / N}           unnormalised
//! inverse   x(r) = 1/N Σ_k X(k) e^{+2πi k r / N}
//! index i of a spectrum stands for the frequency k/(N d), k = 0, 1, …, −2, −1   (`frequency_index`)
//! ```
//!
//! The zero frequency is at index 0 of every spectrum. Detector images have it in the middle; [`fft_shift`] and
//! [`ifft_shift`] are the only bridge. Operators that must be unitary ([`Dft`]) use 1/√N both ways.
//!
//! - [`Fft1`], [`Fft2`], [`Fft3`]: complex plans; [`RealFft2`]: real images to half spectra.
//! - [`frequencies`], [`frequency_index`], [`fft_shift`], [`ifft_shift`], [`transpose`].
//! - Linear operators: [`Dft`], [`FourierCrop`], [`FourierShift`], [`UpsampledDft`].

mod crop;
mod dft_op;
mod frame;
mod frequency;
mod lanes;
mod plan1;
mod plan2;
mod plan3;
mod real2;
mod shift;
mod transpose;
mod upsampled;

pub use crop::{FourierCrop, fourier_resample};
pub use dft_op::Dft;
pub use frequency::{fft_shift, frequencies, frequency_index, ifft_shift};
pub(crate) use lanes::{Factor, GAP, LANES, Lane, LaneBuffers, LaneFft, aligned};
pub use plan1::Fft1;
pub use plan2::Fft2;
pub use plan3::Fft3;
pub use real2::RealFft2;
pub(crate) use shift::shift_factor;
pub use shift::{FourierShift, shift_factors};
pub use transpose::transpose;
pub(crate) use transpose::{BAND, transpose_band};
pub use upsampled::UpsampledDft;

/// Which way a transform goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// e^{−2πi k r}.
    Forward,
    /// e^{+2πi k r}.
    Inverse,
}

impl Direction {
    /// The other one.
    pub fn reverse(self) -> Self {
        match self {
            Direction::Forward => Direction::Inverse,
            Direction::Inverse => Direction::Forward,
        }
    }

    fn rustfft(self) -> rustfft::FftDirection {
        match self {
            Direction::Forward => rustfft::FftDirection::Forward,
            Direction::Inverse => rustfft::FftDirection::Inverse,
        }
    }
}

/// The O(N²) transform along one axis of `[outer, n, inner]`, times `scale`: what every fast path is checked against.
#[cfg(test)]
pub(crate) fn naive_dft<T: crate::real::Real>(
    x: &[num_complex::Complex<T>],
    [outer, n, inner]: [usize; 3],
    direction: Direction,
    scale: f64,
) -> Vec<num_complex::Complex<T>> {
    use num_complex::Complex;
    let sign = if direction == Direction::Forward { -1.0 } else { 1.0 };
    let mut y = Vec::with_capacity(x.len());
    for o in 0..outer {
        for k in 0..n {
            for i in 0..inner {
                let mut sum = Complex::new(0.0, 0.0);
                for r in 0..n {
                    let z = x[(o * n + r) * inner + i];
                    let phase = sign * std::f64::consts::TAU * ((k * r) % n) as f64 / n as f64;
                    sum += Complex::new(z.re.f64(), z.im.f64()) * crate::real::cis(phase);
                }
                y.push(Complex::new(T::of(scale * sum.re), T::of(scale * sum.im)));
            }
        }
    }
    y
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::par::Par;
    use crate::real::Real;
    use crate::rng;
    use num_complex::Complex;

    pub(crate) fn random<T: Real>(n: usize, seed: u64) -> Vec<Complex<T>> {
        let mut r = rng::stream(seed, 0);
        (0..n)
            .map(|_| {
                let (a, b) = rng::normal_pair(&mut r);
                Complex::new(T::of(a), T::of(b))
            })
            .collect()
    }

    /// ‖a − b‖/‖b‖: a few ε √log N for a transform.
    fn distance<T: Real>(a: &[Complex<T>], b: &[Complex<T>]) -> f64 {
        let norm = b.iter().map(|z| z.norm_sqr().f64()).sum::<f64>().sqrt();
        let d = a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr().f64()).sum::<f64>().sqrt();
        if norm == 0.0 { d } else { d / norm }
    }

    fn poison<T: Real>(n: usize) -> Vec<Complex<T>> {
        vec![Complex::new(T::NAN, T::NAN); n]
    }

    fn check<T: Real>(tolerance: f64) {
        for n in [1, 2, 3, 8, 15, 17, 64] {
            let x = random::<T>(3 * n, n as u64);
            let plan = Fft1::new(n).unwrap();
            let mut s = poison(plan.scratch_len());
            let mut y = x.clone();
            plan.forward(&mut y, &mut s);
            assert!(distance(&y, &naive_dft(&x, [3, n, 1], Direction::Forward, 1.0)) < tolerance);
            plan.inverse(&mut y, &mut s);
            assert!(distance(&y, &x) < tolerance);
        }
        // Sides with a prime factor above 13 go another way than the others, which may fill their lanes or not.
        let shapes = [[1, 1], [1, 6], [7, 1], [4, 4], [8, 24], [15, 12], [33, 16], [20, 31], [17, 34], [48, 40]];
        for [ny, nx] in shapes.into_iter().chain([[16, 16], [64, 32], [16, 128], [256, 16]]) {
            let x = random::<T>(ny * nx, (ny * nx) as u64);
            let want =
                naive_dft(&naive_dft(&x, [1, ny, nx], Direction::Forward, 1.0), [ny, nx, 1], Direction::Forward, 1.0);
            let plan = Fft2::new([ny, nx]).unwrap();
            let mut s = poison(plan.scratch_len());
            let mut y = x.clone();
            plan.forward(&mut y, &mut s);
            assert!(distance(&y, &want) < tolerance, "{ny} x {nx}");
            let mut yt = x.clone();
            plan.forward_transposed(&mut yt, &mut s);
            let mut back = poison(ny * nx);
            transpose([nx, ny], &yt, &mut back);
            assert!(distance(&back, &want) < tolerance);
            plan.inverse_transposed(&mut yt, &mut s);
            assert!(distance(&yt, &x) < tolerance);
            plan.inverse(&mut y, &mut s);
            assert!(distance(&y, &x) < tolerance);

            let real: Vec<T> = x.iter().map(|z| z.re).collect();
            let full: Vec<Complex<T>> = real.iter().map(|&re| Complex::new(re, T::ZERO)).collect();
            let want = naive_dft(
                &naive_dft(&full, [1, ny, nx], Direction::Forward, 1.0),
                [ny, nx, 1],
                Direction::Forward,
                1.0,
            );
            let plan = RealFft2::<T>::new([ny, nx]).unwrap();
            let half = plan.spectrum_dims()[1];
            let mut s = poison(plan.scratch_len());
            let mut spectrum = poison(ny * half);
            plan.forward(&mut real.clone(), &mut spectrum, &mut s);
            let want: Vec<_> = want.chunks(nx).flat_map(|row| row[..half].to_vec()).collect();
            assert!(distance(&spectrum, &want) < tolerance);
            let mut again = vec![T::NAN; ny * nx];
            plan.inverse(&mut spectrum, &mut again, &mut s);
            let again: Vec<_> = again.iter().map(|&re| Complex::new(re, T::ZERO)).collect();
            assert!(distance(&again, &full) < tolerance);
        }
        for [nz, ny, nx] in [[1, 1, 1], [3, 4, 5], [8, 2, 6], [5, 7, 1]] {
            let x = random::<T>(nz * ny * nx, 3);
            let mut want = naive_dft(&x, [1, nz, ny * nx], Direction::Forward, 1.0);
            want = naive_dft(&want, [nz, ny, nx], Direction::Forward, 1.0);
            want = naive_dft(&want, [nz * ny, nx, 1], Direction::Forward, 1.0);
            for par in [Par::seq(), Par::threads(3).unwrap()] {
                let plan = Fft3::new([nz, ny, nx], par).unwrap();
                // Scratch may be longer than it must.
                for more in [0, 1, 1000] {
                    let mut s = poison(plan.scratch_len() + more);
                    let mut y = x.clone();
                    plan.forward(&mut y, &mut s);
                    assert!(distance(&y, &want) < tolerance);
                    plan.inverse(&mut y, &mut s);
                    assert!(distance(&y, &x) < tolerance);
                }
            }
        }
    }

    #[test]
    fn every_plan_agrees_with_the_naive_transform_f64() {
        check::<f64>(1e-13);
    }

    #[test]
    fn every_plan_agrees_with_the_naive_transform_f32() {
        check::<f32>(2e-6);
    }

    #[test]
    fn a_batch_is_its_frames_for_any_number_of_threads() {
        let plan = Fft2::<f32>::new([16, 12]).unwrap();
        let x = random::<f32>(7 * 192, 5);
        let mut one = x.clone();
        let mut s = poison(plan.scratch_len());
        one.chunks_mut(192).for_each(|f| plan.forward(f, &mut s));
        for threads in [1, 2, 5] {
            let (mut many, par) = (x.clone(), Par::threads(threads).unwrap());
            plan.batch(&mut many, Direction::Forward, &par, &mut poison(plan.batch_scratch_len(&par)));
            assert_eq!(one, many);
        }
    }

    #[test]
    fn sizes_that_no_memory_holds_are_errors() {
        let (line, side) = (1 << 62, 1 << 40);
        let memory = |r: Result<(), crate::Error>| matches!(r, Err(crate::Error::OutOfMemory { .. }));
        assert!(memory(Fft1::<f32>::new(line).map(drop)));
        assert!(memory(Fft2::<f32>::new([side, side]).map(drop)));
        assert!(memory(Fft3::<f64>::new([side, side, 1], Par::seq()).map(drop)));
        assert!(memory(RealFft2::<f32>::new([1, line]).map(drop)));
        assert!(memory(FourierCrop::new([1 << 32, 1 << 31], [1, 1]).map(drop)));
        assert!(memory(FourierShift::<f32>::new([side, side], [0.0; 2], crate::shape::Field::Real).map(drop)));
        assert!(memory(Dft::<f32>::new(&[side, 1 << 23, 1], 1).map(drop)));
        assert!(memory(UpsampledDft::<f32>::new([1, side], [1, side], [0.0; 2], 1.0).map(drop)));
        assert!(memory(fourier_resample(&[1.0f32], [1, 1], [1, line]).map(drop)));
    }

    #[test]
    fn a_shift_of_any_size_has_exact_factors() {
        // 2²⁰ · 12 + 1 is 1 modulo 12.
        let field = crate::shape::Field::Complex;
        assert_eq!(shift_factors(12, 12582913.0, field), shift_factors(12, 1.0, field));
        assert!(shift_factors(12, f64::MAX, field).iter().all(|z| z.re.is_finite()));
    }

    #[test]
    fn empty_plans_are_errors() {
        assert!(Fft1::<f32>::new(0).is_err());
        assert!(Fft2::<f32>::new([0, 3]).is_err());
        assert!(Fft3::<f32>::new([2, 0, 3], Par::seq()).is_err());
        assert!(RealFft2::<f32>::new([2, 0]).is_err());
    }
}
