//! `nn`: what the networks of the published reconstructions take.

use std::sync::Arc;

use exitwave::Error;
use exitwave::autodiff::{Mode, Plan, PlanOptions, Session};
use exitwave::nn::{DipMemory, DipParams, Net, PointLoss, PointLossParams, deep_image_prior};
use exitwave::par::Par;
use exitwave::shape::Limits;

use crate::allocations;

/// The bar: 2 GB.
const BAR: Limits = Limits { bytes: 2_000_000_000 };

/// A deep image prior on noise of 32 channels, with its mean squared difference from a target.
fn plan(size: &[usize], p: &DipParams, channels: usize) -> Result<Arc<Plan<f32>>, Error> {
    let par = Par::seq();
    let mut net = Net::<f32>::new(&par);
    let x = net.input("x", &[&[1, channels], size].concat());
    let y = deep_image_prior(&mut net, x, p)?;
    let dims = net.graph.space(y).dims().to_vec();
    let target = net.input("target", &dims);
    let mse = PointLoss::new(&PointLossParams { dims, par: par.clone(), ..PointLossParams::default() })?;
    let loss = net.graph.call(Arc::new(mse), &[y, target])?;
    net.graph.plan(&[loss], PlanOptions { limits: BAR, par })
}

#[test]
fn the_image_network_at_512_takes_what_its_plan_says_and_less_than_2_gb() {
    let plan = plan(&[512, 512], &DipParams::image(), 32).unwrap();
    let (session, _, bytes) = allocations(|| Session::new(&plan));
    assert!(session.is_ok());
    assert_eq!(bytes as u64, plan.bytes());
    eprintln!("2-D, 512²: {:.0} MB", plan.bytes() as f64 / 1e6);
}

#[test]
fn the_volume_network_at_96_fits_into_2_gb_and_recomputation_takes_less() {
    let bytes = |memory| plan(&[96; 3], &DipParams { memory, ..DipParams::volume(2) }, 32).unwrap().bytes();
    let (keep, again) = (bytes(DipMemory::Keep), bytes(DipMemory::Recompute));
    eprintln!("3-D, 96³: {:.0} MB, with recomputation {:.0} MB", keep as f64 / 1e6, again as f64 / 1e6);
    assert!(again < keep);
}

#[test]
fn recomputed_scales_give_the_same_bits() {
    let run = |memory| {
        let p = DipParams { channels: vec![3, 5], skips: vec![2, 2], memory, ..DipParams::volume(2) };
        let plan = plan(&[8, 7, 9], &p, 3).unwrap();
        let mut session = Session::new(&plan).unwrap();
        for id in plan.params().chain([plan.find("x").unwrap(), plan.find("target").unwrap()]) {
            session.input(id).iter_mut().enumerate().for_each(|(i, v)| *v = (0.7 * i as f32).sin());
        }
        // A recomputation allocates nothing either.
        let (loss, count, _) = allocations(|| {
            let loss = session.forward(Mode::Train { step: 0 }).unwrap();
            session.backward();
            loss
        });
        let bits: Vec<u32> = session.grads().iter().map(|g| g.to_bits()).collect();
        (loss.to_bits(), bits, count)
    };
    let (keep, again) = (run(DipMemory::Keep), run(DipMemory::Recompute));
    assert!(keep.0 == again.0 && keep.1 == again.1);
    eprintln!("allocations in a step: {} and {}", keep.2, again.2);
}
