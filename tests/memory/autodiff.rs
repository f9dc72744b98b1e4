//! `autodiff`: sessions allocate what their plan says, and nothing afterwards.

use std::sync::Arc;

use exitwave::Error;
use exitwave::autodiff::{Graph, Mode, Plan, PlanOptions, Session};
use exitwave::fft::Dft;
use exitwave::par::Par;
use exitwave::shape::{Limits, Space};

use crate::allocations;

const N: usize = 24;
const SCAN: usize = 5;

/// Ptychography with as many kinds of nodes as it can use, and a chain that is checkpointed.
fn model(checkpoints: bool, limits: Limits) -> Result<Arc<Plan<f32>>, Error> {
    let mut g = Graph::<f32>::new();
    let object = g.param("object", Space::complex(&[3 * N, 2 * N]));
    let probe = g.param("probe", Space::complex(&[N, N]));
    let counts = g.data("counts", Space::real(&[SCAN, N, N]));
    let positions = g.indices("positions", 2 * SCAN);
    let patches = g.gather_patches(object, positions, [N, N])?;
    let mut wave = g.mul(patches, probe)?;
    let dft = Arc::new(Dft::new(&[SCAN, N, N], 2)?);
    for i in 0..8 {
        wave = g.linear(dft.clone(), wave)?;
        let phase = g.abs2(wave)?;
        let turn = g.cis(phase)?;
        wave = g.mul(wave, turn)?;
        if checkpoints && i % 2 == 1 {
            g.checkpoint(wave);
        }
    }
    let intensity = g.abs2(wave)?;
    let bright = g.add_constant(intensity, 1e-3)?;
    let log = g.log(bright)?;
    let match_ = g.dot(counts, log)?;
    let total = g.sum(intensity)?;
    let loss = g.sub(total, match_)?;
    g.plan(&[loss], PlanOptions { par: Par::seq(), limits })
}

#[test]
fn a_session_allocates_what_the_plan_says_and_runs_without_allocating() {
    for checkpoints in [false, true] {
        let plan = model(checkpoints, Limits::default()).unwrap();
        let (session, _, bytes) = allocations(|| Session::new(&plan));
        let mut session = session.unwrap();
        assert_eq!(bytes as u64, plan.bytes());

        let (object, probe) = (plan.find("object").unwrap(), plan.find("probe").unwrap());
        let values: Vec<f32> = (0..2 * 6 * N * N).map(|i| (i as f32).sin()).collect();
        let ((), count, _) = allocations(|| {
            session.set(object, &values);
            session.set(probe, &values[..2 * N * N]);
            session.set(plan.find("counts").unwrap(), &[1.0; SCAN * N * N]);
            session.set_indices(plan.find("positions").unwrap(), &[0, 0, 48, 24, 7, 9, 7, 9, 30, 3]);
            for step in 0..3 {
                session.forward(Mode::Train { step }).unwrap();
                session.backward();
                let (p, g) = session.params_and_grads();
                p.iter_mut().zip(g).for_each(|(p, g)| *p -= 1e-6 * g);
            }
        });
        assert_eq!(count, 0, "allocations in three steps");
        assert!(session.grad(probe).iter().any(|&g| g != 0.0));
    }
}

#[test]
fn buffers_are_used_again_and_checkpoints_save_memory() {
    let (plain, short) = (model(false, Limits::default()).unwrap(), model(true, Limits::default()).unwrap());
    // 8 rounds keep the transform and the turn, two complex stacks each, for the backward pass; 4 segments of two rounds
    // keep 3 boundaries and one segment.
    let stack = (2 * SCAN * N * N * 4) as u64;
    assert!(plain.bytes() < 24 * stack, "{} stacks", plain.bytes() / stack);
    assert!(short.bytes() + 6 * stack < plain.bytes(), "{} and {}", short.bytes() / stack, plain.bytes() / stack);
    assert!(plain.to_string().contains("Dft"), "{plain}");
}

#[test]
fn a_plan_over_budget_is_refused_before_it_allocates() {
    let needed = model(false, Limits::default()).unwrap().bytes();
    let refused = model(false, Limits { bytes: needed - 1 });
    assert!(matches!(refused, Err(Error::OverBudget { needed: n, budget: b }) if n == needed && b == needed - 1));
    assert!(model(false, Limits { bytes: needed }).is_ok());
}
