//! Windows that fade an image out towards its edges.

use crate::error::Error;
use crate::shape::checked_len;

/// A taper along one axis; images and volumes take the product over their axes.
///
/// With the samples at i + ½ of an axis of n samples, t = min(i + ½, n − i − ½) being the distance to the nearer edge:
///
/// ```text
/// None            w = 1
/// CosineEdge(f)   w = sin²(π t / 2fn)  for t < fn,  1 elsewhere
/// Hann            w = sin²(π t / n), which is CosineEdge(½)
/// ```
///
/// # References
/// F. J. Harris, Proc. IEEE 66, 51 (1978), sections V.B (Hann) and V.F (Tukey).
///
/// ```
/// use exitwave::metrics::Window;
/// let w = Window::CosineEdge(0.25).weights(8)?;
/// assert_eq!(w[3], 1.0);
/// assert!(w[0] > 0.0 && w[0] == w[7]);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Window {
    /// No taper.
    #[default]
    None,
    /// A raised cosine over the whole axis.
    Hann,
    /// A raised cosine over this fraction of the axis at each end, 0 to ½ (Tukey's window).
    CosineEdge(f64),
}

impl Window {
    /// The `n` weights along one axis.
    ///
    /// # Errors
    /// [`Error::Param`] for an edge fraction outside 0 to ½.
    pub fn weights(self, n: usize) -> Result<Vec<f64>, Error> {
        let fraction = match self {
            Window::None => 0.0,
            Window::Hann => 0.5,
            Window::CosineEdge(f) if (0.0..=0.5).contains(&f) => f,
            Window::CosineEdge(f) => return Err(Error::param("window edge", f, "a fraction from 0 to 0.5")),
        };
        let edge = fraction * n as f64;
        let weight = |i: usize| {
            let t = i.min(n - 1 - i) as f64 + 0.5;
            if t < edge { (std::f64::consts::FRAC_PI_2 * t / edge).sin().powi(2) } else { 1.0 }
        };
        Ok((0..n).map(weight).collect())
    }

    /// The weights of a whole array, the product over its axes.
    ///
    /// # Errors
    /// As [`Window::weights`]; [`Error::OutOfMemory`] when the dimensions overflow.
    pub fn array(self, dims: &[usize]) -> Result<Vec<f64>, Error> {
        let len = checked_len(dims)?;
        let mut w = vec![1.0; len];
        let mut inner = len;
        for &n in dims {
            let axis = self.weights(n)?;
            inner /= n.max(1);
            w.iter_mut().enumerate().for_each(|(at, w)| *w *= axis[at / inner % n]);
        }
        Ok(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cosine_edge_is_the_hann_window() {
        for n in [1, 2, 7, 8] {
            assert_eq!(Window::Hann.weights(n).unwrap(), Window::CosineEdge(0.5).weights(n).unwrap());
            // Σ sin²(π(i + ½)/n) = n/2 for n > 1.
            let sum: f64 = Window::Hann.weights(n).unwrap().iter().sum();
            assert!(n == 1 || (sum - n as f64 / 2.0).abs() < 1e-14 * n as f64);
        }
        assert_eq!(Window::CosineEdge(0.0).weights(3).unwrap(), Window::None.weights(3).unwrap());
        assert!(Window::None.weights(0).unwrap().is_empty() && Window::Hann.array(&[3, 0]).unwrap().is_empty());
    }

    #[test]
    fn an_array_is_the_product_of_its_axes() {
        let (y, x) = (Window::Hann.weights(3).unwrap(), Window::Hann.weights(4).unwrap());
        let w = Window::Hann.array(&[3, 4]).unwrap();
        assert_eq!(w[2 * 4 + 1], y[2] * x[1]);
    }

    #[test]
    fn impossible_edges_are_errors() {
        for f in [-0.1, 0.6, f64::NAN] {
            assert!(Window::CosineEdge(f).weights(4).is_err());
        }
    }
}
