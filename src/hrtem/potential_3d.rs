//! The potential of a crystal from its reflections: Fourier synthesis, and the peaks in it.

use num_complex::Complex;

use crate::error::Error;
use crate::fft::Fft3;
use crate::par::Par;
use crate::shape::{checked_len, try_zeroed};
use crate::specimen::{Cell, norm};
use crate::tensor::Tensor;

/// One reflection of a crystal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrystalReflection {
    /// h, k, l.
    pub index: [i32; 3],
    /// F(hkl) = mean of V e^{+2πi h·r} over the cell: the crystallographers' sign.
    pub f: Complex<f64>,
    /// Standard deviation of the real and of the imaginary part; 0 where it is exact.
    pub sigma: f64,
    /// Measurements of it or of its equivalents.
    pub measured: usize,
}

/// Reflections of a crystal, one of each Friedel pair: (h, k, l) > (0, 0, 0) in the order of the numbers, in that
/// order.
#[derive(Clone, Debug, PartialEq)]
pub struct CrystalReflections {
    /// The cell to whose axes the indices belong.
    pub cell: Cell,
    /// The reflections.
    pub list: Vec<CrystalReflection>,
}

/// A maximum of a potential.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PotentialPeak {
    /// Fractions of a, b, c, in [0, 1).
    pub position: [f64; 3],
    /// Value there.
    pub height: f64,
}

impl CrystalReflections {
    /// F of any index, by Friedel's law too; none for what is not listed.
    pub fn get(&self, h: [i32; 3]) -> Option<Complex<f64>> {
        let find = |h: [i32; 3]| self.list.binary_search_by(|r| r.index.cmp(&h)).ok().map(|i| self.list[i].f);
        if h > [0; 3] { find(h) } else { find(h.map(|i| -i)).map(|f| f.conj()) }
    }

    /// The listed reflections that are in `other` too, with the F of this one.
    pub fn in_common(&self, other: &CrystalReflections) -> CrystalReflections {
        let list = self.list.iter().filter(|r| other.get(r.index).is_some()).copied().collect();
        CrystalReflections { cell: self.cell, list }
    }

    /// Each F times |F|²/(|F|² + 2σ²): what noise adds is taken out on average, as a Wiener filter does.
    pub fn damped(&self) -> CrystalReflections {
        let damp = |r: &CrystalReflection| {
            let p = r.f.norm_sqr();
            let noise = 2.0 * r.sigma * r.sigma;
            let share = if p > 0.0 { p / (p + noise) } else { 0.0 };
            CrystalReflection { f: r.f * share, sigma: r.sigma * share, ..*r }
        };
        CrystalReflections { cell: self.cell, list: self.list.iter().map(damp).collect() }
    }

    /// The spacing of the finest reflection, Å.
    pub fn finest_a(&self) -> f64 {
        let reciprocal = self.cell.reciprocal();
        let longest = self.list.iter().map(|r| {
            let g: [f64; 3] = std::array::from_fn(|i| (0..3).map(|n| f64::from(r.index[n]) * reciprocal[n][i]).sum());
            norm(g)
        });
        1.0 / longest.fold(0.0, f64::max)
    }

    /// The potential over one cell.
    ///
    /// `V(r) = Σ_h F(h) e^{−2πi h·r}` over all h and −h; the mean, which no picture tells, is 0.
    ///
    /// With the crate's transforms, whose inverse has e^{+2πi k·r}, the coefficient of h is F(−h) = F̄(h).
    ///
    /// # Shapes
    /// `dims` is `[n_c, n_b, n_a]`, as volumes are `[z, y, x]`: the voxel (i, j, k) is at the fractions k/n_a, j/n_b,
    /// i/n_c of a, b, c.
    ///
    /// # Errors
    /// [`Error::Param`] for sides of less than 2 |h| + 1 points, which cannot hold the reflections;
    /// [`Error::OutOfMemory`].
    pub fn volume(&self, dims: [usize; 3], par: &Par) -> Result<Tensor<f64>, Error> {
        let side = [dims[2], dims[1], dims[0]];
        for r in &self.list {
            let fits = (0..3).all(|i| 2 * (r.index[i].unsigned_abs() as usize) < side[i]);
            if !(fits && r.f.re.is_finite() && r.f.im.is_finite()) {
                return Err(Error::param(
                    "dims",
                    format!("{dims:?} for the reflection {:?} = {}", r.index, r.f),
                    "more than 2|h| points along each axis, and finite reflections",
                ));
            }
        }
        let len = checked_len(&dims)?;
        let mut spectrum: Vec<Complex<f64>> = try_zeroed(len)?;
        let place = |h: [i32; 3]| {
            let [x, y, z] = [0, 1, 2].map(|i| h[i].rem_euclid(side[i] as i32) as usize);
            (z * dims[1] + y) * dims[2] + x
        };
        for r in &self.list {
            spectrum[place(r.index)] = r.f.conj();
            spectrum[place(r.index.map(|i| -i))] = r.f;
        }
        let fft = Fft3::<f64>::new(dims, par.clone())?;
        let mut scratch = try_zeroed(fft.scratch_len())?;
        fft.inverse(&mut spectrum, &mut scratch);
        Tensor::from_vec(&dims, spectrum.iter().map(|z| z.re * len as f64).collect())
    }

    /// The highest `most` maxima of the potential, highest first, on a grid of `dims` points and by a parabola between
    /// them.
    ///
    /// # Errors
    /// As [`CrystalReflections::volume`].
    pub fn peaks(&self, dims: [usize; 3], most: usize, par: &Par) -> Result<Vec<PotentialPeak>, Error> {
        let v = self.volume(dims, par)?;
        let v = v.as_slice();
        let [nz, ny, nx] = dims;
        let at = |z: usize, y: usize, x: usize, d: [usize; 3]| {
            v[((z + d[0]) % nz * ny + (y + d[1]) % ny) * nx + (x + d[2]) % nx]
        };
        let near = |n: usize| [0, 1, n - 1];
        let mut found = Vec::new();
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    let p = at(z, y, x, [0; 3]);
                    let mut top = true;
                    for i in near(nz) {
                        for j in near(ny) {
                            for k in near(nx) {
                                // Of equal neighbours the first in memory is the peak.
                                let q = at(z, y, x, [i, j, k]);
                                let later = ((z + i) % nz, (y + j) % ny, (x + k) % nx) > (z, y, x);
                                top &= (i, j, k) == (0, 0, 0) || q < p || (q == p && later);
                            }
                        }
                    }
                    if top {
                        found.push((p, [z, y, x]));
                    }
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(most);
        let peak = |(p, [z, y, x]): (f64, [usize; 3])| {
            let mut height = p;
            let mut offset = [0.0; 3];
            for axis in 0..3 {
                let mut d = [0; 3];
                d[axis] = 1;
                let right = at(z, y, x, d);
                d[axis] = dims[axis] - 1;
                let left = at(z, y, x, d);
                let bend = left + right - 2.0 * p;
                if bend < 0.0 {
                    offset[axis] = (0.5 * (left - right) / bend).clamp(-0.5, 0.5);
                    height += 0.25 * (right - left) * offset[axis];
                }
            }
            let f = |i: usize, axis: usize| ((i as f64 + offset[axis]) / dims[axis] as f64).rem_euclid(1.0);
            PotentialPeak { position: [f(x, 2), f(y, 1), f(z, 0)], height }
        };
        Ok(found.into_iter().map(peak).collect())
    }
}
