//! Sixteen rows or columns of a complex picture, into lanes and out of them: one array of real and one of imaginary parts, each element of
//! which holds the same point of the sixteen; and products there.
//!
//! Pictures are given from their first line on. Fewer than sixteen lines leave the other lanes 0, or are all that is written.

use num_complex::Complex;

use crate::op::{Write, write};
use crate::real::Real;

/// Lines side by side: the `f32` of an AVX-512 register.
pub(crate) const LANES: usize = 16;

/// Whether the vector kernels can be called for this type, this processor and so many lines.
#[cfg(target_arch = "x86_64")]
fn fast<T: Real>(lines: usize) -> bool {
    T::NAME == "f32" && lines == LANES && super::avx512()
}

/// Turns points with sixteen lines in their lanes into lines with sixteen points in theirs: `y[c · chunk + i][j]` ←
/// `x[order[16 c + j]][i]`. Lanes beyond the last point are 0.
///
/// # Panics
/// If `y` holds less than that, or an entry of `order` is not the index of a point.
pub(crate) fn turn<T: Real>(x: &[[T; LANES]], order: &[u32], y: &mut [[T; LANES]], chunk: usize) {
    let mut first = 0;
    #[cfg(target_arch = "x86_64")]
    if fast::<T>(LANES) {
        first = order.len() / LANES;
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            super::x86_lines::turn(words(x), &order[..first * LANES], words_mut(y), chunk)
        };
    }
    for (c, order) in order.chunks(LANES).enumerate().skip(first) {
        let y = &mut y[c * chunk..][..LANES];
        for (i, y) in y.iter_mut().enumerate() {
            *y = std::array::from_fn(|j| order.get(j).map_or(T::ZERO, |&at| x[at as usize][i]));
        }
    }
}

/// Point j ← row j of the first `columns` (up to sixteen) columns; rows are `width` apart.
///
/// # Panics
/// If the picture holds fewer than `re.len()` such rows, or `im` is shorter than `re`.
pub(crate) fn read_columns<T: Real>(
    x: &[Complex<T>],
    width: usize,
    columns: usize,
    re: &mut [[T; LANES]],
    im: &mut [[T; LANES]],
) {
    #[cfg(target_arch = "x86_64")]
    if fast::<T>(columns) {
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            super::x86_lines::read_columns(bytemuck::cast_slice(x), width, words_mut(re), words_mut(im))
        };
        return;
    }
    for (j, (re, im)) in re.iter_mut().zip(im).enumerate() {
        (*re, *im) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for (l, z) in x[j * width..][..columns].iter().enumerate() {
            (re[l], im[l]) = (z.re, z.im);
        }
    }
}

/// Row k of the first `columns` (up to sixteen) columns ← `scale` times the point at `order[k]`.
///
/// # Panics
/// If the picture holds fewer than `order.len()` such rows, or an entry of `order` is not the index of a point.
pub(crate) fn write_columns<T: Real>(
    (re, im): (&[[T; LANES]], &[[T; LANES]]),
    order: &[u32],
    scale: T,
    y: &mut [Complex<T>],
    width: usize,
    columns: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if fast::<T>(columns) {
        let points = (words(re), words(im));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            let y = bytemuck::cast_slice_mut(y);
            super::x86_lines::write_columns(points, order, scale.f64() as f32, y, width)
        };
        return;
    }
    for (k, &at) in order.iter().enumerate() {
        let (re, im) = (&re[at as usize], &im[at as usize]);
        for (l, z) in y[k * width..][..columns].iter_mut().enumerate() {
            *z = Complex::new(re[l] * scale, im[l] * scale);
        }
    }
}

/// Point k of the first `rows` (up to sixteen) rows ← `scale` times their lanes of the point at `order[k]`; rows are `width` apart.
///
/// # Panics
/// If the picture holds fewer than `rows` rows of `order.len()` points, or an entry of `order` is not the index of a point.
pub(crate) fn write_rows<T: Real>(
    (re, im): (&[[T; LANES]], &[[T; LANES]]),
    order: &[u32],
    scale: T,
    y: &mut [Complex<T>],
    width: usize,
    rows: usize,
) {
    let mut first = 0;
    #[cfg(target_arch = "x86_64")]
    if fast::<T>(rows) {
        first = order.len() / 8 * 8;
        let points = (words(re), words(im));
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            let y = bytemuck::cast_slice_mut(y);
            super::x86_lines::write_rows(points, &order[..first], scale.f64() as f32, y, width)
        };
    }
    for (k, &at) in order.iter().enumerate().skip(first) {
        let (re, im) = (&re[at as usize], &im[at as usize]);
        for i in 0..rows {
            y[i * width + k] = Complex::new(re[i] * scale, im[i] * scale);
        }
    }
}

/// `y_j = x_j (z_j[0] + i sign z_j[1])`: one factor for the sixteen lanes of a point. The compiler would make vectors
/// across the points of the portable loop, with gathers.
///
/// # Panics
/// If another array is shorter than `z`.
pub(crate) fn times<T: Real>(
    (xr, xi): (&[[T; LANES]], &[[T; LANES]]),
    z: &[[T; 2]],
    sign: T,
    (yr, yi): (&mut [[T; LANES]], &mut [[T; LANES]]),
) {
    let n = z.len();
    let (xr, xi, yr, yi) = (&xr[..n], &xi[..n], &mut yr[..n], &mut yi[..n]);
    #[cfg(target_arch = "x86_64")]
    if fast::<T>(LANES) {
        // SAFETY: AVX-512 was detected, which is all the kernel needs; it checks its slices itself.
        #[allow(unsafe_code)]
        unsafe {
            let z = bytemuck::cast_slice(z);
            super::x86_lines::times((words(xr), words(xi)), z, sign.f64() as f32, (words_mut(yr), words_mut(yi)))
        };
        return;
    }
    super::vectorized!({
        for j in 0..n {
            // Copies, of which the compiler knows that nothing else points to them.
            let ([c, s], a, b) = ([z[j][0], sign * z[j][1]], xr[j], xi[j]);
            let (mut re, mut im) = (a, b);
            for l in 0..LANES {
                re[l] = a[l] * c - b[l] * s;
                im[l] = a[l] * s + b[l] * c;
            }
            (yr[j], yi[j]) = (re, im);
        }
    });
}

/// z ← x ȳ, or z += x ȳ, point by point and lane by lane, as far as the shortest goes. (Word by word: of products lane by
/// lane the compiler makes a multiple of the instructions.)
pub(crate) fn times_conjugate<T: Real>(
    x: [&[[T; LANES]]; 2],
    y: [&[[T; LANES]]; 2],
    re: &mut [[T; LANES]],
    im: &mut [[T; LANES]],
    how: Write,
) {
    let ([xr, xi], [yr, yi]) = (x.map(<[_]>::as_flattened), y.map(<[_]>::as_flattened));
    let (re, im) = (re.as_flattened_mut(), im.as_flattened_mut());
    super::vectorized!({
        for (((((re, im), &xr), &xi), &yr), &yi) in re.iter_mut().zip(im).zip(xr).zip(xi).zip(yr).zip(yi) {
            write(re, xr * yr + xi * yi, how);
            write(im, xi * yr - xr * yi, how);
        }
    });
}

/// Points of f32, which T is.
#[cfg(target_arch = "x86_64")]
fn words<T: Real>(x: &[[T; LANES]]) -> &[[f32; LANES]] {
    bytemuck::cast_slice(x)
}

#[cfg(target_arch = "x86_64")]
fn words_mut<T: Real>(x: &mut [[T; LANES]]) -> &mut [[f32; LANES]] {
    bytemuck::cast_slice_mut(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways through the lanes, in an order that is no involution, beside the definition.
    fn check<T: Real>() {
        for (height, width, at, lines) in [(40, 48, 16, 16), (37, 41, 3, 16), (5, 64, 0, 5), (33, 16, 32, 1)] {
            let z = |i: usize| Complex::new(T::of(i as f64), T::of(-0.5 * i as f64));
            let x: Vec<Complex<T>> = (0..height * width).map(z).collect();
            let nothing = Complex::new(T::NAN, T::NAN);
            let order: Vec<u32> = (0..width as u32).map(|k| (k + 5) % width as u32).collect();
            let (mut re, mut im) = (vec![[T::NAN; LANES]; width], vec![[T::NAN; LANES]; width]);
            if at + lines <= height {
                for j in 0..width {
                    let z = |i: usize| if i < lines { x[(at + i) * width + j] } else { Complex::default() };
                    (re[j], im[j]) = (std::array::from_fn(|i| z(i).re), std::array::from_fn(|i| z(i).im));
                }
                let mut y = vec![nothing; height * width];
                write_rows((&re, &im), &order, T::of(2.0), &mut y[at * width..], width, lines);
                for i in 0..height * width {
                    let (row, k) = (i / width, i % width);
                    if (at..at + lines).contains(&row) {
                        assert_eq!(y[i], x[row * width + order[k] as usize].scale(T::of(2.0)), "row {row} point {k}");
                    } else {
                        assert!(!y[i].re.is_finite(), "{i}");
                    }
                }
                let chunk = LANES + 3;
                let mut y = vec![[T::NAN; LANES]; width.div_ceil(LANES) * chunk];
                turn(&re, &order, &mut y, chunk);
                for (i, y) in y.iter().enumerate() {
                    for j in 0..LANES {
                        let (row, k) = (i % chunk, i / chunk * LANES + j);
                        let want = match order.get(k) {
                            Some(&at) => re[at as usize].get(row).copied(),
                            None => (row < LANES).then_some(T::ZERO),
                        };
                        assert!(want.map_or(!y[j].is_finite(), |w| y[j] == w), "row {row} point {k}");
                    }
                }
            }
            // The same picture, turned: (width, height).
            let (height, width) = (width, height);
            if at + lines <= width {
                read_columns(&x[at..], width, lines, &mut re, &mut im);
                for j in 0..height {
                    for l in 0..LANES {
                        let want = if l < lines { x[j * width + at + l] } else { Complex::default() };
                        assert_eq!((re[j][l], im[j][l]), (want.re, want.im), "row {j} column {l}");
                    }
                }
                let mut y = vec![nothing; height * width];
                write_columns((&re, &im), &order, T::of(2.0), &mut y[at..], width, lines);
                for i in 0..height * width {
                    let (j, l) = (order[i / width] as usize, i % width);
                    if (at..at + lines).contains(&l) {
                        assert_eq!(y[i], x[j * width + l].scale(T::of(2.0)), "{i}");
                    } else {
                        assert!(!y[i].re.is_finite(), "{i}");
                    }
                }
            }
        }
    }

    /// Beside the definition: numbers of few digits, so that no order of operations rounds.
    fn check_times<T: Real>() {
        let lanes = |a: usize| -> Vec<[T; LANES]> {
            (0..21).map(|j| std::array::from_fn(|l| T::of(((7 * j + a * l) % 23) as f64 - 11.0))).collect()
        };
        let (xr, xi) = (lanes(3), lanes(5));
        let z: Vec<[T; 2]> = (0..21).map(|j| [T::of(j as f64 - 9.5), T::of(0.25 * j as f64)]).collect();
        for sign in [1.0, -1.0] {
            let (mut yr, mut yi) = (vec![[T::NAN; LANES]; 21], vec![[T::NAN; LANES]; 21]);
            times((&xr, &xi), &z, T::of(sign), (&mut yr, &mut yi));
            for (j, l) in (0..21).flat_map(|j| (0..LANES).map(move |l| (j, l))) {
                let want = Complex::new(xr[j][l], xi[j][l]) * Complex::new(z[j][0], T::of(sign) * z[j][1]);
                assert_eq!(Complex::new(yr[j][l], yi[j][l]), want, "point {j} lane {l}");
            }
        }
    }

    #[test]
    fn a_factor_for_each_point_is_that_of_all_its_lanes() {
        check_times::<f32>();
        check_times::<f64>();
    }

    #[test]
    fn lines_go_through_the_lanes_unchanged_in_both_precisions() {
        check::<f32>();
        check::<f64>();
    }
}
