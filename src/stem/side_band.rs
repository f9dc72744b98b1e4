//! SSB, least squares and optimum bright field: the phase of a weak object as weighted sums of side bands.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::optics::Aberrations;
use crate::shape::try_zeroed;
use crate::stem::ScanSpectrum;
use crate::tensor::Tensor;
use crate::units::Angle;

/// How the side bands of a frequency are summed. Γ is that of [`ScanSpectrum`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighting {
    /// Single side band: Σ G/(iΓ/|Γ|) / Σ |Γ| over the pixels where exactly one of the disks at K − Q and K + Q overlaps
    /// the direct one; triple overlaps are left out.
    #[default]
    SingleSideBand,
    /// Least squares over the whole direct disk, triple overlaps with it: Σ (iΓ)* G / Σ |Γ|². For counts it is the
    /// maximum-likelihood answer, since the mean pattern is flat inside the disk.
    LeastSquares,
    /// Optimum bright field: Σ (iΓ)* G / √Σ|Γ|², times a constant that makes its largest transfer 1. Its noise is the same
    /// at every frequency, where both others amplify what is transferred badly.
    OptimumBrightField,
}

/// Parameters of [`side_band`].
#[derive(Clone, Debug)]
pub struct SideBandParams {
    /// The probe's semi-angle.
    pub semi_angle: Angle,
    /// The probe's aberrations, which are undone.
    pub aberrations: Aberrations,
    /// How the side bands are summed.
    pub weighting: Weighting,
    /// Frequencies whose transfer √Σ|Γ|² is below this part of the largest are left out.
    pub floor: f64,
}

impl Default for SideBandParams {
    fn default() -> Self {
        SideBandParams {
            semi_angle: Angle::mrad(20.0),
            aberrations: Aberrations::default(),
            weighting: Weighting::default(),
            floor: 0.05,
        }
    }
}

/// A phase image with its transfer and its noise.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectPhase {
    /// φ in radians, `[scan_y, scan_x]`, of mean 0.
    pub phase: Tensor<f64>,
    /// What φ̃(Q) of a weak object is multiplied by, real: 1 where it is recovered, 0 where it is left out. `[scan_y,
    /// scan_x]`, zero frequency at index 0.
    pub transfer: Tensor<f64>,
    /// Standard deviation of the phase's Fourier coefficients from counting, per coefficient of the normalised transform
    /// (1/N) Σ φ e^{−2πi Q·R}; complex, so that each part has 1/√2 of it. Shape as `transfer`. Valid if counts are
    /// electrons.
    pub noise: Tensor<f64>,
}

/// The phase of a weak object from the side bands of its patterns.
///
/// ```text
/// φ̃(Q) = Σ_K w*(K, Q) G(K, Q),     w by `weighting`
/// ```
///
/// so that φ̃ is right for a weak phase object wherever `transfer` is 1: inside |Q| < 2α/λ. Its noise follows from Poisson
/// counts, whose G has the variance |A(K)|²/(N n) with n electrons a position:
///
/// ```text
/// noise²(Q) = Σ_K |w|² |A|² / (N n)
/// ```
///
/// # Errors
/// [`Error::Param`] for a semi-angle or floor out of range, [`Error::OutOfMemory`].
///
/// # References
/// T. J. Pennycook et al., Ultramicroscopy 151, 160 (2015), eqs. (3)–(6): SSB. K. Ooe et al., Ultramicroscopy 220, 113133
/// (2021): optimum bright field. H. Yang et al., Ultramicroscopy 180, 173 (2017): transfer and noise.
pub fn side_band(g: &ScanSpectrum, params: &SideBandParams) -> Result<DirectPhase, Error> {
    if !(0.0..1.0).contains(&params.floor) {
        return Err(Error::param("floor", params.floor, "a number from 0 to below 1"));
    }
    let wave = g.wave(params.semi_angle, &params.aberrations)?;
    let [ny, nx] = g.scan();
    let n = ny * nx;
    let a = wave.at_all(g.k());
    let direct: Vec<usize> = (0..a.len()).filter(|&p| a[p].norm_sqr() > 0.0).collect();
    let tiny = 1e-9 * wave.at([0.0; 2]).norm_sqr();

    // Σ w* G before normalisation, Σ |Γ|² (or Σ |Γ|), and Σ |w|² |A|².
    let sums: Vec<(Complex<f64>, f64, f64)> = g.par().map(n, |index| {
        let (mut sum, mut square, mut noise) = (Complex::default(), 0.0, 0.0);
        // φ̃(0) is a constant phase, which nothing records.
        if index == 0 {
            return (sum, square, noise);
        }
        let q = g.q(index);
        for &p in &direct {
            let [minus, plus] = wave.bands(a[p], g.k()[p], q);
            let gamma = minus + plus;
            let size = gamma.norm_sqr();
            if size <= tiny * tiny {
                continue;
            }
            let value = g.spectrum(p)[index];
            let value = Complex::new(f64::from(value.re), f64::from(value.im));
            let intensity = a[p].norm_sqr();
            // (iΓ)* G = −i Γ* G.
            let turned = gamma.conj() * value * Complex::new(0.0, -1.0);
            match params.weighting {
                Weighting::SingleSideBand => {
                    if minus.norm_sqr() > 0.0 && plus.norm_sqr() > 0.0 {
                        continue;
                    }
                    sum += turned / size.sqrt();
                    square += size.sqrt();
                    noise += intensity;
                }
                Weighting::LeastSquares | Weighting::OptimumBrightField => {
                    sum += turned;
                    square += size;
                    noise += size * intensity;
                }
            }
        }
        (sum, square, noise)
    });

    let strongest = sums.iter().fold(0.0f64, |m, s| m.max(s.1));
    let per_electron = 1.0 / g.counts();
    let mut spectrum: Vec<Complex<f64>> = try_zeroed(n)?;
    let (mut transfer, mut noise) = (Tensor::zeros(&[ny, nx]), Tensor::zeros(&[ny, nx]));
    for (i, &(sum, square, variance)) in sums.iter().enumerate() {
        let (norm, gain) = match params.weighting {
            Weighting::SingleSideBand => (square, 1.0),
            Weighting::LeastSquares => (square, 1.0),
            Weighting::OptimumBrightField => ((square * strongest).sqrt(), (square / strongest).sqrt()),
        };
        let floor = match params.weighting {
            Weighting::SingleSideBand => params.floor,
            Weighting::LeastSquares | Weighting::OptimumBrightField => params.floor * params.floor,
        };
        if square <= floor * strongest || square == 0.0 {
            continue;
        }
        spectrum[i] = sum / norm;
        transfer.as_mut_slice()[i] = gain;
        noise.as_mut_slice()[i] = (variance * per_electron).sqrt() / norm;
    }
    Ok(DirectPhase { phase: synthesis([ny, nx], &mut spectrum)?, transfer, noise })
}

/// Σ_Q φ̃(Q) e^{2πi Q·R}, the real part.
pub(crate) fn synthesis(scan: [usize; 2], spectrum: &mut [Complex<f64>]) -> Result<Tensor<f64>, Error> {
    let fft = Fft2::<f64>::new(scan)?;
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.transform(spectrum, crate::fft::Direction::Inverse, 1.0, &mut scratch);
    Tensor::from_vec(&scan, spectrum.iter().map(|z| z.re).collect())
}
