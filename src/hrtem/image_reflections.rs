//! Amplitudes and phases of the reflections of a picture, by least squares, with their noise.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft2;
use crate::hrtem::PlaneLattice;
use crate::hrtem::lattice_transform::{LatticeTransform, weighted};
use crate::metrics::Window;
use crate::par::Par;
use crate::real::{Real, cis};
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;

/// The most reflections that are solved for together.
const MOST: usize = 1500;

/// One reflection of a periodic picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneReflection {
    /// Indices on the reciprocal axes.
    pub index: [i32; 2],
    /// F(h), the mean of f e^{+2πi h·x} over a cell: in the crystallographers' sign, the conjugate of a Fourier
    /// coefficient.
    pub f: Complex<f64>,
    /// Standard deviation of the real and of the imaginary part.
    pub sigma: f64,
}

impl PlaneReflection {
    /// |F| over the standard deviation of its real part.
    pub fn signal_to_noise(&self) -> f64 {
        self.f.norm() / self.sigma
    }
}

/// The reflections of a picture: one of each pair h, −h, without (0, 0).
///
/// `f(x) = mean + Σ_h 2 Re F(h) e^{−2πi h·x}`, x the fractions of a point on the lattice.
///
/// # Units
/// F in those of the picture; the lattice in pixels, or in Å, as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneReflections {
    /// The picture's lattice: axes, and the point from which phases count.
    pub lattice: PlaneLattice,
    /// F(0, 0).
    pub mean: f64,
    /// One of each Friedel pair, h > 0 or h = 0 and k > 0, in order.
    pub list: Vec<PlaneReflection>,
}

impl PlaneReflections {
    /// F of any index: the conjugate for one whose Friedel mate is listed. None for what is not listed.
    pub fn get(&self, h: [i32; 2]) -> Option<Complex<f64>> {
        let find = |h: [i32; 2]| self.list.binary_search_by(|r| r.index.cmp(&h)).ok().map(|i| self.list[i].f);
        if h == [0, 0] {
            return Some(Complex::new(self.mean, 0.0));
        }
        if upper(h) { find(h) } else { find(h.map(|i| -i)).map(|f| f.conj()) }
    }

    /// Figure of merit: Σ|F| over Σ(|F| + the mean modulus of noise, √(π/2) σ); 1 without noise, below ½ in it.
    pub fn figure_of_merit(&self) -> f64 {
        let noise = (std::f64::consts::PI / 2.0).sqrt();
        let (signal, all) = self.list.iter().fold((0.0, 0.0), |(s, a), r| {
            let f = r.f.norm();
            (s + f, a + f + noise * r.sigma)
        });
        if all > 0.0 { signal / all } else { 0.0 }
    }

    /// The reflections without what the lens did to them: F and σ over `transfer(k)`, k `[y, x]` in cycles per unit of
    /// the lattice.
    ///
    /// Those at which the transfer is below `least` of its largest modulus, near its zeros, are left out: they carry
    /// noise only. The mean
    /// becomes 0.
    ///
    /// For a weak phase object and a picture divided by its mean, the transfer from the projected potential (V Å) is
    /// `2 σ_e Im T̄(k)`, σ_e the interaction parameter, T as [`crate::optics::Ctf::at`] gives it. A crystal of
    /// thickness t acts as its
    /// projection in the middle: focus counts from there, t/2 above the exit surface.
    ///
    /// # Errors
    /// [`Error::Param`] for `least` outside 0 to 1, a transfer that is not finite or 0 everywhere.
    pub fn corrected(&self, transfer: &dyn Fn([f64; 2]) -> f64, least: f64) -> Result<PlaneReflections, Error> {
        if !(0.0..1.0).contains(&least) {
            return Err(Error::param("least", least, "0 to 1"));
        }
        let dual = self.lattice.reciprocal();
        let values: Vec<f64> = self.list.iter().map(|r| transfer(dual.at(r.index.map(f64::from)))).collect();
        let largest = values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        if !(largest > 0.0 && values.iter().all(|v| v.is_finite())) {
            return Err(Error::param("transfer", largest, "finite, and not 0 everywhere"));
        }
        let kept = self.list.iter().zip(&values).filter(|(_, t)| t.abs() > least * largest);
        let list = kept.map(|(r, t)| PlaneReflection { index: r.index, f: r.f / *t, sigma: r.sigma / t.abs() });
        Ok(PlaneReflections { lattice: self.lattice, mean: 0.0, list: list.collect() })
    }

    /// All amplitudes and σ times a factor.
    pub fn scaled(&self, factor: f64) -> PlaneReflections {
        let list = self.list.iter().map(|r| PlaneReflection { f: r.f * factor, sigma: r.sigma * factor.abs(), ..*r });
        PlaneReflections { lattice: self.lattice, mean: self.mean * factor, list: list.collect() }
    }

    /// The picture that the reflections make, over one cell.
    ///
    /// # Shapes
    /// `[n_a, n_b]`: the pixel (i, j) is at the fractions (i/n_a, j/n_b) of a and b.
    ///
    /// # Errors
    /// [`Error::Param`] for a side of 0, [`Error::OutOfMemory`].
    pub fn cell(&self, dims: [usize; 2]) -> Result<Tensor<f64>, Error> {
        if dims.contains(&0) {
            return Err(Error::param("dims", format!("{dims:?}"), "at least one pixel each way"));
        }
        let mut out = try_zeroed(checked_len(&dims)?)?;
        out.fill(self.mean);
        for r in &self.list {
            let wave = |n: usize, h: i32| -> Vec<Complex<f64>> {
                let turn = |i: usize| (f64::from(h) * i as f64 / n as f64).fract();
                (0..n).map(|i| cis(-std::f64::consts::TAU * turn(i))).collect()
            };
            let (u, v) = (wave(dims[0], r.index[0]), wave(dims[1], r.index[1]));
            for (row, u) in out.chunks_exact_mut(dims[1]).zip(u) {
                let f = r.f * u * 2.0;
                row.iter_mut().zip(&v).for_each(|(o, v)| *o += (f * v).re);
            }
        }
        Tensor::from_vec(&dims, out)
    }
}

/// Whether h is the listed one of its Friedel pair.
pub(super) fn upper(h: [i32; 2]) -> bool {
    h[0] > 0 || (h[0] == 0 && h[1] > 0)
}

/// Which reflections of a picture are measured, and how.
#[derive(Clone, Debug)]
pub struct ReflectionsParams {
    /// The highest spatial frequency, in cycles per pixel, at most ½.
    pub highest: f64,
    /// Taper of the picture, against the tails of strong reflections in the noise.
    pub window: Window,
    /// Threads.
    pub par: Par,
}

/// Up to 0.4 cycles per pixel, Hann's window, all threads.
impl Default for ReflectionsParams {
    fn default() -> Self {
        ReflectionsParams { highest: 0.4, window: Window::Hann, par: Par::default() }
    }
}

/// Measures all reflections of a periodic picture up to a resolution.
///
/// Minimises `Σ_r w(r) |f(r) − Σ_h C(h) e^{2πi h·x(r)}|²` over all C(h), C(0, 0) among them, w the window. The normal
/// equations have the window's transform at h − h′ as their matrix. F = C̄.
///
/// The noise of a reflection is the mean power of what remains, in the picture's spectrum around the reflection, at up
/// to half the distance to the next one.
///
/// # Shapes
/// `image` is `[ny, nx]`, given by `dims`.
///
/// # Units
/// The lattice in pixels; F in the picture's unit.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] for a frequency that is not in (0, ½], [`Error::Data`] for pixels that are not
/// finite or
/// a lattice with too few or too many (1500) reflections or with cells that are larger than a third of the picture,
/// [`Error::OutOfMemory`].
///
/// # References
/// S. Hovmöller, *Ultramicroscopy* 41, 121 (1992), for what is done with them; by least squares instead of integration.
///
/// # Examples
/// ```
/// use exitwave::hrtem::{PlaneLattice, ReflectionsParams, measure_reflections};
///
/// let lattice = PlaneLattice { origin: [0.0; 2], a: [0.0, 8.0], b: [9.0, 1.0] };
/// let picture: Vec<f32> = (0..64 * 64)
///     .map(|i| {
///         let [u, _] = lattice.fraction([(i / 64) as f64, (i % 64) as f64]);
///         5.0 + (2.0 * (std::f64::consts::TAU * (u - 0.1)).cos()) as f32
///     })
///     .collect();
/// let found = measure_reflections([64, 64], &picture, &lattice, &ReflectionsParams::default())?;
/// let f = found.get([1, 0]).unwrap();
/// // 2 cos 2π(u − 0.1) = 2 Re e^{−2πiu} e^{+2πi 0.1}.
/// assert!((f.norm() - 1.0).abs() < 1e-5 && (f.arg() - 0.2 * std::f64::consts::PI).abs() < 1e-5);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn measure_reflections<T: Real>(
    dims: [usize; 2],
    image: &[T],
    lattice: &PlaneLattice,
    params: &ReflectionsParams,
) -> Result<PlaneReflections, Error> {
    let transform = LatticeTransform::new(dims, image, params.window, &params.par)?;
    if !(params.highest > 0.0 && params.highest <= 0.5) {
        return Err(Error::param("highest", params.highest, "above 0, at most ½ cycle per pixel"));
    }
    let list = indices(lattice, params.highest, dims)?;
    let dual = lattice.reciprocal();
    let frequency = |h: [i32; 2]| dual.at(h.map(f64::from));

    // All of ±h and 0: hermitian normal equations of a real picture have a hermitian solution.
    let mut all: Vec<[i32; 2]> = vec![[0, 0]];
    all.extend(list.iter().flat_map(|&h| [h, h.map(|i| -i)]));
    let frequencies: Vec<[f64; 2]> = list.iter().map(|&h| frequency(h)).collect();
    // Phases count from the lattice's origin: the transform's from pixel (0, 0).
    let shift = |h: [i32; 2], z: Complex<f64>| {
        let k = frequency(h);
        z * cis(std::f64::consts::TAU * (k[0] * lattice.origin[0] + k[1] * lattice.origin[1]))
    };
    let measured = transform.at(&frequencies, &params.par);
    let mut right = vec![Complex::new(transform.sum(), 0.0)];
    right.extend(list.iter().zip(&measured).flat_map(|(&h, &z)| {
        let z = shift(h, z);
        [z, z.conj()]
    }));
    let reach = list.iter().flat_map(|h| h.map(|i| i.unsigned_abs() as usize)).max().unwrap_or(0) as i32;
    let table = transform.window_table(&dual, 2 * reach, lattice.origin);
    let c = solve(&all, &table, reach, &right, &params.par);

    // What remains, and its power around every reflection.
    let model = |h: usize| (list[h], c[1 + 2 * h]);
    let residual = residual(dims, image, lattice, c[0].re, (0..list.len()).map(model), &params.par)?;
    let sigma = noise(dims, residual, &transform, &frequencies, lattice)?;
    let list = list.iter().enumerate();
    let list = list.map(|(i, &index)| PlaneReflection { index, f: c[1 + 2 * i].conj(), sigma: sigma[i] }).collect();
    Ok(PlaneReflections { lattice: *lattice, mean: c[0].re, list })
}

/// The indices up to a frequency, one of each pair, in order.
fn indices(lattice: &PlaneLattice, highest: f64, dims: [usize; 2]) -> Result<Vec<[i32; 2]>, Error> {
    let dual = lattice.reciprocal();
    let smallest = dims[0].min(dims[1]) as f64;
    let reduced = lattice.reduced();
    if !(reduced.lengths()[1] * 3.0 <= smallest && reduced.area() > 1.0) {
        return Err(Error::Data {
            what: format!(
                "cell of {:?} pixels in a picture of {dims:?}: three cells at least each way",
                lattice.lengths()
            ),
            index: 0,
        });
    }
    // |h_i| = |k·a_i| ≤ |k| |a_i|.
    let reach = lattice.lengths().map(|l| (highest * l).floor());
    if !(reach[0] <= 2000.0 && reach[1] <= 2000.0) {
        return Err(Error::param("lattice", format!("{lattice:?}"), "axes with indices up to 2000: reduced ones"));
    }
    let expected = 0.5 * std::f64::consts::PI * highest * highest * lattice.area();
    if expected > MOST as f64 {
        return Err(Error::Data { what: format!("about {expected:.0} reflections: at most {MOST}"), index: 0 });
    }
    let [m, n] = reach.map(|r| r as i32);
    let mut list = Vec::new();
    for h in 0..=m {
        for k in -n..=n {
            let q = dual.at([f64::from(h), f64::from(k)]);
            if upper([h, k]) && q[0].hypot(q[1]) <= highest {
                list.push([h, k]);
            }
        }
    }
    if list.is_empty() || list.len() > MOST {
        return Err(Error::Data { what: format!("{} reflections: 1 to {MOST}", list.len()), index: 0 });
    }
    Ok(list)
}

/// Solves Σ_g Ŵ(h − g) C(g) = b(h) by conjugate gradients: with separate reflections the matrix is nearly diagonal.
fn solve(all: &[[i32; 2]], table: &[Complex<f64>], reach: i32, right: &[Complex<f64>], par: &Par) -> Vec<Complex<f64>> {
    let side = (4 * reach + 1) as usize;
    let place = |h: [i32; 2]| (h[0] + 2 * reach) as usize * side + (h[1] + 2 * reach) as usize;
    // Ŵ(h − g) is at place(h) + place(0) − place(g)… of a table whose rows are as long for all.
    let (places, zero) = (all.iter().map(|&h| place(h)).collect::<Vec<_>>(), place([0, 0]));
    let scale = 1.0 / table[zero].re;
    let times = |x: &[Complex<f64>]| -> Vec<Complex<f64>> {
        let mut y = vec![Complex::new(0.0, 0.0); x.len()];
        par.chunks(&mut y, 64, |block, y| {
            for (i, y) in y.iter_mut().enumerate() {
                let at = places[block * 64 + i] + zero;
                *y = places.iter().zip(x).map(|(p, x)| table[at - p] * x).sum::<Complex<f64>>() * scale;
            }
        });
        y
    };
    let inner = |a: &[Complex<f64>], b: &[Complex<f64>]| a.iter().zip(b).map(|(a, b)| (a.conj() * b).re).sum::<f64>();
    let mut r: Vec<Complex<f64>> = right.iter().map(|b| b * scale).collect();
    let mut x = vec![Complex::new(0.0, 0.0); r.len()];
    let mut p = r.clone();
    let first = inner(&r, &r);
    let mut rr = first;
    for _ in 0..2 * all.len() + 20 {
        if rr <= 1e-28 * first {
            break;
        }
        let q = times(&p);
        let alpha = rr / inner(&p, &q);
        if !alpha.is_finite() {
            break;
        }
        for i in 0..x.len() {
            x[i] += p[i] * alpha;
            r[i] -= q[i] * alpha;
        }
        let next = inner(&r, &r);
        let beta = next / rr;
        p.iter_mut().zip(&r).for_each(|(p, r)| *p = r + *p * beta);
        rr = next;
    }
    x
}

/// The picture without its mean and its reflections, row by row.
fn residual<T: Real>(
    dims: [usize; 2],
    image: &[T],
    lattice: &PlaneLattice,
    mean: f64,
    model: impl Iterator<Item = ([i32; 2], Complex<f64>)>,
    par: &Par,
) -> Result<Vec<f64>, Error> {
    let [_, nx] = dims;
    let dual = lattice.reciprocal();
    let waves: Vec<([f64; 2], Complex<f64>)> = model
        .map(|(h, c)| {
            let k = dual.at(h.map(f64::from));
            let turn = k[0] * lattice.origin[0] + k[1] * lattice.origin[1];
            (k, 2.0 * c * cis(-std::f64::consts::TAU * turn))
        })
        .collect();
    // e^{2πi k_x x} of all reflections, cosines and sines apart.
    let wave = |kx: f64| (0..nx).map(move |x| cis(std::f64::consts::TAU * (kx * x as f64).fract()));
    let mut tables: Vec<f64> = try_zeroed(checked_len(&[waves.len(), 2, nx])?)?;
    for (table, (k, _)) in tables.chunks_exact_mut(2 * nx).zip(&waves) {
        let (re, im) = table.split_at_mut(nx);
        wave(k[1]).zip(re.iter_mut().zip(im)).for_each(|(z, (re, im))| (*re, *im) = (z.re, z.im));
    }
    let mut out = try_zeroed(image.len())?;
    par.chunks(&mut out, nx, |y, row| {
        row.iter_mut().zip(&image[y * nx..]).for_each(|(o, v)| *o = v.f64() - mean);
        for ((k, c), table) in waves.iter().zip(tables.chunks_exact(2 * nx)) {
            let z = c * cis(std::f64::consts::TAU * (k[0] * y as f64).fract());
            let (re, im) = table.split_at(nx);
            row.iter_mut().zip(re.iter().zip(im)).for_each(|(o, (re, im))| *o -= z.re * re - z.im * im);
        }
    });
    Ok(out)
}

/// Standard deviation of real and imaginary parts from the spectrum around each frequency.
fn noise(
    dims: [usize; 2],
    residual: Vec<f64>,
    transform: &LatticeTransform,
    frequencies: &[[f64; 2]],
    lattice: &PlaneLattice,
) -> Result<Vec<f64>, Error> {
    let [ny, nx] = dims;
    let fft = Fft2::<f64>::new(dims)?;
    let mut spectrum: Vec<Complex<f64>> = weighted(transform, &residual);
    let mut scratch = try_zeroed(fft.scratch_len())?;
    fft.forward(&mut spectrum, &mut scratch);
    // Half the way to the next reflection, but three pixels of the spectrum at least.
    let dual = lattice.reciprocal().reduced();
    let reach = 0.5 * dual.lengths()[0];
    let total = transform.sum_of_weights();
    let sigma = |k: &[f64; 2]| {
        let at = [k[0] * ny as f64, k[1] * nx as f64];
        let wide = [reach * ny as f64, reach * nx as f64].map(|r| r.max(3.0));
        let (mut power, mut count) = (0.0, 0.0);
        for i in (at[0] - wide[0]).ceil() as i64..=(at[0] + wide[0]).floor() as i64 {
            for j in (at[1] - wide[1]).ceil() as i64..=(at[1] + wide[1]).floor() as i64 {
                let d = [(i as f64 - at[0]) / wide[0], (j as f64 - at[1]) / wide[1]];
                // The fit took the power out of the reflection itself.
                let own = (i as f64 - at[0]).hypot(j as f64 - at[1]) < 1.5;
                if d[0].hypot(d[1]) <= 1.0 && !own {
                    let (i, j) = (i.rem_euclid(ny as i64) as usize, j.rem_euclid(nx as i64) as usize);
                    power += spectrum[i * nx + j].norm_sqr();
                    count += 1.0;
                }
            }
        }
        // E|Σ w n e|² = 2σ² (Σ w)² for the estimate C = Σ w f e / Σ w.
        (0.5 * power / f64::max(count, 1.0)).sqrt() / total
    };
    Ok(frequencies.iter().map(sigma).collect())
}
