//! Cubic convolution: what lies between pixels.

/// The weights of four neighbours for a point at the fraction t between the middle two, and their derivatives.
///
/// # References
/// R. G. Keys, *IEEE Trans. ASSP* 29, 1153 (1981), eq. (15) with a = −½.
#[inline]
pub(crate) fn keys(t: f64) -> ([f64; 4], [f64; 4]) {
    let (t2, t3) = (t * t, t * t * t);
    (
        [
            0.5 * (-t3 + 2.0 * t2 - t),
            0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
            0.5 * (-3.0 * t3 + 4.0 * t2 + t),
            0.5 * (t3 - t2),
        ],
        [
            0.5 * (-3.0 * t2 + 4.0 * t - 1.0),
            0.5 * (9.0 * t2 - 10.0 * t),
            0.5 * (-9.0 * t2 + 8.0 * t + 1.0),
            0.5 * (3.0 * t2 - 2.0 * t),
        ],
    )
}
