//! Crystallographic processing: lattices, reflections, plane groups, zones put together.

use exitwave::hrtem::*;
use exitwave::num_complex::Complex;
use exitwave::par::Par;
use exitwave::rng;
use exitwave::specimen::Cell;
use exitwave::units::Length;
use proptest::prelude::*;

#[path = "../../examples/support/plane_crystal.rs"]
mod plane_crystal;
use plane_crystal::{classify, picture, structure};

const TAU: f64 = std::f64::consts::TAU;

fn turn(h: [i32; 2], x: [f64; 2]) -> f64 {
    TAU * (f64::from(h[0]) * x[0] + f64::from(h[1]) * x[1])
}

/// Noise of a share of the root mean square amplitude.
fn noisy(reflections: &PlaneReflections, share: f64, seed: u64) -> PlaneReflections {
    let mut random = rng::stream(seed, 7);
    let mut out = reflections.clone();
    let power: f64 = out.list.iter().map(|r| r.f.norm_sqr()).sum();
    let sigma = share * (power / out.list.len() as f64).sqrt();
    for r in &mut out.list {
        let (u, v) = rng::normal_pair(&mut random);
        (r.f, r.sigma) = (r.f + Complex::new(u, v) * sigma, sigma);
    }
    out
}

#[test]
fn every_plane_group_is_found_in_noisy_reflections_of_random_structures() {
    let (mut right, mut all) = (0, 0);
    for group in PlaneGroup::ALL {
        for seed in 0..4 {
            let s = structure(group, 100 + seed, 2.2);
            let ranking = rank_plane_groups(&noisy(&s.reflections, 0.3, seed), &PlaneGroupParams::default()).unwrap();
            let best = ranking.best();
            all += 1;
            right += usize::from(best.setting.group == group);
            if best.setting.group == group && group.order() > 1 {
                // χ² of the right group is that of noise: 5 σ, one case in 10⁶.
                assert!(best.excess().abs() < 5.0, "{group:?} {seed}: {}", best.excess());
                let (found, expected) = (best.phase_residual.to_deg(), best.expected_phase_residual.to_deg());
                assert!((found / expected - 1.0).abs() < 0.5, "{group:?} {seed}: {found} {expected}");
            }
        }
    }
    // Akaike's criterion takes too little symmetry in at most some per cent.
    assert!(all - right <= 4, "{right} of {all}");
}

#[test]
fn the_whole_chain_from_counts_to_the_group_works_at_ten_electrons_per_square_angstrom() {
    for group in [PlaneGroup::P2gg, PlaneGroup::Cm, PlaneGroup::P31m] {
        let s = structure(group, 5, 2.2);
        let image = picture(&s, 448, 0.6, 0.07, 3.6, 9);
        let ranking = classify(&image, 448, 0.6, 2.2, &PlaneGroupParams::default()).unwrap();
        assert_eq!(ranking.best().setting.group, group);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_picture_with_an_imposed_group_has_its_symmetry(which in 0usize..17, seed in 0u64..1000) {
        let group = PlaneGroup::ALL[which];
        let s = structure(group, seed, 3.0);
        let noisy = noisy(&s.reflections, 0.5, seed);
        let ranking = rank_plane_groups(&noisy, &PlaneGroupParams { draws: 0, ..Default::default() }).unwrap();
        let fit = ranking.fits.iter().find(|f| f.setting.group == group).unwrap();
        let imposed = impose_plane_group(&noisy, fit).unwrap();
        let value = |x: [f64; 2]| -> f64 {
            imposed.list.iter().map(|r| 2.0 * (r.f * Complex::from_polar(1.0, -turn(r.index, x))).re).sum()
        };
        let scale: f64 = imposed.list.iter().map(|r| 2.0 * r.f.norm()).sum();
        for o in fit.setting.operations() {
            let x = [0.137, 0.713];
            prop_assert!((value(o.apply(x)) - value(x)).abs() < 1e-9 * scale, "{:?}", fit.setting);
        }
        // Imposing again changes nothing.
        let again = impose_plane_group(&imposed, &PlaneGroupFit { origin: [0.0; 2], ..*fit }).unwrap();
        for (a, b) in imposed.list.iter().zip(&again.list) {
            prop_assert!((a.f - b.f).norm() < 1e-9 * scale && a.sigma >= b.sigma - 1e-12);
        }
    }

    #[test]
    fn the_search_does_not_depend_on_where_the_lattice_starts(seed in 0u64..1000, u in 0.0..1.0f64, v in 0.0..1.0f64) {
        let s = structure(PlaneGroup::P2mg, seed, 3.0);
        let first = noisy(&s.reflections, 0.2, seed);
        let mut moved = first.clone();
        moved.list.iter_mut().for_each(|r| r.f *= Complex::from_polar(1.0, turn(r.index, [u, v])));
        let params = PlaneGroupParams { draws: 0, ..Default::default() };
        let [a, b] = [&first, &moved].map(|r| rank_plane_groups(r, &params).unwrap());
        prop_assert_eq!(a.best().setting, b.best().setting);
        prop_assert!((a.best().chi2 - b.best().chi2).abs() < 1e-6 * (1.0 + a.best().chi2));
    }

    #[test]
    fn reflections_between_pixels_are_measured_exactly_without_noise(
        a in 9.0..14.0f64, b in 9.0..14.0f64, angle in 1.2..1.9f64, rotation in 0.0..6.2f64, seed in 0u64..1000,
    ) {
        let lattice = PlaneLattice {
            origin: [3.3, -1.7],
            a: [a * rotation.sin(), a * rotation.cos()],
            b: [b * (rotation + angle).sin(), b * (rotation + angle).cos()],
        };
        let mut random = rng::stream(seed, 0);
        let truth: Vec<([i32; 2], Complex<f64>)> = [[1, 0], [0, 1], [1, 1], [1, -1], [2, 1]]
            .map(|h| (h, Complex::new(rng::normal(&mut random), rng::normal(&mut random))))
            .to_vec();
        let (ny, nx) = (61, 72);
        let image: Vec<f64> = (0..ny * nx)
            .map(|i| {
                let x = lattice.fraction([(i / nx) as f64, (i % nx) as f64]);
                4.0 + truth.iter().map(|(h, f)| 2.0 * (f * Complex::from_polar(1.0, -turn(*h, x))).re).sum::<f64>()
            })
            .collect();
        let params = ReflectionsParams { highest: 0.3, par: Par::seq(), ..Default::default() };
        let found = measure_reflections([ny, nx], &image, &lattice, &params).unwrap();
        prop_assert!((found.mean - 4.0).abs() < 1e-9);
        for r in &found.list {
            let f = truth.iter().find(|t| t.0 == r.index).map_or(Complex::new(0.0, 0.0), |t| t.1);
            // All of these reflections are within 0.3 cycles per pixel.
            prop_assert!((r.f - f).norm() < 1e-9, "{:?} {} {}", r.index, r.f, f);
        }
    }
}

#[test]
fn the_noise_of_reflections_is_what_counting_makes() {
    let lattice = PlaneLattice { origin: [0.0; 2], a: [1.0, 15.0], b: [17.0, 2.0] };
    let (n, electrons) = (192, 5.0);
    let mut random = rng::stream(3, 3);
    let image: Vec<f64> = (0..n * n)
        .map(|i| {
            let [u, v] = lattice.fraction([(i / n) as f64, (i % n) as f64]);
            rng::poisson(&mut random, electrons * (1.0 + 0.2 * (TAU * u).cos() + 0.1 * (TAU * (u + v)).sin()))
        })
        .collect();
    let params = ReflectionsParams { highest: 0.3, par: Par::seq(), ..Default::default() };
    let found = measure_reflections([n, n], &image, &lattice, &params).unwrap();
    let truth = |h: [i32; 2]| match h {
        [1, 0] => Complex::new(0.1 * electrons, 0.0),
        // sin = Re −i e^{i}: F(11) = conj of −i/2, times 0.1 · 5.
        [1, 1] => Complex::new(0.0, 0.05 * electrons),
        _ => Complex::new(0.0, 0.0),
    };
    let chi2: f64 = found.list.iter().map(|r| (r.f - truth(r.index)).norm_sqr() / (r.sigma * r.sigma)).sum();
    let numbers = 2.0 * found.list.len() as f64;
    // χ² of that many numbers, four standard deviations; σ itself is known to about 3 %.
    assert!((chi2 / numbers - 1.0).abs() < 4.0 * (2.0 / numbers).sqrt() + 0.06, "{chi2} of {numbers}");
}

#[test]
fn the_lattice_of_a_noisy_picture_is_found_within_its_error() {
    for (seed, group) in PlaneGroup::ALL.into_iter().enumerate().step_by(4) {
        let s = structure(group, 40 + seed as u64, 2.2);
        let image = picture(&s, 448, 0.6, 0.07, 3.6, seed as u64);
        let params = ImageLatticeParams { band: [0.007, 0.27], par: Par::seq(), ..Default::default() };
        let found = find_image_lattice([448, 448], &image, &params).unwrap();
        let truth = s.lattice.reduced();
        assert!((found.lattice.area() * 0.36 / truth.area() - 1.0).abs() < 2e-3, "{group:?}");
        // The axes span the same lattice, whichever of equally short ones were taken. Four components, five standard
        // deviations; these are of some hundredths of a pixel.
        for (axis, error) in [(found.lattice.a, found.error[0]), (found.lattice.b, found.error[1])] {
            let near = truth.at(truth.fraction(axis.map(|c| c * 0.6)).map(f64::round));
            let off = [0, 1].map(|i| axis[i] - near[i] / 0.6);
            assert!(off[0].hypot(off[1]) < 5.0 * error && error < 0.06, "{group:?} {off:?} {error}");
        }
        assert!(found.power[1] >= found.power[0] && found.indexed > 0.9);
    }
}

/// The reflections of a crystal in one zone, from another origin and on another scale.
fn zone(truth: &CrystalReflections, basis: [[i32; 3]; 2], origin: [f64; 2], scale: f64) -> Zone {
    let mut list = Vec::new();
    for h in 0..=24 {
        for k in -24..=24 {
            let hkl = [0, 1, 2].map(|i| h * basis[0][i] + k * basis[1][i]);
            if let (true, Some(f)) = (h > 0 || k > 0, truth.get(hkl)) {
                let f = f * Complex::from_polar(scale, turn([h, k], origin));
                list.push(PlaneReflection { index: [h, k], f, sigma: 1e-3 * scale });
            }
        }
    }
    let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 1.0], b: [1.0, 0.0] };
    Zone { reflections: PlaneReflections { lattice, mean: 0.0, list }, bases: vec![basis] }
}

/// The largest correlation of two sets of reflections over shifts by multiples of a twenty-fourth of the axes that
/// leave the
/// group's operations where they are.
fn correlation(found: &CrystalReflections, truth: &dyn Fn([i32; 3]) -> Complex<f64>, shifts: &[[f64; 3]]) -> f64 {
    let mut best = -1.0;
    for s in shifts {
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for r in &found.list {
            let phase = TAU * (0..3).map(|i| f64::from(r.index[i]) * s[i]).sum::<f64>();
            let t = truth(r.index) * Complex::from_polar(1.0, phase);
            ab += (r.f.conj() * t).re;
            (aa, bb) = (aa + r.f.norm_sqr(), bb + t.norm_sqr());
        }
        best = f64::max(best, ab / (aa * bb).sqrt());
    }
    best
}

fn zinc_blende() -> (Cell, SpaceGroup, CrystalReflections) {
    let group =
        SpaceGroup::from_generators(&["x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "-x,-y,z", "-x,y,-z", "z,x,y", "y,x,z"]);
    let cell = Cell::cubic(Length::angstrom(5.4));
    // Point atoms of 30 and 16, ZnS.
    let mut list = Vec::new();
    for h in 0..=6 {
        for k in -6..=6 {
            for l in -6..=6 {
                let all = [h % 2, k % 2, l % 2].map(i32::abs);
                if [h, k, l] > [0; 3] && all[0] == all[1] && all[1] == all[2] && h * h + k * k + l * l <= 40 {
                    let s = f64::from(h + k + l);
                    let f = (30.0 + 16.0 * Complex::from_polar(1.0, TAU * s / 4.0))
                        * (-0.02 * f64::from(h * h + k * k + l * l)).exp();
                    list.push(CrystalReflection { index: [h, k, l], f, sigma: 0.0, measured: 1 });
                }
            }
        }
    }
    (cell, group.unwrap(), CrystalReflections { cell, list })
}

#[test]
fn two_zones_of_zinc_blende_give_its_structure_and_not_the_inverse() {
    let (cell, group, truth) = zinc_blende();
    let zones = [
        zone(&truth, [[2, 0, 0], [0, 2, 0]], [0.21, 0.43], 1.0),
        zone(&truth, [[0, 0, 2], [1, -1, 1]], [0.37, 0.81], 2.7),
    ];
    let found = combine_zones(&cell, &group, &zones, &CombineZonesParams::default()).unwrap();
    assert!((found.zones[1].scale * 2.7 - 1.0).abs() < 1e-6, "{:?}", found.zones);
    assert!(found.agreement > 1.0 - 1e-9 && found.phase_residual.to_deg() < 0.01, "{found:?}");
    // Origins that F-43m cannot tell apart: quarters along the diagonal, and their centrings.
    let shifts: Vec<[f64; 3]> = (0..4).map(|i| [0.25 * f64::from(i); 3]).collect();
    let right = correlation(&found.reflections, &|h| truth.get(h).unwrap(), &shifts);
    let inverse = correlation(&found.reflections, &|h| truth.get(h).unwrap().conj(), &shifts);
    assert!(right > 1.0 - 1e-9 && inverse < 0.95, "{right} {inverse}");

    // With the second picture turned by 180° it is the inverse; with both turns allowed nothing decides.
    let mut turned = zones.clone();
    turned[1].bases = vec![[[0, 0, -2], [-1, 1, -1]]];
    let found = combine_zones(&cell, &group, &turned, &CombineZonesParams::default()).unwrap();
    let inverse = correlation(&found.reflections, &|h| truth.get(h).unwrap().conj(), &shifts);
    assert!(inverse > 1.0 - 1e-9, "{inverse}");
    turned[1].bases.push(zones[1].bases[0]);
    let found = combine_zones(&cell, &group, &turned, &CombineZonesParams::default()).unwrap();
    assert!(found.ambiguity.abs() < 1e-9, "{}", found.ambiguity);
}

#[test]
fn the_synthesis_has_the_crystallographers_sign() {
    let (_, _, truth) = zinc_blende();
    let peaks = truth.peaks([40, 40, 40], 8, &Par::seq()).unwrap();
    let near = |p: &PotentialPeak, x: [f64; 3]| {
        (0..3).all(|i| (p.position[i] - x[i] - (p.position[i] - x[i]).round()).abs() < 0.01)
    };
    // The heavy atom at the origin, the light one at +¼ ¼ ¼ and not at −¼ −¼ −¼.
    assert!(peaks[..4].iter().any(|p| near(p, [0.0; 3])));
    assert!(peaks[4..8].iter().any(|p| near(p, [0.25; 3])), "{peaks:?}");
    assert!(!peaks.iter().any(|p| near(p, [-0.25; 3])));
}

#[test]
fn zones_that_share_nothing_or_do_not_fit_are_errors() {
    let (cell, group, truth) = zinc_blende();
    let good = zone(&truth, [[2, 0, 0], [0, 2, 0]], [0.0; 2], 1.0);
    let params = CombineZonesParams::default();
    assert!(combine_zones(&cell, &group, &[], &params).is_err());
    let none = Zone { bases: vec![], ..good.clone() };
    assert!(combine_zones(&cell, &group, &[good.clone(), none], &params).is_err());
    let mut odd = good.clone();
    odd.reflections.list[3].f.re = f64::NAN;
    assert!(combine_zones(&cell, &group, &[odd], &params).is_err());
    let long = Cell::orthorhombic([5.4, 5.4, 6.4].map(Length::angstrom));
    assert!(combine_zones(&long, &group, &[good], &params).is_err());
    let v = truth.volume([5, 40, 40], &Par::seq());
    assert!(v.is_err());
}
