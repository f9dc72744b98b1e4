//! A planned computation: its steps, its memory, and a table of both.

use std::fmt;
use std::sync::Arc;

use crate::autodiff::graph::{Graph, Node, NodeId};
use crate::autodiff::op::Op;
use crate::autodiff::schedule::{Schedule, schedule};
use crate::error::Error;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Limits, Space};

/// How a graph is planned.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The most memory that a session may take.
    pub limits: Limits,
    /// Threads of the elementary operations. Operators and functions bring their own.
    pub par: Par,
}

/// A computation that is ready to run: every shape checked, every buffer placed. It is made by [`Graph::plan`], holds no
/// numbers itself, and may be shared by many [`crate::autodiff::Session`]s.
///
/// It prints as a table: one line a node with its operation, its space, and the offset and bytes of its value.
#[derive(Debug)]
pub struct Plan<T: Real> {
    pub(crate) nodes: Vec<Node<T>>,
    pub(crate) losses: Vec<usize>,
    pub(crate) schedule: Schedule,
    /// Where each index input begins, by node; their total.
    pub(crate) index_at: Vec<usize>,
    pub(crate) index_len: usize,
    pub(crate) par: Par,
}

impl<T: Real> Plan<T> {
    pub(crate) fn new(graph: Graph<T>, losses: &[NodeId], options: PlanOptions) -> Result<Arc<Self>, Error> {
        let losses: Vec<usize> = losses.iter().map(|l| l.0).collect();
        let schedule = schedule(&graph, &losses)?;
        let (mut index_at, mut index_len) = (Vec::new(), 0usize);
        for node in &graph.nodes {
            index_at.push(index_len);
            if matches!(node.op, Op::Indices) {
                index_len = index_len.saturating_add(node.space.len());
            }
        }
        let plan = Plan { nodes: graph.nodes, losses, schedule, index_at, index_len, par: options.par };
        options.limits.check(plan.bytes())?;
        Ok(Arc::new(plan))
    }

    /// The bytes that a session allocates: the arena of all numbers, the integers, and a flag a node. It allocates nothing
    /// after that.
    pub fn bytes(&self) -> u64 {
        let words = (self.schedule.words as u64).saturating_mul(size_of::<T>() as u64);
        words.saturating_add(self.index_len as u64 * 4).saturating_add(self.nodes.len() as u64)
    }

    /// The node of an input with this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.op.is_leaf() && n.name == name).map(NodeId)
    }

    /// The parameters, in the order in which they were recorded: the order of [`crate::autodiff::Session::params`].
    pub fn params(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().enumerate().filter(|(_, n)| matches!(n.op, Op::Param)).map(|(i, _)| NodeId(i))
    }

    /// Words of all parameters.
    pub fn param_words(&self) -> usize {
        self.schedule.params
    }

    /// The name of a node.
    ///
    /// # Panics
    /// If the node is not of this plan.
    pub fn name(&self, id: NodeId) -> &str {
        &self.nodes[id.0].name
    }

    /// The space of a node.
    ///
    /// # Panics
    /// If the node is not of this plan.
    pub fn space(&self, id: NodeId) -> &Space {
        &self.nodes[id.0].space
    }
}

impl<T: Real> fmt::Display for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = size_of::<T>();
        writeln!(
            f,
            "{:>4}  {:<20} {:<16} {:<26} {:>12} {:>12}  notes",
            "node", "name", "op", "space", "offset", "bytes"
        )?;
        for (i, node) in self.nodes.iter().enumerate() {
            let place = &self.schedule.places[i];
            let space = format!("{:?}{:?}", node.space.field(), node.space.dims());
            let (offset, bytes) = match &place.value {
                Some(r) => ((r.start * word).to_string(), (r.len() * word).to_string()),
                None if matches!(node.op, Op::Indices) => ("-".into(), (node.space.len() * 4).to_string()),
                None => ("-".into(), "0".into()),
            };
            let mut notes = Vec::new();
            if self.losses.contains(&i) {
                notes.push("loss".to_string());
            } else if place.kept && !node.op.is_leaf() {
                notes.push("kept".into());
            }
            if let Some(r) = &place.grad {
                notes.push(format!("gradient at {}", r.start * word));
            }
            if place.recomputed {
                notes.push("computed twice".into());
            }
            if place.value.is_none() && !matches!(node.op, Op::Indices) {
                notes.push("not computed".into());
            }
            let (op, notes) = (node.op.label(), notes.join(", "));
            writeln!(f, "{i:>4}  {:<20} {op:<16} {space:<26} {offset:>12} {bytes:>12}  {notes}", node.name)?;
        }
        let sum: usize = self.schedule.places.iter().flat_map(|p| [&p.value, &p.grad]).flatten().map(|r| r.len()).sum();
        writeln!(
            f,
            "{} bytes in one arena for {} bytes of values and gradients; {} steps forward, {} back; a session takes {} bytes",
            self.schedule.words * word,
            sum * word,
            self.schedule.forward.len(),
            self.schedule.backward.len(),
            self.bytes()
        )
    }
}
