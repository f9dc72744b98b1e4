//! The zone axis from simulated patterns.

use exitwave::hrtem::{
    CrystalParams, ExcitationParams, FriedelPair, Holder, IndexParams, Misorientation, RecordParams, Tilts,
    ZoneAxisParams, ZonePattern, count_pattern, expected_pattern, find_zone_axis, fit_excitation, fit_laue_circle,
    index_pattern,
};
use exitwave::hrtem::{LaueParams, ZoneAxisFit};
use exitwave::optics::wavelength;
use exitwave::specimen::{Atoms, crystals};
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use proptest::prelude::*;

fn uio_66() -> Atoms {
    let mut atoms = crystals::uio_66();
    atoms.atoms.iter_mut().for_each(|a| a.sigma = [0.1; 3]);
    atoms
}

fn found(pattern: &ZonePattern, crystal: &Atoms, tilt: Misorientation, seed: u64) -> ZoneAxisFit {
    let params = CrystalParams { tilt, thickness: Length::nm(30.0), rotation: Angle::deg(20.0), ..Default::default() };
    let record = RecordParams { centre: [253.3, 258.8], ..RecordParams::default() };
    let expected = expected_pattern(&pattern.reflections(&params).unwrap(), &record).unwrap();
    let counts = count_pattern(&expected, seed).unwrap();
    let p = ZoneAxisParams { zone: Some([0, 0, 1]), pixel: record.pixel, ..ZoneAxisParams::default() };
    find_zone_axis(&counts, Some(&record.open().unwrap()), Some(crystal), &p).unwrap()
}

#[test]
fn two_noisy_patterns_bring_the_zone_axis_onto_the_beam() {
    let crystal = uio_66();
    let pattern = ZonePattern::new(&crystal, [0, 0, 1], SpatialFrequency::per_angstrom(1.5)).unwrap();
    let holder = Holder { alpha_axis: Angle::deg(-37.0), beta_axis: Angle::deg(53.0), ..Holder::default() };
    let now = Tilts { alpha: Angle::deg(3.0), beta: Angle::deg(-5.0) };
    let off = Misorientation::new(Angle::deg(3.3), Angle::deg(70.0));

    // The first pattern says how to tilt; a stage that falls short by 5 % leaves 0.17°; the second pattern sees it.
    let first = found(&pattern, &crystal, off, 1);
    assert!(first.fit.tilt.angle_to(&off).to_deg() < 0.1, "{:?}", first.fit);
    assert!((first.indexed.centre()[0] - 253.3).abs() < 0.2 && (first.indexed.centre()[1] - 258.8).abs() < 0.2);
    let wanted = holder.target(now, first.fit.tilt).unwrap();
    let reached = Tilts {
        alpha: now.alpha + (wanted.alpha - now.alpha) * 0.95,
        beta: now.beta + (wanted.beta - now.beta) * 0.95,
    };
    let left = holder.misorientation(now, off, reached);
    assert!(left.phi().to_deg() > 0.1 && left.phi().to_deg() < 0.3);
    let second = found(&pattern, &crystal, left, 2);
    assert!(second.fit.tilt.angle_to(&left).to_deg() < 0.1, "{:?} {left:?} {:?}", second.fit, second.indexed.centre());
    let corrected = holder.target(reached, second.fit.tilt).unwrap();
    assert!(holder.misorientation(reached, left, corrected).phi().to_deg() < 0.1);
    // Two patterns over a disc of 1 µm²: what was recorded, and what the specimen got.
    let dose = 2.0 * 5e5 / 1e8;
    assert!(dose < 1.0 && first.electrons < 5e5);
}

#[test]
fn a_reflection_that_outshines_all_others_is_no_direct_beam() {
    let pattern = ZonePattern::new(&uio_66(), [0, 0, 1], SpatialFrequency::per_angstrom(1.5)).unwrap();
    let tilt = Misorientation::new(Angle::deg(2.0), Angle::deg(20.0));
    let params = CrystalParams { tilt, thickness: Length::nm(30.0), rotation: Angle::deg(20.0), ..Default::default() };
    let mut list = pattern.reflections(&params).unwrap();
    // As bright as all others together: a fifth of what the spots hold, and more than five times the next.
    let total: f64 = list.iter().map(|r| r.share).sum();
    let top = list.iter_mut().max_by(|a, b| a.share.total_cmp(&b.share)).unwrap();
    top.share = total;
    let at = [0, 1].map(|i| top.q[i] / 0.006);
    assert!(at[0].hypot(at[1]) > 20.0, "the brightest is not beside the stop");
    let record = RecordParams { centre: [253.3, 258.8], ..RecordParams::default() };
    let counts = count_pattern(&expected_pattern(&list, &record).unwrap(), 5).unwrap();
    let found = index_pattern(&counts, Some(&record.open().unwrap()), &IndexParams::default()).unwrap();
    let centre = found.centre();
    // The right point of a net of 8 pixels and more; layers other than the zeroth pull at the lattice of all spots.
    assert!((centre[0] - 253.3).abs() < 2.0 && (centre[1] - 258.8).abs() < 2.0, "{centre:?}");
}

#[test]
fn a_pattern_of_another_zone_axis_is_recognised_from_the_cell_alone() {
    let crystal = uio_66();
    let pattern = ZonePattern::new(&crystal, [1, 1, 0], SpatialFrequency::per_angstrom(1.5)).unwrap();
    let params =
        CrystalParams { tilt: Misorientation::new(Angle::deg(0.6), Angle::deg(10.0)), ..CrystalParams::default() };
    let record = RecordParams::default();
    let expected = expected_pattern(&pattern.reflections(&params).unwrap(), &record).unwrap();
    let counts = count_pattern(&expected, 3).unwrap();
    let p = ZoneAxisParams { pixel: record.pixel, ..ZoneAxisParams::default() };
    let fit = find_zone_axis(&counts, Some(&record.open().unwrap()), Some(&crystal), &p).unwrap();
    let mut zone = fit.zone.unwrap().zone.map(i32::abs);
    zone.sort_unstable();
    assert_eq!(zone, [0, 1, 1]);
    assert!(fit.fit.tilt.angle_to(&params.tilt).to_deg() < 0.1, "{:?}", fit.fit.tilt);
}

/// Pairs of a net with strengths that fall over four decades, at a tilt and a thickness of 300 Å, their background 4 electrons.
fn random_pairs(tilt: Misorientation, scale: f64, seed: u64) -> Vec<FriedelPair> {
    let w = tilt.slope();
    let lambda = wavelength(Energy::kev(300.0)).to_angstrom();
    let mut rng = exitwave::rng::stream(seed, 3);
    let mut pairs = Vec::new();
    for h in -11i32..=11 {
        for k in 0i32..=11 {
            if k > 0 || h > 0 {
                let q = [0.09 * f64::from(k), 0.09 * f64::from(h)];
                let q2 = q[0] * q[0] + q[1] * q[1];
                let a = scale * (-9.0 * exitwave::rng::uniform(&mut rng)).exp();
                let counts = [1.0, -1.0].map(|sign| {
                    let s = sign * (w[0] * q[0] + w[1] * q[1]) - (1.0 - (1.0 - lambda * lambda * q2).sqrt()) / lambda;
                    let x = 2.0 * std::f64::consts::PI * s * 300.0;
                    let mean = a * (1.0 - (-0.5 * x * x * 0.0025f64).exp() * x.cos()) / (0.5 * x * x).max(1e-12);
                    exitwave::rng::poisson(&mut rng, mean + 4.0) as f64
                });
                pairs.push(FriedelPair { q, height: 0.0, counts, background: [4.0; 2] });
            }
        }
    }
    pairs
}

#[test]
fn the_stated_uncertainty_covers_the_error_when_half_of_the_pairs_are_faint() {
    let mut ratios: Vec<f64> = (0..40)
        .map(|seed| {
            let tilt = Misorientation::new(Angle::deg(1.2), Angle::deg(9.0 * seed as f64));
            let fit =
                fit_excitation(&random_pairs(tilt, 4000.0, seed), Some(tilt), &ExcitationParams::default()).unwrap();
            (fit.tilt.phi() - tilt.phi()).abs() / fit.sigma_phi
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    // Of a normal distribution the median is 0.67 and one in forty is beyond 2.3; 40 draws have the median to 0.13 (one deviation).
    // Three deviations of that for the median; what a χ² of few pairs adds to the tail is in the second.
    assert!(ratios[20] < 1.07 && ratios[38] < 3.5, "{ratios:?}");
}

#[test]
fn a_wrong_minimum_is_not_trusted_and_the_right_one_is() {
    for seed in 0..6 {
        let tilt = Misorientation::new(Angle::deg(1.5), Angle::deg(60.0 * seed as f64));
        let pairs = random_pairs(tilt, 2e4, seed);
        let right = fit_excitation(&pairs, Some(tilt), &ExcitationParams::default()).unwrap();
        assert!(right.tilt.angle_to(&tilt).to_deg() < 0.1 && right.confidence > 0.9, "{right:?}");
        assert!((right.alternatives.iter().map(|a| a.1).sum::<f64>() - 1.0).abs() < 1e-9);
        // A degree and more away there are other minima.
        let far = Misorientation::new(Angle::deg(1.5), Angle::deg(60.0 * seed as f64 + 180.0));
        let wrong = fit_excitation(&pairs, Some(far), &ExcitationParams::default()).unwrap();
        assert!(wrong.tilt.angle_to(&tilt).to_deg() < 0.1 || wrong.confidence < 0.9, "{wrong:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn exact_pair_ratios_give_the_tilt_whatever_the_strengths(
        phi in 0.2f64..4.0, azimuth in -180.0f64..180.0, t in 200.0f64..450.0, seed in 0u64..1000,
    ) {
        // Strengths at random, no noise, no background: the ratios alone say everything.
        let tilt = Misorientation::new(Angle::deg(phi), Angle::deg(azimuth));
        let w = tilt.slope();
        let lambda = wavelength(Energy::kev(300.0)).to_angstrom();
        let curve = |q: [f64; 2]| {
            let q2 = q[0] * q[0] + q[1] * q[1];
            let s = w[0] * q[0] + w[1] * q[1] - (1.0 - (1.0 - lambda * lambda * q2).sqrt()) / lambda;
            let (x, rho) = (2.0 * std::f64::consts::PI * s * t, 0.05f64);
            (1.0 - (-0.5 * x * x * rho * rho).exp() * x.cos()) / (x * x).max(1e-12)
        };
        let mut rng = exitwave::rng::stream(seed, 0);
        let mut pairs = Vec::new();
        for h in -9i32..=9 {
            for k in 0i32..=9 {
                if k > 0 || h > 0 {
                    let q = [0.097 * f64::from(k), 0.097 * f64::from(h)];
                    let a = 1e5 * exitwave::rng::uniform(&mut rng);
                    let counts = [a * curve(q), a * curve(q.map(|x| -x))];
                    pairs.push(FriedelPair { q, height: 0.0, counts, background: [0.0; 2] });
                }
            }
        }
        let fit = fit_excitation(&pairs, Some(tilt), &ExcitationParams::default()).unwrap();
        // The floor under the curve, 10⁻⁵ of its top, is all that is wrong.
        prop_assert!(fit.tilt.angle_to(&tilt).to_deg() < 2e-3, "{fit:?}");
        prop_assert!((fit.thickness.to_angstrom() / t - 1.0).abs() < 2e-3, "{fit:?}");
        // Seen from behind, and turned, the pattern says the same.
        let turned: Vec<_> = pairs.iter().map(|p| FriedelPair { q: [p.q[1], -p.q[0]], ..*p }).collect();
        let other = Misorientation::from_slope([w[1], -w[0]]);
        let fit = fit_excitation(&turned, Some(other), &ExcitationParams::default()).unwrap();
        prop_assert!(fit.tilt.angle_to(&other).to_deg() < 2e-3);
    }

    #[test]
    fn the_circle_turns_with_the_pattern(phi in 0.5f64..5.0, azimuth in -180.0f64..180.0, turn in -180.0f64..180.0) {
        let r = Angle::deg(phi).to_rad().sin() / wavelength(Energy::kev(300.0)).to_angstrom();
        let points = |azimuth: f64| -> Vec<[f64; 2]> {
            let a = azimuth.to_radians();
            (0..12).map(|i| {
                let b = a + std::f64::consts::PI + 0.1 * (f64::from(i) - 5.4);
                [r * (a.sin() + b.sin()), r * (a.cos() + b.cos())]
            }).collect()
        };
        let params = LaueParams::default();
        for direction in [azimuth, azimuth + turn] {
            let c = fit_laue_circle(&points(direction), &[1.0; 12], &params).unwrap();
            let truth = Misorientation::new(Angle::deg(phi), Angle::deg(direction));
            prop_assert!(c.tilt.angle_to(&truth).to_deg() < 1e-5, "{c:?}");
        }
    }

    #[test]
    fn the_holder_reaches_every_small_misorientation(
        phi in 0.0f64..6.0, azimuth in -180.0f64..180.0, alpha in -15.0f64..15.0, beta in -15.0f64..15.0,
        first in -180.0f64..180.0, between in 60.0f64..120.0,
    ) {
        let holder = Holder {
            alpha_axis: Angle::deg(first), beta_axis: Angle::deg(first + between), ..Holder::default()
        };
        let now = Tilts { alpha: Angle::deg(alpha), beta: Angle::deg(beta) };
        let seen = Misorientation::new(Angle::deg(phi), Angle::deg(azimuth));
        let then = holder.target(now, seen).unwrap();
        prop_assert!(holder.misorientation(now, seen, then).phi().to_rad() < 1e-13);
    }
}
