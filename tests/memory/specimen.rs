//! `specimen`: potentials are computed without allocation once their buffers are there.

use exitwave::autodiff::{Function, Mode};
use exitwave::op::Write;
use exitwave::optics::Grid;
use exitwave::par::Par;
use exitwave::shape::Space;
use exitwave::specimen::{PotentialFunction, PotentialParams, PotentialPlan, Projection, crystals};
use exitwave::units::Length;

use crate::allocations;

#[test]
fn potentials_and_their_gradients_are_computed_without_allocating() {
    let atoms = crystals::strontium_titanate().repeated([2, 2, 1]).unwrap();
    let n = atoms.atoms.len();
    let grid = Grid { dims: [40, 40], sampling: [Length::angstrom(2.0 * 3.905 / 40.0); 2] };
    for projection in [Projection::Infinite, Projection::Finite] {
        for margin in [Length::ZERO, Length::angstrom(1.0)] {
            let params = PotentialParams { grid, projection, margin, par: Par::seq(), ..Default::default() };
            let plan = PotentialPlan::<f32>::new(&atoms, &params).unwrap();
            let (mut scratch, mut v) = (plan.scratch().unwrap(), vec![0.0; 1600]);
            let ((), count, _) = allocations(|| (0..plan.len()).for_each(|s| plan.fill_slice(s, &mut v, &mut scratch)));
            assert_eq!(count, 0, "{projection:?}, slices");

            let f = PotentialFunction::<f32>::new(&atoms, &params).unwrap();
            let space = Space::real(&[n, 3]);
            let x: Vec<f32> = atoms.atoms.iter().flat_map(|a| a.position.map(|r| r as f32)).collect();
            let sigma = vec![0.05; 3 * n];
            let mut y = vec![0.0; 1600 * f.plan().len()];
            let mut scratch = vec![0.0; f.scratch_len(&[&space, &space])];
            let (mut dx, mut ds) = (vec![0.0; 3 * n], vec![0.0; 3 * n]);
            let ((), count, _) = allocations(|| {
                f.forward(&[&x, &sigma], &mut y, &mut [], &mut scratch, Mode::Train { step: 0 });
                let mut wanted = [Some((&mut dx[..], Write::Set)), Some((&mut ds[..], Write::Set))];
                f.backward(&[&x, &sigma], &[], &[], &y, &mut wanted, &mut scratch);
            });
            assert_eq!(count, 0, "{projection:?}, gradient");
            assert!(ds.iter().any(|&d| d != 0.0));
        }
    }
}
