//! Running statistics of a network's batch normalisations.

use crate::autodiff::{NodeId, Session};
use crate::error::Error;
use crate::nn::net::weights::Weights;
use crate::nn::norm::BatchStatistics;
use crate::real::Real;
use crate::tensor::Tensor;

/// By which mean and variance the batch normalisations of a [`crate::nn::Net`] evaluate. In training it is always those
/// of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch at hand, in evaluation too: what deep image priors do.
    #[default]
    Batch,
    /// Running ones, kept by [`RunningStatistics`]: what networks need that are trained on many images and used on one.
    Running,
}

/// One batch normalisation: its name, its state inputs µ and v (c), and the statistics (2, c) of the batch.
#[derive(Clone, Debug)]
pub(crate) struct NormState {
    pub name: String,
    pub mean: NodeId,
    pub variance: NodeId,
    pub batch: NodeId,
}

/// The running statistics of all batch normalisations that a [`crate::nn::Net`] recorded with [`Statistics::Running`]:
/// state that goes into a session as data and comes out of it as outputs.
///
/// ```text
/// µ ← (1 − m) µ + m µ_batch,   v ← (1 − m) v + m v_batch
/// ```
///
/// with the unbiased variance of the batch. In a file they stand beside the weights as `name.mean` and `name.variance`.
///
/// # References
/// S. Ioffe, C. Szegedy, arXiv 1502.03167, algorithm 2; m = 0.1 is the usual momentum.
///
/// # Examples
/// ```
/// use exitwave::autodiff::{Mode, PlanOptions, Session};
/// use exitwave::nn::{Net, NormOver, Statistics};
/// use exitwave::par::Par;
///
/// let mut net = Net::<f64>::new(&Par::seq());
/// net.statistics = Statistics::Running;
/// let x = net.input("x", &[4, 1, 2, 2]);
/// let y = net.norm("n", x, NormOver::Batch)?;
/// net.graph.output(y);
/// let loss = net.graph.mean(y)?;
/// let (weights, running) = (net.initial(1)?, net.running());
///
/// let mut session = Session::new(&net.graph.plan(&[loss], PlanOptions::default())?)?;
/// weights.store(&mut session)?;
/// running.reset(&mut session);
/// let batch: Vec<f64> = (0..16).map(f64::from).collect();
/// for step in 0..200 {
///     session.set(x, &batch);
///     session.forward(Mode::Train { step })?;
///     running.update(&mut session, 0.1);
/// }
/// // One image in evaluation is normalised by the mean 7.5 of all.
/// session.set(x, &[7.5; 16]);
/// session.forward(Mode::Eval)?;
/// assert!(session.value(y).iter().all(|y| y.abs() < 1e-6));
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunningStatistics {
    pub(crate) norms: Vec<NormState>,
}

impl RunningStatistics {
    /// Whether the network has none.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// Sets every mean to 0 and every variance to 1.
    ///
    /// # Panics
    /// If the session is of another network.
    pub fn reset<T: Real>(&self, session: &mut Session<T>) {
        for n in &self.norms {
            session.input(n.mean).fill(T::ZERO);
            session.input(n.variance).fill(T::ONE);
        }
    }

    /// Mixes the statistics of the last run in training mode into the running ones, with the weight `momentum`.
    ///
    /// # Panics
    /// If the session is of another network, or has not run.
    pub fn update<T: Real>(&self, session: &mut Session<T>, momentum: f64) {
        // Setting an input ends the run, so that all statistics are read first.
        let batch: Vec<Vec<T>> = self.norms.iter().map(|n| session.value(n.batch).to_vec()).collect();
        for (n, batch) in self.norms.iter().zip(&batch) {
            let (mean, variance) = batch.split_at(batch.len() / 2);
            BatchStatistics::update(session.input(n.mean), mean, momentum);
            BatchStatistics::update(session.input(n.variance), variance, momentum);
        }
    }

    /// The parameters of a session, and its running statistics behind them.
    ///
    /// # Errors
    /// Those of [`Weights::take`].
    ///
    /// # Panics
    /// If the session is of another network.
    pub fn take<T: Real>(&self, session: &Session<T>) -> Result<Weights<T>, Error> {
        let mut weights = Weights::take(session)?;
        for n in &self.norms {
            for (part, id) in [("mean", n.mean), ("variance", n.variance)] {
                let values = session.value(id).to_vec();
                weights.entries.push((format!("{}.{part}", n.name), Tensor::from_vec(&[values.len()], values)?));
            }
        }
        Ok(weights)
    }

    /// Puts parameters and running statistics into a session.
    ///
    /// # Errors
    /// As [`Weights::store`], for the statistics too; the session is then unchanged.
    ///
    /// # Panics
    /// If the session is of another network.
    pub fn store<T: Real>(&self, weights: &Weights<T>, session: &mut Session<T>) -> Result<(), Error> {
        let mut found = Vec::new();
        for n in &self.norms {
            for (part, id) in [("mean", n.mean), ("variance", n.variance)] {
                let name = format!("{}.{part}", n.name);
                let Some(values) = weights.get(&name) else {
                    return Err(Error::param(
                        "weights",
                        format!("no `{name}`"),
                        "the running statistics of every norm",
                    ));
                };
                let plan = session.plan();
                if plan.space(id).dims() != values.dims() {
                    return Err(Error::shape("weights", plan.space(id).dims(), values.dims()));
                }
                found.push((name, id, values));
            }
        }
        let is_state = |name: &String| found.iter().any(|(n, ..)| n == name);
        let entries = weights.entries.iter().filter(|(name, _)| !is_state(name)).cloned().collect();
        Weights { entries }.store(session)?;
        found.iter().for_each(|(_, id, values)| session.set(*id, values.as_slice()));
        Ok(())
    }
}
