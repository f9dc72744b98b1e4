//! Phase from a single image with a deep image prior.

use std::sync::Arc;

use crate::autodiff::{Mode, NodeId, PlanOptions, Session};
use crate::error::Error;
use crate::lorentz::{LorentzImages, LorentzModel, LorentzParams};
use crate::nn::{Activation, Net, Padding, Pooling, Weights};
use crate::observe::{Observer, Step, Stop};
use crate::optim::AdamStep;
use crate::real::Real;
use crate::rng;
use crate::shape::{Space, try_zeroed};
use crate::tensor::Tensor;

/// Parameters of [`Siprad`].
#[derive(Clone, Debug)]
pub struct SipradParams {
    /// The series, of one image or more.
    pub series: LorentzParams,
    /// Channels of the levels of encoder and decoder.
    pub channels: Vec<usize>,
    /// Channels at the bottom.
    pub bottleneck: usize,
    /// Iterations in which the network learns the starting phase.
    pub pretraining: usize,
    /// Iterations on the images.
    pub iterations: usize,
    /// Adam's rate.
    pub rate: f64,
    /// Noise that is added to the input in every iteration, and stays, over the input's standard deviation.
    pub input_noise: f64,
    /// Seed of weights and noise.
    pub seed: u64,
}

/// The demonstration's numbers: 16, 32, 64, 128 channels, 128 at the bottom, 100 and 1000 iterations at 2·10⁻⁴, noise of
/// 1/30.
impl Default for SipradParams {
    fn default() -> Self {
        SipradParams {
            series: LorentzParams::default(),
            channels: vec![16, 32, 64, 128],
            bottleneck: 128,
            pretraining: 100,
            iterations: 1000,
            rate: 2e-4,
            input_noise: 1.0 / 30.0,
            seed: 1,
        }
    }
}

/// What [`Siprad::run`] found.
#[derive(Clone, Debug)]
pub struct SipradResult<T: Real> {
    /// The phase of the iteration with the lowest loss.
    pub phase: Tensor<T>,
    /// Mean (y − I)² of every iteration on the images.
    pub loss: Vec<f64>,
    /// Why it ended.
    pub stop: Stop,
}

/// Single-image phase retrieval by automatic differentiation with a deep image prior: the phase is the output of a network
/// whose weights are fitted to the image,
///
/// ```text
/// minimise 1/N Σ (y(φ(w; z)) − I)² over w,   z = the single-image TIE's phase + accumulating noise
/// ```
///
/// The network has no skips: convolutions and halvings by maxima down, transposed convolutions up, one linear output.
///
/// # References
/// A. R. C. McCray et al., *npj Comput. Mater.* 10, 111 (2024). Deviations: the amplitude is known; the input is scaled to
/// standard deviation 1; weights start uniformly within ±1/√fan-in.
#[derive(Debug)]
pub struct Siprad {
    params: SipradParams,
}

/// A graph with its input, target and phase.
struct Trained<T: Real> {
    session: Session<T>,
    input: NodeId,
    phase: NodeId,
}

impl Siprad {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Param`] for sides that cannot be halved once a level, no channels, a rate that is not positive.
    pub fn new(params: SipradParams) -> Result<Self, Error> {
        let levels = params.channels.len() as u32;
        let part = 1usize.checked_shl(levels).unwrap_or(0);
        params.series.grid.check()?;
        if levels == 0 || part == 0 || params.series.grid.dims.iter().any(|n| !n.is_multiple_of(part)) {
            let got = format!("{:?} at {levels} levels", params.series.grid.dims);
            return Err(Error::param("channels", got, "sides that can be halved at every level"));
        }
        if params.bottleneck == 0 || params.channels.contains(&0) || params.iterations == 0 {
            return Err(Error::param("bottleneck", params.bottleneck, "channels and iterations above 0"));
        }
        let sane = params.rate > 0.0 && params.rate.is_finite() && (0.0..1e3).contains(&params.input_noise);
        if !sane {
            return Err(Error::param("rate", params.rate, "a positive number, and noise that is not negative"));
        }
        Ok(Siprad { params })
    }

    /// The network from the input (1, 1, ny, nx) to the phase (ny, nx).
    fn network<T: Real>(&self, net: &mut Net<T>, x: NodeId) -> Result<NodeId, Error> {
        let leaky = Activation::LeakyRelu { slope: 0.01 };
        let mut y = x;
        let block = |net: &mut Net<T>, name: String, y: NodeId, c: usize| -> Result<NodeId, Error> {
            let y = net.conv(&format!("{name}.0"), y, c, 3, 1, Padding::Zero)?;
            let y = net.activation(y, leaky)?;
            let y = net.conv(&format!("{name}.1"), y, c, 3, 1, Padding::Zero)?;
            net.activation(y, leaky)
        };
        for (i, &c) in self.params.channels.iter().enumerate() {
            y = block(net, format!("down.{i}"), y, c)?;
            y = net.pool(y, Pooling::Max)?;
        }
        y = block(net, "bottom".into(), y, self.params.bottleneck)?;
        for (i, &c) in self.params.channels.iter().enumerate().rev() {
            y = net.conv_up(&format!("up.{i}"), y, c, 2)?;
            y = block(net, format!("up.{i}"), y, c)?;
        }
        let y = net.conv("out", y, 1, 1, 1, Padding::Zero)?;
        net.graph.reshape(y, &self.params.series.grid.dims)
    }

    /// The graph that learns the phase `target`, or the images.
    fn graph<T: Real>(&self, amplitude: &[T], target: &Tensor<T>, images: Images) -> Result<Trained<T>, Error> {
        let [ny, nx] = self.params.series.grid.dims;
        let par = &self.params.series.par;
        let mut net = Net::<T>::new(par);
        let input = net.input("input", &[1, 1, ny, nx]);
        let phase = self.network(&mut net, input)?;
        net.graph.output(phase);
        let a = net.graph.data("amplitude", Space::real(&[ny, nx]));
        let t = net.graph.data("target", Space::real(target.dims()));
        let model = match images {
            Images::Learned => {
                let model = LorentzModel::<T>::new(&self.params.series)?;
                net.graph.call(Arc::new(LorentzImages::new(model)), &[phase, a])?
            }
            Images::Ignored => {
                // The amplitude is not used, but must be used.
                let nothing = net.graph.scale(a, T::ZERO)?;
                net.graph.add(phase, nothing)?
            }
        };
        let d = net.graph.sub(model, t)?;
        let square = net.graph.mul(d, d)?;
        let loss = net.graph.mean(square)?;
        let weights = net.initial(self.params.seed)?;
        let plan = net.graph.plan(&[loss], PlanOptions { par: par.clone(), limits: self.params.series.limits })?;
        let mut session = Session::new(&plan)?;
        weights.store(&mut session)?;
        session.set(a, amplitude);
        session.set(t, target.as_slice());
        Ok(Trained { session, input, phase })
    }

    /// Retrieves from `images` (n, ny, nx), starting at `phase` (ny, nx), as [`Tie::single`](crate::lorentz::Tie::single)
    /// gives it, with a known amplitude (ny, nx).
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Data`] for values that are not finite; those of the graph.
    pub fn run<T: Real>(
        &self,
        images: &Tensor<T>,
        phase: &Tensor<T>,
        amplitude: &[T],
        observe: Observer<'_>,
    ) -> Result<SipradResult<T>, Error> {
        let p = &self.params;
        let [ny, nx] = p.series.grid.dims;
        let dims = [p.series.images.len(), ny, nx];
        if images.dims() != dims || phase.dims() != [ny, nx] || amplitude.len() != ny * nx {
            return Err(Error::shape("Siprad", &dims, images.dims()));
        }
        for x in [images.as_slice(), phase.as_slice(), amplitude] {
            if let Some(index) = x.iter().position(|v| !v.is_finite()) {
                return Err(Error::Data { what: "a value that is not finite".into(), index });
            }
        }
        // The input: mean 0, standard deviation 1.
        let n = (ny * nx) as f64;
        let mean = phase.as_slice().iter().map(|v| v.f64()).sum::<f64>() / n;
        let square = phase.as_slice().iter().map(|v| (v.f64() - mean).powi(2)).sum::<f64>() / n;
        let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 1.0 };
        let mut z: Vec<T> = phase.as_slice().iter().map(|v| T::of((v.f64() - mean) * scale)).collect();
        let mut stream = rng::stream(p.seed, u64::MAX);

        let mut weights: Option<Weights<T>> = None;
        let (mut best, mut found) = (f64::INFINITY, phase.clone());
        let (mut loss, mut stop) = (Vec::new(), Stop::Iterations);
        for (what, iterations) in [(Images::Ignored, p.pretraining), (Images::Learned, p.iterations)] {
            if iterations == 0 {
                continue;
            }
            let target = if what == Images::Learned { images } else { phase };
            let Trained { mut session, input, phase: output } = self.graph(amplitude, target, what)?;
            if let Some(w) = &weights {
                w.store(&mut session)?;
            }
            let step = AdamStep::default();
            let mut memory: Vec<T> = try_zeroed(step.vectors() * session.params().len())?;
            for t in 0..iterations {
                z.iter_mut().for_each(|z| *z += T::of(p.input_noise * rng::normal(&mut stream)));
                session.set(input, &z);
                let value = session.forward(Mode::Train { step: t as u64 })?.f64();
                if what == Images::Learned {
                    loss.push(value);
                    // The first iterations still show the start.
                    if value < best {
                        best = value;
                        found = Tensor::from_vec(&[ny, nx], session.value(output).to_vec())?;
                    }
                    if observe(&Step::new(t + 1, iterations, value)).is_break() {
                        stop = Stop::Cancelled;
                        break;
                    }
                }
                session.backward();
                let (x, g) = session.params_and_grads();
                step.step(t + 1, x, g, &mut memory, p.rate, &p.series.par);
            }
            weights = Some(Weights::take(&session)?);
        }
        Ok(SipradResult { phase: found, loss, stop })
    }
}

/// What a graph learns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Images {
    Learned,
    Ignored,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lorentz::{ImageSetting, Tie, TieParams};
    use crate::metrics::normalised_correlation;
    use crate::observe::silent;
    use crate::optics::Grid;
    use crate::par::Par;
    use crate::units::Length;

    #[test]
    fn a_network_learns_the_phase_of_one_image() {
        let grid = Grid { dims: [32, 32], sampling: [Length::nm(8.0); 2] };
        let images = vec![ImageSetting { defocus: Length::um(-400.0), ..ImageSetting::default() }];
        let series = LorentzParams { grid, images, par: Par::seq(), ..LorentzParams::default() };
        let truth: Vec<f32> = (0..1024)
            .map(|i| ((i / 32) as f32 - 15.5, (i % 32) as f32 - 15.5))
            .map(|(y, x)| 2.0 * (-(x * x + y * y) / 60.0).exp())
            .collect();
        let data = LorentzModel::<f32>::new(&series).unwrap().images(&truth, &[1.0; 1024]).unwrap();
        let tie = Tie::<f32>::new(TieParams { grid, ..TieParams::default() }).unwrap();
        let start = tie.single(data.as_slice(), Length::um(-400.0)).unwrap();
        let params = SipradParams {
            series,
            channels: vec![8, 16],
            bottleneck: 16,
            pretraining: 100,
            iterations: 150,
            rate: 3e-3,
            input_noise: 0.0,
            seed: 1,
        };
        let found = Siprad::new(params.clone()).unwrap().run(&data, &start, &[1.0; 1024], &mut silent).unwrap();
        let c = normalised_correlation(&truth, found.phase.as_slice()).unwrap();
        println!("loss {:.3e} to {:.3e}, correlation {c:.4}", found.loss[0], found.loss[found.loss.len() - 1]);
        assert!(found.loss.iter().fold(f64::INFINITY, |m, l| m.min(*l)) < 0.5 * found.loss[0]);
        assert!(c > 0.9, "{c}");
        let odd = Grid { dims: [30, 32], ..grid };
        let series = LorentzParams { grid: odd, ..params.series.clone() };
        assert!(Siprad::new(SipradParams { series, ..params }).is_err());
    }
}
