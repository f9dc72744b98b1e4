//! Maps of the centre of mass.

use crate::stem::Orientation;
use crate::tensor::Tensor;

/// The centre of mass c(r) = Σ I(k) k / Σ I(k) of every frame, relative to the calibrated centre, with its covariance.
///
/// # Shapes
/// Every map is `[scan_y, scan_x]`.
///
/// # Units
/// c in 1/Å, its covariance in 1/Å²: with c = ∇φ/2π, a beam deflected by α has |c| = α/λ.
#[derive(Clone, Debug, PartialEq)]
pub struct Com {
    /// c_y.
    pub y: Tensor<f64>,
    /// c_x.
    pub x: Tensor<f64>,
    /// Electrons in the frame: the weight of its centre of mass. A frame without electrons has weight 0, and c = 0.
    pub electrons: Tensor<f64>,
    /// Variance of c_y from counting statistics.
    pub var_yy: Tensor<f64>,
    /// Variance of c_x.
    pub var_xx: Tensor<f64>,
    /// Covariance of c_y and c_x.
    pub var_xy: Tensor<f64>,
}

impl Com {
    /// `[scan_y, scan_x]`.
    ///
    /// # Panics
    /// If the maps do not have two axes.
    pub fn scan(&self) -> [usize; 2] {
        match *self.y.dims() {
            [ny, nx] => [ny, nx],
            ref other => panic!("Com: a map has 2 axes, got {other:?}"),
        }
    }

    /// The mean of c, weighted by the electrons: `[y, x]` in 1/Å. Added to the centre (in pixels, after division by the
    /// pixel) it is the centre of mass of all frames.
    pub fn mean(&self) -> [f64; 2] {
        let w = self.electrons.as_slice();
        let total: f64 = w.iter().sum();
        [&self.y, &self.x].map(|c| {
            let sum: f64 = c.as_slice().iter().zip(w).map(|(c, w)| c * w).sum();
            if total > 0.0 { sum / total } else { 0.0 }
        })
    }

    /// The same relative to its mean. Frames without electrons stay at 0.
    pub fn without_mean(&self) -> Com {
        let [y, x] = self.mean();
        let mut c = self.clone();
        for i in 0..c.y.len() {
            if c.electrons.as_slice()[i] > 0.0 {
                c.y.as_mut_slice()[i] -= y;
                c.x.as_mut_slice()[i] -= x;
            }
        }
        c
    }

    /// The same along other axes: vectors and covariances are turned, positions stay.
    pub fn turned(&self, o: &Orientation) -> Com {
        let mut t = self.clone();
        for i in 0..self.y.len() {
            let [y, x] = o.to_scan([self.y.as_slice()[i], self.x.as_slice()[i]]);
            t.y.as_mut_slice()[i] = y;
            t.x.as_mut_slice()[i] = x;
            let v = [&self.var_yy, &self.var_xx, &self.var_xy].map(|v| v.as_slice()[i]);
            let [yy, xx, xy] = o.covariance_to_scan(v);
            t.var_yy.as_mut_slice()[i] = yy;
            t.var_xx.as_mut_slice()[i] = xx;
            t.var_xy.as_mut_slice()[i] = xy;
        }
        t
    }
}
