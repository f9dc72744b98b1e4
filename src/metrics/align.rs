//! Bringing an object, or a phase image, into the gauge of the truth: plane, shift, then both together.

use nalgebra::{SMatrix, SVector};
use num_complex::Complex;

use crate::error::Error;
use crate::fft::{FourierShift, frequency_index, ifft_shift};
use crate::metrics::plane::{NormalEquations, centred};
use crate::metrics::register::PeakFinder;
use crate::metrics::{Gauge, GaugeParams, Plane, pixelwise, plane};
use crate::op::{LinearOp, Write};
use crate::real::{arg, cis};
use crate::shape::Field;

type C = Complex<f64>;

/// Times that plane and shift are found in turn, before they are refined together.
const ROUNDS: usize = 4;

/// Steps of the refinement at most; it usually needs four.
const STEPS: usize = 20;

/// How the plane p enters an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A phase image, real: x + p.
    Phase,
    /// A complex object: x e^{ip}, and its amplitude is free.
    Object,
}

/// Truth, object and weights (ny, nx), and what is free.
pub(super) struct Aligner<'a> {
    pub kind: Kind,
    pub truth: &'a [C],
    pub object: &'a [C],
    pub weights: &'a [f64],
    pub dims: [usize; 2],
    pub params: &'a GaugeParams,
    pub finder: PeakFinder,
}

/// The object in the gauge of the truth.
#[derive(Clone, Debug)]
pub(super) struct Aligned {
    /// The plane of the object as given over the truth: it was taken away before the shift.
    pub plane: Plane,
    /// The shift that was applied.
    pub shift: [f64; 2],
    /// The moved object without the plane.
    pub image: Vec<C>,
}

impl Aligner<'_> {
    /// The best of both orders.
    pub fn run(&self) -> Result<Aligned, Error> {
        let mut best = self.best()?;
        best.plane.slope = self.shortest(best.plane.slope);
        Ok(best)
    }

    fn best(&self) -> Result<Aligned, Error> {
        if self.params.gauge != Gauge::RampAndShift {
            let mut plane = Plane::default();
            self.add(&mut plane, self.plane_of(self.object)?, [0.0; 2]);
            let image = self.apply(plane, [0.0; 2])?;
            return Ok(Aligned { plane, shift: [0.0; 2], image });
        }
        let a = self.alternate(First::Plane)?;
        let b = self.alternate(First::Shift)?;
        Ok(if self.misfit(&b.image) < self.misfit(&a.image) { b } else { a })
    }

    /// Σ w |β m − t|², with the best factor β for an object and 1 for a phase.
    fn misfit(&self, m: &[C]) -> f64 {
        let beta = self.beta(m);
        m.iter().zip(self.truth).zip(self.weights).map(|((m, t), w)| w * (m * beta - t).norm_sqr()).sum()
    }

    /// The amplitude factor that brings m closest to the truth; 1 for a phase.
    fn beta(&self, m: &[C]) -> f64 {
        if self.kind == Kind::Phase {
            return 1.0;
        }
        let (mut cross, mut power) = (0.0, 0.0);
        for ((m, t), w) in m.iter().zip(self.truth).zip(self.weights) {
            cross += w * (m.conj() * t).re;
            power += w * m.norm_sqr();
        }
        if power > 0.0 { cross / power } else { 0.0 }
    }

    /// Plane and shift in turn, then together.
    fn alternate(&self, first: First) -> Result<Aligned, Error> {
        let mut plane = Plane::default();
        let mut shift = [0.0; 2];
        let mut image = self.object.to_vec();
        for round in 0..ROUNDS {
            if round > 0 || first == First::Shift {
                let left = self.params.max_shift.map(|m| (m - length(shift)).max(0.0));
                let step = self.shift_of(&image, left)?;
                if round > 0 && step == [0.0; 2] {
                    break;
                }
                shift = self.nearest([shift[0] + step[0], shift[1] + step[1]]);
                image = self.apply(plane, shift)?;
            }
            self.add(&mut plane, self.plane_of(&image)?, shift);
            image = self.apply(plane, shift)?;
        }
        self.refine(Aligned { plane, shift, image })
    }

    /// Gauss–Newton on shift s, plane p and log-amplitude λ together, on m = S u, the image u without the plane, moved:
    ///
    /// ```text
    /// min Σ w |t − m − J δ|²,   J = (−∂m/∂y, −∂m/∂x, S h, S(h y), S(h x), m),   h = −i u for an object, −1 for a phase (which has no λ)
    /// ```
    ///
    /// In turn, the two converge slowly when the truth has low frequencies, which are both shifted and tilted. A step
    /// that does not lower the misfit, or leaves the allowed shifts, ends it.
    fn refine(&self, mut best: Aligned) -> Result<Aligned, Error> {
        let mut misfit = self.misfit(&best.image);
        for _ in 0..STEPS {
            let Some(d) = self.step(&best)? else { break };
            let shift = [best.shift[0] + d[0], best.shift[1] + d[1]];
            let slope = [best.plane.slope[0] + d[3] * self.unit(0), best.plane.slope[1] + d[4] * self.unit(1)];
            let plane = Plane { offset: best.plane.offset + d[2], slope };
            let finite = d.iter().all(|d| d.is_finite());
            if !finite || self.params.max_shift.is_some_and(|m| length(shift) > m) {
                break;
            }
            let image = self.apply(plane, shift)?;
            let lower = self.misfit(&image);
            if lower >= misfit {
                break;
            }
            misfit = lower;
            best = Aligned { plane, shift, image };
        }
        Ok(best)
    }

    /// Coordinates in the equations run from about −1 to 1: this times pixels.
    fn unit(&self, axis: usize) -> f64 {
        2.0 / self.dims[axis] as f64
    }

    /// δ = (δs_y, δs_x, δoffset, δslope_y ny/2, δslope_x nx/2, δλ), or None where the equations are singular.
    fn step(&self, at: &Aligned) -> Result<Option<SVector<f64, 6>>, Error> {
        let m = &at.image;
        let (my, mx) = self.gradient(m);
        let beta = self.beta(m);
        let flat = self.flat(at.plane);
        let tilt = |axis: usize| -> Vec<C> {
            let h = |(i, u): (usize, &C)| {
                let r = centred(i / self.dims[1], i % self.dims[1], self.dims)[axis] * self.unit(axis);
                match self.kind {
                    Kind::Phase => C::new(-r, 0.0),
                    Kind::Object => C::new(u.im, -u.re) * r,
                }
            };
            flat.iter().enumerate().map(h).collect()
        };
        let (ty, tx) = (self.moved(tilt(0), at.shift)?, self.moved(tilt(1), at.shift)?);
        let mut a = SMatrix::<f64, 6, 6>::zeros();
        let mut b = SVector::<f64, 6>::zeros();
        for (i, (t, w)) in self.truth.iter().zip(self.weights).enumerate() {
            let value = m[i] * beta;
            let (h, scale) = match self.kind {
                Kind::Phase => (C::new(-1.0, 0.0), C::new(0.0, 0.0)),
                Kind::Object => (C::new(value.im, -value.re), value),
            };
            let j = [-my[i] * beta, -mx[i] * beta, h, ty[i] * beta, tx[i] * beta, scale];
            let e = t - value;
            for p in 0..6 {
                b[p] += w * (j[p].conj() * e).re;
                for q in 0..=p {
                    a[(p, q)] += w * (j[p].conj() * j[q]).re;
                }
            }
        }
        if self.kind == Kind::Phase {
            a[(5, 5)] = 1.0;
        }
        // Columns of unit length, so that singular means singular whatever the units.
        let d = SVector::<f64, 6>::from_fn(|p, _| a[(p, p)].sqrt());
        if !d.iter().all(|&d| d > 0.0) {
            return Ok(None);
        }
        let scaled = SMatrix::<f64, 6, 6>::from_fn(|p, q| a[(p.max(q), p.min(q))] / (d[p] * d[q]));
        Ok(scaled.cholesky().map(|c| c.solve(&b.component_div(&d)).component_div(&d)))
    }

    /// ∂m/∂y and ∂m/∂x of the periodic image: the spectrum times 2πi k/n, without the Nyquist frequency of an even
    /// axis.
    fn gradient(&self, m: &[C]) -> (Vec<C>, Vec<C>) {
        let fft = &self.finder.fft;
        let [ny, nx] = self.dims;
        let mut scratch = vec![C::default(); fft.scratch_len()];
        let factor = |i: usize, n: usize| {
            let k = if 2 * i == n { 0 } else { frequency_index(i, n) };
            C::new(0.0, std::f64::consts::TAU * k as f64 / n as f64)
        };
        let mut my = m.to_vec();
        fft.forward(&mut my, &mut scratch);
        let mut mx = my.clone();
        for i in 0..m.len() {
            my[i] *= factor(i / nx, ny);
            mx[i] *= factor(i % nx, nx);
        }
        fft.inverse(&mut my, &mut scratch);
        fft.inverse(&mut mx, &mut scratch);
        (my, mx)
    }

    /// The shortest of the shifts that are the same on a periodic image.
    fn nearest(&self, shift: [f64; 2]) -> [f64; 2] {
        let wrap = |s: f64, n: usize| s - n as f64 * (s / n as f64).round();
        [wrap(shift[0], self.dims[0]), wrap(shift[1], self.dims[1])]
    }

    /// Adds a plane found on the moved image: its constant lies elsewhere in the unmoved one.
    fn add(&self, plane: &mut Plane, rest: Plane, shift: [f64; 2]) {
        plane.offset += rest.offset + rest.slope[0] * shift[0] + rest.slope[1] * shift[1];
        plane.slope = self.shortest([plane.slope[0] + rest.slope[0], plane.slope[1] + rest.slope[1]]);
    }

    /// Of the ramps that differ by whole turns a pixel, and are the same on an object's pixels, the flattest. A phase
    /// image has no such freedom.
    fn shortest(&self, slope: [f64; 2]) -> [f64; 2] {
        let turn = std::f64::consts::TAU;
        match self.kind {
            Kind::Phase => slope,
            Kind::Object => slope.map(|g| g - turn * (g / turn).round()),
        }
    }

    /// The object as given, without the plane, moved: errors of moving do not add up.
    fn apply(&self, plane: Plane, shift: [f64; 2]) -> Result<Vec<C>, Error> {
        self.moved(self.flat(plane), shift)
    }

    /// The object as given, without the plane.
    fn flat(&self, plane: Plane) -> Vec<C> {
        let nx = self.dims[1];
        let without = |(i, o): (usize, &C)| {
            let p = plane.at(i / nx, i % nx, self.dims);
            match self.kind {
                Kind::Phase => o - p,
                Kind::Object => o * cis(-p),
            }
        };
        self.object.iter().enumerate().map(without).collect()
    }

    /// u(r − s) of a periodic image, real for a phase.
    fn moved(&self, u: Vec<C>, shift: [f64; 2]) -> Result<Vec<C>, Error> {
        if shift == [0.0; 2] {
            return Ok(u);
        }
        match self.kind {
            Kind::Phase => {
                let op = FourierShift::<f64>::new(self.dims, shift, Field::Real)?;
                let x: Vec<f64> = u.iter().map(|z| z.re).collect();
                let mut y = vec![0.0; x.len()];
                op.apply(&x, &mut y, Write::Set, &mut vec![0.0; op.scratch_len()]);
                Ok(y.into_iter().map(|y| C::new(y, 0.0)).collect())
            }
            Kind::Object => {
                let op = FourierShift::<f64>::new(self.dims, shift, Field::Complex)?;
                let mut y = u.clone();
                let mut scratch = vec![0.0; op.scratch_len()];
                op.apply(bytemuck::cast_slice(&u), bytemuck::cast_slice_mut(&mut y), Write::Set, &mut scratch);
                Ok(y)
            }
        }
    }

    /// The shift that brings x onto the truth, both weighted, without their means.
    fn shift_of(&self, x: &[C], left: Option<f64>) -> Result<[f64; 2], Error> {
        let fft = &self.finder.fft;
        let spectrum = |x: &[C]| {
            let mut y = x.to_vec();
            pixelwise::remove_complex_mean(&mut y, self.weights);
            y.iter_mut().zip(self.weights).for_each(|(y, w)| *y *= w);
            fft.forward(&mut y, &mut vec![C::default(); fft.scratch_len()]);
            y
        };
        let (mut a, b) = (spectrum(self.truth), spectrum(x));
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b.conj());
        self.finder.find(&a, left)
    }

    /// The plane of x over the truth, as far as the gauge leaves it free.
    fn plane_of(&self, x: &[C]) -> Result<Plane, Error> {
        match (self.kind, self.params.gauge) {
            (Kind::Phase, gauge) => {
                let mut d: Vec<f64> = x.iter().zip(self.truth).map(|(x, t)| x.re - t.re).collect();
                if gauge == Gauge::Phase {
                    return Ok(Plane { offset: pixelwise::remove_mean(&mut d, self.weights), slope: [0.0; 2] });
                }
                plane::fit(&d, self.weights, self.dims)
            }
            (Kind::Object, gauge) => {
                let product = |((x, t), w): ((&C, &C), &f64)| x * t.conj() * w;
                let c: Vec<C> = x.iter().zip(self.truth).zip(self.weights).map(product).collect();
                if gauge == Gauge::Phase {
                    return Ok(Plane { offset: arg(c.iter().sum::<C>()), slope: [0.0; 2] });
                }
                self.ramp_of(&c)
            }
        }
    }

    /// The ramp θ that maximises Σ Re(c e^{−iθ}): the peak of c's transform on a fine grid, then an ascent whose steps
    /// solve Σ |c| J Jᵀ δ = Σ Im(c e^{−iθ}) J, J = (1, y, x). Each raises the sum, because cos has no larger curvature
    /// than 1.
    fn ramp_of(&self, c: &[C]) -> Result<Plane, Error> {
        let [ny, nx] = self.dims;
        let modulus: Vec<f64> = c.iter().map(|c| c.norm()).collect();
        let normal = NormalEquations::new(&modulus, self.dims)?;

        // Σ c̄(r) e^{+2πi q·(r − centre)/n} as a function of q, with the centre pixel at index 0.
        let mut conjugate = vec![C::default(); c.len()];
        ifft_shift(&self.dims, c, &mut conjugate);
        conjugate.iter_mut().for_each(|z| *z = z.conj());
        let q = self.finder.find(&conjugate, None)?;
        let turn = std::f64::consts::TAU;
        let slope = self.shortest([turn * q[0] / ny as f64, turn * q[1] / nx as f64]);
        let mut plane = Plane { offset: 0.0, slope };
        let flat = |p: &Plane| -> Vec<C> {
            c.iter().enumerate().map(|(i, c)| c * cis(-p.at(i / nx, i % nx, self.dims))).collect()
        };
        plane.offset = arg(flat(&plane).iter().sum::<C>());

        // Until a step moves no pixel's phase by more than rounding.
        for _ in 0..50 {
            let z = flat(&plane);
            let d = normal.solve(|i| z[i].im);
            plane.offset += d.offset;
            plane.slope = [plane.slope[0] + d.slope[0], plane.slope[1] + d.slope[1]];
            if d.offset.abs() + d.slope[0].abs() * ny as f64 + d.slope[1].abs() * nx as f64 <= 1e-13 {
                break;
            }
        }
        Ok(plane)
    }
}

/// What is found first.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Plane,
    Shift,
}

fn length(s: [f64; 2]) -> f64 {
    s[0].hypot(s[1])
}
