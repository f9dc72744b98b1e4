//! The gauge freedoms of ptychography: changes of object and probe that no pattern sees.
//!
//! ```text
//! global phase and scale   O → c O,              P → P/c
//! ramp                     O → O e^{2πi q·r},    P → P e^{−2πi q·r}      (up to a phase of each pattern)
//! probe's place            P moved by s,         positions moved by −s
//! modes                    P_m → Σ u_mn P_n      u unitary
//! ```

use num_complex::Complex;

use crate::error::Error;
use crate::fft::{Fft2, shift_factors};
use crate::ptycho::modes::orthogonalise;
use crate::ptycho::scan::{Positions, clamp, place};
use crate::ptycho::state::State;
use crate::real::{Real, cis};
use crate::shape::Field;
use crate::units::Length;

impl<T: Real> State<T> {
    /// Fixes what the patterns leave open: the probe's centre of intensity comes to the middle of its window, modes are
    /// orthogonal with the strongest first, the object has no mean phase ramp, no mean phase, and the
    /// illumination-weighted mean of |O|² is 1.
    ///
    /// For pictures and comparisons, at the end; a run is to be continued from the state before. Intensities change by
    /// no more than the probe's share at the rim of its window, because there a moved probe wraps round. A position
    /// that would leave the object is put back on it, which does change its intensities: give the object a margin.
    ///
    /// # Errors
    /// - [`Error::Data`] for an empty probe, when object and probe have no intensity in common, or for a position off
    ///   the object,
    /// - [`Error::Shape`] when object or probe have other axes than [`State`] says.
    pub fn fix_gauge(&mut self) -> Result<(), Error> {
        let (&[modes, ny, nx], &[height, width]) = (self.probe.dims(), self.object.dims()) else {
            return Err(Error::shape("fix_gauge: probe [modes, ny, nx]", &[1, 0, 0], self.probe.dims()));
        };
        if self.probe.is_empty() {
            return Err(Error::Data { what: "a probe without pixels".into(), index: 0 });
        }
        let pixel = [Length::angstrom(1.0); 2];
        Positions { pixels: self.positions.clone(), object: [height, width], pixel }.check([ny, nx])?;
        orthogonalise(self.probe.as_mut_slice(), modes)?;
        // The ramp goes first, because a probe with one is not smooth across its window's edge, and is moved less
        // exactly; and again, with the illumination as it is then.
        self.remove_ramp();
        self.centre_probe()?;
        self.remove_ramp();
        self.normalise()
    }

    /// Moves the probe's centre of intensity to the middle pixel of its window, (ny/2, nx/2), and all positions the
    /// other way.
    fn centre_probe(&mut self) -> Result<(), Error> {
        // What wraps round the window's edge changes the centre a little: a few moves settle it.
        for _ in 0..10 {
            let shift = self.move_probe_to_centre()?;
            if shift[0].hypot(shift[1]) < 1e-9 {
                break;
            }
        }
        Ok(())
    }

    /// One such move; returns it, in pixels. The centre is that on the circle, c = n/2π · arg Σ |P|² e^{2πi y/n}: the
    /// move is a cyclic one, under which this centre moves as far as a band-limited probe does, whatever wraps round.
    fn move_probe_to_centre(&mut self) -> Result<[f64; 2], Error> {
        let (modes, ny, nx) = (self.probe.dims()[0], self.probe.dims()[1], self.probe.dims()[2]);
        let circle = |n: usize| (0..n).map(|i| cis(std::f64::consts::TAU * i as f64 / n as f64)).collect::<Vec<_>>();
        let (at_y, at_x) = (circle(ny), circle(nx));
        let (mut sum, mut moment) = (0.0, [Complex::new(0.0, 0.0); 2]);
        for (i, z) in self.probe.as_slice().iter().enumerate() {
            let (w, i) = (z.norm_sqr().f64(), i % (ny * nx));
            sum += w;
            moment[0] += at_y[i / nx] * w;
            moment[1] += at_x[i % nx] * w;
        }
        if sum <= 0.0 || !sum.is_finite() {
            return Err(Error::Data { what: format!("probe of intensity {sum}"), index: 0 });
        }
        // From the centre to the middle, the short way; an even illumination has no centre, and stays.
        let short = |n: usize, m: Complex<f64>| {
            let turn = m * cis(-std::f64::consts::TAU * (n / 2) as f64 / n as f64);
            if crate::real::norm(m) > 1e-6 * sum {
                -crate::real::arg(turn) * n as f64 / std::f64::consts::TAU
            } else {
                0.0
            }
        };
        let shift = [short(ny, moment[0]), short(nx, moment[1])];
        let fft = Fft2::<T>::new([ny, nx])?;
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        let factors = [shift_factors(ny, shift[0], Field::Complex), shift_factors(nx, shift[1], Field::Complex)];
        for m in 0..modes {
            let p = self.probe.row_mut(m);
            fft.forward(p, &mut scratch);
            for (i, z) in p.iter_mut().enumerate() {
                let f = factors[0][i / nx] * factors[1][i % nx];
                *z *= Complex::new(T::of(f.re), T::of(f.im));
            }
            fft.inverse(p, &mut scratch);
        }
        let object = [self.object.dims()[0], self.object.dims()[1]];
        for p in &mut self.positions {
            *p = clamp([p[0] - shift[0], p[1] - shift[1]], [ny, nx], object);
        }
        Ok(shift)
    }

    /// Takes the mean phase gradient of the illuminated object out of it, and into the probe.
    fn remove_ramp(&mut self) {
        let (height, width) = (self.object.dims()[0], self.object.dims()[1]);
        let weight = self.illumination();
        let o = self.object.as_slice();
        // The phase of the weighted sum of neighbours' products is the mean step.
        let (mut sy, mut sx) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0));
        for y in 0..height {
            for x in 0..width {
                let i = y * width + x;
                let step = |j: usize| {
                    let z = o[j] * o[i].conj();
                    Complex::new(z.re.f64(), z.im.f64()) * weight[i].min(weight[j])
                };
                if y + 1 < height {
                    sy += step(i + width);
                }
                if x + 1 < width {
                    sx += step(i + 1);
                }
            }
        }
        let q = [crate::real::arg(sy), crate::real::arg(sx)];
        let (ny, nx) = (self.probe.dims()[1], self.probe.dims()[2]);
        let turn = |sign: f64, y: f64, x: f64| {
            let z = cis(sign * (q[0] * y + q[1] * x));
            Complex::new(T::of(z.re), T::of(z.im))
        };
        for (i, z) in self.object.as_mut_slice().iter_mut().enumerate() {
            *z *= turn(-1.0, (i / width) as f64, (i % width) as f64);
        }
        for (i, z) in self.probe.as_mut_slice().iter_mut().enumerate() {
            let i = i % (ny * nx);
            *z *= turn(1.0, (i / nx) as f64, (i % nx) as f64);
        }
    }

    /// Scales object and probe so that Σ w |O|² = Σ w, and turns the object so that Σ w O is real and positive.
    fn normalise(&mut self) -> Result<(), Error> {
        let weight = self.illumination();
        let (mut sum, mut power, mut mean) = (0.0, 0.0, Complex::new(0.0, 0.0));
        for (z, w) in self.object.as_slice().iter().zip(&weight) {
            sum += w;
            power += w * z.norm_sqr().f64();
            mean += Complex::new(z.re.f64(), z.im.f64()) * *w;
        }
        if !(power > 0.0 && sum > 0.0 && power.is_finite()) {
            return Err(Error::Data { what: "the probe does not illuminate the object".into(), index: 0 });
        }
        let scale = (power / sum).sqrt();
        let c = crate::real::unit(mean).conj() / scale;
        let c_t = Complex::new(T::of(c.re), T::of(c.im));
        self.object.as_mut_slice().iter_mut().for_each(|z| *z *= c_t);
        let scale = T::of(scale);
        self.probe.as_mut_slice().iter_mut().for_each(|z| *z = z.scale(scale));
        Ok(())
    }

    /// Σ_j Σ_m |P_m(r − r_j)|² on the object, at whole pixels: where, and how strongly, the object was seen.
    ///
    /// # Shapes
    /// The result is (height, width).
    ///
    /// # Panics
    /// If a window does not lie on the object, or object or probe have other axes than [`State`] says.
    pub fn illumination(&self) -> Vec<f64> {
        let (ny, nx) = (self.probe.dims()[1], self.probe.dims()[2]);
        let (height, width) = (self.object.dims()[0], self.object.dims()[1]);
        let mut power = vec![0.0; ny * nx];
        for mode in self.probe.as_slice().chunks(ny * nx) {
            power.iter_mut().zip(mode).for_each(|(p, z)| *p += z.norm_sqr().f64());
        }
        let mut sum = vec![0.0; height * width];
        for &p in &self.positions {
            let (at, _) = place(p, [ny, nx], width);
            for y in 0..ny {
                sum[at.row(y)].iter_mut().zip(&power[y * nx..]).for_each(|(s, p)| *s += p);
            }
        }
        sum
    }
}
