//! Two-dimensional phase unwrapping.

use crate::error::Error;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::tensor::Tensor;

/// The difference of two phases in [−π, π].
#[inline]
fn wrapped(d: f64) -> f64 {
    d - std::f64::consts::TAU * (d / std::f64::consts::TAU).round()
}

/// Adds multiples of 2π to a phase (ny, nx) so that neighbours differ by less than π wherever that is possible, the most
/// reliable pixels first.
///
/// ```text
/// reliability R = 1/√(H² + V² + D₁² + D₂²), second differences of the wrapped phase along x, y and both diagonals
/// edges between neighbours, sorted by R + R'; each joins the groups of its pixels, the smaller one moved by 2π n
/// ```
///
/// The largest group keeps its values, so the result is the input where nothing was wrapped.
///
/// # Errors
/// [`Error::Shape`] for no image, [`Error::Data`] for values that are not finite.
///
/// # References
/// M. A. Herráez, D. R. Burton, M. J. Lalor, M. A. Gdeisat, *Appl. Opt.* 41, 7437 (2002).
///
/// # Examples
/// ```
/// use exitwave::lorentz::unwrap;
/// use exitwave::tensor::Tensor;
/// let ramp = Tensor::from_fn(&[8, 40], |i| 0.5 * i[1] as f64);
/// let wrapped = ramp.map(|p| p.sin().atan2(p.cos()));
/// let back = unwrap(&wrapped)?;
/// let offset = back[[0, 0]] - ramp[[0, 0]];
/// assert!(back.as_slice().iter().zip(ramp.as_slice()).all(|(b, r)| (b - r - offset).abs() < 1e-12));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn unwrap<T: Real>(phase: &Tensor<T>) -> Result<Tensor<T>, Error> {
    let &[ny, nx] = phase.dims() else {
        return Err(Error::shape("unwrap", &[0, 0], phase.dims()));
    };
    let p: Vec<f64> = phase.as_slice().iter().map(|v| v.f64()).collect();
    if let Some(index) = p.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: "a phase that is not finite".into(), index });
    }
    let n = ny * nx;
    // Pixels at the edge have no second difference: they come last.
    let mut reliability = try_zeroed(n)?;
    for y in 1..ny.saturating_sub(1) {
        for x in 1..nx.saturating_sub(1) {
            let at = |dy: usize, dx: usize| p[(y + dy - 1) * nx + x + dx - 1];
            let second = |a: f64, b: f64| wrapped(a - at(1, 1)) - wrapped(at(1, 1) - b);
            let (h, v) = (second(at(1, 0), at(1, 2)), second(at(0, 1), at(2, 1)));
            let (d1, d2) = (second(at(0, 0), at(2, 2)), second(at(0, 2), at(2, 0)));
            let d = (h * h + v * v + d1 * d1 + d2 * d2).sqrt();
            reliability[y * nx + x] = 1.0 / (d + 1e-12);
        }
    }
    let mut edges: Vec<(f64, usize, usize)> = crate::shape::try_reserved(2 * n)?;
    for i in 0..n {
        if i % nx + 1 < nx {
            edges.push((reliability[i] + reliability[i + 1], i, i + 1));
        }
        if i / nx + 1 < ny {
            edges.push((reliability[i] + reliability[i + nx], i, i + nx));
        }
    }
    // The order of equal reliabilities is that of the pixels.
    edges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));

    // Groups as a forest; each pixel holds its turns relative to its parent.
    let mut parent: Vec<usize> = (0..n).collect();
    let mut turns = vec![0i64; n];
    let mut size = vec![1usize; n];
    fn root(parent: &mut [usize], turns: &mut [i64], i: usize) -> (usize, i64) {
        let (mut r, mut sum) = (i, 0);
        while parent[r] != r {
            sum += turns[r];
            r = parent[r];
        }
        // Every pixel on the way points at the root from now on.
        let (mut j, mut rest) = (i, sum);
        while parent[j] != r && j != r {
            let (next, own) = (parent[j], turns[j]);
            (parent[j], turns[j]) = (r, rest);
            rest -= own;
            j = next;
        }
        (r, sum)
    }
    for (_, a, b) in edges {
        let ((ra, ta), (rb, tb)) = (root(&mut parent, &mut turns, a), root(&mut parent, &mut turns, b));
        if ra == rb {
            continue;
        }
        // Turns that the group of b gets so that the two pixels are neighbours.
        let now = (p[a] - p[b]) / std::f64::consts::TAU + (ta - tb) as f64;
        let move_b = now.round() as i64;
        if size[ra] >= size[rb] {
            (parent[rb], turns[rb]) = (ra, move_b);
            size[ra] += size[rb];
        } else {
            (parent[ra], turns[ra]) = (rb, -move_b);
            size[rb] += size[ra];
        }
    }
    let mut out = try_zeroed(n)?;
    for (i, o) in out.iter_mut().enumerate() {
        let (_, t) = root(&mut parent, &mut turns, i);
        *o = T::of(p[i] + std::f64::consts::TAU * t as f64);
    }
    Tensor::from_vec(&[ny, nx], out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_of_many_turns_and_noise_comes_back() {
        let mut r = crate::rng::stream(5, 0);
        let truth = Tensor::from_fn(&[61, 47], |i| {
            let d2 = (i[0] as f64 - 30.0).powi(2) + (i[1] as f64 - 20.0).powi(2);
            30.0 * (-d2 / 300.0).exp() + 0.2 * crate::rng::normal(&mut r)
        });
        let wrapped = truth.map(|p| p.sin().atan2(p.cos()));
        let back = unwrap(&wrapped).unwrap();
        let offset = back[[0, 0]] - truth[[0, 0]];
        let worst =
            back.as_slice().iter().zip(truth.as_slice()).map(|(b, t)| (b - t - offset).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-10, "{worst}");
    }

    #[test]
    fn what_is_not_wrapped_stays() {
        let smooth = Tensor::from_fn(&[9, 11], |i| 0.1 * i[0] as f32 - 0.05 * i[1] as f32);
        assert_eq!(unwrap(&smooth).unwrap(), smooth);
        for dims in [[1, 1], [1, 5], [5, 1]] {
            assert!(unwrap(&Tensor::<f64>::zeros(&dims)).is_ok());
        }
        assert!(unwrap(&Tensor::full(&[3, 3], f64::NAN)).is_err());
        assert!(unwrap(&Tensor::<f64>::zeros(&[3])).is_err());
    }
}
