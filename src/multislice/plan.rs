//! The multislice plan: transmission functions, and waves through them.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;

use crate::error::{Error, check_len};
use crate::fft::{Direction, LANES, Lane, LaneBuffers, aligned};
use crate::multislice::MultisliceParams;
use crate::multislice::engine::{Conjugate, Engine};
use crate::multislice::own::Own;
use crate::optics::Grid;
use crate::optics::constants::checked_wavelength;
use crate::par::Par;
use crate::real::Real;
use crate::shape::{checked_len, try_zeroed};
use crate::simd::sin_cos::sin_cos;
use crate::simd::{transpose16, vectorized};
use crate::specimen::Potential;
use crate::tensor::Tensor;
use crate::units::Length;

/// Bytes of waves that are worked on together: what the second-level caches of a few cores hold.
const GROUP_BYTES: usize = 3 << 20;

/// Bytes of waves that a thread takes through all slices by itself: what its second-level cache holds beside a
/// transmission; and the largest wave for which it does.
const OWN_BYTES: usize = 3 << 19;
const OWN_MOST: usize = 4 * OWN_BYTES;

/// The two factors of a slice's propagator: `exp(−iπλΔz k² − 2πiΔz k tan θ)` for one axis.
#[derive(Clone, Debug)]
pub(crate) struct Propagator<T> {
    pub px: Vec<[T; 2]>,
    pub py: Vec<[T; 2]>,
}

/// Band-limited transmission functions of all slices, as [`Multislice`] uses them. Made by [`Multislice::transmission`].
#[derive(Clone, Debug)]
pub struct Transmission<T: Real> {
    /// (slices, bands, re/im, nx) lanes of 16 rows.
    pub(crate) lanes: Vec<Lane<T>>,
    slices: usize,
}

impl<T: Real> Transmission<T> {
    /// Number of slices.
    pub fn len(&self) -> usize {
        self.slices
    }

    /// There is at least one slice.
    pub fn is_empty(&self) -> bool {
        self.slices == 0
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        (self.lanes.len() * size_of::<Lane<T>>()) as u64
    }
}

/// Buffers of a run, made by [`Multislice::scratch`]; any number of runs may use them one after the other.
#[derive(Clone, Debug)]
pub struct MultisliceScratch<T: Real> {
    pub(crate) lanes: Vec<Lane<T>>,
}

/// Waves through a thick specimen, slice after slice.
///
/// ```text
/// ψ_{n+1} = F⁻¹{ A P_n F{ t_n ψ_n } },   t_n = F⁻¹{ A F{ exp((i − μ) σ V_n) } },   P_n(k) = exp(−iπλΔz_n k² − 2πi Δz_n k·tan θ)
/// ```
///
/// V_n is the projected potential of slice n, Δz_n its thickness, σ the interaction parameter, λ the wavelength, μ the absorption, θ the
/// tilt of the beam, A the band limit. The last slice is followed by its propagator too: the exit wave is that in the plane at the end
/// of the last slice.
///
/// Waves of any kind may enter: plane waves ([`Multislice::plane_waves`]), probes ([`crate::optics::Probe`]), many at a time. For gradients see
/// [`crate::multislice::MultisliceFunction`], which runs the same code.
///
/// # Shapes
/// Waves `[waves, y, x]`, potentials `[slices, y, x]`.
///
/// # References
/// J. M. Cowley, A. F. Moodie, *Acta Cryst.* 10, 609 (1957); E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed.,
/// Springer (2020), equations 6.91 to 6.94; K. Ishizuka, *Acta Cryst.* A38, 773 (1982), for the tilt.
///
/// # Examples
/// ```
/// use exitwave::multislice::{Multislice, MultisliceParams};
/// use exitwave::optics::Grid;
/// use exitwave::specimen::{PotentialParams, PotentialPlan, crystals};
/// use exitwave::units::Length;
///
/// let sto = crystals::strontium_titanate().repeated([2, 2, 5])?;
/// let grid = Grid { dims: [64, 64], sampling: [Length::angstrom(2.0 * 3.905 / 64.0); 2] };
/// let potential = PotentialPlan::<f32>::new(&sto, &PotentialParams { grid, ..Default::default() })?.build()?;
/// let params = MultisliceParams { grid, thickness: potential.thickness.clone(), ..Default::default() };
/// let multislice = Multislice::new(&params)?;
/// let transmission = multislice.transmission(&potential)?;
/// let exit = multislice.exit_waves(&transmission, &multislice.plane_waves(1)?)?;
/// let mean = exit.as_slice().iter().map(|z| z.norm_sqr()).sum::<f32>() / 4096.0;
/// assert!(mean > 0.9 && mean <= 1.0);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Multislice<T: Real> {
    pub(crate) params: MultisliceParams,
    pub(crate) engine: Engine<T>,
    pub(crate) lambda: f64,
    pub(crate) sigma: f64,
    /// One a distinct thickness, and which of them a slice has.
    propagators: Vec<Propagator<T>>,
    which: Vec<usize>,
    one: Propagator<T>,
    /// Waves that all threads advance together, and that one thread takes by itself: none if they are too large.
    pub(crate) group: usize,
    pub(crate) own: usize,
}

impl<T: Real> Multislice<T> {
    /// Plans a specimen with slices of these thicknesses.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range, [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn new(params: &MultisliceParams) -> Result<Self, Error> {
        params.check()?;
        let lambda = checked_wavelength(params.energy, &params.constants)?;
        let sigma = params.constants.interaction_parameter(params.energy);
        let grid = params.grid;
        let pixels = checked_len(&[grid.dims[0], grid.dims[1]])?;
        params.limits.check((pixels as u64).saturating_mul(4 * size_of::<T>() as u64))?;
        let engine = Engine::new(&grid, params.band_limit.radius(&grid), |k| params.band_limit.pass(&grid, k))?;

        let mut distinct: Vec<f64> = Vec::new();
        let mut which = Vec::with_capacity(params.thickness.len());
        for t in params.thickness.iter().map(|t| t.to_angstrom()) {
            // Equal thicknesses differ by rounding where boundaries were subtracted.
            let found = distinct.iter().position(|d| (d - t).abs() <= 1e-12 * t.abs());
            which.push(found.unwrap_or_else(|| {
                distinct.push(t);
                distinct.len() - 1
            }));
        }
        let tilt = params.tilt.map(|t| t.to_rad().tan());
        let propagators = distinct.iter().map(|&dz| propagator(&engine, lambda, dz, tilt)).collect();
        let one = propagator(&engine, lambda, 0.0, [0.0; 2]);
        let wave = (engine.u1_len(1) + engine.u2_len(1)) * size_of::<Lane<T>>();
        let group = (GROUP_BYTES / wave).clamp(1, 16);
        let wave = engine.u1_len(1) * size_of::<Lane<T>>();
        let own = if wave > OWN_MOST { 0 } else { (OWN_BYTES / wave).clamp(1, 16) };
        Ok(Multislice { params: params.clone(), engine, lambda, sigma, propagators, which, one, group, own })
    }

    /// The pixels of waves and slices.
    pub fn grid(&self) -> &Grid {
        &self.params.grid
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.which.len()
    }

    /// The wavelength.
    pub fn wavelength(&self) -> Length {
        Length::angstrom(self.lambda)
    }

    /// The interaction parameter σ, rad/(V Å).
    pub fn interaction_parameter(&self) -> f64 {
        self.sigma
    }

    /// Waves that a scan works on together, all threads counted; a batch of more is cut into such groups.
    pub fn group(&self) -> usize {
        self.group.max(self.own * self.threads())
    }

    /// Bytes that a run needs beside its input and output: the transmissions of all slices, and the buffers of a group of waves.
    pub fn workspace_bytes(&self) -> u64 {
        let transmission = self.engine.real_len() * self.slices();
        ((transmission + self.scratch_lanes()) * size_of::<Lane<T>>()) as u64
    }

    /// Plane waves of amplitude 1 along the axis, `[waves, y, x]`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn plane_waves(&self, waves: usize) -> Result<Tensor<Complex<T>>, Error> {
        let [ny, nx] = self.params.grid.dims;
        let mut psi = try_zeroed(checked_len(&[waves, ny, nx])?)?;
        psi.fill(Complex::new(T::ONE, T::ZERO));
        Tensor::from_vec(&[waves, ny, nx], psi)
    }

    /// Buffers for the `_into` methods.
    ///
    /// # Errors
    /// [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn scratch(&self) -> Result<MultisliceScratch<T>, Error> {
        self.params.limits.check(self.workspace_bytes())?;
        Ok(MultisliceScratch { lanes: try_zeroed(self.scratch_lanes())? })
    }

    fn scratch_lanes(&self) -> usize {
        let e = &self.engine;
        let bands = e.u1_len(self.group) + e.u2_len(self.group) + self.works_len();
        // One more for the alignment.
        bands.max(self.owns_len(self.own.max(1))) + 1
    }

    /// Lanes of the transform buffers of all threads: two sets each.
    pub(crate) fn works_len(&self) -> usize {
        self.threads() * 2 * self.engine.work_len()
    }

    pub(crate) fn threads(&self) -> usize {
        self.params.par.count()
    }

    pub(crate) fn par(&self) -> &Par {
        &self.params.par
    }

    pub(crate) fn step(&self, n: usize) -> &Propagator<T> {
        &self.propagators[self.which[n]]
    }

    /// The band-limited transmission functions of a potential.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of slices or another grid, [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn transmission(&self, potential: &Potential<T>) -> Result<Transmission<T>, Error> {
        let [ny, nx] = self.params.grid.dims;
        let want = [self.slices(), ny, nx];
        if potential.values.dims() != want {
            return Err(Error::shape("Multislice::transmission", &want, potential.values.dims()));
        }
        let mut scratch = self.scratch()?;
        let lanes = try_zeroed(self.engine.real_len() * self.slices())?;
        let mut t = Transmission { lanes, slices: self.slices() };
        self.transmission_into(potential.values.as_slice(), &mut t, &mut scratch);
        Ok(t)
    }

    /// Computes the transmission functions of another potential into `t`.
    ///
    /// # Panics
    /// - if `v.len()` is not slices × pixels,
    /// - if `t` or `scratch` were made by another plan.
    pub fn transmission_into(&self, v: &[T], t: &mut Transmission<T>, scratch: &mut MultisliceScratch<T>) {
        check_len("Multislice::transmission_into", "v", self.slices() * self.params.grid.len(), v.len());
        self.transmit(v, &mut t.lanes, &mut scratch.lanes);
    }

    /// e = exp((i − μ)σV) in lanes, then its band limit.
    pub(crate) fn transmit(&self, v: &[T], t: &mut [Lane<T>], scratch: &mut [Lane<T>]) {
        // v is (slices, ny, nx), t is (slices, bands, 2, nx)
        let pixels = self.engine.ny * self.engine.nx;
        self.limit(t, scratch, |slice, band, _, b| self.exponential(&v[slice * pixels..][..pixels], band, b));
    }

    /// Sixteen rows of exp((i − μ)σV).
    pub(crate) fn exponential(&self, v: &[T], band: usize, b: &mut LaneBuffers<'_, T>) {
        let e = &self.engine;
        let (re, im) = (&mut b.re[..e.nx], &mut b.im[..e.nx]);
        let rows = LANES.min(e.ny - band * LANES);
        let v = &v[band * LANES * e.nx..][..rows * e.nx];
        for (c, order) in e.x_order().chunks(LANES).enumerate() {
            let (mut block, mut turned) = ([[T::ZERO; LANES]; LANES], [[T::ZERO; LANES]; LANES]);
            for (row, v) in block.iter_mut().zip(v.chunks(e.nx)) {
                row[..order.len()].copy_from_slice(&v[c * LANES..][..order.len()]);
            }
            transpose16(&block, &mut turned);
            for (&at, v) in order.iter().zip(turned) {
                re[at as usize] = v;
            }
        }
        let (sigma, mu) = (self.sigma, self.params.absorption);
        vectorized!({
            for (re, im) in re.iter_mut().zip(im.iter_mut()) {
                let v = *re;
                let (mut c, mut s) = (v, v);
                for l in 0..LANES {
                    (s[l], c[l]) = sin_cos::<T>(sigma * v[l].f64());
                }
                if mu != 0.0 {
                    for l in 0..LANES {
                        let a = T::of((-mu * sigma * v[l].f64()).exp());
                        (s[l], c[l]) = (a * s[l], a * c[l]);
                    }
                }
                (*re, *im) = (c, s);
            }
        });
        for i in rows..LANES {
            for x in 0..e.nx {
                (re[x][i], im[x][i]) = (T::ZERO, T::ZERO);
            }
        }
    }

    /// Band-limits fields in lanes, (fields, bands, 2, nx), in place: self-adjoint.
    pub(crate) fn filter(&self, t: &mut [Lane<T>], scratch: &mut [Lane<T>]) {
        let (e, chunk) = (&self.engine, 2 * self.engine.nx);
        self.limit(t, scratch, |_, band, t, b| e.load_lanes(&t[band * chunk..][..chunk], b));
    }

    /// Writes the band limit of fields to `t`; `rows(field, band, field as it is, buffers)` loads sixteen rows of one.
    fn limit(
        &self,
        t: &mut [Lane<T>],
        scratch: &mut [Lane<T>],
        rows: impl Fn(usize, usize, &[Lane<T>], &mut LaneBuffers<'_, T>) + Sync,
    ) {
        let e = &self.engine;
        let (field, chunk, scratch) = (e.real_len(), 2 * e.nx, aligned(scratch));
        if t.len() / field >= self.threads() {
            let mut owns = self.owns(scratch, 1);
            return self.par().chunks_with(t, field, &mut owns, |n, t, Own { u, works: [[b, _]] }| {
                for (band, u) in u.chunks_mut(e.u1_chunk(1)).enumerate() {
                    rows(n, band, t, b);
                    e.along_x(b, Direction::Forward);
                    e.keep(b, &self.one.px, Conjugate::No, u);
                }
                self.own_columns(&self.one, 1, u, b);
                for (u, t) in u.chunks(e.u1_chunk(1)).zip(t.chunks_mut(chunk)) {
                    e.gather_own_rows(u, b);
                    e.along_x(b, Direction::Inverse);
                    e.store_lanes(b, t);
                }
            });
        }
        for (g, fields) in t.chunks_mut(field * self.group).enumerate() {
            let waves = fields.len() / field;
            let [u1, u2, works] = self.split(scratch, waves);
            let mut works = self.works(works);
            self.par().chunks_with(u1, e.u1_chunk(waves), &mut works, |band, u1, [b, _]| {
                for (w, u1) in u1.chunks_mut(2 * e.kept).enumerate() {
                    rows(g * self.group + w, band, &fields[w * field..][..field], b);
                    e.along_x(b, Direction::Forward);
                    e.keep(b, &self.one.px, Conjugate::No, u1);
                }
            });
            self.columns(&self.one, Conjugate::No, waves, u1, u2, &mut works);
            self.par().chunks_with(fields, chunk, &mut works, |i, t, [b, _]| {
                e.gather_rows(u2, waves, i / e.bands, i % e.bands, b);
                e.along_x(b, Direction::Inverse);
                e.store_lanes(b, t);
            });
        }
    }

    /// u1, u2 and the transform buffers out of one piece of memory.
    pub(crate) fn split<'s>(&self, scratch: &'s mut [Lane<T>], waves: usize) -> [&'s mut [Lane<T>]; 3] {
        let e = &self.engine;
        let (u1, rest) = scratch.split_at_mut(e.u1_len(waves));
        let (u2, rest) = rest.split_at_mut(e.u2_len(waves));
        [u1, u2, &mut rest[..self.works_len()]]
    }

    /// Two sets of transform buffers a thread.
    pub(crate) fn works<'s>(&self, words: &'s mut [Lane<T>]) -> Vec<[LaneBuffers<'s, T>; 2]> {
        let e = &self.engine;
        let sets = words.chunks_exact_mut(2 * e.work_len()).take(self.threads());
        sets.map(|set| {
            let (a, b) = set.split_at_mut(e.work_len());
            [e.work(a), e.work(b)]
        })
        .collect()
    }

    /// u2 = F_y⁻¹ A P_y F_y u1.
    pub(crate) fn columns(
        &self,
        p: &Propagator<T>,
        conjugate: Conjugate,
        waves: usize,
        u1: &[Lane<T>],
        u2: &mut [Lane<T>],
        works: &mut [[LaneBuffers<'_, T>; 2]],
    ) {
        let e = &self.engine;
        self.par().chunks_with(u2, e.u2_chunk(waves), works, |c, u2, [b, _]| {
            for (w, u2) in u2.chunks_mut(2 * e.pitch()).enumerate() {
                let mut b = e.in_chunk(u2, b);
                e.gather_columns(u1, waves, w, c, &mut b);
                e.propagate(c, &p.py, conjugate, &mut b);
            }
        });
    }

    /// u1 = P_x F_x t ψ for waves (waves, ny, nx).
    pub(crate) fn enter(
        &self,
        t: &[Lane<T>],
        p: &Propagator<T>,
        psi: &[Complex<T>],
        u1: &mut [Lane<T>],
        works: &mut [[LaneBuffers<'_, T>; 2]],
    ) {
        let e = &self.engine;
        let pixels = e.ny * e.nx;
        let waves = psi.len() / pixels;
        self.par().chunks_with(u1, e.u1_chunk(waves), works, |band, u1, [b, _]| {
            for (psi, u1) in psi.chunks(pixels).zip(u1.chunks_mut(2 * e.kept)) {
                e.load_rows(psi, band, b);
                e.multiply(&t[band * 2 * e.nx..][..2 * e.nx], Conjugate::No, b);
                e.along_x(b, Direction::Forward);
                e.keep(b, &p.px, Conjugate::No, u1);
            }
        });
    }

    /// u1 = P_x F_x t F_x⁻¹ u2: from the end of one slice into the next.
    pub(crate) fn advance(
        &self,
        t: &[Lane<T>],
        p: &Propagator<T>,
        waves: usize,
        u2: &[Lane<T>],
        u1: &mut [Lane<T>],
        works: &mut [[LaneBuffers<'_, T>; 2]],
    ) {
        let e = &self.engine;
        self.par().chunks_with(u1, e.u1_chunk(waves), works, |band, u1, [b, _]| {
            for (w, u1) in u1.chunks_mut(2 * e.kept).enumerate() {
                e.gather_rows(u2, waves, w, band, b);
                e.transmit(&t[band * 2 * e.nx..][..2 * e.nx], Conjugate::No, b);
                e.keep(b, &p.px, Conjugate::No, u1);
            }
        });
    }

    /// ψ = F_x⁻¹ u2, as rows.
    pub(crate) fn leave(&self, u2: &[Lane<T>], psi: &mut [Complex<T>], works: &mut [[LaneBuffers<'_, T>; 2]]) {
        let e = &self.engine;
        let pixels = e.ny * e.nx;
        let waves = psi.len() / pixels;
        // One wave is shared out by bands, several by waves.
        let chunk = if waves == 1 { LANES * e.nx } else { pixels };
        self.par().chunks_with(psi, chunk, works, |i, psi, [b, _]| {
            for (j, rows) in psi.chunks_mut(LANES * e.nx).enumerate() {
                let (w, band) = if waves == 1 { (0, i) } else { (i, j) };
                e.gather_rows(u2, waves, w, band, b);
                e.along_x(b, Direction::Inverse);
                e.store_rows(b, rows);
            }
        });
    }

    /// The waves behind the specimen.
    ///
    /// # Errors
    /// [`Error::Shape`] for waves that are not `[waves, y, x]` or a transmission of another plan, [`Error::OverBudget`],
    /// [`Error::OutOfMemory`].
    pub fn exit_waves(&self, t: &Transmission<T>, psi: &Tensor<Complex<T>>) -> Result<Tensor<Complex<T>>, Error> {
        self.check_waves(t, psi)?;
        let mut exit = try_zeroed(psi.len())?;
        self.exit_waves_into(t, psi.as_slice(), &mut exit, &mut self.scratch()?);
        Tensor::from_vec(psi.dims(), exit)
    }

    fn check_waves(&self, t: &Transmission<T>, psi: &Tensor<Complex<T>>) -> Result<(), Error> {
        let [ny, nx] = self.params.grid.dims;
        let waves = psi.dims().first().copied().unwrap_or(0);
        if *psi.dims() != [waves, ny, nx] || t.lanes.len() != self.engine.real_len() * self.slices() {
            return Err(Error::shape("Multislice::exit_waves", &[waves, ny, nx], psi.dims()));
        }
        Ok(())
    }

    /// The waves behind the first n slices, for every n of `after`, in increasing order.
    ///
    /// # Errors
    /// As [`Multislice::exit_waves`]; [`Error::Param`] for numbers of slices that do not increase, or are 0 or more than there are.
    pub fn thickness_series(
        &self,
        t: &Transmission<T>,
        psi: &Tensor<Complex<T>>,
        after: &[usize],
    ) -> Result<Vec<Tensor<Complex<T>>>, Error> {
        self.check_waves(t, psi)?;
        if after.windows(2).any(|w| w[1] <= w[0]) || after.first() == Some(&0) || after.last() > Some(&self.slices()) {
            return Err(Error::param("after", format!("{after:?}"), "increasing numbers of slices, from 1 to all"));
        }
        let mut out = Vec::with_capacity(after.len());
        for _ in after {
            out.push(Tensor::from_vec(psi.dims(), try_zeroed(psi.len())?)?);
        }
        let mut scratch = self.scratch()?;
        let group = self.group * self.params.grid.len();
        for (g, psi) in psi.as_slice().chunks(group).enumerate() {
            let mut write = |n: usize, u2: &[Lane<T>], works: &mut [[LaneBuffers<'_, T>; 2]]| {
                if let Ok(i) = after.binary_search(&n) {
                    self.leave(u2, &mut out[i].as_mut_slice()[g * group..][..psi.len()], works);
                }
            };
            let waves = psi.len() / self.params.grid.len();
            let [u1, u2, works] = self.split(aligned(&mut scratch.lanes), waves);
            let mut works = self.works(works);
            self.by_bands(t, psi, u1, u2, &mut works, &mut write);
            self.columns(self.step(self.slices() - 1), Conjugate::No, waves, u1, u2, &mut works);
            write(self.slices(), u2, &mut works);
        }
        Ok(out)
    }

    /// Writes the exit waves of `psi` into `exit`, without allocating.
    ///
    /// # Panics
    /// - if `psi.len()` is not a number of waves × pixels, or `exit.len() != psi.len()`,
    /// - if `t` or `scratch` were made by another plan.
    pub fn exit_waves_into(
        &self,
        t: &Transmission<T>,
        psi: &[Complex<T>],
        exit: &mut [Complex<T>],
        scratch: &mut MultisliceScratch<T>,
    ) {
        let pixels = self.params.grid.len();
        check_len("Multislice::exit_waves_into", "psi", psi.len().next_multiple_of(pixels), psi.len());
        check_len("Multislice::exit_waves_into", "exit", psi.len(), exit.len());
        check_len("Multislice::exit_waves_into", "t", self.engine.real_len() * self.slices(), t.lanes.len());
        let (scratch, last) = (aligned(&mut scratch.lanes), self.step(self.slices() - 1));
        let share = self.share(psi.len() / pixels);
        if share > 0 {
            let mut owns = self.owns(scratch, share);
            return self.par().chunks_with(exit, share * pixels, &mut owns, |i, exit, own| {
                self.by_waves(t, &psi[i * share * pixels..][..exit.len()], own);
                self.own_columns(last, exit.len() / pixels, own.u, &mut own.works[0][0]);
                self.own_leave(own, exit);
            });
        }
        for (psi, exit) in psi.chunks(self.group * pixels).zip(exit.chunks_mut(self.group * pixels)) {
            let waves = psi.len() / pixels;
            let [u1, u2, works] = self.split(scratch, waves);
            let mut works = self.works(works);
            self.by_bands(t, psi, u1, u2, &mut works, |_, _, _| {});
            self.columns(last, Conjugate::No, waves, u1, u2, &mut works);
            self.leave(u2, exit, &mut works);
        }
    }

    /// |A F ψ|² behind the last slice: the exit wave is never transformed back.
    pub(crate) fn patterns_into(
        &self,
        t: &Transmission<T>,
        psi: &[Complex<T>],
        patterns: &mut [T],
        scratch: &mut MultisliceScratch<T>,
    ) {
        let (e, pixels) = (&self.engine, self.params.grid.len());
        check_len("Multislice::scan", "t", e.real_len() * self.slices(), t.lanes.len());
        let scratch = aligned(&mut scratch.lanes);
        let share = self.share(psi.len() / pixels);
        if share > 0 {
            let mut owns = self.owns(scratch, share);
            return self.par().chunks_with(patterns, share * pixels, &mut owns, |i, patterns, own| {
                self.by_waves(t, &psi[i * share * pixels..][..patterns.len()], own);
                let (waves, Own { u, works: [[b, _]] }) = (patterns.len() / pixels, own);
                for (w, pattern) in patterns.chunks_mut(pixels).enumerate() {
                    e.intensities(u, waves, w, pattern, b);
                }
            });
        }
        for (psi, patterns) in psi.chunks(self.group * pixels).zip(patterns.chunks_mut(self.group * pixels)) {
            let waves = psi.len() / pixels;
            let [u1, u2, works] = self.split(scratch, waves);
            let mut works = self.works(works);
            self.by_bands(t, psi, u1, u2, &mut works, |_, _, _| {});
            self.par().chunks_with(patterns, pixels, &mut works, |w, pattern, [b, _]| {
                e.intensities(u1, waves, w, pattern, b);
            });
        }
    }

    /// One group of waves through all slices but the last column pass, all threads on each pass; behind n slices, but
    /// not the last, `after(n, u2, …)` is called.
    fn by_bands(
        &self,
        t: &Transmission<T>,
        psi: &[Complex<T>],
        u1: &mut [Lane<T>],
        u2: &mut [Lane<T>],
        works: &mut [[LaneBuffers<'_, T>; 2]],
        mut after: impl FnMut(usize, &[Lane<T>], &mut [[LaneBuffers<'_, T>; 2]]),
    ) {
        let e = &self.engine;
        let waves = psi.len() / (e.ny * e.nx);
        for (n, t) in t.lanes.chunks(e.real_len()).enumerate() {
            if n == 0 {
                self.enter(t, self.step(n), psi, u1, works);
            } else {
                self.columns(self.step(n - 1), Conjugate::No, waves, u1, u2, works);
                after(n, u2, works);
                self.advance(t, self.step(n), waves, u2, u1, works);
            }
        }
    }
}

/// Both factors of a propagator.
pub(crate) fn propagator<T: Real>(e: &Engine<T>, lambda: f64, dz: f64, tilt: [f64; 2]) -> Propagator<T> {
    let factor = |k: f64, tilt: f64| {
        let (sin, cos) = (-PI * lambda * dz * k * k - TAU * dz * k * tilt).sin_cos();
        [T::of(cos), T::of(sin)]
    };
    let px = e.kx.iter().map(|&k| factor(k, tilt[1])).collect();
    let py = e.ky.iter().map(|&k| factor(k, tilt[0])).collect();
    Propagator { px, py }
}
