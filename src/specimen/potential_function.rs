//! The potential as a differentiable function of the atoms.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::frequency_index;
use crate::linalg::gemm::{Trans, gemm_complex};
use crate::op::Write;
use crate::real::Real;
use crate::shape::Space;
use crate::specimen::potential::{Contribution, phase};
use crate::specimen::{Atoms, PotentialParams, PotentialPlan, Projection};

/// The potentials of all slices as a [`Function`] of the positions and of the thermal motion.
///
/// For a real loss with `g = ∂L/∂V`, `G = F g` and the factors `e_y`, `e_x` of [`PotentialPlan`]:
///
/// ```text
/// ∂L/∂x_a = (o_a/A) Re Σ_k f/κ Ḡ(k) e_y (∂e_x/∂x_a),   ∂e_x/∂x = −2πi k_x e_x,   ∂e_x/∂σ_x = −4π²σ_x k_x² e_x
/// ```
///
/// Every atom stays in the slice of the plan: the derivatives with respect to z and σ_z are zero, and a position moves the atom in the plane only.
///
/// # Shapes
/// Inputs: positions, real (atoms, 3), `[z, y, x]`; σ, real (atoms, 3). Output: real (slices, ny, nx).
///
/// # Units
/// Å, Å, V Å.
///
/// # References
/// Derived in `docs/specimen.md`.
#[derive(Debug)]
pub struct PotentialFunction<T: Real> {
    plan: PotentialPlan<T>,
}

impl<T: Real> PotentialFunction<T> {
    /// Sorts the atoms into their slices.
    ///
    /// # Errors
    /// As [`PotentialPlan::new`]; [`Error::Unsupported`] for [`Projection::Finite`].
    pub fn new(atoms: &Atoms, params: &PotentialParams) -> Result<Self, Error> {
        if params.projection != Projection::Infinite {
            return Err(Error::Unsupported { what: "gradients of finite projections".into() });
        }
        Ok(PotentialFunction { plan: PotentialPlan::new(atoms, params)? })
    }

    /// The plan behind it.
    pub fn plan(&self) -> &PotentialPlan<T> {
        &self.plan
    }

    /// The contribution with the inputs' position and σ; the padding shifts the position.
    fn moved(&self, c: &Contribution, x: &[&[T]]) -> Contribution {
        let at = |input: usize, axis: usize| x[input][3 * c.atom + axis].f64();
        let d = self.plan.grid().sampling;
        let shift = [0, 1].map(|i| (self.plan.work[i] - self.plan.grid().dims[i]) as f64 / 2.0 * d[i].to_angstrom());
        Contribution { r: [at(0, 1) + shift[0], at(0, 2) + shift[1]], sigma: [at(1, 1), at(1, 2)], ..*c }
    }
}

impl<T: Real> Function<T> for PotentialFunction<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let want = Space::real(&[self.plan.atoms, 3]);
        if inputs.len() != 2 || inputs.iter().any(|s| **s != want) {
            let got = inputs.first().map_or(&[][..], |s| s.dims());
            return Err(Error::shape("PotentialFunction", want.dims(), got));
        }
        let [ny, nx] = self.plan.grid().dims;
        Ok(Space::real(&[self.plan.len(), ny, nx]))
    }

    fn needs(&self, _: &[&Space]) -> Needs {
        Needs { inputs: vec![0, 1], output: false, tape_len: 0 }
    }

    fn scratch_len(&self, _: &[&Space]) -> usize {
        0
    }

    /// Allocates its spectra, which are no slices of words.
    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], _: &mut [T], _: Mode) {
        let n = self.plan.grid().len();
        check_len("PotentialFunction", "y", n * self.plan.len(), y.len());
        let mut scratch = self.plan.scratch().unwrap_or_else(|e| panic!("PotentialFunction: {e}"));
        for (s, v) in y.chunks_mut(n).enumerate() {
            scratch.spectrum.fill(Complex::default());
            for (group, (_, table)) in self.plan.slices[s].iter().zip(&self.plan.factors) {
                let moved: Vec<Contribution> = group.iter().map(|c| self.moved(c, x)).collect();
                self.plan.add_species(&moved, table, &mut scratch);
            }
            self.plan.synthesize(v, &mut scratch);
        }
    }

    fn backward(&self, x: &[&[T]], _: &[T], _: &[T], dy: &[T], dx: &mut [Option<(&mut [T], Write)>], _: &mut [T]) {
        for (d, w) in dx.iter_mut().flatten() {
            if *w == Write::Set {
                d.fill(T::ZERO);
            }
        }
        let [ny, nx] = self.plan.work;
        let [ly, lx] = self.plan.extent;
        let (half, n) = (nx / 2 + 1, self.plan.grid().len());
        let (one, zero) = (Complex::new(T::ONE, T::ZERO), Complex::default());
        let mut scratch = self.plan.scratch().unwrap_or_else(|e| panic!("PotentialFunction: {e}"));
        // The table has N/A; the inverse transform's 1/N is left.
        let weight = |ix: usize| if ix == 0 || 2 * ix == nx { 1.0 } else { 2.0 } / (ny * nx) as f64;
        for (s, g) in dy.chunks(n).enumerate() {
            self.plan.analyse(g, &mut scratch);
            for (group, (_, table)) in self.plan.slices[s].iter().zip(&self.plan.factors) {
                // H = f Ḡ, with the weight of the half spectrum.
                for (i, h) in scratch.sum.iter_mut().enumerate() {
                    *h = scratch.spectrum[i].conj().scale(table[i] * T::of(weight(i % half)));
                }
                for c in group {
                    let c = self.moved(c, x);
                    let rows = |n: usize, count: usize, l: f64, axis: usize| {
                        let e: Vec<Complex<f64>> =
                            (0..count).map(|i| phase(i, n, l, c.r[axis], c.sigma[axis])).collect();
                        let k = |i: usize| frequency_index(i, n) as f64 / l;
                        // ∂/∂r; at the Nyquist frequency that of the cosine.
                        let r = |i: usize| {
                            let z = Complex::new(0.0, -TAU * k(i)) * e[i];
                            if 2 * i != n {
                                return z;
                            }
                            let damping = (-2.0 * PI * PI * (c.sigma[axis] * k(i)).powi(2)).exp();
                            Complex::new(-TAU * k(i) * (TAU * k(i) * c.r[axis]).sin() * damping, 0.0)
                        };
                        let sigma = |i: usize| e[i] * (-4.0 * PI * PI * c.sigma[axis] * k(i) * k(i));
                        let round = |z: Complex<f64>| Complex::new(T::of(z.re), T::of(z.im));
                        let columns: Vec<Complex<T>> =
                            (0..count).flat_map(|i| [round(e[i]), round(r(i)), round(sigma(i))]).collect();
                        columns
                    };
                    let ey = rows(ny, ny, ly, 0);
                    let ex = rows(nx, half, lx, 1);
                    // (ny, half)·(half, 3): the value, and the derivatives with respect to x and σ_x.
                    let mut hx = vec![zero; ny * 3];
                    gemm_complex([ny, half, 3], one, &scratch.sum, Trans::No, &ex, Trans::No, zero, &mut hx);
                    let dot = |a: usize, b: usize| {
                        let sum: f64 = (0..ny).map(|i| (ey[3 * i + a] * hx[3 * i + b]).re.f64()).sum();
                        T::of(c.occupancy * sum)
                    };
                    for (input, derivative) in [(0, 1), (1, 2)] {
                        if let Some((d, _)) = &mut dx[input] {
                            d[3 * c.atom + 1] += dot(derivative, 0);
                            d[3 * c.atom + 2] += dot(0, derivative);
                        }
                    }
                }
            }
        }
    }
}
