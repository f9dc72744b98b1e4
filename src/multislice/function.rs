//! Multislice as a differentiable function, with its hand-written adjoint.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::autodiff::{Function, Mode, Needs};
use crate::error::{Error, check_len};
use crate::fft::{Direction, LANES, Lane, LaneBuffers, aligned};
use crate::multislice::engine::Conjugate;
use crate::multislice::plan::{Propagator, propagator};
use crate::multislice::{Multislice, MultisliceParams};
use crate::op::{Write, write};
use crate::real::Real;
use crate::shape::Space;
use crate::simd::{lines, vectorized};

/// The exit waves as a [`Function`] of the potential, the incident waves and, if it is given, the geometry.
///
/// The adjoint goes back through the slices. With g the gradient of a real loss with respect to a wave and F⁻¹P F as in [`Multislice`]:
///
/// ```text
/// q = F⁻¹ A P̄_n F g_{n+1}          g_n = t̄_n q          g_{t_n} += ψ̄_n q          (summed over the waves)
/// ∂L/∂V_n = Re{ conj((i − μ) σ e_n) F⁻¹ A F g_{t_n} },   e_n = exp((i − μ) σ V_n)
/// ∂L/∂Δz_n = 1/N Re Σ_k conj(F g_{n+1}) (−iπλk² − 2πi k·tan θ) F ψ_{n+1},   ∂L/∂θ likewise with −2πi k Δz_n / cos² θ
/// ```
///
/// What the backward pass needs of ψ_n stands on the tape, half transformed, for every slice if [`MultisliceParams::tape_bytes`] allows, else for
/// every c-th, c ≤ √S, and is computed again between.
///
/// # Shapes
/// Inputs: potential, real (slices, ny, nx); incident waves, complex (waves, ny, nx); optionally the geometry, real (slices + 2): thickness of each
/// slice, then the tilt `[y, x]`. Output: complex (waves, ny, nx). Without a geometry, that of the parameters holds.
///
/// # Units
/// V Å; Å; rad.
///
/// # References
/// Derived in `docs/multislice.md`; W. Van den Broek, C. T. Koch, *Phys. Rev. Lett.* 109, 245502 (2012), for the potential.
#[derive(Clone, Debug)]
pub struct MultisliceFunction<T: Real> {
    plan: Multislice<T>,
}

/// How a run cuts tape and scratch.
struct Layout {
    slices: usize,
    waves: usize,
    /// Lanes of the transmissions and of u2 of a full group.
    transmission: usize,
    u2: usize,
    groups: usize,
    /// Waves are on the tape after every `every`-th slice, and after the last.
    every: usize,
}

impl Layout {
    fn kept(&self) -> usize {
        self.slices.div_ceil(self.every)
    }

    fn tape(&self) -> usize {
        self.transmission + self.groups * self.kept() * self.u2
    }

    /// The tape's slot of the wave after slice n (counting from 1), if it has one.
    fn slot(&self, n: usize) -> Option<usize> {
        if n == 0 {
            None
        } else if n == self.slices {
            Some(self.kept() - 1)
        } else if n.is_multiple_of(self.every) {
            Some(n / self.every - 1)
        } else {
            None
        }
    }
}

impl<T: Real> MultisliceFunction<T> {
    /// Plans the function.
    ///
    /// # Errors
    /// As [`Multislice::new`].
    pub fn new(params: &MultisliceParams) -> Result<Self, Error> {
        Ok(MultisliceFunction { plan: Multislice::new(params)? })
    }

    /// The plan behind it.
    pub fn plan(&self) -> &Multislice<T> {
        &self.plan
    }

    fn layout(&self, waves: usize) -> Layout {
        let (e, slices) = (&self.plan.engine, self.plan.slices());
        let group = self.plan.group.min(waves.max(1));
        let groups = waves.div_ceil(group);
        let u2 = e.u2_len(group);
        let rarest = (slices as f64).sqrt().ceil() as usize;
        let bytes = |every: usize| (groups * slices.div_ceil(every) * u2 * size_of::<Lane<T>>()) as u64;
        let every = (1..rarest).find(|&c| bytes(c) <= self.plan.params.tape_bytes).unwrap_or(rarest.max(1));
        Layout { slices, waves, transmission: e.real_len() * slices, u2, groups, every }
    }

    /// Lanes of scratch: u1 (which at the end holds waves in real space), u2 of the gradient, the waves of one stretch of slices, one slice's gradient
    /// in all, and the transform buffers.
    fn scratch_lanes(&self, l: &Layout) -> usize {
        let e = &self.plan.engine;
        let group = self.plan.group.min(l.waves.max(1));
        let u1 = e.u1_len(self.plan.group).max(group * e.real_len()).max(self.plan.threads() * e.u1_len(1));
        u1 + e.u2_len(self.plan.group) + (l.every + 1) * l.u2 + l.transmission + self.plan.works_len() + 2
    }

    /// The propagator of slice n with the geometry of an input.
    fn step(&self, x: &[&[T]], n: usize) -> Option<Propagator<T>> {
        let geometry = x.get(2)?;
        let slices = self.plan.slices();
        let tilt = [0, 1].map(|i| geometry[slices + i].f64().tan());
        Some(propagator(&self.plan.engine, self.plan.lambda, geometry[n].f64(), tilt))
    }
}

/// The words of a slice as lanes; a tape or scratch may be longer.
fn lanes<T: Real>(words: &mut [T]) -> &mut [Lane<T>] {
    let whole = words.len() / LANES * LANES;
    bytemuck::cast_slice_mut(&mut words[..whole])
}

impl<T: Real> Function<T> for MultisliceFunction<T> {
    fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
        let [ny, nx] = self.plan.params.grid.dims;
        let potential = Space::real(&[self.plan.slices(), ny, nx]);
        let geometry = Space::real(&[self.plan.slices() + 2]);
        if inputs.len() < 2 || *inputs[0] != potential {
            return Err(Error::shape("MultisliceFunction", potential.dims(), inputs.first().map_or(&[], |s| s.dims())));
        }
        let waves = inputs[1].dims().first().copied().unwrap_or(0);
        let want = Space::complex(&[waves, ny, nx]);
        if waves == 0 || *inputs[1] != want {
            return Err(Error::shape("MultisliceFunction", &[1, ny, nx], inputs[1].dims()));
        }
        if inputs.len() > 3 || inputs.get(2).is_some_and(|s| **s != geometry) {
            return Err(Error::shape("MultisliceFunction", geometry.dims(), inputs[2].dims()));
        }
        Ok(want)
    }

    fn needs(&self, inputs: &[&Space]) -> Needs {
        let l = self.layout(inputs[1].dims()[0]);
        Needs { inputs: (0..inputs.len()).collect(), output: false, tape_len: l.tape() * LANES }
    }

    fn scratch_len(&self, inputs: &[&Space]) -> usize {
        self.scratch_lanes(&self.layout(inputs[1].dims()[0])) * LANES
    }

    fn forward(&self, x: &[&[T]], y: &mut [T], tape: &mut [T], scratch: &mut [T], _: Mode) {
        let (plan, e) = (&self.plan, &self.plan.engine);
        let pixels = e.ny * e.nx;
        check_len("MultisliceFunction", "y", x[1].len(), y.len());
        let l = self.layout(x[1].len() / (2 * pixels));
        let (tape, scratch) = (lanes(tape), aligned(lanes(scratch)));
        let (t, tape) = tape.split_at_mut(l.transmission);
        plan.transmit(x[0], t, scratch);

        let psi: &[Complex<T>] = bytemuck::cast_slice(x[1]);
        let exit: &mut [Complex<T>] = bytemuck::cast_slice_mut(y);
        for (g, psi) in psi.chunks(plan.group * pixels).enumerate() {
            let waves = psi.len() / pixels;
            let (u1, rest) = scratch.split_at_mut(e.u1_len(waves));
            let (stretch, rest) = rest.split_at_mut((l.every + 1) * l.u2);
            let mut works = plan.works(&mut rest[..plan.works_len()]);
            let tape = &mut tape[g * l.kept() * l.u2..][..l.kept() * l.u2];
            let size = e.u2_len(waves);
            for n in 0..l.slices {
                let made = self.step(x, n);
                let p = made.as_ref().unwrap_or_else(|| plan.step(n));
                let t = &t[n * e.real_len()..][..e.real_len()];
                if n == 0 {
                    plan.enter(t, p, psi, u1, &mut works);
                } else {
                    let before = match l.slot(n) {
                        Some(i) => &tape[i * l.u2..][..size],
                        None => &stretch[..size],
                    };
                    plan.advance(t, p, waves, before, u1, &mut works);
                }
                let after = match l.slot(n + 1) {
                    Some(i) => &mut tape[i * l.u2..][..size],
                    None => &mut stretch[..size],
                };
                plan.columns(p, Conjugate::No, waves, u1, after, &mut works);
            }
            let last = &tape[(l.kept() - 1) * l.u2..][..size];
            plan.leave(last, &mut exit[g * plan.group * pixels..][..psi.len()], &mut works);
        }
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
        let (plan, e) = (&self.plan, &self.plan.engine);
        let pixels = e.ny * e.nx;
        let l = self.layout(x[1].len() / (2 * pixels));
        let whole = tape.len() / LANES * LANES;
        let tape: &[Lane<T>] = bytemuck::cast_slice(&tape[..whole]);
        let (t, tape) = tape.split_at(l.transmission);
        let psi: &[Complex<T>] = bytemuck::cast_slice(x[1]);
        let dexit: &[Complex<T>] = bytemuck::cast_slice(dy);
        let (gt, scratch) = aligned(lanes(scratch)).split_at_mut(l.transmission);
        let wants_potential = dx[0].is_some();
        let mut geometry = vec![0.0; l.slices + 2];
        let wants_geometry = dx.get(2).is_some_and(|d| d.is_some());

        for (g, psi) in psi.chunks(plan.group * pixels).enumerate() {
            let waves = psi.len() / pixels;
            let at = g * plan.group * pixels;
            let size = e.u2_len(waves);
            let (u1, rest) = scratch.split_at_mut(e.u1_len(waves).max(waves * e.real_len()));
            let (u2, rest) = rest.split_at_mut(size);
            let (stretch, rest) = rest.split_at_mut((l.every + 1) * l.u2);
            let mut works = plan.works(&mut rest[..plan.works_len()]);
            let tape = &tape[g * l.kept() * l.u2..][..l.kept() * l.u2];

            // The gradient of the exit waves enters at the back.
            let made = self.step(x, l.slices - 1);
            let p = made.as_ref().unwrap_or_else(|| plan.step(l.slices - 1));
            let dexit = &dexit[at..at + psi.len()];
            plan.par().chunks_with(&mut u1[..e.u1_len(waves)], e.u1_chunk(waves), &mut works, |band, u1, [b, _]| {
                for (w, u1) in u1.chunks_mut(2 * e.kept).enumerate() {
                    e.load_rows(&dexit[w * pixels..][..pixels], band, b);
                    e.along_x(b, Direction::Forward);
                    e.keep(b, &p.px, Conjugate::Yes, u1);
                }
            });

            for n in (0..l.slices).rev() {
                // Waves between two of the tape's are computed again when the stretch is entered from behind.
                if n + 1 == l.slices || (n + 1).is_multiple_of(l.every) {
                    let first = n / l.every * l.every;
                    for m in first..n {
                        let made = self.step(x, m);
                        let p = made.as_ref().unwrap_or_else(|| plan.step(m));
                        let t = &t[m * e.real_len()..][..e.real_len()];
                        // u1 holds the gradient: the stretch's last slot is borrowed for the row pass.
                        let (stretch, spare) = stretch.split_at_mut(l.every * l.u2);
                        let v1 = &mut spare[..e.u1_len(waves).min(l.u2)];
                        debug_assert!(v1.len() == e.u1_len(waves));
                        if m == 0 {
                            plan.enter(t, p, psi, v1, &mut works);
                        } else {
                            let before = match l.slot(m) {
                                Some(i) => &tape[i * l.u2..][..size],
                                None => &stretch[(m - first - 1) * l.u2..][..size],
                            };
                            plan.advance(t, p, waves, before, v1, &mut works);
                        }
                        plan.columns(
                            p,
                            Conjugate::No,
                            waves,
                            v1,
                            &mut stretch[(m - first) * l.u2..][..size],
                            &mut works,
                        );
                    }
                }
                let first = n / l.every * l.every;
                let after = match l.slot(n + 1) {
                    Some(i) => &tape[i * l.u2..][..size],
                    None => &stretch[(n - first) * l.u2..][..size],
                };
                let before = match l.slot(n) {
                    Some(i) => Some(&tape[i * l.u2..][..size]),
                    None if n == 0 => None,
                    None => Some(&stretch[(n - first - 1) * l.u2..][..size]),
                };

                // q = F⁻¹ A P̄ F g.
                let made = self.step(x, n);
                let p = made.as_ref().unwrap_or_else(|| plan.step(n));
                if wants_geometry {
                    let sums = self.moments(p, waves, u1, after, &mut works);
                    let [ty, tx] = [0, 1].map(|i| x[2][l.slices + i].f64());
                    let dz = x[2][n].f64();
                    let [k2, ky, kx] = sums.map(|s| s / e.ny as f64);
                    geometry[n] += PI * plan.lambda * k2 + TAU * (ty.tan() * ky + tx.tan() * kx);
                    geometry[l.slices] += TAU * dz * ky / ty.cos().powi(2);
                    geometry[l.slices + 1] += TAU * dz * kx / tx.cos().powi(2);
                }
                plan.columns(p, Conjugate::Yes, waves, &u1[..e.u1_len(waves)], u2, &mut works);

                // Into real space; g_t += ψ̄ q, g = t̄ q, and on to the slice before.
                let t = &t[n * e.real_len()..][..e.real_len()];
                let gt = &mut gt[n * e.real_len()..][..e.real_len()];
                let made = if n > 0 { self.step(x, n - 1) } else { None };
                let next = (n > 0).then(|| made.as_ref().unwrap_or_else(|| plan.step(n - 1)));
                let chunk = if n > 0 { e.u1_chunk(waves) } else { waves * 2 * e.nx };
                let mut bands: Vec<_> = u1.chunks_mut(chunk).zip(gt.chunks_mut(2 * e.nx)).collect();
                plan.par().chunks_with(&mut bands, 1, &mut works, |band, pair, [b, c]| {
                    let (u1, gt) = &mut pair[0];
                    for (w, u1) in u1.chunks_mut(chunk / waves).enumerate() {
                        e.gather_rows(u2, waves, w, band, b);
                        e.along_x(b, Direction::Inverse);
                        if wants_potential {
                            match before {
                                Some(before) => {
                                    e.gather_rows(before, waves, w, band, c);
                                    e.along_x(c, Direction::Inverse);
                                }
                                None => e.load_rows(&psi[w * pixels..][..pixels], band, c),
                            }
                            // The first wave of all overwrites what stood there.
                            let how = if g == 0 && w == 0 { Write::Set } else { Write::Add };
                            e.accumulate(c, b, gt, how);
                        }
                        e.multiply(&t[band * 2 * e.nx..][..2 * e.nx], Conjugate::Yes, b);
                        if let Some(p) = next {
                            e.along_x(b, Direction::Forward);
                            e.keep(b, &p.px, Conjugate::Yes, u1);
                        } else {
                            e.store_lanes(b, u1);
                        }
                    }
                });
            }

            // The gradient of the incident waves, from lanes to rows.
            if let Some((dpsi, how)) = &mut dx[1] {
                let dpsi: &mut [Complex<T>] = bytemuck::cast_slice_mut(dpsi);
                for w in 0..waves {
                    for iy in 0..e.ny {
                        let lanes = &u1[(iy / LANES * waves + w) * 2 * e.nx..][..2 * e.nx];
                        for (ix, &x) in e.x_order().iter().enumerate() {
                            let x = x as usize;
                            let z = Complex::new(lanes[x][iy % LANES], lanes[e.nx + x][iy % LANES]);
                            write(&mut dpsi[at + w * pixels + iy * e.nx + ix], z, *how);
                        }
                    }
                }
            }
        }

        if let Some((dv, how)) = &mut dx[0] {
            plan.filter(gt, scratch);
            self.potential_gradient(x[0], gt, dv, *how, scratch);
        }
        if let Some(Some((d, how))) = dx.get_mut(2) {
            for (d, g) in d.iter_mut().zip(&geometry) {
                write(d, T::of(*g), *how);
            }
        }
    }
}

impl<T: Real> MultisliceFunction<T> {
    /// ∂L/∂V = Re{ conj((i − μ)σ e) g }.
    fn potential_gradient(&self, v: &[T], g: &[Lane<T>], dv: &mut [T], how: Write, scratch: &mut [Lane<T>]) {
        let (plan, e) = (&self.plan, &self.plan.engine);
        let (pixels, sigma, mu) = (e.ny * e.nx, T::of(plan.sigma), T::of(plan.params.absorption));
        let mut works = plan.works(&mut aligned(scratch)[..plan.works_len()]);
        plan.par().chunks_with(dv, pixels, &mut works, |s, dv, [b, rows]| {
            for (band, dv) in dv.chunks_mut(LANES * e.nx).enumerate() {
                plan.exponential(&v[s * pixels..][..pixels], band, b);
                let g = g[(s * e.bands + band) * 2 * e.nx..][..2 * e.nx].as_flattened().split_at(e.nx * LANES);
                let (er, ei) = (b.re[..e.nx].as_flattened_mut(), b.im[..e.nx].as_flattened());
                vectorized!({
                    for ((er, &ei), (&gr, &gi)) in er.iter_mut().zip(ei).zip(g.0.iter().zip(g.1)) {
                        // (i − μ) e = (−e_i − μ e_r) + i (e_r − μ e_i)
                        *er = sigma * ((-ei - mu * *er) * gr + (*er - mu * ei) * gi);
                    }
                });
                lines::turn(b.re, e.x_order(), rows.re, LANES);
                for (i, dv) in dv.chunks_mut(e.nx).enumerate() {
                    for (dv, lanes) in dv.chunks_mut(LANES).zip(rows.re.iter().skip(i).step_by(LANES)) {
                        dv.iter_mut().zip(lanes).for_each(|(dv, &d)| write(dv, d, how));
                    }
                }
            }
        });
    }

    /// Im Σ_k conj(F g) {k², ky, kx} F_y u2 of the waves after a slice: what thickness and tilt need. The px in the gradient's u1 is taken
    /// out again.
    fn moments(
        &self,
        p: &Propagator<T>,
        waves: usize,
        u1: &[Lane<T>],
        after: &[Lane<T>],
        works: &mut [[LaneBuffers<'_, T>; 2]],
    ) -> [f64; 3] {
        let e = &self.plan.engine;
        let mut sums = vec![[0.0f64; 3]; e.columns];
        self.plan.par().chunks_with(&mut sums, 1, works, |c, sums, [b, a]| {
            let mut lanes = [[Complex::new(0.0, 0.0); 3]; LANES];
            for w in 0..waves {
                e.gather_columns(u1, waves, w, c, b);
                e.along_y(b);
                let u2 = &after[(c * waves + w) * 2 * e.pitch()..][..2 * e.pitch()];
                a.re[..e.padded].copy_from_slice(&u2[..e.padded]);
                a.im[..e.padded].copy_from_slice(&u2[e.pitch()..][..e.padded]);
                e.along_y(a);
                for (y, &ky) in e.ky.iter().enumerate() {
                    for (l, sum) in lanes.iter_mut().enumerate() {
                        let g = Complex::new(b.re[y][l].f64(), -b.im[y][l].f64());
                        let z = g * Complex::new(a.re[y][l].f64(), a.im[y][l].f64());
                        sum[0] += z;
                        sum[1] += z * ky;
                        sum[2] += z * ky * ky;
                    }
                }
            }
            for (l, s) in lanes.iter().enumerate() {
                let i = c * LANES + l;
                let unit = Complex::new(p.px[i][0].f64(), -p.px[i][1].f64());
                let (kx, z) = (e.kx[i], s.map(|s| (s * unit).im));
                sums[0][0] += kx * kx * z[0] + z[2];
                sums[0][1] += z[1];
                sums[0][2] += kx * z[0];
            }
        });
        sums.iter().fold([0.0; 3], |t, s| [t[0] + s[0], t[1] + s[1], t[2] + s[2]])
    }
}
