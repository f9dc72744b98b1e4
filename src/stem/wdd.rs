//! Wigner distribution deconvolution.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Direction, Fft2};
use crate::optics::Aberrations;
use crate::shape::try_zeroed;
use crate::stem::ScanSpectrum;
use crate::tensor::Tensor;
use crate::units::Angle;

/// Parameters of [`wdd`].
#[derive(Clone, Debug)]
pub struct WddParams {
    /// The probe's semi-angle.
    pub semi_angle: Angle,
    /// The probe's aberrations.
    pub aberrations: Aberrations,
    /// ε of the Wiener filter, in parts of the largest |W(r, 0)|².
    pub regularization: f64,
}

impl Default for WddParams {
    fn default() -> Self {
        WddParams { semi_angle: Angle::mrad(20.0), aberrations: Aberrations::default(), regularization: 0.01 }
    }
}

/// What [`wdd`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct WddResult {
    /// The object's transmission, `[scan_y, scan_x]`, with the phase of its mean taken as zero.
    pub object: Tensor<Complex<f64>>,
    /// Its phase in radians, in (−π, π].
    pub phase: Tensor<f64>,
    /// What φ̃(Q) of a weak phase object is multiplied by in `phase`, Re (s(0) − s(Q))/s₀(0): 1 where it is recovered.
    /// `[scan_y, scan_x]`, zero frequency at index 0. The imaginary part, which appears where the filter's spread s is not
    /// symmetric, leaks into the object's amplitude.
    pub transfer: Tensor<f64>,
    /// Standard deviation of each Õ(Q) from counting, if counts are electrons; shape as `transfer`.
    pub noise: Tensor<f64>,
}

/// The transmission of a thin object, weak or not, from patterns whose probe is known.
///
/// G(K, Q) is the convolution along K of L_Q(K) = Õ(K + Q) Õ*(K) with A_Q(K) = A(K − Q) A*(K). With F along K, and
/// W = F A_Q, a Wiener filter undoes it, and Õ is read off at K = 0:
///
/// ```text
/// D(r, Q) = W* F G / (|W|² + ε),      Õ(Q) Õ*(0) = L_Q(0) = (1/N_K) Σ_r D(r, Q)
/// ```
///
/// and Õ(0) > 0 by choice of the phase. What stands at K = 0 is L_Q blurred by s = F⁻¹[|W|²/(|W|² + ε)]; for a weak phase
/// object L_Q(0) = iφ̃(Q) and L_Q(−Q) = −iφ̃(Q), which gives the transfer. All is divided by s₀(0), that of Q = 0. Counts give G the variance ⟨I(K)⟩/(N n), n electrons a position, and so
/// noise² = Σ_K |v(K)|² ⟨I(K)⟩/(N n) / Õ(0)², where v = F⁻¹[W/(|W|² + ε)] is what G is multiplied by.
///
/// The spectra must be those of the whole detector.
///
/// # Errors
/// - [`Error::Param`] for a semi-angle or regularization out of range, or spectra of part of the detector,
/// - [`Error::Data`] when Õ(0) vanishes, [`Error::OutOfMemory`].
///
/// # References
/// J. M. Rodenburg, R. H. T. Bates, Phil. Trans. R. Soc. A 339, 521 (1992), section 3; H. Yang et al., Nat. Commun. 7,
/// 12532 (2016), methods.
pub fn wdd(g: &ScanSpectrum, params: &WddParams) -> Result<WddResult, Error> {
    let e = params.regularization;
    if !(e > 0.0 && e.is_finite()) {
        return Err(Error::param("regularization", e, "a positive number"));
    }
    let detector = g.detector();
    let nk = detector[0] * detector[1];
    if g.pixels().len() != nk {
        let got = format!("{} of {nk} pixels", g.pixels().len());
        return Err(Error::param("g", got, "spectra of the whole detector (`reach: None`)"));
    }
    let wave = g.wave(params.semi_angle, &params.aberrations)?;
    let a = wave.at_all(g.k());
    let [ny, nx] = g.scan();
    let n = ny * nx;
    let fft = Fft2::<f64>::new(detector)?;
    // W(r, Q), in place of A_Q.
    let kernel = |q: [f64; 2], scratch: &mut [Complex<f64>]| {
        let mut w: Vec<Complex<f64>> = g.k().iter().zip(&a).map(|(&k, &a)| wave.overlap(a, k, q)).collect();
        fft.forward(&mut w, scratch);
        w
    };
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    let direct = kernel([0.0; 2], &mut scratch);
    let epsilon = e * direct.iter().fold(0.0f64, |m, w| m.max(w.norm_sqr()));
    // s(0) at Q = 0, by which all is divided: the mean of the object comes back whole.
    let whole = direct.iter().map(|w| w.norm_sqr() / (w.norm_sqr() + epsilon)).sum::<f64>() / nk as f64;

    // L_Q(0), its transfer and Σ |v|² ⟨I⟩, each frequency for itself.
    let mut found: Vec<(Complex<f64>, f64, f64)> = try_zeroed(n)?;
    let states = g.par().count();
    let mut states = vec![scratch; states];
    g.par().chunks_with(&mut found, 1, &mut states, |index, out, scratch| {
        let q = g.q(index);
        let mut w = kernel(q, scratch);
        // Re (s(0) − s(Q)) = (1/N_K) Σ_r m (1 − cos 2πQ·r), Q in pixels of the detector.
        let d = g.to_detector(q);
        let [turn_y, turn_x] = [d[0] / detector[0] as f64, d[1] / detector[1] as f64].map(|d| TAU * d);
        let mut transfer = 0.0;
        for (i, w) in w.iter().enumerate() {
            let m = w.norm_sqr() / (w.norm_sqr() + epsilon);
            let phase = turn_y * (i / detector[1]) as f64 + turn_x * (i % detector[1]) as f64;
            transfer += (1.0 - phase.cos()) * (m / (whole * nk as f64));
        }
        w.iter_mut().for_each(|w| *w /= w.norm_sqr() + epsilon);
        fft.transform(&mut w, Direction::Inverse, 1.0 / (whole * nk as f64), scratch);
        let (mut sum, mut noise) = (Complex::default(), 0.0);
        for (p, v) in w.iter().enumerate() {
            let value = g.spectrum(p)[index];
            sum += v.conj() * Complex::new(f64::from(value.re), f64::from(value.im));
            noise += v.norm_sqr() * g.mean(p);
        }
        out[0] = (sum, transfer, noise);
    });

    let mean = found[0].0.re.max(0.0).sqrt();
    if mean.is_nan() || mean <= 0.0 {
        return Err(Error::Data { what: "the transmission's mean vanishes".into(), index: 0 });
    }
    let mut object: Vec<Complex<f64>> = found.iter().map(|f| f.0 / mean).collect();
    let plan = Fft2::<f64>::new([ny, nx])?;
    let mut scratch = vec![Complex::default(); plan.scratch_len()];
    plan.transform(&mut object, Direction::Inverse, 1.0, &mut scratch);
    let per_electron = 1.0 / g.counts();
    Ok(WddResult {
        phase: Tensor::from_vec(&[ny, nx], object.iter().map(|&z| crate::real::arg(z)).collect())?,
        object: Tensor::from_vec(&[ny, nx], object)?,
        transfer: Tensor::from_vec(&[ny, nx], found.iter().map(|f| f.1).collect())?,
        noise: Tensor::from_vec(&[ny, nx], found.iter().map(|f| (f.2 * per_electron).sqrt() / mean).collect())?,
    })
}
