//! Resampling of images to another size: nearest, linear; and the pixel shuffle.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::nn::conv::three;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// How a pixel between others is found, and where the pixels of the new grid lie on the old one of n pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel ⌊i n / m⌋ for pixel i of m.
    Nearest,
    /// Linear in each axis, at `(i + ½) n / m − ½`, not below 0: areas are kept.
    Linear,
    /// Linear in each axis, at `i (n − 1) / (m − 1)`: the first and last pixels are kept.
    LinearCorners,
}

/// Parameters of [`Resample`].
#[derive(Clone, Debug)]
pub struct ResampleParams<const D: usize> {
    /// Images and channels.
    pub planes: [usize; 2],
    /// Size of the input image, (z,) y, x.
    pub size: [usize; D],
    /// Size of the output image.
    pub out_size: [usize; D],
    /// How.
    pub interpolation: Interpolation,
    /// On how many threads.
    pub par: Par,
}

/// One pixel to twice its size, linearly.
impl<const D: usize> Default for ResampleParams<D> {
    fn default() -> Self {
        ResampleParams {
            planes: [1, 1],
            size: [1; D],
            out_size: [2; D],
            interpolation: Interpolation::Linear,
            par: Par::default(),
        }
    }
}

/// The two neighbours of an output pixel and the weight of the second.
#[derive(Clone, Copy, Debug)]
struct Between {
    low: usize,
    high: usize,
    weight: f64,
}

/// Nearest, bilinear or trilinear resampling.
///
/// ```text
/// y[i] = (1 − f) x[a] + f x[b],   position a + f on the old grid, b = min(a + 1, n − 1)
/// ```
///
/// axis by axis; linear in x, so that backward is its transpose: `dx[a] += (1 − f) dy[i]`, `dx[b] += f dy[i]`.
///
/// # Shapes
/// Input: (n, c, size) with `planes = [n, c]`. Output: (n, c, out_size).
#[derive(Clone, Debug)]
pub struct Resample<const D: usize> {
    p: ResampleParams<D>,
    tables: [Vec<Between>; 3],
    sizes: [usize; 3],
}

/// Resampling of images.
pub type Resample2d = Resample<2>;
/// Resampling of volumes.
pub type Resample3d = Resample<3>;

impl<const D: usize> Resample<D> {
    /// A resampling for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Param`] for a size of 0; [`Error::Unsupported`] unless D is 1, 2 or 3; [`Error::OutOfMemory`] on
    /// overflow.
    pub fn new(params: &ResampleParams<D>) -> Result<Self, Error> {
        if !(1..=3).contains(&D) {
            return Err(Error::Unsupported { what: format!("resampling in {D} dimensions") });
        }
        for &v in params.planes.iter().chain(&params.size).chain(&params.out_size) {
            check::not_zero("size", v)?;
        }
        checked_len(&[&params.planes[..], &params.size[..]].concat())?;
        checked_len(&[&params.planes[..], &params.out_size[..]].concat())?;
        let (sizes, outs) = (three(params.size, 1), three(params.out_size, 1));
        let tables = std::array::from_fn(|axis| {
            let (n, m) = (sizes[axis], outs[axis]);
            let between = |i: usize| {
                let position = match params.interpolation {
                    Interpolation::Nearest => return Between { low: i * n / m, high: i * n / m, weight: 0.0 },
                    Interpolation::Linear => ((i as f64 + 0.5) * n as f64 / m as f64 - 0.5).max(0.0),
                    Interpolation::LinearCorners if m == 1 => 0.0,
                    Interpolation::LinearCorners => i as f64 * (n - 1) as f64 / (m - 1) as f64,
                };
                let low = (position as usize).min(n - 1);
                Between { low, high: (low + 1).min(n - 1), weight: position - low as f64 }
            };
            (0..m).map(between).collect()
        });
        Ok(Resample { p: params.clone(), tables, sizes })
    }

    fn dims(&self, size: &[usize; D]) -> Vec<usize> {
        [&self.p.planes[..], &size[..]].concat()
    }

    /// The up to four rows that make an output row, with their weights.
    fn rows(&self, z: usize, y: usize) -> impl Iterator<Item = (usize, f64)> {
        let (z, y, ny) = (self.tables[0][z], self.tables[1][y], self.sizes[1]);
        let pair = |b: Between| [(b.low, 1.0 - b.weight), (b.high, b.weight)];
        pair(z)
            .into_iter()
            .flat_map(move |(z, wz)| pair(y).map(move |(y, wy)| (z * ny + y, wz * wy)))
            .filter(|&(_, w)| w != 0.0)
    }
}

impl<T: Real, const D: usize> Function<T> for Resample<D> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("resampling", inputs, &[&self.dims(&self.p.size)], 0)?;
        Ok(Space::real(&self.dims(&self.p.out_size)))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.p.par.count() * self.sizes[2]
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        let [oz, oy, ox] = self.tables.each_ref().map(Vec::len);
        let nx = self.sizes[2];
        let len: usize = self.sizes.iter().product();
        check_len("resampling", "x", self.p.planes[0] * self.p.planes[1] * len, x[0].len());
        check_len("resampling", "y", self.p.planes[0] * self.p.planes[1] * oz * oy * ox, y.len());
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(nx).take(self.p.par.count()).collect();
        self.p.par.chunks_with(y, oz * oy * ox, &mut states, |plane, y, row| {
            let x = &x[0][plane * len..][..len];
            for (r, y) in y.chunks_exact_mut(ox).enumerate() {
                // Between rows, then along the row.
                row.fill(T::ZERO);
                for (source, w) in self.rows(r / oy, r % oy) {
                    let w = T::of(w);
                    row.iter_mut().zip(&x[source * nx..]).for_each(|(r, &x)| *r += w * x);
                }
                for (y, b) in y.iter_mut().zip(&self.tables[2]) {
                    *y = row[b.low] + T::of(b.weight) * (row[b.high] - row[b.low]);
                }
            }
        });
    }

    fn backward(
        &self,
        _: &[&[T]],
        _: &[T],
        _: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let [oz, oy, ox] = self.tables.each_ref().map(Vec::len);
        let nx = self.sizes[2];
        check_len("resampling", "dy", self.p.planes[0] * self.p.planes[1] * oz * oy * ox, dy.len());
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(nx).take(self.p.par.count()).collect();
        self.p.par.chunks_with(dx, self.sizes.iter().product(), &mut states, |plane, dx, row| {
            if onto == Write::Set {
                dx.fill(T::ZERO);
            }
            let dy = &dy[plane * oz * oy * ox..][..oz * oy * ox];
            for (r, dy) in dy.chunks_exact(ox).enumerate() {
                row.fill(T::ZERO);
                for (&v, b) in dy.iter().zip(&self.tables[2]) {
                    let part = T::of(b.weight) * v;
                    row[b.low] += v - part;
                    row[b.high] += part;
                }
                for (target, w) in self.rows(r / oy, r % oy) {
                    let w = T::of(w);
                    dx[target * nx..][..nx].iter_mut().zip(row.iter()).for_each(|(x, &r)| *x += w * r);
                }
            }
        });
    }
}

/// Rearranges channels into pixels: `y[n, c, r i + a, r j + b] = x[n, c r² + a r + b, i, j]`. Backward is the inverse.
///
/// # Shapes
/// Input: (n, c r², ny, nx). Output: (n, c, r ny, r nx).
///
/// # References
/// W. Shi et al., Proc. CVPR (2016), eq. (4); arXiv 1609.05158.
#[derive(Clone, Debug)]
pub struct PixelShuffle {
    dims: [usize; 4],
    r: usize,
    par: Par,
}

impl PixelShuffle {
    /// For inputs of these dimensions, by the factor r.
    ///
    /// # Errors
    /// [`Error::Param`] for a dimension or factor of 0, or channels that are no multiple of r².
    pub fn new(dims: [usize; 4], r: usize, par: &Par) -> Result<Self, Error> {
        dims.iter().try_for_each(|&d| check::not_zero("dims", d))?;
        check::not_zero("factor", r)?;
        checked_len(&dims)?;
        if !r.checked_mul(r).is_some_and(|r2| dims[1].is_multiple_of(r2)) {
            return Err(Error::param("channels", dims[1], "a multiple of the squared factor"));
        }
        Ok(PixelShuffle { dims, r, par: par.clone() })
    }

    /// Dimensions of the output.
    pub fn out_dims(&self) -> [usize; 4] {
        let [n, c, ny, nx] = self.dims;
        [n, c / (self.r * self.r), self.r * ny, self.r * nx]
    }
}

impl<T: Real> Function<T> for PixelShuffle {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("pixel shuffle", inputs, &[&self.dims], 0)?;
        Ok(Space::real(&self.out_dims()))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let ([_, _, ny, nx], r) = (self.dims, self.r);
        check_len("pixel shuffle", "x", y.len(), x[0].len());
        self.par.chunks(y, r * r * ny * nx, |plane, y| {
            let x = &x[0][plane * r * r * ny * nx..][..r * r * ny * nx];
            for (at, x) in x.chunks_exact(nx).enumerate() {
                let (a, b, i) = (at / ny / r, at / ny % r, at % ny);
                let row = &mut y[(r * i + a) * r * nx..][..r * nx];
                row[b..].iter_mut().step_by(r).zip(x).for_each(|(y, &x)| *y = x);
            }
        });
    }

    fn backward(&self, _: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let ([_, _, ny, nx], r) = (self.dims, self.r);
        check_len("pixel shuffle", "dy", dx.len(), dy.len());
        self.par.chunks(dx, r * r * ny * nx, |plane, dx| {
            let dy = &dy[plane * r * r * ny * nx..][..r * r * ny * nx];
            for (at, dx) in dx.chunks_exact_mut(nx).enumerate() {
                let (a, b, i) = (at / ny / r, at / ny % r, at % ny);
                let row = &dy[(r * i + a) * r * nx..][..r * nx];
                dx.iter_mut().zip(row[b..].iter().step_by(r)).for_each(|(x, &y)| write(x, y, onto));
            }
        });
    }
}
