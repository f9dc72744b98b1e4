//! Plane groups against the International Tables; the sign and the hand of structures from pictures of two zones.

use exitwave::hrtem::*;
use exitwave::num_complex::Complex;
use exitwave::optics::Grid;
use exitwave::par::Par;
use exitwave::specimen::{Atoms, Cell, Parametrization, PotentialParams, PotentialPlan, Species};
use exitwave::units::{Angle, Length};

/// International Tables for Crystallography, vol. A (2016), chapter 2.2: numbers, multiplicities of the general
/// position in a
/// primitive cell.
#[test]
fn plane_groups_have_the_orders_of_the_tables() {
    let orders = [1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 8, 8, 3, 6, 6, 6, 12];
    for (i, group) in PlaneGroup::ALL.into_iter().enumerate() {
        assert_eq!((group.number(), group.order()), (i + 1, orders[i]), "{group:?}");
        let general = group.operations().len();
        assert_eq!(general, orders[i] * if group.centred() { 2 } else { 1 });
        // A general point is repeated as often: no operation is there twice.
        let mut points: Vec<[i64; 2]> = group
            .operations()
            .iter()
            .map(|o| o.apply([0.1234, 0.2717]).map(|x| (x.rem_euclid(1.0) * 1e6).round() as i64))
            .collect();
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), general, "{group:?}");
    }
}

/// Reflection conditions of the general positions, as above.
#[test]
fn plane_groups_have_the_reflection_conditions_of_the_tables() {
    use PlaneGroup::*;
    for group in PlaneGroup::ALL {
        for h in -6..=6 {
            for k in -6..=6 {
                let even = |n: i32| n % 2 == 0;
                let condition = match group {
                    Pg => h != 0 || even(k),
                    P2mg => k != 0 || even(h),
                    P2gg | P4gm => (h != 0 || even(k)) && (k != 0 || even(h)),
                    Cm | C2mm => even(h + k),
                    _ => true,
                };
                assert_eq!(group.allows([h, k]), condition, "{group:?} {h} {k}");
            }
        }
    }
}

/// S. Hovmöller, Ultramicroscopy 41, 121 (1992), table of symmetry relations: p2gg has F(h, k) = F(−h, k) for h + k
/// even, −F(−h, k)
/// for h + k odd; p4 has F(h, k) = F(−k, h); pg has F(h, k) = (−1)^k F(−h, k).
#[test]
fn phases_are_tied_as_published() {
    let relation = |group: PlaneGroup, h: [i32; 2], g: [i32; 2]| -> f64 {
        let all = group.operations();
        let o = all.iter().find(|o| o.reflection(h) == g).unwrap();
        (std::f64::consts::TAU * o.turns(h)).cos()
    };
    for [h, k] in [[1, 2], [3, 1], [2, 2], [4, 1]] {
        let sign = |n: i32| if n % 2 == 0 { 1.0 } else { -1.0 };
        assert_eq!(relation(PlaneGroup::P2gg, [h, k], [-h, k]).round(), sign(h + k));
        assert_eq!(relation(PlaneGroup::Pg, [h, k], [-h, k]).round(), sign(k));
        assert_eq!(relation(PlaneGroup::P2mg, [h, k], [-h, k]).round(), sign(h));
        assert_eq!(relation(PlaneGroup::P4, [h, k], [k, -h]).round(), 1.0);
        assert_eq!(relation(PlaneGroup::P4gm, [h, k], [k, h]).round(), sign(h + k));
    }
}

/// The projected potential of a crystal along a zone, as a picture of about 200² pixels, measured and indexed.
fn zone(crystal: &Atoms, group: &SpaceGroup, zone: [i32; 3], up: [i32; 3], finest: f64) -> Zone {
    let cell = crystal.oriented(zone, up).unwrap();
    let [_, ly, lx] = cell.cell.edges().unwrap().map(|l| l.to_angstrom());
    let repeats = [lx, ly].map(|l| (50.0 / l).ceil() as usize);
    let film = cell.repeated([repeats[0], repeats[1], 1]).unwrap();
    let size = [ly * repeats[1] as f64, lx * repeats[0] as f64];
    // Sizes that are no multiples of the cells': reflections lie between the points of the transform only after the
    // crop.
    let dims = size.map(|l| 2 * (l / 0.5).round() as usize);
    let sampling = [0, 1].map(|i| Length::angstrom(size[i] / dims[i] as f64));
    let params = PotentialParams { grid: Grid { dims, sampling }, ..Default::default() };
    let v = PotentialPlan::<f64>::new(&film, &params).unwrap().build().unwrap();
    let n = dims[0] * dims[1];
    let mut sum = vec![0.0; n];
    v.values.as_slice().chunks_exact(n).for_each(|slice| sum.iter_mut().zip(slice).for_each(|(s, v)| *s += v));

    // A window away from the corner, so that the origin is anywhere; pixels made square in the lattice's measure.
    let (from, side) = ([3, 8], [dims[0] - 9, dims[1] - 12]);
    let window: Vec<f64> =
        (0..side[0] * side[1]).map(|i| sum[(from[0] + i / side[1]) * dims[1] + from[1] + i % side[1]]).collect();
    let pixel = sampling[1].to_angstrom();
    assert!((sampling[0].to_angstrom() / pixel - 1.0).abs() < 0.02);
    let highest = pixel / finest;
    let search = ImageLatticeParams { band: [0.01, highest], par: Par::seq(), ..Default::default() };
    let found = find_image_lattice(side, &window, &search).unwrap();
    let how = ReflectionsParams { highest, par: Par::seq(), ..Default::default() };
    let reflections = measure_reflections(side, &window, &found.lattice, &how).unwrap();
    let params = ZoneBasesParams { zone, pixel: sampling[1], x_axis: Some(up), ..Default::default() };
    let bases = zone_bases(&crystal.cell, group, &found.lattice, &params).unwrap();
    assert_eq!(bases.len(), 1, "{bases:?}");
    Zone { reflections, bases }
}

/// Correlations with the structure and with its inverse, whichever of the given origins is best.
fn correlations(found: &CombinedZones, crystal: &Atoms, shifts: &[[f64; 3]]) -> [f64; 2] {
    let list = &found.reflections.list;
    let indices: Vec<[i32; 3]> = list.iter().map(|r| r.index).collect();
    let truth = crystal_factors(crystal, Parametrization::default(), &indices).unwrap();
    [1.0, -1.0].map(|hand| {
        let over = shifts.iter().map(|s| {
            let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
            for (r, t) in list.iter().zip(&truth) {
                let turn = (0..3).map(|i| f64::from(r.index[i]) * s[i]).sum::<f64>();
                let t = Complex::new(t.re, hand * t.im) * Complex::from_polar(1.0, std::f64::consts::TAU * turn);
                ab += (r.f.conj() * t).re;
                (aa, bb) = (aa + r.f.norm_sqr(), bb + t.norm_sqr());
            }
            ab / f64::sqrt(aa * bb)
        });
        over.fold(-1.0, f64::max)
    })
}

#[test]
fn gallium_phosphide_from_two_projections_has_the_right_sign() {
    let face = [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]];
    let (ga, p) = (Species::from_symbol("Ga").unwrap(), Species::from_symbol("P").unwrap());
    // GaP, a = 5.451 Å: two atoms that are told apart.
    let mut sites: Vec<(Species, [f64; 3])> = face.iter().map(|f| (ga, *f)).collect();
    sites.extend(face.iter().map(|f| (p, f.map(|x| x + 0.25))));
    let crystal = Atoms::from_fractional(Cell::cubic(Length::angstrom(5.451)), &sites).unwrap();
    let crystal = crystal.with_sigma(ga, Length::angstrom(0.08)).with_sigma(p, Length::angstrom(0.08));
    let generators = ["x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "-x,-y,z", "-x,y,-z", "z,x,y", "y,x,z"];
    let group = SpaceGroup::from_generators(&generators).unwrap();
    let zones = [zone(&crystal, &group, [0, 0, 1], [1, 0, 0], 1.0), zone(&crystal, &group, [1, 1, 0], [0, 0, 1], 1.0)];
    let found = combine_zones(&crystal.cell, &group, &zones, &CombineZonesParams::default()).unwrap();
    let shifts: Vec<[f64; 3]> = (0..4).map(|i| [0.25 * f64::from(i); 3]).collect();
    let [right, inverse] = correlations(&found, &crystal, &shifts);
    assert!(right > 0.99 && inverse < 0.95, "{right} {inverse} {:?}", found.zones);
}

#[test]
fn quartz_from_two_projections_has_the_right_hand() {
    let group = SpaceGroup::from_generators(&["-y,x-y,z+1/3", "y,x,-z"]).unwrap();
    let (si, o) = (Species::from_symbol("Si").unwrap(), Species::from_symbol("O").unwrap());
    let [a, c] = [4.913, 5.405].map(Length::angstrom);
    let cell = Cell::from_parameters([a, a, c], [90.0, 90.0, 120.0].map(Angle::deg)).unwrap();
    // P3₁21: Si on 3a, x 0 ⅓; O on 6c. Each site once.
    let mut sites: Vec<(Species, [f64; 3])> = Vec::new();
    for (s, x) in [(si, [0.4697, 0.0, 1.0 / 3.0]), (o, [0.4135, 0.2669, 0.2144])] {
        for op in group.operations() {
            let y = op.apply(x).map(|y| y.rem_euclid(1.0));
            let same = |z: &[f64; 3]| (0..3).all(|i| (y[i] - z[i] - (y[i] - z[i]).round()).abs() < 1e-6);
            if !sites.iter().any(|(_, z)| same(z)) {
                sites.push((s, y));
            }
        }
    }
    assert_eq!(sites.len(), 9);
    let crystal = Atoms::from_fractional(cell, &sites).unwrap();
    let crystal = crystal.with_sigma(si, Length::angstrom(0.08)).with_sigma(o, Length::angstrom(0.1));
    let zones = [zone(&crystal, &group, [0, 0, 1], [1, 0, 0], 1.0), zone(&crystal, &group, [1, 0, 0], [0, 0, 1], 1.0)];
    let found = combine_zones(&crystal.cell, &group, &zones, &CombineZonesParams::default()).unwrap();
    // Origins that P3₁21 cannot tell apart; for the inverse, of another group, any height.
    let [right, _] = correlations(&found, &crystal, &[[0.0; 3], [0.0, 0.0, 0.5]]);
    let heights: Vec<[f64; 3]> = (0..24).map(|i| [0.0, 0.0, f64::from(i) / 24.0]).collect();
    let [_, inverse] = correlations(&found, &crystal, &heights);
    assert!(right > 0.99 && inverse < 0.9, "{right} {inverse} {:?}", found.zones);
}
