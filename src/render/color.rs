//! Colour maps: grey, viridis, a cyclic one for phases, a diverging one; and phase/amplitude composites.
//!
//! The cyclic and the diverging map are closed forms in OKLab, a colour space in which equal distances look about
//! equal: L is lightness, C chroma (distance from grey) and h hue, with a = C cos h, b = C sin h.

/// Colour of values that are not finite, and of the empty parts of a picture's data: a warm grey that no map contains.
pub const NEUTRAL: [u8; 3] = [205, 198, 186];

/// Lightness of the cyclic map.
const PHASE_L: f64 = 0.75;
/// Chroma of the cyclic map: just inside the largest circle (0.1275) that lies within sRGB at this lightness.
const PHASE_C: f64 = 0.127;
/// Hue of phase 0: red.
const PHASE_H: f64 = 0.5;

/// Every fifth entry (0, 5, …, 255) of viridis, as 0xRRGGBB.
const VIRIDIS: [u32; 52] = [
    0x440154, 0x46085c, 0x471063, 0x481769, 0x481d6f, 0x482475, 0x472a7a, 0x46307e, 0x453781, 0x433d84, 0x414287,
    0x3f4889, 0x3d4e8a, 0x3a538b, 0x38598c, 0x355e8d, 0x33638d, 0x31688e, 0x2e6d8e, 0x2c718e, 0x2a768e, 0x297b8e,
    0x27808e, 0x25848e, 0x23898e, 0x218e8d, 0x20928c, 0x1f978b, 0x1e9c89, 0x1fa188, 0x21a585, 0x24aa83, 0x28ae80,
    0x2eb37c, 0x35b779, 0x3dbc74, 0x46c06f, 0x50c46a, 0x5ac864, 0x65cb5e, 0x70cf57, 0x7cd250, 0x89d548, 0x95d840,
    0xa2da37, 0xb0dd2f, 0xbddf26, 0xcae11f, 0xd8e219, 0xe5e419, 0xf1e51d, 0xfde725,
];

/// A colour map: a way from t ∈ [0, 1] to a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMap {
    /// Black to white, R = G = B = 255 t.
    #[default]
    Grey,
    /// Dark violet over green to yellow, with evenly rising lightness.
    Viridis,
    /// A closed circle of hues at constant lightness and chroma: t = 0 and t = 1 are the same phase.
    Phase,
    /// Blue over white to red; lightness falls evenly on both sides of t = ½.
    Diverging,
}

impl ColorMap {
    /// The colour at `t`.
    ///
    /// ```text
    /// Grey       R = G = B = t
    /// Viridis    linear between 52 anchors, t = 0, 1/51, …, 1
    /// Phase      L = 0.75, C = 0.127, h = 0.5 + 2π (t − ½)                with t taken modulo 1
    /// Diverging  L = 0.97 − 0.55 |u|, C = 0.17 |u|, h = 262° or 25°       with u = 2t − 1, blue for u < 0
    /// ```
    ///
    /// The anchors of viridis are every fifth entry of the published table of 256, rounded to 8 bits; between them no
    /// channel is further than one level (of 255) from the table. `Phase` is the colour of the phase φ = 2π (t − ½).
    /// Outside [0, 1] the maps keep their end colour, except `Phase`, which goes round. A `t` that is NaN is
    /// [`NEUTRAL`].
    ///
    /// # References
    /// - S. van der Walt and N. Smith, *mpl-colormaps* (2015), released under CC0: the table of viridis.
    /// - B. Ottosson, *A perceptual color space for image processing* (2020): OKLab.
    ///
    /// # Examples
    /// ```
    /// use exitwave::render::ColorMap;
    /// assert_eq!(ColorMap::Grey.rgb(1.0), [255, 255, 255]);
    /// assert_eq!(ColorMap::Viridis.rgb(0.0), [0x44, 0x01, 0x54]);
    /// assert_eq!(ColorMap::Phase.rgb(0.25), ColorMap::Phase.rgb(1.25));
    /// ```
    pub fn rgb(self, t: f64) -> [u8; 3] {
        if t.is_nan() {
            return NEUTRAL;
        }
        let clamped = t.clamp(0.0, 1.0);
        match self {
            ColorMap::Grey => [level(clamped); 3],
            ColorMap::Viridis => viridis(clamped),
            ColorMap::Phase if t.is_infinite() => NEUTRAL,
            ColorMap::Phase => composite(1.0, std::f64::consts::TAU * (t - t.floor() - 0.5)),
            ColorMap::Diverging => {
                let u = 2.0 * clamped - 1.0;
                let h = if u < 0.0 { 262f64 } else { 25f64 }.to_radians();
                srgb(oklab_to_linear(0.97 - 0.55 * u.abs(), 0.17 * u.abs(), h))
            }
        }
    }
}

/// The colour of a complex number: hue from its phase φ, brightness from its amplitude s.
///
/// ```text
/// L = 0.75 s,  C = 0.127 s,  h = 0.5 + φ        (OKLab)
/// ```
///
/// Scaling L and C together scales linear red, green and blue by s³: the hue stays, and every colour stays within sRGB.
///
/// # Units
/// `amplitude` relative to the brightest, clamped to [0, 1]; `phase` in rad, any multiple of 2π more or less. A value
/// that is not finite gives [`NEUTRAL`].
///
/// # References
/// B. Ottosson, *A perceptual color space for image processing* (2020): OKLab.
///
/// # Examples
/// ```
/// use exitwave::render::composite;
/// assert_eq!(composite(0.0, 1.0), [0, 0, 0]);
/// let red = composite(1.0, 0.0);
/// assert!(red[0] > red[1] && red[0] > red[2]);
/// ```
pub fn composite(amplitude: f64, phase: f64) -> [u8; 3] {
    if !amplitude.is_finite() || !phase.is_finite() {
        return NEUTRAL;
    }
    let s = amplitude.clamp(0.0, 1.0);
    srgb(oklab_to_linear(PHASE_L * s, PHASE_C * s, PHASE_H + phase))
}

/// Linear between the anchors.
fn viridis(t: f64) -> [u8; 3] {
    let x = t * (VIRIDIS.len() - 1) as f64;
    let i = (x as usize).min(VIRIDIS.len() - 2);
    let f = x - i as f64;
    [16, 8, 0].map(|shift| {
        let channel = |c: u32| f64::from(c >> shift & 0xff);
        level(((1.0 - f) * channel(VIRIDIS[i]) + f * channel(VIRIDIS[i + 1])) / 255.0)
    })
}

/// OKLab to linear sRGB, with the matrices of Ottosson (2020).
fn oklab_to_linear(lightness: f64, chroma: f64, hue: f64) -> [f64; 3] {
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.3963377774 * a + 0.2158037573 * b).powi(3);
    let m = (lightness - 0.1055613458 * a - 0.0638541728 * b).powi(3);
    let s = (lightness - 0.0894841775 * a - 1.2914855480 * b).powi(3);
    [
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    ]
}

/// Linear light to 8-bit sRGB (IEC 61966-2-1).
fn srgb(linear: [f64; 3]) -> [u8; 3] {
    linear.map(|c| level(if c <= 0.0031308 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 }))
}

/// [0, 1] to 0 … 255, clamped.
fn level(c: f64) -> u8 {
    (255.0 * c).round().clamp(0.0, 255.0) as u8
}

/// Relative luminance Y of an sRGB colour, 0 (black) to 1 (white).
pub(crate) fn luminance(rgb: [u8; 3]) -> f64 {
    let linear = rgb.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_PI_2, PI, TAU};

    /// Lightness, chroma and hue of an sRGB colour: the inverse of `oklab_to_linear`, by Ottosson's forward matrices.
    fn oklch(rgb: [u8; 3]) -> [f64; 3] {
        let [r, g, b] = rgb.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
        let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
        let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
        let lightness = 0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s;
        let a = 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s;
        let b = 0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s;
        [lightness, a.hypot(b), b.atan2(a).rem_euclid(TAU)]
    }

    #[test]
    fn viridis_is_within_one_level_of_the_published_table() {
        assert_eq!(ColorMap::Viridis.rgb(0.0), [68, 1, 84]);
        assert_eq!(ColorMap::Viridis.rgb(1.0), [253, 231, 37]);
        // Entries of the published table between the anchors; one level is the stated error.
        for (i, published) in [
            (2, [0.269944, 0.014625, 0.341379]),
            (33, [0.278012, 0.180367, 0.486697]),
            (63, [0.231674, 0.318106, 0.544834]),
            (97, [0.171176, 0.45253, 0.557965]),
            (127, [0.128729, 0.563265, 0.551229]),
            (158, [0.150148, 0.676631, 0.506589]),
            (192, [0.369214, 0.788888, 0.382914]),
            (222, [0.657642, 0.860219, 0.203082]),
            (238, [0.82494, 0.88472, 0.106217]),
            (253, [0.974417, 0.90359, 0.130215]),
        ] {
            let color = ColorMap::Viridis.rgb(f64::from(i) / 255.0);
            for (c, p) in color.into_iter().zip(published) {
                let p: f64 = 255.0 * p;
                assert!(f64::from(c.abs_diff(p.round() as u8)) <= 1.0, "entry {i}: {color:?}");
            }
        }
    }

    #[test]
    fn luminance_of_grey_and_viridis_never_falls() {
        for map in [ColorMap::Grey, ColorMap::Viridis] {
            let y: Vec<f64> = (0..=255).map(|i| luminance(map.rgb(f64::from(i) / 255.0))).collect();
            // Rounding to 8 bits may take half a level of each channel: at most ½ · 2.4/255 of luminance at the bright
            // end.
            assert!(y.windows(2).all(|w| w[1] > w[0] - 1.2 / 255.0));
            assert!(y.windows(6).all(|w| w[5] > w[0]), "{map:?}");
        }
    }

    #[test]
    fn phase_map_closes_and_keeps_lightness_and_chroma() {
        assert_eq!(ColorMap::Phase.rgb(0.0), ColorMap::Phase.rgb(1.0));
        let colors: Vec<[u8; 3]> = (0..=360).map(|i| ColorMap::Phase.rgb(f64::from(i) / 360.0)).collect();
        for &c in &colors {
            // Half a level of 255 changes L and C by less than 0.005; a clamped channel would change them by more.
            let [l, chroma, _] = oklch(c);
            assert!((l - PHASE_L).abs() < 0.005 && (chroma - PHASE_C).abs() < 0.005, "{c:?}: {l} {chroma}");
        }
        // No jump anywhere, the seam included: one degree moves every channel by a few levels only.
        for w in colors.windows(2) {
            assert!(w[0].iter().zip(w[1]).all(|(&a, b)| a.abs_diff(b) <= 6));
        }
    }

    #[test]
    fn composite_turns_phase_into_hue_and_amplitude_into_lightness() {
        for phase in [0.0, FRAC_PI_2, PI, -FRAC_PI_2] {
            for amplitude in [1.0, 0.5] {
                let [l, _, h] = oklch(composite(amplitude, phase));
                let difference = (h - PHASE_H - phase).rem_euclid(TAU);
                // Half a level at chroma 0.06 turns the hue by less than 0.05 rad.
                assert!(difference.min(TAU - difference) < 0.05, "phase {phase}: hue {h}");
                assert!((l - PHASE_L * amplitude).abs() < 0.005);
            }
        }
        assert_eq!(composite(0.0, 2.0), [0, 0, 0]);
        assert_eq!(composite(3.0, 2.0), composite(1.0, 2.0));
        assert_eq!(composite(0.7, PI), composite(0.7, -PI));
        assert_eq!(ColorMap::Phase.rgb(0.5), composite(1.0, 0.0));
    }

    #[test]
    fn diverging_map_is_white_in_the_middle_and_even_in_lightness() {
        let [_, middle, _] = oklch(ColorMap::Diverging.rgb(0.5));
        assert!(middle < 0.005);
        for i in 0..=100 {
            let u = f64::from(i) / 100.0;
            let [blue, red] = [0.5 - 0.5 * u, 0.5 + 0.5 * u].map(|t| oklch(ColorMap::Diverging.rgb(t)));
            for [l, chroma, _] in [blue, red] {
                assert!(
                    (l - (0.97 - 0.55 * u)).abs() < 0.006 && (chroma - 0.17 * u).abs() < 0.006,
                    "u {u}: {l} {chroma}"
                );
            }
        }
        let (blue, red) = (ColorMap::Diverging.rgb(0.0), ColorMap::Diverging.rgb(1.0));
        assert!(blue[2] > blue[0] && red[0] > red[2]);
    }

    #[test]
    fn values_that_are_not_numbers_are_neutral() {
        for map in [ColorMap::Grey, ColorMap::Viridis, ColorMap::Phase, ColorMap::Diverging] {
            assert_eq!(map.rgb(f64::NAN), NEUTRAL);
            assert!((0..=1000).all(|i| map.rgb(f64::from(i) / 1000.0) != NEUTRAL));
        }
        assert_eq!(composite(f64::NAN, 0.0), NEUTRAL);
        assert_eq!(composite(1.0, f64::INFINITY), NEUTRAL);
    }
}
