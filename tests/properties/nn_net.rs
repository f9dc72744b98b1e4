//! `nn`: networks, their sizes, gradients and weights.

use exitwave::Error;
use exitwave::autodiff::{Mode, NodeId, PlanOptions, Session};
use exitwave::nn::*;
use exitwave::par::Par;
use exitwave::rng;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}

/// A session on the mean of the squared output, input and weights set.
fn session(
    dims: &[usize],
    par: &Par,
    build: impl FnOnce(&mut Net<f64>, NodeId) -> Result<NodeId, Error>,
) -> Result<(Session<f64>, Vec<usize>), Error> {
    let mut net = Net::new(par);
    let x = net.input("x", dims);
    let y = build(&mut net, x)?;
    let out = net.graph.space(y).dims().to_vec();
    let loss = net.graph.abs2(y)?;
    let loss = net.graph.mean(loss)?;
    let weights = net.initial(5)?;
    let mut session = Session::new(&net.graph.plan(&[loss], PlanOptions::default())?)?;
    weights.store(&mut session)?;
    session.set(x, &random(dims.iter().product(), 1));
    Ok((session, out))
}

/// Sum of loss and gradient along a random direction, against the central difference of fourth order.
fn assert_gradient(mut s: Session<f64>) {
    s.forward(Mode::Train { step: 0 }).unwrap();
    s.backward();
    let gradient = s.grads().to_vec();
    let start = s.params().to_vec();
    let direction = random(start.len(), 2);
    let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
    // Steps so short that few leaky ReLUs change sides; each that does adds an error of second order in h.
    let h = 1e-6;
    let mut at = |t: f64| {
        s.params_and_grads().0.iter_mut().zip(start.iter().zip(&direction)).for_each(|(p, (s, d))| *p = s + t * d);
        s.forward(Mode::Train { step: 0 }).unwrap()
    };
    let found = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
    let scale =
        gradient.iter().map(|g| g * g).sum::<f64>().sqrt() * direction.iter().map(|d| d * d).sum::<f64>().sqrt();
    assert!((found - slope).abs() < 1e-5 * scale, "{found} {slope} {scale}");
}

#[test]
fn networks_keep_the_size_and_have_their_gradients() {
    let par = Par::threads(2).unwrap();
    let small = UnetParams { channels: vec![3, 4, 5], ..UnetParams::default() };
    // Several pixels at the coarsest level: normalised, a single one is 0, where the leaky ReLU has no derivative.
    for dims in [vec![2, 2, 12, 10], vec![1, 2, 8, 9, 8]] {
        let build = |net: &mut Net<f64>, x| unet(net, x, &UnetParams { mode: Padding::Zero, ..small.clone() });
        let (s, out) = session(&dims, &par, build).unwrap();
        assert_eq!(out, [&dims[..1], &[1], &dims[2..]].concat());
        assert_gradient(s);
    }
    let (s, out) = session(&[2, 2, 12, 10], &par, |net, x| attention_unet(net, x, &small)).unwrap();
    assert_eq!(out, [2, 1, 12, 10]);
    assert_gradient(s);
    let image = DipParams { channels: vec![3, 4], skips: vec![1, 2], ..DipParams::image() };
    let (s, out) = session(&[1, 3, 13, 11], &par, |net, x| deep_image_prior(net, x, &image)).unwrap();
    assert_eq!(out, [1, 1, 13, 11]);
    assert_gradient(s);
    let volume = DipParams { channels: vec![3, 4], skips: vec![1, 2], ..DipParams::volume(2) };
    let (s, out) = session(&[1, 3, 7, 8, 6], &par, |net, x| deep_image_prior(net, x, &volume)).unwrap();
    assert_eq!(out, [1, 2, 7, 8, 6]);
    assert_gradient(s);
    let (s, _) = session(&[1, 3, 6, 6], &par, |net, x| net.residual("r", x, Padding::Periodic)).unwrap();
    assert_gradient(s);
}

#[test]
fn networks_have_the_published_numbers_of_weights() {
    type Build<'a> = &'a dyn Fn(&mut Net<f32>, NodeId) -> Result<NodeId, Error>;
    let words = |dims: &[usize], build: Build<'_>| {
        let mut net = Net::new(&Par::seq());
        let x = net.input("x", dims);
        build(&mut net, x).unwrap();
        net.weight_words() as f64 * 1e-6
    };
    // Millions, as derived from the published layers: EELS phantom, EELS experiment, EDX phantom.
    let volume = |channels: &[usize], skips: &[usize], out| {
        let p = DipParams { channels: channels.to_vec(), skips: skips.to_vec(), ..DipParams::volume(out) };
        words(&[1, 32, 64, 64, 64], &|net, x| deep_image_prior(net, x, &p))
    };
    assert!((volume(&[16, 32, 64, 128], &[4, 8, 16, 32], 2) - 1.81).abs() < 0.005);
    assert!((volume(&[32, 64, 64, 128], &[8, 16, 16, 32], 2) - 2.16).abs() < 0.005);
    assert!((volume(&[16, 32, 64, 128, 256], &[4, 8, 16, 32, 64], 3) - 7.19).abs() < 0.005);
    // The attention U-Net of 4D-MISR: 1024 views to 9 channels.
    let p = UnetParams {
        channels: vec![64, 128, 256, 512, 1024],
        out_channels: 9,
        mode: Padding::Zero,
        pooling: Pooling::Max,
        interpolation: Interpolation::Nearest,
        activation: Activation::Relu,
    };
    let got = words(&[1, 1024, 32, 32], &|net, x| attention_unet(net, x, &p));
    assert!((got - 35.47).abs() < 0.005, "{got}");
}

#[test]
fn results_are_the_same_bits_for_one_thread_and_two() {
    let run = |par: &Par| {
        let small = UnetParams { channels: vec![9, 12], ..UnetParams::default() };
        let mut s = session(&[1, 3, 40, 36], par, |net, x| unet(net, x, &small)).unwrap().0;
        let loss = s.forward(Mode::Train { step: 0 }).unwrap();
        s.backward();
        (loss.to_bits(), s.grads().iter().map(|g| g.to_bits()).collect::<Vec<_>>())
    };
    assert!(run(&Par::seq()) == run(&Par::threads(2).unwrap()));
}

#[test]
fn initial_weights_have_their_variances() {
    let spread = |init: Init| {
        let t = init.tensor::<f64>(&[100, 100], 3, 0).unwrap();
        (t.as_slice().iter().sum::<f64>() / 1e4, t.as_slice().iter().map(|v| v * v).sum::<f64>() / 1e4)
    };
    // Relative errors of a variance from 10⁴ numbers are 0.014 (normal) and 0.009 (uniform); of the mean 0.01 σ. Five
    // of them.
    for (init, variance) in [
        (Init::Kaiming { fan_in: 50 }, 0.04f64),
        (Init::Xavier { fan_in: 20, fan_out: 30 }, 0.04),
        (Init::Uniform { fan_in: 3 }, 1.0 / 9.0),
    ] {
        let (mean, square) = spread(init);
        assert!(
            mean.abs() < 0.05 * variance.sqrt() && (square / variance - 1.0).abs() < 0.07,
            "{init:?} {mean} {square}"
        );
    }
}

#[test]
fn weights_that_do_not_fit_are_errors_and_change_nothing() {
    let build = |channels: usize| {
        let mut net = Net::<f64>::new(&Par::seq());
        let x = net.input("x", &[1, 1, 4, 4]);
        let y = net.conv("c", x, channels, 3, 1, Padding::Zero).unwrap();
        let loss = net.graph.mean(y).unwrap();
        let weights = net.initial(1).unwrap();
        (weights, Session::new(&net.graph.plan(&[loss], PlanOptions::default()).unwrap()).unwrap())
    };
    let ((two, mut session), (three, _)) = (build(2), build(3));
    two.store(&mut session).unwrap();
    assert!(matches!(three.store(&mut session), Err(Error::Shape { .. })));
    let missing = Weights { entries: two.entries[..1].to_vec() };
    assert!(matches!(missing.store(&mut session), Err(Error::Param { got, .. }) if got.contains("c.bias")));
    let mut more = two.clone();
    more.entries.push(("d".into(), two.entries[0].1.clone()));
    assert!(matches!(more.store(&mut session), Err(Error::Param { got, .. }) if got.contains("`d`")));
    assert_eq!(Weights::take(&session).unwrap(), two);
}

/// A small U-Net whose normalisations keep running statistics, on batches of three.
fn running_net() -> (Session<f64>, RunningStatistics, NodeId, NodeId) {
    let mut net = Net::<f64>::new(&Par::seq());
    net.statistics = Statistics::Running;
    let x = net.input("x", &[3, 2, 8, 8]);
    let y = unet(&mut net, x, &UnetParams { channels: vec![3, 4], ..UnetParams::default() }).unwrap();
    net.graph.output(y);
    let loss = net.graph.abs2(y).unwrap();
    let loss = net.graph.mean(loss).unwrap();
    let (weights, running) = (net.initial(5).unwrap(), net.running());
    let mut session = Session::new(&net.graph.plan(&[loss], PlanOptions::default()).unwrap()).unwrap();
    weights.store(&mut session).unwrap();
    running.reset(&mut session);
    (session, running, x, y)
}

#[test]
fn running_statistics_make_evaluation_independent_of_the_batch() {
    let (mut s, running, x, y) = running_net();
    let batches: Vec<Vec<f64>> = (0..4).map(|i| random(3 * 128, 10 + i)).collect();
    for step in 0..200 {
        s.set(x, &batches[step % 4]);
        s.forward(Mode::Train { step: step as u64 }).unwrap();
        running.update(&mut s, 0.05);
    }
    // The same image, beside others and beside itself.
    let image = &batches[0][..128];
    let mut evaluate = |all: &[f64], mode: Mode| {
        s.set(x, all);
        s.forward(mode).unwrap();
        s.value(y)[..64].to_vec()
    };
    let beside_others = evaluate(&batches[0], Mode::Eval);
    let alone = evaluate(&[image, image, image].concat(), Mode::Eval);
    assert_eq!(beside_others, alone);
    // In training it is not the same; and with statistics that fit the data, evaluation is close to training.
    let training = evaluate(&batches[0], Mode::Train { step: 0 });
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let size = distance(&training, &[0.0; 64]);
    let apart = distance(&training, &beside_others);
    assert!(apart > 1e-9 * size && apart < 0.3 * size, "{apart} {size}");
}

#[test]
fn weights_keep_running_statistics_and_refuse_to_do_without() {
    let (mut s, running, x, y) = running_net();
    s.set(x, &random(3 * 128, 1));
    s.forward(Mode::Train { step: 0 }).unwrap();
    running.update(&mut s, 0.5);
    let kept = running.take(&s).unwrap();
    assert!(kept.get("down.0.0.mean").unwrap().as_slice().iter().any(|m| *m != 0.0));
    s.forward(Mode::Eval).unwrap();
    let want = s.value(y).to_vec();

    let (mut other, running, x, y) = running_net();
    other.set(x, &random(3 * 128, 1));
    let mut incomplete = kept.clone();
    let at = kept.entries.iter().position(|(n, _)| n == "up.0.1.variance").unwrap();
    incomplete.entries.remove(at);
    assert!(matches!(running.store(&incomplete, &mut other), Err(Error::Param { got, .. }) if got.contains("up.0.1")));
    let mut wrong = kept.clone();
    wrong.entries[at].1 = kept.get("head.weight").unwrap().clone();
    assert!(matches!(running.store(&wrong, &mut other), Err(Error::Shape { .. })));
    running.store(&kept, &mut other).unwrap();
    other.forward(Mode::Eval).unwrap();
    assert_eq!(other.value(y), want);
    assert_eq!(running.take(&other).unwrap(), kept);
}
