//! The power spectrum of an image as an averaged periodogram, and its averages over rings, ellipses and sectors.

use std::f64::consts::PI;

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{RealFft2, frequencies, frequency_index};
use crate::metrics::Window;
use crate::optics::Grid;
use crate::par::Par;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Length, SpatialFrequency};

/// Tiles are added up in this many groups, whatever the number of threads.
const GROUPS: usize = 4;

/// Number of correlated neighbours that a Hann window makes in a periodogram, both axes: (1 + 2(4/9 + 1/36))².
const HANN_NEIGHBOURS: f64 = (35.0 / 18.0) * (35.0 / 18.0);

/// How an image is cut for its periodograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiles {
    /// The whole image at once, without a window: for images that are periodic, or where leakage does not matter.
    Whole,
    /// Squares of this side under a Hann window, each overlapping the next by half; limited by the image's sides.
    Side(usize),
}

/// What a power spectrum depends on.
#[derive(Clone, Debug)]
pub struct PowerSpectrumParams {
    /// Size of a pixel.
    pub pixel: Length,
    /// How the image is cut.
    pub tiles: Tiles,
    /// Threads.
    pub par: Par,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

/// Tiles of 512 pixels of 1 Å.
impl Default for PowerSpectrumParams {
    fn default() -> Self {
        PowerSpectrumParams {
            pixel: Length::angstrom(1.0),
            tiles: Tiles::Side(512),
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// An averaged periodogram: `P(k) = d² ⟨|Σ_r w(r) c(r) e^{−2πi k·r}|²⟩ / Σ w²`, c being the contrast `I/Ī − 1`, d the pixel.
///
/// Counting noise of dose D has P = 1/D at every k. An image whose mean is not above a thousandth of its standard
/// deviation is taken to be a contrast already.
///
/// # Shapes
/// `values` is the half spectrum (ny, nx/2 + 1) of one tile, zero frequency at index 0.
///
/// # Units
/// P in Å², for a contrast without unit.
///
/// # References
/// P. D. Welch, *IEEE Trans. Audio Electroacoust.* 15, 70 (1967), equations 1 to 12.
#[derive(Clone, Debug)]
pub struct PowerSpectrum {
    /// The pixels of a tile.
    pub grid: Grid,
    /// P of the half plane kx ≥ 0.
    pub values: Vec<f32>,
    /// How many tiles were averaged.
    pub tiles: usize,
    /// Independent exponential variates that one value of `values` counts for, in an average over many of them.
    pub weight: f64,
}

/// The mean of a power spectrum over rings.
#[derive(Clone, Debug, Default)]
pub struct RadialSpectrum {
    /// Root mean square radius of each ring, 1/Å.
    pub k: Vec<f64>,
    /// Mean of P over the ring.
    pub mean: Vec<f64>,
    /// Independent variates in the ring.
    pub count: Vec<f64>,
}

/// The mean of a power spectrum over the cells of a polar grid; empty cells have a count of 0.
#[derive(Clone, Debug, Default)]
pub struct PolarSpectrum {
    /// Number of sectors of the half plane.
    pub sectors: usize,
    /// `[ky, kx]` that stands for a cell, 1/Å: root mean square radius and mean direction of its pixels; (rings, sectors).
    pub k: Vec<[f64; 2]>,
    /// Mean of P, outliers left out.
    pub mean: Vec<f64>,
    /// Independent variates in the cell.
    pub count: Vec<f64>,
}

/// Buffers of one thread.
struct State {
    tile: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl PowerSpectrum {
    /// The averaged periodogram of an image.
    ///
    /// # Shapes
    /// `[y, x]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for what is no image, [`Error::Param`] for an impossible pixel or a tile (or image) below 16
    /// pixels, [`Error::Data`] for a pixel that is not finite, [`Error::OverBudget`], [`Error::OutOfMemory`].
    ///
    /// # Examples
    /// Counting noise is white, and as strong as the dose says:
    /// ```
    /// use exitwave::hrtem::{PowerSpectrum, PowerSpectrumParams, Tiles};
    /// use exitwave::rng;
    /// use exitwave::tensor::Tensor;
    /// let mut r = rng::stream(1, 0);
    /// let image = Tensor::from_fn(&[256, 256], |_| rng::poisson(&mut r, 4.0) as f32);
    /// let params = PowerSpectrumParams { tiles: Tiles::Side(64), ..Default::default() };
    /// let ring = PowerSpectrum::new(&image, &params)?.rotational();
    /// assert!((ring.mean[20] - 0.25).abs() < 4.0 * 0.25 / ring.count[20].sqrt());
    /// # Ok::<(), exitwave::Error>(())
    /// ```
    pub fn new(image: &Tensor<f32>, params: &PowerSpectrumParams) -> Result<Self, Error> {
        let &[ny, nx] = image.dims() else {
            return Err(Error::shape("PowerSpectrum::new", &[1, 1], image.dims()));
        };
        let side = match params.tiles {
            Tiles::Whole => [ny, nx],
            Tiles::Side(n) => [n.min(ny), n.min(nx)],
        };
        let grid = Grid { dims: side, sampling: [params.pixel; 2] };
        grid.check()?;
        if side.iter().any(|&n| n < 16) {
            return Err(Error::param(
                "tiles",
                format!("{:?} of {ny} × {nx}", params.tiles),
                "at least 16 pixels a side",
            ));
        }
        let [ty, tx] = side;
        let half = tx / 2 + 1;
        let threads = params.par.count().min(GROUPS);
        let bytes = (GROUPS * ty * half * 4 + threads * (ty * tx * 4 + 3 * ty * half * 8)) as u64;
        params.limits.check(bytes)?;
        let (mean, sd) = moments(image.as_slice(), &params.par)?;
        let scale = if mean > 1e-3 * sd { 1.0 / mean } else { 1.0 };

        let taper = match params.tiles {
            Tiles::Whole => Window::None,
            Tiles::Side(_) => Window::Hann,
        };
        let weights = |n: usize| Ok::<Vec<f32>, Error>(taper.weights(n)?.into_iter().map(|w| w as f32).collect());
        let window = [weights(ty)?, weights(tx)?];
        let starts = [starts(ny, ty, params.tiles), starts(nx, tx, params.tiles)];
        let count = starts[0].len() * starts[1].len();
        let fft = RealFft2::<f32>::new(side)?;
        let len = checked_len(&[ty, half])?;
        let mut sums: Vec<f32> = try_zeroed(checked_len(&[GROUPS, len])?)?;
        let mut states = Vec::with_capacity(threads);
        for _ in 0..threads {
            states.push(State {
                tile: try_zeroed(ty * tx)?,
                spectrum: try_zeroed(len)?,
                scratch: try_zeroed(fft.scratch_len())?,
            });
        }
        params.par.chunks_with(&mut sums, len, &mut states, |group, sum, s| {
            for t in group * count / GROUPS..(group + 1) * count / GROUPS {
                let at = [starts[0][t / starts[1].len()], starts[1][t % starts[1].len()]];
                cut(image.as_slice(), nx, at, &window, &mut s.tile);
                fft.forward(&mut s.tile, &mut s.spectrum, &mut s.scratch);
                sum.iter_mut().zip(&s.spectrum).for_each(|(p, z)| *p += z.norm_sqr());
            }
        });

        let energy: f64 = window.iter().map(|w| w.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>()).product();
        let d = params.pixel.to_angstrom();
        let factor = (d * d * scale * scale / (energy * count as f64)) as f32;
        let (first, others) = sums.split_at_mut(len);
        for group in others.chunks(len) {
            first.iter_mut().zip(group).for_each(|(a, b)| *a += b);
        }
        first.iter_mut().for_each(|p| *p *= factor);
        sums.truncate(len);
        sums.shrink_to_fit();

        // Half-overlapping Hann windows have a correlation of 1/6; the variance of the mean grows by its square.
        let weight = match params.tiles {
            Tiles::Whole => 1.0,
            Tiles::Side(_) => {
                let overlap = |n: usize| 1.0 + (n as f64 - 1.0) / (18.0 * n as f64);
                count as f64 / (overlap(starts[0].len()) * overlap(starts[1].len()) * HANN_NEIGHBOURS)
            }
        };
        Ok(PowerSpectrum { grid, values: sums, tiles: count, weight })
    }

    /// Distance of neighbouring rings, 1/Å: the coarser of the two axes'.
    pub fn step(&self) -> SpatialFrequency {
        let [y, x] = self.grid.frequency_step();
        y.max(x)
    }

    /// Calls `f(k, P)` for the half plane without its zero frequency and without the second copy of pixels at kx = 0.
    fn visit(&self, mut f: impl FnMut([f64; 2], f64)) {
        let [ny, nx] = self.grid.dims;
        let half = nx / 2 + 1;
        let d = self.grid.sampling.map(|d| d.to_angstrom());
        let (ky, kx) = (frequencies(ny, d[0]), frequencies(nx, d[1]));
        for (iy, row) in self.values.chunks(half).enumerate() {
            for (ix, &p) in row.iter().enumerate() {
                let copy = (ix == 0 || 2 * ix == nx) && frequency_index(iy, ny) < 0;
                if !copy && (iy, ix) != (0, 0) {
                    f([ky[iy], kx[ix].abs()], f64::from(p));
                }
            }
        }
    }

    /// The mean over rings one step wide, to the edge of the shorter axis.
    pub fn rotational(&self) -> RadialSpectrum {
        self.radial(|k| k[0].hypot(k[1]))
    }

    /// The mean over curves of equal `radius(k)` in 1/Å, one step wide: over ellipses for a lens with astigmatism.
    pub fn radial(&self, radius: impl Fn([f64; 2]) -> f64) -> RadialSpectrum {
        let dk = self.step().to_per_angstrom();
        let n = self.grid.dims[0].min(self.grid.dims[1]) / 2;
        let (mut k2, mut sum, mut count) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        self.visit(|k, p| {
            let r = radius(k);
            let bin = (r / dk).round();
            if bin >= 0.0 && bin < n as f64 {
                let bin = bin as usize;
                k2[bin] += r * r;
                sum[bin] += p;
                count[bin] += 1.0;
            }
        });
        let mut out = RadialSpectrum::default();
        for i in 0..n {
            if count[i] > 0.0 {
                out.k.push((k2[i] / count[i]).sqrt());
                out.mean.push(sum[i] / count[i]);
                out.count.push(count[i] * self.weight);
            }
        }
        out
    }

    /// The mean over the cells of a polar grid: `sectors` of the half plane, rings one step wide from `range[0]` to
    /// `range[1]`.
    ///
    /// A pixel above `1 + 8/√M` times its ring's mean (M periodograms; of exponential noise one in 10⁴ is) is a
    /// reflection or a defect, and left out.
    ///
    /// # Errors
    /// [`Error::Param`] for no sectors, or more than 720, or a range that holds no ring.
    pub fn polar(&self, sectors: usize, range: [SpatialFrequency; 2]) -> Result<PolarSpectrum, Error> {
        let dk = self.step().to_per_angstrom();
        let [low, high] = range.map(|k| k.to_per_angstrom());
        let first = (low / dk).ceil().max(1.0);
        let last = (high / dk).floor();
        let most = (self.grid.dims[0].min(self.grid.dims[1]) / 2) as f64;
        if !(1..=720).contains(&sectors) {
            return Err(Error::param("sectors", sectors, "1 to 720"));
        }
        if !(last >= first && last <= most) {
            return Err(Error::param(
                "range",
                format!("{low} to {high} 1/Å in rings of {dk:.5} 1/Å, {most} of them"),
                "at least one ring, none beyond the edge",
            ));
        }
        let rings = (last - first) as usize + 1;

        // The rings' means say what an outlier is, and are taken once more without them.
        let ring = |k: [f64; 2]| {
            let r = (k[0].hypot(k[1]) / dk).round() - first;
            (r >= 0.0 && r < rings as f64).then_some(r as usize)
        };
        let mut limit = vec![f64::INFINITY; rings];
        for _ in 0..3 {
            let (mut sum, mut count) = (vec![0.0; rings], vec![0.0; rings]);
            self.visit(|k, p| {
                if let Some(r) = ring(k)
                    && p <= limit[r]
                {
                    sum[r] += p;
                    count[r] += 1.0;
                }
            });
            let factor = 1.0 + 8.0 / (self.tiles as f64).sqrt();
            for r in 0..rings {
                limit[r] = factor * sum[r] / f64::max(count[r], 1.0);
            }
        }
        let cells = rings * sectors;
        let (mut k2, mut direction) = (vec![0.0; cells], vec![[0.0; 2]; cells]);
        let (mut mean, mut count) = (vec![0.0; cells], vec![0.0; cells]);
        self.visit(|k, p| {
            if let Some(r) = ring(k)
                && p <= limit[r]
            {
                // kx ≥ 0: the direction is between −π/2 and π/2.
                let turn = k[0].atan2(k[1]) / PI + 0.5;
                let cell = r * sectors + ((turn * sectors as f64) as usize).min(sectors - 1);
                k2[cell] += k[0] * k[0] + k[1] * k[1];
                direction[cell][0] += k[0];
                direction[cell][1] += k[1];
                mean[cell] += p;
                count[cell] += 1.0;
            }
        });
        let mut k = vec![[0.0; 2]; cells];
        for i in 0..cells {
            if count[i] > 0.0 {
                let r = (k2[i] / count[i]).sqrt();
                let phi = direction[i][0].atan2(direction[i][1]);
                k[i] = [r * phi.sin(), r * phi.cos()];
                mean[i] /= count[i];
                count[i] *= self.weight;
            }
        }
        Ok(PolarSpectrum { sectors, k, mean, count })
    }

    /// P over the whole plane with the zero frequency in the middle, `[ny, nx]`, as it is looked at.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn centred(&self) -> Result<Tensor<f32>, Error> {
        let [ny, nx] = self.grid.dims;
        let half = nx / 2 + 1;
        let mut out = try_zeroed(ny * nx)?;
        for y in 0..ny {
            for x in 0..nx {
                let (iy, ix) = ((y + ny - ny / 2) % ny, (x + nx - nx / 2) % nx);
                let from = if ix < half { iy * half + ix } else { (ny - iy) % ny * half + (nx - ix) };
                out[y * nx + x] = self.values[from];
            }
        }
        Tensor::from_vec(&[ny, nx], out)
    }
}

/// Mean and standard deviation.
fn moments(image: &[f32], par: &Par) -> Result<(f64, f64), Error> {
    if let Some(index) = image.iter().position(|v| !v.is_finite()) {
        return Err(Error::Data { what: format!("pixel {} of the image is not finite", image[index]), index });
    }
    let n = image.len() as f64;
    let mean = par.sum(image.len(), 1 << 16, |r| image[r].iter().map(|&v| f64::from(v)).sum()) / n;
    let square = par.sum(image.len(), 1 << 16, |r| image[r].iter().map(|&v| (f64::from(v) - mean).powi(2)).sum()) / n;
    Ok((mean, square.sqrt()))
}

/// Where tiles begin: half a tile apart at most, the last at the image's edge.
fn starts(n: usize, tile: usize, tiles: Tiles) -> Vec<usize> {
    match tiles {
        Tiles::Whole => vec![0],
        Tiles::Side(_) => {
            let steps = (2 * (n - tile)).div_ceil(tile);
            (0..=steps).map(|i| i * (n - tile) / steps.max(1)).collect()
        }
    }
}

/// A tile without its mean, under the window.
fn cut(image: &[f32], nx: usize, at: [usize; 2], window: &[Vec<f32>; 2], tile: &mut [f32]) {
    let tx = window[1].len();
    let mut sum = 0.0f64;
    for (y, row) in tile.chunks_mut(tx).enumerate() {
        row.copy_from_slice(&image[(at[0] + y) * nx + at[1]..][..tx]);
        sum += f64::from(row.iter().sum::<f32>());
    }
    let mean = (sum / tile.len() as f64) as f32;
    for (row, wy) in tile.chunks_mut(tx).zip(&window[0]) {
        row.iter_mut().zip(&window[1]).for_each(|(v, wx)| *v = (*v - mean) * wy * wx);
    }
}
