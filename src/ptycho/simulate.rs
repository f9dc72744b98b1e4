//! Patterns of a known object and probe, by the reconstruction's own model.

use num_complex::Complex;

use crate::error::Error;
use crate::par::Par;
use crate::ptycho::model::Model;
use crate::ptycho::patterns::ZeroFrequency;
use crate::ptycho::scan::{Positions, place};
use crate::real::Real;
use crate::rng;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// Expected intensities of every position, `I_j = Σ_m |F(P_m,s O_w)|²`: the model that a reconstruction differentiates.
///
/// Fractions of pixels count.
///
/// # Shapes
/// `object` is (height, width) = `positions.object`, `probe` (modes, ny, nx); the result is (positions, ny, nx).
///
/// # Units
/// Those of N Σ|P|², N = ny·nx: electrons a pixel, when that is the number of electrons a pattern.
///
/// # Errors
/// - [`Error::Shape`] when the object or the probe do not fit,
/// - [`Error::Data`] for a position outside of the object,
/// - [`Error::Param`] for an empty probe, or a zero frequency outside of the detector,
/// - [`Error::OutOfMemory`] for more patterns than the memory holds.
pub fn simulate<T: Real>(
    object: &Tensor<Complex<T>>,
    probe: &Tensor<Complex<T>>,
    positions: &Positions,
    zero: ZeroFrequency,
    par: &Par,
) -> Result<Tensor<T>, Error> {
    let (modes, ny, nx) = match *probe.dims() {
        [modes, ny, nx] if modes > 0 => (modes, ny, nx),
        _ => return Err(Error::shape("simulate: probe [modes, ny, nx]", &[1, 0, 0], probe.dims())),
    };
    if object.dims() != positions.object {
        return Err(Error::shape("simulate: object", &positions.object, object.dims()));
    }
    positions.check([ny, nx])?;
    let [cy, cx] = zero.pixel([ny, nx])?;
    let model = Model::<T>::new([ny, nx], modes)?;
    let dims = [positions.len(), ny, nx];
    let mut out = Tensor::from_vec(&dims, try_zeroed(checked_len(&dims)?)?)?;
    let mut scratch: Vec<_> = (0..par.count()).map(|_| model.scratch()).collect();
    let mut probe_hat = vec![Complex::default(); probe.len()];
    model.probe_spectra(probe.as_slice(), &mut probe_hat, &mut scratch[0]);
    par.chunks_with(out.as_mut_slice(), ny * nx, &mut scratch, |j, frame, s| {
        let (at, fraction) = place(positions.pixels[j], [ny, nx], object.dims()[1]);
        model.set_ramp(fraction, s);
        model.move_probe(&probe_hat, s);
        let moved = std::mem::take(&mut s.probe);
        model.waves(object.as_slice(), at, &moved, s);
        s.probe = moved;
        model.intensity(s);
        // Spectra are transposed, with the zero frequency first.
        for y in 0..ny {
            for x in 0..nx {
                frame[(y + cy) % ny * nx + (x + cx) % nx] = s.intensity[x * ny + y];
            }
        }
    });
    Ok(out)
}

/// Replaces expected counts by Poisson counts, each frame from its own random stream: the same counts for any number of
/// threads.
///
/// # Shapes
/// `expected` is (frames, ny, nx), or any array whose first axis counts frames.
///
/// # Panics
/// If an expected count is negative or not finite.
pub fn count_electrons<T: Real>(expected: &mut Tensor<T>, seed: u64, par: &Par) {
    let frames = expected.dims().first().copied().unwrap_or(1).max(1);
    let frame = (expected.len() / frames).max(1);
    par.chunks(expected.as_mut_slice(), frame, |j, part| {
        let mut rng = rng::stream(seed, j as u64);
        part.iter_mut().for_each(|v| *v = T::of(rng::poisson(&mut rng, v.f64())));
    });
}
