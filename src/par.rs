//! Threads: every parallel loop of the crate, with results that do not depend on the number of threads.
//!
//! Three rules give the same bits for 1 and for 64 threads. Work is cut into chunks whose size never depends on the
//! number of threads; every chunk writes to its own part of the output; and partial results are added in the order of
//! their index. A scatter (many contributions to one output) is turned round: the output is partitioned, and each part
//! visits its contributions in order.

use std::sync::Arc;

use crate::error::Error;

/// On how many threads a plan runs. Part of the parameters of every plan that can use more than one.
///
/// The default is all cores. rayon's global pool is never used: a library must not decide about a program's threads.
#[derive(Clone, Debug)]
pub struct Par(Option<Arc<rayon::ThreadPool>>);

impl Par {
    /// The calling thread only.
    pub fn seq() -> Self {
        Par(None)
    }

    /// A new pool of `n` threads.
    ///
    /// # Errors
    /// [`Error::Param`] for `n` = 0, or when the system refuses to start the threads.
    pub fn threads(n: usize) -> Result<Self, Error> {
        match n {
            0 => Err(Error::param("threads", n, "at least 1")),
            1 => Ok(Par::seq()),
            _ => rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .thread_name(|i| format!("exitwave-{i}"))
                .build()
                .map(|pool| Par(Some(Arc::new(pool))))
                .map_err(|e| Error::param("threads", format!("{n} ({e})"), "a number of threads the system can start")),
        }
    }

    /// A pool that the caller already has.
    pub fn pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Par(Some(pool))
    }

    /// How many threads run at the same time.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |p| p.current_num_threads())
    }

    /// Calls `f(i, state)` for i in `0..n`, each index once, in any order, `state` being one of `states`.
    ///
    /// `states` are the scratch buffers of the tasks: at most `states.len()` tasks run at a time, and what a task
    /// leaves in its state must not influence the result of another. A panic in `f` reaches the caller when the other
    /// tasks have ended, and the pool stays usable; `f` may itself run loops on the same `Par`.
    ///
    /// # Panics
    /// If `states` is empty and `n` is not 0.
    pub fn for_each_with<S: Send>(&self, n: usize, states: &mut [S], f: impl Fn(usize, &mut S) + Sync) {
        assert!(n == 0 || !states.is_empty(), "Par::for_each_with: no state to work with");
        match &self.0 {
            Some(pool) if n > 1 && states.len() > 1 => {
                let next = std::sync::atomic::AtomicUsize::new(0);
                let work = |state: &mut S| loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i >= n {
                        break;
                    }
                    f(i, state);
                };
                pool.scope(|scope| {
                    for state in states.iter_mut() {
                        scope.spawn(|_| work(state));
                    }
                });
            }
            _ => (0..n).for_each(|i| f(i, &mut states[0])),
        }
    }

    /// Calls `f(i, chunk, state)` for the consecutive chunks of `out`, `chunk` elements each (the last may be shorter).
    ///
    /// # Panics
    /// If `chunk` is 0, or `states` is empty while `out` is not.
    pub fn chunks_with<E: Send, S: Send>(
        &self,
        out: &mut [E],
        chunk: usize,
        states: &mut [S],
        f: impl Fn(usize, &mut [E], &mut S) + Sync,
    ) {
        // Each task takes the next chunk from one iterator; the lock is held for the hand-over only.
        let chunks = out.chunks_mut(chunk);
        let n = chunks.len();
        let chunks = std::sync::Mutex::new(chunks.enumerate());
        self.for_each_with(n, states, |_, state| {
            let next = chunks.lock().unwrap_or_else(|e| e.into_inner()).next();
            if let Some((i, part)) = next {
                f(i, part, state);
            }
        });
    }

    /// Calls `f(i, chunk)` for the consecutive chunks of `out`.
    ///
    /// # Panics
    /// If `chunk` is 0.
    pub fn chunks<E: Send>(&self, out: &mut [E], chunk: usize, f: impl Fn(usize, &mut [E]) + Sync) {
        let mut none = vec![(); self.count()];
        self.chunks_with(out, chunk, &mut none, |i, part, ()| f(i, part));
    }

    /// Collects `f(i)` for i in `0..n`, in order of `i`.
    pub fn map<R: Send + Default>(&self, n: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let mut out = Vec::new();
        out.resize_with(n, R::default);
        self.chunks(&mut out, 1, |i, part| part[0] = f(i));
        out
    }

    /// Adds `f(range)` over fixed chunks of `0..n`, in order of the chunks: the same bits for any number of threads.
    ///
    /// ```
    /// use exitwave::par::Par;
    /// let x: Vec<f32> = (0..100_000).map(|i| (i as f32).sin()).collect();
    /// let sum = |p: &Par| p.sum(x.len(), 4096, |r| x[r].iter().map(|&v| v as f64).sum());
    /// assert_eq!(sum(&Par::seq()).to_bits(), sum(&Par::threads(4).unwrap()).to_bits());
    /// ```
    ///
    /// # Panics
    /// If `chunk` is 0.
    pub fn sum(&self, n: usize, chunk: usize, f: impl Fn(std::ops::Range<usize>) -> f64 + Sync) -> f64 {
        self.map(n.div_ceil(chunk), |i| f(i * chunk..((i + 1) * chunk).min(n))).iter().sum()
    }

    /// Runs two closures, at the same time where there is a second thread.
    pub fn join<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        match &self.0 {
            Some(pool) => pool.join(a, b),
            None => (a(), b()),
        }
    }
}

/// All cores; one thread where the system cannot start more.
impl Default for Par {
    fn default() -> Self {
        let n = std::thread::available_parallelism().map_or(1, |n| n.get());
        Par::threads(n).unwrap_or_else(|_| Par::seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_visited_once_with_its_own_index() {
        for par in [Par::seq(), Par::threads(2).unwrap(), Par::threads(5).unwrap()] {
            let mut out = vec![0usize; 1003];
            par.chunks(&mut out, 10, |i, part| part.iter_mut().for_each(|x| *x += i + 1));
            for (j, &x) in out.iter().enumerate() {
                assert_eq!(x, j / 10 + 1);
            }
            assert_eq!(par.map(17, |i| i * i)[16], 256);
        }
    }

    #[test]
    fn zero_threads_are_an_error() {
        assert!(matches!(Par::threads(0), Err(Error::Param { name: "threads", .. })));
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_goes_on() {
        for par in [Par::seq(), Par::threads(3).unwrap()] {
            let failing = std::panic::AssertUnwindSafe(|| {
                par.chunks(&mut [0u8; 100], 1, |i, _| assert!(i != 42, "as planned"));
            });
            assert!(std::panic::catch_unwind(failing).is_err());
            assert_eq!(par.map(50, |i| i).iter().sum::<usize>(), 1225);
        }
    }

    #[test]
    fn loops_within_loops_and_on_other_pools_end() {
        let (outer, other) = (Par::threads(2).unwrap(), Par::threads(2).unwrap());
        let inner = |par: &Par| par.sum(100, 7, |r| r.map(|i| i as f64).sum());
        let sums = outer.map(20, |i| inner(if i % 2 == 0 { &outer } else { &other }));
        assert!(sums.iter().all(|&s| s == 4950.0));
        let (a, b) = outer.join(|| inner(&outer), || inner(&other));
        assert_eq!((a, b), (4950.0, 4950.0));
    }

    #[test]
    fn nothing_to_do_is_fine() {
        Par::default().chunks::<u8>(&mut [], 4, |_, _| unreachable!());
        assert_eq!(Par::default().sum(0, 8, |_| 1.0), 0.0);
    }
}
