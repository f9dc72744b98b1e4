//! Layers recorded into a graph, with names and initial weights.

use std::sync::Arc;

use crate::autodiff::{Function, Graph, NodeId};
use crate::error::Error;
use crate::nn::net::running::{NormState, RunningStatistics, Statistics};
use crate::nn::net::weights::{Init, Weights};
use crate::nn::{
    Activation, BatchStatistics, Conv3d, ConvParams, ConvTranspose2d, ConvTranspose3d, ConvTransposeParams,
    Interpolation, Norm, NormOver, NormParams, Padding, Pointwise, PointwiseParams, Pool2d, Pool3d, PoolParams,
    Pooling, Resample2d, Resample3d, ResampleParams, convolution,
};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;

/// A graph in the making, with the shapes of its layers found from their inputs, and their weights named after them.
///
/// Images are (n, c, y, x), volumes (n, c, z, y, x); each method takes both. A network of one's own is a function that
/// calls these methods; anything else goes into [`Net::graph`].
///
/// ```
/// use exitwave::autodiff::{Mode, PlanOptions, Session};
/// use exitwave::nn::{Activation, Interpolation, Net, NormOver, Padding, Pooling};
/// use exitwave::par::Par;
///
/// let mut net = Net::<f32>::new(&Par::seq());
/// let x = net.input("x", &[1, 3, 16, 16]);
/// let a = net.conv("a", x, 8, 3, 1, Padding::Reflect)?;
/// let a = net.norm("a", a, NormOver::Batch)?;
/// let a = net.activation(a, Activation::LeakyRelu { slope: 0.2 })?;
/// let b = net.pool(a, Pooling::Average)?;
/// let b = net.conv("b", b, 8, 3, 1, Padding::Reflect)?;
/// let b = net.resample(b, a, Interpolation::Linear)?;
/// let both = net.graph.concat(&[a, b], 1)?;
/// let y = net.conv("y", both, 1, 1, 1, Padding::Zero)?;
/// let loss = net.graph.abs2(y)?;
/// let loss = net.graph.mean(loss)?;
///
/// let weights = net.initial(7)?;
/// let mut session = Session::new(&net.graph.plan(&[loss], PlanOptions::default())?)?;
/// weights.store(&mut session)?;
/// session.set(x, &[0.5; 3 * 256]);
/// assert!(session.forward(Mode::Train { step: 0 })?.is_finite());
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Debug)]
pub struct Net<T: Real> {
    /// What has been recorded.
    pub graph: Graph<T>,
    /// By what batch normalisations that are recorded from now on evaluate.
    pub statistics: Statistics,
    par: Par,
    init: Vec<(String, Vec<usize>, Init)>,
    norms: Vec<NormState>,
}

impl<T: Real> Net<T> {
    /// A network without layers; its layers run on these threads.
    pub fn new(par: &Par) -> Self {
        let statistics = Statistics::default();
        Net { graph: Graph::new(), statistics, par: par.clone(), init: Vec::new(), norms: Vec::new() }
    }

    /// On which threads the layers run.
    pub fn par(&self) -> &Par {
        &self.par
    }

    /// An input.
    pub fn input(&mut self, name: &str, dims: &[usize]) -> NodeId {
        self.graph.data(name, Space::real(dims))
    }

    /// A weight of one's own.
    pub fn weight(&mut self, name: String, dims: &[usize], init: Init) -> NodeId {
        let id = self.graph.param(&name, Space::real(dims));
        self.init.push((name, dims.to_vec(), init));
        id
    }

    /// Names, dimensions and initial distributions of the weights.
    pub fn weights(&self) -> &[(String, Vec<usize>, Init)] {
        &self.init
    }

    /// Number of words of all weights.
    pub fn weight_words(&self) -> usize {
        self.init.iter().map(|(_, dims, _)| dims.iter().product::<usize>()).sum()
    }

    /// The initial weights of a seed: each array has a stream of its own.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn initial(&self, seed: u64) -> Result<Weights<T>, Error> {
        let draw = |(i, (name, dims, init)): (usize, &(String, Vec<usize>, Init))| {
            Ok((name.clone(), init.tensor(dims, seed, i as u64)?))
        };
        Ok(Weights { entries: self.init.iter().enumerate().map(draw).collect::<Result<_, Error>>()? })
    }

    fn call(&mut self, f: impl Function<T> + 'static, x: &[NodeId]) -> Result<NodeId, Error> {
        self.graph.call(Arc::new(f), x)
    }

    /// (batch, channels, size) of a node.
    fn shape(&self, x: NodeId) -> Result<(usize, usize, Vec<usize>), Error> {
        match self.graph.space(x).dims() {
            [n, c, size @ ..] if (2..=3).contains(&size.len()) => Ok((*n, *c, size.to_vec())),
            dims => Err(Error::Unsupported { what: format!("layer on an array of {dims:?}, not (n, c, (z,) y, x)") }),
        }
    }

    /// Convolution with bias: kernel k in every axis, step s, padding (k − 1)/2. Weights `name.weight`, `name.bias`.
    /// Large kernels between few channels of images go by transforms ([`convolution`]).
    ///
    /// # Errors
    /// Those of [`crate::nn::Conv::new`]; [`Error::Unsupported`] for anything but images and volumes.
    pub fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        kernel: usize,
        stride: usize,
        mode: Padding,
    ) -> Result<NodeId, Error> {
        let (batch, channels, size) = self.shape(x)?;
        let taps = kernel.checked_pow(size.len() as u32).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
        let init = Init::Uniform { fan_in: (channels.saturating_mul(taps)).max(1) };
        let dims = [vec![out_channels, channels], vec![kernel; size.len()]].concat();
        let padding = kernel.saturating_sub(1) / 2;
        let common = (batch, channels, out_channels, mode, self.par.clone());
        fn params<const D: usize>(
            size: [usize; D],
            (batch, channels, out_channels, mode, par): (usize, usize, usize, Padding, Par),
            [kernel, stride, padding]: [usize; 3],
        ) -> ConvParams<D> {
            ConvParams {
                batch,
                channels,
                size,
                out_channels,
                kernel: [kernel; D],
                stride: [stride; D],
                padding: [padding; D],
                mode,
                par,
                ..ConvParams::default()
            }
        }
        let numbers = [kernel, stride, padding];
        let f: Arc<dyn Function<T>> = match size[..] {
            [y, x] => convolution(&params([y, x], common, numbers))?,
            [z, y, x] => Arc::new(Conv3d::new(&params([z, y, x], common, numbers))?),
            _ => return Err(Error::Unsupported { what: "convolution".into() }),
        };
        let w = self.weight(format!("{name}.weight"), &dims, init);
        let b = self.weight(format!("{name}.bias"), &[out_channels], init);
        self.graph.call(f, &[x, w, b])
    }

    /// Transposed convolution with bias that multiplies the size by k. Weights `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// Those of [`crate::nn::ConvTranspose::new`]; [`Error::Unsupported`] for anything but images and volumes.
    pub fn conv_up(&mut self, name: &str, x: NodeId, out_channels: usize, k: usize) -> Result<NodeId, Error> {
        let (batch, channels, size) = self.shape(x)?;
        let taps = k.checked_pow(size.len() as u32).ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
        let init = Init::Uniform { fan_in: out_channels.saturating_mul(taps).max(1) };
        let dims = [vec![channels, out_channels], vec![k; size.len()]].concat();
        let par = self.par.clone();
        let f: Arc<dyn Function<T>> = match size[..] {
            [y, x] => Arc::new(ConvTranspose2d::new(&ConvTransposeParams {
                batch,
                channels,
                size: [y, x],
                out_channels,
                kernel: [k; 2],
                stride: [k; 2],
                par,
                ..ConvTransposeParams::default()
            })?),
            [z, y, x] => Arc::new(ConvTranspose3d::new(&ConvTransposeParams {
                batch,
                channels,
                size: [z, y, x],
                out_channels,
                kernel: [k; 3],
                stride: [k; 3],
                par,
                ..ConvTransposeParams::default()
            })?),
            _ => return Err(Error::Unsupported { what: "transposed convolution".into() }),
        };
        let w = self.weight(format!("{name}.weight"), &dims, init);
        let b = self.weight(format!("{name}.bias"), &[out_channels], init);
        self.graph.call(f, &[x, w, b])
    }

    /// Normalisation with ε = 10⁻⁵. Weights `name.gamma` (1) and `name.beta` (0). Over the batch, and with
    /// [`Statistics::Running`], it has also the inputs `name.mean` and `name.variance`, which [`Net::running`] keeps.
    ///
    /// # Errors
    /// Those of [`Norm::new`].
    pub fn norm(&mut self, name: &str, x: NodeId, over: NormOver) -> Result<NodeId, Error> {
        let dims = self.graph.space(x).dims().to_vec();
        let f = Norm::new(&NormParams { dims: dims.clone(), over, epsilon: 1e-5, par: self.par.clone() })?;
        let gamma = self.weight(format!("{name}.gamma"), &dims[1..2], Init::Constant(1.0));
        let beta = self.weight(format!("{name}.beta"), &dims[1..2], Init::Constant(0.0));
        if over != NormOver::Batch || self.statistics == Statistics::Batch {
            return self.call(f, &[x, gamma, beta]);
        }
        let [mean, variance] = ["mean", "variance"].map(|part| self.input(&format!("{name}.{part}"), &dims[1..2]));
        let batch = BatchStatistics::new(&dims, &self.par)?;
        let batch = self.call(batch, &[x])?;
        self.graph.output(batch);
        self.norms.push(NormState { name: name.to_string(), mean, variance, batch });
        self.call(f, &[x, gamma, beta, mean, variance])
    }

    /// The running statistics of the batch normalisations recorded so far.
    pub fn running(&self) -> RunningStatistics {
        RunningStatistics { norms: self.norms.clone() }
    }

    /// A function of each element.
    ///
    /// # Errors
    /// Those of [`Pointwise::new`].
    pub fn activation(&mut self, x: NodeId, activation: Activation) -> Result<NodeId, Error> {
        let f = Pointwise::new(&PointwiseParams { activation, par: self.par.clone() })?;
        self.call(f, &[x])
    }

    /// Pooling over windows of 2 in every axis.
    ///
    /// # Errors
    /// Those of [`crate::nn::Pool::new`].
    pub fn pool(&mut self, x: NodeId, pooling: Pooling) -> Result<NodeId, Error> {
        let (n, c, size) = self.shape(x)?;
        let (planes, par) = ([n, c], self.par.clone());
        match size[..] {
            [y, w] => {
                let p = PoolParams { pooling, planes, size: [y, w], par, ..PoolParams::default() };
                self.call(Pool2d::new(&p)?, &[x])
            }
            [z, y, w] => {
                let p = PoolParams { pooling, planes, size: [z, y, w], par, ..PoolParams::default() };
                self.call(Pool3d::new(&p)?, &[x])
            }
            _ => Err(Error::Unsupported { what: "pooling".into() }),
        }
    }

    /// Resampling to the size of another node.
    ///
    /// # Errors
    /// Those of [`crate::nn::Resample::new`]; [`Error::Shape`] when one is an image and the other a volume.
    pub fn resample(&mut self, x: NodeId, like: NodeId, interpolation: Interpolation) -> Result<NodeId, Error> {
        let ((n, c, size), (_, _, out)) = (self.shape(x)?, self.shape(like)?);
        let (planes, par) = ([n, c], self.par.clone());
        match (&size[..], &out[..]) {
            (&[y, w], &[oy, ow]) => {
                let p = ResampleParams { planes, size: [y, w], out_size: [oy, ow], interpolation, par };
                self.call(Resample2d::new(&p)?, &[x])
            }
            (&[z, y, w], &[oz, oy, ow]) => {
                let p = ResampleParams { planes, size: [z, y, w], out_size: [oz, oy, ow], interpolation, par };
                self.call(Resample3d::new(&p)?, &[x])
            }
            _ => Err(Error::shape("resampling", &size, &out)),
        }
    }

    /// Convolution, batch normalisation, activation. Weights `name.weight`, `name.bias`, `name.gamma`, `name.beta`.
    ///
    /// # Errors
    /// Those of [`Net::conv`].
    pub fn conv_norm(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        [kernel, stride]: [usize; 2],
        mode: Padding,
        activation: Activation,
    ) -> Result<NodeId, Error> {
        let y = self.conv(name, x, out_channels, kernel, stride, mode)?;
        let y = self.norm(name, y, NormOver::Batch)?;
        self.activation(y, activation)
    }

    /// The sum of x and two convolutions of it, the first with normalisation and ReLU: a residual block.
    ///
    /// # Errors
    /// Those of [`Net::conv`].
    ///
    /// # References
    /// K. He, X. Zhang, S. Ren, J. Sun, arXiv 1512.03385, eq. (1).
    pub fn residual(&mut self, name: &str, x: NodeId, mode: Padding) -> Result<NodeId, Error> {
        let channels = self.shape(x)?.1;
        let y = self.conv_norm(&format!("{name}.0"), x, channels, [3, 1], mode, Activation::Relu)?;
        let y = self.conv(&format!("{name}.1"), y, channels, 3, 1, mode)?;
        self.graph.add(x, y)
    }
}
