//! Structural similarity as a loss, of one or several scales.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};

/// The neighbourhood over which means and variances are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossWindow {
    /// A square of this odd number of pixels, all of equal weight.
    Uniform(usize),
    /// A Gaussian of this standard deviation in pixels, cut off at 3.5 σ (11 × 11 pixels for σ = 1.5).
    Gaussian(f64),
}

/// Parameters of [`SsimLoss`].
#[derive(Clone, Debug)]
pub struct SsimLossParams {
    /// Number of images (batch times channels).
    pub images: usize,
    /// Size of an image, (ny, nx).
    pub size: [usize; 2],
    /// The neighbourhood.
    pub window: LossWindow,
    /// The range R that the data can have.
    pub data_range: f64,
    /// K₁, of the luminance.
    pub k1: f64,
    /// K₂, of the contrast.
    pub k2: f64,
    /// Exponents of the scales, finest first; `[1]` for the similarity of one scale.
    pub weights: Vec<f64>,
    /// On how many threads.
    pub par: Par,
}

/// One scale; Gaussian window of σ = 1.5 pixels, K₁ = 0.01, K₂ = 0.03, data in 0 to 1.
impl Default for SsimLossParams {
    fn default() -> Self {
        SsimLossParams {
            images: 1,
            size: [11, 11],
            window: LossWindow::Gaussian(1.5),
            data_range: 1.0,
            k1: 0.01,
            k2: 0.03,
            weights: vec![1.0],
            par: Par::default(),
        }
    }
}

/// The exponents of five scales, finest first.
pub(crate) const FIVE_SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

impl SsimLossParams {
    /// The exponents of five scales, as published.
    pub fn five_scales() -> Vec<f64> {
        FIVE_SCALES.to_vec()
    }
}

/// One minus the structural similarity, averaged over the images:
///
/// ```text
/// l = (2 µa µb + C₁)/(µa² + µb² + C₁),   s = (2 σab + C₂)/(σa² + σb² + C₂),   C₁ = (K₁R)²,  C₂ = (K₂R)²
/// L = 1 − Π_j m_j^{w_j},   m_j = mean of s over scale j, of l·s over the last
/// ```
///
/// with means over windows that lie within the image. Between scales images are averaged over 2 × 2 pixels; an odd last
/// row or column is dropped. For several scales a negative m_j counts as 0, and then the gradient is 0.
///
/// Backward, with f the window's filter, `µ = f∗x`, `σab = f∗(ab) − µaµb`, and the gradients u of µa, v of f∗a², w of
/// f∗(ab):
///
/// ```text
/// da = fᵀ∗u + 2a (fᵀ∗v) + b (fᵀ∗w)
/// u = g_l 2(µb − l µa)/D_l + g_s 2(s µa − µb)/D_s,   v = −g_s s/D_s,   w = 2 g_s/D_s
/// ```
///
/// where g_l, g_s are the gradients of l and s, and D their denominators. The same for b, exchanged.
///
/// # Shapes
/// Inputs: a, b (images, ny, nx), or any shape of as many words whose last axes are ny, nx. Output: a scalar.
///
/// # References
/// Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004), eqs. (13)–(16); Z. Wang, E. P. Simoncelli, A. C. Bovik,
/// Proc. 37th Asilomar Conf. 2, 1398 (2003), eq. (7).
#[derive(Clone, Debug)]
pub struct SsimLoss {
    p: SsimLossParams,
    kernel: Vec<f64>,
    sizes: Vec<[usize; 2]>,
}

/// Buffers of one scale.
struct Maps<'a, T> {
    mean_a: &'a mut [T],
    mean_b: &'a mut [T],
    aa: &'a mut [T],
    bb: &'a mut [T],
    ab: &'a mut [T],
    /// Products, and rows that are filtered along one axis.
    product: &'a mut [T],
    rows: &'a mut [T],
}

impl SsimLoss {
    /// A loss for images of this size.
    ///
    /// # Errors
    /// [`Error::Param`] for no image, a window that is even or larger than the image at the coarsest scale, or numbers
    /// that are not positive and finite.
    pub fn new(params: &SsimLossParams) -> Result<Self, Error> {
        check::not_zero("images", params.images)?;
        for (name, v) in [("data_range", params.data_range), ("k1", params.k1), ("k2", params.k2)] {
            check::positive(name, v)?;
        }
        params.weights.iter().try_for_each(|&w| check::positive("weights", w))?;
        if params.weights.is_empty() || params.weights.len() > 32 {
            return Err(Error::param("weights", params.weights.len(), "1 to 32 scales"));
        }
        let sizes: Vec<[usize; 2]> = (0..params.weights.len()).map(|j| params.size.map(|n| n >> j)).collect();
        let coarsest = sizes[sizes.len() - 1];
        let length = match params.window {
            LossWindow::Uniform(n) if n % 2 == 1 => n,
            LossWindow::Uniform(n) => return Err(Error::param("window", n, "an odd number of pixels")),
            LossWindow::Gaussian(s) => {
                check::positive("window", s)?;
                // The cut-off keeps the cast small; a window of that size is refused below.
                2 * (3.5 * s.min(1e9) + 0.5) as usize + 1
            }
        };
        if length < 3 || length > coarsest[0].min(coarsest[1]) {
            return Err(Error::param(
                "window",
                format!("{length} pixels, coarsest scale {} x {}", coarsest[0], coarsest[1]),
                "at least 3 pixels, at most the image at the coarsest scale",
            ));
        }
        checked_len(&[params.images, params.size[0], params.size[1]])?;
        let weight = |i: usize| match params.window {
            LossWindow::Uniform(_) => 1.0,
            LossWindow::Gaussian(s) => (-0.5 * ((i as f64 - (length / 2) as f64) / s).powi(2)).exp(),
        };
        let sum: f64 = (0..length).map(weight).sum();
        let kernel = (0..length).map(|i| weight(i) / sum).collect();
        Ok(SsimLoss { p: params.clone(), kernel, sizes })
    }

    fn image_len(&self) -> usize {
        self.p.size[0] * self.p.size[1]
    }

    fn pyramid_len(&self) -> usize {
        self.sizes.iter().map(|s| s[0] * s[1]).sum()
    }

    /// Words of a task: two pyramids and one of gradients, seven maps.
    fn work(&self) -> usize {
        3 * self.pyramid_len() + 7 * self.image_len()
    }

    /// The images at all scales.
    fn pyramid<T: Real>(&self, x: &[T], out: &mut [T]) {
        out[..x.len()].copy_from_slice(x);
        let mut rest = out;
        for pair in self.sizes.windows(2) {
            let ([ny, nx], [my, mx]) = (pair[0], pair[1]);
            let (fine, coarse) = rest.split_at_mut(ny * nx);
            for i in 0..my {
                let (upper, lower) = (&fine[2 * i * nx..], &fine[(2 * i + 1) * nx..]);
                for j in 0..mx {
                    let four = upper[2 * j] + upper[2 * j + 1] + lower[2 * j] + lower[2 * j + 1];
                    coarse[i * mx + j] = T::of(0.25) * four;
                }
            }
            rest = coarse;
        }
    }

    /// `y = f ∗ x` where the window lies within.
    fn filter<T: Real>(&self, x: &[T], [ny, nx]: [usize; 2], rows: &mut [T], y: &mut [T]) {
        let s = self.kernel.len();
        let (my, mx) = (ny + 1 - s, nx + 1 - s);
        for (row, out) in x.chunks_exact(nx).zip(rows.chunks_exact_mut(mx)).take(ny) {
            out.fill(T::ZERO);
            for (j, &k) in self.kernel.iter().enumerate() {
                let k = T::of(k);
                out.iter_mut().zip(&row[j..]).for_each(|(o, &x)| *o += k * x);
            }
        }
        for (i, out) in y.chunks_exact_mut(mx).take(my).enumerate() {
            out.fill(T::ZERO);
            for (j, &k) in self.kernel.iter().enumerate() {
                let k = T::of(k);
                out.iter_mut().zip(&rows[(i + j) * mx..]).for_each(|(o, &x)| *o += k * x);
            }
        }
    }

    /// Its adjoint, `x = fᵀ ∗ y`.
    fn filter_adjoint<T: Real>(&self, y: &[T], [ny, nx]: [usize; 2], rows: &mut [T], x: &mut [T]) {
        let s = self.kernel.len();
        let (my, mx) = (ny + 1 - s, nx + 1 - s);
        rows[..ny * mx].fill(T::ZERO);
        for (i, y) in y.chunks_exact(mx).take(my).enumerate() {
            for (j, &k) in self.kernel.iter().enumerate() {
                let k = T::of(k);
                rows[(i + j) * mx..][..mx].iter_mut().zip(y).for_each(|(r, &y)| *r += k * y);
            }
        }
        for (x, row) in x.chunks_exact_mut(nx).zip(rows.chunks_exact(mx)).take(ny) {
            x.fill(T::ZERO);
            for (j, &k) in self.kernel.iter().enumerate() {
                let k = T::of(k);
                x[j..].iter_mut().zip(row).for_each(|(x, &r)| *x += k * r);
            }
        }
    }

    fn maps<'a, T: Real>(&self, buffer: &'a mut [T]) -> Maps<'a, T> {
        let mut parts = buffer.chunks_exact_mut(self.image_len());
        let mut next = || parts.next().expect("seven maps");
        Maps { mean_a: next(), mean_b: next(), aa: next(), bb: next(), ab: next(), product: next(), rows: next() }
    }

    /// Fills the maps of a scale. Variances do not depend on a constant, but lose digits with it: c is taken away.
    fn fill<T: Real>(&self, a: &[T], b: &[T], c: T, size: [usize; 2], m: &mut Maps<'_, T>) {
        let n = a.len();
        let mut one = |f: &dyn Fn(T, T) -> T, out: &mut [T]| {
            (0..n).for_each(|i| m.product[i] = f(a[i] - c, b[i] - c));
            self.filter(&m.product[..n], size, m.rows, out);
        };
        one(&|a, _| a, m.mean_a);
        one(&|_, b| b, m.mean_b);
        one(&|a, _| a * a, m.aa);
        one(&|_, b| b * b, m.bb);
        one(&|a, b| a * b, m.ab);
    }

    /// (l, D_l, s, D_s, µa, µb) of a pixel; the last two without c.
    fn pixel<T: Real>(&self, m: &Maps<'_, T>, c: T, i: usize) -> [T; 6] {
        let c1 = T::of((self.p.k1 * self.p.data_range).powi(2));
        let c2 = T::of((self.p.k2 * self.p.data_range).powi(2));
        let two = T::of(2.0);
        let (ma, mb) = (m.mean_a[i], m.mean_b[i]);
        let (mu_a, mu_b) = (ma + c, mb + c);
        let dl = mu_a * mu_a + mu_b * mu_b + c1;
        let ds = (m.aa[i] - ma * ma) + (m.bb[i] - mb * mb) + c2;
        let (l, s) = ((two * mu_a * mu_b + c1) / dl, (two * (m.ab[i] - ma * mb) + c2) / ds);
        [l, dl, s, ds, ma, mb]
    }

    /// Pixels of a scale whose window lies within.
    fn valid(&self, scale: usize) -> usize {
        let s = self.kernel.len();
        (self.sizes[scale][0] + 1 - s) * (self.sizes[scale][1] + 1 - s)
    }

    /// m_j of every scale.
    fn means<T: Real>(&self, a: &[T], b: &[T], maps: &mut Maps<'_, T>, out: &mut [f64]) {
        let mut at = 0;
        for (scale, &size) in self.sizes.iter().enumerate() {
            let n = size[0] * size[1];
            let (a, b) = (&a[at..at + n], &b[at..at + n]);
            let c = centre(b);
            self.fill(a, b, c, size, maps);
            let last = scale + 1 == self.sizes.len();
            let term = |i: usize| {
                let [l, _, s, ..] = self.pixel(maps, c, i);
                (if last { l * s } else { s }).f64()
            };
            out[scale] = (0..self.valid(scale)).map(term).sum::<f64>() / self.valid(scale) as f64;
            at += n;
        }
    }

    /// Π m_j^{w_j}.
    fn product(&self, means: &[f64]) -> f64 {
        match means {
            [only] if self.p.weights[0] == 1.0 => *only,
            _ => means.iter().zip(&self.p.weights).map(|(m, w)| m.max(0.0).powf(*w)).product(),
        }
    }
}

/// The mean of an image.
fn centre<T: Real>(x: &[T]) -> T {
    T::of(crate::nn::norm::sum(x, |x| x) / x.len() as f64)
}

impl<T: Real> Function<T> for SsimLoss {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let [a, _] = inputs else {
            return Err(Error::param("inputs", format!("similarity: {}", inputs.len()), "two images"));
        };
        check::spaces("similarity", inputs, &[a.dims(), a.dims()], 0)?;
        let fits = a.dims().len() >= 2 && a.dims().ends_with(&self.p.size);
        if !fits || a.len() != self.p.images * self.image_len() {
            return Err(Error::shape("similarity", &[self.p.images, self.p.size[0], self.p.size[1]], a.dims()));
        }
        Ok(Space::real(&[]))
    }

    /// The tape holds m_j of every image and scale.
    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: self.p.images * self.sizes.len() }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        self.p.par.count() * self.work()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        let (len, scales) = (self.image_len(), self.sizes.len());
        check_len("similarity", "a", self.p.images * len, x[0].len());
        check_len("similarity", "b", self.p.images * len, x[1].len());
        let tape = &mut tape[..self.p.images * scales];
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(self.work()).take(self.p.par.count()).collect();
        self.p.par.chunks_with(tape, scales, &mut states, |image, tape, state| {
            let (pa, rest) = state.split_at_mut(self.pyramid_len());
            let (pb, rest) = rest.split_at_mut(2 * self.pyramid_len());
            let part = image * len..(image + 1) * len;
            self.pyramid(&x[0][part.clone()], pa);
            self.pyramid(&x[1][part], pb);
            let mut means = [0.0; 32];
            self.means(pa, pb, &mut self.maps(rest), &mut means[..scales]);
            tape.iter_mut().zip(means).for_each(|(t, m)| *t = T::of(m));
        });
        let mut total = 0.0;
        for means in tape.chunks_exact(scales) {
            let mut all = [0.0; 32];
            all.iter_mut().zip(means).for_each(|(a, m)| *a = m.f64());
            total += self.product(&all[..scales]);
        }
        y[0] = T::of(1.0 - total / self.p.images as f64);
    }

    fn backward(
        &self,
        x: &[&[T]],
        _: &[T],
        tape: &[T],
        dy: &[T],
        dx: &mut [Option<(&mut [T], Write)>],
        scratch: &mut [T],
    ) {
        let (len, scales) = (self.image_len(), self.sizes.len());
        let g = -dy[0].f64() / self.p.images as f64;
        let mut states: Vec<&mut [T]> = scratch.chunks_exact_mut(self.work()).take(self.p.par.count()).collect();
        for which in 0..2 {
            let Some((dx, onto)) = check::want(dx, which) else { continue };
            self.p.par.chunks_with(dx, len, &mut states, |image, dx, state| {
                let (pa, rest) = state.split_at_mut(self.pyramid_len());
                let (pb, rest) = rest.split_at_mut(self.pyramid_len());
                let (gradient, rest) = rest.split_at_mut(self.pyramid_len());
                let part = image * len..(image + 1) * len;
                // The similarity is symmetric: the wanted image is a.
                self.pyramid(&x[which][part.clone()], pa);
                self.pyramid(&x[1 - which][part], pb);
                let mut means = [0.0; 32];
                means.iter_mut().zip(&tape[image * scales..][..scales]).for_each(|(a, m)| *a = m.f64());
                let product = self.product(&means[..scales]);
                let mut at = 0;
                for (scale, &size) in self.sizes.iter().enumerate() {
                    let n = size[0] * size[1];
                    let slope = match (scales, means[scale]) {
                        (1, _) if self.p.weights[0] == 1.0 => 1.0,
                        (_, m) if m > 0.0 => self.p.weights[scale] * product / m,
                        _ => 0.0,
                    };
                    let slope = T::of(g * slope / self.valid(scale) as f64);
                    self.scale_gradient(
                        &pa[at..at + n],
                        &pb[at..at + n],
                        scale,
                        slope,
                        &mut gradient[at..at + n],
                        rest,
                    );
                    at += n;
                }
                // From the coarsest to the finest: a mean of four gives each a quarter.
                for scale in (1..scales).rev() {
                    let ([ny, nx], [my, mx]) = (self.sizes[scale - 1], self.sizes[scale]);
                    let start: usize = self.sizes[..scale - 1].iter().map(|s| s[0] * s[1]).sum();
                    let (fine, coarse) = gradient[start..].split_at_mut(ny * nx);
                    for i in 0..2 * my {
                        for j in 0..2 * mx {
                            fine[i * nx + j] += T::of(0.25) * coarse[i / 2 * mx + j / 2];
                        }
                    }
                }
                dx.iter_mut().zip(&*gradient).for_each(|(d, &v)| write(d, v, onto));
            });
        }
    }
}

impl SsimLoss {
    /// The gradient in a of `slope` times the sum of s (of l·s at the last scale) over a scale.
    fn scale_gradient<T: Real>(&self, a: &[T], b: &[T], scale: usize, slope: T, out: &mut [T], buffer: &mut [T]) {
        let (size, n, two) = (self.sizes[scale], a.len(), T::of(2.0));
        let last = scale + 1 == self.sizes.len();
        let mut m = self.maps(buffer);
        let c = centre(b);
        self.fill(a, b, c, size, &mut m);
        for i in 0..self.valid(scale) {
            let [l, dl, s, ds, ma, mb] = self.pixel(&m, c, i);
            let (gl, gs) = if last { (slope * s, slope * l) } else { (T::ZERO, slope) };
            let u = gl * two * ((mb + c) - l * (ma + c)) / dl + gs * two * (s * ma - mb) / ds;
            (m.mean_a[i], m.aa[i], m.ab[i]) = (u, -gs * s / ds, two * gs / ds);
        }
        let valid = self.valid(scale);
        self.filter_adjoint(&m.mean_a[..valid], size, m.rows, out);
        self.filter_adjoint(&m.aa[..valid], size, m.rows, m.product);
        (0..n).for_each(|i| out[i] += two * (a[i] - c) * m.product[i]);
        self.filter_adjoint(&m.ab[..valid], size, m.rows, m.product);
        (0..n).for_each(|i| out[i] += (b[i] - c) * m.product[i]);
    }
}
