//! Scale bars: a round length near a quarter of the image.

use super::image::Pixel;
use super::ticks;

/// A scale bar for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleBar {
    /// Its length in image pixels, not always a whole number.
    pub pixels: f64,
    /// Its length with the unit: `"2 nm"`.
    pub label: String,
}

/// The scale bar of an image `width` pixels wide: the longest of 1, 2, 5 × 10ⁿ units that is not above `fraction` of
/// the width.
///
/// Lengths are written in Å up to 5 Å, then nm, µm and mm; spatial frequencies in Å⁻¹ down to 0.01 Å⁻¹, then nm⁻¹;
/// angles in mrad, or µrad below 0.1 mrad. `None` when the pixel size is unknown.
///
/// # Panics
/// When `width` is 0, or the pixel size is not a positive finite number.
///
/// # Examples
/// ```
/// use exitwave::render::{Pixel, scale_bar::scale_bar};
/// use exitwave::units::Length;
/// // A quarter of 256 pixels of 0.2 Å is 12.8 Å: the bar is 1 nm long, 50 pixels.
/// let bar = scale_bar(256, Pixel::Length(Length::angstrom(0.2)), 0.25).unwrap();
/// assert_eq!(bar.label, "1 nm");
/// assert!((bar.pixels - 50.0).abs() < 1e-9);
/// ```
pub fn scale_bar(width: usize, pixel: Pixel, fraction: f64) -> Option<ScaleBar> {
    // The size of a pixel, and units with their size, from the largest down; all in the same internal unit.
    let (size, units): (f64, &[(f64, &str)]) = match pixel {
        Pixel::Unknown => return None,
        Pixel::Length(l) => (l.to_angstrom(), &[(1e7, "mm"), (1e4, "µm"), (10.0, "nm"), (0.0, "Å")]),
        Pixel::Frequency(k) => (k.to_per_angstrom(), &[(0.01, "Å⁻¹"), (0.0, "nm⁻¹")]),
        Pixel::Angle(a) => (a.to_mrad(), &[(0.1, "mrad"), (0.0, "µrad")]),
    };
    let length = ticks::round_down(size * width as f64 * fraction);
    let unit = units.iter().find(|(from, _)| length >= from * (1.0 - 1e-9)).map_or("", |u| u.1);
    let per_unit = match unit {
        "mm" => 1e7,
        "µm" => 1e4,
        "nm" => 10.0,
        "nm⁻¹" => 0.1,
        "µrad" => 1e-3,
        _ => 1.0,
    };
    // The quotient is a round number but for its last bits.
    let value = ticks::round_down(length / per_unit * (1.0 + 1e-9));
    Some(ScaleBar { pixels: length / size, label: format!("{} {unit}", ticks::plain(value)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Angle, Length, SpatialFrequency};
    use proptest::prelude::*;

    #[test]
    fn lengths_and_units_are_round() {
        let bar = |l: Length, width| scale_bar(width, Pixel::Length(l), 0.25).unwrap();
        assert_eq!(bar(Length::angstrom(0.05), 128), ScaleBar { pixels: 20.0, label: "1 Å".into() });
        assert_eq!(bar(Length::angstrom(0.01), 100).label, "0.2 Å");
        assert_eq!(bar(Length::angstrom(0.2), 100).label, "5 Å");
        assert_eq!(bar(Length::nm(0.1), 512).label, "10 nm");
        assert_eq!(bar(Length::nm(5.0), 1024).label, "1 µm");
        assert_eq!(bar(Length::um(20.0), 1024).label, "5 mm");
        let k = scale_bar(256, Pixel::Frequency(SpatialFrequency::per_angstrom(0.01)), 0.25).unwrap();
        assert_eq!(k.label, "0.5 Å⁻¹");
        assert!((k.pixels - 50.0).abs() < 1e-9);
        let k = scale_bar(100, Pixel::Frequency(SpatialFrequency::per_angstrom(1e-4)), 0.25).unwrap();
        assert_eq!(k.label, "0.02 nm⁻¹");
        assert_eq!(scale_bar(128, Pixel::Angle(Angle::mrad(0.5)), 0.25).unwrap().label, "10 mrad");
        assert_eq!(scale_bar(128, Pixel::Angle(Angle::mrad(5e-4)), 0.25).unwrap().label, "10 µrad");
        assert_eq!(scale_bar(128, Pixel::Unknown, 0.25), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bars_are_between_two_fifths_and_all_of_the_wanted_length(exponent in -4.0..7f64, width in 1..5000usize) {
            let pixel = Length::angstrom(10f64.powf(exponent));
            let bar = scale_bar(width, Pixel::Length(pixel), 0.25).unwrap();
            let wanted = 0.25 * width as f64;
            prop_assert!(bar.pixels <= wanted * (1.0 + 1e-8) && bar.pixels >= 0.399 * wanted);
            // The label says what the bar measures.
            let (value, unit) = bar.label.split_once(' ').unwrap();
            if let Ok(value) = value.parse::<f64>() {
                let unit = match unit { "Å" => 1.0, "nm" => 10.0, "µm" => 1e4, _ => 1e7 };
                let measured = bar.pixels * pixel.to_angstrom();
                prop_assert!((value * unit / measured - 1.0).abs() < 1e-6);
            }
        }
    }
}
