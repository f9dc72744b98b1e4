//! Batch, instance and group normalisation of images.

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::nn::check;
use crate::op::{Write, write};
use crate::par::Par;
use crate::real::Real;
use crate::shape::{Space, checked_len};
use crate::simd::vectorized;

/// Over what mean and variance are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOver {
    /// Over the batch and the pixels, for each channel.
    Batch,
    /// Over the pixels, for each image and channel.
    Instance,
    /// Over the pixels and the channels of a group, for each image and so many groups. One group: all channels.
    Group(usize),
}

/// Parameters of [`Norm`].
#[derive(Clone, Debug)]
pub struct NormParams {
    /// Dimensions of the input, (n, c, …).
    pub dims: Vec<usize>,
    /// Over what mean and variance are taken.
    pub over: NormOver,
    /// ε, which is added to the variance.
    pub epsilon: f64,
    /// On how many threads.
    pub par: Par,
}

/// Batch normalisation of one pixel, ε = 10⁻⁵.
impl Default for NormParams {
    fn default() -> Self {
        NormParams { dims: vec![1, 1], over: NormOver::Batch, epsilon: 1e-5, par: Par::default() }
    }
}

/// Normalisation: over each set S of N elements (see [`NormOver`]),
///
/// ```text
/// x̂ = (x − µ) r,   µ = Σ_S x / N,   r = (Σ_S (x − µ)² / N + ε)^{−1/2},   y = γ_c x̂ + β_c
/// ```
///
/// and backward, with h = γ_c dy,
///
/// ```text
/// dx = r (h − Σ_S h / N − x̂ Σ_S h x̂ / N),   dγ_c = Σ dy x̂,   dβ_c = Σ dy
/// ```
///
/// With µ and v (state inputs) given, batch normalisation uses them in evaluation, `r = (v + ε)^{−1/2}`, and the
/// batch's own in training; without, always the batch's own. New running statistics come out of [`BatchStatistics`].
///
/// # Shapes
/// Inputs: x (n, c, …), γ (c), β (c); for batch normalisation optionally µ (c), v (c). Output: as x.
///
/// # References
/// S. Ioffe, C. Szegedy, arXiv 1502.03167; D. Ulyanov, A. Vedaldi, V. Lempitsky, arXiv 1607.08022; Y. Wu, K. He, arXiv
/// 1803.08494.
#[derive(Clone, Debug)]
pub struct Norm {
    p: NormParams,
    n: usize,
    c: usize,
    len: usize,
}

/// Dimensions as (batch, channels, pixels).
fn split(dims: &[usize]) -> Result<(usize, usize, usize), Error> {
    if dims.len() < 2 || dims.contains(&0) {
        return Err(Error::param("dims", format!("{dims:?}"), "at least batch and channels, none of them 0"));
    }
    checked_len(dims)?;
    Ok((dims[0], dims[1], dims[2..].iter().product()))
}

/// Σ f(x), in f64 over parts of 256 that are summed in sixteen lanes.
#[inline(always)]
pub(crate) fn sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    vectorized!({
        for part in x.chunks(256) {
            let mut lanes = [T::ZERO; 16];
            let whole = part.chunks_exact(16);
            let rest: T = whole.remainder().iter().map(|&x| f(x)).sum();
            for x in whole {
                for l in 0..16 {
                    lanes[l] += f(x[l]);
                }
            }
            total += (lanes.iter().copied().sum::<T>() + rest).f64();
        }
    });
    total
}

/// Σ f(a, b), likewise.
#[inline(always)]
pub(crate) fn sum2<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    vectorized!({
        for (a, b) in a.chunks(256).zip(b.chunks(256)) {
            let mut lanes = [T::ZERO; 16];
            let (wa, wb) = (a.chunks_exact(16), b.chunks_exact(16));
            let rest: T = wa.remainder().iter().zip(wb.remainder()).map(|(&a, &b)| f(a, b)).sum();
            for (a, b) in wa.zip(wb) {
                for l in 0..16 {
                    lanes[l] += f(a[l], b[l]);
                }
            }
            total += (lanes.iter().copied().sum::<T>() + rest).f64();
        }
    });
    total
}

impl Norm {
    /// A normalisation for inputs of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0, ε is positive, and the groups divide
    /// the channels.
    pub fn new(params: &NormParams) -> Result<Self, Error> {
        let (n, c, len) = split(&params.dims)?;
        check::positive("epsilon", params.epsilon)?;
        if let NormOver::Group(g) = params.over
            && (g == 0 || !c.is_multiple_of(g))
        {
            return Err(Error::param("groups", g, "a divisor of the channels"));
        }
        Ok(Norm { p: params.clone(), n, c, len })
    }

    /// Number of sets.
    fn sets(&self) -> usize {
        match self.p.over {
            NormOver::Batch => self.c,
            NormOver::Instance => self.n * self.c,
            NormOver::Group(g) => self.n * g,
        }
    }

    /// The set of a plane (image, channel), planes being numbered as they lie.
    fn set_of(&self, plane: usize) -> usize {
        match self.p.over {
            NormOver::Batch => plane % self.c,
            NormOver::Instance => plane,
            NormOver::Group(g) => plane / (self.c / g),
        }
    }

    /// The planes of a set.
    fn planes(&self, set: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (first, step, count) = match self.p.over {
            NormOver::Batch => (set, self.c, self.n),
            NormOver::Instance => (set, 1, 1),
            NormOver::Group(g) => (set * (self.c / g), 1, self.c / g),
        };
        (0..count).map(move |i| first + i * step)
    }

    /// Elements of a set.
    fn members(&self) -> f64 {
        (self.n * self.c * self.len / self.sets()) as f64
    }
}

impl<T: Real> Function<T> for Norm {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let c: &[usize] = &[self.c];
        let all: [&[usize]; 5] = [&self.p.dims, c, c, c, c];
        let expected = if self.p.over == NormOver::Batch && inputs.len() > 3 { 5 } else { 3 };
        check::spaces("normalisation", inputs, &all[..expected], 0)?;
        Ok(inputs[0].clone())
    }

    /// The tape holds (µ, r) of every set, and whether they were given.
    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 2 * self.sets() + 1 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        2 * self.n * self.c
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], _: &mut [T], mode: Mode) {
        // x is (n, c, len), the tape (sets, 2)
        let len = self.len;
        check_len("normalisation", "x", self.n * self.c * len, x[0].len());
        check_len("normalisation", "y", self.n * self.c * len, y.len());
        let epsilon = self.p.epsilon;
        let (statistics, given) = tape.split_at_mut(2 * self.sets());
        let fixed = x.len() == 5 && mode == Mode::Eval;
        given[0] = if fixed { T::ONE } else { T::ZERO };
        self.p.par.chunks(statistics, 2, |set, s| {
            if fixed {
                (s[0], s[1]) = (x[3][set], T::ONE / (x[4][set] + T::of(epsilon)).sqrt());
                return;
            }
            let planes = self.planes(set).map(|p| &x[0][p * len..][..len]);
            let mean = T::of(planes.clone().map(|p| sum(p, |x| x)).sum::<f64>() / self.members());
            let squares = |p: &[T]| sum(p, |x| (x - mean) * (x - mean));
            let variance = planes.map(squares).sum::<f64>() / self.members();
            (s[0], s[1]) = (mean, T::of(1.0 / (variance + epsilon).sqrt()));
        });
        let statistics = &*statistics;
        self.p.par.chunks(y, len, |plane, y| {
            let set = 2 * self.set_of(plane);
            let (mu, r) = (statistics[set], statistics[set + 1]);
            let (gamma, beta) = (x[1][plane % self.c], x[2][plane % self.c]);
            let (scale, x) = (gamma * r, &x[0][plane * len..][..len]);
            vectorized!({ y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mu) * scale + beta) });
        });
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
        let (len, c) = (self.len, self.c);
        check_len("normalisation", "dy", self.n * c * len, dy.len());
        let fixed = tape[2 * self.sets()] == T::ONE;
        let statistics = |plane: usize| (tape[2 * self.set_of(plane)], tape[2 * self.set_of(plane) + 1]);

        // Σ dy and Σ dy x̂ of every plane.
        let sums = &mut scratch[..2 * self.n * c];
        self.p.par.chunks(sums, 2, |plane, s| {
            let (mu, r) = statistics(plane);
            let (x, dy) = (&x[0][plane * len..][..len], &dy[plane * len..][..len]);
            s[0] = T::of(sum(dy, |v| v));
            s[1] = T::of(sum2(x, dy, |x, dy| (x - mu) * dy)) * r;
        });
        let sums = &*sums;
        let over_batch =
            |channel: usize, which: usize| -> T { (0..self.n).map(|n| sums[2 * (n * c + channel) + which]).sum() };
        if let Some((dx, onto)) = check::want(dx, 0) {
            let n = T::of(self.members());
            self.p.par.chunks(dx, len, |plane, dx| {
                let (mu, r) = statistics(plane);
                let gamma = x[1][plane % c];
                let total = |which: usize| -> T {
                    let h = |p: usize| x[1][p % c] * sums[2 * p + which];
                    if fixed { T::ZERO } else { self.planes(self.set_of(plane)).map(h).sum::<T>() / n }
                };
                // dx = a dy + b x + d
                let (a, b) = (r * gamma, -r * r * total(1));
                let d = -r * total(0) - b * mu;
                let (x, dy) = (&x[0][plane * len..][..len], &dy[plane * len..][..len]);
                let all = dx.iter_mut().zip(x).zip(dy);
                match onto {
                    Write::Set => vectorized!({ all.for_each(|((dx, &x), &dy)| *dx = a * dy + (b * x + d)) }),
                    Write::Add => vectorized!({ all.for_each(|((dx, &x), &dy)| *dx += a * dy + (b * x + d)) }),
                }
            });
        }
        for (input, which) in [(1, 1), (2, 0)] {
            if let Some((d, onto)) = check::want(dx, input) {
                (0..c).for_each(|i| write(&mut d[i], over_batch(i, which), onto));
            }
        }
        // Given statistics: y = γ (x − µ) (v + ε)^{−1/2} + β.
        for (input, which) in [(3, 0), (4, 1)] {
            if let Some((d, onto)) = check::want(dx, input) {
                for i in 0..c {
                    let (gamma, r) = (x[1][i], tape[2 * i + 1]);
                    let slope = if input == 3 { -r } else { -T::HALF * r * r };
                    let v = if fixed { gamma * slope * over_batch(i, which) } else { T::ZERO };
                    write(&mut d[i], v, onto);
                }
            }
        }
    }
}

/// Mean and variance of each channel over batch and pixels: what the running statistics of a batch normalisation are
/// made of, as an output of the graph.
///
/// ```text
/// µ_c = Σ x / N,   v_c = Σ (x − µ_c)² / (N − 1)   (0 for N = 1)
/// ```
///
/// `dx = dµ/N + 2 (x − µ) dv / (N − 1)`.
///
/// # Shapes
/// Input: x (n, c, …). Output: (2, c), µ then v.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    dims: Vec<usize>,
    n: usize,
    c: usize,
    len: usize,
    par: Par,
}

impl BatchStatistics {
    /// For inputs of these dimensions.
    ///
    /// # Errors
    /// [`Error::Param`] unless there are at least two dimensions, none of them 0.
    pub fn new(dims: &[usize], par: &Par) -> Result<Self, Error> {
        let (n, c, len) = split(dims)?;
        Ok(BatchStatistics { dims: dims.to_vec(), n, c, len, par: par.clone() })
    }

    /// `running ← (1 − m) running + m · statistics`, on (2, c) numbers each: what is fed to [`Norm`] as µ and v.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn update<T: Real>(running: &mut [T], statistics: &[T], momentum: f64) {
        check_len("BatchStatistics::update", "statistics", running.len(), statistics.len());
        let m = T::of(momentum);
        running.iter_mut().zip(statistics).for_each(|(r, &s)| *r += m * (s - *r));
    }
}

impl<T: Real> Function<T> for BatchStatistics {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        check::spaces("batch statistics", inputs, &[&self.dims], 0)?;
        Ok(Space::real(&[2, self.c]))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0], output: true, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let (c, len) = (self.c, self.len);
        check_len("batch statistics", "x", self.n * c * len, x[0].len());
        let count = (self.n * len) as f64;
        let planes = |channel: usize| (0..self.n).map(move |n| &x[0][(n * c + channel) * len..][..len]);
        let (mean, variance) = y.split_at_mut(c);
        self.par.chunks(mean, 1, |i, m| m[0] = T::of(planes(i).map(|p| sum(p, |x| x)).sum::<f64>() / count));
        self.par.chunks(variance, 1, |i, v| {
            let mu = mean[i];
            let squares = planes(i).map(|p| sum(p, |x| (x - mu) * (x - mu))).sum::<f64>();
            v[0] = T::of(if count > 1.0 { squares / (count - 1.0) } else { 0.0 });
        });
    }

    fn backward(&self, x: &[&[T]], y: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        let Some((dx, onto)) = check::want(dx, 0) else { return };
        let (c, len) = (self.c, self.len);
        let count = (self.n * len) as f64;
        self.par.chunks(dx, len, |plane, dx| {
            let i = plane % c;
            let (a, mu) = (dy[i] * T::of(1.0 / count), y[i]);
            let b = if count > 1.0 { dy[c + i] * T::of(2.0 / (count - 1.0)) } else { T::ZERO };
            let x = &x[0][plane * len..][..len];
            dx.iter_mut().zip(x).for_each(|(d, &x)| write(d, a + b * (x - mu), onto));
        });
    }
}
