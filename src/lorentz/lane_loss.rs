//! The loss of a series whose settings are known, sixteen lines of every image at a time.
//!
//! A transform of two dimensions is one of the columns and one of the rows. Between the object and the loss there are
//! four, for each image, and everything else (the transfer function, the loss, the sum over the images) is a product
//! or a sum point by point, which can be done where the transforms' points lie. So an evaluation is a walk over the
//! columns of the object, one over the rows of all images, one over their columns, and so on, each thread with sixteen
//! lines that fit its cache:
//!
//! ```text
//! columns         O = A e^{iφ},  along y
//! rows            along x: the spectrum;  for each image times T_k,  back along x
//! columns         for each image back along y: ψ_k,  the loss and g_ψ,  along y
//! rows            for each image along x,  times T̄_k;  the sum back along x
//! columns         back along y: g_O,  ∂L/∂φ = Im(g_O Ō)
//! ```
//!
//! Points never leave the order and the lanes in which the transforms want them ([`LaneFft`]); between rows and columns,
//! blocks of 16 × 16 are turned. Of more than [`TOGETHER`] images so many are taken at a time.

use crate::error::Error;
use crate::fft::{Direction, GAP, LANES, Lane, LaneBuffers, LaneFft};
use crate::lorentz::kernels;
use crate::lorentz::{LorentzModel, Loss};
use crate::op::Write;
use crate::par::Par;
use crate::real::Real;
use crate::shape::try_zeroed;
use crate::simd::{lines::times_conjugate, transpose16};

/// Images whose waves are kept at a time: few, so that what is written along x is still in a cache when it is read
/// along y.
pub(crate) const TOGETHER: usize = 2;

/// Complex arrays for the points of sixteen lines, real and imaginary parts apart, from a line of the cache on.
#[derive(Debug)]
struct Lines<T> {
    words: Vec<T>,
    start: usize,
    /// Lanes of the real or the imaginary parts.
    half: usize,
}

impl<T: Real> Lines<T> {
    /// `arrays` of `points` points.
    fn new(points: usize, arrays: usize) -> Result<Self, Error> {
        let half = points + GAP;
        let words: Vec<T> = try_zeroed((2 * arrays * half + 1) * LANES)?;
        let start = words.as_ptr().align_offset(64).min(LANES);
        Ok(Lines { words, start, half })
    }

    fn many(count: usize, points: usize, arrays: usize) -> Result<Vec<Self>, Error> {
        (0..count).map(|_| Lines::new(points, arrays)).collect()
    }

    /// Real and imaginary parts of array `a`.
    fn get(&self, a: usize) -> [&[Lane<T>]; 2] {
        let lanes = self.words[self.start..].as_chunks::<LANES>().0;
        let (re, im) = lanes[2 * a * self.half..].split_at(self.half);
        [&re[..self.half - GAP], &im[..self.half - GAP]]
    }

    /// All arrays, to be written.
    fn arrays(&mut self) -> impl Iterator<Item = LaneBuffers<'_, T>> {
        let lanes = self.words[self.start..].as_chunks_mut::<LANES>().0;
        lanes.chunks_exact_mut(2 * self.half).map(|here| LaneBuffers::new(here, self.half))
    }

    /// The first `A` arrays.
    fn get_mut<const A: usize>(&mut self) -> [LaneBuffers<'_, T>; A] {
        let mut arrays = self.arrays();
        std::array::from_fn(|_| arrays.next().expect("as many as were asked for"))
    }
}

/// Lanes ← points: block b of `to` becomes block b of `from`, turned.
fn turn<'a, T: Real>(from: impl Iterator<Item = &'a [Lane<T>]>, to: &mut [Lane<T>]) {
    for (x, y) in from.zip(to.as_chunks_mut::<LANES>().0) {
        transpose16(x[..LANES].try_into().expect("a block of sixteen"), y);
    }
}

/// Real and imaginary parts of sixteen columns in sixteen rows.
type Block<'a, T> = [&'a mut [Lane<T>; LANES]; 2];

/// The blocks of an array, by columns.
fn blocks<'a, T: Real>(array: LaneBuffers<'a, T>) -> impl Iterator<Item = Block<'a, T>> {
    let LaneBuffers { re, im, .. } = array;
    re.as_chunks_mut::<LANES>().0.iter_mut().zip(im.as_chunks_mut::<LANES>().0).map(|(re, im)| [re, im])
}

/// The blocks of sixteen columns, and their part of the loss.
struct Column<'a, 'b, T> {
    blocks: &'a mut [Block<'b, T>],
    loss: f64,
}

/// The plan and its buffers.
#[derive(Debug)]
pub(crate) struct LaneLoss<T: Real> {
    dims: [usize; 2],
    along_y: LaneFft<T>,
    along_x: LaneFft<T>,
    loss: Loss,
    images: usize,
    /// T_k/N of sixteen rows, an array an image: the inverse transforms here have no factor.
    transfers: Vec<Lines<T>>,
    /// √I or I of sixteen columns, half an array an image.
    measured: Vec<Lines<T>>,
    /// Columns: O, and its transform along y.
    object: Vec<Lines<T>>,
    /// Rows: the spectrum of O, and the sum over the images.
    spectrum: Vec<Lines<T>>,
    /// Rows: F{O} T_k, back along x, and then g_ψ, along y, an array an image.
    waves: Vec<Lines<T>>,
    /// Columns: the gradients.
    gradient: Vec<Lines<T>>,
    /// One a thread: columns.
    work: Vec<Lines<T>>,
    par: Par,
}

impl<T: Real> LaneLoss<T> {
    /// Whether images of these sides can be taken so: multiples of sixteen without a prime factor above 13.
    pub fn fits(dims: [usize; 2]) -> bool {
        dims.into_iter().all(|n| n.is_multiple_of(LANES) && LaneFft::<T>::is_quick(n))
    }

    /// For the settings of the model; `measured` is √I or I, (n, ny, nx).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(model: &LorentzModel<T>, measured: &[T], loss: Loss) -> Result<Self, Error> {
        let [ny, nx] = model.grid().dims;
        let (n, len) = (model.count(), ny * nx);
        let (along_y, along_x) = (LaneFft::new(ny)?, LaneFft::new(nx)?);
        let (columns, rows) = (nx / LANES, ny / LANES);

        // The lanes of row group c are the frequencies that the transform along y leaves at 16 c ….
        let mut left = vec![0; ny];
        along_y.order().iter().enumerate().for_each(|(iy, &place)| left[place as usize] = iy);
        let mut transfers = Lines::many(rows, nx, n)?;
        let scale = T::of(1.0 / len as f64);
        model.par.chunks(&mut transfers, 1, |c, lines| {
            let left = &left[c * LANES..][..LANES];
            for (t, w) in model.transfers().chunks(len).zip(lines[0].arrays()) {
                for (column, &at) in t.chunks(ny).zip(along_x.order()) {
                    for (l, &iy) in left.iter().enumerate() {
                        let z = column[iy].scale(scale);
                        (w.re[at as usize][l], w.im[at as usize][l]) = (z.re, z.im);
                    }
                }
            }
        });
        let mut lines = Lines::many(columns, ny, n.div_ceil(2))?;
        model.par.chunks(&mut lines, 1, |d, lines| {
            let lines = &mut lines[0];
            let half = lines.half;
            let lanes = lines.words[lines.start..].as_chunks_mut::<LANES>().0;
            for (k, image) in measured.chunks(len).enumerate() {
                for (lane, row) in lanes[k * half..].iter_mut().zip(image.chunks(nx)) {
                    lane.copy_from_slice(&row[d * LANES..][..LANES]);
                }
            }
        });
        Ok(LaneLoss {
            dims: [ny, nx],
            along_y,
            along_x,
            loss,
            images: n,
            transfers,
            measured: lines,
            object: Lines::many(columns, ny, 2)?,
            spectrum: Lines::many(rows, nx, 2)?,
            waves: Lines::many(rows, nx, n.min(TOGETHER))?,
            gradient: Lines::many(columns, ny, 1)?,
            work: Lines::many(model.par.count(), ny, 1)?,
            par: model.par.clone(),
        })
    }

    /// The mean loss of phase and amplitude (ny, nx), and its gradients.
    pub fn evaluate(
        &mut self,
        phase: &[T],
        amplitude: &[T],
        by_phase: &mut [T],
        by_amplitude: Option<&mut [T]>,
    ) -> f64 {
        let ([_, nx], n) = (self.dims, self.images);
        let (along_y, along_x, par) = (&self.along_y, &self.along_x, &self.par);
        let scale = T::of(1.0 / (n * phase.len()) as f64);
        let tiny = T::MIN_POSITIVE.sqrt();
        let column = |x: &[T], d: usize, to: &mut [Lane<T>]| {
            for (lane, row) in to.iter_mut().zip(x.chunks(nx)) {
                lane.copy_from_slice(&row[d * LANES..][..LANES]);
            }
        };

        // The object, along y.
        par.chunks(&mut self.object, 1, |d, lines| {
            let [o, mut f] = lines[0].get_mut::<2>();
            column(phase, d, f.re);
            column(amplitude, d, f.im);
            kernels::object_parts(
                f.re.as_flattened(),
                f.im.as_flattened(),
                o.re.as_flattened_mut(),
                o.im.as_flattened_mut(),
            );
            f.re.copy_from_slice(o.re);
            f.im.copy_from_slice(o.im);
            along_y.to_order(&mut f, Direction::Forward);
        });

        // Rows: the spectrum, and the first waves back along x.
        let (object, transfers, rows) = (&self.object, &self.transfers, self.waves.len());
        let waves_of = |c: usize, first: usize, s: [&[Lane<T>]; 2], waves: &mut Lines<T>| {
            for (k, mut w) in (first..n).zip(waves.arrays()) {
                kernels::lane_product(s, transfers[c].get(k), w.re, w.im);
                along_x.to_natural(&mut w, Direction::Inverse);
            }
        };
        let mut pairs: Vec<_> = self.spectrum.iter_mut().zip(&mut self.waves).collect();
        par.chunks(&mut pairs, 1, |c, pair| {
            let (lines, waves) = &mut pair[0];
            let [mut s, sum] = lines.get_mut::<2>();
            turn(object.iter().map(|o| &o.get(1)[0][c * LANES..]), s.re);
            turn(object.iter().map(|o| &o.get(1)[1][c * LANES..]), s.im);
            along_x.to_order(&mut s, Direction::Forward);
            sum.re.fill([T::ZERO; LANES]);
            sum.im.fill([T::ZERO; LANES]);
            waves_of(c, 0, [&*s.re, &*s.im], waves);
        });

        let (measured, loss) = (&self.measured, self.loss);
        let mut total = 0.0;
        for first in (0..n).step_by(TOGETHER) {
            // Columns of every image: back along y, the loss, and along y again.
            let together = TOGETHER.min(n - first);
            let mut parts: Vec<Vec<_>> = (0..together).map(|_| Vec::with_capacity(rows)).collect();
            for lines in &mut self.waves {
                parts.iter_mut().zip(lines.arrays()).for_each(|(part, w)| part.push(blocks(w)));
            }
            let mut sorted: Vec<Block<'_, T>> = Vec::with_capacity(together * rows * measured.len());
            for part in &mut parts {
                for _ in 0..measured.len() {
                    sorted.extend(part.iter_mut().filter_map(Iterator::next));
                }
            }
            drop(parts);
            let mut columns: Vec<_> = sorted.chunks_mut(rows).map(|blocks| Column { blocks, loss: 0.0 }).collect();
            par.chunks_with(&mut columns, 1, &mut self.work, |i, column, work| {
                let (k, d) = (first + i / measured.len(), i % measured.len());
                let [mut b] = work.get_mut::<1>();
                let column = &mut column[0];
                let lanes = b.re.as_chunks_mut::<LANES>().0.iter_mut().zip(b.im.as_chunks_mut::<LANES>().0);
                for ([re, im], (to_re, to_im)) in column.blocks.iter().zip(lanes) {
                    transpose16(re, to_re);
                    transpose16(im, to_im);
                }
                along_y.to_natural(&mut b, Direction::Inverse);
                let m = measured[d].get(k / 2)[k % 2];
                column.loss = match loss {
                    Loss::Amplitude => kernels::lane_amplitude_loss(b.re, b.im, m, scale, tiny),
                    Loss::Poisson => kernels::lane_poisson_loss(b.re, b.im, m, scale, tiny),
                };
                along_y.to_order(&mut b, Direction::Forward);
                let lanes = b.re.as_chunks::<LANES>().0.iter().zip(b.im.as_chunks::<LANES>().0);
                for ([re, im], (from_re, from_im)) in column.blocks.iter_mut().zip(lanes) {
                    transpose16(from_re, re);
                    transpose16(from_im, im);
                }
            });
            total += columns.iter().map(|c| c.loss).sum::<f64>();

            // Rows: along x, times the conjugate transfer functions, the sum; and the next waves.
            let mut pairs: Vec<_> = self.spectrum.iter_mut().zip(&mut self.waves).collect();
            par.chunks(&mut pairs, 1, |c, pair| {
                let (lines, waves) = &mut pair[0];
                let [s, mut sum] = lines.get_mut::<2>();
                for (k, mut w) in (first..n).zip(waves.arrays()) {
                    along_x.to_order(&mut w, Direction::Forward);
                    times_conjugate([&*w.re, &*w.im], transfers[c].get(k), sum.re, sum.im, Write::Add);
                }
                if first + together < n {
                    waves_of(c, first + together, [&*s.re, &*s.im], waves);
                } else {
                    along_x.to_natural(&mut sum, Direction::Inverse);
                }
            });
        }

        // Back along y: the gradient by the object, and by phase and amplitude.
        let (object, spectrum, wanted) = (&self.object, &self.spectrum, by_amplitude.is_some());
        par.chunks(&mut self.gradient, 1, |d, lines| {
            let [mut g] = lines[0].get_mut::<1>();
            turn(spectrum.iter().map(|s| &s.get(1)[0][d * LANES..]), g.re);
            turn(spectrum.iter().map(|s| &s.get(1)[1][d * LANES..]), g.im);
            along_y.to_natural(&mut g, Direction::Inverse);
            if wanted {
                let columns = phase.chunks(nx).map(|row| &row[d * LANES..][..LANES]);
                kernels::lane_gradients(g.re, g.im, object[d].get(0), columns);
            } else {
                kernels::lane_phase_gradient(g.re, g.im, object[d].get(0));
            }
        });

        // From lanes to rows.
        let gradient = &self.gradient;
        for (part, out) in [(0, Some(by_phase)), (1, by_amplitude)] {
            let Some(out) = out else { continue };
            par.chunks(out, LANES * nx, |c, rows| {
                for (y, row) in rows.chunks_mut(nx).enumerate() {
                    for (lines, out) in gradient.iter().zip(row.as_chunks_mut::<LANES>().0) {
                        *out = lines.get(0)[part][c * LANES + y];
                    }
                }
            });
        }
        total / (n * phase.len()) as f64
    }
}
