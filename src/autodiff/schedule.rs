//! From a graph to a list of steps: which nodes are computed, in what order, and which buffers each step touches.
//!
//! Forward runs the nodes in the order they were recorded. Backward runs them in reverse, segment by segment; a segment
//! that ends in a checkpoint is computed a second time first, as far as its backward pass reads it.

use std::ops::Range;

use crate::autodiff::arena::{Buffer, place};
use crate::autodiff::graph::{Graph, Node};
use crate::autodiff::op::Op;
use crate::error::Error;
use crate::op::Write;
use crate::real::Real;
use crate::shape::Space;

/// The buffers of one step: sorted ranges of the arena, and which role each plays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub parts: Vec<Range<usize>>,
    /// Values of the inputs; `None` where backward does not read them.
    pub x: Vec<Option<usize>>,
    pub y: Option<usize>,
    pub tape: Option<usize>,
    pub scratch: Option<usize>,
    pub dy: Option<usize>,
    pub dx: Vec<Option<(usize, Write)>>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    /// Computes the node's value.
    Forward,
    /// Sets the gradient of a loss to the number of times that it is one.
    Seed(usize),
    /// Computes the gradient of one input of an elementary operation; `at` is its place in a concatenation.
    Backward { input: usize, at: usize },
    /// Computes the gradients of all inputs of a function.
    Call,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub node: usize,
    pub action: Action,
    pub access: Access,
}

/// Where a node's numbers are, for the session and the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Of the value, while it is alive; none for nodes that are not computed.
    pub value: Option<Range<usize>>,
    /// Whether the value stays to the end.
    pub kept: bool,
    pub grad: Option<Range<usize>>,
    pub grad_kept: bool,
    /// Whether it is computed a second time.
    pub recomputed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub forward: Vec<Step>,
    pub backward: Vec<Step>,
    pub places: Vec<Place>,
    /// Words of all parameters, which come first in the arena; their gradients follow.
    pub params: usize,
    pub words: usize,
}

/// A step whose buffers have numbers, not yet places. Each list holds buffer numbers.
struct Draft {
    node: usize,
    action: Action,
    x: Vec<Option<usize>>,
    y: Option<usize>,
    tape: Option<usize>,
    scratch: Option<usize>,
    dy: Option<usize>,
    dx: Vec<Option<(usize, Write)>>,
}

impl Draft {
    fn buffers(&self) -> impl Iterator<Item = usize> + '_ {
        let dx = self.dx.iter().flatten().map(|(b, _)| *b);
        let single = [self.y, self.tape, self.scratch, self.dy].into_iter().flatten();
        self.x.iter().flatten().copied().chain(single).chain(dx)
    }
}

/// A buffer that stays: its life is the whole run.
const ALWAYS: usize = usize::MAX;

struct Drafter<'g, T: Real> {
    nodes: &'g [Node<T>],
    /// Whether a gradient is computed for the node.
    grad: Vec<bool>,
    lengths: Vec<usize>,
    kept: Vec<bool>,
    /// Buffers of the value and of the tape, from forward and from recomputation, and of the gradient.
    value: Vec<Option<usize>>,
    again: Vec<Option<usize>>,
    tape: Vec<Option<usize>>,
    gradient: Vec<Option<usize>>,
    /// Whether the gradient has had a writer.
    written: Vec<bool>,
    drafts: Vec<Draft>,
}

impl<T: Real> Drafter<'_, T> {
    fn buffer(&mut self, len: usize, kept: bool) -> usize {
        self.lengths.push(len);
        self.kept.push(kept);
        self.lengths.len() - 1
    }

    fn spaces(&self, n: usize) -> Vec<&Space> {
        self.nodes[n].inputs.iter().map(|&i| &self.nodes[i].space).collect()
    }

    fn needs(&self, n: usize) -> crate::autodiff::Needs {
        let wanted: Vec<bool> = self.nodes[n].inputs.iter().map(|&i| self.grad[i]).collect();
        self.nodes[n].op.needs(&self.spaces(n), &wanted)
    }

    fn scratch(&mut self, n: usize) -> Option<usize> {
        let len = self.nodes[n].op.scratch_len(&self.spaces(n));
        (len > 0).then(|| self.buffer(len, false))
    }

    /// The value that a later step reads.
    fn latest(&self, n: usize) -> Option<usize> {
        self.again[n].or(self.value[n])
    }

    /// Computes a node, into the buffer `y`.
    fn forward(&mut self, n: usize, y: usize) {
        let tape_len = self.needs(n).tape_len;
        let tape = (tape_len > 0).then(|| self.buffer(tape_len, false));
        self.tape[n] = tape;
        let scratch = self.scratch(n);
        let x = self.nodes[n].inputs.iter().map(|&i| self.latest(i)).collect();
        let draft = Draft { node: n, action: Action::Forward, x, y: Some(y), tape, scratch, dy: None, dx: Vec::new() };
        self.drafts.push(draft);
    }

    /// The gradient buffer of an input, which its first writer sets.
    fn gradient_of(&mut self, n: usize) -> (usize, Write) {
        let buffer = match self.gradient[n] {
            Some(b) => b,
            None => self.buffer(self.nodes[n].space.words(), false),
        };
        self.gradient[n] = Some(buffer);
        let first = !std::mem::replace(&mut self.written[n], true);
        (buffer, if first { Write::Set } else { Write::Add })
    }

    /// The gradients of a node's inputs.
    fn backward(&mut self, n: usize) {
        let inputs = self.nodes[n].inputs.clone();
        let needs = self.needs(n);
        let read = |i: usize| if needs.inputs.contains(&i) { self.latest(inputs[i]) } else { None };
        let x: Vec<Option<usize>> = (0..inputs.len()).map(read).collect();
        let y = if needs.output { self.latest(n) } else { None };
        let (dy, tape) = (self.gradient[n], self.tape[n]);
        if let Op::Call(_) = self.nodes[n].op {
            let dx = inputs.iter().map(|&i| if self.grad[i] { Some(self.gradient_of(i)) } else { None }).collect();
            let scratch = self.scratch(n);
            self.drafts.push(Draft { node: n, action: Action::Call, x, y, tape, scratch, dy, dx });
            return;
        }
        let outer = if let Op::Concat(outer) = self.nodes[n].op { outer } else { 1 };
        let mut at = 0;
        for (i, &input) in inputs.iter().enumerate() {
            if self.grad[input] {
                let dx = vec![Some(self.gradient_of(input))];
                let scratch = self.scratch(n);
                let action = Action::Backward { input: i, at };
                self.drafts.push(Draft { node: n, action, x: x.clone(), y, tape: None, scratch, dy, dx });
            }
            at += self.nodes[input].space.words() / outer;
        }
    }
}

/// What is asked of a plan, and what follows from it, one flag a node.
struct Demand {
    /// Is computed.
    live: Vec<bool>,
    /// Gets a gradient.
    grad: Vec<bool>,
    /// How many times it is a loss.
    loss: Vec<usize>,
    /// Its value or its gradient stays to the end.
    value_kept: Vec<bool>,
    grad_kept: Vec<bool>,
}

fn demand<T: Real>(graph: &Graph<T>, losses: &[usize]) -> Demand {
    let n = graph.nodes.len();
    let mut d = Demand {
        live: vec![false; n],
        grad: vec![false; n],
        loss: vec![0; n],
        value_kept: graph.nodes.iter().map(|n| n.op.is_leaf()).collect(),
        grad_kept: graph.nodes.iter().map(|n| matches!(n.op, Op::Param)).collect(),
    };
    for &l in losses {
        d.loss[l] += 1;
        d.value_kept[l] = true;
    }
    graph.outputs.iter().for_each(|&o| d.value_kept[o] = true);
    graph.wanted.iter().for_each(|&w| d.grad_kept[w] = true);

    // A gradient flows where a parameter stands before and a loss behind.
    let mut before = vec![false; n];
    for (i, node) in graph.nodes.iter().enumerate() {
        before[i] = d.grad_kept[i] || node.inputs.iter().any(|&x| before[x]);
    }
    let mut behind: Vec<bool> = d.loss.iter().map(|&c| c > 0).collect();
    for i in 0..n {
        d.live[i] = graph.nodes[i].op.is_leaf() || d.value_kept[i] || d.grad_kept[i];
    }
    for i in (0..n).rev() {
        for &x in &graph.nodes[i].inputs {
            behind[x] |= behind[i];
            d.live[x] |= d.live[i];
        }
    }
    (0..n).for_each(|i| d.grad[i] = before[i] && behind[i]);
    d
}

/// Plans the steps of a graph.
pub(crate) fn schedule<T: Real>(graph: &Graph<T>, losses: &[usize]) -> Result<Schedule, Error> {
    let nodes = &graph.nodes;
    let n = nodes.len();
    let demand = demand(graph, losses);
    let mut d = Drafter {
        nodes,
        grad: demand.grad.clone(),
        lengths: Vec::new(),
        kept: Vec::new(),
        value: vec![None; n],
        again: vec![None; n],
        tape: vec![None; n],
        gradient: vec![None; n],
        written: vec![false; n],
        drafts: Vec::new(),
    };

    // Inputs, and all that stays. Parameters and their gradients have their own place and are numbered last.
    let computed: Vec<usize> = (0..n).filter(|&i| demand.live[i] && !nodes[i].op.is_leaf()).collect();
    for i in 0..n {
        if !matches!(nodes[i].op, Op::Indices) && (demand.live[i] || nodes[i].op.is_leaf()) {
            d.value[i] = Some(d.buffer(nodes[i].space.words(), demand.value_kept[i]));
        }
        if demand.grad_kept[i] {
            d.gradient[i] = Some(d.buffer(nodes[i].space.words(), true));
        }
    }

    // The segment of a node: how many checkpoints stand before it.
    let mut segment = vec![0; n];
    for i in 1..n {
        segment[i] = segment[i - 1] + usize::from(graph.checkpoints.contains(&(i - 1)) && demand.live[i - 1]);
    }
    let last = computed.iter().map(|&i| segment[i]).max().unwrap_or(0);
    // Stored: read in a later segment, or kept, or in the last segment.
    let mut stored: Vec<bool> =
        (0..n).map(|i| nodes[i].op.is_leaf() || demand.value_kept[i] || segment[i] == last).collect();
    for &i in &computed {
        for &x in &nodes[i].inputs {
            stored[x] |= segment[x] != segment[i];
        }
    }

    for &i in &computed {
        let y = d.value[i].expect("a computed node has a value");
        d.forward(i, y);
    }
    let forward_steps = d.drafts.len();

    // Backward, from the losses.
    for i in (0..n).filter(|&i| demand.loss[i] > 0 && demand.grad[i]) {
        let (action, dy) = (Action::Seed(demand.loss[i]), Some(d.gradient_of(i).0));
        let (x, dx) = (Vec::new(), Vec::new());
        d.drafts.push(Draft { node: i, action, x, y: None, tape: None, scratch: None, dy, dx });
    }
    for s in (0..=last).rev() {
        let members: Vec<usize> = computed.iter().copied().filter(|&i| segment[i] == s).collect();
        if s < last {
            // What the segment's backward pass reads and was not stored, and what that is computed from.
            let mut again = vec![false; n];
            for &i in members.iter().filter(|&&i| demand.grad[i]) {
                let needs = d.needs(i);
                needs.inputs.iter().map(|&k| nodes[i].inputs[k]).for_each(|x| again[x] |= !stored[x]);
                again[i] |= !stored[i] && (needs.output || needs.tape_len > 0);
            }
            for &i in members.iter().rev() {
                if again[i] {
                    nodes[i].inputs.iter().for_each(|&x| again[x] |= !stored[x]);
                }
            }
            for &i in members.iter().filter(|&&i| again[i]) {
                let y = d.buffer(nodes[i].space.words(), false);
                d.forward(i, y);
                d.again[i] = Some(y);
            }
        }
        for &i in members.iter().rev().filter(|&&i| demand.grad[i]) {
            d.backward(i);
        }
    }
    finish(graph, &demand, d, forward_steps)
}

/// Lives of the buffers, their places, and the steps with ranges of the arena.
fn finish<T: Real>(
    graph: &Graph<T>,
    demand: &Demand,
    d: Drafter<'_, T>,
    forward_steps: usize,
) -> Result<Schedule, Error> {
    let n = graph.nodes.len();
    let mut buffers: Vec<Buffer> =
        d.lengths.iter().map(|&len| Buffer { len, first: ALWAYS, last: 0, offset: 0 }).collect();
    for (step, draft) in d.drafts.iter().enumerate() {
        for b in draft.buffers() {
            buffers[b].first = buffers[b].first.min(step);
            buffers[b].last = buffers[b].last.max(step);
        }
    }
    for (b, &kept) in buffers.iter_mut().zip(&d.kept) {
        if kept {
            (b.first, b.last) = (0, ALWAYS);
        }
    }

    // Parameters lie one after the other, then their gradients; all else above.
    let overflow = || Error::OutOfMemory { bytes: u64::MAX };
    let params: Vec<usize> = (0..n).filter(|&i| matches!(graph.nodes[i].op, Op::Param)).collect();
    let mut fixed = vec![false; buffers.len()];
    let mut at = 0usize;
    for list in [&d.value, &d.gradient] {
        for &i in &params {
            let b = list[i].expect("a parameter has a value and a gradient");
            buffers[b].offset = at;
            fixed[b] = true;
            at = at.checked_add(buffers[b].len).ok_or_else(overflow)?;
        }
    }
    let (base, params) = (at, at / 2);
    let mut moving: Vec<(usize, Buffer)> =
        buffers.iter().cloned().enumerate().filter(|(b, buffer)| !fixed[*b] && buffer.first != ALWAYS).collect();
    let mut list: Vec<Buffer> = moving.iter().map(|(_, b)| b.clone()).collect();
    let words = place(&mut list, base).ok_or_else(overflow)?;
    moving.iter_mut().zip(list).for_each(|((b, _), placed)| buffers[*b] = placed);

    let range = |b: usize| buffers[b].offset..buffers[b].offset + buffers[b].len;
    let steps: Vec<Step> = d.drafts.iter().map(|draft| resolve(draft, &range)).collect();
    let (forward, backward) = steps.split_at(forward_steps);
    let alive = |b: usize| (buffers[b].first != ALWAYS).then(|| range(b));
    let place_of = |i: usize| Place {
        value: d.value[i].and_then(alive),
        kept: demand.value_kept[i],
        grad: d.gradient[i].and_then(alive),
        grad_kept: demand.grad_kept[i],
        recomputed: d.again[i].is_some(),
    };
    Ok(Schedule {
        forward: forward.to_vec(),
        backward: backward.to_vec(),
        places: (0..n).map(place_of).collect(),
        params,
        words,
    })
}

/// Puts ranges in the place of buffer numbers: sorted, each once.
fn resolve(draft: &Draft, range: &dyn Fn(usize) -> Range<usize>) -> Step {
    let mut parts: Vec<Range<usize>> = draft.buffers().map(range).collect();
    parts.sort_by_key(|r| (r.start, r.end));
    parts.dedup();
    let part = |b: usize| {
        let r = range(b);
        parts.iter().position(|p| *p == r).expect("every buffer of the step is in the list")
    };
    let access = Access {
        x: draft.x.iter().map(|b| b.map(part)).collect(),
        y: draft.y.map(part),
        tape: draft.tape.map(part),
        scratch: draft.scratch.map(part),
        dy: draft.dy.map(part),
        dx: draft.dx.iter().map(|b| b.map(|(b, w)| (part(b), w))).collect(),
        parts: parts.clone(),
    };
    Step { node: draft.node, action: draft.action, access }
}
