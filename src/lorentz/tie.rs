//! The transport-of-intensity equation.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, frequencies};
use crate::optics::Grid;
use crate::optics::constants::{CODATA_2018, checked_wavelength};
use crate::real::Real;
use crate::shape::{Limits, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Energy, Length, SpatialFrequency};

/// What stands beyond the edge of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// The image again.
    #[default]
    Periodic,
    /// Its mirror image: the frame is extended to twice its sides, and the answer is its first quadrant.
    Mirrored,
}

/// Parameters of [`Tie`].
#[derive(Clone, Copy, Debug)]
pub struct TieParams {
    /// Beam energy.
    pub energy: Energy,
    /// Pixels of the images.
    pub grid: Grid,
    /// Tikhonov's q_c: 1/q² becomes q²/(q² + q_c²)². Zero: no filter.
    pub regularization: SpatialFrequency,
    /// Frequencies above this part of the Nyquist frequency are left out.
    pub band_limit: f64,
    /// What stands beyond the edge.
    pub edges: Edges,
    /// Intensities in focus below this part of their mean count as so much: where no electron was counted, 1/I₀ says nothing.
    pub floor: f64,
    /// The most memory.
    pub limits: Limits,
}

/// 200 keV, no Tikhonov filter, band limit ⅔, periodic, intensities at least a twentieth of their mean.
impl Default for TieParams {
    fn default() -> Self {
        TieParams {
            energy: Energy::kev(200.0),
            grid: Grid::default(),
            regularization: SpatialFrequency::ZERO,
            band_limit: 2.0 / 3.0,
            edges: Edges::Periodic,
            floor: 0.05,
            limits: Limits::default(),
        }
    }
}

/// The phase from how the intensity changes with defocus D (positive = underfocus):
///
/// ```text
/// ∂I/∂D = (λ/2π) ∇·(I₀ ∇φ)      φ = ∇⁻² ∇·[ (1/I₀) ∇ ∇⁻² (2π/λ) ∂I/∂D ]
/// ∇ ↔ 2πi q,   ∇⁻² ↔ −Q(q)/4π²,   Q = q²/(q² + q_c²)²,   Q(0) = 0
/// ```
///
/// Exact to first order in the defocus. Shapes: images (ny, nx), row-major.
///
/// # Notes
/// The sign is that of `C10 = −defocus` and a wave factor `exp(−iχ)`: an underfocused convex phase is darker in the
/// middle.
///
/// # References
/// - M. R. Teague, *J. Opt. Soc. Am.* 73, 1434 (1983), eq. (7).
/// - D. Paganin, K. A. Nugent, *Phys. Rev. Lett.* 80, 2586 (1998), eq. (9): the solution.
/// - V. V. Volkov, Y. Zhu, M. De Graef, *Micron* 33, 411 (2002): mirrored edges.
#[derive(Debug)]
pub struct Tie<T: Real> {
    params: TieParams,
    lambda: f64,
    fft: Fft2<T>,
    /// Q/4π², on the extended frame.
    inverse: Vec<T>,
    k: [Vec<f64>; 2],
}

impl<T: Real> Tie<T> {
    /// Plans transforms and filter.
    ///
    /// # Errors
    /// [`Error::Param`], [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn new(params: TieParams) -> Result<Self, Error> {
        params.grid.check()?;
        if !(params.regularization >= SpatialFrequency::ZERO && params.regularization.is_finite()) {
            return Err(Error::param("regularization", params.regularization, "a finite frequency >= 0"));
        }
        if !(params.band_limit > 0.0 && params.band_limit <= 1.5) {
            return Err(Error::param("band_limit", params.band_limit, "a part of the Nyquist frequency, up to 1.5"));
        }
        if !(params.floor > 0.0 && params.floor <= 1.0) {
            return Err(Error::param("floor", params.floor, "a part of the mean, above 0 and up to 1"));
        }
        let lambda = checked_wavelength(params.energy, &CODATA_2018)?;
        let factor = if params.edges == Edges::Mirrored { 2 } else { 1 };
        let [ny, nx] = params.grid.dims.map(|n| n * factor);
        params.limits.check((ny as u64).saturating_mul(nx as u64).saturating_mul(9 * size_of::<T>() as u64))?;
        let d = params.grid.sampling.map(|d| d.to_angstrom());
        let k = [frequencies(ny, d[0]), frequencies(nx, d[1])];
        let limit = params.band_limit * 0.5 / d[0].max(d[1]);
        let qc2 = params.regularization.to_per_angstrom().powi(2);
        let mut inverse = try_zeroed(ny * nx)?;
        for (i, f) in inverse.iter_mut().enumerate() {
            let q2 = k[0][i / nx].powi(2) + k[1][i % nx].powi(2);
            if q2 > 0.0 && q2 <= limit * limit {
                *f = T::of(q2 / (q2 + qc2).powi(2) / (4.0 * std::f64::consts::PI.powi(2)));
            }
        }
        Ok(Tie { params, lambda, fft: Fft2::new([ny, nx])?, inverse, k })
    }

    /// The phase, of mean 0, from `∂I/∂D` per Å of underfocus and the intensity in focus.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Data`] for numbers that are not finite, or an image in focus whose mean is not positive.
    pub fn phase(&self, slope: &[T], in_focus: &[T]) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.params.grid.dims;
        for (op, x) in [("Tie slope", slope), ("Tie in_focus", in_focus)] {
            if x.len() != ny * nx {
                return Err(Error::shape(op, &[ny, nx], &[x.len()]));
            }
        }
        if let Some(index) = slope.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data { what: "a slope that is not finite".into(), index });
        }
        if let Some(index) = in_focus.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data { what: "an intensity in focus that is not finite".into(), index });
        }
        let mean = in_focus.iter().map(|v| v.f64()).sum::<f64>() / in_focus.len() as f64;
        if mean <= 0.0 {
            return Err(Error::Data { what: format!("an image in focus of mean {mean}"), index: 0 });
        }
        let least = T::of(self.params.floor * mean);
        // On the extended frame, (my, mx).
        let [my, mx] = self.fft.dims();
        let place = |i: usize| {
            let (y, x) = (i / mx, i % mx);
            let fold = |i: usize, n: usize| if i < n { i } else { 2 * n - 1 - i };
            fold(y, ny) * nx + fold(x, nx)
        };
        let mut scratch = try_zeroed(self.fft.scratch_len())?;
        let mut f: Vec<Complex<T>> = try_zeroed(my * mx)?;
        let source = T::of(std::f64::consts::TAU / self.lambda);
        f.iter_mut().enumerate().for_each(|(i, z)| *z = Complex::new(source * slope[place(i)], T::ZERO));
        self.fft.forward(&mut f, &mut scratch);
        // ∇ ∇⁻², both components at once: F_y + i F_x in real space.
        let tau = std::f64::consts::TAU;
        for (i, z) in f.iter_mut().enumerate() {
            let (ky, kx) = (tau * self.k[0][i / mx], tau * self.k[1][i % mx]);
            // −Q/4π² · (2πi)(k_y + i k_x).
            let w = Complex::new(T::of(kx), T::of(-ky)).scale(self.inverse[i]);
            *z *= w;
        }
        self.nyquist(&mut f);
        self.fft.inverse(&mut f, &mut scratch);
        f.iter_mut().enumerate().for_each(|(i, z)| *z = z.unscale(in_focus[place(i)].max(least)));
        self.fft.forward(&mut f, &mut scratch);
        // ∇⁻² ∇·: with V = F{V_y + i V_x}, F{V_y}(k) = (V(k) + V̄(−k))/2 and F{V_x} = (V(k) − V̄(−k))/2i.
        let mut out: Vec<Complex<T>> = try_zeroed(my * mx)?;
        for (i, z) in out.iter_mut().enumerate() {
            let (y, x) = (i / mx, i % mx);
            let mirror = f[((my - y) % my) * mx + (mx - x) % mx].conj();
            let (vy, d) = ((f[i] + mirror).scale(T::HALF), (f[i] - mirror).scale(T::HALF));
            let vx = Complex::new(d.im, -d.re);
            let div = vy.scale(T::of(tau * self.k[0][y])) + vx.scale(T::of(tau * self.k[1][x]));
            // −Q/4π² · 2πi.
            *z = Complex::new(div.im, -div.re).scale(self.inverse[i]);
        }
        self.nyquist(&mut out);
        self.fft.inverse(&mut out, &mut scratch);
        Ok(Tensor::from_fn(&[ny, nx], |i| out[i[0] * mx + i[1]].re))
    }

    /// A first derivative has no value at the Nyquist frequency of an even axis.
    fn nyquist(&self, f: &mut [Complex<T>]) {
        let [my, mx] = self.fft.dims();
        for (i, z) in f.iter_mut().enumerate() {
            let (y, x) = (i / mx, i % mx);
            if (my.is_multiple_of(2) && y == my / 2) || (mx.is_multiple_of(2) && x == mx / 2) {
                *z = Complex::default();
            }
        }
    }

    /// The phase from a series (n, ny, nx) with defoci: the slope is that of the straight line through every pixel, the
    /// intensity in focus the mean of the series, or the image given. Images are first brought to equal totals.
    ///
    /// # Errors
    /// As [`Tie::phase`]; [`Error::Param`] for defoci that are all the same.
    pub fn series(&self, images: &Tensor<T>, defocus: &[Length], in_focus: Option<&[T]>) -> Result<Tensor<T>, Error> {
        let (slope, mean) = self.slope(images, defocus)?;
        self.phase(&slope, in_focus.unwrap_or(&mean))
    }

    /// Slope and mean of a series of equal totals.
    fn slope(&self, images: &Tensor<T>, defocus: &[Length]) -> Result<(Vec<T>, Vec<T>), Error> {
        let [ny, nx] = self.params.grid.dims;
        let n = defocus.len();
        if images.dims() != [n, ny, nx] {
            return Err(Error::shape("Tie images", &[n, ny, nx], images.dims()));
        }
        let d: Vec<f64> = defocus.iter().map(|d| d.to_angstrom()).collect();
        let mean_d = d.iter().sum::<f64>() / n as f64;
        let square: f64 = d.iter().map(|d| (d - mean_d).powi(2)).sum();
        if !(square > 0.0 && square.is_finite()) {
            return Err(Error::param("defocus", format!("{n} values"), "two or more that differ"));
        }
        let len = ny * nx;
        let totals: Vec<f64> =
            images.as_slice().chunks(len).map(|i| i.iter().map(|v| v.f64()).sum::<f64>() / len as f64).collect();
        if let Some(index) = totals.iter().position(|t| !(*t > 0.0 && t.is_finite())) {
            return Err(Error::Data { what: "an image whose total is not positive".into(), index });
        }
        let level = totals.iter().sum::<f64>() / n as f64;
        let (mut slope, mut mean) = (try_zeroed(len)?, try_zeroed(len)?);
        for (k, image) in images.as_slice().chunks(len).enumerate() {
            let w = T::of((d[k] - mean_d) / square * level / totals[k]);
            let m = T::of(level / totals[k] / n as f64);
            for ((s, a), v) in slope.iter_mut().zip(&mut mean).zip(image) {
                *s += w * *v;
                *a += m * *v;
            }
        }
        Ok((slope, mean))
    }

    /// Separates the electrostatic from the magnetic phase by a second series of the specimen turned upside down,
    /// `flipped`, mirrored back into register. The electrostatic phase stays, the magnetic one changes sign:
    ///
    /// `electrostatic from ½ (∂I/∂D + ∂I'/∂D)`, `magnetic from ½ (∂I/∂D − ∂I'/∂D)`.
    ///
    /// # Errors
    /// As [`Tie::series`].
    ///
    /// # References
    /// E. Humphrey, C. Phatak, A. K. Petford-Long, M. De Graef, *Ultramicroscopy* 139, 5 (2014).
    pub fn flipped(
        &self,
        images: &Tensor<T>,
        flipped: &Tensor<T>,
        defocus: &[Length],
        in_focus: Option<&[T]>,
    ) -> Result<SeparatedPhase<T>, Error> {
        let ((up, a), (down, b)) = (self.slope(images, defocus)?, self.slope(flipped, defocus)?);
        let half = |s: T| up.iter().zip(&down).map(|(u, d)| T::HALF * (*u + s * *d)).collect::<Vec<_>>();
        let mean: Vec<T> = a.iter().zip(&b).map(|(a, b)| T::HALF * (*a + *b)).collect();
        let in_focus = in_focus.unwrap_or(&mean);
        Ok(SeparatedPhase {
            electrostatic: self.phase(&half(T::ONE), in_focus)?,
            magnetic: self.phase(&half(-T::ONE), in_focus)?,
        })
    }

    /// The phase from a single image: the intensity in focus is taken as constant.
    ///
    /// # Errors
    /// As [`Tie::phase`]; [`Error::Param`] for no defocus.
    ///
    /// # References
    /// J. N. Chapman et al.; in this form T. Cote, C. Phatak, A. K. Petford-Long, M. De Graef: single-image TIE
    /// (SITIE), *Ultramicroscopy* 162, 17 (2016).
    pub fn single(&self, image: &[T], defocus: Length) -> Result<Tensor<T>, Error> {
        let [ny, nx] = self.params.grid.dims;
        if image.len() != ny * nx {
            return Err(Error::shape("Tie image", &[ny, nx], &[image.len()]));
        }
        if !(defocus.is_finite() && defocus != Length::ZERO) {
            return Err(Error::param("defocus", defocus, "a length that is not 0"));
        }
        let mean = image.iter().map(|v| v.f64()).sum::<f64>() / image.len() as f64;
        let d = defocus.to_angstrom();
        let slope: Vec<T> = image.iter().map(|v| T::of((v.f64() - mean) / d)).collect();
        self.phase(&slope, &vec![T::of(mean); image.len()])
    }
}

/// The two parts of a phase.
#[derive(Clone, Debug)]
pub struct SeparatedPhase<T: Real> {
    /// Of the electric potential.
    pub electrostatic: Tensor<T>,
    /// Of the vector potential.
    pub magnetic: Tensor<T>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optics::wavelength;

    #[test]
    fn the_solution_satisfies_the_equation_for_any_intensity() {
        // ∂I/∂D of a band-limited phase and intensity, by spectral derivatives of a product of cosines.
        let (n, d) = (32usize, 50.0);
        let grid = Grid { dims: [n, n], sampling: [Length::angstrom(d); 2] };
        let tie = Tie::<f64>::new(TieParams { grid, band_limit: 1.5, ..TieParams::default() }).unwrap();
        let w = std::f64::consts::TAU / (n as f64 * d);
        let at = |i: usize| ((i / n) as f64 * d * w, (i % n) as f64 * d * w);
        let phase: Vec<f64> = (0..n * n).map(at).map(|(y, x)| (2.0 * y).cos() + (x + y).sin()).collect();
        let i0: Vec<f64> = (0..n * n).map(|i| 2.0 + 0.3 * at(i).1.cos()).collect();
        // ∇·(I₀∇φ) = ∇I₀·∇φ + I₀∇²φ.
        let slope: Vec<f64> = (0..n * n)
            .map(|i| {
                let (y, x) = at(i);
                let gx = -0.3 * x.sin() * (x + y).cos();
                let lap = -4.0 * (2.0 * y).cos() - 2.0 * (x + y).sin();
                wavelength(Energy::kev(200.0)).to_angstrom() / std::f64::consts::TAU * w * w * (gx + i0[i] * lap)
            })
            .collect();
        let found = tie.phase(&slope, &i0).unwrap();
        // Paganin's solution neglects the rotational part of I₀∇φ; with I₀ modulated by 15 % that is a few percent.
        let c = crate::metrics::normalised_correlation(&phase, found.as_slice()).unwrap();
        assert!(c > 0.999, "{c}");
        // For constant intensity it is exact.
        let slope: Vec<f64> = (0..n * n)
            .map(|i| {
                let (y, x) = at(i);
                let lap = -4.0 * (2.0 * y).cos() - 2.0 * (x + y).sin();
                wavelength(Energy::kev(200.0)).to_angstrom() / std::f64::consts::TAU * w * w * 2.0 * lap
            })
            .collect();
        let found = tie.phase(&slope, &vec![2.0; n * n]).unwrap();
        let worst = found.as_slice().iter().zip(&phase).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-10, "{worst}");
    }

    #[test]
    fn pixels_without_an_electron_move_the_phase_little() {
        let n = 32usize;
        let grid = Grid { dims: [n, n], sampling: [Length::nm(5.0); 2] };
        let w = std::f64::consts::TAU / n as f64;
        let slope: Vec<f64> = (0..n * n).map(|i| 1e-9 * (w * (i % n) as f64).cos()).collect();
        let mut in_focus = vec![1.0; n * n];
        let run = |floor: f64, in_focus: &[f64]| {
            let tie = Tie::<f64>::new(TieParams { grid, floor, ..TieParams::default() }).unwrap();
            tie.phase(&slope, in_focus).unwrap()
        };
        let clean = run(0.05, &in_focus);
        (0..n * n).step_by(97).for_each(|i| in_focus[i] = 0.0);
        let found = run(0.5, &in_focus);
        let c = crate::metrics::normalised_correlation(clean.as_slice(), found.as_slice()).unwrap();
        // One pixel in a hundred counts double.
        assert!(c > 0.999, "{c}");
        // What is large enough is divided by as it is.
        in_focus.fill(0.3);
        assert_eq!(run(0.05, &in_focus), run(0.9, &in_focus));
    }

    #[test]
    fn bad_numbers_are_errors() {
        let grid = Grid { dims: [8, 8], sampling: [Length::nm(1.0); 2] };
        let tie = Tie::<f64>::new(TieParams { grid, ..TieParams::default() }).unwrap();
        assert!(tie.phase(&[0.0; 63], &[1.0; 64]).is_err());
        assert!(tie.phase(&[f64::NAN; 64], &[1.0; 64]).is_err());
        assert!(tie.phase(&[0.0; 64], &[0.0; 64]).is_err());
        assert!(tie.single(&[1.0; 64], Length::ZERO).is_err());
        assert!(Tie::<f64>::new(TieParams { grid, band_limit: f64::NAN, ..TieParams::default() }).is_err());
        assert!(Tie::<f64>::new(TieParams { grid, floor: 0.0, ..TieParams::default() }).is_err());
    }
}
