//! Counting electrons.

use crate::error::Error;
use crate::par::Par;
use crate::real::Real;
use crate::rng;
use crate::tensor::Tensor;

/// Replaces expected intensities by counts: every pixel gets a Poisson number of mean `electrons` × intensity.
///
/// With patterns that sum to 1, `electrons` is the dose times the area of a scan step; with images of mean 1, the dose times the area of a pixel. Frame i
/// draws from the stream i of the seed.
///
/// # Shapes
/// `[frames, …]`: what follows the first axis is one frame.
///
/// # Errors
/// [`Error::Param`] for a number of electrons that is negative or not finite, [`Error::Data`] for an intensity that is.
///
/// # Examples
/// ```
/// use exitwave::detect::count;
/// use exitwave::par::Par;
/// use exitwave::tensor::Tensor;
/// use exitwave::units::{Dose, Length};
/// let step = Length::angstrom(0.5);
/// let mut patterns = Tensor::full(&[10, 32, 32], 1.0f32 / 1024.0);
/// count(&mut patterns, Dose::per_angstrom2(4000.0) * (step * step), 7, &Par::seq())?;
/// let sum: f32 = patterns.as_slice().iter().sum();
/// assert!((sum - 10_000.0).abs() < 400.0 && sum.fract() == 0.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn count<T: Real>(expected: &mut Tensor<T>, electrons: f64, seed: u64, par: &Par) -> Result<(), Error> {
    if !(0.0..=1e18).contains(&electrons) {
        return Err(Error::param("electrons", electrons, "0 to 10¹⁸"));
    }
    if let Some(index) = expected.as_slice().iter().position(|i| !(i.f64() >= 0.0 && i.f64() <= 1e18)) {
        return Err(Error::Data { what: format!("an intensity of {}", expected.as_slice()[index]), index });
    }
    let frames = expected.dims().first().copied().unwrap_or(1).max(1);
    let frame = (expected.len() / frames).max(1);
    par.chunks(expected.as_mut_slice(), frame, |f, counts| {
        let mut stream = rng::stream(seed, f as u64);
        for i in counts {
            *i = T::of(rng::poisson(&mut stream, electrons * i.f64()));
        }
    });
    Ok(())
}
