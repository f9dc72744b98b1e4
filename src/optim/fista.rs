//! Accelerated proximal gradients.

use crate::error::Error;
use crate::observe::Observer;
use crate::op::{LinearOp, Write};
use crate::optim::proximal::{Progress, ProximalParams, ProximalResult, check_data, start};
use crate::optim::{Prox, dot};
use crate::real::Real;
use crate::shape::try_zeroed;

/// Minimises `½‖A x − b‖² + g(x)`:
///
/// ```text
/// x_{k+1} = prox_{g/L}( y_k − Aᴴ(A y_k − b)/L ),   L = ‖A‖²
/// t_{k+1} = (1 + √(1 + 4t_k²))/2,   y_{k+1} = x_{k+1} + (t_k − 1)/t_{k+1} (x_{k+1} − x_k)
/// ```
///
/// A step along which the loss rises is taken back, and the momentum is forgotten.
///
/// # Errors
/// [`Error::Shape`], [`Error::Param`] or [`Error::Data`] for what does not fit; [`Error::NotFinite`].
///
/// # References
/// A. Beck, M. Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), eq. (4.1)–(4.3); B. O'Donoghue, E. Candès, Found. Comput.
/// Math. 15, 715 (2015), section 3.2: the restart.
pub fn fista<T: Real>(
    op: &dyn LinearOp<T>,
    b: &[T],
    g: &Prox<T>,
    x0: Option<&[T]>,
    params: &ProximalParams,
    mut observe: Observer<'_>,
) -> Result<ProximalResult<T>, Error> {
    let (n, m) = (op.domain().words(), op.range().words());
    let lipschitz = check_data(op, b)?;
    g.check(n)?;
    let mut progress = Progress::new(*params)?;
    let mut x = start(x0, n)?;
    let (mut before, mut y) = (x.clone(), x.clone());
    // A x and A x of the step before; A y is their combination.
    let (mut ax, mut ax_before, mut residual): (Vec<T>, Vec<T>, Vec<T>) =
        (try_zeroed(m)?, try_zeroed(m)?, try_zeroed(m)?);
    let (mut gradient, mut scratch): (Vec<T>, Vec<T>) = (try_zeroed(n)?, try_zeroed(op.scratch_len())?);
    let step = if lipschitz > 0.0 { 1.0 / lipschitz } else { 1.0 };
    op.apply(&x, &mut ax, Write::Set, &mut scratch);
    let (mut t, mut momentum) = (1.0f64, 0.0f64);
    let mut last = f64::INFINITY;
    loop {
        // The gradient at y = x + momentum (x − before).
        let c = T::of(momentum);
        for i in 0..n {
            y[i] = x[i] + c * (x[i] - before[i]);
        }
        for i in 0..m {
            residual[i] = ax[i] + c * (ax[i] - ax_before[i]) - b[i];
        }
        op.apply_adjoint(&residual, &mut gradient, Write::Set, &mut scratch);
        before.copy_from_slice(&x);
        ax_before.copy_from_slice(&ax);
        x.iter_mut().zip(&y).zip(&gradient).for_each(|((x, &y), &g)| *x = y - T::of(step) * g);
        g.apply(&mut x, step);
        op.apply(&x, &mut ax, Write::Set, &mut scratch);

        residual.iter_mut().zip(&ax).zip(b).for_each(|((r, &a), &b)| *r = a - b);
        let loss = 0.5 * dot(&residual, &residual) + g.value(&x);
        if loss > last && momentum > 0.0 {
            x.copy_from_slice(&before);
            ax.copy_from_slice(&ax_before);
            (t, momentum) = (1.0, 0.0);
            continue;
        }
        last = loss;
        let next = 0.5 * (1.0 + (1.0 + 4.0 * t * t).sqrt());
        (t, momentum) = (next, (t - 1.0) / next);
        if let Some(stop) = progress.step(loss, &before, &x, &mut observe)? {
            return Ok(progress.result(x, stop));
        }
    }
}
