//! Plane lattices: what is found in spots does not depend on which spots are there, how they are ordered, or where the
//! picture begins.

use exitwave::hrtem::{PlaneLattice, PlaneLatticeParams};
use exitwave::rng;
use proptest::prelude::*;

/// Axes of 6 to 40 units at 45° to 135°, any rotation.
fn lattice() -> impl Strategy<Value = PlaneLattice> {
    (6.0..40.0f64, 0.5..2.0f64, 0.8..2.3f64, 0.0..6.3f64, -50.0..50.0f64, -50.0..50.0f64).prop_map(
        |(length, ratio, angle, turn, y, x)| PlaneLattice {
            origin: [y, x],
            a: [length * turn.sin(), length * turn.cos()],
            b: [length * ratio * (turn + angle).sin(), length * ratio * (turn + angle).cos()],
        },
    )
}

/// The spots of indices −5 to 5 of which a share is missing, jittered, and `strays` anywhere among them.
fn spots(lattice: &PlaneLattice, missing: f64, jitter: f64, strays: usize, seed: u64) -> Vec<[f64; 2]> {
    let mut rng = rng::stream(seed, 0);
    let mut points = Vec::new();
    for h in -5..=5 {
        for k in -5..=5 {
            let p = lattice.at([f64::from(h), f64::from(k)]);
            let noise = [rng::normal(&mut rng), rng::normal(&mut rng)];
            if rng::uniform(&mut rng) >= missing {
                points.push([p[0] + jitter * noise[0], p[1] + jitter * noise[1]]);
            }
        }
    }
    for _ in 0..strays {
        let h = [0, 1].map(|_| 10.0 * rng::uniform(&mut rng) - 5.0);
        points.push(lattice.at(h));
    }
    points
}

/// Every point of `a` is one of `b` and the other way round, to `within`.
fn same_points(a: &PlaneLattice, b: &PlaneLattice, within: f64) -> bool {
    let one = |a: &PlaneLattice, b: &PlaneLattice| {
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-3.0, 4.0]].iter().all(|&i| b.nearest(a.at(i)).1 <= within)
    };
    one(a, b) && one(b, a)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_lattice_is_found_whatever_spots_are_missing_or_stray(truth in lattice(), seed in 0u64..1000) {
        let shortest = truth.reduced().lengths()[0];
        let jitter = 0.02 * shortest;
        let points = spots(&truth, 0.5, jitter, 8, seed);
        let fit = PlaneLattice::find(&points, &vec![1.0; points.len()], &PlaneLatticeParams::default()).unwrap();
        // Positions of some 60 spots to 0.02 of the axis give the axes to 0.02 √2/√(60 · 10), points at index 5 to ten times that.
        prop_assert!(same_points(&fit.lattice, &truth, 0.05 * shortest), "{:?}", fit.lattice);
        let missed = fit.indices[..points.len() - 8].iter().filter(|i| i.is_none()).count();
        prop_assert_eq!(missed, 0);
    }

    #[test]
    fn turning_and_moving_spots_turns_and_moves_their_lattice(truth in lattice(), turn in 0.0..6.3f64, seed in 0u64..1000) {
        let points = spots(&truth, 0.3, 0.0, 0, seed);
        let (sin, cos) = turn.sin_cos();
        let moved = |p: [f64; 2]| [cos * p[0] + sin * p[1] + 17.0, -sin * p[0] + cos * p[1] - 4.0];
        let turned: Vec<_> = points.iter().map(|&p| moved(p)).collect();
        let fit = PlaneLattice::find(&turned, &vec![1.0; points.len()], &PlaneLatticeParams::default()).unwrap();
        let want = PlaneLattice {
            origin: moved(truth.origin),
            a: [cos * truth.a[0] + sin * truth.a[1], -sin * truth.a[0] + cos * truth.a[1]],
            b: [cos * truth.b[0] + sin * truth.b[1], -sin * truth.b[0] + cos * truth.b[1]],
        };
        prop_assert!(same_points(&fit.lattice, &want, 1e-8));
        prop_assert!(fit.rms < 1e-9);
    }

    #[test]
    fn a_given_origin_is_kept(truth in lattice(), seed in 0u64..1000) {
        let points = spots(&truth, 0.3, 0.01, 0, seed);
        let params = PlaneLatticeParams { origin: Some(truth.origin), ..PlaneLatticeParams::default() };
        let fit = PlaneLattice::find(&points, &vec![1.0; points.len()], &params).unwrap();
        prop_assert_eq!(fit.lattice.origin, truth.origin);
        prop_assert!(fit.covariance[0] == [0.0; 3] && fit.covariance[1][1] > 0.0);
        prop_assert!(same_points(&fit.lattice, &truth, 0.1));
    }

    #[test]
    fn reduction_keeps_the_points_and_the_area(truth in lattice(), m in -3i32..4, n in -3i32..4) {
        // (a + m b, b + n (a + m b)) is the same lattice on other axes.
        let m = f64::from(m);
        let a = [0, 1].map(|i| truth.a[i] + m * truth.b[i]);
        let other = PlaneLattice { a, b: [0, 1].map(|i| truth.b[i] + f64::from(n) * a[i]), ..truth };
        let reduced = other.reduced();
        prop_assert!(same_points(&reduced, &truth, 1e-9));
        prop_assert!((reduced.area() - truth.area()).abs() <= 1e-9 * truth.area());
        let degrees = reduced.angle().to_degrees();
        prop_assert!((59.999..=90.001).contains(&degrees) && reduced.lengths()[0] <= reduced.lengths()[1]);
    }

    #[test]
    fn the_dual_of_the_dual_is_the_lattice(truth in lattice()) {
        let again = truth.reciprocal().reciprocal();
        for i in 0..2 {
            prop_assert!((again.a[i] - truth.a[i]).abs() < 1e-10 && (again.b[i] - truth.b[i]).abs() < 1e-10);
        }
    }
}

/// The scatter of fitted axes over noise is what the covariance says, within the 20 % that 200 fits can tell.
#[test]
fn the_covariance_is_the_scatter_of_fits() {
    let truth = PlaneLattice { origin: [0.0, 0.0], a: [1.0, 20.0], b: [17.0, -2.0] };
    let fits: Vec<_> = (0..200)
        .map(|seed| {
            let points = spots(&truth, 0.0, 0.3, 0, seed);
            PlaneLattice::find(&points, &vec![1.0; points.len()], &PlaneLatticeParams::default()).unwrap()
        })
        .collect();
    let lengths: Vec<f64> = fits.iter().map(|f| f.lattice.a[1]).collect();
    let mean = lengths.iter().sum::<f64>() / 200.0;
    let scatter = (lengths.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
    let told = fits.iter().map(|f| f.covariance[1][1].sqrt()).sum::<f64>() / 200.0;
    assert!((scatter / told - 1.0).abs() < 0.2, "{scatter} against {told}");
}

#[test]
fn spots_on_a_line_or_bad_numbers_are_refused_with_a_reason() {
    let params = PlaneLatticeParams::default();
    let line: Vec<_> = (0..20).map(|i| [f64::from(i) * 3.0, f64::from(i)]).collect();
    assert!(PlaneLattice::find(&line, &[1.0; 20], &params).is_err());
    assert!(PlaneLattice::find(&[[0.0; 2]; 5], &[1.0; 5], &params).is_err());
    assert!(PlaneLattice::find(&[], &[], &params).is_err());
    assert!(PlaneLattice::find(&line, &[1.0; 3], &params).is_err());
    assert!(PlaneLattice::find(&[[0.0, f64::NAN]; 4], &[1.0; 4], &params).is_err());
    assert!(PlaneLattice::find(&line, &[-1.0; 20], &params).is_err());
    let none = PlaneLatticeParams { tolerance: 0.7, ..params };
    assert!(PlaneLattice::find(&line, &[1.0; 20], &none).is_err());
}
