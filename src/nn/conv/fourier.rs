//! Convolution with large kernels, by Fourier transforms.

use std::sync::Arc;

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::RealFft2;
use crate::nn::check;
use crate::nn::conv::geometry::Geometry;
use crate::nn::conv::layer::{Conv2d, ConvParams, Dims};
use crate::nn::conv::weight_gradient::row_sum;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::Space;
use crate::simd::vectorized;

/// The convolution of [`Conv2d`] with stride 1, and its gradients, as products of spectra:
///
/// ```text
/// Ŷ_o = Σ_c conj(Ŵ_oc) X̂_c,   dX̂_c = Σ_o Ŵ_oc dŶ_o,   dŴ_oc = Σ_n conj(dŶ_no) X̂_nc
/// ```
///
/// x is padded first, as its mode says, and zeros follow up to a size whose only prime factors are 2, 3 and 5. Nothing
/// wraps around: an output t reads t + d κ, which lies within the padded image, and so do the places that the gradients
/// read. Taps are zeros but at the multiples of the dilation, so that a kernel of any size costs the same. Spectra of
/// x and dy are kept, those of the weights are made when they are needed.
///
/// [`convolution`] chooses between this and [`Conv2d`].
///
/// # Shapes
/// As [`Conv2d`].
///
/// # References
/// T. G. Stockham, Proc. AFIPS Spring Joint Computer Conf. 28, 229 (1966); M. Mathieu, M. Henaff, Y. LeCun, arXiv
/// 1312.5851, for the gradients.
#[derive(Clone, Debug)]
pub struct FourierConv2d<T: Real> {
    g: Geometry,
    dims: Dims,
    fft: RealFft2<T>,
    par: Par,
}

/// The smallest even number from n on without prime factors above 5.
fn smooth(n: usize) -> usize {
    let rest = |mut m: usize| {
        for p in [2, 3, 5] {
            while m.is_multiple_of(p) {
                m /= p;
            }
        }
        m
    };
    (n.max(1).next_multiple_of(2)..).step_by(2).find(|&m| rest(m) == 1).unwrap_or(n)
}

/// Seconds that a forward and a backward pass take on the machine that `docs/nn_convolution.md` speaks of: directly, and
/// by transforms. They depend on the sizes alone, and so does the choice.
fn costs(g: &Geometry) -> [f64; 2] {
    let [_, y, x] = &g.axes;
    // The direct kernel works on eight output channels at a time.
    let products = (g.n * g.groups * g.co.next_multiple_of(8) * g.ci * g.taps() * g.output_len()) as f64;
    let points = (smooth(y.input + 2 * y.padding) * smooth(x.input + 2 * x.padding)) as f64;
    let planes = (g.n * g.groups * (g.ci * g.co + g.ci + g.co)) as f64;
    // A single plane is a single task.
    let alone = if g.n * g.groups * g.ci.min(g.co) == 1 { 1.8 } else { 1.0 };
    [products / DIRECT, alone * planes * points * points.log2() / TRANSFORMED]
}

/// Measured: products a second of the direct kernel; points times log₂ a second of transforms with all that belongs to
/// them. Both count a forward pass, and hold for the time of all three.
const DIRECT: f64 = 58e9;
const TRANSFORMED: f64 = 4e9;

/// A convolution of images, by whichever of [`Conv2d`] and [`FourierConv2d`] takes less time for these sizes: the latter
/// for large kernels between few channels.
///
/// # Errors
/// As [`crate::nn::Conv::new`].
///
/// # Examples
/// ```
/// use exitwave::nn::{ConvParams, convolution};
/// let blur = |k: usize| convolution::<f32>(&ConvParams {
///     size: [256; 2], kernel: [k; 2], padding: [k / 2; 2], ..ConvParams::default()
/// });
/// assert!(format!("{:?}", blur(3)?).starts_with("Conv"));
/// assert!(format!("{:?}", blur(31)?).starts_with("FourierConv2d"));
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn convolution<T: Real>(params: &ConvParams<2>) -> Result<Arc<dyn Function<T>>, Error> {
    let direct = Conv2d::new(params)?;
    let [a, b] = costs(direct.geometry());
    if params.stride == [1, 1] && b < a {
        return Ok(Arc::new(FourierConv2d::<T>::new(params)?));
    }
    Ok(Arc::new(direct))
}

impl<T: Real> FourierConv2d<T> {
    /// A convolution for inputs of this shape.
    ///
    /// # Errors
    /// As [`crate::nn::Conv::new`]; [`Error::Unsupported`] for a stride other than 1.
    pub fn new(params: &ConvParams<2>) -> Result<Self, Error> {
        if params.stride != [1, 1] {
            return Err(Error::Unsupported {
                what: format!("convolution by transforms with stride {:?}", params.stride),
            });
        }
        let conv = Conv2d::new(params)?;
        let (g, dims) = (conv.geometry().clone(), conv.dims().clone());
        let [_, y, x] = &g.axes;
        let fft = RealFft2::new([smooth(y.input + 2 * y.padding), smooth(x.input + 2 * x.padding)])?;
        Ok(FourierConv2d { g, dims, fft, par: params.par.clone() })
    }

    /// Complex elements of a spectrum.
    fn spectrum(&self) -> usize {
        self.fft.spectrum_dims().iter().product()
    }

    /// Words of an image.
    fn image(&self) -> usize {
        self.fft.dims().iter().product()
    }

    /// Words of a task: an image, two spectra, the transform's scratch.
    fn task_words(&self) -> usize {
        self.image().next_multiple_of(2) + 2 * (2 * self.spectrum() + self.fft.scratch_len())
    }

    /// The spectra of planes, which `fill` writes into images of zeros.
    fn spectra(&self, out: &mut [Complex<T>], states: &mut [Task<'_, T>], fill: impl Fn(usize, &mut [T]) + Sync) {
        self.par.chunks_with(out, self.spectrum(), states, |plane, out, task| {
            task.image.fill(T::ZERO);
            fill(plane, task.image);
            self.fft.forward(task.image, out, task.scratch);
        });
    }

    /// The spectrum of the kernel from input channel c to output channel o, within a group, into the task's first.
    fn kernel(&self, w: &[T], o: usize, c: usize, task: &mut Task<'_, T>) {
        let [_, y, x] = &self.g.axes;
        let nx = self.fft.dims()[1];
        task.image.fill(T::ZERO);
        for (i, row) in w[(o * self.g.ci + c) * self.g.taps()..][..self.g.taps()].chunks_exact(x.kernel).enumerate() {
            row.iter().enumerate().for_each(|(j, &w)| task.image[i * y.dilation * nx + j * x.dilation] = w);
        }
        self.fft.forward(task.image, task.factor, task.scratch);
    }

    /// The padded input of a plane.
    fn pad(&self, x: &[T], image: &mut [T]) {
        let [_, ay, ax] = &self.g.axes;
        let nx = self.fft.dims()[1];
        for (u, row) in image.chunks_exact_mut(nx).enumerate().take(ay.input + 2 * ay.padding) {
            let Some(y) = ay.source(u, self.g.mode) else { continue };
            let x = &x[y * ax.input..][..ax.input];
            for (v, out) in row.iter_mut().enumerate().take(ax.input + 2 * ax.padding) {
                *out = ax.source(v, self.g.mode).map_or(T::ZERO, |v| x[v]);
            }
        }
    }

    /// The gradient of a plane from that of its padded image, the adjoint of [`FourierConv2d::pad`].
    fn fold(&self, image: &[T], dx: &mut [T], onto: Write) {
        let [_, ay, ax] = &self.g.axes;
        let nx = self.fft.dims()[1];
        if onto == Write::Set {
            dx.fill(T::ZERO);
        }
        for (u, row) in image.chunks_exact(nx).enumerate().take(ay.input + 2 * ay.padding) {
            let Some(y) = ay.source(u, self.g.mode) else { continue };
            let dx = &mut dx[y * ax.input..][..ax.input];
            for (v, &d) in row.iter().enumerate().take(ax.input + 2 * ax.padding) {
                if let Some(v) = ax.source(v, self.g.mode) {
                    dx[v] += d;
                }
            }
        }
    }

    /// The spectra of dy.
    fn of_outputs(&self, dy: &[T], out: &mut [Complex<T>], states: &mut [Task<'_, T>]) {
        let (len, columns, nx) = (self.g.output_len(), self.g.axes[2].output, self.fft.dims()[1]);
        self.spectra(out, states, |plane, image| {
            let rows = image.chunks_exact_mut(nx).zip(dy[plane * len..][..len].chunks_exact(columns));
            rows.for_each(|(to, from)| to[..columns].copy_from_slice(from));
        });
    }

    /// The spectra of the padded x.
    fn of_inputs(&self, x: &[T], out: &mut [Complex<T>], states: &mut [Task<'_, T>]) {
        let len = self.g.input_len();
        self.spectra(out, states, |plane, image| self.pad(&x[plane * len..][..len], image));
    }

    /// The tasks' scratch, and what is left: space for the spectra of x and of dy.
    fn split<'s>(&self, scratch: &'s mut [T]) -> (Vec<Task<'s, T>>, [&'s mut [Complex<T>]; 2]) {
        let (tasks, rest) = scratch.split_at_mut(self.par.count() * self.task_words());
        let tasks = tasks.chunks_exact_mut(self.task_words()).map(|words| {
            let (image, rest) = words.split_at_mut(self.image().next_multiple_of(2));
            let (factor, rest) = bytemuck::cast_slice_mut(rest).split_at_mut(self.spectrum());
            let (sum, scratch) = rest.split_at_mut(self.spectrum());
            Task { image: &mut image[..self.image()], factor, sum, scratch }
        });
        let (n, groups) = (self.g.n, self.g.groups);
        let rest: &mut [Complex<T>] = bytemuck::cast_slice_mut(&mut rest[..2 * self.kept()]);
        let (inputs, outputs) = rest.split_at_mut(n * groups * self.g.ci * self.spectrum());
        (tasks.collect(), [inputs, outputs])
    }

    /// Complex elements of the spectra that are kept.
    fn kept(&self) -> usize {
        self.g.n * self.g.groups * (self.g.ci + self.g.co) * self.spectrum()
    }
}

/// What a task works with.
struct Task<'s, T> {
    image: &'s mut [T],
    factor: &'s mut [Complex<T>],
    sum: &'s mut [Complex<T>],
    scratch: &'s mut [Complex<T>],
}

/// `sum ← a b` (`sign` 1) or `sum ← conj(a) b` (`sign` −1), or added to it.
fn accumulate<T: Real>(sign: T, a: &[Complex<T>], b: &[Complex<T>], first: bool, sum: &mut [Complex<T>]) {
    if first {
        sum.fill(Complex::default());
    }
    let all = sum.iter_mut().zip(a).zip(b);
    vectorized!({
        all.for_each(|((s, a), b)| {
            let im = sign * a.im;
            *s = Complex::new(s.re + (a.re * b.re - im * b.im), s.im + (a.re * b.im + im * b.re));
        })
    });
}

impl<T: Real> Function<T> for FourierConv2d<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("convolution", inputs, &[&self.dims.x, &self.dims.w, &self.dims.b], 1)?;
        Ok(Space::real(&self.dims.y))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.par.count() * self.task_words() + 2 * self.kept()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        let Geometry { ci, co, groups, .. } = self.g;
        check_len("convolution", "x", self.g.x_len(), x[0].len());
        check_len("convolution", "w", self.g.w_len(), x[1].len());
        check_len("convolution", "y", self.g.y_len(), y.len());
        let (mut states, [inputs, _]) = self.split(scratch);
        self.of_inputs(x[0], inputs, &mut states);
        let (len, n) = (self.spectrum(), self.fft.dims()[1]);
        let columns = self.g.axes[2].output;
        self.par.chunks_with(y, self.g.output_len(), &mut states, |plane, y, task| {
            let (image, o) = (plane / (groups * co), plane % (groups * co));
            for c in 0..ci {
                self.kernel(x[1], o, c, task);
                let input = &inputs[((image * groups + o / co) * ci + c) * len..][..len];
                accumulate(-T::ONE, task.factor, input, c == 0, task.sum);
            }
            self.fft.inverse(task.sum, task.image, task.scratch);
            let b = x.get(2).map_or(T::ZERO, |b| b[o]);
            for (y, row) in y.chunks_exact_mut(columns).zip(task.image.chunks_exact(n)) {
                y.iter_mut().zip(row).for_each(|(y, &v)| *y = v + b);
            }
        });
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        _: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let Geometry { ci, co, groups, n, .. } = self.g;
        check_len("convolution", "dy", self.g.y_len(), dy.len());
        let (mut states, [inputs, outputs]) = self.split(scratch);
        let len = self.spectrum();
        self.of_outputs(dy, outputs, &mut states);
        if let Some((dx, onto)) = check::want(dx, 0) {
            self.par.chunks_with(dx, self.g.input_len(), &mut states, |plane, dx, task| {
                let (image, c) = (plane / (groups * ci), plane % (groups * ci));
                let group = c / ci;
                for o in group * co..(group + 1) * co {
                    self.kernel(x[1], o, c % ci, task);
                    let output = &outputs[(image * groups * co + o) * len..][..len];
                    accumulate(T::ONE, task.factor, output, o == group * co, task.sum);
                }
                self.fft.inverse(task.sum, task.image, task.scratch);
                self.fold(task.image, dx, onto);
            });
        }
        if let Some((dw, onto)) = check::want(dx, 1) {
            self.of_inputs(x[0], inputs, &mut states);
            let ([_, ay, ax], nx) = (&self.g.axes, self.fft.dims()[1]);
            self.par.chunks_with(dw, self.g.taps(), &mut states, |pair, dw, task| {
                let (o, c) = (pair / ci, pair % ci);
                for image in 0..n {
                    let input = &inputs[((image * groups + o / co) * ci + c) * len..][..len];
                    let output = &outputs[(image * groups * co + o) * len..][..len];
                    accumulate(-T::ONE, output, input, image == 0, task.sum);
                }
                self.fft.inverse(task.sum, task.image, task.scratch);
                for (i, row) in dw.chunks_exact_mut(ax.kernel).enumerate() {
                    let image = &task.image[i * ay.dilation * nx..];
                    row.iter_mut().enumerate().for_each(|(j, w)| write(w, image[j * ax.dilation], onto));
                }
            });
        }
        if let Some((db, onto)) = check::want(dx, 2) {
            let len = self.g.output_len();
            self.par.chunks(db, 1, |o, db| {
                let image = |i: usize| row_sum(&dy[(i * groups * co + o) * len..][..len]);
                write(&mut db[0], (0..n).map(image).sum(), onto);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Padding;
    use crate::rng;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut r = rng::stream(seed, 0);
        (0..n).map(|_| rng::normal(&mut r)).collect()
    }

    /// Output and all gradients of a convolution, on dirty scratch.
    fn run(f: &dyn Function<f64>, dims: &[Vec<usize>; 3], onto: Write) -> Vec<Vec<f64>> {
        let spaces: Vec<Space> = dims.iter().map(|d| Space::real(d)).collect();
        let spaces: Vec<&Space> = spaces.iter().collect();
        let x: Vec<Vec<f64>> = spaces.iter().enumerate().map(|(i, s)| random(s.words(), i as u64)).collect();
        let x: Vec<&[f64]> = x.iter().map(Vec::as_slice).collect();
        let mut y = vec![f64::NAN; f.infer(&spaces).unwrap().words()];
        let mut scratch = vec![f64::NAN; f.scratch_len(&spaces)];
        f.forward(&x, &mut y, &mut [], &mut scratch, Mode::Eval);
        let dy = random(y.len(), 9);
        let start = if onto == Write::Set { f64::NAN } else { 0.5 };
        let mut out: Vec<Vec<f64>> = x.iter().map(|x| vec![start; x.len()]).collect();
        scratch.fill(f64::NAN);
        let mut dx: Vec<_> = out.iter_mut().map(|d| Some((d.as_mut_slice(), onto))).collect();
        f.backward(&x, &[], &[], &dy, &mut dx, &mut scratch);
        out.insert(0, y);
        out
    }

    #[test]
    fn convolution_by_transforms_equals_the_direct_one() {
        for (case, mode) in [Padding::Zero, Padding::Reflect, Padding::Periodic].into_iter().enumerate() {
            for (size, kernel, dilation, padding, (n, ci, co, groups)) in [
                ([13, 10], [5, 3], [1, 1], [2, 1], (1, 1, 1, 1)),
                ([9, 17], [7, 9], [1, 1], [3, 4], (2, 2, 3, 1)),
                ([11, 11], [3, 4], [3, 2], [0, 5], (2, 2, 1, 2)),
                ([1, 6], [1, 6], [2, 1], [0, 0], (1, 3, 2, 1)),
            ] {
                let params = ConvParams {
                    batch: n,
                    channels: ci * groups,
                    out_channels: co * groups,
                    groups,
                    size,
                    kernel,
                    dilation,
                    padding,
                    mode,
                    par: Par::threads(1 + case).unwrap(),
                    ..ConvParams::default()
                };
                let (direct, fast) = (Conv2d::new(&params).unwrap(), FourierConv2d::new(&params).unwrap());
                let dims = [fast.dims.x.clone(), fast.dims.w.clone(), fast.dims.b.to_vec()];
                for onto in [Write::Set, Write::Add] {
                    let (got, want) = (run(&fast, &dims, onto), run(&direct, &dims, onto));
                    for (part, (got, want)) in got.iter().zip(&want).enumerate() {
                        for (g, w) in got.iter().zip(want) {
                            // Sums of a few hundred products of order one.
                            assert!((g - w).abs() < 1e-11, "{mode:?} {size:?} {kernel:?} part {part}: {g} {w}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn strides_are_refused_and_small_kernels_stay_direct() {
        let params = ConvParams { size: [64; 2], stride: [2, 1], ..ConvParams::default() };
        assert!(matches!(FourierConv2d::<f32>::new(&params), Err(Error::Unsupported { .. })));
        let large = ConvParams { kernel: [31; 2], padding: [15; 2], ..params.clone() };
        assert!(format!("{:?}", convolution::<f32>(&large).unwrap()).starts_with("Conv("));
        assert_eq!([1, 2, 7, 17, 288, 301].map(smooth), [2, 2, 8, 18, 288, 320]);
    }
}
