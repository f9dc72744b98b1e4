//! Weights by name: drawn from a seed, put into a session, taken out of one.

use crate::autodiff::Session;
use crate::error::Error;
use crate::real::Real;
use crate::rng;
use crate::tensor::Tensor;

/// How a weight is drawn. `fan_in` and `fan_out` are the numbers of inputs and outputs that a weight connects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// This number everywhere.
    Constant(f64),
    /// Normal, of variance 2/fan_in: for layers that a ReLU follows (Kaiming He).
    Kaiming {
        /// Inputs of an output.
        fan_in: usize,
    },
    /// Uniform within ±√(6/(fan_in + fan_out)): for layers that a sigmoid or nothing follows (Xavier Glorot).
    Xavier {
        /// Inputs of an output.
        fan_in: usize,
        /// Outputs of an input.
        fan_out: usize,
    },
    /// Uniform within ±1/√fan_in: what PyTorch's convolutions and linear layers start from.
    Uniform {
        /// Inputs of an output.
        fan_in: usize,
    },
}

impl Init {
    /// One number.
    fn draw(self, r: &mut rng::ChaCha8Rng) -> f64 {
        let uniform = |r: &mut rng::ChaCha8Rng, bound: f64| bound * (2.0 * rng::uniform(r) - 1.0);
        match self {
            Init::Constant(v) => v,
            Init::Kaiming { fan_in } => (2.0 / fan_in as f64).sqrt() * rng::normal(r),
            Init::Xavier { fan_in, fan_out } => uniform(r, (6.0 / (fan_in + fan_out) as f64).sqrt()),
            Init::Uniform { fan_in } => uniform(r, 1.0 / (fan_in as f64).sqrt()),
        }
    }

    /// An array of these dimensions, from the stream `index` of a seed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] on overflow.
    ///
    /// # References
    /// K. He et al., arXiv 1502.01852, eq. (10); X. Glorot, Y. Bengio, Proc. AISTATS (2010), eq. (16).
    pub fn tensor<T: Real>(self, dims: &[usize], seed: u64, index: u64) -> Result<Tensor<T>, Error> {
        let mut r = rng::stream(seed, index);
        let words = crate::shape::checked_len(dims)?;
        let mut values = crate::shape::try_reserved(words)?;
        values.extend((0..words).map(|_| T::of(self.draw(&mut r))));
        Tensor::from_vec(dims, values)
    }
}

/// Named arrays: the parameters of a network, in the order in which they were recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights<T> {
    /// Names and values.
    pub entries: Vec<(String, Tensor<T>)>,
}

impl<T: Real> Weights<T> {
    /// The values under a name.
    pub fn get(&self, name: &str) -> Option<&Tensor<T>> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.entries.iter().map(|(_, t)| t.len()).sum()
    }

    /// Puts every weight into the parameter of its name.
    ///
    /// # Errors
    /// [`Error::Param`] for a name that the plan does not have, or a parameter of the plan without weights;
    /// [`Error::Shape`] for one of another shape. The session is then unchanged.
    pub fn store(&self, session: &mut Session<T>) -> Result<(), Error> {
        let plan = session.plan().clone();
        for id in plan.params() {
            if self.get(plan.name(id)).is_none() {
                return Err(Error::param("weights", format!("no `{}`", plan.name(id)), "weights for every parameter"));
            }
        }
        let mut ids = Vec::with_capacity(self.entries.len());
        for (name, values) in &self.entries {
            let unknown = || Error::param("weights", format!("`{name}`"), "the names of the plan's parameters");
            let id = plan.params().find(|&id| plan.name(id) == name).ok_or_else(unknown)?;
            if plan.space(id).dims() != values.dims() {
                return Err(Error::shape("weights", plan.space(id).dims(), values.dims()));
            }
            ids.push(id);
        }
        for (id, (_, values)) in ids.into_iter().zip(&self.entries) {
            session.set(id, values.as_slice());
        }
        Ok(())
    }

    /// The real parameters of a session.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a complex parameter.
    pub fn take(session: &Session<T>) -> Result<Self, Error> {
        let plan = session.plan().clone();
        let mut entries = Vec::new();
        for id in plan.params() {
            let (name, space) = (plan.name(id), plan.space(id));
            if space.words() != space.len() {
                return Err(Error::Unsupported { what: format!("weights file with the complex `{name}`") });
            }
            entries.push((name.to_string(), Tensor::from_vec(space.dims(), session.value(id).to_vec())?));
        }
        Ok(Weights { entries })
    }
}
