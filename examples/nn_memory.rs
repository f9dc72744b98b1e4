//! How much memory a network takes, and how soon its first step is done: plans it, runs some steps, and prints what the plan said beside the
//! peak of the process.

#[allow(dead_code)] // The other examples write files.
mod support;

use std::sync::Arc;
use std::time::Instant;

use exitwave::autodiff::{Function, Graph, Mode, NodeId, PlanOptions, Session};
use exitwave::nn::{
    Conv2d, Conv3d, ConvParams, DipMemory, DipParams, MultiHeadAttention, MultiHeadParams, Net, PointLoss,
    PointLossParams, UnetParams, deep_image_prior, unet,
};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::shape::Space;
use support::{Failure, Options, peak_bytes};

const HELP: &str = "\
nn_memory WHAT: memory, start-up time, and time of a step of a network or layer, f32, forward and backward

WHAT is one of
  unet        the five-level U-Net of the benches on 256 x 256 (--size)
  image       the 2-D network of deep image priors on 512 x 512
  volume      the 3-D network of deep image priors on 96 x 96 x 96, two outputs
  conv2d      3 x 3, 64 to 64 channels, 256 x 256
  conv3d      3 x 3 x 3, 16 to 16 channels, 64 x 64 x 64
  attention   1024 tokens of 128, 8 heads

  --size N         another side
  --steps N        steps (default 5; 0: the plan only)
  --threads N      threads (default 2)
  --recompute      image, volume: compute each scale a second time instead of keeping it
  --table          print the plan

The last line printed is one JSON object.";

/// A graph with its loss and its data inputs.
struct Model {
    graph: Graph<f32>,
    loss: NodeId,
    inputs: Vec<NodeId>,
}

/// A network and the mean squared difference from a target.
fn network(
    dims: &[usize],
    par: &Par,
    build: impl FnOnce(&mut Net<f32>, NodeId) -> Result<NodeId, exitwave::Error>,
) -> Result<Model, Failure> {
    let mut net = Net::<f32>::new(par);
    let x = net.input("x", dims);
    let y = build(&mut net, x)?;
    let out = net.graph.space(y).dims().to_vec();
    let target = net.input("target", &out);
    let mse = PointLoss::new(&PointLossParams { dims: out, par: par.clone(), ..PointLossParams::default() })?;
    let loss = net.graph.call(Arc::new(mse), &[y, target])?;
    Ok(Model { graph: net.graph, loss, inputs: vec![x, target] })
}

/// One function, all of whose inputs get gradients; the loss is its product with fixed numbers, as in the peers' scripts.
fn layer(f: Arc<dyn Function<f32>>, dims: &[&[usize]]) -> Result<Model, Failure> {
    let mut graph = Graph::new();
    let x: Vec<NodeId> = (0..dims.len()).map(|i| graph.param(&format!("x{i}"), Space::real(dims[i]))).collect();
    let y = graph.call(f, &x)?;
    let g = graph.data("g", graph.space(y).clone());
    let loss = graph.dot(y, g)?;
    Ok(Model { graph, loss, inputs: vec![g] })
}

fn main() -> Result<(), Failure> {
    let begin = Instant::now();
    let options = Options::read(HELP, &["size", "steps", "threads"], &["recompute", "table"])?;
    let what = options.free(0).ok_or("which network? (see --help)")?.to_string();
    let par = Par::threads(options.get("threads", 2)?)?;
    let steps: u64 = options.get("steps", 5)?;
    let memory = if options.flag("recompute") { DipMemory::Recompute } else { DipMemory::Keep };
    let model = match what.as_str() {
        "unet" => {
            let n = options.get("size", 256)?;
            network(&[1, 32, n, n], &par, |net, x| unet(net, x, &UnetParams::default()))?
        }
        "image" => {
            let n = options.get("size", 512)?;
            network(&[1, 32, n, n], &par, |net, x| {
                deep_image_prior(net, x, &DipParams { memory, ..DipParams::image() })
            })?
        }
        "volume" => {
            let n = options.get("size", 96)?;
            network(&[1, 32, n, n, n], &par, |net, x| {
                deep_image_prior(net, x, &DipParams { memory, ..DipParams::volume(2) })
            })?
        }
        "conv2d" => {
            let n = options.get("size", 256)?;
            let p =
                ConvParams { channels: 64, out_channels: 64, size: [n; 2], par: par.clone(), ..ConvParams::default() };
            layer(Arc::new(Conv2d::new(&p)?), &[&[1, 64, n, n], &[64, 64, 3, 3], &[64]])?
        }
        "conv3d" => {
            let n = options.get("size", 64)?;
            let p =
                ConvParams { channels: 16, out_channels: 16, size: [n; 3], par: par.clone(), ..ConvParams::default() };
            layer(Arc::new(Conv3d::new(&p)?), &[&[1, 16, n, n, n], &[16, 16, 3, 3, 3], &[16]])?
        }
        "attention" => {
            let p = MultiHeadParams { batch: 1, tokens: 1024, dim: 128, heads: 8, par: par.clone() };
            let dims: [&[usize]; 5] = [&[1, 1024, 128], &[384, 128], &[384], &[128, 128], &[128]];
            layer(Arc::new(MultiHeadAttention::new(&p)?), &dims)?
        }
        other => return Err(format!("{other}: not a network (see --help)").into()),
    };
    let plan = model.graph.plan(&[model.loss], PlanOptions { par: par.clone(), ..PlanOptions::default() })?;
    let planned = begin.elapsed().as_secs_f64();
    if options.flag("table") {
        println!("{plan}");
    }
    println!("{what}: {:.1} MB planned in {planned:.4} s, {} weights", plan.bytes() as f64 / 1e6, plan.param_words());

    let (mut ready, mut first, mut times) = (None, None, Vec::new());
    if steps > 0 {
        let mut session = Session::new(&plan)?;
        // Small numbers are enough: 64 random ones, over and over.
        let mut r = rng::stream(1, 0);
        let some: Vec<f32> = (0..67).map(|_| 0.1 * rng::normal(&mut r) as f32).collect();
        for id in plan.params().chain(model.inputs) {
            session.input(id).iter_mut().enumerate().for_each(|(i, v)| *v = some[i % 67]);
        }
        ready = Some(begin.elapsed().as_secs_f64());
        for step in 0..steps {
            let start = Instant::now();
            session.forward(Mode::Train { step })?;
            session.backward();
            times.push(start.elapsed().as_secs_f64());
            first.get_or_insert_with(|| begin.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
    }
    let line = serde_json::json!({
        "what": what,
        "planned_bytes": plan.bytes(),
        "weights": plan.param_words(),
        "peak_bytes": peak_bytes(),
        "seconds_to_plan": planned,
        "seconds_until_first_step_begins": ready,
        "seconds_until_first_step_ends": first,
        "median_step_seconds": times.get(times.len() / 2),
    });
    println!("{line}");
    Ok(())
}
