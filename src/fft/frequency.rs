//! Frequencies of a spectrum's indices, and the shifts between spectra and pictures.

use crate::error::check_len;

/// The signed frequency of index `i` of `n`: 0, 1, …, −2, −1. For even n the index n/2 stands for −n/2.
///
/// ```
/// use exitwave::fft::frequency_index;
/// let k: Vec<isize> = (0..4).map(|i| frequency_index(i, 4)).collect();
/// assert_eq!(k, [0, 1, -2, -1]);
/// let k: Vec<isize> = (0..5).map(|i| frequency_index(i, 5)).collect();
/// assert_eq!(k, [0, 1, 2, -2, -1]);
/// ```
#[inline]
pub fn frequency_index(i: usize, n: usize) -> isize {
    if i < n.div_ceil(2) { i as isize } else { i as isize - n as isize }
}

/// The frequencies of a spectrum of `n` points at spacing `sampling`: k(i) = `frequency_index(i, n)` / (n · sampling).
///
/// # Units
/// Cycles per unit of `sampling`: 1/Å for a sampling in Å.
///
/// ```
/// assert_eq!(exitwave::fft::frequencies(4, 0.5), [0.0, 0.5, -1.0, -0.5]);
/// ```
pub fn frequencies(n: usize, sampling: f64) -> Vec<f64> {
    (0..n).map(|i| frequency_index(i, n) as f64 / (n as f64 * sampling)).collect()
}

/// Moves the zero frequency from index 0 to index n/2 (rounded down) of every axis: from spectrum to picture.
///
/// # Panics
/// - if `x.len()` is not the product of `dims`,
/// - if `y.len() != x.len()`.
///
/// ```
/// let mut y = [0; 5];
/// exitwave::fft::fft_shift(&[5], &[0, 1, 2, -2, -1], &mut y);
/// assert_eq!(y, [-2, -1, 0, 1, 2]);
/// ```
pub fn fft_shift<E: Copy>(dims: &[usize], x: &[E], y: &mut [E]) {
    roll(dims, x, y, |n| n / 2);
}

/// Moves the centre, index n/2 (rounded down), of every axis to index 0: from picture to spectrum. The inverse of
/// [`fft_shift`], from which it differs for odd n.
///
/// # Panics
/// As [`fft_shift`].
pub fn ifft_shift<E: Copy>(dims: &[usize], x: &[E], y: &mut [E]) {
    roll(dims, x, y, |n| n - n / 2);
}

/// y[(i + by(n)) mod n] = x[i], every axis.
fn roll<E: Copy>(dims: &[usize], x: &[E], y: &mut [E], by: impl Fn(usize) -> usize + Copy) {
    let len: usize = dims.iter().product();
    check_len("fft_shift", "x", len, x.len());
    check_len("fft_shift", "y", len, y.len());
    match *dims {
        [] => y.copy_from_slice(x),
        [n] => {
            let s = if n == 0 { 0 } else { by(n) % n };
            y[s..].copy_from_slice(&x[..n - s]);
            y[..s].copy_from_slice(&x[n - s..]);
        }
        [n, ref rest @ ..] => {
            let inner = len.checked_div(n).unwrap_or(0);
            for i in 0..n {
                let j = (i + by(n)) % n;
                roll(rest, &x[i * inner..(i + 1) * inner], &mut y[j * inner..(j + 1) * inner], by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shifts_are_inverse_for_odd_and_even() {
        for dims in [[4, 6], [5, 3], [1, 8], [7, 1], [0, 3]] {
            let x: Vec<usize> = (0..dims[0] * dims[1]).collect();
            let (mut y, mut z) = (x.clone(), x.clone());
            fft_shift(&dims, &x, &mut y);
            ifft_shift(&dims, &y, &mut z);
            assert_eq!(x, z);
            if dims[0] > 0 {
                assert_eq!(y[dims[0] / 2 * dims[1] + dims[1] / 2], 0);
            }
        }
    }
}
