//! `autodiff`: the gradient of every operation, and of compositions, is that of finite differences.

use std::sync::Arc;

use exitwave::Error;
use exitwave::autodiff::{
    Function, GradCheckParams, Graph, Mode, Needs, NodeId, Plan, PlanOptions, Session, grad_check,
};
use exitwave::fft::Dft;
use exitwave::op::{Write, write};
use exitwave::par::Par;
use exitwave::shape::{Field, Limits, Space};
use num_complex::Complex;
use proptest::prelude::*;

use crate::dense::{Dense, normals};

type G = Graph<f64>;
type Node = Result<NodeId, Error>;

fn options() -> PlanOptions {
    PlanOptions { par: Par::seq(), limits: Limits::default() }
}

/// ⟨random data, y⟩ as the loss, so that every word of y counts differently.
fn weighted(g: &mut G, y: NodeId) -> NodeId {
    let space = g.space(y).clone();
    let w = g.data(&format!("weights of {}", y_name(g, y)), space);
    g.dot(w, y).unwrap()
}

fn y_name(g: &G, y: NodeId) -> String {
    g.name(y).to_string()
}

/// A session with normal numbers in every parameter and data input; `positive` ones are away from zero.
fn session(plan: &Arc<Plan<f64>>, seed: u64, positive: bool) -> Session<f64> {
    let mut s = Session::new(plan).unwrap();
    for i in 0.. {
        let Some(id) = plan.find(&format!("p{i}")).or_else(|| plan.find(&format!("d{i}"))) else { break };
        let v = normals(plan.space(id).words(), seed + i);
        s.set(id, &v.iter().map(|v| if positive { v.abs() + 0.5 } else { *v }).collect::<Vec<_>>());
    }
    s
}

/// Gives the weights of [`weighted`] their numbers.
fn set_weights(s: &mut Session<f64>, name: &str, seed: u64) {
    let id = s.plan().find(name).unwrap();
    let n = s.plan().space(id).words();
    s.set(id, &normals(n, seed + 1000));
}

fn passes(s: &mut Session<f64>, what: &str) {
    let found = grad_check(s, &GradCheckParams::default()).unwrap();
    assert!(found.error <= 1e-6, "{what}: {found:?}\n{}", s.plan());
}

/// The gradient of one operation on parameters p0, p1, … of the given spaces.
fn check(what: &str, spaces: &[Space], seed: u64, positive: bool, build: impl Fn(&mut G, &[NodeId]) -> Node) {
    let mut g = G::new();
    let x: Vec<NodeId> = spaces.iter().enumerate().map(|(i, s)| g.param(&format!("p{i}"), s.clone())).collect();
    let y = build(&mut g, &x).unwrap_or_else(|e| panic!("{what}: {e}"));
    let name = format!("weights of {}", g.name(y));
    let loss = weighted(&mut g, y);
    let plan = g.plan(&[loss], options()).unwrap();
    let mut s = session(&plan, seed, positive);
    set_weights(&mut s, &name, seed);
    passes(&mut s, what);
}

fn field(complex: bool, dims: &[usize]) -> Space {
    if complex { Space::complex(dims) } else { Space::real(dims) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_elementwise_gradient_is_that_of_finite_differences(
        dims in prop::collection::vec(1usize..5, 0..4), seed in 0u64..1 << 40, c in -2.0f64..2.0
    ) {
        let z = Complex::new(c, 0.5);
        for complex in [false, true] {
            let one = [field(complex, &dims)];
            check("conj", &one, seed, false, |g, x| g.conj(x[0]));
            check("scale", &one, seed, false, |g, x| g.scale(x[0], c));
            check("abs2", &one, seed, false, |g, x| g.abs2(x[0]));
            check("abs", &one, seed, true, |g, x| g.abs(x[0], 0.0));
            check("smoothed abs", &one, seed, false, |g, x| g.abs(x[0], 0.7));
            check("exp", &one, seed, false, |g, x| g.exp(x[0]));
            check("sum", &one, seed, false, |g, x| g.sum(x[0]));
            check("mean", &one, seed, false, |g, x| g.mean(x[0]));
        }
        let real = [Space::real(&dims)];
        check("add_constant", &real, seed, false, |g, x| g.add_constant(x[0], c));
        check("cis", &real, seed, false, |g, x| g.cis(x[0]));
        check("log", &real, seed, true, |g, x| g.log(x[0]));
        check("sqrt", &real, seed, true, |g, x| g.sqrt(x[0]));
        check("pow", &real, seed, true, |g, x| g.pow(x[0], c));
        check("cube", &real, seed, false, |g, x| g.pow(x[0], 3.0));
        check("constant", &real, seed, false, |g, x| g.pow(x[0], 0.0));
        check("sin", &real, seed, false, |g, x| g.sin(x[0]));
        check("cos", &real, seed, false, |g, x| g.cos(x[0]));
        check("to_complex", &real, seed, false, |g, x| g.to_complex(x[0]));
        let complex = [Space::complex(&dims)];
        check("scale_complex", &complex, seed, false, |g, x| g.scale_complex(x[0], z));
        check("add_complex_constant", &complex, seed, false, |g, x| g.add_complex_constant(x[0], z));
        check("arg", &complex, seed, true, |g, x| g.arg(x[0]));
        check("re", &complex, seed, false, |g, x| g.re(x[0]));
        check("im", &complex, seed, false, |g, x| g.im(x[0]));
        let pair = [Space::real(&dims), Space::real(&dims)];
        check("complex", &pair, seed, false, |g, x| g.complex(x[0], x[1]));
    }

    #[test]
    fn gradients_of_two_operands_are_right_in_every_field_and_where_one_is_repeated(
        dims in prop::collection::vec(1usize..5, 0..4), cut in 0usize..4, seed in 0u64..1 << 40
    ) {
        let short = &dims[cut.min(dims.len())..];
        for (a, b) in [(&dims[..], &dims[..]), (&dims[..], short), (short, &dims[..])] {
            for [ca, cb] in [[false, false], [true, true], [true, false], [false, true]] {
                let two = [field(ca, a), field(cb, b)];
                check("mul", &two, seed, false, |g, x| g.mul(x[0], x[1]));
                if ca == cb {
                    check("add", &two, seed, false, |g, x| g.add(x[0], x[1]));
                    check("sub", &two, seed, false, |g, x| g.sub(x[0], x[1]));
                }
            }
        }
        for complex in [false, true] {
            let two = [field(complex, &dims), field(complex, &dims)];
            check("dot", &two, seed, false, |g, x| g.dot(x[0], x[1]));
            check("stack", &two, seed, false, |g, x| g.stack(x));
            // The same node on both sides.
            check("square", &two[..1], seed, false, |g, x| g.mul(x[0], x[0]));
            check("twice", &two[..1], seed, false, |g, x| g.add(x[0], x[0]));
            check("nothing", &two[..1], seed, false, |g, x| g.sub(x[0], x[0]));
            check("norm", &two[..1], seed, false, |g, x| g.dot(x[0], x[0]));
        }
    }

    #[test]
    fn gradients_of_parts_sums_and_windows_are_right(
        dims in prop::collection::vec(1usize..6, 1..4), axis in 0usize..3, complex in any::<bool>(), seed in 0u64..1 << 40,
    ) {
        let axis = axis % dims.len();
        let n = dims[axis];
        let (start, len) = (seed as usize % n, 1 + (seed as usize / 7) % (n - seed as usize % n));
        let one = [field(complex, &dims)];
        check("sum_axis", &one, seed, false, |g, x| g.sum_axis(x[0], axis));
        check("slice", &one, seed, false, |g, x| g.slice(x[0], axis, start, len));
        check("reshape", &one, seed, false, |g, x| { let n = g.space(x[0]).len(); g.reshape(x[0], &[1, n]) });
        let mut other = dims.clone();
        other[axis] = len;
        let three = [field(complex, &dims), field(complex, &other), field(complex, &dims)];
        check("concat", &three, seed, false, |g, x| g.concat(x, axis));
        check("concat with itself", &one, seed, false, |g, x| g.concat(&[x[0], x[0]], axis));
        check("concat of 20", &one, seed, false, |g, x| g.concat(&[x[0]; 20], axis));
        check("stack of 20", &one, seed, false, |g, x| g.stack(&[x[0]; 20]));
    }
}

#[test]
fn sums_along_an_axis_parts_and_stacks_are_what_they_say() {
    let mut g = G::new();
    let x = g.param("p0", Space::real(&[2, 3, 2]));
    let keep = |g: &mut G, n: Node| {
        let n = n.unwrap();
        g.output(n);
        n
    };
    let n = g.sum_axis(x, 1);
    let sum = keep(&mut g, n);
    let n = g.slice(x, 1, 1, 2);
    let slice = keep(&mut g, n);
    let n = g.concat(&[slice, x], 1);
    let concat = keep(&mut g, n);
    let n = g.stack(&[sum, sum]);
    let stack = keep(&mut g, n);
    let n = g.mean(x);
    let mean = keep(&mut g, n);
    let plan = g.plan(&[], options()).unwrap();
    let mut s = Session::new(&plan).unwrap();
    s.set(x, &(0..12).map(f64::from).collect::<Vec<_>>());
    assert_eq!(s.forward(Mode::Eval).unwrap(), 0.0);
    assert_eq!(s.value(sum), [6.0, 9.0, 24.0, 27.0]);
    assert_eq!(s.value(slice), [2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]);
    let want = [2.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];
    assert_eq!(s.value(concat), want);
    assert_eq!(plan.space(stack).dims(), [2, 2, 2]);
    assert_eq!(s.value(stack), [6.0, 9.0, 24.0, 27.0, 6.0, 9.0, 24.0, 27.0]);
    assert_eq!(s.value(mean), [5.5]);
}

/// y = Σ of squares of each input times a tape of random signs, to see that tapes survive.
#[derive(Debug)]
struct Signs;

impl Function<f64> for Signs {
    fn infer(&self, x: &[&Space]) -> Result<Space, Error> {
        if x.iter().any(|s| s.dims() != x[0].dims()) {
            return Err(Error::shape("signs", x[0].dims(), x[x.len() - 1].dims()));
        }
        Ok(x[0].clone())
    }
    fn needs(&self, x: &[&Space]) -> Needs {
        Needs { inputs: (0..x.len()).collect(), output: false, tape_len: x[0].words() }
    }
    fn scratch_len(&self, x: &[&Space]) -> usize {
        x[0].words()
    }
    fn forward(&self, x: &[&[f64]], y: &mut [f64], tape: &mut [f64], scratch: &mut [f64], mode: Mode) {
        let step = if let Mode::Train { step } = mode { step } else { 0 };
        scratch.fill(f64::NAN);
        for (i, y) in y.iter_mut().enumerate() {
            tape[i] = if (i as u64 + step).is_multiple_of(3) { -1.0 } else { 1.0 };
            *y = x.iter().map(|x| tape[i] * x[i] * x[i]).sum();
        }
    }
    fn backward(
        &self,
        x: &[&[f64]],
        y: &[f64],
        tape: &[f64],
        dy: &[f64],
        dx: &mut [Option<(&mut [f64], Write)>],
        scratch: &mut [f64],
    ) {
        assert!(y.is_empty());
        scratch.fill(f64::NAN);
        for (dx, x) in dx.iter_mut().zip(x) {
            if let Some((dx, w)) = dx {
                (0..dy.len()).for_each(|i| write(&mut dx[i], 2.0 * tape[i] * x[i] * dy[i], *w));
            }
        }
    }
}

/// Patches of an object times a probe, propagated, compared with counts: `L = Σ I − n ln I`, plus losses on the side.
fn ptychography(checkpoints: bool, par: Par) -> (Arc<Plan<f64>>, [NodeId; 3]) {
    let (m, k) = (6, 4);
    let mut g = G::new();
    let object = g.param("p0", Space::complex(&[13, 11]));
    let probe = g.param("p1", Space::complex(&[m, m]));
    let gain = g.param("p2", Space::real(&[]));
    let unused = g.param("p3", Space::real(&[3]));
    let counts = g.data("counts", Space::real(&[k, m, m]));
    let positions = g.indices("positions", 2 * k);
    let patches = g.gather_patches(object, positions, [m, m]).unwrap();
    let exit = g.mul(patches, probe).unwrap();
    if checkpoints {
        g.checkpoint(exit);
    }
    let signs = g.call(Arc::new(Signs), &[exit, exit]).unwrap();
    let wave = g.linear(Arc::new(Dft::new(&[k, m, m], 2).unwrap()), signs).unwrap();
    let wave = g.add(wave, exit).unwrap();
    if checkpoints {
        g.checkpoint(wave);
    }
    let intensity = g.abs2(wave).unwrap();
    let intensity = g.mul(intensity, gain).unwrap();
    g.output(intensity);
    let bright = g.abs(intensity, 0.1).unwrap();
    let log = g.log(bright).unwrap();
    if checkpoints {
        g.checkpoint(log);
    }
    let matched = g.dot(counts, log).unwrap();
    let total = g.sum(intensity).unwrap();
    let loss = g.sub(total, matched).unwrap();
    let side = g.scatter_patches(exit, positions, [13, 11]).unwrap();
    let side = g.abs2(side).unwrap();
    let side = g.mean(side).unwrap();
    g.want_grad(exit).unwrap();
    let plan = g.plan(&[loss, side, loss], PlanOptions { par, limits: Limits::default() }).unwrap();
    (plan, [unused, exit, intensity])
}

fn filled(plan: &Arc<Plan<f64>>, seed: u64) -> Session<f64> {
    let mut s = session(plan, seed, true);
    let counts = plan.find("counts").unwrap();
    let n = plan.space(counts).words();
    s.set(counts, &normals(n, seed + 9).iter().map(|v| v.abs()).collect::<Vec<_>>());
    let positions = plan.find("positions").unwrap();
    s.set_indices(positions, &[0, 0, 7, 5, 3, 2, 3, 2]);
    s
}

#[test]
fn a_composition_of_everything_passes_with_and_without_checkpoints_to_the_same_bits() {
    let mut all = Vec::new();
    for checkpoints in [false, true] {
        for par in [Par::seq(), Par::threads(2).unwrap()] {
            let (plan, [unused, exit, intensity]) = ptychography(checkpoints, par);
            let mut s = filled(&plan, 3);
            passes(&mut s, "composition");
            // Once more: buffers that were used again hold what they held.
            let loss = s.forward(Mode::Train { step: 1 }).unwrap();
            s.backward();
            assert_eq!(s.grad(unused), [0.0; 3]);
            let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            all.push((loss.to_bits(), bits(s.grads()), bits(s.grad(exit)), bits(s.value(intensity))));
        }
    }
    assert!(all.iter().all(|a| *a == all[0]));
    // Recomputation does happen.
    assert!(ptychography(true, Par::seq()).0.to_string().contains("computed twice"));
}

#[test]
fn long_arrays_give_the_same_bits_for_any_number_of_threads() {
    let run = |par: Par| {
        let mut g = G::new();
        let x = g.param("p0", Space::complex(&[300, 200]));
        let y = g.param("p1", Space::complex(&[200]));
        let at = g.indices("at", 6);
        let mut z = g.mul(x, y).unwrap();
        for _ in 0..2 {
            z = g.exp(z).unwrap();
            let a = g.abs2(z).unwrap();
            let a = g.add_constant(a, 1.0).unwrap();
            let a = g.pow(a, -0.5).unwrap();
            z = g.mul(a, z).unwrap();
        }
        let patches = g.gather_patches(z, at, [150, 180]).unwrap();
        let sum = g.scatter_patches(patches, at, [300, 200]).unwrap();
        let sum = g.sum_axis(sum, 0).unwrap();
        let sum = g.abs2(sum).unwrap();
        let loss = g.sum(sum).unwrap();
        let plan = g.plan(&[loss], PlanOptions { par, limits: Limits::default() }).unwrap();
        let mut s = session(&plan, 5, false);
        s.set_indices(at, &[0, 0, 150, 20, 77, 3]);
        let loss = s.forward(Mode::Eval).unwrap();
        s.backward();
        (loss.to_bits(), s.grads().iter().map(|g| g.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(run(Par::seq()), run(Par::threads(2).unwrap()));
    assert_eq!(run(Par::seq()), run(Par::threads(3).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Holomorphic (F, products, exp) and not (conj, |·|²), in one chain.
    #[test]
    fn chains_of_transforms_products_and_moduli_pass(
        ny in 1usize..7, nx in 1usize..7, batch in 1usize..4, seed in 0u64..1 << 40
    ) {
        let dims = [batch, ny, nx];
        let mut g = G::new();
        let x = g.param("p0", Space::complex(&dims));
        let filter = g.param("p1", Space::complex(&[ny, nx]));
        let target = g.data("d2", Space::real(&dims));
        let dft = Arc::new(Dft::new(&dims, 2).unwrap());
        let dense = Arc::new(Dense::random(&Space::complex(&dims), &Space::complex(&dims), seed));
        let a = g.linear(dft.clone(), x).unwrap();
        let b = g.mul(a, filter).unwrap();
        let c = g.conj(b).unwrap();
        let d = g.linear(dft, c).unwrap();
        let e = g.linear(dense, d).unwrap();
        let f = g.scale(e, 0.1).unwrap();
        let h = g.exp(f).unwrap();
        let i = g.add(h, d).unwrap();
        let i = g.abs2(i).unwrap();
        let r = g.sub(i, target).unwrap();
        let r = g.abs(r, 0.3).unwrap();
        let loss = g.mean(r).unwrap();
        let plan = g.plan(&[loss], options()).unwrap();
        passes(&mut session(&plan, seed, false), "chain");
    }

    #[test]
    fn windows_and_rows_pass_where_they_overlap_and_are_adjoint(
        ny in 1usize..9, nx in 1usize..9, n in 1usize..5, complex in any::<bool>(), seed in 0u64..1 << 40
    ) {
        let r = |k: u64, below: usize| (seed.rotate_left(7 * k as u32) % below as u64) as usize;
        let (h, w) = (1 + r(1, ny), 1 + r(2, nx));
        let corners: Vec<u32> = (0..n as u64)
            .flat_map(|i| [r(3 + i, ny - h + 1) as u32, r(5 + 3 * i, nx - w + 1) as u32])
            .collect();
        let mut g = G::new();
        let x = g.param("p0", field(complex, &[ny, nx]));
        let y = g.param("p1", field(complex, &[n, h, w]));
        let at = g.indices("at", 2 * n);
        let rows = g.indices("rows", 3);
        let gathered = g.gather_patches(x, at, [h, w]).unwrap();
        let scattered = g.scatter_patches(y, at, [ny, nx]).unwrap();
        let left = g.dot(gathered, y).unwrap();
        let right = g.dot(x, scattered).unwrap();
        g.output(left);
        g.output(right);
        // Rows of what was gathered, moved about and squared, so that the loss is not linear.
        let picked = g.gather_rows(gathered, rows).unwrap();
        let put = g.scatter_rows(picked, rows, n).unwrap();
        let squared = g.abs2(put).unwrap();
        let loss = g.mean(squared).unwrap();
        let product = g.mul(left, right).unwrap();
        let plan = g.plan(&[loss, product], options()).unwrap();
        let mut s = session(&plan, seed, false);
        s.set_indices(at, &corners);
        s.set_indices(rows, &[0, r(11, n) as u32, n as u32 - 1]);
        passes(&mut s, "windows");
        s.forward(Mode::Eval).unwrap();
        let (left, right) = (s.value(left)[0], s.value(right)[0]);
        // Both are the same products, added in another order: n h w of them.
        let scale = (n * h * w) as f64 * 10.0;
        prop_assert!((left - right).abs() <= 4.0 * f64::EPSILON * scale, "{left} {right}");
    }
}

#[test]
fn misuse_is_an_error_that_names_node_and_shapes() {
    let mut g = G::new();
    let image = g.param("image", Space::complex(&[8, 8]));
    let real = g.data("counts", Space::real(&[8, 8]));
    let at = g.indices("positions", 4);
    let says = |e: Error, words: &[&str]| {
        let text = e.to_string();
        assert!(matches!(e, Error::Node { .. }), "{text}");
        words.iter().for_each(|w| assert!(text.contains(w), "`{w}` in: {text}"));
    };
    let small = g.gather_patches(image, at, [4, 4]).unwrap();
    says(g.add(small, image).unwrap_err(), &["add(gather#3 Complex[2, 4, 4], image Complex[8, 8])", "[2, 4, 4]"]);
    says(g.add(image, real).unwrap_err(), &["add(", "counts Real[8, 8]", "Complex"]);
    says(g.cis(image).unwrap_err(), &["cis(image", "Complex", "Real"]);
    says(g.arg(real).unwrap_err(), &["arg(counts"]);
    says(g.mul(at, real).unwrap_err(), &["positions", "integers"]);
    says(g.want_grad(at).unwrap_err(), &["positions", "integers"]);
    says(g.want_grad(real).unwrap_err(), &["counts", "data"]);
    says(g.scale(image, f64::NAN).unwrap_err(), &["scale(image", "NaN"]);
    says(g.reshape(image, &[7]).unwrap_err(), &["reshape(image", "[7]"]);
    says(g.slice(real, 1, 7, 2).unwrap_err(), &["slice(counts"]);
    says(g.slice(real, 1, usize::MAX, 2).unwrap_err(), &["slice(counts"]);
    says(g.sum_axis(real, 2).unwrap_err(), &["sum_axis(counts", "axis"]);
    says(g.gather_patches(image, at, [9, 2]).unwrap_err(), &["gather(image", "[8, 8]", "[9, 2]"]);
    says(g.gather_patches(image, real, [2, 2]).unwrap_err(), &["gather(image"]);
    says(g.scatter_patches(small, at, [3, 8]).unwrap_err(), &["scatter(", "[3, 8]"]);
    says(g.scatter_rows(small, at, 5).unwrap_err(), &["scatter("]);
    says(g.concat(&[image, small], 0).unwrap_err(), &["concat(", "[8, 8]", "[2, 4, 4]"]);
    says(g.concat(&[], 0).unwrap_err(), &["concat("]);
    says(g.stack(&[image, real]).unwrap_err(), &["concat("]);
    says(g.linear(Arc::new(Dft::new(&[4, 4], 2).unwrap()), image).unwrap_err(), &["Dft(image", "[4, 4]", "[8, 8]"]);
    says(g.call(Arc::new(Signs), &[image, small]).unwrap_err(), &["Signs(image", "[2, 4, 4]"]);
    assert!(g.abs(image, -1.0).is_err() && g.call(Arc::new(Signs), &[real; 17]).is_err());

    // Nodes that are not there, spaces that cannot be, names that are taken, losses that are none.
    let mut other = G::new();
    assert!(other.add(image, real).is_err() && other.linear(Arc::new(Dft::new(&[4], 1).unwrap()), real).is_err());
    says(g.clone().plan(&[image], options()).unwrap_err(), &["image", "loss"]);
    says(g.clone().plan(&[at], options()).unwrap_err(), &["positions"]);
    let mut h = g.clone();
    h.data("image", Space::real(&[1]));
    says(h.plan(&[], options()).unwrap_err(), &["image", "name"]);
    let mut h = g.clone();
    h.param("huge", Space::real(&[usize::MAX / 2 + 1]));
    assert!(matches!(h.plan(&[], options()), Err(Error::OutOfMemory { .. })));
    for dims in [vec![0, 4], vec![usize::MAX, 2], vec![usize::MAX / 2 + 1]] {
        let mut h = g.clone();
        let bad = h.param("bad", Space::complex(&dims));
        assert!(h.abs2(bad).is_err() && h.mean(bad).is_err() && h.slice(bad, 0, 0, 1).is_err());
        says(h.plan(&[], options()).unwrap_err(), &["bad"]);
    }

    // Inputs that were not set, windows outside, gradients that are not there.
    let loss = g.abs2(small).unwrap();
    let loss = g.sum(loss).unwrap();
    let plan = g.plan(&[loss], options()).unwrap();
    let mut s = Session::new(&plan).unwrap();
    s.set(image, &[1.0; 128]);
    says(s.forward(Mode::Eval).unwrap_err(), &["counts", "not set"]);
    s.set(real, &[1.0; 64]);
    s.set_indices(at, &[0, 0, 4, 5]);
    let e = s.forward(Mode::Eval).unwrap_err();
    assert!(matches!(&e, Error::Node { source, .. } if matches!(**source, Error::Data { index: 2, .. })), "{e}");
    s.set_indices(at, &[0, 0, 4, u32::MAX]);
    says(s.forward(Mode::Eval).unwrap_err(), &["gather#3", "positions"]);
    s.set_indices(at, &[0, 0, 4, 4]);
    assert_eq!(s.forward(Mode::Eval).unwrap(), 64.0);
    says(s.try_grad(at).unwrap_err(), &["positions", "integer"]);
    says(s.try_grad(real).unwrap_err(), &["counts", "data", "[8, 8]"]);
    says(s.try_grad(small).unwrap_err(), &["gather#3", "want_grad"]);
    assert!(s.try_grad(image).is_ok());
}

#[test]
fn a_loss_that_is_not_finite_names_the_first_node_that_is_not() {
    let mut g = G::new();
    let x = g.param("p0", Space::real(&[3]));
    let d = g.data("d1", Space::real(&[3]));
    let log = g.log(x).unwrap();
    g.set_name(log, "entropy");
    let y = g.mul(log, d).unwrap();
    let loss = g.sum(y).unwrap();
    let plan = g.plan(&[loss], options()).unwrap();
    let mut s = Session::new(&plan).unwrap();
    s.set(x, &[1.0, 0.0, 2.0]);
    s.set(d, &[1.0; 3]);
    let e = s.forward(Mode::Train { step: 7 }).unwrap_err();
    assert!(matches!(&e, Error::NotFinite { node, step: 7 } if node == "entropy"), "{e}");
    s.set(x, &[1.0, 1.0, 2.0]);
    s.set(d, &[1.0, f64::NAN, 1.0]);
    let e = s.forward(Mode::Eval).unwrap_err();
    assert!(matches!(&e, Error::NotFinite { node, step: 0 } if node == "d1"), "{e}");
    s.set(d, &[1.0; 3]);
    assert!(s.forward(Mode::Eval).is_ok());
    s.backward();
    assert_eq!(s.grad(x), [1.0, 1.0, 0.5]);
}

#[test]
fn one_plan_serves_many_sessions_and_what_is_not_asked_for_is_not_computed() {
    let mut g = Graph::<f32>::new();
    let x = g.param("x", Space::real(&[100]));
    let batch = g.indices("batch", 4);
    let picked = g.gather_rows(x, batch).unwrap();
    let idle = g.exp(x).unwrap();
    let squares = g.abs2(picked).unwrap();
    let loss = g.sum(squares).unwrap();
    let plan = g.plan(&[loss], PlanOptions::default()).unwrap();
    assert!(plan.to_string().contains("not computed") && plan.name(idle).starts_with("exp"));
    let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let results: Vec<f32> = std::thread::scope(|scope| {
        let run = |k: u32| {
            let mut s = Session::new(&plan).unwrap();
            s.set(x, &values);
            s.set_indices(batch, &[k, k + 1, k, 0]);
            let loss = s.forward(Mode::Eval).unwrap();
            s.backward();
            assert_eq!(s.grad(x)[k as usize], 4.0 * k as f32);
            assert_eq!(s.grad(x).iter().filter(|g| **g != 0.0).count(), 2);
            loss
        };
        let handles: Vec<_> = (1..5).map(|k| scope.spawn(move || run(k))).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    assert_eq!(results, [6.0, 17.0, 34.0, 57.0]);
    assert_eq!(plan.param_words(), 100);
    assert_eq!(plan.space(x).field(), Field::Real);
}
