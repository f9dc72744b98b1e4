//! A lattice in the plane: found in the positions of spots, refined, and used to index them.

use crate::error::Error;
use crate::linalg::lstsq::cholesky_solve;

/// The spots that take part in the search; all others are indexed by what was found.
const SEARCHED: usize = 256;
/// Steps of the search from one end of the spots' extent to the other, for each 1/extent of frequency.
const OVERSAMPLING: f64 = 4.0;
/// The widest map that is searched, in steps from zero frequency.
const MAX_STEPS: f64 = 600.0;
/// Two waves are of one lattice row when the sine of their angle is below this.
const SAME_ROW: f64 = 0.2;

/// The points `origin + h·a + k·b` of the plane, h and k whole numbers; vectors are `[y, x]`.
///
/// # Units
/// Those of the points it was made from: pixels of a picture, of a spectrum or of a detector, or 1/Å.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneLattice {
    /// The point of indices (0, 0).
    pub origin: [f64; 2],
    /// First axis.
    pub a: [f64; 2],
    /// Second axis.
    pub b: [f64; 2],
}

/// How a lattice is sought, see [`PlaneLattice::find`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneLatticeParams {
    /// The point of indices (0, 0), where it is known: the direct beam, zero frequency. It is kept. Without it the
    /// lattice point nearest to the spots' weighted mean is taken, and refined with the axes.
    pub origin: Option<[f64; 2]>,
    /// Waves count as the lattice's own from this share of the strongest wave's modulus on: above what spots
    /// that lie on every second row only give (their share of the weight is lost), below what noise takes away.
    pub share: f64,
    /// A spot belongs to the lattice when it is closer to a point of it than this share of the shortest axis.
    pub tolerance: f64,
}

/// Origin free, 0.8 of the strongest wave, a fifth of the shortest axis.
impl Default for PlaneLatticeParams {
    fn default() -> Self {
        PlaneLatticeParams { origin: None, share: 0.8, tolerance: 0.2 }
    }
}

/// A lattice found in spots.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneLatticeFit {
    /// The lattice, its axes reduced: the shortest and the next shortest, at 60° to 90°, of either hand.
    pub lattice: PlaneLattice,
    /// The indices `[h, k]` of every spot, none for those that are no points of the lattice.
    pub indices: Vec<Option<[i32; 2]>>,
    /// Root of the weighted mean square distance between the indexed spots and their lattice points.
    pub rms: f64,
    /// Covariance of (origin, a, b), the same for the y and the x of each, from the weights and `rms`. Row and column
    /// of a given origin are zero.
    pub covariance: [[f64; 3]; 3],
}

impl PlaneLattice {
    /// The point of indices `[h, k]`, fractions allowed.
    pub fn at(&self, [h, k]: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|i| self.origin[i] + h * self.a[i] + k * self.b[i])
    }

    /// The indices of a point, fractions of the axes.
    pub fn fraction(&self, point: [f64; 2]) -> [f64; 2] {
        let r = self.reciprocal();
        let d = [point[0] - self.origin[0], point[1] - self.origin[1]];
        [dot(r.a, d), dot(r.b, d)]
    }

    /// The indices of the lattice point that rounding the fractions gives, and its distance. On reduced axes
    /// no other point is nearer, if this one is nearer than half the shortest axis times sin 60°.
    pub fn nearest(&self, point: [f64; 2]) -> ([i32; 2], f64) {
        let index = self.fraction(point).map(f64::round);
        let p = self.at(index);
        (index.map(|i| i as i32), norm([p[0] - point[0], p[1] - point[1]]))
    }

    /// Area of a cell, positive.
    pub fn area(&self) -> f64 {
        cross(self.a, self.b).abs()
    }

    /// Lengths of both axes.
    pub fn lengths(&self) -> [f64; 2] {
        [norm(self.a), norm(self.b)]
    }

    /// Angle between the axes in radians, 0 to π.
    pub fn angle(&self) -> f64 {
        cross(self.a, self.b).abs().atan2(dot(self.a, self.b))
    }

    /// The dual lattice about 0: a*·a = b*·b = 1, a*·b = b*·a = 0. Its own dual has the axes of `self` again.
    pub fn reciprocal(&self) -> PlaneLattice {
        let d = cross(self.a, self.b);
        PlaneLattice { origin: [0.0; 2], a: [self.b[1] / d, -self.b[0] / d], b: [-self.a[1] / d, self.a[0] / d] }
    }

    /// The same points on the shortest axes: |a| ≤ |b|, 0 ≤ a·b ≤ |a|²/2, so that their angle is 60° to 90°; a points
    /// to the right (x > 0) or straight down, b may be on either side of it.
    ///
    /// # References
    /// Lagrange–Gauss reduction, H. Cohen, A Course in Computational Algebraic Number Theory (1993), algorithm 1.3.14.
    pub fn reduced(&self) -> PlaneLattice {
        let (mut a, mut b) = (self.a, self.b);
        loop {
            if norm(a) > norm(b) {
                (a, b) = (b, a);
            }
            let m = (dot(a, b) / dot(a, a)).round();
            // An axis that is not finite, or no axis, has no shorter one.
            if m == 0.0 || !m.is_finite() {
                break;
            }
            let shorter = [b[0] - m * a[0], b[1] - m * a[1]];
            // At 60° rounding says ½ for ever.
            if norm(shorter) >= norm(b) * (1.0 - 1e-12) {
                break;
            }
            b = shorter;
        }
        if dot(a, b) < 0.0 {
            b = b.map(|x| -x);
        }
        // Of the two that are left, ±(a, b), the one whose first axis points to the right, or straight down.
        if a[1] < 0.0 || (a[1] == 0.0 && a[0] < 0.0) {
            (a, b) = (a.map(|x| -x), b.map(|x| -x));
        }
        PlaneLattice { origin: self.origin, a, b }
    }

    /// The lattice that explains spots at `points` `[y, x]` with `weights` (1/variance of a position, up to a factor).
    ///
    /// ```text
    /// S(q) = |Σ w_j e^{2πi q·p_j}| / Σ w_j
    /// ```
    ///
    /// is 1 at the points of the dual lattice and small elsewhere. The shortest two of the waves that come to
    /// `share` of the strongest one's S are the dual axes. Spots that belong to no lattice lower S and
    /// move nothing; missing spots do not matter. Then the axes (and the origin) are refined on the indexed spots by
    /// least squares, until no index changes.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than one weight a point, [`Error::Data`] for numbers that are not finite, negative weights or
    /// spots that are too few (3 with weight), [`Error::Param`] for a share or tolerance outside (0, 1) or (0, 0.5],
    /// [`Error::Data`] when no two waves stand out: all spots on a line, or no lattice.
    ///
    /// # Examples
    /// ```
    /// use exitwave::hrtem::{PlaneLattice, PlaneLatticeParams};
    ///
    /// let truth = PlaneLattice { origin: [3.0, 5.0], a: [0.5, 9.8], b: [12.1, 1.0] };
    /// let points: Vec<_> = (0..49).map(|i| truth.at([f64::from(i / 7 - 3), f64::from(i % 7 - 3)])).collect();
    /// let fit = PlaneLattice::find(&points, &[1.0; 49], &PlaneLatticeParams::default())?;
    /// assert!((fit.lattice.area() - truth.area()).abs() < 1e-6);
    /// assert!(fit.indices.iter().all(Option::is_some));
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn find(points: &[[f64; 2]], weights: &[f64], params: &PlaneLatticeParams) -> Result<PlaneLatticeFit, Error> {
        check(points, weights, params)?;
        // The heaviest spots, about the origin or their mean, which keeps phases small.
        let mut order: Vec<usize> = (0..points.len()).filter(|&i| weights[i] > 0.0).collect();
        order.sort_by(|&i, &j| weights[j].total_cmp(&weights[i]).then(i.cmp(&j)));
        order.truncate(SEARCHED);
        if order.len() < 3 {
            return Err(Error::Data {
                what: "a plane lattice wants three spots with weight".into(),
                index: order.len(),
            });
        }
        let total: f64 = order.iter().map(|&i| weights[i]).sum();
        let mean = [0, 1].map(|c| order.iter().map(|&i| weights[i] * points[i][c]).sum::<f64>() / total);
        let centre = params.origin.unwrap_or(mean);
        let spots: Vec<Spot> = order
            .iter()
            .map(|&i| Spot { p: [points[i][0] - centre[0], points[i][1] - centre[1]], w: weights[i] / total })
            .collect();
        let waves = strong_waves(&spots);
        let axes = dual_axes(&waves, params.share).ok_or_else(|| Error::Data {
            what: format!("no plane lattice in {} spots: no two waves stand out", spots.len()),
            index: 0,
        })?;
        let dual = PlaneLattice { origin: [0.0; 2], a: axes[0].q, b: axes[1].q };
        let mut lattice = dual.reciprocal();
        // The phases of both waves say where the lattice lies: arg Σ w e^{2πi q·p} = 2π q·origin.
        lattice.origin = match params.origin {
            Some(o) => o,
            None => {
                let f = axes.map(|w| w.s.1.atan2(w.s.0) / std::f64::consts::TAU);
                let o = lattice.at(f);
                [centre[0] + o[0], centre[1] + o[1]]
            }
        };
        refine(points, weights, lattice.reduced(), params)
    }
}

/// A spot of the search.
struct Spot {
    p: [f64; 2],
    w: f64,
}

/// A local maximum of S.
struct Wave {
    q: [f64; 2],
    s: (f64, f64),
}

fn check(points: &[[f64; 2]], weights: &[f64], params: &PlaneLatticeParams) -> Result<(), Error> {
    if points.len() != weights.len() {
        return Err(Error::shape("plane lattice: weights", &[points.len()], &[weights.len()]));
    }
    if let Some(i) = points.iter().position(|p| !(p[0].is_finite() && p[1].is_finite())) {
        return Err(Error::Data { what: format!("spot at {:?}", points[i]), index: i });
    }
    if let Some(i) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        return Err(Error::Data { what: format!("weight {} of a spot", weights[i]), index: i });
    }
    if !(params.share > 0.0 && params.share < 1.0) {
        return Err(Error::param("share", params.share, "between 0 and 1"));
    }
    if !(params.tolerance > 0.0 && params.tolerance <= 0.5) {
        return Err(Error::param("tolerance", params.tolerance, "above 0, at most 0.5"));
    }
    match params.origin {
        Some(o) if !(o[0].is_finite() && o[1].is_finite()) => Err(Error::param("origin", format!("{o:?}"), "finite")),
        _ => Ok(()),
    }
}

/// Σ w e^{2πi q·p}.
fn wave(spots: &[Spot], q: [f64; 2]) -> (f64, f64) {
    spots.iter().fold((0.0, 0.0), |(re, im), spot| {
        let (sin, cos) = (std::f64::consts::TAU * dot(q, spot.p)).sin_cos();
        (re + spot.w * cos, im + spot.w * sin)
    })
}

/// The local maxima of S above half its largest, refined, the shortest first.
fn strong_waves(spots: &[Spot]) -> Vec<Wave> {
    // The finest detail in q is 1/extent. Below 1.5 of it lies the peak at zero.
    let extent = [0, 1].map(|c| {
        let (low, high) = spots.iter().fold((f64::MAX, f64::MIN), |(l, h), s| (l.min(s.p[c]), h.max(s.p[c])));
        high - low
    });
    let extent = norm(extent);
    // Twice the density that the closest neighbours suggest, so that spots which are never neighbours can have a lattice.
    let mut near: Vec<f64> = spots
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let others = spots.iter().enumerate().filter(|&(j, _)| j != i);
            others.map(|(_, t)| norm([s.p[0] - t.p[0], s.p[1] - t.p[1]])).fold(f64::MAX, f64::min)
        })
        .filter(|&d| d > 0.0)
        .collect();
    near.sort_by(f64::total_cmp);
    if near.is_empty() || extent <= 0.0 {
        return Vec::new();
    }
    let highest = 2.0 / near[near.len() / 10];
    let step = 1.0 / (OVERSAMPLING * extent);
    let n = (highest / step).ceil().min(MAX_STEPS) as usize;
    // S(−q) = S(q): rows from zero up. Along a row the phase of each spot turns by a constant.
    let width = 2 * n + 1;
    let mut map = vec![0.0; (n + 1) * width];
    let turn: Vec<(f64, f64)> = spots.iter().map(|s| (std::f64::consts::TAU * step * s.p[1]).sin_cos()).collect();
    let mut phase = vec![(0.0, 0.0); spots.len()];
    for (i, row) in map.chunks_exact_mut(width).enumerate() {
        for (z, s) in phase.iter_mut().zip(spots) {
            let first = i as f64 * step * s.p[0] - n as f64 * step * s.p[1];
            let (sin, cos) = (std::f64::consts::TAU * first).sin_cos();
            *z = (s.w * cos, s.w * sin);
        }
        for out in row {
            let mut sum = (0.0, 0.0);
            for (z, &(sin, cos)) in phase.iter_mut().zip(&turn) {
                sum = (sum.0 + z.0, sum.1 + z.1);
                *z = (z.0 * cos - z.1 * sin, z.0 * sin + z.1 * cos);
            }
            *out = sum.0.hypot(sum.1);
        }
    }
    let at = |i: isize, j: isize| -> f64 {
        let (i, j) = if i < 0 { (-i, -j) } else { (i, j) };
        let (y, x) = (i as usize, j + n as isize);
        if y > n || x < 0 || x as usize >= width { 0.0 } else { map[y * width + x as usize] }
    };
    let lowest = 1.5 / extent;
    let mut peaks: Vec<(isize, isize, f64)> = Vec::new();
    for i in 0..=n as isize {
        let from = if i == 0 { 1 } else { -(n as isize) };
        for j in from..=n as isize {
            let s = at(i, j);
            let far = step * (i as f64).hypot(j as f64) >= lowest;
            let top = (-1..=1).all(|u| (-1..=1).all(|v| (u, v) == (0, 0) || at(i + u, j + v) <= s));
            if far && top {
                peaks.push((i, j, s));
            }
        }
    }
    let strongest = peaks.iter().map(|p| p.2).fold(0.0, f64::max);
    let mut waves: Vec<Wave> = peaks
        .into_iter()
        .filter(|p| p.2 > 0.5 * strongest)
        .map(|(i, j, _)| climb(spots, [i as f64 * step, j as f64 * step]))
        .collect();
    waves.sort_by(|u, v| norm(u.q).total_cmp(&norm(v.q)));
    waves
}

/// The maximum of S near q: least squares of the spots' phases, wrapped about the sum's.
fn climb(spots: &[Spot], mut q: [f64; 2]) -> Wave {
    for _ in 0..20 {
        let s = wave(spots, q);
        let phase = s.1.atan2(s.0);
        // φ_j = 2π q·p_j − phase, small for spots of the lattice; weight cos φ for those that are not. The common
        // phase is eliminated by the means.
        let (mut m, mut v, mut sum) = ([0.0; 3], [0.0; 2], [0.0; 4]);
        for spot in spots {
            let (sin, cos) = (std::f64::consts::TAU * dot(q, spot.p) - phase).sin_cos();
            let w = spot.w * cos.max(0.0);
            sum = [sum[0] + w, sum[1] + w * spot.p[0], sum[2] + w * spot.p[1], sum[3] + w * sin];
            m = [m[0] + w * spot.p[0] * spot.p[0], m[1] + w * spot.p[0] * spot.p[1], m[2] + w * spot.p[1] * spot.p[1]];
            v = [v[0] + w * spot.p[0] * sin, v[1] + w * spot.p[1] * sin];
        }
        if sum[0] <= 0.0 {
            break;
        }
        let mean = [sum[1] / sum[0], sum[2] / sum[0], sum[3] / sum[0]];
        let m =
            [m[0] - sum[0] * mean[0] * mean[0], m[1] - sum[0] * mean[0] * mean[1], m[2] - sum[0] * mean[1] * mean[1]];
        let v = [v[0] - sum[0] * mean[0] * mean[2], v[1] - sum[0] * mean[1] * mean[2]];
        let det = m[0] * m[2] - m[1] * m[1];
        // Spots on one line say nothing across it.
        if det <= 1e-9 * m[0].max(m[2]).powi(2) {
            break;
        }
        let d = [(m[2] * v[0] - m[1] * v[1]) / det, (m[0] * v[1] - m[1] * v[0]) / det];
        let d = d.map(|x| x / std::f64::consts::TAU);
        q = [q[0] - d[0], q[1] - d[1]];
        if norm(d) <= 1e-13 * norm(q) {
            break;
        }
    }
    Wave { q, s: wave(spots, q) }
}

/// The shortest wave of the lattice and the shortest in another direction.
fn dual_axes(waves: &[Wave], share: f64) -> Option<[&Wave; 2]> {
    let modulus = |w: &Wave| w.s.0.hypot(w.s.1);
    let strongest = waves.iter().map(modulus).fold(0.0, f64::max);
    let mut own = waves.iter().filter(|w| modulus(w) >= share * strongest);
    let first = own.next()?;
    let second = own.find(|w| cross(first.q, w.q).abs() > SAME_ROW * norm(first.q) * norm(w.q))?;
    Some([first, second])
}

/// Indexing and least squares in turn, until no index changes.
fn refine(
    points: &[[f64; 2]],
    weights: &[f64],
    start: PlaneLattice,
    params: &PlaneLatticeParams,
) -> Result<PlaneLatticeFit, Error> {
    let mut lattice = start;
    let total: f64 = weights.iter().sum();
    if params.origin.is_none() {
        // Indices count from the point nearest to the spots' mean.
        let mean = [0, 1].map(|c| points.iter().zip(weights).map(|(p, w)| w * p[c]).sum::<f64>() / total);
        lattice.origin = lattice.at(lattice.nearest(mean).0.map(f64::from));
    }
    let index = |lattice: &PlaneLattice| -> Vec<Option<[i32; 2]>> {
        let near = params.tolerance * lattice.lengths()[0].min(lattice.lengths()[1]);
        points
            .iter()
            .map(|&p| {
                let (i, d) = lattice.nearest(p);
                (d <= near).then_some(i)
            })
            .collect()
    };
    let mut indices = index(&lattice);
    let mut covariance = [[0.0; 3]; 3];
    for _ in 0..20 {
        // Normal equations of p = origin + h a + k b, or of p − origin = h a + k b.
        let columns = if params.origin.is_some() { 1 } else { 0 };
        let n = 3 - columns;
        let (mut m, mut v, mut used) = (vec![0.0; n * n], vec![0.0; n * 2], 0);
        for ((p, &w), i) in points.iter().zip(weights).zip(&indices) {
            let Some([h, k]) = *i else { continue };
            if w == 0.0 {
                continue;
            }
            used += 1;
            let row = [1.0, f64::from(h), f64::from(k)];
            for r in 0..n {
                for c in 0..n {
                    m[r * n + c] += w * row[r + columns] * row[c + columns];
                }
                for c in 0..2 {
                    let base = if columns == 1 { lattice.origin[c] } else { 0.0 };
                    v[r * 2 + c] += w * row[r + columns] * (p[c] - base);
                }
            }
        }
        let few = || Error::Data { what: format!("no plane lattice: it indexes {used} spots"), index: 0 };
        if used < 3 {
            return Err(few());
        }
        let x = cholesky_solve(n, &m, &v).map_err(|_| few())?;
        let at = |r: usize| [x[(r - columns) * 2], x[(r - columns) * 2 + 1]];
        if columns == 0 {
            lattice.origin = at(0);
        }
        (lattice.a, lattice.b) = (at(1), at(2));
        let unit: Vec<f64> = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let inverse = cholesky_solve(n, &m, &unit).map_err(|_| few())?;
        for r in 0..n {
            for c in 0..n {
                covariance[r + columns][c + columns] = inverse[r * n + c];
            }
        }
        let again = index(&lattice);
        if again == indices {
            break;
        }
        indices = again;
    }
    // σ² of weight 1, from both coordinates of each spot less the six (four) numbers fitted.
    let (mut squares, mut weight, mut used) = (0.0, 0.0, 0usize);
    for ((p, &w), i) in points.iter().zip(weights).zip(&indices) {
        let Some(i) = *i else { continue };
        let q = lattice.at(i.map(f64::from));
        squares += w * ((p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2));
        weight += w;
        used += usize::from(w > 0.0);
    }
    let fitted = if params.origin.is_some() { 4 } else { 6 };
    let variance = squares / (2 * used).saturating_sub(fitted).max(1) as f64;
    for x in covariance.iter_mut().flatten() {
        *x *= variance;
    }
    Ok(PlaneLatticeFit { lattice, indices, rms: (squares / weight).sqrt(), covariance })
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// a_y b_x − a_x b_y.
fn cross(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}

fn norm(a: [f64; 2]) -> f64 {
    a[0].hypot(a[1])
}
