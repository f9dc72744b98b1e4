//! Random structures in each plane group, and pictures of them at a dose: what the search for the group is tried on.

#![allow(dead_code, reason = "tests use parts of it")]

use exitwave::Error;
use exitwave::hrtem::{
    ImageLatticeParams, PlaneGroup, PlaneGroupParams, PlaneGroupRanking, PlaneLattice, PlaneReflection,
    PlaneReflections, PlaneSetting, PlaneSystem, ReflectionsParams, find_image_lattice, measure_reflections,
    rank_plane_groups,
};
use exitwave::num_complex::Complex;
use exitwave::par::Par;
use exitwave::rng::{self, ChaCha8Rng};

/// A random structure of a plane group.
pub struct Structure {
    /// The primitive lattice, Å, turned by a random angle.
    pub lattice: PlaneLattice,
    pub group: PlaneGroup,
    /// Its reflections to a resolution, without noise; Σ|F|² over all of them is 1.
    pub reflections: PlaneReflections,
}

/// Up to 30 Å of cell, 12 to 24 atoms of three weights, at least 3 of them independent, in general positions;
/// reflections to `finest` Å.
///
/// Half of the groups with low symmetry stand on lattices with more: squares and hexagons included.
pub fn structure(group: PlaneGroup, seed: u64, finest: f64) -> Structure {
    let mut random = rng::stream(seed, group.number() as u64);
    let mut uniform = |low: f64, high: f64| low + (high - low) * rng::uniform(&mut random);
    let a = uniform(17.0, 26.0);
    let ratio = uniform(1.12, 1.45);
    // Conventional axes: length of b over that of a, and their angle.
    let pick = uniform(0.0, 1.0);
    let (b, angle) = match group.system() {
        PlaneSystem::Square => (1.0, 90.0),
        PlaneSystem::Hexagonal => (1.0, 120.0),
        _ if pick < 0.2 => (1.0, 90.0),
        _ if group.centred() && pick < 0.4 => (3f64.sqrt(), 90.0),
        PlaneSystem::Rectangular => (ratio, 90.0),
        _ if pick < 0.35 => (1.0, 120.0),
        _ if pick < 0.5 => (ratio, 90.0),
        PlaneSystem::Oblique => (ratio, uniform(97.0, 112.0)),
    };
    let turn = uniform(0.0, std::f64::consts::TAU);
    let axis = |length: f64, angle: f64| [length * (turn + angle).sin(), length * (turn + angle).cos()];
    let (va, vb) = (axis(a, 0.0), axis(a * b, f64::to_radians(angle)));
    let atoms = (uniform(12.0, 24.0) as usize).div_ceil(group.order()).max(3);
    let sites: Vec<([f64; 2], f64)> = (0..atoms)
        .map(|_| {
            let x = [uniform(0.0, 1.0), uniform(0.0, 1.0)];
            (x, [6.0, 8.0, 16.0][uniform(0.0, 3.0) as usize])
        })
        .collect();
    let origin = [uniform(0.0, 1.0), uniform(0.0, 1.0)];
    // The lattice that the picture shows is the primitive one.
    let half = |v: [f64; 2], w: [f64; 2], sign: f64| [0.5 * (v[0] + sign * w[0]), 0.5 * (v[1] + sign * w[1])];
    let (pa, pb) = if group.centred() { (half(va, vb, 1.0), half(va, vb, -1.0)) } else { (va, vb) };
    let lattice = PlaneLattice { origin: [0.0; 2], a: pa, b: pb }.reduced();
    let conventional = PlaneLattice { origin: [0.0; 2], a: va, b: vb };
    let all: Vec<([f64; 2], f64)> = sites
        .iter()
        .flat_map(|(x, z)| group.operations().into_iter().map(move |o| (o.apply(*x), *z)))
        .map(|(x, z)| (lattice.fraction(conventional.at([x[0] + origin[0], x[1] + origin[1]])), z))
        .collect();

    let dual = lattice.reciprocal();
    let reach = lattice.lengths().map(|l| (l / finest) as i32);
    let mut list = Vec::new();
    for h in 0..=reach[0] {
        for k in -reach[1]..=reach[1] {
            let g = dual.at([f64::from(h), f64::from(k)]);
            let size = g[0].hypot(g[1]);
            if (h > 0 || k > 0) && size <= 1.0 / finest {
                // Atoms as wide as projected ones at rest with B = 6 Å².
                let f: Complex<f64> = all
                    .iter()
                    .map(|(x, z)| {
                        let turn = std::f64::consts::TAU * (f64::from(h) * x[0] + f64::from(k) * x[1]);
                        Complex::from_polar(z * (-size * size * 4.0).exp(), turn)
                    })
                    .sum();
                list.push(PlaneReflection { index: [h, k], f, sigma: 0.0 });
            }
        }
    }
    let power: f64 = list.iter().map(|r| 2.0 * r.f.norm_sqr()).sum();
    let reflections = PlaneReflections { lattice, mean: 0.0, list }.scaled(1.0 / power.sqrt());
    Structure { lattice, group, reflections }
}

/// The group of a setting that practice would take: the most symmetric one below 20° of phase residual.
pub fn by_threshold(ranking: &PlaneGroupRanking) -> PlaneGroup {
    let below = ranking.fits.iter().filter(|f| f.phase_residual.to_deg() < 20.0);
    let best = below.max_by(|a, b| {
        let order = |s: &PlaneSetting| s.group.order();
        order(&a.setting).cmp(&order(&b.setting)).then(b.phase_residual.to_rad().total_cmp(&a.phase_residual.to_rad()))
    });
    best.map_or(PlaneGroup::P1, |f| f.setting.group)
}

/// A picture of a structure: counts of `dose` electrons a pixel with contrast (standard deviation over mean)
/// `contrast`.
pub fn picture(structure: &Structure, side: usize, pixel: f64, contrast: f64, dose: f64, seed: u64) -> Vec<f64> {
    const CELL: usize = 192;
    let mut random: ChaCha8Rng = rng::stream(seed, 1000);
    let cell = structure.reflections.cell([CELL, CELL]).expect("a cell");
    let cell = cell.as_slice();
    let at = |u: f64, v: f64| {
        // Bilinear between points of a 192nd of the cell: 0.3 % at the finest reflection.
        let (u, v) = (u.rem_euclid(1.0) * CELL as f64, v.rem_euclid(1.0) * CELL as f64);
        let (i, j) = (u as usize % CELL, v as usize % CELL);
        let (p, q) = (u - u.floor(), v - v.floor());
        let value = |i: usize, j: usize| cell[i % CELL * CELL + j % CELL];
        (1.0 - p) * ((1.0 - q) * value(i, j) + q * value(i, j + 1))
            + p * ((1.0 - q) * value(i + 1, j) + q * value(i + 1, j + 1))
    };
    (0..side * side)
        .map(|n| {
            let [u, v] = structure.lattice.fraction([(n / side) as f64 * pixel, (n % side) as f64 * pixel]);
            rng::poisson(&mut random, dose * (1.0 + contrast * at(u, v)).max(0.0))
        })
        .collect()
}

/// The whole chain on a picture: lattice, reflections, groups.
pub fn classify(
    image: &[f64],
    side: usize,
    pixel: f64,
    finest: f64,
    params: &PlaneGroupParams,
) -> Result<PlaneGroupRanking, Error> {
    let search =
        ImageLatticeParams { band: [0.3 * pixel / 26.0, pixel / finest], par: Par::seq(), ..Default::default() };
    let found = find_image_lattice([side, side], image, &search)?;
    let how = ReflectionsParams { highest: pixel / finest, par: Par::seq(), ..Default::default() };
    let reflections = measure_reflections([side, side], image, &found.lattice, &how)?;
    rank_plane_groups(&reflections, params)
}
