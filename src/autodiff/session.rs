//! Running a plan: one arena, no allocation.

use std::sync::Arc;

use num_complex::Complex;

use crate::autodiff::arena::split;
use crate::autodiff::graph::{Node, NodeId};
use crate::autodiff::op::Op;
use crate::autodiff::plan::Plan;
use crate::autodiff::schedule::{Action, Step};
use crate::autodiff::{MAX_INPUTS, Mode};
use crate::error::{Error, check_len};
use crate::op::Write;
use crate::real::Real;
use crate::shape::{Field, try_zeroed};

/// What may be asked next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Fresh,
    Forward,
    Backward,
}

/// The numbers of one run of a [`Plan`]: parameters, data, values and gradients, in one arena.
///
/// It allocates when it is made, and neither in [`Session::forward`] nor in [`Session::backward`] (with more than one
/// thread, the thread pool's own bookkeeping apart). Complex arrays are twice as many words, real part first.
///
/// See [`crate::autodiff::Graph`] for an example.
#[derive(Debug)]
pub struct Session<T: Real> {
    plan: Arc<Plan<T>>,
    arena: Vec<T>,
    indices: Vec<u32>,
    /// Which inputs were set.
    set: Vec<bool>,
    mode: Mode,
    state: State,
}

impl<T: Real> Session<T> {
    /// Allocates what [`Plan::bytes`] says. Parameters and data must be set before the first run.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(plan: &Arc<Plan<T>>) -> Result<Self, Error> {
        Ok(Session {
            arena: try_zeroed(plan.schedule.words)?,
            indices: try_zeroed(plan.index_len)?,
            set: try_zeroed(plan.nodes.len())?,
            plan: plan.clone(),
            mode: Mode::Eval,
            state: State::Fresh,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan<T>> {
        &self.plan
    }

    /// Sets a parameter or data input.
    ///
    /// # Panics
    /// If the node is no such input, or has another number of words.
    pub fn set(&mut self, id: NodeId, words: &[T]) {
        let slot = self.input(id);
        check_len("Session::set", "words", slot.len(), words.len());
        slot.copy_from_slice(words);
    }

    /// Sets a complex parameter or data input.
    ///
    /// # Panics
    /// If the node is no such input, is not complex, or has another number of elements.
    pub fn set_complex(&mut self, id: NodeId, values: &[Complex<T>]) {
        let node = &self.plan.nodes[id.0];
        assert!(node.space.field() == Field::Complex, "Session::set_complex: `{}` is real", node.name);
        self.set(id, bytemuck::cast_slice(values));
    }

    /// A parameter or data input, to be written in place; it counts as set.
    ///
    /// # Panics
    /// If the node is no such input.
    pub fn input(&mut self, id: NodeId) -> &mut [T] {
        let node = &self.plan.nodes[id.0];
        assert!(matches!(node.op, Op::Param | Op::Data), "Session::set: `{}` is not a param or data input", node.name);
        self.set[id.0] = true;
        self.state = State::Fresh;
        let range = self.plan.schedule.places[id.0].value.clone().expect("an input has a place");
        &mut self.arena[range]
    }

    /// Sets an index input.
    ///
    /// # Panics
    /// If the node is no index input, or has another length.
    pub fn set_indices(&mut self, id: NodeId, indices: &[u32]) {
        let node = &self.plan.nodes[id.0];
        assert!(matches!(node.op, Op::Indices), "Session::set_indices: `{}` is not an index input", node.name);
        check_len("Session::set_indices", "indices", node.space.len(), indices.len());
        let at = self.plan.index_at[id.0];
        self.indices[at..at + indices.len()].copy_from_slice(indices);
        self.set[id.0] = true;
        self.state = State::Fresh;
    }

    /// All parameters, one after the other in the order of [`Plan::params`].
    pub fn params(&self) -> &[T] {
        &self.arena[..self.plan.schedule.params]
    }

    /// All parameters, and the gradients that the last [`Session::backward`] wrote, in the same order: what an optimizer
    /// takes. All parameters count as set.
    pub fn params_and_grads(&mut self) -> (&mut [T], &[T]) {
        let plan = self.plan.clone();
        plan.params().for_each(|id| self.set[id.0] = true);
        let (params, rest) = self.arena.split_at_mut(plan.schedule.params);
        if self.state == State::Forward {
            self.state = State::Fresh;
        }
        (params, &rest[..plan.schedule.params])
    }

    /// The gradients of all parameters, in the order of [`Session::params`].
    pub fn grads(&self) -> &[T] {
        let n = self.plan.schedule.params;
        &self.arena[n..2 * n]
    }

    /// Computes all values; returns the sum of the losses, 0 without any.
    ///
    /// # Errors
    /// - [`Error::Node`] for an input that was not set, and for an index that is out of range,
    /// - [`Error::NotFinite`] when the loss is NaN or infinite: with the first node that holds such a number (inputs
    ///   first), and the step of the mode.
    pub fn forward(&mut self, mode: Mode) -> Result<T, Error> {
        self.mode = mode;
        self.state = State::Fresh;
        let plan = self.plan.clone();
        self.check_inputs(&plan)?;
        for step in &plan.schedule.forward {
            run(&plan, step, mode, &self.indices, &mut self.arena);
        }
        let value = |&l: &usize| self.arena[plan.schedule.places[l].value.clone().expect("a loss has a value")][0];
        let loss: T = plan.losses.iter().map(value).sum();
        if !loss.is_finite() {
            return Err(self.not_finite(&plan));
        }
        self.state = State::Forward;
        Ok(loss)
    }

    /// Computes the gradient of the sum of the losses.
    ///
    /// # Panics
    /// If the last call, apart from readings, was not a successful [`Session::forward`]: its values are gone.
    pub fn backward(&mut self) {
        assert!(self.state == State::Forward, "Session::backward: call `forward` first (and once for each `backward`)");
        let plan = self.plan.clone();
        for step in &plan.schedule.backward {
            run(&plan, step, self.mode, &self.indices, &mut self.arena);
        }
        self.state = State::Backward;
    }

    /// Loss and gradient at the given parameters, as an optimizer asks for them: sets all parameters, runs both passes and
    /// copies the gradient.
    ///
    /// # Errors
    /// Those of [`Session::forward`].
    ///
    /// # Panics
    /// If the lengths are not those of [`Session::params`].
    pub fn evaluate(&mut self, params: &[T], mode: Mode, gradient: &mut [T]) -> Result<f64, Error> {
        check_len("Session::evaluate", "params", self.plan.schedule.params, params.len());
        check_len("Session::evaluate", "gradient", self.plan.schedule.params, gradient.len());
        self.params_and_grads().0.copy_from_slice(params);
        let loss = self.forward(mode)?;
        self.backward();
        gradient.copy_from_slice(self.grads());
        Ok(loss.f64())
    }

    /// The value of an input, a loss, or a node kept by [`crate::autodiff::Graph::output`], as words.
    ///
    /// # Panics
    /// If the node is none of these: its buffer was used again.
    pub fn value(&self, id: NodeId) -> &[T] {
        let (node, place) = (&self.plan.nodes[id.0], &self.plan.schedule.places[id.0]);
        match &place.value {
            Some(range) if place.kept => &self.arena[range.clone()],
            _ => panic!("Session::value: `{}` is not kept (see Graph::output)", node.name),
        }
    }

    /// The value of a complex node; see [`Session::value`].
    ///
    /// # Panics
    /// As [`Session::value`], and if the node is real.
    pub fn value_complex(&self, id: NodeId) -> &[Complex<T>] {
        let node = &self.plan.nodes[id.0];
        assert!(node.space.field() == Field::Complex, "Session::value_complex: `{}` is real", node.name);
        bytemuck::cast_slice(self.value(id))
    }

    /// The gradient that the last [`Session::backward`] wrote for a parameter, or for a node named to
    /// [`crate::autodiff::Graph::want_grad`], as words: `∂L/∂a`, or for complex elements `∂L/∂a, ∂L/∂b`.
    ///
    /// # Panics
    /// If the node has no gradient that is kept; [`Session::try_grad`] returns the error.
    pub fn grad(&self, id: NodeId) -> &[T] {
        self.try_grad(id).unwrap_or_else(|e| panic!("Session::grad: {e}"))
    }

    /// As [`Session::grad`].
    ///
    /// # Errors
    /// [`Error::Node`] for integers and data, which have no gradient, and for nodes whose gradient is not kept.
    pub fn try_grad(&self, id: NodeId) -> Result<&[T], Error> {
        let Some(node) = self.plan.nodes.get(id.0) else {
            return Err(Error::param("node", id.0, "a node of this plan"));
        };
        let place = &self.plan.schedule.places[id.0];
        match (&node.op, &place.grad) {
            (_, Some(range)) if place.grad_kept => Ok(&self.arena[range.clone()]),
            (op, _) => {
                let (field, dims) = (node.space.field(), node.space.dims());
                let what = match op {
                    Op::Indices => format!("the gradient of an integer input, {dims:?}"),
                    Op::Data => format!("the gradient of a data input, {field:?}{dims:?} (record it as a `param`)"),
                    _ => format!("the gradient of a {field:?}{dims:?} that is not kept (see Graph::want_grad)"),
                };
                Err(Error::node(&node.name, Error::Unsupported { what }))
            }
        }
    }

    /// Whether every input was set, and every window lies inside its image.
    fn check_inputs(&self, plan: &Plan<T>) -> Result<(), Error> {
        for (i, node) in plan.nodes.iter().enumerate() {
            if node.op.is_leaf() && !self.set[i] {
                return Err(Error::node(
                    &node.name,
                    Error::param("value", "not set", "a call of `set` before `forward`"),
                ));
            }
            let windows = match &node.op {
                Op::Gather(windows) | Op::Scatter(windows) => windows,
                _ => continue,
            };
            if let Some(index) = windows.outside(index_of(plan, node, &self.indices)) {
                let input = &plan.nodes[node.index.unwrap_or(i)].name;
                let [ny, nx] = windows.image;
                let what = format!("`{input}`: a window outside the {ny} rows and {} columns", nx / windows.element);
                return Err(Error::node(&node.name, Error::Data { what, index }));
            }
        }
        Ok(())
    }

    /// Runs forward once more and looks for the first node that is not finite.
    #[cold]
    fn not_finite(&mut self, plan: &Plan<T>) -> Error {
        let step = if let Mode::Train { step } = self.mode { step as usize } else { 0 };
        let bad = |arena: &[T], node: usize| {
            let range = plan.schedule.places[node].value.clone();
            range.is_some_and(|r| arena[r].iter().any(|x| !x.is_finite()))
        };
        let named = |node: usize| Error::NotFinite { node: plan.nodes[node].name.clone(), step };
        for (i, _) in plan.nodes.iter().enumerate().filter(|(_, n)| n.op.is_leaf()) {
            if bad(&self.arena, i) {
                return named(i);
            }
        }
        for step in &plan.schedule.forward {
            run(plan, step, self.mode, &self.indices, &mut self.arena);
            if bad(&self.arena, step.node) {
                return named(step.node);
            }
        }
        // Each loss is finite, their sum is not.
        named(plan.losses[0])
    }
}

/// The integers that a node reads.
fn index_of<'a, T: Real>(plan: &Plan<T>, node: &Node<T>, indices: &'a [u32]) -> &'a [u32] {
    match node.index {
        Some(i) => &indices[plan.index_at[i]..][..plan.nodes[i].space.len()],
        None => &[],
    }
}

/// One step.
fn run<T: Real>(plan: &Plan<T>, step: &Step, mode: Mode, indices: &[u32], arena: &mut [T]) {
    let node = &plan.nodes[step.node];
    let access = &step.access;
    let index = index_of(plan, node, indices);
    let mut parts = split(arena, &access.parts);

    // What is written is taken out of the parts; the others are then lent for reading.
    let mut take = |part: Option<usize>| part.map_or_else(Default::default, |p| std::mem::take(&mut parts[p]));
    let scratch = take(access.scratch);
    match step.action {
        Action::Seed(count) => take(access.dy)[0] = T::of(count as f64),
        Action::Forward => {
            let (y, tape) = (take(access.y), take(access.tape));
            let mut x: [&[T]; MAX_INPUTS] = [&[]; MAX_INPUTS];
            x.iter_mut().zip(&access.x).for_each(|(x, p)| *x = p.map_or(&[], |p| &*parts[p]));
            let x = &x[..access.x.len()];
            match &node.op {
                Op::Linear(a) => a.apply(x[0], y, Write::Set, scratch),
                Op::Call(f) => f.forward(x, y, tape, scratch, mode),
                op => op.forward(x, index, y, &plan.par),
            }
        }
        Action::Backward { .. } | Action::Call => {
            let mut dx: [Option<(&mut [T], Write)>; MAX_INPUTS] = [const { None }; MAX_INPUTS];
            dx.iter_mut().zip(&access.dx).for_each(|(dx, p)| *dx = p.map(|(p, w)| (take(Some(p)), w)));
            let read = |p: Option<usize>| -> &[T] { p.map_or(&[], |p| &*parts[p]) };
            let mut x: [&[T]; MAX_INPUTS] = [&[]; MAX_INPUTS];
            x.iter_mut().zip(&access.x).for_each(|(x, p)| *x = read(*p));
            let (x, y, tape, dy) = (&x[..access.x.len()], read(access.y), read(access.tape), read(access.dy));
            match (&node.op, step.action) {
                (Op::Call(f), _) => f.backward(x, y, tape, dy, &mut dx[..access.dx.len()], scratch),
                (op, Action::Backward { input, at }) => {
                    let (dx, w) = dx[0].take().expect("a step of an elementary operation has one gradient");
                    match op {
                        Op::Linear(a) => a.apply_adjoint(dy, dx, w, scratch),
                        op => op.backward(input, at, x, index, y, dy, dx, w, &plan.par),
                    }
                }
                _ => unreachable!("`Action::Call` belongs to `Op::Call`"),
            }
        }
    }
}
