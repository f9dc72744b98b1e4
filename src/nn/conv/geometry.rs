//! Sizes of a convolution, and which input pixel each tap reads.

use crate::error::Error;
use crate::nn::conv::Padding;
use crate::shape::checked_len;

/// One axis: input and output size, kernel, stride, dilation, padding on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub padding: usize,
}

/// A correlation with all its sizes: x is (n, groups · ci, input…), w is (groups · co, ci, kernel…), y is (n, groups ·
/// co, output…); axes are z, y, x.
///
/// A *padded coordinate* u = s o + d κ is what tap κ of output o reads. It is split into a phase a = u mod s and an
/// index u div s, so that for each phase a tap is a constant shift q = (d κ) div s: a stride becomes a longer list of
/// offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub n: usize,
    pub groups: usize,
    /// Input channels a group.
    pub ci: usize,
    /// Output channels a group.
    pub co: usize,
    pub axes: [Axis; 3],
    pub mode: Padding,
}

impl Axis {
    /// An axis whose output size follows from the others.
    pub fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: usize,
        mode: Padding,
    ) -> Result<Axis, Error> {
        for (name, v) in [("input", input), ("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            if v == 0 {
                return Err(Error::param(name, v, "at least 1"));
            }
        }
        let reach = dilation.checked_mul(kernel - 1).and_then(|r| r.checked_add(1));
        let padded = padding.checked_mul(2).and_then(|p| p.checked_add(input));
        let (Some(reach), Some(padded)) = (reach, padded) else {
            return Err(Error::OutOfMemory { bytes: u64::MAX });
        };
        if padded < reach {
            return Err(Error::param("kernel", format!("{reach} pixels"), "at most the padded input"));
        }
        // A mirrored or repeated image has no pixels beyond its own size.
        match mode {
            Padding::Zero => {}
            Padding::Reflect if padding < input => {}
            Padding::Periodic if padding <= input => {}
            Padding::Reflect => return Err(Error::param("padding", padding, "less than the input, for reflection")),
            Padding::Periodic => return Err(Error::param("padding", padding, "at most the input, for repetition")),
        }
        Ok(Axis { input, output: (padded - reach) / stride + 1, kernel, stride, dilation, padding })
    }

    /// The largest shift q of a tap.
    pub fn q_max(&self) -> usize {
        self.dilation * (self.kernel - 1) / self.stride
    }

    /// Phase and shift of a tap.
    pub fn phase(&self, tap: usize) -> (usize, usize) {
        let u = self.dilation * tap;
        (u % self.stride, u / self.stride)
    }

    /// The input pixel at a padded coordinate; none where the padding is zero, or beyond what any tap reads.
    pub fn source(&self, u: usize, mode: Padding) -> Option<usize> {
        let (u, p, n) = (u as isize, self.padding as isize, self.input as isize);
        let t = u - p;
        let t = match mode {
            _ if (0..n).contains(&t) => t,
            _ if t >= n + p => return None,
            Padding::Zero => return None,
            Padding::Reflect if t < 0 => -t,
            Padding::Reflect => 2 * n - 2 - t,
            Padding::Periodic => t.rem_euclid(n),
        };
        Some(t as usize)
    }

    /// First padded coordinate and number of those whose gradient is wanted: the input itself, or with a padding that
    /// repeats pixels all of them, to be folded.
    pub fn target(&self, mode: Padding) -> (usize, usize) {
        match mode {
            Padding::Zero => (self.padding, self.input),
            Padding::Reflect | Padding::Periodic => (0, self.input + 2 * self.padding),
        }
    }
}

impl Geometry {
    /// Checks that the sizes can be multiplied.
    pub fn checked(self) -> Result<Geometry, Error> {
        for (name, v) in
            [("batch", self.n), ("groups", self.groups), ("channels", self.ci), ("output channels", self.co)]
        {
            if v == 0 {
                return Err(Error::param(name, v, "at least 1"));
            }
        }
        let [z, y, x] = self.axes;
        // The phases of a block hold at most a stride's worth of the padded image; everything else is smaller.
        let padded = |a: &Axis| a.input + 2 * a.padding + a.dilation * a.kernel + a.stride;
        checked_len(&[self.n, self.groups, self.ci, padded(&z), padded(&y), padded(&x), 64])?;
        checked_len(&[self.n, self.groups, self.co, padded(&z), padded(&y), padded(&x), 64])?;
        checked_len(&[self.groups, self.co + 64, self.ci + 64, z.kernel, y.kernel, x.kernel, 64])?;
        Ok(self)
    }

    /// Words of an input channel.
    pub fn input_len(&self) -> usize {
        self.axes.iter().map(|a| a.input).product()
    }

    /// Words of an output channel.
    pub fn output_len(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// Taps of a kernel.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Words of x.
    pub fn x_len(&self) -> usize {
        self.n * self.groups * self.ci * self.input_len()
    }

    /// Words of y.
    pub fn y_len(&self) -> usize {
        self.n * self.groups * self.co * self.output_len()
    }

    /// Words of w.
    pub fn w_len(&self) -> usize {
        self.groups * self.co * self.ci * self.taps()
    }

    /// The phases that some tap reads, in each axis.
    pub fn phases(&self) -> [Vec<usize>; 3] {
        std::array::from_fn(|i| {
            let mut all: Vec<usize> = (0..self.axes[i].kernel).map(|t| self.axes[i].phase(t).0).collect();
            all.sort_unstable();
            all.dedup();
            all
        })
    }

    /// The index of each tap, in order of w.
    pub fn tap_list(&self) -> Vec<[usize; 3]> {
        let [z, y, x] = self.axes.map(|a| a.kernel);
        (0..z * y * x).map(|t| [t / (y * x), t / x % y, t % x]).collect()
    }
}

/// Rows and slices of a block, so that `words(rz, ry)` stay within the second-level cache and there are some blocks to
/// share out. Depends on the sizes alone.
pub(crate) fn block(z: usize, y: usize, n: usize, budget: usize, words: impl Fn(usize, usize) -> usize) -> [usize; 2] {
    let (mut rz, mut ry) = (z.min(8), y.min(16));
    let blocks = |rz: usize, ry: usize| n * z.div_ceil(rz) * y.div_ceil(ry);
    loop {
        let too_large = words(rz, ry) > budget;
        if !too_large && blocks(rz, ry) >= 8 {
            return [rz, ry];
        }
        if ry > 8 || (ry > 4 && rz == 1) {
            ry = ry.div_ceil(2);
        } else if rz > 1 {
            rz = rz.div_ceil(2);
        } else if ry > 1 && too_large {
            ry = ry.div_ceil(2);
        } else {
            return [rz, ry];
        }
    }
}

/// Copies a row of padded coordinates s · i + a, i from `first`, out of an input row.
pub(crate) fn gather_row<T: crate::real::Real>(
    axis: &Axis,
    mode: Padding,
    a: usize,
    first: usize,
    row: &[T],
    out: &mut [T],
) {
    let (s, p) = (axis.stride, axis.padding);
    let at = |i: usize| axis.source(s * (first + i) + a, mode).map_or(T::ZERO, |t| row[t]);
    // Indices i whose pixel s (first + i) + a − p lies within the image.
    let base = s * first + a;
    let low = p.saturating_sub(base).div_ceil(s).min(out.len());
    let high = (axis.input + p).saturating_sub(base).div_ceil(s).clamp(low, out.len());
    (0..low).for_each(|i| out[i] = at(i));
    if low < high {
        let start = base + s * low - p;
        if s == 1 {
            out[low..high].copy_from_slice(&row[start..][..high - low]);
        } else {
            out[low..high].iter_mut().zip(row[start..].iter().step_by(s)).for_each(|(o, &x)| *o = x);
        }
    }
    (high..out.len()).for_each(|i| out[i] = at(i));
}

/// The slices of the rows of `data` (channels, z, y, x) that each block writes: `pieces[block][channel][slice]`, flat,
/// with a row for every channel and slice of a block, `None` beyond the last slice. Rows of block b are `bands[b]`.
///
/// Blocks are numbered as (image, block of slices, band).
pub(crate) fn pieces<'a, T>(
    mut data: &'a mut [T],
    n: usize,
    channels: usize,
    slices: &[std::ops::Range<usize>],
    bands: &[std::ops::Range<usize>],
    width: usize,
) -> (Vec<Option<&'a mut [T]>>, usize) {
    let deepest = slices.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let per_block = channels * deepest;
    let mut all: Vec<Option<&mut [T]>> = Vec::new();
    all.resize_with(n * slices.len() * bands.len() * per_block, || None);
    for i in 0..n {
        for c in 0..channels {
            for (b, range) in slices.iter().enumerate() {
                for s in 0..range.len() {
                    for (j, band) in bands.iter().enumerate() {
                        let (piece, rest) = std::mem::take(&mut data).split_at_mut(band.len() * width);
                        data = rest;
                        all[((i * slices.len() + b) * bands.len() + j) * per_block + c * deepest + s] = Some(piece);
                    }
                }
            }
        }
    }
    (all, deepest)
}
