//! Waves that one thread takes through all slices by itself.
//!
//! Where there are as many waves as threads, none of them waits for another, and no wave moves from one core's cache to
//! the next: a column pass reads what other cores would have written. The passes are those of the engine, in place, to
//! the same bits.

use num_complex::Complex;

use crate::fft::{Direction, LANES, Lane, LaneBuffers};
use crate::multislice::engine::Conjugate;
use crate::multislice::plan::Propagator;
use crate::multislice::{Multislice, Transmission};
use crate::real::Real;

/// A thread's waves and buffers.
#[derive(Debug)]
pub(crate) struct Own<'s, T> {
    /// As u1, which the column passes leave with the columns of each block in its lanes.
    pub u: &'s mut [Lane<T>],
    pub works: [[LaneBuffers<'s, T>; 2]; 1],
}

impl<T: Real> Multislice<T> {
    /// How many of so many waves a thread takes at a time; 0 where some threads would have none.
    pub(crate) fn share(&self, waves: usize) -> usize {
        if waves < self.threads() { 0 } else { self.own.min(waves.div_ceil(self.threads())) }
    }

    /// Lanes of all threads' buffers for so many waves each.
    pub(crate) fn owns_len(&self, waves: usize) -> usize {
        self.threads() * (self.engine.u1_len(waves) + 2 * self.engine.work_len())
    }

    /// Buffers of all threads for so many waves each.
    pub(crate) fn owns<'s>(&self, scratch: &'s mut [Lane<T>], waves: usize) -> Vec<Own<'s, T>> {
        let e = &self.engine;
        let len = self.owns_len(waves);
        let parts = scratch[..len].chunks_exact_mut(len / self.threads());
        parts
            .map(|part| {
                let (u, works) = part.split_at_mut(e.u1_len(waves));
                let (a, b) = works.split_at_mut(e.work_len());
                Own { u, works: [[e.work(a), e.work(b)]] }
            })
            .collect()
    }

    /// Waves through all slices, up to the last column pass.
    pub(crate) fn by_waves(&self, t: &Transmission<T>, psi: &[Complex<T>], own: &mut Own<'_, T>) {
        let e = &self.engine;
        let waves = psi.len() / (e.ny * e.nx);
        let u = &mut own.u[..e.u1_len(waves)];
        for (n, t) in t.lanes.chunks(e.real_len()).enumerate() {
            let p = self.step(n);
            if n == 0 {
                self.enter(t, p, psi, u, &mut own.works);
                continue;
            }
            let b = &mut own.works[0][0];
            self.own_columns(self.step(n - 1), waves, u, b);
            for (u, t) in u.chunks_mut(e.u1_chunk(waves)).zip(t.chunks(2 * e.nx)) {
                for u in u.chunks_mut(2 * e.kept) {
                    e.gather_own_rows(u, b);
                    e.transmit(t, Conjugate::No, b);
                    e.keep(b, &p.px, Conjugate::No, u);
                }
            }
        }
    }

    /// u ← F_y⁻¹ A P_y F_y u.
    pub(crate) fn own_columns(&self, p: &Propagator<T>, waves: usize, u: &mut [Lane<T>], b: &mut LaneBuffers<'_, T>) {
        let e = &self.engine;
        for (c, w) in (0..e.columns).flat_map(|c| (0..waves).map(move |w| (c, w))) {
            e.gather_columns(u, waves, w, c, b);
            e.propagate(c, &p.py, Conjugate::No, b);
            e.put_columns(b, waves, w, c, u);
        }
    }

    /// ψ = F_x⁻¹ u, as rows.
    pub(crate) fn own_leave(&self, own: &mut Own<'_, T>, psi: &mut [Complex<T>]) {
        let e = &self.engine;
        let (waves, Own { u, works: [[b, _]] }) = (psi.len() / (e.ny * e.nx), own);
        for (w, psi) in psi.chunks_mut(e.ny * e.nx).enumerate() {
            for (band, rows) in psi.chunks_mut(LANES * e.nx).enumerate() {
                e.gather_own_rows(&u[(band * waves + w) * 2 * e.kept..][..2 * e.kept], b);
                e.along_x(b, Direction::Inverse);
                e.store_rows(b, rows);
            }
        }
    }
}
