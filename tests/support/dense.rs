//! A dense matrix as an operator, for the tests of operators and solvers.

use exitwave::op::{LinearOp, Write, write};
use exitwave::rng;
use exitwave::shape::Space;

/// `y = A x` on words, with a matrix (words of the range, words of the domain). On complex spaces it is only
/// real-linear, the most general operator there is.
#[derive(Debug)]
pub struct Dense {
    pub a: Vec<f64>,
    domain: Space,
    range: Space,
}

#[allow(dead_code)]
impl Dense {
    pub fn new(domain: &Space, range: &Space, a: Vec<f64>) -> Self {
        assert_eq!(a.len(), domain.words() * range.words());
        Dense { a, domain: domain.clone(), range: range.clone() }
    }

    pub fn matrix(m: usize, n: usize, a: Vec<f64>) -> Self {
        Dense::new(&Space::real(&[n]), &Space::real(&[m]), a)
    }

    pub fn random(domain: &Space, range: &Space, seed: u64) -> Self {
        Dense::new(domain, range, normals(domain.words() * range.words(), seed))
    }
}

impl LinearOp<f64> for Dense {
    fn domain(&self) -> &Space {
        &self.domain
    }

    fn range(&self) -> &Space {
        &self.range
    }

    fn scratch_len(&self) -> usize {
        2
    }

    fn apply(&self, x: &[f64], y: &mut [f64], w: Write, scratch: &mut [f64]) {
        assert_eq!((x.len(), y.len()), (self.domain.words(), self.range.words()));
        // Dirties its scratch, so that an operator which relies on what it left there is found.
        scratch[..2].fill(f64::NAN);
        for (i, y) in y.iter_mut().enumerate() {
            write(y, (0..x.len()).map(|j| self.a[i * x.len() + j] * x[j]).sum(), w);
        }
    }

    fn apply_adjoint(&self, y: &[f64], x: &mut [f64], w: Write, scratch: &mut [f64]) {
        assert_eq!((x.len(), y.len()), (self.domain.words(), self.range.words()));
        scratch[..2].fill(f64::NAN);
        let n = x.len();
        for (j, x) in x.iter_mut().enumerate() {
            write(x, (0..y.len()).map(|i| self.a[i * n + j] * y[i]).sum(), w);
        }
    }
}

/// Standard normal numbers.
pub fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut r = rng::stream(seed, 0);
    (0..n).map(|_| rng::normal(&mut r)).collect()
}
