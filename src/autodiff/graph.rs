//! A computation, recorded once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::autodiff::op::Op;
use crate::autodiff::plan::{Plan, PlanOptions};
use crate::autodiff::{Function, MAX_INPUTS};
use crate::error::Error;
use crate::op::LinearOp;
use crate::op::linear_op::{checked_words, same_space};
use crate::real::Real;
use crate::shape::Space;

/// A node of one graph, and of the plan and the sessions that were made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

#[derive(Clone, Debug)]
pub(crate) struct Node<T: Real> {
    pub op: Op<T>,
    pub inputs: Vec<usize>,
    /// The index input of a gather or scatter.
    pub index: Option<usize>,
    pub space: Space,
    pub name: String,
}

/// A computation on real and complex arrays, recorded node by node, to be planned once and run many times.
///
/// Inputs are [`Graph::param`] (differentiated), [`Graph::data`] and [`Graph::indices`] (set before a run). Elementary
/// operations are methods; any linear operator enters through [`Graph::linear`], any other function with its own
/// gradient through [`Graph::call`]. Dimensions and field are checked as each node is recorded, and an error names the
/// operation and its operands.
///
/// A node may be used any number of times. Nodes that no loss and no output depends on are not computed.
///
/// # Examples
/// The modulus of a diffracted wave is fitted to a measurement, `L = Σ (|F(p)|² − I)²`:
/// ```
/// use std::sync::Arc;
/// use exitwave::autodiff::{Graph, Mode, PlanOptions, Session};
/// use exitwave::fft::Dft;
/// use exitwave::shape::Space;
///
/// let mut g = Graph::<f64>::new();
/// let p = g.param("p", Space::complex(&[8, 8]));
/// let measured = g.data("I", Space::real(&[8, 8]));
/// let wave = g.linear(Arc::new(Dft::new(&[8, 8], 2)?), p)?;
/// let intensity = g.abs2(wave)?;
/// let residual = g.sub(intensity, measured)?;
/// let squares = g.abs2(residual)?;
/// let loss = g.sum(squares)?;
///
/// let plan = g.plan(&[loss], PlanOptions::default())?;
/// println!("{plan}");
/// let mut session = Session::new(&plan)?;
/// session.set(p, &[0.5; 128]);
/// session.set(measured, &[1.0; 64]);
/// let before = session.forward(Mode::Train { step: 0 })?;
/// session.backward();
/// let (params, gradient) = session.params_and_grads();
/// params.iter_mut().zip(gradient).for_each(|(p, g)| *p -= 1e-4 * g);
/// assert!(session.forward(Mode::Train { step: 1 })? < before);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph<T: Real> {
    pub(crate) nodes: Vec<Node<T>>,
    pub(crate) checkpoints: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) wanted: Vec<usize>,
}

impl<T: Real> Default for Graph<T> {
    fn default() -> Self {
        Graph::new()
    }
}

impl<T: Real> Graph<T> {
    /// A graph without nodes.
    pub fn new() -> Self {
        Graph { nodes: Vec::new(), checkpoints: Vec::new(), outputs: Vec::new(), wanted: Vec::new() }
    }

    /// An input that is differentiated: weights, an object, a probe, coefficients. Its name must be its own; a space
    /// without elements is reported by [`Graph::plan`].
    pub fn param(&mut self, name: &str, space: Space) -> NodeId {
        self.leaf(Op::Param, name, space)
    }

    /// An input that is set before a run and not differentiated: measurements, the noise of a deep image prior, weights
    /// of a loss.
    pub fn data(&mut self, name: &str, space: Space) -> NodeId {
        self.leaf(Op::Data, name, space)
    }

    /// An input of `len` integers: scan positions, members of a batch.
    pub fn indices(&mut self, name: &str, len: usize) -> NodeId {
        self.leaf(Op::Indices, name, Space::real(&[len]))
    }

    fn leaf(&mut self, op: Op<T>, name: &str, space: Space) -> NodeId {
        self.nodes.push(Node { op, inputs: Vec::new(), index: None, space, name: name.to_string() });
        NodeId(self.nodes.len() - 1)
    }

    /// `y = A x`, for any linear operator; the gradient is `g_x = Aᴴ g_y`.
    ///
    /// # Errors
    /// If x does not live in the operator's domain.
    pub fn linear(&mut self, op: Arc<dyn LinearOp<T>>, x: NodeId) -> Result<NodeId, Error> {
        let space = op.range().clone();
        let domain = op.domain().clone();
        let op = Op::Linear(op);
        let check = self.value(x).and_then(|got| same_space("linear: domain", &domain, got));
        self.named(&op, &[x], check)?;
        self.push(op, &[x], None, space)
    }

    /// `y = f(x₀, x₁, …)`, for any function that brings its own vector–Jacobian product.
    ///
    /// # Errors
    /// Those of [`Function::infer`], with the operands' names; [`Error::Param`] for more than 16 operands.
    pub fn call(&mut self, f: Arc<dyn Function<T>>, x: &[NodeId]) -> Result<NodeId, Error> {
        let op = Op::Call(f.clone());
        let infer = || {
            if x.len() > MAX_INPUTS {
                return Err(Error::param("x", x.len(), "at most 16 operands"));
            }
            let spaces = x.iter().map(|&x| self.value(x)).collect::<Result<Vec<_>, _>>()?;
            f.infer(&spaces)
        };
        let space = self.named(&op, x, infer())?;
        // A gradient buffer has one writer at a time: an operand that stands there twice is copied.
        let mut operands = x.to_vec();
        for i in 1..x.len() {
            if x[..i].contains(&x[i]) {
                let dims = self.nodes[x[i].0].space.dims().to_vec();
                operands[i] = self.reshape(x[i], &dims)?;
            }
        }
        self.push(op, &operands, None, space)
    }

    /// Gives a node a name for tables and errors; it is `operation#number` otherwise.
    ///
    /// # Panics
    /// If the node is not of this graph.
    pub fn set_name(&mut self, x: NodeId, name: &str) {
        self.nodes[x.0].name = name.to_string();
    }

    /// The name of a node.
    ///
    /// # Panics
    /// If the node is not of this graph.
    pub fn name(&self, x: NodeId) -> &str {
        &self.nodes[x.0].name
    }

    /// The space of a node.
    ///
    /// # Panics
    /// If the node is not of this graph.
    pub fn space(&self, x: NodeId) -> &Space {
        &self.nodes[x.0].space
    }

    /// Keeps the value of a node, for [`crate::autodiff::Session::value`].
    ///
    /// # Panics
    /// If the node is not of this graph.
    pub fn output(&mut self, x: NodeId) {
        assert!(x.0 < self.nodes.len(), "Graph::output: not a node of this graph");
        self.outputs.push(x.0);
    }

    /// Keeps the gradient of a node that is not a parameter, for [`crate::autodiff::Session::grad`].
    ///
    /// # Errors
    /// [`Error::Node`] for data and integers, which have none.
    pub fn want_grad(&mut self, x: NodeId) -> Result<(), Error> {
        self.value(x)?;
        let node = &self.nodes[x.0];
        if matches!(node.op, Op::Data) {
            let what = "the gradient of a data input (record it as a `param`)".into();
            return Err(Error::node(&node.name, Error::Unsupported { what }));
        }
        self.wanted.push(x.0);
        Ok(())
    }

    /// Ends a segment: of the nodes recorded since the last checkpoint, only x, and what later segments or outputs use,
    /// is kept for the backward pass; the others are computed a second time. Nodes recorded after the last checkpoint are
    /// kept.
    ///
    /// With k equal segments of a chain of n nodes the values take n/k + k buffers in the place of n, for one more forward
    /// pass: k = √n is the best.
    ///
    /// # References
    /// T. Chen, B. Xu, C. Zhang, C. Guestrin, arXiv:1604.06174 (2016), section 4.1.
    ///
    /// # Panics
    /// If the node is not of this graph.
    pub fn checkpoint(&mut self, x: NodeId) {
        assert!(x.0 < self.nodes.len(), "Graph::checkpoint: not a node of this graph");
        self.checkpoints.push(x.0);
    }

    /// Plans the computation: which nodes are needed, when each value is alive, and where in one arena it lies. The
    /// gradient is that of the sum of the losses. Without losses the plan computes outputs only.
    ///
    /// # Errors
    /// - [`Error::Node`] for a loss that is not one real number, for two inputs of one name, and for an input without
    ///   elements,
    /// - [`Error::OverBudget`] when the plan needs more than `options.limits`.
    pub fn plan(self, losses: &[NodeId], options: PlanOptions) -> Result<Arc<Plan<T>>, Error> {
        let mut names = HashSet::new();
        for node in self.nodes.iter().filter(|n| n.op.is_leaf()) {
            checked_words("space", &node.space).map_err(|e| Error::node(&node.name, e))?;
            if !names.insert(&node.name) {
                return Err(Error::node(&node.name, Error::param("name", &node.name, "a name of its own")));
            }
        }
        for &loss in losses {
            let space = self.value(loss)?;
            if space.words() != 1 {
                let e = Error::Unsupported { what: format!("a loss of {space:?} (expected one real number)") };
                return Err(Error::node(self.name(loss), e));
            }
        }
        Plan::new(self, losses, options)
    }

    /// The space of a node that holds numbers.
    pub(crate) fn value(&self, x: NodeId) -> Result<&Space, Error> {
        let node = self.nodes.get(x.0).ok_or_else(|| Error::param("node", x.0, "a node of this graph"))?;
        if matches!(node.op, Op::Indices) {
            let what = "an index input in the place of numbers: integers are not differentiated".into();
            return Err(Error::node(&node.name, Error::Unsupported { what }));
        }
        if node.op.is_leaf() {
            checked_words("space", &node.space).map_err(|e| Error::node(&node.name, e))?;
        }
        Ok(&node.space)
    }

    /// Adds the operation and the names of its operands to an error.
    pub(crate) fn named<R>(&self, op: &Op<T>, x: &[NodeId], result: Result<R, Error>) -> Result<R, Error> {
        result.map_err(|e| {
            let name = |x: &NodeId| match self.nodes.get(x.0) {
                Some(n) => format!("{} {:?}{:?}", n.name, n.space.field(), n.space.dims()),
                None => "?".into(),
            };
            let names: Vec<String> = x.iter().map(name).collect();
            Error::node(format!("{}({})", op.label(), names.join(", ")), e)
        })
    }

    pub(crate) fn push(
        &mut self,
        op: Op<T>,
        x: &[NodeId],
        index: Option<NodeId>,
        space: Space,
    ) -> Result<NodeId, Error> {
        self.named(&op, x, checked_words("space", &space))?;
        let name = format!("{}#{}", op.label(), self.nodes.len());
        let inputs = x.iter().map(|x| x.0).collect();
        self.nodes.push(Node { op, inputs, index: index.map(|i| i.0), space, name });
        Ok(NodeId(self.nodes.len() - 1))
    }
}
