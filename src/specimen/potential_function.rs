//! The potential as a differentiable function of the atoms.

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::frequency_index;
use crate::op::Write;
use crate::real::Real;
use crate::shape::Space;
use crate::specimen::potential::Contribution;
use crate::specimen::potential_kernels::{Buffers, phase_derivatives};
use crate::specimen::{Atoms, PotentialParams, PotentialPlan, Projection, ScatteringFactor};

/// The potentials of all slices as a [`Function`] of the positions and of the thermal motion.
///
/// For a real loss with `g = ∂L/∂V`, `G = F g` and the factors `e_y`, `e_x` of [`PotentialPlan`]:
///
/// ```text
/// ∂L/∂x_a = (o_a/A) Re Σ_k f/κ Ḡ(k) e_y (∂e_x/∂x_a),   ∂e_x/∂x = −2πi k_x e_x,   ∂e_x/∂σ_x = −4π²σ_x k_x² e_x
/// ∂L/∂z_a = (o_a/A) Re Σ_k (∂f/∂z_a)/κ Ḡ(k) e_y e_x,   ∂f/∂z = p(k, z₀ − z) − p(k, z₁ − z)      (finite slices)
/// ```
///
/// p is the transform of the potential in a plane, [`ScatteringFactor::plane_fourier`]. With [`Projection::Infinite`] every atom stays in
/// the slice of the plan: the derivative with respect to z is zero, and a position moves the atom in the plane only. With
/// [`Projection::Finite`] it stays in the slices that the plan found it to reach: its z may change by much less than that reach before
/// a new plan is due. The derivative with respect to σ_z, which potentials leave out, is zero.
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
    /// Heights of the plan's atoms, Å: where their images are counted from.
    z: Vec<f64>,
}

impl<T: Real> PotentialFunction<T> {
    /// Sorts the atoms into their slices.
    ///
    /// # Errors
    /// As [`PotentialPlan::new`].
    pub fn new(atoms: &Atoms, params: &PotentialParams) -> Result<Self, Error> {
        let z = atoms.atoms.iter().map(|a| a.position[0]).collect();
        Ok(PotentialFunction { plan: PotentialPlan::new(atoms, params)?, z })
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
        Contribution {
            r: [at(0, 1) + shift[0], at(0, 2) + shift[1]],
            sigma: [at(1, 1), at(1, 2)],
            z: c.z + at(0, 0) - self.z[c.atom],
            ..*c
        }
    }

    /// Σ over the spectrum for one atom: with respect to z, y, x, σ_y, σ_x, but for the occupancy.
    fn atom(&self, c: &Contribution, factor: &ScatteringFactor, table: &[T], b: &mut Buffers<'_, T>) -> [f64; 5] {
        let ([ny, nx], [ly, lx]) = (self.plan.work, self.plan.extent);
        let half = nx / 2 + 1;
        let finite = self.plan.projection() == Projection::Finite;
        let nodes = self.plan.nodes();
        if finite {
            let [z0, z1] = c.planes.map(|p| p - c.z);
            nodes.tabulate(b.table, |k2| factor.slab_fourier(k2, z0, z1));
            nodes.tabulate(b.slope, |k2| factor.plane_fourier(k2, z0) - factor.plane_fourier(k2, z1));
        }

        // t_j(kx) = Σ_ky (e_y, ∂e_y/∂y, ∂e_y/∂σ_y) f Ḡ, and e_y (∂f/∂z) Ḡ: four rows in the buffer of x.
        let t = &mut b.x[..8 * half];
        t.fill(T::ZERO);
        for (iy, row) in b.spectrum.chunks(half).enumerate() {
            let round = |z: Complex<f64>| Complex::new(T::of(z.re), T::of(z.im));
            let ey = phase_derivatives(iy, ny, ly, c.r[0], c.sigma[0]).map(round);
            if finite {
                let ky = frequency_index(iy, ny) as f64 / ly;
                for (ix, g) in row.iter().enumerate() {
                    let k2 = ky * ky + (ix as f64 / lx).powi(2);
                    let (h, s) = (g.conj().scale(nodes.at(k2, b.table)), g.conj().scale(nodes.at(k2, b.slope)));
                    for (j, z) in [ey[0] * h, ey[1] * h, ey[2] * h, ey[0] * s].into_iter().enumerate() {
                        t[2 * j * half + ix] += z.re;
                        t[(2 * j + 1) * half + ix] += z.im;
                    }
                }
            } else {
                let f = &table[iy * half..][..half];
                let (t0, rest) = t.split_at_mut(2 * half);
                let (t1, t2) = rest.split_at_mut(2 * half);
                for (e, t) in ey.into_iter().zip([t0, t1, &mut t2[..2 * half]]) {
                    let (re, im) = t.split_at_mut(half);
                    crate::simd::vectorized!({
                        for i in 0..half {
                            let (hr, hi) = (row[i].re * f[i], -row[i].im * f[i]);
                            re[i] += e.re * hr - e.im * hi;
                            im[i] += e.re * hi + e.im * hr;
                        }
                    });
                }
            }
        }

        // With e_x; columns other than 0 and Nyquist stand for two. The table has N/A; the inverse transform's 1/N is left.
        let mut sums = [0.0; 5];
        for ix in 0..half {
            let ex = phase_derivatives(ix, nx, lx, c.r[1], c.sigma[1]);
            let w = if ix == 0 || 2 * ix == nx { 1.0 } else { 2.0 } / (ny * nx) as f64;
            let at = |j: usize| Complex::new(t[2 * j * half + ix].f64(), t[(2 * j + 1) * half + ix].f64());
            let dot = |j: usize, e: Complex<f64>| w * (at(j) * e).re;
            let parts = [dot(3, ex[0]), dot(1, ex[0]), dot(0, ex[1]), dot(2, ex[0]), dot(0, ex[2])];
            sums.iter_mut().zip(parts).for_each(|(s, p)| *s += p);
        }
        sums
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
        2 * self.plan.scratch_len()
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], _: &mut [T], scratch: &mut [T], _: Mode) {
        let n = self.plan.grid().len();
        check_len("PotentialFunction", "y", n * self.plan.len(), y.len());
        let words = bytemuck::cast_slice_mut(&mut scratch[..2 * self.plan.scratch_len()]);
        let mut buffers = self.plan.buffers(words);
        for (s, v) in y.chunks_mut(n).enumerate() {
            self.plan.fill(s, v, &mut buffers, |c| self.moved(c, x));
        }
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
        for (d, w) in dx.iter_mut().flatten() {
            if *w == Write::Set {
                d.fill(T::ZERO);
            }
        }
        let words = bytemuck::cast_slice_mut(&mut scratch[..2 * self.plan.scratch_len()]);
        let mut buffers = self.plan.buffers(words);
        for (s, g) in dy.chunks(self.plan.grid().len()).enumerate() {
            self.plan.analyse(g, &mut buffers);
            for (group, (factor, table)) in self.plan.slices[s].iter().zip(&self.plan.factors) {
                for c in group {
                    let c = self.moved(c, x);
                    let sums = self.atom(&c, factor, table, &mut buffers).map(|s| T::of(c.occupancy * s));
                    if let Some((d, _)) = &mut dx[0] {
                        (0..3).for_each(|i| d[3 * c.atom + i] += sums[i]);
                    }
                    if let Some((d, _)) = &mut dx[1] {
                        (0..2).for_each(|i| d[3 * c.atom + 1 + i] += sums[3 + i]);
                    }
                }
            }
        }
    }
}
