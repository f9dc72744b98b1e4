//! Diffraction patterns of a scan, a group of probes at a time.

use num_complex::Complex;

use crate::error::Error;
use crate::multislice::{Multislice, Transmission};
use crate::observe::{Observer, Step, Stop};
use crate::optics::Probe;
use crate::real::Real;
use crate::shape::{checked_len, try_zeroed};
use crate::tensor::Tensor;
use crate::units::Length;

/// What [`Multislice::scan`] hands its patterns to: the index of the first position, and the patterns.
pub type Sink<'a, T> = &'a mut dyn FnMut(usize, &[T]) -> Result<(), Error>;

impl<T: Real> Multislice<T> {
    /// Intensities |Fψ|² behind the specimen for probes at `positions`, handed to `sink(first position, patterns)` in order, a group at a time: a
    /// data set that does not fit into memory goes to disk from there.
    ///
    /// Patterns have the zero frequency at index 0 and sum to the probe's intensity in reciprocal space, 1 for the default probe, less what the band
    /// limit removed. `observe` is called after each group; cancelling returns [`Stop::Cancelled`].
    ///
    /// # Shapes
    /// `patterns` is (n, ny, nx), n at most [`Multislice::group`].
    ///
    /// # Errors
    /// [`Error::Shape`] for a probe of another grid, [`Error::Param`] for a position that is not finite, [`Error::OverBudget`], [`Error::OutOfMemory`],
    /// and what `sink` returns.
    pub fn scan(
        &self,
        t: &Transmission<T>,
        probe: &Probe<T>,
        positions: &[[Length; 2]],
        sink: Sink<'_, T>,
        observe: Observer<'_>,
    ) -> Result<Stop, Error> {
        let [ny, nx] = self.grid().dims;
        if probe.grid() != self.grid() {
            return Err(Error::shape("Multislice::scan", &self.grid().dims, &probe.grid().dims));
        }
        if let Some(r) = positions.iter().flatten().find(|r| !r.is_finite()) {
            return Err(Error::param("position", r, "a finite position"));
        }
        let (n, group) = (ny * nx, self.group().min(positions.len().max(1)));
        let mut scratch = self.scratch()?;
        let mut psi: Vec<Complex<T>> = try_zeroed(checked_len(&[group, n])?)?;
        let mut patterns: Vec<T> = try_zeroed(psi.len())?;
        let mut works = Vec::with_capacity(self.threads());
        for _ in 0..self.threads() {
            works.push(try_zeroed::<Complex<T>>(probe.scratch_len())?);
        }
        let total = positions.len().div_ceil(group);
        for (g, some) in positions.chunks(group).enumerate() {
            let len = some.len() * n;
            self.par().chunks_with(&mut psi[..len], n, &mut works, |i, psi, work| probe.fill_real(some[i], psi, work));
            self.patterns_into(t, &psi[..len], &mut patterns[..len], &mut scratch);
            sink(g * group, &patterns[..len])?;
            if observe(&Step::new(g + 1, total, f64::NAN)).is_break() {
                return Ok(Stop::Cancelled);
            }
        }
        Ok(Stop::Iterations)
    }

    /// The patterns of [`Multislice::scan`] in memory, `[positions, y, x]`.
    ///
    /// # Errors
    /// As [`Multislice::scan`].
    pub fn patterns(
        &self,
        t: &Transmission<T>,
        probe: &Probe<T>,
        positions: &[[Length; 2]],
    ) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.grid().dims;
        let mut all = try_zeroed(checked_len(&[positions.len(), ny, nx])?)?;
        let mut sink = |first: usize, some: &[T]| {
            all[first * ny * nx..][..some.len()].copy_from_slice(some);
            Ok(())
        };
        self.scan(t, probe, positions, &mut sink, &mut crate::observe::silent)?;
        Tensor::from_vec(&[positions.len(), ny, nx], all)
    }
}
