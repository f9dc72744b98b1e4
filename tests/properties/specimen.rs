//! `specimen`: geometry of crystals, potentials and their gradients.

use exitwave::autodiff::{Function, Mode, check_function_at};
use exitwave::optics::Grid;
use exitwave::par::Par;
use exitwave::shape::Space;
use exitwave::specimen::{
    Atom, Atoms, Cell, Parametrization, PotentialFunction, PotentialParams, PotentialPlan, Projection, Slicing,
    Species, crystals, norm, tilt_matrix,
};
use exitwave::units::{Angle, Length};
use proptest::prelude::*;

fn grid(dims: [usize; 2], extent: [f64; 2]) -> Grid {
    Grid { dims, sampling: [0, 1].map(|i| Length::angstrom(extent[i] / dims[i] as f64)) }
}

/// Distances of all pairs within `reach`, periodic, sorted: what no change of the cell may alter.
fn pairs(atoms: &Atoms, reach: f64) -> Vec<f64> {
    let mut all = Vec::new();
    let first = &atoms.atoms;
    for a in first {
        for b in first {
            for i in -3..=3 {
                for j in -3..=3 {
                    for k in -3..=3 {
                        let shift = atoms.cell.cartesian([i, j, k].map(f64::from));
                        let d = norm(std::array::from_fn(|n| b.position[n] + shift[n] - a.position[n]));
                        if d > 1e-6 && d < reach {
                            all.push(d);
                        }
                    }
                }
            }
        }
    }
    all.sort_by(f64::total_cmp);
    all
}

#[test]
fn orthogonal_cells_hold_the_same_crystal() {
    // The number of atoms of the smallest orthogonal cell.
    let cases: [(Atoms, [i32; 3], [i32; 3], usize); 10] = [
        (crystals::silicon(), [1, 1, 0], [0, 0, 1], 4),
        // Of a cell that holds six: the zone axis [110] of the crystal.
        (crystals::silicon().repeated([2, 1, 3]).unwrap(), [2, 4, 0], [0, 0, 1], 4),
        (crystals::silicon(), [1, 1, 1], [1, -1, 0], 12),
        (crystals::silicon(), [1, 1, 2], [1, 1, -1], 12),
        (crystals::gold(), [1, 0, 0], [0, 1, 1], 2),
        (crystals::strontium_titanate(), [0, 0, 1], [1, 0, 0], 5),
        (crystals::strontium_titanate(), [1, 1, 0], [0, 0, 1], 10),
        (crystals::molybdenum_disulphide(), [0, 0, 1], [1, 0, 0], 12),
        (crystals::molybdenum_disulphide(), [1, 0, 0], [0, 0, 1], 12),
        (crystals::magnetite(), [1, 1, 0], [0, 0, 1], 28),
    ];
    for (crystal, zone, up, count) in cases {
        let cell = crystal.oriented(zone, up).unwrap();
        assert_eq!(cell.atoms.len(), count, "{zone:?}");
        let edges = cell.edges().unwrap().map(|l| l.to_angstrom());
        let density = |a: &Atoms| a.atoms.len() as f64 / a.cell.volume_a3();
        assert!((density(&cell) / density(&crystal) - 1.0).abs() < 1e-9);
        let (a, b) = (pairs(&crystal, 3.3), pairs(&cell, 3.3));
        let ratio = cell.atoms.len() as f64 / crystal.atoms.len() as f64;
        assert!((b.len() as f64 - ratio * a.len() as f64).abs() < 0.5, "{zone:?}: {} {}", a.len(), b.len());
        assert!((a[0] - b[0]).abs() < 1e-9 && (a[a.len() - 1] - b[b.len() - 1]).abs() < 1e-9);
        assert!(cell.atoms.iter().all(|a| (0..3).all(|i| a.position[i] >= 0.0 && a.position[i] < edges[i])));
    }
    // Si [110] at its published size, a/√2 along the beam and across, a along [001].
    let edges = crystals::silicon().oriented([1, 1, 0], [0, 0, 1]).unwrap().edges().unwrap();
    let short = 5.431 / 2f64.sqrt();
    for (edge, want) in edges.iter().zip([short, short, 5.431]) {
        assert!((edge.to_angstrom() - want).abs() < 1e-9);
    }
    // A triclinic cell has none.
    let lengths = [5.1, 6.3, 7.7].map(Length::angstrom);
    let cell = Cell::from_parameters(lengths, [81.3, 94.7, 107.9].map(Angle::deg)).unwrap();
    let atoms = Atoms::from_fractional(cell, &[(Species::neutral(6).unwrap(), [0.0; 3])]).unwrap();
    assert!(atoms.oriented([1, 0, 0], [0, 1, 0]).is_err());
    assert!(atoms.oriented([0, 0, 0], [0, 1, 0]).is_err());
}

#[test]
fn a_cut_box_has_the_density_and_the_distances_of_the_crystal() {
    let crystal = crystals::gold();
    let edges = [30.0, 34.0, 38.0].map(Length::angstrom);
    let cut = crystal.cut(tilt_matrix(Angle::deg(7.0), Angle::deg(-13.0)), edges).unwrap();
    let expected = 30.0 * 34.0 * 38.0 * 4.0 / 4.078f64.powi(3);
    assert!((cut.atoms.len() as f64 / expected - 1.0).abs() < 0.03, "{} {expected}", cut.atoms.len());
    let centre = cut.atoms.iter().min_by(|a, b| {
        let d = |a: &Atom| norm([a.position[0] - 15.0, a.position[1] - 17.0, a.position[2] - 19.0]);
        d(a).total_cmp(&d(b))
    });
    let centre = centre.unwrap().position;
    let near = cut.atoms.iter().filter(|a| {
        let d = norm(std::array::from_fn(|i| a.position[i] - centre[i]));
        (d - 2.8836).abs() < 1e-3
    });
    assert_eq!(near.count(), 12);
    assert!(crystal.cut([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], edges).is_err());
    assert!(crystal.cut(tilt_matrix(Angle::ZERO, Angle::ZERO), [Length::um(100.0); 3]).is_err());
}

#[test]
fn vacancies_dopants_and_vacuum_do_what_they_say() {
    let o = Species::neutral(8).unwrap();
    let n = Species::neutral(7).unwrap();
    let sto = crystals::strontium_titanate().repeated([4, 4, 4]).unwrap();
    let holes = sto.clone().with_vacancies(o, 0.25, 3).unwrap();
    assert_eq!(holes.atoms.len(), 320 - 48);
    assert_ne!(holes, sto.clone().with_vacancies(o, 0.25, 4).unwrap());
    let doped = sto.clone().with_dopant(o, n, 0.5, 3).unwrap();
    assert_eq!(doped.atoms.iter().filter(|a| a.species == n).count(), 96);
    assert!(sto.clone().with_vacancies(o, 1.5, 3).is_err());
    let padded = sto.clone().with_vacuum([1.0, 2.0, 3.0].map(Length::angstrom)).unwrap();
    assert!((padded.edges().unwrap()[2].to_angstrom() - 4.0 * 3.905 - 6.0).abs() < 1e-12);
    assert!((padded.atoms[0].position[0] - 1.0).abs() < 1e-12);
    assert!(sto.with_vacuum([Length::angstrom(-1.0); 3]).is_err());
}

#[test]
fn frozen_phonons_have_their_width_and_average_to_debye_and_waller() {
    let o = Species::neutral(8).unwrap();
    let sto = crystals::strontium_titanate().with_sigma(o, Length::angstrom(0.12));
    let (mut sum, mut n) = (0.0, 0.0);
    let grid = grid([24, 24], [3.905; 2]);
    let params = PotentialParams { grid, slicing: Slicing::Count(1), par: Par::seq(), ..Default::default() };
    let build = |a: &Atoms| PotentialPlan::<f64>::new(a, &params).unwrap().build().unwrap().values;
    let mut mean = vec![0.0; 576];
    for i in 0..400 {
        let moved = sto.displaced(7, i);
        for (a, b) in sto.atoms.iter().zip(&moved.atoms) {
            let d: [f64; 3] = std::array::from_fn(|k| b.position[k] - a.position[k]);
            if a.species == o {
                sum += d.iter().map(|x| x * x).sum::<f64>();
                n += 3.0;
            } else {
                assert_eq!(d, [0.0; 3]);
            }
        }
        mean.iter_mut().zip(build(&moved).as_slice()).for_each(|(m, v)| *m += v / 400.0);
    }
    // The variance of 3600 numbers, within four standard errors; the mean potential likewise, against the oxygen's peak.
    assert!((sum / n / 0.0144 - 1.0f64).abs() < 4.0 * (2.0f64 / n).sqrt());
    let want = build(&sto);
    let rest =
        build(&Atoms { atoms: sto.atoms.iter().map(|a| Atom { sigma: [0.0; 3], ..*a }).collect(), cell: sto.cell });
    let d = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert!(d(&mean, want.as_slice()) < 0.1 * d(rest.as_slice(), want.as_slice()));
    assert_eq!(sto.displaced(7, 3), sto.displaced(7, 3));
}

#[test]
fn the_mean_of_a_potential_is_the_mean_inner_potential() {
    for crystal in [crystals::silicon(), crystals::gold(), crystals::strontium_titanate()] {
        for parametrization in [Parametrization::Kirkland, Parametrization::Lobato, Parametrization::Peng] {
            let l = crystal.edges().unwrap()[0].to_angstrom();
            let params = PotentialParams { grid: grid([32, 32], [l; 2]), parametrization, ..Default::default() };
            let v = PotentialPlan::<f64>::new(&crystal, &params).unwrap().build().unwrap().projected();
            let mean = v.as_slice().iter().sum::<f64>() / 1024.0 / l;
            let want = crystal.mean_inner_potential(parametrization).unwrap();
            assert!((mean / want - 1.0).abs() < 1e-12);
            // Free atoms: 13.9 V for silicon, about 30 for gold (M. Gajdardziska-Josifovska and others, Ultramicroscopy 50, 285 (1993)).
            assert!(want > 10.0 && want < 40.0, "{want}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_potential_follows_its_atoms_by_whole_pixels(y in 0usize..20, x in 0usize..24, seed in 0u64..100) {
        let (ly, lx) = (6.0, 7.2);
        let species = Species::neutral(14).unwrap();
        let mut r = exitwave::rng::stream(seed, 0);
        let mut u = || exitwave::rng::uniform(&mut r);
        let atoms: Vec<Atom> = (0..6).map(|_| Atom::new(species, [4.0 * u(), ly * u(), lx * u()])).collect();
        let cell = Cell::orthorhombic([4.0, ly, lx].map(Length::angstrom));
        let atoms = Atoms { atoms, cell };
        let params = PotentialParams { grid: grid([20, 24], [ly, lx]), par: Par::seq(), ..Default::default() };
        let build = |a: &Atoms| PotentialPlan::<f64>::new(a, &params).unwrap().build().unwrap().values;
        let v = build(&atoms);
        let by = [Length::ZERO, Length::angstrom(0.3 * y as f64), Length::angstrom(0.3 * x as f64)];
        let moved = build(&atoms.clone().translated(by));
        let largest = v.as_slice().iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for s in 0..2 {
            for i in 0..20 {
                for j in 0..24 {
                    prop_assert!((v[[s, i, j]] - moved[[s, (i + y) % 20, (j + x) % 24]]).abs() < 1e-11 * largest);
                }
            }
        }
    }

    #[test]
    fn tilts_turn_and_nothing_else(alpha in -1.0..1.0f64, beta in -1.0..1.0f64) {
        let ball = crystals::silicon().translated([Length::angstrom(0.1); 3]);
        let turned = ball.clone().tilted(Angle::rad(alpha), Angle::rad(beta));
        let d = |a: &Atoms, i: usize, j: usize| norm(std::array::from_fn(|k| a.atoms[i].position[k] - a.atoms[j].position[k]));
        for i in 0..8 {
            for j in 0..8 {
                prop_assert!((d(&ball, i, j) - d(&turned, i, j)).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn gradients_of_positions_and_thermal_motion_are_finite_differences() {
    let (si, o) = (Species::neutral(14).unwrap(), Species::neutral(8).unwrap());
    let cell = Cell::orthorhombic([4.0, 3.0, 3.6].map(Length::angstrom));
    let sites = [(si, [0.1, 0.2, 0.3]), (o, [0.5, 0.7, 0.2]), (si, [0.9, 0.4, 0.8])];
    let atoms = Atoms::from_fractional(cell, &sites).unwrap();
    let positions: Vec<f64> = atoms.atoms.iter().flat_map(|a| a.position).collect();
    let sigma: Vec<f64> = (0..9).map(|i| 0.05 + 0.01 * f64::from(i)).collect();
    let spaces = [Space::real(&[3, 3]), Space::real(&[3, 3])];
    let mut there = atoms.clone();
    for (i, a) in there.atoms.iter_mut().enumerate() {
        a.sigma = std::array::from_fn(|k| sigma[3 * i + k]);
        a.occupancy = 1.0 - 0.2 * i as f64;
    }
    for projection in [Projection::Infinite, Projection::Finite] {
        for (dims, margin) in [([10, 12], 0.0), ([9, 11], 0.0), ([8, 9], 1.0)] {
            let params = PotentialParams {
                grid: grid(dims, [3.0, 3.6]),
                margin: Length::angstrom(margin),
                projection,
                slicing: Slicing::Thickness(Length::angstrom(1.5)),
                par: Par::seq(),
                ..Default::default()
            };
            let f = PotentialFunction::<f64>::new(&there, &params).unwrap();
            let error = check_function_at(&f, &spaces, &[positions.clone(), sigma.clone()], 4).unwrap();
            assert!(error < 1e-6, "{projection:?} {dims:?}: {error:e}");

            // The function is the plan.
            let plan = PotentialPlan::<f64>::new(&there, &params).unwrap().build().unwrap();
            let mut y = vec![f64::NAN; plan.values.len()];
            let mut scratch = vec![f64::NAN; f.scratch_len(&[&spaces[0], &spaces[1]])];
            f.forward(&[&positions, &sigma], &mut y, &mut [], &mut scratch, Mode::Train { step: 0 });
            assert_eq!(y, plan.values.as_slice());
        }
    }
}
