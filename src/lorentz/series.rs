//! Noise of a simulated series.

use crate::detect::count;
use crate::error::Error;
use crate::par::Par;
use crate::real::Real;
use crate::rng;
use crate::shape::checked_len;
use crate::tensor::Tensor;

/// What disturbs a simulated series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Gaussian noise on the amplitude √I: percent = 200 · standard deviation, amplitudes normalised to mean 1.
    AmplitudePercent(f64),
    /// Gaussian noise on the intensity, of standard deviation (percent/200) · mean.
    IntensityPercent(f64),
    /// Counts: so many electrons a pixel where the intensity is 1. The result is counts divided by this.
    Counts(f64),
}

/// Disturbs a series (n, ny, nx) of expected intensities. Each image has a random stream of its own: the result does not
/// depend on the number of threads. Negative values become 0.
///
/// # Errors
/// [`Error::Param`] for a percentage or a dose that is negative or not finite, [`Error::Data`] for an intensity that
/// is negative or not finite.
///
/// # References
/// `AmplitudePercent`: T. Zhou et al., *npj Comput. Mater.* 7, 141 (2021); `IntensityPercent`: A. R. C. McCray et al.,
/// *npj Comput. Mater.* 10, 111 (2024).
pub fn add_noise<T: Real>(images: &mut Tensor<T>, noise: Noise, seed: u64, par: &Par) -> Result<(), Error> {
    let level = match noise {
        Noise::AmplitudePercent(p) | Noise::IntensityPercent(p) | Noise::Counts(p) => p,
    };
    if !(level >= 0.0 && level.is_finite()) {
        return Err(Error::param("noise", level, "a finite number >= 0"));
    }
    if let Some(index) = images.as_slice().iter().position(|i| !(*i >= T::ZERO && i.is_finite())) {
        return Err(Error::Data { what: "an intensity that is negative or not finite".into(), index });
    }
    if let Noise::Counts(electrons) = noise {
        count(images, electrons, seed, par)?;
        if electrons > 0.0 {
            let scale = T::of(1.0 / electrons);
            images.as_mut_slice().iter_mut().for_each(|i| *i *= scale);
        }
        return Ok(());
    }
    let n = images.dims().first().copied().unwrap_or(1).max(1);
    let len = (checked_len(images.dims())? / n).max(1);
    par.chunks(images.as_mut_slice(), len, |k, image| {
        let mut stream = rng::stream(seed, k as u64);
        let mut pair = None;
        let mut normal = || match pair.take() {
            Some(second) => second,
            None => {
                let (first, second) = rng::normal_pair(&mut stream);
                pair = Some(second);
                first
            }
        };
        let size = image.len() as f64;
        match noise {
            Noise::AmplitudePercent(percent) => {
                let mean = image.iter().map(|i| i.f64().sqrt()).sum::<f64>() / size;
                for i in image.iter_mut() {
                    let a = i.f64().sqrt() + percent / 200.0 * mean * normal();
                    *i = T::of(a.max(0.0).powi(2));
                }
            }
            _ => {
                let mean = image.iter().map(|i| i.f64()).sum::<f64>() / size;
                image.iter_mut().for_each(|i| *i = T::of((i.f64() + level / 200.0 * mean * normal()).max(0.0)));
            }
        }
    });
    Ok(())
}

/// The standard deviation of white noise in an image (ny, nx), from the median of its diagonal differences
/// `(a − b − c + d)/2` over blocks of 2 × 2 pixels, which hardly see a picture: σ = median/0.6745.
///
/// # Errors
/// [`Error::Shape`] for less than 2 × 2 pixels, [`Error::Data`] for values that are not finite.
///
/// # References
/// D. L. Donoho, I. M. Johnstone, *Biometrika* 81, 425 (1994), section 4.2: the median of the finest details.
pub fn noise_level<T: Real>(image: &[T], dims: [usize; 2]) -> Result<f64, Error> {
    let [ny, nx] = dims;
    if ny < 2 || nx < 2 || image.len() != ny * nx {
        return Err(Error::shape("noise_level", &[ny.max(2), nx.max(2)], &[image.len()]));
    }
    if let Some(index) = image.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: "a value that is not finite".into(), index });
    }
    let at = |y: usize, x: usize| image[y * nx + x].f64();
    let mut d: Vec<f64> = (0..(ny / 2) * (nx / 2))
        .map(|i| (2 * (i / (nx / 2)), 2 * (i % (nx / 2))))
        .map(|(y, x)| 0.5 * (at(y, x) - at(y, x + 1) - at(y + 1, x) + at(y + 1, x + 1)).abs())
        .collect();
    let middle = d.len() / 2;
    let (_, median, _) = d.select_nth_unstable_by(middle, f64::total_cmp);
    Ok(*median / 0.6745)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_those_of_the_papers() {
        let clean = Tensor::full(&[2, 100, 100], 0.4f64);
        for (noise, sigma) in [
            (Noise::AmplitudePercent(10.0), 0.05 * 0.4f64.sqrt()),
            (Noise::IntensityPercent(30.0), 0.15 * 0.4),
            (Noise::Counts(900.0), (0.4f64 / 900.0).sqrt()),
        ] {
            let mut noisy = clean.clone();
            add_noise(&mut noisy, noise, 3, &Par::seq()).unwrap();
            let of = |i: f64| if matches!(noise, Noise::AmplitudePercent(_)) { i.sqrt() } else { i };
            let n = clean.len() as f64;
            let square = noisy.as_slice().iter().map(|i| (of(*i) - of(0.4)).powi(2)).sum::<f64>() / n;
            // The variance of 20 000 numbers is known to 1 %.
            assert!((square.sqrt() / sigma - 1.0).abs() < 0.03, "{noise:?} {} {sigma}", square.sqrt());
            let image: Vec<f64> = noisy.as_slice()[..10_000].iter().map(|i| of(*i)).collect();
            // The median of 2500 numbers is known to 2 %.
            assert!((noise_level(&image, [100, 100]).unwrap() / sigma - 1.0).abs() < 0.08);
            let mut threaded = clean.clone();
            add_noise(&mut threaded, noise, 3, &Par::threads(2).unwrap()).unwrap();
            assert_eq!(noisy, threaded);
        }
        assert!(add_noise(&mut clean.clone(), Noise::Counts(f64::NAN), 1, &Par::seq()).is_err());
    }
}
