//! A series with its truth, and its retrieval by three methods.

use std::sync::Arc;

use exitwave::lorentz::{
    Amplitude, FreeSettings, GerchbergSaxton, GerchbergSaxtonParams, ImageSetting, LorentzModel, LorentzParams, Loss,
    Noise, PhaseSpectrum, Precondition, Regularizer, Retrieval, RetrievalParams, RetrievalResult, Stage, Tie,
    TieParams, add_noise, noise_level,
};
use exitwave::metrics::{FrcParams, RingCorrelation, Threshold, normalised_correlation};
use exitwave::observe::silent;
use exitwave::optics::{FocalSpread, Grid, SourceAngle};
use exitwave::optim::{Difference, Prox, ProximalParams, Term, pdhg};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Length, SpatialFrequency};

use super::support::Failure;

/// What is simulated.
#[derive(Clone)]
pub struct Case {
    pub series: LorentzParams,
    pub phase: Vec<f32>,
    pub amplitude: Vec<f32>,
    pub prior: Prior,
}

/// What is expected of the phase, and how strongly.
#[derive(Clone, Copy)]
pub struct Prior {
    /// Piecewise linear (a curvature penalty) instead of piecewise constant (total variation).
    pub linear: bool,
    /// The weight is this times σ²/n, σ being the noise of √I and n the number of images: minus the logarithm of a
    /// probability that knows nothing of the noise. 1/rad.
    pub strength: f64,
    /// ε, in rad a pixel (squared).
    pub smoothing: f64,
    /// Binning of the first stage.
    pub coarse: usize,
    /// Frequencies whose transfer, squared, is below this times σ²/n stay near the start: the floor of the preconditioner.
    pub floor: f64,
    /// When a stage ends.
    pub tolerance: f64,
    /// What is minimised.
    pub loss: Loss,
}

impl Default for Prior {
    fn default() -> Self {
        Prior {
            linear: false,
            strength: 3.0,
            smoothing: 0.02,
            coarse: 4,
            floor: 0.05,
            tolerance: 1e-6,
            loss: Loss::Amplitude,
        }
    }
}

impl Prior {
    /// For magnetic phases: piecewise linear.
    pub fn magnetic() -> Self {
        Prior { linear: true, strength: 4.0, smoothing: 0.002, ..Prior::default() }
    }

    /// What the loss is in units of the amplitude loss, near its minimum: y − I − I ln(y/I) ≈ 2(√y − √I)².
    fn unit(&self) -> f64 {
        match self.loss {
            Loss::Amplitude => 1.0,
            Loss::Poisson => 2.0,
        }
    }

    fn regularizer(&self, images: &Tensor<f32>, grid: &Grid) -> Result<Regularizer, Failure> {
        let weight = self.unit() * self.strength * noise_of_mean(images, grid)?.powi(2);
        let smoothing = self.smoothing;
        Ok(if self.linear {
            Regularizer::Curvature { weight, smoothing }
        } else {
            Regularizer::TotalVariation { weight, smoothing }
        })
    }
}

/// How the amplitude is known to the retrieval.
#[derive(Clone, Copy, PartialEq)]
pub enum Knowledge {
    /// As it is.
    Given,
    /// From one more image, in focus, as noisy as the others, denoised by total variation.
    InFocus,
    /// Not at all.
    Unknown,
}

/// The lens of the published benchmark, at a defocus in mm.
pub fn lens(defocus_mm: f64, cs_mm: f64, theta_mrad: f64, spread_nm: f64) -> ImageSetting {
    ImageSetting {
        defocus: Length::mm(defocus_mm),
        cs: Length::mm(cs_mm),
        source_angle: SourceAngle::one_over_e(Angle::mrad(theta_mrad)),
        focal_spread: FocalSpread::rms(Length::nm(spread_nm)),
        ..ImageSetting::default()
    }
}

impl Case {
    /// The same object with other defoci.
    pub fn at(&self, defocus_mm: &[f64]) -> Case {
        let one = self.series.images[0];
        let images = defocus_mm.iter().map(|d| ImageSetting { defocus: Length::mm(*d), ..one }).collect();
        Case { series: LorentzParams { images, ..self.series.clone() }, ..self.clone() }
    }

    /// Noisy images.
    pub fn images(&self, noise: Noise, seed: u64) -> Result<Tensor<f32>, Failure> {
        let mut images = LorentzModel::<f32>::new(&self.series)?.images(&self.phase, &self.amplitude)?;
        add_noise(&mut images, noise, seed, &self.series.par)?;
        Ok(images)
    }

    /// The amplitude a retrieval starts from.
    pub fn amplitude(
        &self,
        knowledge: Knowledge,
        images: &Tensor<f32>,
        noise: Noise,
        seed: u64,
    ) -> Result<Vec<f32>, Failure> {
        match knowledge {
            Knowledge::Given => Ok(self.amplitude.clone()),
            Knowledge::Unknown => {
                let mean = images.as_slice().iter().sum::<f32>() / images.len() as f32;
                Ok(vec![mean.sqrt(); self.amplitude.len()])
            }
            Knowledge::InFocus => {
                let image = self.at(&[0.0]).images(noise, seed + 1000)?;
                let a: Vec<f32> = image.as_slice().iter().map(|i| i.sqrt()).collect();
                denoise(&a, self.series.grid.dims)
            }
        }
    }

    pub fn accuracy(&self, phase: &Tensor<f32>) -> Result<f64, Failure> {
        Ok(normalised_correlation(&self.phase, phase.as_slice())?)
    }

    /// The period in nm at which the ring correlation with the truth falls below ½.
    pub fn resolution_nm(&self, phase: &Tensor<f32>) -> Result<f64, Failure> {
        let frc = RingCorrelation::new(
            self.series.grid.dims,
            FrcParams { pixel: self.series.grid.sampling, ..FrcParams::default() },
        )?;
        let curve = frc.real(&self.phase, phase.as_slice())?;
        Ok(curve.resolution(Threshold::Half).length().map_or(f64::INFINITY, |l| l.to_nm()))
    }
}

/// Total-variation denoising with the weight σ/2 that the level of the noise asks for.
pub fn denoise(image: &[f32], dims: [usize; 2]) -> Result<Vec<f32>, Failure> {
    let sigma = noise_level(image, dims)?;
    if sigma == 0.0 {
        return Ok(image.to_vec());
    }
    let term =
        Term { op: Arc::new(Difference::<f32>::new(&dims)?), prox: Prox::Group { weight: 1.5 * sigma, parts: 2 } };
    let fidelity = Prox::Squares { weight: 1.0, target: image.to_vec() };
    let params = ProximalParams { iterations: 200, tolerance: 1e-5 };
    Ok(pdhg(&fidelity, &[term], Some(image), 1.0, &params, &mut silent)?.x)
}

/// No image is taken as better than this, noise of √I over its mean: that of 28 000 electrons a pixel. Without a penalty a
/// descent ends before the lowest frequencies are found.
const BEST: f64 = 0.003;

/// σ/√n, σ being the mean noise of √I of n images.
fn noise_of_mean(images: &Tensor<f32>, grid: &Grid) -> Result<f64, Failure> {
    let len = grid.len();
    let mut sigma = Vec::new();
    for image in images.as_slice().chunks(len) {
        let a: Vec<f32> = image.iter().map(|i| i.sqrt()).collect();
        let mean = a.iter().map(|a| f64::from(*a)).sum::<f64>() / len as f64;
        sigma.push(noise_level(&a, grid.dims)?.max(BEST * mean));
    }
    let mean = sigma.iter().sum::<f64>() / sigma.len() as f64;
    Ok(mean / (sigma.len() as f64).sqrt())
}

/// Stages on binned images, from `coarse` to 1, each with so many iterations.
pub fn stages(side: usize, coarse: usize, iterations: usize, free: FreeSettings) -> Vec<Stage> {
    let fit = [8, 4, 2, 1].into_iter().filter(|b| *b <= coarse && side.is_multiple_of(*b) && side / b >= 32);
    fit.map(|binning| Stage { binning, iterations, free }).collect()
}

/// The retrieval by automatic differentiation: on the coarsest images once from a flat phase and once from that of the
/// transport-of-intensity equation, and, where the settings are known, from both on all pixels; from the one with the
/// lowest loss on.
pub fn ad(
    case: &Case,
    told: &LorentzParams,
    images: &Tensor<f32>,
    amplitude: &[f32],
    knowledge: Knowledge,
    free: FreeSettings,
) -> Result<RetrievalResult<f32>, Failure> {
    let side = case.series.grid.dims[0];
    let noise = noise_of_mean(images, &case.series.grid)?;
    let floor = (case.prior.floor * noise * noise).clamp(1e-9, 0.1);
    let spectrum = PhaseSpectrum::estimate(told, images, amplitude, &vec![0.0; case.phase.len()])?;
    let base = RetrievalParams {
        series: told.clone(),
        loss: case.prior.loss,
        regularizer: case.prior.regularizer(images, &case.series.grid)?,
        spectrum: spectrum.map(|s| PhaseSpectrum { weight: case.prior.unit() * s.weight, ..s }),
        amplitude: if knowledge == Knowledge::Unknown { Amplitude::Free } else { Amplitude::Known },
        tolerance: case.prior.tolerance,
        precondition: Precondition::Curvature { floor },
        ..RetrievalParams::default()
    };
    let defocus: Vec<Length> = told.images.iter().map(|i| i.defocus).collect();
    let tie = Tie::<f32>::new(TieParams {
        energy: told.energy,
        grid: told.grid,
        regularization: SpatialFrequency::per_angstrom(0.25e-4),
        ..TieParams::default()
    })?;
    let guess = if defocus.len() > 1 {
        tie.series(images, &defocus, None)?
    } else {
        tie.single(images.as_slice(), defocus[0])?
    };
    let mut all = stages(side, case.prior.coarse, 150, FreeSettings::NONE);
    let first = all.remove(0);
    let coarse = Retrieval::new(RetrievalParams { stages: vec![first], ..base.clone() })?;
    let mut best: Option<RetrievalResult<f32>> = None;
    for start in [vec![0.0; case.phase.len()], guess.as_slice().to_vec()] {
        let found = coarse.run(images, &start, amplitude, None, &mut silent)?;
        let lower = |b: &RetrievalResult<f32>| found.loss.last() < b.loss.last();
        if best.as_ref().is_none_or(lower) {
            best = Some(found);
        }
    }
    let mut best = best.expect("two starts");
    if free.any() {
        // With unknown settings the coarse images are worth a second look, where shifts go before all others: a defocus would
        // rather take up what is a wrong shift.
        let only = FreeSettings { shift: free.shift, ..FreeSettings::NONE };
        let before: Vec<_> = if only.any() {
            let coarse = all.iter().filter(|s| s.binning > 1);
            std::iter::once(&first).chain(coarse).map(|s| Stage { free: only, ..*s }).collect()
        } else {
            vec![Stage { free, ..first }]
        };
        all = before.into_iter().chain(all.into_iter().map(|s| Stage { free, ..s })).collect();
    } else {
        // A coarse start is not always a good one: on all pixels the lowest loss decides again.
        let few = |stages: Vec<Stage>| Retrieval::new(RetrievalParams { stages, ..base.clone() });
        let short = Stage { binning: 1, iterations: 60, free };
        let middle: Vec<_> = all.iter().filter(|s| s.binning > 1).copied().chain([short]).collect();
        let done = best.iterations;
        best = few(middle)?.run(images, best.phase.as_slice(), best.amplitude.as_slice(), None, &mut silent)?;
        for start in [vec![0.0; case.phase.len()], guess.as_slice().to_vec()] {
            let found = few(vec![short])?.run(images, &start, amplitude, None, &mut silent)?;
            if found.loss.last() < best.loss.last() {
                best = found;
            }
        }
        best.iterations += done;
        all = vec![short];
    }
    all.iter_mut().for_each(|s| s.iterations = 200);
    let fine = Retrieval::new(RetrievalParams { stages: all, ..base })?;
    let mut found = fine.run(images, best.phase.as_slice(), best.amplitude.as_slice(), None, &mut silent)?;
    found.iterations += best.iterations;
    found.loss.splice(0..0, best.loss);
    Ok(found)
}

/// The transport-of-intensity equation at Tikhonov's best of six cut-offs (chosen by the truth: in its favour).
pub fn tie(case: &Case, images: &Tensor<f32>) -> Result<(f64, Tensor<f32>), Failure> {
    let defocus: Vec<Length> = case.series.images.iter().map(|i| i.defocus).collect();
    let mut best: Option<(f64, Tensor<f32>)> = None;
    for per_micrometre in [0.0, 0.1, 0.25, 0.5, 1.0, 2.0] {
        let params = TieParams {
            energy: case.series.energy,
            grid: case.series.grid,
            regularization: SpatialFrequency::per_angstrom(per_micrometre * 1e-4),
            ..TieParams::default()
        };
        let phase = Tie::<f32>::new(params)?.series(images, &defocus, None)?;
        let c = case.accuracy(&phase)?;
        if best.as_ref().is_none_or(|(b, _)| c > *b) {
            best = Some((c, phase));
        }
    }
    Ok(best.expect("six cut-offs"))
}

/// Gerchberg–Saxton, from a constant.
pub fn gs(
    case: &Case,
    images: &Tensor<f32>,
    amplitude: &[f32],
    iterations: usize,
) -> Result<(f64, Tensor<f32>), Failure> {
    let params = GerchbergSaxtonParams { series: case.series.clone(), iterations };
    let found =
        GerchbergSaxton::<f32>::new(&params)?.run(images, &vec![0.0; case.phase.len()], amplitude, &mut silent)?;
    Ok((case.accuracy(&found.phase)?, found.phase))
}

pub fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}
