//! Finite differences against a hand-written gradient.

use crate::autodiff::{Function, Mode};
use crate::error::Error;
use crate::op::Write;
use crate::rng;
use crate::shape::Space;

/// Components of each input's gradient that are compared one by one.
const COMPONENTS: usize = 48;
/// Half-width of the difference's stencil, for inputs of order one.
const H: f64 = 1e-3;

/// The largest error of a function's gradient against finite differences, at normal random inputs drawn from `seed`.
///
/// See [`check_function_at`], which takes the point.
///
/// # Errors
/// Those of [`Function::infer`].
pub fn check_function(f: &dyn Function<f64>, inputs: &[Space], seed: u64) -> Result<f64, Error> {
    let point: Vec<Vec<f64>> = (0..inputs.len())
        .map(|i| {
            let mut r = rng::stream(seed, 100 + i as u64);
            (0..inputs[i].words()).map(|_| rng::normal(&mut r)).collect()
        })
        .collect();
    check_function_at(f, inputs, &point, seed)
}

/// The largest error of a function's gradient against finite differences, at a given point.
///
/// With random weights c and the loss `L = Σ c y`, up to 48 components of each input's gradient, and its product with a
/// random direction, are compared with the central difference of fourth order
/// `L′ ≈ (8 (L(h) − L(−h)) − (L(2h) − L(−2h))) / 12h`, h = 10⁻³. Errors are relative to the largest component compared
/// (the direction's: to ‖g‖ ‖d‖). Then the gradient is taken once more with `Write::Add` onto random numbers, and once
/// with each input alone wanted: the answers must be the same. Outputs, tape and scratch are poisoned with NaN; an input
/// that [`Function::needs`] does not name is withheld from `backward`. Compare the result with 1e-6; it is NaN where a
/// word was not written.
///
/// # Errors
/// Those of [`Function::infer`].
///
/// # Panics
/// If the point does not have the words of the spaces.
pub fn check_function_at(f: &dyn Function<f64>, inputs: &[Space], point: &[Vec<f64>], seed: u64) -> Result<f64, Error> {
    let spaces: Vec<&Space> = inputs.iter().collect();
    let range = f.infer(&spaces)?;
    let (needs, scratch_len) = (f.needs(&spaces), f.scratch_len(&spaces));
    assert!(point.iter().zip(inputs).all(|(p, s)| p.len() == s.words()), "the point does not fit the spaces");
    let mode = Mode::Train { step: seed };
    let random = |n: usize, index: u64| -> Vec<f64> {
        let mut r = rng::stream(seed, index);
        (0..n).map(|_| rng::normal(&mut r)).collect()
    };
    let c = random(range.words(), 0);
    let run = |x: &[Vec<f64>]| {
        let (mut y, mut tape) = (vec![f64::NAN; range.words()], vec![f64::NAN; needs.tape_len]);
        let x: Vec<&[f64]> = x.iter().map(Vec::as_slice).collect();
        f.forward(&x, &mut y, &mut tape, &mut vec![f64::NAN; scratch_len], mode);
        (y, tape)
    };
    let loss = |x: &[Vec<f64>]| run(x).0.iter().zip(&c).map(|(y, c)| y * c).sum::<f64>();

    // The gradient, with what backward did not ask for withheld.
    let (y, tape) = run(point);
    let kept: Vec<&[f64]> =
        (0..point.len()).map(|i| if needs.inputs.contains(&i) { point[i].as_slice() } else { &[] }).collect();
    let backward = |dx: &mut [Option<(&mut [f64], Write)>]| {
        f.backward(&kept, if needs.output { &y } else { &[] }, &tape, &c, dx, &mut vec![f64::NAN; scratch_len])
    };
    let mut gradient: Vec<Vec<f64>> = point.iter().map(|p| vec![f64::NAN; p.len()]).collect();
    backward(&mut gradient.iter_mut().map(|g| Some((g.as_mut_slice(), Write::Set))).collect::<Vec<_>>());

    // Sums keep a NaN; `max` would lose it.
    let mut error = 0.0f64;
    let mut worse = |e: f64| error = if e.is_nan() || error.is_nan() { f64::NAN } else { error.max(e) };
    let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    for i in 0..point.len() {
        let g = &gradient[i];
        worse(g.iter().sum::<f64>() * 0.0);

        // Added, and alone.
        let before = random(g.len(), 10 + i as u64);
        let mut added = before.clone();
        let mut wanted: Vec<Option<(&mut [f64], Write)>> = point.iter().map(|_| None).collect();
        wanted[i] = Some((&mut added, Write::Add));
        backward(&mut wanted);
        let difference: Vec<f64> = (0..g.len()).map(|j| before[j] + g[j] - added[j]).collect();
        worse(norm(&difference) / (norm(&before) + norm(g)).max(f64::MIN_POSITIVE));

        let slope = |direction: &dyn Fn(usize) -> f64| {
            let at = |h: f64| {
                let mut x = point.to_vec();
                x[i].iter_mut().enumerate().for_each(|(j, x)| *x += h * direction(j));
                loss(&x)
            };
            (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H)
        };
        let d = random(g.len(), 20 + i as u64);
        let product: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
        // Directions are kept short: every word moves.
        let short = 1.0 / (g.len() as f64).sqrt().max(1.0);
        let found = slope(&|j| d[j] * short) / short;
        worse((found - product).abs() / (norm(g) * norm(&d)).max(1e-12));

        let chosen: Vec<usize> =
            rng::permutation(&mut rng::stream(seed, 30 + i as u64), g.len()).into_iter().take(COMPONENTS).collect();
        let largest = chosen.iter().fold(1e-6f64, |m, &j| m.max(g[j].abs()));
        for &j in &chosen {
            worse((slope(&|k| if k == j { 1.0 } else { 0.0 }) - g[j]).abs() / largest);
        }
    }
    Ok(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::Needs;
    use crate::op::write;

    /// y = x², with a factor in the gradient that is right for 2.
    #[derive(Debug)]
    struct Square(f64);

    impl Function<f64> for Square {
        fn infer(&self, inputs: &[&Space]) -> Result<Space, Error> {
            Ok(inputs[0].clone())
        }
        fn needs(&self, _: &[&Space]) -> Needs {
            Needs { inputs: vec![0], output: false, tape_len: 0 }
        }
        fn scratch_len(&self, _: &[&Space]) -> usize {
            0
        }
        fn forward(&self, x: &[&[f64]], y: &mut [f64], _: &mut [f64], _: &mut [f64], _: Mode) {
            y.iter_mut().zip(x[0]).for_each(|(y, &x)| *y = x * x);
        }
        fn backward(
            &self,
            x: &[&[f64]],
            _: &[f64],
            _: &[f64],
            dy: &[f64],
            dx: &mut [Option<(&mut [f64], Write)>],
            _: &mut [f64],
        ) {
            if let Some((dx, w)) = &mut dx[0] {
                (0..dy.len()).for_each(|i| write(&mut dx[i], self.0 * x[0][i] * dy[i], *w));
            }
        }
    }

    #[test]
    fn a_wrong_factor_is_found_and_the_right_one_passes() {
        let space = [Space::real(&[4, 5])];
        assert!(check_function(&Square(2.0), &space, 3).unwrap() < 1e-9);
        assert!(check_function(&Square(2.0001), &space, 3).unwrap() > 1e-5);
    }
}
